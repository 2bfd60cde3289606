"""What sources speak of and nobody has mapped, what of ours it may be, and mapping it."""

from collections.abc import Sequence
from io import BytesIO
from uuid import UUID

from db.mappings import Unmapped, unmapped
from db.pages import Page
from domain import mapping_files
from domain.intake import EntityKind
from domain.mapping_files import Report
from domain.mappings import MapExternalId, map_external_id
from domain.suggestions import Suggestion
from resolvers.context import Context


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
