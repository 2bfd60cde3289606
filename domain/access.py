"""How a partner's own server is reached, to be asked or told: its base URL and credentials that the merchant has given us, one
request and its answer, how many there may be, without any I/O.
"""

import email.utils
from collections.abc import Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Protocol
from urllib.parse import urlsplit
from uuid import UUID

from domain.documents import Document, parse
from domain.identity import Actor
from domain.refusals import Problem, Refused, not_found, refuse

if TYPE_CHECKING:
    from domain.unit_of_work import UnitOfWork


OPEN_AFTER = 5  # failures in a row, and the circuit is open: one careful try from time to time


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


def answered(reply: Reply) -> Document:
    """As JSON. Raises AskFailed."""
    try:
        told = parse(reply.body).object()
        told.check()
    except Refused:
        raise AskFailed("it answers what is no JSON object") from None
    return told


def retry_after_s(told: str, now: datetime) -> float | None:
    """Of a `Retry-After`: seconds, or a date."""
    if told.isascii() and told.isdigit() and len(told) < 9:
        return float(told)
    with suppress(TypeError, ValueError):
        return max(0.0, (email.utils.parsedate_to_datetime(told) - now).total_seconds())
    return None


OF_ALL = frozenset({401, 403, 407, 429})  # who may not ask, or not now, may ask nothing


class AskFailed(Exception):
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

    def of(self, what: str) -> "AskFailed":
        message = f"{what}: {self.message}" if what else self.message
        return AskFailed(message, retry=self.retry, after_s=self.after_s, status=self.status)


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


class Fetch(Protocol):
    async def fetch(self, base_url: str, ask: Ask) -> Reply:
        """Raises AskFailed where there is no answer, or may be none: whatever it was answers with, it is not followed."""


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
