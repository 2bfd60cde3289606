"""What a customer is charged beside the goods: a list of rules, each with an id and a version."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import NamedTuple, Protocol

from domain.money import Money
from domain.orders import Fulfilment


class ChargeKind(Enum):
    ITEMS = "ITEMS"
    TAX = "TAX"
    PACKAGING = "PACKAGING"
    DELIVERY = "DELIVERY"
    DISCOUNT = "DISCOUNT"
    TIP = "TIP"
    FEE = "FEE"


@dataclass(frozen=True)
class Charge:
    """One line of a total, and the rule that made it: a total can be computed again and must come out equal."""

    kind: ChargeKind
    label: str
    amount: Money
    rule: str
    rule_version: int


@dataclass(frozen=True, slots=True)
class Tax:
    """One component of what a thing is taxed, as its source names it. Kept with the listing: no rule charges it yet.

    A rate in basis points (250 are 2.5 %), or so much a unit. `inclusive`: the price has it in it.
    """

    code: str
    rate_bp: int = 0
    inclusive: bool = False
    amount_minor: int = 0


class PricedLine(Protocol):
    """What a rule may know of a line."""

    @property
    def quantity(self) -> int: ...
    @property
    def total(self) -> Money: ...
    @property
    def packaging(self) -> Money: ...


@dataclass(frozen=True)
class Basket:
    """One store's part of a cart, as the rules see it."""

    lines: Sequence[PricedLine]
    currency: str
    fulfilment: Fulfilment
    store_packaging_minor: int
    store_delivery_minor: int


class Rule(NamedTuple):
    id: str
    version: int
    kind: ChargeKind
    label: str

    def charge(self, minor: int, currency: str) -> Charge:
        return Charge(self.kind, self.label, Money(minor, currency), self.id, self.version)


ITEMS = Rule("items", 1, ChargeKind.ITEMS, "Items")
PACKAGING = Rule("packaging", 1, ChargeKind.PACKAGING, "Packaging")
DELIVERY = Rule("delivery-flat", 1, ChargeKind.DELIVERY, "Delivery")


def _items(basket: Basket) -> Charge:
    return ITEMS.charge(sum(line.total.minor for line in basket.lines), basket.currency)


def _packaging(basket: Basket) -> Charge | None:
    """The store's packing of an order, and each line's own a unit."""
    minor = basket.store_packaging_minor + sum(line.packaging.minor * line.quantity for line in basket.lines)
    return PACKAGING.charge(minor, basket.currency) if minor else None


def _delivery(basket: Basket) -> Charge | None:
    """One flat fee a store. Free is shown as free; who collects pays none."""
    if basket.fulfilment is Fulfilment.PICKUP:
        return None
    return DELIVERY.charge(basket.store_delivery_minor, basket.currency)


RULES = (_items, _packaging, _delivery)


def charges(basket: Basket) -> tuple[Charge, ...]:
    """In the order in which a bill shows them."""
    return tuple(charge for rule in RULES if (charge := rule(basket)) is not None)


def merged(charges: Sequence[Charge]) -> tuple[Charge, ...]:
    """Of several stores: one line a rule."""
    sums: dict[tuple[str, int], Charge] = {}
    for charge in charges:
        key = (charge.rule, charge.rule_version)
        before = sums.get(key)
        amount = before.amount + charge.amount if before else charge.amount
        sums[key] = Charge(charge.kind, charge.label, amount, charge.rule, charge.rule_version)
    return tuple(sums.values())


def total(charges: Sequence[Charge], currency: str) -> Money:
    return Money(sum(charge.amount.minor for charge in charges), currency)
