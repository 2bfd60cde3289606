"""Ready is: migrated as far as this code needs, or further."""

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from db.migrate import Behind, check_migrated


async def at(engine: AsyncEngine, revision: str | None) -> None:
    async with engine.begin() as connection:
        await connection.execute(text("DELETE FROM alembic_version"))
        if revision is not None:
            await connection.execute(text("INSERT INTO alembic_version VALUES (:revision)"), {"revision": revision})


async def test_a_database_that_was_migrated_is_ready_and_so_is_one_of_later_code(engine: AsyncEngine):
    await check_migrated(engine)
    await at(engine, "9999")
    await check_migrated(engine)


async def test_an_empty_database_is_not(engine: AsyncEngine):
    await at(engine, None)
    with pytest.raises(Behind, match="haat migrate"):
        await check_migrated(engine)
