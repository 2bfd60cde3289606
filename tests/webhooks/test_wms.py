"""Each event of the WMS at each of its doors: a warehouse that knows one URL says all of it there."""

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from sqlalchemy import select, update

from db import tables as t
from domain.intake import translated
from providers.wms import Wms
from tests.partners import partner
from tests.providers.samples import goldens
from tests.providers.test_wms import WMS
from tests.world import listing

STORE = "BLR_DS1"
SHOWN = {one.told["type"]: one for one in goldens() if one.inbound.provider == "wms" and one.stores == (STORE,)}
DISPATCHED = SHOWN["transfer.dispatched"].told
TOLD: dict[str, Any] = {
    **{kind: one.told for kind, one in SHOWN.items()},
    "transfer.received": {**DISPATCHED, "type": "transfer.received", "data": {**DISPATCHED["data"], "to": STORE}},
}
BEFORE = 20
ON_HAND = {  # of the tea, afterwards
    "stock.snapshot": 12,
    "stock.adjusted": 18,
    "receipt.completed": 44,
    "return.restocked": 21,
    "transfer.dispatched": 15,
    "transfer.received": 25,
    "pick.short": 0,
    "store.status": BEFORE,
    "price.updated": BEFORE,
    "item.upserted": BEFORE,
}


@pytest.mark.parametrize("door", Wms.endpoints)
@pytest.mark.parametrize("kind", ON_HAND)
async def test_any_event_is_carried_out_at_any_door(engine, door, kind):
    wms = await partner(engine, "wms", STORE)
    for sku in ("TEA-250", "RICE-1K"):
        id = await listing(engine, wms.shop, BEFORE)
        async with engine.begin() as connection:
            await connection.execute(update(t.variant).where(t.variant.c.id == id).values(sku=sku))
    raw = json.dumps({**TOLD[kind], "timestamp": datetime.now(UTC).isoformat()}).encode()  # newer than what was counted
    answer = await wms.tell(Wms.endpoints[door], raw)
    assert (answer.status_code, answer.json()) == (200, {"status": "accepted"})
    golden = SHOWN["stock.snapshot"]
    meant = translated(WMS, golden.call(TOLD[kind]), golden.source()).commands
    done = await wms.instructions()
    assert sorted(name for name, _, _ in done) == sorted(type(one).__name__ for one in meant)
    of_orders = {"OrderStatus"}  # none of ours: that is said, and the count is taken all the same
    assert {state for name, _, state in done if name not in of_orders} == {"APPLIED"}
    assert (await wms.level("TEA-250")).on_hand == ON_HAND[kind]
    assert await wms.discrepancies() == 0
    [store] = await wms.rows(select(t.store.c.status).where(t.store.c.id == wms.shop.store_id))
    assert store.status.value == ("CLOSED" if kind == "store.status" else "OPEN")
    price = (await wms.listings())["TEA-250"].price_minor
    assert price == (18_900 if kind == "price.updated" else 5_000)


def test_each_event_is_tried():
    golden = SHOWN["stock.snapshot"]
    wrong = translated(WMS, golden.call({"type": "?", "timestamp": None, "data": {}}), golden.source())
    assert wrong.problems[0].message.partition("none of ")[2] == ", ".join(sorted(ON_HAND))
    assert ON_HAND.keys() == TOLD.keys()
