"""GraphQL over HTTP: what is read, what is answered, and by which status."""

import asyncio
import json
import logging
import re
from collections.abc import AsyncIterator
from datetime import datetime
from typing import Any

import pytest
import pytest_asyncio

from domain.identity import ActorKind
from schema.callers import Rules
from tests.api.stall import Stall, ran, serving
from tests.waiting import until

NEW = "application/graphql-response+json"


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def shared() -> AsyncIterator[Stall]:
    """Where a test leaves nothing behind."""
    async with serving() as stall:
        yield stall


async def post(stall: Stall, body: Any, **headers: str) -> Any:
    async with stall.client(
        **{"content-type": "application/json", **{name.replace("_", "-"): value for name, value in headers.items()}}
    ) as client:
        return await client.post(stall.url, content=body if isinstance(body, bytes | str) else json.dumps(body))


def code(answer: Any) -> str:
    return str(answer.json()["errors"][0]["extensions"]["code"])


BODIES: list[tuple[str, bytes | str, int]] = [
    ("nothing", b"", 400),
    ("null", b"null", 400),
    ("a number", b"1", 400),
    ("a text", b'"x"', 400),
    ("a list", b"[]", 400),
    ("a batch", b'[{"query": "{ viewer }"}]', 400),
    ("no query", b"{}", 400),
    ("no text", b'{"query": 5}', 400),
    ("an empty query", b'{"query": ""}', 400),
    ("half an object", b'{"query": "{ viewer }"', 400),
    ("two objects", b'{"query": "{ viewer }"} {}', 400),
    ("not UTF-8", b'{"query": "\xff\xfe"}', 400),
    ("UTF-16", '{"query": "{ viewer }"}'.encode("utf-16"), 400),
    ("a byte order mark", b'\xef\xbb\xbf{"query": "{ viewer }"}', 400),
    ("NaN", b'{"query": "{ viewer }", "variables": {"a": NaN}}', 400),
    ("Infinity", b'{"query": "{ viewer }", "variables": {"a": -Infinity}}', 400),
    ("a number without end", b'{"query": "{ viewer }", "variables": {"a": 1e999}}', 400),
    ("5,000 digits", b'{"query": "{ viewer }", "variables": {"a": ' + b"9" * 5_000 + b"}}", 400),
    ("a NUL", b'{"query": "{ viewer }", "variables": {"a": "\\u0000"}}', 400),
    ("a NUL as a key", b'{"query": "{ viewer }", "variables": {"\\u0000": 1}}', 400),
    ("half a pair", b'{"query": "{ viewer }", "variables": {"a": ["\\ud800"]}}', 400),
    ("deep lists", b"[" * 60_000, 400),
    ("deep variables", b'{"query": "{ viewer }", "variables": {"a": ' + b"[" * 5_000 + b"]" * 5_000 + b"}}", 400),
    ("33 levels", b'{"query": "{ viewer }", "variables": {"a": ' + b"[" * 33 + b"]" * 33 + b"}}", 400),
    ("variables as a text", b'{"query": "{ viewer }", "variables": "x"}', 400),
    ("variables as a list", b'{"query": "{ viewer }", "variables": []}', 400),
    ("a name as a number", b'{"query": "{ viewer }", "operationName": 1}', 400),
    ("extensions as a text", b'{"query": "{ viewer }", "extensions": "x"}', 400),
    ("too long", b'{"query": "{ viewer }", "x": "' + b"x" * 65_536 + b'"}', 413),
]


@pytest.mark.parametrize(("body", "status"), [(body, status) for _, body, status in BODIES], ids=[name for name, _, _ in BODIES])
async def test_what_is_no_request_is_refused_without_a_traceback(
    shared: Stall, body: bytes, status: int, caplog: pytest.LogCaptureFixture
):
    ran.clear()
    answer = await post(shared, body)
    assert (answer.status_code, code(answer)) == (status, "INVALID_INPUT")
    assert answer.headers["content-type"] == "application/json; charset=utf-8"
    assert ran == []
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


