"""A profile as it is said, checked whole: everything that is wrong with it at once, each by its path, before it is kept."""

from collections.abc import Iterator, Mapping
from decimal import Decimal
from functools import lru_cache
from typing import Any
from zoneinfo import ZoneInfo

from domain.documents import Document, parse
from domain.intake import SECRET_WORDS, keepable
from domain.profile_values import NEVER, made
from domain.profiles import (
    ACK,
    DEDUPE,
    ENDPOINTS,
    ENTITY,
    ENTITY_VERSION,
    ERROR,
    EVENT_COMMANDS,
    FIELDS,
    HASH,
    HEADER,
    PARTS_OF,
    SOURCE_TS,
    VERSION,
    WHOLES,
    As,
    Condition,
    Event,
    Field,
    MoneyUnit,
    Path,
    Profile,
    Reply,
    Scalar,
    Value,
    field_of,
    folded,
)
from domain.refusals import InvalidInput, Problem, Refused, invalid

PROFILE_BYTES = 64 * 1024
EVENTS, CHILDREN, DEPTH, FIELDS_MOST = 20, 10, 4, 60
PARTS, OPERATORS_DEEP, MAP_ENTRIES, WORDS_MOST = 10, 4, 200, 50
PATH_CHARACTERS, PATH_STEPS, CONST_CHARACTERS = 300, 12, 1000
BODY_DEEP, BODY_PARTS = 4, 50
DEDUPES = 5
_OF_KIND = {"unit": As.MONEY, "tz": As.DATETIME, "true": As.BOOL, "false": As.BOOL}
_MADE_OF = {
    As.STRING: (As.STRING,),
    As.INT: (As.INT, As.DECIMAL),
    As.MONEY: (As.MONEY,),
    As.BOOL: (As.BOOL,),
    As.DATETIME: (As.DATETIME,),
    As.LIST: (As.LIST, As.CSV_LIST),
}


def parsed(text: str) -> Profile:
    """Refuses InvalidInput with all that is wrong, each by its path below `profile`."""
    if len(text.encode("utf-8", "replace")) > PROFILE_BYTES:
        raise invalid("profile", f"is longer than {PROFILE_BYTES // 1024} KB")
    try:
        said = parse(text.encode("utf-8", "replace"))
    except Refused as refused:
        raise invalid("profile", refused.refusal.message) from None
    if not keepable(said.told):
        raise invalid("profile", "has characters that are no text")
    told = Document(said.told, "profile", [])
    told.object()
    profile = _profile(told) if not told.problems else None
    if profile is None or told.problems:
        raise Refused(InvalidInput(_all(told.problems), tuple(told.problems)))
    return profile


known = lru_cache(maxsize=256)(parsed)
"""Of a profile that is kept: read once, for as long as it is in use."""


def _all(problems: list[Problem]) -> str:
    return "; ".join(f"{one.path}: {one.message}" for one in problems[:20])


def _profile(told: Document) -> Profile:
    _only(told, "profile", "assumed", "transport", "auth", "events", "dedupe", "ack", "error")
    if told["transport"].text() not in (None, "webhook"):
        told["transport"].wrong("is webhook, or left out")
    if "auth" in told:
        auth = told["auth"].object()
        _only(auth, "strategy")
        if auth["strategy"].text() not in (None, "standard_webhooks"):
            auth["strategy"].wrong("is standard_webhooks, or left out: what proves a call is the source's, not the profile's")
    events = _list(told["events"], EVENTS)
    if not events and not told.problems:
        told["events"].wrong("is empty")
    return Profile(
        name=told["profile"].text(most=100) or "",
        assumed=bool(told["assumed"].flag(default=False)),
        events=tuple(_event(one, EVENT_COMMANDS, 1) for one in events),
        dedupe=_dedupe(told["dedupe"]),
        ack=_reply(told["ack"], ACK, range(200, 300)),
        error=_reply(told["error"], ERROR, range(400, 500)),
    )


def _only(told: Document, *names: str) -> None:
    if isinstance(told.told, dict):
        for name in told.told:
            if name not in names:
                Document(None, f"{told.path}.{name[:60]}", told.problems).wrong(f"is none of {', '.join(names)}")


def _list(told: Document, most: int) -> list[Document]:
    if told.told is not None and not isinstance(told.told, list):
        told.wrong("is no list")
        return []
    found = list(told.items())
    if len(found) > most:
        told.wrong(f"has more than {most}")
    return found[:most]


def _word(told: Document, words: Mapping[str, Any], what: str) -> Any:
    text = told.text(most=100)
    if text is not None and text not in words:
        told.wrong(f"{text[:40]!r} is no {what}: {', '.join(words)}")
    return words.get(text) if text is not None else None


