"""The customer's cart."""

from collections.abc import Sequence

from db import cart as rows
from domain import cart
from resolvers.context import Context


async def cart_of(context: Context) -> rows.CartRow:
    return await rows.cart_of(context.reads, context.actor)


async def update_lines(context: Context, changes: Sequence[cart.LineChange]) -> rows.CartRow:
    """Refuses InvalidInput, NotFound."""
    async with context.unit_of_work() as uow:
        await cart.update_lines(changes, context.actor, uow)
    return await cart_of(context)
