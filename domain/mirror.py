"""What providers are understood to say, told on `catalog.commands`: every instruction, once it is kept, whatever becomes of it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from domain.canonical import Command, OrderStatus, RejectOrder, UpdateStockLevel, UpdateStoreStatus

COMMANDS = "catalog.commands"
"""A topic beside those of the log: a command is what somebody wants, and no fact."""

PRIVATE: Mapping[type[Command], frozenset[str]] = {
    OrderStatus: frozenset({"message", "rider_name", "rider_phone"}),
    RejectOrder: frozenset({"message"}),
    UpdateStockLevel: frozenset({"reason"}),
    UpdateStoreStatus: frozenset({"reason"}),
}
"""What people wrote, and who they are: kept with the instruction, and told to nobody."""


@dataclass(frozen=True, slots=True)
class Mirrored:
    """One instruction. `entity` is in the source's own words; of one source and one entity, `number` grows in their order."""

    number: int
    id: UUID
    at: datetime
    source_id: UUID | None
    merchant_id: UUID | None
    provider: str
    payload_id: UUID
    entity: str
    command: str
    body: Any
    correlation_id: str = ""


@dataclass(frozen=True, slots=True)
class Commands:
    """A message. `after` is the number of the last one of the message before: who has another has missed some.

    Numbers grow, and are not contiguous. `epoch` is the log's: with another one they begin anew.
    """

    epoch: str
    after: int
    commands: Sequence[Mirrored]
