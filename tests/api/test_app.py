"""The app's own way to the API: whom it lets in from a page, and how its answers part from a client while it drains."""

import asyncio
import signal
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx2
import pytest

from app import Leaving, create_app
from launch import server as launched
from launch.server import Server, configure
from settings import Settings
from tests.waiting import until

PAGE, ELSEWHERE = "https://shop.example", "https://other.example"
ASKED = {"query": "{ __typename }"}


@asynccontextmanager
async def served(settings: Settings) -> AsyncIterator[tuple[Server, httpx2.AsyncClient]]:
    app = create_app(settings)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        server = Server(configure(app, settings), Leaving(app))
        running = asyncio.create_task(server._serve([listening]))
        await until(lambda: server.started)
        async with httpx2.AsyncClient(base_url=f"http://127.0.0.1:{listening.getsockname()[1]}") as client:
            yield server, client
        server.should_exit = True
        await running
        server.ended()


@pytest.fixture
def settings(database_url: str, monkeypatch: pytest.MonkeyPatch) -> Settings:
    monkeypatch.setattr(launched, "spare_the_lasting", lambda: None)  # the tests' own process lasts longer
    keys = {"signing_keys": "demo-" + "a" * 43 + "=", "sealing_keys": "demo-" + "b" * 43 + "="}
    return Settings(env="test", database_url=database_url, redis_url="memory://", allowed_origins=PAGE, **keys)


async def test_a_page_that_may_call_is_let_in_and_another_is_not(settings: Settings):
    wants = {"access-control-request-method": "POST", "access-control-request-headers": "content-type"}
    async with served(settings) as (_, client):
        allowed = await client.options("/graphql", headers={"origin": PAGE, **wants})
        refused = await client.options("/graphql", headers={"origin": ELSEWHERE, **wants})
        assert (allowed.status_code, allowed.headers.get("access-control-allow-origin")) == (200, PAGE)
        assert (refused.status_code, refused.headers.get("access-control-allow-origin")) == (400, None)
        answer = await client.post("/graphql", json=ASKED, headers={"origin": PAGE})
        assert (answer.json(), answer.headers["access-control-allow-origin"]) == ({"data": {"__typename": "Query"}}, PAGE)


async def test_a_slash_too_many_leads_there_too(settings: Settings):
    async with served(settings) as (_, client):
        answer = await client.post("/graphql/", json=ASKED, follow_redirects=True)
        assert (answer.status_code, answer.json()) == (200, {"data": {"__typename": "Query"}})
        assert (await client.post("/graphql/more", json=ASKED)).status_code == 404


async def test_while_it_drains_every_answer_asks_its_client_to_connect_anew(settings: Settings):
    """Also one that was being made when it began."""
    async with served(settings) as (server, client):
        assert "connection" not in (await client.post("/graphql", json=ASKED)).headers
        host, port = client.base_url.host, client.base_url.port
        reader, writer = await asyncio.open_connection(host, port)
        body = b'{"query": "{ __typename }"}'
        head = f"POST /graphql HTTP/1.1\r\nHost: haat\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        writer.write(head.encode())
        await until(lambda: len(server.server_state.tasks) == 1)  # it has begun, and waits for its body
        server.handle_exit(signal.SIGTERM, None)
        writer.write(body)
        async with asyncio.timeout(5):
            told = await reader.read()  # to its end: the connection is closed
        assert told.startswith(b"HTTP/1.1 200 ")
        assert b"\r\nconnection: close\r\n" in told
        writer.close()
