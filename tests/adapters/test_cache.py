"""The shelf, in a real Redis, and without one."""

import asyncio
import socket

import pytest
from redis.asyncio import Redis

from adapters.cache import AWAY_S, RedisShelf
from launch.ports import free_port

VALUE = bytes(range(256))


@pytest.fixture
async def shelf(redis_url):
    shelf = RedisShelf(redis_url)
    yield shelf
    await shelf.close()


async def test_what_is_put_there_is_found_as_it_was_and_only_for_its_time(shelf, redis_url):
    assert await shelf.get(b"\x00key") is None
    await shelf.put(b"\x00key", VALUE, 60)
    assert await shelf.get(b"\x00key") == VALUE
    async with Redis.from_url(redis_url) as redis:
        assert 59_000 < await redis.pttl(b"haat:cache:\x00key") <= 60_000
    await shelf.put(b"short", VALUE, 0.05)
    await asyncio.sleep(0.1)
    assert await shelf.get(b"short") is None
    await shelf.put(b"over already", VALUE, -1)  # kept for a millisecond, and nothing is raised


async def test_a_redis_that_is_away_is_nobodys_trouble(redis_url):
    now = 0.0
    shelf = RedisShelf(f"redis://127.0.0.1:{free_port()}", clock=lambda: now)
    assert await shelf.get(b"key") is None
    await shelf.put(b"key", VALUE, 60)
    await shelf.close()


async def test_a_redis_that_hangs_is_waited_for_once_and_then_left_alone(redis_url):
    now = 0.0
    accepted = []
    with socket.create_server(("127.0.0.1", 0)) as listening:
        hung = await asyncio.start_server(lambda reader, writer: accepted.append(writer), sock=listening)
        port = hung.sockets[0].getsockname()[1]
        shelf = RedisShelf(f"redis://127.0.0.1:{port}", clock=lambda: now)
        async with asyncio.timeout(2):
            assert await shelf.get(b"key") is None
        asked = len(accepted)
        assert asked
        for _ in range(100):
            await shelf.put(b"key", VALUE, 60)
            assert await shelf.get(b"key") is None
        assert len(accepted) == asked
        now = AWAY_S
        async with asyncio.timeout(2):
            assert await shelf.get(b"key") is None
        assert len(accepted) > asked
        await shelf.close()
        hung.close()
        for writer in accepted:
            writer.close()
