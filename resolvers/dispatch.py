"""Offers: a rider's answers."""

from collections.abc import Sequence
from uuid import UUID

from db import dispatch as rows
from domain import dispatch
from domain.orders import ReasonCode
from domain.refusals import not_found
from resolvers.context import Context


async def open_offers(context: Context) -> Sequence[rows.OfferRow]:
    """The rider's own."""
    return await rows.open_offers(context.reads, context.actor, context.actor.id) if context.actor.id else ()


async def accept_offer(context: Context, offer_id: UUID) -> rows.OfferRow:
    """Refuses NotFound, OfferGone."""
    async with context.unit_of_work() as uow:
        await dispatch.accept_offer(offer_id, context.actor, uow)
    found = await rows.offers_by_id(context.reads, context.actor, [offer_id])
    if not found:
        raise not_found("offer")
    return found[0]


async def decline_offer(context: Context, offer_id: UUID, reason: ReasonCode) -> bool:
    """Refuses NotFound, Conflict."""
    async with context.unit_of_work() as uow:
        return await dispatch.decline_offer(offer_id, reason, context.actor, uow)
