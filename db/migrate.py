"""The schema's history, up and down. One process at a time: an advisory lock keeps the others waiting."""

import asyncio
from functools import cache
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, text
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
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


class Behind(Exception):
    """The database has not had a migration that this code needs."""


async def check_migrated(engine: AsyncEngine) -> None:
    """Raises Behind. A database that is further than we know is fine: what is expanded still serves the code before."""
    head, known = _history()
    async with engine.connect() as connection:
        applied = await connection.run_sync(lambda sync: MigrationContext.configure(sync).get_current_revision())
    if applied is None or (applied in known and applied != head):
        raise Behind(f"at {applied or 'nothing'}, and {head} is needed: ./haat migrate")


@cache
def _history() -> tuple[str | None, frozenset[str]]:
    """The last revision we have, and all of them."""
    scripts = ScriptDirectory(str(_HERE / "migrations"))
    return scripts.get_current_head(), frozenset(script.revision for script in scripts.walk_revisions())


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
