"""Batches that would do too much: what they would do, who decides, and once; on the real database."""

import asyncio
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from sqlalchemy import select, update

from db import batches as rows
from db import tables as t
from db.pages import Page
from db.reads import Reads
from db.unit_of_work import unit_of_work
from domain import trace
from domain.approval import RefuseBatch, approve_batch, refuse_batch
from domain.batches import BatchState
from domain.counting import SetStock, set_stock
from domain.diffs import Diff
from domain.failures import replay_failures
from domain.identity import Actor, ActorKind, MerchantRole
from domain.intake import EntityKind, FailureState
from domain.judgement import Rule, Verdict
from domain.listings import SetPrice, set_price
from domain.merchants import SetStoreStatus, StoreStatus, set_store_status
from domain.refusals import Conflict, InvalidInput, NotFound, Refused
from tests.partners import Partner, dish, menu, partner
from tests.world import account, member, shop

NOW = datetime.now(UTC)


async def till_of(engine, count: int = 10) -> Partner:
    """A till, and a store that shows so many dishes of it, at 100.00 each."""
    till = await partner(engine, "petpooja", "k7x2m9qa")
    await till.tell("webhooks/menu", menu("k7x2m9qa", *(dish(str(n)) for n in range(count))))
    return till


async def push(till: Partner, *dishes) -> UUID:
    """A whole menu that is judged; its batch."""
    await till.tell("webhooks/menu", menu("k7x2m9qa", *dishes))
    p = t.payload.c
    (row,) = await till.rows(select(p.id).where(p.source_id == till.source_id).order_by(p.id.desc()).limit(1))
    return row.id


async def seen(till: Partner, id: UUID, actor: Actor | None = None) -> rows.Batch:
    found = await rows.batch_by_id(Reads(till.engine), actor or till.shop.owner, id)
    assert found is not None
    return found


async def diff(till: Partner, id: UUID) -> Diff:
    return await rows.diff_of(Reads(till.engine), await seen(till, id))


async def approve(till: Partner, id: UUID, actor: Actor | None = None) -> None:
    async with unit_of_work(till.engine) as uow:
        await approve_batch(id, actor or till.shop.owner, uow)


async def refuse(till: Partner, id: UUID, reason: str = "a broken export", actor: Actor | None = None) -> None:
    async with unit_of_work(till.engine) as uow:
        await refuse_batch(RefuseBatch(id, reason), actor or till.shop.owner, uow)


async def by_hand(till: Partner, step, command) -> None:
    """As the API would call it."""
    trace.cause.set(str(till.shop.owner))
    async with unit_of_work(till.engine) as uow:
        await step(command, till.shop.owner, uow)


async def prices(till: Partner) -> dict[str, int]:
    return {sku: row.price_minor for sku, row in (await till.listings()).items()}


async def shown(till: Partner) -> set[str]:
    return {sku for sku, row in (await till.listings()).items() if row.active}


async def audited(till: Partner, id: UUID) -> list[tuple[str, str, str]]:
    a = t.audit.c
    found = await till.rows(select(a.action, a.actor, a.detail).where(a.subject == id).order_by(a.seq))
    return [tuple(row) for row in found]


# ---------------------------------------------------------------- what it would do, and why it waits


async def test_a_push_that_removes_too_many_says_which_and_by_what_rule(engine):
    till = await till_of(engine)
    id = await push(till, *(dish(str(n), "110.00" if n == 0 else "100.00") for n in range(6)), dish("new"))
    batch = await seen(till, id)
    assert (batch.state, batch.provider, batch.held.decided_at) == (BatchState.PARKED, "petpooja", None)
    assert (batch.held.rule, batch.held.percent, batch.held.limit_percent) == (Rule.REMOVED, 40.0, 30.0)
    assert batch.held.message == "it would remove 4 of the 10 listings"
    would = await diff(till, id)
    assert (would.listings, would.removed, would.added, would.prices) == (10, 4, 1, 1)
    assert {change.name for change in would.changes if change.removed} == {f"Dish {n}" for n in (6, 7, 8, 9)}
    assert [change.removed for change in would.changes] == [True] * 4 + [False]
    (moved,) = (change for change in would.changes if change.price_to is not None)
    assert (moved.name, moved.price_from, moved.price_to, moved.size) == ("Dish 0", 10000, 11000, 0.1)