def _event(told: Document, commands: frozenset[str], depth: int, *, in_menu: bool = False) -> Event:
    told.object()
    nested = depth > 1
    _only(
        told, "when", "each", "command", "entity_id", "version", "source_ts", "fields", "children", *(() if nested else ("whole",))
    )
    before = len(told.problems)
    command = told["command"].text(most=60)
    if command is None and len(told.problems) == before and "children" not in told:
        told["command"].wrong("is missing")
    elif command is not None and command not in commands:
        told["command"].wrong(f"{command[:40]!r} is none of {', '.join(sorted(commands))}")
        return Event(None)  # what belongs to it, nobody knows
    endpoints, condition = _when(told["when"], nested=nested)
    each = _each(told["each"], nested=nested)
    if nested and each is None and "each" not in told:
        told["each"].wrong("is missing: a child is of a list of what holds it")
    entity_id = _value(told["entity_id"], ENTITY, 0) if "entity_id" in told else None
    if entity_id is None and command not in (None, "UpdateStoreStatus"):
        told["entity_id"].wrong("is missing")
    part = command in PARTS_OF
    whole = bool(told["whole"].flag(default=False))
    if whole and command not in WHOLES:
        told["whole"].wrong(f"is for {', '.join(sorted(WHOLES))}")
    for name in ("version", "source_ts"):
        if part and name in told:
            told[name].wrong(f"a {command} has none of its own")
    fields = _fields(told["fields"], command)
    if command == "UpdateStoreStatus" and not fields.keys() & {"open", "status"}:
        told["fields"].wrong("says neither open nor status")
    if command == "UpdateStockLevel" and not fields.keys() & {"quantity", "available"}:
        told["fields"].wrong("says neither quantity nor available")
    return Event(
        command=command,
        endpoints=endpoints,
        condition=condition,
        each=each,
        entity_id=entity_id,
        version=_version(told["version"]),
        source_ts=_value(told["source_ts"], SOURCE_TS, 0) if "source_ts" in told else None,
        fields=fields,
        children=_children(told["children"], command, depth, in_menu=in_menu),
        whole=whole,
    )


def _children(told: Document, command: str | None, depth: int, *, in_menu: bool) -> tuple[Event, ...]:
    if told.told is None:
        return ()
    of_menu = in_menu or command == "UpsertMenuItem"
    commands: frozenset[str]
    match command:
        case None:
            commands = EVENT_COMMANDS
        case "UpsertMenuItem":
            commands = frozenset({"UpsertVariant", "ChoiceGroup"})
        case "UpsertCatalogItem":
            commands = frozenset({"UpsertVariant"})
        case "UpsertVariant" if in_menu:
            commands = frozenset({"ChoiceGroup"})
        case "ChoiceGroup":
            commands = frozenset({"Choice"})
        case _:
            told.wrong(f"a {command} has none")
            return ()
    if depth >= DEPTH:
        told.wrong(f"is deeper than {DEPTH}")
        return ()
    found = _list(told, CHILDREN)
    if command is None and not found:
        told.wrong("is empty")
    return tuple(_event(one, commands, depth + 1, in_menu=of_menu) for one in found)


def _when(told: Document, *, nested: bool) -> tuple[frozenset[str], Condition | None]:
    if told.told is None:
        return frozenset(), None
    told.object()
    _only(told, *(("field", "equals") if nested else ("endpoint", "field", "equals")))
    listed = _list(told["endpoint"], len(ENDPOINTS)) if isinstance(told["endpoint"].told, list) else [told["endpoint"]]
    named = {_word(one, dict.fromkeys(ENDPOINTS, one), "endpoint") and one.text() for one in listed}
    endpoints = frozenset(name for name in named if name)
    if "field" not in told and "equals" not in told:
        return endpoints, None
    path, equals = _path(told["field"]), _scalars(told["equals"])
    if path is not None and path.wild:
        told["field"].wrong("is one place: no [*] here")
    return endpoints, Condition(path, equals) if path is not None and equals else None


def _each(told: Document, *, nested: bool) -> Path | None:
    if told.told is None:
        return None
    path = _path(told)
    if path is None:
        return None
    if path.steps and path.steps[-1] is not None:
        told.wrong("ends with [*]: it is each of a list")
    if nested and path.rooted:
        told.wrong("is of what holds it, so not from the root")
    return path if path.steps else None


def _version(told: Document) -> Value | None:
    """The digest of the thing orders nothing, and what is the same again changes nothing: it may be named, and that is all."""
    if isinstance(told.told, dict) and "sha256_of" in told.told:
        _only(told, "sha256_of")
        _path(told["sha256_of"])
        return None
    return None if told.told is None else _value(told, VERSION, 0)


