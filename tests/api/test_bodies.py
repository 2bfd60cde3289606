"""People see what came, wherever its bytes lie."""

import json
from dataclasses import replace

import pytest

from db.unit_of_work import unit_of_work
from domain.bodies import Bodies
from tests.api.test_failures import MINE, Desk, connected, urls
from tests.api.test_profiles import COUNTS, DRY, SAVE, TOLD
from tests.blobs import Shelf
from tests.partners import INBOUNDS, SEALS, client_of
from webhooks.intake import Door


@pytest.fixture
def shelf():
    return Shelf()


async def shown(engine, shelf, body):
    """The payload of a failure as its merchant sees it, and who may look again."""
    bodies = Bodies(shelf, 2_000)
    desk = Desk(engine)
    desk.ports = replace(desk.ports, bodies=bodies)
    desk.client = client_of(Door(INBOUNDS, desk.reads, lambda: unit_of_work(engine), SEALS, bodies=bodies))
    mine, _, said = await connected(desk)
    assert await desk.send(urls(said)["stock"], said["secret"], body) == 400

    async def look() -> str:
        found = await desk.say(MINE, mine.owner, id=str(mine.merchant_id))
        [failure] = found["failures"]["nodes"]
        return failure["payload"]["body"]

    return look


async def test_the_beginning_of_a_long_body_is_shown_from_the_store(engine, shelf):
    body = {"type": "?", "padding": "ü" * 20_000}
    look = await shown(engine, shelf, body)
    raw = json.dumps(body)
    assert len(shelf.held) == 1
    assert await look() == f"{raw[:65536]}\n… {len(raw) - 65536} bytes more"


async def test_a_body_that_fits_is_shown_whole(engine, shelf):
    body = {"type": "?", "padding": "y" * 5_000}
    look = await shown(engine, shelf, body)
    assert await look() == json.dumps(body)


async def test_a_body_that_is_out_of_reach_hides_nothing_else(engine, shelf):
    body = {"type": "?", "padding": "y" * 5_000}
    look = await shown(engine, shelf, body)
    size = len(json.dumps(body))
    shelf.down = True
    assert await look() == f"({size} bytes, which the blob store does not give just now)"
    shelf.down = False
    [key] = shelf.held
    shelf.held.clear()
    assert await look() == f"({size} bytes; {key} is not in the blob store)"


async def test_a_profile_is_tried_on_a_body_from_the_store(engine, shelf):
    desk = Desk(engine)
    bodies = Bodies(shelf, 2_000)
    desk.ports = replace(desk.ports, bodies=bodies)
    desk.client = client_of(Door(INBOUNDS, desk.reads, lambda: unit_of_work(engine), SEALS, bodies=bodies))
    mine, _, said = await connected(desk, "generic")
    id = said["source"]["id"]
    assert await desk.send(urls(said)["stock"], said["secret"], {**TOLD, "padding": "y" * 5_000}) == 400
    [failure] = (await desk.say(MINE, mine.owner, id=str(mine.merchant_id)))["failures"]["nodes"]
    await desk.say(SAVE, mine.owner, id=id, profile=COUNTS)
    tried = await desk.say(DRY, mine.owner, id=id, version=1, payload=failure["payload"]["id"])
    assert (len(shelf.held), tried["total"], tried["problems"]) == (1, 1, [])
    shelf.down = True
    assert await desk.no(DRY, mine.owner, id=id, version=1, payload=failure["payload"]["id"]) == "UNAVAILABLE"
    shelf.down = False
    shelf.held.clear()
    assert await desk.no(DRY, mine.owner, id=id, version=1, payload=failure["payload"]["id"]) == "INVALID_INPUT"
