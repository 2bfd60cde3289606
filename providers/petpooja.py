"""PetPooja, Online Ordering API v2.1.0: a whole menu pushed, items switched on and off, the outlet's status, what became of orders.

It signs nothing: the URL's token says whose call it is, and the restID must be one of that source's. It sends no ids, no
versions and no times of its news; rupees and flags come as text.
"""

from collections.abc import Collection, Mapping, Sequence
from datetime import timedelta
from uuid import UUID
from zoneinfo import ZoneInfo

from domain.canonical import (
    AcceptOrder,
    Choice,
    ChoiceGroup,
    Command,
    DeactivateMissing,
    OrderStatus,
    OrderWord,
    RejectOrder,
    StockMode,
    UpdatePrice,
    UpdateStockLevel,
    UpdateStoreStatus,
    UpsertCatalogItem,
    UpsertMenuItem,
    UpsertVariant,
    taken_out,
)
from domain.catalog import Diet, ProductKind
from domain.documents import Document, parse
from domain.intake import Answer, Batch, Call, EntityKind, Family, Question, Source
from domain.merchants import SELLING, StoreStatus
from domain.orders import ReasonCode
from domain.pricing import Tax
from domain.proofs import URL_TOKEN
from domain.refusals import Problem, Refused, Unauthenticated, invalid

DIETS = {"1": Diet.VEG, "2": Diet.NON_VEG, "24": Diet.EGG}
ORDER_TYPES = {"1": "delivery", "2": "pickup", "3": "dine-in"}
MENU, INVENTORY, STATUS, ASKED, ORDER = "menu", "inventory", "store-status", "get-store-status", "order-status"
DONE = {MENU: "Menu accepted", INVENTORY: "Stock updated", ORDER: "Order status updated"}
MOST_CHOICES = 1_000_000  # of all its items together: a few kilobytes can offer everything with everything
CANCELLED, ACCEPTED = "-1", frozenset({"1", "2", "3"})
BECAME = {"4": OrderWord.DISPATCHED, "5": OrderWord.READY, "10": OrderWord.DELIVERED}
# A reason is a sentence somebody at the till has written: what it says first of these counts.
REASONS = (
    (("out of stock", "not available", "unavailable", "finished", "sold out"), ReasonCode.OUT_OF_STOCK),
    (("closing", "closed", "closes"), ReasonCode.CLOSING),
    (("busy", "rush", "kitchen is full"), ReasonCode.TOO_BUSY),
    (("customer",), ReasonCode.CUSTOMER_ASKED),
    (("rider", "delivery boy", "vehicle"), ReasonCode.VEHICLE),
    (("far", "distance", "out of range"), ReasonCode.TOO_FAR),
)


class Petpooja:
    provider, family, proof = "petpooja", Family.POS, URL_TOKEN
    endpoints: Mapping[str, str] = {
        MENU: "webhooks/menu",
        INVENTORY: "webhooks/inventory",
        STATUS: "webhooks/store-status",
        ASKED: "get_store_status",
        ORDER: "webhooks/order-status",
    }
    doors: Mapping[str, str] = {
        **{path: door for door, path in endpoints.items()},
        **dict.fromkeys(("push_menu", "pushmenu", "push-menu"), MENU),
        **dict.fromkeys(("item_stock", "item_stock_off"), INVENTORY),
        "update_store_status": STATUS,
        **dict.fromkeys(("order_callback", "callback"), ORDER),
        "webhooks/get-store-status": ASKED,
    }
    questions: Collection[str] = frozenset({ASKED})

    def verify(self, call: Call, source: Source) -> None:
        """A source that is mapped to no outlet yet takes any: what it says waits for the mapping."""
        rest_id = _rest_id(call)
        if source.stores and rest_id not in source.stores:
            raise Refused(Unauthenticated("Unknown restID"))

    def event_id(self, call: Call) -> str | None:
        return None

    def translate(self, call: Call, source: Source) -> Batch | Question:
        told = _told(call)
        if call.door == ASKED or (call.door == STATUS and "store_status" not in told):
            return Question(_rest_id(call))
        if call.door == MENU:
            return Menu(told, source).batch()
        if call.door == INVENTORY:
            return Batch(_switches(told, call, source))
        if call.door == ORDER:
            return _order(told)
        return Batch([_status(told, call, source)])

    def acknowledge(self, call: Call, payload_id: UUID) -> Answer:
        return _answer(call, 200, "1", "success", DONE.get(call.door, "Status updated"))

    def refuse(self, call: Call, status: int, message: str) -> Answer:
        if call.door == ORDER and status in (400, 409, 422):
            # It is kept, and sent again it would be no better: whoever gets no 200 for an order tries for ever, or gives up on us.
            return _answer(call, 200, "0", "failed", message)
        # It knows of 400 alone where we would say more: whose restID this is, what is wrong with the body.
        return _answer(call, 400 if status in (401, 403, 409, 422) else status, "0", "failed", message)

    def answer(self, call: Call, status: StoreStatus) -> Answer:
        open_ = status in SELLING
        body = {
            "http_code": "200",
            "status": "success",
            "store_status": "1" if open_ else "0",
            "message": "Open" if open_ else "Closed",
        }
        return Answer(200, body)


