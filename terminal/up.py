import http.client
import json
import os
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.prompt import Confirm

from domain.figures import SEVERAL
from launch.load import load
from launch.ports import LOOPBACK, Listening, listen
from launch.postgres import Postgres
from launch.problem import Problem
from launch.process import Process
from launch.redis import MEMORY, Redis, find_program
from launch.state import Run, announce, claim, reset
from launch.supervisor import Supervisor, Watch
from settings import ROOT, Env, Settings
from terminal.ready import show
from terminal.said import console, say

READY_WITHIN_S = 60
CLOSING_S = 5  # what a process may take beyond its grace, for its connections to PostgreSQL and Redis
Address = dict[str, Any]
Prepare = Callable[[Settings, bool], Address]
"""Fills the database of these settings (second argument: leave it empty), and says what the ready line adds to the URLs."""


@dataclass(frozen=True)
class Asked:
    """The options of `./haat up`."""

    data: Path | None = None
    port: int | None = None
    empty: bool = False
    reset: bool = False
    reload: bool = False
    workers: int = 1
    json: bool = False


def up(asked: Asked, prepare: Prepare) -> None:
    """Starts everything that is not given by the environment, and keeps it running until it is told to end."""
    began = time.monotonic()
    given: dict[str, Any] = {name: value for name, value in (("data", asked.data), ("port", asked.port)) if value is not None}
    before = load(**given)
    if before.env is Env.PRODUCTION and not asked.empty:
        raise Problem("a demo town has no place in production", "run migrate, serve and work, or up --empty")
    data = before.data.absolute()
    confirm_reset(asked, data)
    with claim(data):
        if asked.reset:
            start_over(data)
        given["data"] = data
        settings = load(**given)
        with Supervisor(settings.graceful_shutdown_s + CLOSING_S, say) as supervisor, listening(settings) as socket:
            start_services(settings, supervisor)
            settings = load(**given, **found(settings, supervisor, socket.port))
            if supervisor.ending:
                return
            told = prepare(settings, asked.empty)
            start_children(settings, supervisor, socket, asked.workers)
            if not supervisor.wait_until(lambda: answers_ready(settings, socket.port), READY_WITHIN_S):
                return
            supervisor.restarted = lambda: announce(data, run_of(settings, supervisor, socket.port))
            supervisor.restarted()
            tell(asked, settings, told, time.monotonic() - began)
            supervisor.run(Watch(ROOT) if asked.reload else None)
            say("stopping")


def confirm_reset(asked: Asked, data: Path) -> None:
    """Asks a person. A program that says --reset means it."""
    if not asked.reset or asked.json or not data.exists() or not sys.stdin.isatty():
        return
    if not Confirm.ask(f"Throw away everything in {data}?", console=console, default=False):
        raise Problem("nothing was thrown away", "leave out --reset to keep the data")


def start_over(data: Path) -> None:
    """The server of a run that was killed may still be writing there."""
    Postgres(data / "postgres", say=say).end_orphan()
    reset(data)


@contextmanager
def listening(settings: Settings) -> Iterator[Listening]:
    """The children inherit it, so connections wait, not fail, while one of them is restarted."""
    socket = listen(settings.host, settings.port)
    if socket.moved:
        say(f"port {settings.port} is busy: using {socket.port}")
    with socket.socket:
        yield socket


def start_services(settings: Settings, supervisor: Supervisor) -> None:
    if settings.database_url is None:
        supervisor.add_service(Postgres(settings.data / "postgres", say=say))
    if settings.redis_url is None:
        program = find_program()
        if program is None:
            say("no Redis here: using memory://, so one server process with the workers inside (apt-get install redis)")
        else:
            supervisor.add_service(Redis(program, settings.data / "redis.log"))


def found(settings: Settings, supervisor: Supervisor, port: int) -> dict[str, str]:
    """What the settings did not say and now is known."""
    services = [kept.what for kept in supervisor.services]
    urls = {"public_url": settings.public_url or f"http://{LOOPBACK}:{port}"}
    for service in services:
        if isinstance(service, Postgres):
            urls["database_url"] = service.url()
        elif isinstance(service, Redis):
            urls["redis_url"] = service.url
    if settings.redis_url is None:
        urls.setdefault("redis_url", MEMORY)
    return urls


def start_children(settings: Settings, supervisor: Supervisor, socket: Listening, workers: int) -> None:
    """N servers and one process of workers; with memory:// one server that does the work too."""
    if settings.in_memory and workers > 1:
        say(f"memory:// cannot be shared: one server process, not {workers}")
    listen_fd = socket.socket.fileno()
    serve = [sys.executable, str(ROOT / "cli.py"), "serve", "--fd", str(listen_fd)]
    env = environment(settings)
    env.pop(SEVERAL, None)  # a folder of somebody else's
    if settings.in_memory:
        supervisor.add_child(Process("server", [*serve, "--with-work"], env, cwd=ROOT, pass_fds=[listen_fd]))
        return
    # Whichever server is asked for its figures tells those of all; what works has a door of its own.
    together = {**env, SEVERAL: str(empty_folder(settings.data / "figures"))} if workers > 1 else env
    for number in range(1, workers + 1):
        supervisor.add_child(Process(f"server-{number}", serve, together, cwd=ROOT, pass_fds=[listen_fd]))
    supervisor.add_child(Process("work", [sys.executable, str(ROOT / "cli.py"), "work"], env, cwd=ROOT))


def empty_folder(path: Path) -> Path:
    """What is in it was another run's."""
    shutil.rmtree(path, ignore_errors=True)
    path.mkdir(parents=True)
    return path


def environment(settings: Settings) -> dict[str, str]:
    """For the children: they find the demo keys in HAAT_DATA themselves."""
    known = {
        "HAAT_DATA": str(settings.data),
        "HAAT_DATABASE_URL": settings.database_url.get_secret_value() if settings.database_url else "",
        "HAAT_REDIS_URL": settings.redis_url.get_secret_value() if settings.redis_url else "",
        "HAAT_PUBLIC_URL": settings.public_url or "",
    }
    return {**os.environ, **known}


def answers_ready(settings: Settings, port: int) -> bool:
    host = LOOPBACK if settings.host in {"0.0.0.0", "::"} else settings.host  # noqa: S104
    connection = http.client.HTTPConnection(host, port, timeout=3)
    try:
        connection.request("GET", "/readyz")
        return connection.getresponse().status == 200
    except OSError:
        return False
    finally:
        connection.close()


def run_of(settings: Settings, supervisor: Supervisor, port: int) -> Run:
    shown = environment(settings)
    return Run(
        shown["HAAT_DATABASE_URL"],
        shown["HAAT_REDIS_URL"],
        port,
        shown["HAAT_PUBLIC_URL"],
        {"up": os.getpid()} | supervisor.pids(),
    )


def tell(asked: Asked, settings: Settings, told: Address, took_s: float) -> None:
    """That it is ready: one line of JSON for programs, prose for people."""
    urls = {"url": settings.public_url, "graphql": f"{settings.public_url}/graphql"}
    if asked.json:
        sys.stdout.write(json.dumps(urls | told) + "\n")
        sys.stdout.flush()
    say(f"ready in {took_s:.1f} s")
    show(settings.public_url or "", told)
    if settings.env is Env.DEMO:
        say("  Ctrl-C stops it; what it holds is kept")
