"""Who keeps long payloads is killed at each step of it: what was acknowledged can be read, and nothing is left over."""

import asyncio
import hashlib
import os
import random
import sys
from asyncio.subprocess import PIPE
from datetime import timedelta
from pathlib import Path
from signal import SIGKILL
from typing import Any
from uuid import UUID

from sqlalchemy import func, select, update

from adapters.blobs import UNNAMED, UNNAMED_S, DirectoryBlobs
from db import tables as t
from db.unit_of_work import unit_of_work
from domain.blobs import sweep
from domain.bodies import Bodies, Stored
from tests.conftest import LONG
from tests.figures import show
from tests.partners import partner
from tests.workers.one_keeper import STORE

ROOT = Path(__file__).parents[2]
SEED = 4
ROUNDS = 8 if LONG else 1  # of each moment
# `commits`: before the transaction ends. That of a body at the door is one statement, and ends between `put` and `answered`.
MOMENTS = (
    "door written", "door put", "door commits", "door committed", "door answered",
    "lay away written", "lay away put", "lay away commits", "lay away committed",
    "drop commits", "drop committed", "sweep deleted", "sweep commits", "sweep committed",
)  # fmt: skip


async def lives(database_url: str, root: Path, source_id: UUID, secret: bytes) -> list[str]:
    """What all of them say, one after another, each killed at its moment; the last one is left alone."""
    chance = random.Random(SEED)
    fates = [f"{moment}/{1 if ROUNDS == 1 else chance.randint(1, 3)}" for _ in range(ROUNDS) for moment in MOMENTS]
    told = "".join(f"{fate}/{number}\n" for number, fate in enumerate([*fates, "none/1"]))
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.workers.one_keeper", database_url, root, str(source_id), secret.hex(),
        cwd=ROOT, stdin=PIPE, stdout=PIPE,
    )  # fmt: skip
    try:
        async with asyncio.timeout(20 + 5 * len(fates)):
            said, _ = await process.communicate(told.encode())
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    return said.decode().splitlines()


async def test_whoever_keeps_is_killed_and_what_was_acknowledged_is_readable(engine, database_url, tmp_path):
    one = await partner(engine, "wms", STORE)
    root = tmp_path / "blobs"
    said = await lives(database_url, root, one.source_id, one.secret)
    kept = {bytes.fromhex(line.split()[1]) for line in said if line.startswith("kept")}
    dropped = max(UUID(line.split()[1]) for line in said if line.startswith("dropping"))
    ended = [line.split(maxsplit=2) for line in said if line.startswith("ended")]
    assert {moment for _, status, moment in ended if int(status) == -SIGKILL} == {*MOMENTS}
    assert {int(status) for _, status, _ in ended} == {-SIGKILL, 0}
    assert int(ended[-1][1]) == 0

    store = DirectoryBlobs(root)
    rows = await one.rows(select(t.payload).where(t.payload.c.source_id == one.source_id))
    assert kept <= {row.sha256 for row in rows}
    bare = [row for row in rows if row.blob is None and not row.body]
    assert all(row.id < dropped for row in bare)
    whole = [row for row in rows if row not in bare]
    for row in whole:
        body = await Bodies(store).read(Stored(row.body, row.blob, row.size, row.sha256))
        assert (hashlib.sha256(body).digest(), len(body)) == (row.sha256, row.size)

    left = await swept(engine, store)
    assert files(root) == {row.blob for row in whole if row.blob is not None}
    for path in (root / UNNAMED).iterdir():
        os.utime(path, (path.stat().st_mtime - UNNAMED_S,) * 2)
    half = len(list((root / UNNAMED).iterdir()))
    await DirectoryBlobs(root).put("payloads/00/another", b"")
    assert [*(root / UNNAMED).iterdir()] == []
    kills = sum(int(status) == -SIGKILL for _, status, _ in ended)
    show(
        "killed while bodies are kept", seed=SEED, kills=kills, acknowledged=len(kept), dropped=len(bare), strays=left,
        half_written=half, lost=0,
    )  # fmt: skip


async def swept(engine: Any, store: DirectoryBlobs) -> int:
    """Whatever is young is old by now. Returns how many strays there were."""
    async with engine.begin() as connection:
        await connection.execute(update(t.blob_stray).values(at=func.clock_timestamp() - timedelta(days=2)))
        left: int = (await connection.execute(select(func.count()).select_from(t.blob_stray))).scalar_one()
    while await sweep(store, lambda: unit_of_work(engine)):
        pass
    async with engine.connect() as connection:
        assert (await connection.execute(select(func.count()).select_from(t.blob_stray))).scalar_one() == 0
    return left


def files(root: Path) -> set[str]:
    return {str(path.relative_to(root)) for path in root.rglob("*") if path.is_file() and UNNAMED not in path.parts}
