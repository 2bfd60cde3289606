"""GraphQL over a WebSocket: each way it ends has its code, and nothing that is sent makes a traceback."""

import asyncio
import json
import logging
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import psutil
import pytest
import pytest_asyncio
from websockets.exceptions import ConnectionClosed, InvalidStatus

from domain.identity import ActorKind
from schema.callers import Rules
from tests.api.stall import Stall, feeding, ran, serving
from tests.waiting import until


async def say(ws: Any, **message: Any) -> None:
    await ws.send(json.dumps(message))


async def hear(ws: Any) -> Any:
    return json.loads(await asyncio.wait_for(ws.recv(), 5))


async def begin(ws: Any, token: str | None = None) -> None:
    payload = {} if token is None else {"payload": {"authorization": f"Bearer {token}"}}
    await say(ws, type="connection_init", **payload)
    assert await hear(ws) == {"type": "connection_ack"}


async def subscribe(ws: Any, query: str, id: str = "1", **variables: Any) -> None:
    await say(ws, id=id, type="subscribe", payload={"query": query, "variables": variables})


async def closed(ws: Any, within_s: float = 5) -> tuple[int, str]:
    """How the server ended it, whatever it says before."""
    with suppress(ConnectionClosed):
        async with asyncio.timeout(within_s):
            while True:
                await ws.recv()
    return ws.close_code, ws.close_reason


@asynccontextmanager
async def begun(stall: Stall, token: str | None = None) -> AsyncIterator[Any]:
    async with stall.socket() as ws:
        await begin(ws, token)
        yield ws


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def shared() -> AsyncIterator[Stall]:
    """Where a test leaves nothing behind."""
    async with serving() as stall:
        yield stall


@pytest.fixture(autouse=True)
def quiet(caplog: pytest.LogCaptureFixture) -> Any:
    """No traceback, whatever happens; a test that makes one on purpose clears the log."""
    caplog.set_level(logging.INFO)
    yield
    assert not feeding
    loud = [record for record in caplog.records if record.levelno >= logging.ERROR or record.exc_info]
    assert not loud, loud


# ---------------------------------------------------------------- the protocol


async def test_a_query_a_mutation_and_a_feed_each_end_with_complete():
    async with serving() as stall, begun(stall) as ws:
        await subscribe(ws, "{ viewer }", "q")
        assert await hear(ws) == {"id": "q", "type": "next", "payload": {"data": {"viewer": None}}}
        assert await hear(ws) == {"id": "q", "type": "complete"}
        await subscribe(ws, "mutation { add(units: 3) { count } }", "m")
        assert (await hear(ws))["payload"] == {"data": {"add": {"count": 3}}}
        assert await hear(ws) == {"id": "m", "type": "complete"}
        await subscribe(ws, "subscription { count { number } }", "s")
        assert [(await hear(ws))["payload"]["data"]["count"]["number"] for _ in range(3)] == [0, 1, 2]
        assert await hear(ws) == {"id": "s", "type": "complete"}
        await subscribe(ws, "{ viewer }", "q")  # an id is free again
        assert (await hear(ws))["id"] == "q"


async def test_a_feed_that_is_left_stops_at_once():
    async with serving() as stall, begun(stall) as ws:
        await subscribe(ws, "subscription { silent }")
        assert (await hear(ws))["type"] == "next"
        assert (feeding, stall.figures.open_feeds) == (["silent"], 1)
        await say(ws, id="1", type="complete")
        await until(lambda: not feeding)
        await until(lambda: stall.figures.open_feeds == 0)
        await say(ws, id="1", type="complete")  # once more, and of nothing: both are fine
        await say(ws, id="9", type="complete")
        await say(ws, type="ping")
        assert await hear(ws) == {"type": "pong"}


async def test_another_protocol_is_not_spoken():
    async with serving() as stall:
        for protocols in (("graphql-ws",), ("chat",), ()):
            async with stall.socket(protocols) as ws:
                assert (await closed(ws))[0] == 4406
        async with stall.socket(("graphql-ws", "graphql-transport-ws")) as ws:
            assert ws.subprotocol == "graphql-transport-ws"


