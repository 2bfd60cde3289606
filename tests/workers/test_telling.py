"""Orders told to their store's till: from the log, over real HTTP, to a till that is there, slow, gone, broken, or says no."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import func, insert, select, update
from sqlalchemy.ext.asyncio import AsyncEngine

from adapters.fetching import SafeFetch
from adapters.seals import AesSeals
from db import ledger, orders
from db import tables as t
from db.figures import backlog
from db.ids import new_id
from db.reads import Reads
from db.relay import leadership
from db.telling import SqlTellings
from db.unit_of_work import unit_of_work
from domain.access import Ask, AskFailed, Reply, SetSourceAccess, set_source_access
from domain.at_risk import fall_short
from domain.cart import LineChange, update_lines
from domain.failures import replay_failures
from domain.fulfilment import (
    AcceptOrder,
    CancelOrder,
    MarkOrderReady,
    RejectOrder,
    accept_order,
    cancel_order,
    expire_order,
    mark_order_ready,
    reject_order,
)
from domain.identity import CLOCK, Actor
from domain.intake import EntityKind, FailureState
from domain.orders import Fulfilment, OrderStatus, ReasonCode
from domain.quotes import QuoteCart, quote_cart
from domain.refusals import Conflict, InvalidInput, Refused, Unavailable
from domain.replays import FailureFilter, start_replay
from domain.riders import arrive_at_store, drop_delivery, pick_up
from domain.sources import SetSource, set_source
from domain.telling import DOOR, follow, tell_orders
from domain.unit_of_work import UnitOfWork
from tests.db.test_purchases import counters, do, payment_of, placed, quoted, the_order
from tests.partners import SEALS, Partner, dish, menu, partner, size
from tests.simulators.serving import serving
from tests.simulators.tills import PetpoojaServer, UrbanpiperTill, Warehouse, broken, too_many, unsuccessful
from tests.trips import assigned, on_duty
from tests.waiting import until
from tests.world import HOME, Shop, account, listing, shop
from wiring import OUTBOUNDS, TOLD_WITHIN_S
from workers.replays import Replays
from workers.telling import HOLD, Tellings

STORE = "k7x2m9qa"
S = OrderStatus


class Slept:
    """Time that passes at once."""

    async def __call__(self, seconds: float) -> None: ...


class Told:
    """A source whose till is told of orders, and the worker that tells it."""

    def __init__(self, engine: AsyncEngine, source: Partner, url: str) -> None:
        self.engine, self.source, self.url = engine, source, url
        self.worker = self.another()
        self.teas: dict[str, UUID] = {}  # by what the till calls them

    def another(self, fetch: Any = None, begin: Any = None, seals: Any = SEALS, **given: Any) -> Tellings:
        given = {"sleep": Slept(), "dice": lambda: 1.0, **given}
        begin = begin or (lambda: unit_of_work(self.engine))
        return Tellings(Reads(self.engine), begin, OUTBOUNDS, seals, fetch or SafeFetch(loopback=True, timeout_s=5), **given)

    async def connect(self, credentials: dict[str, str], *, on: bool = True) -> None:
        provider = OUTBOUNDS[self.source.inbound.provider]
        sealed = SEALS.seal(json.dumps(credentials).encode())
        command = SetSourceAccess(self.source.source_id, self.url, credentials)
        await do(self.engine, lambda uow: set_source_access(command, provider, sealed, self.source.shop.owner, uow))
        if on:
            await self.switch(on=True)

    async def switch(self, *, on: bool) -> None:
        provider, owner = OUTBOUNDS[self.source.inbound.provider], self.source.shop.owner
        await do(self.engine, lambda uow: tell_orders(self.source.source_id, provider, owner, uow, on=on))

    async def follow(self) -> None:
        async with leadership(self.engine) as leader:
            assert leader is not None
            while await leader.stamp(500):
                pass
        while await self.worker.follow():
            pass

    async def now(self, *, tasks: bool = True) -> None:
        """Whatever waits is due, and of other tests' sources nothing is."""
        st = t.source_telling.c
        async with self.engine.begin() as connection:
            mine = st.source_id == self.source.source_id
            tomorrow = func.clock_timestamp() + timedelta(days=1)
            await connection.execute(update(t.source_telling).where(~mine).values(next_at=tomorrow, held_until=tomorrow))
            await connection.execute(update(t.source_telling).where(mine).values(next_at=func.clock_timestamp(), held_until=None))
            if tasks:
                waits = update(t.telling).where(t.telling.c.source_id == self.source.source_id)
                await connection.execute(waits.values(next_at=func.clock_timestamp()))

    async def tell(self, worker: Tellings | None = None) -> None:
        """One turn, of all there is by now."""
        await self.follow()
        await self.now()
        await (worker or self.worker).once()

    # ------------------------------------------------------------ what came of it

    async def rows(self, *names: str) -> list[Any]:
        c = t.telling.c
        found = select(*(c[name] for name in names)).where(c.source_id == self.source.source_id).order_by(c.pos)
        return list(await self.source.rows(found))

    async def states(self) -> list[tuple[str, str]]:
        return [(row.news.value, row.state.value) for row in await self.rows("news", "state")]

    async def line(self) -> Any:
        c = t.source_telling.c
        (row,) = await self.source.rows(select(t.source_telling).where(c.source_id == self.source.source_id))
        return row


@asynccontextmanager
async def petpooja(
    engine: AsyncEngine, *, on: bool = True, of: Shop | None = None, **columns: Any
) -> AsyncIterator[tuple[Told, PetpoojaServer]]:
    server = PetpoojaServer()
    async with serving(server.app()) as url:
        told = Told(engine, await partner(engine, "petpooja", STORE, of=of, **columns), f"{url}/V1")
        await told.connect({**server.keys, "orders_url": f"{url}/orders", "callback_url": "https://haat.test/callback"}, on=on)
        yield told, server


@asynccontextmanager
async def urbanpiper(engine: AsyncEngine) -> AsyncIterator[tuple[Told, UrbanpiperTill]]:
    till = UrbanpiperTill()
    async with serving(till.app()) as url:
        told = Told(engine, await partner(engine, "urbanpiper", "ST-01"), f"{url}/hooks")
        await told.connect({"biz_id": "77", "header": "X-Till-Token", "value": till.token})
        yield told, till


@asynccontextmanager
async def wms(engine: AsyncEngine) -> AsyncIterator[tuple[Told, Warehouse]]:
    server = Warehouse()
    async with serving(server.app()) as url:
        told = Told(engine, await partner(engine, "wms", "WH-1"), url)
        await told.connect({"secret": server.secret})
        yield told, server


