"""What a listing can still promise, and who holds it."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from enum import Enum
from typing import TYPE_CHECKING, Protocol
from uuid import UUID

from domain.events import Event, Topic
from domain.idempotency import claim
from domain.identity import Actor
from domain.refusals import Conflict, Kind, Refusal, Refused, invalid, not_found

if TYPE_CHECKING:
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

    async def at_risk(self, order_id: UUID) -> bool:
        """Whether units of this order are not there: counted are fewer than were promised to it and to older orders."""

    async def may_change(self, listing_id: UUID, actor: Actor) -> bool: ...

    async def return_due(self, listing_ids: Iterable[UUID]) -> Sequence[StockLevel]:
        """On again, those that are still off and whose time has come."""

    async def switch(self, listing_ids: Iterable[UUID], *, off: bool, back_at: datetime | None) -> Sequence[StockLevel]:
        """Only those that change: on is on once."""


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


# ---------------------------------------------------------------- what others tell of it


@dataclass(frozen=True)
class Count:
    """An absolute count of a listing, taken at `at`."""

    listing_id: UUID
    units: int
    at: datetime
    cause: str
    said_by: str  # "source:0197…", "merchant:0197…"
    source_id: UUID | None = None
    drops: CountDrops = CountDrops.AT_PICKUP


@dataclass(frozen=True)
class Delta:
    """So many units more (or fewer) of a listing, as of `at`. Whoever calls sees to it that it comes once."""

    listing_id: UUID
    units: int
    at: datetime
    kind: StockMovementKind
    cause: str
    source_id: UUID | None = None


@dataclass(frozen=True)
class Switch:
    """Availability alone: off, until `back_at` where that is known, or on again."""

    listing_id: UUID
    off: bool
    cause: str
    back_at: datetime | None = None


UNITS_LIMIT = 1_000_000_000


def check_units(path: str, units: int, *, least: int = 0) -> None:
    """Refuses InvalidInput. Above the limit somebody has mistaken the unit."""
    if not least <= units <= UNITS_LIMIT:
        raise invalid(path, f"must be from {least} to {UNITS_LIMIT}")


def _causes(told: Iterable[Count | Delta | Switch]) -> dict[UUID, str]:
    return {one.listing_id: one.cause for one in told}


async def apply_counts(counts: Sequence[Count], uow: "UnitOfWork") -> None:
    """At most one count a listing. A listing that was sold uncounted is counted from now on.

    Sets `on_hand` to what was counted, less those sales of ours the count does not know of, plus that source's
    deltas since. Equal counts change nothing. Refuses InvalidInput for more than any shelf holds.
    """
    for count in counts:
        check_units("quantity", count.units, least=-UNITS_LIMIT)
    levels = await uow.stock.lock(count.listing_id for count in counts)
    due = await uow.stock.count_due(counts)
    for units in due.values():
        check_units("quantity", units)
    moves = [
        Move(
            count.listing_id,
            StockMovementKind.COUNTED,
            count.cause,
            on_hand=due[count.listing_id] - level.on_hand,
            source_id=count.source_id,
            source_at=count.at,
        )
        for count in counts
        if (level := levels.get(count.listing_id)) and (due[count.listing_id] != level.on_hand or not level.tracked)
    ]
    await uow.stock.counted(counts)
    await uow.events.add(*map(StockChanged, await uow.stock.move(moves)), causes=_causes(counts))


async def apply_deltas(deltas: Sequence[Delta], uow: "UnitOfWork") -> None:
    """One dated before the listing's last count is in that count already: it is written down and changes nothing.

    Never below nothing: what a delta takes beyond `on_hand` waits for the count it came before, which will know of it.
    Refuses InvalidInput for more than any shelf holds.
    """
    levels = await uow.stock.lock(delta.listing_id for delta in deltas)
    left = {listing_id: level.on_hand for listing_id, level in levels.items()}
    moves = []
    for delta in deltas:
        level = levels.get(delta.listing_id)
        if level is None:
            continue
        check_units("quantity", delta.units, least=-UNITS_LIMIT)
        counted = level.counted_at is not None and delta.at <= level.counted_at
        units = 0 if counted else max(delta.units, -left[delta.listing_id])
        left[delta.listing_id] += units
        check_units("quantity", left[delta.listing_id])
        cause = f"{delta.cause} (counted already)" if counted else delta.cause
        moves.append(
            Move(
                delta.listing_id, delta.kind, cause, on_hand=units, source_id=delta.source_id, source_at=delta.at, told=delta.units
            )
        )  # fmt: skip
    await uow.events.add(*map(StockChanged, await uow.stock.move(moves)), causes=_causes(deltas))


async def apply_switches(switches: Sequence[Switch], uow: "UnitOfWork") -> None:
    """On or off beside the counters. The last word for a listing counts."""
    last = {switch.listing_id: switch for switch in switches}
    groups: dict[tuple[bool, datetime | None], list[UUID]] = {}
    for switch in last.values():
        groups.setdefault((switch.off, switch.back_at if switch.off else None), []).append(switch.listing_id)
    await uow.stock.lock(last)  # all of them first: two groups must not take their locks in turn
    for (off, back_at), listing_ids in groups.items():
        await uow.events.add(
            *map(StockChanged, await uow.stock.switch(listing_ids, off=off, back_at=back_at)), causes=_causes(switches)
        )


# ---------------------------------------------------------------- by hand


@dataclass(frozen=True)
class SetStock:
    listing_id: UUID
    on_hand: int
    if_version: int | None


@dataclass(frozen=True)
class AdjustStock:
    listing_id: UUID
    units: int
    note: str
    idempotency_key: str


async def set_stock(command: SetStock, actor: Actor, uow: "UnitOfWork") -> None:
    """A count taken now, by hand. Refuses NotFound, InvalidInput, and Conflict where `if_version` is not the level's."""
    check_units("onHand", command.on_hand)
    if not await uow.stock.may_change(command.listing_id, actor):
        raise not_found("listing")
    level = (await uow.stock.lock([command.listing_id]))[command.listing_id]
    if command.if_version is not None and command.if_version != level.version:
        raise Refused(Conflict(f"the level is at version {level.version}"))
    count = Count(command.listing_id, command.on_hand, await uow.now(), str(actor), str(actor))
    await apply_counts([count], uow)
    await uow.audit.write(actor, "setStock", command.listing_id, level.merchant_id, f"{level.on_hand} -> {command.on_hand}")


async def adjust_stock(command: AdjustStock, actor: Actor, uow: "UnitOfWork") -> None:
    """So many more or fewer, once a key. Refuses NotFound, InvalidInput, KeyReused."""
    check_units("units", command.units, least=-UNITS_LIMIT)
    if not 1 <= len(command.note.strip()) <= 500:
        raise invalid("note", "say why, in at most 500 characters")
    if not await uow.stock.may_change(command.listing_id, actor):
        raise not_found("listing")
    request = (command.listing_id, command.units, command.note)
    if not (await claim(actor, "adjustStock", command.idempotency_key, request, command.listing_id, uow)).first:
        return
    level = (await uow.stock.lock([command.listing_id]))[command.listing_id]
    check_units("units", level.on_hand + command.units, least=-UNITS_LIMIT)  # of what there will be
    kind = StockMovementKind.ADJUSTED
    delta = Delta(command.listing_id, command.units, await uow.now(), kind, f"{actor}: {command.note.strip()}")
    await apply_deltas([delta], uow)
    await uow.audit.write(actor, "adjustStock", command.listing_id, level.merchant_id, f"{command.units:+}: {command.note.strip()}")
