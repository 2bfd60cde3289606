"""What all who call us have in common: a shelf as they know it, calls about it, a proof for each, and when it is sent again.

Facts of each provider are in its own file, with where they are from.
"""

import base64
import binascii
import hashlib
import hmac
import json
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from enum import Enum
from typing import Any, ClassVar

Document = dict[str, Any]

# Standard Webhooks 1.0.0, "suggested retries": https://github.com/standard-webhooks/standard-webhooks, spec/standard-webhooks.md
STANDARD_PAUSES_S = (5, 300, 1_800, 7_200, 18_000, 36_000, 50_400, 72_000, 86_400)
OLD = timedelta(minutes=1)
NOBODYS = "nobodys" * 6


class Word(Enum):
    """What may be said of a thing, or of the store."""

    OFF = "OFF"  # it is sold out
    ON = "ON"
    COUNT = "COUNT"  # so many there are
    DELTA = "DELTA"  # so many more or fewer
    RECEIPT = "RECEIPT"  # goods came in
    RETURN = "RETURN"  # a customer brought some back
    LEFT = "LEFT"  # some went to another place
    CAME = "CAME"  # some came from there
    SALE = "SALE"  # over the counter
    PRICE = "PRICE"
    DROP = "DROP"  # the whole of what is sold, without it
    CLOSE = "CLOSE"  # the store's
    OPEN = "OPEN"


class Flaw(Enum):
    DUPLICATE = "DUPLICATE"  # the same bytes, twice
    STALE = "STALE"  # news older than news already told
    FORGED = "FORGED"  # nobody's signature, nobody's token
    UNKNOWN = "UNKNOWN"  # of something nobody sells
    ALTERED = "ALTERED"  # another body by an id that was told already
    BROKEN = "BROKEN"  # bytes that nobody can read


@dataclass(frozen=True)
class Connection:
    """A source, as whoever connected it was shown it. `store` is the caller's own id of its store."""

    id: str
    secret: str = field(repr=False)
    endpoints: Mapping[str, str]
    store: str


@dataclass
class Thing:
    """As its caller has it in its books: what customers must be shown in the end."""

    id: str
    name: str
    price_minor: int
    units: int | None = None  # None: nobody counts it
    on: bool = True
    listed: bool = True

    @property
    def price(self) -> str:
        return rupees(self.price_minor)


@dataclass(frozen=True)
class Call:
    """`id` is the caller's, and the same when it is sent again."""

    url: str
    body: bytes
    id: str
    headers: Mapping[str, str] = field(default_factory=dict)


