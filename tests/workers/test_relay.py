import asyncio
import contextlib
import itertools
import signal
import sys
from datetime import timedelta
from functools import partial
from pathlib import Path

import msgspec
import pytest
from sqlalchemy import select, text
from sqlalchemy.ext.asyncio import create_async_engine

from adapters.bus import MemoryBus, open_bus
from db.events import Head, SqlEventLog, head
from db.reads import Reads
from db.relay import LOCK, Leader, leadership
from db.tables import event, log_epoch
from domain.bus import HEARTBEAT, TOPICS, Heartbeat
from domain.events import Topic
from domain.refusals import Refused, Unavailable
from subscriptions.hub import Hub
from subscriptions.mailboxes import Events
from tests.figures import show
from tests.logs import Things
from tests.waiting import until
from workers.relay import Hints, Relay

ROOT = Path(__file__).parents[2]


@pytest.fixture
async def reads(engine):
    return Reads(engine)


@pytest.fixture
async def memory():
    bus = open_bus("memory://")
    await bus.start()
    yield bus
    await bus.stop()


@contextlib.asynccontextmanager
async def running(*coroutines):
    tasks = [asyncio.create_task(coroutine) for coroutine in coroutines]
    try:
        yield tasks
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def stamped(engine):
    async with engine.connect() as connection:
        rows = await connection.execute(select(event.c.pos, event.c.stream, event.c.entity_id, event.c.seq).order_by(event.c.pos))
        return rows.all()


async def unstamped(engine):
    async with engine.connect() as connection:
        return (await connection.execute(text("SELECT count(*) FROM event WHERE pos IS NULL"))).scalar_one()


async def all_stamped(engine, within_s=10):
    async with asyncio.timeout(within_s):
        while True:
            if not await unstamped(engine):
                return
            await asyncio.sleep(0.05)


def check(rows):
    """Positions without a hole from 1, and each stream's numbers in their order, without one."""
    assert [row.pos for row in rows] == list(range(1, len(rows) + 1))
    last = {}
    for row in rows:
        assert row.seq == last.get((row.stream, row.entity_id), 0) + 1
        last[row.stream, row.entity_id] = row.seq


async def test_committed_events_are_stamped_and_published_at_once(engine, memory, reads):
    relay = Relay(partial(leadership, engine), memory)
    hints = Hints(memory, relay)
    things = await Things(engine).make(4)
    async with running(relay.run()), memory.subscribe(TOPICS) as messages:
        await until(lambda: relay.leading)
        await things.change(*things.ids)
        hints.committed()
        began = asyncio.get_running_loop().time()
        texts = [await anext(messages) for _ in range(2)]
        assert asyncio.get_running_loop().time() - began < 0.15
    assert {message.channel for message in texts} == {"inventory.events", "orders.events"}
    check(await stamped(engine))
    assert (await head(reads)).pos == relay.pos == 4


async def test_a_heartbeat_says_twice_a_second_how_far_the_log_is(engine, memory, reads):
    relay = Relay(partial(leadership, engine), memory)
    now = await head(reads)
    async with memory.subscribe([HEARTBEAT]) as beats, running(relay.run()):
        first = await anext(beats)
        began = asyncio.get_running_loop().time()
        second = await anext(beats)
    for told in (first, second):
        beat = msgspec.json.decode(told.text, type=Heartbeat)
        assert (beat.epoch, beat.pos) == (now.epoch, now.pos)
    assert 0.4 < asyncio.get_running_loop().time() - began < 0.9


async def test_a_heartbeat_does_not_say_that_all_is_known_where_to_look_took_long(engine, memory, monkeypatch):
    relay = Relay(partial(leadership, engine), memory)
    stamp = Leader.stamp

    async def slow(self, limit):
        stamped = await stamp(self, limit)
        await asyncio.sleep(0.3)  # until the answer is here: others may have committed meanwhile
        return stamped

    monkeypatch.setattr(Leader, "stamp", slow)
    async with memory.subscribe([HEARTBEAT]) as beats, running(relay.run()):
        assert msgspec.json.decode((await anext(beats)).text, type=Heartbeat).behind


class Slow(MemoryBus):
    """Takes long to deliver."""

    async def publish(self, *messages):
        await asyncio.sleep(0.3)
        await super().publish(*messages)


async def test_a_heartbeat_does_not_say_that_all_is_known_where_the_bus_is_slow(engine):
    bus = Slow()
    await bus.start()
    async with bus.subscribe([HEARTBEAT]) as beats, running(Relay(partial(leadership, engine), bus).run()):
        await anext(beats)  # nobody knew yet
        assert msgspec.json.decode((await anext(beats)).text, type=Heartbeat).behind
    await bus.stop()


