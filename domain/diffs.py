"""What a batch that waits would do: its instructions against what is so now, listing by listing. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from uuid import UUID

from domain.canonical import Command, DeactivateMissing, StockMode, UpdatePrice, UpdateStockLevel, UpsertVariant
from domain.intake import EntityKind

COMPARED = (UpsertVariant, UpdatePrice, UpdateStockLevel, DeactivateMissing)


@dataclass(frozen=True, slots=True)
class Heard:
    """The newest that the source itself has told of one field, of one listing."""

    version: int | None
    at: datetime


@dataclass(frozen=True, slots=True)
class Shown:
    """A listing as it is now, and what has been told of it."""

    id: UUID
    store_id: UUID
    variant_id: UUID
    product_id: UUID
    name: str
    sku: str
    price_minor: int
    currency: str
    active: bool
    tracked: bool
    on_hand: int
    off: bool
    told_since: bool  # by anybody, after the batch was received
    counted_at: datetime | None
    counted_by: str
    price_heard: Heard | None
    count_heard: Heard | None
    switch_heard: Heard | None
    variant_heard: Heard | None  # of its variant, in whatever store
    price_said_at: datetime | None  # by others than the source: people, or another one
    switch_said_at: datetime | None
    variant_said_at: datetime | None


@dataclass(frozen=True)
class Said:
    """A batch: in its order, each command with its instruction's id."""

    source: str  # "source:0197…"
    received_at: datetime
    stores: Mapping[str, UUID]  # its own ids of what is ours
    variants: Mapping[str, UUID]
    items: Mapping[str, UUID]
    by_sku: bool  # an id of its own may be a SKU
    commands: Sequence[tuple[UUID, Command]]

    def store(self, command: Command) -> UUID | None:
        if command.store is not None:
            return self.stores.get(command.store)
        return next(iter(self.stores.values())) if len(self.stores) == 1 else None


@dataclass(frozen=True, slots=True)
class Change:
    """Of one listing. What stays as it is has no `to`; what nobody counted has no `stock_from`."""

    listing_id: UUID
    store_id: UUID
    name: str
    sku: str
    currency: str
    removed: bool  # sold no more
    returned: bool  # sold again
    price_from: int
    price_to: int | None
    stock_from: int | None
    stock_to: int | None
    available_from: bool
    available_to: bool | None
    size: float  # the largest of its moves, as a part of what was: 1 is all of it, and what is removed is larger still


@dataclass(frozen=True)
class Diff:
    listings: int  # of this source, that its stores sell now
    removed: int
    returned: int
    added: int  # that the stores do not list yet
    prices: int
    stocks: int
    emptied: int  # of these, to nothing
    switched_off: int
    switched_on: int
    changes: Sequence[Change]  # the largest first
    outdated: Sequence[UUID]  # instructions that lose to what others have said since


REMOVED_SIZE = 1_000_000_000.0


@dataclass
class _After:
    """What a listing comes to be."""

    active: bool
    price: int
    on_hand: int | None
    off: bool


@dataclass
class _Comparing:
    said: Said
    after: list[_After]
    known: frozenset[UUID]  # variants that the source has told of
    by_variant: dict[tuple[UUID, UUID], int] = field(default_factory=dict)
    by_sku: dict[tuple[UUID, str], int] = field(default_factory=dict)
    by_product: dict[tuple[UUID, UUID], list[int]] = field(default_factory=dict)
    added: set[tuple[UUID, str]] = field(default_factory=set)
    outdated: list[UUID] = field(default_factory=list)

    def variant(self, store_id: UUID, name: str) -> int | None:
        """By mapping, else by SKU where the source speaks of SKUs."""
        id = self.said.variants.get(name)
        if id is not None:
            return self.by_variant.get((store_id, id))
        return self.by_sku.get((store_id, name)) if self.said.by_sku else None

    def item(self, store_id: UUID, name: str) -> Sequence[int]:
        id = self.said.items.get(name)
        return () if id is None else self.by_product.get((store_id, id), ())


def compare(said: Said, shown: Sequence[Shown]) -> Diff:
    """`shown` are the listings of the stores that it names."""
    now = [_After(one.active, one.price_minor, one.on_hand if one.tracked else None, one.off) for one in shown]
    work = _Comparing(said, now, frozenset(said.variants.values()))
    for place, one in enumerate(shown):
        work.by_variant[one.store_id, one.variant_id] = place
        work.by_sku[one.store_id, one.sku] = place
        work.by_product.setdefault((one.store_id, one.product_id), []).append(place)
    for id, command in sorted(said.commands, key=lambda told: told[1].stage):  # as it will be carried out
        store_id = said.store(command)
        if store_id is not None:
            _carry_out(work, shown, store_id, id, command)
    changes = [_change(one, after) for one, after in zip(shown, work.after, strict=True)]
    return _diff(work, shown, [change for change in changes if change is not None])


