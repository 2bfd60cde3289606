"""From a payload to the shelf: what the worker makes of instructions, on the real database."""

import asyncio
import json
import os
import random
import signal
import subprocess
import sys
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import func, insert, select, update

from adapters.bus import open_bus
from db import tables as t
from db.ids import new_id
from db.reads import Reads
from db.unit_of_work import unit_of_work
from domain import stock_instructions
from domain.failures import ResolveFailure, replay_failures, resolve_failure
from domain.identity import Actor, ActorKind, MerchantRole
from domain.intake import EntityKind, FailureState
from domain.refusals import Conflict, NotFound, Refused
from tests.figures import show
from tests.partners import INBOUNDS, Partner, client_of, dish, event, menu, partner, size, snapshot, worker_of
from tests.world import account, listing, member, shop
from workers import instructions as loops
from workers.relay import Hints

NOW = datetime.now(UTC)


async def events(till: Partner, stream: str, entity) -> list:
    e = t.event.c
    return await till.rows(select(t.event).where(e.stream == stream, e.entity_id == entity).order_by(e.seq))


async def stocked(engine, sku: str = "TEA-250", on_hand: int | None = 5, store: str | None = "BLR_DS1") -> Partner:
    """A warehouse, and a listing of the SKU in its store."""
    mine = await shop(engine)
    id = await listing(engine, mine, on_hand)
    async with engine.begin() as connection:
        await connection.execute(update(t.variant).where(t.variant.c.id == id).values(sku=sku))
    return await partner(engine, "wms", store, of=mine)


async def replay(till: Partner, actor: Actor | None = None) -> None:
    ids = [row.id for row in await till.failures()]
    async with unit_of_work(till.engine) as uow:
        await replay_failures(ids, actor or till.shop.owner, uow)


# ---------------------------------------------------------------- menus


async def test_a_menu_becomes_products_listings_and_prices(engine):
    till = await partner(engine, "petpooja", "k7x2m9qa")
    pizza = dish("81001", variation=[size("81091", "Regular", "199.00"), size("81092", "Large", "349.00")])
    answer = await till.tell("webhooks/menu", menu("k7x2m9qa", pizza, dish("81002")))
    assert (answer.status_code, answer.json()) == (200, {"success": "1", "message": "Menu accepted"})
    assert await till.payloads() == ["APPLIED"], await till.instructions()
    listed = await till.listings()
    assert {sku: row.price_minor for sku, row in listed.items()} == {"81091": 19900, "81092": 34900, "81002": 10000}
    assert all(row.active for row in listed.values())
    assert not await till.failures()


async def test_the_same_menu_again_changes_nothing_and_another_only_what_differs(engine):
    till = await partner(engine, "petpooja", "k7x2m9qa")
    dishes = [dish(str(n)) for n in range(10)]
    await till.tell("webhooks/menu", menu("k7x2m9qa", *dishes))
    before = {sku: row.version for sku, row in (await till.listings()).items()}
    await till.tell("webhooks/menu", {**menu("k7x2m9qa", *dishes), "serverdatetime": "2026-01-05 11:33:13"})
    assert {sku: row.version for sku, row in (await till.listings()).items()} == before
    dishes[3] = dish("3", "120.00")
    await till.tell("webhooks/menu", menu("k7x2m9qa", *dishes[:9]))
    after = await till.listings()
    assert {sku for sku, row in after.items() if row.version != before[sku]} == {"3", "9"}
    assert (after["3"].price_minor, after["9"].active) == (12000, False)
    await till.tell("webhooks/menu", menu("k7x2m9qa", *dishes))
    assert (await till.listings())["9"].active
    assert await till.payloads() == ["APPLIED"] * 4
    assert not await till.failures()


