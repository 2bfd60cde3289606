"""Providers that tell nothing by themselves are asked: what is asked of them and what they answered, without any I/O.

A conversation is a generator: it yields what to ask and is sent the answer, and yields which of the answers are news. What it asks
with is the source's access: a base URL and credentials that the merchant has given us.
"""

import email.utils
from collections.abc import Collection, Generator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Protocol, runtime_checkable
from urllib.parse import urlsplit
from uuid import UUID

from domain.documents import Document, parse
from domain.identity import Actor
from domain.intake import Call, Source
from domain.refusals import Problem, Refused, not_found, refuse

if TYPE_CHECKING:
    from domain.unit_of_work import UnitOfWork

ASKED_AT, PULLED_AS = "asked-at", "pulled-as"
"""Of what was fetched its headers tell these two: when we asked, ISO 8601, and by which key the same answer is known again."""


@dataclass(frozen=True)
class Access:
    base_url: str
    credentials: Mapping[str, str] = field(repr=False)


@dataclass(frozen=True)
class Ask:
    """One request, below the base URL. It may hold credentials, and stands in no log."""

    method: str
    path: str
    query: Mapping[str, str] = field(default_factory=dict, repr=False)
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    body: bytes = field(default=b"", repr=False)


@dataclass(frozen=True)
class Reply:
    status: int
    headers: Mapping[str, str]  # names in lower case
    body: bytes
    asked_at: datetime | None = None


@dataclass(frozen=True)
class News:
    """The last answer is to be kept, as a payload of the source. `door` is one that nobody can call from outside."""

    door: str
    key: str
    query: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Unknown:
    """Which of these SKUs have we never heard of? The answer's body has them, one a line."""

    skus: Sequence[str]


def answered(reply: Reply) -> Document:
    """As JSON. Raises PullFailed."""
    try:
        told = parse(reply.body).object()
        told.check()
    except Refused:
        raise PullFailed("it answers what is no JSON object") from None
    return told


def retry_after_s(told: str, now: datetime) -> float | None:
    """Of a `Retry-After`: seconds, or a date."""
    if told.isascii() and told.isdigit() and len(told) < 9:
        return float(told)
    with suppress(TypeError, ValueError):
        return max(0.0, (email.utils.parsedate_to_datetime(told) - now).total_seconds())
    return None


def asked_at(call: Call) -> datetime | None:
    """When what was fetched was so: as we asked, before anything was answered."""
    told = call.headers.get(ASKED_AT)
    return datetime.fromisoformat(told) if told else None


def pulled_as(call: Call) -> str | None:
    key = call.headers.get(PULLED_AS)
    return f"pulled:{key}" if key else None


Talk = Generator[Ask | News | Unknown, Reply, None]


OF_ALL = frozenset({401, 403, 407, 429})  # who may not ask, or not now, may ask nothing
IN_VAIN = 3  # things that HTTP refuses in one conversation: the others would be refused as well


class PullFailed(Exception):
    """What the partner answered is no answer: for people, without credentials. `retry` says whether to ask again at all soon.

    `status` is HTTP's, where that says so.
    """

    def __init__(self, message: str, *, retry: bool = True, after_s: float | None = None, status: int | None = None) -> None:
        super().__init__(message)
        self.message, self.retry, self.after_s, self.status = message, retry, after_s, status

    @property
    def alone(self) -> bool:
        """Whether it may be so of what was asked alone."""
        return self.status is not None and self.status not in OF_ALL

    def of(self, what: str) -> "PullFailed":
        message = f"{what}: {self.message}" if what else self.message
        return PullFailed(message, retry=self.retry, after_s=self.after_s, status=self.status)


def asked_alone(ask: Ask, of: str, failed: list[PullFailed]) -> Generator[Ask, Reply, Reply | None]:
    """For a conversation about several things: `yield from` it. None: of this one nothing can be told, which stands in `failed`."""
    try:
        return (yield ask)
    except PullFailed as error:
        if not error.alone or sum(one.status is not None for one in failed) >= IN_VAIN - 1:
            raise
        failed.append(error.of(of))
        return None


@dataclass(frozen=True)
class Quota:
    """So many calls in any stretch of so many seconds, and no more."""

    calls: int
    per_s: int

    @property
    def burst(self) -> float:
        """Half of it at once, and the other half as time goes by: no stretch has more than all of it."""
        return max(1.0, self.calls / 2)

    def left(self, budget: float, seconds: float) -> float:
        """Of a budget after so long without a call."""
        return min(self.burst, budget + max(0.0, seconds) * self.calls / 2 / self.per_s)

    def wait_s(self, budget: float) -> float:
        """Until there is one call's worth."""
        return max(0.0, 1.0 - budget) * self.per_s * 2 / self.calls


class Balance(Protocol):
    """What is left of a quota: calls a source may be sent, as it was at `budget_at`; None: all there may be at once."""

    @property
    def budget(self) -> float: ...
    @property
    def budget_at(self) -> datetime | None: ...
    @property
    def now(self) -> datetime: ...


