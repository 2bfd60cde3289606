"""Reads tests/api/roles.toml, and asks the schema what stands there: each cell is one caller at one field."""

import asyncio
import json
import re
import string
import tomllib
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

from graphql import (
    GraphQLField,
    GraphQLNamedType,
    GraphQLObjectType,
    get_named_type,
    is_leaf_type,
    is_object_type,
    is_required_argument,
    is_union_type,
)
from sqlalchemy import event, select
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from db import tables as t
from db.reads import Here
from schema.api import schema
from schema.roots import Api
from tests.api.everybody import Everybody
from tests.world import HOME

DATA = Path(__file__).with_name("roles.toml")
TYPES: Mapping[str, GraphQLNamedType] = schema._schema.type_map
ROOTS = {"Query": "query", "Mutation": "mutation", "Subscription": "subscription"}
WORDS = {"UNAUTHENTICATED": "401", "FORBIDDEN": "403", "NOT_FOUND": "404", "INVALID_INPUT": "400", "CONFLICT": "409"}
DOOR = ""  # the cell of the place itself, beside those of its fields
GOES_BY_DOOR = "OK"  # a row of one word: whoever gets there
NEVER = "-"
Cells = dict[str, str]


# ---------------------------------------------------------------- what is expected


@dataclass(frozen=True)
class Step:
    """One field of a path, or one member of a union."""

    text: str  # as in the document
    name: str | None  # of the field; a union's member is none
    parent: str
    type: GraphQLNamedType


@dataclass(frozen=True)
class Reach:
    """One way to get to one thing. `view` is the table of its fields."""

    name: str
    root: str
    steps: Sequence[Step]
    view: str
    expected: Mapping[str, str]  # the door, by caller

    @property
    def type(self) -> GraphQLNamedType:
        return self.steps[-1].type

    @property
    def place(self) -> tuple[str, ...]:
        return _place(self.steps)

    @property
    def outcome(self) -> Sequence[Step]:
        """The root field, and which member of its union is meant."""
        return self.steps[: 2 if len(self.steps) > 1 and self.steps[1].name is None else 1]


def _place(steps: Sequence[Step]) -> tuple[str, ...]:
    return tuple(step.name for step in steps if step.name is not None)


@dataclass(frozen=True)
class Matrix:
    callers: Sequence[str]
    public: frozenset[str]  # types that anybody reads, the same for all
    arguments: Mapping[str, str]  # of fields that cannot be asked without
    fields: Mapping[str, Mapping[str, str | Mapping[str, str]]]  # by view and field
    reaches: Sequence[Reach]
    unfelt: Mapping[str, str]  # guards no cell can feel, and why
    doubled: Mapping[str, Sequence[str]]  # guards that are felt where these others are gone

    def rows(self, view: str) -> Mapping[str, str | Mapping[str, str]]:
        """A view has its type's rows, but for those it tells otherwise."""
        return {**self.fields.get(view.partition(" as ")[0], {}), **self.fields.get(view, {})}

    def is_private(self, kind: GraphQLNamedType) -> bool:
        return is_object_type(kind) and kind.name not in self.public and kind.name not in ROOTS

    def expected(self, reach: Reach, caller: str) -> Cells:
        door = reach.expected[caller]
        cells = {DOOR: door}
        if door == "OK" and self.is_private(reach.type):
            rows = self.rows(reach.view)
            for name in reach.type.fields:
                row = rows.get(name, "no row")
                cells[name] = row if isinstance(row, str) else row[caller]
        return cells


def load() -> Matrix:
    told = tomllib.loads(DATA.read_text())
    callers = told["callers"].split()

    def row(cells: str) -> dict[str, str]:
        found = cells.split()
        assert len(found) == len(callers), f"{len(callers)} cells are meant: {cells}"
        return dict(zip(callers, found, strict=True))

    def cells(text: str) -> str | dict[str, str]:
        return text if text == GOES_BY_DOOR else row(text)

    return Matrix(
        callers,
        frozenset(told["public"]["types"]),
        told["arguments"],
        {view: {name: cells(text) for name, text in rows.items()} for view, rows in told["fields"].items()},
        [_reach(path, row(text)) for path, text in told["reach"].items()],
        told["unfelt"],
        told["doubled"],
    )


