"""Batches: what one payload says, looked at before it runs where it would do too much."""

from datetime import datetime
from typing import Any

import strawberry

from db import batches as rows
from db import sources, undos
from db.pages import Page
from domain import diffs
from domain.approval import RefuseBatch
from domain.batches import BatchState
from domain.befores import Part
from domain.identity import Role
from domain.judgement import Rule
from domain.money import Money as Amount
from domain.undos import LineState, Undo, UndoState
from resolvers import batches as resolve
from schema.connections import Connection
from schema.failures import Payload
from schema.roots import ID, Allow, Info, Node, given, key, of
from schema.scalars import Money
from schema.sources import Source

strawberry.enum(
    BatchState, description="PARKED is held, and nobody has decided yet; DONE is all but what failed, or waits for a mapping"
)
strawberry.enum(
    Rule,
    name="BatchRule",
    description="Too many listings REMOVED, all of them EMPTIED, PRICES moved too far; UNKNOWN: what it would do cannot be told",
)
strawberry.enum(Part, name="BatchField", description="What is put back, or kept, as a whole: a PRICE with its MRP")
strawberry.enum(LineState, name="BatchUndoLineState")
strawberry.enum(UndoState, name="BatchUndoState")
_STAFF = (Role.MERCHANT, Role.SUPPORT)


@strawberry.type
class BatchHolding:
    """Why a batch was held, and what people decided."""

    rule: Rule
    percent: float | None = strawberry.field(description="What it would remove, empty, or move prices by")
    limit_percent: float | None = strawberry.field(description="How much of it runs unseen")
    message: str
    parked_at: datetime
    decided_at: datetime | None
    reason: str | None = strawberry.field(description="Of who refused it")

    @strawberry.field(description="Who decided: `merchant:0197…`, `support:0197…`")
    @staticmethod
    def decided_by(root: rows.Holding) -> str | None:
        return str(root.by) if root.by else None


@strawberry.type
class BatchChange:
    """What would become of one listing. What would stay as it is has no `…To`."""

    listing_id: ID
    store_id: ID
    name: str
    sku: str
    removed: bool = strawberry.field(description="Sold no more")
    returned: bool = strawberry.field(description="Sold again")
    stock_from: int | None = strawberry.field(description="Null where nobody has counted it")
    stock_to: int | None = strawberry.field(description="As it is told: sales it does not know of are taken off when it runs")
    available_from: bool
    available_to: bool | None

    @strawberry.field(graphql_type=Money)
    @staticmethod
    def price_from(root: diffs.Change) -> Amount:
        return Amount(root.price_from, root.currency)

    @strawberry.field(graphql_type=Money | None)
    @staticmethod
    def price_to(root: diffs.Change) -> Amount | None:
        return None if root.price_to is None else Amount(root.price_to, root.currency)


@strawberry.type
class BatchDiff:
    """What a batch would do by now. What others have said since is newer, and is not counted."""

    listings: int = strawberry.field(description="Of this source, that its stores sell now")
    removed: int
    returned: int
    added: int = strawberry.field(description="That its stores do not list yet")
    prices: int
    stocks: int
    emptied: int = strawberry.field(description="Of these, to nothing")
    switched_off: int
    switched_on: int

    @strawberry.field(graphql_type=Connection[BatchChange], description="Largest first: what is removed, then by how far it moves")
    @staticmethod
    def changes(root: diffs.Diff, first: int | None = 20, after: str | None = strawberry.UNSET) -> Page[diffs.Change]:
        return rows.changes_page(root, first, given(after))


@strawberry.type
class BatchUndoLine(Node):
    """One field of one thing that a batch has changed."""

    is_type_of = of(undos.UndoLine)
    field: Part
    entity_id: ID = strawberry.field(description="Of the listing, the product, the variant or the store; of ORDER its instruction")
    state: LineState
    reason: str | None = strawberry.field(description="Why it was kept as it is")
    changed_by: str | None = strawberry.field(description="Who changed it since: `merchant:0197…`, `source:0197…`, `quote:0197…`")
    changed_at: datetime | None


