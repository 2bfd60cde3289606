"""The tables of docs/api.md say what the code says."""

import re
from collections.abc import Iterator

from graphql import GraphQLEnumType, GraphQLSchema, build_schema

from adapters.limits import LIMITS
from db.events import REPLAYED, REPLAYED_FOR
from domain.orders import ACCEPT_WITHIN
from domain.payments import PAY_WITHIN
from domain.positions import BATCH
from domain.quotes import LIFE
from domain.refusals import Kind
from domain.sessions import GRACE
from schema import listeners
from schema.api import schema
from schema.callers import Rules
from schema.errors import STATUS
from schema.limits import PAGE, Most
from subscriptions.merchants import MOST as STORES_FOLLOWED
from subscriptions.stock import MOST as FOLLOWED
from tests.api.test_contract import CONTRACT
from tests.docs.pages import DOCS, tables

PAGE_TEXT = (DOCS / "api.md").read_text()


def test_every_code_of_errors_is_there_with_its_status():
    assert {row[0]: int(row[1]) for row in tables("api.md", "Errors")} == STATUS
    assert set(STATUS) == {kind.value for kind in Kind} | {"INTERNAL"}


def test_every_code_a_socket_is_closed_with_is_there():
    known = {value for name, value in vars(listeners).items() if name.isupper() and isinstance(value, int) and value >= 1000}
    told = {int(row[0]) for row in tables("api.md", "WebSocket")}
    assert told == known | {1011, 1013, 4406, 4408}  # the last two are strawberry's


def test_the_limits_are_those_that_hold():
    most, rules = Most(), Rules(sockets_per_user=5, sockets_per_address=50)
    assert rules == Rules(), "what the server is started with, where limits are on"
    told = {row[0]: row[1] for row in tables("api.md", "Limits")}
    assert told == {
        "request body, WebSocket message": f"{rules.body_bytes:,} bytes",
        "arrival of a request body": f"{rules.body_s} s, then 408",
        "document": f"{most.bytes:,} bytes, {most.tokens:,} tokens",
        "nesting": f"{most.depth}",
        "aliases": f"{most.aliases}",
        "mutations in one operation": f"{most.mutations}",
        "cost of an operation": f"{most.cost:,} points",
        "cost of a user, or an address that is signed out": f"{LIMITS['cost by actor'][0].amount:,} points a minute",
        "time of an operation": f"{rules.deadline_s} s",
        "page": f"{PAGE}",
        "operations of a socket at once": f"{rules.operations}",
        "messages of a socket": f"{rules.messages_per_s} a second, {rules.messages_burst} at once",
        "sockets of a user; of an address": f"{rules.sockets_per_user}; {rules.sockets_per_address}",
        "listings followed by ids in one `stock`": f"{FOLLOWED}",
        "stores followed in one `storeStatus`": f"{STORES_FOLLOWED}",
        "sign-in tries of an account": "{} a minute, {} an hour".format(*(one.amount for one in LIMITS["sign-in by account"])),
        "codes sent to a phone": "{} in ten minutes, {} a day".format(*(one.amount for one in LIMITS["code by phone"])),
        "quotes of a customer": f"{LIMITS['quote'][0].amount} a minute",
        "positions in one report": f"{BATCH}",
    }
    assert LIMITS["cost by actor"] == LIMITS["cost by address"]


def test_the_times_it_tells_are_those_that_hold():
    """In words of the page; whoever changes one of them changes the sentence."""
    minutes = [one.total_seconds() / 60 for one in (LIFE, ACCEPT_WITHIN, PAY_WITHIN, REPLAYED_FOR)]
    assert (minutes, GRACE.total_seconds(), REPLAYED) == ([10, 10, 15, 10], 30, 1_000)
    text = " ".join(PAGE_TEXT.split())
    for sentence in ("held for ten minutes", "waits ten minutes to be accepted", "within 30 s", "more than a thousand events"):
        assert sentence in text
    assert "after 15 minutes the clock ends them" in text


def test_what_is_beyond_the_contract_is_told():
    told = set(re.findall(r"`([\w.]+)`", " ".join(row[0] for row in tables("api.md", "Beyond the contract"))))
    assert told == set(beyond(build_schema(CONTRACT.read_text()), build_schema(str(schema))))


def beyond(contract: GraphQLSchema, ours: GraphQLSchema) -> Iterator[str]:
    """Types, fields, arguments and values that the printed schema has and the contract has not."""
    for name, type_ in ours.type_map.items():
        promised = contract.type_map.get(name)
        if promised is None:
            yield name
            continue
        if isinstance(type_, GraphQLEnumType):
            yield from (f"{name}.{value}" for value in type_.values if value not in promised.values)
        for field, told in getattr(type_, "fields", {}).items():
            root = name in ("Query", "Mutation", "Subscription")
            full = field if root else f"{name}.{field}"
            if field not in promised.fields:
                yield full
                continue
            arguments = getattr(promised.fields[field], "args", {})
            yield from (f"{full}.{argument}" for argument in getattr(told, "args", {}) if argument not in arguments)
