"""Whether a source speaks, as its people see it through the API."""

import pytest
from sqlalchemy import func, update

from adapters.gateways import NoGateway
from db import tables as t
from db.unit_of_work import unit_of_work
from domain.identity import MerchantRole
from domain.intake import LATER_BYTES
from tests.api.test_failures import Desk, connected, snapshot, support, urls
from tests.partners import worker_of
from tests.world import member, shop
from workers.deadlines import Deadlines

HEALTH = "health { state lastSeenAt silentSince expectedEveryMinutes lagSeconds received failed }"
MINE = f"query {{ merchant {{ sources {{ {HEALTH} }} }} }}"
DESK = f"query($merchant: ID) {{ support {{ sources(merchantId: $merchant) {{ {HEALTH} }} }} }}"
SCHEDULE = f"""mutation($id: ID!, $minutes: Int) {{
    setSourceSchedule(sourceId: $id, expectedEveryMinutes: $minutes) {{ id {HEALTH} }} }}"""


@pytest.fixture
def desk(engine) -> Desk:
    return Desk(engine)


async def test_people_say_how_often_it_should_speak_and_see_that_it_does_not(engine, desk):
    mine, _, said = await connected(desk)
    source_id = said["source"]["id"]
    told = await desk.say(SCHEDULE, mine.owner, id=source_id, minutes=15)
    new = {"state": "NEW", "lastSeenAt": None, "silentSince": None, "expectedEveryMinutes": 15, "lagSeconds": 0, "received": 0}
    assert told == {"id": source_id, "health": {**new, "failed": 0}}
    await desk.send(urls(said)["stock"], said["secret"], snapshot("ST-1", ("TEA", 9, 1)))
    [source] = (await desk.say(MINE, mine.owner))["sources"]
    assert (source["health"]["state"], source["health"]["received"]) == ("LIVE", 1)

    async with engine.begin() as connection:
        ago = func.clock_timestamp() - func.make_interval(0, 0, 0, 0, 0, 16)
        await connection.execute(update(t.source).where(t.source.c.id == source_id).values(last_seen_at=ago))
    await Deadlines(desk.reads, lambda: unit_of_work(engine), NoGateway()).silence()
    [source] = (await desk.say(DESK, await support(engine), merchant=str(mine.merchant_id)))["sources"]
    assert source["health"]["state"] == "SILENT"
    assert source["health"]["lastSeenAt"] < source["health"]["silentSince"]
    assert (await desk.say(SCHEDULE, mine.owner, id=source_id, minutes=None))["health"]["state"] == "LIVE"


async def test_what_was_refused_and_what_came_to_nothing_is_counted_as_failed(engine, desk):
    """At the door, and by the worker. A repeat is received, and has not failed."""
    mine, _, said = await connected(desk)
    worker = worker_of(engine)
    fine, wrong = snapshot("ST-1", ("TEA", 9, 1)), {**snapshot("ST-1", ("TEA", 1, 2)), "type": "nobody.knows"}
    for body in (fine, wrong, {**wrong, "padding": "x" * LATER_BYTES}):
        await desk.send(urls(said)["stock"], said["secret"], body)
    await desk.send(urls(said)["stock"], said["secret"], fine)
    await worker.drain()
    [source] = (await desk.say(MINE, mine.owner))["sources"]
    assert (source["health"]["received"], source["health"]["failed"]) == (4, 2)


async def test_it_is_for_who_looks_after_it_and_within_reason(engine, desk):
    mine, _, said = await connected(desk)
    clerk, stranger = await member(engine, mine, MerchantRole.CLERK, [mine.store_id]), (await shop(engine)).owner
    for actor in (clerk, stranger):
        assert await desk.no(SCHEDULE, actor, id=said["source"]["id"], minutes=15) == "NOT_FOUND"
    for minutes in (0, 30 * 24 * 60 + 1):
        assert await desk.no(SCHEDULE, mine.owner, id=said["source"]["id"], minutes=minutes) == "INVALID_INPUT"
