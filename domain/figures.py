"""What is counted and measured while we work. Labels are words of ours, a few of each: never an id."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

SEVERAL = "PROMETHEUS_MULTIPROC_DIR"
"""Names a folder where several server processes on one port add up their figures; prometheus_client reads it at its import."""


OUTCOMES = HIT, MISS, BYPASS = "hit", "miss", "bypass"
"""Of a public query: answered by what is kept, read anew, or read anew while nothing that is kept is believed."""


class Figures(Protocol):
    def operation(self, field: str, code: str, seconds: float) -> None:
        """`field` is a root field of the API, `code` OK or what errors[] says."""

    def sockets(self, change: int) -> None:
        """Opened, or closed."""

    def feeds(self, change: int) -> None:
        """Subscriptions begun, or ended."""

    def cached(self, outcome: str) -> None:
        """A public query, by one of OUTCOMES."""

    def webhook(self, provider: str, verdict: str) -> None:
        """`provider` is one we know, or `unknown`, `verdict` what became of the payload."""

    def alerts(self, outcome: str, count: int) -> None:
        """So many were `sent`, or `dropped`."""


class Uncounted:
    """For tests and tools."""

    def operation(self, field: str, code: str, seconds: float) -> None: ...

    def sockets(self, change: int) -> None: ...

    def feeds(self, change: int) -> None: ...

    def cached(self, outcome: str) -> None: ...

    def webhook(self, provider: str, verdict: str) -> None: ...

    def alerts(self, outcome: str, count: int) -> None: ...


@dataclass(frozen=True, slots=True)
class Reading:
    """Something measured when it is asked for, rather than counted as it happens."""

    name: str
    value: float
    labels: Mapping[str, str] = field(default_factory=dict)


Probe = Callable[[], Awaitable[Sequence[Reading]]]
"""May refuse Unavailable: what cannot be measured now is left out."""
