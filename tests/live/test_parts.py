"""Each part of a running town is taken away in turn: the others go on, and it comes back alone."""

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path

import httpx2
import pytest
import pytest_asyncio
from sqlalchemy import func, select, update
from sqlalchemy.ext.asyncio import AsyncEngine

from adapters.seals import AesSeals
from db import tables as t
from launch.postgres import Postgres
from launch.redis import Redis
from tests.figures import show
from tests.live.town import SEALING, Errors, Town
from tests.live.trade import BROWSE, FILL, QUOTE, SET, Trade, trade, until
from tests.live.watching import STOCK, STORE_ORDERS, OrdersWatch, StockWatch, Watch, caught_up, following, levels_of, orders_of
from tests.partners import Partner, dish, menu, partner, snapshot
from tests.world import Shop, account, listings, shop

SERVERS = ("server",)
WORKERS = {"relay": "relay", "instructions": "instructions", "clock": "deadlines,dispatch"}
CATCH_UP_S = 5 * 4
SOON_S = 4.0  # for a no
BACK_WITHIN_S = 30
DRAINED_WITHIN_S = 30  # what a server may take, and some more


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def running(
    own_postgres: Postgres, own_redis: Redis, own_engine: AsyncEngine, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Town]:
    """Every role a process of its own."""
    log = Path(tmp_path_factory.mktemp("parts")) / "log"
    running = Town(own_postgres.url(), own_redis.url, own_engine, log)
    try:
        for name in SERVERS:
            running.add_server(name)
        running.add_server("intake", "--only", "intake")
        for name, loops in WORKERS.items():
            running.add_workers(name, "--only", loops)
        await running.ready()
        yield running
    finally:
        await running.close()


@asynccontextmanager
async def without(running: Town, name: str) -> AsyncIterator[None]:
    """Asked to stop, as a deployment would."""
    process = running.processes[name]
    await asyncio.to_thread(process.stop, DRAINED_WITHIN_S)
    assert process.status == 0, (name, process.status, running.said())
    try:
        yield
    finally:
        process.start()
    if name in running.ports:
        await running.ready(name)


async def watches_of(running: Town, going: Trade) -> list[Watch]:
    """Both kinds of feed of each shop."""
    owners = await running.tokens([stall.shop.owner for stall in going.stalls])
    found: list[Watch] = []
    for number, stall in enumerate(going.stalls):
        ids = [str(id) for id in stall.listings]
        found.append(StockWatch(running.client(None), STOCK, {"id": str(stall.shop.store_id), "listings": ids}))
        found.append(OrdersWatch(running.client(owners[number]), STORE_ORDERS, {"id": str(stall.shop.store_id)}))
    return found


async def are_at(engine: AsyncEngine, watches: list[Watch]) -> dict[Watch, dict[str, int]]:
    return {
        watch: await (levels_of if isinstance(watch, StockWatch) else orders_of)(engine, watch.variables["id"]) for watch in watches
    }


async def a_light_trade(running: Town, engine: AsyncEngine) -> Trade:
    return await trade(running, engine, shops=2, customers=3, seed=5, servers=SERVERS)


def went_well(going: Trade, *watches: Watch) -> None:
    assert going.failed == {}
    assert going.answers["placeOrder"]["ok"] > 0
    assert [fault for watch in watches for fault in watch.faults] == []


@asynccontextmanager
async def till_of(running: Town, engine: AsyncEngine, provider: str, of: Shop | None = None) -> AsyncIterator[Partner]:
    async with httpx2.AsyncClient(base_url=running.url("intake"), timeout=30) as client:
        yield await partner(engine, provider, "OUT-1", of, seals=AesSeals([SEALING]), client=client)


async def applied(till: Partner) -> float:
    async def all_of_it() -> bool:
        return set(await till.payloads()) == {"APPLIED"}

    return await until(all_of_it, BACK_WITHIN_S)


OFF = {"restID": "OUT-1", "type": "item", "inStock": False, "itemID": ["1"]}


