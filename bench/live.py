"""The rows of what is told as it happens: to many at once, how soon, what each of them costs, and who does not listen."""

import asyncio
import json
import random
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any
from uuid import UUID

import psutil

from bench.rows import ROUNDS, Asked, Line, Ratio, Row, both, median
from bench.stage import READY_S, Load, load
from bench.wire import Http
from domain.counting import Count, apply_counts
from wiring import Wiring, wire

EVENTS_PER_S = 500
COUNTED_AT_ONCE = 10
WATCHERS, WATCHED, HOT = 100, 10, 200
DEAF, AMONG, COUNTS_PER_S = 50, 1_000, 20
CLOGGING_S = 4.0  # then the deaf have filled their buffers
THERE_S = 7.0  # so long all of them are there: sends that are not through in 10 s end their socket
LET_GO_S = 15.0  # after which nobody who does not read is there any more
WARM = 20  # counts before any that is measured
FEWEST = 4  # bursts of each, however few seconds were asked for
STOCK = """subscription($store: ID!, $ids: [ID!]) { stock(storeId: $store, listingIds: $ids) {
  cursor reset degraded levels { listingId state available version asOf } } }"""


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
        theirs = await open_things.enter_async_context(mercurius(asked))
        followed = None
        if theirs is not None:
            peers = {**job, "port": theirs, "path": "/graphql", "subscribe": subscribe, "snapshots": False}
            followed = await open_things.enter_async_context(load(peers))
            await followed.said(120)
            await _all_watch(theirs, asked.sockets)
        counting, http, text = Counting(wiring), await Http.connect(raw), b"{}"
        await _relayed(asked, counting)  # what other rows have left in the log is not what is measured

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

        async def peer(port: int, load: Load) -> dict[str, float]:
            frame = json.dumps(json.loads(text)["payload"]["data"]["stock"]).encode()
            teller, started = await Http.connect(port), time.monotonic()
            await teller.ask(f"/tell?store={asked.shop.store_id}", frame, {"content-type": "application/json"})
            teller.close()
            return _burst(await load.said(), started, asked.sockets)

        ours_said: list[dict[str, float]] = []
        raw_said: list[dict[str, float]] = []
        peer_said: list[dict[str, float]] = []
        until = time.monotonic() + asked.seconds * ROUNDS
        while time.monotonic() < until or len(raw_said) < FEWEST:
            ours_said.append(await live())
            raw_said.append(await bare())
            if theirs is not None and followed is not None:
                peer_said.append(await peer(theirs, followed))
        http.close()
        for said in (ours_said, raw_said, *([peer_said] if peer_said else ())):
            del said[0]  # the first of each is the slowest
    return Row(
        "fan-out",
        (
            Line(f"one event to {asked.sockets:,} subscriptions", median(ours_said), "deliveries/s"),
            Line("… commit to the last of them", median(ours_said, "last_ms"), "ms"),
            Line(f"raw: the same {len(text)} bytes to {asked.sockets:,} sockets", median(raw_said), "deliveries/s"),
            Line("… call to the last of them", median(raw_said, "last_ms"), "ms"),
            *(
                Line(f"Mercurius: one event to {asked.sockets:,} subscriptions", median(said), "deliveries/s")
                for said in _any(peer_said)
            ),
        ),
        (
            Ratio("of the raw sends", median(ours_said) / median(raw_said), 0.75, 0.05),
            *(Ratio("of Mercurius", median(ours_said) / median(said), 1.5, 0.1) for said in _any(peer_said)),
        ),
    )


def _any(said: list[dict[str, float]]) -> list[list[dict[str, float]]]:
    return [said] if said else []


async def _all_watch(port: int, sockets: int) -> None:
    """It answers nothing to who subscribes."""
    http, until = await Http.connect(port), time.monotonic() + 60
    try:
        while time.monotonic() < until:
            _, body = await http.ask("/watching", method="GET")
            if json.loads(body)["watching"] >= sockets:
                return
            await asyncio.sleep(0.1)
    finally:
        http.close()
    raise TimeoutError("the peer's watchers did not all begin")


def _burst(said: Mapping[str, Any], begun: float, sockets: int) -> dict[str, float]:
    """From the first delivery to the last: what comes before is the commit's and the relay's, and a line of its own."""
    return {"per_s": sockets / max(said["last"] - said["first"], 1e-6), "last_ms": (said["last"] - begun) * 1000}


@asynccontextmanager
async def mercurius(asked: Asked) -> AsyncIterator[int | None]:
    """Its port. None without peers."""
    if not asked.peers:
        yield None
        return
    async with asked.stage.peer("mercurius") as port:
        yield port


