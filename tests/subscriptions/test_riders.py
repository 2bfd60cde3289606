"""What riders are offered, and where they are, as feeds tell it."""

import asyncio
from datetime import timedelta

import pytest
from sqlalchemy import func, select

from db.reads import Reads
from domain import dispatch, riders
from domain.bus import RiderSeen
from domain.delivery import OfferStatus
from domain.orders import ReasonCode
from domain.places import Point
from domain.positions import Sighting
from domain.refusals import InvalidInput, NotFound, Refused
from resolvers import riders as riding
from subscriptions import riders as feeds
from tests.subscriptions.process import STREET, quiet, soon
from tests.trips import assigned, code_of, offered, on_duty, picked_up, support, trip
from tests.world import HOME, account, shop


async def test_offers_begin_with_the_open_ones_and_every_change_follows(engine, live):
    made, other, rider = await trip(engine), await trip(engine), await on_duty(engine)
    first = await offered(engine, made.delivery_id, rider)
    await live.tell()
    feed = feeds.rider_offers(live.caller(rider), live.hub)
    frame = await soon(feed)
    assert (frame.reset, [offer.id for offer in frame.offers]) == (True, [first])
    await live.do(dispatch.decline_offer, first, ReasonCode.TOO_FAR, rider)
    frame = await soon(feed)
    assert (frame.reset, [(offer.id, offer.status) for offer in frame.offers]) == (False, [(first, OfferStatus.DECLINED)])
    second = await offered(engine, other.delivery_id, rider)
    await live.do(riders.set_duty, False, rider)
    frame = await soon(feed)
    assert [(offer.id, offer.status) for offer in frame.offers] == [(second, OfferStatus.OPEN), (second, OfferStatus.WITHDRAWN)]
    await feed.aclose()


async def test_a_rider_hears_nothing_of_anothers_offers(engine, live):
    made, rider, other = await trip(engine), await on_duty(engine), await on_duty(engine)
    feed = feeds.rider_offers(live.caller(other), live.hub)
    assert (await soon(feed)).offers == []
    offer_id = await offered(engine, made.delivery_id, rider)
    await live.tell()
    mine = await offered(engine, (await trip(engine)).delivery_id, other)
    await live.tell()
    assert [offer.id for offer in (await soon(feed)).offers] == [mine] != [offer_id]
    await feed.aclose()


async def test_offers_missed_while_away_are_sent_again(engine, live):
    made, rider = await trip(engine), await on_duty(engine)
    await live.tell()
    feed = feeds.rider_offers(live.caller(rider), live.hub)
    cursor = (await soon(feed)).cursor
    await feed.aclose()
    offer_id = await offered(engine, made.delivery_id, rider)
    await live.do(dispatch.accept_offer, offer_id, rider)
    feed = feeds.rider_offers(live.caller(rider), live.hub, cursor)
    frame = await soon(feed)
    assert not frame.reset
    assert [offer.status for offer in frame.offers] == [OfferStatus.OPEN, OfferStatus.ACCEPTED]
    await feed.aclose()
    with pytest.raises(Refused) as no:
        feeds.rider_offers(live.caller(await on_duty(engine)), live.hub, cursor)
    assert isinstance(no.value.refusal, InvalidInput)


async def test_the_customer_sees_the_rider_from_assignment_to_the_door(engine, live):
    made, rider = await trip(engine), await on_duty(engine)
    await live.tell()
    feed = feeds.rider_position(live.caller(made.customer), live.hub, made.order_id)
    frame = await soon(feed)
    assert (frame.reset, frame.position) == (True, None)
    promised = frame.eta_at
    assert promised is not None

    await live.report(rider, 1)  # on duty, but not this order's rider: nothing comes before the next frame
    await assigned(engine, made.delivery_id, rider)
    await live.tell()
    frame = await soon(feed)
    assert frame.position.point == STREET
    assert frame.eta_at == promised

    await live.do(riders.pick_up, made.delivery_id, rider)
    near = await soon(feed)
    await live.positions.forget(rider.id)  # or it would be one in a second
    await live.report(rider, 2, HOME.point)
    frame = await soon(feed)
    assert (frame.reset, frame.position.point) == (False, HOME.point)
    assert frame.eta_at < near.eta_at

    await live.do(riders.deliver, made.delivery_id, await code_of(engine, made.order_id), rider)
    frame = await soon(feed)
    assert frame.position is None
    await live.report(rider, 3)
    await quiet(feed)
    await feed.aclose()


