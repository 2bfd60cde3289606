"""Sources that are asked: whose turn it is, and up to when they have told us."""

from collections.abc import Collection
from datetime import datetime, timedelta

from sqlalchemy import and_, func, or_, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from db.tables import source, source_access, source_cursor, source_telling
from domain.access import SealedAccess
from domain.pulling import Ended, Turn

a, c, s = source_access.c, source_cursor.c, source.c
NOW = func.clock_timestamp()
ANEW = {"next_at": NOW, "failed": 0, "message": None, "held_until": None}


class SqlPulls:
    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def set_access(self, access: SealedAccess) -> None:
        new = insert(source_access).values(source_id=access.source_id, base_url=access.base_url, sealed=access.sealed)
        await self._connection.execute(
            new.on_conflict_do_update(
                index_elements=[a.source_id],
                set_={"base_url": new.excluded.base_url, "sealed": new.excluded.sealed, "changed_at": NOW},
            )
        )
        # Who still asks or tells by the old access holds it no more: neither what came of that is written down, nor a rest.
        turn = insert(source_cursor).values(source_id=access.source_id)
        await self._connection.execute(turn.on_conflict_do_update(index_elements=[c.source_id], set_=ANEW))
        told = update(source_telling).where(source_telling.c.source_id == access.source_id)
        await self._connection.execute(told.values(**ANEW))

    async def turn(self, hold: timedelta, providers: Collection[str]) -> Turn | None:
        free = or_(c.held_until.is_(None), c.held_until <= NOW)
        found = await self._connection.execute(
            select(c.source_id, s.provider, a.base_url, a.sealed, c.told_until, c.failed, c.budget, c.budget_at)
            .join_from(source_cursor, source, s.id == c.source_id)
            .join(source_access, a.source_id == c.source_id)
            .where(c.next_at <= NOW, free, s.enabled, s.provider.in_(providers))
            .order_by(c.next_at)
            .limit(1)
            .with_for_update(of=source_cursor, skip_locked=True)
        )
        row = found.one_or_none()
        if row is None:
            return None
        mine = c.source_id == row.source_id
        held = await self._connection.execute(
            update(source_cursor).where(mine).values(held_until=NOW + hold).returning(c.held_until, NOW.label("now"))
        )
        until, now = held.one()
        access = SealedAccess(row.source_id, row.base_url, row.sealed)
        told_until, failed, budget, budget_at = row[4:]
        return Turn(row.source_id, row.provider, access, told_until, now, until, failed, budget, budget_at)

    async def hold(self, turn: Turn, held_until: datetime, hold: timedelta, budget: float) -> datetime | None:
        mine = and_(c.source_id == turn.source_id, c.held_until == held_until)
        held = await self._connection.execute(
            update(source_cursor).where(mine).values(held_until=NOW + hold, budget=budget, budget_at=NOW).returning(c.held_until)
        )
        until: datetime | None = held.scalar_one_or_none()
        return until

    async def end(self, turn: Turn, held_until: datetime, ended: Ended) -> bool:
        mine = and_(c.source_id == turn.source_id, c.held_until == held_until)
        done = await self._connection.execute(
            update(source_cursor)
            .where(mine)
            .values(
                held_until=None,
                told_until=func.coalesce(ended.told_until, c.told_until),
                next_at=NOW + ended.next_in,
                failed=ended.failed,
                message=ended.message,
                budget=ended.budget,
                budget_at=NOW,
            )
            .returning(c.source_id)
        )
        return done.scalar_one_or_none() is not None
