"""A store's board: its deliveries and their riders, as one feed tells them."""

import asyncio
from datetime import timedelta

import pytest
from sqlalchemy import delete, func, select

from db import tables as t
from db.ids import new_id
from db.reads import Reads
from domain import dispatch, riders
from domain.bus import RiderSeen
from domain.delivery import DeliveryStatus
from domain.identity import MerchantRole
from domain.orders import ReasonCode
from domain.places import Point
from domain.positions import Sighting
from domain.refusals import InvalidInput, NotFound, Refused
from subscriptions import delivery as feeds
from subscriptions import feeds as following
from tests.subscriptions.process import STREET, quiet, soon
from tests.trips import assigned, code_of, on_duty, picked_up, support, trips
from tests.waiting import until
from tests.world import HOME, account, member, shop

D = DeliveryStatus
CORNER = Point(12.9900, 77.6100)


@pytest.fixture
async def stall(engine):
    return await shop(engine)


@pytest.fixture
async def desk(engine):
    return await support(engine)


async def trip(engine, stall):
    return (await trips(engine, [stall]))[0]


def watch(live, who, stall, after=None):
    return feeds.delivery_board(live.caller(who), live.hub, stall.store_id, after)


def steps(frame):
    return [(one.delivery.id, one.status) for one in frame.changes]


def places(frame):
    return {one.delivery_id: one.position.point for one in frame.positions}


async def seen(live, rider, point, ahead_s=1):
    """As the bus tells it, of whoever: not what a report would keep to itself."""
    now = await Reads(live.engine).value(select(func.clock_timestamp()))
    live.hub.saw(RiderSeen(rider.id, point.lat, point.lng, now + timedelta(seconds=ahead_s)))


async def test_it_begins_with_what_lives_and_where_its_riders_are(engine, live, stall, desk):
    searching, brought, done = [await trip(engine, stall) for _ in range(3)]
    elsewhere = await trip(engine, await shop(engine))
    rider, other = await on_duty(engine, "Ravi"), await on_duty(engine)
    await picked_up(engine, done.delivery_id, rider)
    await live.do(riders.deliver, done.delivery_id, await code_of(engine, done.order_id), rider)
    await picked_up(engine, brought.delivery_id, rider)
    await assigned(engine, elsewhere.delivery_id, other)
    for one in (rider, other):
        await live.report(one, 1)
    await live.tell()
    for who in (stall.owner, desk, await member(engine, stall, MerchantRole.CLERK, [stall.store_id])):
        feed = watch(live, who, stall)
        frame = await soon(feed)
        assert frame.reset
        assert steps(frame) == [(searching.delivery_id, D.SEARCHING), (brought.delivery_id, D.PICKED_UP)]
        assert [one.delivery.rider_name for one in frame.changes] == [None, "Ravi"]
        assert [one.delivery.order_id for one in frame.changes] == [searching.order_id, brought.order_id]
        [place] = frame.positions
        assert (place.delivery_id, place.position.point) == (brought.delivery_id, STREET)
        assert place.eta_at != frame.changes[1].delivery.eta_at  # from there, not as it was promised
        await feed.aclose()


async def test_every_step_and_every_rider_comes_in_one_stream(engine, live, stall, desk):
    one, other = await trip(engine, stall), await trip(engine, stall)
    ravi, joy = await on_duty(engine), await on_duty(engine)
    await live.tell()
    feed = watch(live, stall.owner, stall)
    assert (steps(first := await soon(feed)), first.positions) == (
        [(one.delivery_id, D.SEARCHING), (other.delivery_id, D.SEARCHING)],
        [],
    )
    await live.report(ravi, 1)  # on duty, and bringing nothing
    await live.do(dispatch.assign_rider, one.delivery_id, ravi.id, desk)
    frame = await soon(feed)
    assert (steps(frame), places(frame)) == ([(one.delivery_id, D.ASSIGNED)], {one.delivery_id: STREET})
    await live.do(dispatch.assign_rider, other.delivery_id, joy.id, desk)
    assert steps(await soon(feed)) == [(other.delivery_id, D.ASSIGNED)]
    await live.report(joy, 1, CORNER)
    assert places(await soon(feed)) == {other.delivery_id: CORNER}
    await live.report(joy, 2, HOME.point)  # within the second
    await live.do(riders.arrive_at_store, one.delivery_id, ravi)
    await live.do(riders.pick_up, one.delivery_id, ravi)
    frames = [await soon(feed)]
    while (one.delivery_id, D.PICKED_UP) not in steps(frames[-1]):
        frames.append(await soon(feed))
    assert [step for frame in frames for step in steps(frame)] == [(one.delivery_id, D.AT_STORE), (one.delivery_id, D.PICKED_UP)]
    assert [places(frame) for frame in frames if frame.positions] == []
    await feed.aclose()
    assert (live.hub._joined, live.hub._besides) == ({}, {})


