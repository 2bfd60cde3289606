"""Square's webhooks of counts.

https://developer.squareup.com/docs/webhooks/step3validate (the signature is over URL and body), /inventory-api/webhooks. What was
not answered with 2xx it sends again, and some of it twice; the pauses are ours, as none are written there.
"""

from datetime import datetime

from tests.simulators.calls import Call, Caller, Flaw, Thing, Word, document, mac, zulu


class Square(Caller):
    """`event_id` stays when it is sent again; it may come twice, and out of order."""

    provider = "square"
    words = (Word.COUNT,)
    flaws = (Flaw.DUPLICATE, Flaw.STALE, Flaw.FORGED, Flaw.UNKNOWN)
    pauses_s = (60, 300, 900, 3_600)
    teaches = False
    own_ids = True
    counts = True

    def call(self, word: Word, thing: Thing, units: int, ref: str, at: datetime) -> Call:
        count = {
            "catalog_object_id": thing.id,
            "catalog_object_type": "ITEM_VARIATION",
            "location_id": self.connection.store,
            "quantity": str(thing.units),
            "state": "IN_STOCK",
            "calculated_at": zulu(at),
        }
        told = {
            "merchant_id": "MLX",
            "type": "inventory.count.updated",
            "event_id": ref,
            "created_at": zulu(at),
            "data": {"type": "inventory_counts", "id": ref, "object": {"inventory_counts": [count, count | {"state": "WASTE"}]}},
        }
        return Call(self.url("inventory"), document(told), ref)

    def proven(self, call: Call, *, forged: bool = False) -> Call:
        key = b"nobodys" if forged else self.connection.secret.encode()
        return Call(call.url, call.body, call.id, {"x-square-hmacsha256-signature": mac(key, call.url.encode() + call.body)})
