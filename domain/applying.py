"""Instructions carried out: the source's ids become ours, old news loses, and the catalogue and the stock are told.

A group is of one kind and one source, and is done as a set: what cannot be done is said for each, and stops nobody.
"""

from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any, TypeVar
from uuid import UUID

from domain import trace
from domain.catalog import (
    OfferedGroup,
    OfferedGroups,
    UpsertedGroup,
    UpsertedListing,
    UpsertedModifier,
    UpsertedProduct,
    UpsertedVariant,
    apply_listings,
    apply_modifier_groups,
    apply_products,
    apply_variants,
    deactivate_missing,
)
from domain.choices import ChoiceSwitch, switch_choices
from domain.identity import Actor, ActorKind
from domain.instructions import (
    ChoiceGroup,
    Command,
    DeactivateMissing,
    StockMode,
    UpdatePrice,
    UpdateStockLevel,
    UpdateStoreStatus,
    UpsertCatalogItem,
    UpsertMenuItem,
    UpsertVariant,
    named,
)
from domain.intake import EntityKind, Family
from domain.merchants import SetStoreStatus, StoreStatus, set_store_status
from domain.queue import APPLIED, STALE, Group, Instruction, Origin, Outcome, Told, failed, parked
from domain.sources import ANY_STORE, LockedSource, appeared
from domain.stock import Count, Delta, Switch, apply_counts, apply_deltas, apply_switches

if TYPE_CHECKING:
    from domain.unit_of_work import UnitOfWork

LISTING = "LISTING"
Outcomes = dict[UUID, Outcome]
C = TypeVar("C", bound=Command)
BY_SKU = frozenset({Family.ERP, Family.SELLER})  # their ids are SKUs; a till's are its own


async def carry_out(group: Group, uow: "UnitOfWork") -> Mapping[UUID, Outcome]:
    """What became of each. One that is not in the answer could not be done beside its neighbours, and waits on.

    Raises what a single one of them may be the reason of: then nothing of the group is done.
    """
    trace.correlations.set({one.cause: one.correlation_id for one in group.instructions})
    work = Work(group.origin, uow, {})
    placed = await work.placed(group.instructions)
    apply = _APPLY[type(group.instructions[0].command)]
    if placed:
        await apply(work, placed)
    return work.outcomes


@dataclass(frozen=True)
class Placed:
    """An instruction with its store, where it speaks of one."""

    instruction: Instruction
    store_id: UUID | None

    @property
    def id(self) -> UUID:
        return self.instruction.id

    @property
    def command(self) -> Any:
        return self.instruction.command

    @property
    def cause(self) -> str:
        return self.instruction.cause


@dataclass(frozen=True)
class Work:
    """One group's."""

    origin: Origin
    uow: "UnitOfWork"
    outcomes: Outcomes

    # ------------------------------------------------------------ whose is what

    async def placed(self, instructions: Sequence[Instruction]) -> list[Placed]:
        """A store nobody has mapped is never guessed."""
        found = []
        for one in instructions:
            command, stores = one.command, self.origin.stores
            if command.store is not None:
                if command.store not in stores:
                    self.outcomes[one.id] = parked(named(EntityKind.STORE, command.store))
                    continue
                found.append(Placed(one, stores[command.store]))
            elif not isinstance(command, _IN_A_STORE):
                found.append(Placed(one, None))
            elif len(stores) == 1:
                found.append(Placed(one, next(iter(stores.values()))))
            elif not stores:
                self.outcomes[one.id] = parked(ANY_STORE)
            else:
                self.outcomes[one.id] = failed(f"names no store, and the source has {len(stores)}")
        return found

    async def variants(self, external_ids: Collection[str]) -> dict[str, UUID]:
        """By mapping, else by SKU where the source speaks of SKUs. Never by name."""
        found = dict(await self.uow.sources.mapped(self.origin.source_id, EntityKind.VARIANT, external_ids))
        rest = [id for id in external_ids if id not in found]
        if rest and self.origin.family in BY_SKU:
            merchant_id = self.origin.merchant_id
            by_sku = await self.uow.catalog.variants_by_sku({(merchant_id, id) for id in rest})
            found |= {sku: variant.id for (_, sku), variant in by_sku.items()}
        return found

    async def products(self, external_ids: Collection[str]) -> dict[str, UUID]:
        found = dict(await self.uow.sources.mapped(self.origin.source_id, EntityKind.PRODUCT, external_ids))
        rest = [id for id in external_ids if id not in found]
        if rest and self.origin.family in BY_SKU:
            by_sku = await self.uow.catalog.variants_by_sku({(self.origin.merchant_id, id) for id in rest})
            found |= {sku: variant.product_id for (_, sku), variant in by_sku.items()}
        return found

    async def map(self, kind: EntityKind, ids: Sequence[tuple[str, UUID]]) -> None:
        """What was made for the source is known to it by its own id, and wakes who waited for it."""
        source = LockedSource(self.origin.source_id, self.origin.merchant_id, self.origin.provider, self.origin.family)
        await self.uow.sources.map(source, kind, ids)
        await self.wake(appeared(kind, [external_id for external_id, _ in ids]))

    async def wake(self, names: Collection[str]) -> None:
        if names:
            await self.uow.instructions.wake(self.origin.merchant_id, names)

    # ------------------------------------------------------------ old news and new

    async def newer(self, field: str, told: Sequence[tuple[Placed, UUID]]) -> list[Placed]:
        """Those that are no older than what was told of the entity before. The others are superseded."""
        news = [_news(field, entity_id, one) for one, entity_id in told]
        won = await self.uow.instructions.tell(self.origin.source_id, news)
        for one, entity_id in told:
            if (field, entity_id) not in won:
                self.outcomes[one.id] = STALE
        return [one for one, entity_id in told if (field, entity_id) in won]

    def done(self, some: Sequence[Placed]) -> None:
        self.outcomes.update({one.id: APPLIED for one in some})

    @property
    def said_by(self) -> str:
        return f"source:{self.origin.source_id}"


