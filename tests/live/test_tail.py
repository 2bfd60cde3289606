"""`./haat tail` against a real server that is killed."""

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from sqlalchemy.ext.asyncio import AsyncEngine

from tests.live.town import ROOT, Town, town
from tests.live.trade import SET
from tests.world import listing, shop


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def running(
    database_url: str, redis_url: str, engine: AsyncEngine, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Town]:
    log = Path(tmp_path_factory.mktemp("tail")) / "log"
    async with town(database_url, redis_url, engine, log) as running:
        yield running


async def tail(running: Town, *arguments: str) -> asyncio.subprocess.Process:
    env = {**os.environ, **running.environment(), "HAAT_PUBLIC_URL": running.url()}
    return await asyncio.create_subprocess_exec(
        sys.executable, "cli.py", "tail", *arguments,
        cwd=ROOT, env=env, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip


async def test_it_goes_on_where_it_was_cut(running: Town, engine: AsyncEngine):
    mine = await shop(engine)
    tea = str(await listing(engine, mine, 5))
    seller = await running.api(mine.owner)
    watching = await tail(running, "stock", f"storeId={mine.store_id}", f"listingIds={tea}", "--json")

    async def frame() -> dict[str, Any]:
        assert watching.stdout is not None
        assert watching.stderr is not None
        async with asyncio.timeout(60):
            line = await watching.stdout.readline()
        assert line, await watching.stderr.read()
        told: dict[str, Any] = json.loads(line)
        return told

    try:
        first = await frame()
        assert (first["reset"], [level["available"] for level in first["levels"]]) == (True, [5])
        await seller.ask(SET, id=tea, units=6)
        assert [level["available"] for level in (await frame())["levels"]] == [6]
        running.processes["server"].kill()
        running.processes["server"].start()
        await running.ready("server")
        await seller.ask(SET, id=tea, units=7)
        seen: list[int] = []
        while seen[-1:] != [7]:
            told = await frame()
            assert not told["reset"]
            seen += [level["available"] for level in told["levels"]]
    finally:
        watching.terminate()
        await watching.communicate()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["nothing"], "there is no feed nothing"),
        (["stock"], "stock needs storeId"),
        (["stock", "storeId=nowhere"], "there is no store nowhere"),
        (["stock", "shop=x"], "stock has no shop"),
        (["storeStatus", "storeIds=01a1fc9e-1af0-7469-90f5-3d5a1bedcf32,nowhere"], "there is no store nowhere"),
        (["storeOrders", "storeId=01a1fc9e-1af0-7469-90f5-3d5a1bedcf32"], "sign in"),
    ],
)
async def test_what_cannot_be_watched_is_said_in_a_line(running: Town, arguments: list[str], said: str):
    watching = await tail(running, *arguments)
    async with asyncio.timeout(60):
        _, told = await watching.communicate()
    assert watching.returncode == 1
    assert said in told.decode()
    assert "Traceback" not in told.decode()