async def test_items_go_off_and_on_with_their_sizes_and_add_ons(engine):
    till = await partner(engine, "petpooja", "k7x2m9qa")
    cheese = {"addonitemid": "9001", "addonitem_name": "Cheese", "addonitem_price": "40.00", "active": "1"}
    group = {"addongroupid": "300", "addongroup_name": "Extras", "active": "1", "addongroupitems": [cheese]}
    link = {"addon_group_id": "300", "addon_item_selection_min": "0", "addon_item_selection_max": "1"}
    pizza = dish("81001", variation=[size("81091", "Regular", "199.00", addon=[link]), size("81092", "Large", "349.00")])
    await till.tell("webhooks/menu", menu("k7x2m9qa", pizza, groups=[group]))
    offered = await till.rows(select(t.listing_modifier_group.c.listing_id))
    listed = await till.listings()
    assert [row.listing_id for row in offered] == [listed["81091"].id]

    off = {"restID": "k7x2m9qa", "type": "item", "inStock": False, "itemID": ["81001"], "autoTurnOnTime": "custom"}
    back = (NOW + timedelta(hours=3)).replace(second=0, microsecond=0)
    local = (back + timedelta(hours=5, minutes=30)).strftime("%Y-%m-%d %H:%M")
    answer = await till.tell("item_stock_off", {**off, "customTurnOnTime": local})
    assert answer.json() == {"code": "200", "status": "success", "message": "Stock updated"}
    assert [((await till.level(sku)).off, (await till.level(sku)).back_at) for sku in ("81091", "81092")] == [(True, back)] * 2
    await till.tell("item_stock", {"restID": "k7x2m9qa", "type": "item", "inStock": "1", "itemID": {"0": 81092}})
    assert [(await till.level(sku)).off for sku in ("81091", "81092")] == [True, False]

    await till.tell("webhooks/inventory", {"restID": "k7x2m9qa", "type": "addon", "inStock": False, "itemID": ["9001"]})
    (choice,) = await till.rows(select(t.modifier).where(t.modifier.c.store_id == till.shop.store_id))
    assert choice.off
    assert (await till.listings())["81091"].version == listed["81091"].version + 1
    assert await till.payloads() == ["APPLIED"] * 4, await till.failures()


def extras(*ids: str) -> dict:
    """A PetPooja group of these add-ons, and a dish that is offered with it."""
    told = [{"addonitemid": id, "addonitem_name": f"Extra {id}", "addonitem_price": "40.00", "active": "1"} for id in ids]
    link = {"addon_group_id": "300", "addon_item_selection_min": "0", "addon_item_selection_max": "1"}
    group = {"addongroupid": "300", "addongroup_name": "Extras", "active": "1", "addongroupitems": told}
    return menu("k7x2m9qa", dish("1", addon=[link]), groups=[group])


def add_on(id: str, *, on: bool) -> dict:
    return {"restID": "k7x2m9qa", "type": "addon", "inStock": on, "itemID": [id]}


async def choices(till: Partner) -> dict[str, bool]:
    """Which of the store's add-ons are off."""
    found = await till.rows(select(t.modifier.c.external_id, t.modifier.c.off).where(t.modifier.c.store_id == till.shop.store_id))
    return {row.external_id: row.off for row in found}


async def test_an_add_on_told_of_before_its_menu_ends_as_it_was_told_last(engine):
    till = await partner(engine, "petpooja", "k7x2m9qa")
    await till.tell("webhooks/inventory", add_on("9001", on=False))
    await till.tell("webhooks/inventory", add_on("9002", on=False))
    assert await till.payloads() == ["PARKED"] * 2
    await till.tell("webhooks/menu", extras("9001", "9002"))
    assert await choices(till) == {"9001": True, "9002": True}
    await till.tell("webhooks/inventory", add_on("9001", on=True))
    assert await choices(till) == {"9001": False, "9002": True}
    assert await till.payloads() == ["APPLIED"] * 4
    assert {failure.state for failure in await till.failures("MAPPING")} == {FailureState.RESOLVED}


async def test_an_add_on_parked_while_its_menu_came_is_found_when_the_worker_looks_again(engine):
    till = await partner(engine, "petpooja", "k7x2m9qa")
    await till.tell("webhooks/menu", extras("9001"))
    await till.tell("webhooks/inventory", add_on("9009", on=False))
    async with engine.begin() as connection:  # as though the menu had brought it between the look and the parking
        await connection.execute(update(t.modifier).where(t.modifier.c.store_id == till.shop.store_id).values(external_id="9009"))
    await worker_of(engine).drain()
    assert await choices(till) == {"9009": True}
    assert await till.payloads() == ["APPLIED"] * 2


async def test_an_add_on_that_is_mapped_by_hand_is_the_one_on_the_menu(engine):
    till = await partner(engine, "petpooja", "k7x2m9qa")
    await till.tell("webhooks/menu", extras("9001"))
    await till.tell("webhooks/inventory", add_on("9009", on=False))
    (known,) = await till.rows(select(t.modifier.c.id).where(t.modifier.c.store_id == till.shop.store_id))
    await till.map(EntityKind.MODIFIER, "9009", known.id)
    await till.worker.drain()
    assert await choices(till) == {"9001": True}
    await till.tell("webhooks/inventory", add_on("9009", on=True))
    assert await choices(till) == {"9001": False}
    assert await till.payloads() == ["APPLIED"] * 3


