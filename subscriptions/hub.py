"""A process's one reader of the bus. It puts events back in order, heals what was lost, and serves this process's feeds.

Everything between the bus and a mailbox is a look-up in memory, and an event is decoded once, if anybody watches.
"""

import asyncio
import logging
import random
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import chain
from typing import Any, Protocol, TypeVar
from uuid import UUID

import msgspec

from db import events as rows
from db.events import Beyond, Head, to_event
from db.reads import Reads
from domain.bus import HEARTBEAT, POSITIONS, TOPICS, Bus, Entries, Entry, Heartbeat, Message, RiderSeen
from domain.cancelling import heed_cancelling
from domain.events import Event, Stamped, Topic
from subscriptions.following import Changes
from subscriptions.mailboxes import Mailbox

log = logging.getLogger("haat.hub")
HOLE_S = 0.1  # a missing pos may still be on its way for so long
SILENCE_S = 3.0  # without a word from the relay
POLL_S = 1.0  # while the bus is silent
LOOK_S = 0.5
AT_ONCE = 1_000
BEHIND = 10_000  # further behind than this, everybody reads a snapshot instead
HERD = 100  # more feeds than this do not all read their snapshots at the same moment
SPREAD_S = 2.0


@dataclass(frozen=True, slots=True)
class Figures:
    pos: int
    degraded: bool
    joined: int  # feeds
    waiting: int  # events, in all mailboxes
    heals: int  # times that something was read from the database because the bus had lost it
    resets: int  # feeds told to read their snapshot again


class Observer(Protocol):
    """Told of all that happens, before any feed is."""

    def heard(self, entry: Entry) -> None:
        """The next one of the log, also of a kind that we do not know."""

    def foretold(self, events: Sequence[Beyond]) -> None:
        """A feed is about to tell what it has read itself: these events may be in it, and come later."""

    def lost(self) -> None:
        """The log goes on from somewhere else."""


