"""Bytes nobody would send: no traceback, no 5xx, and the code that belongs to each."""

import asyncio
import json
import logging
import random
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any

import pytest
import pytest_asyncio
from websockets.exceptions import ConnectionClosed

from schema.callers import Rules
from tests.api.stall import Stall, feeding, serving
from tests.conftest import LONG
from tests.figures import show
from tests.waiting import until

MANY = 10_000 if LONG else 300
AT_ONCE = 10
QUERIES = (
    "{ viewer }",
    "query A($n: Int = 3) { stores(first: $n) { nodes { id ...S } } } fragment S on Store { name }",
    "mutation { add(units: 2) { count } }",
    "subscription { count(upTo: 2) { number } }",
    '{ at(time: "2026-01-05T13:00:00Z", price: "1.50") }',
)
ODD: tuple[Any, ...] = (
    None, True, False, 0, -1, 1.5, 2**31, 2**63, 10**30, 1e308, "", "x", "\0", "\ud800", "é" * 40, "{", "}", "\u202e",
    [], {}, [[]], [None],
    {"": ""}, {"query": "{ viewer }"}, "x" * 70_000, [[[[[[[[[[]]]]]]]]]], {"a": {"b": {"c": {}}}},
)  # fmt: skip
BYTES = (
    b"\x00",
    b"\xff",
    b"\xfe",
    b"\xc3",
    b"\xed\xa0\x80",
    b"\xef\xbb\xbf",
    b"NaN",
    b"-Infinity",
    b"1e999",
    b"9" * 5_000,
    b'"',
    b"\\",
    b"{",
    b"[",
    b"[" * 2_000,
)


def body(chance: random.Random) -> bytes:
    """A request, more or less."""
    told: Any = {"query": query(chance)}
    for member in ("variables", "operationName", "extensions", "id"):
        if chance.random() < 0.4:
            told[member] = chance.choice((None, {}, {"n": 1}, {"n": chance.choice(ODD)}, "A", chance.choice(ODD)))
    if chance.random() < 0.2:
        told[chance.choice(tuple(told))] = chance.choice(ODD)
    if chance.random() < 0.1:
        told = chance.choice((chance.choice(ODD), [told], [told, told]))
    return bent(json.dumps(told, ensure_ascii=chance.random() < 0.5).encode(errors="surrogatepass"), chance)


def frame(chance: random.Random) -> bytes:
    """A message of the protocol, more or less."""
    told: Any = {"type": chance.choice(("subscribe", "subscribe", "complete", "ping", "pong", "connection_init", "next", "x"))}
    if chance.random() < 0.9:
        told["id"] = chance.choice(("1", "2", "é" * 64, "x" * 65, chance.choice(ODD)))
    if chance.random() < 0.9:
        told["payload"] = {"query": query(chance)}
        for member in ("variables", "operationName", "extensions", "authorization"):
            if chance.random() < 0.2:
                told["payload"][member] = chance.choice((None, {}, {"n": chance.choice(ODD)}, "A", chance.choice(ODD)))
    if chance.random() < 0.2:
        told[chance.choice(tuple(told))] = chance.choice(ODD)
    if chance.random() < 0.05:
        told = chance.choice(ODD)
    return bent(json.dumps(told, ensure_ascii=chance.random() < 0.5).encode(errors="surrogatepass"), chance)


def query(chance: random.Random) -> str:
    text = chance.choice(QUERIES)
    for _ in range(chance.choice((0, 0, 0, 1, 3))):
        at = chance.randrange(len(text) + 1)
        text = (
            text[:at]
            + chance.choice(("{", "}", "(", ")", "...", "@", "$", '"', '"""', "#", "\\u0000", "é", "[" * 50, "on", "9" * 50, " "))
            + text[at + chance.randrange(3) :]
        )
    return text


