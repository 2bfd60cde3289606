"""Batches are undone, a step of each in turn.

Any number of these run at once: an undo is locked for the one transaction of a step, and its row and its lines say how far it is.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from uuid import UUID

from domain import trace
from domain.cancelling import heed_cancelling
from domain.intake import described
from domain.refusals import Kind, Refused
from domain.undos import CHUNK, UNDONE, give_up_next, work_on
from domain.unit_of_work import Begin

log = logging.getLogger("haat.undos")
POLL_S = 0.5
FORGET_EVERY_S = 60.0
FORGOTTEN_AT_ONCE = 1_000


@dataclass
class Undos:
    unit_of_work: Begin
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    chunk: int = CHUNK
    _forget_at: float = field(default=0.0, init=False)

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            try:
                busy = await self.once()
                await self._forget()
            except Exception as error:
                heed_cancelling(error)
                log.exception("a round was given up")
                busy = 0
            if not busy:
                await self.sleep(POLL_S)

    async def once(self) -> int:
        """A step of each that runs. What breaks one keeps none of the others. Returns of how many there was one to do."""
        async with self.unit_of_work() as uow:
            running = await uow.undos.running()
        return sum([await self._guarded(id) for id in running])

    async def _guarded(self, id: UUID) -> bool:
        """What cannot be put back beside its neighbours is tried alone; what cannot be alone either is kept."""
        reason = ""
        for limit in (self.chunk, 1):
            try:
                return await self.step(id, limit)
            except Exception as error:
                heed_cancelling(error)
                if isinstance(error, Refused) and error.refusal.kind is Kind.UNAVAILABLE:
                    log.warning("undo %s waits: %s", id, error.refusal.message)
                    return False
                refused = isinstance(error, Refused)
                log.log(logging.INFO if refused else logging.ERROR, "undo %s: a step failed", id, exc_info=error)
                reason = described(error)
        try:
            async with self.unit_of_work() as uow:
                return await give_up_next(id, f"it could not be put back: {reason}", uow)
        except Exception as error:
            heed_cancelling(error)
            log.exception("undo %s stands still", id)
            return False

    async def step(self, id: UUID, limit: int = CHUNK) -> bool:
        """Whether there was one to do."""
        trace.cause.set(f"{UNDONE}{id}")
        async with self.unit_of_work() as uow:
            return await work_on(id, uow, limit)

    async def _forget(self) -> None:
        now = asyncio.get_running_loop().time()
        if now < self._forget_at:
            return
        async with self.unit_of_work() as uow:
            more = await uow.undos.forget(FORGOTTEN_AT_ONCE)
        if not more:
            self._forget_at = now + FORGET_EVERY_S
