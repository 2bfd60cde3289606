"""The in-house WMS is told of orders as it tells us of its stock: Standard Webhooks, one envelope `{type, timestamp, data}`.

It may turn an order down as it is told of it, and by this contract that is the store's word: 422 with `{"rejected": true}`.
"""

import json
from collections.abc import Collection
from datetime import datetime
from typing import Any
from uuid import UUID

from domain import signatures
from domain.access import Access, Ask, AskFailed, Quota, Reply, answered
from domain.orders import ReasonCode
from domain.outbound import OF_RIDER, Heard, Line, Order, OrderNews, Say, Taken, TurnedDown, Unsayable, not_taken

TYPES = {
    OrderNews.PLACED: "order.placed",
    OrderNews.CANCELLED: "order.cancelled",
    OrderNews.RIDER_ASSIGNED: "rider.assigned",
    OrderNews.RIDER_AT_STORE: "rider.at_store",
    OrderNews.RIDER_LEFT: "rider.left",
    OrderNews.RIDER_DELIVERED: "rider.delivered",
}
DOOR = "orders"


class WmsOrders:
    provider = "wms"
    credentials: Collection[str] = ("secret",)
    tells: Collection[OrderNews] = frozenset(TYPES)
    quota = Quota(600, 60)

    def word(self, news: OrderNews, order: Order, access: Access, id: UUID, now: datetime) -> Say:
        try:
            secret = signatures.secret_bytes(access.credentials["secret"])
        except ValueError as error:
            raise Unsayable(f"the access's secret is none of Standard Webhooks, whsec_…: {error}") from error
        data: dict[str, Any] = {"order": order.number, "location": order.store.id}
        if news is OrderNews.PLACED:
            data |= _order(order)
        elif news is OrderNews.CANCELLED:
            data["reason"] = order.reason.value if order.reason else None
        elif news in OF_RIDER and order.rider is not None:
            data["rider"] = {"name": order.rider.name, "phone": order.rider.phone}
        told = {"type": TYPES[news], "timestamp": now.isoformat(), "data": data}
        body, stamp = json.dumps(told, ensure_ascii=False).encode(), int(now.timestamp())
        headers = {
            "content-type": "application/json",
            "webhook-id": str(id),
            "webhook-timestamp": str(stamp),
            "webhook-signature": signatures.sign(secret, str(id), stamp, body),
        }
        return Say(Ask("POST", DOOR, headers=headers, body=body))

    def heard(self, news: OrderNews, reply: Reply) -> Heard:
        try:
            told = answered(reply)
        except AskFailed:
            return not_taken(reply) or Taken()
        if reply.status == 422 and told["rejected"].flag(default=False):
            word = (told["reason"].text(most=40) or "").upper()
            reason = ReasonCode(word) if word in {one.value for one in ReasonCode} else ReasonCode.OTHER
            return TurnedDown(reason, told["message"].text(most=500))
        return not_taken(reply, told["message"].text(most=500)) or Taken(told["reference"].text(most=100))


def _order(order: Order) -> dict[str, Any]:
    address = order.address
    return {
        "placed_at": order.placed_at.isoformat(),
        "promised_at": order.promised_at.isoformat() if order.promised_at else None,
        "fulfilment": order.fulfilment.value,
        "currency": order.total.currency,
        "total": f"{order.total.amount:.2f}",
        "cash_due": f"{order.total.amount:.2f}" if order.cash else "0.00",
        "customer": {"name": order.customer_name, "phone": order.phone},
        "address": {
            "line1": address.line1, "line2": address.line2, "city": address.city, "postal_code": address.postal_code,
            "lat": address.point.lat, "lng": address.point.lng,
        } if address else None,
        "lines": [_line(line) for line in order.lines],
    }  # fmt: skip


def _line(line: Line) -> dict[str, Any]:
    """A SKU is its id there, unless somebody has mapped another."""
    return {
        "sku": line.id or line.sku,
        "name": line.name,
        "quantity": line.quantity,
        "unit_price": f"{line.unit_price.amount:.2f}",
        "total": f"{line.total.amount:.2f}",
        "choices": [one.name for one in line.choices],
        "note": line.note,
    }
