"""Tills that are told of orders, as their pages say they behave: PetPooja's server, a till behind UrbanPiper's hub, a WMS."""

import asyncio
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from domain import signatures
from domain.refusals import Refused

Trouble = Callable[[], Response]


@dataclass
class Server:
    """`troubles` are answered first, one a call: before the till does anything, or after where `after` is set. `slow_s` each."""

    troubles: list[Trouble] = field(default_factory=list)
    after: bool = False
    slow_s: float = 0
    calls: list[tuple[str, dict[str, Any], dict[str, str]]] = field(default_factory=list)

    async def _called(self, request: Request, does: Callable[[dict[str, Any], dict[str, str]], Response]) -> Response:
        try:
            told, headers = json.loads(await request.body()), dict(request.headers)
        except ClientDisconnect:  # whoever called was killed
            return Response(None, 400)
        self.calls.append((request.url.path, told, headers))
        trouble = self.troubles.pop(0) if self.troubles else None
        if trouble is not None and not self.after:
            return trouble()
        answer = does(told, headers)
        await asyncio.sleep(self.slow_s)
        return trouble() if trouble is not None else answer

    def told(self, path: str) -> list[dict[str, Any]]:
        return [told for called, told, _ in self.calls if called == path]


@dataclass
class PetpoojaServer(Server):
    """One outlet. An order is one by `orderID`; said again it is `already` there, or answered as the first time. `addons` None: it
    knows any."""

    rest_id: str = "k7x2m9qa"
    keys: dict[str, str] = field(default_factory=lambda: {"app_key": "k" * 32, "app_secret": "s" * 40, "access_token": "t" * 40})
    menu: set[str] = field(default_factory=set)
    addons: set[str] | None = field(default_factory=set)
    orders: dict[str, dict[str, Any]] = field(default_factory=dict)
    statuses: dict[str, str] = field(default_factory=dict)
    riders: list[tuple[str, str, str]] = field(default_factory=list)
    already: bool = False

    def app(self) -> Starlette:
        return Starlette(
            routes=[
                Route("/orders/save_order", self.save, methods=["POST"]),
                Route("/V1/update_order_status", self.status, methods=["POST"]),
                Route("/V1/rider_status_update", self.rider, methods=["POST"]),
            ]
        )

    async def save(self, request: Request) -> Response:
        return await self._called(request, self._save)

    async def status(self, request: Request) -> Response:
        return await self._called(request, self._status)

    async def rider(self, request: Request) -> Response:
        return await self._called(request, self._rider)

    def _stranger(self, told: dict[str, Any]) -> bool:
        return any(told.get(name) != value for name, value in self.keys.items())

    def _save(self, told: dict[str, Any], _: dict[str, str]) -> Response:
        if self._stranger(told):
            return unsuccessful("SO_101", "Invalid access token")
        info = told["orderinfo"]["OrderInfo"]
        order, items = info["Order"]["details"], info["OrderItem"]["details"]
        if info["Restaurant"]["details"]["restID"] != self.rest_id:
            return unsuccessful("SO_105", "Invalid restID")
        wrong: dict[str, list[str]] = {}
        if len(phone := info["Customer"]["details"]["phone"]) != 10 or not phone.isdigit():
            wrong["phone"] = ["The phone must be 10 digits."]
        if unknown := [item["id"] for item in items if item["id"] not in self.menu]:
            wrong["OrderItem"] = [f"Unknown item {id}" for id in unknown]
        addons = {addon["id"] for item in items for addon in item["AddonItem"]["details"]}
        if self.addons is not None and (strange := addons - self.addons):
            wrong["AddonItem"] = [f"Unknown addon {id}" for id in sorted(strange)]
        of_items = sum(float(item["price"]) * int(item["quantity"]) for item in items)
        total = of_items + float(order["packing_charges"]) + float(order["delivery_charges"]) + float(order["tax_total"])
        if abs(total - float(order["discount_total"]) - float(order["total"])) > 0.001:
            wrong["total"] = [f"{order['total']} is not {total}"]
        if wrong:
            return unsuccessful("SO_106", "Validation failed", wrong)
        number = order["orderID"]
        if number in self.orders and self.already:
            return unsuccessful("SO_106", "Order already exists")
        self.orders.setdefault(number, {**info, "reference": str(31 + len(self.orders))})
        said = {"restID": self.rest_id, "clientOrderID": number, "orderID": self.orders[number]["reference"]}
        return JSONResponse({"success": "1", "message": "Your order is saved.", **said})

    def _status(self, told: dict[str, Any], _: dict[str, str]) -> Response:
        number = told["clientorderID"]
        if self._stranger(told) or told["restID"] != self.rest_id or told["status"] != "-1" or number not in self.orders:
            return unsuccessful("UOS_105", "Order not found")
        self.statuses[number] = told["cancelReason"]
        return JSONResponse({"success": "1", "message": "Order status updated", "restID": self.rest_id, "clientOrderID": number})

    def _rider(self, told: dict[str, Any], _: dict[str, str]) -> Response:
        if self._stranger(told) or told["outlet_id"] != self.rest_id or told["order_id"] not in self.orders:
            return JSONResponse({"code": "400", "status": "failed", "message": "Order not found"}, 400)
        rider = told["rider_data"]
        self.riders.append((told["status"], rider["rider_name"], rider["rider_phone_number"]))
        return JSONResponse({"code": "200", "status": "success", "message": "Rider status updated"})