async def test_an_add_on_mapped_to_what_another_stores_menu_has_is_woken_once_and_not_for_ever(engine):
    till = await partner(engine, "petpooja", "k7x2m9qa")
    await till.tell("webhooks/menu", extras("9001"))
    elsewhere, group, id = new_id(), new_id(), new_id()
    async with engine.begin() as connection:
        (store,) = (await connection.execute(select(t.store).where(t.store.c.id == till.shop.store_id))).mappings()
        more = {name: value for name, value in store.items() if name not in ("id", "slug", "search")}
        await connection.execute(insert(t.store).values(id=elsewhere, slug=f"s-{elsewhere}", **more))
        mine = {"merchant_id": till.shop.merchant_id, "store_id": elsewhere}
        await connection.execute(insert(t.modifier_group).values(id=group, name="Extras", external_id="g", **mine))
        await connection.execute(insert(t.modifier).values(id=id, group_id=group, name="Cheese", external_id="7007", **mine))
    await till.tell("webhooks/inventory", add_on("9009", on=False))
    await till.map(EntityKind.MODIFIER, "9009", id)
    await till.worker.drain()
    async with unit_of_work(engine) as uow:
        await uow.instructions.wake_resolved()
    assert [row[2] for row in await till.instructions()][-1] == "PARKED"


async def test_on_off_on_applies_each_and_ends_on(engine):
    till = await partner(engine, "petpooja", "k7x2m9qa")
    await till.tell("webhooks/menu", menu("k7x2m9qa", dish("1")))
    before = (await till.level("1")).version
    for on in (False, True, False, True):
        await till.post("webhooks/inventory", {"restID": "k7x2m9qa", "type": "item", "inStock": on, "itemID": ["1"]})
    await till.worker.drain()
    level = await till.level("1")
    assert (level.off, level.version) == (False, before + 4)


async def test_the_outlet_closes_until_a_time_and_opens(engine):
    till = await partner(engine, "petpooja", "k7x2m9qa")
    until = (NOW + timedelta(hours=20)).replace(microsecond=0)
    local = (until + timedelta(hours=5, minutes=30)).strftime("%Y-%m-%d %H:%M:%S")
    told = {"restID": "k7x2m9qa", "store_status": 0, "turn_on_time": local, "reason": "Kitchen maintenance"}
    answer = await till.tell("update_store_status", told)
    assert answer.json() == {"http_code": "200", "status": "success", "message": "Status updated"}
    s = t.store.c
    (row,) = await till.rows(select(s.status, s.status_until, s.status_reason).where(s.id == till.shop.store_id))
    assert (row.status.value, row.status_until, row.status_reason) == ("CLOSED", until, "Kitchen maintenance")
    asked = await till.post("get_store_status", {"restID": "k7x2m9qa"})
    assert asked.json() == {"http_code": "200", "status": "success", "store_status": "0", "message": "Closed"}
    await till.tell("webhooks/store-status", {"restID": "k7x2m9qa", "store_status": "1"})
    asked = await till.client.get(till.path("get_store_status"), params={"restID": "k7x2m9qa"})
    assert asked.json() == {"http_code": "200", "status": "success", "store_status": "1", "message": "Open"}
    assert await till.payloads() == ["APPLIED"] * 2  # questions change nothing and are not kept


async def test_what_a_menu_leaves_out_of_a_bad_item_is_said_and_the_item_stays_as_it_was(engine):
    till = await partner(engine, "petpooja", "k7x2m9qa")
    await till.tell("webhooks/menu", menu("k7x2m9qa", dish("1"), dish("2")))
    answer = await till.tell("webhooks/menu", menu("k7x2m9qa", dish("1", "110.00"), dish("2", "-5", itemname="")))
    assert answer.status_code == 200
    (failure,) = await till.failures("VALIDATION")
    assert "$.items[1].price" in failure.message
    assert "$.items[1].itemname: is missing" in failure.message
    listed = await till.listings()
    assert {sku: (row.price_minor, row.active) for sku, row in listed.items()} == {"1": (11000, True), "2": (10000, True)}


