"""Real servers for the tests: embedded ones of this session, or a PostgreSQL of yours by HAAT_TEST_DATABASE_URL."""

import asyncio
import json
import os
import tempfile
import uuid
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path

import hypothesis
import pytest
import pytest_asyncio
from redis import Redis as RedisClient
from sqlalchemy import make_url, text
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from launch.postgres import Postgres
from launch.redis import Redis, find_program
from tests.figures import SHOWN

LONG = os.environ.get("HAAT_TEST_LONG") == "1"
MIGRATIONS = Path(__file__).parents[1] / "db" / "migrations" / "env.py"

hypothesis.settings.register_profile("short", max_examples=50, deadline=None, derandomize=True)
hypothesis.settings.register_profile("long", max_examples=2_000, deadline=None)
hypothesis.settings.load_profile("long" if LONG else "short")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """What runs with ./haat test --long alone is left out, and counted as such."""
    left_out = [item for item in items if item.get_closest_marker("long")] if not LONG else []
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in left_out]


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Of those that failed too: how far they came."""
    if SHOWN:
        terminalreporter.section("figures")
        for figures in SHOWN:
            terminalreporter.write_line(json.dumps(figures, default=str))


@pytest.fixture(scope="session")
def server_directory() -> Iterator[Path]:
    """Not pytest's own: it closes its directories to others, and PostgreSQL runs as another user than root."""
    with tempfile.TemporaryDirectory(prefix="haat-test-") as directory:
        path = Path(directory)
        path.chmod(0o711)
        yield path


@pytest.fixture(scope="session")
def postgres(server_directory: Path) -> Iterator[Postgres]:
    """The embedded server. It survives kills of its processes, as the kernel keeps what was written; not a power cut."""
    server = Postgres(server_directory / "postgres", {"fsync": "off"})
    try:
        server.start()
        yield server
    finally:
        server.stop()


@pytest.fixture(scope="session")
def server_url(request: pytest.FixtureRequest) -> str:
    """Of a server where we may create databases."""
    yours = os.environ.get("HAAT_TEST_DATABASE_URL")
    if yours:
        return make_url(yours).set(drivername="postgresql+asyncpg").render_as_string(hide_password=False)
    postgres: Postgres = request.getfixturevalue("postgres")
    return postgres.url()


@pytest.fixture(scope="session")
def template(server_url: str) -> Iterator[str]:
    """A migrated, empty database that every module's own is copied from."""
    with database(server_url) as name:
        if MIGRATIONS.exists():
            from db.migrate import upgrade

            upgrade(url_of(server_url, name))
        yield name


@pytest.fixture(scope="module")
def database_url(server_url: str, template: str) -> Iterator[str]:
    """A fresh migrated database for each module."""
    with database(server_url, template) as name:
        yield url_of(server_url, name)


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def engine(database_url: str) -> AsyncIterator[AsyncEngine]:
    engine = create_async_engine(database_url, pool_size=20, max_overflow=20)
    yield engine
    await engine.dispose()


@pytest.fixture(scope="session")
def redis_server(server_directory: Path) -> Iterator[Redis]:
    program = find_program()
    if program is None:
        pytest.skip("there is no Redis for this Python and machine")
    server = Redis(program, server_directory / "redis.log")
    try:
        server.start()
        yield server
    finally:
        server.stop()


@pytest.fixture(scope="module")
def redis_url(redis_server: Redis) -> str:
    """Of a Redis that is empty when the module begins."""
    with RedisClient.from_url(redis_server.url) as client:
        client.flushall()
    return redis_server.url


@contextmanager
def database(server_url: str, template: str = "template1") -> Iterator[str]:
    """Created on entry, thrown away on leaving, whoever is still connected."""
    name = f"haat_test_{uuid.uuid4().hex[:12]}"
    asyncio.run(execute(server_url, f"CREATE DATABASE {name} TEMPLATE {template}"))
    try:
        yield name
    finally:
        asyncio.run(execute(server_url, f"DROP DATABASE IF EXISTS {name} WITH (FORCE)"))


async def execute(url: str, sql: str) -> None:
    engine = create_async_engine(url, isolation_level="AUTOCOMMIT")
    try:
        async with engine.connect() as connection:
            await connection.execute(text(sql))
    finally:
        await engine.dispose()


def url_of(server_url: str, name: str) -> str:
    return make_url(server_url).set(database=name).render_as_string(hide_password=False)
