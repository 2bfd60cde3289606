"""Stores, listings and search through the API; who may set prices and a store's status."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

import pytest
import strawberry
from sqlalchemy import event, insert, select, update

from db import tables as t
from db.ids import new_id
from db.reads import Reads
from db.unit_of_work import unit_of_work
from domain.catalog import UpsertedProduct, apply_products
from domain.choices import OfferedGroup, OfferedGroups, UpsertedGroup, UpsertedModifier, apply_modifier_groups
from domain.identity import ANYBODY, Actor, ActorKind, MerchantRole
from domain.intake import EntityKind, Family
from domain.merchants import SetStoreStatus, StoreStatus, set_store_status, tell_due
from domain.refusals import NotFound, Refused
from resolvers.loaders import Loaders
from schema import catalog, merchants
from schema.build import build
from schema.roots import Api
from tests.callers import ports
from tests.groceries import Good, goods, stock_up
from tests.world import account, member, shop


@strawberry.type
class Query(merchants.Query, catalog.Query): ...


@strawberry.type
class Mutation(merchants.Mutation, catalog.Mutation): ...


schema = build(Query, Mutation)
HERE = {"lat": 12.9720, "lng": 77.5950}
LISTING = """id variantName sku barcode price { amount currency } mrp { amount }
    product { id kind name brand images attributes { name value } category { name path } }
    stock { listingId state available version asOf stale backAt } store { id slug }"""
PAGE = f"""query($id: ID!, $first: Int, $after: String, $filter: ListingFilter, $sort: ListingSort) {{ store(id: $id) {{
    listings(first: $first, after: $after, filter: $filter, sort: $sort) {{
        nodes {{ {LISTING} }} edges {{ cursor node {{ id }} }}
        pageInfo {{ hasNextPage hasPreviousPage startCursor endCursor }} }} }} }}"""
COUNTED = """query($id: ID!, $filter: ListingFilter) { store(id: $id) { listings(filter: $filter) {
    totalCount facets { name values { value count } } nodes { id } } } }"""
STORE = """id slug name city location { lat lng } status opensAt closesAt prepMinutes"""
SET_PRICE = "mutation($id: ID!, $price: Decimal!) { setPrice(listingId: $id, price: $price) { id price { amount currency } } }"
SET_STATUS = """mutation($id: ID!, $status: StoreStatus!, $until: DateTime) {
    setStoreStatus(storeId: $id, status: $status, until: $until) { id status opensAt } }"""


class Calls:
    def __init__(self, engine):
        self.engine, self.reads = engine, Reads(engine)
        self.ports = ports(self.reads)

    async def ask(self, document, actor=ANYBODY, **variables):
        context = Api(actor, self.reads, lambda: unit_of_work(self.engine), Loaders(self.reads, actor), self.ports, hub=None)
        return await schema.execute(document, variables, context_value=context)

    async def say(self, document, actor=ANYBODY, **variables):
        said = await self.ask(document, actor, **variables)
        assert said.errors is None, said.errors
        return next(iter(said.data.values()))

    async def no(self, document, actor=ANYBODY, **variables):
        said = await self.ask(document, actor, **variables)
        (error,) = said.errors
        return error.extensions["code"]


@pytest.fixture
def calls(engine):
    return Calls(engine)


@contextmanager
def statements(engine) -> Iterator[list[str]]:
    seen = []

    def count(*said):
        seen.append(said[2])

    event.listen(engine.sync_engine, "before_cursor_execute", count)
    try:
        yield seen
    finally:
        event.remove(engine.sync_engine, "before_cursor_execute", count)


@pytest.fixture(scope="module")
async def grocery(engine):
    made = await shop(engine, name="Anand & Sons", city="Mysuru", slug=f"anand-{new_id()}")
    return made, await stock_up(engine, made.merchant_id, made.store_id, goods(120))


@pytest.mark.parametrize("first", [1, 20, 50])
async def test_a_page_costs_the_same_however_long_it_is(engine, calls, grocery, first):
    made, _ = grocery
    with statements(engine) as seen:
        said = await calls.say(PAGE, id=str(made.store_id), first=first)
    assert len(said["listings"]["nodes"]) == first
    assert len(seen) == 3, seen  # the store, its page with products and stock, and their categories


async def test_pages_follow_one_another(calls, grocery):
    made, ids = grocery
    found, after = [], None
    while True:
        page = (await calls.say(PAGE, id=str(made.store_id), first=50, after=after, sort="PRICE_DESC"))["listings"]
        found += [node["id"] for node in page["nodes"]]
        assert [edge["node"]["id"] for edge in page["edges"]] == [node["id"] for node in page["nodes"]]
        assert page["pageInfo"]["startCursor"] == page["edges"][0]["cursor"]
        after = page["pageInfo"]["endCursor"]
        if not page["pageInfo"]["hasNextPage"]:
            break
    assert sorted(found) == sorted(map(str, ids))


async def test_counts_are_read_only_when_asked_for(engine, calls, grocery):
    made, ids = grocery
    with statements(engine) as seen:
        said = (await calls.say(COUNTED, id=str(made.store_id)))["listings"]
    assert said["totalCount"] == len(ids)
    assert [one["name"] for one in said["facets"]] == ["category", "brand"]
    assert sum(one["count"] for one in said["facets"][0]["values"]) == len(ids)
    assert len(seen) == 4


async def test_values_print_as_the_contract_says(calls, grocery):
    _, ids = grocery
    said = await calls.say(f"query($id: ID!) {{ listing(id: $id) {{ {LISTING} }} }}", id=str(ids[0]))
    whole, dot, cents = said["price"]["amount"].partition(".")
    assert (whole.isdigit(), dot, len(cents), said["price"]["currency"]) == (True, ".", 2, "INR")
    assert said["stock"]["asOf"].endswith("Z")
    assert datetime.fromisoformat(said["stock"]["asOf"]).tzinfo is not None
    assert said["stock"]["version"] == 0
    assert said["product"]["category"]["path"][-1] == said["product"]["category"]["name"]


@pytest.mark.parametrize(
    "variables",
    [
        {"first": 0},
        {"first": 51},
        {"after": "nonsense"},
        {"after": ""},
        {"filter": {"text": "x" * 201}},
        {"filter": {"text": "tea\0"}},
        {"filter": {"categoryId": "tea"}},
        {"filter": {"brand": "\0"}},
        {"filter": {"priceMax": "-1"}},
        {"filter": {"priceMax": "0.001"}},
    ],
)
async def test_what_cannot_be_is_invalid_input(calls, grocery, variables):
    made, _ = grocery
    assert await calls.no(PAGE, id=str(made.store_id), **variables) == "INVALID_INPUT"


async def test_filters_through_the_api(calls, grocery):
    made, _ = grocery
    asked = {"text": "te", "priceMax": "100", "inStock": True}
    for node in (await calls.say(PAGE, id=str(made.store_id), filter=asked, first=50))["listings"]["nodes"]:
        assert float(node["price"]["amount"]) <= 100
    none = await calls.say(COUNTED, id=str(made.store_id), filter={"text": "?"})
    assert (none["listings"]["totalCount"], none["listings"]["nodes"]) == (0, [])


async def test_stores_by_id_slug_place_and_name(engine, calls, grocery):
    made, _ = grocery
    by_id = await calls.say(f"query($id: ID!) {{ store(id: $id) {{ {STORE} categories {{ path }} }} }}", id=str(made.store_id))
    assert (by_id["status"], by_id["opensAt"], by_id["location"]) == ("OPEN", None, {"lat": 12.9716, "lng": 77.5946})
    assert {tuple(one["path"]) for one in by_id["categories"]} <= {one.path for one in goods(120)}
    by_slug = await calls.say(f"query($slug: String) {{ store(slug: $slug) {{ {STORE} }} }}", slug=by_id["slug"])
    assert by_slug["id"] == by_id["id"]
    near = """query($near: PointInput, $from: PointInput!, $open: Boolean) { stores(near: $near, open: $open, text: "anand mys") {
        nodes { id distanceMetres(from: $from) deliversTo(point: $from) } } }"""
    [found] = (await calls.say(near, near=HERE, open=True, **{"from": HERE}))["nodes"]
    assert (found["id"], found["deliversTo"]) == (by_id["id"], True)
    assert 40 < found["distanceMetres"] < 80
    for point in ({"lat": 91, "lng": 0}, {"lat": 0, "lng": -180.5}):
        assert await calls.no(near, near=point, **{"from": HERE}) == "INVALID_INPUT"
        assert await calls.no(near, near=None, **{"from": point}) == "INVALID_INPUT"
    assert await calls.no("{ store { id } }") == "INVALID_INPUT"
    assert await calls.no('{ store(id: "x") { id } }') == "INVALID_INPUT"
    assert await calls.say('{ store(slug: "nowhere") { id } }') is None
    async with engine.begin() as connection:
        await connection.execute(update(t.store).where(t.store.c.id == made.store_id).values(archived_at=datetime.now(UTC)))
    assert await calls.say("query($id: ID!) { store(id: $id) { id } }", id=str(made.store_id)) is None
    assert await calls.say("query($id: ID!) { listing(id: $id) { id } }", id=str((await shelved(engine))[1])) is not None
    async with engine.begin() as connection:
        await connection.execute(update(t.store).where(t.store.c.id == made.store_id).values(archived_at=None))


async def shelved(engine, price=10_000, mrp=12_000):
    """A shop, and one listing in it."""
    made = await shop(engine)
    plain = Good("PLAIN", f"Plain {new_id().hex}", None, ("Plain", "Things"), price, mrp)
    [id] = await stock_up(engine, made.merchant_id, made.store_id, [plain])
    return made, id


async def test_a_listing_shows_its_choices_and_siblings(engine, calls):
    made = await shop(engine)
    trio = Good("TRIO", "Coffee", None, ("Cups",), 5_000, None, ("Small", "Regular", "Large"))
    ids = await stock_up(engine, made.merchant_id, made.store_id, [trio])
    async with unit_of_work(engine) as uow:
        groups = [UpsertedGroup(made.store_id, "g", "Milk", [UpsertedModifier("m", "Oat", 1_500)])]
        await apply_modifier_groups(groups, [OfferedGroups(ids[1], [OfferedGroup("g", 0, 1)])], uow)
    document = """query($id: ID!) { listing(id: $id) { variantName siblings { id variantName modifierGroups { name } }
        modifierGroups { name min max options { name available price { amount } } } } }"""
    said = await calls.say(document, id=str(ids[1]))
    assert [sibling["id"] for sibling in said["siblings"]] == [str(ids[0]), str(ids[2])]
    assert said["modifierGroups"] == [
        {"name": "Milk", "min": 0, "max": 1, "options": [{"name": "Oat", "available": True, "price": {"amount": "15.00"}}]}
    ]


async def test_search_and_categories(engine, calls):
    _, id = await shelved(engine)
    name = (await calls.say(f"query($id: ID!) {{ listing(id: $id) {{ {LISTING} }} }}", id=str(id)))["product"]["name"]
    search = """query($text: String!, $near: PointInput, $filter: ListingFilter) {
        search(text: $text, near: $near, filter: $filter) { totalCount nodes { id store { id } } facets { name } } }"""
    for near in (None, HERE):
        said = await calls.say(search, text=name, near=near, filter={"inStock": True})
        assert [node["id"] for node in said["nodes"]] == [str(id)]
    away = await calls.say(search, text=name, near={"lat": 28.6, "lng": 77.2})
    assert away["totalCount"] == 0
    assert await calls.no(search, text="a\0b") == "INVALID_INPUT"
    roots = await calls.say("{ categories { id name path } }")
    assert all(one["path"] == [one["name"]] for one in roots)
    below = await calls.say("query($id: ID) { categories(parentId: $id) { path } }", id=roots[0]["id"])
    assert all(one["path"][0] == roots[0]["name"] for one in below)


async def test_a_price_is_set_by_managers_and_owners_alone(engine, calls):
    made, id = await shelved(engine)
    manager = await member(engine, made, MerchantRole.MANAGER)
    clerk = await member(engine, made, MerchantRole.CLERK, [made.store_id])
    clerk_elsewhere = await member(engine, made, MerchantRole.CLERK)
    stranger = (await shop(engine)).owner
    for actor, price in ((made.owner, "99.50"), (manager, 89), (manager, "89.00")):
        said = await calls.say(SET_PRICE, actor, id=str(id), price=price)
        assert said["price"] == {"amount": f"{float(price):.2f}", "currency": "INR"}
    refused = [(clerk, "FORBIDDEN"), (clerk_elsewhere, "NOT_FOUND"), (stranger, "NOT_FOUND"), (ANYBODY, "UNAUTHENTICATED")]
    refused.append((await account(engine), "FORBIDDEN"))
    for actor, code in refused:
        assert await calls.no(SET_PRICE, actor, id=str(id), price="10") == code
    assert await calls.no(SET_PRICE, made.owner, id=str(new_id()), price="10") == "NOT_FOUND"
    for price in ("120.01", "-1", "1.005", "100000000000"):
        assert await calls.no(SET_PRICE, made.owner, id=str(id), price=price) == "INVALID_INPUT"
    async with engine.connect() as connection:
        e, a = t.event.c, t.audit.c
        log = await connection.execute(select(e.kind, e.seq).where(e.entity_id == id, e.stream == "listing").order_by(e.id))
        assert [tuple(row) for row in log] == [("ListingChanged", 1), ("PriceChanged", 2), ("PriceChanged", 3)]
        notes = await connection.execute(select(a.action, a.detail).where(a.subject == id).order_by(a.id))
        assert [tuple(row) for row in notes] == [("set price", "100.00 → 99.50"), ("set price", "99.50 → 89.00")]


async def test_a_store_speaks_through_managers_owners_and_sources(engine, calls):
    made, _ = await shelved(engine)
    manager = await member(engine, made, MerchantRole.MANAGER)
    clerk = await member(engine, made, MerchantRole.CLERK, [made.store_id])
    stranger = (await shop(engine)).owner
    id = str(made.store_id)
    until = datetime.now(UTC).replace(microsecond=0) + timedelta(hours=1)
    said = await calls.say(SET_STATUS, manager, id=id, status="PAUSED", until=until.isoformat())
    assert said == {"id": id, "status": "PAUSED", "opensAt": until.isoformat().replace("+00:00", "Z")}
    assert (await calls.say(SET_STATUS, made.owner, id=id, status="BUSY"))["status"] == "BUSY"
    assert (await calls.say(SET_STATUS, made.owner, id=id, status="BUSY"))["status"] == "BUSY"
    for actor, code in ((clerk, "FORBIDDEN"), (stranger, "NOT_FOUND"), (ANYBODY, "UNAUTHENTICATED")):
        assert await calls.no(SET_STATUS, actor, id=id, status="CLOSED") == code
    past = (until - timedelta(hours=2)).isoformat()
    for status, bad in (("PAUSED", past), ("OPEN", until.isoformat()), ("PAUSED", "9999-01-01T00:00:00Z")):
        assert await calls.no(SET_STATUS, made.owner, id=id, status=status, until=bad) == "INVALID_INPUT"
    said = await calls.ask(SET_STATUS, made.owner, id=id, status="PAUSED", until="2026-11-21T10:00:00")
    assert said.errors  # without its offset it is no moment

    source, other = [Actor(ActorKind.SOURCE, new_id()) for _ in range(2)]
    async with engine.begin() as connection:
        elsewhere = await shop(engine)
        for actor, merchant_id, store_id in (
            (source, made.merchant_id, made.store_id),
            (other, elsewhere.merchant_id, elsewhere.store_id),
        ):
            await connection.execute(
                insert(t.source).values(id=actor.id, merchant_id=merchant_id, provider="petpooja", family=Family.POS)
            )
            linked = {"source_id": actor.id, "kind": EntityKind.STORE, "external_id": "S", "merchant_id": merchant_id}
            await connection.execute(insert(t.mapping).values(**linked, id=store_id))
    async with unit_of_work(engine) as uow:
        await set_store_status(SetStoreStatus(made.store_id, StoreStatus.CLOSED, reason="Kitchen"), source, uow)
    with pytest.raises(Refused) as no:
        async with unit_of_work(engine) as uow:
            await set_store_status(SetStoreStatus(made.store_id, StoreStatus.OPEN), other, uow)
    assert isinstance(no.value.refusal, NotFound)

    async with engine.begin() as connection:
        over = t.store.c.id == made.store_id
        ago = datetime.now(UTC) - timedelta(seconds=1)
        await connection.execute(update(t.store).where(over).values(status_until=ago, look_at=ago))
    assert (await calls.say("query($id: ID!) { store(id: $id) { status } }", id=id))["status"] == "OPEN"
    for _ in range(2):
        async with unit_of_work(engine) as uow:
            await tell_due(uow)
    async with engine.connect() as connection:
        e = t.event.c
        log = await connection.execute(select(e.body, e.seq).where(e.entity_id == made.store_id).order_by(e.id))
        assert [(row.body["said"], row.body["by"], row.seq) for row in log] == [
            ("PAUSED", "MERCHANT", 2),
            ("BUSY", "MERCHANT", 3),
            ("CLOSED", "SOURCE", 4),
            ("OPEN", "CLOCK", 5),
        ]


async def test_a_merchants_door(engine, calls):
    made = await shop(engine)
    second = await shop(engine, name="Zzz")
    document = "query($id: ID) { merchant(id: $id) { id name stores { id name } } }"
    said = await calls.say(document, made.owner)
    assert said == {"id": str(made.merchant_id), "name": "Amrit", "stores": [{"id": str(made.store_id), "name": "Amrit Bazaar"}]}
    assert await calls.no(document, made.owner, id=str(second.merchant_id)) == "NOT_FOUND"
    clerk = await member(engine, made, MerchantRole.CLERK)
    assert (await calls.say(document, clerk, id=str(made.merchant_id)))["stores"] == []
    async with engine.begin() as connection:
        both = {"merchant_id": second.merchant_id, "user_id": made.owner.id, "role": MerchantRole.MANAGER}
        await connection.execute(insert(t.merchant_member).values(**both))
    assert await calls.no(document, made.owner) == "INVALID_INPUT"
    assert (await calls.say(document, made.owner, id=str(second.merchant_id)))["stores"][0]["name"] == "Zzz"
    assert await calls.no(document, await account(engine, ActorKind.MERCHANT)) == "INVALID_INPUT"
    assert await calls.no(document, await account(engine)) == "FORBIDDEN"


async def test_products_without_a_listing_are_not_sold(engine, calls):
    made = await shop(engine)
    async with unit_of_work(engine) as uow:
        await apply_products([UpsertedProduct(None, made.merchant_id, "Ghost of a product")], uow)
    said = await calls.say('{ search(text: "ghost product") { totalCount } }')
    assert said["totalCount"] == 0


async def test_our_copy_of_a_picture_is_shown_in_the_place_of_the_sources(engine, calls, grocery):
    made, ids = grocery
    of = select(t.listing.c.product_id).where(t.listing.c.id == ids[0]).scalar_subquery()
    async with engine.begin() as connection:
        images = {"images": ["https://a.example/1.jpg", "https://a.example/2.jpg"], "copies": ["", "ab" * 32]}
        await connection.execute(update(t.product).where(t.product.c.id == of).values(images))
    nodes = (await calls.say(PAGE, id=str(made.store_id), first=50))["listings"]["nodes"]
    nodes += (await calls.say(PAGE, id=str(made.store_id), first=50, sort="PRICE_DESC"))["listings"]["nodes"]
    shown = {node["id"]: node["product"]["images"] for node in nodes}
    said = await calls.say("query($id: ID!) { listing(id: $id) { product { images } } }", id=str(ids[0]))
    assert said["product"]["images"] == ["https://a.example/1.jpg", f"/v1/images/{'ab' * 32}"]
    assert all(images == [] for id, images in shown.items() if id != str(ids[0]))