@pytest.fixture
def reads(engine: AsyncEngine) -> Reads:
    return Reads(engine)


class Ordered:
    """Two units of a thing that the till calls `item`."""

    def __init__(self, told: Told, order: orders.OrderRow, customer: Actor, tea: UUID) -> None:
        self.told, self.order, self.customer, self.tea = told, order, customer, tea

    async def now(self) -> orders.OrderRow:
        return await the_order(Reads(self.told.engine), self.customer, self.order.purchase_id)

    async def cancel(self) -> None:
        command = CancelOrder(self.order.id, ReasonCode.CUSTOMER_ASKED, None)
        await do(self.told.engine, lambda uow: cancel_order(command, self.customer, uow))

    async def noted(self, note: str) -> None:
        """Its parties are told something, and nothing has moved."""

        async def write(uow: UnitOfWork) -> None:
            locked = await uow.orders.lock(self.order.id, CLOCK)
            assert locked is not None
            await fall_short(locked, note, CLOCK, uow)

        await do(self.told.engine, write)

    async def accept(self) -> None:
        owner = self.told.source.shop.owner
        await do(self.told.engine, lambda uow: accept_order(AcceptOrder(self.order.id, 20), owner, uow))


async def ordered(
    told: Told, item: str | None = "81091", of: Shop | None = None, fulfilment: Fulfilment = Fulfilment.DELIVERY
) -> Ordered:
    engine, customer = told.engine, await account(told.engine)
    known = told.teas.get(item) if item is not None and of is None else None
    tea = known or await listing(engine, of or told.source.shop, 50)
    if item is not None and of is None and known is None:
        told.teas[item] = tea
        await told.source.map(EntityKind.VARIANT, item, tea)
    purchase_id = await placed(engine, customer, await quoted(engine, customer, (tea, 2), fulfilment=fulfilment))
    return Ordered(told, await the_order(Reads(engine), customer, purchase_id), customer, tea)


# ---------------------------------------------------------------- to the till, and back


async def test_an_order_from_the_tills_own_menu_is_told_in_its_own_ids(engine, reads):
    async with petpooja(engine, packaging_minor=0, delivery_minor=3000) as (told, server):
        offer = [{"addon_group_id": "300", "addon_item_selection_min": "0", "addon_item_selection_max": "2"}]
        pizza = dish(
            "81001", "0.00", itemname="Garden Pizza", itemallowvariation="1",
            variation=[size("81091", "Regular", "199.00", addon=offer), size("81092", "Large", "349.00")],
        )  # fmt: skip
        cheese = {"addonitemid": "9001", "addonitem_name": "Extra cheese", "addonitem_price": "40.00", "active": "1"}
        group = {"addongroupid": "300", "addongroup_name": "Extra toppings", "active": "1", "addongroupitems": [cheese]}
        assert (await told.source.tell("webhooks/menu", menu(STORE, pizza, groups=[group]))).status_code == 200
        assert not await told.source.failures()
        server.menu, server.addons = {"81091", "81092"}, {"9001"}
        mo, m = t.modifier.c, t.mapping.c
        [(extra,)] = await told.source.rows(select(mo.id).where(mo.store_id == told.source.shop.store_id, mo.external_id == "9001"))
        [(regular,)] = await told.source.rows(
            select(t.listing.c.id)
            .join(t.mapping, m.id == t.listing.c.variant_id)
            .where(m.source_id == told.source.source_id, m.external_id == "81091", m.kind == EntityKind.VARIANT)
        )
        customer = await account(engine)
        await do(engine, lambda uow: update_lines([LineChange(None, regular, 2, (extra,), "well done")], customer, uow))
        quote_id = await do(engine, lambda uow: quote_cart(QuoteCart(HOME, None, Fulfilment.DELIVERY, None), customer, uow))
        order = await the_order(reads, customer, await placed(engine, customer, quote_id))
        await told.tell()
        assert await told.states() == [("PLACED", "TOLD")]
        [taken] = server.orders.values()
        assert list(server.orders) == [order.number]
        [item] = taken["OrderItem"]["details"]
        assert (item["id"], item["quantity"], item["price"], item["variation_name"]) == ("81091", "2", "239.00", "Regular")
        assert item["variation_id"] == "11"  # of the size, whatever comes in it
        assert item["description"] == "well done"
        assert item["AddonItem"]["details"] == [
            {
                "id": "9001",
                "name": "Extra cheese",
                "group_name": "Extra toppings",
                "price": "40.00",
                "group_id": "300",
                "quantity": "1",
            }
        ]
        details = taken["Order"]["details"]
        assert (details["total"], details["collect_cash"], details["payment_type"]) == ("508.00", "508.00", "COD")
        assert taken["Customer"]["details"]["phone"] == "9800000001"
        await told.tell()
        assert len(server.calls) == 1
        server.addons = {"9009"}  # the till has made it anew, and somebody has said so; in another store it is another
        for external_id, id in (("9008", extra), ("9009", extra), ("9010", await same_elsewhere(engine, told.source.shop))):
            await told.source.map(EntityKind.MODIFIER, external_id, id)
        customer = await account(engine)
        await do(engine, lambda uow: update_lines([LineChange(None, regular, 2, (extra,), None)], customer, uow))
        quote_id = await do(engine, lambda uow: quote_cart(QuoteCart(HOME, None, Fulfilment.DELIVERY, None), customer, uow))
        await placed(engine, customer, quote_id)
        await told.tell()
        assert await told.states() == [("PLACED", "TOLD")] * 2


async def same_elsewhere(engine: AsyncEngine, mine: Shop) -> UUID:
    """What is called so on the menu of another store of the merchant's."""
    store_id, group_id, id = new_id(), new_id(), new_id()
    whose = {"merchant_id": mine.merchant_id, "store_id": store_id}
    there = {"id": store_id, "merchant_id": mine.merchant_id, "slug": f"s-{store_id}", "name": "Amrit 2", "city": "Pune"}
    async with engine.begin() as connection:
        await connection.execute(insert(t.store).values(**there, lat=18.5, lng=73.8))
        await connection.execute(insert(t.modifier_group).values(id=group_id, name="Toppings", external_id="300", **whose))
        choice = insert(t.modifier).values(
            id=id, group_id=group_id, name="Extra cheese", external_id="9001", currency="INR", **whose
        )
        await connection.execute(choice)
    return id


