"""The steps of a trip, on the real database."""

import asyncio
from dataclasses import fields

import pytest
from sqlalchemy import select, update
from sqlalchemy.ext.asyncio import AsyncEngine

from db import delivery, orders
from db import tables as t
from db.reads import Reads
from db.unit_of_work import unit_of_work
from domain import dispatch, fulfilment, riders
from domain.delivery import DeliveryStatus, WrongDeliveryState
from domain.handover import WrongCode
from domain.identity import ANYBODY, CLOCK, Actor, ActorKind
from domain.orders import OrderStatus, ReasonCode
from domain.payments import PaymentMethod, PaymentStatus
from domain.positions import coarse
from domain.refusals import Conflict, NotFound, Refused
from domain.riders import FailDelivery
from tests.trips import Trip, another, assigned, code_of, offered, on_duty, picked_up, placed, states, support, trip, trips
from tests.world import HOME, account, listing, shop

D, S = DeliveryStatus, OrderStatus


@pytest.fixture
def reads(engine: AsyncEngine) -> Reads:
    return Reads(engine)


async def do(engine, step, *arguments):
    async with unit_of_work(engine) as uow:
        return await step(*arguments, uow)


async def refusal_of(engine, step, *arguments):
    with pytest.raises(Refused) as no:
        await do(engine, step, *arguments)
    return no.value.refusal


async def events_of(engine, stream, entity):
    e = t.event.c
    async with engine.connect() as connection:
        return (
            await connection.execute(select(e.seq, e.body).where(e.stream == stream, e.entity_id == entity).order_by(e.seq))
        ).all()


async def payment_of(engine, purchase_id):
    async with engine.connect() as connection:
        return (await connection.execute(select(t.payment.c.status).where(t.payment.c.purchase_id == purchase_id))).scalar_one()


async def level_of(engine, listing_id):
    async with engine.connect() as connection:
        level = t.stock_level.c
        return tuple(
            (
                await connection.execute(select(level.on_hand, level.held, level.allocated).where(level.listing_id == listing_id))
            ).one()
        )


async def deliver(engine, trip: Trip, rider: Actor, code: str | None = None):
    return await do(engine, riders.deliver, trip.delivery_id, code or await code_of(engine, trip.order_id), rider)


async def test_from_the_store_to_the_door(engine):
    made, rider = await trip(engine), await on_duty(engine)
    assert await level_of(engine, made.listing_id) == (10, 0, 2)
    await assigned(engine, made.delivery_id, rider)
    await do(engine, riders.arrive_at_store, made.delivery_id, rider)
    assert await states(engine, made) == (D.AT_STORE, S.ACCEPTED, rider.id)
    await do(engine, riders.pick_up, made.delivery_id, rider)
    assert await states(engine, made) == (D.PICKED_UP, S.PICKED_UP, rider.id)
    assert await level_of(engine, made.listing_id) == (8, 0, 0)
    await do(engine, riders.arrive_at_door, made.delivery_id, rider)
    assert await payment_of(engine, made.purchase_id) is PaymentStatus.CASH_DUE
    assert await deliver(engine, made, rider) is None
    assert await states(engine, made) == (D.DELIVERED, S.DELIVERED, rider.id)
    assert await payment_of(engine, made.purchase_id) is PaymentStatus.CASH_COLLECTED

    steps = await events_of(engine, "delivery", made.delivery_id)
    assert [step.seq for step in steps] == [1, 2, 3, 4, 5, 6]
    assert [step.body["status"] for step in steps] == ["SEARCHING", "ASSIGNED", "AT_STORE", "PICKED_UP", "AT_DOOR", "DELIVERED"]
    # What the order was by the end of each step's own transaction.
    assert [step.body["order"]["status"] for step in steps] == ["ACCEPTED"] * 3 + ["PICKED_UP"] * 2 + ["DELIVERED"]
    assert [step.body["status"] for step in await events_of(engine, "order", made.order_id)][-3:] == [
        "READY",
        "PICKED_UP",
        "DELIVERED",
    ]


@pytest.mark.parametrize("marked_ready", [True, False])
async def test_the_store_may_have_said_ready_or_not(engine, marked_ready):
    made, rider = await trip(engine), await on_duty(engine)
    await assigned(engine, made.delivery_id, rider)
    if marked_ready:
        await do(engine, fulfilment.mark_order_ready, fulfilment.MarkOrderReady(made.order_id), made.shop.owner)
    await do(engine, riders.pick_up, made.delivery_id, rider)
    said = [step.body["status"] for step in await events_of(engine, "order", made.order_id)]
    assert said == ["PLACED", "ACCEPTED", "READY", "PICKED_UP"]


