"""Product feeds by Google Merchant's names: whatever they are written in, the same rows say the same."""

import json
import random
import tracemalloc
from collections import deque
from datetime import UTC, datetime
from itertools import islice
from typing import Any

import pytest

from domain.canonical import DeactivateMissing, StockMode, UpdatePrice, UpdateStockLevel, UpsertCatalogItem, UpsertVariant
from domain.catalog import Diet
from domain.intake import Reading, translated
from domain.refusals import Refused
from domain.stock import StockMovementKind
from providers.catalogue_file import CatalogueFile, RowProblem
from providers.catalogue_rows import MOST_ROWS, _line_count, _lines, file_of
from tests.providers.calls import call, said, source

FILE, STORE = CatalogueFile(), "BLR_DS1"
AT = datetime(2026, 1, 5, 2, 0, tzinfo=UTC)
COUNTED = StockMovementKind.COUNTED
TEA: dict[str, Any] = {
    "id": "TEA-250", "item_group_id": "TEA", "title": "Assam Tea 250 g", "brand": "Leafy", "gtin": "8900000000001",
    "image_link": "https://img.example/tea.jpg", "mrp": "210.00", "price": "189.00 INR", "hsn": "0902", "gst_rate": "5",
    "color": "", "size": "250g", "store_code": STORE, "quantity": "12", "availability": "in_stock",
}  # fmt: skip
ENVELOPE = {"feed_id": "brandx-2026-01-05-01", "generated_at": "2026-01-05T02:00:00Z", "mode": "partial"}


def told(body: Any, **query: str) -> Reading:
    return translated(FILE, call("import", body, **query), source(FILE, STORE))


def golden(at: datetime | None = AT) -> list[Any]:
    return [
        UpsertCatalogItem(
            item="TEA",
            title="Assam Tea 250 g",
            brand="Leafy",
            images=("https://img.example/tea.jpg",),
            attributes=(("hsn", "0902"), ("gst_rate", "5")),
            at=at,
        ),
        UpsertVariant(store=STORE, variant="TEA-250", item="TEA", title="250g", barcode="8900000000001", at=at),
        UpdatePrice(store=STORE, variant="TEA-250", price_minor=18900, mrp_minor=21000, at=at),
        UpdateStockLevel(store=STORE, id="TEA-250", mode=StockMode.ABSOLUTE, quantity=12, movement=COUNTED, at=at),
    ]


def csv_of(rows: list[dict[str, Any]], mark: str, name=lambda name: name, mark_of_order: str = "") -> bytes:
    lines = [mark.join(name(column) for column in rows[0]), *(mark.join(map(str, row.values())) for row in rows)]
    return (mark_of_order + "\r\n".join(lines)).encode()


def test_the_envelope_says_what_its_rows_say():
    batch = said(FILE, "import", {**ENVELOPE, "rows": [TEA]}, STORE)
    assert list(batch.commands) == golden()
    assert not batch.problems


@pytest.mark.parametrize(
    "body",
    [
        csv_of([TEA], ","),
        csv_of([TEA], "\t", lambda name: name.replace("_", " ").title(), "\ufeff"),
        csv_of([TEA], ";", str.upper),
        json.dumps([TEA]).encode(),
        b"\xef\xbb\xbf  \n" + json.dumps(TEA).encode() + b"\r\n\r\n",
        json.dumps([{f"g:{name}": value for name, value in TEA.items()}]).encode(),
        json.dumps({"rows": [TEA]}, indent=2).encode(),
    ],
    ids=["commas", "tabs", "semicolons", "list", "lines", "its own prefix", "bare envelope"],
)
def test_the_same_row_says_the_same_however_it_is_written(body):
    reading = told(body)
    assert reading.wrong is None
    assert list(reading.commands) == golden(at=None)


