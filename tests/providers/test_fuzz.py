"""Whatever a provider sends, what comes of it is a Reading: nothing is raised, whatever is wrong has its place, and what is
said can be kept. Each golden payload is bent in ways that partners and strangers have bent theirs; a round is made again
from its number alone.
"""

import copy
import json
import random
from collections.abc import Callable
from dataclasses import replace
from typing import Any
from uuid import UUID

import pytest

from db.instructions import as_kept
from domain.intake import Batch, Call, Inbound, Question, Reading, Source, keepable, read, translated
from domain.refusals import InvalidInput, Refusal, Refused
from tests.conftest import LONG
from tests.providers.samples import Golden, goldens
from wiring import INBOUNDS

ROUNDS = 3_000 if LONG else 40
LARGEST_KEPT = 2**63
LONGEST_INDEXED = 2_600  # bytes of a key in an index of PostgreSQL's
Rng = random.Random


class Raw(str):
    """A piece of JSON as it is to stand there, whether it is any or not."""

    __slots__ = ()


ODD: tuple[Any, ...] = (
    None, True, False, 0, 1, -1, 2, 1.5, -0.0, 10**9, 10**12, 10**18, -(10**18), 10**40, 0.1 + 0.2, 218.99999999999997, 1e-30,
    "", " ", "0", "1", "-1", "yes", "false", "null", "NaN", "Infinity", "1e999999", "1,299.00", "12.345", "₹ 199", "٣", "1_000",
    "2026-01-05", "2026-01-0511:33:13", "9999-12-31T23:59:59Z", "0001-01-01T00:00:00+14:00", "2026-02-30", "24:00", "1767618000",
    "99999999999999999", "1e11", "\0", "a\0b", "\ud800", "x\udfff", "\u202e", "🍕", "é" * 201, "x" * 300, "x" * 11_000, "../..",
    [], {}, [[]], [None], [{}], {"0": {}}, {"0": "a", "1": "b"}, {"01": 1}, {"²": 1}, {"x": 1}, ["a", "a"], [1, "1", 1.0], 1e300,
    Raw("NaN"), Raw("-Infinity"), Raw("1e999999"), Raw("-1E-999999"), Raw("9" * 5_000), Raw("0." + "3" * 5_000), Raw("1.0"),
    Raw(r'"\u0000"'), Raw(r'"\ud800"'), Raw(r'"\ud83c\udf55"'), Raw(r'"\q"'), Raw("{"), Raw("undefined"), Raw("-0"),
    Raw("[" * 60 + "]" * 60), Raw("[" * 100_000), Raw('{"a":' * 20_000), Raw('"' + "y" * 20_000 + '"'),
)  # fmt: skip
Place = tuple[Any, Any]  # what holds it, and under which name or number


def places(told: Any) -> list[Place]:
    found: list[Place] = []
    todo = [told]
    while todo:
        within = todo.pop()
        inner = list(within.items()) if isinstance(within, dict) else list(enumerate(within)) if isinstance(within, list) else []
        found += [(within, name) for name, _ in inner]
        todo += [value for _, value in inner]
    return found


# ---------------------------------------------------------------- how it is bent


def odd(place: Place, told: Any, rng: Rng) -> None:
    place[0][place[1]] = copy.deepcopy(rng.choice(ODD))


def gone(place: Place, told: Any, rng: Rng) -> None:
    del place[0][place[1]]


def other_type(place: Place, told: Any, rng: Rng) -> None:
    within, name = place
    value = within[name]
    if isinstance(value, bool):
        within[name] = rng.choice([int(value), str(value), str(int(value)), "on" if value else "off"])
    elif isinstance(value, int | float):
        within[name] = rng.choice([str(value), float(value), [value], {"value": value}, -value, value * 10**6])
    elif isinstance(value, list):
        within[name] = rng.choice([{str(number): one for number, one in enumerate(value)}, value[:1], value * 2, json.dumps(value)])
    elif isinstance(value, dict):
        within[name] = rng.choice([[value], list(value.values()), list(value), json.dumps(value)])
    else:
        within[name] = rng.choice([[value], {"0": value}, f" {value} ", f"{value}\0", str(value).upper(), str(value)[:1]])


