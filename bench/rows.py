"""The rows of the table: each measures ours and its raw line in turns, so that both meet the same minute of the machine."""

import asyncio
import csv
import random
import statistics
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import asyncpg
import psutil
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from bench.seed import LOCATION, Customer, Shop, add_customers, add_shop, add_sources, throw_away_instructions
from bench.stage import Stage, carry_out, load
from bench.wire import Http
from db.ids import new_id
from domain.counting import Count, apply_counts
from domain.intake import Inbound
from launch.problem import Problem
from wiring import INBOUNDS, Wiring, wire
from workers.imports import import_catalogue

ROUNDS = 3
CONCURRENCY = 16
ORDERS_PER_S = 400  # customers are made for so many: past that a round ends early, and its rate is right all the same
ORDER_LINES = 2
SOURCES = 8
IMPORTED = 13_778
EVENTS_PER_S = 500
COUNTED_AT_ONCE = 10
WATCHERS, WATCHED, HOT = 100, 10, 200
STOCK = """subscription($store: ID!, $ids: [ID!]) { stock(storeId: $store, listingIds: $ids) {
  cursor reset degraded levels { listingId state available version asOf } } }"""


@dataclass(frozen=True)
class Asked:
    stage: Stage
    engine: AsyncEngine
    shop: Shop
    seconds: float
    sockets: int


@dataclass(frozen=True)
class Line:
    what: str
    value: float
    unit: str


@dataclass(frozen=True)
class Ratio:
    """`goal` is where we mean to be, `at_least` what --check asserts on any machine, however busy."""

    what: str
    value: float
    goal: float
    at_least: float


@dataclass(frozen=True)
class Row:
    name: str
    lines: Sequence[Line]
    ratios: Sequence[Ratio] = ()
    wrong: str = ""  # why it could not be measured


def median(rounds: Sequence[Mapping[str, float]], name: str = "per_s") -> float:
    return statistics.median(one[name] for one in rounds)


async def in_turns(*jobs: Callable[[int], Awaitable[dict[str, Any]]]) -> list[list[dict[str, Any]]]:
    """What each said in each of its rounds."""
    said: list[list[dict[str, Any]]] = [[] for _ in jobs]
    for number in range(ROUNDS):
        for place, job in enumerate(jobs):
            said[place].append(await job(number))
    return said


@asynccontextmanager
async def both(asked: Asked) -> AsyncIterator[tuple[int, int]]:
    """The server's port and the bare one's."""
    async with asked.stage.server() as ours, asked.stage.bare() as raw:
        yield ours, raw


# ---------------------------------------------------------------- requests


async def page(asked: Asked) -> Row:
    job = {"job": "http", "seconds": asked.seconds, "concurrency": CONCURRENCY, "store": str(asked.shop.store_id)}
    async with both(asked) as (ours, raw):
        cold, again, two, ok = await in_turns(
            lambda _: carry_out(**job, port=ours, calls="page", cold=True),
            lambda _: carry_out(**job, port=ours, calls="page", cold=False),
            lambda _: carry_out(**job, port=raw, calls="raw page"),
            lambda _: carry_out(**job, port=raw, calls="ok", path="/readyz"),
        )
    return Row(
        "page",
        (
            Line("20 products with variants and stock, GraphQL", median(cold), "req/s"),
            Line("… p50 at 16 connections", median(cold, "p50_ms"), "ms"),
            Line("… p99", median(cold, "p99_ms"), "ms"),
            Line("the same page, asked again and again", median(again), "req/s"),
            Line("raw: two asyncpg queries and JSON", median(two), "req/s"),
            Line("raw: a plain ok", median(ok), "req/s"),
        ),
        (Ratio("of two queries and JSON", median(cold) / median(two), 0.25, 0.05),),
    )


async def intake(asked: Asked) -> Row:
    sources = await add_sources(asked.engine, asked.stage.settings, asked.shop, SOURCES)
    job = {
        "job": "http",
        "seconds": asked.seconds,
        "concurrency": CONCURRENCY,
        "sources": sources,
        "skus": asked.shop.skus[:3],
        "location": LOCATION,
    }
    async with both(asked) as (ours, raw):
        kept, inserted = await in_turns(
            lambda _: carry_out(**job, port=ours, calls="webhook"), lambda _: carry_out(**job, port=raw, calls="raw insert")
        )
    await throw_away_instructions(asked.engine)
    return Row(
        "intake",
        (
            Line("signed webhooks, each on disk before its answer", median(kept), "req/s"),
            Line("… p99 at 16 connections", median(kept, "p99_ms"), "ms"),
            Line("raw: one insert of the same bytes", median(inserted), "req/s"),
        ),
        (Ratio("of the raw insert", median(kept) / median(inserted), 0.5, 0.1),),
    )


