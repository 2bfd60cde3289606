"""A shared feed while its clients rest: no task waits for any of them, and what everybody is told goes straight to the wire."""

import asyncio

import pytest

from db.reads import Reads
from domain.identity import ANYBODY
from resolvers.context import Context
from subscriptions import sharing
from subscriptions.following import Following
from subscriptions.stock import stock
from tests.subscriptions.test_feeds import frame, moved, stocked
from tests.waiting import until


@pytest.fixture
async def shelf(engine):
    return await stocked(engine, 3)


@pytest.fixture
def context(engine):
    return Context(ANYBODY, Reads(engine), None, None, None)


class Client:
    """Rests, and writes down what it is offered while it takes anything."""

    def __init__(self, feed):
        self.feed = feed
        self.takes = True
        self.told = []
        self.woke = 0

    def rest(self):
        return self.feed.rest(self)

    def offer(self, frame):
        if self.takes:
            self.told.append(frame)
        return self.takes

    def woken(self):
        self.woke += 1


async def at_rest(context, hub, shelf):
    client = Client(stock(context, Following(hub), shelf.store_id, shelf.ids))
    assert not client.rest()  # it has not begun
    await frame(client.feed)
    assert client.rest()
    return client


async def test_all_who_rest_are_offered_the_one_frame_and_none_is_woken(context, hub, relay, shelf):
    clients = [await at_rest(context, hub, shelf) for _ in range(5)]
    await shelf.change(shelf.ids[0])
    await moved(relay)
    await until(lambda: all(client.told for client in clients))
    assert len({id(client.told[0]) for client in clients}) == 1
    await shelf.change(shelf.ids[1])
    await moved(relay)
    await until(lambda: all(len(client.told) == 2 for client in clients))
    assert [client.woke for client in clients] == [0] * 5
    for client in clients:
        await client.feed.aclose()
    await until(lambda: hub.figures.joined == 0)
    assert hub.shared == {}


async def test_who_does_not_take_it_is_woken_once_and_asks_for_the_latest(context, hub, relay, shelf):
    slow, other = await at_rest(context, hub, shelf), await at_rest(context, hub, shelf)
    slow.takes = False
    for count in (1, 2, 3):
        await shelf.change(*shelf.ids[:2])
        await moved(relay)
        await until(lambda count=count: len(other.told) == count)
    assert (slow.told, slow.woke) == ([], 1)
    assert not slow.rest()  # something waits
    said = await frame(slow.feed)
    assert (said.reset, {one.listing_id: one.version for one in said.levels}) == (False, dict.fromkeys(shelf.ids[:2], 4))
    slow.takes = True
    assert slow.rest()
    await shelf.change(shelf.ids[2])
    await moved(relay)
    await until(lambda: slow.told)
    assert [one.version for one in slow.told[0].levels] == [2]
    for client in (slow, other):
        await client.feed.aclose()


async def test_a_client_that_resumed_alone_is_offered_nothing_it_has_been_told(context, hub, relay, shelf):
    first = stock(context, Following(hub), shelf.store_id, shelf.ids)
    place = (await frame(first)).cursor
    await shelf.change(shelf.ids[0])
    await moved(relay)
    assert [one.version for one in (await frame(first)).levels] == [2]
    client = Client(stock(context, Following(hub), shelf.store_id, shelf.ids, place))
    assert [one.version for one in (await frame(client.feed)).levels] == [2]
    assert client.rest()
    await shelf.change(shelf.ids[0])
    await moved(relay)
    await until(lambda: client.told or client.woke)
    told = client.told or [await frame(client.feed)]
    assert [[one.version for one in one.levels] for one in told] == [[3]]
    for feed in (first, client.feed):
        await feed.aclose()


async def test_a_cursor_of_what_the_log_has_yet_to_tell_begins_anew(context, hub, relay, shelf):
    """Else who comes back would be told again, or older, what the snapshot knew."""
    await shelf.change(shelf.ids[0])
    await shelf.change(shelf.ids[0])
    first = stock(context, Following(hub), shelf.store_id, shelf.ids)
    snapshot = await frame(first)
    assert {one.version for one in snapshot.levels} == {1, 3}
    back = Client(stock(context, Following(hub), shelf.store_id, shelf.ids, snapshot.cursor))
    again = await frame(back.feed)
    assert again.reset
    assert {one.version for one in again.levels} == {1, 3}
    assert back.rest()
    await moved(relay)  # the log tells of both
    await shelf.change(shelf.ids[0])
    await moved(relay)
    news = await frame(first)
    assert [one.version for one in news.levels] == [4]
    await until(lambda: back.told)
    assert [[one.version for one in one.levels] for one in back.told] == [[4]]
    await shelf.change(shelf.ids[1])
    await moved(relay)
    await frame(first)
    third = stock(context, Following(hub), shelf.store_id, shelf.ids, news.cursor)
    missed = await frame(third)
    assert (missed.reset, [one.version for one in missed.levels]) == (False, [2])  # the log has told: a place in it is enough
    for feed in (first, back.feed, third):
        await feed.aclose()


async def test_a_relay_that_stands_makes_no_place_of_what_it_has_not_told(context, hub, relay, shelf, monkeypatch):
    """However long: until it has told what the snapshot knew, and from then on every place is one."""
    monkeypatch.setattr(sharing, "UNLOGGED_S", 0.0)
    await shelf.change(shelf.ids[0])
    await shelf.change(shelf.ids[1])
    first = stock(context, Following(hub), shelf.store_id, shelf.ids)
    snapshot = await frame(first)
    back = stock(context, Following(hub), shelf.store_id, shelf.ids, snapshot.cursor)
    again = await frame(back)
    assert again.reset
    await moved(relay)
    await shelf.change(shelf.ids[2])
    await moved(relay)
    news = await frame(first)
    await shelf.change(shelf.ids[2])
    await moved(relay)
    await frame(first)
    third = stock(context, Following(hub), shelf.store_id, shelf.ids, news.cursor)
    missed = await frame(third)
    assert (missed.reset, [one.version for one in missed.levels]) == (False, [3])
    for feed in (first, back, third):
        await feed.aclose()


async def test_who_rests_is_woken_for_what_is_its_own(context, hub, relay, shelf):
    """A server that goes, and a log that cannot be continued."""
    following = Following(hub)
    feed = stock(context, following, shelf.store_id, shelf.ids)
    await frame(feed)
    leaving = Client(feed)
    assert leaving.rest()
    following.leave()
    assert leaving.woke == 1
    last = await frame(feed)
    assert (last.reset, list(last.levels)) == (False, [])
    with pytest.raises(StopAsyncIteration):
        await frame(feed)

    staying = await at_rest(context, hub, shelf)
    hub._lose(list(hub._mailboxes))
    await until(lambda: staying.woke == 1)
    again = await frame(staying.feed)
    assert (again.reset, len(again.levels)) == (True, 3)
    await staying.feed.aclose()


async def test_a_client_that_is_cancelled_while_it_waits_leaves_nothing_behind(context, hub, shelf):
    feed = stock(context, Following(hub), shelf.store_id, shelf.ids)
    await frame(feed)
    waiting = asyncio.create_task(anext(feed))
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    await until(lambda: hub.figures.joined == 0)
    with pytest.raises(StopAsyncIteration):
        await frame(feed)
