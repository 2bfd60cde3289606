"""The language in which a merchant says what another system's JSON means: a profile, checked whole before it is kept.

A profile is data. It names places in a payload, what is read there, and the commands that come of it; it has no code, no
regular expressions, and bounds for everything. Here is what it is made of; profile_checking.py checks it, profile_reading.py
reads a payload by it (profile_values.py what stands at its paths), profile_versions.py keeps each that was saved, and
profile_shadow.py tells how two readings differ.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from types import MappingProxyType
from typing import Any, Protocol, runtime_checkable

from domain.canonical import OrderWord, StockMode
from domain.catalog import Diet, Unit
from domain.intake import EntityKind, Inbound
from domain.merchants import StoreStatus
from domain.orders import ReasonCode
from domain.stock import StockMovementKind

Scalar = str | bool | Any  # or a Decimal: a number as it was written

ENDPOINTS = (
    "menu",
    "inventory",
    "store-status",
    "order-status",
    "stock",
    "receiving",
    "returns",
    "transfers",
    "shortages",
    "import",
)


class As(Enum):
    STRING = "string"
    INT = "int"
    DECIMAL = "decimal"
    MONEY = "money"
    BOOL = "bool"
    DATETIME = "datetime"
    LIST = "list"
    CSV_LIST = "csv_list"


class MoneyUnit(Enum):
    RUPEE = "rupee"
    PAISE = "paise"


# ---------------------------------------------------------------- what a profile is


@dataclass(frozen=True)
class Path:
    """`steps` are names, places in a list, and None: each of a list. Not `rooted`: from the thing that is read."""

    rooted: bool
    steps: tuple[str | int | None, ...]

    @property
    def wild(self) -> bool:
        return None in self.steps


@dataclass(frozen=True)
class Value:
    """Where one value comes from (exactly one of the first four), and what is made of it."""

    path: Path | None = None
    const: Scalar | None = None
    coalesce: tuple["Value", ...] = ()
    concat: tuple["Value", ...] = ()
    map: Mapping[str, Scalar] | None = None
    default: Scalar | None = None
    kind: As = As.STRING
    unit: MoneyUnit = MoneyUnit.RUPEE
    tz: str | None = None
    yes: frozenset[str] | None = None
    no: frozenset[str] | None = None


@dataclass(frozen=True)
class Condition:
    path: Path
    equals: frozenset[str]


@dataclass(frozen=True)
class Event:
    """One thing that a payload may say. Without a command it only says where its children are."""

    command: str | None
    endpoints: frozenset[str] = frozenset()  # none: any
    condition: Condition | None = None
    each: Path | None = None
    entity_id: Value | None = None
    version: Value | None = None
    source_ts: Value | None = None
    fields: Mapping[str, Value] = field(default_factory=dict)
    children: tuple["Event", ...] = ()
    whole: bool = False


@dataclass(frozen=True)
class Reply:
    """`{reason}` and `{payload}` in its texts stand for what is known then."""

    status: int
    body: Mapping[str, Any]


@dataclass(frozen=True)
class Profile:
    name: str
    assumed: bool
    events: tuple[Event, ...]
    dedupe: tuple["str | Path", ...]  # a header's name as `header:…`, ENTITY_VERSION, HASH, or where an id stands
    ack: Reply
    error: Reply


@runtime_checkable
class Profiled(Inbound, Protocol):
    """A provider that says what its source's profile makes of a payload. `builtin` is what it goes by without one."""

    builtin: str | None


HEADER, ENTITY_VERSION, HASH = "header:", "entity_version", "hash"
ACK = Reply(200, {"status": "accepted"})
ERROR = Reply(400, {"status": "failed", "message": "{reason}"})
DEDUPE = ("header:webhook-id", HASH)


# ---------------------------------------------------------------- what may be said of each thing


@dataclass(frozen=True)
class Field:
    kind: As
    needed: bool = False
    words: Mapping[str, Any] | None = None  # of a text that is one of these
    least: int | None = None
    most: int = 1_000_000_000
    characters: int = 200
    ahead: bool = False  # a time that may be to come


def _words(words: type[Enum], **more: Any) -> Mapping[str, Any]:
    return MappingProxyType({**{one.name.lower(): one for one in words}, **more})


_TEXT, _LONG, _NAME = Field(As.STRING), Field(As.STRING, characters=10_000), Field(As.STRING, characters=300)
_NEEDED_NAME = Field(As.STRING, needed=True, characters=300)
_COUNT, _RANK, _YES, _LIST = Field(As.INT, least=0), Field(As.INT), Field(As.BOOL), Field(As.LIST, characters=2000)
_AMOUNT, _NEEDED_AMOUNT, _AHEAD = Field(As.MONEY), Field(As.MONEY, needed=True), Field(As.DATETIME, ahead=True)
_MINUTES = Field(As.INT, least=0, most=10_000)

