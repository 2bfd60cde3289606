"""A profile is saved, tried on what came, and turned on: and what comes from then on is read by it."""

import asyncio
import json
from datetime import UTC, datetime
from threading import Event

import pytest
from sqlalchemy import func, select

from db import tables as t
from db.ids import new_id
from db.unit_of_work import unit_of_work
from domain.identity import Actor, ActorKind, MerchantRole
from domain.intake import LATER_BYTES
from domain.signatures import secret_bytes, sign
from resolvers import profiles
from tests.api.test_failures import CONNECT, REPLAY, Desk, connected, statements
from tests.partners import INBOUNDS, SEALS, client_of
from tests.waiting import until
from tests.world import account, member, shop
from webhooks.intake import Door
from webhooks.limits import KnownSources

PROFILE = "version active assumed name createdBy createdAt document"
SAVE = f"""mutation($id: ID!, $profile: JSON!) {{ saveProfile(sourceId: $id, profile: $profile) {{ __typename
    ... on SourceProfile {{ {PROFILE} }} ... on ProfileInvalid {{ code message problems {{ path message }} }} }} }}"""
DRY = """mutation($id: ID!, $version: Int!, $payload: ID, $sample: String, $door: String) {
    dryRunProfile(sourceId: $id, version: $version, payloadId: $payload, sample: $sample, door: $door) {
        total commands { kind entity fields } problems { path message } eventId } }"""
ACTIVATE = "mutation($id: ID!, $version: Int!) { activateProfile(sourceId: $id, version: $version) { version active } }"
SEEN = """{ merchant { sources { id provider profiles { version active assumed createdAt } }
    failures { nodes { id kind message payload { id } } } } }"""
COUNTS = {
    "profile": "shelf/1",
    "events": [
        {
            "when": {"endpoint": "stock"},
            "each": "$.shelf[*]",
            "command": "UpdateStockLevel",
            "entity_id": "code",
            "source_ts": {"path": "$.at", "tz": "Asia/Kolkata"},
            "fields": {"store": "$.shop", "quantity": "left"},
        }
    ],
    "ack": {"body": {"ok": "{payload}"}},
    "error": {"status": 422, "body": {"ok": False, "why": "{reason}"}},
}
TOLD = {"shop": "ST-1", "at": "2026-01-05 10:15:00", "shelf": [{"code": "TEA", "left": "7"}]}


class Connecting(Desk):
    """Whose doors look a source up at each call."""

    def __init__(self, engine):
        super().__init__(engine)
        self.client = client_of(Door(INBOUNDS, self.reads, lambda: unit_of_work(engine), SEALS, known=KnownSources(keep_s=0)))

    async def posted(self, url, secret, body):
        raw = json.dumps(body).encode()
        id, now = str(new_id()), int(datetime.now(UTC).timestamp())
        headers = {"webhook-id": id, "webhook-timestamp": str(now), "webhook-signature": sign(secret_bytes(secret), id, now, raw)}
        return await self.client.post(url, content=raw, headers=headers)


@pytest.fixture
def desk(engine):
    return Connecting(engine)


async def generic(desk, provider="generic"):
    mine, listing_id, said = await connected(desk, provider)
    return mine, listing_id, said, said["source"]["id"]


def url(said, door="stock"):
    return next(one["url"] for one in said["endpoints"] if one["name"] == door)


async def count(desk, table):
    return await desk.reads.value(select(func.count()).select_from(table))