async def test_what_the_till_calls_the_order_stands_beside_its_acceptance(engine, reads):
    async with petpooja(engine) as (told, server):
        server.menu = {"81091"}
        one = await ordered(told)
        await told.tell()
        for number in range(2):  # it answers twice
            said = {"restID": STORE, "orderID": one.order.number, "status": "1", "is_modified": number}
            await told.source.tell("webhooks/order-status", said)
        history = await orders.history_of(reads, [one.order.id])
        assert [(step.status, step.note) for step in history[1:]] == [(S.ACCEPTED, "the store calls it 31")]
        await told.source.tell("webhooks/order-status", {"restID": STORE, "orderID": "31", "status": "5"})
        assert (await one.now()).status is S.READY  # by its own number too
        two = await ordered(told)
        await told.tell()
        async with unit_of_work(engine) as uow:
            await accept_order(AcceptOrder(two.order.id, 5), told.source.shop.owner, uow)
        for number in range(2):
            said = {"restID": STORE, "orderID": two.order.number, "status": "1", "is_modified": number}
            await told.source.tell("webhooks/order-status", said)
        notes = [step.note or "" for step in await orders.history_of(reads, [two.order.id])]
        assert len([note for note in notes if note.startswith("the store calls it ")]) == 1  # a person took it first
        stranger = await partner(engine, "petpooja", STORE)
        await stranger.tell("webhooks/order-status", {"restID": STORE, "orderID": "31", "status": "-1"})
        assert [failure.kind.value for failure in await stranger.failures()] == ["VALIDATION"]
        assert (await one.now()).status is S.READY
        assert not await told.source.failures("VALIDATION", "PROCESSING")


async def test_the_rider_is_told_step_by_step(engine):
    async with petpooja(engine) as (told, server):
        server.menu = {"81091"}
        one = await ordered(told)
        await one.accept()
        trip = select(t.delivery.c.id).where(t.delivery.c.order_id == one.order.id)
        [(delivery_id,)] = await told.source.rows(trip)
        rider = await on_duty(engine, "Imran", f"+91{str(one.order.id.int)[-10:]}")
        await assigned(engine, delivery_id, rider)
        await told.tell()
        await do(engine, lambda uow: arrive_at_store(delivery_id, rider, uow))
        await do(engine, lambda uow: pick_up(delivery_id, rider, uow))
        await told.tell()
        phone = str(one.order.id.int)[-10:]
        assert server.riders == [(word, "Imran", phone) for word in ("rider-assigned", "rider-arrived", "pickedup")]
        assert [news for news, _ in await told.states()] == ["PLACED", "RIDER_ASSIGNED", "RIDER_AT_STORE", "RIDER_LEFT"]


async def test_a_till_that_was_gone_hears_of_the_rider_who_comes_and_of_none_who_came_before(engine):
    async with petpooja(engine) as (told, server):
        server.menu = {"81091"}
        one = await ordered(told)
        await one.accept()
        await told.tell()
        trip = select(t.delivery.c.id).where(t.delivery.c.order_id == one.order.id)
        [(delivery_id,)] = await told.source.rows(trip)
        first, second = await on_duty(engine, "Imran"), await on_duty(engine, "Ravi")
        await assigned(engine, delivery_id, first)
        await do(engine, lambda uow: arrive_at_store(delivery_id, first, uow))
        await do(engine, lambda uow: drop_delivery(delivery_id, ReasonCode.VEHICLE, first, uow))
        await assigned(engine, delivery_id, second)
        await told.tell()
        assert [(status, name) for status, name, _ in server.riders] == [("rider-assigned", "Ravi")]
        assert [state for _, state in await told.states()] == ["TOLD", "MOOT", "MOOT", "TOLD"]


async def test_what_people_make_of_an_order_is_told_and_what_the_till_said_is_not(engine):
    async with urbanpiper(engine) as (told, till):
        till.options = {"O-BIG"}
        one = await ordered(told, "I-TEA+O-BIG")
        await told.tell()
        [taken] = till.orders.values()
        assert [item["merchant_id"] for item in taken["order"]["items"]] == ["I-TEA"]
        assert [option["merchant_id"] for option in taken["order"]["items"][0]["options_to_add"]] == ["O-BIG"]
        path = f"external/api/v1/orders/{one.order.number}/status"
        await told.source.tell(path, {"new_status": "Acknowledged", "extra": {"prep_time_mins": 20}})
        owner = told.source.shop.owner
        await do(engine, lambda uow: mark_order_ready(MarkOrderReady(one.order.id), owner, uow))
        await told.tell()
        assert till.states == [(one.order.number, "Food Ready")], await told.rows("news", "state", "message")
        await told.source.tell(path, {"new_status": "Cancelled", "reason_code": "store_closed"})
        assert (await one.now()).status is S.CANCELLED
        await told.tell()
        assert till.states == [(one.order.number, "Food Ready")]
        other = await ordered(told, "I-TEA")
        await told.tell()
        command = RejectOrder(other.order.id, ReasonCode.TOO_BUSY, None)
        await do(engine, lambda uow: reject_order(command, owner, uow))
        await told.tell()
        assert till.states[1:] == [(other.order.number, "Cancelled")]


async def test_a_note_to_an_order_is_told_to_no_till(engine):
    async with urbanpiper(engine) as (told, till):
        one = await ordered(told, "I-TEA")
        await told.tell()
        path = f"external/api/v1/orders/{one.order.number}/status"
        await told.source.tell(path, {"new_status": "Acknowledged"})
        assert (await one.now()).status is S.ACCEPTED
        await one.noted("one of them is missing")
        await told.tell()
        assert (till.states, await told.states()) == ([], [("PLACED", "TOLD")])  # its own word is not told it back


# ---------------------------------------------------------------- whether at all


async def test_nobody_is_told_who_was_not_asked_to_be(engine):
    async with petpooja(engine, on=False) as (told, server):
        server.menu = {"81091"}
        await ordered(told)
        await told.tell()
        assert (server.calls, await told.states()) == ([], [])
        early = await ordered(told)  # which has no place in the log yet
        await told.switch(on=True)
        await told.tell()
        assert await told.states() == []  # from now on
        await early.noted("one of them is missing")
        await told.tell()
        assert await told.states() == []  # nor as though it were placed anew
        await early.cancel()
        await told.tell()
        assert await told.states() == []  # nor what becomes of it
        await ordered(told, of=await shop(engine))  # of another merchant's store
        await told.tell()
        assert await told.states() == []
        one = await ordered(told)
        await told.follow()
        await told.switch(on=False)
        await one.cancel()
        await told.tell()
        assert (server.calls, await told.states()) == ([], [("PLACED", "MOOT")])
        a = t.audit.c
        said = select(a.detail).where(a.subject == told.source.source_id, a.action == "setSource").order_by(a.id)
        assert [row.detail for row in await told.source.rows(said)] == [
            "is told of its stores' orders",
            "is told of orders no more",
        ]


