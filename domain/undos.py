"""A batch that was carried out is undone: each field is put back as it was, if nobody has changed it since.

In the background, step by step: first what the batch has changed is listed, then a piece of the list at a time is put back by the
same commands as everything else. Whatever is left as it is says why. What has left the shelf since stays sold, what an order has
become stays so.
"""

from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import Enum
from typing import TYPE_CHECKING, Any, Protocol
from uuid import UUID

from domain.batches import Decision
from domain.befores import FIELDS, OF, Family, Part, value
from domain.catalog import put_back_products, put_back_variants
from domain.counting import Recount, Switch, apply_switches, put_back_counts
from domain.failures import settle
from domain.identity import CLOCK, Actor
from domain.listings import put_back_listings
from domain.merchants import SetStoreStatus, StoreStatus, say_status
from domain.refusals import Conflict, Refused, not_found
from domain.stock import Counters, Move, StockMovementKind

if TYPE_CHECKING:
    from domain.unit_of_work import UnitOfWork

KEPT_FOR = timedelta(days=7)  # so long what was before is known
FORGOTTEN_AFTER = KEPT_FOR + timedelta(hours=1)  # nobody has just asked for it by then
UNDONE = "undo:"  # how a cause begins that is one
READ = 1_000  # instructions of one step
CHUNK = 200  # lines of one step


class UndoState(Enum):
    RUNNING = "RUNNING"
    DONE = "DONE"


class LineState(Enum):
    WAITING = "WAITING"
    REVERTED = "REVERTED"
    KEPT = "KEPT"  # as it is now


@dataclass(frozen=True, slots=True)
class Undo:
    """`reverted` and `kept` of `total` lines are done with. The total is known once all of them are listed."""

    id: UUID
    payload_id: UUID
    merchant_id: UUID
    source_id: UUID
    by: Actor
    state: UndoState
    total: int
    reverted: int
    kept: int
    started_at: datetime
    ended_at: datetime | None
    listed: bool
    read_to: int  # the last of its batch's instructions that is listed

    @property
    def cause(self) -> str:
        return f"{UNDONE}{self.id}"


@dataclass(frozen=True, slots=True)
class Line:
    """One field of one thing: before the batch's first change of it, after its last. `told_*`: how new the batch's word was."""

    field: Part
    entity_id: UUID
    version: int  # the thing's, after the last one
    before: tuple[Any, ...]
    after: tuple[Any, ...]
    told_at: datetime
    told_version: int | None


@dataclass(frozen=True, slots=True)
class Since:
    """Who changed it after the batch did, or said it again, and when. What is not known is None."""

    by: str | None = None
    at: datetime | None = None
    reason: str = "it was changed since"


@dataclass(frozen=True, slots=True)
class Done:
    """What has become of a line. With `since` it is kept."""

    line: Line
    since: Since | None = None


@dataclass(frozen=True)
class Undoable:
    """A batch, locked, as far as it matters to who wants it undone."""

    undo: Undo | None
    payload_id: UUID
    merchant_id: UUID
    source_id: UUID
    running: bool  # some of it is about to be carried out
    left: bool  # some of it failed, or waits for a mapping, or for its day
    held: Decision | None
    done_at: datetime | None  # the first of its instructions that were carried out
    now: datetime


class UndoStore(Protocol):
    async def lock_batch(self, payload_id: UUID, actor: Actor) -> Undoable | None:
        """One the actor may see."""

    async def begin(self, undo_id: UUID, batch: Undoable, actor: Actor) -> None: ...

    async def running(self) -> Sequence[UUID]: ...

    async def claim(self, undo_id: UUID) -> Undo | None:
        """Locked. None: it has ended, or another has it in hand."""

    async def list_more(self, undo: Undo, limit: int) -> int | None:
        """What the next instructions have changed is listed. Returns the last of these, None where there are no more."""

    async def count(self, undo: Undo) -> int: ...

    async def next(self, undo: Undo, limit: int) -> Sequence[Line]:
        """Some that wait, of one family."""

    async def told_since(self, undo: Undo, lines: Sequence[Line]) -> Mapping[tuple[Part, UUID], Since]:
        """Those that a source has told of since, whatever it said."""

    async def changed_since(self, undo: Undo, lines: Sequence[Line]) -> Mapping[tuple[Part, UUID], Since]:
        """Those whose value was another at some time since, by the log. Of rows already locked."""

    async def moved_since(self, undo: Undo, lines: Sequence[Line]) -> Mapping[UUID, Since]:
        """Levels whose units have moved since: sold, promised to an order, counted or changed. Holds come and go."""

    async def moved_by_it(self, undo: Undo, listing_ids: Collection[UUID]) -> Mapping[UUID, Sequence[Move]]:
        """Of each of these levels what the batch has moved, in order."""

    async def finish(self, undo: Undo, done: Sequence[Done]) -> None: ...

    async def save(self, undo: Undo) -> None: ...

    async def forget(self, limit: int) -> int:
        """What was before is not kept for ever. Returns how many instructions it was forgotten of."""


