"""What travels between processes: the stamped log, a sign of life, hints, and what lives for a moment only.

Nothing on the bus is the truth. Whoever listens heals from the database what it missed.
"""

from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple, Protocol
from uuid import UUID

from domain.events import Topic

HEARTBEAT = "heartbeat"  # a Heartbeat, twice a second, from the relay's leader
HINT = "relay.hint"  # "": somebody has committed events
POSITIONS = "positions"  # a RiderSeen; not in the log
TOPICS = tuple(topic.value for topic in Topic)  # an Entries for each topic the relay has stamped events of


class Message(NamedTuple):
    channel: str
    text: str


class Bus(Protocol):
    """Delivers to every process what any of them publishes, in order for each channel; may lose, may repeat."""

    @property
    def up(self) -> bool:
        """False while what others publish does not reach us. True says nothing about what was lost before."""

    async def start(self) -> None:
        """Does not wait for a server that is away: it comes when it comes."""

    async def stop(self) -> None: ...

    async def publish(self, *messages: Message) -> None:
        """All of them at once or none. Refuses Unavailable within 2 s."""

    def subscribe(self, channels: Sequence[str]) -> AbstractAsyncContextManager[AsyncIterator[Message]]:
        """Entering has joined: whatever is published from then on arrives."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One event as the bus carries it. `kind` is the name of its class, `body` its fields.

    All plain: while a newer version of us is being rolled out, there are topics and kinds that we do not know.
    """

    pos: int
    at: datetime
    topic: str
    kind: str
    stream: str
    entity: UUID
    seq: int
    concerns: tuple[UUID, ...]
    body: Any
    caused_by: str = ""
    correlation_id: str = ""


@dataclass(frozen=True, slots=True)
class Entries:
    epoch: str
    events: Sequence[Entry]


@dataclass(frozen=True, slots=True)
class Heartbeat:
    """`pos` is the last one stamped: who has less has missed something.

    `behind`: there may be events, committed for some time, that wait to be stamped or to arrive.
    """

    epoch: str
    pos: int
    behind: bool = False


@dataclass(frozen=True, slots=True)
class RiderSeen:
    """Where a rider was. Only the latest by `at` is of use. WGS 84 degrees; heading clockwise from north."""

    rider: UUID
    lat: float
    lng: float
    at: datetime
    heading: int | None = None