def _answer(call: Call, http: int, flag: str, status: str, message: str) -> Answer:
    if call.door == MENU:
        return Answer(http, {"success": flag, "message": message})
    code = "code" if call.door == INVENTORY else "http_code"
    return Answer(http, {code: str(http), "status": status, "message": message})


def _told(call: Call) -> Document:
    """One integrator asks with GET and the restID in the query."""
    told = parse(call.body) if call.body.strip() else Document(dict(call.query), "$", [])
    told.object().check()
    return told


def _rest_id(call: Call) -> str:
    told = _told(call)
    place = told["restID"]
    if place.missing and call.door == MENU:
        outlets = told["restaurants"].items(needed=True)
        place = (outlets[0] if outlets else told["restaurants"])["details"]["menusharingcode"]
    rest_id = place.id()
    told.check()
    return rest_id


# ---------------------------------------------------------------- on and off


def _switches(told: Document, call: Call, source: Source) -> Sequence[Command]:
    """Absolute: on or off, until a time of the outlet's clock or until told otherwise."""
    rest_id = told["restID"].id()
    zone = source.stores.get(rest_id, source.time_zone)
    kind = told["type"].text() or "item"
    if kind not in ("item", "addon"):
        told["type"].wrong("is neither item nor addon")
    on = told["inStock"].flag(needed=True)
    ids = [item.id() for item in told["itemID"].items(needed=True)]
    if not ids and not told.problems:
        told["itemID"].wrong("is empty")
    back_at = None
    if on is False:
        when = (told["autoTurnOnTime"].text() or "").lower()
        if when == "custom":
            back_at = told["customTurnOnTime"].time(call.received_at, zone, ahead=True)
        elif when == "endofday":
            local = call.received_at.astimezone(ZoneInfo(zone))
            back_at = (local + timedelta(days=1)).replace(hour=0, minute=0, second=0, microsecond=0)
        if back_at is not None and back_at <= call.received_at:
            back_at = None  # a time that is over says nothing
    told.check()
    return [
        UpdateStockLevel(
            store=rest_id,
            id=id,
            kind=EntityKind.MODIFIER if kind == "addon" else EntityKind.PRODUCT,
            mode=StockMode.AVAILABILITY,
            available=on,
            restore_at=back_at,
        )
        for id in dict.fromkeys(ids)
    ]


def _status(told: Document, call: Call, source: Source) -> UpdateStoreStatus:
    rest_id = told["restID"].id()
    open_ = told["store_status"].flag(needed=True)
    zone = source.stores.get(rest_id, source.time_zone)
    reopen_at = told["turn_on_time"].time(call.received_at, zone, ahead=True)
    reason = told["reason"].text()
    told.check()
    if open_:
        return UpdateStoreStatus(store=rest_id, status=StoreStatus.OPEN)
    if reopen_at is not None and reopen_at <= call.received_at:
        reopen_at = None
    return UpdateStoreStatus(store=rest_id, status=StoreStatus.CLOSED, reason=reason, reopen_at=reopen_at)


