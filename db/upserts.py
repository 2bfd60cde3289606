"""The catalogue as it is written: many rows a statement, since a file of a grocery has twenty thousand."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import fields
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import (
    Boolean,
    ColumnElement,
    Executable,
    Integer,
    Row,
    Text,
    Uuid,
    and_,
    bindparam,
    delete,
    false,
    func,
    insert,
    literal,
    select,
    true,
    update,
)
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.ext.asyncio import AsyncConnection

from db.arrays import among, rows
from db.catalog import PRODUCT, to_product
from db.columns import MINOR
from db.identity import stores_of
from db.ids import new_id
from db.tables import (
    category,
    listing,
    listing_modifier_group,
    merchant,
    modifier,
    modifier_group,
    product,
    stock_level,
    store,
    variant,
)
from domain.catalog import Attribute, Listing, OfferedGroups, Place, Product, UpsertedGroup, Variant
from domain.identity import Actor, ActorKind
from domain.refusals import not_found

p, v, li, group, option, link = product.c, variant.c, listing.c, modifier_group.c, modifier.c, listing_modifier_group.c
VARIANT = tuple(v[field.name] for field in fields(Variant))  # each in the order in which its class takes them
LISTING = tuple(li[field.name] for field in fields(Listing))
NOW = func.clock_timestamp()


def visible_to(actor: Actor) -> ColumnElement[bool]:
    """The listings this actor may change: those of the stores it may act for. What anybody may read is not asked here."""
    match actor:
        case Actor(kind=ActorKind.MERCHANT, id=UUID()):
            return li.store_id.in_(stores_of(actor))
        case Actor(kind=ActorKind.SUPPORT, id=UUID()) | Actor(kind=ActorKind.CLOCK):
            return true()
        case _:
            return false()


def _attributes(told: Iterable[Attribute]) -> dict[str, str]:
    return {one.name: one.value for one in told}


class SqlCatalog:
    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def _rows(self, statement: Executable) -> Sequence[Row[*tuple[Any, ...]]]:
        return (await self._connection.execute(statement)).all()

    async def _each(self, statement: Executable, values: Sequence[dict[str, Any]]) -> None:
        """One statement with many rows of values, sent at once."""
        if values:
            await self._connection.execute(statement, values)

    # ------------------------------------------------------------ whose, and where

    async def lock_merchants(self, merchant_ids: Collection[UUID]) -> None:
        # Others may go on pointing at the merchant meanwhile: a foreign key asks for no more than its key.
        await self._rows(
            select(merchant.c.id).where(merchant.c.id.in_(merchant_ids)).order_by(merchant.c.id).with_for_update(key_share=True)
        )

    async def lock_merchants_of(self, store_ids: Collection[UUID], listing_ids: Collection[UUID]) -> None:
        theirs = select(store.c.merchant_id).where(store.c.id.in_(store_ids))
        listed = select(listing.c.merchant_id).where(among(listing.c.id, listing_ids))
        await self.lock_merchants([row.merchant_id for row in await self._rows(theirs.union(listed))])

    async def lock_stores(self, store_ids: Collection[UUID]) -> dict[UUID, Place]:
        found = await self._rows(
            select(store.c.id, store.c.merchant_id, store.c.currency)
            .where(store.c.id.in_(store_ids))
            .order_by(store.c.id)
            .with_for_update(key_share=True)
        )
        return {row.id: Place(*row) for row in found}

    # ------------------------------------------------------------ categories

    async def categories(self, paths: Collection[tuple[str, ...]]) -> dict[tuple[str, ...], UUID]:
        wanted = {path[:depth] for path in paths for depth in range(1, len(path) + 1)}
        roots = {path[0] for path in wanted}
        known = await self._categories(roots)
        # From the root down and then by name: two at once that make the same ones wait for each other in one order.
        for depth in sorted({len(path) for path in wanted - known.keys()}):
            missing = sorted(path for path in wanted - known.keys() if len(path) == depth)
            await self._each(
                upsert(category).on_conflict_do_nothing(index_elements=["path"]),
                [{"id": new_id(), "parent_id": known.get(path[:-1]), "name": path[-1], "path": list(path)} for path in missing],
            )
            known = await self._categories(roots)
        return {path: known[path] for path in paths}

    async def _categories(self, roots: Collection[str]) -> dict[tuple[str, ...], UUID]:
        c = category.c
        found = await self._rows(select(c.path, c.id).where(c.path[1].in_(roots)))
        return {tuple(row.path): row.id for row in found}

    # ------------------------------------------------------------ products

    async def lock_products(self, product_ids: Collection[UUID]) -> dict[UUID, Product]:
        if not product_ids:
            return {}
        found = await self._rows(select(*PRODUCT).where(among(p.id, product_ids)).order_by(p.id).with_for_update(key_share=True))
        return {row.id: to_product(row) for row in found}

    async def add_products(self, products: Sequence[Product]) -> None:
        await self._each(insert(product), [_product_values(one) for one in products])

    async def change_products(self, products: Sequence[Product]) -> None:
        if not products:
            return
        names = await self._rows(select(p.id, p.name).where(p.id.in_([one.id for one in products])))
        before = {row.id: row.name for row in names}
        keys = [name for name in _product_values(products[0]) if name not in ("id", "merchant_id")]
        await self._each(
            update(product).where(p.id == bindparam("key")).values({name: bindparam(name) for name in keys}),
            [{"key": one.id, **_product_values(one)} for one in products],
        )
        await self._rename({one.id: one.name for one in products if one.name != before[one.id]})

    async def _rename(self, names: Mapping[UUID, str]) -> None:
        """A listing keeps its product's name for its pages to be sorted by."""
        if not names:
            return
        await self._rows(select(li.id).where(li.product_id.in_(names)).order_by(li.id).with_for_update(key_share=True))
        by = rows("by", id=(Uuid(), list(names)), title=(Text(), list(names.values())))
        await self._connection.execute(update(listing).where(li.product_id == by.c.id).values(name=by.c.title))

    # ------------------------------------------------------------ variants

    async def variants(self, variant_ids: Collection[UUID]) -> dict[UUID, Variant]:
        if not variant_ids:
            return {}
        return {row.id: Variant(*row) for row in await self._rows(select(*VARIANT).where(among(v.id, variant_ids)))}

    async def variants_by_sku(self, skus: Collection[tuple[UUID, str]]) -> dict[tuple[UUID, str], Variant]:
        asked = list(skus)
        by = rows("by", merchant_id=(Uuid(), [one for one, _ in asked]), sku=(Text(), [sku for _, sku in asked]))
        found = await self._rows(select(*VARIANT).join(by, and_(v.merchant_id == by.c.merchant_id, v.sku == by.c.sku)))
        return {(row.merchant_id, row.sku): Variant(*row) for row in found}

    async def add_variants(self, variants: Sequence[Variant]) -> None:
        await self._each(insert(variant), [_values(one) for one in variants])

    async def change_variants(self, variants: Sequence[Variant]) -> None:
        if not variants:
            return
        keys = [name for name in _values(variants[0]) if name not in ("id", "merchant_id")]
        await self._each(
            update(variant).where(v.id == bindparam("key")).values({name: bindparam(name) for name in keys}),
            [{"key": one.id, **_values(one)} for one in variants],
        )
        # A variant that has come to another product takes its listings along.
        by = rows("by", id=(Uuid(), [one.id for one in variants]), product_id=(Uuid(), [one.product_id for one in variants]))
        moved = select(li.id).join(by, li.variant_id == by.c.id).where(li.product_id != by.c.product_id)
        if await self._rows(moved.order_by(li.id).with_for_update(of=listing, key_share=True)):
            await self._connection.execute(
                update(listing)
                .where(li.variant_id == by.c.id, li.product_id != by.c.product_id, by.c.product_id == p.id)
                .values(product_id=p.id, name=p.name)
            )

    # ------------------------------------------------------------ listings

    async def lock_listings(self, listing_ids: Collection[UUID], actor: Actor | None = None) -> dict[UUID, Listing]:
        if not listing_ids:
            return {}
        wanted = select(*LISTING).where(among(li.id, listing_ids))
        if actor is not None:
            wanted = wanted.where(visible_to(actor))
        found = await self._rows(wanted.order_by(li.id).with_for_update(of=listing, key_share=True))
        return {row.id: Listing(*row) for row in found}

    async def lock_listed(self, places: Collection[tuple[UUID, UUID]]) -> dict[tuple[UUID, UUID], Listing]:
        asked = list(places)
        by = rows("by", store_id=(Uuid(), [one for one, _ in asked]), variant_id=(Uuid(), [one for _, one in asked]))
        found = await self._rows(
            select(*LISTING)
            .join(by, and_(li.store_id == by.c.store_id, li.variant_id == by.c.variant_id))
            .order_by(li.id)
            .with_for_update(of=listing, key_share=True)
        )
        return {(row.store_id, row.variant_id): Listing(*row) for row in found}

    async def lock_not_among(
        self, store_id: UUID, keep: Collection[UUID], among: Collection[UUID] | None, updated_before: datetime
    ) -> list[Listing]:
        kept = rows("kept", id=(Uuid(), list(keep)))
        gone = (
            select(*LISTING)
            .where(li.store_id == store_id, li.active, li.updated_at < updated_before)
            .where(~select(kept.c.id).where(kept.c.id == li.id).exists())
        )
        if among is not None:
            some = rows("some", id=(Uuid(), list(among)))
            gone = gone.where(select(some.c.id).where(some.c.id == li.id).exists())
        return [Listing(*row) for row in await self._rows(gone.order_by(li.id).with_for_update(of=listing, key_share=True))]

    async def add_listings(self, listings: Sequence[Listing]) -> None:
        if not listings:
            return
        found = await self._rows(select(p.id, p.name).where(among(p.id, {one.product_id for one in listings})))
        names = {row.id: row.name for row in found}
        now = (await self._connection.execute(select(NOW))).scalar_one()
        await self._each(insert(listing), [{**_values(one), "name": names[one.product_id], "updated_at": now} for one in listings])
        await self._connection.execute(
            insert(stock_level).from_select(
                ["listing_id", "store_id", "merchant_id", "counts_hidden", "version"],
                select(li.id, li.store_id, li.merchant_id, store.c.counts_hidden, literal(0))
                .join(store, store.c.id == li.store_id)
                .where(among(li.id, [one.id for one in listings])),
            )
        )

    async def change_listings(self, listings: Sequence[Listing]) -> None:
        if not listings:
            return
        by = rows(
            "by",
            id=(Uuid(), [one.id for one in listings]),
            product_id=(Uuid(), [one.product_id for one in listings]),
            price_minor=(MINOR, [one.price_minor for one in listings]),
            mrp_minor=(MINOR, [one.mrp_minor for one in listings]),
            packaging_minor=(MINOR, [one.packaging_minor for one in listings]),
            active=(Boolean(), [one.active for one in listings]),
            max_per_order=(Integer(), [one.max_per_order for one in listings]),
            version=(Integer(), [one.version for one in listings]),
        )
        told = {name: by.c[name] for name in ("price_minor", "mrp_minor", "packaging_minor", "active", "max_per_order", "version")}
        await self._connection.execute(
            update(listing)
            .where(li.id == by.c.id, p.id == by.c.product_id)
            .values(**told, product_id=p.id, name=p.name, updated_at=NOW)
        )

    async def touch_listings(self, listing_ids: Collection[UUID]) -> None:
        if listing_ids:
            await self._connection.execute(update(listing).where(among(li.id, listing_ids)).values(updated_at=NOW))

    # ------------------------------------------------------------ choices

    async def save_groups(self, groups: Sequence[UpsertedGroup], places: Mapping[UUID, Place]) -> dict[UUID, UUID]:
        if not groups:
            return {}
        last = {(one.store_id, one.external_id): one for one in groups}
        before = await self._groups(last)
        added = {key: new_id() for key in last if key not in before}
        await self._each(
            insert(modifier_group),
            [
                {
                    "id": id,
                    "merchant_id": places[key[0]].merchant_id,
                    "store_id": key[0],
                    "external_id": key[1],
                    "name": last[key].name,
                }
                for key, id in added.items()
            ],
        )
        renamed = [(before[key].id, one.name) for key, one in last.items() if key in before and before[key].name != one.name]
        await self._each(
            update(modifier_group).where(group.id == bindparam("key")).values(name=bindparam("title")),
            [{"key": id, "title": name} for id, name in renamed],
        )
        ids = {key: added.get(key) or before[key].id for key in last}
        changed = {id for id, _ in renamed} | await self._save_options({ids[key]: one for key, one in last.items()}, places)
        found = await self._rows(
            select(link.listing_id, li.store_id).join(listing, li.id == link.listing_id).where(link.group_id.in_(changed))
        )
        return {row.listing_id: row.store_id for row in found}

    async def _groups(self, keys: Collection[tuple[UUID, str]]) -> dict[tuple[UUID, str], Row[*tuple[Any, ...]]]:
        asked = list(keys)
        by = rows("by", store_id=(Uuid(), [one for one, _ in asked]), external_id=(Text(), [one for _, one in asked]))
        found = await self._rows(
            select(group.id, group.store_id, group.external_id, group.name).join(
                by, and_(group.store_id == by.c.store_id, group.external_id == by.c.external_id)
            )
        )
        return {(row.store_id, row.external_id): row for row in found}

    async def _save_options(self, groups: Mapping[UUID, UpsertedGroup], places: Mapping[UUID, Place]) -> set[UUID]:
        """Returns the groups whose options have changed by it."""
        found = await self._rows(
            select(option.id, option.group_id, option.external_id, option.name, option.price_minor, option.active, option.rank)
            .where(option.group_id.in_(groups))
            .order_by(option.id)
            .with_for_update(key_share=True)
        )
        before = {(row.group_id, row.external_id): row for row in found}
        told = {(id, one.external_id): one for id, whole in groups.items() for one in whole.modifiers}
        added, changed, touched = [], [], set()
        for (group_id, external_id), one in told.items():
            row = before.get((group_id, external_id))
            values = {"name": one.name, "price_minor": one.price_minor, "active": one.active, "rank": one.rank}
            place = places[groups[group_id].store_id]
            if row is None:
                added.append(
                    {"id": new_id(), "merchant_id": place.merchant_id, "store_id": place.id, "group_id": group_id,
                     "external_id": external_id, "currency": place.currency, **values}
                )  # fmt: skip
            elif (row.name, row.price_minor, row.active, row.rank) != tuple(values.values()):
                changed.append({"key": row.id, **{f"new_{name}": value for name, value in values.items()}})
            else:
                continue
            touched.add(group_id)
        gone = [row for key, row in before.items() if key not in told and row.active]
        touched |= {row.group_id for row in gone}
        await self._each(insert(modifier), added)
        names = ("name", "price_minor", "active", "rank")
        await self._each(
            update(modifier).where(option.id == bindparam("key")).values({name: bindparam(f"new_{name}") for name in names}),
            changed,
        )
        if gone:
            await self._connection.execute(update(modifier).where(option.id.in_([row.id for row in gone])).values(active=False))
        return touched

    async def offer_groups(self, offers: Sequence[OfferedGroups]) -> set[UUID]:
        whole = {one.listing_id: one.groups for one in offers}
        if not whole:
            return set()
        found = await self._rows(
            select(li.id, group.external_id, group.id.label("group_id"))
            .join(modifier_group, group.store_id == li.store_id)
            .where(li.id.in_(whole), group.external_id.in_({one.external_id for groups in whole.values() for one in groups}))
        )
        ids = {(row.id, row.external_id): row.group_id for row in found}
        if any((listing_id, one.external_id) not in ids for listing_id, groups in whole.items() for one in groups):
            raise not_found("modifier group")
        told = {
            (listing_id, ids[listing_id, one.external_id]): (one.min, one.max, one.rank)
            for listing_id, groups in whole.items()
            for one in groups
        }
        rows_before = await self._rows(
            select(link.id, link.listing_id, link.group_id, link.min, link.max, link.rank).where(link.listing_id.in_(whole))
        )
        before = {(row.listing_id, row.group_id): row for row in rows_before}
        gone = [row for key, row in before.items() if key not in told]
        added = [(key, one) for key, one in told.items() if key not in before]
        changed = [
            (before[key], one)
            for key, one in told.items()
            if key in before and one != (before[key].min, before[key].max, before[key].rank)
        ]
        if gone:
            await self._connection.execute(delete(listing_modifier_group).where(link.id.in_([row.id for row in gone])))
        await self._each(
            insert(listing_modifier_group),
            [
                {"id": new_id(), "listing_id": key[0], "group_id": key[1], "min": least, "max": most, "rank": rank}
                for key, (least, most, rank) in added
            ],
        )
        await self._each(
            update(listing_modifier_group)
            .where(link.id == bindparam("key"))
            .values(min=bindparam("least"), max=bindparam("most"), rank=bindparam("place")),
            [{"key": row.id, "least": least, "most": most, "place": rank} for row, (least, most, rank) in changed],
        )
        return {row.listing_id for row in gone} | {key[0] for key, _ in added} | {row.listing_id for row, _ in changed}


def _values(one: Variant | Listing) -> dict[str, Any]:
    """As `asdict`, without its copies of copies: a catalogue has thousands."""
    return {field.name: getattr(one, field.name) for field in fields(one)}


def _product_values(one: Product) -> dict[str, Any]:
    return {
        "id": one.id, "merchant_id": one.merchant_id, "kind": one.kind, "name": one.name, "description": one.description,
        "brand": one.brand, "category_id": one.category_id, "diet": one.diet, "images": list(one.images),
        "attributes": _attributes(one.attributes), "version": one.version,
    }  # fmt: skip
