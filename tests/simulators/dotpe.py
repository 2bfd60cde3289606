"""DotPe, as the assumed profile has it: no contract of calls to us is public, and nobody there has confirmed these.

Signatures and retries are assumed to be those of Standard Webhooks 1.0.0.
"""

from collections.abc import Sequence
from datetime import datetime

from tests.simulators.calls import Call, Document, StandardWebhooks, Thing, Word, document, zulu


class Dotpe(StandardWebhooks):
    """Its menus are taken to be whole."""

    provider = "dotpe"
    words = (Word.OFF, Word.PRICE, Word.ON, Word.CLOSE, Word.DROP, Word.PRICE, Word.OFF)
    own_ids = True

    def catalogue(self, ref: str) -> Sequence[Call]:
        return [self.menu(f"{ref}-menu")]

    def call(self, word: Word, thing: Thing, units: int, ref: str, at: datetime) -> Call:
        place = {"store_id": self.connection.store}
        if word in (Word.PRICE, Word.DROP):
            return self.menu(ref)
        if word in (Word.CLOSE, Word.OPEN):
            return Call(self.url("store-status"), document(place | {"is_open": self.open, "reason": "staff"}), ref)
        return Call(self.url("inventory"), document(place | {"item_id": thing.id, "in_stock": thing.on, "ts": zulu(at)}), ref)

    def menu(self, ref: str) -> Call:
        items = [
            {
                "item_id": thing.id,
                "item_name": thing.name,
                "category": "Simulated",
                "price": thing.price_minor / 100,
                "is_veg": True,
                "in_stock": thing.on,
                "variants": [],
                "addon_groups": [],
            }
            for thing in self.things
            if thing.listed
        ]
        return Call(self.url("menu"), document({"store_id": self.connection.store, "items": items}), ref)

    def refused(self, status: int, answer: Document) -> bool:
        """In the words of its profile, which knows one status."""
        return status in (400, 401) and answer.get("status") == "failed"

    def conflicting(self, status: int, answer: Document) -> bool:
        return status == 400 and answer.get("status") == "failed" and "another body" in str(answer.get("message"))