async def test_every_event_names_its_instruction_and_its_payloads_correlation(engine):
    till = await partner(engine, "petpooja", "k7x2m9qa")
    await till.tell("webhooks/menu", menu("k7x2m9qa", dish("1")))
    i = t.instruction.c
    said = await till.rows(select(i.id, i.command).where(i.source_id == till.source_id))
    priced = next(row.id for row in said if row.command == "UpdatePrice")
    (payload,) = await till.rows(select(t.payload).where(t.payload.c.source_id == till.source_id))
    (made,) = await events(till, "listing", (await till.listings())["1"].id)
    assert (made.caused_by, made.correlation_id) == (f"instruction:{priced}", payload.correlation_id)


# ---------------------------------------------------------------- the guard


async def test_a_push_that_would_empty_the_store_waits_for_approval_and_blocks_nothing(engine):
    till = await partner(engine, "petpooja", "k7x2m9qa")
    await till.tell("webhooks/menu", menu("k7x2m9qa", *(dish(str(n)) for n in range(10))))
    await till.tell("webhooks/menu", menu("k7x2m9qa", *(dish(str(n)) for n in range(6))))
    assert await till.payloads() == ["APPLIED", "PARKED"]
    (failure,) = await till.failures("VALIDATION")
    assert "remove 4 of the 10 listings" in failure.message
    assert all(row.active for row in (await till.listings()).values())
    await till.tell("webhooks/inventory", {"restID": "k7x2m9qa", "type": "item", "inStock": False, "itemID": ["1"]})
    assert (await till.level("1")).off
    await replay(till)
    await till.worker.drain()
    assert await till.payloads() == ["APPLIED"] * 3
    assert sorted(sku for sku, row in (await till.listings()).items() if not row.active) == ["6", "7", "8", "9"]
    assert (await till.level("1")).off  # what was told after the parked push stands
    (failure,) = await till.failures("VALIDATION")
    assert (failure.state.value, failure.replays) == ("RESOLVED", 1)


async def test_what_comes_while_a_menu_is_judged_waits_for_it_and_is_done(engine):
    till = await partner(engine, "petpooja", "k7x2m9qa")
    await till.tell("webhooks/menu", menu("k7x2m9qa", dish("1")))
    await till.post("webhooks/menu", menu("k7x2m9qa", dish("1", "110.00")))
    await till.post("webhooks/inventory", {"restID": "k7x2m9qa", "type": "item", "inStock": False, "itemID": ["1"]})
    async with unit_of_work(engine) as uow:  # another worker looks on before the menu is judged
        assert await uow.instructions.park_followers(till.source_id) == 0
    await till.worker.drain()
    assert await till.payloads() == ["APPLIED"] * 3
    assert (await till.level("1")).off


@pytest.mark.parametrize(
    ("push", "said"),
    [
        (lambda n: dish(str(n), in_stock="0"), "leave nothing in stock"),
        (lambda n: dish(str(n), "10000.00"), "move prices by 9900 %"),
    ],
)
async def test_a_push_of_another_unit_or_of_nothing_in_stock_waits_too(engine, push, said):
    till = await partner(engine, "petpooja", "k7x2m9qa")
    await till.tell("webhooks/menu", menu("k7x2m9qa", *(dish(str(n)) for n in range(4))))
    await till.tell("webhooks/menu", menu("k7x2m9qa", *(push(n) for n in range(4))))
    (failure,) = await till.failures("VALIDATION")
    assert said in failure.message
    assert {row.price_minor for row in (await till.listings()).values()} == {10000}


async def test_what_is_missing_is_not_taken_away_where_it_was_told_of_since(engine):
    till = await partner(engine, "petpooja", "k7x2m9qa")
    await till.tell("webhooks/menu", menu("k7x2m9qa", *(dish(str(n)) for n in range(10))))
    await till.post("webhooks/menu", menu("k7x2m9qa", *(dish(str(n)) for n in range(8))))
    async with engine.begin() as connection:  # after its receipt, before it runs
        li = t.listing.c
        await connection.execute(update(t.listing).where(li.name == "Dish 9").values(told_at=func.clock_timestamp()))
    await till.worker.drain()
    assert sorted(sku for sku, row in (await till.listings()).items() if not row.active) == ["8"]


# ---------------------------------------------------------------- stock


