"""Many at once, over real sockets, at two server processes: nothing oversold, nothing twice, no deadlock."""

import asyncio
import os
import random
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from uuid import UUID

import pytest
import pytest_asyncio
from sqlalchemy import insert, select, text
from sqlalchemy.ext.asyncio import AsyncEngine

from db import tables as t
from db.ids import new_id
from domain.identity import Actor, ActorKind
from launch.postgres import Postgres
from tests.conftest import LONG
from tests.figures import show
from tests.live.test_one_order import ADDRESS, PLACE, QUOTE
from tests.live.town import Client, Errors, Town, town
from tests.world import account, listing, listings, shop

BUYERS, UNITS = (2_000, 100) if LONG else (200, 20)
QUOTES = 20_000 if LONG else 300
PATIENCE_S = 240
SESSION = 2_000  # quotes while a token is good, also on a slow machine
SEED = 7
FILL = "mutation($l: [CartLineInput!]!) { updateCartLines(lines: $l) { id } }"

REFILL = """mutation($none: [CartLineInput!]!, $l: [CartLineInput!]!) {
  emptied: updateCartLines(lines: $none) { id } filled: updateCartLines(lines: $l) { id } }"""


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def running(
    database_url: str, redis_url: str, engine: AsyncEngine, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Town]:
    log = Path(tmp_path_factory.mktemp("storm")) / "log"
    async with town(database_url, redis_url, engine, log, servers=2) as running:
        yield running


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def patient(
    database_url: str, redis_url: str, engine: AsyncEngine, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Town]:
    """Servers that let everybody wait. As they are by default they refuse UNAVAILABLE whom they cannot serve in ten seconds."""
    log = Path(tmp_path_factory.mktemp("patient")) / "log"
    told = {"HAAT_REQUEST_DEADLINE_S": str(PATIENCE_S), "HAAT_POOL_TIMEOUT_S": str(PATIENCE_S)}
    async with town(database_url, redis_url, engine, log, servers=2, **told) as running:
        running.connections, running.patience_s = BUYERS, PATIENCE_S
        yield running


async def customers(engine: AsyncEngine, count: int) -> list[Actor]:
    ids = [new_id() for _ in range(count)]
    async with engine.begin() as connection:
        await connection.execute(insert(t.user_account), [{"id": id, "name": "Riya"} for id in ids])
    return [Actor(ActorKind.CUSTOMER, id) for id in ids]


async def buyers(running: Town, count: int) -> list[Client]:
    """Half of them at each server."""
    tokens = await running.tokens(await customers(running.engine, count))
    return [running.client(token, "server" if number % 2 else "server2") for number, token in enumerate(tokens)]


async def audit(running: Town) -> list[dict]:
    async with running.engine.begin() as connection:
        id = new_id()
        await connection.execute(insert(t.user_account).values(id=id, name="desk", is_support=True))
    desk = await running.api(Actor(ActorKind.SUPPORT, id))
    return (await desk.ask("{ support { stockAudit { counter level ledger listing { id } } } }"))["support"]["stockAudit"]


async def ledger(engine: AsyncEngine, listing_id: UUID) -> list[tuple[int, int, int]]:
    """On hand, held and allocated after each movement. They were written under the level's lock: by the clock is in order."""
    m = t.stock_movement.c
    deltas = select(m.on_hand_delta, m.held_delta, m.allocated_delta).where(m.listing_id == listing_id).order_by(m.at, m.id)
    sums, now = [], (0, 0, 0)
    async with engine.connect() as connection:
        for by in await connection.execute(deltas):
            now = tuple(a + b for a, b in zip(now, by, strict=True))
            sums.append(now)
    return sums


