import asyncio
import signal
import socket
from collections.abc import Sequence

from app import create_app
from launch.load import load
from launch.ports import listen
from launch.problem import Problem
from launch.server import serve
from settings import Settings
from terminal.said import say
from terminal.seed import check_nobody_is_demo
from wiring import WORKERS, start_logs, wire, working


def run_server(only: str | None, fd: int | None, with_work: bool) -> None:
    """One server process. `fd` is a listening socket we inherited, else we listen ourselves."""
    settings = with_servers(load())
    start_logs(settings)
    check_nobody_is_demo(settings)
    app = create_app(settings, only, tuple(WORKERS) if with_work else ())
    listening = socket.socket(fileno=fd) if fd is not None else own_socket(settings)

    def drain() -> None:
        app.state.draining = True

    serve(app, settings, listening, drain)


def own_socket(settings: Settings) -> socket.socket:
    found = listen(settings.host, settings.port, tries=1)
    say(f"listening on {settings.host}:{found.port}")
    return found.socket


def run_workers(only: str | None) -> None:
    """The loops, or the ones named a,b, until SIGTERM or SIGINT."""
    names = chosen_workers(only)
    settings = with_servers(load())
    start_logs(settings)
    asyncio.run(work(settings, names))


def chosen_workers(only: str | None) -> Sequence[str]:
    names = [name.strip() for name in only.split(",")] if only else list(WORKERS)
    unknown = [name for name in names if name not in WORKERS]
    if unknown:
        raise Problem(f"there is no worker {unknown[0]}", f"choose from {', '.join(WORKERS) or 'none yet'}")
    return names


async def work(settings: Settings, names: Sequence[str]) -> None:
    """If one loop ends, all end: whoever keeps this process starts it anew."""
    told_to_end = asyncio.Event()
    for what in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(what, told_to_end.set)
    async with wire(settings) as wiring, working(wiring, names):
        await told_to_end.wait()


def with_servers(settings: Settings) -> Settings:
    if settings.database_url is None:
        raise Problem("there is no database", "start ./haat up, or set HAAT_DATABASE_URL")
    return settings
