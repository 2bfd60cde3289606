"""Webhooks over real sockets at two servers that are killed: what was acknowledged is there, and done once, in the end."""

import asyncio
import itertools
import json
import random
import signal
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path
from typing import Any

import httpx2
import pytest
import pytest_asyncio
from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncEngine

from adapters.seals import AesSeals
from db import tables as t
from domain.intake import InstructionState, PayloadState
from tests.conftest import LONG
from tests.figures import show
from tests.live.town import SEALING, Town, town
from tests.live.trade import until
from tests.partners import Partner, dish, event, menu, partner, snapshot
from tests.world import listings, shop

KILLS = 25 if LONG else 3
VERSIONS = 100 if LONG else 20
SERVERS = ("server", "server2")
DONE_WITHIN_S = 30
ALL_DONE_S = DONE_WITHIN_S * 4
GIVE_UP_S = 60
STORE = "OUT-1"
SEED = 23


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def running(
    database_url: str, redis_url: str, engine: AsyncEngine, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Town]:
    """Two servers and two processes of workers."""
    log = Path(tmp_path_factory.mktemp("kills")) / "log"
    async with town(database_url, redis_url, engine, log, servers=2) as running:
        running.add_workers("work2", "--only", "instructions")
        yield running


@dataclass(eq=False)
class Sender:
    """A partner's queue: what is not acknowledged is sent again, to whichever server it finds, until it is."""

    partner: Partner
    clients: Sequence[httpx2.AsyncClient]
    chance: random.Random
    acknowledged: list[bytes] = field(default_factory=list)  # by their SHA-256, each once
    answers: Counter[str] = field(default_factory=Counter)

    async def send(self, rest: str, said: Any) -> None:
        body = json.dumps(said).encode()
        signed = self.partner.signed(body)
        async with asyncio.timeout(GIVE_UP_S):
            while True:
                if await self.post(rest, body, signed):
                    break
                await asyncio.sleep(self.chance.uniform(0.1, 0.3))
        self.acknowledged.append(sha256(body).digest())

    async def post(self, rest: str, body: bytes, signed: dict[str, str]) -> bool:
        try:
            answer = await self.chance.choice(self.clients).post(self.partner.path(rest), content=body, headers=signed)
        except httpx2.HTTPError as error:
            self.answers[type(error).__name__] += 1
            return False
        self.answers[str(answer.status_code)] += 1
        return answer.is_success


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def clients(running: Town) -> AsyncIterator[list[httpx2.AsyncClient]]:
    """One for each server."""
    made = [httpx2.AsyncClient(base_url=running.url(name), timeout=30) for name in SERVERS]
    yield made
    for client in made:
        await client.aclose()


async def warehouse(engine: AsyncEngine, clients: list[httpx2.AsyncClient], skus: int) -> tuple[Partner, list[str]]:
    mine = await shop(engine)
    ids = await listings(engine, mine, [0] * skus)
    return await partner(engine, "wms", STORE, mine, seals=AesSeals([SEALING]), client=clients[0]), [f"SKU-{id}" for id in ids]


async def till_with(engine: AsyncEngine, clients: list[httpx2.AsyncClient], dishes: int) -> tuple[Partner, list[str]]:
    till = await partner(engine, "petpooja", STORE, seals=AesSeals([SEALING]), client=clients[0])
    ids = [str(number) for number in range(1, dishes + 1)]
    assert (await till.post("webhooks/menu", menu(STORE, *map(dish, ids)))).status_code == 200
    await all_done(engine, [till])
    return till, ids


async def all_done(engine: AsyncEngine, partners: Sequence[Partner]) -> float:
    """Seconds until nothing of theirs waits any more."""
    p, i = t.payload.c, t.instruction.c
    ids = [one.source_id for one in partners]
    open_payloads = select(func.count()).where(p.source_id.in_(ids), p.state == PayloadState.ACCEPTED).scalar_subquery()
    open_ones = (InstructionState.WAITING, InstructionState.PARKED)
    waiting = select(func.count()).where(i.source_id.in_(ids), i.state.in_(open_ones)).scalar_subquery()

    async def none() -> bool:
        async with engine.connect() as connection:
            return (await connection.execute(select(open_payloads + waiting))).scalar_one() == 0

    return await until(none, ALL_DONE_S)


