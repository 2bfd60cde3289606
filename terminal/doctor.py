import asyncio
import shutil
import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from uuid import uuid4

from domain.blobs import blob_key
from domain.refusals import Refused
from launch.load import load
from launch.ports import bind
from launch.postgres import binaries
from launch.problem import Problem
from launch.redis import find_program
from launch.state import running
from settings import Env, Settings
from terminal.database import address, version_and_clock
from terminal.said import console

ENOUGH_DISK_BYTES = 2 * 1024**3
CLOCK_MAY_DIFFER_S = 2.0


@dataclass(frozen=True)
class Finding:
    fine: bool
    what: str
    todo: str = ""


def doctor(show_settings: bool) -> bool:
    """Prints a line for each thing the town stands on, and whether all of them are fine."""
    settings = load()
    fine = True
    for finding in examine(settings):
        fine = fine and finding.fine
        mark = "ok  " if finding.fine else "NOT "
        console.print(f"{mark} {finding.what}" + (f": {finding.todo}" if finding.todo else ""), markup=False)
    if show_settings:
        for name, value in settings.masked().items():
            console.print(f"     {name}={value}", markup=False)
    return fine


def examine(settings: Settings) -> Iterator[Finding]:
    checks: list[Callable[[Settings], Finding]] = [town, postgres, redis, blobs, port, disk]
    for check in checks:
        try:
            yield check(settings)
        except Problem as problem:
            yield Finding(False, problem.what, problem.todo)


def town(settings: Settings) -> Finding:
    run = running(settings.data)
    if run is None:
        return Finding(True, f"no town is running on {settings.data}", "./haat up starts one")
    return Finding(True, f"a town is running at {run.url}")


def postgres(settings: Settings) -> Finding:
    if settings.database_url is None:
        return Finding(True, f"PostgreSQL is embedded, from {binaries().parent.name}")
    version, clock_s = asyncio.run(version_and_clock(address(settings)))
    if int(version.split(".")[0]) < 15:
        return Finding(False, f"PostgreSQL is {version}", "use 15 or newer")
    if abs(clock_s) > CLOCK_MAY_DIFFER_S:
        return Finding(False, f"the clocks of PostgreSQL and this machine differ by {clock_s:.1f} s", "run an NTP client")
    return Finding(True, f"PostgreSQL {version} answers, its clock is {round(clock_s, 1) + 0.0:+.1f} s from ours")


def redis(settings: Settings) -> Finding:
    if settings.redis_url is None:
        program = find_program()
        if program is None:
            return Finding(True, "no Redis: one server process over memory://", "apt-get install redis for more")
        return Finding(True, f"Redis is {program.origin}")
    if settings.in_memory:
        return Finding(True, "no Redis by choice: one server process over memory://")
    from redis import Redis, RedisError

    try:
        with Redis.from_url(settings.redis_url.get_secret_value(), socket_timeout=2, socket_connect_timeout=2) as client:
            client.ping()
    except RedisError as error:
        return Finding(False, f"Redis does not answer ({type(error).__name__})", "is HAAT_REDIS_URL right?")
    return Finding(True, "Redis answers")


def blobs(settings: Settings) -> Finding:
    if settings.blob_url is None:
        where = "in PostgreSQL, and pictures with their sources" if settings.env is Env.PRODUCTION else f"in {settings.data}/blobs"
        return Finding(True, f"long payloads lie {where}")
    from wiring import open_store  # slow to import, and asked for where there is one alone

    store, key = open_store(settings), blob_key("doctor", uuid4())

    async def tried() -> bool:
        await store.put(key, b"well")
        there = await store.get(key) == b"well"
        await store.delete(key)
        return there

    try:
        fine = asyncio.run(tried())
    except Refused:
        fine = False
    if not fine:
        return Finding(
            False, f"the blob store at {settings.blob_url} does not answer", "are HAAT_BLOB_URL and its credentials right?"
        )
    return Finding(True, f"the blob store at {settings.blob_url} takes and gives")


def port(settings: Settings) -> Finding:
    run = running(settings.data)
    if run is not None and run.port == settings.port:
        return Finding(True, f"port {settings.port} is the town's")
    try:
        bind(settings.host, settings.port).close()
    except (OSError, socket.gaierror) as error:
        why = error.strerror
        return Finding(True, f"port {settings.port} cannot be had ({why})", "up takes the next; serve needs another HAAT_PORT")
    return Finding(True, f"port {settings.port} is free")


def disk(settings: Settings) -> Finding:
    place = settings.data if settings.data.exists() else settings.data.absolute().parent
    free = shutil.disk_usage(place).free
    what = f"{free / 1024**3:.1f} GiB free for {settings.data}"
    return Finding(True, what) if free >= ENOUGH_DISK_BYTES else Finding(False, what, "make room, or choose --data DIR")
