"""A shop's catalogue from a file."""

import asyncio
import csv
import json
import os
import random
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import func, select, update

from db import sources
from db import tables as t
from db.reads import Reads
from db.unit_of_work import unit_of_work
from domain.imports import ERRORS_SHOWN
from domain.intake import Call
from domain.refusals import NotFound, Refused
from providers.catalogue_file import CatalogueFile
from providers.catalogue_rows import COLUMNS
from tests.figures import show
from tests.partners import partner
from tests.waiting import until
from tests.world import shop
from webhooks.imports import Reports
from workers.file_import import import_catalogue

ROWS = 2_000
REAL_ROWS = 13_778  # of a grocer's
SPOILED = 99


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


def a_shops(path: Path) -> Path:
    """A catalogue as long as a real one is, with some rows that cannot be, or the real one of HAAT_TEST_CATALOGUE."""
    real = os.environ.get("HAAT_TEST_CATALOGUE")
    return spoiled(write(path, REAL_ROWS)) if real is None else Path(real)


def goods_of(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


SPOILS = (
    {"index": ""},
    {"index": "1"},  # the first row's
    {"product": " "},
    {"product": "x" * 301},
    {"sale_price": ""},
    {"sale_price": "ask"},
    {"sale_price": "12.345"},
    {"sale_price": "-1"},
    {"sale_price": "2000.00"},  # no MRP is as high
    {"market_price": "n/a"},
    {"index": "", "sale_price": "ask"},
)


def spoiled(path: Path) -> Path:
    """So many of its rows, the last among them, and never the first."""
    rows = goods_of(path)
    places = sorted({len(rows) - 1, *random.Random(5).sample(range(1, len(rows) - 1), SPOILED - 1)})
    for n, place in enumerate(places):
        rows[place] |= SPOILS[n % len(SPOILS)]
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, COLUMNS)
        writer.writeheader()
        writer.writerows(rows)
    return path


def as_feed(path: Path, to: Path) -> Path:
    """The grocer's list as a product feed."""
    rows = [
        {
            "id": row["index"],
            "title": row["product"],
            "product_type": f"{row['category']} > {row['sub_category']}",
            "brand": row["brand"],
            "price": row["sale_price"] and f"{row['sale_price']} INR",
            "mrp": row["market_price"],
        }
        for row in goods_of(path)
    ]
    to.write_text(json.dumps({"feed_id": "real", "rows": rows}), encoding="utf-8")
    return to


def wrong_in(path: Path, written: str) -> list[tuple[int, str, str, str]]:
    """Of a grocer's list, as docs/providers/catalogue_file.md has it: rows by number, ids, fields and codes."""
    feed, seen, found = written == "feed", set[str](), []
    for number, row in enumerate(goods_of(path), 1 if feed else 2):
        sku = row["index"].strip()
        found += [(number, sku, place, code) for place, code in wrong_of(row, feed=feed, again=sku in seen)]
        seen.add(sku)
    return found


def wrong_of(row: dict[str, str], *, feed: bool, again: bool) -> Iterator[tuple[str, str]]:
    id, title, price, mrp = ("id", "title", "price", "mrp") if feed else ("index", "product", "sale_price", "market_price")
    if not row["index"].strip():
        yield id, "missing"
    elif again:
        yield id, "duplicate"
    name = row["product"].strip()
    if not name or len(name) > 300:
        yield title, "too_long" if name else "missing"
    charged, charged_code = amount(row["sale_price"])
    most, most_code = amount(row["market_price"])
    if charged_code:
        yield price, charged_code
    if most_code and most_code != "missing":
        yield mrp, most_code
    if charged is not None and most is not None and charged > most:
        yield price, "price_above_mrp"
    if not feed and row["rating"].strip() and amount(row["rating"])[1] == "not_a_number":
        yield "rating", "not_a_number"


def amount(text: str) -> tuple[Decimal | None, str]:
    """And what is wrong with it, if something is."""
    if not text.strip():
        return None, "missing"
    try:
        told = Decimal(text.strip())
    except InvalidOperation:
        return None, "not_a_number"
    if told < 0:
        return None, "out_of_range"
    return (told, "") if told * 100 == int(told * 100) else (None, "too_fine")


async def told_of(engine, payload_id: UUID) -> dict[str, Any]:
    """What the file's sender hears who asks how far it is."""
    reads, inbound = Reads(engine), CatalogueFile()
    async with engine.connect() as connection:
        of = select(t.payload.c.source_id).where(t.payload.c.id == payload_id)
        source = await sources.any_by_id(reads, (await connection.execute(of)).scalar_one())
    asked = inbound.translate(Call("import-job", b"", {}, datetime.now(UTC), path={"job": str(payload_id)}), source)
    return (await Reports().answer(asked, inbound, source, reads)).body


async def whole_and_again(engine, path: Path, to: Path, written: str) -> None:
    slug = to.stem
    mine = await shop(engine, slug=slug)
    wrong, rows = wrong_in(path, written), len(goods_of(path))
    path = as_feed(path, to) if written == "feed" else path
    began = time.monotonic()
    report, told = await bring_in(engine, path, slug)
    first_s, began = time.monotonic() - began, time.monotonic()
    before = await of_store(engine, mine.store_id)
    again, _ = await bring_in(engine, path, slug)
    again_s = time.monotonic() - began
    left_out = sorted({number for number, *_ in wrong})
    show(
        "import", catalogue=path.name, rows=rows, refused=len(left_out), seconds=round(first_s, 1), again_seconds=round(again_s, 1)
    )
    assert [bad.row for bad in report.refused] == left_out
    assert (report.rows, report.wrong) == (rows - len(left_out), [])
    assert (report.unchanged, again.unchanged) == (False, True)
    assert told[-1][0] == told[-1][1]
    assert len(before) == report.rows
    assert await of_store(engine, mine.store_id) == before
    said = await told_of(engine, report.payload_id)
    shown = [(error["row"], error["id"], error["field"], error["code"]) for error in said["errors"]]
    assert shown == wrong[:ERRORS_SHOWN]
    assert said.get("errors_left_out", 0) == len(wrong) - len(shown)
    assert (said["rows_total"], said["rows_ok"], said["rows_failed"]) == (rows, report.rows, len(left_out))


@pytest.mark.parametrize("written", ["list", "feed"])
async def test_of_each_row_that_cannot_be_the_report_says_what_and_where(engine, tmp_path, written):
    path = spoiled(write(tmp_path / "goods.csv", 600))
    assert {code for *_, code in wrong_in(path, written)} == {
        "missing", "duplicate", "too_long", "not_a_number", "too_fine", "out_of_range", "price_above_mrp",
    }  # fmt: skip
    await whole_and_again(engine, path, tmp_path / f"spoiled-{written}.json", written)


@pytest.mark.long
@pytest.mark.parametrize("written", ["list", "feed"])
async def test_a_real_shops_catalogue_goes_in_and_the_same_again_changes_nothing(engine, tmp_path, written):
    await whole_and_again(engine, a_shops(tmp_path / "goods.csv"), tmp_path / f"real-{written}.json", written)


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
