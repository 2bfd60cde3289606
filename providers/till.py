"""A till of a shop's own: what is sold over the counter, told sale by sale, by a device that may have been offline for days.

Standard Webhooks, one envelope `{device, sales: [{seq, at, kind, lines}]}`. `seq` counts a device's sales and never begins
again; a sale is carried out once, however often and in whatever company it is told. SKUs are ours.
"""

from collections.abc import Collection, Mapping
from uuid import UUID

from domain.canonical import Command, StockMode, UpdateStockLevel
from domain.documents import Document, parse
from domain.intake import Answer, Batch, Call, Family, Question, Source
from domain.merchants import SELLING, StoreStatus
from domain.proofs import STANDARD_WEBHOOKS
from domain.refusals import Problem
from domain.stock import StockMovementKind

MOST_SALES, MOST_LINES = 5_000, 500
MOST_UNITS = 1_000_000_000  # of one SKU in one sale, as of one line
SIGNS = {"sale": -1, "return": 1, "void": 1}


class Till:
    provider, family, proof = "till", Family.ERP, STANDARD_WEBHOOKS  # of the family that speaks in SKUs
    endpoints: Mapping[str, str] = {"sales": "webhooks/sales"}
    doors: Mapping[str, str] = {path: door for door, path in endpoints.items()}
    questions: Collection[str] = frozenset()

    def verify(self, call: Call, source: Source) -> None:
        """The signature has said it."""

    def event_id(self, call: Call) -> str | None:
        return f"webhook-id:{call.headers.get('webhook-id', '')}"

    def translate(self, call: Call, source: Source) -> Batch | Question:
        """A sale with something wrong in it is left out whole."""
        told = parse(call.body).object()
        device, store = told["device"].id(), told["store"].text(most=200)
        sales = told["sales"].items(needed=True)
        if len(sales) > MOST_SALES:
            told["sales"].wrong(f"has {len(sales)} sales, more than {MOST_SALES}")
        told.check()
        commands: list[Command] = []
        problems: list[Problem] = []
        for sale in sales:
            one = sale.apart()
            said = _sale(one, device, store, call)
            if one.problems:
                problems += one.problems
            else:
                commands += said
        return Batch(commands, problems)

    def acknowledge(self, call: Call, payload_id: UUID) -> Answer:
        return Answer(200, {"status": "accepted"})

    def refuse(self, call: Call, status: int, message: str) -> Answer:
        return Answer(status, {"status": "failed", "message": message})

    def answer(self, call: Call, status: StoreStatus) -> Answer:
        return Answer(200, {"status": "success", "open": status in SELLING})


def _sale(sale: Document, device: str, store: str | None, call: Call) -> list[Command]:
    seq = sale["seq"].whole(needed=True, least=1, most=2**62)
    at = sale["at"].time(call.received_at, needed=True)  # nobody else knows when it was
    kind = (sale["kind"].text() or "sale").lower()
    if kind not in SIGNS:
        sale["kind"].wrong(f"{kind[:40]!r} is none of {', '.join(SIGNS)}")
    lines = sale["lines"].items(needed=True)
    if len(lines) > MOST_LINES:
        sale["lines"].wrong(f"has {len(lines)} lines, more than {MOST_LINES}")
    units: dict[str, int] = {}
    for line in lines[:MOST_LINES]:
        sku, quantity = line["sku"].id(), line["quantity"].whole(needed=True, least=1)
        units[sku] = units.get(sku, 0) + (quantity or 0)
        if units[sku] > MOST_UNITS:
            line["quantity"].wrong(f"makes {units[sku]} of {sku}: out of range")
    if sale.problems:
        return []
    movement = StockMovementKind.SOLD if kind == "sale" else StockMovementKind.RETURNED
    return [
        UpdateStockLevel(
            store=store,
            id=sku,
            mode=StockMode.DELTA,
            quantity=SIGNS[kind] * quantity,
            movement=movement,
            at=at,
            reason=f"{kind} {seq} of {device}",
            once=f"{device}:{seq}",
        )
        for sku, quantity in units.items()
    ]
