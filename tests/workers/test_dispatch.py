"""The dispatcher's loop, on the real database."""

import asyncio
import contextlib
import logging

import pytest
from sqlalchemy import func, select, text, update

from adapters.bus import open_bus
from adapters.positions import MemoryPositions
from db import tables as t
from db.reads import Reads
from db.unit_of_work import unit_of_work
from domain import dispatch, riders
from domain.bus import Message
from domain.delivery import OfferStatus
from domain.dispatch import Nearest
from domain.events import Topic
from domain.orders import ReasonCode
from domain.places import Point
from domain.positions import Sighting
from tests.trips import on_duty, trip
from workers import dispatch as worker
from workers.dispatch import REST_S, Dispatching

FAR, NEAR = Point(13.0, 77.65), Point(12.9720, 77.5950)


@pytest.fixture(autouse=True)
async def alone(engine):
    """Nobody of another test is on duty, and nothing of it is looked for."""
    async with engine.begin() as connection:
        await connection.execute(update(t.rider).values(on_duty=False))
        gone = {"status": "CANCELLED", "ended_at": func.clock_timestamp()}
        await connection.execute(update(t.delivery).where(t.delivery.c.status == "SEARCHING").values(**gone))
        await connection.execute(update(t.offer).where(t.offer.c.status == "OPEN").values(status="WITHDRAWN"))
        await connection.execute(update(t.offer_delivery).values(open=False))


@pytest.fixture
async def bus():
    bus = open_bus("memory://")
    await bus.start()
    yield bus
    await bus.stop()


class Clock:
    at = 0.0

    def __call__(self):
        return self.at


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def positions():
    return MemoryPositions()


@pytest.fixture
def dispatching(engine, bus, clock, positions):
    return Dispatching(Reads(engine), lambda: unit_of_work(engine), positions, bus, Nearest(), clock)


async def at(engine, positions, rider, point):
    now = await Reads(engine).value(select(func.clock_timestamp()))
    await positions.keep(rider.id, [Sighting("phone", 1, point, now)], now)


async def asked(engine, delivery_id):
    """Whom it was offered to, in order, and what became of each offer."""
    o, part = t.offer.c, t.offer_delivery.c
    found = select(o.rider_id, o.status).join(t.offer_delivery, part.offer_id == o.id).where(part.delivery_id == delivery_id)
    async with engine.connect() as connection:
        return [(row.rider_id, row.status) for row in await connection.execute(found.order_by(o.id))]


async def let_pass(engine):
    async with engine.begin() as connection:
        past = func.clock_timestamp() - text("interval '1 second'")
        await connection.execute(update(t.offer).where(t.offer.c.status == OfferStatus.OPEN).values(expires_at=past))


async def test_the_nearest_is_asked_first_then_the_next_then_who_is_nowhere(engine, dispatching, positions, clock):
    made = await trip(engine)
    nowhere, far, near = [await on_duty(engine) for _ in range(3)]
    await at(engine, positions, far, FAR)
    await at(engine, positions, near, NEAR)
    for _ in range(3):
        await dispatching.once()
        await let_pass(engine)
    assert [rider_id for rider_id, _ in await asked(engine, made.delivery_id)] == [near.id, near.id, far.id]
    for _ in range(4):
        await dispatching.once()
        await let_pass(engine)
    said = [rider_id for rider_id, _ in await asked(engine, made.delivery_id)]
    assert said == [near.id] * 2 + [far.id] * 2 + [nowhere.id] * 2  # twice each, and then there is nobody


async def test_who_declines_makes_way_at_once(engine, dispatching):
    made, one, other = await trip(engine), await on_duty(engine), await on_duty(engine)
    await dispatching.once()
    ((first, _),) = await asked(engine, made.delivery_id)
    async with engine.connect() as connection:
        offer_id = (await connection.execute(select(t.offer.c.id).where(t.offer.c.rider_id == first))).scalar_one()
    decliner = one if one.id == first else other
    async with unit_of_work(engine) as uow:
        await dispatch.decline_offer(offer_id, ReasonCode.VEHICLE, decliner, uow)
    await dispatching.once()
    assert [status for _, status in await asked(engine, made.delivery_id)] == [(OfferStatus.DECLINED), (OfferStatus.OPEN)]
    assert {rider_id for rider_id, _ in await asked(engine, made.delivery_id)} == {one.id, other.id}


