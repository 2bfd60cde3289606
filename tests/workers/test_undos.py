"""Batches that are undone: what is put back, what is kept and why, and nothing twice; on the real database."""

import asyncio
import sys
from datetime import UTC, datetime, timedelta
from time import perf_counter
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import event as listening
from sqlalchemy import func, insert, select, update

from db import batches as rows
from db import tables as t
from db import undos as lines
from db.reads import Reads
from db.unit_of_work import unit_of_work
from domain import befores, trace, undos
from domain.applying import carry_out
from domain.approval import approve_batch
from domain.batches import BatchState
from domain.befores import Part
from domain.counting import AdjustStock, SetStock, adjust_stock, set_stock
from domain.failures import replay_failures
from domain.fulfilment import AcceptOrder, accept_order
from domain.identity import Actor, MerchantRole
from domain.intake import EntityKind, FailureState
from domain.listings import SetPrice, set_price
from domain.refusals import Conflict, NotFound, Refused, Unavailable
from domain.settling import settle
from domain.stock import sell
from domain.truth import Field, Rule, set_sources_of_truth
from domain.undos import LineState, UndoState, undo_batch
from tests.conftest import LONG
from tests.db.test_dispatch import waits_for_a_lock
from tests.db.test_purchases import placed, quoted
from tests.figures import show
from tests.partners import Partner, dish, event, menu, partner, size, snapshot
from tests.workers.test_batches import approve, by_hand, push, refuse, seen, shown, till_of
from tests.workers.test_instructions import events, extras, stocked
from tests.world import account, listings, member, shop
from workers.undos import Undos

NOW = datetime.now(UTC)


async def last(till: Partner) -> UUID:
    """The batch that came last."""
    p = t.payload.c
    (row,) = await till.rows(select(p.id).where(p.source_id == till.source_id).order_by(p.id.desc()).limit(1))
    return row.id


async def begin(till: Partner, id: UUID, actor: Actor | None = None) -> None:
    async with unit_of_work(till.engine) as uow:
        await undo_batch(id, uow.new_id(), actor or till.shop.owner, uow)


async def work_off(till: Partner, id: UUID, **given: Any) -> undos.Undo:
    """Until it has ended."""
    worker = Undos(lambda: unit_of_work(till.engine), **given)
    async with asyncio.timeout(60):
        while (now := (await seen(till, id)).undo).state is UndoState.RUNNING:
            await worker.once()
    trace.cause.set("")
    return now


async def undo(till: Partner, id: UUID, **given: Any) -> undos.Undo:
    await begin(till, id)
    return await work_off(till, id, **given)


async def listed(till: Partner, id: UUID, state: LineState | None = None) -> dict[tuple[Part, UUID], lines.UndoLine]:
    undone = (await seen(till, id)).undo
    found: dict[tuple[Part, UUID], lines.UndoLine] = {}
    after = None
    while True:
        page = await lines.undo_lines(Reads(till.engine), till.shop.owner, undone.id, state, 50, after)
        found |= {(line.field, line.entity_id): line for line in page.nodes}
        after = page.page_info.end_cursor
        if not page.page_info.has_next_page:
            return found


async def kept(till: Partner, id: UUID) -> dict[Part, lines.UndoLine]:
    return {field: line for (field, _), line in (await listed(till, id, LineState.KEPT)).items()}


async def whole(till: Partner) -> dict[str, Any]:
    """All that a customer could see of the store, without versions and times."""
    active = {sku: row for sku, row in (await till.listings()).items() if row.active}
    listings = {sku: (row.price_minor, row.mrp_minor, row.packaging_minor, row.taxes) for sku, row in active.items()}
    level, li, pr, v = t.stock_level.c, t.listing.c, t.product.c, t.variant.c
    levels = await till.rows(
        select(v.sku, level.on_hand, level.tracked, level.counted_at, level.source, level.off, level.back_at)
        .join_from(t.stock_level, t.listing, li.id == level.listing_id)
        .join(t.variant, v.id == li.variant_id)
        .where(li.store_id == till.shop.store_id, li.active)
    )
    products = await till.rows(
        select(pr.name, pr.description, pr.diet, pr.category_id, pr.brand)
        .join_from(t.product, t.listing, li.product_id == pr.id)
        .where(li.store_id == till.shop.store_id, li.active)
    )
    (store,) = await till.rows(select(t.store.c.status, t.store.c.status_until).where(t.store.c.id == till.shop.store_id))
    return {
        "listings": listings,
        "levels": sorted(map(tuple, levels), key=str),
        "products": sorted(map(tuple, products), key=str),
        "store": tuple(store),
    }


async def units(till: Partner) -> dict[str, Any]:
    """As `whole`, but for who has counted what is as it was."""
    seen_ = await whole(till)
    return {**seen_, "levels": [(sku, on_hand, tracked) for sku, on_hand, tracked, *_ in seen_["levels"]]}


async def gapless(till: Partner) -> None:
    """Every version has its one event, and every counter its movements."""
    e = t.event.c
    for stream, table, key, first in (
        ("listing", t.listing, t.listing.c.id, 1),
        ("product", t.product, t.product.c.id, 1),
        ("stock", t.stock_level, t.stock_level.c.listing_id, 1),
    ):
        told = (
            select(e.entity_id, func.count().label("count"), func.min(e.seq).label("least"), func.max(e.seq).label("most"))
            .where(e.stream == stream)
            .group_by(e.entity_id)
            .subquery()
        )
        found = await till.rows(
            select(table.c.version, told.c.count, told.c.least, told.c.most)
            .join(told, told.c.entity_id == key)
            .where(table.c.merchant_id == till.shop.merchant_id)
        )
        assert all(row.most == row.version and row.count == row.most - row.least + 1 for row in found), (stream, first)
    assert await till.discrepancies() == 0


