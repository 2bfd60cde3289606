"""Whatever the order, however often, whoever is killed in between: what sources told of a thing comes to the same."""

import asyncio
import json
import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx2
from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncEngine

from db import tables as t
from domain.intake import InstructionState
from tests.conftest import LONG
from tests.figures import show
from tests.partners import Partner, event, partner, snapshot
from tests.workers.killing import workers
from tests.world import listings, shop

SEED = 53
SCHEDULES, EVENTS = (200, 500) if LONG else (4, 200)
ENTITIES, WORKERS, MOST_TIMES = 20, 8, 5
MOST_LINES = 10  # events of one payload
SIDE_BY_SIDE, AT_ONCE = 4, 4  # schedules, and calls of each
KILLED_EVERY_S = 2.0 if LONG else 0.5
DONE_WITHIN_S = 60
BEGAN = datetime(2026, 1, 5, 10, 0, tzinfo=UTC)
STORE = "MAIN"


@dataclass(frozen=True)
class News:
    """One change of one thing, at its version: so many there are, or with `change` so many more or fewer."""

    sku: str
    version: int
    counted: int | None
    change: int = 0


@dataclass(frozen=True)
class Told:
    """What happened at one moment, in one payload: all of it counts, or all more, or all fewer."""

    number: int
    news: Sequence[News]

    def body(self) -> dict[str, Any]:
        at, first = BEGAN + timedelta(seconds=self.number), self.news[0]
        if first.counted is not None:
            return snapshot(STORE, *((one.sku, one.counted or 0, one.version) for one in self.news), at=at)
        if first.change > 0:
            lines = [{"sku": one.sku, "accepted_qty": one.change, "version": one.version} for one in self.news]
            return event("receipt.completed", at, location=STORE, lines=lines)
        lines = [{"sku": one.sku, "qty": -one.change, "version": one.version} for one in self.news]
        return event("transfer.dispatched", at, **{"from": STORE, "to": "ELSEWHERE", "lines": lines})


def happened(chance: random.Random, skus: Sequence[str]) -> list[Told]:
    """In order. Each thing is counted first, and then counted again or changed."""
    versions = Counter[str]()
    told: list[Told] = []

    def tell(some: Sequence[str], change: int | None) -> None:
        versions.update(some)
        counts = [chance.randint(200, 900) if change is None else None for _ in some]
        news = [
            News(sku, versions[sku], counted, (change or 0) * chance.randint(1, 6))
            for sku, counted in zip(some, counts, strict=True)
        ]
        told.append(Told(len(told), news))

    for begin in range(0, len(skus), MOST_LINES):
        tell(skus[begin : begin + MOST_LINES], None)
    while (left := EVENTS - versions.total()) > 0:
        tell(chance.sample(skus, min(left, chance.randint(1, MOST_LINES))), chance.choice((None, None, 1, 1, -1)))
    return told


def fold(told: Sequence[Told]) -> dict[str, int]:
    left: dict[str, int] = {}
    for one in (one for some in told for one in some.news):
        left[one.sku] = one.counted if one.counted is not None else left[one.sku] + one.change
    return left


async def post(warehouse: Partner, one: Told) -> httpx2.Response:
    """Under the same id, whenever it is told."""
    raw = json.dumps(one.body()).encode()
    return await warehouse.post("webhooks/stock", raw, **warehouse.signed(raw, f"news-{warehouse.source_id}-{one.number}"))


async def carried_out(warehouse: Partner) -> None:
    i = t.instruction.c
    waiting = select(func.count()).where(i.source_id == warehouse.source_id, i.state == InstructionState.WAITING)
    async with asyncio.timeout(DONE_WITHIN_S):
        while (await warehouse.rows(waiting))[0][0]:  # noqa: ASYNC110  # nobody says when a queue is empty
            await asyncio.sleep(0.05)


async def levels(warehouse: Partner, skus: Sequence[str]) -> dict[str, int]:
    v, level = t.variant.c, t.stock_level.c
    of = select(v.sku, level.on_hand).join(t.variant, v.id == level.listing_id)  # a listing here has its variant's key
    return {row.sku: row.on_hand for row in await warehouse.rows(of.where(v.sku.in_(skus)))}


@dataclass
class Played:
    sent: int
    repeated: int
    states: Counter[str]


async def play(engine: AsyncEngine, schedule: int) -> Played:
    chance = random.Random(f"{SEED}-{schedule}")
    mine = await shop(engine)
    ids = await listings(engine, mine, [None] * ENTITIES)
    skus = [f"SKU-{id}" for id in ids]
    warehouse = await partner(engine, "wms", STORE, of=mine)
    told = happened(chance, skus)
    sends = [one for one in told for _ in range(chance.randint(1, MOST_TIMES))]
    chance.shuffle(sends)
    for begin in range(0, len(sends), AT_ONCE):
        answers = await asyncio.gather(*(post(warehouse, one) for one in sends[begin : begin + AT_ONCE]))
        assert {answer.status_code for answer in answers} == {200}
    await carried_out(warehouse)
    states = Counter(state for *_, state in await warehouse.instructions())
    assert states.keys() <= {"APPLIED", "SUPERSEDED"}
    assert states.total() == sum(len(one.news) for one in told) == EVENTS
    assert await levels(warehouse, skus) == fold(told), f"schedule {schedule}"
    assert await warehouse.discrepancies() == 0
    return Played(sum(len(one.news) for one in sends), len(sends) - len(told), states)


async def test_every_schedule_comes_to_the_fold_in_order_of_versions(engine: AsyncEngine, database_url: str):
    side_by_side = asyncio.Semaphore(SIDE_BY_SIDE)
    played: list[Played] = []

    async def one(schedule: int) -> None:
        async with side_by_side:
            played.append(await play(engine, schedule))

    async with workers("instructions", database_url, WORKERS, killed_every_s=KILLED_EVERY_S, seed=SEED) as nursery:
        try:
            async with asyncio.TaskGroup() as tasks:
                for schedule in range(SCHEDULES):
                    tasks.create_task(one(schedule))
        finally:
            show(
                "schedules",
                seeds=f"{SEED}-0 to {SEED}-{SCHEDULES - 1}",
                schedules=SCHEDULES,
                right=len(played),
                events=EVENTS * len(played),
                sent=sum(one.sent for one in played),
                payloads_repeated=sum(one.repeated for one in played),
                instructions=sum((one.states for one in played), Counter[str]()),
                kills=len(nursery.died),
            )
    assert len(played) == SCHEDULES
    assert len(nursery.died) >= SCHEDULES / 2
