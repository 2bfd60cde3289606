import asyncio
import contextlib
from functools import partial

import pytest

from adapters.bus import open_bus
from db.relay import leadership
from db.sinks import place
from tests.logs import ThingMoved, Things
from tests.waiting import until
from workers.relay import Hints, Relay
from workers.sinks import Feeding


class Kept:
    def __init__(self, name, kinds=None):
        self.name, self.kinds, self.taken, self.broken = name, kinds, [], False

    async def take(self, events):
        if self.broken:
            raise ConnectionError("not now")
        self.taken += [one.pos for one in events]


@pytest.fixture
async def bus():
    bus = open_bus("memory://")
    await bus.start()
    yield bus
    await bus.stop()


@pytest.fixture
async def things(engine):
    return await Things(engine).make(4)


@contextlib.asynccontextmanager
async def running(*ones):
    tasks = [asyncio.create_task(one.run()) for one in ones]
    try:
        yield tasks
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def feeding(sink, engine, bus):
    return Feeding(sink, partial(place, engine, sink.name), bus)


async def test_each_sink_gets_what_it_wants_from_where_it_was(engine, bus, things):
    relay = Relay(partial(leadership, engine), bus)
    hints = Hints(bus, relay)
    every, some = Kept("every"), Kept("some", {ThingMoved})
    async with running(relay):
        await things.change(*things.ids)
        await until(lambda: relay.pos == things.committed)
        async with running(feeding(every, engine, bus), feeding(some, engine, bus)) as tasks:
            await asyncio.sleep(0.3)
            assert every.taken == []  # a new one begins at the end
            await things.change(*things.ids)
            hints.committed()
            await until(lambda: len(every.taken) == 4 and len(some.taken) == 2, within_s=0.8)
            tasks[0].cancel()
            await asyncio.gather(tasks[0], return_exceptions=True)
            for _ in range(200):
                await things.change(*things.ids)
            await until(lambda: len(some.taken) == 402)
        async with running(feeding(every, engine, bus)):
            await until(lambda: len(every.taken) == 804)
    assert every.taken == list(range(5, 809))
    assert set(some.taken) < set(every.taken)


async def test_what_a_sink_could_not_take_comes_again_and_hinders_no_other(engine, bus, things):
    relay = Relay(partial(leadership, engine), bus)
    broken, sound = Kept("broken"), Kept("sound")
    broken.broken = True
    stuck, other = feeding(broken, engine, bus), feeding(sound, engine, bus)
    async with running(relay, stuck, other):
        await until(lambda: stuck.active and other.active)
        await things.change(*things.ids)
        await until(lambda: len(sound.taken) == 4)
        assert broken.taken == []
        broken.broken = False
        await until(lambda: broken.taken == sound.taken)


async def test_one_process_at_a_time_feeds_a_sink(engine, bus):
    sink = Kept("one")
    pair = [feeding(sink, engine, bus), feeding(sink, engine, bus)]
    async with running(*pair) as tasks:
        await until(lambda: any(one.active for one in pair))
        await asyncio.sleep(0.6)
        assert [one.active for one in pair].count(True) == 1
        index = 0 if pair[0].active else 1
        tasks[index].cancel()
        await until(lambda: pair[1 - index].active, within_s=2)


async def test_a_sink_that_wants_the_whole_history_gets_it(engine, bus, things):
    await things.change(*things.ids)
    async with leadership(engine) as leader:
        await leader.stamp(500)
    async with place(engine, "history", from_the_start=True) as at:
        events, end = await at.read(None, 10_000)
        assert [one.pos for one in events] == list(range(1, end + 1))
        await at.move(end)
    async with place(engine, "history", from_the_start=True) as at:
        assert (await at.read(None, 10_000))[0] == ()
