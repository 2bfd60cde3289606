"""Servers that are replaced under load: nobody is refused, nothing is done twice, every feed goes on where it was."""

import asyncio
import random
import socket
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic

import httpx2
from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncEngine

from db import tables as t
from domain.stock import StockMovementKind
from launch.ports import bind
from tests.conftest import LONG
from tests.figures import show
from tests.live.town import Client, Errors, Town, town
from tests.live.trade import ADJUST, BROWSE
from tests.live.watching import STOCK, StockWatch, levels_of
from tests.waiting import until
from tests.world import Shop, listings, shop

SEED = 31
RESTARTS, SOCKETS, PER_S = (20, 1_000, 200) if LONG else (3, 40, 40)
WORKERS = 3
GRACE_S = 25
GOODS = 20


@dataclass
class Load:
    """Reads and writes at a steady rate; each write has a key of its own."""

    api: Client
    mine: Shop
    ids: list[str]
    answers: Counter[str] = field(default_factory=Counter)
    slowest_s: float = 0.0
    running: set[asyncio.Task[None]] = field(default_factory=set)

    async def run(self) -> None:
        chance, began, number = random.Random(SEED), monotonic(), 0
        while True:
            number += 1
            task = asyncio.create_task(self.once(number, chance.choice(self.ids), number % 4 == 0))
            self.running.add(task)
            task.add_done_callback(self.running.discard)
            await asyncio.sleep(max(0, began + number / PER_S - monotonic()))

    async def once(self, number: int, id: str, write: bool) -> None:
        began = monotonic()
        try:
            if write:
                await self.api.ask(ADJUST, id=id, units=1, key=f"restart-{number}")
            else:
                await self.api.ask(BROWSE, id=str(self.mine.store_id))
            said = "written" if write else "read"
        except Errors as errors:
            said = f"{errors.codes}"
        except httpx2.HTTPError as error:
            said = type(error).__name__
        self.answers[said] += 1
        self.slowest_s = max(self.slowest_s, monotonic() - began)


def started(running: Town) -> int:
    """Of servers, and of the workers: behind one socket any of them may answer for its readiness."""
    return running.log.read_text().count('"event": "serving"')


@asynccontextmanager
async def three(database_url: str, redis_url: str, engine: AsyncEngine, log: Path) -> AsyncIterator[tuple[Town, socket.socket]]:
    """Server processes that take connections from one listening socket, as `up --workers 3` starts them."""
    running = Town(database_url, redis_url, engine, log, {"HAAT_GRACEFUL_SHUTDOWN_S": str(GRACE_S)})
    with bind("127.0.0.1", 0) as shared:
        shared.listen(1024)
        try:
            for number in range(WORKERS):
                running.add_server(f"server{number}", shared=shared)
            running.add_workers()
            await running.ready()
            await until(lambda: started(running) == WORKERS + 1, 30)
            yield running, shared
        finally:
            await running.close()


async def test_servers_are_replaced_under_load(database_url: str, redis_url: str, engine: AsyncEngine, tmp_path: Path):
    random.seed(SEED)
    mine = await shop(engine)
    ids = [str(id) for id in await listings(engine, mine, [1_000_000] * GOODS)]
    async with three(database_url, redis_url, engine, tmp_path / "log") as (running, shared):
        seller = await running.api(mine.owner, "server0")
        load = Load(seller, mine, ids)
        which = {"id": str(mine.store_id), "listings": ids}
        followers = [StockWatch(running.client(None, "server0"), STOCK, which, returns=True) for _ in range(SOCKETS)]
        following = [asyncio.create_task(one.follow()) for one in followers]
        try:
            async with asyncio.timeout(120):
                await asyncio.gather(*(one.began.wait() for one in followers))
            loading = asyncio.create_task(load.run())
            exits, took = Counter[int | None](), []
            for number in range(RESTARTS):
                old, new = f"server{number}", f"server{number + WORKERS}"
                running.add_server(new, shared=shared)
                await until(lambda more=number + 1: started(running) == WORKERS + 1 + more, 30)
                going = running.processes.pop(old)
                began = monotonic()
                going.ask_to_stop()
                await until(lambda process=going: not process.alive, GRACE_S + 5)
                took.append(monotonic() - began)
                exits[going.status] += 1
            loading.cancel()
            while load.running:
                await asyncio.gather(*load.running)
            versions = await levels_of(engine, mine.store_id)
            with suppress(TimeoutError):
                await until(lambda: all(one.versions == versions for one in followers), 20)
        finally:
            for task in following:
                task.cancel()
            await asyncio.gather(*following, return_exceptions=True)
        async with engine.connect() as connection:
            moved = await connection.scalar(
                select(func.count()).where(
                    t.stock_movement.c.listing_id.in_(ids), t.stock_movement.c.kind == StockMovementKind.ADJUSTED
                )
            )
    closes = sum((one.closes for one in followers), Counter[str]())
    show(
        "restarts", seed=SEED, restarts=RESTARTS, sockets=SOCKETS, per_s=PER_S, answers=dict(load.answers), moved=moved,
        closes=dict(closes), resets=sum(one.resets for one in followers), slowest_answer_s=round(load.slowest_s, 2),
        slowest_exit_s=round(max(took), 2), exits={str(status): count for status, count in exits.items()},
    )  # fmt: skip
    behind = [(one.closes, one.behind(versions)) for one in followers if one.versions != versions]
    assert (len(behind), behind[:2]) == (0, [])
    assert set(load.answers) == {"read", "written"}
    assert moved == load.answers["written"]
    assert not [fault for one in followers for fault in one.faults]
    assert set(closes) <= {"1012", "503"}
    assert closes["1012"] > 0
    assert exits == {0: RESTARTS}
    assert max(took) < GRACE_S
    assert not running.faults()


async def test_a_connection_that_waits_for_its_next_request_keeps_nobody(
    database_url: str, redis_url: str, engine: AsyncEngine, tmp_path: Path
):
    async with town(database_url, redis_url, engine, tmp_path / "log") as running:
        async with httpx2.AsyncClient() as idle:
            assert (await idle.get(f"{running.url()}/livez")).status_code == 200
            process = running.processes["server"]
            process.ask_to_stop()
            await until(lambda: not process.alive, GRACE_S / 2)
        assert process.status == 0
        assert not running.faults()