async def test_two_deliveries_of_one_rider_have_each_their_place(engine, live, stall, desk):
    one, other, rider = await trip(engine, stall), await trip(engine, stall), await on_duty(engine)
    await live.do(dispatch.assign_rider, one.delivery_id, rider.id, desk)
    await live.report(rider, 1)
    feed = watch(live, stall.owner, stall)
    assert places(await soon(feed)) == {one.delivery_id: STREET}
    await live.do(dispatch.assign_rider, other.delivery_id, rider.id, desk)
    assert places(await soon(feed)) == {other.delivery_id: STREET}
    await seen(live, rider, CORNER)
    assert places(await soon(feed)) == {one.delivery_id: CORNER, other.delivery_id: CORNER}
    await feed.aclose()


async def delivered(engine, live, made, rider, desk):
    await live.do(riders.pick_up, made.delivery_id, rider)
    await live.do(riders.deliver, made.delivery_id, await code_of(engine, made.order_id), rider)


async def lost(engine, live, made, rider, desk):
    await live.do(riders.pick_up, made.delivery_id, rider)
    await live.do(riders.fail_delivery, riders.FailDelivery(made.delivery_id, ReasonCode.LOST, None), rider)


async def dropped(engine, live, made, rider, desk):
    await live.do(riders.drop_delivery, made.delivery_id, ReasonCode.VEHICLE, rider)


async def given_to_another(engine, live, made, rider, desk):
    await live.do(dispatch.assign_rider, made.delivery_id, (await on_duty(engine)).id, desk)


@pytest.mark.parametrize("end", [delivered, lost, dropped, given_to_another])
async def test_a_rider_who_brings_nothing_of_the_stores_any_more_is_not_seen(engine, live, stall, desk, end):
    made, rider = await trip(engine, stall), await on_duty(engine)
    elsewhere, still, other = await trip(engine, await shop(engine)), await trip(engine, stall), await on_duty(engine)
    for one, who in ((made, rider), (elsewhere, rider), (still, other)):
        await live.do(dispatch.assign_rider, one.delivery_id, who.id, desk)
    feed = watch(live, stall.owner, stall)
    frame = await soon(feed)
    assert {id for id, _ in steps(frame)} == {made.delivery_id, still.delivery_id}  # not what the rider brings for others
    await seen(live, rider, STREET)
    assert places(await soon(feed)) == {made.delivery_id: STREET}
    await end(engine, live, made, rider, desk)
    await until(lambda: live.hub.pos == live.relay.pos)
    await seen(live, rider, CORNER, 2)  # at once with the end: they are in one batch
    told = await soon(feed)
    while len(steps(told)) == 0 or steps(told)[-1][1] is D.PICKED_UP:
        told = await soon(feed)
    assert places(told) == {}
    await live.do(riders.pick_up, elsewhere.delivery_id, rider)  # nor is what goes on with them elsewhere
    await seen(live, rider, CORNER, 3)
    await seen(live, other, HOME.point)
    frame = await soon(feed)
    assert (steps(frame), places(frame)) == ([], {still.delivery_id: HOME.point})
    await feed.aclose()


async def test_when_the_rider_changes_the_new_one_is_seen_at_once(engine, live, stall, desk):
    made, rider, other = await trip(engine, stall), await on_duty(engine), await on_duty(engine)
    await live.do(dispatch.assign_rider, made.delivery_id, rider.id, desk)
    await live.report(rider, 1)
    await live.report(other, 1, CORNER, ago_s=5)  # before the one who had it
    feed = watch(live, stall.owner, stall)
    assert places(await soon(feed)) == {made.delivery_id: STREET}
    await live.do(dispatch.assign_rider, made.delivery_id, other.id, desk)
    frame = await soon(feed)
    assert (steps(frame)[-1], places(frame)) == ((made.delivery_id, D.ASSIGNED), {made.delivery_id: CORNER})
    await feed.aclose()


