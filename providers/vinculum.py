"""Vinculum's Vin eRetail. It has no webhooks: what its pull API answers is read alike, whether a relay pushes it or we fetch it.

A push is signed by Standard Webhooks. Errors come with HTTP 200 and a `responseCode`; quantities and amounts are text of up to
three decimals; times are `dd/MM/yyyy HH:mm:ss` of the organisation's clock.
"""

import json
import re
from collections.abc import Collection, Generator, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from urllib.parse import urlencode
from uuid import UUID
from zoneinfo import ZoneInfo

from domain.access import Access, Ask, AskFailed, Quota, Reply, answered
from domain.canonical import Command, StockMode, UpdatePrice, UpdateStockLevel, UpsertCatalogItem, UpsertVariant
from domain.documents import Document, parse
from domain.intake import Answer, Batch, Call, Family, Question, Source
from domain.merchants import SELLING, StoreStatus
from domain.money import LIMIT_MINOR, rounded
from domain.proofs import STANDARD_WEBHOOKS
from domain.pulling import News, Talk, Unknown, asked_alone, asked_at, pulled_as
from domain.refusals import Problem

STOCK, ITEMS, PULLED, PULLED_ITEMS = "stock", "items", "pulled-stock", "pulled-items"
NOTHING_FOUND = 911
NO_SUCH_SKU = frozenset({918, 2022})
CODES: Mapping[int, str] = {
    11: "the credentials are wrong",
    702: "neither SKUs nor a window were asked for",
    812: "there is no such location",
    913: "the window is longer than seven days",
    917: "neither SKUs nor a window were asked for",
    918: "there is no such SKU",
    2022: "there is no such SKU",
    2023: "the window has no beginning",
    **dict.fromkeys(range(3050, 3080), "the stock cannot be told"),
}
SELLABLE = "good"  # of the buckets Good, Bad, Hold and In process
STYLE, VARIANT = "style", "variant"
DECIMALS = 3
DEEPEST = 4
MOST_UNITS, MOST_RUPEES = 10**9, LIMIT_MINOR // 100
INVENTORY_STATUS = "/RestWS/api/eretail/v3/sku/inventoryStatus"
SKU_DETAIL = "/RestWS/api/eretail/v1/sku/skuDetail"
SKUS_AT_ONCE, DETAILS_MOST = 100, 40  # theirs, of skuDetail: in one call, and calls in five minutes
DESCRIBED_MOST = SKUS_AT_ONCE * DETAILS_MOST
ASKED: Mapping[str, object] = {"skuCodes": [], "dropShipFlag": "no", "includeNewSKU": "n"}
ASKED_DETAIL: Mapping[str, object] = {"date_from": "", "date_to": "", "pageNumber": "1"}
FORM = {"content-type": "application/x-www-form-urlencoded", "accept": "application/json"}
FORMAT = "%d/%m/%Y %H:%M:%S"
FINAL = frozenset({11, 702, 812, 913, 917, 2023})  # asked again alike they are answered alike
NO_LOCATION = 812
PAGES_MOST = 1_000
TIME = re.compile(r"(\d{2})/(\d{2})/(\d{4}) (\d{2}:\d{2}:\d{2})")


