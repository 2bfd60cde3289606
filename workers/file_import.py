"""A catalogue from a file: kept like any other payload, carried out like any other, and reported row by row."""

import asyncio
import gc
import hashlib
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from time import monotonic
from uuid import UUID, uuid4

from db import sources
from db.ids import new_id
from db.reads import Reads
from domain import trace
from domain.bodies import INLINE, Bodies
from domain.canonical import Command, named
from domain.identity import CLOCK
from domain.intake import (
    LATER_BYTES,
    Call,
    EntityKind,
    FailureKind,
    Inbound,
    InPieces,
    PayloadState,
    Reading,
    Source,
    Wrong,
    described,
    listed,
    problems_of,
    translated,
)
from domain.payloads import Kept, Received, keep, laid_away
from domain.refusals import Problem, not_found
from domain.sources import LockedSource, NewSource
from domain.threads import Threads
from domain.unit_of_work import Begin
from workers.instructions import Instructions

DOOR = "import"
GROUP = 2_000  # nobody else waits for this worker: fewer, larger transactions
LOOK_S = 0.5
Progress = Callable[[int, int], None]  # so many instructions of so many are done with


@dataclass(frozen=True)
class BadRow:
    row: int  # as a spreadsheet counts: the header is row 1
    reasons: Sequence[str]


@dataclass(frozen=True)
class Report:
    """`wrong` are the rows that were read and could not be carried out, in words."""

    payload_id: UUID
    unchanged: bool  # the same file, for this store and with this stock, came before
    rows: int  # good ones
    refused: Sequence[BadRow]
    wrong: Sequence[str]
    seconds: float


async def import_catalogue(
    path: Path,
    store_slug: str,
    stock: int | None,
    progress: Progress = lambda done, total: None,
    *,
    unit_of_work: Begin,
    reads: Reads,
    inbound: Inbound,
    bodies: Bodies = INLINE,
) -> Report:
    """The good rows go in, the bad ones are told with their numbers. The same file again changes nothing.

    `inbound` is the provider's file for catalogues; its source is made with the first import of a merchant.
    Refuses NotFound for a store that is not there. Works beside other workers, and without any.
    """
    started = monotonic()
    trace.correlation_id.set(uuid4().hex)
    body = await Threads("file", 1).run(path.read_bytes)  # a mount may hang: whoever ends this waits for it no longer
    source = await _source(store_slug, inbound, unit_of_work, reads)
    query = {"store": store_slug, **({} if stock is None else {"stock": str(stock)})}
    call = Call(DOOR, body, {}, datetime.now(UTC), query)
    reading, survey = await asyncio.to_thread(_surveyed, inbound, call, source)
    kept = await _keep(call, source, reading, path.name, bodies, unit_of_work)
    said, good, refused = survey.commands, len(survey.good), bad_rows(survey.problems)
    del body, call, reading, survey  # a hundred thousand objects that every collection of garbage would walk through, and the file
    if kept.state is PayloadState.ACCEPTED:
        worker = Instructions(unit_of_work, reads, {inbound.provider: inbound}, GROUP, bodies=bodies)
        with _frozen():
            await _carry_out(kept.payload_id, said, worker, progress, unit_of_work)
    wrong = await _wrong(kept.payload_id, unit_of_work)
    unchanged = kept.state is PayloadState.DUPLICATE
    return Report(kept.payload_id, unchanged, good, refused, wrong, monotonic() - started)


_FORM = named(EntityKind.VARIANT, "")


@dataclass
class _Survey:
    """What a file says, without saying it: how many commands, of which goods, and all that is wrong."""

    commands: int = 0
    good: set[str] = field(default_factory=set)  # a good in each store: a row of its own
    problems: list[Problem] = field(default_factory=list)

    def add(self, commands: Sequence[Command], problems: Sequence[Problem]) -> None:
        self.commands += len(commands)
        self.good.update(one.entity for one in commands if one.subject.startswith(_FORM))
        self.problems += problems


