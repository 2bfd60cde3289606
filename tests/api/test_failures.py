"""Connecting a provider, seeing what it sent and what went wrong, and putting it right: through the API and the doors."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime

import pytest
from sqlalchemy import event as listening
from sqlalchemy import select, update

from db import tables as t
from db.ids import new_id
from db.reads import Reads
from db.unit_of_work import unit_of_work
from domain.identity import Actor, ActorKind, MerchantRole
from domain.signatures import secret_bytes, sign
from resolvers.loaders import Loaders
from schema.api import schema
from schema.roots import Api
from tests.callers import ports
from tests.partners import INBOUNDS, SEALS, client_of, snapshot, worker_of
from tests.world import account, listing, member, shop
from webhooks.intake import Door
from wiring import OUTBOUNDS

URL = "http://haat.test"
CONNECT = """mutation($merchant: ID!, $provider: String!) { connectSource(merchantId: $merchant, provider: $provider) {
    secret endpoints { name url } source { id provider enabled endpoints { name url } merchant { id } } } }"""
ROTATE = "mutation($id: ID!) { rotateSourceSecret(sourceId: $id) { secret endpoints { name url } source { id } } }"
MAP = """mutation($source: ID!, $kind: EntityKind!, $external: String!, $id: ID!) {
    mapExternalId(sourceId: $source, kind: $kind, externalId: $external, id: $id) }"""
REPLAY = "mutation($ids: [ID!]!) { replayFailures(ids: $ids) { id state replays } }"
RESOLVE = """mutation($id: ID!, $state: FailureState!, $note: String!) {
    resolveFailure(id: $id, state: $state, note: $note) { id state } }"""
FAILURE = """id kind state message replays at payload { id provider door state headers body source { id }
    instructions { nodes { command entity state attempts failure { id } } } } instruction { id command entity state }"""
MINE = f"""query($id: ID, $state: FailureState, $kind: FailureKind, $first: Int, $after: String) {{ merchant(id: $id) {{
    sources {{ id provider received failed lastSeenAt endpoints {{ name url }} }}
    failures(state: $state, kind: $kind, first: $first, after: $after) {{
        totalCount pageInfo {{ hasNextPage endCursor }} nodes {{ {FAILURE} }} }} }} }}"""
DESK = f"""query($merchant: ID, $provider: String) {{ support {{
    sources(merchantId: $merchant, provider: $provider) {{ id }}
    failures(merchantId: $merchant, provider: $provider) {{ nodes {{ {FAILURE} }} }} }} }}"""


class Desk:
    """Who calls the API, and the doors beside it."""

    def __init__(self, engine):
        self.engine, self.reads = engine, Reads(engine)
        self.ports = ports(self.reads, inbounds=INBOUNDS, outbounds=OUTBOUNDS, url=URL, seals=SEALS)
        self.client = client_of(Door(INBOUNDS, self.reads, lambda: unit_of_work(engine), SEALS))
        self.worker = worker_of(engine)

    async def ask(self, document, actor, **variables):
        context = Api(actor, self.reads, lambda: unit_of_work(self.engine), Loaders(self.reads, actor), self.ports, hub=None)
        return await schema.execute(document, variables, context_value=context)

    async def say(self, document, actor, **variables):
        said = await self.ask(document, actor, **variables)
        assert said.errors is None, said.errors
        return next(iter(said.data.values()))

    async def no(self, document, actor, **variables):
        said = await self.ask(document, actor, **variables)
        (error,) = said.errors
        return error.extensions["code"]

    async def send(self, url, secret, body):
        raw = json.dumps(body).encode()
        id, now = str(new_id()), int(datetime.now(UTC).timestamp())
        headers = {"webhook-id": id, "webhook-timestamp": str(now), "webhook-signature": sign(secret_bytes(secret), id, now, raw)}
        answer = await self.client.post(url, content=raw, headers=headers)
        await self.worker.drain()
        return answer.status_code


@pytest.fixture
def desk(engine):
    return Desk(engine)


async def support(engine):
    return Actor(ActorKind.SUPPORT, (await account(engine)).id)


def urls(said):
    return {one["name"]: one["url"] for one in said["endpoints"]}


async def connected(desk, provider="wms"):
    """A shop with one counted listing of SKU TEA, and the provider connected and mapped to its store as ST-1."""
    mine = await shop(desk.engine)
    id = await listing(desk.engine, mine, 5)
    async with desk.engine.begin() as connection:
        await connection.execute(update(t.variant).where(t.variant.c.id == id).values(sku="TEA"))
    said = await desk.say(CONNECT, mine.owner, merchant=str(mine.merchant_id), provider=provider)
    mapped = {"source": said["source"]["id"], "kind": "STORE", "external": "ST-1", "id": str(mine.store_id)}
    assert await desk.say(MAP, mine.owner, **mapped) is True
    return mine, id, said


async def test_a_provider_is_connected_once_and_its_secret_shown_once(engine, desk):
    mine, id, said = await connected(desk)
    assert (said["source"]["merchant"]["id"], said["source"]["enabled"]) == (str(mine.merchant_id), True)
    assert urls(said)["stock"] == f"{URL}/v1/integrations/erp/wms/webhooks/stock?source={said['source']['id']}"
    assert await desk.send(urls(said)["stock"], said["secret"], snapshot("ST-1", ("TEA", 42, 1))) == 200
    assert await desk.send(urls(said)["stock"], said["secret"], {"type": "?"}) == 400
    level = t.stock_level.c
    assert await desk.reads.value(select(level.on_hand).where(level.listing_id == id)) == 42
    (source,) = (await desk.say(MINE, mine.owner))["sources"]
    assert (source["received"], source["failed"], source["lastSeenAt"] is not None) == (2, 1, True)
    assert said["secret"] not in json.dumps(await desk.say(MINE, mine.owner))


async def test_where_the_url_is_the_secret_it_is_masked_from_then_on(engine, desk):
    _, _, said = await connected(desk, "petpooja")
    assert urls(said)["menu"] == f"{URL}/v1/integrations/pos/petpooja/{said['secret']}/webhooks/menu"
    assert urls(said["source"])["menu"] == f"{URL}/v1/integrations/pos/petpooja/***/webhooks/menu"
    told = {"restID": "ST-1", "store_status": "0"}
    assert (await desk.client.post(urls(said)["store-status"], json=told)).json()["status"] == "success"


async def test_a_second_secret_is_good_beside_the_first(engine, desk):
    mine, _, said = await connected(desk)
    new = await desk.say(ROTATE, mine.owner, id=said["source"]["id"])
    assert new["secret"] != said["secret"]
    for n, secret in enumerate((said["secret"], new["secret"])):
        assert await desk.send(urls(new)["stock"], secret, snapshot("ST-1", ("TEA", n, n))) == 200


async def test_a_failure_tells_its_payload_and_its_instruction_and_is_put_right_by_mapping(engine, desk):
    mine, id, said = await connected(desk)
    await desk.send(urls(said)["stock"], said["secret"], snapshot("ST-1", ("ITS-TEA", 9, 1), ("TEA", 8, 1)))
    failures = (await desk.say(MINE, mine.owner, state="OPEN"))["failures"]
    (failure,) = failures["nodes"]
    assert (failures["totalCount"], failure["kind"], failure["state"]) == (1, "MAPPING", "OPEN")
    assert (failure["instruction"]["entity"], failure["instruction"]["state"]) == ("VARIANT:ITS-TEA@ST-1", "PARKED")
    payload = failure["payload"]
    assert (payload["provider"], payload["door"], payload["state"]) == ("wms", "stock", "PARKED")
    assert '"sku": "ITS-TEA"' in payload["body"]
    assert "webhook-signature: ***" in payload["headers"]
    (parked, applied) = payload["instructions"]["nodes"]
    assert (parked["failure"]["id"], applied["state"], applied["failure"]) == (failure["id"], "APPLIED", None)

    assert await desk.say(MAP, mine.owner, source=said["source"]["id"], kind="VARIANT", external="ITS-TEA", id=str(id)) is True
    await desk.worker.drain()
    assert (await desk.say(MINE, mine.owner, state="OPEN"))["failures"]["nodes"] == []
    (failure,) = (await desk.say(MINE, mine.owner, kind="MAPPING"))["failures"]["nodes"]
    assert (failure["state"], failure["payload"]["state"], failure["instruction"]["state"]) == ("RESOLVED", "APPLIED", "APPLIED")
    assert await desk.no(REPLAY, mine.owner, ids=[failure["id"]]) == "CONFLICT"


async def test_people_replay_and_resolve_and_the_audit_tells_who(engine, desk):
    mine, _, said = await connected(desk)
    await desk.send(urls(said)["stock"], said["secret"], snapshot("ST-1", ("ITS-TEA", 9, 1)))
    (failure,) = (await desk.say(MINE, mine.owner))["failures"]["nodes"]
    (again,) = await desk.say(REPLAY, mine.owner, ids=[failure["id"]])
    assert (again["replays"], again["state"]) == (1, "OPEN")
    await desk.worker.drain()
    (failure,) = (await desk.say(MINE, mine.owner))["failures"]["nodes"]  # still unknown: the same failure, not another
    assert failure["instruction"]["state"] == "PARKED"
    resolved = await desk.say(RESOLVE, mine.owner, id=failure["id"], state="IGNORED", note="they sell it elsewhere")
    assert resolved["state"] == "IGNORED"
    assert await desk.no(RESOLVE, mine.owner, id=failure["id"], state="IGNORED", note=" ") == "INVALID_INPUT"
    a = t.audit.c
    told = await desk.reads.rows(select(a.action, a.actor).where(a.merchant_id == mine.merchant_id).order_by(a.id))
    actions = ["connectSource", "mapExternalId", "replayFailures", "resolveFailure"]
    assert [(row.action, row.actor) for row in told] == [(action, str(mine.owner)) for action in actions]


async def test_a_merchant_is_not_to_be_mapped(engine, desk):
    mine = await shop(engine)
    said = await desk.say(CONNECT, mine.owner, merchant=str(mine.merchant_id), provider="square")
    mapped = {"source": said["source"]["id"], "kind": "MERCHANT", "external": "MLX", "id": str(mine.merchant_id)}
    told = await desk.ask(MAP, mine.owner, **mapped)
    (error,) = told.errors
    assert error.extensions["code"] == "INVALID_INPUT"
    assert "a source is of one merchant" in error.message


async def test_another_merchants_and_a_clerks_are_not_there(engine, desk):
    mine, id, said = await connected(desk)
    await desk.send(urls(said)["stock"], said["secret"], snapshot("ST-1", ("ITS-TEA", 9, 1)))
    (failure,) = (await desk.say(MINE, mine.owner))["failures"]["nodes"]
    stranger, clerk = (await shop(engine)).owner, await member(engine, mine, MerchantRole.CLERK, [mine.store_id])
    mapped = {"source": said["source"]["id"], "kind": "VARIANT", "external": "X", "id": str(id)}
    for actor in (stranger, clerk):
        assert await desk.no(ROTATE, actor, id=said["source"]["id"]) == "NOT_FOUND"
        assert await desk.no(MAP, actor, **mapped) == "NOT_FOUND"
        assert await desk.no(REPLAY, actor, ids=[failure["id"]]) == "NOT_FOUND"
        assert await desk.no(RESOLVE, actor, id=failure["id"], state="IGNORED", note="no") == "NOT_FOUND"
    connect = {"merchant": str(mine.merchant_id), "provider": "wms"}
    assert (await desk.no(CONNECT, stranger, **connect), await desk.no(CONNECT, clerk, **connect)) == ("NOT_FOUND", "FORBIDDEN")
    assert await desk.no(CONNECT, mine.owner, merchant=str(mine.merchant_id), provider="nobody") == "INVALID_INPUT"
    seen = await desk.say(MINE, clerk)
    assert (seen["sources"], seen["failures"]["nodes"]) == ([], [])
    assert await desk.no(MINE, stranger, id=str(mine.merchant_id)) == "NOT_FOUND"
    another = await shop(engine)
    theirs = {"source": said["source"]["id"], "kind": "STORE", "external": "ST-2", "id": str(another.store_id)}
    assert await desk.no(MAP, mine.owner, **theirs) == "NOT_FOUND"  # another merchant's store is nothing to map to


async def test_the_desk_sees_all_and_whose_nobody_knows(engine, desk):
    mine, _, said = await connected(desk)
    await desk.send(urls(said)["stock"], said["secret"], snapshot("ST-1", ("ITS-TEA", 9, 1)))
    unknown = f"/v1/integrations/pos/petpooja/{'u' * 32}/webhooks/menu"
    assert (await desk.client.post(unknown, json={})).status_code == 404
    agent = await support(engine)
    seen = await desk.say(DESK, agent, merchant=str(mine.merchant_id))
    assert [source["id"] for source in seen["sources"]] == [said["source"]["id"]]
    assert [failure["kind"] for failure in seen["failures"]["nodes"]] == ["MAPPING"]
    nobodys = (await desk.say(DESK, agent, provider="petpooja"))["failures"]["nodes"][0]
    assert (nobodys["kind"], nobodys["payload"]["source"], nobodys["payload"]["state"]) == ("AUTH", None, "REJECTED")
    assert await desk.no(REPLAY, agent, ids=[nobodys["id"]]) == "CONFLICT"


@contextmanager
def statements(engine) -> Iterator[list[str]]:
    seen: list[str] = []

    def note(connection, cursor, statement, *more):
        seen.append(statement)

    listening.listen(engine.sync_engine, "before_cursor_execute", note)
    try:
        yield seen
    finally:
        listening.remove(engine.sync_engine, "before_cursor_execute", note)


LEAN = """query($first: Int, $after: String) { merchant { failures(first: $first, after: $after) {
    pageInfo { hasNextPage endCursor } nodes { id payload { id source { id } } instruction { id failure { id } } } } } }"""


async def test_a_page_costs_the_same_statements_however_long_it_is(engine, desk):
    mine, _, said = await connected(desk)
    for n in range(12):
        await desk.send(urls(said)["stock"], said["secret"], snapshot("ST-1", (f"NEW-{n}", 9, 1)))
    counts, seen, after = [], [], None
    for first in (2, 10):
        with statements(engine) as run:
            page = (await desk.say(LEAN, mine.owner, first=first, after=after))["failures"]
        counts.append(len(run))
        seen += [node["id"] for node in page["nodes"]]
        after = page["pageInfo"]["endCursor"]
    assert counts[0] == counts[1]
    assert (len(set(seen)), page["pageInfo"]["hasNextPage"]) == (12, False)
