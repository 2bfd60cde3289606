"""Subscriptions as server-sent events, over real connections."""

import asyncio
import json
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any
from uuid import uuid4

import httpx2
import pytest
import pytest_asyncio

from schema.callers import Rules
from tests.api.stall import Stall, feeding, serving
from tests.waiting import until

ACCEPT = {"accept": "text/event-stream"}
COMPLETE = ("complete", None, "")


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def shared() -> AsyncIterator[Stall]:
    """Where a test leaves nothing behind."""
    async with serving() as stall:
        yield stall


@asynccontextmanager
async def stream(stall: Stall, query: str, headers: dict[str, str] | None = None, **variables: Any) -> AsyncIterator[Any]:
    asked = {"query": query, "variables": variables}
    async with stall.client(**ACCEPT, **(headers or {})) as client, client.stream("POST", stall.url, json=asked) as answer:
        yield answer


async def events(answer: httpx2.Response) -> AsyncIterator[tuple[str, str | None, str]]:
    """Each as (event, id, data); a comment as its text alone."""
    found: dict[str, str] = {}
    async for line in answer.aiter_lines():
        if line:
            name, _, value = line.partition(":")
            found[name] = value.removeprefix(" ")
        elif found:
            yield found.get("event", ""), found.get("id"), found.get("data", "")
            found = {}


async def told(stall: Stall, query: str, headers: dict[str, str] | None = None, **variables: Any) -> list[Any]:
    async with stream(stall, query, headers, **variables) as answer:
        assert answer.status_code == 200
        return [one async for one in events(answer)]


async def test_each_result_is_an_event_and_the_end_is_told(shared: Stall):
    async with stream(shared, "subscription { count(upTo: 2) { number } }") as answer:
        assert answer.headers["content-type"] == "text/event-stream; charset=utf-8"
        assert answer.headers["cache-control"] == "no-store"
        assert answer.headers["x-correlation-id"]
        assert [one async for one in events(answer)] == [
            ("next", None, '{"data":{"count":{"number":0}}}'),
            ("next", None, '{"data":{"count":{"number":1}}}'),
            COMPLETE,
        ]
    assert not shared.door.listeners.open


async def test_a_get_asks_as_well_and_changes_nothing(shared: Stall):
    async with shared.client(**ACCEPT) as client:
        followed = await client.get(shared.url, params={"query": "subscription { count(upTo: 1) { number } }"})
        assert followed.text.startswith('event: next\ndata: {"data":{"count":{"number":0}}}\n\nevent: complete')
        changed = await client.get(shared.url, params={"query": "mutation { add { count } }"})
        assert "a mutation cannot be asked this way" in changed.text


async def test_a_query_and_a_mutation_are_one_event_each(shared: Stall):
    assert await told(shared, "{ viewer }") == [("next", None, '{"data":{"viewer":null}}'), COMPLETE]
    assert await told(shared, "mutation { add(units: 2) { count } }") == [("next", None, '{"data":{"add":{"count":2}}}'), COMPLETE]


@pytest.mark.parametrize(
    ("query", "code"),
    [
        ("subscription { nothing }", "INVALID_INPUT"),
        ("subscription {", "INVALID_INPUT"),
        ("subscription { mine }", "UNAUTHENTICATED"),
    ],
)
async def test_what_is_wrong_with_the_operation_is_told_in_the_stream(shared: Stall, query: str, code: str):
    [(name, _, data), end] = await told(shared, query)
    assert (name, end) == ("next", COMPLETE)
    assert json.loads(data)["errors"][0]["extensions"]["code"] == code


async def test_what_breaks_is_told_and_ends_it(shared: Stall):
    [(_, _, first), (_, _, second), end] = await told(shared, "subscription { breaking }")
    assert json.loads(first) == {"data": {"breaking": "once"}}
    assert json.loads(second)["errors"][0]["extensions"]["code"] == "INTERNAL"
    assert "+91" not in second
    assert end == COMPLETE


async def test_what_is_wrong_with_the_request_has_its_status(shared: Stall):
    async with shared.client(**ACCEPT) as client:
        assert (await client.post(shared.url, content=b"{")).status_code == 415
        headers = {"content-type": "application/json"}
        assert (await client.post(shared.url, content=b"{", headers=headers)).status_code == 400
        foreign = await client.post(shared.url, json={"query": "{ viewer }"}, headers={"authorization": "Bearer nobody"})
        assert (foreign.status_code, foreign.headers["www-authenticate"]) == (401, "Bearer")


