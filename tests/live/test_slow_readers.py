"""Clients that stop reading cost the others nothing, and are let go."""

import asyncio
import json
import socket
import time
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx2
import psutil
import pytest
import pytest_asyncio
from sqlalchemy.ext.asyncio import AsyncEngine

from tests.api.test_sockets import masked
from tests.conftest import LONG
from tests.faults import Proxy
from tests.figures import show
from tests.live.town import Town, town
from tests.live.trade import Stall, Trade
from tests.live.watching import STOCK, STORE_ORDERS, OrdersWatch, StockWatch, Watch, caught_up, following, levels_of, orders_of
from tests.waiting import until
from tests.world import account, listings, shop

DEAF, WATCHING = (50, 100) if LONG else (20, 20)
FREED_S = 30  # promised: a send that is not through in 10 s ends, and the kernel gives the connection up 15 s later
HOLE_S = 45  # promised of a client of which nothing comes: a ping each 20 s, and 20 s for its answer
FILLED_S = 5  # until then they cost what they ask; from then on their connections are full, and they are what this is about
GROWN_MB = 50
WIDE = """query($id: ID!, $first: Int!) { store(id: $id) { listings(first: $first) { nodes {
  id variantName price { amount currency } stock { version available } product { id name description } } } } }"""
NARROW = "query($id: ID!) { store(id: $id) { id } }"


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def running(
    database_url: str, redis_url: str, engine: AsyncEngine, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Town]:
    log = Path(tmp_path_factory.mktemp("slow")) / "log"
    async with town(database_url, redis_url, engine, log) as running:
        yield running


class Deaf:
    """Asks and asks, and reads nothing: not even that it was let in."""

    def __init__(self, port: int) -> None:
        self.socket = socket.socket()
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        self.socket.connect(("127.0.0.1", port))
        self.socket.sendall(
            b"GET /graphql HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
            b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: graphql-transport-ws\r\n\r\n"
        )
        self.socket.setblocking(False)
        self.asked = 0

    def say(self, message: dict[str, Any]) -> None:
        with suppress(OSError):  # nobody reads what it says either, by then, or it is gone
            self.socket.send(masked(json.dumps(message).encode()))

    def ask(self, query: str, **variables: str | int) -> None:
        self.asked += 1
        self.say({"type": "subscribe", "id": str(self.asked), "payload": {"query": query, "variables": variables}})


async def figure(running: Town, name: str) -> float:
    async with httpx2.AsyncClient(timeout=10) as client:
        lines = (await client.get(f"{running.url()}/metrics")).text.splitlines()
    return float(next(line for line in lines if line.startswith(f"{name} ")).split()[1])


def reached(process: psutil.Process, clients: set[int]) -> int:
    """Of these clients, by their ports, how many it is connected to."""
    return sum(bool(one.raddr) and one.raddr.port in clients for one in process.net_connections("tcp"))


