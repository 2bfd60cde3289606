"""A process that has everything imported and forks workers from itself: one that is killed is replaced within milliseconds.

Arguments: kind, database url, how many. It says `+pid` of each that begins, `-pid` of each that died.
"""

import asyncio
import os
import signal
import sys
from collections.abc import Awaitable, Callable
from datetime import timedelta

from sqlalchemy.ext.asyncio import create_async_engine

from adapters.fetching import SafeFetch
from db.reads import Reads
from db.unit_of_work import unit_of_work
from launch.process import die_with_parent
from tests.partners import SEALS, worker_of
from wiring import OUTBOUNDS
from workers.telling import Tellings

GROUP = 40  # instructions
HOLD = timedelta(seconds=1.5)


async def instructions(database_url: str) -> None:
    await worker_of(create_async_engine(database_url, pool_size=2), group=GROUP).run()


async def telling(database_url: str) -> None:
    engine = create_async_engine(database_url, pool_size=5)
    fetch = SafeFetch(loopback=True, timeout_s=HOLD.total_seconds() / 3)
    await Tellings(Reads(engine), lambda: unit_of_work(engine), OUTBOUNDS, SEALS, fetch, hold=HOLD).run()


KINDS: dict[str, Callable[[str], Awaitable[None]]] = {"instructions": instructions, "telling": telling}


def main(kind: str, database_url: str, count: str) -> None:
    die_with_parent(signal.SIGKILL, os.getppid())
    ours, alive = os.getpid(), 0
    while True:
        while alive < int(count):
            pid = os.fork()
            if pid == 0:
                die_with_parent(signal.SIGKILL, ours)
                asyncio.run(KINDS[kind](database_url))
                os._exit(1)  # it never ends by itself
            alive += 1
            print(f"+{pid}", flush=True)
        pid, _ = os.wait()
        alive -= 1
        print(f"-{pid}", flush=True)


main(*sys.argv[1:])
