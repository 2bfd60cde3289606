"""An order's life, from placed to delivered: who may move it where."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import Enum
from typing import TYPE_CHECKING, NamedTuple, Protocol
from uuid import UUID

from domain.events import Event, Topic
from domain.identity import Actor, ActorKind
from domain.money import Money
from domain.refusals import Kind, Refusal, Refused, invalid, not_found

if TYPE_CHECKING:
    from domain.unit_of_work import UnitOfWork

ACCEPT_WITHIN = timedelta(minutes=10)
PREP_LIMIT_MINUTES = 240
CODE_TRIES = 5  # of the handover code, whoever types it
NUMBER_LETTERS, NUMBER_LENGTH = "23456789ABCDEFGHJKMNPQRSTUVWXYZ", 8  # no 0 O, no 1 I L


class OrderStatus(Enum):
    PAYMENT_PENDING = "PAYMENT_PENDING"
    PLACED = "PLACED"
    ACCEPTED = "ACCEPTED"
    READY = "READY"
    PICKED_UP = "PICKED_UP"
    DELIVERED = "DELIVERED"
    REJECTED = "REJECTED"
    CANCELLED = "CANCELLED"
    EXPIRED = "EXPIRED"
    UNDELIVERED = "UNDELIVERED"
    RETURNED = "RETURNED"


class Fulfilment(Enum):
    DELIVERY = "DELIVERY"
    PICKUP = "PICKUP"
    STORE_DELIVERY = "STORE_DELIVERY"


class ReasonCode(Enum):
    OUT_OF_STOCK = "OUT_OF_STOCK"
    TOO_BUSY = "TOO_BUSY"
    CLOSING = "CLOSING"
    CUSTOMER_ASKED = "CUSTOMER_ASKED"
    CUSTOMER_ABSENT = "CUSTOMER_ABSENT"
    WRONG_ADDRESS = "WRONG_ADDRESS"
    PAYMENT_FAILED = "PAYMENT_FAILED"
    DAMAGED = "DAMAGED"
    LOST = "LOST"
    VEHICLE = "VEHICLE"
    TOO_FAR = "TOO_FAR"
    TIMEOUT = "TIMEOUT"
    OTHER = "OTHER"


class Move(NamedTuple):
    start: OrderStatus
    end: OrderStatus
    who: frozenset[ActorKind]


_S = OrderStatus
_CUSTOMER, _MERCHANT, _RIDER = ActorKind.CUSTOMER, ActorKind.MERCHANT, ActorKind.RIDER
_SUPPORT, _SOURCE, _CLOCK = ActorKind.SUPPORT, ActorKind.SOURCE, ActorKind.CLOCK


def _by(*who: ActorKind) -> frozenset[ActorKind]:
    return frozenset(who)


# SOURCE is whoever speaks for a machine: a POS for its store, a payment gateway for a payment.
MOVES = (
    Move(_S.PAYMENT_PENDING, _S.PLACED, _by(_SOURCE)),
    Move(_S.PAYMENT_PENDING, _S.EXPIRED, _by(_CLOCK)),
    Move(_S.PAYMENT_PENDING, _S.CANCELLED, _by(_CUSTOMER, _SUPPORT, _SOURCE)),
    Move(_S.PLACED, _S.ACCEPTED, _by(_MERCHANT, _SOURCE)),
    Move(_S.PLACED, _S.REJECTED, _by(_MERCHANT, _SOURCE)),
    Move(_S.PLACED, _S.CANCELLED, _by(_CUSTOMER, _MERCHANT, _SOURCE, _SUPPORT)),
    Move(_S.PLACED, _S.EXPIRED, _by(_CLOCK)),
    Move(_S.ACCEPTED, _S.READY, _by(_MERCHANT, _SOURCE, _RIDER)),
    Move(_S.ACCEPTED, _S.CANCELLED, _by(_MERCHANT, _SOURCE, _SUPPORT)),
    Move(_S.READY, _S.PICKED_UP, _by(_RIDER, _SOURCE)),
    Move(_S.READY, _S.CANCELLED, _by(_MERCHANT, _SOURCE, _SUPPORT)),
    Move(_S.READY, _S.DELIVERED, _by(_MERCHANT)),
    Move(_S.PICKED_UP, _S.DELIVERED, _by(_RIDER, _SOURCE)),
    Move(_S.PICKED_UP, _S.UNDELIVERED, _by(_RIDER, _SOURCE)),
    Move(_S.UNDELIVERED, _S.PICKED_UP, _by(_RIDER, _SUPPORT)),
    Move(_S.UNDELIVERED, _S.RETURNED, _by(_RIDER, _MERCHANT, _SUPPORT)),
)
OPEN = (_S.PLACED, _S.ACCEPTED, _S.READY, _S.PICKED_UP, _S.UNDELIVERED)  # what a store has still to see to
LIVE = (_S.PAYMENT_PENDING, *OPEN)
IN_STORE = (_S.PAYMENT_PENDING, _S.PLACED, _S.ACCEPTED, _S.READY)  # its goods have not left: they may yet turn out missing
CANCELLED = (_S.REJECTED, _S.CANCELLED, _S.EXPIRED)  # ended before the goods left: units and money go back


@dataclass(frozen=True)
class WrongState(Refusal):
    code, kind = "WRONG_STATE", Kind.CONFLICT
    status: OrderStatus


def check_move(start: OrderStatus, end: OrderStatus, who: ActorKind | None) -> None:
    """Refuses WrongState."""
    if not any(who in move.who for move in MOVES if (move.start, move.end) == (start, end)):
        raise Refused(WrongState(f"an order that is {start.value} cannot become {end.value}", start))


@dataclass(frozen=True)
class OrderMoved(Event):
    """One step of an order. `status` and `seq` are those after it; the first has seq 1.

    What people said about it is not here: it may be private, and events go to whoever listens.
    """

    order_id: UUID
    version: int
    status: OrderStatus
    at: datetime
    by: ActorKind
    store_id: UUID
    merchant_id: UUID
    customer_id: UUID
    reason: ReasonCode | None = None

    topic, stream = Topic.ORDERS, "order"

    @property
    def entity(self) -> UUID:
        return self.order_id

    @property
    def seq(self) -> int:
        return self.version

    @property
    def concerns(self) -> Sequence[UUID]:
        return (self.order_id, self.store_id, self.customer_id)


@dataclass(frozen=True)
class LockedOrder:
    """An order whose row is ours until the transaction ends."""

    id: UUID
    number: str
    purchase_id: UUID
    store_id: UUID
    merchant_id: UUID
    customer_id: UUID
    status: OrderStatus
    version: int
    fulfilment: Fulfilment
    total: Money
    refunded: Money
    prep_minutes: int
    handover_code: str
    code_tries_left: int
    at_risk: bool
    short: bool = False  # its store has said that some of it is not there: at risk whatever is counted
    ended: bool = False  # a LOST one is UNDELIVERED still


@dataclass(frozen=True)
class Sibling:
    """An order of the same purchase, not locked. A LOST one is UNDELIVERED and has ended."""

    id: UUID
    status: OrderStatus
    version: int
    ended: bool
    total: Money

    @property
    def fell_through(self) -> bool:
        """It has ended, and nothing is due for it."""
        return self.ended and self.status is not OrderStatus.DELIVERED


@dataclass(frozen=True)
class OrderedLine:
    """What was ordered, as the customer's bill calls it."""

    order_id: UUID
    listing_id: UUID
    variant_id: UUID
    sku: str
    name: str


