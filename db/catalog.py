"""The catalogue as anybody reads it: categories, listings with their products and stock, search, facets."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, Integer, Row, Select, Subquery, and_, case, cast, func, literal, select, union_all
from sqlalchemy.orm import aliased

from db.arrays import in_ids
from db.merchants import NOW, around, distance_metres, open_at
from db.pages import By, Page, empty, page
from db.reads import Reads
from db.stock import AVAILABLE, COUNTERS
from db.tables import (
    category,
    listing,
    listing_modifier_group,
    modifier,
    modifier_group,
    product,
    stock_level,
    store,
    variant,
)
from db.words import asked as checked
from db.words import beginnings
from domain.catalog import Attribute, ListingSort, Product
from domain.money import Money
from domain.places import Point
from domain.stock import Counters, StockLevel

c, p, v, li, level = category.c, product.c, variant.c, listing.c, stock_level.c
PRODUCT = tuple(p[field.name] for field in fields(Product))  # in the order in which Product takes them
FACETS_LIMIT = 50
REACH_M = 100_000  # no store delivers farther


def to_product(row: Sequence[Any] | Row[*tuple[Any, ...]]) -> Product:
    id, merchant_id, kind, name, description, brand, category_id, diet, images, attributes, version, copies = row
    told = tuple(Attribute(key, attributes[key]) for key in sorted(attributes))
    return Product(id, merchant_id, kind, name, description, brand, category_id, diet, tuple(images), told, version, tuple(copies))


# ---------------------------------------------------------------- rows


@dataclass(frozen=True, slots=True)
class CategoryRow:
    id: UUID
    parent_id: UUID | None
    name: str
    path: Sequence[str]


@dataclass(frozen=True, slots=True)
class ListingRow:
    """With its product and its stock, read in the same moment."""

    id: UUID
    store_id: UUID
    merchant_id: UUID
    variant_id: UUID
    variant_name: str
    sku: str
    barcode: str | None
    price: Money
    mrp: Money | None
    active: bool
    version: int
    product: Product
    stock: StockLevel


@dataclass(frozen=True, slots=True)
class ModifierRow:
    id: UUID
    group_id: UUID
    name: str
    price: Money
    available: bool


@dataclass(frozen=True, slots=True)
class ModifierGroupRow:
    """A group as one listing offers it. `id` is the group's own."""

    id: UUID
    listing_id: UUID
    name: str
    min: int
    max: int
    options: Sequence[ModifierRow]


@dataclass(frozen=True, slots=True)
class FacetValue:
    value: str
    count: int


@dataclass(frozen=True, slots=True)
class Facet:
    name: str
    values: Sequence[FacetValue]


@dataclass(frozen=True, slots=True)
class ListingFilter:
    """All of it together. `in_stock` as StockLevel's state has it: false asks for what is out of stock."""

    text: str | None = None
    category_id: UUID | None = None  # and what is below it
    brand: str | None = None
    price_max_minor: int | None = None
    in_stock: bool | None = None


# ---------------------------------------------------------------- categories


def _category(row: Row[*tuple[Any, ...]]) -> CategoryRow:
    return CategoryRow(row.id, row.parent_id, row.name, row.path)


_CATEGORY = select(c.id, c.parent_id, c.name, c.path)


async def categories(reads: Reads, parent_id: UUID | None) -> list[CategoryRow]:
    """Those right below, or the roots, by name."""
    below = c.parent_id.is_(None) if parent_id is None else c.parent_id == parent_id
    return [_category(row) for row in await reads.rows(_CATEGORY.where(below).order_by(c.name, c.id))]


_CATEGORIES_BY_ID = _CATEGORY.where(in_ids(c.id))


async def categories_by_id(reads: Reads, category_ids: Sequence[UUID]) -> list[CategoryRow]:
    return [_category(row) for row in await reads.rows(_CATEGORIES_BY_ID, {"ids": category_ids})]


async def categories_of_stores(reads: Reads, store_ids: Sequence[UUID]) -> list[tuple[UUID, CategoryRow]]:
    """Those in which each store has something to sell, in the order of their paths."""
    sold = (
        select(li.store_id, p.category_id)
        .join(product, p.id == li.product_id)
        .where(li.store_id.in_(store_ids), li.active)
        .distinct()
        .subquery()
    )
    found = await reads.rows(_CATEGORY.add_columns(sold.c.store_id).join(sold, sold.c.category_id == c.id).order_by(c.path, c.id))
    return [(row.store_id, _category(row)) for row in found]


def _within(category_id: UUID) -> Select[tuple[UUID]]:
    """Ids of the category and of all below it."""
    top = aliased(category)
    return select(c.id).join(top, c.path[1 : func.cardinality(top.c.path)] == top.c.path).where(top.c.id == category_id)


# ---------------------------------------------------------------- listings

