"""What a listing can still promise, and who holds it."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from enum import Enum
from typing import TYPE_CHECKING, Protocol
from uuid import UUID

from domain.events import Event, Topic
from domain.identity import Actor
from domain.refusals import Kind, Refusal, Refused

if TYPE_CHECKING:
    from domain.counting import Count, Recount
    from domain.unit_of_work import UnitOfWork


class StockState(Enum):
    IN_STOCK = "IN_STOCK"
    LOW = "LOW"
    OUT_OF_STOCK = "OUT_OF_STOCK"
    UNTRACKED = "UNTRACKED"


class StockMovementKind(Enum):
    COUNTED = "COUNTED"
    ADJUSTED = "ADJUSTED"
    RECEIVED = "RECEIVED"
    RETURNED = "RETURNED"
    TRANSFERRED = "TRANSFERRED"
    HELD = "HELD"
    RELEASED = "RELEASED"
    ALLOCATED = "ALLOCATED"
    DEALLOCATED = "DEALLOCATED"
    SOLD = "SOLD"


class CountDrops(Enum):
    """When a source's own count drops for an order of ours: what its next count already leaves out."""

    AT_ACCEPT = "AT_ACCEPT"
    AT_PICKUP = "AT_PICKUP"
    NEVER = "NEVER"


@dataclass(frozen=True, slots=True)
class StockLevel:
    """What anybody may know of a listing's stock. Never depends on who asks."""

    listing_id: UUID
    store_id: UUID
    state: StockState
    available: int | None  # null when untracked or where the store hides counts
    back_at: datetime | None
    stale: bool
    version: int
    as_of: datetime


@dataclass(frozen=True, slots=True)
class Counters:
    """One row of the levels, whole. Units of the variant."""

    listing_id: UUID
    store_id: UUID
    merchant_id: UUID
    tracked: bool
    off: bool  # switched off by an availability-only provider or by the merchant, until `back_at` if that is known
    back_at: datetime | None
    on_hand: int
    held: int
    allocated: int
    buffer: int
    low_at: int
    counts_hidden: bool
    stale: bool
    version: int
    as_of: datetime
    counted_at: datetime | None  # the moment the last count was taken
    source: str  # who said the count last

    @property
    def available(self) -> int:
        return 0 if self.off else max(0, self.on_hand - self.held - self.allocated - self.buffer)

    @property
    def level(self) -> StockLevel:
        """As the public sees it."""
        if self.tracked or self.off:
            units = self.available
            state = StockState.OUT_OF_STOCK if units == 0 else StockState.LOW if units <= self.low_at else StockState.IN_STOCK
        else:
            units, state = None, StockState.UNTRACKED
        return StockLevel(
            self.listing_id,
            self.store_id,
            state,
            None if self.counts_hidden else units,
            self.back_at,
            self.stale,
            self.version,
            self.as_of,
        )


@dataclass(frozen=True)
class StockChanged(Event):
    """Complete, so a feed sends it without reading it again. One for each version of a level."""

    level: StockLevel

    topic, stream = Topic.INVENTORY, "stock"

    @property
    def entity(self) -> UUID:
        return self.level.listing_id

    @property
    def seq(self) -> int:
        return self.level.version

    @property
    def concerns(self) -> Sequence[UUID]:
        return (self.level.store_id,)


# ---------------------------------------------------------------- promising units


@dataclass(frozen=True)
class HoldUnits:
    """All or none. Summed by listing: two cart lines of one listing are one entry."""

    quote_id: UUID
    units: Mapping[UUID, int]  # listing id -> units, at least 1
    expires_at: datetime
    replaces: UUID | None = None  # the customer's quote before, whose holds are given back under the same locks


@dataclass(frozen=True)
class Shortage:
    listing_id: UUID
    wanted: int
    available: int


@dataclass(frozen=True)
class NotEnoughStock(Refusal):
    code, kind = "NOT_ENOUGH_STOCK", Kind.CONFLICT
    short: Sequence[Shortage]


@dataclass(frozen=True)
class Move:
    """One line to be of the ledger: signed changes of a listing's counters, and why."""

    listing_id: UUID
    kind: StockMovementKind
    cause: str
    on_hand: int = 0
    held: int = 0
    allocated: int = 0
    order_id: UUID | None = None
    source_id: UUID | None = None
    source_at: datetime | None = None
    told: int | None = None  # of a delta: as it was said, where the shelf had not as many
    once: str | None = None  # of a delta: the source's own id of it


@dataclass(frozen=True)
class Sale:
    """What leaving the store did to one allocation: `missing` units were sold that nobody had counted."""

    listing_id: UUID
    units: int
    missing: int


