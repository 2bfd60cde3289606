"""A process that has everything imported and forks workers from itself: one that is killed is replaced within milliseconds.

Arguments: database url, how many, how many instructions of a group. It says `+pid` of each that begins, `-pid` of each that died.
"""

import asyncio
import os
import signal
import sys

from sqlalchemy.ext.asyncio import create_async_engine

from launch.process import die_with_parent
from tests.partners import worker_of


def main(database_url: str, count: str, group: str) -> None:
    die_with_parent(signal.SIGKILL, os.getppid())
    ours, alive = os.getpid(), 0
    while True:
        while alive < int(count):
            pid = os.fork()
            if pid == 0:
                die_with_parent(signal.SIGKILL, ours)
                asyncio.run(worker_of(create_async_engine(database_url, pool_size=2), group=int(group)).run())
                os._exit(1)  # it never ends by itself
            alive += 1
            print(f"+{pid}", flush=True)
        pid, _ = os.wait()
        alive -= 1
        print(f"-{pid}", flush=True)


main(*sys.argv[1:])
