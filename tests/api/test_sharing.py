"""Frames of a shared field are made once for all who ask the same. What each is told is what strawberry's own way would tell."""

import asyncio
import gc
import json
import logging
import random
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, aclosing
from typing import Any, cast
from uuid import uuid4

import pytest
import strawberry
from graphql import OperationType

from db.reads import Reads
from domain.identity import ANYBODY, Actor, ActorKind, Role
from domain.refusals import Conflict, Refused, not_found
from resolvers.loaders import Loaders
from schema.api import schema as haats
from schema.build import Schema, build
from schema.documents import Document
from schema.roots import Allow, Api, Info, Shared
from schema.sharing import NotBegun, Sharing, cursor_variable, shared_fields
from subscriptions.following import Following
from tests.api.stall import Query as StallsQuery
from tests.conftest import LONG
from tests.figures import show
from tests.waiting import until

SEED = 5
DOCUMENTS = 2_000 if LONG else 150
FRAMES = 4
FIELDS = """number name shout(times: TIMES) half broken needed late inner { number name broken } """
made: list[int] = []
"""Numbers of the frames that were executed, each time one was."""


class Ticker:
    """Gives the same frames to all who follow."""

    def __init__(self) -> None:
        self.queues: list[asyncio.Queue[Tick | None]] = []

    async def follow(self) -> AsyncIterator["Tick"]:
        queue: asyncio.Queue[Tick | None] = asyncio.Queue()
        self.queues.append(queue)
        while (tick := await queue.get()) is not None:
            yield tick

    def tick(self, tick: "Tick | None") -> None:
        for queue in self.queues:
            queue.put_nowait(tick)


ticker = Ticker()


@strawberry.type
class Tick:
    number: int
    name: str = "tick"

    @strawberry.field
    def half(self) -> float:
        made.append(self.number)
        return self.number / 2

    @strawberry.field
    def shout(self, times: int = 1) -> str:
        return "!" * times

    @strawberry.field
    def broken(self) -> str | None:
        if self.number % 2:
            raise Refused(Conflict(f"number {self.number}"))
        return None

    @strawberry.field
    async def needed(self) -> str:
        await asyncio.sleep(0)
        if self.number % 3 == 2:
            raise RuntimeError("a bug")
        return "here"

    @strawberry.field
    async def late(self) -> int:
        await asyncio.sleep(0)
        return self.number

    @strawberry.field
    def inner(self) -> list["Tick"]:
        return [Tick(number=self.number * 10 + one) for one in range(2)]


@strawberry.type
class Subscription:
    @strawberry.subscription(extensions=[Allow(Role.PUBLIC), Shared()])
    async def ticks(self, info: Info, of: int = 1, after: str | None = None) -> AsyncIterator[Tick | None]:
        if of == 0:
            raise not_found("ticker")
        return ticker.follow()


@pytest.fixture(scope="module")
def schema() -> Schema:
    return build(StallsQuery, None, Subscription)


def caller(actor: Actor = ANYBODY) -> Api:
    reads = cast("Reads", None)
    return Api(actor, reads, cast("Any", None), Loaders(reads), cast("Any", None), hub=Following(cast("Any", None)))


def selection(chance: random.Random, depth: int = 0) -> str:
    """Of a Tick: in any order, some twice, under other names, in fragments, included or not."""
    parts = []
    for _ in range(chance.randint(1, 5)):
        field = chance.choice(["number", "name", "half", "broken", "needed", "late", "__typename", "shout", "inner"])
        if field == "shout":
            field = chance.choice(["shout", "shout(times: 2)", "shout(times: $times)"])
        if field == "inner":
            if depth == 2:
                continue
            field = f"inner {selection(chance, depth + 1)}"
        elif chance.random() < 0.3:
            field = f"a{chance.randint(1, 10**6)}: {field}"
        elif field.startswith("shout("):
            field = f"s{chance.randint(1, 10**6)}: {field}"
        if chance.random() < 0.2 and not field.startswith("inner"):
            field += f" @{chance.choice(['include', 'skip'])}(if: ${chance.choice(['yes', 'no'])})"
        if chance.random() < 0.2:
            field = f"... on Tick {{ {field} }}"
        parts.append(field)
    parts.append("number" if depth else "...Some")
    return "{ " + " ".join(parts) + " }"


