"""A town in which everything goes on at once, and everybody who might look: what the role matrix is asked of."""

import json
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import Interval, Uuid, func, insert, literal, select, update
from sqlalchemy.ext.asyncio import AsyncEngine

from adapters.bus import open_bus
from adapters.gateways import SandboxGateway
from adapters.positions import MemoryPositions
from db import tables as t
from db.cart import cart_of as read_cart
from db.ids import new_id
from db.reads import Reads
from db.unit_of_work import unit_of_work
from domain import addresses, cart, counting, dispatch, fulfilment, listings, purchases, quotes, riders
from domain.failures import FailureFilter
from domain.identity import ANYBODY, Actor, App, MerchantRole
from domain.orders import Fulfilment, ReasonCode
from domain.payments import PaymentMethod
from domain.places import PostalAddress
from domain.positions import Position
from domain.profile_versions import activate_profile, save_profile
from domain.replays import start_replay
from domain.truth import Field, Rule, set_sources_of_truth
from domain.undos import undo_batch
from providers.omuni import ASSUMED
from resolvers import identity, orders
from resolvers.context import Ports
from resolvers.loaders import Loaders
from schema.roots import Api
from subscriptions.following import Following
from subscriptions.hub import Hub
from tests.callers import PASSWORD, ports
from tests.partners import INBOUNDS, dish, event, menu, partner, snapshot
from tests.trips import code_of, offered, on_duty, support
from tests.world import HOME, Shop, account, listing, member, shop
from workers.undos import Undos

LATER = datetime(2100, 1, 1, tzinfo=UTC)
PHONE = "+919800000021"
STAFF_PHONE = "+919800000022"
DOOR = PostalAddress(HOME.line1, "Second floor", HOME.city, HOME.postal_code, HOME.point, HOME.phone)


class Parked(MemoryPositions):
    """Where a rider is does not grow old while the tests go on."""

    async def latest(self, rider_ids: Sequence[UUID]) -> dict[UUID, Position]:
        return {id: Position(id, HOME.point, 90, datetime.now(UTC)) for id in rider_ids}


@dataclass
class Everybody:
    """`callers` by the matrix's columns; `names` are what `$name` in its paths stands for."""

    engine: AsyncEngine
    ports: Ports
    hub: Hub
    callers: dict[str, Actor] = field(default_factory=dict)
    names: dict[str, Any] = field(default_factory=dict)

    def context(self, caller: str, engine: AsyncEngine | None = None, reads: Reads | None = None) -> Api:
        actor, reads = self.callers[caller], reads or Reads(self.engine)
        here = engine or self.engine
        return Api(
            actor, reads, lambda: unit_of_work(here), Loaders(reads, actor), self.ports, "203.0.113.7", hub=Following(self.hub)
        )


@dataclass(frozen=True)
class Ordered:
    """One order of the buyer, at the first store."""

    order_id: UUID
    purchase_id: UUID


