"""The store's staff: they take orders on, or not, and make them ready."""

import asyncio

from simulate.api import Answered, Socket
from simulate.plan import Fate
from simulate.seen import Document
from simulate.town import Begin, Store, Town

STORE_ORDERS = """subscription ($store: ID!, $after: String) { storeOrders(storeId: $store, after: $after) { cursor reset degraded
  changes { status version at order { id } } } }"""
STOCK = """subscription ($store: ID!, $after: String) { stock(storeId: $store, after: $after) { cursor reset degraded
  levels { listingId available version asOf } } }"""
FAILURES = """subscription ($after: String) { failures(after: $after) { cursor reset degraded
  failures { id kind at } } }"""
RESULT = "__typename ... on Order { status } ... on Refusal { code message }"
ACCEPT = f"mutation ($id: ID!) {{ acceptOrder(orderId: $id, prepMinutes: 5) {{ {RESULT} }} }}"
REJECT = f"mutation ($id: ID!) {{ rejectOrder(orderId: $id, reason: TOO_BUSY) {{ {RESULT} }} }}"
READY = f"mutation ($id: ID!) {{ markOrderReady(orderId: $id) {{ {RESULT} }} }}"
HAND_OVER = f"mutation ($id: ID!, $code: String!) {{ handOverOrder(orderId: $id, handoverCode: $code) {{ {RESULT} }} }}"


class Staff:
    """Of all the merchant's stores, on one socket. They leave alone what others ordered."""

    def __init__(self, town: Town, begin: Begin) -> None:
        self.town, self.seen, self.caller, self.begin = town, town.seen, town.merchant, begin
        self.socket = Socket(town.doors, town.merchant)
        self.begun: set[str] = set()

    async def open(self) -> None:
        for store in self.town.stores:
            await self.socket.follow(STORE_ORDERS, self.on_orders, store=store.id)

    def on_orders(self, frame: Document) -> None:
        for change in frame["changes"]:
            order_id = change["order"]["id"]
            self.seen.frames.change("storeOrders", change, reset=frame["reset"])
            self.seen.moved(order_id, change["status"], change["version"])
            if change["status"] == "PLACED" and order_id not in self.begun:
                self.begun.add(order_id)
                self.begin(self.serve(order_id))

    async def serve(self, order_id: str) -> None:
        bought = await self.seen.order(order_id)
        if bought is None:
            return
        buy = bought.buy
        try:
            await asyncio.sleep(buy.accept_after_s)
            rejected = buy.fate is Fate.REJECTED
            if not await self.step(REJECT if rejected else ACCEPT, order_id) or rejected:
                return
            await asyncio.sleep(buy.ready_after_s)
            await self.step(READY, order_id)
            if buy.fate is Fate.COLLECTED:
                await self.step(HAND_OVER, order_id, code=bought.code or "")
        except Answered as no:
            self.seen.refused[no.code] += 1

    async def step(self, document: str, order_id: str, **more: str) -> bool:
        """False: the order is elsewhere by now, as its customer or its rider was quicker."""
        [answer] = (await self.caller.ask(document, id=order_id, **more)).values()
        if answer["__typename"] == "Order":
            return True
        self.seen.refused[answer["code"]] += 1
        return False


class Onlooker:
    """Somebody signed out who watches a store's shelves."""

    def __init__(self, town: Town, store: Store) -> None:
        self.seen, self.store = town.seen, store
        self.socket = Socket(town.doors)

    async def open(self) -> None:
        await self.socket.follow(STOCK, self.on_levels, store=self.store.id)

    def on_levels(self, frame: Document) -> None:
        for level in frame["levels"]:
            self.seen.frames.level("stock", level, reset=frame["reset"])
            self.seen.touched.add(level["listingId"])


class Desk:
    """Support, who sees what goes wrong."""

    def __init__(self, town: Town) -> None:
        self.seen = town.seen
        self.socket = Socket(town.doors, town.support)

    async def open(self) -> None:
        await self.socket.follow(FAILURES, self.on_failures)

    def on_failures(self, frame: Document) -> None:
        for failure in frame["failures"]:
            # Only at first: what becomes of it later carries the time when it failed.
            self.seen.frames.failure(failure, reset=frame["reset"] or failure["id"] in self.seen.failed)
            self.seen.failure(failure["id"])