# ---------------------------------------------------------------- what became of an order


def _order(told: Document) -> Batch:
    """`orderID` is our own number of it. A preparation time that cannot be read is left out: the order is accepted all the same."""
    rest_id, order = told["restID"].id(), told["orderID"].id()
    status = told["status"].text(needed=True, most=20) or ""
    message = told["cancel_reason"].text()
    rider_name, rider_phone = told["rider_name"].text(), told["rider_phone_number"].text()
    if status and status not in BECAME and status not in ACCEPTED and status != CANCELLED:
        told["status"].wrong(f"{status!r} is none of -1, 1, 2, 3, 4, 5, 10")
    told.check()
    if status == CANCELLED:
        return Batch([RejectOrder(store=rest_id, order=order, reason=_reason(message), message=message)])
    if status in ACCEPTED:
        prep = told["minimum_prep_time"].apart()
        minutes = prep.whole(least=0)
        return Batch([AcceptOrder(store=rest_id, order=order, prep_minutes=minutes)], prep.problems)
    return Batch([OrderStatus(store=rest_id, order=order, status=BECAME[status], rider_name=rider_name, rider_phone=rider_phone)])


def _reason(message: str | None) -> ReasonCode:
    said = (message or "").lower()
    return next((reason for words, reason in REASONS if any(word in said for word in words)), ReasonCode.OTHER)


# ---------------------------------------------------------------- the menu


