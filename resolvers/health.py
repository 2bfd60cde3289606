"""Whether sources speak, and how often they should."""

from db import sources
from db.health import SourceHealth
from db.sources import Source
from domain.health import SetSourceSchedule, set_source_schedule
from resolvers.context import Context


async def health(context: Context, source: Source) -> SourceHealth | None:
    return await context.loaders.source_health.load(source.id)


async def set_schedule(context: Context, command: SetSourceSchedule) -> Source:
    """Refuses NotFound, InvalidInput."""
    async with context.unit_of_work() as uow:
        await set_source_schedule(command, context.actor, uow)
    [source] = await sources.sources_by_id(context.reads, context.actor, [command.source_id])
    return source
