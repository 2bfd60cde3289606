"""Stores, for everybody; the merchant's door, and what a store says of itself."""

from collections.abc import AsyncIterator, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any

import strawberry

from db.catalog import CategoryRow, ListingRow
from db.conflicts import ConflictFilter
from db.merchants import StoreSearch
from db.orders import OrderFilter
from db.pages import Page
from domain import merchants
from domain.catalog import ListingSort
from domain.conflicts import ConflictState
from domain.identity import Role
from domain.intake import EntityKind, FailureKind, FailureState
from domain.merchants import SetStoreStatus, StoreStatus
from domain.orders import OrderStatus
from domain.truth import Field
from resolvers import catalog as selling
from resolvers import failures, mappings, sources, truth
from resolvers import merchants as resolve
from resolvers import orders as bought
from resolvers import stock as keeping
from schema.catalog import Category, ListingConnection, ListingFilter, listing_filter
from schema.connections import Connection
from schema.failures import FailureConnection, FailureGroupConnection, failure_filter
from schema.mappings import UnmappedConnection
from schema.roots import ID, Allow, Cached, Info, Node, Shared, given, key, of
from schema.scalars import Point, PointInput, point
from schema.sources import Source
from schema.stock import StockDetail
from schema.truth import SourceConflictConnection, SourceOfTruth
from subscriptions import merchants as feeds

if TYPE_CHECKING:
    from schema.orders import OrderConnection

strawberry.enum(StoreStatus)


@strawberry.type
class Store(Node):
    is_type_of = of(merchants.Store)
    slug: str
    name: str
    city: str
    location: Point
    status: StoreStatus = strawberry.field(description="CLOSED outside its hours, whatever the store says of itself")
    opens_at: datetime | None = strawberry.field(description="Of a closed one: when it takes orders next, if known")
    closes_at: datetime | None = strawberry.field(description="Of an open one: when its hours end, within two weeks")
    prep_minutes: int

    @strawberry.field
    @staticmethod
    def distance_metres(root: merchants.Store, from_: Annotated[PointInput, strawberry.argument(name="from")]) -> int:
        """Along the great circle."""
        return root.distance_metres(point(from_, "from"))

    @strawberry.field
    @staticmethod
    def delivers_to(root: merchants.Store, point_: Annotated[PointInput, strawberry.argument(name="point")]) -> bool:
        return root.delivers_to(point(point_, "point"))

    @strawberry.field(graphql_type=list[Category], description="Those in which it has something to sell")
    @staticmethod
    async def categories(root: merchants.Store, info: Info) -> Sequence[CategoryRow]:
        return await selling.categories_of_store(info.context, root)

    @strawberry.field(graphql_type=ListingConnection)
    @staticmethod
    async def listings(
        root: merchants.Store,
        info: Info,
        filter: ListingFilter | None = strawberry.UNSET,
        sort: ListingSort | None = ListingSort.RELEVANCE,
        first: int | None = 20,
        after: str | None = strawberry.UNSET,
    ) -> Page[ListingRow]:
        by = sort or ListingSort.RELEVANCE
        return await selling.listings(info.context, root, listing_filter(filter), by, first, given(after))


@strawberry.type
class StoreState:
    store_id: ID
    status: StoreStatus = strawberry.field(description="CLOSED outside its hours, whatever the store says of itself")
    is_open: bool = strawberry.field(description="Takes orders: OPEN or BUSY")
    opens_at: datetime | None = strawberry.field(description="Of a closed one: when it takes orders next, if known")
    closes_at: datetime | None = strawberry.field(description="Of an open one: when its hours end, within two weeks")
    until: datetime | None = strawberry.field(description="Of a status that ends by itself: from then on it says OPEN")
    version: int = strawberry.field(description="Grows by one with every change of the store's own word, and by the clock")
    as_of: datetime


@strawberry.type
class StoreStatusFrame:
    """The latest of each store."""

    cursor: str
    reset: bool
    degraded: bool
    statuses: list[StoreState]


