"""Sources: who may know of one, how a call finds its own, what its ids mean."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import (
    Boolean,
    ColumnElement,
    Row,
    Select,
    Text,
    Uuid,
    and_,
    bindparam,
    case,
    exists,
    false,
    func,
    literal,
    literal_column,
    null,
    or_,
    select,
    true,
    union,
    update,
)
from sqlalchemy.dialects.postgresql import aggregate_order_by, insert
from sqlalchemy.ext.asyncio import AsyncConnection

from db.arrays import rows
from db.identity import merchants_of
from db.reads import Reads
from db.tables import (
    category,
    listing,
    mapping,
    merchant,
    modifier,
    payload,
    product,
    source,
    source_profile,
    source_secret,
    source_telling,
    stock_level,
    store,
    variant,
)
from domain.canonical import FORM
from domain.identity import Actor, ActorKind, MerchantRole, Seals
from domain.intake import EntityKind, Family, PayloadState
from domain.intake import Source as ProvenSource
from domain.judgement import Standing
from domain.payloads import SEEN_EVERY_S
from domain.proofs import Proof, Strategy
from domain.sources import LockedSource, NewSecret, NewSource
from domain.suggestions import forms_of
from domain.truth import DASHBOARD

s, secret, m = source.c, source_secret.c, mapping.c
# As it stands in the partial index: of a bound value no plan could know that it fits.
IS_VARIANT: ColumnElement[Any] = literal_column("'VARIANT'")
LAST_CHARACTER = "\U0010ffff"
OWNED = {
    EntityKind.MERCHANT: (merchant.c.id, merchant.c.id),
    EntityKind.STORE: (store.c.id, store.c.merchant_id),
    EntityKind.PRODUCT: (product.c.id, product.c.merchant_id),
    EntityKind.VARIANT: (variant.c.id, variant.c.merchant_id),
    EntityKind.MODIFIER: (modifier.c.id, modifier.c.merchant_id),
}


def of_merchant(merchant_id: ColumnElement[Any], actor: Actor) -> ColumnElement[bool]:
    """What the staff who look after a merchant's sources may see of them: its owners and managers, and support."""
    match actor:
        case Actor(kind=ActorKind.SUPPORT, id=UUID()):
            return true()
        case Actor(kind=ActorKind.MERCHANT, id=UUID()):
            return merchant_id.in_(merchants_of(actor, MerchantRole.OWNER, MerchantRole.MANAGER))
        case _:
            return false()


def visible_to(actor: Actor) -> ColumnElement[bool]:
    return of_merchant(s.merchant_id, actor)


