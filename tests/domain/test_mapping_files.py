"""A file of mappings as it is read: its columns, its rows, what is wrong with them."""

import re
import tracemalloc
from collections.abc import Iterator

import pytest

from domain.intake import EntityKind
from domain.mapping_files import MOST_ROWS, BadRow, EmptyRow, Row, plain, rows_of, shielded
from domain.refusals import Refused

HEADER = b"kind,external_id,ours\n"
STORE, VARIANT = EntityKind.STORE, EntityKind.VARIANT


def read(*lines: bytes) -> list[Row | BadRow | EmptyRow]:
    return list(rows_of(iter(lines)))


def told(*lines: bytes) -> list[tuple[str, str]]:
    return [(one.path, one.message) for row in read(*lines) if isinstance(row, BadRow) for one in row.problems]


@pytest.mark.parametrize(
    "lines",
    [
        (HEADER, b"VARIANT,A-1,TEA\n", b"store,S 1,main-street\n"),
        (b"\xef\xbb\xbfKind;External ID;Ours;score\r\n", b"VARIANT;A-1;TEA;0.9\r\n", b"STORE; S 1 ;main-street;\r\n"),
        (b"score\tours\texternal_id\tkind\n", b"1\tTEA\tA-1\tvariant\n", b"\tmain-street\tS 1\tStore"),
    ],
)
def test_columns_are_found_by_their_names_whatever_stands_between_them(lines):
    assert read(*lines) == [Row(2, VARIANT, "A-1", "TEA"), Row(3, STORE, "S 1", "main-street")]


def test_rows_are_numbered_as_a_spreadsheet_shows_them_and_empty_ones_wait():
    rows = read(HEADER, b"VARIANT,A-1,TEA\n", b"\n", b",,\n", b"VARIANT,A-2,\n", b"VARIANT,A-3\n", b'VARIANT,"A\n', b'4",RICE\n')
    assert rows[:3] == [Row(2, VARIANT, "A-1", "TEA"), EmptyRow(5), EmptyRow(6)]
    assert isinstance(rows[3], BadRow)  # an id has no line in it
    assert rows[3].number == 7


@pytest.mark.parametrize("header", [b"", b"\n", b"kind,external_id\n", b"VARIANT,A-1,TEA\n", b"\xff\xfe\n"])
def test_what_does_not_name_the_columns_is_no_such_file(header):
    with pytest.raises(Refused, match="must name the columns kind, external_id, ours"):
        read(header, b"VARIANT,A-1,TEA\n")


def test_all_that_is_wrong_is_told_with_its_row_and_its_column():
    rows = (
        b"ITEM,A-1,TEA\n",
        b",,TEA\n",
        b"VARIANT," + b"x" * 201 + b",TEA\n",
        b"VARIANT,\xff,TEA\n",
        b"VARIANT,A-1,\xff\n",
        b"VARIANT,A-2,TEA\n",
        b"variant, A-2 ,RICE\n",
        b"merchant,M-1,ours\n",
    )
    assert told(HEADER, *rows) == [
        ("row 2.kind", "'ITEM' is none of STORE, PRODUCT, VARIANT, MODIFIER, CATEGORY"),
        ("row 3.kind", "is missing"),
        ("row 3.external_id", "is missing"),
        ("row 4.external_id", "must have from 1 to 200 characters"),
        ("row 5.external_id", "has characters that are no text"),
        ("row 6.ours", "has characters that are no text"),
        ("row 8.external_id", "came before, in row 7"),
        ("row 9.kind", "a source is of one merchant, whatever that is called in what it says: there is nothing to map"),
    ]


def test_a_quote_that_nobody_closes_is_a_bad_row_and_those_before_it_are_good():
    good, bad = read(HEADER, b"VARIANT,A-1,TEA\n", b'VARIANT,"A-2,RICE\n', b"VARIANT,A-3,OIL\n")
    assert good == Row(2, VARIANT, "A-1", "TEA")
    assert isinstance(bad, BadRow)
    assert bad.problems[0].message.startswith("is no CSV: ")
    broken, after = read(HEADER, b'VARIANT,"A"-2,RICE\n', b"VARIANT,A-3,OIL\n")
    assert isinstance(broken, BadRow)
    assert after == Row(3, VARIANT, "A-3", "OIL")


def many(rows: int) -> Iterator[bytes]:
    yield HEADER
    for n in range(rows):
        yield b"VARIANT,%d,SKU-%d\n" % (n, n)


def test_a_hundred_thousand_rows_are_the_most():
    *rows, last = rows_of(many(MOST_ROWS + 5))
    assert len(rows) == MOST_ROWS
    assert isinstance(last, BadRow)
    assert last.problems[0].message.startswith("and what follows is not read")


def test_what_is_remembered_of_a_long_file_is_small():
    tracemalloc.start()
    try:
        assert sum(isinstance(row, Row) for row in rows_of(many(MOST_ROWS))) == MOST_ROWS
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 30_000_000  # a few bytes a row: no more than that it was there


PLAIN = ["A-1", "it's", "'", "", "'tis", "5-6", "a;b", "salt; 1 kg", "चाय; 2=1"]
FORMULAS = [
    "=1+1", "-5", "+91", "@x", "'-5", "''=", "＝1+1", "＋91", "－5", "＠x",
    "a;=1+1", "a; ＝1", "a;'=1", "=1;=2;b", "a\n=1", "a\t@x",
]  # fmt: skip


@pytest.mark.parametrize("text", [*PLAIN, *FORMULAS])
def test_a_cell_that_looks_like_a_formula_is_shielded_and_comes_back_as_it_was(text):
    assert plain(shielded(text)) == text
    assert (shielded(text) == text) is (text in PLAIN)
    # Wherever a spreadsheet parts them: by commas, by semicolons as half of Europe does, or by tabs.
    cells = [cell.strip() for cell in re.split(r"[;\t\n]", shielded(text))]
    assert not any(cell.startswith(tuple("=+-@＝＋－＠")) for cell in cells)