class StockStore(Protocol):
    """Every method locks the levels it touches in id order, and writes the movement of each change."""

    async def lock(self, listing_ids: Iterable[UUID]) -> Mapping[UUID, Counters]: ...

    async def hold_units(self, command: HoldUnits) -> "Held":
        """Takes of each level that can give all; the others are `short`. An untracked one gives uncounted."""

    async def release_expired(self, listing_ids: Iterable[UUID]) -> Sequence[StockLevel]:
        """Gives back the holds of these listings whose time is over, by the database's clock."""

    async def release_quote(self, quote_id: UUID) -> Sequence[StockLevel]: ...

    async def held_by(self, quote_id: UUID) -> Mapping[UUID, int]: ...

    async def shortages(self, command: HoldUnits, listing_ids: Iterable[UUID]) -> Sequence[Shortage]: ...

    async def allocate(self, quote_id: UUID, orders: Mapping[UUID, UUID]) -> "Allocated":
        """The quote's live holds become allocations of `orders`: listing id -> order id, of all that the quote has held."""

    async def deallocate(self, order_ids: Sequence[UUID]) -> Sequence[StockLevel]:
        """These orders' units go back to whoever wants them. Nothing left to give back: nothing happens."""

    async def sell(self, order_id: UUID) -> tuple[Sequence[StockLevel], Sequence[Sale]]:
        """The order's units leave the store: allocated falls by the units, on_hand by as many as there are."""

    async def move(self, moves: Sequence[Move]) -> Sequence[StockLevel]:
        """Of levels already locked. One new version a listing, however many moves it has."""

    async def count_due(self, counts: Sequence["Count"]) -> Mapping[UUID, int]:
        """What each listing's on_hand is by this count: the count, less our sales it does not know, plus later deltas."""

    async def counted(self, counts: Sequence["Count"]) -> None:
        """Remembers when and by whom, of levels already locked."""

    async def recounted(self, counts: Sequence["Recount"]) -> None:
        """Whether they are counted, when and by whom, is as these say: of levels already locked."""

    async def at_risk(self, order_id: UUID) -> bool:
        """Whether units of this order are not there: counted are fewer than were promised to it and to older orders."""

    async def told_once(self, source_id: UUID, ids: Collection[str]) -> set[tuple[UUID, str]]:
        """(listing id, the source's own id) of those of its deltas that the ledger has. Of levels already locked."""

    async def may_change(self, listing_id: UUID, actor: Actor) -> bool: ...

    async def return_due(self, listing_ids: Iterable[UUID]) -> Sequence[StockLevel]:
        """On again, those that are still off and whose time has come."""

    async def switch(self, listing_ids: Iterable[UUID], *, off: bool, back_at: datetime | None) -> Sequence[StockLevel]:
        """Only those that change: on is on once. One that was in doubt is so no more."""

    async def doubt(self, listing_ids: Iterable[UUID], source_id: UUID) -> Sequence[StockLevel]:
        """Stale from now on, those that rest on this source's word and were not stale."""

    async def trust(self, listing_ids: Iterable[UUID]) -> None:
        """Stale no more, of levels already locked, whose next version is to tell of it."""


@dataclass(frozen=True)
class Held:
    changed: Sequence[StockLevel]
    taken: Mapping[UUID, int]  # listing id -> units
    short: frozenset[UUID]


@dataclass(frozen=True)
class Allocated:
    changed: Sequence[StockLevel]
    units: Mapping[UUID, int]  # listing id -> units whose hold was still good


def units_by_listing(lines: Iterable[tuple[UUID, int]]) -> dict[UUID, int]:
    """One sum a listing: two lines of three take six, once."""
    units: dict[UUID, int] = {}
    for listing_id, quantity in lines:
        units[listing_id] = units.get(listing_id, 0) + quantity
    return units


async def hold_units(command: HoldUnits, uow: "UnitOfWork") -> Mapping[UUID, int]:
    """Returns what is held, by listing: an untracked listing holds nothing. Refuses NotEnoughStock.

    Holds past their time do not stand in the way of a live one.
    """
    changed: list[StockLevel] = []
    if command.replaces and (before := await uow.stock.held_by(command.replaces)):
        await uow.stock.lock({*command.units, *before})  # all of them before any is changed: locks are taken in one order
        changed += await uow.stock.release_quote(command.replaces)
    held = await uow.stock.hold_units(command)
    taken, short = dict(held.taken), held.short
    changed += held.changed
    if short and (freed := await uow.stock.release_expired(short)):
        again = replace(command, units={listing_id: command.units[listing_id] for listing_id in short})
        held = await uow.stock.hold_units(again)
        changed += [*freed, *held.changed]
        taken, short = taken | dict(held.taken), held.short
    if short:
        raise Refused(NotEnoughStock("some of it is gone", await uow.stock.shortages(command, short)))
    await uow.events.add(*map(StockChanged, changed))
    return taken


async def release_expired(listing_ids: Iterable[UUID], uow: "UnitOfWork") -> None:
    """By the clock. Safe to repeat."""
    await uow.events.add(*map(StockChanged, await uow.stock.release_expired(listing_ids)))


async def return_due(listing_ids: Iterable[UUID], uow: "UnitOfWork") -> None:
    """By the clock: what somebody has put off meanwhile stays off. Safe to repeat."""
    await uow.events.add(*map(StockChanged, await uow.stock.return_due(listing_ids)))


async def release_quote(quote_id: UUID, uow: "UnitOfWork") -> None:
    """A quote given up. Safe to repeat."""
    await uow.events.add(*map(StockChanged, await uow.stock.release_quote(quote_id)))


async def give_back(order_ids: Sequence[UUID], uow: "UnitOfWork") -> None:
    """Orders that will not leave the store: all of a transaction in one call, so that locks keep their order. Safe to repeat."""
    await uow.events.add(*map(StockChanged, await uow.stock.deallocate(order_ids)))


async def sell(order_id: UUID, uow: "UnitOfWork") -> Sequence[Sale]:
    """The order's units leave the store. Returns the sales that found fewer units than were sold; safe to repeat."""
    changed, sales = await uow.stock.sell(order_id)
    await uow.events.add(*map(StockChanged, changed))
    return [sale for sale in sales if sale.missing]
