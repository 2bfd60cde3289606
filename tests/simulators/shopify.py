"""Shopify's webhooks of products and levels.

https://shopify.dev/docs/apps/build/webhooks: the body is signed with the app's secret; what is not answered with 2xx in five
seconds is sent again eight times in four hours. Levels are told as they are, and some in between may be missing.
"""

import zlib
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from tests.simulators.calls import Call, Caller, Flaw, Thing, Word, document, mac, zulu

OPTION = "Default Title"


class Shopify(Caller):
    """Its ids are numbers: of a product, of a variant, and of what is counted."""

    provider = "shopify"
    words = (Word.COUNT, Word.PRICE, Word.COUNT)
    flaws = (Flaw.DUPLICATE, Flaw.STALE, Flaw.FORGED, Flaw.UNKNOWN)
    pauses_s = (60, 300, 600, 1_200, 1_800, 2_400, 3_600, 4_200)
    own_ids = True
    counts = True

    def catalogue(self, ref: str) -> Sequence[Call]:
        products = [self.call(Word.PRICE, thing, 0, f"{ref}-{at}-product", self.now()) for at, thing in enumerate(self.things)]
        return [*products, *super().catalogue(ref)]

    def call(self, word: Word, thing: Thing, units: int, ref: str, at: datetime) -> Call:
        if word is Word.PRICE:
            return self._topic("products/update", "menu", self._product(thing, at), ref, at)
        told = {
            "inventory_item_id": item_id(thing),
            "location_id": int(self.connection.store),
            "available": thing.units,
            "updated_at": zulu(at),
        }
        return self._topic("inventory_levels/update", "inventory", told, ref, at)

    def _topic(self, topic: str, endpoint: str, told: dict[str, Any], ref: str, at: datetime) -> Call:
        headers = {
            "x-shopify-topic": topic,
            "x-shopify-shop-domain": "simulated.myshopify.com",
            "x-shopify-webhook-id": ref,
            "x-shopify-event-id": ref,
            "x-shopify-triggered-at": zulu(at),
            "x-shopify-api-version": "2026-01",
        }
        return Call(self.url(endpoint), document(told), ref, headers)

    def _product(self, thing: Thing, at: datetime) -> dict[str, Any]:
        variant = {
            "id": int(thing.id),
            "product_id": int(thing.id),
            "title": OPTION,
            "option1": OPTION,
            "position": 1,
            "price": thing.price,
            "compare_at_price": None,
            "sku": f"SHOPIFY-{thing.id}",
            "inventory_item_id": item_id(thing),
        }
        told = {"id": int(thing.id), "title": thing.name, "vendor": "Simulated", "product_type": "Simulated", "status": "active"}
        return told | {"updated_at": zulu(at), "options": [], "variants": [variant], "images": []}

    def proven(self, call: Call, *, forged: bool = False) -> Call:
        key = b"nobodys" if forged else self.connection.secret.encode()
        return Call(call.url, call.body, call.id, {**call.headers, "x-shopify-hmac-sha256": mac(key, call.body)})


def item_id(thing: Thing) -> int:
    """What is counted is known by another id than what is sold. Of what nobody sells, nobody's."""
    return 500_000 + int(thing.id) if thing.id.isdigit() else zlib.crc32(thing.id.encode())
