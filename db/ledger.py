"""Stock as its merchant reads it: levels whole, the ledger's lines, and the proof that the two agree."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, Row, and_, false, func, literal, or_, select, true, union_all

from db.identity import stores_of
from db.pages import By, Page, page
from db.reads import Reads
from db.tables import listing, stock_allocation, stock_hold, stock_level, stock_movement, variant
from domain.identity import Actor, ActorKind
from domain.stock import StockMovementKind

level, movement = stock_level.c, stock_movement.c


def visible_to(actor: Actor) -> ColumnElement[bool]:
    """The levels whose counters this actor may see and set: those of the merchant's own stores."""
    match actor:
        case Actor(kind=ActorKind.MERCHANT, id=UUID()):
            return level.store_id.in_(stores_of(actor))
        case Actor(kind=ActorKind.SUPPORT, id=UUID()):
            return true()
        case _:
            return false()


@dataclass(frozen=True, slots=True)
class StockDetailRow:
    """Counts are null when untracked. `id` is the listing's: a listing has one level."""

    id: UUID
    listing_id: UUID
    on_hand: int | None
    held: int | None
    allocated: int | None
    available: int | None
    version: int
    source: str


@dataclass(frozen=True, slots=True)
class MovementRow:
    id: UUID
    kind: StockMovementKind
    on_hand: int
    held: int
    allocated: int
    cause: str
    at: datetime


@dataclass(frozen=True, slots=True)
class Discrepancy:
    listing_id: UUID
    counter: str
    level: int
    ledger: int


DETAIL = (
    level.listing_id,
    level.tracked,
    level.off,
    level.on_hand,
    level.held,
    level.allocated,
    level.buffer,
    level.version,
    level.source,
)


def _detail(row: Row[*tuple[Any, ...]]) -> StockDetailRow:
    if not row.tracked:
        return StockDetailRow(row.listing_id, row.listing_id, None, None, None, None, row.version, row.source)
    available = 0 if row.off else max(0, row.on_hand - row.held - row.allocated - row.buffer)
    return StockDetailRow(row.listing_id, row.listing_id, row.on_hand, row.held, row.allocated, available, row.version, row.source)


def _movement(row: Row[*tuple[Any, ...]]) -> MovementRow:
    return MovementRow(row.id, row.kind, row.on_hand_delta, row.held_delta, row.allocated_delta, row.cause, row.at)


async def detail(reads: Reads, actor: Actor, listing_id: UUID) -> StockDetailRow | None:
    row = await reads.one(select(*DETAIL).where(level.listing_id == listing_id).where(visible_to(actor)))
    return _detail(row) if row else None


async def detail_page(
    reads: Reads, actor: Actor, store_id: UUID, text: str | None, first: int | None, after: str | None
) -> Page[StockDetailRow]:
    """By name. `text` is a part of the name or of the SKU."""
    of_it = and_(listing.c.id == level.listing_id, listing.c.store_id == level.store_id)  # the store too: then its index will do
    statement = select(*DETAIL).join(listing, of_it).where(level.store_id == store_id).where(visible_to(actor))
    if text:
        statement = statement.join(variant, variant.c.id == listing.c.variant_id).where(
            or_(listing.c.name.icontains(text, autoescape=True), variant.c.sku.icontains(text, autoescape=True))
        )
    return await page(reads, statement, [By(listing.c.name), By(listing.c.id)], _detail, first, after, "stock")


async def movement_page(reads: Reads, actor: Actor, listing_id: UUID, first: int | None, after: str | None) -> Page[MovementRow]:
    """Newest first."""
    statement = (
        select(
            movement.id,
            movement.kind,
            movement.on_hand_delta,
            movement.held_delta,
            movement.allocated_delta,
            movement.cause,
            movement.at,
        )
        .join(stock_level, level.listing_id == movement.listing_id)
        .where(movement.listing_id == listing_id)
        .where(visible_to(actor))
    )
    return await page(reads, statement, [By(movement.id, descending=True)], _movement, first, after, "movements")


async def discrepancies(reads: Reads, limit: int = 1000) -> Sequence[Discrepancy]:
    """Counters that are not the sum of their movements, and holds or allocations that are not the sum of their rows.

    One statement, so one moment: empty while all is well, also under load. Support's alone: the caller sees to that.
    """
    ledger = (
        select(
            movement.listing_id,
            func.sum(movement.on_hand_delta).label("on_hand"),
            func.sum(movement.held_delta).label("held"),
            func.sum(movement.allocated_delta).label("allocated"),
        )
        .group_by(movement.listing_id)
        .subquery()
    )
    holds = (
        select(stock_hold.c.listing_id, func.sum(stock_hold.c.units).label("units")).group_by(stock_hold.c.listing_id).subquery()
    )
    promised = (
        select(stock_allocation.c.listing_id, func.sum(stock_allocation.c.units).label("units"))
        .group_by(stock_allocation.c.listing_id)
        .subquery()
    )
    checks = [
        select(
            level.listing_id,
            literal(name).label("counter"),
            level[name].label("level"),
            func.coalesce(sums.c[column], 0).label("ledger"),
        )
        .outerjoin(sums, sums.c.listing_id == level.listing_id)
        .where(level[name] != func.coalesce(sums.c[column], 0))
        for name, column, sums in (
            ("on_hand", "on_hand", ledger),
            ("held", "held", ledger),
            ("allocated", "allocated", ledger),
            ("held", "units", holds),
            ("allocated", "units", promised),
        )
    ]
    found = await reads.rows(union_all(*checks).limit(limit))
    return [Discrepancy(row.listing_id, row.counter, int(row.level), int(row.ledger)) for row in found]