async def test_counts_deltas_and_results_of_the_warehouse(engine):
    wms = await stocked(engine)
    await wms.tell("webhooks/stock", snapshot("BLR_DS1", ("TEA-250", 40, 10)))
    assert (await wms.level("TEA-250")).on_hand == 40
    await wms.tell("webhooks/stock", event("stock.adjusted", location="BLR_DS1", sku="TEA-250", delta="-2", version=11))
    await wms.tell("webhooks/receiving", event("receipt.completed", location="BLR_DS1", receipt_id="R1", version=12,
                                              lines=[{"sku": "TEA-250", "accepted_qty": "10", "rejected_qty": "1"}]))  # fmt: skip
    await wms.tell("webhooks/returns", event("return.restocked", location="BLR_DS1", lines=[
        {"sku": "TEA-250", "qty": "1", "condition": "good"}, {"sku": "TEA-250", "qty": "4", "condition": "damaged"}]))  # fmt: skip
    assert (await wms.level("TEA-250")).on_hand == 49
    told = event("stock.adjusted", location="BLR_DS1", sku="TEA-250", delta="-2", version=14, resulting_available="30")
    await wms.tell("webhooks/stock", told)
    assert (await wms.level("TEA-250")).on_hand == 30
    m = t.stock_movement.c
    kinds = await wms.rows(select(m.kind).where(m.merchant_id == wms.shop.merchant_id).order_by(m.id))
    assert [row.kind.value for row in kinds][1:] == ["COUNTED", "ADJUSTED", "RECEIVED", "RETURNED", "COUNTED"]
    assert await wms.payloads() == ["APPLIED"] * 5, await wms.failures()
    assert not await wms.discrepancies()


async def test_an_older_version_loses_and_says_so(engine):
    wms = await stocked(engine)
    await wms.tell("webhooks/stock", snapshot("BLR_DS1", ("TEA-250", 40, 10)))
    await wms.tell("webhooks/stock", snapshot("BLR_DS1", ("TEA-250", 7, 9)))
    await wms.tell("webhooks/stock", event("stock.adjusted", location="BLR_DS1", sku="TEA-250", delta="-3", version=8))
    assert (await wms.level("TEA-250")).on_hand == 40
    assert [row[2] for row in await wms.instructions()] == ["APPLIED", "SUPERSEDED", "SUPERSEDED"]
    assert [(row.kind.value, row.state.value) for row in await wms.failures()] == [("STALE", "RESOLVED")] * 2
    await wms.tell("webhooks/stock", snapshot("BLR_DS1", ("TEA-250", 40, 10)))  # a snapshot may say what it has said
    assert [row[2] for row in await wms.instructions()][-1] == "APPLIED"


async def test_an_unknown_sku_parks_with_what_follows_and_runs_in_order_when_it_is_mapped(engine):
    wms = await stocked(engine, "TEA-250")
    for version, units in ((1, 10), (2, 20), (3, 30)):
        await wms.tell("webhooks/stock", snapshot("BLR_DS1", ("ITS-OWN-ID", units, version), ("TEA-250", 5 + version, version)))
    assert [row[2] for row in await wms.instructions()] == ["PARKED", "APPLIED"] * 3
    assert await wms.payloads() == ["PARKED"] * 3
    (failure,) = await wms.failures()  # one for the entity, not one for each payload
    assert (failure.kind.value, failure.state.value) == ("MAPPING", "OPEN")
    assert failure.message == "nothing of ours is mapped to VARIANT:ITS-OWN-ID"
    (row,) = await wms.rows(select(t.variant.c.id).where(t.variant.c.merchant_id == wms.shop.merchant_id))
    await wms.map(EntityKind.VARIANT, "ITS-OWN-ID", row.id)
    await wms.worker.drain()
    assert (await wms.level("TEA-250")).on_hand == 30
    assert await wms.payloads() == ["APPLIED"] * 3
    (failure,) = await wms.failures("MAPPING")
    assert failure.state is FailureState.RESOLVED
    assert [event.body["failure"]["state"] for event in await events(wms, "failure", failure.id)] == ["OPEN", "RESOLVED"]


