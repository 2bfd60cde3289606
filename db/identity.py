"""Accounts, and who belongs to which merchant."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, Select, and_, delete, exists, false, func, insert, or_, select, true, tuple_, update
from sqlalchemy.dialects import postgresql
from sqlalchemy.ext.asyncio import AsyncConnection

from db.reads import Reads
from db.tables import mapping, member_store, merchant, merchant_member, store, user_account
from db.tables import rider as rider_table
from domain.identity import Account, Actor, ActorKind, App, MerchantRole, NewAccount, Role
from domain.intake import EntityKind
from domain.merchants import Merchant

user, member, named = user_account.c, merchant_member.c, member_store.c
ACCOUNT = (
    user.id,
    user.name,
    user.phone,
    user.email,
    user.password_hash,
    user.is_support,
    user.phone_proved_at,
    user.banned_at,
)  # in the order in which Account takes them


# ---------------------------------------------------------------- who may


def merchants_of(actor: Actor, *roles: MerchantRole) -> Select[tuple[UUID]]:
    """Ids of the merchants the actor is a member of, in one of these roles or, with none given, in any.

    Who is not in the merchant app has none.
    """
    found = select(member.merchant_id)
    if actor.kind is not ActorKind.MERCHANT or actor.id is None:
        return found.where(false())
    found = found.where(member.user_id == actor.id)
    return found.where(member.role.in_(roles)) if roles else found


def stores_of(actor: Actor, *roles: MerchantRole) -> Select[tuple[UUID]]:
    """Ids of the stores the actor may act for: an OWNER or a MANAGER for all of the merchant's, a CLERK for the named ones,
    a source for those that its own ids are mapped to."""
    found = select(store.c.id)
    if actor.kind is ActorKind.SOURCE and actor.id is not None:
        linked = (mapping.c.source_id == actor.id, mapping.c.kind == EntityKind.STORE)
        return found.where(store.c.id.in_(select(mapping.c.id).where(*linked)))
    if actor.kind is not ActorKind.MERCHANT or actor.id is None:
        return found.where(false())
    asked = set(roles or MerchantRole)
    whole = sorted(asked - {MerchantRole.CLERK}, key=lambda role: role.value)
    may: list[ColumnElement[bool]] = [store.c.merchant_id.in_(merchants_of(actor, *whole))] if whole else []
    if MerchantRole.CLERK in asked:
        # The role decides, then the name on the list: who is something else now keeps nothing from stores named before.
        clerk = (
            select(named.merchant_id, named.store_id)
            .join(merchant_member, and_(member.merchant_id == named.merchant_id, member.user_id == named.user_id))
            .where(named.user_id == actor.id, member.role == MerchantRole.CLERK)
        )
        may.append(tuple_(store.c.merchant_id, store.c.id).in_(clerk))
    return found.where(or_(*may))


GRANTED: dict[App, ColumnElement[bool]] = {
    App.CUSTOMER: true(),
    App.MERCHANT: exists().where(member.user_id == user.id),
    App.RIDER: exists().where(rider_table.c.id == user.id),
    App.SUPPORT: user.is_support.is_(True),
}
"""Who may use which app, said of a row of user_account: asked each time, so that what is taken away is gone."""


# ---------------------------------------------------------------- reads


@dataclass(frozen=True, slots=True)
class Viewer:
    """Who is calling, as they see themselves."""

    id: UUID
    name: str
    role: Role
    phone: str | None
    email: str | None


@dataclass(frozen=True, slots=True)
class Membership:
    merchant: Merchant
    role: MerchantRole


@dataclass(frozen=True, slots=True)
class Login:
    """What a password is compared with."""

    user_id: UUID
    password_hash: str | None


def visible_to(actor: Actor) -> ColumnElement[bool]:
    """Accounts: everybody sees their own."""
    return user.id == actor.id if actor.role is not Role.PUBLIC and actor.id is not None else false()


async def viewer(reads: Reads, actor: Actor) -> Viewer | None:
    row = await reads.one(select(user.id, user.name, user.phone, user.email).where(visible_to(actor)))
    return Viewer(row.id, row.name, actor.role, row.phone, row.email) if row else None


async def memberships(reads: Reads, actor: Actor) -> Sequence[Membership]:
    """In the merchant app; in another there are none in force. By the merchant's name."""
    found = (
        select(merchant.c.id, merchant.c.name, member.role)
        .join(merchant, merchant.c.id == member.merchant_id)
        .where(member.merchant_id.in_(merchants_of(actor)), member.user_id == actor.id)
        .order_by(merchant.c.name, member.merchant_id)
    )
    return [Membership(Merchant(row.id, row.name), row.role) for row in await reads.rows(found)]


async def login(reads: Reads, phone: str | None, email: str | None) -> Login | None:
    if phone is None and email is None:
        return None
    row = await reads.one(
        select(user.id, user.password_hash).where(user.phone == phone if phone is not None else user.email == email)
    )
    return Login(row.id, row.password_hash) if row else None


