"""Where blobs lie: a directory of this machine, or a bucket of a cloud (adapters/buckets.py)."""

import asyncio
import logging
import os
import tempfile
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TypeVar
from urllib.parse import unquote, urlsplit

from domain.blobs import Blobs, away
from domain.threads import Threads

log = logging.getLogger("haat.blobs")
TIMEOUT_S = 3.0
AT_ONCE = 8  # of a directory; a mount that hangs holds so many threads, and no more
UNNAMED = ".new"  # below the root: what is being written
UNNAMED_S, SWEEP_S = 3600.0, 3600.0  # nobody writes for so long; so often it is looked for what the killed have left
Got = TypeVar("Got")


def open_blobs(url: str) -> Blobs:
    """By its scheme. A cloud's credentials are found as its own tools find them."""
    parts = urlsplit(url)
    if parts.scheme == "file":
        return DirectoryBlobs(Path(unquote(parts.path)))
    from adapters.buckets import BucketBlobs  # a library of many megabytes, for those alone who name a bucket

    return BucketBlobs(url)


class DirectoryBlobs:
    """Each blob is a file. What was put survives a power cut: file and directories are synced before it is said to be there."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._threads = Threads("blobs", AT_ONCE)
        self._prepared: set[Path] = set()  # directories that we know to be there after a power cut, too
        self._sweep_at = 0.0

    async def put(self, key: str, data: bytes) -> None:
        path, until = self._path(key), time.monotonic() + TIMEOUT_S
        await self._answered("put", lambda: self._put(path, data, until))

    async def get(self, key: str) -> bytes | None:
        return await self._answered("get", partial(_read, self._path(key)))

    async def delete(self, key: str) -> None:
        await self._answered("delete", partial(self._path(key).unlink, missing_ok=True))

    async def _answered(self, what: str, step: Callable[[], Got]) -> Got:
        return await answered(what, lambda: self._threads.run(step))

    def _path(self, key: str) -> Path:
        parts = key.split("/")
        if {"", ".", "..", UNNAMED} & {*parts}:
            raise ValueError(f"{key!r} is no key")
        return self._root.joinpath(*parts)

    def _put(self, path: Path, data: bytes, until: float) -> None:
        """What is written later than `until` gets no name: nobody waits for it, and it may have been swept as a stray."""
        try:
            self._prepare(self._root / UNNAMED)
            self._prepare(path.parent)
            handle, name = tempfile.mkstemp(dir=self._root / UNNAMED)
        except FileNotFoundError:  # somebody has taken a directory away
            self._prepared.clear()
            raise
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            if time.monotonic() > until:
                raise TimeoutError(f"{path.name} was written too late")
            Path(name).replace(path)
        except BaseException:
            with suppress(OSError):
                Path(name).unlink()
            raise
        _sync(path.parent)
        self._sweep()

    def _prepare(self, directory: Path) -> None:
        """With all above it, each synced into its own: another process may have made it just now, and not come so far yet."""
        if directory in self._prepared:
            return
        if directory.parent != directory:
            self._prepare(directory.parent)
            made = _made(directory)
            try:
                _sync(directory.parent)
            except OSError:
                # Above the root all is others', and may be closed to us: then nobody like us has made anything in it.
                if made or self._root in directory.parents:
                    raise
        self._prepared.add(directory)

    def _sweep(self) -> None:
        """Now and then: what others were writing as they were killed."""
        if time.monotonic() < self._sweep_at:
            return
        self._sweep_at = time.monotonic() + SWEEP_S
        with suppress(OSError):
            for path in (self._root / UNNAMED).iterdir():
                with suppress(OSError):  # somebody else has just done it
                    if path.stat().st_mtime < time.time() - UNNAMED_S:
                        path.unlink()


def _made(directory: Path) -> bool:
    """Whether it is new."""
    try:
        directory.mkdir()
    except OSError:  # whichever: of what is there some systems say that nothing can be made
        if not directory.is_dir():
            raise
        return False
    return True


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
