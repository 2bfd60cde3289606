"""Documents made to hurt: each is refused before anything runs, and soon. Documents that screens need: each passes."""

import asyncio
from collections.abc import Iterator
from datetime import datetime
from time import process_time
from typing import Any

import pytest
from graphql import GraphQLError, OperationType, get_introspection_query, validate

from domain.identity import ANYBODY, Actor, ActorKind
from schema.callers import Rules
from schema.gate import Asking, Stopped
from schema.guard import Asked
from schema.limits import SIZES
from tests.api.stall import Stall, make, ran

CPU_S = 0.05
EVERY = tuple(OperationType)
Attack = tuple[str, str, dict[str, object]]


def chain(links: int, twice: str = "...F{next} ...F{next}") -> str:
    bodies = [f"fragment F{n} on Store {{ {twice.format(next=n + 1)} }}" for n in range(links)]
    return "{ stores { nodes { ...F0 } } } " + " ".join(bodies) + f" fragment F{links} on Store {{ id }}"


def nested(levels: int, name: str = "siblings") -> str:
    return '{ search(text: "a") { nodes { ' + f"{name} {{ " * levels + "id" + " }" * levels + " } } }"


def attacks() -> Iterator[Attack]:
    """Name, document, variables."""
    deep = "stores { nodes { listings { nodes { store { listings { nodes { store { listings { nodes { sku"
    for levels in (13, 50, 150, 400):
        yield f"nested {levels}", nested(levels), {}
    yield "nested braces alone", "{" * 900, {}
    yield "nested lists of a literal", "{ stores(near: " + "[" * 400 + "]" * 400 + ") { nodes { id } } }", {}
    yield "nested objects of a literal", "{ stores(near: " + "{a:" * 150 + "1" + "}" * 150 + ") { nodes { id } } }", {}
    for links in (10, 16, 24, 60, 90):
        yield f"{links} fragments in a chain", chain(links), {}
    yield "9 fragments, each four times the next", chain(4, "...F{next} ...F{next} ...F{next} ...F{next} ...F{next}"), {}
    yield "aliases through fragments", chain(7, "a: id ...F{next} b: name ...F{next}"), {}
    yield "a fragment of itself", "{ stores { nodes { ...A } } } fragment A on Store { id ...A }", {}
    yield "two fragments in a circle", "{ ...A } fragment A on Query { ...B } fragment B on Query { ...A }", {}
    yield "a circle nobody enters", "{ viewer } fragment A on Query { ...B } fragment B on Query { ...A }", {}
    yield (
        "a circle through fields",
        "{ stores { nodes { ...A } } } fragment A on Store { listings { nodes { store { ...A } } } }",
        {},
    )
    yield "aliases", "{" + " ".join(f"a{n}: viewer" for n in range(200)) + "}", {}
    yield "aliases of one deep field", "{" + " ".join(f"a{n}: stores {{ nodes {{ id }} }}" for n in range(31)) + "}", {}
    yield "aliases below", "{ stores { nodes {" + " ".join(f"a{n}: name" for n in range(60)) + "} } }", {}
    yield "one field over and over", "{" + " viewer" * 900 + "}", {}
    yield "one object over and over", "{" + " stores { nodes { id } }" * 110 + "}", {}
    yield "inline fragments over and over", "{" + " ... on Query { viewer }" * 150 + "}", {}
    yield "inline fragments within each other", "{" + "... {" * 150 + " viewer " + "}" * 151, {}
    yield "inline fragments without a type", "{" + " ... { viewer }" * 240 + "}", {}
    yield "directives on one field", "{ viewer" + " @include(if: true)" * 120 + " }", {}
    yield "unknown directives", "{ viewer" + " @a" * 400 + " }", {}
    yield "directives everywhere", "{" + " viewer @skip(if: false)" * 100 + "}", {}
    yield "a huge first", "{ stores(first: 1000000) { nodes { id } } }", {}
    yield "a huge first without end", "{ stores(first: " + "9" * 30 + ") { nodes { id } } }", {}
    yield "first too long to read", "{ stores(first: " + "9" * 5000 + ") { nodes { id } } }", {}
    yield "first by variable", "query($n: Int!) { stores(first: $n) { nodes { id } } }", {"n": 2**31 - 1}
    yield "first by a default", "query($n: Int = 90000) { stores(first: $n) { nodes { id } } }", {}
    yield (
        "first below nothing beside much",
        "{ a: stores(first: -90000) { nodes { id } } b: stores(first: 9000) { nodes { id } } }",
        {},
    )
    yield (
        "first as null beside depth",
        "{ stores(first: null) { nodes { listings(first: null) { nodes { product { name } store { id } } } } } }",
        {},
    )
    yield (
        "lists in lists",
        "{ stores(first: 50) { nodes { listings(first: 50) { nodes { sku product { name } } edges { node { id } } } } } }",
        {},
    )
    yield "pages in pages by defaults", "{" + deep + "}" * 11, {}
    yield (
        "pages in pages by fragments",
        (
            "{ stores { ...S } } fragment S on StoreConnection { nodes { listings(first: 50) { ...L } } }"
            " fragment L on ListingConnection { nodes { product { name } store { name } } edges { node { id product { name } } } }"
        ),
        {},
    )
    yield (
        "edges and nodes, edges and nodes",
        (
            "{ stores(first: 40) { edges { node { listings(first: 40) { edges { node { product { name } } }"
            " nodes { product { name } } } } } } }"
        ),
        {},
    )
    yield (
        "counts of counts",
        "{"
        + " ".join(
            f'a{n}: search(text: "a", first: 50) {{ totalCount nodes {{ siblings {{ siblings {{ id }} }} }} }}' for n in range(5)
        )
        + "}",
        {},
    )
    yield "mutations at once", "mutation {" + " ".join(f"a{n}: add {{ count }}" for n in range(5)) + "}", {}
    yield (
        "mutations through fragments",
        (
            "mutation { ...A ...A ...B } fragment A on Mutation { a: add { count } b: add { count } }"
            " fragment B on Mutation { ...A }"
        ),
        {},
    )
    yield "mutations without aliases", "mutation {" + " add { count }" * 5 + "}", {}
    yield "a fragment called __schema", chain(12).replace("F0", "__schema"), {}
    yield "__schema that spreads itself", "{ ...__schema } fragment __schema on Query { ...__schema }", {}
    yield (
        "a deep fragment called __type",
        (
            '{ ...__type } fragment __type on Query { search(text: "a") { nodes { '
            + "siblings { " * 12
            + "id"
            + " }" * 12
            + " } } }"
        ),
        {},
    )
    yield "an alias called __schema", "{ __schema: stores(first: 1000000) { nodes { id } } }", {}
    yield (
        "introspection of introspection",
        "{ __schema { types { fields { type { fields { type { fields { type { fields { name } } } } } } } } } }",
        {},
    )
    yield (
        "introspection over and over",
        "{"
        + " ".join(f"a{n}: __schema {{ types {{ fields {{ args {{ type {{ ofType {{ name }} }} }} }} }} }}" for n in range(25))
        + "}",
        {},
    )
    yield (
        "introspection through fragments",
        (
            "{ __schema { types { ...A } } } fragment A on __Type { fields { type { ...B } } }"
            " fragment B on __Type { fields { type { ...C } } }"
            " fragment C on __Type { fields { type { ...D } } } fragment D on __Type { possibleTypes { name } }"
        ),
        {},
    )
    yield "introspection in a circle", "{ __schema { types { ...A } } } fragment A on __Type { ofType { ...A } }", {}
    yield (
        "possible types of possible types",
        "{ __schema { types { possibleTypes { interfaces { possibleTypes { interfaces { fields { name } } } } } } } }",
        {},
    )
    yield "unknown fields", "{" + " ".join(f"viewr{n}" for n in range(900)) + "}", {}
    yield "unknown fields under unknown fields", "{" + " ".join(f"x{n} {{ y }}" for n in range(200)) + "}", {}
    yield "unknown arguments", "{ viewer(" + " ".join(f"a{n}: 1" for n in range(300)) + ") }", {}
    yield "variables nobody uses", "query(" + " ".join(f"$a{n}: Int" for n in range(240)) + ") { viewer }", {}
    yield "variables of no type", "query(" + " ".join(f"$a{n}: Nope" for n in range(240)) + ") { viewer }", {}
    yield (
        "variables within variables",
        "query($n: [[[[[[[[[[[[Int]]]]]]]]]]]]) { stores(first: $n) { nodes { id } } }",
        {"n": [[[[1]]]]},
    )
    yield "operations", " ".join(f"query A{n} {{ viewer }}" for n in range(100)), {}
    yield "unnamed operations", "{ viewer }" * 9, {}
    yield "no operation", "fragment A on Query { viewer }", {}
    yield "tokens", "{" + " viewer" * 1200 + "}", {}
    yield "commas", "{ viewer " + "," * 20_000 + "}", {}
    yield "a comment", "{ viewer } #" + "x" * 17_000, {}
    yield "a long name", "{ " + "v" * 16_000 + " }", {}
    yield "a long text", '{ search(text: "' + "é" * 9_000 + '") { totalCount } }', {}
    yield "a NUL in a text", '{ search(text: "\\u0000") { totalCount } }', {}
    yield "a NUL in a block", '{ search(text: """\0""") { totalCount } }', {}
    yield "half a pair in a text", '{ search(text: "\\ud800") { totalCount } }', {}
    yield "types defined", "type A { b: C } " * 60, {}
    yield "an extension of the schema", "extend type Query { zzz: Int } { viewer }", {}
    yield "conflicting fields", "{" + " ".join(f"viewer(a: {n})" for n in range(200)) + "}", {}
    yield (
        "conflicts below",
        "{ stores { nodes {" + " ".join(f"... on Store {{ listings(first: {n}) {{ totalCount }} }}" for n in range(59)) + "} } }",
        {},
    )
    yield "nothing", "", {}
    yield "blanks", " \n\t,", {}
    yield "defer", "{ stores { nodes { ... @defer { id } } } }", {}
    yield "stream", "{ stores { nodes @stream(initialCount: 0) { id } } }", {}
    yield "several root fields of a subscription", "subscription { ever silent }", {}