# ---------------------------------------------------------------- what is put back


async def test_a_full_push_that_changed_hid_and_brought_things_is_as_if_it_had_not_been(engine):
    till = await till_of(engine)
    before = await whole(till)
    dishes = [dish(str(n), "110.00", itemname=f"New {n}", in_stock="0" if n == 1 else "2") for n in range(8)]
    id = await push(till, *dishes, dish("brought"))
    assert (await shown(till)) == {*(str(n) for n in range(8)), "brought"}
    done = await undo(till, id)
    assert (done.state, done.kept, done.reverted) == (UndoState.DONE, 0, done.total)
    assert await whole(till) == before
    assert (await seen(till, id)).state is BatchState.UNDONE
    told = await listed(till, id)
    assert {field for field, _ in told} == {Part.PRICE, Part.SHOWN, Part.NAME, Part.AVAILABILITY}
    assert sum(field is Part.SHOWN for field, _ in told) == 3
    assert {line.state for line in told.values()} == {LineState.REVERTED}
    hidden = (await till.listings())["9"]
    (*_, away, back) = await events(till, "listing", hidden.id)
    assert (away.body["listing"]["active"], back.body["listing"]["active"]) == (False, True)
    assert (back.seq, back.caused_by) == (hidden.version, f"undo:{done.id}")
    await gapless(till)


async def test_a_large_push_that_was_approved_is_undone_in_steps(engine, monkeypatch):
    monkeypatch.setattr(undos, "READ", 3)
    till = await till_of(engine, 12)
    before = await whole(till)
    id = await push(till, dish("0", "20.00"), dish("1"))
    await approve(till, id)
    await till.worker.drain()
    assert await shown(till) == {"0", "1"}
    done = await undo(till, id, chunk=4)
    assert (done.reverted, done.kept, done.total) == (11, 0, 11)
    assert await whole(till) == before
    await gapless(till)


async def push_taxed(till: Partner, per_cent: str, *dishes: dict[str, Any]) -> UUID:
    tax = {"taxid": "501", "taxname": "CGST", "tax": per_cent, "taxtype": "1", "active": "1", "tax_taxtype": "1"}
    await till.tell("webhooks/menu", {**menu("k7x2m9qa", *dishes), "taxes": [tax]})
    return await last(till)


async def believe_the_dashboard(till: Partner) -> None:
    async with unit_of_work(till.engine) as uow:
        rules = [Rule(till.shop.store_id, Field.PRICE, dashboard=True)]
        await set_sources_of_truth(till.shop.merchant_id, rules, till.shop.owner, uow)


async def test_taxes_of_one_who_is_not_believed_about_prices_are_put_back(engine):
    till = await partner(engine, "petpooja", "k7x2m9qa")
    await push_taxed(till, "2.5", dish("1", item_tax="501"))
    before = await whole(till)
    await believe_the_dashboard(till)
    id = await push_taxed(till, "6", dish("1", "110.00", item_tax="501"))
    row = (await till.listings())["1"]
    assert (row.price_minor, row.taxes[0].rate_bp) == (10_000, 600)
    i = t.instruction.c
    prices = update(t.instruction).where(i.payload_id == id, i.command == "UpdatePrice")
    async with engine.begin() as connection:
        await connection.execute(prices.values(done_at=i.done_at - timedelta(days=8)))
    assert "more than 7 days ago" in (await told_no(till, id)).message
    async with engine.begin() as connection:
        await connection.execute(prices.values(done_at=i.done_at + timedelta(days=8)))
    done = await undo(till, id)
    assert (done.reverted, done.kept) == (1, 0)
    assert await whole(till) == before
    assert {field for field, _ in await listed(till, id)} == {Part.TAXES}
    await gapless(till)


@pytest.mark.parametrize("since", [Part.PRICE, Part.TAXES])
async def test_who_tells_of_prices_again_has_not_told_of_taxes_and_the_other_way_round(engine, since):
    till = await partner(engine, "petpooja", "k7x2m9qa")
    await push_taxed(till, "2.5", dish("1", item_tax="501"))
    id = await push_taxed(till, "6", dish("1", "110.00", item_tax="501"))
    if since is Part.PRICE:
        await push(till, dish("1", "110.00"))
    else:
        await believe_the_dashboard(till)
        await push_taxed(till, "6", dish("1", "115.00", item_tax="501"))
    done = await undo(till, id)
    assert (done.reverted, done.kept) == (1, 1)
    row = (await till.listings())["1"]
    assert (row.price_minor, row.taxes[0].rate_bp) == ((11_000, 250) if since is Part.PRICE else (10_000, 600))
    assert {part: line.reason for part, line in (await kept(till, id)).items()} == {since: "a source has told of it since"}


async def test_counts_and_changes_of_counts_are_put_back_with_their_movements(engine):
    wms = await stocked(engine, on_hand=5)
    before = await whole(wms)
    await wms.tell("webhooks/stock", snapshot("BLR_DS1", ("TEA-250", 40, 10)))
    counted = await last(wms)
    assert (await wms.level("TEA-250")).on_hand == 40
    assert (await undo(wms, counted)).reverted == 1
    assert await whole(wms) == before
    await wms.tell("webhooks/stock", event("stock.adjusted", location="BLR_DS1", sku="TEA-250", delta="3", version=11))
    assert (await wms.level("TEA-250")).on_hand == 8
    assert (await undo(wms, await last(wms))).reverted == 1
    assert await whole(wms) == before
    m = t.stock_movement.c
    moves = await wms.rows(select(m.kind, m.on_hand_delta).where(m.merchant_id == wms.shop.merchant_id).order_by(m.id))
    assert [(row.kind.value, row.on_hand_delta) for row in moves][1:] == [
        ("COUNTED", 35), ("ADJUSTED", -35), ("ADJUSTED", 3), ("ADJUSTED", -3),
    ]  # fmt: skip
    await gapless(wms)


