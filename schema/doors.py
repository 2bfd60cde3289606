"""What both doors know: their rules, and how a caller says who they are."""

import re
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from uuid import UUID, uuid4

from starlette.types import Scope

from domain.identity import Actor
from domain.refusals import Refused, Unauthenticated
from domain.sessions import Claims
from schema.roots import Api

Authenticate = Callable[[str], Awaitable[Claims]]
"""Who calls with this access token. Refuses Unauthenticated, Unavailable."""
MakeContext = Callable[[Actor, str], Api]
"""For this actor, calling from this address."""
Ended = Callable[[Collection[UUID]], Awaitable[Collection[UUID]]]
"""Which of these sessions are over. May refuse Unavailable."""


@dataclass(frozen=True)
class Rules:
    """Of one process. `None` is no limit."""

    introspection: bool = True  # for everybody; support has it always
    body_bytes: int = 65_536
    deadline_s: float = 10
    allowed_origins: Sequence[str] = ()  # besides our own, of pages that may open a socket
    frame_bytes: int = 65_536
    init_s: float = 5
    send_s: float = 10
    idle_s: float = 600
    operations: int = 20
    messages_per_s: float | None = 20
    messages_burst: int = 40
    sockets_per_user: int | None = 5
    sockets_per_address: int | None = 50


def bearer(told: object) -> str:
    """The token of `Bearer …`. Refuses Unauthenticated."""
    scheme, _, token = told.partition(" ") if isinstance(told, str) else ("", "", "")
    if scheme.lower() != "bearer" or not token.strip():
        raise Refused(Unauthenticated("a bearer token is meant"))
    return token.strip()


def remote(scope: Scope) -> str:
    """The client's address, where a trusted proxy's word for it has been taken already."""
    client = scope.get("client")
    return client[0] if client else ""


_CORRELATION = re.compile(rb"[A-Za-z0-9._:-]{8,64}")
_TRACEPARENT = re.compile(rb"[0-9a-f]{2}-([0-9a-f]{32})-[0-9a-f]{16}-[0-9a-f]{2}.*")


def correlation_id(headers: Mapping[bytes, bytes]) -> str:
    """The caller's own, its trace's, or a new one."""
    own = _CORRELATION.fullmatch(headers.get(b"x-correlation-id", b""))
    if own:
        return own[0].decode()
    parent = _TRACEPARENT.fullmatch(headers.get(b"traceparent", b""))
    if parent and parent[1].strip(b"0"):
        return parent[1].decode()
    return uuid4().hex
