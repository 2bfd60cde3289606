"""The log: events are appended by commands, stamped by the relay, read by hubs."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from uuid import UUID

import msgspec
from sqlalchemy import Row, Text, and_, cast, func, insert, or_, select
from sqlalchemy.ext.asyncio import AsyncConnection

from db.reads import Reads
from db.tables import event, log_epoch
from domain import trace
from domain.bus import Entry
from domain.events import Event, Stamped, Topic

e = event.c


class SqlEventLog:
    """`added` is what this transaction has appended: with nothing there is nobody to wake."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection
        self.added: list[Event] = []

    async def add(self, *events: Event, causes: Mapping[UUID, str] | None = None) -> None:
        if not events:
            return
        self.added += events
        cause, correlation, correlations = trace.cause.get(), trace.correlation_id.get(), trace.correlations.get()
        await self._connection.execute(
            insert(event),
            [
                {
                    "topic": one.topic,
                    "kind": type(one).__name__,
                    "stream": one.stream,
                    "entity_id": one.entity,
                    "seq": one.seq,
                    "body": msgspec.to_builtins(one, str_keys=True),
                    "concerns": list(one.concerns),
                    "caused_by": (caused_by := (causes.get(one.entity) if causes else None) or cause),
                    "correlation_id": correlations.get(caused_by, correlation),
                }
                for one in events
            ],
        )


def to_event(kind: str, body: Mapping[str, Any]) -> Event:
    return msgspec.convert(body, Event.kinds[kind], strict=False)


def to_stamped(row: Row[*tuple[Any, ...]]) -> Stamped:
    return Stamped(row.pos, row.at, tuple(row.concerns), to_event(row.kind, row.body), row.caused_by, row.correlation_id)


STAMPED = (e.pos, e.at, e.concerns, e.kind, e.body, e.caused_by, e.correlation_id)


@dataclass(frozen=True, slots=True)
class Beyond:
    """An event that is committed, and farther than who asks has come. `pos` is None while it has no place in the log."""

    pos: int | None
    topic: str
    stream: str
    entity: UUID
    seq: int
    concerns: Sequence[UUID]


@dataclass(frozen=True, slots=True)
class Head:
    """Where the log is, and in which history. Another database has another epoch."""

    epoch: str
    pos: int


_LAST = select(func.coalesce(func.max(e.pos), 0)).scalar_subquery()


async def head(reads: Reads) -> Head:
    row = (await reads.rows(select(log_epoch.c.epoch, _LAST.label("pos"))))[0]
    return Head(row.epoch, row.pos)


async def entries_since(reads: Reads, pos: int, limit: int) -> Sequence[Entry]:
    """In order, after `pos`. Events of kinds we do not know are among them."""
    rows = await reads.rows(select(*_ENTRY).where(e.pos > pos).order_by(e.pos).limit(limit))
    return [Entry(**row._mapping) for row in rows]


_ENTRY = (
    e.pos, e.at, cast(e.topic, Text).label("topic"), e.kind, e.stream, e.entity_id.label("entity"), e.seq, e.concerns, e.body,
    e.caused_by, e.correlation_id,
)  # fmt: skip


async def beyond(reads: Reads, pos: int, ids: Collection[UUID], kinds: Collection[type[Event]], limit: int) -> Sequence[Beyond]:
    """Committed, and stamped after `pos` or not yet: what happened to any of these, or concerns them."""
    of = and_(e.kind.in_([kind.__name__ for kind in kinds]), or_(e.entity_id.in_(ids), e.concerns.overlap(list(ids))))
    what = select(e.pos, cast(e.topic, Text).label("topic"), e.stream, e.entity_id, e.seq, e.concerns)
    found = await reads.rows(what.where(of, e.pos.is_(None)).union_all(what.where(of, e.pos > pos)).limit(limit))
    return [Beyond(*row) for row in found]


REPLAYED = 1_000  # events a client is sent again at most
REPLAYED_FROM = 20_000  # positions searched for them at most: past that a snapshot is cheaper
REPLAYED_FOR = timedelta(minutes=10)


async def resume(
    reads: Reads,
    after: Head,
    ids: Collection[UUID],
    topics: Collection[Topic],
    kinds: Collection[type[Event]],
    entities: Collection[UUID] = (),
) -> tuple[Head, Sequence[Stamped]] | None:
    """What happened to any of them after `after`, and up to where that is. None when it cannot be told, or is too much.

    What concerns any of `ids` as well; of `entities` alone what happened to them.
    """
    first = select(e.at >= func.clock_timestamp() - REPLAYED_FOR).where(e.pos == after.pos + 1).scalar_subquery()
    row = (await reads.rows(select(log_epoch.c.epoch, _LAST.label("pos"), first.label("recent"))))[0]
    now = Head(row.epoch, row.pos)
    if now == after:
        return now, ()
    if now.epoch != after.epoch or not after.pos < now.pos <= after.pos + REPLAYED_FROM or not row.recent:
        return None
    rows = await reads.rows(
        select(*STAMPED)
        .where(
            e.pos > after.pos,
            e.pos <= now.pos,
            e.kind.in_([kind.__name__ for kind in kinds]),
            or_(e.entity_id.in_([*ids, *entities]), e.concerns.overlap(list(ids)), e.topic.in_(topics)),
        )
        .order_by(e.pos)
        .limit(REPLAYED + 1)
    )
    return (now, [to_stamped(row) for row in rows]) if len(rows) <= REPLAYED else None
