"""Offers, and races for them, on the real database."""

import asyncio
from collections import Counter
from datetime import timedelta

import pytest
from sqlalchemy import func, select, text, update
from sqlalchemy.ext.asyncio import AsyncEngine

from db import dispatch as rows
from db import tables as t
from db.reads import Reads
from db.unit_of_work import unit_of_work
from domain import dispatch, fulfilment, riders
from domain.delivery import DeliveryStatus, OfferStatus, WrongDeliveryState
from domain.dispatch import OFFER_FOR, OfferGone
from domain.identity import ANYBODY, CLOCK
from domain.orders import OrderStatus, ReasonCode
from domain.refusals import Conflict, NotFound, Refused
from tests.trips import assigned, nobody, offered, on_duty, picked_up, states, support, trip
from tests.world import account, shop

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


async def expired(engine, offer_id):
    """Its time is over, as far as the clock knows."""
    async with engine.begin() as connection:
        past = func.clock_timestamp() - text("interval '1 second'")
        await connection.execute(update(t.offer).where(t.offer.c.id == offer_id).values(expires_at=past))


async def status_of(engine, offer_id):
    async with engine.connect() as connection:
        return (await connection.execute(select(t.offer.c.status).where(t.offer.c.id == offer_id))).scalar_one()


async def said_of(engine, stream, entity):
    e = t.event.c
    async with engine.connect() as connection:
        found = await connection.execute(select(e.seq, e.body).where(e.stream == stream, e.entity_id == entity).order_by(e.seq))
        return [(row.seq, row.body["status"]) for row in found]


async def askable(reads, delivery_id):
    return {one.rider_id for one in await rows.candidates(reads, delivery_id, [], 1_000)}


async def test_an_offer_names_its_pay_its_way_and_its_end(engine, reads):
    made, rider = await trip(engine), await on_duty(engine)
    offer_id = await offered(engine, made.delivery_id, rider)
    ((offer,), now) = await rows.open_offers(reads, rider, rider.id), await reads.value(select(func.clock_timestamp()))
    assert offer.id == offer_id
    assert offer.pay == dispatch.pay_for(offer.distance_metres, "INR")[0]
    assert 0 < offer.distance_metres < 200
    assert timedelta(seconds=25) < offer.expires_at - now <= OFFER_FOR
    assert await said_of(engine, "offer", offer_id) == [(1, "OPEN")]


async def test_an_offer_is_its_riders_alone(engine, reads):
    made, rider, other = await trip(engine), await on_duty(engine), await on_duty(engine)
    offer_id = await offered(engine, made.delivery_id, rider)
    for who in (other, made.customer, made.shop.owner, ANYBODY, CLOCK, nobody()):
        assert await rows.offers_by_id(reads, who, [offer_id]) == []
    assert await rows.open_offers(reads, other, rider.id) == []
    assert isinstance(await refusal_of(engine, dispatch.accept_offer, offer_id, other), NotFound)
    assert isinstance(await refusal_of(engine, dispatch.decline_offer, offer_id, ReasonCode.TOO_FAR, other), NotFound)
    assert await status_of(engine, offer_id) is OfferStatus.OPEN


async def test_fifty_accepts_at_once_are_one(engine):
    made, rider, thief = await trip(engine), await on_duty(engine), await on_duty(engine)
    offer_id = await offered(engine, made.delivery_id, rider)
    said = await asyncio.gather(
        *(do(engine, dispatch.accept_offer, offer_id, rider) for _ in range(30)),
        *(do(engine, dispatch.accept_offer, offer_id, thief) for _ in range(20)),
        return_exceptions=True,
    )
    assert said[:30] == [None] * 30
    assert {type(one.refusal) for one in said[30:]} == {NotFound}
    assert await states(engine, made) == (D.ASSIGNED, S.ACCEPTED, rider.id)
    assert await said_of(engine, "delivery", made.delivery_id) == [(1, "SEARCHING"), (2, "ASSIGNED")]
    assert await said_of(engine, "offer", offer_id) == [(1, "OPEN"), (2, "ACCEPTED")]


