"""Who brings it: which riders are asked, what they are paid, and what becomes of an offer."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, NamedTuple, Protocol
from uuid import UUID

from domain import delivery as deliveries
from domain.delivery import DeliveryStatus, Marks, OfferMoved, OfferStatus, WrongDeliveryState
from domain.identity import CLOCK, Actor, ActorKind
from domain.money import Money, rounded
from domain.orders import ReasonCode
from domain.places import Point, metres_between
from domain.refusals import Conflict, Kind, Refusal, Refused, not_found

if TYPE_CHECKING:
    from domain.unit_of_work import UnitOfWork

OFFER_FOR = timedelta(seconds=30)
REACH_M = 15_000  # who is known to be farther from the store is not asked
EXPIRIES = 2  # who has let so many offers of a delivery pass is not asked again for it


# ---------------------------------------------------------------- pay


@dataclass(frozen=True)
class PayRule:
    """A rule is never changed: another version is added, and old offers go on naming theirs."""

    id: str
    version: int
    flat_minor: int
    per_km_minor: int  # of the straight line from the store to the door

    def __str__(self) -> str:
        return f"{self.id}:{self.version}"


PAY_RULES = {"INR": PayRule("flat-and-distance", 1, flat_minor=25_00, per_km_minor=8_00)}
OTHER_PAY = PayRule("flat-and-distance-elsewhere", 1, flat_minor=3_00, per_km_minor=1_00)


def pay_for(metres: int, currency: str) -> tuple[Money, PayRule]:
    rule = PAY_RULES.get(currency, OTHER_PAY)
    return Money(rule.flat_minor + rounded(Decimal(rule.per_km_minor * metres) / 1000), currency), rule


# ---------------------------------------------------------------- the choice


class Candidate(NamedTuple):
    """A rider on duty who has nothing to do. `point` is None while nobody knows where they are."""

    rider_id: UUID
    point: Point | None


class Dispatcher(Protocol):
    """Pure: the same riders at the same places are ranked alike."""

    def choose(self, store: Point, candidates: Sequence[Candidate]) -> Sequence[UUID]:
        """Those to be asked, the first one first. Who is left out is not asked this time."""


class Nearest:
    """By the straight line to the store; within reach, then those whose place is unknown."""

    def choose(self, store: Point, candidates: Sequence[Candidate]) -> list[UUID]:
        known = [(metres_between(store, one.point), one.rider_id) for one in candidates if one.point is not None]
        unknown = sorted(one.rider_id for one in candidates if one.point is None)
        return [rider_id for metres, rider_id in sorted(known) if metres <= REACH_M] + unknown


# ---------------------------------------------------------------- offers


@dataclass(frozen=True)
class OfferGone(Refusal):
    code, kind = "OFFER_GONE", Kind.CONFLICT
    status: OfferStatus


@dataclass(frozen=True)
class FoundOffer:
    """As it stood when it was read: nothing is locked."""

    id: UUID
    rider_id: UUID
    status: OfferStatus
    order_ids: Sequence[UUID]  # of its deliveries


@dataclass(frozen=True)
class NewOffer:
    id: UUID
    rider_id: UUID
    delivery_id: UUID
    pay: Money
    rule: str
    distance_m: int
    expires_at: datetime
    status: OfferStatus = OfferStatus.OPEN


@dataclass(frozen=True)
class Searching:
    """A delivery that looks for a rider, locked, with no open offer."""

    id: UUID
    distance_m: int
    currency: str


class Unfound(NamedTuple):
    """A delivery whose search has taken too long."""

    delivery_id: UUID
    merchant_id: UUID


class OfferStore(Protocol):
    async def find(self, offer_id: UUID, actor: Actor) -> FoundOffer | None: ...

    async def accept(self, offer_id: UUID, rider_id: UUID) -> tuple[OfferMoved, Money] | None:
        """One conditional write: open, this rider's, in time. With what each of its deliveries pays. None: it is lost."""

    async def decline(self, offer_id: UUID, rider_id: UUID, reason: ReasonCode) -> OfferMoved | None:
        """None where it is not open any more."""

    async def withdraw_from(self, rider_id: UUID) -> Sequence[OfferMoved]:
        """The rider's open offers."""

    async def expire(self, limit: int) -> Sequence[OfferMoved]:
        """Those past their time, by the database's clock. What another has locked is left to it."""

    async def claim(self, delivery_id: UUID) -> Searching | None:
        """Locks without waiting. None: it has a rider, an open offer, or another's lock."""

    async def take_rider(self, rider_id: UUID, delivery_id: UUID) -> bool:
        """Locks without waiting. False: off duty, busy, asked already, or no longer to be asked for this delivery."""

    async def add(self, offer: NewOffer) -> None: ...

    async def had(self, delivery_id: UUID, rider_id: UUID) -> bool:
        """Whether the rider had accepted this delivery once, and it is looking for another now."""

    async def escalate(self, limit: int) -> Sequence[Unfound]:
        """Marks deliveries whose search has taken too long. Each comes once a search."""


def moved(offer: NewOffer, at: datetime) -> OfferMoved:
    """The event of an offer's first version."""
    return OfferMoved(offer.id, 1, offer.status, at, offer.rider_id, (offer.delivery_id,), offer.expires_at)