_OWN = (
    li.id,
    li.store_id,
    li.merchant_id,
    li.variant_id,
    v.name,
    v.sku,
    v.barcode,
    li.price_minor,
    li.mrp_minor,
    li.currency,
    li.active,
    li.version,
)
_WITH_PRODUCT = len(_OWN) + len(PRODUCT)
_WITH_COUNTERS = _WITH_PRODUCT + len(COUNTERS)
_FROM = (
    listing.join(variant, v.id == li.variant_id)
    .join(product, p.id == li.product_id)
    .join(stock_level, level.listing_id == li.id)  # every listing is made with one
)
_LISTING = select(*_OWN, *PRODUCT, *COUNTERS).select_from(_FROM)


def _listing(row: Row[*tuple[Any, ...]]) -> ListingRow:
    id, store_id, merchant_id, variant_id, name, sku, barcode, price, mrp, currency, active, version = row[: len(_OWN)]
    return ListingRow(
        id, store_id, merchant_id, variant_id, name, sku, barcode, Money(price, currency),
        None if mrp is None else Money(mrp, currency), active, version,
        to_product(row[len(_OWN) : _WITH_PRODUCT]), Counters(*row[_WITH_PRODUCT:_WITH_COUNTERS]).level,
    )  # fmt: skip


def _details(picked: Subquery) -> Select[Any]:
    return select(*_OWN, *PRODUCT, *COUNTERS).select_from(_FROM.join(picked, picked.c.id == li.id))


_me = aliased(listing)
_LISTINGS_BY_ID = _LISTING.where(in_ids(li.id))
_SIBLINGS = (
    _LISTING.add_columns(_me.c.id)
    .join(_me, and_(_me.c.store_id == li.store_id, _me.c.product_id == li.product_id, _me.c.id != li.id))
    .where(in_ids(_me.c.id), li.active)
    .order_by(v.rank, li.price_minor, li.id)
)


async def listings_by_id(reads: Reads, listing_ids: Sequence[UUID]) -> list[ListingRow]:
    """In no order; those that are sold no more, too: a cart or an order may still name them."""
    return [_listing(row) for row in await reads.rows(_LISTINGS_BY_ID, {"ids": listing_ids})]


async def siblings(reads: Reads, listing_ids: Sequence[UUID]) -> list[tuple[UUID, ListingRow]]:
    """The same product's other variants in the same store, smallest rank first."""
    found = await reads.rows(_SIBLINGS, {"ids": listing_ids})
    return [(row[-1], _listing(row)) for row in found]


async def listing_on_sale(reads: Reads, listing_id: UUID) -> ListingRow | None:
    found = await reads.rows(
        _LISTING.join(store, store.c.id == li.store_id).where(li.id == listing_id, li.active, store.c.archived_at.is_(None))
    )
    return _listing(found[0]) if found else None


_MODIFIER = select(
    modifier.c.id,
    modifier.c.group_id,
    modifier.c.name,
    modifier.c.price_minor,
    modifier.c.currency,
    (modifier.c.active & ~modifier.c.off).label("available"),
)


def _modifier(row: Row[*tuple[Any, ...]]) -> ModifierRow:
    return ModifierRow(row.id, row.group_id, row.name, Money(row.price_minor, row.currency), row.available)


async def modifiers_by_id(reads: Reads, modifier_ids: Sequence[UUID]) -> list[ModifierRow]:
    return [_modifier(row) for row in await reads.rows(_MODIFIER.where(modifier.c.id.in_(modifier_ids)))]


async def modifier_groups(reads: Reads, listing_ids: Sequence[UUID]) -> list[ModifierGroupRow]:
    """Of each listing in its order. What a group offers no more is left out; what is only off for now is not."""
    link = listing_modifier_group.c
    found = await reads.rows(
        select(link.listing_id, link.group_id, modifier_group.c.name, link.min, link.max)
        .join(modifier_group, modifier_group.c.id == link.group_id)
        .where(link.listing_id.in_(listing_ids))
        .order_by(link.rank, link.id)
    )
    if not found:
        return []
    options: dict[UUID, list[ModifierRow]] = {row.group_id: [] for row in found}
    offered = _MODIFIER.where(modifier.c.group_id.in_(options), modifier.c.active)
    for row in await reads.rows(offered.order_by(modifier.c.rank, modifier.c.id)):
        options[row.group_id].append(_modifier(row))
    return [ModifierGroupRow(row.group_id, row.listing_id, row.name, row.min, row.max, options[row.group_id]) for row in found]


# ---------------------------------------------------------------- pages of listings

IN_STOCK = and_(~level.off, case((level.tracked, AVAILABLE > 0), else_=True))  # as Counters.level: not OUT_OF_STOCK


def _rank(words: ColumnElement[Any]) -> ColumnElement[int]:
    """An integer, so that a cursor compares exactly. Less for what has many other words."""
    return cast(func.ts_rank(p.search, words, 1) * 1_000_000, Integer)


