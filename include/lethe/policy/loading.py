"""Policies read from files, with one message for all that is wrong with one."""

from __future__ import annotations

import re
from collections.abc import Mapping
from decimal import Decimal
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import ValidationError

from lethe.errors import LetheError, PolicyError
from lethe.messages import problems_of
from lethe.policy.fields import Model
from lethe.policy.overlaps import overlaps
from lethe.policy.rules import Policy

_MOST_BYTES = 1_000_000
_MOST_PROBLEMS = 20
_Model = TypeVar("_Model", bound=Model)


class _StrictLoader(yaml.SafeLoader):
    """YAML that means what it looks like.

    Duplicate keys are refused, which PyYAML would take the last of. Words are words, also NO, on and 2026-11-21, and
    numbers are decimal, as in the core schema of YAML 1.2. Anchors, aliases and tags are refused: a small file could
    stand for a huge one.
    """

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        event = self.peek_event()  # type: ignore[no-untyped-call]
        if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None) or getattr(event, "tag", None):
            raise yaml.composer.ComposerError(
                None, None, "anchors, aliases and tags are not used in policies: write it out", event.start_mark
            )
        return super().compose_node(parent, index)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[object] = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if not isinstance(key, str | int | Decimal | bool | None):
                raise yaml.constructor.ConstructorError(None, None, "a key must be text", key_node.start_mark)
            if key in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"the field {key!r} is there twice", key_node.start_mark
                )
            seen.add(key)
        return super().construct_mapping(node, deep)


def _exact(loader: _StrictLoader, node: yaml.ScalarNode) -> Decimal:
    """A fraction as it is written, which a float is only nearly."""
    return Decimal(loader.construct_scalar(node))


_StrictLoader.add_constructor("tag:yaml.org,2002:float", _exact)
_StrictLoader.yaml_implicit_resolvers = {}
_StrictLoader.add_implicit_resolver(
    "tag:yaml.org,2002:bool", re.compile(r"(true|True|TRUE|false|False|FALSE)$"), list("tTfF")
)
_StrictLoader.add_implicit_resolver("tag:yaml.org,2002:null", re.compile(r"(~|null|Null|NULL|)$"), ["~", "n", "N", ""])
_StrictLoader.add_implicit_resolver("tag:yaml.org,2002:int", re.compile(r"-?(0|[1-9][0-9]*)$"), list("-0123456789"))
_StrictLoader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"-?(0|[1-9][0-9]*)\.[0-9]+$"), list("-0123456789")
)


