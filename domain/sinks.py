"""What else the log feeds: Kafka, caches, channels, messages to people. Each at its own pace."""

from collections.abc import Collection, Sequence
from typing import Protocol

from domain.events import Event, Stamped


class Sink(Protocol):
    """`name` never changes: its place in the log is kept under it. `kinds` are all it wants; None is every kind."""

    @property
    def name(self) -> str: ...

    @property
    def kinds(self) -> Collection[type[Event]] | None: ...

    async def take(self, events: Sequence[Stamped]) -> None:
        """In order, each at least once. What raises comes again, later and from its beginning; it has 30 s."""
