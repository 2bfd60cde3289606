"""Failures that fit a filter, tried again in the background, on the real database."""

import asyncio
import itertools
import sys
from dataclasses import replace
from datetime import timedelta
from uuid import UUID

import pytest
from sqlalchemy import func, select, update

from db import tables as t
from db.failure_groups import failure_groups
from db.failures import failures
from db.reads import Reads
from db.replays import replay_by_id, replays
from db.unit_of_work import unit_of_work
from domain import applying
from domain import replays as domain
from domain.failures import FailureFilter, replay_failures
from domain.identity import Actor, ActorKind, MerchantRole
from domain.intake import FailureKind, FailureState
from domain.refusals import Conflict, Forbidden, InvalidInput, NotFound, Refused
from domain.replays import Replay, ReplayState, cancel_replay, start_replay
from tests.conftest import LONG
from tests.partners import Partner, dish, event, menu, partner
from tests.workers.test_instructions import stocked
from tests.world import account, listing, member, shop
from workers import instructions as loops
from workers import replays as loop
from workers.replays import Replays

GOOD_OF_TEN = 9


@pytest.fixture
def broken(monkeypatch):
    """SKUs that nothing of ours can carry out until they are taken out of it. At the first try they fail for good."""
    skus: set[str] = set()
    really = applying.carry_out

    async def carry_out(group, uow):
        if any(getattr(one.command, "id", None) in skus for one in group.instructions):
            raise RuntimeError("broken")
        return await really(group, uow)

    monkeypatch.setattr(loops, "carry_out", carry_out)
    monkeypatch.setattr(loops, "ATTEMPTS", 1)
    return skus


async def goods(engine, count: int) -> Partner:
    """A warehouse, and a store with so many counted goods: SKU-0, SKU-1 …"""
    mine = await shop(engine)
    for n in range(count):
        id = await listing(engine, mine, 0)
        async with engine.begin() as connection:
            await connection.execute(update(t.variant).where(t.variant.c.id == id).values(sku=f"SKU-{n}"))
    return await partner(engine, "wms", "BLR_DS1", of=mine)


async def adjust(wms: Partner, *skus: str) -> None:
    for sku in skus:
        answer = await wms.post("webhooks/stock", event("stock.adjusted", location="BLR_DS1", sku=sku, delta="1"))
        assert answer.status_code == 200
    await wms.worker.drain()


async def start(engine, actor: Actor, **which) -> UUID:
    async with unit_of_work(engine) as uow:
        return await start_replay(FailureFilter(**which), actor, uow)


async def seen(engine, id: UUID, actor: Actor) -> Replay:
    found = await replay_by_id(Reads(engine), actor, id)
    assert found is not None
    return found


async def work_off(wms: Partner, id: UUID, actor: Actor | None = None) -> Replay:
    """With the workers beside it, until it has ended."""
    worker = Replays(lambda: unit_of_work(wms.engine))
    async with asyncio.timeout(60):
        while (now := await seen(wms.engine, id, actor or wms.shop.owner)).state is ReplayState.RUNNING:
            await worker.once()
            await wms.worker.drain()
    return now


def sums(replay: Replay) -> bool:
    parts = replay.applied, replay.already_applied, replay.failed_again, replay.refused, replay.under_way
    return replay.done == sum(parts)


async def support(engine) -> Actor:
    return Actor(ActorKind.SUPPORT, (await account(engine)).id)


# ---------------------------------------------------------------- how it ends


