"""Replays are worked off, a chunk of each in turn.

Any number of these run at once: a replay is locked for the one transaction of a step, and its row says how far it has come.
"""

import asyncio
import logging
import random
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from uuid import UUID

from domain import trace
from domain.cancelling import heed_cancelling
from domain.replays import work_on
from domain.unit_of_work import Begin

log = logging.getLogger("haat.replays")
POLL_S = 0.5
LOOK_S = 0.1  # while a chunk is being carried out
BACKOFF_S, BACKOFF_MOST_S = 0.5, 60.0


@dataclass(frozen=True)
class Waits:
    """A replay whose step failed, so many times in a row."""

    failed: int
    until_s: float


@dataclass(frozen=True)
class Replays:
    unit_of_work: Begin
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    clock: Callable[[], float] = time.monotonic
    waiting: dict[UUID, Waits] = field(default_factory=dict)

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            try:
                running = await self.once()
            except Exception as error:
                heed_cancelling(error)
                log.exception("a round was given up")
                running = 0
            await self.sleep(LOOK_S if running else POLL_S)

    async def once(self) -> int:
        """A step of each that runs. What breaks one keeps none of the others. Returns how many steps went well."""
        async with self.unit_of_work() as uow:
            running = await uow.replays.running()
        for id in self.waiting.keys() - set(running):
            del self.waiting[id]
        well = 0
        for id in running:
            waits = self.waiting.get(id, Waits(0, 0.0))
            if waits.until_s > self.clock():
                continue
            try:
                await self.step(id)
            except Exception as error:
                heed_cancelling(error)
                log.exception("replay %s: a step was given up, %s in a row", id, waits.failed + 1)
                wait_s = min(BACKOFF_S * 2 ** min(waits.failed, 10), BACKOFF_MOST_S) * random.uniform(0.5, 1)  # noqa: S311
                self.waiting[id] = Waits(waits.failed + 1, self.clock() + wait_s)
            else:
                self.waiting.pop(id, None)
                well += 1
        return well

    async def step(self, id: UUID) -> bool:
        """Whether there was one to do."""
        trace.cause.set(f"replay:{id}")
        async with self.unit_of_work() as uow:
            return await work_on(id, uow)
