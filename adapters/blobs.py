"""Where blobs lie: a directory of this machine, or a bucket of a cloud (adapters/buckets.py)."""

import asyncio
import logging
import os
import tempfile
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import TypeVar
from urllib.parse import unquote, urlsplit

from domain.blobs import Blobs, away

log = logging.getLogger("haat.blobs")
TIMEOUT_S = 3.0
Got = TypeVar("Got")


def open_blobs(url: str) -> Blobs:
    """By its scheme. A cloud's credentials are found as its own tools find them."""
    parts = urlsplit(url)
    if parts.scheme == "file":
        return DirectoryBlobs(Path(unquote(parts.path)))
    from adapters.buckets import BucketBlobs  # a library of many megabytes, for those alone who name a bucket

    return BucketBlobs(url)


class DirectoryBlobs:
    """Each blob is a file. What was put survives a power cut: file and directory are synced before it is said to be there."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._prepared: set[Path] = set()  # directories that we know to be there after a power cut, too

    async def put(self, key: str, data: bytes) -> None:
        await answered("put", lambda: asyncio.to_thread(self._put, self._path(key), data))

    async def get(self, key: str) -> bytes | None:
        return await answered("get", lambda: asyncio.to_thread(_read, self._path(key)))

    async def delete(self, key: str) -> None:
        await answered("delete", lambda: asyncio.to_thread(self._path(key).unlink, missing_ok=True))

    def _path(self, key: str) -> Path:
        parts = key.split("/")
        if {"", ".", ".."} & {*parts}:
            raise ValueError(f"{key!r} is no key")
        return self._root.joinpath(*parts)

    def _put(self, path: Path, data: bytes) -> None:
        try:
            self._prepare(path.parent)
            handle, name = tempfile.mkstemp(prefix=".new-", dir=path.parent)
        except FileNotFoundError:  # somebody has taken a directory away
            self._prepared.clear()
            raise
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            Path(name).replace(path)
        except BaseException:
            with suppress(OSError):
                Path(name).unlink()
            raise
        _sync(path.parent)

    def _prepare(self, directory: Path) -> None:
        """With its parents, each synced into its own: another process may have made it just now, and not come so far yet."""
        if directory in self._prepared:
            return
        if directory != self._root:
            self._prepare(directory.parent)
        directory.mkdir(parents=directory == self._root, exist_ok=True)
        _sync(directory.parent)
        self._prepared.add(directory)


def _sync(directory: Path) -> None:
    handle = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _read(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None


async def answered(what: str, step: Callable[[], Awaitable[Got]], fails: type[Exception] = OSError) -> Got:
    """Refuses Unavailable where it fails, or takes too long."""
    try:
        async with asyncio.timeout(TIMEOUT_S):
            return await step()
    except (OSError, fails) as error:  # TimeoutError is an OSError
        log.warning("the blob store does not answer: %s", what, exc_info=error)
        raise away() from error
