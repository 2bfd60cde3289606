"""Addresses of pictures that are to be copied, and the images that were found there."""

from collections.abc import Collection, Mapping
from datetime import timedelta
from uuid import UUID

from sqlalchemy import LargeBinary, Uuid, and_, delete, exists, func, literal_column, select, true, update
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.ext.asyncio import AsyncConnection

from db.arrays import among, each, rows
from db.reads import Reads
from db.tables import image, picture, picture_use, product
from domain.pictures import Image, Picture, PictureState, digest_of, host_of

c, u, i = picture.c, picture_use.c, image.c
# As it stands in the partial index.
TO_DO = c.state.in_([literal_column("'WANTED'"), literal_column("'FETCHED'")])
NOW = func.clock_timestamp()


class SqlPictures:
    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def want(self, urls: Mapping[UUID, Collection[str]]) -> Mapping[str, str]:
        by = {digest_of(url): url for told in urls.values() for url in told}
        await self._add(by)
        uses = sorted((id, digest_of(url)) for id, told in urls.items() for url in told)
        new = rows("new", product_id=(Uuid(), [id for id, _ in uses]), digest=(LargeBinary(), [digest for _, digest in uses]))
        if uses:
            adding = upsert(picture_use).from_select(["product_id", "digest"], select(new.c.product_id, new.c.digest))
            await self._connection.execute(adding.on_conflict_do_nothing())
        still = exists().where(new.c.product_id == u.product_id, new.c.digest == u.digest)
        over = delete(picture_use).where(among(u.product_id, urls), ~still).returning(u.digest)
        await self._forget(set((await self._connection.execute(over)).scalars()))
        found = select(c.url, c.image).where(among(c.digest, by), c.image.is_not(None))
        return {row.url: row.image.hex() for row in await self._connection.execute(found)}

    async def _add(self, by: Mapping[bytes, str]) -> None:
        new = [{"digest": key, "url": by[key], "host": host_of(by[key]), "state": PictureState.WANTED} for key in sorted(by)]
        # What conflicts is locked whether it changes or not: in one order, and until we have committed what we read of it.
        again = upsert(picture).on_conflict_do_update(
            index_elements=[c.digest],
            set_={"state": PictureState.WANTED, "attempts": 0, "next_at": NOW},
            where=and_(c.state == PictureState.FAILED, c.next_at < NOW),
        )
        await each(self._connection, again, new)

    async def _forget(self, digests: Collection[bytes]) -> None:
        """Links that are signed anew each day would be more and more. What somebody else has in hand stays: we wait for nobody."""
        if not digests:
            return
        mine = select(c.digest).where(among(c.digest, digests)).order_by(c.digest).with_for_update(skip_locked=True)
        locked = list((await self._connection.execute(mine)).scalars())
        unused = ~exists().where(u.digest == c.digest)  # looked at once it is locked
        await self._connection.execute(delete(picture).where(among(c.digest, locked), unused))

    async def products(self, url: str, after: UUID, limit: int) -> list[UUID]:
        here = and_(u.digest == digest_of(url), u.product_id > after)
        found = await self._connection.execute(select(u.product_id).where(here).order_by(u.product_id).limit(limit))
        return list(found.scalars())

    async def claim(self, hosts: int, per_host: int, hold: timedelta) -> list[Picture]:
        # From host to host through the index: one that has a hundred thousand does not stand before the others.
        first = select(func.min(c.host).label("host")).where(TO_DO).cte("waiting", recursive=True)
        after = select(func.min(c.host)).where(TO_DO, c.host > first.c.host).correlate(first).scalar_subquery()
        waiting = first.union_all(select(after).where(first.c.host.is_not(None)))
        due = and_(TO_DO, c.host == waiting.c.host, c.next_at <= NOW)
        some = select(c.digest).where(due).order_by(c.next_at).limit(per_host).lateral("some")
        # And from merchant to merchant: a name has as many hosts below it as its owner likes. What several show is the first one's.
        shows = select(u.product_id).where(u.digest == some.c.digest).order_by(u.product_id).limit(1).correlate(some)
        whose = select(product.c.merchant_id).where(product.c.id == shows.scalar_subquery()).scalar_subquery()
        place = func.row_number().over(partition_by=whose, order_by=func.random())
        turn = select(some.c.digest).select_from(waiting.join(some, true()))
        turn = turn.order_by(place, func.random()).limit(hosts * per_host)
        digests = list((await self._connection.execute(turn)).scalars())
        mine = and_(among(c.digest, digests), TO_DO, c.next_at <= NOW)
        locked = select(c.digest).where(mine).order_by(c.digest).with_for_update(skip_locked=True).cte("locked")
        taken = await self._connection.execute(
            update(picture)
            .where(c.digest == locked.c.digest)
            .values(next_at=NOW + hold, attempts=c.attempts + 1)
            .returning(c.digest, c.url, c.attempts, c.image)
        )
        return [Picture(row.digest, row.url, row.attempts, row.image.hex() if row.image else None) for row in taken]

    async def known(self, hash: str) -> bool:
        found = select(i.hash).where(i.hash == bytes.fromhex(hash))
        return (await self._connection.execute(found)).scalar_one_or_none() is not None

    async def fetched(self, digest: bytes, image_: Image) -> None:
        key = bytes.fromhex(image_.hash)
        new = {"hash": key, "blob": image_.blob, "content_type": image_.content_type, "size": image_.size}
        await self._connection.execute(upsert(image).values(new).on_conflict_do_nothing())
        values = {"state": PictureState.FETCHED, "image": key, "problem": None}
        await self._connection.execute(update(picture).where(c.digest == digest).values(values))

    async def copied(self, digest: bytes) -> None:
        await self._connection.execute(update(picture).where(c.digest == digest).values(state=PictureState.COPIED))

    async def put_off(self, digest: bytes, wait: timedelta, problem: str, *, counts: bool) -> None:
        attempts = c.attempts if counts else c.attempts - 1
        values = {"next_at": NOW + wait, "problem": problem, "attempts": attempts}
        await self._connection.execute(update(picture).where(c.digest == digest).values(values))

    async def give_up(self, digest: bytes, again_after: timedelta, problem: str) -> None:
        values = {"state": PictureState.FAILED, "next_at": NOW + again_after, "problem": problem}
        await self._connection.execute(update(picture).where(c.digest == digest).values(values))


async def image_of(reads: Reads, hash: str) -> Image | None:
    row = await reads.one(select(i.blob, i.content_type, i.size).where(i.hash == bytes.fromhex(hash)))
    return Image(hash, row.blob, row.content_type, row.size) if row else None