async def test_a_push_that_empties_the_shelves_shows_each_switch(engine):
    till = await till_of(engine, 4)
    id = await push(till, *(dish(str(n), in_stock="0") for n in range(4)))
    batch, would = await seen(till, id), await diff(till, id)
    assert (batch.held.rule, batch.held.percent, batch.held.limit_percent) == (Rule.EMPTIED, 100.0, None)
    assert (would.switched_off, would.removed) == (4, 0)
    assert all((change.available_from, change.available_to) == (True, False) for change in would.changes)


async def test_a_push_in_another_unit_shows_each_price_the_largest_move_first(engine):
    till = await till_of(engine, 4)
    id = await push(till, dish("0"), *(dish(str(n), f"{n}0000.00") for n in range(1, 4)))
    batch, would = await seen(till, id), await diff(till, id)
    assert batch.held.rule is Rule.PRICES
    assert (batch.held.percent, batch.held.limit_percent) == (14925.0, 50.0)
    assert [(change.name, change.price_to) for change in would.changes] == [
        ("Dish 3", 3_000_000),
        ("Dish 2", 2_000_000),
        ("Dish 1", 1_000_000),
    ]


async def test_a_batch_that_ran_was_never_held(engine):
    till = await till_of(engine)
    p = t.payload.c
    (row,) = await till.rows(select(p.id).where(p.source_id == till.source_id))
    batch = await seen(till, row.id)
    assert (batch.state, batch.held) == (BatchState.DONE, None)
    with pytest.raises(Refused) as no:
        await approve(till, row.id)
    assert isinstance(no.value.refusal, Conflict)


async def test_the_diff_is_against_what_is_so_now_and_comes_in_pages(engine):
    till = await till_of(engine)
    id = await push(till, dish("0", "160.00"), dish("1", "130.00"))
    await till.tell("webhooks/inventory", {"restID": "k7x2m9qa", "type": "item", "inStock": False, "itemID": ["9"]})
    listed = await till.listings()
    await by_hand(till, set_price, SetPrice(listed["1"].id, 13_000))
    would = await diff(till, id)
    assert (would.removed, would.prices) == (8, 1)
    seen_: list[str] = []
    after = None
    while True:
        page: Page = rows.changes_page(would, 4, after)
        seen_ += [change.name for change in page.nodes]
        after = page.page_info.end_cursor
        if not page.page_info.has_next_page:
            break
    assert len(seen_) == len(set(seen_)) == 9
    with pytest.raises(Refused) as no:
        rows.changes_page(would, 4, "nonsense")
    assert isinstance(no.value.refusal, InvalidInput)


async def test_the_list_is_narrowed_by_state_and_goes_on_where_it_was(engine):
    till = await till_of(engine)
    parked = [await push(till, dish("0")), await push(till, dish("1"))]
    await refuse(till, parked[0])
    reads, owner = Reads(engine), till.shop.owner

    async def of(state: BatchState | None, first: int = 20, after: str | None = None) -> Page:
        return await rows.batches(reads, owner, till.shop.merchant_id, state, first, after)

    assert [batch.id for batch in (await of(BatchState.PARKED)).nodes] == [parked[1]]
    assert [batch.id for batch in (await of(BatchState.REFUSED)).nodes] == [parked[0]]
    assert len((await of(BatchState.DONE)).nodes) == 1
    assert not (await of(BatchState.RUNNING)).nodes
    one = await of(None, 2)
    rest = await of(None, 2, one.page_info.end_cursor)
    assert [batch.id for batch in (*one.nodes, *rest.nodes)][:2] == [parked[1], parked[0]]
    assert len(rest.nodes) == 1


