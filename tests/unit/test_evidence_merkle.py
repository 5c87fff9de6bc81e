"""Trees and paths against the definitions of RFC 6962, written down naively."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from lethe.evidence import merkle


def naive_root(leaves: Sequence[bytes]) -> bytes:
    """MTH of RFC 6962, section 2.1, word for word."""
    if not leaves:
        return hashlib.sha256(b"").digest()
    if len(leaves) == 1:
        return hashlib.sha256(b"\x00" + leaves[0]).digest()
    k = 1
    while k * 2 < len(leaves):
        k *= 2
    return hashlib.sha256(b"\x01" + naive_root(leaves[:k]) + naive_root(leaves[k:])).digest()


def naive_path(index: int, leaves: Sequence[bytes]) -> list[bytes]:
    """PATH of RFC 6962, section 2.1.1, word for word."""
    if len(leaves) == 1:
        return []
    k = 1
    while k * 2 < len(leaves):
        k *= 2
    if index < k:
        return [*naive_path(index, leaves[:k]), naive_root(leaves[k:])]
    return [*naive_path(index - k, leaves[k:]), naive_root(leaves[:k])]


contents = st.lists(st.binary(min_size=0, max_size=4), max_size=70)


@given(contents)
def test_roots_are_those_of_the_definition(leaves: list[bytes]) -> None:
    assert merkle.root_of([merkle.leaf_hash(leaf) for leaf in leaves]) == naive_root(leaves)


@given(st.lists(st.binary(max_size=4), min_size=1, max_size=70), st.data())
def test_paths_are_those_of_the_definition_and_lead_to_the_root(leaves: list[bytes], data: st.DataObject) -> None:
    index = data.draw(st.integers(0, len(leaves) - 1))
    hashes = [merkle.leaf_hash(leaf) for leaf in leaves]
    path = merkle.path_of(hashes, index)
    assert path == naive_path(index, leaves)
    assert merkle.root_by_path(hashes[index], index, len(leaves), path) == naive_root(leaves)


@given(st.lists(st.binary(max_size=4), min_size=1, max_size=70), st.data())
def test_a_path_proves_nothing_else(leaves: list[bytes], data: st.DataObject) -> None:
    index = data.draw(st.integers(0, len(leaves) - 1))
    hashes = [merkle.leaf_hash(leaf) for leaf in leaves]
    path, root = merkle.path_of(hashes, index), merkle.root_of(hashes)
    other = data.draw(st.binary(max_size=5).filter(lambda content: content != leaves[index]))
    assert merkle.root_by_path(merkle.leaf_hash(other), index, len(leaves), path) != root
    assert merkle.root_by_path(hashes[index], index, len(leaves), [*path, root]) is None
    if path:
        assert merkle.root_by_path(hashes[index], index, len(leaves), path[:-1]) != root
        broken = data.draw(st.integers(0, len(path) - 1))
        changed = [bytes(32) if n == broken else sibling for n, sibling in enumerate(path)]
        assert merkle.root_by_path(hashes[index], index, len(leaves), changed) != root
    assert merkle.root_by_path(hashes[index], len(leaves), len(leaves), path) is None


@given(st.integers(1, 300), st.sampled_from([1, 2, 4, 8, 16]), st.data())
def test_a_tree_over_the_roots_of_chunks_is_the_tree_over_their_leaves(
    count: int, chunk: int, data: st.DataObject
) -> None:
    leaves = [n.to_bytes(2, "big") for n in range(count)]
    hashes = [merkle.leaf_hash(leaf) for leaf in leaves]
    chunks = [hashes[n : n + chunk] for n in range(0, count, chunk)]
    roots = [merkle.root_of(part) for part in chunks]
    assert merkle.root_of(roots) == naive_root(leaves)
    index = data.draw(st.integers(0, count - 1))
    path = merkle.path_of(chunks[index // chunk], index % chunk) + merkle.path_of(roots, index // chunk)
    assert path == naive_path(index, leaves)


def test_a_node_cannot_pass_for_a_leaf() -> None:
    left, right = merkle.leaf_hash(b"a"), merkle.leaf_hash(b"b")
    assert merkle.leaf_hash(left + right) != merkle.node_hash(left, right)
