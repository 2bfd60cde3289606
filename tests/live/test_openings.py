"""Stores that open and close at their time, and who watches them, over real sockets at two servers."""

import asyncio
import itertools
import random
import time
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
import pytest_asyncio
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncEngine

from db import tables as t
from db.unit_of_work import unit_of_work
from domain.identity import CLOCK
from domain.merchants import Hours, SetStoreStatus, StoreStatus, set_store_status
from tests.figures import show
from tests.live.town import Town, town
from tests.live.watching import Watch, following
from tests.world import shop

PROMISED_S = 2
EACH = 20  # stores of one watch
SEED = 23
STATUS = """subscription($ids: [ID!]!, $after: String) { storeStatus(storeIds: $ids, after: $after) {
  cursor reset degraded statuses { storeId status isOpen opensAt closesAt until version asOf } } }"""


@dataclass(eq=False)
class StatusWatch(Watch):
    """Values, with when each store was first told to be open, or not."""

    came: dict[tuple[str, bool], float] = field(default_factory=dict)

    def take(self, frame: Mapping[str, Any]) -> None:
        for state in frame["statuses"]:
            id, version, before = state["storeId"], state["version"], self.versions.get(state["storeId"], 0)
            if version < before or (version == before and not frame["reset"]):
                self.faults.append(f"store {id}: {version} after {before}")
            self.versions[id] = version
            self.came.setdefault((id, state["isOpen"]), time.time())


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def running(
    database_url: str, redis_url: str, engine: AsyncEngine, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Town]:
    log = Path(tmp_path_factory.mktemp("openings")) / "log"
    async with town(database_url, redis_url, engine, log, servers=2) as running:
        running.add_workers("more work")  # both look; each store is told of once
        yield running


async def a_store(engine: AsyncEngine, hours: Hours | None) -> UUID:
    # Nobody looks at it before it has its hours: else it would be told of by those too, as of any that are changed.
    store_id = (await shop(engine, time_zone="UTC", **({"look_at": None} if hours else {}))).store_id
    if hours is not None:
        async with unit_of_work(engine) as uow:
            await uow.merchants.set_hours(store_id, [hours])
    return store_id


def span(opens: datetime, minutes: int) -> Hours:
    minute = opens.hour * 60 + opens.minute
    return Hours(opens.weekday(), minute, minute + minutes)


async def by_their_hours(engine: AsyncEngine, count: int) -> dict[UUID, tuple[datetime, bool]]:
    """All at one full minute: every other one opens, the others close."""
    then = (datetime.now(UTC) + timedelta(seconds=20 + count / 20)).replace(second=0, microsecond=0) + timedelta(minutes=1)
    flips = {}
    for number in range(count):
        opens = number % 2 == 0
        hours = span(then, 60) if opens else span(then - timedelta(hours=1), 60)
        flips[await a_store(engine, hours)] = (then, opens)
    return flips


async def by_their_word(engine: AsyncEngine, count: int) -> dict[UUID, tuple[datetime, bool]]:
    """Pauses that end at any moment of a few seconds."""
    chance = random.Random(SEED)
    stores = [await a_store(engine, None) for _ in range(count)]
    start = datetime.now(UTC) + timedelta(seconds=4 + count / 20)
    flips = {id: (start + timedelta(seconds=chance.uniform(0, 3)), True) for id in stores}
    for id, (then, _) in flips.items():
        async with unit_of_work(engine) as uow:
            await set_store_status(SetStoreStatus(id, StoreStatus.PAUSED, then), CLOCK, uow)
    return flips


@pytest.mark.parametrize(
    ("flipping", "count", "watchers"),
    [(by_their_word, 60, 20), pytest.param(by_their_hours, 600, 150, marks=pytest.mark.long)],
    ids=["pauses", "hours"],
)
async def test_who_watches_a_store_is_told_in_time_that_it_opens_or_closes(
    running: Town, engine: AsyncEngine, flipping: Any, count: int, watchers: int
):
    flips = await flipping(engine, count)
    stores = list(flips)
    watches = []
    for number in range(watchers):
        ids = list(itertools.islice(itertools.cycle(stores), number * EACH % count, number * EACH % count + EACH))
        server = "server" if number % 2 else "server2"
        watches.append(StatusWatch(running.client(None, server), STATUS, {"ids": [str(id) for id in ids]}))
    async with following(watches):
        assert datetime.now(UTC) < min(then for then, _ in flips.values()), "the machine is too slow for this test's plan"
        wanted = [(watch, id, flips[UUID(id)]) for watch in watches for id in watch.variables["ids"]]
        last = max(then for then, _ in flips.values()).timestamp()
        while waiting := [id for watch, id, (_, opens) in wanted if (id, opens) not in watch.came]:
            assert time.time() < last + 4 * PROMISED_S, f"{len(waiting)} of {len(wanted)} have not been told"
            await asyncio.sleep(0.05)
        await asyncio.sleep(1)  # who would tell again has had the time to
    took = sorted(watch.came[id, opens] - then.timestamp() for watch, id, (then, opens) in wanted)
    p50, p99, worst = (round(took[int(part * (len(took) - 1))], 3) for part in (0.5, 0.99, 1))
    show("stores told in time", seed=SEED, by=flipping.__name__, stores=count, told=len(took), p50_s=p50, p99_s=p99, worst_s=worst)
    assert [fault for watch in watches for fault in watch.faults] == []
    assert took[0] >= -0.1, "before its time"
    assert worst < 4 * PROMISED_S
    e = t.event.c
    async with engine.connect() as connection:
        rows = (await connection.execute(select(e.entity_id, e.seq).where(e.entity_id.in_(stores)).order_by(e.id))).all()
        version = dict((await connection.execute(select(t.store.c.id, t.store.c.version).where(t.store.c.id.in_(stores)))).all())
    paused = 1 if flipping is by_their_word else 0
    for id in stores:  # one event for each version, one version for each change
        assert [row.seq for row in rows if row.entity_id == id] == list(range(2, version[id] + 1))
        assert version[id] == 2 + paused
