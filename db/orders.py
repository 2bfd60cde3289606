"""Orders: who may know of one, how one is locked and moved, how it reads."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, Row, Select, and_, false, func, insert, literal, select, true, update
from sqlalchemy.ext.asyncio import AsyncConnection

from db.events import to_event
from db.identity import stores_of
from db.pages import By, Page, page
from db.reads import Reads
from db.tables import delivery, event, order_line, order_note, orders, payment, purchase
from domain.identity import Actor, ActorKind
from domain.money import Money
from domain.orders import Fulfilment, LockedOrder, OrderedLine, OrderMoved, OrderStatus, ReasonCode, Sibling, Times
from domain.places import PostalAddress
from domain.pricing import Charge

order = orders.c


def visible_to(actor: Actor) -> ColumnElement[bool]:
    """The orders this actor may know of. Who has nothing to check by sees nothing."""
    match actor:
        case Actor(kind=ActorKind.CUSTOMER, id=UUID()):
            return order.customer_id == actor.id
        case Actor(kind=ActorKind.MERCHANT | ActorKind.SOURCE, id=UUID()):
            return order.store_id.in_(stores_of(actor))
        case Actor(kind=ActorKind.RIDER, id=UUID()):
            return order.id.in_(select(delivery.c.order_id).where(delivery.c.rider_id == actor.id))
        case Actor(kind=ActorKind.SUPPORT, id=UUID()) | Actor(kind=ActorKind.CLOCK):
            return true()
        case _:
            return false()


LOCKED = (
    order.id,
    order.number,
    order.purchase_id,
    order.store_id,
    order.merchant_id,
    order.customer_id,
    order.status,
    order.version,
    order.fulfilment,
    order.total_minor,
    order.refunded_minor,
    order.currency,
    order.prep_minutes,
    order.handover_code,
    order.code_tries_left,
    order.at_risk,
    order.short,
    order.ended_at.is_not(None).label("ended"),
)


def _locked(row: Row[*tuple[Any, ...]]) -> LockedOrder:
    return LockedOrder(
        row.id,
        row.number,
        row.purchase_id,
        row.store_id,
        row.merchant_id,
        row.customer_id,
        row.status,
        row.version,
        row.fulfilment,
        Money(row.total_minor, row.currency),
        Money(row.refunded_minor, row.currency),
        row.prep_minutes,
        row.handover_code,
        row.code_tries_left,
        row.at_risk,
        row.short,
        row.ended,
    )


class SqlOrders:
    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def lock(self, order_id: UUID, actor: Actor) -> LockedOrder | None:
        found = await self._connection.execute(
            select(*LOCKED).where(order.id == order_id).where(visible_to(actor)).with_for_update(of=orders)
        )
        row = found.one_or_none()
        return _locked(row) if row else None

    async def lock_purchase(self, purchase_id: UUID) -> list[LockedOrder]:
        await self._connection.execute(select(purchase.c.id).where(purchase.c.id == purchase_id).with_for_update())
        found = await self._connection.execute(
            select(*LOCKED).where(order.purchase_id == purchase_id).order_by(order.id).with_for_update()
        )
        return [_locked(row) for row in found]

    async def siblings(self, purchase_id: UUID) -> list[Sibling]:
        found = await self._connection.execute(
            select(
                order.id, order.status, order.version, order.ended_at.is_not(None).label("ended"), order.total_minor, order.currency
            )
            .where(order.purchase_id == purchase_id)
            .order_by(order.id)
        )
        return [Sibling(row.id, row.status, row.version, row.ended, Money(row.total_minor, row.currency)) for row in found]

    async def move(self, now: LockedOrder, end: OrderStatus, times: Times, *, at_risk: bool) -> LockedOrder:
        written = {name: value for name in Times.__dataclass_fields__ if (value := getattr(times, name)) is not None}
        return await self._next(now, status=end, at_risk=at_risk, **written)

    async def noted(self, now: LockedOrder, *, at_risk: bool) -> LockedOrder:
        return await self._next(now, at_risk=at_risk)

    async def fell_short(self, now: LockedOrder) -> LockedOrder:
        return await self._next(now, at_risk=True, short=True)

    async def lock_numbered(self, numbers: Collection[str], actor: Actor) -> dict[str, LockedOrder]:
        found = await self._connection.execute(
            select(*LOCKED).where(order.number.in_(numbers)).where(visible_to(actor)).order_by(order.id).with_for_update(of=orders)
        )
        return {row.number: _locked(row) for row in found}

    async def lines(self, order_ids: Collection[UUID]) -> list[OrderedLine]:
        line = order_line.c
        found = await self._connection.execute(
            select(line.order_id, line.listing_id, line.variant_id, line.sku, line.name).where(line.order_id.in_(order_ids))
        )
        return [OrderedLine(*row) for row in found]

    async def said(self, order_id: UUID, note: str) -> bool:
        found = select(order_note.c.seq).where(order_note.c.order_id == order_id, order_note.c.note == note).limit(1)
        return (await self._connection.execute(found)).one_or_none() is not None

    async def explain(self, now: LockedOrder, note: str) -> None:
        await self._connection.execute(insert(order_note).values(order_id=now.id, seq=now.version, note=note))

    async def names(self, order_id: UUID) -> dict[UUID, str]:
        line = order_line.c
        found = await self._connection.execute(select(line.listing_id, line.name).where(line.order_id == order_id))
        return {row.listing_id: row.name for row in found}

    async def refunded(self, now: LockedOrder, amount: Money) -> None:
        await self._connection.execute(update(orders).where(order.id == now.id).values(refunded_minor=amount.minor))

    async def set_tries(self, order_id: UUID, tries_left: int) -> None:
        await self._connection.execute(update(orders).where(order.id == order_id).values(code_tries_left=tries_left))

    async def _next(self, now: LockedOrder, **written: Any) -> LockedOrder:
        done = await self._connection.execute(
            update(orders)
            .where(order.id == now.id, order.status == now.status, order.version == now.version)
            .values(version=order.version + 1, **written)
            .returning(*LOCKED)
        )
        return _locked(done.one())


@dataclass(frozen=True, slots=True)
class OrderRow:
    """An order as any of its parties reads it. What only some of them may see is asked of resolvers/orders.py."""

    id: UUID
    number: str
    status: OrderStatus
    version: int
    fulfilment: Fulfilment
    store_id: UUID
    merchant_id: UUID
    customer_id: UUID
    purchase_id: UUID
    charges: Sequence[Charge]
    total: Money
    refunded: Money
    person: str
    place: PostalAddress | None
    code: str
    at_risk: bool
    created_at: datetime
    placed_at: datetime | None
    promised_at: datetime | None


@dataclass(frozen=True, slots=True)
class OrderLineRow:
    id: UUID
    order_id: UUID
    name: str
    sku: str
    quantity: int
    unit_price: Money
    total: Money
    modifiers: Sequence[str]
    note: str | None


@dataclass(frozen=True, slots=True)
class OrderEventRow:
    order_id: UUID
    seq: int
    status: OrderStatus
    at: datetime
    by: ActorKind
    reason: ReasonCode | None
    note: str | None


ROW = (
    order.id,
    order.number,
    order.status,
    order.version,
    order.fulfilment,
    order.store_id,
    order.merchant_id,
    order.customer_id,
    order.purchase_id,
    order.charges,
    order.total_minor,
    order.refunded_minor,
    order.currency,
    order.customer_name,
    order.address,
    order.handover_code,
    order.at_risk,
    order.created_at,
    order.placed_at,
    order.promised_at,
)


def to_order(row: Row[*tuple[Any, ...]]) -> OrderRow:
    return OrderRow(
        row.id,
        row.number,
        row.status,
        row.version,
        row.fulfilment,
        row.store_id,
        row.merchant_id,
        row.customer_id,
        row.purchase_id,
        row.charges,
        Money(row.total_minor, row.currency),
        Money(row.refunded_minor, row.currency),
        row.customer_name,
        row.address,
        row.handover_code,
        row.at_risk,
        row.created_at,
        row.placed_at,
        row.promised_at,
    )


async def orders_by_id(reads: Reads, actor: Actor, order_ids: Sequence[UUID]) -> list[OrderRow]:
    """Those of them that are this actor's, in no order."""
    return [to_order(row) for row in await reads.rows(select(*ROW).where(order.id.in_(order_ids)).where(visible_to(actor)))]