class Forgetful(MemoryBus):
    """Loses a cancellation, as a library does whose cleaning up fails: what it raises is about that alone."""

    def __init__(self):
        super().__init__()
        self.publishing = asyncio.Event()

    async def publish(self, *messages):
        self.publishing.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            raise Refused(Unavailable("a connection could not be closed")) from None


async def test_it_ends_even_where_a_library_loses_its_cancellation(engine):
    bus = Forgetful()
    await bus.start()
    relay = asyncio.create_task(Relay(partial(leadership, engine), bus).run())
    hints = Hints(bus, None)
    hints.committed()
    await bus.publishing.wait()
    bus.publishing.clear()
    await bus.publishing.wait()  # the relay's own heartbeat too
    relay.cancel()
    hints._telling.cancel()
    done, _ = await asyncio.wait([relay, hints._telling], timeout=2)
    await bus.stop()
    assert done == {relay, hints._telling}
    assert relay.cancelled()


async def test_one_leads_and_another_takes_over_within_two_seconds(engine, memory):
    relays = [Relay(partial(leadership, engine), memory) for _ in range(3)]
    async with running(*(relay.run() for relay in relays)) as tasks:
        await until(lambda: any(relay.leading for relay in relays))
        await asyncio.sleep(1.1)  # the others have tried
        assert [relay.leading for relay in relays].count(True) == 1
        first = next(index for index, relay in enumerate(relays) if relay.leading)
        tasks[first].cancel()
        await until(lambda: any(relay.leading for index, relay in enumerate(relays) if index != first), within_s=2)


async def test_who_loses_its_connection_cannot_stamp(engine, reads):
    things = await Things(engine).make(1)
    async with leadership(engine) as leader:
        await terminate_leader(engine)
        await things.change(*things.ids)
        with pytest.raises(Exception, match=r"closed|terminat"):
            await leader.stamp(500)
        async with leadership(engine) as next_leader:
            assert [entry.entity for entry in await next_leader.stamp(500)] == things.ids


async def terminate_leader(engine):
    async with engine.connect() as connection:
        await connection.execute(
            text(
                "SELECT pg_terminate_backend(pid, 2000) FROM pg_locks WHERE locktype = 'advisory'"
                " AND (classid::bigint << 32) + objid::bigint = :lock"
                " AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
            ),
            {"lock": LOCK},
        )


async def test_a_leader_that_hangs_is_replaced(engine, memory, monkeypatch):
    """Its connection lives and holds the lock, but nobody is behind it."""
    monkeypatch.setattr("db.relay.FROZEN_AFTER", timedelta(seconds=1))
    async with leadership(engine) as hanging:
        assert hanging is not None
        relay = Relay(partial(leadership, engine), memory)
        async with running(relay.run()):
            await until(lambda: relay.leading, within_s=4)


async def test_a_straggler_below_the_floor_is_impossible(engine):
    """The floor waits for whoever was writing when it was measured, and for nobody else."""
    things = await Things(engine).make(3)
    early, late = things.ids[0], things.ids[1]
    writing, done = asyncio.Event(), asyncio.Event()

    async def straggle():
        async with engine.begin() as connection:
            await connection.execute(text("UPDATE thing SET version = 1 WHERE id = :id"), {"id": early})
            await SqlEventLog(connection).add(things.event(early, 1))
            writing.set()
            await done.wait()

    async with leadership(engine) as leader, engine.connect() as bystander:
        await leader.stamp(500)
        await bystander.execute(text("SELECT count(*) FROM event"))  # an open transaction that writes nothing
        async with asyncio.TaskGroup() as tasks:
            straggler = tasks.create_task(straggle())
            await writing.wait()
            await things.change(late)
            assert [entry.entity for entry in await leader.stamp(500)] == [late]
            before = leader._floor
            for _ in range(3):
                await leader.raise_floor()
            assert leader._floor == before
            done.set()
            await straggler
        assert [entry.entity for entry in await leader.stamp(500)] == [early]
        await leader.raise_floor()
        assert leader._floor > before
        await things.change(things.ids[2])
        assert [entry.entity for entry in await leader.stamp(500)] == [things.ids[2]]


class Away:
    """A bus that takes its time to say that it takes nothing."""

    up = False

    async def publish(self, *messages):
        await asyncio.sleep(2)
        raise Refused(Unavailable("the bus does not answer"))

    @contextlib.asynccontextmanager
    async def subscribe(self, channels):
        yield self

    def __aiter__(self):
        return self

    async def __anext__(self):
        await asyncio.Event().wait()


async def test_a_bus_that_is_down_does_not_stop_the_stamping(engine):
    relay = Relay(partial(leadership, engine), Away())
    things = await Things(engine).make(2)
    async with running(relay.run()):
        await until(lambda: relay.leading)
        for _ in range(10):
            before = relay.pos
            await things.change(*things.ids)
            await until(lambda before=before: relay.pos == before + 2, within_s=0.5)
    check(await stamped(engine))