@pytest.mark.parametrize("changes", [[3], [-8], [10, 4]])  # five were there: of eight, three could not be taken
async def test_a_change_that_was_undone_is_in_no_count_that_was_taken_before_it(engine, changes):
    wms = await stocked(engine, on_hand=5)
    before, later = await whole(wms), datetime.now(UTC) + timedelta(seconds=9)
    if len(changes) == 1:
        change = event("stock.adjusted", later, location="BLR_DS1", sku="TEA-250", delta=str(*changes), version=8)
    else:
        told = [{"sku": "TEA-250", "accepted_qty": str(units)} for units in changes]
        change = event("receipt.completed", later, location="BLR_DS1", receipt_id="R1", version=8, lines=told)
    await wms.tell("webhooks/stock" if len(changes) == 1 else "webhooks/receiving", change)
    id = await last(wms)
    assert (await wms.level("TEA-250")).on_hand != 5, await wms.failures()
    assert (await undo(wms, id)).reverted == 1
    assert await whole(wms) == before
    await wms.tell("webhooks/stock", snapshot("BLR_DS1", ("TEA-250", 40, 7), at=datetime.now(UTC)))
    assert (await wms.level("TEA-250")).on_hand == 40
    await gapless(wms)


async def test_a_store_is_open_again_whoever_alone_is_believed_about_that(engine):
    till = await till_of(engine, 1)
    rule = Rule(till.shop.store_id, Field.STATUS, till.source_id)
    async with unit_of_work(engine) as uow:
        await set_sources_of_truth(till.shop.merchant_id, [rule], till.shop.owner, uow)
    before = await whole(till)
    await till.tell("webhooks/store-status", {"restID": "k7x2m9qa", "store_status": "0", "reason": "Kitchen"})
    assert (await undo(till, await last(till))).reverted == 1
    assert await whole(till) == before


async def test_what_was_sold_uncounted_is_so_again(engine):
    wms = await stocked(engine, on_hand=None)
    await wms.tell("webhooks/stock", snapshot("BLR_DS1", ("TEA-250", 0, 10)))
    assert (await wms.level("TEA-250")).tracked
    await undo(wms, await last(wms))
    level = await wms.level("TEA-250")
    assert (level.tracked, level.on_hand, level.counted_at, level.source) == (False, 0, None, "none")
    await gapless(wms)


@pytest.mark.parametrize("read", [1, 1_000])
async def test_two_changes_of_one_thing_in_one_batch_are_put_back_as_one(engine, monkeypatch, read):
    monkeypatch.setattr(undos, "READ", read)
    wms = await stocked(engine, on_hand=5)
    told = [{"sku": "TEA-250", "accepted_qty": "10"}, {"sku": "TEA-250", "accepted_qty": "4"}]
    await wms.tell("webhooks/receiving", event("receipt.completed", location="BLR_DS1", receipt_id="R1", version=12, lines=told))
    assert (await wms.level("TEA-250")).on_hand == 19, await wms.failures()
    done = await undo(wms, await last(wms))
    assert (done.total, done.reverted) == (1, 1)
    assert (await wms.level("TEA-250")).on_hand == 5
    await gapless(wms)


async def test_a_store_that_was_closed_is_open_again(engine):
    till = await till_of(engine, 1)
    before = await whole(till)
    await till.tell("webhooks/store-status", {"restID": "k7x2m9qa", "store_status": "0", "reason": "Kitchen"})
    assert await whole(till) != before
    await undo(till, await last(till))
    assert await whole(till) == before


async def test_a_time_that_has_come_meanwhile_turns_it_on(engine):
    till = await till_of(engine, 1)
    soon = datetime.now(UTC) + timedelta(hours=1)
    async with engine.begin() as connection:
        off = update(t.stock_level).where(t.stock_level.c.merchant_id == till.shop.merchant_id)
        await connection.execute(off.values(off=True, back_at=soon))
    await till.tell("webhooks/inventory", {"restID": "k7x2m9qa", "type": "item", "inStock": True, "itemID": ["0"]})
    id = await last(till)
    i = t.instruction.c
    async with engine.begin() as connection:
        (row,) = (await connection.execute(select(i.id, i.was).where(i.payload_id == id))).all()
        ((field, entity, version, (was_off, _), after),) = row.was
        past = (datetime.now(UTC) - timedelta(minutes=1)).isoformat()
        was = [[field, entity, version, [was_off, past], after]]
        await connection.execute(update(t.instruction).where(i.id == row.id).values(was=was))
    await undo(till, id)
    assert not (await till.level("0")).off


# ---------------------------------------------------------------- what is kept, and why


async def test_what_people_changed_since_is_kept_and_told_by_whom_and_when(engine):
    till = await till_of(engine, 4)
    id = await push(till, *(dish(str(n), "110.00") for n in range(4)))
    told = await till.listings()
    await by_hand(till, set_price, SetPrice(told["0"].id, 12_345))
    await by_hand(till, set_price, SetPrice(told["1"].id, 12_345))
    await by_hand(till, set_price, SetPrice(told["1"].id, 11_000))  # there and back: somebody wants it so
    done = await undo(till, id)
    assert (done.reverted, done.kept) == (2, 2)
    prices = {sku: row.price_minor for sku, row in (await till.listings()).items()}
    assert prices == {"0": 12_345, "1": 11_000, "2": 10_000, "3": 10_000}
    for (_, entity), line in (await listed(till, id, LineState.KEPT)).items():
        assert entity in (told["0"].id, told["1"].id)
        assert (line.changed_by, line.reason) == (str(till.shop.owner), "it was changed since")
        assert line.changed_at is not None


