"""What is sold: products, their variants, and each store's listings of them, with the choices they are offered with.

What sources tell is absolute: the same again changes nothing, and `None` leaves what is there. Whoever applies several
kinds in one transaction does it in this order: products, variants, listings, choices, prices, what is missing.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from enum import Enum
from typing import TYPE_CHECKING, Protocol
from uuid import UUID

from domain.events import Event, Topic
from domain.identity import Actor, MerchantRole, check_merchant_role
from domain.money import LIMIT_MINOR, Money
from domain.refusals import InvalidInput, Problem, Refused, not_found

if TYPE_CHECKING:
    from domain.unit_of_work import UnitOfWork


class ProductKind(Enum):
    GOOD = "GOOD"
    MENU_ITEM = "MENU_ITEM"


class Diet(Enum):
    VEG = "VEG"
    NON_VEG = "NON_VEG"
    EGG = "EGG"
    VEGAN = "VEGAN"


class Unit(Enum):
    """What one unit of a variant is: quantities are integers of it."""

    PIECE = "PIECE"
    GRAM = "GRAM"
    MILLILITRE = "MILLILITRE"


class ListingSort(Enum):
    RELEVANCE = "RELEVANCE"
    NAME = "NAME"
    PRICE_ASC = "PRICE_ASC"
    PRICE_DESC = "PRICE_DESC"
    NEWEST = "NEWEST"


# ---------------------------------------------------------------- what there is


@dataclass(frozen=True, slots=True)
class Attribute:
    name: str
    value: str


@dataclass(frozen=True, slots=True)
class Product:
    id: UUID
    merchant_id: UUID
    kind: ProductKind
    name: str
    description: str | None
    brand: str | None
    category_id: UUID | None
    diet: Diet | None
    images: Sequence[str]
    attributes: Sequence[Attribute]  # by name, each name once
    version: int


@dataclass(frozen=True, slots=True)
class Variant:
    id: UUID
    merchant_id: UUID
    product_id: UUID
    sku: str
    name: str
    barcode: str | None
    unit: Unit
    rank: int


@dataclass(frozen=True, slots=True)
class Listing:
    id: UUID
    merchant_id: UUID
    store_id: UUID
    product_id: UUID
    variant_id: UUID
    price_minor: int
    mrp_minor: int | None
    packaging_minor: int
    currency: str
    active: bool
    max_per_order: int | None
    version: int


@dataclass(frozen=True, slots=True)
class Place:
    """A store, as far as its listings need it."""

    id: UUID
    merchant_id: UUID
    currency: str


@dataclass(frozen=True)
class ProductChanged(Event):
    """The product, or one of its variants that is sold already."""

    product: Product

    topic, stream = Topic.CATALOG, "product"

    @property
    def entity(self) -> UUID:
        return self.product.id

    @property
    def seq(self) -> int:
        return self.product.version

    @property
    def concerns(self) -> Sequence[UUID]:
        return (self.product.id, self.product.merchant_id)


@dataclass(frozen=True)
class ListingChanged(Event):
    """A new listing, or one that is sold otherwise than before: shown or hidden, with other choices, at most so many."""

    listing: Listing

    topic, stream = Topic.CATALOG, "listing"

    @property
    def entity(self) -> UUID:
        return self.listing.id

    @property
    def seq(self) -> int:
        return self.listing.version

    @property
    def concerns(self) -> Sequence[UUID]:
        return (self.listing.store_id, self.listing.product_id)


@dataclass(frozen=True)
class PriceChanged(Event):
    """The price, or the MRP it is compared with, and nothing else of a listing."""

    listing_id: UUID
    store_id: UUID
    merchant_id: UUID
    product_id: UUID
    version: int
    price: Money
    mrp: Money | None

    topic, stream = Topic.PRICING, "listing"

    @property
    def entity(self) -> UUID:
        return self.listing_id

    @property
    def seq(self) -> int:
        return self.version

    @property
    def concerns(self) -> Sequence[UUID]:
        return (self.store_id, self.product_id)


# ---------------------------------------------------------------- what is told of it


@dataclass(frozen=True)
class UpsertedProduct:
    """Without `product_id` a new one. An empty text, or an empty path, takes away what was there."""

    product_id: UUID | None
    merchant_id: UUID
    name: str
    kind: ProductKind = ProductKind.GOOD
    description: str | None = None
    brand: str | None = None
    category_path: tuple[str, ...] | None = None  # from the root down; what is missing of it is made
    diet: Diet | None = None
    images: tuple[str, ...] | None = None
    attributes: Mapping[str, str] | None = None
    cause: str = ""


@dataclass(frozen=True)
class UpsertedVariant:
    """Without `variant_id` the merchant's variant of that SKU, or a new one."""

    variant_id: UUID | None
    merchant_id: UUID
    product_id: UUID
    sku: str
    name: str | None = None
    barcode: str | None = None
    unit: Unit | None = None
    rank: int | None = None
    cause: str = ""


