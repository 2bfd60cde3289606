"""Replays are worked off, a chunk of each in turn.

Any number of these run at once: a replay is locked for the one transaction of a step, and its row says how far it has come.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from uuid import UUID

from domain import trace
from domain.cancelling import heed_cancelling
from domain.replays import work_on
from domain.unit_of_work import Begin

log = logging.getLogger("haat.replays")
POLL_S = 0.5
LOOK_S = 0.1  # while a chunk is being carried out


@dataclass(frozen=True)
class Replays:
    unit_of_work: Begin
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep

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
        """A step of each that runs. What breaks one keeps none of the others. Returns how many there are."""
        async with self.unit_of_work() as uow:
            running = await uow.replays.running()
        for id in running:
            try:
                await self.step(id)
            except Exception as error:
                heed_cancelling(error)
                log.exception("replay %s: a step was given up", id)
        return len(running)

    async def step(self, id: UUID) -> bool:
        """Whether there was one to do."""
        trace.cause.set(f"replay:{id}")
        async with self.unit_of_work() as uow:
            return await work_on(id, uow)
