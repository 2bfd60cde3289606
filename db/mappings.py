"""What sources speak of and nobody has mapped: how much waits for it, and what of ours it may be."""

import asyncio
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

from sqlalchemy import (
    ColumnElement,
    Integer,
    Row,
    Select,
    TableValuedAlias,
    Text,
    Uuid,
    func,
    literal_column,
    select,
    true,
    union_all,
)
from sqlalchemy.dialects.postgresql import TSQUERY, distinct_on

from db.arrays import among, rows
from db.instructions import IS_PARKED, IS_WAITING
from db.pages import By, Page, page
from db.reads import Reads
from db.sources import of_merchant, sources_by_id
from db.tables import category, instruction, mapping, modifier, modifier_group, payload, product, store, variant
from db.words import some_word
from domain.canonical import UpsertCatalogItem, UpsertVariant, named
from domain.identity import Actor
from domain.intake import EntityKind
from domain.mappings import ANY_STORE
from domain.suggestions import Ours, Suggestion, Theirs, best, forms_of

i, v, p, s, c, g = instruction.c, variant.c, product.c, store.c, modifier.c, modifier_group.c
WAITED_FOR = (EntityKind.STORE, EntityKind.PRODUCT, EntityKind.VARIANT, EntityKind.MODIFIER)
CATEGORIES_SHOWN = 10_000
NEAR = 30  # of ours, by the words of one name, are weighed
STORES_WEIGHED, CHOICES_WEIGHED = 500, 1_000  # of one merchant, whoever else is asked about


@dataclass(frozen=True, slots=True)
class Unmapped:
    """`external_id` is None where payloads name no store: they wait for whichever the source will be mapped to."""

    source_id: UUID
    kind: EntityKind
    external_id: str | None
    waiting: int  # instructions
    since: datetime

    @property
    def key(self) -> "Key":
        return Key(self.source_id, self.kind, self.external_id or "")


class Key(NamedTuple):
    source_id: UUID
    kind: EntityKind
    external_id: str


def _waited_for(actor: Actor, kind: EntityKind | None, *which: ColumnElement[bool]) -> Select[Any]:
    """What waits for people's approval is mapped, and what waits for a listing is no less."""
    kinds = [one.value for one in WAITED_FOR if kind in (None, one)]
    return (
        select(i.source_id, i.waits_for, func.count().label("waiting"), func.min(i.created_at).label("since"))
        .where(i.state == IS_PARKED, *which, among(func.split_part(i.waits_for, ":", 1, type_=Text), kinds))
        .where(of_merchant(i.merchant_id, actor))
        .group_by(i.source_id, i.waits_for)
    )


def _unmapped(row: Row[Any]) -> Unmapped:
    kind, _, external_id = row.waits_for.partition(":")
    return Unmapped(row.source_id, EntityKind(kind), external_id or None, row.waiting, row.since)


async def unmapped(
    reads: Reads,
    actor: Actor,
    merchant_id: UUID,
    source_id: UUID | None,
    kind: EntityKind | None,
    first: int | None,
    after: str | None,
) -> Page[Unmapped]:
    """The most waited for first. Refuses InvalidInput for a page that cannot be."""
    mine = [i.merchant_id == merchant_id, *([i.source_id == source_id] if source_id is not None else [])]
    one = _waited_for(actor, kind, *mine).subquery("one").c
    sort = [By(one.waiting, descending=True), By(one.waits_for), By(one.source_id)]
    found = select(one.source_id, one.waits_for, one.waiting, one.since)
    return await page(reads, found, sort, _unmapped, first, after, "unmapped")


async def unmapped_of(
    reads: Reads, actor: Actor, source_id: UUID, kind: EntityKind | None, after: Unmapped | None, first: int
) -> Sequence[Unmapped]:
    """All of a source's, a part at a time, in an order of their own."""
    which = [i.source_id == source_id]
    if after is not None:
        which.append(i.waits_for > (named(after.kind, after.external_id) if after.external_id else ANY_STORE))
    merchants = [source.merchant_id for source in await sources_by_id(reads, actor, [source_id])]
    found = _waited_for(actor, kind, among(i.merchant_id, merchants), *which)
    return [_unmapped(row) for row in await reads.rows(found.order_by(i.waits_for).limit(first))]


