"""How a source's calls show whose they are: set, read and changed through the API, and heeded at the doors."""

import json
import logging
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from sqlalchemy import insert, select

from db import tables as t
from db.ids import new_id
from domain.identity import MerchantRole
from domain.proofs import Proof, Signed, Strategy, prove
from tests.api.test_failures import URL, Desk, support
from tests.db.test_purchases import placed, quoted, the_order
from tests.partners import snapshot
from tests.world import Shop, account, listing, member, shop

PROOF = """strategy header prefix encoding algorithm signed timestampHeader timestampField idHeader username"""
CONNECT = f"""mutation($merchant: ID!, $provider: String!, $secret: String, $proof: SourceProofInput) {{
    connectSource(merchantId: $merchant, provider: $provider, secret: $secret, proof: $proof) {{
        secret endpoints {{ name url }} source {{ id ipAllow proof {{ {PROOF} }} endpoints {{ url }} }} }} }}"""
ROTATE = """mutation($id: ID!, $secret: String, $from: DateTime, $grace: Int) {
    rotateSourceSecret(sourceId: $id, secret: $secret, notBefore: $from, graceMinutes: $grace) { secret endpoints { url } } }"""
SET = f"""mutation($id: ID!, $enabled: Boolean, $ipAllow: [String!], $proof: SourceProofInput) {{
    setSource(sourceId: $id, enabled: $enabled, ipAllow: $ipAllow, proof: $proof) {{
        id enabled ipAllow proof {{ {PROOF} }} endpoints {{ url }} }} }}"""
USUAL = "mutation($id: ID!) { setSource(sourceId: $id, proof: null) { proof { strategy } } }"
MAKES = "mutation($id: ID!, $may: Boolean) { setSource(sourceId: $id, mayCreate: $may) { mayCreate enabled } }"
TOLD = "mutation($id: ID!, $on: Boolean) { setSource(sourceId: $id, toldOrders: $on) { toldOrders enabled } }"
UNTOLD = """query($merchant: ID!) { merchant(id: $merchant) { sources { id
    untold { waiting since pausedUntil message news { orderNumber news attempts parked message } } } } }"""
ACCESS = """mutation($id: ID!, $url: String!, $credentials: [CredentialInput!]!) {
    setSourceAccess(sourceId: $id, baseUrl: $url, credentials: $credentials) { toldOrders } }"""
SQUARE_KEY = "a-signature-key-of-squares"
SQUARE = {"strategy": "HMAC_HEADER", "header": "X-Square-HmacSha256-Signature", "signed": "URL_BODY"}
SQUARES = Proof(Strategy.HMAC_HEADER, "x-square-hmacsha256-signature", signed=Signed.URL_BODY)


@pytest.fixture
def desk(engine):
    return Desk(engine)


@pytest.fixture
async def mine(engine) -> Shop:
    return await shop(engine)


async def connect(desk, mine, provider="wms", **given):
    return await desk.say(CONNECT, mine.owner, merchant=str(mine.merchant_id), provider=provider, **given)


async def problems(desk, document, actor, **variables):
    """The paths of what is wrong."""
    said = await desk.ask(document, actor, **variables)
    (error,) = said.errors
    assert error.extensions["code"] == "INVALID_INPUT", error
    return [one["path"] for one in error.extensions["problems"]]


async def test_a_secret_that_the_provider_has_made_is_heeded_and_not_shown(engine, desk, mine, caplog):
    caplog.set_level(logging.DEBUG)
    said = await connect(desk, mine, secret=SQUARE_KEY, proof=SQUARE)
    assert said["secret"] == "***"
    assert said["source"]["proof"] == {
        "strategy": "HMAC_HEADER",
        "header": "x-square-hmacsha256-signature",
        "prefix": "",
        "encoding": "BASE64",
        "algorithm": "SHA256",
        "signed": "URL_BODY",
        "timestampHeader": "",
        "timestampField": "",
        "idHeader": "",
        "username": "",
    }
    path = said["endpoints"][0]["url"].removeprefix(URL)
    body = json.dumps(snapshot("ST-1", ("TEA", 1, 1))).encode()
    for key, status in ((SQUARE_KEY, 200), (SQUARE_KEY + "s", 401)):
        headers = prove(SQUARES, key, mine.store_id, path, body, datetime.now(UTC))  # signed as our door knows its URL: bare
        assert (await desk.client.post(path, content=body, headers=headers)).status_code == status
    told = await desk.say(ROTATE, mine.owner, id=said["source"]["id"], secret=SQUARE_KEY + "-new")
    assert SQUARE_KEY not in json.dumps([said, told]) + caplog.text


