"""What goes wrong, as the API says it: `extensions.code` for programs, a message for people, and nothing of ours."""

import logging
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from graphql import GraphQLError
from strawberry.types import ExecutionContext

from domain import trace
from domain.refusals import InvalidInput, Kind, RateLimited, Refusal, Refused
from domain.truth import NotSourceOfTruth
from schema.documents import hash_of

INTERNAL = "INTERNAL"
MESSAGE_MOST = 300
"""Characters: graphql-core repeats the whole value it does not like."""
SHOWN_MOST = 20
"""A list of refusals is as good as its beginning, but a log and an answer must end."""

log = logging.getLogger("haat.graphql")

STATUS = {
    "UNAUTHENTICATED": 401,
    "FORBIDDEN": 403,
    "NOT_FOUND": 404,
    "INVALID_INPUT": 400,
    "CONFLICT": 409,
    "RATE_LIMITED": 429,
    "TOO_COSTLY": 400,
    "UNAVAILABLE": 503,
    INTERNAL: 500,
}
"""Of an answer without data, where the client understands such; one with data is 200."""


class Told(GraphQLError):
    """An error as the client sees it; what it was is its `original_error`."""

    @property
    def code(self) -> str:
        return str(self.extensions["code"])  # type: ignore[index]  # tell() gives each one


def tell(error: GraphQLError) -> Told:
    """Safe to repeat."""
    if isinstance(error, Told):
        return error
    cause = innermost(error)
    if isinstance(cause, Refused):
        return _told(error, cause.refusal.message, cause.refusal.kind.value, cause, _details(cause.refusal))
    if is_clients(error, cause):
        message = without_values(error.message)
        return _told(error, message, Kind.INVALID_INPUT.value, cause, {"problems": list(_problems(message))})
    return _told(error, "something went wrong here", INTERNAL, cause, {})


def refusal_error(refusal: Refusal) -> Told:
    """A refusal of the whole operation."""
    return tell(GraphQLError(refusal.message, original_error=Refused(refusal)))


def innermost(error: GraphQLError) -> Exception:
    cause: Exception = error
    while isinstance(cause, GraphQLError) and cause.original_error is not None:
        cause = cause.original_error
    return cause


def is_clients(error: GraphQLError, cause: Exception) -> bool:
    """Of the document or its values, not of our answer: before execution, or where arguments are read."""
    if not error.path:
        return isinstance(cause, GraphQLError)
    return isinstance(cause, GraphQLError) and any(name == "graphql.execution.values" for name in _modules(cause))


def _modules(error: Exception) -> Iterator[str]:
    frame = error.__traceback__
    while frame is not None:
        yield frame.tb_frame.f_globals.get("__name__", "")
        frame = frame.tb_next


def _details(refusal: Refusal) -> dict[str, Any]:
    """Only what the API promises: a refusal may hold more than its reader may see."""
    details: dict[str, Any] = {}
    if refusal.code != refusal.kind.value:
        details["refusal"] = refusal.code
    if isinstance(refusal, InvalidInput):
        details["problems"] = [{"path": problem.path, "message": problem.message} for problem in refusal.problems]
    elif refusal.kind is Kind.INVALID_INPUT:
        details["problems"] = []
    if isinstance(refusal, NotSourceOfTruth):
        details["believed"] = {"field": refusal.field.value, "sourceId": str(refusal.source_id), "provider": refusal.provider}
    retry_at = getattr(refusal, "retry_at", None)
    if isinstance(refusal, RateLimited) or retry_at is not None:
        details["retryAt"] = retry_at.isoformat().replace("+00:00", "Z") if retry_at else None
    return details


_ECHO = re.compile(r"[,;]? [Ff]ound: .*|(cannot represent [\w -]*value|(?:found|Unexpected) (?:Block)?String)[: ].*", re.DOTALL)


def without_values(message: str) -> str:
    """graphql-core repeats what it does not like, and that may be an address or a password: clients log what we answer."""
    return _ECHO.sub(r"\1", message)


_VALUE = re.compile(r"(?:Variable '\$|Argument ')(\w+)' has invalid value(?: at ([^:\s]+))?:?\s*(.*)", re.DOTALL)


def _problems(message: str) -> Iterator[Mapping[str, str]]:
    found = _VALUE.match(message)
    if found:
        below = re.sub(r"\[(\d+)\]", r".\1", found[2] or "")
        yield {"path": found[1] + below, "message": found[3][:MESSAGE_MOST]}


def _told(error: GraphQLError, message: str, code: str, cause: Exception, details: Mapping[str, Any]) -> Told:
    return Told(
        message[:MESSAGE_MOST],
        nodes=error.nodes,
        source=error.source,
        positions=error.positions,
        path=error.path,
        extensions={"code": code, "correlationId": trace.correlation_id.get(), **details},
        cause=cause,
    )


def tell_all(errors: Sequence[GraphQLError], query: str | None) -> list[Told]:
    """Told, and in the log by count and hash: the text of an operation may hold anything about anybody."""
    told = [tell(error) for error in errors]
    fresh = [one for one, error in zip(told, errors, strict=True) if one is not error]
    if fresh:
        _log(fresh, query)
    return told[:SHOWN_MOST]


def _log(errors: Sequence[Told], query: str | None) -> None:
    codes: dict[str, int] = {}
    for error in errors:
        codes[error.code] = codes.get(error.code, 0) + 1
    operation = hash_of(query) if query else ""
    bugs = [error for error in errors if error.code == INTERNAL]
    if bugs:
        # One of them: a list of fifty fails for one reason.
        field = ".".join(part for part in bugs[0].path or () if isinstance(part, str))
        log.error(
            "operation failed", exc_info=bugs[0].original_error, extra={"codes": codes, "operation": operation, "field": field}
        )
    else:
        log.info("operation refused", extra={"codes": codes, "operation": operation})


def process(errors: list[GraphQLError], context: ExecutionContext | None) -> None:
    """In place: strawberry sends these very lists."""
    errors[:] = tell_all(errors, context.query if context else None)
