"""Listings as they are written: many rows a statement, since a file of a grocery has twenty thousand."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import fields
from datetime import datetime
from typing import Any
from uuid import UUID

import msgspec
from sqlalchemy import (
    Boolean,
    ColumnElement,
    Executable,
    Integer,
    Row,
    Text,
    Uuid,
    and_,
    cast,
    false,
    func,
    insert,
    literal,
    select,
    true,
    update,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.ext.asyncio import AsyncConnection

from db.arrays import among, each, rows, values_of
from db.columns import MINOR, TIME
from db.identity import stores_of
from db.tables import (
    listing,
    product,
    stock_level,
    store,
)
from domain.identity import Actor, ActorKind
from domain.listings import Listing

p, li = product.c, listing.c
LISTING = tuple(li[field.name] for field in fields(Listing))  # in the order in which its class takes them
NOW = func.clock_timestamp()


def _told(at: ColumnElement[Any]) -> ColumnElement[Any]:
    """Older news that is carried out later makes nothing newer than it was."""
    return func.greatest(li.told_at, func.coalesce(at, NOW))


def visible_to(actor: Actor) -> ColumnElement[bool]:
    """The listings this actor may change: those of the stores it may act for. What anybody may read is not asked here."""
    match actor:
        case Actor(kind=ActorKind.MERCHANT, id=UUID()):
            return li.store_id.in_(stores_of(actor))
        case Actor(kind=ActorKind.SUPPORT, id=UUID()) | Actor(kind=ActorKind.CLOCK):
            return true()
        case _:
            return false()


class SqlListings:
    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def _rows(self, statement: Executable) -> Sequence[Row[*tuple[Any, ...]]]:
        return (await self._connection.execute(statement)).all()

    async def lock(self, listing_ids: Collection[UUID], actor: Actor | None = None) -> dict[UUID, Listing]:
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
        self, store_id: UUID, keep: Collection[UUID], among: Collection[UUID] | None, told_before: datetime
    ) -> list[Listing]:
        kept = rows("kept", id=(Uuid(), list(keep)))
        gone = (
            select(*LISTING)
            .where(li.store_id == store_id, li.active, li.told_at < told_before)
            .where(~select(kept.c.id).where(kept.c.id == li.id).exists())
        )
        if among is not None:
            some = rows("some", id=(Uuid(), list(among)))
            gone = gone.where(select(some.c.id).where(some.c.id == li.id).exists())
        return [Listing(*row) for row in await self._rows(gone.order_by(li.id).with_for_update(of=listing, key_share=True))]

    async def add(self, listings: Sequence[Listing], told: Mapping[UUID, datetime]) -> None:
        if not listings:
            return
        found = await self._rows(select(p.id, p.name).where(among(p.id, {one.product_id for one in listings})))
        names = {row.id: row.name for row in found}
        now = (await self._connection.execute(select(NOW))).scalar_one()
        await each(
            self._connection,
            insert(listing),
            [{**values_of(one), "name": names[one.product_id], "told_at": told.get(one.id, now)} for one in listings],
        )
        await self._connection.execute(
            insert(stock_level).from_select(
                ["listing_id", "store_id", "merchant_id", "counts_hidden", "version"],
                select(li.id, li.store_id, li.merchant_id, store.c.counts_hidden, literal(0))
                .join(store, store.c.id == li.store_id)
                .where(among(li.id, [one.id for one in listings])),
            )
        )

    async def change(self, listings: Sequence[Listing], told: Mapping[UUID, datetime] | None) -> None:
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
            told_at=(TIME, [told.get(one.id) if told else None for one in listings]),
            taxes=(Text(), [None if one.taxes is None else msgspec.json.encode(one.taxes).decode() for one in listings]),
        )
        values: dict[str, ColumnElement[Any]] = {
            name: by.c[name] for name in ("price_minor", "mrp_minor", "packaging_minor", "active", "max_per_order", "version")
        }
        if told is not None:
            values["told_at"] = _told(by.c.told_at)
        await self._connection.execute(
            update(listing)
            .where(li.id == by.c.id, p.id == by.c.product_id)
            .values(**values, taxes=cast(by.c.taxes, JSONB), product_id=p.id, name=p.name)
        )

    async def touch(self, listing_ids: Collection[UUID], told: Mapping[UUID, datetime]) -> None:
        if listing_ids:
            ids = list(listing_ids)
            by = rows("by", id=(Uuid(), ids), told_at=(TIME, [told.get(id) for id in ids]))
            await self._connection.execute(update(listing).where(li.id == by.c.id).values(told_at=_told(by.c.told_at)))
