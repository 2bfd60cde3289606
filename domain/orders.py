"""An order's life, from placed to delivered: who may move it where."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from typing import NamedTuple
from uuid import UUID

from domain.events import Event, Topic
from domain.identity import ActorKind
from domain.refusals import Kind, Refusal, Refused


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
    """One step of an order. `status` and `seq` are those after it; the first has seq 1."""

    order_id: UUID
    version: int
    status: OrderStatus
    at: datetime
    by: ActorKind
    store_id: UUID
    merchant_id: UUID
    customer_id: UUID
    rider_id: UUID | None = None
    reason: ReasonCode | None = None
    note: str | None = None

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
