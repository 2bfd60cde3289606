"""From a cart to a purchase and to every end an order can have, on the real database."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import Text, cast, func, select, update
from sqlalchemy.ext.asyncio import AsyncEngine

from db import ledger, orders, payments
from db import tables as t
from db.ids import new_id
from db.reads import Reads
from db.unit_of_work import unit_of_work
from domain.cart import LineChange, update_lines
from domain.choices import OfferedGroup, OfferedGroups, UpsertedGroup, UpsertedModifier, apply_modifier_groups
from domain.counting import Count, apply_counts
from domain.fulfilment import (
    AcceptOrder,
    CancelOrder,
    HandOverOrder,
    MarkOrderReady,
    RejectOrder,
    accept_order,
    cancel_order,
    expire_order,
    hand_over_order,
    mark_order_ready,
    reject_order,
)
from domain.handover import WrongCode, renew_order_code_tries
from domain.idempotency import KeyReused
from domain.identity import Actor, ActorKind
from domain.merchants import SetStoreStatus, StoreStatus, set_store_status
from domain.money import Money
from domain.orders import Fulfilment, OrderStatus, ReasonCode, WrongState
from domain.payments import Begun, PaymentMethod, PaymentStatus, SettlePayment
from domain.purchases import PlaceOrder, QuoteExpired, expire_unpaid, place_order, settle_payment
from domain.quotes import BelowMinimum, EmptyCart, LimitExceeded, OutOfArea, QuoteCart, StoreClosed, quote_cart
from domain.refusals import Conflict, NotFound, Refused
from domain.riders import FailDelivery, deliver, fail_delivery, pick_up
from domain.stock import NotEnoughStock
from domain.unit_of_work import UnitOfWork
from tests.partners import partner
from tests.trips import another
from tests.world import HOME, Shop, account, listing, shop

CASH, CARD = PaymentMethod.CASH_ON_DELIVERY, PaymentMethod.CARD


@pytest.fixture
def reads(engine: AsyncEngine) -> Reads:
    return Reads(engine)


async def do(engine: AsyncEngine, work: Callable[[UnitOfWork], Awaitable[Any]]) -> Any:
    async with unit_of_work(engine) as uow:
        return await work(uow)


async def fill(engine: AsyncEngine, customer: Actor, **units: int) -> None:
    changes = [LineChange(None, UUID(id), quantity) for id, quantity in units.items()]
    await do(engine, lambda uow: update_lines(changes, customer, uow))


async def quoted(
    engine: AsyncEngine, customer: Actor, *lines: tuple[UUID, int], fulfilment: Fulfilment = Fulfilment.DELIVERY
) -> UUID:
    await fill(engine, customer, **{str(id): units for id, units in lines})
    command = QuoteCart(HOME, None, fulfilment, None)
    return await do(engine, lambda uow: quote_cart(command, customer, uow))


async def placed(engine: AsyncEngine, customer: Actor, quote_id: UUID, method: PaymentMethod = CASH, key: str = "k") -> UUID:
    return await do(engine, lambda uow: place_order(PlaceOrder(quote_id, method, key), customer, uow))


async def refused(work: Awaitable[object]) -> object:
    with pytest.raises(Refused) as no:
        await work
    return no.value.refusal


async def the_order(reads: Reads, customer: Actor, purchase_id: UUID) -> orders.OrderRow:
    [order] = await orders.orders_of_purchases(reads, customer, [purchase_id])
    return order


async def paid_by_card(engine: AsyncEngine, reads: Reads, purchase_id: UUID) -> payments.PaymentRow:
    [payment] = await payments.payments_of(reads, [purchase_id])
    await do(engine, lambda uow: uow.payments.begun(payment.id, Begun(f"secret-{payment.id}", f"ref-{payment.id}")))
    return payment


def says(payment: payments.PaymentRow, *, captured: bool, minor: int | None = None) -> SettlePayment:
    amount = payment.amount if minor is None else Money(minor, "INR")
    return SettlePayment(payment.id, captured, amount, f"ref-{payment.id}")


async def counters(engine: AsyncEngine, listing_id: UUID) -> tuple[int, int, int]:
    level = t.stock_level.c
    async with engine.connect() as connection:
        found = await connection.execute(select(level.on_hand, level.held, level.allocated).where(level.listing_id == listing_id))
        return tuple(found.one())


async def payment_of(reads: Reads, purchase_id: UUID) -> tuple[PaymentStatus, int]:
    [payment] = await payments.payments_of(reads, [purchase_id])
    return payment.status, payment.refunded.minor


async def test_a_purchase_over_two_stores_is_one_payment_and_an_order_each(engine, reads):
    grocer, baker = await shop(engine, delivery_minor=3000), await shop(engine, packaging_minor=500)
    tea, bread = await listing(engine, grocer, 5), await listing(engine, baker, 5, price_minor=4000)
    customer = await account(engine)
    quote_id = await quoted(engine, customer, (tea, 2), (bread, 1))
    assert await counters(engine, tea) == (5, 2, 0)
    purchase_id = await placed(engine, customer, quote_id)
    found = await orders.orders_of_purchases(reads, customer, [purchase_id])
    assert sorted(order.total.minor for order in found) == [4500, 13000]
    [payment] = await payments.payments_of(reads, [purchase_id])
    assert (payment.amount.minor, payment.status) == (17500, PaymentStatus.CASH_DUE)
    assert await counters(engine, tea) == (5, 0, 2)
    assert [
        (charge.rule, charge.amount.minor) for order in found for charge in order.charges if order.store_id == baker.store_id
    ] == [
        ("items", 4000),
        ("packaging", 500),
        ("delivery-flat", 0),
    ]


async def test_the_same_key_fifty_times_at_once_is_one_purchase(engine, reads):
    tea, customer = await listing(engine, await shop(engine), 5), await account(engine)
    quote_id = await quoted(engine, customer, (tea, 1))
    answers = await asyncio.gather(*(placed(engine, customer, quote_id) for _ in range(50)))
    assert len(set(answers)) == 1
    async with engine.connect() as connection:
        count = await connection.scalar(select(func.count()).where(t.purchase.c.customer_id == customer.id))
    assert count == 1
    other = await refused(placed(engine, customer, quote_id, CARD))
    assert isinstance(other, KeyReused)


async def test_the_same_quote_by_another_key_is_the_same_purchase_and_a_strangers_is_not_there(engine):
    tea, customer = await listing(engine, await shop(engine), 5), await account(engine)
    quote_id = await quoted(engine, customer, (tea, 1))
    first = await placed(engine, customer, quote_id, key="one")
    assert await placed(engine, customer, quote_id, key="two") == first
    assert await placed(engine, customer, quote_id, key="two") == first
    assert isinstance(await refused(placed(engine, await account(engine), quote_id)), NotFound)


async def test_an_expired_quote_places_nothing_and_may_be_quoted_again(engine):
    tea, customer = await listing(engine, await shop(engine), 5), await account(engine)
    quote_id = await quoted(engine, customer, (tea, 1))
    async with engine.begin() as connection:
        ago = datetime.now(UTC) - timedelta(seconds=1)
        await connection.execute(update(t.quote).where(t.quote.c.id == quote_id).values(expires_at=ago))
        await connection.execute(update(t.stock_hold).where(t.stock_hold.c.quote_id == quote_id).values(expires_at=ago))
    assert isinstance(await refused(placed(engine, customer, quote_id)), QuoteExpired)
    assert await placed(engine, customer, await do(engine, lambda uow: quote_cart(_home(), customer, uow)))


def _home() -> QuoteCart:
    return QuoteCart(HOME, None, Fulfilment.DELIVERY, None)


async def test_a_quote_says_why_there_is_none(engine):
    customer = await account(engine)
    assert isinstance(await refused(do(engine, lambda uow: quote_cart(_home(), customer, uow))), EmptyCart)
    closed = await shop(engine, status="PAUSED")
    far = await shop(engine, lat=13.5)
    dear = await shop(engine, minimum_minor=100_000)
    for town, kind in ((closed, StoreClosed), (far, OutOfArea), (dear, BelowMinimum)):
        somebody = await account(engine)
        tea = await listing(engine, town, 5)
        refusal = await refused(quoted(engine, somebody, (tea, 1)))
        assert isinstance(refusal, kind), refusal
    limited = await listing(engine, await shop(engine), 500, max_per_order=3)
    assert isinstance(await refused(quoted(engine, customer, (limited, 4))), LimitExceeded)


async def extra(engine: AsyncEngine, town: Shop, tea: UUID) -> UUID:
    """A choice the tea is offered with."""
    group = UpsertedGroup(town.store_id, "milk", "Milk", [UpsertedModifier("oat", "Oat milk")])
    offer = OfferedGroups(tea, [OfferedGroup("milk", 0, 1)])
    await do(engine, lambda uow: apply_modifier_groups([group], [offer], uow))
    async with engine.connect() as connection:
        found = await connection.execute(select(t.modifier.c.id).where(t.modifier.c.store_id == town.store_id))
        return found.scalar_one()


@pytest.mark.parametrize("apart_by", ["note", "choice"])
async def test_several_lines_of_one_listing_are_of_one_stock(engine, apart_by):
    town = await shop(engine)
    tea, customer = await listing(engine, town, 5), await account(engine)
    choices = (await extra(engine, town, tea),) if apart_by == "choice" else ()
    note = "hot, please" if apart_by == "note" else None

    async def fill_and_quote(*units: int) -> UUID:
        none = [LineChange(None, tea, 0), LineChange(None, tea, 0, choices, note)]
        lines = [LineChange(None, tea, units[0]), LineChange(None, tea, units[1], choices, note)]
        await do(engine, lambda uow: update_lines([*none, *lines], customer, uow))
        return await do(engine, lambda uow: quote_cart(_home(), customer, uow))

    no = await refused(fill_and_quote(3, 3))  # each fits alone
    assert isinstance(no, NotEnoughStock)
    assert [(short.listing_id, short.wanted, short.available) for short in no.short] == [(tea, 6, 5)]
    assert await counters(engine, tea) == (5, 0, 0)
    quote_id = await fill_and_quote(3, 2)
    assert await counters(engine, tea) == (5, 5, 0)
    await placed(engine, customer, quote_id)
    assert await counters(engine, tea) == (5, 0, 5)


async def test_a_refused_quote_leaves_the_one_before_as_it_was(engine):
    tea, customer = await listing(engine, await shop(engine), 5), await account(engine)
    first = await quoted(engine, customer, (tea, 3))
    await refused(quoted(engine, customer, (tea, 3)))  # six now, of five
    assert await counters(engine, tea) == (5, 3, 0)
    assert await placed(engine, customer, first)


async def test_a_card_payment_is_placed_by_the_gateways_word_once(engine, reads):
    tea, customer = await listing(engine, await shop(engine), 5), await account(engine)
    purchase_id = await placed(engine, customer, await quoted(engine, customer, (tea, 2)), CARD)
    assert (await the_order(reads, customer, purchase_id)).status is OrderStatus.PAYMENT_PENDING
    payment = await paid_by_card(engine, reads, purchase_id)
    wrong = await refused(do(engine, lambda uow: settle_payment(says(payment, captured=True, minor=1), uow)))
    assert isinstance(wrong, Conflict)
    for _ in range(2):
        await do(engine, lambda uow: settle_payment(says(payment, captured=True), uow))
    assert (await the_order(reads, customer, purchase_id)).status is OrderStatus.PLACED
    assert await payment_of(reads, purchase_id) == (PaymentStatus.CAPTURED, 0)


async def test_a_declined_card_gives_the_units_back(engine, reads):
    tea, customer = await listing(engine, await shop(engine), 5), await account(engine)
    purchase_id = await placed(engine, customer, await quoted(engine, customer, (tea, 2)), CARD)
    payment = await paid_by_card(engine, reads, purchase_id)
    await do(engine, lambda uow: settle_payment(says(payment, captured=False), uow))
    assert (await the_order(reads, customer, purchase_id)).status is OrderStatus.CANCELLED
    assert await counters(engine, tea) == (5, 0, 0)


async def test_money_that_comes_after_the_time_is_owed_back(engine, reads):
    tea, customer = await listing(engine, await shop(engine), 5), await account(engine)
    purchase_id = await placed(engine, customer, await quoted(engine, customer, (tea, 2)), CARD)
    payment = await paid_by_card(engine, reads, purchase_id)
    for _ in range(2):
        await do(engine, lambda uow: expire_unpaid(purchase_id, uow))
    assert (await the_order(reads, customer, purchase_id)).status is OrderStatus.EXPIRED
    assert await counters(engine, tea) == (5, 0, 0)
    for _ in range(2):
        await do(engine, lambda uow: settle_payment(says(payment, captured=True), uow))
    mine = [due.amount.minor for due in await payments.due_refunds(reads, 1000) if due.gateway_ref == f"ref-{payment.id}"]
    assert mine == [payment.amount.minor]


async def test_a_rejected_order_of_two_gives_its_own_share_back(engine, reads):
    grocer, baker = await shop(engine, delivery_minor=3000), await shop(engine)
    tea, bread = await listing(engine, grocer, 5), await listing(engine, baker, 5)
    customer = await account(engine)
    purchase_id = await placed(engine, customer, await quoted(engine, customer, (tea, 1), (bread, 1)), CARD)
    payment = await paid_by_card(engine, reads, purchase_id)
    await do(engine, lambda uow: settle_payment(says(payment, captured=True), uow))
    found = {order.store_id: order for order in await orders.orders_of_purchases(reads, customer, [purchase_id])}
    reject = RejectOrder(found[grocer.store_id].id, ReasonCode.OUT_OF_STOCK, "no tea")
    await do(engine, lambda uow: reject_order(reject, grocer.owner, uow))
    assert await payment_of(reads, purchase_id) == (PaymentStatus.PARTLY_REFUNDED, 8000)
    assert await counters(engine, tea) == (5, 0, 0)
    cancel = CancelOrder(found[baker.store_id].id, ReasonCode.CUSTOMER_ASKED, None)
    await do(engine, lambda uow: cancel_order(cancel, customer, uow))
    assert await payment_of(reads, purchase_id) == (PaymentStatus.REFUNDED, 13000)
    assert isinstance(await refused(do(engine, lambda uow: cancel_order(cancel, customer, uow))), WrongState)


async def test_cash_is_void_when_every_order_has_ended(engine, reads):
    tea, customer = await listing(engine, await shop(engine), 5), await account(engine)
    purchase_id = await placed(engine, customer, await quoted(engine, customer, (tea, 1)))
    order = await the_order(reads, customer, purchase_id)
    for _ in range(2):
        await do(engine, lambda uow: expire_order(order.id, uow))
    assert (await the_order(reads, customer, purchase_id)).status is OrderStatus.EXPIRED
    assert await payment_of(reads, purchase_id) == (PaymentStatus.VOIDED, 0)


async def test_the_cash_of_an_order_that_has_ended_is_due_no_more(engine, reads):
    """Rejected before, lost after it left: what the payment says is due is what riders still collect, and no more."""
    grocer, baker, florist = [await shop(engine) for _ in range(3)]
    things = [await listing(engine, store, 5, price_minor=price) for store, price in ((grocer, 100), (baker, 20), (florist, 3))]
    customer, rider = await account(engine), await account(engine, ActorKind.RIDER)
    purchase_id = await placed(engine, customer, await quoted(engine, customer, *((thing, 1) for thing in things)))
    found = {order.store_id: order for order in await orders.orders_of_purchases(reads, customer, [purchase_id])}

    async def due() -> tuple[PaymentStatus, int, int]:
        [payment] = await payments.payments_of(reads, [purchase_id])
        return payment.status, payment.amount.minor, payment.refunded.minor

    assert await due() == (PaymentStatus.CASH_DUE, 123, 0)
    for store in (baker, florist):
        accept = AcceptOrder(found[store.store_id].id, 5)
        await do(engine, lambda uow, a=accept, s=store: accept_order(a, s.owner, uow))
    reject = RejectOrder(found[grocer.store_id].id, ReasonCode.OUT_OF_STOCK, None)
    await do(engine, lambda uow: reject_order(reject, grocer.owner, uow))
    assert await due() == (PaymentStatus.CASH_DUE, 23, 0)
    trip = t.delivery.c
    async with engine.begin() as connection:
        rows = await connection.execute(
            select(trip.order_id, trip.id, trip.cash_minor).where(trip.store_id.in_([baker.store_id, florist.store_id]))
        )
        trips = {row.order_id: row for row in rows}
        await connection.execute(update(t.delivery).where(trip.order_id.in_(trips)).values(rider_id=rider.id, status="ASSIGNED"))
    assert sum(row.cash_minor for row in trips.values()) == 23
    for row in trips.values():
        await do(engine, lambda uow, id=row.id: pick_up(id, rider, uow))
    bread, flowers = found[baker.store_id], found[florist.store_id]
    await do(engine, lambda uow: deliver(trips[flowers.id].id, flowers.code, rider, uow))
    assert await due() == (PaymentStatus.CASH_DUE, 23, 0)
    await do(engine, lambda uow: fail_delivery(FailDelivery(trips[bread.id].id, ReasonCode.LOST, None), rider, uow))
    assert await due() == (PaymentStatus.CASH_COLLECTED, 3, 0)
    async with engine.connect() as connection:
        e, p = t.event.c, t.payment.c
        steps = await connection.execute(
            select(e.seq, e.body["status"].astext)
            .join(t.payment, p.id == e.entity_id)
            .where(p.purchase_id == purchase_id)
            .order_by(e.seq)
        )
        assert [tuple(row) for row in steps] == [(1, "CASH_DUE"), (2, "CASH_DUE"), (3, "CASH_DUE"), (4, "CASH_COLLECTED")]


async def test_accept_and_cancel_at_once_have_one_winner(engine, reads):
    town = await shop(engine)
    tea = await listing(engine, town, 100)
    for _ in range(10):
        customer = await account(engine)
        purchase_id = await placed(engine, customer, await quoted(engine, customer, (tea, 1)))
        order = await the_order(reads, customer, purchase_id)
        accept = do(engine, lambda uow, id=order.id: accept_order(AcceptOrder(id, 10), town.owner, uow))
        cancel = do(
            engine, lambda uow, id=order.id, c=customer: cancel_order(CancelOrder(id, ReasonCode.CUSTOMER_ASKED, None), c, uow)
        )
        answers = await asyncio.gather(accept, cancel, return_exceptions=True)
        assert sum(isinstance(answer, Refused) for answer in answers) == 1, answers
        history = [event.status for event in await orders.history_of(reads, [order.id])]
        assert history in ([OrderStatus.PLACED, OrderStatus.ACCEPTED], [OrderStatus.PLACED, OrderStatus.CANCELLED])
    assert [one for one in await ledger.discrepancies(reads) if one.listing_id == tea] == []


async def test_a_strangers_order_is_not_there(engine, reads):
    town = await shop(engine)
    tea, customer = await listing(engine, town, 5), await account(engine)
    purchase_id = await placed(engine, customer, await quoted(engine, customer, (tea, 1)))
    order = await the_order(reads, customer, purchase_id)
    for stranger in (await account(engine), (await shop(engine)).owner):
        assert await orders.orders_by_id(reads, stranger, [order.id]) == []
        cancel = CancelOrder(order.id, ReasonCode.OTHER, None)
        assert isinstance(await refused(do(engine, lambda uow, c=cancel, s=stranger: cancel_order(c, s, uow))), NotFound)
    assert isinstance(await refused(do(engine, lambda uow: accept_order(AcceptOrder(new_id(), None), town.owner, uow))), NotFound)


async def test_what_is_lost_or_brought_back_is_paid_back_and_cash_is_never_due_for_ever(engine, reads):
    town = await shop(engine)
    tea = await listing(engine, town, 9)
    for method, end in ((CARD, PaymentStatus.REFUNDED), (CASH, PaymentStatus.VOIDED)):
        customer, rider = await account(engine), await account(engine, ActorKind.RIDER)
        purchase_id = await placed(engine, customer, await quoted(engine, customer, (tea, 1)), method)
        if method is CARD:
            payment = await paid_by_card(engine, reads, purchase_id)
            await do(engine, lambda uow, p=payment: settle_payment(says(p, captured=True), uow))
        order = await the_order(reads, customer, purchase_id)
        await do(engine, lambda uow, id=order.id: accept_order(AcceptOrder(id, 5), town.owner, uow))
        async with engine.begin() as connection:
            trip = t.delivery.c
            id = (await connection.execute(select(trip.id).where(trip.order_id == order.id))).scalar_one()
            await connection.execute(update(t.delivery).where(trip.id == id).values(rider_id=rider.id, status="ASSIGNED"))
        await do(engine, lambda uow, id=id, r=rider: pick_up(id, r, uow))
        lost = FailDelivery(id, ReasonCode.LOST, None)
        await do(engine, lambda uow, lost=lost, r=rider: fail_delivery(lost, r, uow))
        assert (await payment_of(reads, purchase_id))[0] is end


async def test_what_was_put_into_the_cart_after_the_quote_stays_in_it(engine):
    tea, customer = await listing(engine, await shop(engine), 9), await account(engine)
    quote_id = await quoted(engine, customer, (tea, 2))
    more = [LineChange(None, tea, 1), LineChange(None, tea, 1, note="gift")]
    await do(engine, lambda uow: update_lines(more, customer, uow))
    await placed(engine, customer, quote_id)
    _, lines = await do(engine, lambda uow: uow.carts.lock(customer.id))
    assert {(line.quantity, line.note) for line in lines} == {(1, None), (1, "gift")}


@pytest.mark.parametrize(("fulfilment", "brings"), [(Fulfilment.PICKUP, False), (Fulfilment.DELIVERY, True)])
async def test_what_no_rider_brings_is_handed_over_against_its_code(engine, reads, fulfilment, brings):
    town = await shop(engine, self_delivery=brings)
    tea, customer = await listing(engine, town, 9), await account(engine)
    quote_id = await quoted(engine, customer, (tea, 2), fulfilment=fulfilment)
    order = await the_order(reads, customer, await placed(engine, customer, quote_id))
    await do(engine, lambda uow: accept_order(AcceptOrder(order.id, 5), town.owner, uow))
    await do(engine, lambda uow: mark_order_ready(MarkOrderReady(order.id), town.owner, uow))
    wrong = await do(engine, lambda uow: hand_over_order(HandOverOrder(order.id, "none"), town.owner, uow))
    assert wrong == WrongCode("not this order's code", 4)
    await do(engine, lambda uow: hand_over_order(HandOverOrder(order.id, order.code), town.owner, uow))
    assert (await the_order(reads, customer, order.purchase_id)).status is OrderStatus.DELIVERED
    assert await payment_of(reads, order.purchase_id) == (PaymentStatus.CASH_COLLECTED, 0)
    assert await counters(engine, tea) == (7, 0, 0)


async def test_a_till_that_accepts_has_sold_and_a_cancelled_sale_is_back_on_the_shelf(engine, reads):
    town = await shop(engine)
    tea, customer = await listing(engine, town, 10), await account(engine)
    order = await the_order(reads, customer, await placed(engine, customer, await quoted(engine, customer, (tea, 2))))
    till = Actor(ActorKind.SOURCE, (await partner(engine, "petpooja", of=town)).source_id)
    await do(engine, lambda uow: accept_order(AcceptOrder(order.id, 5), till, uow))
    assert await counters(engine, tea) == (8, 0, 0)
    cancel = CancelOrder(order.id, ReasonCode.OUT_OF_STOCK, None)
    await do(engine, lambda uow: cancel_order(cancel, town.owner, uow))
    assert await counters(engine, tea) == (10, 0, 0)
    await do(engine, lambda uow: apply_counts([Count(tea, 10, datetime.now(UTC), "count", "till")], uow))
    assert await counters(engine, tea) == (10, 0, 0)


async def test_a_stores_people_have_five_tries_of_a_code_until_support_gives_more(engine, reads):
    town, desk = await shop(engine), await account(engine, ActorKind.SUPPORT, is_support=True)
    tea, customer = await listing(engine, town, 9), await account(engine)
    quote_id = await quoted(engine, customer, (tea, 2), fulfilment=Fulfilment.PICKUP)
    order = await the_order(reads, customer, await placed(engine, customer, quote_id))
    await do(engine, lambda uow: accept_order(AcceptOrder(order.id, 5), town.owner, uow))
    await do(engine, lambda uow: mark_order_ready(MarkOrderReady(order.id), town.owner, uow))

    async def tried(code: str) -> WrongCode | None:
        return await do(engine, lambda uow: hand_over_order(HandOverOrder(order.id, code), town.owner, uow))

    said = await asyncio.gather(*(tried(another(order.code)) for _ in range(8)))
    assert sorted(wrong.tries_left for wrong in said) == [0, 0, 0, 0, 1, 2, 3, 4]
    assert await tried(order.code) == WrongCode("too many wrong codes: ask support", 0)
    assert (await the_order(reads, customer, order.purchase_id)).status is OrderStatus.READY
    await do(engine, lambda uow: renew_order_code_tries(order.id, desk, uow))
    assert await tried(order.code) is None
    assert (await the_order(reads, customer, order.purchase_id)).status is OrderStatus.DELIVERED
    assert isinstance(await refused(do(engine, lambda uow: renew_order_code_tries(order.id, desk, uow))), WrongState)


async def test_what_people_say_about_an_order_is_for_its_parties_and_not_in_the_log(engine, reads):
    town, rider = await shop(engine), await account(engine, ActorKind.RIDER)
    tea = await listing(engine, town, 9)
    said = "call me on 98765 43210"
    ways = {"cancelled": OrderStatus.CANCELLED, "rejected": OrderStatus.REJECTED, "failed": OrderStatus.UNDELIVERED}
    for way, end in ways.items():
        customer = await account(engine)
        order = await the_order(reads, customer, await placed(engine, customer, await quoted(engine, customer, (tea, 1))))
        match way:
            case "cancelled":
                cancel = CancelOrder(order.id, ReasonCode.CUSTOMER_ASKED, said)
                await do(engine, lambda uow, c=cancel, who=customer: cancel_order(c, who, uow))
            case "rejected":
                reject = RejectOrder(order.id, ReasonCode.TOO_BUSY, said)
                await do(engine, lambda uow, c=reject: reject_order(c, town.owner, uow))
            case _:
                await do(engine, lambda uow, id=order.id: accept_order(AcceptOrder(id, 5), town.owner, uow))
                trip = t.delivery.c
                async with engine.begin() as connection:
                    id = (await connection.execute(select(trip.id).where(trip.order_id == order.id))).scalar_one()
                    await connection.execute(update(t.delivery).where(trip.id == id).values(rider_id=rider.id, status="ASSIGNED"))
                await do(engine, lambda uow, id=id: pick_up(id, rider, uow))
                failed = FailDelivery(id, ReasonCode.CUSTOMER_ABSENT, said)
                await do(engine, lambda uow, c=failed: fail_delivery(c, rider, uow))
        history = await orders.history_of(reads, [order.id])
        assert (history[-1].status, history[-1].note) == (end, said)
        assert [step.note for step in history[:-1]] == [None] * (len(history) - 1)
    async with engine.connect() as connection:
        log = (await connection.execute(select(func.string_agg(cast(t.event.c.body, Text), " ")))).scalar_one()
    assert said not in log


async def test_a_sale_of_more_than_was_counted_is_told_by_name(engine, reads):
    town, customer = await shop(engine), await account(engine)
    tea = await listing(engine, town, 5, name="Assam tea")
    quote_id = await quoted(engine, customer, (tea, 3), fulfilment=Fulfilment.PICKUP)
    order = await the_order(reads, customer, await placed(engine, customer, quote_id))
    await do(engine, lambda uow: accept_order(AcceptOrder(order.id, 5), town.owner, uow))
    await do(engine, lambda uow: mark_order_ready(MarkOrderReady(order.id), town.owner, uow))
    await do(engine, lambda uow: apply_counts([Count(tea, 1, datetime.now(UTC), "count", "test")], uow))
    await do(engine, lambda uow: hand_over_order(HandOverOrder(order.id, order.code), town.owner, uow))
    history = await orders.history_of(reads, [order.id])
    assert history[-1].note == "sold more than was counted: 2 of Assam tea"


async def test_a_source_knows_of_the_orders_of_the_stores_it_is_linked_to(engine, reads):
    town = await shop(engine)
    tea, customer = await listing(engine, town, 10), await account(engine)
    order = await the_order(reads, customer, await placed(engine, customer, await quoted(engine, customer, (tea, 2))))
    linked = await partner(engine, "petpooja", of=town)
    unlinked = await partner(engine, "petpooja", None, of=town)
    elsewhere = await partner(engine, "petpooja")
    for till in (unlinked, elsewhere):
        actor = Actor(ActorKind.SOURCE, till.source_id)
        assert await orders.orders_by_id(reads, actor, [order.id]) == []
        accept = AcceptOrder(order.id, 5)
        assert isinstance(await refused(do(engine, lambda uow, a=actor, c=accept: accept_order(c, a, uow))), NotFound)
        closed = SetStoreStatus(town.store_id, StoreStatus.CLOSED, None, None)
        assert isinstance(await refused(do(engine, lambda uow, a=actor, c=closed: set_store_status(c, a, uow))), NotFound)
    actor = Actor(ActorKind.SOURCE, linked.source_id)
    assert [one.id for one in await orders.orders_by_id(reads, actor, [order.id])] == [order.id]
    await do(engine, lambda uow: accept_order(AcceptOrder(order.id, 5), actor, uow))
