"""What tills and warehouses tell of orders, from the door to the order, on the real database."""

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import select, update
from sqlalchemy.ext.asyncio import AsyncEngine

from adapters.gateways import SandboxGateway
from db import ledger, orders, stock
from db import tables as t
from db.reads import Reads
from db.unit_of_work import unit_of_work
from domain import at_risk
from domain.counting import Count, apply_counts
from domain.fulfilment import AcceptOrder, CancelOrder, accept_order, cancel_order
from domain.intake import FailureKind, PayloadState
from domain.orders import Fulfilment, OrderStatus, ReasonCode
from domain.payments import PaymentStatus
from domain.purchases import settle_payment
from domain.refusals import Refused
from tests.db.test_dispatch import waits_for_a_lock
from tests.db.test_purchases import CARD, CASH, counters, do, paid_by_card, payment_of, placed, quoted, says, the_order
from tests.partners import Partner, dish, event, menu, partner, size
from tests.trips import on_duty, picked_up
from tests.world import account, listing, listings, shop
from workers.deadlines import Deadlines

ORDER = "webhooks/order-status"
STORE = "k7x2m9qa"
S = OrderStatus


@pytest.fixture
def reads(engine: AsyncEngine) -> Reads:
    return Reads(engine)


class Told:
    """One order of two units in a till's shop, and what the till says of it."""

    def __init__(self, till: Partner, order: orders.OrderRow, customer: Any, tea: UUID, reads: Reads) -> None:
        self.till, self.order, self.customer, self.tea, self.reads = till, order, customer, tea, reads

    async def say(self, status: Any, **more: Any) -> None:
        told = {"restID": STORE, "orderID": self.order.number, "status": status, **more}
        answer = await self.till.tell(ORDER, told)
        assert (answer.status_code, answer.json()["status"]) == (200, "success"), answer.text

    async def now(self) -> orders.OrderRow:
        return await the_order(self.reads, self.customer, self.order.purchase_id)

    async def steps(self) -> list[tuple[str, str | None]]:
        """Each step after it was placed, with what its parties read."""
        history = await orders.history_of(self.reads, [self.order.id])
        return [(step.status.value, step.note) for step in history[1:]]

    async def states(self) -> list[str]:
        return [state for _, _, state in await self.till.instructions()]


async def told_of(
    engine: AsyncEngine, reads: Reads, method: Any = CASH, fulfilment: Fulfilment = Fulfilment.DELIVERY, **columns: Any
) -> Told:
    till = await partner(engine, "petpooja", STORE, **columns)
    tea, customer = await listing(engine, till.shop, 10), await account(engine)
    purchase_id = await placed(engine, customer, await quoted(engine, customer, (tea, 2), fulfilment=fulfilment), method)
    if method is CARD:
        payment = await paid_by_card(engine, reads, purchase_id)
        await do(engine, lambda uow: settle_payment(says(payment, captured=True), uow))
    return Told(till, await the_order(reads, customer, purchase_id), customer, tea, reads)


async def clear(told: Told) -> None:
    assert await ledger.discrepancies(told.reads) == []


# ---------------------------------------------------------------- the way to the door


async def test_a_store_that_delivers_itself_brings_its_order_to_the_door(engine, reads):
    told = await told_of(engine, reads, self_delivery=True)
    assert told.order.fulfilment is Fulfilment.STORE_DELIVERY
    await told.say("1", minimum_prep_time="20")
    accepted = await told.now()
    assert accepted.status is S.ACCEPTED
    assert accepted.promised_at is not None
    assert 39 <= (accepted.promised_at - datetime.now(UTC)).total_seconds() / 60 <= 40
    assert await counters(engine, told.tea) == (8, 0, 0)  # the till has it in its books
    await told.say("5")
    await told.say("4", rider_name="Imran", rider_phone_number=9800000077)
    await told.say("10")
    assert await told.steps() == [
        ("ACCEPTED", None), ("READY", None), ("PICKED_UP", "with Imran, 9800000077"), ("DELIVERED", None),
    ]  # fmt: skip
    assert await payment_of(reads, told.order.purchase_id) == (PaymentStatus.CASH_COLLECTED, 0)
    assert await counters(engine, told.tea) == (8, 0, 0)
    e = t.event.c
    by = await told.till.rows(select(e.body["by"].astext, e.caused_by).where(e.entity_id == told.order.id).order_by(e.seq))
    assert [row[0] for row in by[1:]] == ["SOURCE"] * 4
    assert all(row[1].startswith("instruction:") for row in by[1:])
    assert await told.states() == ["APPLIED"] * 4
    assert not await told.till.failures()
    await clear(told)