async def test_what_is_otherwise_by_now_is_kept_though_nobody_has_told_of_it(engine):
    till = await till_of(engine, 2)
    await till.tell("webhooks/inventory", {"restID": "k7x2m9qa", "type": "item", "inStock": False, "itemID": ["0", "1"]})
    id, level = await last(till), await till.level("0")
    async with unit_of_work(engine) as uow:
        await uow.stock.switch([level.listing_id], off=True, back_at=datetime.now(UTC) + timedelta(hours=1))
    done = await undo(till, id)
    assert (done.reverted, done.kept) == (1, 1)
    assert ((await till.level("0")).off, (await till.level("1")).off) == (True, False)
    assert (await kept(till, id))[Part.AVAILABILITY].reason == "it was changed since"


async def test_what_the_till_has_said_again_since_is_kept(engine):
    till = await till_of(engine, 4)
    id = await push(till, *(dish(str(n), "110.00") for n in range(4)))
    await push(till, *(dish(str(n), "110.00") for n in range(4)), dish("another"))
    done = await undo(till, id)
    assert (done.reverted, done.kept) == (0, 4)
    assert {row.price_minor for sku, row in (await till.listings()).items() if sku != "another"} == {11_000}
    (line,) = {line.changed_by for line in (await listed(till, id)).values()}
    assert line == f"source:{till.source_id}"


async def test_of_two_pushes_the_later_is_undone_and_the_one_before_is_told_of_since(engine):
    till = await till_of(engine, 2)
    first = await push(till, dish("0", "110.00"), dish("1", "110.00"))
    second = await push(till, dish("0", "120.00"), dish("1", "120.00"))
    assert (await undo(till, second)).reverted == 2
    assert {row.price_minor for row in (await till.listings()).values()} == {11_000}
    done = await undo(till, first)
    assert (done.reverted, done.kept) == (0, 2)
    assert {row.price_minor for row in (await till.listings()).values()} == {11_000}


async def test_that_it_was_put_back_is_no_news_to_a_batch_that_waits_meanwhile(engine):
    till = await till_of(engine, 2)
    await till.tell("webhooks/store-status", {"restID": "k7x2m9qa", "store_status": "0", "reason": "Kitchen"})
    closed = await last(till)
    wrong = await push(till, dish("0", "145.00"), dish("1", "145.00"))
    right = await push(till, dish("0", "70.00"), dish("1", "71.00"))  # from the wrong ones that is too far
    await undo(till, closed)
    await undo(till, wrong)
    assert {row.price_minor for row in (await till.listings()).values()} == {10_000}
    would = await rows.diff_of(Reads(engine), await seen(till, right))
    assert (would.prices, would.outdated) == (2, [])
    await approve(till, right)
    await till.worker.drain()
    assert {row.price_minor for row in (await till.listings()).values()} == {7_000, 7_100}
    a = t.audit.c
    (told,) = await till.rows(select(a.detail).where(a.action == "approveBatch", a.subject == right))
    assert told.detail.endswith(" 0 superseded")


async def test_what_the_till_has_said_otherwise_since_is_the_tills(engine):
    till = await till_of(engine, 2)
    id = await push(till, dish("0", "110.00"), dish("1", "110.00", itemname="Other"))
    await push(till, dish("0", "120.00"), dish("1", "110.00", itemname="Another"))
    done = await undo(till, id)
    assert (done.reverted, done.kept) == (0, 3)
    told = [(line.changed_by, line.reason) for line in (await listed(till, id)).values()]
    assert {by for by, _ in told} == {f"source:{till.source_id}"}
    assert sorted(reason for _, reason in told) == ["a source has told of it since", "it was changed since", "it was changed since"]


async def test_units_that_the_warehouse_has_changed_since_are_its(engine):
    wms = await stocked(engine, on_hand=5)
    await wms.tell("webhooks/stock", snapshot("BLR_DS1", ("TEA-250", 40, 10)))
    id = await last(wms)
    await wms.tell("webhooks/stock", event("stock.adjusted", location="BLR_DS1", sku="TEA-250", delta="3", version=11))
    await undo(wms, id)
    assert (await wms.level("TEA-250")).on_hand == 43
    line = (await kept(wms, id))[Part.STOCK]
    assert (line.changed_by, line.reason) == (f"source:{wms.source_id}", "its units have moved since: ADJUSTED")


async def test_what_a_later_whole_push_left_out_as_well_stays_hidden(engine):
    till = await till_of(engine)
    id = await push(till, *(dish(str(n)) for n in range(8)))
    await push(till, *(dish(str(n)) for n in range(8)), dish("another"))
    done = await undo(till, id)
    assert (done.reverted, done.kept) == (0, 2)
    assert await shown(till) == {*(str(n) for n in range(8)), "another"}


async def test_a_hidden_thing_that_came_back_by_itself_is_left_alone(engine):
    till = await till_of(engine)
    id = await push(till, *(dish(str(n)) for n in range(8)))
    await push(till, *(dish(str(n)) for n in range(9)))
    await undo(till, id)
    assert await shown(till) == {str(n) for n in range(9)}


async def test_units_that_were_promised_or_sold_since_are_never_put_back(engine):
    wms = await stocked(engine, on_hand=5)
    await wms.tell("webhooks/stock", snapshot("BLR_DS1", ("TEA-250", 40, 10)))
    id, level = await last(wms), await wms.level("TEA-250")
    customer = await account(engine)
    purchase = await placed(engine, customer, await quoted(engine, customer, (level.listing_id, 2)))
    done = await undo(wms, id)
    assert (done.reverted, done.kept) == (0, 1)
    assert (await wms.level("TEA-250")).on_hand == 40
    line = (await kept(wms, id))[Part.STOCK]
    assert line.reason == "its units have moved since: ALLOCATED"
    assert line.changed_at is not None
    assert purchase is not None
    await gapless(wms)