@dataclass(frozen=True)
class UpsertedListing:
    """A variant in a store. One that is not listed yet and is told without a price is passed over."""

    store_id: UUID
    variant_id: UUID
    price_minor: int | None = None
    mrp_minor: int | None = None
    packaging_minor: int | None = None
    currency: str | None = None
    active: bool | None = None
    max_per_order: int | None = None
    cause: str = ""


@dataclass(frozen=True)
class PriceSet:
    listing_id: UUID
    price_minor: int
    mrp_minor: int | None = None
    cause: str = ""


@dataclass(frozen=True)
class UpsertedModifier:
    external_id: str
    name: str
    price_minor: int = 0
    active: bool = True
    rank: int = 0


@dataclass(frozen=True)
class UpsertedGroup:
    """A store's group, whole: an option it does not name is offered no more."""

    store_id: UUID
    external_id: str
    name: str
    modifiers: Sequence[UpsertedModifier]
    cause: str = ""


@dataclass(frozen=True)
class OfferedGroup:
    external_id: str
    min: int
    max: int
    rank: int = 0


@dataclass(frozen=True)
class OfferedGroups:
    """The groups a listing is offered with, whole."""

    listing_id: UUID
    groups: Sequence[OfferedGroup]
    cause: str = ""


@dataclass(frozen=True)
class SetPrice:
    listing_id: UUID
    price_minor: int


# ---------------------------------------------------------------- the port


class CatalogStore(Protocol):
    """Locks are taken in id order: merchants, stores, products, listings."""

    async def lock_merchants_of(self, store_ids: Collection[UUID], listing_ids: Collection[UUID]) -> None:
        """Whoever changes a merchant's catalogue takes the merchant first."""

    async def lock_merchants(self, merchant_ids: Collection[UUID]) -> None:
        """One change of a merchant's catalogue at a time: what is not there yet cannot be locked otherwise."""

    async def lock_stores(self, store_ids: Collection[UUID]) -> Mapping[UUID, Place]: ...

    async def categories(self, paths: Collection[tuple[str, ...]]) -> Mapping[tuple[str, ...], UUID]:
        """The ids of these paths. What is missing of them is made."""

    async def lock_products(self, product_ids: Collection[UUID]) -> Mapping[UUID, Product]: ...

    async def add_products(self, products: Sequence[Product]) -> None: ...

    async def change_products(self, products: Sequence[Product]) -> None:
        """Of products already locked. Their listings sort by the new name."""

    async def variants(self, variant_ids: Collection[UUID]) -> Mapping[UUID, Variant]: ...

    async def variants_by_sku(self, skus: Collection[tuple[UUID, str]]) -> Mapping[tuple[UUID, str], Variant]: ...

    async def add_variants(self, variants: Sequence[Variant]) -> None: ...

    async def change_variants(self, variants: Sequence[Variant]) -> None: ...

    async def lock_listings(self, listing_ids: Collection[UUID], actor: Actor | None = None) -> Mapping[UUID, Listing]:
        """With an actor: those it may act for."""

    async def lock_listed(self, places: Collection[tuple[UUID, UUID]]) -> Mapping[tuple[UUID, UUID], Listing]:
        """By store and variant."""

    async def lock_not_among(
        self, store_id: UUID, keep: Collection[UUID], among: Collection[UUID] | None, updated_before: datetime
    ) -> Sequence[Listing]:
        """The store's active listings besides those kept."""

    async def add_listings(self, listings: Sequence[Listing]) -> None:
        """Each with its stock level: uncounted, at version 0, so that the first change of it is the first event."""

    async def change_listings(self, listings: Sequence[Listing]) -> None:
        """Of listings already locked."""

    async def touch_listings(self, listing_ids: Collection[UUID]) -> None:
        """They were told of again, and nothing has changed."""

    async def save_groups(self, groups: Sequence[UpsertedGroup], places: Mapping[UUID, Place]) -> Mapping[UUID, UUID]:
        """Returns the listings whose choices have changed by it, and the store of each."""

    async def offer_groups(self, offers: Sequence[OfferedGroups]) -> Collection[UUID]:
        """Of listings already locked. Returns those whose groups have changed by it."""


