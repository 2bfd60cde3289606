"""Deliveries: who may know of one and how much, how one is locked and moved."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, Row, Select, exists, false, insert, or_, select, true, update
from sqlalchemy.ext.asyncio import AsyncConnection

from db.dispatch import close_offers, dropped_by
from db.identity import stores_of
from db.pages import By, Page, page
from db.reads import Reads
from db.riders import to_trip
from db.tables import delivery, offer, offer_delivery, orders, store, user_account
from domain.delivery import DeliveryStatus, LockedDelivery, Marks, OfferMoved, OfferStatus
from domain.identity import Actor, ActorKind
from domain.money import Money
from domain.places import Point, metres_between
from domain.positions import Trip, coarse

d, offered = delivery.c, offer_delivery.c


def visible_to(actor: Actor) -> ColumnElement[bool]:
    """The deliveries this actor may know of. A rider who is asked for one knows little of it: see `to_delivery`."""
    match actor:
        case Actor(kind=ActorKind.CUSTOMER, id=UUID()):
            return d.order_id.in_(select(orders.c.id).where(orders.c.customer_id == actor.id))
        case Actor(kind=ActorKind.MERCHANT, id=UUID()):
            return d.store_id.in_(stores_of(actor))
        case Actor(kind=ActorKind.RIDER, id=UUID()):
            asked = exists().where(
                offered.delivery_id == d.id, offered.open, offer.c.id == offered.offer_id,
                offer.c.rider_id == actor.id, offer.c.status == OfferStatus.OPEN,
            )  # fmt: skip
            return or_(d.rider_id == actor.id, asked)
        case Actor(kind=ActorKind.SUPPORT, id=UUID()):
            return true()
        case _:
            return false()


LOCKED = (
    d.id,
    d.order_id,
    d.store_id,
    d.merchant_id,
    d.rider_id,
    d.status,
    d.version,
    d.distance_m,
    d.ended_at.is_not(None).label("ended"),
)


class SqlDeliveries:
    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def begin(self, new: LockedDelivery, cash: Money, search_until: datetime) -> None:
        found = await self._connection.execute(
            select(store.c.lat, store.c.lng, orders.c.address, orders.c.promised_at)
            .join(store, store.c.id == orders.c.store_id)
            .where(orders.c.id == new.order_id)
        )
        row = found.one()
        metres = metres_between(Point(row.lat, row.lng), row.address.point) if row.address else 0
        await self._connection.execute(
            insert(delivery).values(
                id=new.id,
                order_id=new.order_id,
                merchant_id=new.merchant_id,
                store_id=new.store_id,
                status=new.status,
                version=new.version,
                cash_minor=cash.minor,
                currency=cash.currency,
                distance_m=metres,
                search_until=search_until,
                eta_at=row.promised_at,
            )
        )

    async def order_of(self, delivery_id: UUID, actor: Actor) -> UUID | None:
        found = await self._connection.execute(select(d.order_id).where(d.id == delivery_id).where(visible_to(actor)))
        return found.scalar_one_or_none()

    async def lock(self, order_id: UUID) -> LockedDelivery | None:
        found = await self._connection.execute(select(*LOCKED).where(d.order_id == order_id).with_for_update())
        row = found.one_or_none()
        return LockedDelivery(**row._mapping) if row else None

    async def move(self, was: LockedDelivery, end: DeliveryStatus, rider_id: UUID | None, marks: Marks) -> LockedDelivery:
        written: dict[str, Any] = {
            name: value
            for name in ("assigned_at", "search_until", "eta_at", "ended_at")
            if (value := getattr(marks, name)) is not None
        }
        if marks.search_until is not None:
            written["escalated_at"] = None
        if marks.pay is not None:
            written["pay_minor"] = marks.pay.minor
        done = await self._connection.execute(
            update(delivery)
            .where(d.id == was.id, d.status == was.status, d.version == was.version)
            .values(status=end, rider_id=rider_id, version=d.version + 1, **written)
            .returning(*LOCKED)
        )
        return LockedDelivery(**done.one()._mapping)

    async def withdraw(self, delivery_id: UUID) -> list[OfferMoved]:
        mine = select(offered.offer_id).where(offered.delivery_id == delivery_id, offered.open)
        return await close_offers(self._connection, offer.c.id.in_(mine), OfferStatus.WITHDRAWN)


# ---------------------------------------------------------------- reads


@dataclass(frozen=True, slots=True)
class DeliveryRow:
    """A delivery as one actor may read it. `rider_id` is there while they may know where the rider is."""

    id: UUID
    status: DeliveryStatus
    version: int
    store_id: UUID
    drop_area: Point | None
    order_id: UUID | None
    cash_due: Money | None
    rider_name: str | None
    rider_phone: str | None
    eta_at: datetime | None
    rider_id: UUID | None


DELIVERY: Select[Any] = (
    select(
        d.id,
        d.status,
        d.version,
        d.store_id,
        d.order_id,
        d.rider_id,
        d.cash_minor,
        d.currency,
        d.eta_at,
        d.ended_at,
        orders.c.address,
        user_account.c.name,
        user_account.c.phone,
    )
    .join(orders, orders.c.id == d.order_id)
    .outerjoin(user_account, user_account.c.id == d.rider_id)
)


def to_delivery(row: Row[Any], actor: Actor) -> DeliveryRow:
    """To a rider who has not accepted: the store, and roughly where it goes. To all: of people, only while it lives."""
    full = actor.kind is not ActorKind.RIDER or row.rider_id == actor.id
    live = full and row.ended_at is None
    people = live or actor.kind is ActorKind.SUPPORT
    door: Point | None = row.address.point if row.address else None
    exact = people or actor.kind is ActorKind.CUSTOMER
    return DeliveryRow(
        id=row.id,
        status=row.status,
        version=row.version,
        store_id=row.store_id,
        drop_area=door if exact or door is None else coarse(door),
        order_id=row.order_id if full else None,
        cash_due=Money(row.cash_minor, row.currency) if live and row.cash_minor else None,
        rider_name=row.name if people else None,
        rider_phone=row.phone if people else None,
        eta_at=row.eta_at if live else None,
        rider_id=row.rider_id if live else None,
    )


async def deliveries_by_id(reads: Reads, actor: Actor, delivery_ids: Sequence[UUID]) -> list[DeliveryRow]:
    """Those of them that are this actor's, in no order."""
    found = await reads.rows(DELIVERY.where(d.id.in_(delivery_ids)).where(visible_to(actor)))
    return [to_delivery(row, actor) for row in found]


