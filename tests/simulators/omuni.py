"""Omuni, as the assumed profile has it: none of its API is public. Modelled on how its nearest peer, Increff, pushes counts.

Signatures and retries are assumed to be those of Standard Webhooks 1.0.0.
"""

from datetime import datetime

from tests.simulators.calls import Call, Document, StandardWebhooks, Thing, Word, document, zulu


class Omuni(StandardWebhooks):
    provider = "omuni"
    words = (Word.COUNT,)
    teaches = False
    counts = True

    def call(self, word: Word, thing: Thing, units: int, ref: str, at: datetime) -> Call:
        told = {
            "locationCode": self.connection.store,
            "timestamp": zulu(at),
            "products": [{"channelSkuId": thing.id, "quantity": thing.units}],
        }
        return Call(self.url("stock"), document(told), ref)

    def taken(self, status: int, answer: Document) -> bool:
        return status == 200 and not answer.get("failureProducts")