@runtime_checkable
class Puller(Protocol):
    """An Inbound that is asked, too. Pure, as it is."""

    provider: str
    credentials: Collection[str]  # the names of what it is asked with
    every: timedelta
    overlap: timedelta  # what changed so shortly before the last time is asked for again
    longest: timedelta  # the window it can look back
    quota: Quota

    def talk(self, access: Access, source: Source, since: datetime, until: datetime) -> Talk:
        """Raises PullFailed. What it has yielded as news before that is kept all the same.

        It is raised where something was asked too, when that is not answered: what goes on then asks the next.
        """


class Fetch(Protocol):
    async def fetch(self, base_url: str, ask: Ask) -> Reply:
        """Raises PullFailed where there is no answer, or may be none: whatever it was answers with, it is not followed."""


# ---------------------------------------------------------------- where and with what


@dataclass(frozen=True)
class SetSourceAccess:
    source_id: UUID
    base_url: str
    credentials: Mapping[str, str] = field(repr=False)


@dataclass(frozen=True)
class SealedAccess:
    source_id: UUID
    base_url: str
    sealed: bytes = field(repr=False)


URL_CHARACTERS, CREDENTIAL_CHARACTERS = 300, 500
URL = "_url"  # ends the name of a credential that is one


class Reached(Protocol):
    """A provider whose own server is asked, or told."""

    credentials: Collection[str]


def check_access(command: SetSourceAccess, provider: Reached | None) -> None:
    """Refuses InvalidInput with all that is wrong. Where the name leads is looked at whenever it is asked."""
    problems = []
    urls = {name: value for name, value in command.credentials.items() if name.endswith(URL)}
    for path, url in {"baseUrl": command.base_url, **{f"credentials.{name}": value for name, value in urls.items()}}.items():
        if not _is_base_url(url):
            kind = f"is an https:// address (in development http:// too) of at most {URL_CHARACTERS} characters"
            problems.append(Problem(path, f"{kind}, without password or query"))
    if provider is None:
        problems.append(Problem("sourceId", "this provider is neither asked nor told of orders"))
    else:
        needed = ", ".join(provider.credentials)
        if set(command.credentials) != set(provider.credentials):
            problems.append(Problem("credentials", f"are {needed}"))
        for name, value in command.credentials.items():
            if not value or len(value) > CREDENTIAL_CHARACTERS or not value.isprintable():
                problems.append(Problem(f"credentials.{name}", f"is 1 to {CREDENTIAL_CHARACTERS} printable characters"))
    refuse(problems)


def _is_base_url(url: str) -> bool:
    try:
        parts = urlsplit(url)
        plain = parts.scheme in ("https", "http") and parts.hostname and parts.username is None and parts.password is None
        _ = parts.port
    except ValueError:
        return False
    bare = not parts.query and not parts.fragment and url.isprintable() and " " not in url
    return bool(plain) and bare and len(url) <= URL_CHARACTERS


# ---------------------------------------------------------------- whose turn it is


@dataclass(frozen=True)
class Turn:
    """A source that is to be asked now, by us alone until `held_until`: that value is the right to write down what came of it."""

    source_id: UUID
    provider: str
    access: SealedAccess
    told_until: datetime | None
    now: datetime
    held_until: datetime
    failed: int
    budget: float  # calls it may be sent, as it was at `budget_at`; None: all there may be at once
    budget_at: datetime | None


@dataclass(frozen=True)
class Ended:
    """`told_until` None: as it was. `message` is why it failed, for people."""

    told_until: datetime | None
    failed: int
    next_in: timedelta
    budget: float
    message: str | None = None


class PullStore(Protocol):
    async def set_access(self, access: SealedAccess) -> None:
        """It is asked at once, and from where it had come to; who is told is left alone no longer, and what it is being told just
        then is told again."""

    async def turn(self, hold: timedelta, providers: Collection[str]) -> Turn | None:
        """The one that waits longest, locked by nobody else. None: nobody's turn."""

    async def hold(self, turn: Turn, held_until: datetime, hold: timedelta) -> datetime | None:
        """For so much longer. None: it is somebody else's by now."""

    async def end(self, turn: Turn, held_until: datetime, ended: Ended) -> bool:
        """Whether it was ours to the end."""


async def set_source_access(
    command: SetSourceAccess, provider: Reached | None, sealed: bytes, actor: Actor, uow: "UnitOfWork"
) -> None:
    """Refuses NotFound, InvalidInput. The secrets are in no audit: that they changed is."""
    source = await uow.sources.lock(command.source_id, actor)
    if source is None:
        raise not_found("source")
    check_access(command, provider)
    await uow.pulls.set_access(SealedAccess(source.id, command.base_url.rstrip("/"), sealed))
    await uow.audit.write(actor, "setSourceAccess", source.id, source.merchant_id, command.base_url)


# ---------------------------------------------------------------- how long until the next time

FAILED_MOST = timedelta(minutes=30)
OPEN_AFTER = 5  # failures in a row, and the circuit is open: one careful try from time to time


def next_in(every: timedelta, failed: int, after_s: float | None, dice: float) -> timedelta:
    """After so many failures in a row: doubling, up to half an hour, never sooner than the partner asks. `dice`: 0 to 1."""
    if not failed:
        return every
    grown: timedelta = min(FAILED_MOST, every * 2 ** min(failed, 10))
    jittered = grown * (0.5 + dice / 2)
    return max(jittered, timedelta(seconds=min(after_s or 0, FAILED_MOST.total_seconds())))