async def test_a_sale_that_left_the_store_since_stays_sold(engine):
    wms = await stocked(engine, on_hand=5)
    level = await wms.level("TEA-250")
    customer = await account(engine)
    purchase_id = await placed(engine, customer, await quoted(engine, customer, (level.listing_id, 2)))
    (order,) = await wms.rows(select(t.orders.c.id).where(t.orders.c.purchase_id == purchase_id))
    await wms.tell("webhooks/stock", snapshot("BLR_DS1", ("TEA-250", 40, 10)))
    id = await last(wms)
    async with unit_of_work(engine) as uow:
        await accept_order(AcceptOrder(order.id, 5), wms.shop.owner, uow)
    async with unit_of_work(engine) as uow:
        await sell(order.id, uow)
    await undo(wms, id)
    assert (await wms.level("TEA-250")).on_hand == 38
    assert (await kept(wms, id))[Part.STOCK].reason == "its units have moved since: SOLD"
    assert await wms.discrepancies() == 0


async def test_a_hold_that_comes_and_goes_keeps_nothing_from_being_put_back(engine):
    wms = await stocked(engine, on_hand=5)
    await wms.tell("webhooks/stock", snapshot("BLR_DS1", ("TEA-250", 40, 10)))
    id, level = await last(wms), await wms.level("TEA-250")
    customer = await account(engine)
    await quoted(engine, customer, (level.listing_id, 2))
    await undo(wms, id)
    level = await wms.level("TEA-250")
    assert (level.on_hand, level.held) == (5, 2)
    await gapless(wms)


@pytest.mark.parametrize("same", [True, False])
async def test_a_count_or_a_change_by_hand_since_is_kept(engine, same):
    wms = await stocked(engine, on_hand=5)
    await wms.tell("webhooks/stock", snapshot("BLR_DS1", ("TEA-250", 40, 10)))
    id, level = await last(wms), await wms.level("TEA-250")
    if same:
        await by_hand(wms, set_stock, SetStock(level.listing_id, 40, None))
    else:
        await by_hand(wms, adjust_stock, AdjustStock(level.listing_id, -1, "broken", "k"))
    done = await undo(wms, id)
    assert (done.reverted, done.kept) == (0, 1)
    assert (await wms.level("TEA-250")).on_hand == (40 if same else 39)
    line = (await kept(wms, id))[Part.STOCK]
    assert line.changed_by is not None
    dashboard = select(t.source.c.id).where(t.source.c.merchant_id == wms.shop.merchant_id, t.source.c.provider == "dashboard")
    by = [f"source:{row.id}" for row in await wms.rows(dashboard)] if same else [str(wms.shop.owner)]
    assert any(one in line.changed_by for one in by)


async def test_choices_and_what_became_of_orders_are_listed_and_left(engine):
    till = await partner(engine, "petpooja", "k7x2m9qa")
    await till.tell("webhooks/menu", extras("9001"))
    await till.tell("webhooks/menu", extras("9001", "9002"))
    id = await last(till)
    await undo(till, id)
    line = (await kept(till, id))[Part.CHOICES]
    assert line.reason == "the choices of a menu are put right by sending it again"


async def test_one_that_cannot_be_put_back_is_kept_and_stops_none_of_the_others(engine, monkeypatch):
    till = await till_of(engine, 4)
    id = await push(till, *(dish(str(n), "110.00") for n in range(4)))
    broken, really = (await till.listings())["2"].id, undos.put_back_listings

    async def put_back(values, cause, uow):
        if broken in values:
            raise RuntimeError("broken")
        await really(values, cause, uow)

    monkeypatch.setattr(undos, "put_back_listings", put_back)
    done = await undo(till, id)
    assert (done.reverted, done.kept) == (3, 1)
    prices = {sku: row.price_minor for sku, row in (await till.listings()).items()}
    assert prices == {"0": 10_000, "1": 10_000, "2": 11_000, "3": 10_000}
    assert (await kept(till, id))[Part.PRICE].reason.startswith("it could not be put back: RuntimeError")
    await gapless(till)


async def test_what_is_out_of_reach_is_waited_for_and_nothing_is_given_up(engine, monkeypatch):
    till = await till_of(engine, 2)
    id = await push(till, dish("0", "110.00"), dish("1", "110.00"))
    really, tried = undos.put_back_listings, []

    async def put_back(values, cause, uow):
        tried.append(cause)
        if len(tried) < 3:
            raise Refused(Unavailable("the database is away"))
        await really(values, cause, uow)

    monkeypatch.setattr(undos, "put_back_listings", put_back)
    done = await undo(till, id)
    assert (done.reverted, done.kept, len(tried)) == (2, 0, 3)


async def test_an_undo_that_stands_still_keeps_none_of_the_others(engine, monkeypatch):
    still, goes = await till_of(engine, 2), await till_of(engine, 2)
    ids = []
    for till in (still, goes):
        ids.append(await push(till, dish("0", "110.00"), dish("1", "110.00")))
        await begin(till, ids[-1])
    really = lines.SqlUndos.next

    async def next_of(self, undo, limit):
        if undo.source_id == still.source_id:
            raise RuntimeError("broken")
        return await really(self, undo, limit)

    monkeypatch.setattr(lines.SqlUndos, "next", next_of)
    assert (await work_off(goes, ids[1])).reverted == 2
    assert (await seen(still, ids[0])).undo.state is UndoState.RUNNING
    monkeypatch.undo()
    assert (await work_off(still, ids[0])).reverted == 2


# ---------------------------------------------------------------- whether it may be


