"""Text in and out of one WebSocket. Each frame is read strictly before anybody acts upon it: its size, its rate, its members."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import msgspec
from starlette.websockets import WebSocket, WebSocketDisconnect, WebSocketState
from strawberry.http.async_base_view import AsyncWebSocketAdapter
from strawberry.http.exceptions import WebSocketDisconnected

from domain.refusals import Refused
from schema.decoding import NotReadable, read_object
from schema.gate import read_asking
from schema.listeners import INVALID, TOO_MANY, Ending

if TYPE_CHECKING:
    from schema.http import HttpDoor

FRAMES = "haat.frames"
"""An extension of the ASGI scope: writes one whole WebSocket frame as it is, or answers False where it must be waited for."""
Put = Callable[[bytes], bool]
ID_MOST = 64
REASON_MOST = 123
"""Bytes of a reason that a close frame has room for."""


class Wire(AsyncWebSocketAdapter):
    """Text in and out. `sending_since` is the loop's time while a send is not through."""

    def __init__(self, view: "HttpDoor", request: WebSocket, response: WebSocket) -> None:
        super().__init__(view)  # type: ignore[arg-type]  # strawberry's declares no context
        self.ws = response
        self.most = view.rules.frame_bytes
        self.bucket = Bucket(view.rules.messages_per_s, view.rules.messages_burst)
        self.clock = asyncio.get_running_loop().time
        self.sending_since: float | None = None
        self._sending = 0
        self.put: Put | None = response.scope["extensions"].get(FRAMES)
        response.scope["headers"].clear()  # read, and not kept for as long as the socket lives

    @property
    def open(self) -> bool:
        return WebSocketState.DISCONNECTED not in (self.ws.application_state, self.ws.client_state)

    async def iter_json(self, *, ignore_parsing_errors: bool = False) -> AsyncGenerator[object, None]:
        """Frames as `read_frame` knows them, up to the first that is none, or one too many."""
        try:
            while self.open:
                received = await self.ws.receive()
                if received["type"] == "websocket.disconnect":
                    return
                yield self._read(received.get("text"))
                del received  # a socket may say nothing more for hours
        except Ending as end:
            await self.close(end.code, end.reason)

    def _read(self, text: str | None) -> dict[str, Any]:
        """Raises Ending."""
        if text is None:
            raise Ending(INVALID, "a message must be text")
        if len(text) > self.most or (not text.isascii() and len(text.encode()) > self.most):
            raise Ending(INVALID, f"a message may have {self.most} bytes")
        if not self.bucket.take(self.clock()):
            raise Ending(TOO_MANY, "too many messages")
        return read_frame(text)

    async def send_json(self, message: Mapping[str, object]) -> None:
        await self.send_text(msgspec.json.encode(message, enc_hook=str).decode())

    async def send_text(self, text: str) -> None:
        """Waits while the client does not read: how long is looked at from outside."""
        if not self.open:
            raise WebSocketDisconnected
        if self._sending == 0:
            self.sending_since = self.clock()
        self._sending += 1
        try:
            await self.ws.send_text(text)
        except (WebSocketDisconnect, RuntimeError, OSError) as error:  # closed in the meantime, by either side
            raise WebSocketDisconnected from error
        finally:
            self._sending -= 1
            if self._sending == 0:
                self.sending_since = None

    async def close(self, code: int, reason: str) -> None:
        """Safe to repeat: the first one counts."""
        if self.open:
            with suppress(WebSocketDisconnect, RuntimeError, OSError):
                await self.ws.close(code, reason.encode()[:REASON_MOST].decode(errors="ignore"))


class Bucket:
    """So many at once, and then so many each second. No rate is no limit."""

    def __init__(self, per_s: float | None, burst: int) -> None:
        self._per_s = per_s
        self._burst = burst
        self._left = float(burst)
        self._at = 0.0

    def take(self, now: float) -> bool:
        if self._per_s is None:
            return True
        self._left = min(self._burst, self._left + (now - self._at) * self._per_s)
        self._at = now
        if self._left < 1:
            return False
        self._left -= 1
        return True


def read_frame(text: str) -> dict[str, Any]:
    """A message of the protocol, with all its members of the right kind. Raises Ending 4400."""
    try:
        frame = read_object(text)
    except NotReadable as error:
        raise Ending(INVALID, str(error)) from None
    kind = frame.get("type")
    if kind in ("subscribe", "complete"):
        id = frame.get("id")
        if not isinstance(id, str) or not 0 < len(id) <= ID_MOST:
            raise Ending(INVALID, f"`id` must be a text of 1 to {ID_MOST} characters")
    if kind == "subscribe":
        payload = frame.get("payload")
        if not isinstance(payload, dict):
            raise Ending(INVALID, "`payload` must be an object")
        try:
            read_asking(payload)
        except Refused as no:
            raise Ending(INVALID, str(no)) from None
    elif kind in ("connection_init", "ping", "pong"):
        if not isinstance(frame.get("payload"), dict | None):
            raise Ending(INVALID, "`payload` must be an object or null")
    elif kind != "complete":
        raise Ending(INVALID, "an unknown type of message")
    return frame