async def test_what_is_said_again_or_too_late_changes_nothing(engine, reads):
    told = await told_of(engine, reads, self_delivery=True)
    for number, status in enumerate(("1", "2", "5", "4", "4", "10")):
        await told.say(status, is_modified=number)  # other bytes: not the same payload
    before = (await told.now()).version
    for status in ("10", "5", "1", "4"):
        await told.say(status, rider_name="again")
    assert (await told.now()).version == before == 5
    assert await told.states() == [*["APPLIED"] * 7, *["SUPERSEDED"] * 3]
    assert {failure.kind for failure in await told.till.failures()} == {FailureKind.STALE}


async def test_our_riders_pick_up_is_the_truth_and_the_tills_word_a_note(engine, reads):
    told = await told_of(engine, reads)
    for status in ("1", "5", "4"):
        await told.say(status)
    await told.say("4", is_modified="No")
    assert await told.steps() == [("ACCEPTED", None), ("READY", None), ("READY", "the store says that it has left")]
    rider = await on_duty(engine)
    async with engine.connect() as connection:
        trip = select(t.delivery.c.id).where(t.delivery.c.order_id == told.order.id)
        delivery_id = (await connection.execute(trip)).scalar_one()
    await picked_up(engine, delivery_id, rider)
    await told.say("4", is_modified="")
    await told.say("10", rider_name="Imran")
    notes = await told.steps()
    assert notes[3:] == [("PICKED_UP", None), ("PICKED_UP", "the store says that it has been delivered with Imran")]
    assert await told.states() == ["APPLIED"] * 6


async def test_a_ready_order_whose_acceptance_was_lost_was_accepted(engine, reads):
    told = await told_of(engine, reads)
    await told.say("5")
    assert [status for status, _ in await told.steps()] == ["ACCEPTED", "READY"]
    assert await counters(engine, told.tea) == (8, 0, 0)
    straight = await told_of(engine, reads, self_delivery=True)
    await straight.say("10")
    assert [status for status, _ in await straight.steps()] == ["ACCEPTED", "READY", "PICKED_UP", "DELIVERED"]
    assert await payment_of(reads, straight.order.purchase_id) == (PaymentStatus.CASH_COLLECTED, 0)


async def test_a_till_that_books_what_a_person_accepted_has_sold_it(engine, reads):
    told = await told_of(engine, reads)
    await do(engine, lambda uow: accept_order(AcceptOrder(told.order.id, 5), told.till.shop.owner, uow))
    assert await counters(engine, told.tea) == (10, 0, 2)
    await told.say("1")
    assert await counters(engine, told.tea) == (8, 0, 0)
    assert [status for status, _ in await told.steps()] == ["ACCEPTED"]


async def test_two_words_of_one_order_are_heeded_in_the_order_they_came(engine, reads):
    told = await told_of(engine, reads, self_delivery=True)
    for status in ("1", "5", "4", "10"):
        await told.till.post(ORDER, {"restID": STORE, "orderID": told.order.number.lower(), "status": status})
    await told.till.worker.drain()
    assert [status for status, _ in await told.steps()] == ["ACCEPTED", "READY", "PICKED_UP", "DELIVERED"]
    assert await told.states() == ["APPLIED"] * 4


async def test_a_callback_may_carry_the_token_in_its_query_and_nobody_reads_it_there(engine, reads):
    told = await told_of(engine, reads)
    before, _, _ = told.till.path(ORDER).partition(f"/{told.till.text}/")
    for token, status, end in (("y" * 32, 404, S.PLACED), (told.till.text, 200, S.ACCEPTED)):
        said = {"restID": STORE, "orderID": told.order.number, "status": "1"}
        answer = await told.till.client.post(f"{before}/order_callback?t={token}", json=said)
        await told.till.worker.drain()
        assert (answer.status_code, (await told.now()).status) == (status, end), answer.text
    p = t.payload.c
    (kept,) = await told.till.rows(select(p.headers).where(p.source_id == told.till.source_id))
    assert told.till.text not in str(kept.headers)


