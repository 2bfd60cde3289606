"""PetPooja, Online Ordering API v2.1.0: orders placed at the till, cancelled, and where their riders are.

Three issued values go into every body. `save_order` has a host of its own. Our number is the order's id there, the same each time:
the till's own, which it answers with, is for people.
"""

import json
import re
from collections.abc import Collection, Mapping
from datetime import datetime
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

from domain.access import Access, Ask, AskFailed, Quota, Reply, answered
from domain.documents import Document
from domain.money import Money
from domain.orders import Fulfilment, OrderStatus, ReasonCode
from domain.outbound import Heard, Line, NotNow, NotUnderstood, Order, OrderNews, Say, Taken, Unmapped, not_taken
from domain.pricing import ChargeKind

ISSUED = ("app_key", "app_secret", "access_token")
ORDERS_URL, CALLBACK_URL = "orders_url", "callback_url"
TYPES = {Fulfilment.DELIVERY: "H", Fulfilment.STORE_DELIVERY: "H", Fulfilment.PICKUP: "P"}
RIDERS = {
    OrderNews.RIDER_ASSIGNED: "rider-assigned",
    OrderNews.RIDER_AT_STORE: "rider-arrived",
    OrderNews.RIDER_LEFT: "pickedup",
    OrderNews.RIDER_DELIVERED: "delivered",
}
REASONS = {
    ReasonCode.OUT_OF_STOCK: "Out of stock",
    ReasonCode.TOO_BUSY: "The store is busy",
    ReasonCode.CLOSING: "The store is closing",
    ReasonCode.CUSTOMER_ASKED: "Customer cancelled",
    ReasonCode.TIMEOUT: "Nobody accepted it in time",
}
# Then it has what it was told before. That the outlet is already closed, or an item already gone, is another thing.
ALREADY = {
    OrderNews.PLACED: re.compile(r"order\b.{0,40}\balready (exist|placed|saved|received|created)|duplicate order", re.I | re.S),
    OrderNews.CANCELLED: re.compile(r"already (been )?cancell?ed", re.I),
}
TEXT = {"content-type": "application/json", "accept": "application/json"}
PHONE_DIGITS = 10


class PetpoojaOrders:
    provider = "petpooja"
    credentials: Collection[str] = (*ISSUED, ORDERS_URL, CALLBACK_URL)
    tells: Collection[OrderNews] = frozenset({OrderNews.PLACED, OrderNews.CANCELLED, *RIDERS})
    quota = Quota(240, 60)  # it publishes none

    def word(self, news: OrderNews, order: Order, access: Access, id: UUID, now: datetime) -> Say:
        issued = {name: access.credentials[name] for name in ISSUED}
        if news is OrderNews.PLACED:
            told = {**issued, "orderinfo": {"OrderInfo": _order(order, access)}, "udid": "", "device_type": "Web"}
            return Say(_ask("save_order", told), access.credentials[ORDERS_URL])
        if news is OrderNews.CANCELLED:
            return Say(_ask("update_order_status", {**issued, **_cancelled(order)}))
        return Say(_ask("rider_status_update", {**issued, **_rider(RIDERS[news], order)}))

    def heard(self, news: OrderNews, reply: Reply) -> Heard:
        """It says no with `success` 0, whatever the status is (*assumed*: its pages show bodies alone)."""
        try:
            told = answered(reply)
        except AskFailed as unreadable:
            return not_taken(reply) or NotNow(unreadable.message)
        if _yes(told):
            return not_taken(reply) or Taken(told["orderID"].text(most=100) or None)
        said = _said(told)
        if news in ALREADY and ALREADY[news].search(said):
            return Taken(told["orderID"].text(most=100) or None)
        if reply.status in (408, 425, 429) or reply.status >= 500:
            return NotNow(f"it answers HTTP {reply.status}: {said}")
        return NotUnderstood(said)


def _ask(path: str, told: Mapping[str, Any]) -> Ask:
    return Ask("POST", path, headers=TEXT, body=json.dumps(told, ensure_ascii=False).encode())


def _yes(told: Document) -> bool:
    if told["success"].missing:
        return (told["status"].text(most=40) or "").lower() == "success"
    return bool(told["success"].flag(default=False))


def _said(told: Document) -> str:
    """With its code and what it found wrong, field by field."""
    wrong = told["validation_errors"].told
    parts = [
        told["errorCode"].text(most=100),
        told["message"].text(most=500),
        json.dumps(wrong, default=str)[:500] if wrong else None,
    ]
    return ": ".join(part for part in parts if part) or "it says no"


# ---------------------------------------------------------------- an order


