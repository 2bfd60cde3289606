"""Stock, as customers see it, and as the merchant does."""

from collections.abc import AsyncIterator
from datetime import datetime

import strawberry

from domain import stock
from domain.identity import Role
from schema.roots import ID, Allow, Info, key
from subscriptions import stock as feeds

strawberry.enum(stock.StockState)
strawberry.enum(stock.StockMovementKind)


@strawberry.type
class StockLevel:
    listing_id: ID
    state: stock.StockState
    available: int | None = strawberry.field(
        description="Units a customer may take now; null when untracked or where the store hides counts. Never depends on the viewer"
    )
    back_at: datetime | None = strawberry.field(description="When a snoozed listing returns, if known")
    stale: bool = strawberry.field(description="Its source has been silent for too long")
    version: int = strawberry.field(description="Grows by one with every change of the level")
    as_of: datetime


@strawberry.type
class StockFrame:
    """The latest value of each listing."""

    cursor: str
    reset: bool
    degraded: bool
    levels: list[StockLevel]


@strawberry.type
class Subscription:
    @strawberry.subscription(graphql_type=StockFrame, extensions=[Allow(Role.PUBLIC)])
    async def stock(
        self, info: Info, store_id: ID, listing_ids: list[ID] | None = strawberry.UNSET, after: str | None = strawberry.UNSET
    ) -> AsyncIterator[feeds.StockFrame]:
        """At most 200 listingIds: their levels, then their changes. Without ids: an empty snapshot, then every change in the store."""
        ids = [key(id, "listingIds") for id in listing_ids] if listing_ids else None
        return feeds.stock(info.context, info.context.hub, key(store_id, "storeId"), ids, after or None)