async def offer(delivery_id: UUID, ranked: Sequence[UUID], uow: "UnitOfWork") -> UUID | None:
    """Asks the first of these riders who can still be asked. Returns whom. Several may try at once: one of them does.

    Waits for nobody's lock, so it may lock a delivery without its order.
    """
    found = await uow.offers.claim(delivery_id)
    if found is None:
        return None
    for rider_id in ranked:
        if await uow.offers.take_rider(rider_id, delivery_id):
            now = await uow.now()
            pay, rule = pay_for(found.distance_m, found.currency)
            new = NewOffer(uow.new_id(), rider_id, delivery_id, pay, str(rule), found.distance_m, now + OFFER_FOR)
            await uow.offers.add(new)
            await uow.events.add(moved(new, now))
            return rider_id
    return None


async def accept_offer(offer_id: UUID, actor: Actor, uow: "UnitOfWork") -> None:
    """A repeat by who has it already changes nothing. Refuses NotFound, OfferGone."""
    assert actor.id is not None
    found = await uow.offers.find(offer_id, actor)
    if found is None:
        raise not_found("offer")
    # As the clock: the rider may not see the order yet. That the offer is theirs gives the right.
    orders = [order for id in sorted(found.order_ids) if (order := await uow.orders.lock(id, CLOCK)) is not None]
    trips = [(order, trip) for order in orders if (trip := await uow.deliveries.lock(order.id)) is not None]
    accepted = await uow.offers.accept(offer_id, actor.id)
    if accepted is None:
        now = await uow.offers.find(offer_id, actor)
        if now is not None and now.status is OfferStatus.ACCEPTED:
            return
        gone = now.status if now is not None and now.status is not OfferStatus.OPEN else OfferStatus.EXPIRED
        raise Refused(OfferGone(f"this offer is {gone.value}", gone))
    event, pay = accepted
    await uow.events.add(event)
    marks = Marks(assigned_at=event.at, pay=pay)
    for order, trip in trips:
        await deliveries.move(trip, DeliveryStatus.ASSIGNED, order, actor, uow, rider_id=actor.id, marks=marks)


async def decline_offer(offer_id: UUID, reason: ReasonCode, actor: Actor, uow: "UnitOfWork") -> bool:
    """False where it was gone anyway. A repeat answers the same. Refuses NotFound, Conflict (accepted already)."""
    assert actor.id is not None
    found = await uow.offers.find(offer_id, actor)
    if found is None:
        raise not_found("offer")
    declined = await uow.offers.decline(offer_id, actor.id, reason)
    if declined is not None:
        await uow.events.add(declined)
        return True
    now = await uow.offers.find(offer_id, actor)
    if now is not None and now.status is OfferStatus.ACCEPTED:
        raise Refused(Conflict("you have accepted it: drop the delivery instead"))
    return now is not None and now.status is OfferStatus.DECLINED


# ---------------------------------------------------------------- by the clock


async def expire_offers(limit: int, uow: "UnitOfWork") -> int:
    """Returns how many. Safe to repeat, and beside others."""
    expired = await uow.offers.expire(limit)
    await uow.events.add(*expired)
    return len(expired)


async def escalate(limit: int, uow: "UnitOfWork") -> Sequence[Unfound]:
    """Deliveries nobody takes, told to support by the audit. The search goes on. Each comes once a search."""
    unfound = await uow.offers.escalate(limit)
    for one in unfound:
        await uow.audit.write(CLOCK, "delivery finds no rider", one.delivery_id, one.merchant_id, "its search has taken too long")
    return unfound


# ---------------------------------------------------------------- by support


async def assign_rider(delivery_id: UUID, rider_id: UUID, actor: Actor, uow: "UnitOfWork") -> None:
    """Support gives a live delivery to a rider on duty, whoever has it now. A repeat changes nothing.

    Refuses NotFound, WrongDeliveryState, Conflict (off duty).
    """
    order, trip = await deliveries.lock(delivery_id, actor, uow)
    if trip.ended or actor.kind is not ActorKind.SUPPORT:
        raise Refused(WrongDeliveryState("this delivery has ended", trip.status))
    if trip.rider_id == rider_id:
        return
    rider = await uow.riders.lock(rider_id)
    if rider is None:
        raise not_found("rider")
    if not rider.on_duty:
        raise Refused(Conflict("this rider is off duty"))
    await uow.events.add(*await uow.deliveries.withdraw(trip.id))
    now = await uow.now()
    pay, rule = pay_for(trip.distance_m, order.total.currency)
    # An offer like any other, accepted as it is made: it tells who had the delivery when, and for what pay.
    given = NewOffer(uow.new_id(), rider_id, trip.id, pay, str(rule), trip.distance_m, now, OfferStatus.ACCEPTED)
    await uow.offers.add(given)
    await uow.events.add(moved(given, now))
    marks = Marks(assigned_at=now, pay=pay)
    if trip.status is DeliveryStatus.SEARCHING:
        await deliveries.move(trip, DeliveryStatus.ASSIGNED, order, actor, uow, rider_id=rider_id, marks=marks)
    else:
        changed = await uow.deliveries.move(trip, trip.status, rider_id, marks)
        await uow.events.add(await deliveries.step(changed, order, actor, uow))
    await uow.audit.write(actor, "assign rider", trip.id, trip.merchant_id, f"rider:{rider_id} instead of rider:{trip.rider_id}")
