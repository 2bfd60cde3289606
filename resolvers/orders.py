"""Orders and purchases: reading, placing, and what the store does with them."""

from uuid import UUID

from db import orders as rows
from db import payments, purchases
from db.orders import OrderFilter
from db.pages import Page
from domain import fulfilment, handover
from domain import payments as paying
from domain import purchases as placing
from domain.addresses import Address
from domain.identity import ActorKind
from domain.money import Money
from domain.orders import LIVE
from domain.payments import PaymentMethod, PaymentStatus
from domain.refusals import Refused, not_found
from resolvers.context import Context


async def order(context: Context, order_id: UUID) -> rows.OrderRow | None:
    found = await rows.orders_by_id(context.reads, context.actor, [order_id])
    return found[0] if found else None


async def order_by_number(context: Context, number: str) -> rows.OrderRow | None:
    return await rows.order_by_number(context.reads, context.actor, number)


async def orders(context: Context, by: OrderFilter, first: int | None, after: str | None) -> Page[rows.OrderRow]:
    return await rows.order_page(context.reads, context.actor, by, first, after)


async def purchase(context: Context, purchase_id: UUID) -> purchases.PurchaseRow | None:
    found = await purchases.purchases_by_id(context.reads, context.actor, [purchase_id])
    return found[0] if found else None


async def purchase_of(context: Context, row: rows.OrderRow) -> purchases.PurchaseRow | None:
    """The customer's and support's alone: a store must not learn what else was bought."""
    if context.actor.kind not in (ActorKind.CUSTOMER, ActorKind.SUPPORT):
        return None
    return await context.loaders.purchases.load(row.purchase_id)


def knows_customer(context: Context, row: rows.OrderRow) -> bool:
    """Whether the actor may read who the customer is and where: a rider only until the order has been delivered."""
    return context.actor.kind is not ActorKind.RIDER or row.status in LIVE


def address(context: Context, row: rows.OrderRow) -> Address | None:
    """The order's own copy, under the order's id."""
    return Address(row.id, row.place) if row.place is not None and knows_customer(context, row) else None


def handover_code(context: Context, row: rows.OrderRow) -> str | None:
    """The customer's alone: the rider must ask for it."""
    return row.code if context.actor.kind is ActorKind.CUSTOMER and context.actor.id == row.customer_id else None


def client_secret(context: Context, row: payments.PaymentRow) -> str | None:
    """The payer's alone."""
    return row.secret if context.actor.kind is ActorKind.CUSTOMER and context.actor.id == row.customer_id else None


async def place_order(context: Context, command: placing.PlaceOrder) -> purchases.PurchaseRow:
    """Refuses what domain.purchases.place_order refuses, PaymentDeclined, and Unavailable while the gateway is away:
    the purchase then waits, and the same call goes on with it. What was declined is declined again."""
    async with context.unit_of_work() as uow:
        purchase_id = await placing.place_order(command, context.actor, uow)
    await _begin_payment(context, purchase_id)
    placed = await purchase(context, purchase_id)
    if placed is None:
        raise not_found("purchase")
    return placed


async def _begin_payment(context: Context, purchase_id: UUID) -> None:
    """After the commit: no partner is called inside a transaction. Safe to repeat: the gateway knows the payment's id."""
    [payment] = await payments.payments_of(context.reads, [purchase_id])
    if payment.declined is not None:
        raise Refused(paying.PaymentDeclined(payment.declined))
    if (
        payment.method is PaymentMethod.CASH_ON_DELIVERY
        or payment.secret is not None
        or payment.status is not PaymentStatus.PENDING
    ):
        return
    try:
        begun = await context.ports.gateway.begin(payment.id, payment.amount, payment.method)
    except Refused as refused:
        if isinstance(refused.refusal, paying.PaymentDeclined):
            await _declined(context, payment.id, payment.amount, refused.refusal.message)
        raise
    async with context.unit_of_work() as uow:
        await uow.payments.begun(payment.id, begun)


async def _declined(context: Context, payment_id: UUID, amount: Money, message: str) -> None:
    async with context.unit_of_work() as uow:
        await placing.settle_payment(paying.SettlePayment(payment_id, captured=False, amount=amount, gateway_ref=None), uow)
        await uow.payments.declined(payment_id, message)


async def accept_order(context: Context, command: fulfilment.AcceptOrder) -> rows.OrderRow:
    async with context.unit_of_work() as uow:
        await fulfilment.accept_order(command, context.actor, uow)
    return await _changed(context, command.order_id)


async def reject_order(context: Context, command: fulfilment.RejectOrder) -> rows.OrderRow:
    async with context.unit_of_work() as uow:
        await fulfilment.reject_order(command, context.actor, uow)
    return await _changed(context, command.order_id)


async def mark_order_ready(context: Context, command: fulfilment.MarkOrderReady) -> rows.OrderRow:
    async with context.unit_of_work() as uow:
        await fulfilment.mark_order_ready(command, context.actor, uow)
    return await _changed(context, command.order_id)


async def cancel_order(context: Context, command: fulfilment.CancelOrder) -> rows.OrderRow:
    async with context.unit_of_work() as uow:
        await fulfilment.cancel_order(command, context.actor, uow)
    return await _changed(context, command.order_id)


async def hand_over_order(context: Context, command: fulfilment.HandOverOrder) -> rows.OrderRow:
    """Refuses NotFound, WrongState, WrongCode: a wrong try has been counted by then."""
    async with context.unit_of_work() as uow:
        wrong = await fulfilment.hand_over_order(command, context.actor, uow)
    if wrong is not None:
        raise Refused(wrong)
    return await _changed(context, command.order_id)


async def renew_order_code_tries(context: Context, order_id: UUID) -> rows.OrderRow:
    async with context.unit_of_work() as uow:
        await handover.renew_order_code_tries(order_id, context.actor, uow)
    return await _changed(context, order_id)


async def _changed(context: Context, order_id: UUID) -> rows.OrderRow:
    """After the commit: the answer is what stands."""
    changed = await order(context, order_id)
    if changed is None:
        raise not_found("order")
    return changed
