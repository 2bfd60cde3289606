from types import SimpleNamespace
from typing import Any, cast

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from adapters.gateways import NoGateway
from db import orders, payments, stock
from db.reads import Reads
from db.unit_of_work import unit_of_work
from domain.cart import LineChange, update_lines
from domain.idempotency import KeyReused
from domain.orders import Fulfilment, OrderStatus
from domain.payments import PaymentDeclined, PaymentMethod, PaymentStatus
from domain.purchases import PlaceOrder
from domain.quotes import QuoteCart, quote_cart
from domain.refusals import Refused
from resolvers.context import Context, Ports
from resolvers.loaders import Loaders
from resolvers.orders import place_order
from tests.world import HOME, account, listing, shop


async def test_where_no_gateway_is_a_card_is_declined_and_nothing_waits_for_it(engine: AsyncEngine):
    store, buyer, reads = await shop(engine), await account(engine), Reads(engine)
    tea = await listing(engine, store, 5)
    async with unit_of_work(engine) as uow:
        await update_lines([LineChange(None, tea, 2)], buyer, uow)
        quote_id = await quote_cart(QuoteCart(HOME, None, Fulfilment.DELIVERY, None), buyer, uow)
    ports = cast(Ports, SimpleNamespace(gateway=NoGateway()))
    context = Context(buyer, reads, lambda: cast(Any, unit_of_work(engine)), Loaders(reads, buyer), ports)
    for key in ("k", "k", "another"):  # the same question has the same answer, for ever
        with pytest.raises(Refused) as no:
            await place_order(context, PlaceOrder(quote_id, PaymentMethod.CARD, key))
        assert no.value.refusal == PaymentDeclined("only cash is taken at present")
    with pytest.raises(Refused) as no:
        await place_order(context, PlaceOrder(quote_id, PaymentMethod.UPI, "k"))
    assert isinstance(no.value.refusal, KeyReused)
    [order] = await orders.first_orders(reads, buyer, orders.OrderFilter(), 5)
    assert order.status is OrderStatus.CANCELLED
    [payment] = await payments.payments_of(reads, [order.purchase_id])
    assert payment.status is PaymentStatus.FAILED
    [level] = await stock.levels(reads, [tea])
    assert level.available == 5
