"""Placing: a quote becomes one purchase, exactly once, and its end where an order does not come to be."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol
from uuid import UUID

from domain import cart, orders, payments, stock
from domain.idempotency import claim
from domain.identity import CLOCK, Actor, ActorKind
from domain.money import Money
from domain.orders import LockedOrder, OrderStatus, Sibling, Times
from domain.payments import CashNotAllowed, LockedPayment, OrderNow, PaymentMethod, PaymentMoved, PaymentStatus, SettlePayment
from domain.places import PostalAddress
from domain.quotes import QuotePart, StoreClosed
from domain.refusals import Conflict, Kind, Refusal, Refused, not_found

if TYPE_CHECKING:
    from domain.unit_of_work import UnitOfWork


@dataclass(frozen=True)
class PlaceOrder:
    quote_id: UUID
    method: PaymentMethod
    idempotency_key: str


@dataclass(frozen=True)
class QuoteExpired(Refusal):
    code, kind = "QUOTE_EXPIRED", Kind.CONFLICT


@dataclass(frozen=True)
class NewOrder:
    """An order as it is first written."""

    locked: LockedOrder
    part: QuotePart
    address: PostalAddress | None
    times: Times


class PurchaseStore(Protocol):
    async def add(
        self, purchase_id: UUID, number: str, quote_id: UUID, customer_id: UUID, total: Money, new: Sequence[NewOrder]
    ) -> None:
        """The purchase, its orders and their lines."""


async def place_order(command: PlaceOrder, actor: Actor, uow: "UnitOfWork") -> UUID:
    """The purchase of this quote: made now, or made before by the same key, or by another key of the same customer.

    Refuses QuoteExpired, NotEnoughStock, StoreClosed, CashNotAllowed, KeyReused, NotFound, InvalidInput.
    """
    assert actor.id is not None
    request = (command.quote_id, command.method.value)
    claimed = await claim(actor, "placeOrder", command.idempotency_key, request, uow.new_id(), uow)
    if not claimed.first:
        return claimed.result_id
    cart_id, lines = await uow.carts.lock(actor.id)  # a change of it under way must not bring back what is bought here
    quote = await uow.quotes.lock(command.quote_id, actor)
    if quote is None:
        raise not_found("quote")
    if quote.purchase_id is not None:
        await uow.idempotency.point(actor.id, "placeOrder", command.idempotency_key, quote.purchase_id)
        return quote.purchase_id
    now = await uow.now()
    if quote.ended_at is not None or quote.expires_at <= now:
        raise Refused(QuoteExpired("the promise is over: ask for a new quote"))
    stores = await uow.quotes.stores(sorted(part.store_id for part in quote.parts))
    cash = command.method is PaymentMethod.CASH_ON_DELIVERY
    for part in quote.parts:
        if not stores[part.store_id].is_open:
            raise Refused(StoreClosed("the store takes no orders now", part.store_id, stores[part.store_id].opens_at))
        if cash and not stores[part.store_id].cash_allowed:
            raise Refused(CashNotAllowed("the store takes no cash"))
    purchase_id = claimed.result_id
    status = OrderStatus.PLACED if cash else OrderStatus.PAYMENT_PENDING
    times = Times(placed_at=now, accept_by=now + orders.ACCEPT_WITHIN) if cash else Times()
    new = [
        NewOrder(
            LockedOrder(
                uow.new_id(), uow.new_number(), purchase_id, part.store_id, part.merchant_id, actor.id, status, 1, part.fulfilment,
                part.total, Money(0, part.total.currency), stores[part.store_id].prep_minutes, uow.new_code(), orders.CODE_TRIES,
                at_risk=False,
            ),
            part,
            quote.address,
            times,
        )
        for part in quote.parts
    ]  # fmt: skip
    await uow.purchases.add(purchase_id, uow.new_number(), quote.id, actor.id, quote.total, new)
    payment = LockedPayment(
        uow.new_id(), purchase_id, command.method, PaymentStatus.CASH_DUE if cash else PaymentStatus.PENDING, 1, quote.total,
        Money(0, quote.total.currency), None,
    )  # fmt: skip
    await uow.payments.add(payment, None if cash else uow.gateway, None if cash else now + payments.PAY_WITHIN)
    await uow.quotes.placed(quote.id, purchase_id)
    bought = [(line.listing_id, tuple(line.modifier_ids), line.note, line.quantity) for part in quote.parts for line in part.lines]
    emptied = await cart.replace_lines(cart_id, actor.id, lines, cart.without(lines, bought), uow)
    # Stock last: its rows are the hottest, and are held the shortest.
    by_listing = {line.listing_id: one.locked.id for one in new for line in one.part.lines if line.listing_id in quote.held}
    allocated = await uow.stock.allocate(quote.id, by_listing)
    if allocated.units != quote.held:
        raise Refused(QuoteExpired("the promise is over: ask for a new quote"))
    await uow.events.add(
        *[await orders.step(one.locked, actor, uow, at=now) for one in new],
        PaymentMoved(payment.id, 1, payment.status, now, purchase_id, actor.id, [_now(one.locked) for one in new]),
        *map(stock.StockChanged, allocated.changed),
        *emptied,
    )
    return purchase_id


def _now(order: LockedOrder) -> OrderNow:
    return OrderNow(order.id, order.status.value, order.version)


# ---------------------------------------------------------------- the gateway's word


GATEWAY = Actor(ActorKind.SOURCE)


async def settle_payment(command: SettlePayment, uow: "UnitOfWork") -> None:
    """Places the orders, or gives their units back. Said twice is said once; money that comes too late is owed back.

    Refuses NotFound, Conflict (another amount, currency or reference than ours).
    """
    purchase_id = await uow.payments.purchase_of(command.payment_id)
    if purchase_id is None:
        raise not_found("payment")
    locked = await uow.orders.lock_purchase(purchase_id)
    payment = await uow.payments.lock(purchase_id)
    if (payment.amount, payment.gateway_ref) != (command.amount, command.gateway_ref):
        raise Refused(Conflict("the gateway speaks of another amount or payment than ours"))
    if payment.status is PaymentStatus.PENDING:
        await (_capture if command.captured else _fail)(payment, locked, uow)
    elif command.captured and payment.status in (PaymentStatus.VOIDED, PaymentStatus.FAILED):
        await uow.payments.owe(uow.new_id(), payment.id, None, payment.amount, "paid after the order had ended")


async def _capture(payment: LockedPayment, locked: Sequence[LockedOrder], uow: "UnitOfWork") -> None:
    now = await uow.now()
    times = Times(placed_at=now, accept_by=now + orders.ACCEPT_WITHIN)
    placed = [
        await orders.move(order, OrderStatus.PLACED, GATEWAY, uow, times=times)
        if order.status is OrderStatus.PAYMENT_PENDING
        else order
        for order in locked
    ]
    customer_id, states = locked[0].customer_id, [_now(order) for order in placed]
    payment = await payments.move(payment, PaymentStatus.AUTHORIZED, customer_id, states, uow)
    payment = await payments.move(payment, PaymentStatus.CAPTURED, customer_id, states, uow)
    for order in placed:  # one that was cancelled while the customer paid
        if order.status in orders.CANCELLED:
            payment = await _give_back_share(payment, order, states, uow)


async def _fail(payment: LockedPayment, locked: Sequence[LockedOrder], uow: "UnitOfWork") -> None:
    times = Times(ended_at=await uow.now())
    reason = orders.ReasonCode.PAYMENT_FAILED
    ended = [
        await orders.move(order, OrderStatus.CANCELLED, GATEWAY, uow, times=times, reason=reason)
        if order.status is OrderStatus.PAYMENT_PENDING
        else order
        for order in locked
    ]
    await payments.move(payment, PaymentStatus.FAILED, locked[0].customer_id, [_now(order) for order in ended], uow)
    await stock.give_back([order.id for order in locked], uow)


# ---------------------------------------------------------------- an order that does not come to be


async def expire_unpaid(purchase_id: UUID, uow: "UnitOfWork") -> None:
    """By the clock, past `pay_by`. Safe to repeat: what has been paid meanwhile stays."""
    locked = await uow.orders.lock_purchase(purchase_id)
    payment = await uow.payments.lock(purchase_id)
    if payment.status is not PaymentStatus.PENDING:
        return
    times = Times(ended_at=await uow.now())
    waiting = [order for order in locked if order.status is OrderStatus.PAYMENT_PENDING]
    ended = [
        await orders.move(order, OrderStatus.EXPIRED, CLOCK, uow, times=times, reason=orders.ReasonCode.TIMEOUT)
        for order in waiting
    ]
    await payments.move(payment, PaymentStatus.VOIDED, locked[0].customer_id, [_now(order) for order in ended], uow)
    await stock.give_back([order.id for order in locked], uow)


async def refund_order(order: LockedOrder, uow: "UnitOfWork") -> None:
    """An order has ended and its customer has not got it: what was charged for it goes back, less what went back before.

    What was to be collected for it in cash is due no more.
    """
    payment, siblings = await _account(order, uow)
    if payment.status in payments.HOLDS_MONEY:
        await _give_back_share(payment, order, _states(siblings), uow)
    elif all(one.fell_through for one in siblings):
        if payment.status in (PaymentStatus.PENDING, PaymentStatus.CASH_DUE):
            await payments.move(payment, PaymentStatus.VOIDED, order.customer_id, _states(siblings), uow)
    elif payment.status is PaymentStatus.CASH_DUE:
        due = Money(sum(one.total.minor for one in siblings if not one.fell_through), payment.amount.currency)
        payment = await payments.move(payment, PaymentStatus.CASH_DUE, order.customer_id, _states(siblings), uow, amount=due)
        await _collect_if_done(payment, siblings, order, uow)


async def collect_cash(order: LockedOrder, uow: "UnitOfWork") -> None:
    """At the door. The payment is collected when no order of the purchase is still on its way."""
    await _collect_if_done(*await _account(order, uow), order=order, uow=uow)


async def _account(order: LockedOrder, uow: "UnitOfWork") -> tuple[LockedPayment, Sequence[Sibling]]:
    payment = await uow.payments.lock(order.purchase_id)
    # After the payment's lock: of two orders that end at once, one sees that the other has.
    return payment, await uow.orders.siblings(order.purchase_id)


async def _collect_if_done(payment: LockedPayment, siblings: Sequence[Sibling], order: LockedOrder, uow: "UnitOfWork") -> None:
    if payment.status is PaymentStatus.CASH_DUE and all(one.ended for one in siblings):
        await payments.move(payment, PaymentStatus.CASH_COLLECTED, order.customer_id, _states(siblings), uow)


def _states(siblings: Sequence[Sibling]) -> list[OrderNow]:
    return [OrderNow(one.id, one.status.value, one.version) for one in siblings]


async def _give_back_share(
    payment: LockedPayment, order: LockedOrder, states: Sequence[OrderNow], uow: "UnitOfWork"
) -> LockedPayment:
    share = order.total - order.refunded
    if share.minor <= 0 or not await uow.payments.owe(uow.new_id(), payment.id, order.id, share, "order ended"):
        return payment
    await uow.orders.refunded(order, order.refunded + share)
    refunded = payment.refunded + share
    end = PaymentStatus.REFUNDED if refunded == payment.amount else PaymentStatus.PARTLY_REFUNDED
    return await payments.move(payment, end, order.customer_id, states, uow, refunded)