class Hub:
    def __init__(self, bus: Bus, reads: Reads) -> None:
        self.epoch = ""
        self.pos = 0  # everything up to here has been given to the feeds
        self.heals = 0
        self.resets = 0
        self._bus = bus
        self._reads = reads
        self._mailboxes: dict[Mailbox, frozenset[type] | None] = {}
        self._joined: dict[UUID | str, set[Mailbox]] = {}
        self._besides: dict[UUID, set[Mailbox]] = {}  # by entity alone, not by what events concern
        self.observers: list[Observer] = []
        self.shared: dict[tuple[object, ...], Any] = {}  # what many follow as one, by its name and arguments
        self._early: dict[int, Entry] = {}  # came before their turn
        self._last = 0  # the furthest pos anybody has spoken of
        self._beat = 0  # where we were at the last heartbeat
        self._told = (0, 0.0)  # by the last heartbeat: how far the log had come, and when we heard it
        self._whole_at = float("-inf")  # when we last knew all of it
        self._doubted = False  # the log may not be the one we know
        self._nudge = asyncio.Event()
        self._heard_at = self._moved_at = 0.0
        self._entries = msgspec.json.Decoder(Entries)
        self._heartbeat = msgspec.json.Decoder(Heartbeat)
        self._rider = msgspec.json.Decoder(RiderSeen)
        self._tasks: list[asyncio.Task[None]] = []

    # For feeds

    @contextmanager
    def join(
        self, ids: Iterable[UUID | Topic], mailbox: Mailbox, kinds: Collection[type[Event] | type[RiderSeen]] | None = None
    ) -> Iterator[Changes]:
        """From here on the mailbox gets what happens to any of these entities, or concerns any of these ids, once each.

        Only of these `kinds`, where they are given. Positions of riders only where RiderSeen is among them.
        """
        keys = {id.value if isinstance(id, Topic) else id for id in ids}
        self._mailboxes[mailbox] = frozenset(kinds) if kinds is not None else None
        for key in keys:
            _enter(self._joined, key, mailbox)
        changes = Changes(self, mailbox)
        try:
            yield changes
        finally:
            changes.follow(())
            del self._mailboxes[mailbox]
            for key in keys:
                _leave(self._joined, key, mailbox)

    def follow(self, mailbox: Mailbox, more: Iterable[UUID], no_more: Iterable[UUID]) -> None:
        """Of a mailbox that has joined: what happens to these entities as well, or no longer."""
        for entity in more:
            _enter(self._besides, entity, mailbox)
        for entity in no_more:
            _leave(self._besides, entity, mailbox)

    def saw(self, seen: RiderSeen) -> None:
        """A position that did not come by the bus: for this process's feeds, while there is no bus."""
        for mailbox in chain(self._joined.get(seen.rider, ()), self._besides.get(seen.rider, ())):
            kinds = self._mailboxes[mailbox]
            if kinds is not None and RiderSeen in kinds:
                mailbox.put_rider(seen)

    @property
    def degraded(self) -> bool:
        """The bus is silent: we run behind, by the database. Caches that trust our news must not be believed."""
        return not self._bus.up or asyncio.get_running_loop().time() - self._heard_at > SILENCE_S

    def knows_all_since(self, seconds: float) -> bool:
        """Of what was committed up to so long ago, nothing is unknown here."""
        return asyncio.get_running_loop().time() - self._whole_at <= seconds

    async def read(self, ids: Collection[UUID], kinds: Collection[type[Event]]) -> None:
        """For feeds: these were read, and are told next. What they may know beyond us is known to observers first."""
        if self.observers:
            await self.beyond(self.pos, ids, kinds)

    async def beyond(self, pos: int, ids: Collection[UUID], kinds: Collection[type[Event]]) -> Sequence[Beyond] | None:
        """As `read`; and what may be in them already though it comes after `pos` in the log. None: more than can be told."""
        events = await rows.beyond(self._reads, min(pos, self.pos), ids, kinds, AT_ONCE)
        for one in self.observers:
            if len(events) < AT_ONCE:
                one.foretold([event for event in events if event.pos is None or event.pos > self.pos])
            else:
                one.lost()
        return events if len(events) < AT_ONCE else None

    @property
    def figures(self) -> Figures:
        waiting = sum(len(mailbox) for mailbox in self._mailboxes)
        return Figures(self.pos, self.degraded, len(self._mailboxes), waiting, self.heals, self.resets)

    # Life

    async def start(self) -> None:
        head = await rows.head(self._reads)
        self.epoch, self.pos, self._last, self._beat = head.epoch, head.pos, head.pos, head.pos
        self._heard_at = self._moved_at = asyncio.get_running_loop().time()
        for one in self.observers:
            one.lost()
        joined = asyncio.Event()
        self._tasks = [asyncio.create_task(self._listen(joined), name="hub"), asyncio.create_task(self._mend(), name="hub mending")]
        await joined.wait()

    async def stop(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    # From the bus

    async def _listen(self, joined: asyncio.Event) -> None:
        async with self._bus.subscribe([*TOPICS, HEARTBEAT, POSITIONS]) as messages:
            joined.set()
            async for message in messages:
                try:
                    self._hear(message)
                except Exception:  # what it said is healed from the database like anything lost
                    log.exception("a message on %s cannot be read", message.channel)
                await asyncio.sleep(0)  # a burst of messages does not keep the feeds from running

    def _hear(self, message: Message) -> None:
        if message.channel == POSITIONS:
            self.saw(self._rider.decode(message.text))
        elif message.channel == HEARTBEAT:
            beat = self._heartbeat.decode(message.text)
            if self._ours(beat.epoch):
                # A log that is shorter than it was at the beat before is not the one we know.
                self._doubt(beat.pos < self._beat)
                self._beat = self.pos
                self._reach(beat.pos)
                if not beat.behind:
                    self._told = (beat.pos, self._heard_at)
                    self._know()
        else:
            said = self._entries.decode(message.text)
            if self._ours(said.epoch) and said.events:
                if len(self._early) < BEHIND:
                    self._early.update((entry.pos, entry) for entry in said.events if entry.pos > self.pos)
                self._reach(said.events[-1].pos)
                self._advance()

    def _ours(self, epoch: str) -> bool:
        if epoch == self.epoch:
            self._heard_at = asyncio.get_running_loop().time()
            return True
        self._doubt(True)
        return False

    def _doubt(self, doubted: bool) -> None:
        if doubted:
            self._doubted = True
            self._nudge.set()

    def _know(self) -> None:
        pos, at = self._told
        if self.pos >= pos:
            self._whole_at = max(self._whole_at, at)

    def _reach(self, pos: int) -> None:
        if pos > self._last:
            if self.pos == self._last:  # a hole begins here
                self._moved_at = asyncio.get_running_loop().time()
            self._last = pos
            self._nudge.set()

    # To the feeds

    def _advance(self) -> None:
        before = self.pos
        while (entry := self._early.pop(self.pos + 1, None)) is not None:
            self._dispatch(entry)
        if self.pos != before:
            self._moved_at = asyncio.get_running_loop().time()
            self._know()

    def _dispatch(self, entry: Entry) -> None:
        """The next one of the whole log."""
        self.pos = entry.pos
        self._last = max(self._last, entry.pos)
        for one in self.observers:
            one.heard(entry)
        kind = Event.kinds.get(entry.kind)
        if kind is None:  # of a newer version of us: nobody here can have asked for it
            return
        keys: tuple[UUID | str, ...] = (entry.topic, entry.entity, *entry.concerns)
        mailboxes: set[Mailbox] = set(self._besides.get(entry.entity, ()))
        for key in keys:
            if key in self._joined:
                mailboxes.update(self._joined[key])
        wanted = [mailbox for mailbox in mailboxes if (kinds := self._mailboxes[mailbox]) is None or kind in kinds]
        if not wanted:
            return
        try:
            event = to_event(entry.kind, entry.body)
        except msgspec.ValidationError:
            log.exception("pos %s is not the %s we know", entry.pos, entry.kind, extra=_chain(entry))
            self._lose(wanted)
            return
        if log.isEnabledFor(logging.DEBUG):
            log.debug("told", extra={"pos": entry.pos, "feeds": len(wanted), **_chain(entry)})
        stamped = Stamped(entry.pos, entry.at, entry.concerns, event, entry.caused_by, entry.correlation_id)
        for mailbox in wanted:
            mailbox.put(stamped)

    def _lose(self, mailboxes: Collection[Mailbox]) -> None:
        spread_s = SPREAD_S if len(mailboxes) > HERD else 0
        for mailbox in mailboxes:
            mailbox.lose()
            asyncio.get_running_loop().call_later(random.uniform(0, spread_s), mailbox.wake)  # noqa: S311

    # From the database

    async def _mend(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            self._nudge.clear()
            polling, behind = self.degraded or self._doubted, self._last > self.pos
            stuck_s = loop.time() - self._moved_at
            if polling or (behind and stuck_s >= HOLE_S):
                try:
                    await self._heal()
                except Exception as error:  # the database may be away too; neither ends a feed
                    heed_cancelling(error)
                    log.warning("not healed: %s", error)
                    polling = True
                if polling:
                    await asyncio.sleep(POLL_S)
            else:
                with suppress(TimeoutError):
                    async with asyncio.timeout(HOLE_S - stuck_s if behind else LOOK_S):
                        await self._nudge.wait()

    async def _heal(self) -> None:
        before = self.pos
        head = await rows.head(self._reads)
        self._doubted = False
        if head.epoch != self.epoch or head.pos < before or head.pos - before > BEHIND:
            self._start_over(head)
            return
        healed = False
        while self.pos < head.pos:
            after = self.pos
            entries = await rows.entries_since(self._reads, after, AT_ONCE)
            if not entries or entries[0].pos != after + 1:  # the log no longer reaches back so far
                self._start_over(head)
                return
            for entry in entries:
                if entry.pos == self.pos + 1:  # others have come by the bus meanwhile
                    self.heals += not healed
                    healed = True
                    self._dispatch(entry)
            self._moved_at = asyncio.get_running_loop().time()
            await asyncio.sleep(0)
        self._early = {pos: entry for pos, entry in self._early.items() if pos > self.pos}
        self._advance()

    def _start_over(self, head: Head) -> None:
        log.warning("starting over at pos %s of %s, from %s of %s", head.pos, head.epoch, self.pos, self.epoch)
        self.epoch, self.pos, self._last, self._beat = head.epoch, head.pos, head.pos, head.pos
        self._told, self._whole_at = (0, 0.0), float("-inf")
        self._early.clear()
        for one in self.observers:
            one.lost()
        self._lose(self._mailboxes)


Key = TypeVar("Key")


def _enter(joined: dict[Key, set[Mailbox]], key: Key, mailbox: Mailbox) -> None:
    joined.setdefault(key, set()).add(mailbox)


def _leave(joined: dict[Key, set[Mailbox]], key: Key, mailbox: Mailbox) -> None:
    joined[key].discard(mailbox)
    if not joined[key]:
        del joined[key]


def _chain(entry: Entry) -> dict[str, str]:
    """Of a log line about it: whence it comes, not who happens to read it."""
    return {"correlation_id": entry.correlation_id, "cause": entry.caused_by}
