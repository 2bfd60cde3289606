"""How far a file has come that was sent to be brought in: its rows, and what is wrong with each."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from uuid import UUID

from domain.bodies import Stored
from domain.intake import Answer, FailureKind, PayloadState, Question
from domain.refusals import Problem

ERRORS_SHOWN = 1_000


@dataclass(frozen=True)
class Undone:
    """What of a row that was read could not be carried out, or cannot yet."""

    entity: str
    kind: FailureKind
    message: str


@dataclass(frozen=True)
class Job:
    """A payload and its rows as they were read: each is a good in one store. One that was sent twice is one job."""

    id: UUID
    state: PayloadState
    translated: bool
    done: int
    waiting: int
    failed: int
    undone: Sequence[Undone]


@dataclass(frozen=True)
class Sent:
    """The payload itself, to be read once more."""

    body: Stored = field(repr=False)
    headers: Mapping[str, str]
    received_at: datetime


@dataclass(frozen=True)
class LeftOut:
    """In how many rows something was wrong, and what, as far as ERRORS_SHOWN goes: nothing of them went in."""

    rows: int = 0
    problems: Sequence[Problem] = ()
    beyond: int = 0  # so many problems more


@dataclass(frozen=True)
class ImportAsked(Question):
    """How far is this job? `shaped` makes the provider's answer of it; None: there is no such job of this source."""

    job: UUID | None
    shaped: Callable[[Job | None, LeftOut], Answer]
