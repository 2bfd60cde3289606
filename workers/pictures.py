"""Pictures that sources have told of are copied: fetched as what strangers tell us to fetch is, kept, and shown.

Any number of these run at once. A picture is held for a while by who has it in hand; who dies in the middle leaves it to the next.
"""

import asyncio
import hashlib
import logging
import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from urllib.parse import urlsplit

from db.ids import new_id
from domain import trace
from domain.access import Ask, AskFailed, Fetch, Reply
from domain.blobs import Blobs, blob_key, unsure
from domain.cancelling import heed_cancelling
from domain.catalog import show_copy
from domain.intake import printable
from domain.pictures import (
    AGAIN_AFTER,
    ATTEMPTS,
    FIRST,
    HOLD,
    KIND,
    Image,
    Picture,
    host_of,
    sniffed,
    wait_after,
)
from domain.refusals import Refused
from domain.unit_of_work import Begin

log = logging.getLogger("haat.pictures")
HOSTS, PER_HOST = 8, 2  # at once, by each of these loops
POLL_S = 1.0
LATER = timedelta(seconds=30)  # of a store that is away


@dataclass(frozen=True)
class Pictures:
    """`fetch` takes no more bytes than an image may have. `dice` is for tests."""

    unit_of_work: Begin
    fetch: Fetch
    blobs: Blobs
    dice: Callable[[], float] = random.random

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            try:
                busy = await self.once()
            except Exception as error:
                heed_cancelling(error)
                log.exception("a round was given up")
                busy = False
            if not busy:
                await asyncio.sleep(POLL_S * (0.5 + random.random()))  # noqa: S311  # so that not all look at the same moment

    async def once(self) -> bool:
        """Some of each host. Returns whether there was any."""
        async with self.unit_of_work() as uow:
            claimed = await uow.pictures.claim(HOSTS, PER_HOST, HOLD)
        await asyncio.gather(*map(self._copy, claimed))
        return bool(claimed)

    async def _copy(self, picture: Picture) -> None:
        """Whatever goes wrong with one is that one's."""
        trace.cause.set(f"picture:{picture.digest.hex()[:16]}")
        try:
            hash = picture.image or await self._fetched(picture)
            await self._show(picture, hash)
        except AskFailed as failed:
            await self._failed(picture, failed)
        except Refused as refused:  # a store or a database that is away: it is nobody's fault, and does not count
            log.info("a picture waits: %s", refused.refusal.message)
            await self._later(picture, LATER, refused.refusal.message, counts=False)
        except Exception as error:
            heed_cancelling(error)
            log.exception("a picture cannot be copied")
            await self._failed(picture, AskFailed(type(error).__name__))

    async def _fetched(self, picture: Picture) -> str:
        """Durable before there is a row of it. Raises AskFailed."""
        body = _image(await self.fetch.fetch(*_asked(picture.url)))
        content_type = sniffed(body)
        if content_type is None:
            raise AskFailed("what lies there is no image of a kind we show", retry=False)
        hash = (await asyncio.to_thread(hashlib.sha256, body)).hexdigest()
        async with self.unit_of_work() as uow:
            known = await uow.pictures.known(hash)
        key = blob_key(KIND, new_id())
        if not known:
            await unsure(key, self.unit_of_work)
            await self.blobs.put(key, body)
        async with self.unit_of_work() as uow:
            await uow.pictures.fetched(picture.digest, Image(hash, key, content_type, len(body)))
        return hash

    async def _show(self, picture: Picture, hash: str) -> None:
        """By every product that has it. In transactions of their own: who tells of a product locks it before its pictures."""
        after, through = FIRST, False
        while not through:
            async with self.unit_of_work() as uow:
                last = await show_copy(picture.url, hash, after, uow)
                if last is None:
                    await uow.pictures.copied(picture.digest)
            after, through = last or after, last is None

    async def _failed(self, picture: Picture, failed: AskFailed) -> None:
        problem = printable(failed.message)
        if failed.retry and picture.attempts < ATTEMPTS:
            wait = max(wait_after(picture.attempts, self.dice()), timedelta(seconds=min(failed.after_s or 0, 3600)))
            await self._later(picture, wait, problem, counts=True)
            return
        with _else_held():
            async with self.unit_of_work() as uow:
                await uow.pictures.give_up(picture.digest, AGAIN_AFTER, problem)
            log.warning("a picture of %s was not to be had: %s", host_of(picture.url), problem)

    async def _later(self, picture: Picture, wait: timedelta, problem: str, *, counts: bool) -> None:
        with _else_held():
            async with self.unit_of_work() as uow:
                await uow.pictures.put_off(picture.digest, wait, problem, counts=counts)


@contextmanager
def _else_held() -> Iterator[None]:
    """What cannot be written down now is nobody's fault: the picture is held until its time is over, and then tried again."""
    try:
        yield
    except Refused as refused:
        heed_cancelling(refused)
        log.info("a picture stays held")


def _asked(url: str) -> tuple[str, Ask]:
    """The query as it is written: it may be signed. Raises AskFailed."""
    try:
        parts = urlsplit(url)
    except ValueError:
        raise AskFailed("the address is none", retry=False) from None
    path = f"{parts.path}?{parts.query}" if parts.query else parts.path
    return f"{parts.scheme}://{parts.netloc}", Ask("GET", path, headers={"accept": "image/*"})


def _image(reply: Reply) -> bytes:
    """Raises AskFailed. Nothing is followed: what redirects is not where it was said to be."""
    if reply.status == 200:
        return reply.body
    after = reply.headers.get("retry-after", "")
    after_s = float(after) if after.isascii() and after.isdigit() and len(after) < 9 else None
    raise AskFailed(f"HTTP {reply.status}", retry=reply.status == 429 or reply.status >= 500, after_s=after_s)