async def test_from_the_first_payload_to_a_profile_that_reads_it(desk):
    mine, listing_id, said, id = await generic(desk)
    assert await desk.send(url(said), said["secret"], TOLD) == 400
    seen = await desk.say(SEEN, mine.owner)
    (failure,) = seen["failures"]["nodes"]
    assert "no active profile" in failure["message"]
    assert seen["sources"][0]["profiles"] == []

    saved = await desk.say(SAVE, mine.owner, id=id, profile=COUNTS)
    assert (saved["version"], saved["active"], saved["assumed"], saved["name"]) == (1, False, False, "shelf/1")
    assert (saved["document"], saved["createdBy"]) == (COUNTS, str(mine.owner))
    assert await desk.send(url(said), said["secret"], TOLD) == 400  # it reads nothing yet

    tried = await desk.say(DRY, mine.owner, id=id, version=1, payload=failure["payload"]["id"])
    assert tried == {
        "total": 1,
        "commands": [
            {
                "kind": "UpdateStockLevel",
                "entity": "VARIANT:TEA@ST-1",
                "fields": {
                    "store": "ST-1",
                    "at": "2026-01-05T04:45:00Z",
                    "id": "TEA",
                    "kind": "VARIANT",
                    "mode": "ABSOLUTE",
                    "quantity": 7,
                    "movement": "COUNTED",
                },
            }
        ],
        "problems": [],
        "eventId": tried["eventId"],
    }

    assert await desk.say(ACTIVATE, mine.owner, id=id, version=1) == {"version": 1, "active": True}
    (source,) = (await desk.say(SEEN, mine.owner))["sources"]
    assert [(one["version"], one["active"]) for one in source["profiles"]] == [(1, True)]
    now = {"at": datetime.now(UTC).isoformat()}
    assert await desk.send(url(said), said["secret"], TOLD | now) == 200
    level = t.stock_level.c
    assert await desk.reads.value(select(level.on_hand).where(level.listing_id == listing_id)) == 7


async def on_hand(desk, listing_id):
    level = t.stock_level.c
    return await desk.reads.value(select(level.on_hand).where(level.listing_id == listing_id))


async def test_what_was_refused_before_is_read_when_it_is_replayed(desk):
    mine, listing_id, said, id = await generic(desk)
    now = {"at": datetime.now(UTC).isoformat()}
    assert await desk.send(url(said), said["secret"], TOLD | now) == 400
    (failure,) = (await desk.say(SEEN, mine.owner))["failures"]["nodes"]
    await desk.say(SAVE, mine.owner, id=id, profile=COUNTS)
    await desk.say(ACTIVATE, mine.owner, id=id, version=1)
    await desk.say(REPLAY, mine.owner, ids=[failure["id"]])
    await desk.worker.drain()
    assert await on_hand(desk, listing_id) == 7


async def test_what_is_too_long_to_be_read_at_once_is_read_by_the_profile_too(desk):
    mine, listing_id, said, id = await generic(desk)
    await desk.say(SAVE, mine.owner, id=id, profile=COUNTS | {"dedupe": ["$.id"]})
    await desk.say(ACTIVATE, mine.owner, id=id, version=1)
    body = TOLD | {"id": 1, "at": datetime.now(UTC).isoformat(), "pad": "x" * LATER_BYTES}
    assert await desk.send(url(said), said["secret"], body) == 200
    assert await on_hand(desk, listing_id) == 7
    assert (await desk.say(SEEN, mine.owner))["failures"]["nodes"] == []


async def test_answers_are_in_the_profiles_words(desk):
    mine, _, said, id = await generic(desk)
    await desk.say(SAVE, mine.owner, id=id, profile=COUNTS)
    await desk.say(ACTIVATE, mine.owner, id=id, version=1)
    good = await desk.posted(url(said), said["secret"], TOLD)
    assert (good.status_code, set(good.json())) == (200, {"ok"})
    bad = await desk.posted(url(said), said["secret"], TOLD | {"shelf": [{"code": "TEA"}]})
    assert (bad.status_code, bad.json()) == (422, {"ok": False, "why": "$.shelf[0].left: is missing"})
    stranger = await desk.posted(url(said), "whsec_" + "A" * 32, TOLD)  # who is unproven learns nothing of the profile
    assert (stranger.status_code, set(stranger.json())) == (401, {"status", "message"})