async def order_by_number(reads: Reads, actor: Actor, number: str) -> OrderRow | None:
    row = await reads.one(select(*ROW).where(order.number == number.strip().upper()).where(visible_to(actor)))
    return to_order(row) if row else None


async def orders_of_purchases(reads: Reads, actor: Actor, purchase_ids: Sequence[UUID]) -> list[OrderRow]:
    found = await reads.rows(select(*ROW).where(order.purchase_id.in_(purchase_ids)).where(visible_to(actor)).order_by(order.id))
    return [to_order(row) for row in found]


@dataclass(frozen=True)
class OrderFilter:
    """Beside who may see it. `text` is a part of the order's number."""

    status: Sequence[OrderStatus] | None = None
    store_id: UUID | None = None
    merchant_id: UUID | None = None
    text: str | None = None


def _wanted(actor: Actor, by: OrderFilter) -> list[ColumnElement[bool]]:
    conditions = [visible_to(actor)]
    if by.status is not None:
        conditions.append(order.status.in_(by.status))
    if by.store_id is not None:
        conditions.append(order.store_id == by.store_id)
    if by.merchant_id is not None:
        conditions.append(order.merchant_id == by.merchant_id)
    if by.text:
        conditions.append(order.number.contains(by.text.strip().upper(), autoescape=True))
    return conditions