async def test_the_last_units_are_sold_once_each(patient: Town, engine: AsyncEngine):
    """All buyers at once, each on a connection of their own, and all of them in the quote together."""
    tea = await listing(engine, await shop(engine), UNITS)
    underway, most, slowest_s = Counter[str](), Counter[str](), 0.0

    async def ask(buyer: Client, step: str, query: str, **variables) -> dict:
        nonlocal slowest_s
        began = time.monotonic()
        underway[step] += 1
        most[step] = max(most[step], underway[step])
        answer = await buyer.ask(query, **variables)
        underway[step] -= 1
        slowest_s = max(slowest_s, time.monotonic() - began)
        return answer

    filled = asyncio.Barrier(BUYERS)

    async def buy(buyer: Client) -> str:
        await ask(buyer, "cart", FILL, l=[{"listingId": str(tea), "quantity": 1}])
        await filled.wait()
        quote = (await ask(buyer, "quote", QUOTE, address=ADDRESS))["quoteCart"]
        if quote["__typename"] != "Quote":
            return quote["code"]
        place = ask(buyer, "order", PLACE, quote=quote["id"], method="CASH_ON_DELIVERY", key="once")
        return (await place)["placeOrder"]["__typename"]

    answers = Counter(await asyncio.gather(*(buy(buyer) for buyer in await buyers(patient, BUYERS))))
    o, line = t.orders.c, t.order_line.c
    async with engine.connect() as connection:
        sold = select(o.id, o.customer_id, line.quantity).join_from(t.orders, t.order_line).where(line.listing_id == tea)
        orders = (await connection.execute(sold)).all()
        level = (await connection.execute(select(t.stock_level).where(t.stock_level.c.listing_id == tea))).one()
    sums = await ledger(engine, tea)
    wrong = await audit(patient)
    show("buyers", buyers=BUYERS, units=UNITS, answers=answers, orders=len(orders), movements=len(sums), audit=len(wrong))
    show("buyers at once", **most, slowest_answer_s=round(slowest_s, 1))
    assert (most["cart"], most["quote"]) == (BUYERS, BUYERS)
    assert answers == {"Purchase": UNITS, "NOT_ENOUGH_STOCK": BUYERS - UNITS}  # and nobody was answered by an error
    assert [order.quantity for order in orders] == [1] * UNITS
    assert len({order.id for order in orders}) == len({order.customer_id for order in orders}) == UNITS
    assert (level.on_hand, level.held, level.allocated) == (UNITS, 0, UNITS)
    assert sums[-1] == (UNITS, 0, UNITS)
    assert [one for one in sums if min(one) < 0 or one[0] < one[1] + one[2]] == []
    assert wrong == []
    assert patient.faults() == []


async def test_quotes_of_many_listings_in_any_order_never_deadlock(
    running: Town, engine: AsyncEngine, request: pytest.FixtureRequest
):
    ids = await listings(engine, await shop(engine), [1_000_000] * 12)
    chance = random.Random(SEED)
    answers: Counter[str] = Counter()

    async def quote(buyer: Client, baskets: Iterator[list[UUID]]) -> None:
        """One after the other: a customer has one cart."""
        for basket in baskets:
            lines = [{"listingId": str(id), "quantity": 1} for id in basket]
            try:
                await buyer.ask(REFILL, none=[{"listingId": str(id), "quantity": 0} for id in ids], l=lines)
                answers[(await buyer.ask(QUOTE, address=ADDRESS))["quoteCart"]["__typename"]] += 1
            except Errors as errors:
                answers[str(errors.codes[0])] += 1

    before = await deadlocks(engine, request)
    for done in range(0, QUOTES, SESSION):
        waiting = iter([chance.sample(ids, chance.randint(1, 5)) for _ in range(min(SESSION, QUOTES - done))])
        await asyncio.gather(*(quote(buyer, waiting) for buyer in await buyers(running, 100)))
    met = await deadlocks(engine, request) - before
    show("quotes", seed=SEED, quotes=QUOTES, answers=answers, deadlocks=met)
    assert answers == {"Quote": QUOTES}
    assert met == 0
    assert await audit(running) == []
    assert running.faults() == []


async def deadlocks(engine: AsyncEngine, request: pytest.FixtureRequest) -> int:
    """Of the embedded server by its log; of a server of yours by what it counts, which it may tell a little late."""
    if not os.environ.get("HAAT_TEST_DATABASE_URL"):
        postgres: Postgres = request.getfixturevalue("postgres")
        return postgres.log.read_text(errors="replace").count("deadlock detected")
    await asyncio.sleep(2)
    async with engine.connect() as connection:
        counted = text("SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()")
        return (await connection.execute(counted)).scalar_one()


async def test_the_same_key_fifty_times_at_once_is_one_answer(running: Town, engine: AsyncEngine):
    store = await shop(engine)
    tea, customer = await listing(engine, store, 5), await account(engine)
    clients = [await running.api(customer, name) for name in ("server", "server2")]
    await clients[0].ask(FILL, l=[{"listingId": str(tea), "quantity": 1}])
    quote = (await clients[0].ask(QUOTE, address=ADDRESS))["quoteCart"]["id"]
    place = (clients[n % 2].ask(PLACE, quote=quote, method="CASH_ON_DELIVERY", key="same") for n in range(50))
    answers = await asyncio.gather(*place)
    assert answers[0]["placeOrder"]["__typename"] == "Purchase"
    assert all(answer == answers[0] for answer in answers)
    reused = [(await client.ask(PLACE, quote=quote, method="CARD", key="same"))["placeOrder"] for client in clients]
    assert [(answer["__typename"], answer["code"]) for answer in reused] == [("KeyReused", "KEY_REUSED")] * 2
    async with engine.connect() as connection:
        p, o = t.purchase.c, t.orders.c
        purchases = (await connection.execute(select(p.id).where(p.customer_id == customer.id))).scalars().all()
        orders = (await connection.execute(select(o.id).where(o.customer_id == customer.id))).scalars().all()
    show("same key", answers=len(answers), purchases=len(purchases), orders=len(orders))
    assert [str(id) for id in purchases] == [answers[0]["placeOrder"]["id"]]
    assert [str(id) for id in orders] == [order["id"] for order in answers[0]["placeOrder"]["orders"]]
    assert running.faults() == []