@strawberry.type
class BatchUndo(Node):
    """Works in the background; ask again to see how far it is. `total` grows until all that the batch has changed is listed."""

    is_type_of = of(Undo)
    state: UndoState
    total: int
    reverted: int
    kept: int = strawberry.field(description="Left as they are: somebody has changed them since, or they cannot be put back")
    started_at: datetime
    ended_at: datetime | None

    @strawberry.field(description="Who began it: `merchant:0197…`, `support:0197…`")
    @staticmethod
    def by(root: Undo) -> str:
        return str(root.by)

    @strawberry.field(graphql_type=Connection[BatchUndoLine], description="All, or those in one state")
    @staticmethod
    async def lines(
        root: Undo,
        info: Info,
        state: LineState | None = strawberry.UNSET,
        first: int | None = 20,
        after: str | None = strawberry.UNSET,
    ) -> Page[undos.UndoLine]:
        return await resolve.undo_lines(info.context, root, given(state), first, given(after))


@strawberry.type
class Batch(Node):
    """All that one payload says. `id` is the payload's."""

    is_type_of = of(rows.Batch)
    provider: str
    door: str
    received_at: datetime
    state: BatchState
    held: BatchHolding | None = strawberry.field(description="Null: it ran at once")
    undo: BatchUndo | None

    @strawberry.field(graphql_type=Source)
    @staticmethod
    async def source(root: rows.Batch, info: Info) -> sources.Source | None:
        return await info.context.loaders.sources.load(root.source_id)

    @strawberry.field(graphql_type=Payload)
    @staticmethod
    async def payload(root: rows.Batch, info: Info) -> Any:
        return await info.context.loaders.intake_payloads.load(root.id)

    @strawberry.field(description="How many instructions it has")
    @staticmethod
    async def size(root: rows.Batch, info: Info) -> int:
        return await info.context.loaders.batch_sizes.load(root.id) or 0

    @strawberry.field(graphql_type=BatchDiff | None, description="While it is PARKED: against what is so now")
    @staticmethod
    async def diff(root: rows.Batch, info: Info) -> diffs.Diff | None:
        return await resolve.diff_of(info.context, root)


@strawberry.type
class Query:
    @strawberry.field(graphql_type=Batch | None, extensions=[Allow(*_STAFF)])
    async def batch(self, info: Info, id: ID) -> rows.Batch | None:
        """By its payload's id."""
        return await resolve.batch(info.context, key(id))

    @strawberry.field(graphql_type=Connection[Batch], extensions=[Allow(*_STAFF)])
    async def batches(
        self,
        info: Info,
        merchant_id: ID | None = strawberry.UNSET,
        state: BatchState | None = strawberry.UNSET,
        first: int | None = 20,
        after: str | None = strawberry.UNSET,
    ) -> Page[rows.Batch]:
        """Newest first: of the merchants whose sources the caller looks after."""
        merchant = key(merchant_id, "merchantId") if merchant_id else None
        return await resolve.batches(info.context, merchant, given(state), first, given(after))


@strawberry.type
class Mutation:
    @strawberry.mutation(graphql_type=Batch, extensions=[Allow(*_STAFF)])
    async def approve_batch(self, info: Info, id: ID) -> rows.Batch:
        """A parked batch runs, in order. What was said since it came is newer, and stays."""
        return await resolve.approve(info.context, key(id))

    @strawberry.mutation(graphql_type=Batch, extensions=[Allow(*_STAFF)])
    async def refuse_batch(self, info: Info, id: ID, reason: str) -> rows.Batch:
        """None of a parked batch is ever carried out."""
        return await resolve.refuse(info.context, RefuseBatch(key(id), reason))

    @strawberry.mutation(graphql_type=Batch, extensions=[Allow(*_STAFF)])
    async def undo_batch(self, info: Info, id: ID) -> rows.Batch:
        """What a batch has changed, and nobody has since, is put back in the background. One that runs goes on."""
        return await resolve.undo(info.context, key(id))
