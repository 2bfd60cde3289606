"""Blobs in a directory and in a bucket: durable, whole or not at all, and away in seconds where they are."""

import asyncio
import os
import sys
import threading
import time
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator, Awaitable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from adapters import blobs
from adapters.blobs import AT_ONCE, DirectoryBlobs, open_blobs
from adapters.buckets import BucketBlobs
from domain.blobs import Blobs, blob_key
from domain.refusals import Kind, Refused
from tests.simulators.bucket import Bucket
from tests.simulators.serving import serving
from tests.waiting import until

ROOT = Path(__file__).parents[2]
KEY = "payloads/7f/0190a7f"


@asynccontextmanager
async def bucket() -> AsyncIterator[tuple[BucketBlobs, Bucket]]:
    there = Bucket()
    async with serving(there.app()) as url:
        options = {"endpoint": url, "access_key_id": "a", "secret_access_key": "s", "region": "eu-central-1"}
        yield BucketBlobs("s3://town/haat", config=options, allow_http=True), there


@pytest.fixture(params=["directory", "bucket"])
async def store(request: Any, tmp_path: Path) -> AsyncIterator[Blobs]:
    if request.param == "directory":
        yield open_blobs(f"file://{tmp_path}/a%20b/blobs")
        return
    async with bucket() as (there, _):
        yield there


async def test_what_is_put_is_got_until_it_is_deleted(store):
    data = bytes(range(256)) * 500
    assert await store.get(KEY) is None
    await store.put(KEY, data)
    await store.put("payloads/7f/other", b"")
    assert (await store.get(KEY), await store.get("payloads/7f/other")) == (data, b"")
    await store.delete(KEY)
    await store.delete(KEY)
    assert (await store.get(KEY), await store.get("payloads/7f/other")) == (None, b"")


async def test_the_same_again_is_the_same(store):
    await asyncio.gather(*(store.put(KEY, b"same" * 10_000) for _ in range(5)))
    assert await store.get(KEY) == b"same" * 10_000


