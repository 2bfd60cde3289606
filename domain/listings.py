"""Listings: a variant as one store sells it, at its price.

What sources tell of them is absolute, as catalog.py has it.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import TYPE_CHECKING, Any, Protocol
from uuid import UUID

from domain.befores import Family, Part, Was, differences, instructed, remember
from domain.catalog import Place, Variant
from domain.conflicts import told_by_hand
from domain.events import Event, Topic
from domain.identity import Actor, MerchantRole, check_merchant_role
from domain.money import LIMIT_MINOR, Money
from domain.pricing import Tax
from domain.refusals import InvalidInput, Problem, Refused, not_found, refuse
from domain.truth import Field, by_hand

if TYPE_CHECKING:
    from domain.unit_of_work import UnitOfWork


@dataclass(frozen=True, slots=True)
class Listing:
    id: UUID
    merchant_id: UUID
    store_id: UUID
    product_id: UUID
    variant_id: UUID
    price_minor: int
    mrp_minor: int | None
    packaging_minor: int
    currency: str
    active: bool
    max_per_order: int | None
    version: int
    taxes: tuple[Tax, ...] | None = None  # as its source tells them, None: it has never


@dataclass(frozen=True)
class ListingChanged(Event):
    """A new listing, or one that is sold otherwise than before: shown or hidden, with other choices, at most so many."""

    listing: Listing

    topic, stream = Topic.CATALOG, "listing"

    @property
    def entity(self) -> UUID:
        return self.listing.id

    @property
    def seq(self) -> int:
        return self.listing.version

    @property
    def concerns(self) -> Sequence[UUID]:
        return (self.listing.store_id, self.listing.product_id)


@dataclass(frozen=True)
class PriceChanged(Event):
    """The price, or the MRP it is compared with, and nothing else of a listing."""

    listing_id: UUID
    store_id: UUID
    merchant_id: UUID
    product_id: UUID
    version: int
    price: Money
    mrp: Money | None

    topic, stream = Topic.PRICING, "listing"

    @property
    def entity(self) -> UUID:
        return self.listing_id

    @property
    def seq(self) -> int:
        return self.version

    @property
    def concerns(self) -> Sequence[UUID]:
        return (self.store_id, self.product_id)


# ---------------------------------------------------------------- what is told of it


@dataclass(frozen=True)
class UpsertedListing:
    """A variant in a store. One that is not listed yet and is told without a price is passed over."""

    store_id: UUID
    variant_id: UUID
    price_minor: int | None = None
    mrp_minor: int | None = None
    packaging_minor: int | None = None
    currency: str | None = None
    active: bool | None = None
    max_per_order: int | None = None
    cause: str = ""
    taxes: tuple[Tax, ...] | None = None
    told_at: datetime | None = None  # when it came, where that is not now


@dataclass(frozen=True)
class PriceSet:
    listing_id: UUID
    price_minor: int
    mrp_minor: int | None = None
    cause: str = ""
    packaging_minor: int | None = None


@dataclass(frozen=True)
class SetPrice:
    listing_id: UUID
    price_minor: int


# ---------------------------------------------------------------- the port


class ListingStore(Protocol):
    """Locks are taken in id order, after merchants, stores and products."""

    async def lock(self, listing_ids: Collection[UUID], actor: Actor | None = None) -> Mapping[UUID, Listing]:
        """With an actor: those it may act for."""

    async def lock_listed(self, places: Collection[tuple[UUID, UUID]]) -> Mapping[tuple[UUID, UUID], Listing]:
        """By store and variant."""

    async def lock_not_among(
        self, store_id: UUID, keep: Collection[UUID], among: Collection[UUID] | None, told_before: datetime
    ) -> Sequence[Listing]:
        """The store's active listings besides those kept."""

    async def add(self, listings: Sequence[Listing], told: Mapping[UUID, datetime]) -> None:
        """Each with its stock level: uncounted, at version 0, so that the first change of it is the first event. `told` says when
        the word of one came, where that is not now."""

    async def change(self, listings: Sequence[Listing], told: Mapping[UUID, datetime] | None) -> None:
        """Of listings already locked. `told` as above; None: nobody has said that they are there."""

    async def touch(self, listing_ids: Collection[UUID], told: Mapping[UUID, datetime]) -> None:
        """They were told of again, and nothing has changed."""


# ---------------------------------------------------------------- applying it


