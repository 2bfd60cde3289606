"""A warehouse of the shop's own that signs: the events we offer, as an in-house WMS sends them.

Its format is ours to offer; signatures and retries are those of Standard Webhooks 1.0.0
(https://github.com/standard-webhooks/standard-webhooks, spec/standard-webhooks.md).
"""

from datetime import datetime
from typing import Any

from tests.simulators.calls import Call, StandardWebhooks, Thing, Word, document, millis, zulu

ENDPOINTS = {Word.RECEIPT: "receiving", Word.RETURN: "returns", Word.LEFT: "transfers", Word.CAME: "transfers"}
TYPES = {
    Word.COUNT: "stock.snapshot",
    Word.DELTA: "stock.adjusted",
    Word.RECEIPT: "receipt.completed",
    Word.RETURN: "return.restocked",
    Word.LEFT: "transfer.dispatched",
    Word.CAME: "transfer.received",
    Word.PRICE: "price.updated",
    Word.CLOSE: "store.status",
    Word.OPEN: "store.status",
}
ELSEWHERE = "SIM-ELSEWHERE"


class Wms(StandardWebhooks):
    """`data.version` rises with every change; a message that is sent again is the same message."""

    provider = "wms"
    words = (
        Word.DELTA, Word.COUNT, Word.RECEIPT, Word.PRICE, Word.LEFT, Word.RETURN, Word.CLOSE, Word.CAME,
    )  # fmt: skip
    counts = True

    def catalogue(self, ref: str) -> list[Call]:
        calls: list[Call] = []
        for at, thing in enumerate(self.things):
            calls.append(self._item(thing, f"{ref}-{at}-item"))
            calls.append(self.call(Word.PRICE, thing, 0, f"{ref}-{at}-price", self.now()))
            calls.append(self.call(Word.COUNT, thing, 0, f"{ref}-{at}-count", self.now()))
        return calls

    def _item(self, thing: Thing, ref: str) -> Call:
        at = self.now()
        data = {"sku": thing.id, "title": thing.name, "brand": "Simulated", "version": millis(at)}
        return self._event("item.upserted", "stock", data, ref, at)

    def call(self, word: Word, thing: Thing, units: int, ref: str, at: datetime) -> Call:
        return self._event(TYPES[word], ENDPOINTS.get(word, "stock"), self._data(word, thing, units, ref, millis(at)), ref, at)

    def _event(self, type: str, endpoint: str, data: dict[str, Any], ref: str, at: datetime) -> Call:
        data = {"location": self.connection.store} | data
        return Call(self.url(endpoint), document({"type": type, "timestamp": zulu(at), "data": data}), ref)

    def _data(self, word: Word, thing: Thing, units: int, ref: str, version: int) -> dict[str, Any]:
        sku, here = thing.id, self.connection.store
        match word:
            case Word.COUNT:
                return {"lines": [{"sku": sku, "available": str(thing.units), "version": version}]}
            case Word.RECEIPT:
                return {"receipt_id": ref, "lines": [{"sku": sku, "accepted_qty": str(units), "rejected_qty": "1"}]}
            case Word.RETURN:
                good, bad = ({"sku": sku, "qty": str(qty), "condition": how} for qty, how in ((units, "good"), (1, "damaged")))
                return {"return_id": ref, "lines": [good, bad]}
            case Word.LEFT | Word.CAME:
                way = {"from": here, "to": ELSEWHERE} if word is Word.LEFT else {"from": ELSEWHERE, "to": here}
                return {"transfer_id": ref, **way, "lines": [{"sku": sku, "qty": str(units)}]}
            case Word.PRICE:
                return {"sku": sku, "price": thing.price, "mrp": thing.price, "currency": "INR", "version": version}
            case Word.CLOSE | Word.OPEN:
                return {"open": self.open, "reason": "stocktaking"}
            case _:
                return {"sku": sku, "delta": str(units), "reason": "recount", "version": version}