class Menu:
    """The whole menu of one outlet. An item with something wrong in it is left out, and stays as it was."""

    def __init__(self, told: Document, source: Source) -> None:
        self.told = told
        outlets = told["restaurants"].items(needed=True)
        items = told["items"].items(needed=True)
        told.check()
        if len(outlets) != 1:
            told["restaurants"].wrong(f"has {len(outlets)} outlets, not one")
        told.check()
        self.outlet = outlets[0]
        self.items = items
        self.rest_id = self.outlet["details"]["menusharingcode"].id() or told["restID"].id()
        self.packaged = (self.outlet["details"]["packaging_applicable_on"].text() or "ITEM").upper() == "ITEM"
        self.problems: list[Problem] = []
        self.tax_problems: set[Problem] = set()  # of those
        self.parents = {one["id"].id(): one["name"].text() or "" for one in told["parentcategories"].items()}
        self.categories = {one["categoryid"].id(): self._category(one) for one in told["categories"].items()}
        self.attributes = {one["attributeid"].id(): one["attribute"].text() or "" for one in told["attributes"].items()}
        self.groups = {one["addongroupid"].id(): one for one in told["addongroups"].items()}
        self.taxes = {one["taxid"].id(): one for one in told["taxes"].items()}
        self.offers: dict[str, tuple[str, tuple[Choice, ...], Sequence[Problem]]] = {}  # of the groups that were asked for
        self.offered = 0
        told.check()

    def _category(self, one: Document) -> tuple[str, ...]:
        parent = self.parents.get(one["parent_category_id"].text() or "", "")
        return tuple(name for name in (parent, one["categoryname"].text() or "") if name)

    def batch(self) -> Batch:
        """In the order of the industry's table, kind by kind."""
        kinds: tuple[list[Command], ...] = ([], [], [], [], [])
        present: list[str] = []
        lost: str | None = None  # the first place where nobody can tell what is sold
        seen: set[str] = set()
        for one in self.items:
            item = one.apart()
            id = item["itemid"].id()
            if id in seen:
                item["itemid"].wrong(f"{id} comes twice")
            seen.add(id)
            before = len(item.problems)
            variants = item["variation"].items()
            sold = [variant["id"].apart().id() for variant in variants] or [id]
            if lost is None and (len(item.problems) > before or not all(sold)):
                lost = item.path
            present += sold
            said = self._item(item, id, variants) if not item.problems else None
            if said is None or item.problems:
                self.problems += item.problems
                continue
            for kind, more in zip(kinds, said, strict=True):
                kind += more
        commands: list[Command] = [command for kind in kinds for command in kind]
        if commands or not self.problems:
            commands = [*self._open(), *commands]
            if lost is None:
                commands.append(DeactivateMissing(store=self.rest_id, present=tuple(present)))
        if lost is not None:
            self.problems.append(Problem("$.items", f"nothing is taken away: nobody can tell what {lost} is"))
        return Batch(commands, self.problems)

    def _open(self) -> list[Command]:
        active = self.outlet["active"].flag()
        if active is None:
            return []
        return [UpdateStoreStatus(store=self.rest_id, status=StoreStatus.OPEN if active else StoreStatus.CLOSED)]

    def _item(self, item: Document, id: str, variants: Sequence[Document]) -> tuple[list[Command], ...]:
        order_types = _order_types(item)
        active = bool(item["active"].flag(default=True)) and taken_out(order_types)
        in_stock = bool(item["in_stock"].flag(default=True))
        category = self.categories.get(item["item_categoryid"].text() or "", ())
        image = item["item_image_url"].text()
        rank = item["itemrank"].whole() or 0
        packaging = item["item_packingcharges"].minor() if self.packaged else None
        product = UpsertCatalogItem(
            store=self.rest_id,
            item=id,
            title=item["itemname"].text(needed=True, most=300) or "",
            kind=ProductKind.MENU_ITEM,
            description=item["itemdescription"].text(),
            diet=self._diet(item),
            category=category,
            images=(image,) if image else (),
        )
        sizes = [self._size(variant) for variant in variants] or [
            _Size(id, "", item["price"].minor(needed=True), active=True, packaging=packaging, rank=0, told=item)
        ]
        shown = [size for size in sizes if active and size.active]
        menu = UpsertMenuItem(
            store=self.rest_id,
            item=id,
            sections=tuple(filter(None, [item["item_categoryid"].text()])),
            rank=rank,
            order_types=order_types,
            packaging_minor=packaging,
            prep_minutes=item["minimumpreparationtime"].whole(least=0),
            groups=tuple(self._groups(item, sizes)),
        )
        upserts = [
            UpsertVariant(
                store=self.rest_id,
                variant=size.id,
                item=id,
                title=size.title,
                rank=size.rank,
                active=active and size.active,
                size_id=size.size_id,
            )
            for size in sizes
        ]
        taxes = self._taxes(item)
        prices = [
            UpdatePrice(
                store=self.rest_id,
                variant=size.id,
                price_minor=size.price_minor,
                packaging_minor=packaging if size.packaging is None else size.packaging,
                taxes=taxes,
            )
            for size in shown
            if size.price_minor is not None
        ]
        stock = UpdateStockLevel(
            store=self.rest_id, id=id, kind=EntityKind.PRODUCT, mode=StockMode.AVAILABILITY, available=active and in_stock
        )
        return [product], [menu], [*upserts], [*prices], [stock]

    def _taxes(self, item: Document) -> tuple[Tax, ...] | None:
        """What is wrong in them is said and keeps no item from the shelf: it is taxed as it was before."""
        told = item["item_tax"].apart()
        ids = [id.strip() for id in (told.text() or "").split(",") if id.strip()]
        if item["ignore_taxes"].apart().flag():
            return ()
        inclusive = bool(item["tax_inclusive"].apart().flag())
        taxes = []
        for id in ids:
            tax = self.taxes.get(id)
            if tax is None:
                told.wrong(f"{id} is no tax of this menu")
                continue
            one = Document(tax.told, tax.path, told.problems)
            if one["active"].flag(default=True):
                taxes.append(_tax(one, inclusive))
        self.problems += [problem for problem in told.problems if problem not in self.tax_problems]  # one tax is many items'
        self.tax_problems.update(told.problems)
        return None if told.problems or item["item_tax"].missing else tuple(taxes)

    def _diet(self, item: Document) -> Diet | None:
        id = item["item_attributeid"].text() or ""
        word = self.attributes.get(id, "").lower().replace("-", "").replace(" ", "")
        return {"veg": Diet.VEG, "nonveg": Diet.NON_VEG, "egg": Diet.EGG, "vegan": Diet.VEGAN}.get(word) or DIETS.get(id)

    def _size(self, variant: Document) -> "_Size":
        return _Size(
            variant["id"].id(),
            variant["name"].text(most=200) or "",
            variant["price"].minor(needed=True),
            active=bool(variant["active"].flag(default=True)),
            packaging=variant["item_packingcharges"].minor() if self.packaged else None,
            rank=variant["variationrank"].whole() or 0,
            told=variant,
            size_id=variant["variationid"].apart().text(most=100) or None,
        )

    def _groups(self, item: Document, sizes: Sequence["_Size"]) -> list[ChoiceGroup]:
        """Add-ons hang on the item or on each of its variations; how many may be chosen belongs to the link."""
        if item["itemallowaddon"].flag(default=True) is False:
            return []
        links: list[tuple[Document, tuple[str, ...]]] = [(link, ()) for link in item["addon"].items()]
        links += [(link, (size.id,)) for size in sizes if size.told is not item for link in size.told["addon"].items()]
        return [group for rank, (link, variants) in enumerate(links) if (group := self._group(link, variants, rank))]

    def _group(self, link: Document, variants: tuple[str, ...], rank: int) -> ChoiceGroup | None:
        id = link["addon_group_id"].id()
        group = self.groups.get(id)
        if group is None:
            link["addon_group_id"].wrong(f"{id} is no group of this menu")
            return None
        if group["active"].flag(default=True) is False:
            return None
        title, choices = self._choices(id, group, link)
        self.offered += len(choices)
        if self.offered > MOST_CHOICES:
            raise invalid("$.addongroups", f"offer more than {MOST_CHOICES} add-ons, with all the items together")
        least = link["addon_item_selection_min"].whole(least=0) or 0
        most = link["addon_item_selection_max"].whole(least=0) or len(choices)  # 0 is how no limit is written
        if least > most:
            link["addon_item_selection_min"].wrong(f"{least} is more than the most, {most}")
        return ChoiceGroup(id=id, title=title, least=least, most=most, choices=choices, variants=variants, rank=rank)

    def _choices(self, id: str, group: Document, link: Document) -> tuple[str, tuple[Choice, ...]]:
        """A group's title and its add-ons, the same for all that link to it. What is wrong there is told in full with the first
        of these."""
        known = self.offers.get(id)
        if known is not None:
            title, choices, problems = known
            link.problems += problems[:1]
            return title, choices
        apart = group.apart()
        choices = tuple(
            Choice(
                id=one["addonitemid"].id(),
                title=one["addonitem_name"].text(needed=True, most=200) or "",
                price_minor=one["addonitem_price"].minor() or 0,
                active=bool(one["active"].flag(default=True)),
                rank=one["addonitem_rank"].whole() or 0,
            )
            for one in apart["addongroupitems"].items()
        )
        title = apart["addongroup_name"].text(most=200) or id
        self.offers[id] = title, choices, apart.problems
        link.problems += apart.problems
        return title, choices


