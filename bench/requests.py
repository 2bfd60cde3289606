"""The rows of what is asked and answered: a page, a provider's call, an order."""

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from bench.rows import Asked, Line, Ratio, Row, both, in_turns, median
from bench.seed import LOCATION, PRODUCTS, Customer, add_customers, add_sources, fill_shelves, throw_away_instructions
from bench.stage import carry_out

CONCURRENCY = 16
ORDERS_PER_S = 100  # customers are made for so many: past that a round ends early, and its rate is right all the same
ORDER_LINES = 2
ORDERS_S = 2.0  # of a round at the least: with 16 who buy at once an order takes half a second, and more on a busy machine
SOURCES, LINES, BODY_BYTES = 50, 3, 2048
PLANNED_PER_S, PACED_CONNECTIONS = 500, 64
EMPTIED_WITHIN_S = 300
PATIENCE_S = 8.0  # of a round of Vendure, where a page may take seconds
FILLED_WITHIN_S = 600


async def page(asked: Asked) -> Row:
    job = {"job": "http", "seconds": asked.seconds, "concurrency": CONCURRENCY, "store": str(asked.shop.store_id)}
    async with both(asked) as (ours, raw), asked.stage.workers("relay"), vendure(asked) as theirs:
        jobs = [
            lambda _: carry_out(**job, port=ours, calls="page"),
            lambda _: carry_out(**job, port=ours, calls="same page"),
            lambda _: carry_out(**job, port=raw, calls="raw page"),
            lambda _: carry_out(**job, port=raw, calls="ok", path="/readyz"),
        ]
        if theirs is not None:
            patient = {**job, "seconds": max(asked.seconds, PATIENCE_S)}
            jobs.append(lambda _: carry_out(**patient, port=theirs, calls="vendure page", products=PRODUCTS))
        cold, again, two, ok, *peer = await in_turns(*jobs)
    return Row(
        "page",
        (
            Line("20 products with variants and stock, GraphQL", median(cold), "req/s"),
            Line("… p50 at 16 connections", median(cold, "p50_ms"), "ms"),
            Line("… p99", median(cold, "p99_ms"), "ms"),
            Line("the same page, asked again and again", median(again), "req/s"),
            Line("raw: two asyncpg queries and JSON", median(two), "req/s"),
            Line("raw: a plain ok", median(ok), "req/s"),
            *(Line("Vendure: 20 products with variants and stock", median(rounds), "req/s") for rounds in peer),
        ),
        (
            Ratio("of two queries and JSON", median(cold) / median(two), 0.25, 0.05),
            Ratio("asked again, of a plain ok", median(again) / median(ok), 0.5, 0.02),
            *(Ratio("of Vendure", median(cold) / median(rounds), 40, 2) for rounds in peer),
        ),
    )


@asynccontextmanager
async def vendure(asked: Asked) -> AsyncIterator[int | None]:
    """Its port, once it has as many products as our shop, on a database of its own in the same PostgreSQL. None without peers."""
    if not asked.peers:
        yield None
        return
    postgres = asked.stage.postgres
    await asyncio.to_thread(postgres.run, "CREATE DATABASE vendure")
    url = postgres.url("vendure", "postgresql")
    try:
        async with asked.stage.peer("vendure", url, str(PRODUCTS), within_s=FILLED_WITHIN_S) as port:
            await asyncio.to_thread(postgres.run, "VACUUM ANALYZE", "vendure")
            yield port
    finally:
        await asyncio.to_thread(postgres.run, "DROP DATABASE vendure WITH (FORCE)")


async def intake(asked: Asked) -> Row:
    """The raw line has the machine to itself: it begins when workers have carried out what was kept before it."""
    sources = await add_sources(asked.engine, asked.stage.settings, asked.shop, SOURCES)
    job = {
        "seconds": asked.seconds,
        "sources": sources,
        "skus": list(asked.shop.skus),
        "location": LOCATION,
        "lines": LINES,
        "bytes": BODY_BYTES,
    }
    async with both(asked) as (ours, raw), asked.stage.workers("relay,instructions"):
        wide = {**job, "job": "http", "concurrency": CONCURRENCY}
        even = {**job, "job": "paced", "concurrency": PACED_CONNECTIONS, "rate": PLANNED_PER_S}

        async def told(**what: Any) -> dict[str, Any]:
            said = await carry_out(**what, port=ours, calls="webhook")
            return {**said, "emptied_s": await emptied(asked.engine)}

        kept, inserted, planned = await in_turns(
            lambda _: told(**wide), lambda _: carry_out(**wide, port=raw, calls="raw insert"), lambda _: told(**even)
        )
    await throw_away_instructions(asked.engine)
    return Row(
        "intake",
        (
            Line(
                f"signed webhooks of {BODY_BYTES} bytes from {SOURCES} sources, each on disk before its answer",
                median(kept),
                "req/s",
            ),
            Line("… p99 at 16 connections", median(kept, "p99_ms"), "ms"),
            Line("… until all of them were carried out, from the last answer on", median(kept, "emptied_s"), "s"),
            Line("raw: one insert of the same bytes", median(inserted), "req/s"),
            *_busy(kept),
            Line(f"of {PLANNED_PER_S} planned a second, kept", median(planned), "req/s"),
            Line("… p50 from the planned moment", median(planned, "p50_ms"), "ms"),
            Line("… p99", median(planned, "p99_ms"), "ms"),
            Line("… until all of them were carried out", median(planned, "emptied_s"), "s"),
            *_busy(planned),
        ),
        (
            Ratio("of the raw insert, with workers beside it", median(kept) / median(inserted), 0.5, 0.05),
            Ratio("queue empty after the end, of 10 s", median(planned, "emptied_s") / 10, 1, 6),
        ),
    )


def _busy(rounds: Sequence[dict[str, Any]]) -> list[Line]:
    """Only where there were any: who is told to come later has lost nothing, and is not counted as kept."""
    refused = sum(one["busy"] for one in rounds)
    return [Line("… of all rounds, refused for now", refused, "")] if refused else []


async def emptied(engine: AsyncEngine) -> float:
    """Seconds until nothing waits any more. Raises TimeoutError."""
    began = time.monotonic()
    waiting = text("SELECT EXISTS (SELECT 1 FROM instruction WHERE state = 'WAITING')")
    async with asyncio.timeout(EMPTIED_WITHIN_S), engine.connect() as connection:
        while (await connection.execute(waiting)).scalar_one():
            await connection.rollback()
            await asyncio.sleep(0.02)
    return time.monotonic() - began


async def orders(asked: Asked) -> Row:
    shop, hot = asked.shop, [asked.shop.listings[0]]
    seconds = max(asked.seconds, ORDERS_S)
    supply = int(ORDERS_PER_S * seconds * 1.2) + 100
    await fill_shelves(asked.engine, shop.listings)  # the sources of the rows before count few hundred of each

    async def ours(listings: Sequence[UUID], lines: int, *, fill: bool) -> dict[str, Any]:
        customers = await add_customers(asked.engine, asked.stage.settings, supply, listings, lines)
        told = [{"token": one.token, "lines": [str(id) for id in one.lines]} for one in customers]
        return await carry_out(
            job="http", port=port, calls="order", seconds=seconds, concurrency=CONCURRENCY, customers=told, fill=fill
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