def _carry_out(work: _Comparing, shown: Sequence[Shown], store_id: UUID, id: UUID, command: Command) -> None:
    at = command.at or work.said.received_at
    match command:
        case UpsertVariant(store=str()):
            if (place := work.variant(store_id, command.variant)) is not None:
                one = shown[place]
                if not _later(one.variant_said_at, at) and not _heard_since(one.variant_heard, command.version, at):
                    work.after[place].active = command.active
        case UpdatePrice():
            place = work.variant(store_id, command.variant)
            if place is None:
                work.added.add((store_id, command.variant))
                return
            one, at = shown[place], command.not_before or at
            if _later(one.price_said_at, at):
                work.outdated.append(id)
            elif not _heard_since(one.price_heard, command.version, at):
                work.after[place].price = command.price_minor
        case UpdateStockLevel():
            _stock(work, shown, (store_id, command.id), id, command, at)
        case DeactivateMissing():
            present = {work.said.variants.get(name) for name in command.present}
            for one, after in zip(shown, work.after, strict=True):
                theirs = one.store_id == store_id and one.variant_id in work.known and one.active and not one.told_since
                if theirs and one.variant_id not in present:
                    after.active = False


def _stock(
    work: _Comparing,
    shown: Sequence[Shown],
    name: tuple[UUID, str],
    id: UUID,
    command: UpdateStockLevel,
    at: datetime,
) -> None:
    if command.kind is EntityKind.MODIFIER:
        return
    places = _places(work, name, command.mode)
    if places and all(_said_since(work, shown[place], command.mode, at) for place in places):
        work.outdated.append(id)
        return
    for place in places:  # an item of several variants is switched as a whole
        one, after = shown[place], work.after[place]
        match command.mode:
            case StockMode.ABSOLUTE:
                if not _heard_since(one.count_heard, command.version, at):
                    after.on_hand = max(0, command.quantity or 0)
            case StockMode.DELTA:
                if not _later(one.counted_at, at):
                    after.on_hand = max(0, (after.on_hand or 0) + (command.quantity or 0))
            case StockMode.AVAILABILITY:
                if not _heard_since(one.switch_heard, command.version, at):
                    after.off = not command.available


def _said_since(work: _Comparing, one: Shown, mode: StockMode, at: datetime) -> bool:
    """By others than the source. Changes add up, whoever has counted."""
    match mode:
        case StockMode.ABSOLUTE:
            return one.counted_by != work.said.source and _later(one.counted_at, at)
        case StockMode.AVAILABILITY:
            return _later(one.switch_said_at, at)
        case StockMode.DELTA:
            return False


def _places(work: _Comparing, name: tuple[UUID, str], mode: StockMode) -> Sequence[int]:
    """A till's item stands for all its variants, but a quantity is of one."""
    one, all_of_it = work.variant(*name), work.item(*name)
    if mode is StockMode.AVAILABILITY:
        return list(dict.fromkeys([*all_of_it, *([] if one is None else [one])]))
    if one is not None:
        return [one]
    return all_of_it if len(all_of_it) == 1 else ()


def _later(moment: datetime | None, at: datetime) -> bool:
    return moment is not None and moment > at


def _heard_since(heard: Heard | None, version: int | None, at: datetime) -> bool:
    """Whether the source has told a newer one: versions decide where both have one."""
    if heard is None:
        return False
    if heard.version is not None and version is not None:
        return heard.version > version
    return heard.at > at


def _change(one: Shown, after: _After) -> Change | None:
    price_to = after.price if after.price != one.price_minor else None
    before = one.on_hand if one.tracked else None
    stock_to = after.on_hand if after.on_hand != before else None
    available_to = not after.off if after.off != one.off else None
    removed, returned = one.active and not after.active, after.active and not one.active
    if not (removed or returned) and price_to is None and stock_to is None and available_to is None:
        return None
    sizes = [REMOVED_SIZE if removed else 0.0, 1.0 if returned or available_to is not None else 0.0]
    if price_to is not None:
        sizes.append(abs(price_to - one.price_minor) / max(one.price_minor, 1))
    if stock_to is not None:
        sizes.append(abs(stock_to - (before or 0)) / max(before or 0, 1))
    size = round(max(sizes), 6)
    return Change(
        one.id, one.store_id, one.name, one.sku, one.currency, removed, returned, one.price_minor, price_to, before, stock_to,
        not one.off, available_to, size,
    )  # fmt: skip


def _diff(work: _Comparing, shown: Sequence[Shown], changes: Sequence[Change]) -> Diff:
    return Diff(
        listings=sum(1 for one in shown if one.active and one.variant_id in work.known),
        removed=sum(change.removed for change in changes),
        returned=sum(change.returned for change in changes),
        added=len(work.added),
        prices=sum(change.price_to is not None for change in changes),
        stocks=sum(change.stock_to is not None for change in changes),
        emptied=sum(change.stock_to == 0 for change in changes),
        switched_off=sum(change.available_to is False for change in changes),
        switched_on=sum(change.available_to is True for change in changes),
        changes=sorted(changes, key=order),
        outdated=work.outdated,
    )


def order(change: Change) -> tuple[float, UUID]:
    return -change.size, change.listing_id
