"""UrbanPiper, as the tills behind its hub speak to it: a menu for one store or for all, items and stores switched on and off,
orders taken, turned down and moved on.

The hub signs nothing; a till sends `Authorization: apikey {user}:{key}`. Amounts are numbers of rupees, times epoch seconds or
milliseconds, ids the till's own (`ref_id`). What it sends to others as their hub, we read as well: they are the same words.
"""

from collections.abc import Collection, Mapping
from datetime import datetime, timedelta
from uuid import UUID

from domain.canonical import (
    AcceptOrder,
    Command,
    OrderStatus,
    OrderWord,
    RejectOrder,
    StockMode,
    UpdateStockLevel,
    UpdateStoreStatus,
    sold_out,
)
from domain.documents import LONGEST_ID, Document, parse
from domain.intake import Answer, Batch, Call, EntityKind, Family, Question, Source
from domain.merchants import SELLING, StoreStatus
from domain.orders import ReasonCode
from domain.proofs import Proof, Strategy
from domain.refusals import Problem, Refused
from providers.urbanpiper_menu import MOST_COMMANDS, Menu, every, for_us, names

MENU, INVENTORY, STATUS, ORDER = "menu", "inventory", "store-status", "order-status"
SOONEST, LATEST = timedelta(minutes=5), timedelta(days=30)  # a store's return
TAKEN, CANCELLED = "acknowledged", "cancelled"
WORDS = {
    "food ready": OrderWord.READY,
    "dispatched": OrderWord.DISPATCHED,
    "out for delivery": OrderWord.DISPATCHED,
    "completed": OrderWord.DELIVERED,
    "delivered": OrderWord.DELIVERED,
}
EARLIER = ("assigned", "at store", "re assigned", "reassigned")  # a rider's, before he has the goods
REASONS = {
    "item_out_of_stock": ReasonCode.OUT_OF_STOCK,
    "option_out_of_stock": ReasonCode.OUT_OF_STOCK,
    "store_closed": ReasonCode.CLOSING,
    "store_busy": ReasonCode.TOO_BUSY,
    "out_of_delivery_radius": ReasonCode.TOO_FAR,
}


class Urbanpiper:
    provider, family = "urbanpiper", Family.POS
    proof = Proof(Strategy.STATIC_HEADER, header="authorization", prefix="apikey {source}:")
    endpoints: Mapping[str, str] = {
        MENU: "webhooks/menu",
        INVENTORY: "webhooks/inventory",
        STATUS: "webhooks/store-status",
        ORDER: "webhooks/order-status",
    }
    doors: Mapping[str, str] = {
        **{path: door for door, path in endpoints.items()},
        "external/api/v1/inventory/locations/{store}": MENU,
        "hub/api/v1/items": INVENTORY,
        "hub/api/v1/location": STATUS,
        "external/api/v1/stores": STATUS,
        "external/api/v1/orders/{id}": ORDER,
        "external/api/v1/orders/{id}/status": ORDER,
    }
    questions: Collection[str] = frozenset()

    def verify(self, call: Call, source: Source) -> None:
        """The header has proven it. A store that nobody has mapped is not refused: what is said of it waits."""

    def event_id(self, call: Call) -> str | None:
        """Of what an action came to: one callback for each platform, all of one reference. Nothing else has an id."""
        if call.door not in (INVENTORY, STATUS):
            return None
        try:
            told = parse(call.body)
        except Refused:
            return None
        reference, platform = told["reference_id"].text(most=LONGEST_ID), told["platform"].text(most=LONGEST_ID)
        if not reference or told.problems:
            return None
        first = next(iter(told["status"].items()), told) if isinstance(told["status"].told, list) else told
        what = "options" if "options" in first else "items" if "items" in first else "store"
        return f"{what}:{reference}@{platform or ''}"

    def translate(self, call: Call, source: Source) -> Batch | Question:
        told = parse(call.body).object()
        told.check()
        if call.door == MENU:
            return Menu(told, call, source).batch()
        if call.door == INVENTORY:
            return _reported(told, call) if "status" in told else _switched(told, call, source)
        if call.door == STATUS:
            return _stores(told, call) if "stores" in told else _store(told, call, source)
        return _order(told, call, source)

    def acknowledge(self, call: Call, payload_id: UUID) -> Answer:
        done = {MENU: "Menu accepted", INVENTORY: "Items updated", STATUS: "Store updated"}.get(call.door, "Order updated")
        return Answer(200, {"status": "success", "message": done, "reference": str(payload_id)})

    def refuse(self, call: Call, status: int, message: str) -> Answer:
        return Answer(status, {"status": "error", "message": message})

    def answer(self, call: Call, status: StoreStatus) -> Answer:
        return Answer(200, {"status": "success", "ordering_enabled": status in SELLING})


