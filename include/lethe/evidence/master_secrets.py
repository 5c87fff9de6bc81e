"""Which master secrets came before the one in use: each is in the ledger, encrypted under the one that replaced it.

Records that were erased under an earlier one can be proved by that one alone: the roots of their trees are signed, and
the records are gone. Who has the secret in use has those before it, and who has an earlier one has no later one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import sqlalchemy as sa
from pydantic import Field

from lethe.errors import EvidenceError
from lethe.evidence.outcomes import recorded_at
from lethe.evidence.signed import Document, Hex32, read_document, read_json
from lethe.evidence.signing_keys import SUBJECT
from lethe.governance import Governance, schema
from lethe.keys import Keys

REPLACED = "keys.master-replaced"
"""The entry that a master secret was replaced."""


class MasterReplacement(Document):
    """One master secret came in the place of another, which is kept for those who have the new one."""

    old: Hex32 = Field(description="The check value of the one before.")
    new: Hex32 = Field(description="That of the one in its place.")
    sealed: Annotated[str, Field(pattern=r"^([0-9a-f]{2})+$", max_length=256)] = Field(
        description="The one before, encrypted under the one in its place."
    )

    @classmethod
    def of(cls, old: Keys, new: Keys) -> MasterReplacement:
        """A replacement."""
        return cls(old=old.check, new=new.check, sealed=old.sealed_for(new).hex())


@dataclass(frozen=True, slots=True)
class MasterSecrets:
    """The master secret in use, and those before it.

    Attributes:
        governance: the database whose ledger has them.
        chain: from the latest to the first, each with the number of the ledger's entry that began it; the first has 0.
    """

    governance: Governance
    chain: Sequence[tuple[int, Keys]]

    @classmethod
    def of(cls, governance: Governance, keys: Keys) -> MasterSecrets:
        """Open those before the one in use.

        Raises:
            EvidenceError: if one cannot be opened: its entry was changed, or does not lead to the one in use.
        """
        table = schema.ledger.c
        query = sa.select(table.seq, table.body).where(table.subject == SUBJECT, table.kind == REPLACED)
        with governance.read() as connection:
            entries = connection.execute(query.order_by(table.seq.desc())).all()
        chain = []
        for seq, body in entries:
            chain.append((seq, keys))
            what = f"the ledger's entry {seq}, of a replaced master secret,"
            said = read_document(MasterReplacement, read_json(str(body).encode(), what=what), what=what)
            if said.new != keys.check:
                raise EvidenceError(f"{what} is not of the one that came after it: see `lethe ledger verify`")
            keys = keys.earlier(bytes.fromhex(said.sealed), said.old)
        return cls(governance, [*chain, (0, keys)])

    def of_run(self, run_id: str, dataset: str) -> Keys:
        """The keys of the secret under which the outcomes of a dataset of a run were recorded last."""
        if len(self.chain) == 1:
            return self.chain[0][1]
        with self.governance.read() as connection:
            recorded = recorded_at(connection, run_id, dataset)
        return next((keys for since, keys in self.chain if since <= recorded), self.chain[-1][1])
