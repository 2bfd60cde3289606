"""Payloads: kept as they came, read again by the worker and by people."""

import hashlib
from collections.abc import Collection
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import exists, func, literal_column, or_, select, update
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.ext.asyncio import AsyncConnection

from db.instructions import FOR_ITS_DAY, IS_WAITING
from db.tables import instruction, payload
from domain.bodies import Stored
from domain.doors import PATH
from domain.intake import PayloadState
from domain.payloads import EarlierPayload, Payload, Unjudged, Unread

p, i = payload.c, instruction.c
STORED = (p.body, p.blob, p.size, p.sha256)  # as Stored takes them
WHOLE = or_(p.blob.is_not(None), p.size == func.length(p.body))  # or only its beginning was kept, or nothing is any more
# As it stands in the partial index: of bound values no plan could know that they fit.
LIVE = p.state.not_in([literal_column("'DUPLICATE'"), literal_column("'REJECTED'")])

ADDED = (  # built once: every call of every provider comes by here
    upsert(payload).on_conflict_do_nothing().returning(p.received_at)
)


def row_of(payload_: Payload) -> dict[str, Any]:
    received, source, stored = payload_.received, payload_.received.source, payload_.stored
    return {
        "id": payload_.id,
        "source_id": source.id if source else None,
        "merchant_id": source.merchant_id if source else None,
        "provider": received.provider,
        "family": received.family,
        "door": received.door,
        "headers": dict(received.headers),
        "body": stored.kept,
        "blob": stored.blob,
        "size": stored.size,
        "sha256": stored.sha256,
        "state": payload_.state,
        "dedupe_key": payload_.dedupe_key,
        "correlation_id": received.correlation_id,
        "remote": received.remote,
        "translated": payload_.translated,
        "judged": payload_.judged,
        "stage": payload_.stage,
    }


class SqlPayloads:
    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def add(self, payload_: Payload) -> datetime | None:
        received_at: datetime | None = (await self._connection.execute(ADDED, row_of(payload_))).scalar_one_or_none()
        return received_at

    async def lock_door(self, source_id: UUID, door: str) -> None:
        digest = hashlib.sha256(f"{source_id}/{door}".encode()).digest()
        await self._connection.execute(select(func.pg_advisory_xact_lock(int.from_bytes(digest[:8], "big", signed=True))))

    async def repeated(self, source_id: UUID, door: str, path: str, sha256: bytes, within: timedelta) -> UUID | None:
        last = (
            select(p.id, p.sha256, p.received_at, func.coalesce(p.headers[PATH].astext, "").label("path"))
            .where(p.source_id == source_id, p.door == door, LIVE)
            .order_by(p.id.desc())
            .limit(1)
            .subquery()
        )
        recent = last.c.received_at > func.clock_timestamp() - within
        same = select(last.c.id).where(last.c.sha256 == sha256, last.c.path == path, recent)
        first: UUID | None = (await self._connection.execute(same)).scalar_one_or_none()
        return first

    async def known_as(self, source_id: UUID | None, dedupe_key: str) -> EarlierPayload | None:
        found = select(p.id, p.sha256).where(p.source_id == source_id, p.dedupe_key == dedupe_key, LIVE)
        row = (await self._connection.execute(found)).one_or_none()
        return EarlierPayload(*row) if row else None

    async def translate_again(self, payload_id: UUID) -> None:
        # Refused at the door, it becomes one that was let in.
        await self._connection.execute(
            update(payload).where(p.id == payload_id).values(translated=False, state=PayloadState.ACCEPTED)
        )

    async def next_untranslated(
        self, providers: Collection[str], besides: Collection[UUID] = (), not_of: Collection[UUID] = ()
    ) -> Unread | None:
        others = [column.not_in(list(told)) for column, told in ((p.id, besides), (p.source_id, not_of)) if told]
        found = await self._connection.execute(
            select(p.id, p.source_id, p.provider, p.door, *STORED, p.headers, p.received_at, p.correlation_id, p.dedupe_key)
            .where(~p.translated, p.provider.in_(list(providers)), *others)
            .order_by(p.id)
            .limit(1)
            .with_for_update(skip_locked=True)
        )
        row = found.one_or_none()
        if row is None:
            return None
        body = Stored(row.body, row.blob, row.size, row.sha256)
        return Unread(
            row.id, row.source_id, row.provider, row.door, body, row.headers, row.received_at, row.correlation_id, row.dedupe_key
        )

    async def lock_unread(self, unread: Unread) -> bool:
        same = p.dedupe_key.is_not_distinct_from(unread.dedupe_key)
        found = select(p.id).where(p.id == unread.id, ~p.translated, same).with_for_update(skip_locked=True)
        return (await self._connection.execute(found)).scalar_one_or_none() is not None

    async def unread(self, payload_id: UUID) -> bool:
        found = select(p.id).where(p.id == payload_id, ~p.translated)
        return (await self._connection.execute(found)).scalar_one_or_none() is not None

    async def translated(self, payload_id: UUID, *, state: PayloadState, judged: bool, stage: int, dedupe_key: str | None) -> None:
        await self._connection.execute(
            update(payload)
            .where(p.id == payload_id)
            .values(translated=True, state=state, judged=judged, stage=stage, dedupe_key=dedupe_key)
        )

    async def next_unjudged(self) -> Unjudged | None:
        before = payload.alias("before")
        # Another worker's, or an earlier one that is not done: then what it makes of the store is not known yet. What
        # only waits for its day (a price of tomorrow) is waited for by nobody.
        unread = or_(~before.c.translated, ~before.c.judged)
        to_do = exists().where(i.payload_id == before.c.id, i.state == IS_WAITING, ~FOR_ITS_DAY)
        earlier = exists().where(
            before.c.source_id == p.source_id, before.c.state == PayloadState.ACCEPTED, before.c.id < p.id, or_(unread, to_do)
        )
        found = await self._connection.execute(
            select(p.id, p.source_id, p.provider)
            .where(~p.judged, ~earlier)
            .order_by(p.id)
            .limit(1)
            .with_for_update(skip_locked=True)
        )
        row = found.one_or_none()
        return Unjudged(*row) if row else None

    async def judged(self, payload_id: UUID) -> None:
        await self._connection.execute(update(payload).where(p.id == payload_id).values(judged=True))
