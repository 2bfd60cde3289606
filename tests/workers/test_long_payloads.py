"""Files that are longer than what is read at the door: kept at once, and read by the worker some rows at a time."""

import json
from typing import Any

import pytest
from sqlalchemy import func, select, update

from db import tables as t
from db.ids import new_id
from db.reads import Reads
from db.unit_of_work import unit_of_work
from domain.intake import LATER_BYTES, EntityKind
from providers import catalogue_file
from providers.catalogue_file import CatalogueFile
from tests.partners import dish, menu, partner
from tests.world import shop
from workers import instructions as loops
from workers.instructions import Instructions

ROWS = 1_500
FILLED = "x" * 200  # so that so few rows are long


def feed(rows: int = ROWS, **envelope: Any) -> dict[str, Any]:
    made = [
        {"id": f"S{n}", "title": f"Thing {n}", "description": FILLED, "price": f"{n}.00", "quantity": n} for n in range(1, rows + 1)
    ]
    return {"rows": made, **envelope}


async def test_a_long_feed_is_kept_at_once_and_read_in_pieces(engine):
    seller = await partner(engine, "catalogue_file", "mine")
    body = feed()
    body["rows"][7]["price"] = "?"
    body["rows"][8]["mrp"] = "1.00"
    raw = json.dumps(body).encode()
    assert len(raw) > LATER_BYTES
    answer = await seller.client.post(seller.path("import?store=mine"), content=raw)
    assert answer.status_code == 202
    assert await seller.instructions() == []
    await seller.worker.drain()
    assert await seller.payloads() == ["APPLIED"]
    (failure,) = await seller.failures()
    assert failure.message == "row 8.price: '?' is no number\nrow 9.price: 9.00 is above the MRP, 1.00"
    listed = await seller.listings()
    assert len(listed) == ROWS - 2
    assert {row.price_minor // 100 for row in listed.values()} == set(range(1, ROWS + 1)) - {8, 9}
    assert (await seller.level("S1500")).on_hand == 1500
    ordinals = await seller.rows(select(t.instruction.c.ordinal).where(t.instruction.c.source_id == seller.source_id))
    assert sorted(row.ordinal for row in ordinals) == list(range(4 * (ROWS - 2)))


async def test_it_is_read_whole_or_not_at_all(engine, monkeypatch):
    """Who is killed while it is read leaves nothing of it, and the next one reads it from its beginning."""
    seller = await partner(engine, "catalogue_file", "mine")
    await seller.client.post(seller.path("import?store=mine"), content=json.dumps(feed()).encode())
    pieces = catalogue_file._Reading.pieces

    def dying(self):
        for place, batch in enumerate(pieces(self)):
            if place == 2:
                raise SystemError("killed")
            yield batch

    class Killed(Exception):
        pass

    def killed(*_):
        raise Killed

    with monkeypatch.context() as broken:
        broken.setattr(loops, "PATIENCE_S", 60)
        broken.setattr(catalogue_file._Reading, "pieces", dying)
        broken.setattr("workers.instructions.give_up", killed)
        with pytest.raises(Killed):
            await seller.worker.once()
    assert await seller.instructions() == []
    assert await seller.payloads() == ["ACCEPTED"]
    await seller.worker.drain()
    assert await seller.payloads() == ["APPLIED"]
    assert len(await seller.listings()) == ROWS


async def test_one_that_breaks_off_is_refused_as_a_whole_and_can_be_sent_again(engine):
    seller = await partner(engine, "catalogue_file", "mine")
    whole = json.dumps(feed(feed_id="F-1")).encode()
    await seller.client.post(seller.path("import?store=mine"), content=whole[:-40])
    await seller.worker.drain()
    assert (await seller.payloads(), await seller.instructions()) == (["FAILED"], [])
    (failure,) = await seller.failures("VALIDATION")
    assert failure.message.startswith("$: not JSON")
    answer = await seller.client.post(seller.path("import?store=mine"), content=whole)
    assert answer.status_code == 202
    await seller.worker.drain()
    assert await seller.payloads() == ["FAILED", "APPLIED"]


async def test_a_long_feed_that_is_whole_is_judged_before_any_of_it_runs(engine):
    seller = await partner(engine, "catalogue_file", "mine")
    await seller.client.post(seller.path("import?store=mine"), content=json.dumps(feed(mode="full")).encode())
    await seller.worker.drain()
    assert await seller.payloads() == ["APPLIED"]
    short = feed()
    short["rows"] = short["rows"][: ROWS // 2 + 200]
    for row in short["rows"]:
        row["description"] = FILLED * 2
    raw = json.dumps({**short, "mode": "full"}).encode()
    assert len(raw) > LATER_BYTES
    await seller.client.post(seller.path("import?store=mine"), content=raw)
    await seller.worker.drain()
    assert await seller.payloads() == ["APPLIED", "PARKED"]
    (failure,) = await seller.failures()
    assert failure.message.startswith("it would remove 550 of the 1500 listings")
    assert sum(row.active for row in (await seller.listings()).values()) == ROWS


async def test_a_whole_feed_waits_for_a_long_one_that_came_before_it_and_not_the_other_way_round(engine):
    """The short one has its instructions first, as it is translated at the door."""
    seller = await partner(engine, "catalogue_file", "mine")
    long = feed(10, remarks=FILLED * (LATER_BYTES // len(FILLED)))
    short = feed(10, mode="full")
    for row in short["rows"]:
        row["quantity"] += 100
    for body in (long, short):
        await seller.client.post(seller.path("import?store=mine"), content=json.dumps(body).encode())
    assert {state for _, _, state in await seller.instructions()} == {"PARKED"}
    await seller.worker.drain()
    assert await seller.payloads() == ["APPLIED", "APPLIED"]
    assert (await seller.level("S10")).on_hand == 110


async def test_of_two_files_whose_pieces_were_written_in_turns_the_first_is_carried_out_first(engine):
    seller, i = await partner(engine, "catalogue_file", "mine"), t.instruction.c
    first, second = feed(2), feed(2)
    for row in second["rows"]:
        row["quantity"] += 100
    for body in (first, second):
        await seller.client.post(seller.path("import?store=mine"), content=json.dumps(body).encode())
    its = await seller.rows(
        select(i.id, i.payload_id).where(i.source_id == seller.source_id, i.entity.contains("S2")).order_by(i.id)
    )
    async with engine.begin() as connection:
        for row in its:  # the first one's second piece is written behind all of the other
            if row.payload_id == its[0].payload_id:
                await connection.execute(update(t.instruction).where(i.id == row.id).values(id=new_id()))
    await seller.worker.drain()
    assert await seller.payloads() == ["APPLIED", "APPLIED"]
    assert [(await seller.level(sku)).on_hand for sku in ("S1", "S2")] == [101, 102]


async def test_the_same_rows_in_a_longer_file_change_nothing_and_tell_nobody(engine):
    seller = await partner(engine, "catalogue_file", "mine")
    await seller.client.post(seller.path("import?store=mine"), content=json.dumps(feed()).encode())
    await seller.worker.drain()
    events = select(func.max(t.event.c.id))
    before, (last,) = await seller.listings(), await seller.rows(events)
    longer = feed(ROWS + 1)
    await seller.client.post(seller.path("import?store=mine"), content=json.dumps(longer).encode())
    await seller.worker.drain()
    after = await seller.listings()
    assert {sku: row.version for sku, row in after.items() if sku in before} == {sku: row.version for sku, row in before.items()}
    mine = t.event.c.concerns.contains([seller.shop.store_id])
    new = await seller.rows(select(t.event.c.kind).where(t.event.c.id > last[0], mine))
    assert sorted(row.kind for row in new) == ["ListingChanged", "StockChanged"]


async def test_a_long_file_that_is_replayed_says_nothing_twice(engine):
    seller = await partner(engine, "catalogue_file", "mine")
    await seller.client.post(seller.path("import?store=mine"), content=json.dumps(feed()).encode())
    await seller.worker.drain()
    (payload,) = await seller.rows(select(t.payload.c.id).where(t.payload.c.source_id == seller.source_id))
    async with unit_of_work(engine) as uow:
        await uow.payloads.translate_again(payload.id)
    await seller.worker.drain()
    assert len(await seller.instructions()) == 4 * ROWS
    assert await seller.payloads() == ["APPLIED"]


async def test_a_worker_of_files_leaves_others_payloads_to_others(engine):
    kitchen = await partner(engine, "petpooja", "K1")
    dishes = [dish(str(n), itemdescription=FILLED) for n in range(1, 1_000)]
    await kitchen.post("webhooks/menu", menu("K1", *dishes))
    importer = Instructions(lambda: unit_of_work(engine), Reads(engine), {"catalogue_file": CatalogueFile()})
    await importer.drain()
    assert (await kitchen.payloads(), await kitchen.failures()) == (["ACCEPTED"], [])
    await kitchen.worker.drain()
    assert await kitchen.payloads() == ["APPLIED"]


async def test_one_good_in_two_stores_is_one_product_and_two_listings(engine):
    seller, other = await partner(engine, "catalogue_file", "one"), await shop(engine)
    async with engine.begin() as connection:
        moved = update(t.store).where(t.store.c.id == other.store_id).values(merchant_id=seller.shop.merchant_id)
        await connection.execute(moved)
    await seller.map(EntityKind.STORE, "two", other.store_id)
    rows = [
        {"id": f"S{n}", "title": f"Thing {n}", "price": f"{n}.00", "quantity": n, "store_code": store}
        for n in range(1, 41)
        for store in ("one", "two")
    ]
    await seller.client.post(seller.path("import"), content=json.dumps(rows).encode())
    await seller.worker.drain()
    assert (await seller.payloads(), await seller.failures()) == (["APPLIED"], [])
    v, li = t.variant.c, t.listing.c
    made = await seller.rows(select(func.count()).select_from(t.variant).where(v.merchant_id == seller.shop.merchant_id))
    listed = await seller.rows(
        select(func.count()).select_from(t.listing).where(li.merchant_id == seller.shop.merchant_id).group_by(li.store_id)
    )
    assert (made[0][0], [row[0] for row in listed]) == (40, [40, 40])
