"""Whether a source still speaks: one that has been silent for longer than it ever should is told, and its levels are in doubt."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from typing import TYPE_CHECKING, Protocol
from uuid import UUID

from domain.events import Event, Topic
from domain.failures import SUPPORT_FEED
from domain.identity import Actor
from domain.refusals import invalid, not_found
from domain.stock import StockChanged

if TYPE_CHECKING:
    from domain.unit_of_work import UnitOfWork

MINUTE_S = 60
LONGEST_MINUTES = 30 * 24 * 60
LEVELS_AT_ONCE = 500


class SourceState(Enum):
    NEW = "NEW"
    LIVE = "LIVE"
    SILENT = "SILENT"
    DISABLED = "DISABLED"


@dataclass(frozen=True, slots=True)
class Health:
    """Of a source. `silent_since` is the moment by which it should have spoken."""

    source_id: UUID
    merchant_id: UUID
    provider: str
    last_seen_at: datetime | None
    silent_since: datetime | None
    version: int


@dataclass(frozen=True)
class SourceHealthChanged(Event):
    """A source has fallen silent (`silent_since` says from when on), or speaks again (it is null)."""

    health: Health

    topic, stream = Topic.FAILURES, "source"

    @property
    def entity(self) -> UUID:
        return self.health.source_id

    @property
    def seq(self) -> int:
        return self.health.version

    @property
    def concerns(self) -> Sequence[UUID]:
        return (self.health.merchant_id, SUPPORT_FEED)


@dataclass(frozen=True, slots=True)
class Doubted:
    """A silent source whose levels are still being marked: those after `after`, in id order."""

    source_id: UUID
    after: UUID


class HealthStore(Protocol):
    """Locks the source before any level."""

    async def fall_silent(self, limit: int) -> Sequence[Health]:
        """Those that should have spoken by now, but for those another has locked. All their levels are to be marked."""

    async def end_silence(self, source_id: UUID) -> Health | None:
        """If it was silent and is no more, by what it said last and by its interval as it is now. Marking stops with it."""

    async def expect(self, source_id: UUID, every_s: int | None) -> None: ...

    async def lock_doubted(self) -> Doubted | None:
        """One that nobody else has in hand."""

    async def told_of(self, doubted: Doubted, limit: int) -> Sequence[UUID]:
        """The next listings whose stock the source has ever told of, in id order."""

    async def marked(self, source_id: UUID, up_to: UUID | None) -> None:
        """None: all of them are."""


async def fall_silent(uow: "UnitOfWork", limit: int = 50) -> Sequence[Health]:
    """By the clock. Safe to repeat: a source falls silent once. Returns those that did now."""
    silent = await uow.health.fall_silent(limit)
    await uow.events.add(*map(SourceHealthChanged, silent))
    return silent


async def mark_stale(uow: "UnitOfWork", limit: int = LEVELS_AT_ONCE) -> bool:
    """Some levels of one silent source: those that rest on its word. Returns whether there was anything to look at.

    Where it has come to is kept with the source, so that whoever comes next goes on from there.
    """
    doubted = await uow.health.lock_doubted()
    if doubted is None:
        return False
    ids = await uow.health.told_of(doubted, limit)
    levels = await uow.stock.doubt(ids, doubted.source_id)
    cause = f"source:{doubted.source_id}"
    await uow.events.add(*map(StockChanged, levels), causes={level.listing_id: cause for level in levels})
    await uow.health.marked(doubted.source_id, ids[-1] if len(ids) == limit else None)
    return True


async def heard(source_id: UUID, uow: "UnitOfWork") -> None:
    """It has spoken. A silence ends with it; each level is fresh again once it is told of."""
    await uow.sources.seen(source_id)
    await _end(source_id, uow)


async def _end(source_id: UUID, uow: "UnitOfWork") -> None:
    ended = await uow.health.end_silence(source_id)
    if ended is not None:
        await uow.events.add(SourceHealthChanged(ended))


@dataclass(frozen=True)
class SetSourceSchedule:
    """How long a source may be silent before it is told. None: for ever."""

    source_id: UUID
    expected_every_minutes: int | None


async def set_source_schedule(command: SetSourceSchedule, actor: Actor, uow: "UnitOfWork") -> None:
    """For owners, managers and support. A silence that is none by the new interval ends. Safe to repeat.

    Refuses NotFound, InvalidInput.
    """
    minutes = command.expected_every_minutes
    if minutes is not None and not 1 <= minutes <= LONGEST_MINUTES:
        raise invalid("expectedEveryMinutes", f"must be from 1 to {LONGEST_MINUTES}")
    source = await uow.sources.lock(command.source_id, actor)
    if source is None:
        raise not_found("source")
    await uow.health.expect(source.id, None if minutes is None else minutes * MINUTE_S)
    await _end(source.id, uow)
    detail = "never silent" if minutes is None else f"speaks every {minutes} minutes"
    await uow.audit.write(actor, "setSourceSchedule", source.id, source.merchant_id, detail)
