"""Feeds of orders: one order with its delivery and its payment, and a store's orders."""

from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from db import orders as rows
from db.orders import OrderFilter, OrderRow
from db.stores import may_serve
from domain.delivery import DeliveryMoved
from domain.events import Stamped
from domain.orders import OPEN, OrderMoved, OrderStatus
from domain.payments import PaymentMoved
from domain.refusals import not_found
from resolvers.context import Context
from resolvers.grants import signed_in
from subscriptions.feeds import Feed, Snapshot, follow
from subscriptions.following import Following

OPEN_ORDERS = 200  # a store with more open than this has other troubles


@dataclass(frozen=True, slots=True)
class OrderChange:
    """`status` and `version` as of the event, the order as it is now."""

    status: OrderStatus
    version: int
    at: datetime
    order: OrderRow


@dataclass(frozen=True, slots=True)
class OrderFrame:
    cursor: str
    reset: bool
    degraded: bool
    changes: Sequence[OrderChange]


def order(context: Context, hub: Following, order_id: UUID, after: str | None = None) -> AsyncGenerator[OrderFrame, None]:
    """Every step of the order, of its delivery and of its payment. Refuses NotFound with the first frame."""

    async def snapshot() -> Snapshot[OrderChange]:
        found = await rows.orders_by_id(context.reads, context.actor, [order_id])
        if not found:
            raise not_found("order")
        return await _as_of_now(context, found)

    async def allowed() -> bool:
        return await signed_in(context) and bool(await rows.orders_by_id(context.reads, context.actor, [order_id]))

    kinds = (OrderMoved, DeliveryMoved, PaymentMoved)
    return follow(
        Feed("order", (order_id,), (order_id,), kinds, snapshot, _changes(context, order_id), allowed),
        OrderFrame,
        hub,
        context.reads,
        after,
    )


def store_orders(context: Context, hub: Following, store_id: UUID, after: str | None = None) -> AsyncGenerator[OrderFrame, None]:
    """The open orders, then every step of any order of the store. Refuses NotFound with the first frame."""

    async def snapshot() -> Snapshot[OrderChange]:
        if not await allowed():
            raise not_found("store")
        by = OrderFilter(status=OPEN, store_id=store_id)
        return await _as_of_now(context, await rows.first_orders(context.reads, context.actor, by, OPEN_ORDERS))

    async def allowed() -> bool:
        return await signed_in(context) and await may_serve(context.reads, context.actor, store_id)

    return follow(
        Feed("storeOrders", (store_id,), (store_id,), (OrderMoved,), snapshot, _changes(context, None), allowed),
        OrderFrame,
        hub,
        context.reads,
        after,
    )


def customer_orders(context: Context, hub: Following, after: str | None = None) -> AsyncGenerator[OrderFrame, None]:
    """The caller's open orders, then every step of any order of theirs. Refuses NotFound to who is no customer."""
    customer_id = context.actor.id
    if customer_id is None:
        raise not_found("customer")

    async def snapshot() -> Snapshot[OrderChange]:
        found = await rows.first_orders(context.reads, context.actor, OrderFilter(status=OPEN), OPEN_ORDERS)
        return await _as_of_now(context, found)

    async def allowed() -> bool:
        return await signed_in(context)

    return follow(
        Feed("customerOrders", (customer_id,), (customer_id,), (OrderMoved,), snapshot, _changes(context, None), allowed),
        OrderFrame,
        hub,
        context.reads,
        after,
    )


async def _as_of_now(context: Context, found: Sequence[OrderRow]) -> Snapshot[OrderChange]:
    versions = await rows.versions_of(context.reads, [one.id for one in found])
    items = [OrderChange(one.status, one.version, one.placed_at or one.created_at, one) for one in found]
    return Snapshot(items, versions | {(OrderMoved.stream, one.id): one.version for one in found})


def _changes(context: Context, order_id: UUID | None) -> Callable[[Sequence[Stamped]], Awaitable[Sequence[OrderChange]]]:
    async def changes(events: Sequence[Stamped]) -> Sequence[OrderChange]:
        said = [(step, at) for one in events for step, at in _steps(one, order_id)]
        found = await rows.orders_by_id(context.reads, context.actor, sorted({step[0] for step, _ in said}))
        orders = {one.id: one for one in found}
        return [OrderChange(OrderStatus(status), version, at, orders[id]) for (id, status, version), at in said if id in orders]

    return changes


def _steps(stamped: Stamped, order_id: UUID | None) -> list[tuple[tuple[UUID, str, int], datetime]]:
    """Where which order stood at this event."""
    match stamped.event:
        case OrderMoved() as moved:
            return [((moved.order_id, moved.status.value, moved.version), moved.at)]
        case DeliveryMoved() as moved:
            return [((moved.order.order_id, moved.order.status, moved.order.version), moved.at)]
        case PaymentMoved() as moved:
            return [((one.order_id, one.status, one.version), moved.at) for one in moved.orders if one.order_id == order_id]
        case _:
            return []
