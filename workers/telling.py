"""Orders are told to their store's till, each until the till has it, or until nobody is helped by it any more.

Any number of these run at once. The log is followed by one of them at a time. A source is told by one of them: by who holds its row
for a while, and whatever comes of it is only written down by who holds it still. No transaction is open while a till is spoken to:
who dies between the till's answer and the commit leaves the news as it was, and it is told again, known by the same ids.
"""

import asyncio
import json
import logging
import random
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from os import urandom
from urllib.parse import urlsplit

from db import sources
from db.outbound import order_to_tell
from db.reads import Reads
from domain import trace
from domain.access import OPEN_AFTER, Access, AskFailed, Fetch, Reply, retry_after_s
from domain.bus import Bus
from domain.cancelling import heed_cancelling
from domain.events import Topic
from domain.identity import Seals
from domain.intake import Source
from domain.outbound import Heard, NotMapped, NotNow, NotUnderstood, Order, Outbounds, Unmapped, Unsayable
from domain.refusals import Refused
from domain.telling import (
    Ended,
    Spent,
    Telling,
    TellingState,
    TellingTurn,
    backoff,
    follow,
    give_up,
    mended,
    moot,
    pause,
    settle,
)
from domain.unit_of_work import Begin, UnitOfWork
from workers.turns import Budget, NotOurs, take_turns

log = logging.getLogger("haat.telling")
AT_ONCE = 4  # sources
HOLD = timedelta(seconds=30)  # longer than twice what a till is waited for: it is renewed before each piece of news
POLL_S = 0.5  # for what is due by now, and for hints that were lost
EVENTS = 2_000
BUG_REST_S = 10.0
MOST, TURN_S = 50, 10.0  # pieces of news of one turn, and for how long another is begun: then it is another source's
ASIDE_S, ASIDE_MOST = 1.0, 32  # a turn that takes longer goes on beside the others, so many at once


@dataclass(frozen=True)
class Tellings:
    """`clock`, `sleep`, `dice`, `hold` and `turn_s` are for tests."""

    reads: Reads
    unit_of_work: Begin
    outbounds: Outbounds
    seals: Seals
    fetch: Fetch
    bus: Bus | None = None
    clock: Callable[[], datetime] = lambda: datetime.now(UTC)
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    dice: Callable[[], float] = random.random
    hold: timedelta = HOLD
    turn_s: float = TURN_S
    woken: asyncio.Event = field(default_factory=asyncio.Event)

    async def run(self) -> None:
        """Until cancelled."""
        async with asyncio.TaskGroup() as group:
            if self.bus is not None:
                group.create_task(self._listen(self.bus))
            group.create_task(self._follow())
            once = partial(self._guarded, self.once)
            take_turns(group, once, at_once=AT_ONCE, aside_s=ASIDE_S, aside_most=ASIDE_MOST, poll_s=POLL_S)

    async def _listen(self, bus: Bus) -> None:
        async with bus.subscribe([Topic.ORDERS.value, Topic.DELIVERY.value]) as messages:
            async for _ in messages:
                self.woken.set()

    async def _follow(self) -> None:
        while True:
            self.woken.clear()
            more = await self._guarded(self.follow)
            if not more:
                with suppress(TimeoutError):
                    async with asyncio.timeout(POLL_S):
                        await self.woken.wait()

    async def _guarded(self, step: Callable[[], Awaitable[bool]]) -> bool:
        try:
            return await step()
        except Exception as error:  # the database is away, perhaps: the next round begins from what is in it
            heed_cancelling(error)
            log.exception("a round was given up")
            return False

    async def follow(self) -> bool:
        """Returns whether there is more."""
        async with self.unit_of_work() as uow:
            return await follow(EVENTS, self.outbounds, uow)

    async def once(self) -> bool:
        """One source, if there is anything to tell one by now."""
        async with self.unit_of_work() as uow:
            turn = await uow.tellings.turn(self.hold, list(self.outbounds))
        if turn is None:
            return False
        trace.correlation_id.set(urandom(16).hex())
        try:
            await _Turn(self, turn).through()
        except NotOurs:
            log.warning("source %s was told by another", turn.source_id)
        return True


