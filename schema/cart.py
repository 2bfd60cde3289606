"""The cart."""

from collections.abc import AsyncIterator, Sequence

import strawberry

from db import cart as rows
from db import catalog
from domain import cart
from domain.identity import Role
from resolvers import cart as resolve
from schema.catalog import Listing, Modifier
from schema.roots import ID, Allow, Info, Node, key, of
from schema.scalars import Money
from schema.stock import StockLevel
from subscriptions import cart as feeds

strawberry.enum(cart.CartProblem, description="Why a line cannot be bought as it stands")


@strawberry.type
class CartLine(Node):
    """One (listing, modifiers, note), at today's price."""

    is_type_of = of(rows.LineRow)
    quantity: int = strawberry.field(description="In the variant's unit: pieces, grams, millilitres")
    note: str | None
    total: Money

    @strawberry.field(graphql_type=Listing)
    @staticmethod
    async def listing(root: rows.LineRow, info: Info) -> catalog.ListingRow | None:
        return await info.context.loaders.listings.load(root.listing_id)

    @strawberry.field(graphql_type=list[Modifier])
    @staticmethod
    async def modifiers(root: rows.LineRow, info: Info) -> Sequence[catalog.ModifierRow]:
        found = await info.context.loaders.modifiers.load_many(list(root.modifier_ids))
        return [one for one in found if one is not None]


@strawberry.type
class Cart(Node):
    is_type_of = of(rows.CartRow)
    lines: list[CartLine]
    subtotal: Money


@strawberry.input
class CartLineInput:
    """With `id`: changes that line. Without: adds to the line of that key or starts one. Quantity 0 removes.

    Lines not named stay.
    """

    id: ID | None = strawberry.UNSET
    listing_id: ID
    quantity: int
    modifier_ids: list[ID] | None = strawberry.field(default_factory=list)
    note: str | None = strawberry.UNSET

    def change(self, index: int) -> cart.LineChange:
        """Refuses InvalidInput."""
        at = f"lines.{index}"
        chosen = tuple(key(id, f"{at}.modifierIds") for id in self.modifier_ids or ())
        return cart.LineChange(
            key(self.id, f"{at}.id") if self.id else None,
            key(self.listing_id, f"{at}.listingId"),
            self.quantity,
            chosen,
            self.note or None,
        )


@strawberry.type
class Mutation:
    @strawberry.mutation(graphql_type=Cart, extensions=[Allow(Role.CUSTOMER)])
    async def update_cart_lines(self, info: Info, lines: list[CartLineInput]) -> rows.CartRow:
        """All of the changes or none."""
        return await resolve.update_lines(info.context, [line.change(index) for index, line in enumerate(lines)])


@strawberry.type
class CartChange:
    """A line of the cart: what it was filled with, and what is so now. All but `lineId` is null once it is taken out."""

    line_id: ID
    line: CartLine | None
    filled_price: Money | None = strawberry.field(
        description="Of a unit, with its modifiers, when the customer last told the line: to tell it again takes the price of now"
    )
    price: Money | None = strawberry.field(description="Of a unit, with its modifiers, now")
    stock: StockLevel | None = strawberry.field(description="What is left for others is not what the customer's own quote holds")
    problems: list[cart.CartProblem] = strawberry.field(description="Empty: it can be bought")


@strawberry.type
class CartFrame:
    """The latest of each line."""

    cursor: str
    reset: bool
    degraded: bool
    changes: list[CartChange]


@strawberry.type
class Subscription:
    @strawberry.subscription(graphql_type=CartFrame, extensions=[Allow(Role.CUSTOMER)])
    async def cart_changes(self, info: Info, after: str | None = strawberry.UNSET) -> AsyncIterator[feeds.CartFrame]:
        """Every line of the caller's cart, then each that has become otherwise: its price, its stock, its store, itself."""
        return feeds.cart_changes(info.context, info.context.hub, after or None)