class Vinculum:
    provider, family, proof = "vinculum", Family.ERP, STANDARD_WEBHOOKS
    endpoints: Mapping[str, str] = {name: f"webhooks/{name}" for name in (STOCK, ITEMS)}
    doors: Mapping[str, str] = {path: door for door, path in endpoints.items()}
    questions: Collection[str] = frozenset()

    credentials: Collection[str] = ("ApiOwner", "ApiKey")
    every, overlap, longest = timedelta(minutes=5), timedelta(minutes=2), timedelta(days=7)
    quota = Quota(80, 300)

    def verify(self, call: Call, source: Source) -> None:
        """The signature says all there is."""

    def event_id(self, call: Call) -> str | None:
        if call.door in (PULLED, PULLED_ITEMS):
            return pulled_as(call)
        id = call.headers.get("webhook-id")
        return f"webhook-id:{id}" if id else None

    def translate(self, call: Call, source: Source) -> Batch | Question:
        told = parse(call.body)
        if code_of(told) == NOTHING_FOUND:
            return Batch(())
        told.check()
        if call.door in (ITEMS, PULLED_ITEMS):
            return _items(told, source)
        if call.door == PULLED:
            return levels(told, asked_at(call))
        return levels(told, moment(told["toDate"], call.received_at, source.time_zone))

    def acknowledge(self, call: Call, payload_id: UUID) -> Answer:
        return Answer(200, {"responseCode": 0, "responseMessage": "Success"})

    def refuse(self, call: Call, status: int, message: str) -> Answer:
        return Answer(status, {"responseCode": status, "responseMessage": message})

    def answer(self, call: Call, status: StoreStatus) -> Answer:
        return Answer(200, {"responseCode": 0, "responseMessage": "Open" if status in SELLING else "Closed"})

    # ------------------------------------------------------------ asked

    def talk(self, access: Access, source: Source, since: datetime, until: datetime) -> Talk:
        """What changed within the window, location by location, page by page; of goods nobody has heard of what they are. A
        location nobody has mapped waits for it.

        One that cannot be told of does not keep the others from being asked: it is what failed in the end.
        """
        zone = ZoneInfo(source.time_zone)
        window = {"fromDate": f"{since.astimezone(zone):{FORMAT}}", "toDate": f"{until.astimezone(zone):{FORMAT}}"}
        failed: list[AskFailed] = []
        unknown: dict[str, None] = {}
        for location in source.stores or ("",):
            of = f"{location}: " if location else ""
            for page in range(1, PAGES_MOST + 1):
                asked = {**ASKED, **window, "pageNumber": str(page), "locCode": location}
                reply = yield from asked_alone(_form(INVENTORY_STATUS, asked, access), location, failed)
                if reply is None:
                    break
                told = answered(reply)
                code = code_of(told)
                if told.problems:
                    message, retry = told.problems[0].message, code not in FINAL
                    if code in FINAL and code != NO_LOCATION:
                        raise AskFailed(message, retry=retry)  # as all of them would be answered
                    failed.append(AskFailed(f"{of}{message}", retry=retry))
                    break
                if code == NOTHING_FOUND:
                    break
                yield News(PULLED, f"{location}:{until.isoformat()}:{page}")
                if len(unknown) <= DESCRIBED_MOST:
                    # One more than can be asked for: so that it is said that there are.
                    found = yield from _unheard(told)
                    unknown.update(dict.fromkeys(found[: DESCRIBED_MOST + 1 - len(unknown)]))
                if not _more(told, page):
                    break
            else:
                failed.append(AskFailed(f"{of}it has more than {PAGES_MOST} pages", retry=False))
        yield from _described(list(unknown), access, until, failed)
        if failed:
            raise failed[0]


def _unheard(told: Document) -> Generator[Unknown, Reply, Sequence[str]]:
    """Of the SKUs of a page those that are new to us."""
    here = dict.fromkeys(row.first("skuCode", "skucode").id() for row in _rows(told, "inventoryMap"))
    skus = [sku for sku in here if sku]
    return (yield Unknown(skus)).body.decode().splitlines() if skus else ()