def _reach(name: str, expected: Mapping[str, str]) -> Reach:
    path, _, view = name.partition(" as ")
    root, *texts = path.split(" > ")
    kind, steps = TYPES[root], []
    for text in texts:
        parent, name_ = kind.name, None
        if text.startswith("... on "):
            kind = TYPES[text.removeprefix("... on ")]
        else:
            name_ = re.match(r"\w+", text)[0]
            assert isinstance(kind, GraphQLObjectType), f"{name}: {kind} has no fields"
            kind = get_named_type(kind.fields[name_].type)
        steps.append(Step(text, name_, parent, kind))
    return Reach(name, root, steps, f"{kind.name} as {view}" if view else kind.name, expected)


# ---------------------------------------------------------------- what is asked


def selection(matrix: Matrix, kind: GraphQLNamedType, names: Sequence[str] | None = None) -> str:
    """Of a private type, each field and enough below it to see that something is there."""
    if is_leaf_type(kind):
        return ""
    if not matrix.is_private(kind):
        return "{ __typename }"
    asked = [_ask(matrix, kind, name, one) for name, one in kind.fields.items() if names is None or name in names]
    return f"{{ __typename {' '.join(asked)} }}"


def _ask(matrix: Matrix, parent: GraphQLObjectType, name: str, one: GraphQLField) -> str:
    arguments = matrix.arguments.get(f"{parent.name}.{name}", "")
    assert arguments or not any(map(is_required_argument, one.args.values())), f"{parent.name}.{name} needs [arguments]"
    return f"{name}{arguments} {_glance(get_named_type(one.type))}"


def _glance(kind: GraphQLNamedType) -> str:
    """Enough of it to tell whether something is there."""
    if is_leaf_type(kind):
        return ""
    if kind.name == "Point":
        return "{ lat lng }"
    inner = {"nodes", "changes"} & set(getattr(kind, "fields", ()))
    return f"{{ {inner.pop()} {{ __typename }} }}" if inner else "{ __typename }"


def document(matrix: Matrix, reach: Reach, names: Sequence[str] | None = None) -> str:
    text = selection(matrix, reach.type, names)
    for step in reversed(reach.steps):
        text = f"{{ __typename {step.text} {text} }}"
    return f"{ROOTS[reach.root]} {text.replace('{ __typename', '{', 1)}"


# ---------------------------------------------------------------- what is answered


@dataclass(frozen=True)
class Answer:
    data: Any
    errors: Sequence[Any]


def _code(error: Any) -> str:
    code = str(error.extensions["code"])
    return WORDS.get(code, code)


def _names(error: Any) -> tuple[str, ...]:
    return tuple(part for part in error.path or () if isinstance(part, str))


def _flat(value: Any) -> list[Any]:
    return [one for inner in value for one in _flat(inner)] if isinstance(value, list) else [value]


def _found(steps: Sequence[Step], answer: Answer) -> tuple[str, list[Any]]:
    """What is at the end of these steps: a word, and the things."""
    place = _place(steps)
    for error in answer.errors:
        if _names(error) == place[: len(_names(error))]:
            return _code(error), []
    here, empty = [answer.data], False
    for step in steps:
        if step.name is not None:
            values = [one[step.name] for one in here if one is not None]
            here = [one for value in values for one in _flat(value) if one is not None]
            empty = empty or (not here and any(isinstance(value, list) for value in values))
        else:
            told = sorted({one["__typename"] for one in here} - {step.type.name})
            here = [one for one in here if one["__typename"] == step.type.name]
            if told and not here:
                return "|".join(told), []
    if here:
        return "FALSE" if here == [False] else "OK", here
    return ("EMPTY" if empty else "NULL"), []


