"""The customer's door: what is theirs, and nobody else's."""

import strawberry

from db import cart, identity, orders, purchases
from db.pages import Page
from domain import quotes
from domain.identity import Role
from domain.orders import OrderStatus
from resolvers import cart as carts
from resolvers import identity as who
from resolvers import orders as bought
from resolvers import quotes as promises
from schema.addresses import CustomerAddresses
from schema.cart import Cart
from schema.identity import Viewer
from schema.orders import OrderConnection, Purchase, order_filter
from schema.quotes import Quote
from schema.roots import ID, Allow, Info, key


@strawberry.type
class Customer(CustomerAddresses):
    @strawberry.field(graphql_type=Viewer)
    @staticmethod
    async def viewer(info: Info) -> identity.Viewer | None:
        return await who.viewer(info.context)

    @strawberry.field(graphql_type=Cart)
    @staticmethod
    async def cart(info: Info) -> cart.CartRow:
        return await carts.cart_of(info.context)

    @strawberry.field(graphql_type=Quote | None, description="The promise that still holds")
    @staticmethod
    async def quote(info: Info) -> quotes.Quote | None:
        return await promises.live_quote(info.context)

    @strawberry.field(graphql_type=Purchase | None)
    @staticmethod
    async def purchase(info: Info, id: ID) -> purchases.PurchaseRow | None:
        return await bought.purchase(info.context, key(id))

    @strawberry.field(graphql_type=OrderConnection, description="Newest first")
    @staticmethod
    async def orders(
        info: Info,
        status: list[OrderStatus] | None = strawberry.UNSET,
        first: int | None = 20,
        after: str | None = strawberry.UNSET,
    ) -> Page[orders.OrderRow]:
        return await bought.orders(info.context, order_filter(status), first, after or None)


@strawberry.type
class Query:
    @strawberry.field(graphql_type=Customer, extensions=[Allow(Role.CUSTOMER)])
    async def customer(self) -> Customer:
        return Customer()
