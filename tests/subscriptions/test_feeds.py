import asyncio
import base64
import json
from dataclasses import dataclass, replace

import pytest
from sqlalchemy import insert, text, update

from db.events import SqlEventLog
from db.ids import new_id
from db.reads import Reads
from db.tables import event, listing, merchant, product, stock_level, store, variant
from domain.identity import ANYBODY
from domain.refusals import InvalidInput, NotFound, Refused, Unavailable, not_found
from domain.stock import StockChanged
from resolvers.context import Context
from subscriptions.feeds import Feed, Snapshot, follow
from subscriptions.following import Following
from subscriptions.stock import MOST
from subscriptions.stock import stock as stock_of
from tests.logs import ThingMoved, level
from tests.waiting import until


def stock(context, hub, *asked):
    """As one more client's."""
    return stock_of(context, hub if isinstance(hub, Following) else Following(hub), *asked)


async def frames(feed, count, within_s=5.0):
    async with asyncio.timeout(within_s):
        return [await anext(feed) for _ in range(count)]


async def frame(feed, within_s=5.0):
    return (await frames(feed, 1, within_s))[0]


async def quiet(feed, for_s=0.3):
    """Nothing comes. The feed must not be used afterwards."""
    with pytest.raises(TimeoutError):
        await frame(feed, for_s)


@dataclass
class Shelf:
    """One store's listings, with levels whose available is their version."""

    engine: object
    merchant_id: object
    store_id: object
    ids: list

    async def change(self, *ids, log=True):
        async with self.engine.begin() as connection:
            changed = [level_ for id in ids for level_ in [await self.step(connection, id)]]
            await SqlEventLog(connection).add(*(StockChanged(one) for one in changed))

    async def step(self, connection, id):
        version = await connection.execute(
            update(stock_level)
            .where(stock_level.c.listing_id == id)
            .values(version=stock_level.c.version + 1, on_hand=stock_level.c.version + 1)
            .returning(stock_level.c.version)
        )
        return level(id, self.store_id, version.scalar_one())


async def stocked(engine, count):
    ids = {name: new_id() for name in ("merchant", "store", "product")}
    listings = [new_id() for _ in range(count)]
    async with engine.begin() as connection:
        add = connection.execute
        await add(insert(merchant), {"id": ids["merchant"], "name": "M", "slug": str(ids["merchant"])})
        own = {"merchant_id": ids["merchant"]}
        await add(
            insert(store),
            {**own, "id": ids["store"], "slug": str(ids["store"]), "name": "S", "city": "C", "lat": 12.9, "lng": 77.6},
        )
        await add(insert(product), {**own, "id": ids["product"], "name": "P"})
        for id in listings:
            await add(insert(variant), {**own, "id": id, "product_id": ids["product"], "sku": str(id)})
            await add(
                insert(listing).values(
                    **own, id=id, store_id=ids["store"], product_id=ids["product"], variant_id=id, name="P", price_minor=100,
                    told_at=text("now()"),
                )
            )  # fmt: skip
            await add(
                insert(stock_level).values(
                    listing_id=id, store_id=ids["store"], merchant_id=ids["merchant"], tracked=True, on_hand=1, version=1
                )
            )
    return Shelf(engine, ids["merchant"], ids["store"], listings)


@pytest.fixture
async def shelf(engine):
    return await stocked(engine, 4)


@pytest.fixture
async def other_shelf(engine):
    return await stocked(engine, 1)


@pytest.fixture
def context(engine):
    return Context(ANYBODY, Reads(engine), None, None, None)


async def moved(relay):
    await relay.publish(*await relay.stamp())


# ---------------------------------------------------------------- stock


async def test_stock_begins_with_the_levels_asked_for_and_goes_on_with_their_changes(context, hub, relay, shelf):
    a, b, c, _ = shelf.ids
    feed = stock(context, hub, shelf.store_id, [a, b, a])
    first = await frame(feed)
    assert (first.reset, first.degraded, {one.listing_id: one.available for one in first.levels}) == (True, False, {a: 1, b: 1})
    await shelf.change(a, c)
    await moved(relay)
    second = await frame(feed)
    assert (second.reset, [(one.listing_id, one.version) for one in second.levels]) == (False, [(a, 2)])
    await feed.aclose()
    await until(lambda: hub.figures.joined == 0)


async def test_without_ids_every_change_of_the_store_comes_after_an_empty_snapshot(context, hub, relay, shelf, other_shelf):
    feed = stock(context, hub, shelf.store_id, None)
    first = await frame(feed)
    assert (first.reset, list(first.levels)) == (True, [])
    await other_shelf.change(*other_shelf.ids)
    await shelf.change(*shelf.ids)
    await moved(relay)
    assert {one.listing_id for one in (await frame(feed)).levels} == set(shelf.ids)
    await feed.aclose()


