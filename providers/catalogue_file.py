"""A catalogue as a file: one shop's goods, row by row, brought in like any other source's news.

Two ways of writing it: the columns `index,product,…` of a grocer's list, and product feeds with Google Merchant's names for
their columns, as CSV (commas, tabs, semicolons), a JSON list, JSON Lines, or JSON with an envelope around the rows. What it
is, its first characters say. A row with something wrong in it is left out, and all of it is told; the others go in.
"""

import hashlib
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import TypeVar
from uuid import UUID

from domain.canonical import (
    Command,
    DeactivateMissing,
    StockMode,
    UpdatePrice,
    UpdateStockLevel,
    UpsertCatalogItem,
    UpsertVariant,
)
from domain.catalog import Diet
from domain.documents import Document
from domain.imports import ImportAsked, Job, LeftOut, Undone
from domain.intake import Answer, Batch, Call, Family, PayloadState, Pieces, Question, Source
from domain.merchants import SELLING, StoreStatus
from domain.proofs import URL_TOKEN
from domain.refusals import Problem
from domain.stock import StockMovementKind
from providers.catalogue_rows import File, Row, feed_id_of, file_of, whole_of

AT_ONCE = 2_000  # commands of one piece
JOB = "import-job"
Word = TypeVar("Word")


@dataclass(frozen=True)
class RowProblem(Problem):
    """Of the row of that number, as a spreadsheet shows it where there is a header; `id` is "" where nobody can read it."""

    row: int = 0
    id: str = ""

    @property
    def field(self) -> str:
        return self.path.partition(".")[2]

    @property
    def code(self) -> str:
        """For programs."""
        return next((code for words, code in _CODES if words in self.message), "invalid")


_CODES = (
    ("is above the price", "sale_price_above_price"),
    ("is above the MRP", "price_above_mrp"),
    ("is above the market price", "price_above_mrp"),
    ("is missing", "missing"),
    ("came before", "duplicate"),
    ("is no number", "not_a_number"),
    ("finer than the minor unit", "too_fine"),
    ("does not come out whole", "not_whole"),
    ("out of range", "out_of_range"),
    ("is longer than", "too_long"),
    ("characters that are no text", "not_text"),
    ("is no text", "not_text"),
    ("columns, not", "wrong_columns"),
    ("quote is not closed", "unclosed_quote"),
    ("is not UTF-8", "not_utf8"),
    ("NUL bytes", "not_utf8"),
    ("is no object", "not_an_object"),
    ("is not JSON", "not_json"),
    ("is none of", "unknown_word"),
    ("says nothing", "empty"),
    ("is no address", "not_an_address"),
    ("is no barcode", "not_a_barcode"),
    ("is not read", "not_read"),
    ("is in ", "several_currencies"),
)


class CatalogueFile:
    provider, family, proof = "catalogue_file", Family.SELLER, URL_TOKEN
    endpoints: Mapping[str, str] = {"import": "import"}
    doors: Mapping[str, str] = {"import": "import", "import/{job}": JOB}
    questions: Collection[str] = frozenset({JOB})

    def verify(self, call: Call, source: Source) -> None:
        """The URL's token has said it."""

    def event_id(self, call: Call) -> str | None:
        """The same file for the same store with the same stock is the same news, for seven days."""
        given = call.headers.get("idempotency-key")
        if given:
            return f"idempotency-key:{given[:200]}"
        place = f"{call.query.get('store', '')}:{call.query.get('stock', '')}"
        if call.query.get("mode"):
            place += f":{call.query['mode']}"
        feed_id = feed_id_of(call.body)
        return f"feed:{feed_id}:{place}" if feed_id else f"file:{hashlib.sha256(call.body).hexdigest()}:{place}"

    def translate(self, call: Call, source: Source) -> Batch | Question:
        """Kind by kind: the products first."""
        if call.door == JOB:
            return ImportAsked(None, _uuid(call.path.get("job", "")), _report)
        commands: list[Command] = []
        problems: list[Problem] = []
        for some in self.in_pieces(call, source).batches:
            commands += some.commands
            problems += some.problems
        return Batch(sorted(commands, key=lambda command: command.stage), problems)

    def in_pieces(self, call: Call, source: Source) -> Pieces:
        asked = Document(dict(call.query), "query", [])
        store, stock, whole = asked["store"].text(most=200), asked["stock"].whole(least=0), whole_of(asked["mode"])
        asked.check()
        file = file_of(call.body, call.received_at)
        whole = file.whole if whole is None else whole
        return Pieces(bool(whole), _Reading(file, store, stock, bool(whole)).pieces())

    def acknowledge(self, call: Call, payload_id: UUID) -> Answer:
        return Answer(202, {"job_id": str(payload_id), "status": "accepted"})

    def refuse(self, call: Call, status: int, message: str) -> Answer:
        return Answer(status, {"status": "failed", "message": message})

    def answer(self, call: Call, status: StoreStatus) -> Answer:
        return Answer(200, {"status": "success", "open": status in SELLING})


