"""A Redis that hangs: it takes connections and says nothing. Nobody waits for it longer than is said."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import suppress
from datetime import UTC, datetime
from uuid import uuid4

import pytest
import pytest_asyncio
import uvloop
from limits import RateLimitItemPerMinute

from adapters.bus import WITHIN_S, open_bus
from adapters.limits import AWAY_S, RedisLimits
from adapters.limits import WITHIN_S as BUDGET_WITHIN_S
from adapters.positions import AWAY_S as RIDERS_AWAY_S
from adapters.positions import WITHIN_S as RIDERS_WITHIN_S
from adapters.positions import RedisPositions
from domain.bus import Message
from domain.places import Point
from domain.positions import Sighting
from domain.refusals import Refused, Unavailable
from tests.faults import Proxy
from tests.waiting import until

SLACK_S = 0.5
HERE = Point(12.97, 77.59)
TABLE = {"few": (RateLimitItemPerMinute(5),)}


@pytest_asyncio.fixture(loop_scope="session")
async def proxy(redis_url: str) -> AsyncIterator[Proxy]:
    async with Proxy.before(redis_url) as proxy:
        yield proxy


class Clock:
    at = 1_000.0

    def __call__(self) -> float:
        return self.at


async def test_budgets_are_our_own_after_a_second_and_one_at_a_time_asks_again(proxy: Proxy, redis_url: str):
    clock = Clock()
    limits = RedisLimits(proxy.url(redis_url), b"k" * 32, limits=TABLE, clock=clock)
    assert await limits.hit("few", "one") is None
    proxy.hang()
    began = time.monotonic()
    said = await asyncio.gather(*(limits.hit("few", "two") for _ in range(20)))
    assert time.monotonic() - began < BUDGET_WITHIN_S + SLACK_S
    assert said.count(None) == 5
    began = time.monotonic()
    await asyncio.gather(*(limits.hit("few", "three") for _ in range(100)))
    assert time.monotonic() - began < SLACK_S
    clock.at += AWAY_S
    asks = asyncio.create_task(limits.hit("few", "four"))
    await asyncio.sleep(0)
    began = time.monotonic()
    await asyncio.gather(*(limits.hit("few", "five") for _ in range(100)))
    assert time.monotonic() - began < SLACK_S
    assert not asks.done()
    await asks
    await proxy.pass_on()
    clock.at += AWAY_S
    assert await limits.hit("few", "two") is None  # the budget of all, that nobody has spent
    proxy.hang()
    began = time.monotonic()
    await limits.close()
    assert time.monotonic() - began < 1 + SLACK_S


async def test_riders_are_known_to_this_process_after_a_second(proxy: Proxy, redis_url: str):
    clock = Clock()
    positions = RedisPositions(proxy.url(redis_url), clock=clock)
    rider, now = uuid4(), datetime.now(UTC)

    def seen(seq: int) -> list[Sighting]:
        return [Sighting("phone", seq, HERE, now)]

    assert (await positions.keep(rider, seen(1), now)).accepted == 1
    proxy.hang()
    began = time.monotonic()
    assert (await positions.keep(rider, seen(2), now)).accepted == 1
    assert time.monotonic() - began < RIDERS_WITHIN_S + SLACK_S
    began = time.monotonic()
    assert (await positions.latest([rider]))[rider].point == HERE
    assert list(await positions.near(HERE, 1_000, 5)) == [rider]
    assert time.monotonic() - began < SLACK_S
    await proxy.pass_on()
    clock.at += RIDERS_AWAY_S
    assert (await positions.latest([rider]))[rider].point == HERE
    proxy.hang()
    began = time.monotonic()
    await positions.close()
    assert time.monotonic() - began < 1 + SLACK_S


@pytest.mark.parametrize("new_too", [True, False], ids=["hung", "half of it"])
async def test_the_bus_says_so_in_time_and_is_whole_again_when_the_hole_opens(proxy: Proxy, redis_url: str, new_too: bool):
    """Half of it: as after a failover, where those that are open are dead, and nobody says so."""
    bus = open_bus(proxy.url(redis_url))
    await bus.start()
    async with bus.subscribe(["hung"]) as messages:
        await until(lambda: bus.up)
        proxy.hang(new=new_too)
        began = time.monotonic()
        if new_too:
            with pytest.raises(Refused) as no:
                await bus.publish(Message("hung", "lost or late"))
            assert isinstance(no.value.refusal, Unavailable)
            assert time.monotonic() - began < WITHIN_S + SLACK_S
            await until(lambda: not bus.up, WITHIN_S + 1)
            await proxy.pass_on()
        await until(lambda: bus.up, 2 * WITHIN_S + 1)
        await bus.publish(Message("hung", "here"))
        async with asyncio.timeout(2 * WITHIN_S + 1):
            while (await anext(messages)).text != "here":
                pass
        proxy.hang()
    began = time.monotonic()
    await bus.stop()
    assert time.monotonic() - began < WITHIN_S + SLACK_S


async def test_a_bus_that_is_cut_off_again_and_again_loses_nothing(proxy: Proxy, redis_url: str):
    bus = open_bus(proxy.url(redis_url))
    await bus.start()
    got: list[str] = []
    async with bus.subscribe(["cuts"]) as messages:
        await until(lambda: bus.up)
        for number in range(30):
            if number % 5 == 2:
                proxy.cut()
            while True:
                try:
                    await bus.publish(Message("cuts", f"{number}"))
                    break
                except Refused:
                    await asyncio.sleep(0.05)
        async with asyncio.timeout(10):
            while len(set(got)) < 30:
                got.append((await anext(messages)).text)
    await bus.stop()
    assert list(dict.fromkeys(got)) == [f"{number}" for number in range(30)]


async def test_a_connection_reset_just_before_it_is_written_to_is_no_bug(redis_url: str):
    """uvloop calls it a RuntimeError."""

    async def reset_under_us() -> None:
        async with Proxy.before(redis_url) as proxy:
            limits = RedisLimits(proxy.url(redis_url), b"k" * 32, limits=TABLE)
            bus = open_bus(proxy.url(redis_url))
            await bus.start()
            for number in range(200):
                if number % 4 == 3:
                    proxy.cut()
                    for _ in range(number % 7):
                        await asyncio.sleep(0)
                limits._away_until = 0.0
                assert await limits.hit("few", f"{number}") is None
                with suppress(Refused):
                    await bus.publish(Message("reset", f"{number}"))
            await limits.close()
            await bus.stop()

    def run() -> None:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(reset_under_us())

    await asyncio.to_thread(run)
