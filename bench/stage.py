"""What is measured, and beside what: an embedded PostgreSQL that syncs, a Redis, a server and the bare one, in a directory
that is thrown away."""

import asyncio
import base64
import json
import os
import resource
import secrets
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench.nodejs import installed, node
from db.migrate import upgrade
from launch.ports import free_port
from launch.postgres import Postgres
from launch.problem import Problem
from launch.process import Process
from launch.redis import Redis, find_program
from settings import ROOT, Settings

READY_S = 30
ENDING_S = 0.5  # a job that has said all ends by itself


@dataclass
class Stage:
    """`settings` are the server's own."""

    settings: Settings
    postgres: Postgres
    log: Path
    env: Mapping[str, str]
    processes: dict[str, Process] = field(default_factory=dict)

    @property
    def database_url(self) -> str:
        return self.postgres.url()

    def last_words(self) -> str:
        """Of the servers."""
        return self.log.read_text(errors="replace")[-2000:] if self.log.exists() else ""

    @asynccontextmanager
    async def server(self) -> AsyncIterator[int]:
        """The whole app as one process; its port."""
        async with self._process("server", ["cli.py", "serve"]) as port:
            yield port

    @asynccontextmanager
    async def bare(self) -> AsyncIterator[int]:
        async with self._process("bare", ["-m", "bench.bare"]) as port:
            yield port

    @asynccontextmanager
    async def workers(self, only: str) -> AsyncIterator[None]:
        process = self._start("work", ["cli.py", "work", "--only", only], {})
        try:
            yield
        finally:
            process.stop()

    @asynccontextmanager
    async def peer(self, name: str, *arguments: str, within_s: float = READY_S) -> AsyncIterator[int]:
        """A server of bench/peers/, given its port and these. Raises Problem where there is no Node, or no packages for it."""
        folder = await asyncio.to_thread(installed)
        port = free_port()
        process = self._run(name, [str(node()), f"{name}.mjs", str(port), *arguments], {"NODE_ENV": "production"}, folder)
        try:
            await self._ready(process, port, within_s)
            yield port
        finally:
            process.stop()

    @asynccontextmanager
    async def _process(self, name: str, command: list[str]) -> AsyncIterator[int]:
        port = free_port()
        process = self._start(name, command, {"HAAT_PORT": str(port)})
        try:
            await self._ready(process, port)
            yield port
        finally:
            process.stop()

    def _start(self, name: str, command: list[str], more: Mapping[str, str]) -> Process:
        return self._run(name, [sys.executable, *command], more, ROOT)

    def _run(self, name: str, command: list[str], more: Mapping[str, str], where: Path) -> Process:
        process = Process(name, command, env={**self.env, **more}, cwd=where, log=self.log)
        self.processes[name] = process
        process.start()
        return process

    async def _ready(self, process: Process, port: int, within_s: float = READY_S) -> None:
        from bench.wire import Http

        until = time.monotonic() + within_s
        while time.monotonic() < until and process.alive:
            try:
                http = await Http.connect(port)
                status, _ = await http.ask("/readyz", method="GET")
                http.close()
                if status == 200:
                    return
            except OSError:
                pass
            await asyncio.sleep(0.05)
        raise Problem(f"{process.name} did not start", f"it said: {self.last_words()}")


@contextmanager
def stage() -> Iterator[Stage]:
    program = find_program()
    if program is None:
        raise Problem("there is no Redis for this machine", "install redis-server")
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))  # inherited by the servers: thousands of sockets
    with tempfile.TemporaryDirectory(prefix="haat-bench-") as directory:
        path = Path(directory)
        path.chmod(0o711)  # PostgreSQL runs as another user than root
        postgres, redis = Postgres(path / "postgres"), Redis(program, path / "redis.log")
        try:
            postgres.start()
            redis.start()
            upgrade(postgres.url())
            env = {
                "PATH": os.environ["PATH"],
                "HOME": os.environ.get("HOME", directory),
                "HAAT_ENV": "test",
                "HAAT_DATA": str(path / "data"),
                "HAAT_DATABASE_URL": postgres.url(),
                "HAAT_REDIS_URL": redis.url,
                "HAAT_RATE_LIMITS": "off",
                "HAAT_LOG_LEVEL": "warning",
                "HAAT_SIGNING_KEYS": base64.b64encode(secrets.token_bytes(32)).decode(),
                "HAAT_SEALING_KEYS": base64.b64encode(secrets.token_bytes(32)).decode(),
            }
            yield Stage(settings_of(env), postgres, path / "servers.log", env)
        finally:
            redis.stop()
            postgres.stop(mode="immediate")


def settings_of(env: Mapping[str, str]) -> Settings:
    """Of these variables alone: what else the caller's shell says is not what we measure."""
    told = {name.removeprefix("HAAT_").lower(): value for name, value in env.items() if name.startswith("HAAT_")}
    return Settings(**told)  # type: ignore[arg-type]  # as text, like from the environment


class Load:
    """A job that runs in a process of its own."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    async def said(self, within_s: float = 60) -> dict[str, Any]:
        """The next thing it says. Raises Problem where it went wrong."""
        assert self._process.stdout is not None
        async with asyncio.timeout(within_s):
            line = await self._process.stdout.readline()
        told: dict[str, Any] = json.loads(line) if line else {"wrong": "the load ended early"}
        if "wrong" in told:
            raise Problem(f"the load went wrong ({told['wrong']})", "this is not to be measured")
        return told


@asynccontextmanager
async def load(job: Mapping[str, Any]) -> AsyncIterator[Load]:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "bench.load", stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, cwd=ROOT, limit=2**28
    )
    try:
        assert process.stdin is not None
        process.stdin.write(json.dumps(job).encode() + b"\n")
        await process.stdin.drain()
        yield Load(process)
    finally:
        try:
            async with asyncio.timeout(ENDING_S):
                await process.wait()
        except TimeoutError:
            process.kill()
            await process.wait()


async def carry_out(**job: Any) -> dict[str, Any]:
    """A job that says one thing: what came of it."""
    async with load(job) as running:
        return await running.said(job["seconds"] * 2 + 60)
