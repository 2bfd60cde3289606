"""A feed of values that many follow as one: the log is followed and the snapshot read once for all who ask for the same.

Who keeps up is given the very same frame object as everybody else, so that it can be executed and encoded once. Who does
not, or comes back with a cursor, is given frames of its own, of the latest of each value.
"""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Hashable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, NamedTuple, Protocol, Self, TypeVar
from uuid import UUID

from db import events as rows
from db.events import Head
from db.reads import Reads
from domain.events import Event, Topic
from domain.refusals import Refused
from subscriptions.cursors import cursor, read_cursor, tag
from subscriptions.feeds import away, events_after
from subscriptions.following import Following, News
from subscriptions.hub import Hub
from subscriptions.mailboxes import Values

UNLOGGED_S = 10.0
"""By then what was committed should have its place in the log: where too much had none to be told apart, a cursor is one then."""
Item = TypeVar("Item")
Frame = TypeVar("Frame")


@dataclass(frozen=True, slots=True)
class SharedFeed(Generic[Item]):
    """What anybody may follow.

    `name`, `arguments`, `ids` and `kinds` are as a Feed's. `item` is what an event says, or None; `key` and `version` are
    an item's: the event's entity and seq. `whole`: the snapshot has an item of every key there can be, so what is so now can
    be kept.
    """

    name: str
    arguments: Sequence[object]
    ids: Collection[UUID | Topic]
    kinds: Collection[type[Event]]
    snapshot: Callable[[], Awaitable[Sequence[Item]]]
    item: Callable[[Event], Item | None]
    key: Callable[[Item], Hashable]
    version: Callable[[Item], int]
    whole: bool


MakeFrame = Callable[[str, bool, bool, Sequence[Item]], Frame]


def share(
    feed: SharedFeed[Item], frame: MakeFrame[Item, Frame], following: Following, reads: Reads, after: str | None = None
) -> "Watcher[Item, Frame]":
    """As `follow`, for a shared feed. Refuses InvalidInput for a broken cursor."""
    of = tag(feed.name, feed.arguments)
    place = read_cursor(after, of) if after is not None else None
    return Watcher(following, Watching(feed, frame, reads, of, place))


class Change(NamedTuple):
    pos: int
    key: Hashable
    item: Any


class Known(NamedTuple):
    """Of one key: what is so, and the latest event that said so, if any has come since the snapshot."""

    shown: Any
    said: Any
    pos: int


