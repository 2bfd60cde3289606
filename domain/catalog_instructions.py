"""What sources tell of the catalogue, carried out: products, variants, prices, choices, and what a whole push left out."""

from collections.abc import Collection, Mapping, Sequence
from uuid import UUID

from domain.canonical import ChoiceGroup, DeactivateMissing, UpdatePrice, UpsertCatalogItem, UpsertVariant, named
from domain.catalog import UpsertedProduct, UpsertedVariant, apply_products, apply_variants
from domain.choices import OfferedGroup, OfferedGroups, UpsertedGroup, UpsertedModifier, apply_modifier_groups
from domain.conflicts import Claim
from domain.intake import EntityKind
from domain.listings import UpsertedListing, apply_listings, deactivate_missing
from domain.overruling import heed
from domain.queue import STALE, parked
from domain.truth import Field
from domain.work import Placed, Work, apart, news_of, store_of, unlisted

Category = tuple[str, ...]  # its names, from the root down
NO_CATEGORY = "*"
"""As it is called in a mapping: whatever is new, and comes without a category."""


async def carry_out_products(work: Work, some: list[Placed]) -> None:
    known = await work.products([one.command.item for one in some])
    some = apart([(one, [known.get(one.command.item, one.command.item)]) for one in some])
    old = [(one, known[one.command.item]) for one in some if one.command.item in known]
    won = await work.newer("PRODUCT", old)
    new = _new(work, EntityKind.PRODUCT, [(one, one.command.item) for one in some if one.command.item not in known])
    todo = [*won, *new]
    if not todo:
        return
    ours = await _categories(work, todo)
    ids = await apply_products([_product(work, one, known.get(one.command.item), ours) for one in todo], work.uow)
    made = list(zip(todo, ids, strict=True))[len(won) :]
    await work.newer("PRODUCT", made)
    await work.map(EntityKind.PRODUCT, [(one.command.item, id) for one, id in zip(todo, ids, strict=True)])
    work.done(todo)


def _new(work: Work, kind: EntityKind, some: Sequence[tuple[Placed, str]]) -> list[Placed]:
    """Those that may be made. Of a source that may make nothing they wait until somebody says what of ours they are."""
    if not work.origin.may_create:
        work.outcomes.update({one.id: parked(named(kind, external_id)) for one, external_id in some})
        return []
    return [one for one, _ in some]


async def _categories(work: Work, some: Sequence[Placed]) -> Mapping[Category, Category]:
    """Of the categories told, those that stand for one of ours: by the longest part, from the root down, that is mapped. What is
    below that in theirs is below ours."""
    parts = {one.command.category: _parts(one.command.category) for one in some}
    names = {name for each in parts.values() for name in each}
    mapped = await work.uow.sources.mapped(work.origin.source_id, EntityKind.CATEGORY, names)
    paths = await work.uow.catalog.category_paths(set(mapped.values())) if mapped else {}
    ours = {}
    for told, each in parts.items():
        name = next((name for name in each if name in mapped and mapped[name] in paths), None)
        if name is not None:
            ours[told] = (*paths[mapped[name]], *told[each[name] :])
    return ours


def _parts(category: Category) -> Mapping[str, int]:
    """What each part from the root down is called in a mapping, and how many names it is of. The whole comes first."""
    return {" / ".join(category[:depth]): depth for depth in range(len(category), 0, -1)} or {NO_CATEGORY: 0}


def _product(work: Work, one: Placed, product_id: UUID | None, ours: Mapping[Category, Category]) -> UpsertedProduct:
    told: UpsertCatalogItem = one.command
    # What has one already, and is told of without, keeps it.
    category = ours.get(told.category, told.category) if told.category or product_id is None else ()
    return UpsertedProduct(
        product_id,
        work.origin.merchant_id,
        told.title,
        told.kind,
        told.description,
        told.brand,
        category or None,
        told.diet,
        told.images or None,
        dict(told.attributes) if told.attributes else None,
        one.cause,
    )


