"""Sources that tell nothing by themselves are asked, each in its turn, and what they answer is kept like whatever they would send.

Any number of these run at once. A source is asked by one of them: by who holds its cursor's row for a while, and whatever is
written down in the end is only written by who holds it still. Who dies in the middle has kept what it kept; the next one begins
where the last one that ended had come to.
"""

import asyncio
import hashlib
import json
import logging
import random
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from os import urandom
from typing import TypeVar
from urllib.parse import urlencode, urlsplit

from db import sources
from db.ids import new_id
from db.reads import Reads
from domain import trace
from domain.access import OPEN_AFTER, Access, Ask, AskFailed, Fetch, Reply, retry_after_s
from domain.bodies import INLINE, Bodies
from domain.cancelling import heed_cancelling
from domain.health import heard
from domain.identity import Seals
from domain.intake import LATER_BYTES, Call, EntityKind, FailureKind, Inbound, Reading, Source, Wrong, own_id, printable, translated
from domain.payloads import Received, keep, laid_away
from domain.pulling import ASKED_AT, PULLED_AS, Ended, News, Puller, Turn, Unknown, next_in
from domain.threads import Shares, Threads
from domain.unit_of_work import Begin
from domain.work import BY_SKU
from workers.turns import Budget, NotOurs, take_turns

log = logging.getLogger("haat.pulling")
AT_ONCE = 4
POLL_S = 2.0
HOLD = timedelta(seconds=120)  # longer than any one step: it is renewed before each
ASK_S = 600.0  # one question with all of its tries. A whole talk may take hours: a small quota makes it
ASIDE_S, ASIDE_MOST = 60.0, 16  # what takes longer goes on beside the others, so many at once
TRIES = 4
BACKOFF_S = 1.0
WAIT_MOST_S = 60.0  # of what a partner asks us to wait; more than that is another turn
READERS, READ_S = 4, 40.0  # threads that read what was answered, of each source one; a step, too, and shorter than HOLD
FAILED_DOOR = "pull"
Made = TypeVar("Made")


@dataclass(frozen=True)
class Pulling:
    """`kept` wakes who carries out what was kept. `dice` and `sleep` are for tests."""

    reads: Reads
    unit_of_work: Begin
    inbounds: Mapping[str, Inbound]
    seals: Seals
    fetch: Fetch
    kept: Callable[[], None] = lambda: None
    bodies: Bodies = INLINE
    readers: Shares = field(default_factory=lambda: Shares(Threads("pulled", READERS), 1))
    clock: Callable[[], datetime] = lambda: datetime.now(UTC)
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    dice: Callable[[], float] = random.random
    pullers: Mapping[str, Puller] = field(init=False)

    def __post_init__(self) -> None:
        pullers = {name: one for name, one in self.inbounds.items() if isinstance(one, Puller)}
        object.__setattr__(self, "pullers", pullers)

    async def run(self) -> None:
        """Until cancelled."""
        async with asyncio.TaskGroup() as group:
            take_turns(group, self._guarded, at_once=AT_ONCE, aside_s=ASIDE_S, aside_most=ASIDE_MOST, poll_s=POLL_S)

    async def _guarded(self) -> bool:
        try:
            return await self.once()
        except Exception as error:
            heed_cancelling(error)
            log.exception("a turn was given up")
            return False

    async def once(self) -> bool:
        """One source, if it is any one's turn."""
        async with self.unit_of_work() as uow:
            turn = await uow.pulls.turn(HOLD, list(self.pullers))
        if turn is None:
            return False
        trace.correlation_id.set(urandom(16).hex())
        trace.cause.set(f"source:{turn.source_id}")
        try:
            await _Talking(self, turn).through()
        except NotOurs:
            log.warning("source %s was asked by another", turn.source_id)
        return True