@dataclass
class Seeding:
    town: Everybody
    shop: Shop
    lines: Mapping[UUID, cart.LineChange]  # by store

    @property
    def engine(self) -> AsyncEngine:
        return self.town.engine

    async def do(self, step, *arguments) -> Any:
        async with unit_of_work(self.engine) as uow:
            return await step(*arguments, uow)

    async def order(self, fulfilment_: Fulfilment = Fulfilment.DELIVERY, stores: Sequence[UUID] = ()) -> Ordered:
        """Placed, in cash."""
        buyer = self.town.callers["buyer"]
        quote_id = await self.quote(fulfilment_, stores)
        place = purchases.PlaceOrder(quote_id, PaymentMethod.CASH_ON_DELIVERY, f"key-{quote_id}")
        purchase_id = await self.do(purchases.place_order, place, buyer)
        return await self.ordered(purchase_id)

    async def quote(self, fulfilment_: Fulfilment = Fulfilment.DELIVERY, stores: Sequence[UUID] = ()) -> UUID:
        buyer = self.town.callers["buyer"]
        await self.do(cart.update_lines, [self.lines[id] for id in stores or [self.shop.store_id]], buyer)
        address = DOOR if fulfilment_ is Fulfilment.DELIVERY else None
        return await self.do(quotes.quote_cart, quotes.QuoteCart(address, None, fulfilment_, None), buyer)

    async def ordered(self, purchase_id: UUID) -> Ordered:
        o = t.orders.c
        found = select(o.id).where(o.purchase_id == purchase_id, o.store_id == self.shop.store_id)
        return Ordered(await Reads(self.engine).value(found), purchase_id)

    async def accepted(self) -> tuple[UUID, UUID]:
        """The order, and its delivery, that looks for a rider."""
        order_id = (await self.order()).order_id
        await self.do(fulfilment.accept_order, fulfilment.AcceptOrder(order_id, 10), self.shop.owner)
        return order_id, await Reads(self.engine).value(select(t.delivery.c.id).where(t.delivery.c.order_id == order_id))

    async def taken_away(self) -> tuple[UUID, UUID, UUID]:
        """As `accepted`, with the offer of the idle rider, who had it until support gave it to the rider."""
        order_id, delivery_id = await self.accepted()
        for name in ("idle", "rider"):
            await self.do(dispatch.assign_rider, delivery_id, self.town.callers[name].id, self.town.callers["support"])
        part, o = t.offer_delivery.c, t.offer.c
        theirs = select(o.id).join(t.offer_delivery, part.offer_id == o.id)
        theirs = theirs.where(part.delivery_id == delivery_id, o.rider_id == self.town.callers["idle"].id)
        return order_id, delivery_id, await Reads(self.engine).value(theirs)

    async def assigned(self, *steps) -> tuple[UUID, UUID]:
        """To the rider, who has taken these steps."""
        order_id, delivery_id = await self.accepted()
        rider = self.town.callers["rider"]
        await self.do(dispatch.assign_rider, delivery_id, rider.id, self.town.callers["support"])
        for step in steps:
            await self.do(step, delivery_id, rider)
        return order_id, delivery_id


async def fail(delivery_id, actor, uow):
    await riders.fail_delivery(riders.FailDelivery(delivery_id, ReasonCode.CUSTOMER_ABSENT, "rang twice"), actor, uow)


@asynccontextmanager
async def everybody(engine: AsyncEngine) -> AsyncIterator[Everybody]:
    bus = open_bus("memory://")
    await bus.start()
    outside = ports(
        Reads(engine), bus=bus, positions=Parked(), gateway=SandboxGateway(b"g" * 32), inbounds=INBOUNDS, url="https://haat.test"
    )
    town = Everybody(engine, outside, Hub(bus, Reads(engine)))  # the hub is not started: first frames are snapshots
    await _people(town, first := await shop(engine, delivery_minor=2500))
    await _goods(town, first)
    await _intake(town, first)
    try:
        yield town
    finally:
        await bus.stop()


