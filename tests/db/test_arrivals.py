"""Payloads that are kept together: each is told its own end, and none is another's hindrance."""

import asyncio
import hashlib
import random
from collections.abc import Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from sqlalchemy import event, func, select, text
from sqlalchemy.ext.asyncio import create_async_engine

from db import arrivals, sources
from db import tables as t
from db.arrivals import AT_ONCE, Keeper
from db.ids import new_id
from db.reads import Reads
from db.unit_of_work import unit_of_work
from domain.canonical import Command, StockMode, UpdateStockLevel
from domain.identity import Actor, ActorKind
from domain.intake import Reading, Source
from domain.payloads import Payload, Received, kept_at_once
from domain.refusals import Refused, Unavailable
from tests.conftest import LONG
from tests.partners import partner

p, i = t.payload.c, t.instruction.c


async def a_source(engine) -> Source:
    made = await partner(engine, "wms", "BLR_DS1")
    return replace(await sources.any_by_id(Reads(engine), made.source_id), last_seen_at=datetime.now(UTC))


def payload(source: Source, key: str, *, body: bytes = b"{}", remote: str = "") -> tuple[Payload, Sequence[Command]]:
    now = datetime.now(UTC)
    commands = [UpdateStockLevel(store="BLR_DS1", id=f"{key}-{n}", mode=StockMode.DELTA, quantity=n, at=now) for n in range(3)]
    received = Received(
        source, source.provider, source.family, "stock", body, hashlib.sha256(body).digest(), {":path": key}, remote, key, now
    )
    new = kept_at_once(new_id(), received, Reading(commands, event_id=key), AT_ONCE)
    assert new is not None
    return new, commands


WAITING = "FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"


@asynccontextmanager
async def standing_still(engine):
    """Nothing is kept meanwhile; what is sent waits. Yields what returns once so many statements do."""
    async with engine.begin() as connection:
        await connection.execute(text("LOCK TABLE payload IN EXCLUSIVE MODE"))

        async def waits(many: int = 1) -> None:
            async with asyncio.timeout(10), engine.connect() as other:
                while (await other.execute(text(f"SELECT count(*) {WAITING}"))).scalar_one() < many:
                    await other.rollback()
                    await asyncio.sleep(0.01)

        yield waits


def statements(engine) -> list[str]:
    said: list[str] = []
    event.listen(engine.sync_engine, "before_cursor_execute", lambda *call: said.append(call[2]))
    return said


async def gathered(engine, keeper: Keeper, told: Sequence[tuple[Payload, Sequence[Command]]]) -> list[asyncio.Task[bool]]:
    """The first is on its way, and the others have gathered behind it."""
    async with standing_still(engine) as waits:
        tasks = [asyncio.create_task(keeper.keep(*told[0]))]
        await waits()
        tasks += [asyncio.create_task(keeper.keep(*one)) for one in told[1:]]
        await asyncio.sleep(0)  # each begins
        assert not any(task.done() for task in tasks)
    return tasks


async def kept(engine, source: Source) -> dict[str, list[str]]:
    """By dedupe key, in the instructions' order."""
    asked = select(p.dedupe_key, i.entity).join(t.instruction, i.payload_id == p.id).where(p.source_id == source.id)
    found: dict[str, list[str]] = {}
    async with engine.connect() as connection:
        for key, entity in await connection.execute(asked.order_by(p.id, i.ordinal)):
            found.setdefault(key, []).append(entity)
    return found


async def test_a_crowd_is_kept_by_two_statements_and_each_as_it_was_told(engine):
    source, keeper = await a_source(engine), Keeper(Reads(engine))
    told = [payload(source, f"n{number}", body=b"%d" % number) for number in range(40)]
    said = statements(engine)
    assert all(await asyncio.gather(*await gathered(engine, keeper, told)))
    assert sum("INSERT INTO payload" in one for one in said) == 2
    entities = {f"n{number}": [f"VARIANT:n{number}-{n}@BLR_DS1" for n in range(3)] for number in range(40)}
    assert await kept(engine, source) == entities
    async with engine.connect() as connection:
        rows = (await connection.execute(select(t.payload).where(p.source_id == source.id))).all()
    by_key = {row.dedupe_key: row for row in rows}
    for new, _ in told:
        row, received = by_key[new.dedupe_key], new.received
        assert (row.id, row.body, row.sha256, row.headers) == (new.id, received.body, received.sha256, received.headers)
        assert (row.correlation_id, row.door, row.size, row.state) == (new.dedupe_key, "stock", len(received.body), new.state)


