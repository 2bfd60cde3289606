"""Who did what to whom."""

from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, Row, false, insert, select, true
from sqlalchemy.ext.asyncio import AsyncConnection

from db.ids import new_id
from db.pages import By, Page, page
from db.reads import Reads
from db.tables import audit
from domain.audit import AuditEntry
from domain.identity import Actor, ActorKind

a = audit.c


def visible_to(actor: Actor) -> ColumnElement[bool]:
    return true() if actor.kind is ActorKind.SUPPORT and actor.id is not None else false()


async def entries(reads: Reads, actor: Actor, subject: UUID | None, first: int | None, after: str | None) -> Page[AuditEntry]:
    """The newest first. Refuses InvalidInput for a page that cannot be."""
    found = select(a.id, a.at, a.actor, a.action, a.subject, a.detail).where(visible_to(actor))
    if subject is not None:
        found = found.where(a.subject == subject)
    return await page(reads, found, [By(a.id, descending=True)], _entry, first, after, "audit")


def _entry(row: Row[*tuple[Any, ...]]) -> AuditEntry:
    return AuditEntry(row.id, row.at, row.actor, row.action, row.subject, row.detail)


class SqlAudit:
    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def write(self, actor: Actor, action: str, subject: UUID, merchant_id: UUID | None, detail: str) -> None:
        await self._connection.execute(
            insert(audit).values(
                id=new_id(), actor=str(actor), action=action, subject=subject, merchant_id=merchant_id, detail=detail
            )
        )