# ---------------------------------------------------------------- by people


async def undo_batch(payload_id: UUID, undo_id: UUID, actor: Actor, uow: "UnitOfWork") -> None:
    """For the merchant's owners and managers, and support. One that is being undone goes on: safe to repeat.

    What of it failed, or still waits for a mapping or for its day, is refused. Refuses NotFound, and Conflict for a batch that has
    nothing to undo, is being carried out, is undone already, or was done too long ago.
    """
    batch = await uow.undos.lock_batch(payload_id, actor)
    if batch is None:
        raise not_found("batch")
    if batch.undo is not None and batch.undo.state is UndoState.RUNNING:
        return
    if reason := _why_not(batch):
        raise Refused(Conflict(reason))
    left = await uow.instructions.leave(payload_id)
    if left:
        await settle(left, uow)
    await uow.instructions.settle()
    await uow.undos.begin(undo_id, batch, actor)
    await uow.audit.write(actor, "undoBatch", payload_id, batch.merchant_id, f"{len(left)} instructions had not been carried out")


def _why_not(batch: Undoable) -> str | None:
    if batch.undo is not None:
        ended = batch.undo.ended_at
        when = "" if ended is None else f" at {ended.isoformat(timespec='seconds')}"
        return f"the batch was undone by {batch.undo.by}{when}: {batch.undo.reverted} put back, {batch.undo.kept} not"
    if batch.held is Decision.PARKED:
        return "the batch waits for approval: refuse it"
    if batch.held is Decision.REFUSED:
        return "the batch was refused: none of it was carried out"
    if batch.running:
        return "the batch is being carried out: wait until it is done"
    if batch.done_at is None:
        return None if batch.left else "none of the batch was carried out"
    if batch.done_at < batch.now - KEPT_FOR:
        return f"some of the batch was carried out more than {KEPT_FOR.days} days ago: what was before is not known any more"
    return None


# ---------------------------------------------------------------- step by step


async def work_on(undo_id: UUID, uow: "UnitOfWork", limit: int = CHUNK) -> bool:
    """One step: some more is listed, or some of the list is put back. Returns whether there was one to do.

    All of a step is one transaction, so whoever takes it up after a kill goes on where it was, and nothing is done twice.
    """
    undo = await uow.undos.claim(undo_id)
    if undo is None:
        return False
    if not undo.listed:
        read_to = await uow.undos.list_more(undo, READ)
        undo = replace(undo, read_to=undo.read_to if read_to is None else read_to, listed=read_to is None)
        await uow.undos.save(replace(undo, total=await uow.undos.count(undo)))
        return True
    lines = await uow.undos.next(undo, limit)
    if lines:
        done = await _PUT_BACK[OF[lines[0].field][0]](undo, lines, uow)
        await _settle(undo, done, uow)
    else:
        ended = replace(undo, state=UndoState.DONE, ended_at=await uow.now())
        await uow.undos.save(ended)
        detail = f"{ended.reverted} of {ended.total} put back, {ended.kept} kept"
        await uow.audit.write(undo.by, "undoBatchDone", undo.payload_id, undo.merchant_id, detail)
    return True


async def give_up_next(undo_id: UUID, reason: str, uow: "UnitOfWork") -> bool:
    """The next line cannot be put back, for a reason that lies in it: it is kept, and stops none of the others."""
    undo = await uow.undos.claim(undo_id)
    if undo is None or not undo.listed or not (lines := await uow.undos.next(undo, 1)):
        return False
    await _settle(undo, [Done(line, Since(reason=reason)) for line in lines], uow)
    return True


async def _settle(undo: Undo, done: Sequence[Done], uow: "UnitOfWork") -> None:
    await uow.undos.finish(undo, done)
    kept = sum(one.since is not None for one in done)
    await uow.undos.save(replace(undo, reverted=undo.reverted + len(done) - kept, kept=undo.kept + kept))


# ---------------------------------------------------------------- each family

Rows = Mapping[UUID, object]
PutBack = Callable[[Undo, Sequence[Line], "UnitOfWork"], Awaitable[list[Done]]]


async def _judged(undo: Undo, lines: Sequence[Line], rows: Rows, uow: "UnitOfWork") -> list[Done]:
    """Which of these have been changed since. `rows` are locked."""
    told = await uow.undos.told_since(undo, lines)
    changed = await uow.undos.changed_since(undo, lines)
    judged = []
    for line in lines:
        key, row = (line.field, line.entity_id), rows.get(line.entity_id)
        if row is None:
            judged.append(Done(line, Since(reason="it is not there any more")))
        elif value(line.field, row) != line.after:
            judged.append(Done(line, changed.get(key) or told.get(key) or Since()))
        else:
            judged.append(Done(line, changed.get(key) or told.get(key)))
    return judged