async def test_listings_of_other_stores_are_left_out(context, hub, relay, shelf, other_shelf):
    feed = stock(context, hub, shelf.store_id, [shelf.ids[0], other_shelf.ids[0], new_id()])
    assert [one.listing_id for one in (await frame(feed)).levels] == [shelf.ids[0]]
    await other_shelf.change(other_shelf.ids[0])
    await moved(relay)
    await shelf.change(shelf.ids[0])
    await moved(relay)
    assert [one.listing_id for one in (await frame(feed)).levels] == [shelf.ids[0]]
    await feed.aclose()


async def test_an_unknown_or_archived_store_is_not_found(context, hub, shelf, engine):
    async with engine.begin() as connection:
        await connection.execute(update(store).where(store.c.id == shelf.store_id).values(archived_at=text("now()")))
    for id in (new_id(), shelf.store_id):
        with pytest.raises(Refused) as no:
            await frame(stock(context, hub, id, None))
        assert isinstance(no.value.refusal, NotFound)
    await until(lambda: hub.figures.joined == 0)


def test_too_many_listings_are_refused_before_anything_is_joined(context):
    with pytest.raises(Refused) as no:
        stock(context, None, new_id(), [new_id() for _ in range(MOST + 1)])
    assert isinstance(no.value.refusal, InvalidInput)


async def test_a_slow_client_gets_the_latest_and_never_an_older_one(context, hub, relay, shelf):
    feed = stock(context, hub, shelf.store_id, shelf.ids)
    await frame(feed)
    for _ in range(50):
        await shelf.change(*shelf.ids)
    await moved(relay)
    await until(lambda: hub.pos == relay.pos)
    second = await frame(feed)
    assert {one.listing_id: one.version for one in second.levels} == dict.fromkeys(shelf.ids, 51)
    await quiet(feed)


async def test_what_the_snapshot_holds_is_not_sent_again(context, hub, relay, shelf):
    """The rows are newer than the events the relay has come to."""
    await shelf.change(*shelf.ids)
    feed = stock(context, hub, shelf.store_id, shelf.ids)
    assert {one.version for one in (await frame(feed)).levels} == {2}
    await moved(relay)
    await shelf.change(shelf.ids[0])
    await moved(relay)
    assert [one.version for one in (await frame(feed)).levels] == [3]
    await feed.aclose()


async def test_a_client_that_returns_gets_what_it_missed_and_no_snapshot(context, hub, relay, shelf):
    feed = stock(context, hub, shelf.store_id, shelf.ids)
    place = (await frame(feed)).cursor
    await feed.aclose()
    for _ in range(3):
        await shelf.change(*shelf.ids[:2])
    await moved(relay)
    feed = stock(context, hub, shelf.store_id, shelf.ids[::-1], place)  # the same ids in another order are the same feed
    first = await frame(feed)
    assert (first.reset, sorted((one.listing_id, one.version) for one in first.levels)) == (
        False,
        sorted((id, 4) for id in shelf.ids[:2]),
    )
    await shelf.change(shelf.ids[3])
    await moved(relay)
    second = await frame(feed)
    assert [(one.listing_id, one.version) for one in second.levels] == [(shelf.ids[3], 2)]
    await feed.aclose()
    again = stock(context, hub, shelf.store_id, shelf.ids, second.cursor)
    assert (lambda one: (one.reset, list(one.levels)))(await frame(again)) == (False, [])
    await again.aclose()


async def test_a_cursor_that_cannot_be_continued_is_answered_with_a_snapshot(context, hub, relay, shelf, engine, monkeypatch):
    feed = stock(context, hub, shelf.store_id, shelf.ids)
    place = (await frame(feed)).cursor
    await feed.aclose()

    async def answered():
        feed = stock(context, hub, shelf.store_id, shelf.ids, place)
        try:
            return await frame(feed)
        finally:
            await feed.aclose()

    for _ in range(3):
        await shelf.change(*shelf.ids)
    await moved(relay)
    assert not (await answered()).reset
    with monkeypatch.context() as less:
        less.setattr("db.events.REPLAYED", 11)
        assert (await answered()).reset
        less.setattr("db.events.REPLAYED", 12)
        assert not (await answered()).reset
    with monkeypatch.context() as less:
        less.setattr("db.events.REPLAYED_FROM", 11)
        assert (await answered()).reset
    async with engine.begin() as connection:
        await connection.execute(update(event).values(at=text("at - interval '11 minutes'")))
    assert (await answered()).reset
    async with engine.begin() as connection:
        await connection.execute(text("UPDATE log_epoch SET epoch = 'x' || epoch"))
    try:
        assert (await answered()).reset
    finally:
        async with engine.begin() as connection:
            await connection.execute(text("UPDATE log_epoch SET epoch = substr(epoch, 2)"))