async def told_no(till: Partner, id: UUID, actor: Actor | None = None) -> Any:
    with pytest.raises(Refused) as no:
        await begin(till, id, actor)
    return no.value.refusal


async def test_what_is_undone_already_says_so_and_what_is_being_undone_goes_on(engine):
    till = await till_of(engine, 4)
    id = await push(till, *(dish(str(n), "110.00") for n in range(4)))
    await asyncio.gather(*(begin(till, id) for _ in range(4)))
    await begin(till, id)
    assert (await seen(till, id)).state is BatchState.UNDOING
    await work_off(till, id)
    refusal = await told_no(till, id)
    assert isinstance(refusal, Conflict)
    assert refusal.message.startswith(f"the batch was undone by {till.shop.owner} at ")
    assert refusal.message.endswith(": 4 put back, 0 not")
    a = t.audit.c
    told = await till.rows(select(a.action, a.detail).where(a.subject == id).order_by(a.seq))
    assert [tuple(row) for row in told] == [
        ("undoBatch", "0 instructions had not been carried out"),
        ("undoBatchDone", "4 of 4 put back, 0 kept"),
    ]


async def test_who_does_not_look_after_the_sources_sees_no_line(engine):
    till = await till_of(engine, 2)
    id = await push(till, dish("0", "110.00"), dish("1", "110.00"))
    done = await undo(till, id)
    clerk = await member(engine, till.shop, MerchantRole.CLERK, [till.shop.store_id])
    for actor, count in ((till.shop.owner, 2), (clerk, 0), ((await shop(engine)).owner, 0), (Actor(None), 0)):
        assert len((await lines.undo_lines(Reads(engine), actor, done.id, None, None, None)).nodes) == count


async def test_what_was_not_carried_out_cannot_be_undone(engine):
    till = await till_of(engine)
    id = await push(till, dish("0"))
    assert "waits for approval" in (await told_no(till, id)).message
    await refuse(till, id)
    assert "was refused" in (await told_no(till, id)).message
    await till.post("webhooks/menu", menu("k7x2m9qa", *(dish(str(n), "120.00") for n in range(10))))
    assert "is being carried out" in (await told_no(till, await last(till))).message
    await till.worker.drain()
    strangers = (await member(engine, till.shop, MerchantRole.CLERK, [till.shop.store_id]), (await shop(engine)).owner, Actor(None))
    for stranger in strangers:
        assert isinstance(await told_no(till, await last(till), stranger), NotFound)
    async with unit_of_work(engine) as uow:
        with pytest.raises(Refused):
            await approve_batch(id, till.shop.owner, uow)


async def test_what_waits_or_failed_is_never_carried_out_after_it(engine):
    wms = await stocked(engine, on_hand=5)
    await wms.tell("webhooks/stock", snapshot("BLR_DS1", ("TEA-250", 40, 10), ("NO-SUCH", 7, 10)))
    id = await last(wms)
    assert await wms.payloads() == ["PARKED"]
    await undo(wms, id)
    assert [state for _, _, state in await wms.instructions()] == ["APPLIED", "REFUSED"]
    assert {row.state for row in await wms.failures()} == {FailureState.RESOLVED}
    await wms.map(EntityKind.VARIANT, "NO-SUCH", (await wms.listings())["TEA-250"].variant_id)
    await wms.worker.drain()
    assert (await wms.level("TEA-250")).on_hand == 5
    assert await wms.payloads() == ["APPLIED"]


async def test_what_fails_in_it_is_not_replayed_into_a_batch_that_was_undone(engine):
    till = await till_of(engine, 2)
    id = await push(till, dish("0", "110.00"), dish("1", "-5"))
    (failure,) = await till.failures("VALIDATION")
    await undo(till, id)
    with pytest.raises(Refused) as no:
        async with unit_of_work(engine) as uow:
            await replay_failures([failure.id], till.shop.owner, uow)
    assert "its batch was undone" in no.value.refusal.message
    assert (await seen(till, id)).state is BatchState.UNDONE


async def test_what_is_read_again_is_not_undone_meanwhile(engine):
    till = await till_of(engine, 2)
    id = await push(till, dish("0", "110.00"), dish("1", "-5"))
    (failure,) = await till.failures("VALIDATION")
    async with unit_of_work(engine) as uow:
        await replay_failures([failure.id], till.shop.owner, uow)
    assert "is being carried out" in (await told_no(till, id)).message
    await till.worker.drain()
    assert (await undo(till, id)).reverted == 1


async def test_what_waits_for_its_day_never_comes_to_it(engine):
    wms = await stocked(engine)
    before = await whole(wms)
    told = {"sku": "TEA-250", "price": "60.00", "mrp": "90.00", "currency": "INR"}
    tomorrow = (NOW + timedelta(days=1)).isoformat()
    await wms.tell("webhooks/stock", event("price.updated", effective_from=tomorrow, version=5, **told))
    id = await last(wms)
    assert (await seen(wms, id)).state is BatchState.RUNNING
    assert (await undo(wms, id)).total == 0
    i = t.instruction.c
    async with engine.begin() as connection:
        await connection.execute(update(t.instruction).where(i.payload_id == id).values(next_at=func.clock_timestamp()))
    await wms.worker.drain()
    assert await whole(wms) == before
    assert [state for _, _, state in await wms.instructions()] == ["REFUSED"]
    assert (await seen(wms, id)).state is BatchState.UNDONE


async def test_who_undoes_what_another_approves_just_now_waits_and_is_told(engine):
    till = await till_of(engine, 4)
    id = await push(till, dish("0"))
    async with unit_of_work(engine) as uow:
        await uow.batches.lock(id, till.shop.owner)
        undoing = asyncio.create_task(told_no(till, id))
        await waits_for_a_lock(engine)
        await approve_batch(id, till.shop.owner, uow)
    assert "is being carried out" in (await undoing).message
    await till.worker.drain()
    assert await shown(till) == {"0"}


