"""Who is believed, and what others claim: through the API, as a merchant's people see it."""

import pytest
from sqlalchemy import select

from db import tables as t
from domain.identity import ActorKind, MerchantRole
from tests.api.test_failures import Desk, connected, statements, urls
from tests.partners import snapshot
from tests.world import account, listings, member, shop

RULES = """mutation($merchant: ID!, $rules: [SourceOfTruthInput!]!) { setSourcesOfTruth(merchantId: $merchant, rules: $rules) {
    field setAt store { id } source { id provider enabled endpoints { url } proof { header } } } }"""
MINE = """query($id: ID, $store: ID) { merchant(id: $id) {
    sourcesOfTruth(storeId: $store) { field store { id } source { provider } } sources { provider } } }"""
CONFLICT = "id field state times claimed stands firstAt lastAt store { id } listing { sku } source { provider } owner { provider }"
CONFLICTS = f"""query($id: ID, $store: ID, $source: ID, $field: TruthField, $state: ConflictState, $first: Int, $after: String) {{
    merchant(id: $id) {{ conflicts(
        storeId: $store, sourceId: $source, field: $field, state: $state, first: $first, after: $after
    ) {{ totalCount pageInfo {{ hasNextPage endCursor }} nodes {{ {CONFLICT} }} }} }} }}"""
RESOLVE = f"""mutation($id: ID!, $how: ConflictResolution!) {{ resolveConflict(id: $id, resolution: $how) {{ {CONFLICT} }} }}"""
SUPPORT = f"query($merchant: ID) {{ support {{ conflicts(merchantId: $merchant) {{ nodes {{ {CONFLICT} }} }} }} }}"
COUNT = "mutation($id: ID!, $units: Int!) { setStock(listingId: $id, onHand: $units) { onHand source } }"
PRICE = "mutation($id: ID!, $price: Decimal!) { setPrice(listingId: $id, price: $price) { price { amount } } }"
SHELF = "query($store: ID!) { merchant { stock(storeId: $store) { nodes { onHand source priceSource { provider } } } } }"


@pytest.fixture
def desk(engine):
    return Desk(engine)


def rule(mine, field, **who):
    return {"storeId": str(mine.store_id), "field": field, **who}


async def rules(desk, mine, *told, actor=None):
    return await desk.say(RULES, actor or mine.owner, merchant=str(mine.merchant_id), rules=list(told))


async def test_rules_are_set_and_seen_and_taken_back(desk):
    mine, _, said = await connected(desk)
    source_id = said["source"]["id"]
    stock, price = await rules(desk, mine, rule(mine, "STOCK", sourceId=source_id), rule(mine, "PRICE", dashboard=True))
    if stock["field"] != "STOCK":
        stock, price = price, stock
    assert (stock["source"]["id"], stock["store"]["id"]) == (source_id, str(mine.store_id))
    assert price["source"] | {"id": ""} == {"id": "", "provider": "dashboard", "enabled": True, "endpoints": [], "proof": None}
    seen = await desk.say(MINE, mine.owner, store=str(mine.store_id))
    assert {one["field"]: one["source"]["provider"] for one in seen["sourcesOfTruth"]} == {"STOCK": "wms", "PRICE": "dashboard"}
    assert seen["sources"] == [{"provider": "wms"}]  # the dashboard is nothing to connect
    [left] = await rules(desk, mine, rule(mine, "STOCK"))
    assert left["field"] == "PRICE"


async def test_a_hand_that_is_not_believed_is_told_who_is(desk):
    mine, id, said = await connected(desk)
    await rules(desk, mine, rule(mine, "STOCK", sourceId=said["source"]["id"]))
    answer = await desk.ask(COUNT, mine.owner, id=str(id), units=3)
    [error] = answer.errors
    assert error.message == "wms is believed about the stock of this store"
    told = {name: value for name, value in error.extensions.items() if name != "correlationId"}
    assert told == {
        "code": "CONFLICT",
        "refusal": "NOT_SOURCE_OF_TRUTH",
        "believed": {"field": "STOCK", "sourceId": said["source"]["id"], "provider": "wms"},
    }