@dataclass(frozen=True, slots=True)
class LiveRow:
    """A delivery that has not ended, and where it goes."""

    delivery: DeliveryRow
    began_at: datetime
    trip: Trip


async def live_deliveries(reads: Reads, actor: Actor, store_id: UUID) -> list[LiveRow]:
    """Of a store, oldest first."""
    found = await reads.rows(
        DELIVERY.add_columns(d.created_at, store.c.lat, store.c.lng)
        .join(store, store.c.id == d.store_id)
        .where(d.store_id == store_id, d.ended_at.is_(None))
        .where(visible_to(actor))
        .order_by(d.id)
    )
    return [LiveRow(to_delivery(row, actor), row.created_at, to_trip(row)) for row in found]


async def deliveries_of_orders(reads: Reads, actor: Actor, order_ids: Sequence[UUID]) -> list[tuple[UUID, DeliveryRow]]:
    """With the order each belongs to."""
    found = await reads.rows(DELIVERY.where(d.order_id.in_(order_ids)).where(visible_to(actor)))
    return [(row.order_id, to_delivery(row, actor)) for row in found]


async def deliveries_of_offers(reads: Reads, actor: Actor, offer_ids: Sequence[UUID]) -> list[tuple[UUID, DeliveryRow]]:
    """With the offer each is in. Of an offer that is gone: what the actor may still know of."""
    found = await reads.rows(
        DELIVERY.add_columns(offered.offer_id)
        .join(offer_delivery, offered.delivery_id == d.id)
        .where(offered.offer_id.in_(offer_ids))
        .where(visible_to(actor))
        .order_by(offered.offer_id, d.id)
    )
    return [(row.offer_id, to_delivery(row, actor)) for row in found]


async def dropped(reads: Reads, actor: Actor, delivery_id: UUID) -> DeliveryRow | None:
    """As much as an asked rider sees, to the one who has just dropped it, while it looks for another."""
    if actor.kind is not ActorKind.RIDER or actor.id is None:
        return None
    row = await reads.one(DELIVERY.where(d.id == delivery_id).where(dropped_by(actor.id, d.id)))
    return to_delivery(row, actor) if row else None


async def delivery_page(
    reads: Reads, actor: Actor, rider_id: UUID, status: Sequence[DeliveryStatus] | None, first: int | None, after: str | None
) -> Page[DeliveryRow]:
    """A rider's, newest first."""
    statement = DELIVERY.where(d.rider_id == rider_id).where(visible_to(actor))
    if status is not None:
        statement = statement.where(d.status.in_(status))
    return await page(
        reads, statement, [By(d.id, descending=True)], lambda row: to_delivery(row, actor), first, after, "deliveries"
    )
