"""UrbanPiper's menus: categories, items, groups of options, and which of those are the sizes an item comes in.

A push says all there is where it flushes the items, else what it names: an item with all that is offered with it.
"""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import TypeVar

from domain.canonical import (
    Command,
    DeactivateMissing,
    StockMode,
    UpdatePrice,
    UpdateStockLevel,
    UpsertCatalogItem,
    UpsertMenuItem,
    UpsertVariant,
    taken_out,
)
from domain.catalog import Diet, ProductKind
from domain.documents import LONGEST_ID, Document
from domain.intake import Batch, Call, EntityKind, Source
from domain.pricing import Tax
from domain.refusals import Problem, invalid
from providers.urbanpiper_choices import Form, Group, Offer, Option, choice_group, form_id, forms_of, in_order, offers_of

EVERY = "-1"  # the store whose menu is every store's
DIETS = {"1": Diet.VEG, "2": Diet.NON_VEG, "3": Diet.EGG}
NOISE = Decimal("0.000001")
WHOLE_BP = 10_000
DEEPEST = 20  # categories in one another
MOST_COMMANDS = 200_000  # of one push, over all the stores that it is for
MOST_CHOICES = 1_000_000  # of all its items together: a few kilobytes can offer everything with everything
_Thing = TypeVar("_Thing")


def platform(call: Call) -> str | None:
    """What we are called among the platforms of the till, where the URL says it: `?platform=ourmarket`."""
    return call.query.get("platform", "").strip().lower() or None


def names(platforms: Document) -> set[str]:
    return {name.lower() for one in platforms.items() if (name := one.text(most=LONGEST_ID))}


def for_us(platforms: set[str], call: Call) -> bool:
    """No platforms are all of them, and who has not told us our name means us whatever they are called."""
    ours = platform(call)
    return ours is None or not platforms or ours in platforms


def every(store: str, source: Source) -> Sequence[str | None]:
    """Those that are meant. A source that has none yet speaks of whichever it will be mapped to."""
    return [store] if store != EVERY else list(source.stores) or [None]


@dataclass(frozen=True)
class _Category:
    name: str
    parent: str
    active: bool


