"""All that the contract suite needs of a store that Lethe does not come with."""

from __future__ import annotations

import pytest
from tests.stores.contract.world import World
from tests.stores.stranger.folder import Folder


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    """The world of a stranger's store."""
    return Folder("folder", tmp_path_factory.mktemp("folder"))
