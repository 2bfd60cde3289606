"""The choices a store's listings are offered with: groups of add-ons, and one of them that is off for a while."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import TYPE_CHECKING, Protocol
from uuid import UUID

from domain.befores import Part, Was, remember
from domain.catalog import Place
from domain.listings import Listing, ListingChanged
from domain.money import LIMIT_MINOR
from domain.refusals import Problem, not_found, refuse

if TYPE_CHECKING:
    from domain.unit_of_work import UnitOfWork


@dataclass(frozen=True)
class UpsertedModifier:
    external_id: str
    name: str
    price_minor: int = 0
    active: bool = True
    rank: int = 0


@dataclass(frozen=True)
class UpsertedGroup:
    """A store's group, whole: an option it does not name is offered no more."""

    store_id: UUID
    external_id: str
    name: str
    modifiers: Sequence[UpsertedModifier]
    cause: str = ""


@dataclass(frozen=True)
class OfferedGroup:
    external_id: str
    min: int
    max: int
    rank: int = 0


@dataclass(frozen=True)
class OfferedGroups:
    """The groups a listing is offered with, whole."""

    listing_id: UUID
    groups: Sequence[OfferedGroup]
    cause: str = ""


@dataclass(frozen=True)
class ChoiceSwitch:
    """A choice by the id its source gave it; it may be in several groups of the store."""

    store_id: UUID
    external_id: str
    off: bool
    back_at: datetime | None
    cause: str


class ChoiceStore(Protocol):
    async def save_groups(self, groups: Sequence[UpsertedGroup], places: Mapping[UUID, Place]) -> Mapping[UUID, UUID]:
        """Returns the listings whose choices have changed by it, and the store of each."""

    async def offer_groups(self, offers: Sequence[OfferedGroups]) -> Collection[UUID]:
        """Of listings already locked. Returns those whose groups have changed by it."""

    async def known(self, choices: Collection[tuple[UUID, str]]) -> Collection[tuple[UUID, str]]:
        """Those (store id, external id) that are there."""

    async def mapped(self, source_id: UUID, external_ids: Collection[str]) -> Mapping[str, str]:
        """What the menus call those of the source's ids that somebody has mapped."""

    async def switch(self, switches: Sequence[ChoiceSwitch]) -> Mapping[UUID, str]:
        """Only those that change. Returns the listings that offer them, each with the cause."""

    async def due_back(self, limit: int) -> Sequence[ChoiceSwitch]:
        """Those whose time to return has come, to be switched on."""


async def apply_modifier_groups(groups: Sequence[UpsertedGroup], offers: Sequence[OfferedGroups], uow: "UnitOfWork") -> None:
    """The groups first, then which listing is offered with which. A listing with other choices than before has changed.

    Refuses NotFound for a store, a listing or a group that is not there, InvalidInput for numbers that cannot be.
    """
    refuse(
        [
            Problem(f"{place}.groups.{index}", "min is above max, or below none")
            for place, offer in enumerate(offers)
            for index, group in enumerate(offer.groups)
            if not 0 <= group.min <= group.max
        ]
        + [
            Problem(f"{place}.modifiers.{index}.price", "is out of range")
            for place, group in enumerate(groups)
            for index, one in enumerate(group.modifiers)
            if not 0 <= one.price_minor <= LIMIT_MINOR
        ]
    )
    await uow.catalog.lock_merchants_of({group.store_id for group in groups}, {offer.listing_id for offer in offers})
    places = await uow.catalog.lock_stores({group.store_id for group in groups})
    if len(places) != len({group.store_id for group in groups}):
        raise not_found("store")
    touched = await uow.choices.save_groups(groups, places)
    locked = await uow.listings.lock({offer.listing_id for offer in offers} | touched.keys())
    if any(offer.listing_id not in locked for offer in offers):
        raise not_found("listing")
    changed = {*touched, *await uow.choices.offer_groups(offers)}
    grown = [replace(listing, version=listing.version + 1) for id, listing in locked.items() if id in changed]
    await uow.listings.change(grown, None)
    causes = {offer.listing_id: offer.cause for offer in offers}
    by_store = {group.store_id: group.cause for group in groups}
    causes |= {id: by_store.get(store_id, "") for id, store_id in touched.items() if id not in causes}
    _remember(grown, causes, uow)
    await uow.events.add(*map(ListingChanged, grown), causes=causes)


async def switch_choices(switches: Sequence[ChoiceSwitch], uow: "UnitOfWork") -> None:
    """A listing with other choices than before has changed. The same again changes nothing."""
    await uow.catalog.lock_merchants_of({switch.store_id for switch in switches}, ())
    await uow.catalog.lock_stores({switch.store_id for switch in switches})
    touched = await uow.choices.switch(switches)
    locked = await uow.listings.lock(touched.keys())
    grown = [replace(listing, version=listing.version + 1) for listing in locked.values()]
    await uow.listings.change(grown, None)
    _remember(grown, touched, uow)
    await uow.events.add(*map(ListingChanged, grown), causes=touched)


def _remember(changed: Sequence[Listing], causes: Mapping[UUID, str], uow: "UnitOfWork") -> None:
    """That they are otherwise, and no more: a menu is whole, and put right by sending it again."""
    for listing in changed:
        remember(uow, causes.get(listing.id), [Was(Part.CHOICES, listing.id, listing.version, (), ())])


async def return_choices(uow: "UnitOfWork", limit: int = 100) -> int:
    """The clock's: what was off until now is on again. Returns how many. Safe to repeat."""
    due = await uow.choices.due_back(limit)
    if due:
        await switch_choices(due, uow)
    return len(due)