def test_what_stands_behind_the_rows_counts_as_what_stands_before_them():
    backwards = json.dumps({"rows": [TEA], **dict(reversed(ENVELOPE.items()))}).encode()
    assert list(told(backwards).commands) == golden()
    assert told(backwards).event_id == told({**ENVELOPE, "rows": [TEA]}).event_id == "feed:brandx-2026-01-05-01::"


def test_the_same_news_is_known_by_its_key_else_its_feed_else_its_bytes():
    body = {**ENVELOPE, "rows": [TEA]}
    with_key = call("import", body)
    assert FILE.event_id(type(with_key)("import", with_key.body, {"idempotency-key": "K"}, AT)) == "idempotency-key:K"
    assert FILE.event_id(call("import", body, store="x", mode="full")) == "feed:brandx-2026-01-05-01:x::full"
    of_bytes = {FILE.event_id(call("import", [TEA], **query)) for query in ({}, {"mode": "full"}, {"stock": "4"})}
    assert len(of_bytes) == 3
    assert all(id.startswith("file:") for id in of_bytes if id)
    for odd in ({"feed_id": ["x"], "rows": []}, {"feed_id": "\0", "rows": []}, b'{"feed_id": "x", "rows": [', {"feed_id": "x"}):
        assert (FILE.event_id(call("import", odd)) or "").startswith("file:")


def test_the_first_row_of_a_group_tells_of_the_product_and_each_of_its_form():
    rows = [
        {"id": "S-R", "item_group_id": "S", "title": "Shirt red", "item_group_title": "Shirt", "color": "Red", "size": "M"},
        {"id": "S-B", "item_group_id": "S", "title": "Shirt blue", "color": "Blue", "size": "L", "net_quantity": "1 pc"},
        {"id": "CAP", "title": "Cap", "color": "Black", "veg_flag": "", "product_type": "Clothes > Hats"},
    ]
    assert list(told(rows).commands) == [
        UpsertCatalogItem(item="S", title="Shirt"),
        UpsertCatalogItem(item="CAP", title="Cap", category=("Clothes", "Hats"), attributes=(("color", "Black"),)),
        UpsertVariant(variant="S-R", item="S", title="Red, M"),
        UpsertVariant(variant="S-B", item="S", title="Blue, L"),
        UpsertVariant(variant="CAP", item="CAP"),
    ]


def test_a_sale_price_is_the_price_and_a_file_of_stock_alone_needs_no_title():
    rows = [
        {"id": "A", "price": "100 INR", "sale_price": "INR 79.50", "mrp": 120},
        {"id": "B", "quantity": 0, "availability": "in stock"},
        {"id": "C", "quantity": "4", "availability": "Out of stock"},
        {"id": "D", "availability": "preorder"},
        {"id": "E", "availability": "limited_stock"},
        {"id": "F", "price": "1,00,000.00"},
    ]
    reading = told(rows, store=STORE, stock="9")
    assert reading.wrong is None
    prices = {one.variant: (one.price_minor, one.mrp_minor) for one in reading.commands if isinstance(one, UpdatePrice)}
    assert prices == {"A": (7950, 12000), "F": (10000000, None)}
    stock = {one.id: (one.quantity, one.available) for one in reading.commands if isinstance(one, UpdateStockLevel)}
    assert stock == {"A": (9, None), "B": (0, None), "C": (0, None), "D": (None, False), "E": (None, True), "F": (9, None)}
    assert {one.store for one in reading.commands} == {STORE}