async def test_a_backlog_of_many_batches_keeps_each_stream_in_order(engine):
    things = await Things(engine).make(9)
    for _ in range(5):
        await things.change(*things.ids)
    async with leadership(engine) as leader:
        while entries := await leader.stamp(7):
            assert [entry.pos for entry in entries] == list(range(entries[0].pos, entries[0].pos + len(entries)))
    check(await stamped(engine))


async def test_the_lag_is_known(engine, memory):
    things = await Things(engine).make(2)
    await things.change(*things.ids)
    async with leadership(engine) as leader:
        lag = await leader.lag()
        assert lag.events == 2
        assert 0 <= lag.oldest_s < 5
        await leader.stamp(500)
        assert (await leader.lag()).events == 0


async def test_a_hint_reaches_a_leader_in_another_process(engine, redis_url):
    here, there = open_bus(redis_url), open_bus(redis_url)
    await here.start()
    await there.start()
    relay, follower = Relay(partial(leadership, engine), there), Relay(partial(leadership, engine), here)
    things = await Things(engine).make(1)
    try:
        async with running(relay.run()), there.subscribe(["relay.hint"]) as hints:
            await until(lambda: relay.leading and there.up)
            woken = asyncio.create_task(anext(hints))
            await things.change(*things.ids)
            Hints(here, follower).committed()
            await asyncio.wait_for(woken, 1)
            await all_stamped(engine)
    finally:
        await here.stop()
        await there.stop()


async def test_a_new_epoch_is_another_history(engine, reads):
    before = await head(reads)
    async with engine.begin() as connection:
        await connection.execute(log_epoch.update().values(epoch="another"))
    try:
        async with leadership(engine) as leader:
            assert (leader.epoch, leader.pos) == ("another", before.pos)
        assert await head(reads) == Head("another", before.pos)
    finally:
        async with engine.begin() as connection:
            await connection.execute(log_epoch.update().values(epoch=before.epoch))


@pytest.mark.parametrize(("writers", "seconds"), [(8, 8), pytest.param(32, 120, marks=pytest.mark.long)], ids=["short", "long"])
async def test_nothing_is_lost_or_overtaken_while_relays_are_killed(database_url, engine, redis_url, writers, seconds):
    """Three relays, one killed every 2 s; writers that hold and roll back; a transaction of somebody else open throughout."""
    things = await Things(engine).make(60)
    bus = open_bus(redis_url)
    await bus.start()
    hub = Hub(bus, Reads(engine))
    await hub.start()
    last = hub.pos
    relays, killed, seen = [], [], []

    async def start_relay():
        return await asyncio.create_subprocess_exec(
            sys.executable, "-m", "tests.workers.one_relay", database_url, redis_url, cwd=ROOT
        )

    async def kill():
        for number in itertools.count():
            await asyncio.sleep(2)
            victim = relays[number % 3]
            victim.kill()
            killed.append(await victim.wait())
            relays[number % 3] = await start_relay()

    async def watch(changes):
        async for batch in changes:
            assert not batch.reset
            seen.extend(batch.events)

    writing = create_async_engine(database_url, pool_size=writers, max_overflow=0)
    things.engine = writing
    try:
        relays += [await start_relay() for _ in range(3)]
        with hub.join([Topic.INVENTORY, Topic.ORDERS], Events(most=1_000_000)) as changes:
            async with running(watch(changes)), engine.connect() as bystander:
                await bystander.execute(text("SELECT pg_current_xact_id(), count(*) FROM event"))  # one with a number of its own
                until_time = asyncio.get_running_loop().time() + seconds
                async with running(kill()):
                    await asyncio.gather(*(things.write(until_time, seed) for seed in range(writers)))
                await all_stamped(engine, within_s=30)
                await until(lambda: hub.pos == last + things.committed, within_s=6)
                await until(lambda: len(seen) == things.committed)
    finally:
        for relay in relays:
            with contextlib.suppress(ProcessLookupError):
                relay.kill()
            await relay.wait()
        await hub.stop()
        await bus.stop()
        await writing.dispose()
        things.engine = engine
    rows = await stamped(engine)
    missing = things.committed - len({one.pos for one in seen})
    counts = {"committed": things.committed, "rolled_back": things.rolled_back, "missing": missing}
    show("relays killed", seeds=f"0 to {writers - 1}", writers=writers, seconds=seconds, kills=len(killed), **counts)
    assert things.committed > writers * 5
    assert things.rolled_back > writers / 2
    assert len(killed) >= seconds / 4
    assert set(killed) == {-signal.SIGKILL}
    check(rows)
    assert [one.pos for one in seen] == list(range(last + 1, last + 1 + things.committed))
    numbers = {}
    for one in seen:
        assert one.event.seq == numbers.get(one.event.entity, 0) + 1
        numbers[one.event.entity] = one.event.seq
    assert numbers == {id: version for id, version in (await things.versions()).items() if version}