async def test_an_order_that_is_collected_is_handed_over_against_its_code(engine, reads):
    told = await told_of(engine, reads, fulfilment=Fulfilment.PICKUP)
    for status in ("1", "5", "10"):
        await told.say(status)
    assert (await told.now()).status is S.READY
    (failure,) = await told.till.failures()
    assert (failure.kind, failure.message) == (
        FailureKind.VALIDATION, "the customer collects this order, and it is handed over against the code",
    )  # fmt: skip


# ---------------------------------------------------------------- its end


@pytest.mark.parametrize("method", [CASH, CARD], ids=["cash", "card"])
@pytest.mark.parametrize(("before", "end"), [([], S.REJECTED), (["1"], S.CANCELLED), (["1", "5"], S.CANCELLED)])
async def test_what_the_till_cannot_do_gives_money_and_units_back(engine, reads, method, before, end):
    told = await told_of(engine, reads, method)
    for status in before:
        await told.say(status)
    await told.say("-1", cancel_reason="Paneer finished")
    await told.say("-1", cancel_reason="Paneer is finished")
    now = await told.now()
    assert now.status is end
    (*_, last) = await orders.history_of(reads, [told.order.id])
    assert (last.reason, last.note) == (ReasonCode.OUT_OF_STOCK, "Paneer finished")
    refunded = now.total.minor if method is CARD else 0
    wanted = PaymentStatus.REFUNDED if method is CARD else PaymentStatus.VOIDED
    assert await payment_of(reads, told.order.purchase_id) == (wanted, refunded)
    assert await counters(engine, told.tea) == (10, 0, 0)
    assert await told.states() == ["APPLIED"] * (len(before) + 2)
    await clear(told)


async def test_what_an_order_can_become_no_more_is_said(engine, reads):
    told = await told_of(engine, reads)
    cancel = CancelOrder(told.order.id, ReasonCode.CUSTOMER_ASKED, None)
    await do(engine, lambda uow: cancel_order(cancel, told.customer, uow))
    await told.say("1")
    await told.say("5")
    messages = [(failure.kind, failure.message) for failure in await told.till.failures()]
    assert messages == [
        (FailureKind.VALIDATION, f"an order that is CANCELLED cannot become {end}") for end in ("ACCEPTED", "READY")
    ]
    assert await told.till.payloads() == ["FAILED"] * 2
    await told.say("-1")  # it has ended: so be it
    assert (await told.states())[-1] == "APPLIED"


# ---------------------------------------------------------------- whose it is


async def test_another_stores_order_is_not_there(engine, reads):
    told, stranger = await told_of(engine, reads), await partner(engine, "petpooja", STORE)
    second = await shop(engine)
    async with engine.begin() as connection:  # of the same merchant, and not this source's
        await connection.execute(
            update(t.store).where(t.store.c.id == second.store_id).values(merchant_id=stranger.shop.merchant_id)
        )
    tea, customer = await listing(engine, second, 5), await account(engine)
    theirs = await the_order(reads, customer, await placed(engine, customer, await quoted(engine, customer, (tea, 1))))
    for number in (told.order.number, theirs.number, "NO-SUCH"):
        for status in ("1", "-1", "10"):
            await stranger.tell(ORDER, {"restID": STORE, "orderID": number, "status": status})
    said = {failure.message for failure in await stranger.failures("VALIDATION")}
    assert said == {
        f"there is no order {number} in a store that this source is mapped to"
        for number in (told.order.number, theirs.number, "NO-SUCH")
    }
    assert (await told.now()).status is S.PLACED
    assert (await the_order(reads, customer, theirs.purchase_id)).status is S.PLACED


