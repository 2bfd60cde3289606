"""Whether a store is there, and whose it is to serve."""

from uuid import UUID

from sqlalchemy import select

from db.identity import stores_of
from db.merchants import visible_to
from db.reads import Reads
from db.tables import store
from domain.identity import Actor


async def is_store(reads: Reads, store_id: UUID) -> bool:
    """Public. One that was archived is not there any more."""
    found = select(store.c.id).where(store.c.id == store_id, store.c.archived_at.is_(None))
    return await reads.value(found) is not None


async def may_serve(reads: Reads, actor: Actor, store_id: UUID) -> bool:
    """Whether the actor is of this store's staff."""
    return await reads.one(stores_of(actor).where(store.c.id == store_id)) is not None


async def may_act_for(reads: Reads, actor: Actor, store_id: UUID) -> bool:
    """Whether the actor is of this store's staff, or of support's, where the store is there."""
    found = select(store.c.id).where(store.c.id == store_id, store.c.archived_at.is_(None)).where(visible_to(actor))
    return await reads.value(found) is not None
