"""The doors of providers: `/v1/integrations/{family}/{provider}[/{token or source id}]/{rest}`."""

import asyncio
import hashlib
import ipaddress
import logging
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import cached_property
from urllib.parse import quote, unquote, urlencode
from uuid import UUID

from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from db import merchants, questions, sources
from db.arrivals import AT_ONCE, Keeper
from db.ids import new_id
from db.reads import Reads
from domain import doors, proofs, trace
from domain.bodies import INLINE, Bodies
from domain.figures import Figures, Uncounted
from domain.identity import Seals
from domain.imports import ImportAsked
from domain.intake import (
    HIDDEN,
    LATER_BYTES,
    SECRET_WORDS,
    Answer,
    Call,
    FailureKind,
    Inbound,
    Issuer,
    PayloadState,
    Reading,
    Source,
    TokenAsked,
    Wrong,
    described,
    printable,
    read,
)
from domain.limits import network_of
from domain.merchants import StoreStatus
from domain.payloads import UNSIGNED_BYTES, Kept, Received, keep, kept_at_once, laid_away
from domain.proofs import TOKEN_S, Strategy
from domain.questions import GoodsAsked, GoodsCounted, OrdersAsked
from domain.refusals import Refused
from domain.signatures import unproven
from domain.threads import Shares, Threads
from domain.unit_of_work import Begin
from webhooks.bodies import beginning_of, size_of
from webhooks.imports import Reports
from webhooks.limits import FREE_BYTES, MINUTE_S, Budget, InFlight, KnownSources, NoRoom, Room
from webhooks.problems import status_of
from webhooks.traces import traced

log = logging.getLogger("haat.intake")
BODY_BYTES = 1024 * 1024
LARGE_BODY_BYTES = 10 * 1024 * 1024
MOST_TOLD_BYTES = 2**31 - 1  # of the size a caller tells: as large as a row takes
LARGE_DOORS = frozenset({"menu", "import"})
INLINE_BYTES = 16 * 1024  # what is larger is read beside the event loop
READERS, READERS_EACH = 6, 2  # threads for that; of one source, so that what takes for ever to read is read by nobody else's
DEADLINE_S = 8
RETRY_AFTER_S = 5
HEADERS_KEPT, HEADER_CHARACTERS = 64, 1000
SECRET_QUERY = frozenset({"t", "key"})
METHODS = ("POST", "PUT")
UNKNOWN = "unknown"  # as a provider's name, of figures
BEFORE = "/v1/integrations/{family}/{provider}/".count("/")  # so many slashes
UUID_CHARACTERS = 36


@dataclass(frozen=True)
class Named:
    """Whose call it says it is: by the token in its URL, or by the source's id, which proves nothing yet."""

    id: UUID | None = None
    token: str | None = field(default=None, repr=False)

    def hidden(self, inbound: Inbound) -> bool:
        """Whether who is not proven hears that nothing is there: a URL that is a secret has no doors to knock at."""
        return self.token is not None or (self.id is None and inbound.proof.strategy is Strategy.URL_TOKEN)


@dataclass(frozen=True)
class Path:
    """What was called, behind the provider's name."""

    before: str  # the URL up to the provider's name
    segment: str | None  # a token or a source's id
    rest: str
    door: doors.Found


@dataclass(frozen=True)
class Came:
    """Of a body what is here. `cut`: no more was read, since nobody knew the sender. `too_long`: it has at least so many bytes,
    which is more than its door takes, and only its beginning was read.
    """

    body: bytes = field(repr=False)
    cut: bool = False
    too_long: int | None = None


