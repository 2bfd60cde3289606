"""What a payload says by a profile: thing after thing, each with its commands or with what is wrong with it."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from domain.canonical import (
    AcceptOrder,
    Choice,
    ChoiceGroup,
    Command,
    DeactivateMissing,
    OrderItem,
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
    sold_out,
)
from domain.catalog import ProductKind
from domain.documents import Document, parse
from domain.intake import Call, EntityKind
from domain.merchants import SELLING, StoreStatus
from domain.orders import ReasonCode
from domain.profile_values import MOST_READ, Budget, Place, fits, found, listed, read, spread
from domain.profiles import ATTRIBUTE, ENTITY, SOURCE_TS, VERSION, As, Event, Profile, field_of
from domain.refusals import Problem
from domain.stock import StockMovementKind


@dataclass
class Line:
    """One thing of a payload, with what it says or what is wrong with it: not both."""

    id: str
    commands: Sequence[Command] = ()
    problems: Sequence[Problem] = ()


def lines_of(profile: Profile, call: Call, zone: str, zones: Mapping[str, str]) -> tuple[list[Line], list[Problem]]:
    """Refuses InvalidInput for what is no JSON. The problems beside the lines are the payload's own."""
    root = parse(call.body)
    return _Reading(root, call, zone, zones).lines(profile)


@dataclass(frozen=True)
class _Inherited:
    """What a thing has from what it stands in, unless it says otherwise."""

    store: str | None = None
    at: Any = None


@dataclass
class _Size:
    """What is sold of an item: a form of it, or the item itself. `groups` are its own choices."""

    id: str
    told: "_Thing"
    groups: list[ChoiceGroup] = field(default_factory=list)


class _Reading:
    def __init__(self, root: Document, call: Call, zone: str, zones: Mapping[str, str]) -> None:
        self.root, self.call, self.zone, self.zones = root, call, zone, zones
        self.budget = Budget(MOST_READ)

    def lines(self, profile: Profile) -> tuple[list[Line], list[Problem]]:
        """What several events are for need not all be there; something of them must, and all of what is whole."""
        fitting, there = False, False
        lines: list[Line] = []
        missing: list[tuple[Event, Problem]] = []
        for event in profile.events:
            if event.endpoints and self.call.door not in event.endpoints:
                continue
            place = self.place(self.root)
            if event.condition and (event.condition.path.rooted or event.each is None) and not fits(event.condition, place):
                continue
            fitting = True
            if event.each is not None:
                first = listed(event.each, place)
                if first.told is None:
                    missing.append((event, Problem(first.path, "is missing")))
                    continue
            there = True
            lines += self._lines(event, place)
        if self.root.problems:
            return [], list(self.root.problems)
        if not fitting:
            return [], [Problem("$", f"no event of the profile fits it, at {self.call.door}")]
        return lines, [problem for event, problem in missing if event.whole or not there]

    def place(self, here: Document) -> Place:
        return Place(here, Document(self.root.told, "$", here.problems), self.call.received_at, self.zone, self.budget)

    def _lines(self, event: Event, place: Place) -> list[Line]:
        found: list[Line] = []
        present: dict[str | None, list[str]] = {}
        lost: str | None = None  # the first thing of which nobody can tell what is sold
        for here in spread(event.each, place) if event.each else [self.root]:
            one = here.apart()
            if not fits(event.condition, self.place(one)):
                continue
            thing = _Thing(self, event, self.place(one), _Inherited())
            line = Line(thing.id, problems=one.problems)
            commands = thing.commands()
            if event.whole:
                sold = thing.present()
                if lost is None and (thing.homeless or not all(sold)):
                    lost = one.path
                present.setdefault(thing.store, []).extend(sold)
            if not one.problems:
                line.commands = commands
            found.append(line)
        if lost is not None:
            told = f"nothing is taken away: nobody can tell what {lost} is"
            found.append(Line("", problems=[Problem(listed(event.each, place).path if event.each else "$", told)]))
        elif event.whole and (any(line.commands for line in found) or not any(line.problems for line in found)):
            stores = present or {_Thing(self, event, self.place(self.root.apart()), _Inherited()).store: []}
            missing = [DeactivateMissing(store=store, present=tuple(dict.fromkeys(ids))) for store, ids in stores.items()]
            found.append(Line("", missing))
        return found