# ---------------------------------------------------------------- categories, for which nobody waits


@dataclass(frozen=True, slots=True)
class ToldCategory:
    """`external_id` is what a mapping calls it: the source's names of it from the root down. `ours` is the path it is mapped to;
    `likely` that of another of ours which is called the same."""

    external_id: str
    names: Sequence[str]
    ours: Sequence[str] | None
    likely: Sequence[str] | None


async def told_categories(reads: Reads, actor: Actor, source_id: UUID) -> Sequence[ToldCategory]:
    """In which its products came, as far as what it told is kept. Those that are not mapped first, by their names."""
    body = i.body["category"]
    said = (
        select(body.label("names"))
        .distinct()
        .join(payload, payload.c.id == i.payload_id)
        .where(payload.c.source_id == source_id, i.command == UpsertCatalogItem.__name__, func.jsonb_array_length(body) > 0)
        .where(of_merchant(i.merchant_id, actor))
        .limit(CATEGORIES_SHOWN)
    )
    told = {tuple(row.names) for row in await reads.rows(said)}
    of_theirs = select(mapping.c.external_id, category.c.path).join(category, category.c.id == mapping.c.id)
    mapped = await reads.rows(of_theirs.where(mapping.c.source_id == source_id, mapping.c.kind == EntityKind.CATEGORY))
    ours = {row.external_id: row.path for row in mapped}
    last = sorted({names[-1].lower() for names in told})
    alike = await reads.rows(
        select(category.c.path).where(among(func.lower(category.c.name, type_=Text), last)).order_by(category.c.path)
    )
    by_name: dict[str, list[Sequence[str]]] = {}
    for row in alike:
        by_name.setdefault(row.path[-1].lower(), []).append(row.path)
    found = []
    for names in told:
        called = " / ".join(names)
        near = (path for path in by_name.get(names[-1].lower(), ()) if tuple(path) != names)
        found.append(ToldCategory(called, names, ours.get(called), next(near, None)))
    return sorted(found, key=lambda one: (one.ours is not None, one.names))


# ---------------------------------------------------------------- what it may be


@dataclass(frozen=True, slots=True)
class Suggested:
    """`name` is what the source calls it, where it has said so; suggestions, the likeliest first."""

    key: Key
    name: str | None
    suggestions: Sequence[Suggestion]


async def suggested(reads: Reads, actor: Actor, keys: Collection[Key]) -> Sequence[Suggested]:
    """As many statements for many as for one. What is another merchant's is nothing's suggestion."""
    seen = await sources_by_id(reads, actor, sorted({key.source_id for key in keys}))
    merchants = {source.id: source.merchant_id for source in seen}
    mine = [key for key in dict.fromkeys(keys) if key.source_id in merchants]
    told = await _told(reads, mine)
    asked = [_Asked(key, merchants[key.source_id], told[key]) for key in mine]
    found: dict[Key, list[Ours]] = {key: [] for key in mine}
    for look in (_goods, _stores, _choices):
        for key, ours in await look(reads, asked):
            found[key].append(ours)

    def weighed() -> list[Suggested]:
        return [Suggested(one.key, next(iter(one.theirs.titles), None), best(one.theirs, found[one.key])) for one in asked]

    return await asyncio.to_thread(weighed)  # a page of choices is some fifty thousand likenesses: nobody else waits for them


class _Asked(NamedTuple):
    key: Key
    merchant_id: UUID
    theirs: Theirs


Found = Iterable[tuple[Key, Ours]]


