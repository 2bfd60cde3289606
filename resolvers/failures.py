"""What sources sent, and what went wrong with it."""

from collections.abc import Sequence
from uuid import UUID

from db import failures as rows
from db.failure_groups import FailureGroup, failure_groups
from db.failures import Instruction, Payload
from db.pages import Page
from domain import failures
from domain.bodies import BodyLost
from domain.failures import Failure, FailureFilter, ResolveFailure
from domain.refusals import Refused
from resolvers.context import Context


async def failures_page(context: Context, which: FailureFilter, first: int | None, after: str | None) -> Page[Failure]:
    return await rows.failures(context.reads, context.actor, which, first, after)


async def failure_groups_page(context: Context, which: FailureFilter, first: int | None, after: str | None) -> Page[FailureGroup]:
    return await failure_groups(context.reads, context.actor, which, first, after)


async def payload(context: Context, payload_id: UUID) -> Payload | None:
    return await context.loaders.intake_payloads.load(payload_id)


async def shown(context: Context, payload: Payload) -> str:
    """The beginning of its body. What cannot be read now is told in its place: the rest of the answer is worth having."""
    stored = payload.stored
    try:
        body = await context.ports.bodies.beginning(stored, rows.BODY_SHOWN)
    except Refused:
        return f"({stored.size} bytes, which the blob store does not give just now)"
    except BodyLost as lost:
        return f"({stored.size} bytes; {lost})"
    if stored.size and not body:
        return f"({stored.size} bytes, which are kept no more)"
    text = body.decode("utf-8", "replace").replace("\0", "␀")
    beyond = stored.size - len(body)
    return f"{text}\n… {beyond} bytes more" if beyond else text


async def instructions(context: Context, payload_id: UUID, first: int | None, after: str | None) -> Page[Instruction]:
    return await rows.instructions(context.reads, context.actor, payload_id, first, after)


async def replay(context: Context, ids: Sequence[UUID]) -> Sequence[Failure]:
    """Refuses NotFound, Conflict, InvalidInput."""
    async with context.unit_of_work() as uow:
        await failures.replay_failures(ids, context.actor, uow)
    return await _failures(context, ids)


async def resolve(context: Context, command: ResolveFailure) -> Failure:
    """Refuses NotFound, InvalidInput."""
    async with context.unit_of_work() as uow:
        await failures.resolve_failure(command, context.actor, uow)
    return (await _failures(context, [command.id]))[0]


async def _failures(context: Context, ids: Sequence[UUID]) -> Sequence[Failure]:
    """In the order asked for."""
    found = {failure.id: failure for failure in await rows.failures_by_id(context.reads, context.actor, ids)}
    return [found[id] for id in dict.fromkeys(ids) if id in found]
