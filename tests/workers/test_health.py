"""Sources that fall silent, on the real database: what is told of them, what becomes of their levels, and how it ends."""

import asyncio
import json
import logging
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from uuid import UUID

import pytest
from sqlalchemy import func, select, update
from sqlalchemy.ext.asyncio import AsyncEngine

from adapters.gateways import NoGateway
from db import tables as t
from db.audit import walk
from db.events import to_event
from db.figures import backlog
from db.health import healths
from db.reads import Reads
from db.unit_of_work import unit_of_work
from domain.counting import SetStock, set_stock
from domain.health import SetSourceSchedule, SourceState, fall_silent, mark_stale, set_source_schedule
from domain.identity import Actor, ActorKind, MerchantRole
from domain.refusals import InvalidInput, NotFound, Refused
from tests.partners import Partner, dish, event, menu, partner, snapshot
from tests.world import account, listings, member, shop
from workers.deadlines import Deadlines

SKUS = ("TEA", "RICE", "OIL", "SALT", "DAL")


@pytest.fixture
def clock(engine: AsyncEngine) -> Deadlines:
    return Deadlines(Reads(engine), partial(unit_of_work, engine), NoGateway())


async def warehouse(engine: AsyncEngine, skus: Sequence[str] = SKUS, store: str = "BLR") -> Partner:
    """A source of counts, and a shop that lists what it counts."""
    mine = await shop(engine)
    ids = await listings(engine, mine, [5] * len(skus))
    async with engine.begin() as connection:
        for id, sku in zip(ids, skus, strict=True):
            await connection.execute(update(t.variant).where(t.variant.c.id == id).values(sku=sku))
    return await partner(engine, "wms", store, of=mine)


def counts(*skus: str, units: int = 7, version: int = 1) -> dict:
    return snapshot("BLR", *((sku, units, version) for sku in skus))


async def due(one: Partner, minutes: int | None = 10, silent_for: timedelta = timedelta(minutes=11)) -> None:
    """It should speak every so many minutes, and has last done so long ago."""
    await schedule(one, minutes)
    async with one.engine.begin() as connection:
        ago = func.clock_timestamp() - silent_for
        mine = t.source.c.id == one.source_id
        await connection.execute(update(t.source).where(mine).values(created_at=ago))
        await connection.execute(update(t.source).where(mine, t.source.c.last_seen_at.is_not(None)).values(last_seen_at=ago))


async def schedule(one: Partner, minutes: int | None, actor: Actor | None = None) -> None:
    async with unit_of_work(one.engine) as uow:
        await set_source_schedule(SetSourceSchedule(one.source_id, minutes), actor or one.shop.owner, uow)


async def health_of(one: Partner):
    (found,) = await healths(Reads(one.engine), [one.source_id])
    return found


async def told(one: Partner, entity: UUID) -> list:
    """The events of its health, or of a level."""
    e = t.event.c
    found = await one.rows(
        select(e.kind, e.body, e.seq).where(e.entity_id == entity, e.stream.in_(["source", "stock"])).order_by(e.seq)
    )
    return [to_event(row.kind, row.body) for row in found]


async def stale(one: Partner) -> set[str]:
    v, level = t.variant.c, t.stock_level.c
    found = await one.rows(
        select(v.sku)
        .join(t.listing, t.listing.c.variant_id == v.id)
        .join(t.stock_level, level.listing_id == t.listing.c.id)
        .where(level.merchant_id == one.shop.merchant_id, level.stale)
    )
    return {row.sku for row in found}


