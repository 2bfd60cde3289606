import asyncio
import contextlib
import time

import pytest
from redis import Redis as Client

from adapters.bus import KEPT, WITHIN_S, RedisBus, open_bus
from domain.bus import Message
from domain.refusals import Refused, Unavailable
from launch.redis import Redis, find_program
from tests.waiting import until


@pytest.fixture(scope="module")
def server(server_directory):
    """A Redis that the tests here may kill."""
    program = find_program()
    if program is None:
        pytest.skip("there is no Redis for this Python and machine")
    server = Redis(program, server_directory / "bus-redis.log")
    server.start()
    yield server
    server.stop()


@contextlib.asynccontextmanager
async def started(url):
    bus = open_bus(url)
    await bus.start()
    try:
        yield bus
    finally:
        await bus.stop()


@pytest.fixture(params=["redis", "memory"])
async def bus(request):
    url = "memory://" if request.param == "memory" else request.getfixturevalue("redis_url")
    async with started(url) as bus:
        yield bus


async def take(messages, count, within_s=5):
    async with asyncio.timeout(within_s):
        return [await anext(messages) for _ in range(count)]


async def test_what_is_published_after_joining_arrives_in_order(bus):
    async with bus.subscribe(["a", "b"]) as messages:
        for n in range(200):
            await bus.publish(Message("a", f"{n}"))
        assert await take(messages, 200) == [Message("a", f"{n}") for n in range(200)]


async def test_ten_first_subscribers_at_once_all_receive(bus):
    joined = asyncio.Barrier(11)

    async def one():
        async with bus.subscribe(["first"]) as messages:
            await joined.wait()
            return await take(messages, 1)

    waiting = [asyncio.create_task(one()) for _ in range(10)]
    await joined.wait()
    await bus.publish(Message("first", "hello"))
    assert await asyncio.gather(*waiting) == [[Message("first", "hello")]] * 10


async def test_a_batch_reaches_every_channel_it_names(bus):
    async with bus.subscribe(["x", "y"]) as messages:
        await bus.publish(Message("x", "1"), Message("y", "2"), Message("x", "3"), Message("nobody's", "4"))
        got = await take(messages, 3)
    assert sorted(got) == [Message("x", "1"), Message("x", "3"), Message("y", "2")]


async def test_who_left_and_came_back_hears_again(bus):
    for round in range(3):
        async with bus.subscribe(["door"]) as messages:
            await bus.publish(Message("door", f"{round}"))
            assert await take(messages, 1) == [Message("door", f"{round}")]


async def test_two_processes_hear_each_other_after_a_quiet_time(redis_url):
    async with started(redis_url) as here, started(redis_url) as there, there.subscribe(["quiet"]) as messages:
        await asyncio.sleep(1.2)  # several reads that found nothing
        assert there.up
        began = time.perf_counter()
        await here.publish(Message("quiet", "now"))
        assert await take(messages, 1) == [Message("quiet", "now")]
        assert time.perf_counter() - began < 0.1


async def test_a_stream_stays_bounded(redis_url):
    async with started(redis_url) as bus:
        for _ in range(20):
            await bus.publish(*[Message("long", "x" * 200)] * 100)
    with Client.from_url(redis_url) as client:
        assert KEPT <= client.xlen("long") < KEPT + 200


async def test_a_cut_connection_loses_nothing(redis_url):
    async with started(redis_url) as bus, bus.subscribe(["cut"]) as messages:
        await until(lambda: bus.up)
        with Client.from_url(redis_url) as client:
            for n in range(30):
                if n % 10 == 5:
                    client.client_kill_filter(_type="normal", skipme=True)
                await bus.publish(Message("cut", f"{n}"))
        got = []
        while len(set(got)) < 30:
            got += await take(messages, 1)
        assert list(dict.fromkeys(got)) == [Message("cut", f"{n}") for n in range(30)]


async def test_a_killed_server_is_found_again(server):
    async with started(server.url) as bus, bus.subscribe(["kill"]) as messages:
        await bus.publish(Message("kill", "before"))
        await take(messages, 1)
        server.kill()
        await until(lambda: not bus.up)
        began = time.monotonic()
        with pytest.raises(Refused) as no:
            await bus.publish(Message("kill", "into nothing"))
        assert isinstance(no.value.refusal, Unavailable)
        assert time.monotonic() - began < WITHIN_S + 0.5
        server.start()
        await until(lambda: bus.up)
        await bus.publish(Message("kill", "after"))
        assert await take(messages, 1) == [Message("kill", "after")]


async def test_it_starts_without_a_server_and_joins_when_one_comes(server):
    server.kill()
    try:
        async with started(server.url) as bus, bus.subscribe(["late"]) as messages:
            assert not bus.up
            server.start()
            await until(lambda: bus.up)
            await bus.publish(Message("late", "here"))
            assert await take(messages, 1) == [Message("late", "here")]
    finally:
        if not server.alive:
            server.start()


async def test_a_server_that_hangs_is_given_up_in_time(server):
    async with started(server.url) as bus, bus.subscribe(["hang"]) as messages:
        await until(lambda: bus.up)
        with Client.from_url(server.url) as client:
            client.execute_command("CLIENT", "PAUSE", "3500")
        began = time.monotonic()
        with pytest.raises(Refused):
            await bus.publish(Message("hang", "lost or late"))
        assert time.monotonic() - began < WITHIN_S + 0.3
        await until(lambda: not bus.up)
        await until(lambda: bus.up, 8)
        await bus.publish(Message("hang", "again"))
        while (await take(messages, 1)) != [Message("hang", "again")]:
            pass


async def test_a_flushed_server_goes_on(server):
    async with started(server.url) as bus, bus.subscribe(["flush"]) as messages:
        await bus.publish(Message("flush", "1"))
        await take(messages, 1)
        with Client.from_url(server.url) as client:
            client.flushall()
        await bus.publish(Message("flush", "2"))
        assert await take(messages, 1) == [Message("flush", "2")]


async def test_a_server_whose_clock_is_behind_is_heard(server):
    """As after a failover: the ids we wait for would be of its future."""
    async with started(server.url) as bus, bus.subscribe(["clock"]) as messages:
        await until(lambda: bus.up)
        streams = bus._streams
        ms, n = streams._read_to["clock"]
        streams._read_to["clock"] = (ms + 3_600_000, n)
        with Client.from_url(server.url) as client:
            client.client_kill_filter(_type="normal", skipme=True)
        await until(lambda: not bus.up or streams._read_to["clock"][0] < ms + 3_000_000)
        await until(lambda: bus.up)
        await bus.publish(Message("clock", "heard"))
        assert await take(messages, 1) == [Message("clock", "heard")]


def test_a_socket_file_is_a_redis_too():
    assert isinstance(open_bus("unix:///tmp/none.sock"), RedisBus)


async def test_who_is_told_to_end_while_it_publishes_ends(redis_url):
    """redis-py loses a cancellation that comes as a send is done: whoever publishes in a loop would go on for ever."""
    went = 0
    for steps in range(2, 42):
        async with started(redis_url) as bus:

            async def publish_for_ever(bus=bus) -> None:
                while True:
                    await bus.publish(Message("ends", "?"))

            task = asyncio.create_task(publish_for_ever())
            for _ in range(steps):
                await asyncio.sleep(0)
            went += not task.done()
            task.cancel()
            done, _ = await asyncio.wait([task], timeout=2)
            assert done, steps
    assert went == 40
