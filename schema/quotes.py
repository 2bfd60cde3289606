"""The quote: a price promise, and why there is none."""

from datetime import datetime
from typing import Annotated

import strawberry

from db import catalog, merchants
from domain import cart, orders, pricing, quotes, stock
from domain.identity import Role
from resolvers import quotes as resolve
from schema.addresses import AddressInput
from schema.catalog import Listing
from schema.merchants import Store
from schema.roots import ID, Allow, Answers, Info, Node, Refusal, key, of
from schema.scalars import Money

strawberry.enum(pricing.ChargeKind)
strawberry.enum(orders.Fulfilment)


@strawberry.type
class Charge:
    kind: pricing.ChargeKind
    label: str
    amount: Money
    rule: str = strawberry.field(description="The rule that made it")
    rule_version: int


@strawberry.type
class QuoteLine:
    name: str
    quantity: int
    unit_price: Money = strawberry.field(description="With its modifiers")
    modifiers: list[str]
    total: Money

    @strawberry.field(graphql_type=Listing)
    @staticmethod
    async def listing(root: quotes.QuoteLine, info: Info) -> catalog.ListingRow | None:
        return await info.context.loaders.listings.load(root.listing_id)


@strawberry.type
class QuotePart:
    """One store's part: what becomes one order."""

    lines: list[QuoteLine]
    charges: list[Charge]
    total: Money
    eta_minutes: int | None

    @strawberry.field(graphql_type=Store)
    @staticmethod
    async def store(root: quotes.QuotePart, info: Info) -> merchants.StoreRow | None:
        return await info.context.loaders.stores.load(root.store_id)


@strawberry.type
class Quote(Node):
    """These units, at these prices, held until `expiresAt`. A customer has one; a new one replaces it."""

    is_type_of = of(quotes.Quote)
    parts: list[QuotePart]
    charges: list[Charge]
    total: Money
    expires_at: datetime


@strawberry.type
class EmptyCart(Refusal):
    is_type_of = of(quotes.EmptyCart)


@strawberry.type
class Shortage:
    wanted: int
    available: int

    @strawberry.field(graphql_type=Listing)
    @staticmethod
    async def listing(root: stock.Shortage, info: Info) -> catalog.ListingRow | None:
        return await info.context.loaders.listings.load(root.listing_id)


@strawberry.type
class NotEnoughStock(Refusal):
    is_type_of = of(stock.NotEnoughStock)
    short: list[Shortage]


async def _store(root: quotes.StoreClosed | quotes.OutOfArea | quotes.BelowMinimum, info: Info) -> merchants.StoreRow | None:
    return await info.context.loaders.stores.load(root.store_id)


@strawberry.type
class StoreClosed(Refusal):
    is_type_of = of(quotes.StoreClosed)
    opens_at: datetime | None

    @strawberry.field(graphql_type=Store)
    @staticmethod
    async def store(root: quotes.StoreClosed, info: Info) -> merchants.StoreRow | None:
        return await _store(root, info)


@strawberry.type
class OutOfArea(Refusal):
    is_type_of = of(quotes.OutOfArea)

    @strawberry.field(graphql_type=Store)
    @staticmethod
    async def store(root: quotes.OutOfArea, info: Info) -> merchants.StoreRow | None:
        return await _store(root, info)


@strawberry.type
class BelowMinimum(Refusal):
    is_type_of = of(quotes.BelowMinimum)
    minimum: Money

    @strawberry.field(graphql_type=Store)
    @staticmethod
    async def store(root: quotes.BelowMinimum, info: Info) -> merchants.StoreRow | None:
        return await _store(root, info)


@strawberry.type
class ChoiceInvalid(Refusal):
    is_type_of = of(cart.ChoiceInvalid)
    line_id: ID
    group_id: ID | None


@strawberry.type
class CouponRefused(Refusal):
    is_type_of = of(quotes.CouponRefused)


@strawberry.type
class LimitExceeded(Refusal):
    is_type_of = of(quotes.LimitExceeded)
    limit: int

    @strawberry.field(graphql_type=Listing)
    @staticmethod
    async def listing(root: quotes.LimitExceeded, info: Info) -> catalog.ListingRow | None:
        return await info.context.loaders.listings.load(root.listing_id)


QuoteResult = Annotated[
    Quote | EmptyCart | NotEnoughStock | StoreClosed | OutOfArea | BelowMinimum | ChoiceInvalid | CouponRefused | LimitExceeded,
    strawberry.union("QuoteResult"),
]


@strawberry.type
class Mutation:
    @strawberry.mutation(graphql_type=QuoteResult, extensions=[Allow(Role.CUSTOMER), Answers()])
    async def quote_cart(
        self,
        info: Info,
        address: AddressInput | None = strawberry.UNSET,
        address_id: ID | None = strawberry.UNSET,
        fulfilment: orders.Fulfilment | None = orders.Fulfilment.DELIVERY,
        coupon: str | None = strawberry.UNSET,
    ) -> quotes.Quote:
        """Prices the cart and holds its units for ten minutes. On a refusal the quote before stays as it was."""
        return await resolve.quote_cart(
            info.context,
            quotes.QuoteCart(
                address.place() if address else None,
                key(address_id, "addressId") if address_id else None,
                fulfilment or orders.Fulfilment.DELIVERY,
                coupon or None,
            ),
        )