@pytest.mark.parametrize("chunk", [3, 200])
async def test_poison_among_good_ones_is_cleared_by_one_replay_and_nothing_is_lost(engine, broken, monkeypatch, chunk):
    monkeypatch.setattr(domain, "CHUNK", chunk)
    for round_ in range(5 if LONG else 1):
        wms = await goods(engine, 40)
        broken.update({"SKU-0", "SKU-10", "SKU-20", "SKU-30"})
        times = 3
        for _ in range(times):
            await adjust(wms, *(f"SKU-{n}" for n in range(40)))
        assert [(await wms.level(f"SKU-{n}")).on_hand for n in (0, 1, 10, 39)] == [0, times, 0, times], round_
        assert {row.kind for row in await wms.failures()} == {FailureKind.PROCESSING}
        failed = len(await wms.failures())
        assert failed == 4 * times
        broken.clear()
        id = await start(engine, wms.shop.owner, merchant_id=wms.shop.merchant_id, kind=FailureKind.PROCESSING)
        done = await work_off(wms, id)
        assert (done.state, done.total, done.done, done.applied) == (ReplayState.DONE, failed, failed, failed)
        assert {row.state for row in await wms.failures()} == {FailureState.RESOLVED}
        assert {(await wms.level(f"SKU-{n}")).on_hand for n in range(40)} == {times}
        assert await wms.discrepancies() == 0
        assert done.ended_at is not None


async def test_a_step_that_breaks_is_tried_ever_more_seldom_and_the_others_at_once(engine, broken, monkeypatch):
    wms = await goods(engine, 2)
    broken.update({"SKU-0", "SKU-1"})
    await adjust(wms, "SKU-0", "SKU-1")
    broken.clear()
    mine = {"merchant_id": wms.shop.merchant_id}
    bad, good = await start(engine, wms.shop.owner, **mine), await start(engine, wms.shop.owner, **mine)
    now_s, tried = 0.0, []
    worker = Replays(lambda: unit_of_work(engine), clock=lambda: now_s)
    really = loop.work_on

    async def work_on(id, uow):
        if id == bad:
            tried.append(now_s)
            raise RuntimeError("broken")
        return await really(id, uow)

    monkeypatch.setattr(loop, "work_on", work_on)
    while now_s < 600:
        await worker.once()
        now_s += 1
    apart = [after - before for before, after in itertools.pairwise(tried)]
    assert len(tried) < 600 / (loop.BACKOFF_MOST_S / 2) + 12  # after eight or so it waits for half a minute at the least
    assert max(apart) <= loop.BACKOFF_MOST_S + 1
    assert apart[-1] >= loop.BACKOFF_MOST_S / 2
    async with asyncio.timeout(30):
        while (await seen(engine, good, wms.shop.owner)).state is ReplayState.RUNNING:
            await wms.worker.drain()
            await worker.once()
    monkeypatch.undo()
    assert (await work_off(wms, bad)).state is ReplayState.DONE
    await worker.once()
    assert bad not in worker.waiting


async def test_what_cannot_be_tried_again_or_fails_again_is_counted_and_stops_nobody(engine, broken):
    wms = await stocked(engine)
    broken.add("TEA-250")
    await adjust(wms, "TEA-250")
    broken.clear()
    await adjust(wms, "NO-SUCH")
    await wms.post(
        "webhooks/stock", event("stock.adjusted", location="BLR_DS1", sku="TEA-250", delta="1"), **{"webhook-signature": "v1,x"}
    )
    kinds = sorted(row.kind.value for row in await wms.failures())
    assert kinds == ["AUTH", "MAPPING", "PROCESSING"]
    id = await start(engine, wms.shop.owner, merchant_id=wms.shop.merchant_id)
    done = await work_off(wms, id)
    assert (done.total, done.done, done.applied, done.failed_again, done.refused) == (3, 3, 1, 1, 1)
    assert sums(done)
    states = {row.kind.value: (row.state.value, row.replays) for row in await wms.failures()}
    assert states == {"AUTH": ("OPEN", 0), "MAPPING": ("OPEN", 1), "PROCESSING": ("RESOLVED", 1)}