async def test_who_names_no_store_still_speaks_of_its_own_orders_alone(engine, reads):
    told, stranger = await short(engine, reads), await partner(engine, "wms", "BLR_DS1")
    line = {"order_id": told.order.number, "sku": "TEA-250", "ordered_qty": "2", "picked_qty": "1"}
    await stranger.tell("webhooks/shortages", event("pick.short", **line))
    assert [failure.message for failure in await stranger.failures("VALIDATION")] == [
        f"there is no order {told.order.number} in a store that this source is mapped to"
    ]
    assert await told.steps() == []
    await told.till.tell("webhooks/shortages", event("pick.short", **line))
    assert await told.steps() == [("PLACED", "the store is short: 1 of 2 Assam Tea")]


async def test_an_order_is_of_the_store_it_is_said_of(engine, reads):
    told = await told_of(engine, reads)
    async with engine.begin() as connection:
        await connection.execute(
            t.mapping.insert().values(
                source_id=told.till.source_id, kind="STORE", external_id="second", id=(await shop(engine)).store_id,
                merchant_id=told.till.shop.merchant_id,
            )
        )  # fmt: skip
    await told.till.tell(ORDER, {"restID": "second", "orderID": told.order.number, "status": "1"})
    assert await told.states() == ["FAILED"]
    assert (await told.now()).status is S.PLACED


# ---------------------------------------------------------------- what is missing of it


async def short(engine: AsyncEngine, reads: Reads) -> Told:
    told = await told_of(engine, reads)
    async with engine.begin() as connection:
        await connection.execute(update(t.variant).where(t.variant.c.id == told.tea).values(sku="TEA-250"))
        await connection.execute(update(t.order_line).where(t.order_line.c.order_id == told.order.id).values(name="Assam Tea"))
    told.till = await partner(engine, "wms", "BLR_DS1", of=told.till.shop)
    return told


async def pick_short(told: Told, **more: Any) -> None:
    line = {"location": "BLR_DS1", "order_id": told.order.number, "sku": "TEA-250", "ordered_qty": "2", "picked_qty": "1"}
    answer = await told.till.tell("webhooks/shortages", event("pick.short", **{**line, **more}))
    assert answer.status_code == 200, answer.text


async def test_what_a_picker_does_not_find_is_on_the_order_until_it_leaves(engine, reads):
    told = await short(engine, reads)
    clock = Deadlines(reads, lambda: unit_of_work(engine), SandboxGateway(b"k" * 32))
    await pick_short(told)
    await pick_short(told)  # another message with the same words
    assert await told.steps() == [("PLACED", "the store is short: 1 of 2 Assam Tea")]
    await clock.at_risk()
    assert (await told.now()).at_risk
    await do(engine, lambda uow: accept_order(AcceptOrder(told.order.id, 5), told.till.shop.owner, uow))
    await do(engine, lambda uow: apply_counts([Count(told.tea, 50, datetime.now(UTC), "count", "test")], uow))
    await clock.at_risk()
    assert told.order.id not in await stock.in_doubt(reads, 1_000)  # it is where it belongs: nobody has to look again
    await do(engine, lambda uow: at_risk.review(told.order.id, uow))
    assert (await told.now()).at_risk  # there are enough by the count, and yet its picker did not find them
    rider = await on_duty(engine)
    async with engine.connect() as connection:
        trip = select(t.delivery.c.id).where(t.delivery.c.order_id == told.order.id)
        delivery_id = (await connection.execute(trip)).scalar_one()
    await picked_up(engine, delivery_id, rider)
    assert not (await told.now()).at_risk
    await clock.at_risk()
    assert [status for status, _ in await told.steps()] == ["PLACED", "ACCEPTED", "READY", "PICKED_UP"]


async def test_a_till_that_takes_a_short_order_leaves_it_at_risk(engine, reads):
    told = await short(engine, reads)
    till = await partner(engine, "petpooja", STORE, of=told.till.shop)
    await pick_short(told, location_empty=True, version=7)
    assert await counters(engine, told.tea) == (0, 0, 2)
    await till.tell(ORDER, {"restID": STORE, "orderID": told.order.number, "status": "1"})
    assert (await told.now()).at_risk
    notes = [note for _, note in await told.steps()]
    assert notes == ["the store is short: 1 of 2 Assam Tea", None, "sold more than was counted: 2 of Assam Tea"]


