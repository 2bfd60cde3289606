"""Each sink's place in the log, moved by one process at a time."""

from collections.abc import AsyncIterator, Collection, Sequence
from contextlib import asynccontextmanager

from sqlalchemy import func, select, true, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from db.events import STAMPED, e, to_stamped
from db.tables import event, sink
from domain.events import Event, Stamped


class Place:
    """Ours alone for as long as the connection lives: whoever loses it cannot move the place any more."""

    def __init__(self, connection: AsyncConnection, name: str, pos: int) -> None:
        self.pos = pos
        self.behind = 0  # events between here and the end of the log, wanted or not
        self._connection = connection
        self._name = name

    async def read(self, kinds: Collection[type[Event]] | None, limit: int) -> tuple[Sequence[Stamped], int]:
        """The next events of these kinds, and where the log has been read to with them."""
        wanted = true() if kinds is None else e.kind.in_([kind.__name__ for kind in kinds])
        end = (await self._connection.execute(select(func.coalesce(func.max(e.pos), 0)))).scalar_one()
        self.behind = end - self.pos
        if not self.behind:
            return (), end
        found = await self._connection.execute(
            select(*STAMPED).where(e.pos > self.pos, e.pos <= end, wanted).order_by(e.pos).limit(limit)
        )
        events = [to_stamped(row) for row in found]
        return events, events[-1].pos if len(events) == limit else end

    async def move(self, pos: int) -> None:
        await self._connection.execute(update(sink).where(sink.c.name == self._name).values(pos=pos))
        self.behind -= pos - self.pos
        self.pos = pos


@asynccontextmanager
async def place(engine: AsyncEngine, name: str, *, from_the_start: bool = False) -> AsyncIterator[Place | None]:
    """None while another process has it. A sink never seen before begins at the end of the log, or at its start."""
    lock = func.hashtextextended(f"haat sink {name}", 0)
    async with engine.execution_options(isolation_level="AUTOCOMMIT").connect() as connection:
        if not (await connection.execute(select(func.pg_try_advisory_lock(lock)))).scalar_one():
            yield None
            return
        try:
            end = 0 if from_the_start else select(func.coalesce(func.max(event.c.pos), 0)).scalar_subquery()
            await connection.execute(insert(sink).values(name=name, pos=end).on_conflict_do_nothing())
            pos = (await connection.execute(select(sink.c.pos).where(sink.c.name == name))).scalar_one()
            yield Place(connection, name, pos)
        finally:
            await connection.invalidate()  # never back into the pool: the lock would live on there
