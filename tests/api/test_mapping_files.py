"""Mapping by a file, through the API: every row that is right, all that is wrong at once, and nothing twice."""

import pytest
from sqlalchemy import func, select

from db import tables as t
from db.ids import new_id
from domain import mapping_files
from domain.identity import MerchantRole
from tests.api.test_failures import CONNECT, connected
from tests.api.test_mappings import good, names, sent, unmapped
from tests.api.test_profiles import Connecting
from tests.world import listing, member, shop

MAP_ALL = """mutation($source: ID!, $csv: String!) { mapExternalIds(sourceId: $source, csv: $csv) {
    rows mapped unchanged empty refused problems { path message } problemsLeftOut } }"""
HEADER = "kind,external_id,ours"


@pytest.fixture
def desk(engine):
    return Connecting(engine)


def file(*rows: str) -> str:
    return "\n".join((HEADER, *rows))


async def map_all(desk, actor, said, *rows: str):
    return await desk.say(MAP_ALL, actor, source=said["source"]["id"], csv=file(*rows))


async def mappings(desk, said):
    m = t.mapping.c
    found = await desk.reads.rows(select(m.external_id, m.id).where(m.source_id == said["source"]["id"], m.kind != "STORE"))
    return {row.external_id: str(row.id) for row in found}


async def audited(desk, mine):
    a = t.audit.c
    found = await desk.reads.rows(select(a.action, a.detail).where(a.merchant_id == mine.merchant_id).order_by(a.seq))
    return [(row.action, row.detail) for row in found]


async def test_good_rows_are_mapped_bad_ones_told_and_what_waited_runs(desk):
    mine, tea, said = await connected(desk)
    chips = await good(desk, mine, "Banana Chips", barcode="0036000291452", sku="BAN-1")
    await sent(desk, said, ("ITS-CHIPS", 42, 1), ("ITS-TEA", 7, 1), ("ITS-OIL", 1, 1))
    told = await map_all(
        desk,
        mine.owner,
        said,
        "VARIANT,ITS-CHIPS,36000291452",  # as a spreadsheet writes it, without its zeros
        "VARIANT,ITS-TEA,TEA",
        "VARIANT,ITS-OIL,OIL-1",
        "THING,ITS-RICE,TEA",
        "VARIANT,ITS-SALT,",
        f"PRODUCT,ITS-P,{chips}",
    )
    assert told == {
        "rows": 6,
        "mapped": 3,
        "unchanged": 0,
        "empty": 1,
        "refused": 2,
        "problems": [
            {"path": "row 4.ours", "message": "there is no variant 'OIL-1'"},
            {
                "path": "row 5.kind",
                "message": "'THING' is none of STORE, PRODUCT, VARIANT, MODIFIER, CATEGORY",
            },
        ],
        "problemsLeftOut": 0,
    }
    assert await mappings(desk, said) == {"ITS-CHIPS": chips, "ITS-TEA": str(tea), "ITS-P": chips}
    await desk.worker.drain()
    level = t.stock_level.c
    counted = await desk.reads.rows(select(level.on_hand).where(level.listing_id.in_([chips, tea])).order_by(level.on_hand))
    assert [row.on_hand for row in counted] == [7, 42]
    assert names(await unmapped(desk, mine.owner)) == [("VARIANT", "ITS-OIL", 1)]


async def test_the_audit_has_each_mapping_and_one_entry_with_the_counts(desk):
    mine, tea, said = await connected(desk)
    before = await audited(desk, mine)
    await map_all(desk, mine.owner, said, "VARIANT,A,TEA", "VARIANT,B,TEA", "VARIANT,C,NO")
    assert (await audited(desk, mine))[len(before) :] == [
        ("mapExternalId", f"VARIANT:A is {tea}"),
        ("mapExternalId", f"VARIANT:B is {tea}"),
        ("mapFile", "3 rows: 2 mapped, 0 as before, 0 empty, 1 refused"),
    ]


async def test_the_same_file_again_changes_nothing_and_another_word_does(desk):
    mine, _, said = await connected(desk)
    chips = await good(desk, mine, "Banana Chips", sku="BAN-1")
    await map_all(desk, mine.owner, said, "VARIANT,A,TEA")
    before = await audited(desk, mine)
    again = await map_all(desk, mine.owner, said, "VARIANT,A,TEA")
    assert (again["mapped"], again["unchanged"], await audited(desk, mine)) == (0, 1, before)
    other = await map_all(desk, mine.owner, said, "VARIANT,A,BAN-1")
    assert (other["mapped"], other["unchanged"], await mappings(desk, said)) == (1, 0, {"A": chips})


async def test_what_is_several_of_ours_is_not_guessed(desk):
    mine, _, said = await connected(desk)
    await good(desk, mine, "Tea, small", barcode="8901234567894", sku="S")
    await good(desk, mine, "Tea, large", barcode="8901234567894", sku="8901234567001")
    await good(desk, mine, "Rice", barcode="8901234567001", sku="R")
    told = await map_all(desk, mine.owner, said, "VARIANT,A,8901234567894", "VARIANT,B,8901234567001", "VARIANT,C,S")
    assert [one["message"] for one in told["problems"]] == [
        "'8901234567894' is 2 of your variants: say which by its id",
        "'8901234567001' is 2 of your variants: say which by its id",
    ]
    assert told["mapped"] == 1


