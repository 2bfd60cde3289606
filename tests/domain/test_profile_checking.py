"""A profile is checked whole before it is kept: all that is wrong with it, each by its path."""

import json
from typing import Any

import pytest

from domain.profile_checking import DEPTH, PROFILE_BYTES, parsed
from domain.profiles import FIELDS, As, Path
from domain.refusals import InvalidInput, Refused


def wrong(profile: Any) -> dict[str, str]:
    with pytest.raises(Refused) as no:
        parsed(profile if isinstance(profile, str) else json.dumps(profile))
    assert isinstance(no.value.refusal, InvalidInput)
    return {one.path: one.message for one in no.value.refusal.problems}


def event(**more: Any) -> dict[str, Any]:
    return {"command": "UpdateStockLevel", "entity_id": "sku", "fields": {"quantity": "qty"}} | more


def one(**more: Any) -> dict[str, Any]:
    return {"events": [event(**more)]}


def of_field(value: Any, name: str = "reason") -> dict[str, str]:
    return {
        path.removeprefix(f"profile.events[0].fields.{name}"): message
        for path, message in wrong(one(fields={"quantity": "q", name: value})).items()
    }


@pytest.mark.parametrize(
    ("profile", "path"),
    [
        ("{", "profile"),
        ("[]", "profile"),
        ("null", "profile"),
        ("\ud800", "profile"),
        (one(fields={"quantity": "q", "a\0b": "c"}), "profile"),
        ("[" * 100_000, "profile"),
        ('{"events": [' + " " * PROFILE_BYTES + "]}", "profile"),
        ({}, "profile.events"),
        ({"events": {}}, "profile.events"),
        ({"events": [3]}, "profile.events[0]"),
        ({"events": [event()] * 21}, "profile.events"),
        (one() | {"code": "import os"}, "profile.code"),
        (one() | {"transport": "poll"}, "profile.transport"),
        (one() | {"auth": {"strategy": "url_token"}}, "profile.auth.strategy"),
        (one() | {"auth": "none"}, "profile.auth"),
        (one() | {"assumed": "perhaps"}, "profile.assumed"),
        (one(command="DropTable"), "profile.events[0].command"),
        (one(command="Choice"), "profile.events[0].command"),
        (one(command=None), "profile.events[0].command"),
        (one(command=["UpdatePrice"]), "profile.events[0].command"),
        (one(entity_id=None), "profile.events[0].entity_id"),
        (one(entity_id=""), "profile.events[0].entity_id"),
        (one(fields={"quantity": "q", "colour": "c"}), "profile.events[0].fields.colour"),
        (one(fields={"store": "s"}), "profile.events[0].fields"),
        (one(fields=[1]), "profile.events[0].fields"),
        (one(fields={str(n): "x" for n in range(61)}), "profile.events[0].fields"),
        (one(command="UpdatePrice", fields={}), "profile.events[0].fields.price"),
        (one(command="UpdateStoreStatus", fields={}), "profile.events[0].fields"),
        (one(command="OrderStatus", fields={"status": {"const": "eaten"}}), "profile.events[0].fields.status.const"),
        (one(each="lines"), "profile.events[0].each"),
        (one(each="lines[*].sku"), "profile.events[0].each"),
        (one(each=7), "profile.events[0].each"),
        (one(when={"endpoint": "kitchen"}), "profile.events[0].when.endpoint"),
        (one(when={"endpoint": ["stock", 1]}), "profile.events[0].when.endpoint[1]"),
        (one(when={"field": "type"}), "profile.events[0].when.equals"),
        (one(when={"equals": "x"}), "profile.events[0].when.field"),
        (one(when={"field": "a[*]", "equals": "x"}), "profile.events[0].when.field"),
        (one(when={"field": "a", "equals": []}), "profile.events[0].when.equals"),
        (one(when={"field": "a", "equals": {"$ne": 1}}), "profile.events[0].when.equals"),
        (one(whole=True), "profile.events[0].whole"),
        (one(children=[event(each="x[*]")]), "profile.events[0].children"),
        (one(version={"sha256_of": 3}), "profile.events[0].version.sha256_of"),
        (one(version={"path": "v", "as": "string"}), "profile.events[0].version.as"),
        (one(source_ts={"path": "t", "tz": "Asia/Atlantis"}), "profile.events[0].source_ts.tz"),
        (one(source_ts={"path": "t", "tz": "../../etc/passwd"}), "profile.events[0].source_ts.tz"),
        (one(source_ts={"path": "t", "as": "money"}), "profile.events[0].source_ts.as"),
        (one() | {"dedupe": ["header:"]}, "profile.dedupe[0]"),
        (one() | {"dedupe": ["header:a b"]}, "profile.dedupe[0]"),
        (one() | {"dedupe": ["header:Authorization"]}, "profile.dedupe[0]"),
        (one() | {"dedupe": ["hash", "header:x-api-token"]}, "profile.dedupe[1]"),
        (one() | {"dedupe": ["sha1"]}, "profile.dedupe[0]"),
        (one() | {"dedupe": ["$.a[*]"]}, "profile.dedupe[0]"),
        (one() | {"dedupe": "hash"}, "profile.dedupe"),
        (one() | {"dedupe": ["hash"] * 6}, "profile.dedupe"),
        (one() | {"ack": {"status": 500}}, "profile.ack.status"),
        (one() | {"error": {"status": 200}}, "profile.error.status"),
        (one() | {"ack": {"body": "ok"}}, "profile.ack.body"),
        (one() | {"ack": {"body": {"a": {"b": {"c": {"d": {}}}}}}}, "profile.ack.body.a.b.c.d"),
        (one() | {"ack": {"body": {"a": list(range(60))}}}, "profile.ack.body.a[47]"),
        (one() | {"ack": {"body": {"a": "x" * 1001}}}, "profile.ack.body.a"),
    ],
)
def test_what_is_wrong_is_named_by_its_path(profile, path):
    found = wrong(profile)
    assert path in found, found


