"""Whether a store is there."""

from uuid import UUID

from sqlalchemy import select

from db.reads import Reads
from db.tables import store


async def is_store(reads: Reads, store_id: UUID) -> bool:
    """Public. One that was archived is not there any more."""
    found = select(store.c.id).where(store.c.id == store_id, store.c.archived_at.is_(None))
    return await reads.value(found) is not None
