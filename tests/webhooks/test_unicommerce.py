"""Uniware at our door, over HTTP: it signs in, pushes its stock, fetches products and orders, and takes them."""

import base64
import json
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import update

from db import tables as t
from db.reads import Reads
from domain.intake import EntityKind
from domain.orders import OrderStatus
from tests.db.test_purchases import counters, placed, quoted, the_order
from tests.partners import Partner, partner
from tests.world import account, listing, listings, shop

STORE = "BLR_DS1"
BASE = "/v1/integrations/erp/unicommerce"


@pytest.fixture
def reads(engine) -> Reads:
    return Reads(engine)


async def token_of(uni: Partner) -> str:
    answer = await uni.client.get(f"{BASE}/authToken", params={"username": str(uni.source_id), "password": uni.text})
    assert (answer.status_code, answer.json()["status"]) == (200, "SUCCESS")
    token: str = answer.json()["accessToken"]
    return token


async def get(uni: Partner, rest: str, token: str, **query: str) -> Any:
    answer = await uni.client.get(f"{BASE}/{rest}", params=query, headers={"apiKey": token})
    assert answer.status_code == 200, answer.text
    return answer.json()


async def push(uni: Partner, rest: str, body: Any, token: str) -> Any:
    answer = await uni.client.post(f"{BASE}/{rest}", json=body, headers={"apiKey": token})
    await uni.worker.drain()
    return answer


def row(sku: str, units: str, store: str = STORE) -> dict[str, str]:
    return {"productId": "P", "variantId": sku, "inventory": units, "hsnCode": "0902", "facilityCode": store}


async def test_a_token_is_given_for_the_secret_and_for_nothing_else(engine):
    uni = await partner(engine, "unicommerce", STORE)
    token = await token_of(uni)
    told = {"username": str(uni.source_id), "password": uni.text}
    assert (await uni.client.post(f"{BASE}/authToken", json=told)).json()["accessToken"]
    wrong = await uni.client.post(f"{BASE}/authToken", json=told | {"password": "guess"})
    assert (wrong.status_code, wrong.json()["status"]) == (401, "INVALID_CREDENTIALS")
    basic = "Basic " + base64.b64encode(f"{uni.source_id}:{uni.text}".encode()).decode()
    nsm = await uni.client.post(f"{BASE}/oauth/token", headers={"authorization": basic})
    assert (nsm.status_code, nsm.json()["token_type"]) == (200, "bearer")
    shown = {"authorization": f"bearer {nsm.json()['access_token']}"}
    gatepass = {"code": "G", "statusCode": "CLOSED", "type": "RETURNABLE", "updated": "1767603600000", "gatePassItemDTOs": []}
    closed = await uni.client.post(f"{BASE}/closeGatepass", json=gatepass, headers=shown)
    assert (closed.status_code, closed.json()) == (200, {"status": "Success", "message": "ok"})
    for headers in ({}, {"apiKey": token[:-4] + "AAAA"}, {"apiKey": "nothing"}):
        refused = await uni.client.post(f"{BASE}/updateInventory", json={"inventoryList": []}, headers=headers)
        assert (refused.status_code, refused.json()["status"]) == (401, "FAILED")
    assert (await uni.client.get(f"{BASE}/products")).status_code == 401
    kept = await uni.rows(t.payload.select().where(t.payload.c.source_id == uni.source_id))
    said = json.dumps([[one.headers, one.body.decode()] for one in kept])
    assert uni.text not in said
    assert token not in said


async def test_what_is_pushed_is_on_the_shelf_and_what_cannot_be_is_named(engine):
    uni = await partner(engine, "unicommerce", STORE)
    tea, rice = await listings(engine, uni.shop, [1, 5])
    token = await token_of(uni)
    body = {"inventoryList": [row(f"SKU-{tea}", "12"), row(f"SKU-{rice}", "-1"), row("NEW", "3"), row("X", "1", "BLR_DS9")]}
    answer = await push(uni, "updateInventory", body, token)
    assert answer.json() == {
        "status": "PARTIAL_SUCCESS",
        "failedProductList": [{"productId": "P", "variantId": f"SKU-{rice}", "message": "inventory -1 is out of range"}],
    }
    assert await counters(engine, tea) == (12, 0, 0)
    assert await counters(engine, rice) == (5, 0, 0)
    assert sorted(state for _, _, state in await uni.instructions()) == ["APPLIED", "PARKED", "PARKED"]
    nothing = await push(uni, "updateInventory", {"inventoryList": [row("A", "many")]}, token)
    assert (nothing.status_code, nothing.json()["status"]) == (400, "FAILED")
    assert await uni.discrepancies() == 0


