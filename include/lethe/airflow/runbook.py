"""The runbook as a page: what alerts link to, so that who is on call needs neither a checkout nor this repository."""

from __future__ import annotations

from functools import cache
from itertools import pairwise
from pathlib import Path

from markdown_it import MarkdownIt
from markdown_it.token import Token

from lethe.alerts.alert import anchor_of

FILE = Path(__file__).with_name("runbook.md")
"""`docs/runbook.md`, which the package brings."""


@cache
def page() -> str:
    """The runbook as HTML: its headings have the anchors that alerts name. Links to other documents are words there."""
    renderer = MarkdownIt("commonmark", {"html": False}).enable("table")
    tokens = renderer.parse(FILE.read_text(encoding="utf-8"))
    for token, following in pairwise(tokens):
        if token.type == "heading_open":
            token.attrSet("id", anchor_of(following.content))
        if token.type == "inline":
            token.children = _without_other_documents(token.children or [])
    return str(renderer.renderer.render(tokens, renderer.options, {}))


def _without_other_documents(tokens: list[Token]) -> list[Token]:
    kept, dropped = [], False
    for token in tokens:
        if token.type == "link_open":
            dropped = not str(token.attrGet("href")).startswith(("#", "https://"))
        if not (dropped and token.type in ("link_open", "link_close")):
            kept.append(token)
    return kept
