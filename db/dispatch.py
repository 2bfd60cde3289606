"""Offers: made, taken and gone; and whom a delivery could be offered to."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, Select, case, exists, false, func, insert, literal, select, true, update
from sqlalchemy.ext.asyncio import AsyncConnection

from db.reads import Reads
from db.tables import delivery, offer, offer_delivery, rider, rider_position, store, user_account
from domain.delivery import DeliveryStatus, OfferMoved, OfferStatus
from domain.dispatch import EXPIRIES, Candidate, FoundOffer, NewOffer, Searching, Unfound
from domain.identity import Actor, ActorKind
from domain.money import Money
from domain.orders import ReasonCode
from domain.places import Point
from domain.positions import KNOWN_FOR

o, part, d, r = offer.c, offer_delivery.c, delivery.c, rider.c
OPEN, ACCEPTED, DECLINED, EXPIRED = OfferStatus.OPEN, OfferStatus.ACCEPTED, OfferStatus.DECLINED, OfferStatus.EXPIRED
now = func.clock_timestamp()


def visible_to(actor: Actor) -> ColumnElement[bool]:
    """An offer is one rider's."""
    match actor:
        case Actor(kind=ActorKind.RIDER, id=UUID()):
            return o.rider_id == actor.id
        case Actor(kind=ActorKind.SUPPORT, id=UUID()):
            return true()
        case _:
            return false()


def _open_offer_of(rider_id: Any) -> ColumnElement[bool]:
    return exists().where(o.rider_id == rider_id, o.status == OPEN)


def _open_offer_for(delivery_id: Any) -> ColumnElement[bool]:
    return exists().where(part.delivery_id == delivery_id, part.open)


def _busy(rider_id: Any) -> ColumnElement[bool]:
    under_way = delivery.alias()
    return exists().where(under_way.c.rider_id == rider_id, under_way.c.ended_at.is_(None))


def _refused(rider_id: Any, delivery_id: Any) -> ColumnElement[bool]:
    """Said no, had it and dropped it, or let too many offers of it pass."""
    asked = offer.alias()
    return (
        select(
            func.coalesce(func.bool_or(asked.c.status.in_((DECLINED, ACCEPTED))), False)
            | (func.count().filter(asked.c.status == EXPIRED) >= EXPIRIES)
        )
        .select_from(asked.join(offer_delivery, part.offer_id == asked.c.id))
        .where(asked.c.rider_id == rider_id, part.delivery_id == delivery_id)
        .scalar_subquery()
    )


def _banned(rider_id: Any) -> ColumnElement[bool]:
    return exists().where(user_account.c.id == rider_id, user_account.c.banned_at.is_not(None))


def _askable(rider_id: Any, delivery_id: Any) -> list[ColumnElement[bool]]:
    return [r.on_duty, ~_banned(rider_id), ~_open_offer_of(rider_id), ~_busy(rider_id), ~_refused(rider_id, delivery_id)]


async def close_offers(
    connection: AsyncConnection, which: ColumnElement[bool], end: OfferStatus, reason: ReasonCode | None = None
) -> list[OfferMoved]:
    """The open ones among them, by one conditional write."""
    done = await connection.execute(
        update(offer)
        .where(which, o.status == OPEN)
        .values(status=end, version=o.version + 1, ended_at=now, reason=reason)
        .returning(o.id, o.version, o.ended_at, o.rider_id, o.expires_at)
    )
    closed = sorted(done.all(), key=lambda row: row.id)
    if not closed:
        return []
    freed = await connection.execute(
        update(offer_delivery)
        .where(part.offer_id.in_([row.id for row in closed]))
        .values(open=False)
        .returning(part.offer_id, part.delivery_id)
    )
    deliveries: dict[UUID, list[UUID]] = {}
    for row in freed:
        deliveries.setdefault(row.offer_id, []).append(row.delivery_id)
    return [
        OfferMoved(row.id, row.version, end, row.ended_at, row.rider_id, tuple(sorted(deliveries[row.id])), row.expires_at)
        for row in closed
    ]