async def test_without_those_who_carry_out_the_doors_take_everything_and_it_is_done_later(running: Town, own_engine: AsyncEngine):
    going = await a_light_trade(running, own_engine)
    warehouse = await shop(own_engine)
    skus = [f"SKU-{id}" for id in await listings(own_engine, warehouse, [5] * 3)]
    async with till_of(running, own_engine, "petpooja") as till, till_of(running, own_engine, "wms", warehouse) as wms:
        await till.post("webhooks/menu", menu("OUT-1", dish("1"), dish("2")))
        await applied(till)
        async with going.going_on():
            async with without(running, "instructions"):
                answers = [await till.post("webhooks/inventory", OFF)]
                for version in range(1, 21):
                    lines = [(sku, 700 + version, version) for sku in skus]
                    answers.append(await wms.post("webhooks/stock", snapshot("OUT-1", *lines)))
                assert Counter(answer.status_code for answer in answers) == {200: 21}
                assert not (await till.level("1")).off
            done_s = await applied(till) + await applied(wms)
        assert ((await till.level("1")).off, (await till.level("2")).off) == (True, False)
        assert [(await wms.level(sku)).on_hand for sku in skus] == [720] * 3
    show("a part stopped", without="instructions", webhooks=len(answers), answers=going.answers, applied_after_s=round(done_s, 2))
    went_well(going)


async def test_without_the_relay_changes_go_on_and_feeds_catch_up_when_it_is_back(running: Town, own_engine: AsyncEngine):
    going = await a_light_trade(running, own_engine)
    watches = await watches_of(running, going)
    async with following(watches):
        async with going.going_on(), without(running, "relay"):
            told = [dict(watch.versions) for watch in watches]
            ordered = going.answers.get("placeOrder", Counter())["ok"]
            await until(lambda: is_true(going.answers.get("placeOrder", Counter())["ok"] >= ordered + 5), BACK_WITHIN_S)
            now = await are_at(own_engine, watches)
            assert any(watch.behind(now[watch]) for watch in watches), told
        now = await are_at(own_engine, watches)
        behind_s = await caught_up(now, CATCH_UP_S)
    show("a part stopped", without="relay", answers=going.answers, caught_up_after_s=round(behind_s, 2))
    went_well(going, *watches)


async def is_true(value: object) -> bool:
    return bool(value)


async def test_without_the_clock_quoting_goes_on_and_what_has_ended_is_given_back_later(running: Town, own_engine: AsyncEngine):
    going = await a_light_trade(running, own_engine)
    buyer = await running.api(await account(own_engine))
    tea = going.stalls[0].listings[0]
    h, level = t.stock_hold.c, t.stock_level.c

    async def held() -> int:
        async with own_engine.connect() as connection:
            return (await connection.execute(select(level.held).where(level.listing_id == tea))).scalar_one()

    async with without(running, "clock"):
        await buyer.ask(FILL, l=[{"listingId": str(tea), "quantity": 7}])
        quote = (await buyer.ask(QUOTE))["quoteCart"]["id"]
        async with own_engine.begin() as connection:
            past = func.clock_timestamp() - timedelta(seconds=1)
            await connection.execute(update(t.stock_hold).where(h.quote_id == quote).values(expires_at=past))
            await connection.execute(update(t.quote).where(t.quote.c.id == quote).values(expires_at=past))
        async with going.going_on():
            await until(lambda: is_true(going.answers.get("placeOrder", Counter())["ok"] >= 3), BACK_WITHIN_S)
    released_s = await until(lambda: is_free(held), BACK_WITHIN_S)
    show("a part stopped", without="deadlines, dispatch", answers=going.answers, released_after_s=round(released_s, 2))
    went_well(going)


async def is_free(held) -> bool:
    return await held() == 0


async def test_the_apps_and_the_intake_do_not_need_each_other(running: Town, own_engine: AsyncEngine):
    going = await a_light_trade(running, own_engine)
    async with without(running, "intake"), going.going_on():
        await until(lambda: is_true(going.answers.get("placeOrder", Counter())["ok"] >= 3), BACK_WITHIN_S)
    async with till_of(running, own_engine, "petpooja") as till:
        async with without(running, "server"):
            assert (await till.post("webhooks/menu", menu("OUT-1", dish("1")))).status_code == 200
            await applied(till)
        at_apps = await till.client.post(f"{running.url('intake')}/graphql", json={"query": "{ viewer { id } }"})
        assert at_apps.status_code == 404
    show("a part stopped", without="intake", answers=going.answers)
    went_well(going)


