"""Every instruction is told on catalog.commands: in order, all of them, whoever dies; and nothing of what people wrote."""

import asyncio
import contextlib
import itertools
import json
import random
import signal
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from redis.asyncio import Redis
from sqlalchemy import func, select, text
from sqlalchemy.ext.asyncio import AsyncEngine

from db import sources
from db import tables as t
from db.ids import new_id
from db.mirror import SqlMirror
from db.reads import Reads
from db.unit_of_work import unit_of_work
from domain.bus import Message
from domain.canonical import Command, OrderStatus, OrderWord, RejectOrder, UpdateStoreStatus
from domain.intake import Family, Reading
from domain.merchants import StoreStatus
from domain.mirror import COMMANDS
from domain.payloads import Received, keep
from domain.refusals import Refused, Unavailable
from domain.unit_of_work import UnitOfWork
from tests.conftest import LONG
from tests.figures import show
from tests.partners import Partner, dish, event, menu, partner, snapshot
from workers import mirror
from workers.mirror import Mirror

ROOT = Path(__file__).parents[2]
SEED = 31
SECONDS, WRITERS = (60, 8) if LONG else (6, 4)


@dataclass
class Heard:
    """A bus that remembers, and holds what it is told to what docs/events/ says of it."""

    messages: list[str] = field(default_factory=list)
    down: int = 0  # so many times it refuses

    async def publish(self, *messages: Message) -> None:
        if self.down:
            self.down -= 1
            raise Refused(Unavailable("the bus does not answer"))
        for message in messages:
            assert message.channel == COMMANDS
            self.messages.append(message.text)

    @property
    def commands(self) -> list[dict[str, Any]]:
        return [one for told in self.messages for one in json.loads(told)["commands"]]


def mirror_of(engine: AsyncEngine, heard: Heard) -> Mirror:
    return Mirror(SqlMirror(engine), heard)  # type: ignore[arg-type]  # it publishes, and nothing else


async def tell_all(mirror: Mirror) -> None:
    """Workers of other tests may still write: what was kept by now is told when they have ended."""
    async with asyncio.timeout(10):
        while await mirror.once() or mirror._kept._awaited is not None:  # noqa: ASYNC110  # nobody says when they have ended
            await asyncio.sleep(0)


async def kept(engine: AsyncEngine, *source_ids: UUID) -> Sequence[Any]:
    i = t.instruction.c
    async with engine.connect() as connection:
        found = select(t.instruction).where(i.source_id.in_(source_ids)).order_by(i.number)
        return (await connection.execute(found)).all()


async def last_number(engine: AsyncEngine) -> int:
    async with engine.connect() as connection:
        return int((await connection.execute(select(func.coalesce(func.max(t.instruction.c.number), 0)))).scalar_one())


async def keep_commands(partner_: Partner, uow: UnitOfWork, *commands: Command) -> None:
    source = await sources.any_by_id(Reads(partner_.engine), partner_.source_id)
    body = b"{}"
    received = Received(
        source, source.provider, Family.ERP, "stock", body, sha256(body).digest(), {":path": "stock"}, "", "c-1", datetime.now(UTC)
    )
    await keep(received, Reading(commands, event_id=str(new_id())), uow)


async def test_every_instruction_is_told_as_it_was_kept_and_in_its_order(engine, monkeypatch):
    monkeypatch.setattr(mirror, "BATCH", 7)
    monkeypatch.setattr(mirror, "MESSAGE_BYTES", 1_000)
    heard = Heard()
    telling = mirror_of(engine, heard)
    till, warehouse = await partner(engine, "petpooja"), await partner(engine, "wms", "BLR_DS1")
    await till.post("webhooks/menu", menu(till.store, *(dish(str(n)) for n in range(1, 6))))
    for n in range(1, 4):
        await warehouse.post("webhooks/stock", snapshot("BLR_DS1", ("TEA", n, n), ("RICE", n, n)))
    await tell_all(telling)
    rows = {row.id: row for row in await kept(engine, till.source_id, warehouse.source_id)}
    mine = [one for one in heard.commands if UUID(one["id"]) in rows]
    assert [UUID(one["id"]) for one in mine] == list(rows)
    for one in mine:
        row = rows[UUID(one["id"])]
        said = {name: value for name, value in row.body.items() if name != "reason"}
        assert (one["number"], one["entity"], one["command"], one["body"]) == (row.number, row.entity, row.command, said)
        assert (one["payload_id"], one["source_id"]) == (str(row.payload_id), str(row.source_id))
    assert {one["provider"] for one in mine} == {"petpooja", "wms"}
    teas = [one["body"]["quantity"] for one in mine if one["entity"] == "VARIANT:TEA@BLR_DS1"]
    assert teas == [1, 2, 3]
    messages = [json.loads(told) for told in heard.messages]
    assert len(messages) > len(rows) / 7
    assert max(len(told) for told in heard.messages) < 8_000
    ends = [0, *(one["commands"][-1]["number"] for one in messages)]
    assert [one["after"] for one in messages] == ends[:-1]
    before = len(heard.messages)
    await warehouse.worker.drain()  # what becomes of them is told elsewhere
    await tell_all(mirror_of(engine, heard))
    assert len(heard.messages) == before


