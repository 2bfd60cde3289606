"""What Prometheus reads."""

import asyncio
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from adapters.figures import PrometheusFigures
from db.events import SqlEventLog
from db.figures import backlog
from db.ids import new_id
from db.reads import Reads
from domain.figures import SEVERAL, Reading
from domain.stock import StockChanged
from tests.logs import level


def samples(text: str) -> dict[tuple[str, tuple[str, ...]], float]:
    return {
        (sample.name, tuple(value for _, value in sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


async def read(figures: PrometheusFigures) -> dict[tuple[str, tuple[str, ...]], float]:
    return samples((await figures.text()).decode())


async def test_what_happens_is_counted_by_words_of_ours():
    figures = PrometheusFigures()
    figures.operation("stores", "OK", 0.02)
    figures.operation("stores", "OK", 0.2)
    figures.operation("placeOrder", "CONFLICT", 0.1)
    figures.webhook("petpooja", "ACCEPTED")
    figures.sockets(1)
    figures.feeds(1)
    figures.feeds(-1)
    found = await read(figures)
    assert found["haat_operations_total", ("OK", "stores")] == 2
    assert found["haat_operations_total", ("CONFLICT", "placeOrder")] == 1
    assert found["haat_operation_seconds_count", ("stores",)] == 2
    assert found["haat_operation_seconds_bucket", ("stores", "0.025")] == 1
    assert found["haat_webhooks_total", ("petpooja", "ACCEPTED")] == 1
    assert (found["haat_sockets", ()], found["haat_feeds", ()]) == (1, 0)
    assert found["process_resident_memory_bytes", ()] > 0


async def test_two_of_them_share_nothing():
    one, other = PrometheusFigures(), PrometheusFigures()
    one.sockets(3)
    assert (await read(other))["haat_sockets", ()] == 0


async def test_what_waits_is_read_from_the_database(engine: AsyncEngine):
    figures = PrometheusFigures({"backlog": lambda: backlog(Reads(engine))})
    async with engine.begin() as connection:
        await SqlEventLog(connection).add(*(StockChanged(level(new_id(), new_id(), 1)) for _ in range(3)))
    found = await read(figures)
    assert found["haat_relay_lag_events", ()] == 3
    assert 0 < found["haat_relay_lag_seconds", ()] < 60
    assert found["haat_instructions", ("waiting",)] == found["haat_instructions", ("parked",)] == 0
    assert found["haat_measured", ("backlog",)] == 1


async def test_a_database_that_is_away_is_a_figure_too():
    engine = create_async_engine("postgresql+asyncpg://x:y@127.0.0.1:1/x")

    async def bus() -> Sequence[Reading]:
        return [Reading("bus_up", 1)]

    async def stuck() -> Sequence[Reading]:
        await asyncio.Event().wait()
        return []

    found = await read(PrometheusFigures({"backlog": lambda: backlog(Reads(engine)), "bus": bus, "stuck": stuck}))
    assert found["haat_measured", ("backlog",)] == found["haat_measured", ("stuck",)] == 0
    assert found["haat_measured", ("bus",)] == found["haat_bus_up", ()] == 1
    await engine.dispose()


async def test_however_often_it_is_asked_the_database_is_asked_once_a_second():
    asked = 0

    async def probe() -> Sequence[Reading]:
        nonlocal asked
        asked += 1
        return [Reading("bus_up", 1)]

    figures = PrometheusFigures({"bus": probe})
    await asyncio.gather(*(figures.text() for _ in range(10)))
    assert asked == 1


COUNTING = """
import asyncio, sys
from adapters.figures import PrometheusFigures
from domain.figures import Reading

async def own(): return [Reading("pool_connections", 4, {"pool": "apps", "state": "in use"}), Reading("bus_up", int(sys.argv[1]))]
async def shared(): return [Reading("relay_lag_events", 7)]

async def main():
    figures = PrometheusFigures({"backlog": shared}, {"own": own})
    telling = asyncio.create_task(figures.run())
    figures.operation("stores", "OK", 0.02)
    figures.sockets(3)
    await asyncio.sleep(0)
    while line := await asyncio.to_thread(sys.stdin.readline):
        print((await figures.text()).decode() + "END", flush=True)
    telling.cancel()

asyncio.run(main())
"""


class Counting:
    """A process that counts one operation and three sockets, and tells when it is asked."""

    def __init__(self, folder: Path, bus_up: int) -> None:
        env = {**os.environ, SEVERAL: str(folder)}
        self.process = subprocess.Popen(
            [sys.executable, "-c", COUNTING, str(bus_up)], env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def tell(self) -> dict[tuple[str, tuple[str, ...]], float]:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write("tell\n")
        self.process.stdin.flush()
        lines = list(iter(self.process.stdout.readline, "END\n"))
        return samples("".join(lines))

    def end(self) -> None:
        self.process.kill()
        self.process.communicate()


def test_processes_that_share_a_folder_answer_as_one(tmp_path: Path):
    one, other = Counting(tmp_path, 1), Counting(tmp_path, 0)
    try:
        other.tell()
        found = one.tell()
        assert found["haat_operations_total", ("OK", "stores")] == found["haat_operation_seconds_count", ("stores",)] == 2
        assert found["haat_sockets", ()] == 6
        assert found["haat_pool_connections", ("apps", "in use")] == 8
        assert found["haat_bus_up", ()] == 0, "of one it is down"
        assert found["haat_relay_lag_events", ()] == 7, "what all read alike is not added up"
        assert one.tell() == other.tell()
        other.end()
        found = one.tell()
        assert found["haat_operations_total", ("OK", "stores")] == 2, "what was counted stays counted"
        assert (found["haat_sockets", ()], found["haat_pool_connections", ("apps", "in use")]) == (3, 4)
        assert found["haat_bus_up", ()] == 1
    finally:
        one.end()
        other.end()


async def test_no_figure_has_another_beside_it_that_tells_when_it_began():
    figures = PrometheusFigures()
    figures.operation("stores", "OK", 0.02)
    assert b"_created" not in await figures.text()
