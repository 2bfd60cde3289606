"""Subscriptions as server-sent events, for curl and for networks that let no WebSocket through.

The distinct connections mode of github.com/enisdenjo/graphql-sse/blob/master/PROTOCOL.md: one operation a request, an event
`next` for each result, `complete` at the end. A frame's cursor is its event's id: who comes back with `Last-Event-ID`, as
browsers do by themselves, goes on after it.
"""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import aclosing, suppress
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from uuid import UUID

import msgspec
from graphql import OperationType
from starlette.requests import Request
from starlette.types import Receive, Scope, Send

from domain import trace
from domain.limits import network_of
from domain.sessions import Claims
from schema.cache import Kept
from schema.gate import Asking, Stopped
from schema.listeners import FORBIDDEN
from schema.roots import Api
from schema.sharing import encoded

if TYPE_CHECKING:
    from schema.http import HttpDoor

EVENT_STREAM = "text/event-stream"
QUIET_S = 15.0
"""Then a comment goes out: proxies cut what says nothing, and a client that is gone is noticed."""
COMPLETE = b"event: complete\ndata: \n\n"


def wants_events(accept: str | None) -> bool:
    return accept is not None and EVENT_STREAM in accept.lower()


def last_event_id(request: Request) -> str | None:
    return request.headers.get("last-event-id") or None


class EventStream:
    """One operation's answer. A response, and a listener like a socket."""

    def __init__(
        self,
        door: "HttpDoor",
        context: Api,
        claims: Claims | None,
        asking: Asking,
        kinds: Sequence[OperationType],
        after: str | None,
    ) -> None:
        self.actor = context.actor
        self.address = network_of(context.remote)
        self.ending: asyncio.Task[None] | None = None
        self.counted_for: UUID | None = None
        self._door = door
        self._context = context
        self._claims = claims
        self._asking = asking
        self._kinds = kinds
        self._after = after
        self._telling: asyncio.Task[None] | None = None
        self._sending_since: float | None = None
        self._said_at = 0.0
        self._left = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Raises Ending, before anything is sent, where there are too many."""
        listeners = self._door.listeners
        listeners.add(self)
        expiry: asyncio.TimerHandle | None = None
        try:
            listeners.count_user(self)
            self._telling = asyncio.create_task(self._tell(send))
            if self._claims is not None:
                left = (self._claims.expires_at - datetime.now(UTC)).total_seconds()
                expiry = asyncio.get_running_loop().call_later(max(left, 0), self.end, FORBIDDEN, "the token has expired")
            gone = asyncio.create_task(_gone(receive))
            await asyncio.wait([self._telling, gone], return_when=asyncio.FIRST_COMPLETED)
            for task in (self._telling, gone):
                task.cancel()
            told, _ = await asyncio.gather(self._telling, gone, return_exceptions=True)
            if isinstance(told, Exception) and not isinstance(told, OSError):
                raise told
            with suppress(OSError, TimeoutError):
                async with asyncio.timeout(1):  # who does not read does not take this either
                    await send({"type": "http.response.body", "body": b""})
        finally:
            if expiry is not None:
                expiry.cancel()
            listeners.remove(self)

    async def _tell(self, send: Send) -> None:
        async def say(body: bytes) -> None:
            self._sending_since = self._said_at = asyncio.get_running_loop().time()
            await send({"type": "http.response.body", "body": body, "more_body": True})
            self._sending_since = None

        headers = {
            "content-type": f"{EVENT_STREAM}; charset=utf-8",
            "cache-control": "no-store",
            "x-accel-buffering": "no",
            "x-content-type-options": "nosniff",
            "x-correlation-id": trace.correlation_id.get(),
        }
        raw = [(name.encode(), value.encode()) for name, value in headers.items()]
        await send({"type": "http.response.start", "status": 200, "headers": raw})
        pinging = asyncio.create_task(self._ping(say))
        try:
            async with aclosing(self._results()) as events:
                async for one in events:
                    await say(one)
        finally:
            pinging.cancel()
            await asyncio.gather(pinging, return_exceptions=True)
        if not self._left:  # a client that is told so does not come back
            await say(COMPLETE)

    async def _ping(self, say: Callable[[bytes], Awaitable[None]]) -> None:
        clock = asyncio.get_running_loop().time
        while True:
            await asyncio.sleep(QUIET_S)
            if clock() - self._said_at >= QUIET_S and self._sending_since is None:
                await say(b":\n\n")

    async def _results(self) -> AsyncGenerator[bytes, None]:
        gate, context = self._door.gate, self._context
        try:
            asked = await gate.admit(context, self._asking, self._kinds)
            if asked.kind is not OperationType.SUBSCRIPTION:
                answer = await self._door.perform(context, self._asking, asked)
                if isinstance(answer, Kept):
                    yield event(answer.answer.body.decode(), None)
                else:
                    yield event(encoded(answer.data, answer.errors or []).payload, None)  # type: ignore[arg-type]  # told by the gate
                return
            asking = self._resumed()
            async with aclosing(gate.follow(context, asking, asked)) as results:
                async for result in results:
                    payload = result.payload
                    yield event(payload, cursor_of(payload))
        except Stopped as stopped:
            yield event(encoded(None, stopped.errors).payload, None)

    def _resumed(self) -> Asking:
        variable = self._door.gate.cursor_variable(self._asking) if self._after else None
        if variable is None:
            return self._asking
        return replace(self._asking, variables={**(self._asking.variables or {}), variable: self._after})

    # ---------------------------------------------------------------- as a listener

    def look(self, now: float) -> None:
        if self._sending_since is not None and now - self._sending_since > self._door.rules.send_s:
            self._stop()

    def end(self, code: int, reason: str) -> None:
        """Without `complete`: the client may come back, and is told why it may not."""
        self._left = True
        self._stop()

    async def leave(self, within_s: float) -> None:
        self._left = True
        self._context.hub.leave()
        if self._telling is not None:
            await asyncio.wait([self._telling], timeout=within_s)
        self._stop()

    def _stop(self) -> None:
        if self._telling is not None:
            self._telling.cancel()


async def _gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


def event(payload: str, id: str | None) -> bytes:
    return ("event: next\n" + (f"id: {id}\n" if id else "") + f"data: {payload}\n\n").encode()


class _Placed(msgspec.Struct):
    cursor: str | None = None


class _Frames(msgspec.Struct):
    data: dict[str, _Placed | None] | None = None


_FRAMES = msgspec.json.Decoder(_Frames)


def cursor_of(payload: str) -> str | None:
    """Of the frame, where the document asks for it by that name."""
    try:
        data: dict[str, Any] = dict(_FRAMES.decode(payload).data or {})
    except msgspec.MsgspecError:
        return None
    return next((frame.cursor for frame in data.values() if frame is not None), None)
