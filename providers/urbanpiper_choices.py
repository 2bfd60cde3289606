"""What UrbanPiper's items offer: groups of options, the sizes that an item comes in, and groups under an option of another."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from domain.canonical import Choice, ChoiceGroup, formed
from domain.documents import Document


@dataclass(frozen=True)
class Option:
    place: Document
    id: str
    title: str
    price_minor: int
    available: bool
    sold: bool
    rank: int
    groups: Sequence[str]
    nested: Sequence[str]


@dataclass(frozen=True)
class Group:
    """`most` None is no limit."""

    place: Document
    id: str
    title: str
    least: int
    most: int | None
    rank: int
    items: Collection[str]
    options: Sequence[Option]

    @property
    def sizes(self) -> bool:
        """One of them has to be taken, and only one: they are what the item comes in."""
        return self.least == 1 and self.most == 1

    @cached_property
    def spoiled(self) -> bool:
        """As every item that offers it is. What is wrong is noted as it is read."""
        return bool(self.place.problems) or any(option.place.problems for option in self.options)

    @cached_property
    def weight(self) -> int:
        """What it costs to look through it."""
        return 1 + sum(1 + len(option.nested) for option in self.options)

    @cached_property
    def choices(self) -> tuple[Choice, ...]:
        """The same for all the items that offer it."""
        return tuple(
            Choice(id=option.id, title=option.title, price_minor=option.price_minor, active=option.sold, rank=option.rank)
            for option in self.options
        )


@dataclass(frozen=True)
class Offer:
    """A group as an item offers it: with these of its forms, or with all; `needed` as its numbers say, or not at all."""

    group: Group
    variants: tuple[str, ...] = ()
    needed: bool = True


@dataclass(frozen=True)
class Form:
    """An item in one of its sizes, or as it is."""

    id: str
    title: str
    rank: int
    price_minor: int
    shown: bool
    available: bool


def in_order(one: Option | Group) -> tuple[bool, int]:
    """0 is no place: such come last, as they were told."""
    return one.rank <= 0, one.rank


def form_id(item: str, option: str) -> str:
    return formed(item, option) if item and option else ""


def forms_of(id: str, price_minor: int, shown: bool, available: bool, axis: Group | None) -> list[Form]:
    """What it is sold in: the item in each of its sizes, or as it is."""
    if axis is None:
        return [Form(id, "", 0, price_minor, shown, available)]
    return [
        Form(
            form_id(id, option.id),
            option.title,
            option.rank,
            price_minor + option.price_minor,
            shown and option.sold,
            available and option.available and option.sold,
        )
        for option in axis.options
    ]


def offers_of(
    id: str, groups: Sequence[Group], axis: Group | None, known: Mapping[str, Group], look_through: Callable[[Group], None]
) -> list[Offer]:
    """The item's own groups, those under a size with that size alone, and those under a choice, which nobody has to take."""
    if axis is not None:
        look_through(axis)
    todo = [Offer(group) for group in groups if group is not axis]
    todo += [
        Offer(known[ref], (form_id(id, option.id),))
        for option in (axis.options if axis else ())
        for ref in option.nested
        if ref in known and known[ref] is not axis
    ]
    found: dict[str, Group] = {}
    variants: dict[str, dict[str, None]] = {}  # none are all
    needed: set[str] = set()
    for offer in todo:  # which grows as groups turn out to have others under them
        group = offer.group
        if offer.needed:
            needed.add(group.id)
        if group.id in found:
            if offer.variants and variants[group.id]:
                variants[group.id].update(dict.fromkeys(offer.variants))
            else:
                variants[group.id].clear()
            continue
        look_through(group)
        found[group.id], variants[group.id] = group, dict.fromkeys(offer.variants)
        todo += [
            Offer(known[ref], offer.variants, needed=False)
            for option in group.options
            for ref in option.nested
            if ref in known and known[ref] is not axis
        ]
    return [Offer(group, tuple(variants[id]), id in needed) for id, group in found.items() if group.options]


def choice_group(rank: int, offer: Offer) -> ChoiceGroup:
    group, choices = offer.group, offer.group.choices
    most = len(choices) if group.most is None else group.most
    least = group.least if offer.needed else 0
    return ChoiceGroup(id=group.id, title=group.title, least=least, most=most, choices=choices, variants=offer.variants, rank=rank)
