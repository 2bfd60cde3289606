"""Who did what to whom, beside what the events of an entity already tell: only ever added to, each entry sealed to the one before.

A merchant's entries are a chain: `seq` counts them from 1, and the hash of each is made of what it says and of the hash before it.
What belongs to no merchant is a chain of its own. The head of a chain is its last entry's number and hash, kept apart from it.
"""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Protocol
from uuid import UUID

from domain.identity import Actor

NOBODYS = UUID(int=0)  # the chain of what belongs to no merchant
SEALED_BY = hashlib.sha256


@dataclass(frozen=True, slots=True)
class AuditEntry:
    id: UUID
    at: datetime
    actor: str  # "support:0197…", "clock"
    action: str  # "ban user"
    subject: UUID  # whom or what it was done to
    detail: str


@dataclass(frozen=True, slots=True)
class Head:
    """Where a chain has come to. One that is empty has `seq` 0 and no hash."""

    chain: UUID
    seq: int = 0
    hash: bytes = b""


@dataclass(frozen=True, slots=True)
class Link:
    """An entry in its place."""

    seq: int
    entry: AuditEntry
    merchant_id: UUID | None
    hash: bytes


class AuditLog(Protocol):
    async def write(self, actor: Actor, action: str, subject: UUID, merchant_id: UUID | None, detail: str) -> None:
        """In the transaction of what it tells of: one is not kept without the other. `detail` holds no secrets.

        What a transaction has to say is put into its chains at its very end, under the locks of their heads: they are the
        last that are taken, in the order of the chains, and held for no longer than the commit takes.
        """


def sealed(before: bytes, seq: int, entry: AuditEntry, merchant_id: UUID | None) -> bytes:
    """SHA-256 of a JSON array without spaces, all of it ASCII: the hash before in hex (of the first one nothing), seq, id, the
    time in UTC to the microsecond, actor, action, subject, merchant or null, detail.
    """
    at = entry.at.astimezone(UTC).isoformat(timespec="microseconds")
    merchant = None if merchant_id is None else str(merchant_id)
    told = [before.hex(), seq, str(entry.id), at, entry.actor, entry.action, str(entry.subject), merchant, entry.detail]
    return SEALED_BY(json.dumps(told, separators=(",", ":")).encode()).digest()


# ---------------------------------------------------------------- looking whether it is whole


@dataclass(frozen=True, slots=True)
class Break:
    """A place where a chain does not hold, and why."""

    chain: UUID
    seq: int
    what: str


class Walk:
    """One chain, followed entry by entry in the order of their numbers, then held against its head. Each break is told once."""

    def __init__(self, chain: UUID) -> None:
        self._chain = chain
        self._seq = 0
        self._hash: bytes | None = b""  # None: nobody knows what stood before

    def step(self, link: Link) -> Iterator[Break]:
        if link.seq <= self._seq:
            yield self._broken(link.seq, "stands where no entry has its place")
            return
        if link.seq > self._seq + 1:
            yield self._missing(self._seq + 1, link.seq - 1)
            self._hash = None
        if self._hash is not None and link.hash != sealed(self._hash, link.seq, link.entry, link.merchant_id):
            yield self._broken(link.seq, "is not what was sealed: it was changed, or what stood before it")
        self._seq, self._hash = link.seq, link.hash

    def end(self, head: Head | None) -> Iterator[Break]:
        if head is None:
            yield self._broken(self._seq, "is the last of a chain whose head is gone")
        elif head.seq > self._seq:
            yield self._missing(self._seq + 1, head.seq)
        elif head.seq < self._seq:
            yield self._broken(head.seq + 1, f"and what follows stands beyond the chain's head, at {head.seq}")
        elif head.hash != (b"" if self._hash is None else self._hash):
            yield self._broken(head.seq, "is not the one the chain's head knows")

    def _missing(self, first: int, last: int) -> Break:
        return self._broken(first, "is missing" if first == last else f"is missing, and all up to {last}")

    def _broken(self, seq: int, what: str) -> Break:
        return Break(self._chain, seq, what)