async def test_a_store_nobody_mapped_is_never_guessed(engine):
    wms = await stocked(engine, store=None)
    await wms.tell("webhooks/stock", snapshot("BLR_DS9", ("TEA-250", 9, 1), ("OTHER", 9, 1)))
    assert [row[2] for row in await wms.instructions()] == ["PARKED"] * 2
    (failure,) = await wms.failures()  # what all of a payload waits for is said once
    assert failure.message == "nothing of ours is mapped to STORE:BLR_DS9"
    await wms.map(EntityKind.STORE, "BLR_DS9", wms.shop.store_id)
    await wms.worker.drain()
    assert (await wms.level("TEA-250")).on_hand == 9
    assert [row[2] for row in await wms.instructions()] == ["APPLIED", "PARKED"]


async def test_a_count_of_what_nobody_lists_yet_does_not_keep_back_the_price_that_lists_it(engine):
    wms = await partner(engine, "wms", "BLR_DS1")
    for version, units in ((1, 12), (2, 11)):
        await wms.tell("webhooks/stock", snapshot("BLR_DS1", ("NEW-1", units, version)))
    await wms.tell("webhooks/stock", event("item.upserted", sku="NEW-1", title="New tea"))
    assert await wms.payloads() == ["PARKED", "PARKED", "APPLIED"]
    await wms.tell("webhooks/stock", event("price.updated", location="BLR_DS1", sku="NEW-1", price="189.00", version=1))
    assert await wms.payloads() == ["APPLIED"] * 4
    assert (await wms.level("NEW-1")).on_hand == 11
    assert {row.state for row in await wms.failures()} == {FailureState.RESOLVED}


async def test_what_appears_another_way_is_found_too(engine):
    wms = await partner(engine, "wms", "BLR_DS1")
    await wms.tell("webhooks/stock", snapshot("BLR_DS1", ("NEW-1", 12, 1)))
    assert await wms.payloads() == ["PARKED"]
    await wms.tell("webhooks/stock", event("item.upserted", sku="NEW-1", parent=None, title="New tea", attributes={}, version=1))
    assert await wms.payloads() == ["PARKED", "APPLIED"]  # known, and not listed yet
    await wms.tell("webhooks/stock", event("price.updated", sku="NEW-1", mrp="210.00", price="189.00", currency="INR", version=1))
    assert await wms.payloads() == ["APPLIED"] * 3
    assert ((await wms.level("NEW-1")).on_hand, (await wms.listings())["NEW-1"].mrp_minor) == (12, 21000)


async def test_a_price_of_tomorrow_waits_and_lets_todays_pass(engine):
    wms = await stocked(engine)
    later = (NOW + timedelta(days=1)).isoformat()
    told = {"sku": "TEA-250", "price": "60.00", "mrp": "90.00", "currency": "INR"}
    await wms.tell("webhooks/stock", event("price.updated", effective_from=later, version=5, **told))
    await wms.tell("webhooks/stock", event("price.updated", version=4, **{**told, "price": "55.00"}))
    assert (await wms.listings())["TEA-250"].price_minor == 5500
    i = t.instruction.c
    async with engine.begin() as connection:
        await connection.execute(update(t.instruction).where(i.source_id == wms.source_id).values(next_at=func.clock_timestamp()))
    await wms.worker.drain()
    assert (await wms.listings())["TEA-250"].price_minor == 6000


async def test_a_price_above_the_mrp_or_in_another_currency_fails_alone(engine):
    wms = await stocked(engine)
    answer = await wms.post("webhooks/stock", event("price.updated", sku="TEA-250", mrp="10.00", price="12.00", version=1))
    assert answer.status_code == 400
    assert "$.data.price: 12.00 is above the MRP, 10.00" in answer.json()["message"]
    await wms.tell("webhooks/stock", event("price.updated", sku="TEA-250", price="12.00", currency="USD", version=2))
    (refused, failure) = await wms.failures("VALIDATION")
    assert (refused.instruction_id, failure.state.value) == (None, "OPEN")
    assert "INR" in failure.message
    assert await wms.payloads() == ["REJECTED", "FAILED"]


# ---------------------------------------------------------------- poison, death, order


