"""HTTP and WebSocket clients that do as little as can be, so that what is measured is the server."""

import asyncio
import base64
import json
import os
from collections.abc import Callable, Mapping
from typing import Any, cast

HOST = "127.0.0.1"


class Http(asyncio.Protocol):
    """One connection that is kept: one request at a time."""

    def __init__(self) -> None:
        self._buffer = b""
        self._answer: asyncio.Future[tuple[int, bytes]] | None = None
        self._transport: asyncio.Transport | None = None
        self._lost = False

    @classmethod
    async def connect(cls, port: int) -> "Http":
        _, made = await asyncio.get_running_loop().create_connection(cls, HOST, port)
        return made

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is none by its class

    def connection_lost(self, exc: Exception | None) -> None:
        self._lost = True
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(ConnectionError("the server closed the connection"))

    async def ask(
        self, path: str, body: bytes | None = None, headers: Mapping[str, str] | None = None, method: str = "POST"
    ) -> tuple[int, bytes]:
        """Status and body."""
        assert self._transport is not None
        if self._lost:
            raise ConnectionError("the server closed the connection")
        more = "".join(f"{name}: {value}\r\n" for name, value in (headers or {}).items())
        content = b"" if body is None else body
        head = f"{method} {path} HTTP/1.1\r\nhost: {HOST}\r\ncontent-length: {len(content)}\r\n{more}\r\n"
        self._answer = asyncio.get_running_loop().create_future()
        self._transport.write(head.encode() + content)
        return await self._answer

    async def graphql(
        self, query: str, variables: Mapping[str, Any], token: str | None = None, path: str = "/graphql"
    ) -> dict[str, Any]:
        """The data. Raises Wrong for anything else."""
        headers = {"content-type": "application/json"}
        if token is not None:
            headers["authorization"] = f"Bearer {token}"
        status, body = await self.ask(path, json.dumps({"query": query, "variables": variables}).encode(), headers)
        answer = json.loads(body)
        if status != 200 or answer.get("errors"):
            raise Wrong(f"{status} {body[:500].decode(errors='replace')}")
        data: dict[str, Any] = answer["data"]
        return data

    def data_received(self, data: bytes) -> None:
        self._buffer = self._buffer + data if self._buffer else data
        end = self._buffer.find(b"\r\n\r\n")
        if end < 0:
            return
        head = self._buffer[:end].lower()
        start = head.find(b"content-length:") + 15
        stop = head.find(b"\r\n", start)
        length = int(head[start : stop if stop > 0 else None])
        if len(self._buffer) < end + 4 + length:
            return
        status, body = int(head[9:12]), self._buffer[end + 4 : end + 4 + length]
        self._buffer = self._buffer[end + 4 + length :]
        if self._answer is not None and not self._answer.done():
            self._answer.set_result((status, body))

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()


class Wrong(Exception):
    """An answer that is not the one that was to be measured."""


class Busy(Exception):
    """The server takes no more for now, and says so: it has to be sent again."""


def upgrade(path: str, protocol: str | None) -> bytes:
    asked = f"sec-websocket-protocol: {protocol}\r\n" if protocol else ""
    key = base64.b64encode(os.urandom(16)).decode()
    return (
        f"GET {path} HTTP/1.1\r\nhost: {HOST}\r\nconnection: Upgrade\r\nupgrade: websocket\r\n{asked}"
        f"sec-websocket-version: 13\r\nsec-websocket-key: {key}\r\n\r\n"
    ).encode()


def masked(kind: int, payload: bytes) -> bytes:
    """A frame of a client, who must mask; a mask of zeros leaves the bytes as they are."""
    size = len(payload)
    length = bytes([0x80 | size]) if size < 126 else bytes([0x80 | 126]) + size.to_bytes(2, "big")
    return bytes([0x80 | kind]) + length + b"\0\0\0\0" + payload


class Socket(asyncio.Protocol):
    """A WebSocket that gives each text it receives to `heard`."""

    def __init__(self, path: str, protocol: str | None, heard: Callable[[bytes], None]) -> None:
        self._path = path
        self._subprotocol = protocol
        self._heard = heard
        self._buffer = b""
        self._open: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._transport: asyncio.Transport | None = None
        self.lost = False

    @classmethod
    async def connect(cls, port: int, path: str, protocol: str | None, heard: Callable[[bytes], None]) -> "Socket":
        _, made = await asyncio.get_running_loop().create_connection(lambda: cls(path, protocol, heard), HOST, port)
        await made._open
        return made

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is none by its class
        self._transport.write(upgrade(self._path, self._subprotocol))

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost = True
        if not self._open.done():
            self._open.set_exception(ConnectionError("the server refused the socket"))

    def data_received(self, data: bytes) -> None:
        self._buffer = self._buffer + data if self._buffer else data
        if not self._open.done():
            end = self._buffer.find(b"\r\n\r\n")
            if end < 0:
                return
            if not self._buffer.startswith(b"HTTP/1.1 101"):
                self._open.set_exception(Wrong(self._buffer[:200].decode(errors="replace")))
                return
            self._buffer = self._buffer[end + 4 :]
            self._open.set_result(None)
        while len(self._buffer) >= 2:
            length, start = self._buffer[1] & 0x7F, 2
            if length == 126:
                length, start = int.from_bytes(self._buffer[2:4], "big"), 4
            elif length == 127:
                length, start = int.from_bytes(self._buffer[2:10], "big"), 10
            if len(self._buffer) < start + length:
                return
            kind, payload = self._buffer[0] & 0x0F, self._buffer[start : start + length]
            self._buffer = self._buffer[start + length :]
            if kind == 1:
                self._heard(payload)
            elif kind == 9:
                self._send(10, payload)

    def send(self, text: str) -> None:
        self._send(1, text.encode())

    def _send(self, kind: int, payload: bytes) -> None:
        assert self._transport is not None
        self._transport.write(masked(kind, payload))

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()
