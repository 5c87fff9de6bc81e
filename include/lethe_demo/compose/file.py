"""Compose files as `docker compose --file … --file …` reads them, as far as this project's say anything.

What is not understood is an error, so that a file that says more than is done here is not taken for tried.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

Variables = Mapping[str, str]

_VARIABLE = re.compile(r"\$(?:(\$)|\{(\w+)(?:(:?[?-])([^}]*))?\})")
_DURATION = re.compile(r"(?:(\d+)m)?(?:(\d+)s)?")
_KEYS = frozenset({
    "image", "build", "command", "entrypoint", "environment", "volumes", "user", "restart", "depends_on", "ports",
    "expose", "healthcheck", "stop_grace_period", "configs", "mem_limit",
})  # fmt: skip
"""What a service may say here. `build` and `mem_limit` are Docker's own affairs: the checkout's environment is in place
of the image, and memory is the machine's."""


class ComposeError(Exception):
    """A compose file says what this does not understand, or a service did not come up."""


@dataclass(frozen=True, slots=True)
class HealthCheck:
    """How Compose asks a container whether it is well; times in seconds."""

    command: tuple[str, ...]
    interval: float
    timeout: float
    retries: int
    start_period: float
    start_interval: float


@dataclass(frozen=True, slots=True)
class Volume:
    """A folder of a container.

    Attributes:
        source: a folder of the project (it begins with a dot), or the name of a volume.
        target: where the container sees it.
    """

    source: str
    target: str
    read_only: bool

    @property
    def named(self) -> bool:
        """Whether Docker keeps it, under a name."""
        return not self.source.startswith(".")


@dataclass(frozen=True, slots=True)
class Service:
    """What a file says of one service, with its variables filled in."""

    name: str
    image: str
    command: tuple[str, ...] = ()
    entrypoint: tuple[str, ...] | None = None
    environment: Variables = field(default_factory=dict, repr=False)
    volumes: tuple[Volume, ...] = ()
    configs: Mapping[str, str] = field(default_factory=dict, repr=False)
    """Content of files, by their place in the container."""
    user: str | None = None
    needs: Mapping[str, str] = field(default_factory=dict)
    """Names of services, with the condition that each has to meet first."""
    health: HealthCheck | None = None
    stays: bool = True
    """Whether Docker starts it again when it has ended by itself."""
    grace: float = 10.0
    """Seconds from being asked to end until it is killed."""


def read(files: Sequence[Path], variables: Variables) -> dict[str, Service]:
    """The services of files, of which later ones add to earlier ones.

    Raises:
        ComposeError: if a variable is missing that has to be there, or for what is not understood.
    """
    content: dict[str, Any] = {}
    for file in files:
        content = merged(content, yaml.safe_load(file.read_text()))
    filled = _filled({name: part for name, part in content.items() if not name.startswith("x-")}, variables)
    texts = {name: str(config["content"]) for name, config in filled.get("configs", {}).items()}
    return {name: _service(name, said, texts) for name, said in filled["services"].items()}


def asked_for(files: Sequence[Path]) -> set[str]:
    """The names of the variables without which files cannot be used."""
    return {match[2] for file in files for match in _VARIABLE.finditer(file.read_text()) if match[3] in (":?", "?")}


def merged(one: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, Any]:
    """Two files as Compose merges them: mappings key by key.

    Raises:
        ComposeError: if both have the same list: Compose appends them, by rules of their own.
    """
    both = {**one, **other}
    for name in one.keys() & other.keys():
        if isinstance(one[name], dict):
            both[name] = merged(one[name], other[name])
        elif isinstance(one[name], list):
            raise ComposeError(f"{name} is a list in two files: have it in one of them")
    return both


def _filled(value: Any, variables: Variables) -> Any:  # noqa: ANN401 - YAML
    """A part of a file, with variables filled in and `$$` as `$`."""
    if isinstance(value, dict):
        return {name: _filled(part, variables) for name, part in value.items()}
    if isinstance(value, list):
        return [_filled(part, variables) for part in value]
    if isinstance(value, str):
        return _VARIABLE.sub(lambda match: _value(match, variables), value)
    return value


def _value(match: re.Match[str], variables: Variables) -> str:
    escaped, name, how, text = match.groups()
    if escaped:
        return "$"
    value = variables.get(name)
    if value or (value is not None and how in ("-", "?")):
        return value
    if how in (":-", "-"):
        return str(text)
    if how in (":?", "?"):
        raise ComposeError(f"{name} is not set: {text}")
    return ""


def _service(name: str, said: Mapping[str, Any], texts: Variables) -> Service:
    if unknown := said.keys() - _KEYS:
        raise ComposeError(f"service {name} has {', '.join(sorted(unknown))}, which is not understood here")
    return Service(
        name=name,
        image=said["image"],
        command=_words(said.get("command")) or (),
        entrypoint=_words(said.get("entrypoint")),
        environment={key: str(value) for key, value in said.get("environment", {}).items()},
        volumes=tuple(_volume(volume) for volume in said.get("volumes", ())),
        configs={config["target"]: texts[config["source"]] for config in said.get("configs", ())},
        user=said.get("user"),
        needs={needed: how["condition"] for needed, how in said.get("depends_on", {}).items()},
        health=_health(said["healthcheck"]) if "healthcheck" in said else None,
        stays=said.get("restart") == "unless-stopped",
        grace=_seconds(said.get("stop_grace_period", "10s")),
    )


def _words(line: str | list[str] | None) -> tuple[str, ...] | None:
    """A command, of which Compose takes a text apart as a shell does."""
    if line is None:
        return None
    return tuple(shlex.split(line)) if isinstance(line, str) else tuple(line)


def _volume(text: str) -> Volume:
    source, target, *options = text.split(":")
    return Volume(source, target, read_only=options == ["ro"])


def _health(said: Mapping[str, Any]) -> HealthCheck:
    kind, *words = said["test"]
    if kind not in ("CMD", "CMD-SHELL"):
        raise ComposeError(f"a health check by {kind} is not understood here")
    return HealthCheck(
        command=("/bin/sh", "-c", words[0]) if kind == "CMD-SHELL" else tuple(words),
        interval=_seconds(said["interval"]),
        timeout=_seconds(said["timeout"]),
        retries=int(said["retries"]),
        start_period=_seconds(said["start_period"]),
        start_interval=_seconds(said.get("start_interval", "5s")),
    )


def _seconds(text: str) -> float:
    match = _DURATION.fullmatch(text)
    if not match or not text:
        raise ComposeError(f"{text!r} is no duration that is understood here")
    return int(match[1] or 0) * 60.0 + int(match[2] or 0)
