"""What sources speak of and nobody has mapped, what of ours it may be, and mapping it."""

from collections.abc import Sequence
from datetime import datetime

import strawberry

from db import mappings as rows
from db import sources
from domain import mapping_files
from domain.identity import Role
from domain.intake import EntityKind
from domain.mappings import MapExternalId
from domain.suggestions import MatchReason, Suggestion
from resolvers import mappings as resolve
from schema.connections import Connection, Counted
from schema.profiles import Problem
from schema.roots import ID, Allow, Info, key
from schema.sources import Source

strawberry.enum(MatchReason, description="BARCODE and SKU are the same one, NAME is a like one")


@strawberry.type
class MappingSuggestion:
    """One of ours that it may be. Nothing is mapped by it: say so with mapExternalId."""

    id: ID
    name: str
    sku: str | None = strawberry.field(description="Of a choice its id on the menu")
    barcode: str | None
    reasons: list[MatchReason]
    score: float = strawberry.field(description="From 0 to 1. A barcode has 1, a SKU 0.95, a name 0.9 at most")


@strawberry.type
class Unmapped:
    """An id of a source that nobody has mapped."""

    kind: EntityKind
    external_id: str | None = strawberry.field(
        description="Null: the source names no store, and waits for whichever it is mapped to"
    )
    waiting: int = strawberry.field(description="Instructions that wait for it")
    since: datetime = strawberry.field(description="When the first of them came")

    @strawberry.field(graphql_type=Source)
    @staticmethod
    async def source(root: rows.Unmapped, info: Info) -> sources.Source | None:
        return await info.context.loaders.sources.load(root.source_id)

    @strawberry.field(description="What the source calls it, where it has said so")
    @staticmethod
    async def name(root: rows.Unmapped, info: Info) -> str | None:
        return await resolve.told_name(info.context, root)

    @strawberry.field(graphql_type=list[MappingSuggestion], description="Up to five, the likeliest first")
    @staticmethod
    async def suggestions(root: rows.Unmapped, info: Info) -> Sequence[Suggestion]:
        return await resolve.suggestions(info.context, root)


@strawberry.type
class UnmappedConnection(Connection[Unmapped], Counted): ...


@strawberry.type
class MappingReport:
    """What has become of the rows of a file of mappings."""

    rows: int
    mapped: int = strawberry.field(description="That were not, or to another of ours")
    unchanged: int
    empty: int = strawberry.field(description="With nothing in `ours`")
    refused: int
    problems: list[Problem] = strawberry.field(description="Of `row 3.ours` and the like; the first 1,000")

    @strawberry.field(description="Problems beyond those that are told")
    @staticmethod
    def problems_left_out(root: mapping_files.Report) -> int:
        return root.beyond


@strawberry.type
class Mutation:
    @strawberry.mutation(extensions=[Allow(Role.MERCHANT, Role.SUPPORT)])
    async def map_external_id(self, info: Info, source_id: ID, kind: EntityKind, external_id: str, id: ID) -> bool:
        """What waited for it runs by itself, in order."""
        return await resolve.map_id(info.context, MapExternalId(key(source_id, "sourceId"), kind, external_id, key(id)))

    @strawberry.mutation(graphql_type=MappingReport, extensions=[Allow(Role.MERCHANT, Role.SUPPORT)])
    async def map_external_ids(self, info: Info, source_id: ID, csv: str) -> mapping_files.Report:
        """As mapExternalId does, a row each: the columns kind, external_id and ours (an id; of a variant a SKU or a barcode, of a
        store its slug, of a category its path). A row that is wrong keeps no other from being mapped, and the same text again
        changes nothing."""
        return await resolve.map_file(info.context, key(source_id, "sourceId"), csv)
