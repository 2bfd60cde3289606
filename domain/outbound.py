"""What a store's till is told of orders: how its provider words it, and how its answer is read, without any I/O."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum
from typing import Protocol
from uuid import UUID

from domain.access import Access, Ask, Quota, Reply
from domain.money import Money
from domain.orders import Fulfilment, OrderStatus, ReasonCode
from domain.places import Point, PostalAddress
from domain.pricing import Charge, ChargeKind


class OrderNews(Enum):
    """What there is to tell of an order, and of who brings it."""

    PLACED = "PLACED"
    ACCEPTED = "ACCEPTED"
    READY = "READY"
    LEFT = "LEFT"
    DELIVERED = "DELIVERED"
    CANCELLED = "CANCELLED"  # or expired, or turned down by people: it will not be
    RIDER_ASSIGNED = "RIDER_ASSIGNED"
    RIDER_AT_STORE = "RIDER_AT_STORE"
    RIDER_LEFT = "RIDER_LEFT"
    RIDER_DELIVERED = "RIDER_DELIVERED"


OF_RIDER = frozenset({OrderNews.RIDER_ASSIGNED, OrderNews.RIDER_AT_STORE, OrderNews.RIDER_LEFT, OrderNews.RIDER_DELIVERED})


@dataclass(frozen=True)
class Choice:
    """A modifier, by the till's own ids. `price` is a unit's."""

    id: str
    name: str
    group_id: str
    group: str
    price: Money


@dataclass(frozen=True)
class Line:
    """`id`, `size_id` and `product_id` are the till's own; None where nobody has mapped them, or it has told of none.
    `unit_price` has the choices in it."""

    id: str | None
    product_id: str | None
    sku: str
    name: str
    size: str
    quantity: int
    unit_price: Money
    total: Money
    choices: Sequence[Choice]
    note: str | None
    size_id: str | None = None  # of the size alone, whatever comes in it

    @property
    def bare_price(self) -> Money:
        """A unit without its choices, as far as they cost today what they did when it was ordered."""
        choices = Money(sum(one.price.minor for one in self.choices), self.unit_price.currency)
        return self.unit_price - choices if choices.minor <= self.unit_price.minor else self.unit_price


@dataclass(frozen=True)
class Place:
    """The store, `id` being the till's own of it."""

    id: str
    name: str
    city: str
    point: Point
    time_zone: str


@dataclass(frozen=True)
class Rider:
    name: str
    phone: str | None


@dataclass(frozen=True)
class Order:
    """An order as it is when it is told of. Its handover code is not here: the customer shows it."""

    id: UUID
    number: str
    status: OrderStatus
    fulfilment: Fulfilment
    placed_at: datetime
    promised_at: datetime | None
    prep_minutes: int
    total: Money
    cash: bool  # to be collected when it is handed over
    charges: Sequence[Charge]
    customer_name: str = field(repr=False)
    phone: str | None = field(repr=False)  # E.164
    address: PostalAddress | None = field(repr=False)
    store: Place
    lines: Sequence[Line]
    rider: Rider | None = field(default=None, repr=False)
    reason: ReasonCode | None = None  # why it ended early

    def charged(self, *kinds: ChargeKind) -> Money:
        return Money(sum(one.amount.minor for one in self.charges if one.kind in kinds), self.total.currency)


@dataclass(frozen=True)
class Say:
    """`base_url` None: the access's own."""

    ask: Ask
    base_url: str | None = None


class Unsayable(Exception):
    """Why it cannot be worded, for people: somebody has to mend the access."""


class Unmapped(Exception):
    """The till has no word for something of it yet: for people. It can be worded as soon as somebody has mapped that."""

    def __init__(self, line: "Line") -> None:
        super().__init__(f"no item of the till's is mapped to '{line.name}': mapExternalId, kind VARIANT")


# ---------------------------------------------------------------- what a till answers


@dataclass(frozen=True)
class Taken:
    """`reference` is what the till calls the order."""

    reference: str | None = None


@dataclass(frozen=True)
class TurnedDown:
    """The store does not take the order, and by this provider's contract that is its word: nobody needs to be asked."""

    reason: ReasonCode
    message: str | None = None


@dataclass(frozen=True)
class NotUnderstood:
    """The same again would be answered the same. `sure`: what was said so has not been taken."""

    message: str
    sure: bool = True


@dataclass(frozen=True)
class NotMapped:
    """It was not spoken to: something has no id of the till's yet."""

    message: str


@dataclass(frozen=True)
class NotNow:
    message: str
    after_s: float | None = None  # no sooner than that


Heard = Taken | TurnedDown | NotUnderstood | NotMapped | NotNow


def not_taken(reply: Reply, said: str | None = None) -> NotUnderstood | NotNow | None:
    """By the status alone; `said` is what the body says of it. None for 2xx."""
    if 200 <= reply.status < 300:
        return None
    message = f"it answers HTTP {reply.status}{f': {said}' if said else ''}"
    if reply.status in (408, 425, 429) or reply.status >= 500:
        return NotNow(message)
    return NotUnderstood(message)


class Outbound(Protocol):
    """One provider's words for orders. Pure: no I/O, and no clock but `now`.

    The same news is worded anew whenever it is told, of the order as it is by then, and known by our number of the order and by
    `id`: a till that hears it twice has one order.
    """

    provider: str
    credentials: Collection[str]  # the names of what it is told with
    tells: Collection[OrderNews]
    quota: Quota

    def word(self, news: OrderNews, order: Order, access: Access, id: UUID, now: datetime) -> Say:
        """Raises Unsayable, Unmapped."""

    def heard(self, news: OrderNews, reply: Reply) -> Heard:
        """Whatever it raises is an answer nobody has understood."""


Outbounds = Mapping[str, Outbound]
"""By provider."""