async def test_of_the_same_news_in_one_crowd_one_is_kept(engine):
    source, keeper = await a_source(engine), Keeper(Reads(engine))
    told = [payload(source, f"n{number % 5}") for number in range(20)]
    done = await asyncio.gather(*await gathered(engine, keeper, told))
    assert sum(done) == 5
    assert {new.dedupe_key for (new, _), mine in zip(told, done, strict=True) if mine} == {f"n{number}" for number in range(5)}
    assert {key: len(entities) for key, entities in (await kept(engine, source)).items()} == dict.fromkeys(
        (f"n{number}" for number in range(5)), 3
    )
    assert await keeper.keep(*payload(source, "n3")) is False


async def test_what_cannot_be_kept_is_nobody_elses_hindrance(engine):
    source, keeper = await a_source(engine), Keeper(Reads(engine))
    told = [payload(source, f"n{number}", remote="\0" if number == 7 else "") for number in range(12)]
    done = await asyncio.gather(*await gathered(engine, keeper, told), return_exceptions=True)
    assert [one for one in done if one is not True] == [done[7]]
    assert isinstance(done[7], Exception)
    assert not isinstance(done[7], Refused)
    assert set(await kept(engine, source)) == {f"n{number}" for number in range(12) if number != 7}
    assert await keeper.keep(*payload(source, "after")) is True


async def test_who_stops_waiting_takes_nobody_along(engine):
    source, keeper = await a_source(engine), Keeper(Reads(engine))
    async with standing_still(engine) as waits:
        tasks = [asyncio.create_task(keeper.keep(*payload(source, "n0")))]
        await waits()
        tasks += [asyncio.create_task(keeper.keep(*payload(source, f"n{number}"))) for number in range(1, 6)]
        await asyncio.sleep(0)
        tasks[0].cancel()  # it is on its way already
        tasks[3].cancel()
        await asyncio.sleep(0)
    done = await asyncio.gather(*tasks, return_exceptions=True)
    assert [number for number, one in enumerate(done) if one is True] == [1, 2, 4, 5]
    assert set(await kept(engine, source)) == {"n0", "n1", "n2", "n4", "n5"}


async def test_when_the_database_is_away_each_of_a_crowd_hears_it_and_who_comes_later_is_kept(engine):
    source, keeper = await a_source(engine), Keeper(Reads(engine))
    said = statements(engine)
    async with standing_still(engine) as waits:
        tasks = [asyncio.create_task(keeper.keep(*payload(source, f"n{number}"))) for number in range(8)]
        await waits()
        async with engine.connect() as other:
            await other.execute(text(f"SELECT pg_terminate_backend(pid) {WAITING}"))
        async with asyncio.timeout(10):
            done = await asyncio.gather(*tasks, return_exceptions=True)
    assert all(isinstance(one, Refused) and isinstance(one.refusal, Unavailable) for one in done), done
    assert sum("INSERT INTO payload" in one for one in said) == 1, "who is away is not asked for each of a crowd"
    assert await keeper.keep(*payload(source, "n0")) is True
    assert set(await kept(engine, source)) == {"n0"}


async def test_whose_source_is_being_set_is_kept_at_once_and_so_are_the_others(engine):
    one, other = await a_source(engine), await a_source(engine)
    keeper = Keeper(Reads(engine))
    async with unit_of_work(engine) as uow:
        assert await uow.sources.lock(one.id, Actor(ActorKind.SUPPORT, new_id()))
        told = [payload(source, f"n{number}") for number in range(4) for source in (one, other)]
        async with asyncio.timeout(10):
            assert all(await asyncio.gather(*await gathered(engine, keeper, told)))
    for source in (one, other):
        assert set(await kept(engine, source)) == {f"n{number}" for number in range(4)}


