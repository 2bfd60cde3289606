"""Vin eRetail, as its API behaves: forms with JSON in them, always HTTP 200, a code that says what it was, pages."""

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from urllib.parse import parse_qsl
from zoneinfo import ZoneInfo

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

IST = ZoneInfo("Asia/Kolkata")
FORMAT = "%d/%m/%Y %H:%M:%S"


@dataclass
class Vineretail:
    """`stock` is by location and SKU: units, those committed, and when that changed. `skus` is what a SKU is."""

    owner: str = "haat"
    key: str = "a-secret-of-the-owner"
    page_size: int = 100
    stock: dict[str, dict[str, tuple[int, int, datetime]]] = field(default_factory=dict)
    skus: dict[str, dict[str, Any]] = field(default_factory=dict)
    troubles: list[Callable[[], Response]] = field(default_factory=list)
    asked: list[dict[str, Any]] = field(default_factory=list)
    asked_of: list[list[str]] = field(default_factory=list)

    def counted(self, location: str, sku: str, units: int, committed: int = 0, at: datetime | None = None) -> None:
        self.stock.setdefault(location, {})[sku] = (units, committed, at or datetime.now(IST))

    def app(self) -> Starlette:
        return Starlette(
            routes=[
                Route("/RestWS/api/eretail/v3/sku/inventoryStatus", self.status, methods=["POST"]),
                Route("/RestWS/api/eretail/v1/sku/skuDetail", self.detail, methods=["POST"]),
            ]
        )

    async def _asked(self, request: Request) -> Any:
        """What is in its form, or what is answered instead."""
        if self.troubles:
            return self.troubles.pop(0)()
        form = dict(parse_qsl((await request.body()).decode()))
        if (form.get("ApiOwner"), form.get("ApiKey")) != (self.owner, self.key):
            return failed(11, "Invalid API Owner or Key")
        return json.loads(form["RequestBody"])

    async def detail(self, request: Request) -> Response:
        asked = await self._asked(request)
        if isinstance(asked, Response):
            return asked
        self.asked_of.append(asked["skuCodes"])
        if not asked["skuCodes"]:
            return failed(917, "Either SKU code OR date is mandatory")
        if len(asked["skuCodes"]) > 100:
            return failed(701, "Maximum Limit Exceeded(100 SKUs Max)")
        rows = [{"skuCode": sku, **self.skus[sku]} for sku in asked["skuCodes"] if sku in self.skus]
        if not rows:
            return failed(911, "No Records found for matching filters")
        told = {"totalSkus": len(rows), "totalPages": 1, "currentPage": 1, "skuList": rows}
        return JSONResponse({"responseCode": 0, "responseMessage": "Success", "response": told})

    async def status(self, request: Request) -> Response:
        asked = await self._asked(request)
        if isinstance(asked, Response):
            return asked
        self.asked.append(asked)
        if not asked["skuCodes"] and not (asked["fromDate"] and asked["toDate"]):
            return failed(702, "No Filters Found for Fetching Sku(s)")
        if asked["locCode"] not in self.stock:
            return failed(812, "LocCode not valid")
        since, until = (datetime.strptime(asked[name], FORMAT).replace(tzinfo=IST) for name in ("fromDate", "toDate"))
        rows = [(sku, one) for sku, one in self.stock[asked["locCode"]].items() if since <= one[2].replace(microsecond=0) <= until]
        if not rows:
            return failed(911, "No Records found for matching filters")
        page = int(asked["pageNumber"])
        shown = rows[(page - 1) * self.page_size : page * self.page_size]
        pages = -(-len(rows) // self.page_size)
        inventory = [
            {sku: [{"skuCode": sku, "location": asked["locCode"], "qty": units, "committedQty": committed, "includeNewSKU": "n"}]}
            for sku, (units, committed, _) in shown
        ]
        told = {"totalSkus": len(rows), "totalPages": pages, "currentPage": page, "inventoryMap": inventory}
        return JSONResponse({"responseCode": 0, "responseMessage": "Success", "response": told})


def failed(code: int, message: str) -> Response:
    """With HTTP 200."""
    return JSONResponse({"responseCode": code, "responseMessage": message, "response": None})
