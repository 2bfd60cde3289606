"""What a source says of a field of which another is believed: kept beside what stands, until somebody decides or they agree."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from typing import TYPE_CHECKING, Protocol
from uuid import UUID

from domain.identity import Actor
from domain.money import Money
from domain.stock import CountDrops
from domain.truth import Field, Place

if TYPE_CHECKING:
    from domain.unit_of_work import UnitOfWork


class ConflictState(Enum):
    OPEN = "OPEN"
    TAKEN = "TAKEN"  # what was claimed was made so, by hand
    DISMISSED = "DISMISSED"  # and stays so while the same is claimed again
    SETTLED = "SETTLED"  # they agree, or another rule leaves no room for it


@dataclass(frozen=True, slots=True)
class Claim:
    """A value of one field, as far as it is told; the rest is None."""

    units: int | None = None
    due: int | None = None  # what would be on the shelf by these units, as counts are applied
    available: bool | None = None
    price_minor: int | None = None
    mrp_minor: int | None = None
    packaging_minor: int | None = None
    currency: str | None = None
    status: str | None = None  # a StoreStatus's
    until: datetime | None = None  # of what is off, or of a status
    reason: str | None = None


def agree(field: Field, claimed: Claim, stands: Claim) -> bool:
    match field:
        case Field.STOCK:
            return stands.units is not None and stands.units == (claimed.units if claimed.due is None else claimed.due)
        case Field.AVAILABILITY:
            return (claimed.available, claimed.until) == (stands.available, stands.until)
        case Field.PRICE:
            pairs = (
                (claimed.price_minor, stands.price_minor),
                (claimed.mrp_minor, stands.mrp_minor),
                (claimed.packaging_minor, stands.packaging_minor),
                (claimed.currency, stands.currency),
            )
            return all(told is None or told == stood for told, stood in pairs)
        case Field.STATUS:
            return (claimed.status, claimed.until) == (stands.status, stands.until)


def shown(field: Field, claim: Claim) -> str:
    """For people: `12`, `off until 2026-11-21T10:00:00+00:00`, `99.00 INR, MRP 120.00`, `CLOSED`."""
    until = f" until {claim.until.isoformat()}" if claim.until else ""
    match field:
        case Field.STOCK:
            return "not counted" if claim.units is None else str(claim.units)
        case Field.AVAILABILITY:
            return "on" if claim.available else f"off{until}"
        case Field.PRICE:
            currency = claim.currency or ""
            told = (("", claim.price_minor), (", MRP ", claim.mrp_minor), (", packaging ", claim.packaging_minor or None))
            amounts = [f"{name}{Money(minor, currency).amount}" for name, minor in told if minor is not None]
            return f"{amounts[0]} {currency}{''.join(amounts[1:])}"
        case Field.STATUS:
            return f"{claim.status}{until}"


@dataclass(frozen=True, slots=True)
class SourceConflict:
    """One for each source, field and entity (a listing, or of STATUS the store): what it claims again is counted."""

    id: UUID
    merchant_id: UUID
    store_id: UUID
    field: Field
    entity_id: UUID
    source_id: UUID  # who claims it
    owner_id: UUID  # who is believed
    state: ConflictState
    claimed: Claim
    stands: Claim  # as it was when this was claimed last
    source_version: int | None  # as the source tells it, and when
    said_at: datetime
    times: int  # since it was opened
    first_at: datetime
    last_at: datetime
    version: int
    drops: CountDrops  # the source's


@dataclass(frozen=True)
class Said:
    """What a source has claimed just now."""

    field: Field
    store_id: UUID
    entity_id: UUID
    owner_id: UUID
    claim: Claim
    version: int | None
    at: datetime

    def is_older_than(self, known: SourceConflict) -> bool:
        """As `told` has it: a version decides where both have one."""
        if self.version is not None and known.source_version is not None:
            return self.version < known.source_version
        return self.at < known.said_at


class ConflictStore(Protocol):
    """Rows are locked in the order of their entities, fields and sources: the last of a transaction but for what became of its
    instructions."""

    async def standing(self, field: Field, entity_ids: Collection[UUID]) -> Mapping[UUID, Claim]:
        """What is so now."""

    async def known(self, source_id: UUID, said: Sequence[Said]) -> Mapping[tuple[Field, UUID], SourceConflict]:
        """By field and entity: this source's, locked."""

    async def open_on(self, field: Field, entity_ids: Collection[UUID]) -> Sequence[SourceConflict]:
        """Whoever claims it; locked."""

    async def write(self, merchant_id: UUID, source_id: UUID, said: Sequence[tuple[Said, Claim]]) -> None:
        """At most one an entity and field, each with what stands instead. One that is older than what was claimed before is counted
        alone. What was dismissed stays so while it is the same; any other is open again."""

    async def end(self, ids: Collection[UUID], state: ConflictState) -> None:
        """Of those already locked."""

    async def ruled(self, rules: Mapping[Place, UUID | None]) -> None:
        """Settles what is open there of who is believed from now on, and of all where everybody is. The others contradict the new
        one."""

    async def find(self, id: UUID, actor: Actor) -> SourceConflict | None:
        """If the actor may see it. Not locked."""

    async def lock(self, seen: SourceConflict) -> SourceConflict:
        """As it is now; with it what is open on the same, at once: one after the other they would be locked in no order."""


async def moot(field: Field, entity_ids: Collection[UUID], uow: "UnitOfWork") -> None:
    """Of entities of which something was told that is believed: what agrees with it by now is settled."""
    still = await uow.conflicts.open_on(field, entity_ids)
    if not still:
        return
    stands = await uow.conflicts.standing(field, {one.entity_id for one in still})
    over = [one.id for one in still if one.entity_id in stands and agree(field, one.claimed, stands[one.entity_id])]
    if over:
        await uow.conflicts.end(over, ConflictState.SETTLED)


async def told_by_hand(field: Field, entity_id: UUID, dashboard: UUID, uow: "UnitOfWork") -> None:
    """The last of what is done by hand: whose word it was is written down, and what agrees with it is settled."""
    await uow.truth.heard(dashboard, field, entity_id)
    await moot(field, [entity_id], uow)