async def _told(reads: Reads, keys: Sequence[Key]) -> Mapping[Key, Theirs]:
    """What the source has said of each, in what it told and nobody could carry out yet."""
    goods = [key for key in keys if key.kind in (EntityKind.PRODUCT, EntityKind.VARIANT)]
    facts: dict[tuple[UUID, str], list[Row[Any]]] = {}
    if goods:
        one = rows(
            "one", source_id=(Uuid(), [key.source_id for key in goods]), external_id=(Text(), [key.external_id for key in goods])
        ).c
        newest = [_latest(one, i.body["variant"].astext, "of_variant"), _latest(one, i.body["item"].astext, "of_item")]
        for row in await reads.rows(union_all(*newest)):
            facts.setdefault((row.source_id, row.external_id), []).append(row)
    return {key: _theirs(key, facts.get((key.source_id, key.external_id), [])) for key in keys}


def _latest(one: Any, id: ColumnElement[str], name: str) -> Select[Any]:
    """Of each kind of command the newest that speaks of it by this."""
    body = i.body
    newest = (
        select(
            one.source_id,
            one.external_id,
            i.command,
            body["title"].astext.label("title"),
            body["barcode"].astext.label("barcode"),
            body["sku"].astext.label("sku"),
        )
        .where(
            i.source_id == one.source_id,
            i.state.in_([IS_WAITING, IS_PARKED]),
            i.command.in_([UpsertCatalogItem.__name__, UpsertVariant.__name__]),
            id == one.external_id,
        )
        .ext(distinct_on(one.source_id, one.external_id, i.command))
        .order_by(one.source_id, one.external_id, i.command, i.id.desc())
        .subquery(name)
    )
    return select(newest)


def _theirs(key: Key, facts: Sequence[Row[Any]]) -> Theirs:
    """The product's title first: a variant's own is often its size alone."""
    titles = [row.title for row in sorted(facts, key=lambda row: (row.command, row.title or "")) if row.title]
    if len(titles) > 1:
        titles.append(" ".join(titles[:2]))
    barcodes, skus = {row.barcode for row in facts if row.barcode}, {row.sku for row in facts if row.sku}
    return Theirs(key.external_id, tuple(dict.fromkeys(titles)), tuple(sorted(barcodes)), tuple(sorted(skus)))


GOOD = (v.id, v.product_id, p.name.label("product_name"), v.name, v.sku, v.barcode)


async def _goods(reads: Reads, asked: Sequence[_Asked]) -> Found:
    """Of products their variants say what they are known by."""
    mine = [one for one in asked if one.key.kind in (EntityKind.PRODUCT, EntityKind.VARIANT)]
    if not mine:
        return []
    found = [*await reads.rows(_by_codes(mine)), *await reads.rows(_by_words(mine))]
    return [(mine[row.place].key, _good(row, mine[row.place].key.kind)) for row in found]


def _good(row: Row[Any], kind: EntityKind) -> Ours:
    whole = f"{row.product_name} {row.name}".strip()
    if kind is EntityKind.PRODUCT:
        return Ours(row.product_id, row.product_name, row.sku, row.barcode, (whole,))
    return Ours(row.id, whole, row.sku, row.barcode, (row.product_name,))


def _by_codes(asked: Sequence[_Asked]) -> Any:
    skus = [(place, one.merchant_id, code) for place, one in enumerate(asked) for code in sorted(one.theirs.skus)]
    barcodes = [(place, one.merchant_id, code) for place, one in enumerate(asked) for code in _written(one.theirs)]
    return union_all(_by(v.sku, skus, "skus"), _by(v.barcode, barcodes, "barcodes"))


def _written(theirs: Theirs) -> Iterator[str]:
    """As a barcode may stand in our catalogue: also as it was told, with its blanks."""
    yield from sorted(theirs.barcodes | {code for code in (theirs.external_id, *theirs.told_barcodes) if forms_of(code)})


def _by(column: ColumnElement[Any], codes: Sequence[tuple[int, UUID, str]], name: str) -> Select[Any]:
    by = rows(
        name,
        place=(Integer(), [one[0] for one in codes]),
        merchant_id=(Uuid(), [one[1] for one in codes]),
        code=(Text(), [one[2] for one in codes]),
    )
    found = select(by.c.place, *GOOD).select_from(by)
    return found.join(variant, (v.merchant_id == by.c.merchant_id) & (column == by.c.code)).join(product, p.id == v.product_id)


