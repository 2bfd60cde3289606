"""The printed schema holds all of schema/contract.graphql: what the apps are built against. It may hold more."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from graphql import (
    DefinitionNode,
    DirectiveDefinitionNode,
    DirectiveNode,
    DocumentNode,
    EnumTypeDefinitionNode,
    FieldDefinitionNode,
    InputValueDefinitionNode,
    NonNullTypeNode,
    UnionTypeDefinitionNode,
    parse,
    print_ast,
)

from schema.api import schema

CONTRACT = Path(__file__).parents[2] / "schema" / "contract.graphql"


def definitions(document: DocumentNode) -> dict[str, DefinitionNode]:
    """Types by name, directives by `@name`."""
    names = {}
    for node in document.definitions:
        assert hasattr(node, "name"), f"{node.kind} is not compared here"
        at = "@" if isinstance(node, DirectiveDefinitionNode) else ""
        names[at + node.name.value] = node
    return names


def by_name(nodes: Sequence) -> dict:
    return {node.name.value: node for node in nodes or ()}


def differences(contract: str, printed: str) -> list[str]:
    """A line for each thing of the contract that is missing or otherwise in the printed schema."""
    told, ours = definitions(parse(contract)), definitions(parse(printed))
    return [line for name, node in told.items() for line in definition(name, node, ours.get(name))]


def definition(name: str, told: DefinitionNode, ours: DefinitionNode | None) -> Iterator[str]:
    if ours is None:
        yield f"{name}: missing"
        return
    if told.kind != ours.kind:
        yield f"{name}: a {told.kind}, not a {ours.kind}"
        return
    match told:
        case EnumTypeDefinitionNode():
            yield from missing(name, "value", by_name(told.values), by_name(ours.values))
        case UnionTypeDefinitionNode():
            yield from missing(name, "member", by_name(told.types), by_name(ours.types))
        case DirectiveDefinitionNode():
            yield from inputs(name, told.arguments, ours.arguments)
            yield from missing(name, "location", {n.value: n for n in told.locations}, {n.value: n for n in ours.locations})
    yield from missing(name, "interface", by_name(getattr(told, "interfaces", ())), by_name(getattr(ours, "interfaces", ())))
    fields = getattr(told, "fields", None) or ()
    if fields and isinstance(fields[0], InputValueDefinitionNode):
        yield from inputs(name, fields, ours.fields)
    elif fields:
        theirs = by_name(ours.fields)
        for one in fields:
            yield from field(f"{name}.{one.name.value}", one, theirs.get(one.name.value))


def field(name: str, told: FieldDefinitionNode, ours: FieldDefinitionNode | None) -> Iterator[str]:
    if ours is None:
        yield f"{name}: missing"
        return
    yield from typed(name, told, ours)
    yield from inputs(name, told.arguments, ours.arguments)
    if (wanted := used(told.directives)) != (found := used(ours.directives)):
        yield f"{name}: {wanted or 'no directive'}, not {found or 'none'}"


def inputs(
    name: str, told: Sequence[InputValueDefinitionNode] | None, ours: Sequence[InputValueDefinitionNode] | None
) -> Iterator[str]:
    """Of an input, a field or a directive. What is there besides must not be needed: old clients do not send it."""
    wanted, found = by_name(told), by_name(ours)
    for key, one in wanted.items():
        other = found.get(key)
        if other is None:
            yield f"{name}({key}): missing"
            continue
        yield from typed(f"{name}({key})", one, other)
        default, theirs = (print_ast(n.default_value) if n.default_value else None for n in (one, other))
        if default != theirs:
            yield f"{name}({key}): default {default}, not {theirs}"
    for key in found.keys() - wanted.keys():
        if isinstance(found[key].type, NonNullTypeNode) and found[key].default_value is None:
            yield f"{name}({key}): added, and needed"


def typed(name: str, told, ours) -> Iterator[str]:
    if (wanted := print_ast(told.type)) != (found := print_ast(ours.type)):
        yield f"{name}: {wanted}, not {found}"


def missing(name: str, what: str, told: dict, ours: dict) -> Iterator[str]:
    return (f"{name}: {what} {one} missing" for one in told if one not in ours)


def used(directives: Sequence[DirectiveNode] | None) -> list[str]:
    """The order of a list's members means nothing: `@access(roles: [A, B])` is `[B, A]`."""
    texts = []
    for one in directives or ():
        arguments = []
        for argument in one.arguments or ():
            value = argument.value
            members = getattr(value, "values", None)
            text = print_ast(value) if members is None else f"[{', '.join(sorted(print_ast(member) for member in members))}]"
            arguments.append(f"{argument.name.value}: {text}")
        texts.append(f"@{one.name.value}({', '.join(sorted(arguments))})")
    return sorted(texts)