async def test_who_does_not_look_after_the_sources_sees_no_batch_and_decides_nothing(engine):
    till = await till_of(engine)
    id = await push(till, dish("0"))
    clerk = await member(engine, till.shop, MerchantRole.CLERK, [till.shop.store_id])
    for stranger in (clerk, (await shop(engine)).owner, await account(engine), Actor(None)):
        assert await rows.batch_by_id(Reads(engine), stranger, id) is None
        assert not (await rows.batches(Reads(engine), stranger, None, None, None, None)).nodes
        for decide in (approve(till, id, stranger), refuse(till, id, "no", stranger)):
            with pytest.raises(Refused) as no:
                await decide
            assert isinstance(no.value.refusal, NotFound)
    assert await rows.batch_by_id(Reads(engine), Actor(ActorKind.SUPPORT, clerk.id), id) is not None
    assert (await seen(till, id)).state is BatchState.PARKED


async def test_a_long_batch_is_compared_in_as_many_statements_as_a_short_one(engine):
    reads = Counting(engine)
    counts = []
    for size in (4, 60):
        till = await till_of(engine, size)
        id = await push(till, dish("0", "1000.00"))
        batch = await seen(till, id)
        reads.asked = 0
        would = await rows.diff_of(reads, batch)
        assert (would.removed, would.prices) == (size - 1, 1)
        counts.append(reads.asked)
    assert counts[0] == counts[1] <= 5


class Counting(Reads):
    asked = 0

    async def rows(self, statement, given=None):
        self.asked += 1
        return await super().rows(statement, given)

    async def one(self, statement, given=None):
        self.asked += 1
        return await super().one(statement, given)

    async def value(self, statement, given=None):
        self.asked += 1
        return await super().value(statement, given)


# ---------------------------------------------------------------- yes


async def test_an_approved_batch_runs_and_does_what_was_shown(engine):
    till = await till_of(engine)
    id = await push(till, *(dish(str(n), "110.00") for n in range(6)))
    would = await diff(till, id)
    await approve(till, id)
    assert (await seen(till, id)).state is BatchState.RUNNING
    await till.worker.drain()
    batch = await seen(till, id)
    assert (batch.state, batch.held.by, batch.held.reason) == (BatchState.DONE, till.shop.owner, None)
    assert batch.held.decided_at is not None
    assert await shown(till) == {str(n) for n in range(6)}
    now = await prices(till)
    assert would.prices == 6
    assert {now[sku] for sku in await shown(till)} == {11000}
    (failure,) = await till.failures("VALIDATION")
    assert (failure.state, failure.replays) == (FailureState.RESOLVED, 1)
    ((action, actor, detail),) = await audited(till, id)
    assert (action, actor) == ("approveBatch", str(till.shop.owner))
    assert detail.endswith("0 superseded")


async def test_what_the_till_said_since_is_newer_than_what_is_approved(engine):
    till = await till_of(engine)
    id = await push(till, *(dish(str(n), "110.00") for n in range(6)))
    await till.tell("webhooks/menu", menu("k7x2m9qa", *(dish(str(n), "105.00") for n in range(10))))
    await till.tell("webhooks/inventory", {"restID": "k7x2m9qa", "type": "item", "inStock": False, "itemID": ["2"]})
    would = await diff(till, id)
    assert (would.removed, would.prices, would.switched_on) == (0, 0, 0)
    await approve(till, id)
    await till.worker.drain()
    assert set((await prices(till)).values()) == {10500}
    assert await shown(till) == {str(n) for n in range(10)}
    assert (await till.level("2")).off


async def test_what_people_set_meanwhile_is_newer_too(engine):
    till = await till_of(engine)
    id = await push(till, *(dish(str(n), "110.00") for n in range(6)))
    listed = await till.listings()
    await by_hand(till, set_price, SetPrice(listed["0"].id, 12_300))
    assert (await diff(till, id)).prices == 5
    await approve(till, id)
    await till.worker.drain()
    now = await prices(till)
    assert (now["0"], now["1"]) == (12300, 11000)
    assert [
        state for command, entity, state in await till.instructions() if command == "UpdatePrice" and "VARIANT:0" in entity
    ] == [
        "APPLIED",
        "SUPERSEDED",
    ]
    assert "1 superseded" in (await audited(till, id))[0][2]
    assert (await seen(till, id)).state is BatchState.DONE