class _Talking:
    """One turn of one source."""

    def __init__(self, pulling: Pulling, turn: Turn) -> None:
        self.pulling, self.turn, self.held_until = pulling, turn, turn.held_until
        self.puller, self.inbound = pulling.pullers[turn.provider], pulling.inbounds[turn.provider]
        self.budget = Budget(self.puller.quota, turn, pulling.clock())

    async def through(self) -> None:
        turn, puller = self.turn, self.puller
        registered = await sources.by_id(self.pulling.reads, turn.provider, turn.source_id)
        failed: AskFailed | None = None
        try:
            if registered is None:
                raise AskFailed("it is switched off", retry=False)
            await self._talk(registered.source)
        except AskFailed as error:
            failed = error
        except NotOurs:
            raise
        except Exception as error:  # a bug of ours, or of what reads their answers: it must not be asked without end
            heed_cancelling(error)
            log.exception("source %s cannot be asked", turn.source_id)
            failed = AskFailed(type(error).__name__)
        if failed is None:
            await self._end(Ended(turn.now, 0, puller.every, self.budget.now(self.pulling.clock())))
            return
        times = turn.failed + 1
        log.warning("source %s was not pulled, %s in a row: %s", turn.source_id, times, failed.message)
        # What nobody but its people can mend is told at once; what may pass, when it has not passed.
        if registered is not None and times == (OPEN_AFTER if failed.retry else 1):
            await self._hold()  # nobody hears of an access that is another by now
            await self._tell(registered.source, failed)
        wait = next_in(puller.every, times, failed.after_s, self.pulling.dice())
        await self._end(Ended(None, times, wait, self.budget.now(self.pulling.clock()), printable(failed.message)))

    async def _talk(self, source: Source) -> None:
        turn, puller = self.turn, self.puller
        access = Access(turn.access.base_url, json.loads(self.pulling.seals.open(turn.access.sealed)))
        until = turn.now
        earliest = until - puller.longest
        since = earliest if turn.told_until is None else max(earliest, turn.told_until - puller.overlap)
        talk = puller.talk(access, source, since, until)
        try:
            said = await self._go_on(source, partial(next, talk))
            reply = Reply(200, {}, b"")
            while said is not None:
                match said:
                    case Ask():
                        try:
                            async with asyncio.timeout(ASK_S):
                                reply = await self._ask(access.base_url, said)
                        except AskFailed as error:
                            said = await self._go_on(source, partial(talk.throw, error))
                        except TimeoutError:
                            late = AskFailed(f"no answer within {ASK_S:g} s")
                            said = await self._go_on(source, partial(talk.throw, late))
                        else:
                            said = await self._go_on(source, partial(talk.send, reply))
                    case News():
                        await self._keep(source, said, reply)
                        said = await self._go_on(source, partial(talk.send, reply))
                    case Unknown():
                        unknown = Reply(200, {}, "\n".join(await self._unknown(source, said)).encode())
                        said = await self._go_on(source, partial(talk.send, unknown))
        finally:
            with suppress(ValueError):  # it is still being read, and nobody waits for that any more
                talk.close()

    async def _go_on(self, source: Source, step: Callable[[], Made]) -> Made | None:
        """What it says next. None: it is over. Raises AskFailed."""

        def said() -> Made | None:
            try:
                return step()
            except StopIteration:  # which no Future takes
                return None

        return await self._beside(source, said)

    async def _ask(self, base_url: str, ask: Ask) -> Reply:
        """Raises AskFailed for whatever is no answer after some tries."""
        for attempt in range(1, TRIES + 1):
            await self.pulling.sleep(self.budget.take(self.pulling.clock()))
            await self._hold()
            try:
                reply = await self.pulling.fetch.fetch(base_url, ask)
                failed = _failed(reply, self.pulling.clock())
            except AskFailed as error:
                failed = error
            if failed is None:
                return reply
            if not failed.retry or attempt == TRIES or (failed.after_s or 0) > WAIT_MOST_S:
                raise failed
            backoff = BACKOFF_S * 2 ** (attempt - 1) * (0.5 + self.pulling.dice() / 2)
            await self.pulling.sleep(max(backoff, failed.after_s or 0))
        raise AssertionError("there is a last try")

    async def _hold(self) -> None:
        async with self.pulling.unit_of_work() as uow:
            held = await uow.pulls.hold(self.turn, self.held_until, HOLD, self.budget.now(self.pulling.clock()))
        if held is None:
            raise NotOurs
        self.held_until = held

    async def _end(self, ended: Ended) -> None:
        async with self.pulling.unit_of_work() as uow:
            if ended.message is None:  # that there is nothing new is an answer as well
                await heard(self.turn.source_id, uow)  # the source before its cursor, as setSourceAccess locks them
            if not await uow.pulls.end(self.turn, self.held_until, ended):
                raise NotOurs  # and nothing of it was heard

    # ------------------------------------------------------------ what is kept

    async def _keep(self, source: Source, news: News, reply: Reply) -> None:
        now = self.pulling.clock()
        headers = {
            ASKED_AT: (reply.asked_at or now).isoformat(),
            PULLED_AS: printable(news.key),
            ":path": f"{news.door}?{urlencode(news.query)}" if news.query else news.door,
        }
        call = Call(news.door, reply.body, headers, now, news.query)
        if len(call.body) > LATER_BYTES:
            reading = Reading(event_id=own_id(self.inbound, call), translated=False)
        else:
            reading = await self._beside(source, partial(translated, self.inbound, call, source))
        received = self._received(source, news.door, reply.body, headers, now)
        received = await laid_away(received, reading, new_id(), self.pulling.bodies, self.pulling.unit_of_work)
        await self._hold()
        async with self.pulling.unit_of_work() as uow:
            await keep(received, reading, uow)
        self.pulling.kept()

    async def _beside(self, source: Source, step: Callable[[], Made]) -> Made:
        """Beside the event loop. Raises AskFailed: what takes for ever to read keeps one thread, and no turn."""
        try:
            async with asyncio.timeout(READ_S):
                return await self.pulling.readers.run(source.id, step)
        except TimeoutError:
            raise AskFailed(f"what it answers is not read within {READ_S:g} s") from None

    async def _tell(self, source: Source, failed: AskFailed) -> None:
        reading = Reading(wrong=Wrong(FailureKind.PROCESSING, printable(f"it cannot be asked: {failed.message}")))
        received = self._received(source, FAILED_DOOR, b"", {":path": FAILED_DOOR}, self.pulling.clock())
        async with self.pulling.unit_of_work() as uow:
            await keep(received, reading, uow)

    def _received(self, source: Source, door: str, body: bytes, headers: Mapping[str, str], at: datetime) -> Received:
        host = urlsplit(self.turn.access.base_url).hostname or ""
        digest = hashlib.sha256(body).digest()
        correlation_id = trace.correlation_id.get()
        return Received(source, source.provider, source.family, door, body, digest, headers, host, correlation_id, at)

    async def _unknown(self, source: Source, asked: Unknown) -> list[str]:
        async with self.pulling.unit_of_work() as uow:
            known = set(await uow.sources.mapped(source.id, EntityKind.VARIANT, asked.skus))
            if source.family in BY_SKU:
                pairs = {(source.merchant_id, sku) for sku in asked.skus}
                known |= {sku for _, sku in await uow.catalog.variants_by_sku(pairs)}
        return [sku for sku in asked.skus if sku not in known]


def _failed(reply: Reply, now: datetime) -> AskFailed | None:
    if 200 <= reply.status < 300:
        return None
    message = f"it answers HTTP {reply.status}"
    if reply.status == 429 or reply.status >= 500:
        after_s = retry_after_s(reply.headers.get("retry-after", ""), now)
        return AskFailed(message, after_s=after_s, status=reply.status)
    return AskFailed(message, retry=False, status=reply.status)
