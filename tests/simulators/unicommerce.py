"""Uniware as it calls a marketplace, and as it notifies a partner.

https://documentation.unicommerce.com/docs: authentication and updateinventory of the marketplace pages (its family A),
nsm_gatepass_closed and nsm_gatepass_return_awaited (its family C). No retries are published: the next push comes after ten
minutes, and of what ran out after two.
"""

from datetime import datetime
from urllib.parse import urlencode

import httpx2

from tests.simulators.calls import NOBODYS, Call, Caller, Document, Flaw, Thing, Word, document, millis


class Unicommerce(Caller):
    """Counts have neither ids nor times, gatepasses a code, a state and a time. The token is one we gave it: `sign_in` first."""

    provider = "unicommerce"
    words = (Word.COUNT, Word.CAME, Word.LEFT)
    flaws = (Flaw.DUPLICATE, Flaw.FORGED, Flaw.UNKNOWN, Flaw.BROKEN)
    pauses_s = (120, 600, 600)
    teaches = False
    counts = True
    token = ""

    async def sign_in(self, http: httpx2.AsyncClient) -> None:
        asked = {"username": self.connection.id, "password": self.connection.secret}
        told: Document = (await http.get(f"{self.url('auth-token')}&{urlencode(asked)}")).json()
        if told.get("status") != "SUCCESS":
            raise ValueError(f"no token: {told}")
        self.token = told["accessToken"]

    def call(self, word: Word, thing: Thing, units: int, ref: str, at: datetime) -> Call:
        if word is Word.COUNT:
            row = {
                "productId": f"P-{thing.id}",
                "variantId": thing.id,
                "inventory": str(thing.units),
                "hsnCode": "0902",
                "facilityCode": self.connection.store,
                "note": ref,
            }
            return Call(self.url("inventory"), document({"inventoryList": [row]}), ref)
        came = word is Word.CAME
        item = {
            "itemTypeSKU": thing.id,
            "quantity": units,
            "receivedQuantity": units if came else 0,
            "inventoryType": "GOOD_INVENTORY",
        }
        told = {
            "code": f"GP-{ref}",
            "statusCode": "CLOSED" if came else "RETURN_AWAITED",
            "type": "STOCK_TRANSFER" if came else "RETURN_TO_VENDOR",
            "facilityCode": "SIM-ELSEWHERE" if came else self.connection.store,
            "toPartyName": self.connection.store if came else "Vendor",
            "created": str(millis(at)),
            "updated": str(millis(at)),
            "gatePassItemDTOs": [item],
        }
        return Call(self.url("gatepass-closed" if came else "gatepass-awaited"), document(told), ref)

    def proven(self, call: Call, *, forged: bool = False) -> Call:
        return Call(call.url, call.body, call.id, {"apikey": NOBODYS if forged else self.token})

    def taken(self, status: int, answer: Document) -> bool:
        return status == 200 and answer.get("status") in ("SUCCESS", "Success")
