"""Who did what to whom."""

from datetime import datetime

import strawberry

from db.pages import Page
from domain import audit
from resolvers import audit as resolve
from schema.connections import PageInfo
from schema.roots import ID, Info, key


@strawberry.type
class AuditEntry:
    at: datetime
    actor: str = strawberry.field(description="As `support:0197…`, or `clock`")
    action: str
    subject: ID = strawberry.field(description="Whom or what it was done to")
    detail: str


@strawberry.type
class AuditEdge:
    cursor: str
    node: AuditEntry


@strawberry.type
class AuditConnection:
    edges: list[AuditEdge]
    nodes: list[AuditEntry]
    page_info: PageInfo


@strawberry.type
class SupportAudit:
    """What `Support` has of it."""

    @strawberry.field(graphql_type=AuditConnection, description="The newest first")
    @staticmethod
    async def audit(
        info: Info, subject: ID | None = strawberry.UNSET, first: int | None = 20, after: str | None = strawberry.UNSET
    ) -> Page[audit.AuditEntry]:
        return await resolve.audit(info.context, key(subject, "subject") if subject else None, first, after or None)