def _tax(told: Document, inclusive: bool) -> Tax:
    code = told["taxname"].text(needed=True, most=100) or ""
    inclusive = inclusive or told["tax_taxtype"].text() == "2"  # backward: in the price
    if told["taxtype"].text() == "2":
        return Tax(code, inclusive=inclusive, amount_minor=told["tax"].minor(needed=True) or 0)
    points = told["tax"].minor(needed=True)  # a hundredth of a per cent is a basis point, as a hundredth of a rupee is a paisa
    if points is not None and points > 10_000:
        told["tax"].wrong(f"{told['tax'].text()} is more than all of it")
    return Tax(code, rate_bp=points or 0, inclusive=inclusive)


def _order_types(item: Document) -> tuple[str, ...]:
    words = (word.strip() for word in (item["item_ordertype"].text() or "").split(","))
    return tuple(ORDER_TYPES.get(word, word) for word in words if word)


class _Size:
    """A variation, or the item itself where it has none."""

    def __init__(
        self, id: str, title: str, price_minor: int | None, *, active: bool, packaging: int | None, rank: int, told: Document,
        size_id: str | None = None,
    ) -> None:  # fmt: skip
        self.id, self.title, self.price_minor, self.size_id = id, title, price_minor, size_id
        self.active, self.packaging, self.rank, self.told = active, packaging, rank, told
