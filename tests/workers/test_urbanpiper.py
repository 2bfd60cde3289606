"""A till behind UrbanPiper, through the door it calls, onto the shelf."""

import json
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import insert, select
from sqlalchemy.ext.asyncio import AsyncEngine

from db import tables as t
from db.ids import new_id
from db.orders import OrderRow
from db.reads import Reads
from domain.intake import EntityKind
from domain.orders import OrderStatus
from domain.proofs import Proof, Strategy
from tests.db.test_purchases import CASH, placed, quoted, the_order
from tests.partners import Partner, partner
from tests.providers.test_urbanpiper import CHEESE, CLOSE, LARGE, LASSI, MENU, PIZZA, REGULAR, TOGGLE
from tests.world import Shop, account, listing

STORE = "ST-01"
SIZES: dict[str, Any] = {**MENU, "flush_items": True, "items": [PIZZA, LASSI], "options": [REGULAR, LARGE, CHEESE]}
PUSH = f"external/api/v1/inventory/locations/{STORE}/"


@pytest.fixture
async def till(engine: AsyncEngine) -> Partner:
    made = await partner(engine, "urbanpiper", STORE)
    answer = await made.tell(PUSH, SIZES)
    assert answer.status_code == 200, answer.text
    assert set(answer.json()) == {"status", "message", "reference"}
    assert not await made.failures()
    return made


async def another_store(engine: AsyncEngine, shop: Shop) -> UUID:
    id = new_id()
    place = {"slug": f"s-{id}", "name": "Amrit Annexe", "city": "Bengaluru", "lat": 12.9716, "lng": 77.5946}
    async with engine.begin() as connection:
        await connection.execute(insert(t.store).values(id=id, merchant_id=shop.merchant_id, **place))
    return id


async def off(till: Partner) -> set[str]:
    return {sku for sku in await till.listings() if (await till.level(sku)).off}


async def choices(till: Partner) -> dict[str, bool]:
    """Which are off, by the till's own id."""
    m = t.modifier.c
    return {row.external_id: row.off for row in await till.rows(select(m.external_id, m.off))}


async def test_a_menu_is_on_the_shelf_in_its_sizes_at_their_prices(till: Partner):
    found = await till.listings()
    assert {sku: (row.price_minor, row.packaging_minor, row.active) for sku, row in found.items()} == {
        "I-GP+O-REG": (21900, 1000, True),
        "I-GP+O-LRG": (36900, 1000, True),
        "5": (6000, 0, True),
    }


async def test_only_who_has_the_key_is_heard(till: Partner):
    answer = await till.post("hub/api/v1/items/", TOGGLE, authorization=f"apikey {till.source_id}:wrong")
    assert answer.status_code == 401
    assert answer.json()["status"] == "error"
    assert await till.failures("AUTH")


async def test_a_till_may_be_given_the_source_as_its_host_and_the_hub_a_header_of_its_own(engine: AsyncEngine, till: Partner):
    raw = json.dumps({**CLOSE, "turn_on_at": None}).encode()
    path = f"/v1/integrations/pos/urbanpiper/{till.source_id}/hub/api/v1/location/"
    told = await till.client.post(path, content=raw, headers={"authorization": f"apikey {till.source_id}:{till.text}"})
    assert told.status_code == 200, told.text
    hub = await partner(engine, "urbanpiper", STORE, of=till.shop, proof=Proof(Strategy.STATIC_HEADER, header="x_api_token"))
    answer = await hub.client.post(hub.path("webhooks/store-status"), content=raw, headers={"x_api_token": hub.text})
    assert answer.status_code == 200, answer.text
    stranger = await hub.client.post(hub.path("webhooks/store-status"), content=raw, headers={"x_api_token": "no"})
    assert stranger.status_code == 401


async def test_what_a_whole_push_leaves_out_is_sold_no_more_and_a_part_leaves_the_rest(till: Partner):
    async def shown() -> set[str]:
        return {sku for sku, row in (await till.listings()).items() if row.active}

    await till.tell(PUSH, {**SIZES, "flush_items": False, "items": [{**LASSI, "price": 65}]})
    assert await shown() == {"I-GP+O-REG", "I-GP+O-LRG", "5"}
    assert (await till.listings())["5"].price_minor == 6500
    await till.tell("webhooks/menu", {**SIZES, "options": [REGULAR, CHEESE]})  # of three forms one: no more than may go unseen
    assert await shown() == {"I-GP+O-REG", "I-GP+O-LRG", "5"}
    assert "it would remove 1 of the 3" in (await till.failures("VALIDATION"))[-1].message


async def test_an_item_that_comes_in_sizes_from_now_on_goes_off_in_all_of_them(till: Partner):
    groups = [{**MENU["option_groups"][0], "item_ref_ids": ["I-GP", "5"]}, MENU["option_groups"][1]]
    await till.tell(PUSH, {**SIZES, "flush_items": False, "option_groups": groups})
    await till.tell("hub/api/v1/items/", {**TOGGLE, "item_ref_ids": ["5"], "option_ref_ids": [], "turn_on_at": None})
    assert await off(till) == {"5", "5+O-REG", "5+O-LRG"}


