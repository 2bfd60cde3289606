"""A till that is integrated with UrbanPiper, which calls the hub's paths: catalogues, switches of items, the store's switch.

https://api-docs.urbanpiper.com/downstream (menu add-update, menu-toggle, store-toggle); a client tries again three times at
most, after the minute for which the hub blocks who calls too often. Nothing is signed: `Authorization: apikey user:key`.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from tests.simulators.calls import NOBODYS, Call, Caller, Flaw, Thing, Word, document

SECTION = "C-SIM"


class Urbanpiper(Caller):
    """A catalogue without `flush_items` is a part, and changes what it names; with it, it is the whole."""

    provider = "urbanpiper"
    words = (Word.OFF, Word.COUNT, Word.PRICE, Word.ON, Word.CLOSE, Word.DROP, Word.PRICE)
    flaws = (Flaw.DUPLICATE, Flaw.FORGED, Flaw.UNKNOWN, Flaw.BROKEN)
    pauses_s = (60, 60, 60)
    own_ids = True

    def catalogue(self, ref: str) -> Sequence[Call]:
        return [self.menu(self.things, ref, whole=True)]

    def call(self, word: Word, thing: Thing, units: int, ref: str, at: datetime) -> Call:
        place = {"location_ref_id": self.connection.store, "platforms": ["haat"], "note": ref}
        match word:
            case Word.DROP:
                return self.menu(self.things, ref, whole=True)
            case Word.PRICE | Word.COUNT:
                return self.menu([thing], ref, whole=False)
            case Word.CLOSE | Word.OPEN:
                action = "enable" if self.open else "disable"
                return Call(self.url("store-status"), document(place | {"action": action}), ref)
            case _:
                action = "enable" if word is Word.ON else "disable"
                told = place | {"item_ref_ids": [thing.id], "option_ref_ids": [], "action": action}
                return Call(self.url("inventory"), document(told), ref)

    def menu(self, things: Sequence[Thing], ref: str, *, whole: bool) -> Call:
        told = {
            "location_ref_id": self.connection.store,
            **{f"flush_{what}": whole for what in ("categories", "items", "option_groups", "options", "taxes", "charges")},
            "categories": [{"ref_id": SECTION, "name": "Simulated", "sort_order": 1, "active": True, "parent_ref_id": None}],
            "items": [self._item(thing) for thing in things if thing.listed],
            "option_groups": [],
            "options": [],
            "taxes": [],
            "charges": [],
            "note": ref,
        }
        return Call(self.url("menu"), document(told), ref)

    def _item(self, thing: Thing) -> Mapping[str, Any]:
        return {
            "ref_id": thing.id,
            "title": thing.name,
            "price": thing.price_minor / 100,  # a JSON number, as theirs are
            "available": thing.on,
            "sold_at_store": True,
            "current_stock": -1 if thing.units is None else thing.units,
            "food_type": "1",
            "category_ref_ids": [SECTION],
            "sort_order": 1,
        }

    def proven(self, call: Call, *, forged: bool = False) -> Call:
        key = NOBODYS if forged else self.connection.secret
        return Call(call.url, call.body, call.id, {"authorization": f"apikey {self.connection.id}:{key}"})
