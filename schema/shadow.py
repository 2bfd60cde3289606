"""A changed profile, tried on what a source has sent."""

from datetime import datetime
from typing import Any

import strawberry
from strawberry.scalars import JSON

from db import failures as rows
from db.pages import Page
from domain.identity import Role
from resolvers import shadow as resolve
from schema.connections import Connection
from schema.failures import Payload
from schema.profiles import DryRunCommand
from schema.roots import ID, Allow, Info, given, key


@strawberry.type
class ShadowedField:
    name: str
    before: JSON | None
    after: JSON | None


@strawberry.type
class ShadowedCommand:
    """One that would be kept otherwise: of the same kind, about the same entity."""

    kind: str
    entity: str = strawberry.field(description="What keeps its order, as `VARIANT:TEA-250@BLR_DS1`")
    fields: list[ShadowedField] = strawberry.field(description="Those that would be other ones")


@strawberry.type
class ShadowedPayload:
    """What was kept of a payload, and what would be. Of each list the first 50."""

    kept: int = strawberry.field(description="Commands")
    differences: int = strawberry.field(description="All of them. 0: it would say what it said")
    added: list[DryRunCommand]
    gone: list[DryRunCommand]
    changed: list[ShadowedCommand]
    wrong: list[str] = strawberry.field(description="Problems that would come")
    right: list[str] = strawberry.field(description="Problems that would go")

    @strawberry.field(graphql_type=Payload)
    @staticmethod
    async def payload(root: resolve.ShadowedPayload, info: Info) -> rows.Payload | None:
        return await info.context.loaders.intake_payloads.load(root.payload_id)


@strawberry.type
class Query:
    @strawberry.field(graphql_type=Connection[ShadowedPayload], extensions=[Allow(Role.MERCHANT, Role.SUPPORT)])
    async def shadow_replay(
        self,
        info: Info,
        source_id: ID,
        profile: JSON,
        since: datetime | None = strawberry.UNSET,
        first: int | None = 20,
        after: str | None = strawberry.UNSET,
    ) -> Page[Any]:
        """What a source has sent, the newest first, read by another profile: the difference to what was kept, and nothing written.
        A page ends early where its payloads take long; go on from its cursor."""
        asked = resolve.Asked(key(source_id, "sourceId"), profile, given(since), first, given(after))
        return await resolve.shadow_replay(info.context, asked)
