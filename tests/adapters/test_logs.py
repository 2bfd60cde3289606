"""A line says what happened, to which ids, in whose name; never to whom."""

import asyncio
import json
import logging
import sys
from collections.abc import Iterator
from io import StringIO
from typing import Any

import pytest

from adapters.logs import SAME_MOST, Flood, configure_logs, redacted
from domain import trace
from tests.canary import PLANTED, listening, spellings


@pytest.fixture
def written() -> Iterator[StringIO]:
    """What `configure_logs` makes of everything that is logged; as it was, afterwards."""
    root = logging.getLogger()
    names = [name for name in logging.Logger.manager.loggerDict if name.startswith(("uvicorn", "haat", "asyncio", "strawberry"))]
    before = root.handlers[:], root.level, {name: logging.getLogger(name).level for name in names}
    stream = StringIO()
    configure_logs("debug", stream, pretty=False)
    yield stream
    root.handlers[:], root.level = before[0], before[1]
    for name in names:
        logging.getLogger(name).setLevel(before[2][name])
    logging.captureWarnings(False)


def lines(stream: StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_a_line_is_one_object_with_its_correlation(written: StringIO):
    trace.correlation_id.set("c-12345678")
    trace.cause.set("clock")
    logging.getLogger("haat.orders").info("order %s expired", "0197", extra={"store": "0198", "codes": {"A": 1}})
    (line,) = lines(written)
    assert line.pop("at").endswith("Z")
    assert line == {
        "level": "info",
        "logger": "haat.orders",
        "event": "order 0197 expired",
        "store": "0198",
        "codes": {"A": 1},
        "correlation_id": "c-12345678",
        "cause": "clock",
    }


def test_an_exception_is_types_and_places_and_first_lines(written: StringIO):
    def fail() -> None:
        phone = PLANTED.phones[0]
        raise ValueError(f"no such phone: {phone}\nDETAIL: Key (email)=({PLANTED.emails[0]})")

    try:
        try:
            fail()
        except ValueError as error:
            raise RuntimeError("a bug") from error
    except RuntimeError:
        logging.getLogger("haat.orders").exception("failed")
    (line,) = lines(written)
    told = line["exception"]
    assert told[0] == "RuntimeError: a bug"
    assert "ValueError: no such phone: ***" in told
    assert any(place.endswith(" fail") and "test_logs.py" in place for place in told)
    assert "DETAIL" not in written.getvalue()
    assert "Traceback" not in written.getvalue()


@pytest.mark.parametrize("value", [*PLANTED.phones, *PLANTED.emails, *PLANTED.tokens, "12.971987", "98765 01234", "09876501234"])
def test_what_looks_like_a_person_s_or_like_a_key_is_cut_out(value: str, written: StringIO):
    log = logging.getLogger("haat.orders")
    log.warning("told %s", value)
    log.warning("told", extra={"detail": f"it was {value}, they say", "deep": {"list": [value]}})
    log.warning(f"in the text itself: {value}")
    assert len(lines(written)) == 3
    assert not [one for one in spellings(value) if one in written.getvalue()]


@pytest.mark.parametrize(
    "kept",
    [
        "0197f3a2-7c4e-7d1a-9b2e-3f4a5b6c7d8e",
        "9876543210abcdef9876543210abcdef",
        "2026-11-21T03:12:47.123Z",
        "a page of 50 took 1234567 us",
        "127.0.0.1:8000",
        "graphql.execution.executor.IncrementalExecutor",
        "0.12 s",
    ],
)
def test_ids_times_and_words_of_ours_stay(kept: str):
    assert redacted(kept) == kept


def test_keys_that_name_a_person_s_hold_nothing(written: StringIO):
    extra = {"phone": "1", "email": "2", "accessToken": "kept?", "access_token": "x", "lat": 12.9, "line1": "12 Lake Road"}
    logging.getLogger("haat.orders").info("told", extra={"who": extra, "password": "hunter2"})
    text = written.getvalue()
    assert "Lake Road" not in text
    assert "hunter2" not in text
    assert "12.9" not in text


def test_passwords_in_addresses_go_and_hosts_stay():
    assert redacted("postgresql+asyncpg://haat:secret@db.internal/haat") == "postgresql+asyncpg://***@db.internal/haat"
    assert redacted("Authorization: Bearer abc.def") == "Authorization: ***"


def test_a_flood_is_counted(written: StringIO):
    for number in range(SAME_MOST * 3):
        logging.getLogger("haat.orders").info("again %s", number)
    logging.getLogger("haat.orders").info("something else")
    assert [line["event"] for line in lines(written)][-1] == "something else"
    assert len(lines(written)) == SAME_MOST + 1


def test_after_a_flood_it_is_said_how_much_was_left_out(monkeypatch: pytest.MonkeyPatch):
    now = 100.0
    monkeypatch.setattr("adapters.logs.time.monotonic", lambda: now)
    flood = Flood(most=2, every_s=10)

    def record() -> logging.LogRecord:
        return logging.LogRecord("haat", logging.INFO, "", 0, "again", (), None)

    assert [flood.filter(record()) for _ in range(5)] == [True, True, False, False, False]
    now = 111.0
    late = record()
    assert flood.filter(late)
    assert late.left_out == 3  # type: ignore[attr-defined]


async def test_the_servers_and_the_loops_words_go_the_same_way(written: StringIO):
    logging.getLogger("uvicorn.error").info('127.0.0.1:1 - "WebSocket /graphql?token=x" [accepted]')
    logging.getLogger("uvicorn.error").error("Exception in ASGI application")
    logging.getLogger("uvicorn.error").error("Invalid UTF-8 sequence received from client.", exc_info=ValueError("x"))
    asyncio.get_running_loop().call_exception_handler({"message": "a task failed", "exception": RuntimeError("bug")})
    logging.getLogger("httpx2").info("HTTP Request: GET https://example.org/?phone=9876501234")
    assert [line["logger"] for line in lines(written)] == ["uvicorn.error", "asyncio"]


def test_a_person_reads_lines(written: StringIO, monkeypatch: pytest.MonkeyPatch):
    stream = StringIO()
    configure_logs("info", stream, pretty=True)
    logging.getLogger("haat.orders").debug("not this")
    logging.getLogger("haat.orders").info("leading", extra={"pos": 7})
    assert "info    haat.orders: leading" in stream.getvalue()
    assert "pos=7" in stream.getvalue()
    assert stream.getvalue().count("\n") == 1


def test_the_canary_hears_what_is_said_and_finds_it_in_any_spelling():
    with listening() as heard:
        logging.getLogger("haat.anything").debug("name %s", PLANTED.names[0])
        heard.add("metrics", 'haat_x{who="canary.asha%40example.org"} 1')
    assert set(heard.hits()) == {("log", PLANTED.names[0]), ("metrics", PLANTED.emails[0])}
    assert len(list(PLANTED.texts())) >= 20
    assert sys.stderr is not None