class SqlOffers:
    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def find(self, offer_id: UUID, actor: Actor) -> FoundOffer | None:
        found = await self._connection.execute(
            select(o.id, o.rider_id, o.status, d.order_id)
            .join(offer_delivery, part.offer_id == o.id)
            .join(delivery, d.id == part.delivery_id)
            .where(o.id == offer_id)
            .where(visible_to(actor))
        )
        rows = found.all()
        return FoundOffer(rows[0].id, rows[0].rider_id, rows[0].status, [row.order_id for row in rows]) if rows else None

    async def accept(self, offer_id: UUID, rider_id: UUID) -> tuple[OfferMoved, Money] | None:
        in_time = (o.id == offer_id) & (o.rider_id == rider_id) & (o.expires_at > now)
        closed = await close_offers(self._connection, in_time, ACCEPTED)
        if not closed:
            return None
        pay = (await self._connection.execute(select(o.pay_minor, o.currency).where(o.id == offer_id))).one()
        return closed[0], Money(pay.pay_minor // len(closed[0].delivery_ids), pay.currency)

    async def decline(self, offer_id: UUID, rider_id: UUID, reason: ReasonCode) -> OfferMoved | None:
        closed = await close_offers(self._connection, (o.id == offer_id) & (o.rider_id == rider_id), DECLINED, reason)
        return closed[0] if closed else None

    async def withdraw_from(self, rider_id: UUID) -> list[OfferMoved]:
        return await close_offers(self._connection, o.rider_id == rider_id, OfferStatus.WITHDRAWN)

    async def expire(self, limit: int) -> list[OfferMoved]:
        late = select(o.id).where(o.status == OPEN, o.expires_at <= now).order_by(o.expires_at).limit(limit)
        ids = (await self._connection.execute(late.with_for_update(skip_locked=True))).scalars().all()
        return await close_offers(self._connection, o.id.in_(ids), EXPIRED) if ids else []

    async def claim(self, delivery_id: UUID) -> Searching | None:
        locked = await self._connection.execute(
            select(d.id, d.distance_m, d.currency)
            .where(d.id == delivery_id, d.status == DeliveryStatus.SEARCHING)
            .with_for_update(skip_locked=True, key_share=True)
        )
        row = locked.one_or_none()
        # A statement of its own: who had the lock a moment ago may have made an offer that the first one did not see.
        if row is None or (await self._connection.execute(select(_open_offer_for(delivery_id)))).scalar_one():
            return None
        return Searching(row.id, row.distance_m, row.currency)

    async def take_rider(self, rider_id: UUID, delivery_id: UUID) -> bool:
        locked = await self._connection.execute(
            select(r.id).where(r.id == rider_id).with_for_update(skip_locked=True, key_share=True)
        )
        if locked.one_or_none() is None:
            return False
        asked = select(r.id).where(r.id == rider_id, *_askable(rider_id, delivery_id))  # after the lock, as above
        return (await self._connection.execute(asked)).one_or_none() is not None

    async def add(self, new: NewOffer) -> None:
        await self._connection.execute(
            insert(offer).values(
                id=new.id,
                rider_id=new.rider_id,
                status=new.status,
                version=1,
                pay_minor=new.pay.minor,
                currency=new.pay.currency,
                pay_rule=new.rule,
                distance_m=new.distance_m,
                expires_at=new.expires_at,
                ended_at=None if new.status is OPEN else now,
            )
        )
        await self._connection.execute(
            insert(offer_delivery).values(offer_id=new.id, delivery_id=new.delivery_id, open=new.status is OPEN)
        )

    async def had(self, delivery_id: UUID, rider_id: UUID) -> bool:
        return (await self._connection.execute(select(dropped_by(rider_id, delivery_id)))).scalar_one()

    async def escalate(self, limit: int) -> list[Unfound]:
        late = (
            select(d.id)
            .where(d.status == DeliveryStatus.SEARCHING, d.escalated_at.is_(None), d.search_until <= now)
            .order_by(d.id)
            .limit(limit)
            .with_for_update(skip_locked=True, key_share=True)  # without its order: waits for nobody
        )
        ids = (await self._connection.execute(late)).scalars().all()
        if not ids:
            return []
        done = await self._connection.execute(
            update(delivery).where(d.id.in_(ids)).values(escalated_at=now).returning(d.id, d.merchant_id)
        )
        return [Unfound(row.id, row.merchant_id) for row in done]


def dropped_by(rider_id: UUID, delivery_id: Any) -> ColumnElement[bool]:
    """The rider had accepted it once, and it is looking for another now."""
    searching, asked = delivery.alias(), offer.alias()
    return exists().where(
        searching.c.id == delivery_id,
        searching.c.status == DeliveryStatus.SEARCHING,
        part.delivery_id == searching.c.id,
        asked.c.id == part.offer_id,
        asked.c.rider_id == rider_id,
        asked.c.status == ACCEPTED,
    )


# ---------------------------------------------------------------- reads


@dataclass(frozen=True, slots=True)
class OfferRow:
    id: UUID
    rider_id: UUID
    status: OfferStatus
    version: int
    pay: Money
    distance_metres: int
    expires_at: datetime


OFFER: Select[Any] = select(o.id, o.rider_id, o.status, o.version, o.pay_minor, o.currency, o.distance_m, o.expires_at)


def to_offer(row: Any) -> OfferRow:
    return OfferRow(
        row.id, row.rider_id, row.status, row.version, Money(row.pay_minor, row.currency), row.distance_m, row.expires_at
    )


async def offers_by_id(reads: Reads, actor: Actor, offer_ids: Sequence[UUID]) -> list[OfferRow]:
    """Those of them that are this actor's, in no order."""
    return [to_offer(row) for row in await reads.rows(OFFER.where(o.id.in_(offer_ids)).where(visible_to(actor)))]


async def open_offers(reads: Reads, actor: Actor, rider_id: UUID) -> list[OfferRow]:
    """Oldest first. One past its time that nobody has closed yet is left out."""
    found = OFFER.where(o.rider_id == rider_id, o.status == OPEN, o.expires_at > now).where(visible_to(actor)).order_by(o.id)
    return [to_offer(row) for row in await reads.rows(found)]


@dataclass(frozen=True, slots=True)
class Waiting:
    """A delivery nobody has been asked for at the moment."""

    delivery_id: UUID
    store: Point


async def waiting(reads: Reads, limit: int, besides: Sequence[UUID] = ()) -> list[Waiting]:
    """For the dispatcher: the longest waiting first."""
    found = (
        select(d.id, store.c.lat, store.c.lng)
        .join(store, store.c.id == d.store_id)
        .where(d.status == DeliveryStatus.SEARCHING, d.id.not_in(besides), ~_open_offer_for(d.id))
        .order_by(d.created_at)
        .limit(limit)
    )
    return [Waiting(row.id, Point(row.lat, row.lng)) for row in await reads.rows(found)]


async def candidates(reads: Reads, delivery_id: UUID, near: Sequence[UUID], limit: int) -> list[Candidate]:
    """For the dispatcher: who can be asked now, of the near ones first, each with the last place the database knows."""
    seen = rider_position.c
    fresh = (seen.rider_id == r.id) & (seen.at > now - literal(KNOWN_FOR))
    found = (
        select(r.id, seen.lat, seen.lng)
        .outerjoin(rider_position, fresh)
        .where(*_askable(r.id, delivery_id))
        .order_by(case((r.id.in_(near), 0), else_=1), r.duty_since, r.id)
        .limit(limit)
    )
    return [Candidate(row.id, None if row.lat is None else Point(row.lat, row.lng)) for row in await reads.rows(found)]
