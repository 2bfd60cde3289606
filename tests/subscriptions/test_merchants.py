"""When stores take orders, as a feed tells it."""

import asyncio
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import update

from db.ids import new_id
from db.reads import Reads
from db.tables import store
from db.unit_of_work import unit_of_work
from domain.identity import ANYBODY, CLOCK
from domain.merchants import Hours, SetStoreStatus, StoreStatus, set_store_status, tell_due
from domain.refusals import InvalidInput, NotFound, Refused
from resolvers.context import Context
from subscriptions.following import Following
from subscriptions.merchants import MOST
from subscriptions.merchants import store_status as status_of
from tests.waiting import until
from tests.world import shop


@pytest.fixture
async def stores(engine):
    return [(await shop(engine)).store_id for _ in range(3)]


@pytest.fixture
def follow(engine, hub):
    context = Context(ANYBODY, Reads(engine), None, None, None)
    return lambda ids, after=None: status_of(context, Following(hub), ids, after)


@pytest.fixture
def say(engine, relay):
    async def say(store_id, status, **more):
        async with unit_of_work(engine) as uow:
            await set_store_status(SetStoreStatus(store_id, status, **more), CLOCK, uow)
        await relay.publish(*await relay.stamp())

    return say


async def frame(feed):
    async with asyncio.timeout(5):
        return await anext(feed)


def told(frame):
    return {one.store_id: (one.status, one.is_open, one.version) for one in frame.statuses}


OPEN, PAUSED = (StoreStatus.OPEN, True), (StoreStatus.PAUSED, False)


async def test_it_begins_with_the_stores_asked_for_and_goes_on_with_their_changes(hub, stores, follow, say):
    a, b, c = stores
    feed = follow([a, b, a])
    first = await frame(feed)
    assert (first.reset, first.degraded, told(first)) == (True, False, {a: (*OPEN, 1), b: (*OPEN, 1)})
    end = datetime.now(UTC) + timedelta(hours=1)
    await say(c, StoreStatus.PAUSED)
    await say(b, StoreStatus.PAUSED, until=end, reason="the cook is ill")
    second = await frame(feed)
    assert (second.reset, told(second)) == (False, {b: (*PAUSED, 2)})
    assert [(one.opens_at, one.until, one.closes_at) for one in second.statuses] == [(end, end, None)]
    await feed.aclose()
    await until(lambda: hub.figures.joined == 0)


async def test_what_the_clock_does_is_told(engine, relay, stores, follow):
    now = datetime.now(UTC).replace(second=0, microsecond=0)
    store_id = stores[0]

    async def looked_at():
        async with unit_of_work(engine) as uow:
            await tell_due(uow, 1_000)
        await relay.publish(*await relay.stamp())

    await looked_at()
    feed = follow([store_id])
    assert told(await frame(feed)) == {store_id: (*OPEN, 1)}
    async with engine.begin() as connection:
        await connection.execute(update(store).where(store.c.id == store_id).values(time_zone="UTC"))
    async with unit_of_work(engine) as uow:
        opens = now + timedelta(hours=2)
        await uow.merchants.set_hours(store_id, [Hours(opens.weekday(), opens.hour * 60 + opens.minute, 24 * 60)])
    await looked_at()
    second = await frame(feed)
    assert told(second) == {store_id: (StoreStatus.CLOSED, False, 2)}
    assert second.statuses[0].opens_at == opens
    await feed.aclose()


async def test_all_who_ask_for_the_same_stores_are_given_the_same_frames(hub, stores, follow, say):
    feeds = [follow(stores), follow(stores[::-1]), follow([*stores, stores[0]])]
    firsts = [await frame(feed) for feed in feeds]
    await say(stores[1], StoreStatus.BUSY)
    seconds = [await frame(feed) for feed in feeds]
    for frames in (firsts, seconds):
        assert all(one is frames[0] for one in frames)
    assert hub.figures.joined == 1
    for feed in feeds:
        await feed.aclose()


async def test_a_client_that_returns_gets_what_it_missed_and_no_snapshot(stores, follow, say):
    feed = follow(stores)
    place = (await frame(feed)).cursor
    await feed.aclose()
    await say(stores[0], StoreStatus.PAUSED)
    await say(stores[0], StoreStatus.OPEN)
    feed = follow(stores[::-1], place)
    back = await frame(feed)
    assert (back.reset, told(back)) == (False, {stores[0]: (*OPEN, 3)})
    await feed.aclose()
    with pytest.raises(Refused) as no:
        follow(stores[:1], place)
    assert isinstance(no.value.refusal, InvalidInput)


async def test_a_store_that_is_not_there_or_not_any_more_is_not_found(engine, hub, stores, follow):
    async with engine.begin() as connection:
        await connection.execute(update(store).where(store.c.id == stores[0]).values(archived_at=datetime.now(UTC)))
    for id in (new_id(), stores[0]):
        with pytest.raises(Refused) as no:
            await frame(follow([stores[1], id]))
        assert isinstance(no.value.refusal, NotFound)
    await until(lambda: hub.figures.joined == 0)


async def test_of_no_stores_there_is_nothing_to_tell(follow):
    feed = follow([])
    first = await frame(feed)
    assert (first.reset, list(first.statuses)) == (True, [])
    await feed.aclose()


def test_too_many_stores_are_refused_before_anything_is_joined(follow):
    with pytest.raises(Refused) as no:
        follow([new_id() for _ in range(MOST + 1)])
    assert isinstance(no.value.refusal, InvalidInput)