@dataclass
class _Reading:
    """One going through a file. `seen` and `products`, and of a whole one `present`, are all that grows with it."""

    file: File
    store: str | None
    stock: int | None
    whole: bool
    seen: dict[tuple[str, str | None], int] = field(default_factory=dict)
    products: set[str] = field(default_factory=set)
    present: dict[str | None, list[str]] = field(default_factory=dict)
    lost: int = 0  # the first row that nobody knows whose it is

    def pieces(self) -> Iterator[Batch]:
        commands: list[Command] = []
        problems: list[Problem] = []
        good = 0
        for number, row in self.file.rows:
            said, wrong = self._row(number, row)
            good += bool(said)
            commands += said
            problems += wrong
            if len(commands) + len(problems) >= AT_ONCE:
                yield Batch(commands, problems)
                commands, problems = [], []
        if self.whole and self.lost:
            problems.append(Problem("file", f"nothing is taken away: nobody can tell which good row {self.lost} is"))
        elif self.whole and good:
            # A row with something wrong in it is there all the same, and stays as it was.
            commands += [DeactivateMissing(store=store, present=tuple(ids)) for store, ids in self.present.items()]
        if not good and not problems and (self.file.feed or self.whole):
            problems.append(Problem("file", "has no rows"))
        yield Batch(commands, problems)

    def _row(self, number: int, row: Row) -> tuple[Sequence[Command], Sequence[Problem]]:
        if isinstance(row, str):
            self.lost = self.lost or number
            return (), (RowProblem(f"row {number}", row, number),)
        one = Document(row, f"row {number}", [])
        place = one["id" if self.file.feed else "index"]
        sku = place.id()
        store = (one["store_code"].text(most=200) if self.file.feed else None) or self.store
        if not sku or one.problems:
            self.lost = self.lost or number
        elif (sku, store) in self.seen:
            place.wrong(f"{sku} came before, in row {self.seen[sku, store]}")
        else:
            self.seen[sku, store] = number
            if self.whole:
                self.present.setdefault(store, []).append(sku)
        said = self._feed_row(one, sku, store) if self.file.feed else self._list_row(one, sku, store)
        if one.problems:
            once = dict.fromkeys(one.problems)  # what two parts of a row are made of is read twice
            return (), [RowProblem(told.path, told.message, number, sku) for told in once]
        self.products.update(command.item for command in said if isinstance(command, UpsertCatalogItem))
        return said, ()

    # ------------------------------------------------------------ the grocer's list

    def _list_row(self, one: Document, sku: str, store: str | None) -> list[Command]:
        item, price = _item(one, sku), _price(one, sku, store)
        said: list[Command] = [item, UpsertVariant(store=store, variant=sku, item=sku)]
        if price is not None:
            said.append(price)
        if self.stock is not None:
            said.append(_count(store, sku, self.stock, None))
        return said

    # ------------------------------------------------------------ product feeds

    def _feed_row(self, one: Document, sku: str, store: str | None) -> list[Command]:
        at, group = self.file.at, one["item_group_id"].text(most=200)
        title = one["title"].text(most=300)
        varying = [text for name in ("color", "size") if (text := one[name].text(most=500))]
        item, barcode = _product(one, group or sku, grouped=group is not None, at=at), _barcode(one["gtin"])
        said: list[Command] = []
        if title is not None:
            if item.item not in self.products:  # the first row of a group tells of it
                said.append(item)
            form = ", ".join(varying) or title if group is not None else ""
            said.append(UpsertVariant(store=store, variant=sku, item=item.item, title=form[:300], barcode=barcode, at=at))
        elif one["title"].missing and (
            item != UpsertCatalogItem(item=item.item, title="", at=at) or barcode is not None or varying
        ):
            one["title"].wrong("is missing")
        said += _feed_price(one, sku, store, at)
        said += _feed_stock(one, sku, store, at, self.stock)
        if not said and not one.problems:
            one.wrong("says nothing")
        return said