def _described(unknown: Sequence[str], access: Access, until: datetime, failed: list[AskFailed]) -> Talk:
    """Those nobody has heard of, and the products they are forms of. What Vinculum has not heard of either waits for a mapping."""
    waiting, wanted, known = list(unknown), set(unknown), set(unknown)
    for number in range(1, DETAILS_MOST + 1):
        some, waiting = waiting[:SKUS_AT_ONCE], waiting[SKUS_AT_ONCE:]
        if not some:
            return
        ask = _form(SKU_DETAIL, {**ASKED_DETAIL, "skuCodes": some}, access)
        reply = yield from asked_alone(ask, "skuDetail", failed)
        if reply is None:
            continue
        told = answered(reply)
        code = code_of(told)
        if code == NOTHING_FOUND or code in NO_SUCH_SKU:
            continue
        if told.problems:
            error = AskFailed(f"skuDetail: {told.problems[0].message}", retry=code not in FINAL)
            if not error.retry:
                raise error  # as all of them would be answered
            failed.append(error)
            continue
        yield News(PULLED_ITEMS, f"{until.isoformat()}:{number}")
        rows = [row for row in _rows(told, "skuList") if row.first("skuCode", "skucode").id() in wanted]
        products = [product for product in dict.fromkeys(map(_parent, rows)) if product and product not in known]
        known.update(products)
        waiting = products + waiting  # a form is of no use without it
    if waiting:
        failed.append(AskFailed(f"there are more than {DESCRIBED_MOST} new SKUs: it is asked of the others next time"))


def _form(path: str, asked: Mapping[str, object], access: Access) -> Ask:
    form = {**access.credentials, "RequestBody": json.dumps(asked)}
    return Ask("POST", path, headers=FORM, body=urlencode(form).encode())


def _more(told: Document, page: int) -> bool:
    if "hasMore" in told:
        return bool(told["hasMore"].apart().flag(default=False))
    return page < (told["response"]["totalPages"].apart().whole() or 1)


def code_of(told: Document) -> int:
    """0: it went well. Any other is a problem, with its meaning, but for the one that says there is nothing to tell."""
    code = told["responseCode"].whole(most=10**6) or 0
    if code not in (0, NOTHING_FOUND):
        said = told["responseMessage"].apart().text(most=300)
        told["responseCode"].wrong(f"{code}: {CODES.get(code, 'an error of theirs')}" + (f" ({said})" if said else ""))
    return code


def moment(place: Document, received_at: datetime, zone: str) -> datetime | None:
    """As Vinculum writes it, else as anybody does."""
    theirs = TIME.fullmatch(place.told.strip()) if isinstance(place.told, str) else None
    if theirs is None:
        return place.time(received_at, zone)
    day, month, year, clock = theirs.groups()
    return Document(f"{year}-{month}-{day} {clock}", place.path, place.problems).time(received_at, zone)


def _rows(told: Document, *names: str) -> Iterator[Document]:
    """Each with problems of its own. Where they stand differs from one operation, and one version of it, to the next."""
    places = [place[name] for place in (told["response"], told) for name in names if name in place]
    place = places[0] if places else told["response"] if isinstance(told.told, dict) else told
    if place.missing:
        place.wrong("is missing")
        return
    yield from _spread(place)


def _spread(place: Document, depth: int = 0) -> Iterator[Document]:
    """Lists, and objects that name each row by its SKU, are what they hold."""
    if isinstance(place.told, list):
        inner = [Document(one, f"{place.path}[{index}]", place.problems) for index, one in enumerate(place.told)]
    elif isinstance(place.told, dict) and all(isinstance(one, dict | list) for one in place.told.values()):
        inner = [Document(one, f"{place.path}.{name}", place.problems) for name, one in place.told.items()]
    else:
        yield place.apart().object()
        return
    if depth == DEEPEST:
        place.wrong("is no row")
        return
    for one in inner:
        yield from _spread(one, depth + 1)


# ---------------------------------------------------------------- stock