class _Turn:
    """One source, for as long as there is something to tell it."""

    def __init__(self, tellings: Tellings, turn: TellingTurn) -> None:
        self.tellings, self.turn, self.held_until = tellings, turn, turn.held_until
        self.outbound = tellings.outbounds[turn.provider]
        self.budget = Budget(self.outbound.quota, turn, tellings.clock())
        self.failed = turn.failed
        self.spoken = False
        self.telling: Telling | None = None  # in hand
        self.order: Order | None = None
        self.speak_before = 0.0  # by the loop's clock
        self.message = turn.message
        self.after_s: float | None = None

    async def through(self) -> None:
        registered = None
        try:
            registered = await sources.by_id(self.tellings.reads, self.turn.provider, self.turn.source_id)
            if registered is not None:
                await self._news(registered.source)
        except NotOurs:
            raise
        except Exception as error:  # a bug of ours, or a key that is gone: not to be tried without end, nor without a rest
            heed_cancelling(error)
            log.exception("source %s cannot be told", self.turn.source_id)
            message = error.refusal.message if isinstance(error, Refused) else type(error).__name__
            self._note(NotNow(message, BUG_REST_S))
            if registered is not None and self.telling is not None and self.telling.overdue:
                await self._give_up(self.telling, message, registered.source)
        finally:
            # However it ended, the next one may take it up: at once, or when the till has had its rest.
            await self._end()

    async def _give_up(self, telling: Telling, message: str, source: Source, *, spoken: bool = True) -> None:
        remote = urlsplit(self.turn.access.base_url).hostname or ""
        async with self.tellings.unit_of_work() as uow:
            ended = await give_up(telling, message, self.order, source, remote, uow, spoken=spoken)
            held_until = await self._hold(uow)
            await uow.tellings.finish(telling.id, ended)
        self.held_until = held_until

    async def _news(self, source: Source) -> None:
        turn = self.turn
        over_at = asyncio.get_running_loop().time() + self.tellings.turn_s
        for _ in range(MOST):
            began = asyncio.get_running_loop().time()
            async with self.tellings.unit_of_work() as uow:
                held_until = await self._hold(uow)
                telling = await uow.tellings.begin(turn.source_id, self.tellings.hold, overdue=self._rests)
            self.held_until = held_until
            # So that the answer, too, comes while the source is ours: who was stopped in between says nothing out of turn.
            self.speak_before = began + self.tellings.hold.total_seconds() / 2
            if telling is None:
                return
            trace.cause.set(f"telling:{telling.id}")
            self.telling, self.order = telling, None
            access = Access(turn.access.base_url, json.loads(self.tellings.seals.open(turn.access.sealed)))
            await self._one(telling, access, source)
            self.telling = None
            if asyncio.get_running_loop().time() >= over_at:
                return

    @property
    def _rests(self) -> bool:
        """It is left alone, from before this turn or by now."""
        return self.turn.resting or bool(self._spent().next_in)

    async def _one(self, telling: Telling, access: Access, source: Source) -> None:
        self.order = order = await order_to_tell(self.tellings.reads, source.id, telling.order_id)
        nothing = "the source is mapped to its store no more" if order is None else moot(telling, order)
        if order is None or nothing is not None:
            async with self.tellings.unit_of_work() as uow:
                await mended(telling, uow)
                held_until = await self._hold(uow)
                await uow.tellings.finish(telling.id, Ended(TellingState.MOOT, nothing))
            self.held_until = held_until
            return
        if self._rests:  # only what is overdue has come here: no till is needed to give it up
            why = f"the till is left alone: {self.message}" if self.message else "the till is left alone"
            await self._give_up(telling, why, source, spoken=False)
            return
        heard, reached = await self._said(telling, order, access)
        if reached:
            self._note(heard)
        wait = backoff(telling.attempts, self.after_s, self.tellings.dice())
        remote = urlsplit(access.base_url).hostname or ""
        async with self.tellings.unit_of_work() as uow:
            ended = await settle(telling, heard, order, source, remote, wait, uow)
            held_until = await self._hold(uow)  # last of all: only who holds the source may write any of this
            await uow.tellings.finish(telling.id, ended)
        self.held_until = held_until
        if ended.state is not TellingState.TOLD:
            log.warning("order %s, %s: %s", order.id, telling.news.value, ended.message)

    def _note(self, heard: Heard) -> None:
        self.spoken = True
        if not isinstance(heard, NotNow):
            self.failed, self.message, self.after_s = 0, None, None
            return
        self.failed, self.message, self.after_s = self.failed + 1, heard.message, heard.after_s
        if self.failed == OPEN_AFTER:
            log.error("source %s, %s, cannot be told of its orders: %s", self.turn.source_id, self.turn.provider, heard.message)

    async def _hold(self, uow: UnitOfWork) -> datetime:
        """Until when, once this is committed. Raises NotOurs."""
        held_until = await uow.tellings.hold(self.turn, self.held_until, self.tellings.hold, self._spent())
        if held_until is None:
            raise NotOurs
        return held_until

    async def _end(self) -> None:
        async with self.tellings.unit_of_work() as uow:
            if not await uow.tellings.end(self.turn, self.held_until, self._spent()):
                raise NotOurs

    def _spent(self) -> Spent:
        """Who has not been spoken to is not left alone for that."""
        rest = pause(self.failed, self.after_s) if self.spoken else timedelta()
        return Spent(self.failed, rest, self.budget.now(self.tellings.clock()), self.message)

    async def _said(self, telling: Telling, order: Order, access: Access) -> tuple[Heard, bool]:
        """What the till has answered, and whether it was spoken to at all."""
        tellings = self.tellings
        try:
            say = self.outbound.word(telling.news, order, access, telling.id, tellings.clock())
        except Unmapped as why:
            return NotMapped(str(why)), False
        except Unsayable as why:
            return NotUnderstood(str(why)), False
        except Exception as error:  # a bug of ours: it must not be tried without end
            heed_cancelling(error)
            log.exception("order %s cannot be worded", order.id)
            return NotUnderstood(f"it cannot be worded: {type(error).__name__}"), False
        await tellings.sleep(self.budget.take(tellings.clock()))
        if asyncio.get_running_loop().time() > self.speak_before:
            raise NotOurs
        try:
            reply = await tellings.fetch.fetch(say.base_url or access.base_url, say.ask)
        except AskFailed as failed:
            return NotNow(failed.message, failed.after_s) if failed.retry else NotUnderstood(failed.message, sure=False), True
        heard: Heard
        try:
            heard = self.outbound.heard(telling.news, reply)
        except Exception as error:  # a bug of ours, or an answer nobody thought of: it may have taken it
            heed_cancelling(error)
            log.exception("what a till answered of order %s cannot be read", order.id)
            heard = NotNow(f"its answer cannot be read: {type(error).__name__}")
        return self._later(heard, reply), True

    def _later(self, heard: Heard, reply: Reply) -> Heard:
        if not isinstance(heard, NotNow) or heard.after_s is not None:
            return heard
        return replace(heard, after_s=retry_after_s(reply.headers.get("retry-after", ""), self.tellings.clock()))