async def carry_out_variants(work: Work, some: list[Placed]) -> None:
    products = await work.products([one.command.item for one in some])
    for one in some:
        if one.command.item not in products:
            work.outcomes[one.id] = parked(named(EntityKind.PRODUCT, one.command.item))
    some = [one for one in some if one.command.item in products]
    known = await work.variants([one.command.variant for one in some])
    some = apart([(one, [known.get(one.command.variant, one.command.variant)]) for one in some])  # told for two stores at once
    won = await work.newer("VARIANT", [(one, known[one.command.variant]) for one in some if one.command.variant in known])
    new = _new(work, EntityKind.VARIANT, [(one, one.command.variant) for one in some if one.command.variant not in known])
    todo = [*won, *new]
    if not todo:
        return
    skus = await _skus(work, [(one.command, known.get(one.command.variant)) for one in todo])
    items = [_variant(work, one, known.get(one.command.variant), products, skus) for one in todo]
    ids = await apply_variants(items, work.uow)
    await work.newer("VARIANT", list(zip(todo, ids, strict=True))[len(won) :])
    names = [(name, id) for one, id in zip(todo, ids, strict=True) for name in (one.command.variant, *one.command.also)]
    await work.map(EntityKind.VARIANT, names)
    await work.uow.sources.sizes(work.origin.source_id, {one.command.variant: one.command.size_id for one in todo})
    # A till says what the store shows; what it does not list yet waits for a price.
    shown = [
        UpsertedListing(one.store_id, id, active=one.command.active, cause=one.cause, told_at=one.instruction.received_at)
        for one, id in zip(todo, ids, strict=True)
        if one.store_id is not None
    ]
    if shown:
        await apply_listings(shown, work.uow)
    work.done(todo)


async def _skus(work: Work, variants: Sequence[tuple[UpsertVariant, UUID | None]]) -> dict[str, str]:
    """A variant keeps its SKU. A till's new one whose code or id is somebody's SKU already gets another: it is not that thing."""
    merchant_id = work.origin.merchant_id
    there = await work.uow.catalog.variants({id for _, id in variants if id is not None})
    skus = {told.variant: there[id].sku for told, id in variants if id is not None and id in there}
    new = {told.variant: [code for code in (told.sku, told.variant) if code] for told, id in variants if id is None}
    asked = {(merchant_id, code) for codes in new.values() for code in codes}
    taken = {sku for _, sku in await work.uow.catalog.variants_by_sku(asked)}
    for external_id, codes in new.items():
        other = f"{external_id}-{work.origin.provider}-{work.origin.source_id.hex[-6:]}"
        skus[external_id] = next((code for code in codes if code not in taken), other)
        taken.add(skus[external_id])
    return skus


def _variant(
    work: Work, one: Placed, variant_id: UUID | None, products: Mapping[str, UUID], skus: Mapping[str, str]
) -> UpsertedVariant:
    told: UpsertVariant = one.command
    sku, product_id = skus[told.variant], products[told.item]
    return UpsertedVariant(
        variant_id, work.origin.merchant_id, product_id, sku, told.title, told.barcode, told.unit, told.rank, one.cause
    )


async def carry_out_prices(work: Work, some: list[Placed]) -> None:
    variants = await work.variants([one.command.variant for one in some])
    for one in some:
        if one.command.variant not in variants:
            work.outcomes[one.id] = parked(named(EntityKind.VARIANT, one.command.variant))
    some = apart([(one, [(one.store_id, variants[one.command.variant])]) for one in some if one.command.variant in variants])
    places = {one.id: (store_of(one), variants[one.command.variant]) for one in some}
    if work.origin.rules:  # what another lists just now is listed: of its price one alone is believed
        await work.uow.catalog.lock_merchants({work.origin.merchant_id})
    listed = await work.uow.sources.listed(places.values())
    # A listing begins with the price it is first told with, whoever tells it: there is none yet that it could contradict.
    there = {id: listed[place] for id, place in places.items() if place in listed}
    heard = heed(work, Field.PRICE, [(one, [there[one.id]] if one.id in there else [], _claim(one.command)) for one in some])
    fresh = await _tell_prices(work, [(one, there[one.id]) for one in some if one.id in there], {one.id for one in heard})
    won = [one for one in heard if ("PRICE", there.get(one.id)) in fresh]
    new = [one for one in heard if one.id not in there]
    todo = [*won, *new]
    priced = {one.id for one in todo}
    taxed = {one.id for one in some if one.id not in there or ("TAXES", there[one.id]) in fresh}
    items = [_priced(one, *places[one.id], taxed=one.id in taxed) for one in todo]
    items += [
        UpsertedListing(*places[one.id], cause=one.cause, taxes=one.command.taxes, told_at=one.instruction.received_at)
        for one in some
        if one.id in taxed - priced
    ]
    if not items:
        return
    ids = (await apply_listings(items, work.uow))[: len(todo)]
    made = [(one, id) for one, id in zip(todo, ids, strict=True) if id is not None][len(won) :]
    await _tell_prices(work, made, {one.id for one, _ in made})
    await work.wake([unlisted(*places[one.id]) for one in new])
    work.done(todo)


