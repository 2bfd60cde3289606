"""The catalogue as anybody reads it, and a price set by hand."""

from collections.abc import Sequence
from uuid import UUID

from db import catalog as rows
from db.catalog import Facet, ListingFilter, ListingRow
from db.pages import Page
from domain import listings as selling
from domain.catalog import ListingSort
from domain.listings import SetPrice
from domain.places import Point
from resolvers.context import Context


async def categories(context: Context, parent_id: UUID | None) -> Sequence[rows.CategoryRow]:
    return await rows.categories(context.reads, parent_id)


async def listing(context: Context, listing_id: UUID) -> ListingRow | None:
    return await rows.listing_on_sale(context.reads, listing_id)


async def listings(
    context: Context, store_id: UUID, asked: ListingFilter, sort: ListingSort, first: int | None, after: str | None
) -> Page[ListingRow]:
    """Refuses InvalidInput."""
    return await rows.listings(context.reads, store_id, asked, sort, first, after)


async def search(
    context: Context, text: str, near: Point | None, asked: ListingFilter, first: int | None, after: str | None
) -> Page[ListingRow]:
    """Refuses InvalidInput."""
    return await rows.search(context.reads, text, near, asked, first, after)


async def facets(context: Context, page: Page[ListingRow]) -> Sequence[Facet]:
    return await rows.facets(context.reads, page)


async def set_price(context: Context, command: SetPrice) -> ListingRow:
    """Refuses NotFound, Forbidden, InvalidInput."""
    async with context.unit_of_work() as uow:
        await selling.set_price(command, context.actor, uow)
    [changed] = await rows.listings_by_id(context.reads, [command.listing_id])  # after the commit: the answer is what stands
    return changed