async def test_the_same_secret_may_be_given_to_many_sources_and_twice_to_one(engine, desk, mine):
    """One app of Shopify's has one secret, in however many shops it is."""
    one, other = [await connect(desk, owner, secret=SQUARE_KEY, proof=SQUARE) for owner in (mine, await shop(engine))]
    assert one["source"]["id"] != other["source"]["id"]
    assert (await desk.say(ROTATE, mine.owner, id=one["source"]["id"], secret=SQUARE_KEY))["secret"] == "***"


async def test_what_is_no_secret_is_refused_and_not_repeated(engine, desk, mine):
    at = {"merchant": str(mine.merchant_id), "provider": "wms"}
    given = [("tooshort-1234", SQUARE), ("x" * 513, SQUARE), (" blanks-around-me ", SQUARE), ("tab\tin-the-middle-of", SQUARE)]
    given += [("schlüssel-mit-umlaut", SQUARE), ("no-standard-webhooks-secret", None), ("whsec_c2hvcnQ=", None)]
    for secret, proof in given:
        assert await problems(desk, CONNECT, mine.owner, **at, secret=secret, proof=proof) == ["secret"]
        said = await desk.ask(CONNECT, mine.owner, **at, secret=secret, proof=proof)
        assert secret.strip() not in str(said.errors)
    url = {**at, "provider": "petpooja"}
    assert await problems(desk, CONNECT, mine.owner, **url, secret="as-long-as-it-has-to-be") == ["secret"]
    s = t.source.c
    assert not await desk.reads.rows(select(s.id).where(s.merchant_id == mine.merchant_id))


async def test_all_that_is_wrong_with_a_proof_is_told_at_once(engine, desk, mine):
    said = await connect(desk, mine)
    wrong = {"strategy": "HMAC_HEADER", "header": "two words", "signed": "ID_TIMESTAMP_BODY", "prefix": "\n"}
    expected = ["proof.header", "proof.prefix", "proof.timestampHeader", "proof.idHeader"]
    assert await problems(desk, SET, mine.owner, id=said["source"]["id"], proof=wrong) == expected
    at = {"merchant": str(mine.merchant_id), "provider": "wms"}
    assert await problems(desk, CONNECT, mine.owner, **at, proof=wrong) == expected
    tokens = {"strategy": "BEARER_ISSUED"}  # which nobody could ask for
    assert await problems(desk, SET, mine.owner, id=said["source"]["id"], proof=tokens) == ["proof.strategy"]
    assert await problems(desk, CONNECT, mine.owner, **at, proof=tokens) == ["proof.strategy"]


async def test_a_secret_is_rotated_for_a_moment_to_come_and_the_old_one_kept_for_minutes(engine, desk, mine):
    said = await connect(desk, mine)
    id, later = said["source"]["id"], datetime.now(UTC) + timedelta(days=2)
    await desk.say(ROTATE, mine.owner, id=id, **{"from": later.isoformat()}, grace=10)
    s = t.source_secret.c
    old, new = await desk.reads.rows(select(s.not_before, s.not_after).where(s.source_id == id).order_by(s.id))
    assert (new.not_before, new.not_after) == (later, None)
    assert old.not_after == later + timedelta(minutes=10)
    for grace in (-1, 30 * 24 * 60 + 1, 2**31 - 1):
        assert await problems(desk, ROTATE, mine.owner, id=id, grace=grace) == ["graceMinutes"]
    far = (datetime.now(UTC) + timedelta(days=31)).isoformat()
    assert await problems(desk, ROTATE, mine.owner, id=id, **{"from": far}) == ["notBefore"]


