"""Answers that are the same for everybody, kept until the log says that they are old.

An answer is told by its tags, the names of the events that make it old; the hub's events strike them out here before any
feed is given them, so what is answered from here is never older than what a feed of this process has said. It is believed
only while the hub knows the log up to less than a second ago: then no process answers with what is older than that.

What is being made while its own event goes by is given to those who had asked before that event, and not kept.
"""

import asyncio
import logging
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Collection, Coroutine, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeVar

import msgspec

from db.events import Beyond
from domain.bus import Entry
from domain.cache import Shelf
from resolvers.cache import tags_of
from subscriptions.hub import Hub

log = logging.getLogger("haat.cache")
Done = TypeVar("Done")
TRUSTED_S = 0.8
"""So recently the hub must have known the whole log. With what it takes to stamp and to publish, under a second."""
KEPT_S = 60.0
ANSWER_BYTES = 262_144
BESIDE_BYTES, TAG_BYTES = 400, 400
"""What an answer takes in memory beside its body, and each of its tags: most answers are shorter than that."""
TOUCHED = 100_000
"""Tags whose last event is remembered. What was begun before the oldest of them is not believed."""
UNSETTLED_S = 5.0
"""Of an event that has no place in the log yet: for so long no other process's answer is taken that it may not be in."""
TRIES = 2


@dataclass(frozen=True, slots=True)
class Answer:
    """`body` is as it goes out. `until` and `made_at` in seconds of the epoch."""

    body: bytes
    tags: Collection[str]
    until: float
    made_at: float

    @property
    def takes(self) -> int:
        """Bytes of memory, nearly."""
        return len(self.body) + BESIDE_BYTES + TAG_BYTES * len(self.tags)


class Lent(msgspec.Struct, frozen=True, array_like=True):
    """An answer on the shelf, with where the log was before it was read."""

    epoch: str
    pos: int
    answer: Answer


class Touched(NamedTuple):
    """The last of a tag's events: when, by this process's count, and where in the log."""

    at: int
    pos: int


@dataclass(frozen=True, slots=True)
class Figures:
    entries: int
    bytes: int


class _Flight(NamedTuple):
    begun: int
    answer: asyncio.Task[Answer]


