"""What waits for one feed between two frames. Bounded: a slow client costs nobody anything."""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Callable, Hashable, Sequence
from uuid import UUID

from domain.bus import RiderSeen
from domain.events import Event, Stamped

WAITING = 100


class Mailbox(ABC):
    """Made for one join. Filled by the hub, emptied by the one feed that joined."""

    def __init__(self) -> None:
        self.reset = False  # something was left out; nothing is taken in until the feed has been told
        self.last = False  # the feed is to end, once it has said where it is
        self._riders: dict[UUID, RiderSeen] = {}
        self._seen: dict[UUID, RiderSeen] = {}
        self._feed: asyncio.Future[None] | None = None

    @abstractmethod
    def put(self, stamped: Stamped) -> None: ...

    @abstractmethod
    def empty(self) -> Sequence[Stamped]:
        """Takes all that waits, in order."""

    @abstractmethod
    def __len__(self) -> int: ...

    @property
    def ready(self) -> bool:
        return self.reset or self.last or bool(self._riders) or len(self) > 0

    def put_rider(self, seen: RiderSeen) -> None:
        """What the network delayed is dropped, by the time the rider was seen."""
        before = self._seen.get(seen.rider)
        if before is None or before.at < seen.at:
            self._seen[seen.rider] = self._riders[seen.rider] = seen
            self.wake()

    def empty_riders(self) -> Sequence[RiderSeen]:
        riders, self._riders = self._riders, {}
        return tuple(riders.values())

    def lose(self) -> None:
        """From now on there is a gap, until the feed takes its reset."""
        self.empty()
        self.reset = True

    def finish(self) -> None:
        self.last = True
        self.wake()

    def wake(self) -> None:
        if self._feed is not None and not self._feed.done():
            self._feed.set_result(None)

    async def wait(self) -> None:
        """Until woken. By one feed at a time."""
        self._feed = asyncio.get_running_loop().create_future()
        try:
            await self._feed
        finally:
            self._feed = None


def by_entity(event: Event) -> Hashable:
    return event.stream, event.entity


class Values(Mailbox):
    """The latest of each entity: a slow client holds one value an entity, however long it sleeps."""

    def __init__(self, by: Callable[[Event], Hashable] = by_entity) -> None:
        super().__init__()
        self._by = by
        self._waiting: dict[Hashable, Stamped] = {}

    def put(self, stamped: Stamped) -> None:
        if not self.reset:
            key = self._by(stamped.event)
            self._waiting.pop(key, None)  # to the end: what is taken is in the order of the log
            self._waiting[key] = stamped
            self.wake()

    def empty(self) -> Sequence[Stamped]:
        waiting, self._waiting = self._waiting, {}
        return tuple(waiting.values())

    def __len__(self) -> int:
        return len(self._waiting)


class Events(Mailbox):
    """Every event, in order. More than `most` waiting become a reset."""

    def __init__(self, most: int = WAITING) -> None:
        super().__init__()
        self._most = most
        self._waiting: list[Stamped] = []

    def put(self, stamped: Stamped) -> None:
        if self.reset:
            return
        if len(self._waiting) == self._most:
            self.lose()
        else:
            self._waiting.append(stamped)
        self.wake()

    def empty(self) -> Sequence[Stamped]:
        waiting, self._waiting = self._waiting, []
        return waiting

    def __len__(self) -> int:
        return len(self._waiting)
