"""Figures as Prometheus reads them."""

import asyncio
import logging
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from time import monotonic
from typing import Literal

import psutil
from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    disable_created_metrics,
    generate_latest,
)
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead

from domain.figures import OUTCOMES, SEVERAL, Probe, Reading
from domain.refusals import Refused

log = logging.getLogger("haat.figures")
FRESH_S = 1.0
"""However often it is asked, the database is asked no more often than this."""
PROBED_S = 2.0
SAID_EVERY_S = 5.0
"""Where several processes answer as one, each says so often how it is: only one of them is asked."""

READINGS: Mapping[str, tuple[str, tuple[str, ...]]] = {
    "instructions": ("Instructions of partners by state: waiting to be applied, or parked until a mapping appears", ("state",)),
    "relay_lag_events": ("Committed events that have no place in the log yet", ()),
    "relay_lag_seconds": ("Age of the oldest of them", ()),
    "pictures": ("Pictures of products by state: wanted, or not to be had after all tries", ("state",)),
    "sources_silent": ("Sources that have not spoken for longer than they ever should", ()),
    "orders_untold": ("News of orders that tills have still to be told", ()),
    "orders_untold_seconds": ("Age of the oldest of them", ()),
    "pool_connections": ("Database connections by pool: in use, or the most there may be", ("pool", "state")),
    "bus_up": ("1 while what other processes publish reaches us", ()),
    "measured": ("0 for a measure that could not be taken now", ("measure",)),
}
# How readings of several processes become one. Of what all of them read in the same database the latest is as good as any.
TOGETHER: Mapping[str, Literal["livesum", "livemin"]] = {"pool_connections": "livesum", "bus_up": "livemin"}
disable_created_metrics()  # type: ignore[no-untyped-call]  # a time beside each counter, which nobody reads


class PrometheusFigures:
    """Of one process; where SEVERAL names a folder, of all the processes that share it.

    `probes` measure what is the same in each process, `own` what is each one's own.
    """

    content_type = "text/plain; version=0.0.4; charset=utf-8"

    def __init__(self, probes: Mapping[str, Probe] | None = None, own: Mapping[str, Probe] | None = None) -> None:
        self._own = own or {}
        self._probes = {**(probes or {}), **self._own}
        self._folder = Path(os.environ[SEVERAL]) if SEVERAL in os.environ else None
        self._registry = CollectorRegistry()
        self._measured_at = -FRESH_S
        self._measuring = asyncio.Lock()
        registry = self._registry
        self._operations = Counter(
            "haat_operations", "GraphQL operations by root field and code", ["field", "code"], registry=registry
        )
        self._seconds = Histogram(
            "haat_operation_seconds",
            "How long a GraphQL operation took; of a feed, until its first frame",
            ["field"],
            buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10),
            registry=registry,
        )
        self._webhooks = Counter(
            "haat_webhooks", "Payloads of partners by provider and what became of them", ["provider", "verdict"], registry=registry
        )
        self._alerts = Counter("haat_alerts", "Alerts by whether they were sent", ["outcome"], registry=registry)
        self._cached = Counter("haat_cached", "Public queries by how they were answered", ["outcome"], registry=registry)
        self._outcomes = {outcome: self._cached.labels(outcome) for outcome in OUTCOMES}
        self._counted: dict[tuple[str, str], tuple[Counter, Histogram]] = {}
        self._sockets = Gauge("haat_sockets", "Open WebSockets", registry=registry, multiprocess_mode="livesum")
        self._feeds = Gauge("haat_feeds", "Subscriptions that run", registry=registry, multiprocess_mode="livesum")
        self._gauges = {
            name: Gauge(f"haat_{name}", text, labels, registry=registry, multiprocess_mode=TOGETHER.get(name, "mostrecent"))
            for name, (text, labels) in READINGS.items()
        }
        ProcessCollector(registry=registry)

    def operation(self, field: str, code: str, seconds: float) -> None:
        counted = self._counted.get((field, code))
        if counted is None:  # to find a label's figure costs more than to count in it
            counted = self._counted[field, code] = self._operations.labels(field, code), self._seconds.labels(field)
        counted[0].inc()
        counted[1].observe(seconds)

    def sockets(self, change: int) -> None:
        self._sockets.inc(change)

    def feeds(self, change: int) -> None:
        self._feeds.inc(change)

    def cached(self, outcome: str) -> None:
        self._outcomes[outcome].inc()

    def webhook(self, provider: str, verdict: str) -> None:
        self._webhooks.labels(provider, verdict).inc()

    def alerts(self, outcome: str, count: int) -> None:
        self._alerts.labels(outcome).inc(count)

    async def text(self) -> bytes:
        """The answer of /metrics."""
        async with self._measuring:
            if monotonic() - self._measured_at >= FRESH_S:
                await asyncio.gather(*(self._measure(name, probe) for name, probe in self._probes.items()))
                self._measured_at = monotonic()
        if self._folder is None:
            return generate_latest(self._registry)
        _forget_the_dead(self._folder)
        together = CollectorRegistry()
        MultiProcessCollector(together, str(self._folder))  # type: ignore[no-untyped-call]
        return generate_latest(together)

    async def run(self) -> None:
        """Until cancelled: what is this process's own is there for whichever is asked. Alone, there is nothing to do."""
        while self._folder is not None:
            await asyncio.gather(*(self._measure(name, probe) for name, probe in self._own.items()))
            await asyncio.sleep(SAID_EVERY_S)

    async def _measure(self, name: str, probe: Probe) -> None:
        """A database that does not answer is a figure too, and a probe that breaks does not take the others with it."""
        readings: Sequence[Reading] = []
        try:
            readings = await asyncio.wait_for(probe(), PROBED_S)
        except (Refused, TimeoutError, OSError):
            pass
        except Exception as error:
            log.warning("%s cannot be measured", name, exc_info=error)
        for reading in readings:
            gauge = self._gauges[reading.name]
            (gauge.labels(**reading.labels) if reading.labels else gauge).set(reading.value)
        self._gauges["measured"].labels(name).set(1 if readings else 0)


def _forget_the_dead(folder: Path) -> None:
    """What a process that is gone has counted stays counted; what it had open is closed."""
    for pid in {path.stem.rpartition("_")[2] for path in folder.glob("gauge_live*_*.db")}:
        if not psutil.pid_exists(int(pid)):
            mark_process_dead(pid, str(folder))  # type: ignore[no-untyped-call]