async def test_a_shortage_of_an_order_that_has_ended_is_old_news(engine, reads):
    told = await short(engine, reads)
    cancel = CancelOrder(told.order.id, ReasonCode.CUSTOMER_ASKED, None)
    await do(engine, lambda uow: cancel_order(cancel, told.customer, uow))
    await pick_short(told)
    assert await told.states() == ["SUPERSEDED"]
    assert [status for status, _ in await told.steps()] == ["CANCELLED"]


async def test_of_an_order_that_is_lost_nothing_is_short_any_more(engine, reads):
    """It is UNDELIVERED still, and has ended."""
    told = await short(engine, reads)
    async with engine.begin() as connection:
        mine = update(t.orders).where(t.orders.c.id == told.order.id)
        await connection.execute(mine.values(status=S.UNDELIVERED, ended_at=datetime.now(UTC)))
    await pick_short(told)
    assert await told.states() == ["SUPERSEDED"]
    assert await told.steps() == []


# ---------------------------------------------------------------- many at once


async def many(engine: AsyncEngine, reads: Reads, ids: Sequence[UUID], count: int) -> list[orders.OrderRow]:
    made = []
    for number in range(count):
        customer = await account(engine)
        lines = [(ids[number % len(ids)], 1), (ids[(number + 1) % len(ids)], 1)]
        purchase_id = await placed(engine, customer, await quoted(engine, customer, *lines))
        made.append(await the_order(reads, customer, purchase_id))
    return made


async def test_many_orders_are_taken_as_a_set_and_each_has_its_own_cause(engine, reads):
    till = await partner(engine, "petpooja", STORE)
    made = await many(engine, reads, await listings(engine, till.shop, [100] * 3), 25)
    for order in made:
        await till.post(ORDER, {"restID": STORE, "orderID": order.number, "status": "1"})
    assert await till.worker.once() == 20
    assert await till.worker.once() == 5
    now = await orders.orders_by_id(reads, till.shop.owner, [order.id for order in made])
    assert {order.status for order in now} == {S.ACCEPTED}
    e = t.event.c
    found = await till.rows(select(e.caused_by).where(e.entity_id.in_([order.id for order in made]), e.seq == 2))
    assert len({row.caused_by for row in found}) == 25
    assert await ledger.discrepancies(reads) == []


async def test_tills_and_people_that_move_the_same_orders_at_once_never_wait_for_each_other_for_ever(engine, reads, caplog):
    """Orders of two stores under one payment, the same few listings, and everybody from the other end."""
    tills = [await partner(engine, "petpooja", STORE) for _ in range(2)]
    shelves = [await listings(engine, till.shop, [200] * 2) for till in tills]
    customers, pairs = [], []
    for _ in range(12):
        customer = await account(engine)
        lines = [(id, 1) for ids in shelves for id in ids]
        purchase_id = await placed(engine, customer, await quoted(engine, customer, *lines))
        customers.append(customer)
        pairs.append(await orders.orders_of_purchases(reads, customer, [purchase_id]))
    by_store = [[order for pair in pairs for order in pair if order.store_id == till.shop.store_id] for till in tills]
    for till, mine in zip(tills, by_store, strict=True):
        for number, order in enumerate(mine):
            told = {"restID": STORE, "orderID": order.number}
            await till.post(ORDER, {**told, "status": "1" if number % 3 else "-1"})
            await till.post(ORDER, {**told, "status": "-1", "cancel_reason": "No"})

    async def people(customer: Any, pair: Sequence[orders.OrderRow]) -> None:
        for order in reversed(pair):
            with suppress(Refused):
                await do(engine, lambda uow, id=order.id: cancel_order(CancelOrder(id, ReasonCode.OTHER, None), customer, uow))

    caplog.set_level("INFO", "haat.instructions")
    async with asyncio.timeout(60):
        await asyncio.gather(
            *(till.worker.drain() for till in tills), *(people(*one) for one in zip(customers, reversed(pairs), strict=True))
        )
    assert not [record for record in caplog.records if record.name == "haat.instructions"]
    for till in tills:
        tried = await till.rows(select(t.instruction.c.attempts).where(t.instruction.c.source_id == till.source_id))
        assert {row.attempts for row in tried} == {0}  # nothing broke: no deadlock, no retry
    for mine, till in zip(by_store, tills, strict=True):
        now = await orders.orders_by_id(reads, till.shop.owner, [order.id for order in mine])
        assert {order.status for order in now} <= {S.REJECTED, S.CANCELLED}
    for ids in shelves:
        assert [await counters(engine, id) for id in ids] == [(200, 0, 0)] * 2
    assert {(await payment_of(reads, pair[0].purchase_id))[0] for pair in pairs} == {PaymentStatus.VOIDED}
    assert await ledger.discrepancies(reads) == []


