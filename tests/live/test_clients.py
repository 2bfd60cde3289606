"""What others wrote, as it comes, over sockets that are cut and a server that is killed."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from sqlalchemy.ext.asyncio import AsyncEngine

from tests.api import nodejs
from tests.figures import show
from tests.live.town import Town, town
from tests.live.trade import SET
from tests.live.watching import levels_of
from tests.world import listing, shop

SOON_S = 60


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def running(
    database_url: str, redis_url: str, engine: AsyncEngine, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Town]:
    log = Path(tmp_path_factory.mktemp("clients")) / "log"
    async with town(database_url, redis_url, engine, log, servers=2) as running:
        yield running


async def test_the_stock_socket_client_goes_on_where_it_was_cut(running: Town, engine: AsyncEngine):
    mine = await shop(engine)
    tea = str(await listing(engine, mine, 5))
    [first] = (await levels_of(engine, mine.store_id)).values()
    seller = await running.api(mine.owner, "server2")
    url = running.url().replace("http", "ws") + "/graphql"
    client = await nodejs.start("resume.mjs", url, str(mine.store_id), tea, str(first + 4))
    assert client.stdin is not None
    assert client.stdout is not None
    try:

        async def frame() -> dict[str, Any]:
            assert client.stdout is not None
            async with asyncio.timeout(SOON_S):
                line = await client.stdout.readline()
            assert line, await client.stderr.read()
            return json.loads(line)

        def of(told: dict[str, Any]) -> tuple[int, bool, list[int]]:
            return told["connection"], told["reset"], [level["version"] for level in told["levels"]]

        assert of(await frame()) == (1, True, [first])
        await seller.ask(SET, id=tea, units=6)
        assert of(await frame()) == (1, False, [first + 1])
        client.stdin.write(b"cut\n")
        assert of(await frame()) == (2, False, [])
        running.processes["server"].kill()
        for units in (7, 8, 9):
            await seller.ask(SET, id=tea, units=units)
        running.processes["server"].start()
        missed: list[int] = []
        while missed[-1:] != [first + 4]:  # at once, but for what the relay had not put in order when the client came back
            connection, reset, versions = of(await frame())
            assert (connection, reset) == (3, False)
            missed += versions
        assert missed == sorted(set(missed))
        async with asyncio.timeout(SOON_S):
            assert await client.wait() == 0
        show("stock socket client", connections=3, first=first, after_the_kill=missed)
    finally:
        if client.returncode is None:
            client.kill()
            await client.wait()
