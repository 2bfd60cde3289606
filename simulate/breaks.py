"""Faults planted in the database behind the town's back, to see that the checks would notice. Each is taken back after."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from enum import Enum

import asyncpg

from simulate.post import MARK
from simulate.seen import Seen
from simulate.town import Unfit

Undo = Callable[[asyncpg.Connection], Awaitable[None]]


class Break(Enum):
    STOCK = "stock"  # a counter that its movements do not explain
    PAYLOAD = "payload"  # a payload that was answered 2xx and is not there
    ORDER = "order"  # a step that no order may take


@asynccontextmanager
async def broken(what: Break, database_url: str, seen: Seen) -> AsyncIterator[None]:
    """Raises Unfit when the run left nothing that could be broken."""
    connection = await asyncpg.connect(database_url.replace("postgresql+asyncpg://", "postgresql://", 1))
    try:
        async with connection.transaction():
            undo = await PLANT[what](connection, seen)
        try:
            yield
        finally:
            async with connection.transaction():
                await undo(connection)
    finally:
        await connection.close()


async def _stock(connection: asyncpg.Connection, seen: Seen) -> Undo:
    listing = await connection.fetchval(
        "UPDATE stock_level SET on_hand = on_hand + 1 WHERE listing_id ="
        " (SELECT listing_id FROM stock_level WHERE tracked AND listing_id = ANY($1::uuid[]) ORDER BY listing_id LIMIT 1)"
        " RETURNING listing_id",
        sorted(seen.touched),
    )
    if listing is None:
        raise Unfit("no counted listing was touched: nothing to break")

    async def undo(again: asyncpg.Connection) -> None:
        await again.execute("UPDATE stock_level SET on_hand = on_hand - 1 WHERE listing_id = $1", listing)

    return undo


async def _payload(connection: asyncpg.Connection, seen: Seen) -> Undo:
    """With what hangs on it."""
    payload = await connection.fetchval(
        "SELECT id FROM payload WHERE source_id IS NOT NULL AND headers ->> $1 LIKE $2 ORDER BY id LIMIT 1",
        MARK,
        f"sim-{seen.run}-%",
    )
    if payload is None:
        raise Unfit("no payload of this run was kept: nothing to break")
    gone = []
    for table, column in (("failure", "payload_id"), ("instruction", "payload_id"), ("payload", "id")):
        rows = await connection.fetch(f"DELETE FROM {table} AS t WHERE {column} = $1 RETURNING to_jsonb(t)::text", payload)  # noqa: S608  # names of ours
        gone.append((table, [row[0] for row in rows]))

    async def undo(again: asyncpg.Connection) -> None:
        for table, rows in reversed(gone):
            for row in rows:
                await again.execute(f"INSERT INTO {table} SELECT (jsonb_populate_record(NULL::{table}, $1::jsonb)).*", row)

    return undo


async def _order(connection: asyncpg.Connection, seen: Seen) -> Undo:
    """An order's second step becomes RETURNED, which follows nothing but UNDELIVERED."""
    found = await connection.fetchrow(
        "SELECT id, body::text AS body FROM event"
        " WHERE stream = 'order' AND seq = 2 AND entity_id = ANY($1::uuid[]) ORDER BY id LIMIT 1",
        sorted(seen.orders),
    )
    if found is None:
        raise Unfit("no order took a second step: nothing to break")
    await connection.execute("UPDATE event SET body = jsonb_set(body, '{status}', '\"RETURNED\"') WHERE id = $1", found["id"])

    async def undo(again: asyncpg.Connection) -> None:
        await again.execute("UPDATE event SET body = $2::jsonb WHERE id = $1", found["id"], found["body"])

    return undo


PLANT = {Break.STOCK: _stock, Break.PAYLOAD: _payload, Break.ORDER: _order}
