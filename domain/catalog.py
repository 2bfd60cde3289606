"""What is sold: products and their variants. Where, and at what price, is listings.py; with what choices, choices.py.

What sources tell is absolute: the same again changes nothing, and `None` leaves what is there. Whoever applies several
kinds in one transaction does it in this order: products, variants, listings, choices, prices, what is missing.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import Enum
from typing import TYPE_CHECKING, Any, Protocol
from uuid import UUID

from domain.befores import Family, differences, instructed, remember
from domain.events import Event, Topic
from domain.pictures import addresses, copies_of, copyable
from domain.refusals import Problem, not_found, refuse

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
    copies: Sequence[str]  # by the place of each image the hash of our copy, or an empty text; nothing before the first

    @property
    def pictures(self) -> Sequence[str]:
        """What apps show."""
        return addresses(self.images, self.copies)


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

    async def category_paths(self, category_ids: Collection[UUID]) -> Mapping[UUID, tuple[str, ...]]: ...

    async def lock_products(self, product_ids: Collection[UUID]) -> Mapping[UUID, Product]: ...

    async def add_products(self, products: Sequence[Product]) -> None: ...

    async def change_products(self, products: Sequence[Product]) -> None:
        """Of products already locked. Their listings sort by the new name."""

    async def variants(self, variant_ids: Collection[UUID]) -> Mapping[UUID, Variant]: ...

    async def variants_by_sku(self, skus: Collection[tuple[UUID, str]]) -> Mapping[tuple[UUID, str], Variant]: ...

    async def add_variants(self, variants: Sequence[Variant]) -> None: ...

    async def change_variants(self, variants: Sequence[Variant]) -> None: ...


# ---------------------------------------------------------------- applying it


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
    await _with_copies(now, locked, uow)
    added = [product for id, product in now.items() if id not in locked]
    changed = [
        replace(product, version=product.version + 1) for id, product in now.items() if id in locked and product != locked[id]
    ]
    for product in changed:
        if instructed(cause := causes.get(product.id)):
            remember(uow, cause, differences(Family.PRODUCT, product.id, product.version, locked[product.id], product))
    await uow.catalog.add_products(added)
    await uow.catalog.change_products(changed)
    await uow.events.add(*(ProductChanged(product) for product in (*added, *changed)), causes=causes)
    return ids


async def _with_copies(now: dict[UUID, Product], before: Mapping[UUID, Product], uow: "UnitOfWork") -> None:
    """What has new images is shown with those of them that we have, and the others are to be copied."""
    anew = [product for id, product in now.items() if product.images != (before[id].images if id in before else ())]
    if anew:
        known = await uow.pictures.want({one.id: {url for url in one.images if copyable(url)} for one in anew})
        now |= {product.id: replace(product, copies=copies_of(product.images, known)) for product in anew}


SHOWN_AT_ONCE = 200


async def show_copy(url: str, hash: str, after: UUID, uow: "UnitOfWork") -> UUID | None:
    """Products that have this image show our copy of it, some at a time. Returns the last of them; None: there is none after."""
    ids = await uow.pictures.products(url, after, SHOWN_AT_ONCE)
    if not ids:
        return None
    changed = []
    for product in (await uow.catalog.lock_products(ids)).values():
        known = dict(zip(product.images, product.copies, strict=True)) if product.copies else {}
        copies = copies_of(product.images, known | {url: hash})
        if copies != product.copies:
            changed.append(replace(product, copies=copies, version=product.version + 1))
    await uow.catalog.change_products(changed)
    await uow.events.add(*map(ProductChanged, changed))
    return ids[-1]


def _product(item: UpsertedProduct, before: Product | None, category_id: UUID | None, uow: "UnitOfWork") -> Product:
    attributes = None if item.attributes is None else tuple(Attribute(*one) for one in sorted(item.attributes.items()))
    if before is None:
        return Product(
            uow.new_id(), item.merchant_id, item.kind, item.name, item.description or None, item.brand or None, category_id,
            item.diet, item.images or (), attributes or (), 1, (),
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
    locked, ids, problems, causes, told_by = dict(by_id), [], [], {}, {}
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
        causes[after.product_id] = told_by[after.id] = item.cause
        ids.append(after.id)
    refuse(problems)
    await uow.catalog.add_variants([variant for id, variant in by_id.items() if id not in locked])
    changed = [variant for id, variant in by_id.items() if id in locked and variant != locked[id]]
    for variant in changed:
        if instructed(cause := told_by.get(variant.id)):
            remember(uow, cause, differences(Family.VARIANT, variant.id, 0, locked[variant.id], variant))
    await _save_variants(changed, locked, products, causes, uow)
    return ids


async def _save_variants(
    changed: Sequence[Variant],
    before: Mapping[UUID, Variant],
    products: Mapping[UUID, Product],
    causes: Mapping[UUID, str],
    uow: "UnitOfWork",
) -> None:
    """A variant that changes is a change of its product, and of the one it has left. `products` are locked already."""
    await uow.catalog.change_variants(changed)
    touched = {variant.product_id for variant in changed} | {before[variant.id].product_id for variant in changed}
    grown = [
        replace(product, version=product.version + 1)
        for product in (await uow.catalog.lock_products(touched) if touched - products.keys() else products).values()
        if product.id in touched
    ]
    await uow.catalog.change_products(grown)
    await uow.events.add(*map(ProductChanged, grown), causes=causes)


# ---------------------------------------------------------------- as it was


async def put_back_products(values: Mapping[UUID, Mapping[str, Any]], cause: str, uow: "UnitOfWork") -> None:
    """So many attributes of each are as they were. Of products of merchants already locked."""
    locked = await uow.catalog.lock_products(values)
    now = {id: replace(product, **values[id], version=product.version + 1) for id, product in locked.items()}
    await _with_copies(now, locked, uow)
    await uow.catalog.change_products(list(now.values()))
    await uow.events.add(*map(ProductChanged, now.values()), causes=dict.fromkeys(now, cause))


async def put_back_variants(values: Mapping[UUID, Mapping[str, Any]], cause: str, uow: "UnitOfWork") -> None:
    """As put_back_products. Refuses InvalidInput for a SKU that is another variant's by now."""
    before = await uow.catalog.variants(values)
    now = [replace(variant, **values[id]) for id, variant in before.items()]
    namesakes = await uow.catalog.variants_by_sku({(variant.merchant_id, variant.sku) for variant in now})
    taken = [variant for variant in now if (other := namesakes.get((variant.merchant_id, variant.sku))) and other.id != variant.id]
    refuse([Problem("sku", f"{variant.sku} is another variant's") for variant in taken])
    touched = {variant.product_id for variant in (*now, *before.values())}
    products = await uow.catalog.lock_products(touched)
    await _save_variants(now, before, products, dict.fromkeys(touched, cause), uow)


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