def _news(field: str, entity_id: UUID, one: Placed) -> Told:
    command = one.command
    at = command.not_before or one.instruction.at
    return Told(field, entity_id, command.version, at)


# ---------------------------------------------------------------- the catalogue


async def _products(work: Work, some: list[Placed]) -> None:
    known = await work.products([one.command.item for one in some])
    old = [(one, known[one.command.item]) for one in some if one.command.item in known]
    won = await work.newer("PRODUCT", old)
    new = [one for one in some if one.command.item not in known]
    todo = [*won, *new]
    if not todo:
        return
    ids = await apply_products([_product(work, one, known.get(one.command.item)) for one in todo], work.uow)
    made = list(zip(todo, ids, strict=True))[len(won) :]
    await work.newer("PRODUCT", made)
    await work.map(EntityKind.PRODUCT, [(one.command.item, id) for one, id in zip(todo, ids, strict=True)])
    work.done(todo)


def _product(work: Work, one: Placed, product_id: UUID | None) -> UpsertedProduct:
    told: UpsertCatalogItem = one.command
    return UpsertedProduct(
        product_id,
        work.origin.merchant_id,
        told.title,
        told.kind,
        told.description,
        told.brand,
        told.category or None,
        told.diet,
        told.images or None,
        dict(told.attributes) if told.attributes else None,
        one.cause,
    )


async def _variants(work: Work, some: list[Placed]) -> None:
    products = await work.products([one.command.item for one in some])
    for one in some:
        if one.command.item not in products:
            work.outcomes[one.id] = parked(named(EntityKind.PRODUCT, one.command.item))
    some = [one for one in some if one.command.item in products]
    known = await work.variants([one.command.variant for one in some])
    won = await work.newer("VARIANT", [(one, known[one.command.variant]) for one in some if one.command.variant in known])
    new = [one for one in some if one.command.variant not in known]
    todo = [*won, *new]
    if not todo:
        return
    skus = await _skus(work, [(one.command.variant, known.get(one.command.variant)) for one in todo])
    items = [_variant(work, one, known.get(one.command.variant), products, skus) for one in todo]
    ids = await apply_variants(items, work.uow)
    await work.newer("VARIANT", list(zip(todo, ids, strict=True))[len(won) :])
    await work.map(EntityKind.VARIANT, [(one.command.variant, id) for one, id in zip(todo, ids, strict=True)])
    # A till says what the store shows; what it does not list yet waits for a price.
    shown = [
        UpsertedListing(one.store_id, id, active=one.command.active, cause=one.cause)
        for one, id in zip(todo, ids, strict=True)
        if one.store_id is not None
    ]
    if shown:
        await apply_listings(shown, work.uow)
    work.done(todo)


