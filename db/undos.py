"""Batches that are undone: what they have changed, who has changed it since, and what has become of each line."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, get_type_hints
from uuid import UUID

import msgspec
from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Integer,
    Row,
    Select,
    Text,
    Uuid,
    and_,
    case,
    cast,
    exists,
    func,
    insert,
    literal,
    literal_column,
    null,
    or_,
    select,
    update,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.ext.asyncio import AsyncConnection

from db.arrays import among, rows
from db.batches import UNDO, to_undo, visible_to
from db.columns import TIME
from db.ids import first_id, new_id
from db.instructions import FOR_ITS_DAY, LEFT
from db.instructions import IS_WAITING as TO_BE_DONE
from db.pages import By, Page, page
from db.reads import Reads
from db.tables import batch_undo, event, instruction, judgement, listing, payload, source, stock_movement, told, undo_line
from domain.befores import INSTRUCTED, OF, Family, Part
from domain.canonical import AcceptOrder, OrderStatus, RejectOrder
from domain.catalog import Product, Variant
from domain.identity import Actor
from domain.intake import InstructionState
from domain.listings import Listing, ListingChanged, PriceChanged
from domain.merchants import Store
from domain.stock import Counters, Move, StockMovementKind
from domain.undos import FORGOTTEN_AFTER, RANKS, Done, Line, LineState, Since, Undo, Undoable, UndoState

u, n, i, p, j, e, movement = batch_undo.c, undo_line.c, instruction.c, payload.c, judgement.c, event.c, stock_movement.c
IS_RUNNING: ColumnElement[Any] = literal_column("'RUNNING'")  # as they stand in the partial indexes
IS_WAITING: ColumnElement[Any] = literal_column("'WAITING'")
CLOCKS_APART_S = 3600
LINE = (n.field, n.entity_id, n.version, n.before, n.after, n.told_at, n.told_version)
ROWS: Mapping[Family, type] = {
    Family.STORE: Store,
    Family.PRODUCT: Product,
    Family.VARIANT: Variant,
    Family.LISTING: Listing,
    Family.COUNT: Counters,
    Family.SWITCH: Counters,
}
TYPES = {
    field: tuple(get_type_hints(ROWS[family])[name] for name in names) if family in ROWS else ()
    for field, (family, names) in OF.items()
}
TOLD = {
    Family.STORE: "STATUS", Family.PRODUCT: "PRODUCT", Family.VARIANT: "VARIANT", Family.LISTING: "PRICE", Family.COUNT: "STOCK",
    Family.SWITCH: "AVAILABILITY",
}  # fmt: skip
"""As `told` names what sources say of each family."""
STREAMS = {Family.STORE: "store", Family.PRODUCT: "product", Family.LISTING: "listing"}
ORDERS = [kind.__name__ for kind in (AcceptOrder, RejectOrder, OrderStatus)]
PASSING = [StockMovementKind.HELD, StockMovementKind.RELEASED]
Key = tuple[Part, UUID]


@dataclass
class _Listed:
    """A line to be, of what several instructions say one after the other."""

    field: Part
    entity_id: UUID
    first_version: int
    version: int
    before: Any
    after: Any
    told_at: datetime
    told_version: int | None


class SqlUndos:
    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    # ------------------------------------------------------------ the whole of it

    async def lock_batch(self, payload_id: UUID, actor: Actor) -> Undoable | None:
        mine = select(p.id).where(p.id == payload_id).where(visible_to(actor))
        if (await self._connection.execute(mine)).one_or_none() is None:
            return None
        # As workers do, and whoever maps what some of it waits for: its instructions first, then the payload.
        await self._connection.execute(select(i.id).where(i.payload_id == payload_id, LEFT).order_by(i.id).with_for_update())
        await self._connection.execute(mine.with_for_update(key_share=True))
        of_it = i.payload_id == payload_id
        to_do = or_(~p.translated, ~p.judged, exists().where(of_it, i.state == TO_BE_DONE, ~FOR_ITS_DAY))
        done_at = select(func.min(i.done_at)).where(of_it, or_(i.state == InstructionState.APPLIED, i.was.is_not(None)))
        held = select(j.state).where(j.payload_id == payload_id)
        how = (to_do, exists().where(of_it, LEFT), held.scalar_subquery(), done_at.scalar_subquery(), func.clock_timestamp())
        found = await self._connection.execute(select(p.id, p.merchant_id, p.source_id, *how).where(p.id == payload_id))
        undo = await self._one(select(*UNDO).where(u.payload_id == payload_id))
        return Undoable(undo, *found.one())

    async def begin(self, undo_id: UUID, batch: Undoable, actor: Actor) -> None:
        row = {"id": undo_id, "payload_id": batch.payload_id, "merchant_id": batch.merchant_id, "source_id": batch.source_id}
        by = {"by_kind": actor.kind, "by_id": actor.id, "state": UndoState.RUNNING}
        await self._connection.execute(insert(batch_undo).values(**row, **by))

    async def running(self) -> list[UUID]:
        found = await self._connection.execute(select(u.id).where(u.state == IS_RUNNING).order_by(u.id))
        return list(found.scalars())

    async def claim(self, undo_id: UUID) -> Undo | None:
        mine = select(*UNDO).where(u.id == undo_id, u.state == UndoState.RUNNING)
        return await self._one(mine.with_for_update(skip_locked=True))

    async def _one(self, found: Select[Any]) -> Undo | None:
        row = (await self._connection.execute(found)).one_or_none()
        return to_undo(row) if row else None

    async def save(self, undo: Undo) -> None:
        names = ("state", "total", "reverted", "kept", "ended_at", "listed", "read_to")
        changed = {name: getattr(undo, name) for name in names}
        await self._connection.execute(update(batch_undo).where(u.id == undo.id).values(changed))

    async def forget(self, limit: int) -> int:
        # What is being undone keeps it until it is listed. By the key: it was made before the instruction was carried out.
        listing_ = exists().where(u.payload_id == i.payload_id, u.state == IS_RUNNING)
        moment = (await self._connection.execute(select(func.clock_timestamp() - FORGOTTEN_AFTER))).scalar_one()
        old = (
            select(i.id)
            .where(i.was.is_not(None), i.id < first_id(moment), i.done_at < moment, ~listing_)
            .order_by(i.id)
            .limit(limit)
            .with_for_update(skip_locked=True)
            .cte("old")
        )
        done = await self._connection.execute(update(instruction).where(i.id == old.c.id).values(was=null()).returning(i.id))
        return len(done.all())

    # ------------------------------------------------------------ its lines

    async def list_more(self, undo: Undo, limit: int) -> int | None:
        at = func.coalesce(cast(i.body["effective_from"].astext, TIME), cast(i.body["at"].astext, TIME), i.created_at)
        found = await self._connection.execute(
            select(i.id, i.ordinal, i.was, at.label("at"), cast(i.body["version"].astext, BigInteger).label("version"))
            .where(
                i.payload_id == undo.payload_id,
                i.ordinal > undo.read_to,
                # What is superseded may have changed something too: the taxes of a price that is not heard.
                or_(i.was.is_not(None), and_(i.state == InstructionState.APPLIED, i.command.in_(ORDERS))),
            )
            .order_by(i.ordinal)
            .limit(limit)
        )
        read = found.all()
        lines: dict[Key, _Listed] = {}
        for row in read:
            if row.was is None:
                lines[Part.ORDER, row.id] = _Listed(Part.ORDER, row.id, 0, 0, [], [], row.at, row.version)
            for told_ in row.was or ():
                _merge(lines, row, *told_)
        if lines:
            await self._list(undo, list(lines.values()))
        return read[-1].ordinal if read else None

    async def _list(self, undo: Undo, lines: Sequence[_Listed]) -> None:
        one = rows(
            "one",
            id=(Uuid(), [new_id() for _ in lines]),
            field=(Text(), [line.field.value for line in lines]),
            entity_id=(Uuid(), [line.entity_id for line in lines]),
            rank=(Integer(), [RANKS[line.field] for line in lines]),
            first_version=(Integer(), [line.first_version for line in lines]),
            version=(Integer(), [line.version for line in lines]),
            before=(Text(), [_text(line.before) for line in lines]),
            after=(Text(), [_text(line.after) for line in lines]),
            told_at=(TIME, [line.told_at for line in lines]),
            told_version=(BigInteger(), [line.told_version for line in lines]),
        ).c
        same = ("id", "field", "entity_id", "rank", "first_version", "version", "told_at", "told_version")
        new = upsert(undo_line).from_select(
            ["undo_id", "state", "before", "after", *same],
            select(
                literal(undo.id, Uuid), literal(LineState.WAITING.value), cast(one.before, JSONB), cast(one.after, JSONB),
                *(one[name] for name in same),
            ),
        )  # fmt: skip
        said = new.excluded
        earlier, later = said.first_version < n.first_version, said.version >= n.version
        await self._connection.execute(
            new.on_conflict_do_update(
                index_elements=[n.undo_id, n.field, n.entity_id],
                set_={
                    "before": case((earlier, said.before), else_=n.before),
                    "after": case((later, said.after), else_=n.after),
                    "first_version": func.least(n.first_version, said.first_version),
                    "version": func.greatest(n.version, said.version),
                    "told_at": func.greatest(n.told_at, said.told_at),
                    "told_version": func.greatest(n.told_version, said.told_version),
                },
            )
        )

    async def count(self, undo: Undo) -> int:
        return int((await self._connection.execute(select(func.count()).where(n.undo_id == undo.id))).scalar_one())

    async def next(self, undo: Undo, limit: int) -> list[Line]:
        found = await self._connection.execute(
            select(*LINE).where(n.undo_id == undo.id, n.state == IS_WAITING).order_by(n.rank, n.entity_id, n.field).limit(limit)
        )
        lines = [_line(row) for row in found]
        return [line for line in lines if OF[line.field][0] is OF[lines[0].field][0]]

    async def finish(self, undo: Undo, done: Sequence[Done]) -> None:
        since = [one.since or Since(reason="") for one in done]
        by = rows(
            "by",
            field=(Text(), [one.line.field.value for one in done]),
            entity_id=(Uuid(), [one.line.entity_id for one in done]),
            state=(Text(), [(LineState.KEPT if one.since else LineState.REVERTED).value for one in done]),
            reason=(Text(), [one.reason or None for one in since]),
            changed_by=(Text(), [one.by for one in since]),
            changed_at=(TIME, [one.at for one in since]),
        ).c
        await self._connection.execute(
            update(undo_line)
            .where(n.undo_id == undo.id, cast(n.field, Text) == by.field, n.entity_id == by.entity_id)
            .values(state=by.state, reason=by.reason, changed_by=by.changed_by, changed_at=by.changed_at)
        )

    # ------------------------------------------------------------ who came since

    async def told_since(self, undo: Undo, lines: Sequence[Line]) -> dict[Key, Since]:
        places = {line.entity_id: None for line in lines if line.field is Part.SHOWN}
        shown: dict[UUID, Row[*tuple[Any, ...]]] = {}
        if places:
            li = listing.c
            found = await self._connection.execute(select(li.id, li.variant_id, li.store_id).where(among(li.id, places)))
            shown = {row.id: row for row in found}
        asked: dict[Key, tuple[str, UUID]] = {}
        for line in lines:
            if line.field is Part.SHOWN and (row := shown.get(line.entity_id)):
                # Shown: its variant was told of again. Hidden: another whole push has left it out again.
                told_of = ("VARIANT", row.variant_id) if line.after == (True,) else ("MISSING", row.store_id)
                asked[line.field, line.entity_id] = told_of
            elif line.field is Part.TAXES:
                asked[line.field, line.entity_id] = ("TAXES", line.entity_id)
            elif line.field is not Part.SHOWN:
                asked[line.field, line.entity_id] = (TOLD[OF[line.field][0]], line.entity_id)
        wanted = sorted(set(asked.values()))
        if not wanted:
            return {}
        by = rows("by", field=(Text(), [field for field, _ in wanted]), entity_id=(Uuid(), [id for _, id in wanted])).c
        t, theirs = told.c, select(source.c.id).where(source.c.merchant_id == undo.merchant_id)
        found = await self._connection.execute(
            select(t.source_id, t.field, t.entity_id, t.source_version, t.at).where(
                t.source_id.in_(theirs), t.field == by.field, t.entity_id == by.entity_id
            )
        )
        news: dict[tuple[str, UUID], list[Row[*tuple[Any, ...]]]] = {}
        for one in found:
            news.setdefault((one.field, one.entity_id), []).append(one)
        return {
            (line.field, line.entity_id): Since(f"source:{newer.source_id}", newer.at, "a source has told of it since")
            for line in lines
            if (place := asked.get((line.field, line.entity_id)))
            for newer in [row for row in news.get(place, ()) if _is_newer(row, line, undo)][:1]
        }

    async def changed_since(self, undo: Undo, lines: Sequence[Line]) -> dict[Key, Since]:
        family = OF[lines[0].field][0]
        stream = STREAMS.get(family)
        if stream is None:
            return {}
        since = {line.entity_id: line.version for line in sorted(lines, key=lambda line: -line.version)}  # the least of each
        by = rows("by", id=(Uuid(), list(since)), version=(Integer(), list(since.values()))).c
        found = await self._connection.execute(
            select(e.entity_id, e.seq, e.kind, e.body, e.caused_by, e.at)
            .where(e.stream == stream, e.entity_id == by.id, e.seq > by.version)
            .order_by(e.entity_id, e.seq)
        )
        later: dict[UUID, list[Row[*tuple[Any, ...]]]] = {}
        for one in found:
            later.setdefault(one.entity_id, []).append(one)
        changed: dict[Key, Row[*tuple[Any, ...]]] = {}
        for line in lines:
            for row in later.get(line.entity_id, ()):
                if row.seq > line.version and _otherwise(line, row):
                    changed[line.field, line.entity_id] = row
                    break
        who = await self._who({row.caused_by for row in changed.values()})
        return {key: Since(who(row.caused_by), row.at) for key, row in changed.items()}

    async def _who(self, causes: Collection[str]) -> Callable[[str], str | None]:
        """Of what a source has told, the source: nobody knows instructions by their ids."""
        ids = {cause: UUID(cause[len(INSTRUCTED) :][:36]) for cause in causes if cause.startswith(INSTRUCTED)}
        if not ids:
            return lambda cause: cause or None
        found = await self._connection.execute(select(i.id, i.source_id).where(among(i.id, set(ids.values()))))
        sources = {row.id: f"source:{row.source_id}" for row in found}
        return lambda cause: sources.get(ids[cause], cause) if cause in ids else cause or None

    async def moved_since(self, undo: Undo, lines: Sequence[Line]) -> dict[UUID, Since]:
        recent, own = await self._moved(undo, [line.entity_id for line in lines])
        told_ = (movement.listing_id, movement.kind, movement.cause, movement.at, own.label("own"))
        found = select(*told_).where(recent).subquery().c
        began = func.min(found.at).filter(found.own).over(partition_by=found.listing_id).label("began")
        every = select(found.listing_id, found.kind, found.cause, found.at, found.own, began).subquery().c
        others = await self._connection.execute(
            select(every.listing_id, every.kind, every.cause, every.at)
            .where(~every.own, every.at > every.began, every.kind.not_in(PASSING))
            .order_by(every.at.desc())
        )
        first = {row.listing_id: row for row in others.all()}
        who = await self._who({row.cause for row in first.values()})
        return {id: Since(who(row.cause), row.at, f"its units have moved since: {row.kind.value}") for id, row in first.items()}

    async def moved_by_it(self, undo: Undo, listing_ids: Collection[UUID]) -> dict[UUID, list[Move]]:
        if not listing_ids:
            return {}
        recent, own = await self._moved(undo, listing_ids)
        told_ = (movement.on_hand_delta, movement.held_delta, movement.allocated_delta, movement.order_id)
        of_source = (movement.source_id, movement.source_at, movement.told, movement.once)
        found = await self._connection.execute(
            select(movement.listing_id, movement.kind, movement.cause, *told_, *of_source).where(recent, own).order_by(movement.id)
        )
        moves: dict[UUID, list[Move]] = {}
        for row in found:
            moves.setdefault(row.listing_id, []).append(Move(*row))
        return moves

    async def _moved(self, undo: Undo, listing_ids: Collection[UUID]) -> tuple[ColumnElement[bool], ColumnElement[bool]]:
        """Which movements of these levels may be of the batch or later, and which of them are its own."""
        kept = select(p.received_at).where(p.id == undo.payload_id)
        received_at = (await self._connection.execute(kept)).scalar_one()
        recent = and_(among(movement.listing_id, listing_ids), movement.id >= first_id(received_at, -CLOCKS_APART_S))
        named = cast(func.substr(movement.cause, len(INSTRUCTED) + 1, 36), Uuid)
        its = case((movement.cause.startswith(INSTRUCTED), named))
        return recent, exists().where(i.id == its, i.payload_id == undo.payload_id)


def _merge(
    lines: dict[Key, _Listed], row: Row[*tuple[Any, ...]], name: str, entity: str, version: int, before: Any, after: Any
) -> None:
    field, id = Part(name), UUID(entity)
    line = lines.get((field, id))
    if line is None:
        lines[field, id] = _Listed(field, id, version, version, before, after, row.at, row.version)
        return
    if version < line.first_version:
        line.first_version, line.before = version, before
    if version >= line.version:
        line.version, line.after = version, after
    line.told_at = max(line.told_at, row.at)
    versions = [told_ for told_ in (line.told_version, row.version) if told_ is not None]
    line.told_version = max(versions, default=None)


def _text(value: Any) -> str:
    return msgspec.json.encode(value).decode()


def _value(field: Part, told_: Sequence[Any]) -> tuple[Any, ...]:
    """As domain/befores.py compares them."""
    parts = (msgspec.convert(part, kind, strict=False) for part, kind in zip(told_, TYPES[field], strict=True))
    return tuple(tuple(part) if isinstance(part, list) else part for part in parts)


def _line(row: Row[*tuple[Any, ...]]) -> Line:
    before, after = _value(row.field, row.before), _value(row.field, row.after)
    return Line(row.field, row.entity_id, row.version, before, after, row.told_at, row.told_version)


def _is_newer(row: Row[*tuple[Any, ...]], line: Line, undo: Undo) -> bool:
    if row.source_id == undo.source_id and row.source_version is not None and line.told_version is not None:
        return bool(row.source_version > line.told_version)
    return bool(row.at > line.told_at)


def _otherwise(line: Line, row: Row[*tuple[Any, ...]]) -> bool:
    """Whether the event says of the line's field what the batch did not."""
    body = row.body
    if row.kind == PriceChanged.__name__:
        mrp = body["mrp"]
        return line.field is Part.PRICE and (body["price"]["minor"], mrp and mrp["minor"]) != line.after
    if OF[line.field][0] is Family.STORE:
        said, _, reason = line.after
        return (body["said"], body["reason"]) != (said.value, reason)
    told_ = body["listing" if row.kind == ListingChanged.__name__ else "product"]
    return _value(line.field, [told_[name] for name in OF[line.field][1]]) != line.after


# ---------------------------------------------------------------- reading


@dataclass(frozen=True, slots=True)
class UndoLine:
    """What has become of one field of one thing."""

    id: UUID
    field: Part
    entity_id: UUID
    state: LineState
    reason: str | None
    changed_by: str | None
    changed_at: datetime | None


async def undo_lines(
    reads: Reads, actor: Actor, undo_id: UUID, state: LineState | None, first: int | None, after: str | None
) -> Page[UndoLine]:
    """Refuses InvalidInput for a page that cannot be."""
    told_ = (n.id, n.field, n.entity_id, n.state, n.reason, n.changed_by, n.changed_at)
    of_it = select(*told_).join(batch_undo, u.id == n.undo_id).join(payload, p.id == u.payload_id)
    found = of_it.where(n.undo_id == undo_id).where(visible_to(actor))
    if state is not None:
        found = found.where(n.state == state)
    return await page(reads, found, [By(n.id)], lambda row: UndoLine(*row[:7]), first, after, "undo lines")
