"""Slack's incoming webhook, as it answers: `ok`; 429 with Retry-After; errors; nothing at all."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

PATH = "/services/T00000000/B00000000/XXXXXXXXXXXXXXXXXXXXXXXX"
OK, BUSY, BROKEN, GONE, HANGING = "ok", "429", "500", "404", "hanging"
STATUS = {OK: "200 OK", BUSY: "429 Too Many Requests", BROKEN: "500 Internal Server Error", GONE: "404 Not Found"}


@dataclass
class Slack:
    """`posts` are the texts of all that came, with how each was answered and when. `answers` are used up, then it is `ok`."""

    port: int = 0
    answers: list[str] = field(default_factory=list)
    retry_after_s: int = 1
    posts: list[tuple[str, str, float]] = field(default_factory=list)
    hung: int = 0

    @classmethod
    @asynccontextmanager
    async def running(cls) -> AsyncIterator["Slack"]:
        slack = cls()
        server = await asyncio.start_server(slack._serve, "127.0.0.1", 0)
        slack.port = server.sockets[0].getsockname()[1]
        try:
            yield slack
        finally:
            server.close()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}{PATH}"

    @property
    def taken(self) -> list[str]:
        """The texts that were answered with `ok`."""
        return [text for text, answer, _ in self.posts if answer == OK]

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode()
                assert head.startswith(f"POST {PATH} HTTP/1.1"), head
                [length] = [line.partition(":")[2] for line in head.lower().splitlines() if line.startswith("content-length:")]
                assert "content-type: application/json" in head.lower()
                text = json.loads(await reader.readexactly(int(length)))["text"]
                answer = self.answers.pop(0) if self.answers else OK
                self.posts.append((text, answer, asyncio.get_running_loop().time()))
                if answer == HANGING:
                    self.hung += 1
                    await reader.read()  # until whoever called hangs up
                    break
                retry = f"Retry-After: {self.retry_after_s}\r\n" if answer == BUSY else ""
                body = answer if answer == OK else "no"
                writer.write(f"HTTP/1.1 {STATUS[answer]}\r\n{retry}Content-Length: {len(body)}\r\n\r\n{body}".encode())
                await writer.drain()
        writer.close()
