"""Square: what is on the shelf, counted anew at every change. Of the catalogue it only says that something has changed.

Its signature is over the notification's URL and the body; `event_id` is the same when it sends an event again. A count is of
one variation at one location in one state, and absolute.
"""

from collections.abc import Collection, Mapping, Sequence
from uuid import UUID

from domain.canonical import Command, StockMode, UpdateStockLevel
from domain.documents import Document, parse
from domain.intake import Answer, Batch, Call, Family, Question, Source
from domain.merchants import SELLING, StoreStatus
from domain.proofs import Proof, Signed, Strategy
from domain.refusals import Problem, Refused
from domain.stock import StockMovementKind

ON_THE_SHELF = "IN_STOCK"  # sold, wasted, on order: counts of what is not
NOTHING_TO_READ = frozenset({"catalog.version.updated"})  # the catalogue has changed, it says, and not what
KEPT = frozenset({400, 409, 422})  # such a call is kept, and would be no better the next time


class Square:
    provider, family = "square", Family.POS
    proof = Proof(Strategy.HMAC_HEADER, header="x-square-hmacsha256-signature", signed=Signed.URL_BODY)
    endpoints: Mapping[str, str] = {"inventory": "webhooks/inventory", "menu": "webhooks/menu"}
    doors: Mapping[str, str] = {**{path: door for door, path in endpoints.items()}, "webhooks": "inventory"}
    questions: Collection[str] = frozenset()

    def verify(self, call: Call, source: Source) -> None:
        """The signature has said it."""

    def event_id(self, call: Call) -> str | None:
        try:
            event_id = parse(call.body)["event_id"].text(most=200)
        except Refused:
            return None
        return f"event_id:{event_id}" if event_id else None

    def translate(self, call: Call, source: Source) -> Batch | Question:
        told = parse(call.body).object()
        kind = told["type"].text(needed=True) or ""
        told.check()
        if kind in NOTHING_TO_READ:
            return Batch(())
        if kind != "inventory.count.updated":
            told["type"].wrong(f"{kind[:60]!r} is none that we read: inventory.count.updated, {', '.join(NOTHING_TO_READ)}")
            told.check()
        data = told["data"].object()
        within = data["object"]
        counts = (data if within.missing else within)["inventory_counts"].items(needed=True)
        told.check()
        commands: list[Command] = []
        problems: list[Problem] = []
        for one in counts:
            count = one.apart()
            said = _count(count, call)
            if count.problems:
                problems += count.problems
            else:
                commands += said
        return Batch(commands, problems)

    def acknowledge(self, call: Call, payload_id: UUID) -> Answer:
        return Answer(200, {"status": "accepted"})

    def refuse(self, call: Call, status: int, message: str) -> Answer:
        # It repeats whatever is not 2xx for a day; of what is kept as a failure nobody needs another copy.
        return Answer(200 if status in KEPT else status, {"status": "failed", "message": message})

    def answer(self, call: Call, status: StoreStatus) -> Answer:
        return Answer(200, {"status": "success", "open": status in SELLING})


def _count(count: Document, call: Call) -> Sequence[Command]:
    """Below nothing is nothing: a till may sell what it has not counted."""
    count.object()
    state = (count["state"].text(needed=True) or "").upper()
    kind = (count["catalog_object_type"].text() or "ITEM_VARIATION").upper()
    if count.problems or state != ON_THE_SHELF or kind != "ITEM_VARIATION":
        return ()
    units = count["quantity"].whole(needed=True)
    return [
        UpdateStockLevel(
            store=count["location_id"].id(),
            id=count["catalog_object_id"].id(),
            mode=StockMode.ABSOLUTE,
            quantity=None if units is None else max(0, units),
            movement=StockMovementKind.COUNTED,
            at=count["calculated_at"].time(call.received_at),
        )
    ]