async def test_who_says_nothing_is_not_waited_for():
    async with serving(Rules(init_s=0.2)) as stall, stall.socket() as ws:
        assert await closed(ws) == (4408, "Connection initialisation timeout")


async def test_the_codes_of_the_protocol():
    async with serving() as stall:
        async with stall.socket() as ws:
            await subscribe(ws, "{ viewer }")
            assert await closed(ws) == (4401, "Unauthorized")
        async with begun(stall) as ws:
            await say(ws, type="connection_init")
            assert await closed(ws) == (4429, "Too many initialisation requests")
        async with begun(stall) as ws:
            await subscribe(ws, "subscription { silent }", "é" * 64)
            await hear(ws)
            await subscribe(ws, "{ viewer }", "é" * 64)
            code, reason = await closed(ws)
            assert (code, reason.startswith("Subscriber for éé")) == (4409, True)
    assert not feeding


FRAMES = [
    "",
    "x",
    "[]",
    "1",
    "null",
    '"x"',
    "{}",
    '{"type": 1}',
    '{"type": "hello"}',
    '{"type": "next", "id": "1"}',
    '{"type": "error", "id": "1"}',
    '{"type": "connection_ack"}',
    '{"type": ["subscribe"]}',
    '{"type": "connection_init", "payload": []}',
    '{"type": "connection_init", "payload": "x"}',
    '{"type": "ping", "payload": 1}',
    '{"type": "pong", "payload": [1]}',
    '{"type": "complete"}',
    '{"type": "complete", "id": ["1"]}',
    '{"type": "complete", "id": 1}',
    '{"type": "subscribe", "id": "1"}',
    '{"type": "subscribe", "id": 1, "payload": {"query": "{ viewer }"}}',
    '{"type": "subscribe", "id": [], "payload": {"query": "{ viewer }"}}',
    '{"type": "subscribe", "id": "", "payload": {"query": "{ viewer }"}}',
    '{"type": "subscribe", "id": "' + "x" * 65 + '", "payload": {"query": "{ viewer }"}}',
    '{"type": "subscribe", "id": "1", "payload": null}',
    '{"type": "subscribe", "id": "1", "payload": "x"}',
    '{"type": "subscribe", "id": "1", "payload": {}}',
    '{"type": "subscribe", "id": "1", "payload": {"query": 5}}',
    '{"type": "subscribe", "id": "1", "payload": {"query": "{ viewer }", "variables": []}}',
    '{"type": "subscribe", "id": "1", "payload": {"query": "{ viewer }", "operationName": 1}}',
    '{"type": "subscribe", "id": "1", "payload": {"query": "{ viewer }", "variables": {"a": NaN}}}',
    '{"type": "subscribe", "id": "\\u0000", "payload": {"query": "{ viewer }"}}',
    '{"type": "subscribe", "id": "\\ud800", "payload": {"query": "{ viewer }"}}',
    '{"type": "subscribe", "id": "1", "payload": {"query": "{ viewer }", "variables": {"a": ' + "9" * 5_000 + "}}}",
    "[" * 30_000,
    '{"type": "ping", "payload": {"a": ' + "[" * 40 + "]" * 40 + "}}",
    '{"type": "ping", "payload": {"a": "' + "x" * 66_000 + '"}}',
    b"\x00\x01",
    b'{"type": "ping"}',
]


@pytest.mark.parametrize("frame", FRAMES, ids=[repr(frame[:60]) for frame in FRAMES])
async def test_a_frame_that_is_none_ends_the_socket_with_4400(shared: Stall, frame: str | bytes):
    async with begun(shared) as ws:
        await ws.send(frame)
        code, reason = await closed(ws)
        assert code == 4400
        assert reason
    await until(lambda: not shared.door.listeners.open)


async def test_a_payload_of_null_is_none():
    async with serving() as stall, stall.socket() as ws:
        await say(ws, type="connection_init", payload=None)
        assert await hear(ws) == {"type": "connection_ack"}
        await say(ws, type="ping", payload=None)
        assert await hear(ws) == {"type": "pong"}
        await say(ws, type="pong")


