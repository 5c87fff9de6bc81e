"""Never held: the one meaning of an identifier, as data."""

from __future__ import annotations

import pytest
from tests.identifiers_kit import NOT_IDENTIFIERS, VECTORS, Vector

from lethe.judging.identifiers import IdentifierType, matches, normalise


@pytest.mark.parametrize("vector", VECTORS, ids=repr)
def test_what_is_held(vector: Vector) -> None:
    assert matches(vector.kind, vector.named, vector.stored, vector.region) is vector.holds


@pytest.mark.parametrize(("kind", "text"), NOT_IDENTIFIERS)
def test_what_no_hold_can_name_is_refused(kind: IdentifierType, text: str) -> None:
    with pytest.raises(ValueError, match=r"not an? ") as caught:
        normalise(kind, text, region="CZ")
    assert text not in str(caught.value)
