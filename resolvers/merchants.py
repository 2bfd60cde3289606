"""Stores as anybody sees them, and as their merchant does."""

from collections.abc import Sequence
from uuid import UUID

from db import merchants as rows
from db.merchants import StoreSearch
from db.pages import Page
from domain import merchants
from domain.events import Topic
from domain.merchants import Merchant, SetStoreStatus, Store
from domain.refusals import invalid, not_found
from resolvers.context import Context


async def stores(context: Context, search: StoreSearch, first: int | None, after: str | None) -> Page[Store]:
    """Refuses InvalidInput."""
    context.tags.all(Topic.STORE_STATUS)
    found = await rows.stores(context.reads, search, first, after)
    context.tags.stores(found.nodes)
    return found


async def store(context: Context, store_id: UUID | None, slug: str | None) -> Store | None:
    """By one of the two. One that was archived is not there any more. Refuses InvalidInput."""
    if (store_id is None) == (slug is None):
        raise invalid("id", "give an id or a slug")
    if store_id is not None:
        found = await store_by_id(context, store_id)
    else:
        context.tags.all(Topic.STORE_STATUS)
        found = await rows.store_by_slug(context.reads, slug or "")
        context.tags.stores([found] if found else ())
    return None if found is None or found.archived else found


async def store_by_id(context: Context, store_id: UUID) -> Store | None:
    """Archived or not: an order may still name it."""
    context.tags.of(store_id, Topic.STORE_STATUS)
    found = await context.loaders.stores.load(store_id)
    context.tags.stores([found] if found else ())
    return found


async def merchant(context: Context, merchant_id: UUID | None) -> Merchant:
    """The caller's. Refuses NotFound for another's, InvalidInput where none is named and the caller has not just one."""
    mine = await rows.own_merchants(context.reads, context.actor, merchant_id)
    if merchant_id is not None and not mine:
        raise not_found("merchant")
    if len(mine) != 1:
        raise invalid("id", "name one of your merchants" if mine else "you are no member of a merchant")
    return mine[0]


async def stores_of_merchant(context: Context, merchant_id: UUID) -> Sequence[Store]:
    return await rows.stores_of_merchant(context.reads, context.actor, merchant_id)


async def set_store_status(context: Context, command: SetStoreStatus) -> Store:
    """Refuses NotFound, Forbidden, InvalidInput."""
    async with context.unit_of_work() as uow:
        await merchants.set_store_status(command, context.actor, uow)
    [changed] = await rows.stores_by_id(context.reads, [command.store_id])  # after the commit: the answer is what stands
    return changed