async def test_what_cannot_run_is_an_error_of_that_operation_alone():
    async with serving() as stall, begun(stall) as ws:
        for query, code in (
            ("{", "INVALID_INPUT"),
            ("{ nope }", "INVALID_INPUT"),
            ("query A { viewer } query B { viewer }", "INVALID_INPUT"),
            ("query($n: Int!) { stores(first: $n) { nodes { id } } }", "INVALID_INPUT"),
            ("{ stores(first: 9000) { nodes { id } } }", "TOO_COSTLY"),
            ("mutation { " + " ".join(f"a{n}: add {{ count }}" for n in range(5)) + " }", "INVALID_INPUT"),
            ("{ ...A } fragment A on Query { ...A }", "INVALID_INPUT"),
            ("subscription { mine }", "UNAUTHENTICATED"),
        ):
            await subscribe(ws, query, "x")
            message = await hear(ws)
            assert (message["id"], message["type"]) == ("x", "error")
            assert message["payload"][0]["extensions"]["code"] == code
            assert message["payload"][0]["extensions"]["correlationId"]
        stall.limits.empty.add("cost by address")
        await subscribe(ws, "{ viewer }", "x")
        assert (await hear(ws))["payload"][0]["extensions"]["code"] == "RATE_LIMITED"


async def test_a_feed_that_breaks_says_so_and_completes(caplog: pytest.LogCaptureFixture):
    async with serving() as stall, begun(stall) as ws:
        await subscribe(ws, "subscription { breaking }")
        assert (await hear(ws))["payload"] == {"data": {"breaking": "once"}}
        broken = await hear(ws)
        assert broken["payload"]["errors"][0]["extensions"]["code"] == "INTERNAL"
        assert await hear(ws) == {"id": "1", "type": "complete"}
        assert [record.name for record in caplog.records if record.exc_info] == ["haat.graphql"]
        caplog.clear()
        await subscribe(ws, "{ viewer }")
        assert (await hear(ws))["type"] == "next"


async def test_a_query_that_takes_too_long_is_cancelled():
    ran.clear()
    async with serving(Rules(deadline_s=0.2)) as stall, begun(stall) as ws:
        await subscribe(ws, "{ slow }")
        assert (await hear(ws))["payload"][0]["extensions"]["code"] == "UNAVAILABLE"
        await until(lambda: ran == ["slow", "cancelled"])


async def test_a_feed_has_no_deadline():
    async with serving(Rules(deadline_s=0.2)) as stall, begun(stall) as ws:
        await subscribe(ws, "subscription { ever(everyS: 0.1) }")
        assert [(await hear(ws))["type"] for _ in range(6)] == ["next"] * 6


# ---------------------------------------------------------------- who is calling


async def test_a_token_says_who_calls_and_a_bad_one_ends_the_socket():
    async with serving() as stall:
        token = stall.token()
        async with begun(stall, token) as ws:
            await subscribe(ws, "{ viewer }")
            assert (await hear(ws))["payload"] == {"data": {"viewer": str(stall.claims[token].actor)}}
        for told in ("Bearer nope", "nope", "", 5, ["Bearer"], {"token": token}):
            async with stall.socket() as ws:
                await say(ws, type="connection_init", payload={"authorization": told})
                code, reason = await closed(ws)
                assert (code, reason.startswith("Forbidden")) == (4403, True)


async def test_the_socket_ends_with_the_token_and_nothing_is_sent_after_it():
    async with serving() as stall, begun(stall, stall.token(lasts=timedelta(seconds=0.6))) as ws:
        begun_at = asyncio.get_running_loop().time()
        await subscribe(ws, "subscription { ever }")
        assert await closed(ws) == (4403, "Forbidden: the token has expired")
        assert 0.4 < asyncio.get_running_loop().time() - begun_at < 1.6
        await until(lambda: not feeding)


async def test_a_ping_with_the_next_token_renews():
    async with serving() as stall:
        user = uuid4()
        async with begun(stall, stall.token(user, lasts=timedelta(seconds=0.5))) as ws:
            await subscribe(ws, "subscription { silent }")
            await hear(ws)
            longer = stall.token(user, lasts=timedelta(seconds=60))
            await say(ws, type="ping", payload={"authorization": f"Bearer {longer}"})
            pong = await hear(ws)
            assert pong["type"] == "pong"
            assert datetime.fromisoformat(pong["payload"]["expiresAt"]) - datetime.now(UTC) > timedelta(seconds=50)
            await asyncio.sleep(0.7)  # past the first token
            await subscribe(ws, "{ viewer }", "2")
            assert (await hear(ws))["payload"]["data"]["viewer"].endswith(str(user))
            assert feeding == ["silent"]  # nothing was interrupted