async def test_what_could_not_be_told_is_nobodys_trouble_once_it_is_switched_off(engine):
    async with petpooja(engine) as (told, server):
        await ordered(told)  # which its menu does not have
        await ordered(told, None)
        await told.tell()
        assert [failure.state for failure in await told.source.failures()] == [FailureState.OPEN] * 2
        await told.switch(on=False)
        assert await told.states() == [("PLACED", "FAILED"), ("PLACED", "MOOT")]
        failures = await told.source.failures()
        assert [(failure.state, failure.note) for failure in failures] == [(FailureState.RESOLVED, "it was switched off")] * 2
        server.menu = {"81091"}
        for failure in failures:
            with pytest.raises(Refused) as no:
                await do(engine, lambda uow, id=failure.id: replay_failures([id], told.source.shop.owner, uow))
            assert "its source is told of orders no more" in no.value.refusal.message
        assert [failure.replays for failure in await told.source.failures()] == [0, 0]
        await told.switch(on=True)
        refused = next(one for one in failures if one.kind.value == "VALIDATION")
        await do(engine, lambda uow: replay_failures([refused.id], told.source.shop.owner, uow))  # by hand, it is
        await told.tell()
        assert await told.states() == [("PLACED", "TOLD"), ("PLACED", "MOOT")]


async def test_what_a_till_answers_once_it_is_switched_off_is_nobodys_trouble(engine):
    async with petpooja(engine) as (told, server):
        await ordered(told)

        class Meanwhile(SafeFetch):
            async def fetch(self, base_url: str, ask: Ask) -> Reply:
                await told.switch(on=False)
                return await super().fetch(base_url, ask)

        await told.tell(told.another(Meanwhile(loopback=True)))
        assert len(server.calls) == 1
        assert await told.states() == [("PLACED", "MOOT")]
        assert not await told.source.failures()


async def test_what_was_written_down_as_it_was_switched_off_is_not_told_when_it_is_on_again(engine):
    async with petpooja(engine) as (told, server):
        server.menu = {"81091"}
        await ordered(told)
        async with leadership(engine) as leader:
            assert leader is not None
            while await leader.stamp(500):
                pass

        class Meanwhile(SqlTellings):
            async def add(self, new: Any) -> None:
                await told.switch(on=False)
                await super().add(new)

        async with unit_of_work(engine) as uow:
            uow.tellings = Meanwhile(uow.tellings._connection)
            while await follow(2_000, OUTBOUNDS, uow):
                pass
        assert await told.states() == [("PLACED", "WAITING")]
        await told.switch(on=True)
        await told.tell()
        assert (server.calls, await told.states()) == ([], [("PLACED", "MOOT")])


async def test_a_source_that_is_off_is_told_when_it_is_on_again(engine):
    async with petpooja(engine) as (told, server):
        server.menu, owner = {"81091"}, told.source.shop.owner
        await do(engine, lambda uow: set_source(SetSource(told.source.source_id, False), owner, uow))
        await ordered(told)
        await told.tell()
        assert (server.calls, await told.states()) == ([], [("PLACED", "WAITING")])
        await do(engine, lambda uow: set_source(SetSource(told.source.source_id, True), owner, uow))
        await told.tell()
        assert await told.states() == [("PLACED", "TOLD")]


async def test_it_is_switched_on_where_somebody_has_said_where_and_the_provider_listens(engine):
    source = await partner(engine, "petpooja", STORE)

    async def refused(provider: Any) -> Any:
        with pytest.raises(Refused) as no:
            await do(engine, lambda uow: tell_orders(source.source_id, provider, source.shop.owner, uow, on=True))
        return no.value.refusal

    assert isinstance(await refused(OUTBOUNDS["petpooja"]), Conflict)
    assert isinstance(await refused(None), InvalidInput)
    right = {
        "app_key": "a",
        "app_secret": "b",
        "access_token": "c",
        "orders_url": "https://a.example",
        "callback_url": "javascript:1",
    }
    command = SetSourceAccess(source.source_id, "https://b.example", right)
    with pytest.raises(Refused) as no:
        await do(engine, lambda uow: set_source_access(command, OUTBOUNDS["petpooja"], b"", source.shop.owner, uow))
    assert isinstance(no.value.refusal, InvalidInput)
    assert [one.path for one in no.value.refusal.problems] == ["credentials.callback_url"]


async def test_an_order_that_ended_before_anybody_could_be_told_never_reaches_the_till(engine):
    async with petpooja(engine) as (told, server):
        server.menu = {"81091"}
        one = await ordered(told)
        await one.cancel()
        await told.tell()
        assert (server.calls, await told.states()) == ([], [("PLACED", "MOOT"), ("CANCELLED", "MOOT")])


async def test_a_cancelled_order_is_cancelled_at_the_till(engine):
    async with petpooja(engine) as (told, server):
        server.menu = {"81091"}
        one, late = await ordered(told), await ordered(told)
        await told.tell()
        await one.cancel()
        await do(engine, lambda uow: expire_order(late.order.id, uow))
        await told.tell()
        assert server.statuses == {one.order.number: "Customer cancelled", late.order.number: "Nobody accepted it in time"}
        assert [state for _, state in await told.states()] == ["TOLD"] * 4


# ---------------------------------------------------------------- a till that is slow, gone, broken


async def test_a_till_that_answers_too_late_has_one_order(engine):
    async with petpooja(engine) as (told, server):
        server.menu, server.slow_s = {"81091"}, 0.6
        await ordered(told)
        await told.tell(told.another(SafeFetch(loopback=True, timeout_s=0.3)))
        assert await told.states() == [("PLACED", "WAITING")]
        assert (await told.line()).failed == 1
        server.slow_s, server.already = 0, True  # and it says that it has it
        await told.tell()
        assert await told.states() == [("PLACED", "TOLD")]
        assert (len(server.calls), len(server.orders), (await told.line()).failed) == (2, 1, 0)