class SqlSources:
    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def add(self, new: NewSource) -> None:
        row = {"id": new.id, "merchant_id": new.merchant_id, "provider": new.provider, "family": new.family}
        await self._connection.execute(insert(source).values(row if new.proof is None else {**row, "proof": new.proof}))

    async def add_secret(self, id: UUID, source_id: UUID, new: NewSecret) -> None:
        await self._connection.execute(
            insert(source_secret).values(id=id, source_id=source_id, hash=new.hash, sealed=new.sealed, not_before=new.not_before)
        )

    async def retire_secrets(self, source_id: UUID, from_: datetime, not_after: datetime, keep: int) -> None:
        mine, now = secret.source_id == source_id, func.clock_timestamp()
        newest = select(secret.id).where(mine, LIVE_SECRET).order_by(secret.id.desc())
        ends = case(
            (secret.not_before > now, now),
            (secret.id == newest.limit(1).scalar_subquery(), not_after),
            (secret.id.in_(newest.limit(keep)), func.least(secret.not_after, not_after)),
            else_=func.least(secret.not_after, from_),
        )
        ended = func.coalesce(secret.not_after <= now, False)
        await self._connection.execute(update(source_secret).where(mine, ~ended).values(not_after=ends))

    async def set(
        self,
        source_id: UUID,
        enabled: bool | None,
        ip_allow: Sequence[str] | None,
        proof: Proof | None,
        *,
        usual_proof: bool,
        may_create: bool | None,
    ) -> None:
        said = {"enabled": enabled, "ip_allow": ip_allow, "proof": null() if usual_proof else proof, "may_create": may_create}
        changed = {name: value for name, value in said.items() if value is not None}
        await self._connection.execute(update(source).where(s.id == source_id).values(changed))

    async def lock(self, source_id: UUID, actor: Actor) -> LockedSource | None:
        found = await self._connection.execute(
            select(s.id, s.merchant_id, s.provider, s.family)
            .where(s.id == source_id, s.provider != DASHBOARD)  # nothing of that is to be set: nobody calls us by it
            .where(visible_to(actor))
            .with_for_update(key_share=True)  # what its partner sends goes on being kept
        )
        row = found.one_or_none()
        return LockedSource(*row) if row else None

    async def find(self, merchant_id: UUID, provider: str) -> UUID | None:
        found = select(s.id).where(s.merchant_id == merchant_id, s.provider == provider).order_by(s.id).limit(1)
        id: UUID | None = (await self._connection.execute(found)).scalar_one_or_none()
        return id

    async def merchant_of(self, source_id: UUID) -> UUID:
        merchant_id: UUID = (await self._connection.execute(select(s.merchant_id).where(s.id == source_id))).scalar_one()
        return merchant_id

    async def seen(self, source_id: UUID) -> None:
        now = func.clock_timestamp()
        lately = func.coalesce(s.last_seen_at > now - timedelta(seconds=SEEN_EVERY_S), False)
        await self._connection.execute(update(source).where(s.id == source_id, ~lately).values(last_seen_at=now))

    async def owned(self, merchant_id: UUID, kind: EntityKind, id: UUID) -> bool:
        if kind is EntityKind.CATEGORY:
            found = select(category.c.id).where(category.c.id == id)
        else:
            own, owner = OWNED[kind]
            found = select(own).where(own == id, owner == merchant_id)
        return (await self._connection.execute(found)).scalar_one_or_none() is not None

    async def meant(self, merchant_id: UUID, kind: EntityKind, told: Collection[str]) -> dict[str, list[UUID]]:
        ids = {text: id for text in told if (id := _uuid(text)) is not None}
        written = [(text, form) for text in sorted(set(told)) for form in {text, *forms_of(text)}]
        named = rows("named", told=(Text(), list(ids)), id=(Uuid(), list(ids.values()))).c
        asked = rows("asked", told=(Text(), [one[0] for one in written]), code=(Text(), [one[1] for one in written])).c
        if kind is EntityKind.CATEGORY:
            path = func.string_to_array(asked.code, " / ")
            looks: list[Select[Any]] = [
                select(named.told, category.c.id).where(category.c.id == named.id),
                select(asked.told, category.c.id).where(category.c.path == path, asked.told == asked.code),
            ]
        else:
            own, owner = OWNED[kind]
            looks = [select(named.told, own).where(own == named.id, owner == merchant_id)]
        if kind in (EntityKind.VARIANT, EntityKind.PRODUCT):
            v, own = variant.c, variant.c.id if kind is EntityKind.VARIANT else variant.c.product_id
            exact = asked.told == asked.code
            looks.append(select(asked.told, own).where(v.merchant_id == merchant_id, v.sku == asked.code, exact))
            looks.append(select(asked.told, own).where(v.merchant_id == merchant_id, v.barcode == asked.code))
        elif kind is EntityKind.STORE:
            looks.append(select(asked.told, store.c.id).where(store.c.merchant_id == merchant_id, store.c.slug == asked.code))
        found: dict[str, list[UUID]] = {}
        for row in await self._connection.execute(union(*looks)):
            found.setdefault(row[0], []).append(row[1])
        return found

    async def map(self, known: LockedSource, kind: EntityKind, ids: Sequence[tuple[str, UUID]]) -> None:
        if not ids:
            return
        inorder = sorted(dict(ids).items())
        one = rows("one", external_id=(Text(), [told for told, _ in inorder]), id=(Uuid(), [id for _, id in inorder])).c
        new = insert(mapping).from_select(
            ["source_id", "kind", "external_id", "merchant_id", "id"],
            select(literal(known.id, Uuid), literal(kind.value, Text), one.external_id, literal(known.merchant_id, Uuid), one.id),
        )
        await self._connection.execute(
            new.on_conflict_do_update(
                index_elements=[m.source_id, m.kind, m.external_id], set_={"id": new.excluded.id}, where=m.id != new.excluded.id
            )
        )

    async def sizes(self, source_id: UUID, size_ids: Mapping[str, str | None]) -> None:
        told = sorted((external_id, size_id) for external_id, size_id in size_ids.items() if size_id is not None)
        if not told:
            return
        one = rows("one", external_id=(Text(), [id for id, _ in told]), size_id=(Text(), [id for _, id in told])).c
        await self._connection.execute(
            update(mapping)
            .where(m.source_id == source_id, m.kind == EntityKind.VARIANT, m.external_id == one.external_id)
            .where(m.size_id.is_distinct_from(one.size_id))
            .values(size_id=one.size_id)
        )

    async def mapped(self, source_id: UUID, kind: EntityKind, external_ids: Collection[str]) -> dict[str, UUID]:
        if not external_ids:
            return {}
        asked = rows("asked", external_id=(Text(), sorted(set(external_ids)))).c
        found = await self._connection.execute(
            select(m.external_id, m.id).where(m.source_id == source_id, m.kind == kind, m.external_id == asked.external_id)
        )
        return {row.external_id: row.id for row in found}

    async def formed(self, source_id: UUID, options: Collection[str]) -> dict[str, list[UUID]]:
        if not options:
            return {}
        asked = rows("asked", option=(Text(), sorted(set(options)))).c
        # Written backwards, what ends alike begins alike: a stretch of the index for each option.
        end = func.reverse(literal(FORM) + asked.option, type_=Text())
        found = await self._connection.execute(
            select(asked.option, m.id)
            .where(
                m.source_id == source_id,
                m.kind == IS_VARIANT,
                m.backwards >= end,
                m.backwards <= end + literal(LAST_CHARACTER),
                func.starts_with(m.backwards, end, type_=Boolean()),
            )
            .order_by(asked.option, m.id)
        )
        forms: dict[str, list[UUID]] = {}
        for row in found:
            forms.setdefault(row.option, []).append(row.id)
        return forms

    async def all_mapped(self, source_id: UUID, kind: EntityKind) -> dict[str, UUID]:
        found = await self._connection.execute(select(m.external_id, m.id).where(m.source_id == source_id, m.kind == kind))
        return {row.external_id: row.id for row in found}

    async def listed(self, places: Collection[tuple[UUID, UUID]]) -> dict[tuple[UUID, UUID], UUID]:
        asked = _places(places)
        found = await self._connection.execute(
            select(listing.c.id, asked.store_id, asked.of).where(
                listing.c.store_id == asked.store_id, listing.c.variant_id == asked.of
            )
        )
        return {(row.store_id, row.of): row.id for row in found}

    async def listed_products(self, places: Collection[tuple[UUID, UUID]]) -> dict[tuple[UUID, UUID], list[tuple[UUID, UUID]]]:
        asked = _places(places)
        found = await self._connection.execute(
            select(listing.c.id, listing.c.variant_id, asked.store_id, asked.of).where(
                listing.c.store_id == asked.store_id, listing.c.product_id == asked.of
            )
        )
        listed: dict[tuple[UUID, UUID], list[tuple[UUID, UUID]]] = {}
        for row in found:
            listed.setdefault((row.store_id, row.of), []).append((row.variant_id, row.id))
        return listed

    async def standing(self, source_id: UUID, store_id: UUID) -> list[Standing]:
        li, level, item = listing.c, stock_level.c, mapping.alias("item")
        sellable = and_(~level.off, or_(~level.tracked, level.on_hand - level.held - level.allocated - level.buffer > 0))
        found = await self._connection.execute(
            select(m.external_id, item.c.external_id, li.price_minor, sellable)
            .join_from(mapping, listing, li.variant_id == m.id)
            .join(stock_level, level.listing_id == li.id)
            .join(
                item,
                and_(item.c.source_id == m.source_id, item.c.kind == EntityKind.PRODUCT, item.c.id == li.product_id),
                isouter=True,
            )
            .where(m.source_id == source_id, m.kind == EntityKind.VARIANT, li.store_id == store_id, li.active)
        )
        return [Standing(*row) for row in found]

    async def store_of_slug(self, slug: str) -> tuple[UUID, UUID] | None:
        found = await self._connection.execute(select(store.c.id, store.c.merchant_id).where(store.c.slug == slug))
        row = found.one_or_none()
        return (row.id, row.merchant_id) if row else None


