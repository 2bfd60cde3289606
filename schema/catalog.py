"""What is sold: categories, products, listings, search; a price set by hand."""

from collections.abc import Sequence
from decimal import Decimal
from typing import TYPE_CHECKING, Annotated, Any

import strawberry

from db import catalog as rows
from db.pages import Page
from domain import catalog
from domain.catalog import Diet, ListingSort, ProductKind
from domain.identity import Role
from domain.listings import SetPrice
from resolvers import catalog as resolve
from resolvers import merchants as selling
from schema.connections import Connection, Counted
from schema.roots import ID, Allow, Cached, Info, Node, given, key, of
from schema.scalars import Money, PointInput, minor, point
from schema.stock import StockLevel

if TYPE_CHECKING:
    from schema.merchants import Store

strawberry.enum(ProductKind)
strawberry.enum(Diet)
strawberry.enum(ListingSort, description="RELEVANCE is by how well the text fits; without a text, by name")

_Store = Annotated["Store", strawberry.lazy("schema.merchants")]


@strawberry.type(description="The marketplace's own tree; a source's categories are mapped onto it")
class Category(Node):
    is_type_of = of(rows.CategoryRow)
    name: str
    path: list[str] = strawberry.field(description="From the root down to this one")


@strawberry.type
class Attribute:
    name: str
    value: str


@strawberry.type
class Product(Node):
    is_type_of = of(catalog.Product)
    kind: ProductKind
    name: str
    description: str | None
    brand: str | None
    diet: Diet | None
    pictures: list[str] = strawberry.field(
        name="images", description="Addresses: one that begins with `/` lies on this server, and what lies there never changes"
    )
    attributes: list[Attribute]

    @strawberry.field(graphql_type=Category | None)
    @staticmethod
    async def category(root: catalog.Product, info: Info) -> rows.CategoryRow | None:
        return await info.context.loaders.categories.load(root.category_id) if root.category_id else None


@strawberry.type
class Modifier(Node):
    is_type_of = of(rows.ModifierRow)
    name: str
    price: Money
    available: bool


@strawberry.type(description="A choice, as one listing offers it")
class ModifierGroup(Node):
    is_type_of = of(rows.ModifierGroupRow)
    name: str
    min: int
    max: int
    options: list[Modifier]


@strawberry.type(description="One variant of a product as one store sells it: what a customer puts into a cart")
class Listing(Node):
    is_type_of = of(rows.ListingRow)
    product: Product
    variant_name: str
    sku: str
    barcode: str | None
    price: Money
    mrp: Money | None
    stock: StockLevel

    @strawberry.field(graphql_type=_Store)
    @staticmethod
    async def store(root: rows.ListingRow, info: Info) -> Any:
        return await selling.store_by_id(info.context, root.store_id)

    @strawberry.field(
        graphql_type=list[Annotated["Listing", strawberry.lazy("schema.catalog")]],
        description="The same product's other variants here",
    )
    @staticmethod
    async def siblings(root: rows.ListingRow, info: Info) -> Sequence[rows.ListingRow]:
        return await resolve.siblings(info.context, root)

    @strawberry.field(graphql_type=list[ModifierGroup])
    @staticmethod
    async def modifier_groups(root: rows.ListingRow, info: Info) -> Sequence[rows.ModifierGroupRow]:
        return await info.context.loaders.modifier_groups.load(root.id)


@strawberry.type
class FacetValue:
    value: str
    count: int


@strawberry.type
class Facet:
    name: str = strawberry.field(description="`category` or `brand`")
    values: list[FacetValue] = strawberry.field(description="The most frequent first, at most 50")


@strawberry.type
class ListingConnection(Connection[Listing], Counted):
    @strawberry.field(graphql_type=list[Facet], description="How many of all of them there are of each, by the same filter")
    @staticmethod
    async def facets(root: Page[rows.ListingRow], info: Info) -> Sequence[rows.Facet]:
        return await resolve.facets(info.context, root)


@strawberry.input
class ListingFilter:
    text: str | None = strawberry.field(default=strawberry.UNSET, description="Every word by its beginning, in any order")
    category_id: ID | None = strawberry.field(default=strawberry.UNSET, description="With all that is below it")
    brand: str | None = strawberry.UNSET
    price_max: Decimal | None = strawberry.field(default=strawberry.UNSET, description="In the store's currency")
    in_stock: bool | None = strawberry.field(default=strawberry.UNSET, description="false: what is out of stock")


def listing_filter(told: ListingFilter | None) -> rows.ListingFilter:
    """Refuses InvalidInput."""
    if not told:
        return rows.ListingFilter()
    return rows.ListingFilter(
        given(told.text),
        key(told.category_id, "filter.categoryId") if told.category_id else None,
        given(told.brand),
        None if (most := given(told.price_max)) is None else minor(most, "filter.priceMax"),
        given(told.in_stock),
    )


@strawberry.type
class Query:
    @strawberry.field(graphql_type=list[Category], extensions=[Allow(Role.PUBLIC), Cached()])
    async def categories(self, info: Info, parent_id: ID | None = strawberry.UNSET) -> Sequence[rows.CategoryRow]:
        """Those right below the parent; without one, the roots."""
        return await resolve.categories(info.context, key(parent_id, "parentId") if parent_id else None)

    @strawberry.field(graphql_type=Listing | None, extensions=[Allow(Role.PUBLIC), Cached()])
    async def listing(self, info: Info, id: ID) -> rows.ListingRow | None:
        return await resolve.listing(info.context, key(id))

    @strawberry.field(graphql_type=ListingConnection, extensions=[Allow(Role.PUBLIC), Cached()])
    async def search(
        self,
        info: Info,
        text: str,
        near: PointInput | None = strawberry.UNSET,
        filter: ListingFilter | None = strawberry.UNSET,
        first: int | None = 20,
        after: str | None = strawberry.UNSET,
    ) -> Page[rows.ListingRow]:
        """In all stores. With `near`: in those that deliver there, open ones first, then the nearest."""
        here = point(near, "near") if near else None
        return await resolve.search(info.context, text, here, listing_filter(filter), first, given(after))


@strawberry.type
class Mutation:
    @strawberry.mutation(graphql_type=Listing, extensions=[Allow(Role.MERCHANT)])
    async def set_price(self, info: Info, listing_id: ID, price: Decimal) -> rows.ListingRow:
        """At most the MRP. For managers and owners."""
        command = SetPrice(key(listing_id, "listingId"), minor(price, "price"))
        return await resolve.set_price(info.context, command)
