"""What sources claim where others are believed: folded as it is said again, settled as it is agreed."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import msgspec
from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Row,
    Select,
    Text,
    Uuid,
    and_,
    case,
    cast,
    func,
    literal,
    literal_column,
    or_,
    select,
    type_coerce,
    update,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.ext.asyncio import AsyncConnection

from db.arrays import among, rows
from db.columns import TIME
from db.ids import new_id
from db.pages import By, Page, page
from db.reads import Reads
from db.sources import of_merchant
from db.tables import listing, source, source_conflict, stock_level, store
from domain.conflicts import Claim, ConflictState, Said, SourceConflict
from domain.identity import Actor
from domain.merchants import StoreStatus
from domain.truth import Field, Place

c = source_conflict.c
# As it stands in the partial indexes: of a bound value no plan could know that it fits.
IS_OPEN: ColumnElement[bool] = c.state == literal_column("'OPEN'")
CONFLICT = (
    c.id, c.merchant_id, c.store_id, c.field, c.entity_id, c.source_id, c.owner_id, c.state, c.claimed, c.stands,
    c.source_version, c.said_at, c.times, c.first_at, c.last_at, c.version, source.c.count_drops,
)  # fmt: skip


def visible_to(actor: Actor) -> ColumnElement[bool]:
    return of_merchant(c.merchant_id, actor)


def _conflict(row: Row[Any]) -> SourceConflict:
    return SourceConflict(*row[: len(CONFLICT)])


def _conflicts() -> Select[Any]:
    return select(*CONFLICT).join_from(source_conflict, source, source.c.id == c.source_id)


def _on_sale(row: Any) -> Claim:
    return Claim(price_minor=row.price_minor, mrp_minor=row.mrp_minor, packaging_minor=row.packaging_minor, currency=row.currency)


def _says(row: Any) -> Claim:
    over = row.over or row.status is StoreStatus.OPEN
    status = StoreStatus.OPEN if over else row.status
    return Claim(status=status.value, until=None if over else row.status_until, reason=None if over else row.status_reason)


li, level, st = listing.c, stock_level.c, store.c
# What is so of each field: the entity, what is read of it, and how that is a claim.
STANDS: Mapping[Field, tuple[ColumnElement[UUID], Sequence[ColumnElement[Any]], Callable[[Any], Claim]]] = {
    Field.STOCK: (
        level.listing_id, (level.tracked, level.on_hand), lambda row: Claim(units=row.on_hand if row.tracked else None),
    ),
    Field.AVAILABILITY: (level.listing_id, (level.off, level.back_at), lambda row: Claim(available=not row.off, until=row.back_at)),
    Field.PRICE: (li.id, (li.price_minor, li.mrp_minor, li.packaging_minor, li.currency), _on_sale),
    Field.STATUS: (
        st.id,
        (
            st.status, st.status_until, st.status_reason,
            func.coalesce(st.status_until <= func.clock_timestamp(), False).label("over"),
        ),
        _says,
    ),
}  # fmt: skip


class SqlConflicts:
    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def standing(self, field: Field, entity_ids: Collection[UUID]) -> dict[UUID, Claim]:
        of, columns, to_claim = STANDS[field]
        found = await self._connection.execute(select(of.label("of"), *columns).where(among(of, entity_ids)))
        return {row.of: to_claim(row) for row in found}

    async def known(self, source_id: UUID, said: Sequence[Said]) -> dict[tuple[Field, UUID], SourceConflict]:
        asked = rows(
            "asked", field=(Text(), [one.field.value for one in said]), entity_id=(Uuid(), [one.entity_id for one in said])
        ).c
        mine = and_(c.source_id == source_id, c.field == asked.field, c.entity_id == asked.entity_id)
        return {(one.field, one.entity_id): one for one in await self._locked(_conflicts().where(mine))}

    async def open_on(self, field: Field, entity_ids: Collection[UUID]) -> list[SourceConflict]:
        return await self._locked(_conflicts().where(IS_OPEN, c.field == field, among(c.entity_id, entity_ids)))

    async def _locked(self, found: Select[Any]) -> list[SourceConflict]:
        inorder = found.order_by(c.entity_id, c.field, c.source_id).with_for_update(of=source_conflict)
        return [_conflict(row) for row in await self._connection.execute(inorder)]

    async def write(self, merchant_id: UUID, source_id: UUID, said: Sequence[tuple[Said, Claim]]) -> None:
        inorder = sorted(said, key=lambda pair: (pair[0].entity_id, pair[0].field.value))
        told = [one for one, _ in inorder]
        by = rows(
            "by",
            id=(Uuid(), [new_id() for _ in told]),
            store_id=(Uuid(), [one.store_id for one in told]),
            field=(Text(), [one.field.value for one in told]),
            entity_id=(Uuid(), [one.entity_id for one in told]),
            owner_id=(Uuid(), [one.owner_id for one in told]),
            claimed=(Text(), [msgspec.json.encode(one.claim).decode() for one in told]),
            stands=(Text(), [msgspec.json.encode(stands).decode() for _, stands in inorder]),
            version=(BigInteger(), [one.version for one in told]),
            at=(TIME, [one.at for one in told]),
        ).c
        columns = {
            "id": by.id,
            "merchant_id": literal(merchant_id, Uuid),
            "store_id": by.store_id,
            "field": by.field,
            "entity_id": by.entity_id,
            "source_id": literal(source_id, Uuid),
            "owner_id": by.owner_id,
            "state": literal(ConflictState.OPEN.value, Text),
            "claimed": cast(by.claimed, JSONB),
            "stands": cast(by.stands, JSONB),
            "source_version": by.version,
            "said_at": by.at,
        }
        new = upsert(source_conflict).from_select(list(columns), select(*columns.values()))
        later, now = new.excluded, func.clock_timestamp()
        not_older = case(
            (and_(later.source_version.is_not(None), c.source_version.is_not(None)), later.source_version >= c.source_version),
            else_=later.said_at >= c.said_at,
        )
        # What would be on the shelf changes with every sale: that is no other claim.
        same = type_coerce(c.claimed, JSONB).op("-")(_DUE) == type_coerce(later.claimed, JSONB).op("-")(_DUE)
        goes_on = or_(IS_OPEN, ~not_older, and_(c.state == ConflictState.DISMISSED, same))
        news = ("claimed", "stands", "source_version", "said_at", "owner_id")
        newest = {name: case((not_older, later[name]), else_=c[name]) for name in news}
        await self._connection.execute(
            new.on_conflict_do_update(
                index_elements=[c.source_id, c.field, c.entity_id],
                set_={
                    **newest,
                    "state": case((goes_on, c.state), else_=literal(ConflictState.OPEN.value, Text)),
                    "times": case((goes_on, c.times + 1), else_=1),
                    "first_at": case((goes_on, c.first_at), else_=now),
                    "last_at": now,
                    "version": c.version + 1,
                },
            )
        )

    async def end(self, ids: Collection[UUID], state: ConflictState) -> None:
        await self._connection.execute(update(source_conflict).where(among(c.id, ids)).values(state=state, version=c.version + 1))

    async def ruled(self, rules: Mapping[Place, UUID | None]) -> None:
        by = rows(
            "by",
            store_id=(Uuid(), [store_id for store_id, _ in rules]),
            field=(Text(), [field.value for _, field in rules]),
            source_id=(Uuid(), list(rules.values())),
        )
        there = and_(IS_OPEN, c.store_id == by.c.store_id, c.field == by.c.field)
        moot = or_(by.c.source_id.is_(None), by.c.source_id == c.source_id)
        await self._connection.execute(
            update(source_conflict).where(there, moot).values(state=ConflictState.SETTLED, version=c.version + 1)
        )
        await self._connection.execute(update(source_conflict).where(there).values(owner_id=by.c.source_id, version=c.version + 1))

    async def find(self, id: UUID, actor: Actor) -> SourceConflict | None:
        row = (await self._connection.execute(_conflicts().where(c.id == id).where(visible_to(actor)))).one_or_none()
        return _conflict(row) if row else None

    async def lock(self, seen: SourceConflict) -> SourceConflict:
        beside = and_(IS_OPEN, c.field == seen.field, c.entity_id == seen.entity_id)
        locked = {one.id: one for one in await self._locked(_conflicts().where(or_(c.id == seen.id, beside)))}
        return locked[seen.id]


_DUE = literal("due", Text)


# ---------------------------------------------------------------- for people


@dataclass(frozen=True, slots=True)
class ConflictFilter:
    merchant_id: UUID | None = None  # of all the actor may see
    store_id: UUID | None = None
    source_id: UUID | None = None
    field: Field | None = None
    state: ConflictState | None = ConflictState.OPEN


async def conflict_page(
    reads: Reads, actor: Actor, which: ConflictFilter, first: int | None, after: str | None
) -> Page[SourceConflict]:
    """The newest first, by when they were first said. Refuses InvalidInput for a page that cannot be."""
    found = _conflicts().where(visible_to(actor))
    told = (which.merchant_id, which.store_id, which.source_id, which.field, which.state)
    for column, value in zip((c.merchant_id, c.store_id, c.source_id, c.field, c.state), told, strict=True):
        if value is not None:
            found = found.where(column == value)
    return await page(reads, found, [By(c.id, descending=True)], _conflict, first, after, "conflicts")


async def conflict_by_id(reads: Reads, actor: Actor, id: UUID) -> SourceConflict | None:
    row = await reads.one(_conflicts().where(c.id == id).where(visible_to(actor)))
    return _conflict(row) if row else None