@strawberry.type
class Merchant(Node):
    """The merchant's own door. A field of another noun reads through that noun's resolvers, its type is named lazily."""

    is_type_of = of(merchants.Merchant)
    name: str

    @strawberry.field(graphql_type=list[Store], description="Those the caller may act for")
    @staticmethod
    async def stores(root: merchants.Merchant, info: Info) -> Sequence[merchants.Store]:
        return await resolve.stores_of_merchant(info.context, root.id)

    @strawberry.field(graphql_type=Annotated["OrderConnection", strawberry.lazy("schema.orders")], description="Newest first")
    @staticmethod
    async def orders(
        root: merchants.Merchant,
        info: Info,
        store_id: ID | None = strawberry.UNSET,
        status: list[OrderStatus] | None = strawberry.UNSET,
        first: int | None = 20,
        after: str | None = strawberry.UNSET,
    ) -> Page[Any]:
        asked = OrderFilter(given(status), key(store_id, "storeId") if store_id else None, root.id)
        return await bought.orders(info.context, asked, first, given(after))

    @strawberry.field(graphql_type=Connection[StockDetail], description="`text` finds by name, SKU or barcode")
    @staticmethod
    async def stock(
        root: merchants.Merchant,
        info: Info,
        store_id: ID,
        text: str | None = strawberry.UNSET,
        first: int | None = 20,
        after: str | None = strawberry.UNSET,
    ) -> Page[Any]:
        return await keeping.details(info.context, key(store_id, "storeId"), given(text), first, given(after))

    @strawberry.field(
        graphql_type=list[Source],
        description="Owners' and managers'; a clerk sees none",
    )
    @staticmethod
    async def sources(root: merchants.Merchant, info: Info) -> Sequence[Any]:
        return await sources.sources_of(info.context, root.id)

    @strawberry.field(
        graphql_type=FailureConnection,
        description="Newest first. Owners' and managers'; a clerk sees none",
    )
    @staticmethod
    async def failures(
        root: merchants.Merchant,
        info: Info,
        state: FailureState | None = strawberry.UNSET,
        kind: FailureKind | None = strawberry.UNSET,
        first: int | None = 20,
        after: str | None = strawberry.UNSET,
        provider: str | None = strawberry.UNSET,
        store_id: ID | None = strawberry.UNSET,
        since: datetime | None = strawberry.UNSET,
        until: datetime | None = strawberry.UNSET,
        text: str | None = strawberry.UNSET,
        fingerprint: str | None = strawberry.UNSET,
    ) -> Page[Any]:
        which = failure_filter(root.id, provider, state, kind, store_id, since, until, text, fingerprint)
        return await failures.failures_page(info.context, which, first, given(after))

    @strawberry.field(
        graphql_type=FailureGroupConnection,
        description="What failed last first. With a state: where one is in it. Owners' and managers'; a clerk sees none",
    )
    @staticmethod
    async def failure_groups(
        root: merchants.Merchant,
        info: Info,
        provider: str | None = strawberry.UNSET,
        kind: FailureKind | None = strawberry.UNSET,
        state: FailureState | None = strawberry.UNSET,
        store_id: ID | None = strawberry.UNSET,
        since: datetime | None = strawberry.UNSET,
        until: datetime | None = strawberry.UNSET,
        text: str | None = strawberry.UNSET,
        first: int | None = 20,
        after: str | None = strawberry.UNSET,
    ) -> Page[Any]:
        which = failure_filter(root.id, provider, state, kind, store_id, since, until, text)
        return await failures.failure_groups_page(info.context, which, first, given(after))

    @strawberry.field(
        graphql_type=UnmappedConnection,
        description="Ids nobody has mapped, the most waited for first. Owners' and managers'; a clerk sees none",
    )
    @staticmethod
    async def unmapped(
        root: merchants.Merchant,
        info: Info,
        source_id: ID | None = strawberry.UNSET,
        kind: EntityKind | None = strawberry.UNSET,
        first: int | None = 20,
        after: str | None = strawberry.UNSET,
    ) -> Page[Any]:
        source = key(source_id, "sourceId") if source_id else None
        return await mappings.unmapped_page(info.context, root.id, source, given(kind), first, given(after))

    @strawberry.field(
        graphql_type=list[SourceOfTruth],
        description="Where one source alone is believed. Owners' and managers'; a clerk sees none",
    )
    @staticmethod
    async def sources_of_truth(root: merchants.Merchant, info: Info, store_id: ID | None = strawberry.UNSET) -> Sequence[Any]:
        return await truth.sources_of_truth(info.context, root.id, key(store_id, "storeId") if store_id else None)

    @strawberry.field(
        graphql_type=SourceConflictConnection,
        description=(
            "What sources say where others are believed, the newest first; with a state that is null whatever became of it."
            " Owners' and managers'; a clerk sees none"
        ),
    )
    @staticmethod
    async def conflicts(
        root: merchants.Merchant,
        info: Info,
        store_id: ID | None = strawberry.UNSET,
        source_id: ID | None = strawberry.UNSET,
        field: Field | None = strawberry.UNSET,
        state: ConflictState | None = ConflictState.OPEN,
        first: int | None = 20,
        after: str | None = strawberry.UNSET,
    ) -> Page[Any]:
        which = ConflictFilter(
            root.id,
            key(store_id, "storeId") if store_id else None,
            key(source_id, "sourceId") if source_id else None,
            given(field),
            state,
        )
        return await truth.conflicts(info.context, which, first, given(after))


