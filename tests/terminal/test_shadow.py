"""A changed profile on what a source has sent: how the commands differ, and nothing written."""

import json
from dataclasses import replace
from time import process_time

import pytest
from sqlalchemy import func, select

from db import tables as t
from db.ids import new_id
from db.reads import Reads
from db.shadow import latest
from db.unit_of_work import unit_of_work
from domain.bodies import Bodies
from domain.canonical import UpdatePrice
from domain.intake import FailureKind, Reading, Wrong
from domain.profile_shadow import difference, told_apart
from domain.profile_versions import activate_profile, save_profile
from domain.refusals import Problem as Wrongs
from domain.refusals import Refused
from launch.problem import Problem
from providers.omuni import ASSUMED
from terminal.desk import OPERATOR, Desk
from terminal.shadow import Asked, shadow
from tests.blobs import Shelf
from tests.launch.towns import haat
from tests.partners import client_of, dish, menu, partner, size, snapshot

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
    assert told_apart(difference(bad, bad)).size == 0
    assert difference(Reading(), Reading([three])).come == [three]
    assert difference(Reading(wrong=Wrong(FailureKind.VALIDATION, "no")), Reading()).right == ["no"]


async def test_it_reads_by_the_file_and_writes_nothing(engine, tmp_path, capsys):
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
    assert "at stock: 1 kept, 0 added, 1 gone, 0 changed" in told
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


async def test_a_profile_is_held_against_what_was_kept_and_not_against_the_one_in_force(engine, tmp_path, capsys):
    """As `shadowReplay` holds it."""
    omuni = await partner(engine, "omuni", "ST-1")
    body = {"locationCode": "ST-1", "products": [{"channelSkuId": "A", "quantity": 1, "left": 2}]}
    await omuni.post("webhooks/stock", body)
    file = tmp_path / "profile.json"
    file.write_text(json.dumps(CHANGED))
    async with unit_of_work(engine) as uow:
        version = await save_profile(omuni.source_id, file.read_text(), omuni.shop.owner, uow)
        await activate_profile(omuni.source_id, version, builtin=True, actor=omuni.shop.owner, uow=uow)
    assert await shadow(Asked(str(omuni.source_id), file, 50), Desk(None, engine, Reads(engine), None)) == 1
    assert "  ~ UpdateStockLevel VARIANT:A@ST-1: quantity 1 → 2\n" in capsys.readouterr().err


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
    shelf.held.pop(next(iter(shelf.held)))  # of the first that was told
    assert await shadow(Asked(str(omuni.source_id), file, 50), desk) == 1
    assert "is not in the blob store" in capsys.readouterr().err


async def test_another_merchants_payloads_are_not_there(engine):
    omuni = await partner(engine, "omuni", "ST-1")
    await omuni.post("webhooks/stock", {"locationCode": "ST-1", "products": []})
    stranger = (await partner(engine, "omuni", "ST-1")).shop.owner
    reads = Reads(engine)
    seen = [len(await latest(reads, actor, omuni.source_id, 5)) for actor in (OPERATOR, omuni.shop.owner, stranger)]
    assert seen == [1, 1, 0]


# ---------------------------------------------------------------- an adapter from a file

ADAPTER = """
from dataclasses import dataclass, replace
from domain.intake import Batch
from providers.wms import Wms


@dataclass
class Word:
    text: "str"


class Mine(Wms):
    def translate(self, call, source):
        said = super().translate(call, source)
        first, *rest = said.commands
        match first.id:
            case "SAME":
                return said
            case "RAISES":
                raise KeyError("no such place")
            case "NOTHING":
                return None
            case "WORDS":
                return Batch([Word("a word")])
            case "ENDS":
                raise SystemExit(3)
            case "UNKEPT":
                return Batch([replace(first, quantity=object())])
        return Batch([replace(first, quantity=first.quantity + 1), *rest[1:], replace(first, id="NEW")])
"""


async def tried(engine, wms, file, capsys, last=50):
    desk = Desk(None, engine, Reads(engine), None)
    capsys.readouterr()
    differing = await shadow(Asked(str(wms.source_id), None, last, file), desk)
    return differing, capsys.readouterr().err