async def test_accepting_against_a_cancellation_has_one_winner_and_a_typed_loser(engine):
    winners = Counter()
    for _ in range(25):
        made, rider = await trip(engine), await on_duty(engine)
        offer_id = await offered(engine, made.delivery_id, rider)
        cancel = fulfilment.CancelOrder(made.order_id, ReasonCode.TOO_BUSY, None)
        accepted, cancelled = await asyncio.gather(
            do(engine, dispatch.accept_offer, offer_id, rider),
            do(engine, fulfilment.cancel_order, cancel, made.shop.owner),
            return_exceptions=True,
        )
        assert cancelled is None
        delivery_now, order_now, _ = await states(engine, made)
        assert (delivery_now, order_now) == (D.CANCELLED, S.CANCELLED)
        offer_now = await status_of(engine, offer_id)
        if accepted is None:  # first accepted, then cancelled
            assert offer_now is OfferStatus.ACCEPTED
        else:
            assert accepted.refusal == OfferGone("this offer is WITHDRAWN", OfferStatus.WITHDRAWN)
            assert offer_now is OfferStatus.WITHDRAWN
        winners[offer_now] += 1
        steps = await said_of(engine, "delivery", made.delivery_id)
        assert [seq for seq, _ in steps] == list(range(1, len(steps) + 1))
    assert sum(winners.values()) == 25


async def test_accepting_against_the_clock_the_merchant_and_going_off_duty_at_once(engine):
    """Whoever is first, the offer ends once, and an assignment is there exactly when it was accepted."""
    for _ in range(20):
        made, rider = await trip(engine), await on_duty(engine)
        offer_id = await offered(engine, made.delivery_id, rider)
        said = await asyncio.gather(
            *(do(engine, dispatch.accept_offer, offer_id, rider) for _ in range(3)),
            do(engine, riders.set_duty, False, rider),
            do(engine, dispatch.decline_offer, offer_id, ReasonCode.OTHER, rider),
            expired(engine, offer_id),
            do(engine, dispatch.expire_offers, 10),
            return_exceptions=True,
        )
        bugs = [one for one in said if isinstance(one, Exception) and not isinstance(one, Refused)]
        assert bugs == []
        assert {type(one.refusal) for one in said if isinstance(one, Refused)} <= {OfferGone, Conflict}
        end = await status_of(engine, offer_id)
        delivery_now, _, rider_now = await states(engine, made)
        if end is OfferStatus.ACCEPTED:
            assert (delivery_now, rider_now) == (D.ASSIGNED, rider.id)
            assert isinstance(said[3], Refused)  # a rider with a delivery stays on duty
        else:
            assert (delivery_now, rider_now) == (D.SEARCHING, None)
            assert all(isinstance(one, Refused) for one in said[:3])
        assert len(await said_of(engine, "offer", offer_id)) == (1 if end is OfferStatus.OPEN else 2)


async def test_an_offer_past_its_time_is_gone_before_anybody_has_closed_it(engine, reads):
    made, rider = await trip(engine), await on_duty(engine)
    offer_id = await offered(engine, made.delivery_id, rider)
    await expired(engine, offer_id)
    assert await rows.open_offers(reads, rider, rider.id) == []
    no = await refusal_of(engine, dispatch.accept_offer, offer_id, rider)
    assert isinstance(no, OfferGone)
    assert no.status is OfferStatus.EXPIRED
    await do(engine, dispatch.expire_offers, 1_000)
    assert await said_of(engine, "offer", offer_id) == [(1, "OPEN"), (2, "EXPIRED")]
    assert (await refusal_of(engine, dispatch.accept_offer, offer_id, rider)).status is OfferStatus.EXPIRED


async def test_who_let_it_pass_twice_is_not_asked_again(engine, reads):
    made, rider = await trip(engine), await on_duty(engine)
    for asked in (True, True, False):
        assert (rider.id in await askable(reads, made.delivery_id)) is asked
        if asked:
            await expired(engine, await offered(engine, made.delivery_id, rider))
            await do(engine, dispatch.expire_offers, 1_000)
    async with unit_of_work(engine) as uow:
        assert await dispatch.offer(made.delivery_id, [rider.id], uow) is None