async def test_without_redis_people_browse_and_order_and_feeds_go_on_behind(
    running: Town, own_engine: AsyncEngine, own_redis: Redis
):
    going = await a_light_trade(running, own_engine)
    watches = await watches_of(running, going)
    async with following(watches), till_of(running, own_engine, "petpooja") as till:
        async with going.going_on():
            own_redis.kill()
            before = {watch: watch.frames for watch in watches}
            assert (await till.post("webhooks/menu", menu("OUT-1", dish("1")))).status_code == 200
            ready = [(await till.client.get(f"{running.url(name)}/readyz")).status_code for name in running.ports]
            assert set(ready) == {200}
            await applied(till)
            await until(lambda: is_true(all(w.frames > before[w] + 1 and w.degraded for w in watches)), BACK_WITHIN_S)
            went_well(going, *watches)
            slowest_s = going.slowest_s
            own_redis.start()
            # And as quick as ever: a frame that is not behind.
            prompt = {watch: watch.frames - watch.degraded for watch in watches}
            await until(lambda: is_true(all(w.frames - w.degraded > prompt[w] for w in watches)), BACK_WITHIN_S)
        behind_s = await caught_up(await are_at(own_engine, watches), CATCH_UP_S)
    counts = {"answers": going.answers, "slowest_answer_s": round(slowest_s, 2), "caught_up_after_s": round(behind_s, 2)}
    show("a part stopped", without="redis", **counts)
    went_well(going, *watches)


@pytest.mark.parametrize("how", ["stopped", "killed"])
async def test_without_postgresql_everybody_says_so_at_once_and_all_comes_back_alone(
    running: Town, own_engine: AsyncEngine, own_postgres: Postgres, how: str
):
    going = await a_light_trade(running, own_engine)
    watches = await watches_of(running, going)
    pids = {name: process.pid for name, process in running.processes.items()}
    stall = going.stalls[0]
    buyer = await running.api(await account(own_engine))
    seller = await running.api(stall.shop.owner)
    async with following(watches), till_of(running, own_engine, "petpooja") as till:
        assert (await till.post("webhooks/menu", menu("OUT-1", dish("1")))).status_code == 200
        await applied(till)
        async with going.going_on():
            await until(lambda: is_true(going.answers.get("placeOrder", Counter())["ok"] >= 2), BACK_WITHIN_S)
            await asyncio.to_thread(own_postgres.stop if how == "stopped" else own_postgres.kill)
            clock, slowest_s = time.monotonic, 0.0
            for _ in range(3):
                for asking in (
                    buyer.ask(BROWSE, id=str(stall.shop.store_id)),
                    buyer.ask(FILL, l=[{"listingId": str(stall.listings[0]), "quantity": 1}]),
                    buyer.ask(QUOTE),
                    seller.ask(SET, id=str(stall.listings[0]), units=500),
                ):
                    began = clock()
                    with pytest.raises(Errors) as no:
                        await asking
                    assert set(no.value.codes) == {"UNAVAILABLE"}, no.value
                    slowest_s = max(slowest_s, clock() - began)
                began = clock()
                answer = await till.post("webhooks/inventory", OFF)
                assert (answer.status_code, answer.headers["retry-after"]) == (503, "5"), answer.text
                slowest_s = max(slowest_s, clock() - began)
                for name in running.ports:
                    ready = await till.client.get(f"{running.url(name)}/readyz")
                    alive = await till.client.get(f"{running.url(name)}/livez")
                    assert (ready.status_code, alive.status_code) == (503, 200), (name, ready.text)
            assert slowest_s < SOON_S
            own_postgres.start()
            await running.ready()
            answered = going.answers["placeOrder"]["ok"]
            await until(lambda: is_true(going.answers["placeOrder"]["ok"] >= answered + 3), BACK_WITHIN_S)
        assert (await till.post("webhooks/inventory", OFF)).status_code == 200
        back_s = await applied(till)
        assert (await till.level("1")).off
        behind_s = await caught_up(await are_at(own_engine, watches), CATCH_UP_S)
    counts = {
        "how": how,
        "answers": going.answers,
        "slowest_no_s": round(slowest_s, 2),
        "slowest_answer_s": round(going.slowest_s, 2),
    }
    show("a part stopped", without="postgresql", **counts, feeds_after_s=round(behind_s, 2), intake_after_s=round(back_s, 2))
    assert {what.split()[-1] for what in going.failed} == {"UNAVAILABLE"}
    assert going.slowest_s < 2 * SOON_S
    assert [fault for watch in watches for fault in watch.faults] == []
    assert {name: process.pid for name, process in running.processes.items() if process.alive} == pids
