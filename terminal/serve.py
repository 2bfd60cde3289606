import gc
import socket
from collections.abc import Sequence

from app import WORK, Leaving, create_app
from launch.load import load
from launch.ports import listen
from launch.problem import Problem
from launch.server import serve
from settings import Settings
from terminal.said import say
from terminal.seed import check_nobody_is_demo
from wiring import WORKERS, start_logs


def run_server(only: str | None, fd: int | None, with_work: bool) -> None:
    """One server process. `fd` is a listening socket we inherited, else we listen ourselves."""
    settings = prepared()
    check_nobody_is_demo(settings)
    found = None if fd is not None else listen(settings.host, settings.port, tries=1)
    run(settings, only, tuple(WORKERS) if with_work else (), found.socket if found else socket.socket(fileno=fd))


def run_workers(only: str | None) -> None:
    """The loops, or the ones named a,b, until SIGTERM or SIGINT. If one ends, all end: whoever keeps this process starts it
    anew. What they listen on tells of their health.
    """
    names = chosen_workers(only)
    settings = prepared()
    run(settings, WORK, names, listen(settings.host, settings.work_port).socket)


def run(settings: Settings, only: str | None, workers: Sequence[str], listening: socket.socket) -> None:
    app = create_app(settings, only, workers)
    gc.collect()
    gc.freeze()  # what was imported stays: it need not be looked through again and again
    say(f"{only or 'all'} on {settings.host}:{listening.getsockname()[1]}")
    serve(app, settings, listening, Leaving(app))


def prepared() -> Settings:
    settings = with_servers(load())
    start_logs(settings)
    return settings


def chosen_workers(only: str | None) -> Sequence[str]:
    names = [name.strip() for name in only.split(",")] if only else list(WORKERS)
    unknown = [name for name in names if name not in WORKERS]
    if unknown:
        raise Problem(f"there is no worker {unknown[0]}", f"choose from {', '.join(WORKERS) or 'none yet'}")
    return names


def with_servers(settings: Settings) -> Settings:
    if settings.database_url is None:
        raise Problem("there is no database", "start ./haat up, or set HAAT_DATABASE_URL")
    return settings