def test_the_words_of_a_feed_are_read_as_people_write_them():
    row = {
        "id": 7, "title": "Ghee", "description": "Cow's", "veg_flag": "Veg", "fssai": 10012345678901, "shelf_life_days": 270,
        "country_of_origin": "IN", "net_quantity": "1 l", "unit": "jar", "mpn": "G1", "gtin": "890 000-0000001",
        "image_link": "https://x/a.jpg", "additional_image_link": ["https://x/b.jpg", "https://x/a.jpg"],
    }  # fmt: skip
    item, variant = told([row]).commands
    assert item == UpsertCatalogItem(
        item="7",
        title="Ghee",
        description="Cow's",
        diet=Diet.VEG,
        images=("https://x/a.jpg", "https://x/b.jpg"),
        attributes=(
            ("net_quantity", "1 l"),
            ("mpn", "G1"),
            ("unit", "jar"),
            ("fssai", "10012345678901"),
            ("country_of_origin", "IN"),
            ("shelf_life_days", "270"),
        ),
    )
    assert variant == UpsertVariant(variant="7", item="7", barcode="8900000000001")
    two = b"id,title,additional image link,additional image link\n1,Tea,https://x/1.jpg,\n2,Tin,https://x/1.jpg,https://x/2.jpg"
    assert [one.images for one in told(two).commands if isinstance(one, UpsertCatalogItem)] == [
        ("https://x/1.jpg",),
        ("https://x/1.jpg", "https://x/2.jpg"),
    ]


def test_of_many_images_the_first_are_kept_and_all_are_looked_at():
    many = [f"https://x/{n}.jpg" for n in range(25)]
    row = {"id": "7", "title": "Ghee", "image_link": many[0], "additional_image_link": ", ".join(many)}
    assert told([row]).commands[0].images == tuple(many[:20])
    [wrong] = told([row | {"additional_image_link": [*many, "y.jpg"]}, row | {"id": "8"}]).problems
    assert wrong.path == "row 1.additional_image_link[25]"


def test_every_problem_of_a_row_is_told_with_its_number_its_id_and_a_code():
    rows = [
        TEA,
        {"id": "RICE-1K", "price": "120.00", "mrp": "110.00"},
        {"id": "A", "price": "x INR", "quantity": "1.5", "availability": "maybe"},
        {"title": "nobody's"},
        TEA,
        {"id": "B", "price": "349,00", "sale_price": "1.005"},
        {"id": "C", "price": "5 INR", "mrp": "9 USD", "sale_price": "6"},
        {"id": "D", "gtin": "8.9E+12", "image_link": "tea.jpg", "gst_rate": "150"},
        {"id": "E"},
        "F",
        {"id": "G", "sale_price": "5", "sale_price_effective_date": "2026-01-01/2026-01-09"},
        {"id": "H", "mrp": "9"},
        {"id": "I", "brand": "untitled", "quantity": -1},
    ]
    reading = told(rows)
    assert [one.variant for one in reading.commands if isinstance(one, UpsertVariant)] == ["TEA-250"]
    assert {one.subject for one in reading.commands} == {"PRODUCT:TEA", "VARIANT:TEA-250"}
    found = [(one.row, one.id, one.field, one.code) for one in reading.problems if isinstance(one, RowProblem)]
    assert found == [
        (2, "RICE-1K", "price", "price_above_mrp"),
        (3, "A", "price", "not_a_number"),
        (3, "A", "quantity", "not_whole"),
        (3, "A", "availability", "unknown_word"),
        (4, "", "id", "missing"),
        (5, "TEA-250", "id", "duplicate"),
        (6, "B", "price", "not_a_number"),
        (6, "B", "sale_price", "too_fine"),
        (7, "C", "price", "several_currencies"),
        (7, "C", "sale_price", "sale_price_above_price"),
        (8, "D", "gst_rate", "out_of_range"),
        (8, "D", "image_link", "not_an_address"),
        (8, "D", "gtin", "not_a_barcode"),
        (8, "D", "title", "missing"),
        (9, "E", "", "empty"),
        (10, "", "", "not_an_object"),
        (11, "G", "sale_price_effective_date", "not_read"),
        (12, "H", "price", "missing"),
        (13, "I", "title", "missing"),
        (13, "I", "quantity", "out_of_range"),
    ]
    assert reading.wrong is not None
    assert "row 2.price: 120.00 is above the MRP, 110.00" in reading.wrong.message


