"""Choices of a menu that are off for a while: an add-on that has run out."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import TYPE_CHECKING, Protocol
from uuid import UUID

from domain.catalog import ListingChanged

if TYPE_CHECKING:
    from domain.unit_of_work import UnitOfWork


@dataclass(frozen=True)
class ChoiceSwitch:
    """A choice by the id its source gave it; it may be in several groups of the store."""

    store_id: UUID
    external_id: str
    off: bool
    back_at: datetime | None
    cause: str


class ChoiceStore(Protocol):
    async def known(self, choices: Collection[tuple[UUID, str]]) -> Collection[tuple[UUID, str]]:
        """Those (store id, external id) that are there."""

    async def switch(self, switches: Sequence[ChoiceSwitch]) -> Mapping[UUID, str]:
        """Only those that change. Returns the listings that offer them, each with the cause."""

    async def due_back(self, limit: int) -> Sequence[ChoiceSwitch]:
        """Those whose time to return has come, to be switched on."""


async def switch_choices(switches: Sequence[ChoiceSwitch], uow: "UnitOfWork") -> None:
    """A listing with other choices than before has changed. The same again changes nothing."""
    await uow.catalog.lock_merchants_of({switch.store_id for switch in switches}, ())
    await uow.catalog.lock_stores({switch.store_id for switch in switches})
    touched = await uow.choices.switch(switches)
    locked = await uow.catalog.lock_listings(touched.keys())
    grown = [replace(listing, version=listing.version + 1) for listing in locked.values()]
    await uow.catalog.change_listings(grown)
    await uow.events.add(*map(ListingChanged, grown), causes=touched)


async def return_choices(uow: "UnitOfWork", limit: int = 100) -> int:
    """The clock's: what was off until now is on again. Returns how many. Safe to repeat."""
    due = await uow.choices.due_back(limit)
    if due:
        await switch_choices(due, uow)
    return len(due)
