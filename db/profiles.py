"""Profiles of sources: every version as it was saved, and the active one as the doors find it."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import exists, func, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from db.payloads import STORED
from db.reads import Reads
from db.sources import of_merchant, visible_to
from db.tables import payload, source, source_profile
from domain.bodies import Stored
from domain.identity import Actor
from domain.profile_versions import SourceProfile

f, p = source_profile.c, payload.c


class SqlProfiles:
    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def newest(self, source_id: UUID) -> int:
        found = select(func.coalesce(func.max(f.version), 0)).where(f.source_id == source_id)
        version: int = (await self._connection.execute(found)).scalar_one()
        return version

    async def add(self, source_id: UUID, profile: SourceProfile) -> None:
        await self._connection.execute(
            insert(source_profile).values(
                source_id=source_id,
                version=profile.version,
                active=profile.active,
                assumed=profile.assumed,
                name=profile.name,
                document=profile.document,
                created_by=profile.created_by,
            )
        )

    async def activate(self, source_id: UUID, version: int | None) -> bool:
        mine = f.source_id == source_id
        if version is not None:
            there = select(exists().where(mine, f.version == version))
            if not (await self._connection.execute(there)).scalar_one():
                return False
        # One statement after the other: two active ones are none that the index lets stand, even for a moment.
        await self._connection.execute(
            update(source_profile).where(mine, f.active, f.version != (version or 0)).values(active=False)
        )
        if version is not None:
            await self._connection.execute(update(source_profile).where(mine, f.version == version, ~f.active).values(active=True))
        return True


# ---------------------------------------------------------------- for people


PROFILE = select(f.source_id, f.version, f.active, f.assumed, f.name, f.document, f.created_by, f.created_at).join_from(
    source_profile, source, source.c.id == f.source_id
)


async def profiles_of_sources(reads: Reads, actor: Actor, ids: Sequence[UUID]) -> Sequence[SourceProfile]:
    """The newest first."""
    found = await reads.rows(PROFILE.where(f.source_id.in_(ids)).where(visible_to(actor)).order_by(f.source_id, f.version.desc()))
    return [SourceProfile(*row) for row in found]


@dataclass(frozen=True, slots=True)
class Body:
    """A payload as it came, to be read once more."""

    id: UUID
    door: str
    stored: Stored
    headers: dict[str, str]
    received_at: datetime


async def payload_body(reads: Reads, actor: Actor, source_id: UUID, payload_id: UUID) -> Body | None:
    found = select(p.id, p.door, *STORED, p.headers, p.received_at).where(p.id == payload_id, p.source_id == source_id)
    row = await reads.one(found.where(of_merchant(p.merchant_id, actor)))
    if row is None:
        return None
    return Body(row.id, row.door, Stored(row.body, row.blob, row.size, row.sha256), row.headers, row.received_at)
