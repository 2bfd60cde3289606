"""Unicommerce's Uniware calls on us as on a marketplace (family A), and tells of what happened in its warehouses (family C). A
tenant's own API (family B) is asked by us.

Who calls asks for a token first, with the source's id and its secret, and shows it with every call, in `apiKey` or `Authorization`.
Times without a zone are UTC in family A; family C writes milliseconds of the epoch, or `Jul 9, 2024 3:34:35 PM` by its own clock.
"""

import base64
import binascii
import hashlib
import json
import math
import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from urllib.parse import parse_qsl
from uuid import UUID

from domain.access import Access, Ask, AskFailed, Quota, Reply, answered
from domain.canonical import (
    AcceptOrder,
    Command,
    OrderItem,
    OrderStatus,
    OrderWord,
    RejectOrder,
    StockMode,
    UpdatePrice,
    UpdateStockLevel,
    UpsertCatalogItem,
    UpsertVariant,
)
from domain.documents import Document, parse
from domain.intake import LATER_BYTES, Answer, Batch, Call, Family, Question, Source, TokenAsked
from domain.merchants import SELLING, StoreStatus
from domain.proofs import Proof, Strategy
from domain.pulling import News, Talk, Unknown, asked_alone, asked_at, pulled_as
from domain.refusals import Problem, Refused
from domain.stock import StockMovementKind
from providers.unicommerce_questions import count, goods, orders

AUTH_TOKEN, OAUTH_TOKEN = "auth-token", "oauth-token"
INVENTORY, COUNT, PRODUCTS = "inventory", "products-count", "products"
ORDERS, ACKNOWLEDGE, CANCEL = "orders", "orders-acknowledge", "orders-cancel"
CANCELLED, CLOSED, AWAITED = "cancelled-items", "gatepass-closed", "gatepass-awaited"
SNAPSHOT, ITEM = "pulled-inventory", "pulled-item"
NOTIFICATIONS = frozenset({CANCELLED, CLOSED, AWAITED})

GOOD = "GOOD_INVENTORY"
CLIENT = "my-trusted-client"  # the same for all the world
SNAPSHOTS = "/services/rest/v1/inventory/inventorySnapshot/get"
ITEM_TYPE = "/services/rest/v1/catalog/itemType/get"
MINUTES_MOST, ITEMS_AT_ONCE = 1440, 20
TEXT_TIME = re.compile(r"([A-Z][a-z]{2})[a-z]* (\d{1,2}), (\d{4}),? (\d{1,2}):(\d{2}):(\d{2})\s([AP])M")
MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
KEY_CHARACTERS = 150


