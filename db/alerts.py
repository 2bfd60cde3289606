"""What there is to tell those who watch over us, given to one of those who ask."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy import and_, exists, func, or_, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from db.arrays import among
from db.failures import CLOCKS_APART_S, FAILURE
from db.ids import first_id
from db.tables import event, failure, sink
from domain.alerts import NEW_AFTER, OLD_AFTER
from domain.failures import BORN_RESOLVED, Failure, FailureChanged
from domain.intake import FailureState

e, f, k = event.c, failure.c, sink.c
GROUPS = "alerts of groups"


class SqlAlerts:
    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def new_groups(self, limit: int) -> tuple[Sequence[Failure], bool]:
        pos = await self._position()
        if pos is None:
            return (), False
        found = await self._connection.execute(
            select(e.pos, e.kind, e.seq, e.entity_id).where(e.pos > pos).order_by(e.pos).limit(limit)
        )
        entries = found.all()
        if not entries:
            return (), False
        new = [one.entity_id for one in entries if one.kind == FailureChanged.__name__ and one.seq == 1]
        now: datetime = (await self._connection.execute(select(func.clock_timestamp()))).scalar_one()
        # Up to when something has gone by that nobody is told of, since nobody has looked for so long. `greatest` leaves out nulls.
        untold_to = select(func.max(f.at)).where(among(f.id, new), f.at < now - OLD_AFTER).scalar_subquery()
        told = {"pos": entries[-1].pos, "at": func.greatest(k.at, untold_to)}
        await self._connection.execute(update(sink).where(k.name == GROUPS).values(told))
        return (await self._first_ones(new, now) if new else ()), len(entries) == limit

    async def _position(self) -> int | None:
        """Locked. Who begins to listen begins where the log is by now."""
        mine = select(k.pos).where(k.name == GROUPS)
        pos = (await self._connection.execute(mine.with_for_update(skip_locked=True))).scalar_one_or_none()
        if pos is None and (await self._connection.execute(mine)).scalar_one_or_none() is None:
            last = select(func.coalesce(func.max(e.pos), 0)).scalar_subquery()
            await self._connection.execute(insert(sink).values(name=GROUPS, pos=last).on_conflict_do_nothing())
        return pos

    async def _first_ones(self, ids: Sequence[UUID], now: datetime) -> list[Failure]:
        before = failure.alias("before").c
        # In each state from where it may count on: a group that has gone on for months is not walked from its beginning.
        recent = before.state.in_(list(FailureState)), before.id >= first_id(now - NEW_AFTER - OLD_AFTER, -CLOCKS_APART_S)
        # What went by untold makes nothing known: else a group that goes on would never be told of.
        untold_to = select(k.at).where(k.name == GROUPS).scalar_subquery()
        told = or_(untold_to.is_(None), before.at > untold_to)
        alike = before.fingerprint == f.fingerprint, before.id < f.id, before.at >= f.at - NEW_AFTER, told, *recent
        # As two, since no index knows `is not distinct from`.
        theirs = exists().where(before.merchant_id == f.merchant_id, *alike)
        nobodys = exists().where(before.merchant_id.is_(None), *alike)
        known = or_(theirs, and_(f.merchant_id.is_(None), nobodys))
        found = await self._connection.execute(
            select(*FAILURE).where(among(f.id, ids), f.kind.not_in(BORN_RESOLVED), f.at >= now - OLD_AFTER, ~known).order_by(f.id)
        )
        return [Failure(*row) for row in found]

    async def lag_s(self) -> float:
        age = func.extract("epoch", func.clock_timestamp() - e.at)
        found = await self._connection.execute(select(age).where(e.pos.is_(None)).order_by(e.id).limit(1))
        return float(found.scalar_one_or_none() or 0)

    async def due(self, what: str, every: timedelta) -> bool:
        now = func.clock_timestamp()
        told = insert(sink).values(name=what, at=now)
        told = told.on_conflict_do_update(index_elements=[k.name], set_={"at": now}, where=k.at < now - every)
        return (await self._connection.execute(told.returning(k.name))).scalar_one_or_none() is not None
