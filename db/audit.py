"""Who did what to whom: entries at the end of their chains, and a walk that finds where one was touched."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import BigInteger, ColumnElement, LargeBinary, Row, Text, Uuid, false, func, insert, select, text, true, update
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from db.arrays import rows
from db.columns import TIME
from db.ids import new_id
from db.pages import By, Page, page
from db.reads import Reads
from db.tables import audit, audit_head
from domain.audit import NOBODYS, AuditEntry, Break, Head, Link, Walk, sealed
from domain.identity import Actor, ActorKind

a, h = audit.c, audit_head.c
ENTRY = (a.id, a.at, a.actor, a.action, a.subject, a.detail)  # as AuditEntry has them


def visible_to(actor: Actor) -> ColumnElement[bool]:
    return true() if actor.kind is ActorKind.SUPPORT and actor.id is not None else false()


async def entries(reads: Reads, actor: Actor, subject: UUID | None, first: int | None, after: str | None) -> Page[AuditEntry]:
    """The newest first. Refuses InvalidInput for a page that cannot be."""
    found = select(*ENTRY).where(visible_to(actor))
    if subject is not None:
        found = found.where(a.subject == subject)
    return await page(reads, found, [By(a.id, descending=True)], _entry, first, after, "audit")


def _entry(row: Row[*tuple[Any, ...]]) -> AuditEntry:
    return AuditEntry(row.id, row.at, row.actor, row.action, row.subject, row.detail)


@dataclass(frozen=True, slots=True)
class _Said:
    """To be put into its chain. Its moment is the chain's, by the database's clock."""

    id: UUID
    actor: str
    action: str
    subject: UUID
    merchant_id: UUID | None
    detail: str

    @property
    def chain(self) -> UUID:
        return self.merchant_id or NOBODYS


class SqlAudit:
    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection
        self._said: list[_Said] = []

    async def write(self, actor: Actor, action: str, subject: UUID, merchant_id: UUID | None, detail: str) -> None:
        self._said.append(_Said(new_id(), str(actor), action, subject, merchant_id, detail))

    async def append(self) -> None:
        """The last of a transaction: what was written goes to the ends of its chains. Without any it asks nothing."""
        if not self._said:
            return
        ends = await self._lock_heads({one.chain for one in self._said})
        links: list[Link] = []
        for one in self._said:
            head, at = ends[one.chain]
            entry = AuditEntry(one.id, at, one.actor, one.action, one.subject, one.detail)
            link = Link(head.seq + 1, entry, one.merchant_id, sealed(head.hash, head.seq + 1, entry, one.merchant_id))
            ends[one.chain] = (Head(one.chain, link.seq, link.hash), at)
            links.append(link)
        self._said.clear()
        await self._write(links, [head for head, _ in ends.values()])

    async def _lock_heads(self, chains: set[UUID]) -> dict[UUID, tuple[Head, datetime]]:
        """In the order of the chains, so that no two transactions wait for each other; one that is new begins at nothing."""
        first = upsert(audit_head).values([{"chain": chain, "seq": 0, "hash": b""} for chain in sorted(chains)])
        locked = first.on_conflict_do_update(index_elements=[h.chain], set_={"seq": h.seq})
        found = await self._connection.execute(locked.returning(h.chain, h.seq, h.hash, func.clock_timestamp().label("at")))
        return {row.chain: (Head(row.chain, row.seq, row.hash), row.at) for row in found}

    async def _write(self, links: list[Link], heads: list[Head]) -> None:
        one = rows(
            "one",
            id=(Uuid(), [link.entry.id for link in links]),
            at=(TIME, [link.entry.at for link in links]),
            actor=(Text(), [link.entry.actor for link in links]),
            action=(Text(), [link.entry.action for link in links]),
            subject=(Uuid(), [link.entry.subject for link in links]),
            detail=(Text(), [link.entry.detail for link in links]),
            merchant_id=(Uuid(), [link.merchant_id for link in links]),
            seq=(BigInteger(), [link.seq for link in links]),
            hash=(LargeBinary(), [link.hash for link in links]),
        ).c
        last = rows(
            "last",
            chain=(Uuid(), [head.chain for head in heads]),
            seq=(BigInteger(), [head.seq for head in heads]),
            hash=(LargeBinary(), [head.hash for head in heads]),
        ).c
        moved = update(audit_head).where(h.chain == last.chain).values(seq=last.seq, hash=last.hash)
        added = insert(audit).from_select([column.name for column in one], select(*one))
        await self._connection.execute(added.add_cte(moved.cte("moved")))


# ---------------------------------------------------------------- looking whether it is whole

AT_ONCE = 2_000


@dataclass(frozen=True, slots=True)
class Walked:
    """So far, and what was found just now. `head` of a chain that has been walked to its end."""

    entries: int
    breaks: tuple[Break, ...] = ()
    head: Head | None = None


async def walk(engine: AsyncEngine) -> AsyncIterator[Walked]:
    """Every chain, as all of them were at one moment, whatever is written meanwhile. Keeps a page of entries in memory."""
    async with engine.connect() as connection:
        still = await connection.execution_options(isolation_level="REPEATABLE READ")
        await still.execute(text("SET TRANSACTION READ ONLY"))
        count, chain = 0, await _next(still, None)
        while chain is not None:
            following = Walk(chain)
            async for links in _pages(still, chain):
                count += len(links)
                yield Walked(count, tuple(found for link in links for found in following.step(link)))
            head = await _head(still, chain)
            yield Walked(count, tuple(following.end(head)), head or Head(chain))
            chain = await _next(still, chain)


async def count(reads: Reads) -> int:
    """About how many there are, for who shows how far it is: the heads say it."""
    return int(await reads.value(select(func.coalesce(func.sum(h.seq), 0))))


async def _next(connection: AsyncConnection, after: UUID | None) -> UUID | None:
    # From chain to chain through the indexes: one of which only the head is left, or only entries, is found as well.
    heads, entries = (
        select(column).where(true() if after is None else column > after).order_by(column).limit(1).scalar_subquery()
        for column in (h.chain, a.chain)
    )
    chain: UUID | None = (await connection.execute(select(func.least(heads, entries, type_=Uuid())))).scalar_one()
    return chain


async def _pages(connection: AsyncConnection, chain: UUID) -> AsyncIterator[list[Link]]:
    mine = select(*ENTRY, a.merchant_id, a.seq, a.hash).where(a.chain == chain).order_by(a.seq).limit(AT_ONCE)
    some = mine
    while links := [Link(row.seq, _entry(row), row.merchant_id, row.hash) for row in await connection.execute(some)]:
        yield links
        if len(links) < AT_ONCE:
            return
        some = mine.where(a.seq > links[-1].seq)


async def _head(connection: AsyncConnection, chain: UUID) -> Head | None:
    row = (await connection.execute(select(h.seq, h.hash).where(h.chain == chain))).one_or_none()
    return Head(chain, row.seq, row.hash) if row else None