class Unicommerce:
    provider, family, proof = "unicommerce", Family.ERP, Proof(Strategy.BEARER_ISSUED, header="apikey")
    endpoints: Mapping[str, str] = {
        AUTH_TOKEN: "authToken",
        INVENTORY: "updateInventory",
        COUNT: "productsCount",
        PRODUCTS: "products",
        ORDERS: "orders",
        ACKNOWLEDGE: "orders/acknowledge",
        CANCEL: "orders/cancel",
        OAUTH_TOKEN: "oauth/token",
        CANCELLED: "cancelSOItem",
        CLOSED: "closeGatepass",
        AWAITED: "awaitedGatepass",
    }
    doors: Mapping[str, str] = {**{path: door for door, path in endpoints.items()}, "webhooks/stock": INVENTORY}
    questions: Collection[str] = frozenset({AUTH_TOKEN, COUNT, PRODUCTS, ORDERS})
    tokens: Collection[str] = frozenset({AUTH_TOKEN, OAUTH_TOKEN})

    credentials: Collection[str] = ("username", "password")
    every, overlap, longest = timedelta(minutes=5), timedelta(minutes=5), timedelta(minutes=1440)
    quota = Quota(120, 300)  # theirs is not published

    def verify(self, call: Call, source: Source) -> None:
        """The token says all there is."""

    def asked(self, call: Call) -> TokenAsked:
        told = _credentials(call)
        username = told.first("username", "client_id").text(needed=True, most=200)
        password = told.first("password", "client_secret").text(needed=True, most=500)
        told.check()
        return TokenAsked(username or "", password or "")

    def issued(self, call: Call, token: str, expires_in_s: int) -> Answer:
        if call.door == OAUTH_TOKEN:
            return Answer(200, {"access_token": token, "token_type": "bearer", "expires_in": expires_in_s})
        return Answer(200, {"status": "SUCCESS", "accessToken": token})

    def event_id(self, call: Call) -> str | None:
        """Family A has none: the next push says it again."""
        if call.door not in NOTIFICATIONS:
            return pulled_as(call) if call.door in (SNAPSHOT, ITEM) else None
        try:
            told = parse(call.body)
        except Refused:
            return None
        if call.door == CANCELLED:
            codes = sorted(_text(item["itemCode"]) for item in told["items"].apart().items())
            parts = [_text(told["saleOrderCode"]), ",".join(codes) if all(codes) else ""]
        else:
            parts = [_text(told[name]) for name in ("code", "statusCode", "updated")]
        if not all(parts):
            return None
        key = ":".join(parts)
        return f"{call.door}:{key if len(key) <= KEY_CHARACTERS else hashlib.sha256(key.encode()).hexdigest()}"

    def translate(self, call: Call, source: Source) -> Batch | Question:
        question = _QUESTIONS.get(call.door)
        if question is not None:
            return question(Document(dict(call.query), "$", []), call)
        told = parse(call.body).object()
        told.check()
        return _NEWS[call.door](told, call, source)

    def talk(self, access: Access, source: Source, since: datetime, until: datetime) -> Talk:
        """What changed in each facility; of goods nobody has heard of what they are. One that cannot be told of does not keep the
        others from being asked: it is what failed in the end."""
        if not source.stores:
            raise AskFailed("no facility is mapped to a store yet", retry=False)
        password = {"grant_type": "password", "client_id": CLIENT, **access.credentials}
        token = answered((yield Ask("GET", "/oauth/token", query=password)))["access_token"].text()
        if not token:
            raise AskFailed("it gives no token", retry=False)
        headers = {"authorization": f"bearer {token}", "content-type": "application/json"}
        minutes = min(MINUTES_MOST, math.ceil((until - since) / timedelta(minutes=1)))
        skus: dict[str, str] = {}  # and a facility that has it
        failed: list[AskFailed] = []
        for facility in source.stores:
            asked = json.dumps({"updatedSinceInMinutes": minutes}).encode()
            ask = Ask("POST", SNAPSHOTS, headers={**headers, "facility": facility}, body=asked)
            reply = yield from asked_alone(ask, facility, failed)
            if reply is None:
                continue
            try:
                told = _successful(reply)
            except AskFailed as error:
                failed.append(AskFailed(f"{facility}: {error.message}"))
                continue
            yield News(SNAPSHOT, f"{facility}:{until.isoformat()}", {"facility": facility})
            for row in told["inventorySnapshots"].items():
                skus.setdefault(_text(row["itemTypeSKU"]), facility)
        unknown = (yield Unknown([sku for sku in skus if sku])).body.decode().splitlines() if skus else []
        for sku in unknown[:ITEMS_AT_ONCE]:
            asked = json.dumps({"skuCode": sku}).encode()
            ask = Ask("POST", ITEM_TYPE, headers={**headers, "facility": skus[sku]}, body=asked)
            reply = yield from asked_alone(ask, sku[:KEY_CHARACTERS], failed)
            if reply is None:
                continue
            try:
                _successful(reply)
            except AskFailed as error:
                failed.append(AskFailed(f"{sku[:KEY_CHARACTERS]}: {error.message}"))
                continue
            yield News(ITEM, f"{sku[:KEY_CHARACTERS]}:{until.isoformat()}")
        if failed:
            raise failed[0]

    def acknowledge(self, call: Call, payload_id: UUID) -> Answer:
        if call.door in NOTIFICATIONS:
            return Answer(200, {"status": "Success", "message": "ok"})
        if call.door != INVENTORY:
            return Answer(200, {"status": "SUCCESS"})
        failed = _failed_rows(call)
        return Answer(200, {"status": "PARTIAL_SUCCESS" if failed else "SUCCESS", "failedProductList": failed})

    def refuse(self, call: Call, status: int, message: str) -> Answer:
        if call.door == OAUTH_TOKEN:
            error = "invalid_client" if status == 401 else "invalid_request"
            return Answer(status, {"error": error, "error_description": message})
        if call.door in NOTIFICATIONS:
            return Answer(status, {"status": "Failed", "message": message})
        failed = "INVALID_CREDENTIALS" if call.door == AUTH_TOKEN and status == 401 else "FAILED"
        rows = {"failedProductList": _failed_rows(call) if status == 400 else []} if call.door == INVENTORY else {}
        return Answer(status, {"status": failed, "message": message, **rows})

    def answer(self, call: Call, status: StoreStatus) -> Answer:
        return Answer(200, {"status": "SUCCESS", "open": status in SELLING})


def _text(place: Document) -> str:
    return place.apart().text() or ""


