"""Blobs that may have no row."""

from collections.abc import Collection
from datetime import timedelta

from sqlalchemy import delete, exists, func, or_, select
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.ext.asyncio import AsyncConnection

from db.arrays import among
from db.tables import blob_stray, image, payload
from domain.blobs import Stray

s = blob_stray.c
WANTED = or_(exists().where(payload.c.blob == s.key), exists().where(image.c.blob == s.key))


class SqlStrays:
    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def add(self, keys: Collection[str]) -> None:
        if keys:
            await self._connection.execute(upsert(blob_stray).values([{"key": key} for key in keys]).on_conflict_do_nothing())

    async def due(self, age: timedelta, limit: int) -> list[Stray]:
        old = s.at < func.clock_timestamp() - age
        found = await self._connection.execute(select(s.key, WANTED.label("wanted")).where(old).order_by(s.at).limit(limit))
        return [Stray(*row) for row in found]

    async def forget(self, keys: Collection[str]) -> None:
        await self._connection.execute(delete(blob_stray).where(among(s.key, keys)))
