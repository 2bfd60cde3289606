"""Logs: one JSON object a line on standard error, or something prettier where a person looks on.

Whoever logs says ids and words of ours. What is here is the last net: what looks like a person's, or like a key, is cut
out of every line, and a line that comes again and again is counted instead.
"""

import json
import logging
import re
import sys
import time
import traceback
from collections.abc import Iterator, Mapping, MutableMapping
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, TextIO

import structlog
from structlog.typing import EventDict, Processor

from domain import trace

TEXT_MOST = 500
MESSAGE_MOST = 200
"""Of an exception: what a library puts into its message may be anybody's."""
FRAMES_MOST = 25
SAME_MOST, SAME_S = 50, 10.0
"""So many lines of one message in so many seconds; the next line says how many were left out."""

GONE = "***"
SECRET_KEYS = re.compile(
    r"phone|e_?mail|password|passw|secret|token|authorization|cookie|otp|lat|lng|lon|latitude|longitude|line1|line2|address|postal_?code",
    re.IGNORECASE,
)
_SECRETS = re.compile(
    r"""
      (?i:\b(?:bearer|basic)\s+[^\s"',]+)
    | eyJ[\w-]{6,}\.[\w-]+\.[\w-]*                                                # a JWT
    | (?<=://)[^/\s@]+(?=@)                                                       # user and password of an address
    | [\w.+-]+@[\w-]+(?:\.[\w-]+)+                                                # e-mail
    | \+\d[\d\ ()-]{6,18}\d                                                       # a telephone number, as the world writes it
    | (?<![\w.-])0?[6-9]\d{4}[\ -]?\d{5}(?![\w-])                                 # or as India does
    | -?\b\d{1,3}\.\d{4,}                                                         # where somebody is
    | (?<![\w-])(?=[\w-]*[a-z])(?=[\w-]*[A-Z])(?=[\w-]*\d)[\w-]{22,}(?![\w-])     # a token: cases and digits mixed
    """,
    re.VERBOSE,
)


def redacted(text: str) -> str:
    return _SECRETS.sub(GONE, text[:TEXT_MOST])


def configure_logs(level: str = "info", stream: TextIO | None = None, pretty: bool | None = None) -> None:
    """For one process, at its start; all that was configured before is undone. `pretty` None: where it is a terminal."""
    stream = stream or sys.stderr
    pretty = stream.isatty() if pretty is None else pretty
    handler = logging.StreamHandler(stream)
    handler.setFormatter(formatter(pretty))
    handler.addFilter(Flood())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)  # of libraries, what they log below that is anybody's
    logging.getLogger("haat").setLevel(level.upper())
    for name in ("uvicorn", "uvicorn.error", "uvicorn.access", "uvicorn.asgi", "asyncio", "strawberry", "strawberry.ws"):
        logger = logging.getLogger(name)
        logger.handlers[:] = []
        logger.setLevel(logging.WARNING)
        logger.propagate = True
    logging.getLogger("uvicorn.error").addFilter(_uvicorns_own)
    logging.captureWarnings(True)
    structlog.configure(
        processors=[*_shared(), structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=False,
    )


def formatter(pretty: bool) -> logging.Formatter:
    render: Processor = _pretty if pretty else _json
    return structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=_shared(), processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, render]
    )


def _shared() -> list[Processor]:
    return [
        structlog.stdlib.add_logger_name,
        structlog.stdlib.add_log_level,
        structlog.stdlib.ExtraAdder(),
        _add_trace,
        _tell_exception,
        _redact,
    ]


def _add_trace(logger: object, name: str, event: EventDict) -> EventDict:
    event["at"] = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    for key, value in (("correlation_id", trace.correlation_id.get()), ("cause", trace.cause.get())):
        if value and key not in event:
            event[key] = value
    return event


def _tell_exception(logger: object, name: str, event: EventDict) -> EventDict:
    """Types and places, without values: no locals, and of each message its first line."""
    told = event.pop("exc_info", None)
    event.pop("stack_info", None)
    error = sys.exc_info()[1] if told is True else told[1] if isinstance(told, tuple) else told
    if isinstance(error, BaseException):
        event["exception"] = list(_lines(error))
    return event


def _lines(error: BaseException) -> Iterator[str]:
    seen: set[int] = set()
    while error is not None and id(error) not in seen and len(seen) < 5:
        seen.add(id(error))
        text = str(error).strip().partition("\n")[0][:MESSAGE_MOST]
        yield redacted(f"{type(error).__name__}: {text}")
        yield from _places(error.__traceback__)
        if isinstance(error, BaseExceptionGroup):
            for one in error.exceptions[:3]:
                yield from _lines(one)
        following = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
        if following is None:
            return
        error = following


def _places(trace_: TracebackType | None) -> Iterator[str]:
    for frame in traceback.extract_tb(trace_)[-FRAMES_MOST:]:
        yield f"  {frame.filename}:{frame.lineno} {frame.name}"


def _redact(logger: object, name: str, event: EventDict) -> EventDict:
    for key, value in event.items():
        if key in ("at", "level", "logger", "correlation_id", "exception"):
            continue
        event[key] = _clean(key, value)
    return event


def _clean(key: str, value: object) -> object:
    if SECRET_KEYS.fullmatch(key) and value is not None:
        return GONE
    if isinstance(value, str):
        return redacted(value)
    if isinstance(value, Mapping):
        return {str(inner): _clean(str(inner), one) for inner, one in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_clean(key, one) for one in value]
    if value is None or isinstance(value, bool | int | float):
        return value
    return redacted(str(value))


_FIRST = ("at", "level", "logger", "event")


def _json(logger: object, name: str, event: MutableMapping[str, Any]) -> str:
    ordered = {key: event[key] for key in _FIRST if key in event} | {key: event[key] for key in event if key not in _FIRST}
    return json.dumps(ordered, ensure_ascii=False, default=str)


def _pretty(logger: object, name: str, event: MutableMapping[str, Any]) -> str:
    exception = event.pop("exception", [])
    at, level, where, said = (str(event.pop(key, "")) for key in _FIRST)
    rest = "".join(f" {key}={value}" for key, value in event.items())
    return "\n".join([f"{at[11:19]} {level:<7} {where}: {said}{rest}", *(f"    {line}" for line in exception)])


_NO_ERRORS = ("Invalid UTF-8 sequence", "ASGI callable returned without completing")


def _uvicorns_own(record: logging.LogRecord) -> bool:
    """Uvicorn logs as errors what is none of ours: what is no text, which it answers by 1007; a socket refused with a status of
    our own; a response given up because its client does not read."""
    return not str(record.msg).startswith(_NO_ERRORS)


class Flood(logging.Filter):
    """What comes again and again costs a line now and then."""

    def __init__(self, most: int = SAME_MOST, every_s: float = SAME_S) -> None:
        super().__init__()
        self._most = most
        self._every_s = every_s
        self._seen: dict[tuple[str, int, str], tuple[float, int]] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        key = (record.name, record.levelno, str(record.msg)[:100])
        now = time.monotonic()
        since, count = self._seen.get(key, (now, 0))
        if now - since >= self._every_s:
            if count > self._most:
                record.left_out = count - self._most
            since, count = now, 0
        if len(self._seen) > 1_000:
            self._seen.clear()
        self._seen[key] = (since, count + 1)
        return count < self._most
