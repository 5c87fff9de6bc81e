"""Merkle trees as in RFC 6962, section 2.1: roots, and proofs that a leaf is in a tree.

A leaf's hash is SHA-256(0x00 ‖ content), a node's SHA-256(0x01 ‖ left ‖ right), so that neither can pass for the other.
The tree over n > 1 leaves splits after the largest power of two below n. That makes every aligned run of 2^k leaves a
whole subtree: a large tree is a tree over the roots of chunks of `CHUNK` leaves, of which a proof reads only one.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

CHUNK = 4096
"""Leaves in a chunk; a power of two."""

EMPTY_ROOT = hashlib.sha256(b"").digest()
"""The root of the tree without leaves."""


def leaf_hash(content: bytes) -> bytes:
    """The hash of a leaf."""
    return hashlib.sha256(b"\x00" + content).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """The hash of a node over two subtrees."""
    return hashlib.sha256(b"\x01" + left + right).digest()


def root_of(hashes: Sequence[bytes]) -> bytes:
    """The root of the tree over leaves' hashes, or over the roots of consecutive chunks of them.

    Memory: that of one more list of half the length.
    """
    if not hashes:
        return EMPTY_ROOT
    level = list(hashes)
    # Pairing neighbours level by level, an odd one out going up as it is, gives the tree of the definition.
    while len(level) > 1:
        paired = [node_hash(left, right) for left, right in zip(level[::2], level[1::2], strict=False)]
        level = paired if len(level) % 2 == 0 else [*paired, level[-1]]
    return level[0]


def path_of(hashes: Sequence[bytes], index: int) -> list[bytes]:
    """The audit path of the leaf at `index` (RFC 6962, section 2.1.1): the sibling subtrees' roots, from the leaf up.

    Raises:
        IndexError: if there is no such leaf.
    """
    if not 0 <= index < len(hashes):
        raise IndexError(index)
    path = []
    level = list(hashes)
    while len(level) > 1:
        sibling = index ^ 1
        if sibling < len(level):
            path.append(level[sibling])
        paired = [node_hash(level[i], level[i + 1]) for i in range(0, len(level) - 1, 2)]
        level = paired if len(level) % 2 == 0 else [*paired, level[-1]]
        index //= 2
    return path


def root_by_path(leaf: bytes, index: int, size: int, path: Sequence[bytes]) -> bytes | None:
    """The root that a leaf's hash and its audit path lead to (RFC 9162, section 2.1.3.2); None if they cannot fit."""
    if not 0 <= index < size:
        return None
    at, last, result = index, size - 1, leaf
    for sibling in path:
        if last == 0:
            return None
        if at % 2 == 1 or at == last:
            result = node_hash(sibling, result)
            while at % 2 == 0 and at != 0:
                at, last = at // 2, last // 2
        else:
            result = node_hash(result, sibling)
        at, last = at // 2, last // 2
    return result if last == 0 else None
