"""Profiles: how a merchant says what another system's JSON means."""

import json
from datetime import datetime
from typing import Annotated, Any

import strawberry
from strawberry.scalars import JSON

from domain import profile_versions
from domain.identity import Role
from resolvers import profiles as resolve
from schema.roots import ID, Allow, Answers, Info, Refusal, given, key, of

_STAFF = (Role.MERCHANT, Role.SUPPORT)


@strawberry.type
class SourceProfile:
    """One version of what a source's payloads are read by. It stays as it was saved."""

    is_type_of = of(profile_versions.SourceProfile)
    version: int = strawberry.field(description="0: the provider's own, where it has one")
    active: bool = strawberry.field(description="Whether payloads are read by it now")
    assumed: bool = strawberry.field(description="Whether nobody at the provider has confirmed it")
    name: str
    created_by: str = strawberry.field(description="As `merchant:0197…`; empty: of the provider's own")
    created_at: datetime | None = strawberry.field(description="Null: the provider's own")

    @strawberry.field(graphql_type=JSON, description="As it was said")
    @staticmethod
    def document(root: profile_versions.SourceProfile) -> Any:
        return json.loads(root.document)


@strawberry.type
class Problem:
    """What is wrong in one place: of a profile, as `profile.events[0].each`, or of a payload, as `$.items[3].price`."""

    path: str
    message: str


@strawberry.type
class ProfileInvalid(Refusal):
    """All that is wrong with it, at once."""

    is_type_of = of(profile_versions.ProfileInvalid)
    problems: list[Problem]


@strawberry.type
class DryRunCommand:
    """A canonical command as it would be kept."""

    kind: str
    entity: str = strawberry.field(description="What keeps its order, as `VARIANT:TEA-250@BLR_DS1`")
    fields: JSON = strawberry.field(description="Those that say something")


@strawberry.type
class DryRun:
    """What a payload would say by a profile. Nothing of it is kept."""

    total: int = strawberry.field(description="Commands")
    commands: list[DryRunCommand] = strawberry.field(description="The first 200")
    problems: list[Problem] = strawberry.field(description="What would be left out, and why; the first 500")
    event_id: str | None = strawberry.field(description="What makes it the same news as another payload. Null: its bytes")


SaveProfileResult = Annotated[SourceProfile | ProfileInvalid, strawberry.union("SaveProfileResult")]


@strawberry.type
class Mutation:
    @strawberry.mutation(graphql_type=SaveProfileResult, extensions=[Allow(*_STAFF), Answers()])
    async def save_profile(self, info: Info, source_id: ID, profile: JSON) -> profile_versions.SourceProfile:
        """Owners and managers, and support. A new version, which reads nothing until it is activated."""
        return await resolve.save(info.context, key(source_id, "sourceId"), profile)

    @strawberry.mutation(graphql_type=DryRun, extensions=[Allow(*_STAFF)])
    async def dry_run_profile(
        self,
        info: Info,
        source_id: ID,
        version: int,
        payload_id: ID | None = strawberry.UNSET,
        sample: str | None = strawberry.UNSET,
        door: str | None = strawberry.UNSET,
    ) -> resolve.DryRun:
        """On a payload that came, or on a sample as if it came to a door (the profile's first). Writes nothing."""
        payload = given(payload_id)
        tried = resolve.Sample(key(payload, "payloadId") if payload else None, given(sample), given(door))
        return await resolve.dry_run(info.context, key(source_id, "sourceId"), version, tried)

    @strawberry.mutation(graphql_type=SourceProfile, extensions=[Allow(*_STAFF)])
    async def activate_profile(self, info: Info, source_id: ID, version: int) -> profile_versions.SourceProfile:
        """From now on, within a second at every door. 0: back to the provider's own, where it has one."""
        return await resolve.activate(info.context, key(source_id, "sourceId"), version)
