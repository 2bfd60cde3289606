"""Batches: which there are, what held one, and what it would do."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any
from uuid import UUID

import msgspec
from sqlalchemy import (
    ColumnElement,
    Float,
    Row,
    Select,
    Subquery,
    Text,
    Uuid,
    and_,
    case,
    cast,
    column,
    func,
    literal,
    literal_column,
    or_,
    select,
    type_coerce,
    update,
)
from sqlalchemy.dialects.postgresql import aggregate_order_by
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.ext.asyncio import AsyncConnection

from db.arrays import among
from db.columns import TIME, Words
from db.pages import By, Page, page, slice_of
from db.reads import Here, Reads
from db.sources import of_merchant
from db.stock import COUNTED, SWITCHED
from db.tables import (
    batch_undo,
    event,
    instruction,
    judgement,
    listing,
    mapping,
    payload,
    product,
    source,
    stock_level,
    told,
    variant,
)
from domain.batches import BatchState, Decision, HeldBatch
from domain.canonical import Command, UpdateStoreStatus, UpsertCatalogItem, UpsertMenuItem, UpsertVariant
from domain.diffs import COMPARED, Change, Diff, Said, Shown, compare, order
from domain.identity import Actor, ActorKind
from domain.intake import EntityKind, PayloadState
from domain.judgement import LIMITS, Rule, Verdict
from domain.undos import UNDONE, Undo, UndoState
from domain.work import BY_SKU

p, i, j, m, li, level, s, u = (
    payload.c, instruction.c, judgement.c, mapping.c, listing.c, stock_level.c, source.c, batch_undo.c,
)  # fmt: skip
PRICED, FORMED = "PRICE", "VARIANT"  # as `told` has what a source has said of a listing, and of its variant


def visible_to(actor: Actor) -> ColumnElement[bool]:
    """Those of the merchants whose sources the actor looks after. What was turned away at the door is no batch."""
    kept = p.state.not_in([PayloadState.DUPLICATE, PayloadState.REJECTED])
    return and_(of_merchant(p.merchant_id, actor), p.source_id.is_not(None), kept)


class SqlBatches:
    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def park(self, payload_id: UUID, merchant_id: UUID, source_id: UUID, verdict: Verdict, failure_id: UUID) -> None:
        held = {
            "merchant_id": merchant_id, "source_id": source_id, "state": Decision.PARKED, "rule": verdict.rule,
            "percent": verdict.percent, "message": verdict.message, "failure_id": failure_id,
        }  # fmt: skip
        anew = {"decided_at": None, "by_kind": None, "by_id": None, "reason": None, "parked_at": func.clock_timestamp()}
        new = upsert(judgement).values(payload_id=payload_id, **held)
        await self._connection.execute(new.on_conflict_do_update(index_elements=[j.payload_id], set_={**held, **anew}))

    async def lock(self, payload_id: UUID, actor: Actor) -> tuple[bool, HeldBatch | None]:
        mine = select(p.id).where(p.id == payload_id).where(visible_to(actor)).with_for_update(key_share=True)
        if (await self._connection.execute(mine)).one_or_none() is None:
            return False, None
        found = await self._connection.execute(
            select(j.payload_id, j.merchant_id, j.failure_id, j.state, j.by_kind, j.by_id, j.decided_at)
            .where(j.payload_id == payload_id)
            .with_for_update()
        )
        row = found.one_or_none()
        if row is None:
            return True, None
        return True, HeldBatch(row.payload_id, row.merchant_id, row.failure_id, row.state, _by(row), row.decided_at)

    async def decide(self, payload_id: UUID, decision: Decision, actor: Actor, reason: str | None) -> None:
        await self._connection.execute(
            update(judgement)
            .where(j.payload_id == payload_id)
            .values(state=decision, by_kind=actor.kind, by_id=actor.id, reason=reason, decided_at=func.clock_timestamp())
        )

    async def outdated(self, payload_id: UUID) -> list[UUID]:
        listed = (await _compared(Here(self._connection), payload_id)).outdated
        others = await self._connection.execute(_told_by_others(payload_id).union(_closed_by_hand(payload_id)))
        return [*listed, *others.scalars()]


def _by(row: Row[*tuple[Any, ...]]) -> Actor | None:
    return None if row.by_kind is None else Actor(row.by_kind, row.by_id)


# ---------------------------------------------------------------- reading


@dataclass(frozen=True, slots=True)
class Holding:
    """Why a batch was held, and what became of it."""

    rule: Rule
    percent: float | None
    message: str
    parked_at: datetime
    decided_at: datetime | None
    by: Actor | None
    reason: str | None

    @property
    def limit_percent(self) -> float | None:
        return LIMITS.get(self.rule)


@dataclass(frozen=True, slots=True)
class Batch:
    """`id` is its payload's."""

    id: UUID
    source_id: UUID
    merchant_id: UUID
    provider: str
    door: str
    received_at: datetime
    state: BatchState
    held: Holding | None
    undo: Undo | None


