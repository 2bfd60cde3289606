"""Stock as the merchant sees and sets it, and the proof that it adds up."""

from collections.abc import Sequence
from uuid import UUID

from db import ledger as rows
from db.pages import Page
from domain import counting
from domain.refusals import not_found
from resolvers.context import Context


async def details(
    context: Context, store_id: UUID, text: str | None, first: int | None, after: str | None
) -> Page[rows.StockDetailRow]:
    return await rows.detail_page(context.reads, context.actor, store_id, text, first, after)


async def movements(context: Context, listing_id: UUID, first: int | None, after: str | None) -> Page[rows.MovementRow]:
    return await rows.movement_page(context.reads, context.actor, listing_id, first, after)


async def discrepancies(context: Context) -> Sequence[rows.Discrepancy]:
    return await rows.discrepancies(context.reads)


async def set_stock(context: Context, command: counting.SetStock) -> rows.StockDetailRow:
    """Refuses NotFound, InvalidInput, Conflict."""
    async with context.unit_of_work() as uow:
        await counting.set_stock(command, context.actor, uow)
    return await _detail(context, command.listing_id)


async def adjust_stock(context: Context, command: counting.AdjustStock) -> rows.StockDetailRow:
    """Refuses NotFound, InvalidInput, KeyReused."""
    async with context.unit_of_work() as uow:
        await counting.adjust_stock(command, context.actor, uow)
    return await _detail(context, command.listing_id)


async def _detail(context: Context, listing_id: UUID) -> rows.StockDetailRow:
    found = await rows.detail(context.reads, context.actor, listing_id)
    if found is None:
        raise not_found("listing")
    return found
