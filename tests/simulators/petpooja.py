"""PetPooja's side of its Online Ordering API v2.1.0: whole menus, items on and off, the outlet's status.

Field tables: https://onlineorderingapisv210.docs.apiary.io. It signs nothing and numbers nothing; it publishes no retries.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta, timezone
from typing import Any

from tests.simulators.calls import NOBODYS, Call, Caller, Document, Flaw, Thing, Word, document

IST = timezone(timedelta(hours=5, minutes=30))
SECTION = "700"


class Petpooja(Caller):
    """Prices are told by whole menus alone, and on and off by item. The token in its URLs is all its proof."""

    provider = "petpooja"
    words = (Word.OFF, Word.PRICE, Word.CLOSE, Word.OFF, Word.ON, Word.DROP, Word.PRICE)
    flaws = (Flaw.DUPLICATE, Flaw.FORGED, Flaw.UNKNOWN, Flaw.BROKEN)
    own_ids = True
    named = False
    status_words = frozenset({Word.CLOSE, Word.PRICE, Word.DROP})  # a menu says it too

    def catalogue(self, ref: str) -> Sequence[Call]:
        return [self.menu(ref, self.now())]

    def call(self, word: Word, thing: Thing, units: int, ref: str, at: datetime) -> Call:
        if word in (Word.PRICE, Word.DROP):
            return self.menu(ref, at)
        if word in (Word.CLOSE, Word.OPEN):
            status = {"restID": self.connection.store, "store_status": str(int(self.open)), "reason": "Kitchen maintenance"}
            return Call(self.url("store-status"), document(status | {"note": ref}), ref)
        # `note` is no field of theirs, and is read by nobody: by it no two calls are the same bytes.
        body = {"restID": self.connection.store, "type": "item", "inStock": word is Word.ON, "itemID": [thing.id], "note": ref}
        return Call(self.url("inventory"), document(body), ref)

    def menu(self, ref: str, at: datetime) -> Call:
        """The whole of one outlet, as it always is."""
        details = {"menusharingcode": self.connection.store, "restaurantname": "Simulated", "packaging_applicable_on": "NONE"}
        told = {
            "success": "1",
            "restaurants": [{"restaurantid": "91012", "active": str(int(self.open)), "details": details}],
            "categories": [{"categoryid": SECTION, "active": "1", "categoryrank": "1", "categoryname": "Simulated"}],
            "items": [self._item(thing) for thing in self.things if thing.listed],
            "addongroups": [],
            "attributes": [{"attributeid": "1", "attribute": "veg", "active": "1"}],
            "taxes": [],
            "serverdatetime": f"{at.astimezone(IST):%Y-%m-%d %H:%M:%S}",
            "http_code": 200,
            "note": ref,
        }
        return Call(self.url("menu"), document(told), ref)

    def _item(self, thing: Thing) -> Mapping[str, Any]:
        return {
            "itemid": thing.id,
            "itemname": thing.name,
            "item_categoryid": SECTION,
            "item_attributeid": "1",
            "itemrank": "1",
            "item_ordertype": "1,2",
            "price": thing.price,
            "active": "1",
            "in_stock": "2" if thing.on else "0",
            "variation": [],
            "addon": [],
        }

    def proven(self, call: Call, *, forged: bool = False) -> Call:
        return Call(call.url.replace(self.connection.secret, NOBODYS), call.body, call.id) if forged else call

    def taken(self, status: int, answer: Document) -> bool:
        return status == 200 and (answer.get("status") == "success" or answer.get("success") == "1")

    def refused(self, status: int, answer: Document) -> bool:
        return status in (400, 401, 404) and (answer.get("status") == "failed" or answer.get("success") == "0")
