"""What the load does: one call, or one order, at a time. Runs in the load's own process."""

import base64
import json
import secrets
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import count
from typing import Any

from bench.wire import Busy, Http, Wrong
from domain.signatures import sign

ADDRESS = {"line1": "12 Lake Road", "city": "Bengaluru", "postalCode": "560001", "point": {"lat": 12.972, "lng": 77.595}}
PAGE = """query Page($store: ID!, $most: Decimal!) { store(id: $store) { name status
  listings(first: 20, sort: NAME, filter: {priceMax: $most}) { pageInfo { hasNextPage endCursor } nodes {
    id variantName sku price { amount } mrp { amount } product { id name brand images } stock { state available version }
    siblings { id variantName price { amount } stock { state available } } } } } }"""
VENDURES_PAGE = """query Page($skip: Int!) { products(options: {take: 20, skip: $skip, sort: {name: ASC}}) {
  totalItems items { id name slug featuredAsset { preview } variants { id name sku priceWithTax stockLevel } } } }"""
FILL = "mutation($lines: [CartLineInput!]!) { updateCartLines(lines: $lines) { id } }"
QUOTE = """mutation($address: AddressInput) { quoteCart(address: $address) { __typename
  ... on Quote { id total { amount } expiresAt } ... on Refusal { code message } } }"""
PLACE = """mutation($quote: ID!, $key: String!) { placeOrder(quoteId: $quote, method: CASH_ON_DELIVERY, idempotencyKey: $key) {
  __typename ... on Purchase { id number orders { id status } } ... on Refusal { code message } } }"""

UNAVAILABLE = 503
REPEATED = 10  # every so many-th webhook repeats the one before

Call = Callable[[Http], Awaitable[None]]


def calls(job: dict[str, Any]) -> Iterator[Call]:
    """One after another, to be shared by all connections. Raises Wrong where an answer is not the one expected."""
    return CALLS[job["calls"]](job)


def _ok(job: dict[str, Any]) -> Iterator[Call]:
    async def call(http: Http) -> None:
        _check(await http.ask(job["path"], method="GET"))

    while True:
        yield call


def _raw_page(job: dict[str, Any]) -> Iterator[Call]:
    for number in count():

        async def call(http: Http, most: int = 10_000_000 + number) -> None:
            _, body = _check(await http.ask("/page", json.dumps({"store": job["store"], "most": most}).encode()))
            _check_page(json.loads(body)["nodes"])

        yield call


def _page(job: dict[str, Any]) -> Iterator[Call]:
    """Each with a ceiling of its own, which no price reaches: the same rows, and nothing that answers twice."""
    for number in count():
        minor = 10_000_000 + number

        async def call(http: Http, most: str = f"{minor // 100}.{minor % 100:02}") -> None:
            data = await http.graphql(PAGE, {"store": job["store"], "most": most})
            _check_page(data["store"]["listings"]["nodes"])

        yield call


def _same_page(job: dict[str, Any]) -> Iterator[Call]:
    """The very same. What was read once, byte for byte, is not read again: the load shall not be what is measured."""
    asked = json.dumps({"query": PAGE, "variables": {"store": job["store"], "most": "100000.00"}}).encode()
    read = b""

    async def call(http: Http) -> None:
        nonlocal read
        _, body = _check(await http.ask("/graphql", asked, {"content-type": "application/json"}))
        if body != read:
            _check_page(json.loads(body)["data"]["store"]["listings"]["nodes"])
            read = body

    while True:
        yield call


def _vendures_page(job: dict[str, Any]) -> Iterator[Call]:
    """One after another, so many as there are."""
    for number in count():

        async def call(http: Http, skip: int = number * 20 % job["products"]) -> None:
            data = await http.graphql(VENDURES_PAGE, {"skip": skip}, path="/shop-api")
            items = data["products"]["items"]
            if len(items) != 20 or not all(len(item["variants"]) == 2 for item in items):
                raise Wrong(f"{len(items)} products")

        yield call