async def apply_listings(items: Sequence[UpsertedListing], uow: "UnitOfWork") -> list[UUID | None]:
    """Their ids, in the order told; None of one that was passed over. A change of prices alone is a PriceChanged.

    Refuses NotFound for a store or a variant that is not there, or not of one merchant; InvalidInput for a price that is
    above the MRP or out of range, and for another currency than the store's.
    """
    variants = await uow.catalog.variants({item.variant_id for item in items})
    await uow.catalog.lock_merchants({variant.merchant_id for variant in variants.values()})
    places = await uow.catalog.lock_stores({item.store_id for item in items})
    locked = await uow.listings.lock_listed({(item.store_id, item.variant_id) for item in items})
    ids: list[UUID | None] = []
    now, problems, causes = dict(locked), [], {}
    told: dict[UUID, datetime] = {}
    for index, item in enumerate(items):
        store, variant, key = places.get(item.store_id), variants.get(item.variant_id), (item.store_id, item.variant_id)
        if store is None or variant is None or store.merchant_id != variant.merchant_id:
            raise not_found("store" if store is None else "variant")
        if item.currency is not None and item.currency != store.currency:
            problems.append(Problem(f"{index}.currency", f"the store sells in {store.currency}"))
            continue
        after = _listing(item, now.get(key), store, variant, uow)
        if after is None:
            ids.append(None)
            continue
        problems += _price_problems(index, after)
        now[key], causes[after.id] = after, item.cause
        if item.told_at is not None:
            told[after.id] = max(item.told_at, told.get(after.id, item.told_at))
        ids.append(after.id)
    refuse(problems)
    before = {listing.id: listing for listing in locked.values()}
    await _save([listing for listing in now.values() if listing.id not in before], now.values(), before, causes, uow, told)
    return ids


def _listing(item: UpsertedListing, before: Listing | None, store: Place, variant: Variant, uow: "UnitOfWork") -> Listing | None:
    if before is None:
        if item.price_minor is None:
            return None
        return Listing(
            uow.new_id(), store.merchant_id, store.id, variant.product_id, variant.id, item.price_minor, item.mrp_minor,
            item.packaging_minor or 0, store.currency, item.active is not False, item.max_per_order, 1, item.taxes,
        )  # fmt: skip
    return replace(
        before,
        product_id=variant.product_id,
        price_minor=before.price_minor if item.price_minor is None else item.price_minor,
        mrp_minor=before.mrp_minor if item.mrp_minor is None else item.mrp_minor,
        packaging_minor=before.packaging_minor if item.packaging_minor is None else item.packaging_minor,
        active=before.active if item.active is None else item.active,
        max_per_order=before.max_per_order if item.max_per_order is None else item.max_per_order,
        taxes=before.taxes if item.taxes is None else item.taxes,
    )


def _price_problems(index: int, listing: Listing) -> list[Problem]:
    if not 0 <= listing.price_minor <= LIMIT_MINOR or not 0 <= listing.packaging_minor <= LIMIT_MINOR:
        return [Problem(f"{index}.price", "is out of range")]
    if listing.mrp_minor is not None and listing.price_minor > listing.mrp_minor:
        return [Problem(f"{index}.price", f"is above the MRP of {Money(listing.mrp_minor, listing.currency).amount}")]
    return []


async def _save(
    added: Sequence[Listing],
    now: Collection[Listing],
    before: Mapping[UUID, Listing],
    causes: Mapping[UUID, str],
    uow: "UnitOfWork",
    told: Mapping[UUID, datetime],
) -> None:
    """What has changed, each with its event. What has not was told of again."""
    changed = [
        replace(listing, version=listing.version + 1) for listing in now if listing.id in before and listing != before[listing.id]
    ]
    for listing in changed:
        if instructed(cause := causes.get(listing.id)):
            was = differences(Family.LISTING, listing.id, listing.version, before[listing.id], listing)
            remember(uow, cause, was)
    for listing in added:  # what was not there was not shown; it stays, and is hidden
        if listing.active:
            remember(uow, causes.get(listing.id), [Was(Part.SHOWN, listing.id, listing.version, (False,), (True,))])
    await uow.listings.add(added, told)
    await uow.listings.change(changed, told)
    await uow.listings.touch(before.keys() - {listing.id for listing in changed}, told)
    await uow.events.add(*map(ListingChanged, added), *(_told(listing, before[listing.id]) for listing in changed), causes=causes)


