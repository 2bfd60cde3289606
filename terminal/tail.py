"""`./haat tail`: a feed in the terminal, followed through its public door, over cuts and restarts."""

import json
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import httpx2
from graphql import (
    GraphQLArgument,
    GraphQLEnumType,
    GraphQLField,
    GraphQLInterfaceType,
    GraphQLList,
    GraphQLObjectType,
    GraphQLScalarType,
    get_named_type,
    get_nullable_type,
    is_required_argument,
)

from domain.identity import Role
from launch.problem import Problem
from schema.api import schema
from schema.roots import Allow
from terminal.accounts import access_token, app_of, store_id
from terminal.desk import Desk, at_desk
from terminal.said import console, say

AFTER = "after"
AGAIN_S = 1.0
QUIET_S = 45.0
"""Three comments that did not come: the connection is dead, whatever TCP thinks."""


@dataclass(frozen=True)
class Asked:
    """As it was typed."""

    feed: str
    arguments: Sequence[str]  # `storeId=crumb-and-co`
    login: str | None
    app: str | None  # else the feed's own
    json: bool


@dataclass(frozen=True)
class Prepared:
    url: str
    query: str
    variables: Mapping[str, Any]


def tail(asked: Asked) -> None:
    """Until Ctrl-C. Each frame once: after a cut it goes on behind the last one."""
    field = feed_named(asked.feed)
    prepared = at_desk(lambda desk: prepare(asked, field, desk))
    app = app_of(asked.app or first_app(field))
    last: str | None = None
    while True:
        token = None if asked.login is None else at_desk(lambda desk: access_token(str(asked.login), app, desk))
        try:
            for id, data in events(prepared, token, last):
                last = id or last
                tell(asked, data)
            say("the feed has ended")
            return
        except (httpx2.TransportError, Cut) as cut:
            say(f"cut ({cut or type(cut).__name__}): again in {AGAIN_S:.0f} s")
            time.sleep(AGAIN_S)


class Cut(Exception):
    """The stream ended without saying that it was complete."""


def events(prepared: Prepared, token: str | None, last: str | None) -> Iterator[tuple[str | None, dict[str, Any]]]:
    headers = {"accept": "text/event-stream"}
    if token is not None:
        headers["authorization"] = f"Bearer {token}"
    if last is not None:
        headers["last-event-id"] = last
    body = {"query": prepared.query, "variables": prepared.variables}
    timeout = httpx2.Timeout(10, read=QUIET_S)
    with httpx2.Client(timeout=timeout) as client, client.stream("POST", prepared.url, json=body, headers=headers) as answer:
        if answer.status_code in (429, 503):
            raise Cut(answer.read().decode(errors="replace"))
        if answer.status_code != 200:
            raise Problem(f"the server answers {answer.status_code}", answer.read().decode(errors="replace")[:300])
        event: dict[str, str] = {}
        for line in answer.iter_lines():
            if line:
                name, _, value = line.partition(":")
                event[name] = value.removeprefix(" ")
            elif event:
                if event.get("event") == "complete":
                    return
                if event.get("event") == "next":
                    yield event.get("id"), json.loads(event["data"])
                event = {}
    raise Cut("the server has closed it")


def tell(asked: Asked, told: Mapping[str, Any]) -> None:
    for error in told.get("errors") or ():
        raise Problem(error["message"], f"code {error.get('extensions', {}).get('code')}: see ./haat tail --help")
    frame = told["data"][asked.feed]
    if asked.json:
        sys.stdout.write(json.dumps(frame, ensure_ascii=False) + "\n")
        sys.stdout.flush()
        return
    marks = " ".join(name for name in ("reset", "degraded") if frame.get(name))
    lists = [value for value in frame.values() if isinstance(value, list)]
    items = [item for value in lists for item in value] if lists else None
    console.print(f"[bold]{time.strftime('%H:%M:%S')}[/bold] {marks}", end=" ")
    shown = items if items is not None else [{key: value for key, value in frame.items() if key not in ("reset", "degraded")}]
    console.print(f"{len(shown)} {'item' if len(shown) == 1 else 'items'}", markup=False)
    for item in shown:
        console.print("  " + "  ".join(f"{name}={value}" for name, value in flat(item)), markup=False)