async def test_an_older_place_never_follows_a_newer_one(engine, live, stall, desk):
    made, rider = await trip(engine, stall), await on_duty(engine)
    await live.do(dispatch.assign_rider, made.delivery_id, rider.id, desk)
    await live.report(rider, 1)
    feed = watch(live, stall.owner, stall)
    assert places(await soon(feed)) == {made.delivery_id: STREET}
    waiting = asyncio.create_task(soon(feed))
    await asyncio.sleep(0)
    await seen(live, rider, CORNER, -5)
    await live.do(riders.pick_up, made.delivery_id, rider)
    frame = await waiting
    assert (steps(frame), places(frame)) == ([(made.delivery_id, D.PICKED_UP)], {})
    await feed.aclose()


async def test_what_was_missed_comes_with_where_everybody_is(engine, live, stall, desk):
    made, rider = await trip(engine, stall), await on_duty(engine)
    await live.tell()
    feed = watch(live, stall.owner, stall)
    cursor = (await soon(feed)).cursor
    await feed.aclose()
    await live.do(dispatch.assign_rider, made.delivery_id, rider.id, desk)
    await live.do(riders.pick_up, made.delivery_id, rider)
    await live.report(rider, 1)
    feed = watch(live, stall.owner, stall, cursor)
    frame = await soon(feed)
    assert not frame.reset
    assert (steps(frame), places(frame)) == (
        [(made.delivery_id, D.ASSIGNED), (made.delivery_id, D.PICKED_UP)],
        {made.delivery_id: STREET},
    )
    await feed.aclose()
    feed = watch(live, stall.owner, stall, frame.cursor)
    assert places(await soon(feed)) == {made.delivery_id: STREET}
    await seen(live, rider, CORNER)
    assert places(await soon(feed)) == {made.delivery_id: CORNER}
    await feed.aclose()
    with pytest.raises(Refused) as no:
        watch(live, stall.owner, await shop(engine), frame.cursor)
    assert isinstance(no.value.refusal, InvalidInput)


async def test_without_a_bus_it_looks_where_they_are(engine, live, stall, desk, monkeypatch):
    monkeypatch.setattr(following, "CHECKED_S", 0.05)
    made, rider = await trip(engine, stall), await on_duty(engine)
    await live.do(dispatch.assign_rider, made.delivery_id, rider.id, desk)
    feed = watch(live, stall.owner, stall)
    assert places(await soon(feed)) == {}
    live.bus.up = False
    try:
        now = await Reads(engine).value(select(func.clock_timestamp()))
        await live.positions.keep(rider.id, [Sighting("phone", 1, STREET, now)], now)  # reported to another server
        frame = await soon(feed)
    finally:
        live.bus.up = True
    assert (frame.degraded, places(frame)) == (True, {made.delivery_id: STREET})
    await feed.aclose()


async def test_strangers_see_no_board(engine, live, stall, desk):
    clerk_elsewhere = await member(engine, stall, MerchantRole.CLERK, [])
    for who in (await account(engine), (await shop(engine)).owner, await on_duty(engine), clerk_elsewhere):
        with pytest.raises(Refused) as no:
            await soon(watch(live, who, stall))
        assert isinstance(no.value.refusal, NotFound)
    with pytest.raises(Refused) as no:
        await soon(feeds.delivery_board(live.caller(desk), live.hub, new_id()))
    assert isinstance(no.value.refusal, NotFound)


async def test_it_ends_for_who_works_there_no_more(engine, live, stall, monkeypatch):
    monkeypatch.setattr(following, "CHECKED_S", 0.05)
    clerk = await member(engine, stall, MerchantRole.CLERK, [stall.store_id])
    feed = watch(live, clerk, stall)
    await soon(feed)
    async with engine.begin() as connection:
        await connection.execute(delete(t.member_store).where(t.member_store.c.user_id == clerk.id))
    with pytest.raises(StopAsyncIteration):
        await soon(feed)


async def test_nothing_comes_of_another_store(engine, live, stall, desk):
    feed = watch(live, stall.owner, stall)
    assert (await soon(feed)).changes == []
    elsewhere, rider = await trip(engine, await shop(engine)), await on_duty(engine)
    await live.do(dispatch.assign_rider, elsewhere.delivery_id, rider.id, desk)
    await live.report(rider, 1)
    await quiet(feed)