async def test_clients_that_never_read_are_closed_and_cost_the_others_nothing(running: Town, engine: AsyncEngine):
    mine = await shop(engine)
    stall = Stall(mine, await listings(engine, mine, [500] * 50))
    going = Trade(running, [stall], [await account(engine) for _ in range(3)], seed=13)
    store, ids = str(mine.store_id), [str(id) for id in stall.listings]
    server = psutil.Process(running.processes["server"].pid)
    token = (await running.tokens([mine.owner]))[0]
    stock: list[Watch] = [StockWatch(running.client(None), STOCK, {"id": store, "listings": ids}) for _ in range(WATCHING // 2)]
    orders: list[Watch] = [OrdersWatch(running.client(token), STORE_ORDERS, {"id": store}) for _ in range(WATCHING // 2)]
    deaf: list[Deaf] = []
    async with following([*stock, *orders]):
        try:
            async with going.going_on():
                await asyncio.sleep(3)
                before, alone_s = server.memory_info().rss, going.slowest_s
                for _ in range(DEAF):
                    deaf.append(Deaf(running.ports["server"]))
                    await asyncio.sleep(0.05)
                for one in deaf:
                    one.say({"type": "connection_init"})
                ports = {one.socket.getsockname()[1] for one in deaf}
                assert reached(server, ports) == DEAF
                wide = await running.client(None).ask(WIDE, id=store, first=50)
                assert len(wide["store"]["listings"]["nodes"]) == 50
                began, most, went_by = time.monotonic(), before, 0.0
                while reached(server, ports) and time.monotonic() - began < 2 * FREED_S:
                    for one in deaf:
                        for _ in range(5):
                            one.ask(WIDE, id=store, first=50 - one.asked % 40)  # so that not all is answered from what is kept
                    asked_at = time.monotonic()
                    await running.client(None).ask(NARROW, id=store)
                    if asked_at - began > FILLED_S:
                        went_by = max(went_by, time.monotonic() - asked_at)
                    most = max(most, server.memory_info().rss)
                    await asyncio.sleep(0.3)
                freed_s = time.monotonic() - began
            behind_s = max(
                await caught_up(dict.fromkeys(stock, await levels_of(engine, mine.store_id)), 5),
                await caught_up(dict.fromkeys(orders, await orders_of(engine, mine.store_id)), 5),
            )
            left = await figure(running, "haat_sockets")
        finally:
            for one in deaf:
                one.socket.close()
    grown_mb = (most - before) / 2**20
    show(
        "clients that never read", deaf=DEAF, asked=sum(one.asked for one in deaf), watching=WATCHING,
        freed_after_s=round(freed_s, 1), promised_s=FREED_S, grown_mb=round(grown_mb, 1), slowest_read_s=round(went_by, 2),
        answers=going.answers, slowest_answer_s=[round(alone_s, 2), round(going.slowest_s, 2)],
        caught_up_after_s=round(behind_s, 2),
    )  # fmt: skip
    assert freed_s < FREED_S
    assert grown_mb < GROWN_MB
    assert left == WATCHING
    assert went_by < 2
    assert going.failed == {}
    assert [fault for watch in (*stock, *orders) for fault in watch.faults] == []
    assert running.faults() == []


async def test_a_client_behind_a_hole_is_let_go_and_goes_on_where_it_was(running: Town, engine: AsyncEngine):
    """Nothing comes from it any more, and nobody says that it is gone: pings alone find out."""
    mine = await shop(engine)
    stall = Stall(mine, await listings(engine, mine, [500] * 5))
    going = Trade(running, [stall], [await account(engine)], seed=17)
    server = psutil.Process(running.processes["server"].pid)
    which = {"id": str(mine.store_id), "listings": [str(id) for id in stall.listings]}
    async with Proxy.before(running.url()) as proxy:
        there = running.client(None)
        there.url = proxy.url(running.url())
        watch = StockWatch(there, STOCK, which, returns=True)
        async with following([watch]):
            async with going.going_on():
                await until(lambda: watch.frames > 5, 10)
                ports = {pair.server.get_extra_info("sockname")[1] for pair in proxy.pairs if pair.server is not None}
                assert reached(server, ports) == 1
                proxy.hang(new=False)
                began = time.monotonic()
                await until(lambda: not reached(server, ports), 2 * HOLE_S)
                closed_s = time.monotonic() - began
                frames = watch.frames
                proxy.cut()
                await until(lambda: watch.frames > frames + 3, 20)
            behind_s = await caught_up({watch: await levels_of(engine, mine.store_id)}, 5)
    show(
        "a client behind a hole", closed_after_s=round(closed_s, 1), promised_s=HOLE_S, closes=watch.closes, resets=watch.resets,
        caught_up_after_s=round(behind_s, 2),
    )  # fmt: skip
    assert closed_s < HOLE_S
    assert watch.faults == []
    assert watch.resets == 0