@dataclass(frozen=True)
class Door:
    """`kept` is called when something was kept that a worker has to do: it wakes one and must not wait."""

    inbounds: Mapping[str, Inbound]
    reads: Reads
    unit_of_work: Begin
    seals: Seals
    kept: Callable[[], None] = lambda: None
    in_flight: InFlight = field(default_factory=InFlight)
    room: Room = field(default_factory=Room)
    rejected: Budget = field(default_factory=Budget)
    clock: Callable[[], datetime] = lambda: datetime.now(UTC)
    figures: Figures = field(default_factory=Uncounted)
    known: KnownSources = field(default_factory=KnownSources)
    reports: Reports = field(default_factory=Reports)
    url: str = ""  # what the world calls us by
    bodies: Bodies = INLINE
    readers: Shares = field(default_factory=lambda: Shares(Threads("readers", READERS), READERS_EACH))

    def routes(self) -> list[Route]:
        return [Route("/v1/integrations/{family}/{provider}/{rest:path}", self.receive, methods=[*METHODS, "GET"])]

    @cached_property
    def _issuers(self) -> Mapping[str, Issuer]:
        """To ask each of them at each call costs more than its signature."""
        return {name: inbound for name, inbound in self.inbounds.items() if isinstance(inbound, Issuer)}

    @cached_property
    def _keeper(self) -> Keeper:
        return Keeper(self.reads)

    async def receive(self, request: Request) -> Response:
        """2xx means: these bytes are on disk. The same bytes again: one effect, the same answer."""
        return await traced(self._find_door, request)

    async def _find_door(self, request: Request) -> Response:
        inbound = self.inbounds.get(request.path_params["provider"])
        if inbound is None or inbound.family.value != request.path_params["family"]:
            return self._no_door(inbound)
        path = _path(inbound, request, self.url)
        if path is None:
            return self._no_door(inbound)
        door, values = path.door.door, path.door.values
        call = Call(
            door,
            b"",
            _headers(request),
            self.clock(),
            dict(request.query_params),
            values,
            request.method,
            self.url + _as_called(request),
        )
        named = _named(inbound, path, call)
        call = replace(call, token=named.token)
        if request.method not in METHODS and door not in inbound.questions:
            return _respond(inbound.refuse(call, 405, "POST it"), {"Allow": ", ".join(METHODS)})
        return await self._read_body(inbound, request, call, named, path)

    def _no_door(self, inbound: Inbound | None) -> Response:
        """Nothing says whose it is, so nothing is kept; by what name a stranger called is no label."""
        self.figures.webhook(inbound.provider if inbound else UNKNOWN, "NO_DOOR")
        return JSONResponse({"status": "failed", "message": "not found"}, 404)

    async def _read_body(self, inbound: Inbound, request: Request, call: Call, named: Named, path: Path) -> Response:
        remote = request.client.host if request.client else ""
        try:
            async with asyncio.timeout(DEADLINE_S):
                sender = await self._sender(inbound, request, named, remote)
        except Exception as error:
            return self._unavailable(inbound, call, error)
        with self.room.part(sender.id if sender else None) as take:
            try:
                came = await _body(request, _most(inbound, call.door), sender, take)
            except ClientDisconnect:
                # Not 400: of what is wrong for good some providers are told that all is well, and this has to be sent again.
                return _respond(inbound.refuse(call, 408, "the body did not arrive"))
            except NoRoom as error:
                return self._unavailable(inbound, call, error)
            return await self._within_deadline(inbound, replace(call, body=came.body), came, named, path, remote)

    async def _within_deadline(self, inbound: Inbound, call: Call, came: Came, named: Named, path: Path, remote: str) -> Response:
        try:
            async with asyncio.timeout(DEADLINE_S):
                issuer = self._issuers.get(inbound.provider)
                if issuer is not None and call.door not in issuer.tokens:
                    issuer = None
                if came.too_long is not None:
                    call = replace(call, body=b"") if issuer else call  # a secret may be in it
                    return await self._keep_beginning(inbound, call, came.too_long, named, path, remote)
                if issuer is not None:
                    return await self._turn_to_issue(inbound, issuer, call, named, path, remote)
                return await self._verify_and_keep(inbound, call, came.cut, named, path, remote)
        except Exception as error:  # not kept, whatever the reason: it has to be sent again
            return self._unavailable(inbound, call, error)

    async def _sender(self, inbound: Inbound, request: Request, named: Named, remote: str) -> Source | None:
        """Who says to send what takes room. Nobody has proven it yet."""
        told = size_of(request)
        if told is not None and told <= FREE_BYTES:
            return None
        source = await self._source(inbound, named)
        return source if source is not None and _allowed(source, remote) else None

    def _unavailable(self, inbound: Inbound, call: Call, error: Exception) -> Response:
        log.warning("a call of %s was not kept: %s", inbound.provider, type(error).__name__, exc_info=error)
        self.figures.webhook(inbound.provider, "NOT_KEPT")
        return _respond(inbound.refuse(call, 503, "try again later"), {"Retry-After": str(RETRY_AFTER_S)})

    async def _verify_and_keep(self, inbound: Inbound, call: Call, cut: bool, named: Named, path: Path, remote: str) -> Response:
        """`cut`: no more was read of it, since nobody knew the sender. Who is known by now is a stranger to it all the same."""
        source = await self._source(inbound, named)
        async with self.in_flight.turn(source.id if source else network_of(remote)) as mine:
            if not mine:
                return self._too_many(inbound, call, "too many at once", 1)
            stranger = cut or source is None or not _allowed(source, remote)
            reading = await self._read(inbound, call, named, None if stranger else source)
            if _unproven(reading) and source is not None and not stranger:
                # It may have a new secret, or a new outlet, since we looked.
                source = await self._source(inbound, named, afresh=True) or source
                reading = await self._read(inbound, call, named, source)
            if source is not None and not _unproven(reading):
                call = replace(call, profile=source.profile)  # it is answered as its profile says; who is unproven is not
            if reading.question is not None:
                assert source is not None
                return await self._answer_question(inbound, call, source, reading)
            received = _received(inbound, call, source, path, remote)
            status = 404 if stranger and named.hidden(inbound) else _status(reading)
            if _unproven(reading) and not self._within_budget(source, remote, call):
                assert reading.wrong is not None
                self._count(inbound, source, "BEYOND_BUDGET")
                return _respond(inbound.refuse(call, status, reading.wrong.message))
            kept = await self._keep(received, reading)
            if source is not None and not stranger:
                self.known.seen((inbound.provider, named), received.at)
        self._count(inbound, source, kept.state.value)
        if kept.state is PayloadState.REJECTED:
            return _respond(inbound.refuse(call, status if reading.refused else 409, kept.message))
        if kept.state is PayloadState.ACCEPTED:
            self.kept()
        return _respond(inbound.acknowledge(call, kept.payload_id))

    async def _keep_beginning(self, inbound: Inbound, call: Call, size: int, named: Named, path: Path, remote: str) -> Response:
        """Of what is too long: as not all of it is read, nobody has proven whose it is, whoever is named."""
        source = await self._source(inbound, named)
        async with self.in_flight.turn(source.id if source else network_of(remote)) as mine:
            if not mine:
                return self._too_many(inbound, call, "too many at once", 1)
            verdict = "BEYOND_BUDGET"
            if self._within_budget(source, remote, call):
                verdict, most = "TOO_LARGE", _most(inbound, call.door)
                wrong = Wrong(FailureKind.VALIDATION, f"larger than {_in_words(most)}")
                received = replace(_received(inbound, call, source, path, remote), cut_from=size)
                await self._keep(received, Reading(wrong=wrong))
        self._count(inbound, source, verdict)
        return _respond(inbound.refuse(call, 413, "too large"))

    async def _turn_to_issue(self, inbound: Inbound, issuer: Issuer, call: Call, named: Named, path: Path, remote: str) -> Response:
        """A token for who shows the secret. Nothing of it is kept; of who shows a wrong one, all but what was shown."""
        asked, wrong = _asked_by(issuer, call)
        network, now_s = network_of(remote), call.received_at.timestamp()
        whose = _uuid(asked.username) if asked else None
        if self.rejected.spent((None, network), now_s) or self.rejected.spent((whose, network), now_s):
            return self._too_many(inbound, call, "too many wrong ones", MINUTE_S)  # or a password could be guessed at leisure
        async with self.in_flight.turn(network) as turn:
            if not turn:
                return self._too_many(inbound, call, "too many at once", 1)
            return await self._issue_token(inbound, issuer, call, asked, wrong, named, path, remote)

    def _too_many(self, inbound: Inbound, call: Call, message: str, after_s: int) -> Response:
        self.figures.webhook(inbound.provider, "TOO_MANY")
        return _respond(inbound.refuse(call, 429, message), {"Retry-After": str(after_s)})

    async def _issue_token(
        self,
        inbound: Inbound,
        issuer: Issuer,
        call: Call,
        asked: TokenAsked | None,
        wrong: Wrong,
        named: Named,
        path: Path,
        remote: str,
    ) -> Response:
        source = await self._source(inbound, Named(_uuid(asked.username)), afresh=True) if asked else None
        now_s, mine = call.received_at.timestamp(), (source.id if source else None, network_of(remote))
        if self.rejected.spent(mine, now_s):  # meanwhile
            return self._too_many(inbound, call, "too many wrong ones", MINUTE_S)
        if asked is not None and source is not None:
            token = _token_for(source, asked.password, named, remote, call.received_at)
            if token is not None:
                self.figures.webhook(inbound.provider, "TOKEN_ISSUED")
                return _respond(issuer.issued(call, token, TOKEN_S), {"Cache-Control": "no-store"})
        self.rejected.take(mine, now_s)
        await self._keep(_received(inbound, replace(call, body=b""), source, path, remote), Reading(wrong=wrong))
        self._count(inbound, source, PayloadState.REJECTED.value)
        return _respond(inbound.refuse(call, status_of(wrong.kind), wrong.message))

    def _count(self, inbound: Inbound, source: Source | None, verdict: str) -> None:
        """What names no source is counted as such, all of it, whether the budget had room to keep it or not."""
        self.figures.webhook(inbound.provider, verdict if source else "UNKNOWN_SENDER")

    async def _source(self, inbound: Inbound, named: Named, *, afresh: bool = False) -> Source | None:
        """As it was within the last second, or afresh."""
        if named.token is None and named.id is None:
            return None
        key = inbound.provider, named
        held = None if afresh else self.known.get(key)
        if held is not None:
            return held
        if named.token is not None:
            found = await sources.by_token(self.reads, inbound.provider, proofs.token_hash(named.token))
        else:
            assert named.id is not None
            found = await sources.by_id(self.reads, inbound.provider, named.id)
        if found is None:
            return None
        source = found.opened(self.seals, inbound.proof)
        self.known.put(key, source)
        return source

    async def _read(self, inbound: Inbound, call: Call, named: Named, source: Source | None) -> Reading:
        """Who is unknown, and who calls from elsewhere, hears what a wrong token or signature hears."""
        if source is None:
            message = "not found" if named.hidden(inbound) else unproven().refusal.message
            return Reading(wrong=Wrong(FailureKind.AUTH, message))
        if len(call.body) <= INLINE_BYTES:
            return read(inbound, call, source)
        return await self.readers.run(source.id, lambda: read(inbound, call, source))

    def _within_budget(self, source: Source | None, remote: str, call: Call) -> bool:
        return self.rejected.take((source.id if source else None, network_of(remote)), call.received_at.timestamp())

    async def _keep(self, received: Received, reading: Reading) -> Kept:
        received = await laid_away(received, reading, new_id(), self.bodies, self.unit_of_work)
        payload = kept_at_once(new_id(), received, reading, AT_ONCE)
        if payload is not None and await self._keeper.keep(payload, reading.commands):
            return Kept(payload.id, payload.state)
        async with self.unit_of_work() as uow:
            return await keep(received, reading, uow)

    async def _answer_question(self, inbound: Inbound, call: Call, source: Source, reading: Reading) -> Response:
        question = reading.question
        assert question is not None
        match question:
            case GoodsCounted():
                return _respond(question.shaped(await questions.goods_count(self.reads, source.id, question)))
            case GoodsAsked():
                return _respond(question.shaped(await questions.goods(self.reads, source.id, question)))
            case OrdersAsked():
                return _respond(question.shaped(await questions.ordered(self.reads, source.id, question)))
            case ImportAsked():
                return _respond(await self.reports.answer(question, inbound, source, self.reads))
        store_id = await sources.store_of(self.reads, source.id, question.store)
        found = await merchants.stores_by_id(self.reads, [store_id]) if store_id else []
        status = found[0].status if found else StoreStatus.CLOSED
        return _respond(inbound.answer(call, status))


