"""Blobs in a directory and in a bucket: durable, whole or not at all, and away in seconds where they are."""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from adapters import blobs
from adapters.blobs import DirectoryBlobs, open_blobs
from adapters.buckets import BucketBlobs
from domain.blobs import Blobs, blob_key
from domain.refusals import Kind, Refused
from tests.simulators.bucket import Bucket
from tests.simulators.serving import serving

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


async def test_a_file_is_synced_before_it_has_its_name_and_its_directory_after(tmp_path, monkeypatch):
    order: list[str] = []
    fsync, replace = os.fsync, Path.replace

    def synced(handle: int) -> None:
        order.append("directory" if os.path.isdir(f"/proc/self/fd/{handle}") else "file")
        fsync(handle)

    def replaced(self: Path, target: Path) -> Path:
        order.append("named")
        return replace(self, target)

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(Path, "replace", replaced)
    await DirectoryBlobs(tmp_path / "new").put(KEY, b"data")
    assert order == ["directory"] * 3 + ["file", "named", "directory"]


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