async def test_every_step_twice_is_as_once(engine):
    made, rider = await trip(engine), await on_duty(engine)
    await assigned(engine, made.delivery_id, rider)
    for step in (riders.arrive_at_store, riders.pick_up, riders.arrive_at_door):
        await do(engine, step, made.delivery_id, rider)
        before = await events_of(engine, "delivery", made.delivery_id)
        await do(engine, step, made.delivery_id, rider)
        assert await events_of(engine, "delivery", made.delivery_id) == before
    assert await deliver(engine, made, rider) is None
    before = await events_of(engine, "order", made.order_id)
    assert await deliver(engine, made, rider) is None
    assert await events_of(engine, "order", made.order_id) == before
    assert await level_of(engine, made.listing_id) == (8, 0, 0)


async def test_ten_pick_ups_at_once_sell_once(engine):
    made, rider = await trip(engine), await on_duty(engine)
    await assigned(engine, made.delivery_id, rider)
    await asyncio.gather(*(do(engine, riders.pick_up, made.delivery_id, rider) for _ in range(10)))
    assert await level_of(engine, made.listing_id) == (8, 0, 0)
    assert len(await events_of(engine, "delivery", made.delivery_id)) == 3


async def test_a_step_out_of_turn_says_where_the_delivery_is(engine):
    made, rider = await trip(engine), await on_duty(engine)
    await assigned(engine, made.delivery_id, rider)
    for step in (riders.arrive_at_door, riders.return_delivery, riders.finish_return, riders.retry_delivery):
        no = await refusal_of(engine, step, made.delivery_id, rider)
        assert isinstance(no, WrongDeliveryState)
        assert no.status is D.ASSIGNED
    code = await code_of(engine, made.order_id)
    assert isinstance(await refusal_of(engine, riders.deliver, made.delivery_id, code, rider), WrongDeliveryState)


async def test_five_wrong_codes_and_only_support_can_go_on(engine):
    made, rider, desk = await trip(engine), await on_duty(engine), await support(engine)
    await picked_up(engine, made.delivery_id, rider)
    right = await code_of(engine, made.order_id)
    said = [await deliver(engine, made, rider, another(right)) for _ in range(6)]
    assert [wrong.tries_left for wrong in said] == [4, 3, 2, 1, 0, 0]
    assert isinstance(await deliver(engine, made, rider, right), WrongCode)
    assert (await states(engine, made))[0] is D.PICKED_UP
    await do(engine, riders.renew_code_tries, made.delivery_id, desk)
    assert await deliver(engine, made, rider, right) is None


async def test_guesses_at_once_have_five_tries_together(engine):
    made, rider = await trip(engine), await on_duty(engine)
    await picked_up(engine, made.delivery_id, rider)
    wrong = another(await code_of(engine, made.order_id))
    said = await asyncio.gather(*(deliver(engine, made, rider, wrong) for _ in range(12)))
    assert sorted(one.tries_left for one in said) == [0] * 8 + [1, 2, 3, 4]


async def test_without_a_code_nothing_is_counted(engine):
    made, rider = await trip(engine), await on_duty(engine)
    await picked_up(engine, made.delivery_id, rider)
    for _ in range(7):
        wrong = await do(engine, riders.deliver, made.delivery_id, None, rider)
        assert wrong.tries_left == 5


async def test_what_cannot_be_handed_over_is_tried_again(engine):
    made, rider = await trip(engine), await on_duty(engine)
    await picked_up(engine, made.delivery_id, rider)
    await do(engine, riders.fail_delivery, FailDelivery(made.delivery_id, ReasonCode.CUSTOMER_ABSENT, "rang twice"), rider)
    assert await states(engine, made) == (D.FAILED, S.UNDELIVERED, rider.id)
    last = (await events_of(engine, "delivery", made.delivery_id))[-1].body
    assert last["reason"] == "CUSTOMER_ABSENT"
    assert "rang twice" not in str(last)  # for the order's parties to read, and not in the log
    assert (await orders.history_of(Reads(engine), [made.order_id]))[-1].note == "rang twice"
    assert isinstance(await refusal_of(engine, riders.pick_up, made.delivery_id, rider), WrongDeliveryState)
    await do(engine, riders.retry_delivery, made.delivery_id, rider)
    assert await deliver(engine, made, rider) is None
    assert await states(engine, made) == (D.DELIVERED, S.DELIVERED, rider.id)
    assert await level_of(engine, made.listing_id) == (8, 0, 0)


async def test_what_cannot_be_handed_over_is_brought_back(engine):
    made, rider = await trip(engine), await on_duty(engine)
    await picked_up(engine, made.delivery_id, rider)
    await do(engine, riders.fail_delivery, FailDelivery(made.delivery_id, ReasonCode.WRONG_ADDRESS, None), rider)
    assert isinstance(await refusal_of(engine, riders.set_duty, False, rider), Conflict)
    for step in (riders.return_delivery, riders.finish_return):
        await do(engine, step, made.delivery_id, rider)
        await do(engine, step, made.delivery_id, rider)
    assert await states(engine, made) == (D.RETURNED, S.RETURNED, rider.id)
    await do(engine, riders.set_duty, False, rider)


