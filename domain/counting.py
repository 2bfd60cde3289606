"""What is on the shelves, as sources, people and imports tell it: counts, deltas, and what is switched on or off."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import TYPE_CHECKING
from uuid import UUID

from domain.befores import Family, Was, differences, instructed, remember
from domain.conflicts import told_by_hand
from domain.idempotency import claim
from domain.identity import Actor
from domain.refusals import Conflict, Refused, invalid, not_found
from domain.stock import CountDrops, Counters, Move, StockChanged, StockMovementKind
from domain.truth import Field, by_hand

if TYPE_CHECKING:
    from domain.unit_of_work import UnitOfWork


@dataclass(frozen=True)
class Count:
    """An absolute count of a listing, taken at `at`."""

    listing_id: UUID
    units: int
    at: datetime
    cause: str
    said_by: str  # "source:0197…": by hand, the merchant's dashboard
    source_id: UUID | None = None
    drops: CountDrops = CountDrops.AT_PICKUP


@dataclass(frozen=True)
class Delta:
    """So many units more (or fewer) of a listing, as of `at`. Whoever calls sees to it that it comes once; the ledger takes
    no second one of the same source, listing and `once`."""

    listing_id: UUID
    units: int
    at: datetime
    kind: StockMovementKind
    cause: str
    source_id: UUID | None = None
    once: str | None = None


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
    deltas since. Equal counts change nothing, but that a stale level is fresh. Refuses InvalidInput for more than any shelf holds.
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
        if (level := levels.get(count.listing_id)) and (due[count.listing_id] != level.on_hand or not level.tracked or level.stale)
    ]
    moved = {move.listing_id for move in moves}
    for count in counts:
        if count.listing_id in moved and instructed(count.cause):
            remember(uow, count.cause, _count_was(levels[count.listing_id], due[count.listing_id], count))
    await uow.stock.counted(counts)
    await uow.events.add(*map(StockChanged, await uow.stock.move(moves)), causes=_causes(counts))


def _count_was(level: Counters, units: int, count: Count) -> Iterable[Was]:
    """What was only in doubt, and is as it was, has not changed."""
    if level.tracked and level.on_hand == units:
        return ()
    counted_at = count.at if level.counted_at is None else max(level.counted_at, count.at)
    after = replace(level, on_hand=units, tracked=True, counted_at=counted_at, source=count.said_by)
    return differences(Family.COUNT, level.listing_id, level.version + 1, level, after)


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
        before = replace(level, on_hand=left[delta.listing_id])
        left[delta.listing_id] += units
        check_units("quantity", left[delta.listing_id])
        if units and instructed(delta.cause):
            after = replace(level, on_hand=left[delta.listing_id])
            remember(uow, delta.cause, differences(Family.COUNT, level.listing_id, level.version + 1, before, after))
        cause = f"{delta.cause} (counted already)" if counted else delta.cause
        moves.append(
            Move(
                delta.listing_id, delta.kind, cause, on_hand=units,
                source_id=delta.source_id, source_at=delta.at, told=delta.units, once=delta.once,
            )
        )  # fmt: skip
    fresh = [move.listing_id for move in moves if move.source_id is not None and levels[move.listing_id].stale]
    if fresh:
        await uow.stock.trust(fresh)
    await uow.events.add(*map(StockChanged, await uow.stock.move(moves)), causes=_causes(deltas))


async def apply_switches(switches: Sequence[Switch], uow: "UnitOfWork") -> None:
    """On or off beside the counters. The last word for a listing counts."""
    last = {switch.listing_id: switch for switch in switches}
    groups: dict[tuple[bool, datetime | None], list[UUID]] = {}
    for switch in last.values():
        groups.setdefault((switch.off, switch.back_at if switch.off else None), []).append(switch.listing_id)
    levels = await uow.stock.lock(last)  # all of them first: two groups must not take their locks in turn
    for switch in last.values():
        if (level := levels.get(switch.listing_id)) and instructed(switch.cause):
            after = replace(level, off=switch.off, back_at=switch.back_at if switch.off else None)
            remember(uow, switch.cause, differences(Family.SWITCH, level.listing_id, level.version + 1, level, after))
    for (off, back_at), listing_ids in groups.items():
        await uow.events.add(
            *map(StockChanged, await uow.stock.switch(listing_ids, off=off, back_at=back_at)), causes=_causes(switches)
        )


# ---------------------------------------------------------------- as it was


@dataclass(frozen=True)
class Recount:
    """A level's count as it was before: how many there were, and when and by whom they had been counted, if they had.

    `changes` are the movements that made it otherwise, where they were a source's changes and nothing else.
    """

    listing_id: UUID
    on_hand: int
    tracked: bool
    counted_at: datetime | None
    source: str
    changes: Sequence[Move] = ()


async def put_back_counts(counts: Sequence[Recount], cause: str, uow: "UnitOfWork") -> None:
    """Of levels whose counters nobody has moved since: that is for the caller to have seen, under their locks."""
    levels = await uow.stock.lock(count.listing_id for count in counts)
    moves = [move for count in counts for move in _moves_back(count, count.on_hand - levels[count.listing_id].on_hand, cause)]
    await uow.stock.recounted(counts)
    await uow.events.add(*map(StockChanged, await uow.stock.move(moves)), causes={count.listing_id: cause for count in counts})


def _moves_back(count: Recount, units: int, cause: str) -> list[Move]:
    """What a source has changed it changes back, as of then: a count that was taken before and comes later knows of neither."""
    if not count.changes or units != -sum(one.on_hand for one in count.changes):
        return [Move(count.listing_id, StockMovementKind.ADJUSTED, cause, on_hand=units)]
    return [
        Move(
            count.listing_id, StockMovementKind.ADJUSTED, cause, on_hand=-one.on_hand,
            source_id=one.source_id, source_at=one.source_at, told=-(one.on_hand if one.told is None else one.told),
        )
        for one in count.changes
    ]  # fmt: skip


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
    """A count taken now, by hand.

    Refuses NotFound, InvalidInput, NotSourceOfTruth, and Conflict where `if_version` is not the level's.
    """
    check_units("onHand", command.on_hand)
    await uow.truth.hold_of_listing(command.listing_id)
    if not await uow.stock.may_change(command.listing_id, actor):
        raise not_found("listing")
    level = (await uow.stock.lock([command.listing_id]))[command.listing_id]
    dashboard = await by_hand(Field.STOCK, level.store_id, level.merchant_id, uow)
    if command.if_version is not None and command.if_version != level.version:
        raise Refused(Conflict(f"the level is at version {level.version}"))
    count = Count(command.listing_id, command.on_hand, await uow.now(), str(actor), f"source:{dashboard}", dashboard)
    await apply_counts([count], uow)
    await told_by_hand(Field.STOCK, command.listing_id, dashboard, uow)
    await uow.audit.write(actor, "setStock", command.listing_id, level.merchant_id, f"{level.on_hand} -> {command.on_hand}")


async def adjust_stock(command: AdjustStock, actor: Actor, uow: "UnitOfWork") -> None:
    """So many more or fewer, once a key. Refuses NotFound, InvalidInput, NotSourceOfTruth, KeyReused."""
    check_units("units", command.units, least=-UNITS_LIMIT)
    if not 1 <= len(command.note.strip()) <= 500:
        raise invalid("note", "say why, in at most 500 characters")
    await uow.truth.hold_of_listing(command.listing_id)
    if not await uow.stock.may_change(command.listing_id, actor):
        raise not_found("listing")
    request = (command.listing_id, command.units, command.note)
    if not (await claim(actor, "adjustStock", command.idempotency_key, request, command.listing_id, uow)).first:
        return
    level = (await uow.stock.lock([command.listing_id]))[command.listing_id]
    await by_hand(Field.STOCK, level.store_id, level.merchant_id, uow)
    check_units("units", level.on_hand + command.units, least=-UNITS_LIMIT)  # of what there will be
    kind = StockMovementKind.ADJUSTED
    delta = Delta(command.listing_id, command.units, await uow.now(), kind, f"{actor}: {command.note.strip()}")
    await apply_deltas([delta], uow)
    await uow.audit.write(actor, "adjustStock", command.listing_id, level.merchant_id, f"{command.units:+}: {command.note.strip()}")
