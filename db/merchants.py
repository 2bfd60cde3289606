"""Merchants and their stores: where, when and on what terms they sell. Anybody may read a store; its staff write it."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from math import cos, radians
from typing import Any
from uuid import UUID

from sqlalchemy import (
    ColumnElement,
    Date,
    DateTime,
    Integer,
    Interval,
    Row,
    Select,
    and_,
    bindparam,
    cast,
    column,
    delete,
    exists,
    false,
    func,
    insert,
    literal,
    or_,
    select,
    true,
    union_all,
    update,
    values,
)
from sqlalchemy.dialects.postgresql import aggregate_order_by
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.ext.asyncio import AsyncConnection

from db.arrays import among, each, in_ids
from db.identity import merchants_of, stores_of
from db.ids import new_id
from db.pages import By, Page, empty, page
from db.reads import Reads
from db.tables import mapping, merchant, store, store_hours, store_hours_exception
from db.words import asked, beginnings
from domain.identity import Actor, ActorKind
from domain.intake import EntityKind
from domain.merchants import (
    DAY,
    SELLING,
    AddStore,
    Hours,
    HoursException,
    LockedStore,
    Merchant,
    Store,
)
from domain.places import EARTH_RADIUS_M, Point

s, hours, instead = store.c, store_hours.c, store_hours_exception.c
StoreRow = Store  # what reads return and quotes decide by is one class
NEAR_M = 50_000  # nobody looks for a store farther away
METRES_A_DEGREE = 110_000  # of latitude, at least


def visible_to(actor: Actor) -> ColumnElement[bool]:
    """The stores the actor may act for. What anybody may read of a store is not asked here."""
    match actor:
        case Actor(kind=ActorKind.MERCHANT | ActorKind.SOURCE, id=UUID()):
            return s.id.in_(stores_of(actor))
        case Actor(kind=ActorKind.SUPPORT, id=UUID()) | Actor(kind=ActorKind.CLOCK):
            return true()
        case _:
            return false()


# ---------------------------------------------------------------- the rule of domain/merchants.py, in SQL


def within_hours(moment: ColumnElement[Any]) -> ColumnElement[bool]:
    """Whether the row's store is open by its hours at that moment."""
    today = cast(func.timezone(s.time_zone, moment), Date)
    days = values(column("back", Integer), name="days").data([(0,), (1,)])
    day = (today - days.c.back).cast(Date)
    excepted = exists().where(instead.store_id == s.id, instead.day == day)
    spans = union_all(
        select(instead.opens.label("opens"), instead.closes.label("closes"))
        .where(instead.store_id == s.id, instead.day == day, instead.opens.is_not(None), instead.closes.is_not(None))
        .correlate(store, days),
        select(hours.opens, hours.closes)
        .where(hours.store_id == s.id, hours.weekday == func.extract("isodow", day) - 1, ~excepted.correlate(store, days))
        .correlate(store, days),
        select(literal(0, Integer), literal(DAY, Integer))
        .where(~exists().where(hours.store_id == s.id).correlate(store), ~excepted.correlate(store, days))
        .correlate(store, days),
    ).lateral("spans")
    return (
        select(literal(1))
        .select_from(days.join(spans, true()))
        .where(_instant(day, spans.c.opens) <= moment, moment < _instant(day, spans.c.closes))
        .correlate(store)
        .exists()
    )


def _instant(day: ColumnElement[Any], minutes: ColumnElement[Any]) -> ColumnElement[Any]:
    return func.timezone(
        s.time_zone, day + func.make_interval(0, 0, 0, 0, 0, minutes, type_=Interval), type_=DateTime(timezone=True)
    )


def open_at(moment: ColumnElement[Any]) -> ColumnElement[bool]:
    """Whether the row's store takes orders at that moment."""
    says = or_(s.status.in_(SELLING), and_(s.status_until.is_not(None), s.status_until <= moment))
    return and_(s.archived_at.is_(None), says, within_hours(moment))


def distance_metres(point: Point) -> ColumnElement[int]:
    """From the row's store, as `metres_between` has it."""
    lat, lng = func.radians(s.lat), func.radians(s.lng)
    here_lat, here_lng = func.radians(literal(point.lat)), func.radians(literal(point.lng))
    half = func.power(func.sin((lat - here_lat) / 2), 2) + func.cos(here_lat) * func.cos(lat) * func.power(
        func.sin((lng - here_lng) / 2), 2
    )
    return cast(func.round(2 * EARTH_RADIUS_M * func.asin(func.sqrt(func.least(1.0, half)))), Integer)


def around(point: Point, metres: int) -> ColumnElement[bool]:
    """A box that holds all within so many metres, and more: for an index to begin with."""
    high = metres / METRES_A_DEGREE
    box = s.lat.between(point.lat - high, point.lat + high)
    widest = max(abs(point.lat - high), abs(point.lat + high))
    if widest >= 89:
        return box  # near a pole every longitude is
    wide = high / cos(radians(widest))
    west, east = point.lng - wide, point.lng + wide
    if wide >= 180:
        return box
    if west < -180:
        return and_(box, or_(s.lng >= west + 360, s.lng <= east))
    if east > 180:
        return and_(box, or_(s.lng >= west, s.lng <= east - 360))
    return and_(box, s.lng.between(west, east))


