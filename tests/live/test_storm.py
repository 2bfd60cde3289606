"""Many at once, over real sockets, at two server processes: nothing oversold, nothing twice, no deadlock."""

import asyncio
import json
import random
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from sqlalchemy import insert, select
from sqlalchemy.ext.asyncio import AsyncEngine

from db import tables as t
from db.ids import new_id
from domain.identity import Actor, ActorKind
from tests.conftest import LONG
from tests.live.test_one_order import ADDRESS, PLACE, QUOTE
from tests.live.town import Client, Town, town
from tests.world import account, listing, listings, shop

BUYERS, UNITS = (2_000, 100) if LONG else (200, 20)
QUOTES = 20_000 if LONG else 600
SEED = 7
FILL = "mutation($l: [CartLineInput!]!) { updateCartLines(lines: $l) { id } }"


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def running(
    database_url: str, redis_url: str, engine: AsyncEngine, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Town]:
    log = Path(tmp_path_factory.mktemp("storm")) / "log"
    async with town(database_url, redis_url, engine, log, servers=2) as running:
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


async def all_of(work, at_once: int = 100) -> list:
    """So many at a time, as browsers and proxies would bring them."""
    turn = asyncio.Semaphore(at_once)

    async def one(awaitable):
        async with turn:
            return await awaitable

    return await asyncio.gather(*(one(awaitable) for awaitable in work))


async def test_the_last_units_are_sold_once_each(running: Town, engine: AsyncEngine):
    tea = await listing(engine, await shop(engine), UNITS)

    async def buy(buyer: Client) -> str:
        await buyer.ask(FILL, l=[{"listingId": str(tea), "quantity": 1}])
        quote = (await buyer.ask(QUOTE, address=ADDRESS))["quoteCart"]
        if quote["__typename"] != "Quote":
            return quote["code"]
        placed = (await buyer.ask(PLACE, quote=quote["id"], method="CASH_ON_DELIVERY", key="once"))["placeOrder"]
        return placed["__typename"]

    answers = Counter(await all_of(buy(buyer) for buyer in await buyers(running, BUYERS)))
    print(json.dumps({"buyers": BUYERS, "units": UNITS, "answers": answers}))
    assert answers == {"Purchase": UNITS, "NOT_ENOUGH_STOCK": BUYERS - UNITS}
    async with engine.connect() as connection:
        orders = await connection.execute(select(t.order_line.c.quantity).where(t.order_line.c.listing_id == tea))
        level = (await connection.execute(select(t.stock_level).where(t.stock_level.c.listing_id == tea))).one()
    assert sum(orders.scalars()) == UNITS
    assert (level.on_hand, level.held, level.allocated) == (UNITS, 0, UNITS)
    assert await audit(running) == []


async def test_quotes_of_many_listings_in_any_order_never_deadlock(
    running: Town, engine: AsyncEngine, request: pytest.FixtureRequest
):
    ids = await listings(engine, await shop(engine), [1_000_000] * 12)
    chance = random.Random(SEED)
    some = await buyers(running, 100)
    baskets = [chance.sample(ids, chance.randint(1, 5)) for _ in range(QUOTES)]

    async def quote(number: int) -> str:
        buyer = some[number % len(some)]
        lines = [{"listingId": str(id), "quantity": 1} for id in baskets[number]]
        await buyer.ask(FILL, l=lines)
        return (await buyer.ask(QUOTE, address=ADDRESS))["quoteCart"]["__typename"]

    async with engine.connect() as connection:
        before = await deadlocks(connection)
    answers = Counter(await all_of((quote(number) for number in range(QUOTES)), at_once=60))
    async with engine.connect() as connection:
        after = await deadlocks(connection)
    print(json.dumps({"quotes": QUOTES, "seed": SEED, "answers": answers, "deadlocks": after - before}))
    assert answers.keys() <= {"Quote", "LimitExceeded"}, answers
    assert answers["Quote"] > QUOTES / 4
    assert after == before
    assert await audit(running) == []


async def deadlocks(connection) -> int:
    from sqlalchemy import text

    await connection.execute(text("SELECT pg_stat_clear_snapshot()"))
    return (
        await connection.execute(text("SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()"))
    ).scalar_one()


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
    reused = (await clients[1].ask(PLACE, quote=quote, method="CARD", key="same"))["placeOrder"]
    assert (reused["__typename"], reused["code"]) == ("KeyReused", "KEY_REUSED")
