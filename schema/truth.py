"""Who is believed about a store's counts, switches, prices and status; and what others claim."""

from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any

import strawberry

from db import truth as rows
from db.conflicts import ConflictFilter
from db.pages import Page
from domain import conflicts
from domain.conflicts import ConflictState
from domain.identity import Role
from domain.resolving import Resolution, ResolveConflict
from domain.truth import Field, Rule
from resolvers import truth as resolve
from schema.connections import Connection, Counted
from schema.roots import ID, Allow, Info, Node, given, key, of

if TYPE_CHECKING:
    from schema.catalog import Listing
    from schema.merchants import Store
    from schema.sources import Source

strawberry.enum(
    Field,
    name="TruthField",
    description="STOCK: counts. AVAILABILITY: on and off. PRICE: with MRP and packaging, not taxes. STATUS: of the store itself",
)
strawberry.enum(
    ConflictState,
    description="TAKEN: what was claimed was made so. SETTLED: they agree by now, or another rule leaves no room for it",
)
strawberry.enum(Resolution, name="ConflictResolution")
_STAFF = (Role.MERCHANT, Role.SUPPORT)
_Source = Annotated["Source", strawberry.lazy("schema.sources")]
_Store = Annotated["Store", strawberry.lazy("schema.merchants")]
_Listing = Annotated["Listing", strawberry.lazy("schema.catalog")]


@strawberry.type
class SourceOfTruth:
    """Who alone is believed about this field of what is the store's own. Where nobody is named everybody is believed, and the later
    word stands."""

    field: Field
    set_at: datetime

    @strawberry.field(graphql_type=_Store)
    @staticmethod
    async def store(root: rows.SourceOfTruth, info: Info) -> Any:
        return await info.context.loaders.stores.load(root.store_id)

    @strawberry.field(graphql_type=_Source, description="One of the provider `dashboard`: what people do by hand")
    @staticmethod
    async def source(root: rows.SourceOfTruth, info: Info) -> Any:
        return await info.context.loaders.sources.load(root.source_id)


@strawberry.input(description="A source, or the dashboard (what people do by hand); with neither, everybody is believed")
class SourceOfTruthInput:
    store_id: ID
    field: Field
    source_id: ID | None = strawberry.UNSET
    dashboard: bool = False

    def rule(self, index: int) -> Rule:
        """Refuses InvalidInput."""
        source = key(self.source_id, f"rules.{index}.sourceId") if self.source_id else None
        return Rule(key(self.store_id, f"rules.{index}.storeId"), self.field, source, self.dashboard)


@strawberry.type
class SourceConflict(Node):
    """What a source says of a field of which another is believed: it was not done. Said again, it is counted here."""

    is_type_of = of(conflicts.SourceConflict)
    field: Field
    state: ConflictState
    times: int = strawberry.field(description="How often it was said since it is open")
    first_at: datetime
    last_at: datetime

    @strawberry.field(description="As `12`, `off`, `99.00 INR, MRP 120.00`, `CLOSED until …`: the latest")
    @staticmethod
    def claimed(root: conflicts.SourceConflict) -> str:
        return conflicts.shown(root.field, root.claimed)

    @strawberry.field(description="What was so when it was said last")
    @staticmethod
    def stands(root: conflicts.SourceConflict) -> str:
        return conflicts.shown(root.field, root.stands)

    @strawberry.field(graphql_type=_Store)
    @staticmethod
    async def store(root: conflicts.SourceConflict, info: Info) -> Any:
        return await info.context.loaders.stores.load(root.store_id)

    @strawberry.field(graphql_type=_Listing | None, description="None of a store's status")
    @staticmethod
    async def listing(root: conflicts.SourceConflict, info: Info) -> Any:
        return None if root.field is Field.STATUS else await info.context.loaders.listings.load(root.entity_id)

    @strawberry.field(graphql_type=_Source, description="Who says so")
    @staticmethod
    async def source(root: conflicts.SourceConflict, info: Info) -> Any:
        return await info.context.loaders.sources.load(root.source_id)

    @strawberry.field(graphql_type=_Source, description="Who is believed")
    @staticmethod
    async def owner(root: conflicts.SourceConflict, info: Info) -> Any:
        return await info.context.loaders.sources.load(root.owner_id)


@strawberry.type
class SourceConflictConnection(Connection[SourceConflict], Counted): ...


@strawberry.type
class SupportTruth:
    """What `Support` has of it."""

    @strawberry.field(
        graphql_type=SourceConflictConnection,
        description="The newest first; with a state that is null whatever became of it",
    )
    @staticmethod
    async def conflicts(
        info: Info,
        merchant_id: ID | None = strawberry.UNSET,
        store_id: ID | None = strawberry.UNSET,
        source_id: ID | None = strawberry.UNSET,
        field: Field | None = strawberry.UNSET,
        state: ConflictState | None = ConflictState.OPEN,
        first: int | None = 20,
        after: str | None = strawberry.UNSET,
    ) -> Page[Any]:
        which = ConflictFilter(
            key(merchant_id, "merchantId") if merchant_id else None,
            key(store_id, "storeId") if store_id else None,
            key(source_id, "sourceId") if source_id else None,
            given(field),
            state,
        )
        return await resolve.conflicts(info.context, which, first, given(after))


@strawberry.type
class Mutation:
    @strawberry.mutation(graphql_type=list[SourceOfTruth], extensions=[Allow(*_STAFF)])
    async def set_sources_of_truth(
        self, info: Info, merchant_id: ID, rules: list[SourceOfTruthInput]
    ) -> Sequence[rows.SourceOfTruth]:
        """For owners, managers and support; all or none. What others say from then on is not done, but listed as conflicts; what
        they say of goods that came or went is done all the same. Returns the rules of these stores."""
        told = [rule.rule(index) for index, rule in enumerate(rules)]
        return await resolve.set_rules(info.context, key(merchant_id, "merchantId"), told)

    @strawberry.mutation(graphql_type=SourceConflict, extensions=[Allow(*_STAFF)])
    async def resolve_conflict(self, info: Info, id: ID, resolution: Resolution) -> conflicts.SourceConflict:
        """For owners, managers and support. TAKE_THEIRS makes what is claimed so, until who is believed speaks again. DISMISS lets
        it be while the same is claimed."""
        return await resolve.resolve(info.context, ResolveConflict(key(id), resolution))