async def test_a_ping_with_another_user_s_token_or_a_bad_one_ends_the_socket():
    async with serving() as stall:
        user = uuid4()
        for token in (stall.token(), stall.token(user, ActorKind.MERCHANT), "nope"):
            async with begun(stall, stall.token(user)) as ws:
                await say(ws, type="ping", payload={"authorization": f"Bearer {token}"})
                assert (await closed(ws))[0] == 4403
        async with begun(stall) as ws:  # nobody does not become somebody
            await say(ws, type="ping", payload={"authorization": f"Bearer {stall.token()}"})
            assert (await closed(ws))[0] == 4403


async def test_a_session_that_ends_takes_its_socket_with_it_and_no_other():
    async with serving() as stall:
        theirs, ours = stall.token(), stall.token()
        async with begun(stall, theirs) as ws, begun(stall, ours) as other, begun(stall) as nobody:
            await subscribe(ws, "subscription { ever }")
            session = stall.claims[theirs].actor.session_id
            assert session is not None
            stall.over.add(session)
            assert await closed(ws, within_s=3) == (4403, "Forbidden: signed out")
            await until(lambda: not feeding)
            for alive in (other, nobody):
                await subscribe(alive, "{ viewer }")
                assert (await hear(alive))["type"] == "next"


async def test_nobody_to_ask_is_no_reason_to_end_or_to_let_in():
    async with serving() as stall:
        token = stall.token()
        stall.away = True
        async with stall.socket() as ws:
            await say(ws, type="connection_init", payload={"authorization": f"Bearer {token}"})
            assert (await closed(ws))[0] == 1013


# ---------------------------------------------------------------- limits


async def test_so_many_operations_at_once_on_a_socket():
    async with serving(Rules(operations=3)) as stall, begun(stall) as ws:
        for n in range(3):
            await subscribe(ws, "subscription { silent }", str(n))
            await hear(ws)
        await subscribe(ws, "{ viewer }", "one more")
        assert (await hear(ws))["payload"][0]["extensions"]["code"] == "RATE_LIMITED"
        await say(ws, id="1", type="complete")
        await subscribe(ws, "{ viewer }", "now")
        assert (await hear(ws))["type"] == "next"
    await until(lambda: not feeding)


async def test_finished_operations_take_no_place():
    async with serving(Rules(operations=2, messages_per_s=None)) as stall, begun(stall) as ws:
        for n in range(500):
            await subscribe(ws, "{ viewer }", str(n))
            assert [(await hear(ws))["type"] for _ in range(2)] == ["next", "complete"]


async def test_so_many_messages_and_then_so_many_each_second():
    async with serving(Rules(messages_per_s=20, messages_burst=10)) as stall, begun(stall) as ws:
        for _ in range(9):
            await say(ws, type="ping")
            await hear(ws)
        for _ in range(8):  # at the pace that is allowed
            await asyncio.sleep(0.055)
            await say(ws, type="ping")
            await hear(ws)
        for _ in range(30):
            await say(ws, type="pong")
        assert await closed(ws) == (4429, "too many messages")


async def test_so_many_sockets_of_a_user_and_of_an_address():
    async with serving(Rules(sockets_per_user=2, sockets_per_address=4)) as stall:
        user = uuid4()
        async with begun(stall, stall.token(user)), begun(stall, stall.token(user)) as second:
            async with stall.socket() as third:
                await say(third, type="connection_init", payload={"authorization": f"Bearer {stall.token(user)}"})
                assert await closed(third) == (4429, "too many sockets of this user")
            async with begun(stall, stall.token()), begun(stall), stall.socket() as fifth:
                assert await closed(fifth) == (4429, "too many sockets of this address")
            await second.close()
            await until(lambda: len(stall.door.listeners.open) == 1)
            async with begun(stall, stall.token(user)):
                assert stall.figures.open_sockets == 2
        await until(lambda: stall.figures.open_sockets == 0)


