"""A database that is away, full or too slow is a refusal; what else goes wrong in it is a bug."""

import logging
from types import TracebackType

import asyncpg
from sqlalchemy import exc

from domain.cancelling import heed_cancelling
from domain.refusals import Refused, Unavailable

log = logging.getLogger("haat.database")

# https://www.postgresql.org/docs/current/errcodes-appendix.html
CLOSED = "the handler is closed"
"""How uvloop says that a connection was reset just before something was sent on it."""
_CLASSES = ("08", "53", "57")  # the connection; resources; an operator, a timeout of ours, starting or stopping
_LOCK_TIMEOUT = "55P03"
_STATES = {"25006", "40001", _LOCK_TIMEOUT}  # a standby that was the primary; serialization; a lock not had in time


def is_away(error: BaseException | None) -> bool:
    """The same call may succeed later. `error` comes from SQLAlchemy or, where it connects, from below it."""
    if isinstance(error, exc.DBAPIError):
        return error.connection_invalidated or isinstance(error, exc.InterfaceError) or _is_of_state(error.orig)
    if isinstance(error, asyncpg.PostgresError):
        return _is_of_state(error)
    if isinstance(error, RuntimeError):
        return CLOSED in str(error)
    # OSError holds refused connections, names that are not found, and TimeoutError.
    return isinstance(error, OSError | exc.TimeoutError | asyncpg.InterfaceError)


def is_lock_timeout(error: BaseException | None) -> bool:
    """Of an error that `is_away`: only somebody's lock was in the way."""
    return _state(error) == _LOCK_TIMEOUT


def _state(error: BaseException | None) -> object:
    return getattr(getattr(error, "orig", error), "sqlstate", None)


def _is_of_state(error: BaseException | None) -> bool:
    state = _state(error)
    return isinstance(state, str) and (state.startswith(_CLASSES) or state in _STATES)


class Answering:
    """Around what asks the database. Refuses Unavailable."""

    __slots__ = ()

    def __enter__(self) -> None: ...

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if error is not None and is_away(error):
            heed_cancelling(error)
            log.warning("database unavailable", extra={"error": type(error).__name__, "state": _state(error)})
            raise Refused(Unavailable("try again in a moment")) from error


answering = Answering()