def test_the_printed_schema_holds_the_contract():
    lines = differences(CONTRACT.read_text(), schema.as_str())
    assert not lines, "\n" + "\n".join(lines)


def test_every_root_field_says_who_may():
    ours = definitions(parse(schema.as_str()))
    silent = [
        f"{root}.{one.name.value}"
        for root in ("Query", "Mutation", "Subscription")
        for one in ours[root].fields
        if not [text for text in used(one.directives) if text.startswith("@access(roles: [")]
    ]
    assert silent == []


SMALL = """
directive @access(roles: [Role!]!) on FIELD_DEFINITION
scalar DateTime
enum Role { PUBLIC CUSTOMER }
interface Node { id: ID! }
type Cart implements Node { id: ID! at: DateTime }
type Gone { code: String! }
union Answer = Cart | Gone
input Line { listingId: ID! units: Int = 1 }
type Query { cart(first: Int = 20, ids: [ID!]): Answer! @access(roles: [PUBLIC, CUSTOMER]) }
"""


@pytest.mark.parametrize(
    ("before", "after", "line"),
    [
        ("scalar DateTime\n", "", "DateTime: missing"),
        ("scalar DateTime\n", "enum DateTime { NOW }\n", "DateTime: a scalar_type_definition, not a enum_type_definition"),
        ("PUBLIC CUSTOMER }", "PUBLIC }", "Role: value CUSTOMER missing"),
        ("Cart implements Node", "Cart", "Cart: interface Node missing"),
        ("at: DateTime }", "}", "Cart.at: missing"),
        ("at: DateTime }", "at: DateTime! }", "Cart.at: DateTime, not DateTime!"),
        ("Cart | Gone", "Cart", "Answer: member Gone missing"),
        ("listingId: ID! ", "", "Line(listingId): missing"),
        ("units: Int = 1", "units: Int = 2", "Line(units): default 1, not 2"),
        ("units: Int = 1", "units: Int = 1 key: ID!", "Line(key): added, and needed"),
        ("first: Int = 20, ", "", "Query.cart(first): missing"),
        ("ids: [ID!]", "ids: [ID]", "Query.cart(ids): [ID!], not [ID]"),
        ("ids: [ID!]", "ids: [ID!] = []", "Query.cart(ids): default None, not []"),
        ("ids: [ID!]", "ids: [ID!], key: ID!", "Query.cart(key): added, and needed"),
        (
            "[PUBLIC, CUSTOMER]",
            "[PUBLIC]",
            "Query.cart: ['@access(roles: [CUSTOMER, PUBLIC])'], not ['@access(roles: [PUBLIC])']",
        ),
        (" @access(roles: [PUBLIC, CUSTOMER])", "", "Query.cart: ['@access(roles: [CUSTOMER, PUBLIC])'], not none"),
        ("on FIELD_DEFINITION", "on OBJECT", "@access: location FIELD_DEFINITION missing"),
    ],
)
def test_a_difference_is_one_line(before, after, line):
    assert before in SMALL
    assert differences(SMALL, SMALL.replace(before, after, 1)) == [line]


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("PUBLIC CUSTOMER }", "PUBLIC CUSTOMER RIDER }"),
        ("at: DateTime }", '"When" at: DateTime note: String }'),
        ("Cart | Gone", "Cart | Gone | Line2"),
        ("units: Int = 1", "units: Int = 1 note: String"),
        ("ids: [ID!]", "ids: [ID!], key: ID! = 1"),
        ("[PUBLIC, CUSTOMER]", "[CUSTOMER, PUBLIC]"),
        ("scalar DateTime", "scalar Decimal\nscalar DateTime"),
    ],
)
def test_more_than_the_contract_is_no_difference(before, after):
    assert before in SMALL
    assert differences(SMALL, SMALL.replace(before, after, 1)) == []