@strawberry.type
class Query:
    @strawberry.field(graphql_type=Connection[Store], extensions=[Allow(Role.PUBLIC), Cached()])
    async def stores(
        self,
        info: Info,
        near: PointInput | None = strawberry.UNSET,
        open: bool | None = strawberry.UNSET,
        text: str | None = strawberry.UNSET,
        first: int | None = 20,
        after: str | None = strawberry.UNSET,
    ) -> Page[merchants.Store]:
        """With `near`: those within 50 km, the nearest first; else by name. `open`: those that take orders now, or do not."""
        search = StoreSearch(point(near, "near") if near else None, given(open), given(text))
        return await resolve.stores(info.context, search, first, given(after))

    @strawberry.field(graphql_type=Store | None, extensions=[Allow(Role.PUBLIC), Cached()])
    async def store(
        self, info: Info, id: ID | None = strawberry.UNSET, slug: str | None = strawberry.UNSET
    ) -> merchants.Store | None:
        """By one of the two."""
        return await resolve.store(info.context, key(id) if id else None, given(slug))

    @strawberry.field(graphql_type=Merchant, extensions=[Allow(Role.MERCHANT)])
    async def merchant(self, info: Info, id: ID | None = strawberry.UNSET) -> merchants.Merchant:
        """Without an id: the caller's only merchant, else INVALID_INPUT."""
        return await resolve.merchant(info.context, key(id) if id else None)


@strawberry.type
class Mutation:
    @strawberry.mutation(graphql_type=Store, extensions=[Allow(Role.MERCHANT)])
    async def set_store_status(
        self, info: Info, store_id: ID, status: StoreStatus, until: datetime | None = strawberry.UNSET
    ) -> merchants.Store:
        """What the store says of itself; with `until`, from then on OPEN again. For managers and owners."""
        command = SetStoreStatus(key(store_id, "storeId"), status, given(until))
        return await resolve.set_store_status(info.context, command)


@strawberry.type
class Subscription:
    @strawberry.subscription(graphql_type=StoreStatusFrame, extensions=[Allow(Role.PUBLIC), Shared()])
    async def store_status(
        self, info: Info, store_ids: list[ID], after: str | None = strawberry.UNSET
    ) -> AsyncIterator[feeds.StoreStatusFrame]:
        """Of at most 200 stores: how they are, then each that opens, closes, pauses or is busy, within 2 s."""
        ids = [key(id, "storeIds") for id in store_ids]
        return feeds.store_status(info.context, info.context.hub, ids, after or None)