def _uuid(text: str) -> UUID | None:
    try:
        return UUID(text)
    except ValueError:
        return None


def _places(places: Collection[tuple[UUID, UUID]]) -> Any:
    inorder = sorted(set(places))
    return rows("asked", store_id=(Uuid(), [place[0] for place in inorder]), of=(Uuid(), [place[1] for place in inorder])).c


# ---------------------------------------------------------------- for the doors


@dataclass(frozen=True)
class Registered:
    """A source as a door finds it, with its live secrets, the newest first. What must be read again is sealed still."""

    source: ProvenSource
    sealed: Sequence[bytes] = field(repr=False)
    hashes: Sequence[bytes] = field(repr=False)

    def opened(self, seals: Seals, default: Proof) -> ProvenSource:
        """`default` is its provider's proof. Refuses Unavailable where none of our keys opens a secret."""
        proof = self.source.proof or default
        of_url = proof.strategy is Strategy.URL_TOKEN
        return replace(self.source, proof=proof, secrets=tuple(self.hashes if of_url else map(seals.open, self.sealed)))


LIVE_SECRET = and_(
    or_(secret.not_before.is_(None), secret.not_before <= func.clock_timestamp()),
    or_(secret.not_after.is_(None), secret.not_after > func.clock_timestamp()),
)