def synced(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What is synced and named from now on, in its order."""
    order: list[str] = []
    fsync, replace = os.fsync, Path.replace

    def sync(handle: int) -> None:
        there = os.readlink(f"/proc/self/fd/{handle}")
        order.append(there if os.path.isdir(there) else "file")
        fsync(handle)

    def named(self: Path, target: Path) -> Path:
        order.append("named")
        return replace(self, target)

    monkeypatch.setattr(os, "fsync", sync)
    monkeypatch.setattr(Path, "replace", named)
    return order


async def test_a_file_is_synced_before_it_has_its_name_and_its_directory_after(tmp_path, monkeypatch):
    order = synced(monkeypatch)
    store = DirectoryBlobs(tmp_path)
    await store.put(KEY, b"data")
    place = str(tmp_path / "payloads" / "7f")
    assert order[-3:] == ["file", "named", place]
    before = len(order)
    await store.put("payloads/7f/other", b"data")
    assert order[before:] == ["file", "named", place]  # what is known to be there is not synced again


async def test_every_directory_that_is_made_for_it_is_synced_into_its_parent(tmp_path, monkeypatch):
    """Also by who finds it there: another may have made it just now, and not come so far yet."""
    for _ in range(2):
        with monkeypatch.context() as watched:
            order = synced(watched)
            await DirectoryBlobs(tmp_path / "a" / "b" / "blobs").put(KEY, b"data")
        durable = order[: order.index("file")]
        below = [tmp_path / part for part in ("", "a", "a/b", "a/b/blobs", "a/b/blobs/payloads")]
        assert [place for place in durable if Path(place).is_relative_to(tmp_path)][:4] == list(map(str, below[:4]))
        assert str(below[4]) in durable


async def test_a_directory_above_it_that_is_closed_to_us_holds_up_nothing(tmp_path, monkeypatch):
    opened = os.open

    def closed(path: Path, flags: int, *more: int, **others: int) -> int:
        if path == tmp_path.parent:
            raise PermissionError(13, "Permission denied")
        return opened(path, flags, *more, **others)

    monkeypatch.setattr(os, "open", closed)
    store = DirectoryBlobs(tmp_path / "blobs")
    await store.put(KEY, b"data")
    assert await store.get(KEY) == b"data"


async def test_what_the_killed_have_left_half_written_goes_and_what_is_being_written_stays(tmp_path):
    written = tmp_path / ".new"
    written.mkdir()
    for name, age_s in (("killed", 7_200), ("writing", 60)):
        (written / name).write_bytes(b"half")
        os.utime(written / name, (time.time() - age_s,) * 2)
    await DirectoryBlobs(tmp_path).put(KEY, b"data")
    assert [path.name for path in written.iterdir()] == ["writing"]


@contextmanager
def hanging(tmp_path: Path, count: int) -> Iterator[list[str]]:
    """Keys whose files nobody gets: who opens one hangs in the kernel. On leaving they come free."""
    place = tmp_path / "payloads" / "7f"
    place.mkdir(parents=True)
    keys = [f"payloads/7f/hangs-{n}" for n in range(count)]
    for key in keys:
        os.mkfifo(tmp_path / key)
    try:
        yield keys
    finally:
        for key in keys:
            with suppress(OSError):  # nobody hangs in it
                os.close(os.open(tmp_path / key, os.O_WRONLY | os.O_NONBLOCK))


async def refused(call: Awaitable[object]) -> Kind:
    with pytest.raises(Refused) as no:
        await call
    return no.value.refusal.kind


async def test_a_directory_that_hangs_is_away_in_time_and_takes_no_thread_from_others(tmp_path, monkeypatch):
    monkeypatch.setattr(blobs, "TIMEOUT_S", 0.2)
    store = DirectoryBlobs(tmp_path)
    with hanging(tmp_path, 40) as keys:
        began = time.monotonic()
        assert {*await asyncio.gather(*(refused(store.get(key)) for key in keys))} == {Kind.UNAVAILABLE}
        assert await refused(store.put(KEY, b"data")) is Kind.UNAVAILABLE
        async with asyncio.timeout(2):
            assert await asyncio.to_thread(lambda: "argon2") == "argon2"
        assert time.monotonic() - began < 2
        assert sum(thread.name == "blobs" for thread in threading.enumerate()) == AT_ONCE
    await until(lambda: not any(thread.name == "blobs" for thread in threading.enumerate()))
    await store.put(KEY, b"data")
    assert await store.get(KEY) == b"data"


async def test_what_is_written_too_late_gets_no_name(tmp_path, monkeypatch):
    """Its caller has gone on long ago, and whoever sweeps strays may have been here already."""
    monkeypatch.setattr(blobs, "TIMEOUT_S", 0.1)
    fsync, late = os.fsync, threading.Event()

    def slow(handle: int) -> None:
        if os.path.isfile(f"/proc/self/fd/{handle}"):
            late.wait()
        fsync(handle)

    monkeypatch.setattr(os, "fsync", slow)
    store = DirectoryBlobs(tmp_path)
    assert await refused(store.put(KEY, b"data")) is Kind.UNAVAILABLE
    late.set()
    await until(lambda: not any(thread.name == "blobs" for thread in threading.enumerate()))
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


GOES = """
import asyncio, sys
from pathlib import Path
from adapters import blobs
from domain.refusals import Refused

blobs.TIMEOUT_S = 0.1

async def main():
    try:
        await blobs.DirectoryBlobs(Path(sys.argv[1])).get(sys.argv[2])
    except Refused as refused:
        print(refused.refusal.code)

asyncio.run(main())
"""


async def test_a_directory_that_hangs_does_not_hold_up_the_exit(tmp_path):
    with hanging(tmp_path, 1) as [key]:
        process = await asyncio.create_subprocess_exec(sys.executable, "-c", GOES, str(tmp_path), key, cwd=ROOT, stdout=PIPE)
        try:
            async with asyncio.timeout(30):
                said, _ = await process.communicate()
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
    assert (said.decode().strip(), process.returncode) == ("UNAVAILABLE", 0)


async def test_what_cannot_be_written_leaves_nothing(tmp_path, monkeypatch):
    store = DirectoryBlobs(tmp_path)
    await store.put(KEY, b"before")

    def full(handle: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(Refused) as no:
        await store.put(KEY, b"after")
    assert no.value.refusal.kind is Kind.UNAVAILABLE
    assert await store.get(KEY) == b"before"
    assert [path.name for path in (tmp_path / "payloads" / "7f").iterdir()] == ["0190a7f"]


async def test_a_directory_that_is_none_is_away(tmp_path):
    (tmp_path / "blobs").write_text("a file")
    store = DirectoryBlobs(tmp_path / "blobs")
    for call in (store.put(KEY, b"x"), store.get(KEY), store.delete(KEY)):
        with pytest.raises(Refused) as no:
            await call
        assert no.value.refusal.kind is Kind.UNAVAILABLE


@pytest.mark.parametrize("key", ["../secrets.json", "/etc/passwd", "payloads/../../x", "", "a//b"])
async def test_no_key_leads_out_of_the_directory(tmp_path, key):
    with pytest.raises(ValueError, match="no key"):
        await DirectoryBlobs(tmp_path / "blobs").get(key)


@pytest.mark.parametrize("status", [403, 500, 503])
async def test_a_bucket_that_refuses_or_breaks_is_away(status):
    async with bucket() as (store, there):
        there.status = status
        for call in (store.put(KEY, b"x"), store.get(KEY), store.delete(KEY)):
            with pytest.raises(Refused) as no:
                await call
            assert no.value.refusal.kind is Kind.UNAVAILABLE


async def test_a_bucket_that_hangs_is_away_in_time(monkeypatch):
    monkeypatch.setattr(blobs, "TIMEOUT_S", 0.2)
    async with bucket() as (store, there):
        there.hangs = True
        started = asyncio.get_running_loop().time()
        with pytest.raises(Refused):
            await store.put(KEY, b"x")
        assert asyncio.get_running_loop().time() - started < 2


async def test_what_is_in_a_bucket_lies_below_its_prefix():
    async with bucket() as (store, there):
        await store.put(KEY, b"x")
        assert list(there.held) == [f"town/haat/{KEY}"]


def test_keys_spread():
    from db.ids import new_id

    keys = {blob_key("payloads", new_id()) for _ in range(1_000)}
    assert len(keys) == 1_000
    assert len({key.split("/")[1] for key in keys}) > 100