OWN = [one.name for one in fields(Undo) if one.name != "by"]
UNDO = tuple(u[name].label(f"undo_{name}") for name in (*OWN, "by_kind", "by_id"))


def to_undo(row: Row[*tuple[Any, ...]]) -> Undo:
    told_ = {name: getattr(row, f"undo_{name}") for name in OWN}
    return Undo(**told_, by=Actor(row.undo_by_kind, row.undo_by_id))


HELD, DENIED = j.state == Decision.PARKED, j.state == Decision.REFUSED
DECIDED = or_(j.state.is_(None), j.state == Decision.APPROVED)
STATES: dict[BatchState, ColumnElement[bool]] = {
    BatchState.PARKED: HELD,
    BatchState.REFUSED: DENIED,
    BatchState.UNDOING: u.state == UndoState.RUNNING,
    BatchState.UNDONE: u.state == UndoState.DONE,
    BatchState.RUNNING: and_(DECIDED, p.state == PayloadState.ACCEPTED, u.id.is_(None)),
    BatchState.DONE: and_(DECIDED, p.state != PayloadState.ACCEPTED, u.id.is_(None)),
}
STATE = type_coerce(case(*((which, state.value) for state, which in STATES.items())), Words(BatchState)).label("state")
BATCH = (
    select(
        p.id, p.source_id, p.merchant_id, p.provider, p.door, p.received_at, STATE, j.rule, j.percent, j.message, j.parked_at,
        j.decided_at, j.by_kind, j.by_id, j.reason, *UNDO,
    )
    .join_from(payload, judgement, j.payload_id == p.id, isouter=True)
    .join(batch_undo, u.payload_id == p.id, isouter=True)
)  # fmt: skip


def _batch(row: Row[*tuple[Any, ...]]) -> Batch:
    held = None
    if row.rule is not None:
        held = Holding(row.rule, row.percent, row.message, row.parked_at, row.decided_at, _by(row), row.reason)
    undo = to_undo(row) if row.undo_id is not None else None
    return Batch(row.id, row.source_id, row.merchant_id, row.provider, row.door, row.received_at, row.state, held, undo)


async def batches(
    reads: Reads, actor: Actor, merchant_id: UUID | None, state: BatchState | None, first: int | None, after: str | None
) -> Page[Batch]:
    """The newest first. Refuses InvalidInput for a page that cannot be."""
    found = BATCH.where(visible_to(actor))
    if merchant_id is not None:
        found = found.where(p.merchant_id == merchant_id)
    if state is not None:
        found = found.where(STATES[state])
    return await page(reads, found, [By(p.id, descending=True)], _batch, first, after, "batches")


async def batch_by_id(reads: Reads, actor: Actor, id: UUID) -> Batch | None:
    row = await reads.one(BATCH.where(p.id == id).where(visible_to(actor)))
    return _batch(row) if row else None


async def sizes(reads: Reads, ids: Sequence[UUID]) -> Sequence[tuple[UUID, int]]:
    """How many instructions each has. Of batches the caller has been shown."""
    found = await reads.rows(select(i.payload_id, func.count()).where(among(i.payload_id, ids)).group_by(i.payload_id))
    return [(row[0], row[1]) for row in found]