@dataclass(frozen=True)
class Times:
    """What a move writes beside the status. None leaves what stands."""

    placed_at: datetime | None = None
    accept_by: datetime | None = None
    accepted_at: datetime | None = None
    promised_at: datetime | None = None
    picked_up_at: datetime | None = None
    ended_at: datetime | None = None
    prep_minutes: int | None = None


class OrderStore(Protocol):
    async def lock(self, order_id: UUID, actor: Actor) -> LockedOrder | None:
        """None when it is not there, or not the actor's."""

    async def lock_purchase(self, purchase_id: UUID) -> Sequence[LockedOrder]:
        """The purchase, then its orders by id."""

    async def siblings(self, purchase_id: UUID) -> Sequence["Sibling"]:
        """Each order of the purchase, as of now."""

    async def move(self, order: LockedOrder, end: OrderStatus, times: Times, *, at_risk: bool) -> LockedOrder: ...

    async def noted(self, order: LockedOrder, *, at_risk: bool) -> LockedOrder:
        """The next version in the same state."""

    async def fell_short(self, order: LockedOrder) -> LockedOrder:
        """The next version in the same state, at risk until it leaves the store."""

    async def lock_numbered(self, numbers: Collection[str], actor: Actor) -> Mapping[str, LockedOrder]:
        """Those of them that are the actor's, locked by id."""

    async def lines(self, order_ids: Collection[UUID]) -> Sequence["OrderedLine"]:
        """All of theirs, in no order."""

    async def said(self, order_id: UUID, note: str) -> bool:
        """Whether its parties have been told just that at one of its steps."""

    async def explain(self, order: LockedOrder, note: str) -> None:
        """Once for each version: what its parties read beside the step."""

    async def names(self, order_id: UUID) -> Mapping[UUID, str]:
        """What the customer's bill calls each of its listings."""

    async def refunded(self, order: LockedOrder, amount: Money) -> None: ...

    async def set_tries(self, order_id: UUID, tries_left: int) -> None:
        """Of its handover code. No step of the order: nobody is told of it."""


