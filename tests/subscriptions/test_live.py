"""The whole way from a commit to a feed, while the bus dies and comes back."""

import asyncio
import contextlib
import random
import time
from functools import partial

import pytest
from redis import Redis as Client

from adapters.bus import open_bus
from db.reads import Reads
from db.relay import leadership
from launch.redis import Redis, find_program
from subscriptions.hub import Hub
from subscriptions.mailboxes import Events, Values
from tests.conftest import LONG
from tests.figures import show
from tests.logs import Things
from tests.waiting import until
from workers.relay import Hints, Relay

SEED = 17


@pytest.fixture(scope="module")
def server(server_directory):
    """A Redis that the tests here may kill."""
    program = find_program()
    if program is None:
        pytest.skip("there is no Redis for this Python and machine")
    server = Redis(program, server_directory / "live-redis.log")
    server.start()
    yield server
    server.stop()


@contextlib.asynccontextmanager
async def process(url, engine):
    """What one server process has: a bus of its own, a hub, a relay that may lead."""
    bus = open_bus(url)
    await bus.start()
    hub, relay = Hub(bus, Reads(engine)), Relay(partial(leadership, engine), bus)
    await hub.start()
    running = asyncio.create_task(relay.run())
    try:
        yield hub, Hints(bus, relay), relay
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        await hub.stop()
        await bus.stop()


class Watcher:
    """Checks as it reads: values never go back, lists leave nothing out unsaid."""

    def __init__(self, things, hub, mailbox):
        self.things, self.hub, self.mailbox = things, hub, mailbox
        self.seen, self.wrong, self.resets, self.degraded = {}, [], 0, 0

    async def watch(self, joined):
        with self.hub.join([self.things.store_id], self.mailbox) as changes:
            self.seen = dict(await self.things.versions())
            joined.set()
            async for batch in changes:
                self.degraded += batch.degraded
                if batch.reset:
                    self.resets += 1
                    self.seen = dict(await self.things.versions())
                for one in batch.events:
                    before, now = self.seen[one.event.entity], one.event.seq
                    if now <= before:
                        continue  # the snapshot had it
                    if isinstance(self.mailbox, Events) and now != before + 1:
                        self.wrong.append((one.event.entity, before, now))
                    self.seen[one.event.entity] = now


async def write_steadily(things, hints, stop, chance):
    while not stop.is_set():
        await things.change(*chance.sample(things.ids, 3))
        for hint in hints:
            hint.committed()
        await asyncio.sleep(0.005)


def disasters(server):
    def kill(client):
        server.kill()

    def flush(client):
        client.flushall()

    def cut(client):
        client.client_kill_filter(_type="normal", skipme=True)

    def hang(client):
        client.execute_command("CLIENT", "PAUSE", "2500")

    return [kill, flush, cut, hang]


@pytest.mark.parametrize("rounds", [2, pytest.param(35, marks=pytest.mark.long)], ids=["short", "long"])
async def test_everybody_ends_at_the_truth_whatever_happens_to_the_bus(engine, server, rounds):
    things = await Things(engine).make(20)
    watchers, stop, chance = [], asyncio.Event(), random.Random(SEED)
    async with process(server.url, engine) as one, process(server.url, engine) as other:
        joined = []
        for index in range(20):
            mailbox = Values() if index % 2 else Events(most=2_000)
            watchers.append(Watcher(things, (one, other)[index % 4 > 1][0], mailbox))
            joined.append(asyncio.Event())
        watching = [asyncio.create_task(watcher.watch(event)) for watcher, event in zip(watchers, joined, strict=True)]
        await asyncio.gather(*(event.wait() for event in joined))
        writing = asyncio.create_task(write_steadily(things, (one[1],), stop, random.Random(SEED)))
        await asyncio.sleep(1)
        for _ in range(rounds):
            for disaster in disasters(server):
                with Client.from_url(server.url) as client, contextlib.suppress(Exception):
                    disaster(client)
                await asyncio.sleep(chance.uniform(0.3, 3.2 if LONG else 1.2))
                if not server.alive:
                    server.start()
        stop.set()
        await writing
        truth = await things.versions()
        began = time.monotonic()
        await until(lambda: all(watcher.seen == truth for watcher in watchers), within_s=5)
        whole_s = round(time.monotonic() - began, 2)
        for task in watching:
            assert not task.done()
            task.cancel()
        await asyncio.gather(*watching, return_exceptions=True)
        await until(lambda: not one[0].degraded and not other[0].degraded)
    counts = {"degraded": sum(watcher.degraded for watcher in watchers), "resets": sum(watcher.resets for watcher in watchers)}
    show("disasters of the bus", seed=SEED, disasters=rounds * 4, changes=things.committed, **counts, whole_after_s=whole_s)
    assert [watcher.wrong for watcher in watchers if watcher.wrong] == []
    assert sum(watcher.resets for watcher in watchers) == 0  # what PostgreSQL still has needs no snapshot


async def test_without_any_bus_a_change_still_arrives_within_five_seconds(engine):
    things = await Things(engine).make(2)
    async with process("redis://127.0.0.1:1/0", engine) as (hub, _, relay):
        await until(lambda: relay.leading)
        with hub.join([things.store_id], Events()) as changes:
            await things.change(things.ids[0])
            async with asyncio.timeout(5):
                batch = await anext(changes)
    assert batch.degraded
    assert len(batch.events) == 1


@pytest.mark.parametrize("kind", ["redis", "memory"])
async def test_a_commit_reaches_its_feed_in_time(engine, server, kind):
    """500 events a second; 99 of 100 within 150 ms of their commit, and within four times that on whatever machine this is."""
    things = await Things(engine).make(50)
    came, sent = {}, {}
    async with process(server.url if kind == "redis" else "memory://", engine) as (hub, hints, relay):
        await until(lambda: relay.leading and not hub.degraded)

        async def watch():
            with hub.join([things.store_id], Events(most=10_000)) as changes:
                async for batch in changes:
                    now = time.perf_counter()
                    came.update(((one.event.entity, one.event.seq), now) for one in batch.events)

        async def write(ids):
            for number in range(1, 21):
                begun = asyncio.get_running_loop().time()
                await things.change(*ids)
                sent.update(((id, number), time.perf_counter()) for id in ids)
                hints.committed()
                await asyncio.sleep(max(0, begun + 0.1 - asyncio.get_running_loop().time()))

        watching = asyncio.create_task(watch())
        await asyncio.gather(*(write(things.ids[start : start + 5]) for start in range(0, 50, 5)))
        await until(lambda: len(came) == 1_000)
        watching.cancel()
        await asyncio.gather(watching, return_exceptions=True)
    took = sorted(now - sent[key] for key, now in came.items())
    p50, p99, worst = (round(took[place] * 1_000, 1) for place in (500, 990, -1))
    show("commit to feed", bus=kind, events=len(took), p50_ms=p50, p99_ms=p99, worst_ms=worst)
    assert took[990] < 4 * 0.15