@pytest.mark.parametrize("kind", [ActorKind.MERCHANT, ActorKind.SUPPORT])
async def test_a_store_that_people_have_closed_since_stays_closed(engine, kind):
    till = await till_of(engine)
    id = await push(till, dish("0"))
    by = Actor(kind, till.shop.owner.id)
    async with unit_of_work(engine) as uow:
        await set_store_status(SetStoreStatus(till.shop.store_id, StoreStatus.CLOSED), by, uow)
    await approve(till, id)
    await till.worker.drain()
    s = t.store.c
    (row,) = await till.rows(select(s.status).where(s.id == till.shop.store_id))
    assert row.status is StoreStatus.CLOSED
    assert await shown(till) == {"0"}


async def test_what_another_source_calls_it_since_is_newer(engine):
    till = await till_of(engine)
    other = await partner(engine, "petpooja", "other", of=till.shop)
    p = t.product.c
    (known,) = await till.rows(select(p.id).where(p.merchant_id == till.shop.merchant_id, p.name == "Dish 0"))
    id = await push(till, dish("0", itemname="Older"))
    await other.map(EntityKind.PRODUCT, "zero", known.id)
    await other.map(EntityKind.VARIANT, "zero", (await till.listings())["0"].variant_id)
    await other.tell("webhooks/menu", menu("other", dish("zero", itemname="Newer")))
    await approve(till, id)
    await till.worker.drain()
    (named,) = await till.rows(select(p.name).where(p.id == known.id))
    assert named.name == "Newer"


async def test_replaying_its_failure_approves_it_as_before(engine):
    till = await till_of(engine)
    id = await push(till, dish("0"))
    ids = [row.id for row in await till.failures("VALIDATION")]
    async with unit_of_work(engine) as uow:
        await replay_failures(ids, till.shop.owner, uow)
    await till.worker.drain()
    batch = await seen(till, id)
    assert (batch.state, batch.held.by) == (BatchState.DONE, till.shop.owner)
    assert await shown(till) == {"0"}
    ((action, actor, _),) = await audited(till, id)
    assert (action, actor) == ("approveBatch", str(till.shop.owner))


async def test_another_failure_of_the_payload_does_not_approve_it(engine):
    till = await till_of(engine)
    id = await push(till, dish("0"), dish("1", "-5"))
    wrong, held = sorted(await till.failures("VALIDATION"), key=lambda row: "would" in row.message)
    assert "would remove" in held.message
    async with unit_of_work(engine) as uow:
        await replay_failures([wrong.id], till.shop.owner, uow)
    await till.worker.drain()
    assert (await seen(till, id)).state is BatchState.PARKED
    assert len(await shown(till)) == 10


# ---------------------------------------------------------------- no


async def test_a_refused_batch_never_runs_whatever_is_replayed(engine):
    till = await till_of(engine)
    id = await push(till, dish("0", "500.00"))
    await refuse(till, id, "  an export that broke off ")
    batch = await seen(till, id)
    assert (batch.state, batch.held.reason, batch.held.by) == (BatchState.REFUSED, "an export that broke off", till.shop.owner)
    assert {state for command, _, state in (await till.instructions())[-2:]} == {"REFUSED"}
    assert await till.payloads() == ["APPLIED", "REFUSED"]
    (failure,) = await till.failures("VALIDATION")
    assert (failure.state, failure.note) == (FailureState.IGNORED, "an export that broke off")
    with pytest.raises(Refused) as no:
        async with unit_of_work(engine) as uow:
            await replay_failures([failure.id], till.shop.owner, uow)
    assert isinstance(no.value.refusal, Conflict)
    await till.worker.drain()
    assert (len(await shown(till)), set((await prices(till)).values())) == (10, {10000})
    ((action, _, detail),) = await audited(till, id)
    assert (action, detail.endswith("instructions: an export that broke off")) == ("refuseBatch", True)