async def _skus(work: Work, variants: Sequence[tuple[str, UUID | None]]) -> dict[str, str]:
    """A variant keeps its SKU. A till's new one whose id is somebody's SKU already gets another: it is not that thing."""
    merchant_id = work.origin.merchant_id
    there = await work.uow.catalog.variants({id for _, id in variants if id is not None})
    skus = {external_id: there[id].sku for external_id, id in variants if id is not None and id in there}
    new = [external_id for external_id, id in variants if id is None]
    taken = await work.uow.catalog.variants_by_sku({(merchant_id, external_id) for external_id in new})
    for external_id in new:
        mine = (merchant_id, external_id) not in taken
        skus[external_id] = external_id if mine else f"{external_id}-{work.origin.provider}-{work.origin.source_id.hex[-6:]}"
    return skus


def _variant(
    work: Work, one: Placed, variant_id: UUID | None, products: Mapping[str, UUID], skus: Mapping[str, str]
) -> UpsertedVariant:
    told: UpsertVariant = one.command
    sku, product_id = skus[told.variant], products[told.item]
    return UpsertedVariant(
        variant_id, work.origin.merchant_id, product_id, sku, told.title, told.barcode, told.unit, told.rank, one.cause
    )


async def _prices(work: Work, some: list[Placed]) -> None:
    variants = await work.variants([one.command.variant for one in some])
    for one in some:
        if one.command.variant not in variants:
            work.outcomes[one.id] = parked(named(EntityKind.VARIANT, one.command.variant))
    some = apart([(one, [(one.store_id, variants[one.command.variant])]) for one in some if one.command.variant in variants])
    places = {one.id: (_store(one), variants[one.command.variant]) for one in some}
    listed = await work.uow.sources.listed(places.values())
    old = [(one, listed[places[one.id]]) for one in some if places[one.id] in listed]
    won = await work.newer("PRICE", old)
    new = [one for one in some if places[one.id] not in listed]
    todo = [*won, *new]
    if not todo:
        return
    ids = await apply_listings([_priced(one, *places[one.id]) for one in todo], work.uow)
    made = [(one, id) for one, id in zip(todo, ids, strict=True) if id is not None][len(won) :]
    await work.newer("PRICE", made)
    await work.wake([unlisted(*places[one.id]) for one in new])
    work.done(todo)


def _priced(one: Placed, store_id: UUID, variant_id: UUID) -> UpsertedListing:
    told: UpdatePrice = one.command
    return UpsertedListing(
        store_id, variant_id, told.price_minor, told.mrp_minor, told.packaging_minor, told.currency, cause=one.cause
    )


def unlisted(store_id: UUID, variant_id: UUID) -> str:
    """What waits for a variant we know to be listed in a store."""
    return f"{LISTING}:{variant_id}@{store_id}"


async def _choices(work: Work, some: list[Placed]) -> None:
    products = await work.products([one.command.item for one in some])
    for one in some:
        if one.command.item not in products:
            work.outcomes[one.id] = parked(named(EntityKind.PRODUCT, one.command.item))
    some = apart([(one, [(one.store_id, products[one.command.item])]) for one in some if one.command.item in products])
    some = await work.newer("MENU", [(one, products[one.command.item]) for one in some])
    variants = await work.variants({id for one in some for group in one.command.groups for id in group.variants})
    listed = await work.uow.sources.listed_products({(_store(one), products[one.command.item]) for one in some})
    groups: dict[tuple[UUID, str], UpsertedGroup] = {}
    offers = []
    for one in some:
        for group in one.command.groups:
            groups[_store(one), group.id] = _group(one, group)
        for variant_id, listing_id in listed.get((_store(one), products[one.command.item]), ()):
            mine = {
                group.id: OfferedGroup(group.id, group.least, group.most, group.rank)
                for group in one.command.groups
                if not group.variants or variant_id in {variants.get(id) for id in group.variants}
            }
            offers.append(OfferedGroups(listing_id, list(mine.values()), one.cause))
    if groups or offers:
        await apply_modifier_groups(list(groups.values()), offers, work.uow)
    work.done(some)


def _group(one: Placed, group: ChoiceGroup) -> UpsertedGroup:
    modifiers = [
        UpsertedModifier(choice.id, choice.title, choice.price_minor, choice.active, choice.rank)
        for choice in {choice.id: choice for choice in group.choices}.values()
    ]
    return UpsertedGroup(_store(one), group.id, group.title, modifiers, one.cause)


