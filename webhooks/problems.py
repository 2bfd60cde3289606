"""Refusals as HTTP statuses, for the doors of providers."""

from collections.abc import Mapping

from domain.intake import FailureKind
from domain.refusals import Kind

STATUS: Mapping[Kind, int] = {
    Kind.UNAUTHENTICATED: 401,
    Kind.FORBIDDEN: 403,
    Kind.NOT_FOUND: 404,
    Kind.INVALID_INPUT: 400,
    Kind.CONFLICT: 409,
    Kind.RATE_LIMITED: 429,
    Kind.TOO_COSTLY: 413,
    Kind.UNAVAILABLE: 503,
}


def status_of(kind: FailureKind) -> int:
    """Of what a call is refused for."""
    return 401 if kind is FailureKind.AUTH else 400
