"""What Uniware fetches of a marketplace, and how it reads the answers: products and orders, page by page."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

from domain.documents import Document
from domain.intake import Answer, Call, Question
from domain.money import Money
from domain.orders import OrderStatus as Status
from domain.pricing import ChargeKind
from domain.questions import GoodsAsked, GoodsCounted, Ordered, OrderedItem, OrdersAsked, SoldForm, SoldProduct

PAGE, PAGE_MOST, PAGES_MOST = 50, 500, 10_000
WINDOW, WINDOW_MOST = timedelta(days=15), timedelta(days=31)

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


def _page(told: Document) -> tuple[int, int]:
    """A page that is shorter than was asked for is the last one to Uniware: none is cut."""
    page = told["pageNumber"].whole(least=1, most=PAGES_MOST)
    size = told["pageSize"].whole(least=1, most=PAGE_MOST)
    return page or 1, size or PAGE


def _published(told: Document) -> bool | None:
    word = (told["publishedStatus"].text() or "").upper()
    return {"PUBLISHED": True, "UNPUBLISHED": False}.get(word)


def count(told: Document, call: Call) -> Question:
    return GoodsCounted(None, lambda count: Answer(200, {"count": count}), _published(told))


def goods(told: Document, call: Call) -> Question:
    page, size = _page(told)
    told.check()
    return GoodsAsked(None, lambda some: Answer(200, {"products": [*map(_product, some)]}), page, size, _published(told))


def orders(told: Document, call: Call) -> Question:
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
