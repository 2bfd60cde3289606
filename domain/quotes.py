"""A price promise with holds."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Protocol
from uuid import UUID

from domain import cart, pricing, stock
from domain.identity import Actor
from domain.merchants import Store, StoreStatus
from domain.money import Money
from domain.orders import Fulfilment
from domain.places import PostalAddress
from domain.pricing import Charge
from domain.refusals import Kind, Refusal, Refused, invalid, not_found

if TYPE_CHECKING:
    from domain.unit_of_work import UnitOfWork

LIFE = timedelta(minutes=10)
METRES_A_MINUTE = 250  # what a rider makes in a town, doors and lights included


@dataclass(frozen=True)
class QuoteLine:
    listing_id: UUID
    variant_id: UUID
    name: str
    sku: str
    quantity: int
    unit_price: Money  # with its modifiers
    packaging: Money  # a unit
    modifiers: Sequence[str]
    note: str | None
    modifier_ids: Sequence[UUID] = ()

    @property
    def total(self) -> Money:
        return self.unit_price * self.quantity


@dataclass(frozen=True)
class QuotePart:
    """One store's part: what becomes one order."""

    store_id: UUID
    merchant_id: UUID
    lines: Sequence[QuoteLine]
    charges: Sequence[Charge]
    total: Money
    fulfilment: Fulfilment
    distance_m: int
    eta_minutes: int | None


@dataclass(frozen=True)
class Quote:
    """Frozen: these units, at these prices, until `expires_at`."""

    id: UUID
    customer_id: UUID
    parts: Sequence[QuotePart]
    charges: Sequence[Charge]
    total: Money
    fulfilment: Fulfilment
    address: PostalAddress | None
    held: Mapping[UUID, int]  # listing id -> units held: the tracked ones
    expires_at: datetime
    ended_at: datetime | None = None
    purchase_id: UUID | None = None


@dataclass(frozen=True)
class QuoteCart:
    address: PostalAddress | None
    address_id: UUID | None
    fulfilment: Fulfilment
    coupon: str | None


@dataclass(frozen=True)
class EmptyCart(Refusal):
    code, kind = "EMPTY_CART", Kind.CONFLICT


@dataclass(frozen=True)
class StoreClosed(Refusal):
    code, kind = "STORE_CLOSED", Kind.CONFLICT
    store_id: UUID
    opens_at: datetime | None


@dataclass(frozen=True)
class OutOfArea(Refusal):
    code, kind = "OUT_OF_AREA", Kind.CONFLICT
    store_id: UUID


@dataclass(frozen=True)
class BelowMinimum(Refusal):
    code, kind = "BELOW_MINIMUM", Kind.CONFLICT
    store_id: UUID
    minimum: Money


@dataclass(frozen=True)
class CouponRefused(Refusal):
    code, kind = "COUPON_REFUSED", Kind.CONFLICT


@dataclass(frozen=True)
class LimitExceeded(Refusal):
    code, kind = "LIMIT_EXCEEDED", Kind.CONFLICT
    listing_id: UUID
    limit: int


class QuoteStore(Protocol):
    async def stores(self, store_ids: Sequence[UUID]) -> Mapping[UUID, Store]:
        """As they are now, by the database's clock."""

    async def saved_address(self, address_id: UUID, actor: Actor) -> PostalAddress | None: ...

    async def end_live(self, customer_id: UUID) -> UUID | None:
        """The customer's quote before this one, which is over now."""

    async def add(self, quote: Quote) -> None: ...

    async def lock(self, quote_id: UUID, actor: Actor) -> Quote | None: ...

    async def placed(self, quote_id: UUID, purchase_id: UUID) -> None: ...