def _fields(told: Document, command: str | None) -> Mapping[str, Value]:
    if told.told is None:
        told = Document({}, told.path, told.problems)
    told.object()
    if not isinstance(told.told, dict):
        return {}
    if len(told.told) > FIELDS_MOST:
        told.wrong(f"has more than {FIELDS_MOST}")
        return {}
    shapes = FIELDS.get(command, {})
    found = {}
    for name in told.told:
        shape = field_of(command, name)
        if shape is None:
            Document(None, f"{told.path}.{name[:60]}", told.problems).wrong(f"is none of {', '.join(shapes)}")
            continue
        value = _value(told[name], shape, 0)
        if value is not None:
            found[name] = value
    for name, shape in shapes.items():
        if shape.needed and name not in told.told:
            told[name].wrong("is missing")
    return found


# ---------------------------------------------------------------- values


def _value(told: Document, shape: Field, deep: int) -> Value | None:
    """A path alone, or an object of operators."""
    if isinstance(told.told, str):
        return _sized(told, Value(path=_path(told), kind=shape.kind), shape)
    before = len(told.problems)
    told.object()
    if not isinstance(told.told, dict):
        return None
    _only(told, "path", "const", "coalesce", "concat", "map", "default", "as", "unit", "tz", "true", "false")
    if deep > OPERATORS_DEEP:
        told.wrong(f"operators are nested deeper than {OPERATORS_DEEP}")
        return None
    origins = [name for name in ("path", "const", "coalesce", "concat") if name in told]
    if len(origins) != 1:
        told.wrong("has exactly one of path, const, coalesce, concat")
    kind = _word(told["as"], {one.value: one for one in As}, "type") or shape.kind
    if kind not in _MADE_OF[shape.kind]:
        told["as"].wrong(f"is {' or '.join(one.value for one in _MADE_OF[shape.kind])} here")
        kind = shape.kind
    for name, of_kind in _OF_KIND.items():
        if name in told and kind is not of_kind:
            told[name].wrong(f"goes with {of_kind.value} alone")
    value = Value(
        path=_path(told["path"]) if "path" in told else None,
        const=_scalar(told["const"]) if "const" in told else None,
        coalesce=_parts(told["coalesce"], shape, deep),
        concat=_parts(told["concat"], Field(As.STRING, characters=10_000), deep),
        map=_map(told["map"]),
        default=_scalar(told["default"]) if "default" in told else None,
        kind=kind,
        unit=_word(told["unit"], {one.value: one for one in MoneyUnit}, "unit") or MoneyUnit.RUPEE,
        tz=_zone(told["tz"]),
        yes=_scalars(told["true"]) if "true" in told else None,
        no=_scalars(told["false"]) if "false" in told else None,
    )
    if value.concat and shape.kind is not As.STRING:
        told["concat"].wrong("makes text, and this is none")
    return _sized(told, value, shape) if len(told.problems) == before else None


def _sized(told: Document, value: Value, shape: Field) -> Value:
    """What stands in the profile itself is read as it would be in a payload: what is wrong with it is said now."""
    if value.path is not None and value.path.wild and value.kind is not As.LIST:
        told.wrong("[*] is for lists: this is one value")
    for place, const in _constants(told, value):
        here = Document(const, place, told.problems)
        if const is None or (isinstance(const, str) and not const.strip()):
            continue
        made(value, shape, here, NEVER, "UTC")
    return value


def _constants(told: Document, value: Value) -> Iterator[tuple[str, Scalar | None]]:
    yield f"{told.path}.const", value.const
    yield f"{told.path}.default", value.default
    for name, one in (value.map or {}).items():
        yield f"{told.path}.map.{name}", one


def _parts(told: Document, shape: Field, deep: int) -> tuple[Value, ...]:
    if told.told is None:
        return ()
    found = _list(told, PARTS)
    if not found:
        told.wrong("is empty")
    return tuple(value for one in found if (value := _value(one, shape, deep + 1)) is not None)


def _map(told: Document) -> Mapping[str, Scalar] | None:
    if told.told is None:
        return None
    told.object()
    if not isinstance(told.told, dict):
        return None
    if not 0 < len(told.told) <= MAP_ENTRIES:
        told.wrong(f"has 1 to {MAP_ENTRIES} entries")
        return None
    found: dict[str, Scalar] = {}
    for name in told.told:
        key = folded(name)
        if key in found:
            told.wrong(f"{name[:40]!r} stands there twice")
        found[key] = _scalar(told[name])
    return found


def _scalar(told: Document) -> Scalar | None:
    if not isinstance(told.told, str | bool) and told.number(needed=True) is None:
        return None
    if len(str(told.told)) > CONST_CHARACTERS:
        told.wrong(f"is longer than {CONST_CHARACTERS} characters")
    return told.told