async def test_poison_stops_nobody_and_is_given_up_after_five_tries(engine, monkeypatch):
    wms = await stocked(engine)
    others = [f"SKU-{n}" for n in range(20)]
    for sku in others:
        await wms.tell("webhooks/stock", event("item.upserted", sku=sku, title=sku))
        await wms.tell("webhooks/stock", event("price.updated", sku=sku, price="10.00"))
    real = stock_instructions.apply_counts

    async def break_on_666(counts, uow):
        if any(count.units == 666 for count in counts):
            raise ZeroDivisionError("poison")
        await real(counts, uow)

    monkeypatch.setattr(stock_instructions, "apply_counts", break_on_666)
    lines = [(sku, 7, 1) for sku in others]
    await wms.tell("webhooks/stock", snapshot("BLR_DS1", *lines[:10], ("TEA-250", 666, 1), *lines[10:]))
    assert {(await wms.level(sku)).on_hand for sku in others} == {7}
    i = t.instruction.c
    mine = (i.source_id == wms.source_id) & (i.state == "WAITING")
    for _ in range(4):
        async with engine.begin() as connection:
            await connection.execute(update(t.instruction).where(mine).values(next_at=func.clock_timestamp()))
        await wms.worker.drain()
    (failure,) = await wms.failures("PROCESSING")
    assert failure.message == "ZeroDivisionError after 5 tries"
    assert (await wms.payloads())[-1] == "FAILED"
    monkeypatch.undo()
    await replay(wms)
    await wms.worker.drain()
    assert (await wms.level("TEA-250")).on_hand == 666
    assert [(row.state.value, row.replays) for row in await wms.failures()] == [("RESOLVED", 1)]
    with pytest.raises(Refused) as no:
        await replay(wms)
    assert isinstance(no.value.refusal, Conflict)
    assert "already applied" in no.value.refusal.message


async def test_several_workers_share_the_work_and_none_of_it_is_done_twice(engine):
    wms = await stocked(engine, on_hand=0)
    for n in range(60):
        await wms.post("webhooks/stock", event("stock.adjusted", location="BLR_DS1", sku="TEA-250", delta="1", version=n))
    await asyncio.gather(*(worker_of(engine, group=7).drain() for _ in range(4)))
    await wms.worker.drain()
    assert (await wms.level("TEA-250")).on_hand == 60
    assert not await wms.discrepancies()


VICTIM = """
import asyncio, sys
from sqlalchemy.ext.asyncio import create_async_engine
from tests.partners import worker_of
import workers.instructions as workers

real = workers.settle
async def slow(*arguments):
    await real(*arguments)  # all is written, nothing is committed
    print("inside", flush=True)
    await asyncio.sleep(60)
workers.settle = slow
asyncio.run(worker_of(create_async_engine(sys.argv[1])).drain())
"""


async def test_a_worker_killed_in_the_middle_loses_nothing_and_does_nothing_twice(engine, database_url):
    wms = await stocked(engine, on_hand=0)
    for n in range(5):
        await wms.post("webhooks/stock", event("stock.adjusted", location="BLR_DS1", sku="TEA-250", delta="3", version=n))
    root = Path(__file__).parents[2]
    victim = await asyncio.create_subprocess_exec(sys.executable, "-c", VICTIM, database_url, cwd=root, stdout=subprocess.PIPE)
    assert victim.stdout is not None
    assert await asyncio.wait_for(victim.stdout.readline(), 30) == b"inside\n"
    os.kill(victim.pid, signal.SIGKILL)
    await victim.wait()
    async with asyncio.timeout(20):  # until PostgreSQL has noticed
        while (await wms.level("TEA-250")).on_hand != 15:
            await wms.worker.drain()
    assert [row[2] for row in await wms.instructions()] == ["APPLIED"] * 5
    assert not await wms.discrepancies()


async def test_a_change_told_before_an_older_count_is_not_lost_by_it(engine):
    wms = await stocked(engine, on_hand=50)
    later = datetime.now(UTC) + timedelta(seconds=9)
    change = event("stock.adjusted", later, location="BLR_DS1", sku="TEA-250", delta="-3", version=8)
    await wms.tell("webhooks/stock", change)
    await wms.tell("webhooks/stock", snapshot("BLR_DS1", ("TEA-250", 40, 7), at=datetime.now(UTC)))
    assert (await wms.level("TEA-250")).on_hand == 37
    assert not await wms.discrepancies()


class Watched(loops.Instructions):
    """Tells of each round how much was done in it."""

    rounds: asyncio.Queue[int]

    async def once(self) -> int:
        done = await super().once()
        self.rounds.put_nowait(done)
        return done

    async def until(self, busy: bool) -> None:
        async with asyncio.timeout(10):
            while bool(await self.rounds.get()) is not busy:
                pass


