"""An order as one SQL transaction: the rows that quoting and placing leave behind, and nothing of ours on the way."""

import asyncio
import json
import random
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import asyncpg

from db.ids import new_id, new_number

LOCK = "SELECT listing_id FROM stock_level WHERE listing_id = ANY($1::uuid[]) ORDER BY listing_id FOR UPDATE"
TAKE = """UPDATE stock_level SET allocated = allocated + 1, version = version + 2, as_of = clock_timestamp()
WHERE listing_id = ANY($1::uuid[]) AND on_hand - held - allocated - buffer >= 1 RETURNING listing_id"""
MOVED = """INSERT INTO stock_movement (id, listing_id, merchant_id, kind, held_delta, allocated_delta, cause, order_id)
SELECT id, listing_id, $3, kind, held, allocated, 'bench', $4 FROM unnest($1::uuid[], $2::uuid[], $5::text[], $6::int[], $7::int[])
AS one(id, listing_id, kind, held, allocated)"""
QUOTE = """INSERT INTO quote
  (id, customer_id, parts, charges, total_minor, fulfilment, address, held, expires_at, ended_at, purchase_id)
VALUES ($1, $2, $3::jsonb, $4::jsonb, $5, 'DELIVERY', $6::jsonb, $7::jsonb, $8, $9, $10)"""
CLAIM = "INSERT INTO idempotency (actor_id, operation, key, request_hash, result_id) VALUES ($1, 'placeOrder', $2, $3, $4)"
PURCHASE = "INSERT INTO purchase (id, number, quote_id, customer_id, total_minor) VALUES ($1, $2, $3, $4, $5)"
ORDER = """INSERT INTO orders
  (id, number, purchase_id, merchant_id, store_id, customer_id, status, fulfilment, total_minor, charges, customer_name,
  address, handover_code, placed_at, accept_by)
VALUES ($1, $2, $3, $4, $5, $6, 'PLACED', 'DELIVERY', $7, $8::jsonb, 'Riya', $9::jsonb, '1234', $10, $11)"""
LINES = """INSERT INTO order_line (id, order_id, listing_id, variant_id, name, sku, quantity, unit_price_minor, total_minor, rank)
SELECT one.id, $2, l.id, l.variant_id, l.name, v.sku, 1, l.price_minor, l.price_minor, one.rank
FROM unnest($1::uuid[], $3::uuid[]) WITH ORDINALITY AS one(id, listing_id, rank)
JOIN listing l ON l.id = one.listing_id JOIN variant v ON v.id = l.variant_id"""
PAYMENT = "INSERT INTO payment (id, purchase_id, method, status, amount_minor) VALUES ($1, $2, 'CASH_ON_DELIVERY', 'CASH_DUE', $3)"
ALLOCATED = (
    "INSERT INTO stock_allocation (order_id, listing_id, units) SELECT $1, listing_id, 1 FROM unnest($2::uuid[]) AS one(listing_id)"
)
EMPTIED = "DELETE FROM cart_line WHERE cart_id = (SELECT id FROM cart WHERE customer_id = $1) AND listing_id = ANY($2::uuid[])"
TOLD = """INSERT INTO event (topic, kind, stream, entity_id, seq, body, concerns, caused_by)
SELECT 'bench', 'Bench', 'bench', id, 1, $2::jsonb, $3::uuid[], 'bench' FROM unnest($1::uuid[]) AS one(id)"""
DOCUMENT = json.dumps({"at": "2026-01-01T00:00:00Z", "what": "x" * 240})


async def run(job: dict[str, Any], still: Callable[[], bool], done: Callable[[float], None]) -> None:
    """On so many connections, until `still` says no."""
    url = job["url"].replace("postgresql+asyncpg", "postgresql")
    connections = [await asyncpg.connect(url) for _ in range(job["concurrency"])]

    async def work(connection: asyncpg.Connection, customers: list[str]) -> None:
        chance = random.Random(customers[0])
        while still():
            started = time.perf_counter()
            lines = sorted(UUID(id) for id in chance.sample(job["listings"], job["lines"]))
            await order(connection, job, UUID(chance.choice(customers)), lines)
            done(started)

    try:
        some = [job["customers"][place :: len(connections)] for place in range(len(connections))]
        await asyncio.gather(*map(work, connections, some))
    finally:
        for connection in connections:
            await connection.close()


async def order(connection: asyncpg.Connection, job: dict[str, Any], customer_id: UUID, lines: list[UUID]) -> None:
    merchant_id, store_id, now = UUID(job["merchant"]), UUID(job["store"]), datetime.now(UTC)
    quote_id, purchase_id, order_id = new_id(), new_id(), new_id()
    async with connection.transaction():
        await connection.execute(CLAIM, customer_id, str(quote_id), b"x" * 32, purchase_id)
        await connection.execute(
            QUOTE, quote_id, customer_id, f"[{DOCUMENT}]", f"[{DOCUMENT}]", 5000, DOCUMENT, "{}", now + timedelta(minutes=10), now,
            purchase_id,
        )  # fmt: skip
        await connection.execute(PURCHASE, purchase_id, new_number(), quote_id, customer_id, 5000)
        await connection.execute(
            ORDER, order_id, new_number(), purchase_id, merchant_id, store_id, customer_id, 5000, f"[{DOCUMENT}]", DOCUMENT, now,
            now + timedelta(minutes=5),
        )  # fmt: skip
        await connection.execute(LINES, [new_id() for _ in lines], order_id, lines)
        await connection.execute(PAYMENT, new_id(), purchase_id, 5000)
        await connection.execute(EMPTIED, customer_id, lines)
        await connection.execute(TOLD, [new_id() for _ in range(2 + 2 * len(lines))], DOCUMENT, [store_id])
        await connection.execute(LOCK, lines)  # last, as ours: they are the hottest rows
        if len(await connection.fetch(TAKE, lines)) != len(lines):
            raise RuntimeError("not enough stock")
        await connection.execute(ALLOCATED, order_id, lines)
        moved = [(id, kind) for id in lines for kind in ("HELD", "ALLOCATED")]
        held = [1 if kind == "HELD" else -1 for _, kind in moved]
        allocated = [0 if kind == "HELD" else 1 for _, kind in moved]
        ids, kinds = [id for id, _ in moved], [kind for _, kind in moved]
        await connection.execute(MOVED, [new_id() for _ in moved], ids, merchant_id, order_id, kinds, held, allocated)
