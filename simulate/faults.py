"""What goes wrong in a town: readers that stop reading, and a Redis that dies."""

import asyncio
import json
import os
import signal
from collections.abc import Callable

from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake

from simulate.api import TRANSPORT_WS, socket_url
from simulate.plan import Dawdle
from simulate.staff import STOCK
from simulate.town import Town

RedisPid = Callable[[], int | None]
"""Of the embedded Redis of the town, now: it changes with each restart."""


async def dawdle(town: Town, intent: Dawdle) -> None:
    """Asks for a store's shelves and reads nothing more; the town may close it, and must not wait for it."""
    try:
        url = socket_url(town.doors.graphql)
        async with connect(url, subprotocols=[TRANSPORT_WS], max_queue=1, close_timeout=0.2) as connection:
            await connection.send(json.dumps({"type": "connection_init", "payload": {}}))
            await connection.recv()
            payload = {"query": STOCK, "variables": {"store": town.store(intent.store).id}}
            await connection.send(json.dumps({"id": "1", "type": "subscribe", "payload": payload}))
            await asyncio.sleep(intent.for_s)
    except (OSError, ConnectionClosed, InvalidHandshake) as error:
        town.seen.waits[f"slow reader: {type(error).__name__}"] += 1


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
