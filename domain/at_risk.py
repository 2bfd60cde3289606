"""Orders whose units are not there any more, because somebody counted fewer than are promised."""

from typing import TYPE_CHECKING
from uuid import UUID

from domain import orders
from domain.identity import CLOCK

if TYPE_CHECKING:
    from domain.unit_of_work import UnitOfWork

BEGUN, OVER = "at risk: fewer units were counted than are promised", "no longer at risk"


async def review(order_id: UUID, uow: "UnitOfWork") -> None:
    """Marks the order, or takes the mark away, with an event that says so. Safe to repeat.

    In a transaction of its own, after the count: the count holds the level, and an order is locked before its levels.
    """
    order = await uow.orders.lock(order_id, CLOCK)
    if order is None or order.status not in orders.IN_STORE:
        return
    at_risk = await uow.stock.at_risk(order_id)
    if at_risk != order.at_risk:
        noted = await uow.orders.noted(order, at_risk=at_risk)
        await uow.events.add(await orders.step(noted, CLOCK, uow, note=BEGUN if at_risk else OVER))
