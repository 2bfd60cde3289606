"""Connections of HTTP requests: uvicorn's own, whose answers go out in one piece."""

import asyncio

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol


class Requests(HttpToolsProtocol):
    """One connection. uvicorn writes an answer's head before it has its body: two packets, and its client wakes up twice."""

    def on_headers_complete(self) -> None:
        before = self.cycle
        super().on_headers_complete()
        if self.cycle is not before and self.scope["method"] != "HEAD":  # to that there is no body to wait for
            self.cycle.transport = OnePiece(self.transport, self.loop)  # type: ignore[assignment]  # all of one that it asks for


class OnePiece:
    """A transport as one answer writes to it. Its first words wait for the next ones, at most for a turn of the loop."""

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        self._transport = transport
        self._loop = loop
        self._first: bytes | None = None
        self._waiting: asyncio.Handle | None = None

    def write(self, data: bytes) -> None:
        if self._waiting is None:
            self._first = data
            self._waiting = self._loop.call_soon(self._write_first)
        elif self._first is not None:
            self._waiting.cancel()
            first, self._first = self._first, None
            self._transport.writelines((first, data))
        else:
            self._transport.write(data)

    def is_closing(self) -> bool:
        return self._transport.is_closing()

    def close(self) -> None:
        self._write_first()
        self._transport.close()

    def _write_first(self) -> None:
        first, self._first = self._first, None
        if first is not None and not self._transport.is_closing():
            self._transport.write(first)