def _credentials(call: Call) -> Document:
    """In the query, in JSON, in a form, or as of Basic."""
    scheme, _, value = call.headers.get("authorization", "").partition(" ")
    if scheme.lower() == "basic":
        try:
            username, _, password = base64.b64decode(value.strip(), validate=True).decode().partition(":")
        except (binascii.Error, ValueError):
            username = password = ""
        return Document({"username": username, "password": password}, "$", [])
    if call.method == "GET" or not call.body.strip():
        return Document(dict(call.query), "$", [])
    if call.headers.get("content-type", "").startswith("application/x-www-form-urlencoded"):
        return Document(dict(parse_qsl(call.body.decode("utf-8", "replace"))), "$", [])
    return parse(call.body).object()


# ---------------------------------------------------------------- stock


def _rows(told: Document) -> Iterator[tuple[Document, Command]]:
    """Each with problems of its own: what is wrong with it says nothing of its neighbours."""
    for line in told["inventoryList"].items(needed=True):
        row = line.apart().object()
        yield (
            row,
            UpdateStockLevel(
                store=row["facilityCode"].text(most=200) or None,
                id=row.first("variantId", "productId").id(),
                mode=StockMode.ABSOLUTE,
                quantity=row["inventory"].whole(needed=True, least=0),
            ),
        )


def _inventory(told: Document, call: Call, source: Source) -> Batch:
    commands: list[Command] = []
    problems: list[Problem] = []
    for row, command in _rows(told):
        if row.problems:
            problems += row.problems
        else:
            commands.append(command)
    told.check()
    return Batch(commands, problems)


def _failed_rows(call: Call) -> list[Mapping[str, object]]:
    """What the door knows of already: what is unmapped waits, and is taken. A long push is read later."""
    if len(call.body) > LATER_BYTES:
        return []
    try:
        rows = list(_rows(parse(call.body)))
    except Refused:
        return []
    return [
        {
            "productId": _text(row["productId"]),
            "variantId": _text(row["variantId"]),
            "message": "; ".join(f"{one.path.rpartition('.')[2]} {one.message}" for one in row.problems),
        }
        for row, _ in rows
        if row.problems
    ]


# ---------------------------------------------------------------- orders


def _acknowledged(told: Document, call: Call, source: Source) -> Batch:
    order = told["orderId"].id()
    told.check()
    return Batch([AcceptOrder(order=order)])


def _cancelled_order(told: Document, call: Call, source: Source) -> Batch:
    """Without items all of it."""
    order = told["orderId"].id()
    message = told.first("cancellationReason", "reason").text(most=300)
    items = [item.first("variantId", "productId").id() for item in told["orderItems"].items()]
    told.check()
    if not items:
        return Batch([RejectOrder(order=order, message=message)])
    return Batch([_without(order, items, message=message)])


def _without(order: str, items: Sequence[str], *, store: str | None = None, message: str | None) -> Command:
    some = tuple(OrderItem(id=id) for id in dict.fromkeys(items))
    return OrderStatus(order=order, store=store, status=OrderWord.ITEM_CANCELLED, items=some, message=message)


# ---------------------------------------------------------------- notifications


def _cancelled_items(told: Document, call: Call, source: Source) -> Batch:
    """In a dark store: what the picker did not find. Whether there is any left the next count says."""
    order, store = told["saleOrderCode"].id(), told["facilityCode"].text(most=200) or None
    items, reasons = [], []
    for item in told["items"].items(needed=True):
        items.append(item["itemSku"].id())
        reasons.append(item["cancellationReason"].text(most=200))
    if not items and not told.problems:
        told["items"].wrong("is empty")
    told.check()
    message = ", ".join(dict.fromkeys(filter(None, reasons))) or None
    return Batch([_without(order, items, store=store, message=message)])


def _gatepass(told: Document, call: Call, source: Source) -> Batch:
    """What left one facility and came to another: by its type, and by whether it ends at one of ours.

    Awaited: it has left. Closed: a transfer has come to `toPartyName`, what was lent has come back, all else has left for good.
    Goods leave once and come once, however many times a gatepass is told of: each time it has another `updated`.
    """
    code, at = told["code"].id(), _time(told["updated"], call, source)
    kind = (told["type"].text(needed=True, most=100) or "").upper()
    to = told["toPartyName"].text(most=200) or None
    lent = "RETURNABLE" in kind and "NON" not in kind
    moved = kind == "STOCK_TRANSFER"
    comes = call.door == CLOSED and (moved or lent)
    place = to if comes and moved else _sender(told, to, source)
    movement = StockMovementKind.TRANSFERRED if moved else StockMovementKind.RETURNED if comes else StockMovementKind.ADJUSTED
    elsewhere = comes and moved and bool(source.stores) and to not in source.stores
    sender = told.first("facilityCode", "fromPartyName").text(most=200) or ""
    once = f"gatepass {code} from {sender}" if comes else f"gatepass {code}"  # two facilities may give out the same code
    units_of: dict[str, int] = {}
    problems: list[Problem] = []
    for item in told["gatePassItemDTOs"].items(needed=True):
        row = item.apart().object()
        sku = row["itemTypeSKU"].id()
        units = row["receivedQuantity" if comes else "quantity"].whole(needed=True, least=0)
        if row.problems:
            problems += row.problems
        elif units and not elsewhere and (row["inventoryType"].text() or GOOD).upper() == GOOD:
            units_of[sku] = units_of.get(sku, 0) + units
    told.check()
    commands = [
        UpdateStockLevel(
            store=place,
            id=sku,
            mode=StockMode.DELTA,
            quantity=units if comes else -units,
            movement=movement,
            at=at,
            reason=f"gatepass {code} {kind}".strip(),
            once=f"{once} {sku}",
        )
        for sku, units in units_of.items()
    ]
    return Batch(commands, problems)