async def test_conflicts_are_paged_narrowed_and_resolved(engine, desk):
    mine, id, said = await connected(desk)
    more = await listings(engine, mine, [1, 2, 3, 4])
    await rules(desk, mine, rule(mine, "STOCK", dashboard=True))
    lines = [("TEA", 42, 1), *((f"SKU-{one}", 50, 1) for one in more)]
    assert await desk.send(urls(said)["stock"], said["secret"], snapshot("ST-1", *lines)) == 200
    assert await desk.send(urls(said)["stock"], said["secret"], snapshot("ST-1", ("TEA", 43, 2))) == 200
    costs, seen, after = [], [], None
    for first in (1, 4):
        with statements(engine) as run:
            page = (await desk.say(CONFLICTS, mine.owner, state="OPEN", first=first, after=after))["conflicts"]
        costs.append(len(run))
        seen += page["nodes"]
        after = page["pageInfo"]["endCursor"]
    assert costs[0] == costs[1]
    assert (page["totalCount"], page["pageInfo"]["hasNextPage"], len({one["id"] for one in seen})) == (5, False, 5)
    [tea] = [one for one in seen if one["listing"]["sku"] == "TEA"]
    assert {name: tea[name] for name in ("field", "state", "times", "claimed", "stands", "source", "owner")} == {
        "field": "STOCK", "state": "OPEN", "times": 2, "claimed": "43", "stands": "5",
        "source": {"provider": "wms"}, "owner": {"provider": "dashboard"},
    }  # fmt: skip
    narrowed = {"store": str(mine.store_id), "source": said["source"]["id"], "field": "STOCK", "state": "OPEN"}
    for name, value in {"field": "PRICE", "state": "TAKEN", "source": str(id), "store": str(id)}.items():
        assert (await desk.say(CONFLICTS, mine.owner, **{**narrowed, name: value}))["conflicts"]["totalCount"] == 0
    assert (await desk.say(CONFLICTS, mine.owner, **narrowed))["conflicts"]["totalCount"] == 5

    taken = await desk.say(RESOLVE, mine.owner, id=tea["id"], how="TAKE_THEIRS")
    assert taken["state"] == "TAKEN"
    level = t.stock_level.c
    assert await desk.reads.value(select(level.on_hand).where(level.listing_id == id)) == 43
    other = next(one for one in seen if one["id"] != tea["id"])
    assert (await desk.say(RESOLVE, mine.owner, id=other["id"], how="DISMISS"))["state"] == "DISMISSED"
    assert await desk.no(RESOLVE, mine.owner, id=tea["id"], how="DISMISS") == "CONFLICT"
    assert (await desk.say(CONFLICTS, mine.owner, state="OPEN"))["conflicts"]["totalCount"] == 3
    assert (await desk.say(CONFLICTS, mine.owner, state=None))["conflicts"]["totalCount"] == 5


async def test_support_sees_and_decides_what_a_merchant_does(engine, desk):
    support = await account(engine, ActorKind.SUPPORT)
    ids = []
    for units in (42, 43):
        mine, _, said = await connected(desk)
        set_by_them = {"merchant": str(mine.merchant_id), "rules": [rule(mine, "STOCK", dashboard=True)]}
        assert await desk.say(RULES, support, **set_by_them)
        await desk.send(urls(said)["stock"], said["secret"], snapshot("ST-1", ("TEA", units, 1)))
        [conflict] = (await desk.say(CONFLICTS, mine.owner, id=str(mine.merchant_id), state="OPEN"))["conflicts"]["nodes"]
        ids.append(conflict["id"])
    seen = (await desk.say(SUPPORT, support))["conflicts"]["nodes"]
    assert [one["id"] for one in seen][:2] == [ids[1], ids[0]]  # whoever's, the newest first
    [theirs] = (await desk.say(SUPPORT, support, merchant=str(mine.merchant_id)))["conflicts"]["nodes"]
    assert (theirs["id"], theirs["claimed"]) == (ids[1], "43")
    assert (await desk.say(RESOLVE, support, id=ids[1], how="TAKE_THEIRS"))["state"] == "TAKEN"
    assert (await desk.say(SUPPORT, support, merchant=str(mine.merchant_id)))["conflicts"]["nodes"] == []


async def test_a_clerk_and_a_stranger_see_none_of_it(engine, desk):
    mine, _, said = await connected(desk)
    await rules(desk, mine, rule(mine, "STOCK", dashboard=True))
    await desk.send(urls(said)["stock"], said["secret"], snapshot("ST-1", ("TEA", 42, 1)))
    [conflict] = (await desk.say(CONFLICTS, mine.owner, state="OPEN"))["conflicts"]["nodes"]
    clerk, stranger = await member(engine, mine, MerchantRole.CLERK, [mine.store_id]), (await shop(engine)).owner
    told = {"merchant": str(mine.merchant_id), "rules": [rule(mine, "PRICE", dashboard=True)]}
    assert (await desk.no(RULES, clerk, **told), await desk.no(RULES, stranger, **told)) == ("FORBIDDEN", "NOT_FOUND")
    for actor in (clerk, stranger):
        assert await desk.no(RESOLVE, actor, id=conflict["id"], how="TAKE_THEIRS") == "NOT_FOUND"
    assert (await desk.say(CONFLICTS, clerk, state="OPEN"))["conflicts"]["nodes"] == []
    assert (await desk.say(MINE, clerk))["sourcesOfTruth"] == []
    assert await desk.no(CONFLICTS, stranger, id=str(mine.merchant_id)) == "NOT_FOUND"


async def test_whose_price_it_is_has_one_answer(engine, desk):
    mine, id, said = await connected(desk)

    async def shelf(actor=mine.owner):
        [one] = (await desk.say(SHELF, actor, store=str(mine.store_id)))["stock"]["nodes"]
        return one

    assert (await shelf())["priceSource"] is None  # made by no command
    told = {"type": "price.updated", "data": {"location": "ST-1", "sku": "TEA", "price": "44.00", "version": 1}}
    assert await desk.send(urls(said)["stock"], said["secret"], told) == 200
    assert (await shelf())["priceSource"] == {"provider": "wms"}
    await desk.say(PRICE, mine.owner, id=str(id), price="45.00")
    await desk.say(COUNT, mine.owner, id=str(id), units=6)
    one = await shelf()
    s = t.source.c
    dashboard = await desk.reads.value(select(s.id).where(s.merchant_id == mine.merchant_id, s.provider == "dashboard"))
    assert (one["priceSource"], one["source"]) == ({"provider": "dashboard"}, f"source:{dashboard}")
    clerk = await member(engine, mine, MerchantRole.CLERK, [mine.store_id])
    assert (await shelf(clerk))["priceSource"] is None
