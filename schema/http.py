"""GraphQL over HTTP, as https://graphql.github.io/graphql-over-http says it, and the way to the sockets."""

import asyncio
import re
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from math import ceil
from typing import Any
from urllib.parse import parse_qsl

import msgspec
from graphql import GraphQLError, OperationType
from starlette.requests import ClientDisconnect, Request
from starlette.responses import PlainTextResponse, Response
from starlette.types import Receive, Scope, Send
from starlette.websockets import WebSocket
from strawberry.asgi import GraphQL
from strawberry.subscriptions import GRAPHQL_TRANSPORT_WS_PROTOCOL
from strawberry.types import ExecutionResult

from domain import trace
from domain.figures import BYPASS, HIT, MISS, Figures
from domain.identity import ANYBODY, Actor
from domain.refusals import InvalidInput, Refused, Unavailable
from domain.sessions import Claims
from schema.build import Schema
from schema.cache import Erred, Kept, Public
from schema.callers import Authenticate, Ended, MakeContext, Rules, bearer, remote
from schema.decoding import NotReadable, read_object
from schema.errors import STATUS, refusal_error, tell_all
from schema.event_streams import EventStream, last_event_id, wants_events
from schema.gate import Asking, Gate, Stopped, read_asking, undone
from schema.guard import Asked
from schema.listeners import Ending, Listeners
from schema.roots import Api
from schema.sockets import Socket
from schema.wire import Wire
from subscriptions.cache import Cache

JSON = "application/json"
GRAPHQL = "application/graphql-response+json"
TYPES = {name: f"{name}; charset=utf-8".encode() for name in (JSON, GRAPHQL)}
CACHE_STATUS = {HIT: b"haat; hit", MISS: b"haat; fwd=miss", BYPASS: b"haat; fwd=bypass"}
Headers = Sequence[tuple[bytes, bytes]]
"""Names in small letters, as ASGI has them."""


class Incoming(Request):
    """A request as it came. Of a header that was sent twice, the first counts."""

    def __init__(self, scope: Scope, receive: Receive) -> None:
        super().__init__(scope, receive)
        self.named: Mapping[bytes, bytes] = dict(reversed(scope["headers"]))

    def header(self, name: bytes) -> str | None:
        """Starlette's own look-up takes a good part of what a kept answer may cost."""
        found = self.named.get(name)
        return None if found is None else found.decode("latin-1")


class Answered:
    """A whole answer."""

    def __init__(self, body: bytes, status: int, headers: Headers) -> None:
        self.body = body
        self.status = status
        self.headers = headers

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": self.status, "headers": self.headers})
        await send({"type": "http.response.body", "body": self.body})


