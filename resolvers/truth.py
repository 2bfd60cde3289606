"""Who is believed about what, and what is claimed by others."""

from collections.abc import Sequence
from uuid import UUID

from db import conflicts as claims
from db import truth as rows
from db.conflicts import ConflictFilter
from db.pages import Page
from db.truth import SourceOfTruth
from domain.conflicts import SourceConflict
from domain.refusals import not_found
from domain.resolving import ResolveConflict, resolve_conflict
from domain.truth import Rule, set_sources_of_truth
from resolvers.context import Context


async def sources_of_truth(context: Context, merchant_id: UUID, store_id: UUID | None = None) -> Sequence[SourceOfTruth]:
    return await rows.sources_of_truth(context.reads, context.actor, merchant_id, store_id)


async def set_rules(context: Context, merchant_id: UUID, rules: Sequence[Rule]) -> Sequence[SourceOfTruth]:
    """All of these stores, after it. Refuses NotFound, Forbidden, InvalidInput."""
    async with context.unit_of_work() as uow:
        await set_sources_of_truth(merchant_id, rules, context.actor, uow)
    asked = {rule.store_id for rule in rules}
    return [rule for rule in await sources_of_truth(context, merchant_id) if rule.store_id in asked]


async def conflicts(context: Context, which: ConflictFilter, first: int | None, after: str | None) -> Page[SourceConflict]:
    return await claims.conflict_page(context.reads, context.actor, which, first, after)


async def resolve(context: Context, command: ResolveConflict) -> SourceConflict:
    """Refuses NotFound, Conflict, InvalidInput."""
    async with context.unit_of_work() as uow:
        await resolve_conflict(command, context.actor, uow)
    found = await claims.conflict_by_id(context.reads, context.actor, command.id)
    if found is None:
        raise not_found("conflict")
    return found
