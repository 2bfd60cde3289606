"""What the intake has kept is carried out: translated where that was left for later, judged, applied group by group.

Any number of these run at once. A group is one transaction and its row locks are the lease: who dies in the middle leaves
everything as it was.
"""

import asyncio
import logging
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping
from contextlib import asynccontextmanager, suppress
from functools import partial
from uuid import UUID

from db import sources
from db.reads import Reads
from domain import trace
from domain.applying import carry_out
from domain.bodies import INLINE, Bodies
from domain.bus import Bus
from domain.cancelling import heed_cancelling
from domain.doors import called
from domain.intake import HIDDEN, LATER_BYTES, Batch, Call, FailureKind, Inbound, InPieces, Pieces, described, translated
from domain.long_payloads import read_in_pieces
from domain.payloads import Unjudged, Unread
from domain.queue import Group, Outcome, failed
from domain.refusals import Kind, Refused
from domain.settling import give_up, judged, not_judged, read_late, settle
from domain.threads import Made, Threads
from domain.unit_of_work import Begin

log = logging.getLogger("haat.instructions")
KEPT = "intake.kept"  # "": somebody has kept a payload
GROUP = 500
POLL_S = 0.25  # for hints that were lost
LOOK_AGAIN_S = 5.0  # for what appeared just while something was being parked for want of it
ATTEMPTS = 5
READINGS = 3  # in vain, of one payload by one process
READ_AT_ONCE = 2  # by one process, of one source one
PATIENCE_S = 0.25  # what takes longer to read is read beside what others sent
BACKOFF_S, BACKOFF_MOST_S = 0.5, 60.0
FINAL = frozenset({Kind.INVALID_INPUT, Kind.NOT_FOUND, Kind.CONFLICT, Kind.FORBIDDEN})  # the same again would be refused again


