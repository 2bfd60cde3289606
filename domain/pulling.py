"""Providers that tell nothing by themselves are asked: what is asked of them and what they answered, without any I/O.

A conversation is a generator: it yields what to ask and is sent the answer, and yields which of the answers are news. What it asks
with is the source's access: a base URL and credentials that the merchant has given us.
"""

from collections.abc import Collection, Generator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Protocol, runtime_checkable
from uuid import UUID

from domain.access import Access, Ask, AskFailed, Quota, Reply, SealedAccess
from domain.intake import Call, Source

ASKED_AT, PULLED_AS = "asked-at", "pulled-as"
"""Of what was fetched its headers tell these two: when we asked, ISO 8601, and by which key the same answer is known again."""


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


def asked_at(call: Call) -> datetime | None:
    """When what was fetched was so: as we asked, before anything was answered."""
    told = call.headers.get(ASKED_AT)
    return datetime.fromisoformat(told) if told else None


def pulled_as(call: Call) -> str | None:
    key = call.headers.get(PULLED_AS)
    return f"pulled:{key}" if key else None


Talk = Generator[Ask | News | Unknown, Reply, None]


IN_VAIN = 3  # things that HTTP refuses in one conversation: the others would be refused as well


def asked_alone(ask: Ask, of: str, failed: list[AskFailed]) -> Generator[Ask, Reply, Reply | None]:
    """For a conversation about several things: `yield from` it. None: of this one nothing can be told, which stands in `failed`."""
    try:
        return (yield ask)
    except AskFailed as error:
        if not error.alone or sum(one.status is not None for one in failed) >= IN_VAIN - 1:
            raise
        failed.append(error.of(of))
        return None


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
        """Raises AskFailed. What it has yielded as news before that is kept all the same.

        It is raised where something was asked too, when that is not answered: what goes on then asks the next.
        """


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

    async def hold(self, turn: Turn, held_until: datetime, hold: timedelta, budget: float) -> datetime | None:
        """For so much longer, and what is left of its budget. None: it is somebody else's by now, or has another access."""

    async def end(self, turn: Turn, held_until: datetime, ended: Ended) -> bool:
        """Whether it was ours to the end."""


# ---------------------------------------------------------------- how long until the next time

FAILED_MOST = timedelta(minutes=30)


def next_in(every: timedelta, failed: int, after_s: float | None, dice: float) -> timedelta:
    """After so many failures in a row: doubling, up to half an hour, never sooner than the partner asks. `dice`: 0 to 1."""
    if not failed:
        return every
    grown: timedelta = min(FAILED_MOST, every * 2 ** min(failed, 10))
    jittered = grown * (0.5 + dice / 2)
    return max(jittered, timedelta(seconds=min(after_s or 0, FAILED_MOST.total_seconds())))
