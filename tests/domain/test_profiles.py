"""Whatever a profile and a payload are: commands, or problems by path, and never anything else."""

import json
from collections.abc import Callable
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from domain.documents import Document
from domain.intake import Batch, Call, Family, Reading, Source, keepable, translated
from domain.profile_checking import parsed
from domain.profile_values import NEVER, made
from domain.profiles import ENDPOINTS, EVENT_COMMANDS, FIELDS, ITEMS, As, Field, Profile, Value
from domain.refusals import InvalidInput, Refused
from providers.generic import Generic
from tests.providers.calls import MERCHANT_ID, RECEIVED, SOURCE_ID

GENERIC = Generic()
NAMES = st.sampled_from(["id", "name", "price", "qty", "on", "at", "rows", "kids", "more", "status", "type"])
LEAVES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(10**20), 10**20),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(max_size=12),
    st.sampled_from(
        ["1", "0", "yes", "12.50", "1,200", "2026-01-05T10:15:00Z", "2026-01-05 10:15", "delta", "open", "READY", "\0", "\ud800"]
    ),
)
JSON = st.recursive(
    LEAVES,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.dictionaries(NAMES, inner, max_size=6),
        st.dictionaries(st.sampled_from("012"), inner, max_size=3),
    ),
    max_leaves=25,
)
PATHS = st.builds(
    lambda start, steps: start + ".".join(steps) if steps else "@",
    st.sampled_from(["", "$."]),
    st.lists(st.one_of(NAMES, NAMES.map(lambda name: f"{name}[0]")), min_size=1, max_size=3),
)
LISTS = st.builds(lambda path, name: f"{path}[*].{name}" if name else f"{path}[*]", PATHS, st.one_of(st.none(), NAMES))


def const_of(shape: Field, kind: As) -> st.SearchStrategy[Any]:
    """What is right for the field: what is wrong is refused when it is saved, and that is another test."""
    wanted = Value(kind=kind)

    def right(one: Any) -> bool:
        problems: list[Any] = []
        made(wanted, shape, Document(one, "", problems), NEVER, "UTC")
        return not problems

    words = list(shape.words) if shape.words else []
    return st.one_of(st.sampled_from([*words, "1", "12", "true", "0", "2026-01-05T10:15:00Z"])).filter(right)


@st.composite
def values(draw: st.DrawFn, shape: Field) -> Any:
    if draw(st.booleans()):
        return draw(PATHS)
    value: dict[str, Any]
    kind = shape.kind
    if kind is As.LIST:
        kind = draw(st.sampled_from([As.LIST, As.CSV_LIST]))
        value = {"path": draw(LISTS if kind is As.LIST else PATHS)}
    elif draw(st.integers(0, 4)) == 0:
        value = {"const": draw(const_of(shape, kind))}
    elif draw(st.integers(0, 4)) == 0:
        value = {"coalesce": draw(st.lists(PATHS, min_size=1, max_size=3))}
    elif kind is As.STRING and draw(st.integers(0, 4)) == 0:
        value = {"concat": [draw(PATHS), {"const": " "}, draw(PATHS)]}
    else:
        value = {"path": draw(PATHS)}
    value["as"] = kind.value
    if kind is As.MONEY:
        value["unit"] = draw(st.sampled_from(["rupee", "paise"]))
    if kind is As.DATETIME:
        value["tz"] = draw(st.sampled_from(["UTC", "Asia/Kolkata", "America/New_York"]))
    if kind is As.BOOL and draw(st.booleans()):
        value[draw(st.sampled_from(["true", "false"]))] = ["yes", 1]
    if draw(st.integers(0, 3)) == 0 and kind not in (As.LIST, As.CSV_LIST):
        value["default"] = draw(const_of(shape, kind))
        value["map"] = {"1": draw(const_of(shape, kind))}
    return value


CHILDREN = {"UpsertMenuItem": ["UpsertVariant", "ChoiceGroup"], "UpsertCatalogItem": ["UpsertVariant"], "ChoiceGroup": ["Choice"]}