def twice(place: Place, told: Any, rng: Rng) -> None:
    within, name = place
    if isinstance(within, list):
        within.insert(rng.randrange(len(within) + 1), copy.deepcopy(within[name]))
    else:
        within[f"{name}{rng.choice(['', ' ', '_', chr(0), 'X'])}"] = within[name]


def swapped(place: Place, told: Any, rng: Rng) -> None:
    within, name = place
    there, other = rng.choice(places(told))
    within[name], there[other] = copy.deepcopy(there[other]), copy.deepcopy(within[name])


def renamed(place: Place, told: Any, rng: Rng) -> None:
    within, name = place
    if isinstance(within, dict):
        within[rng.choice([str(name).upper(), f"{name}s", "", "id", "0"])] = within.pop(name)


def deeper(place: Place, told: Any, rng: Rng) -> None:
    within, name = place
    for _ in range(rng.choice([1, 2, 40])):
        within[name] = [within[name]] if rng.random() < 0.5 else {"0": within[name]}


BENT: tuple[Callable[[Place, Any, Rng], None], ...] = (
    odd,
    odd,
    odd,
    gone,
    gone,
    other_type,
    other_type,
    twice,
    swapped,
    renamed,
    deeper,
)


def text_of(told: Any) -> str:
    """JSON as nobody's library writes it: with Raw pieces, and whatever halves of characters there are."""
    if isinstance(told, Raw):
        return str(told)
    if isinstance(told, dict):
        return "{" + ",".join(f"{json.dumps(str(name))}:{text_of(value)}" for name, value in told.items()) + "}"
    if isinstance(told, list):
        return "[" + ",".join(map(text_of, told)) + "]"
    return json.dumps(told)


def said_twice(text: str, rng: Rng) -> str:
    """A name that an object has already."""
    starts = [place for place, character in enumerate(text) if character == "{"]
    names = text.split('"')[1::2]
    if not starts or not names:
        return text
    at = rng.choice(starts) + 1
    return f"{text[:at]}{json.dumps(rng.choice(names)[:50])}:{text_of(rng.choice(ODD[:40]))},{text[at:]}"


def broken(raw: bytes, rng: Rng) -> bytes:
    at = rng.randrange(len(raw) + 1)
    match rng.randrange(9):
        case 0:
            return raw[:at]
        case 1:
            return raw[:at] + bytes([rng.randrange(256)]) + raw[at + 1 :]
        case 2:
            return raw[:at] + rng.choice([b"\0", b"\xff\xfe", b"\xed\xa0\x80", b"\r\n", b'"', b",", b"}", b"\xf0\x9f"]) + raw[at:]
        case 3:
            return b"\xef\xbb\xbf" + raw
        case 4:
            return raw.decode(errors="replace").encode("utf-16")
        case 5:
            return raw + raw
        case 6:
            return rng.choice([b"", b" ", b"null", b"[]", b"{}", b'""', b"0", b"[[]]", b"\0", b"%PDF-1.4", b"a=b&c=d", b"<xml/>"])
        case 7:
            return raw.replace(b'"', b"'")
        case _:
            return bytes(rng.randrange(256) for _ in range(rng.randrange(200)))


def bent(golden: Golden, rng: Rng) -> bytes:
    if isinstance(golden.told, bytes):
        raw = golden.told
        for _ in range(rng.randrange(1, 4)):
            raw = broken(raw, rng)
        return raw
    told = [copy.deepcopy(golden.told)]  # a list, so that the whole has a place of its own too
    for _ in range(rng.choice([1, 1, 1, 2, 3, 8])):
        where = places(told)
        if where and told:
            rng.choice(BENT)(rng.choice(where), told, rng)
    text = text_of(told[0]) if told else ""
    if rng.random() < 0.1:
        text = said_twice(text, rng)
    raw = text.encode("utf-8", "surrogatepass")
    return broken(raw, rng) if rng.random() < 0.15 else raw


