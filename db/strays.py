"""Blobs that may have no row."""

from collections.abc import Collection
from datetime import timedelta

from sqlalchemy import Text, and_, delete, exists, func, or_, select
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.ext.asyncio import AsyncConnection

from db.arrays import among, rows
from db.columns import TIME
from db.tables import blob_stray, image, payload
from domain.blobs import Stray

s = blob_stray.c
WANTED = or_(exists().where(payload.c.blob == s.key), exists().where(image.c.blob == s.key))


class SqlStrays:
    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def add(self, keys: Collection[str]) -> None:
        new = rows("new", key=(Text(), sorted(keys)))  # in one order, so that no two wait for each other
        adding = upsert(blob_stray).from_select(["key"], select(new.c.key))
        again = {"at": func.clock_timestamp()}  # or who is about to forget it would forget this too
        await self._connection.execute(adding.on_conflict_do_update(index_elements=[s.key], set_=again))

    async def due(self, age: timedelta, limit: int) -> list[Stray]:
        old = s.at < func.clock_timestamp() - age
        found = await self._connection.execute(select(s.key, s.at, WANTED.label("wanted")).where(old).order_by(s.at).limit(limit))
        return [Stray(*row) for row in found]

    async def forget(self, strays: Collection[Stray]) -> None:
        read = rows("read", key=(Text(), [one.key for one in strays]), at=(TIME, [one.at for one in strays]))
        same = and_(s.key == read.c.key, s.at == read.c.at)
        # What somebody has in hand is being written down again, or forgotten: we wait for nobody.
        locked = list(
            (await self._connection.execute(select(s.key).where(same).with_for_update(of=blob_stray, skip_locked=True))).scalars()
        )
        await self._connection.execute(delete(blob_stray).where(among(s.key, locked)))
