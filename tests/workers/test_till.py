"""A till that was offline: what it tells late, twice and in any order is carried out once, and what no longer fits is at risk."""

import random
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import pytest
from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncEngine

from adapters.gateways import NoGateway
from db import orders, stock
from db import tables as t
from db.reads import Reads
from db.unit_of_work import unit_of_work
from domain.at_risk import BEGUN
from domain.stock import StockMovementKind
from tests.conftest import LONG
from tests.db.test_purchases import placed, quoted, the_order
from tests.figures import show
from tests.partners import Partner, event, partner, snapshot
from tests.world import account
from workers.deadlines import Deadlines

SEED = 37
SALES, UPLOADS = (400, 120) if LONG else (60, 25)
FEW = "index,product,category,sub_category,brand,sale_price,market_price,type,rating\n"


@pytest.fixture
async def till(engine: AsyncEngine) -> Partner:
    made = await partner(engine, "till", "MAIN")
    shelf = await partner(engine, "catalogue_file", "MAIN", of=made.shop)
    rows = "".join(f"{sku},Good {sku},Snacks,Chips,Malabar,90,100,Chips,4\n" for sku in ("TEA", "RICE", "SALT"))
    answer = await shelf.tell("import?store=MAIN&stock=500", (FEW + rows).encode())
    assert answer.status_code == 202, answer.text
    return made


def sale(seq: int, at: datetime, **units: int) -> dict[str, Any]:
    return {"seq": seq, "at": at.isoformat(), "lines": [{"sku": sku, "quantity": count} for sku, count in units.items()]}


def told(*sales: dict[str, Any], device: str = "till-1") -> dict[str, Any]:
    return {"device": device, "store": "MAIN", "sales": list(sales)}


async def on_hand(till: Partner) -> dict[str, int]:
    return {sku: (await till.level(sku)).on_hand for sku in ("TEA", "RICE", "SALT")}


async def test_sales_told_again_and_in_any_order_take_their_units_once(till: Partner):
    chance, now = random.Random(SEED), datetime.now(UTC)
    devices = ("till-1", "till-2")
    sold = [
        (device, sale(seq, now + timedelta(seconds=seq), **{chance.choice(("TEA", "RICE", "SALT")): chance.randint(1, 2)}))
        for device in devices
        for seq in range(1, SALES // 2 + 1)
    ]
    for _ in range(UPLOADS):
        device = chance.choice(devices)
        some = chance.sample([one for by, one in sold if by == device], SALES // 10)
        assert (await till.tell("webhooks/sales", told(*some, device=device))).status_code == 200
    for device in devices:  # and at last all of them, once more
        await till.tell("webhooks/sales", told(*[one for by, one in sold if by == device], device=device))
    left = dict.fromkeys(("TEA", "RICE", "SALT"), 500)
    for _, one in sold:
        for line in one["lines"]:
            left[line["sku"]] -= line["quantity"]
    assert await on_hand(till) == left
    m = t.stock_movement.c
    [(lines,)] = await till.rows(select(func.count()).where(m.source_id == till.source_id, m.kind == StockMovementKind.SOLD))
    assert lines == sum(len(one["lines"]) for _, one in sold)
    assert await till.discrepancies() == 0
    assert not await till.failures("PROCESSING", "VALIDATION")
    show("sales of a till", seed=SEED, sales=len(sold), uploads=UPLOADS + 2, told=UPLOADS * (SALES // 10) + len(sold), twice=0)


async def test_what_was_counted_since_is_not_sold_twice(till: Partner):
    warehouse = await partner(till.engine, "wms", "MAIN", of=till.shop)
    now = datetime.now(UTC)
    counted_at = now - timedelta(hours=1)
    await warehouse.tell("webhooks/stock", snapshot("MAIN", ("TEA", 40, 1), at=now))
    before, after = sale(1, counted_at, TEA=3), sale(2, now + timedelta(seconds=5), TEA=4)
    await till.tell("webhooks/sales", told(before, after))
    assert (await till.level("TEA")).on_hand == 36
    m = t.stock_movement.c
    [row] = await till.rows(select(m.told, m.on_hand_delta).where(m.source_id == till.source_id, m.once == "till-1:1"))
    assert (row.told, row.on_hand_delta) == (-3, 0)  # written down all the same


async def test_more_than_there_was_leaves_nothing_and_never_less(till: Partner):
    await till.tell("webhooks/sales", told(sale(1, datetime.now(UTC) + timedelta(seconds=5), TEA=600)))
    assert (await till.level("TEA")).on_hand == 0
    assert await till.discrepancies() == 0


async def test_sales_told_late_of_what_was_promised_since_put_the_newest_order_at_risk(till: Partner):
    reads, sold_at, promised = Reads(till.engine), datetime.now(UTC), []
    tea = (await till.listings())["TEA"].id
    await till.tell("webhooks/sales", told(sale(1, sold_at, TEA=260)))
    for _ in range(3):  # while the till is offline: 210 of the 240 that are left
        customer = await account(till.engine)
        purchase_id = await placed(till.engine, customer, await quoted(till.engine, customer, (tea, 70)))
        promised.append((await the_order(reads, customer, purchase_id)).id)
    sales = told(sale(3, sold_at, TEA=60), sale(2, sold_at, TEA=40))
    for _ in range(2):
        assert (await till.tell("webhooks/sales", sales)).status_code == 200
    await Deadlines(reads, partial(unit_of_work, till.engine), NoGateway()).at_risk()
    level = await till.level("TEA")
    assert (level.on_hand, level.allocated, level.held) == (140, 210, 0)
    assert [shown.available for shown in await stock.levels(reads, [tea])] == [0]
    assert await till.discrepancies() == 0
    found = {order.id: order.at_risk for order in await orders.orders_by_id(reads, till.shop.owner, promised)}
    assert [found[id] for id in promised] == [False, False, True]
    steps = await orders.history_of(reads, promised)
    assert [(step.order_id, step.note) for step in steps if step.note] == [(promised[-1], BEGUN)]


async def test_a_sale_of_what_nobody_lists_waits_and_the_others_go_on(till: Partner):
    at = datetime.now(UTC) + timedelta(seconds=5)
    await till.tell("webhooks/sales", told(sale(1, at, NEW=1, TEA=1)))
    assert (await on_hand(till))["TEA"] == 499
    [failure] = await till.failures("MAPPING")
    assert "NEW" in failure.message
    warehouse = await partner(till.engine, "wms", "MAIN", of=till.shop)
    await warehouse.tell("webhooks/stock", event("item.upserted", sku="NEW", title="New", version=1))
    price = event("price.updated", location="MAIN", sku="NEW", price="10.00", currency="INR", version=1)
    await warehouse.tell("webhooks/stock", price)
    await till.worker.drain()
    assert {state for _, _, state in await till.instructions()} == {"APPLIED"}