def _values(judged: Sequence[Done]) -> dict[UUID, dict[str, Any]]:
    """What is to be put back: by the thing, and by the names of its attributes."""
    values: dict[UUID, dict[str, Any]] = {}
    for one in judged:
        if one.since is None:
            line = one.line
            values.setdefault(line.entity_id, {}).update(zip(OF[line.field][1], line.before, strict=True))
    return values


def _ids(lines: Sequence[Line]) -> Collection[UUID]:
    return {line.entity_id for line in lines}


async def _listings(undo: Undo, lines: Sequence[Line], uow: "UnitOfWork") -> list[Done]:
    await uow.catalog.lock_merchants({undo.merchant_id})
    judged = await _judged(undo, lines, await uow.listings.lock(_ids(lines)), uow)
    if values := _values(judged):
        await put_back_listings(values, undo.cause, uow)
    return judged


async def _products(undo: Undo, lines: Sequence[Line], uow: "UnitOfWork") -> list[Done]:
    await uow.catalog.lock_merchants({undo.merchant_id})
    judged = await _judged(undo, lines, await uow.catalog.lock_products(_ids(lines)), uow)
    if values := _values(judged):
        await put_back_products(values, undo.cause, uow)
    return judged


async def _variants(undo: Undo, lines: Sequence[Line], uow: "UnitOfWork") -> list[Done]:
    await uow.catalog.lock_merchants({undo.merchant_id})
    judged = await _judged(undo, lines, await uow.catalog.variants(_ids(lines)), uow)
    if values := _values(judged):
        await put_back_variants(values, undo.cause, uow)
    return judged


async def _counts(undo: Undo, lines: Sequence[Line], uow: "UnitOfWork") -> list[Done]:
    """What was sold, or promised to an order, or counted since is not known to who counted before."""
    levels = await uow.stock.lock(_ids(lines))
    moved = await uow.undos.moved_since(undo, lines)
    judged = [
        replace(one, since=moved.get(one.line.entity_id) or _recounted(one.since, levels.get(one.line.entity_id)))
        for one in await _judged(undo, lines, levels, uow)
    ]
    if values := _values(judged):
        # Where it counted nothing: who had counted before it, and when, is as it was.
        uncounted = {one.line.entity_id for one in judged if one.line.before[1:] == one.line.after[1:]} & values.keys()
        moves = await uow.undos.moved_by_it(undo, uncounted)
        changes = {id: of for id, of in moves.items() if all(one.kind is not StockMovementKind.COUNTED for one in of)}
        counts = [Recount(id, **told, changes=changes.get(id, ())) for id, told in values.items()]
        await put_back_counts(counts, undo.cause, uow)
    return judged


def _recounted(since: Since | None, level: Counters | None) -> Since | None:
    """A count that has come to the same moves nothing: who took it stands in the level alone."""
    if since is None or since.by is not None or level is None:
        return since
    return Since(level.source, level.counted_at, "it was counted since")


async def _switches(undo: Undo, lines: Sequence[Line], uow: "UnitOfWork") -> list[Done]:
    judged = await _judged(undo, lines, await uow.stock.lock(_ids(lines)), uow)
    now = await uow.now()
    switches = [
        # A time that has come meanwhile would have turned it on.
        Switch(id, told["off"] and not _over(told["back_at"], now), undo.cause, told["back_at"])
        for id, told in _values(judged).items()
    ]
    if switches:
        await apply_switches(switches, uow)
    return judged


async def _stores(undo: Undo, lines: Sequence[Line], uow: "UnitOfWork") -> list[Done]:
    locked = await uow.merchants.lock_stores(_ids(lines), CLOCK)
    judged = await _judged(undo, lines, {id: one.store for id, one in locked.items()}, uow)
    now = await uow.now()
    for id, told in sorted(_values(judged).items()):
        over = _over(told["until"], now)
        status = SetStoreStatus(
            id, StoreStatus.OPEN if over else told["said"], None if over else told["until"], None if over else told["reason"]
        )
        await say_status(status, locked[id].store, undo.by, uow)
    return judged


async def _keep(undo: Undo, lines: Sequence[Line], uow: "UnitOfWork") -> list[Done]:
    reasons = {
        Part.ORDER: "what has become of an order is not taken back",
        Part.CHOICES: "the choices of a menu are put right by sending it again",
    }
    return [Done(line, Since(reason=reasons[line.field])) for line in lines]


def _over(moment: datetime | None, now: datetime) -> bool:
    return moment is not None and moment <= now


_PUT_BACK: Mapping[Family, PutBack] = {
    Family.STORE: _stores,
    Family.PRODUCT: _products,
    Family.VARIANT: _variants,
    Family.LISTING: _listings,
    Family.COUNT: _counts,
    Family.SWITCH: _switches,
    Family.KEPT: _keep,
}
RANKS = {field: rank for rank, family in enumerate(Family) for field in FIELDS[family]}
"""In which order they are put back: a family at a time, in the order in which its rows are locked."""
