"""The schema's history, up and down. One process at a time: an advisory lock keeps the others waiting."""

import asyncio
from pathlib import Path

from alembic import command
from alembic.config import Config
from sqlalchemy import Connection, text
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool

_LOCK = 0x48414154  # "HAAT"
_HERE = Path(__file__).parent


def _config(connection: Connection) -> Config:
    config = Config()
    config.set_main_option("script_location", str(_HERE / "migrations"))
    config.attributes["connection"] = connection
    return config


def _move(connection: Connection, revision: str, *, down: bool) -> None:
    connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _LOCK})
    (command.downgrade if down else command.upgrade)(_config(connection), revision)


async def _run(url: str, revision: str, *, down: bool) -> None:
    engine = create_async_engine(url, poolclass=NullPool)
    try:
        async with engine.begin() as connection:
            await connection.run_sync(_move, revision, down=down)
    finally:
        await engine.dispose()


async def upgraded(url: str, revision: str = "head") -> None:
    await _run(url, revision, down=False)


async def downgraded(url: str, revision: str = "base") -> None:
    await _run(url, revision, down=True)


def upgrade(url: str, revision: str = "head") -> None:
    """For a caller without an event loop. `url` is SQLAlchemy's, with asyncpg."""
    asyncio.run(upgraded(url, revision))


def downgrade(url: str, revision: str = "base") -> None:
    asyncio.run(downgraded(url, revision))
