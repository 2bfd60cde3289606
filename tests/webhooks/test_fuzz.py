"""Each provider's payloads, bent and then proven as the provider proves them, at the real door: whatever is sent is answered,
kept and settled. A batch is carried out with what is wrong in it listed, or nothing of it is. A round is made again from its
number alone.
"""

import logging
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any
from urllib.parse import quote, urlencode

import pytest
from sqlalchemy import delete, func, select, text, update
from sqlalchemy.ext.asyncio import AsyncEngine

from db import tables as t
from db.unit_of_work import unit_of_work
from domain.batches import Decision
from domain.intake import EntityKind, InstructionState, PayloadState, Reading
from domain.profile_versions import activate_profile, save_profile
from domain.proofs import prove
from tests.conftest import LONG
from tests.figures import show
from tests.partners import Partner, client_of, partner, worker_of
from tests.providers.calls import RECEIVED
from tests.providers.samples import Golden, goldens
from tests.providers.test_fuzz import Rng, called
from tests.world import listing
from webhooks import intake
from wiring import INBOUNDS
from workers import instructions

ROUNDS = 60 if LONG else 3
LONG_BYTES = 20_000  # of what is longer only one in so many rounds is sent
EACH = 10
SEED = 20261121
COUNTED: Counter[str] = Counter()
OURS = ("store", "product", "variant", "listing", "modifier", "modifier_group", "stock_level", "stock_movement", "mapping")
WORLD = text(
    " UNION ALL ".join(
        f"SELECT '{name}' AS name, md5(coalesce(string_agg(x::text, '|' ORDER BY x::text), '')) AS sum"
        f" FROM {name} x WHERE x.merchant_id = :merchant"
        for name in OURS
    )
)
SETTLED = {PayloadState.APPLIED, PayloadState.PARKED, PayloadState.FAILED, PayloadState.REJECTED, PayloadState.DUPLICATE}
BUG = re.compile(r"[A-Z][A-Za-z]*(Error|Exception|Exit)\b")  # of ours: what a provider has done wrong is told in words
DONE = {InstructionState.APPLIED, InstructionState.SUPERSEDED}
p, i, f = t.payload.c, t.instruction.c, t.failure.c

Told = dict[bytes, Reading]


@pytest.fixture(scope="module", autouse=True)
def counted():
    yield
    show("bent at the door", seed=SEED, **dict(sorted(COUNTED.items())))


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> Told:
    """By body, what its reader made of it last, at the door or behind it."""
    found: Told = {}
    for module, name in ((intake, "read"), (instructions, "translated")):
        reader = getattr(module, name)

        def kept(inbound: Any, call: Any, source: Any, reader: Any = reader) -> Reading:
            found[call.body] = reading = reader(inbound, call, source)
            return reading

        monkeypatch.setattr(module, name, kept)
    return found


# ---------------------------------------------------------------- who calls


@dataclass
class Fuzzed:
    """One source whose goldens were all sent as they are, first: there is something for bent ones to spoil."""

    partner: Partner
    goldens: Sequence[Golden]
    told: Told
    log: pytest.LogCaptureFixture
    seen: set[Any] = field(default_factory=set)

    async def post(self, golden: Golden, body: bytes, path: Mapping[str, str], query: Mapping[str, str], given: Mapping[str, str]):
        """Under the provider's own proof, over the very bytes and the URL."""
        mine = self.partner
        url = mine.path(rest(golden, path))
        if query:
            url += ("&" if "?" in url else "?") + urlencode(query, errors="surrogatepass")
        mine.sent += 1
        id = f"msg-{mine.source_id.hex[-6:]}-{mine.sent}"
        proof = prove(mine.proof, mine.text, mine.source_id, mine.door.url + url, body, RECEIVED, id)
        return await mine.client.post(url, content=body, headers={**given, **proof})

    async def carry_out(self) -> None:
        await worker_of(self.partner.engine).drain()

    async def forget(self) -> None:
        """As if all that was told had been told long ago: what comes next is no repeat, and no older news."""
        mine = self.partner.source_id
        async with self.partner.engine.begin() as connection:
            await connection.execute(update(t.payload).where(p.source_id == mine).values(dedupe_key=None))
            await connection.execute(delete(t.told).where(t.told.c.source_id == mine))

    async def world(self) -> dict[str, str]:
        """What is ours, table by table."""
        rows = await self.partner.rows(WORLD.bindparams(merchant=self.partner.shop.merchant_id))
        return {row.name: row.sum for row in rows}


def rest(golden: Golden, path: Mapping[str, str]) -> str:
    """Of the paths of its door the one that has places for what it tells in its path."""
    names = {f"{{{name}}}" for name in golden.path}
    found = next(
        one
        for one, door in golden.inbound.doors.items()
        if door == golden.door and {word for word in one.split("/") if word.startswith("{")} == names
    )
    for name, value in path.items():
        found = found.replace(f"{{{name}}}", quote(value, safe="", errors="surrogatepass"))
    return found


def families() -> dict[str, list[Golden]]:
    """What one source may say: by provider, its stores and what it is read by."""
    found: dict[str, list[Golden]] = {}
    for golden in goldens():
        found.setdefault(f"{golden.inbound.provider} {' '.join(golden.stores)}", []).append(golden)
    return found


