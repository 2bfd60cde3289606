"""What a relay pushes of Vinculum, from the door to the shelf."""

from domain.intake import EntityKind
from tests.partners import partner
from tests.world import listings

STORE = "DS1"


def stock(*rows):
    return {"responseCode": 0, "responseMessage": "Success", "response": [{"location": STORE, **row} for row in rows]}


def item(sku: str, **more):
    told = {"skuCode": sku, "skuName": "Assam Tea", "classification": "Normal", "mrp": "210.000", "salePrice": "189.005"}
    return {"responseCode": 0, "response": {"skuList": [told | more]}}


async def test_what_is_good_and_free_is_on_the_shelf(engine):
    vin = await partner(engine, "vinculum", STORE)
    (tea,) = await listings(engine, vin.shop, [1])
    answer = await vin.tell("webhooks/stock", stock({"skuCode": f"SKU-{tea}", "qty": "20", "bucket": "Good", "committedQty": "15"}))
    assert (answer.status_code, answer.json()) == (200, {"responseCode": 0, "responseMessage": "Success"})
    assert (await vin.level(f"SKU-{tea}")).on_hand == 5
    wrong = await vin.tell("webhooks/stock", {"responseCode": 812, "responseMessage": "LocCode not valid"})
    assert wrong.status_code == 400
    assert "there is no such location" in wrong.json()["responseMessage"]
    assert await vin.discrepancies() == 0


async def test_a_count_may_come_before_anybody_knows_what_it_is_of(engine):
    vin = await partner(engine, "vinculum", STORE)
    await vin.tell("webhooks/stock", stock({"skuCode": "NEW", "qty": "4"}))
    await vin.tell("webhooks/items", item("NEW"))
    assert (await vin.listings())["NEW"].price_minor == 18901
    assert (await vin.level("NEW")).on_hand == 4
    await vin.tell("webhooks/items", item("NEW", isSaleable="no"))
    assert not (await vin.listings())["NEW"].active
    assert await vin.payloads() == ["APPLIED"] * 3


async def test_a_sku_is_known_to_every_store_of_its_source(engine):
    vin = await partner(engine, "vinculum", STORE)
    await vin.map(EntityKind.STORE, "DS2", vin.shop.store_id)
    await vin.tell("webhooks/items", item("NEW"))
    assert {state for _, _, state in await vin.instructions()} <= {"APPLIED", "SUPERSEDED"}
    assert (await vin.listings())["NEW"].price_minor == 18901