async def test_the_same_push_sent_again_after_a_refusal_is_judged_anew(engine):
    till = await till_of(engine)
    first = await push(till, dish("0"))
    await refuse(till, first)
    await till.tell("webhooks/inventory", {"restID": "k7x2m9qa", "type": "item", "inStock": True, "itemID": ["1"]})
    async with engine.begin() as connection:  # some minutes later
        p = t.payload.c
        await connection.execute(update(t.payload).where(p.id == first).values(received_at=NOW - timedelta(minutes=5)))
    second = await push(till, dish("0"))
    assert second != first
    assert (await seen(till, second)).state is BatchState.PARKED


async def test_a_refusal_says_why(engine):
    till = await till_of(engine)
    id = await push(till, dish("0"))
    with pytest.raises(Refused) as no:
        await refuse(till, id, " ")
    assert isinstance(no.value.refusal, InvalidInput)
    assert (await seen(till, id)).state is BatchState.PARKED


async def test_what_is_held_again_after_a_decision_waits_for_another_one(engine):
    till = await till_of(engine, 4)
    id = await push(till, dish("0"))
    await approve(till, id)
    await till.worker.drain()
    (failure,) = await till.failures("VALIDATION")
    verdict = Verdict(Rule.PRICES, "read anew, it would move prices", 80.0)
    async with unit_of_work(engine) as uow:
        await uow.batches.park(id, till.shop.merchant_id, till.source_id, verdict, failure.id)
    batch = await seen(till, id)
    assert (batch.state, batch.held.rule, batch.held.by, batch.held.decided_at) == (BatchState.PARKED, Rule.PRICES, None, None)
    await refuse(till, id)
    assert (await seen(till, id)).state is BatchState.REFUSED


# ---------------------------------------------------------------- once


@pytest.mark.parametrize("round_", range(5))
async def test_of_two_who_decide_at_once_one_wins_and_the_other_is_told(engine, round_):
    till = await till_of(engine, 4)
    id = await push(till, dish("0"))
    (failure,) = await till.failures("VALIDATION")
    manager = await member(engine, till.shop, MerchantRole.MANAGER)

    async def replay() -> None:
        async with unit_of_work(engine) as uow:
            await replay_failures([failure.id], manager, uow)

    ended = await asyncio.gather(
        approve(till, id), refuse(till, id, "no", manager), approve(till, id, manager), replay(), return_exceptions=True
    )
    told = [one.refusal for one in ended if isinstance(one, Refused)]
    assert len(told) == 3, ended
    assert all(isinstance(one, Conflict) for one in told), told
    await till.worker.drain()
    refused = ended[1] is None
    assert (await seen(till, id)).state is (BatchState.REFUSED if refused else BatchState.DONE)
    assert await shown(till) == ({str(n) for n in range(4)} if refused else {"0"})


async def test_a_count_by_hand_is_not_overwritten_by_an_approved_older_one(engine):
    seller = await partner(engine, "catalogue_file", "mine")

    def feed(*counted: int) -> dict:
        goods = [{"id": f"G{n}", "title": f"Good {n}", "price": "100.00", "quantity": units} for n, units in enumerate(counted)]
        return {"mode": "full", "rows": goods}

    await seller.tell("import?store=mine", feed(5, 5, 5, 5))
    assert await seller.payloads() == ["APPLIED"], await seller.failures()
    await seller.tell("import?store=mine", feed(0))
    p = t.payload.c
    (row,) = await seller.rows(select(p.id).where(p.source_id == seller.source_id).order_by(p.id.desc()).limit(1))
    assert (await seen(seller, row.id)).state is BatchState.PARKED, await seller.failures()
    listed = await seller.listings()
    await by_hand(seller, set_stock, SetStock(listed["G0"].id, 9, None))
    assert (await diff(seller, row.id)).stocks == 0
    await approve(seller, row.id)
    await seller.worker.drain()
    assert (await seller.level("G0")).on_hand == 9
    assert await shown(seller) == {"G0"}