def flat(item: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in item.items():
        if isinstance(value, dict):
            yield from flat(value, f"{before}{name}.")
        elif value is not None:
            yield before + name, value


# ---------------------------------------------------------------- what is asked


def feeds() -> Mapping[str, GraphQLField]:
    root = schema._schema.subscription_type
    assert root is not None
    fields: Mapping[str, GraphQLField] = root.fields
    return fields


def feed_named(name: str) -> GraphQLField:
    field = feeds().get(name)
    if field is None:
        raise Problem(f"there is no feed {name}", f"choose from {', '.join(sorted(feeds()))}")
    return field


def first_app(field: GraphQLField) -> str:
    """Of those whose people may follow it."""
    extensions = field.extensions["strawberry-definition"].extensions
    roles = [role for one in extensions if isinstance(one, Allow) for role in one.order if role is not Role.PUBLIC]
    first: Role = (roles or [Role.CUSTOMER])[0]
    return first.value.lower()


async def prepare(asked: Asked, field: GraphQLField, desk: Desk) -> Prepared:
    """A document that asks for all that is plain in a frame, and its variables."""
    if desk.settings.public_url is None:
        raise Problem("no server is known", "start ./haat up, or set HAAT_PUBLIC_URL")
    told = dict(one.partition("=")[::2] for one in asked.arguments)
    known = {name: argument for name, argument in field.args.items() if name != AFTER}
    for name in told:
        if name not in known:
            raise Problem(f"{asked.feed} has no {name}", f"it has {', '.join(known) or 'no arguments'}")
    missing = [name for name, argument in known.items() if is_required_argument(argument) and name not in told]
    if missing:
        raise Problem(f"{asked.feed} needs {missing[0]}", f"as {missing[0]}=…")
    variables = {name: await value(name, text, known[name], desk) for name, text in told.items()}
    used = [*told, *((AFTER,) if AFTER in field.args else ())]
    declared = ", ".join(f"${name}: {field.args[name].type}" for name in used)
    given = ", ".join(f"{name}: ${name}" for name in used)
    head = f"subscription({declared})" if used else "subscription"
    call = f"{asked.feed}({given})" if used else asked.feed
    frame = get_named_type(field.type)
    assert isinstance(frame, GraphQLObjectType)
    return Prepared(f"{desk.settings.public_url.rstrip('/')}/graphql", f"{head} {{ {call} {selection(frame, 0)} }}", variables)


async def value(name: str, text: str, argument: GraphQLArgument, desk: Desk) -> Any:
    """Of a list each after a comma."""
    if isinstance(get_nullable_type(argument.type), GraphQLList):
        return [await one_value(name, one, desk) for one in text.split(",") if one]
    return await one_value(name, text, desk)


async def one_value(name: str, text: str, desk: Desk) -> str:
    """A store may be named by its slug."""
    if name.startswith("store"):
        try:
            UUID(text)
        except ValueError:
            return str(await store_id(text, desk))
    return text


def selection(type_: GraphQLObjectType, depth: int) -> str:
    """Scalars of a frame, of its items and of the values in them; of a thing with an id of its own the id."""
    parts = []
    for name, field in type_.fields.items():
        inner = get_named_type(field.type)
        if any(is_required_argument(argument) for argument in field.args.values()) or field.args:
            continue
        if isinstance(inner, GraphQLScalarType | GraphQLEnumType):
            parts.append(name)
        elif isinstance(inner, GraphQLObjectType) and depth < 3:
            if depth > 0 and is_node(inner):
                parts.append(f"{name} {{ id{' number' if 'number' in inner.fields else ''} }}")
            elif not isinstance(get_nullable_type(field.type), GraphQLList) or depth == 0:
                parts.append(f"{name} {selection(inner, depth + 1)}")
    return "{ " + " ".join(parts or ["__typename"]) + " }"


def is_node(type_: GraphQLObjectType) -> bool:
    return any(isinstance(one, GraphQLInterfaceType) and one.name == "Node" for one in type_.interfaces)