def test_a_broken_cursor_is_refused_at_once(context, hub):
    for after in ("nonsense", ""):
        with pytest.raises(Refused) as no:
            stock(context, hub, new_id(), None, after)
        assert isinstance(no.value.refusal, InvalidInput)


# ---------------------------------------------------------------- lists


@dataclass(frozen=True)
class Frame:
    cursor: str
    reset: bool
    degraded: bool
    items: list


def listing_of(things, **more):
    async def snapshot():
        versions = await things.versions()
        return Snapshot([(id, now) for id, now in versions.items() if now], {("thing", id): now for id, now in versions.items()})

    async def changes(events):
        return [(one.event.entity, one.event.seq) for one in events]

    feed = Feed("things", (things.store_id,), (things.store_id,), (ThingMoved,), snapshot, changes, allowed=None)
    return replace(feed, **more)


async def test_a_list_gets_every_event_in_order(hub, relay, things, engine):
    feed = follow(listing_of(things), Frame, hub, Reads(engine))
    assert (await frame(feed)).items == []
    id = things.ids[1]
    for _ in range(5):
        await things.change(id)
    await moved(relay)
    assert (await frame(feed)).items == [(id, number) for number in range(1, 6)]
    await feed.aclose()


async def test_what_a_list_began_with_is_not_told_again_to_who_comes_back(hub, relay, things, engine):
    """Though it had no place in the log yet when it was read."""
    await things.change(things.ids[1])
    feed = follow(listing_of(things), Frame, hub, Reads(engine))
    first = asyncio.create_task(frame(feed))
    await asyncio.sleep(0.2)
    assert not first.done()
    await moved(relay)
    assert (await first).items == [(things.ids[1], 1)]
    await feed.aclose()
    back = follow(listing_of(things), Frame, hub, Reads(engine), first.result().cursor)
    assert ((again := await frame(back)).reset, list(again.items)) == (False, [])
    await things.change(things.ids[1])
    await moved(relay)
    assert (await frame(back)).items == [(things.ids[1], 2)]
    await back.aclose()


async def test_where_nothing_gets_a_place_in_the_log_a_list_begins_all_the_same(hub, relay, things, engine, monkeypatch):
    monkeypatch.setattr("subscriptions.feeds.SETTLED_S", 0.2)
    await things.change(things.ids[1])
    feed = follow(listing_of(things), Frame, hub, Reads(engine))
    assert (await frame(feed)).items == [(things.ids[1], 1)]
    await feed.aclose()
    await moved(relay)


async def test_a_list_left_waiting_too_long_is_read_again(hub, relay, things, engine):
    feed = follow(listing_of(things), Frame, hub, Reads(engine))
    await frame(feed)
    id = things.ids[1]
    for _ in range(101):
        await things.change(id)
    await moved(relay)
    await until(lambda: hub.pos == relay.pos)
    again = await frame(feed)
    assert (again.reset, again.items) == (True, [(id, 101)])
    await things.change(id)
    await moved(relay)
    assert (await frame(feed)).items == [(id, 102)]
    await feed.aclose()


async def test_a_private_feed_ends_when_its_right_is_gone_even_if_nothing_happens(hub, relay, things, engine, monkeypatch):
    monkeypatch.setattr("subscriptions.feeds.CHECKED_S", 0.2)
    rights = [True]

    async def allowed():
        return rights[0]

    feed = follow(listing_of(things, allowed=allowed), Frame, hub, Reads(engine))
    await frame(feed)
    waiting = asyncio.create_task(anext(feed))
    await asyncio.sleep(0.5)
    assert not waiting.done()
    rights[0] = False
    with pytest.raises(StopAsyncIteration):
        await asyncio.wait_for(waiting, 0.5)
    await until(lambda: hub.figures.joined == 0)


async def test_a_right_that_is_gone_while_the_client_was_slow_shows_nothing_more(hub, relay, things, engine, monkeypatch):
    monkeypatch.setattr("subscriptions.feeds.CHECKED_S", 0.1)
    rights = [True]

    async def allowed():
        if not rights[0]:
            raise not_found("thing")
        return True

    feed = follow(listing_of(things, allowed=allowed), Frame, hub, Reads(engine))
    await frame(feed)
    rights[0] = False
    await things.change(things.ids[1])
    await moved(relay)
    await asyncio.sleep(0.15)
    with pytest.raises(StopAsyncIteration):
        await frame(feed)


async def test_missed_events_are_not_sent_to_who_may_not_see_them(hub, relay, things, engine):
    place = await frame(follow(listing_of(things), Frame, hub, Reads(engine)))
    await things.change(things.ids[1])
    await moved(relay)

    async def allowed():
        return False

    async def refuse():
        raise not_found("thing")

    feed = follow(listing_of(things, allowed=allowed, snapshot=refuse), Frame, hub, Reads(engine), place.cursor)
    with pytest.raises(Refused) as no:
        await frame(feed)
    assert isinstance(no.value.refusal, NotFound)


