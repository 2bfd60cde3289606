"""The rows of a catalogue's file, however it is written: CSV with commas, tabs or semicolons, or JSON as a list, in lines, or
in an envelope. What it is, its first characters say.
"""

import csv
import re
from collections import deque
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import islice

from domain.documents import Document
from domain.piecemeal import Reader
from domain.refusals import InvalidInput, Problem, Refused

COLUMNS = ("index", "product", "category", "sub_category", "brand", "sale_price", "market_price", "type", "rating")
FEED_COLUMNS = frozenset(
    (
        "id", "item_group_id", "item_group_title", "title", "description", "brand", "gtin", "mpn", "product_type", "image_link",
        "additional_image_link", "price", "sale_price", "sale_price_effective_date", "mrp", "availability", "quantity",
        "store_code", "color", "size", "net_quantity", "unit", "hsn", "gst_rate", "fssai", "country_of_origin",
        "shelf_life_days", "veg_flag",
    )
)  # fmt: skip
MOST_ROWS = 200_000
JOINED_LINES = 20  # a quoted field may hold line ends; a quote nobody closed must not eat the rest of the file
MOST_UNCLOSED = 1_000  # where as many close nothing, the lines of a file are no longer joined
BOM = b"\xef\xbb\xbf"
Row = Mapping[str, object] | str  # what it has in its columns, or what is wrong with it


@dataclass(frozen=True)
class File:
    """As it was found to be written. `rows` may be gone through once."""

    rows: Iterable[tuple[int, Row]]  # with their numbers
    feed: bool  # by Google's names, not the grocer's list
    whole: bool | None = None  # whether it says that what it does not name is there no more
    at: datetime | None = None


# ---------------------------------------------------------------- what a file is


def file_of(body: bytes, received_at: datetime) -> File:
    """Refuses InvalidInput for what is no catalogue at all: now, or while its rows are read."""
    body = body.removeprefix(BOM)
    match body.lstrip()[:1]:
        case b"[":
            return File(_of_list(_json_text(body), 0), feed=True)
        case b"{":
            return _json(_json_text(body), received_at)
        case _:
            return _csv(body)


def _not_a_catalogue(path: str, message: str) -> Refused:
    return Refused(InvalidInput(message, (Problem(path, message),)))


def _json_text(body: bytes) -> str:
    try:
        return body.decode()
    except UnicodeDecodeError:
        raise _not_a_catalogue("$", "not JSON: it is not UTF-8") from None


def _json(text: str, received_at: datetime) -> File:
    """An envelope with its rows, or lines of one row each."""
    try:
        told, rows_at = _envelope(text)
    except (ValueError, RecursionError) as error:
        if text.strip().partition("\n")[0].rstrip().endswith("}"):
            return File(_of_lines(text), feed=True)  # a bad line is a bad row
        raise _not_a_catalogue("$", f"not JSON: {error}"[:300]) from None
    if rows_at is None:
        return File(_of_lines(text), feed=True)
    envelope = Document(told, "$", [])
    at, whole = envelope["generated_at"].time(received_at), whole_of(envelope["mode"])
    envelope["feed_id"].text(most=200)
    envelope.check()
    return File(_of_list(text, rows_at), feed=True, whole=whole, at=at)


def _envelope(text: str, wanted: Collection[str] = ("feed_id", "generated_at", "mode")) -> tuple[dict[str, object], int | None]:
    """What stands around the rows, and where these begin. Raises ValueError or RecursionError."""
    told: dict[str, object] = {}
    rows_at = None
    reader = Reader(text)
    for name in reader.names():
        if name == "rows" and reader.next() == "[":
            rows_at = reader.at
            if all(one in told for one in wanted):
                break
            for _ in reader.items():
                pass  # somebody writes the rest behind them
        else:
            told[name] = reader.value()
    else:
        if rows_at is not None and reader.next():
            raise ValueError(f"more at character {reader.at}")
    return told, rows_at


def feed_id_of(body: bytes) -> str | None:
    """Whatever stands there: this never raises. A file that was cut off is not the one whose id it has."""
    body = body.removeprefix(BOM).strip()
    if not (body.startswith(b"{") and body.endswith(b"}") and b'"feed_id"' in body):
        return None
    try:
        told, rows_at = _envelope(body.decode(), ("feed_id",))
    except (ValueError, RecursionError):
        return None
    return None if rows_at is None else Document(told, "$", [])["feed_id"].text(most=200)


def _of_list(text: str, at: int) -> Iterator[tuple[int, Row]]:
    reader = Reader(text, at)
    try:
        for number, told in enumerate(reader.items(), 1):
            if number > MOST_ROWS:
                raise _not_a_catalogue("file", f"has more than {MOST_ROWS} rows")
            yield number, _named(told)
    except (ValueError, RecursionError) as error:
        raise _not_a_catalogue("$", f"not JSON: {error}"[:300]) from None
    if at == 0 and reader.next():
        raise _not_a_catalogue("$", f"not JSON: more at character {reader.at}")