async def in_the_table(engine: AsyncEngine, sender: Sender) -> set[bytes]:
    p = t.payload.c
    async with engine.connect() as connection:
        return set((await connection.execute(select(p.sha256).where(p.source_id == sender.partner.source_id))).scalars())


def told(sku: str, version: int, began: datetime) -> dict[str, Any]:
    return snapshot(STORE, (sku, quantity(sku, version), version), at=began + timedelta(milliseconds=version))


def quantity(sku: str, version: int) -> int:
    return version * 10 + sum(sku.encode()) % 10


def switch(id: str, number: int) -> dict[str, Any]:
    """The number is nothing a till sends: it makes each one distinct, as the times of day would."""
    return {"restID": STORE, "type": "item", "inStock": number % 2 == 0, "itemID": [id], "sent": number}


async def test_what_was_acknowledged_is_there_and_done_though_servers_are_killed(
    running: Town, engine: AsyncEngine, clients: list[httpx2.AsyncClient]
):
    chance = random.Random(SEED)
    began = datetime.now(UTC) - timedelta(minutes=4)
    over = asyncio.Event()
    warehouses = [await warehouse(engine, clients, 10) for _ in range(2)]
    tills = [await till_with(engine, clients, 5) for _ in range(2)]
    senders: list[Sender] = []
    last: dict[tuple[Sender, str], int] = {}

    async def versions(sender: Sender, skus: list[str], counter: "itertools.count[int]") -> None:
        """Some at once of one warehouse, so they overtake each other."""
        while not over.is_set():
            version = next(counter)
            sku = sender.chance.choice(skus)
            await sender.send("webhooks/stock", told(sku, version, began))
            last[sender, sku] = max(version, last.get((sender, sku), 0))
            await asyncio.sleep(0.03)

    async def switches(sender: Sender, ids: list[str]) -> None:
        """One after the other, as tills number nothing."""
        for number in itertools.count():
            if over.is_set():
                return
            id = sender.chance.choice(ids)
            on = sender.chance.randrange(2)
            await sender.send("webhooks/inventory", switch(id, number * 2 + on))
            last[sender, id] = on
            await asyncio.sleep(0.03)

    work, killed = [], []
    for number, (source, names) in enumerate([*warehouses, *tills]):
        sender = Sender(source, clients, random.Random(f"{SEED}-{number}"))
        senders.append(sender)
        if source.inbound.provider == "wms":
            counter = itertools.count(1)
            work += [asyncio.create_task(versions(sender, names, counter)) for _ in range(4)]
        else:
            work.append(asyncio.create_task(switches(sender, names)))
    try:
        for number in range(KILLS):
            before = acknowledged_by(senders)
            await asyncio.sleep(chance.uniform(0.2, 0.8))
            await until(lambda before=before: more_than(before, senders), GIVE_UP_S)  # each kill is one under load
            for name in (SERVERS[number % 2], *(["work2"] if number % 5 == 1 else [])):
                running.processes[name].kill()
                if name in SERVERS:
                    killed.append(running.processes[name].status)
                running.processes[name].start()
            await running.ready(SERVERS[number % 2], within_s=60)
        await asyncio.sleep(0.5)
    finally:
        over.set()
        ended = await asyncio.gather(*work, return_exceptions=True)
    assert [one for one in ended if one is not None] == []
    done_s = await all_done(engine, [sender.partner for sender in senders])

    missing = 0
    for sender in senders:
        kept = await in_the_table(engine, sender)
        missing += sum(hash not in kept for hash in sender.acknowledged)
    answers = sum((sender.answers for sender in senders), Counter())
    acknowledged = acknowledged_by(senders)
    states = sum([Counter(await sender.partner.payloads()) for sender in senders], Counter())
    counts = {"seed": SEED, "kills": len(killed), "acknowledged": acknowledged, "missing": missing}
    show("kills", **counts, answers=answers, states=states, done_after_s=round(done_s, 2))
    assert killed == [-signal.SIGKILL] * KILLS
    assert missing == 0
    assert acknowledged == sum(len(set(sender.acknowledged)) for sender in senders) > KILLS
    assert states.keys() <= {"APPLIED", "DUPLICATE"}
    assert [said for said in answers if said.isdigit()] == ["200"]
    assert answers.keys() - {"200"}, "nothing was cut off"
    wrong = []
    for (sender, name), number in last.items():
        level = await sender.partner.level(name)
        right = quantity(name, number) if sender.partner.inbound.provider == "wms" else number == 1
        if (level.on_hand if sender.partner.inbound.provider == "wms" else level.off) != right:
            wrong.append((name, number, level))
    assert wrong == []
    assert [await sender.partner.discrepancies() for sender in senders] == [0] * len(senders)