@pytest.mark.parametrize(
    ("content_type", "status"),
    [
        ("application/json", 200),
        ("application/json; charset=utf-8", 200),
        ('Application/JSON;charset="UTF-8"', 200),
        ("application/json; charset=latin-1", 415),
        ("text/plain,application/json", 415),
        ("text/plain; application/json", 415),
        ("application/json, text/plain", 415),
        ("application/jsonp", 415),
        ("application/x-www-form-urlencoded", 415),
        ("multipart/form-data; boundary=x", 415),
        ("application/graphql", 415),
        ("", 415),
    ],
)
async def test_the_content_type_is_exactly_json(shared: Stall, content_type: str, status: int):
    assert (await post(shared, {"query": "{ viewer }"}, content_type=content_type)).status_code == status


async def test_a_body_without_a_length_is_measured_as_it_comes():
    async def chunks() -> Any:
        for _ in range(1_000):
            yield b" " * 1_000

    async with serving() as stall, stall.client(**{"content-type": "application/json"}) as client:
        assert (await client.post(stall.url, content=chunks())).status_code == 413


async def test_reading_by_get_writing_by_post_and_no_other_way():
    async with serving() as stall, stall.client() as client:
        read = await client.get(
            stall.url, params={"query": "query($n: Int) { stores(first: $n) { nodes { id } } }", "variables": '{"n": 2}'}
        )
        written = await client.get(stall.url, params={"query": "mutation { add { count } }"}, headers={"accept": NEW})
        assert (read.status_code, written.status_code) == (200, 400)
        for variables in ("[1]", "x", '{"a": NaN}'):
            bad = await client.get(stall.url, params={"query": "{ viewer }", "variables": variables})
            assert bad.status_code == 400
        assert (await client.get(f"{stall.url}?query=%00")).status_code == 400
        assert (await client.get(f"{stall.url}?query=%ff")).status_code == 400
        for method in ("GET", "PUT", "DELETE", "PATCH", "OPTIONS"):
            answer = await client.request(method, stall.url)
            assert (answer.status_code, answer.headers["allow"]) == (405, "POST")
    assert "add" not in ran


@pytest.mark.parametrize(
    ("query", "status", "error"),
    [
        ("{ viewer }", 200, None),
        ("{", 400, "INVALID_INPUT"),
        ("{ nope }", 400, "INVALID_INPUT"),
        ("query($n: Int!) { stores(first: $n) { nodes { id } } }", 400, "INVALID_INPUT"),
        ("{ stores(first: 9000) { nodes { id } } }", 400, "TOO_COSTLY"),
        ("subscription { silent }", 400, "INVALID_INPUT"),
        ('{ refused(how: "conflict") }', 200, "CONFLICT"),
        ("{ needed }", 200, "CONFLICT"),
        ("{ customer { id } }", 200, "UNAUTHENTICATED"),
    ],
)
async def test_the_newer_type_tells_by_status_what_did_not_run_and_the_older_does_not(
    shared: Stall, query: str, status: int, error: str | None
):
    newer = await post(shared, {"query": query}, accept=f"{NEW}, application/json;q=0.9")
    older = await post(shared, {"query": query}, accept="application/json")
    assert newer.headers["content-type"] == f"{NEW}; charset=utf-8"
    assert (newer.status_code, older.status_code) == (status, 200)
    assert ("data" in newer.json()) == (status == 200)
    for answer in (newer, older):
        assert error is None or code(answer) == error
        assert ("errors" in answer.json()) == (error is not None)


@pytest.mark.parametrize(
    ("accept", "newer"),
    [
        ("*/*", False),
        ("application/*", False),
        (NEW, True),
        (f"application/json, {NEW}", True),
        (f"application/json, {NEW};q=0.5", False),
        (f"{NEW};q=0", False),
        (f"{NEW};q=x", False),
        ("text/html", False),
    ],
)
async def test_the_type_is_the_one_wanted_most(shared: Stall, accept: str, newer: bool):
    answer = await post(shared, {"query": "{ viewer }"}, accept=accept)
    assert (NEW in answer.headers["content-type"]) == newer


