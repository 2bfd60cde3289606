"""Orders whose units are not there any more, because somebody counted fewer than are promised."""

from typing import TYPE_CHECKING
from uuid import UUID

from domain import orders
from domain.identity import CLOCK

if TYPE_CHECKING:
    from domain.unit_of_work import UnitOfWork

BEFORE_LEAVING = (
    orders.OrderStatus.PAYMENT_PENDING,
    orders.OrderStatus.PLACED,
    orders.OrderStatus.ACCEPTED,
    orders.OrderStatus.READY,
)


async def review(order_id: UUID, uow: "UnitOfWork") -> None:
    """Marks the order, or takes the mark away, with an event that says so. Safe to repeat.

    In a transaction of its own, after the count: the count holds the level, and an order is locked before its levels.
    """
    order = await uow.orders.lock(order_id, CLOCK)
    if order is None or order.status not in BEFORE_LEAVING:
        return
    at_risk = await uow.stock.at_risk(order_id)
    if at_risk != order.at_risk:
        noted = await uow.orders.noted(order, at_risk=at_risk)
        note = "at risk: fewer units were counted than are promised" if at_risk else "no longer at risk"
        await uow.events.add(await orders.step(noted, CLOCK, uow, note=note))
