"""The catalogue as anybody reads it, and a price set by hand."""

from collections.abc import Sequence
from uuid import UUID

from db import catalog as rows
from db.catalog import Facet, ListingFilter, ListingRow
from db.pages import Page
from domain import listings as selling
from domain.catalog import ListingSort
from domain.events import Topic
from domain.listings import SetPrice
from domain.merchants import Store
from domain.places import Point
from resolvers.context import Context


async def categories(context: Context, parent_id: UUID | None) -> Sequence[rows.CategoryRow]:
    context.tags.all(Topic.CATALOG)
    return await rows.categories(context.reads, parent_id)


async def categories_of_store(context: Context, store: Store) -> Sequence[rows.CategoryRow]:
    """Those in which it has something to sell."""
    context.tags.of(store.id, Topic.CATALOG)
    context.tags.of(store.merchant_id, Topic.CATALOG)
    return await context.loaders.categories_of_store.load(store.id)


async def listing(context: Context, listing_id: UUID) -> ListingRow | None:
    context.tags.of(listing_id, Topic.CATALOG)
    found = await rows.listing_on_sale(context.reads, listing_id)
    if found is not None:
        context.tags.listings([found])
    return found


async def siblings(context: Context, listing: ListingRow) -> Sequence[ListingRow]:
    """The same product's other variants in the same store."""
    context.tags.of(listing.product.id, Topic.CATALOG, Topic.PRICING)
    found = await context.loaders.siblings.load(listing.id)
    context.tags.listings(found)
    return found


async def listings(
    context: Context, store: Store, asked: ListingFilter, sort: ListingSort, first: int | None, after: str | None
) -> Page[ListingRow]:
    """Refuses InvalidInput."""
    context.tags.of(store.id, Topic.CATALOG, Topic.PRICING)
    context.tags.of(store.merchant_id, Topic.CATALOG)
    if asked.in_stock is not None:
        context.tags.of(store.id, Topic.INVENTORY)
    found = await rows.listings(context.reads, store.id, asked, sort, first, after)
    context.tags.listings(found.nodes)
    return found


async def search(
    context: Context, text: str, near: Point | None, asked: ListingFilter, first: int | None, after: str | None
) -> Page[ListingRow]:
    """Refuses InvalidInput."""
    context.tags.all(Topic.CATALOG, Topic.PRICING, Topic.STORE_STATUS)
    if asked.in_stock is not None:
        context.tags.all(Topic.INVENTORY)
    found = await rows.search(context.reads, text, near, asked, first, after)
    context.tags.listings(found.nodes)
    return found


async def facets(context: Context, page: Page[ListingRow]) -> Sequence[Facet]:
    return await rows.facets(context.reads, page)


async def set_price(context: Context, command: SetPrice) -> ListingRow:
    """Refuses NotFound, Forbidden, InvalidInput."""
    async with context.unit_of_work() as uow:
        await selling.set_price(command, context.actor, uow)
    [changed] = await rows.listings_by_id(context.reads, [command.listing_id])  # after the commit: the answer is what stands
    return changed
