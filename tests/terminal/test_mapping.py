"""./haat map: a file of what is not mapped, looked through and sent back."""

import csv
import io
import json
from pathlib import Path
from time import monotonic

import psutil
import pytest
from sqlalchemy import select, update

from db import tables as t
from db.ids import new_id
from domain.intake import EntityKind
from domain.refusals import Refused
from launch.problem import Problem
from terminal import mapping
from terminal.desk import Desk
from terminal.mapping import Asked, map_ids
from tests.desks import desk_of
from tests.figures import show
from tests.launch.towns import haat
from tests.partners import dish, menu, partner, snapshot
from tests.world import listing

Output = pytest.CaptureFixture[str]


@pytest.fixture
def desk(engine, database_url: str, tmp_path: Path) -> Desk:
    return desk_of(engine, database_url, tmp_path)


async def test_a_sources_own_categories_are_listed_after_what_waits(engine, desk, tmp_path):
    till = await partner(engine, "petpooja", "k7x2m9qa")
    shelf = f"Shelf {till.source_id.hex[-6:]}"
    id = new_id()
    async with engine.begin() as connection:
        await connection.execute(t.category.insert().values(id=id, name="PIZZA", path=[shelf, "PIZZA"]))
    await till.tell("webhooks/menu", menu("k7x2m9qa", dish("1")))

    async def exported() -> list[list[str]]:
        file = tmp_path / "ids.csv"
        assert await map_ids(asked(till, file, export=True), desk)
        rows = csv.DictReader(io.StringIO(file.read_text("utf-8-sig")))
        return [[row[name] for name in ("kind", "external_id", "ours", "called", "reasons")] for row in rows]

    assert await exported() == [["CATEGORY", "Main / Pizza", "", "Pizza", "NAME"]]
    file = tmp_path / "back.csv"
    file.write_text(f"kind,external_id,ours\nCATEGORY,Main / Pizza,{shelf} / PIZZA\n")
    assert await map_ids(asked(till, file), desk)
    bare = menu("k7x2m9qa", dish("1"), dish("2", item_categoryid="701"))
    bare["categories"].append({"categoryid": "701", "active": "1", "parent_category_id": "9", "categoryname": "=Rolls"})
    await till.tell("webhooks/menu", bare)
    assert [row[:3] for row in await exported()] == [
        ["CATEGORY", "Main / =Rolls", ""],
        ["CATEGORY", "Main / Pizza", f"{shelf} / PIZZA"],
    ]


async def warehouse(engine, *told: str):
    """That speaks of these, and of a Masala Chai of ours by its barcode."""
    wms = await partner(engine, "wms", "ST-1")
    id = await listing(engine, wms.shop, 5, name="Masala Chai")
    async with engine.begin() as connection:
        await connection.execute(update(t.variant).where(t.variant.c.id == id).values(sku="CHAI", barcode="8901234567894"))
    lines = [(code, 42, 1) for code in ("8901234567894", *told)]
    await wms.tell("webhooks/stock", snapshot("ST-1", *lines))
    return wms, id


def asked(wms, file: Path | None = None, *, export: bool = False, json: bool = False) -> Asked:
    return Asked(file, str(wms.source_id), export, json)


