"""The relay's statements. One leader stamps committed events with `pos`, on the connection that holds its lock."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import msgspec
from sqlalchemy import Row, Text, bindparam, cast, func, select, text, update
from sqlalchemy.dialects import postgresql
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from db.horizon import last_number_of, writers_of
from db.tables import event, log_epoch
from domain.bus import Entry

e = event.c
LOCK = 0x68616174_706F73  # "haat" "pos"
FROZEN_AFTER = timedelta(seconds=5)

_unstamped = (
    select(e.id, func.row_number().over(order_by=e.id).label("place"))
    .where(e.pos.is_(None), e.id > bindparam("floor"))
    .order_by(e.id)
    .limit(bindparam("limit"))
    .cte("unstamped")
)
_STAMP = (
    update(event)
    .where(e.id == _unstamped.c.id)
    .values(pos=bindparam("last") + _unstamped.c.place)
    # The body goes on as the text it is: nobody on the way needs to read it.
    .returning(
        e.pos,
        e.at,
        cast(e.topic, Text).label("topic"),
        e.kind,
        e.stream,
        e.entity_id,
        e.seq,
        e.concerns,
        cast(e.body, Text).label("body"),
        e.caused_by,
        e.correlation_id,
    )
)
_LAG = select(func.count(), func.coalesce(func.extract("epoch", func.clock_timestamp() - func.min(e.at)), 0)).where(
    e.pos.is_(None), e.id > bindparam("floor")
)
_WRITERS = writers_of("event")
_LAST_ID = last_number_of("event", "id")
# A leader that is silent, but whose connection lives: a stopped process, a blocked loop. Its connection ends, and
# with it the lock and its power to stamp.
_END_FROZEN = text(
    "SELECT pg_terminate_backend(pid) FROM pg_locks JOIN pg_stat_activity USING (pid)"
    " WHERE locktype = 'advisory' AND granted AND (classid::bigint << 32) + objid::bigint = :lock AND objsubid = 1"
    " AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
    " AND state_change < clock_timestamp() - CAST(:after AS interval)"
).bindparams(bindparam("after", type_=postgresql.INTERVAL))
# A leader whose machine is gone is noticed, and its lock given up, within two seconds.
_NOTICE_DEATH = text(
    "SELECT set_config('tcp_keepalives_idle', '1', false), set_config('tcp_keepalives_interval', '1', false),"
    " set_config('tcp_keepalives_count', '1', false), set_config('tcp_user_timeout', '2000', false)"
)


@dataclass(frozen=True, slots=True)
class Lag:
    """Committed events that have no `pos` yet."""

    events: int
    oldest_s: float


class Leader:
    """Has the lock for as long as its connection lives. Whoever lost the one has lost the other."""

    def __init__(self, connection: AsyncConnection, epoch: str, pos: int) -> None:
        self.epoch = epoch
        self.pos = pos
        self._connection = connection
        self._floor = 0
        self._awaited: tuple[int, frozenset[str]] | None = None

    async def stamp(self, limit: int) -> list[Entry]:
        """Gives the oldest unstamped events the next positions, committed on return.

        In the order of ids: one stream's are committed in that order, so nothing of a stream is ever overtaken.
        """
        done = await self._connection.execute(_STAMP, {"floor": self._floor, "limit": limit, "last": self.pos})
        entries = sorted((_to_entry(row) for row in done), key=lambda entry: entry.pos)
        if entries:
            self.pos = entries[-1].pos
        return entries

    async def lag(self) -> Lag:
        count, oldest_s = (await self._connection.execute(_LAG, {"floor": self._floor})).one()
        return Lag(count, float(oldest_s))

    async def raise_floor(self) -> None:
        """Lets `stamp` skip what is stamped already. To be called now and then.

        While some old transaction is open nothing dead leaves the index of unstamped events, and looking for live ones
        from its beginning takes longer with every event. Below the floor nothing can appear any more: all that could
        write there have ended, and nothing unstamped is left.
        """
        if self._awaited is None:
            last_id = (await self._connection.execute(_LAST_ID)).scalar_one()
            # Read after the id: whoever was given one up to it has ended, or is among these.
            self._awaited = last_id, frozenset((await self._connection.execute(_WRITERS)).scalars())
        last_id, writers = self._awaited
        if writers and not writers.isdisjoint((await self._connection.execute(_WRITERS)).scalars()):
            return
        left = select(e.id).where(e.pos.is_(None), e.id > self._floor, e.id <= last_id).limit(1)
        if (await self._connection.execute(left)).first() is None:
            self._floor = max(self._floor, last_id)
            self._awaited = None


@asynccontextmanager
async def leadership(engine: AsyncEngine) -> AsyncIterator[Leader | None]:
    """None while another leads. Leaving gives the lock up."""
    autocommit = engine.execution_options(isolation_level="AUTOCOMMIT")
    async with autocommit.connect() as connection:
        if not (await connection.execute(select(func.pg_try_advisory_lock(LOCK)))).scalar_one():
            await connection.execute(_END_FROZEN, {"lock": LOCK, "after": FROZEN_AFTER})
            yield None
            return
        try:
            await connection.execute(_NOTICE_DEATH)
            epoch = (await connection.execute(select(log_epoch.c.epoch))).scalar_one()
            last = (await connection.execute(select(func.coalesce(func.max(e.pos), 0)))).scalar_one()
            yield Leader(connection, epoch, last)
        finally:
            # Never back into the pool: the lock would live on there.
            await connection.invalidate()


def _to_entry(row: Row[*tuple[Any, ...]]) -> Entry:
    return Entry(
        row.pos,
        row.at,
        row.topic,
        row.kind,
        row.stream,
        row.entity_id,
        row.seq,
        tuple(row.concerns),
        msgspec.Raw(row.body.encode()),
        row.caused_by,
        row.correlation_id,
    )