async def test_two_replays_at_once_and_one_by_hand_do_nothing_twice(engine, broken, monkeypatch):
    monkeypatch.setattr(domain, "CHUNK", 2)
    wms = await goods(engine, 10)
    broken.update(f"SKU-{n}" for n in range(10))
    await adjust(wms, *sorted(broken))
    broken.clear()
    owner, theirs = wms.shop.owner, wms.shop.merchant_id
    one, other = await start(engine, owner, merchant_id=theirs), await start(engine, owner, provider="wms", merchant_id=theirs)
    async with unit_of_work(engine) as uow:
        await replay_failures([(await wms.failures())[7].id], owner, uow)
    first, second = await asyncio.gather(work_off(wms, one), work_off(wms, other))
    for done in (first, second):
        assert (done.state, done.total, done.done, done.failed_again, done.refused) == (ReplayState.DONE, 10, 10, 0, 0)
        assert sums(done)
    assert first.applied + second.applied >= 9
    assert first.already_applied + second.already_applied > 0
    assert {(await wms.level(f"SKU-{n}")).on_hand for n in range(10)} == {1}
    assert await wms.discrepancies() == 0


async def test_what_was_applied_before_its_turn_is_already_applied(engine, broken):
    wms = await stocked(engine)
    broken.add("TEA-250")
    await adjust(wms, "TEA-250")
    broken.clear()
    id = await start(engine, wms.shop.owner, merchant_id=wms.shop.merchant_id)
    async with unit_of_work(engine) as uow:
        await replay_failures([row.id for row in await wms.failures()], wms.shop.owner, uow)
    await wms.worker.drain()
    done = await work_off(wms, id)
    assert (done.total, done.done, done.already_applied, done.applied) == (1, 1, 1, 0)
    again = await work_off(wms, await start(engine, wms.shop.owner, merchant_id=wms.shop.merchant_id, state=FailureState.RESOLVED))
    assert (again.total, again.already_applied) == (1, 1)
    assert (await wms.level("TEA-250")).on_hand == 6


async def test_cancelled_it_leaves_the_rest_as_it_is(engine, broken, monkeypatch):
    monkeypatch.setattr(domain, "CHUNK", 2)
    wms = await goods(engine, 6)
    broken.update(f"SKU-{n}" for n in range(6))
    await adjust(wms, *sorted(broken))
    broken.clear()
    id = await start(engine, wms.shop.owner, merchant_id=wms.shop.merchant_id)
    await Replays(lambda: unit_of_work(engine)).once()
    await wms.worker.drain()
    for _ in range(2):  # safe to repeat
        async with unit_of_work(engine) as uow:
            await cancel_replay(id, wms.shop.owner, uow)
    done = await work_off(wms, id)
    assert (done.state, done.total, done.done, done.applied, done.version) == (ReplayState.CANCELLED, 6, 2, 2, 3)
    assert sorted(row.state.value for row in await wms.failures()) == ["OPEN"] * 4 + ["RESOLVED"] * 2
    e = t.event.c
    told = await wms.rows(select(e.seq, e.kind).where(e.stream == "replay", e.entity_id == id).order_by(e.seq))
    assert [(row.seq, row.kind) for row in told] == [(seq, "ReplayChanged") for seq in (1, 2, 3)]
    a = t.audit.c
    audit = await wms.rows(select(a.action, a.detail).where(a.subject == id).order_by(a.id))
    assert [row.action for row in audit] == ["startReplay", "replay", "cancelReplay"]
    assert audit[-1].detail == "2 of 6: 2 applied"


async def test_a_batch_that_waits_for_approval_is_not_approved_by_it(engine):
    till = await partner(engine, "petpooja", "k7x2m9qa")
    await till.tell("webhooks/menu", menu("k7x2m9qa", *(dish(str(n)) for n in range(10))))
    await till.tell("webhooks/menu", menu("k7x2m9qa", dish("0")))
    (failure,) = await till.failures()
    assert "it would remove" in failure.message
    done = await work_off(till, await start(engine, till.shop.owner, merchant_id=till.shop.merchant_id))
    assert (done.total, done.refused) == (1, 1)
    assert (await till.failures())[0].state is FailureState.OPEN


