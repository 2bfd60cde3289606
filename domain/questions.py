"""What a provider may ask of its own stores, and is told at once: what they sell, and what was ordered of them."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from domain.catalog import Diet
from domain.intake import Answer, Question
from domain.money import Money
from domain.orders import Fulfilment, OrderStatus
from domain.places import PostalAddress
from domain.pricing import Charge


@dataclass(frozen=True)
class SoldForm:
    """A variant as the source's stores sell it. `id` is the source's own of it, else its SKU, as it may be told us back.

    Where several stores sell it the price is that of the first, and the units are those of all. `available` is None where nobody
    counts it.
    """

    id: str
    name: str
    sku: str
    barcode: str | None
    price: Money
    mrp: Money | None
    active: bool
    available: int | None
    held: int
    allocated: int


@dataclass(frozen=True)
class SoldProduct:
    """`id` is the source's own of it, else ours."""

    id: str
    name: str
    description: str | None
    brand: str | None
    diet: Diet | None
    images: Sequence[str]
    attributes: Mapping[str, str]
    forms: Sequence[SoldForm]


@dataclass(frozen=True)
class OrderedItem:
    """A line of an order. Ids as in SoldForm and SoldProduct."""

    id: str
    form: str
    product: str
    name: str
    sku: str
    quantity: int
    unit_price: Money
    total: Money


@dataclass(frozen=True)
class Ordered:
    """`store` is the source's id of it. `cash` is to be paid at the door."""

    number: str
    status: OrderStatus
    fulfilment: Fulfilment
    store: str
    placed_at: datetime
    promised_at: datetime | None
    total: Money
    cash: bool
    charges: Sequence[Charge]
    customer: str
    address: PostalAddress | None
    items: Sequence[OrderedItem]


@dataclass(frozen=True)
class GoodsCounted(Question):
    """How many products there are. `active` None: whether they are sold now or not. `shaped` makes the provider's answer of it."""

    shaped: Callable[[int], Answer]
    active: bool | None = None


@dataclass(frozen=True)
class GoodsAsked(Question):
    """A page of products, from 1 on."""

    shaped: Callable[[Sequence[SoldProduct]], Answer]
    page: int = 1
    size: int = 50
    active: bool | None = None


@dataclass(frozen=True)
class OrdersAsked(Question):
    """A page, from 1 on, of what was placed within the window, oldest first. No statuses: whichever."""

    shaped: Callable[[Sequence[Ordered]], Answer]
    since: datetime
    until: datetime
    page: int = 1
    size: int = 50
    statuses: frozenset[OrderStatus] = frozenset()