async def test_a_source_that_should_have_spoken_is_told_once_and_its_levels_are_stale(engine, clock, caplog):
    wms = await warehouse(engine)
    await wms.tell("webhooks/stock", counts("TEA", "RICE"))
    assert (await health_of(wms)).state is SourceState.LIVE
    await clock.silence()
    assert await stale(wms) == set()
    await due(wms)
    before = await wms.level("TEA")
    with caplog.at_level(logging.ERROR, "haat.deadlines"):
        await clock.silence()
        await clock.silence()
    [line] = [line for line in caplog.records if "has fallen silent" in line.getMessage()]
    assert (line.levelname, vars(line)["source"], vars(line)["provider"]) == ("ERROR", str(wms.source_id), "wms")
    [silent] = await told(wms, wms.source_id)
    now = await health_of(wms)
    assert (silent.seq, silent.health.silent_since) == (1, now.silent_since)
    assert now.silent_since == now.last_seen_at + timedelta(minutes=10)
    assert (now.state, now.expected_every_minutes) == (SourceState.SILENT, 10)
    assert await stale(wms) == {"TEA", "RICE"}  # what it has never told of is as good as it was
    after = await wms.level("TEA")
    assert (after.version, after.on_hand, after.as_of) == (before.version + 1, 7, before.as_of)
    [*_, changed] = await told(wms, after.listing_id)
    assert (changed.level.stale, changed.seq) == (True, after.version)
    assert {reading.name: reading.value for reading in await backlog(Reads(engine))}["sources_silent"] == 1
    await due(wms, None)  # or it would be counted by other tests


async def test_its_next_word_ends_the_silence_and_what_it_tells_of_is_fresh(engine, clock):
    wms = await warehouse(engine)
    await wms.tell("webhooks/stock", counts("TEA", "RICE"))
    await due(wms)
    await clock.silence()
    before = await wms.level("TEA")
    await wms.tell("webhooks/stock", counts("TEA", version=2))  # the same count as before
    silent, heard = await told(wms, wms.source_id)
    assert (heard.seq, silent.health.silent_since is None, heard.health.silent_since) == (2, False, None)
    assert (await health_of(wms)).state is SourceState.LIVE
    after = await wms.level("TEA")
    assert (after.stale, after.version) == (False, before.version + 1)
    assert [one.level.stale for one in (await told(wms, after.listing_id))[-2:]] == [True, False]
    assert await stale(wms) == {"RICE"}
    await wms.tell("webhooks/stock", counts("TEA", "RICE", version=3))
    assert await stale(wms) == set()
    assert (await wms.level("TEA")).version == after.version  # it was fresh, and nothing is new
    assert await wms.discrepancies() == 0


async def test_a_level_that_somebody_else_has_counted_since_is_not_in_doubt(engine, clock):
    wms = await warehouse(engine)
    await wms.tell("webhooks/stock", counts("TEA", "RICE"))
    rice = (await wms.level("RICE")).listing_id
    async with unit_of_work(engine) as uow:
        await set_stock(SetStock(rice, 3, None), wms.shop.owner, uow)
    await due(wms)
    await clock.silence()
    assert await stale(wms) == {"TEA"}
    tea = (await wms.level("TEA")).listing_id
    async with unit_of_work(engine) as uow:
        await set_stock(SetStock(tea, 7, None), wms.shop.owner, uow)  # counted by hand: as many as were believed
    assert await stale(wms) == set()
    assert (await health_of(wms)).state is SourceState.SILENT


async def test_one_that_only_tells_of_changes_is_doubted_and_believed_again(engine, clock):
    wms = await warehouse(engine)
    await wms.tell("webhooks/stock", event("stock.adjusted", location="BLR", sku="TEA", delta="-2", version=1))
    assert (await wms.level("TEA")).on_hand == 3
    await due(wms)
    await clock.silence()
    assert await stale(wms) == {"TEA"}
    await wms.tell("webhooks/stock", event("stock.adjusted", location="BLR", sku="TEA", delta="-1", version=2))
    assert await stale(wms) == set()
    assert [one.level.stale for one in (await told(wms, (await wms.level("TEA")).listing_id))[-2:]] == [True, False]