def bent(sent: bytes, chance: random.Random) -> bytes:
    for _ in range(chance.choice((0, 0, 0, 1, 1, 4))):
        at = chance.randrange(len(sent) + 1)
        match chance.randrange(4):
            case 0:
                sent = sent[:at]
            case 1:
                sent = sent[:at] + chance.choice(BYTES) + sent[at:]
            case 2:
                sent = sent[:at] + sent[at + chance.randrange(1, 9) :]
            case _:
                sent = sent[:at] + bytes([chance.randrange(256)]) + sent[at + 1 :]
    return sent


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def stall() -> AsyncIterator[Stall]:
    async with serving(Rules(messages_per_s=None, sockets_per_address=None)) as stall:
        yield stall


@pytest.fixture(autouse=True)
def quiet(caplog: pytest.LogCaptureFixture) -> Any:
    caplog.set_level(logging.INFO)
    yield
    said = [record for record in caplog.records if record.exc_info or record.levelno >= logging.ERROR]
    # Uvicorn's own words for text that is none: adapters/logs.py leaves them out.
    assert not [record for record in said if not record.getMessage().startswith("Invalid UTF-8")]


async def test_bodies(stall: Stall):
    chance = random.Random(seed := 20_261_121)
    statuses: dict[int, int] = {}

    async def send_some(count: int) -> None:
        async with stall.client(**{"content-type": "application/json", "accept": "application/graphql-response+json"}) as client:
            for _ in range(count):
                sent = body(chance)
                answer = await client.post(stall.url, content=sent)
                statuses[answer.status_code] = statuses.get(answer.status_code, 0) + 1
                told = answer.json()
                assert answer.status_code in (200, 400, 403, 413), sent
                assert ("data" in told) == (answer.status_code == 200), sent
                assert all(error["extensions"]["code"] in ("INVALID_INPUT", "TOO_COSTLY") for error in told.get("errors", ())), sent

    await asyncio.gather(*(send_some(MANY // AT_ONCE) for _ in range(AT_ONCE)))
    show("fuzzed bodies", seed=seed, sent=MANY, statuses=statuses)
    assert sum(statuses.values()) == MANY
    assert min(statuses.get(200, 0), statuses.get(400, 0)) > MANY / 20  # some of each, or this tests nothing


CLOSED = {1007, 1009, 4400, 4401, 4403, 4409, 4429}


async def test_frames(stall: Stall):
    chance = random.Random(seed := 20_261_122)
    codes: dict[int | None, int] = {}
    sent_in_all = 0

    async def send_some(count: int) -> None:
        """On one socket until it is closed, and then on the next."""
        nonlocal sent_in_all
        while count > 0:
            async with stall.socket() as ws:
                if chance.random() < 0.9:
                    await ws.send('{"type": "connection_init"}')
                last = b""
                with suppress(ConnectionClosed):
                    for _ in range(min(count, 20)):
                        last = frame(chance)
                        count -= 1
                        sent_in_all += 1
                        if chance.random() < 0.95:
                            await ws.send(last, text=True)
                        else:
                            await ws.send(last)
                        await asyncio.sleep(0)
                    await ws.send('{"type": "ping"}')
                    async with asyncio.timeout(5):
                        while True:
                            told = json.loads(await ws.recv())
                            if told["type"] == "pong":
                                break
                            for error in told["payload"] if told["type"] == "error" else ():
                                assert error["extensions"]["code"] in ("INVALID_INPUT", "TOO_COSTLY", "FORBIDDEN", "RATE_LIMITED")
                codes[ws.close_code] = codes.get(ws.close_code, 0) + 1
                assert ws.close_code is None or ws.close_code in CLOSED, (ws.close_code, ws.close_reason, last)

    await asyncio.gather(*(send_some(MANY // AT_ONCE) for _ in range(AT_ONCE)))
    show("fuzzed frames", seed=seed, sent=sent_in_all, closed=codes)
    assert sent_in_all >= MANY
    assert codes.get(4400, 0) > MANY / 20
    await until(lambda: not feeding and not stall.door.listeners.open)
    assert stall.figures.open_feeds == 0
