"""GraphQL over a WebSocket: `graphql-transport-ws`, as github.com/enisdenjo/graphql-ws/blob/master/PROTOCOL.md says it.

Strawberry's handler keeps the protocol's state. What is here knows who is calling and until when, runs what they ask, and
ends what takes too much. `schema/wire.py` has read each frame before.
"""

import asyncio
import logging
from collections.abc import Coroutine
from contextlib import suppress
from contextvars import copy_context
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from inspect import CORO_CREATED, getcoroutinestate
from typing import TYPE_CHECKING, Any, cast
from uuid import UUID

import msgspec
from graphql import OperationType
from strawberry.http.exceptions import WebSocketDisconnected
from strawberry.subscriptions.protocols.graphql_transport_ws.handlers import BaseGraphQLTransportWSHandler, Operation
from strawberry.subscriptions.protocols.graphql_transport_ws.types import Message

from domain import trace
from domain.identity import Actor
from domain.limits import network_of
from domain.refusals import RateLimited, Refused
from domain.sessions import Claims
from schema.cache import Kept
from schema.callers import bearer
from schema.errors import refusal_error
from schema.gate import Asking, Followed, Stopped, read_asking, undone
from schema.listeners import FORBIDDEN, IDLE, NOT_BEGUN, RESTART, TAKEN, TOO_MANY, UNAUTHORIZED, Ending
from schema.roots import Api
from schema.sharing import Encoded
from schema.wire import Wire

if TYPE_CHECKING:
    from schema.http import HttpDoor

log = logging.getLogger("haat.sockets")


class Doing(Operation[Api, None]):
    """One operation. Of a subscription there are `results`; while they rest, no task runs for it."""

    __slots__ = ("before", "context", "results")
    handler: "Socket"

    def __init__(self, handler: "Socket", id: str, asking: Asking) -> None:
        super().__init__(handler, id, asking.query, asking.variables, asking.operation_name)
        self.results: Followed | None = None
        self.before = b'{"id":' + msgspec.json.encode(id) + b',"type":"next","payload":'
        self.context = copy_context()

    def forget_asking(self) -> None:
        """A feed may live for hours, and there may be many."""
        self.query, self.variables = "", None

    def work(self) -> None:
        self.task = asyncio.create_task(self.handler.run_operation(self), context=self.context)
        self.task.add_done_callback(self.handler._task_done)

    async def tell(self, payload: str) -> None:
        """What is encoded already."""
        if not self.completed:
            await self.handler.websocket.send_text(f"{self.before.decode()}{payload}}}")

    def write(self, told: Encoded) -> bool:
        """Straight to the wire, if the client keeps up."""
        put = self.handler.websocket.put
        return put is not None and put(told.text_frame(self.before))


