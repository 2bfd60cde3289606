"""What goes over a connection, packet by packet."""

import asyncio
from contextlib import asynccontextmanager

import pytest
import uvicorn

from launch.ports import bind
from launch.server import configure
from settings import Settings
from tests.waiting import until


async def app(scope, receive, send):
    """Answers by the path."""
    message = await receive()
    start = {"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"5")]}
    match scope["path"]:
        case "/whole":
            await send(start)
            await send({"type": "http.response.body", "body": message["body"] or b"hello"})
        case "/slow":
            await send(start)
            await asyncio.sleep(0.2)
            await send({"type": "http.response.body", "body": b"he", "more_body": True})
            await send({"type": "http.response.body", "body": b"llo"})
        case "/head":
            await send(start)
            await send({"type": "http.response.body", "body": b""})
        case "/nothing":
            await send({"type": "http.response.start", "status": 204, "headers": []})
            await send({"type": "http.response.body", "body": b""})
        case "/broken":
            await send(start)
            raise RuntimeError("half-way")


class Client(asyncio.Protocol):
    def __init__(self):
        self.came = []
        self.lost = False

    def connection_made(self, transport):
        self.transport = transport

    def data_received(self, data):
        self.came.append(data)

    def connection_lost(self, exc):
        self.lost = True

    @property
    def text(self):
        return b"".join(self.came)

    def ask(self, path, method="GET", more="", body=""):
        self.transport.write(f"{method} {path} HTTP/1.1\r\nhost: haat\r\n{more}\r\n{body}".encode())


@asynccontextmanager
async def serving():
    listening = bind("127.0.0.1", 0)
    config = configure(app, Settings(env="test"))
    config.lifespan = "off"
    server = uvicorn.Server(config)
    server.install_signal_handlers = lambda: None
    running = asyncio.create_task(server.serve([listening]))
    await until(lambda: server.started)
    try:
        yield listening.getsockname()[1]
    finally:
        server.should_exit = True
        await running


@asynccontextmanager
async def connected():
    async with serving() as port:
        transport, client = await asyncio.get_running_loop().create_connection(Client, "127.0.0.1", port)
        yield client
        transport.close()


async def test_an_answer_comes_in_one_piece():
    async with connected() as client:
        for _ in range(3):
            client.came.clear()
            client.ask("/whole")
            await until(lambda: client.text.endswith(b"hello"))
            assert len(client.came) == 1
            assert client.text.startswith(b"HTTP/1.1 200 OK\r\n")


async def test_the_head_of_an_answer_that_takes_its_time_does_not_wait_for_it():
    async with connected() as client:
        client.ask("/slow")
        await until(lambda: client.came)
        assert client.text.endswith(b"\r\n\r\n")
        await until(lambda: client.text.endswith(b"\r\n\r\nhello"))


@pytest.mark.parametrize(("method", "path", "status"), [("HEAD", "/head", b"200 OK"), ("GET", "/nothing", b"204 No Content")])
async def test_an_answer_without_a_body_comes_too(method, path, status):
    async with connected() as client:
        client.ask(path, method)
        await until(lambda: client.text.endswith(b"\r\n\r\n"))
        assert client.text.startswith(b"HTTP/1.1 " + status)
        client.came.clear()
        client.ask("/whole")
        await until(lambda: client.text.endswith(b"hello"))


async def test_requests_one_behind_the_other_are_answered_in_order():
    async with connected() as client:
        client.ask("/slow")
        client.ask("/whole", "POST", "content-length: 5\r\n", "world")
        await until(lambda: client.text.endswith(b"world"))
        assert client.text.count(b"HTTP/1.1 200 OK") == 2
        assert client.text.index(b"hello") < client.text.index(b"world")


async def test_who_is_to_wait_with_the_body_is_told_to_go_on():
    async with connected() as client:
        client.ask("/whole", "POST", "content-length: 5\r\nexpect: 100-continue\r\n")
        await until(lambda: client.text.endswith(b"100 Continue\r\n\r\n"))
        client.transport.write(b"world")
        await until(lambda: client.text.endswith(b"world"))


async def test_a_last_answer_is_whole_before_the_connection_ends():
    async with connected() as client:
        client.ask("/whole", more="connection: close\r\n")
        await until(lambda: client.lost)
        assert client.text.endswith(b"\r\n\r\nhello")


async def test_an_answer_that_breaks_off_ends_the_connection():
    async with connected() as client:
        client.ask("/broken")
        await until(lambda: client.lost)
        assert client.text.endswith(b"\r\n\r\n")