class Menu:
    """An item with something wrong in it, or in what it is offered with, is left out and stays as it was."""

    def __init__(self, told: Document, call: Call, source: Source) -> None:
        self.call, self.platform = call, platform(call)
        named = Document(call.path.get("store") or call.query.get("store"), "url.store", told.problems)
        self.stores = every(named.text(most=LONGEST_ID) or told["location_ref_id"].text(most=LONGEST_ID) or EVERY, source)
        self.whole = bool(told["flush_items"].flag(default=False))
        self.formed = self.whole or "option_groups" in told  # else nothing is said of what an item comes in, or with
        # What no charge and no tax of a push names has none where it flushes them, else those it had.
        self.unpackaged = 0 if told["flush_charges"].flag(default=False) else None
        self.untaxed = () if told["flush_taxes"].flag(default=False) else None
        self.items = told["items"].items(needed=self.whole)
        self.problems: dict[Problem, None] = {}  # each once, however many items it spoils
        self.lost: str | None = None  # the first place where nobody can tell what is sold
        self.made = self.looked_through = 0
        self.categories = dict(map(self._category, told["categories"].items()))
        self.options = [self._option(place.apart()) for place in told["options"].items()]
        of_group = _by(self.options, lambda option: option.groups)
        self.of_group = {id: sorted(options, key=in_order) for id, options in of_group.items()}
        groups = [self._group(place.apart()) for place in told["option_groups"].items()]
        self.groups = {group.id: group for group in sorted(filter(None, groups), key=in_order)}
        self.of_item = _by(self.groups.values(), lambda group: group.items)
        self.packaging = {id: minor for place in told["charges"].items() for id, minor in self._packaging(place.apart())}
        self.taxes = self._taxes(told["taxes"].items())
        told.check()

    def batch(self) -> Batch:
        """Kind by kind, in the order of the industry's table, each for every store that is meant."""
        kinds: tuple[list[Command], ...] = ([], [], [], [], [])
        seen: set[str] = set()
        present: dict[str, None] = {}
        used: set[str] = set()
        for place in self.items:
            item = place.apart()
            id = self._id(item["ref_id"])
            again = id in seen
            if id and again:
                item["ref_id"].wrong(f"{id} comes twice")
            seen.add(id)
            groups = self.of_item.get(id, ()) if id and not again else ()
            axis = next((group for group in groups if group.sizes), None)
            offers = offers_of(id, groups, axis, self.groups, self._look_through)
            concerned = [*([axis] if axis else []), *(offer.group for offer in offers)]
            used.update(group.id for group in concerned)
            if not again:
                present.update(dict.fromkeys(form_id(id, option.id) for option in axis.options) if axis else {id: None})
            said = self._item(item, id, axis, offers)
            self._make(said)
            self._note(item)
            if not item.problems and not any(group.spoiled for group in concerned):
                for kind, more in zip(kinds, said, strict=True):
                    kind += more
        kinds[-1].extend(self._options_off_and_on(used))
        return self._batch(kinds, present)

    def _batch(self, kinds: Sequence[Sequence[Command]], present: Collection[str]) -> Batch:
        """A product is the brand's; what a store shows of it is the store's."""
        products, *rest = kinds
        commands = [*products, *(replace(command, store=store) for kind in rest for store in self.stores for command in kind)]
        problems = list(self.problems)
        if self.whole and self.lost is not None:
            problems.append(Problem("$.items", f"nothing is taken away: nobody can tell what {self.lost} is"))
        elif self.whole and (commands or not problems):
            commands += [DeactivateMissing(store=store, present=tuple(present)) for store in self.stores]
        return Batch(commands, problems)

    def _make(self, said: Sequence[Sequence[Command]]) -> None:
        """Refuses InvalidInput where it comes to too many."""
        products, *rest = said
        self.made += len(products) + len(self.stores) * sum(map(len, rest))
        if self.made > MOST_COMMANDS:
            raise invalid("$.items", f"says more than {MOST_COMMANDS} things at once, over {len(self.stores)} stores")

    def _look_through(self, group: Group) -> None:
        """As one more item does. Refuses InvalidInput where it comes to too much."""
        self.looked_through += group.weight
        if self.looked_through > MOST_CHOICES:
            raise invalid("$.option_groups", f"offers more than {MOST_CHOICES} options, with all the items together")

    # ------------------------------------------------------------ an item

    def _item(self, item: Document, id: str, axis: Group | None, offers: Sequence[Offer]) -> tuple[list[Command], ...]:
        sections = tuple(ref.id() for ref in item["category_ref_ids"].items())
        active = [self.categories[ref].active for ref in sections if ref in self.categories]
        order_types = tuple(_order_type(word) for one in item["fulfillment_modes"].items() if (word := one.text(most=100)))
        shown = self._sold(item) and (any(active) or not active) and taken_out(order_types)
        available = bool(item["available"].flag(default=True)) and shown
        count = item["current_stock"].whole(least=-1)
        image = item["img_url"].text(most=2000)
        rank = item["sort_order"].whole() or 0
        packaging = self.packaging.get(id, self.unpackaged)
        forms = forms_of(id, self._price(item, needed=True) or 0, shown, available, axis)
        if any(len(form.id) > LONGEST_ID for form in forms):
            item["ref_id"].wrong(f"is longer than {LONGEST_ID} characters together with its option's")
        product = UpsertCatalogItem(
            item=id,
            title=item["title"].text(needed=True, most=300) or "",
            kind=ProductKind.MENU_ITEM,
            description=item["description"].text(),
            diet=DIETS.get(item["food_type"].text(most=10) or ""),
            category=self._path(sections[0]) if sections else (),
            images=(image,) if image else (),
        )
        menu = UpsertMenuItem(
            item=id,
            sections=sections,
            rank=rank,
            order_types=order_types,
            packaging_minor=packaging,
            groups=tuple(choice_group(place, offer) for place, offer in enumerate(offers)),
        )
        upserts = [UpsertVariant(variant=form.id, item=id, title=form.title, rank=form.rank, active=form.shown) for form in forms]
        prices = [
            UpdatePrice(
                variant=form.id, price_minor=form.price_minor, packaging_minor=packaging, taxes=self.taxes.get(id, self.untaxed)
            )
            for form in forms
            if form.shown or not self.formed
        ]
        if not self.formed:
            return [product], [], [], [*prices], [*_stock(id, [], available, count)]
        return [product], [menu], [*upserts], [*prices], [*_stock(id, forms, available, count)]

    def _sold(self, place: Document) -> bool:
        return bool(place["sold_at_store"].flag(default=True)) and for_us(names(place["included_platforms"]), self.call)

    def _price(self, place: Document, *, needed: bool = False) -> int | None:
        """Our platform's where it has one, else the one for all."""
        included = names(place["included_platforms"])
        rows = []
        for row in place["platform_pricing"].items():
            name = (row["platform"].text(most=LONGEST_ID) or "").lower()
            if name == self.platform or (self.platform is None and (not included or name in included)):
                rows.append(row)
        said = _rupees(place["price"], needed=needed)
        # Without our name among several there is no telling which is ours.
        return _rupees(rows[0]["price"], needed=True) if rows and (self.platform or len(rows) == 1) else said

    # ------------------------------------------------------------ what items lean on

    def _note(self, place: Document) -> None:
        self.problems.update(dict.fromkeys(place.problems))

    def _id(self, place: Document) -> str:
        """Of what decides which things are sold: where it cannot be read, no push takes anything away."""
        id = place.id()
        if not id and self.lost is None:
            self.lost = place.path
        return id

    def _ids(self, place: Document) -> list[str]:
        before = len(place.problems)
        ids = [ref.id() for ref in place.items()]
        if len(place.problems) > before and self.lost is None:
            self.lost = place.path
        return ids

    def _category(self, place: Document) -> tuple[str, _Category]:
        one = place.apart()
        id = one["ref_id"].id()
        name, parent = one["name"].text(most=200) or id, one["parent_ref_id"].text(most=LONGEST_ID) or ""
        category = _Category(name, parent, bool(one["active"].flag(default=True)))
        self._note(one)
        return id, category

    def _path(self, id: str) -> tuple[str, ...]:
        """From the root down. Where it leads to a category that this push does not name, what is known of it stays."""
        names: list[str] = []
        seen: set[str] = set()
        while id and id not in seen and len(names) < DEEPEST:
            seen.add(id)
            if id not in self.categories:
                return ()
            names.insert(0, self.categories[id].name)
            id = self.categories[id].parent
        return tuple(names)

    def _option(self, one: Document) -> Option:
        option = Option(
            one,
            id=self._id(one["ref_id"]),
            title=one["title"].text(needed=True, most=200) or "",
            price_minor=self._price(one) or 0,
            available=bool(one["available"].flag(default=True)),
            sold=self._sold(one),
            rank=one["sort_order"].whole() or 0,
            groups=self._ids(one["opt_grp_ref_ids"]),
            nested=list(dict.fromkeys(ref.id() for ref in one["nested_opt_grps"].items())),
        )
        self._note(one)
        return option

    def _group(self, one: Document) -> Group | None:
        if one["active"].flag(default=True) is False:
            return None
        id = self._id(one["ref_id"])
        least, most = one["min_selectable"].whole(least=0) or 0, one["max_selectable"].whole(least=-1)
        options = self.of_group.get(id, ())
        if most is not None and 0 < most < least:
            one["min_selectable"].wrong(f"{least} is more than the most, {most}")
        if len(options) < least:
            one["min_selectable"].wrong(f"{least} have to be taken, and {len(options)} options of it are in this push")
        group = Group(
            one,
            id=id,
            title=one.first("title", "ref_title").text(most=200) or id,
            least=least,
            most=most if most is not None and most > 0 else None,
            rank=one["sort_order"].whole() or 0,
            items=frozenset(self._ids(one["item_ref_ids"])),
            options=options,
        )
        self._note(one)
        return group

    def _options_off_and_on(self, used: Collection[str]) -> list[Command]:
        """Those that are choices of what this push names. A part of a menu that names none of their items cannot say more of
        them: what an item comes with is said with the item."""
        commands: list[Command] = []
        for option in self.options:
            mine = [self.groups[id] for id in option.groups if id in self.groups]
            if any(not group.sizes and group.id in used for group in mine) and not option.place.problems:
                commands.append(
                    UpdateStockLevel(
                        id=option.id,
                        kind=EntityKind.MODIFIER,
                        mode=StockMode.AVAILABILITY,
                        available=option.available and option.sold,
                    )
                )
            if not self.whole and not any(group.id in used for group in mine):
                option.place.wrong("is of no item in this push: it is told with its groups and an item that has them")
                self._note(option.place)
        return commands

    def _packaging(self, one: Document) -> list[tuple[str, int]]:
        """Of each unit of an item. What is for the order as a whole is not the menu's."""
        on = one["structure"]["applicable_on"].text(most=100) or ""
        if one["code"].text(most=100) != "PC_F" or not on.startswith("item") or one["active"].flag(default=True) is False:
            return []
        minor = _rupees(one["structure"]["value"], needed=True)
        items = [ref.id() for ref in one["item_ref_ids"].items()]
        self._note(one)
        return [] if minor is None or one.problems else [(id, minor) for id in items]

    def _taxes(self, places: Iterable[Document]) -> Mapping[str, tuple[Tax, ...] | None]:
        """Of each item. What is wrong in one is said and keeps no item from the shelf: it is taxed as it was before."""
        found: dict[str, list[Tax]] = {}
        wrong: set[str] = set()
        for place in places:
            one = place.apart()
            tax, items = _tax(one), [ref.id() for ref in one["item_ref_ids"].items()]
            mine = [tax] if one["active"].flag(default=True) else []
            self._note(one)
            for id in dict.fromkeys(items):
                found.setdefault(id, []).extend(mine)
            if one.problems:
                wrong.update(items)
        return {id: None if id in wrong else tuple(taxes) for id, taxes in found.items()}