async def _people(town: Everybody, first: Shop) -> None:
    engine = town.engine
    second = Shop(first.merchant_id, new_id(), first.owner)
    async with engine.begin() as connection:
        place = {"name": "Amrit Two", "slug": f"s-{second.store_id}", "city": "Bengaluru", "lat": 12.97, "lng": 77.59}
        await connection.execute(insert(t.store).values(id=second.store_id, merchant_id=first.merchant_id, **place))
    rival, hashed = await shop(engine), await town.ports.passwords.hash(PASSWORD)
    town.callers |= {
        "nobody": ANYBODY,
        "buyer": await account(engine, name="Asha", phone=PHONE, email="asha@example.com", password_hash=hashed),
        "other": await account(engine, name="Omar", is_support=True),
        "owner": first.owner,
        "manager": await member(engine, first, MerchantRole.MANAGER),
        "clerk": await member(engine, first, MerchantRole.CLERK, [first.store_id]),
        "clerkB": await member(engine, first, MerchantRole.CLERK, [second.store_id]),
        "rival": rival.owner,
        "rider": await on_duty(engine, "Ravi", "+919811111111"),
        "asked": await on_duty(engine, "Imran"),
        "idle": await on_duty(engine, "Joy"),
        "support": await support(engine),
    }
    async with engine.begin() as connection:
        # A session is for one app. Omar also works here, in every way there is; signed in as a customer, he is no more than that.
        omar = {"user_id": town.callers["other"].id, "merchant_id": first.merchant_id, "role": MerchantRole.OWNER}
        await connection.execute(insert(t.merchant_member).values(**omar))
        await connection.execute(insert(t.rider).values(id=town.callers["other"].id))
        staff = update(t.user_account).where(t.user_account.c.id == town.callers["manager"].id)
        await connection.execute(staff.values(phone=STAFF_PHONE, password_hash=hashed))
    people = [actor for actor in town.callers.values() if actor.kind is not None]
    sessions = {actor.id: new_id() for actor in people}
    async with engine.begin() as connection:
        await connection.execute(
            insert(t.session),
            [{"id": sessions[one.id], "user_id": one.id, "app": App(one.kind.value), "expires_at": LATER} for one in people],
        )
    town.callers = {
        name: Actor(actor.kind, actor.id, sessions.get(actor.id)) if actor.kind else actor for name, actor in town.callers.items()
    }
    town.names |= {
        "merchant": first.merchant_id,
        "rivals": rival.merchant_id,
        "store": first.store_id,
        "storeB": second.store_id,
        "idle": town.callers["idle"].id,
        "phone": PHONE,
        "staffPhone": STAFF_PHONE,
        "password": PASSWORD,
    }


