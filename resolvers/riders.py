"""The rider: duty, their deliveries, and what their device reports."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from uuid import UUID

import msgspec

from db import riders as rows
from db.delivery import DeliveryRow, delivery_page
from db.pages import Page
from domain import riders
from domain.bus import POSITIONS, Message, RiderSeen
from domain.delivery import DeliveryStatus
from domain.positions import Sighting, check_batch, next_report_s, plausible
from domain.refusals import Refused, not_found
from resolvers.context import Context


@dataclass(frozen=True, slots=True)
class PositionAck:
    accepted: int
    next_in_seconds: int


async def rider(context: Context) -> rows.RiderRow:
    """The caller. Refuses NotFound."""
    found = await rows.rider_by_id(context.reads, context.actor, _own_id(context))
    if found is None:
        raise not_found("rider")
    return found


async def deliveries(
    context: Context, status: Sequence[DeliveryStatus] | None, first: int | None, after: str | None
) -> Page[DeliveryRow]:
    return await delivery_page(context.reads, context.actor, _own_id(context), status, first, after)


async def set_duty(context: Context, on_duty: bool) -> rows.RiderRow:
    """Refuses NotFound, Conflict."""
    async with context.unit_of_work() as uow:
        await riders.set_duty(on_duty, context.actor, uow)
    if not on_duty:
        await context.ports.positions.forget(_own_id(context))
    return await rider(context)


async def report_positions(context: Context, told: Sequence[Sighting], unheard: Callable[[RiderSeen], None]) -> PositionAck:
    """Keeps the latest, while there is a reason to know it. `unheard` is told what the bus did not take.

    Refuses InvalidInput, NotFound.
    """
    check_batch(told)
    rider_id = _own_id(context)
    standing = await rows.standing(context.reads, context.actor)
    if standing is None:
        raise not_found("rider")
    if not standing.followed:
        return PositionAck(0, next_report_s(standing, None))
    kept = await context.ports.positions.keep(rider_id, plausible(told, standing.now), standing.now)
    if kept.latest is None:
        return PositionAck(kept.accepted, next_report_s(standing, None))
    if kept.publish and standing.trips:
        await _publish(context, rider_id, kept.latest, unheard)
    if kept.save:
        async with context.unit_of_work() as uow:
            await uow.riders.keep_position(rider_id, kept.latest)
    return PositionAck(kept.accepted, next_report_s(standing, kept.latest.point))


async def _publish(context: Context, rider_id: UUID, latest: Sighting, unheard: Callable[[RiderSeen], None]) -> None:
    seen = RiderSeen(rider_id, latest.point.lat, latest.point.lng, latest.at, latest.heading_degrees)
    bus = context.ports.bus
    if bus.up:
        try:
            await bus.publish(Message(POSITIONS, msgspec.json.encode(seen).decode()))
            return
        except Refused:
            pass
    unheard(seen)


def _own_id(context: Context) -> UUID:
    if context.actor.id is None:
        raise not_found("rider")
    return context.actor.id