async def test_a_till_that_is_gone_is_told_when_it_is_there_again(engine):
    async with petpooja(engine) as (told, server):
        server.menu = {"81091"}
        one = await ordered(told)

        class Gone(SafeFetch):
            async def fetch(self, base_url: str, ask: Ask) -> Reply:
                raise AskFailed("no answer: ConnectError")

        await told.tell(told.another(Gone()))
        [row] = await told.rows("state", "attempts", "message", "next_at")
        assert (row.attempts, row.message) == (1, "no answer: ConnectError")
        assert timedelta(seconds=1) < row.next_at - datetime.now(UTC) <= timedelta(seconds=2)
        await told.now(tasks=False)
        assert not await told.worker.once()  # not yet
        await one.cancel()
        await told.tell(told.another(Gone()))
        # It may have it: so it is told that it will not be, and what it says of that is nobody's trouble.
        assert await told.states() == [("PLACED", "MOOT"), ("CANCELLED", "WAITING")]
        await told.tell()
        assert await told.states() == [("PLACED", "MOOT"), ("CANCELLED", "MOOT")]
        assert len(server.told("/V1/update_order_status")) == 1
        assert not await told.source.failures()


async def test_after_five_failures_it_is_left_alone_for_a_minute_and_then_tried_with_care(engine):
    async with petpooja(engine) as (told, server):
        server.menu, server.troubles = {"81091"}, [broken] * 7
        for _ in range(8):
            await ordered(told)
        await told.tell()
        line = await told.line()
        assert (line.failed, line.message, line.held_until) == (5, "it answers HTTP 502", None)
        assert len(server.calls) == 5
        assert timedelta(seconds=50) < line.next_at - datetime.now(UTC) <= timedelta(seconds=60)
        await told.tell()  # a minute later
        assert (len(server.calls), (await told.line()).failed) == (6, 6)
        server.troubles = []
        await told.tell()
        assert (len(server.orders), (await told.line()).failed) == (8, 0)
        assert {state for _, state in await told.states()} == {"TOLD"}


async def test_who_mends_the_tills_address_is_waited_for_no_longer(engine):
    async with wms(engine) as (told, server):
        right, told.url = told.url, "http://127.0.0.1:1"
        await told.connect({"secret": server.secret}, on=False)
        for _ in range(7):
            await ordered(told, None)
        await told.tell()
        line = await told.line()
        assert (line.failed, bool(line.message), line.next_at > datetime.now(UTC)) == (5, True, True)
        assert not await told.worker.once()  # it is left alone
        told.url = right
        await told.connect({"secret": server.secret}, on=False)
        line = await told.line()
        assert (line.failed, line.message, line.next_at <= datetime.now(UTC)) == (0, None, True)
        assert await told.worker.once()
        assert (await told.states())[5:] == [("PLACED", "TOLD")] * 2  # the others may still wait for the time of their next try


async def test_who_tells_it_by_the_old_address_as_it_is_mended_leaves_no_rest_behind(engine):
    async with wms(engine) as (told, server):
        one = await ordered(told, None)

        class Meanwhile(SafeFetch):
            async def fetch(self, base_url: str, ask: Ask) -> Reply:
                reply = await super().fetch(base_url, ask)
                await told.connect({"secret": server.secret}, on=False)
                return Reply(429, {"retry-after": "170"}, b"", reply.asked_at)

        await told.tell(told.another(Meanwhile(loopback=True)))
        line = await told.line()
        assert (line.failed, line.message, line.held_until, line.next_at <= datetime.now(UTC)) == (0, None, None, True)
        [row] = await told.rows("state", "message", "next_at")
        assert (row.state.value, row.message) == ("WAITING", None)
        assert timedelta() < row.next_at - datetime.now(UTC) <= HOLD  # set aside: somebody may be telling it as yet
        await one.cancel()
        await told.follow()
        assert not await told.worker.once()  # and what comes after it does not overtake it
        await told.tell()
        assert await told.states() == [("PLACED", "MOOT"), ("CANCELLED", "TOLD")]
        await ordered(told, None)
        await told.tell(told.another(Meanwhile(loopback=True)))
        await told.tell()
        assert (await told.states())[-1] == ("PLACED", "TOLD")
        ids = [headers["webhook-id"] for _, _, headers in server.calls]
        assert (len(ids), len({*ids}), ids[-1]) == (4, 3, ids[-2])  # told twice, and known by its id


async def test_why_the_last_call_failed_stands_until_one_goes_well(engine):
    async with petpooja(engine) as (told, server):
        server.menu, server.troubles = {"81091"}, [broken]
        await ordered(told)
        await told.tell()
        seen = []

        class Looks(SafeFetch):
            async def fetch(self, base_url: str, ask: Ask) -> Reply:
                seen.append((await told.line()).message)
                return await super().fetch(base_url, ask)

        await told.tell(told.another(Looks(loopback=True)))
        assert (seen, (await told.line()).message) == (["it answers HTTP 502"], None)


async def test_who_asks_us_to_wait_is_waited_for(engine):
    async with petpooja(engine) as (told, server):
        server.menu, server.troubles = {"81091"}, [lambda: too_many(90)]
        await ordered(told)
        await ordered(told)
        await told.tell()
        assert len(server.calls) == 1
        assert timedelta(seconds=80) < (await told.line()).next_at - datetime.now(UTC) <= timedelta(seconds=90)
        assert not await told.worker.once()


async def test_one_that_is_always_broken_stops_no_other(engine):
    async with petpooja(engine) as (told, server):
        server.menu, server.troubles = {"81091"}, [broken]
        await ordered(told)
        await ordered(told)
        await told.tell()
        assert await told.states() == [("PLACED", "WAITING"), ("PLACED", "TOLD")]
        assert (await told.line()).failed == 0


async def overdue(told: Told) -> None:
    c = t.telling.c
    async with told.engine.begin() as connection:
        mine = update(t.telling).where(c.source_id == told.source.source_id)
        await connection.execute(mine.values(since=func.clock_timestamp() - timedelta(hours=1)))


async def test_an_order_that_cannot_be_told_in_time_is_a_failure_while_people_can_still_accept_it(engine):
    async with petpooja(engine) as (told, server):
        server.menu, server.troubles = {"81091"}, [broken] * 2
        one = await ordered(told)
        await told.follow()
        [row] = await told.rows("try_for")
        assert row.try_for < timedelta(minutes=10)
        await told.tell()
        await overdue(told)
        await told.tell()
        assert await told.states() == [("PLACED", "FAILED")]
        [failure] = await told.source.failures()
        assert (failure.kind.value, failure.state, failure.store_id) == ("PROCESSING", FailureState.OPEN, told.source.shop.store_id)
        said = f"the till was not told that order '{one.order.number}' is PLACED: it answers HTTP 502, 2 times"
        assert failure.message == said
        p = t.payload.c
        [payload] = await told.source.rows(select(p.door, p.body).where(p.id == failure.payload_id))
        assert (payload.door, json.loads(payload.body)["order"]) == (DOOR, one.order.number)
        server.troubles = [broken] * 9
        await again(told)
        await overdue(told)
        await told.tell()
        assert len(await told.source.failures()) == 1  # the same one
        server.troubles = []
        await again(told)
        await told.tell()
        assert await told.states() == [("PLACED", "TOLD")]
        [failure] = await told.source.failures()
        assert (failure.state, failure.replays) == (FailureState.RESOLVED, 2)