async def diff_of(reads: Reads, batch: Batch) -> Diff:
    """What it would do by now. Of a batch the caller has been shown."""
    return await _compared(reads, batch.id)


NAMED = (EntityKind.STORE, EntityKind.VARIANT, EntityKind.PRODUCT)
CHANGES = [By(column("rank", Float())), By(column("id", Uuid()))]


def changes_page(diff: Diff, first: int | None, after: str | None) -> Page[Change]:
    """The largest first. Refuses InvalidInput for a page that cannot be."""
    return slice_of(diff.changes, order, CHANGES, first, after, "changes")


# ---------------------------------------------------------------- what it would do


async def _compared(reads: Reads, payload_id: UUID) -> Diff:
    """Five statements however long it is. Rows come as one text each, and are read beside the event loop."""
    about = await reads.one(
        select(p.source_id, p.merchant_id, p.received_at, s.family)
        .join_from(payload, source, s.id == p.source_id)
        .where(p.id == payload_id)
    )
    assert about is not None
    bodies = {row.command: row.told for row in await reads.rows(_bodies(payload_id))}
    names = {row.kind: row.told for row in await reads.rows(_names(about.source_id))}
    others = [row.id for row in await reads.rows(select(s.id).where(s.merchant_id == about.merchant_id, s.id != about.source_id))]
    said = await asyncio.to_thread(_said, bodies, names, about)
    named = {store for _, command in said.commands if (store := said.store(command)) is not None}
    shown = await reads.value(_shown(about, sorted(named), others)) if named else None
    return await asyncio.to_thread(_read_and_compare, said, shown or "[]")


def _bodies(payload_id: UUID) -> Select[Any]:
    """Of each kind of command one text: a JSON array of [instruction's id, command]."""
    one = cast(func.jsonb_build_array(cast(i.id, Text), i.body), Text)
    every = func.string_agg(one, aggregate_order_by(literal_column("','"), i.ordinal))
    return (
        select(i.command, (literal("[") + every + literal("]")).label("told"))
        .where(i.payload_id == payload_id, i.command.in_([kind.__name__ for kind in COMPARED]))
        .group_by(i.command)
    )


def _names(source_id: UUID) -> Select[Any]:
    """Of each kind one text: a JSON object of the source's ids, and ours. Not asked for listing by listing: where the planner has
    not counted them yet that is the square of them."""
    told_ = cast(func.json_object_agg(m.external_id, m.id), Text).label("told")
    return select(m.kind, told_).where(m.source_id == source_id, m.kind.in_(NAMED)).group_by(m.kind)


def _said(bodies: Mapping[str, str], names: Mapping[EntityKind, str], about: Row[*tuple[Any, ...]]) -> Said:
    commands: list[tuple[UUID, Command]] = []
    for kind, text in bodies.items():
        decoder = msgspec.json.Decoder(Command.kinds[kind], strict=False)
        raw = msgspec.json.decode(text, type=list[tuple[UUID, msgspec.Raw]])
        commands += [(id, decoder.decode(body)) for id, body in raw]
    stores, variants, items = (msgspec.json.decode(names.get(kind, "{}"), type=dict[str, UUID]) for kind in NAMED)
    return Said(f"source:{about.source_id}", about.received_at, stores, variants, items, about.family in BY_SKU, commands)


def _read_and_compare(said: Said, shown: str) -> Diff:
    return compare(said, msgspec.json.decode(shown, type=list[Shown]))


def _shown(about: Row[*tuple[Any, ...]], store_ids: Sequence[UUID], others: Sequence[UUID]) -> Select[Any]:
    """All listings of these stores, as one JSON text."""
    rows = _listings(about, store_ids, others)
    return select(cast(func.json_agg(literal_column(rows.name)), Text)).select_from(rows)