@pytest.mark.parametrize(("kind", "left"), [("RETURN_TO_VENDOR", 20), ("RETURNABLE", 27)])
async def test_goods_of_a_gatepass_leave_once_and_come_once_however_often_it_is_told_of(engine, kind, left):
    """Awaited and closed, and each again with another time: Uniware says it anew whenever it touches a gatepass."""
    uni = await partner(engine, "unicommerce", STORE)
    [tea] = await listings(engine, uni.shop, [30])
    basic = "Basic " + base64.b64encode(f"{uni.source_id}:{uni.text}".encode()).decode()
    token = (await uni.client.post(f"{BASE}/oauth/token", headers={"authorization": basic})).json()["access_token"]
    item = {"itemTypeSKU": f"SKU-{tea}", "quantity": 10, "receivedQuantity": 7, "inventoryType": "GOOD_INVENTORY"}
    states = (("awaitedGatepass", "RETURN_AWAITED"), ("closeGatepass", "CLOSED"))
    for path, status in states * 2:
        now = str(round(datetime.now(UTC).timestamp() * 1000))
        told = {"code": "G-1", "statusCode": status, "type": kind, "updated": now, "gatePassItemDTOs": [item]}
        answer = await uni.client.post(f"{BASE}/{path}", json=told, headers={"authorization": f"bearer {token}"})
        assert answer.status_code == 200
        await uni.worker.drain()
    assert await counters(engine, tea) == (left, 0, 0)
    assert await uni.payloads() == ["APPLIED"] * 4
    assert await uni.discrepancies() == 0


async def test_products_are_those_of_its_own_stores_page_by_page(engine):
    uni = await partner(engine, "unicommerce", STORE)
    stranger = await shop(engine)
    await listing(engine, stranger, 5)
    ids = sorted(await listings(engine, uni.shop, [1, None, 3], price_minor=18900, mrp_minor=21000))
    await uni.map(EntityKind.VARIANT, "V-900-250", ids[0])
    async with engine.begin() as connection:
        await connection.execute(update(t.listing).where(t.listing.c.id == ids[2]).values(active=False))
    token = await token_of(uni)
    assert await get(uni, "productsCount", token) == {"count": 3}
    assert await get(uni, "productsCount", token, publishedStatus="PUBLISHED") == {"count": 2}
    first = (await get(uni, "products", token, pageNumber="1", pageSize="2"))["products"]
    second = (await get(uni, "products", token, pageNumber="2", pageSize="2"))["products"]
    assert [one["id"] for one in (*first, *second)] == [str(id) for id in ids]
    assert (await get(uni, "products", token, pageNumber="3", pageSize="2")) == {"products": []}
    (variant,) = first[0]["variants"]
    assert (variant["variantId"], variant["sku"], variant["live"]) == ("V-900-250", f"SKU-{ids[0]}", True)
    assert (variant["itemPrice"]["listingPrice"], variant["itemPrice"]["mrp"]) == ("189.00", "210.00")
    assert [one["variants"][0]["inventory"] for one in (*first, *second)] == [1, None, 3]
    assert second[0]["variants"][0]["live"] is False
    # What it calls the variant by is what it pushes.
    await push(uni, "updateInventory", {"inventoryList": [row("V-900-250", "8")]}, token)
    assert await counters(engine, ids[0]) == (8, 0, 0)