# ---------------------------------------------------------------- writes


class SqlIdentity:
    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def add(self, account: NewAccount) -> bool:
        done = await self._connection.execute(
            postgresql.insert(user_account)
            .values(
                id=account.id,
                name=account.name,
                phone=account.phone,
                email=account.email,
                password_hash=account.password_hash,
                phone_proved_at=account.phone_proved_at,
            )
            .on_conflict_do_nothing()
            .returning(user.id)
        )
        return done.first() is not None

    async def _locked(self, which: ColumnElement[bool]) -> Account | None:
        # Rows that point here may go on being written: their foreign keys take the key's share.
        row = (await self._connection.execute(select(*ACCOUNT).where(which).with_for_update(key_share=True))).first()
        return Account(*row) if row else None

    async def lock(self, user_id: UUID) -> Account | None:
        return await self._locked(user.id == user_id)

    async def lock_by_phone(self, phone: str) -> Account | None:
        return await self._locked(user.phone == phone)

    async def may_use(self, user_id: UUID, app: App) -> bool:
        may = select(user.id).where(user.id == user_id, user.banned_at.is_(None), GRANTED[app])
        return (await self._connection.execute(may)).first() is not None

    async def _set(self, user_id: UUID, **values: Any) -> None:
        await self._connection.execute(update(user_account).where(user.id == user_id).values(**values))

    async def ban(self, user_id: UUID) -> None:
        await self._set(user_id, banned_at=func.coalesce(user.banned_at, func.clock_timestamp()))

    async def set_password(self, user_id: UUID, password_hash: str | None) -> None:
        await self._set(user_id, password_hash=password_hash)

    async def prove_phone(self, user_id: UUID) -> None:
        await self._set(user_id, phone_proved_at=func.clock_timestamp())

    async def regranted(self, user_id: UUID) -> None:
        await self._set(user_id, grants=user.grants + 1)

    async def grant(self, user_id: UUID, *, support: bool = False, rider: bool = False) -> None:
        if support:
            await self._set(user_id, is_support=True)
        if rider:
            await self._connection.execute(postgresql.insert(rider_table).values(id=user_id).on_conflict_do_nothing())

    # ------------------------------------------------------------ merchants

    async def add_merchant(self, merchant_id: UUID, name: str, slug: str) -> tuple[UUID, bool]:
        new = postgresql.insert(merchant).values(id=merchant_id, name=name, slug=slug).on_conflict_do_nothing()
        made = (await self._connection.execute(new.returning(merchant.c.id))).first() is not None
        found: UUID = (await self._connection.execute(select(merchant.c.id).where(merchant.c.slug == slug))).scalar_one()
        return found, made

    async def role_in(self, merchant_id: UUID, actor: Actor) -> MerchantRole | None:
        of_theirs = select(member.role).where(
            member.merchant_id == merchant_id, member.user_id == actor.id, member.merchant_id.in_(merchants_of(actor))
        )
        role: MerchantRole | None = (await self._connection.execute(of_theirs)).scalar_one_or_none()
        return role

    async def stores_among(self, merchant_id: UUID, store_ids: Sequence[UUID]) -> set[UUID]:
        theirs = select(store.c.id).where(store.c.merchant_id == merchant_id, store.c.id.in_(store_ids))
        return set((await self._connection.execute(theirs)).scalars())

    async def set_member(self, merchant_id: UUID, user_id: UUID, role: MerchantRole, store_ids: Sequence[UUID]) -> bool:
        had = select(member.role).where(member.merchant_id == merchant_id, member.user_id == user_id)
        theirs = select(named.store_id).where(named.merchant_id == merchant_id, named.user_id == user_id)
        stores = set((await self._connection.execute(theirs)).scalars())
        if (await self._connection.execute(had)).scalar_one_or_none() is role and stores == set(store_ids):
            return False
        await self._connection.execute(
            postgresql.insert(merchant_member)
            .values(merchant_id=merchant_id, user_id=user_id, role=role)
            .on_conflict_do_update(index_elements=[member.merchant_id, member.user_id], set_={"role": role})
        )
        await self._forget_stores(merchant_id, user_id)
        if store_ids:
            await self._connection.execute(
                insert(member_store),
                [{"merchant_id": merchant_id, "user_id": user_id, "store_id": store_id} for store_id in sorted(set(store_ids))],
            )
        return True

    async def remove_member(self, merchant_id: UUID, user_id: UUID) -> bool:
        await self._forget_stores(merchant_id, user_id)
        gone = await self._connection.execute(
            delete(merchant_member).where(member.merchant_id == merchant_id, member.user_id == user_id).returning(member.user_id)
        )
        return gone.first() is not None

    async def _forget_stores(self, merchant_id: UUID, user_id: UUID) -> None:
        await self._connection.execute(delete(member_store).where(named.merchant_id == merchant_id, named.user_id == user_id))
