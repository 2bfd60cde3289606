"""The real app as real processes on real sockets, with clients that speak to its public doors alone."""

import asyncio
import base64
import itertools
import json
import os
import re
import socket
import sys
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx2
from sqlalchemy import insert
from sqlalchemy.ext.asyncio import AsyncEngine
from websockets.asyncio.client import ClientConnection, connect

from adapters.tokens import LASTS_S, JwtTokens
from db import tables as t
from db.ids import new_id
from domain.identity import Actor, App
from launch.ports import free_port
from launch.process import Process

ROOT = Path(__file__).parents[2]
SIGNING, SEALING = b"s" * 32, b"k" * 32
ISSUER = "haat"


@dataclass
class Town:
    """Server and worker processes over one database and one Redis. Each may be killed, stopped and started."""

    database_url: str
    redis_url: str
    engine: AsyncEngine
    log: Path
    env: Mapping[str, str] = field(default_factory=dict)
    processes: dict[str, Process] = field(default_factory=dict)
    ports: dict[str, int] = field(default_factory=dict)
    clients: list[httpx2.AsyncClient] = field(default_factory=list)
    connections: int = 100  # of its clients at once: what is more waits its turn
    patience_s: float = 60

    def add_server(self, name: str = "server", *arguments: str, shared: socket.socket | None = None) -> str:
        """`shared` is a listening socket of several servers, as `up --workers` starts them."""
        port = shared.getsockname()[1] if shared else free_port()
        self.ports[name] = port
        fds = [shared.fileno()] if shared else []
        self._add(name, ["serve", *arguments, *(f"--fd={fd}" for fd in fds)], {"HAAT_PORT": str(port)}, fds)
        return self.url(name)

    def add_workers(self, name: str = "work", *arguments: str) -> None:
        self._add(name, ["work", *arguments], {"HAAT_WORK_PORT": str(free_port())})

    def _add(self, name: str, command: Sequence[str], more: Mapping[str, str], fds: Sequence[int] = ()) -> None:
        env = {**self.environment(), **more}
        process = Process(name, [sys.executable, "cli.py", *command], env=env, cwd=ROOT, log=self.log, pass_fds=fds)
        self.processes[name] = process
        process.start()

    def environment(self) -> dict[str, str]:
        """Of every process of this town, and of commands that are given here."""
        return {
            "PATH": os.environ["PATH"],
            "HOME": os.environ.get("HOME", "/tmp"),
            "HAAT_ENV": "test",
            "HAAT_DATABASE_URL": self.database_url,
            "HAAT_REDIS_URL": self.redis_url,
            "HAAT_RATE_LIMITS": "off",
            "HAAT_BLOB_URL": (self.log.parent.resolve() / "blobs").as_uri(),
            "HAAT_SIGNING_KEYS": base64.b64encode(SIGNING).decode(),
            "HAAT_SEALING_KEYS": base64.b64encode(SEALING).decode(),
            **self.env,
        }

    def url(self, name: str = "server") -> str:
        return f"http://127.0.0.1:{self.ports[name]}"

    async def ready(self, *names: str, within_s: float = 30) -> None:
        until = time.monotonic() + within_s
        async with httpx2.AsyncClient(timeout=5) as client:
            for name in names or list(self.ports):
                while True:
                    try:
                        if (await client.get(f"{self.url(name)}/readyz")).status_code == 200:
                            break
                    except httpx2.HTTPError:
                        pass
                    assert self.processes[name].alive, self.said()
                    assert time.monotonic() < until, self.said()
                    await asyncio.sleep(0.05)

    def said(self) -> str:
        return self.log.read_text()[-8000:] if self.log.exists() else ""

    def faults(self) -> list[str]:
        """What its processes have logged as wrong, whatever they answered."""
        lines = self.log.read_text(errors="replace").splitlines() if self.log.exists() else []
        return [line for line in lines if re.search(r'"level": ?"(error|critical)"|"exception":|^Traceback', line)]

    async def close(self) -> None:
        for client in self.clients:
            await client.aclose()
        for process in self.processes.values():
            process.kill()

    async def token(self, actor: Actor) -> str:
        """As `./haat token`: a session of its own."""
        return (await self.tokens([actor]))[0]

    async def tokens(self, actors: Sequence[Actor]) -> list[str]:
        return [token for token, _ in await self.lasting(actors, LASTS_S)]

    async def lasting(self, actors: Sequence[Actor], seconds: float) -> list[tuple[str, datetime]]:
        """Tokens that are good for so long, and until when: whole seconds, as they are."""
        minting = JwtTokens([SIGNING], ISSUER, clock=lambda: time.time() - LASTS_S + seconds)
        tokens, rows = [], []
        for actor in actors:
            session_id = new_id()
            assert actor.kind is not None
            rows.append({"id": session_id, "user_id": actor.id, "app": App(actor.kind.value), "expires_at": LATER})
            tokens.append(minting.mint(Actor(actor.kind, actor.id, session_id)))
        async with self.engine.begin() as connection:
            await connection.execute(insert(t.session), rows)
        return tokens

    async def api(self, actor: Actor | None = None, server: str = "server") -> "Client":
        return Client(self.url(server), await self.token(actor) if actor else None, self._http())

    def client(self, token: str | None, server: str = "server") -> "Client":
        return Client(self.url(server), token, self._http())

    def _http(self) -> httpx2.AsyncClient:
        if not self.clients:
            limits = httpx2.Limits(max_connections=self.connections, max_keepalive_connections=self.connections)
            self.clients.append(httpx2.AsyncClient(timeout=self.patience_s, limits=limits))
        return self.clients[0]


