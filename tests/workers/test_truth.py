"""Who is believed: what others say is not done, is listed once, and is settled as they agree; on the real database."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any

import pytest
from sqlalchemy import func, insert, select, text, update
from sqlalchemy.ext.asyncio import AsyncEngine

from db import tables as t
from db.ids import new_id
from db.unit_of_work import unit_of_work
from domain.applying import carry_out
from domain.conflicts import ConflictState, shown
from domain.counting import AdjustStock, SetStock, adjust_stock, set_stock
from domain.identity import MerchantRole
from domain.intake import EntityKind, InstructionState
from domain.listings import SetPrice, set_price
from domain.merchants import SetStoreStatus, StoreStatus, set_store_status
from domain.refusals import Conflict, Forbidden, InvalidInput, NotFound, Refused
from domain.resolving import Resolution, ResolveConflict, resolve_conflict
from domain.settling import settle
from domain.truth import DASHBOARD, Field, NotSourceOfTruth, Rule, set_sources_of_truth
from tests.api.test_failures import statements
from tests.partners import Partner, dish, event, menu, partner, snapshot
from tests.world import Shop, listing, member, shop

HAND = "dashboard"


@dataclass
class Desk:
    """A shop that sells one thing, and two who tell of it."""

    engine: AsyncEngine
    shop: Shop
    listing_id: Any
    erp: Partner
    till: Partner
    versions: Any = field(default_factory=lambda: count(1))

    async def do(self, step: Callable[..., Awaitable[Any]], *told: Any) -> Any:
        async with unit_of_work(self.engine) as uow:
            return await step(*told, uow)

    async def rule(self, of: Field, who: str | None) -> None:
        source = None if who in (None, HAND) else getattr(self, who).source_id
        rule = Rule(self.shop.store_id, of, source, dashboard=who == HAND)
        await self.do(set_sources_of_truth, self.shop.merchant_id, [rule], self.shop.owner)

    async def say(self, who: str, of: Field, units: int = 42, version: int | None = None, **more: Any) -> None:
        """`units` of what is counted, or rupees."""
        if who == HAND:
            await self._by_hand(of, units)
            return
        told: Partner = getattr(self, who)
        match of:
            case Field.STOCK:
                await told.tell("webhooks/stock", snapshot("ST-1", ("TEA", units, version or next(self.versions)), **more))
            case Field.PRICE:
                said = {"location": "ST-1", "sku": "TEA", "price": f"{units}.00", "version": version or next(self.versions)}
                await told.tell("webhooks/stock", event("price.updated", **said, **more))
            case Field.STATUS:
                await told.tell("webhooks/stock", event("store.status", location="ST-1", open=False))
            case Field.AVAILABILITY:
                off = {"restID": "ST-1", "type": "item", "inStock": False, "itemID": ["TEA"]}
                await told.tell("webhooks/inventory", off)

    async def _by_hand(self, of: Field, units: int) -> None:
        owner = self.shop.owner
        match of:
            case Field.STOCK:
                await self.do(set_stock, SetStock(self.listing_id, units, None), owner)
            case Field.PRICE:
                await self.do(set_price, SetPrice(self.listing_id, units * 100), owner)
            case Field.STATUS:
                await self.do(set_store_status, SetStoreStatus(self.shop.store_id, StoreStatus.CLOSED), owner)

    async def so(self, of: Field) -> Any:
        level, li, st = t.stock_level.c, t.listing.c, t.store.c
        found = {
            Field.STOCK: select(level.on_hand).where(level.listing_id == self.listing_id),
            Field.AVAILABILITY: select(~level.off).where(level.listing_id == self.listing_id),
            Field.PRICE: select(li.price_minor).where(li.id == self.listing_id),
            Field.STATUS: select(st.status).where(st.id == self.shop.store_id),
        }
        return (await self.erp.rows(found[of]))[0][0]

    async def conflicts(self, *states: ConflictState) -> Sequence[Any]:
        c = t.source_conflict.c
        found = await self.erp.rows(select(t.source_conflict).where(c.merchant_id == self.shop.merchant_id).order_by(c.id))
        return [row for row in found if not states or row.state in states]

    async def dashboard(self) -> Any:
        s = t.source.c
        return (await self.erp.rows(select(s.id).where(s.merchant_id == self.shop.merchant_id, s.provider == DASHBOARD)))[0][0]

    async def resolve(self, how: Resolution) -> None:
        [row] = await self.conflicts()
        await self.do(resolve_conflict, ResolveConflict(row.id, how), self.shop.owner)


async def desk_of(engine: AsyncEngine, provider: str = "wms") -> Desk:
    mine = await shop(engine)
    id = await listing(engine, mine, 5, price_minor=5_000)
    async with engine.begin() as connection:
        await connection.execute(update(t.variant).where(t.variant.c.id == id).values(sku="TEA"))
    erp, till = await partner(engine, provider, "ST-1", of=mine), await partner(engine, provider, "ST-1", of=mine)
    for one in (erp, till):
        await one.map(EntityKind.VARIANT, "TEA", id)
    return Desk(engine, mine, id, erp, till)


BEFORE = {Field.STOCK: 5, Field.AVAILABILITY: True, Field.PRICE: 5_000, Field.STATUS: StoreStatus.OPEN}
AFTER = {Field.STOCK: 42, Field.AVAILABILITY: False, Field.PRICE: 4_200, Field.STATUS: StoreStatus.CLOSED}
CLAIMED = {Field.STOCK: "42", Field.AVAILABILITY: "off", Field.PRICE: "42.00 INR", Field.STATUS: "CLOSED"}
STOOD = {Field.STOCK: "5", Field.AVAILABILITY: "on", Field.PRICE: "50.00 INR", Field.STATUS: "OPEN"}
PAIRS = [
    (of, believed, who)
    for of in Field
    for believed in (None, "erp", "till", HAND)
    for who in ("erp", "till", HAND)
    if (of, who) != (Field.AVAILABILITY, HAND)  # nobody switches by hand
]


@pytest.mark.parametrize(("of", "believed", "who"), PAIRS, ids=lambda one: getattr(one, "value", str(one)))
async def test_who_is_believed_is_done_and_another_is_not(engine, of, believed, who):
    desk = await desk_of(engine, "petpooja" if of is Field.AVAILABILITY else "wms")
    await desk.rule(of, believed)
    heard = believed in (None, who)
    if who == HAND and not heard:
        with pytest.raises(Refused) as no:
            await desk.say(who, of)
        told = no.value.refusal
        assert isinstance(told, NotSourceOfTruth)
        assert (told.field, told.source_id, told.provider) == (of, getattr(desk, believed).source_id, "wms")
    else:
        await desk.say(who, of)
    assert await desk.so(of) == (AFTER if heard else BEFORE)[of]
    rows = await desk.conflicts()
    if heard or who == HAND:
        assert rows == []
        return
    [row] = rows
    owner_id = await desk.dashboard() if believed == HAND else getattr(desk, believed).source_id
    assert (row.state, row.field, row.times, row.store_id) == (ConflictState.OPEN, of, 1, desk.shop.store_id)
    assert (row.source_id, row.owner_id) == (getattr(desk, who).source_id, owner_id)
    assert row.entity_id == (desk.shop.store_id if of is Field.STATUS else desk.listing_id)
    assert (shown(of, row.claimed), shown(of, row.stands)) == (CLAIMED[of], STOOD[of])
    teller: Partner = getattr(desk, who)
    assert [state for *_, state in await teller.instructions()] == ["SUPERSEDED"]
    assert (await teller.payloads(), await teller.failures()) == (["APPLIED"], [])


async def test_a_rule_of_one_field_says_nothing_of_the_others(engine):
    desk = await desk_of(engine)
    await desk.rule(Field.PRICE, HAND)
    for of in (Field.STOCK, Field.STATUS):
        await desk.say("till", of)
        assert await desk.so(of) == AFTER[of]
    assert await desk.conflicts() == []


# ---------------------------------------------------------------- conflicts


async def test_what_is_said_again_is_counted_and_the_newest_is_what_is_claimed(engine):
    desk = await desk_of(engine)
    await desk.rule(Field.PRICE, HAND)
    for units, version in ((60, 7), (70, 9), (65, 8), (50, 6), (70, 9)):  # 65 comes late, and what agreed with what stands
        await desk.say("till", Field.PRICE, units, version)
    [row] = await desk.conflicts()
    assert (row.times, shown(row.field, row.claimed), row.source_version) == (4, "70.00 INR", 9)
    await desk.say("erp", Field.PRICE, 70)
    assert [one.source_id for one in await desk.conflicts()] == [desk.till.source_id, desk.erp.source_id]


async def test_a_conflict_ends_by_itself_when_they_agree(engine):
    desk = await desk_of(engine)
    await desk.rule(Field.PRICE, HAND)
    await desk.say("till", Field.PRICE, 60)
    await desk.say(HAND, Field.PRICE, 60)  # who is believed comes round
    [row] = await desk.conflicts()
    assert row.state is ConflictState.SETTLED
    await desk.say("till", Field.PRICE, 70)
    [row] = await desk.conflicts()
    assert (row.state, row.times) == (ConflictState.OPEN, 1)
    await desk.say("till", Field.PRICE, 60)  # or the other does
    [row] = await desk.conflicts()
    assert row.state is ConflictState.SETTLED


async def test_a_source_that_is_believed_settles_what_others_say(engine):
    desk = await desk_of(engine)
    await desk.rule(Field.STOCK, "erp")
    await desk.say("till", Field.STOCK, 9)
    await desk.say("erp", Field.STOCK, 8)
    assert len(await desk.conflicts(ConflictState.OPEN)) == 1
    await desk.say("erp", Field.STOCK, 9)
    assert await desk.conflicts(ConflictState.OPEN) == []


async def test_what_agrees_is_no_conflict(engine):
    desk = await desk_of(engine)
    await desk.rule(Field.PRICE, HAND)
    await desk.say("till", Field.PRICE, 50)
    assert await desk.conflicts() == []
    assert [state for *_, state in await desk.till.instructions()] == ["SUPERSEDED"]


async def test_another_rule_settles_what_it_leaves_no_room_for(engine):
    desk = await desk_of(engine)
    await desk.rule(Field.PRICE, HAND)
    await desk.say("till", Field.PRICE, 60)
    await desk.say("erp", Field.PRICE, 70)
    await desk.rule(Field.PRICE, "till")
    assert [(row.state, row.owner_id) for row in await desk.conflicts(ConflictState.OPEN)] == [
        (ConflictState.OPEN, desk.till.source_id)
    ]
    await desk.rule(Field.PRICE, None)
    assert await desk.conflicts(ConflictState.OPEN) == []
    await desk.say("erp", Field.PRICE, 70)
    assert await desk.so(Field.PRICE) == 7_000


async def test_what_is_dismissed_stays_so_while_the_same_is_said(engine):
    desk = await desk_of(engine)
    await desk.rule(Field.PRICE, HAND)
    await desk.say("till", Field.PRICE, 60)
    await desk.resolve(Resolution.DISMISS)
    await desk.resolve(Resolution.DISMISS)  # safe to repeat
    await desk.say("till", Field.PRICE, 60)
    [row] = await desk.conflicts()
    assert (row.state, row.times) == (ConflictState.DISMISSED, 2)
    await desk.say("till", Field.PRICE, 61)
    [row] = await desk.conflicts()
    assert (row.state, row.times) == (ConflictState.OPEN, 1)
    assert await desk.so(Field.PRICE) == 5_000


@pytest.mark.parametrize("of", Field)
async def test_theirs_is_taken_as_it_would_have_been_done(engine, of):
    desk = await desk_of(engine, "petpooja" if of is Field.AVAILABILITY else "wms")
    await desk.rule(of, "erp")
    await desk.say("till", of)
    await desk.resolve(Resolution.TAKE_THEIRS)
    assert await desk.so(of) == AFTER[of]
    [row] = await desk.conflicts()
    assert row.state is ConflictState.TAKEN
    a = t.audit.c
    found = await desk.erp.rows(select(a.actor, a.detail).where(a.action == "resolveConflict", a.subject == row.entity_id))
    assert [tuple(one) for one in found] == [(str(desk.shop.owner), f"TAKE_THEIRS {of.value}: {CLAIMED[of]}")]
    with pytest.raises(Refused) as no:
        await desk.resolve(Resolution.DISMISS)
    assert isinstance(no.value.refusal, Conflict)
    await desk.say("till", of)  # what is so by now is no conflict, and who is believed is so still
    assert await desk.conflicts(ConflictState.OPEN) == []
    assert await desk.erp.discrepancies() == 0


async def test_a_count_that_is_taken_is_as_old_as_it_is(engine):
    """What has been sold over the counter since is not there any more."""
    desk = await desk_of(engine)
    await desk.rule(Field.STOCK, "erp")
    await desk.say("till", Field.STOCK, 20, at=datetime.now(UTC))
    sold = event("stock.adjusted", location="ST-1", sku="TEA", delta="-3", version=99)
    await desk.till.tell("webhooks/stock", sold)
    assert await desk.so(Field.STOCK) == 2
    await desk.resolve(Resolution.TAKE_THEIRS)
    assert await desk.so(Field.STOCK) == 17
    assert await desk.erp.discrepancies() == 0


async def test_what_is_claimed_and_cannot_be_so_is_not_taken(engine):
    desk = await desk_of(engine)
    async with engine.begin() as connection:
        await connection.execute(update(t.listing).where(t.listing.c.id == desk.listing_id).values(mrp_minor=5_500))
    await desk.rule(Field.PRICE, HAND)
    await desk.say("till", Field.PRICE, 60)
    with pytest.raises(Refused) as no:
        await desk.resolve(Resolution.TAKE_THEIRS)
    assert isinstance(no.value.refusal, InvalidInput)
    assert len(await desk.conflicts(ConflictState.OPEN)) == 1


# ---------------------------------------------------------------- what is no claim


async def test_what_was_sold_is_done_whoever_counts_the_shelf(engine):
    desk = await desk_of(engine)
    till = await partner(engine, "till", "MAIN", of=desk.shop)
    for believed in ("erp", HAND):
        await desk.rule(Field.STOCK, believed)
        sale = {"seq": 1, "at": datetime.now(UTC).isoformat(), "lines": [{"sku": "TEA", "quantity": 1}]}
        await till.tell("webhooks/sales", {"device": f"till-{believed}", "store": "MAIN", "sales": [sale]})
    assert await desk.so(Field.STOCK) == 3
    assert (await desk.conflicts(), await till.failures()) == ([], [])
    assert await till.payloads() == ["APPLIED", "APPLIED"]


async def test_a_count_that_is_not_believed_does_not_make_a_sale_old(engine):
    """The sale is in that count by its version: but the count was not done."""
    desk = await desk_of(engine)
    await desk.rule(Field.STOCK, "erp")
    await desk.say("till", Field.STOCK, 3, version=10)
    sold = event("stock.adjusted", location="ST-1", sku="TEA", delta="-2", version=9)
    await desk.till.tell("webhooks/stock", sold)
    assert await desk.so(Field.STOCK) == 3


async def test_by_hand_no_units_are_moved_where_another_counts(engine):
    desk = await desk_of(engine)
    await desk.rule(Field.STOCK, "erp")
    with pytest.raises(Refused) as no:
        await desk.do(adjust_stock, AdjustStock(desk.listing_id, 2, "found", "key-1"), desk.shop.owner)
    assert isinstance(no.value.refusal, NotSourceOfTruth)
    await desk.rule(Field.STOCK, None)
    await desk.do(adjust_stock, AdjustStock(desk.listing_id, 2, "found", "key-1"), desk.shop.owner)
    await desk.rule(Field.STOCK, "erp")
    await desk.do(adjust_stock, AdjustStock(desk.listing_id, 2, "found", "key-1"), desk.shop.owner)  # was done before
    assert await desk.so(Field.STOCK) == 7


async def test_a_new_listing_begins_with_the_price_it_is_told_with(engine):
    till = await partner(engine, "petpooja", "k7x2m9qa")
    rules = [Rule(till.shop.store_id, Field.PRICE, dashboard=True)]
    async with unit_of_work(engine) as uow:
        await set_sources_of_truth(till.shop.merchant_id, rules, till.shop.owner, uow)
    await till.tell("webhooks/menu", menu("k7x2m9qa", dish("1"), dish("2")))
    await till.tell("webhooks/menu", menu("k7x2m9qa", dish("1", "110.00"), dish("2"), dish("3", "90.00")))
    assert {sku: row.price_minor for sku, row in (await till.listings()).items()} == {"1": 10_000, "2": 10_000, "3": 9_000}
    c = t.source_conflict.c
    [row] = await till.rows(select(t.source_conflict).where(c.source_id == till.source_id))
    assert (row.entity_id, shown(row.field, row.claimed)) == ((await till.listings())["1"].id, "110.00 INR")
    assert not await till.failures()


@pytest.mark.parametrize("when", ["before the rule", "under the rule"])
async def test_taxes_are_no_price_and_old_ones_are_old_whoever_is_believed(engine, when):
    till = await partner(engine, "petpooja", "k7x2m9qa")
    place = till.shop.store_id

    async def rule(dashboard: bool) -> None:
        async with unit_of_work(engine) as uow:
            rules = [Rule(place, Field.PRICE, dashboard=dashboard)]
            await set_sources_of_truth(till.shop.merchant_id, rules, till.shop.owner, uow)

    async def push(per_cent: str, price: str, hours_ago: int) -> None:
        tax = {"taxid": "501", "taxname": "CGST", "tax": per_cent, "taxtype": "1", "active": "1", "tax_taxtype": "1"}
        await till.post("webhooks/menu", {**menu("k7x2m9qa", dish("1", price, item_tax="501")), "taxes": [tax]})
        async with engine.begin() as connection:
            i, at = t.instruction.c, datetime.now(UTC) - timedelta(hours=hours_ago)
            waiting = i.state.in_((InstructionState.WAITING, InstructionState.PARKED))
            await connection.execute(update(t.instruction).where(i.source_id == till.source_id, waiting).values(created_at=at))
        await till.worker.drain()

    async def so() -> tuple[int, int]:
        row = (await till.listings())["1"]
        return row.price_minor, row.taxes[0].rate_bp

    await push("2.5", "100.00", 9)
    if when == "before the rule":
        await push("6", "110.00", 2)
        await rule(True)
        await push("9", "90.00", 5)
        assert await so() == (11_000, 600)
        assert ("UpdatePrice", "SUPERSEDED") in {(command, state) for command, _, state in await till.instructions()}
        i, f = t.instruction.c, t.failure.c
        stale = select(i.command).join(t.failure, f.instruction_id == i.id).where(i.source_id == till.source_id)
        assert "UpdatePrice" not in {row.command for row in await till.rows(stale)}  # it was not asked how old its price is
        await push("14", "95.00", 1)
        assert await so() == (11_000, 1_400)
    else:
        await rule(True)
        await push("6", "110.00", 2)
        assert await so() == (10_000, 600)
        await rule(False)
        await push("9", "90.00", 5)  # of the prices it is believed about it is the newest
        assert await so() == (9_000, 600)


# ---------------------------------------------------------------- the dashboard


async def test_what_is_done_by_hand_is_the_word_of_one_source(engine):
    desk = await desk_of(engine)
    for of in (Field.STOCK, Field.PRICE, Field.STATUS):
        await desk.say(HAND, of)
    dashboard = await desk.dashboard()
    told = t.told.c
    found = await desk.erp.rows(select(told.field, told.entity_id).where(told.source_id == dashboard).order_by(told.field))
    assert [tuple(row) for row in found] == [
        ("PRICE", desk.listing_id), ("STATUS", desk.shop.store_id), ("STOCK", desk.listing_id),
    ]  # fmt: skip
    level = t.stock_level.c
    [(source,)] = await desk.erp.rows(select(level.source).where(level.listing_id == desk.listing_id))
    assert source == f"source:{dashboard}"


async def test_a_merchant_has_one_dashboard_whoever_is_first(engine):
    desk = await desk_of(engine)
    other = await listing(engine, desk.shop, 5)
    await asyncio.gather(
        desk.do(set_price, SetPrice(desk.listing_id, 4_000), desk.shop.owner),
        desk.do(set_price, SetPrice(other, 4_000), desk.shop.owner),
    )
    s = t.source.c
    made = select(func.count()).where(s.merchant_id == desk.shop.merchant_id, s.provider == DASHBOARD)
    assert (await desk.erp.rows(made))[0][0] == 1


async def test_no_door_leads_to_the_dashboard_and_nothing_of_it_is_set(engine):
    desk = await desk_of(engine)
    await desk.say(HAND, Field.PRICE)
    dashboard = await desk.dashboard()
    for family in ("pos", "erp", "seller"):
        answer = await desk.erp.client.post(f"/v1/integrations/{family}/{DASHBOARD}/webhooks/stock?source={dashboard}", json={})
        assert answer.status_code == 404
    async with unit_of_work(engine) as uow:
        assert await uow.sources.lock(dashboard, desk.shop.owner) is None


# ---------------------------------------------------------------- rules


async def test_rules_are_the_merchants_own_and_make_sense(engine):
    desk, other = await desk_of(engine), await desk_of(engine)
    clerk = await member(engine, desk.shop, MerchantRole.CLERK, [desk.shop.store_id])
    astray = await partner(engine, "wms", None, of=desk.shop)
    here, there = desk.shop.store_id, other.shop.store_id
    price = Field.PRICE

    async def refusal(*rules: Rule, actor=desk.shop.owner) -> Any:
        with pytest.raises(Refused) as no:
            await desk.do(set_sources_of_truth, desk.shop.merchant_id, list(rules), actor)
        return no.value.refusal

    assert isinstance(await refusal(Rule(there, price, dashboard=True)), NotFound)
    assert isinstance(await refusal(Rule(here, price, other.erp.source_id)), NotFound)
    assert isinstance(await refusal(Rule(here, price, dashboard=True), actor=clerk), Forbidden)
    assert isinstance(await refusal(Rule(here, price, dashboard=True), actor=other.shop.owner), NotFound)
    wrong = [
        Rule(here, price, desk.erp.source_id, dashboard=True),
        Rule(here, price),
        Rule(here, Field.STOCK, astray.source_id),
    ]
    told = await refusal(*wrong)
    assert [one.path for one in told.problems] == ["rules.0.dashboard", "rules.1", "rules.2.sourceId"]
    assert isinstance(await refusal(), InvalidInput)
    a = t.audit.c
    said = select(a.detail).where(a.action == "setSourcesOfTruth", a.subject == here)
    assert await desk.erp.rows(said) == []
    await desk.rule(price, "erp")
    await desk.rule(price, "erp")  # says nothing new
    assert [row.detail for row in await desk.erp.rows(said)] == [f"PRICE: everybody → source:{desk.erp.source_id}"]


async def waiting(engine: AsyncEngine) -> None:
    """Until somebody waits for who holds the rules."""
    async with asyncio.timeout(20), engine.connect() as connection:
        asked = text(
            "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
            " AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
        )
        while not (await connection.execute(asked)).scalar_one():  # noqa: ASYNC110  # nobody tells who waits for a lock
            await asyncio.sleep(0.01)


async def test_a_rule_waits_for_the_batch_that_goes_by_the_one_before(engine):
    desk = await desk_of(engine)
    await desk.till.post("webhooks/stock", event("price.updated", location="ST-1", sku="TEA", price="60.00", version=1))
    async with unit_of_work(engine) as uow:
        group = await uow.instructions.claim(desk.till.source_id, 10)
        ruling = asyncio.create_task(desk.rule(Field.PRICE, HAND))
        await waiting(engine)
        await settle(group, await carry_out(group, uow), uow)
    await ruling
    assert await desk.so(Field.PRICE) == 6_000  # before the rule: nothing of that is written after it
    await desk.say("till", Field.PRICE, 70, version=2)
    assert await desk.so(Field.PRICE) == 6_000


async def test_a_batch_that_waits_for_a_rule_goes_by_it(engine):
    desk = await desk_of(engine)
    await desk.till.post("webhooks/stock", event("price.updated", location="ST-1", sku="TEA", price="60.00", version=1))
    async with unit_of_work(engine) as uow:
        rules = [Rule(desk.shop.store_id, Field.PRICE, dashboard=True)]
        await set_sources_of_truth(desk.shop.merchant_id, rules, desk.shop.owner, uow)
        working = asyncio.create_task(desk.till.worker.drain())
        await waiting(engine)
    await working
    assert await desk.so(Field.PRICE) == 5_000
    assert len(await desk.conflicts(ConflictState.OPEN)) == 1


@pytest.mark.parametrize("of", [Field.PRICE, Field.STOCK, Field.STATUS])
async def test_who_works_by_hand_waits_for_a_rule_and_goes_by_it(engine, of):
    desk = await desk_of(engine)
    async with unit_of_work(engine) as uow:
        rules = [Rule(desk.shop.store_id, of, desk.erp.source_id)]
        await set_sources_of_truth(desk.shop.merchant_id, rules, desk.shop.owner, uow)
        working = asyncio.create_task(desk.say(HAND, of))
        await waiting(engine)
    with pytest.raises(Refused) as no:
        await working
    assert isinstance(no.value.refusal, NotSourceOfTruth)
    assert await desk.so(of) == BEFORE[of]


async def test_rules_that_change_while_everybody_speaks_lock_nobody_out(engine):
    desk = await desk_of(engine)
    refused: set[type] = set()
    deadlocks = text("SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()")
    [before] = (await desk.erp.rows(deadlocks))[0]

    async def telling(who: str) -> None:
        for units in range(10, 22):
            await desk.say(who, Field.PRICE, units)
            await desk.say(who, Field.STOCK, units)

    async def ruling() -> None:
        for _ in range(6):
            for believed in ("erp", HAND, "till", None):
                await desk.rule(Field.PRICE, believed)
                await desk.rule(Field.STOCK, believed)

    async def deciding() -> None:
        for place in range(24):
            for row in await desk.conflicts(ConflictState.OPEN):
                how = Resolution.DISMISS if place % 2 else Resolution.TAKE_THEIRS
                try:
                    await desk.do(resolve_conflict, ResolveConflict(row.id, how), desk.shop.owner)
                except Refused as no:
                    refused.add(type(no.refusal))

    await asyncio.gather(telling("erp"), telling("till"), ruling(), deciding())
    [after] = (await desk.erp.rows(deadlocks))[0]
    assert after == before
    assert refused <= {Conflict}  # settled by a rule, or something else was said meanwhile
    assert await desk.erp.discrepancies() == 0
    for one in (desk.erp, desk.till):
        assert await one.failures("PROCESSING") == []
        assert {state for *_, state in await one.instructions()} <= {"APPLIED", "SUPERSEDED"}


async def in_line(engine: AsyncEngine, many: int) -> None:
    """Until so many wait for a row."""
    async with asyncio.timeout(20), engine.connect() as connection:
        asked = text("SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()")
        while (await connection.execute(asked)).scalar_one() < many:  # nobody tells who waits for a lock
            await connection.execute(text("SELECT pg_stat_clear_snapshot()"))
            await asyncio.sleep(0.01)


async def one_after_the_other(engine: AsyncEngine, held: Any, *steps: Callable[[], Awaitable[Any]]) -> None:
    """While somebody holds these rows they come to wait in this order, and then go on."""
    async with asyncio.timeout(30), asyncio.TaskGroup() as all_of_them, engine.begin() as connection:
        await connection.execute(held.with_for_update(key_share=True))
        for place, step in enumerate(steps, start=1):
            all_of_them.create_task(step())
            await in_line(engine, place)


@pytest.mark.parametrize("of", Field)
async def test_the_first_word_by_hand_and_who_takes_theirs_wait_for_one_thing(engine, of):
    """Of what was dismissed under a rule before; and of a switch, beside which units are counted by hand."""
    desk = await desk_of(engine, "petpooja" if of is Field.AVAILABILITY else "wms")
    await desk.rule(of, "erp")
    await desk.say("till", of)
    if of is not Field.AVAILABILITY:
        await desk.resolve(Resolution.DISMISS)
        await desk.rule(of, None)
    level, li, st = t.stock_level.c, t.listing.c, t.store.c
    held = {
        Field.STOCK: select(level.version).where(level.listing_id == desk.listing_id),
        Field.AVAILABILITY: select(level.version).where(level.listing_id == desk.listing_id),
        Field.PRICE: select(li.version).where(li.id == desk.listing_id),
        Field.STATUS: select(st.version).where(st.id == desk.shop.store_id),
    }[of]
    by_hand = Field.STOCK if of is Field.AVAILABILITY else of
    await one_after_the_other(
        engine, held, lambda: desk.say(HAND, by_hand, 7), lambda: desk.resolve(Resolution.TAKE_THEIRS)
    )  # fmt: skip
    assert await desk.so(of) == AFTER[of]


async def carry(told: Partner) -> None:
    async with unit_of_work(told.engine) as uow:
        group = await uow.instructions.claim(told.source_id, 10)
        await settle(group, await carry_out(group, uow), uow)


async def test_old_news_of_who_is_believed_and_who_takes_theirs_lock_conflicts_in_one_order(engine):
    desk = await desk_of(engine)
    third = await partner(engine, "wms", "ST-1", of=desk.shop)
    await third.map(EntityKind.VARIANT, "TEA", desk.listing_id)
    await desk.do(
        set_sources_of_truth, desk.shop.merchant_id, [Rule(desk.shop.store_id, Field.PRICE, third.source_id)], desk.shop.owner
    )
    said = {"location": "ST-1", "sku": "TEA"}
    await third.tell("webhooks/stock", event("price.updated", **said, price="50.00", version=5))
    await desk.say("erp", Field.PRICE, 60)
    await desk.say("till", Field.PRICE, 70)
    await third.post("webhooks/stock", event("price.updated", **said, price="51.00", version=3))
    c = t.source_conflict.c
    first, last = sorted(await desk.conflicts(), key=lambda row: row.source_id)
    await one_after_the_other(
        engine,
        select(c.id).where(c.id == first.id),
        lambda: carry(third),
        lambda: desk.do(resolve_conflict, ResolveConflict(last.id, Resolution.TAKE_THEIRS), desk.shop.owner),
    )
    states = {row.id: row.state for row in await desk.conflicts()}
    assert states == {first.id: ConflictState.OPEN, last.id: ConflictState.TAKEN}


@pytest.mark.parametrize("of", [Field.STATUS, Field.PRICE])
async def test_two_of_whom_each_is_believed_in_another_store_wait_for_each_other(engine, of):
    desk = await desk_of(engine)
    other = new_id()
    async with engine.begin() as connection:
        columns = {"slug": f"s-{other}", "name": "Amrit Two", "city": "Bengaluru", "lat": 12.9716, "lng": 77.5946}
        await connection.execute(insert(t.store).values(id=other, merchant_id=desk.shop.merchant_id, **columns))
    for one in (desk.erp, desk.till):
        await one.map(EntityKind.STORE, "ST-2", other)

    async def say(who: Partner, version: int) -> None:
        for store in ("ST-1", "ST-2"):
            said = {"location": store, "version": version}
            kind, more = ("store.status", {"open": who is desk.erp}) if of is Field.STATUS else ("price.updated", {})
            if of is Field.PRICE:
                more = {"sku": "TEA", "price": f"{60 if who is desk.erp else 70}.00"}
            await who.post("webhooks/stock", event(kind, **said, **more))

    if of is Field.PRICE:  # listed in both
        for store in ("ST-1", "ST-2"):
            said = {"location": store, "sku": "TEA", "price": "50.00", "version": 1}
            await desk.erp.tell("webhooks/stock", event("price.updated", **said))
    rules = [Rule(desk.shop.store_id, of, desk.erp.source_id), Rule(other, of, desk.till.source_id)]
    await desk.do(set_sources_of_truth, desk.shop.merchant_id, rules, desk.shop.owner)
    for who in (desk.till, desk.erp):
        await say(who, 2)
        await who.worker.drain()
    for who in (desk.till, desk.erp):
        await say(who, 1)  # and old news, which carries nothing out
    assert len(await desk.conflicts(ConflictState.OPEN)) == 2
    c = t.source_conflict.c
    held = select(c.id).where(c.merchant_id == desk.shop.merchant_id).order_by(c.id)
    await one_after_the_other(engine, held, lambda: carry(desk.erp), lambda: carry(desk.till))
    for one in (desk.erp, desk.till):
        assert {state for *_, state in await one.instructions()} <= {"APPLIED", "SUPERSEDED"}
    assert [row.times for row in await desk.conflicts(ConflictState.OPEN)] == [2, 2]


async def test_a_listing_that_just_appears_has_the_price_of_who_is_believed(engine):
    """Two tell of it for the first time at once: who is not believed comes second, and contradicts."""
    desk = await desk_of(engine)
    id = new_id()
    async with engine.begin() as connection:
        await connection.execute(insert(t.product).values(id=id, merchant_id=desk.shop.merchant_id, name="Rice"))
        await connection.execute(insert(t.variant).values(id=id, merchant_id=desk.shop.merchant_id, product_id=id, sku="RICE"))
    for one in (desk.erp, desk.till):
        await one.map(EntityKind.VARIANT, "RICE", id)
    await desk.rule(Field.PRICE, "erp")
    for one, price in ((desk.erp, "60.00"), (desk.till, "70.00")):
        said = {"location": "ST-1", "sku": "RICE", "price": price, "version": 1}
        await one.post("webhooks/stock", event("price.updated", **said))
    m = t.merchant.c
    held = select(m.id).where(m.id == desk.shop.merchant_id)
    await one_after_the_other(engine, held, lambda: carry(desk.erp), lambda: carry(desk.till))
    li = t.listing.c
    [(listing_id, price)] = await desk.erp.rows(select(li.id, li.price_minor).where(li.variant_id == id))
    assert price == 6_000
    [row] = await desk.conflicts(ConflictState.OPEN)
    assert (row.entity_id, row.source_id) == (listing_id, desk.till.source_id)


async def test_a_sale_costs_no_statement_more_and_what_is_believed_one(engine):
    desk = await desk_of(engine)
    till = await partner(engine, "till", "MAIN", of=desk.shop)

    async def cost(teller: Partner, path: str, body: Any) -> int:
        assert (await teller.post(path, body)).status_code == 200
        with statements(engine) as said:
            async with unit_of_work(engine) as uow:
                group = await uow.instructions.claim(teller.source_id, 10)
                await settle(group, await carry_out(group, uow), uow)
        return len(said)

    def sale(seq: int) -> Any:
        one = {"seq": seq, "at": datetime.now(UTC).isoformat(), "lines": [{"sku": "TEA", "quantity": 1}]}
        return {"device": "till-1", "store": "MAIN", "sales": [one]}

    free = await cost(till, "webhooks/sales", sale(1)), await cost(desk.erp, "webhooks/stock", snapshot("ST-1", ("TEA", 9, 1)))
    await desk.rule(Field.STOCK, "erp")
    ruled = await cost(till, "webhooks/sales", sale(2)), await cost(desk.erp, "webhooks/stock", snapshot("ST-1", ("TEA", 7, 2)))
    assert (ruled[0] - free[0], ruled[1] - free[1]) == (0, 1)
