"""Values that must come back to nobody: planted in what a run is given, and searched for in all that it says.

with listening() as heard:
    ...  # a run that uses `PLANTED` as its people's phones, addresses, places and keys
    heard.add("metrics", (await client.get("/metrics")).text)
assert heard.hits() == []
"""

import base64
import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from io import StringIO
from urllib.parse import quote

from adapters.logs import formatter


@dataclass(frozen=True)
class Planted:
    """Twenty of them. Nothing else in a test may look like them."""

    phones: tuple[str, ...] = ("+919876501234", "+919123409876", "+918800776655", "+14155550123")
    emails: tuple[str, ...] = ("canary.asha@example.org", "c4nary+orders@mail.example.in")
    names: tuple[str, ...] = ("Canarya Venkataraghavan", "Bulbul Canarese")
    lines: tuple[str, ...] = ("Flat 9Q, Canary Heights", "17 Serinus Lane, behind the mill")
    notes: tuple[str, ...] = ("the dog Zwartje bites", "ring twice for Pistachio")
    postal_codes: tuple[str, ...] = ("560971",)
    points: tuple[tuple[float, float], ...] = ((12.971987, 77.594123), (28.613987, 77.209456))
    passwords: tuple[str, ...] = ("Canary-pass-9041!", "Serinus_7731_pass")
    codes: tuple[str, ...] = ("739164",)
    tokens: tuple[str, ...] = (
        "eyJhbGciOiJFZERTQSJ9.eyJzdWIiOiJjYW5hcnkifQ.c2lnbmF0dXJlLWNhbmFyeQ",
        "r3fr3shCanaryTokenQ7wZ9xY2vB5nM8kL1pJ4hG6",
    )

    def texts(self) -> Iterator[str]:
        for group in (
            self.phones,
            self.emails,
            self.names,
            self.lines,
            self.notes,
            self.postal_codes,
            self.passwords,
            self.codes,
            self.tokens,
        ):
            yield from group
        for lat, lng in self.points:
            yield str(lat)
            yield str(lng)


PLANTED = Planted()


@dataclass
class Heard:
    """Log lines as they are written, before and after they are made into text, and whatever a test adds."""

    _log: StringIO = field(default_factory=StringIO)
    _added: dict[str, list[str]] = field(default_factory=dict)

    def add(self, where: str, text: str) -> None:
        """An answer that goes to somebody else, metrics, a dump."""
        self._added.setdefault(where, []).append(text)

    @property
    def log(self) -> str:
        return self._log.getvalue()

    def hits(self) -> list[tuple[str, str]]:
        """(where, what), for every planted value that is found in any of its spellings."""
        texts = [("log", self.log), *((where, text) for where, some in self._added.items() for text in some)]
        return [
            (where, value) for value in PLANTED.texts() for where, text in texts if any(one in text for one in spellings(value))
        ]


def spellings(value: str) -> set[str]:
    found = {value, json.dumps(value)[1:-1], quote(value), quote(value, safe=""), repr(value)[1:-1]}
    found.add(base64.b64encode(value.encode()).decode().rstrip("="))
    if value.startswith("+"):
        found.add(value[1:])
        found.add(value[3:])  # without its country
    return found


@contextmanager
def listening() -> Iterator[Heard]:
    """At DEBUG, whoever logs."""
    heard = Heard()
    handler = logging.StreamHandler(heard._log)
    handler.setFormatter(formatter(pretty=False))
    root = logging.getLogger()
    before = root.level
    loud = [logger for logger in map(logging.getLogger, list(logging.Logger.manager.loggerDict)) if logger.level]
    levels = [(logger, logger.level) for logger in loud]
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    for logger in loud:
        logger.setLevel(logging.DEBUG)
    try:
        yield heard
    finally:
        root.removeHandler(handler)
        root.setLevel(before)
        for logger, level in levels:
            logger.setLevel(level)
