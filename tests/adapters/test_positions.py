import asyncio
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest
import pytest_asyncio
from redis.asyncio import Redis as Client

from adapters.positions import MAP, MemoryPositions, RedisPositions, open_positions
from domain.places import Point
from domain.positions import Sighting
from launch.ports import free_port
from launch.redis import Redis, find_program

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
HERE = Point(12.9716, 77.5946)


def seen(seq: int, at_s: float = 0, *, device: str = "phone", point: Point = HERE) -> Sighting:
    return Sighting(device, seq, point, NOW + timedelta(seconds=at_s), heading_degrees=90)


def after(seconds: float) -> datetime:
    return NOW + timedelta(seconds=seconds)


@pytest_asyncio.fixture(params=["redis", "memory"], loop_scope="session")
async def positions(request):
    url = request.getfixturevalue("redis_url") if request.param == "redis" else "memory://"
    if request.param == "redis":
        async with Client.from_url(url) as client:
            await client.flushall()
    positions = open_positions(url)
    yield positions
    await positions.close()


async def test_the_latest_stays_whatever_comes_late(positions):
    rider = uuid4()
    first = await positions.keep(rider, [seen(1, 0), seen(3, 4)], NOW)
    assert (first.accepted, first.latest) == (2, seen(3, 4))
    late = await positions.keep(rider, [seen(2, 2, point=Point(1, 1))], after(5))
    assert (late.accepted, late.latest) == (1, None)
    assert (await positions.latest([rider]))[rider].at == after(4)


async def test_of_one_moment_the_higher_number_is_the_latest(positions):
    rider = uuid4()
    await positions.keep(rider, [seen(5, 1)], NOW)
    assert (await positions.keep(rider, [seen(4, 1, point=Point(1, 1))], NOW)).latest is None
    assert (await positions.keep(rider, [seen(6, 1, point=Point(2, 2))], NOW)).latest is not None
    assert (await positions.latest([rider]))[rider].point == Point(2, 2)


async def test_a_repeat_of_one_device_counts_once_and_another_devices_number_is_another(positions):
    rider = uuid4()
    assert (await positions.keep(rider, [seen(1)], NOW)).accepted == 1
    assert (await positions.keep(rider, [seen(1), seen(2, 1)], NOW)).accepted == 1
    assert (await positions.keep(rider, [seen(1, 2, device="watch")], NOW)).accepted == 1


async def test_it_is_published_once_a_second_and_saved_once_in_ten(positions):
    rider = uuid4()
    said = [await positions.keep(rider, [seen(n, n / 4)], after(n / 4)) for n in range(1, 50)]
    assert sum(one.publish for one in said) == 13
    assert sum(one.save for one in said) == 2
    assert all(one.accepted == 1 for one in said)


async def test_at_once_from_many_connections_one_publishes(positions):
    rider = uuid4()
    said = await asyncio.gather(*(positions.keep(rider, [seen(n, n / 100)], NOW) for n in range(1, 51)))
    assert sum(one.publish for one in said) == 1
    assert (await positions.latest([rider]))[rider].at == after(0.5)


async def test_the_nearest_come_first_and_who_is_far_is_left_out(positions):
    near, nearer, far = uuid4(), uuid4(), uuid4()
    await positions.keep(near, [seen(1, point=Point(12.98, 77.60))], NOW)
    await positions.keep(nearer, [seen(1, point=Point(12.972, 77.595))], NOW)
    await positions.keep(far, [seen(1, point=Point(28.6, 77.2))], NOW)
    assert list(await positions.near(HERE, 15_000, 10)) == [nearer, near]
    assert list(await positions.near(HERE, 15_000, 1)) == [nearer]


async def test_who_is_forgotten_is_nowhere(positions):
    rider = uuid4()
    await positions.keep(rider, [seen(1)], NOW)
    await positions.forget(rider)
    assert await positions.latest([rider]) == {}
    assert list(await positions.near(HERE, 15_000, 10)) == []


async def test_who_is_silent_for_thirty_seconds_is_nowhere_in_memory():
    at = [0.0]
    positions = MemoryPositions(lambda: at[0])
    rider = uuid4()
    await positions.keep(rider, [seen(1)], NOW)
    at[0] = 29.0
    assert rider in await positions.latest([rider])
    at[0] = 31.0
    assert await positions.latest([rider]) == {}
    assert await positions.near(HERE, 15_000, 10) == []


async def test_who_is_silent_for_thirty_seconds_is_nowhere_in_redis(redis_url):
    positions = RedisPositions(redis_url)
    rider = uuid4()
    await positions.keep(rider, [seen(1)], NOW)
    async with Client.from_url(redis_url, decode_responses=True) as client:
        latest = f"haat:rider:{{{rider}}}:latest"
        assert 29_000 < await client.pttl(latest) <= 30_000
        await client.zadd("haat:riders:seen", {str(rider): 1})  # as if long ago
        assert list(await positions.near(HERE, 15_000, 10)) == []
        assert await client.zscore(MAP, str(rider)) is None
    await positions.close()


async def test_without_redis_this_process_knows_what_it_was_told(server_directory):
    program = find_program()
    if program is None:
        pytest.skip("there is no Redis for this Python and machine")
    gone = RedisPositions(f"redis://127.0.0.1:{free_port()}")
    rider = uuid4()
    assert (await gone.keep(rider, [seen(1)], NOW)).accepted == 1
    assert (await gone.latest([rider]))[rider].point == HERE
    assert list(await gone.near(HERE, 1_000, 5)) == [rider]
    await gone.close()


async def test_redis_is_used_again_when_it_is_back(server_directory):
    program = find_program()
    if program is None:
        pytest.skip("there is no Redis for this Python and machine")
    server = Redis(program, server_directory / "positions.log")
    server.start()
    at = [0.0]
    positions = RedisPositions(server.url, clock=lambda: at[0])
    try:
        rider = uuid4()
        await positions.keep(rider, [seen(1)], NOW)
        server.stop()
        assert (await positions.keep(rider, [seen(2, 1)], NOW)).accepted == 1
        server.start()
        at[0] += 3
        assert await positions.latest([rider]) == {}  # an empty Redis answers again
        assert (await positions.keep(rider, [seen(3, 2)], NOW)).accepted == 1
        assert (await positions.latest([rider]))[rider].at == after(2)
    finally:
        await positions.close()
        server.stop()
