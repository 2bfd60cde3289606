"""The edges of stock, on the real database."""

import asyncio
import random
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from sqlalchemy import select, text, update
from sqlalchemy.ext.asyncio import AsyncEngine

from db import ledger, stock
from db import tables as t
from db.ids import new_id
from db.reads import Reads
from db.unit_of_work import unit_of_work
from domain.counting import (
    UNITS_LIMIT,
    AdjustStock,
    Count,
    Delta,
    SetStock,
    Switch,
    adjust_stock,
    apply_counts,
    apply_deltas,
    apply_switches,
    set_stock,
)
from domain.refusals import InvalidInput, Refused
from domain.stock import (
    CountDrops,
    Counters,
    HoldUnits,
    NotEnoughStock,
    Shortage,
    StockMovementKind,
    StockState,
    hold_units,
    release_expired,
)
from domain.unit_of_work import UnitOfWork
from tests.world import Shop, account, listing, listings, shop
from tests.world import ledger as lines

MINUTE = timedelta(minutes=1)


def now() -> datetime:
    return datetime.now(UTC)


@pytest.fixture
def reads(engine: AsyncEngine) -> Reads:
    return Reads(engine)


async def hold(
    engine: AsyncEngine, units: dict[UUID, int], expires_in: timedelta = 10 * MINUTE, replaces: UUID | None = None
) -> UUID:
    """A hold without its quote: its foreign key is checked at the end of a transaction, and is off for the test's connection."""
    quote_id = new_id()
    async with unit_of_work(engine) as uow:
        await uow.connection.execute(text("SET LOCAL session_replication_role = replica"))
        await hold_units(HoldUnits(quote_id, units, now() + expires_in, replaces), uow)
    return quote_id


async def counters(engine: AsyncEngine, listing_id: UUID) -> Counters:
    async with unit_of_work(engine) as uow:
        return (await uow.stock.lock([listing_id]))[listing_id]


async def available(engine: AsyncEngine, listing_id: UUID) -> int:
    return (await counters(engine, listing_id)).available


async def test_a_hold_takes_all_lines_or_none(engine, reads):
    town = await shop(engine)
    tea, rice = await listings(engine, town, [5, 2])
    with pytest.raises(Refused) as refused:
        await hold(engine, {tea: 4, rice: 3})
    assert refused.value.refusal == NotEnoughStock("some of it is gone", [Shortage(rice, wanted=3, available=2)])
    assert (await counters(engine, tea)).held == 0
    await hold(engine, {tea: 4, rice: 2})
    assert [level.state for level in await stock.levels(reads, [rice])] == [StockState.OUT_OF_STOCK]
    async with engine.connect() as connection:
        assert await lines(connection, tea) == [("COUNTED", 5, 0, 0), ("HELD", 0, 4, 0)]


async def test_an_expired_hold_gives_way_to_a_take_before_the_clock_comes_round(engine, reads):
    town = await shop(engine)
    tea = await listing(engine, town, 3)
    await hold(engine, {tea: 3}, expires_in=-MINUTE)
    assert await available(engine, tea) == 0
    await hold(engine, {tea: 2})
    level = await counters(engine, tea)
    assert (level.held, level.available) == (2, 1)
    async with engine.connect() as connection:
        assert [kind for kind, *_ in await lines(connection, tea)] == ["COUNTED", "HELD", "RELEASED", "HELD"]


async def test_a_live_hold_gives_way_to_nobody(engine):
    tea = await listing(engine, await shop(engine), 3)
    await hold(engine, {tea: 3})
    with pytest.raises(Refused):
        await hold(engine, {tea: 1})


async def test_a_new_quote_replaces_the_holds_of_the_one_before(engine):
    town = await shop(engine)
    tea, rice = await listings(engine, town, [5, 5])
    first = await hold(engine, {tea: 5})
    await hold(engine, {tea: 4, rice: 5}, replaces=first)
    assert ((await counters(engine, tea)).held, (await counters(engine, rice)).held) == (4, 5)


async def test_the_clock_releases_what_is_over_once(engine, reads):
    tea = await listing(engine, await shop(engine), 3)
    await hold(engine, {tea: 2}, expires_in=-MINUTE)
    assert tea in await stock.expired(reads, 10_000)
    for _ in range(2):
        async with unit_of_work(engine) as uow:
            await release_expired([tea], uow)
    assert (await counters(engine, tea)).held == 0
    assert tea not in await stock.expired(reads, 10_000)


async def test_untracked_listings_sell_without_counting_until_they_are_off(engine, reads):
    tea = await listing(engine, await shop(engine), None)
    await hold(engine, {tea: 1000})
    assert (await stock.levels(reads, [tea]))[0].available is None
    async with unit_of_work(engine) as uow:
        await apply_switches([Switch(tea, off=True, cause="test", back_at=now() + MINUTE)], uow)
    assert (await stock.levels(reads, [tea]))[0].state is StockState.OUT_OF_STOCK
    with pytest.raises(Refused):
        await hold(engine, {tea: 1})