async def test_all_that_is_wrong_with_a_profile_is_told_at_once_and_nothing_kept(desk):
    mine, _, _, id = await generic(desk)
    wrong = {"events": [{"command": "UpdatePrice", "entity_id": "a..b", "fields": {"price": {"const": "free"}}}], "run": "rm"}
    said = await desk.say(SAVE, mine.owner, id=id, profile=wrong)
    assert (said["__typename"], said["code"]) == ("ProfileInvalid", "PROFILE_INVALID")
    assert {one["path"] for one in said["problems"]} == {
        "profile.run",
        "profile.events[0].entity_id",
        "profile.events[0].fields.price.const",
    }
    for odd in ("text", 3, []):
        assert (await desk.say(SAVE, mine.owner, id=id, profile=odd))["__typename"] == "ProfileInvalid"
    assert (await desk.say(SEEN, mine.owner))["sources"][0]["profiles"] == []


async def test_a_dry_run_writes_nothing_and_tells_what_would_be_left_out(desk):
    mine, _, _, id = await generic(desk)
    await desk.say(SAVE, mine.owner, id=id, profile=COUNTS)
    before = [await count(desk, table) for table in (t.payload, t.instruction, t.failure, t.event, t.audit)]
    sample = json.dumps(TOLD | {"shelf": [*TOLD["shelf"], {"code": "RICE", "left": "some"}]})
    tried = await desk.say(DRY, mine.owner, id=id, version=1, sample=sample)
    assert (tried["total"], tried["eventId"]) == (1, None)
    assert tried["problems"] == [{"path": "$.shelf[1].left", "message": "'some' is no number"}]
    tried = await desk.say(DRY, mine.owner, id=id, version=1, sample="{")
    assert (tried["total"], tried["problems"][0]["path"]) == (0, "$")
    tried = await desk.say(DRY, mine.owner, id=id, version=1, sample="{}", door="menu")
    assert tried["problems"] == [{"path": "$", "message": "no event of the profile fits it, at menu"}]
    for wrong in ({}, {"sample": "{}", "payload": id}, {"sample": "{}", "door": "cellar"}, {"payload": "x"}):
        assert await desk.no(DRY, mine.owner, id=id, version=1, **wrong) == "INVALID_INPUT"
    assert await desk.no(DRY, mine.owner, id=id, version=1, payload=id) == "NOT_FOUND"
    assert await desk.no(DRY, mine.owner, id=id, version=2, sample="{}") == "NOT_FOUND"
    assert [await count(desk, table) for table in (t.payload, t.instruction, t.failure, t.event, t.audit)] == before


async def test_what_one_person_tries_takes_nobody_elses_turn(desk, monkeypatch):
    (mine, _, _, id), (theirs, _, _, their_id) = await generic(desk), await generic(desk)
    for owner, source_id in ((mine.owner, id), (theirs.owner, their_id)):
        await desk.say(SAVE, owner, id=source_id, profile=COUNTS)
    inside, go_on, real = [], Event(), profiles.translated

    def translated(inbound, call, source):
        if str(source.id) == id:
            inside.append(call)
            go_on.wait(60)
        return real(inbound, call, source)

    monkeypatch.setattr(profiles, "translated", translated)
    sample = json.dumps(TOLD)
    tasks = [asyncio.create_task(desk.say(DRY, mine.owner, id=id, version=1, sample=sample)) for _ in range(12)]
    try:
        await until(lambda: inside)
        async with asyncio.timeout(20):
            assert (await desk.say(DRY, theirs.owner, id=their_id, version=1, sample=sample))["total"] == 1
        assert len(inside) == 1
    finally:
        go_on.set()
    assert [tried["total"] for tried in await asyncio.gather(*tasks)] == [1] * 12


