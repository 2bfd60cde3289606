"""What speaks for the stores: a till that switches dishes off and on, a warehouse that counts. Both by webhook."""

import asyncio
import base64
import hashlib
import hmac
import json
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import count
from typing import Any, Protocol

import httpx2

from simulate.plan import Flaw, Provider, Say, Word
from simulate.seen import Document, Seen, Sent
from simulate.town import Town

MARK = "x-simulated"  # a header of ours, kept with the payload: by it we find our own again
TRIES = 6
ENDPOINTS = {Word.RECEIPT: "receiving"}


@dataclass(frozen=True)
class Call:
    url: str
    body: bytes
    headers: Mapping[str, str]


class Wire(Protocol):
    """How one provider says things, and what it is promised for an answer."""

    source_id: str
    things: Sequence[str]

    def call(self, say: Say, thing: str, ref: str, *, version: int) -> Call: ...

    def forged(self, call: Call) -> Call: ...

    def kept(self, status: int, answer: Document) -> bool:
        """What a call that was taken is promised."""

    def refused(self, status: int, answer: Document) -> bool:
        """What a forged one is."""


class Petpooja:
    """Switches by item id; the token in its URL is all its proof."""

    def __init__(self, source: Mapping[str, Any], things: Sequence[str]) -> None:
        self.source_id, self.things = str(source["id"]), things
        self._store, self._url, self._secret = source["store"], source["endpoints"]["inventory"], source["secret"]

    def call(self, say: Say, thing: str, ref: str, *, version: int) -> Call:
        body = {"restID": self._store, "type": "item", "inStock": say.word is Word.ON, "itemID": [thing], "note": ref}
        return Call(self._url, json.dumps(body).encode(), {})

    def forged(self, call: Call) -> Call:
        return Call(call.url.replace(self._secret, "nobodys" * 6), call.body, call.headers)

    def kept(self, status: int, answer: Document) -> bool:
        return status == 200 and answer.get("status") == "success"

    def refused(self, status: int, answer: Document) -> bool:
        return status in (400, 401, 404) and answer.get("status") == "failed"


class Wms:
    """Counts and changes of a SKU, each with a version, signed as Standard Webhooks 1.0.0 says."""

    def __init__(self, source: Mapping[str, Any], things: Sequence[str]) -> None:
        self.source_id, self.things = str(source["id"]), things
        self._store, self._urls = source["store"], source["endpoints"]
        self._key = base64.b64decode(str(source["secret"]).removeprefix("whsec_"))

    def call(self, say: Say, thing: str, ref: str, *, version: int) -> Call:
        told = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        body = json.dumps({"type": _TYPES[say.word], "timestamp": told, "data": self._data(say, thing, ref, version)}).encode()
        at = str(int(time.time()))
        headers = {"webhook-id": ref, "webhook-timestamp": at, "webhook-signature": self._sign(ref, at, body)}
        return Call(self._urls[ENDPOINTS.get(say.word, "stock")], body, headers)

    def _data(self, say: Say, thing: str, ref: str, version: int) -> Document:
        match say.word:
            case Word.COUNT:
                lines = [{"sku": thing, "available": str(say.units), "version": version}]
                return {"location": self._store, "lines": lines}
            case Word.RECEIPT:
                return {"location": self._store, "receipt_id": ref, "lines": [{"sku": thing, "accepted_qty": str(say.units)}]}
            case _:
                delta = {"sku": thing, "delta": str(say.units), "reason": "recount", "version": version}
                return {"location": self._store, **delta}

    def _sign(self, ref: str, at: str, body: bytes) -> str:
        digest = hmac.new(self._key, f"{ref}.{at}.".encode() + body, hashlib.sha256).digest()
        return f"v1,{base64.b64encode(digest).decode()}"

    def forged(self, call: Call) -> Call:
        signature = f"v1,{base64.b64encode(bytes(32)).decode()}"
        return Call(call.url, call.body, {**call.headers, "webhook-signature": signature})

    def kept(self, status: int, answer: Document) -> bool:
        return status == 200 and answer.get("status") == "accepted"

    def refused(self, status: int, answer: Document) -> bool:
        return status == 401


_TYPES = {Word.COUNT: "stock.snapshot", Word.DELTA: "stock.adjusted", Word.RECEIPT: "receipt.completed"}