async def test_what_is_lost_ends_and_frees_its_rider(engine):
    made, rider = await trip(engine), await on_duty(engine)
    await picked_up(engine, made.delivery_id, rider)
    await do(engine, riders.fail_delivery, FailDelivery(made.delivery_id, ReasonCode.LOST, None), rider)
    assert await states(engine, made) == (D.FAILED, S.UNDELIVERED, rider.id)
    for step in (riders.retry_delivery, riders.return_delivery):
        assert isinstance(await refusal_of(engine, step, made.delivery_id, rider), WrongDeliveryState)
    await do(engine, riders.set_duty, False, rider)


async def test_cash_is_collected_when_the_last_order_of_the_purchase_is_there(engine):
    one, other = await trips(engine, [await shop(engine), await shop(engine)])
    first, second = await on_duty(engine), await on_duty(engine)
    await picked_up(engine, one.delivery_id, first)
    await picked_up(engine, other.delivery_id, second)
    await deliver(engine, one, first)
    assert await payment_of(engine, one.purchase_id) is PaymentStatus.CASH_DUE
    await deliver(engine, other, second)
    assert await payment_of(engine, one.purchase_id) is PaymentStatus.CASH_COLLECTED


async def test_both_orders_of_a_purchase_at_once_collect_once(engine):
    for _ in range(5):
        one, other = await trips(engine, [await shop(engine), await shop(engine)])
        first, second = await on_duty(engine), await on_duty(engine)
        await picked_up(engine, one.delivery_id, first)
        await picked_up(engine, other.delivery_id, second)
        await asyncio.gather(deliver(engine, one, first), deliver(engine, other, second))
        assert await payment_of(engine, one.purchase_id) is PaymentStatus.CASH_COLLECTED


async def test_a_strangers_delivery_is_not_there(engine, reads):
    made, rider = await trip(engine), await on_duty(engine)
    await assigned(engine, made.delivery_id, rider)
    stranger = await on_duty(engine)
    for step in (riders.arrive_at_store, riders.pick_up, riders.arrive_at_door, riders.return_delivery, riders.retry_delivery):
        assert isinstance(await refusal_of(engine, step, made.delivery_id, stranger), NotFound)
    code = await code_of(engine, made.order_id)
    assert isinstance(await refusal_of(engine, riders.deliver, made.delivery_id, code, stranger), NotFound)
    assert isinstance(await refusal_of(engine, riders.drop_delivery, made.delivery_id, ReasonCode.VEHICLE, stranger), NotFound)
    strangers = [stranger, await account(engine), (await shop(engine)).owner, ANYBODY, CLOCK, Actor(ActorKind.SOURCE, rider.id)]
    for who in strangers:
        assert await delivery.deliveries_by_id(reads, who, [made.delivery_id]) == []
        assert await delivery.deliveries_of_orders(reads, who, [made.order_id]) == []
        if who.id is not None:
            page = await delivery.delivery_page(reads, who, rider.id, None, 10, None)
            assert page.nodes == []


async def test_its_parties_know_who_brings_it_while_it_lives(engine, reads):
    made, desk = await trip(engine), await support(engine)
    rider = await on_duty(engine, "Ravi", "+919800000777")
    await assigned(engine, made.delivery_id, rider)
    parties = [made.customer, made.shop.owner, rider, desk]
    for who in parties:
        (row,) = await delivery.deliveries_by_id(reads, who, [made.delivery_id])
        assert (row.rider_name, row.rider_phone, row.rider_id) == ("Ravi", "+919800000777", rider.id)
        assert (row.drop_area, row.order_id) == (HOME.point, made.order_id)
        assert row.cash_due.minor > 0
        assert row.eta_at is not None
    await do(engine, riders.pick_up, made.delivery_id, rider)
    await deliver(engine, made, rider)
    for who in parties[:3]:
        (row,) = await delivery.deliveries_by_id(reads, who, [made.delivery_id])
        assert (row.rider_name, row.rider_phone, row.rider_id, row.cash_due, row.eta_at) == (None,) * 5
    (row,) = await delivery.deliveries_by_id(reads, rider, [made.delivery_id])
    assert row.drop_area == coarse(HOME.point)
    (row,) = await delivery.deliveries_by_id(reads, desk, [made.delivery_id])
    assert (row.rider_name, row.rider_id) == ("Ravi", None)


