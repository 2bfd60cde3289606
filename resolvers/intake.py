"""Sources, what they sent, and what went wrong with it."""

from collections.abc import Sequence
from io import BytesIO
from uuid import UUID

from db import failures as rows
from db import sources
from db.failure_groups import FailureGroup, failure_groups
from db.failures import Instruction, Payload
from db.pages import Page
from db.sources import Source
from db.unmapped import Unmapped, unmapped
from domain import failures, mapping_files
from domain.bodies import BodyLost
from domain.failures import Failure, ResolveFailure, Seen
from domain.intake import EntityKind
from domain.mapping_files import Report
from domain.refusals import Refused
from domain.sources import MapExternalId, map_external_id
from domain.suggestions import Suggestion
from resolvers.context import Context


async def sources_of(context: Context, merchant_id: UUID | None, provider: str | None = None) -> Sequence[Source]:
    return await sources.sources(context.reads, context.actor, merchant_id, provider)


async def failures_page(context: Context, which: Seen, first: int | None, after: str | None) -> Page[Failure]:
    return await rows.failures(context.reads, context.actor, which, first, after)


async def failure_groups_page(context: Context, which: Seen, first: int | None, after: str | None) -> Page[FailureGroup]:
    return await failure_groups(context.reads, context.actor, which, first, after)


async def unmapped_page(
    context: Context, merchant_id: UUID, source_id: UUID | None, kind: EntityKind | None, first: int | None, after: str | None
) -> Page[Unmapped]:
    return await unmapped(context.reads, context.actor, merchant_id, source_id, kind, first, after)


async def suggestions(context: Context, row: Unmapped) -> Sequence[Suggestion]:
    found = await context.loaders.suggested.load(row.key)
    return found.suggestions if found else ()


async def told_name(context: Context, row: Unmapped) -> str | None:
    found = await context.loaders.suggested.load(row.key)
    return found.name if found else None


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


async def map_id(context: Context, command: MapExternalId) -> bool:
    """Refuses NotFound, InvalidInput."""
    async with context.unit_of_work() as uow:
        await map_external_id(command, context.actor, uow)
    return True


async def map_file(context: Context, source_id: UUID, csv: str) -> Report:
    """Refuses NotFound, InvalidInput."""
    return await mapping_files.map_file(
        source_id, BytesIO(csv.encode("utf-8", "surrogatepass")), context.actor, context.unit_of_work
    )


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