def _value(parent: str, name: str, value: Any) -> str:
    if isinstance(value, dict):
        if "nodes" in value or "changes" in value:
            return "OK" if value.get("nodes") or value.get("changes") else "EMPTY"
        if (parent, name) == ("Delivery", "dropArea"):
            return "OK" if (value["lat"], value["lng"]) == (HOME.point.lat, HOME.point.lng) else "COARSE"
    if value is None:
        return "NULL"
    if value == [] or (name == "totalCount" and value == 0):
        return "EMPTY"
    return "OK"


_WEIGHT = {"NULL": 0, "EMPTY": 1, "COARSE": 2}


def _cells(reach: Reach, answer: Answer, names: Sequence[str]) -> Cells:
    """Of several things the most that one of them shows."""
    door, things = _found(reach.steps, answer)
    cells = {DOOR: door}
    if door != "OK" or not names:
        return cells
    size = len(reach.place)
    refused = {_names(error)[size]: _code(error) for error in answer.errors if len(_names(error)) > size}
    for name in names:
        shown = [_value(reach.type.name, name, thing[name]) for thing in things]
        cells[name] = refused.get(name) or max(shown, key=lambda word: _WEIGHT.get(word, 3))
    return cells


class Asker:
    """Asks cells. What a mutation does is undone, so that each is asked of the same town."""

    def __init__(self, matrix: Matrix, town: Everybody) -> None:
        self.matrix = matrix
        self.town = town

    async def ask(self, reach: Reach, caller: str) -> Cells:
        names = list(reach.type.fields) if self.matrix.is_private(reach.type) else []
        answer, wrote = await self._answer(reach, caller, None)
        if any(len(_names(error)) > len(reach.place) for error in answer.errors) and not _found(reach.steps, answer)[1]:
            # A refusal of one field took its neighbours with it: one by one.
            cells: Cells = {DOOR: "OK"}
            for name in names:
                answer, _ = await self._answer(reach, caller, [name])
                cells[name] = _cells(reach, answer, [name]).get(name) or next(map(_code, answer.errors))
            return cells
        cells = _cells(reach, answer, names)
        if wrote and _found(reach.outcome, answer)[0] not in ("OK", "FALSE"):
            cells[DOOR] += "+wrote"  # the answer was a no, and yet something was done
        return cells

    async def audited(self, reach: Reach, caller: str) -> Sequence[tuple[str, str]]:
        """Who did what, by the rows that a mutation has added to the audit. They are undone with all else it does."""
        async with _undone(self.town.engine) as undone:
            before = await _audit(undone.connection)
            await _execute(self._text(reach, None), self.town.context(caller, undone.engine, undone.reads))
            after = await _audit(undone.connection)
        return [after[id] for id in after.keys() - before.keys()]

    async def _answer(self, reach: Reach, caller: str, names: Sequence[str] | None) -> tuple[Answer, bool]:
        text = self._text(reach, names)
        if reach.root == "Mutation":
            async with _undone(self.town.engine) as undone:
                context = self.town.context(caller, undone.engine, undone.reads)
                return await _execute(text, context), undone.wrote
        context = self.town.context(caller)
        return await (_first_frame if reach.root == "Subscription" else _execute)(text, context), False

    def _text(self, reach: Reach, names: Sequence[str] | None) -> str:
        given = {name: json.dumps(str(value)) for name, value in self.town.names.items()}
        given["now"] = json.dumps(datetime.now(UTC).isoformat())
        return string.Template(document(self.matrix, reach, names)).substitute(given)


async def _audit(connection: AsyncConnection) -> dict[UUID, tuple[str, str]]:
    a = t.audit.c
    return {row.id: (row.actor, row.action) for row in await connection.execute(select(a.id, a.actor, a.action))}


async def _execute(text: str, context: Api) -> Answer:
    said = await schema.execute(text, None, context)
    return Answer(said.data, said.errors or [])