async def test_one_that_only_switches_is_doubted_and_believed_again(engine, clock):
    till = await partner(engine, "petpooja", "k7x2m9qa")
    await till.tell("webhooks/menu", menu("k7x2m9qa", dish("1"), dish("2"), dish("3")))
    off = {"restID": "k7x2m9qa", "type": "item", "inStock": False, "itemID": ["1"], "autoTurnOnTime": "endofday"}
    await till.tell("item_stock_off", off)
    known = await stale_if_silent(till, clock)
    assert "1" in known
    assert (await till.level("1")).off  # as it was said
    await till.tell("item_stock_off", {**off, "autoTurnOnTime": "custom", "customTurnOnTime": "2099-01-01 10:00"})
    assert await stale(till) == known - {"1"}
    level, known = await till.level("1"), await stale_if_silent(till, clock)
    # In other words: the very same bytes within two minutes are what was heard before.
    same = {**off, "itemID": {"0": "1"}, "autoTurnOnTime": "custom", "customTurnOnTime": "2099-01-01 10:00"}
    await till.tell("item_stock_off", same)
    assert (await stale(till), "1" in known) == (known - {"1"}, True)  # as it was, and told again
    assert (await till.level("1")).version == level.version + 2


async def stale_if_silent(one: Partner, clock: Deadlines) -> set[str]:
    await due(one)
    await clock.silence()
    return await stale(one)


async def test_whoever_proves_who_they_are_speaks_whatever_they_say(engine, clock):
    wms = await warehouse(engine)
    same = counts("TEA")
    for rest, body, headers in (
        ("webhooks/stock", same, wms.signed(json_of(same), "msg-1")),
        ("webhooks/stock", same, wms.signed(json_of(same), "msg-1")),  # the same again
        ("webhooks/stock", {"type": "nonsense"}, {}),
    ):
        await due(wms)
        await clock.silence()
        assert (await health_of(wms)).state is SourceState.SILENT
        await wms.post(rest, body, **headers)
        assert (await health_of(wms)).state is SourceState.LIVE
    await due(wms)
    await clock.silence()
    await wms.post("webhooks/stock", same, **{"webhook-id": "x", "webhook-timestamp": "1", "webhook-signature": "v1,AAAA"})
    assert (await health_of(wms)).state is SourceState.SILENT
    assert await wms.payloads() == ["ACCEPTED", "DUPLICATE", "REJECTED", "REJECTED"]


def json_of(body: dict) -> bytes:
    return json.dumps(body).encode()


async def test_who_has_never_spoken_is_late_from_the_day_it_was_connected(engine, clock):
    new, quiet, off = [await warehouse(engine, ("TEA",)) for _ in range(3)]
    for one in (new, off):
        await due(one)
    await due(quiet, None, timedelta(days=400))
    async with engine.begin() as connection:
        await connection.execute(update(t.source).where(t.source.c.id == off.source_id).values(enabled=False))
    assert (await health_of(new)).state is SourceState.NEW
    await clock.silence()
    states = [(await health_of(one)).state for one in (new, quiet, off)]
    assert states == [SourceState.SILENT, SourceState.NEW, SourceState.DISABLED]


async def test_levels_are_marked_in_pieces_each_once_however_many_do_it_and_wherever_they_stop(engine):
    wms = await warehouse(engine)
    await wms.tell("webhooks/stock", counts(*SKUS))
    await due(wms)
    before = {sku: (await wms.level(sku)).version for sku in SKUS}
    async with unit_of_work(engine) as uow:
        assert [one.source_id for one in await fall_silent(uow)] == [wms.source_id]

    async def some(limit: int, fails: bool = False) -> bool:
        async with unit_of_work(engine) as uow:
            more = await mark_stale(uow, limit)
            if fails:
                raise ZeroDivisionError
            return more

    assert await some(2)
    assert len(await stale(wms)) == 2
    with pytest.raises(ZeroDivisionError):
        await some(2, fails=True)
    assert len(await stale(wms)) == 2
    while any(await asyncio.gather(*(some(1) for _ in range(4)))):
        pass
    assert await stale(wms) == set(SKUS)
    assert {sku: (await wms.level(sku)).version for sku in SKUS} == {sku: version + 1 for sku, version in before.items()}


