"""A merchant at noon: a menu comes in which most of it is switched off. What they are shown, and what becomes of it."""

import pytest
from sqlalchemy import select

from db import tables as t
from tests.api.test_failures import Desk, statements
from tests.partners import dish, menu
from tests.workers.test_batches import prices, push, shown, till_of

HELD = """query($after: String) { batches(state: PARKED) { nodes { id size provider receivedAt
    held { rule percent limitPercent message } payload { id }
    diff { listings removed returned prices switchedOff changes(first: 4, after: $after) { pageInfo { hasNextPage endCursor }
        nodes { name storeId removed availableFrom availableTo priceFrom { amount } priceTo { amount } } } } } } }"""
APPROVE = "mutation($id: ID!) { approveBatch(id: $id) { state diff { removed } held { decidedBy decidedAt } } }"
REFUSE = 'mutation($id: ID!) { refuseBatch(id: $id, reason: "a till that was set up anew") { state held { decidedBy reason } } }'
LEAN = """query($first: Int) { batches(first: $first) { nodes {
    id size state held { rule } undo { id } source { id } payload { id } } } }"""


@pytest.fixture
def desk(engine):
    return Desk(engine)


def noon():
    """Six in ten are switched off, and one is dearer."""
    return [dish(str(n), "110.00" if n == 9 else "100.00", active="0" if n < 6 else "1") for n in range(10)]


async def held(desk, till, after=None):
    (batch,) = (await desk.say(HELD, till.shop.owner, after=after))["nodes"]
    return batch


async def test_most_of_a_menu_is_not_switched_off_unseen_and_each_dish_is_named(engine, desk):
    till = await till_of(engine)
    await push(till, *noon())
    assert await shown(till) == {str(n) for n in range(10)}
    batch = await held(desk, till)
    assert batch["held"] == {
        "rule": "REMOVED", "percent": 60.0, "limitPercent": 30.0, "message": "it would remove 6 of the 10 listings",
    }  # fmt: skip
    diff = batch["diff"]
    assert (diff["listings"], diff["removed"], diff["prices"], diff["switchedOff"]) == (10, 6, 1, 6)
    first = diff["changes"]
    rest = (await held(desk, till, first["pageInfo"]["endCursor"]))["diff"]["changes"]
    assert (len(first["nodes"]), len(rest["nodes"]), rest["pageInfo"]["hasNextPage"]) == (4, 3, False)
    told = [*first["nodes"], *rest["nodes"]]
    assert {one["name"] for one in told if one["removed"]} == {f"Dish {n}" for n in range(6)}
    assert {one["storeId"] for one in told} == {str(till.shop.store_id)}
    assert (told[-1]["name"], told[-1]["priceFrom"], told[-1]["priceTo"]) == ("Dish 9", {"amount": "100.00"}, {"amount": "110.00"})
    said = await desk.say(APPROVE, till.shop.owner, id=batch["id"])
    assert (said["state"], said["diff"], said["held"]["decidedBy"]) == ("RUNNING", None, str(till.shop.owner))
    await till.worker.drain()
    assert await shown(till) == {"6", "7", "8", "9"}
    assert await desk.no(REFUSE, till.shop.owner, id=batch["id"]) == "CONFLICT"


async def test_what_comes_behind_it_runs_and_stays_whatever_is_decided(engine, desk):
    till = await till_of(engine)
    id = await push(till, *noon())
    await till.tell("webhooks/inventory", {"restID": "k7x2m9qa", "type": "item", "inStock": False, "itemID": ["0"]})
    await till.tell("webhooks/menu", menu("k7x2m9qa", *(dish(str(n), "105.00") for n in range(1, 10))))
    assert (await till.level("0")).off
    assert set((await prices(till)).values()) == {10_000, 10_500}
    diff = (await held(desk, till))["diff"]
    assert (diff["removed"], diff["prices"]) == (0, 0)  # by now it would do nothing
    await desk.say(APPROVE, till.shop.owner, id=str(id))
    await till.worker.drain()
    assert await shown(till) == {str(n) for n in range(1, 10)}
    assert {price for sku, price in (await prices(till)).items() if sku != "0"} == {10_500}


async def test_the_same_broken_menu_again_is_one_more_to_decide_and_a_refusal_is_of_one_alone(engine, desk):
    till = await till_of(engine)
    first = await push(till, *noon())
    second = await push(till, *noon(), dish("another"))
    said = await desk.say(REFUSE, till.shop.owner, id=str(first))
    assert said == {"state": "REFUSED", "held": {"decidedBy": str(till.shop.owner), "reason": "a till that was set up anew"}}
    assert (await held(desk, till))["id"] == str(second)
    assert await shown(till) == {str(n) for n in range(10)}
    i = t.instruction.c
    states = {row.state.value for row in await till.rows(select(i.state).where(i.payload_id == second))}
    assert states == {"PARKED"}


async def test_a_page_of_batches_costs_the_same_statements_however_long_it_is(engine, desk):
    till = await till_of(engine, 4)
    for n in range(4):
        await push(till, dish("0", f"{n + 20}.00"))
    counts = []
    for first in (2, 5):
        with statements(engine) as run:
            nodes = (await desk.say(LEAN, till.shop.owner, first=first))["nodes"]
        assert [node["size"] > 0 for node in nodes] == [True] * first
        counts.append(len(run))
    assert counts[0] == counts[1]
