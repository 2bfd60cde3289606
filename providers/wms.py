"""The in-house WMS: Standard Webhooks, one envelope `{type, timestamp, data}`, any of its events at any of its doors.

`data.version` rises by one with every change of one SKU at one location. Quantities and amounts are text.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import datetime
from uuid import UUID

from domain.canonical import (
    Command,
    OrderItem,
    OrderStatus,
    OrderWord,
    StockMode,
    UpdatePrice,
    UpdateStockLevel,
    UpdateStoreStatus,
    UpsertCatalogItem,
    UpsertVariant,
)
from domain.documents import Document, parse
from domain.intake import Answer, Batch, Call, Family, Question, Source
from domain.merchants import SELLING, StoreStatus
from domain.proofs import STANDARD_WEBHOOKS
from domain.refusals import Problem
from domain.stock import StockMovementKind

Said = tuple[Document, datetime | None, Call]


class Wms:
    provider, family, proof = "wms", Family.ERP, STANDARD_WEBHOOKS
    endpoints: Mapping[str, str] = {
        name: f"webhooks/{name}" for name in ("stock", "receiving", "returns", "transfers", "shortages")
    }
    doors: Mapping[str, str] = {path: door for door, path in endpoints.items()}
    questions: Collection[str] = frozenset()

    def verify(self, call: Call, source: Source) -> None:
        """Whoever signs may say all of it."""

    def event_id(self, call: Call) -> str | None:
        id = call.headers.get("webhook-id")
        return f"webhook-id:{id}" if id else None

    def translate(self, call: Call, source: Source) -> Batch | Question:
        told = parse(call.body).object()
        kind = told["type"].text(needed=True) or ""
        at = told["timestamp"].time(call.received_at)
        data = told["data"].object()
        told.check()
        events = _EVENTS.get(kind)
        if events is None:
            told["type"].wrong(f"{kind[:40]!r} is none of {', '.join(sorted(_EVENTS))}")
            told.check()
            return Batch(())
        commands: list[Command] = []
        problems: list[Problem] = []
        for line in data["lines"].items(needed=True) if kind in _WITH_LINES else [data]:
            one = line.apart()
            said = events(_Line(data, one, at, call))
            if one.problems:
                problems += one.problems
            else:
                commands += said
        told.check()
        return Batch(commands, problems)

    def acknowledge(self, call: Call, payload_id: UUID) -> Answer:
        return Answer(200, {"status": "accepted"})

    def refuse(self, call: Call, status: int, message: str) -> Answer:
        return Answer(status, {"status": "failed", "message": message})

    def answer(self, call: Call, status: StoreStatus) -> Answer:
        return Answer(200, {"status": "success", "open": status in SELLING})


class _Line:
    """One line of an event; what it leaves out, the event says."""

    def __init__(self, data: Document, line: Document, at: datetime | None, call: Call) -> None:
        self.line, self.at, self.received_at = line, at, call.received_at
        self.data = Document(data.told, data.path, line.problems)

    def __getitem__(self, name: str) -> Document:
        return self.data[name] if name in self.data and name not in self.line else self.line[name]

    @property
    def version(self) -> int | None:
        return self["version"].whole(least=0, most=2**62)

    def level(
        self, mode: StockMode, quantity: int | None, movement: StockMovementKind, place: str = "location", reason: str = ""
    ) -> list[Command]:
        sku, store = self["sku"].id(), self[place].text(most=200)
        if quantity is None:
            return []
        return [
            UpdateStockLevel(
                store=store,
                id=sku,
                mode=mode,
                quantity=quantity,
                movement=movement,
                version=self.version,
                at=self.at,
                reason=reason,
            )
        ]

    def quantity(self, *names: str) -> int | None:
        return self.line.first(*names).whole(needed=True, least=0)


def _snapshot(line: _Line) -> list[Command]:
    return line.level(StockMode.ABSOLUTE, line.quantity("available"), StockMovementKind.COUNTED)


def _adjusted(line: _Line) -> list[Command]:
    """What there is afterwards says more than the change."""
    reason = line["reason"].text(most=200) or ""
    if not line["resulting_available"].missing:
        return line.level(StockMode.ABSOLUTE, line.quantity("resulting_available"), StockMovementKind.COUNTED, reason=reason)
    return line.level(StockMode.DELTA, line["delta"].whole(needed=True), StockMovementKind.ADJUSTED, reason=reason)


def _received(line: _Line) -> list[Command]:
    reason = f"receipt {line['receipt_id'].text() or ''}".strip()
    return line.level(StockMode.DELTA, line.quantity("accepted_qty", "qty"), StockMovementKind.RECEIVED, reason=reason)


def _returned(line: _Line) -> list[Command]:
    quantity = line.quantity("qty", "quantity")
    if (line["condition"].text() or "good").lower() != "good":
        return []  # what is broken goes back on no shelf
    return line.level(
        StockMode.DELTA, quantity, StockMovementKind.RETURNED, reason=f"return {line['return_id'].text() or ''}".strip()
    )


def _transferred(place: str, sign: int) -> Callable[[_Line], list[Command]]:
    def commands(line: _Line) -> list[Command]:
        quantity = line.quantity("qty", "quantity")
        reason = f"transfer {line['transfer_id'].text() or ''}".strip()
        return line.level(
            StockMode.DELTA, None if quantity is None else sign * quantity, StockMovementKind.TRANSFERRED, place, reason
        )

    return commands


def _short(line: _Line) -> list[Command]:
    """The picker found fewer than ordered: the order hears of it. An empty place is a count."""
    empty = line["location_empty"].flag(default=False)
    ordered, picked = line["ordered_qty"].whole(least=0), line["picked_qty"].whole(least=0)
    commands: list[Command] = []
    order = line["order_id"].text(most=200)
    if order is not None and (ordered is None or picked is None or picked < ordered):
        item = OrderItem(id=line["sku"].id(), ordered=ordered, found=picked)
        status = OrderWord.ITEM_SHORT
        store = line["location"].text(most=200)
        commands.append(OrderStatus(store=store, order=order, status=status, items=(item,), at=line.at))
    if empty:
        commands += line.level(StockMode.ABSOLUTE, 0, StockMovementKind.COUNTED, reason="pick short")
    return commands


def _status(line: _Line) -> list[Command]:
    open_ = line["open"].flag(needed=True)
    until = line["until"].time(line.received_at, ahead=True)
    status = StoreStatus.OPEN if open_ else StoreStatus.CLOSED
    past = open_ or (until is not None and until <= line.received_at)
    return [
        UpdateStoreStatus(
            store=line["location"].text(most=200),
            status=status,
            reason=None if open_ else line["reason"].text(most=200),
            reopen_at=None if past else until,
            at=line.at,
            version=line.version,
        )
    ]


def _price(line: _Line) -> list[Command]:
    price, mrp = line["price"].minor(needed=True), line["mrp"].minor()
    starts = line["effective_from"].time(line.received_at, ahead=True)
    sku, store = line["sku"].id(), line["location"].text(most=200)
    if price is None:
        return []
    if mrp is not None and price > mrp:
        line["price"].wrong(f"{price / 100:.2f} is above the MRP, {mrp / 100:.2f}")
    return [
        UpdatePrice(
            store=store,
            variant=sku,
            price_minor=price,
            mrp_minor=mrp,
            currency=(line["currency"].text(most=3) or "INR").upper(),
            effective_from=starts if starts is not None and starts > line.received_at else None,
            at=line.at,
            version=line.version,
        )
    ]


def _item(line: _Line) -> list[Command]:
    """With a parent it is a form of that; without, a product of its own and its only form."""
    sku, parent = line["sku"].id(), line["parent"].text(most=200)
    title = line["title"].text(needed=True, most=300) or ""
    told = line["attributes"]
    attributes = told.told if isinstance(told.told, dict) else {}
    named = tuple((name[:100], text) for name in attributes if (text := told[name].text(most=500)) is not None)
    category = line["category"]
    path = [one.text(most=200) for one in category.items()] if isinstance(category.told, list) else [category.text(most=200)]
    version, at = line.version, line.at
    variant = UpsertVariant(
        variant=sku,
        item=parent or sku,
        title=title if parent else "",
        barcode=line["barcode"].text(most=100),
        version=version,
        at=at,
    )
    if parent:
        return [variant]
    item = UpsertCatalogItem(
        item=sku,
        title=title,
        description=line["description"].text(),
        brand=line["brand"].text(most=200),
        category=tuple(filter(None, path)),
        images=tuple(filter(None, (one.text(most=2000) for one in line["images"].items()))),
        attributes=named,
        version=version,
        at=at,
    )
    return [item, variant]


_EVENTS: Mapping[str, Callable[[_Line], Sequence[Command]]] = {
    "stock.snapshot": _snapshot,
    "stock.adjusted": _adjusted,
    "receipt.completed": _received,
    "return.restocked": _returned,
    "transfer.dispatched": _transferred("from", -1),
    "transfer.received": _transferred("to", 1),
    "pick.short": _short,
    "store.status": _status,
    "price.updated": _price,
    "item.upserted": _item,
}
_WITH_LINES = {"stock.snapshot", "receipt.completed", "return.restocked", "transfer.dispatched", "transfer.received"}