async def test_who_was_never_told_of_an_order_is_not_told_of_its_end(engine):
    async with petpooja(engine) as (told, server):
        server.menu, server.troubles = {"81091"}, [broken] * 9
        six = [await ordered(told) for _ in range(6)]
        await told.tell()
        assert len(server.calls) == 5  # the circuit is open, and the sixth was never spoken of
        await overdue(told)
        await told.now()
        await resting(told, timedelta(minutes=1))
        while await told.worker.once():
            pass
        assert await told.states() == [("PLACED", "FAILED")] * 6
        assert len(await told.source.failures()) == 6
        assert [row.attempts for row in await told.rows("attempts")] == [1, 1, 1, 1, 1, 0]
        assert len(server.calls) == 5
        line = await told.line()
        assert (line.failed, line.message, line.held_until) == (5, "it answers HTTP 502", None)
        assert timedelta(seconds=45) < line.next_at - datetime.now(UTC) <= timedelta(seconds=60)  # it is left alone all the same
        for one in (six[0], six[5]):
            await one.cancel()
        server.troubles = []
        await told.tell()
        told_of = [call["clientorderID"] for call in server.told("/V1/update_order_status")]
        assert told_of == [six[0].order.number]


async def test_of_a_till_that_is_dead_each_order_is_a_failure_in_time(engine):
    async with petpooja(engine) as (told, server):
        server.menu, server.troubles = {"81091"}, [broken] * 9
        await ordered(told)
        for _ in range(5):
            await told.tell()
        assert (await told.line()).failed == 5
        for _ in range(6):
            await ordered(told)
        await told.follow()
        await overdue(told)
        await told.tell()  # the minute has passed: one careful try, and none for what can only be given up
        assert await told.states() == [("PLACED", "FAILED")] * 7
        assert len(await told.source.failures()) == 7
        assert len(server.calls) == 6


async def resting(told: Told, rest: timedelta) -> None:
    st = t.source_telling.c
    async with told.engine.begin() as connection:
        mine = update(t.source_telling).where(st.source_id == told.source.source_id)
        await connection.execute(mine.values(next_at=func.clock_timestamp() + rest))


async def test_what_is_tried_later_is_given_up_no_later_for_that(engine):
    async with petpooja(engine) as (told, server):
        server.menu, server.troubles = {"81091"}, [lambda: too_many(180)]
        await ordered(told)
        await told.follow()
        c = t.telling.c
        async with engine.begin() as connection:
            mine = update(t.telling).where(c.source_id == told.source.source_id)
            await connection.execute(mine.values(since=func.clock_timestamp() - timedelta(minutes=7)))
        await told.tell()
        [row] = await told.rows("next_at", "since", "try_for")
        assert row.next_at == row.since + row.try_for


async def again(told: Told) -> None:
    """Whatever has failed is replayed by its people."""
    ids = [failure.id for failure in await told.source.failures() if failure.state is FailureState.OPEN]
    assert ids
    await do(told.engine, lambda uow: replay_failures(ids, told.source.shop.owner, uow))
    await told.source.worker.drain()  # nobody reads as a payload of theirs what we say of ours


# ---------------------------------------------------------------- a till that says no


async def test_what_the_till_refuses_is_a_failure_that_is_told_again_when_it_is_mended(engine):
    async with petpooja(engine) as (told, server):
        one = await ordered(told)
        await told.tell()
        [failure] = await told.source.failures()
        assert failure.kind.value == "VALIDATION"
        assert 'SO_106: Validation failed: {"OrderItem": ["Unknown item 81091"]}' in failure.message
        assert (await one.now()).status is S.PLACED
        await told.tell()
        assert len(server.calls) == 1  # the same again would be refused again
        server.menu = {"81091"}
        which = FailureFilter(merchant_id=told.source.shop.merchant_id)
        replay_id = await do(engine, lambda uow: start_replay(which, told.source.shop.owner, uow))
        replays = Replays(lambda: unit_of_work(engine))
        await replays.once()
        await told.tell()
        await replays.once()
        await replays.once()
        assert (await told.source.failures())[0].state is FailureState.RESOLVED
        r = t.replay_job.c
        [job] = await told.source.rows(select(r.state, r.applied, r.failed_again).where(r.id == replay_id))
        assert (job.state.value, job.applied, job.failed_again) == ("DONE", 1, 0)
        assert list(server.orders) == [one.order.number]


async def test_an_item_that_nobody_has_mapped_is_a_failure_and_the_order_is_told_by_itself_once_it_is(engine):
    async with petpooja(engine) as (told, server):
        server.menu = {"81091", "9"}
        one = await ordered(told, item=None)
        other = await ordered(told, item="9")
        await told.tell()
        [failure] = await told.source.failures()
        assert (failure.kind.value, failure.state) == ("MAPPING", FailureState.OPEN)
        assert f"no item of the till's is mapped to 'Tea {one.tea}'" in failure.message
        assert list(server.orders) == [other.order.number]  # it stops no other
        assert (await told.line()).failed == 0
        await one.accept()
        await told.tell()
        await told.now()
        assert not await told.worker.once()  # it is not tried until it could go well
        assert len(await told.source.failures()) == 1
        await overdue(told)  # it waited for people, and for no till
        server.troubles = [broken]
        await told.source.map(EntityKind.VARIANT, "81091", one.tea)
        await told.tell()
        assert (await told.states())[0] == ("PLACED", "WAITING")
        assert len(await told.source.failures()) == 1
        await told.tell()
        assert await told.states() == [("PLACED", "TOLD")] * 2
        assert [failure.state for failure in await told.source.failures()] == [FailureState.RESOLVED]


async def test_an_order_that_waited_for_a_mapping_and_ended_is_told_no_more(engine):
    async with petpooja(engine) as (told, server):
        one = await ordered(told, item=None)
        await told.tell()
        await again(told)  # which changes nothing: there is no word for it yet
        await told.tell()
        assert await told.states() == [("PLACED", "WAITING")]
        await one.cancel()
        await told.tell()
        assert (server.calls, await told.states()) == ([], [("PLACED", "MOOT"), ("CANCELLED", "MOOT")])
        assert [failure.state for failure in await told.source.failures()] == [FailureState.RESOLVED]


