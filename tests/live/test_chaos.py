"""Every fault there is, one after the other, by a seed: whoever followed something ends where the database is.

Clients come back with their cursors, as ours do. What may not be, at any time: an older value after a newer one, and a step of
a list that was left out without a word.
"""

import asyncio
import math
import random
import signal
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import pytest
import pytest_asyncio
from redis import Redis as RedisClient
from sqlalchemy.ext.asyncio import AsyncEngine

from launch.redis import Redis
from tests.conftest import LONG
from tests.faults import Proxy
from tests.figures import show
from tests.live.test_feeds import they_are_at
from tests.live.town import Town, town
from tests.live.trade import Stall, Trade
from tests.live.watching import STOCK, STORE_ORDERS, OrdersWatch, StockWatch, Watch, caught_up, following
from tests.waiting import until
from tests.world import account, listings, shop

SUBSCRIBERS, ROUNDS, LONGEST_S = (500, 50, 20.0) if LONG else (40, 8, 2.0)
SHORTEST_S = 0.3
SHOPS, GOODS = 2, 50
QUIET_S = 10
SEED = 47
SERVERS = ("server", "server2")
NEVER_LOGGED = ("ASGI application", "never retrieved", "reader failed", "socket failed", "operation failed", "not looked at")


@dataclass
class Chaos:
    """`happened` counts disasters by their names."""

    running: Town
    redis: Redis
    to_redis: Proxy
    to_database: Proxy
    chance: random.Random
    happened: Counter[str] = field(default_factory=Counter)
    killed: Counter[str] = field(default_factory=Counter)
    dark_s: float = 0.0

    @property
    def disasters(self) -> Mapping[str, Callable[[], Awaitable[None]]]:
        return {
            "redis killed": self.redis_killed,
            "redis flushed": self.redis_flushed,
            "redis cuts off its clients": self.redis_cuts_off,
            "redis reset": partial(self.reset, self.to_redis),
            "redis refused": partial(self.refused, self.to_redis),
            "redis hangs": partial(self.hangs, self.to_redis),
            "redis slow": self.redis_slow,
            "database reset": partial(self.reset, self.to_database),
            "database refused": partial(self.refused, self.to_database),
            "database hangs": partial(self.hangs, self.to_database),
            "a server killed": self.server_killed,
            "the workers killed": self.workers_killed,
        }

    async def happen(self, rounds: int) -> None:
        """Each of them once, in an order by chance, and again."""
        waiting: list[str] = []
        for _ in range(rounds):
            if not waiting:
                waiting = self.chance.sample(list(self.disasters), len(self.disasters))
            name = waiting.pop()
            self.happened[name] += 1
            await self.disasters[name]()
            await asyncio.sleep(self.chance.uniform(0.1, 1.5))

    async def hole(self) -> None:
        """Short ones are likelier than long ones, and neither is left out."""
        seconds = math.exp(self.chance.uniform(math.log(SHORTEST_S), math.log(LONGEST_S)))
        self.dark_s += seconds
        await asyncio.sleep(seconds)

    async def redis_killed(self) -> None:
        self.redis.kill()
        assert self.redis.status == -signal.SIGKILL
        await self.hole()
        self.redis.start()  # of this thread: what another one starts dies with it

    async def redis_flushed(self) -> None:
        with RedisClient.from_url(self.redis.url) as client:
            client.flushall()

    async def redis_cuts_off(self) -> None:
        with RedisClient.from_url(self.redis.url) as client:
            client.execute_command("CLIENT", "KILL", "TYPE", "pubsub")
            client.client_kill_filter(_type="normal", skipme=True)

    async def reset(self, proxy: Proxy) -> None:
        proxy.cut()

    async def refused(self, proxy: Proxy) -> None:
        proxy.refuse()
        await self.hole()
        await proxy.pass_on()

    async def hangs(self, proxy: Proxy) -> None:
        proxy.hang()
        await self.hole()
        await proxy.pass_on()

    async def redis_slow(self) -> None:
        self.to_redis.delay_s = 0.4
        await self.hole()
        await self.to_redis.pass_on()

    async def server_killed(self) -> None:
        await self.killed_one(self.chance.choice(SERVERS))

    async def workers_killed(self) -> None:
        await self.killed_one("work")

    async def killed_one(self, name: str) -> None:
        process = self.running.processes[name]
        process.kill()
        assert process.status == -signal.SIGKILL, (name, process.status, self.running.said())
        self.killed[name] += 1
        process.start()
        if name in self.running.ports:
            await self.running.ready(name, within_s=60)


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def chaos(
    database_url: str, own_redis: Redis, engine: AsyncEngine, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Chaos]:
    log = Path(tmp_path_factory.mktemp("chaos")) / "log"
    async with (
        Proxy.before(database_url) as to_database,
        Proxy.before(own_redis.url) as to_redis,
        town(to_database.url(database_url), to_redis.url(own_redis.url), engine, log, servers=len(SERVERS)) as running,
    ):
        yield Chaos(running, own_redis, to_redis, to_database, random.Random(SEED))


