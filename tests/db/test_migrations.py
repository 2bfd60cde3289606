"""The schema's history leads to the tables, and back, and to them again."""

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Connection, inspect, text
from sqlalchemy.ext.asyncio import create_async_engine

from db.migrate import downgraded, upgraded
from db.tables import metadata
from tests.conftest import database, url_of


@pytest.fixture
def empty(server_url: str):
    with database(server_url) as name:
        yield url_of(server_url, name)


@pytest.fixture
def another(server_url: str):
    with database(server_url) as name:
        yield url_of(server_url, name)


async def look(url: str, at) -> object:
    engine = create_async_engine(url)
    try:
        async with engine.connect() as connection:
            return await connection.run_sync(at)
    finally:
        await engine.dispose()


def tables(connection: Connection) -> set[str]:
    return set(inspect(connection).get_table_names()) - {"alembic_version"}


def differences(connection: Connection) -> list[object]:
    return compare_metadata(MigrationContext.configure(connection, opts={"compare_type": False}), metadata)


def definitions(connection: Connection) -> list[tuple[str, ...]]:
    """Every column, constraint and index, as the server has it."""
    columns = connection.execute(
        text(
            "SELECT table_name, column_name, data_type, is_nullable, column_default, generation_expression"
            " FROM information_schema.columns WHERE table_schema = 'public' AND table_name <> 'alembic_version' ORDER BY 1, 2"
        )
    ).all()
    checks = connection.execute(
        text(
            "SELECT conrelid::regclass::text, conname, pg_get_constraintdef(oid) FROM pg_constraint"
            " WHERE connamespace = 'public'::regnamespace AND conrelid::regclass::text <> 'alembic_version' ORDER BY 1, 2"
        )
    ).all()
    indexes = connection.execute(
        text("SELECT indexname, indexdef FROM pg_indexes WHERE schemaname = 'public' AND tablename <> 'alembic_version' ORDER BY 1")
    ).all()
    return [tuple(map(str, row)) for rows in (columns, checks, indexes) for row in rows]


async def test_up_down_and_up_again(empty: str):
    await upgraded(empty)
    assert await look(empty, tables) == set(metadata.tables)
    await downgraded(empty)
    assert await look(empty, tables) == set()
    await upgraded(empty)
    await upgraded(empty)  # at its head already: nothing to do
    assert await look(empty, differences) == []


async def test_migrated_and_made_from_the_tables_are_the_same(empty: str, another: str):
    await upgraded(empty)
    made = create_async_engine(another)
    async with made.begin() as connection:
        await connection.run_sync(metadata.create_all)
    await made.dispose()
    assert await look(empty, definitions) == await look(another, definitions)