def _told(listing: Listing, before: Listing) -> ListingChanged | PriceChanged:
    rest = replace(listing, price_minor=before.price_minor, mrp_minor=before.mrp_minor, version=before.version)
    if rest != before:
        return ListingChanged(listing)
    return PriceChanged(
        listing.id,
        listing.store_id,
        listing.merchant_id,
        listing.product_id,
        listing.version,
        Money(listing.price_minor, listing.currency),
        None if listing.mrp_minor is None else Money(listing.mrp_minor, listing.currency),
    )


async def apply_prices(items: Sequence[PriceSet], uow: "UnitOfWork") -> None:
    """Of listings there are: others are passed over. An equal price changes nothing. Refuses InvalidInput."""
    before = await uow.listings.lock({item.listing_id for item in items})
    now, problems = dict(before), []
    for index, item in enumerate(items):
        if (listing := now.get(item.listing_id)) is None:
            continue
        mrp_minor = listing.mrp_minor if item.mrp_minor is None else item.mrp_minor
        packaging_minor = listing.packaging_minor if item.packaging_minor is None else item.packaging_minor
        now[listing.id] = replace(listing, price_minor=item.price_minor, mrp_minor=mrp_minor, packaging_minor=packaging_minor)
        problems += _price_problems(index, now[listing.id])
    refuse(problems)
    await _save((), now.values(), before, {item.listing_id: item.cause for item in items}, uow, {})


async def deactivate_missing(
    store_id: UUID,
    keep: Collection[UUID],
    told_before: datetime,
    uow: "UnitOfWork",
    *,
    among: Collection[UUID] | None = None,
    cause: str = "",
) -> list[UUID]:
    """Sold no more: the store's active listings besides those kept, and besides what was told of since `told_before`: by its
    source, as we received it.

    With `among`: of these alone. Returns which. Safe to repeat.
    """
    await uow.catalog.lock_merchants_of([store_id], ())
    gone = await uow.listings.lock_not_among(store_id, keep, among, told_before)
    off = [replace(listing, active=False, version=listing.version + 1) for listing in gone]
    # As old as the push: one that brings it back and one that leaves it out again may have come since, and wait their turn.
    await uow.listings.change(off, dict.fromkeys((listing.id for listing in off), told_before))
    remember(uow, cause, (Was(Part.SHOWN, listing.id, listing.version, (True,), (False,)) for listing in off))
    await uow.events.add(*map(ListingChanged, off), causes={listing.id: cause for listing in off} if cause else None)
    return [listing.id for listing in off]


async def put_back_listings(values: Mapping[UUID, Mapping[str, Any]], cause: str, uow: "UnitOfWork") -> None:
    """Of listings already locked: so many attributes of each are as they were. Refuses InvalidInput for a price that cannot be."""
    before = await uow.listings.lock(values)
    now = [replace(listing, **values[id]) for id, listing in before.items()]
    refuse([problem for index, listing in enumerate(now) for problem in _price_problems(index, listing)])
    await _save((), now, before, {listing.id: cause for listing in now}, uow, {})


# ---------------------------------------------------------------- by hand


async def set_price(command: SetPrice, actor: Actor, uow: "UnitOfWork") -> None:
    """For the merchant's managers and owners. An equal price changes nothing.

    Refuses NotFound, Forbidden, NotSourceOfTruth, InvalidInput.
    """
    await uow.truth.hold_of_listing(command.listing_id)
    listing = (await uow.listings.lock([command.listing_id], actor)).get(command.listing_id)
    if listing is None:
        raise not_found("listing")
    await check_merchant_role(listing.merchant_id, actor, uow, MerchantRole.OWNER, MerchantRole.MANAGER)
    dashboard = await by_hand(Field.PRICE, listing.store_id, listing.merchant_id, uow)
    after = replace(listing, price_minor=command.price_minor)
    if problems := _price_problems(0, after):
        raise Refused(InvalidInput(f"price {problems[0].message}", (Problem("price", problems[0].message),)))
    if after == listing:
        return
    await apply_prices([PriceSet(listing.id, command.price_minor)], uow)
    await told_by_hand(Field.PRICE, listing.id, dashboard, uow)
    detail = f"{Money(listing.price_minor, listing.currency).amount} → {Money(command.price_minor, listing.currency).amount}"
    await uow.audit.write(actor, "set price", listing.id, listing.merchant_id, detail)
