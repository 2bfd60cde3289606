"""What is promised to who reads us: the GraphQL schema, and the JSON schemas of the events on each topic."""

import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import msgspec
from msgspec import inspect

from db import unit_of_work
from domain.canonical import Command
from domain.events import Event, Topic
from domain.mirror import COMMANDS, PRIVATE

VERSION = 1
"""Of all topics. Within one, fields and kinds are added, and none is taken away or means something else."""
DIALECT = "https://json-schema.org/draft/2020-12/schema"


def print_schema() -> None:
    """On standard output, sorted as the schema is."""
    from schema.api import schema  # slow to import, and no other command needs it

    sys.stdout.write(schema.as_str() + "\n")


def print_event_schemas() -> None:
    sys.stdout.write(json.dumps(event_schemas(), indent=2, ensure_ascii=False) + "\n")


def event_schemas() -> Mapping[str, Mapping[str, Any]]:
    """By topic: what an event's `kind` may be, and what its `body` then is; of commands likewise."""
    assert unit_of_work  # all that a command may tell is known once every store of it is
    kinds = [one for one in Event.kinds.values() if one.__module__.startswith("domain.")]
    schemas = {topic.value: _of_topic(topic, [one for one in kinds if one.topic is topic]) for topic in Topic}
    return {COMMANDS: _of_commands(), **schemas}


def _of_topic(topic: Topic, kinds: Sequence[type[Event]]) -> Mapping[str, Any]:
    return _schema(topic.value, "kind", {one: f"seq counts within the {one.stream}" for one in kinds})


def _of_commands() -> Mapping[str, Any]:
    """Of those that are carried out, without what is told to nobody."""
    kinds = [one for one in Command.kinds.values() if one.__module__.startswith("domain.") and not one.__subclasses__()]
    told = _schema(COMMANDS, "command", {one: f"of the stage {one.stage.name} of a batch" for one in kinds})
    for kind, names in PRIVATE.items():
        for name in names:
            del told["$defs"][kind.__name__]["properties"][name]
    return told


def _schema(topic: str, named: str, kinds: Mapping[type, str]) -> Mapping[str, Any]:
    """`named` is the field of a message that names the kind of its body."""
    names = {one.__name__ for one in kinds}
    _, parts = msgspec.json.schema_components(list(kinds), ref_template="#/$defs/{name}")
    for name, field in _times(inspect.multi_type_info(list(kinds))):
        _mark(parts[name]["properties"][field])
    return {
        "$schema": DIALECT,
        "$id": f"{topic}/{VERSION}",
        "title": topic,
        "oneOf": [
            {
                "title": one.__name__,
                "description": kinds[one],
                "type": "object",
                "properties": {named: {"const": one.__name__}, "body": {"$ref": f"#/$defs/{one.__name__}"}},
                "required": [named, "body"],
            }
            for one in sorted(kinds, key=lambda one: one.__name__)
        ],
        "$defs": {name: _public(part, name in names) for name, part in sorted(parts.items())},
    }


def _public(part: Mapping[str, Any], event: bool) -> Mapping[str, Any]:
    """An event's docstring tells what it means; those of what it is made of speak to who works on us."""
    return {name: value for name, value in part.items() if name != "description" or event}


def _times(of: Sequence[inspect.Type]) -> Iterator[tuple[str, str]]:
    """(class, field) of each time: msgspec writes RFC 3339, and calls it merely text."""
    seen: set[type] = set()
    waiting = list(of)
    while waiting:
        match waiting.pop():
            case inspect.DataclassType(cls=cls, fields=fields) if cls not in seen:
                seen.add(cls)
                for field in fields:
                    if any(isinstance(one, inspect.DateTimeType) for one in _either(field.type)):
                        yield cls.__name__, field.encode_name
                    waiting.append(field.type)
            case inspect.UnionType(types=types):
                waiting += types
            case inspect.CollectionType(item_type=item):
                waiting.append(item)
            case inspect.DictType(value_type=value):
                waiting.append(value)
            case _:
                pass


def _either(one: inspect.Type) -> Sequence[inspect.Type]:
    return one.types if isinstance(one, inspect.UnionType) else (one,)


def _mark(told: dict[str, Any]) -> None:
    for one in told.get("anyOf", [told]):
        if one.get("type") == "string":
            one["format"] = "date-time"
