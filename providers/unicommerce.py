"""Unicommerce's Uniware calls on us as on a marketplace (family A), and tells of what happened in its warehouses (family C).

Both ask for a token first, with the source's id and its secret, and show it with every call: in `apiKey`, or in `Authorization`.
Times without a zone are UTC in family A; family C writes milliseconds of the epoch, or `Jul 9, 2024 3:34:35 PM` by its own clock.
"""

import base64
import binascii
import hashlib
import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from urllib.parse import parse_qsl
from uuid import UUID

from domain.documents import Document, parse
from domain.instructions import (
    AcceptOrder,
    Command,
    OrderItem,
    OrderStatus,
    OrderWord,
    RejectOrder,
    StockMode,
    UpdateStockLevel,
)
from domain.intake import LATER_BYTES, Answer, Batch, Call, Family, Question, Source, TokenAsked
from domain.merchants import SELLING, StoreStatus
from domain.money import Money
from domain.orders import OrderStatus as Status
from domain.pricing import ChargeKind
from domain.proofs import Proof, Strategy
from domain.questions import GoodsAsked, GoodsCounted, Ordered, OrderedItem, OrdersAsked, SoldForm, SoldProduct
from domain.refusals import Problem, Refused
from domain.stock import StockMovementKind

AUTH_TOKEN, OAUTH_TOKEN = "auth-token", "oauth-token"
INVENTORY, COUNT, PRODUCTS = "inventory", "products-count", "products"
ORDERS, ACKNOWLEDGE, CANCEL = "orders", "orders-acknowledge", "orders-cancel"
CANCELLED, CLOSED, AWAITED = "cancelled-items", "gatepass-closed", "gatepass-awaited"
NOTIFICATIONS = frozenset({CANCELLED, CLOSED, AWAITED})

PAGE, PAGE_MOST, PAGES_MOST = 50, 500, 10_000
WINDOW, WINDOW_MOST = timedelta(days=15), timedelta(days=31)
GOOD = "GOOD_INVENTORY"
TEXT_TIME = re.compile(r"([A-Z][a-z]{2})[a-z]* (\d{1,2}), (\d{4}),? (\d{1,2}):(\d{2}):(\d{2})\s([AP])M")
MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
KEY_CHARACTERS = 150

# Theirs of ours. What Uniware fetches it acknowledges, so an order that waits to be accepted is CREATED to it.
STATUSES: Mapping[str, frozenset[Status]] = {
    "PENDING_VERIFICATION": frozenset({Status.PAYMENT_PENDING}),
    "CREATED": frozenset({Status.PLACED, Status.ACCEPTED, Status.READY}),
    "COMPLETE": frozenset({Status.PICKED_UP, Status.DELIVERED, Status.UNDELIVERED, Status.RETURNED}),
    "CANCELLED": frozenset({Status.REJECTED, Status.CANCELLED, Status.EXPIRED}),
}
ORDER_STATUS = {ours: theirs for theirs, some in STATUSES.items() for ours in some}
ITEM_STATUS: Mapping[Status, str] = {
    **dict.fromkeys(STATUSES["CREATED"], "CREATED"),
    **dict.fromkeys(STATUSES["CANCELLED"], "CANCELLED"),
    Status.PICKED_UP: "DISPATCHED",
    Status.UNDELIVERED: "DISPATCHED",
    Status.DELIVERED: "DELIVERED",
    Status.RETURNED: "COURIER_RETURN",
}


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
            return None
        try:
            told = parse(call.body)
        except Refused:
            return None
        if call.door == CANCELLED:
            codes = sorted(_text(item["itemCode"]) for item in told["items"].apart().items())
            parts = [_text(told["saleOrderCode"]), ",".join(codes)]
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
    commands: list[Command] = []
    problems: list[Problem] = []
    for item in told["gatePassItemDTOs"].items(needed=True):
        row = item.apart().object()
        sku = row["itemTypeSKU"].id()
        units = row["receivedQuantity" if comes else "quantity"].whole(needed=True, least=0)
        if row.problems:
            problems += row.problems
        elif units and not elsewhere and (row["inventoryType"].text() or GOOD).upper() == GOOD:
            commands.append(
                UpdateStockLevel(
                    store=place,
                    id=sku,
                    mode=StockMode.DELTA,
                    quantity=units if comes else -units,
                    movement=movement,
                    at=at,
                    reason=f"gatepass {code} {kind}".strip(),
                )
            )
    told.check()
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


_NEWS: Mapping[str, Callable[[Document, Call, Source], Batch]] = {
    INVENTORY: _inventory,
    ACKNOWLEDGE: _acknowledged,
    CANCEL: _cancelled_order,
    CANCELLED: _cancelled_items,
    CLOSED: _gatepass,
    AWAITED: _gatepass,
}


# ---------------------------------------------------------------- what it asks


def _page(told: Document) -> tuple[int, int]:
    """A page that is shorter than was asked for is the last one to Uniware: none is cut."""
    page = told["pageNumber"].whole(least=1, most=PAGES_MOST)
    size = told["pageSize"].whole(least=1, most=PAGE_MOST)
    return page or 1, size or PAGE


