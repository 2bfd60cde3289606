"""How every feed follows the log: join, then a snapshot or what was missed, then what is newer."""

import asyncio
import random
from collections.abc import AsyncGenerator, Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar
from uuid import UUID

from db import events as rows
from db.events import Head
from db.reads import Reads
from domain.bus import RiderSeen
from domain.events import Event, Stamped, Topic
from domain.refusals import Kind, Refused
from subscriptions.cursors import cursor, read_cursor, tag
from subscriptions.following import Changes, Following, News
from subscriptions.mailboxes import Events, Mailbox

CHECKED_S = 2.0
UNCHECKED_S = 10.0
AWAY_S = 1.0
AHEAD = 1_000
SETTLED_S, PAUSE_S = 3.0, 0.02
"""So long a snapshot waits for the log to come as far as its rows. Where nobody leads the relay, another does by then."""

Item = TypeVar("Item")
Frame = TypeVar("Frame")


@dataclass(frozen=True, slots=True)
class Snapshot(Generic[Item]):
    """`versions` by (stream, entity): events up to them are in the items already, and are not sent again."""

    items: Sequence[Item]
    versions: Mapping[tuple[str, UUID], int]


@dataclass(frozen=True, slots=True)
class Riders(Generic[Item]):
    """Of a feed that tells where riders are, beside what happens. None of it is in the log.

    `seen` makes items of what came over the bus, after `changes` had what happened until then; it may leave some out.
    `look` reads where they are now, for who comes back with a cursor, and every 2 s while the bus is silent.
    """

    seen: Callable[[Sequence[RiderSeen]], Sequence[Item]]
    look: Callable[[], Awaitable[Sequence[Item]]]


@dataclass(frozen=True, slots=True)
class Feed(Generic[Item]):
    """What one subscription follows.

    `name` and `arguments` tell its cursors from another's. `ids` are entities, or what events concern.
    `snapshot` reads what is so now, and refuses what the actor may not see.
    `changes` makes items of events, in their order; it may leave events out.
    `allowed` is asked every 2 s, and before missed events are sent: a private feed ends when it says no. Public: None.
    `begin` is given what has been joined, before anything else is read, by a feed that follows now these entities besides its
    ids, now those (`Changes.follow`). It tells which they are to begin with.
    """

    name: str
    arguments: Sequence[object]
    ids: Collection[UUID | Topic]
    kinds: Collection[type[Event]]
    snapshot: Callable[[], Awaitable[Snapshot[Item]]]
    changes: Callable[[Sequence[Stamped]], Awaitable[Sequence[Item]]]
    allowed: Callable[[], Awaitable[bool]] | None
    mailbox: Callable[[], Mailbox] = Events
    begin: Callable[[Changes], Awaitable[Collection[UUID]]] | None = None
    riders: Riders[Item] | None = None


def follow(
    feed: Feed[Item],
    frame: Callable[[str, bool, bool, Sequence[Item]], Frame],
    hub: Following,
    reads: Reads,
    after: str | None = None,
) -> AsyncGenerator[Frame, None]:
    """Frames of (cursor, reset, degraded, items); the first comes at once. Refuses InvalidInput for a broken cursor.

    `reads` must be the primary's: a replica may know less than the events that were sent.
    """
    of = tag(feed.name, feed.arguments)
    place = read_cursor(after, of) if after is not None else None  # here, not in the generator: refused before it begins
    return _follow(feed, lambda head, reset, items: frame(cursor(head, of), reset, hub.degraded, items), hub, reads, place)


async def _follow(
    feed: Feed[Item], frame: Callable[[Head, bool, Sequence[Item]], Frame], hub: Following, reads: Reads, place: Head | None
) -> AsyncGenerator[Frame, None]:
    guard, riders = Guard(feed.allowed), feed.riders
    kinds = feed.kinds if riders is None else (*feed.kinds, RiderSeen)
    with hub.join(feed.ids, feed.mailbox(), kinds) as joined:  # before anything is read: nothing slips between
        besides = await feed.begin(joined) if feed.begin is not None else ()
        missed = await _missed(feed, reads, place, besides) if place is not None and await guard.passes() else None
        held: Mapping[tuple[str, UUID], int] = {}
        if missed is not None:
            head, events = missed
            items = await feed.changes(events) if events else ()
            yield frame(head, False, items if riders is None else [*items, *await riders.look()])
        else:
            head, snapshot = await _snapshot(feed, reads)
            guard.passed()
            held = snapshot.versions
            yield frame(head, True, snapshot.items)
        place = head
        while await guard.passes():
            news = await guard.waiting_for(joined)
            if news is None:
                if riders is not None and hub.degraded:
                    try:
                        items = await riders.look()
                    except Refused as refused:
                        await away(refused)
                        continue
                    if items:
                        yield frame(place, False, items)
                continue
            newer = [
                one
                for one in news.events
                if one.pos > head.pos and one.event.seq > held.get((one.event.stream, one.event.entity), 0)
            ]
            try:
                if news.reset:
                    head, snapshot = await _snapshot(feed, reads)
                else:
                    items = await feed.changes(newer) if newer else ()
                    if riders is not None and news.riders:
                        items = [*items, *riders.seen(news.riders)]
            except Refused as refused:
                if news.last:  # the client goes on elsewhere, from the cursor it has
                    return
                joined.lose()  # what was taken out of the mailbox is in the snapshot that comes once there is one
                await away(refused)
                continue
            if news.reset:
                guard.passed()
                held, place = snapshot.versions, head
                yield frame(head, True, snapshot.items)
            else:
                if news.epoch != place.epoch or news.pos > place.pos:  # the bus may be behind the snapshot
                    place = Head(news.epoch, news.pos)
                if items or news.last:
                    yield frame(place, False, items)
            if news.last:
                return


