"""What waits for a mapping, and what of ours it may be: through the doors and the API."""

from uuid import UUID

import pytest
from sqlalchemy import insert, update

from db import mappings as waiting
from db import tables as t
from db.ids import new_id
from db.reads import Reads
from domain.identity import ActorKind, MerchantRole
from domain.intake import EntityKind
from tests.api.test_failures import CONNECT, MAP, connected, statements
from tests.api.test_profiles import ACTIVATE, SAVE, Connecting
from tests.partners import snapshot
from tests.world import account, listing, member, shop

UNMAPPED = """query($merchant: ID, $source: ID, $kind: EntityKind, $first: Int, $after: String) { merchant(id: $merchant) {
    unmapped(sourceId: $source, kind: $kind, first: $first, after: $after) {
        totalCount pageInfo { hasNextPage endCursor }
        nodes { kind externalId waiting since name source { id provider }
            suggestions { id name sku barcode reasons score } } } } }"""
GOODS = {
    "events": [
        {
            "when": {"endpoint": "stock"},
            "each": "$.goods[*]",
            "command": "UpsertVariant",
            "entity_id": "code",
            "fields": {"store": "$.shop", "item": "of", "title": "called", "barcode": "ean", "quantity": "left"},
        }
    ]
}


@pytest.fixture
def desk(engine):
    return Connecting(engine)


async def good(desk, mine, name, **codes):
    """One of ours of that name; its id is its variant's, and its product's."""
    id = await listing(desk.engine, mine, 5, name=name)
    async with desk.engine.begin() as connection:
        await connection.execute(update(t.variant).where(t.variant.c.id == id).values(**codes or {"barcode": None}))
    return str(id)


async def sent(desk, said, *lines, store="ST-1"):
    url = next(one["url"] for one in said["endpoints"] if one["name"] == "stock")
    assert await desk.send(url, said["secret"], snapshot(store, *lines)) == 200


async def unmapped(desk, actor, **which):
    return (await desk.say(UNMAPPED, actor, **which))["unmapped"]


def names(page):
    return [(node["kind"], node["externalId"], node["waiting"]) for node in page["nodes"]]


async def test_what_most_waits_for_comes_first_with_what_it_may_be(desk):
    mine, _, said = await connected(desk)
    chips = await good(desk, mine, "Banana Chips", barcode="0036000291452", sku="BAN-1")
    chai = await good(desk, mine, "Masala Chai", sku="CHAI-1")
    await good(desk, mine, "Brass Lamp", sku="LAMP")
    await sent(desk, said, ("036000291452", 4, 1), ("masala-chai", 2, 1), ("TEA", 3, 1))
    await sent(desk, said, ("036000291452", 5, 2))
    page = await unmapped(desk, mine.owner)
    assert names(page) == [("VARIANT", "036000291452", 2), ("VARIANT", "masala-chai", 1)]
    assert page["totalCount"] == 2
    barcode, name = page["nodes"]
    assert (barcode["source"], barcode["name"]) == ({"id": said["source"]["id"], "provider": "wms"}, None)
    assert barcode["suggestions"] == [
        {
            "id": chips, "name": "Banana Chips", "sku": "BAN-1", "barcode": "0036000291452", "reasons": ["BARCODE"], "score": 1.0,
        }
    ]  # fmt: skip
    assert [(one["id"], one["reasons"], one["score"]) for one in name["suggestions"]] == [(chai, ["NAME"], 0.9)]

    mapped = {"source": said["source"]["id"], "kind": "VARIANT", "external": "036000291452", "id": chips}
    assert await desk.say(MAP, mine.owner, **mapped) is True
    assert names(await unmapped(desk, mine.owner)) == [("VARIANT", "masala-chai", 1)]