async def fuzzed(engine: AsyncEngine, mine: Sequence[Golden], told: Told, log: pytest.LogCaptureFixture) -> Fuzzed:
    provider, stores = mine[0].inbound.provider, mine[0].stores
    source = await partner(engine, provider, stores[0], time_zone="Asia/Kolkata")
    source.door = replace(source.door, clock=lambda: RECEIVED)  # the day of which goldens speak
    source.client = client_of(source.door)
    profile = next((golden.profile for golden in mine if golden.profile), None)
    if profile is not None:
        async with unit_of_work(engine) as uow:
            version = await save_profile(source.source_id, profile, source.shop.owner, uow)
            await activate_profile(source.source_id, version, builtin=False, actor=source.shop.owner, uow=uow)
    one = Fuzzed(source, mine, told, log)
    for _ in range(2):  # the second time what they speak of is there
        for golden in mine:
            answer = await one.post(golden, golden.call(golden.told).body, golden.path, golden.query, golden.headers)
            assert answer.status_code // 100 == 2, f"{golden.name}: {answer.text}"
        await one.carry_out()
        await stock(source)
        await one.forget()
    await one.carry_out()
    one.seen = {row.id for row in await source.rows(select(p.id).where(p.source_id == source.source_id))}
    return one


async def stock(source: Partner) -> None:
    """Whatever goods it spoke of that nobody has listed."""
    goods = f"{EntityKind.VARIANT.value}:"
    waiting = select(i.waits_for).where(i.source_id == source.source_id, i.waits_for.startswith(goods)).distinct()
    for row in await source.rows(waiting):
        await source.map(EntityKind.VARIANT, row.waits_for.removeprefix(goods), await listing(source.engine, source.shop, 20))


# ---------------------------------------------------------------- what has to hold


async def round_of(one: Fuzzed, golden: Golden, number: int) -> None:
    """One bent call, and all that comes of it."""
    call, _ = called(golden, Rng(f"{SEED} {golden.name} {number}"))
    query = {name: value for name, value in call.query.items() if name not in ("source", "t", "key")}
    headers = {name: value for name, value in call.headers.items() if value.isascii() and value.isprintable()}
    before = await one.world()
    one.log.clear()
    answer = await one.post(golden, call.body, call.path, query, headers)
    COUNTED["sent"] += 1
    COUNTED[f"status {answer.status_code // 100}xx"] += 1
    assert answer.status_code < 500, answer.text
    assert answer.status_code != 401, "whoever has proven who they are is heard"
    await one.carry_out()
    assert [record.getMessage() for record in one.log.records if record.exc_info or record.levelno >= logging.ERROR] == []
    rows = await one.partner.rows(
        select(p.id, p.state, t.judgement.c.state.label("decision"))
        .join(t.judgement, t.judgement.c.payload_id == p.id, isouter=True)
        .where(p.source_id == one.partner.source_id, p.id.not_in(one.seen))
    )
    assert len(rows) <= 1, "one call is one payload"
    if not rows:
        COUNTED["asked, or nobody's door"] += 1
        assert answer.status_code == 404 or one.told[call.body].question is not None, f"{answer.status_code}: not kept"
    for row in rows:
        one.seen.add(row.id)
        await settled(one, row, call.body, await one.world() != before)
    assert await one.partner.discrepancies() == 0
    await one.forget()


async def settled(one: Fuzzed, payload: Any, body: bytes, changed: bool) -> None:
    parts = await one.partner.rows(select(t.instruction).where(i.payload_id == payload.id).order_by(i.ordinal))
    wrong = await one.partner.rows(select(t.failure).where(f.payload_id == payload.id))
    states = {part.state for part in parts}
    COUNTED[payload.state.value.lower()] += 1
    COUNTED["instructions"] += len(parts)
    assert not [said.message for said in wrong if BUG.match(said.message)]
    if payload.state in (PayloadState.REJECTED, PayloadState.DUPLICATE) or payload.decision is Decision.PARKED:
        assert wrong, "nobody is told"
        assert not changed, "something of what was not carried out was done"
        assert payload.decision is Decision.PARKED or not parts
        assert not states & DONE
        return
    reading = one.told[body]
    assert [part.ordinal for part in parts] == list(range(len(reading.commands))), "not all that was read is there"
    if reading.wrong is not None:
        assert reading.wrong.message in {said.message for said in wrong}, "what could not be read is not told"
    if payload.state is PayloadState.ACCEPTED:
        # Its day is to come. Whatever else waits has not been done.
        COUNTED["for another day"] += 1
        waiting = [part for part in parts if part.state is InstructionState.WAITING]
        assert waiting
        assert all(part.attempts == 0 for part in waiting), "what cannot be done is tried for ever"
        mine = i.source_id == one.partner.source_id
        later = select(i.entity).where(mine, i.state == InstructionState.WAITING, i.next_at > func.clock_timestamp())
        days = {row.entity for row in await one.partner.rows(later)}
        assert {part.entity for part in waiting} <= days, "it waits for no day"
        return
    assert payload.state in SETTLED
    assert not states & {InstructionState.WAITING}
    if payload.state is PayloadState.APPLIED:
        assert states <= DONE
    if not parts:
        assert not changed
    apart = {said.instruction_id for said in wrong}
    assert all(part.id in apart for part in parts if part.state is InstructionState.FAILED)
    if InstructionState.PARKED in states:
        COUNTED["waits for a mapping"] += 1


@pytest.mark.parametrize("name", families())
async def test_whatever_is_sent_and_proven_is_settled(engine, told, caplog, name):
    one = await fuzzed(engine, families()[name], told, caplog)
    for golden in one.goldens:
        size = len(golden.call(golden.told).body)
        for number in range(ROUNDS if size < LONG_BYTES else max(1, ROUNDS // EACH)):
            try:
                await round_of(one, golden, number)
            except Exception as error:
                call, _ = called(golden, Rng(f"{SEED} {golden.name} {number}"))
                error.add_note(f"{golden.name}, round {number}: {call.query} {call.path} {call.headers} {call.body[:3_000]!r}")
                raise


def test_every_door_is_tried():
    assert {golden.inbound.provider for golden in goldens()} == set(INBOUNDS)
