"""What a process opens, it closes."""

import asyncio
import base64
from uuid import uuid4

import httpx2
import pytest
from redis.asyncio import Redis

from adapters.blobs import DirectoryBlobs
from app import create_app
from domain.blobs import NoBlobs
from settings import Env, Settings
from wiring import open_store, wire


def key(letter: str) -> str:
    return base64.b64encode(letter.encode() * 32).decode()


@pytest.fixture
def settings(database_url: str, redis_url: str, monkeypatch: pytest.MonkeyPatch) -> Settings:
    given = {
        "HAAT_ENV": Env.TEST.value,
        "HAAT_DATABASE_URL": database_url,
        "HAAT_REDIS_URL": redis_url,
        "HAAT_SIGNING_KEYS": key("s"),
        "HAAT_SEALING_KEYS": key("k"),
    }
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    return Settings()


async def eventually(watching: Redis, clients: set[str]) -> bool:
    """Whether these alone are connected: Redis sees the end of a connection a moment after it."""
    for _ in range(100):
        if {one["id"] for one in await watching.client_list()} <= clients:
            return True
        await asyncio.sleep(0.02)
    return False


async def test_no_connection_to_redis_is_left_when_a_process_ends(settings, redis_url):
    async with Redis.from_url(redis_url) as watching:
        before = {one["id"] for one in await watching.client_list()}
        async with wire(settings) as wiring:
            await wiring.ports.limits.hit("sign-in by address", "192.0.2.1")
            await wiring.ports.positions.latest([uuid4()])
            assert len({one["id"] for one in await watching.client_list()} - before) >= 2  # of the limits, of the positions
        assert wiring.ports  # or what was not closed may be garbage by now
        assert await eventually(watching, before)


def test_in_production_blobs_lie_where_we_are_told_and_nowhere_else(tmp_path):
    made = Settings.model_construct(env=Env.PRODUCTION, data=tmp_path, blob_url=None)
    assert isinstance(open_store(made), NoBlobs)
    assert isinstance(open_store(made.model_copy(update={"blob_url": tmp_path.as_uri()})), DirectoryBlobs)
    assert isinstance(open_store(made.model_copy(update={"env": Env.TEST})), DirectoryBlobs)


@pytest.mark.parametrize(("only", "there"), [(None, True), ("intake", False)])
async def test_images_are_served_by_who_serves_the_apps(settings, only, there):
    app = create_app(settings, only)
    async with app.router.lifespan_context(app):
        client = httpx2.AsyncClient(transport=httpx2.ASGITransport(app), base_url="http://haat.test")
        answer = await client.get(f"/v1/images/{'0' * 64}")
        assert (answer.status_code, "cache-control" in answer.headers) == (404, there)