class Caller(ABC):
    """One provider's side. What it says it takes for true at once: whoever uses it sees to it that it arrives."""

    provider: ClassVar[str]
    words: ClassVar[Sequence[Word]]
    flaws: ClassVar[Sequence[Flaw]]
    pauses_s: ClassVar[Sequence[float]] = ()  # before it is sent again, where that is published
    teaches: ClassVar[bool] = True  # its goods come from it: otherwise the shop has them already
    own_ids: ClassVar[bool] = False  # they are not the shop's SKUs
    counts: ClassVar[bool] = False
    status_words: ClassVar[frozenset[Word]] = frozenset({Word.CLOSE})  # that say whether the store is open

    def __init__(self, connection: Connection, things: Sequence[Thing]) -> None:
        self.connection, self.things = connection, things
        self.open = True
        self.before = datetime.now(UTC) - OLD  # older than all it will tell
        self._last = datetime.now(UTC)

    def now(self) -> datetime:
        """Each time later than the one before, in whole milliseconds."""
        told = datetime.now(UTC)
        self._last = max(told.replace(microsecond=told.microsecond // 1000 * 1000), self._last + timedelta(milliseconds=1))
        return self._last

    def url(self, endpoint: str) -> str:
        return self.connection.endpoints[endpoint]

    # ------------------------------------------------------------ what is said

    def catalogue(self, ref: str) -> Sequence[Call]:
        """What it tells first, when it is connected: all it sells."""
        return [self.say(Word.COUNT, thing, thing.units or 0, f"{ref}-{at}") for at, thing in enumerate(self.things)]

    def say(self, word: Word, thing: Thing, units: int, ref: str) -> Call:
        """It is so from now on."""
        match word:
            case Word.COUNT:
                thing.units = units
            case Word.DELTA:
                units = max(units, -(thing.units or 0))
                thing.units = (thing.units or 0) + units
            case Word.RECEIPT | Word.RETURN | Word.CAME:
                thing.units = (thing.units or 0) + units
            case Word.SALE | Word.LEFT:
                units = min(units, thing.units or 0)
                thing.units = (thing.units or 0) - units
            case Word.PRICE:
                thing.price_minor, thing.listed = 10_000 + units * 25, True
            case Word.ON | Word.OFF:
                thing.on = word is Word.ON
            case Word.DROP:
                for one in self.things:  # one at a time: a push that takes away much waits for somebody to look at it
                    one.listed = one is not thing
            case Word.OPEN | Word.CLOSE:
                self.open = word is Word.OPEN
        return self.call(word, thing, units, ref, self.now())

    @abstractmethod
    def call(self, word: Word, thing: Thing, units: int, ref: str, at: datetime) -> Call:
        """In its own words, of a thing that is so already; `units` are those that came or went."""

    def old(self, thing: Thing, ref: str) -> Call:
        """What was so before all it has told."""
        was = Thing(thing.id, thing.name, thing.price_minor, (thing.units or 0) + 7, not thing.on)
        return self.call(Word.COUNT if self.counts else Word.OFF, was, 0, ref, self.before)

    def unknown(self, ref: str) -> Call:
        """Of a thing that nobody sells."""
        nothing = Thing(f"{ref}-unknown", "Nobody's", 100, 1)
        return self.call(Word.COUNT if self.counts else Word.OFF, nothing, 1, ref, self.now())

    def broken(self, ref: str) -> Call:
        call = self.unknown(ref)
        return Call(call.url, call.body[: len(call.body) // 2], ref, call.headers)

    def altered(self, call: Call) -> Call:
        """The same, but for a blank."""
        return Call(call.url, call.body + b" ", call.id, call.headers)

    # ------------------------------------------------------------ how it is proven, and what it is answered

    @abstractmethod
    def proven(self, call: Call, *, forged: bool = False) -> Call:
        """As it goes over the wire now, proof included. A forged one is proven by another secret."""

    named = True  # also a forged call says which source it pretends to be

    def taken(self, status: int, answer: Document) -> bool:
        """What a call that was kept is promised."""
        return status == 200 and answer.get("status") in ("accepted", "success")

    def refused(self, status: int, answer: Document) -> bool:
        """What a forged one is."""
        return status == 401

    def unreadable(self, status: int, answer: Document) -> bool:
        """What a broken one is."""
        return 400 <= status < 500

    def conflicting(self, status: int, answer: Document) -> bool:
        """What an altered one is."""
        return status == 409


class StandardWebhooks(Caller):
    """Signs as Standard Webhooks 1.0.0 says: the id stays when it is sent again, the time is that of the attempt."""

    flaws = tuple(Flaw)
    pauses_s = STANDARD_PAUSES_S

    def proven(self, call: Call, *, forged: bool = False) -> Call:
        at = str(int(datetime.now(UTC).timestamp()))
        key = bytes(32) if forged else standard_key(self.connection.secret)
        signature = standard_signature(key, call.id, at, call.body)
        headers = {"webhook-id": call.id, "webhook-timestamp": at, "webhook-signature": signature}
        return Call(call.url, call.body, call.id, {**call.headers, **headers})


def standard_key(secret: str) -> bytes:
    return base64.b64decode(secret.removeprefix("whsec_"))


def standard_signature(key: bytes, id: str, at: str, body: bytes) -> str:
    digest = hmac.new(key, f"{id}.{at}.".encode() + body, hashlib.sha256).digest()
    return f"v1,{base64.b64encode(digest).decode()}"


def mac(key: bytes, signed: bytes) -> str:
    return binascii.b2a_base64(hmac.new(key, signed, hashlib.sha256).digest(), newline=False).decode()


def document(told: Any) -> bytes:
    return json.dumps(told).encode()


def rupees(minor: int) -> str:
    return f"{minor // 100}.{minor % 100:02}"


def zulu(at: datetime) -> str:
    return at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def millis(at: datetime) -> int:
    return round(at.timestamp() * 1000)