# ---------------------------------------------------------------- reads

_HOURS = (
    select(
        func.jsonb_agg(
            aggregate_order_by(func.jsonb_build_array(hours.weekday, hours.opens, hours.closes), hours.weekday, hours.opens)
        )
    )
    .where(hours.store_id == s.id)
    .scalar_subquery()
)
NOW = func.clock_timestamp()


def _reading(now: ColumnElement[Any]) -> Select[Any]:
    recent = (
        select(func.jsonb_agg(func.jsonb_build_array(instead.day, instead.opens, instead.closes)))
        .where(instead.store_id == s.id, instead.day >= cast(now, Date) - 2)  # yesterday's may run past midnight
        .scalar_subquery()
    )
    return select(
        s.id, s.merchant_id, s.slug, s.name, s.city, s.lat, s.lng, s.time_zone, s.status, s.status_until, s.status_reason,
        s.prep_minutes, s.radius_m, s.delivery_minor, s.packaging_minor, s.minimum_minor, s.currency, s.counts_hidden,
        s.self_delivery, s.cash_allowed, s.archived_at, s.version, _HOURS.label("hours"), recent.label("exceptions"),
        now.label("read_at"),
    )  # fmt: skip


_STORES = _reading(NOW)
_STORES_BY_ID = _STORES.where(in_ids(s.id))


def _store(row: Row[*tuple[Any, ...]]) -> Store:
    return Store(
        row.id, row.merchant_id, row.slug, row.name, row.city, Point(row.lat, row.lng), row.time_zone, row.status, row.status_until,
        row.status_reason, row.prep_minutes, row.radius_m, row.delivery_minor, row.packaging_minor, row.minimum_minor, row.currency,
        row.counts_hidden, row.self_delivery, row.cash_allowed, row.archived_at is not None, row.version,
        [Hours(*span) for span in row.hours or ()],
        [HoursException(date.fromisoformat(day), opens, closes) for day, opens, closes in row.exceptions or ()],
        row.read_at,
    )  # fmt: skip


async def stores_by_id(reads: Reads, store_ids: Sequence[UUID], now: datetime | None = None) -> list[Store]:
    """In no order, archived ones too. With `now`: as they stand at that moment."""
    if now is None:
        return [_store(row) for row in await reads.rows(_STORES_BY_ID, {"ids": store_ids})]
    statement = _reading(literal(now, DateTime(timezone=True)))
    return [_store(row) for row in await reads.rows(statement.where(among(s.id, store_ids)))]


async def store_by_slug(reads: Reads, slug: str) -> Store | None:
    """Refuses InvalidInput for what is no text."""
    row = await reads.one(_STORES.where(s.slug == asked(slug, "slug")))
    return _store(row) if row else None


@dataclass(frozen=True, slots=True)
class StoreSearch:
    near: Point | None = None
    open: bool | None = None
    text: str | None = None


async def stores(reads: Reads, search: StoreSearch, first: int | None, after: str | None) -> Page[Store]:
    """The nearest first, of those within 50 km; without a point by name. Refuses InvalidInput."""
    found = _STORES.where(s.archived_at.is_(None))
    if search.text is not None and search.text.strip():
        words = beginnings(search.text, "text")
        if words is None:
            return empty(found)
        found = found.where(s.search.op("@@")(words))
    if search.open is not None:
        found = found.where(open_at(NOW) if search.open else ~open_at(NOW))
    if search.near is None:
        return await page(reads, found, [By(s.name), By(s.id)], _store, first, after, "name")
    far = distance_metres(search.near)
    found = found.where(around(search.near, NEAR_M), far <= NEAR_M)
    return await page(reads, found, [By(far), By(s.id)], _store, first, after, "near")


async def merchants_by_id(reads: Reads, merchant_ids: Sequence[UUID]) -> list[Merchant]:
    rows = await reads.rows(select(merchant.c.id, merchant.c.name).where(merchant.c.id.in_(merchant_ids)))
    return [Merchant(row.id, row.name) for row in rows]


async def merchant_by_slug(reads: Reads, slug: str) -> Merchant | None:
    row = await reads.one(select(merchant.c.id, merchant.c.name).where(merchant.c.slug == slug))
    return Merchant(row.id, row.name) if row else None


async def merchant_slugs(reads: Reads, first: int) -> list[str]:
    return [row.slug for row in await reads.rows(select(merchant.c.slug).order_by(merchant.c.slug).limit(first))]


async def store_slugs(reads: Reads, first: int) -> list[str]:
    """Of stores that are not archived."""
    return [row.slug for row in await reads.rows(select(s.slug).where(s.archived_at.is_(None)).order_by(s.slug).limit(first))]


async def own_merchants(reads: Reads, actor: Actor, merchant_id: UUID | None = None) -> list[Merchant]:
    """Those the actor is a member of, or that one of them; of no more than two."""
    mine = select(merchant.c.id, merchant.c.name).where(merchant.c.id.in_(merchants_of(actor)))
    if merchant_id is not None:
        mine = mine.where(merchant.c.id == merchant_id)
    return [Merchant(row.id, row.name) for row in await reads.rows(mine.order_by(merchant.c.id).limit(2))]