# ---------------------------------------------------------------- the grocer's list


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


# ---------------------------------------------------------------- product feeds

DIETS = {
    **dict.fromkeys(("veg", "vegetarian", "green", "yes", "y", "true", "1"), Diet.VEG),
    **dict.fromkeys(("non_veg", "nonveg", "non_vegetarian", "red", "brown", "no", "n", "false", "0"), Diet.NON_VEG),
    "egg": Diet.EGG,
    "vegan": Diet.VEGAN,
}
AVAILABLE = {
    **dict.fromkeys(("in_stock", "limited_stock", "limited_availability"), True),
    **dict.fromkeys(("out_of_stock", "on_display_to_order", "preorder", "backorder"), False),  # not to be had today
}
OF_A_FORM = ("color", "size", "net_quantity", "mpn")  # of the rows of a group each has its own
ATTRIBUTES = (*OF_A_FORM, "unit", "hsn", "gst_rate", "fssai", "country_of_origin", "shelf_life_days")
MOST_IMAGES = 20


def _product(one: Document, id: str, *, grouped: bool, at: datetime | None) -> UpsertCatalogItem:
    names = [name for name in ATTRIBUTES if name in one and not (grouped and name in OF_A_FORM)]
    attributes = tuple((name, text) for name in names if (text := one[name].text(most=500)))
    rate = one["gst_rate"].number()
    if rate is not None and not 0 <= rate <= 100:
        one["gst_rate"].wrong(f"{rate} is out of range")
    one["shelf_life_days"].whole(least=0)
    title = (one["item_group_title"].text(most=300) if grouped else None) or one["title"].text(most=300)
    path = (one["product_type"].text(most=750) or "").split(">")
    return UpsertCatalogItem(
        item=id,
        title=title or "",
        description=one["description"].text(),
        brand=one["brand"].text(most=200),
        diet=_word(one["veg_flag"], DIETS),
        category=tuple(name.strip()[:200] for name in path if name.strip()),
        images=tuple(dict.fromkeys(_images(one)))[:MOST_IMAGES],
        attributes=attributes,
        at=at,
    )


def _word(place: Document, words: Mapping[str, Word]) -> Word | None:
    text = place.text(most=50)
    if text is None:
        return None
    word = text.lower().replace(" ", "_").replace("-", "_")
    if word not in words:
        place.wrong(f"{text!r} is none of {', '.join(words)}")
    return words.get(word)


def _images(one: Document) -> Iterator[str]:
    """A list, or addresses with commas between them: those that nobody keeps are looked at too."""
    more = one["additional_image_link"]
    told = list(more.items()) if isinstance(more.told, list) else [more]
    for place in (one["image_link"], *told):
        for address in _BETWEEN_ADDRESSES.split(place.text() or ""):
            if address and not _ADDRESS.fullmatch(address):
                place.wrong(f"{address[:40]!r} is no address of an image")
            elif address:
                yield address


_ADDRESS = re.compile(r"https?://\S{1,2000}", re.IGNORECASE)
_BETWEEN_ADDRESSES = re.compile(r"(?<![,\s])[,\s]++(?=https?://)", re.IGNORECASE)  # a run of them is looked at once


def _barcode(place: Document) -> str | None:
    text = place.text(most=50)
    if text is None:
        return None
    digits = text.replace(" ", "").replace("-", "")
    if not (digits.isascii() and digits.isdigit() and 8 <= len(digits) <= 14):
        place.wrong(f"{text!r} is no barcode of 8 to 14 digits")
    return digits


def _amount(place: Document) -> tuple[int | None, str]:
    """`349.00 INR`, or without its currency."""
    text = place.text(most=60)
    if text is None:
        return None, ""
    found = _AMOUNT.fullmatch(text)
    if found is None or _DECIMAL_COMMA.search(found[2]):
        place.wrong(f"{text!r} is no number" + (": write 349.00" if found else ""))
        return None, ""
    currency = (found[1] or found[3] or "").upper()
    return Document(found[2], place.path, place.problems).minor(needed=True), currency


_AMOUNT = re.compile(r"(?:([A-Za-z]{3})\s*)?([-+.,\d]+)(?:\s*([A-Za-z]{3}))?", re.ASCII)
_DECIMAL_COMMA = re.compile(r",\d{1,2}$", re.ASCII)  # thousands have three digits after their last comma