async def test_a_token_says_who_calls_and_a_bad_one_is_never_nobody():
    async with serving() as stall:
        token = stall.token(kind=ActorKind.MERCHANT)
        user = stall.claims[token].actor
        assert (await stall.ask("{ viewer }", authorization=f"Bearer {token}"))["data"] == {"viewer": str(user)}
        assert (await stall.ask("{ viewer }", authorization=f"bearer  {token}"))["data"] == {"viewer": str(user)}
        assert (await stall.ask("{ viewer }"))["data"] == {"viewer": None}
        for bad in ("Bearer nope", "Bearer", "Basic eDp5", token, ""):
            answer = await post(stall, {"query": "{ viewer }"}, authorization=bad, accept=NEW)
            assert (answer.status_code, code(answer), answer.headers["www-authenticate"]) == (401, "UNAUTHENTICATED", "Bearer")
        forbidden = await stall.ask("{ customer { id } }", authorization=f"Bearer {token}")
        assert forbidden["errors"][0]["extensions"]["code"] == "FORBIDDEN"
        stall.away = True
        answer = await post(stall, {"query": "{ viewer }"}, authorization=f"Bearer {token}", accept=NEW)
        assert (answer.status_code, code(answer)) == (503, "UNAVAILABLE")


async def test_each_error_has_its_code_and_details():
    async with serving() as stall:
        (wrong,) = (await stall.ask('{ refused(how: "input") }'))["errors"]
        assert wrong["extensions"]["code"] == "INVALID_INPUT"
        assert wrong["extensions"]["problems"] == [{"path": "input.point.lat", "message": "must be from -90 to 90"}]
        (later,) = (await stall.ask('{ refused(how: "rate") }'))["errors"]
        assert later["extensions"]["code"] == "RATE_LIMITED"
        assert datetime.fromisoformat(later["extensions"]["retryAt"]).tzinfo is not None
        (away,) = (await stall.ask('{ refused(how: "away") }'))["errors"]
        assert away["extensions"]["code"] == "UNAVAILABLE"


@pytest.mark.parametrize(
    ("query", "variables", "path"),
    [
        ("query($t: DateTime!) { at(time: $t) }", {"t": "tomorrow"}, "t"),
        ("query($t: DateTime!) { at(time: $t) }", {"t": "2026-01-05T13:00:00"}, "t"),
        ("query($t: DateTime!) { at(time: $t) }", {}, "t"),
        ("query($t: DateTime!, $p: Decimal!) { at(time: $t, price: $p) }", {"t": "2026-01-05T13:00:00Z", "p": "1e9"}, "p"),
        ("query($n: PointInput) { stores(near: $n) { nodes { id } } }", {"n": {"lat": "x", "lng": 1}}, "n.lat"),
        ("query($n: PointInput) { stores(near: $n) { nodes { id } } }", {"n": {"lat": 1, "lng": 1, "x": "y" * 9_000}}, "n"),
        ("query($n: Int!) { stores(first: $n) { nodes { id } } }", {"n": "many"}, "n"),
        ("query($n: Int = 3) { stores(first: $n) { nodes { id } } }", {"n": None}, "first"),
    ],
)
async def test_a_value_of_the_wrong_kind_is_named(shared: Stall, query: str, variables: dict[str, Any], path: str):
    answer = await shared.ask(query, variables)
    extensions = answer["errors"][0]["extensions"]
    assert extensions["code"] == "INVALID_INPUT"
    assert [problem["path"] for problem in extensions["problems"]] == [path]
    assert len(json.dumps(answer)) < 2_000


async def test_a_bug_is_told_as_one_and_its_traceback_is_in_the_log_alone(caplog: pytest.LogCaptureFixture):
    async with serving() as stall:
        for query in ('{ refused(how: "bug") }', "{ wrongType }"):
            caplog.clear()
            answer = await stall.ask(query)
            (error,) = answer["errors"]
            assert (error["message"], error["extensions"]["code"]) == ("something went wrong here", "INTERNAL")
            (record,) = [record for record in caplog.records if record.name == "haat.graphql"]
            assert record.exc_info is not None
            assert record.levelno == logging.ERROR


async def test_a_refusal_fills_no_log_with_what_was_asked(caplog: pytest.LogCaptureFixture):
    caplog.set_level(logging.DEBUG)
    async with serving() as stall:
        await stall.ask("{ " + " ".join(f'viewr{n}(phone: "+919876543210")' for n in range(150)) + " }")
        await stall.ask("query($n: PointInput) { stores(near: $n) { nodes { id } } }", {"n": {"lat": "+919876543210"}})
    lines = [record for record in caplog.records if record.name.startswith("haat")]
    assert 0 < len(lines) <= 2
    text = " ".join(f"{record.getMessage()} {record.__dict__}" for record in lines)
    assert len(text) < 3_000
    assert "9876543210" not in text
    assert "viewr" not in text


