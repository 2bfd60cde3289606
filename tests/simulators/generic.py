"""Systems that speak no known language, in shapes of their own which their profiles read: a warehouse, a till, a brand.

Signatures and retries are those of Standard Webhooks 1.0.0.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, ClassVar

from tests.simulators.calls import Call, Flaw, StandardWebhooks, Thing, Word, document, millis, zulu


class Generic(StandardWebhooks):
    """`profile` is what an integrator writes for it."""

    profile: ClassVar[Mapping[str, Any]]


class Warehouse(Generic):
    provider = "generic"
    words = (Word.COUNT, Word.PRICE)
    counts = True
    profile = {
        "profile": "simulated-shelf/1",
        "events": [
            {
                "when": {"endpoint": "stock", "field": "$.type", "equals": "count"},
                "each": "$.shelf[*]",
                "command": "UpdateStockLevel",
                "entity_id": "code",
                "version": "rev",
                "source_ts": {"path": "$.at"},
                "fields": {"store": "$.shop", "quantity": "left"},
            },
            {
                "when": {"endpoint": "stock", "field": "$.type", "equals": "goods"},
                "each": "$.goods[*]",
                "command": "UpsertCatalogItem",
                "entity_id": "code",
                "fields": {"store": "$.shop", "title": "name", "price": {"path": "paise", "unit": "paise"}},
            },
        ],
    }

    def catalogue(self, ref: str) -> Sequence[Call]:
        goods = [self.call(Word.PRICE, thing, 0, f"{ref}-{at}-goods", self.now()) for at, thing in enumerate(self.things)]
        return [*goods, *super().catalogue(ref)]

    def call(self, word: Word, thing: Thing, units: int, ref: str, at: datetime) -> Call:
        told: dict[str, Any] = {"shop": self.connection.store, "at": zulu(at)}
        if word is Word.PRICE:
            told |= {"type": "goods", "goods": [{"code": thing.id, "name": thing.name, "paise": thing.price_minor}]}
        else:
            told |= {"type": "count", "shelf": [{"code": thing.id, "left": thing.units, "rev": millis(at)}]}
        return Call(self.url("stock"), document(told), ref)


class Kiosk(Generic):
    """Its menu is whole, on and off included."""

    provider = "generic_pos"
    words = (Word.OFF, Word.PRICE, Word.ON, Word.DROP, Word.PRICE)
    flaws = tuple(
        flaw for flaw in StandardWebhooks.flaws if flaw.value not in ("STALE", "UNKNOWN")
    )  # all it tells is now, and its own
    own_ids = True
    profile = {
        "profile": "simulated-kiosk/1",
        "events": [
            {
                "when": {"endpoint": "menu"},
                "each": "$.dishes[*]",
                "command": "UpsertMenuItem",
                "entity_id": "no",
                "fields": {"store": "$.kiosk", "title": "dish", "price": "rupees", "available": "on"},
                "whole": True,
            }
        ],
    }

    def catalogue(self, ref: str) -> Sequence[Call]:
        return [self.call(Word.ON, self.things[0], 0, f"{ref}-menu", self.now())]

    def call(self, word: Word, thing: Thing, units: int, ref: str, at: datetime) -> Call:
        dishes = [
            {"no": thing.id, "dish": thing.name, "rupees": thing.price, "on": thing.on} for thing in self.things if thing.listed
        ]
        return Call(self.url("menu"), document({"kiosk": self.connection.store, "dishes": dishes, "at": zulu(at)}), ref)


class Brand(Generic):
    provider = "generic_seller"
    words = (Word.PRICE,)
    flaws = tuple(flaw for flaw in Flaw if flaw is not Flaw.STALE)
    profile = {
        "profile": "simulated-brand/1",
        "events": [
            {
                "when": {"endpoint": "import"},
                "each": "$[*]",
                "command": "UpsertCatalogItem",
                "entity_id": "sku",
                "fields": {"store": "store", "title": "title", "brand": {"const": "Simulated"}, "price": "price", "mrp": "price"},
            }
        ],
    }

    def catalogue(self, ref: str) -> Sequence[Call]:
        return [self.call(Word.PRICE, thing, 0, f"{ref}-{at}", self.now()) for at, thing in enumerate(self.things)]

    def call(self, word: Word, thing: Thing, units: int, ref: str, at: datetime) -> Call:
        return self._row(self.connection.store, thing, ref, at)

    def unknown(self, ref: str) -> Call:
        """In a store that nobody has mapped: its goods are whatever it calls them."""
        return self._row(f"{ref}-unknown", self.things[0], ref, self.now())

    def _row(self, store: str, thing: Thing, ref: str, at: datetime) -> Call:
        row = {"sku": thing.id, "store": store, "title": thing.name, "price": thing.price, "at": zulu(at)}
        return Call(self.url("import"), document([row]), ref)