# ---------------------------------------------------------------- applying it


def _refuse(problems: Sequence[Problem]) -> None:
    if problems:
        raise Refused(InvalidInput(f"{problems[0].path}: {problems[0].message}", tuple(problems)))


async def apply_products(items: Sequence[UpsertedProduct], uow: "UnitOfWork") -> list[UUID]:
    """Their ids, in the order told. Refuses NotFound for a `product_id` that is not that merchant's."""
    await uow.catalog.lock_merchants({item.merchant_id for item in items})
    paths = {item.category_path for item in items if item.category_path}
    categories = await uow.catalog.categories(paths) if paths else {}
    locked = await uow.catalog.lock_products({item.product_id for item in items if item.product_id is not None})
    ids, now, causes = [], dict(locked), {}
    for item in items:
        before = now.get(item.product_id) if item.product_id is not None else None
        if item.product_id is not None and (before is None or before.merchant_id != item.merchant_id):
            raise not_found("product")
        category_id = categories[item.category_path] if item.category_path else None
        after = _product(item, before, category_id, uow)
        now[after.id], causes[after.id] = after, item.cause
        ids.append(after.id)
    added = [product for id, product in now.items() if id not in locked]
    changed = [
        replace(product, version=product.version + 1) for id, product in now.items() if id in locked and product != locked[id]
    ]
    await uow.catalog.add_products(added)
    await uow.catalog.change_products(changed)
    await uow.events.add(*(ProductChanged(product) for product in (*added, *changed)), causes=_known(causes))
    return ids


def _product(item: UpsertedProduct, before: Product | None, category_id: UUID | None, uow: "UnitOfWork") -> Product:
    attributes = None if item.attributes is None else tuple(Attribute(*one) for one in sorted(item.attributes.items()))
    if before is None:
        return Product(
            uow.new_id(), item.merchant_id, item.kind, item.name, item.description or None, item.brand or None, category_id,
            item.diet, item.images or (), attributes or (), 1,
        )  # fmt: skip
    return replace(
        before,
        kind=item.kind,
        name=item.name,
        description=before.description if item.description is None else item.description or None,
        brand=before.brand if item.brand is None else item.brand or None,
        category_id=before.category_id if item.category_path is None else category_id,
        diet=item.diet or before.diet,
        images=before.images if item.images is None else item.images,
        attributes=before.attributes if attributes is None else attributes,
    )


