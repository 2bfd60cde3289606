import signal
import socket
from collections.abc import Callable
from types import FrameType

import uvicorn
from starlette.types import ASGIApp

from launch.problem import Problem
from settings import Settings


class Server(uvicorn.Server):
    """Tells the app that it is draining before uvicorn closes anything."""

    def __init__(self, config: uvicorn.Config, drain: Callable[[], None]) -> None:
        super().__init__(config)
        self.drain = drain

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """As uvicorn's, but the signal is not raised again afterwards: to have drained is to have ended well."""
        self.drain()
        self.force_exit = self.should_exit and sig == signal.SIGINT
        self.should_exit = True


def serve(app: ASGIApp, settings: Settings, listening: socket.socket, drain: Callable[[], None]) -> None:
    """Until SIGTERM or SIGINT."""
    server = Server(configure(app, settings), drain)
    server.run(sockets=[listening])
    if not server.started:
        raise Problem("the server did not start", "read the traceback above, or try ./haat doctor")


def configure(app: ASGIApp, settings: Settings) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        loop="uvloop",
        http="httptools",
        ws="websockets-sansio",
        ws_max_size=settings.websocket_message_bytes,
        ws_per_message_deflate=False,  # 44 KiB an idle subscription instead of 85
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