async def _first_frame(text: str, context: Api) -> Answer:
    async with asyncio.timeout(20), aclosing(await schema.stream(text, None, context, None, None)) as results:
        async for said in results:
            return Answer(said.data, said.errors or [])
    return Answer(None, [])


# ---------------------------------------------------------------- transactions that leave nothing


class _Reads(Here):
    """Fields resolve concurrently, and this connection is one. Where a field is refused its neighbours may be left behind."""

    def __init__(self, connection: AsyncConnection) -> None:
        super().__init__(connection)
        self._turn = asyncio.Lock()
        self._over = False

    async def rows(self, statement, given=None):
        async with self._mine():
            return await super().rows(statement, given)

    async def one(self, statement, given=None):
        async with self._mine():
            return await super().one(statement, given)

    async def value(self, statement, given=None):
        async with self._mine():
            return await super().value(statement, given)

    @asynccontextmanager
    async def _mine(self) -> AsyncIterator[None]:
        async with self._turn:
            if self._over:
                raise asyncio.CancelledError
            yield

    async def end(self) -> None:
        async with self._turn:
            self._over = True


@dataclass
class _Undone:
    """Takes the engine's place: what it begins and commits is part of a transaction that will be rolled back."""

    connection: AsyncConnection
    reads: _Reads
    written: int = 0
    committed: int = 0
    engine: Any = field(init=False)

    def __post_init__(self) -> None:
        self.engine = self

    @property
    def wrote(self) -> bool:
        return self.committed > 0

    @asynccontextmanager
    async def begin(self) -> AsyncIterator[AsyncConnection]:
        self.written = 0
        async with self.connection.begin_nested():
            yield self.connection
        self.committed += self.written


@asynccontextmanager
async def _undone(engine: AsyncEngine) -> AsyncIterator[_Undone]:
    async with engine.connect() as connection:
        undone = _Undone(connection, _Reads(connection))

        def count(_connection, cursor, _statement, _parameters, context, _many) -> None:
            if (context.isinsert or context.isupdate or context.isdelete) and cursor.rowcount != 0:
                undone.written += 1

        event.listen(connection.sync_connection, "after_cursor_execute", count)
        try:
            yield undone
        finally:
            event.remove(connection.sync_connection, "after_cursor_execute", count)
            await undone.reads.end()
            await connection.rollback()


# ---------------------------------------------------------------- that nothing is left out


def gaps(matrix: Matrix) -> Iterator[str]:
    """What the schema has and the matrix does not, and the other way round."""
    asked = {(step.parent, step.name) for reach in matrix.reaches for step in reach.steps}
    ends = {reach.type.name for reach in matrix.reaches}
    for root in ROOTS:
        yield from (f"{root}.{name}: no reach" for name in TYPES[root].fields if (root, name) not in asked)
    for view, rows in matrix.fields.items():
        kind = TYPES.get(view.partition(" as ")[0])
        if kind is None or not matrix.is_private(kind):
            yield f"[fields.{view}]: no private type"
            continue
        yield from (f"{view}.{name}: a row, and no such field" for name in rows if name not in kind.fields)
        if " as " in view and not any(reach.view == view for reach in matrix.reaches):
            yield f"[fields.{view!r}]: no reach"
    yield from (f"[public] {name}: no such type" for name in matrix.public if name not in TYPES)
    for kind in TYPES.values():
        if kind.name.startswith("__") or not matrix.is_private(kind):
            continue
        if kind.name not in ends:
            yield f"{kind.name}: no reach"
        rows = matrix.rows(kind.name)
        for name, one in kind.fields.items():
            if name not in rows:
                yield f"{kind.name}.{name}: no row"
            if matrix.is_private(get_named_type(one.type)) and (kind.name, name) not in asked:
                yield f"{kind.name}.{name}: no reach goes through it"
    for reach in matrix.reaches:
        if is_union_type(reach.type):
            yield f"{reach.name}: which member is meant?"
        if "OK" not in reach.expected.values() and not reach.view.endswith(" as nobody"):
            yield f"{reach.name}: nobody gets there"
