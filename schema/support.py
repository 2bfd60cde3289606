"""The support desk's door: every merchant's, and the proof that stock adds up."""

from collections.abc import Sequence

import strawberry

from db import ledger, orders
from db.pages import Page
from domain.identity import Role
from domain.orders import OrderStatus
from domain.refusals import invalid
from resolvers import orders as bought
from resolvers import stock
from schema.audit import SupportAudit
from schema.failures import SupportFailures
from schema.orders import Order, OrderConnection, order_filter
from schema.roots import ID, Allow, Info, key
from schema.sources import SupportSources
from schema.stock import StockDiscrepancy
from schema.truth import SupportTruth


@strawberry.type
class Support(SupportAudit, SupportFailures, SupportSources, SupportTruth):
    @strawberry.field(graphql_type=Order | None, description="By one of the two")
    @staticmethod
    async def order(info: Info, id: ID | None = strawberry.UNSET, number: str | None = strawberry.UNSET) -> orders.OrderRow | None:
        if bool(id) == bool(number):
            raise invalid("id", "give an id or a number")
        return await (bought.order(info.context, key(id)) if id else bought.order_by_number(info.context, number or ""))

    @strawberry.field(graphql_type=OrderConnection, description="Newest first. `text` is a part of the order's number")
    @staticmethod
    async def orders(
        info: Info,
        store_id: ID | None = strawberry.UNSET,
        status: list[OrderStatus] | None = strawberry.UNSET,
        text: str | None = strawberry.UNSET,
        first: int | None = 20,
        after: str | None = strawberry.UNSET,
    ) -> Page[orders.OrderRow]:
        return await bought.orders(info.context, order_filter(status, store_id, text), first, after or None)

    @strawberry.field(
        graphql_type=list[StockDiscrepancy],
        description="Empty while every counter equals the sum of its movements and every hold its row",
    )
    @staticmethod
    async def stock_audit(info: Info) -> Sequence[ledger.Discrepancy]:
        return await stock.discrepancies(info.context)


@strawberry.type
class Query:
    @strawberry.field(graphql_type=Support, extensions=[Allow(Role.SUPPORT)])
    async def support(self) -> Support:
        return Support()
