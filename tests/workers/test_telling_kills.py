"""Whoever is killed while tills are told: each order is told, in the order of what became of it, and none is lost."""

import asyncio
import random
from collections import defaultdict
from collections.abc import Sequence
from contextlib import AsyncExitStack
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncEngine

from db import tables as t
from db.relay import leadership
from db.telling import SINK
from domain.fulfilment import MarkOrderReady, mark_order_ready
from domain.telling import TellingState
from tests.conftest import LONG
from tests.db.test_purchases import do
from tests.figures import show
from tests.simulators.tills import UrbanpiperTill
from tests.waiting import until
from tests.workers.killing import workers
from tests.workers.test_telling import Ordered, Told, ordered, urbanpiper

SEED = 91
TILLS, ORDERS, ROUNDS = (3, 30, 5) if LONG else (2, 8, 1)
WORKERS = 3
KILLED_EVERY_S = 0.8
TOLD_WITHIN_S = 180 if LONG else 60
OF_ONE_THING = 20  # orders: there are fifty of it, and each takes two
SLOW_S = 0.2  # so that many a one is killed while a till is at it
STEPS = ("order_placed", "Acknowledged", "Food Ready", "Cancelled")  # of an order, in their order


async def stamping(engine: AsyncEngine) -> None:
    async with leadership(engine) as leader:
        assert leader is not None
        while True:
            if not await leader.stamp(500):
                await asyncio.sleep(0.02)  # nobody says when there is more


Lived = tuple[Ordered, list[str]]
"""An order, and what its till is to hear of it."""


async def lives(told: Told, chance: random.Random) -> list[Lived]:
    lived = []
    for number in range(ORDERS):
        one = await ordered(told, f"I-{number // OF_ONE_THING}")
        lived.append(asyncio.create_task(life(one, chance)))
    return await asyncio.gather(*lived)


async def life(one: Ordered, chance: random.Random) -> Lived:
    heard = ["order_placed"]
    end = chance.choice(("nothing", "accepted", "ready", "cancelled", "cancelled"))
    await asyncio.sleep(chance.random() * 0.8)
    if end == "cancelled":
        await one.cancel()
        heard.append("Cancelled")
    elif end != "nothing":
        await one.accept()
        heard.append("Acknowledged")
        if end == "ready":
            await asyncio.sleep(chance.random() * 0.3)
            owner = one.told.source.shop.owner
            await do(one.told.engine, lambda uow: mark_order_ready(MarkOrderReady(one.order.id), owner, uow))
            heard.append("Food Ready")
    return one, heard


async def all_told(tills: Sequence[Told]) -> None:
    c, k = t.telling.c, t.sink.c
    ids = [told.source.source_id for told in tills]
    behind = select(func.max(t.event.c.pos) - select(k.pos).where(k.name == SINK).scalar_subquery())
    waiting = select(func.count()).where(c.source_id.in_(ids), c.state == TellingState.WAITING)
    unstamped = select(func.count()).where(t.event.c.pos.is_(None))
    async with asyncio.timeout(TOLD_WITHIN_S):
        while True:
            if not any([(await tills[0].source.rows(one))[0][0] for one in (unstamped, behind, waiting)]):
                return
            await asyncio.sleep(0.1)


def calls_of(till: UrbanpiperTill) -> dict[str, list[tuple[str, str]]]:
    """By our numbers: what was told, and by which id."""
    found: defaultdict[str, list[tuple[str, str]]] = defaultdict(list)
    for path, said, headers in till.calls:
        step = said["new_state"] if path.endswith("order_status_update") else "order_placed"
        number = said["order_id"] if "order_id" in said else said["order"]["details"]["id"]
        found[number].append((step, headers["x-request-id"]))
    return found


async def check(told: Told, till: UrbanpiperTill, made: Sequence[Lived]) -> None:
    assert not await told.source.failures()
    states = defaultdict[Any, dict[str, str]](dict)
    for row in await told.rows("order_id", "news", "state"):
        states[row.order_id][row.news.value] = row.state.value
    calls = calls_of(till)
    assert set(till.orders) <= {one.order.number for one, _ in made}
    for one, heard in made:
        said = calls[one.order.number]
        steps = [step for step, _ in said]
        assert steps == sorted(steps, key=STEPS.index), "out of turn"
        assert len({id for _, id in said}) == len(set(steps)), "told again by another id"
        if "Cancelled" not in heard:
            assert list(dict.fromkeys(steps)) == heard
            assert set(states[one.order.id].values()) == {"TOLD"}
        elif one.order.number in till.orders:
            assert steps[-1] == "Cancelled", "the till goes on making it"
        else:  # it ended before anybody could be told: at most it was begun, and then nobody knows
            assert "order_placed" not in steps
            assert states[one.order.id]["PLACED"] == "MOOT"


async def test_every_order_is_told_in_turn_whoever_is_killed(engine: AsyncEngine, database_url: str):
    chance = random.Random(SEED)
    told_, called, again, deaths = 0, 0, 0, 0
    for round_ in range(ROUNDS):
        async with AsyncExitStack() as open_:
            tills = [await open_.enter_async_context(urbanpiper(engine)) for _ in range(TILLS)]
            for _, till in tills:
                till.slow_s = SLOW_S
            stamps = asyncio.create_task(stamping(engine))
            try:
                many = workers("telling", database_url, WORKERS, killed_every_s=KILLED_EVERY_S, seed=SEED + round_)
                async with many as nursery:
                    await until(lambda: nursery.alive, within_s=30)
                    made = await asyncio.gather(*(lives(told, chance) for told, _ in tills))
                    await all_told([told for told, _ in tills])
                    deaths += len(nursery.died)
            finally:
                stamps.cancel()
                await asyncio.gather(stamps, return_exceptions=True)
            for (told, till), of_it in zip(tills, made, strict=True):
                await check(told, till, of_it)
                told_ += len(till.orders)
                called += len(till.calls)
                again += len(till.calls) - len({(path, headers["x-request-id"]) for path, _, headers in till.calls})
    show("tellings", seed=SEED, rounds=ROUNDS, tills=TILLS, orders=ORDERS, told=told_, calls=called, again=again, kills=deaths)
    assert deaths >= 5 * ROUNDS
