"""A changed profile on what a source has sent, through the API: the difference to what was kept, and nothing written."""

import asyncio
from time import sleep

import pytest
from sqlalchemy import func, select

from db import tables as t
from domain.identity import MerchantRole
from resolvers import shadow
from tests.api.test_failures import statements
from tests.api.test_profiles import ACTIVATE, COUNTS, SAVE, Connecting, generic, url
from tests.world import member, shop

SHADOW = """query($source: ID!, $profile: JSON!, $since: DateTime, $first: Int, $after: String) {
    shadowReplay(sourceId: $source, profile: $profile, since: $since, first: $first, after: $after) {
        pageInfo { hasNextPage endCursor }
        nodes { kept differences added { kind entity fields } gone { kind entity } wrong right
            changed { kind entity fields { name before after } } payload { id door receivedAt } } } }"""
(EVENT,) = COUNTS["events"]
CHANGED = {"events": [EVENT | {"fields": {"store": "$.shop", "quantity": {"path": "units"}}}]}
SHELF = {"shop": "ST-1", "at": "2026-01-05 10:15:00"}


@pytest.fixture
def desk(engine):
    return Connecting(engine)


async def told(desk, *shelves):
    """By the profile in force, one payload each."""
    mine, _, said, id = await generic(desk)
    version = (await desk.say(SAVE, mine.owner, id=id, profile=COUNTS))["version"]
    await desk.say(ACTIVATE, mine.owner, id=id, version=version)
    for shelf in shelves:
        await desk.send(url(said), said["secret"], SHELF | {"shelf": shelf})
    return mine, id


def line(code, left, **more):
    return {"code": code, "left": left, **more}


async def test_what_would_be_otherwise_is_told_and_nothing_is_written(desk):
    mine, id = await told(
        desk,
        [line("TEA", 7, units=7)],
        [line("TEA", 7, units=8), line("OIL", 1)],
        [line("TEA", "some", units=4)],  # refused as it came
    )
    tables = (t.payload, t.instruction, t.failure, t.source_profile, t.event, t.audit)

    async def counts():
        return [await desk.reads.value(select(func.count()).select_from(table)) for table in tables]

    before = await counts()
    page = await desk.say(SHADOW, mine.owner, source=id, profile=CHANGED)
    refused, both, same = page["nodes"]  # the newest first
    assert (same["kept"], same["differences"]) == (1, 0)
    assert both["changed"] == [
        {"kind": "UpdateStockLevel", "entity": "VARIANT:TEA@ST-1", "fields": [{"name": "quantity", "before": 7, "after": 8}]}
    ]
    assert (both["gone"], both["added"]) == ([{"kind": "UpdateStockLevel", "entity": "VARIANT:OIL@ST-1"}], [])
    assert (both["kept"], both["wrong"], both["differences"]) == (2, ["$.shelf[1].units: is missing"], 3)
    assert (refused["kept"], refused["right"]) == (0, ["$.shelf[0].left: 'some' is no number"])
    assert [(one["entity"], one["fields"]["quantity"]) for one in refused["added"]] == [("VARIANT:TEA@ST-1", 4)]
    assert page["pageInfo"]["hasNextPage"] is False
    assert await counts() == before
    page = await desk.say(SHADOW, mine.owner, source=id, profile=COUNTS)
    assert [node["differences"] for node in page["nodes"]] == [0, 0, 0]  # the profile in force says what was kept


async def test_one_person_reads_again_one_payload_at_a_time(desk, monkeypatch):
    mine, id = await told(desk, [line("TEA", 7)], [line("TEA", 8)])
    inside, most, real = [], [], shadow.read_again

    def read_again(*arguments):
        inside.append(arguments)
        most.append(len(inside))
        try:
            sleep(0.05)
            return real(*arguments)
        finally:
            inside.pop()

    monkeypatch.setattr(shadow, "read_again", read_again)
    await asyncio.gather(*(desk.say(SHADOW, mine.owner, source=id, profile=COUNTS) for _ in range(4)))
    assert most == [1] * 8


async def everything(desk, actor, **asked):
    """Page after page: how many each had, and all of them."""
    sizes, seen, after = [], [], None
    while True:
        page = await desk.say(SHADOW, actor, **asked, after=after)
        sizes.append(len(page["nodes"]))
        seen += [node["payload"]["id"] for node in page["nodes"]]
        after = page["pageInfo"]["endCursor"]
        if not page["pageInfo"]["hasNextPage"]:
            return sizes, seen


async def test_it_goes_on_from_its_cursor_also_where_time_or_room_ended_a_page(desk, monkeypatch):
    mine, id = await told(desk, *([line("TEA", n)] for n in range(5)))
    sizes, whole = await everything(desk, mine.owner, source=id, profile=COUNTS)
    assert (sizes, len(set(whole))) == ([5], 5)
    assert await everything(desk, mine.owner, source=id, profile=COUNTS, first=2) == ([2, 2, 1], whole)
    monkeypatch.setattr(shadow, "PAGE_S", -1)
    assert await everything(desk, mine.owner, source=id, profile=COUNTS) == ([1] * 5, whole)
    monkeypatch.setattr(shadow, "PAGE_S", 60)
    monkeypatch.setattr(shadow, "PAGE_BYTES", 1)
    assert await everything(desk, mine.owner, source=id, profile=COUNTS, first=3) == ([1] * 5, whole)


async def test_it_begins_where_it_is_told_to(desk):
    mine, id = await told(desk, [line("TEA", 1)], [line("TEA", 2)], [line("TEA", 3)])
    nodes = (await desk.say(SHADOW, mine.owner, source=id, profile=COUNTS))["nodes"]
    since = nodes[1]["payload"]["receivedAt"]
    later = (await desk.say(SHADOW, mine.owner, source=id, profile=COUNTS, since=since))["nodes"]
    assert [one["payload"]["id"] for one in later] == [one["payload"]["id"] for one in nodes[:2]]


async def test_a_page_costs_the_same_statements_however_long_it_is(desk):
    mine, id = await told(desk, *([line("TEA", n)] for n in range(6)))
    counts = []
    for first in (1, 6):
        with statements(desk.engine) as run:
            await desk.say(SHADOW, mine.owner, source=id, profile=COUNTS, first=first)
        counts.append(len(run))
    assert counts[0] == counts[1]


async def test_who_may_and_what_can_be_read(desk):
    mine, id = await told(desk, [line("TEA", 1)])
    stranger, clerk = (await shop(desk.engine)).owner, await member(desk.engine, mine, MerchantRole.CLERK, [mine.store_id])
    for actor in (stranger, clerk):
        assert await desk.no(SHADOW, actor, source=id, profile=COUNTS) == "NOT_FOUND"
    assert await desk.no(SHADOW, mine.owner, source=id, profile={}) == "INVALID_INPUT"
    assert await desk.no(SHADOW, mine.owner, source=id, profile=COUNTS, first=0) == "INVALID_INPUT"
    assert await desk.no(SHADOW, mine.owner, source=id, profile=COUNTS, after="x") == "INVALID_INPUT"
    said = await desk.say(
        'mutation($merchant: ID!) { connectSource(merchantId: $merchant, provider: "wms") { source { id } } }',
        mine.owner,
        merchant=str(mine.merchant_id),
    )
    assert await desk.no(SHADOW, mine.owner, source=said["source"]["id"], profile=COUNTS) == "INVALID_INPUT"
