"""What becomes of a cart, as its feed tells it."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import select

from db import tables as t
from db.cart import cart_of
from db.reads import Reads
from db.unit_of_work import unit_of_work
from domain import cart, choices, counting, listings, merchants, purchases, quotes
from domain.cart import CartProblem, LineChange
from domain.events import Topic
from domain.merchants import HoursException, SetStoreStatus, StoreStatus
from domain.orders import Fulfilment
from domain.payments import PaymentMethod
from domain.refusals import InvalidInput, Refused
from subscriptions import cart as feeds
from subscriptions import feeds as following
from tests.subscriptions.conftest import started
from tests.subscriptions.process import quiet, soon
from tests.waiting import until
from tests.world import HOME, account, listing, shop

LATER = datetime(2100, 1, 1, tzinfo=UTC)


@pytest.fixture
async def customer(engine):
    return await account(engine)


@pytest.fixture
async def stall(engine):
    return await shop(engine)


async def put(live, customer, *lines):
    """Each as (listing, quantity), or a change."""
    changes = [one if isinstance(one, LineChange) else LineChange(None, *one) for one in lines]
    await live.do(cart.update_lines, changes, customer)


async def line_of(live, customer, listing_id):
    lines = (await cart_of(Reads(live.engine), customer)).lines
    return next(line for line in lines if line.listing_id == listing_id)


def watch(live, customer, after=None, hub=None):
    return feeds.cart_changes(live.caller(customer), hub or live.hub, after)


def told(frame):
    """Of each line: its listing, what a unit cost and costs, what is left, and what stands in the way."""
    return {
        one.line.listing_id: (one.filled_price.minor, one.price.minor, one.stock.available, [why.value for why in one.problems])
        for one in frame.changes
        if one.line is not None
    }


def gone(frame):
    return [one.line_id for one in frame.changes if one.line is None]


async def count(live, stall, listing_id, units):
    await live.do(counting.set_stock, counting.SetStock(listing_id, units, None), stall.owner)


async def price(live, stall, listing_id, minor):
    await live.do(listings.set_price, listings.SetPrice(listing_id, minor), stall.owner)


async def test_it_begins_with_every_line_and_goes_on_with_what_becomes_otherwise(engine, live, stall, customer):
    tea, rice, salt = [await listing(engine, stall, 9) for _ in range(3)]
    await put(live, customer, (tea, 2), (rice, 1))
    await price(live, stall, rice, 4_000)
    feed = watch(live, customer)
    frame = await soon(feed)
    assert frame.reset
    assert told(frame) == {tea: (5_000, 5_000, 9, []), rice: (5_000, 4_000, 9, [])}
    await price(live, stall, salt, 10)  # in no cart
    await price(live, stall, tea, 6_000)
    frame = await soon(feed)
    assert (frame.reset, told(frame)) == (False, {tea: (5_000, 6_000, 9, [])})
    assert frame.changes[0].line.total.minor == 12_000
    await count(live, stall, salt, 1)
    await count(live, stall, rice, 0)
    assert told(await soon(feed)) == {rice: (5_000, 4_000, 0, ["OUT_OF_STOCK"])}
    await count(live, stall, tea, 1)
    assert told(await soon(feed)) == {tea: (5_000, 6_000, 1, ["NOT_ENOUGH_STOCK"])}
    await feed.aclose()


async def test_what_is_sold_no_more_what_closes_and_what_is_too_much_is_told(engine, live, stall, customer):
    other = await shop(engine)
    tea, rice, milk = await listing(engine, stall, 9), await listing(engine, stall, None), await listing(engine, other, 9)
    await put(live, customer, (tea, 2), (rice, 1), (milk, 2))
    feed = watch(live, customer)
    await soon(feed)
    await live.do(listings.apply_listings, [listings.UpsertedListing(stall.store_id, tea, active=False)])
    assert told(await soon(feed)) == {tea: (5_000, 5_000, 9, ["NOT_SOLD"])}
    await live.do(merchants.set_store_status, SetStoreStatus(stall.store_id, StoreStatus.PAUSED), stall.owner)
    assert told(await soon(feed)) == {
        tea: (5_000, 5_000, 9, ["STORE_CLOSED", "NOT_SOLD"]),
        rice: (5_000, 5_000, None, ["STORE_CLOSED"]),
    }
    await live.do(merchants.set_store_status, SetStoreStatus(stall.store_id, StoreStatus.BUSY), stall.owner)
    assert set(told(await soon(feed))) == {tea, rice}
    await live.do(listings.apply_listings, [listings.UpsertedListing(other.store_id, milk, max_per_order=1)])
    assert told(await soon(feed)) == {milk: (5_000, 5_000, 9, ["LIMIT_EXCEEDED"])}
    await live.do(listings.deactivate_missing, stall.store_id, [], LATER)
    assert told(await soon(feed)) == {rice: (5_000, 5_000, None, ["NOT_SOLD"])}
    await feed.aclose()


async def test_a_store_that_closes_by_its_hours_is_told(engine, live, stall, customer):
    tea = await listing(engine, stall, 9)
    await put(live, customer, (tea, 1))
    await live.do(merchants.tell_due)
    feed = watch(live, customer)
    assert told(await soon(feed)) == {tea: (5_000, 5_000, 9, [])}
    async with unit_of_work(engine) as uow:
        days = [(await uow.now()).date() + timedelta(days=ahead) for ahead in (-1, 0, 1)]
        await uow.merchants.set_hours(stall.store_id, [], [HoursException(day, None, None) for day in days])
    await live.do(merchants.tell_due)
    assert told(await soon(feed)) == {tea: (5_000, 5_000, 9, ["STORE_CLOSED"])}
    await feed.aclose()


async def test_a_choice_that_costs_more_or_cannot_be_had_is_told(engine, live, stall, customer):
    tea = await listing(engine, stall, 9)
    group = choices.UpsertedGroup(stall.store_id, "g", "Sugar", [choices.UpsertedModifier("m", "Less", 100)])
    offer = choices.OfferedGroups(tea, [choices.OfferedGroup("g", 0, 1)])
    await live.do(choices.apply_modifier_groups, [group], [offer])
    less = await Reads(engine).value(select(t.modifier.c.id).where(t.modifier.c.store_id == stall.store_id))
    await put(live, customer, LineChange(None, tea, 1, (less,)))
    feed = watch(live, customer)
    assert told(await soon(feed)) == {tea: (5_100, 5_100, 9, [])}
    dearer = replace(group, modifiers=[choices.UpsertedModifier("m", "Less", 300)])
    await live.do(choices.apply_modifier_groups, [dearer], [])
    assert told(await soon(feed)) == {tea: (5_100, 5_300, 9, [])}
    await live.do(choices.switch_choices, [choices.ChoiceSwitch(stall.store_id, "m", True, None, "")])
    assert told(await soon(feed)) == {tea: (5_100, 5_300, 9, ["CHOICE_INVALID"])}
    await feed.aclose()


async def test_what_another_device_puts_in_is_followed_and_what_it_takes_out_is_not(engine, bus, live, stall, customer):
    tea, rice = await listing(engine, stall, 9), await listing(engine, stall, 9)
    await put(live, customer, (tea, 1))
    async with started(bus, engine) as elsewhere:  # a server that has heard of nothing but the log
        feed = watch(live, customer, hub=elsewhere)
        first = await soon(feed)
        await put(live, customer, (rice, 2))
        assert told(await soon(feed)) == {rice: (5_000, 5_000, 9, [])}
        await count(live, stall, rice, 1)
        assert told(await soon(feed)) == {rice: (5_000, 5_000, 1, ["NOT_ENOUGH_STOCK"])}
        line = await line_of(live, customer, rice)
        await put(live, customer, LineChange(line.id, rice, 1))
        assert told(await soon(feed)) == {rice: (5_000, 5_000, 1, [])}
        out = await line_of(live, customer, tea)
        assert out.id == first.changes[0].line_id
        await put(live, customer, LineChange(out.id, tea, 0))
        frame = await soon(feed)
        assert (gone(frame), told(frame)) == ([out.id], {})
        await count(live, stall, tea, 3)  # nobody's here any more
        await count(live, stall, rice, 4)
        assert told(await soon(feed)) == {rice: (5_000, 5_000, 4, [])}
        await feed.aclose()
        assert (elsewhere._joined, elsewhere._besides) == ({}, {})


async def test_the_rest_of_a_store_does_not_wake_it(engine, live, stall, customer):
    tea, salt = await listing(engine, stall, 9), await listing(engine, stall, 9)
    await put(live, customer, (tea, 1))
    await until(lambda: live.hub.pos == live.relay.pos)
    feed = watch(live, customer)
    await soon(feed)
    await count(live, stall, salt, 1)
    await until(lambda: live.hub.pos == live.relay.pos)
    assert live.hub.figures.waiting == 0
    await feed.aclose()


class Noting:
    """An observer of the hub."""

    def __init__(self):
        self.times = 0

    def heard(self, entry): ...

    def foretold(self, events):
        self.times += 1

    def lost(self): ...


async def test_what_it_reads_is_told_as_read_before_its_frame_and_what_it_hears_is_not(engine, live, stall, customer):
    tea = await listing(engine, stall, 9)
    await put(live, customer, (tea, 2))
    noting = Noting()
    live.hub.observers.append(noting)
    feed = watch(live, customer)
    await soon(feed)
    assert noting.times == 1
    await count(live, stall, tea, 5)
    await soon(feed)
    assert noting.times == 1
    await price(live, stall, tea, 6_000)
    frame = await soon(feed)
    assert noting.times == 2
    await feed.aclose()
    back = watch(live, customer, frame.cursor)
    await soon(back)  # where it was
    await count(live, stall, tea, 4)
    await soon(back)
    assert noting.times == 3  # a client that came back: all of it is read with the first that happens
    await back.aclose()


async def test_to_tell_a_line_again_takes_the_price_of_now(engine, live, stall, customer):
    tea, rice = await listing(engine, stall, 9), await listing(engine, stall, 9)
    await put(live, customer, (tea, 1), (rice, 1))
    await price(live, stall, tea, 6_000)
    await price(live, stall, rice, 6_000)
    feed = watch(live, customer)
    assert [one[:2] for one in told(await soon(feed)).values()] == [(5_000, 6_000)] * 2
    line = await line_of(live, customer, tea)
    await put(live, customer, LineChange(line.id, tea, 1))
    assert told(await soon(feed)) == {tea: (6_000, 6_000, 9, [])}
    await feed.aclose()


async def test_the_same_again_changes_no_cart_and_an_order_empties_it(engine, live, stall, customer):
    tea = await listing(engine, stall, 9)
    await put(live, customer, (tea, 2))
    line = await line_of(live, customer, tea)
    feed = watch(live, customer)
    await soon(feed)
    await put(live, customer, LineChange(line.id, tea, 2))
    quote_id = await live.do(quotes.quote_cart, quotes.QuoteCart(HOME, None, Fulfilment.DELIVERY, None), customer)
    assert told(await soon(feed)) == {tea: (5_000, 5_000, 7, [])}
    place = purchases.PlaceOrder(quote_id, PaymentMethod.CASH_ON_DELIVERY, "key")
    await live.do(purchases.place_order, place, customer)
    while (frame := await soon(feed)).changes[0].line is not None:  # its stock first: the topics come one by one
        pass
    assert gone(frame) == [line.id]
    await feed.aclose()
    e = t.event.c
    found = await Reads(engine).rows(select(e.seq, e.topic).where(e.kind == "CartChanged", e.concerns.contains([customer.id])))
    assert sorted((row.seq, row.topic) for row in found) == [(1, Topic.CARTS), (2, Topic.CARTS)]


async def test_what_ones_own_quote_holds_is_not_gone(engine, live, stall, customer):
    tea = await listing(engine, stall, 2)
    await put(live, customer, (tea, 2))
    feed = watch(live, customer)
    await soon(feed)
    await live.do(quotes.quote_cart, quotes.QuoteCart(HOME, None, Fulfilment.DELIVERY, None), customer)
    assert told(await soon(feed)) == {tea: (5_000, 5_000, 0, [])}
    await feed.aclose()
    other = await account(engine)
    await put(live, other, (tea, 1))
    feed = watch(live, other)
    assert told(await soon(feed)) == {tea: (5_000, 5_000, 0, ["OUT_OF_STOCK"])}
    await feed.aclose()


async def test_two_lines_of_one_listing_are_short_together(engine, live, stall, customer):
    tea = await listing(engine, stall, 5)
    await put(live, customer, (tea, 3))
    feed = watch(live, customer)
    await soon(feed)
    await put(live, customer, LineChange(None, tea, 3, note="gift"))
    frame = await soon(feed)
    assert [one.problems for one in frame.changes] == [(CartProblem.NOT_ENOUGH_STOCK,)] * 2
    await feed.aclose()


async def test_what_was_missed_while_away_comes_as_one_frame(engine, live, stall, customer):
    tea, rice, salt, milk = [await listing(engine, stall, 9) for _ in range(4)]
    await put(live, customer, (tea, 1), (rice, 1), (salt, 1))
    await live.tell()
    feed = watch(live, customer)
    cursor = (await soon(feed)).cursor
    await feed.aclose()
    out = [await line_of(live, customer, id) for id in (rice, salt)]
    for line in out:  # two changes of one cart: neither stands for the other
        await put(live, customer, LineChange(line.id, line.listing_id, 0))
    await put(live, customer, (milk, 1))
    await price(live, stall, milk, 5_500)
    feed = watch(live, customer, cursor)
    frame = await soon(feed)
    assert (frame.reset, told(frame)) == (False, {milk: (5_000, 5_500, 9, [])})
    assert gone(frame) == [line.id for line in out]
    await feed.aclose()
    feed = watch(live, customer, frame.cursor)
    assert (await soon(feed)).changes == ()
    await count(live, stall, tea, 8)
    assert told(await soon(feed)) == {tea: (5_000, 5_000, 8, [])}
    await put(live, customer, (milk, 1))
    assert told(await soon(feed)) == {milk: (5_500, 5_500, 9, [])}
    await feed.aclose()
    with pytest.raises(Refused) as no:
        watch(live, await account(engine), frame.cursor)
    assert isinstance(no.value.refusal, InvalidInput)


async def test_a_customer_hears_nothing_of_anothers_cart(engine, live, stall, customer):
    tea, other = await listing(engine, stall, 9), await account(engine)
    await put(live, customer, (tea, 1))
    feed = watch(live, other)
    assert (await soon(feed)).changes == []
    await put(live, customer, (tea, 1))
    await count(live, stall, tea, 1)
    await quiet(feed)


async def test_it_ends_when_its_customer_is_signed_out(engine, live, stall, customer, monkeypatch):
    monkeypatch.setattr(following, "CHECKED_S", 0.05)
    await put(live, customer, (await listing(engine, stall, 9), 1))
    feed = watch(live, customer)
    await soon(feed)
    live.sessions.alive = False
    with pytest.raises(StopAsyncIteration):
        await soon(feed)