def _feed_price(one: Document, sku: str, store: str | None, at: datetime | None) -> list[Command]:
    """A sale price is the price, and what was the price says nothing more."""
    price, currency = _amount(one["price"])
    sale, sale_currency = _amount(one["sale_price"])
    mrp, mrp_currency = _amount(one["mrp"])
    currencies = {word for word in (currency, sale_currency, mrp_currency) if word}
    if len(currencies) > 1:
        one["price"].wrong(f"is in {' and in '.join(sorted(currencies))}")
    if sale is not None and not one["sale_price_effective_date"].missing:
        one["sale_price_effective_date"].wrong("is not read: send the price of the day")
    if sale is not None and price is not None and sale > price:
        one["sale_price"].wrong(f"{sale / 100:.2f} is above the price, {price / 100:.2f}")
    charged, name = (price, "price") if sale is None else (sale, "sale_price")
    if charged is None:
        if mrp is not None and not one.problems:
            one["price"].wrong("is missing")
        return []
    if mrp is not None and charged > mrp:
        one[name].wrong(f"{charged / 100:.2f} is above the MRP, {mrp / 100:.2f}")
    currency = next(iter(currencies), "INR")
    return [UpdatePrice(store=store, variant=sku, price_minor=charged, mrp_minor=mrp, currency=currency, at=at)]


def _feed_stock(one: Document, sku: str, store: str | None, at: datetime | None, stock: int | None) -> list[Command]:
    """A count, where there is one: of what is not to be had it is none. Else on or off."""
    units, available = one["quantity"].whole(least=0), _word(one["availability"], AVAILABLE)
    if units is None and available is None:
        units = stock
    if units is not None:
        return [_count(store, sku, 0 if available is False else units, at)]
    if available is None:
        return []
    return [UpdateStockLevel(store=store, id=sku, mode=StockMode.AVAILABILITY, available=available, at=at)]


def _count(store: str | None, sku: str, units: int, at: datetime | None) -> UpdateStockLevel:
    counted = StockMovementKind.COUNTED
    return UpdateStockLevel(store=store, id=sku, mode=StockMode.ABSOLUTE, quantity=units, movement=counted, at=at)


# ---------------------------------------------------------------- how far a file has come


def _uuid(text: str) -> UUID | None:
    try:
        return UUID(text)
    except ValueError:
        return None


def _report(job: Job | None, left_out: LeftOut) -> Answer:
    if job is None:
        return Answer(404, {"status": "failed", "message": "not found"})
    failed = job.failed + left_out.rows
    errors = [*map(_error, left_out.problems), *({"id": _good(one.entity), **_undone(one)} for one in job.undone)]
    body = {
        "job_id": str(job.id),
        "status": _status(job, bool(failed or left_out.problems)),
        "rows_total": job.done + job.waiting + failed,
        "rows_ok": job.done,
        "rows_waiting": job.waiting,
        "rows_failed": failed,
        "errors": errors,
    }
    return Answer(200, {**body, "errors_left_out": left_out.beyond} if left_out.beyond else body)


def _status(job: Job, wrong: bool) -> str:
    if job.state is PayloadState.REJECTED or (job.state is PayloadState.FAILED and not job.done and not job.waiting):
        return "failed"
    if job.state is PayloadState.REFUSED:
        return "refused"
    if not job.translated:
        return "accepted"
    if job.state is PayloadState.ACCEPTED:
        return "running"
    if job.state is PayloadState.PARKED:
        return "waiting"
    return "completed_with_errors" if wrong else "completed"


def _error(problem: Problem) -> Mapping[str, object]:
    if not isinstance(problem, RowProblem):
        return {"row": None, "id": "", "field": problem.path, "code": "file", "message": problem.message}
    told = {"row": problem.row, "id": problem.id, "field": problem.field, "code": problem.code}
    return {**told, "message": problem.message}


def _undone(one: Undone) -> Mapping[str, object]:
    """Of what was good when it was read, and is not to be done, or not yet."""
    return {"row": None, "field": "", "code": one.kind.value.lower(), "message": one.message}


def _good(entity: str) -> str:
    """Of `VARIANT:TEA-250@store`."""
    id, at, store = entity.partition(":")[2].rpartition("@")
    return id if at else store
