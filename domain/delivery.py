"""The trip of one order, from the search for a rider to the door."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import Enum
from typing import TYPE_CHECKING, Protocol
from uuid import UUID

from domain.events import Event, Topic
from domain.identity import Actor, ActorKind
from domain.money import Money
from domain.orders import Fulfilment, LockedOrder, ReasonCode
from domain.payments import OrderNow
from domain.refusals import Kind, Refusal, Refused, not_found

if TYPE_CHECKING:
    from domain.unit_of_work import UnitOfWork

SEARCH_FOR = timedelta(minutes=15)  # past it support is told


class DeliveryStatus(Enum):
    SEARCHING = "SEARCHING"
    ASSIGNED = "ASSIGNED"
    AT_STORE = "AT_STORE"
    PICKED_UP = "PICKED_UP"
    AT_DOOR = "AT_DOOR"
    DELIVERED = "DELIVERED"
    FAILED = "FAILED"
    RETURNING = "RETURNING"
    RETURNED = "RETURNED"
    CANCELLED = "CANCELLED"


_D = DeliveryStatus
_RIDER, _SUPPORT, _CLOCK = ActorKind.RIDER, ActorKind.SUPPORT, ActorKind.CLOCK
_ANY = frozenset(ActorKind)
# AT_STORE and AT_DOOR may be skipped. Who ends the order ends its delivery: CANCELLED is anybody's who may do that.
MOVES: dict[tuple[DeliveryStatus, DeliveryStatus], frozenset[ActorKind]] = {
    (_D.SEARCHING, _D.ASSIGNED): frozenset({_RIDER, _SUPPORT}),
    (_D.ASSIGNED, _D.AT_STORE): frozenset({_RIDER}),
    (_D.ASSIGNED, _D.PICKED_UP): frozenset({_RIDER}),
    (_D.AT_STORE, _D.PICKED_UP): frozenset({_RIDER}),
    (_D.PICKED_UP, _D.AT_DOOR): frozenset({_RIDER}),
    (_D.PICKED_UP, _D.DELIVERED): frozenset({_RIDER}),
    (_D.AT_DOOR, _D.DELIVERED): frozenset({_RIDER}),
    (_D.ASSIGNED, _D.SEARCHING): frozenset({_RIDER, _SUPPORT}),
    (_D.AT_STORE, _D.SEARCHING): frozenset({_RIDER, _SUPPORT}),
    (_D.SEARCHING, _D.CANCELLED): _ANY,
    (_D.ASSIGNED, _D.CANCELLED): _ANY,
    (_D.AT_STORE, _D.CANCELLED): _ANY,
    (_D.PICKED_UP, _D.FAILED): frozenset({_RIDER}),
    (_D.AT_DOOR, _D.FAILED): frozenset({_RIDER}),
    (_D.FAILED, _D.RETURNING): frozenset({_RIDER, _SUPPORT}),
    (_D.RETURNING, _D.RETURNED): frozenset({_RIDER, _SUPPORT}),
    (_D.FAILED, _D.PICKED_UP): frozenset({_RIDER, _SUPPORT}),
    (_D.RETURNING, _D.PICKED_UP): frozenset({_RIDER, _SUPPORT}),
}
BEFORE_PICKUP = (_D.SEARCHING, _D.ASSIGNED, _D.AT_STORE)
LIVE = (*BEFORE_PICKUP, _D.PICKED_UP, _D.AT_DOOR, _D.FAILED, _D.RETURNING)
RIDE_MPS = 4.5  # door to door through a town, by scooter or bicycle
STRAIGHT_TO_ROAD = 1.3
HANDOVER = timedelta(minutes=2)


class OfferStatus(Enum):
    OPEN = "OPEN"
    ACCEPTED = "ACCEPTED"
    DECLINED = "DECLINED"
    EXPIRED = "EXPIRED"
    WITHDRAWN = "WITHDRAWN"


@dataclass(frozen=True)
class WrongDeliveryState(Refusal):
    code, kind = "WRONG_DELIVERY_STATE", Kind.CONFLICT
    status: DeliveryStatus


@dataclass(frozen=True)
class LockedDelivery:
    """A delivery whose row is ours until the transaction ends. Its order's row was locked before."""

    id: UUID
    order_id: UUID
    store_id: UUID
    merchant_id: UUID
    rider_id: UUID | None
    status: DeliveryStatus
    version: int
    distance_m: int = 0  # from the store to the door
    ended: bool = False  # a delivery that FAILED is still to be brought back, unless its goods are lost


@dataclass(frozen=True)
class Marks:
    """What a move writes beside the status. None leaves what stands."""

    assigned_at: datetime | None = None
    search_until: datetime | None = None  # a new search: support has not been told of it
    eta_at: datetime | None = None
    pay: Money | None = None
    ended_at: datetime | None = None


@dataclass(frozen=True)
class DeliveryMoved(Event):
    """One step of a delivery, and where its order stood then."""

    delivery_id: UUID
    version: int
    status: DeliveryStatus
    at: datetime
    by: ActorKind
    order: OrderNow
    store_id: UUID
    merchant_id: UUID
    customer_id: UUID
    rider_id: UUID | None
    reason: ReasonCode | None = None

    topic, stream = Topic.DELIVERY, "delivery"

    @property
    def entity(self) -> UUID:
        return self.delivery_id

    @property
    def seq(self) -> int:
        return self.version

    @property
    def concerns(self) -> Sequence[UUID]:
        return tuple(id for id in (self.order.order_id, self.store_id, self.rider_id) if id is not None)


