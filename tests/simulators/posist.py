"""Posist, as the assumed profile has it: nobody there has confirmed these calls.

The words are those of the menu that its order API answers, of which there is one public witness. Signatures and retries are
assumed to be those of Standard Webhooks 1.0.0.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta, timezone

from tests.simulators.calls import Call, Document, StandardWebhooks, Thing, Word, document, millis

IST = timezone(timedelta(hours=5, minutes=30))


class Posist(StandardWebhooks):
    provider = "posist"
    words = (Word.COUNT, Word.PRICE, Word.CLOSE)
    own_ids = True
    counts = True

    def catalogue(self, ref: str) -> Sequence[Call]:
        return [self.menu(self.things, f"{ref}-menu"), *super().catalogue(ref)]

    def call(self, word: Word, thing: Thing, units: int, ref: str, at: datetime) -> Call:
        place = {"customer_key": self.connection.store}
        if word is Word.PRICE:
            return self.menu([thing], ref)
        if word in (Word.CLOSE, Word.OPEN):
            return Call(self.url("store-status"), document(place | {"is_open": self.open, "reason": "power cut"}), ref)
        line = {"sku": thing.id, "available": str(thing.units), "version": millis(at)}
        told = place | {"timestamp": f"{at.astimezone(IST):%Y-%m-%d %H:%M:%S.%f}", "lines": [line]}
        return Call(self.url("inventory"), document(told), ref)

    def menu(self, things: Sequence[Thing], ref: str) -> Call:
        """Never taken to be whole."""
        items = [
            {
                "_id": thing.id,
                "name": thing.name,
                "category_data": {"_id": "c1", "categoryName": "Simulated"},
                "is_veg": True,
                "in_stock": "2",
                "price": thing.price,
                "variants": [],
            }
            for thing in things
        ]
        return Call(self.url("menu"), document({"customer_key": self.connection.store, "items": items}), ref)

    def refused(self, status: int, answer: Document) -> bool:
        """In the words of its profile, which knows one status."""
        return status in (400, 401) and answer.get("status") == "failed"

    def conflicting(self, status: int, answer: Document) -> bool:
        return status == 400 and answer.get("status") == "failed" and "another body" in str(answer.get("message"))