def acknowledged_by(senders: Sequence[Sender]) -> int:
    return sum(len(sender.acknowledged) for sender in senders)


async def more_than(before: int, senders: Sequence[Sender]) -> bool:
    return acknowledged_by(senders) > before


@pytest.mark.parametrize("provider", ["wms", "petpooja"])
async def test_fifty_identical_at_once_are_one_effect_and_fifty_acknowledgements(
    running: Town, engine: AsyncEngine, clients: list[httpx2.AsyncClient], provider: str
):
    source, [name] = await (warehouse if provider == "wms" else till_with)(engine, clients, 1)
    before = await source.level(name)
    said = event("stock.adjusted", location=STORE, sku=name, delta="7") if provider == "wms" else switch(name, 1)
    rest = "webhooks/stock" if provider == "wms" else "webhooks/inventory"
    body = json.dumps(said).encode()
    signed = source.signed(body)
    answers = await asyncio.gather(*(clients[n % 2].post(source.path(rest), content=body, headers=signed) for n in range(50)))
    assert Counter((answer.status_code, answer.text) for answer in answers) == {(200, answers[0].text): 50}
    await all_done(engine, [source])
    after = await source.level(name)
    states = Counter((await source.payloads())[-50:])
    show("identical webhooks", provider=provider, identical=len(answers), states=states)
    assert states == {"APPLIED": 1, "DUPLICATE": 49}
    assert after.version == before.version + 1
    assert (after.on_hand, after.off) == ((before.on_hand + 7, False) if provider == "wms" else (before.on_hand, True))


async def test_versions_shuffled_and_repeated_end_in_the_highest(
    running: Town, engine: AsyncEngine, clients: list[httpx2.AsyncClient]
):
    chance = random.Random(SEED)
    began = datetime.now(UTC) - timedelta(minutes=4)
    source, skus = await warehouse(engine, clients, 10)
    sends, highest = [], {}
    for sku in skus:
        versions = chance.sample(range(1, VERSIONS * 5), VERSIONS)
        highest[sku] = max(versions)
        for version in versions:
            body = json.dumps(told(sku, version, began)).encode()
            # Once more with the same id, as after a lost answer, and once more as news of its own.
            signed = source.signed(body)
            sends += [(body, signed), (body, source.signed(body))] + [(body, signed)] * chance.randint(0, 1)
    chance.shuffle(sends)
    turn = asyncio.Semaphore(20)

    async def send(number: int, body: bytes, signed: dict[str, str]) -> int:
        async with turn:
            return (await clients[number % 2].post(source.path("webhooks/stock"), content=body, headers=signed)).status_code

    answers = Counter(await asyncio.gather(*(send(number, *one) for number, one in enumerate(sends))))
    assert answers == {200: len(sends)}
    done_s = await all_done(engine, [source])
    states = Counter(state for *_, state in await source.instructions())
    show("shuffled versions", seed=SEED, sent=len(sends), instructions=states, done_after_s=round(done_s, 2))
    assert {sku: (await source.level(sku)).on_hand for sku in skus} == {sku: quantity(sku, highest[sku]) for sku in skus}
    assert states.keys() == {"APPLIED", "SUPERSEDED"}
    assert await source.discrepancies() == 0
