"""Who is believed: the rules of stores, and each merchant's dashboard as a source."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    TableValuedAlias,
    Text,
    Uuid,
    and_,
    cast,
    delete,
    func,
    literal,
    literal_column,
    select,
    true,
)
from sqlalchemy.dialects.postgresql import distinct_on
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.ext.asyncio import AsyncConnection

from db.arrays import among, rows
from db.ids import new_id
from db.reads import Reads
from db.sources import of_merchant
from db.tables import listing, mapping, source, source_of_truth, store, told
from domain.identity import Actor
from domain.intake import EntityKind, Family
from domain.truth import DASHBOARD, Believed, Field, Place

r, s, t = source_of_truth.c, source.c, told.c
# As it stands in the partial index: of a bound value nobody could know that it fits.
IS_DASHBOARD: ColumnElement[bool] = s.provider == literal_column(f"'{DASHBOARD}'")
_SEED = 0x74727574685F6F66  # of the locks of merchants, among all that are held by number


def _lock(merchant_id: ColumnElement[Any]) -> ColumnElement[int]:
    return func.hashtextextended(cast(merchant_id, Text), literal(_SEED, BigInteger))


def holding(merchant_id: ColumnElement[Any]) -> ColumnElement[Any]:
    """Selected, it is held: who is believed by this merchant stays so until the transaction ends. What is selected beside it may be
    older than that."""
    return func.pg_advisory_xact_lock_shared(_lock(merchant_id))


class SqlTruth:
    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def hold_of_listing(self, listing_id: UUID) -> None:
        await self._connection.execute(select(holding(listing.c.merchant_id)).where(listing.c.id == listing_id))

    async def hold_of_store(self, store_id: UUID) -> None:
        await self._connection.execute(select(holding(store.c.merchant_id)).where(store.c.id == store_id))

    async def hold_alone(self, merchant_id: UUID) -> None:
        await self._connection.execute(select(func.pg_advisory_xact_lock(_lock(literal(merchant_id, Uuid)))))

    async def believed(self, places: Collection[Place]) -> dict[Place, Believed]:
        asked = _places(places)
        found = await self._connection.execute(
            select(r.store_id, r.field, s.id, s.provider)
            .join(source, s.id == r.source_id)
            .join(asked, and_(asked.c.store_id == r.store_id, asked.c.field == r.field))
        )
        return {(row.store_id, row.field): Believed(row.id, row.provider) for row in found}

    async def dashboard(self, merchant_id: UUID) -> UUID:
        mine = select(s.id).where(s.merchant_id == merchant_id, s.provider == DASHBOARD)
        made: UUID | None = (await self._connection.execute(mine)).scalar_one_or_none()
        if made is None:
            new = upsert(source).values(id=new_id(), merchant_id=merchant_id, provider=DASHBOARD, family=Family.SELLER)
            one_each = new.on_conflict_do_nothing(index_elements=[s.merchant_id], index_where=IS_DASHBOARD)
            await self._connection.execute(one_each)
            made = (await self._connection.execute(mine)).scalar_one()
        return made

    async def speakers(self, merchant_id: UUID, source_ids: Collection[UUID]) -> dict[UUID, tuple[str, Collection[UUID]]]:
        m = mapping.c
        stores = func.array_agg(m.id).filter(m.id.is_not(None))
        found = await self._connection.execute(
            select(s.id, s.provider, stores.label("stores"))
            .join(mapping, and_(m.source_id == s.id, m.kind == EntityKind.STORE), isouter=True)
            .where(s.merchant_id == merchant_id, among(s.id, source_ids))
            .group_by(s.id)
        )
        return {row.id: (row.provider, frozenset(row.stores or ())) for row in found}

    async def set(self, merchant_id: UUID, rules: Mapping[Place, UUID | None]) -> None:
        free = _places([place for place, source_id in rules.items() if source_id is None])
        await self._connection.execute(delete(source_of_truth).where(r.store_id == free.c.store_id, r.field == free.c.field))
        named = [
            {"store_id": store_id, "field": field, "merchant_id": merchant_id, "source_id": source_id}
            for (store_id, field), source_id in rules.items()
            if source_id is not None
        ]
        if not named:
            return
        new = upsert(source_of_truth).values(named)
        await self._connection.execute(
            new.on_conflict_do_update(
                index_elements=[r.store_id, r.field],
                set_={"source_id": new.excluded.source_id, "set_at": func.clock_timestamp()},
            )
        )

    async def heard(self, source_id: UUID, field: Field, entity_id: UUID) -> None:
        now = func.clock_timestamp()
        new = upsert(told).values(source_id=source_id, field=field.value, entity_id=entity_id, at=now)
        await self._connection.execute(
            new.on_conflict_do_update(index_elements=[t.source_id, t.field, t.entity_id], set_={"at": now, "heard_at": now})
        )


def _places(places: Collection[Place]) -> TableValuedAlias:
    asked = list(places)
    return rows("asked", store_id=(Uuid(), [id for id, _ in asked]), field=(Text(), [field.value for _, field in asked]))


# ---------------------------------------------------------------- for people


def visible_to(actor: Actor) -> ColumnElement[bool]:
    return of_merchant(r.merchant_id, actor)


@dataclass(frozen=True, slots=True)
class SourceOfTruth:
    """Where nobody is named there is none."""

    store_id: UUID
    field: Field
    source_id: UUID
    set_at: datetime


async def sources_of_truth(reads: Reads, actor: Actor, merchant_id: UUID, store_id: UUID | None) -> Sequence[SourceOfTruth]:
    found = (
        select(r.store_id, r.field, r.source_id, r.set_at)
        .where(visible_to(actor), r.merchant_id == merchant_id)
        .where(true() if store_id is None else r.store_id == store_id)
        .order_by(r.store_id, r.field)
    )
    return [SourceOfTruth(*row) for row in await reads.rows(found)]


async def price_sources(reads: Reads, listing_ids: Sequence[UUID]) -> Sequence[tuple[UUID, UUID]]:
    """(listing id, source id): whose word was carried out last. Of one that nobody has told yet there is none."""
    li = listing.c
    found = (
        select(li.id, t.source_id)
        .ext(distinct_on(li.id))
        .join(source, s.merchant_id == li.merchant_id)
        .join(told, and_(t.source_id == s.id, t.field == Field.PRICE.value, t.entity_id == li.id))
        .where(among(li.id, listing_ids))
        .order_by(li.id, t.heard_at.desc())
    )
    return [(row.id, row.source_id) for row in await reads.rows(found)]