def _listings(about: Row[*tuple[Any, ...]], store_ids: Sequence[UUID], others: Sequence[UUID]) -> Subquery:

    def heard(field: str, of: ColumnElement[Any] = li.id) -> ColumnElement[Any]:
        t = told.c
        one = func.json_build_object("version", t.source_version, "at", t.at)
        return select(one).where(t.source_id == about.source_id, t.field == field, t.entity_id == of).scalar_subquery()

    def said_at(field: str, of: ColumnElement[Any] = li.id) -> ColumnElement[Any]:
        t = told.c
        return select(func.max(t.at)).where(among(t.source_id, others), t.field == field, t.entity_id == of).scalar_subquery()

    title = product.c.name + case((variant.c.name == "", ""), else_=literal(" ") + variant.c.name)
    return (
        select(
            li.id,
            li.store_id,
            li.variant_id,
            li.product_id,
            title.label("name"),
            variant.c.sku,
            li.price_minor,
            li.currency,
            li.active,
            level.tracked,
            level.on_hand,
            level.off,
            (li.told_at >= about.received_at).label("told_since"),
            level.counted_at,
            level.source.label("counted_by"),
            heard(PRICED).label("price_heard"),
            heard(COUNTED).label("count_heard"),
            heard(SWITCHED).label("switch_heard"),
            heard(FORMED, li.variant_id).label("variant_heard"),
            said_at(PRICED).label("price_said_at"),
            said_at(SWITCHED).label("switch_said_at"),
            said_at(FORMED, li.variant_id).label("variant_said_at"),
        )
        .join_from(listing, stock_level, level.listing_id == li.id)
        .join(variant, variant.c.id == li.variant_id)
        .join(product, product.c.id == li.product_id)
        .where(among(li.store_id, store_ids))
        .subquery("shown")
    )


# ---------------------------------------------------------------- what else is old news

WORDS = {  # of what is no listing: how `told` names it, what kind of thing it is of, and where its command names that
    UpsertCatalogItem.__name__: ("PRODUCT", EntityKind.PRODUCT, "item"),
    UpsertVariant.__name__: (FORMED, EntityKind.VARIANT, "variant"),
    UpsertMenuItem.__name__: ("MENU", EntityKind.PRODUCT, "item"),
    UpdateStoreStatus.__name__: ("STATUS", EntityKind.STORE, "store"),
}


def _of_what(payload_id: UUID) -> Select[Any]:
    """Of a batch the instructions that speak of these things, each with its thing. Without a store it is the source's only one."""

    field = case(*((i.command == command, literal(name)) for command, (name, _, _) in WORDS.items()))
    kind = case(*((i.command == command, literal(kind.value)) for command, (_, kind, _) in WORDS.items()))
    named = case(*((i.command == command, i.body[place].astext) for command, (_, _, place) in WORDS.items()))
    at = func.coalesce(cast(i.body["at"].astext, TIME), i.created_at)
    its = and_(m.source_id == i.source_id, cast(m.kind, Text) == kind, m.external_id == func.coalesce(named, m.external_id))
    return (
        select(i.id, i.merchant_id, i.source_id, m.id.label("entity_id"), field.label("field"), at.label("at"))
        .join_from(instruction, mapping, its)
        .where(i.payload_id == payload_id, i.command.in_(WORDS))
    )


def _told_by_others(payload_id: UUID) -> Select[Any]:
    said, t = _of_what(payload_id).subquery("said").c, told.c
    others = and_(s.merchant_id == said.merchant_id, s.id != said.source_id)
    newer = and_(t.source_id == s.id, t.field == said.field, t.entity_id == said.entity_id, t.at > said.at)
    return select(said.id).join(source, others).join(told, newer)


def _closed_by_hand(payload_id: UUID) -> Select[Any]:
    """Or opened: people have said since how the store is. That something was put back as it was is no news."""
    said, e = _of_what(payload_id).subquery("said").c, event.c
    by_people = e.body["by"].astext.in_([ActorKind.MERCHANT.value, ActorKind.SUPPORT.value])
    since = and_(e.stream == "store", e.entity_id == said.entity_id, e.at > said.at, by_people, ~e.caused_by.startswith(UNDONE))
    return select(said.id).join(event, since).where(said.field == "STATUS")
