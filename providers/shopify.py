"""Shopify: products with their variants, and what is on the shelf of each location, as its webhooks tell of them.

The topic stands in a header and decides what the body is. Stock is told of an inventory item, which is not the variant: each
variant is told with both ids, so that either finds it. Prices are text in the shop's currency and the same at all locations.
"""

import html
import re
from collections.abc import Collection, Mapping, Sequence
from uuid import UUID

from domain.canonical import (
    Command,
    StockMode,
    UpdatePrice,
    UpdateStockLevel,
    UpsertCatalogItem,
    UpsertVariant,
)
from domain.documents import Document, parse
from domain.intake import Answer, Batch, Call, EntityKind, Family, Question, Source
from domain.merchants import SELLING, StoreStatus
from domain.proofs import Proof, Strategy
from domain.refusals import Problem, Refused
from domain.stock import StockMovementKind

TOPIC = "x-shopify-topic"
EVENT_IDS = ("x-shopify-event-id", "x-shopify-webhook-id")
KEPT = frozenset({400, 409, 422})  # such a call is kept, and would be no better the next time
TOPICS = ("inventory_levels/connect", "inventory_levels/update", "products/create", "products/update", "products/delete")
ONLY_FORM = "Default Title"
SHOWN = "active"  # its other states, draft and archived, are seen by nobody


class Shopify:
    provider, family = "shopify", Family.POS
    proof = Proof(Strategy.HMAC_HEADER, header="x-shopify-hmac-sha256")
    endpoints: Mapping[str, str] = {"menu": "webhooks/menu", "inventory": "webhooks/inventory"}
    doors: Mapping[str, str] = {**{path: door for door, path in endpoints.items()}, "webhooks": "menu"}
    questions: Collection[str] = frozenset()

    def verify(self, call: Call, source: Source) -> None:
        """The signature has said it."""

    def event_id(self, call: Call) -> str | None:
        """One doing of a merchant may be told of several things under one id: of each it is its own news."""
        given = next((call.headers[name] for name in EVENT_IDS if call.headers.get(name)), None)
        if given is None:
            return None
        try:
            told = parse(call.body)
        except Refused:
            return None
        of = [told[name].text(most=100) or "" for name in ("id", "inventory_item_id", "location_id")]
        return ":".join((call.headers.get(TOPIC, "")[:100], given[:100], *filter(None, of)))

    def translate(self, call: Call, source: Source) -> Batch | Question:
        topic = Document(call.headers.get(TOPIC), f"header {TOPIC}", [])
        name = topic.text(needed=True, most=100)
        topic.check()
        told = parse(call.body).object()
        told.check()
        match name:
            case "inventory_levels/update" | "inventory_levels/connect":
                commands = _level(told, call)
            case "products/create" | "products/update":
                return _Product(told, call, source).batch()
            case "products/delete":
                commands = _deleted(told, source)
            case _:
                topic.wrong(f"{name!r} is none of {', '.join(TOPICS)}")
                topic.check()
                commands = ()
        told.check()
        return Batch(commands)

    def acknowledge(self, call: Call, payload_id: UUID) -> Answer:
        return Answer(200, {"status": "accepted"})

    def refuse(self, call: Call, status: int, message: str) -> Answer:
        # After eight answers that are not 2xx it takes the subscription away; what is kept as a failure is no reason for that.
        return Answer(200 if status in KEPT else status, {"status": "failed", "message": message})

    def answer(self, call: Call, status: StoreStatus) -> Answer:
        return Answer(200, {"status": "success", "open": status in SELLING})


def inventory_item(id: str) -> str:
    """As we name a variant by the id that its stock is told by."""
    return f"inventory_item:{id}"


def _level(told: Document, call: Call) -> Sequence[Command]:
    """What is not counted there says nothing of how many. Below nothing is nothing."""
    item, location = told["inventory_item_id"].id(), told["location_id"].id()
    at, units = told["updated_at"].time(call.received_at), told["available"].whole()
    if units is None:
        return ()
    return [
        UpdateStockLevel(
            store=location,
            id=inventory_item(item),
            mode=StockMode.ABSOLUTE,
            quantity=max(0, units),
            movement=StockMovementKind.COUNTED,
            at=at,
        )
    ]


