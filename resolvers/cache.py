"""What an answer was made of: whichever event or moment makes it old."""

from collections.abc import Iterable, Sequence
from datetime import datetime
from uuid import UUID

from db.catalog import ListingRow
from domain.events import Topic
from domain.merchants import Store


class Tags:
    """Collected while an answer is made. `names` are as `tags_of` has them for an event; `until` is when the clock ends it."""

    def __init__(self) -> None:
        self.names: set[str] = set()
        self.until: datetime | None = None

    def all(self, *topics: Topic) -> None:
        """Whatever happens there."""
        self.names.update(topic.value for topic in topics)

    def of(self, id: UUID, *topics: Topic) -> None:
        """What happens to it, or concerns it."""
        self.names.update(tag(topic.value, id) for topic in topics)

    def stores(self, stores: Iterable[Store]) -> None:
        """As they were shown: with what is open now."""
        for store in stores:
            self.of(store.id, Topic.STORE_STATUS)
            if (moment := store.look_at) is not None:
                self.until = moment if self.until is None else min(self.until, moment)

    def listings(self, rows: Iterable[ListingRow]) -> None:
        """As they were shown: with their products, choices and stock."""
        for row in rows:
            self.of(row.id, Topic.CATALOG, Topic.PRICING, Topic.INVENTORY)
            self.of(row.product.id, Topic.CATALOG)


class _Untagged(Tags):
    def all(self, *topics: Topic) -> None: ...

    def of(self, id: UUID, *topics: Topic) -> None: ...

    def stores(self, stores: Iterable[Store]) -> None: ...

    def listings(self, rows: Iterable[ListingRow]) -> None: ...


UNTAGGED = _Untagged()
"""For answers that nobody keeps."""


def tag(topic: str, id: UUID) -> str:
    return f"{topic} {id}"


def tags_of(topic: str, ids: Iterable[UUID]) -> Sequence[str]:
    """Of an event: its topic, and each of its ids there."""
    return (topic, *(tag(topic, id) for id in ids))