def _scalars(told: Document) -> frozenset[str]:
    """One constant, or a list of them: as texts, so that 1 and "1" are the same."""
    listed = _list(told, WORDS_MOST) if isinstance(told.told, list) else [told]
    found = frozenset(folded(one.told) for one in listed if _scalar(one) is not None)
    if isinstance(told.told, list) and not listed:
        told.wrong("is empty")
    return found


def _zone(told: Document) -> str | None:
    name = told.text(most=60)
    if name is None:
        return None
    try:
        ZoneInfo(name)
    except (ValueError, OSError, KeyError):  # of names that are paths, directories, or none
        told.wrong(f"{name!r} is no time zone, as Asia/Kolkata is one")
        return None
    return name


def _path(told: Document) -> Path | None:
    if not isinstance(told.told, str) or not told.told.strip():
        told.wrong("is no path" if told.told is not None else "is missing")
        return None
    text = told.told.strip()
    if len(text) > PATH_CHARACTERS:
        told.wrong(f"is longer than {PATH_CHARACTERS} characters")
        return None
    rooted = text == "$" or text.startswith(("$.", "$["))
    rest = text[1:].removeprefix(".") if rooted else text
    steps = _steps(rest) if rest not in ("", "@") else ()
    if steps is None:
        told.wrong("is no path: names with dots between, [*] for each of a list, [0] for one, $. from the root, @ the thing itself")
        return None
    if len(steps) > PATH_STEPS:
        told.wrong(f"has more than {PATH_STEPS} steps")
    return Path(rooted, steps)


def _steps(text: str) -> tuple[str | int | None, ...] | None:
    steps: list[str | int | None] = []
    for index, part in enumerate(text.split(".")):
        name, *places = part.split("[")
        if name:
            steps.append(name)
        elif index or not places:
            return None
        for place in places:
            inside = place.removesuffix("]")
            if inside == place or not (inside == "*" or (inside.isascii() and inside.isdigit() and len(inside) <= 6)):
                return None
            steps.append(None if inside == "*" else int(inside))
        if "]" in name:
            return None
    return tuple(steps)


# ---------------------------------------------------------------- what is answered


def _dedupe(told: Document) -> tuple[str | Path, ...]:
    if told.told is None:
        return DEDUPE
    found: list[str | Path] = []
    for one in _list(told, DEDUPES):
        text = one.text(needed=True, most=PATH_CHARACTERS) or ""
        if text in (ENTITY_VERSION, HASH):
            found.append(text)
        elif text.startswith(HEADER):
            name = text.removeprefix(HEADER)
            if not name or not name.isascii() or not name.replace("-", "").replace("_", "").isalnum():
                one.wrong("is header: and a header's name")
            elif any(word in name.lower() for word in SECRET_WORDS):
                one.wrong("is kept as it is told, and by its name that header holds a secret")
            found.append(f"{HEADER}{name.lower()}")
        elif text.startswith("$"):
            path = _path(one)
            if path is not None and path.wild:
                one.wrong("is one place: no [*] here")
            found += [path] if path is not None else []
        elif text:
            one.wrong(f"is none of header:NAME, a path from $, {ENTITY_VERSION}, {HASH}")
    return tuple(found)


def _reply(told: Document, usual: Reply, statuses: range) -> Reply:
    if told.told is None:
        return usual
    told.object()
    _only(told, "status", "body")
    status = told["status"].whole(least=statuses.start, most=statuses.stop - 1)
    body = told["body"]
    if "body" in told:
        body.object()
        _check_body(body, 1, [BODY_PARTS])
    return Reply(status or usual.status, _plain(body.told) if isinstance(body.told, dict) and not told.problems else usual.body)


def _check_body(told: Document, deep: int, left: list[int]) -> None:
    left[0] -= 1
    if left[0] == 0:
        told.wrong(f"has more than {BODY_PARTS} parts")
    if left[0] <= 0:
        return
    if isinstance(told.told, dict | list) and deep > BODY_DEEP:
        told.wrong(f"is nested deeper than {BODY_DEEP}")
    elif isinstance(told.told, dict):
        for name in told.told:
            _check_body(told[name], deep + 1, left)
    elif isinstance(told.told, list):
        for one in told.items():
            _check_body(one, deep + 1, left)
    elif isinstance(told.told, str):
        told.text(most=CONST_CHARACTERS)
    elif told.told is not None and not isinstance(told.told, bool):
        told.number()


def _plain(told: Any) -> Any:
    """As it is written back: a number is no Decimal there."""
    match told:
        case dict():
            return {name: _plain(one) for name, one in told.items()}
        case list():
            return [_plain(one) for one in told]
        case Decimal():
            return int(told) if told == told.to_integral_value() else float(told)
        case _:
            return told
