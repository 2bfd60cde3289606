"""A typed no. `Refused` carries it out of the transaction; nothing of it is kept."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from typing import ClassVar


class Kind(Enum):
    """What a caller can do about it, free of any transport: `schema/errors.py` and `webhooks/problems.py` translate."""

    UNAUTHENTICATED = "UNAUTHENTICATED"
    FORBIDDEN = "FORBIDDEN"
    NOT_FOUND = "NOT_FOUND"
    INVALID_INPUT = "INVALID_INPUT"
    CONFLICT = "CONFLICT"
    RATE_LIMITED = "RATE_LIMITED"
    TOO_COSTLY = "TOO_COSTLY"
    UNAVAILABLE = "UNAVAILABLE"


@dataclass(frozen=True)
class Refusal:
    """`code` is stable and for programs, `message` is for people and may change."""

    code: ClassVar[str]
    kind: ClassVar[Kind]
    message: str


class Refused(Exception):
    """Raised inside the unit of work, so that it rolls back."""

    def __init__(self, refusal: Refusal) -> None:
        super().__init__(refusal.message)
        self.refusal = refusal


@dataclass(frozen=True)
class NotFound(Refusal):
    """Not there, or not yours: the two are never told apart."""

    code, kind = "NOT_FOUND", Kind.NOT_FOUND


@dataclass(frozen=True)
class Unauthenticated(Refusal):
    code, kind = "UNAUTHENTICATED", Kind.UNAUTHENTICATED


@dataclass(frozen=True)
class Forbidden(Refusal):
    code, kind = "FORBIDDEN", Kind.FORBIDDEN


@dataclass(frozen=True)
class Problem:
    """What is wrong with one argument. `path` is dotted, as `input.point.lat` or `lines.0.quantity`."""

    path: str
    message: str


@dataclass(frozen=True)
class InvalidInput(Refusal):
    """All problems at once."""

    code, kind = "INVALID_INPUT", Kind.INVALID_INPUT
    problems: Sequence[Problem] = ()


@dataclass(frozen=True)
class Conflict(Refusal):
    """Somebody else was first: read again and decide again."""

    code, kind = "CONFLICT", Kind.CONFLICT


@dataclass(frozen=True)
class RateLimited(Refusal):
    code, kind = "RATE_LIMITED", Kind.RATE_LIMITED
    retry_at: datetime


@dataclass(frozen=True)
class TooCostly(Refusal):
    """The operation would do more work than one request may."""

    code, kind = "TOO_COSTLY", Kind.TOO_COSTLY


@dataclass(frozen=True)
class Unavailable(Refusal):
    """A partner or a part of us does not answer now. The same call may be repeated."""

    code, kind = "UNAVAILABLE", Kind.UNAVAILABLE


def invalid(path: str, message: str) -> Refused:
    """To be raised: one problem with one argument."""
    return Refused(InvalidInput(f"{path}: {message}", (Problem(path, message),)))


def not_found(noun: str) -> Refused:
    """To be raised for what is not there and for what is not the actor's."""
    return Refused(NotFound(f"no such {noun}"))


def refuse(problems: Sequence[Problem]) -> None:
    """Refuses InvalidInput, where there are any: the message is the first one's."""
    if problems:
        raise Refused(InvalidInput(f"{problems[0].path}: {problems[0].message}", tuple(problems)))