async def watches_of(running: Town, going: Trade) -> list[Watch]:
    """Three of five watch the stock of one shop, the others its orders, at both servers."""
    owners = await running.tokens([stall.shop.owner for stall in going.stalls])
    watches: list[Watch] = []
    for number in range(SUBSCRIBERS):
        place, server = number % SHOPS, SERVERS[number // SHOPS % len(SERVERS)]
        store_id = str(going.stalls[place].shop.store_id)
        if number // (SHOPS * len(SERVERS)) % 5 < 3:
            ids = [str(id) for id in going.stalls[place].listings]
            watches.append(StockWatch(running.client(None, server), STOCK, {"id": store_id, "listings": ids}, returns=True))
        else:
            watches.append(OrdersWatch(running.client(owners[place], server), STORE_ORDERS, {"id": store_id}, returns=True))
    return watches


async def test_whoever_follows_ends_where_the_database_is_whatever_happens(chaos: Chaos, engine: AsyncEngine):
    random.seed(SEED)
    shops = [await shop(engine) for _ in range(SHOPS)]
    stalls = [Stall(mine, await listings(engine, mine, [500] * GOODS)) for mine in shops]
    going = Trade(chaos.running, stalls, [await account(engine) for _ in range(6)], SEED, pause_s=0.4)
    watches = await watches_of(chaos.running, going)
    began = time.monotonic()
    async with following(watches, within_s=120):
        async with going.going_on():
            await chaos.happen(ROUNDS)
        await chaos.running.ready()
        behind_s = await caught_up(await they_are_at(engine, watches), QUIET_S)
        async with going.going_on():
            stock = [watch for watch in watches if isinstance(watch, StockWatch)]
            await until(lambda: not any(watch.behind_now for watch in stock), 20)  # and all is prompt again
        again_s = await caught_up(await they_are_at(engine, watches), QUIET_S)
    faults = [fault for watch in watches for fault in watch.faults]
    show(
        "chaos", seed=SEED, rounds=ROUNDS, disasters=chaos.happened, killed=chaos.killed, dark_s=round(chaos.dark_s, 1),
        seconds=round(time.monotonic() - began, 1), subscribers=len(watches), entities=SHOPS * GOODS,
        frames=sum(watch.frames for watch in watches), degraded_frames=sum(watch.degraded for watch in watches),
        resets=sum(watch.resets for watch in watches), closes=sum((watch.closes for watch in watches), Counter[str]()),
        answers=going.answers, values_back=sum(fault.startswith("level") for fault in faults),
        steps_lost=sum(fault.startswith("order") for fault in faults),
        caught_up_after_s=[round(behind_s, 2), round(again_s, 2)],
    )  # fmt: skip
    assert faults == []
    assert [line for line in chaos.running.faults() if any(words in line for words in NEVER_LOGGED)] == []
    assert chaos.happened.total() == ROUNDS
    assert {type(watch) for watch in watches} == {StockWatch, OrdersWatch}
    assert sum(watch.degraded for watch in watches)
    assert going.answers["placeOrder"]["ok"] > ROUNDS / 4
