"""What becomes of a placed order in the store, and how it ends early."""

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING
from uuid import UUID

from domain import at_risk, delivery, orders, purchases, stock
from domain.handover import WrongCode, check_code
from domain.identity import CLOCK, Actor, ActorKind
from domain.money import Money
from domain.orders import Fulfilment, LockedOrder, OrderStatus, ReasonCode, Times
from domain.payments import PaymentMethod
from domain.refusals import Refused

if TYPE_CHECKING:
    from domain.unit_of_work import UnitOfWork

RIDE = timedelta(minutes=20)


@dataclass(frozen=True)
class AcceptOrder:
    order_id: UUID
    prep_minutes: int | None
    note: str | None = None


@dataclass(frozen=True)
class RejectOrder:
    order_id: UUID
    reason: ReasonCode
    note: str | None


@dataclass(frozen=True)
class MarkOrderReady:
    order_id: UUID


@dataclass(frozen=True)
class CancelOrder:
    order_id: UUID
    reason: ReasonCode
    note: str | None


@dataclass(frozen=True)
class HandOverOrder:
    order_id: UUID
    code: str


async def accept_order(command: AcceptOrder, actor: Actor, uow: "UnitOfWork") -> None:
    """Refuses NotFound, WrongState, InvalidInput."""
    orders.check_prep_minutes(command.prep_minutes)
    order = await orders.lock(command.order_id, actor, uow)
    now = await uow.now()
    prep = order.prep_minutes if command.prep_minutes is None else command.prep_minutes
    promised = now + timedelta(minutes=prep) + (timedelta() if order.fulfilment is Fulfilment.PICKUP else RIDE)
    accepted = await orders.move(
        order, OrderStatus.ACCEPTED, actor, uow,
        times=Times(accepted_at=now, promised_at=promised, prep_minutes=prep), note=command.note,
    )  # fmt: skip
    cash = await _cash_due(accepted, uow)
    await delivery.begin(accepted, cash, actor, uow)
    if actor.kind is ActorKind.SOURCE:  # the till has it in its books now: so have we
        await _sell(accepted, actor, uow)


async def _cash_due(order: LockedOrder, uow: "UnitOfWork") -> Money:
    cash = await uow.payments.method_of(order.purchase_id) is PaymentMethod.CASH_ON_DELIVERY
    return order.total if cash else Money(0, order.total.currency)


async def reject_order(command: RejectOrder, actor: Actor, uow: "UnitOfWork") -> None:
    """Refuses NotFound, WrongState, InvalidInput."""
    orders.check_note(command.note)
    order = await orders.lock(command.order_id, actor, uow)
    await _end(order, OrderStatus.REJECTED, actor, uow, command.reason, command.note)


async def cancel_order(command: CancelOrder, actor: Actor, uow: "UnitOfWork") -> None:
    """Refuses NotFound, WrongState, InvalidInput."""
    orders.check_note(command.note)
    order = await orders.lock(command.order_id, actor, uow)
    await _end(order, OrderStatus.CANCELLED, actor, uow, command.reason, command.note)


async def expire_order(order_id: UUID, uow: "UnitOfWork") -> None:
    """By the clock, where no store has answered in time. Safe to repeat: what was answered meanwhile stays."""
    order = await uow.orders.lock(order_id, CLOCK)
    if order is not None and order.status is OrderStatus.PLACED:
        await _end(order, OrderStatus.EXPIRED, CLOCK, uow, ReasonCode.TIMEOUT, None)


async def _end(order: LockedOrder, end: OrderStatus, actor: Actor, uow: "UnitOfWork", reason: ReasonCode, note: str | None) -> None:
    """Before the goods leave: the delivery ends, the money and the units go back."""
    ended = await orders.move(order, end, actor, uow, times=Times(ended_at=await uow.now()), reason=reason, note=note)
    await delivery.cancel(ended, actor, uow, reason)
    await purchases.refund_order(ended, uow)
    await stock.give_back([ended.id], uow)


async def mark_order_ready(command: MarkOrderReady, actor: Actor, uow: "UnitOfWork") -> None:
    """Refuses NotFound, WrongState."""
    order = await orders.lock(command.order_id, actor, uow)
    await orders.move(order, OrderStatus.READY, actor, uow)


async def pick_up(order: LockedOrder, actor: Actor, uow: "UnitOfWork", note: str | None = None) -> LockedOrder:
    """The goods leave the store: READY first where nobody has said so. Refuses WrongState.

    Their stock is sold by `leave`, after the delivery has moved: locks have one order.
    """
    if order.status is OrderStatus.ACCEPTED:
        order = await orders.move(order, OrderStatus.READY, actor, uow)
    return await orders.move(order, OrderStatus.PICKED_UP, actor, uow, times=Times(picked_up_at=await uow.now()), note=note)


async def leave(order: LockedOrder, actor: Actor, uow: "UnitOfWork") -> None:
    """The last step of a transaction in which goods left: they are sold. What was sold already is not sold again."""
    await _sell(order, actor, uow)


async def bring(order: LockedOrder, actor: Actor, uow: "UnitOfWork", note: str | None = None) -> LockedOrder:
    """The store's own people have brought it, and its source says so: cash is collected. Picked up first where nobody has said
    so. Refuses WrongState.

    The last step but `leave`, as for `pick_up`.
    """
    if order.status is not OrderStatus.PICKED_UP:
        order = await pick_up(order, actor, uow)
    done = await orders.move(order, OrderStatus.DELIVERED, actor, uow, times=Times(ended_at=await uow.now()), note=note)
    await purchases.collect_cash(done, uow)
    return done


async def hand_over_order(command: HandOverOrder, actor: Actor, uow: "UnitOfWork") -> WrongCode | None:
    """A customer collects, or the store's own people bring it, and shows the code. A wrong one is counted and returned,
    not raised: see `check_code`.

    Refuses NotFound, WrongState.
    """
    order = await orders.lock(command.order_id, actor, uow)
    if order.fulfilment is Fulfilment.DELIVERY:
        raise Refused(orders.WrongState("a rider brings this order", order.status))
    orders.check_move(order.status, OrderStatus.DELIVERED, actor.kind)
    if (wrong := await check_code(command.code, order, uow)) is not None:
        return wrong
    now = await uow.now()
    done = await orders.move(order, OrderStatus.DELIVERED, actor, uow, times=Times(picked_up_at=now, ended_at=now))
    await purchases.collect_cash(done, uow)
    await _sell(done, actor, uow)
    return None


async def _sell(order: LockedOrder, actor: Actor, uow: "UnitOfWork") -> None:
    """A sale of more than was counted is an event on the order, never an error. What is sold is at risk no more, unless its
    store has said that some of it is missing."""
    still = order.short and order.status in orders.IN_STORE
    short = await stock.sell(order.id, uow)
    if short:
        names = await uow.orders.names(order.id)  # the customer reads this: no ids of ours
        missing = ", ".join(f"{sale.missing} of {names[sale.listing_id]}" for sale in short)
        noted = await uow.orders.noted(order, at_risk=still)
        await uow.events.add(await orders.step(noted, actor, uow, note=f"sold more than was counted: {missing}"))
    elif order.at_risk and not still:
        noted = await uow.orders.noted(order, at_risk=False)
        await uow.events.add(await orders.step(noted, actor, uow, note=at_risk.OVER))