ATTACKS = list(attacks())


async def admit(stall: Stall, document: str, actor: Actor = ANYBODY, name: str | None = None, **variables: object) -> Asked:
    context = stall.door.make_context(actor, "127.0.0.1")
    return await stall.door.gate.admit(context, Asking(document, name, variables), EVERY)


async def cost(document: str, **variables: object) -> int:
    return (await admit(make(Rules()), document, **variables)).cost(variables)


def test_there_are_enough_attacks():
    assert len(ATTACKS) >= 40
    assert len({document for _, document, _ in ATTACKS}) == len(ATTACKS)


@pytest.mark.parametrize(("name", "document", "variables"), ATTACKS, ids=[name for name, _, _ in ATTACKS])
async def test_it_is_refused_soon_and_nothing_of_it_runs(name: str, document: str, variables: dict[str, object]):
    stall = make(Rules())
    context = stall.door.make_context(ANYBODY, "127.0.0.1")
    ran.clear()
    times = []
    for again in ("", " "):  # the second time nothing is loaded for the first time; it is another text, which nobody knows yet
        begun = process_time()
        with pytest.raises(Stopped) as stopped:
            await stall.door.gate.admit(context, Asking(document + again, None, variables), EVERY)
        times.append(process_time() - begun)
    assert min(times) < CPU_S
    assert {error.code for error in stopped.value.errors} <= {"INVALID_INPUT", "TOO_COSTLY"}
    assert len(stopped.value.errors) <= 11
    assert sum(len(error.message) for error in stopped.value.errors) < 4_000
    assert ran == []