def document_of(chance: random.Random) -> tuple[str, dict[str, Any]]:
    of = chance.choice([1, 1, 1, 0])
    query = (
        f"subscription A($times: Int = 3, $yes: Boolean!, $no: Boolean = false, $after: String) {{ ticks(of: {of}, after: $after) "
        f"{selection(chance)} }} fragment Some on Tick {{ number t: __typename s: shout(times: $times) "
        "u: number @include(if: $yes) v: number @skip(if: $no) }"
    )
    variables: dict[str, Any] = {"yes": chance.choice([True, False, None, "x"] if chance.random() < 0.1 else [True, False])}
    if chance.random() < 0.5:
        variables["times"] = chance.randint(0, 4)
    return query, variables


def read(query: str, schema: Schema) -> Document:
    return schema.documents.read(query)


def plain(frame: Any) -> Any:
    """As on the wire, but for the ids of its errors."""
    told = json.loads(json.dumps(frame, default=str))
    for error in told.get("errors") or ():
        error.get("extensions", {}).pop("correlationId", None)
    return told


async def stocks_way(schema: Schema, query: str, variables: dict[str, Any]) -> list[Any]:
    frames = []
    async with aclosing(await schema.stream(query, variables, caller(), None, "A")) as results:
        async for result in results:
            frame: dict[str, Any] = {"data": result.data}
            if result.errors:
                frame["errors"] = [error.formatted for error in result.errors]
            frames.append(plain(frame))
    return frames


async def our_way(sharing: Sharing, schema: Schema, query: str, variables: dict[str, Any]) -> list[Any]:
    try:
        return [plain(json.loads(one.payload)) async for one in sharing.results(caller(), read(query, schema), "A", variables)]
    except NotBegun as no:
        return [plain({"data": None, "errors": [error.formatted for error in no.errors]})]


# Where a field that must not be null fails, graphql-core gives up its siblings, some before they were ever awaited.
@pytest.mark.filterwarnings("ignore:coroutine .* was never awaited:RuntimeWarning")
@pytest.mark.filterwarnings("ignore:Exception ignored in. <coroutine object:pytest.PytestUnraisableExceptionWarning")
async def test_every_document_is_told_what_strawberrys_own_way_tells(schema: Schema, caplog: pytest.LogCaptureFixture):
    caplog.set_level(logging.CRITICAL, "haat.graphql")  # a record would keep what was given up
    shared, errors = await compare(schema)
    gc.collect()  # what was given up is warned of when it is collected: here, and in no other test
    show("shared frames", seed=SEED, documents=DOCUMENTS, followed=shared, with_errors=errors)
    assert shared > DOCUMENTS / 3
    assert errors > DOCUMENTS / 10


async def compare(schema: Schema) -> tuple[int, int]:
    """How many documents were followed to the end, and how many had errors."""
    chance, errors, shared = random.Random(SEED), 0, 0
    sharing = Sharing(schema)
    for _ in range(DOCUMENTS):
        query, variables = document_of(chance)
        if read(query, schema).errors:  # one name for two things
            continue
        ticker.queues.clear()
        ways = [stocks_way(schema, query, variables), *(our_way(sharing, schema, query, variables) for _ in range(3))]
        following = [asyncio.create_task(way) for way in ways]
        for _ in range(20):
            await asyncio.sleep(0)
        for number in range(FRAMES):
            ticker.tick(Tick(number=number))
        ticker.tick(None)
        theirs, *ours = await asyncio.gather(*following)
        assert ours == [theirs] * 3, query
        errors += any("errors" in frame for frame in theirs)
        shared += len(theirs) == FRAMES
    return shared, errors


async def follow(sharing: Sharing, schema: Schema, query: str, count: int, **variables: Any) -> list[list[Any]]:
    ticker.queues.clear()
    tasks = [asyncio.create_task(our_way(sharing, schema, query, variables)) for _ in range(count)]
    await until(lambda: len(ticker.queues) == count)
    for number in range(FRAMES):
        ticker.tick(Tick(number=number))
        for _ in range(5):
            await asyncio.sleep(0)
    ticker.tick(None)
    return await asyncio.gather(*tasks)