class Cache:
    """One process's. `most_bytes` of memory; 0: nothing is kept, and nobody waits for another's answer."""

    def __init__(self, hub: Hub, shelf: Shelf, most_bytes: int, clock: Callable[[], float] = time.time) -> None:
        self._hub = hub
        self._shelf = shelf
        self._most = most_bytes
        self._clock = clock
        self._entries: OrderedDict[bytes, Answer] = OrderedDict()
        self._bytes = 0
        self._tagged: dict[str, set[bytes]] = {}
        self._flights: dict[bytes, _Flight] = {}
        self._count = 0  # of what has been heard and seen
        self._touched: OrderedDict[str, Touched] = OrderedDict()
        self._unsettled: dict[str, float] = {}  # until when, by the loop's clock
        self._floor = Touched(0, hub.pos)
        self._running: set[asyncio.Task[Any]] = set()
        hub.observers.append(self)

    # For those who ask

    @property
    def believed(self) -> bool:
        return self._most > 0 and self._hub.knows_all_since(TRUSTED_S)

    @property
    def figures(self) -> Figures:
        return Figures(len(self._entries), self._bytes)

    def kept(self, key: bytes) -> Answer | None:
        """What is kept and good now."""
        found = self._entries.get(key)
        if found is None or not self.believed:
            return None
        if found.until <= self._clock():
            self._drop(key)
            return None
        self._entries.move_to_end(key)
        return found

    async def answer(self, key: bytes, make: Callable[[], Awaitable[Answer]]) -> Answer:
        """What another is just making, what another process has lent, or `make`'s. Raises what `make` raises.

        `make` reads the primary, and reads nothing before it is called. It may be going on when who asked is gone.
        """
        for _ in range(TRIES):
            if not self.believed:
                break
            flight = self._flights.get(key)
            begun = self._count
            if flight is None:
                flight = _Flight(begun, self._run(self._fly(key, make), "cache"))
                self._flights[key] = flight
                return await asyncio.shield(flight.answer)
            answer = await asyncio.shield(flight.answer)
            if begun == flight.begun or self._untouched(answer.tags, flight.begun):
                return answer
        return await make()

    async def _fly(self, key: bytes, make: Callable[[], Awaitable[Answer]]) -> Answer:
        begun, epoch, pos = self._count, self._hub.epoch, self._hub.pos
        try:
            lent = await self._shelf.get(key)
            answer = self._lent(lent) if lent is not None else None
            if answer is None:
                begun, epoch, pos = self._count, self._hub.epoch, self._hub.pos
                answer = await make()
                if self._untouched(answer.tags, begun) and len(answer.body) <= ANSWER_BYTES:
                    self._keep(key, answer)
                    self._lend(key, Lent(epoch, pos, answer))
            else:
                self._keep(key, answer)
            return answer
        finally:
            del self._flights[key]

    async def stop(self) -> None:
        """What is being made for those who have gone."""
        for task in self._running:
            task.cancel()
        await asyncio.gather(*self._running, return_exceptions=True)

    # For the hub

    def heard(self, entry: Entry) -> None:
        """An event, before any feed is given it."""
        self._strike(tags_of(entry.topic, (entry.entity, *entry.concerns)), entry.pos)

    def foretold(self, events: Sequence[Beyond]) -> None:
        """What a feed is about to tell may have these in it already, or they were committed here."""
        if not self._most:
            return
        now = asyncio.get_running_loop().time()
        for event in events:
            names = tags_of(event.topic, (event.entity, *event.concerns))
            self._strike(names, self._hub.pos if event.pos is None else event.pos)
            if event.pos is None:
                self._unsettled.update(dict.fromkeys(names, now + UNSETTLED_S))
        if len(self._unsettled) > TOUCHED:
            self._unsettled = {name: until for name, until in self._unsettled.items() if until > now}

    def lost(self) -> None:
        """The hub has started over: anything may have happened."""
        self._entries.clear()
        self._tagged.clear()
        self._touched.clear()
        self._unsettled.clear()
        self._bytes = 0
        self._count += 1
        self._floor = Touched(self._count, self._hub.pos)

    def _strike(self, names: Iterable[str], pos: int) -> None:
        self._count += 1
        touched = Touched(self._count, pos)
        for name in names:
            before = self._touched.get(name)  # what was foretold is struck by its own place, which may be behind what was heard
            self._touched[name] = touched if before is None or before.pos <= pos else Touched(self._count, before.pos)
            self._touched.move_to_end(name)
            for key in tuple(self._tagged.get(name, ())):
                self._drop(key)
        while len(self._touched) > TOUCHED:
            self._floor = self._touched.popitem(last=False)[1]

    # What is kept

    def _untouched(self, tags: Collection[str], since: int) -> bool:
        """Nothing has happened to them since then, by our count."""
        return since >= self._floor.at and all((known := self._touched.get(tag)) is None or known.at <= since for tag in tags)

    def _lent(self, raw: bytes) -> Answer | None:
        """Another process's, where it is as new as what we know."""
        try:
            lent = msgspec.msgpack.decode(raw, type=Lent)
        except msgspec.DecodeError:
            log.warning("something else is on the shelf")
            return None
        now = asyncio.get_running_loop().time()
        good = (
            lent.epoch == self._hub.epoch
            and lent.pos >= self._floor.pos
            and lent.answer.until > self._clock()
            and all(
                ((known := self._touched.get(tag)) is None or known.pos <= lent.pos) and self._unsettled.get(tag, 0) <= now
                for tag in lent.answer.tags
            )
        )
        return lent.answer if good else None

    def _keep(self, key: bytes, answer: Answer) -> None:
        self._drop(key)
        if answer.takes > self._most:
            return
        self._entries[key] = answer
        self._bytes += answer.takes
        for name in answer.tags:
            self._tagged.setdefault(name, set()).add(key)
        while self._bytes > self._most:
            self._drop(next(iter(self._entries)))

    def _drop(self, key: bytes) -> None:
        answer = self._entries.pop(key, None)
        if answer is None:
            return
        self._bytes -= answer.takes
        for name in answer.tags:
            keys = self._tagged.get(name)
            if keys is not None:
                keys.discard(key)
                if not keys:
                    del self._tagged[name]

    def _lend(self, key: bytes, lent: Lent) -> None:
        """Nobody waits for it."""
        left_s = lent.answer.until - self._clock()
        self._run(self._shelf.put(key, msgspec.msgpack.encode(lent), left_s), "cache shelf")

    def _run(self, work: Coroutine[Any, Any, Done], name: str) -> asyncio.Task[Done]:
        task = asyncio.create_task(work, name=name)
        self._running.add(task)
        task.add_done_callback(self._ran)
        return task

    def _ran(self, task: asyncio.Task[Any]) -> None:
        self._running.discard(task)
        if not task.cancelled():
            task.exception()  # is told to those who wait; they may all have gone