async def test_several_stores_of_a_source_are_one_shelf_to_it(engine):
    uni = await partner(engine, "unicommerce", STORE)
    (tea,) = await listings(engine, uni.shop, [4], price_minor=18900)
    async with engine.begin() as connection:
        store_id = UUID(int=tea.int + 1)
        values = {"slug": f"s-{store_id}", "name": "Two", "city": "Bengaluru", "lat": 12.97, "lng": 77.59}
        await connection.execute(t.store.insert().values(id=store_id, merchant_id=uni.shop.merchant_id, **values))
        mine = {"merchant_id": uni.shop.merchant_id, "store_id": store_id}
        other = {"id": store_id, "product_id": tea, "variant_id": tea, "name": "Tea", "price_minor": 19900, **mine}
        await connection.execute(t.listing.insert().values(**other, told_at=datetime.now(UTC)))
        await connection.execute(
            t.stock_level.insert().values(listing_id=store_id, tracked=True, on_hand=6, held=1, version=0, **mine)
        )
    token = await token_of(uni)
    assert (await get(uni, "products", token))["products"][0]["variants"][0]["inventory"] == 4
    await uni.map(EntityKind.STORE, "BLR_DS2", store_id)
    ((variant,),) = [one["variants"] for one in (await get(uni, "products", token))["products"]]
    assert (variant["inventory"], variant["blockedInventory"]) == (9, 1)
    assert variant["itemPrice"]["listingPrice"] in ("189.00", "199.00")


async def test_orders_are_fetched_taken_and_turned_down(engine, reads):
    uni = await partner(engine, "unicommerce", STORE)
    tea, customer = await listing(engine, uni.shop, 10), await account(engine)
    stranger = await partner(engine, "unicommerce", STORE)
    purchase_id = await placed(engine, customer, await quoted(engine, customer, (tea, 2)))
    order = await the_order(reads, customer, purchase_id)
    token = await token_of(uni)
    (told,) = (await get(uni, "orders", token, pageNumber="1", pageSize="50", orderStatus="CREATED"))["orders"]
    assert (told["id"], told["orderStatus"], told["paymentType"], told["facilityCode"]) == (order.number, "CREATED", "COD", STORE)
    (item,) = told["orderItems"]
    assert (item["variantId"], item["quantity"], item["orderItemPrice"]["totalPrice"]) == (f"SKU-{tea}", 2, "100.00")
    assert told["shippingAddress"]["pincode"] == "560001"
    assert await get(uni, "orders", token, orderStatus="CANCELLED") == {"orders": []}
    assert await get(uni, "orders", token, pageNumber="2") == {"orders": []}
    assert await get(stranger, "orders", await token_of(stranger)) == {"orders": []}
    past = {"orderDateFrom": "2026-01-01T00:00:00", "orderDateTo": "2026-01-02T00:00:00+05:30"}
    assert await get(uni, "orders", token, **past) == {"orders": []}
    taken = await push(uni, "orders/acknowledge", {"orderId": order.number}, token)
    assert (taken.status_code, taken.json()) == (200, {"status": "SUCCESS"})
    assert (await the_order(reads, customer, purchase_id)).status is OrderStatus.ACCEPTED
    cancelled = await push(uni, "orders/cancel", {"orderId": order.number, "cancellationReason": "no stock"}, token)
    assert cancelled.json() == {"status": "SUCCESS"}
    assert (await the_order(reads, customer, purchase_id)).status is OrderStatus.CANCELLED
    assert [one["id"] for one in (await get(uni, "orders", token, orderStatus="CANCELLED"))["orders"]] == [order.number]
    assert await counters(engine, tea) == (10, 0, 0)


async def test_an_item_that_was_not_found_is_seen_by_the_store(engine, reads):
    uni = await partner(engine, "unicommerce", STORE)
    tea, customer = await listing(engine, uni.shop, 10), await account(engine)
    purchase_id = await placed(engine, customer, await quoted(engine, customer, (tea, 2)))
    order = await the_order(reads, customer, purchase_id)
    token = await token_of(uni)
    item = {"itemCode": f"{order.number}-1", "itemSku": f"SKU-{tea}", "cancellationReason": "INVENTORY_NOT_FOUND"}
    body = {"saleOrderCode": order.number, "facilityCode": STORE, "items": [item]}
    for _ in range(2):
        answer = await push(uni, "cancelSOItem", body, token)
        assert answer.json() == {"status": "Success", "message": "ok"}
    assert (await the_order(reads, customer, purchase_id)).at_risk
    assert await uni.payloads() == ["APPLIED", "DUPLICATE"]


async def test_a_question_that_makes_no_sense_is_refused_in_its_words(engine):
    uni = await partner(engine, "unicommerce", STORE)
    token = await token_of(uni)
    answer = await uni.client.get(f"{BASE}/orders", params={"orderStatus": "LOST"}, headers={"apiKey": token})
    assert (answer.status_code, answer.json()["status"]) == (400, "FAILED")
    assert "is none of" in answer.json()["message"]