# ---------------------------------------------------------------- on and off


def _action(told: Document) -> bool:
    word = (told["action"].text(needed=True) or "").lower()
    if word not in ("enable", "disable", ""):
        told["action"].wrong(f"{word[:40]!r} is neither enable nor disable")
    return word == "enable"


def _back_at(told: Document, call: Call) -> datetime | None:
    place = told["turn_on_at"]
    return None if str(place.told) == "0" else place.time(call.received_at, ahead=True)


def _switched(told: Document, call: Call, source: Source) -> Batch:
    """Absolute: on or off, until a time or until told otherwise."""
    store, on = told["location_ref_id"].id(), _action(told)
    back_at = _back_at(told, call)
    items = [(EntityKind.PRODUCT, one.id()) for one in told["item_ref_ids"].items()]
    options = [(EntityKind.MODIFIER, one.id()) for one in told["option_ref_ids"].items()]
    ours = for_us(names(told["platforms"]), call)
    if not items and not options and not told.problems:
        told["item_ref_ids"].wrong("names no item, and option_ref_ids no option")
    stores, things = every(store, source), dict.fromkeys([*items, *options])
    if len(stores) * len(things) > MOST_COMMANDS:
        told["item_ref_ids"].wrong(f"says more than {MOST_COMMANDS} things at once, over {len(stores)} stores")
    told.check()
    if not ours:
        return Batch(())
    if on or (back_at is not None and back_at <= call.received_at):
        back_at = None  # a time that is over says nothing
    return Batch(
        [
            UpdateStockLevel(store=one, id=id, kind=kind, mode=StockMode.AVAILABILITY, available=on, restore_at=back_at)
            for one in stores
            for kind, id in things
        ]
    )


def _reported(told: Document, call: Call) -> Batch:
    """What an action came to. Only what was done counts; when it comes back, the action itself has said."""
    on, at = _action(told), told["ts_utc"].time(call.received_at)
    ours = for_us(names(_alone(told["platform"])), call)
    commands: list[Command] = []
    for one in told["status"].items(needed=True):
        store = one["location"]["ref_id"].id()
        for name, kind in (("items", EntityKind.PRODUCT), ("options", EntityKind.MODIFIER)):
            for thing in one[name].items():
                id = thing["ref_id"].id()
                if _done(thing.first("status", "success")):
                    commands.append(
                        UpdateStockLevel(store=store, id=id, kind=kind, mode=StockMode.AVAILABILITY, available=on, at=at)
                    )
    told.check()
    return Batch(commands if ours else ())


def _alone(place: Document) -> Document:
    """One, where others have a list."""
    return Document([] if place.missing else [place.told], place.path, place.problems)


def _done(place: Document) -> bool:
    word = (str(place.told) if isinstance(place.told, bool) else place.text(most=LONGEST_ID) or "").lower()
    return place.missing or word in ("success", "true", "1", "yes")


def _store(told: Document, call: Call, source: Source) -> Batch:
    """An order to open or close, or what became of one: that has a time, and whether it was done."""
    store, on = told["location_ref_id"].id(), _action(told)
    at, back_at = told["ts_utc"].time(call.received_at), _back_at(told, call)
    ours = for_us(names(_alone(told["platform"])) | names(told["platforms"]), call)
    if not on and back_at is not None and not SOONEST <= back_at - call.received_at <= LATEST:
        told["turn_on_at"].wrong("is not between 5 minutes and 30 days ahead")
    done = _done(told["status"])
    told.check()
    if not ours or not done:
        return Batch(())
    status = StoreStatus.OPEN if on else StoreStatus.CLOSED
    return Batch(
        [UpdateStoreStatus(store=one, status=status, reopen_at=None if on else back_at, at=at) for one in every(store, source)]
    )