def _surveyed(inbound: Inbound, call: Call, source: Source) -> tuple[Reading, _Survey]:
    """A long file is gone through here for the report alone, and read by the worker from what was kept."""
    survey = _Survey()
    if not isinstance(inbound, InPieces) or len(call.body) <= LATER_BYTES:
        reading = translated(inbound, call, source)
        survey.add(reading.commands, reading.problems)
        return reading, survey
    try:
        for batch in inbound.in_pieces(call, source).batches:
            survey.add(batch.commands, batch.problems)
    except Exception as error:  # as the door would keep it
        wrong = Wrong(FailureKind.VALIDATION, described(error))
        return Reading(wrong=wrong), _Survey(problems=list(problems_of(error)))
    if not survey.commands and survey.problems:
        return Reading(wrong=Wrong(FailureKind.VALIDATION, listed(survey.problems))), survey
    return Reading(event_id=inbound.event_id(call), translated=False), survey


@contextmanager
def _frozen() -> Iterator[None]:
    """What is there already is not looked through for garbage each time that a few thousand rows have come and gone."""
    gc.collect()
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()


async def _source(store_slug: str, inbound: Inbound, unit_of_work: Begin, reads: Reads) -> Source:
    """The merchant's source of such files, mapped to the store by its slug."""
    async with unit_of_work() as uow:
        found = await uow.sources.store_of_slug(store_slug)
        if found is None:
            raise not_found("store")
        store_id, merchant_id = found
        await uow.catalog.lock_merchants({merchant_id})  # two first imports at once make one source
        source_id = await uow.sources.find(merchant_id, inbound.provider)
        if source_id is None:
            source_id = uow.new_id()
            await uow.sources.add(NewSource(source_id, merchant_id, inbound.provider, inbound.family))
            await uow.audit.write(CLOCK, "connectSource", source_id, merchant_id, inbound.provider)
        mine = LockedSource(source_id, merchant_id, inbound.provider, inbound.family)
        if store_slug not in await uow.sources.mapped(source_id, EntityKind.STORE, [store_slug]):
            await uow.sources.map(mine, EntityKind.STORE, [(store_slug, store_id)])
            detail = f"{named(EntityKind.STORE, store_slug)} is {store_id}"
            await uow.audit.write(CLOCK, "mapExternalId", source_id, merchant_id, detail)
    return await sources.any_by_id(reads, source_id)


async def _keep(call: Call, source: Source, reading: Reading, name: str, bodies: Bodies, unit_of_work: Begin) -> Kept:
    received = Received(
        source,
        source.provider,
        source.family,
        DOOR,
        call.body,
        hashlib.sha256(call.body).digest(),
        {":path": f"{DOOR}?{'&'.join(f'{key}={value}' for key, value in call.query.items())}", "file": name},
        "",
        trace.correlation_id.get(),
        call.received_at,
    )
    received = await laid_away(received, reading, new_id(), bodies, unit_of_work)
    async with unit_of_work() as uow:
        return await keep(received, reading, uow)


async def _carry_out(payload_id: UUID, total: int, worker: Instructions, progress: Progress, unit_of_work: Begin) -> None:
    look_at = 0.0
    while True:
        busy = await worker.once()
        if busy and monotonic() < look_at:
            continue
        look_at = monotonic() + LOOK_S
        async with unit_of_work() as uow:
            unread = await uow.payloads.unread(payload_id)
            waiting = total if unread else await uow.instructions.waiting(payload_id)
        progress(total - waiting, total)
        if not waiting and not unread:
            return
        if not busy:
            await asyncio.sleep(0.05)  # another worker has the rest in hand


async def _wrong(payload_id: UUID, unit_of_work: Begin) -> list[str]:
    async with unit_of_work() as uow:
        found = await uow.failures.unsettled([payload_id])
    return [failure.message for failure in found if failure.instruction_id is not None]


_ROW = re.compile(r"row (\d+)\.?(.*)")


def bad_rows(problems: Sequence[Problem]) -> list[BadRow]:
    """All the reasons of a row together."""
    rows: dict[int, list[str]] = {}
    for problem in problems:
        found = _ROW.fullmatch(problem.path)
        number, place = (int(found[1]), found[2]) if found else (0, problem.path)
        rows.setdefault(number, []).append(f"{place}: {problem.message}" if place else problem.message)
    return [BadRow(number, reasons) for number, reasons in sorted(rows.items())]
