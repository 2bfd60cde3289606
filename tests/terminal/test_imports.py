"""./haat import: what went in, what did not, and why."""

import json
from pathlib import Path

import pytest
import pytest_asyncio
from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncEngine

from db.tables import listing, stock_level
from launch.problem import Problem
from terminal.accounts import NewMerchant, add_merchant
from terminal.desk import Desk
from terminal.imports import SHOWN, Asked, bring_in
from tests.desks import desk_of

HEADER = "index,product,category,sub_category,brand,sale_price,market_price,type,rating\n"
GOOD = "1,Garlic Oil,Health,Oils,Sri,220,240,Oil,4.1\n2,Brass Lamp,Home,Pooja,Trm,119,250,Lamp,3.4\n"
DEAR = "3,Soap,Beauty,Bath,Nivea,162,100,Soap,4.4\n"
SLUG = "big-mart"
Output = pytest.CaptureFixture[str]


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def desk(engine: AsyncEngine, database_url: str, tmp_path_factory: pytest.TempPathFactory) -> Desk:
    desk = desk_of(engine, database_url, tmp_path_factory.mktemp("empty"))
    await add_merchant(NewMerchant("Big Mart", "Big Mart", "Bengaluru", 12.97, 77.64), desk)
    return desk


def asked(directory: Path, rows: str, stock: int | None = 7, *, store: str = SLUG, json: bool = False) -> Asked:
    file = directory / "goods.csv"
    file.write_text(rows)
    return Asked(file, store, stock, json)


async def test_all_rows_in_is_a_good_end_and_the_same_file_again_changes_nothing(desk: Desk, tmp_path: Path, capsys: Output):
    for _ in range(2):
        assert await bring_in(asked(tmp_path, HEADER + GOOD), desk)
        levels = await desk.reads.rows(select(stock_level.c.on_hand, stock_level.c.version))
        assert [tuple(level) for level in levels] == [(7, 1), (7, 1)]
    said = capsys.readouterr()
    assert said.out == ""
    assert "2 rows went in, 0 were refused" in said.err
    assert "came before: nothing changed" in said.err


async def test_refused_rows_are_told_by_the_number_a_spreadsheet_shows(desk: Desk, tmp_path: Path, capsys: Output):
    assert not await bring_in(asked(tmp_path, f"{HEADER}{DEAR}{GOOD}x,y\n"), desk)
    assert capsys.readouterr().out.splitlines() == [
        "row 2: sale_price: 162.00 is above the market price, 100.00",
        "row 5: has 2 columns, not 9",
    ]
    assert await desk.reads.value(select(func.count()).select_from(listing)) == 2


async def test_json_tells_of_every_refused_row_and_the_table_of_the_first(desk: Desk, tmp_path: Path, capsys: Output):
    many = HEADER + GOOD + "x,y\n" * (SHOWN + 9)
    await bring_in(asked(tmp_path, many), desk)
    assert capsys.readouterr().out.splitlines()[SHOWN:] == ["… and 9 more: --json tells of all"]
    await bring_in(asked(tmp_path, many, json=True), desk)
    report = json.loads(capsys.readouterr().out)
    assert (report["rows"], len(report["refused"])) == (2, SHOWN + 9)
    assert report["refused"][0] == {"row": 4, "reasons": ["has 2 columns, not 9"]}


async def test_a_file_that_is_no_catalogue_is_said_to_be_none(desk: Desk, tmp_path: Path, capsys: Output):
    with pytest.raises(Problem, match="nothing of it went in"):
        await bring_in(asked(tmp_path, "a,b\n1,2\n"), desk)
    assert capsys.readouterr().out.startswith("row 1: the first row must be index,product,")


async def test_what_is_not_there_is_named(desk: Desk, tmp_path: Path):
    with pytest.raises(Problem, match="there is no store nope: some there are: big-mart"):
        await bring_in(asked(tmp_path, HEADER + GOOD, store="nope"), desk)
    with pytest.raises(Problem, match="there is no file"):
        await bring_in(Asked(tmp_path / "none.csv", SLUG, None, json=False), desk)