async def test_what_we_say_of_a_till_is_no_word_of_the_tills(engine):
    mine = await shop(engine)
    async with petpooja(engine, of=mine) as (told, _):
        other = {"id": new_id(), "merchant_id": mine.merchant_id, "slug": f"s-{mine.store_id}-2", "name": "Amrit 2", "city": "Pune"}
        async with engine.begin() as connection:
            await connection.execute(insert(t.store).values(**other, lat=18.5, lng=73.8))
        await told.source.map(EntityKind.STORE, "b2", other["id"])
        await ordered(told, item=None)
        await told.tell()
        s = t.source.c
        assert await told.source.rows(select(s.last_seen_at).where(s.id == told.source.source_id)) == [(None,)]
        assert [failure.store_id for failure in await told.source.failures()] == [mine.store_id]


async def test_what_waits_for_people_is_no_backlog(engine, reads):
    async def untold() -> float:
        return next(one.value for one in await backlog(reads) if one.name == "orders_untold")

    async with petpooja(engine) as (told, _):
        before = await untold()
        await ordered(told, item=None)
        await told.follow()
        assert await untold() == before + 1
        await told.tell()
        assert await untold() == before  # a failure says it
        await ordered(told)
        await told.follow()
        assert await untold() == before + 1
        off = SetSource(told.source.source_id, False)
        await do(engine, lambda uow: set_source(off, told.source.shop.owner, uow))
        assert await untold() == before


async def test_an_id_that_the_till_has_given_anew_is_the_one_it_is_told(engine):
    async with petpooja(engine) as (told, server):
        server.menu = {"9"}
        await ordered(told)  # mapped to 81091 first
        await told.source.map(EntityKind.VARIANT, "9", told.teas["81091"])
        await told.tell()
        assert await told.states() == [("PLACED", "TOLD")]


async def test_an_order_the_till_refused_is_not_cancelled_there(engine):
    async with petpooja(engine) as (told, server):
        one = await ordered(told)
        await told.tell()
        await one.cancel()
        await told.tell()
        assert await told.states() == [("PLACED", "FAILED"), ("CANCELLED", "MOOT")]
        assert len(server.calls) == 1
        await again(told)
        await told.tell()
        assert await told.states() == [("PLACED", "MOOT"), ("CANCELLED", "MOOT")]
        assert (await told.source.failures())[0].state is FailureState.RESOLVED


async def test_an_order_the_till_refused_and_that_ended_before_it_was_told_again_is_not_cancelled_there(engine):
    async with petpooja(engine) as (told, server):
        one = await ordered(told)
        await told.tell()
        await again(told)
        await one.cancel()
        await told.tell()
        assert await told.states() == [("PLACED", "MOOT"), ("CANCELLED", "MOOT")]
        assert len(server.calls) == 1


async def test_a_till_that_may_have_an_order_from_before_it_said_no_hears_of_its_end(engine):
    async with petpooja(engine) as (told, server):
        server.menu, server.troubles, server.after = {"81091"}, [broken], True
        one = await ordered(told)
        await told.tell()
        assert list(server.orders) == [one.order.number]  # it has it, and has not said so
        server.troubles, server.after = [lambda: unsuccessful("SO_101", "Invalid access token")], False
        await told.tell()
        assert await told.states() == [("PLACED", "FAILED")]
        await one.cancel()
        await told.tell()
        assert await told.states() == [("PLACED", "FAILED"), ("CANCELLED", "TOLD")]
        assert server.statuses == {one.order.number: "Customer cancelled"}


async def test_an_answer_that_cannot_be_taken_in_may_have_been_a_yes(engine):
    async with petpooja(engine) as (told, server):
        server.menu = {"81091"}
        one = await ordered(told)
        await told.tell(told.another(SafeFetch(loopback=True, most_bytes=10)))
        assert await told.states() == [("PLACED", "FAILED")]
        await one.cancel()
        await told.tell()
        assert server.statuses == {one.order.number: "Customer cancelled"}


async def test_what_has_been_told_since_is_not_replayed(engine):
    async with petpooja(engine) as (told, server):
        await ordered(told)
        await told.tell()
        server.menu = {"81091"}
        await again(told)
        await again(told)  # the till has not heard it yet: the same once more
        await told.tell()
        [failure] = await told.source.failures()
        assert failure.state is FailureState.RESOLVED
        with pytest.raises(Refused) as no:
            await do(engine, lambda uow: replay_failures([failure.id], told.source.shop.owner, uow))
        assert isinstance(no.value.refusal, Conflict)
        assert [one.state for one in await told.source.failures()] == [FailureState.RESOLVED]


async def test_what_a_bug_of_ours_keeps_from_the_till_is_a_failure_to_replay(engine):
    async with petpooja(engine) as (told, server):
        server.menu = {"81091"}
        await ordered(told)
        blind = told.another(seals=AesSeals([b"t" * 32]))
        await told.tell(blind)
        assert await told.states() == [("PLACED", "WAITING")]
        await overdue(told)
        await told.tell(blind)
        assert await told.states() == [("PLACED", "FAILED")]
        [failure] = await told.source.failures()
        assert (failure.kind.value, failure.state) == ("PROCESSING", FailureState.OPEN)
        assert "a secret cannot be opened" in failure.message
        await again(told)
        await told.tell()
        assert await told.states() == [("PLACED", "TOLD")]


async def test_a_warehouse_that_turns_an_order_down_has_rejected_it(engine, reads):
    async with wms(engine) as (told, server):
        one = await ordered(told, "TEA-250")
        server.without = {"TEA-250"}
        await told.tell()
        now = await one.now()
        assert now.status is S.REJECTED
        history = await orders.history_of(reads, [one.order.id])
        assert (history[-1].reason, history[-1].note) == (ReasonCode.OUT_OF_STOCK, f"no Tea {one.tea}")
        assert await counters(engine, one.tea) == (50, 0, 0)
        assert (await payment_of(reads, one.order.purchase_id))[0].value == "VOIDED"
        assert not await ledger.discrepancies(reads)
        await told.tell()
        assert await told.states() == [("PLACED", "TOLD")]  # of what it said itself it is not told
        assert not await told.source.failures()
        other = await ordered(told, None)
        await told.tell()
        await other.cancel()
        await told.tell()
        assert [said.partition(" ")[0] for said in server.seen.values()] == ["order.placed", "order.cancelled"]


# ---------------------------------------------------------------- once, in order, whoever dies