async def _goods(town: Everybody, first: Shop) -> None:
    engine, buyer, owner = town.engine, town.callers["buyer"], town.callers["owner"]
    elsewhere = await shop(engine)
    tea, rice = await listing(engine, first, 500), await listing(engine, elsewhere, 500)
    wrong = await listing(engine, elsewhere, 5)
    group, sugar = new_id(), new_id()
    async with engine.begin() as connection:
        mine = {"merchant_id": first.merchant_id, "store_id": first.store_id}
        await connection.execute(insert(t.modifier_group).values(id=group, name="Sugar", external_id="g", **mine))
        await connection.execute(
            insert(t.modifier).values(id=sugar, group_id=group, name="Less", external_id="m", price_minor=100, **mine)
        )
        await connection.execute(
            insert(t.listing_modifier_group).values(id=new_id(), listing_id=tea, group_id=group, min=0, max=1, rank=0)
        )
        await connection.execute(insert(t.category).values(id=new_id(), name="Drinks", path=["Drinks"]))
        # A counter that nobody's movement explains: what support's audit is for.
        await connection.execute(update(t.stock_level).where(t.stock_level.c.listing_id == wrong).values(on_hand=7))
    lines = {
        first.store_id: cart.LineChange(None, tea, 2, (sugar,), "hot"),
        elsewhere.store_id: cart.LineChange(None, rice, 1),
    }
    seed = Seeding(town, first, lines)
    await seed.do(counting.set_stock, counting.SetStock(tea, 400, None), owner)
    await seed.do(listings.set_price, listings.SetPrice(tea, 6000), owner)
    address_id = await seed.do(addresses.save_address, addresses.SaveAddress(None, DOOR), buyer)

    card = await orders.place_order(town.context("buyer"), purchases.PlaceOrder(await seed.quote(), PaymentMethod.CARD, "card"))
    placed = await seed.order()
    split = await seed.order(stores=[first.store_id, elsewhere.store_id])
    collected = await seed.order(Fulfilment.PICKUP)
    await seed.do(fulfilment.accept_order, fulfilment.AcceptOrder(collected.order_id, 10), owner)
    await seed.do(fulfilment.mark_order_ready, fulfilment.MarkOrderReady(collected.order_id), owner)
    searching, searching_trip = await seed.accepted()
    asked, asked_trip = await seed.accepted()
    live, live_trip = await seed.assigned()
    picked, picked_trip = await seed.assigned(riders.pick_up)
    failed, failed_trip = await seed.assigned(riders.pick_up, fail)
    returning, returning_trip = await seed.assigned(riders.pick_up, fail, riders.return_delivery)
    done, done_trip = await seed.assigned(riders.pick_up)
    await seed.do(riders.deliver, done_trip, await code_of(engine, done), town.callers["rider"])
    await seed.do(cart.update_lines, [cart.LineChange(None, tea, 1)], town.callers["other"])
    _, _, lost_offer = await seed.taken_away()
    offer_id = await offered(engine, asked_trip, town.callers["asked"])
    quote_id = await seed.quote()
    async with engine.begin() as connection:
        await connection.execute(update(t.offer).values(expires_at=func.clock_timestamp() + timedelta(hours=1)))
        await connection.execute(update(t.quote).values(expires_at=func.clock_timestamp() + timedelta(hours=1)))
        await connection.execute(update(t.stock_hold).values(expires_at=func.clock_timestamp() + timedelta(hours=1)))

    await identity.request_code(town.context("nobody"), PHONE)
    session = await identity.sign_in(town.context("nobody"), PHONE, PASSWORD, App.CUSTOMER)
    line_id = (await read_cart(Reads(engine), buyer)).lines[0].id
    number = await Reads(engine).value(select(t.orders.c.number).where(t.orders.c.id == live))
    town.names |= {
        "tea": tea, "rice": rice, "line": line_id, "address": address_id, "quote": quote_id, "offer": offer_id,
        "lost": lost_offer, "number": number,
        "placed": placed.order_id, "purchase": placed.purchase_id, "split": split.order_id, "both": split.purchase_id,
        "card": (await seed.ordered(card.id)).order_id, "unpaid": card.id,
        "collected": collected.order_id, "collectedCode": await code_of(engine, collected.order_id),
        "searching": searching, "searchingTrip": searching_trip, "asked": asked, "askedTrip": asked_trip,
        "live": live, "liveTrip": live_trip, "picked": picked, "pickedTrip": picked_trip,
        "pickedCode": await code_of(engine, picked), "failed": failed, "failedTrip": failed_trip,
        "returning": returning, "returningTrip": returning_trip, "done": done, "doneTrip": done_trip,
        "otp": town.ports.messages.codes[PHONE], "refresh": session.refresh_token,
    }  # fmt: skip