async def test_an_adapter_is_held_against_what_was_kept_and_nothing_is_written(engine, tmp_path, capsys):
    wms = await partner(engine, "wms", "ST-1")
    await wms.tell("webhooks/stock", snapshot("ST-1", ("A", 1, 1), ("B", 2, 1), ("C", 3, 1)))
    await wms.tell("webhooks/stock", snapshot("ST-1", ("SAME", 1, 1)))
    file = tmp_path / "mine.py"
    file.write_text(ADAPTER)
    reads = Reads(engine)
    tables = (t.payload, t.instruction, t.failure, t.source_profile, t.event, t.audit)

    async def counts():
        return [await reads.value(select(func.count()).select_from(table)) for table in tables]

    before = await counts()
    differing, told = await tried(engine, wms, file, capsys)
    assert differing == 1
    assert "at stock: 3 kept, 1 added, 1 gone, 1 changed" in told
    assert "  ~ UpdateStockLevel VARIANT:A@ST-1: quantity 1 → 2\n" in told
    (gone,) = [line for line in told.splitlines() if line.startswith("  - ")]
    (added,) = [line for line in told.splitlines() if line.startswith("  + ")]
    assert ("id='B'" in gone, "id='NEW'" in added) == (True, True)
    assert "2 payloads read, 1 would say something else; nothing is written" in told
    assert await counts() == before
    assert (await tried(engine, wms, file, capsys, last=1))[0] == 0  # the latest alone


async def test_the_adapter_in_force_says_what_was_kept(engine, tmp_path, capsys):
    """Of every provider that has been told of something: whoever begins from the file in providers/ begins at no difference."""
    file = tmp_path / "same.py"
    till = await partner(engine, "petpooja", "k7x2m9qa")
    await till.tell("webhooks/menu", menu("k7x2m9qa", dish("1"), dish("2", variation=[size("s", "Small", "90.00")])))
    await till.tell("webhooks/inventory", {"restID": "k7x2m9qa", "type": "item", "inStock": False, "itemID": ["1"]})
    file.write_text("from providers.petpooja import Petpooja\n\n\nclass Same(Petpooja): ...\n")
    assert await tried(engine, till, file, capsys) == (0, "2 payloads read, 0 would say something else; nothing is written\n")


async def test_a_push_that_waits_for_people_has_nothing_wrong_with_it(engine, tmp_path, capsys):
    """What the failure of it says is for who decides: it was read as it came."""
    file = tmp_path / "same.py"
    till = await partner(engine, "petpooja", "k7x2m9qa")
    for dishes in (10, 2):
        await till.tell("webhooks/menu", menu("k7x2m9qa", *(dish(str(n)) for n in range(dishes))))
    assert await till.rows(select(t.judgement.c.payload_id))  # the second removes too many, and is held
    file.write_text("from providers.petpooja import Petpooja\n\n\nclass Same(Petpooja): ...\n")
    assert await tried(engine, till, file, capsys) == (0, "2 payloads read, 0 would say something else; nothing is written\n")


async def test_what_an_adapter_does_is_told_of_each_payload_and_stops_nobody(engine, tmp_path, capsys):
    wms = await partner(engine, "wms", "ST-1")
    for id in ("RAISES", "NOTHING", "WORDS", "ENDS", "UNKEPT", "LAST"):
        await wms.tell("webhooks/stock", snapshot("ST-1", (id, 1, 1)))
    file = tmp_path / "mine.py"
    file.write_text(ADAPTER)
    differing, told = await tried(engine, wms, file, capsys)
    assert differing == 6
    wrong = [line for line in told.splitlines() if line.startswith("  wrong: ")]
    assert [line.split()[1] for line in wrong] == ["KeyError:", "AttributeError:", "TypeError:", "RuntimeError:", "TypeError:"]
    assert wrong[0] == "  wrong: KeyError: 'no such place'"
    assert wrong[2] == "  wrong: TypeError: Word is no command"
    assert "Traceback" not in told
    assert "  ~ UpdateStockLevel VARIANT:LAST@ST-1: quantity 1 → 2\n" in told