async def stores_of_merchant(reads: Reads, actor: Actor, merchant_id: UUID) -> list[Store]:
    """Those the actor may act for, by name."""
    mine = _STORES.where(s.merchant_id == merchant_id, s.archived_at.is_(None)).where(visible_to(actor))
    return [_store(row) for row in await reads.rows(mine.order_by(s.name, s.id))]


async def stores_of_sources(reads: Reads, source_ids: Sequence[UUID]) -> list[tuple[UUID, Store]]:
    """Those that each source's own ids are mapped to, by name. Whoever has the source may know them."""
    m = mapping.c
    linked = _STORES.add_columns(m.source_id).join(mapping, (m.id == s.id) & (m.kind == EntityKind.STORE))
    found = await reads.rows(linked.where(m.source_id.in_(source_ids), s.archived_at.is_(None)).order_by(s.name, s.id))
    stores = {(row.source_id, row.id): _store(row) for row in found}  # a provider may have two ids of one
    return [(source_id, one) for (source_id, _), one in stores.items()]


# ---------------------------------------------------------------- writes

_LOCKED_BY_ID = _STORES_BY_ID.add_columns(s.told).order_by(s.id)
_KEPT = (
    update(store)
    .where(s.id == bindparam("store"))
    .values(
        status=bindparam("said"), status_until=bindparam("until"), status_reason=bindparam("reason"),
        version=bindparam("now_at"), told=bindparam("state"), look_at=bindparam("then"),
    )
)  # fmt: skip


class SqlMerchants:
    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def lock_stores(self, store_ids: Iterable[UUID], actor: Actor) -> dict[UUID, LockedStore]:
        locked = await self._connection.execute(
            select(s.id)
            .where(s.id.in_(set(store_ids)))
            .where(visible_to(actor))
            .order_by(s.id)
            .with_for_update(of=store, key_share=True)  # orders that point at it go on being placed
        )
        return {one.store.id: one for one in await self._read(locked.scalars().all())}

    async def lock_due(self, limit: int) -> list[LockedStore]:
        # By the time of the statement: an index cannot be searched for what another moment of it would tell otherwise.
        due = select(s.id).where(s.look_at <= func.statement_timestamp()).order_by(s.look_at).limit(limit)
        locked = await self._connection.execute(
            select(s.id)
            .where(s.id.in_((await self._connection.execute(due)).scalars().all()), s.look_at <= NOW)
            .order_by(s.id)
            .with_for_update(skip_locked=True, key_share=True)
        )
        return await self._read(locked.scalars().all())

    async def _read(self, locked: Sequence[UUID]) -> list[LockedStore]:
        """After the locks, in a statement of its own: hours that others have written meanwhile are among what it sees."""
        if not locked:
            return []
        found = await self._connection.execute(_LOCKED_BY_ID, {"ids": locked})
        return [LockedStore(_store(row), row.told) for row in found]

    async def keep(self, stores: Sequence[Store]) -> None:
        await each(
            self._connection,
            _KEPT,
            [
                {
                    "store": one.id, "said": one.said, "until": one.until, "reason": one.reason, "now_at": one.version,
                    "state": one.state, "then": one.look_at,
                }
                for one in stores
            ],
        )  # fmt: skip

    async def add_store(self, store_id: UUID, command: AddStore) -> tuple[UUID, bool]:
        made = await self._connection.execute(
            upsert(store)
            .values(
                id=store_id, merchant_id=command.merchant_id, slug=command.slug, name=command.name, city=command.city,
                lat=command.location.lat, lng=command.location.lng, time_zone=command.time_zone, prep_minutes=command.prep_minutes,
                radius_m=command.radius_m, delivery_minor=command.delivery_minor, packaging_minor=command.packaging_minor,
                minimum_minor=command.minimum_minor, currency=command.currency, counts_hidden=command.counts_hidden,
                self_delivery=command.self_delivery, cash_allowed=command.cash_allowed,
            )
            .on_conflict_do_nothing(index_elements=["slug"])
            .returning(s.id)
        )  # fmt: skip
        if made.one_or_none() is None:
            found = await self._connection.execute(select(s.id).where(s.slug == command.slug))
            there: UUID = found.scalar_one()
            return there, False
        await self.set_hours(store_id, command.hours)
        return store_id, True

    async def set_hours(self, store_id: UUID, hours: Sequence[Hours], exceptions: Sequence[HoursException] = ()) -> None:
        """The row comes first: who has locked it reads the hours after it."""
        await self._connection.execute(update(store).where(s.id == store_id).values(look_at=NOW))
        for table in (store_hours, store_hours_exception):
            await self._connection.execute(delete(table).where(table.c.store_id == store_id))
        await each(self._connection, insert(store_hours), [{"store_id": store_id, **span._asdict()} for span in hours])
        await each(
            self._connection,
            insert(store_hours_exception),
            [{"id": new_id(), "store_id": store_id, **one._asdict()} for one in exceptions],
        )
