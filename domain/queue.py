"""The queue: a command as the intake keeps and orders it, and what became of it."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol
from uuid import UUID

from domain.befores import Was
from domain.canonical import Command
from domain.intake import FailureKind, Family, InstructionState, Source
from domain.stock import CountDrops
from domain.truth import Place


@dataclass(frozen=True)
class Instruction:
    """One command, locked. `received_at` is its payload's, and its time where the source said none."""

    id: UUID
    payload_id: UUID
    command: Command
    attempts: int
    received_at: datetime
    correlation_id: str

    @property
    def at(self) -> datetime:
        return self.command.at or self.received_at

    @property
    def cause(self) -> str:
        return f"instruction:{self.id}"


@dataclass(frozen=True)
class Origin:
    """Whose instructions they are."""

    source_id: UUID
    merchant_id: UUID
    provider: str
    family: Family
    drops: CountDrops
    may_create: bool  # goods that it is the first to name
    stores: Mapping[str, UUID]  # the source's id of each store it is mapped to -> ours
    rules: Mapping[Place, UUID] = field(default_factory=dict)  # of these stores: who alone is believed, where one is


@dataclass(frozen=True)
class Group:
    """So many instructions of one kind of command and of one source, no two of one entity."""

    origin: Origin
    instructions: Sequence[Instruction]


@dataclass(frozen=True)
class Outcome:
    state: InstructionState
    kind: FailureKind | None = None
    message: str = ""
    waits_for: str | None = None


APPLIED = Outcome(InstructionState.APPLIED)
STALE = Outcome(InstructionState.SUPERSEDED, FailureKind.STALE, "newer news came before it")


def parked(waits_for: str) -> Outcome:
    """Until it appears."""
    return Outcome(InstructionState.PARKED, FailureKind.MAPPING, f"nothing of ours is mapped to {waits_for}", waits_for)


def failed(message: str, kind: FailureKind = FailureKind.VALIDATION) -> Outcome:
    return Outcome(InstructionState.FAILED, kind, message)


@dataclass(frozen=True)
class Told:
    """An absolute value a source has told: of one field of one of our entities."""

    field: str
    entity_id: UUID
    version: int | None
    at: datetime


class InstructionStore(Protocol):
    async def add(
        self,
        payload_id: UUID,
        source: Source,
        commands: Sequence[Command],
        received_at: datetime,
        *,
        waits_for: str | None,
        after: int = 0,
    ) -> None:
        """In this order, after so many there are. With `waits_for` they are parked until it comes."""

    async def sources_waiting(self) -> Sequence[UUID]:
        """Sources that have something to carry out by now."""

    async def claim(self, source_id: UUID, limit: int, among: Collection[UUID] | None = None) -> Group | None:
        """Locks what may be carried out: for each entity the first, of each batch the stage it has come to.

        What another worker has in hand is passed over. Who is believed stays so until the transaction ends.
        """

    async def of_payload(self, payload_id: UUID) -> Group | None:
        """All of a batch, in order."""

    def remember(self, instruction_id: UUID, was: Iterable[Was]) -> None:
        """What it has changed: written when it is finished."""

    async def finish(self, outcomes: Mapping[UUID, Outcome]) -> None: ...

    async def put_off(self, instruction_id: UUID, seconds: float) -> None:
        """One attempt more, later."""

    async def settle(self) -> None:
        """Once, at the end of a transaction that has changed what has become of instructions: their payloads follow, each in
        its state and at the stage it has come to."""

    async def wake_resolved(self) -> int:
        """What waits for something that is there by now: one that appeared just while it was being parked, or by another way."""

    async def park_followers(self, source_id: UUID) -> int:
        """What comes after a parked instruction of its entity waits for the same."""

    async def retry(self, instruction_ids: Collection[UUID]) -> None:
        """What has FAILED or is PARKED waits its turn again, in its place."""

    async def release(self, payload_id: UUID, waits_for: str) -> int:
        """The payload's instructions that waited for this wait no longer. Returns how many."""

    async def supersede(self, instruction_ids: Collection[UUID]) -> None:
        """Of those that wait for somebody: newer news came meanwhile, and they are not carried out."""

    async def weigh(self) -> None:
        """After many were added at once: the database learns how many there are now, or each claim would go through them all."""

    async def count(self, payload_id: UUID) -> int:
        """How many of a batch there are, whatever has become of them."""

    async def waiting(self, payload_id: UUID) -> int:
        """How many of a batch are still to be carried out, as far as anybody knows of."""

    async def wake(self, merchant_id: UUID, appeared: Iterable[str]) -> int:
        """The merchant's instructions that waited for what has now appeared wait their turn again."""

    async def approve_later(self, payload_id: UUID, waits_for: str, becomes: str) -> None:
        """What waited for one thing now waits for another."""

    async def refuse(self, payload_id: UUID, waits_for: str) -> int:
        """The payload's instructions that wait for this are REFUSED, for good. Returns how many."""

    async def leave(self, payload_id: UUID) -> Sequence[UUID]:
        """What of the payload failed, waits for a mapping, or for its day, is REFUSED: it is never carried out. Returns which."""

    async def newest(
        self, source_id: UUID, fields: Collection[str], entity_ids: Collection[UUID]
    ) -> Mapping[tuple[str, UUID], Told]: ...

    async def tell(self, source_id: UUID, news: Sequence[Told]) -> set[tuple[str, UUID]]:
        """Writes down what is not older than what was told before; returns (field, entity id) of it."""