async def orders(asked: Asked) -> Row:
    shop, hot = asked.shop, [asked.shop.listings[0]]
    supply = int(ORDERS_PER_S * asked.seconds * 1.2) + 100

    async def ours(listings: Sequence[UUID], lines: int, *, fill: bool) -> dict[str, Any]:
        customers = await add_customers(asked.engine, asked.stage.settings, supply, listings, lines)
        told = [{"token": one.token, "lines": [str(id) for id in one.lines]} for one in customers]
        return await carry_out(
            job="http", port=port, calls="order", seconds=asked.seconds, concurrency=CONCURRENCY, customers=told, fill=fill
        )

    buyers: list[Customer] = await add_customers(asked.engine, asked.stage.settings, 500, shop.listings, ORDER_LINES)

    async def raw(listings: Sequence[UUID], lines: int) -> dict[str, Any]:
        return await carry_out(
            job="sql",
            url=asked.stage.database_url,
            seconds=asked.seconds,
            concurrency=CONCURRENCY,
            merchant=str(shop.merchant_id),
            store=str(shop.store_id),
            customers=[str(one.id) for one in buyers],
            listings=[str(id) for id in listings],
            lines=lines,
        )

    async with asked.stage.server() as port:
        spread, one_line, one_row, whole, spread_raw, hot_raw = await in_turns(
            lambda _: ours(shop.listings, ORDER_LINES, fill=False),
            lambda _: ours(shop.listings, 1, fill=False),
            lambda _: ours(hot, 1, fill=False),
            lambda _: ours(shop.listings, ORDER_LINES, fill=True),
            lambda _: raw(shop.listings, ORDER_LINES),
            lambda _: raw(hot, 1),
        )
    return Row(
        "orders",
        (
            Line("quote and place, two lines each", median(spread), "orders/s"),
            Line("… p99 of both calls", median(spread, "p99_ms"), "ms"),
            Line("with filling the cart before", median(whole), "orders/s"),
            Line("quote and place, one line each", median(one_line), "orders/s"),
            Line("… all of one listing", median(one_row), "orders/s"),
            Line("raw: the same rows in one SQL transaction", median(spread_raw), "orders/s"),
            Line("raw: … all of one listing", median(hot_raw), "orders/s"),
        ),
        (
            Ratio("of the SQL transaction", median(spread) / median(spread_raw), 0.1, 0.02),
            Ratio("one hot row, of the spread-out rate", median(one_row) / median(one_line), 0.5, 0.2),
        ),
    )


# ---------------------------------------------------------------- live


class Counting:
    """Counts shelves, as a warehouse would: one transaction, one event a listing."""

    def __init__(self, wiring: Wiring) -> None:
        self._wiring = wiring
        self._told = 0

    async def count(self, listing_ids: Sequence[UUID]) -> float:
        """The moment right before its commit."""
        self._told += 1
        async with self._wiring.unit_of_work() as uow:
            now = await uow.now()
            await apply_counts([Count(id, 1_000 + self._told, now, "bench", "bench") for id in listing_ids], uow)
            return time.monotonic()


async def fanout(asked: Asked) -> Row:
    hot = asked.shop.listings[0]
    subscribe = {"query": STOCK, "variables": {"store": str(asked.shop.store_id), "ids": [str(hot)]}}
    job = {"job": "sockets", "sockets": asked.sockets, "seconds": asked.seconds * ROUNDS + 60}
    async with AsyncExitStack() as open_things:
        ours, raw = await open_things.enter_async_context(both(asked))
        wiring = await open_things.enter_async_context(wire(asked.stage.settings))
        await open_things.enter_async_context(asked.stage.workers("relay"))
        subscribed = await open_things.enter_async_context(load({**job, "port": ours, "path": "/graphql", "subscribe": subscribe}))
        await subscribed.said(120)
        joined = await open_things.enter_async_context(load({**job, "port": raw, "path": "/join"}))
        await joined.said(120)
        counting, http, text = Counting(wiring), await Http.connect(raw), b"{}"

        async def live() -> dict[str, float]:
            nonlocal text
            committed = await counting.count([hot])
            said = await subscribed.said()
            text = said["text"].encode()
            return _burst(said, committed, asked.sockets)

        async def bare() -> dict[str, float]:
            started = time.monotonic()
            await http.ask("/tell", text)
            return _burst(await joined.said(), started, asked.sockets)

        await live(), await bare()  # the first of each is the slowest
        ours_said: list[dict[str, float]] = []
        raw_said: list[dict[str, float]] = []
        until = time.monotonic() + asked.seconds * ROUNDS
        while time.monotonic() < until:
            ours_said.append(await live())
            raw_said.append(await bare())
        http.close()
    return Row(
        "fan-out",
        (
            Line(f"one event to {asked.sockets:,} subscriptions", median(ours_said), "deliveries/s"),
            Line("… commit to the last of them", median(ours_said, "last_ms"), "ms"),
            Line(f"raw: the same {len(text)} bytes to {asked.sockets:,} sockets", median(raw_said), "deliveries/s"),
            Line("… call to the last of them", median(raw_said, "last_ms"), "ms"),
        ),
        (Ratio("of the raw sends", median(ours_said) / median(raw_said), 0.75, 0.05),),
    )


