"""What everybody is told goes straight to their sockets, built once. Who does not read holds up nobody, and is let go."""

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any, cast

import pytest
import pytest_asyncio
import uvicorn
import websockets
from starlette.applications import Starlette
from starlette.routing import Route, WebSocketRoute
from websockets.frames import Frame
from websockets.streams import StreamReader

from adapters.bus import open_bus
from db.reads import Reads
from domain.identity import Actor
from launch.ports import bind
from launch.sockets import Received, Sockets, Writable
from resolvers.loaders import Loaders
from schema.api import schema
from schema.callers import Rules
from schema.http import HttpDoor
from schema.roots import Api
from schema.sharing import Encoded, text_frame
from schema.sockets import Socket
from subscriptions.following import Following
from subscriptions.hub import Hub
from tests.api.stall import Counted, Limited
from tests.api.test_sockets import begin, closed, hear, masked, say
from tests.subscriptions.conftest import HandRelay
from tests.subscriptions.test_feeds import Shelf, moved, stocked
from tests.waiting import until

STOCK = "subscription($s: ID!, $l: [ID!]) { stock(storeId: $s, listingIds: $l) { cursor reset levels { listingId version } } }"


@dataclass
class Running:
    door: HttpDoor
    figures: Counted
    hub: Hub
    relay: HandRelay
    shelf: Shelf
    port: int

    @property
    def sockets(self) -> list[Socket]:
        return cast("list[Socket]", list(self.door.listeners.open))

    def subscribing(self, id: str) -> str:
        variables = {"s": str(self.shelf.store_id), "l": [str(one) for one in self.shelf.ids]}
        return json.dumps({"id": id, "type": "subscribe", "payload": {"query": STOCK, "variables": variables}})

    def tasks(self) -> int:
        """Of operations: those that rest have none."""
        return sum(operation.task is not None for one in self.sockets for operation in one.operations.values())

    @asynccontextmanager
    async def following(self, id: str) -> AsyncIterator[Any]:
        spoken = [websockets.Subprotocol("graphql-transport-ws")]
        async with websockets.connect(f"ws://127.0.0.1:{self.port}/graphql", subprotocols=spoken, compression=None) as ws:
            await begin(ws)
            await ws.send(self.subscribing(id))
            assert (await hear(ws))["payload"]["data"]["stock"]["reset"]
            yield ws

    async def change(self) -> None:
        await self.shelf.change(*self.shelf.ids)
        await moved(self.relay)


@pytest_asyncio.fixture
async def running(engine: Any) -> AsyncIterator[Running]:
    bus, reads, figures = open_bus("memory://"), Reads(engine), Counted()
    relay = HandRelay(engine, bus)
    await bus.start()
    await relay.stamp()
    hub = Hub(bus, reads)
    await hub.start()
    ports = cast("Any", SimpleNamespace(limits=Limited()))

    def context(actor: Actor, remote: str) -> Api:
        return Api(actor, reads, cast("Any", None), Loaders(reads, actor), ports, remote, hub=Following(hub))

    async def nobody(*asked: Any) -> Any:
        return ()

    door = HttpDoor(schema, context, nobody, nobody, figures, Rules(send_s=1))
    listening = bind("127.0.0.1", 0)
    app = Starlette(routes=[Route("/graphql", door), WebSocketRoute("/graphql", door)])
    config = uvicorn.Config(
        app, ws=Sockets, ws_per_message_deflate=False, lifespan="off", log_config=None, timeout_graceful_shutdown=2
    )  # fmt: skip
    server = uvicorn.Server(config)
    server.install_signal_handlers = lambda: None  # type: ignore[attr-defined]
    serving = asyncio.create_task(server.serve([listening]))
    try:
        await until(lambda: server.started)
        yield Running(door, figures, hub, relay, await stocked(engine, 2), listening.getsockname()[1])
    finally:
        server.should_exit = True
        await serving
        await hub.stop()
        await bus.stop()


def versions(told: Any) -> set[int]:
    return {level["version"] for level in told["payload"]["data"]["stock"]["levels"]}


async def test_each_is_told_under_its_own_id_and_no_task_waits_for_any(running: Running):
    async with running.following("1") as one, running.following("é" * 30) as other, running.following('"') as third:
        await until(lambda: running.tasks() == 0)
        for version in (2, 3, 4):
            await running.change()
            told = [await hear(ws) for ws in (one, other, third)]
            assert [(said["id"], said["type"], versions(said)) for said in told] == [
                ("1", "next", {version}), ("é" * 30, "next", {version}), ('"', "next", {version}),
            ]  # fmt: skip
            assert len({said["payload"]["data"]["stock"]["cursor"] for said in told}) == 1
            assert running.tasks() == 0
        await say(one, id="1", type="complete")
        await until(lambda: running.figures.open_feeds == 2)
        await running.change()
        assert versions(await hear(other)) == {5}
        await say(one, type="ping")
        assert await hear(one) == {"type": "pong"}
        assert (len(running.hub.shared), running.hub.figures.joined) == (1, 1)
    await until(lambda: (running.figures.open_feeds, running.hub.shared) == (0, {}))


