"""Feeds a sink from the log, event by event in order, for as long as it takes. A dead sink stops nobody else."""

import asyncio
import logging
import random
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, suppress

from db.sinks import Place
from domain.bus import TOPICS, Bus
from domain.sinks import Sink

log = logging.getLogger("haat.sinks")
AT_ONCE = 500
POLL_S = 1.0  # while the bus says nothing
TAKES_S = 30.0
AGAIN_S = 30.0  # at most between two tries

Open = Callable[[], AbstractAsyncContextManager[Place | None]]


class Feeding:
    """Runs in every process that may feed this sink; one of them does."""

    def __init__(self, sink: Sink, place: Open, bus: Bus) -> None:
        self.sink = sink
        self.active = False
        self.behind = 0  # known to the active one alone
        self._place = place
        self._bus = bus
        self._woken = asyncio.Event()

    async def run(self) -> None:
        """Until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._listen())
            tasks.create_task(self._feed())

    async def _feed(self) -> None:
        failures = 0
        while True:
            try:
                async with self._place() as place:
                    while place is not None:
                        self.active = True
                        await self._step(place)
                        failures = 0
            except Exception as error:
                failures += 1
                log.warning("%s did not take it, try %s: %r", self.sink.name, failures, error)
            finally:
                self.active = False
            await asyncio.sleep(min(AGAIN_S, 0.5 * 2 ** min(failures, 6)) * random.uniform(0.5, 1))  # noqa: S311

    async def _step(self, place: Place) -> None:
        self._woken.clear()
        events, end = await place.read(self.sink.kinds, AT_ONCE)
        if events:
            async with asyncio.timeout(TAKES_S):
                await self.sink.take(events)
        if end != place.pos:
            await place.move(end)
        self.behind = place.behind
        if len(events) < AT_ONCE:
            with suppress(TimeoutError):
                async with asyncio.timeout(POLL_S):
                    await self._woken.wait()

    async def _listen(self) -> None:
        async with self._bus.subscribe(TOPICS) as messages:
            async for _ in messages:
                self._woken.set()