async def memory(asked: Asked) -> Row:
    ids = [str(id) for id in asked.shop.listings[:WATCHED]]
    subscribe = {"query": STOCK, "variables": {"store": str(asked.shop.store_id), "ids": ids}}
    async with both(asked) as (ours, raw):
        subscribed = await _kib_each(asked, "server", {"port": ours, "path": "/graphql", "subscribe": subscribe})
        joined = await _kib_each(asked, "bare", {"port": raw, "path": "/join"})
    async with mercurius(asked) as port:
        more = {"port": port, "path": "/graphql", "subscribe": subscribe, "snapshots": False}
        peer = [] if port is None else [await _kib_each(asked, "mercurius", more)]
    return Row(
        "memory",
        (
            Line(f"of an idle subscription to {WATCHED} listings", subscribed, "KiB"),
            Line("raw: of an idle socket", joined, "KiB"),
            *(Line("Mercurius: of an idle subscription", each, "KiB") for each in peer),
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
        await _relayed(asked, Counting(wiring))
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


async def _relayed(asked: Asked, counting: Counting) -> None:
    """The relay was just started: until it has stamped all there is, and some more, nothing is measured."""
    until = time.monotonic() + READY_S
    async with asked.engine.connect() as connection:
        for _ in range(WARM):
            await counting.count(asked.shop.listings[-COUNTED_AT_ONCE:])
            while (await connection.exec_driver_sql("SELECT 1 FROM event WHERE pos IS NULL LIMIT 1")).first() is not None:
                if time.monotonic() > until:
                    raise TimeoutError("nothing is relayed")
                await connection.rollback()
                await asyncio.sleep(0.02)
            await connection.rollback()


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


async def slow(asked: Asked) -> Row:
    """Clients that never read among others that do. They ask for more, so that what waits for them soon fills every buffer."""
    hot, among = asked.shop.listings[:COUNTED_AT_ONCE], min(asked.sockets, AMONG)
    store, part = str(asked.shop.store_id), min(asked.seconds * ROUNDS, THERE_S)
    names = " ".join(f"{'long_' * 50}{number}: listingId" for number in range(25))
    levels = f"cursor reset levels {{ {names} }}"
    long = f"subscription($store: ID!, $ids: [ID!]) {{ stock(storeId: $store, listingIds: $ids) {{ {levels} }} }}"
    ours = {
        "job": "timed",
        "path": "/graphql",
        "sockets": among - DEAF,
        "seconds": asked.seconds + CLOGGING_S + 3 * part + LET_GO_S + 5,
        "subscribe": {"query": STOCK, "variables": {"store": store, "ids": [str(hot[0])]}},
    }
    theirs = {
        "job": "deaf",
        "path": "/graphql",
        "sockets": DEAF,
        "seconds": CLOGGING_S + part + LET_GO_S,
        "subscribe": {"query": long, "variables": {"store": store, "ids": [str(id) for id in hot]}},
    }
    async with (
        asked.stage.server() as port,
        wire(asked.stage.settings) as wiring,
        asked.stage.workers("relay"),
        load({**ours, "port": port}) as reading,
    ):
        await reading.said(120)
        process, counting = psutil.Process(asked.stage.processes["server"].pid), Counting(wiring)
        await _relayed(asked, counting)
        before = await _count_at(counting, asked, hot, part)
        without_mib = process.memory_info().rss / 2**20
        async with load({**theirs, "port": port}) as not_reading:
            await not_reading.said()
            await _count_at(counting, asked, hot, CLOGGING_S)
            during = await _count_at(counting, asked, hot, part)
            with_mib = process.memory_info().rss / 2**20
            gone_s = await _let_go(port, among - DEAF)
        after = await _count_at(counting, asked, hot, part)
        came = dict((await reading.said(part + 60))["came"])
    told = {
        name: sorted((at - begun) * 1000 for version, begun in counted.items() for at in came.get(version, ()))
        for name, counted in (("without", {**before, **after}), ("with", during))
    }
    if not all(told.values()):
        raise RuntimeError("nothing came")
    p99 = {name: took[len(took) * 99 // 100] for name, took in told.items()}
    p50 = {name: took[len(took) // 2] for name, took in told.items()}
    return Row(
        "slow",
        (
            Line(f"commit to {among - DEAF:,} who read, p50", p50["without"], "ms"),
            Line("… p99", p99["without"], "ms"),
            Line(f"while {DEAF} others never read, p50", p50["with"], "ms"),
            Line("… p99", p99["with"], "ms"),
            Line("… until the last of these was let go, after that", gone_s, "s"),
            Line("the server's memory before they came", without_mib, "MiB"),
            Line("… and while they are there", with_mib, "MiB"),
        ),
        (
            Ratio("p99 with them, of without, less is better", p99["with"] / p99["without"], 1.1, 5),
            Ratio("memory with them, of without, less is better", with_mib / without_mib, 1.1, 2),
        ),
    )


async def _let_go(port: int, left: int) -> float:
    """How long it takes until no more than so many sockets are open."""
    http, started = await Http.connect(port), time.monotonic()
    try:
        while time.monotonic() < started + LET_GO_S:
            _, body = await http.ask("/metrics", method="GET")
            (line,) = (line for line in body.decode().splitlines() if line.startswith("haat_sockets "))
            if float(line.split()[1]) <= left:
                return time.monotonic() - started
            await asyncio.sleep(0.2)
    finally:
        http.close()
    raise RuntimeError("clients that never read are not let go")


async def _count_at(counting: Counting, asked: Asked, listings: Sequence[UUID], seconds: float) -> dict[int, float]:
    """All of them, so many times a second; when each version of the first was committed."""
    committed: dict[int, float] = {}
    async with asked.engine.connect() as connection:
        rows = await connection.exec_driver_sql("SELECT listing_id, version FROM stock_level")
        version = next(row.version for row in rows if row.listing_id == listings[0])
    started, turn = time.monotonic(), 0
    while time.monotonic() < started + seconds:
        version += 1
        committed[version] = await counting.count(listings)
        turn += 1
        await asyncio.sleep(max(0.0, started + turn / COUNTS_PER_S - time.monotonic()))
    return committed
