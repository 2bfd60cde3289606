"""Failures tried again in the background."""

from uuid import UUID

from db import replays as rows
from db.pages import Page
from domain.failures import FailureFilter
from domain.refusals import not_found
from domain.replays import Replay, cancel_replay, start_replay
from resolvers.context import Context


async def replays(context: Context, merchant_id: UUID | None, first: int | None, after: str | None) -> Page[Replay]:
    return await rows.replays(context.reads, context.actor, merchant_id, first, after)


async def replay(context: Context, id: UUID) -> Replay | None:
    return await rows.replay_by_id(context.reads, context.actor, id)


async def start(context: Context, which: FailureFilter) -> Replay:
    """Refuses InvalidInput, NotFound, Forbidden, Conflict."""
    async with context.unit_of_work() as uow:
        id = await start_replay(which, context.actor, uow)
    return await _found(context, id)


async def cancel(context: Context, id: UUID) -> Replay:
    """Refuses NotFound."""
    async with context.unit_of_work() as uow:
        await cancel_replay(id, context.actor, uow)
    return await _found(context, id)


async def _found(context: Context, id: UUID) -> Replay:
    found = await replay(context, id)
    if found is None:
        raise not_found("replay")
    return found
