"""Connections of WebSockets: uvicorn's own, with a way for frames that are built already, and less to keep for each."""

import asyncio
from typing import Any

from uvicorn.config import Config
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from uvicorn.server import ServerState
from websockets.frames import Frame
from websockets.http11 import Request

FRAMES = "haat.frames"
"""In the extensions of an ASGI scope: `put(frame: bytes) -> bool`."""


class Sockets(WebSocketsSansIOProtocol):
    """One connection. An idle one is mostly what waits in it: its queue and its gate are made for one reader each."""

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self.queue = Received()  # type: ignore[assignment]  # all of a queue that uvicorn asks for
        self.writable = Writable()  # type: ignore[assignment]  # all of an event that uvicorn asks for

    def handle_connect(self, event: Request) -> None:
        super().handle_connect(event)
        if not self.close_sent and not self.conn.extensions:  # an extension may change what is in a frame
            extensions: dict[str, Any] = self.scope.setdefault("extensions", {})
            extensions[FRAMES] = self.put

    def handle_text(self, event: Frame) -> None:
        super().handle_text(event)
        event.data = b""  # the parser keeps its last frame until the next one comes

    def start_keepalive(self) -> None:
        """The handshake is over, and what it said was read: here the parser keeps it for as long as the connection lives."""
        super().start_keepalive()
        self.request.headers.clear()
        self.response.headers.clear()

    def on_task_complete(self, task: asyncio.Task[None]) -> None:
        """Who does not read never takes what is left for them: a transport that closes would wait for that."""
        super().on_task_complete(task)
        if not self.writable.is_set():
            self.transport.abort()

    def put(self, frame: bytes) -> bool:
        """Writes one whole frame as it is. False where the client does not keep up, or the socket closes: then nothing is."""
        if not self.writable.is_set() or self.close_sent or not self.handshake_complete or self.disconnected:
            return False
        if self.transport.is_closing():
            return False
        self.transport.write(frame)
        return True


class Received:
    """What has come, for the one that receives."""

    __slots__ = ("_messages", "_receiver")

    def __init__(self) -> None:
        self._messages: list[Any] = []  # one, as a rule: uvicorn reads no further before it is taken
        self._receiver: asyncio.Future[None] | None = None

    def empty(self) -> bool:
        return not self._messages

    def put_nowait(self, message: Any) -> None:
        self._messages.append(message)
        if self._receiver is not None and not self._receiver.done():
            self._receiver.set_result(None)

    async def get(self) -> Any:
        while not self._messages:
            self._receiver = asyncio.get_running_loop().create_future()
            try:
                await self._receiver
            finally:
                self._receiver = None
        return self._messages.pop(0)


class Writable:
    """Whether the transport takes more; those who send wait for it."""

    __slots__ = ("_event", "_set")

    def __init__(self) -> None:
        self._set = True
        self._event: asyncio.Event | None = None  # made when somebody has to wait

    def is_set(self) -> bool:
        return self._set

    def set(self) -> None:
        self._set = True
        if self._event is not None:
            self._event.set()
            self._event = None

    def clear(self) -> None:
        self._set = False

    async def wait(self) -> None:
        while not self._set:
            if self._event is None:
                self._event = asyncio.Event()
            await self._event.wait()