def _stores(told: Document, call: Call) -> Batch:
    """Of a list of stores we take whether they sell. Their hours and addresses are kept by hand."""
    commands: list[Command] = []
    problems: list[Problem] = []
    for place in told["stores"].items():
        one = place.apart()
        store = one["ref_id"].id()
        active, enabled = one["active"].flag(default=True), one["ordering_enabled"].flag(default=True)
        ours = for_us(names(one["included_platforms"]), call)
        problems += one.problems
        if not one.problems:
            open_ = active and enabled and ours
            commands.append(UpdateStoreStatus(store=store, status=StoreStatus.OPEN if open_ else StoreStatus.CLOSED))
    told.check()
    return Batch(commands, problems)


# ---------------------------------------------------------------- orders


def _order(told: Document, call: Call, source: Source) -> Batch:
    """By our number of it: in the path of what a till calls, in the body of what a hub reports."""
    theirs = told["additional_info"]["external_channel"]["order_id"].text(most=LONGEST_ID)
    number = Document(call.path["id"], "url.id", told.problems).id() if "id" in call.path else theirs or told["order_id"].id()
    if "delivery_info" in told:
        return _rider(told, call, number)
    place = told.first("new_status", "new_state")
    if place.missing and "reference_id" in told:
        told["reference_id"].id()
        told.check()
        return Batch(())  # its own number of an order that we know by ours
    word = _word(place)
    at = told["timestamp"].time(call.received_at, source.time_zone)
    message, reference = told["message"].text(), told["reference_id"].text(most=LONGEST_ID)
    beside = told["extra"]["prep_time_mins"].apart()  # what nobody can read there does not take the acceptance back
    prep = beside.whole(least=0, most=24 * 60)
    if word == TAKEN:
        commands: list[Command] = [AcceptOrder(order=number, prep_minutes=prep, reference=reference or None, at=at)]
    elif word == CANCELLED:
        commands = _turned_down(told, number, message, at)
    elif word in WORDS:
        commands = [OrderStatus(order=number, status=WORDS[word], message=message or None, at=at)]
    else:
        commands = []
        if word not in ("placed", ""):
            place.wrong(f"{word!r} is none of Acknowledged, Food Ready, Dispatched, Completed, Cancelled")
    told.check()
    return Batch(commands, beside.problems)


def _word(place: Document) -> str:
    """`Food Ready`, `food_ready` and `food-ready` are one word."""
    word = " ".join((place.text(needed=True, most=40) or "").lower().replace("_", " ").replace("-", " ").split())
    return CANCELLED if word == "canceled" else word


def _turned_down(told: Document, number: str, message: str | None, at: datetime | None) -> list[Command]:
    """For want of something: then it is off in the store too, where it is named."""
    code = (told["reason_code"].text(most=100) or "").strip().lower()
    reason, extra = REASONS.get(code, ReasonCode.OTHER), told["extra"]
    store = told["store_id"].text(most=LONGEST_ID) or extra["location_ref_id"].text(most=LONGEST_ID) or None
    items = [one.id() for place in (told, extra) for one in place["item_ref_ids"].items()]
    options = [one.id() for place in (told, extra) for one in place["option_ref_ids"].items()]
    message = message or (code.replace("_", " ") if code != "unspecified" else "") or None
    if _word_before(told) in ("", "placed"):
        named = tuple(dict.fromkeys([*items, *options]))
        no: Command = RejectOrder(order=number, reason=reason, message=message, items=named, at=at)
    else:
        no = OrderStatus(order=number, status=OrderWord.CANCELLED, reason=reason, message=message, at=at)
    if reason is not ReasonCode.OUT_OF_STOCK:
        return [no]
    return [no, *sold_out(store, items), *sold_out(store, options, EntityKind.MODIFIER)]


def _word_before(told: Document) -> str:
    return "" if told["prev_state"].missing else _word(told["prev_state"])


def _rider(told: Document, call: Call, number: str) -> Batch:
    """Where a rider of the store's own is. Until he has left with it there is nothing to tell of the order."""
    trip = told["delivery_info"].object()
    word = _word(trip["current_state"])
    who = trip["delivery_person_details"]
    name, phone = who["name"].text(most=200), who["phone"].text(most=40)
    times = [one["created"].time(call.received_at) for one in trip["status_updates"].items() if _word(one["status"]) == word]
    if word and word not in (*WORDS, *EARLIER):
        trip["current_state"].wrong(f"{word!r} is none of assigned, at-store, out-for-delivery, delivered, re-assigned")
    told.check()
    if word in EARLIER:
        return Batch(())
    at = max(filter(None, times), default=None)
    return Batch([OrderStatus(order=number, status=WORDS[word], rider_name=name or None, rider_phone=phone or None, at=at)])