async def test_who_dies_between_the_answer_and_the_commit_has_it_told_again_by_the_same_id(engine):
    async with wms(engine) as (told, server):
        await ordered(told, None)
        dead = asyncio.Event()

        class Dies(SafeFetch):
            async def fetch(self, base_url: str, ask: Ask) -> Reply:
                reply = await super().fetch(base_url, ask)
                dead.set()
                return reply

        def begin() -> Any:
            if dead.is_set():
                raise Refused(Unavailable("gone"))
            return unit_of_work(engine)

        with pytest.raises(Refused):
            await told.tell(told.another(Dies(loopback=True), begin))
        assert dead.is_set()
        assert await told.states() == [("PLACED", "WAITING")]
        assert (await told.line()).held_until > datetime.now(UTC)  # for a while it is still the dead one's
        assert not await told.worker.once()
        await told.tell()
        assert await told.states() == [("PLACED", "TOLD")]
        ids = [headers["webhook-id"] for _, _, headers in server.calls]
        assert (len(ids), len(set(ids)), len(server.seen)) == (2, 1, 1)


async def test_who_was_away_too_long_writes_nothing_down(engine):
    async with wms(engine) as (told, server):
        one = await ordered(told, "TEA-250")
        server.without = {"TEA-250"}
        st = t.source_telling.c

        class Slow(SafeFetch):
            async def fetch(self, base_url: str, ask: Ask) -> Reply:
                async with engine.begin() as connection:  # another has taken it over meanwhile
                    mine = update(t.source_telling).where(st.source_id == told.source.source_id)
                    await connection.execute(mine.values(held_until=func.clock_timestamp() + timedelta(seconds=90)))
                return await super().fetch(base_url, ask)

        await told.tell(told.another(Slow(loopback=True)))
        assert await told.states() == [("PLACED", "WAITING")]
        assert (await one.now()).status is S.PLACED  # not even what the till has said of it
        await told.tell()
        assert (await one.now()).status is S.REJECTED


async def test_who_was_stopped_before_it_spoke_says_nothing_out_of_turn(engine):
    async with petpooja(engine) as (told, server):
        server.menu = {"81091"}
        one = await ordered(told)
        stopped, goes_on = asyncio.Event(), asyncio.Event()

        async def sleep(_: float) -> None:
            stopped.set()
            await goes_on.wait()

        slow = asyncio.create_task(told.tell(told.another(sleep=sleep, hold=timedelta(seconds=0.2))))
        await stopped.wait()
        await told.tell()  # another has taken it over, and told it
        await one.cancel()
        await told.tell()
        await asyncio.sleep(0.2)
        goes_on.set()
        await slow
        assert [path for path, _, _ in server.calls] == ["/orders/save_order", "/V1/update_order_status"]
        assert await told.states() == [("PLACED", "TOLD"), ("CANCELLED", "TOLD")]


async def test_many_workers_tell_each_thing_once(engine):
    async with petpooja(engine) as (told, server):
        server.menu = {"81091"}
        for _ in range(6):
            await ordered(told)
        await told.follow()
        await told.now()
        await asyncio.gather(*(told.another().once() for _ in range(5)))
        assert len(server.calls) == len(server.orders) == 6


async def test_many_who_follow_write_each_thing_down_once_and_a_killed_one_loses_none(engine):
    async with petpooja(engine) as (told, _):
        for _ in range(3):
            await ordered(told)
        async with leadership(engine) as leader:
            assert leader is not None
            while await leader.stamp(500):
                pass

        class Killed(Exception): ...

        async def killed() -> None:
            async with unit_of_work(engine) as uow:
                assert (await uow.tellings.next_events(2_000))[0]
                raise Killed

        with pytest.raises(Killed):
            await killed()
        await asyncio.gather(*(told.another().follow() for _ in range(5)))
        await told.follow()
        assert await told.states() == [("PLACED", "WAITING")] * 3


async def test_the_news_of_an_order_are_told_in_their_order(engine):
    async with urbanpiper(engine) as (told, till):
        till.troubles = [broken]
        one = await ordered(told, "I-TEA")
        await one.accept()
        await told.tell()
        assert await told.states() == [("PLACED", "WAITING"), ("ACCEPTED", "WAITING")]
        await told.now(tasks=False)
        assert not await told.worker.once()  # the first is not due, and the second is not the first
        await told.tell()
        [(_, first, _), (_, again_, _), (_, second, _)] = till.calls
        assert first["order"]["details"]["id"] == again_["order"]["details"]["id"] == one.order.number
        assert again_["order"]["details"]["order_state"] == "Acknowledged"  # as it is by then
        assert second["new_state"] == "Acknowledged"


async def test_it_runs_by_itself(engine):
    async with petpooja(engine) as (told, server):
        server.menu = {"81091"}
        await told.now()
        running = asyncio.create_task(told.worker.run())
        try:
            await ordered(told)
            async with leadership(engine) as leader:
                assert leader is not None
                await leader.stamp(500)
            await until(lambda: server.orders, within_s=10)
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)


async def test_slow_tills_keep_no_other_waiting(engine):
    async with petpooja(engine) as (quick, server):
        server.menu = {"81091"}
        slow = []
        for _ in range(5):
            told = Told(engine, await partner(engine, "wms", "WH-1"), "https://slow.example")
            await told.connect({"secret": Warehouse().secret})
            await ordered(told, None)
            slow.append(told)
        await ordered(quick)
        await quick.follow()
        await quick.now()
        st, asked = t.source_telling.c, set[str]()
        async with engine.begin() as connection:  # and it is the last in the row
            mine = update(t.source_telling).where(st.source_id.in_([told.source.source_id for told in slow]))
            a_minute_ago = func.clock_timestamp() - timedelta(minutes=1)
            await connection.execute(mine.values(next_at=a_minute_ago, held_until=None))

        class Slow(SafeFetch):
            async def fetch(self, base_url: str, ask: Ask) -> Reply:
                if base_url == "https://slow.example":
                    asked.add(ask.headers["webhook-id"])
                    await asyncio.Event().wait()
                return await super().fetch(base_url, ask)

        running = asyncio.create_task(quick.another(Slow(loopback=True)).run())
        try:
            await until(lambda: server.orders and len(asked) == 5, within_s=30)
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)


async def test_a_turn_is_over_in_time_however_much_there_is_to_tell(engine):
    async with petpooja(engine) as (told, server):
        server.menu = {"81091"}
        for _ in range(2):
            await ordered(told)
        await told.tell(told.another(turn_s=0.0))
        assert len(server.orders) == 1
        assert await told.worker.once()  # it has its next one at once
        assert len(server.orders) == 2


def test_a_source_is_held_for_longer_than_a_till_is_waited_for():
    assert timedelta(seconds=2 * TOLD_WITHIN_S) < HOLD
