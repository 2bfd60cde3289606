"""A process with a relay in it, for tests that kill it. Arguments: database url, redis url."""

import asyncio
import sys
from functools import partial

from sqlalchemy.ext.asyncio import create_async_engine

from adapters.bus import open_bus
from db.relay import leadership
from workers.relay import Relay


async def main(database_url: str, redis_url: str) -> None:
    engine = create_async_engine(database_url)
    bus = open_bus(redis_url)
    await bus.start()
    await Relay(partial(leadership, engine), bus).run()


asyncio.run(main(*sys.argv[1:]))
