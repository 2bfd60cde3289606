"""Who did what to whom."""

from uuid import UUID

from db import audit as rows
from db.pages import Page
from domain.audit import AuditEntry
from resolvers.context import Context


async def audit(context: Context, subject: UUID | None, first: int | None, after: str | None) -> Page[AuditEntry]:
    """The newest first; for support. Refuses InvalidInput."""
    return await rows.entries(context.reads, context.actor, subject, first, after)
