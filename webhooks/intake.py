"""The doors of providers: `/v1/integrations/{family}/{provider}[/{token}]/{rest}`."""

import asyncio
import hashlib
import ipaddress
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from urllib.parse import urlencode
from uuid import UUID

from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from db import merchants, sources
from db.arrivals import AT_ONCE, keep_at_once
from db.ids import new_id
from db.reads import Reads
from domain import trace
from domain.figures import Figures, Uncounted
from domain.identity import Seals
from domain.intake import Answer, Call, FailureKind, Inbound, PayloadState, Proof, Reading, Source, Wrong, printable, read
from domain.limits import network_of
from domain.merchants import StoreStatus
from domain.payloads import Kept, Received, keep, kept_at_once
from domain.refusals import Refused
from domain.unit_of_work import Begin
from webhooks.bodies import body_of
from webhooks.limits import Budget, InFlight, Known
from webhooks.problems import STATUS, status_of
from webhooks.traces import traced

log = logging.getLogger("haat.intake")
BODY_BYTES = 1024 * 1024
LARGE_BODY_BYTES = 10 * 1024 * 1024
LARGE_DOORS = frozenset({"menu", "import"})
INLINE_BYTES = 16 * 1024  # what is larger is read beside the event loop
DEADLINE_S = 8
RETRY_AFTER_S = 5
HEADERS_KEPT, HEADER_CHARACTERS = 64, 1000
SECRET_WORDS = ("auth", "cookie", "token", "secret", "signature", "password", "apikey", "api-key", "api_key")
SECRET_QUERY = frozenset({"t", "key"})


@dataclass(frozen=True)
class Door:
    """`kept` is called when something was kept that a worker has to do: it wakes one and must not wait."""

    inbounds: Mapping[str, Inbound]
    reads: Reads
    unit_of_work: Begin
    seals: Seals
    kept: Callable[[], None] = lambda: None
    in_flight: InFlight = field(default_factory=InFlight)
    rejected: Budget = field(default_factory=Budget)
    clock: Callable[[], datetime] = lambda: datetime.now(UTC)
    figures: Figures = field(default_factory=Uncounted)
    known: Known = field(default_factory=Known)

    def routes(self) -> list[Route]:
        return [Route("/v1/integrations/{family}/{provider}/{rest:path}", self.receive, methods=["POST", "GET"])]

    async def receive(self, request: Request) -> Response:
        """2xx means: these bytes are on disk. The same bytes again: one effect, the same answer."""
        return await traced(self._answered, request)

    async def _answered(self, request: Request) -> Response:
        inbound = self.inbounds.get(request.path_params["provider"])
        if inbound is None or inbound.family.value != request.path_params["family"]:
            return _plain(404, "not found")
        token, path = _split(inbound, request.path_params["rest"])
        door = inbound.doors.get(path)
        if door is None or (token is not None and inbound.proof is not Proof.TOKEN):
            return _plain(404, "not found")
        query = dict(request.query_params)
        headers = {name.lower(): value for name, value in request.headers.items()}
        call = Call(door, b"", headers, self.clock(), query)
        if request.method != "POST" and door not in inbound.questions:
            return _respond(inbound.refuse(call, 405, "POST it"), {"Allow": "POST"})
        try:
            body = await body_of(request, LARGE_BODY_BYTES if door in LARGE_DOORS else BODY_BYTES)
        except ClientDisconnect:
            return _respond(inbound.refuse(call, 400, "the body did not arrive"))
        if body is None:
            return _respond(inbound.refuse(call, 413, "too large"))
        call = Call(door, body, headers, call.received_at, query)
        remote = request.client.host if request.client else ""
        try:
            async with asyncio.timeout(DEADLINE_S):
                return await self._receive(inbound, call, token, path, remote)
        except Refused as refused:
            return self._unavailable(inbound, call, STATUS[refused.refusal.kind], refused)
        except Exception as error:  # not kept, whatever the reason: it has to be sent again
            return self._unavailable(inbound, call, 503, error)

    def _unavailable(self, inbound: Inbound, call: Call, status: int, error: Exception) -> Response:
        log.warning("a call of %s was not kept: %s", inbound.provider, type(error).__name__, exc_info=error)
        self.figures.webhook(inbound.provider, "NOT_KEPT")
        return _respond(inbound.refuse(call, status, "try again later"), {"Retry-After": str(RETRY_AFTER_S)})

    async def _receive(self, inbound: Inbound, call: Call, token: str | None, path: str, remote: str) -> Response:
        source = await self._source(inbound, call, token)
        async with self.in_flight.turn(source.id if source else network_of(remote)) as mine:
            if not mine:
                self.figures.webhook(inbound.provider, "TOO_MANY")
                return _respond(inbound.refuse(call, 429, "too many at once"), {"Retry-After": "1"})
            stranger = source is None or not _allowed(source, remote)
            reading = await self._read(inbound, call, None if stranger else source)
            if _unproven(reading) and source is not None and not stranger:
                # It may have a new secret, or a new outlet, since we looked.
                source = await self._source(inbound, call, token, afresh=True) or source
                reading = await self._read(inbound, call, source)
            if reading.question is not None:
                assert source is not None
                return await self._answer(inbound, call, source, reading)
            received = _received(inbound, call, source, path, remote)
            status = 404 if stranger and inbound.proof is Proof.TOKEN else _status(reading)
            if _unproven(reading) and not self._within_budget(source, remote, call):
                assert reading.wrong is not None
                return _respond(inbound.refuse(call, status, reading.wrong.message))
            kept = await self._keep(received, reading)
            if source is not None and not stranger:
                self.known.seen(self._key(inbound, call, token), received.at)
        self.figures.webhook(inbound.provider, kept.state.value)
        if kept.state is PayloadState.REJECTED:
            return _respond(inbound.refuse(call, status if reading.refused else 409, kept.message))
        if kept.state is PayloadState.ACCEPTED:
            self.kept()
        return _respond(inbound.acknowledge(call, kept.payload_id))

    def _key(self, inbound: Inbound, call: Call, token: str | None) -> tuple[str, str]:
        return inbound.provider, (token if inbound.proof is Proof.TOKEN else call.query.get("source")) or ""

    async def _source(self, inbound: Inbound, call: Call, token: str | None, *, afresh: bool = False) -> Source | None:
        """By its token, or by its id where the signature proves the rest. As it was within the last second, or afresh."""
        key = _, named = self._key(inbound, call, token)
        if not named:
            return None
        held = None if afresh else self.known.get(key)
        if held is not None:
            return held
        if inbound.proof is Proof.TOKEN:
            found = await sources.by_token(self.reads, inbound.provider, hashlib.sha256(named.encode()).digest())
        else:
            try:
                found = await sources.by_id(self.reads, inbound.provider, UUID(named))
            except ValueError:
                return None
        if found is None:
            return None
        source = found.opened(self.seals)
        self.known.put(key, source)
        return source

    async def _read(self, inbound: Inbound, call: Call, source: Source | None) -> Reading:
        """Who is unknown, and who calls from elsewhere, hears what a wrong token or signature hears."""
        if source is None:
            message = "not found" if inbound.proof is Proof.TOKEN else "the signature does not match"
            return Reading(wrong=Wrong(FailureKind.AUTH, message))
        if len(call.body) <= INLINE_BYTES:
            return read(inbound, call, source)
        return await asyncio.to_thread(read, inbound, call, source)

    def _within_budget(self, source: Source | None, remote: str, call: Call) -> bool:
        return self.rejected.take((source.id if source else None, network_of(remote)), call.received_at.timestamp())

    async def _keep(self, received: Received, reading: Reading) -> Kept:
        payload = kept_at_once(new_id(), received, reading, AT_ONCE)
        if payload is not None and await keep_at_once(self.reads, payload, reading.commands):
            return Kept(payload.id, payload.state)
        async with self.unit_of_work() as uow:
            return await keep(received, reading, uow)

    async def _answer(self, inbound: Inbound, call: Call, source: Source, reading: Reading) -> Response:
        assert reading.question is not None
        store_id = await sources.store_of(self.reads, source.id, reading.question.store)
        found = await merchants.stores_by_id(self.reads, [store_id]) if store_id else []
        status = found[0].status if found else StoreStatus.CLOSED
        return _respond(inbound.answer(call, status))


