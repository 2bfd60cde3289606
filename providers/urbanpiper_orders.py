"""UrbanPiper, as its hub tells a till: orders relayed, states of orders, and where their riders are.

A till has registered a URL for each kind of event, with a header of its own that proves us. What is told again is told with the
state of by then, and is the same order by its id.
"""

import json
import re
from collections.abc import Collection, Mapping
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from domain.access import Access, Ask, AskFailed, Quota, Reply, answered
from domain.canonical import FORM
from domain.money import Money
from domain.orders import Fulfilment, OrderStatus
from domain.outbound import OF_RIDER, Heard, Line, NotNow, Order, OrderNews, Say, Taken, Unmapped, Unsayable, not_taken
from domain.pricing import ChargeKind

PLATFORM = "haat"  # what we are called where they name platforms
EVENTS = {"order_placed": "18", "order_status_update": "60008", "rider_status_update": "60012"}  # registration -> code
STATES = {
    OrderStatus.PLACED: "Placed",
    OrderStatus.ACCEPTED: "Acknowledged",
    OrderStatus.READY: "Food Ready",
    OrderStatus.PICKED_UP: "Dispatched",
    OrderStatus.UNDELIVERED: "Dispatched",
    OrderStatus.DELIVERED: "Completed",
}
NEWS = {
    OrderNews.ACCEPTED: ("Acknowledged", "Placed"),
    OrderNews.READY: ("Food Ready", "Acknowledged"),
    OrderNews.LEFT: ("Dispatched", "Food Ready"),
    OrderNews.DELIVERED: ("Completed", "Dispatched"),
    OrderNews.CANCELLED: ("Cancelled", ""),
}
RIDERS = {
    OrderNews.RIDER_ASSIGNED: "assigned",
    OrderNews.RIDER_AT_STORE: "at-store",
    OrderNews.RIDER_LEFT: "out-for-delivery",
    OrderNews.RIDER_DELIVERED: "delivered",
}
TYPES = {Fulfilment.DELIVERY: "delivery", Fulfilment.STORE_DELIVERY: "delivery", Fulfilment.PICKUP: "pickup"}
HEADER = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,100}")
OF_HTTP = frozenset({"host", "content-length", "transfer-encoding", "connection", "expect", "upgrade", "te", "accept-encoding"})
RIDE = timedelta(minutes=20)
OTHER = (ChargeKind.PACKAGING, ChargeKind.DELIVERY, ChargeKind.FEE, ChargeKind.TIP)


class UrbanpiperOrders:
    provider = "urbanpiper"
    credentials: Collection[str] = ("biz_id", "header", "value")
    tells: Collection[OrderNews] = frozenset(OrderNews)
    quota = Quota(240, 60)  # a till publishes none

    def word(self, news: OrderNews, order: Order, access: Access, id: UUID, now: datetime) -> Say:
        if news is OrderNews.PLACED:
            return _say("order_placed", _relayed(order, access), access, id)
        if news in OF_RIDER:
            return _say("rider_status_update", _rider(RIDERS[news], order, now), access, id)
        return _say("order_status_update", _moved(news, order, now), access, id)

    def heard(self, news: OrderNews, reply: Reply) -> Heard:
        """An order is taken where it is answered with the till's own number of it; of anything else 2xx will do."""
        if (failed := not_taken(reply)) is not None:
            return failed
        if news is not OrderNews.PLACED:
            return Taken()
        try:
            reference = answered(reply)["order_ref_id"].text(most=100)
        except AskFailed as unreadable:
            return NotNow(unreadable.message)
        return Taken(reference) if reference else NotNow("it answers without order_ref_id")


def _say(event: str, told: Mapping[str, Any], access: Access, id: UUID) -> Say:
    header = access.credentials["header"].lower()
    headers = {
        "content-type": "application/json",
        "x-upr-event-type": EVENTS[event],
        "x-upr-biz-id": access.credentials["biz_id"],
        "x-request-id": str(id),
    }
    if not HEADER.fullmatch(header) or header in headers or header in OF_HTTP:
        raise Unsayable("the access names a header that is none, or none of the till's")
    headers[header] = access.credentials["value"]
    return Say(Ask("POST", event, headers=headers, body=json.dumps(told, ensure_ascii=False).encode()))


# ---------------------------------------------------------------- an order