def _sender(told: Document, to: str | None, source: Source) -> str | None:
    """Where it is not named: of the source's facilities the only one that it does not go to."""
    named = told.first("facilityCode", "fromPartyName").text(most=200)
    if named:
        return named
    others = [store for store in source.stores if store != to]
    return others[0] if len(others) == 1 else None


def _time(place: Document, call: Call, source: Source) -> datetime | None:
    written = TEXT_TIME.fullmatch(place.told.strip()) if isinstance(place.told, str) else None
    if written is None or written[1] not in MONTHS:
        return place.time(call.received_at, "UTC")
    month, hour = MONTHS.index(written[1]) + 1, int(written[4]) % 12 + (12 if written[7] == "P" else 0)
    text = f"{written[3]}-{month:02}-{int(written[2]):02} {hour:02}:{written[5]}:{written[6]}"
    return Document(text, place.path, place.problems).time(call.received_at, source.time_zone)


# ---------------------------------------------------------------- what we ask


def _successful(reply: Reply) -> Document:
    """It says with HTTP 200 that it could not. Raises AskFailed."""
    told = answered(reply)
    if told["successful"].apart().flag(default=False):
        return told
    errors = [_text(error.first("description", "message", "code")) for error in told["errors"].apart().items()]
    said = ", ".join(filter(None, errors)) or _text(told["message"]) or "without a reason"
    raise AskFailed(f"it does not succeed: {said[:300]}")


def _snapshots(told: Document, call: Call, source: Source) -> Batch:
    """Of one facility. `inventory` is what Uniware would sell."""
    facility, at = call.query.get("facility"), asked_at(call)
    commands: list[Command] = []
    problems: list[Problem] = []
    for line in told["inventorySnapshots"].items(needed=True):
        row = line.apart().object()
        sku, units = row["itemTypeSKU"].id(), row["inventory"].whole(needed=True)
        if row.problems or units is None:
            problems += row.problems
        else:
            commands.append(
                UpdateStockLevel(store=facility, id=sku, mode=StockMode.ABSOLUTE, quantity=max(0, units), at=at)
            )  # fmt: skip
    told.check()
    return Batch(commands, problems)


def _item_type(told: Document, call: Call, source: Source) -> Batch:
    """A product and its only form; it names no facility, and holds in all of the source's."""
    item = told.first("itemTypeDTO", "itemType").object()
    sku, title = item["skuCode"].id(), item["name"].text(needed=True, most=300) or ""
    price, mrp = item["basePrice"].minor(), item["maxRetailPrice"].minor()
    price = price or mrp
    if price and mrp and price > mrp:
        item["basePrice"].wrong(f"{price / 100:.2f} is above the MRP, {mrp / 100:.2f}")
    product = UpsertCatalogItem(
        item=sku,
        title=title,
        description=item["description"].text() or None,
        brand=item["brand"].text(most=200) or None,
        images=tuple(filter(None, [item["imageUrl"].text(most=2000)])),
    )
    barcode, active = item["ean"].text(most=100) or None, bool(item["enabled"].flag(default=True))
    told.check()
    stores = tuple(source.stores) or (None,)
    forms = [UpsertVariant(store=store, variant=sku, item=sku, barcode=barcode, active=active) for store in stores]
    prices = [UpdatePrice(store=store, variant=sku, price_minor=price, mrp_minor=mrp or None) for store in stores if price]
    return Batch([product, *forms, *prices])


_QUESTIONS: Mapping[str, Callable[[Document, Call], Question]] = {COUNT: count, PRODUCTS: goods, ORDERS: orders}
_NEWS: Mapping[str, Callable[[Document, Call, Source], Batch]] = {
    SNAPSHOT: _snapshots,
    ITEM: _item_type,
    INVENTORY: _inventory,
    ACKNOWLEDGE: _acknowledged,
    CANCEL: _cancelled_order,
    CANCELLED: _cancelled_items,
    CLOSED: _gatepass,
    AWAITED: _gatepass,
}
