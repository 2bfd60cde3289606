"""What sources tell of stock, carried out: counts, changes, and what is on or off."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, timedelta
from uuid import UUID

from domain.canonical import StockMode, named
from domain.choices import ChoiceSwitch, switch_choices
from domain.conflicts import Claim
from domain.counting import Count, Delta, Switch, apply_counts, apply_deltas, apply_switches
from domain.intake import EntityKind
from domain.overruling import heed, overruled_by
from domain.queue import APPLIED, STALE, Outcome, failed, parked
from domain.truth import Field
from domain.work import Placed, Work, apart, news_of, store_of, unlisted


async def carry_out_stock(work: Work, some: list[Placed]) -> None:
    choices = [one for one in some if one.command.kind is EntityKind.MODIFIER]
    forms = await _choice_switches(work, choices) if choices else []
    listed = await _with_listings(work, [one for one in some if one.command.kind is not EntityKind.MODIFIER], forms)
    await work.uow.stock.lock({id for one in listed for id in one.listing_ids})  # all of them first: two modes must not take turns
    listed = await _heeded(work, listed)
    for mode, apply in ((StockMode.ABSOLUTE, _counts), (StockMode.DELTA, _deltas), (StockMode.AVAILABILITY, _switches)):
        mine = [one for one in listed if one.placed.command.mode is mode]
        if mine:
            await apply(work, mine)


@dataclass(frozen=True)
class Listed:
    placed: Placed
    listing_ids: Sequence[UUID]


Found = tuple[Placed, Sequence[UUID]]


async def _with_listings(work: Work, some: list[Placed], forms: Sequence[Found]) -> list["Listed"]:
    """A till's item stands for all its variants that the store lists. `forms` are found already."""
    external_ids = {one.command.id for one in some}
    variants = await work.variants(external_ids)
    items = {
        one.command.id
        for one in some
        if one.command.kind is EntityKind.PRODUCT and (one.command.mode is StockMode.AVAILABILITY or one.command.id not in variants)
    }
    products = await work.uow.sources.mapped(work.origin.source_id, EntityKind.PRODUCT, items) if items else {}
    places = {(store_of(one), variants[one.command.id]) for one in some if one.command.id in variants}
    listed = await work.uow.sources.listed(places) if places else {}
    asked = {(store_of(one), products[one.command.id]) for one in some if one.command.id in products}
    of_products = await work.uow.sources.listed_products(asked) if asked else {}
    found: list[Found] = list(forms)
    for one in some:
        id, store_id = one.command.id, store_of(one)
        all_of_it = of_products.get((store_id, products[id]), ()) if id in products else ()
        if id in variants and all_of_it and one.command.mode is StockMode.AVAILABILITY:
            # It came in one form before it came in several, or does still.
            own = listed.get((store_id, variants[id]))
            found.append((one, list(dict.fromkeys([*(listing_id for _, listing_id in all_of_it), *([own] if own else [])]))))
        elif id in variants:
            place = (store_id, variants[id])
            if place in listed:
                found.append((one, [listed[place]]))
            else:
                waits = parked(unlisted(*place))
                message = f"{named(EntityKind.VARIANT, id)} is not listed in the store yet"
                work.outcomes[one.id] = Outcome(waits.state, waits.kind, message, waits.waits_for)
        elif id in products:
            of_product = [listing_id for _, listing_id in all_of_it]
            if one.command.mode is StockMode.AVAILABILITY or len(of_product) == 1:
                found.append((one, of_product))
            else:  # units are of one variant: nobody knows how they would be shared out
                message = f"{named(EntityKind.PRODUCT, id)} has {len(of_product)} variants in the store: a quantity is of one"
                work.outcomes[one.id] = failed(message)
        else:
            work.outcomes[one.id] = parked(named(EntityKind.VARIANT, id))
    alone = {one.id for one in apart(found)}
    return [Listed(one, listing_ids) for one, listing_ids in found if one.id in alone]


async def _heeded(work: Work, some: list[Listed]) -> list[Listed]:
    """Those that are believed. A change always is: so many were sold, or came, whoever counts the shelf; it is told once alone, and
    would be lost."""
    switches = [one for one in some if one.placed.command.mode is StockMode.AVAILABILITY]
    counts = [one for one in some if one.placed.command.mode is StockMode.ABSOLUTE]
    contested = [
        _count(work, one.placed, one.listing_ids[0]) for one in counts if overruled_by(work, Field.STOCK, one.placed) is not None
    ]
    due = await work.uow.stock.count_due(contested) if contested else {}
    heard = heed(work, Field.AVAILABILITY, [(one.placed, one.listing_ids, _switched(one.placed)) for one in switches])
    heard += heed(
        work,
        Field.STOCK,
        [
            (one.placed, one.listing_ids, Claim(units=one.placed.command.quantity, due=due.get(one.listing_ids[0])))
            for one in counts
        ],
    )
    stay = {one.id for one in heard}
    return [one for one in some if one.placed.id in stay or one.placed.command.mode is StockMode.DELTA]