async def _body(request: Request, most: int, sender: Source | None, take: Callable[[int], None]) -> Came:
    told = size_of(request)
    if told is not None and told > most:
        beginning, _ = await beginning_of(request, UNSIGNED_BYTES, take)
        return Came(beginning, too_long=min(told, MOST_TOLD_BYTES))
    body, more = await beginning_of(request, most if sender else min(most, BODY_BYTES), take)
    if more and sender is None and most > BODY_BYTES:
        return Came(body, cut=True)
    return Came(body[:UNSIGNED_BYTES], too_long=most + 1) if more else Came(body)


def _most(inbound: Inbound, door: str) -> int:
    """Of what is only asked nothing is left for later."""
    if door in inbound.questions:
        return LATER_BYTES
    return LARGE_BODY_BYTES if door in LARGE_DOORS else BODY_BYTES


def _in_words(size: int) -> str:
    return f"{size // 1024**2} MB" if size >= 1024**2 else f"{size // 1024} KB"


def _path(inbound: Inbound, request: Request, url: str) -> Path | None:
    """A door's own name is no token."""
    parts = _as_called(request).partition("?")[0].split("/", BEFORE)
    if len(parts) <= BEFORE:  # a slash that was encoded is none
        return None
    before, rest, known = url + "/".join([*parts[:BEFORE], ""]), parts[BEFORE], doors.doors_of(inbound.doors)
    found = known.find(rest)
    if found is not None:
        return Path(before, None, rest, found)
    segment, _, rest = rest.partition("/")
    found = known.find(rest)
    return None if found is None else Path(before, unquote(segment), rest, found)