def test_one_thing_in_two_stores_is_two_rows():
    rows = [{"id": "A", "store_code": "X", "quantity": 1}, {"id": "A", "store_code": "Y", "quantity": 2}]
    reading = told(rows)
    assert reading.wrong is None
    assert [(one.store, one.quantity) for one in reading.commands if isinstance(one, UpdateStockLevel)] == [("X", 1), ("Y", 2)]


def test_a_full_feed_takes_away_what_it_does_not_name_in_each_store_it_names():
    rows = [
        {"id": "A", "store_code": "X", "quantity": 1},
        {"id": "B", "store_code": "Y"},
        {"id": "C", "store_code": "X", "price": "?"},
    ]
    batch = said(FILE, "import", {"mode": "full", "rows": rows})
    # What has something wrong in it is there all the same.
    assert [one for one in batch.commands if isinstance(one, DeactivateMissing)] == [
        DeactivateMissing(store="X", present=("A", "C")),
        DeactivateMissing(store="Y", present=("B",)),
    ]
    assert FILE.in_pieces(call("import", {"mode": "full", "rows": rows}), source(FILE)).whole
    assert told(rows, mode="full").commands == batch.commands
    assert not any(isinstance(one, DeactivateMissing) for one in told({"mode": "partial", "rows": rows}).commands)


@pytest.mark.parametrize("bad", [{"quantity": 4}, "nothing", {"id": ["A"]}, {"id": "A", "store_code": {}}])
def test_where_a_row_cannot_be_told_nothing_is_taken_away(bad):
    reading = told({"mode": "full", "rows": [{"id": "A", "quantity": 1}, bad]})
    assert [type(one) for one in reading.commands] == [UpdateStockLevel]
    assert reading.problems[-1].message == "nothing is taken away: nobody can tell which good row 2 is"


def test_a_full_feed_of_no_good_row_takes_nothing_away():
    for body in ({"mode": "full", "rows": []}, {"mode": "full", "rows": [{"id": "A", "price": "?"}]}):
        assert told(body).refused


@pytest.mark.parametrize(
    ("body", "said_of_it"),
    [
        (b'{"rows": [{"id": "A", "quantity": 1},\n {"id"', "$: not JSON"),
        (b'[{"id": "A", "quantity": 1}', "$: not JSON"),
        (b'[{"id": "A", "quantity": 1}] [', "$: not JSON: more at character 29"),
        (b'{"rows": [{"id": "A", "quantity": 1}]} {', "$: not JSON: more at"),
        (b'[{"id": "A", "quantity": NaN}]', "$: not JSON: NaN is no number"),
        (b"[" * 100_000, "$: not JSON"),
        (b"[\xff]", "$: not JSON: it is not UTF-8"),
        (b"[]", "file: has no rows"),
        (b"sku\ttitle\n1\tTea", "row 1: the first row must be index,product"),
        (b"id,title,price,price\n1,Tea,1,2", "row 1: names price twice"),
        (b'{"mode": "some", "rows": []}', "$.mode: 'some' is none of full, partial"),
        (b'{"generated_at": "2026-02-05T02:00:00Z", "rows": []}', "is more than 24 hours ahead"),
        ("id,title\n1,Tea".encode("utf-16"), "row 1: the first row must be"),
    ],
)
def test_what_is_no_feed_is_refused_as_a_whole(body, said_of_it):
    reading = told(body)
    assert reading.refused
    assert reading.wrong is not None
    assert said_of_it in reading.wrong.message


def test_a_bad_line_of_many_is_a_bad_row():
    lines = [json.dumps({"id": str(n), "quantity": n}) for n in range(1, 6)]
    lines[2] = lines[2][:-3]
    reading = told("\n".join(lines).encode())
    assert [one.id for one in reading.commands if isinstance(one, UpdateStockLevel)] == ["1", "2", "4", "5"]
    assert [problem.path for problem in reading.problems] == ["row 3"]