def _check_page(nodes: list[Any]) -> None:
    if len(nodes) != 20 or not all(node["siblings"] for node in nodes):
        raise Wrong(f"{len(nodes)} listings")


def _raw_insert(job: dict[str, Any]) -> Iterator[Call]:
    for news in _news(job):

        async def call(http: Http, news: News = news) -> None:
            _check(await http.ask("/insert", news.body, news.headers))

        yield call


def _webhook(job: dict[str, Any]) -> Iterator[Call]:
    for news in _news(job):

        async def call(http: Http, news: News = news) -> None:
            path = f"/v1/integrations/erp/wms/webhooks/stock?source={news.source['id']}"
            answer = await http.ask(path, news.body, news.headers)
            if answer[0] == UNAVAILABLE:
                raise Busy
            _check(answer)

        yield call


@dataclass(frozen=True)
class News:
    source: dict[str, Any]
    body: bytes
    headers: dict[str, str]


def _news(job: dict[str, Any]) -> Iterator[News]:
    """Source after source. Every tenth is the one before once more, as providers do whose answer came late."""
    last = None
    for number in count():
        if last is None or number % REPEATED != REPEATED - 1:
            source, body = job["sources"][number % len(job["sources"])], _snapshot(job, number)
            last = News(source, body, _signed(source, body, number))
        yield last


def _snapshot(job: dict[str, Any], number: int) -> bytes:
    """So many lines of so many bytes together, and newer than any before it."""
    skus, first, now = job["skus"], number * job["lines"], datetime.now(UTC)
    version = int(now.timestamp() * 1_000_000)
    lines = [
        {"sku": skus[(first + line) % len(skus)], "available": str(500 + number % 500), "version": version}
        for line in range(job["lines"])
    ]
    told = {"type": "stock.snapshot", "timestamp": now.isoformat(), "data": {"location": job["location"], "lines": lines}}
    padding = job["bytes"] - len(json.dumps({**told, "remarks": ""}))
    return json.dumps({**told, "remarks": "x" * padding} if padding > 0 else told).encode()


_RUN = secrets.token_hex(6)


def _signed(source: dict[str, Any], body: bytes, number: int) -> dict[str, str]:
    id, now = f"msg_{_RUN}{number}", int(datetime.now(UTC).timestamp())
    return {
        "content-type": "application/json",
        "webhook-id": id,
        "webhook-timestamp": str(now),
        "webhook-signature": sign(base64.b64decode(source["secret"]), id, now, body),
    }


def _order(job: dict[str, Any]) -> Iterator[Call]:
    """One for each customer: a quote of what is in the cart, and the order. With `fill` they fill their cart first."""
    for customer in job["customers"]:

        async def call(http: Http, token: str = customer["token"], lines: list[str] = customer["lines"]) -> None:
            if job["fill"]:
                told = [{"listingId": id, "quantity": 1} for id in lines]
                await http.graphql(FILL, {"lines": told}, token)
            quote = (await http.graphql(QUOTE, {"address": ADDRESS}, token))["quoteCart"]
            if quote["__typename"] != "Quote":
                raise Wrong(str(quote))
            placed = (await http.graphql(PLACE, {"quote": quote["id"], "key": quote["id"]}, token))["placeOrder"]
            if placed["__typename"] != "Purchase":
                raise Wrong(str(placed))

        yield call


def _check(answer: tuple[int, bytes]) -> tuple[int, bytes]:
    if answer[0] != 200:
        raise Wrong(f"{answer[0]} {answer[1][:300].decode(errors='replace')}")
    return answer


CALLS: dict[str, Callable[[dict[str, Any]], Iterator[Call]]] = {
    "ok": _ok,
    "page": _page,
    "same page": _same_page,
    "raw page": _raw_page,
    "vendure page": _vendures_page,
    "webhook": _webhook,
    "raw insert": _raw_insert,
    "order": _order,
}
