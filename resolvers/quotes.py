"""The customer's quote."""

from dataclasses import replace

from db import quotes as rows
from domain import addresses, quotes
from domain.limits import check_limit
from domain.refusals import not_found
from resolvers.context import Context


async def live_quote(context: Context) -> quotes.Quote | None:
    return await rows.live_quote(context.reads, context.actor)


async def quote_cart(context: Context, command: quotes.QuoteCart) -> quotes.Quote:
    """Refuses what domain.quotes.quote_cart refuses, and RateLimited: holds must not become a denial of stock."""
    if command.address is not None:
        command = replace(command, address=addresses.checked(command.address, context.ports.phones, "address"))
    await check_limit(context.ports.limits, "quote", str(context.actor.id))
    async with context.unit_of_work() as uow:
        quote_id = await quotes.quote_cart(command, context.actor, uow)
    quote = await rows.quote_by_id(context.reads, context.actor, quote_id)
    if quote is None:
        raise not_found("quote")
    return quote