async def test_a_till_whose_ids_are_its_own_is_shown_who_has_such_a_sku(desk):
    mine, _, said = await connected(desk, "petpooja")
    url = next(one["url"] for one in said["endpoints"] if one["name"] == "inventory")
    told = {"restID": "ST-1", "type": "item", "inStock": False, "itemID": ["TEA"]}
    assert (await desk.client.post(url.replace("***", said["secret"]), json=told)).status_code == 200
    await desk.worker.drain()
    (node,) = (await unmapped(desk, mine.owner))["nodes"]
    assert (node["externalId"], [(one["sku"], one["reasons"]) for one in node["suggestions"]]) == ("TEA", [("TEA", ["SKU"])])


async def test_what_a_source_has_told_of_it_is_weighed_too(desk):
    mine, _, said = await connected(desk, "generic")
    id = said["source"]["id"]
    by_name = await good(desk, mine, "Jackfruit Chips 200 g")
    by_barcode = await good(desk, mine, "Something else", barcode="8901234567894")
    saved = await desk.say(SAVE, mine.owner, id=id, profile=GOODS)
    await desk.say(ACTIVATE, mine.owner, id=id, version=saved["version"])
    url = next(one["url"] for one in said["endpoints"] if one["name"] == "stock")
    told = {"code": "V-1", "of": "P-1", "called": "Jakfruit Chips 200g", "ean": "8901234567894", "left": 3}
    assert await desk.send(url, said["secret"], {"shop": "ST-1", "goods": [told]}) == 200
    page = await unmapped(desk, mine.owner)
    assert names(page) == [("PRODUCT", "P-1", 1), ("VARIANT", "V-1", 1)]
    for node in page["nodes"]:  # of the product its variant is all that is known
        assert node["name"] == "Jakfruit Chips 200g"
        assert [(one["id"], one["reasons"]) for one in node["suggestions"]] == [(by_barcode, ["BARCODE"]), (by_name, ["NAME"])]


async def unplaced(desk, provider, **columns):
    """Of whose stores nobody has said which is which."""
    mine = await shop(desk.engine, **columns)
    return mine, await desk.say(CONNECT, mine.owner, merchant=str(mine.merchant_id), provider=provider)


async def test_a_store_is_found_by_its_name(desk):
    mine, said = await unplaced(desk, "wms", name="Amrit Bazaar", city="Koramangala")
    await sent(desk, said, ("TEA", 1, 1), store="amrit-koramangala")
    (node,) = (await unmapped(desk, mine.owner, kind="STORE"))["nodes"]
    assert node["externalId"] == "amrit-koramangala"
    assert [(one["id"], one["reasons"]) for one in node["suggestions"]] == [(str(mine.store_id), ["NAME"])]


async def test_what_waits_for_any_store_has_no_id(desk):
    mine, said = await unplaced(desk, "generic")
    nowhere = {"events": [{**GOODS["events"][0], "command": "UpdateStockLevel", "fields": {"quantity": "left"}}]}
    saved = await desk.say(SAVE, mine.owner, id=said["source"]["id"], profile=nowhere)
    await desk.say(ACTIVATE, mine.owner, id=said["source"]["id"], version=saved["version"])
    url = next(one["url"] for one in said["endpoints"] if one["name"] == "stock")
    assert await desk.send(url, said["secret"], {"goods": [{"code": "TEA", "left": 1}]}) == 200
    (node,) = (await unmapped(desk, mine.owner))["nodes"]
    assert (node["kind"], node["externalId"], node["waiting"], node["suggestions"]) == ("STORE", None, 1, [])


async def test_it_is_narrowed_by_source_and_kind_and_paged_without_repeating(desk):
    mine, _, said = await connected(desk)
    for n in range(3):
        await sent(desk, said, *((f"NEW-{m}", 9, n) for m in range(n, 9)))
    await sent(desk, said, ("TEA", 1, 1), store="ST-7")
    seen, after = [], None
    while True:
        page = await unmapped(desk, mine.owner, source=said["source"]["id"], kind="VARIANT", first=4, after=after)
        seen += names(page)
        after = page["pageInfo"]["endCursor"]
        if not page["pageInfo"]["hasNextPage"]:
            break
    assert seen == [("VARIANT", f"NEW-{m}", count) for m, count in [*((m, 3) for m in range(2, 9)), (1, 2), (0, 1)]]
    assert names(await unmapped(desk, mine.owner, kind="STORE")) == [("STORE", "ST-7", 1)]
    other = await connected(desk)
    assert (await unmapped(desk, mine.owner, source=other[2]["source"]["id"]))["nodes"] == []
    assert await desk.no(UNMAPPED, mine.owner, after="x") == "INVALID_INPUT"
    assert await desk.no(UNMAPPED, mine.owner, first=0) == "INVALID_INPUT"


