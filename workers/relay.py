"""The relay: one leader among all processes puts the committed events in order and publishes them."""

import asyncio
import logging
import random
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager, suppress

import msgspec

from db.relay import Lag, Leader
from domain.bus import HEARTBEAT, HINT, Bus, Entries, Entry, Heartbeat, Message
from domain.cancelling import heed_cancelling
from domain.refusals import Refused

log = logging.getLogger("haat.relay")
BATCH = 500
POLL_S = 0.1  # for commits whose hint was lost
PAUSE_S = 0.01  # after a batch: what commits meanwhile goes in one statement
BEAT_S = 0.5
OLD_BEAT_S = 0.2  # what was looked at longer ago says nothing of now, nor does a beat that had to wait for so long
TIDY_S = 5.0
UNSENT = 200  # batches that wait for the bus at most: what it cannot take, hubs read from the database

Leadership = Callable[[], AbstractAsyncContextManager[Leader | None]]


class Relay:
    """Runs in every process that may lead; all but one wait for their turn. Stamping never waits for the bus."""

    def __init__(self, leadership: Leadership, bus: Bus) -> None:
        self.leading = False
        self.pos = 0  # the last one stamped here
        self.lag = Lag(0, 0.0)  # known to the leader alone
        self._leadership = leadership
        self._bus = bus
        self._woken = asyncio.Event()
        self._unsent: deque[tuple[float, Sequence[Message]]] = deque(maxlen=UNSENT)
        self._slow = False  # the bus: what it is given arrives late
        self._to_send = asyncio.Event()

    def wake(self) -> None:
        """Somebody has committed events."""
        self._woken.set()

    async def run(self) -> None:
        """Until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._listen())
            tasks.create_task(self._publish())
            tasks.create_task(self._apply())

    async def _apply(self) -> None:
        while True:
            try:
                async with self._leadership() as leader:
                    if leader is not None:
                        log.info("leading from pos %s", leader.pos)
                        await self._lead(leader)
            except Exception as error:  # whatever it was, the next one starts from what is in the database
                heed_cancelling(error)
                log.exception("no longer leading" if self.leading else "cannot lead")
            finally:
                self.leading = False
            await asyncio.sleep(random.uniform(0.6, 1))  # noqa: S311  # a dead leader is replaced within 2 s

    async def _lead(self, leader: Leader) -> None:
        clock = asyncio.get_running_loop().time
        self.leading, self.pos = True, leader.pos
        next_beat = next_tidy = clock()
        while True:
            self._woken.clear()
            looked_at = clock()
            entries = await leader.stamp(BATCH)
            if entries:
                self.pos = leader.pos
                self._send(messages(leader.epoch, entries))
            if clock() >= next_beat:
                next_beat = clock() + BEAT_S
                behind = self._slow or len(entries) == BATCH or clock() - looked_at > OLD_BEAT_S
                beat = Heartbeat(leader.epoch, leader.pos, behind)
                self._send([Message(HEARTBEAT, msgspec.json.encode(beat).decode())])
            if clock() >= next_tidy:
                next_tidy = clock() + TIDY_S
                self.lag = await leader.lag()
                await leader.raise_floor()
            if entries:
                await asyncio.sleep(0 if len(entries) == BATCH else PAUSE_S)
            else:
                with suppress(TimeoutError):
                    async with asyncio.timeout(POLL_S):
                        await self._woken.wait()

    def _send(self, batch: Sequence[Message]) -> None:
        self._unsent.append((asyncio.get_running_loop().time(), batch))
        self._to_send.set()

    async def _publish(self) -> None:
        clock, lost = asyncio.get_running_loop().time, False
        while True:
            await self._to_send.wait()
            self._to_send.clear()
            while self._unsent:
                since, batch = self._unsent.popleft()
                began = clock()
                if batch[0].channel == HEARTBEAT and began - since > OLD_BEAT_S:
                    continue
                try:
                    await self._bus.publish(*batch)
                    lost = False
                except Refused as refused:
                    heed_cancelling(refused)
                    if not lost:
                        log.warning("the bus does not take what was stamped: hubs read it from the database")
                    lost = True
                except Exception as error:
                    heed_cancelling(error)
                    log.exception("a batch was not published")
                self._slow = clock() - began > OLD_BEAT_S

    async def _listen(self) -> None:
        async with self._bus.subscribe([HINT]) as hints:
            async for _ in hints:
                self._woken.set()


def messages(epoch: str, entries: Sequence[Entry]) -> list[Message]:
    """One for each topic."""
    by_topic: dict[str, list[Entry]] = {}
    for entry in entries:
        by_topic.setdefault(entry.topic, []).append(entry)
    return [Message(topic, msgspec.json.encode(Entries(epoch, some)).decode()) for topic, some in by_topic.items()]


class Hints:
    """Wakes whoever leads: here at once, elsewhere by the bus. One that is lost costs a poll's wait.

    With another channel: whoever listens there.
    """

    def __init__(self, bus: Bus, here: Relay | None, channel: str = HINT) -> None:
        self._bus = bus
        self._here = here
        self._channel = channel
        self._untold = False
        self._telling: asyncio.Task[None] | None = None

    def committed(self) -> None:
        """For the unit of work: returns at once."""
        if self._here is not None:
            self._here.wake()
            if self._here.leading:
                return
        self._untold = True
        if self._telling is None or self._telling.done():
            self._telling = asyncio.create_task(self._tell())

    async def _tell(self) -> None:
        """Many commits, one hint."""
        while self._untold:
            self._untold = False
            try:
                await self._bus.publish(Message(self._channel, ""))
            except Refused as refused:
                heed_cancelling(refused)
                await asyncio.sleep(1)