def _published(told: Document) -> bool | None:
    word = (told["publishedStatus"].text() or "").upper()
    return {"PUBLISHED": True, "UNPUBLISHED": False}.get(word)


def _count(told: Document, call: Call) -> Question:
    return GoodsCounted(None, lambda count: Answer(200, {"count": count}), _published(told))


def _goods(told: Document, call: Call) -> Question:
    page, size = _page(told)
    told.check()
    return GoodsAsked(None, lambda some: Answer(200, {"products": [*map(_product, some)]}), page, size, _published(told))


def _orders(told: Document, call: Call) -> Question:
    page, size = _page(told)
    until = _query_time(told["orderDateTo"], call) or call.received_at
    since = _query_time(told["orderDateFrom"], call) or until - WINDOW
    if until - since > WINDOW_MOST:
        told["orderDateFrom"].wrong(f"is more than {WINDOW_MOST.days} days before orderDateTo")
    words = {word.strip() for word in (told["orderStatus"].text() or "").upper().split(",")} - {""}
    for word in sorted(words - STATUSES.keys()):
        told["orderStatus"].wrong(f"{word[:40]!r} is none of {', '.join(STATUSES)}")
    told.check()
    statuses = frozenset[Status]().union(*(STATUSES[word] for word in words))
    return OrdersAsked(None, lambda some: Answer(200, {"orders": [*map(_order, some)]}), since, until, page, size, statuses)


def _query_time(place: Document, call: Call) -> datetime | None:
    """A plus that nobody escaped has become a blank."""
    told = place.told.strip() if isinstance(place.told, str) else None
    if told and "T" in told:
        told = told.replace(" ", "+")
    return Document(told, place.path, place.problems).time(call.received_at, "UTC", ahead=True)


_QUESTIONS: Mapping[str, Callable[[Document, Call], Question]] = {COUNT: _count, PRODUCTS: _goods, ORDERS: _orders}


def _rupees(money: Money | None) -> str | None:
    return None if money is None else str(money.amount)


def _when(moment: datetime | None) -> str | None:
    return None if moment is None else f"{moment.astimezone(UTC):%Y-%m-%dT%H:%M:%S}"


def _product(one: SoldProduct) -> Mapping[str, object]:
    return {
        "id": one.id,
        "parentTitle": one.name,
        "brand": one.brand,
        "commissionPercentage": None,
        "variants": [_variant(one, form) for form in one.forms],
    }


def _variant(product: SoldProduct, form: SoldForm) -> Mapping[str, object]:
    return {
        "variantId": form.id,
        "title": f"{product.name} {form.name}".strip(),
        "sku": form.sku,
        "size": product.attributes.get("size") or form.name or None,
        "color": product.attributes.get("color"),
        "live": form.active,
        "imageUrl": product.images[0] if product.images else None,
        "productUrl": None,
        "productDescription": product.description,
        "itemPrice": {
            "currency": form.price.currency,
            "listingPrice": _rupees(form.price),
            "mrp": _rupees(form.mrp or form.price),
            "msp": _rupees(form.price),
            "netSellerPayable": None,
        },
        "inventory": form.available,
        "blockedInventory": form.held,
        "pendency": form.allocated,
    }


def _order(one: Ordered) -> Mapping[str, object]:
    def charged(kind: ChargeKind) -> str | None:
        return _rupees(Money(sum(abs(charge.amount.minor) for charge in one.charges if charge.kind is kind), one.total.currency))

    nothing = _rupees(Money(0, one.total.currency))

    return {
        "id": one.number,
        "displayOrderNumber": one.number,
        "orderDate": _when(one.placed_at),
        "orderStatus": ORDER_STATUS[one.status],
        "sla": _when(one.promised_at),
        "priority": 1,
        "paymentType": "COD" if one.cash else "PREPAID",
        "facilityCode": one.store,
        "orderPrice": {
            "currency": one.total.currency,
            "totalCashOnDeliveryCharges": nothing,
            "totalDiscount": charged(ChargeKind.DISCOUNT),
            "totalGiftCharges": nothing,
            "totalStoreCredit": nothing,
            "totalPrepaidAmount": nothing if one.cash else _rupees(one.total),
            "totalShippingCharges": charged(ChargeKind.DELIVERY),
        },
        "shippingAddress": _address(one),
        "orderItems": [_item(one, item) for item in one.items],
    }


def _item(order: Ordered, item: OrderedItem) -> Mapping[str, object]:
    return {
        "orderItemId": item.id,
        "status": ITEM_STATUS[order.status],
        "productId": item.product,
        "variantId": item.form,
        "title": item.name,
        "sku": item.sku,
        "quantity": item.quantity,
        "orderItemPrice": {
            "currency": item.total.currency,
            "sellingPrice": _rupees(item.unit_price),
            "totalPrice": _rupees(item.total),
        },
    }


def _address(order: Ordered) -> Mapping[str, object] | None:
    place = order.address
    if place is None:
        return None
    return {
        "name": order.customer,
        "addressLine1": place.line1,
        "addressLine2": place.line2,
        "city": place.city,
        "pincode": place.postal_code,
        "phone": place.phone,
    }
