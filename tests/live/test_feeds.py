"""Feeds over real sockets at two servers while Redis dies and comes back: late perhaps, wrong never."""

import asyncio
import random
import signal
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest
import pytest_asyncio
from sqlalchemy.ext.asyncio import AsyncEngine

from launch.redis import Redis
from tests.conftest import LONG
from tests.figures import show
from tests.live.town import Town, town
from tests.live.trade import trade
from tests.live.watching import STOCK, STORE_ORDERS, OrdersWatch, StockWatch, Watch, caught_up, following, levels_of, orders_of

SUBSCRIBERS, KILLS = (200, 10) if LONG else (40, 3)
CATCH_UP_S = 5
SEED = 11


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def running(
    database_url: str, own_redis: Redis, engine: AsyncEngine, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Town]:
    log = Path(tmp_path_factory.mktemp("feeds")) / "log"
    async with town(database_url, own_redis.url, engine, log, servers=2) as running:
        yield running


async def they_are_at(engine: AsyncEngine, watches: Sequence[Watch]) -> dict[Watch, dict[str, int]]:
    """What each is to be told last, by one look at the database."""
    stock, orders, now = {}, {}, {}
    for store_id in {watch.variables["id"] for watch in watches}:
        stock[store_id], orders[store_id] = await levels_of(engine, store_id), await orders_of(engine, store_id)
    for watch in watches:
        store_id = watch.variables["id"]
        now[watch] = stock[store_id] if isinstance(watch, StockWatch) else orders[store_id]
        if isinstance(watch, StockWatch) and "listings" not in watch.variables:  # nothing is told of what has not changed
            now[watch] = {id: version for id, version in stock[store_id].items() if version > 1}
    return now


async def test_redis_is_killed_again_and_again_and_every_feed_ends_where_the_database_is(
    running: Town, own_redis: Redis, engine: AsyncEngine
):
    going = await trade(running, engine, shops=4, customers=8, seed=SEED)
    chance = random.Random(SEED)
    owners = await running.tokens([stall.shop.owner for stall in going.stalls])
    watches: list[Watch] = []
    for number in range(SUBSCRIBERS):
        place, server = number % len(going.stalls), "server" if number // 4 % 2 else "server2"
        store_id, ids = str(going.stalls[place].shop.store_id), [str(id) for id in going.stalls[place].listings]
        match number // 8 % 5:
            case 0 | 1:
                watches.append(StockWatch(running.client(None, server), STOCK, {"id": store_id, "listings": ids}))
            case 2:
                watches.append(StockWatch(running.client(None, server), STOCK, {"id": store_id}))
            case _:
                watches.append(OrdersWatch(running.client(owners[place], server), STORE_ORDERS, {"id": store_id}))

    behind_s: dict[str, float] = {}
    ended: list[int | None] = []
    async with following(watches):
        async with going.going_on():
            for left in reversed(range(KILLS)):
                await asyncio.sleep(chance.uniform(0.3, 1.5))
                own_redis.kill()
                ended.append(own_redis.status)
                await asyncio.sleep(chance.uniform(0.5, 3))
                if left:
                    own_redis.start()  # of this thread: what another one starts dies with it
        behind_s["without redis"] = await caught_up(await they_are_at(engine, watches), CATCH_UP_S)
        own_redis.start()
        async with going.going_on():
            await asyncio.sleep(1)
        behind_s["with it again"] = await caught_up(await they_are_at(engine, watches), CATCH_UP_S)
    orders = [await orders_of(engine, stall.shop.store_id) for stall in going.stalls]
    counts = {
        "seed": SEED,
        "kills": len(ended),
        "subscribers": len(watches),
        "frames": sum(watch.frames for watch in watches),
        "degraded_frames": sum(watch.degraded for watch in watches),
        "resets": sum(watch.resets for watch in watches),
        "orders": sum(map(len, orders)),
        "answers": going.answers,
        "slowest_answer_s": round(going.slowest_s, 2),
        "caught_up_after_s": {when: round(seconds, 2) for when, seconds in behind_s.items()},
    }
    show("feeds without redis", **counts)
    assert ended == [-signal.SIGKILL] * KILLS
    assert [fault for watch in watches for fault in watch.faults] == []
    assert {type(watch) for watch in watches} == {StockWatch, OrdersWatch}
    assert going.failed == {}
    assert counts["degraded_frames"]
    assert counts["orders"] > KILLS