async def quote_cart(command: QuoteCart, actor: Actor, uow: "UnitOfWork") -> UUID:
    """Prices the cart and holds its units. On a refusal the quote before and its holds stay as they were.

    Refuses EmptyCart, NotEnoughStock, StoreClosed, OutOfArea, BelowMinimum, ChoiceInvalid, CouponRefused, LimitExceeded,
    InvalidInput, NotFound.
    """
    assert actor.id is not None
    if command.coupon:
        raise Refused(CouponRefused("no coupon of that name"))
    _, lines = await uow.carts.lock(actor.id)  # one quote of a customer at a time
    items = await uow.carts.items(lines)
    if not items:
        raise Refused(EmptyCart("the cart is empty"))
    address = await _address(command, actor, uow)
    stores = await uow.quotes.stores(sorted({item.store_id for item in items}))
    parts = priced(items, stores, command.fulfilment, address)
    charges = pricing.merged([charge for part in parts for charge in part.charges])
    quote_id, expires_at = uow.new_id(), await uow.now() + LIFE
    replaced = await uow.quotes.end_live(actor.id)
    units = stock.units_by_listing((line.listing_id, line.quantity) for part in parts for line in part.lines)
    held = await stock.hold_units(stock.HoldUnits(quote_id, units, expires_at, replaced), uow)
    total = pricing.total(charges, parts[0].total.currency)
    await uow.quotes.add(Quote(quote_id, actor.id, parts, charges, total, command.fulfilment, address, held, expires_at))
    return quote_id


async def _address(command: QuoteCart, actor: Actor, uow: "UnitOfWork") -> PostalAddress | None:
    if command.address is not None and command.address_id is not None:
        raise invalid("addressId", "give an address or the id of one, not both")
    if command.address_id is not None:
        saved = await uow.quotes.saved_address(command.address_id, actor)
        if saved is None:
            raise not_found("address")
        return saved
    if command.address is None and command.fulfilment is not Fulfilment.PICKUP:
        raise invalid("address", "needed for a delivery")
    return command.address


def priced(
    items: Sequence[cart.CartItem], stores: Mapping[UUID, Store], fulfilment: Fulfilment, address: PostalAddress | None
) -> tuple[QuotePart, ...]:
    """One part a store, in the order in which the cart first names them. Refuses what no price can mend."""
    _check_limits(items)
    parts = []
    for store_id in dict.fromkeys(item.store_id for item in items):
        theirs = [item for item in items if item.store_id == store_id]
        for item in theirs:
            cart.check_choices(item)
        parts.append(_part(theirs, stores[store_id], fulfilment, address))
    if len({part.total.currency for part in parts}) > 1:
        raise invalid("lines", "stores of two currencies cannot be one purchase")
    return tuple(parts)


def _check_limits(items: Sequence[cart.CartItem]) -> None:
    """Summed by listing: two lines of one listing do not get round its limit."""
    limits = {item.line.listing_id: item.limit for item in items}
    for listing_id, units in stock.units_by_listing((item.line.listing_id, item.line.quantity) for item in items).items():
        if units > limits[listing_id]:
            raise Refused(LimitExceeded(f"at most {limits[listing_id]} in one order", listing_id, limits[listing_id]))


def _part(items: Sequence[cart.CartItem], store: Store, fulfilment: Fulfilment, address: PostalAddress | None) -> QuotePart:
    if not store.is_open:
        raise Refused(StoreClosed("the store takes no orders now", store.id, store.opens_at))
    gone = [stock.Shortage(item.line.listing_id, item.line.quantity, 0) for item in items if not item.active]
    if gone:
        raise Refused(stock.NotEnoughStock("not sold any more", gone))
    if fulfilment is Fulfilment.DELIVERY and store.self_delivery:
        fulfilment = Fulfilment.STORE_DELIVERY
    away = store.distance_metres(address.point) if address and fulfilment is not Fulfilment.PICKUP else 0
    if away > store.radius_m:
        raise Refused(OutOfArea("the store does not deliver that far", store.id))
    lines = tuple(
        QuoteLine(
            item.line.listing_id, item.variant_id, item.name, item.sku, item.line.quantity, item.unit_price, item.packaging,
            tuple(choice.name for choice in item.choices), item.line.note, item.line.modifier_ids,
        )
        for item in items
    )  # fmt: skip
    basket = pricing.Basket(lines, store.currency, fulfilment, store.packaging_minor, store.delivery_minor)
    charges = pricing.charges(basket)
    if charges[0].amount.minor < store.minimum_minor:
        minimum = Money(store.minimum_minor, store.currency)
        raise Refused(BelowMinimum(f"the store delivers from {minimum.amount}", store.id, minimum))
    ride = 0 if fulfilment is Fulfilment.PICKUP else 5 + away // METRES_A_MINUTE
    eta = store.prep_minutes * (2 if store.status is StoreStatus.BUSY else 1) + ride
    return QuotePart(store.id, store.merchant_id, lines, charges, pricing.total(charges, store.currency), fulfilment, away, eta)