def _tax(one: Document) -> Tax:
    """`CGST_P` is per cent, on top of the price. Of a charge that is an amount the name would end in `_F`."""
    code, value = one["code"].text(needed=True, most=100) or "", one["structure"]["value"]
    name = one["title"].text(most=100) or code.removesuffix("_P").removesuffix("_F")
    if code.endswith("_F"):
        return Tax(name, amount_minor=_rupees(value, needed=True) or 0)
    points = _rupees(value, needed=True)  # a hundredth of a per cent is a basis point, as a hundredth of a rupee is a paisa
    if points is not None and points > WHOLE_BP:
        value.wrong(f"{value.text()} is more than all of it")
    return Tax(name, rate_bp=points or 0)


def _by(things: Iterable[_Thing], names_of: Callable[[_Thing], Iterable[str]]) -> Mapping[str, Sequence[_Thing]]:
    found: dict[str, list[_Thing]] = {}
    for thing in things:
        for name in dict.fromkeys(names_of(thing)):
            found.setdefault(name, []).append(thing)
    return found


def _rupees(place: Document, *, needed: bool = False) -> int | None:
    """A number as floats write it: 218.99999999999997 is 219.00, and 12.345 is too fine still."""
    number = place.number(needed=needed)
    if number is None:
        return None
    near = number.quantize(Decimal("0.01")) if abs(number) < Decimal(10**12) else number
    meant = near if 0 < abs(near - number) < NOISE else number
    return Document(meant, place.path, place.problems).minor()


def _order_type(word: str) -> str:
    return word.lower().replace("_", "-")


def _stock(id: str, forms: Sequence[Form], available: bool, count: int | None) -> list[UpdateStockLevel]:
    """On or off: the item at once, or size by size where some are off. How many: of what comes in one form alone, since
    nobody knows how the units of several would be shared out."""
    several = len(forms) > 1
    on = available and (not forms or any(form.available for form in forms)) and not (several and count == 0)
    if on and not all(form.available for form in forms):
        switches = [(EntityKind.VARIANT, form.id, form.available) for form in forms]
    else:
        switches = [(EntityKind.PRODUCT, id, on)]
    levels = [UpdateStockLevel(id=one, kind=kind, mode=StockMode.AVAILABILITY, available=on) for kind, one, on in switches]
    if count is None or count < 0 or several:
        return levels
    one, kind = (forms[0].id, EntityKind.VARIANT) if forms else (id, EntityKind.PRODUCT)
    return [*levels, UpdateStockLevel(id=one, kind=kind, mode=StockMode.ABSOLUTE, quantity=count)]