@pytest.mark.parametrize("saved_as", ["utf-8", "utf-8-sig"])
async def test_what_is_exported_is_looked_through_and_sent_back(engine, desk, tmp_path, saved_as: str, capsys: Output):
    wms, id = await warehouse(engine, "=SUM(A1)", "zzz")
    file = tmp_path / "unmapped.csv"
    assert await map_ids(asked(wms, file, export=True), desk)
    assert file.read_bytes().startswith(b"\xef\xbb\xbfkind,")  # or a spreadsheet takes names for another encoding's
    rows = list(csv.DictReader(io.StringIO(file.read_text("utf-8-sig"))))
    # In whatever order the database has of texts; and no spreadsheet reckons with what only looks like a formula.
    assert {(row["kind"], row["external_id"], row["ours"]) for row in rows} == {
        ("VARIANT", "8901234567894", str(id)),
        ("VARIANT", "'=SUM(A1)", ""),
        ("VARIANT", "zzz", ""),
    }
    (known,) = [row for row in rows if row["ours"]]
    assert (known["ours"], known["name"], known["sku"]) == (str(id), "Masala Chai", "CHAI")
    assert (known["reasons"], known["score"], known["waiting"]) == ("BARCODE", "1.00", "1")
    assert "3 ids are not mapped" in capsys.readouterr().err

    for row in rows:
        row["ours"] = row["ours"] or ("CHAI" if row["external_id"].startswith("'=") else "")
    with file.open("w", encoding=saved_as) as out:
        writer = csv.DictWriter(out, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    assert await map_ids(asked(wms, file), desk)
    said = capsys.readouterr()
    assert (said.out, "3 rows: 2 mapped, 0 as before, 1 empty, 0 refused" in said.err) == ("", True)
    m = t.mapping.c
    found = await wms.rows(select(m.external_id).where(m.source_id == wms.source_id, m.kind == EntityKind.VARIANT))
    assert {row.external_id for row in found} == {"8901234567894", "=SUM(A1)"}
    await wms.worker.drain()
    assert (await wms.level("CHAI")).on_hand == 42


async def test_bad_rows_are_told_by_the_number_a_spreadsheet_shows(engine, desk, tmp_path, capsys: Output):
    wms, _ = await warehouse(engine)
    file = tmp_path / "ids.csv"
    file.write_text("kind,external_id,ours\nVARIANT,A,CHAI\nVARIANT,B,NO\nTHING,,CHAI\n")
    assert not await map_ids(asked(wms, file), desk)
    assert capsys.readouterr().out.splitlines() == [
        "row 3: ours: there is no variant 'NO'",
        "row 4: kind: 'THING' is none of STORE, PRODUCT, VARIANT, MODIFIER, CATEGORY; external_id: is missing",
    ]
    assert not await map_ids(asked(wms, file, json=True), desk)
    report = json.loads(capsys.readouterr().out)
    assert (report["rows"], report["mapped"], report["unchanged"], report["refused"]) == (3, 0, 1, 2)
    assert report["problems"][0] == {"path": "row 3.ours", "message": "there is no variant 'NO'"}


async def test_an_export_goes_through_all_of_them_a_part_at_a_time(engine, desk, monkeypatch, capsys: Output):
    monkeypatch.setattr(mapping, "AT_ONCE", 4)
    wms, _ = await warehouse(engine, *(f"Ü-{n}" for n in range(9)), *(f"a {n}" for n in range(4)))
    await map_ids(asked(wms, export=True), desk)
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert len(rows) == len({row["external_id"] for row in rows}) == 14


async def test_what_is_not_there_is_named(engine, desk, tmp_path):
    wms, _ = await warehouse(engine)
    for id in ("x", str(new_id())):
        with pytest.raises(Problem, match="there is no source"):
            await map_ids(Asked(None, id, export=True, json=False), desk)
    with pytest.raises(Problem, match="which file"):
        await map_ids(asked(wms), desk)
    with pytest.raises(Problem, match="there is no file"):
        await map_ids(asked(wms, tmp_path / "none.csv"), desk)
    file = tmp_path / "other.csv"
    file.write_text("a,b\n1,2\n")
    with pytest.raises(Refused, match="must name the columns"):
        await map_ids(asked(wms, file), desk)


async def test_as_it_is_typed(engine, database_url: str, tmp_path: Path):
    wms, id = await warehouse(engine, "unlike anything")
    env = {"HAAT_DATA": str(tmp_path / "data"), "HAAT_DATABASE_URL": database_url}
    exported = haat("map", "--export", "--source", str(wms.source_id), env=env)
    assert exported.returncode == 0, exported.stderr
    assert f"VARIANT,8901234567894,{id}," in exported.stdout
    file = tmp_path / "ids.csv"
    file.write_text(exported.stdout)
    mapped = haat("map", str(file), "--source", str(wms.source_id), env=env)
    assert (mapped.returncode, mapped.stdout) == (0, ""), mapped.stderr
    file.write_text("kind,external_id,ours\nVARIANT,A,NO\n")
    refused = haat("map", str(file), "--source", str(wms.source_id), env=env)
    assert (refused.returncode, refused.stdout) == (3, "row 2: ours: there is no variant 'NO'\n"), refused.stderr
    m = t.mapping.c
    found = await wms.rows(select(m.external_id).where(m.source_id == wms.source_id, m.kind == EntityKind.VARIANT))
    assert [row.external_id for row in found] == ["8901234567894"]


@pytest.mark.long
async def test_a_hundred_thousand_rows_go_in_and_need_no_more_room_than_ten_thousand(engine, desk, tmp_path, capsys: Output):
    wms, _ = await warehouse(engine)
    process, file, room = psutil.Process(), tmp_path / "many.csv", {}
    for rows in (10_000, 100_000):
        with file.open("w") as out:
            out.write("kind,external_id,ours\n")
            out.writelines(f"VARIANT,ID-{n},{'CHAI' if n % 10 else 'NO'}\n" for n in range(rows))
        began = monotonic()
        assert not await map_ids(asked(wms, file), desk)
        room[rows] = process.memory_info().rss
        show("mapping by a file", rows=rows, seconds=round(monotonic() - began, 1), rss_mb=room[rows] // 2**20)
    assert "100000 rows: 81000 mapped, 9000 as before, 0 empty, 10000 refused" in capsys.readouterr().err
    assert room[100_000] - room[10_000] < 64 * 2**20
    began = monotonic()
    assert not await map_ids(asked(wms, file), desk)
    show("mapping by the same file", rows=rows, seconds=round(monotonic() - began, 1))
    assert "0 mapped, 90000 as before" in capsys.readouterr().err
