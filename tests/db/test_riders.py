"""Duty and the slow copy of positions, on the real database."""

import asyncio
from datetime import timedelta

import pytest
from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncEngine

from db import riders
from db import tables as t
from db.reads import Reads
from db.unit_of_work import unit_of_work
from domain import riders as riding
from domain.identity import ANYBODY, CLOCK
from domain.places import Point
from domain.positions import Sighting
from domain.refusals import Conflict, NotFound, Refused
from tests.trips import assigned, nobody, offered, on_duty, picked_up, support, trip
from tests.world import account, shop


@pytest.fixture
def reads(engine: AsyncEngine) -> Reads:
    return Reads(engine)


async def set_duty(engine, rider, on_duty):
    async with unit_of_work(engine) as uow:
        await riding.set_duty(on_duty, rider, uow)


async def keep(engine, rider, *told):
    async with unit_of_work(engine) as uow:
        for one in told:
            await uow.riders.keep_position(rider.id, one)


async def versions(engine, rider):
    e = t.event.c
    async with engine.connect() as connection:
        found = await connection.execute(select(e.seq).where(e.stream == "rider", e.entity_id == rider.id).order_by(e.seq))
        return list(found.scalars())


async def test_duty_said_twice_is_said_once(engine, reads):
    rider = await on_duty(engine)
    await set_duty(engine, rider, True)
    assert await versions(engine, rider) == [1]
    await set_duty(engine, rider, False)
    await asyncio.gather(*(set_duty(engine, rider, True) for _ in range(10)))
    assert await versions(engine, rider) == [1, 2, 3]
    assert (await riders.rider_by_id(reads, rider, rider.id)).on_duty


async def test_off_duty_with_a_delivery_under_way_is_refused(engine):
    made, rider = await trip(engine), await on_duty(engine)
    await assigned(engine, made.delivery_id, rider)
    with pytest.raises(Refused) as no:
        await set_duty(engine, rider, False)
    assert isinstance(no.value.refusal, Conflict)
    assert await versions(engine, rider) == [1]


async def test_who_is_no_rider_has_no_duty(engine):
    for who in (nobody(), await account(engine), ANYBODY):
        with pytest.raises(Refused) as no:
            await set_duty(engine, who, True)
        assert isinstance(no.value.refusal, NotFound)


async def test_a_rider_is_their_own_and_supports(engine, reads):
    rider, other, desk = await on_duty(engine), await on_duty(engine), await support(engine)
    for who in (rider, desk):
        assert await riders.rider_by_id(reads, who, rider.id) is not None
    for who in (other, await account(engine), (await shop(engine)).owner, ANYBODY, CLOCK):
        assert await riders.rider_by_id(reads, who, rider.id) is None


async def test_the_slow_copy_keeps_the_latest_and_forgets_who_goes_off_duty(engine, reads):
    rider = await on_duty(engine)
    now = await reads.value(select(func.clock_timestamp()))
    new, old = Point(12.98, 77.6), Point(12.97, 77.59)
    await keep(engine, rider, Sighting("phone", 2, new, now, None, 180))
    await keep(engine, rider, Sighting("phone", 1, old, now - timedelta(seconds=5)))
    kept = (await riders.saved_positions(reads, [rider.id]))[rider.id]
    assert (kept.point, kept.heading_degrees, kept.at) == (new, 180, now)
    await set_duty(engine, rider, False)
    assert await riders.saved_positions(reads, [rider.id]) == {}


async def test_nobody_is_where_they_were_a_minute_ago(engine, reads):
    rider = await on_duty(engine)
    now = await reads.value(select(func.clock_timestamp()))
    await keep(engine, rider, Sighting("phone", 1, Point(12.98, 77.6), now - timedelta(seconds=60)))
    assert await riders.saved_positions(reads, [rider.id]) == {}


async def track_of(engine, delivery_id):
    async with engine.connect() as connection:
        d = t.delivery.c
        return (await connection.execute(select(d.track).where(d.id == delivery_id))).scalar_one()


async def test_a_thinned_track_stays_with_what_is_under_way(engine, reads):
    made, rider = await trip(engine), await on_duty(engine)
    await assigned(engine, made.delivery_id, rider)
    now = await reads.value(select(func.clock_timestamp()))
    told = [Sighting("phone", n, Point(12.97 + n / 1000, 77.59), now + timedelta(seconds=10 * n)) for n in range(13)]
    await keep(engine, rider, *told)
    assert await track_of(engine, made.delivery_id) == []  # not before the goods are with the rider
    async with unit_of_work(engine) as uow:
        await riding.pick_up(made.delivery_id, rider, uow)
    await keep(engine, rider, *told)
    track = await track_of(engine, made.delivery_id)
    assert [round(lat * 1000 - 12970) for lat, _, _ in track] == [0, 3, 6, 9, 12]
    assert track[1][2] - track[0][2] == 30


async def test_a_position_waits_for_nobody(engine, reads):
    made, rider = await trip(engine), await on_duty(engine)
    await picked_up(engine, made.delivery_id, rider)
    now = await reads.value(select(func.clock_timestamp()))
    async with unit_of_work(engine) as uow:
        await uow.deliveries.lock(made.order_id)
        async with asyncio.timeout(2):
            await keep(engine, rider, Sighting("phone", 1, Point(12.98, 77.6), now))
    assert rider.id in await riders.saved_positions(reads, [rider.id])
    assert await track_of(engine, made.delivery_id) == []


async def test_where_a_rider_stands_is_their_duty_and_what_they_bring(engine, reads):
    rider = await account(engine)
    assert await riders.standing(reads, rider) is None
    made, rider = await trip(engine), await on_duty(engine)
    assert (await riders.standing(reads, rider)).trips == []
    await offered(engine, made.delivery_id, rider)
    assert (await riders.standing(reads, rider)).trips == []
    other = await trip(engine)
    second = await on_duty(engine)
    await picked_up(engine, other.delivery_id, second)
    (one,) = (await riders.standing(reads, second)).trips
    assert one.goal == one.door
    assert (await riders.standing(reads, second)).on_duty
