import asyncio
import gc
import logging
import os
import signal
import socket
from threading import Timer
from types import FrameType
from typing import Protocol

import uvicorn
from starlette.types import ASGIApp

from launch.ending import where
from launch.problem import Problem
from launch.requests import Requests
from launch.sockets import Sockets
from settings import Settings

log = logging.getLogger("haat.server")
DRAINED_WITHIN = 0.8
"""Of the grace; the rest is for requests that still run."""
LINGERED_S = 2.0
"""For connections that are kept open between requests."""
GIVEN_UP_S = 4.5
"""Beyond the grace. Whoever keeps us kills us half a second later, and then nobody says what did not end."""


PARTING = (b"connection", b"close")
YOUNG = 10_000
"""New objects before the next look for garbage. A request makes some hundred, nearly all of which go by themselves."""


class Drained(Protocol):
    """What is told that the server is going, before uvicorn closes anything."""

    def going(self) -> None:
        """In a signal handler: from now on it is not ready."""

    async def drain(self, within_s: float) -> None:
        """Ends what is open. New requests are answered meanwhile."""


class Server(uvicorn.Server):
    def __init__(self, config: uvicorn.Config, drained: Drained | None = None) -> None:
        super().__init__(config)
        self.drained = drained
        self.last: Timer | None = None
        self.loop: asyncio.AbstractEventLoop | None = None

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """As uvicorn's, but the signal is not raised again afterwards: to have drained is to have ended well."""
        if self.drained is not None:
            self.drained.going()
        # From here on every answer asks its client to connect anew: to another process, before this one closes.
        # Those that are being made hold this very list; uvicorn makes the next ones from its configuration.
        self.server_state.default_headers.append(PARTING)
        self.config.encoded_headers.append(PARTING)
        if self.last is None:
            self.last = Timer((self.config.timeout_graceful_shutdown or 0) + GIVEN_UP_S, self._give_up)
            self.last.daemon = True
            self.last.start()
        self.force_exit = self.should_exit and sig == signal.SIGINT
        self.should_exit = True

    def ended(self) -> None:
        """Nothing of it runs any more."""
        if self.last is not None:
            self.last.cancel()

    def _give_up(self) -> None:
        """In a thread of its own: whatever the others wait for, it is said, and the process ends."""
        try:
            for task in asyncio.all_tasks(self.loop) if self.loop is not None else ():
                log.error("did not end", extra={"task": task.get_name(), "where": where(task)})
        finally:
            os._exit(1)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        self.loop = asyncio.get_running_loop()
        await super().startup(sockets)
        spare_the_lasting()
        log.info("serving")

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        log.info("draining")
        if self.drained is not None:
            await self._drain(self.drained)
        await super().shutdown(sockets)

    async def _drain(self, drained: Drained) -> None:
        clock = asyncio.get_running_loop().time
        grace_s = self.config.timeout_graceful_shutdown or 0
        over_at = clock() + grace_s
        draining = asyncio.create_task(drained.drain(grace_s * DRAINED_WITHIN))
        while not draining.done() and not self.force_exit and clock() < over_at:
            await asyncio.wait([draining], timeout=0.1)
        if draining.done():
            draining.result()
        draining.cancel()
        for server in self.servers:
            server.close()
        # A connection that waits for its next request is not cut under that request: it is told to close with its next answer.
        asleep_at = min(over_at, clock() + LINGERED_S)
        while self.server_state.connections and clock() < asleep_at and not self.force_exit:  # noqa: ASYNC110  # uvicorn has no event for it
            await asyncio.sleep(0.05)
        self.config.timeout_graceful_shutdown = max(1, int(over_at - clock()) - 1)  # what is left for requests in flight


def spare_the_lasting() -> None:
    """What was made to start with lives as long as we do: to look through it for garbage again and again stops everybody."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(YOUNG, 10, 10)


def serve(app: ASGIApp, settings: Settings, listening: socket.socket, drained: Drained | None = None) -> None:
    """Until SIGTERM or SIGINT."""
    server = Server(configure(app, settings), drained)
    server.run(sockets=[listening])
    server.ended()
    if not server.started:
        raise Problem("the server did not start", "read the traceback above, or try ./haat doctor")


def configure(app: ASGIApp, settings: Settings) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        loop="uvloop",
        http=Requests,
        ws=Sockets,
        ws_max_size=settings.websocket_message_bytes,
        ws_per_message_deflate=False,  # half of what an idle subscription keeps, and frames that are the same for all
        ws_ping_interval=20,
        ws_ping_timeout=20,
        lifespan="on",
        timeout_graceful_shutdown=settings.graceful_shutdown_s,
        timeout_keep_alive=settings.keep_alive_s,
        limit_concurrency=settings.concurrency,
        server_header=False,
        proxy_headers=False,  # app.py believes the exact proxies of the settings
        access_log=False,
        log_config=None,  # whoever starts us has said where logs go
    )