def _split(inbound: Inbound, rest: str) -> tuple[str | None, str]:
    """(token, what follows it). A door's own name is no token."""
    if rest in inbound.doors:
        return None, rest
    token, _, path = rest.partition("/")
    return token, path


def _allowed(source: Source, remote: str) -> bool:
    """No list: from anywhere."""
    if not source.ip_allow:
        return True
    try:
        address = ipaddress.ip_address(remote)
    except ValueError:
        return False
    return any(address in ipaddress.ip_network(network, strict=False) for network in source.ip_allow)


def _status(reading: Reading) -> int:
    return 200 if reading.wrong is None else status_of(reading.wrong.kind)


def _unproven(reading: Reading) -> bool:
    return reading.wrong is not None and reading.wrong.kind is FailureKind.AUTH


def _received(inbound: Inbound, call: Call, source: Source | None, path: str, remote: str) -> Received:
    return Received(
        source,
        inbound.provider,
        inbound.family,
        call.door,
        call.body,
        hashlib.sha256(call.body).digest(),
        masked(call.headers, path, call.query),
        remote,
        trace.correlation_id.get(),
        call.received_at,
    )


def masked(headers: Mapping[str, str], path: str, query: Mapping[str, str]) -> dict[str, str]:
    """As they are kept: without what proves anything. `:path` is what was called, without the token."""
    kept = {
        printable(name): "***" if any(word in name for word in SECRET_WORDS) else printable(value[:HEADER_CHARACTERS])
        for name, value in list(headers.items())[:HEADERS_KEPT]
    }
    shown = {
        name: "***" if name in SECRET_QUERY or any(word in name.lower() for word in SECRET_WORDS) else value
        for name, value in query.items()
    }
    kept[":path"] = printable(f"{path}?{urlencode(shown)}" if shown else path)[:HEADER_CHARACTERS]
    return kept


def _plain(status: int, message: str) -> Response:
    return JSONResponse({"status": "failed", "message": message}, status)


def _respond(answer: Answer, headers: Mapping[str, str] | None = None) -> Response:
    return JSONResponse(dict(answer.body), answer.status, headers=dict(headers or {}))
