"""Servers that one module may kill, so that nobody else loses them."""

import re
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import pytest_asyncio
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from db.migrate import upgrade
from launch.postgres import Postgres
from launch.redis import Redis, find_program


@pytest.fixture(scope="module")
def own_redis(server_directory: Path, request: pytest.FixtureRequest) -> Iterator[Redis]:
    program = find_program()
    assert program is not None, "there is no Redis for this Python and machine"
    server = Redis(program, server_directory / f"{_name(request)}-redis.log")
    try:
        server.start()
        yield server
    finally:
        server.stop()


@pytest.fixture(scope="module")
def own_postgres(server_directory: Path, request: pytest.FixtureRequest) -> Iterator[Postgres]:
    """Migrated. Its files survive a kill, as the kernel keeps what was written."""
    server = Postgres(server_directory / f"{_name(request)}-postgres", {"fsync": "off"})
    try:
        server.start()
        upgrade(server.url())
        yield server
    finally:
        server.stop()


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def own_engine(own_postgres: Postgres) -> AsyncIterator[AsyncEngine]:
    """The test's own way to `own_postgres`. A connection that a kill has ended is not used again."""
    engine = create_async_engine(own_postgres.url(), pool_size=20, pool_pre_ping=True)
    yield engine
    await engine.dispose()


def _name(request: pytest.FixtureRequest) -> str:
    return re.sub(r"\W", "-", request.module.__name__)
