"""Somebody who does what docs/api.md says, one example after the other, and compares what comes with what is promised."""

import json
import re
import shlex
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import count
from time import monotonic, sleep
from typing import Any

import httpx2
from websockets.sync.client import ClientConnection, connect

from tests.docs.pages import Example

Told = Any
WITHIN_S = 20
PAGE_URL = "http://127.0.0.1:8000"
NAME = re.compile(r"\{\{(\w+)\}\}")
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z")


class Differs(AssertionError):
    """What came is not what the page says. `came` is the whole of it."""

    def __init__(self, where: str, wanted: object, found: object, came: object) -> None:
        super().__init__(
            f"at {where or 'the top'} the page says {json.dumps(wanted)}, and there came {json.dumps(found)}"
            f" in {json.dumps(came, indent=2, ensure_ascii=False)}"
        )
        self.came = came


@dataclass
class Reader:
    """`known` are the values that {{name}} stands for: caught where an answer has it first, filled in where it is asked with."""

    url: str
    tokens: Mapping[str, str]
    known: dict[str, Any]
    said: Any  # () -> what the server has written, for the codes it would send by SMS
    http: httpx2.Client
    stack: ExitStack
    feeds: dict[str, ClientConnection] = field(default_factory=dict)
    files: dict[str, str] = field(default_factory=dict)
    ids: Iterator[int] = field(default_factory=lambda: count(1))

    def follow(self, example: Example) -> Told:
        """Does it; what came, where there is something to be compared. Raises Differs."""
        return getattr(self, f"do_{example.what}")(example)

    # ---------------------------------------------------------------- HTTP

    def do_run(self, example: Example) -> Told:
        """A query or mutation, its variables where it has any, and its answer. `soon`: asked until it is as the page says."""
        until = monotonic() + (WITHIN_S if "soon" in example.words else 0)
        while True:
            try:
                return self._ask(example)
            except Differs:
                if monotonic() >= until:
                    raise
            sleep(0.2)

    def _ask(self, example: Example) -> Told:
        asked, wanted = self._asked(example)
        headers = self._headers(example)
        response = self.http.post(f"{self.url}/graphql", json=asked, headers=headers)
        return self._compare(wanted, json.loads(response.text.replace(self.url, PAGE_URL)))

    def do_curl(self, example: Example) -> Told:
        """As a shell would, where the page's files are."""
        block, wanted = example.block("sh"), example.block("json")
        assert block is not None
        assert wanted is not None
        words = shlex.split(self._filled(block.text).replace("\\\n", " "))
        assert words.pop(0) == "curl"
        url, headers, data = "", {}, None
        while words:
            match words.pop(0):
                case "-s":
                    pass
                case "-H":
                    name, _, value = words.pop(0).partition(": ")
                    headers[name] = value
                case "-d":
                    data = words.pop(0)
                case "--data-binary":
                    data = self.files[words.pop(0).removeprefix("@")]
                case word:
                    assert word.startswith(PAGE_URL), word
                    url = word.replace(PAGE_URL, self.url)
        response = self.http.request("GET" if data is None else "POST", url, content=data, headers=headers)
        return self._compare(json.loads(wanted.text), response.json())

    def do_file(self, example: Example) -> Told:
        """One the page shows, to be sent."""
        [block] = example.blocks
        self.files[example.words["name"]] = f"{block.text}\n"

    def do_pay(self, example: Example) -> Told:
        """What the payer's browser does on the sandbox's page."""
        page = f"{self.url}/v1/payments/sandbox/pay/{self.known[example.words['secret']]}"
        assert self.http.get(page).status_code == 200
        answer = self.http.post(f"{page}/{example.words['and']}")
        assert answer.status_code == 200, answer.text

    def _headers(self, example: Example) -> dict[str, str]:
        who = example.words["as"]
        return {} if who == "nobody" else {"authorization": f"Bearer {self.tokens[who]}"}

    def _asked(self, example: Example) -> tuple[dict[str, Any], Told]:
        query = example.block("graphql")
        assert query is not None, f"{example} has no query"
        asked: dict[str, Any] = {"query": self._filled(query.text)}
        place = 0
        if "$" in query.text:
            variables = example.block("json")
            assert variables is not None, f"{example} has no variables"
            asked["variables"] = json.loads(self._filled(variables.text))
            place = 1
        answer = example.block("json", place)
        return asked, json.loads(answer.text) if answer else None

    def _filled(self, text: str) -> str:
        def value(found: re.Match[str]) -> str:
            name = found[1]
            if name == "now":
                return datetime.now(UTC).isoformat().replace("+00:00", "Z")
            if name == "otp":
                return re.findall(r"the code for \S+ is (\d{6})", self.said())[-1]
            assert name in self.known, f"{{{{{name}}}}} comes from an example before this one, which has failed"
            return str(self.known[name])

        return NAME.sub(value, text)

    # ---------------------------------------------------------------- sockets

    def do_feed(self, example: Example) -> Told:
        """A subscription that stays open, and its first frame."""
        asked, wanted = self._asked(example)
        socket = self._socket()
        payload = {"authorization": f"Bearer {self.tokens[example.words['as']]}"} if example.words["as"] != "nobody" else {}
        socket.send(json.dumps({"type": "connection_init", "payload": payload}))
        assert json.loads(socket.recv(WITHIN_S))["type"] == "connection_ack"
        socket.send(json.dumps({"id": "1", "type": "subscribe", "payload": asked}))
        self.feeds[example.words["name"]] = socket
        return self._compare(wanted, self._frame(socket))

    def do_frame(self, example: Example) -> Told:
        """A frame of a feed that is open: the next that is as the page says."""
        wanted = example.block("json")
        assert wanted is not None
        socket = self.feeds[example.words["of"]]
        came: list[Told] = []
        while True:
            try:
                came.append(self._frame(socket))
            except TimeoutError:
                raise Differs("", json.loads(wanted.text), None, came) from None
            for frame in _tails(came[-1]):
                with suppress(Differs):
                    return self._compare(json.loads(wanted.text), frame)

    def do_close(self, example: Example) -> Told:
        """Ends a feed, as a phone in a tunnel does."""
        self.feeds.pop(example.words["of"]).close()

    def do_socket(self, example: Example) -> Told:
        """Messages there and back, as they are on the wire: `→` is sent, `←` awaited."""
        block = example.block("text")
        assert block is not None
        socket = self._socket()
        for line in block.text.splitlines():
            arrow, _, message = line.partition(" ")
            if arrow == "→":
                socket.send(json.dumps(json.loads(self._filled(message))))
            else:
                assert arrow == "←", line
                self._compare(json.loads(message), json.loads(socket.recv(WITHIN_S)))

    def _socket(self) -> ClientConnection:
        url = self.url.replace("http", "ws") + "/graphql"
        return self.stack.enter_context(connect(url, subprotocols=["graphql-transport-ws"]))  # type: ignore[list-item]

    def _frame(self, socket: ClientConnection) -> Told:
        while True:
            message = json.loads(socket.recv(WITHIN_S))
            if message["type"] == "next":
                return message["payload"]
            assert message["type"] in ("ping", "pong"), message

    # ---------------------------------------------------------------- what is promised, and what came

    def _compare(self, wanted: Told, came: Told) -> Told:
        caught: dict[str, Any] = {}
        if wanted is not None:
            self._same(wanted, came, "", came, caught)
        self.known |= caught
        return came

    def _same(self, wanted: Told, found: Told, where: str, came: Told, caught: dict[str, Any]) -> None:
        match wanted:
            case dict():
                if not isinstance(found, dict) or set(found) != set(wanted):
                    raise Differs(where, wanted, found, came)
                for name, value in wanted.items():
                    self._same(value, found[name], f"{where}.{name}", came, caught)
            case list():
                # A list may go on; one that is shown empty is empty.
                if not isinstance(found, list) or len(found) < len(wanted) or bool(wanted) != bool(found):
                    raise Differs(where, wanted, found, came)
                for place, value in enumerate(wanted):
                    self._same(value, found[place], f"{where}.{place}", came, caught)
            case str() if name := NAME.fullmatch(wanted):
                before = self.known.get(name[1], caught.get(name[1]))
                if found is None or before not in (None, found):
                    raise Differs(where, before or wanted, found, came)
                caught[name[1]] = found
            case str() if _TIME.fullmatch(wanted):
                if not isinstance(found, str) or not _TIME.fullmatch(found):
                    raise Differs(where, wanted, found, came)
            case str() if wanted.endswith("…"):
                if not isinstance(found, str) or not found.startswith(wanted[:-1]):
                    raise Differs(where, wanted, found, came)
            case _:
                if wanted != found:
                    raise Differs(where, wanted, found, came)


def _tails(frame: Told) -> Iterator[Told]:
    """The frame, and as it would be had what comes first in its list come in a frame before: how much of it waits for whom to
    read is nobody's promise."""
    yield frame
    [(field, told)] = frame["data"].items()
    lists = [name for name, value in told.items() if isinstance(value, list)]
    for name in lists:
        for start in range(1, len(told[name])):
            yield {"data": {field: {**told, name: told[name][start:]}}}