async def test_a_source_is_set_and_what_is_not_said_stays(engine, desk, mine):
    said = await connect(desk, mine)
    id = said["source"]["id"]
    networks = ["10.1.0.0/16", " 192.0.2.7", "2001:db8::/32", "10.1.0.0/16"]
    source = await desk.say(SET, mine.owner, id=id, ipAllow=networks)
    assert source["ipAllow"] == ["10.1.0.0/16", "192.0.2.7/32", "2001:db8::/32"]
    source = await desk.say(SET, await support(engine), id=id, enabled=False)
    assert (source["enabled"], len(source["ipAllow"])) == (False, 3)
    source = await desk.say(SET, mine.owner, id=id, enabled=True, ipAllow=[], proof={"strategy": "URL_TOKEN"})
    assert (source["enabled"], source["ipAllow"], source["proof"]["strategy"]) == (True, [], "URL_TOKEN")
    assert f"{URL}/v1/integrations/erp/wms/***/webhooks/stock" in [one["url"] for one in source["endpoints"]]
    new = await desk.say(ROTATE, mine.owner, id=id)
    assert new["endpoints"][0]["url"].startswith(f"{URL}/v1/integrations/erp/wms/{new['secret']}/")
    assert (await desk.say(SET, mine.owner, id=id))["proof"]["strategy"] == "URL_TOKEN"
    assert (await desk.say(USUAL, mine.owner, id=id))["proof"]["strategy"] == "STANDARD_WEBHOOKS"
    a = t.audit.c
    told = await desk.reads.rows(select(a.detail).where(a.subject == id, a.action == "setSource").order_by(a.id))
    assert [row.detail for row in told] == [
        "from 10.1.0.0/16, 192.0.2.7/32, 2001:db8::/32",
        "disabled",
        "enabled; from anywhere; proof URL_TOKEN BASE64 SHA256 BODY",
        "proof as usual",
    ]


async def test_a_source_may_make_goods_until_somebody_says_otherwise(engine, desk, mine):
    id = (await connect(desk, mine))["source"]["id"]
    assert await desk.say(MAKES, mine.owner, id=id) == {"mayCreate": True, "enabled": True}
    assert await desk.say(MAKES, mine.owner, id=id, may=False) == {"mayCreate": False, "enabled": True}
    assert await desk.say(MAKES, mine.owner, id=id) == {"mayCreate": False, "enabled": True}
    assert await desk.say(MAKES, await support(engine), id=id, may=True) == {"mayCreate": True, "enabled": True}
    a = t.audit.c
    told = await desk.reads.rows(select(a.detail).where(a.subject == id, a.action == "setSource").order_by(a.id))
    assert [row.detail for row in told] == ["may not create", "may create"]


async def test_a_source_is_told_of_orders_where_somebody_has_said_where(engine, desk, mine):
    said = await connect(desk, mine, provider="urbanpiper")
    id, other = said["source"]["id"], (await connect(desk, mine, provider="till"))["source"]["id"]
    assert await desk.no(TOLD, mine.owner, id=id, on=True) == "CONFLICT"
    assert await problems(desk, TOLD, mine.owner, id=other, on=True) == ["toldOrders"]
    keys = [{"name": name, "value": value} for name, value in (("biz_id", "77"), ("header", "x-till"), ("value", "a-token"))]
    assert await problems(desk, ACCESS, mine.owner, id=id, url="https://till.example", credentials=keys[:2]) == ["credentials"]
    assert await problems(desk, ACCESS, mine.owner, id=other, url="https://till.example", credentials=keys) == ["sourceId"]
    access = await desk.say(ACCESS, mine.owner, id=id, url="https://till.example", credentials=keys)
    assert access == {"toldOrders": False}
    assert await desk.say(TOLD, mine.owner, id=id, on=True) == {"toldOrders": True, "enabled": True}
    assert await desk.say(TOLD, mine.owner, id=id) == {"toldOrders": True, "enabled": True}
    clerk = await member(engine, mine, MerchantRole.CLERK, [mine.store_id])
    assert await desk.no(TOLD, clerk, id=id, on=False) == "NOT_FOUND"
    assert await desk.say(TOLD, await support(engine), id=id, on=False) == {"toldOrders": False, "enabled": True}


