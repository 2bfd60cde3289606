"""`./haat replay`: which failures it tries, and that Ctrl-C leaves the rest as it is, whenever it comes."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest
from sqlalchemy import event as moments
from sqlalchemy import select, update
from sqlalchemy.ext.asyncio import AsyncEngine

from db import tables as t
from db.reads import Reads
from domain import replays
from domain.replays import ReplayState
from terminal.desk import Desk
from terminal.replay import Asked, replay
from tests.desks import desk_of
from tests.partners import Partner, event, partner, snapshot
from tests.waiting import until
from workers.replays import Replays

HERE = Path(__file__).parents[2]


@asynccontextmanager
async def worked(one: Partner) -> AsyncIterator[None]:
    """With a worker beside it."""
    task = asyncio.create_task(one.worker.run())
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


# ---------------------------------------------------------------- which


async def test_each_filter_says_which_are_tried(engine, capsys):
    here, there = await partner(engine, "wms", "ST-1"), await partner(engine, "wms", "ST-1")
    for one in (here, there):
        await one.tell("webhooks/stock", snapshot("ST-1", ("GHEE", 1, 1), ("SALT", 2, 1)))
        await one.tell("webhooks/stock", event("stock.adjusted", location="NOWHERE", sku="GHEE", delta="1"))
    [slug] = [row.slug for row in await here.rows(select(t.store.c.slug).where(t.store.c.id == here.shop.store_id))]
    of_stores = next(one.fingerprint for one in await here.failures() if "STORE:" in one.message)
    desk = Desk(None, engine, Reads(engine), None)
    ghee, salt, nowhere = "VARIANT:GHEE", "VARIANT:SALT", "STORE:NOWHERE"
    for asked, mine, others in (
        (Asked(store=slug), {ghee, salt}, set()),
        (Asked(text="salt"), {salt}, {salt}),
        (Asked(group=of_stores), {nowhere}, {nowhere}),
        (Asked(store=slug, text="ghee"), {ghee}, set()),
        (Asked(text="salt", group=of_stores), set(), set()),
        (Asked(kind="mapping", since="1h", provider="wms"), {ghee, salt, nowhere}, {ghee, salt, nowhere}),
    ):
        async with worked(here):
            assert await replay(asked, desk) == (not mine)  # they fail again
        assert (await tried_by(here, there)) == (mine, others), asked
    assert "there is nothing to replay" in capsys.readouterr().err


async def tried_by(here: Partner, there: Partner) -> tuple[set[str], set[str]]:
    said = [{one.message.rpartition(" ")[2] for one in await of.failures("MAPPING") if one.replays} for of in (here, there)]
    async with here.engine.begin() as connection:
        await connection.execute(update(t.failure).values(replays=0))
    return said[0], said[1]


# ---------------------------------------------------------------- Ctrl-C


async def unmapped(engine: AsyncEngine, count: int) -> Partner:
    wms = await partner(engine, "wms", "ST-1")
    await wms.tell("webhooks/stock", snapshot("ST-1", *((f"NOBODYS-{n}", 1, 1) for n in range(count))))
    assert len(await wms.failures("MAPPING")) == count
    return wms


async def slug_of(one: Partner) -> str:
    [row] = await one.rows(select(t.store.c.slug).where(t.store.c.id == one.shop.store_id))
    return str(row.slug)


async def jobs(one: Partner) -> list:
    j = t.replay_job.c
    return list(await one.rows(select(t.replay_job).order_by(j.id)))


async def test_ctrl_c_cancels_what_is_left_and_says_so(engine, database_url, tmp_path):
    """A process of its own, and nobody who would do what it has handed over."""
    wms = await unmapped(engine, replays.CHUNK + 3)
    before = len(await jobs(wms))
    environment = {**os.environ, "HAAT_DATABASE_URL": database_url, "HAAT_DATA": str(tmp_path)}
    command = [sys.executable, str(HERE / "cli.py"), "replay", "--store", await slug_of(wms)]
    pipes = {"stdout": asyncio.subprocess.PIPE, "stderr": asyncio.subprocess.PIPE}
    before_it = signal.signal(
        signal.SIGINT, signal.default_int_handler
    )  # tests in the background ignore it, and so would the process
    try:
        process = await asyncio.create_subprocess_exec(*command, env=environment, cwd=tmp_path, **pipes)
    finally:
        signal.signal(signal.SIGINT, before_it)
    try:

        async def handed_over() -> bool:
            return sum(one.replays for one in await wms.failures("MAPPING")) == replays.CHUNK

        async with asyncio.timeout(60):
            while not await handed_over():
                assert process.returncode is None, (await process.communicate())[1].decode()
                await asyncio.sleep(0.05)
        process.send_signal(signal.SIGINT)
        async with asyncio.timeout(30):
            told, errors = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    [job] = (await jobs(wms))[before:]
    assert job.state is ReplayState.CANCELLED
    assert f"{job.id} cancelled, " in told.decode()
    assert process.returncode not in (0, 1)
    assert b"Traceback" not in errors
    assert not await Replays(wms.worker._unit_of_work).once()  # nobody goes on with it
    assert sum(one.replays == 0 for one in await wms.failures("MAPPING")) == 3


FAR = 30  # statements and commits: it has handed over all there is, and waits for it


async def told_to_end(running: "asyncio.Task[bool]", engine: AsyncEngine, at: int) -> bool:
    """In the middle of its `at`th statement or commit, else once it has come far. Returns whether it was the former."""
    begun, told = 0, False

    def end(*_: object) -> None:
        nonlocal begun, told
        begun += 1
        if begun == at:
            told = running.cancel()

    for moment in ("before_cursor_execute", "commit"):
        moments.listen(engine.sync_engine, moment, end)
    try:
        await until(lambda: told or begun > FAR)
    finally:
        for moment in ("before_cursor_execute", "commit"):
            moments.remove(engine.sync_engine, moment, end)
    assert told or running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    return told


async def test_whenever_it_comes_no_replay_is_left_running(engine, database_url, tmp_path):
    wms = await unmapped(engine, 3)
    desk, asked = desk_of(engine, database_url, tmp_path), Asked(store=await slug_of(wms))
    before = len(await jobs(wms))
    for at in range(1, 100):
        inside = await told_to_end(asyncio.create_task(replay(asked, desk)), engine, at)
        assert {job.state for job in (await jobs(wms))[before:]} <= {ReplayState.CANCELLED}, at
        await wms.worker.drain()
        if not inside:
            break
    else:
        pytest.fail("it has never come so far")
    assert len(await jobs(wms)) > before
