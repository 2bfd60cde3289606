"""How feeds follow the hub: each takes the news that has come for it, and those of one client end together."""

import asyncio
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, Self
from uuid import UUID

from domain.bus import RiderSeen
from domain.events import Event, Stamped, Topic
from subscriptions.mailboxes import Mailbox

if TYPE_CHECKING:
    from subscriptions.hub import Hub


@dataclass(frozen=True, slots=True)
class News:
    """What has come since the last one. `events` are in order; `pos` is where the whole log is after them.

    `reset`: something was left out. Read the snapshot again: the news after this follows it without a gap.
    `last`: the server is about to go. Say where the client is, and end.
    """

    events: Sequence[Stamped]
    riders: Sequence[RiderSeen]
    epoch: str
    pos: int
    degraded: bool
    reset: bool
    last: bool = False


class Changes:
    """What has come for one feed, as it takes it."""

    def __init__(self, hub: "Hub", mailbox: Mailbox) -> None:
        self._hub = hub
        self._mailbox = mailbox
        self._besides: frozenset[UUID] = frozenset()

    def follow(self, entities: Iterable[UUID]) -> None:
        """From here on what happens to these as well, not what merely concerns them; and to no others that were named here before.

        Whoever names them before reading them misses nothing. What waits already of those no longer named is not taken out.
        """
        besides = frozenset(entities)
        self._hub.follow(self._mailbox, besides - self._besides, self._besides - besides)
        self._besides = besides

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> News:
        while not self._mailbox.ready:
            await self._mailbox.wait()
        hub, mailbox = self._hub, self._mailbox
        reset, mailbox.reset = mailbox.reset, False
        hub.resets += reset
        return News(mailbox.empty(), mailbox.empty_riders(), hub.epoch, hub.pos, hub.degraded, reset, mailbox.last)

    def lose(self) -> None:
        """The next news is a reset: what was in the last could not be told."""
        self._mailbox.lose()

    async def within(self, seconds: float) -> News | None:
        """None when nothing has come."""
        if not self._mailbox.ready:
            with suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await self._mailbox.wait()
        return await anext(self) if self._mailbox.ready else None


class Finishing(Protocol):
    def finish(self) -> None:
        """Say where you are, and end."""


class Following:
    """One client's way to the hub. Its feeds end together: each says once more where it is, so that it can go on elsewhere."""

    def __init__(self, hub: "Hub") -> None:
        self.hub = hub
        self._left = False
        self._open: set[Finishing] = set()

    @property
    def degraded(self) -> bool:
        return self.hub.degraded

    @contextmanager
    def join(
        self, ids: Iterable[UUID | Topic], mailbox: Mailbox, kinds: Collection[type[Event] | type[RiderSeen]] | None = None
    ) -> Iterator[Changes]:
        """As the hub's own, until this client leaves."""
        with self.hub.join(ids, mailbox, kinds) as changes, self.told_the_end(mailbox):
            yield changes

    @contextmanager
    def told_the_end(self, one: Finishing) -> Iterator[None]:
        """Finished when this client leaves; at once where it has left."""
        self.opened(one)
        try:
            yield
        finally:
            self.closed(one)

    def opened(self, one: Finishing) -> None:
        self._open.add(one)
        if self._left:
            one.finish()

    def closed(self, one: Finishing) -> None:
        self._open.discard(one)

    def saw(self, seen: RiderSeen) -> None:
        self.hub.saw(seen)

    async def read(self, ids: Collection[UUID], kinds: Collection[type[Event]]) -> None:
        """As the hub's own."""
        await self.hub.read(ids, kinds)

    def leave(self) -> None:
        """A feed that begins after this has a first frame, and its last."""
        self._left = True
        for one in list(self._open):
            one.finish()