_STORE = {"store": _TEXT}
_SIZE = {
    "barcode": Field(As.STRING, characters=100),
    "unit": Field(As.STRING, words=_words(Unit)),
    "rank": _RANK,
    "active": _YES,
    "price": _AMOUNT,
    "mrp": _AMOUNT,
    "packaging": _AMOUNT,
    "currency": Field(As.STRING, characters=3),
    "available": _YES,
    "quantity": _COUNT,
}
_ITEM = {
    "description": _LONG,
    "brand": _TEXT,
    "diet": Field(As.STRING, words=_words(Diet, unspecified=None, nonveg=Diet.NON_VEG)),
    "category": _LIST,
    "images": _LIST,
    **_SIZE,
}
ATTRIBUTE = "attributes."  # whatever follows is the attribute's name
_REASON = Field(As.STRING, words=_words(ReasonCode))
_MOVEMENTS = ("counted", "adjusted", "received", "returned", "transferred")

FIELDS: Mapping[str | None, Mapping[str, Field]] = {
    None: _STORE,
    "UpsertCatalogItem": {**_STORE, "title": _NEEDED_NAME, **_ITEM},
    "UpsertMenuItem": {
        **_STORE,
        "title": _NAME,
        **_ITEM,
        "sections": _LIST,
        "order_types": _LIST,
        "prep_minutes": _MINUTES,
    },
    "UpsertVariant": {**_STORE, "item": _TEXT, "title": _TEXT, **_SIZE},
    "UpdatePrice": {
        **_STORE,
        "price": _NEEDED_AMOUNT,
        "mrp": _AMOUNT,
        "packaging": _AMOUNT,
        "currency": Field(As.STRING, characters=3),
        "effective_from": _AHEAD,
    },
    "UpdateStockLevel": {
        **_STORE,
        "mode": Field(As.STRING, words=_words(StockMode)),
        "kind": Field(
            As.STRING, words={one.value.lower(): one for one in (EntityKind.VARIANT, EntityKind.PRODUCT, EntityKind.MODIFIER)}
        ),
        "quantity": Field(As.INT),
        "available": _YES,
        "restore_at": _AHEAD,
        "movement": Field(As.STRING, words={one: StockMovementKind(one.upper()) for one in _MOVEMENTS}),
        "reason": _TEXT,
    },
    "UpdateStoreStatus": {
        **_STORE,
        "open": _YES,
        "status": Field(As.STRING, words=_words(StoreStatus)),
        "reason": _TEXT,
        "reopen_at": _AHEAD,
    },
    "AcceptOrder": {**_STORE, "prep_minutes": _MINUTES, "reference": _TEXT},
    "RejectOrder": {**_STORE, "reason": _REASON, "message": _TEXT, "items": _LIST},
    "OrderStatus": {
        **_STORE,
        "status": Field(As.STRING, needed=True, words=_words(OrderWord)),
        "reason": _REASON,
        "message": _TEXT,
        "rider_name": _TEXT,
        "rider_phone": Field(As.STRING, characters=40),
        "items": _LIST,
    },
    "ChoiceGroup": {"title": _TEXT, "min": _COUNT, "max": _COUNT, "rank": _RANK, "active": _YES, "variants": _LIST},
    "Choice": {"title": Field(As.STRING, needed=True), "price": _AMOUNT, "active": _YES, "rank": _RANK},
}
PARTS_OF = frozenset({"ChoiceGroup", "Choice"})  # of something: never events of their own
EVENT_COMMANDS = frozenset(name for name in FIELDS if name is not None) - PARTS_OF
ITEMS = frozenset({"UpsertCatalogItem", "UpsertMenuItem"})
WHOLES = ITEMS | {"UpsertVariant"}
ENTITY = Field(As.STRING, needed=True)
VERSION = Field(As.INT, least=0, most=2**62)
SOURCE_TS = Field(As.DATETIME)


def field_of(command: str | None, name: str) -> Field | None:
    if command in ITEMS and name.startswith(ATTRIBUTE) and 0 < len(name) - len(ATTRIBUTE) <= 100:
        return Field(As.STRING, characters=500)
    return FIELDS.get(command, {}).get(name)


def folded(told: object) -> str:
    """A value as text, as it is compared: `true`, `1` and `"1"`, whatever the case."""
    return ("true" if told else "false") if isinstance(told, bool) else str(told).strip().casefold()