def _burst(said: Mapping[str, Any], begun: float, sockets: int) -> dict[str, float]:
    """From the first delivery to the last: what comes before is the commit's and the relay's, and a line of its own."""
    return {"per_s": sockets / max(said["last"] - said["first"], 1e-6), "last_ms": (said["last"] - begun) * 1000}


async def memory(asked: Asked) -> Row:
    ids = [str(id) for id in asked.shop.listings[:WATCHED]]
    subscribe = {"query": STOCK, "variables": {"store": str(asked.shop.store_id), "ids": ids}}
    async with both(asked) as (ours, raw):
        subscribed = await _kib_each(asked, "server", {"port": ours, "path": "/graphql", "subscribe": subscribe})
        joined = await _kib_each(asked, "bare", {"port": raw, "path": "/join"})
    return Row(
        "memory",
        (
            Line(f"of an idle subscription to {WATCHED} listings", subscribed, "KiB"),
            Line("raw: of an idle socket", joined, "KiB"),
        ),
        (Ratio("of 35 KiB, less is better", subscribed / 35, 1, 6),),
    )


async def _kib_each(asked: Asked, name: str, more: Mapping[str, Any]) -> float:
    process = psutil.Process(asked.stage.processes[name].pid)
    job = {"job": "sockets", "seconds": 60, **more}
    async with load({**job, "sockets": 100}) as first:  # what is made once is not any one's
        await first.said(60)
        before = process.memory_info().rss
        async with load({**job, "sockets": asked.sockets}) as rest:
            await rest.said(120)
            return (process.memory_info().rss - before) / 1024 / asked.sockets


