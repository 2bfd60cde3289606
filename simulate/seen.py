"""What the simulation has done and been told. Everything that is shown and checked comes from here."""

import asyncio
import time
from collections import Counter, defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from simulate.plan import Buy
from tests.simulators.calls import Flaw

Document = dict[str, Any]
KNOWN_WITHIN_S = 5.0
TERMINAL = frozenset({"DELIVERED", "REJECTED", "CANCELLED", "EXPIRED", "UNDELIVERED", "RETURNED"})


@dataclass
class Bought:
    """An order the server has acknowledged to its customer."""

    id: str
    number: str
    purchase_id: str
    buy: Buy
    code: str | None
    status: str
    version: int
    store_id: str = ""

    @property
    def ended(self) -> bool:
        return self.status in TERMINAL


@dataclass
class Sent:
    """A webhook, and how it was answered."""

    ref: str
    provider: str
    source_id: str
    body: str
    flaw: Flaw | None
    status: int = 0
    promised: bool = False  # the answer is what such a call is promised
    absolute: bool = False  # another speaker's later news may overtake it
    answer: str = ""
    early: bool = False  # what it is of may be told of only now: it waits for that, and is done then
    unsure: bool = False  # a repeat may be told apart from a second time, or not
    again: int = 0  # times it had to be sent again for an answer


@dataclass
class Frames:
    """Frames of all feeds: their latencies, and whether anything in them went back."""

    received: int = 0
    resets: int = 0
    degraded: int = 0
    latencies_ms: list[float] = field(default_factory=list)
    versions: dict[tuple[str, str], int] = field(default_factory=dict)  # (feed, entity) -> the last one sent
    broken: list[str] = field(default_factory=list)

    def level(self, feed: str, level: Document, *, reset: bool) -> None:
        available = level["available"]
        if available is not None and available < 0:
            self.broken.append(f"{feed}: {available} available of listing {level['listingId']}")
        self._version(feed, level["listingId"], level["version"])
        if not reset:
            self._latency(level["asOf"])

    def change(self, feed: str, change: Document, *, reset: bool) -> None:
        self._version(feed, change["order"]["id"], change["version"])
        if not reset:
            self._latency(change["at"])

    def failure(self, failure: Document, *, reset: bool) -> None:
        if not reset:
            self._latency(failure["at"])

    def _version(self, feed: str, entity: str, version: int) -> None:
        last = self.versions.get((feed, entity), 0)
        if version < last:
            self.broken.append(f"{feed}: {entity} went from version {last} back to {version}")
        self.versions[feed, entity] = version

    def _latency(self, at: str) -> None:
        # Its time is the database's clock and ours, which are one on one machine.
        self.latencies_ms.append((time.time() - datetime.fromisoformat(at).timestamp()) * 1000)

    def percentile_ms(self, part: float) -> float | None:
        """None while nothing was measured."""
        if not self.latencies_ms:
            return None
        ordered = sorted(self.latencies_ms)
        return round(ordered[min(int(len(ordered) * part), len(ordered) - 1)], 1)


@dataclass
class Seen:
    run: str  # marks what this run sends
    orders: dict[str, Bought] = field(default_factory=dict)
    refused: Counter[str] = field(default_factory=Counter)  # answers a shop gives: sold out, closed
    webhooks: list[Sent] = field(default_factory=list)
    frames: Frames = field(default_factory=Frames)
    failures: list[str] = field(default_factory=list)  # of doors: what nobody is promised
    differences: list[str] = field(default_factory=list)  # between what was said of a store and what customers saw
    waits: Counter[str] = field(default_factory=Counter)  # times we had to come again: RATE_LIMITED, UNAVAILABLE
    reconnects: int = 0
    dawdled: int = 0  # slow readers that were borne to their end
    riders: Counter[str] = field(default_factory=Counter)  # name -> deliveries brought
    on_duty: int = 0
    signed_in: int = 0
    touched: set[str] = field(default_factory=set)  # listings whose stock has moved
    failed: set[str] = field(default_factory=set)  # failures that came in frames, of anybody
    notes: list[str] = field(default_factory=list)
    _moved: asyncio.Event = field(default_factory=asyncio.Event)
    _told: dict[str, asyncio.Event] = field(default_factory=lambda: defaultdict(asyncio.Event))

    def acknowledge(self, bought: Bought) -> None:
        self.orders.setdefault(bought.id, bought)
        self._told[bought.id].set()

    async def order(self, order_id: str) -> Bought | None:
        """None: somebody else's. The store may hear of an order before its customer has the answer."""
        if order_id not in self.orders:
            try:
                await asyncio.wait_for(self._told[order_id].wait(), KNOWN_WITHIN_S)
            except TimeoutError:
                return None
        return self.orders[order_id]

    def moved(self, order_id: str, status: str, version: int) -> None:
        bought = self.orders.get(order_id)
        if bought is not None and version >= bought.version:
            bought.status, bought.version = status, version
            self._moved.set()

    def failure(self, failure_id: str) -> None:
        self.failed.add(failure_id)
        self._moved.set()

    async def all_failed(self, failure_ids: Collection[str]) -> None:
        while not self.failed.issuperset(failure_ids):
            self._moved.clear()
            await self._moved.wait()

    async def all_ended(self) -> None:
        while self.under_way:
            self._moved.clear()
            await self._moved.wait()

    @property
    def by_status(self) -> Mapping[str, int]:
        return Counter(bought.status for bought in self.orders.values())

    @property
    def under_way(self) -> Sequence[Bought]:
        return [bought for bought in self.orders.values() if not bought.ended]

    @property
    def webhooks_by_provider(self) -> Mapping[str, int]:
        return Counter(sent.provider for sent in self.webhooks)

    @property
    def webhooks_by_kind(self) -> Mapping[str, int]:
        return Counter((sent.flaw.value.lower() if sent.flaw else "ok") if sent.promised else "failed" for sent in self.webhooks)