async def _intake(town: Everybody, first: Shop) -> None:
    """A warehouse that speaks of things nobody has mapped, one by its barcode; and somebody who cannot prove to be one."""
    wms = await partner(town.engine, "wms", "ST-1", of=first)
    await wms.tell("webhooks/stock", event("stock.adjusted", location="ST-1", sku="NO-SUCH", delta="1"))
    stray = await partner(town.engine, "wms", of=first)
    stray.source_id = new_id()
    await stray.post("webhooks/stock", {})
    (failure,) = await wms.failures()
    barcode = "8901234567894"
    async with town.engine.begin() as connection:
        await connection.execute(update(t.variant).where(t.variant.c.id == town.names["tea"]).values(barcode=barcode))
    await wms.tell("webhooks/stock", event("stock.adjusted", location="ST-1", sku=barcode, delta="1"))
    async with unit_of_work(town.engine) as uow:
        replay_id = await start_replay(FailureFilter(first.merchant_id), first.owner, uow)
    held, undone, switched = await _batches(town, first)
    omuni = await partner(town.engine, "omuni", "ST-1", of=first)
    async with unit_of_work(town.engine) as uow:
        await save_profile(omuni.source_id, json.dumps(ASSUMED | {"dedupe": ["$.id"]}), first.owner, uow)
        await activate_profile(omuni.source_id, 1, builtin=True, actor=first.owner, uow=uow)
    counts = [{"channelSkuId": "A", "quantity": 1}, {}, {"channelSkuId": "B", "quantity": 2}]
    await omuni.tell("webhooks/stock", {"id": 1, "locationCode": "ST-1", "products": counts})
    vinculum = await partner(town.engine, "vinculum", "ST-1", of=first)
    async with unit_of_work(town.engine) as uow:
        counted = [Rule(first.store_id, Field.STOCK, dashboard=True)]
        await set_sources_of_truth(first.merchant_id, counted, first.owner, uow)
    await wms.tell("webhooks/stock", snapshot("ST-1", (f"SKU-{town.names['tea']}", 3, 1)))
    await _untold(town, wms.source_id, first.merchant_id)
    of_wms = select(t.source_conflict.c.id).where(t.source_conflict.c.source_id == wms.source_id)
    of_omuni = select(t.payload.c.id).where(t.payload.c.source_id == omuni.source_id)
    of_nobody = select(t.payload.c.id).where(t.payload.c.source_id.is_(None))
    town.names |= {
        "source": wms.source_id,
        "profiled": omuni.source_id,
        "pulled": vinculum.source_id,
        "conflict": await Reads(town.engine).value(of_wms),
        "told": await Reads(town.engine).value(of_omuni),
        "failure": failure.id,
        "replay": replay_id,
        "payload": failure.payload_id,
        "stray": await Reads(town.engine).value(of_nobody),
        "held": held,
        "undone": undone,
        "switched": switched,
    }


async def _untold(town: Everybody, source_id: UUID, merchant_id: UUID) -> None:
    """A till that does not answer, and what it has still to be told."""
    o, later = t.orders.c, func.clock_timestamp() + timedelta(days=1)
    why = "it answers HTTP 502"
    async with town.engine.begin() as connection:
        await connection.execute(insert(t.source_telling).values(source_id=source_id, next_at=later, message=why))
        news = select(
            literal(new_id(), Uuid), literal(source_id, Uuid), o.id, o.merchant_id, literal("PLACED"), literal(1),
            literal(timedelta(minutes=8), Interval), literal(why),
        ).where(o.merchant_id == merchant_id).limit(1)  # fmt: skip
        columns = ["id", "source_id", "order_id", "merchant_id", "news", "pos", "try_for", "message"]
        await connection.execute(insert(t.telling).from_select(columns, news))


async def _batches(town: Everybody, first: Shop) -> Sequence[UUID]:
    """Of a till: one that waits for approval; one that was undone, but for what the till has said since; and that one."""
    till = await partner(town.engine, "petpooja", "k7x2m9qa", of=replace(first, store_id=town.names["storeB"]))
    await till.tell("webhooks/menu", menu("k7x2m9qa", dish("1"), dish("2")))
    ids = {"restID": "k7x2m9qa", "type": "item"}
    await till.tell("webhooks/inventory", {**ids, "inStock": False, "itemID": ["1", "2"]})
    await till.tell("webhooks/inventory", {**ids, "inStock": True, "itemID": ["2"]})
    p = t.payload.c
    rows = await till.rows(select(p.id).where(p.source_id == till.source_id).order_by(p.id))
    _, undone, switched = [row.id for row in rows]
    async with unit_of_work(town.engine) as uow:
        await undo_batch(undone, uow.new_id(), first.owner, uow)
    worker = Undos(lambda: unit_of_work(town.engine))
    while await worker.once():
        pass
    await till.tell("webhooks/menu", menu("k7x2m9qa", dish("1", "160.00")))
    (held,) = await till.rows(select(p.id).where(p.source_id == till.source_id).order_by(p.id.desc()).limit(1))
    return held.id, undone, switched