async def _missing(work: Work, some: list[Placed]) -> None:
    """Of what this source has told of the store: another source's goods are not its to take away."""
    for one in some:
        told: DeactivateMissing = one.command
        store_id = _store(one)
        mapped = await work.uow.sources.all_mapped(work.origin.source_id, EntityKind.VARIANT)
        listed = await work.uow.sources.listed({(store_id, variant_id) for variant_id in mapped.values()})
        present = {mapped.get(id) for id in told.present}
        keep = [listing_id for (_, variant_id), listing_id in listed.items() if variant_id in present]
        among = list(listed.values())
        await deactivate_missing(store_id, keep, one.instruction.received_at, work.uow, among=among, cause=one.cause)
    work.done(some)


# ---------------------------------------------------------------- the stock


async def _stock(work: Work, some: list[Placed]) -> None:
    choices = [one for one in some if one.command.kind is EntityKind.MODIFIER]
    if choices:
        await _choice_switches(work, choices)
    listed = await _with_listings(work, [one for one in some if one.command.kind is not EntityKind.MODIFIER])
    await work.uow.stock.lock({id for one in listed for id in one.listing_ids})  # all of them first: two modes must not take turns
    for mode, apply in ((StockMode.ABSOLUTE, _counts), (StockMode.DELTA, _deltas), (StockMode.AVAILABILITY, _switches)):
        mine = [one for one in listed if one.placed.command.mode is mode]
        if mine:
            await apply(work, mine)


@dataclass(frozen=True)
class Listed:
    placed: Placed
    listing_ids: Sequence[UUID]


async def _with_listings(work: Work, some: list[Placed]) -> list["Listed"]:
    """A till's item stands for all its variants that the store lists."""
    external_ids = {one.command.id for one in some}
    variants = await work.variants(external_ids)
    items = {one.command.id for one in some if one.command.kind is EntityKind.PRODUCT and one.command.id not in variants}
    products = await work.uow.sources.mapped(work.origin.source_id, EntityKind.PRODUCT, items) if items else {}
    places = {(_store(one), variants[one.command.id]) for one in some if one.command.id in variants}
    listed = await work.uow.sources.listed(places) if places else {}
    asked = {(_store(one), products[one.command.id]) for one in some if one.command.id in products}
    of_products = await work.uow.sources.listed_products(asked) if asked else {}
    found = []
    for one in some:
        id, store_id = one.command.id, _store(one)
        if id in variants:
            place = (store_id, variants[id])
            if place in listed:
                found.append((one, [listed[place]]))
            else:
                waits = parked(unlisted(*place))
                message = f"{named(EntityKind.VARIANT, id)} is not listed in the store yet"
                work.outcomes[one.id] = Outcome(waits.state, waits.kind, message, waits.waits_for)
        elif id in products:
            of_product = [listing_id for _, listing_id in of_products.get((store_id, products[id]), ())]
            if one.command.mode is StockMode.AVAILABILITY or len(of_product) == 1:
                found.append((one, of_product))
            else:  # units are of one variant: nobody knows how they would be shared out
                message = f"{named(EntityKind.PRODUCT, id)} has {len(of_product)} variants in the store: a quantity is of one"
                work.outcomes[one.id] = failed(message)
        else:
            work.outcomes[one.id] = parked(named(EntityKind.VARIANT, id))
    alone = {one.id for one in apart(found)}
    return [Listed(one, listing_ids) for one, listing_ids in found if one.id in alone]


async def _counts(work: Work, some: list[Listed]) -> None:
    levels = await work.uow.stock.lock(id for one in some for id in one.listing_ids)
    current = []
    for one in some:
        told, (listing_id,) = one.placed.command, one.listing_ids
        level = levels.get(listing_id)
        # Between sources the time alone can tell, where one is told.
        older = level is not None and level.counted_at is not None and told.at is not None and told.at < level.counted_at
        if level is not None and older and told.version is None and level.source != work.said_by:
            work.outcomes[one.placed.id] = STALE
        else:
            current.append((one.placed, listing_id))
    won = {one.id for one in await work.newer("STOCK", current)}
    counts = [
        Count(
            listing_id,
            one.command.quantity,
            one.instruction.at,
            one.cause,
            work.said_by,
            work.origin.source_id,
            work.origin.drops,
        )
        for one, listing_id in current
        if one.id in won
    ]
    if counts:
        await apply_counts(counts, work.uow)
    work.done([one for one, _ in current if one.id in won])