async def test_who_said_no_is_not_asked_again_for_it_but_for_another(engine, reads):
    made, other, rider = await trip(engine), await trip(engine), await on_duty(engine)
    offer_id = await offered(engine, made.delivery_id, rider)
    assert await do(engine, dispatch.decline_offer, offer_id, ReasonCode.TOO_FAR, rider) is True
    assert await do(engine, dispatch.decline_offer, offer_id, ReasonCode.TOO_FAR, rider) is True
    assert (await refusal_of(engine, dispatch.accept_offer, offer_id, rider)).status is OfferStatus.DECLINED
    assert rider.id not in await askable(reads, made.delivery_id)
    assert rider.id in await askable(reads, other.delivery_id)


async def test_what_was_accepted_is_not_declined_and_what_is_gone_needs_no_answer(engine):
    made, gone, rider, other = await trip(engine), await trip(engine), await on_duty(engine), await on_duty(engine)
    offer_id = await assigned(engine, made.delivery_id, rider)
    assert isinstance(await refusal_of(engine, dispatch.decline_offer, offer_id, ReasonCode.OTHER, rider), Conflict)
    lost = await offered(engine, gone.delivery_id, other)
    await expired(engine, lost)
    await do(engine, dispatch.expire_offers, 1_000)
    assert await do(engine, dispatch.decline_offer, lost, ReasonCode.OTHER, other) is False


async def test_only_who_is_on_duty_free_and_not_asked_is_a_candidate(engine, reads):
    made, other = await trip(engine), await trip(engine)
    free, asked, busy, off, banned = [await on_duty(engine) for _ in range(5)]
    async with engine.begin() as connection:
        now = func.clock_timestamp()
        await connection.execute(update(t.user_account).where(t.user_account.c.id == banned.id).values(banned_at=now))
    await offered(engine, other.delivery_id, asked)
    await picked_up(engine, (await trip(engine)).delivery_id, busy)
    await do(engine, riders.set_duty, False, off)
    found = await askable(reads, made.delivery_id)
    assert free.id in found
    assert found.isdisjoint({asked.id, busy.id, off.id, banned.id})
    async with unit_of_work(engine) as uow:  # and again under the lock, whatever the list said
        assert await dispatch.offer(made.delivery_id, [asked.id, busy.id, off.id, banned.id, nobody().id, free.id], uow) == free.id


async def test_many_dispatchers_make_one_offer_a_delivery_and_one_a_rider(engine):
    made = [await trip(engine) for _ in range(4)]
    them = [await on_duty(engine) for _ in range(3)]
    ids = [rider.id for rider in them]
    tries = [do(engine, dispatch.offer, one.delivery_id, ids) for one in made for _ in range(8)]
    said = await asyncio.gather(*tries)
    while True:  # who found everything locked tries again, as the loop does
        again = await asyncio.gather(*(do(engine, dispatch.offer, one.delivery_id, ids) for one in made))
        if not any(again):
            break
        said += again
    assert Counter(one for one in said if one) == Counter(ids)
    async with engine.connect() as connection:
        part, o = t.offer_delivery.c, t.offer.c
        open_ones = (
            await connection.execute(
                select(part.delivery_id, o.rider_id).join(t.offer, o.id == part.offer_id).where(part.open, o.rider_id.in_(ids))
            )
        ).all()
    assert len({row.delivery_id for row in open_ones}) == len({row.rider_id for row in open_ones}) == len(open_ones) == 3


async def test_going_off_duty_withdraws_what_is_open(engine, reads):
    made, rider = await trip(engine), await on_duty(engine)
    offer_id = await offered(engine, made.delivery_id, rider)
    await do(engine, riders.set_duty, False, rider)
    assert await said_of(engine, "offer", offer_id) == [(1, "OPEN"), (2, "WITHDRAWN")]
    assert made.delivery_id in {one.delivery_id for one in await rows.waiting(reads, 1_000)}


