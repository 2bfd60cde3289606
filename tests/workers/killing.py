"""Workers that are processes of their own, and of which one is killed from time to time, in the middle of whatever it does."""

import asyncio
import os
import random
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).parents[2]


@dataclass
class Nursery:
    process: asyncio.subprocess.Process
    killed_every_s: float
    alive: list[int] = field(default_factory=list)
    killed: set[int] = field(default_factory=set)
    died: set[int] = field(default_factory=set)

    async def read(self) -> None:
        assert self.process.stdout is not None
        while line := await self.process.stdout.readline():
            pid = int(line[1:])
            if line.startswith(b"+"):
                self.alive.append(pid)
            else:
                self.alive.remove(pid)
                self.died.add(pid)

    async def kill(self, chance: random.Random) -> None:
        while True:
            await asyncio.sleep(self.killed_every_s)
            if fit := [pid for pid in self.alive if pid not in self.killed]:
                pid = chance.choice(fit)
                self.killed.add(pid)
                os.kill(pid, signal.SIGKILL)


@asynccontextmanager
async def workers(kind: str, database_url: str, count: int, *, killed_every_s: float, seed: int) -> AsyncIterator[Nursery]:
    """So many at once, of a kind of tests/workers/nursery.py; another takes the place of each that is killed."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.workers.nursery", kind, database_url, str(count), cwd=ROOT, stdout=asyncio.subprocess.PIPE
    )
    nursery = Nursery(process, killed_every_s)
    tasks = [asyncio.create_task(nursery.read()), asyncio.create_task(nursery.kill(random.Random(seed)))]
    try:
        yield nursery
    finally:
        with suppress(ProcessLookupError):
            process.kill()
        await process.wait()
        for task in tasks:
            task.cancel()
        ended = await asyncio.gather(*tasks, return_exceptions=True)
    assert [one for one in ended if isinstance(one, Exception)] == []
    assert nursery.died <= nursery.killed, "one ended by itself"