LISTING = "id sku price { amount currency } product { name category { name } }"


@pytest.mark.parametrize(
    "document",
    [
        "{ stores(first: 50) { nodes { id name } } }",
        f'{{ search(text: "a", first: 50) {{ totalCount pageInfo {{ hasNextPage }} nodes {{ {LISTING} store {{ name }} }} }} }}',
        f"{{ stores(first: 10) {{ edges {{ node {{ id listings(first: 20) {{ nodes {{ {LISTING} }} }} }} }} }} }}",
        "query A { viewer } query B { customer { id } }",
        "{ stores(first: 3) { nodes { listings(first: 3) { nodes { store { listings(first: 3)"
        " { nodes { product { name } } } } } } } } }",
        "mutation { a: add { count } b: add { count } c: add { count } d: add { count } }",
        "query($yes: Boolean!) { viewer @include(if: $yes) ...A } fragment A on Query { stores { nodes { ...B } } }"
        " fragment B on Store { id }",
    ],
)
async def test_what_a_screen_needs_passes(document: str):
    name = "B" if document.startswith("query A") else None
    yes = {"yes": True} if "$yes" in document else {}
    stall = make(Rules())
    assert (await admit(stall, document, name=name, **yes)).cost(yes) <= 5_000


async def test_an_object_costs_one_for_each_time_it_may_come():
    assert await cost("{ viewer }") == 0
    assert await cost("{ stores(first: 7) { nodes { id name } } }") == 7
    assert await cost("{ stores(first: 7) { edges { node { id } } nodes { id } } }") == 14
    assert await cost('{ search(text: "a", first: 7) { nodes { price { amount } product { name } } } }') == 14
    assert await cost('{ search(text: "a", first: 7) { totalCount nodes { id } } }') == 17
    assert await cost("{ stores(first: 7) { nodes { listings(first: 5) { nodes { id } } } } }") == 7 * (1 + 5)
    assert await cost('{ search(text: "a", first: 3) { nodes { siblings { id } } } }') == 3 * (1 + SIZES["Listing.siblings"])


