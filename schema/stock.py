"""Stock, as customers see it, and as the merchant does."""

from collections.abc import AsyncIterator
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any

import strawberry

from db import ledger
from db.ledger import Discrepancy
from db.pages import Page
from domain import counting, stock
from domain.identity import Role
from resolvers import stock as resolve
from schema.connections import Connection
from schema.roots import ID, Allow, Info, Node, Shared, key, of
from subscriptions import stock as feeds

strawberry.enum(stock.StockState)
strawberry.enum(stock.StockMovementKind)


@strawberry.type
class StockLevel:
    listing_id: ID
    state: stock.StockState
    available: int | None = strawberry.field(
        description="Units a customer may take now; null when untracked or where the store hides counts. The same for all"
    )
    back_at: datetime | None = strawberry.field(description="When a snoozed listing returns, if known")
    stale: bool = strawberry.field(description="Its source has been silent for too long")
    version: int = strawberry.field(description="Grows by one with every change of the level")
    as_of: datetime


if TYPE_CHECKING:
    from schema.catalog import Listing
    from schema.sources import Source

_Listing = Annotated["Listing", strawberry.lazy("schema.catalog")]
_Source = Annotated["Source", strawberry.lazy("schema.sources")]


@strawberry.type
class StockMovement(Node):
    """One line of the ledger: the signed change of each of the three counters."""

    is_type_of = of(ledger.MovementRow)
    kind: stock.StockMovementKind
    on_hand: int
    held: int
    allocated: int
    cause: str
    at: datetime


@strawberry.type
class StockDetail(Node):
    """What the merchant sees beside it. Counts are null when untracked."""

    is_type_of = of(ledger.StockDetailRow)
    on_hand: int | None
    held: int | None
    allocated: int | None
    available: int | None
    version: int
    source: str = strawberry.field(description="Who said the count last")

    @strawberry.field(
        graphql_type=_Source | None,
        description="Whose price was set last: `dashboard` by hand. Owners' and managers'; null where none is known",
    )
    @staticmethod
    async def price_source(root: ledger.StockDetailRow, info: Info) -> Any:
        id = await info.context.loaders.price_sources.load(root.listing_id)
        return await info.context.loaders.sources.load(id) if id else None

    @strawberry.field(graphql_type=_Listing)
    @staticmethod
    async def listing(root: ledger.StockDetailRow, info: Info) -> Any:
        return await info.context.loaders.listings.load(root.listing_id)

    @strawberry.field(graphql_type=Connection[StockMovement])
    @staticmethod
    async def movements(
        root: ledger.StockDetailRow, info: Info, first: int | None = 20, after: str | None = strawberry.UNSET
    ) -> Page[ledger.MovementRow]:
        return await resolve.movements(info.context, root.listing_id, first, after or None)


@strawberry.type
class StockDiscrepancy:
    counter: str
    level: int
    ledger: int

    @strawberry.field(graphql_type=_Listing)
    @staticmethod
    async def listing(root: Discrepancy, info: Info) -> Any:
        return await info.context.loaders.listings.load(root.listing_id)


@strawberry.type
class StockFrame:
    """The latest value of each listing."""

    cursor: str
    reset: bool
    degraded: bool
    levels: list[StockLevel]


@strawberry.type
class Mutation:
    @strawberry.mutation(graphql_type=StockDetail, extensions=[Allow(Role.MERCHANT)])
    async def set_stock(
        self, info: Info, listing_id: ID, on_hand: int, if_version: int | None = strawberry.UNSET
    ) -> ledger.StockDetailRow:
        """A count taken now. With `ifVersion`: CONFLICT where the level has changed since it was read."""
        version = None if if_version is strawberry.UNSET else if_version
        return await resolve.set_stock(info.context, counting.SetStock(key(listing_id, "listingId"), on_hand, version))

    @strawberry.mutation(graphql_type=StockDetail, extensions=[Allow(Role.MERCHANT)])
    async def adjust_stock(self, info: Info, listing_id: ID, units: int, note: str, idempotency_key: str) -> ledger.StockDetailRow:
        """So many more, or fewer. Once for an idempotencyKey."""
        return await resolve.adjust_stock(
            info.context, counting.AdjustStock(key(listing_id, "listingId"), units, note, idempotency_key)
        )


@strawberry.type
class Subscription:
    @strawberry.subscription(graphql_type=StockFrame, extensions=[Allow(Role.PUBLIC), Shared()])
    async def stock(
        self, info: Info, store_id: ID, listing_ids: list[ID] | None = strawberry.UNSET, after: str | None = strawberry.UNSET
    ) -> AsyncIterator[feeds.StockFrame]:
        """At most 200 listingIds: their levels, then their changes. Without: an empty snapshot, then all of the store's.

        An empty list follows nothing.
        """
        asked = None if listing_ids is strawberry.UNSET else listing_ids
        ids = None if asked is None else [key(id, "listingIds") for id in asked]
        return feeds.stock(info.context, info.context.hub, key(store_id, "storeId"), ids, after or None)