async def test_when_the_rider_changes_the_new_one_is_followed_and_the_old_one_is_not(engine, live):
    made, rider, other, desk = await trip(engine), await on_duty(engine), await on_duty(engine), await support(engine)
    await picked_up(engine, made.delivery_id, rider)
    await live.tell()
    await live.report(rider, 1)
    await live.report(other, 1, Point(12.99, 77.61))
    feed = feeds.rider_position(live.caller(made.shop.owner), live.hub, made.order_id)
    assert (await soon(feed)).position.point == STREET
    await live.do(dispatch.assign_rider, made.delivery_id, other.id, desk)
    assert (await soon(feed)).position.point == Point(12.99, 77.61)
    await feed.aclose()


async def test_an_older_place_never_follows_a_newer_one(engine, live):
    made, rider = await trip(engine), await on_duty(engine)
    await picked_up(engine, made.delivery_id, rider)
    await live.report(rider, 5)
    await live.tell()
    feed = feeds.rider_position(live.caller(made.customer), live.hub, made.order_id)
    assert (await soon(feed)).position is not None
    assert (await live.report(rider, 4, HOME.point, ago_s=20)).accepted == 1
    await live.do(riders.arrive_at_door, made.delivery_id, rider)
    assert (await soon(feed)).position.point == STREET
    await feed.aclose()


async def test_what_was_underway_when_the_snapshot_was_read_does_not_take_the_rider_back(engine, live):
    made, rider = await trip(engine), await on_duty(engine)
    await picked_up(engine, made.delivery_id, rider)
    await live.tell()
    now = await Reads(engine).value(select(func.clock_timestamp()))
    await live.positions.keep(rider.id, [Sighting("phone", 1, STREET, now)], now)
    feed = feeds.rider_position(live.caller(made.customer), live.hub, made.order_id)
    assert (await soon(feed)).position.at == now
    waiting = asyncio.create_task(soon(feed))
    await asyncio.sleep(0)
    live.hub.saw(RiderSeen(rider.id, 1.0, 1.0, now - timedelta(seconds=2)))
    for _ in range(3):
        await asyncio.sleep(0)
    live.hub.saw(RiderSeen(rider.id, HOME.point.lat, HOME.point.lng, now + timedelta(seconds=2)))
    assert (await waiting).position.point == HOME.point
    await feed.aclose()


async def test_strangers_see_no_rider(engine, live):
    made, rider = await trip(engine), await on_duty(engine)
    await assigned(engine, made.delivery_id, rider)
    for who in (await account(engine), (await shop(engine)).owner, await on_duty(engine)):
        with pytest.raises(Refused) as no:
            await soon(feeds.rider_position(live.caller(who), live.hub, made.order_id))
        assert isinstance(no.value.refusal, NotFound)


async def test_reports_are_kept_while_there_is_a_reason_to(engine, live):
    rider = await on_duty(engine)
    idle = await live.report(rider, 1)
    assert (idle.accepted, idle.next_in_seconds) == (1, 10)
    assert (await live.report(rider, 1)).accepted == 0
    await assigned(engine, (await trip(engine)).delivery_id, rider)
    assert (await live.report(rider, 2)).next_in_seconds < 10
    other = await on_duty(engine)
    await riding.set_duty(live.caller(other), False)
    off = await live.report(other, 1)
    assert (off.accepted, off.next_in_seconds) == (0, 60)
    assert await live.positions.latest([other.id]) == {}


async def test_who_goes_off_duty_is_forgotten(engine, live):
    rider = await on_duty(engine)
    await live.report(rider, 1)
    assert rider.id in await live.positions.latest([rider.id])
    await riding.set_duty(live.caller(rider), False)
    assert await live.positions.latest([rider.id]) == {}


async def test_without_a_bus_this_process_still_sees_its_riders(engine, live):
    made, rider = await trip(engine), await on_duty(engine)
    await picked_up(engine, made.delivery_id, rider)
    await live.tell()
    feed = feeds.rider_position(live.caller(made.customer), live.hub, made.order_id)
    assert (await soon(feed)).position is None
    live.bus.up = False
    await live.report(rider, 1)
    assert (await soon(feed)).position.point == STREET
    live.bus.up = True
    await feed.aclose()


async def test_no_log_line_has_a_place(engine, live, caplog):
    caplog.set_level("DEBUG")
    made, rider = await trip(engine), await on_duty(engine)
    await picked_up(engine, made.delivery_id, rider)
    caplog.clear()
    await live.report(rider, 1, Point(12.34567, 76.54321))
    assert "12.34567" not in caplog.text
    assert "76.54321" not in caplog.text