async def test_a_page_is_as_long_as_the_variable_its_default_or_the_argument_s():
    by_variable = "query($n: Int = 9) { stores(first: $n) { nodes { id } } }"
    assert await cost(by_variable, n=4) == 4
    assert await cost(by_variable) == 9
    assert await cost("query($n: Int!) { stores(first: $n) { nodes { id } } }", n="many") == 50
    assert await cost("{ stores { nodes { id } } }") == 20


async def test_fragments_cost_what_they_would_in_place():
    in_place = await cost("{ stores(first: 7) { nodes { listings(first: 5) { nodes { product { name } } } } } }")
    spread = await cost(
        "{ stores(first: 7) { ...S } } fragment S on StoreConnection { nodes { listings(first: 5) { ...L } } }"
        " fragment L on ListingConnection { nodes { product { name } } }"
    )
    twice = await cost("{ ...A ...A } fragment A on Query { stores(first: 7) { nodes { id } } }")
    assert (spread, twice) == (in_place, 14)


async def test_the_budget_is_asked_by_cost_and_by_who_it_is():
    stall = make(Rules())
    actor = stall.claims[stall.token()].actor
    await admit(stall, "{ stores(first: 8) { nodes { id } } }", actor)
    assert ("cost by actor", str(actor.id), 8) in stall.limits.taken
    await admit(stall, "{ stores(first: 7) { nodes { id } } }")
    assert ("cost by address", "127.0.0.1", 7) in stall.limits.taken


