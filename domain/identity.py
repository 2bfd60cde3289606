"""Who is calling, and for which app."""

from dataclasses import dataclass
from enum import Enum
from uuid import UUID


class Role(Enum):
    """Who may use a field of the API."""

    PUBLIC = "PUBLIC"
    CUSTOMER = "CUSTOMER"
    MERCHANT = "MERCHANT"
    RIDER = "RIDER"
    SUPPORT = "SUPPORT"


class App(Enum):
    """A session is for one app: the role of that name is the only one in force."""

    CUSTOMER = "CUSTOMER"
    MERCHANT = "MERCHANT"
    RIDER = "RIDER"
    SUPPORT = "SUPPORT"


class MerchantRole(Enum):
    """CLERK: orders and stock of named stores. MANAGER: also prices, status, sources. OWNER: all."""

    OWNER = "OWNER"
    MANAGER = "MANAGER"
    CLERK = "CLERK"


class ActorKind(Enum):
    """Who did it: the state machines and the history of an order speak of these."""

    CUSTOMER = "CUSTOMER"
    MERCHANT = "MERCHANT"
    RIDER = "RIDER"
    SUPPORT = "SUPPORT"
    SOURCE = "SOURCE"
    CLOCK = "CLOCK"


@dataclass(frozen=True, slots=True)
class Actor:
    """Who is calling: a user in one app's role, a source, or the clock. `kind` is None when nobody is signed in."""

    kind: ActorKind | None
    id: UUID | None = None
    session_id: UUID | None = None

    @property
    def role(self) -> Role:
        return Role(self.kind.value) if self.kind in _USERS else Role.PUBLIC

    def __str__(self) -> str:
        """For causes and the audit: `merchant:0197…`, `clock`."""
        name = self.kind.value.lower() if self.kind else "anybody"
        return f"{name}:{self.id}" if self.id else name


_USERS = {ActorKind.CUSTOMER, ActorKind.MERCHANT, ActorKind.RIDER, ActorKind.SUPPORT}
ANYBODY = Actor(None)
CLOCK = Actor(ActorKind.CLOCK)
