"""What providers say, in their own ids and the industry's words: the canonical commands, as the intake keeps them.

A command names entities and stores as its source does; `domain/work.py` finds ours. Amounts are in the minor
unit, quantities integers of the variant's unit, times aware.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from enum import Enum, IntEnum
from typing import ClassVar

from domain.catalog import Diet, ProductKind, Unit
from domain.intake import EntityKind
from domain.merchants import StoreStatus
from domain.orders import ReasonCode
from domain.pricing import Tax
from domain.stock import StockMovementKind


class Stage(IntEnum):
    """The order in which one batch is carried out, whatever the order in which it was said: each leans on those before."""

    ORDERS = 0  # lean on nothing: no menu keeps a kitchen's word waiting
    STORE = 1
    PRODUCTS = 2
    VARIANTS = 3
    PRICES = 4
    CHOICES = 5
    STOCK = 6
    MISSING = 9  # after everything else of its batch is done with


@dataclass(frozen=True, kw_only=True)
class Command:
    """`store` is the source's id of the store, None: its only one. `at` is when the source says it was so, None: when we
    received it. `version` counts within the entity, and decides before the time does."""

    store: str | None = None
    version: int | None = None
    at: datetime | None = None

    stage: ClassVar[Stage]
    whole: ClassVar[bool] = False  # whether it speaks of all that its batch did not name
    kinds: ClassVar[dict[str, type["Command"]]] = {}

    def __init_subclass__(cls) -> None:
        Command.kinds[cls.__name__] = cls

    @property
    def subject(self) -> str:
        """What it is about, as `VARIANT:TEA-250`."""
        raise TypeError(f"{type(self).__name__} has no subject")

    @property
    def entity(self) -> str:
        """What keeps the order: two commands of one entity are carried out one after the other."""
        return self.subject if self.store is None else f"{self.subject}@{self.store}"

    @property
    def not_before(self) -> datetime | None:
        """When it is to be carried out, if that is not at once."""
        return None


def named(kind: EntityKind, external_id: str) -> str:
    """What an instruction waits for, and what a mapping answers."""
    return f"{kind.value}:{external_id}"


FORM = "+"  # stands between an item and the option that makes a form of it


def formed(item: str, option: str) -> str:
    """The external id of the variant that an option (a size) makes of an item. What switches the option switches it."""
    return f"{item}{FORM}{option}"


@dataclass(frozen=True, kw_only=True)
class UpsertCatalogItem(Command):
    """A product. None leaves what is there."""

    item: str
    title: str
    kind: ProductKind = ProductKind.GOOD
    description: str | None = None
    brand: str | None = None
    diet: Diet | None = None
    category: tuple[str, ...] = ()  # from the root down, as the source names them
    images: tuple[str, ...] = ()
    attributes: tuple[tuple[str, str], ...] = ()

    stage = Stage.PRODUCTS

    @property
    def subject(self) -> str:
        return named(EntityKind.PRODUCT, self.item)


@dataclass(frozen=True, kw_only=True)
class Choice:
    """One option of a group: an add-on, a topping."""

    id: str
    title: str
    price_minor: int
    active: bool = True
    rank: int = 0


@dataclass(frozen=True, kw_only=True)
class ChoiceGroup:
    """`variants` are those of the item that offer it, none: all of them."""

    id: str
    title: str
    least: int
    most: int
    choices: tuple[Choice, ...]
    variants: tuple[str, ...] = ()
    rank: int = 0


@dataclass(frozen=True, kw_only=True)
class UpsertMenuItem(Command):
    """How a store's menu offers a product: its choices, whole. What is not in `groups` is offered no more."""

    item: str
    sections: tuple[str, ...] = ()
    rank: int = 0
    order_types: tuple[str, ...] = ()
    packaging_minor: int | None = None
    prep_minutes: int | None = None
    groups: tuple[ChoiceGroup, ...] = ()

    stage = Stage.CHOICES

    @property
    def subject(self) -> str:
        return named(EntityKind.PRODUCT, self.item)


TAKEN_OUT = ("deliver", "pick", "take", "collect")  # as in pickup, self-pickup, takeaway, self-collection


def taken_out(order_types: Iterable[str]) -> bool:
    """Whether a dish leaves the house, brought or fetched. One whose order types nobody tells does."""
    told = [word.lower() for word in order_types]
    return not told or any(part in word for word in told for part in TAKEN_OUT)


@dataclass(frozen=True, kw_only=True)
class UpsertVariant(Command):
    """`active` says whether the store shows it; without a store it says nothing. `sku` is the merchant's own code, where the
    source knows it beside its id; `also` are further ids by which the source speaks of it, and `size_id` what it calls the size
    alone, whatever comes in it."""

    variant: str
    item: str
    title: str = ""
    barcode: str | None = None
    unit: Unit | None = None
    rank: int = 0
    active: bool = True
    sku: str | None = None
    also: tuple[str, ...] = ()
    size_id: str | None = None

    stage = Stage.VARIANTS

    @property
    def subject(self) -> str:
        return named(EntityKind.VARIANT, self.variant)


