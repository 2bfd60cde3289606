"""The GraphQL door, as any client finds it: HTTP for questions, one socket a caller for what it follows."""

import asyncio
import json
import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import count
from typing import Any

import httpx2
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake
from websockets.typing import Subprotocol

from simulate.seen import Document, Seen

TRANSPORT_WS = Subprotocol("graphql-transport-ws")
TIMEOUT_S = 15.0
AGAIN_FOR_S = 20.0  # how long we come again to a door that says it is away
LIMITED_FOR_S = 70.0
RENEW_S = 60.0
FOR_NOW = frozenset({"UNAVAILABLE", "RATE_LIMITED", "UNAUTHENTICATED"})  # a feed is asked for again after these
SESSION = """__typename
  ... on Session { accessToken expiresAt refreshToken viewer { id name } } ... on Refusal { code message }"""
SIGN_IN = f"""mutation ($login: String!, $password: String!, $app: App!) {{
  signIn(login: $login, password: $password, app: $app) {{ {SESSION} ... on TooManyTries {{ retryAt }} }} }}"""
SIGN_UP = f"""mutation ($name: String!, $phone: String!, $password: String!) {{
  signUp(name: $name, phone: $phone, password: $password) {{ {SESSION} }} }}"""
REFRESH = f"mutation ($token: String!) {{ refreshSession(refreshToken: $token) {{ {SESSION} }} }}"


class Answered(Exception):
    """errors[] of an answer, by the code of its first."""

    def __init__(self, code: str, message: str, retry_at: str | None = None) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code
        self.retry_at = retry_at


class NotSignedIn(Exception):
    """A refusal of signIn or signUp."""

    def __init__(self, answer: Document) -> None:
        super().__init__(answer.get("message", ""))
        self.code = answer.get("code", "")


@dataclass
class Doors:
    """One town's, and our one pool of connections to it."""

    graphql: str
    http: httpx2.AsyncClient
    seen: Seen

    @property
    def origin(self) -> str:
        return self.graphql.removesuffix("/graphql")

    async def ask(self, document: str, variables: Document, token: str | None = None) -> Document:
        """Raises Answered. Comes again while the town says it is away, or that we come too often."""
        began = time.monotonic()
        for attempt in count(1):
            try:
                return await self._ask(document, variables, token)
            except Answered as no:
                patience_s = {"UNAVAILABLE": AGAIN_FOR_S, "RATE_LIMITED": LIMITED_FOR_S}.get(no.code, 0)
                if time.monotonic() - began > patience_s:
                    if no.code in ("INTERNAL", "UNAVAILABLE"):
                        self.seen.failures.append(f"{' '.join(document.split())[:80]}: {no}")
                    raise
                self.seen.waits[no.code] += 1
                await asyncio.sleep(pause_s(no, attempt))
        raise AssertionError

    async def _ask(self, document: str, variables: Document, token: str | None) -> Document:
        headers = {"authorization": f"Bearer {token}"} if token else {}
        try:
            response = await self.http.post(self.graphql, json={"query": document, "variables": variables}, headers=headers)
            told = response.json()
        except (httpx2.TransportError, ValueError) as error:
            raise Answered("UNAVAILABLE", f"{type(error).__name__}: {error}") from error
        if told.get("errors"):
            first = told["errors"][0]
            extensions = first.get("extensions") or {}
            raise Answered(extensions.get("code", "INTERNAL"), first.get("message", ""), extensions.get("retryAt"))
        data: Document = told["data"]
        return data


def pause_s(no: Answered, attempt: int) -> float:
    return until_s(no.retry_at) if no.retry_at else float(min(0.1 * 2**attempt, 2.0))


def until_s(at: str) -> float:
    """No longer than we have patience."""
    left_s = (datetime.fromisoformat(at) - datetime.now(UTC)).total_seconds()
    return min(max(left_s, 0.05), LIMITED_FOR_S) + 0.05


class Caller:
    """Somebody signed in to one app, whose session is renewed before it ends."""

    def __init__(self, doors: Doors, app: str, login: str, password: str) -> None:
        self.doors, self.app, self.login, self.password = doors, app, login, password
        self._session: Document = {}
        self._renewing = asyncio.Lock()

    @property
    def name(self) -> str:
        return str(self._session["viewer"]["name"])

    async def sign_in(self) -> None:
        """Waits where there were too many tries, of this account or from here. Raises NotSignedIn."""
        variables = {"login": self.login, "password": self.password, "app": self.app}
        began = time.monotonic()
        while True:
            answer = (await self.doors.ask(SIGN_IN, variables))["signIn"]
            if answer["__typename"] != "TooManyTries" or time.monotonic() - began > LIMITED_FOR_S:
                break
            self.doors.seen.waits["TOO_MANY_TRIES"] += 1
            await asyncio.sleep(until_s(answer["retryAt"]))
        self._keep(answer)

    async def sign_up(self, name: str) -> None:
        """Raises NotSignedIn."""
        variables = {"name": name, "phone": self.login, "password": self.password}
        self._keep((await self.doors.ask(SIGN_UP, variables))["signUp"])

    def _keep(self, answer: Document) -> None:
        if answer["__typename"] != "Session":
            raise NotSignedIn(answer)
        self._session = answer

    async def token(self) -> str:
        async with self._renewing:
            left_s = datetime.fromisoformat(self._session["expiresAt"]).timestamp() - time.time()
            if left_s < RENEW_S:
                try:
                    answer = await self.doors.ask(REFRESH, {"token": self._session["refreshToken"]})
                    self._keep(answer["refreshSession"])
                except NotSignedIn:  # a session ended by somebody else
                    await self.sign_in()
            return str(self._session["accessToken"])

    async def ask(self, document: str, **variables: Any) -> Document:
        return await self.doors.ask(document, variables, await self.token())