class HttpDoor(GraphQL[Api, None]):
    websocket_adapter_class = Wire  # type: ignore[assignment]  # narrower than strawberry declares it
    graphql_transport_ws_handler_class = Socket

    def __init__(
        self,
        schema: Schema,
        context: MakeContext,
        authenticate: Authenticate,
        ended: Ended,
        figures: Figures,
        rules: Rules = Rules(),
        cache: Cache | None = None,
    ) -> None:
        super().__init__(
            schema,
            graphql_ide=None,
            allow_queries_via_get=False,  # strawberry's own way in is for sockets alone
            subscription_protocols=[GRAPHQL_TRANSPORT_WS_PROTOCOL],
            connection_init_wait_timeout=timedelta(seconds=rules.init_s),
            multipart_uploads_enabled=False,
            max_subscriptions_per_connection=None,  # we say it our way
            allowed_origins=rules.allowed_origins,
        )
        self.rules = rules
        self.make_context = context
        self._authenticate = authenticate
        self.gate = Gate(schema, figures, rules)
        self.public = None if cache is None else Public(schema, self.gate, cache, _encode_result)
        self.figures = figures
        self.listeners = Listeners(rules, ended, figures)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket":
            trace.correlation_id.set(trace.correlation_id_of(dict(scope["headers"])))
            socket = WebSocket(scope, receive=receive, send=send)
            if self.listeners.draining:
                await socket.send_denial_response(PlainTextResponse("restarting", 503, {"Retry-After": "1"}))
            else:
                await self.run(socket)
        else:
            request = Incoming(scope, receive)
            trace.correlation_id.set(trace.correlation_id_of(request.named))
            try:
                streamed = wants_events(request.header(b"accept"))
                response = await (self.stream(request) if streamed else self.answer(request))
                await response(scope, receive, send)
            except ClientDisconnect:
                return
            except Ending as end:  # before anything was sent
                await PlainTextResponse(end.reason, 429, {"Retry-After": "5"})(scope, receive, send)

    async def authenticate(self, token: str) -> Claims:
        """Refuses Unauthenticated, and Unavailable where nobody answers in time."""
        try:
            async with asyncio.timeout(self.rules.deadline_s):
                return await self._authenticate(token)
        except TimeoutError:
            raise Refused(Unavailable("this took too long: try again")) from None

    async def get_context(self, request: Request | WebSocket, response: Response | WebSocket) -> Api:
        """Of a socket, until it says who it is."""
        return self.make_context(ANYBODY, remote(request.scope))

    # ---------------------------------------------------------------- HTTP

    async def answer(self, request: Incoming) -> Answered:
        accepted = best_type(request.header(b"accept"))
        try:
            asking, kinds = await self.read(request)
            actor = await self.actor(request)
        except NotRead as no:
            return self.respond({"errors": [refusal_error(no.refusal)]}, accepted, no.status, no.headers)
        except Refused as no:
            return self.respond_undone([refusal_error(no.refusal)], accepted)
        except ClientDisconnect:
            raise
        except Exception as error:
            return self.respond_undone(tell_all([GraphQLError(str(error), original_error=error)], None), accepted)
        return await self.run_once(self.make_context(actor, remote(request.scope)), asking, kinds, accepted)

    async def stream(self, request: Incoming) -> Response | Answered | EventStream:
        """As events. What is wrong with the request itself has its status; all else is told in the stream."""
        if self.listeners.draining:
            return PlainTextResponse("restarting", 503, {"Retry-After": "1"})
        told = request.header(b"authorization")
        try:
            asking, kinds = await self.read(request)
            claims = None if told is None else await self.authenticate(bearer(told))
        except NotRead as no:
            return self.respond({"errors": [refusal_error(no.refusal)]}, GRAPHQL, no.status, no.headers)
        except Refused as no:
            return self.respond_undone([refusal_error(no.refusal)], GRAPHQL)
        context = self.make_context(claims.actor if claims else ANYBODY, remote(request.scope))
        return EventStream(self, context, claims, asking, (*kinds, OperationType.SUBSCRIPTION), last_event_id(request))

    async def run_once(self, context: Api, asking: Asking, kinds: Sequence[OperationType], accepted: str) -> Answered:
        try:
            asked = await self.gate.admit(context, asking, kinds)
        except Stopped as stopped:
            return self.respond_undone(stopped.errors, accepted)
        result = await self.perform(context, asking, asked)
        if isinstance(result, Kept):
            return self.respond_kept(result, accepted)
        if undone(result):
            return self.respond_undone(result.errors or [], accepted)
        return self.respond_body(_encode_result(result), accepted, 200)

    async def perform(self, context: Api, asking: Asking, asked: Asked) -> ExecutionResult | Kept:
        """A query or mutation that was admitted, whichever way it came: what anybody may be told is answered from the cache."""
        if self.public is None or asked.kind is not OperationType.QUERY or not self.public.takes(asking):
            return await self.gate.execute(context, asking, asked)
        try:
            kept = await self.public.answer(context, asking, asked)
        except Erred as erred:
            return erred.result
        self.figures.cached(kept.outcome)
        return kept

    async def read(self, request: Incoming) -> tuple[Asking, Sequence[OperationType]]:
        """Raises NotRead for what is no GraphQL request."""
        if request.method == "GET" and b"query=" in request.scope["query_string"]:
            return read_asking(self.read_address(request)), (OperationType.QUERY,)
        if request.method != "POST":
            raise NotRead(405, "POST it", [(b"allow", b"POST")])
        if not is_json(request.header(b"content-type") or ""):
            raise NotRead(415, f"the content type must be {JSON}", [(b"accept-post", JSON.encode())])
        try:
            body = await self.body(request)
            asking = read_asking(read_object(body)) if self.public is None else self.public.read(body)
            return asking, (OperationType.QUERY, OperationType.MUTATION)
        except NotReadable as error:
            raise NotRead(400, str(error)) from None
        except Refused as no:
            raise NotRead(400, str(no)) from None

    def read_address(self, request: Incoming) -> Mapping[str, Any]:
        """A query by GET: nobody's cookies ride along, since we take none."""
        raw = request.scope["query_string"]
        if len(raw) > self.rules.body_bytes:
            raise NotRead(414, "the address is too long")
        try:
            told: dict[str, Any] = dict(parse_qsl(raw.decode("ascii"), errors="strict", max_num_fields=10))
            if "\0" in "".join(told.values()):
                raise NotReadable("text with a NUL in it")
            for member in ("variables", "extensions"):
                if told.get(member):
                    told[member] = read_object(told[member])
        except ValueError as error:
            raise NotRead(400, str(error) if isinstance(error, NotReadable) else "not a query string") from None
        try:
            read_asking(told)
        except Refused as no:
            raise NotRead(400, str(no)) from None
        return told

    async def body(self, request: Incoming) -> bytes:
        most = self.rules.body_bytes
        too_long = NotRead(413, f"more than {most} bytes")
        told = request.header(b"content-length") or "0"
        if not told.isdecimal() or int(told[:20]) > most:
            raise too_long
        whole, more = b"", True
        try:
            async with asyncio.timeout(self.rules.body_s):
                while more:  # most come in one piece
                    message = await request.receive()
                    if message["type"] == "http.disconnect":
                        raise ClientDisconnect
                    whole += message.get("body", b"")
                    more = message.get("more_body", False)
                    if len(whole) > most:
                        raise too_long
        except TimeoutError:
            raise NotRead(408, "the body did not arrive", [(b"connection", b"close")]) from None
        return whole

    async def actor(self, request: Incoming) -> Actor:
        """Refuses Unauthenticated for a token that is not good; without one it is anybody."""
        told = request.header(b"authorization")
        return ANYBODY if told is None else (await self.authenticate(bearer(told))).actor

    def respond_undone(self, errors: Sequence[GraphQLError], accepted: str) -> Answered:
        """To a request that was well formed, and did not run: what a client of old takes for an answer is 200."""
        first = errors[0]
        code = str((first.extensions or {}).get("code", "INTERNAL"))
        headers = []
        if code == "UNAUTHENTICATED":
            headers.append((b"www-authenticate", b"Bearer"))
        retry_at = (first.extensions or {}).get("retryAt")
        if isinstance(retry_at, str):
            wait = datetime.fromisoformat(retry_at) - datetime.now(UTC)
            headers.append((b"retry-after", b"%d" % max(1, ceil(wait.total_seconds()))))
        return self.respond({"errors": errors}, accepted, STATUS[code] if accepted == GRAPHQL else 200, headers)

    def respond_kept(self, kept: Kept, accepted: str) -> Answered:
        """How old it is, is said for people: no client is to keep it itself."""
        age = max(0, int(time.time() - kept.answer.made_at)) if kept.outcome == HIT else 0
        said = [(b"cache-status", CACHE_STATUS[kept.outcome]), (b"age", b"%d" % age)]
        return self.respond_body(kept.answer.body, accepted, 200, said, keep=b"no-cache")

    def respond(self, answer: Mapping[str, Any], accepted: str, status: int, headers: Headers = ()) -> Answered:
        return self.respond_body(encode(answer), accepted, status, headers)

    def respond_body(
        self, body: bytes, accepted: str, status: int, headers: Headers = (), *, keep: bytes = b"no-store"
    ) -> Answered:
        return Answered(
            body,
            status,
            [
                (b"x-correlation-id", trace.correlation_id.get().encode()),
                (b"cache-control", keep),
                (b"x-content-type-options", b"nosniff"),
                (b"content-type", TYPES[accepted]),
                (b"content-length", b"%d" % len(body)),
                *headers,
            ],
        )