# ---------------------------------------------------------------- counts, sales and deltas


async def sold(engine: AsyncEngine, town: Shop, tea: UUID, units: int, accepted_at: datetime, sold_at: datetime) -> None:
    """An order's whole way through the shelf, at these times."""
    customer = await account(engine)
    quote_id, purchase_id, order_id = new_id(), new_id(), new_id()
    async with unit_of_work(engine) as uow:
        await uow.connection.execute(text("SET LOCAL session_replication_role = replica"))
        await hold_units(HoldUnits(quote_id, {tea: units}, now() + MINUTE), uow)
        await uow.connection.execute(
            t.orders.insert().values(
                id=order_id, number=order_id.hex, purchase_id=purchase_id, merchant_id=town.merchant_id, store_id=town.store_id,
                customer_id=customer.id, status="PICKED_UP", fulfilment="DELIVERY", total_minor=0, charges=(), customer_name="",
                handover_code="", accepted_at=accepted_at, picked_up_at=sold_at,
            )
        )  # fmt: skip
        await uow.stock.allocate(quote_id, {tea: order_id})
        await uow.stock.sell(order_id)
        movement = t.stock_movement.c
        await uow.connection.execute(
            update(t.stock_movement).where(movement.order_id == order_id, movement.kind == "SOLD").values(at=sold_at)
        )


async def count(engine: AsyncEngine, tea: UUID, units: int, at: datetime, **more) -> None:
    async with unit_of_work(engine) as uow:
        await apply_counts([Count(tea, units, at, "count", "test", **more)], uow)


async def test_a_count_taken_before_our_sale_that_arrives_after_it_keeps_the_sale(engine):
    town = await shop(engine)
    tea = await listing(engine, town, 10)
    await sold(engine, town, tea, 3, accepted_at=now() - 2 * MINUTE, sold_at=now() - MINUTE)
    await count(engine, tea, 10, at=now() - 5 * MINUTE)
    assert (await counters(engine, tea)).on_hand == 7


async def test_a_count_taken_after_our_sale_has_it_in_it(engine):
    town = await shop(engine)
    tea = await listing(engine, town, 10)
    await sold(engine, town, tea, 3, accepted_at=now() - 5 * MINUTE, sold_at=now() - 4 * MINUTE)
    await count(engine, tea, 7, at=now() - MINUTE)
    assert (await counters(engine, tea)).on_hand == 7


async def test_a_count_that_drops_at_accept_leaves_out_what_is_still_on_our_shelf(engine):
    town = await shop(engine)
    tea = await listing(engine, town, 10)
    await sold(engine, town, tea, 2, accepted_at=now() - 5 * MINUTE, sold_at=now() - MINUTE)
    await count(engine, tea, 8, at=now() - 3 * MINUTE, drops=CountDrops.AT_ACCEPT)
    assert (await counters(engine, tea)).on_hand == 8  # it knew of the sale before we had sold
    await count(engine, tea, 10, at=now() - 3 * MINUTE, drops=CountDrops.AT_PICKUP)
    assert (await counters(engine, tea)).on_hand == 8  # it did not: the sale came after


async def test_a_sale_after_a_low_count_is_a_shortfall_and_never_negative(engine):
    town = await shop(engine)
    tea = await listing(engine, town, 5)
    quote_id, order_id = await hold(engine, {tea: 4}), new_id()
    async with unit_of_work(engine) as uow:
        await uow.connection.execute(text("SET LOCAL session_replication_role = replica"))
        await uow.stock.allocate(quote_id, {tea: order_id})
    await count(engine, tea, 1, at=now())
    assert (await counters(engine, tea)).available == 0
    async with unit_of_work(engine) as uow:
        _, [sale] = await uow.stock.sell(order_id)
    assert (sale.units, sale.missing) == (4, 3)
    level = await counters(engine, tea)
    assert (level.on_hand, level.allocated) == (0, 0)


async def delta(engine: AsyncEngine, tea: UUID, units: int, at: datetime, source_id: UUID | None = None) -> None:
    async with unit_of_work(engine) as uow:
        await apply_deltas([Delta(tea, units, at, StockMovementKind.RECEIVED, "delta", source_id)], uow)


async def test_a_delta_before_a_count_is_written_down_and_changes_nothing(engine):
    tea = await listing(engine, await shop(engine), 0)
    await count(engine, tea, 10, at=now())
    await delta(engine, tea, 5, at=now() - MINUTE)
    assert (await counters(engine, tea)).on_hand == 10
    async with engine.connect() as connection:
        assert (await lines(connection, tea))[-1] == ("RECEIVED", 0, 0, 0)


async def test_a_count_older_than_its_own_sources_delta_keeps_the_delta(engine):
    town = await shop(engine)
    tea = await listing(engine, town, 0)
    source_id = new_id()
    async with engine.begin() as connection:
        await connection.execute(t.source.insert().values(id=source_id, merchant_id=town.merchant_id, provider="wms", family="erp"))
    await delta(engine, tea, 5, at=now() + 2 * MINUTE, source_id=source_id)
    await count(engine, tea, 10, at=now() + MINUTE, source_id=source_id)
    assert (await counters(engine, tea)).on_hand == 15
    await count(engine, tea, 10, at=now() + MINUTE)  # another's count knows nothing of it
    assert (await counters(engine, tea)).on_hand == 10