@dataclass
class Post:
    """The way to the doors of providers, for all who call there. Versions rise over all of them, and over all runs."""

    http: httpx2.AsyncClient
    seen: Seen
    versions: Iterator[int] = field(default_factory=lambda: count(int(time.time() * 1000)))
    numbers: Iterator[int] = field(default_factory=lambda: count(1))

    def ref(self) -> str:
        return f"sim-{self.seen.run}-{next(self.numbers)}"

    async def send(self, call: Call, sent: Sent) -> Document:
        """Again with the same bytes while the door says it is away, as a provider would."""
        self.seen.webhooks.append(sent)
        headers = {"content-type": "application/json", MARK: sent.ref, **call.headers}
        for attempt in range(TRIES):
            try:
                response = await self.http.post(call.url, content=call.body, headers=headers)
                sent.status, sent.answer = response.status_code, response.text
                if sent.status not in (429, 503):
                    answer: Document = response.json()
                    return answer
            except (httpx2.TransportError, ValueError) as error:
                sent.answer = f"{type(error).__name__}: {error}"
            sent.again += 1
            await asyncio.sleep(0.2 * 2**attempt)
        return {}


class Speaker:
    """One till, or one warehouse."""

    def __init__(self, town: Town, post: Post, provider: Provider) -> None:
        source = town.where.sources[provider.value]
        of_kitchen = provider is Provider.TILL
        mine = town.spoken_for.get(source["id"], frozenset())
        shelves = [store.listings for store in town.stores if store.id in mine]
        things = sorted({listing.sku for shelf in shelves for listing in shelf if listing.on_menu == of_kitchen})
        self.wire: Wire = Petpooja(source, things) if of_kitchen else Wms(source, things)
        self.provider, self.post = provider, post
        self.off: set[str] = set()
        self.wishes: asyncio.Queue[Say] = asyncio.Queue()

    async def run(self) -> None:
        while True:
            say = await self.wishes.get()
            try:
                await self.say(say)
            finally:
                self.wishes.task_done()

    async def say(self, say: Say) -> None:
        if not self.wire.things:  # its stores are closed now
            return
        thing = self._thing(say)
        if say.flaw is Flaw.STALE:
            older, newer = next(self.post.versions), next(self.post.versions)
            await self._tell(say, thing, newer, None)
            await self._tell(say, thing, older, Flaw.STALE)
            return
        call, answer = await self._tell(say, thing, next(self.post.versions), say.flaw)
        if say.flaw is Flaw.DUPLICATE:
            await self._repeat(call, answer)

    async def stop(self) -> None:
        """The town is left with nothing switched off by us."""
        for thing in sorted(self.off):
            await self._tell(Say(0, 0, self.provider, Word.ON, 0, 0, None), thing, 0, None)

    def _thing(self, say: Say) -> str:
        if say.word is Word.ON and self.off:
            return sorted(self.off)[int(say.thing * len(self.off))]
        return self.wire.things[int(say.thing * len(self.wire.things))]

    async def _tell(self, say: Say, thing: str, version: int, flaw: Flaw | None) -> tuple[Call, Document]:
        ref = self.post.ref()
        if flaw is Flaw.UNKNOWN:
            thing = f"{ref}-unknown"
        elif say.word is Word.OFF and flaw is not Flaw.FORGED:
            self.off.add(thing)
        elif say.word is Word.ON and flaw is not Flaw.FORGED:
            self.off.discard(thing)
        call = self.wire.call(say, thing, ref, version=version)
        known = flaw is not Flaw.FORGED or self.provider is Provider.WAREHOUSE  # a wrong token is nobody's
        # A repeat is told apart below: what is said first is said well.
        kind = None if flaw is Flaw.DUPLICATE else flaw
        sent = Sent(ref, self.provider.value, self.wire.source_id if known else "", call.body.decode(), kind)
        sent.absolute = say.word in (Word.COUNT, Word.ON, Word.OFF)
        answer = await self.post.send(self.wire.forged(call) if flaw is Flaw.FORGED else call, sent)
        sent.promised = (self.wire.refused if flaw is Flaw.FORGED else self.wire.kept)(sent.status, answer)
        return call, answer

    async def _repeat(self, call: Call, answer: Document) -> None:
        sent = Sent(self.post.ref(), self.provider.value, self.wire.source_id, call.body.decode(), Flaw.DUPLICATE)
        again = await self.post.send(call, sent)
        sent.promised = self.wire.kept(sent.status, again) and again == answer
