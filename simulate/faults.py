"""What goes wrong in a town: readers that stop reading, and a Redis that dies."""

import asyncio
import json
import os
import signal
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from urllib.parse import urlsplit

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake

from simulate.api import TRANSPORT_WS, socket_url
from simulate.plan import Dawdle
from simulate.town import Town

FEEDS, LEVELS = 15, 200  # of one slow reader: some hundred KB at once
LEVELS_OF = """subscription ($store: ID!, $ids: [ID!]) { stock(storeId: $store, listingIds: $ids) {
  cursor reset degraded levels { listingId state available backAt stale version asOf } } }"""
RedisPid = Callable[[], int | None]
"""Of the embedded Redis of the town, now: it changes with each restart."""


async def dawdle(town: Town, intent: Dawdle) -> None:
    """Asks for more than fits on the way and reads none of it. The town may close it, and must not wait for it."""
    store = town.store(intent.store)
    ids = [listing.id for listing in store.listings][:LEVELS]
    try:
        async with narrow(town.doors.graphql) as connection:
            await connection.send(json.dumps({"type": "connection_init", "payload": {}}))
            await connection.recv()
            for number in range(FEEDS):
                payload = {"query": LEVELS_OF, "variables": {"store": store.id, "ids": ids}}
                await connection.send(json.dumps({"id": str(number), "type": "subscribe", "payload": payload}))
            await asyncio.sleep(intent.for_s)
            town.seen.dawdled += 1
    except (OSError, ConnectionClosed, InvalidHandshake) as error:
        town.seen.waits[f"slow reader: {type(error).__name__}"] += 1


@asynccontextmanager
async def narrow(graphql: str) -> AsyncIterator[ClientConnection]:
    """A socket whose kernel keeps next to nothing for it."""
    url = urlsplit(socket_url(graphql))
    plain = socket.socket(socket.AF_INET)
    plain.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
    plain.setblocking(False)
    await asyncio.get_running_loop().sock_connect(plain, (url.hostname, url.port or 80))
    async with connect(url.geturl(), sock=plain, subprotocols=[TRANSPORT_WS], max_queue=1, close_timeout=0.2) as connection:
        yield connection


def kill_redis(town: Town, pid: RedisPid) -> None:
    """The town's supervisor starts it again. Says aloud when it cannot be done."""
    found = pid()
    if found is None:
        town.seen.notes.append("Redis was left alone: it is not one that ./haat up started here")
        return
    try:
        os.kill(found, signal.SIGKILL)
        town.seen.notes.append("Redis was killed")
    except OSError as error:
        town.seen.notes.append(f"Redis was left alone: {error}")