class Socket(BaseGraphQLTransportWSHandler[Api, None]):
    """One client, from the upgrade to the close."""

    view: "HttpDoor"
    websocket: Wire

    def __init__(self, **given: Any) -> None:
        super().__init__(**given)
        self.actor: Actor = self.context.actor
        self.address = network_of(self.context.remote)
        self.correlation_id = trace.correlation_id.get()
        self.started = 0
        self.idle_since = self.websocket.clock()
        self.task: asyncio.Task[Any] | None = None
        self.expiry: asyncio.TimerHandle | None = None
        self.ending: asyncio.Task[None] | None = None
        self.beginning: asyncio.TimerHandle | None = None
        self.aborted = False
        self.leaving = False
        self.counted_for: UUID | None = None

    # ---------------------------------------------------------------- the socket's life

    async def handle(self) -> None:
        self.task = asyncio.current_task()
        listeners = self.view.listeners
        try:
            listeners.add(self)
            await self.hear()
        except Ending as end:
            await self.websocket.close(end.code, end.reason)
        except asyncio.CancelledError:
            if not self.aborted:
                raise
        except Exception:
            log.exception("socket failed")
            await self.websocket.close(1011, "Internal error")
        finally:
            listeners.remove(self)
            for timer in (self.expiry, self.beginning):
                if timer is not None:
                    timer.cancel()

    async def hear(self) -> None:
        """As strawberry's own `handle`, which keeps the last message as long as there is no other."""
        self.on_request_accepted()
        try:
            async for message in self.websocket.iter_json():
                await self.handle_message(cast("Message", message))
                del message
        except WebSocketDisconnected:
            pass
        finally:
            await self.shutdown()

    def on_request_accepted(self) -> None:
        wait_s = self.connection_init_wait_timeout.total_seconds()
        self.beginning = asyncio.get_running_loop().call_later(wait_s, self.not_begun)

    def not_begun(self) -> None:
        self.connection_timed_out = True
        self.end(NOT_BEGUN, "Connection initialisation timeout")

    def end(self, code: int, reason: str) -> None:
        """Closes it from outside its own task; a client that does not even take the close frame is let go."""
        if self.ending is None:
            self.ending = asyncio.create_task(self._end(code, reason))

    async def _end(self, code: int, reason: str) -> None:
        for id in list(self.operations):
            await self.cleanup_operation(id)  # nothing is sent from here on
        with suppress(TimeoutError):
            async with asyncio.timeout(1):
                await self.websocket.close(code, reason)
                return
        self.abort()

    async def leave(self, within_s: float) -> None:
        """Feeds say where they are, what else runs is finished, it closes. Nothing is said to be complete: clients come back."""
        self.leaving = True
        self.context.hub.leave()
        running = [operation.task for operation in self.operations.values() if operation.task is not None]
        if running:
            await asyncio.wait(running, timeout=within_s)
        self.end(RESTART, "Service restart")

    def abort(self) -> None:
        self.aborted = True
        if self.task is not None:
            self.task.cancel()

    def look(self, now: float) -> None:
        """Called about once a second."""
        rules = self.view.rules
        if self.websocket.sending_since is not None and now - self.websocket.sending_since > rules.send_s:
            log.info("socket does not read", extra={"sockets": len(self.view.listeners.open)})
            self.abort()
        elif not self.operations and now - self.idle_since > rules.idle_s:
            self.end(IDLE, "Idle")

    # ---------------------------------------------------------------- who is calling

    async def handle_connection_init(self, message: Any) -> None:
        if self.connection_timed_out:
            return
        if self.beginning is not None:
            self.beginning.cancel()
            self.beginning = None
        if self.connection_init_received:
            raise Ending(TOO_MANY, "Too many initialisation requests")
        self.connection_init_received = True
        told = (message.get("payload") or {}).get("authorization")
        if told is not None:
            self.signed_in(await self.claims(told))
        await self.send_message({"type": "connection_ack"})
        self.connection_acknowledged = True

    async def handle_ping(self, message: Any) -> None:
        """With a token of the same user in the same app, the socket lives as long as that one does."""
        told = (message.get("payload") or {}).get("authorization")
        if told is None or not self.connection_acknowledged:
            await self.send_message({"type": "pong"})
            return
        claims = await self.claims(told)
        if (claims.actor.kind, claims.actor.id) != (self.actor.kind, self.actor.id):
            raise Ending(FORBIDDEN, "Forbidden: another user's token")
        self.signed_in(claims)
        await self.send_message({"type": "pong", "payload": {"expiresAt": _text(claims.expires_at)}})

    async def claims(self, told: object) -> Claims:
        """Raises Ending."""
        try:
            return await self.view.authenticate(bearer(told))
        except Refused as no:
            if no.refusal.kind.value == "UNAVAILABLE":
                raise Ending(1013, "Try again later") from None
            raise Ending(FORBIDDEN, f"Forbidden: {no}") from None

    def signed_in(self, claims: Claims) -> None:
        self.actor = claims.actor
        self.context = replace(self.context, actor=claims.actor)
        self.view.listeners.count_user(self)
        if self.expiry is not None:
            self.expiry.cancel()
        left = (claims.expires_at - datetime.now(UTC)).total_seconds()
        self.expiry = asyncio.get_running_loop().call_later(max(left, 0), self.end, FORBIDDEN, "Forbidden: the token has expired")

    # ---------------------------------------------------------------- operations

    async def handle_subscribe(self, message: Any) -> None:
        if not self.connection_acknowledged:
            raise Ending(UNAUTHORIZED, "Unauthorized")
        id = message["id"]
        if id in self.operations:
            raise Ending(TAKEN, f"Subscriber for {id} already exists")
        most = self.view.rules.operations
        if len(self.operations) >= most:
            later = datetime.now(UTC) + timedelta(seconds=5)
            error = refusal_error(RateLimited(f"at most {most} operations at once on a socket", later))
            await self.send_message({"id": id, "type": "error", "payload": [error.formatted]})
            return
        operation = Doing(self, id, read_asking(message["payload"]))
        self.operations[id] = operation
        operation.work()

    async def run_operation(self, operation: Operation[Api, None]) -> None:
        """To its end, or until its results rest; from there again when there is more."""
        assert isinstance(operation, Doing)
        try:
            if operation.results is not None:
                await self.follow(operation, operation.results)
            else:
                self.started += 1
                trace.correlation_id.set(f"{self.correlation_id}.{self.started}")
                await self.run(operation)
        except WebSocketDisconnected:
            pass  # the client is gone; `handle` sees it too
        except Exception:
            log.exception("operation failed on a socket")
            with suppress(WebSocketDisconnected):
                await operation.send_operation_message({"id": operation.id, "type": "complete"})
        finally:
            if operation.task is not None:
                await self.ended(operation)

    async def ended(self, operation: Doing) -> None:
        if self.operations.get(operation.id) is operation:
            del self.operations[operation.id]
        self.idle_since = self.websocket.clock()
        if operation.results is not None:
            await operation.results.aclose()

    async def cleanup_operation(self, operation_id: str) -> None:
        operation = self.operations.pop(operation_id, None)
        if not isinstance(operation, Doing):
            return
        begun = False
        if operation.task is not None:
            begun = getcoroutinestate(cast("Coroutine[Any, Any, None]", operation.task.get_coro())) != CORO_CREATED
            operation.task.cancel()
        if not begun:  # it rested, or was woken in this very moment: what never runs cannot tidy up
            await self.ended(operation)

    async def run(self, operation: Doing) -> None:
        """A query or mutation is answered by one result, a subscription by as many as come."""
        gate, context = self.view.gate, self.context
        asking = Asking(operation.query, operation.operation_name, operation.variables)
        try:
            asked = await gate.admit(context, asking, tuple(OperationType))
        except Stopped as stopped:
            await operation.send_initial_errors(list(stopped.errors))
            return
        if asked.kind is OperationType.SUBSCRIPTION:
            operation.results = gate.follow(context, asking, asked)
            operation.forget_asking()
            await self.follow(operation, operation.results)
            return
        answer = await self.view.perform(context, asking, asked)
        if isinstance(answer, Kept):
            await operation.tell(answer.answer.body.decode())
        elif undone(answer):
            await operation.send_initial_errors(answer.errors or [])
            return
        else:
            await operation.send_next(answer)
        await operation.send_operation_message({"id": operation.id, "type": "complete"})

    async def follow(self, operation: Doing, results: Followed) -> None:
        """What many are told is encoded already: for each of them only the operation's id is put before it.

        Where nothing waits to be told, and the client keeps up, the results rest and this returns: what everybody is told
        goes straight to the wire.
        """
        try:
            async for result in results:
                await operation.tell(result.payload)
                if self.websocket.put is not None and results.rest(operation.write, operation.work):
                    operation.task = None
                    return
        except Stopped as stopped:
            await operation.send_initial_errors(list(stopped.errors))
            return
        if not self.leaving:
            await operation.send_operation_message({"id": operation.id, "type": "complete"})

    async def handle_message(self, message: Message) -> None:
        try:
            await super().handle_message(message)
        except Ending as end:
            await self.websocket.close(end.code, end.reason)


def _text(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat().replace("+00:00", "Z")