async def apply_variants(items: Sequence[UpsertedVariant], uow: "UnitOfWork") -> list[UUID]:
    """Their ids, in the order told. A variant that changes is a change of its product; a new one is seen when it is listed.

    Refuses NotFound for a product or a variant that is not that merchant's, InvalidInput for another variant's SKU.
    """
    await uow.catalog.lock_merchants({item.merchant_id for item in items})
    products = await uow.catalog.lock_products({item.product_id for item in items})
    by_id = dict(await uow.catalog.variants({item.variant_id for item in items if item.variant_id is not None}))
    by_sku = dict(await uow.catalog.variants_by_sku({(item.merchant_id, item.sku) for item in items}))
    by_id |= {variant.id: variant for variant in by_sku.values()}
    locked, ids, problems, causes = dict(by_id), [], [], {}
    for place, item in enumerate(items):
        product, namesake = products.get(item.product_id), by_sku.get((item.merchant_id, item.sku))
        before = by_id.get(item.variant_id) if item.variant_id is not None else namesake
        if product is None or product.merchant_id != item.merchant_id:
            raise not_found("product")
        if item.variant_id is not None and (before is None or before.merchant_id != item.merchant_id):
            raise not_found("variant")
        if namesake is not None and before is not None and namesake.id != before.id:
            problems.append(Problem(f"{place}.sku", f"{item.sku} is another variant's"))
            continue
        after = _variant(item, before, uow)
        by_id[after.id] = by_sku[item.merchant_id, item.sku] = after
        causes[after.product_id] = item.cause
        ids.append(after.id)
    _refuse(problems)
    await uow.catalog.add_variants([variant for id, variant in by_id.items() if id not in locked])
    changed = [variant for id, variant in by_id.items() if id in locked and variant != locked[id]]
    await uow.catalog.change_variants(changed)
    touched = {variant.product_id for variant in changed} | {locked[variant.id].product_id for variant in changed}
    grown = [
        replace(product, version=product.version + 1)
        for product in (await uow.catalog.lock_products(touched) if touched - products.keys() else products).values()
        if product.id in touched
    ]
    await uow.catalog.change_products(grown)
    await uow.events.add(*map(ProductChanged, grown), causes=_known(causes))
    return ids


def _variant(item: UpsertedVariant, before: Variant | None, uow: "UnitOfWork") -> Variant:
    if before is None:
        return Variant(
            uow.new_id(), item.merchant_id, item.product_id, item.sku, item.name or "", item.barcode or None,
            item.unit or Unit.PIECE, item.rank or 0,
        )  # fmt: skip
    return replace(
        before,
        product_id=item.product_id,
        sku=item.sku,
        name=before.name if item.name is None else item.name,
        barcode=before.barcode if item.barcode is None else item.barcode or None,
        unit=item.unit or before.unit,
        rank=before.rank if item.rank is None else item.rank,
    )


async def apply_listings(items: Sequence[UpsertedListing], uow: "UnitOfWork") -> list[UUID | None]:
    """Their ids, in the order told; None of one that was passed over. A change of prices alone is a PriceChanged.

    Refuses NotFound for a store or a variant that is not there, or not of one merchant; InvalidInput for a price that is
    above the MRP or out of range, and for another currency than the store's.
    """
    variants = await uow.catalog.variants({item.variant_id for item in items})
    await uow.catalog.lock_merchants({variant.merchant_id for variant in variants.values()})
    places = await uow.catalog.lock_stores({item.store_id for item in items})
    locked = await uow.catalog.lock_listed({(item.store_id, item.variant_id) for item in items})
    ids: list[UUID | None] = []
    now, problems, causes = dict(locked), [], {}
    for index, item in enumerate(items):
        store, variant, key = places.get(item.store_id), variants.get(item.variant_id), (item.store_id, item.variant_id)
        if store is None or variant is None or store.merchant_id != variant.merchant_id:
            raise not_found("store" if store is None else "variant")
        if item.currency is not None and item.currency != store.currency:
            problems.append(Problem(f"{index}.currency", f"the store sells in {store.currency}"))
            continue
        after = _listing(item, now.get(key), store, variant, uow)
        if after is None:
            ids.append(None)
            continue
        problems += _price_problems(index, after)
        now[key], causes[after.id] = after, item.cause
        ids.append(after.id)
    _refuse(problems)
    before = {listing.id: listing for listing in locked.values()}
    await _save([listing for listing in now.values() if listing.id not in before], now.values(), before, causes, uow)
    return ids