class Shared(Generic[Item, Frame]):
    """The one following of all watchers. Lives while there are any."""

    def __init__(
        self,
        feed: SharedFeed[Item],
        frame: MakeFrame[Item, Frame],
        hub: Hub,
        reads: Reads,
        of: str,
    ) -> None:
        self.feed = feed
        self.of = of
        self._which = (feed.name, *feed.arguments)
        self.head = self.since = Head("", 0)
        self.known: dict[Hashable, Known] = {}
        self._frame = frame
        self._hub = hub
        self._reads = reads
        self._ahead: dict[Hashable, int] = {}  # versions the snapshot has: events up to them are news to who resumed alone
        self._unlogged: dict[Hashable, int] = {}  # of these, what the log has not told us yet
        self._unsure_until = 0.0  # whether there are such
        self._first: Frame | None = None
        self._first_made = (False, 0)
        self._followed = False  # the log, from the snapshot on
        self._mailbox = Values()
        self._watchers: set[Watcher[Item, Frame]] = set()
        self._begun = asyncio.Event()
        self._failed: Exception | None = None
        hub.shared[self._which] = self
        self._task = asyncio.create_task(self._run(), name=f"shared {feed.name}")

    def enter(self, watcher: "Watcher[Item, Frame]") -> None:
        self._watchers.add(watcher)

    def leave(self, watcher: "Watcher[Item, Frame]") -> None:
        self._watchers.discard(watcher)
        if not self._watchers:
            self._forget()
            self._task.cancel()

    def _forget(self) -> None:
        if self._hub.shared.get(self._which) is self:
            del self._hub.shared[self._which]

    async def tell_as_read(self) -> None:
        """What is told next was read, not heard."""
        await self._hub.read(self._entities, self.feed.kinds)

    @property
    def _entities(self) -> Sequence[UUID]:
        return [id for id in self.feed.ids if isinstance(id, UUID)]

    async def begun(self) -> None:
        await self._begun.wait()
        self.check()

    @property
    def failed(self) -> bool:
        return self._failed is not None

    def check(self) -> None:
        """Raises what has ended this following."""
        if isinstance(self._failed, Refused):
            raise Refused(self._failed.refusal)
        if self._failed is not None:
            raise RuntimeError(f"{self.feed.name} cannot be followed") from self._failed

    def frame(self, items: Sequence[Item], reset: bool = False, at: Head | None = None) -> Frame:
        return self._frame(cursor(at or self._place(self.head), self.of), reset, self._hub.degraded, items)

    def _place(self, head: Head) -> Head:
        """As a cursor names it. While the log has still to tell what the snapshot knows, no place in it stands for what a
        client has seen: it would be told older values when it came back. Of no history, and so it begins anew."""
        if self._unlogged or asyncio.get_running_loop().time() < self._unsure_until:
            return Head("", head.pos)
        return head

    @property
    def now(self) -> Head:
        """Where we are: nothing of ours has come since then, though the log may have gone on."""
        hub = self._hub
        quiet = self._followed and not self._mailbox.ready
        gone_on = quiet and hub.epoch == self.head.epoch and hub.pos > self.head.pos
        return self._place(Head(hub.epoch, hub.pos) if gone_on else self.head)

    def first(self) -> Frame:
        """What is so now; for who comes within a second the same object, while nothing changes."""
        made = (self._hub.degraded, int(asyncio.get_running_loop().time()))
        if self._first is None or self._first_made != made:
            self._first = self.frame([known.shown for known in self.known.values()], reset=True, at=self.now)
            self._first_made = made
        return self._first

    async def _run(self) -> None:
        try:
            with self._hub.join(self.feed.ids, self._mailbox, self.feed.kinds) as joined:  # before anything is read
                while True:
                    self._followed = False
                    try:
                        await self._begin()
                    except Refused as refused:
                        if not self._begun.is_set():
                            raise
                        await away(refused)
                        continue
                    self._followed = True
                    async for news in joined:
                        if news.reset:
                            break
                        self._go_on(news)
        except Exception as error:
            self._failed = error
            self._forget()
            self._begun.set()
            for watcher in list(self._watchers):
                watcher.wake()

    async def _begin(self) -> None:
        head = await rows.head(self._reads)  # before the items: they hold all that is up to here, and perhaps more
        items = await self.feed.snapshot()
        beyond = await self._hub.beyond(head.pos, self._entities, self.feed.kinds)
        self.head = self.since = head
        self._ahead = {self.feed.key(item): self.feed.version(item) for item in items}
        self._unlogged = {
            one.entity: self._ahead[one.entity]
            for one in beyond or ()
            if (one.pos is None or one.pos > head.pos) and one.seq <= self._ahead.get(one.entity, 0)
        }
        unsure = beyond is None and self._ahead
        self._unsure_until = asyncio.get_running_loop().time() + UNLOGGED_S if unsure else 0.0
        self.known = {self.feed.key(item): Known(item, None, head.pos) for item in items} if self.feed.whole else {}
        self._first = None
        if self._begun.is_set():
            for watcher in list(self._watchers):
                watcher.start_over()
        self._begun.set()

    def _go_on(self, news: News) -> None:
        feed, before = self.feed, self.head.pos
        fresh: list[Change] = []
        late: list[Change] = []
        for one in news.events:
            if one.event.seq >= self._unlogged.get(one.event.entity, one.event.seq):  # a version before it may be skipped
                self._unlogged.pop(one.event.entity, None)
            item = feed.item(one.event) if one.pos > before else None
            if item is None:
                continue
            change = Change(one.pos, feed.key(item), item)
            held = feed.version(item) <= self._ahead.get(change.key, 0)
            (late if held else fresh).append(change)
            if feed.whole:
                shown = self.known[change.key].shown if held and change.key in self.known else item
                self.known[change.key] = Known(shown, item, one.pos)
        if news.epoch != self.head.epoch or news.pos > before:  # the bus may be behind the snapshot
            self.head = Head(news.epoch, news.pos)
        self._first = None
        if fresh or late:
            everybodys = self.frame([change.item for change in fresh]) if fresh else None
            for watcher in self._watchers:
                watcher.tell(everybodys, fresh, late, before)


