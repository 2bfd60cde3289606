"""The limits fit the API we have: what the screens ask passes, and the tables name what there is."""

import pytest
from graphql import GraphQLInterfaceType, GraphQLObjectType

from schema.api import schema
from schema.limits import SIZES, WEIGHTS
from schema.measuring import is_list

TYPES = {
    name: type_
    for name, type_ in schema._schema.type_map.items()
    if isinstance(type_, GraphQLObjectType | GraphQLInterfaceType) and not name.startswith("__")
}

MONEY = "{ amount currency }"
LISTING = (
    f"id sku variantName price {MONEY} mrp {MONEY} product {{ id name images diet category {{ id name }} }}"
    " stock { state available }"
)
PLACED = "... on Refusal { code message }"
ORDER = (
    f"id number status version total {MONEY} refunded {MONEY} store {{ id name location {{ lat lng }} }}"
    f" lines {{ id name quantity unitPrice {MONEY} total {MONEY} modifiers note }} charges {{ kind label amount {MONEY} }}"
    " history { seq status at by reason note } address { line1 city point { lat lng } } handoverCode"
    " delivery { id status riderName etaAt position { at point { lat lng } } }"
)


@pytest.mark.parametrize(
    "document",
    [
        "{ stores(first: 50, open: true) { nodes { id name status location { lat lng } opensAt } pageInfo { endCursor } } }",
        f"{{ store(slug: \"a\") {{ id categories {{ id name path }} listings(first: 50) {{"
        f" totalCount facets {{ name values {{ value count }} }} nodes {{"
        f" {LISTING} modifierGroups {{ id min max options {{ id name price {MONEY} available }} }} }} }} }} }}",
        f"{{ search(text: \"milk\", first: 50) {{ totalCount edges {{ cursor node {{ {LISTING} store {{ id name }} }} }} }} }}",
        f"{{ listing(id: \"1\") {{ {LISTING} siblings {{ {LISTING} }}"
        " modifierGroups { id options { id name } } store { id } } }",
        f"{{ customer {{ cart {{ lines {{ id quantity total {MONEY} modifiers {{ id name }}"
        f" listing {{ {LISTING} }} }} }} quote {{ id }} }} }}",
        f"{{ customer {{ orders(first: 20) {{ nodes {{ {ORDER} purchase {{ id payment {{ status }} }} }} }} }} }}",
        f"{{ customer {{ purchase(id: \"1\") {{ number payment {{ clientSecret status }} orders {{ {ORDER} }} }} }} }}",
        f"{{ merchant {{ orders(first: 50, status: [PLACED]) {{ totalCount nodes {{ {ORDER} }} }} stores {{ id name }} }} }}",
        "{ merchant { stock(storeId: \"1\", first: 50) { nodes { id onHand held listing { id sku product { name } }"
        " movements(first: 10) { nodes { kind onHand held allocated at } } } } } }",
        f"{{ rider {{ offers {{ id pay {MONEY} deliveries {{ id store {{ name }} dropArea {{ lat lng }} }} }}"
        f" deliveries(first: 20) {{ nodes {{ id status cashDue {MONEY} order {{ {ORDER} }} }} }} }} }}",
        f"{{ support {{ orders(text: \"H-1\", first: 50) {{ nodes {{ {ORDER} purchase {{ number }} }} }} }} }}",
        f"mutation {{ placeOrder(quoteId: \"1\", method: UPI, idempotencyKey: \"k\") {{ {PLACED}"
        f" ... on Purchase {{ id orders {{ {ORDER} }} }}"
        f" ... on NotEnoughStock {{ short {{ wanted available listing {{ id }} }} }} }} }}",
        f"subscription {{ order(id: \"1\") {{ cursor reset changes {{ status order {{ {ORDER} }} }} }} }}",
        "subscription { stock(storeId: \"1\") { cursor reset degraded levels { listingId state available version } } }",
    ],
)  # fmt: skip
def test_what_a_screen_asks_passes(document: str):
    found = schema.documents.read(document)
    assert [error.message for error in found.errors] == []
    assert found.ask(None).cost({}) <= 5_000


def test_the_tables_name_what_there_is():
    fields = {f"{name}.{field}" for name, type_ in TYPES.items() for field in type_.fields}
    named = {key for key in [*SIZES, *WEIGHTS] if "." in key}
    assert named <= fields
    anywhere = {field for type_ in TYPES.values() for field in type_.fields}
    assert {key for key in WEIGHTS if "." not in key} <= set(TYPES) | anywhere
    assert all(is_list(TYPES[name.split(".")[0]].fields[name.split(".")[1]]) for name in SIZES)


def test_every_page_is_known_as_one():
    pages = {name for name in TYPES if name.endswith("Connection")}
    assert pages <= schema.documents.guard.priced.pages


def test_a_store_s_whole_catalogue_at_once_is_too_much():
    document = f"{{ stores(first: 50) {{ nodes {{ listings(first: 50) {{ nodes {{ {LISTING} }} }} }} }} }}"
    with pytest.raises(Exception, match="at most 5000"):
        schema.documents.read(document).ask(None).cost({})
