"""Commands no provider of ours says yet, through the door and the worker all the same."""

import json
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import func, insert, select, update
from sqlalchemy.ext.asyncio import AsyncEngine

from db import tables as t
from db.ids import new_id
from db.unit_of_work import unit_of_work
from domain import settling
from domain.canonical import Command, DeactivateMissing, StockMode, UpdatePrice, UpdateStockLevel
from domain.counting import UNITS_LIMIT
from domain.failures import replay_failures
from domain.intake import Batch, Call, EntityKind, Source
from providers.wms import Wms
from tests import partners
from tests.partners import Partner, partner
from tests.world import Shop, listing, shop

Say = Callable[..., Any]
TOMORROW = datetime.now(UTC) + timedelta(days=1)


class Saying(Wms):
    """Says what it is given, word for word."""

    def __init__(self) -> None:
        self.words: list[Sequence[Command]] = []

    def translate(self, call: Call, source: Source) -> Batch:
        return Batch(self.words[json.loads(call.body)["say"]])


@pytest.fixture
def saying(monkeypatch) -> Saying:
    one = Saying()
    monkeypatch.setitem(partners.INBOUNDS, "wms", one)
    return one


async def say(till: Partner, *commands: Command) -> None:
    assert isinstance(till.inbound, Saying)
    till.inbound.words.append(commands)
    answer = await till.tell("webhooks/stock", {"say": len(till.inbound.words) - 1})
    assert answer.status_code // 100 == 2, answer.text


async def stocked(engine: AsyncEngine, *skus: str, on_hand: int = 5, of: Shop | None = None) -> Partner:
    """A source of a shop whose only store it is linked to, with a product for each of these SKUs."""
    mine = of or await shop(engine)
    for sku in skus:
        id = await listing(engine, mine, on_hand)
        async with engine.begin() as connection:
            await connection.execute(update(t.variant).where(t.variant.c.id == id).values(sku=sku))
    return await partner(engine, "wms", of=mine)


def count(sku: str, units: int, mode: StockMode = StockMode.ABSOLUTE, kind: EntityKind = EntityKind.VARIANT) -> UpdateStockLevel:
    return UpdateStockLevel(id=sku, mode=mode, quantity=units, kind=kind)


async def day_comes(till: Partner) -> None:
    async with till.engine.begin() as connection:
        mine = t.instruction.c.source_id == till.source_id
        await connection.execute(update(t.instruction).where(mine).values(next_at=func.clock_timestamp()))
    await till.worker.drain()


# ---------------------------------------------------------------- quantities


@pytest.mark.parametrize("mode", [StockMode.ABSOLUTE, StockMode.DELTA])
async def test_a_quantity_of_a_product_is_of_its_only_variant_or_of_nobody_knows_which(engine, saying, mode):
    till = await stocked(engine, "ONE", "MANY", "NEIGHBOUR")
    products = {row.sku: row.product_id for row in await till.rows(select(t.variant.c.sku, t.variant.c.product_id))}
    async with engine.begin() as connection:
        mine = {"merchant_id": till.shop.merchant_id}
        second, bare = new_id(), new_id()
        await connection.execute(insert(t.variant).values(id=second, product_id=products["MANY"], sku="MANY-2", **mine))
        row = {"product_id": products["MANY"], "variant_id": second, "price_minor": 1, "name": "Many", "told_at": TOMORROW}
        await connection.execute(insert(t.listing).values(id=second, store_id=till.shop.store_id, **mine, **row))
        await connection.execute(insert(t.stock_level).values(listing_id=second, store_id=till.shop.store_id, version=0, **mine))
        await connection.execute(insert(t.product).values(id=bare, name="Not listed", **mine))
    for name, id in (("P-ONE", products["ONE"]), ("P-MANY", products["MANY"]), ("P-NONE", bare)):
        await till.map(EntityKind.PRODUCT, name, id)
    await say(till, *(count(id, 7, mode, EntityKind.PRODUCT) for id in ("P-MANY", "P-NONE", "P-ONE")), count("NEIGHBOUR", 8, mode))
    assert [state for _, _, state in await till.instructions()] == ["FAILED", "FAILED", "APPLIED", "APPLIED"]
    assert [(row.kind.value, row.message) for row in await till.failures()] == [
        ("VALIDATION", f"PRODUCT:{id} has {variants} variants in the store: a quantity is of one")
        for id, variants in (("P-MANY", 2), ("P-NONE", 0))
    ]
    before = 0 if mode is StockMode.ABSOLUTE else 5
    assert [(await till.level(sku)).on_hand for sku in ("ONE", "NEIGHBOUR", "MANY")] == [before + 7, before + 8, 5]


