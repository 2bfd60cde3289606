"""Subscribers that write down what they are told, and whether it is what was promised."""

import asyncio
import random
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import AsyncIterator, Collection, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncEngine
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus

from db import tables as t
from tests.live.town import Client, Errors

STOCK = """subscription($id: ID!, $listings: [ID!], $after: String) { stock(storeId: $id, listingIds: $listings, after: $after) {
  cursor reset degraded levels { listingId version available } } }"""
STORE_ORDERS = """subscription($id: ID!, $after: String) { storeOrders(storeId: $id, after: $after) {
  cursor reset degraded changes { status version order { id } } } }"""


@dataclass(eq=False)
class Watch(ABC):
    """One feed of one socket. `versions` is the last it was told of each entity.

    One that `returns` comes back with its cursor, however often its connection ends, and counts how.
    """

    client: Client
    query: str
    variables: Mapping[str, Any]
    returns: bool = False
    cursor: str | None = None
    closes: Counter[str] = field(default_factory=Counter)
    frames: int = 0
    resets: int = 0  # but for the first frame
    degraded: int = 0
    behind_now: bool = False  # as the last frame said
    versions: dict[str, int] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)
    began: asyncio.Event = field(default_factory=asyncio.Event)
    task: asyncio.Task[None] | None = None

    async def follow(self) -> None:
        while True:
            try:
                await self._follow()
                if not self.returns:
                    return
                self.faults.append("it was said to be complete")
            except (ConnectionClosed, InvalidHandshake, OSError, Errors) as end:
                if not self.returns:
                    raise
                self.closes[ending(end)] += 1
            await asyncio.sleep(random.uniform(0, 0.5))

    async def _follow(self) -> None:
        async with self.client.feed(self.query, **self.variables, after=self.cursor) as frames:
            async for frame in frames:
                self.frames += 1
                self.behind_now = frame["degraded"]
                self.degraded += frame["degraded"]
                self.take(frame)
                self.resets += frame["reset"] and self.began.is_set()
                self.cursor = frame["cursor"]
                self.began.set()

    @abstractmethod
    def take(self, frame: Mapping[str, Any]) -> None: ...

    def behind(self, versions: Mapping[str, int]) -> dict[str, tuple[int | None, int]]:
        """What it was told last and what is so, where they differ."""
        return {id: (self.versions.get(id), version) for id, version in versions.items() if self.versions.get(id) != version}


def ending(error: Exception) -> str:
    match error:
        case ConnectionClosed():
            return str(error.rcvd.code) if error.rcvd else "cut"
        case InvalidStatus():
            return str(error.response.status_code)
        case Errors():
            return str(error.codes[0])
        case _:
            return type(error).__name__


@dataclass(eq=False)
class StockWatch(Watch):
    """Values: a version may be skipped, and never goes back."""

    def take(self, frame: Mapping[str, Any]) -> None:
        for level in frame["levels"]:
            id, version, before = level["listingId"], level["version"], self.versions.get(level["listingId"], 0)
            if version < before or (version == before and not frame["reset"]):
                self.faults.append(f"level {id}: {version} after {before}")
            self.versions[id] = version


@dataclass(eq=False)
class OrdersWatch(Watch):
    """A list: every step of every order, in order, but for what a snapshot stands for."""

    whole: set[str] = field(default_factory=set)  # of these every step since the snapshot has come

    def take(self, frame: Mapping[str, Any]) -> None:
        if frame["reset"]:
            self.whole = set()
        for change in frame["changes"]:
            id, version, before = change["order"]["id"], change["version"], self.versions.get(change["order"]["id"], 0)
            # Closed while the snapshot was missing, an order is not in it: what comes of it then begins anywhere.
            next_one = version == before + 1 or (self.resets and id not in self.whole and version > before)
            if not (version >= before if frame["reset"] else next_one):
                self.faults.append(f"order {id}: {version} after {before}")
            self.whole.add(id)
            self.versions[id] = version

    def behind(self, versions: Mapping[str, int]) -> dict[str, tuple[int | None, int]]:
        found = super().behind(versions)
        return {id: pair for id, pair in found.items() if not self.resets or id in self.whole}


@asynccontextmanager
async def following(watches: Collection[Watch], within_s: float = 60) -> AsyncIterator[None]:
    """All of them, from their first frames on. None may end by itself."""
    tasks = []
    try:
        for watch in watches:
            watch.task = asyncio.create_task(watch.follow())
            tasks.append(watch.task)
        async with asyncio.timeout(within_s):
            beginnings = asyncio.gather(*(watch.began.wait() for watch in watches))
            await asyncio.wait([asyncio.ensure_future(beginnings), *tasks], return_when=asyncio.FIRST_COMPLETED)
            check_alive(watches)
            await beginnings
        yield
        check_alive(watches)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def check_alive(watches: Collection[Watch]) -> None:
    for watch in watches:
        if watch.task is not None and watch.task.done():
            raise AssertionError(f"a feed ended after {watch.frames} frames") from watch.task.exception()


async def caught_up(watches: Mapping[Watch, Mapping[str, int]], within_s: float) -> float:
    """Seconds until each has been told of these versions."""
    clock = asyncio.get_running_loop().time
    began = clock()
    while behind := [watch.behind(versions) for watch, versions in watches.items() if watch.behind(versions)]:
        check_alive(list(watches))
        assert clock() - began < within_s, (len(behind), behind[:3])
        await asyncio.sleep(0.02)
    return clock() - began


async def levels_of(engine: AsyncEngine, store_id: Any) -> dict[str, int]:
    s = t.stock_level.c
    async with engine.connect() as connection:
        found = await connection.execute(select(s.listing_id, s.version).where(s.store_id == store_id))
        return {str(row.listing_id): row.version for row in found}


async def orders_of(engine: AsyncEngine, store_id: Any) -> dict[str, int]:
    o = t.orders.c
    async with engine.connect() as connection:
        found = await connection.execute(select(o.id, o.version).where(o.store_id == store_id))
        return {str(row.id): row.version for row in found}
