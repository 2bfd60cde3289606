"""A tenant of Uniware, as its API behaves: a token for a password, errors with HTTP 200, 429 with Retry-After."""

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route


@dataclass
class Stock:
    units: int
    changed_at: datetime


@dataclass
class Uniware:
    """`stock` is by facility and SKU, `items` what a SKU is. `troubles` are answered first, one a call."""

    username: str = "haat@tenant"
    password: str = "a-secret-of-the-tenant"
    stock: dict[str, dict[str, Stock]] = field(default_factory=dict)
    items: dict[str, dict[str, Any]] = field(default_factory=dict)
    troubles: list[Callable[[], Response]] = field(default_factory=list)
    calls: list[str] = field(default_factory=list)
    token: str = "tok-1"

    def counted(self, facility: str, sku: str, units: int, ago: timedelta = timedelta(0)) -> None:
        self.stock.setdefault(facility, {})[sku] = Stock(units, datetime.now(UTC) - ago)

    def app(self) -> Starlette:
        return Starlette(
            routes=[
                Route("/oauth/token", self.give_token),
                Route("/services/rest/v1/inventory/inventorySnapshot/get", self.snapshot, methods=["POST"]),
                Route("/services/rest/v1/catalog/itemType/get", self.item, methods=["POST"]),
            ]
        )

    def _trouble(self, request: Request) -> Response | None:
        self.calls.append(request.url.path.rpartition("/")[0].rpartition("/")[2] or request.url.path)
        return self.troubles.pop(0)() if self.troubles else None

    async def give_token(self, request: Request) -> Response:
        if trouble := self._trouble(request):
            return trouble
        asked = request.query_params
        if asked.get("grant_type") != "password" or asked.get("client_id") != "my-trusted-client":
            return JSONResponse({"error": "invalid_request"}, 400)
        if (asked.get("username"), asked.get("password")) != (self.username, self.password):
            return JSONResponse({"error": "invalid_grant"}, 401)
        return JSONResponse({"access_token": self.token, "token_type": "bearer", "expires_in": 42_000})

    def _stranger(self, request: Request) -> Response | None:
        if request.headers.get("authorization") == f"bearer {self.token}" and request.headers.get("facility"):
            return None
        return JSONResponse({"error": "invalid_token"}, 401)

    async def snapshot(self, request: Request) -> Response:
        if trouble := self._trouble(request) or self._stranger(request):
            return trouble
        asked = json.loads(await request.body())
        minutes = asked["updatedSinceInMinutes"]
        if not 0 < minutes <= 1440:
            return unsuccessful("10002", "updatedSinceInMinutes should be less than 1440")
        facility = request.headers["facility"]
        if facility not in self.stock:
            return unsuccessful("20001", f"Invalid facility {facility}")
        since = datetime.now(UTC) - timedelta(minutes=minutes)
        rows = [
            {
                "itemTypeSKU": sku,
                "inventory": one.units,
                "openSale": 0,
                "inventoryBlocked": 0,
                "virtualInventory": 0,
                "badInventory": 0,
            }
            for sku, one in self.stock[facility].items()
            if one.changed_at >= since
        ]
        return successful(inventorySnapshots=rows)

    async def item(self, request: Request) -> Response:
        if trouble := self._trouble(request) or self._stranger(request):
            return trouble
        sku = json.loads(await request.body())["skuCode"]
        if sku not in self.items:
            return unsuccessful("30001", f"Invalid item type {sku}")
        return successful(itemTypeDTO={"skuCode": sku, **self.items[sku]})


def successful(**more: Any) -> Response:
    return JSONResponse({"successful": True, "message": None, "errors": [], "warnings": None, **more})


def unsuccessful(code: str, description: str) -> Response:
    """With HTTP 200."""
    error = {"code": code, "fieldName": None, "description": description, "message": description, "errorParams": None}
    return JSONResponse({"successful": False, "message": None, "errors": [error], "warnings": None})


def too_many(after_s: int = 1) -> Response:
    return JSONResponse({"error": "too many"}, 429, headers={"Retry-After": str(after_s)})


def broken() -> Response:
    return Response("<html>bad gateway</html>", 502)


def elsewhere() -> Response:
    return Response(None, 302, headers={"Location": "http://169.254.169.254/latest/meta-data/"})