def load(path: Path) -> Policy:
    """Read one policy file.

    Raises:
        PolicyError: naming the file and the field, in one message for everything that is wrong with it.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        there = ", ".join(sorted(other.stem for other in path.parent.glob("*.yaml"))) or "none"
        raise PolicyError(
            f"{path}: there is no such policy file; choose from the categories there are: {there}"
        ) from None
    except (OSError, ValueError) as error:
        raise PolicyError(f"{path}: cannot be read as UTF-8 text ({type(error).__name__}): save it as such") from None
    policy = parse(text, where=path.name)
    if policy.category != path.stem:
        raise PolicyError(f"{path.name}: category is {policy.category!r}; name the file {policy.category}.yaml")
    return policy


def parse(text: str, *, where: str) -> Policy:
    """Read a policy from YAML. `where` names its origin in messages.

    Raises:
        PolicyError: if it is not YAML or not a policy.
    """
    return _parsed(text, where)


@lru_cache(maxsize=1_000)
def _parsed(text: str, where: str) -> Policy:
    """Once a text: policies do not change, and pages read all of them."""
    if len(text) > _MOST_BYTES:
        raise PolicyError(f"{where}: longer than {_MOST_BYTES:,} characters; write a policy of a page or two")
    try:
        content = yaml.load(text, Loader=_StrictLoader)  # noqa: S506 - a SafeLoader
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        mark = getattr(error, "problem_mark", None)
        line = f", line {mark.line + 1}" if mark else ""
        raise PolicyError(
            f"{where}{line}: not YAML: {getattr(error, 'problem', None) or ' '.join(str(error).split())}"
        ) from None
    if not isinstance(content, dict):
        raise PolicyError(f"{where}: a policy is a mapping of fields; begin it with its `category`")
    return policy_of(content, where=where)


def policy_of(content: Mapping[str, Any], *, where: str) -> Policy:
    """A policy from what its file has. `where` names its origin in messages.

    Raises:
        PolicyError: if it is not a policy, in one message for everything that is wrong with it.
    """
    return _model_of(Policy, content, where, PolicyError)


def _model_of(model: type[_Model], content: Mapping[str, Any], where: str, refusal: type[LetheError]) -> _Model:
    try:
        return model.model_validate(content)
    except ValidationError as error:
        told = list(dict.fromkeys(problems_of(error.errors(include_url=False), content)))
        problems = told[:_MOST_PROBLEMS]
        more = [f"and {len(told) - _MOST_PROBLEMS} more"] if len(told) > _MOST_PROBLEMS else []
        message = f"{where}: {'; '.join(problems + more)}"  # names may have half a character, which cannot be printed
        raise refusal(message.encode("utf-8", "backslashreplace").decode()) from None


def load_beside(
    policies: Path, name: str, model: type[_Model], *, first: str, refusal: type[LetheError] = PolicyError
) -> _Model | None:
    """Read a file that lies beside the folder of policies, in the same YAML as they are; None where there is none.

    Args:
        policies: their folder.
        name: the file's.
        model: what it has.
        first: the field that it begins with, for messages.
        refusal: what is raised.

    Raises:
        LetheError: `refusal`, naming the file, and the field of everything that is wrong with it.
    """
    path = policies.parent / name
    if not path.exists():
        return None
    try:
        content = yaml.load(path.read_text(encoding="utf-8"), Loader=_StrictLoader)  # noqa: S506 - a SafeLoader
    except (OSError, ValueError, RecursionError, yaml.YAMLError) as error:
        raise refusal(f"{name}: cannot be read as YAML ({type(error).__name__}): correct it") from None
    if not isinstance(content, dict | None):
        raise refusal(f"{name}: is a mapping: begin it with {first}")
    return _model_of(model, content or {}, name, refusal)


def load_all(folder: Path) -> dict[str, Policy]:
    """Read all policies of a folder, by category, and check that no two datasets overlap.

    Raises:
        PolicyError: naming the file and the field.
    """
    policies = {path.stem: load(path) for path in policy_files(folder)}
    problems = list(overlaps(policies.values()))
    if problems:
        raise PolicyError("; ".join(problems))
    return policies


def load_each(folder: Path) -> dict[str, Policy | PolicyError]:
    """Read every policy of a folder by itself, by the name of its file: one that is wrong hides no other.

    Overlaps are not looked for.

    Raises:
        PolicyError: if there are none, or one has an ending that would be overlooked.
    """
    return {path.stem: _tried(path) for path in policy_files(folder)}


def _tried(path: Path) -> Policy | PolicyError:
    try:
        return load(path)
    except PolicyError as error:
        return error


def policy_files(folder: Path) -> list[Path]:
    """The policy files of a folder, sorted by name.

    Raises:
        PolicyError: if there are none, or one has an ending that would be overlooked.
    """
    files = sorted(path for path in folder.glob("*") if path.suffix.lower() in (".yaml", ".yml"))
    if not files:
        raise PolicyError(
            f"{folder}: there are no policies (*.yaml) in this folder: set LETHE_PROJECT to the folder with them in "
            "include/policies, or LETHE_POLICIES to theirs"
        )
    for path in files:
        if path.suffix != ".yaml":
            raise PolicyError(f"{path.name}: name it {path.stem}.yaml; policies end in .yaml")
    return files


def json_schema() -> dict[str, Any]:
    """The JSON Schema of policy files, for editors."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **Policy.model_json_schema(by_alias=True),
    }
