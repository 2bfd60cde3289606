"""Orders on their way: placed, accepted, offered and assigned by the commands themselves."""

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncEngine

from db import tables as t
from db.ids import new_id
from db.unit_of_work import unit_of_work
from domain import cart, dispatch, fulfilment, purchases, quotes, riders
from domain.delivery import DeliveryStatus
from domain.identity import Actor, ActorKind
from domain.orders import Fulfilment, OrderStatus
from domain.payments import PaymentMethod
from domain.places import PostalAddress
from tests.world import HOME, Shop, account, listing, shop


@dataclass(frozen=True)
class Trip:
    """One accepted order that a rider is looked for, and whose it is."""

    shop: Shop
    customer: Actor
    order_id: UUID
    delivery_id: UUID
    listing_id: UUID
    purchase_id: UUID


async def placed(
    engine: AsyncEngine, customer: Actor, listing_ids: Sequence[UUID], method: PaymentMethod, address: PostalAddress
) -> UUID:
    """The purchase."""
    async with unit_of_work(engine) as uow:
        await cart.update_lines([cart.LineChange(None, id, 2) for id in listing_ids], customer, uow)
        quote_id = await quotes.quote_cart(quotes.QuoteCart(address, None, Fulfilment.DELIVERY, None), customer, uow)
    async with unit_of_work(engine) as uow:
        return await purchases.place_order(purchases.PlaceOrder(quote_id, method, f"key-{quote_id}"), customer, uow)


async def trips(engine: AsyncEngine, shops: Sequence[Shop], address: PostalAddress = HOME) -> list[Trip]:
    """One purchase in cash, an accepted order of two units at each shop."""
    customer = await account(engine, name="Asha", phone=None)
    listing_ids = {shop.store_id: await listing(engine, shop, 10) for shop in shops}
    purchase_id = await placed(engine, customer, list(listing_ids.values()), PaymentMethod.CASH_ON_DELIVERY, address)
    async with engine.connect() as connection:
        o = t.orders.c
        by_store = {
            row.store_id: row.id for row in await connection.execute(select(o.store_id, o.id).where(o.purchase_id == purchase_id))
        }
    made = []
    for one in shops:
        order_id = by_store[one.store_id]
        async with unit_of_work(engine) as uow:
            await fulfilment.accept_order(fulfilment.AcceptOrder(order_id, None), one.owner, uow)
        async with engine.connect() as connection:
            found = await connection.execute(select(t.delivery.c.id).where(t.delivery.c.order_id == order_id))
            made.append(Trip(one, customer, order_id, found.scalar_one(), listing_ids[one.store_id], purchase_id))
    return made


async def trip(engine: AsyncEngine) -> Trip:
    return (await trips(engine, [await shop(engine)]))[0]


async def on_duty(engine: AsyncEngine, name: str = "Ravi", phone: str | None = None) -> Actor:
    rider = await account(engine, ActorKind.RIDER, name=name, phone=phone)
    async with unit_of_work(engine) as uow:
        await riders.set_duty(True, rider, uow)
    return rider


async def offered(engine: AsyncEngine, delivery_id: UUID, *ranked: Actor) -> UUID:
    """The offer's id, to the first of these riders who can be asked."""
    async with unit_of_work(engine) as uow:
        assert await dispatch.offer(delivery_id, [rider.id for rider in ranked if rider.id], uow) is not None
    async with engine.connect() as connection:
        part = t.offer_delivery.c
        found = await connection.execute(select(part.offer_id).where(part.delivery_id == delivery_id, part.open))
        return found.scalar_one()


async def assigned(engine: AsyncEngine, delivery_id: UUID, rider: Actor) -> UUID:
    """The offer's id."""
    offer_id = await offered(engine, delivery_id, rider)
    async with unit_of_work(engine) as uow:
        await dispatch.accept_offer(offer_id, rider, uow)
    return offer_id


async def picked_up(engine: AsyncEngine, delivery_id: UUID, rider: Actor) -> None:
    await assigned(engine, delivery_id, rider)
    async with unit_of_work(engine) as uow:
        await riders.pick_up(delivery_id, rider, uow)


async def code_of(engine: AsyncEngine, order_id: UUID) -> str:
    async with engine.connect() as connection:
        code: str = (await connection.execute(select(t.orders.c.handover_code).where(t.orders.c.id == order_id))).scalar_one()
    return code


def another(code: str) -> str:
    return f"{(int(code) + 1) % 10_000:04}"


async def states(engine: AsyncEngine, trip: Trip) -> tuple[DeliveryStatus, OrderStatus, UUID | None]:
    """Of the delivery and of its order, and who has it."""
    async with engine.connect() as connection:
        d, o = t.delivery.c, t.orders.c
        row = (
            await connection.execute(
                select(d.status, o.status.label("order"), d.rider_id)
                .join(t.orders, o.id == d.order_id)
                .where(d.id == trip.delivery_id)
            )
        ).one()
    return row.status, row.order, row.rider_id


async def support(engine: AsyncEngine) -> Actor:
    return Actor(ActorKind.SUPPORT, (await account(engine, is_support=True)).id)


def nobody() -> Actor:
    return Actor(ActorKind.RIDER, new_id())