class Instructions:
    def __init__(
        self,
        unit_of_work: Begin,
        reads: Reads,
        inbounds: Mapping[str, Inbound],
        group: int = GROUP,
        bus: Bus | None = None,
        bodies: Bodies = INLINE,
    ) -> None:
        self._unit_of_work = unit_of_work
        self._reads = reads
        self._inbounds = inbounds
        self._group = group
        self._bus = bus
        self._bodies = bodies
        self._woken = asyncio.Event()
        self._look_again_at = 0.0
        self._in_vain: dict[UUID, int] = {}
        self._out_of_reach: dict[UUID, float] = {}  # until when
        self._readings: dict[UUID, asyncio.Task[None]] = {}  # by source
        self._readers = Threads("late readers", READ_AT_ONCE)  # who is told to go waits for none of them

    def wake(self) -> None:
        """Something was kept."""
        self._woken.set()

    async def run(self) -> None:
        """Until cancelled."""
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._work())
                if self._bus is not None:
                    tasks.create_task(self._listen(self._bus))
        finally:
            readings = list(self._readings.values())
            self._readings.clear()
            for reading in readings:
                reading.cancel()
            await asyncio.gather(*readings, return_exceptions=True)

    async def _listen(self, bus: Bus) -> None:
        async with bus.subscribe([KEPT]) as hints:
            async for _ in hints:
                self._woken.set()

    async def _work(self) -> None:
        """Whatever goes wrong, the next round begins from what is in the database."""
        while True:
            self._woken.clear()
            try:
                busy = await self.once()
            except Exception as error:
                heed_cancelling(error)
                log.exception("a round was given up")
                await asyncio.sleep(random.uniform(0.5, 1))  # noqa: S311  # so that not all come back at once
                continue
            if not busy:
                with suppress(TimeoutError):
                    async with asyncio.timeout(POLL_S):
                        await self._woken.wait()

    async def drain(self) -> None:
        """Until there is nothing to do by now."""
        while await self.once() or self._readings:
            if self._readings:
                await asyncio.wait(self._readings.values(), timeout=POLL_S, return_when=asyncio.FIRST_COMPLETED)

    async def once(self) -> int:
        """One round, a group of each source: none of them waits for another's flood. Returns how much was done."""
        done = await self._read_some() + await self._guarded(self._judge) + await self._guarded(self._look_again)
        async with self._unit_of_work() as uow:
            waiting = list(await uow.instructions.sources_waiting())
        random.shuffle(waiting)  # workers start at different ones
        for source_id in waiting:
            done += await self._apply(source_id, None)
        return done

    # ------------------------------------------------------------ reading

    async def _guarded(self, step: Callable[[], Awaitable[int]]) -> int:
        """A step that fails does not keep the others from their work: the next round tries it again."""
        try:
            return await step()
        except Exception as error:
            heed_cancelling(error)
            if _away(error):
                raise
            log.exception("a step was given up")
            return 0

    async def _read_some(self) -> int:
        """What takes long goes on beside what is done for others. Of a source one is read at a time: none keeps us all busy."""
        if len(self._readings) < READ_AT_ONCE:
            async with self._unit_of_work() as uow:
                unread = await uow.payloads.next_untranslated(self._inbounds, self._not_yet(), self._readings.keys())
            if unread is not None:
                reading = self._readings[unread.source_id] = asyncio.create_task(self._translate(unread))
                reading.add_done_callback(lambda _: self._woken.set())  # what it said is carried out at once
                await asyncio.wait([reading], timeout=PATIENCE_S)
        done = 0
        for source_id in [source_id for source_id, reading in self._readings.items() if reading.done()]:
            await self._readings.pop(source_id)
            done += 1
        return done

    async def _translate(self, unread: Unread) -> None:
        try:
            await self._read_late(unread)
        except Exception as error:
            heed_cancelling(error)
            if _away(error) and self._may_be_read_yet(unread.id):
                raise
            if not isinstance(error, _Unreadable):
                log.exception("payload %s cannot be read", unread.id)
            async with self._unit_of_work() as uow:  # what nobody can read must not stand before what others sent
                if await uow.payloads.lock_unread(unread):
                    await give_up(unread, str(error) if isinstance(error, _Unreadable) else described(error), uow)
        self._in_vain.pop(unread.id, None)

    def _may_be_read_yet(self, id: UUID) -> bool:
        """The database was away while it was read: that may be the payload's own doing, if it is so every time."""
        self._in_vain[id] = self._in_vain.get(id, 0) + 1
        return self._in_vain[id] < READINGS

    def _not_yet(self) -> Collection[UUID]:
        """Their bytes are where we could not get them just now: they keep nobody else waiting, and are not given up."""
        now = asyncio.get_running_loop().time()
        self._out_of_reach = {id: until for id, until in self._out_of_reach.items() if until > now}
        return self._out_of_reach.keys()

    async def _read_late(self, unread: Unread) -> None:
        """Whoever else reads it too: one of them writes it down. However long it is read, no transaction is open meanwhile; of a
        long file that is so of its beginning, and then each piece is read while the one before it is written down.
        """
        try:
            body = await self._bodies.read(unread.body)
        except Refused as refused:
            log.warning("payload %s is out of reach: %s", unread.id, refused.refusal.message)
            self._out_of_reach[unread.id] = asyncio.get_running_loop().time() + LOOK_AGAIN_S
            return
        trace.correlation_id.set(unread.correlation_id)
        trace.cause.set(f"payload:{unread.id}")
        known = await sources.any_by_id(self._reads, unread.source_id)
        inbound = self._inbounds[unread.provider]
        told = called(inbound.doors, unread.headers)
        headers = {name: value for name, value in unread.headers.items() if value != HIDDEN}
        call = Call(unread.door, body, headers, unread.received_at, told.query, told.values, told.method, told.url)
        if isinstance(inbound, InPieces) and len(body) > LATER_BYTES and not await self._has_instructions(unread):
            pieces = await self._read(partial(inbound.in_pieces, call, known), known.id)
            async with self._a_piece_ahead(pieces, known.id) as batches, self._unit_of_work() as uow:
                if await uow.payloads.lock_unread(unread) and not await uow.instructions.count(unread.id):
                    await read_in_pieces(unread, known, pieces.whole, batches, uow)
            return
        reading = await self._readers.run(partial(translated, inbound, call, known), known.id)
        async with self._unit_of_work() as uow:
            if await uow.payloads.lock_unread(unread):
                await read_late(unread, known, reading, uow)

    async def _read(self, step: Callable[[], Made], source_id: UUID) -> Made:
        """Beside the event loop."""
        try:
            return await self._readers.run(step, source_id)
        except Exception as error:
            raise _Unreadable(described(error)) from error

    @asynccontextmanager
    async def _a_piece_ahead(self, pieces: Pieces, source_id: UUID) -> AsyncIterator[AsyncIterator[Batch]]:
        """The first has been read before this is entered."""

        def begun() -> asyncio.Task[Batch | None]:
            return asyncio.create_task(self._read(partial(next, pieces.batches, None), source_id))

        ahead = begun()

        async def batches() -> AsyncIterator[Batch]:
            nonlocal ahead
            while (batch := await ahead) is not None:
                ahead = begun()
                yield batch

        try:
            await asyncio.wait([ahead])
            yield batches()
        finally:
            ahead.cancel()
            await asyncio.gather(ahead, return_exceptions=True)  # what nobody asks for any more

    async def _has_instructions(self, unread: Unread) -> bool:
        async with self._unit_of_work() as uow:
            return await uow.instructions.count(unread.id) > 0

    async def _judge(self) -> int:
        unjudged: Unjudged | None = None
        try:
            async with self._unit_of_work() as uow:
                unjudged = await uow.payloads.next_unjudged()
                if unjudged is None:
                    return 0
                trace.cause.set(f"payload:{unjudged.id}")
                await judged(unjudged.id, uow)
        except Exception as error:
            heed_cancelling(error)
            if unjudged is None or _away(error):
                raise
            log.exception("payload %s cannot be judged", unjudged.id)
            async with self._unit_of_work() as uow:
                await not_judged(unjudged, described(error), uow)
        return 1

    async def _look_again(self) -> int:
        now = asyncio.get_running_loop().time()
        if now < self._look_again_at:
            return 0
        self._look_again_at = now + LOOK_AGAIN_S
        async with self._unit_of_work() as uow:
            woken = await uow.instructions.wake_resolved()
            await uow.instructions.settle()
        return woken

    # ------------------------------------------------------------ applying

    async def _apply(self, source_id: UUID, among: Collection[UUID] | None) -> int:
        """One group. What fails together is tried apart, so that one that cannot be done stops nobody."""
        group: Group | None = None
        try:
            async with self._unit_of_work() as uow:
                group = await uow.instructions.claim(source_id, self._group, among)
                if group is None:
                    return await uow.instructions.park_followers(source_id) if among is None else 0
                outcomes = await carry_out(group, uow)
                await settle(group, outcomes, uow)
            return len(outcomes)
        except Exception as error:
            heed_cancelling(error)  # or what was only interrupted would count as failed
            if group is None:
                raise
            ids = [one.id for one in group.instructions]
            if len(ids) == 1:
                await self._give_up(source_id, ids[0], error)
                return 1
            log.info("a group of %s is tried apart: %s", len(ids), type(error).__name__)
            half = len(ids) // 2
            await self._apply(source_id, ids[:half])
            await self._apply(source_id, ids[half:])
            return len(ids)
        finally:
            trace.correlations.set({})

    async def _give_up(self, source_id: UUID, id: UUID, error: Exception) -> None:
        """For now, or for good: what is refused stays refused; what broke is tried again, later and later, five times."""
        async with self._unit_of_work() as uow:
            group = await uow.instructions.claim(source_id, 1, [id])
            if group is None:
                return
            (one,) = group.instructions
            outcome = _final(error, one.attempts + 1)
            if outcome is None:
                wait_s = min(BACKOFF_S * 2**one.attempts, BACKOFF_MOST_S)
                await uow.instructions.put_off(id, wait_s * random.uniform(0.5, 1))  # noqa: S311
                log.warning("instruction %s is put off", id, exc_info=error)
            else:
                log.log(logging.INFO if isinstance(error, Refused) else logging.ERROR, "instruction %s failed", id, exc_info=error)
                await settle(group, {id: outcome}, uow)


class _Unreadable(Exception):
    """What a provider's file says of bytes: they are to blame, not we."""


def _away(error: Exception) -> bool:
    """The database is: so is everything, and nothing is to blame."""
    return isinstance(error, Refused) and error.refusal.kind is Kind.UNAVAILABLE


def _final(error: Exception, attempts: int) -> Outcome | None:
    if isinstance(error, Refused) and error.refusal.kind in FINAL:
        return failed(error.refusal.message)
    if attempts >= ATTEMPTS:
        return failed(f"{type(error).__name__} after {attempts} tries", FailureKind.PROCESSING)
    return None
