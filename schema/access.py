"""Where sources are asked that do not tell by themselves, and where they are told of orders."""

from typing import TYPE_CHECKING, Annotated

import strawberry

from db import sources
from domain.access import SetSourceAccess
from domain.identity import Role
from resolvers import access as resolve
from schema.roots import ID, Allow, Info, key

if TYPE_CHECKING:
    from schema.sources import Source


@strawberry.input
class CredentialInput:
    name: str = strawberry.field(description="As the provider's page has it: `username`, `ApiKey`")
    value: str


@strawberry.type
class Mutation:
    @strawberry.mutation(
        graphql_type=Annotated["Source", strawberry.lazy("schema.sources")], extensions=[Allow(Role.MERCHANT, Role.SUPPORT)]
    )
    async def set_source_access(
        self, info: Info, source_id: ID, base_url: str, credentials: list[CredentialInput]
    ) -> sources.Source:
        """Where the partner's own API is, and with what it is asked for what changed, or told of orders. Nobody reads it again."""
        told = {one.name: one.value for one in credentials}
        return await resolve.set_access(info.context, SetSourceAccess(key(source_id, "sourceId"), base_url, told))
