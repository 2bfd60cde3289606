"""What is wrong with a call as an HTTP status, for the doors of providers."""

from domain.intake import FailureKind


def status_of(kind: FailureKind) -> int:
    """Of what a call is refused for."""
    return 401 if kind is FailureKind.AUTH else 400
