"""What one sender may take of a process: so many calls at once, so many bytes in hand, so many rejected rows a minute, one look-up
a second.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Hashable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from time import monotonic

from domain.intake import Source
from domain.payloads import SEEN_EVERY_S

AT_ONCE = 8  # calls of one source with a connection in hand; others of it wait
MOST_WAITING = 500
MINUTE_S = 60
REJECTED_A_MINUTE = 60
MOST_KEYS = 10_000
ROOM_BYTES, ROOM_EACH_BYTES = 256 * 1024 * 1024, 64 * 1024 * 1024
FREE_BYTES = 16 * 1024  # what is no longer takes no room


@dataclass
class _Lane:
    turns: asyncio.Semaphore
    inside: int = 0


@dataclass
class InFlight:
    """A source that sends a thousand calls at once takes turns with itself, not with its neighbours."""

    at_once: int = AT_ONCE
    most_waiting: int = MOST_WAITING
    _lanes: dict[Hashable, _Lane] = field(default_factory=dict)

    @asynccontextmanager
    async def turn(self, key: Hashable) -> AsyncIterator[bool]:
        """False: too many wait already."""
        lane = self._lanes.setdefault(key, _Lane(asyncio.Semaphore(self.at_once)))
        if lane.inside >= self.most_waiting:
            yield False
            return
        lane.inside += 1
        try:
            async with lane.turns:
                yield True
        finally:
            lane.inside -= 1
            if not lane.inside:
                self._lanes.pop(key, None)


class NoRoom(Exception):
    """It is to be sent again."""


@dataclass
class Room:
    """For the bodies of calls that are not answered yet, as far as they have arrived: who only says that much will come takes
    none. Nobody gets all of it.
    """

    most: int = ROOM_BYTES
    each: int = ROOM_EACH_BYTES
    _taken: dict[Hashable, int] = field(default_factory=dict)

    @contextmanager
    def part(self, whose: Hashable) -> Iterator[Callable[[int], None]]:
        """Of one body, to be called with the size of each piece that comes. That raises NoRoom."""
        arrived = mine = 0

        def take(size: int) -> None:
            nonlocal arrived, mine
            arrived += size
            if arrived <= FREE_BYTES:
                return
            more, theirs = arrived - mine, self._taken.get(whose, 0)
            if theirs + more > self.each or sum(self._taken.values()) + more > self.most:
                raise NoRoom
            self._taken[whose], mine = theirs + more, arrived

        try:
            yield take
        finally:
            if mine:
                self._taken[whose] -= mine
                if not self._taken[whose]:
                    del self._taken[whose]


@dataclass
class Budget:
    """So many a minute for each key; what is beyond is only counted."""

    a_minute: int = REJECTED_A_MINUTE
    beyond: int = 0
    _minute: int = -1
    _taken: dict[Hashable, int] = field(default_factory=dict)

    def take(self, key: Hashable, now_s: float) -> bool:
        minute = int(now_s // MINUTE_S)
        if minute != self._minute:
            self._minute, self._taken = minute, {}
        taken = self._taken.get(key, 0)
        if taken >= self.a_minute or (not taken and len(self._taken) >= MOST_KEYS):
            self.beyond += 1
            return False
        self._taken[key] = taken + 1
        return True

    def spent(self, key: Hashable, now_s: float) -> bool:
        return int(now_s // MINUTE_S) == self._minute and self._taken.get(key, 0) >= self.a_minute


@dataclass
class KnownSources:
    """Sources as they were a moment ago: one that is switched off, or whose secret ends, is believed that long yet."""

    keep_s: float = 1.0
    _held: dict[Hashable, tuple[Source, float]] = field(default_factory=dict)

    def get(self, key: Hashable) -> Source | None:
        source, until = self._held.get(key, (None, 0.0))
        return source if monotonic() < until else None

    def seen(self, key: Hashable, at: datetime) -> None:
        """It is not long unseen any more: one of its calls has just written that down, if it was."""
        source, until = self._held.get(key, (None, 0.0))
        if source is not None and (source.last_seen_at is None or source.last_seen_at < at - timedelta(seconds=SEEN_EVERY_S)):
            self._held[key] = (replace(source, last_seen_at=at), until)

    def put(self, key: Hashable, source: Source) -> None:
        if len(self._held) >= MOST_KEYS:
            self._held.clear()
        if self.keep_s:
            self._held[key] = (source, monotonic() + self.keep_s)
