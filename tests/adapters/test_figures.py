"""What Prometheus reads."""

import asyncio
from collections.abc import Sequence

from prometheus_client.parser import text_string_to_metric_families
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from adapters.figures import PrometheusFigures
from db.events import SqlEventLog
from db.figures import backlog
from db.ids import new_id
from db.reads import Reads
from domain.figures import Reading
from domain.stock import StockChanged
from tests.logs import level


async def read(figures: PrometheusFigures) -> dict[tuple[str, tuple[str, ...]], float]:
    families = text_string_to_metric_families((await figures.text()).decode())
    return {
        (sample.name, tuple(value for _, value in sorted(sample.labels.items()))): sample.value
        for family in families
        for sample in family.samples
    }


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