async def test_who_is_asked_sees_the_store_and_roughly_where_it_goes(engine, reads):
    made, rider = await trip(engine), await on_duty(engine)
    offer_id = await offered(engine, made.delivery_id, rider)
    (row,) = await delivery.deliveries_by_id(reads, rider, [made.delivery_id])
    assert (row.store_id, row.drop_area) == (made.shop.store_id, coarse(HOME.point))
    hidden = {field.name for field in fields(row)} - {"id", "status", "version", "store_id", "drop_area"}
    assert {getattr(row, name) for name in hidden} == {None}
    assert await orders.orders_by_id(reads, rider, [made.order_id]) == []
    await do(engine, dispatch.decline_offer, offer_id, ReasonCode.TOO_FAR, rider)
    assert await delivery.deliveries_by_id(reads, rider, [made.delivery_id]) == []
    assert await delivery.deliveries_of_offers(reads, rider, [offer_id]) == []


async def test_a_dropped_delivery_looks_for_another_rider_and_the_repeat_changes_nothing(engine, reads):
    made, rider, other = await trip(engine), await on_duty(engine), await on_duty(engine)
    await assigned(engine, made.delivery_id, rider)
    await do(engine, riders.drop_delivery, made.delivery_id, ReasonCode.VEHICLE, rider)
    assert await states(engine, made) == (D.SEARCHING, S.ACCEPTED, None)
    before = await events_of(engine, "delivery", made.delivery_id)
    await do(engine, riders.drop_delivery, made.delivery_id, ReasonCode.VEHICLE, rider)
    assert await events_of(engine, "delivery", made.delivery_id) == before
    assert (await delivery.dropped(reads, rider, made.delivery_id)).order_id is None
    assert await delivery.dropped(reads, other, made.delivery_id) is None
    assert await delivery.deliveries_by_id(reads, rider, [made.delivery_id]) == []
    async with unit_of_work(engine) as uow:
        assert await dispatch.offer(made.delivery_id, [rider.id], uow) is None
    await assigned(engine, made.delivery_id, other)
    assert await states(engine, made) == (D.ASSIGNED, S.ACCEPTED, other.id)
    assert await delivery.dropped(reads, rider, made.delivery_id) is None


async def test_goods_that_have_left_are_not_dropped(engine):
    made, rider = await trip(engine), await on_duty(engine)
    await picked_up(engine, made.delivery_id, rider)
    no = await refusal_of(engine, riders.drop_delivery, made.delivery_id, ReasonCode.VEHICLE, rider)
    assert isinstance(no, WrongDeliveryState)


async def test_a_cancelled_order_takes_its_delivery_with_it(engine):
    made, rider = await trip(engine), await on_duty(engine)
    await assigned(engine, made.delivery_id, rider)
    cancel = fulfilment.CancelOrder(made.order_id, ReasonCode.OUT_OF_STOCK, None)
    await do(engine, fulfilment.cancel_order, cancel, made.shop.owner)
    assert await states(engine, made) == (D.CANCELLED, S.CANCELLED, rider.id)
    assert isinstance(await refusal_of(engine, riders.pick_up, made.delivery_id, rider), WrongDeliveryState)
    await do(engine, riders.set_duty, False, rider)  # free again


async def test_pick_up_and_cancellation_at_once_agree(engine):
    for _ in range(10):
        made, rider = await trip(engine), await on_duty(engine)
        await assigned(engine, made.delivery_id, rider)
        cancel = fulfilment.CancelOrder(made.order_id, ReasonCode.OUT_OF_STOCK, None)
        said = await asyncio.gather(
            do(engine, riders.pick_up, made.delivery_id, rider),
            do(engine, fulfilment.cancel_order, cancel, made.shop.owner),
            return_exceptions=True,
        )
        assert [type(one) for one in said if one is not None] == [Refused]
        won = await states(engine, made)
        assert won[:2] in [(D.PICKED_UP, S.PICKED_UP), (D.CANCELLED, S.CANCELLED)]
        assert await level_of(engine, made.listing_id) == ((8, 0, 0) if won[0] is D.PICKED_UP else (10, 0, 0))


async def test_what_was_paid_before_is_not_collected_at_the_door(engine, reads):
    one, customer = await shop(engine), await account(engine)
    purchase_id = await placed(engine, customer, [await listing(engine, one, 5)], PaymentMethod.CARD, HOME)
    async with engine.begin() as connection:  # as the gateway's word would
        paid = update(t.payment).where(t.payment.c.purchase_id == purchase_id)
        await connection.execute(paid.values(status=PaymentStatus.CAPTURED))
        done = update(t.orders).where(t.orders.c.purchase_id == purchase_id).values(status=S.PLACED)
        order_id = (await connection.execute(done.returning(t.orders.c.id))).scalar_one()
    await do(engine, fulfilment.accept_order, fulfilment.AcceptOrder(order_id, None), one.owner)
    ((_, row),) = await delivery.deliveries_of_orders(reads, customer, [order_id])
    assert row.cash_due is None