async def test_a_search_that_takes_too_long_is_told_once(engine):
    made = await trip(engine)
    async with engine.begin() as connection:
        past = func.clock_timestamp() - text("interval '1 second'")
        await connection.execute(update(t.delivery).where(t.delivery.c.id == made.delivery_id).values(search_until=past))
    told = await asyncio.gather(*(do(engine, dispatch.escalate, 100) for _ in range(5)))
    assert [one for some in told for one in some if one.delivery_id == made.delivery_id] == [
        dispatch.Unfound(made.delivery_id, made.shop.merchant_id)
    ]
    a = t.audit.c
    async with engine.connect() as connection:
        kept = (await connection.execute(select(a.actor, a.action).where(a.subject == made.delivery_id))).all()
    assert kept == [("clock", "delivery finds no rider")]
    # Dropped and searching anew, it may be told again.
    rider = await on_duty(engine)
    await assigned(engine, made.delivery_id, rider)
    await do(engine, riders.drop_delivery, made.delivery_id, ReasonCode.VEHICLE, rider)
    assert await do(engine, dispatch.escalate, 100) == []
    async with engine.connect() as connection:
        d = t.delivery.c
        row = (
            await connection.execute(
                select(d.escalated_at, d.search_until > func.clock_timestamp()).where(d.id == made.delivery_id)
            )
        ).one()
    assert tuple(row) == (None, True)


async def test_support_gives_a_live_delivery_to_another(engine):
    made, desk = await trip(engine), await support(engine)
    asked, first, second = [await on_duty(engine) for _ in range(3)]
    offer_id = await offered(engine, made.delivery_id, asked)
    await do(engine, dispatch.assign_rider, made.delivery_id, first.id, desk)
    assert await status_of(engine, offer_id) is OfferStatus.WITHDRAWN
    assert await states(engine, made) == (D.ASSIGNED, S.ACCEPTED, first.id)
    await do(engine, riders.pick_up, made.delivery_id, first)
    await do(engine, dispatch.assign_rider, made.delivery_id, second.id, desk)
    await do(engine, dispatch.assign_rider, made.delivery_id, second.id, desk)
    assert await states(engine, made) == (D.PICKED_UP, S.PICKED_UP, second.id)
    assert [seq for seq, _ in await said_of(engine, "delivery", made.delivery_id)] == [1, 2, 3, 4]
    assert isinstance(await refusal_of(engine, riders.arrive_at_door, made.delivery_id, first), NotFound)
    await do(engine, riders.arrive_at_door, made.delivery_id, second)


async def test_support_gives_nothing_to_who_is_off_duty_nor_what_has_ended(engine):
    made, desk, rider, off = await trip(engine), await support(engine), await on_duty(engine), nobody()
    assert isinstance(await refusal_of(engine, dispatch.assign_rider, made.delivery_id, off.id, desk), NotFound)
    await do(engine, riders.set_duty, False, rider)
    assert isinstance(await refusal_of(engine, dispatch.assign_rider, made.delivery_id, rider.id, desk), Conflict)
    cancel = fulfilment.CancelOrder(made.order_id, ReasonCode.TOO_BUSY, None)
    await do(engine, fulfilment.cancel_order, cancel, made.shop.owner)
    no = await refusal_of(engine, dispatch.assign_rider, made.delivery_id, rider.id, desk)
    assert isinstance(no, WrongDeliveryState)
    for stranger in (await account(engine), (await shop(engine)).owner, made.customer, made.shop.owner):
        refusal = await refusal_of(engine, dispatch.assign_rider, made.delivery_id, rider.id, stranger)
        assert isinstance(refusal, NotFound | WrongDeliveryState)


async def test_a_step_that_waited_for_support_to_change_the_rider_finds_it_anothers(engine):
    made, desk = await trip(engine), await support(engine)
    first, second = await on_duty(engine), await on_duty(engine)
    await assigned(engine, made.delivery_id, first)
    async with unit_of_work(engine) as uow:
        await dispatch.assign_rider(made.delivery_id, second.id, desk, uow)
        step = asyncio.create_task(do(engine, riders.pick_up, made.delivery_id, first))
        await waits_for_a_lock(engine)
    with pytest.raises(Refused) as no:
        await step
    assert isinstance(no.value.refusal, NotFound)
    assert await states(engine, made) == (D.ASSIGNED, S.ACCEPTED, second.id)


async def waits_for_a_lock(engine):
    waiting = text("SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'")
    async with asyncio.timeout(5):
        while True:
            if await Reads(engine).value(waiting):
                return
            await asyncio.sleep(0.01)
