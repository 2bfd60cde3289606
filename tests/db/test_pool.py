"""A connection that nobody used for a while is asked whether it lives; one that was just used is believed."""

from collections.abc import AsyncIterator
from time import monotonic

import pytest
import pytest_asyncio
from sqlalchemy import event, text
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from db import pool
from db.reads import Reads
from db.unit_of_work import unit_of_work
from domain.refusals import Refused, Unavailable
from tests.faults import Proxy

BACKEND = text("SELECT pg_backend_pid()")


@pytest_asyncio.fixture(loop_scope="session")
async def one(database_url: str) -> AsyncIterator[AsyncEngine]:
    engine = create_async_engine(database_url, pool_size=1, max_overflow=0)
    pool.ping_the_idle(engine)
    yield engine
    await engine.dispose()


async def end(engine: AsyncEngine, backend: int) -> None:
    async with engine.connect() as connection:
        await connection.execute(text("SELECT pg_terminate_backend(:pid, 5000)"), {"pid": backend})


async def test_one_that_died_while_idle_is_replaced(one: AsyncEngine, engine: AsyncEngine, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(pool, "TRUSTED_S", 0.0)
    reads = Reads(one)
    before = await reads.value(BACKEND)
    await end(engine, before)
    assert await reads.value(BACKEND) != before
    async with unit_of_work(one) as uow:
        now = await uow.now()
        backend = (await uow.connection.execute(BACKEND)).scalar_one()
    await end(engine, backend)
    async with unit_of_work(one) as uow:
        assert await uow.now() > now


async def test_one_that_died_in_use_fails_one_statement_and_is_replaced(one: AsyncEngine, engine: AsyncEngine):
    reads = Reads(one)
    before = await reads.value(BACKEND)
    await end(engine, before)
    with pytest.raises(Refused) as no:
        await reads.value(BACKEND)
    assert isinstance(no.value.refusal, Unavailable)
    assert await reads.value(BACKEND) != before


async def test_a_read_is_one_round_trip(one: AsyncEngine, monkeypatch: pytest.MonkeyPatch):
    pings = []
    ping = pool._ping
    monkeypatch.setattr(pool, "_ping", lambda connection: pings.append(1) or ping(connection))
    statements = []
    event.listen(one.sync_engine, "before_cursor_execute", lambda *given: statements.append(given[2]))
    reads = Reads(one)
    for _ in range(3):
        await reads.value(BACKEND)
    assert (len(statements), pings) == (3, [])
    monkeypatch.setattr(pool, "TRUSTED_S", 0.0)
    await reads.value(BACKEND)
    assert len(pings) == 1


async def test_one_that_is_silent_is_replaced_in_time(database_url: str, monkeypatch: pytest.MonkeyPatch):
    """Hung, not gone: nothing says that it is dead, and nothing comes."""
    monkeypatch.setattr(pool, "TRUSTED_S", 0.0)
    monkeypatch.setattr(pool, "ANSWERS_WITHIN_S", 0.5)
    async with Proxy.before(database_url) as proxy:
        engine = create_async_engine(proxy.url(database_url), pool_size=1, max_overflow=0)
        pool.ping_the_idle(engine)
        reads = Reads(engine)
        before = await reads.value(BACKEND)
        proxy.hang(new=False)
        began = monotonic()
        assert await reads.value(BACKEND) != before
        assert 0.5 <= monotonic() - began < 2
        await proxy.pass_on()
        await engine.dispose()
