import asyncio
import time

import asyncpg

from launch.problem import Problem
from settings import Settings


def address(settings: Settings) -> str:
    """Of a database that answers now: a plain line instead of a driver's traceback."""
    if settings.database_url is None:
        raise Problem("there is no database", "start ./haat up, or set HAAT_DATABASE_URL")
    url = settings.database_url.get_secret_value()
    try:
        asyncio.run(version_and_clock(url))
    except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
        raise Problem(f"PostgreSQL does not answer ({type(error).__name__})", "is HAAT_DATABASE_URL right?") from error
    return url


async def version_and_clock(url: str) -> tuple[str, float]:
    """Its version, and by how many seconds its clock is ahead of ours."""
    connection = await asyncpg.connect(url.replace("+asyncpg", "", 1), timeout=5)
    try:
        version: str = await connection.fetchval("SHOW server_version")
        now: float = await connection.fetchval("SELECT extract(epoch FROM clock_timestamp())::float8")
        return version, now - time.time()
    finally:
        await connection.close()
