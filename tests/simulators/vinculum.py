"""A relay of a Vin eRetail seller's, that posts what the pull API answers.

Shapes: https://erp.vineretail.com/swagger (getWhInventory, inventoryStatus, skuDetail). There are no webhooks of theirs; the
relay signs and tries again as Standard Webhooks 1.0.0 says.
"""

from collections.abc import Sequence
from datetime import datetime

from tests.simulators.calls import Call, Document, Flaw, StandardWebhooks, Thing, Word, document, zulu

COMMITTED = 3


class Vinculum(StandardWebhooks):
    """What may be sold is the good less what is committed."""

    provider = "vinculum"
    words = (Word.COUNT, Word.PRICE)
    flaws = tuple(flaw for flaw in StandardWebhooks.flaws if flaw is not Flaw.STALE)  # its counts are as old as their receipt
    counts = True

    def catalogue(self, ref: str) -> Sequence[Call]:
        return [self.items(self.things, f"{ref}-items", self.now()), *super().catalogue(ref)]

    def call(self, word: Word, thing: Thing, units: int, ref: str, at: datetime) -> Call:
        if word is Word.PRICE:
            return self.items([thing], ref, at)
        good = {
            "skuCode": thing.id,
            "location": self.connection.store,
            "qty": str((thing.units or 0) + COMMITTED),
            "bucket": "Good",
            "committedQty": str(COMMITTED),
        }
        rows = [good, good | {"bucket": "Bad", "qty": "2", "committedQty": "0"}]
        told = {"responseCode": 0, "responseMessage": "Success", "hasMore": False, "response": rows, "relayedAt": zulu(at)}
        return Call(self.url("stock"), document(told), ref)

    def items(self, things: Sequence[Thing], ref: str, at: datetime) -> Call:
        rows = [
            {
                "skuCode": thing.id,
                "skuName": thing.name,
                "classification": "Normal",
                "parentSKU": "",
                "brand": "Simulated",
                "mrp": f"{thing.price}0",
                "salePrice": f"{thing.price}0",
                "isActive": "yes",
                "isSaleable": "yes",
            }
            for thing in things
        ]
        response = {"totalSkus": len(rows), "totalPages": 1, "currentPage": 1, "skuList": rows}
        told = {"responseCode": 0, "responseMessage": "Success", "response": response, "relayedAt": zulu(at)}
        return Call(self.url("items"), document(told), ref)

    def taken(self, status: int, answer: Document) -> bool:
        return status == 200 and answer.get("responseCode") == 0