def _as_called(request: Request) -> str:
    """Path and query, percent-encoded as they came."""
    raw = request.scope.get("raw_path")
    path = raw.decode("latin-1").partition("?")[0] if raw else quote(request.scope["path"])
    query = request.scope["query_string"].decode("latin-1")
    return f"{path}?{query}" if query else path


def _headers(request: Request) -> dict[str, str]:
    """Names in lower case. What comes twice is joined, so that nobody takes the one for the other."""
    headers: dict[str, str] = {}
    for name, value in request.headers.items():
        name = name.lower()
        headers[name] = f"{headers[name]}, {value}" if name in headers else value
    return headers


def _named(inbound: Inbound, path: Path, call: Call) -> Named:
    """By what follows the provider in the path, else by ?source=, else by a token: ?t= of a URL that a partner is given whole,
    as each order's callback, or the one we issued."""
    if path.segment is not None:
        id = _uuid(path.segment)
        return Named(token=path.segment) if id is None else Named(id)
    if "source" in call.query:
        return Named(_uuid(call.query["source"]))
    if call.query.get("t"):
        return Named(token=call.query["t"])
    if inbound.proof.strategy is Strategy.BEARER_ISSUED:
        return Named(proofs.named_by(proofs.bearer(inbound.proof, call.headers)))
    return Named()