async def test_one_version_is_active_and_there_is_a_way_back(desk):
    mine, _, _, id = await generic(desk, "omuni")
    for _ in range(2):
        await desk.say(SAVE, mine.owner, id=id, profile=COUNTS)

    async def active():
        (source,) = (await desk.say(SEEN, mine.owner))["sources"]
        assert [one["version"] for one in source["profiles"]] == [2, 1, 0]
        own = source["profiles"][-1]
        assert (own["assumed"], own["createdAt"]) == (True, None)
        return [one["version"] for one in source["profiles"] if one["active"]]

    assert await active() == [0]
    for version in (1, 2, 2, 0):
        assert await desk.say(ACTIVATE, mine.owner, id=id, version=version) == {"version": version, "active": True}
        assert await active() == [version]
    assert await desk.no(ACTIVATE, mine.owner, id=id, version=3) == "NOT_FOUND"
    tried = await desk.say(DRY, mine.owner, id=id, version=0, sample='{"locationCode": "ST-1", "products": []}')
    assert (tried["total"], tried["problems"]) == (0, [])
    told = await desk.reads.rows(select(t.audit.c.action, t.audit.c.detail).where(t.audit.c.action.like("%Profile")))
    assert ("saveProfile", "version 1 shelf/1") in {tuple(row) for row in told}
    assert ("activateProfile", "version 0") in {tuple(row) for row in told}


async def test_a_generic_source_has_no_profile_but_its_own(desk):
    mine, _, _, id = await generic(desk)
    assert await desk.no(ACTIVATE, mine.owner, id=id, version=0) == "NOT_FOUND"
    assert await desk.no(DRY, mine.owner, id=id, version=0, sample="{}") == "NOT_FOUND"


async def test_who_speaks_its_own_language_takes_no_profile(desk):
    mine, _, _, id = await generic(desk, "wms")
    assert await desk.no(SAVE, mine.owner, id=id, profile=COUNTS) == "INVALID_INPUT"
    assert await desk.no(ACTIVATE, mine.owner, id=id, version=1) == "INVALID_INPUT"
    assert (await desk.say(SEEN, mine.owner))["sources"][0]["profiles"] == []


async def test_another_merchants_and_a_clerks_are_not_there(engine, desk):
    mine, _, said, id = await generic(desk)
    await desk.say(SAVE, mine.owner, id=id, profile=COUNTS)
    await desk.send(url(said), said["secret"], TOLD)
    payload = (await desk.say(SEEN, mine.owner))["failures"]["nodes"][0]["payload"]["id"]
    stranger, clerk = (await shop(engine)).owner, await member(engine, mine, MerchantRole.CLERK, [mine.store_id])
    for actor in (stranger, clerk):
        assert await desk.no(SAVE, actor, id=id, profile=COUNTS) == "NOT_FOUND"
        assert await desk.no(ACTIVATE, actor, id=id, version=1) == "NOT_FOUND"
        assert await desk.no(DRY, actor, id=id, version=1, payload=payload) == "NOT_FOUND"
    theirs, _, _, other = await generic(desk)
    await desk.say(SAVE, theirs.owner, id=other, profile=COUNTS)
    assert await desk.no(DRY, theirs.owner, id=other, version=1, payload=payload) == "NOT_FOUND"  # another source's payload
    manager = await member(engine, mine, MerchantRole.MANAGER)
    support = Actor(ActorKind.SUPPORT, (await account(engine)).id)
    for actor in (manager, support):
        assert (await desk.say(DRY, actor, id=id, version=1, payload=payload))["total"] == 1


async def test_profiles_of_many_sources_are_one_statement(desk, engine):
    mine, _, _, id = await generic(desk)
    await desk.say(SAVE, mine.owner, id=id, profile=COUNTS)
    for _ in range(3):
        await desk.say(CONNECT, mine.owner, merchant=str(mine.merchant_id), provider="generic")
    with statements(engine) as told:
        seen = await desk.say("{ merchant { sources { id profiles { version } } } }", mine.owner)
    assert len(seen["sources"]) == 4
    assert len([one for one in told if "source_profile" in one]) == 1