async def test_what_people_wrote_and_who_they_are_is_told_to_nobody(engine):
    heard, wms = Heard(), await partner(engine, "wms")
    async with unit_of_work(engine) as uow:
        rider = {"rider_name": "Asha Rao", "rider_phone": "+919876543210"}
        await keep_commands(
            wms,
            uow,
            OrderStatus(order="N-1", status=OrderWord.DISPATCHED, message="call Asha", **rider),
            RejectOrder(order="N-2", message="we told Asha"),
            UpdateStoreStatus(store="ST-1", status=StoreStatus.CLOSED, reason="Asha is ill"),
        )
    await wms.post("webhooks/stock", event("stock.adjusted", location="ST-1", sku="TEA", delta="1", reason="Asha dropped one"))
    await tell_all(mirror_of(engine, heard))
    bodies = [row.body for row in await kept(engine, wms.source_id)]
    assert sum("Asha" in json.dumps(body) for body in bodies) >= 3
    told = [one for one in heard.commands if one["source_id"] == str(wms.source_id)]
    assert len(told) == len(bodies)
    assert "Asha" not in json.dumps(told)
    assert "+91" not in json.dumps(told)
    assert {one["body"].get("order") for one in told} >= {"N-1", "N-2"}
    assert {one["correlation_id"] for one in told} >= {"c-1"}


async def test_nothing_is_told_before_what_may_still_appear(engine):
    """A transaction that has its numbers, and commits later than one with higher ones."""
    heard, wms, other = Heard(), await partner(engine, "wms"), await partner(engine, "wms")
    telling = mirror_of(engine, heard)
    await tell_all(telling)
    before = len(heard.commands)
    async with asyncio.timeout(10):
        async with unit_of_work(engine) as uow:
            await keep_commands(wms, uow, RejectOrder(order="FIRST"))
            await other.post("webhooks/stock", event("stock.adjusted", location="ST-1", sku="TEA", delta="1"))
            for _ in range(5):
                assert await telling.once() == 0
    await tell_all(telling)
    told = heard.commands[before:]
    assert [one["command"] for one in told] == ["RejectOrder", "UpdateStockLevel"]
    assert [one["number"] for one in told] == [row.number for row in await kept(engine, wms.source_id, other.source_id)]


async def test_while_the_bus_is_away_none_is_lost(engine):
    heard, wms = Heard(), await partner(engine, "wms")
    telling = mirror_of(engine, heard)
    await tell_all(telling)
    before, heard.down = len(heard.commands), 3
    await wms.post("webhooks/stock", event("stock.adjusted", location="ST-1", sku="TEA", delta="1"))
    for _ in range(3):
        with pytest.raises(Refused):
            await tell_all(telling)
    assert len(heard.commands) == before
    await tell_all(telling)
    assert len(heard.commands) == before + 1


async def test_two_that_take_turns_tell_each_once(engine):
    heard, wms = Heard(), await partner(engine, "wms")
    pair = [mirror_of(engine, heard) for _ in range(2)]
    await tell_all(pair[0])
    before = len(heard.commands)
    for n in range(20):
        await wms.post("webhooks/stock", event("stock.adjusted", location="ST-1", sku=f"TEA-{n}", delta="1"))
        await asyncio.gather(*(one.once() for one in pair))
    for one in pair:
        await tell_all(one)
    told = [one["number"] for one in heard.commands[before:]]
    assert told == [row.number for row in await kept(engine, wms.source_id)]


