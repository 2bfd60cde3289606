"""Batches: all of them, what people decide about those that were held, and what is undone."""

from uuid import UUID

from db import batches as rows
from db import undos
from db.batches import Batch
from db.pages import Page
from db.undos import UndoLine
from domain.approval import RefuseBatch, approve_batch, refuse_batch
from domain.batches import BatchState
from domain.diffs import Diff
from domain.refusals import not_found
from domain.undos import LineState, Undo, undo_batch
from resolvers.context import Context


async def batches(
    context: Context, merchant_id: UUID | None, state: BatchState | None, first: int | None, after: str | None
) -> Page[Batch]:
    return await rows.batches(context.reads, context.actor, merchant_id, state, first, after)


async def batch(context: Context, id: UUID) -> Batch | None:
    return await rows.batch_by_id(context.reads, context.actor, id)


async def diff_of(context: Context, batch: Batch) -> Diff | None:
    """Of what waits for a decision: what has been decided is no question any more."""
    return await rows.diff_of(context.reads, batch) if batch.state is BatchState.PARKED else None


async def approve(context: Context, id: UUID) -> Batch:
    """Refuses NotFound, Conflict."""
    async with context.unit_of_work() as uow:
        await approve_batch(id, context.actor, uow)
    return await _found(context, id)


async def refuse(context: Context, command: RefuseBatch) -> Batch:
    """Refuses InvalidInput, NotFound, Conflict."""
    async with context.unit_of_work() as uow:
        await refuse_batch(command, context.actor, uow)
    return await _found(context, command.payload_id)


async def undo(context: Context, id: UUID) -> Batch:
    """Refuses NotFound, Conflict."""
    async with context.unit_of_work() as uow:
        await undo_batch(id, uow.new_id(), context.actor, uow)
    return await _found(context, id)


async def undo_lines(context: Context, undo: Undo, state: LineState | None, first: int | None, after: str | None) -> Page[UndoLine]:
    return await undos.undo_lines(context.reads, context.actor, undo.id, state, first, after)


async def _found(context: Context, id: UUID) -> Batch:
    found = await batch(context, id)
    if found is None:
        raise not_found("batch")
    return found
