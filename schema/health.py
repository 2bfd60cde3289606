"""Whether a source speaks."""

from datetime import datetime
from typing import TYPE_CHECKING, Annotated

import strawberry

from db import health as rows
from db import sources
from domain.health import SetSourceSchedule, SourceState
from domain.identity import Role
from resolvers import health as resolve
from schema.roots import ID, Allow, Info, key

if TYPE_CHECKING:
    from schema.sources import Source

strawberry.enum(
    SourceState,
    description="NEW has never spoken. SILENT has not for longer than it ever should: its levels are stale. DISABLED may not",
)


@strawberry.type
class SourceHealth:
    state: SourceState
    last_seen_at: datetime | None
    silent_since: datetime | None = strawberry.field(description="The moment by which it should have spoken")
    expected_every_minutes: int | None = strawberry.field(description="Null: it speaks when it likes, and is never silent")
    lag_seconds: float = strawberry.field(
        description="For how long the oldest of what it said, and could be done by now, has been waiting"
    )

    @strawberry.field(description="Payloads it sent")
    @staticmethod
    async def received(root: rows.SourceHealth, info: Info) -> int:
        traffic = await info.context.loaders.traffic.load(root.source_id)
        return traffic.received if traffic else 0

    @strawberry.field(description="Of these, how many were refused or came to nothing")
    @staticmethod
    async def failed(root: rows.SourceHealth, info: Info) -> int:
        traffic = await info.context.loaders.traffic.load(root.source_id)
        return traffic.failed if traffic else 0


@strawberry.type
class Mutation:
    @strawberry.mutation(
        graphql_type=Annotated["Source", strawberry.lazy("schema.sources")], extensions=[Allow(Role.MERCHANT, Role.SUPPORT)]
    )
    async def set_source_schedule(self, info: Info, source_id: ID, expected_every_minutes: int | None) -> sources.Source:
        """How long it may be silent before it is told, from 1 minute to 30 days; null: for ever."""
        return await resolve.set_schedule(info.context, SetSourceSchedule(key(source_id, "sourceId"), expected_every_minutes))
