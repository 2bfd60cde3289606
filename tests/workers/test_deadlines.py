"""What time ends, on the real database: one round of the clock at a time."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from uuid import UUID

import pytest
from sqlalchemy import select, update
from sqlalchemy.ext.asyncio import AsyncEngine

from adapters.gateways import NoGateway, SandboxGateway
from db import orders, payments, stock
from db import tables as t
from db.events import to_event
from db.reads import Reads
from db.unit_of_work import unit_of_work
from domain.counting import Count, Switch, apply_counts, apply_switches
from domain.fulfilment import (
    AcceptOrder,
    CancelOrder,
    HandOverOrder,
    MarkOrderReady,
    accept_order,
    cancel_order,
    hand_over_order,
    mark_order_ready,
)
from domain.identity import CLOCK, Actor, ActorKind
from domain.merchants import (
    DAY,
    AddStore,
    Hours,
    HoursException,
    SetStoreStatus,
    StoreStatus,
    StoreStatusChanged,
    add_store,
    set_store_status,
)
from domain.orders import Fulfilment, OrderStatus, ReasonCode
from domain.payments import PaymentStatus
from domain.places import Point
from domain.purchases import settle_payment
from domain.refusals import InvalidInput, Refused
from domain.stock import StockState, return_due
from tests.db.test_dispatch import waits_for_a_lock
from tests.db.test_purchases import CARD, do, paid_by_card, payment_of, placed, quoted, says, the_order
from tests.partners import partner
from tests.trips import on_duty, picked_up
from tests.world import account, listing, shop
from workers.deadlines import Deadlines

AGO = timedelta(seconds=1)


@pytest.fixture
def reads(engine: AsyncEngine) -> Reads:
    return Reads(engine)


@pytest.fixture
def clock(engine: AsyncEngine, reads: Reads) -> Deadlines:
    return Deadlines(reads, partial(unit_of_work, engine), SandboxGateway(b"k" * 32))


async def past(engine: AsyncEngine, statement) -> None:
    async with engine.begin() as connection:
        await connection.execute(statement)


async def test_a_hold_ends_with_its_time_and_its_units_are_for_sale_again(engine, reads, clock):
    tea, customer = await listing(engine, await shop(engine), 3), await account(engine)
    await quoted(engine, customer, (tea, 3))
    assert (await stock.levels(reads, [tea]))[0].available == 0
    await past(engine, update(t.stock_hold).where(t.stock_hold.c.listing_id == tea).values(expires_at=datetime.now(UTC) - AGO))
    await clock.holds()
    assert (await stock.levels(reads, [tea]))[0].available == 3


async def test_a_snoozed_listing_returns_at_its_time_and_not_before(engine, reads, clock):
    town = await shop(engine)
    tea, rice = await listing(engine, town, 3), await listing(engine, town, 3)
    off = [Switch(tea, off=True, cause="t", back_at=datetime.now(UTC) - AGO)]
    off.append(Switch(rice, off=True, cause="t", back_at=datetime.now(UTC) + timedelta(hours=1)))
    await do(engine, lambda uow: apply_switches(off, uow))
    await clock.snoozes()
    states = {level.listing_id: level.state for level in await stock.levels(reads, [tea, rice])}
    assert states == {tea: StockState.LOW, rice: StockState.OUT_OF_STOCK}


async def test_what_was_put_off_since_the_clock_looked_stays_off(engine, reads):
    tea = await listing(engine, await shop(engine), 3)
    later = datetime.now(UTC) + timedelta(hours=1)
    await do(engine, lambda uow: apply_switches([Switch(tea, off=True, cause="t", back_at=later)], uow))
    await do(engine, lambda uow: return_due([tea], uow))  # as if it had looked before
    assert (await stock.levels(reads, [tea]))[0].state is StockState.OUT_OF_STOCK


async def test_an_order_nobody_answers_expires_and_one_in_time_does_not(engine, reads, clock):
    town = await shop(engine)
    tea, customer = await listing(engine, town, 9), await account(engine)
    late = await the_order(reads, customer, await placed(engine, customer, await quoted(engine, customer, (tea, 1)), key="1"))
    fresh = await the_order(reads, customer, await placed(engine, customer, await quoted(engine, customer, (tea, 1)), key="2"))
    await past(engine, update(t.orders).where(t.orders.c.id == late.id).values(accept_by=datetime.now(UTC) - AGO))
    await clock.unanswered()
    statuses = {order.id: order.status for order in await orders.orders_by_id(reads, customer, [late.id, fresh.id])}
    assert statuses == {late.id: OrderStatus.EXPIRED, fresh.id: OrderStatus.PLACED}


async def card(engine: AsyncEngine, reads: Reads, customer: Actor, tea: UUID) -> tuple[UUID, payments.PaymentRow]:
    purchase_id = await placed(engine, customer, await quoted(engine, customer, (tea, 1)), CARD)
    return purchase_id, await paid_by_card(engine, reads, purchase_id)


async def test_an_unpaid_purchase_expires(engine, reads, clock):
    tea, customer = await listing(engine, await shop(engine), 9), await account(engine)
    purchase_id, payment = await card(engine, reads, customer, tea)
    await past(engine, update(t.payment).where(t.payment.c.id == payment.id).values(pay_by=datetime.now(UTC) - AGO))
    await clock.unpaid()
    assert (await the_order(reads, customer, purchase_id)).status is OrderStatus.EXPIRED
    assert await payment_of(reads, purchase_id) == (PaymentStatus.VOIDED, 0)


async def test_what_fails_for_one_of_many_is_logged_by_the_name_of_its_deadline(engine, reads, caplog):
    tea, customer = await listing(engine, await shop(engine), 3), await account(engine)
    purchase_id, _ = await card(engine, reads, customer, tea)
    await past(engine, update(t.payment).where(t.payment.c.purchase_id == purchase_id).values(pay_by=datetime.now(UTC) - AGO))

    def broken():
        raise ValueError("a bug")

    await Deadlines(reads, broken, NoGateway()).unpaid()
    assert {record.task for record in caplog.records if record.name == "haat.deadlines"} == {"unpaid"}


async def test_what_is_owed_is_given_back_once_and_waits_while_the_gateway_is_away(engine, reads, clock):
    town = await shop(engine)
    tea, customer = await listing(engine, town, 9), await account(engine)
    purchase_id, payment = await card(engine, reads, customer, tea)
    await do(engine, lambda uow: settle_payment(says(payment, captured=True), uow))
    order = await the_order(reads, customer, purchase_id)
    await past(engine, update(t.orders).where(t.orders.c.id == order.id).values(accept_by=datetime.now(UTC) - AGO))
    await clock.unanswered()
    away = Deadlines(reads, clock.unit_of_work, NoGateway())
    await away.refunds()
    assert await _refunds(engine, payment.id) == [(False, 1)]
    await past(engine, update(t.refund).where(t.refund.c.payment_id == payment.id).values(next_at=datetime.now(UTC) - AGO))
    for _ in range(2):
        await clock.refunds()
    assert await _refunds(engine, payment.id) == [(True, 1)]


async def _refunds(engine: AsyncEngine, payment_id: UUID) -> list[tuple[bool, int]]:
    async with engine.connect() as connection:
        due = t.refund.c
        found = await connection.execute(select(due.done_at.is_not(None), due.attempts).where(due.payment_id == payment_id))
        return [tuple(row) for row in found]


async def test_the_newest_orders_that_no_longer_fit_are_at_risk_until_they_fit(engine, reads, clock):
    town = await shop(engine)
    tea = await listing(engine, town, 5)
    placed_orders = []
    for _ in range(3):
        customer = await account(engine)
        purchase_id = await placed(engine, customer, await quoted(engine, customer, (tea, 2 if placed_orders else 1)))
        placed_orders.append(await the_order(reads, customer, purchase_id))

    async def at_risk() -> list[bool]:
        found = {one.id: one for one in await orders.orders_by_id(reads, town.owner, [order.id for order in placed_orders])}
        return [found[order.id].at_risk for order in placed_orders]

    async def counted(units: int) -> None:
        count = Count(tea, units, datetime.now(UTC), "count", "test")
        await do(engine, lambda uow: apply_counts([count], uow))
        for _ in range(2):
            await clock.at_risk()

    await counted(3)
    assert await at_risk() == [False, False, True]
    await counted(0)
    assert await at_risk() == [True, True, True]
    await counted(5)
    assert await at_risk() == [False, False, False]
    notes = [event.note for event in await orders.history_of(reads, [placed_orders[1].id])]
    assert notes == [None, "at risk: fewer units were counted than are promised", "no longer at risk"]


@pytest.mark.parametrize("leaves", ["picked up", "handed over", "cancelled", "accepted by a till"])
async def test_an_order_that_left_or_ended_is_at_risk_no_more(engine, reads, clock, leaves):
    town, customer = await shop(engine), await account(engine)
    tea = await listing(engine, town, 5)
    way = Fulfilment.PICKUP if leaves == "handed over" else Fulfilment.DELIVERY
    purchase_id = await placed(engine, customer, await quoted(engine, customer, (tea, 2), fulfilment=way))
    order = await the_order(reads, customer, purchase_id)
    if leaves != "accepted by a till":
        await do(engine, lambda uow: accept_order(AcceptOrder(order.id, 5), town.owner, uow))
    await do(engine, lambda uow: apply_counts([Count(tea, 1, datetime.now(UTC), "count", "test")], uow))
    await clock.at_risk()
    assert (await the_order(reads, customer, purchase_id)).at_risk
    match leaves:
        case "picked up":
            rider = await on_duty(engine)
            trip = select(t.delivery.c.id).where(t.delivery.c.order_id == order.id)
            async with engine.connect() as connection:
                delivery_id = (await connection.execute(trip)).scalar_one()
            await picked_up(engine, delivery_id, rider)
        case "handed over":
            await do(engine, lambda uow: mark_order_ready(MarkOrderReady(order.id), town.owner, uow))
            assert (await the_order(reads, customer, purchase_id)).at_risk
            await do(engine, lambda uow: hand_over_order(HandOverOrder(order.id, order.code), town.owner, uow))
        case "cancelled":
            await do(engine, lambda uow: cancel_order(CancelOrder(order.id, ReasonCode.OUT_OF_STOCK, None), town.owner, uow))
        case _:
            till = await partner(engine, "wms", of=town)
            # Counted again meanwhile, and not yet reviewed: the mark still stands when the till takes the units.
            await do(engine, lambda uow: apply_counts([Count(tea, 5, datetime.now(UTC), "count", "test")], uow))
            await do(engine, lambda uow: accept_order(AcceptOrder(order.id, 5), Actor(ActorKind.SOURCE, till.source_id), uow))
    assert not (await the_order(reads, customer, purchase_id)).at_risk


# ---------------------------------------------------------------- stores


def span(opens: datetime, minutes: int) -> Hours:
    """By the clock of a store in UTC."""
    return Hours(opens.weekday(), opens.hour * 60 + opens.minute, opens.hour * 60 + opens.minute + minutes)


def this_minute() -> datetime:
    return datetime.now(UTC).replace(second=0, microsecond=0)


async def a_store(
    engine: AsyncEngine, hours: Sequence[Hours], exceptions: Sequence[HoursException] = (), *, told: datetime | None = None
) -> UUID:
    """In UTC. `told`: the clock has looked at it then, and not since."""
    store_id = (await shop(engine)).store_id
    await past(engine, update(t.store).where(t.store.c.id == store_id).values(time_zone="UTC"))
    await do(engine, lambda uow: uow.merchants.set_hours(store_id, hours, exceptions))
    if told is not None:
        await told_at(engine, store_id, told)
    return store_id


async def told_at(engine: AsyncEngine, store_id: UUID, moment: datetime) -> None:
    async def look(uow) -> None:
        one = (await uow.merchants.lock_stores([store_id], CLOCK))[store_id]
        await uow.merchants.keep([replace(one.store, read_at=moment)])

    await do(engine, look)


async def told_of(engine: AsyncEngine, store_id: UUID) -> list[StoreStatusChanged]:
    async with engine.connect() as connection:
        e = t.event.c
        rows = (await connection.execute(select(e.kind, e.body, e.seq).where(e.entity_id == store_id).order_by(e.id))).all()
        [version] = (await connection.execute(select(t.store.c.version).where(t.store.c.id == store_id))).scalars()
    events = [to_event(row.kind, row.body) for row in rows]
    assert [event.seq for event in events] == [row.seq for row in rows] == list(range(2, version + 1))  # one for each version
    return events


async def test_a_store_that_closes_by_its_hours_is_told_of_once(engine, clock):
    closed = this_minute()
    store_id = await a_store(engine, [span(closed - timedelta(hours=2), 120)], told=closed - timedelta(hours=1))
    for _ in range(2):
        await clock.statuses()
    [event] = await told_of(engine, store_id)
    said = event.state
    assert (said.status, said.is_open, said.opens_at, said.closes_at) == (
        StoreStatus.CLOSED,
        False,
        closed + timedelta(days=7, hours=-2),
        None,
    )
    assert (event.said, event.by, said.as_of >= closed) == (StoreStatus.OPEN, ActorKind.CLOCK, True)


async def test_a_store_that_opens_by_an_exception_is_told_of_once(engine, clock):
    opened = this_minute()
    minute = opened.hour * 60 + opened.minute
    away = [Hours((opened.weekday() + 3) % 7, 0, DAY)]
    instead = [HoursException(opened.date(), minute, minute + 60)]
    store_id = await a_store(engine, away, instead, told=opened - timedelta(minutes=1))
    assert await told_of(engine, store_id) == []
    for _ in range(2):
        await clock.statuses()
    [event] = await told_of(engine, store_id)
    assert (event.state.is_open, event.state.opens_at, event.state.closes_at) == (True, None, opened + timedelta(hours=1))


@pytest.mark.parametrize("opens_in", [timedelta(hours=-1), timedelta(hours=1)])
async def test_however_many_times_it_opened_and_closed_while_no_worker_was_there_it_is_told_of_once(engine, clock, opens_in):
    opens = this_minute() + opens_in
    hours = [span(opens + timedelta(days=day), 120) for day in range(7)]
    store_id = await a_store(engine, hours, told=opens - timedelta(days=5, minutes=1))
    for _ in range(2):
        await clock.statuses()
    [event] = await told_of(engine, store_id)
    assert event.state.is_open == (opens_in < timedelta(0))


async def test_hours_that_change_just_before_a_store_would_close_keep_it_open(engine, clock):
    now = this_minute()
    store_id = await a_store(engine, [span(now - timedelta(hours=2), 120)], told=now - timedelta(seconds=1))
    await do(engine, lambda uow: uow.merchants.set_hours(store_id, [span(now - timedelta(hours=2), 240)]))
    for _ in range(2):
        await clock.statuses()
    [event] = await told_of(engine, store_id)
    assert (event.state.status, event.state.closes_at) == (StoreStatus.OPEN, now + timedelta(hours=2))


async def test_hours_that_change_close_a_store_at_once(engine, clock):
    now = this_minute()
    store_id = await a_store(engine, [], told=now)
    await do(engine, lambda uow: uow.merchants.set_hours(store_id, [span(now + timedelta(hours=2), 60)]))
    await clock.statuses()
    [event] = await told_of(engine, store_id)
    assert (event.state.status, event.state.opens_at) == (StoreStatus.CLOSED, now + timedelta(hours=2))


async def test_who_waited_for_hours_to_be_written_tells_by_those_hours(engine):
    now = this_minute()
    store_id = await a_store(engine, [], told=now)
    async with unit_of_work(engine) as uow:
        await uow.merchants.set_hours(store_id, [span(now + timedelta(hours=2), 60)])
        busy = SetStoreStatus(store_id, StoreStatus.BUSY)
        saying = asyncio.create_task(do(engine, lambda other: set_store_status(busy, CLOCK, other)))
        await waits_for_a_lock(engine)
    await saying
    [event] = await told_of(engine, store_id)
    assert (event.said, event.state.status, event.state.opens_at) == (
        StoreStatus.BUSY,
        StoreStatus.CLOSED,
        now + timedelta(hours=2),
    )


async def test_a_store_as_it_was_told_is_told_of_no_more_and_looked_at_again_within_a_day(engine, reads, clock):
    now = datetime.now(UTC)
    store_id = await a_store(engine, [], told=now - timedelta(days=2))
    await clock.statuses()
    assert await told_of(engine, store_id) == []
    look_at = await reads.value(select(t.store.c.look_at).where(t.store.c.id == store_id))
    assert timedelta(0) < look_at - now <= timedelta(days=1, minutes=1)


async def test_a_new_store_is_told_of_as_it_is_and_from_then_on_by_the_clock(engine, reads, clock):
    now, town = this_minute(), await shop(engine)
    opens = now + timedelta(hours=2)
    plain = AddStore(town.merchant_id, f"new-{town.store_id}", "New", "Bengaluru", Point(12.9, 77.6), "UTC", [span(opens, 60)])
    store_id = await do(engine, lambda uow: add_store(plain, CLOCK, uow))
    assert await do(engine, lambda uow: add_store(plain, CLOCK, uow)) == store_id
    for _ in range(2):
        await clock.statuses()
    e = t.event.c
    [row] = await reads.rows(select(e.kind, e.body, e.seq).where(e.entity_id == store_id))
    event = to_event(row.kind, row.body)
    assert (row.seq, event.state.status, event.state.opens_at) == (1, StoreStatus.CLOSED, opens)
    assert await reads.value(select(t.store.c.look_at).where(t.store.c.id == store_id)) == opens
    with pytest.raises(Refused) as no:
        await do(engine, lambda uow: add_store(replace(plain, slug="elsewhere", time_zone="Asia/Nowhere"), CLOCK, uow))
    assert isinstance(no.value.refusal, InvalidInput)


async def test_a_store_that_no_command_has_made_is_told_of_when_it_changes_and_not_before(engine, clock):
    closed = this_minute()
    store_id = await a_store(engine, [span(closed - timedelta(hours=2), 120)])
    await clock.statuses()
    assert await told_of(engine, store_id) == []
    await do(engine, lambda uow: uow.merchants.set_hours(store_id, []))
    await clock.statuses()
    assert [event.state.status for event in await told_of(engine, store_id)] == [StoreStatus.OPEN]


async def test_a_store_that_is_archived_is_closed_and_never_looked_at_again(engine, reads, clock):
    store_id = await a_store(engine, [], told=datetime.now(UTC) - timedelta(days=2))
    await past(engine, update(t.store).where(t.store.c.id == store_id).values(archived_at=datetime.now(UTC)))
    for _ in range(2):
        await clock.statuses()
    [event] = await told_of(engine, store_id)
    assert (event.state.status, event.state.opens_at) == (StoreStatus.CLOSED, None)
    assert await reads.value(select(t.store.c.look_at).where(t.store.c.id == store_id)) is None


async def test_a_pause_that_ends_while_the_store_is_closed_says_when_it_opens(engine, clock):
    now = this_minute()
    store_id = await a_store(engine, [span(now + timedelta(hours=2), 60)])
    pause = SetStoreStatus(store_id, StoreStatus.PAUSED, datetime.now(UTC) + timedelta(days=9))
    await do(engine, lambda uow: set_store_status(pause, CLOCK, uow))
    over = datetime.now(UTC) - AGO
    await past(engine, update(t.store).where(t.store.c.id == store_id).values(status_until=over, look_at=over))
    for _ in range(2):
        await clock.statuses()
    paused, closed = await told_of(engine, store_id)
    assert (paused.state.status, paused.said, paused.state.until) == (StoreStatus.CLOSED, StoreStatus.PAUSED, None)
    assert paused.state.opens_at == now + timedelta(days=14, hours=2)  # the first opening after the pause
    assert (closed.said, closed.state.opens_at) == (StoreStatus.OPEN, now + timedelta(hours=2))


async def test_a_pause_and_hours_that_end_in_one_moment_are_one_change(engine, clock):
    opened = this_minute()
    store_id = await a_store(engine, [span(opened, 60)])
    pause = SetStoreStatus(store_id, StoreStatus.PAUSED, opened + timedelta(days=1))
    await do(engine, lambda uow: set_store_status(pause, CLOCK, uow))
    await past(engine, update(t.store).where(t.store.c.id == store_id).values(status_until=opened))
    await told_at(engine, store_id, opened - timedelta(seconds=1))
    for _ in range(2):
        await clock.statuses()
    assert [event.state.status for event in await told_of(engine, store_id)] == [StoreStatus.PAUSED, StoreStatus.OPEN]


async def test_workers_that_look_at_once_tell_of_each_store_once(engine, reads, clock, monkeypatch):
    monkeypatch.setattr("workers.deadlines.SOME", 5)
    closed = this_minute()
    stores = [await a_store(engine, [span(closed - timedelta(hours=2), 120)], told=closed - timedelta(hours=1)) for _ in range(23)]
    while any([len(await told_of(engine, id)) < 1 for id in stores]):  # another's locks are passed by, until its next round
        await asyncio.gather(*(clock.statuses() for _ in range(4)))
    await clock.statuses()
    assert [len(await told_of(engine, id)) for id in stores] == [1] * 23