def levels(told: Document, at: datetime | None) -> Batch:
    """Of getWhInventory and inventoryStatus. Sellable is what is good and promised to nobody's order.

    Rows of one SKU at one location are one level. Where one of them cannot be read, that level stays untold.
    """
    levels: dict[tuple[str | None, str], list[tuple[Document, Decimal | None]]] = {}
    for row in _rows(told, "inventoryMap"):
        if (row["bucket"].text() or SELLABLE).lower() != SELLABLE:
            continue
        quantity, committed = row["qty"].number(needed=True), row["committedQty"].number()
        units = None if quantity is None else quantity - (committed or 0)
        place = row["location"].text(most=200) or None
        levels.setdefault((place, row.first("skuCode", "skucode").id()), []).append((row, units))
    told.check()
    commands: list[Command] = []
    problems: list[Problem] = []
    for (store, sku), rows in levels.items():
        units = sum((units for _, units in rows if units is not None), Decimal(0))
        first = rows[0][0]
        whole = Document(max(units, Decimal(0)), first["qty"].path, first.problems).whole(least=0, most=MOST_UNITS)
        wrong = [problem for row, _ in rows for problem in row.problems]
        problems += wrong
        if whole is not None and not wrong:
            commands.append(UpdateStockLevel(store=store, id=sku, mode=StockMode.ABSOLUTE, quantity=whole, at=at))
    return Batch(commands, problems)


# ---------------------------------------------------------------- SKUs


def _items(told: Document, source: Source) -> Batch:
    """Of skuDetail. Products come before their variants, whatever the order of the rows."""
    kinds: tuple[list[Command], ...] = ([], [], [])
    problems: list[Problem] = []
    for row in _rows(told, "skuList"):
        said = _item(row, source)
        if row.problems:
            problems += row.problems
            continue
        for kind, more in zip(kinds, said, strict=True):
            kind += more
    told.check()
    return Batch([command for kind in kinds for command in kind], problems)


def _item(row: Document, source: Source) -> tuple[list[Command], ...]:
    """A Style is a product; a Variant a form of its parent; what is neither a product and its only form.

    It names no location: what it says holds in every store of the source.
    """
    sku = row.first("skuCode", "skucode").id()
    title = row["skuName"].text(needed=True, most=300) or ""
    kind, parent = _kind(row), _parent(row)
    look = {name: text for name in ("size", "color", "material", "taxCategory") if (text := row[name].text(most=200))}
    sold = [row[name].flag(default=True) for name in ("isActive", "isSaleable")]
    products: list[Command] = []
    if parent is None:
        products = [
            UpsertCatalogItem(
                item=sku,
                title=title,
                description=row.first("detailDESC", "desc").text() or None,
                brand=row["brand"].text(most=200) or None,
                images=tuple(filter(None, [row["imageURL"].text(most=2000)])),
                attributes=tuple(look.items()),
            )
        ]
    if kind == STYLE:
        return products, [], []
    form = ", ".join(look[name] for name in ("size", "color") if name in look) or title
    variants: list[Command] = [
        UpsertVariant(store=store, variant=sku, item=parent or sku, title=form if parent else "", active=all(sold))
        for store in source.stores or (None,)
    ]
    price, mrp = _paise(row["salePrice"]), _paise(row["mrp"])
    price = price or mrp
    if price is None:
        return products, variants, []
    if mrp is not None and price > mrp:
        row["salePrice"].wrong(f"{price / 100:.2f} is above the MRP, {mrp / 100:.2f}")
    prices: list[Command] = [
        UpdatePrice(store=store, variant=sku, price_minor=price, mrp_minor=mrp) for store in source.stores or (None,)
    ]
    return products, variants, prices


def _kind(row: Document) -> str:
    return (row["classification"].text() or "").lower()


def _parent(row: Document) -> str | None:
    return row["parentSKU"].text(most=200) or None if _kind(row) == VARIANT else None


def _paise(place: Document) -> int | None:
    """Half a paisa is one: Vinculum keeps three decimals. None for what is left empty, or zero."""
    rupees = place.number()
    if not rupees:
        return None
    if not 0 < rupees <= MOST_RUPEES:  # before it is rounded: short texts have many digits
        place.wrong(f"{rupees} is out of range")
        return None
    if rupees != round(rupees, DECIMALS):
        place.wrong(f"{rupees} is finer than the thousandth of a rupee")
        return None
    return rounded(rupees.scaleb(2))
