"""A process that tells of commands, for tests that kill it. Arguments: database url, redis url."""

import asyncio
import sys

from sqlalchemy.ext.asyncio import create_async_engine

from adapters.bus import open_bus
from db.mirror import SqlMirror
from workers.mirror import Mirror


async def main(database_url: str, redis_url: str) -> None:
    bus = open_bus(redis_url)
    await bus.start()
    await Mirror(SqlMirror(create_async_engine(database_url)), bus).run()


asyncio.run(main(*sys.argv[1:]))
