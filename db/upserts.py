"""Products and variants as they are written: many rows a statement, since a file of a grocery has twenty thousand."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import fields
from typing import Any
from uuid import UUID

from sqlalchemy import (
    Executable,
    Row,
    Text,
    Uuid,
    and_,
    bindparam,
    insert,
    select,
    update,
)
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.ext.asyncio import AsyncConnection

from db.arrays import among, each, rows, values_of
from db.catalog import PRODUCT, to_product
from db.ids import new_id
from db.tables import (
    category,
    listing,
    listing_modifier_group,
    merchant,
    modifier,
    modifier_group,
    product,
    store,
    variant,
)
from domain.catalog import Attribute, Place, Product, Variant

p, v, li, group, option, link = product.c, variant.c, listing.c, modifier_group.c, modifier.c, listing_modifier_group.c
VARIANT = tuple(v[field.name] for field in fields(Variant))  # each in the order in which its class takes them


def _attributes(told: Iterable[Attribute]) -> dict[str, str]:
    return {one.name: one.value for one in told}


class SqlCatalog:
    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def _rows(self, statement: Executable) -> Sequence[Row[*tuple[Any, ...]]]:
        return (await self._connection.execute(statement)).all()

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
            await each(
                self._connection,
                upsert(category).on_conflict_do_nothing(index_elements=["path"]),
                [{"id": new_id(), "parent_id": known.get(path[:-1]), "name": path[-1], "path": list(path)} for path in missing],
            )
            known = await self._categories(roots)
        return {path: known[path] for path in paths}

    async def category_paths(self, category_ids: Collection[UUID]) -> dict[UUID, tuple[str, ...]]:
        c = category.c
        return {row.id: tuple(row.path) for row in await self._rows(select(c.id, c.path).where(among(c.id, category_ids)))}

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
        await each(self._connection, insert(product), [_product_values(one) for one in products])

    async def change_products(self, products: Sequence[Product]) -> None:
        if not products:
            return
        names = await self._rows(select(p.id, p.name).where(p.id.in_([one.id for one in products])))
        before = {row.id: row.name for row in names}
        keys = [name for name in _product_values(products[0]) if name not in ("id", "merchant_id")]
        await each(
            self._connection,
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
        await each(self._connection, insert(variant), [values_of(one) for one in variants])

    async def change_variants(self, variants: Sequence[Variant]) -> None:
        if not variants:
            return
        keys = [name for name in values_of(variants[0]) if name not in ("id", "merchant_id")]
        await each(
            self._connection,
            update(variant).where(v.id == bindparam("key")).values({name: bindparam(name) for name in keys}),
            [{"key": one.id, **values_of(one)} for one in variants],
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


def _product_values(one: Product) -> dict[str, Any]:
    return {
        "id": one.id, "merchant_id": one.merchant_id, "kind": one.kind, "name": one.name, "description": one.description,
        "brand": one.brand, "category_id": one.category_id, "diet": one.diet, "images": list(one.images),
        "attributes": _attributes(one.attributes), "version": one.version, "copies": list(one.copies),
    }  # fmt: skip