def _registered(*, enabled: bool = True) -> Select[Any]:
    stores = (
        select(func.jsonb_object_agg(m.external_id, store.c.time_zone))
        .join_from(mapping, store, store.c.id == m.id)
        .where(m.source_id == s.id, m.kind == EntityKind.STORE)
        .scalar_subquery()
    )
    sealed, hashes = (
        select(func.array_agg(aggregate_order_by(kept, secret.id.desc())))
        .where(secret.source_id == s.id, kept.is_not(None), LIVE_SECRET)
        .scalar_subquery()
        for kept in (secret.sealed, secret.hash)
    )
    profile = select(source_profile.c.document).where(source_profile.c.source_id == s.id, source_profile.c.active).scalar_subquery()
    return select(
        s.id,
        s.merchant_id,
        s.provider,
        s.family,
        s.ip_allow,
        s.last_seen_at,
        stores.label("stores"),
        sealed.label("sealed"),
        hashes.label("hashes"),
        s.proof,
        profile.label("profile"),
    ).where(s.enabled if enabled else true())


def _to_registered(row: Row[Any] | None) -> Registered | None:
    if row is None:
        return None
    known = ProvenSource(
        row.id,
        row.merchant_id,
        row.provider,
        row.family,
        row.stores or {},
        ip_allow=tuple(row.ip_allow),
        last_seen_at=row.last_seen_at,
        proof=row.proof,
        profile=row.profile,
    )
    return Registered(known, tuple(row.sealed or ()), tuple(row.hashes or ()))


HAS_TOKEN = exists().where(secret.source_id == s.id, secret.hash == bindparam("token_hash"), LIVE_SECRET)
BY_TOKEN = _registered().where(s.provider == bindparam("provider"), HAS_TOKEN)
BY_ID = _registered().where(s.provider == bindparam("provider"), s.id == bindparam("source_id"))


