"""Committed facts. Each is written in its command's transaction, under its entity's row lock."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from typing import ClassVar, Protocol
from uuid import UUID


class Topic(Enum):
    """Where an event is published. The same names on Redis and on Kafka."""

    CATALOG = "catalog.events"
    PRICING = "pricing.events"
    INVENTORY = "inventory.events"
    STORE_STATUS = "store-status.events"
    CARTS = "carts.events"
    ORDERS = "orders.events"
    PAYMENTS = "payments.events"
    DELIVERY = "delivery.events"
    FAILURES = "integration.failures"


class Event(ABC):
    """The base of every event. A subclass is a frozen dataclass, complete: a feed sends it without reading it again.

    `entity` is what it happened to, `seq` that entity's version after it: contiguous for each entity.
    `stream` names the kind of entity where that is not told by the id: a listing has a level, and both have versions.
    `concerns` are the ids by which feeds find it (store, order, rider, merchant …).
    """

    topic: ClassVar[Topic]
    stream: ClassVar[str]
    kinds: ClassVar[dict[str, type["Event"]]] = {}

    def __init_subclass__(cls) -> None:
        Event.kinds[cls.__name__] = cls

    @property
    @abstractmethod
    def entity(self) -> UUID: ...

    @property
    @abstractmethod
    def seq(self) -> int: ...

    @property
    @abstractmethod
    def concerns(self) -> Sequence[UUID]: ...


@dataclass(frozen=True, slots=True)
class Stamped:
    """An event in its place in the whole log. `pos` is contiguous and the only order used outside a transaction."""

    pos: int
    at: datetime
    concerns: Sequence[UUID]
    event: Event
    caused_by: str = ""  # "instruction:0197…", "order:0197…": one chain from payload to frame
    correlation_id: str = ""


class EventLog(Protocol):
    async def add(self, *events: Event, causes: Mapping[UUID, str] | None = None) -> None:
        """Appends them in this order, in the transaction of the unit of work.

        `causes` by entity, where the events of one transaction have several; else, and for "", the cause of the work at hand.
        """
