"""Purchases, payments and orders."""

from collections.abc import AsyncIterator, Sequence
from datetime import datetime
from typing import Annotated
from uuid import UUID

import strawberry

from db import delivery, merchants, payments, purchases
from db import orders as rows
from db.orders import OrderFilter
from domain import addresses, fulfilment, identity, orders
from domain import idempotency as once
from domain import payments as paying
from domain import purchases as placing
from domain.identity import Role
from resolvers import orders as resolve
from schema.addresses import Address
from schema.connections import Connection, Counted
from schema.merchants import Store
from schema.quotes import Charge, NotEnoughStock, StoreClosed
from schema.riders import Delivery, WrongCode
from schema.roots import ID, Allow, Answers, Info, Node, Refusal, key, of
from schema.scalars import Money
from subscriptions import orders as feeds

for _enum in (paying.PaymentMethod, paying.PaymentStatus, orders.OrderStatus, orders.ReasonCode, identity.ActorKind):
    strawberry.enum(_enum)


@strawberry.type
class Payment(Node):
    is_type_of = of(payments.PaymentRow)
    method: paying.PaymentMethod
    status: paying.PaymentStatus
    amount: Money
    refunded: Money

    @strawberry.field(description="For the gateway's page. The payer's alone")
    @staticmethod
    def client_secret(root: payments.PaymentRow, info: Info) -> str | None:
        return resolve.client_secret(info.context, root)


@strawberry.type
class OrderLine(Node):
    is_type_of = of(rows.OrderLineRow)
    name: str
    sku: str
    quantity: int
    unit_price: Money
    total: Money
    modifiers: list[str]
    note: str | None


@strawberry.type
class OrderEvent:
    """One step of the order's life, as the log has it."""

    seq: int
    status: orders.OrderStatus
    at: datetime
    by: identity.ActorKind
    reason: orders.ReasonCode | None
    note: str | None


@strawberry.type
class Order(Node):
    """One store's part of a purchase. Who may read what of it stands beside each field."""

    is_type_of = of(rows.OrderRow)
    number: str
    status: orders.OrderStatus
    version: int
    fulfilment: orders.Fulfilment
    charges: list[Charge]
    total: Money
    refunded: Money
    created_at: datetime
    placed_at: datetime | None
    promised_at: datetime | None
    at_risk: bool = strawberry.field(description="Its units may not be there: a count came in lower than what is promised")

    @strawberry.field(graphql_type=Store)
    @staticmethod
    async def store(root: rows.OrderRow, info: Info) -> merchants.StoreRow | None:
        return await info.context.loaders.stores.load(root.store_id)

    @strawberry.field(graphql_type=list[OrderLine])
    @staticmethod
    async def lines(root: rows.OrderRow, info: Info) -> Sequence[rows.OrderLineRow]:
        return await info.context.loaders.order_lines.load(root.id)

    @strawberry.field(
        graphql_type=Annotated["Purchase", strawberry.lazy("schema.orders")] | None,
        description="The customer's and support's alone",
    )
    @staticmethod
    async def purchase(root: rows.OrderRow, info: Info) -> purchases.PurchaseRow | None:
        return await resolve.purchase_of(info.context, root)

    @strawberry.field(description="The customer, that store's staff, support, and the rider until it is delivered")
    @staticmethod
    def customer_name(root: rows.OrderRow, info: Info) -> str | None:
        return root.person if resolve.knows_customer(info.context, root) else None

    @strawberry.field(graphql_type=Address | None, description="As customerName")
    @staticmethod
    def address(root: rows.OrderRow, info: Info) -> addresses.Address | None:
        return resolve.address(info.context, root)

    @strawberry.field(graphql_type=list[OrderEvent])
    @staticmethod
    async def history(root: rows.OrderRow, info: Info) -> Sequence[rows.OrderEventRow]:
        return await info.context.loaders.order_history.load(root.id)

    @strawberry.field(graphql_type=Delivery | None)
    @staticmethod
    async def delivery(root: rows.OrderRow, info: Info) -> delivery.DeliveryRow | None:
        return await info.context.loaders.delivery_of_order.load(root.id)

    @strawberry.field(description="The customer's alone: the rider must ask for it")
    @staticmethod
    def handover_code(root: rows.OrderRow, info: Info) -> str | None:
        return resolve.handover_code(info.context, root)


@strawberry.type
class OrderConnection(Connection[Order], Counted): ...


@strawberry.type
class Purchase(Node):
    """One payment by one customer: one order for each store in the cart."""

    is_type_of = of(purchases.PurchaseRow)
    number: str
    total: Money

    @strawberry.field(graphql_type=list[Order])
    @staticmethod
    async def orders(root: purchases.PurchaseRow, info: Info) -> Sequence[rows.OrderRow]:
        return await info.context.loaders.orders_of_purchase.load(root.id)

    @strawberry.field(graphql_type=Payment)
    @staticmethod
    async def payment(root: purchases.PurchaseRow, info: Info) -> payments.PaymentRow | None:
        return await info.context.loaders.payments.load(root.id)


@strawberry.type
class QuoteExpired(Refusal):
    is_type_of = of(placing.QuoteExpired)


@strawberry.type
class PaymentDeclined(Refusal):
    """An immediate no; later ones arrive as events."""

    is_type_of = of(paying.PaymentDeclined)


@strawberry.type
class CashNotAllowed(Refusal):
    is_type_of = of(paying.CashNotAllowed)


@strawberry.type
class KeyReused(Refusal):
    """The same idempotencyKey with other arguments."""

    is_type_of = of(once.KeyReused)


PlaceOrderResult = Annotated[
    Purchase | QuoteExpired | NotEnoughStock | StoreClosed | PaymentDeclined | CashNotAllowed | KeyReused,
    strawberry.union("PlaceOrderResult"),
]