async def by_token(reads: Reads, provider: str, token_hash: bytes) -> Registered | None:
    return _to_registered(await reads.one(BY_TOKEN.params(provider=provider, token_hash=token_hash)))


async def by_id(reads: Reads, provider: str, source_id: UUID) -> Registered | None:
    return _to_registered(await reads.one(BY_ID.params(provider=provider, source_id=source_id)))


async def any_by_id(reads: Reads, source_id: UUID) -> ProvenSource:
    """Whether it is enabled or not: what it sent before is still to be read."""
    found = _to_registered(await reads.one(_registered(enabled=False).where(s.id == source_id)))
    assert found is not None
    return found.source


async def store_of(reads: Reads, source_id: UUID, external_id: str | None) -> UUID | None:
    """Our id of the store; without an external id the source's only one."""
    found = select(m.id).where(m.source_id == source_id, m.kind == EntityKind.STORE)
    if external_id is not None:
        found = found.where(m.external_id == external_id)
    ids = [row.id for row in await reads.rows(found.limit(2))]
    return ids[0] if len(ids) == 1 else None


# ---------------------------------------------------------------- for people


@dataclass(frozen=True, slots=True)
class Source:
    id: UUID
    provider: str
    merchant_id: UUID
    family: Family
    enabled: bool
    last_seen_at: datetime | None
    own_proof: Proof | None = None
    ip_allow: Sequence[str] = ()
    told_orders: bool = False
    may_create: bool = True


_TOLD_ORDERS = exists().where(source_telling.c.source_id == s.id, source_telling.c.since.is_not(None))
SOURCE = select(
    s.id,
    s.provider,
    s.merchant_id,
    s.family,
    s.enabled,
    s.last_seen_at,
    s.proof.label("own_proof"),
    s.ip_allow,
    _TOLD_ORDERS.label("told_orders"),
    s.may_create,
)


async def sources(reads: Reads, actor: Actor, merchant_id: UUID | None = None, provider: str | None = None) -> Sequence[Source]:
    """Those that are connected."""
    found = SOURCE.where(visible_to(actor), s.provider != DASHBOARD)
    if merchant_id is not None:
        found = found.where(s.merchant_id == merchant_id)
    if provider is not None:
        found = found.where(s.provider == provider)
    return [Source(*row) for row in await reads.rows(found.order_by(s.id).limit(SOURCES_AT_ONCE))]


SOURCES_AT_ONCE = 500


async def sources_by_id(reads: Reads, actor: Actor, ids: Sequence[UUID]) -> Sequence[Source]:
    return [Source(*row) for row in await reads.rows(SOURCE.where(s.id.in_(ids)).where(visible_to(actor)))]


@dataclass(frozen=True, slots=True)
class Traffic:
    """How many payloads a source sent, and how many of them were refused or came to nothing."""

    source_id: UUID
    received: int
    failed: int


async def traffic(reads: Reads, ids: Sequence[UUID]) -> Sequence[Traffic]:
    # Of what was thrown away by age the source remembers the numbers; the rest is counted.
    kept = (
        select(payload.c.source_id, payload.c.state, func.count().label("payloads"))
        .where(payload.c.source_id.in_(ids))
        .group_by(payload.c.source_id, payload.c.state)
        .subquery()
    )
    wrong = kept.c.state.in_([PayloadState.REJECTED, PayloadState.FAILED, PayloadState.REFUSED])
    total = func.coalesce(func.sum(kept.c.payloads), 0)
    failed = func.coalesce(func.sum(kept.c.payloads).filter(wrong), 0)
    found = (
        select(s.id, s.received + total, s.failed + failed)
        .join_from(source, kept, kept.c.source_id == s.id, isouter=True)
        .where(s.id.in_(ids))
        .group_by(s.id)
    )
    return [Traffic(row[0], int(row[1]), int(row[2])) for row in await reads.rows(found)]
