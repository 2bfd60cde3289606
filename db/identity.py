"""Accounts, sessions, and who belongs to which merchant."""

from uuid import UUID

from sqlalchemy import Select, false, or_, select

from db.tables import member_store, merchant_member, store
from domain.identity import Actor, ActorKind, MerchantRole

member, named = merchant_member.c, member_store.c


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
    """Ids of the stores the actor may act for: an OWNER or a MANAGER for all of the merchant's, a CLERK for the named ones."""
    found = select(store.c.id)
    if actor.kind is not ActorKind.MERCHANT or actor.id is None:
        return found.where(false())
    asked = set(roles or MerchantRole)
    all_of_them, clerk = asked - {MerchantRole.CLERK}, MerchantRole.CLERK in asked
    may = [store.c.merchant_id.in_(merchants_of(actor, *all_of_them))] if all_of_them else []
    if clerk:
        # Both rows must be there: a member made something else keeps no rights from the stores named before.
        may.append(
            store.c.id.in_(
                select(named.store_id)
                .join(merchant_member, (member.merchant_id == named.merchant_id) & (member.user_id == named.user_id))
                .where(named.user_id == actor.id, member.role == MerchantRole.CLERK)
            )
        )
    return found.where(or_(*may))
