"""A shop's catalogue from a file."""

import asyncio
import csv
import json
import os
import random
import threading
import time
from pathlib import Path

import pytest
from sqlalchemy import func, select, update

from db import tables as t
from db.reads import Reads
from db.unit_of_work import unit_of_work
from domain.refusals import NotFound, Refused
from providers.catalogue_file import CatalogueFile
from providers.catalogue_rows import COLUMNS
from tests.figures import show
from tests.partners import partner
from tests.waiting import until
from tests.world import shop
from workers.imports import import_catalogue

ROWS = 2_000
REAL_ROWS = 13_778  # of a grocer's


def write(path: Path, rows: int = ROWS, seed: int = 7) -> Path:
    """So many goods; names come more than once, prices have paise, ratings are missing."""
    chance = random.Random(seed)
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(COLUMNS)
        for n in range(1, rows + 1):
            mrp = chance.randrange(100, 100_000)
            price = mrp - chance.randrange(0, mrp // 2)
            name = f"{chance.choice(['Tea', 'Rice', '6' + chr(34) + ' pan', 'ಹಾಲು'])}, {n % (rows // 2)}"
            shelf = f"Aisle {n % 9}", f"Shelf {n % 40}"
            rating = chance.choice(["", "4.1"])
            writer.writerow([n, name, *shelf, f"Brand {n % 30}", f"{price / 100:.2f}", f"{mrp / 100:.2f}", "Kind", rating])
    return path


async def bring_in(engine, path: Path, slug: str, stock: int | None = 100):
    told: list[tuple[int, int]] = []
    report = await import_catalogue(
        path,
        slug,
        stock,
        lambda done, total: told.append((done, total)),
        unit_of_work=lambda: unit_of_work(engine),
        reads=Reads(engine),
        inbound=CatalogueFile(),
    )
    return report, told


async def of_store(engine, store_id):
    li, level, v = t.listing.c, t.stock_level.c, t.variant.c
    found = (
        select(v.sku, li.id, li.price_minor, li.mrp_minor, li.version, level.on_hand, level.version.label("level"))
        .join_from(t.listing, t.stock_level, level.listing_id == li.id)
        .join(t.variant, v.id == li.variant_id)
        .where(li.store_id == store_id)
    )
    async with engine.connect() as connection:
        return {row.sku: row for row in await connection.execute(found)}


async def test_two_thousand_rows_go_in_and_the_same_file_again_changes_nothing(engine, tmp_path):
    mine, path = await shop(engine, slug="fresh"), write(tmp_path / "goods.csv")
    report, told = await bring_in(engine, path, "fresh")
    assert (report.rows, report.refused, report.wrong, report.unchanged) == (ROWS, [], [], False)
    assert told[-1] == (4 * ROWS, 4 * ROWS)
    assert [done for done, _ in told] == sorted(done for done, _ in told)
    before = await of_store(engine, mine.store_id)
    assert len(before) == ROWS  # rows of one name are not one product
    assert {row.on_hand for row in before.values()} == {100}
    with path.open(newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            assert before[row["index"]].price_minor == round(float(row["sale_price"]) * 100)
    report, _ = await bring_in(engine, path, "fresh")
    assert report.unchanged
    assert await of_store(engine, mine.store_id) == before


async def test_whoever_ends_an_import_waits_for_no_file_that_hangs(engine, tmp_path):
    """As one on a mount that is gone: who opens it hangs in the kernel."""
    path = tmp_path / "hangs.csv"
    os.mkfifo(path)
    reading = threading.Event()

    class Hangs(type(path)):
        def read_bytes(self) -> bytes:
            reading.set()
            return super().read_bytes()

    async def importing() -> None:
        task = asyncio.create_task(bring_in(engine, Hangs(path), "fresh"))
        await until(reading.is_set)
        task.cancel()
        await asyncio.wait([task])

    command = threading.Thread(target=lambda: asyncio.run(importing()))
    command.start()
    try:
        await until(lambda: not command.is_alive())
    finally:
        os.close(os.open(path, os.O_RDWR | os.O_NONBLOCK))
        command.join()


def a_shops(path: Path) -> tuple[Path, int]:
    """A catalogue as long as a real one is, or the real one of HAAT_TEST_CATALOGUE; and its rows."""
    real = os.environ.get("HAAT_TEST_CATALOGUE")
    if real is None:
        return write(path, REAL_ROWS), REAL_ROWS
    with Path(real).open(newline="", encoding="utf-8") as file:
        return Path(real), sum(1 for _ in csv.DictReader(file))


def as_feed(path: Path, to: Path) -> Path:
    """The grocer's list as a product feed."""
    with path.open(newline="", encoding="utf-8") as file:
        rows = [
            {
                "id": row["index"],
                "title": row["product"],
                "product_type": f"{row['category']} > {row['sub_category']}",
                "brand": row["brand"],
                "price": f"{row['sale_price']} INR",
                "mrp": row["market_price"],
            }
            for row in csv.DictReader(file)
        ]
    to.write_text(json.dumps({"feed_id": "real", "rows": rows}), encoding="utf-8")
    return to


@pytest.mark.long
@pytest.mark.parametrize("written", ["list", "feed"])
async def test_a_real_shops_catalogue_goes_in_and_the_same_again_changes_nothing(engine, tmp_path, written):
    mine = await shop(engine, slug=f"real-{written}")
    path, rows = a_shops(tmp_path / "goods.csv")
    path = as_feed(path, tmp_path / "goods.json") if written == "feed" else path
    began = time.monotonic()
    report, told = await bring_in(engine, path, f"real-{written}")
    first_s, began = time.monotonic() - began, time.monotonic()
    before = await of_store(engine, mine.store_id)
    again, _ = await bring_in(engine, path, f"real-{written}")
    again_s = time.monotonic() - began
    refused = len({bad.row for bad in report.refused})
    show("import", catalogue=path.name, rows=rows, refused=refused, seconds=round(first_s, 1), again_seconds=round(again_s, 1))
    assert report.rows + refused == rows
    assert (report.wrong, report.unchanged, again.unchanged) == ([], False, True)
    assert told[-1][0] == told[-1][1]
    assert len(before) == report.rows
    assert await of_store(engine, mine.store_id) == before


async def test_a_file_with_one_price_changed_changes_one_listing(engine, tmp_path):
    mine, path = await shop(engine, slug="changing"), write(tmp_path / "goods.csv", 200)
    await bring_in(engine, path, "changing")
    before = await of_store(engine, mine.store_id)
    lines = path.read_text(encoding="utf-8").splitlines()
    fields = next(csv.reader([lines[17]]))
    fields[5] = "0.50"
    lines[17] = ",".join(f'"{field.replace(chr(34), chr(34) * 2)}"' for field in fields)
    path.write_text("\n".join(lines), encoding="utf-8")
    report, _ = await bring_in(engine, path, "changing", stock=None)
    assert not report.unchanged
    after = await of_store(engine, mine.store_id)
    assert {sku for sku in after if after[sku] != before[sku]} == {"17"}
    assert (after["17"].price_minor, after["17"].version) == (50, before["17"].version + 1)


async def test_of_a_damaged_file_the_good_rows_go_in_and_the_bad_are_told_by_number(engine, tmp_path):
    mine, path = await shop(engine, slug="damaged"), write(tmp_path / "goods.csv")
    lines = path.read_bytes().splitlines()
    chance = random.Random(3)
    damage = (
        lambda line: line.rsplit(b",", 3)[0],
        lambda line: line + b",more",
        lambda line: line.replace(b"Brand", b"Br\0nd"),
        lambda line: line.replace(b"Brand", b"\xff\xfe"),
        lambda line: b"1," + line.partition(b",")[2],
        lambda line: line.replace(b"Aisle", b'"Aisle'),
    )
    hurt = sorted(chance.sample(range(2, ROWS), 120))  # never the first row, whose index the repeats take
    for n, place in enumerate(hurt):
        lines[place] = damage[n % len(damage)](lines[place])
    path.write_bytes(b"\n".join(lines))
    report, _ = await bring_in(engine, path, "damaged")
    assert [bad.row for bad in report.refused] == [place + 1 for place in hurt]
    assert all(bad.reasons for bad in report.refused)
    assert report.rows == ROWS - 120
    assert len(await of_store(engine, mine.store_id)) == ROWS - 120
    async with engine.connect() as connection:
        f = t.failure.c
        (failure,) = (await connection.execute(select(t.failure).where(f.payload_id == report.payload_id))).all()
    assert (failure.kind.value, failure.state.value) == ("VALIDATION", "OPEN")
    assert f"row {hurt[0] + 1}" in failure.message


async def test_a_file_that_is_no_catalogue_and_a_store_that_is_not_there(engine, tmp_path):
    await shop(engine, slug="there")
    (tmp_path / "no.csv").write_text("a,b\n1,2\n")
    report, _ = await bring_in(engine, tmp_path / "no.csv", "there")
    assert (report.rows, [bad.row for bad in report.refused]) == (0, [1])
    with pytest.raises(Refused) as no:
        await bring_in(engine, write(tmp_path / "goods.csv", 2), "nowhere")
    assert isinstance(no.value.refusal, NotFound)


async def test_two_stores_of_one_merchant_share_the_products_and_not_the_stock(engine, tmp_path):
    mine = await shop(engine, slug="first")
    other = await shop(engine, slug="second")
    async with engine.begin() as connection:
        moved = update(t.store).where(t.store.c.id == other.store_id).values(merchant_id=mine.merchant_id)
        await connection.execute(moved)
    path = write(tmp_path / "goods.csv", 50)
    await bring_in(engine, path, "first", stock=10)
    await bring_in(engine, path, "second", stock=20)
    one, two = await of_store(engine, mine.store_id), await of_store(engine, other.store_id)
    assert {row.on_hand for row in one.values()} | {row.on_hand for row in two.values()} == {10, 20}
    async with engine.connect() as connection:
        p = t.product.c
        made = (await connection.execute(select(func.count()).where(p.merchant_id == mine.merchant_id))).scalar_one()
        sources = select(func.count()).where(t.source.c.merchant_id == mine.merchant_id)
        assert (made, (await connection.execute(sources)).scalar_one()) == (50, 1)


async def test_a_catalogue_comes_in_by_its_door_too(engine, tmp_path):
    seller = await partner(engine, "catalogue_file", "mine")
    path = write(tmp_path / "goods.csv", 20)
    answer = await seller.client.post(f"{seller.path('import')}?stock=5", content=path.read_bytes())
    assert (answer.status_code, answer.json()["status"]) == (202, "accepted")
    await seller.worker.drain()
    assert await seller.payloads() == ["APPLIED"], await seller.failures()
    assert {(await seller.level(str(n))).on_hand for n in range(1, 21)} == {5}