async def test_who_asks_the_same_is_told_by_one_execution(schema: Schema):
    made.clear()
    told = await follow(Sharing(schema), schema, "subscription A { ticks { half } }", 50)
    assert told == [[{"data": {"ticks": {"half": number / 2}}} for number in range(FRAMES)]] * 50
    assert made == list(range(FRAMES))


async def test_a_cursor_is_no_other_question_and_everything_else_is(schema: Schema):
    sharing = Sharing(schema)
    query = "subscription A($of: Int!, $after: String) { ticks(of: $of, after: $after) { half } }"
    async with AsyncExitStack() as watching:
        ticker.queues.clear()
        firsts = []
        for variables in ({"of": 1, "after": "x"}, {"of": 1, "after": "y"}, {"of": 1}, {"of": 2}, {"of": 2, "odd": 10**30}):
            results = sharing.results(caller(), read(query, schema), "A", variables)
            await watching.enter_async_context(aclosing(results))
            firsts.append(asyncio.ensure_future(anext(results)))
        await until(lambda: len(ticker.queues) == len(firsts))
        assert sorted(one.watchers for one in sharing._executions.values()) == [1, 1, 3]
        ticker.tick(Tick(number=1))
        await asyncio.gather(*firsts)
    assert sharing._executions == {}


@pytest.mark.parametrize(
    ("query", "variable"),
    [
        ("subscription($a: String) { ticks(after: $a) { number } }", "a"),
        ('subscription { ticks(after: "x") { number } }', None),
        ("subscription($a: String, $b: Boolean!) { ticks(after: $a) { number @include(if: $b) } }", "a"),
        ("subscription($a: String) { ticks(after: $a) { number ...F } } fragment F on Tick { x: product(name: $a) }", None),
        (
            "subscription A($a: String) { ticks(after: $a) { number } } subscription B($b: String) { ticks(after: $b) { number } }",
            "a",
        ),
    ],
)
def test_the_cursors_variable_is_left_out_where_nothing_else_uses_it(schema: Schema, query: str, variable: str | None):
    assert cursor_variable(read(query, schema), "A" if "A(" in query else None) == variable


def test_what_is_not_for_everybody_cannot_be_shared():
    @strawberry.type
    class Own:
        @strawberry.field(extensions=[Allow(Role.CUSTOMER)])
        async def secret(self) -> str:
            return "mine"

    @strawberry.type
    class Wrong:
        @strawberry.subscription(extensions=[Allow(Role.PUBLIC), Shared()])
        async def own(self) -> AsyncIterator[Own]:
            yield Own()

    with pytest.raises(TypeError, match=r"own cannot be shared: Own.secret is not for everybody"):
        Sharing(build(StallsQuery, None, Wrong))


def test_of_our_own_feeds_the_public_ones_are_shared_and_no_others():
    root = haats._schema.subscription_type
    assert root is not None
    public = {
        name
        for name, field in root.fields.items()
        for one in field.extensions["strawberry-definition"].extensions
        if isinstance(one, Allow) and Role.PUBLIC in one.roles
    }
    assert shared_fields(haats) == public


async def test_two_users_of_one_private_document_are_told_their_own(schema: Schema):
    """No private field is shared: the gate sends them strawberry's own way, one execution each."""
    assert Sharing(haats).fields.isdisjoint({"order", "storeOrders", "riderOffers", "riderPosition", "failures"})
    users = [Actor(ActorKind.CUSTOMER, uuid4(), uuid4()) for _ in range(2)]
    seen = []

    @strawberry.type
    class Mine:
        @strawberry.subscription(extensions=[Allow(Role.CUSTOMER)])
        async def mine(self, info: Info) -> AsyncIterator[str]:
            async def one() -> AsyncIterator[str]:
                yield str(info.context.actor.id)

            return one()

    private = build(StallsQuery, None, Mine)
    assert Sharing(private).fields == frozenset()
    for user in users:
        asked = private.documents.read("subscription { mine }").ask(None)
        assert asked.kind is OperationType.SUBSCRIPTION
        async with aclosing(await private.stream("subscription { mine }", None, caller(user))) as results:
            seen += [result.data["mine"] async for result in results]
    assert seen == [str(user.id) for user in users]