async def test_a_database_that_does_not_answer_ends_no_feed_at_once(hub, relay, things, engine, monkeypatch):
    monkeypatch.setattr("subscriptions.feeds.CHECKED_S", 0.1)
    monkeypatch.setattr("subscriptions.feeds.UNCHECKED_S", 0.6)

    async def allowed():
        raise ConnectionRefusedError

    feed = follow(listing_of(things, allowed=allowed), Frame, hub, Reads(engine))
    await frame(feed)
    await asyncio.sleep(0.2)
    await things.change(things.ids[1])
    await moved(relay)
    assert len((await frame(feed)).items) == 1
    with pytest.raises(ConnectionRefusedError):
        await frame(feed, 2)


async def test_what_a_database_that_was_away_kept_from_being_told_comes_as_a_snapshot(hub, relay, things, engine, monkeypatch):
    monkeypatch.setattr("subscriptions.feeds.AWAY_S", 0.05)
    whole, tries = listing_of(things), []

    async def changes(events):
        tries.append("changes")
        raise Refused(Unavailable("away"))

    async def snapshot():
        tries.append("snapshot")
        if len(tries) == 3:
            raise Refused(Unavailable("still away"))
        return await whole.snapshot()

    feed = follow(replace(whole, changes=changes, snapshot=snapshot), Frame, hub, Reads(engine))
    await frame(feed)
    await things.change(things.ids[1])
    await moved(relay)
    again = await frame(feed)
    assert (again.reset, again.items, tries) == (True, [(things.ids[1], 1)], ["snapshot", "changes", "snapshot", "snapshot"])
    await feed.aclose()


async def heard(hub, relay):
    await moved(relay)
    await until(lambda: hub.pos == relay.pos)


async def test_a_client_whose_server_goes_is_told_its_place_once_more(context, hub, relay, shelf, other_shelf):
    following = Following(hub)
    feed = stock(context, following, shelf.store_id, shelf.ids)
    first = await frame(feed)
    await other_shelf.change(other_shelf.ids[0])
    await heard(hub, relay)
    following.leave()
    last = await frame(feed)
    assert (last.reset, last.levels) == (False, ())
    assert last.cursor != first.cursor
    with pytest.raises(StopAsyncIteration):
        await frame(feed)
    await until(lambda: hub.figures.joined == 0)

    await shelf.change(shelf.ids[0])
    await moved(relay)
    again = stock(context, hub, shelf.store_id, shelf.ids, last.cursor)
    missed = await frame(again)
    assert (missed.reset, [one.version for one in missed.levels]) == (False, [2])
    await again.aclose()


async def test_what_waits_when_the_server_goes_is_in_the_last_frame(context, hub, relay, shelf):
    following = Following(hub)
    feed = stock(context, following, shelf.store_id, shelf.ids)
    await frame(feed)
    await shelf.change(shelf.ids[1])
    await heard(hub, relay)
    following.leave()
    assert [one.listing_id for one in (await frame(feed)).levels] == [shelf.ids[1]]
    with pytest.raises(StopAsyncIteration):
        await frame(feed)


async def test_a_feed_that_begins_while_its_server_goes_has_a_first_frame_and_a_last(context, hub, shelf):
    following = Following(hub)
    following.leave()
    assert [(one.reset, len(one.levels)) async for one in stock(context, following, shelf.store_id, shelf.ids)] == [
        (True, len(shelf.ids)),
        (False, 0),
    ]


def pos_of(told):
    return json.loads(base64.urlsafe_b64decode(told.cursor + "=="))[1]


async def test_a_cursor_does_not_go_back_where_the_bus_is_behind_the_snapshot(context, hub, relay, shelf):
    await shelf.change(shelf.ids[0])
    await shelf.change(shelf.ids[0])
    behind = await relay.stamp()
    following = Following(hub)
    feed = stock(context, following, shelf.store_id, shelf.ids)
    first = await frame(feed)
    assert pos_of(first) == relay.pos
    await relay.publish(behind[0])
    await until(lambda: hub.pos == relay.pos - 1)
    following.leave()
    assert pos_of(await frame(feed)) == relay.pos


async def test_who_comes_while_the_bus_is_away_is_told_so_and_who_comes_after_is_not(context, hub, relay, shelf, monkeypatch):
    watching = stock(context, hub, shelf.store_id, shelf.ids)
    await frame(watching)
    told = []
    for degraded in (True, False):
        monkeypatch.setattr(type(hub), "degraded", property(lambda self, said=degraded: said))
        told.append((await frame(stock(context, hub, shelf.store_id, shelf.ids))).degraded)
    assert told == [True, False]
    await watching.aclose()
