"""The worlds that the contract is tried on, each made once, and which of them a test meets."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack
from functools import partial
from pathlib import Path

import pytest
from tests.stores import sql_kit
from tests.stores.contract import worlds
from tests.stores.contract.world import World

from lethe_demo.servers import EmbeddedMariaDB, EmbeddedPostgres, EmbeddedS3

pytest.register_assert_rewrite("tests.stores.contract.suite")  # the tests import it after this

Server = EmbeddedMariaDB | EmbeddedPostgres | EmbeddedS3

MAKE: dict[str, tuple[str, Callable[..., AbstractContextManager[World]]]] = {
    **{name: (kind.server, partial(worlds.tables, name)) for name, kind in sql_kit.ALL_KINDS.items()},
    **{
        f"{name}-{what}": (kind.server, partial(worlds.related_tables, name, apart))
        for what, apart in {"related": ("email", "state", "at"), "related-clock": ("state", "at")}.items()
        for name, kind in sql_kit.FENCED_KINDS.items()
    },
    **{
        f"{name}-{what}": (kind.server, partial(worlds.many_tables, name, apart))
        for what, apart in {"many": ("email", "at"), "many-clock": ("at",)}.items()
        for name, kind in sql_kit.FENCED_KINDS.items()
    },
    **{
        f"{name}-events": (kind.server, partial(worlds.event_tables, name))
        for name, kind in sql_kit.FENCED_KINDS.items()
    },
    "objects": ("s3", partial(worlds.objects, versioned=False, clock_changes=True)),
    "objects-by-key": ("s3", partial(worlds.objects, versioned=False, clock_changes=False)),
    "objects-versioned": ("s3", partial(worlds.objects, versioned=True, clock_changes=True)),
    "objects-versioned-by-key": ("s3", partial(worlds.objects, versioned=True, clock_changes=False)),
    "parquet": ("s3", partial(worlds.parquet, versioned=False)),
    "parquet-versioned": ("s3", partial(worlds.parquet, versioned=True)),
    "jsonlines": ("s3", partial(worlds.lines, suffix=".jsonl", versioned=False)),
    "jsonlines-gzip-versioned": ("s3", partial(worlds.lines, suffix=".jsonl.gz", versioned=True)),
}
"""Kind of world → the fixture of its server, and how it is made."""


@pytest.fixture(scope="session")
def make_world(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[[str], World]]:
    """Makes a world of a kind, or gives the one that was made."""
    made: dict[str, World] = {}

    def make(kind: str) -> World:
        if kind not in made:
            server, make = MAKE[kind]
            servers: list[EmbeddedMariaDB | EmbeddedPostgres | EmbeddedS3] = (
                [request.getfixturevalue(server)] if server else []
            )
            folder: Path = tmp_path_factory.mktemp(kind)
            made[kind] = stack.enter_context(make(folder, *servers))
        return made[kind]

    with ExitStack() as stack:
        yield make


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Give a test its worlds, in the order in which there are any."""
    if "world" in metafunc.fixturenames:
        from tests.stores.contract.turns import worlds_of

        met = worlds_of(metafunc.function.__qualname__, list(MAKE))
        metafunc.parametrize("world", [kind for kind in MAKE if kind in met], indirect=True)


@pytest.fixture
def world(request: pytest.FixtureRequest, make_world: Callable[[str], World]) -> World:
    """A world of a kind. Every test fills it anew."""
    return make_world(request.param)