def test_a_long_file_comes_in_pieces_that_are_together_what_it_says():
    rows = [{"id": f"S{n}", "title": f"Thing {n}", "price": f"{n}.00", "quantity": n} for n in range(1, 2_001)]
    rows[7]["price"] = "?"
    one = call("import", {"mode": "full", "rows": rows})
    pieces = FILE.in_pieces(one, source(FILE))
    batches = list(pieces.batches)
    assert len(batches) > 3
    together = [command for batch in batches for command in batch.commands]
    batch = FILE.translate(one, source(FILE))
    assert sorted(together, key=lambda command: command.stage) == list(batch.commands)
    assert [problem.path for batch in batches for problem in batch.problems] == ["row 8.price"]


def peak_of(step) -> int:
    tracemalloc.start()
    try:
        step()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("written", ["list", "commas"])
def test_in_pieces_a_long_file_needs_little_more_than_its_bytes(written):
    rows = [{"id": f"S{n}", "title": f"Thing {n}", "price": f"{n}.00", "quantity": n} for n in range(1, 8_001)]
    one = call("import", json.dumps(rows).encode() if written == "list" else csv_of(rows, ","))
    told(one.body)  # what is made once is made
    at_once = peak_of(lambda: FILE.translate(one, source(FILE)))
    bit_by_bit = peak_of(lambda: deque(FILE.in_pieces(one, source(FILE)).batches, maxlen=1))
    assert bit_by_bit < at_once / 2
    assert bit_by_bit / len(rows) < 700  # bytes: its line, and that it came; its commands would be three times that


def test_of_a_long_csv_a_few_lines_are_held_at_once():
    body = b"id,title\n" + b"A,Tea\n" * 100_000

    def step():
        rows = file_of(body, AT).rows
        assert [number for number, _ in islice(rows, 3)] == [2, 3, 4]

    step()  # what is made once is made
    assert peak_of(step) < 50_000


def test_lines_end_as_spreadsheets_end_them():
    chance = random.Random(5)
    for _ in range(300):
        body = b"".join(chance.choices([b"\n", b"\r", b"\r\n", b"A,b", b"", b"\x0b\x85"], k=chance.randrange(9)))
        assert list(_lines(body)) == body.splitlines()
        assert _line_count(body) == len(body.splitlines())


def test_more_rows_than_a_file_may_have_are_refused_before_any_is_read():
    with pytest.raises(Refused) as no:
        file_of(b"id,title" + b"\rA,Tea" * MOST_ROWS, AT)
    assert "has more than 200000 rows" in str(no.value.refusal)
    assert file_of(b"id,title" + b"\rA,Tea" * (MOST_ROWS - 1) + b"\r", AT).feed


SEEDS = 400


@pytest.mark.parametrize("written", ["envelope", "list", "lines", "commas", "tabs"])
def test_whatever_is_done_to_a_feed_a_reading_comes_out(written):
    rows = [TEA, {**TEA, "id": "TEA-1K", "size": "1kg", "price": "600.00 INR", "mrp": "650"}]
    whole = {
        "envelope": json.dumps({**ENVELOPE, "mode": "full", "rows": rows}).encode(),
        "list": json.dumps(rows).encode(),
        "lines": b"\n".join(json.dumps(row).encode() for row in rows),
        "commas": csv_of(rows, ","),
        "tabs": csv_of(rows, "\t"),
    }[written]
    chance = random.Random(11)
    for _ in range(SEEDS):
        body = bytearray(whole)
        for _ in range(chance.randrange(1, 6)):
            at = chance.randrange(len(body) + 1)
            match chance.randrange(4):
                case 0:
                    body[at : at + 1] = bytes([chance.randrange(256)])
                case 1:
                    del body[at : at + chance.randrange(1, 30)]
                case 2:
                    body[at:at] = chance.choice([b"\0", b'"', b"[", b"{", b"\\ud800", b"1e999", b",", b"\n", b"null", b"\xff"])
                case _:
                    del body[at:]
        reading = told(bytes(body))
        assert isinstance(reading, Reading)
        for problem in reading.problems:
            assert problem.path
            assert problem.message