async def test_of_a_crowd_only_those_hear_of_a_lock_whose_source_has_it(engine, database_url):
    sources = [await a_source(engine) for _ in range(6)]
    locked = sources[:2]
    impatient = create_async_engine(database_url, connect_args={"server_settings": {"lock_timeout": "600"}})
    keeper = Keeper(Reads(impatient))
    said = statements(impatient)
    try:
        async with engine.begin() as connection:
            of_these = t.source.c.id.in_([source.id for source in locked])
            await connection.execute(select(t.source.c.id).where(of_these).with_for_update())
            told = [payload(source, f"n{number}") for number in range(2) for source in sources]
            done = await asyncio.gather(*await gathered(engine, keeper, told), return_exceptions=True)
    finally:
        await impatient.dispose()
    for (new, _), end in zip(told, done, strict=True):
        if new.received.source in locked:
            assert isinstance(end, Refused)
            assert isinstance(end.refusal, Unavailable)
        else:
            assert end is True
    assert sum("INSERT INTO payload" in one for one in said) == 2 + len(sources), "what came first, all, and each source's own"


async def test_who_came_first_is_first_whatever_their_keys(engine):
    source, keeper = await a_source(engine), Keeper(Reads(engine))
    told = []
    for number in range(20):
        new, commands = payload(source, f"n{50 - number}")
        told.append((new, [replace(one, id=f"v{n}") for n, one in enumerate(commands)]))
    assert all(await asyncio.gather(*await gathered(engine, keeper, told)))
    rank = {new.id: number for number, (new, _) in enumerate(told)}
    async with engine.connect() as connection:
        asked = select(i.payload_id, i.created_at, p.received_at).join(t.payload, p.id == i.payload_id)
        rows = (await connection.execute(asked.where(i.source_id == source.id, i.entity.contains("v1")).order_by(i.id))).all()
    assert [rank[row.payload_id] for row in rows] == list(range(20))
    times = [row.created_at for row in rows]
    assert times == sorted(set(times))
    assert times == [row.received_at for row in rows]


async def test_a_statement_has_its_limits(engine, monkeypatch):
    monkeypatch.setattr(arrivals, "MOST", 4)
    monkeypatch.setattr(arrivals, "MOST_INSTRUCTIONS", 9)
    source, keeper = await a_source(engine), Keeper(Reads(engine))
    said = statements(engine)
    monkeypatch.setattr(arrivals, "MOST_BYTES", 100)
    bodies = [b"x", *[b"x"] * 4, b"x" * 60, b"x" * 60, b"x" * 200, b"x"]  # 1, then 3 by instructions, 2, 1, 1, 1 by bytes
    tasks = await gathered(engine, keeper, [payload(source, f"n{number}", body=body) for number, body in enumerate(bodies)])
    assert all(await asyncio.gather(*tasks))
    assert sum("INSERT INTO payload" in one for one in said) == 6
    assert len(await kept(engine, source)) == len(bodies)


@pytest.mark.parametrize("seed", range(20 if LONG else 4))
async def test_processes_that_keep_the_same_news_do_not_lock_each_other_out(engine, seed):
    """In whatever order it comes to each."""
    source, chance = await a_source(engine), random.Random(seed)
    keys, said = [f"n{number}" for number in range(60)], statements(engine)
    async with standing_still(engine) as waits:
        told = [(keeper, key) for keeper in [Keeper(Reads(engine)) for _ in range(3)] for key in chance.sample(keys, len(keys))]
        tasks = [asyncio.create_task(keeper.keep(*payload(source, key))) for keeper, key in told]
        await waits(3)
    done = await asyncio.gather(*tasks)
    assert sum(done) == len(keys)
    assert sum("INSERT INTO payload" in one for one in said) == 3, "a deadlock is one statement more for each of a crowd"
    async with engine.connect() as connection:
        assert (await connection.execute(select(func.count()).where(i.source_id == source.id))).scalar_one() == 3 * len(keys)