def _switched(one: Placed) -> Claim:
    told = one.command
    until = told.restore_at.astimezone(UTC) if told.restore_at and not told.available else None
    return Claim(available=bool(told.available), until=until)


def _count(work: Work, one: Placed, listing_id: UUID) -> Count:
    return Count(
        listing_id, one.command.quantity, one.instruction.at, one.cause, work.said_by, work.origin.source_id, work.origin.drops
    )


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
    counts = [_count(work, one, listing_id) for one, listing_id in current if one.id in won]
    if counts:
        await apply_counts(counts, work.uow)
    work.done([one for one, _ in current if one.id in won])


async def _deltas(work: Work, some: list[Listed]) -> None:
    """Applied once each, in whatever order, but for those that the source's last count has in it already."""
    newest = await work.uow.instructions.newest(work.origin.source_id, ["STOCK"], [id for one in some for id in one.listing_ids])
    ids = {one.placed.command.once for one in some if one.placed.command.once is not None}
    known = await work.uow.stock.told_once(work.origin.source_id, ids) if ids else set()
    deltas, done = [], []
    for one in some:
        told, (listing_id,), at = one.placed.command, one.listing_ids, one.placed.instruction.at
        if (listing_id, told.once) in known:
            done.append(one.placed)
            continue
        count = newest.get(("STOCK", listing_id))
        if count is not None and count.version is not None and told.version is not None:
            if told.version <= count.version:
                work.outcomes[one.placed.id] = STALE
                continue
            at = max(at, count.at + timedelta(microseconds=1))  # the versions say that it came after, whatever the clocks say
        deltas.append(Delta(listing_id, told.quantity, at, told.movement, one.placed.cause, work.origin.source_id, told.once))
        done.append(one.placed)
    if deltas:
        await apply_deltas(deltas, work.uow)
    work.done(done)


async def _switches(work: Work, some: list[Listed]) -> None:
    told = [(one.placed, id) for one in some for id in one.listing_ids]
    news = [news_of("AVAILABILITY", id, placed) for placed, id in told]
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


async def _choice_switches(work: Work, some: list[Placed]) -> Sequence[Found]:
    """Carried out, but for those that are what items come in too: these are returned with the listings of such forms."""
    names = await _on_the_menu(work, {(store_of(one), one.command.id) for one in some})
    forms = await work.uow.sources.formed(work.origin.source_id, {one.command.id for one in some})
    places = {(store_of(one), variant_id) for one in some for variant_id in forms.get(one.command.id, ())}
    listed = await work.uow.sources.listed(places) if places else {}
    there, found = [], []
    for one in some:
        id, store_id = one.command.id, store_of(one)
        variant_ids = forms.get(id, ())
        listing_ids = [listed[store_id, variant_id] for variant_id in variant_ids if (store_id, variant_id) in listed]
        if (store_id, id) in names or listing_ids:
            there.append((one, [(store_id, names.get((store_id, id), id))]))
        elif variant_ids:
            waits = parked(unlisted(store_id, variant_ids[0]))
            message = f"what items come in by {named(EntityKind.MODIFIER, id)} is not listed in the store yet"
            work.outcomes[one.id] = Outcome(waits.state, waits.kind, message, waits.waits_for)
        else:
            work.outcomes[one.id] = parked(named(EntityKind.MODIFIER, id))
        if listing_ids:
            found.append((one, listing_ids))
    mine = apart(there)
    switches = [
        ChoiceSwitch(store_of(one), names[place], not one.command.available, one.command.restore_at, one.cause)
        for one in mine
        if (place := (store_of(one), one.command.id)) in names
    ]
    if switches:
        await switch_choices(switches, work.uow)
    turn = {one.id for one in mine}
    forming = [(one, listing_ids) for one, listing_ids in found if one.id in turn]
    also = {one.id for one, _ in forming}
    work.done([one for one in mine if one.id not in also])
    return forming


async def _on_the_menu(work: Work, asked: set[tuple[UUID, str]]) -> dict[tuple[UUID, str], str]:
    """What each is called on its store's menu: as the source calls it, else as somebody has mapped it."""
    names = {(store_id, id): id for store_id, id in await work.uow.choices.known(asked)}
    strange = asked - names.keys()
    mapped = await work.uow.choices.mapped(work.origin.source_id, {id for _, id in strange}) if strange else {}
    if mapped:
        there = await work.uow.choices.known({(store_id, mapped[id]) for store_id, id in strange if id in mapped})
        names |= {(store_id, id): mapped[id] for store_id, id in strange if (store_id, mapped.get(id, "")) in there}
    return names
