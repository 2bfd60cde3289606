"""Pictures of products: sources tell where theirs lie, and links of some die within a day. So each is copied as it is told.

A picture is an address that was told; an image is what was found there, known by its SHA-256: ten addresses may show the same
one. Until ours is there apps are shown the source's address, and nothing waits for it.
"""

import hashlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from enum import Enum
from typing import Protocol
from urllib.parse import urlsplit
from uuid import UUID

IMAGES = "/v1/images"  # below it ours lie, each under its hash
IMAGE_BYTES = 5 * 1024 * 1024
KIND = "images"  # of blobs
ATTEMPTS = 6
BACKOFF_S, BACKOFF_TIMES = 30.0, 4  # 30 s, 2 min, 8 min, 32 min, 2 h: together less than the shortest life of a link
AGAIN_AFTER = timedelta(hours=1)  # a picture that was not to be had is tried once more where it is told once more, so much later
HOLD = timedelta(seconds=90)  # longer than any one try


class PictureState(Enum):
    WANTED = "WANTED"
    FETCHED = "FETCHED"  # the image is ours; not every product shows it yet
    COPIED = "COPIED"
    FAILED = "FAILED"


@dataclass(frozen=True, slots=True)
class Picture:
    """One in hand. `image` is the hash of ours, once it is fetched."""

    digest: bytes
    url: str
    attempts: int  # this one too
    image: str | None


@dataclass(frozen=True, slots=True)
class Image:
    """`hash` is the SHA-256 in hexadecimal."""

    hash: str
    blob: str
    content_type: str
    size: int


class PictureStore(Protocol):
    async def want(self, urls: Mapping[UUID, Collection[str]]) -> Mapping[str, str]:
        """Of each product all that it shows: they will be copied. Of those that are, the hash of ours.

        All are locked: who copies one meanwhile ends after us. What no product shows any more is forgotten.
        """

    async def products(self, url: str, after: UUID, limit: int) -> Sequence[UUID]:
        """Those that show it, by their ids."""

    async def claim(self, hosts: int, per_host: int, hold: timedelta) -> Sequence[Picture]:
        """Those whose turn it is, of each host so many, and as many of one merchant as of another that has them; nobody else gets
        them for so long."""

    async def known(self, hash: str) -> bool:
        """Whether there is such an image."""

    async def fetched(self, digest: bytes, image: Image) -> None:
        """Where another has kept the same image just now, that one stays."""

    async def copied(self, digest: bytes) -> None: ...

    async def put_off(self, digest: bytes, wait: timedelta, problem: str, *, counts: bool) -> None: ...

    async def give_up(self, digest: bytes, again_after: timedelta, problem: str) -> None: ...


def copyable(url: str) -> bool:
    return url.startswith(("https://", "http://"))


def digest_of(url: str) -> bytes:
    return hashlib.sha256(url.encode()).digest()


def host_of(url: str) -> str:
    """Empty where it has none that anybody could read."""
    try:
        return urlsplit(url).hostname or ""
    except ValueError:
        return ""


def sniffed(data: bytes) -> str | None:
    """The content type of an image that no browser runs anything of, by its first bytes. None: it is no such image."""
    if data.startswith(b"\xff\xd8\xff"):
        return "image/jpeg"
    if data.startswith(b"\x89PNG\r\n\x1a\n"):
        return "image/png"
    if data.startswith((b"GIF87a", b"GIF89a")):
        return "image/gif"
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "image/webp"
    if data[4:12] in (b"ftypavif", b"ftypavis"):
        return "image/avif"
    return None


def copies_of(urls: Sequence[str], known: Mapping[str, str]) -> tuple[str, ...]:
    """By place the hash of our copy, or an empty text; nothing at all where there is none of any."""
    found = tuple(known.get(url, "") for url in urls)
    return found if any(found) else ()


def addresses(urls: Sequence[str], copies: Sequence[str]) -> Sequence[str]:
    """What apps show: ours below this server, else the source's own."""
    if not copies:
        return urls
    return [f"{IMAGES}/{hash}" if hash else url for url, hash in zip(urls, copies, strict=True)]


def wait_after(attempts: int, dice: float) -> timedelta:
    """`dice` from 0 to 1."""
    return timedelta(seconds=BACKOFF_S * BACKOFF_TIMES ** (attempts - 1) * (0.75 + dice / 2))


FIRST = UUID(int=0)
"""No product is before it."""