async def test_a_batch_of_which_a_part_is_too_old_is_not_undone_by_halves(engine):
    till = await till_of(engine, 4)
    id = await push(till, *(dish(str(n), "110.00") for n in range(4)))
    i = t.instruction.c
    (first, *_) = await till.rows(select(i.id).where(i.payload_id == id, i.was.is_not(None)).order_by(i.id))
    long_ago = func.clock_timestamp() - undos.KEPT_FOR - timedelta(seconds=1)
    async with engine.begin() as connection:
        await connection.execute(update(t.instruction).where(i.id == first.id).values(done_at=long_ago))
    assert (await told_no(till, id)).message.startswith("some of the batch was carried out more than 7 days ago")


async def test_what_was_before_is_forgotten_in_time_and_nothing_can_be_undone_then(engine):
    till = await till_of(engine, 4)
    id = await push(till, *(dish(str(n), "110.00") for n in range(4)))
    i = t.instruction.c

    async def done(ago: timedelta) -> None:
        async with engine.begin() as connection:
            await connection.execute(update(t.instruction).where(i.payload_id == id).values(done_at=func.clock_timestamp() - ago))

    async def forgotten() -> int:
        async with unit_of_work(engine) as uow:
            return await uow.undos.forget(1_000)

    long_ago = undos.KEPT_FOR + timedelta(hours=1)
    await done(long_ago)
    assert "more than 7 days ago" in (await told_no(till, id)).message
    assert await forgotten() == 0  # by the key it is young: nobody looks at it yet
    async with engine.begin() as connection:
        old = UUID(int=int((NOW - timedelta(days=9)).timestamp() * 1000) << 80)
        (first, *_) = (await connection.execute(select(i.id).where(i.payload_id == id, i.was.is_not(None)))).scalars()
        older = UUID(int=old.int | (first.int & (2**64 - 1)))
        await connection.execute(update(t.instruction).where(i.id == first).values(id=older))
    await done(undos.KEPT_FOR + timedelta(minutes=1))
    assert await forgotten() == 0  # somebody may have asked for it just in time
    await done(timedelta(days=1))
    await begin(till, id)
    await done(long_ago)
    assert await forgotten() == 0  # it is being undone
    assert (await work_off(till, id)).reverted == 4
    assert (await forgotten(), await forgotten()) == (1, 0)
    left = await till.rows(select(func.count()).where(i.payload_id == id, i.was.is_not(None)))
    assert left[0][0] == 3


async def test_what_was_decided_and_undone_goes_with_its_payload_when_that_is_old(engine):
    till = await till_of(engine, 4)
    held = await push(till, dish("0"))
    await refuse(till, held)
    id = await push(till, *(dish(str(n), "110.00") for n in range(4)))
    await begin(till, id)
    until = datetime.now(UTC) + timedelta(hours=1)
    for gone in ({held}, {held, id}):
        async with unit_of_work(engine) as uow:
            await uow.retention.forget(UUID(int=held.int - 1), until, 2, 5_000)
        for column in (t.payload.c.id, t.judgement.c.payload_id, t.batch_undo.c.payload_id):
            assert not await till.rows(select(column).where(column.in_(gone)))
        if id not in gone:  # it is being undone still
            await work_off(till, id)


# ---------------------------------------------------------------- whoever dies, whoever else works


async def come_to(till: Partner, id: UUID, reverted: int) -> None:
    while True:
        if (await seen(till, id)).undo.reverted >= reverted:
            return
        await asyncio.sleep(0.01)


WORKER = """
import asyncio, sys
from sqlalchemy.ext.asyncio import create_async_engine
from db.unit_of_work import unit_of_work
from workers.undos import Undos

async def main():
    engine = create_async_engine(sys.argv[1])
    await Undos(lambda: unit_of_work(engine), chunk=1).run()

asyncio.run(main())
"""


async def test_a_worker_that_is_killed_in_the_middle_is_followed_by_another_and_nothing_is_done_twice(engine, database_url):
    till = await till_of(engine, 40)
    before = await whole(till)
    id = await push(till, *(dish(str(n), "110.00") for n in range(36)))
    await begin(till, id)
    for kills in range(1, (8 if LONG else 2) + 1):
        worker = await asyncio.create_subprocess_exec(sys.executable, "-c", WORKER, database_url)
        try:
            async with asyncio.timeout(30):
                await come_to(till, id, kills)
        finally:
            worker.kill()
            await worker.wait()
    done = await work_off(till, id)
    assert (done.total, done.reverted, done.kept) == (40, 40, 0)
    assert await whole(till) == before
    e = t.event.c
    twice = select(e.entity_id).where(e.caused_by == f"undo:{done.id}").group_by(e.entity_id).having(func.count() > 1)
    assert not await till.rows(twice)
    await gapless(till)


async def test_several_workers_share_it_and_do_nothing_twice(engine):
    till = await till_of(engine, 20)
    before = await whole(till)
    id = await push(till, *(dish(str(n), "110.00") for n in range(20)))
    await begin(till, id)
    done, *_ = await asyncio.gather(*(work_off(till, id, chunk=2) for _ in range(4)))
    assert (done.reverted, done.kept) == (20, 0)
    assert await whole(till) == before
    await gapless(till)