def _listing(item: UpsertedListing, before: Listing | None, store: Place, variant: Variant, uow: "UnitOfWork") -> Listing | None:
    if before is None:
        if item.price_minor is None:
            return None
        return Listing(
            uow.new_id(), store.merchant_id, store.id, variant.product_id, variant.id, item.price_minor, item.mrp_minor,
            item.packaging_minor or 0, store.currency, item.active is not False, item.max_per_order, 1,
        )  # fmt: skip
    return replace(
        before,
        product_id=variant.product_id,
        price_minor=before.price_minor if item.price_minor is None else item.price_minor,
        mrp_minor=before.mrp_minor if item.mrp_minor is None else item.mrp_minor,
        packaging_minor=before.packaging_minor if item.packaging_minor is None else item.packaging_minor,
        active=before.active if item.active is None else item.active,
        max_per_order=before.max_per_order if item.max_per_order is None else item.max_per_order,
    )


def _price_problems(index: int, listing: Listing) -> list[Problem]:
    if not 0 <= listing.price_minor <= LIMIT_MINOR or not 0 <= listing.packaging_minor <= LIMIT_MINOR:
        return [Problem(f"{index}.price", "is out of range")]
    if listing.mrp_minor is not None and listing.price_minor > listing.mrp_minor:
        return [Problem(f"{index}.price", f"is above the MRP of {Money(listing.mrp_minor, listing.currency).amount}")]
    return []


async def _save(
    added: Sequence[Listing],
    now: Collection[Listing],
    before: Mapping[UUID, Listing],
    causes: Mapping[UUID, str],
    uow: "UnitOfWork",
) -> None:
    """What has changed, each with its event. What has not was told of again."""
    changed = [
        replace(listing, version=listing.version + 1) for listing in now if listing.id in before and listing != before[listing.id]
    ]
    await uow.catalog.add_listings(added)
    await uow.catalog.change_listings(changed)
    await uow.catalog.touch_listings(before.keys() - {listing.id for listing in changed})
    await uow.events.add(
        *map(ListingChanged, added), *(_told(listing, before[listing.id]) for listing in changed), causes=_known(causes)
    )


def _told(listing: Listing, before: Listing) -> ListingChanged | PriceChanged:
    rest = replace(listing, price_minor=before.price_minor, mrp_minor=before.mrp_minor, version=before.version)
    if rest != before:
        return ListingChanged(listing)
    return PriceChanged(
        listing.id,
        listing.store_id,
        listing.merchant_id,
        listing.product_id,
        listing.version,
        Money(listing.price_minor, listing.currency),
        None if listing.mrp_minor is None else Money(listing.mrp_minor, listing.currency),
    )


async def apply_prices(items: Sequence[PriceSet], uow: "UnitOfWork") -> None:
    """Of listings there are: others are passed over. An equal price changes nothing. Refuses InvalidInput."""
    before = await uow.catalog.lock_listings({item.listing_id for item in items})
    now, problems = dict(before), []
    for index, item in enumerate(items):
        if (listing := now.get(item.listing_id)) is None:
            continue
        mrp_minor = listing.mrp_minor if item.mrp_minor is None else item.mrp_minor
        now[listing.id] = replace(listing, price_minor=item.price_minor, mrp_minor=mrp_minor)
        problems += _price_problems(index, now[listing.id])
    _refuse(problems)
    await _save((), now.values(), before, {item.listing_id: item.cause for item in items}, uow)


