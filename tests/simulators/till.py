"""A till of the shop's own, that tells what was sold over the counter, each sale by device and number, and may have been offline.

Its format is ours to offer; signatures and retries are those of Standard Webhooks 1.0.0.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from tests.simulators.calls import Call, Connection, Flaw, StandardWebhooks, Thing, Word, document, millis, zulu

DEVICE = "sim-till-1"
OFFLINE = 3  # so many sales it makes before it has a line again


class Till(StandardWebhooks):
    """Every fourth call is an upload of what it did while it was offline, the last ones first, with much that was told already."""

    provider = "till"
    words = (Word.SALE, Word.SALE, Word.RETURN, Word.SALE)
    flaws = tuple(flaw for flaw in Flaw if flaw is not Flaw.STALE)  # a sale is never old, it was
    teaches = False

    def __init__(self, connection: Connection, things: Sequence[Thing]) -> None:
        super().__init__(connection, things)
        self.told: list[dict[str, Any]] = []
        self.seq = millis(self.before)  # it never begins again
        self.said = 0

    def catalogue(self, ref: str) -> Sequence[Call]:
        """It counts nothing: somebody else has."""
        return ()

    def say(self, word: Word, thing: Thing, units: int, ref: str) -> Call:
        self.said += 1
        if self.said % 4:
            return super().say(word, thing, units, ref)
        for _ in range(OFFLINE - 1):
            super().say(Word.SALE, thing, 1, ref)
        super().say(word, thing, units, ref)
        return self._upload(list(reversed(self.told[-3 * OFFLINE :])), ref)

    def call(self, word: Word, thing: Thing, units: int, ref: str, at: datetime) -> Call:
        self.seq += 1
        sale = {"seq": self.seq, "at": zulu(at), "lines": [{"sku": thing.id, "quantity": units}]}
        if word is Word.RETURN:
            sale["kind"] = "return"
        if units:
            self.told.append(sale)
        return self._upload([sale] if units else self.told[-1:], ref)

    def unknown(self, ref: str) -> Call:
        self.seq += 1
        return self._upload([{"seq": self.seq, "at": zulu(self.now()), "lines": [{"sku": f"{ref}-unknown", "quantity": 1}]}], ref)

    def _upload(self, sales: Sequence[dict[str, Any]], ref: str) -> Call:
        return Call(self.url("sales"), document({"device": DEVICE, "store": self.connection.store, "sales": sales}), ref)