def _relayed(order: Order, access: Access) -> dict[str, Any]:
    due = order.promised_at or order.placed_at + timedelta(minutes=order.prep_minutes) + RIDE
    biz_id = access.credentials["biz_id"]
    return {
        "customer": _customer(order),
        "order": {
            "details": {
                "id": order.number,
                "biz_id": int(biz_id) if biz_id.isascii() and biz_id.isdigit() else biz_id,
                "channel": PLATFORM,
                "created": _ms(order.placed_at),
                "delivery_datetime": _ms(due),
                "order_state": STATES.get(order.status, "Placed"),
                "order_type": TYPES[order.fulfilment],
                "instructions": "",
                "order_subtotal": _rupees(order.charged(ChargeKind.ITEMS)),
                "discount": abs(_rupees(order.charged(ChargeKind.DISCOUNT))),
                "total_external_discount": 0.0,
                "total_taxes": _rupees(order.charged(ChargeKind.TAX)),
                "total_charges": _rupees(order.charged(*OTHER)),
                "order_total": _rupees(order.total),
                "payable_amount": _rupees(order.total),
                "coupon": "",
                "merchant_ref_id": order.number,
                "charges": [
                    {"title": one.label, "value": _rupees(one.amount), "taxes": []} for one in order.charges if one.kind in OTHER
                ],
                "prep_time": {"estimated": order.prep_minutes, "adjustable": True},
                "country": "India",
                "ext_platforms": [_platform(order)],
            },
            "items": [_item(index, line) for index, line in enumerate(order.lines, 1)],
            "next_state": "Acknowledged",
            "next_states": ["Acknowledged", "Cancelled"],
            "payment": [
                {
                    "option": "cash" if order.cash else "payment_gateway",
                    "amount": _rupees(order.total),
                    "srvr_trx_id": "",
                }
            ],
            "store": {
                "merchant_ref_id": order.store.id,
                "name": order.store.name,
                "city": order.store.city,
            },
        },
    }


def _platform(order: Order) -> dict[str, Any]:
    return {
        "id": order.number,
        "name": PLATFORM,
        "kind": "food_aggregator",
        "delivery_type": "self" if order.fulfilment is Fulfilment.STORE_DELIVERY else "partner",
        "platform_store_id": order.store.id,
        "extras": {
            "order_otp": "",  # the customer has the code, and shows it
            "cash_to_be_collected": _rupees(order.total) if order.cash else 0,
            "deliver_asap": True,
            "can_reject_order": True,
        },
        "discounts": [],
    }


def _customer(order: Order) -> dict[str, Any]:
    address = order.address
    return {
        "name": order.customer_name,
        "phone": order.phone or "",
        "email": "",
        "address": {
            "line_1": address.line1,
            "line_2": address.line2 or "",
            "city": address.city,
            "pin": address.postal_code,
            "sub_locality": "",
            "landmark": "",
            "latitude": address.point.lat,
            "longitude": address.point.lng,
            "is_guest_mode": True,
        }
        if address
        else None,
    }


def _item(index: int, line: Line) -> dict[str, Any]:
    """A size is an option of its item, whose price has it in it; what was chosen besides has its own."""
    if line.id is None:
        raise Unmapped(line)
    item, _, size = line.id.partition(FORM)
    sizes = [_option(size, line.size, Money(0, line.unit_price.currency), line.quantity)] if size else []
    chosen = [_option(one.id, one.name, one.price, line.quantity) for one in line.choices]
    return {
        "id": index,
        "merchant_id": item,
        "title": line.name,
        "price": _rupees(line.bare_price),
        "quantity": line.quantity,
        "total": _rupees(line.total),
        "total_with_tax": _rupees(line.total),
        "discount": 0.0,
        "instructions": line.note or "",
        "charges": [],
        "taxes": [],
        "options_to_add": [*sizes, *chosen],
    }


def _option(id: str, title: str, price: Money, quantity: int) -> dict[str, Any]:
    return {
        "merchant_id": id,
        "title": title,
        "price": _rupees(price),
        "quantity": 1,
        "total_price": _rupees(price * quantity),
    }


def _rupees(amount: Money) -> float:
    """As a number: two places of a float are read back exactly."""
    return float(amount.amount)


def _ms(moment: datetime) -> int:
    return round(moment.timestamp() * 1000)


# ---------------------------------------------------------------- what becomes of it


def _moved(news: OrderNews, order: Order, now: datetime) -> dict[str, Any]:
    state, before = NEWS[news]
    return {
        "order_id": order.number,
        "new_state": state,
        "prev_state": before,
        "store_id": order.store.id,
        "message": order.reason.value.replace("_", " ").capitalize() if order.reason and news is OrderNews.CANCELLED else "",
        "additional_info": _ours(order),
        "timestamp": now.isoformat(),
    }


def _rider(state: str, order: Order, now: datetime) -> dict[str, Any]:
    rider = order.rider
    assert rider is not None  # without one there is nothing to tell
    return {
        "order_id": order.number,
        "store": {"ref_id": order.store.id},
        "additional_info": _ours(order),
        "delivery_info": {
            "current_state": state,
            "delivery_person_details": {"name": rider.name, "phone": rider.phone or ""},
            "status_updates": [{"status": state, "created": _ms(now)}],
        },
    }


def _ours(order: Order) -> dict[str, Any]:
    return {"external_channel": {"name": PLATFORM, "order_id": order.number}}