async def away(refused: Refused) -> None:
    """A database that is away ends no feed: waits a moment before it is asked again. Raises what else is refused."""
    if refused.refusal.kind is not Kind.UNAVAILABLE:
        raise refused
    await asyncio.sleep(AWAY_S * random.uniform(0.5, 1.5))  # noqa: S311  # not all feeds at once


async def _snapshot(feed: Feed[Item], reads: Reads) -> tuple[Head, Snapshot[Item]]:
    """A list whose items know of a step that has no place in the log yet is read again: who came back would be told it twice."""
    clock = asyncio.get_running_loop().time
    ids, over_at, pause_s = [id for id in feed.ids if isinstance(id, UUID)], clock() + SETTLED_S, PAUSE_S
    while True:
        head = await rows.head(reads)  # before the items: they hold all that is up to here, and perhaps more
        snapshot = await feed.snapshot()
        if feed.mailbox is not Events or clock() > over_at:
            return head, snapshot
        ahead = await rows.beyond(reads, head.pos, ids, feed.kinds, AHEAD)
        if not any(one.seq <= snapshot.versions.get((one.stream, one.entity), 0) for one in ahead):
            return head, snapshot
        await asyncio.sleep(pause_s)
        pause_s = min(2 * pause_s, 10 * PAUSE_S)


async def events_after(
    place: Head, reads: Reads, of: Collection[UUID | Topic], kinds: Collection[type[Event]], besides: Collection[UUID] = ()
) -> tuple[Head, Sequence[Stamped]] | None:
    """What happened since to any of these, and up to where; None where it cannot be told any more.

    Of entities `besides`: not what merely concerns them.
    """
    ids = [id for id in of if isinstance(id, UUID)]
    topics = [id for id in of if isinstance(id, Topic)]
    return await rows.resume(reads, place, ids, topics, kinds, besides)


async def _missed(feed: Feed[Item], reads: Reads, place: Head, besides: Collection[UUID]) -> tuple[Head, Sequence[Stamped]] | None:
    found = await events_after(place, reads, feed.ids, feed.kinds, besides)
    if found is None:
        return None
    head, events = found
    mailbox = feed.mailbox()  # a feed of values replays the latest of each, as it would have waited
    for one in events:
        mailbox.put(one)
    return None if mailbox.reset else (head, mailbox.empty())


class Guard:
    """Ends a private feed within 2 s of its actor's losing the right to it; within 10 where nobody can be asked."""

    def __init__(self, allowed: Callable[[], Awaitable[bool]] | None) -> None:
        self._allowed = allowed
        self._clock = asyncio.get_running_loop().time
        self._next = 0.0
        self._passed_at = 0.0

    def passed(self) -> None:
        """Something else has just said yes."""
        self._passed_at = self._clock()
        self._next = self._passed_at + CHECKED_S * random.uniform(0.8, 1)  # noqa: S311  # not all feeds at once

    async def passes(self) -> bool:
        if self._allowed is None or self._clock() < self._next:
            return True
        try:
            if not await self._allowed():
                return False
        except Exception as error:
            if isinstance(error, Refused) and error.refusal.kind is not Kind.UNAVAILABLE:
                return False
            if self._clock() > self._passed_at + UNCHECKED_S:
                raise
            self._next = self._clock() + CHECKED_S
            return True
        self.passed()
        return True

    async def waiting_for(self, joined: Changes) -> News | None:
        """None when it is time to ask again."""
        return await (anext(joined) if self._allowed is None else joined.within(max(0.0, self._next - self._clock())))