@dataclass(frozen=True, kw_only=True)
class UpdatePrice(Command):
    """Of a variant in a store. Where the store does not list it yet, it does from now on. `taxes` are all of its taxes; None
    leaves what is there."""

    variant: str
    price_minor: int
    mrp_minor: int | None = None
    packaging_minor: int | None = None
    currency: str = "INR"
    effective_from: datetime | None = None
    taxes: tuple[Tax, ...] | None = None

    stage = Stage.PRICES

    @property
    def subject(self) -> str:
        return named(EntityKind.VARIANT, self.variant)

    @property
    def entity(self) -> str:
        # Apart from the others while it waits for its day: what is true today must not wait with it.
        return f"{super().entity} from {self.effective_from.isoformat()}" if self.effective_from else super().entity

    @property
    def not_before(self) -> datetime | None:
        return self.effective_from


class StockMode(Enum):
    ABSOLUTE = "ABSOLUTE"  # a count
    DELTA = "DELTA"  # so many more or fewer
    AVAILABILITY = "AVAILABILITY"  # on or off, and nothing of how many


@dataclass(frozen=True, kw_only=True)
class UpdateStockLevel(Command):
    """`quantity` goes with ABSOLUTE and DELTA, `available` and `restore_at` with AVAILABILITY.

    `kind` PRODUCT is a till's item: the variant of that id, else all variants of the product of that id.
    `once` goes with DELTA: the source's own id of the change, which is made once, whatever payloads tell of it.
    """

    id: str
    kind: EntityKind = EntityKind.VARIANT
    mode: StockMode
    quantity: int | None = None
    available: bool | None = None
    restore_at: datetime | None = None
    movement: StockMovementKind = StockMovementKind.COUNTED
    reason: str = ""
    once: str | None = None

    stage = Stage.STOCK

    @property
    def subject(self) -> str:
        return named(self.kind, self.id)


@dataclass(frozen=True, kw_only=True)
class UpdateStoreStatus(Command):
    status: StoreStatus
    reason: str | None = None
    reopen_at: datetime | None = None

    stage = Stage.STORE

    @property
    def subject(self) -> str:
        return EntityKind.STORE.value


class OrderWord(Enum):
    """What a till or a warehouse says has become of an order, in the industry's words."""

    READY = "READY"
    DISPATCHED = "DISPATCHED"
    DELIVERED = "DELIVERED"
    CANCELLED = "CANCELLED"
    ITEM_SHORT = "ITEM_SHORT"  # fewer were found than ordered
    ITEM_CANCELLED = "ITEM_CANCELLED"  # will not come at all


@dataclass(frozen=True, kw_only=True)
class OfOrder(Command):
    """`order` is our own number of it, as the provider repeats it. Without a store it is looked for in all of the source's."""

    order: str

    stage = Stage.ORDERS

    @property
    def number(self) -> str:
        return self.order.strip().upper()

    @property
    def subject(self) -> str:
        return f"ORDER:{self.number}"

    @property
    def entity(self) -> str:
        return self.subject  # numbers are ours, and one each: whichever store it is said of


@dataclass(frozen=True, kw_only=True)
class AcceptOrder(OfOrder):
    """`reference` is what the source calls the order."""

    prep_minutes: int | None = None
    reference: str | None = None


@dataclass(frozen=True, kw_only=True)
class RejectOrder(OfOrder):
    """`items` are out of stock, in the source's ids. Whoever translates it says besides that they are: see `sold_out`."""

    reason: ReasonCode = ReasonCode.OTHER
    message: str | None = None
    items: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class OrderItem:
    """A line of the order, by the source's id of what was ordered. None where it does not say how many."""

    id: str
    ordered: int | None = None
    found: int | None = None


@dataclass(frozen=True, kw_only=True)
class OrderStatus(OfOrder):
    """`items` go with ITEM_SHORT and ITEM_CANCELLED, `reason` with CANCELLED, the rider (the store's own) with DISPATCHED."""

    status: OrderWord
    message: str | None = None
    reason: ReasonCode = ReasonCode.OTHER
    rider_name: str | None = None
    rider_phone: str | None = None
    items: tuple[OrderItem, ...] = ()


@dataclass(frozen=True, kw_only=True)
class DeactivateMissing(Command):
    """The batch was whole: what this source told of this store before, and is not `present`, is sold no more."""

    present: tuple[str, ...]  # variants

    stage, whole = Stage.MISSING, True

    @property
    def subject(self) -> str:
        return "MISSING"


def sold_out(store: str | None, ids: Iterable[str], kind: EntityKind = EntityKind.PRODUCT) -> list[UpdateStockLevel]:
    """What a store turned an order down for is off in it, until it is told otherwise."""
    return [
        UpdateStockLevel(store=store, id=id, kind=kind, mode=StockMode.AVAILABILITY, available=False) for id in dict.fromkeys(ids)
    ]
