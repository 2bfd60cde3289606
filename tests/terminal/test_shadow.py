"""A changed profile on what a source has sent: how the commands differ, and nothing written."""

import json
from dataclasses import replace
from time import process_time

import pytest
from sqlalchemy import func, select

from db import tables as t
from db.ids import new_id
from db.profiles import latest_bodies
from db.reads import Reads
from domain.bodies import Bodies
from domain.instructions import UpdatePrice
from domain.intake import FailureKind, Reading, Wrong
from domain.profile_shadow import difference
from domain.refusals import Problem as Wrongs
from domain.refusals import Refused
from launch.problem import Problem
from providers.omuni import ASSUMED
from terminal.desk import OPERATOR, Desk
from terminal.shadow import Asked, shadow
from tests.blobs import Shelf
from tests.partners import client_of, partner

CHANGED = ASSUMED | {"events": [ASSUMED["events"][0] | {"fields": {"store": "$.locationCode", "quantity": {"path": "left"}}}]}


def test_ten_thousand_problems_are_compared_one_by_one():
    """Not each with all: that would be a hundred million comparisons."""
    told = [[Wrongs(f"${n}.{m}", "is missing") for m in range(20_000)] for n in range(2)]
    began = process_time()
    found = difference(*(Reading(problems=one) for one in told))
    assert (len(found.wrong), len(found.right)) == (20_000, 20_000)
    assert process_time() - began < 5


def test_the_difference_is_what_goes_and_what_comes():
    one, two, three = (UpdatePrice(variant="A", price_minor=price) for price in (1, 2, 3))
    bad = Reading([one, one], Wrong(FailureKind.VALIDATION, "$.a: is missing"), problems=[Wrongs("$.a", "is missing")])
    found = difference(Reading([one, two]), bad)
    assert (found.gone, found.come, found.wrong, found.right) == ([two], [one], ["$.a: is missing"], [])
    assert not difference(bad, bad)
    assert difference(Reading(), Reading([three]))
    assert difference(Reading(wrong=Wrong(FailureKind.VALIDATION, "no")), Reading()).right == ["no"]


async def test_it_reads_what_came_by_both_and_writes_nothing(engine, tmp_path, capsys):
    omuni = await partner(engine, "omuni", "ST-1")
    for body in ({"channelSkuId": "A", "quantity": 1}, {"channelSkuId": "A", "quantity": 1, "left": 1}):
        await omuni.post("webhooks/stock", {"locationCode": "ST-1", "products": [body]})
    file = tmp_path / "profile.json"
    file.write_text(json.dumps(CHANGED))
    desk = Desk(None, engine, Reads(engine), None)
    tables = (t.payload, t.instruction, t.failure, t.source_profile, t.event, t.audit)

    async def counts():
        return [await desk.reads.value(select(func.count()).select_from(table)) for table in tables]

    before = await counts()
    assert await shadow(Asked(str(omuni.source_id), file, 50), desk) == 1
    told = capsys.readouterr().err
    assert "- UpdateStockLevel(" in told
    assert "wrong: $.products[0].left: is missing" in told
    assert "2 payloads read, 1 would say something else; nothing is written" in told
    assert await shadow(Asked(str(omuni.source_id), file, 1), desk) == 0  # the latest alone
    assert await counts() == before

    file.write_text("{}")
    with pytest.raises(Refused, match="events"):
        await shadow(Asked(str(omuni.source_id), file, 50), desk)
    with pytest.raises(Problem, match="cannot be read"):
        await shadow(Asked(str(omuni.source_id), tmp_path / "none", 50), desk)
    for id in ("x", str(new_id())):
        with pytest.raises(Problem, match="there is no source"):
            await shadow(Asked(id, file, 50), desk)
    wms = await partner(engine, "wms", "ST-1")
    with pytest.raises(Problem, match="a language of its own"):
        await shadow(Asked(str(wms.source_id), file, 50), desk)


async def test_it_reads_what_lies_in_the_blob_store_and_tells_of_what_is_lost(engine, tmp_path, capsys):
    omuni, shelf = await partner(engine, "omuni", "ST-1"), Shelf()
    bodies = Bodies(shelf, 10)
    omuni.door = replace(omuni.door, bodies=bodies)
    omuni.client = client_of(omuni.door)
    for units in (1, 2):
        body = {"channelSkuId": "A", "quantity": units}
        await omuni.post("webhooks/stock", {"locationCode": "ST-1", "products": [body]})
    file = tmp_path / "profile.json"
    file.write_text(json.dumps(CHANGED))
    desk = Desk(None, engine, Reads(engine), None, bodies)
    assert await shadow(Asked(str(omuni.source_id), file, 50), desk) == 2
    shelf.held.pop(sorted(shelf.held)[0])
    assert await shadow(Asked(str(omuni.source_id), file, 50), desk) == 1
    assert "is not in the blob store" in capsys.readouterr().err


async def test_another_merchants_payloads_are_not_there(engine):
    omuni = await partner(engine, "omuni", "ST-1")
    await omuni.post("webhooks/stock", {"locationCode": "ST-1", "products": []})
    stranger = (await partner(engine, "omuni", "ST-1")).shop.owner
    reads = Reads(engine)
    seen = [len(await latest_bodies(reads, actor, omuni.source_id, 5)) for actor in (OPERATOR, omuni.shop.owner, stranger)]
    assert seen == [1, 1, 0]