async def test_a_delta_that_comes_before_its_count_is_not_lost(engine):
    """Nothing was counted yet, so there was nothing to take: the count that follows knows better."""
    town = await shop(engine)
    tea, source_id = await listing(engine, town, None), new_id()
    async with engine.begin() as connection:
        await connection.execute(t.source.insert().values(id=source_id, merchant_id=town.merchant_id, provider="wms", family="erp"))
    await delta(engine, tea, -2, at=now(), source_id=source_id)
    await count(engine, tea, 10, at=now() - MINUTE, source_id=source_id)
    assert (await counters(engine, tea)).on_hand == 8


async def test_a_delta_cannot_take_what_is_not_there(engine):
    tea = await listing(engine, await shop(engine), 3)
    await delta(engine, tea, -5, at=now() + MINUTE)
    assert (await counters(engine, tea)).on_hand == 0


@pytest.mark.parametrize("units", [UNITS_LIMIT + 1, 2**31 - 1, 2**31, 2**63, -1])
async def test_nobody_counts_more_than_any_shelf_holds_nor_less_than_nothing(engine, units):
    town = await shop(engine)
    tea = await listing(engine, town, 5)
    for if_version in (None, 1):
        no = await refused(engine, lambda uow, v=if_version: set_stock(SetStock(tea, units, v), town.owner, uow))
        assert isinstance(no, InvalidInput)
    assert (await counters(engine, tea)).on_hand == 5


@pytest.mark.parametrize("units", [UNITS_LIMIT - 4, UNITS_LIMIT + 1, 2**31, -(2**31) - 1])
async def test_nobody_adds_up_to_more_than_any_shelf_holds(engine, units):
    town = await shop(engine)
    tea = await listing(engine, town, 5)
    command = AdjustStock(tea, units, "found", "k")
    assert isinstance(await refused(engine, lambda uow: adjust_stock(command, town.owner, uow)), InvalidInput)
    async with unit_of_work(engine) as uow:  # the key is free: nothing was done under it
        await adjust_stock(replace(command, units=1), town.owner, uow)
    assert (await counters(engine, tea)).on_hand == 6


async def refused(engine: AsyncEngine, work: Callable[[UnitOfWork], Awaitable[None]]) -> object:
    with pytest.raises(Refused) as no:
        async with unit_of_work(engine) as uow:
            await work(uow)
    return no.value.refusal


async def test_equal_news_changes_nothing(engine):
    tea = await listing(engine, await shop(engine), 3)
    version = (await counters(engine, tea)).version
    await count(engine, tea, 3, at=now())
    async with unit_of_work(engine) as uow:
        await apply_switches([Switch(tea, off=False, cause="test")], uow)
    assert (await counters(engine, tea)).version == version


# ---------------------------------------------------------------- many at once


async def test_many_buyers_take_exactly_what_there_is_without_deadlock(engine, reads):
    town = await shop(engine)
    ids = await listings(engine, town, [20] * 6)
    chosen = random.Random(7)

    async def buy() -> int:
        picked = chosen.sample(ids, 3)
        try:
            await hold(engine, dict.fromkeys(picked, 1))
        except Refused:
            return 0
        return 3

    taken = sum(await asyncio.gather(*(buy() for _ in range(120))))
    levels = [await counters(engine, id) for id in ids]
    assert sum(level.held for level in levels) == taken
    assert all(0 <= level.held <= 20 for level in levels)
    assert taken > 90
    mine = set(ids)
    assert [one for one in await ledger.discrepancies(reads) if one.listing_id in mine] == []
    async with engine.connect() as connection:
        for id in ids:
            seqs = (
                await connection.execute(select(t.event.c.seq).where(t.event.c.entity_id == id).order_by(t.event.c.id))
            ).scalars()
            assert list(seqs) == list(range(1, (await counters(engine, id)).version + 1))


async def test_the_audit_finds_a_counter_that_is_not_its_ledger(engine, reads):
    tea = await listing(engine, await shop(engine), 3)
    async with engine.begin() as connection:
        await connection.execute(update(t.stock_level).where(t.stock_level.c.listing_id == tea).values(on_hand=4))
    found = [one for one in await ledger.discrepancies(reads) if one.listing_id == tea]
    assert [(one.counter, one.level, one.ledger) for one in found] == [("on_hand", 4, 3)]


def test_hidden_counts_are_hidden_and_the_state_is_not():
    counters = Counters(new_id(), new_id(), new_id(), True, False, None, 9, 1, 1, 0, 5, True, False, 4, now(), None, "test")
    assert (counters.level.available, counters.level.state) == (None, StockState.IN_STOCK)
    assert replace(counters, held=3).level.state is StockState.LOW