async def test_what_a_door_keeps_wakes_a_worker_by_the_bus(engine, monkeypatch):
    wms = await stocked(engine)
    monkeypatch.setattr(loops, "POLL_S", 60)
    bus = open_bus("memory://")
    await bus.start()
    worker = Watched(lambda: unit_of_work(engine), Reads(engine), INBOUNDS, bus=bus)
    worker.rounds = asyncio.Queue()
    running = asyncio.create_task(worker.run())
    await worker.until(busy=False)
    client = client_of(replace(wms.door, kept=Hints(bus, None, loops.KEPT).committed))
    body = json.dumps(snapshot("BLR_DS1", ("TEA-250", 33, 1))).encode()
    await client.post(wms.path("webhooks/stock"), content=body, headers=wms.signed(body))
    await worker.until(busy=True)
    assert (await wms.level("TEA-250")).on_hand == 33
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    await bus.stop()


async def converges(engine, seed: int, told: int, skus: int) -> None:
    """Whatever the order and the repeats, what is left is the newest of each."""
    chance = random.Random(seed)
    wms = await partner(engine, "wms", "BLR_DS1")
    names = [f"S{n}" for n in range(skus)]
    for sku in names:
        await wms.tell("webhooks/stock", event("item.upserted", sku=sku, title=sku))
        await wms.tell("webhooks/stock", event("price.updated", sku=sku, price="10.00"))
    start = NOW - timedelta(minutes=30)
    news = [
        (f"m{seed}-{n}", snapshot("BLR_DS1", (chance.choice(names), chance.randrange(100), n), at=start + timedelta(seconds=n)))
        for n in range(told)
    ]
    fold = {}
    for _, one in news:
        (line,) = one["data"]["lines"]
        fold[line["sku"]] = int(line["available"])
    sent = [one for one in news for _ in range(chance.randint(1, 3))]
    chance.shuffle(sent)
    workers = [worker_of(engine, group=chance.choice((1, 3, 50))) for _ in range(3)]
    for start_at in range(0, len(sent), 10):
        posts = (
            wms.post("webhooks/stock", body, **wms.signed(json.dumps(body).encode(), id))
            for id, body in sent[start_at : start_at + 10]
        )
        answers = await asyncio.gather(*posts, chance.choice(workers).once())
        assert {answer.status_code for answer in answers[:-1]} == {200}
    await asyncio.gather(*(worker.drain() for worker in workers))
    await wms.worker.drain()
    show("news shuffled and repeated", seed=seed, told=told, sent=len(sent), skus=skus)
    assert {sku: (await wms.level(sku)).on_hand for sku in fold} == fold
    states = await wms.payloads()
    assert states.count("DUPLICATE") == len(sent) - len(news)
    assert not await wms.discrepancies()


@settings(max_examples=5, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(seed=st.integers(0, 10**6))
async def test_shuffled_and_repeated_news_ends_in_its_fold(engine, seed):
    await converges(engine, seed, told=30, skus=4)


@pytest.mark.long
@pytest.mark.parametrize("seed", range(20))
async def test_shuffled_and_repeated_news_ends_in_its_fold_at_length(engine, seed):
    await converges(engine, seed, told=500, skus=20)


# ---------------------------------------------------------------- people


async def test_strangers_and_clerks_find_no_failure_to_replay_or_resolve(engine):
    wms = await stocked(engine)
    await wms.tell("webhooks/stock", snapshot("BLR_DS1", ("UNKNOWN", 1, 1)))
    (failure,) = await wms.failures()
    clerk = await member(engine, wms.shop, MerchantRole.CLERK, [wms.shop.store_id])
    for actor in (clerk, (await shop(engine)).owner, await account(engine)):
        with pytest.raises(Refused) as no:
            await replay(wms, actor)
        assert isinstance(no.value.refusal, NotFound)
        with pytest.raises(Refused) as no:
            async with unit_of_work(engine) as uow:
                await resolve_failure(ResolveFailure(failure.id, FailureState.IGNORED, "not ours"), actor, uow)
        assert isinstance(no.value.refusal, NotFound)
    support = Actor(ActorKind.SUPPORT, (await account(engine)).id)
    async with unit_of_work(engine) as uow:
        await resolve_failure(ResolveFailure(failure.id, FailureState.IGNORED, "not ours"), support, uow)
    (failure,) = await wms.failures()
    assert (failure.state.value, failure.note, failure.version) == ("IGNORED", "not ours", 2)
    assert [row.action for row in await wms.rows(select(t.audit.c.action).where(t.audit.c.subject == failure.id))] == [
        "resolveFailure"
    ]
