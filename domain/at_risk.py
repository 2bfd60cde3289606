"""Orders whose units are not there any more: somebody counted fewer than are promised, or the store found fewer."""

from typing import TYPE_CHECKING
from uuid import UUID

from domain import orders
from domain.identity import CLOCK, Actor
from domain.orders import LockedOrder

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
    at_risk = await uow.stock.at_risk(order_id) or order.short
    if at_risk != order.at_risk:
        noted = await uow.orders.noted(order, at_risk=at_risk)
        await uow.events.add(await orders.step(noted, CLOCK, uow, note=BEGUN if at_risk else OVER))


async def fall_short(order: LockedOrder, note: str, actor: Actor, uow: "UnitOfWork") -> None:
    """The store has looked for it and says what is missing: a step that its parties read. Said again in the same words, or
    once the order has ended, it changes nothing."""
    if order.ended or order.status not in orders.LIVE or await uow.orders.said(order.id, note):
        return
    in_store = order.status in orders.IN_STORE
    told = await uow.orders.fell_short(order) if in_store else await uow.orders.noted(order, at_risk=False)
    await uow.events.add(await orders.step(told, actor, uow, note=note))
