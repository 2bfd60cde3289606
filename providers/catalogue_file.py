"""A catalogue as a file: CSV of one shop's goods, whole rows or none, brought in like any other source's news.

Columns `index,product,category,sub_category,brand,sale_price,market_price,type,rating`: the index is the SKU, and rows of
one name and two SKUs are two goods.
"""

import csv
import hashlib
from collections.abc import Collection, Iterator, Mapping
from uuid import UUID

from domain.documents import Document
from domain.instructions import Command, StockMode, UpdatePrice, UpdateStockLevel, UpsertCatalogItem, UpsertVariant
from domain.intake import Answer, Batch, Call, Family, Proof, Question, Source
from domain.merchants import SELLING, StoreStatus
from domain.refusals import InvalidInput, Problem, Refused
from domain.stock import StockMovementKind

COLUMNS = ("index", "product", "category", "sub_category", "brand", "sale_price", "market_price", "type", "rating")
MOST_ROWS = 200_000
JOINED_LINES = 20  # a quoted field may hold line ends; a quote nobody closed must not eat the rest of the file


class CatalogueFile:
    provider, family, proof = "catalogue_file", Family.SELLER, Proof.TOKEN
    endpoints: Mapping[str, str] = {"import": "import"}
    doors: Mapping[str, str] = {"import": "import"}
    questions: Collection[str] = frozenset()

    def verify(self, call: Call, source: Source) -> None:
        """The URL's token has said it."""

    def event_id(self, call: Call) -> str | None:
        """The same file for the same store with the same stock is the same news, for ever."""
        given = call.headers.get("idempotency-key")
        if given:
            return f"idempotency-key:{given[:200]}"
        digest = hashlib.sha256(call.body).hexdigest()
        return f"file:{digest}:{call.query.get('store', '')}:{call.query.get('stock', '')}"

    def translate(self, call: Call, source: Source) -> Batch | Question:
        asked = Document(dict(call.query), "query", [])
        store = asked["store"].text(most=200)
        stock = asked["stock"].whole(least=0)
        asked.check()
        products: list[Command] = []
        variants: list[Command] = []
        prices: list[Command] = []
        levels: list[Command] = []
        problems: list[Problem] = []
        seen: dict[str, int] = {}
        for number, row in rows(call.body):
            if isinstance(row, str):
                problems.append(Problem(f"row {number}", row))
                continue
            one = Document(dict(zip(COLUMNS, row, strict=True)), f"row {number}", [])
            sku = one["index"].id()
            if sku and sku in seen:
                one["index"].wrong(f"{sku} came before, in row {seen[sku]}")
            if sku:
                seen.setdefault(sku, number)
            item, price = _item(one, sku), _price(one, sku, store)
            if one.problems or price is None:
                problems += one.problems
                continue
            products.append(item)
            variants.append(UpsertVariant(store=store, variant=sku, item=sku))
            prices.append(price)
            if stock is not None:
                counted = StockMovementKind.COUNTED
                levels.append(UpdateStockLevel(store=store, id=sku, mode=StockMode.ABSOLUTE, quantity=stock, movement=counted))
        return Batch([*products, *variants, *prices, *levels], problems)

    def acknowledge(self, call: Call, payload_id: UUID) -> Answer:
        return Answer(202, {"job_id": str(payload_id), "status": "accepted"})

    def refuse(self, call: Call, status: int, message: str) -> Answer:
        return Answer(status, {"status": "failed", "message": message})

    def answer(self, call: Call, status: StoreStatus) -> Answer:
        return Answer(200, {"status": "success", "open": status in SELLING})


def _item(one: Document, sku: str) -> UpsertCatalogItem:
    path = (one["category"].text(most=200), one["sub_category"].text(most=200))
    more = (("type", one["type"].text(most=200)), ("rating", one["rating"].text(most=200)))
    one["rating"].number()
    return UpsertCatalogItem(
        item=sku,
        title=one["product"].text(needed=True, most=300) or "",
        brand=one["brand"].text(most=200),
        category=tuple(name for name in path if name),
        attributes=tuple((name, told) for name, told in more if told),
    )


def _price(one: Document, sku: str, store: str | None) -> UpdatePrice | None:
    price, mrp = one["sale_price"].minor(needed=True), one["market_price"].minor()
    if price is not None and mrp is not None and price > mrp:
        one["sale_price"].wrong(f"{price / 100:.2f} is above the market price, {mrp / 100:.2f}")
    return None if price is None else UpdatePrice(store=store, variant=sku, price_minor=price, mrp_minor=mrp)


def rows(body: bytes) -> Iterator[tuple[int, list[str] | str]]:
    """(its number in a spreadsheet, where the header is row 1; its fields, or what is wrong with it).

    Refuses InvalidInput for a file that is no such catalogue at all.
    """
    lines = body.removeprefix(b"\xef\xbb\xbf").splitlines()
    header = _fields(lines[0]) if lines else "is empty"
    if header != list(COLUMNS):
        message = f"the first row must be {','.join(COLUMNS)}"
        raise Refused(InvalidInput(message, (Problem("row 1", message),)))
    if len(lines) > MOST_ROWS:
        raise Refused(InvalidInput("too long", (Problem("file", f"has more than {MOST_ROWS} rows"),)))
    at, number = 1, 1
    while at < len(lines):
        number += 1
        row, taken = _row(lines, at)
        at += taken
        if row is not None:
            yield number, row


def _row(lines: list[bytes], at: int) -> tuple[list[str] | str | None, int]:
    """The row that begins at this line, and how many lines it takes. None: there is nothing in it."""
    line = lines[at]
    if not line.strip():
        return None, 1
    alone = _fields(line)
    if alone == UNCLOSED:
        for taken in range(2, min(JOINED_LINES, len(lines) - at) + 1):
            joined = _fields(b"\n".join(lines[at : at + taken]))
            if isinstance(joined, list) and len(joined) == len(COLUMNS):
                return joined, taken
    if isinstance(alone, list) and len(alone) != len(COLUMNS):
        return f"has {len(alone)} columns, not {len(COLUMNS)}", 1
    return alone, 1


UNCLOSED = "a quote is not closed"


def _fields(line: bytes) -> list[str] | str:
    try:
        text = line.decode()
    except UnicodeDecodeError:
        return "is not UTF-8"
    if "\0" in text:
        return "has NUL bytes"
    try:
        (fields,) = csv.reader([text], strict=True) if "\n" not in text else [_joined(text)]
    except (csv.Error, ValueError) as error:
        return UNCLOSED if "unexpected end" in str(error) else f"is no CSV: {error}"
    return fields


def _joined(text: str) -> list[str]:
    (fields,) = csv.reader(text.splitlines(keepends=True), strict=True)
    return fields
