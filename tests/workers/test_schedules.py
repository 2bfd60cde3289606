"""Whatever the order, however often, whoever dies in between: what sources told of a thing comes to the same."""

import asyncio
import json
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncEngine

from db import tables as t
from domain.intake import InstructionState
from tests.conftest import LONG
from tests.figures import show
from tests.partners import Partner, event, partner, snapshot, worker_of

SEED = 53
SCHEDULES, EVENTS = (15, 500) if LONG else (2, 200)
ENTITIES, WORKERS, MOST_TIMES, AT_ONCE = 20, 8, 5, 16
KILLED_EVERY_S = 0.2
BEGAN = datetime(2026, 1, 5, 10, 0, tzinfo=UTC)
FEW = "index,product,category,sub_category,brand,sale_price,market_price,type,rating\n"


@dataclass(frozen=True)
class News:
    """One change of one thing, at its version."""

    sku: str
    version: int
    counted: int | None  # so many there are; None: `change` more
    change: int

    def body(self, store: str) -> dict[str, Any]:
        at = BEGAN + timedelta(seconds=self.version)
        if self.counted is not None:
            return snapshot(store, (self.sku, self.counted, self.version), at=at)
        return event("stock.adjusted", at, location=store, sku=self.sku, delta=str(self.change), version=self.version)


def happened(chance: random.Random) -> list[News]:
    """In order. Each thing is counted first, and then counted again or changed."""
    versions = {f"SKU-{number}": 0 for number in range(ENTITIES)}
    news = []
    for number in range(EVENTS):
        sku = f"SKU-{number}" if number < ENTITIES else chance.choice(sorted(versions))
        versions[sku] += 1
        counted = chance.randint(200, 900) if versions[sku] == 1 or chance.random() < 0.4 else None
        news.append(News(sku, versions[sku], counted, chance.randint(-6, 6)))
    return news


def fold(news: list[News]) -> dict[str, int]:
    left: dict[str, int] = {}
    for one in news:
        left[one.sku] = one.counted if one.counted is not None else left[one.sku] + one.change
    return left


@asynccontextmanager
async def workers(engine: AsyncEngine, chance: random.Random) -> AsyncIterator[list[int]]:
    """So many at once; every moment one of them dies in the middle of whatever it does, and another takes its place."""
    killed: list[int] = []
    running = [asyncio.create_task(worker_of(engine, group=40).run()) for _ in range(WORKERS)]

    async def kill() -> None:
        while True:
            await asyncio.sleep(KILLED_EVERY_S)
            place = chance.randrange(WORKERS)
            running[place].cancel()
            await asyncio.gather(running[place], return_exceptions=True)
            running[place] = asyncio.create_task(worker_of(engine, group=40).run())
            killed.append(place)

    killing = asyncio.create_task(kill())
    try:
        yield killed
    finally:
        killing.cancel()
        await asyncio.gather(killing, return_exceptions=True)
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)


async def stocked(engine: AsyncEngine) -> Partner:
    """A warehouse of a shop that lists all of it."""
    shelf = await partner(engine, "catalogue_file", "MAIN")
    rows = "".join(f"SKU-{number},Good {number},Snacks,Chips,Malabar,90,100,Chips,4\n" for number in range(ENTITIES))
    assert (await shelf.tell("import?store=MAIN", (FEW + rows).encode())).status_code == 202
    return await partner(engine, "wms", "MAIN", of=shelf.shop)


async def tell(warehouse: Partner, one: News) -> int:
    """Under the same id, whenever it is told."""
    raw = json.dumps(one.body("MAIN")).encode()
    answer = await warehouse.post("webhooks/stock", raw, **warehouse.signed(raw, f"{one.sku}-{one.version}"))
    return answer.status_code


async def carried_out(warehouse: Partner) -> None:
    i = t.instruction.c
    waiting = select(func.count()).where(i.source_id == warehouse.source_id, i.state == InstructionState.WAITING)
    async with asyncio.timeout(60):
        while (await warehouse.rows(waiting))[0][0]:  # noqa: ASYNC110  # nobody says when a queue is empty
            await asyncio.sleep(0.02)


async def test_every_schedule_comes_to_the_fold_in_order_of_versions(engine: AsyncEngine):
    right = sent = kills = 0
    for schedule in range(SCHEDULES):
        chance = random.Random(f"{SEED}-{schedule}")
        news = happened(chance)
        told = [one for one in news for _ in range(chance.randint(1, MOST_TIMES))]
        chance.shuffle(told)
        warehouse = await stocked(engine)
        async with workers(engine, chance) as killed:
            for begin in range(0, len(told), AT_ONCE):
                answers = await asyncio.gather(*(tell(warehouse, one) for one in told[begin : begin + AT_ONCE]))
                assert set(answers) == {200}
            await carried_out(warehouse)
            kills += len(killed)
        sent += len(told)
        left = {sku: (await warehouse.level(sku)).on_hand for sku in fold(news)}
        assert left == fold(news), f"schedule {schedule}"
        assert await warehouse.discrepancies() == 0
        right += 1
    show("schedules", seed=SEED, schedules=SCHEDULES, right=right, events=EVENTS * SCHEDULES, sent=sent, kills=kills)