@pytest.mark.parametrize(
    ("value", "path"),
    [
        ({}, ""),
        ({"path": "a", "const": "b"}, ""),
        ({"path": "a", "regex": ".*"}, ".regex"),
        ({"path": "a", "as": "float"}, ".as"),
        ({"path": "a", "as": "money"}, ".as"),
        ({"path": "a", "unit": "rupee"}, ".unit"),
        ({"path": "a", "tz": "UTC"}, ".tz"),
        ({"path": "a", "true": 1}, ".true"),
        ({"path": "a", "map": {}}, ".map"),
        ({"path": "a", "map": {"x": [1]}}, ".map.x"),
        ({"path": "a", "map": {"x": 1, "X ": 2}}, ".map"),
        ({"path": "a", "map": {"x": "y" * 201}}, ".map.x"),
        ({"path": "a", "map": {str(n): n for n in range(201)}}, ".map"),
        ({"path": "a", "default": None}, ".default"),
        ({"const": {"$": 1}}, ".const"),
        ({"const": "x" * 1001}, ".const"),
        ({"coalesce": []}, ".coalesce"),
        ({"coalesce": ["a"] * 11}, ".coalesce"),
        ({"concat": ["a", "b[*]"]}, ".concat[1]"),
        ("a[*]", ""),
        ("", ""),
        ("a..b", ""),
        ("a.", ""),
        ("a[", ""),
        ("a[1", ""),
        ("a[-1]", ""),
        ("a[x]", ""),
        ("a]b", ""),
        ("a" * 301, ""),
        (".".join("abcdefghijklm"), ""),
        (["a"], ""),
        (3, ""),
    ],
)
def test_what_is_wrong_with_a_value(value, path):
    found = of_field(value)
    assert path in found, found


def test_operators_are_not_nested_without_end():
    value: Any = "a"
    for _ in range(6):
        value = {"coalesce": [value]}
    assert any("deeper" in message for message in of_field(value).values())


def test_what_stands_in_the_profile_is_read_when_it_is_saved():
    fields = {
        "quantity": {"path": "q", "default": "many"},
        "kind": {"path": "k", "map": {"1": "box"}},
        "restore_at": {"const": "noon"},
    }
    assert wrong(one(fields=fields)) == {
        "profile.events[0].fields.quantity.default": "'many' is no number",
        "profile.events[0].fields.kind.map.1": "'box' is none of variant, product, modifier",
        "profile.events[0].fields.restore_at.const": "'noon' is no time",
    }


def test_all_problems_are_told_at_once():
    found = wrong({"events": [event(command="?"), event(each="x")], "dedupe": ["?"], "more": 1})
    assert set(found) == {"profile.events[0].command", "profile.events[1].each", "profile.dedupe[0]", "profile.more"}


def test_children_are_of_what_holds_them_and_no_deeper_than_allowed():
    size = {"each": "$.sizes[*]", "command": "UpsertVariant", "entity_id": "id"}
    menu = {"command": "UpsertMenuItem", "entity_id": "id", "fields": {"title": "t"}}
    assert "profile.events[0].children[0].each" in wrong({"events": [menu | {"children": [size]}]})
    assert "profile.events[0].children[0].each" in wrong(
        {"events": [menu | {"children": [{"command": "UpsertVariant", "entity_id": "id"}]}]}
    )
    group = {"each": "groups[*]", "command": "ChoiceGroup", "entity_id": "id"}
    item = {"command": "UpsertCatalogItem", "entity_id": "id", "fields": {"title": "t"}, "children": [group]}
    assert "profile.events[0].children[0].command" in wrong({"events": [item]})
    assert "profile.events[0].children[0].version" in wrong({"events": [menu | {"children": [group | {"version": "v"}]}]})
    assert "profile.events[0].children[0].when.endpoint" in wrong(
        {"events": [menu | {"children": [size | {"each": "sizes[*]", "when": {"endpoint": "menu"}}]}]}
    )
    nested: dict[str, Any] = event(each="x[*]")
    for _ in range(DEPTH):
        nested = {"each": "x[*]", "children": [nested]}
    assert any("deeper" in message for message in wrong({"events": [nested]}).values())


def test_a_path_is_its_steps():
    profile = parsed(json.dumps(one(each="$.a.b[*].c[0][*]", entity_id="@", fields={"quantity": "$[1].x y", "reason": "$"})))
    (made,) = profile.events
    assert made.each == Path(True, ("a", "b", None, "c", 0, None))
    assert made.entity_id is not None
    assert made.entity_id.path == Path(False, ())
    assert (made.fields["quantity"].path, made.fields["reason"].path) == (Path(True, (1, "x y")), Path(True, ()))


def test_every_command_has_a_profile():
    """With a path for each of its fields."""
    for command, shapes in FIELDS.items():
        if command in (None, "Choice", "ChoiceGroup"):
            continue
        fields = {name: f"{name}[*]" if shape.kind is As.LIST else name for name, shape in shapes.items()}
        (made,) = parsed(json.dumps(one(command=command, fields=fields))).events
        assert made.fields.keys() == shapes.keys()
