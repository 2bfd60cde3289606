"""A seller who uploads feeds of goods, as they are exported for Google Merchant: https://support.google.com/merchants/answer/7052112.

JSON with an envelope, whose `feed_id` says which upload it is. A seller uploads again what was not answered.
"""

from collections.abc import Sequence
from datetime import datetime

from tests.simulators.calls import NOBODYS, Call, Caller, Document, Flaw, Thing, Word, document, zulu


class CatalogueFile(Caller):
    provider = "catalogue_file"
    words = (Word.COUNT, Word.PRICE, Word.DROP, Word.PRICE)
    flaws = (Flaw.DUPLICATE, Flaw.FORGED, Flaw.UNKNOWN, Flaw.ALTERED, Flaw.BROKEN)
    pauses_s = (10, 60, 600)
    counts = True
    named = False

    def catalogue(self, ref: str) -> Sequence[Call]:
        return [self.feed(self.things, ref, self.now(), mode="full")]

    def call(self, word: Word, thing: Thing, units: int, ref: str, at: datetime) -> Call:
        if word is Word.DROP:
            return self.feed([one for one in self.things if one.listed], ref, at, mode="full")
        return self.feed([thing], ref, at, mode="partial")

    def feed(self, things: Sequence[Thing], ref: str, at: datetime, *, mode: str, store: str | None = None) -> Call:
        rows = [
            {
                "id": thing.id,
                "title": thing.name,
                "price": f"{thing.price} INR",
                "store_code": store or self.connection.store,
                **({} if thing.units is None else {"quantity": str(thing.units)}),
            }
            for thing in things
        ]
        told = {"feed_id": ref, "generated_at": zulu(at), "mode": mode, "rows": rows}
        return Call(self.url("import"), document(told), ref)

    def unknown(self, ref: str) -> Call:
        """In a store that nobody has mapped."""
        return self.feed(self.things[:1], ref, self.now(), mode="partial", store=f"{ref}-unknown")

    def proven(self, call: Call, *, forged: bool = False) -> Call:
        if forged:
            return Call(call.url.replace(self.connection.secret, NOBODYS), call.body, call.id, call.headers)
        return call

    def taken(self, status: int, answer: Document) -> bool:
        return status == 202 and answer.get("status") == "accepted"

    def refused(self, status: int, answer: Document) -> bool:
        return status == 404