def _by_words(asked: Sequence[_Asked]) -> Select[Any]:
    """Those with the most words of a name: by the index alone, however long the catalogue is."""
    texts = [
        (place, one.merchant_id, some_word(" ".join(name.text for name in one.theirs.names))) for place, one in enumerate(asked)
    ]
    texts = [one for one in texts if one[2]]
    by = rows(
        "by",
        place=(Integer(), [one[0] for one in texts]),
        merchant_id=(Uuid(), [one[1] for one in texts]),
        words=(Text(), [one[2] for one in texts]),
    )
    query = func.to_tsquery(literal_column("'simple'"), by.c.words, type_=TSQUERY)
    # Of the products first: to look up the variants of all that have one word would be most of the work.
    likely = (
        select(p.id, func.ts_rank(p.search, query).label("rank"))
        .where(p.merchant_id == by.c.merchant_id, p.search.op("@@", is_comparison=True)(query))
        .order_by(func.ts_rank(p.search, query).desc(), p.id)
        .limit(NEAR)
        .correlate(by)
        .subquery("likely")
    )
    near = (
        select(*GOOD)
        .join_from(likely, product, p.id == likely.c.id)
        .join(variant, v.product_id == p.id)
        .order_by(likely.c.rank.desc(), v.id)
        .limit(NEAR)
        .correlate(by)
        .lateral("near")
    )
    return select(by.c.place, *near.c).join_from(by, near, true())


async def _stores(reads: Reads, asked: Sequence[_Asked]) -> Found:
    mine = [one for one in asked if one.key.kind is EntityKind.STORE and one.key.external_id]
    if not mine:
        return []
    by = _merchants(mine)
    found = (
        select(s.id, s.merchant_id, s.name, s.slug, s.city)
        .where(s.merchant_id == by.c.merchant_id, s.archived_at.is_(None))
        .order_by(s.name, s.id)
        .limit(STORES_WEIGHED)
    )
    ours = [
        (row.merchant_id, Ours(row.id, row.name, others=(row.slug, f"{row.name} {row.city}")))
        for row in await reads.rows(_of_each(by, found))
    ]
    return _of_merchants(mine, ours)


async def _choices(reads: Reads, asked: Sequence[_Asked]) -> Found:
    """One for all stores whose menus call it alike: as such a mapping means it."""
    mine = [one for one in asked if one.key.kind is EntityKind.MODIFIER]
    if not mine:
        return []
    by = _merchants(mine)
    of_stores = select(s.id).where(s.merchant_id == by.c.merchant_id).correlate(by)
    found = (
        select(c.id, c.merchant_id, c.name, c.external_id, (g.name + " " + c.name).label("whole"))
        .join_from(modifier, modifier_group, g.id == c.group_id)
        .where(c.store_id.in_(of_stores))
        .ext(distinct_on(c.external_id))
        .order_by(c.external_id, c.id)
        .limit(CHOICES_WEIGHED)
    )
    ours = [
        (row.merchant_id, Ours(row.id, row.whole, row.external_id, others=(row.name,)))
        for row in await reads.rows(_of_each(by, found))
    ]
    return _of_merchants(mine, ours)


def _merchants(asked: Sequence[_Asked]) -> TableValuedAlias:
    return rows("by", merchant_id=(Uuid(), sorted({one.merchant_id for one in asked})))


def _of_each(merchants: TableValuedAlias, found: Select[Any]) -> Select[Any]:
    """For each merchant what it finds, and as much as for one alone."""
    near = found.correlate(merchants).lateral("near")
    return select(*near.c).join_from(merchants, near, true())


def _of_merchants(asked: Sequence[_Asked], ours: Sequence[tuple[UUID, Ours]]) -> Found:
    return [(one.key, other) for one in asked for merchant_id, other in ours if merchant_id == one.merchant_id]
