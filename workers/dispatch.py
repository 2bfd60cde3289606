"""The dispatcher's loop: asks riders, one at a time, until one takes the delivery. Any number may run at once."""

import asyncio
import logging
from collections.abc import Callable
from contextlib import suppress
from uuid import UUID

from db import dispatch as rows
from db.reads import Reads
from domain import dispatch
from domain.bus import Bus
from domain.cancelling import heed_cancelling
from domain.dispatch import REACH_M, Candidate, Dispatcher
from domain.events import Topic
from domain.positions import Positions
from domain.unit_of_work import Begin

log = logging.getLogger("haat.dispatch")
POLL_S = 0.5
REST_S = 2.0  # before a delivery for which there was nobody is looked at again
AT_ONCE = 50
ASKED = 50  # riders considered for one delivery


class Dispatching:
    """`dispatcher` decides who is asked; this loop, when."""

    def __init__(
        self,
        reads: Reads,
        begin: Begin,
        positions: Positions,
        bus: Bus,
        dispatcher: Dispatcher,
        clock: Callable[[], float] | None = None,
    ) -> None:
        self._reads = reads
        self._begin = begin
        self._positions = positions
        self._bus = bus
        self._dispatcher = dispatcher
        self._clock = clock
        self._resting: dict[UUID, float] = {}
        self._woken = asyncio.Event()

    async def run(self) -> None:
        """Until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._listen())
            tasks.create_task(self._work())

    async def _listen(self) -> None:
        """Whatever happens to deliveries, offers and duty may be a reason to look."""
        async with self._bus.subscribe([Topic.DELIVERY.value]) as messages:
            async for _ in messages:
                self._woken.set()

    async def _work(self) -> None:
        while True:
            self._woken.clear()
            try:
                await self.once()
            except Exception as error:  # the database is away, perhaps: the next round starts from what is in it
                heed_cancelling(error)
                log.exception("a round failed")
                await asyncio.sleep(POLL_S)
            with suppress(TimeoutError):
                async with asyncio.timeout(POLL_S):
                    await self._woken.wait()

    async def once(self) -> None:
        """One round. What was expired in it is offered to the next rider in it."""
        async with self._begin() as uow:
            await dispatch.expire_offers(AT_ONCE, uow)
        async with self._begin() as uow:
            unfound = await dispatch.escalate(AT_ONCE, uow)
        for one in unfound:
            log.warning("delivery %s finds no rider", one.delivery_id)
        now = self._now()
        self._resting = {id: until for id, until in self._resting.items() if until > now}
        for waiting in await rows.waiting(self._reads, AT_ONCE, besides=list(self._resting)):
            if await self._offer(waiting) is None:
                self._resting[waiting.delivery_id] = self._now() + REST_S

    async def _offer(self, waiting: rows.Waiting) -> UUID | None:
        near = await self._positions.near(waiting.store, REACH_M, ASKED)
        found = await rows.candidates(self._reads, waiting.delivery_id, near, ASKED)
        if not found:
            return None
        seen = await self._positions.latest([one.rider_id for one in found])
        placed = [Candidate(one.rider_id, seen[one.rider_id].point) if one.rider_id in seen else one for one in found]
        ranked = self._dispatcher.choose(waiting.store, placed)
        async with self._begin() as uow:
            return await dispatch.offer(waiting.delivery_id, ranked, uow)

    def _now(self) -> float:
        return self._clock() if self._clock is not None else asyncio.get_running_loop().time()
