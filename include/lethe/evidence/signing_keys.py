"""Which signing keys came before the one in use: a replacement is an entry of the ledger, signed by both keys.

Trust goes from the key in use back to those that it replaced, never forward: who can write to the database but has not
the key in use cannot make another key count. What an earlier key has signed stays good; nothing new is signed with it.
"""

from __future__ import annotations

import sqlalchemy as sa
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from lethe.errors import EvidenceError
from lethe.evidence.signed import Document, Hex32, Hex64, canonical, key_id, read_document, read_json
from lethe.governance import Governance, schema
from lethe.keys import CONNECTION_ID, Keys

REPLACED = "keys.signing-replaced"
"""The entry that a signing key was replaced."""
SUBJECT = "keys"
_FORMAT = "lethe-signing-key/1"


class Replacement(Document):
    """One signing key came in the place of another, and the keepers of both say so."""

    old_key: Hex32
    new_key: Hex32
    by_old: Hex64
    by_new: Hex64

    @classmethod
    def of(cls, old: Keys, new: Keys) -> Replacement:
        """A replacement, signed by both.

        Raises:
            EvidenceError: if one of them has no signing key.
        """
        before, after = old.signing_key(), new.signing_key()
        old_key, new_key = (key.public_key().public_bytes_raw().hex() for key in (before, after))
        content = _content(old_key, new_key)
        return cls(
            old_key=old_key, new_key=new_key, by_old=before.sign(content).hex(), by_new=after.sign(content).hex()
        )

    @property
    def holds(self) -> bool:
        """Whether both keys have signed it."""
        content = _content(self.old_key, self.new_key)
        try:
            for key, signature in ((self.old_key, self.by_old), (self.new_key, self.by_new)):
                Ed25519PublicKey.from_public_bytes(bytes.fromhex(key)).verify(bytes.fromhex(signature), content)
        except InvalidSignature:
            return False
        return True


def _content(old_key: str, new_key: str) -> bytes:
    return canonical({"format": _FORMAT, "new_key": new_key, "old_key": old_key})


def require_in_use(connection: sa.Connection, keys: Keys) -> None:
    """Refuse a signing key that was replaced.

    Raises:
        EvidenceError: if it was, or there is none.
    """
    _refuse_replaced(keys.signing_key().public_key(), _replacements(connection))


def trusted_keys(governance: Governance, keys: Keys) -> list[Ed25519PublicKey]:
    """The public key in use, and those before it, the latest first.

    Raises:
        EvidenceError: if the signing key was replaced, or there is none.
    """
    own = keys.signing_key().public_key()
    with governance.read() as connection:
        replaced = _replacements(connection)
    _refuse_replaced(own, replaced)
    before = {each.new_key: each.old_key for each in replaced}
    chain = [own.public_bytes_raw().hex()]
    while (earlier := before.get(chain[-1])) is not None and earlier not in chain:
        chain.append(earlier)
    return [Ed25519PublicKey.from_public_bytes(bytes.fromhex(key)) for key in chain]


def _refuse_replaced(own: Ed25519PublicKey, replaced: list[Replacement]) -> None:
    if own.public_bytes_raw().hex() in {each.old_key for each in replaced}:
        raise EvidenceError(
            f"connection {CONNECTION_ID}: its signing key (id {key_id(own)[:16]}…) was replaced: give every process "
            "the connection that `lethe keys rotate` wrote"
        )


def _replacements(connection: sa.Connection) -> list[Replacement]:
    """All that hold. Others are nobody's word; `Ledger.verify` says which entries were changed."""
    table = schema.ledger.c
    query = sa.select(table.body).where(table.subject == SUBJECT, table.kind == REPLACED).order_by(table.seq)
    found = []
    for body in connection.scalars(query):
        try:
            said = read_document(Replacement, read_json(body.encode(), what=REPLACED), what=REPLACED)
        except EvidenceError:
            continue
        if said.holds:
            found.append(said)
    return found
