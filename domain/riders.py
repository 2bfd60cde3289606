"""Riders: their duty, and the steps of a trip. A step repeated by the same rider changes nothing."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Protocol
from uuid import UUID

from domain import delivery, fulfilment, orders, purchases
from domain.delivery import SEARCH_FOR, DeliveryStatus, Marks, OfferMoved, ride
from domain.events import Event, Topic
from domain.handover import WrongCode, check_code, renew_tries
from domain.identity import Actor
from domain.orders import OrderStatus, ReasonCode, Times
from domain.refusals import Conflict, Refused, not_found

if TYPE_CHECKING:
    from domain.positions import Sighting
    from domain.unit_of_work import UnitOfWork

_D = DeliveryStatus


@dataclass(frozen=True)
class RiderDutyChanged(Event):
    rider_id: UUID
    version: int
    on_duty: bool
    at: datetime

    topic, stream = Topic.DELIVERY, "rider"

    @property
    def entity(self) -> UUID:
        return self.rider_id

    @property
    def seq(self) -> int:
        return self.version

    @property
    def concerns(self) -> Sequence[UUID]:
        return (self.rider_id,)


@dataclass(frozen=True)
class LockedRider:
    id: UUID
    on_duty: bool
    version: int


class RiderStore(Protocol):
    async def lock(self, rider_id: UUID) -> LockedRider | None: ...

    async def set_duty(self, rider_id: UUID, *, on_duty: bool) -> LockedRider:
        """The next version. Off duty, where the rider was is forgotten."""

    async def is_busy(self, rider_id: UUID) -> bool:
        """Has a delivery that has not ended."""

    async def keep_position(self, rider_id: UUID, seen: "Sighting") -> None:
        """The latest, and a point of the track of each delivery under way: at most one in 30 s."""


# ---------------------------------------------------------------- duty


async def set_duty(on_duty: bool, actor: Actor, uow: "UnitOfWork") -> None:
    """Off duty, open offers are withdrawn. A repeat changes nothing. Refuses NotFound, Conflict (a delivery is under way)."""
    rider = await uow.riders.lock(actor.id) if actor.id is not None else None
    if rider is None:
        raise not_found("rider")
    if rider.on_duty == on_duty:
        return
    if not on_duty:
        # Offers first: one that is being accepted now is waited for, and then counts as a delivery.
        withdrawn: Sequence[OfferMoved] = await uow.offers.withdraw_from(rider.id)
        if await uow.riders.is_busy(rider.id):
            raise Refused(Conflict("bring your delivery to its end first"))
        await uow.events.add(*withdrawn)
    now = await uow.riders.set_duty(rider.id, on_duty=on_duty)
    await uow.events.add(RiderDutyChanged(now.id, now.version, now.on_duty, await uow.now()))


# ---------------------------------------------------------------- to the store and to the door


async def arrive_at_store(delivery_id: UUID, actor: Actor, uow: "UnitOfWork") -> None:
    """Refuses NotFound, WrongDeliveryState."""
    order, trip = await delivery.lock(delivery_id, actor, uow)
    if trip.status is not _D.AT_STORE:
        await delivery.move(trip, _D.AT_STORE, order, actor, uow, rider_id=trip.rider_id)


async def pick_up(delivery_id: UUID, actor: Actor, uow: "UnitOfWork") -> None:
    """The goods leave the store, and are sold. Refuses NotFound, WrongDeliveryState, WrongState."""
    order, trip = await delivery.lock(delivery_id, actor, uow)
    if trip.status is _D.PICKED_UP:
        return
    delivery.check_move(trip.status, _D.PICKED_UP, actor.kind)
    if trip.status is _D.FAILED or trip.status is _D.RETURNING:
        raise Refused(delivery.WrongDeliveryState("it has been picked up: try again instead", trip.status))
    order = await fulfilment.pick_up(order, actor, uow)
    marks = Marks(eta_at=await uow.now() + ride(trip.distance_m))
    await delivery.move(trip, _D.PICKED_UP, order, actor, uow, rider_id=trip.rider_id, marks=marks)
    await fulfilment.leave(order, actor, uow)


async def arrive_at_door(delivery_id: UUID, actor: Actor, uow: "UnitOfWork") -> None:
    """Refuses NotFound, WrongDeliveryState."""
    order, trip = await delivery.lock(delivery_id, actor, uow)
    if trip.status is not _D.AT_DOOR:
        await delivery.move(trip, _D.AT_DOOR, order, actor, uow, rider_id=trip.rider_id)


async def deliver(delivery_id: UUID, code: str | None, actor: Actor, uow: "UnitOfWork") -> WrongCode | None:
    """With the customer's code; cash is collected. A wrong code is counted and returned, not raised: see `check_code`.

    Refuses NotFound, WrongDeliveryState, WrongState.
    """
    order, trip = await delivery.lock(delivery_id, actor, uow)
    if trip.status is _D.DELIVERED:
        return None
    delivery.check_move(trip.status, _D.DELIVERED, actor.kind)
    if (wrong := await check_code(code, order, uow)) is not None:
        return wrong
    order = await orders.move(order, OrderStatus.DELIVERED, actor, uow, times=Times(ended_at=await uow.now()))
    await delivery.move(trip, _D.DELIVERED, order, actor, uow, rider_id=trip.rider_id)
    await purchases.collect_cash(order, uow)
    return None


# ---------------------------------------------------------------- what goes wrong


@dataclass(frozen=True)
class FailDelivery:
    delivery_id: UUID
    reason: ReasonCode
    note: str | None


async def fail_delivery(command: FailDelivery, actor: Actor, uow: "UnitOfWork") -> None:
    """The goods are still with the rider, who tries again or brings them back; where they are LOST it ends here, and the
    customer's money goes back.

    Refuses NotFound, WrongDeliveryState, InvalidInput.
    """
    orders.check_note(command.note)
    order, trip = await delivery.lock(command.delivery_id, actor, uow)
    if trip.status is _D.FAILED:
        return
    delivery.check_move(trip.status, _D.FAILED, actor.kind)
    ended_at = await uow.now() if command.reason is ReasonCode.LOST else None
    order = await orders.move(
        order, OrderStatus.UNDELIVERED, actor, uow, times=Times(ended_at=ended_at), reason=command.reason, note=command.note
    )
    marks = Marks(ended_at=ended_at)
    await delivery.move(trip, _D.FAILED, order, actor, uow, rider_id=trip.rider_id, marks=marks, reason=command.reason)
    if ended_at is not None:
        await purchases.refund_order(order, uow)


async def retry_delivery(delivery_id: UUID, actor: Actor, uow: "UnitOfWork") -> None:
    """A second attempt. Refuses NotFound, WrongDeliveryState, WrongState."""
    order, trip = await delivery.lock(delivery_id, actor, uow)
    if trip.status is _D.PICKED_UP:
        return
    if trip.status not in (_D.FAILED, _D.RETURNING) or trip.ended:
        raise Refused(delivery.WrongDeliveryState("only what has failed is tried again", trip.status))
    order = await orders.move(order, OrderStatus.PICKED_UP, actor, uow)
    marks = Marks(eta_at=await uow.now() + ride(trip.distance_m))
    await delivery.move(trip, _D.PICKED_UP, order, actor, uow, rider_id=trip.rider_id, marks=marks)


async def return_delivery(delivery_id: UUID, actor: Actor, uow: "UnitOfWork") -> None:
    """On the way back to the store. Refuses NotFound, WrongDeliveryState."""
    order, trip = await delivery.lock(delivery_id, actor, uow)
    if trip.status is not _D.RETURNING:
        await delivery.move(trip, _D.RETURNING, order, actor, uow, rider_id=trip.rider_id)


async def finish_return(delivery_id: UUID, actor: Actor, uow: "UnitOfWork") -> None:
    """Back in the store: the order is RETURNED. Its units are the store's to count again, its money goes back.

    Refuses NotFound, WrongDeliveryState, WrongState.
    """
    order, trip = await delivery.lock(delivery_id, actor, uow)
    if trip.status is _D.RETURNED:
        return
    delivery.check_move(trip.status, _D.RETURNED, actor.kind)
    order = await orders.move(order, OrderStatus.RETURNED, actor, uow, times=Times(ended_at=await uow.now()))
    await delivery.move(trip, _D.RETURNED, order, actor, uow, rider_id=trip.rider_id)
    await purchases.refund_order(order, uow)


async def drop_delivery(delivery_id: UUID, reason: ReasonCode, actor: Actor, uow: "UnitOfWork") -> None:
    """Before pick-up: another rider is looked for, and this one is not asked for it again. Safe to repeat.

    Refuses NotFound, WrongDeliveryState.
    """
    assert actor.id is not None
    if await uow.deliveries.order_of(delivery_id, actor) is None and await uow.offers.had(delivery_id, actor.id):
        return
    order, trip = await delivery.lock(delivery_id, actor, uow)
    marks = Marks(search_until=await uow.now() + SEARCH_FOR)
    await delivery.move(trip, _D.SEARCHING, order, actor, uow, rider_id=None, marks=marks, reason=reason)


async def renew_code_tries(delivery_id: UUID, actor: Actor, uow: "UnitOfWork") -> None:
    """By support, where the rider has none left. Refuses NotFound, WrongDeliveryState."""
    order, trip = await delivery.lock(delivery_id, actor, uow)
    if trip.ended:
        raise Refused(delivery.WrongDeliveryState("this delivery has ended", trip.status))
    await renew_tries(order, actor, uow)