class NotRead(Exception):
    """Not a GraphQL request at all: its status stands, whatever the client accepts."""

    def __init__(self, status: int, message: str, headers: Headers = ()) -> None:
        super().__init__(message)
        self.status = status
        self.refusal = InvalidInput(message)
        self.headers = headers


def _encode_result(result: ExecutionResult) -> bytes:
    return encode({"data": result.data, "errors": result.errors} if result.errors else {"data": result.data})


def encode(answer: Mapping[str, Any]) -> bytes:
    return msgspec.json.encode(answer, enc_hook=as_json)


def as_json(value: object) -> object:
    if isinstance(value, GraphQLError):
        return value.formatted
    return str(value)


_TYPE = re.compile(rf"\s*{JSON}\s*(;\s*charset\s*=\s*\"?utf-8\"?\s*)?", re.IGNORECASE)


def is_json(content_type: str) -> bool:
    """Exactly that: what a form can send is no API call."""
    return _TYPE.fullmatch(content_type) is not None


def best_type(accept: str | None) -> str:
    """The newer type for who asks for it, and not for less than the older."""
    if accept is None or GRAPHQL not in accept.lower():
        return JSON
    wanted: dict[str, float] = {}
    for part in accept.lower().split(","):
        name, *parameters = (piece.strip() for piece in part.split(";"))
        weight = next((piece[2:] for piece in parameters if piece.startswith("q=")), "1")
        wanted[name] = float(weight) if re.fullmatch(r"[01](\.\d{0,3})?", weight) else 0
    best = wanted.get(GRAPHQL, 0)
    return GRAPHQL if best > 0 and best >= wanted.get(JSON, 0) else JSON