async def apply_modifier_groups(groups: Sequence[UpsertedGroup], offers: Sequence[OfferedGroups], uow: "UnitOfWork") -> None:
    """The groups first, then which listing is offered with which. A listing with other choices than before has changed.

    Refuses NotFound for a store, a listing or a group that is not there, InvalidInput for numbers that cannot be.
    """
    _refuse(
        [
            Problem(f"{place}.groups.{index}", "min is above max, or below none")
            for place, offer in enumerate(offers)
            for index, group in enumerate(offer.groups)
            if not 0 <= group.min <= group.max
        ]
        + [
            Problem(f"{place}.modifiers.{index}.price", "is out of range")
            for place, group in enumerate(groups)
            for index, one in enumerate(group.modifiers)
            if not 0 <= one.price_minor <= LIMIT_MINOR
        ]
    )
    await uow.catalog.lock_merchants_of({group.store_id for group in groups}, {offer.listing_id for offer in offers})
    places = await uow.catalog.lock_stores({group.store_id for group in groups})
    if len(places) != len({group.store_id for group in groups}):
        raise not_found("store")
    touched = await uow.catalog.save_groups(groups, places)
    locked = await uow.catalog.lock_listings({offer.listing_id for offer in offers} | touched.keys())
    if any(offer.listing_id not in locked for offer in offers):
        raise not_found("listing")
    changed = {*touched, *await uow.catalog.offer_groups(offers)}
    grown = [replace(listing, version=listing.version + 1) for id, listing in locked.items() if id in changed]
    await uow.catalog.change_listings(grown)
    causes = {offer.listing_id: offer.cause for offer in offers}
    by_store = {group.store_id: group.cause for group in groups}
    causes |= {id: by_store.get(store_id, "") for id, store_id in touched.items() if id not in causes}
    await uow.events.add(*map(ListingChanged, grown), causes=_known(causes))


async def deactivate_missing(
    store_id: UUID,
    keep: Collection[UUID],
    updated_before: datetime,
    uow: "UnitOfWork",
    *,
    among: Collection[UUID] | None = None,
    cause: str = "",
) -> list[UUID]:
    """Sold no more: the store's active listings besides those kept, and besides what was told of since `updated_before`.

    With `among`: of these alone. Returns which. Safe to repeat.
    """
    await uow.catalog.lock_merchants_of([store_id], ())
    gone = await uow.catalog.lock_not_among(store_id, keep, among, updated_before)
    off = [replace(listing, active=False, version=listing.version + 1) for listing in gone]
    await uow.catalog.change_listings(off)
    await uow.events.add(*map(ListingChanged, off), causes={listing.id: cause for listing in off} if cause else None)
    return [listing.id for listing in off]


def _known(causes: Mapping[UUID, str]) -> Mapping[UUID, str] | None:
    """Those that were told; the others have the cause of the work at hand."""
    return {id: cause for id, cause in causes.items() if cause} or None


# ---------------------------------------------------------------- by hand


async def set_price(command: SetPrice, actor: Actor, uow: "UnitOfWork") -> None:
    """For the merchant's managers and owners. An equal price changes nothing. Refuses NotFound, Forbidden, InvalidInput."""
    listing = (await uow.catalog.lock_listings([command.listing_id], actor)).get(command.listing_id)
    if listing is None:
        raise not_found("listing")
    await check_merchant_role(listing.merchant_id, actor, uow, MerchantRole.OWNER, MerchantRole.MANAGER)
    after = replace(listing, price_minor=command.price_minor)
    if problems := _price_problems(0, after):
        raise Refused(InvalidInput(f"price {problems[0].message}", (Problem("price", problems[0].message),)))
    if after == listing:
        return
    await apply_prices([PriceSet(listing.id, command.price_minor)], uow)
    detail = f"{Money(listing.price_minor, listing.currency).amount} → {Money(command.price_minor, listing.currency).amount}"
    await uow.audit.write(actor, "set price", listing.id, listing.merchant_id, detail)
