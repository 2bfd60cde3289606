"""Square and Shopify, from their signed calls to the shelf."""

from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import select

from db import tables as t
from domain.intake import EntityKind
from tests.partners import Partner, partner

LOCATION = "24826418"
NOW = datetime.now(UTC)


def product(at: datetime = NOW, **more: Any) -> dict[str, Any]:
    variants = [
        {"id": 81, "price": "189.00", "sku": "TEA-250", "option1": "250 g", "position": 1, "inventory_item_id": 271},
        {"id": 82, "price": "690.00", "sku": "", "option1": "1 kg", "position": 2, "inventory_item_id": 272},
    ]
    return {"id": 63, "title": "Assam Tea", "status": "active", "updated_at": at.isoformat(), "variants": variants} | more


def level(item: int, units: int, at: datetime = NOW) -> dict[str, Any]:
    return {"inventory_item_id": item, "location_id": int(LOCATION), "available": units, "updated_at": at.isoformat()}


async def told(shop: Partner, topic: str, body: Any, event: str, rest: str = "webhooks") -> int:
    answer = await shop.tell(rest, body, **{"x-shopify-topic": topic, "x-shopify-event-id": event})
    return answer.status_code


async def test_a_product_of_shopifys_is_listed_and_its_levels_find_it(engine):
    shop = await partner(engine, "shopify", LOCATION)
    assert await told(shop, "inventory_levels/update", level(271, 7), "E1") == 200
    assert await shop.payloads() == ["PARKED"]
    (waits,) = await shop.failures("MAPPING")
    assert "VARIANT:inventory_item:271" in waits.message
    assert await told(shop, "products/create", product(), "E2", "webhooks/menu") == 200
    assert await shop.payloads() == ["APPLIED", "APPLIED"]
    assert {sku: row.price_minor for sku, row in (await shop.listings()).items()} == {"TEA-250": 18900, "82": 69000}
    assert (await shop.level("TEA-250")).on_hand == 7
    assert await told(shop, "inventory_levels/update", level(272, 3), "E3", "webhooks/inventory") == 200
    assert (await shop.level("82")).on_hand == 3


async def test_one_doing_at_two_items_is_two_news_and_each_of_them_once(engine):
    shop = await partner(engine, "shopify", LOCATION)
    await told(shop, "products/create", product(), "E1")
    for _ in range(2):
        await told(shop, "inventory_levels/update", level(271, 4), "E2")
        await told(shop, "inventory_levels/update", level(272, 5), "E2")
    assert await shop.payloads() == ["APPLIED", "APPLIED", "APPLIED", "DUPLICATE", "DUPLICATE"]
    assert [(await shop.level(sku)).on_hand for sku in ("TEA-250", "82")] == [4, 5]


async def test_older_news_of_shopifys_loses(engine):
    shop = await partner(engine, "shopify", LOCATION)
    await told(shop, "products/create", product(), "E1")
    await told(shop, "inventory_levels/update", level(271, 4, NOW + timedelta(seconds=9)), "E2")
    await told(shop, "inventory_levels/update", level(271, 9, NOW + timedelta(seconds=3)), "E3")
    await told(shop, "products/update", product(NOW - timedelta(hours=1), title="Of old"), "E4")
    assert (await shop.level("TEA-250")).on_hand == 4
    (name,) = await shop.rows(select(t.product.c.name).where(t.product.c.merchant_id == shop.shop.merchant_id))
    assert name[0] == "Assam Tea"


async def test_what_is_archived_is_hidden_and_what_is_deleted_is_out_of_stock(engine):
    shop = await partner(engine, "shopify", LOCATION)
    await told(shop, "products/create", product(), "E1")
    await told(shop, "products/update", product(NOW + timedelta(seconds=1), status="archived"), "E2")
    assert {row.active for row in (await shop.listings()).values()} == {False}
    await told(shop, "products/update", product(NOW + timedelta(seconds=2)), "E3")
    assert {row.active for row in (await shop.listings()).values()} == {True}
    await told(shop, "products/delete", {"id": 63}, "E4")
    assert [(await shop.level(sku)).off for sku in ("TEA-250", "82")] == [True, True]
    assert not await shop.failures()


async def test_a_sku_that_is_anothers_already_is_left_to_it(engine):
    shop = await partner(engine, "shopify", LOCATION)
    other = await partner(engine, "shopify", "OTHER", of=shop.shop)
    await told(shop, "products/create", product(), "E1")
    await told(other, "products/create", product(), "E1")
    mine = t.variant.c.merchant_id == shop.shop.merchant_id
    skus = {row.sku for row in await shop.rows(select(t.variant.c.sku).where(mine))}
    assert {"TEA-250", "82", "81"} < skus
    assert len(skus) == 4
    assert not await other.failures()


async def test_a_topic_that_nobody_reads_is_a_failure_and_no_reason_to_send_it_again(engine):
    shop = await partner(engine, "shopify", LOCATION)
    assert await told(shop, "orders/create", {"id": 1}, "E1") == 200
    (failure,) = await shop.failures("VALIDATION")
    assert "x-shopify-topic: 'orders/create' is none of" in failure.message
    raw = b'{"id": 63}'
    headers = {**shop.proven("webhooks", raw), "x-shopify-topic": "products/delete"}
    assert (await shop.client.post(shop.path("webhooks"), content=raw + b" ", headers=headers)).status_code == 401
    assert len(await shop.failures("AUTH")) == 1


async def test_a_count_of_squares_waits_for_its_mapping_and_is_carried_out_then(engine):
    till = await partner(engine, "square", "L1")
    shelf = await partner(engine, "catalogue_file", "S", of=till.shop)
    await shelf.client.post(shelf.path("import?store=S"), content=b"id,title,price,quantity\nTEA-250,Tea,189,3")
    await shelf.worker.drain()
    count = {
        "catalog_object_id": "VAR1", "catalog_object_type": "ITEM_VARIATION", "location_id": "L1", "quantity": "12",
        "state": "IN_STOCK", "calculated_at": (NOW + timedelta(hours=1)).isoformat(),
    }  # fmt: skip
    event = {"type": "inventory.count.updated", "event_id": "6f0c", "data": {"object": {"inventory_counts": [count]}}}
    for rest in ("webhooks", "webhooks/inventory"):
        assert (await till.tell(rest, event)).status_code == 200
    assert await till.payloads() == ["PARKED", "DUPLICATE"]
    v = t.variant.c
    (tea,) = await till.rows(select(v.id).where(v.sku == "TEA-250", v.merchant_id == till.shop.merchant_id))
    await till.map(EntityKind.VARIANT, "VAR1", tea.id)
    await till.worker.drain()
    assert (await till.level("TEA-250")).on_hand == 12
    thin = {"type": "catalog.version.updated", "event_id": "6f0d", "data": {"object": {}}}
    assert (await till.tell("webhooks/menu", thin)).status_code == 200
    assert (await till.payloads())[-1] == "APPLIED"
    bad = await till.client.post(till.path("webhooks"), content=b"{}", headers={"x-square-hmacsha256-signature": "AAAA"})
    assert bad.status_code == 401