async def latency(asked: Asked) -> Row:
    hot = asked.shop.listings[:HOT]
    chance = random.Random(5)
    job = {
        "job": "watch",
        "path": "/graphql",
        "seconds": asked.seconds * ROUNDS + 4,
        "store": str(asked.shop.store_id),
        "query": STOCK,
        "watched": [[str(id) for id in chance.sample(hot, WATCHED)] for _ in range(WATCHERS)],
    }
    async with (
        asked.stage.server() as port,
        wire(asked.stage.settings) as wiring,
        asked.stage.workers("relay"),
        load({**job, "port": port}) as watching,
    ):
        await watching.said()
        committed, rate = await _count_steadily(wiring, asked, hot)
        came = (await watching.said(asked.seconds * ROUNDS + 30))["came"]
    took = sorted((at - begun) * 1000 for id, version, at in came if (begun := committed.get((UUID(id), version))))
    if not took:
        raise RuntimeError("nothing came")
    return Row(
        "latency",
        (
            Line(f"events committed, of {EVENTS_PER_S} meant", rate, "events/s"),
            Line(f"deliveries to {WATCHERS} subscriptions", len(took) / (asked.seconds * ROUNDS), "deliveries/s"),
            Line("commit to client, p50", took[len(took) // 2], "ms"),
            Line("… p99", took[len(took) * 99 // 100], "ms"),
        ),
        (Ratio("p99 of 150 ms, less is better", took[len(took) * 99 // 100] / 150, 1, 20),),
    )


async def _count_steadily(wiring: Wiring, asked: Asked, hot: Sequence[UUID]) -> tuple[dict[tuple[UUID, int], float], float]:
    """When each version of each listing was committed, and how many a second there were."""
    counting, every = Counting(wiring), COUNTED_AT_ONCE / EVENTS_PER_S
    committed: dict[tuple[UUID, int], float] = {}
    async with asked.engine.connect() as connection:
        rows = await connection.exec_driver_sql("SELECT listing_id, version FROM stock_level")
        versions = {row.listing_id: row.version for row in rows}
    started = time.monotonic()
    until, turn = started + asked.seconds * ROUNDS, 0
    while (now := time.monotonic()) < until:
        ids = [hot[(turn * COUNTED_AT_ONCE + place) % len(hot)] for place in range(COUNTED_AT_ONCE)]
        at = await counting.count(ids)
        for id in ids:
            versions[id] += 1
            committed[id, versions[id]] = at
        turn += 1
        await asyncio.sleep(max(0.0, started + turn * every - time.monotonic()))
    return committed, len(committed) / (now - started)


# ---------------------------------------------------------------- a file


async def imported(asked: Asked) -> Row:
    shop = await add_shop(asked.engine, products=1)
    path = asked.stage.log.parent / "catalogue.csv"
    write_catalogue(path, IMPORTED)
    inbound: Inbound = INBOUNDS["catalogue_file"]
    async with wire(asked.stage.settings) as wiring:
        report = await import_catalogue(path, shop.slug, 100, unit_of_work=wiring.unit_of_work, reads=wiring.reads, inbound=inbound)
    if report.refused or report.wrong or report.rows != IMPORTED:
        raise RuntimeError(f"{report.rows} rows, {report.refused[:3]} {report.wrong[:3]}")
    raw = await _copied(asked, shop)
    return Row(
        "import",
        (
            Line(f"a catalogue file of {IMPORTED:,} rows, with stock", report.rows / report.seconds, "rows/s"),
            Line("… in all", report.seconds, "s"),
            Line("raw: COPY into the same four tables", raw, "rows/s"),
        ),
        (Ratio("of COPY", report.rows / report.seconds / raw, 0.1, 0.005),),
    )


def write_catalogue(path: Path, rows: int) -> None:
    chance = random.Random(3)
    with path.open("w", newline="", encoding="utf-8") as file:
        out = csv.writer(file)
        out.writerow(["index", "product", "category", "sub_category", "brand", "sale_price", "market_price", "type", "rating"])
        for number in range(1, rows + 1):
            price = chance.randrange(10, 2_000)
            aisle, name = chance.randrange(11), f"Good {number}, {chance.randrange(1, 9) * 50} g"
            place = (f"Aisle {aisle}", f"Shelf {aisle}-{chance.randrange(8)}", f"Brand {chance.randrange(300)}")
            out.writerow([number, name, *place, price, price + chance.randrange(50), f"Kind {chance.randrange(40)}", "4.1"])


async def _copied(asked: Asked, shop: Shop) -> float:
    """Rows a second of the quickest way in that there is."""
    ids, now = [new_id() for _ in range(IMPORTED)], datetime.now(UTC)
    tables = {
        "product": (("id", "merchant_id", "name"), [(id, shop.merchant_id, f"Good {id}") for id in ids]),
        "variant": (("id", "merchant_id", "product_id", "sku"), [(id, shop.merchant_id, id, f"RAW-{id}") for id in ids]),
        "listing": (
            ("id", "merchant_id", "store_id", "product_id", "variant_id", "name", "price_minor", "updated_at"),
            [(id, shop.merchant_id, shop.store_id, id, id, f"Good {id}", 5_000, now) for id in ids],
        ),
        "stock_level": (
            ("listing_id", "merchant_id", "store_id", "on_hand"),
            [(id, shop.merchant_id, shop.store_id, 100) for id in ids],
        ),
    }
    connection = await asyncpg.connect(asked.stage.database_url.replace("postgresql+asyncpg", "postgresql"))
    try:
        started = time.monotonic()
        async with connection.transaction():
            for name, (columns, records) in tables.items():
                await connection.copy_records_to_table(name, columns=columns, records=records)
        return IMPORTED / (time.monotonic() - started)
    finally:
        await connection.close()


ROWS: Mapping[str, Callable[[Asked], Awaitable[Row]]] = {
    "page": page,
    "intake": intake,
    "orders": orders,
    "fan-out": fanout,
    "memory": memory,
    "latency": latency,
    "import": imported,
}


async def measure(stage: Stage, names: Sequence[str], seconds: float, sockets: int, tell: Callable[[Row], None]) -> list[Row]:
    """Row after row; each is told as soon as it is there."""
    engine = create_async_engine(stage.database_url)
    try:
        shop = await add_shop(engine)
        rows = []
        for name in names:
            try:
                row = await ROWS[name](Asked(stage, engine, shop, seconds, sockets))
            except (Problem, RuntimeError, TimeoutError) as error:  # the others are worth to know all the same
                row = Row(name, (), wrong=f"{str(error) or type(error).__name__}\n{stage.last_words()}")
            tell(row)
            rows.append(row)
        return rows
    finally:
        await engine.dispose()