async def test_a_page_costs_the_same_statements_however_long_it_is(desk):
    mine, _, said = await connected(desk)
    await good(desk, mine, "New 1", barcode="8901234567894")
    await sent(desk, said, *((f"NEW-{n}", 9, 1) for n in range(12)))
    counts = []
    for first in (1, 12):
        with statements(desk.engine) as run:
            page = await unmapped(desk, mine.owner, first=first)
        assert len(page["nodes"]) == first
        counts.append(len(run))
    assert counts[0] == counts[1]


async def test_another_merchants_and_a_clerks_are_not_there(desk):
    mine, _, said = await connected(desk)
    await sent(desk, said, ("ITS-TEA", 9, 1))
    stranger, clerk = (await shop(desk.engine)).owner, await member(desk.engine, mine, MerchantRole.CLERK, [mine.store_id])
    assert await desk.no(UNMAPPED, stranger, merchant=str(mine.merchant_id)) == "NOT_FOUND"
    assert (await unmapped(desk, clerk))["nodes"] == []
    assert (await unmapped(desk, stranger, source=said["source"]["id"]))["nodes"] == []


async def test_ours_of_another_merchant_are_no_suggestion(desk):
    mine, _, said = await connected(desk)
    another = await shop(desk.engine)
    await good(desk, another, "Its Tea", barcode="8901234567894", sku="8901234567894")
    await sent(desk, said, ("8901234567894", 9, 1))
    (node,) = (await unmapped(desk, mine.owner))["nodes"]
    assert node["suggestions"] == []


async def test_many_stores_and_choices_of_one_merchant_hide_none_of_another(desk, monkeypatch):
    """Asked about together, as support does."""
    monkeypatch.setattr(waiting, "STORES_WEIGHED", 2)
    monkeypatch.setattr(waiting, "CHOICES_WEIGHED", 2)
    keys, meant = [], {}
    for prefix in ("A", "Z"):
        mine, _, said = await connected(desk)
        group, ids = new_id(), [new_id() for _ in range(4)]
        place = {"merchant_id": mine.merchant_id, "store_id": mine.store_id}
        async with desk.engine.begin() as connection:
            await connection.execute(update(t.store).where(t.store.c.id == mine.store_id).values(name=f"{prefix} Main Street"))
            more = [
                {"id": new_id(), "merchant_id": mine.merchant_id, "slug": f"{prefix}-{new_id()}", "name": f"{prefix} Old Road {n}"}
                | {"city": "Pune", "lat": 18.5, "lng": 73.8}
                for n in range(3)
            ]
            await connection.execute(insert(t.store), more if prefix == "A" else more[:1])
            await connection.execute(insert(t.modifier_group).values(id=group, external_id="G", name="Extras", **place))
            names = ["Cheese", "Olives", "Onions", "Peppers"][: 4 if prefix == "A" else 2]
            choices = [
                {"id": id, "group_id": group, "external_id": f"{prefix}{n}", "name": name, "currency": "INR", **place}
                for n, (id, name) in enumerate(zip(ids, names, strict=False))
            ]
            await connection.execute(insert(t.modifier), choices)
        source_id = UUID(said["source"]["id"])
        store = waiting.Key(source_id, EntityKind.STORE, "main-street")
        choice = waiting.Key(source_id, EntityKind.MODIFIER, "olives")
        keys += [store, choice]
        meant |= {store: mine.store_id, choice: ids[1]}
    support = await account(desk.engine, ActorKind.SUPPORT)
    found = {one.key: one for one in await waiting.suggested(Reads(desk.engine), support, keys)}
    assert {key: found[key].suggestions[0].id for key in keys} == meant