async def _tell_prices(work: Work, told: Sequence[tuple[Placed, UUID]], believed: Collection[UUID]) -> set[tuple[str, UUID]]:
    """(field, listing id) of what is no older than what was told before. The prices of the others are superseded.

    Taxes are no price, and are news of their own: who is not believed about prices is heard about them, and goes on from there when
    they are believed again.
    """
    prices = [(one, id) for one, id in told if one.id in believed]
    news = [news_of("PRICE", id, one) for one, id in prices]
    news += [news_of("TAXES", id, one) for one, id in told if one.command.taxes is not None]
    fresh = await work.uow.instructions.tell(work.origin.source_id, news)
    work.outcomes.update({one.id: STALE for one, id in prices if ("PRICE", id) not in fresh})
    return fresh


def _claim(told: UpdatePrice) -> Claim:
    return Claim(
        price_minor=told.price_minor, mrp_minor=told.mrp_minor, packaging_minor=told.packaging_minor, currency=told.currency
    )


def _priced(one: Placed, store_id: UUID, variant_id: UUID, *, taxed: bool) -> UpsertedListing:
    told: UpdatePrice = one.command
    return UpsertedListing(
        store_id,
        variant_id,
        told.price_minor,
        told.mrp_minor,
        told.packaging_minor,
        told.currency,
        cause=one.cause,
        taxes=told.taxes if taxed else None,
        told_at=one.instruction.received_at,
    )


async def carry_out_choices(work: Work, some: list[Placed]) -> None:
    products = await work.products([one.command.item for one in some])
    for one in some:
        if one.command.item not in products:
            work.outcomes[one.id] = parked(named(EntityKind.PRODUCT, one.command.item))
    some = apart([(one, [products[one.command.item]]) for one in some if one.command.item in products])  # as above
    some = await work.newer("MENU", [(one, products[one.command.item]) for one in some])
    variants = await work.variants({id for one in some for group in one.command.groups for id in group.variants})
    listed = await work.uow.sources.listed_products({(store_of(one), products[one.command.item]) for one in some})
    groups: dict[tuple[UUID, str], UpsertedGroup] = {}
    offers = []
    for one in some:
        for group in one.command.groups:
            groups[store_of(one), group.id] = _group(one, group)
        for variant_id, listing_id in listed.get((store_of(one), products[one.command.item]), ()):
            mine = {
                group.id: OfferedGroup(group.id, group.least, group.most, group.rank)
                for group in one.command.groups
                if not group.variants or variant_id in {variants.get(id) for id in group.variants}
            }
            offers.append(OfferedGroups(listing_id, list(mine.values()), one.cause))
    if groups or offers:
        await apply_modifier_groups(list(groups.values()), offers, work.uow)
        choices = [choice.external_id for group in groups.values() for choice in group.modifiers]
        await work.wake([named(EntityKind.MODIFIER, id) for id in choices])
    work.done(some)


def _group(one: Placed, group: ChoiceGroup) -> UpsertedGroup:
    modifiers = [
        UpsertedModifier(choice.id, choice.title, choice.price_minor, choice.active, choice.rank)
        for choice in {choice.id: choice for choice in group.choices}.values()
    ]
    return UpsertedGroup(store_of(one), group.id, group.title, modifiers, one.cause)


async def carry_out_missing(work: Work, some: list[Placed]) -> None:
    """Of what this source has told of the store: another source's goods are not its to take away."""
    for one in some:
        told: DeactivateMissing = one.command
        store_id = store_of(one)
        mapped = await work.uow.sources.all_mapped(work.origin.source_id, EntityKind.VARIANT)
        listed = await work.uow.sources.listed({(store_id, variant_id) for variant_id in mapped.values()})
        present = {mapped.get(id) for id in told.present}
        keep = [listing_id for (_, variant_id), listing_id in listed.items() if variant_id in present]
        among = list(listed.values())
        await work.uow.instructions.tell(work.origin.source_id, [news_of("MISSING", store_id, one)])  # for who undoes an older one
        await deactivate_missing(store_id, keep, one.instruction.received_at, work.uow, among=among, cause=one.cause)
    work.done(some)
