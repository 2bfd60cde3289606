"""A log to play with: rows whose versions grow, each with its event in the same transaction."""

import asyncio
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from db.events import SqlEventLog
from db.ids import new_id
from domain.events import Event, Topic
from domain.stock import StockChanged, StockLevel, StockState

THEN = datetime(2026, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class ThingMoved(Event):
    """Of a test's own stream, on another topic than stock."""

    thing_id: UUID
    version: int
    concerned: tuple[UUID, ...] = ()

    topic, stream = Topic.ORDERS, "thing"

    @property
    def entity(self) -> UUID:
        return self.thing_id

    @property
    def seq(self) -> int:
        return self.version

    @property
    def concerns(self) -> Sequence[UUID]:
        return self.concerned


def level(listing_id: UUID, store_id: UUID, version: int) -> StockLevel:
    return StockLevel(listing_id, store_id, StockState.IN_STOCK, version, None, False, version, THEN)


@dataclass
class Things:
    """Entities of one store. Half of them speak on one topic, half on another."""

    engine: AsyncEngine
    store_id: UUID = field(default_factory=new_id)
    ids: list[UUID] = field(default_factory=list)
    committed: int = 0  # events, as these are
    rolled_back: int = 0

    async def make(self, count: int) -> "Things":
        self.ids = [new_id() for _ in range(count)]
        async with self.engine.begin() as connection:
            await connection.execute(
                text("CREATE TABLE IF NOT EXISTS thing (id uuid PRIMARY KEY, store_id uuid, version int NOT NULL)")
            )
            await connection.execute(
                text("INSERT INTO thing VALUES (:id, :store, 0)"), [{"id": id, "store": self.store_id} for id in self.ids]
            )
        return self

    def event(self, id: UUID, version: int, index: int = 0) -> Event:
        if self.ids.index(id) % 2:
            return ThingMoved(id, version, (self.store_id,))
        return StockChanged(level(id, self.store_id, version))

    async def change(self, *ids: UUID, hold_s: float = 0, roll_back: bool = False) -> None:
        """One transaction: a new version of each, and its event, in id order."""
        async with self.engine.connect() as connection:
            transaction = await connection.begin()
            log = SqlEventLog(connection)
            for id in sorted(ids):
                version = await connection.execute(
                    text("UPDATE thing SET version = version + 1 WHERE id = :id RETURNING version"), {"id": id}
                )
                event = self.event(id, version.scalar_one())
                await log.add(event)
                if hold_s:
                    await asyncio.sleep(hold_s / len(ids))
            if roll_back:
                await transaction.rollback()
                self.rolled_back += len(ids)
            else:
                await transaction.commit()
                self.committed += len(ids)

    async def versions(self) -> Mapping[UUID, int]:
        async with self.engine.connect() as connection:
            found = await connection.execute(
                text("SELECT id, version FROM thing WHERE store_id = :store"), {"store": self.store_id}
            )
            return {row.id: row.version for row in found}

    async def write(self, until: float, seed: int, most: int = 4, hold_s: float = 0.5) -> None:
        """Transactions open for up to `hold_s`, a tenth of them rolled back, until the loop's clock says so."""
        chance = random.Random(seed)
        while asyncio.get_running_loop().time() < until:
            ids = chance.sample(self.ids, chance.randint(1, most))
            await self.change(*ids, hold_s=chance.uniform(0, hold_s), roll_back=chance.random() < 0.1)