async def test_what_takes_too_long_is_cancelled():
    ran.clear()
    async with serving(Rules(deadline_s=0.2)) as stall:
        answer = await post(stall, {"query": "{ slow }"}, accept=NEW)
        assert (answer.status_code, code(answer)) == (503, "UNAVAILABLE")
        await until(lambda: ran == ["slow", "cancelled"])
        assert ("slow", "UNAVAILABLE") in stall.figures.operations


async def test_an_empty_budget_says_when_to_come_back():
    async with serving() as stall:
        stall.limits.empty.add("cost by address")
        answer = await post(stall, {"query": "{ viewer }"}, accept=NEW)
    assert (answer.status_code, code(answer)) == (429, "RATE_LIMITED")
    assert 8 <= int(answer.headers["retry-after"]) <= 10


async def test_a_correlation_id_is_the_caller_s_or_its_trace_s_or_new_and_on_every_answer():
    trace_id = "4bf92f3577b34da6a3ce929d0e0e4736"
    async with serving() as stall:
        own = await post(stall, {"query": "{ nope }"}, x_correlation_id="order-screen-17")
        assert own.headers["x-correlation-id"] == "order-screen-17"
        assert own.json()["errors"][0]["extensions"]["correlationId"] == "order-screen-17"
        traced = await post(stall, {"query": "{ viewer }"}, traceparent=f"00-{trace_id}-00f067aa0ba902b7-01")
        assert traced.headers["x-correlation-id"] == trace_id
        for bad in ("x y", "a" * 65, "<script>alert</script>", "short"):
            answer = await post(stall, b"null", x_correlation_id=bad)
            assert re.fullmatch(r"[0-9a-f]{32}", answer.headers["x-correlation-id"])
        assert (await post(stall, {"query": "{ viewer }"}, traceparent="00-" + "0" * 32 + "-00f067aa0ba902b7-01")).headers[
            "x-correlation-id"
        ] != "0" * 32


async def test_a_client_that_leaves_in_the_middle_of_its_body_is_no_news(caplog: pytest.LogCaptureFixture):
    async with serving() as stall:
        _, writer = await asyncio.open_connection("127.0.0.1", stall.port)
        writer.write(b"POST /graphql HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 50\r\n\r\n{")
        await writer.drain()
        writer.close()
        await asyncio.sleep(0.1)
        assert (await stall.ask("{ viewer }"))["data"] == {"viewer": None}
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


async def test_times_are_said_in_utc_and_amounts_exactly():
    async with serving() as stall:
        answer = await stall.ask('{ at(time: "2026-01-05T18:30:00+05:30") search(text: "a") { nodes { price { amount } } } }')
    assert answer["data"] == {"at": "2026-01-05T13:00:00Z", "search": {"nodes": [{"price": {"amount": "249.00"}}]}}


async def test_operations_are_counted_by_root_field_and_code():
    async with serving() as stall:
        await stall.ask("{ viewer }")
        await stall.ask("{ customer { id } }")
        await stall.ask("{ nope }")
        await stall.ask('{ refused(how: "bug") }')
        assert stall.figures.operations == [
            ("viewer", "OK"),
            ("customer", "UNAUTHENTICATED"),
            ("-", "INVALID_INPUT"),
            ("refused", "INTERNAL"),
        ]


async def test_a_body_that_does_not_come_is_not_waited_for():
    async with serving(Rules(body_s=0.3)) as stall:
        reader, writer = await asyncio.open_connection("127.0.0.1", stall.port)
        head = "POST /graphql HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 90\r\n\r\n"
        writer.write(head.encode() + b'{"query": ')
        async with asyncio.timeout(2):
            told = await reader.read()  # to its end: the connection is closed
        assert told.startswith(b"HTTP/1.1 408 ")
        writer.close()


async def test_who_calls_is_not_asked_for_ever():
    async with serving(Rules(deadline_s=0.3)) as stall:
        token, stall.hangs = stall.token(), True
        answer = await stall.ask("{ viewer }", authorization=f"Bearer {token}")
        assert answer["errors"][0]["extensions"]["code"] == "UNAVAILABLE"
        async with stall.socket() as ws:
            await ws.send(json.dumps({"type": "connection_init", "payload": {"authorization": f"Bearer {token}"}}))
            async with asyncio.timeout(2):
                await ws.wait_closed()
            assert ws.close_code == 1013
