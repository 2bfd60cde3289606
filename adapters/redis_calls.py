"""What every call of Redis stands in."""

from collections.abc import Iterator
from contextlib import contextmanager

from domain.cancelling import cancellable

CLOSED = "the handler is closed"
"""How uvloop says, as a RuntimeError, that a connection was reset just before something was sent on it."""


@contextmanager
def redis_call() -> Iterator[None]:
    """A connection that breaks raises OSError or redis-py's own errors, and a cancellation is not lost."""
    with cancellable():
        try:
            yield
        except RuntimeError as error:
            if CLOSED not in str(error):
                raise
            raise ConnectionResetError(CLOSED) from error
