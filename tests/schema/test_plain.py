"""Reading ahead gives the answer that graphql-core gives, to the letter and in the order of the query."""

import json
from dataclasses import dataclass, field
from enum import Enum
from uuid import UUID

import pytest
import strawberry
from strawberry.schema.schema import StrawberryGraphQLCoreExecutionContext

from schema.plain import Executor

ID = UUID(int=7)


@strawberry.enum
class Colour(Enum):
    RED = "red"


@dataclass
class PartRow:
    name: str | None = "a"
    colour: Colour | None = Colour.RED


@dataclass
class RowA:
    id: UUID = ID
    name: str | None = "tea"
    size: object = 3
    tags: object = ("x", "y")
    part: object = field(default_factory=PartRow)
    maybe: object = None
    parts: object = field(default_factory=lambda: [PartRow(), PartRow("b")])

    @property
    def computed(self) -> str:
        raise RuntimeError("not today")


@dataclass
class RowB:
    id: UUID = ID
    name: str = "rice"


@strawberry.interface
class Named:
    id: strawberry.ID


@strawberry.type
class Part:
    name: str
    colour: Colour | None


@strawberry.type
class A(Named):
    is_type_of = lambda value, info: isinstance(value, RowA)  # noqa: E731
    name: str
    size: int | None
    tags: list[str]
    part: Part
    maybe: Part | None
    parts: list[Part]
    computed: str | None

    @strawberry.field
    @staticmethod
    async def later(root: RowA) -> str:
        return f"later {root.name}"

    @strawberry.field(graphql_type=list[Part])
    @staticmethod
    async def others(root: RowA, first: int = 1) -> list[PartRow]:
        return [PartRow(str(number)) for number in range(first)]


@strawberry.type
class B(Named):
    is_type_of = lambda value, info: isinstance(value, RowB)  # noqa: E731
    name: str


rows: list[object] = []


@strawberry.type
class Query:
    @strawberry.field(graphql_type=list[A | B])
    async def all(self) -> list[object]:
        return rows

    @strawberry.field(graphql_type=Named | None)
    def one(self) -> object:
        return rows[0]


ours = strawberry.Schema(Query, types=[A, B], execution_context_class=Executor)
theirs = strawberry.Schema(Query, types=[A, B], execution_context_class=StrawberryGraphQLCoreExecutionContext)
EVERYTHING = """query($no: Boolean = false) { all { __typename ... on A {
  size later id again: name others(first: 2) { name c: colour kind: __typename } name @include(if: $no) tags
  part { ...P } maybe { name } parts { ...P __typename } computed } ... on B { name id } }
  one { id __typename ... on A { part { name } part { colour } } } }
  fragment P on Part { colour name }"""
BROKEN = {
    "a null that may not be": RowA(name=None),
    "a null in a part": RowA(part=PartRow(name=None)),
    "a null in one of the parts": RowA(parts=[PartRow(), PartRow(None)]),
    "a null among the parts": RowA(parts=[PartRow(), None]),
    "a null among the texts": RowA(tags=["x", None]),
    "no list": RowA(tags=3, parts=4),
    "another type": RowA(size="three"),
    "no member of the enum": RowA(part=PartRow(colour="blue")),  # type: ignore[arg-type]
    "something without the attributes": RowA(part=object()),
    "an error": RowA(size=ValueError("broken")),
    "a set of texts": RowA(tags={"x"}),
    "a tuple of parts": RowA(parts=(PartRow(),)),
    "no part": RowA(parts=[], maybe=PartRow("m")),
}


async def answer(schema: strawberry.Schema, query: str) -> str:
    result = await schema.execute(query)
    errors = sorted((error.message, error.path or [], error.locations or []) for error in result.errors or ())
    return json.dumps([result.data, errors], default=str)


@pytest.mark.parametrize("row", BROKEN.values(), ids=BROKEN)
async def test_whatever_is_wrong_is_told_the_same(row: RowA):
    rows[:] = [RowA(), row, RowB()]
    assert await answer(ours, EVERYTHING) == await answer(theirs, EVERYTHING)
    rows[:] = [row]
    assert await answer(ours, EVERYTHING) == await answer(theirs, EVERYTHING)


@pytest.mark.parametrize("wrong", [object(), RowA(id=None)], ids=["of no type", "without its id"])  # type: ignore[arg-type]
async def test_what_is_of_no_type_is_told_the_same(wrong: object):
    rows[:] = [RowA(), wrong]
    assert await answer(ours, EVERYTHING) == await answer(theirs, EVERYTHING)


async def test_the_whole_answer_comes_in_the_order_of_the_query():
    rows[:] = [RowA(), RowB()]
    result = await ours.execute(EVERYTHING)
    assert result.data is not None
    first, second = result.data["all"]
    assert list(first) == ["__typename", "size", "later", "id", "again", "others", "tags", "part", "maybe", "parts", "computed"]
    assert second == {"__typename": "B", "name": "rice", "id": str(ID)}
    assert first["parts"] == [
        {"colour": "RED", "name": "a", "__typename": "Part"},
        {"colour": "RED", "name": "b", "__typename": "Part"},
    ]
    assert result.data["one"]["part"] == {"name": "a", "colour": "RED"}


async def test_no_resolver_is_called_for_what_is_plain(monkeypatch: pytest.MonkeyPatch):
    asked = []
    whole = StrawberryGraphQLCoreExecutionContext.execute_field
    monkeypatch.setattr(
        StrawberryGraphQLCoreExecutionContext,
        "execute_field",
        lambda self, parent, source, details, *more: (
            asked.append(details[0].node.name.value) or whole(self, parent, source, details, *more)
        ),
    )
    rows[:] = [RowA()]
    await ours.execute("{ one { id ... on A { name size tags part { name colour } parts { name } later } } }")
    assert asked == ["one", "later"]