async def test_a_delivery_for_which_there_was_nobody_rests_a_little(engine, dispatching, clock):
    made = await trip(engine)
    await dispatching.once()
    rider = await on_duty(engine)
    await dispatching.once()
    assert await asked(engine, made.delivery_id) == []
    clock.at += REST_S
    await dispatching.once()
    assert await asked(engine, made.delivery_id) == [(rider.id, OfferStatus.OPEN)]


async def test_several_at_once_ask_one_rider_each(engine, bus, positions):
    made = [await trip(engine) for _ in range(6)]
    them = [await on_duty(engine) for _ in range(6)]
    many = [Dispatching(Reads(engine), lambda: unit_of_work(engine), positions, bus, Nearest()) for _ in range(4)]
    while True:
        await asyncio.gather(*(one.once() for one in many))
        said = [await asked(engine, one.delivery_id) for one in made]
        if all(said):
            break
        many = [Dispatching(Reads(engine), lambda: unit_of_work(engine), positions, bus, Nearest()) for _ in range(4)]
    assert [len(one) for one in said] == [1] * 6
    assert {one[0][0] for one in said} == {rider.id for rider in them}


async def test_nobody_found_in_time_is_logged_once(engine, dispatching, caplog):
    made = await trip(engine)
    async with engine.begin() as connection:
        past = func.clock_timestamp() - text("interval '1 second'")
        await connection.execute(update(t.delivery).where(t.delivery.c.id == made.delivery_id).values(search_until=past))
    with caplog.at_level(logging.WARNING, "haat.dispatch"):
        await dispatching.once()
        await dispatching.once()
    assert [record.getMessage() for record in caplog.records] == [f"delivery {made.delivery_id} finds no rider"]


async def test_the_loop_wakes_when_a_delivery_begins_and_outlives_a_failed_round(engine, bus, positions, monkeypatch, caplog):
    monkeypatch.setattr(worker, "POLL_S", 0.01)
    failing = iter([True, True])

    @contextlib.asynccontextmanager
    async def begin():
        if next(failing, False):
            raise ConnectionError("the database is away")
        async with unit_of_work(engine) as uow:
            yield uow

    running = asyncio.create_task(Dispatching(Reads(engine), begin, positions, bus, Nearest()).run())
    rider, made = await on_duty(engine), await trip(engine)
    async with asyncio.timeout(5):
        while not await asked(engine, made.delivery_id):
            await bus.publish(Message(Topic.DELIVERY.value, ""))
            await asyncio.sleep(0.02)
    running.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await running
    assert await asked(engine, made.delivery_id) == [(rider.id, OfferStatus.OPEN)]
    assert "a round failed" in caplog.text


async def test_a_woken_loop_does_not_wait_for_its_poll(engine, bus, positions, monkeypatch):
    monkeypatch.setattr(worker, "POLL_S", 60)
    rounds = asyncio.Queue()
    dispatching = Dispatching(Reads(engine), lambda: unit_of_work(engine), positions, bus, Nearest())
    once = dispatching.once

    async def counted():
        await once()
        rounds.put_nowait(None)

    monkeypatch.setattr(dispatching, "once", counted)
    running = asyncio.create_task(dispatching.run())
    async with asyncio.timeout(5):
        await rounds.get()
        made, rider = await trip(engine), await on_duty(engine)
        await bus.publish(Message(Topic.DELIVERY.value, ""))
        await rounds.get()
    running.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await running
    assert await asked(engine, made.delivery_id) == [(rider.id, OfferStatus.OPEN)]


async def test_from_the_offer_to_the_door_the_rider_is_asked_for_nothing_else(engine, dispatching):
    made, rider = await trip(engine), await on_duty(engine)
    await dispatching.once()
    async with engine.connect() as connection:
        offer_id = (await connection.execute(select(t.offer.c.id).where(t.offer.c.rider_id == rider.id))).scalar_one()
    async with unit_of_work(engine) as uow:
        await dispatch.accept_offer(offer_id, rider, uow)
    other = await trip(engine)
    await dispatching.once()
    assert await asked(engine, other.delivery_id) == []
    async with unit_of_work(engine) as uow:
        await riders.pick_up(made.delivery_id, rider, uow)