async def test_idle_is_without_an_operation(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("schema.listeners.LOOKED_S", 0.1)
    async with serving(Rules(idle_s=0.5)) as stall, begun(stall) as busy, begun(stall) as idle:
        await subscribe(busy, "subscription { silent }")
        await hear(busy)
        assert await closed(idle) == (1000, "Idle")
        await asyncio.sleep(0.3)
        await say(busy, type="ping")
        assert await hear(busy) == {"type": "pong"}


async def test_who_does_not_read_is_let_go(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("schema.listeners.LOOKED_S", 0.1)
    async with serving(Rules(send_s=0.5)) as stall:
        deaf = socket.create_connection(("127.0.0.1", stall.port))
        deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        deaf.sendall(
            b"GET /graphql HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
            b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: graphql-transport-ws\r\n\r\n"
        )
        for message in (
            {"type": "connection_init"},
            {"id": "1", "type": "subscribe", "payload": {"query": "subscription { ever(everyS: 0, size: 50000) }"}},
        ):
            await asyncio.sleep(0.05)
            deaf.sendall(masked(json.dumps(message).encode()))
        async with begun(stall) as ws:
            await until(lambda: feeding == ["ever"])
            await until(lambda: not feeding, within_s=5)
            await until(lambda: len(stall.door.listeners.open) == 1)
            await subscribe(ws, "{ viewer }")
            assert (await hear(ws))["type"] == "next"
        await until(lambda: not held(stall, deaf))  # nor is anything kept until it reads after all
        deaf.close()


def held(stall: Stall, client: socket.socket) -> bool:
    """Whether the server has a socket of this client's still open."""
    ends = (("127.0.0.1", stall.port), client.getsockname())
    return any((tuple(one.laddr), tuple(one.raddr)) == ends for one in psutil.Process().net_connections())


def masked(payload: bytes) -> bytes:
    """A text frame of a client, masked with nothing."""
    assert len(payload) < 65_536
    return b"\x81" + bytes([0x80 | 126]) + len(payload).to_bytes(2, "big") + b"\0\0\0\0" + payload


async def test_who_goes_without_a_word_leaves_nothing_behind():
    async with serving() as stall:
        sockets = []
        for _ in range(20):
            ws = await stall.socket()
            await begin(ws)
            await subscribe(ws, "subscription { ever(everyS: 0) }")
            await hear(ws)
            sockets.append(ws)
        for ws in sockets:
            ws.transport.abort()
        await until(lambda: not feeding)
        await until(lambda: not stall.door.listeners.open)
        assert stall.figures.open_feeds == 0


async def test_pages_of_elsewhere_open_no_socket_but_those_we_named():
    async with serving(Rules(allowed_origins=("https://shop.example",))) as stall:
        for origin in ("https://evil.example", "null", "https://shop.example.evil.example"):
            with pytest.raises(InvalidStatus) as refused:
                async with stall.socket(origin=origin):
                    pass
            assert refused.value.response.status_code == 403
        for origin in ("https://shop.example", f"http://127.0.0.1:{stall.port}"):
            async with stall.socket(origin=origin) as ws:
                await begin(ws)


async def test_a_drain_spreads_the_ends_and_says_nothing_is_complete():
    async with serving() as stall, begun(stall) as one, begun(stall) as other:
        for ws in (one, other):
            await subscribe(ws, "subscription { silent }")
            await hear(ws)
        draining = asyncio.create_task(stall.door.listeners.drain(0.3))
        for ws in (one, other):
            assert await closed(ws) == (1012, "Service restart")
        await draining
        await until(lambda: not feeding)
        with pytest.raises(InvalidStatus) as refused:
            async with stall.socket():
                pass
        assert (refused.value.response.status_code, refused.value.response.headers["retry-after"]) == (503, "1")


async def test_a_drain_waits_for_what_is_being_done():
    async with serving() as stall, begun(stall) as ws:
        await subscribe(ws, "{ brief }")
        await until(lambda: ran[-1:] == ["brief"])
        draining = asyncio.create_task(stall.door.listeners.drain(4))
        assert (await hear(ws))["payload"] == {"data": {"brief": "done"}}
        assert await hear(ws) == {"id": "1", "type": "complete"}
        assert await closed(ws) == (1012, "Service restart")
        await draining
