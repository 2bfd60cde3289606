"""A worker that stands still for longer than its lease: others do its work meanwhile, and nothing of it is done twice."""

import asyncio
import random
import signal
import time
from collections import Counter
from pathlib import Path

from sqlalchemy import func, select, text
from sqlalchemy.ext.asyncio import AsyncEngine

from db import tables as t
from domain.intake import InstructionState
from launch.process import Process
from tests.conftest import LONG
from tests.figures import show
from tests.live.town import Town
from tests.partners import Partner, event, partner, worker_of
from tests.world import listings, shop

SEED = 61
ROUNDS = 20 if LONG else 2
LEASE_S = 2.0
STOPPED_S = 3 * LEASE_S
STORE, THINGS, AT_ONCE = "MAIN", 20, 4
CATCHES, LOOK_AGAIN_S = 1_000, 0.1
DONE_WITHIN_S = 30

# A transaction of a worker that has locked or written something. The test's own connections have another name.
IN_HAND = text(
    "SELECT backend_xid::text FROM pg_stat_activity"
    " WHERE application_name = 'haat' AND datname = current_database() AND state <> 'idle' AND backend_xid IS NOT NULL"
)


async def in_hand(engine: AsyncEngine) -> set[str]:
    async with engine.connect() as connection:
        return set((await connection.execute(IN_HAND)).scalars())


async def stop_in_the_middle(worker: Process, engine: AsyncEngine, chance: random.Random) -> None:
    """Of a transaction, which is still open a moment later: it was not just being committed."""
    for _ in range(CATCHES):
        worker.signal(signal.SIGSTOP)
        if found := await in_hand(engine):
            await asyncio.sleep(LOOK_AGAIN_S)
            if found & await in_hand(engine):
                return
        worker.signal(signal.SIGCONT)
        await asyncio.sleep(chance.uniform(0, 0.02))
    raise AssertionError("it was never in the middle of anything")


async def waiting(warehouse: Partner) -> int:
    i = t.instruction.c
    found = select(func.count()).where(i.source_id == warehouse.source_id, i.state == InstructionState.WAITING)
    return int((await warehouse.rows(found))[0][0])


async def carried_out(warehouse: Partner) -> float:
    """After so many seconds."""
    began = time.monotonic()
    async with asyncio.timeout(DONE_WITHIN_S):
        while await waiting(warehouse):  # noqa: ASYNC110  # nobody says when a queue is empty
            await asyncio.sleep(0.02)
    return time.monotonic() - began


async def twice(warehouse: Partner) -> int:
    """Changes that stand in the ledger more than once."""
    m = t.stock_movement.c
    each = select(m.cause).where(m.source_id == warehouse.source_id).group_by(m.cause).having(func.count() > 1).subquery()
    return int((await warehouse.rows(select(func.count()).select_from(each)))[0][0])


async def test_what_a_stopped_worker_had_in_hand_is_done_once_by_others(
    engine: AsyncEngine, database_url: str, redis_url: str, tmp_path: Path
):
    """For three leases, and then it goes on: whatever it still means to write, it has no connection to commit it with."""
    chance = random.Random(SEED)
    mine = await shop(engine)
    skus = [f"SKU-{id}" for id in await listings(engine, mine, [1_000] * THINGS)]
    warehouse = await partner(engine, "wms", STORE, of=mine)
    right = Counter(dict.fromkeys(skus, 1_000))
    sent = 0

    async def change() -> None:
        nonlocal sent
        sku, units = chance.choice(skus), chance.randint(-3, 5)
        body = event("stock.adjusted", location=STORE, sku=sku, delta=str(units))
        assert (await warehouse.post("webhooks/stock", body)).status_code == 200
        right[sku] += units
        sent += 1

    async def changes(until: asyncio.Event) -> None:
        while not until.is_set():
            await change()

    log = tmp_path / "log"
    town = Town(database_url, redis_url, engine, log, {"HAAT_IDLE_IN_TRANSACTION_TIMEOUT_MS": str(int(LEASE_S * 1000))})
    taken_over: list[float] = []
    town.add_workers("work", "--only", "instructions")
    stopped = town.processes["work"]
    try:
        await change()
        await carried_out(warehouse)  # it works
        for _ in range(ROUNDS):
            caught = asyncio.Event()
            telling = [asyncio.create_task(changes(caught)) for _ in range(AT_ONCE)]
            await stop_in_the_middle(stopped, engine, chance)
            stopped_at = time.monotonic()
            caught.set()
            await asyncio.gather(*telling)
            others = [asyncio.create_task(worker_of(engine).run()) for _ in range(2)]
            taken_over.append(await carried_out(warehouse))
            await asyncio.sleep(max(0.0, stopped_at + STOPPED_S - time.monotonic()))
            stopped.signal(signal.SIGCONT)
            for _ in range(20):
                await change()  # beside each other
            for other in others:
                other.cancel()
            await asyncio.gather(*others, return_exceptions=True)
            for _ in range(20):
                await change()  # and alone again
            await carried_out(warehouse)
        assert stopped.alive, town.said()
    finally:
        stopped.signal(signal.SIGCONT)
        await town.close()
    states = Counter(state for *_, state in await warehouse.instructions())
    left = {sku: (await warehouse.level(sku)).on_hand for sku in skus}
    wrong = sum(left[sku] != right[sku] for sku in skus)
    show(
        "workers stopped",
        seed=SEED, rounds=ROUNDS, lease_s=LEASE_S, stopped_s=STOPPED_S, changes=sent, double_effects=await twice(warehouse),
        not_done=sent - states["APPLIED"], wrong_levels=wrong, taken_over_within_s=round(max(taken_over), 2),
    )  # fmt: skip
    assert states == {"APPLIED": sent}
    assert left == right
    assert await twice(warehouse) == 0
    assert await warehouse.discrepancies() == 0
    assert max(taken_over) < STOPPED_S