async def test_who_is_put_off_holds_up_nobody(engine, broken, monkeypatch):
    monkeypatch.setattr(domain, "CHUNK", 1)
    monkeypatch.setattr(domain, "PATIENCE", timedelta(0))
    wms = await goods(engine, 2)
    broken.update({"SKU-0", "SKU-1"})
    await adjust(wms, "SKU-0", "SKU-1")
    broken.discard("SKU-1")
    monkeypatch.setattr(loops, "ATTEMPTS", 5)
    done = await work_off(wms, await start(engine, wms.shop.owner, merchant_id=wms.shop.merchant_id))
    assert (done.done, done.under_way, done.applied) == (2, 1, 1)
    assert sums(done)


# ---------------------------------------------------------------- whoever dies


WORKER = """
import asyncio, sys
from sqlalchemy.ext.asyncio import create_async_engine
from db.unit_of_work import unit_of_work
from domain import replays
from workers.replays import Replays

async def main():
    replays.CHUNK = 1
    engine = create_async_engine(sys.argv[1])
    await Replays(lambda: unit_of_work(engine)).run()

asyncio.run(main())
"""


async def test_a_worker_that_is_killed_in_the_middle_is_followed_by_another(engine, database_url, broken):
    wms = await goods(engine, 12)
    broken.update(f"SKU-{n}" for n in range(12))
    await adjust(wms, *sorted(broken))
    broken.clear()
    id = await start(engine, wms.shop.owner, merchant_id=wms.shop.merchant_id)
    for kills in range(1, (8 if LONG else 2) + 1):
        worker = await asyncio.create_subprocess_exec(sys.executable, "-c", WORKER, database_url)
        try:
            async with asyncio.timeout(30):
                while (await seen(engine, id, wms.shop.owner)).done < kills:
                    await wms.worker.drain()
                    await asyncio.sleep(0.01)
        finally:
            worker.kill()
            await worker.wait()
    assert (await seen(engine, id, wms.shop.owner)).state is ReplayState.RUNNING
    done = await work_off(wms, id)
    assert (done.state, done.total, done.done, done.applied) == (ReplayState.DONE, 12, 12, 12)
    assert {(await wms.level(f"SKU-{n}")).on_hand for n in range(12)} == {1}
    assert {row.replays for row in await wms.failures()} == {1}
    assert await wms.discrepancies() == 0


# ---------------------------------------------------------------- whose


async def test_a_clerk_starts_none_and_a_stranger_sees_none(engine):
    wms = await stocked(engine)
    clerk = await member(engine, wms.shop, MerchantRole.CLERK)
    rival = (await shop(engine)).owner
    theirs = {"merchant_id": wms.shop.merchant_id}
    for actor, which, refusal in (
        (clerk, theirs, Forbidden),
        (rival, theirs, NotFound),
        (wms.shop.owner, {}, InvalidInput),
        (await support(engine), {"state": FailureState.OPEN}, InvalidInput),
    ):
        with pytest.raises(Refused) as no:
            await start(engine, actor, **which)
        assert isinstance(no.value.refusal, refusal)
    id = await start(engine, wms.shop.owner, **theirs)
    for actor in (clerk, rival):
        assert await replay_by_id(Reads(engine), actor, id) is None
        assert not (await replays(Reads(engine), actor, None, 20, None)).nodes
        with pytest.raises(Refused) as no:
            async with unit_of_work(engine) as uow:
                await cancel_replay(id, actor, uow)
        assert isinstance(no.value.refusal, NotFound)
    for _ in range(domain.RUNNING_AT_ONCE - 1):
        await start(engine, wms.shop.owner, **theirs)
    with pytest.raises(Refused) as no:
        await start(engine, wms.shop.owner, **theirs)
    assert isinstance(no.value.refusal, Conflict)