def called(golden: Golden, rng: Rng) -> tuple[Call, Source]:
    """Now and then the URL, the headers and the source are odd as well."""
    call, source = golden.call(bent(golden, rng)), golden.source()
    strange = ["", "\0", "-1", "\ud800", "x" * 400, "ST-02", "ourmarket", "²"]
    if rng.random() < 0.1:
        names = [*call.query, "store", "platform", "stock", "location", rng.choice(strange)]
        call = replace(call, query={name: rng.choice(strange) for name in rng.sample(names, 2)})
    if call.path and rng.random() < 0.1:
        call = replace(call, path={name: rng.choice(strange) for name in call.path})
    if rng.random() < 0.1:
        call = replace(call, headers={rng.choice(["facility", "webhook-id", "x-upr-event-type"]): rng.choice(strange)})
    if rng.random() < 0.1:
        zones = rng.choice([{}, {"A": "Asia/Kolkata", "B": "UTC"}, {"": "America/New_York"}])
        source = replace(source, stores=zones)
    return call, source


# ---------------------------------------------------------------- what has to hold


def check(inbound: Inbound, call: Call, source: Source) -> None:
    refusal = _refusal(inbound, call, source)
    assert not isinstance(refusal, InvalidInput) or refusal.problems
    id = inbound.event_id(call)  # of what is long it is asked for apart
    assert id is None or isinstance(id, str)
    for reading in (translated(inbound, call, source), read(inbound, call, source)):
        check_reading(reading)
    for answer in (inbound.acknowledge(call, UUID(int=7)), inbound.refuse(call, 400, "no")):
        json.dumps(answer.body)
        assert 100 <= answer.status <= 599


def _refusal(inbound: Inbound, call: Call, source: Source) -> Refusal | None:
    """Nothing else is ever raised, though a Reading would be made of it too."""
    try:
        assert isinstance(inbound.translate(replace(call, profile=source.profile), source), Batch | Question)
    except Refused as refused:
        return refused.refusal
    return None


def check_reading(reading: Reading) -> None:
    assert isinstance(reading, Reading)
    for problem in reading.problems:
        assert problem.path.strip()
        assert problem.message.strip()
    assert bool(reading.problems) <= (reading.wrong is not None)
    if reading.wrong is not None:
        assert reading.wrong.message.strip()
        assert keepable(reading.wrong.message)
    if reading.event_id is not None:
        assert keepable(reading.event_id)
        assert len(reading.event_id.encode()) <= LONGEST_INDEXED
    commands = list(reading.commands)
    assert keepable(commands)
    for command in commands:
        assert command.version is None or abs(command.version) < LARGEST_KEPT
        assert len(command.entity.encode()) <= LONGEST_INDEXED
        assert all(moment is None or moment.tzinfo is not None for moment in (command.at, command.not_before))
    assert list(map(as_kept, commands)) == commands


@pytest.mark.parametrize("golden", goldens(), ids=lambda golden: golden.name)
def test_what_is_right_is_read_whole(golden: Golden):
    reading = translated(golden.inbound, golden.call(golden.told), golden.source())
    assert not reading.problems
    assert reading.wrong is None
    assert reading.commands or reading.question is not None
    check_reading(reading)


def rounds(golden: Golden) -> int:
    """A long one is not bent as often."""
    size = len(golden.call(golden.told).body)
    return max(3, ROUNDS * 4_000 // max(size, 4_000))


@pytest.mark.parametrize("golden", goldens(), ids=lambda golden: golden.name)
def test_whatever_is_sent_is_read_or_told_wrong_by_its_place(golden: Golden):
    for number in range(rounds(golden)):
        call, source = called(golden, Rng(f"{golden.name} {number}"))
        try:
            check(golden.inbound, call, source)
        except Exception as error:
            error.add_note(f"{golden.name}, round {number}: {call.query} {call.path} {dict(source.stores)} {call.body[:3_000]!r}")
            raise


def test_every_provider_is_tried():
    assert {golden.inbound.provider for golden in goldens()} == set(INBOUNDS)
