import errno
import socket
from dataclasses import dataclass

from launch.problem import Problem

LOOPBACK = "127.0.0.1"
ACKNOWLEDGE_WITHIN_MS = 15_000
"""A peer that acknowledges nothing for this long is gone: uvicorn's own pings do not free such a socket."""


@dataclass(frozen=True)
class Listening:
    """`moved` when the port asked for was taken by somebody else."""

    socket: socket.socket
    port: int
    moved: bool


def listen(host: str, port: int, tries: int = 100) -> Listening:
    """A listening socket on `port`, or on the next free one. Port 0 is any."""
    for candidate in range(port, min(port + tries, 65_536)):
        try:
            bound = bind(host, candidate)
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                continue
            raise Problem(f"cannot listen on {host}:{candidate} ({error.strerror})", "choose another --port") from error
        chosen = bound.getsockname()[1]
        return Listening(bound, chosen, moved=chosen != port != 0)
    raise Problem(f"no free port from {port} on", "choose another --port")


def bind(host: str, port: int) -> socket.socket:
    """What is set here is inherited by every socket accepted from it."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    bound = socket.socket(family, socket.SOCK_STREAM)
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        bound.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # asyncio's own loop forgets it: 40 ms an answer
        if hasattr(socket, "TCP_USER_TIMEOUT"):  # Linux
            bound.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, ACKNOWLEDGE_WITHIN_MS)
            bound.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 15)
            bound.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 5)
            bound.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 3)
        bound.bind((host, port))
        bound.listen(2048)
    except OSError:
        bound.close()
        raise
    return bound


def free_port(host: str = LOOPBACK) -> int:
    """Free a moment ago. Somebody may be quicker: be ready to ask again."""
    with socket.socket() as probe:
        probe.bind((host, 0))
        port: int = probe.getsockname()[1]
        return port