async def lock(order_id: UUID, actor: Actor, uow: "UnitOfWork") -> LockedOrder:
    """Refuses NotFound."""
    order = await uow.orders.lock(order_id, actor)
    if order is None:
        raise not_found("order")
    return order


async def move(
    order: LockedOrder, end: OrderStatus, actor: Actor, uow: "UnitOfWork", *,
    times: Times = Times(), reason: ReasonCode | None = None, note: str | None = None,
) -> LockedOrder:  # fmt: skip
    """One step, with its event. Refuses WrongState."""
    check_move(order.status, end, actor.kind)
    moved = await uow.orders.move(order, end, times, at_risk=order.at_risk and end in IN_STORE)
    await uow.events.add(await step(moved, actor, uow, reason=reason, note=note))
    return moved


async def step(
    order: LockedOrder,
    actor: Actor,
    uow: "UnitOfWork",
    *,
    reason: ReasonCode | None = None,
    note: str | None = None,
    at: datetime | None = None,
) -> OrderMoved:
    """The event of an order's present version; `at` is now, where the caller has not asked the clock already.

    `note` is kept for the parties of the order to read.
    """
    assert actor.kind is not None
    if note:
        await uow.orders.explain(order, note)
    return OrderMoved(
        order.id, order.version, order.status, at or await uow.now(), actor.kind, order.store_id, order.merchant_id,
        order.customer_id, reason,
    )  # fmt: skip


def is_number(text: str) -> bool:
    """Whether an order of ours could be called that."""
    return len(text) == NUMBER_LENGTH and set(text) <= set(NUMBER_LETTERS)


def check_note(note: str | None) -> None:
    """Refuses InvalidInput."""
    if note is not None and len(note) > 500:
        raise invalid("note", "longer than 500 characters")


def check_prep_minutes(minutes: int | None) -> None:
    """Refuses InvalidInput."""
    if minutes is not None and not 0 <= minutes <= PREP_LIMIT_MINUTES:
        raise invalid("prepMinutes", f"must be from 0 to {PREP_LIMIT_MINUTES}")