async def order_page(reads: Reads, actor: Actor, by: OrderFilter, first: int | None, after: str | None) -> Page[OrderRow]:
    """Newest first."""
    statement: Select[Any] = select(*ROW).where(*_wanted(actor, by))
    return await page(reads, statement, [By(order.id, descending=True)], to_order, first, after, "orders")


async def lines_of(reads: Reads, order_ids: Sequence[UUID]) -> list[OrderLineRow]:
    """Of orders the actor has been shown, in the order of the bill."""
    line = order_line.c
    found = await reads.rows(select(order_line).where(line.order_id.in_(order_ids)).order_by(line.order_id, line.rank))
    return [
        OrderLineRow(
            row.id,
            row.order_id,
            row.name,
            row.sku,
            row.quantity,
            Money(row.unit_price_minor, row.currency),
            Money(row.total_minor, row.currency),
            tuple(row.modifiers),
            row.note,
        )
        for row in found
    ]


async def history_of(reads: Reads, order_ids: Sequence[UUID]) -> list[OrderEventRow]:
    """Every step of orders the actor has been shown, as the log has it, with what was said about it."""
    e, said = event.c, order_note.c
    found = await reads.rows(
        select(e.entity_id, e.seq, e.body, said.note)
        .outerjoin(order_note, and_(said.order_id == e.entity_id, said.seq == e.seq))
        .where(e.stream == OrderMoved.stream, e.entity_id.in_(order_ids))
        .order_by(e.entity_id, e.seq)
    )
    steps = [(row, to_event(OrderMoved.__name__, row.body)) for row in found]
    return [
        OrderEventRow(row.entity_id, row.seq, step.status, step.at, step.by, step.reason, row.note)
        for row, step in steps
        if isinstance(step, OrderMoved)
    ]


async def overdue(reads: Reads, limit: int) -> list[UUID]:
    """Placed orders no store has answered in time, oldest first."""
    late = select(order.id).where(order.status == OrderStatus.PLACED, order.accept_by <= func.statement_timestamp())
    return [row.id for row in await reads.rows(late.order_by(order.accept_by).limit(limit))]


async def first_orders(reads: Reads, actor: Actor, by: OrderFilter, limit: int) -> list[OrderRow]:
    """Oldest first: what waits longest."""
    return [to_order(row) for row in await reads.rows(select(*ROW).where(*_wanted(actor, by)).order_by(order.id).limit(limit))]


async def versions_of(reads: Reads, order_ids: Sequence[UUID]) -> dict[tuple[str, UUID], int]:
    """By (stream, entity): how far the deliveries and payments of these orders are."""
    if not order_ids:
        return {}
    trips = select(literal("delivery").label("stream"), delivery.c.id, delivery.c.version).where(delivery.c.order_id.in_(order_ids))
    paid = (
        select(literal("payment"), payment.c.id, payment.c.version)
        .join(orders, order.purchase_id == payment.c.purchase_id)
        .where(order.id.in_(order_ids))
    )
    return {(row.stream, row.id): row.version for row in await reads.rows(trips.union(paid))}
