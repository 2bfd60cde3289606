"""A TCP proxy that does to connections what networks and hung machines do."""

import asyncio
import random
import socket
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from urllib.parse import urlsplit, urlunsplit

HOST = "127.0.0.1"
PORTS = range(20_000, 32_000)
"""Below those the kernel gives to whoever connects: nobody takes ours while it is refused, nor connects to itself there."""
CHUNK = 65_536


def _opened() -> asyncio.Event:
    event = asyncio.Event()
    event.set()
    return event


@dataclass(eq=False)
class Pair:
    """One connection of a client, and ours to the server. What flows `up` is asked, what flows `down` is answered."""

    client: asyncio.StreamWriter
    server: asyncio.StreamWriter | None = None
    up: asyncio.Event = field(default_factory=_opened)
    down: asyncio.Event = field(default_factory=_opened)

    def cut(self) -> None:
        """Both ends by a reset, as from a machine that knows of no connection."""
        for writer in (self.client, self.server):
            if writer is not None:
                with suppress(OSError):
                    ours: socket.socket = writer.get_extra_info("socket")
                    ours.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                writer.transport.abort()


class Proxy:
    """`proxy.url(of_the_server)` leads through it. At first it only passes on."""

    def __init__(self, port: int) -> None:
        self.port = 0
        self.delay_s = 0.0  # of every piece, each way
        self.taken = 0  # connections, ever
        self.pairs: set[Pair] = set()
        self._to = port
        self._listening: asyncio.Server | None = None
        self._up = self._down = True  # of connections that are yet to come
        self._unanswered: bytes | None = None
        self._cut_then = False
        self._tasks: set[asyncio.Task[None]] = set()

    @classmethod
    @asynccontextmanager
    async def before(cls, url: str) -> AsyncIterator["Proxy"]:
        port = urlsplit(url).port
        assert port is not None, url
        proxy = cls(port)
        await proxy.accept()
        try:
            yield proxy
        finally:
            await proxy.close()

    def url(self, url: str) -> str:
        parts = urlsplit(url)
        named = parts.netloc.rpartition("@")
        return urlunsplit(parts._replace(netloc=f"{named[0]}{named[1]}{HOST}:{self.port}"))

    # Faults

    def cut(self) -> int:
        """All that are open. New ones are taken. Returns how many."""
        count = len(self.pairs)
        for pair in list(self.pairs):
            pair.cut()
        return count

    def refuse(self) -> None:
        """All that are open are cut, and nobody listens: a program that is gone."""
        if self._listening is not None:
            self._listening.close()
            self._listening = None
        self.cut()

    def hang(self, *, open: bool = True, new: bool = True) -> None:
        """Nothing comes through, in neither direction, and nothing is lost: hung, not gone. Connections are still taken."""
        for pair in self.pairs if open else ():
            pair.up.clear()
            pair.down.clear()
        if new:
            self._up = self._down = False

    def keep_answers_to(self, word: bytes, *, then_cut: bool) -> None:
        """Half open: what is asked with this word in it arrives and is done, but nobody is told. Then it hangs, or is cut."""
        self._unanswered, self._cut_then = word, then_cut

    async def pass_on(self) -> None:
        """The end of every fault. What hung goes on where it was."""
        self.delay_s, self._unanswered = 0.0, None
        self._up = self._down = True
        for pair in self.pairs:
            pair.up.set()
            pair.down.set()
        await self.accept()

    # Life

    async def accept(self) -> None:
        while self._listening is None:
            try:
                self._listening = await asyncio.start_server(self._take, HOST, self.port or random.choice(PORTS))
            except OSError:
                if self.port:
                    raise
        self.port = self._listening.sockets[0].getsockname()[1]

    async def close(self) -> None:
        self.refuse()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _take(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        self.taken += 1
        pair = Pair(writer)
        if not self._up:
            pair.up.clear()
        if not self._down:
            pair.down.clear()
        self.pairs.add(pair)
        try:
            await pair.up.wait()  # what hangs connects to nobody
            from_server, pair.server = await asyncio.open_connection(HOST, self._to)
            up = asyncio.create_task(self._pump(pair, reader, pair.server, pair.up))
            down = asyncio.create_task(self._pump(pair, from_server, writer, pair.down))
            try:
                await asyncio.wait([up, down])
            finally:
                up.cancel()
                down.cancel()
                await asyncio.gather(up, down, return_exceptions=True)
        except OSError:
            pair.cut()
        except asyncio.CancelledError:
            pair.cut()
        finally:
            self.pairs.discard(pair)
            for one in (pair.client, pair.server):
                if one is not None:
                    one.close()

    async def _pump(self, pair: Pair, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, gate: asyncio.Event) -> None:
        """While the gate is shut one piece waits here, and the rest where it is: with whoever sends."""
        try:
            while True:
                piece = await reader.read(CHUNK)
                if gate is pair.up and self._unanswered is not None and self._unanswered in piece:
                    pair.down.clear()
                elif gate is pair.down and not gate.is_set() and self._unanswered is not None and self._cut_then:
                    pair.cut()
                    return
                await gate.wait()
                if not piece:
                    break
                if self.delay_s:
                    await asyncio.sleep(self.delay_s)
                writer.write(piece)
                await writer.drain()
            if writer.can_write_eof():
                writer.write_eof()
        except OSError:
            writer.transport.abort()
