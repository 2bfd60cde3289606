"""Customers: a cart, a quote, an order, and a look at what becomes of it."""

import asyncio
from uuid import uuid4

from simulate.api import Answered, Caller, Socket
from simulate.plan import Buy, Fate
from simulate.seen import Bought, Document
from simulate.town import Begin, Store, Town

CART = "{ customer { cart { lines { id quantity listing { id } } } } }"
UPDATE = "mutation ($lines: [CartLineInput!]!) { updateCartLines(lines: $lines) { id lines { id } } }"
QUOTE = """mutation ($address: AddressInput, $fulfilment: Fulfilment!) { quoteCart(address: $address, fulfilment: $fulfilment) {
  __typename ... on Quote { id } ... on Refusal { code message } } }"""
PLACE = """mutation ($quote: ID!, $method: PaymentMethod!, $key: String!) {
  placeOrder(quoteId: $quote, method: $method, idempotencyKey: $key) {
    __typename ... on Purchase { id orders { id number status version handoverCode } payment { clientSecret } }
    ... on Refusal { code message } } }"""
CANCEL = """mutation ($id: ID!) { cancelOrder(orderId: $id, reason: CUSTOMER_ASKED) {
  __typename ... on Order { status } ... on Refusal { code } } }"""
ORDER = """subscription ($id: ID!, $after: String) { order(id: $id, after: $after) { cursor reset degraded
  changes { status version at order { id } } } }"""
DEARER = 3  # times a basket below the minimum is doubled


class Customer:
    def __init__(self, town: Town, caller: Caller, begin: Begin) -> None:
        self.town, self.seen, self.caller, self.begin = town, town.seen, caller, begin
        self.socket = Socket(town.doors, caller)
        self.wishes: asyncio.Queue[Buy] = asyncio.Queue()

    async def run(self) -> None:
        """One purchase after the other, as there is one cart."""
        while True:
            buy = await self.wishes.get()
            try:
                await self.buy(buy)
            except Answered as no:
                self.seen.refused[no.code] += 1
            finally:
                self.wishes.task_done()

    async def buy(self, buy: Buy) -> None:
        store = self.town.store(buy.store)
        quote = await self.quote(buy, store)
        if quote is None:
            return
        purchase = await self.place(buy, quote)
        if purchase is None:
            return
        for order in purchase["orders"]:
            bought = Bought(
                order["id"],
                order["number"],
                purchase["id"],
                buy,
                order["handoverCode"],
                order["status"],
                order["version"],
                store.id,
            )
            self.seen.acknowledge(bought)
            await self.watch(bought)
        secret = purchase["payment"]["clientSecret"]
        if buy.by_card and secret:
            await self.pay(secret, declined=buy.fate is Fate.DECLINED)
        if buy.fate is Fate.CANCELLED:
            for order in purchase["orders"]:
                await self.caller.ask(CANCEL, id=order["id"])

    async def quote(self, buy: Buy, store: Store) -> str | None:
        """The id of a quote for what was picked, or for more of it where that is too little."""
        cart = (await self.caller.ask(CART))["customer"]["cart"]["lines"]
        emptied = [{"id": line["id"], "listingId": line["listing"]["id"], "quantity": 0} for line in cart]
        for times in (2**n for n in range(DEARER + 1)):
            picked = [
                {"listingId": listing.id, "quantity": pick.quantity * times, "modifierIds": listing.modifiers(pick.choice)}
                for pick in buy.picks
                for listing in [store.listing(pick.listing)]
            ]
            await self.caller.ask(UPDATE, lines=emptied + picked)
            answer = (await self.caller.ask(QUOTE, address=address(store), fulfilment=fulfilment(buy)))["quoteCart"]
            if answer["__typename"] == "Quote":
                return str(answer["id"])
            if answer["__typename"] != "BelowMinimum":
                break
            emptied = []  # the next round adds to what is there
        self.seen.refused[answer["code"]] += 1
        return None

    async def place(self, buy: Buy, quote: str) -> Document | None:
        """Twice with the same key is once."""
        key = str(uuid4())
        method = "CARD" if buy.by_card else "CASH_ON_DELIVERY"
        calls = [self.caller.ask(PLACE, quote=quote, method=method, key=key) for _ in range(2 if buy.twice else 1)]
        answers = [told["placeOrder"] for told in await asyncio.gather(*calls)]
        if len({answer.get("id") for answer in answers}) > 1:
            self.seen.failures.append(f"placeOrder twice with the key {key} gave {[answer.get('id') for answer in answers]}")
        first: Document = answers[0]
        if first["__typename"] == "Purchase":
            return first
        self.seen.refused[first["code"]] += 1
        return None

    async def watch(self, bought: Bought) -> None:
        feed = ""

        def on_frame(frame: Document) -> None:
            for change in frame["changes"]:
                self.seen.frames.change("order", change, reset=frame["reset"])
                self.seen.moved(bought.id, change["status"], change["version"])
            if bought.ended and feed:
                self.begin(self.socket.leave(feed))

        feed = await self.socket.follow(ORDER, on_frame, id=bought.id)

    async def pay(self, secret: str, *, declined: bool) -> None:
        """On the sandbox's own page, as a person would."""
        page = f"{self.town.doors.origin}/v1/payments/sandbox/pay/{secret}/{'decline' if declined else 'approve'}"
        response = await self.town.doors.http.post(page)
        if response.status_code != 200:
            self.seen.failures.append(f"the sandbox's pay page answered {response.status_code}")


def fulfilment(buy: Buy) -> str:
    return "PICKUP" if buy.fate is Fate.COLLECTED else "DELIVERY"


def address(store: Store) -> Document:
    """Round the corner."""
    point = {"lat": round(store.lat + 0.004, 6), "lng": round(store.lng + 0.003, 6)}
    return {"line1": "7, Test Lane", "city": "Bengaluru", "postalCode": "560095", "point": point}