@dataclass
class Followed:
    document: str
    variables: Document
    on_frame: Callable[[Document], None]
    cursor: str | None = None


class Socket:
    """One connection, kept up. What it follows goes on from its last cursor; nobody signed in is a caller too."""

    def __init__(self, doors: Doors, caller: Caller | None = None) -> None:
        self.doors, self.caller = doors, caller
        self._ids = count(1)
        self._feeds: dict[str, Followed] = {}
        self._open: ClientConnection | None = None

    async def follow(self, document: str, on_frame: Callable[[Document], None], **variables: Any) -> str:
        """Returns what `leave` wants. The document takes `$after: String`."""
        id = str(next(self._ids))
        self._feeds[id] = Followed(document, variables, on_frame)
        if self._open is not None:
            await self._subscribe(self._open, id)
        return id

    async def leave(self, id: str) -> None:
        if self._feeds.pop(id, None) is not None and self._open is not None:
            await self._send(self._open, {"id": id, "type": "complete"})

    async def run(self) -> None:
        """Until it is cancelled."""
        for attempt in count(1):
            opened = time.monotonic()
            try:
                async with connect(socket_url(self.doors.graphql), subprotocols=[TRANSPORT_WS], max_size=2**24) as connection:
                    await self._serve(connection)
            except (OSError, ConnectionClosed, InvalidHandshake, Answered) as error:
                self.doors.seen.waits[f"socket: {type(error).__name__}"] += 1
            finally:
                self._open = None
            self.doors.seen.reconnects += 1
            steady = time.monotonic() - opened > 5
            # Spread out: a whole town that comes back at once is a herd.
            await asyncio.sleep((0.1 if steady else min(0.2 * 2**attempt, 3)) * random.uniform(0.5, 1.5))

    async def _serve(self, connection: ClientConnection) -> None:
        payload = {"authorization": f"Bearer {await self.caller.token()}"} if self.caller else {}
        await connection.send(json.dumps({"type": "connection_init", "payload": payload}))
        async for text in connection:
            message = json.loads(text)
            match message["type"]:
                case "connection_ack":
                    self._open = connection
                    for id in list(self._feeds):
                        await self._subscribe(connection, id)
                case "ping":
                    await connection.send(json.dumps({"type": "pong"}))
                case "next" if message["payload"].get("errors"):
                    await self._refused(connection, message["id"], message["payload"]["errors"])
                case "next":
                    self._next(message["id"], message["payload"])
                case "error":
                    await self._refused(connection, message["id"], message["payload"])
                case "complete" if message["id"] in self._feeds:
                    await self._subscribe(connection, message["id"])  # the server ended it, not we: it goes on

    async def _subscribe(self, connection: ClientConnection, id: str) -> None:
        feed = self._feeds[id]
        variables = feed.variables | ({"after": feed.cursor} if feed.cursor else {})
        payload = {"query": feed.document, "variables": variables}
        await self._send(connection, {"id": id, "type": "subscribe", "payload": payload})

    async def _send(self, connection: ClientConnection, message: Document) -> None:
        try:
            await connection.send(json.dumps(message))
        except ConnectionClosed:
            self._open = None  # `run` comes again, with all that is followed

    def _next(self, id: str, payload: Document) -> None:
        feed = self._feeds.get(id)
        if feed is None:
            return
        [frame] = payload["data"].values()
        feed.cursor = frame.get("cursor") or feed.cursor
        frames = self.doors.seen.frames
        frames.received += 1
        frames.resets += frame["reset"]
        frames.degraded += frame["degraded"]
        feed.on_frame(frame)

    async def _refused(self, connection: ClientConnection, id: str, errors: list[Document]) -> None:
        code = (errors[0].get("extensions") or {}).get("code", "INTERNAL")
        if code in FOR_NOW:
            self.doors.seen.waits[code] += 1
            await connection.close()  # `run` comes again, with all that is followed
        elif (feed := self._feeds.pop(id, None)) is not None:
            self.doors.seen.failures.append(f"{' '.join(feed.document.split())[:80]}: {code}: {errors[0].get('message')}")


def socket_url(graphql: str) -> str:
    return graphql.replace("http", "ws", 1)