LATER = datetime(2100, 1, 1, tzinfo=UTC)


class Errors(Exception):
    """What errors[] said, by code."""

    def __init__(self, errors: list[dict[str, Any]]) -> None:
        super().__init__(errors)
        self.codes = [error.get("extensions", {}).get("code") for error in errors]


@dataclass
class Client:
    """One caller of the API."""

    url: str
    token: str | None
    http: httpx2.AsyncClient

    async def post(self, query: str, **variables: Any) -> httpx2.Response:
        headers = {"authorization": f"Bearer {self.token}"} if self.token else {}
        return await self.http.post(f"{self.url}/graphql", json={"query": query, "variables": variables}, headers=headers)

    async def ask(self, query: str, **variables: Any) -> dict[str, Any]:
        """The data. Raises Errors."""
        answer = (await self.post(query, **variables)).json()
        if answer.get("errors"):
            raise Errors(answer["errors"])
        data: dict[str, Any] = answer["data"]
        return data

    @asynccontextmanager
    async def socket(self) -> AsyncIterator["Socket"]:
        url = self.url.replace("http", "ws") + "/graphql"
        async with connect(
            url, subprotocols=["graphql-transport-ws"], compression=None, open_timeout=30, max_size=None
        ) as connection:  # type: ignore[list-item]
            payload = {"authorization": f"Bearer {self.token}"} if self.token else {}
            await connection.send(json.dumps({"type": "connection_init", "payload": payload}))
            ack = json.loads(await connection.recv())
            assert ack["type"] == "connection_ack", ack
            yield Socket(connection)

    @asynccontextmanager
    async def feed(self, query: str, **variables: Any) -> AsyncIterator[AsyncIterator[dict[str, Any]]]:
        """Frames of one subscription: the data of its one field."""
        async with self.socket() as socket:
            yield socket.frames(query, **variables)


@dataclass
class Socket:
    connection: ClientConnection
    ids: Any = field(default_factory=lambda: itertools.count(1))

    async def frames(self, query: str, **variables: Any) -> AsyncIterator[dict[str, Any]]:
        id = str(next(self.ids))
        await self.connection.send(json.dumps({"id": id, "type": "subscribe", "payload": {"query": query, "variables": variables}}))
        async for message in self.connection:
            said = json.loads(message)
            if said["type"] == "next":
                if said["payload"].get("errors"):
                    raise Errors(said["payload"]["errors"])
                [frame] = said["payload"]["data"].values()
                yield frame
            elif said["type"] == "error":
                raise Errors(said["payload"])
            elif said["type"] == "complete":
                return


@asynccontextmanager
async def town(
    database_url: str, redis_url: str, engine: AsyncEngine, log: Path, servers: int = 1, **env: str
) -> AsyncIterator[Town]:
    """`server`, `server2` … and one process with all workers."""
    running = Town(database_url, redis_url, engine, log, env)
    try:
        for number in range(1, servers + 1):
            running.add_server("server" if number == 1 else f"server{number}")
        running.add_workers()
        await running.ready()
        yield running
    finally:
        await running.close()