def _uuid(text: str) -> UUID | None:
    try:
        return UUID(text) if len(text) == UUID_CHARACTERS else None
    except ValueError:
        return None


def _asked_by(issuer: Issuer, call: Call) -> tuple[TokenAsked | None, Wrong]:
    """What is wrong where it is None, or the secret is; it never says what was shown."""
    try:
        return issuer.asked(call), Wrong(FailureKind.AUTH, unproven().refusal.message)
    except Refused as refused:
        return None, Wrong(FailureKind.VALIDATION, described(refused))
    except Exception as error:  # a bug of ours, or bytes nobody thought of
        return None, Wrong(FailureKind.VALIDATION, type(error).__name__)


def _token_for(source: Source, password: str, named: Named, remote: str, now: datetime) -> str | None:
    """None for who has not shown the secret, or calls from elsewhere, or at another source's door."""
    mine = named == Named() or named.id == source.id
    if not mine or source.proof is None or source.proof.strategy is not Strategy.BEARER_ISSUED or not _allowed(source, remote):
        return None
    try:
        return proofs.issued_for(source.id, password, source.secrets, now)
    except Refused:
        return None


def _allowed(source: Source, remote: str) -> bool:
    """No list: from anywhere."""
    if not source.ip_allow:
        return True
    try:
        address = ipaddress.ip_address(remote)
    except ValueError:
        return False
    address = getattr(address, "ipv4_mapped", None) or address
    return any(address in ipaddress.ip_network(network, strict=False) for network in source.ip_allow)


def _status(reading: Reading) -> int:
    return 200 if reading.wrong is None else status_of(reading.wrong.kind)


def _unproven(reading: Reading) -> bool:
    return reading.wrong is not None and reading.wrong.kind is FailureKind.AUTH


def _received(inbound: Inbound, call: Call, source: Source | None, path: Path, remote: str) -> Received:
    told_in = {name for proof in (inbound.proof, source.proof if source else None) if proof for name in proof.told_in}
    return Received(
        source,
        inbound.provider,
        inbound.family,
        call.door,
        call.body,
        hashlib.sha256(call.body).digest(),
        masked(call, path, told_in),
        remote,
        trace.correlation_id.get(),
        call.received_at,
    )


def masked(call: Call, path: Path, told_in: Collection[str]) -> dict[str, str]:
    """As they are kept: without what proves anything, `told_in` being the headers of the proof itself."""
    kept = {
        printable(name): HIDDEN
        if name in told_in or any(word in name for word in SECRET_WORDS)
        else printable(value[:HEADER_CHARACTERS])
        for name, value in list(call.headers.items())[:HEADERS_KEPT]
    }
    shown = {
        name: HIDDEN if name in SECRET_QUERY or any(word in name.lower() for word in SECRET_WORDS) else value
        for name, value in call.query.items()
    }
    named = "" if path.segment is None else "***/" if call.token is not None else f"{path.segment}/"
    url = f"{path.before}{named}{path.rest}{f'?{urlencode(shown)}' if shown else ''}"
    return kept | {name: printable(value) for name, value in doors.kept(path.rest, shown, call.method, url).items()}


def _respond(answer: Answer, headers: Mapping[str, str] | None = None) -> Response:
    body = dict(answer.body) if isinstance(answer.body, Mapping) else answer.body
    return JSONResponse(body, answer.status, headers=dict(headers or {}))
