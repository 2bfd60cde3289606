"""Random lives of one listing on the real database, against a model of a page."""

import asyncio
from collections import Counter
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, invariant, multiple, precondition, rule, run_state_machine_as_test
from sqlalchemy import insert, select, text, update
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from db import ledger
from db import tables as t
from db.ids import new_id
from db.reads import Reads
from db.unit_of_work import unit_of_work
from domain.counting import Count, Delta, Switch, apply_counts, apply_deltas, apply_switches
from domain.refusals import Refused
from domain.stock import HoldUnits, StockChanged, StockMovementKind, give_back, hold_units, release_expired, release_quote, sell
from tests.conftest import LONG
from tests.figures import show
from tests.world import account, listing, shop

UNITS = st.integers(1, 6)
LATER = timedelta(minutes=10)


class Shelf(RuleBasedStateMachine):
    """`on_hand`, who holds what, whose it is, and whether it is switched off: the model."""

    url: str
    runner: asyncio.Runner
    counted: Counter[str]
    quotes = Bundle("quotes")
    orders = Bundle("orders")

    def __init__(self) -> None:
        super().__init__()
        self.engine: AsyncEngine = create_async_engine(self.url, pool_size=2)
        self.reads = Reads(self.engine)
        self.on_hand, self.off = 8, False
        self.holds: dict[UUID, tuple[int, bool]] = {}  # quote -> units, over
        self.allocated: dict[UUID, int] = {}
        self.counted["lives"] += 1
        self.runner.run(self._begin())

    async def _begin(self) -> None:
        self.shop = await shop(self.engine)
        self.customer = await account(self.engine)
        self.tea = await listing(self.engine, self.shop, self.on_hand)

    def teardown(self) -> None:
        self.runner.run(self.engine.dispose())

    @property
    def available(self) -> int:
        held = sum(units for units, _ in self.holds.values())
        return 0 if self.off else max(0, self.on_hand - held - sum(self.allocated.values()))

    def do(self, work) -> object:
        async def inside() -> object:
            async with unit_of_work(self.engine) as uow:
                await uow.connection.execute(text("SET LOCAL session_replication_role = replica"))
                return await work(uow)

        return self.runner.run(inside())

    @rule(target=quotes, units=UNITS)
    def hold(self, units):
        quote_id = new_id()
        over = {id for id, (_, ended) in self.holds.items() if ended}
        if self.available < units:  # a take that comes up short first gives back what is over
            freed = {id: kept for id, kept in self.holds.items() if id not in over}
            self.holds, before = freed, self.holds
            if self.available < units:
                self.holds = before
                with pytest.raises(Refused):
                    self.do(lambda uow: hold_units(HoldUnits(quote_id, {self.tea: units}, datetime.now(UTC) + LATER), uow))
                return multiple()
        self.do(lambda uow: hold_units(HoldUnits(quote_id, {self.tea: units}, datetime.now(UTC) + LATER), uow))
        self.holds[quote_id] = (units, False)
        return quote_id

    @rule(quote_id=quotes)
    def time_passes(self, quote_id):
        over = update(t.stock_hold).where(t.stock_hold.c.quote_id == quote_id).values(expires_at=datetime.now(UTC) - LATER)
        self.do(lambda uow: uow.connection.execute(over))
        if quote_id in self.holds:
            self.holds[quote_id] = (self.holds[quote_id][0], True)

    @rule()
    def the_clock_comes_round(self):
        self.do(lambda uow: release_expired([self.tea], uow))
        self.holds = {id: kept for id, kept in self.holds.items() if not kept[1]}

    @rule(quote_id=quotes)
    def give_up(self, quote_id):
        self.do(lambda uow: release_quote(quote_id, uow))
        self.holds.pop(quote_id, None)

    @rule(target=orders, quote_id=quotes)
    def place(self, quote_id):
        order_id = new_id()
        row = {"id": order_id, "number": order_id.hex, "purchase_id": new_id(), "merchant_id": self.shop.merchant_id}
        row |= {"store_id": self.shop.store_id, "customer_id": self.customer.id, "status": "PLACED", "fulfilment": "DELIVERY"}
        row |= {"total_minor": 0, "charges": (), "customer_name": "", "handover_code": ""}

        async def allocate(uow):
            await uow.connection.execute(insert(t.orders).values(**row))
            allocated = await uow.stock.allocate(quote_id, {self.tea: order_id})
            await uow.events.add(*map(StockChanged, allocated.changed))
            return allocated.units

        units, over = self.holds.get(quote_id, (0, True))
        assert self.do(allocate) == ({} if over else {self.tea: units})
        if not over:
            del self.holds[quote_id]
            self.allocated[order_id] = units
        return order_id

    @rule(order_id=orders)
    def leave_the_store(self, order_id):
        async def leaving(uow):
            await uow.connection.execute(update(t.orders).where(t.orders.c.id == order_id).values(picked_up_at=datetime.now(UTC)))
            return await sell(order_id, uow)

        units = self.allocated.pop(order_id, 0)
        missing = sum(sale.missing for sale in self.do(leaving))
        assert missing == max(0, units - self.on_hand)
        self.on_hand -= min(units, self.on_hand)

    @rule(order_id=orders)
    @precondition(lambda self: self.allocated)
    def cancel(self, order_id):
        if order_id in self.allocated:
            self.do(lambda uow: give_back([order_id], uow))
            del self.allocated[order_id]

    @rule(units=st.integers(0, 12))
    def count(self, units):
        self.do(lambda uow: apply_counts([Count(self.tea, units, datetime.now(UTC), "count", "test")], uow))
        self.on_hand = units

    @rule(units=st.integers(-5, 5))
    def change(self, units):
        kind = StockMovementKind.ADJUSTED
        self.do(lambda uow: apply_deltas([Delta(self.tea, units, datetime.now(UTC) + LATER, kind, "delta")], uow))
        self.on_hand += max(units, -self.on_hand)

    @rule(off=st.booleans())
    def switch(self, off):
        self.do(lambda uow: apply_switches([Switch(self.tea, off=off, cause="test")], uow))
        self.off = off

    @invariant()
    def the_shelf_is_as_the_model_says(self):
        async def look():
            async with unit_of_work(self.engine) as uow:
                level = (await uow.stock.lock([self.tea]))[self.tea]
                seqs = await uow.connection.execute(
                    select(t.event.c.seq).where(t.event.c.entity_id == self.tea).order_by(t.event.c.id)
                )
                return level, list(seqs.scalars()), await ledger.discrepancies(self.reads)

        level, seqs, wrong = self.runner.run(look())
        self.counted["steps"] += 1
        assert (level.on_hand, level.held) == (self.on_hand, sum(units for units, _ in self.holds.values()))
        assert (level.allocated, level.available) == (sum(self.allocated.values()), self.available)
        assert seqs == list(range(1, level.version + 1))
        assert [one for one in wrong if one.listing_id == self.tea] == []


def test_a_listing_lives_as_the_model_says(database_url: str):
    with asyncio.Runner() as runner:
        counted: Counter[str] = Counter()
        show("lives of a listing", counted=counted)
        machine = type("Shelf", (Shelf,), {"url": database_url, "runner": runner, "counted": counted})
        run_state_machine_as_test(
            machine,
            settings=settings(
                max_examples=300 if LONG else 15,
                stateful_step_count=30,
                deadline=None,
                derandomize=not LONG,
                suppress_health_check=list(HealthCheck),
                phases=[Phase.generate] if not LONG else list(Phase),
            ),
        )
