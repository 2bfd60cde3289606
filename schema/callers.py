"""What both doors know: their rules, and how a caller says who they are."""

from collections.abc import Awaitable, Callable, Collection, Sequence
from dataclasses import dataclass
from uuid import UUID

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
    body_s: float = 15
    deadline_s: float = 10
    queries: int = 8  # of a process at once; others wait their turn
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