class _Thing:
    """One thing that an event names, and its fields as they are asked for."""

    def __init__(self, reading: _Reading, event: Event, place: Place, inherited: _Inherited) -> None:
        place.budget.spend(1 + len(event.fields))
        self.reading, self.event, self.place = reading, event, place
        self.command = event.command
        before = len(place.here.problems)
        store = self.get("store")
        self.homeless = len(place.here.problems) > before  # nobody can read in which store it is
        id = ""
        if event.entity_id is not None:
            id = read(event.entity_id, ENTITY, place) or ""
        if store is None and self.command == "UpdateStoreStatus":
            store = id or None
        self.id = id
        self.store: str | None = inherited.store if store is None else store
        self.zone = reading.zones.get(self.store or "", place.zone)
        self.place = place = Place(place.here, place.root, place.received_at, self.zone, place.budget)
        at = read(event.source_ts, SOURCE_TS, place)
        self.at = inherited.at if at is None else at
        self.version: int | None = read(event.version, VERSION, place)

    def __contains__(self, name: str) -> bool:
        return name in self.event.fields

    def get(self, name: str) -> Any:
        shape = field_of(self.command, name)
        if shape is None or name not in self.event.fields:
            return () if shape is not None and shape.kind is As.LIST else None
        return read(self.event.fields[name], shape, self.place)

    def wrong(self, name: str, message: str) -> None:
        """Of the place that a field is read from."""
        value = self.event.fields.get(name)
        (found(value, self.place) if value is not None else self.place.here).wrong(message)

    @property
    def said(self) -> dict[str, Any]:
        return {"store": self.store, "at": self.at, "version": self.version}

    def children(self, command: str) -> Iterator["_Thing"]:
        for event in self.event.children:
            if event.command == command:
                yield from self._each(event)

    def _each(self, event: Event) -> Iterator["_Thing"]:
        for here in spread(event.each, self.place) if event.each else [self.place.here]:
            place = self.place.into(here)
            if fits(event.condition, place):
                yield _Thing(self.reading, event, place, _Inherited(self.store, self.at))

    # ------------------------------------------------------------ what it says

    def commands(self) -> list[Command]:
        match self.command:
            case None:
                return [command for event in self.event.children for one in self._each(event) for command in one.commands()]
            case "UpsertCatalogItem" | "UpsertMenuItem":
                return self._item()
            case "UpsertVariant":
                return self._variants([_Size(self.id, self)], self.get("item") or self.id, active=True)
            case "UpdatePrice":
                return self._price(self.id, active=True)
            case "UpdateStockLevel":
                return self._stock()
            case "UpdateStoreStatus":
                return self._status()
            case "AcceptOrder":
                return [
                    AcceptOrder(**self.said, order=self.id, prep_minutes=self.get("prep_minutes"), reference=self.get("reference"))
                ]
            case "RejectOrder":
                return self._rejected()
            case _:
                return self._order()

    def present(self) -> list[str]:
        """The variants that a whole push names, also where it says something wrong of them. "" is one that nobody can read."""
        if self.command == "UpsertVariant":
            return [self.id]
        apart = self.reading.place(self.place.here.apart())
        events = [event for event in self.event.children if event.command == "UpsertVariant"]
        for event in events:
            for _ in spread(event.each, apart) if event.each else ():
                pass
        if apart.here.problems:
            return [""]  # what should be a list is none
        thing = _Thing(self.reading, self.event, apart, _Inherited())
        return [one.id for event in events for one in thing._each(event)] or [self.id]

    def _item(self) -> list[Command]:
        menu, active = self.command == "UpsertMenuItem", self._yes("active")
        sizes = [_Size(one.id, one) for one in self.children("UpsertVariant")]
        own = not sizes
        if own and ("title" in self or "price" in self):
            sizes = [_Size(self.id, self)]
        commands: list[Command] = []
        if "title" in self:
            commands.append(self._product(menu=menu))
        if menu:
            commands.append(self._menu(sizes, own=own))
        commands += self._variants(sizes, self.id, active=active)
        if menu or not own:
            commands += self._availability(active=active)
        return commands

    def _availability(self, *, active: bool) -> list[Command]:
        """Of the item with all its forms: what is off the menu is off, too."""
        available = self.get("available")
        if available is None and "active" not in self:
            return []
        on = active and available is not False
        return [UpdateStockLevel(**self.said, id=self.id, kind=EntityKind.PRODUCT, mode=StockMode.AVAILABILITY, available=on)]

    def _yes(self, name: str) -> bool:
        told = self.get(name)
        return True if told is None else bool(told)

    def _product(self, *, menu: bool) -> UpsertCatalogItem:
        title = self.get("title")
        if title is None and not self.place.here.problems:
            self.wrong("title", "is missing")
        attributes = [name for name in self.event.fields if name.startswith(ATTRIBUTE)]
        told = ((name.removeprefix(ATTRIBUTE), self.get(name)) for name in attributes)
        return UpsertCatalogItem(
            **self.said,
            item=self.id,
            title=title or "",
            kind=ProductKind.MENU_ITEM if menu else ProductKind.GOOD,
            description=self.get("description"),
            brand=self.get("brand"),
            diet=self.get("diet"),
            category=self.get("category"),
            images=self.get("images"),
            attributes=tuple((name, text) for name, text in told if text is not None),
        )

    def _menu(self, sizes: Sequence[_Size], *, own: bool) -> UpsertMenuItem:
        groups = [group for rank, one in enumerate(self.children("ChoiceGroup")) if (group := one.group((), rank))]
        if not own:
            for size in sizes:
                more = [one.group((size.id,), len(groups) + rank) for rank, one in enumerate(size.told.children("ChoiceGroup"))]
                groups += [group for group in more if group]
        return UpsertMenuItem(
            **self.said,
            item=self.id,
            sections=self.get("sections"),
            rank=self.get("rank") or 0,
            order_types=self.get("order_types"),
            packaging_minor=self.get("packaging"),
            prep_minutes=self.get("prep_minutes"),
            groups=tuple(groups),
        )

    def group(self, variants: tuple[str, ...], rank: int) -> ChoiceGroup | None:
        choices = tuple(
            Choice(
                id=one.id,
                title=one.get("title") or "",
                price_minor=one.get("price") or 0,
                active=one._yes("active"),
                rank=one.get("rank") or place,
            )
            for place, one in enumerate(self.children("Choice"))
        )
        least, most = self.get("min") or 0, self.get("max") or len(choices)
        if least > most:
            self.wrong("min", f"{least} is more than the most, {most}")
        if not self._yes("active"):
            return None
        return ChoiceGroup(
            id=self.id,
            title=self.get("title") or self.id,
            least=least,
            most=most,
            choices=choices,
            variants=variants or self.get("variants"),
            rank=self.get("rank") or rank,
        )

    def _variants(self, sizes: Sequence[_Size], item: str, *, active: bool) -> list[Command]:
        """By kinds, as a till says them: the variants, then their prices, then what there is of each."""
        upserts: list[Command] = []
        prices: list[Command] = []
        stock: list[Command] = []
        for size in sizes:
            told, itself = size.told, size.told is self and self.command != "UpsertVariant"
            shown = active and told._yes("active")
            upserts.append(
                UpsertVariant(
                    **told.said,
                    variant=size.id,
                    item=item,
                    title="" if itself else told.get("title") or "",
                    barcode=told.get("barcode"),
                    unit=told.get("unit"),
                    rank=0 if itself else told.get("rank") or 0,
                    active=shown,
                )
            )
            if "price" in told:
                prices += told._price(size.id, active=shown, packaging=self.get("packaging"))
            stock += told._levels(size.id, menu=itself and self.command == "UpsertMenuItem")
        return [*upserts, *prices, *stock]

    def _price(self, id: str, *, active: bool, packaging: int | None = None) -> list[Command]:
        price, mrp = self.get("price"), self.get("mrp")
        if price is None:
            if active and found(self.event.fields["price"], self.place).missing:
                self.wrong("price", "is missing")
            return []
        if mrp is not None and price > mrp:
            self.wrong("price", f"{price / 100:.2f} is above the MRP, {mrp / 100:.2f}")
        starts = self.get("effective_from")
        own = self.get("packaging")
        if not active:
            return []
        return [
            UpdatePrice(
                **self.said,
                variant=id,
                price_minor=price,
                mrp_minor=mrp,
                packaging_minor=packaging if own is None else own,
                currency=(self.get("currency") or "INR").upper(),
                effective_from=starts if starts is not None and starts > self.place.received_at else None,
            )
        ]

    def _levels(self, id: str, *, menu: bool) -> list[Command]:
        """Of a thing to sell: how many there are, and whether it is on."""
        levels: list[Command] = []
        quantity = self.get("quantity")
        if quantity is not None:
            levels.append(UpdateStockLevel(**self.said, id=id, mode=StockMode.ABSOLUTE, quantity=quantity))
        available = None if menu else self.get("available")
        if available is not None:
            levels.append(UpdateStockLevel(**self.said, id=id, mode=StockMode.AVAILABILITY, available=available))
        return levels

    def _stock(self) -> list[Command]:
        mode = self.get("mode") or (StockMode.ABSOLUTE if "quantity" in self else StockMode.AVAILABILITY)
        kind, reason = self.get("kind") or EntityKind.VARIANT, self.get("reason") or ""
        if mode is StockMode.AVAILABILITY:
            available = self._needed("available")
            back_at = self.get("restore_at")
            if available is None:
                return []
            over = available or (back_at is not None and back_at <= self.place.received_at)
            return [
                UpdateStockLevel(
                    **self.said,
                    id=self.id,
                    kind=kind,
                    mode=mode,
                    available=available,
                    restore_at=None if over else back_at,
                    reason=reason,
                )
            ]
        quantity = self._needed("quantity")
        if quantity is None:
            return []
        if mode is StockMode.ABSOLUTE and quantity < 0:
            self.wrong("quantity", f"{quantity} is out of range")
        if kind is EntityKind.MODIFIER:
            self.wrong("kind", "a choice is on or off: it has no quantity")
        usual = StockMovementKind.COUNTED if mode is StockMode.ABSOLUTE else StockMovementKind.ADJUSTED
        movement = usual if mode is StockMode.ABSOLUTE else self.get("movement") or usual
        return [
            UpdateStockLevel(**self.said, id=self.id, kind=kind, mode=mode, quantity=quantity, movement=movement, reason=reason)
        ]

    def _needed(self, name: str) -> Any:
        told = self.get(name)
        if told is None and (name not in self or found(self.event.fields[name], self.place).missing):
            self.wrong(name, "is missing" if name in self else f"has no {name}, and that is what its mode needs")
        return told

    def _status(self) -> list[Command]:
        status: StoreStatus | None = self.get("status")
        if status is None and "open" in self:
            open_ = self._needed("open")
            status = None if open_ is None else StoreStatus.OPEN if open_ else StoreStatus.CLOSED
        elif status is None:
            self._needed("status")
        until, reason = self.get("reopen_at"), self.get("reason")
        if status is None:
            return []
        selling = status in SELLING
        over = selling or (until is not None and until <= self.place.received_at)
        said = UpdateStoreStatus(**self.said, status=status, reason=None if selling else reason, reopen_at=None if over else until)
        return [said]

    def _rejected(self) -> list[Command]:
        items = self.get("items")
        reason = self.get("reason") or (ReasonCode.OUT_OF_STOCK if items else ReasonCode.OTHER)
        said = RejectOrder(**self.said, order=self.id, reason=reason, message=self.get("message"), items=items)
        return [said, *sold_out(self.store, items)]

    def _order(self) -> list[Command]:
        status = self.get("status")
        items = tuple(OrderItem(id=id) for id in self.get("items"))
        if status is None:
            return []
        if status in (OrderWord.ITEM_SHORT, OrderWord.ITEM_CANCELLED) and not items:
            self.wrong("items", "is empty: these are short")
        return [
            OrderStatus(
                **self.said,
                order=self.id,
                status=status,
                message=self.get("message"),
                reason=self.get("reason") or ReasonCode.OTHER,
                rider_name=self.get("rider_name"),
                rider_phone=self.get("rider_phone"),
                items=items,
            )
        ]