def _deleted(told: Document, source: Source) -> Sequence[Command]:
    """It says no more than the product's id: all its variants are to be had no more."""
    id = told["id"].id()
    return [
        UpdateStockLevel(store=store, id=id, kind=EntityKind.PRODUCT, mode=StockMode.AVAILABILITY, available=False)
        for store in _locations(source)
    ]


def _locations(source: Source) -> Sequence[str | None]:
    """Of what is the same at all of them. Where nobody has mapped one yet, it waits for the first."""
    return list(source.stores) or [None]


class _Product:
    """With all its variants. One with something wrong in it is left out, and stays as it was."""

    def __init__(self, told: Document, call: Call, source: Source) -> None:
        self.told, self.stores = told, _locations(source)
        self.id, self.at = told["id"].id(), told["updated_at"].time(call.received_at)
        self.shown = (told["status"].text(most=50) or SHOWN).lower() == SHOWN

    def batch(self) -> Batch:
        variants = self.told["variants"].items(needed=True)
        commands: list[Command] = [self._item()]
        self.told.check()
        problems: list[Problem] = []
        kinds: tuple[list[Command], list[Command]] = ([], [])
        for one in variants:
            variant = one.apart()
            said = self._variant(variant)
            if variant.problems:
                problems += variant.problems
                continue
            for kind, more in zip(kinds, said, strict=True):
                kind += more
        return Batch([*commands, *kinds[0], *kinds[1]] if kinds[0] or not problems else (), problems)

    def _item(self) -> UpsertCatalogItem:
        told = self.told
        path = (told["product_type"].text(most=500) or "").split(">")
        images = [image["src"].text(most=2000) for image in told["images"].items()]
        tags = told["tags"]
        words = [one.text(most=200) for one in tags.items()] if isinstance(tags.told, list) else [tags.text(most=2000)]
        named = ", ".join(filter(None, words))
        return UpsertCatalogItem(
            item=self.id,
            title=told["title"].text(needed=True, most=300) or "",
            description=_plain(told["body_html"].text(most=1_000_000)),
            brand=told["vendor"].text(most=200),
            category=tuple(name.strip()[:200] for name in path if name.strip()),
            images=tuple(dict.fromkeys(filter(None, images))),
            attributes=(("tags", named[:500]),) if named else (),
            at=self.at,
        )

    def _variant(self, variant: Document) -> tuple[list[Command], list[Command]]:
        variant.object()
        id, stock = variant["id"].id(), variant["inventory_item_id"].text(most=100)
        price, before = variant["price"].minor(needed=True), variant["compare_at_price"].minor()
        options = [variant[f"option{place}"].text(most=200) for place in (1, 2, 3)]
        title = " / ".join(option for option in options if option and option != ONLY_FORM)
        sku, barcode = variant["sku"].text(most=200), variant["barcode"].text(most=100)
        rank = variant["position"].whole(least=0) or 0
        upserts: list[Command] = [
            UpsertVariant(
                store=store,
                variant=id,
                item=self.id,
                title=title[:300],
                barcode=barcode,
                rank=rank,
                active=self.shown,
                sku=sku,
                also=(inventory_item(stock),) if stock else (),
                at=self.at,
            )
            for store in self.stores
        ]
        if price is None or not self.shown:
            return upserts, []  # what is a draft is listed nowhere
        was = before if before is not None and before >= price else None
        return upserts, [
            UpdatePrice(store=store, variant=id, price_minor=price, mrp_minor=was, at=self.at) for store in self.stores
        ]


_MARK = re.compile(r"<(/?)([a-z0-9]*+)[^<>]*+>", re.IGNORECASE)  # which looks at each character once, whatever is not closed
_BREAKS = frozenset({"br", "p", "li", "div", "tr", "h1", "h2", "h3", "h4", "h5", "h6"})
_UNSEEN = frozenset({"script", "style"})


def _plain(text: str | None) -> str | None:
    """Without the marks of HTML: a description is text, a line for each paragraph."""
    if text is None:
        return None
    parts, at, unseen = [], 0, False
    for mark in _MARK.finditer(text):
        ends, name = bool(mark[1]), mark[2].lower()
        parts.append("" if unseen else text[at : mark.start()])
        parts.append("\n" if name in _BREAKS else "")
        at, unseen = mark.end(), (not ends if name in _UNSEEN else unseen)
    parts.append("" if unseen else text[at:])
    lines = (" ".join(line.split()) for line in html.unescape("".join(parts)).splitlines())
    return "\n".join(line for line in lines if line)[:10_000]