async def test_what_a_till_has_still_to_be_told_is_shown_with_why(engine, desk, mine):
    said = await connect(desk, mine, provider="urbanpiper")
    id, other = said["source"]["id"], (await connect(desk, mine, provider="till"))["source"]["id"]
    customer, tea = await account(engine), await listing(engine, mine, 50)
    orders = []
    for _ in range(2):
        purchase_id = await placed(engine, customer, await quoted(engine, customer, (tea, 2)), key=f"k{len(orders)}")
        orders.append(await the_order(desk.reads, customer, purchase_id))
    later = datetime.now(UTC) + timedelta(minutes=1)
    base = {"source_id": UUID(id), "merchant_id": mine.merchant_id, "try_for": timedelta(minutes=8)}
    news = [
        {"order_id": orders[0].id, "news": "PLACED", "pos": 7, "attempts": 2, "message": "it answers HTTP 502", "parked": False},
        {"order_id": orders[0].id, "news": "ACCEPTED", "pos": 9, "attempts": 0, "message": None, "parked": False},
        {"order_id": orders[1].id, "news": "PLACED", "pos": 8, "attempts": 0, "message": "not mapped", "parked": True},
        {"order_id": orders[1].id, "news": "CANCELLED", "pos": 6, "attempts": 1, "message": None, "parked": False, "state": "TOLD"},
    ]
    async with engine.begin() as connection:
        await connection.execute(insert(t.source_telling).values(source_id=UUID(id), next_at=later, failed=5, message="gone"))
        for one in news:
            await connection.execute(insert(t.telling).values(**base, id=new_id(), **one))
    found = await desk.say(UNTOLD, mine.owner, merchant=str(mine.merchant_id))
    by_id = {one["id"]: one["untold"] for one in found["sources"]}
    assert by_id[other] == {"waiting": 0, "since": None, "pausedUntil": None, "message": None, "news": []}
    assert (by_id[id]["waiting"], by_id[id]["message"]) == (3, "gone")
    assert datetime.fromisoformat(by_id[id]["pausedUntil"]) == later
    first, second = orders[0].number, orders[1].number
    assert [tuple(one.values()) for one in by_id[id]["news"]] == [
        (first, "PLACED", 2, False, "it answers HTTP 502"),
        (second, "PLACED", 0, True, "not mapped"),
        (first, "ACCEPTED", 0, False, None),
    ]
    clerk = await member(engine, mine, MerchantRole.CLERK, [mine.store_id])
    assert (await desk.say(UNTOLD, clerk, merchant=str(mine.merchant_id)))["sources"] == []


async def test_networks_that_are_none_are_refused_each_by_its_place(engine, desk, mine):
    said = await connect(desk, mine)
    wrong = ["10.1.0.0/16", "10.1.2.3/16", "300.1.1.1", "", "example.com", "10.0.0.0/33", "::1/64"]
    paths = await problems(desk, SET, mine.owner, id=said["source"]["id"], ipAllow=wrong)
    assert paths == [f"ipAllow.{index}" for index in range(1, 7)]
    many = [f"10.0.{n}.0/24" for n in range(101)]
    assert await problems(desk, SET, mine.owner, id=said["source"]["id"], ipAllow=many) == ["ipAllow"]


async def test_a_strangers_and_a_clerks_source_is_not_there(engine, desk, mine):
    said = await connect(desk, mine)
    stranger, clerk = (await shop(engine)).owner, await member(engine, mine, MerchantRole.CLERK, [mine.store_id])
    for actor in (stranger, clerk):
        assert await desk.no(SET, actor, id=said["source"]["id"], enabled=False) == "NOT_FOUND"
        assert await desk.no(ROTATE, actor, id=said["source"]["id"], secret=SQUARE_KEY) == "NOT_FOUND"
    assert (await desk.say(SET, mine.owner, id=said["source"]["id"]))["enabled"] is True