async def test_stores_are_named_by_slug_and_everything_by_its_id(desk):
    mine = await shop(desk.engine)
    said = await desk.say(CONNECT, mine.owner, merchant=str(mine.merchant_id), provider="wms")
    id = await listing(desk.engine, mine, 1)
    group, choice, category = await _made(desk, mine)
    told = await map_all(
        desk,
        mine.owner,
        said,
        f"STORE,S-1,s-{mine.store_id}",
        f"STORE,S-2,{mine.store_id}",
        f"PRODUCT,P,SKU-{id}",
        f"MODIFIER,M,{choice}",
        f"CATEGORY,C,{category}",
        f"CATEGORY,Main / C,Made / {category}",
        f"CATEGORY,Main / D,Made / {mine.merchant_id}",
        f"MERCHANT,ME,{mine.merchant_id}",
        f"MODIFIER,N,{group}",
    )
    assert (told["mapped"], [one["path"] for one in told["problems"]]) == (6, ["row 8.ours", "row 9.kind", "row 10.ours"])


async def _made(desk, mine):
    group, choice, category = new_id(), new_id(), new_id()
    where = {"merchant_id": mine.merchant_id, "store_id": mine.store_id}
    async with desk.engine.begin() as connection:
        await connection.execute(t.modifier_group.insert().values(id=group, name="Extras", external_id="g", **where))
        made = t.modifier.insert().values(id=choice, group_id=group, name="Cheese", external_id="m", price_minor=1, **where)
        await connection.execute(made)
        await connection.execute(t.category.insert().values(id=category, name="C", path=["Made", str(category)]))
    return group, choice, category


async def test_another_merchants_are_not_there(desk):
    mine, _, said = await connected(desk)
    another = await shop(desk.engine)
    theirs = await good(desk, another, "Tea", sku="THEIRS", barcode="8901234567894")
    told = await map_all(
        desk, mine.owner, said, f"VARIANT,A,{theirs}", "VARIANT,B,THEIRS", "VARIANT,C,8901234567894", f"STORE,D,{another.store_id}"
    )
    assert (told["mapped"], told["refused"]) == (0, 4)
    clerk = await member(desk.engine, mine, MerchantRole.CLERK, [mine.store_id])
    for actor in (another.owner, clerk):
        assert await desk.no(MAP_ALL, actor, source=said["source"]["id"], csv=file("VARIANT,A,TEA")) == "NOT_FOUND"
        assert await desk.no(MAP_ALL, actor, source=said["source"]["id"], csv=file()) == "NOT_FOUND"
    assert await mappings(desk, said) == {}


async def test_what_is_no_such_file_is_refused_whole(desk):
    mine, _, said = await connected(desk)
    for csv in ("", "VARIANT,A,TEA", "kind;external_id\nVARIANT;A"):
        assert await desk.no(MAP_ALL, mine.owner, source=said["source"]["id"], csv=csv) == "INVALID_INPUT"


async def test_a_long_file_is_done_in_parts_and_told_as_one(desk, monkeypatch):
    monkeypatch.setattr(mapping_files, "AT_ONCE", 3)
    monkeypatch.setattr(mapping_files, "ERRORS_SHOWN", 2)
    mine, _, said = await connected(desk)
    rows = [f"VARIANT,A-{n},{'TEA' if n % 2 else 'NO'}" for n in range(10)]
    told = await map_all(desk, mine.owner, said, *rows, "VARIANT,A-1,TEA")
    assert {name: told[name] for name in ("rows", "mapped", "refused", "problemsLeftOut")} == {
        "rows": 11, "mapped": 5, "refused": 6, "problemsLeftOut": 4,
    }  # fmt: skip
    assert [one["path"] for one in told["problems"]] == ["row 2.ours", "row 4.ours"]
    assert [detail for action, detail in await audited(desk, mine) if action == "mapFile"] == [
        "11 rows: 5 mapped, 0 as before, 0 empty, 6 refused"
    ]


async def test_a_file_that_is_begun_again_goes_on_where_it_was(desk, monkeypatch):
    monkeypatch.setattr(mapping_files, "AT_ONCE", 2)
    mine, _, said = await connected(desk)
    await map_all(desk, mine.owner, said, "VARIANT,A-1,TEA", "VARIANT,A-2,NO")
    told = await map_all(desk, mine.owner, said, "VARIANT,A-1,TEA", "VARIANT,A-2,NO", "VARIANT,A-3,TEA")
    assert (told["mapped"], told["unchanged"], told["refused"]) == (1, 1, 1)
    m = t.mapping.c
    assert await desk.reads.value(select(func.count()).where(m.source_id == said["source"]["id"], m.kind == "VARIANT")) == 2