async def test_an_empty_budget_refuses_and_says_until_when():
    stall = make(Rules())
    stall.limits.empty.add("cost by address")
    with pytest.raises(Stopped) as stopped:
        await admit(stall, "{ viewer }")
    (error,) = stopped.value.errors
    assert error.code == "RATE_LIMITED"
    assert error.extensions is not None
    assert datetime.fromisoformat(error.extensions["retryAt"])
    assert ran == []


INTROSPECTION = get_introspection_query(specified_by_url=True, directive_is_repeatable=True, schema_description=True)


async def test_introspection_is_off_but_for_support_where_the_rules_say_so():
    closed, opened = make(Rules(introspection=False)), make(Rules())
    support = closed.claims[closed.token(kind=ActorKind.SUPPORT)].actor
    for document in (
        INTROSPECTION,
        '{ __type(name: "Store") { name } }',
        "{ ...A } fragment A on Query { __schema { queryType { name } } }",
    ):
        with pytest.raises(Stopped) as stopped:
            await admit(closed, document)
        assert [error.code for error in stopped.value.errors] == ["FORBIDDEN"]
        assert (await admit(closed, document, support)).introspects
        assert (await admit(opened, document)).introspects
    assert not (await admit(closed, "{ __typename stores { __typename } }")).introspects


async def test_where_introspection_is_off_errors_suggest_no_names():
    for introspection, hint in ((True, True), (False, False)):
        with pytest.raises(Stopped) as stopped:
            await admit(make(Rules(introspection=introspection)), "{ viewr stors { nodes { id } } search(txt: 1) { totalCount } }")
        assert any("viewer" in error.message or "stores" in error.message for error in stopped.value.errors) == hint


async def test_a_document_is_read_once_and_what_is_kept_has_an_end():
    stall = make(Rules())
    documents = stall.door.gate._documents
    await admit(stall, "{ viewer }")
    assert documents.knows("{ viewer }")
    for number in range(60):
        await admit(stall, "{ viewer } #" + str(number) + "x" * 15_000)
    assert not documents.knows("{ viewer }")
    assert sum(document.size for document in documents._valid._kept.values()) <= 500_000


async def test_what_is_not_valid_is_looked_at_once_and_displaces_nothing_that_is(monkeypatch: pytest.MonkeyPatch):
    looked = looks(monkeypatch)
    stall = make(Rules())
    documents = stall.door.gate._documents
    await admit(stall, "{ viewer }")
    told = []
    for _ in range(3):
        with pytest.raises(Stopped) as stopped:
            await admit(stall, "{ nobody }")
        told.append([error.message for error in stopped.value.errors])
    assert len(looked) == 2
    assert told[0] == told[1] == told[2] != []
    for number in range(60):
        with pytest.raises(Stopped):
            await admit(stall, "{ nobody } #" + str(number) + "x" * 15_000)
    assert documents.knows("{ viewer }")
    assert sum(document.size for document in documents._wrong._kept.values()) <= 50_000


@pytest.mark.parametrize("document", ["{ viewer }", "{ nobody }"])
async def test_a_crowd_that_brings_a_new_document_has_it_looked_at_once(monkeypatch: pytest.MonkeyPatch, document: str):
    looked = looks(monkeypatch)
    stall = make(Rules())
    everybody = asyncio.Barrier(50)

    async def pay(*_: object) -> None:
        await everybody.wait()

    monkeypatch.setattr(stall.door.gate, "_pay", pay)
    async with asyncio.timeout(10):
        answers = await asyncio.gather(*(admit(stall, document) for _ in range(50)), return_exceptions=True)
    assert {type(answer) for answer in answers} == {Asked if document == "{ viewer }" else Stopped}
    assert len(looked) == 1


def looks(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """What is validated from now on."""
    looked: list[object] = []

    def look(*given: Any, **named: Any) -> list[GraphQLError]:
        looked.append(given[1])
        return validate(*given, **named)

    monkeypatch.setattr("schema.documents.validate", look)
    return looked
