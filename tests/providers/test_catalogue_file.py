import csv
from collections.abc import Iterable, Iterator
from pathlib import Path
from time import process_time
from typing import Any

import pytest

from domain.canonical import StockMode, UpdatePrice, UpdateStockLevel, UpsertCatalogItem, UpsertVariant
from domain.refusals import InvalidInput, Refused
from domain.stock import StockMovementKind
from providers.catalogue_file import _BETWEEN_ADDRESSES, CatalogueFile
from providers.catalogue_rows import COLUMNS, JOINED_LINES, MOST_UNCLOSED
from tests.providers.calls import call, said, source

FILE = CatalogueFile()
HEADER = ",".join(COLUMNS)
TEA = '7,"Tea, Assam ",Beverages,Tea,Leafy,189,210.50,Black Tea,4.1'


def read(*lines: str | bytes, **query: str):
    raw = b"\n".join(line if isinstance(line, bytes) else line.encode() for line in (HEADER, *lines))
    return said(FILE, "import", raw, "demo", **query)


def test_a_row_is_a_product_its_only_form_a_price_and_a_count():
    batch = read(TEA, store="demo", stock="40")
    assert list(batch.commands) == [
        UpsertCatalogItem(
            item="7",
            title="Tea, Assam",
            brand="Leafy",
            category=("Beverages", "Tea"),
            attributes=(("type", "Black Tea"), ("rating", "4.1")),
        ),
        UpsertVariant(store="demo", variant="7", item="7"),
        UpdatePrice(store="demo", variant="7", price_minor=18900, mrp_minor=21050),
        UpdateStockLevel(store="demo", id="7", mode=StockMode.ABSOLUTE, quantity=40, movement=StockMovementKind.COUNTED),
    ]


def test_two_rows_of_one_name_are_two_products():
    batch = read(TEA, TEA.replace("7,", "8,", 1))
    assert [one.item for one in batch.commands if isinstance(one, UpsertCatalogItem)] == ["7", "8"]


def test_every_bad_row_is_told_with_its_number_and_all_its_reasons_and_the_good_ones_go_in():
    batch = read(
        TEA,  # row 2
        "8,,Beverages,Tea,Leafy,abc,-3,Black Tea,4.1",  # 3
        "9,Rice,Staples,Rice,Grain,120,110,Rice,",  # 4
        "7,Tea again,Beverages,Tea,Leafy,1,2,Tea,",  # 5
        "10,Too few,Staples",  # 6
        "11,Too many,a,b,c,1,2,d,4,5,6",  # 7
        "12,Nul \0 byte,a,b,c,1,2,d,4",  # 8
        b"13,\xff\xfe,a,b,c,1,2,d,4",  # 9
        '14,"never closed,a,b,c,1,2,d,4',  # 10
        "15,Fine,a,b,c,1.5,2,d,",  # 11
        "",
        "16,Finer than money,a,b,c,1.555,2,d,4",  # 13, as the spreadsheet shows it
        ",No code,a,b,c,1,2,d,4",  # 14
        "17,Rated,a,b,c,1,2,d,good",  # 15
    )
    told = [f"{one.path}: {one.message}" for one in batch.problems]
    assert told == [
        "row 3.product: is missing",
        "row 3.sale_price: 'abc' is no number",
        "row 3.market_price: -3 is out of range",
        "row 4.sale_price: 120.00 is above the market price, 110.00",
        "row 5.index: 7 came before, in row 2",
        "row 6: has 3 columns, not 9",
        "row 7: has 11 columns, not 9",
        "row 8: has NUL bytes",
        "row 9: is not UTF-8",
        "row 10: a quote is not closed",
        "row 13.sale_price: 1.555 is finer than the minor unit",
        "row 14.index: is missing",
        "row 15.rating: 'good' is no number",
    ]
    assert [one.item for one in batch.commands if isinstance(one, UpsertCatalogItem)] == ["7", "15"]


def test_a_quoted_line_end_belongs_to_its_field():
    batch = read('7,"Tea,\nAssam",Beverages,Tea,Leafy,189,210,Black Tea,', "8,Rice,a,b,c,1,2,d,")
    assert [one.title for one in batch.commands if isinstance(one, UpsertCatalogItem)] == ["Tea,\nAssam", "Rice"]


def test_a_quote_that_nobody_closes_costs_no_more_than_it_is_long(monkeypatch):
    """Each of these lines closes the quote of the line before, and opens one."""
    parsed = 0
    reader = csv.reader

    def counting(lines: Iterable[str], **how: Any) -> Any:
        def counted() -> Iterator[str]:
            nonlocal parsed
            for line in lines:
                parsed += 1
                yield line

        return reader(counted(), **how)

    monkeypatch.setattr(csv, "reader", counting)
    batch = read(*['a","x'] * 3_000)
    assert {problem.message for problem in batch.problems} == {"a quote is not closed"}
    assert len(batch.problems) == 3_000
    assert parsed < 3_000 + MOST_UNCLOSED * (JOINED_LINES + 1) + 10


def test_a_row_whose_quote_is_closed_too_late_eats_no_other():
    batch = read('7,"Tea', 'Assam",Tea,1', "8,Rice,a,b,c,1,2,d,")
    assert [one.title for one in batch.commands if isinstance(one, UpsertCatalogItem)] == ["Rice"]
    assert [f"{one.path}: {one.message}" for one in batch.problems] == [
        "row 2: a quote is not closed",
        "row 3: has 3 columns, not 9",
    ]


@pytest.mark.parametrize("evil", ["," * 1_000_000, ", " * 500_000, "https://a," * 100_000, ",,,h" * 250_000], ids=range(4))
def test_addresses_of_a_million_characters_are_looked_through_once(evil):
    began = process_time()
    _BETWEEN_ADDRESSES.split(evil)
    assert process_time() - began < 5


@pytest.mark.parametrize("raw", [b"", b"a,b,c\n1,2,3", b"\x00\x01\x02", HEADER.replace("brand", "make").encode()])
def test_what_is_no_such_file_is_refused(raw):
    with pytest.raises(Refused) as no:
        said(FILE, "import", raw)
    assert isinstance(no.value.refusal, InvalidInput)
    assert "row 1" in str(no.value.refusal.problems)


def test_a_mark_at_the_beginning_and_windows_line_ends_are_read():
    raw = b"\xef\xbb\xbf" + f"{HEADER}\r\n{TEA}\r\n".encode()
    assert len(said(FILE, "import", raw).commands) == 3


def test_the_same_file_for_the_same_store_is_the_same_news():
    ids = {FILE.event_id(call("import", body, **query)) for body in (b"a", b"b") for query in ({}, {"store": "x"}, {"stock": "1"})}
    assert len(ids) == 6
    assert FILE.event_id(call("import", b"a")) == FILE.event_id(call("import", b"a"))
    assert source(FILE).provider == "catalogue_file"


def test_a_name_may_hold_anything_a_spreadsheet_writes(tmp_path: Path):
    names = ['6" pan', "a,b", " ", "ಹಾಲು", "'; DROP TABLE product; --"]
    with (tmp_path / "names.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(COLUMNS)
        for n, name in enumerate(names):
            writer.writerow([n, name, "a", "b", "c", "1", "2", "d", ""])
    batch = said(FILE, "import", (tmp_path / "names.csv").read_bytes())
    assert [one.title for one in batch.commands if isinstance(one, UpsertCatalogItem)] == [name for name in names if name.strip()]
    assert [problem.path for problem in batch.problems] == ["row 4.product"]