@dataclass
class UrbanpiperTill(Server):
    """A till that has registered its webhooks: what is told twice is one order by `order.details.id`. It knows its `options`."""

    token: str = "a-token-of-the-till"
    options: set[str] = field(default_factory=set)
    relayed: dict[str, str] = field(default_factory=dict)  # which order, by the id it was told under
    orders: dict[str, dict[str, Any]] = field(default_factory=dict)
    states: list[tuple[str, str]] = field(default_factory=list)

    def app(self) -> Starlette:
        return Starlette(
            routes=[
                Route(f"/hooks/{name}", self.hook, methods=["POST"])
                for name in ("order_placed", "order_status_update", "rider_status_update")
            ]
        )

    async def hook(self, request: Request) -> Response:
        return await self._called(request, self._told)

    def _told(self, told: dict[str, Any], headers: dict[str, str]) -> Response:
        if headers.get("x-till-token") != self.token or headers.get("x-upr-biz-id") != "77":
            return JSONResponse({"error": "who are you"}, 401)
        match headers.get("x-upr-event-type"):
            case "18":
                id = told["order"]["details"]["id"]
                options = {option["merchant_id"] for item in told["order"]["items"] for option in item["options_to_add"]}
                if strange := options - self.options:
                    return JSONResponse({"error": f"no such options: {', '.join(sorted(strange))}"}, 400)
                self.orders.setdefault(id, {**told, "reference": f"POS-{31 + len(self.orders)}"})
                self.relayed[headers["x-request-id"]] = id
                return JSONResponse({"order_ref_id": self.orders[id]["reference"]})
            case "60008":
                self.states.append((told["additional_info"]["external_channel"]["order_id"], told["new_state"]))
            case "60012":
                trip = told["delivery_info"]
                self.states.append((told["order_id"], f"{trip['current_state']} {trip['delivery_person_details']['name']}"))
        return Response(None, 204)


@dataclass
class Warehouse(Server):
    """Our own WMS: it believes signatures, and turns down what it has not got."""

    secret: str = "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="
    without: set[str] = field(default_factory=set)
    seen: dict[str, str] = field(default_factory=dict)

    def app(self) -> Starlette:
        return Starlette(routes=[Route("/orders", self.hook, methods=["POST"])])

    async def hook(self, request: Request) -> Response:
        body = await request.body()
        headers = {name.lower(): value for name, value in request.headers.items()}
        try:
            signatures.verify([signatures.secret_bytes(self.secret)], headers, body, datetime.now(UTC))
        except Refused:
            return JSONResponse({"message": "who are you"}, 401)
        return await self._called(request, self._told)

    def _told(self, told: dict[str, Any], headers: dict[str, str]) -> Response:
        gone = [line["name"] for line in told["data"].get("lines", ()) if line["sku"] in self.without]
        if gone:
            said = {"rejected": True, "reason": "OUT_OF_STOCK", "message": f"no {', '.join(gone)}"}
            return JSONResponse(said, 422)
        self.seen[headers["webhook-id"]] = f"{told['type']} {told['data']['order']}"
        return JSONResponse({"reference": f"W-{len(self.seen)}"}, 202)


def unsuccessful(code: str, message: str, wrong: dict[str, list[str]] | None = None) -> Response:
    """With HTTP 200."""
    return JSONResponse({"success": "0", "message": message, "errorCode": code, "validation_errors": wrong or {}})


def broken() -> Response:
    return Response("<html>bad gateway</html>", 502)


def too_many(after_s: int = 60) -> Response:
    return JSONResponse({"error": "too many"}, 429, headers={"Retry-After": str(after_s)})