def _order(order: Order, access: Access) -> dict[str, Any]:
    store = order.store
    return {
        "Restaurant": {"details": {"res_name": store.name, "address": store.city, "contact_information": "", "restID": store.id}},
        "Customer": {"details": _customer(order)},
        "Order": {"details": _details(order, access)},
        "OrderItem": {"details": [_item(line) for line in order.lines]},
        # No bill of ours has a tax of its own yet: prices are what the customer pays.
        "Tax": {"details": []},
        "Discount": {"details": []},
    }


def _customer(order: Order) -> dict[str, str]:
    address = order.address
    lines = [address.line1, address.line2, address.city, address.postal_code] if address else []
    return {
        "email": "",
        "name": order.customer_name,
        "address": ", ".join(line for line in lines if line),
        "phone": (order.phone or "")[-PHONE_DIGITS:],
        "latitude": f"{address.point.lat}" if address else "",
        "longitude": f"{address.point.lng}" if address else "",
    }


def _details(order: Order, access: Access) -> dict[str, Any]:
    zone = ZoneInfo(order.store.time_zone)
    placed = order.placed_at.astimezone(zone)
    delivery = order.charged(ChargeKind.DELIVERY, ChargeKind.TIP, ChargeKind.FEE)
    return {
        "orderID": order.number,
        "preorder_date": f"{placed:%Y-%m-%d}",
        "preorder_time": f"{placed:%H:%M:%S}",
        "service_charge": "0",
        "sc_tax_amount": "0",
        "delivery_charges": _rupees(delivery),
        "dc_tax_percentage": "0",
        "dc_tax_amount": "0",
        "dc_gst_details": [{"gst_liable": "vendor", "amount": "0"}],
        "packing_charges": _rupees(order.charged(ChargeKind.PACKAGING)),
        "pc_tax_percentage": "0",
        "pc_tax_amount": "0",
        "pc_gst_details": [{"gst_liable": "restaurant", "amount": "0"}],
        "order_type": TYPES[order.fulfilment],
        "advanced_order": "N",
        "payment_type": "COD" if order.cash else "ONLINE",
        "discount_total": _rupees(order.charged(ChargeKind.DISCOUNT)).removeprefix("-"),
        "discount_type": "F",
        "tax_total": _rupees(order.charged(ChargeKind.TAX)),
        "total": _rupees(order.total),
        "description": "",
        "created_on": f"{placed:%Y-%m-%d %H:%M:%S}",
        "enable_delivery": "1" if order.fulfilment is Fulfilment.STORE_DELIVERY else "0",
        "min_prep_time": str(order.prep_minutes),
        "callback_url": access.credentials[CALLBACK_URL],
        "collect_cash": _rupees(order.total) if order.cash else "0",
        "otp": "",  # the customer has the code, and shows it
        "ondc_bap": "",
        "urgent_order": False,
        "urgent_time": order.prep_minutes,
    }


def _item(line: Line) -> dict[str, Any]:
    """`price` has the add-ons in it; they are repeated for the kitchen."""
    if line.id is None:
        raise Unmapped(line)
    return {
        "id": line.id,
        "name": line.name,
        "gst_liability": "vendor",
        "tax_inclusive": True,
        "item_tax": [],
        "item_discount": "0",
        "price": _rupees(line.unit_price),
        "final_price": _rupees(line.unit_price),
        "quantity": str(line.quantity),
        "description": line.note or "",
        "variation_name": line.size,
        "variation_id": line.size_id or "",
        "AddonItem": {
            "details": [
                {
                    "id": one.id,
                    "name": one.name,
                    "group_name": one.group,
                    "price": _rupees(one.price),
                    "group_id": one.group_id,
                    "quantity": "1",
                }
                for one in line.choices
            ]
        },
    }


def _rupees(amount: Money) -> str:
    return f"{amount.amount:.2f}"


# ---------------------------------------------------------------- what becomes of it


def _cancelled(order: Order) -> dict[str, str]:
    because = REASONS.get(order.reason) if order.reason else None
    if because is None:
        because = "Nobody accepted it in time" if order.status is OrderStatus.EXPIRED else "Cancelled"
    return {
        "restID": order.store.id,
        "orderID": "",  # deprecated
        "clientorderID": order.number,
        "cancelReason": because,
        "status": "-1",
    }


def _rider(status: str, order: Order) -> dict[str, Any]:
    rider = order.rider
    assert rider is not None  # without one there is nothing to tell
    return {
        "order_id": order.number,
        "outlet_id": order.store.id,
        "status": status,
        "rider_data": {"rider_name": rider.name, "rider_phone_number": (rider.phone or "")[-PHONE_DIGITS:]},
        "external_order_id": "",
    }