async def test_an_id_is_free_again_when_its_feed_was_left_and_not_before(running: Running):
    async with running.following("1") as ws:
        await say(ws, id="1", type="complete")
        await ws.send(running.subscribing("1"))
        assert (await hear(ws))["payload"]["data"]["stock"]["reset"]
        await ws.send(running.subscribing("1"))
        assert (await closed(ws))[0] == 4409
    await until(lambda: running.figures.open_feeds == 0)


async def test_a_server_that_goes_tells_who_rests_where_they_are_and_nothing_is_complete(running: Running):
    async with running.following("1") as one, running.following("2") as other:
        await running.change()
        await asyncio.gather(hear(one), hear(other))
        draining = asyncio.create_task(running.door.listeners.drain(0.5))
        for ws in (one, other):
            last = await hear(ws)
            assert (last["type"], versions(last)) == ("next", set())
            assert await closed(ws) == (1012, "Service restart")
        await draining
    await until(lambda: running.figures.open_feeds == 0)


async def test_who_does_not_read_is_let_go_and_the_others_are_told_all(running: Running, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("schema.listeners.LOOKED_S", 0.1)
    with socket.create_connection(("127.0.0.1", running.port)) as deaf:
        await let_go(running, deaf)


async def let_go(running: Running, deaf: socket.socket) -> None:
    deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    deaf.sendall(
        b"GET /graphql HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
        b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: graphql-transport-ws\r\n\r\n"
    )
    for message in ('{"type":"connection_init"}', running.subscribing("1")):
        await asyncio.sleep(0.05)
        deaf.sendall(masked(message.encode()))
    await until(lambda: len(running.sockets) == 1)
    (one,) = running.sockets
    async with running.following("1") as ws:
        await until(lambda: (running.figures.open_feeds, running.tasks()) == (2, 0))
        protocol = cast("Any", one.websocket.put).__self__
        protocol.transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        protocol.pause_writing()  # as the transport does where its buffer is full
        version = 1
        while len(running.sockets) == 2:
            version += 1
            await running.change()
            assert versions(await hear(ws)) == {version}
            waiting = one.operations.get("1")  # none while it is being let go
            assert waiting is None or waiting.task is not None  # it waits, and nobody else does
            await asyncio.sleep(0.05)
        assert version < 60
        await until(lambda: running.figures.open_feeds == 1)


async def test_who_goes_just_as_there_is_news_leaves_nothing_behind(running: Running):
    async with running.following("1"), running.following("2") as other:
        await until(lambda: (running.figures.open_feeds, running.tasks()) == (2, 0))
        leaving = next(one for one in running.sockets if "1" in one.operations)
        leaving.operations["1"].work()  # as news does that cannot be written at once
        await leaving.cleanup_operation("1")  # before anything of it has run
        await until(lambda: running.figures.open_feeds == 1)
        await running.change()
        assert versions(await hear(other)) == {2}
    await until(lambda: (running.figures.open_feeds, running.hub.shared) == (0, {}))


# ---------------------------------------------------------------- the bytes


@pytest.mark.parametrize("size", [1, 125, 126, 127, 65_535, 65_536, 70_000])
def test_a_frame_is_what_rfc_6455_says(size: int):
    reader = StreamReader()
    reader.feed_data(text_frame(b"a" * (size - 1), b"z"))
    parsing: Iterator[None] = Frame.parse(reader.read_exact, mask=False, max_size=None)
    with pytest.raises(StopIteration) as ended:
        next(parsing)
    read: Frame = ended.value.value
    assert (read.opcode, read.fin, bytes(read.data)) == (1, True, b"a" * (size - 1) + b"z")


def test_one_frame_is_built_for_all_of_one_id():
    told = Encoded(b'{"data":1}', ())
    first = told.text_frame(b'{"id":"1","payload":')
    assert told.text_frame(bytes(bytearray(b'{"id":"1","payload":'))) is first
    assert first.endswith(b'{"id":"1","payload":{"data":1}}')
    assert told.text_frame(b'{"id":"2","payload":') != first
    assert told.payload == '{"data":1}'


async def test_what_is_received_comes_in_order_to_the_one_who_waits():
    received = Received()
    waiting = asyncio.create_task(received.get())
    await asyncio.sleep(0)
    received.put_nowait(1)
    received.put_nowait(2)
    assert (await waiting, await received.get(), received.empty()) == (1, 2, True)
    waiting = asyncio.create_task(received.get())
    await asyncio.sleep(0)
    waiting.cancel()
    await asyncio.wait([waiting])
    received.put_nowait(3)  # what came while nobody waited is not lost
    assert await received.get() == 3


async def test_all_who_send_go_on_when_the_transport_takes_more():
    writable = Writable()
    await writable.wait()
    writable.clear()
    waiting = [asyncio.create_task(writable.wait()) for _ in range(3)]
    await asyncio.sleep(0)
    assert not any(task.done() for task in waiting)
    writable.set()
    await asyncio.gather(*waiting)
    assert writable.is_set()
    writable.clear()
    again = asyncio.create_task(writable.wait())
    await asyncio.sleep(0)
    assert not again.done()
    writable.set()
    await again