@strawberry.type
class WrongState(Refusal):
    is_type_of = of(orders.WrongState)
    status: orders.OrderStatus


OrderResult = Annotated[Order | WrongState, strawberry.union("OrderResult")]
HandOverResult = Annotated[Order | WrongState | WrongCode, strawberry.union("HandOverResult")]
_PARTIES = (Role.CUSTOMER, Role.MERCHANT, Role.RIDER, Role.SUPPORT)


def order_filter(
    status: Sequence[orders.OrderStatus] | None,
    store_id: str | None = None,
    text: str | None = None,
    merchant_id: UUID | None = None,
) -> OrderFilter:
    """Refuses InvalidInput."""
    return OrderFilter(status or None, key(store_id, "storeId") if store_id else None, merchant_id, text or None)


@strawberry.type
class OrderChange:
    """`status` and `version` as of the event."""

    status: orders.OrderStatus
    version: int
    at: datetime
    order: Order


@strawberry.type
class OrderFrame:
    """Every event, in order."""

    cursor: str
    reset: bool
    degraded: bool
    changes: list[OrderChange]


@strawberry.type
class Subscription:
    @strawberry.subscription(graphql_type=OrderFrame, extensions=[Allow(*_PARTIES)])
    async def order(self, info: Info, id: ID, after: str | None = strawberry.UNSET) -> AsyncIterator[feeds.OrderFrame]:
        """The order, its delivery and its payment: every step."""
        return feeds.order(info.context, info.context.hub, key(id), after or None)

    @strawberry.subscription(graphql_type=OrderFrame, extensions=[Allow(Role.MERCHANT)])
    async def store_orders(self, info: Info, store_id: ID, after: str | None = strawberry.UNSET) -> AsyncIterator[feeds.OrderFrame]:
        """The store's open orders, then every step of any of its orders."""
        return feeds.store_orders(info.context, info.context.hub, key(store_id, "storeId"), after or None)

    @strawberry.subscription(graphql_type=OrderFrame, extensions=[Allow(Role.CUSTOMER)])
    async def customer_orders(self, info: Info, after: str | None = strawberry.UNSET) -> AsyncIterator[feeds.OrderFrame]:
        """The caller's open orders, then every step of any of theirs: one feed for a list of orders."""
        return feeds.customer_orders(info.context, info.context.hub, after or None)


@strawberry.type
class Query:
    @strawberry.field(graphql_type=Order | None, extensions=[Allow(*_PARTIES)])
    async def order(self, info: Info, id: ID) -> rows.OrderRow | None:
        return await resolve.order(info.context, key(id))


@strawberry.type
class Mutation:
    @strawberry.mutation(graphql_type=PlaceOrderResult, extensions=[Allow(Role.CUSTOMER), Answers()])
    async def place_order(
        self, info: Info, quote_id: ID, method: paying.PaymentMethod, idempotency_key: str
    ) -> purchases.PurchaseRow:
        """Exactly once for a quote, whatever is repeated. CARD and UPI wait for the gateway's word."""
        return await resolve.place_order(info.context, placing.PlaceOrder(key(quote_id, "quoteId"), method, idempotency_key))

    @strawberry.mutation(graphql_type=OrderResult, extensions=[Allow(Role.CUSTOMER, Role.MERCHANT, Role.SUPPORT), Answers()])
    async def cancel_order(
        self, info: Info, order_id: ID, reason: orders.ReasonCode, note: str | None = strawberry.UNSET
    ) -> rows.OrderRow:
        """Before the goods leave: a customer until the store accepts, the store and support until it is picked up."""
        return await resolve.cancel_order(info.context, fulfilment.CancelOrder(key(order_id, "orderId"), reason, note or None))

    @strawberry.mutation(graphql_type=OrderResult, extensions=[Allow(Role.MERCHANT), Answers()])
    async def accept_order(self, info: Info, order_id: ID, prep_minutes: int | None = strawberry.UNSET) -> rows.OrderRow:
        """The store takes the order on. A delivery begins to look for a rider."""
        minutes = None if prep_minutes is strawberry.UNSET else prep_minutes
        return await resolve.accept_order(info.context, fulfilment.AcceptOrder(key(order_id, "orderId"), minutes))

    @strawberry.mutation(graphql_type=OrderResult, extensions=[Allow(Role.MERCHANT), Answers()])
    async def reject_order(
        self, info: Info, order_id: ID, reason: orders.ReasonCode, note: str | None = strawberry.UNSET
    ) -> rows.OrderRow:
        return await resolve.reject_order(info.context, fulfilment.RejectOrder(key(order_id, "orderId"), reason, note or None))

    @strawberry.mutation(graphql_type=OrderResult, extensions=[Allow(Role.MERCHANT), Answers()])
    async def mark_order_ready(self, info: Info, order_id: ID) -> rows.OrderRow:
        return await resolve.mark_order_ready(info.context, fulfilment.MarkOrderReady(key(order_id, "orderId")))

    @strawberry.mutation(graphql_type=HandOverResult, extensions=[Allow(Role.MERCHANT), Answers()])
    async def hand_over_order(self, info: Info, order_id: ID, handover_code: str) -> rows.OrderRow:
        """The customer collects a ready order, or gets it from the store's own people, and shows its code."""
        return await resolve.hand_over_order(info.context, fulfilment.HandOverOrder(key(order_id, "orderId"), handover_code))

    @strawberry.mutation(graphql_type=OrderResult, extensions=[Allow(Role.SUPPORT), Answers()])
    async def renew_order_code_tries(self, info: Info, order_id: ID) -> rows.OrderRow:
        """Five new tries of the handover code, where no rider brings the order."""
        return await resolve.renew_order_code_tries(info.context, key(order_id, "orderId"))