@dataclass(frozen=True)
class OfferMoved(Event):
    """An offer made, or gone. The rider's feed has each."""

    offer_id: UUID
    version: int
    status: OfferStatus
    at: datetime
    rider_id: UUID
    delivery_ids: Sequence[UUID]
    expires_at: datetime

    topic, stream = Topic.DELIVERY, "offer"

    @property
    def entity(self) -> UUID:
        return self.offer_id

    @property
    def seq(self) -> int:
        return self.version

    @property
    def concerns(self) -> Sequence[UUID]:
        return (self.rider_id,)


class DeliveryStore(Protocol):
    async def begin(self, delivery: LockedDelivery, cash: Money, search_until: datetime) -> None:
        """Expected when the order was promised."""

    async def order_of(self, delivery_id: UUID, actor: Actor) -> UUID | None:
        """Of a delivery the actor may know of. Nothing is locked."""

    async def lock(self, order_id: UUID) -> LockedDelivery | None:
        """Of an order already locked."""

    async def move(self, delivery: LockedDelivery, end: DeliveryStatus, rider_id: UUID | None, marks: Marks) -> LockedDelivery:
        """The next version, with this rider."""

    async def withdraw(self, delivery_id: UUID) -> Sequence[OfferMoved]:
        """The delivery's open offers, none of which can be accepted any more."""


def check_move(start: DeliveryStatus, end: DeliveryStatus, who: ActorKind | None) -> None:
    """Refuses WrongDeliveryState."""
    if who not in MOVES.get((start, end), frozenset()):
        raise Refused(WrongDeliveryState(f"a delivery that is {start.value} cannot become {end.value}", start))


async def begin(order: LockedOrder, cash: Money, actor: Actor, uow: "UnitOfWork") -> None:
    """An accepted order looks for a rider. Stores that deliver themselves, and customers who collect, need none."""
    if order.fulfilment is not Fulfilment.DELIVERY:
        return
    delivery = LockedDelivery(uow.new_id(), order.id, order.store_id, order.merchant_id, None, _D.SEARCHING, 1)
    await uow.deliveries.begin(delivery, cash, await uow.now() + SEARCH_FOR)
    await uow.events.add(await step(delivery, order, actor, uow))


async def move(
    delivery: LockedDelivery, end: DeliveryStatus, order: LockedOrder, actor: Actor, uow: "UnitOfWork", *,
    rider_id: UUID | None, marks: Marks = Marks(), reason: ReasonCode | None = None,
) -> LockedDelivery:  # fmt: skip
    """One step, with its event. `order` as it stands after this transaction's own moves. Refuses WrongDeliveryState."""
    check_move(delivery.status, end, actor.kind)
    if delivery.ended:
        raise Refused(WrongDeliveryState("this delivery has ended", delivery.status))
    if end not in LIVE:
        marks = replace(marks, ended_at=await uow.now())
    moved = await uow.deliveries.move(delivery, end, rider_id, marks)
    await uow.events.add(await step(moved, order, actor, uow, reason=reason))
    return moved


async def step(
    delivery: LockedDelivery,
    order: LockedOrder,
    actor: Actor,
    uow: "UnitOfWork",
    *,
    reason: ReasonCode | None = None,
) -> DeliveryMoved:
    """The event of a delivery's present version."""
    assert actor.kind is not None
    return DeliveryMoved(
        delivery.id, delivery.version, delivery.status, await uow.now(), actor.kind,
        OrderNow(order.id, order.status.value, order.version), delivery.store_id, delivery.merchant_id, order.customer_id,
        delivery.rider_id, reason,
    )  # fmt: skip


async def cancel(order: LockedOrder, actor: Actor, uow: "UnitOfWork", reason: ReasonCode | None) -> None:
    """The order has ended before its goods left: so has its delivery, and nobody may accept it any more."""
    delivery = await uow.deliveries.lock(order.id)
    if delivery is None or delivery.status not in BEFORE_PICKUP:
        return
    await move(delivery, _D.CANCELLED, order, actor, uow, rider_id=delivery.rider_id, reason=reason)
    await uow.events.add(*await uow.deliveries.withdraw(delivery.id))


async def lock(delivery_id: UUID, actor: Actor, uow: "UnitOfWork") -> tuple[LockedOrder, LockedDelivery]:
    """The order, then its delivery. Refuses NotFound, also where it has become another rider's meanwhile."""
    order_id = await uow.deliveries.order_of(delivery_id, actor)
    order = await uow.orders.lock(order_id, actor) if order_id is not None else None
    delivery = await uow.deliveries.lock(order.id) if order is not None else None
    if order is None or delivery is None or (actor.kind is ActorKind.RIDER and delivery.rider_id != actor.id):
        raise not_found("delivery")
    return order, delivery


def ride(metres: int) -> timedelta:
    """How long a rider needs for this distance in a straight line, and to hand it over."""
    return timedelta(seconds=round(metres * STRAIGHT_TO_ROAD / RIDE_MPS)) + HANDOVER
