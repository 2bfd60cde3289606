"""A database that is away, full or slow says so within its time; a wrong statement stays a bug."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from db.reads import Reads
from db.unit_of_work import unit_of_work
from domain.refusals import Refused, Unavailable, not_found


@asynccontextmanager
async def open_engine(url: str, **options: Any) -> AsyncIterator[AsyncEngine]:
    engine = create_async_engine(url, **options)
    yield engine
    await engine.dispose()


async def both(engine: AsyncEngine, sql: str) -> list[object]:
    """What a read and a command say."""
    said: list[object] = []
    try:
        said.append(await Reads(engine).value(text(sql)))
    except (Refused, DBAPIError) as error:
        said.append(error)
    try:
        async with unit_of_work(engine) as uow:
            await uow.connection.execute(text(sql))  # type: ignore[attr-defined]
    except (Refused, DBAPIError) as error:
        said.append(error)
    return said


def away(said: list[object]) -> bool:
    return len(said) == 2 and all(isinstance(one, Refused) and isinstance(one.refusal, Unavailable) for one in said)


async def test_nobody_listens():
    async with open_engine("postgresql+asyncpg://x:y@127.0.0.1:1/x") as engine:
        async with asyncio.timeout(2):
            assert away(await both(engine, "SELECT 1"))


async def test_the_pool_is_empty(database_url: str):
    async with open_engine(database_url, pool_size=1, max_overflow=0, pool_timeout=0.1) as engine, engine.connect():
        assert away(await both(engine, "SELECT 1"))


async def test_a_statement_takes_too_long(database_url: str):
    for limit in ({"server_settings": {"statement_timeout": "100"}}, {"command_timeout": 0.1}):
        async with open_engine(database_url, connect_args=limit) as engine:
            assert away(await both(engine, "SELECT pg_sleep(5)"))


async def test_a_connection_is_killed_in_the_middle_and_the_next_is_fine(database_url: str):
    async with open_engine(database_url, pool_pre_ping=True) as engine:
        assert away(await both(engine, "SELECT pg_terminate_backend(pg_backend_pid())"))
        assert await Reads(engine).value(text("SELECT 1")) == 1


async def test_a_lock_is_not_had_in_time(database_url: str):
    settings = {"server_settings": {"lock_timeout": "100"}}
    async with open_engine(database_url, connect_args=settings) as engine, engine.begin() as holding:
        await holding.execute(text("LOCK TABLE store IN ACCESS EXCLUSIVE MODE"))
        assert away(await both(engine, "SELECT count(*) FROM store"))


async def test_what_is_wrong_stays_a_bug_and_a_refusal_a_refusal(engine: AsyncEngine):
    read, written = await both(engine, "SELECT nothing FROM nowhere")
    assert isinstance(read, DBAPIError)
    assert isinstance(written, DBAPIError)
    with pytest.raises(Refused) as refused:
        async with unit_of_work(engine):
            raise not_found("order")
    assert refused.value.refusal.code == "NOT_FOUND"