async def test_what_was_refused_before_would_be_right(engine, tmp_path, capsys):
    wms = await partner(engine, "wms", "ST-1")
    bad = snapshot("ST-1", ("A", 1, 1))
    assert (await wms.post("webhooks/stock", bad | {"type": "stock.counted"})).status_code == 400
    assert (await wms.post("webhooks/stock", bad, **{"webhook-signature": "v1,bm8="})).status_code == 401  # nobody's word
    file = tmp_path / "mine.py"
    file.write_text(
        "from dataclasses import replace\nfrom providers.wms import Wms\n\n\nclass Mine(Wms):\n"
        "    def translate(self, call, source):\n"
        "        body = call.body.replace(b'stock.counted', b'stock.snapshot')\n"
        "        return super().translate(replace(call, body=body), source)\n"
    )
    differing, told = await tried(engine, wms, file, capsys)
    assert differing == 1
    assert "0 kept, 1 added, 0 gone, 0 changed" in told
    (right,) = [line for line in told.splitlines() if line.startswith("  no longer wrong: ")]
    assert "'stock.counted' is none of" in right
    assert "1 payloads read" in told


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("def (:\n", "cannot be loaded: SyntaxError"),
        ("import no_such_thing_at_all\n", "cannot be loaded: ModuleNotFoundError"),
        ("raise SystemExit(3)\n", "cannot be loaded: SystemExit"),
        ("x = 1\n", "it has no class"),
        ("class Half:\n    def verify(self): ...\n", "Half has no event_id, translate, acknowledge, refuse, answer"),
        (ADAPTER + "    def __init__(self, name): ...\n", "Mine of .* cannot be made: TypeError"),
        (
            ADAPTER.replace("class Mine(Wms):", "class Mine(Wms):\n    @property\n    def family(self): raise AttributeError"),
            "no family",
        ),
        (ADAPTER + "\n\nclass Other(Mine): ...\n", "2 adapters"),
    ],
)
async def test_a_file_that_is_no_adapter_is_told_in_one_line(engine, tmp_path, text, why):
    wms = await partner(engine, "wms", "ST-1")
    file = tmp_path / "mine.py"
    file.write_text(text)
    desk = Desk(None, engine, Reads(engine), None)
    with pytest.raises(Problem, match=why) as no:
        await shadow(Asked(str(wms.source_id), None, 5, file), desk)
    assert "\n" not in str(no.value)


async def test_one_of_the_two_is_named(engine, tmp_path):
    wms = await partner(engine, "wms", "ST-1")
    desk = Desk(None, engine, Reads(engine), None)
    for profile, adapter in ((None, None), (tmp_path / "a", tmp_path / "b")):
        with pytest.raises(Problem, match="--profile FILE or --adapter FILE"):
            await shadow(Asked(str(wms.source_id), profile, 5, adapter), desk)
    with pytest.raises(Problem, match="there is no file"):
        await shadow(Asked(str(wms.source_id), None, 5, tmp_path / "none.py"), desk)


async def test_as_it_is_typed(engine, database_url, tmp_path):
    wms = await partner(engine, "wms", "ST-1")
    await wms.tell("webhooks/stock", snapshot("ST-1", ("A", 1, 1), ("B", 2, 1)))
    file = tmp_path / "mine.py"
    file.write_text(ADAPTER)
    env = {"HAAT_DATA": str(tmp_path / "data"), "HAAT_DATABASE_URL": database_url}
    done = haat("shadow", str(wms.source_id), "--adapter", str(file), env=env)
    assert done.returncode == 0, done.stderr
    assert "2 kept, 1 added, 1 gone, 1 changed" in done.stderr
    file.write_text("def (:\n")
    broken = haat("shadow", str(wms.source_id), "--adapter", str(file), env=env)
    assert broken.returncode == 1
    assert broken.stderr.startswith("haat: ")
    assert "Traceback" not in broken.stderr


def test_commands_of_one_thing_are_held_against_each_other_in_their_order():
    def price(id, amount, **more):
        return UpdatePrice(variant=id, price_minor=amount, **more)

    found = told_apart(difference(Reading([price("A", 1), price("A", 2), price("B", 1)]), Reading([price("A", 3), price("C", 1)])))
    (change,) = found.changed
    assert (change.before, change.after, change.fields) == (price("A", 1), price("A", 3), {"price_minor": (1, 3)})
    assert (found.gone, found.added, found.size) == ([price("A", 2), price("B", 1)], [price("C", 1)], 4)
    elsewhere = told_apart(difference(Reading([price("A", 1, store="S1")]), Reading([price("A", 1, store="S2")])))
    assert (len(elsewhere.gone), len(elsewhere.added), len(elsewhere.changed)) == (1, 1, 0)


async def test_an_adapter_reads_what_lies_in_the_blob_store_and_what_is_lost_is_told(engine, tmp_path, capsys):
    wms, shelf = await partner(engine, "wms", "ST-1"), Shelf()
    bodies = Bodies(shelf, 10)
    wms.door = replace(wms.door, bodies=bodies)
    wms.client = client_of(wms.door)
    for id in ("A", "B"):
        await wms.tell("webhooks/stock", snapshot("ST-1", (id, 1, 1)))
    shelf.held.pop(next(iter(shelf.held)))  # of the first that was told
    file = tmp_path / "mine.py"
    file.write_text(ADAPTER)
    assert await shadow(Asked(str(wms.source_id), None, 50, file), Desk(None, engine, Reads(engine), None, bodies)) == 1
    told = capsys.readouterr().err
    assert "is not in the blob store" in told
    assert "VARIANT:B@ST-1: quantity 1 → 2" in told