@st.composite
def events(draw: st.DrawFn, command: str, *, nested: bool = False) -> dict[str, Any]:
    shapes = FIELDS[command]
    needed = [name for name, shape in shapes.items() if shape.needed]
    needed += {"UpdateStoreStatus": ["open"], "UpdateStockLevel": ["quantity"]}.get(command, [])
    names = {*needed, *draw(st.lists(st.sampled_from(sorted(shapes)), max_size=5))}
    event: dict[str, Any] = {
        "command": command,
        "entity_id": draw(PATHS),
        "fields": {name: draw(values(shapes[name])) for name in sorted(names)},
    }
    if nested or draw(st.booleans()):
        event["each"] = draw(NAMES) + "[*]"
    if draw(st.integers(0, 3)) == 0:
        event["when"] = {"field": draw(PATHS), "equals": ["yes", 1, True]}
    if command not in ("Choice", "ChoiceGroup"):
        if draw(st.booleans()):
            event["version"] = draw(st.one_of(PATHS, st.just({"sha256_of": "@"})))
        if draw(st.booleans()):
            event["source_ts"] = draw(values(Field(As.DATETIME)))
    if command in ITEMS and not nested:
        event["whole"] = draw(st.booleans())
    if command in CHILDREN and draw(st.booleans()):
        event["children"] = [draw(events(child, nested=True)) for child in CHILDREN[command]]
    return event


@st.composite
def profiles(draw: st.DrawFn) -> dict[str, Any]:
    commands = draw(st.lists(st.sampled_from(sorted(EVENT_COMMANDS)), min_size=1, max_size=3))
    return {
        "events": [draw(events(command)) for command in commands],
        "dedupe": draw(st.lists(st.sampled_from(["header:x-id", "$.id", "entity_version", "hash"]), max_size=3)),
    }


def or_refusal(act: Callable[[], Any]) -> Any:
    try:
        return act()
    except Refused as refused:
        return refused.refusal


def read(profile: str, body: bytes) -> Reading:
    call = Call("stock", body, {"x-id": "1"}, RECEIVED, profile=profile)
    return translated(GENERIC, call, Source(SOURCE_ID, MERCHANT_ID, "generic", Family.ERP, {}, profile=profile))


@settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
@given(profiles(), JSON)
def test_any_payload_by_any_profile_is_commands_or_problems(profile, body):
    text = json.dumps(profile)
    parsed(text)  # it is a right one
    call = Call("stock", json.dumps(body).encode(), {"x-id": "1"}, RECEIVED, profile=text)
    source = Source(SOURCE_ID, MERCHANT_ID, "generic", Family.ERP, {}, profile=text)
    GENERIC.event_id(call)
    said = or_refusal(lambda: GENERIC.translate(call, source))
    if isinstance(said, InvalidInput):
        assert said.problems
        return
    assert isinstance(said, Batch)
    assert all(one.path.startswith("$") and one.message for one in said.problems)
    assert keepable(list(said.commands))
    for command in said.commands:
        assert command.entity


@settings(max_examples=300, deadline=None)
@given(st.one_of(JSON, profiles().flatmap(lambda one: spoilt(one))))
def test_any_json_is_a_profile_or_is_refused_with_problems(told):
    said = or_refusal(lambda: parsed(json.dumps(told)))
    if not isinstance(said, Profile):
        assert isinstance(said, InvalidInput)
        assert said.problems
        assert all(one.path.startswith("profile") and one.message for one in said.problems)


@st.composite
def spoilt(draw: st.DrawFn, told: Any) -> Any:
    """With something else in one of its places."""
    if isinstance(told, dict) and told and draw(st.integers(0, 5)):
        name = draw(st.sampled_from(sorted(told)))
        return told | {name: draw(spoilt(told[name]))}
    if isinstance(told, list) and told and draw(st.integers(0, 5)):
        place = draw(st.integers(0, len(told) - 1))
        return [*told[:place], draw(spoilt(told[place])), *told[place + 1 :]]
    return draw(JSON)


@settings(max_examples=200, deadline=None)
@given(profiles(), st.binary(max_size=60))
def test_what_is_no_json_is_something_wrong(profile, body):
    reading = read(json.dumps(profile), body)
    assert isinstance(reading, Reading)


def test_the_doors_of_the_language_are_the_providers():
    assert set(GENERIC.endpoints) == set(ENDPOINTS)
