"""Conflicts decided by people: what a source claims is made so, by the command that would have done it, or is let be."""

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING
from uuid import UUID

from domain.conflicts import ConflictState, SourceConflict, moot, shown
from domain.counting import Count, Switch, apply_counts, apply_switches
from domain.identity import Actor
from domain.listings import PriceSet, apply_prices
from domain.merchants import SetStoreStatus, StoreStatus, say_status
from domain.refusals import Conflict, Refused, invalid, not_found
from domain.truth import Field

if TYPE_CHECKING:
    from domain.unit_of_work import UnitOfWork


class Resolution(Enum):
    TAKE_THEIRS = "TAKE_THEIRS"
    DISMISS = "DISMISS"


@dataclass(frozen=True)
class ResolveConflict:
    id: UUID
    resolution: Resolution


_ENDS = {Resolution.TAKE_THEIRS: ConflictState.TAKEN, Resolution.DISMISS: ConflictState.DISMISSED}
_FROM = {
    Resolution.TAKE_THEIRS: (ConflictState.OPEN, ConflictState.DISMISSED),
    Resolution.DISMISS: (ConflictState.OPEN,),
}


async def resolve_conflict(command: ResolveConflict, actor: Actor, uow: "UnitOfWork") -> None:
    """For owners, managers and support. Whoever is believed goes on being so: their next word stands again. Safe to repeat.

    Refuses NotFound; Conflict where it was decided otherwise, or something else was claimed meanwhile; InvalidInput where what is
    claimed cannot be so.
    """
    seen = await uow.conflicts.find(command.id, actor)
    if seen is None:
        raise not_found("conflict")
    ends = _ENDS[command.resolution]
    if seen.state is ends:
        return
    if seen.state not in _FROM[command.resolution]:
        raise Refused(Conflict(f"it is {seen.state.value} already"))
    await uow.truth.hold_of_store(seen.store_id)
    if command.resolution is Resolution.TAKE_THEIRS:
        dashboard = await _take(seen, actor, uow)
        await uow.truth.heard(dashboard, seen.field, seen.entity_id)
    if (await uow.conflicts.lock(seen)).version != seen.version:
        raise Refused(Conflict("something else was claimed meanwhile"))
    await uow.conflicts.end([seen.id], ends)
    if command.resolution is Resolution.TAKE_THEIRS:
        await moot(seen.field, [seen.entity_id], uow)  # of others that claim the same
    detail = f"{command.resolution.value} {seen.field.value}: {shown(seen.field, seen.claimed)}"
    await uow.audit.write(actor, "resolveConflict", seen.entity_id, seen.merchant_id, detail)


async def _take(seen: SourceConflict, actor: Actor, uow: "UnitOfWork") -> UUID:
    """By the dashboard, which is returned. Whoever works by hand locks what it is about before they ask for the dashboard: a
    merchant's first word by hand makes it, and the next waits for that."""
    claim, now = seen.claimed, await uow.now()
    lasts = claim.until is None or claim.until > now
    match seen.field:
        case Field.STOCK:
            assert claim.units is not None
            await uow.stock.lock([seen.entity_id])
            dashboard = await uow.truth.dashboard(seen.merchant_id)
            # As of when it was counted: what was sold since then is not there any more.
            count = Count(seen.entity_id, claim.units, seen.said_at, str(actor), f"source:{dashboard}", seen.source_id, seen.drops)
            await apply_counts([count], uow)
            return dashboard
        case Field.AVAILABILITY:
            off = not claim.available and lasts
            await apply_switches([Switch(seen.entity_id, off, str(actor), claim.until if off else None)], uow)
        case Field.PRICE:
            assert claim.price_minor is not None
            listing = (await uow.listings.lock([seen.entity_id]))[seen.entity_id]
            if claim.currency not in (None, listing.currency):
                raise invalid("id", f"it claims a price in {claim.currency}, and the store sells in {listing.currency}")
            told = PriceSet(seen.entity_id, claim.price_minor, claim.mrp_minor, str(actor), claim.packaging_minor)
            await apply_prices([told], uow)
        case Field.STATUS:
            told_of = SetStoreStatus(
                seen.store_id,
                StoreStatus(claim.status) if lasts else StoreStatus.OPEN,
                claim.until if lasts else None,
                claim.reason if lasts else None,
            )
            locked = (await uow.merchants.lock_stores([seen.store_id], actor)).get(seen.store_id)
            if locked is None:
                raise not_found("store")
            await say_status(told_of, locked.store, actor, uow)
    return await uow.truth.dashboard(seen.merchant_id)