@dataclass
class Consumer:
    """Reads the stream, and holds to docs/events/: what is not above the highest number it passes over."""

    redis: Redis
    place: str = "0"
    highest: int = 0
    ids: list[str] = field(default_factory=list)
    last: dict[tuple[str, str], int] = field(default_factory=dict)
    repeated: int = 0
    holes: int = 0

    async def read(self) -> None:
        for _, entries in await self.redis.xread({COMMANDS: self.place}, count=200, block=50) or ():
            for self.place, fields in entries:
                said = json.loads(fields["m"])
                self.holes += said["after"] > self.highest
                for one in said["commands"]:
                    self.hear(one)

    def hear(self, one: dict[str, Any]) -> None:
        if one["number"] <= self.highest:
            self.repeated += 1
            return
        self.highest = one["number"]
        self.ids.append(one["id"])
        if one["body"].get("version") is not None:
            of = one["source_id"], one["entity"]
            assert one["body"]["version"] > self.last.get(of, 0), "of one entity in the order in which they were kept"
            self.last[of] = one["body"]["version"]


async def test_none_is_lost_or_overtaken_while_those_who_tell_are_killed(engine, database_url, redis_url):
    """Three who tell, one killed every second; providers that call, and transactions that stay open for a while."""
    redis = Redis.from_url(redis_url, decode_responses=True)
    await tell_all(mirror_of(engine, Heard()))
    first = await last_number(engine)
    consumer = Consumer(redis, highest=first)
    senders = [await partner(engine, "wms") for _ in range(WRITERS)]
    over = asyncio.Event()
    tellers: list[asyncio.subprocess.Process] = []
    killed: list[int] = []
    tasks: list[asyncio.Task[None]] = []

    async def start() -> asyncio.subprocess.Process:
        return await asyncio.create_subprocess_exec(
            sys.executable, "-m", "tests.workers.one_mirror", database_url, redis_url, cwd=ROOT
        )

    async def write(sender: Partner, chance: random.Random) -> None:
        for version in itertools.count(1):
            if over.is_set():
                return
            if chance.random() < 0.1:  # slow, and now and then given up
                with contextlib.suppress(ZeroDivisionError):
                    async with unit_of_work(engine) as uow:
                        await keep_commands(sender, uow, *(RejectOrder(order=f"N-{version}") for _ in range(3)))
                        await asyncio.sleep(chance.uniform(0, 0.3))
                        _ = 1 // chance.randint(0, 3)
            sku = chance.choice(("TEA", "RICE", "OATS"))
            answer = await sender.post("webhooks/stock", snapshot("ST-1", (sku, version, version)))
            assert answer.status_code == 200
            await asyncio.sleep(chance.uniform(0, 0.02))

    async def kill() -> None:
        for number in itertools.count():
            await asyncio.sleep(1)
            tellers[number % 3].kill()
            killed.append(await tellers[number % 3].wait())
            tellers[number % 3] = await start()

    async def read() -> None:
        while True:
            await consumer.read()

    try:
        tellers += [await start() for _ in range(3)]
        tasks += [asyncio.create_task(kill()), asyncio.create_task(read())]
        writing = [write(sender, random.Random(f"{SEED}-{n}")) for n, sender in enumerate(senders)]
        asyncio.get_running_loop().call_later(SECONDS, over.set)
        await asyncio.gather(*writing)
        last = await last_number(engine)
        async with asyncio.timeout(30):
            while consumer.highest < last:  # noqa: ASYNC110  # it reads beside us
                await asyncio.sleep(0.05)
    finally:
        for task in tasks:
            task.cancel()
        ended = await asyncio.gather(*tasks, return_exceptions=True)
        for teller in tellers:
            with contextlib.suppress(ProcessLookupError):
                teller.kill()
            await teller.wait()
        await redis.aclose()
    assert [one for one in ended if not isinstance(one, asyncio.CancelledError)] == []
    async with engine.connect() as connection:
        after = text("SELECT id::text FROM instruction WHERE number > :first ORDER BY number")
        every = (await connection.execute(after, {"first": first})).scalars().all()
    counts = {"commands": len(every), "missing": len(set(every) - set(consumer.ids)), "repeated": consumer.repeated}
    show("commands told while those who tell are killed", seed=SEED, kills=len(killed), holes=consumer.holes, **counts)
    assert set(killed) == {-signal.SIGKILL}
    assert len(every) > SECONDS * WRITERS
    assert consumer.ids == list(every)
    assert consumer.holes == 0