async def _deltas(work: Work, some: list[Listed]) -> None:
    """Applied once each, in whatever order, but for those that the source's last count has in it already."""
    newest = await work.uow.instructions.newest(work.origin.source_id, ["STOCK"], [id for one in some for id in one.listing_ids])
    deltas, done = [], []
    for one in some:
        told, (listing_id,), at = one.placed.command, one.listing_ids, one.placed.instruction.at
        count = newest.get(("STOCK", listing_id))
        if count is not None and count.version is not None and told.version is not None:
            if told.version <= count.version:
                work.outcomes[one.placed.id] = STALE
                continue
            at = max(at, count.at + timedelta(microseconds=1))  # the versions say that it came after, whatever the clocks say
        deltas.append(Delta(listing_id, told.quantity, at, told.movement, one.placed.cause, work.origin.source_id))
        done.append(one.placed)
    if deltas:
        await apply_deltas(deltas, work.uow)
    work.done(done)


async def _switches(work: Work, some: list[Listed]) -> None:
    told = [(one.placed, id) for one in some for id in one.listing_ids]
    news = [_news("AVAILABILITY", id, placed) for placed, id in told]
    won = await work.uow.instructions.tell(work.origin.source_id, news)
    switches = [
        Switch(id, not placed.command.available, placed.cause, placed.command.restore_at)
        for placed, id in told
        if ("AVAILABILITY", id) in won
    ]
    if switches:
        await apply_switches(switches, work.uow)
    fresh = {placed.id for placed, id in told if ("AVAILABILITY", id) in won}
    for one in some:
        # Of an item that the store does not list there is nothing to switch.
        work.outcomes[one.placed.id] = APPLIED if one.placed.id in fresh or not one.listing_ids else STALE


async def _choice_switches(work: Work, some: list[Placed]) -> None:
    asked = {(_store(one), one.command.id) for one in some}
    known = await work.uow.choices.known(asked)
    for one in some:
        if (_store(one), one.command.id) not in known:
            work.outcomes[one.id] = parked(named(EntityKind.MODIFIER, one.command.id))
    mine = apart([(one, [(_store(one), one.command.id)]) for one in some if (_store(one), one.command.id) in known])
    switches = [
        ChoiceSwitch(_store(one), one.command.id, not one.command.available, one.command.restore_at, one.cause) for one in mine
    ]
    if switches:
        await switch_choices(switches, work.uow)
    work.done(mine)


# ---------------------------------------------------------------- the store


async def _status(work: Work, some: list[Placed]) -> None:
    now = await work.uow.now()
    some = apart([(one, [_store(one)]) for one in some])
    won = await work.newer("STATUS", [(one, _store(one)) for one in some])
    for one in sorted(won, key=_store):  # every writer locks stores in this order
        told: UpdateStoreStatus = one.command
        over = told.reopen_at is not None and told.reopen_at <= now
        open_ = told.status is StoreStatus.OPEN or over  # closed until a time that is over by now
        trace.cause.set(one.cause)
        await set_store_status(
            SetStoreStatus(
                _store(one),
                StoreStatus.OPEN if open_ else told.status,
                None if open_ else told.reopen_at,
                None if open_ else told.reason,
            ),
            Actor(ActorKind.SOURCE, work.origin.source_id),
            work.uow,
        )
    work.done(won)


def _store(one: Placed) -> UUID:
    assert one.store_id is not None
    return one.store_id


def apart(some: Sequence[tuple[Placed, Sequence[Any]]]) -> list[Placed]:
    """Those that share nothing with one before them: two words about one thing are said one after the other."""
    taken: set[Any] = set()
    alone = []
    for one, things in some:
        if taken.isdisjoint(things):
            alone.append(one)
        taken.update(things)
    return alone


_IN_A_STORE = (UpdatePrice, UpdateStockLevel, UpdateStoreStatus, UpsertMenuItem, DeactivateMissing)
_APPLY: Mapping[type[Command], Callable[[Work, list[Placed]], Awaitable[None]]] = {
    UpsertCatalogItem: _products,
    UpsertVariant: _variants,
    UpdatePrice: _prices,
    UpsertMenuItem: _choices,
    UpdateStockLevel: _stock,
    UpdateStoreStatus: _status,
    DeactivateMissing: _missing,
}