@dataclass(frozen=True, slots=True)
class Watching(Generic[Item, Frame]):
    """What a client wants to watch, and from where on."""

    feed: SharedFeed[Item]
    frame: MakeFrame[Item, Frame]
    reads: Reads
    of: str
    place: Head | None

    def join(self, hub: Hub) -> Shared[Item, Frame]:
        which = (self.feed.name, *self.feed.arguments)
        return hub.shared.get(which) or Shared(self.feed, self.frame, hub, self.reads, self.of)


Offered = TypeVar("Offered", contravariant=True)


class Resting(Protocol[Offered]):
    """A client that keeps up, while no task waits for it."""

    def offer(self, frame: Offered, /) -> bool:
        """What everybody is told. Whether the client has been told it."""

    def woken(self) -> None:
        """There is something to take: the rest is over."""


class Watcher(Generic[Item, Frame]):
    """What one client is told: everybody's frame, or else the latest of each value that it has not been told.

    Iterated by the client's task, which closes it. Between two frames no task need wait: see `rest`.
    """

    __slots__ = (
        "_following", "_frame", "_in_frame", "_joining", "_missed", "_reset", "_resting", "_resumed", "_shared", "_waiting",
        "_watching", "last",
    )  # fmt: skip

    def __init__(self, following: Following, watching: Watching[Item, Frame]) -> None:
        self.last = False
        self._following = following
        self._watching: Watching[Item, Frame] | None = watching  # until it has begun
        self._shared: Shared[Item, Frame] | None = None  # from then to its end
        self._reset = False
        self._frame: Frame | None = None
        self._in_frame: Sequence[Change] = ()
        self._missed: dict[Hashable, Change] | None = None
        self._joining = True
        self._resumed: Head | None = None  # there, and has seen nothing but events: what a snapshot held beyond them is news
        self._waiting: asyncio.Future[None] | None = None
        self._resting: Resting[Frame] | None = None

    # For those who share

    def tell(self, frame: Frame | None, fresh: Sequence[Change], late: Sequence[Change], before: int) -> None:
        """`before` is where the log was before these."""
        if self._reset:
            return
        if self._joining:
            self._miss([*fresh, *late])
        elif self._resumed is not None and (late or before < self._resumed.pos):
            self._miss([change for change in (*fresh, *late) if change.pos > self._resumed.pos])
        elif frame is None:
            return
        elif self._frame is None and not self._missed:
            if self._resting is not None and self._resting.offer(frame):
                return
            self._frame, self._in_frame = frame, fresh
        else:
            self._miss(fresh)
        self.wake()

    def start_over(self) -> None:
        self._nothing_waits()
        self._reset = True
        self.wake()

    def finish(self) -> None:
        self.last = True
        self.wake()

    def wake(self) -> None:
        resting, self._resting = self._resting, None
        if resting is not None:
            resting.woken()
        elif self._waiting is not None and not self._waiting.done():
            self._waiting.set_result(None)

    # For the client

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Frame:
        try:
            if self._watching is not None:
                return await self._begin(self._watching)
            if self._shared is None:
                raise StopAsyncIteration
            await self._news(self._shared)
            last, frame = self.last, self._take(self._shared)
            if last:
                self.close()
            return frame
        except BaseException:
            self.close()
            raise

    async def aclose(self) -> None:
        self.close()

    def close(self) -> None:
        """Safe to repeat."""
        self._watching = self._resting = None
        shared, self._shared = self._shared, None
        if shared is not None:
            self._following.closed(self)
            shared.leave(self)
            self._nothing_waits()

    def rest(self, resting: Resting[Frame]) -> bool:
        """Nobody waits for the next frame, until `resting` is woken. False, and no rest, where something waits already."""
        if self._shared is None or self._shared.failed or self._something:
            return False
        self._resting = resting
        return True

    @property
    def _something(self) -> bool:
        return self.last or self._reset or bool(self._missed) or self._frame is not None

    async def _begin(self, watching: Watching[Item, Frame]) -> Frame:
        """What is so now, or what came after the client's place."""
        self._watching, self._shared = None, watching.join(self._following.hub)
        self._following.opened(self)
        self._shared.enter(self)
        await self._shared.begun()
        return (
            self._anew(self._shared) if watching.place is None else await self._resume(self._shared, watching.place, watching.reads)
        )

    def _anew(self, shared: Shared[Item, Frame]) -> Frame:
        self._nothing_waits()
        self._reset = self._joining = False
        self._resumed = None
        return shared.first()

    async def _resume(self, shared: Shared[Item, Frame], place: Head, reads: Reads) -> Frame:
        if shared.feed.whole and place.epoch == shared.head.epoch and shared.since.pos <= place.pos <= shared.head.pos:
            self._nothing_waits()
            self._joining, self._resumed = False, shared.head
            return shared.frame([known.said for known in _in_order(shared.known.values()) if known.pos > place.pos])
        found = await events_after(place, reads, shared.feed.ids, shared.feed.kinds)
        await shared.tell_as_read()
        if found is None or self._reset:
            return self._anew(shared)
        head, events = found
        latest: dict[Hashable, Item] = {}
        for one in events:
            item = shared.feed.item(one.event)
            if item is not None:
                latest.pop(shared.feed.key(item), None)
                latest[shared.feed.key(item)] = item
        self._joining, self._resumed = False, head
        self._missed = {key: change for key, change in (self._missed or {}).items() if change.pos > head.pos}
        return shared.frame(list(latest.values()), at=head)

    async def _news(self, shared: Shared[Item, Frame]) -> None:
        """Until there is something to take. Raises what has ended the following."""
        while True:
            shared.check()
            if self._something:
                return
            self._waiting = asyncio.get_running_loop().create_future()
            try:
                await self._waiting
            finally:
                self._waiting = None

    def _take(self, shared: Shared[Item, Frame]) -> Frame:
        """Where nothing waits, the place and nothing else: it is the last."""
        if self._reset:
            return self._anew(shared)
        missed, frame = self._missed, self._frame
        self._nothing_waits()
        if missed:
            return shared.frame([change.item for change in _in_order(missed.values())])
        return self._place(shared) if frame is None else frame

    def _place(self, shared: Shared[Item, Frame]) -> Frame:
        head, resumed = shared.now, self._resumed
        ahead = resumed is not None and resumed.epoch == head.epoch and resumed.pos > head.pos
        return shared.frame((), at=resumed if ahead else head)

    def _miss(self, changes: Iterable[Change]) -> None:
        if self._missed is None:
            self._missed = {}
        for change in (*self._in_frame, *changes):
            known = self._missed.get(change.key)
            if known is None or known.pos < change.pos:
                self._missed[change.key] = change
        self._frame, self._in_frame = None, ()

    def _nothing_waits(self) -> None:
        self._frame, self._in_frame, self._missed = None, (), None


Placed = TypeVar("Placed", Change, Known)


def _in_order(of: Iterable[Placed]) -> list[Placed]:
    return sorted(of, key=lambda one: one.pos)
