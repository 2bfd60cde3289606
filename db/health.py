"""Sources that speak and sources that do not: who is late, what rests on their word, and how it is told to people."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import Interval, Row, Select, and_, exists, func, or_, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from db.instructions import DUE
from db.reads import Reads
from db.stock import COUNTED, SWITCHED
from db.tables import instruction, source, stock_movement, told
from domain.health import MINUTE_S, Doubted, Health, SourceState
from domain.payloads import SEEN_EVERY_S

s, i, t, movement = source.c, instruction.c, told.c, stock_movement.c
FIRST = UUID(int=0)  # no listing is before it
HEALTH = (s.id, s.merchant_id, s.provider, s.last_seen_at, s.silent_since, s.version)  # as Health has them
OVERDUE_AT = func.coalesce(s.last_seen_at, s.created_at) + func.make_interval(0, 0, 0, 0, 0, 0, s.expected_every_s, type_=Interval)
SURE_AT = OVERDUE_AT + timedelta(seconds=SEEN_EVERY_S)  # that it was seen is written down no oftener than that
LATE = and_(s.enabled, s.silent_since.is_(None), s.expected_every_s.is_not(None), func.clock_timestamp() >= SURE_AT)


class SqlHealth:
    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def fall_silent(self, limit: int) -> list[Health]:
        # Not for their keys: what a source sent before is being carried out meanwhile, and points at it.
        late = select(s.id).where(LATE).order_by(s.id).limit(limit).with_for_update(skip_locked=True, key_share=True).cte("late")
        done = await self._connection.execute(
            update(source)
            .where(s.id == late.c.id)
            .values(silent_since=OVERDUE_AT, marked_to=FIRST, version=s.version + 1)
            .returning(*HEALTH)
        )
        return [Health(*row) for row in done]

    async def end_silence(self, source_id: UUID) -> Health | None:
        spoken = or_(s.expected_every_s.is_(None), func.clock_timestamp() < OVERDUE_AT)
        done = await self._connection.execute(
            update(source)
            .where(s.id == source_id, s.silent_since.is_not(None), spoken)
            .values(silent_since=None, marked_to=None, version=s.version + 1)
            .returning(*HEALTH)
        )
        row = done.one_or_none()
        return Health(*row) if row else None

    async def expect(self, source_id: UUID, every_s: int | None) -> None:
        await self._connection.execute(update(source).where(s.id == source_id).values(expected_every_s=every_s))

    async def lock_doubted(self) -> Doubted | None:
        found = await self._connection.execute(
            select(s.id, s.marked_to)
            .where(s.marked_to.is_not(None))
            .order_by(s.id)
            .limit(1)
            .with_for_update(skip_locked=True, key_share=True)
        )
        row = found.one_or_none()
        return Doubted(row.id, row.marked_to) if row else None

    async def told_of(self, doubted: Doubted, limit: int) -> list[UUID]:
        counted, switched = (
            select(t.entity_id.label("id"))
            .where(t.source_id == doubted.source_id, t.field == field, t.entity_id > doubted.after)
            .order_by(t.entity_id)
            .limit(limit)
            for field in (COUNTED, SWITCHED)
        )
        every = counted.union(switched, _changed(doubted, limit)).subquery()
        return list((await self._connection.execute(select(every.c.id).order_by(every.c.id).limit(limit))).scalars())

    async def marked(self, source_id: UUID, up_to: UUID | None) -> None:
        await self._connection.execute(update(source).where(s.id == source_id).values(marked_to=up_to))


def _changed(doubted: Doubted, limit: int) -> Select[tuple[UUID]]:
    """Listings of its deltas. From one to the next through the index, however many each has had."""
    mine = select(movement.listing_id).where(movement.source_id == doubted.source_id).order_by(movement.listing_id).limit(1)
    first = mine.where(movement.listing_id > doubted.after).scalar_subquery()
    found = select(first.label("id")).cte("changed", recursive=True)
    following = mine.where(movement.listing_id > found.c.id).scalar_subquery()
    found = found.union_all(select(following).where(found.c.id.is_not(None)))
    return select(found.c.id).where(found.c.id.is_not(None)).limit(limit)


# ---------------------------------------------------------------- reading


@dataclass(frozen=True, slots=True)
class ToDo:
    late: bool
    doubted: bool


_TO_DO = select(exists().where(LATE).label("late"), exists().where(s.marked_to.is_not(None)).label("doubted"))


async def to_do(reads: Reads) -> ToDo:
    """Whether any source is late, and whether the levels of any are still to be marked."""
    row = await reads.one(_TO_DO)
    assert row is not None
    return ToDo(row.late, row.doubted)


@dataclass(frozen=True, slots=True)
class SourceHealth:
    """As people see it. `lag_seconds`: since when the oldest of what it said, and could be done by now, is not done."""

    source_id: UUID
    state: SourceState
    last_seen_at: datetime | None
    silent_since: datetime | None
    expected_every_minutes: int | None
    lag_seconds: float


async def healths(reads: Reads, ids: Sequence[UUID]) -> list[SourceHealth]:
    """In no order. Who asks has been shown the sources."""
    oldest = select(i.next_at).where(i.source_id == s.id, DUE).order_by(i.next_at).limit(1).scalar_subquery()
    lag = func.coalesce(func.extract("epoch", func.clock_timestamp() - oldest), 0)
    found = select(s.id, s.enabled, s.last_seen_at, s.silent_since, s.expected_every_s, lag.label("lag_s")).where(s.id.in_(ids))
    return [_health(row) for row in await reads.rows(found)]


def _health(row: Row[Any]) -> SourceHealth:
    if not row.enabled:
        state = SourceState.DISABLED
    elif row.silent_since is not None:
        state = SourceState.SILENT
    else:
        state = SourceState.NEW if row.last_seen_at is None else SourceState.LIVE
    minutes = None if row.expected_every_s is None else row.expected_every_s // MINUTE_S
    return SourceHealth(row.id, state, row.last_seen_at, row.silent_since, minutes, round(float(row.lag_s), 3))