async def test_who_comes_back_with_the_last_id_goes_on_after_it(shared: Stall):
    query = "subscription($after: String) { after(after: $after) { cursor } }"
    async with stream(shared, query) as answer:
        ids = [one[1] async for one in events(answer)]
    assert ids == [*(str(number) for number in range(1, 11)), None]
    assert [one[1] for one in await told(shared, query, {"last-event-id": "7"})] == ["8", "9", "10", None]
    assert (await told(shared, query, {"last-event-id": "7"}, after="1"))[0][1] == "8"
    unknown = "subscription { after { cursor } }"
    assert len(await told(shared, unknown, {"last-event-id": "7"})) == 11


async def test_a_client_that_goes_away_ends_its_feed(shared: Stall):
    async with stream(shared, "subscription { silent }") as answer:
        await anext(events(answer))
        assert feeding == ["silent"]
    await until(lambda: not feeding and not shared.door.listeners.open)
    assert shared.figures.open_feeds == 0


async def test_silence_is_broken_by_comments(shared: Stall, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("schema.event_streams.QUIET_S", 0.1)
    async with stream(shared, "subscription { silent }") as answer:
        lines = answer.aiter_lines()
        async with asyncio.timeout(5):
            while await anext(lines) != ":":
                pass
    await until(lambda: not feeding)


async def test_it_ends_with_its_token_and_does_not_say_complete(shared: Stall):
    token = shared.token(lasts=timedelta(seconds=1))
    async with asyncio.timeout(4):
        assert [one[0] for one in await told(shared, "subscription { silent }", {"authorization": f"Bearer {token}"})] == ["next"]
    await until(lambda: not feeding)


async def test_it_ends_when_its_reader_signs_out():
    async with serving() as stall:
        token = stall.token()
        async with stream(stall, "subscription { silent }", {"authorization": f"Bearer {token}"}) as answer:
            following = events(answer)
            await anext(following)
            session = stall.claims[token].actor.session_id
            assert session is not None
            stall.over.add(session)
            async with asyncio.timeout(8):
                assert [one async for one in following] == []


async def test_more_than_a_user_or_an_address_may_have_are_refused():
    async with serving(Rules(sockets_per_user=1, sockets_per_address=2)) as stall:
        token = {"authorization": f"Bearer {stall.token(uuid4())}"}
        async with stream(stall, "subscription { silent }", token) as one:
            following = [events(one)]  # held: a generator that is let go closes its connection
            await anext(following[0])
            async with stream(stall, "subscription { silent }", token) as refused:
                assert (refused.status_code, refused.headers["retry-after"]) == (429, "5")
            async with stream(stall, "subscription { silent }") as other:
                following.append(events(other))
                await anext(following[1])
                async with stream(stall, "subscription { silent }") as refused:
                    assert refused.status_code == 429
        await until(lambda: not feeding and not stall.door.listeners.open)


async def test_who_does_not_read_is_let_go(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("schema.listeners.LOOKED_S", 0.1)
    async with serving(Rules(send_s=0.5)) as stall:
        body = json.dumps({"query": "subscription { ever(everyS: 0, size: 60000) }"}).encode()
        with socket.create_connection(("127.0.0.1", stall.port)) as deaf:
            deaf.sendall(
                b"POST /graphql HTTP/1.1\r\nHost: x\r\nAccept: text/event-stream\r\nContent-Type: application/json\r\n"
                + f"Content-Length: {len(body)}\r\n\r\n".encode()
                + body
            )
            await until(lambda: feeding == ["ever"])
            await until(lambda: not feeding and not stall.door.listeners.open, 10)


async def test_a_drain_ends_it_without_complete_and_takes_no_more():
    async with serving() as stall, stream(stall, "subscription { silent }") as answer:
        following = events(answer)
        await anext(following)
        await stall.door.listeners.drain(0.3)
        assert [one async for one in following] == []
        async with stream(stall, "subscription { silent }") as refused:
            assert (refused.status_code, refused.headers["retry-after"]) == (503, "1")