async def test_an_option_that_is_off_is_off_as_a_choice_and_as_a_size(till: Partner):
    told = {**TOGGLE, "item_ref_ids": [], "option_ref_ids": ["O-LRG", "O-CHS"], "turn_on_at": None}
    await till.tell("hub/api/v1/items/", told)
    assert await off(till) == {"I-GP+O-LRG"}
    assert (await choices(till))["O-CHS"]
    await till.tell("hub/api/v1/items/", {**told, "action": "enable"})
    assert await off(till) == set()
    assert not (await choices(till))["O-CHS"]
    assert not await till.failures()


async def test_an_option_nobody_knows_waits_for_the_menu_that_has_it(till: Partner):
    await till.tell("hub/api/v1/items/", {**TOGGLE, "item_ref_ids": [], "option_ref_ids": ["O-MED"], "turn_on_at": None})
    assert [row.kind.value for row in await till.failures()] == ["MAPPING"]
    medium = {**LARGE, "ref_id": "O-MED", "title": "Medium", "price": 70}
    await till.tell(PUSH, {**SIZES, "options": [REGULAR, medium, LARGE, CHEESE]})
    states = {state for command, entity, state in await till.instructions()}
    assert states <= {"APPLIED", "SUPERSEDED"}


async def test_an_item_goes_off_with_all_its_sizes(till: Partner):
    await till.tell("hub/api/v1/items/", {**TOGGLE, "option_ref_ids": [], "turn_on_at": None})
    assert await off(till) == {"I-GP+O-REG", "I-GP+O-LRG"}


async def test_the_store_closes_and_opens(till: Partner):
    async def status() -> str:
        [row] = await till.rows(select(t.store.c.status).where(t.store.c.id == till.shop.store_id))
        return row.status.value

    await till.tell("hub/api/v1/location/", {**CLOSE, "turn_on_at": None})
    assert await status() == "CLOSED"
    await till.tell("hub/api/v1/location/", {**CLOSE, "action": "enable"})
    assert await status() == "OPEN"


async def test_the_master_menu_fills_every_store_with_the_same_goods(engine: AsyncEngine):
    till = await partner(engine, "urbanpiper", STORE)
    await till.map(EntityKind.STORE, "ST-02", await another_store(engine, till.shop))
    await till.tell("external/api/v1/inventory/locations/-1/", SIZES)
    assert not await till.failures()
    p, li = t.product.c, t.listing.c
    assert len(await till.rows(select(p.id).where(p.merchant_id == till.shop.merchant_id))) == 2
    found = await till.rows(select(li.store_id, li.variant_id).where(li.merchant_id == till.shop.merchant_id))
    assert len(found) == 6
    assert len({row.variant_id for row in found}) == 3


# ---------------------------------------------------------------- orders, by the paths a till puts them to


async def ordered(engine: AsyncEngine, till: Partner) -> OrderRow:
    """Two of something the till's store sells, delivered by the store itself."""
    tea, customer = await listing(engine, till.shop, 10), await account(engine)
    purchase_id = await placed(engine, customer, await quoted(engine, customer, (tea, 2)), CASH)
    return await the_order(Reads(engine), customer, purchase_id)


async def put(till: Partner, order: OrderRow, rest: str, told: dict[str, Any]) -> OrderStatus:
    path, raw = f"external/api/v1/orders/{order.number}{rest}/", json.dumps(told).encode()
    answer = await till.client.put(till.path(path), content=raw, headers=till.proven(path, raw))
    assert (answer.status_code, answer.json()["status"]) == (200, "success"), answer.text
    await till.worker.drain()
    [row] = await till.rows(select(t.orders.c.status).where(t.orders.c.id == order.id))
    return row.status


async def test_an_order_is_taken_made_and_brought(engine: AsyncEngine):
    till = await partner(engine, "urbanpiper", STORE, self_delivery=True)
    order = await ordered(engine, till)
    assert await put(till, order, "", {"reference_id": "POS-31"}) is OrderStatus.PLACED
    taken = {"new_status": "Acknowledged", "extra": {"prep_time_mins": 20}}
    assert await put(till, order, "/status", taken) is OrderStatus.ACCEPTED
    assert await put(till, order, "/status", {"new_status": "Food Ready"}) is OrderStatus.READY
    assert await put(till, order, "/status", {"new_status": "Dispatched"}) is OrderStatus.PICKED_UP
    assert await put(till, order, "/status", {"new_status": "Completed"}) is OrderStatus.DELIVERED
    assert not await till.failures()


async def test_an_order_that_is_turned_down_for_want_of_an_item_takes_it_off_the_shelf(engine: AsyncEngine, till: Partner):
    order = await ordered(engine, till)
    told = {
        "new_status": "Cancelled",
        "message": "Paneer finished",
        "reason_code": "item_out_of_stock",
        "extra": {"location_ref_id": STORE, "item_ref_ids": ["I-GP"]},
    }
    assert await put(till, order, "/status", told) is OrderStatus.REJECTED
    assert await off(till) == {"I-GP+O-REG", "I-GP+O-LRG"}
    assert not await till.failures()