def _filtered(
    found: Select[Any], asked: ListingFilter, words: ColumnElement[Any] | None, merchant_id: ColumnElement[Any] | None = None
) -> Select[Any]:
    """What is left of it. The product is joined only where it is asked for: most pages are read from an index alone.

    With `merchant_id`, whose goods they all are: then no other merchant's need be looked at.
    """
    if words is not None or asked.category_id is not None or asked.brand is not None:
        found = found.join(product, p.id == li.product_id)
        if merchant_id is not None:
            found = found.where(p.merchant_id == merchant_id)
    if words is not None:
        found = found.where(p.search.op("@@")(words))
    if asked.category_id is not None:
        found = found.where(p.category_id.in_(_within(asked.category_id)))
    if asked.brand is not None:
        found = found.where(p.brand == checked(asked.brand, "filter.brand"))
    if asked.price_max_minor is not None:
        found = found.where(li.price_minor <= asked.price_max_minor)
    if asked.in_stock is not None:
        of_it = and_(level.listing_id == li.id, level.store_id == li.store_id)  # the store too: then its index will do
        found = found.join(stock_level, of_it).where(IN_STOCK if asked.in_stock else ~IN_STOCK)
    return found


_SORTS: dict[ListingSort, Sequence[By]] = {
    ListingSort.NAME: (By(li.name), By(li.id)),
    ListingSort.PRICE_ASC: (By(li.price_minor), By(li.id)),
    ListingSort.PRICE_DESC: (By(li.price_minor, descending=True), By(li.id, descending=True)),
    ListingSort.NEWEST: (By(li.id, descending=True),),  # an id tells when it was made
}


async def listings(
    reads: Reads, store_id: UUID, asked: ListingFilter, sort: ListingSort, first: int | None, after: str | None
) -> Page[ListingRow]:
    """What a store sells. RELEVANCE is by how well the text fits; without a text, by name. Refuses InvalidInput."""
    found = select(li.id).where(li.store_id == store_id, li.active)
    words = None
    if asked.text is not None and asked.text.strip():
        words = beginnings(asked.text, "filter.text")
        if words is None:
            return empty(found)
    owner = select(store.c.merchant_id).where(store.c.id == store_id).scalar_subquery()
    found = _filtered(found, asked, words, owner)
    if sort is not ListingSort.RELEVANCE:
        by = _SORTS[sort]
    elif words is None:
        sort, by = ListingSort.NAME, _SORTS[ListingSort.NAME]
    else:
        by = (By(_rank(words), descending=True), By(li.id))
    return await page(reads, found, by, _listing, first, after, sort.value, _details)


async def search(
    reads: Reads, text: str, near: Point | None, asked: ListingFilter, first: int | None, after: str | None
) -> Page[ListingRow]:
    """In all stores, the best fit first. With a point: where a store delivers there, open ones first, then the nearest.

    Refuses InvalidInput.
    """
    found = select(li.id).where(li.active)
    words = beginnings(f"{text} {asked.text or ''}", "text")
    if words is None:
        return empty(found)
    if near is None:
        found = found.join(store, store.c.id == li.store_id).where(store.c.archived_at.is_(None))
        by = [By(_rank(words), descending=True), By(li.id)]
    else:
        far = distance_metres(near)
        reach = (
            select(store.c.id, far.label("far"), case((open_at(NOW), 0), else_=1).label("closed"))
            .where(store.c.archived_at.is_(None), around(near, REACH_M), far <= store.c.radius_m)
            .cte("reach")
        )
        found = found.join(reach, reach.c.id == li.store_id)
        by = [By(reach.c.closed), By(reach.c.far), By(_rank(words), descending=True), By(li.id)]
    found = _filtered(found, asked, words)
    return await page(reads, found, by, _listing, first, after, "search" if near is None else "near", _details)


async def facets(reads: Reads, listings: Page[Any]) -> list[Facet]:
    """Of all that the page is one of: how many of each category and of each brand, the most frequent first."""
    whole = listings.whole.with_only_columns(li.product_id, maintain_column_froms=True).order_by(None).subquery()
    matching = select(p.category_id, p.brand).select_from(whole).join(product, p.id == whole.c.product_id).cte("matching")
    path, many = func.array_to_string(c.path, " / "), func.count().label("count")
    by_category = (
        select(literal("category").label("name"), path.label("value"), many)
        .select_from(matching)
        .join(category, c.id == matching.c.category_id)
        .group_by(c.path)
    )
    by_brand = select(literal("brand"), matching.c.brand, many).where(matching.c.brand.is_not(None)).group_by(matching.c.brand)
    tops = [one.order_by(many.desc(), one.selected_columns[1]).limit(FACETS_LIMIT).subquery() for one in (by_category, by_brand)]
    rows = await reads.rows(union_all(*(select(top) for top in tops)))
    return [_facet(name, rows) for name in ("category", "brand")]


def _facet(name: str, rows: Iterable[Row[*tuple[Any, ...]]]) -> Facet:
    values = [FacetValue(row[1], row[2]) for row in rows if row[0] == name]
    return Facet(name, sorted(values, key=lambda one: -one.count))
