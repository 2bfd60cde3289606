"""Riders: on duty or off, and the slow copy of where they are."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import BigInteger, ColumnElement, cast, delete, exists, false, func, literal, or_, select, true, type_coerce, update
from sqlalchemy.dialects.postgresql import JSONB, insert
from sqlalchemy.ext.asyncio import AsyncConnection

from db.reads import Reads
from db.tables import delivery, orders, rider, rider_position, store
from domain.identity import Actor, ActorKind
from domain.places import Point
from domain.positions import KNOWN_FOR, TRACK_EVERY, UNDER_WAY, Position, Sighting, Standing, Trip
from domain.riders import LockedRider

r, d, seen = rider.c, delivery.c, rider_position.c


def visible_to(actor: Actor) -> ColumnElement[bool]:
    """A rider knows of themselves alone; others meet riders through a delivery."""
    match actor:
        case Actor(kind=ActorKind.RIDER, id=UUID()):
            return r.id == actor.id
        case Actor(kind=ActorKind.SUPPORT, id=UUID()):
            return true()
        case _:
            return false()


class SqlRiders:
    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def lock(self, rider_id: UUID) -> LockedRider | None:
        # Not for its key: offers that point at the rider need not wait.
        found = await self._connection.execute(
            select(r.id, r.on_duty, r.version).where(r.id == rider_id).with_for_update(key_share=True)
        )
        row = found.one_or_none()
        return LockedRider(*row) if row else None

    async def set_duty(self, rider_id: UUID, *, on_duty: bool) -> LockedRider:
        done = await self._connection.execute(
            update(rider)
            .where(r.id == rider_id)
            .values(on_duty=on_duty, version=r.version + 1, duty_since=func.clock_timestamp() if on_duty else None)
            .returning(r.id, r.on_duty, r.version)
        )
        if not on_duty:
            await self._connection.execute(delete(rider_position).where(seen.rider_id == rider_id))
        return LockedRider(*done.one())

    async def is_busy(self, rider_id: UUID) -> bool:
        return bool(
            (await self._connection.execute(select(exists().where(d.rider_id == rider_id, d.ended_at.is_(None))))).scalar_one()
        )

    async def keep_position(self, rider_id: UUID, told: Sighting) -> None:
        new: dict[str, Any] = {
            "lat": told.point.lat,
            "lng": told.point.lng,
            "heading": told.heading_degrees,
            "at": told.at,
            "device_id": told.device_id,
            "seq": told.seq,
        }
        await self._connection.execute(
            insert(rider_position)
            .values(rider_id=rider_id, **new)
            .on_conflict_do_update(index_elements=[seen.rider_id], set_=new, where=seen.at < told.at)
        )
        second = int(told.at.timestamp())
        track = type_coerce(d.track, JSONB)
        last = cast(track[-1][2].astext, BigInteger)
        due = (
            select(d.id)
            .where(d.rider_id == rider_id, d.status.in_(UNDER_WAY), d.ended_at.is_(None))
            .where(or_(last.is_(None), last <= second - int(TRACK_EVERY.total_seconds())))
            .with_for_update(skip_locked=True, key_share=True)  # without its order: waits for nobody
        )
        ids = (await self._connection.execute(due)).scalars().all()
        if ids:
            point = [[round(told.point.lat, 5), round(told.point.lng, 5), second]]
            added = track.op("||")(literal(point, JSONB))
            await self._connection.execute(update(delivery).where(d.id.in_(ids)).values(track=added))


# ---------------------------------------------------------------- reads


@dataclass(frozen=True, slots=True)
class RiderRow:
    id: UUID
    on_duty: bool


async def rider_by_id(reads: Reads, actor: Actor, rider_id: UUID) -> RiderRow | None:
    row = await reads.one(select(r.id, r.on_duty).where(r.id == rider_id).where(visible_to(actor)))
    return RiderRow(row.id, row.on_duty) if row else None


async def standing(reads: Reads, actor: Actor) -> Standing | None:
    """Of the rider who asks, by one statement."""
    if actor.kind is not ActorKind.RIDER:
        return None
    found = await reads.rows(
        select(
            func.clock_timestamp().label("now"), r.on_duty, d.status, d.eta_at, store.c.lat, store.c.lng, orders.c.address
        )
        .outerjoin(delivery, (d.rider_id == r.id) & d.ended_at.is_(None))
        .outerjoin(store, store.c.id == d.store_id)
        .outerjoin(orders, orders.c.id == d.order_id)
        .where(visible_to(actor))
    )  # fmt: skip
    if not found:
        return None
    return Standing(found[0].now, found[0].on_duty, [to_trip(row) for row in found if row.status is not None])


def to_trip(row: Any) -> Trip:
    return Trip(row.status, Point(row.lat, row.lng), row.address.point if row.address else None, row.eta_at)


async def saved_positions(reads: Reads, rider_ids: Sequence[UUID]) -> dict[UUID, Position]:
    """Of riders the actor may know the place of: some seconds old, for when nothing better answers."""
    now: ColumnElement[datetime] = func.clock_timestamp()
    found = await reads.rows(
        select(rider_position).where(seen.rider_id.in_(rider_ids), seen.at > now - literal(KNOWN_FOR))
    )  # fmt: skip
    return {row.rider_id: Position(row.rider_id, Point(row.lat, row.lng), row.heading, row.at) for row in found}


@dataclass(frozen=True, slots=True)
class Followed:
    """The trip of one order, as far as who may watch its rider needs it. Nobody is there to be seen once it has ended."""

    rider_id: UUID | None
    trip: Trip


async def followed(reads: Reads, order_id: UUID) -> Followed | None:
    """Of an order the actor has been shown."""
    row = await reads.one(
        select(d.rider_id, d.status, d.eta_at, d.ended_at, store.c.lat, store.c.lng, orders.c.address)
        .join(store, store.c.id == d.store_id)
        .join(orders, orders.c.id == d.order_id)
        .where(d.order_id == order_id)
    )
    return None if row is None else Followed(row.rider_id if row.ended_at is None else None, to_trip(row))