def _of_lines(text: str) -> Iterator[tuple[int, Row]]:
    at, number = 0, 0
    while at < len(text):
        end = text.find("\n", at)
        line, at = text[at : end if end >= 0 else len(text)].strip(), end + 1 if end >= 0 else len(text)
        number += 1
        if number > MOST_ROWS:
            raise _not_a_catalogue("file", f"has more than {MOST_ROWS} rows")
        if not line:
            continue
        try:
            reader = Reader(line)
            told = reader.value()
            if reader.next():
                raise ValueError(f"more at character {reader.at}")
        except (ValueError, RecursionError) as error:
            yield number, f"is not JSON: {error}"[:200]
        else:
            yield number, _named(told)


def _named(told: object) -> Row:
    return {_column(name): value for name, value in told.items()} if isinstance(told, dict) else "is no object"


def _column(name: str) -> str:
    """As spreadsheets and exports write it: any case, blanks for underscores."""
    if name in FEED_COLUMNS:
        return name
    return name.strip().lower().removeprefix("g:").replace(" ", "_").replace("-", "_")


def whole_of(mode: Document) -> bool | None:
    word = (mode.text(most=50) or "").lower()
    if word not in ("", "full", "partial"):
        mode.wrong(f"{word!r} is none of full, partial")
    return {"full": True, "partial": False}.get(word)


# ---------------------------------------------------------------- CSV


def _csv(body: bytes) -> File:
    lines = _lines(body)
    first = next(lines, None)
    told = {delimiter: _fields(first, delimiter) if first is not None else [] for delimiter in ",\t;"}
    if _line_count(body) > MOST_ROWS:
        raise _not_a_catalogue("file", f"has more than {MOST_ROWS} rows")
    if told[","] == list(COLUMNS):
        return File(_of_csv(lines, COLUMNS, ","), feed=False)
    headers = {mark: [_column(name) for name in names] for mark, names in told.items() if isinstance(names, list)}
    delimiter = max(headers, key=lambda mark: len(FEED_COLUMNS.intersection(headers[mark])), default="")
    columns = headers.get(delimiter, [])
    if "id" not in columns:
        raise _not_a_catalogue(
            "row 1", f"the first row must be {','.join(COLUMNS)}, or name the columns of a feed: id,title,price,…"
        )
    twice = sorted({name for name in columns if name in FEED_COLUMNS - {IMAGES} and columns.count(name) > 1})
    if twice:
        raise _not_a_catalogue("row 1", f"names {', '.join(twice)} twice")
    return File(_of_csv(lines, columns, delimiter), feed=True)


IMAGES = "additional_image_link"  # exports repeat the column


_LINE_END = re.compile(rb"\r\n?|\n")


def _lines(body: bytes) -> Iterator[bytes]:
    """One after the other, and never all of them at once."""
    at = 0
    for end in _LINE_END.finditer(body):
        yield body[at : end.start()]
        at = end.end()
    if at < len(body):
        yield body[at:]


def _line_count(body: bytes) -> int:
    return body.count(b"\n") + body.count(b"\r") - body.count(b"\r\n") + (body[-1:] not in (b"", b"\r", b"\n"))


def _of_csv(lines: Iterator[bytes], columns: Sequence[str], delimiter: str) -> Iterator[tuple[int, Row]]:
    """Of the lines after the header. Numbered as in a spreadsheet, where that is row 1."""
    repeated = columns.count(IMAGES) > 1
    number, unclosed = 1, 0
    ahead: deque[bytes] = deque()
    while True:
        ahead.extend(islice(lines, JOINED_LINES - len(ahead)))
        if not ahead:
            return
        number += 1
        row, taken = _row(ahead, len(columns), delimiter, joins=unclosed < MOST_UNCLOSED)
        for _ in range(taken):
            ahead.popleft()
        unclosed += row == UNCLOSED
        if isinstance(row, str):
            yield number, row
        elif row is not None:
            told: dict[str, object] = dict(zip(columns, row, strict=True))
            if repeated:
                told[IMAGES] = [value for name, value in zip(columns, row, strict=True) if name == IMAGES and value]
            yield number, told


def _row(ahead: Sequence[bytes], columns: int, delimiter: str, *, joins: bool) -> tuple[list[str] | str | None, int]:
    """The row that begins with these lines, and how many it takes. None: there is nothing in it."""
    line = ahead[0]
    if not line.strip():
        return None, 1
    alone = _fields(line, delimiter)
    if alone == UNCLOSED and joins:
        joined, taken = _joined(ahead, delimiter)
        if len(joined) == columns:
            return joined, taken
    if isinstance(alone, list) and len(alone) != columns:
        return f"has {len(alone)} columns, not {columns}", 1
    return alone, 1


UNCLOSED = "a quote is not closed"


def _joined(lines: Sequence[bytes], delimiter: str) -> tuple[list[str], int]:
    """The first row of these lines, and how many it takes: each is read once. Nothing where there is none."""
    reader = csv.reader((line.decode() + "\n" for line in lines), delimiter=delimiter, strict=True)
    try:
        return next(reader), reader.line_num
    except (csv.Error, ValueError):
        return [], 0


def _fields(line: bytes, delimiter: str) -> list[str] | str:
    try:
        text = line.decode()
    except UnicodeDecodeError:
        return "is not UTF-8"
    if "\0" in text:
        return "has NUL bytes"
    try:
        (fields,) = csv.reader([text], delimiter=delimiter, strict=True)
    except (csv.Error, ValueError) as error:
        return UNCLOSED if "unexpected end" in str(error) else f"is no CSV: {error}"
    return fields