@pytest.mark.parametrize("units", [2**31, -(2**31) - 1, 2**63 - 1, UNITS_LIMIT - 4])
async def test_more_than_any_shelf_holds_is_a_failure_and_no_crash(engine, saying, units):
    till = await stocked(engine, "TEA", "NEIGHBOUR")
    await say(till, count("TEA", units, StockMode.DELTA), count("NEIGHBOUR", 3, StockMode.DELTA))
    (failure,) = await till.failures()
    assert (failure.kind.value, failure.message[:24]) == (
        "VALIDATION",
        "quantity: must be from -" if abs(units) > UNITS_LIMIT else "quantity: must be from 0",
    )
    assert [(await till.level(sku)).on_hand for sku in ("TEA", "NEIGHBOUR")] == [5, 8]
    assert not await till.discrepancies()


@pytest.mark.parametrize("units", [2**31, 2**63 - 1])
async def test_a_count_of_more_than_any_shelf_holds_is_a_failure_too(engine, saying, units):
    till = await stocked(engine, "TEA")
    await say(till, count("TEA", units))
    (failure,) = await till.failures()
    assert failure.kind.value == "VALIDATION"
    assert (await till.level("TEA")).on_hand == 5


# ---------------------------------------------------------------- what waits for its day


async def test_a_price_of_tomorrow_holds_up_neither_its_batch_nor_the_next_whole_push(engine, saying):
    till = await stocked(engine, "TEA", "BREAD")
    await say(till, UpdatePrice(variant="TEA", price_minor=9900, effective_from=TOMORROW), count("TEA", 7))
    assert (await till.level("TEA")).on_hand == 7
    present = DeactivateMissing(present=("TEA", "BREAD"))
    await say(till, UpdatePrice(variant="BREAD", price_minor=5500), present)
    assert await till.payloads() == ["ACCEPTED", "APPLIED"]
    assert {sku: row.price_minor for sku, row in (await till.listings()).items()} == {"TEA": 5000, "BREAD": 5500}
    await day_comes(till)
    assert await till.payloads() == ["APPLIED", "APPLIED"]
    assert (await till.listings())["TEA"].price_minor == 9900


async def test_what_is_missing_is_taken_away_today_though_a_price_waits_for_tomorrow(engine, saying):
    till = await stocked(engine, "A", "B", "C", "D")
    await say(till, *(UpdatePrice(variant=sku, price_minor=5000) for sku in "ABCD"))
    for row in await till.rows(select(t.variant).where(t.variant.c.merchant_id == till.shop.merchant_id)):
        await till.map(EntityKind.VARIANT, row.sku, row.id)
    tomorrow = UpdatePrice(variant="A", price_minor=5200, effective_from=TOMORROW)
    await say(till, tomorrow, UpdatePrice(variant="B", price_minor=5100), DeactivateMissing(present=("A", "B", "C")))
    listed = {sku: (row.price_minor, row.active) for sku, row in (await till.listings()).items()}
    assert listed == {"A": (5000, True), "B": (5100, True), "C": (5000, True), "D": (5000, False)}
    assert await till.payloads() == ["APPLIED", "ACCEPTED"]
    await day_comes(till)
    assert (await till.listings())["A"].price_minor == 5200
    assert await till.payloads() == ["APPLIED", "APPLIED"]


# ---------------------------------------------------------------- what nobody can judge


async def test_a_push_that_cannot_be_judged_is_a_failure_and_the_others_go_on(engine, saying, monkeypatch):
    till = await stocked(engine, "TEA")
    other = await stocked(engine, "BREAD")
    judge, poison = settling.judge, 6666

    async def fails(group, uow):
        if any(getattr(one.command, "price_minor", None) == poison for one in group.instructions):
            raise ZeroDivisionError("nothing to\0 divide by")
        return await judge(group, uow)

    monkeypatch.setattr(settling, "judge", fails)
    await say(till, UpdatePrice(variant="TEA", price_minor=poison), DeactivateMissing(present=("TEA",)))
    (failure,) = await till.failures()
    assert (failure.kind.value, failure.state.value, failure.instruction_id) == ("PROCESSING", "OPEN", None)
    assert "ZeroDivisionError: nothing to␀ divide by" in failure.message
    await say(till, UpdatePrice(variant="TEA", price_minor=5500), DeactivateMissing(present=("TEA",)))
    await say(other, UpdatePrice(variant="BREAD", price_minor=5600), DeactivateMissing(present=("BREAD",)))
    assert (await till.payloads(), await other.payloads()) == (["PARKED", "APPLIED"], ["APPLIED"])
    assert (await till.listings())["TEA"].price_minor == 5500
    async with unit_of_work(engine) as uow:
        await replay_failures([failure.id], till.shop.owner, uow)
    await till.worker.drain()
    (failure,) = await till.failures("PROCESSING")
    assert failure.state.value == "RESOLVED"
    assert await till.payloads() == ["APPLIED", "APPLIED"]