async def test_what_a_set_of_orders_may_change_is_locked_kind_by_kind_before_any_of_it(engine, reads, caplog):
    """Who has the second order's payment and wants the first's stock gets it: the set has not come to any stock yet."""
    till = await partner(engine, "petpooja", STORE)
    tea = await listing(engine, till.shop, 10)
    first, second = await many(engine, reads, [tea], 2)
    for order in (first, second):
        await till.post(ORDER, {"restID": STORE, "orderID": order.number, "status": "-1"})
    caplog.set_level("INFO", "haat.instructions")
    async with asyncio.timeout(20):
        async with unit_of_work(engine) as uow:
            await uow.payments.lock(second.purchase_id)
            working = asyncio.create_task(till.worker.once())
            await waits_for_a_lock(engine)
            await uow.stock.lock([tea])
        await working
    assert not [record for record in caplog.records if record.name == "haat.instructions"]  # nor was it given up and done apart
    assert [state for _, _, state in await till.instructions()] == ["APPLIED"] * 2
    assert await counters(engine, tea) == (10, 0, 0)


async def test_orders_wait_for_no_menu(engine, reads):
    """A whole push that is parked, and one that is carried out slowly, hold up nothing of an order."""
    told = await told_of(engine, reads)
    await told.till.tell("webhooks/menu", menu(STORE, *[dish(str(n)) for n in range(5)]))
    await told.till.tell("webhooks/menu", menu(STORE, dish("1")))
    assert PayloadState.PARKED.value in await told.till.payloads()
    await told.say("1")
    assert (await told.now()).status is S.ACCEPTED


# ---------------------------------------------------------------- taxes of a menu


async def test_taxes_of_a_menu_are_kept_with_the_price_and_stay_where_nothing_is_said(engine):
    till = await partner(engine, "petpooja", STORE)
    taxes = [
        {"taxid": "501", "taxname": "CGST", "tax": "2.5", "taxtype": "1", "active": "1", "tax_taxtype": "1"},
        {"taxid": "502", "taxname": "SGST", "tax": "2.5", "taxtype": "1", "active": "1", "tax_taxtype": "2"},
    ]
    pizza = dish("81001", item_tax="501,502", variation=[size("81091", "Regular", "199.00")])
    whole = {**menu(STORE, pizza, dish("81002")), "taxes": taxes}

    async def kept() -> dict[str, Any]:
        return {
            sku: None if row.taxes is None else [(tax.code, tax.rate_bp, tax.inclusive) for tax in row.taxes]
            for sku, row in (await till.listings()).items()
        }

    await till.tell("webhooks/menu", whole)
    gst = [("CGST", 250, False), ("SGST", 250, True)]
    assert await kept() == {"81091": gst, "81002": None}, await till.failures()
    version = (await till.listings())["81091"].version
    await till.tell("webhooks/menu", {**whole, "serverdatetime": "2026-01-05 11:33:13"})
    assert (await till.listings())["81091"].version == version
    pizza = dish("81001", variation=[size("81091", "Regular", "209.00")])
    await till.tell("webhooks/menu", menu(STORE, pizza, dish("81002")))
    assert await kept() == {"81091": gst, "81002": None}
    pizza = dish("81001", item_tax="501", ignore_taxes="1", variation=[size("81091", "Regular", "209.00")])
    await till.tell("webhooks/menu", {**menu(STORE, pizza, dish("81002", item_tax="502")), "taxes": taxes})
    assert await kept() == {"81091": [], "81002": [("SGST", 250, True)]}
    assert not await till.failures()
