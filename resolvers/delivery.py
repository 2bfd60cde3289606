"""Deliveries: reading them, and the steps of a rider's trip."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from uuid import UUID

from db import delivery as rows
from db.riders import saved_positions
from domain import dispatch, riders
from domain.identity import Actor
from domain.orders import ReasonCode
from domain.positions import Position
from domain.refusals import Refused, not_found
from domain.unit_of_work import UnitOfWork
from resolvers.context import Context

Step = Callable[[UUID, Actor, UnitOfWork], Awaitable[None]]


async def take_step(context: Context, delivery_id: UUID, step: Step) -> rows.DeliveryRow:
    """One of `arrive_at_store`, `pick_up`, `arrive_at_door`, `retry_delivery`, `return_delivery`, `finish_return`,
    `renew_code_tries`. Refuses as they do.
    """
    async with context.unit_of_work() as uow:
        await step(delivery_id, context.actor, uow)
    return await _after(context, delivery_id)


async def deliver(context: Context, delivery_id: UUID, code: str | None) -> rows.DeliveryRow:
    """Refuses NotFound, WrongDeliveryState, WrongCode: a wrong try has been counted by then."""
    async with context.unit_of_work() as uow:
        wrong = await riders.deliver(delivery_id, code, context.actor, uow)
    if wrong is not None:
        raise Refused(wrong)
    return await _after(context, delivery_id)


async def fail_delivery(context: Context, command: riders.FailDelivery) -> rows.DeliveryRow:
    async with context.unit_of_work() as uow:
        await riders.fail_delivery(command, context.actor, uow)
    return await _after(context, command.delivery_id)


async def drop_delivery(context: Context, delivery_id: UUID, reason: ReasonCode) -> rows.DeliveryRow:
    async with context.unit_of_work() as uow:
        await riders.drop_delivery(delivery_id, reason, context.actor, uow)
    dropped = await rows.dropped(context.reads, context.actor, delivery_id)
    if dropped is None:  # another has taken it meanwhile: it is no longer this rider's to look at
        raise not_found("delivery")
    return dropped


async def assign_rider(context: Context, delivery_id: UUID, rider_id: UUID) -> rows.DeliveryRow:
    async with context.unit_of_work() as uow:
        await dispatch.assign_rider(delivery_id, rider_id, context.actor, uow)
    return await _after(context, delivery_id)


async def position(context: Context, row: rows.DeliveryRow) -> Position | None:
    """Of its rider, while the delivery lives and the actor may know."""
    if row.rider_id is None:
        return None
    found = await context.ports.positions.latest([row.rider_id])
    return found.get(row.rider_id) or await context.loaders.saved_positions.load(row.rider_id)


async def position_of(context: Context, rider_id: UUID) -> Position | None:
    """Of a rider the actor may know the place of. From the database, some seconds old, where nothing better answers."""
    return (await positions_of(context, [rider_id])).get(rider_id)


async def positions_of(context: Context, rider_ids: Sequence[UUID]) -> Mapping[UUID, Position]:
    """As `position_of`, of several."""
    found = await context.ports.positions.latest(rider_ids)
    unknown = [id for id in rider_ids if id not in found]
    return {**found, **await saved_positions(context.reads, unknown)} if unknown else found


async def _after(context: Context, delivery_id: UUID) -> rows.DeliveryRow:
    found = await rows.deliveries_by_id(context.reads, context.actor, [delivery_id])
    if not found:
        raise not_found("delivery")
    return found[0]