async def test_an_undo_waits_for_news_that_are_being_carried_out_and_heeds_them(engine):
    wms = await stocked(engine)
    told = {"sku": "TEA-250", "mrp": "90.00", "currency": "INR"}
    await wms.tell("webhooks/stock", event("price.updated", price="60.00", version=5, **told))
    id = await last(wms)
    await begin(wms, id)
    worker = Undos(lambda: unit_of_work(engine))
    while (await seen(wms, id)).undo.total == 0:
        await worker.once()
    await wms.post("webhooks/stock", event("price.updated", price="70.00", version=6, **told))
    undo_id = (await seen(wms, id)).undo.id
    async with unit_of_work(engine) as uow:
        group = await uow.instructions.claim(wms.source_id, 10)
        outcomes = await carry_out(group, uow)
        stepping = asyncio.create_task(_step_on(worker, undo_id))
        await waits_for_a_lock(engine)
        await settle(group, outcomes, uow)
    await stepping
    assert (await work_off(wms, id)).kept == 1
    assert (await wms.listings())["TEA-250"].price_minor == 7_000
    assert (await kept(wms, id))[Part.PRICE].changed_by == f"source:{wms.source_id}"
    await gapless(wms)


async def _step_on(worker: Undos, id: UUID) -> None:
    """Until a line has been dealt with, or there is none."""
    for _ in range(2):
        await worker.step(id)


# ---------------------------------------------------------------- however many


WHOLE_STORE = 14_000 if LONG else 300


async def test_a_whole_store_is_compared_approved_and_put_back(engine):
    """A feed of a whole store, of which two fifths are missing, with other prices and counts."""
    mine = await shop(engine)
    ids = await listings(engine, mine, [5] * WHOLE_STORE)
    seller = await partner(engine, "catalogue_file", "mine", of=mine)
    async with engine.begin() as connection:
        known = {"source_id": seller.source_id, "kind": EntityKind.VARIANT, "merchant_id": mine.merchant_id}
        await connection.execute(insert(t.mapping), [{**known, "external_id": f"G{n}", "id": id} for n, id in enumerate(ids)])
        products = [{**known, "kind": EntityKind.PRODUCT, "external_id": f"G{n}", "id": id} for n, id in enumerate(ids)]
        await connection.execute(insert(t.mapping), products)
    before, there = await units(seller), WHOLE_STORE * 3 // 5
    goods = [
        {"id": f"G{n}", "title": f"Tea {ids[n]}", "price": f"{50 + n % 2}.00", "quantity": 5 + n % 3 // 2} for n in range(there)
    ]
    answer = await seller.post("import?store=mine", {"mode": "full", "rows": goods})
    assert answer.status_code == 202, answer.text
    await seller.worker.drain()
    id = await last(seller)
    batch = await seen(seller, id)
    assert batch.held is not None, await seller.failures()
    began = perf_counter()
    would = await rows.diff_of(Reads(engine), batch)
    compared_s = perf_counter() - began
    assert compared_s < 10, "the square of them, where the planner has not counted what was mapped just now"
    assert (would.listings, would.removed, would.added) == (WHOLE_STORE, WHOLE_STORE - there, 0)
    assert (would.prices, would.stocks) == (there // 2, there // 3)
    assert all(change.removed for change in would.changes[: would.removed])
    await approve(seller, id)
    await seller.worker.drain()
    assert sum(row.active for row in (await seller.listings()).values()) == there
    began = perf_counter()
    done = await undo(seller, id)
    assert (done.kept, done.reverted) == (0, would.removed + would.prices + would.stocks), await kept(seller, id)
    show("a batch undone", listings=WHOLE_STORE, lines=done.total, compared_s=compared_s, undone_s=perf_counter() - began)
    assert await units(seller) == before
    await gapless(seller)


# ---------------------------------------------------------------- what it costs who only tells


async def test_remembering_what_was_before_costs_the_intake_no_statement(engine, monkeypatch):
    """The same push, with and without it."""
    counts = []
    for remembered in (True, False):
        if not remembered:
            monkeypatch.setattr(befores, "INSTRUCTED", "nobody:")
        till = await till_of(engine, 10)
        await till.post("webhooks/menu", menu("k7x2m9qa", *(dish(str(n), "110.00", itemname=f"New {n}") for n in range(9))))
        asked: list[str] = []

        def ask(connection, cursor, statement, *_, asked=asked):
            asked.append(statement)

        listening.listen(engine.sync_engine, "before_cursor_execute", ask)
        try:
            await till.worker.drain()
        finally:
            listening.remove(engine.sync_engine, "before_cursor_execute", ask)
        counts.append(len(asked))
        i = t.instruction.c
        was = await till.rows(select(func.count()).where(i.source_id == till.source_id, i.was.is_not(None)))
        assert (was[0][0] > 0) == remembered
    assert counts[0] == counts[1] > 10


async def test_sizes_of_one_dish_are_put_back_each_for_itself(engine):
    till = await partner(engine, "petpooja", "k7x2m9qa")

    def pizza(price: str, name: str = "Regular"):
        return dish("81001", variation=[size("81091", name, price), size("81092", "Large", "349.00")])

    await till.tell("webhooks/menu", menu("k7x2m9qa", pizza("199.00")))
    before = await whole(till)
    v = t.variant.c
    names = select(v.sku, v.name).where(v.merchant_id == till.shop.merchant_id).order_by(v.sku)
    called = await till.rows(names)
    await till.tell("webhooks/menu", menu("k7x2m9qa", pizza("149.00", "Small")))
    id = await last(till)
    assert await till.rows(names) != called
    done = await undo(till, id)
    assert done.kept == 0, await kept(till, id)
    assert await till.rows(names) == called
    assert await whole(till) == before
    assert {field for field, _ in await listed(till, id)} >= {Part.PRICE, Part.VARIANT_NAME}
    await gapless(till)


def test_each_field_is_of_one_family_and_is_read_from_its_row():
    assert {field for fields in befores.FIELDS.values() for field in fields} == set(Part)
    assert rows.UNDO