async def test_no_more_run_at_once_than_may_however_many_begin_together(engine, broken):
    wms = await goods(engine, 1)
    begun = [start(engine, wms.shop.owner, merchant_id=wms.shop.merchant_id) for _ in range(domain.RUNNING_AT_ONCE + 3)]
    told = await asyncio.gather(*begun, return_exceptions=True)
    refused = [one.refusal for one in told if isinstance(one, Refused)]
    assert (len(told) - len(refused), [type(one) for one in refused]) == (domain.RUNNING_AT_ONCE, [Conflict] * 3)


# ---------------------------------------------------------------- groups, and filters


async def test_what_is_alike_is_one_group_with_its_store_its_counts_and_its_times(engine, broken):
    wms = await goods(engine, 3)
    await adjust(wms, "NO-1", "NO-2")
    broken.update({"SKU-0", "SKU-1"})
    await adjust(wms, "SKU-0", "SKU-1")
    owner, reads, theirs = wms.shop.owner, Reads(engine), FailureFilter(wms.shop.merchant_id)
    rows = await wms.failures()
    assert {row.store_id for row in rows} == {wms.shop.store_id}
    page = await failure_groups(reads, owner, theirs, 20, None)
    assert [(one.kind.value, one.open, one.total) for one in page.nodes] == [("PROCESSING", 2, 2), ("MAPPING", 2, 2)]
    newest, oldest = page.nodes
    assert (oldest.first_at, oldest.last_at, oldest.sample.id) == (rows[0].at, rows[1].at, rows[1].id)
    assert oldest.fingerprint == rows[0].fingerprint == rows[1].fingerprint
    broken.clear()
    await work_off(wms, await start(engine, owner, merchant_id=wms.shop.merchant_id, fingerprint=newest.fingerprint))

    async def groups(**more) -> list[tuple[str, int, int]]:
        found = await failure_groups(reads, owner, replace(theirs, **more), 20, None)
        return [(one.kind.value, one.open, one.total) for one in found.nodes]

    both = [("PROCESSING", 0, 2), ("MAPPING", 2, 2)]
    assert await groups() == both
    assert await groups(state=FailureState.OPEN) == both[1:]
    assert await groups(state=FailureState.RESOLVED) == both[:1]
    assert await groups(kind=FailureKind.MAPPING) == await groups(text="ours map") == both[1:]
    assert await groups(provider="petpooja") == await groups(text="nothing here") == []
    assert await groups(store_id=wms.shop.store_id) == both
    assert await groups(since=rows[1].at) == [("PROCESSING", 0, 2), ("MAPPING", 1, 1)]
    assert await groups(until=rows[1].at) == [("MAPPING", 1, 1)]

    async def of(**more) -> list[UUID]:
        return [one.id for one in (await failures(reads, owner, replace(theirs, **more), 20, None)).nodes]

    ids = [row.id for row in rows]
    assert await of(fingerprint=oldest.fingerprint) == await of(text="VARIANT") == [ids[1], ids[0]]
    assert await of(since=rows[1].at, until=rows[3].at) == [ids[2], ids[1]]
    assert await of(text="no 2") == [ids[1]]
    assert await of(store_id=wms.source_id) == []
    rival = (await shop(engine)).owner
    assert not (await failure_groups(reads, rival, theirs, 20, None)).nodes
    pages, after = [], None
    while True:
        page = await failure_groups(reads, owner, theirs, 1, after)
        pages += page.nodes
        if not page.page_info.has_next_page:
            break
        after = page.page_info.end_cursor
    assert [one.kind.value for one in pages] == ["PROCESSING", "MAPPING"]
    everybodys = await failure_groups(
        reads, await support(engine), FailureFilter(provider="wms", kind=FailureKind.PROCESSING), 20, None
    )
    assert newest.fingerprint in {one.fingerprint for one in everybodys.nodes}
    at = await Reads(engine).value(select(func.clock_timestamp()))
    assert await of(since=at) == []