async def test_marking_stops_where_the_source_speaks_meanwhile(engine, clock):
    wms = await warehouse(engine)
    await wms.tell("webhooks/stock", counts(*SKUS))
    await due(wms)
    async with unit_of_work(engine) as uow:
        await fall_silent(uow)
    async with unit_of_work(engine) as uow:
        await mark_stale(uow, 2)
    await wms.tell("webhooks/stock", counts(*SKUS, version=2))
    await clock.silence()
    assert await stale(wms) == set()
    assert (await health_of(wms)).state is SourceState.LIVE


async def test_who_speaks_while_its_levels_are_marked_waits_for_nobody_in_a_ring(engine, clock):
    wms = await warehouse(engine)
    for turn in range(2, 8):
        await wms.tell("webhooks/stock", counts(*SKUS, version=turn))
        await due(wms)
        answers = await asyncio.gather(
            clock.silence(), clock.silence(), wms.tell("webhooks/stock", counts(*SKUS, units=turn, version=100 + turn))
        )
        assert answers[2].is_success
        await wms.tell("webhooks/stock", counts(*SKUS, units=turn, version=1000 + turn))
    await clock.silence()
    assert (await health_of(wms)).state is SourceState.LIVE
    assert not await wms.failures("PROCESSING")


async def test_how_often_it_should_speak_is_for_who_looks_after_it(engine, clock):
    wms = await warehouse(engine)
    clerk = await member(engine, wms.shop, MerchantRole.CLERK, [wms.shop.store_id])
    stranger = (await shop(engine)).owner
    for actor in (clerk, stranger):
        with pytest.raises(Refused) as no:
            await schedule(wms, 10, actor)
        assert isinstance(no.value.refusal, NotFound)
    for minutes in (0, -1, 30 * 24 * 60 + 1):
        with pytest.raises(Refused) as no:
            await schedule(wms, minutes)
        assert isinstance(no.value.refusal, InvalidInput)
    await schedule(wms, 10, await account(engine, ActorKind.SUPPORT, is_support=True))
    a = t.audit.c
    found = await wms.rows(select(a.action, a.detail).where(a.subject == wms.source_id).order_by(a.seq))
    assert [tuple(row) for row in found][-1] == ("setSourceSchedule", "speaks every 10 minutes")
    assert [found async for now in walk(engine) for found in now.breaks] == []


async def test_a_silence_that_is_none_by_another_interval_ends(engine, clock):
    wms = await warehouse(engine)
    await wms.tell("webhooks/stock", counts("TEA"))
    for minutes in (60, None):
        await due(wms)
        await clock.silence()
        assert (await health_of(wms)).state is SourceState.SILENT
        await schedule(wms, 11 if minutes else 5)
        assert (await health_of(wms)).state is SourceState.SILENT  # it is late by this too
        await schedule(wms, minutes)
        assert (await health_of(wms)).state is SourceState.LIVE
    assert [one.seq for one in await told(wms, wms.source_id)] == [1, 2, 3, 4]


async def test_how_far_behind_we_are_is_told(engine):
    wms = await warehouse(engine)
    await wms.post("webhooks/stock", counts("TEA"))
    async with engine.begin() as connection:
        long_ago = datetime.now(UTC) - timedelta(minutes=5)
        i = t.instruction.c
        await connection.execute(update(t.instruction).where(i.source_id == wms.source_id).values(next_at=long_ago))
    assert 300 <= (await health_of(wms)).lag_seconds < 330
    await wms.worker.drain()
    assert (await health_of(wms)).lag_seconds == 0
