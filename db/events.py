"""The log: events are appended by commands, stamped by the relay, read by hubs."""

from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

import msgspec
from sqlalchemy import Row, func, insert, select
from sqlalchemy.ext.asyncio import AsyncConnection

from db.reads import Reads
from db.tables import event, log_epoch
from domain import trace
from domain.events import Event, Stamped

e = event.c


class SqlEventLog:
    """`added` counts what this transaction has appended: with none there is nothing to wake the relay for."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection
        self.added = 0

    async def add(self, *events: Event, causes: Mapping[UUID, str] | None = None) -> None:
        if not events:
            return
        self.added += len(events)
        cause, correlation = trace.cause.get(), trace.correlation_id.get()
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
                    "caused_by": causes.get(one.entity, cause) if causes else cause,
                    "correlation_id": correlation,
                }
                for one in events
            ],
        )


def to_event(kind: str, body: Mapping[str, Any]) -> Event:
    return msgspec.convert(body, Event.kinds[kind], strict=False)


def to_stamped(row: Row[Any]) -> Stamped:
    return Stamped(row.pos, row.at, tuple(row.concerns), to_event(row.kind, row.body), row.caused_by, row.correlation_id)


STAMPED = (e.pos, e.at, e.concerns, e.kind, e.body, e.caused_by, e.correlation_id)


async def last_pos(reads: Reads) -> int:
    return int(await reads.value(select(func.coalesce(func.max(e.pos), 0))))


async def since(reads: Reads, pos: int, limit: int) -> Sequence[Stamped]:
    """In order, after `pos`."""
    return [to_stamped(row) for row in await reads.rows(select(*STAMPED).where(e.pos > pos).order_by(e.pos).limit(limit))]


async def epoch(reads: Reads) -> str:
    """Which history `pos` counts: another database has another."""
    return str(await reads.value(select(log_epoch.c.epoch)))
