"""What a customer wants, before any promise."""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import Enum
from typing import TYPE_CHECKING, Protocol
from uuid import UUID

from domain.events import Event, Topic
from domain.identity import Actor
from domain.money import Money
from domain.refusals import InvalidInput, Kind, Problem, Refusal, Refused, not_found
from domain.stock import StockLevel, StockState, units_by_listing

if TYPE_CHECKING:
    from domain.unit_of_work import UnitOfWork

LINES_LIMIT = 100
QUANTITY_LIMIT = 1_000_000
NOTE_LIMIT = 500


@dataclass(frozen=True)
class CartLine:
    """One (listing, modifiers, note). `quantity` in the variant's unit."""

    id: UUID
    listing_id: UUID
    quantity: int
    modifier_ids: tuple[UUID, ...] = ()  # sorted
    note: str | None = None
    filled_minor: int = 0  # what a unit cost, with its modifiers, when the customer last told the line

    @property
    def key(self) -> tuple[UUID, tuple[UUID, ...], str | None]:
        return (self.listing_id, self.modifier_ids, self.note)


@dataclass(frozen=True)
class LineChange:
    """With `id`: what that line becomes. Without: so many more of the line of that key. Quantity 0 removes."""

    id: UUID | None
    listing_id: UUID
    quantity: int
    modifier_ids: tuple[UUID, ...] = ()
    note: str | None = None


@dataclass(frozen=True)
class Choice:
    """A modifier as a line has chosen it, and the group it is chosen from."""

    id: UUID
    group_id: UUID
    name: str
    price: Money
    available: bool


@dataclass(frozen=True)
class GroupRule:
    """How many of a group's modifiers a listing's line must and may have."""

    group_id: UUID
    name: str
    min: int
    max: int


@dataclass(frozen=True)
class CartItem:
    """A line with all that pricing it needs, as of now."""

    line: CartLine
    variant_id: UUID
    store_id: UUID
    merchant_id: UUID
    name: str
    sku: str
    active: bool
    price: Money
    packaging: Money
    limit: int
    groups: Sequence[GroupRule]
    choices: Sequence[Choice]

    @property
    def unit_price(self) -> Money:
        return Money(self.price.minor + sum(choice.price.minor for choice in self.choices), self.price.currency)


@dataclass(frozen=True)
class CartChanged(Event):
    """Lines that were put in, changed or taken out, and the listings they are of. What they say is their customer's alone."""

    cart_id: UUID
    version: int
    customer_id: UUID
    line_ids: Sequence[UUID]
    gone_ids: Sequence[UUID]
    listing_ids: Sequence[UUID]

    topic, stream = Topic.CARTS, "cart"

    @property
    def entity(self) -> UUID:
        return self.cart_id

    @property
    def seq(self) -> int:
        return self.version

    @property
    def concerns(self) -> Sequence[UUID]:
        return (self.customer_id,)


class CartProblem(Enum):
    """Why a line cannot be bought as it stands."""

    STORE_CLOSED = "STORE_CLOSED"
    NOT_SOLD = "NOT_SOLD"
    OUT_OF_STOCK = "OUT_OF_STOCK"
    NOT_ENOUGH_STOCK = "NOT_ENOUGH_STOCK"
    LIMIT_EXCEEDED = "LIMIT_EXCEEDED"
    CHOICE_INVALID = "CHOICE_INVALID"


@dataclass(frozen=True)
class ChoiceInvalid(Refusal):
    code, kind = "CHOICE_INVALID", Kind.CONFLICT
    line_id: UUID
    group_id: UUID | None


class CartStore(Protocol):
    async def lock(self, customer_id: UUID) -> tuple[UUID, Sequence[CartLine]]:
        """The customer's cart, made when there is none. Held until the transaction ends."""

    async def prices(self, listing_ids: Iterable[UUID]) -> Mapping[UUID, int]:
        """What a unit costs, in minor units, of those that are sold now."""

    async def surcharges(self, modifier_ids: Collection[UUID]) -> Mapping[UUID, int]:
        """In minor units, of those there are."""

    async def save(self, cart_id: UUID, lines: Sequence[CartLine]) -> int:
        """The cart has these lines and no others. Returns its new version."""

    async def items(self, lines: Sequence[CartLine]) -> Sequence[CartItem]:
        """In the order of the lines."""


def changed_lines(lines: Sequence[CartLine], changes: Sequence[LineChange], new_id: Callable[[], UUID]) -> list[CartLine]:
    """Two lines that come to have one key become one. Refuses NotFound for a line that is not in this cart."""
    by_id: dict[UUID, CartLine] = {line.id: line for line in lines}
    for change in changes:
        wanted = CartLine(
            change.id or new_id(), change.listing_id, change.quantity, tuple(sorted(change.modifier_ids)), change.note or None
        )
        if change.id is not None and by_id.pop(change.id, None) is None:
            raise not_found("cart line")
        same = next((line for line in by_id.values() if line.key == wanted.key), None)
        if change.quantity == 0:
            if change.id is None and same:
                del by_id[same.id]
        elif same:
            by_id[same.id] = replace(same, quantity=same.quantity + wanted.quantity)
        else:
            by_id[wanted.id] = wanted
    order = {line.id: index for index, line in enumerate(lines)}
    return sorted(by_id.values(), key=lambda line: order.get(line.id, len(order)))


def without(lines: Sequence[CartLine], bought: Iterable[tuple[UUID, tuple[UUID, ...], str | None, int]]) -> list[CartLine]:
    """What stays in a cart when so many of (listing, modifiers, note) have been bought: what was added since stays."""
    left = {line.key: line for line in lines}
    for listing_id, modifier_ids, note, quantity in bought:
        line = left.get((listing_id, modifier_ids, note))
        if line is not None:
            left[line.key] = replace(line, quantity=line.quantity - quantity)
    return [line for line in left.values() if line.quantity > 0]


async def update_lines(changes: Sequence[LineChange], actor: Actor, uow: "UnitOfWork") -> None:
    """All of them or none. Refuses InvalidInput, NotFound."""
    assert actor.id is not None
    cart_id, lines = await uow.carts.lock(actor.id)
    known = await uow.carts.prices({change.listing_id for change in changes if change.quantity})
    problems = list(_problems(changes, known.keys()))
    after = changed_lines(lines, changes, uow.new_id) if not problems else []
    if len(after) > LINES_LIMIT:
        problems.append(Problem("lines", f"a cart has at most {LINES_LIMIT} lines"))
    problems += [Problem("lines", "too many of one thing") for line in after if line.quantity > QUANTITY_LIMIT]
    if problems:
        raise Refused(InvalidInput("the cart stays as it was", problems))
    surcharges = await uow.carts.surcharges({id for change in changes for id in change.modifier_ids})
    told = {(change.listing_id, tuple(sorted(change.modifier_ids)), change.note or None) for change in changes if change.quantity}
    after = [
        replace(line, filled_minor=known[line.listing_id] + sum(surcharges.get(id, 0) for id in line.modifier_ids))
        if line.key in told
        else line
        for line in after
    ]
    await uow.events.add(*await replace_lines(cart_id, actor.id, lines, after, uow))


async def replace_lines(
    cart_id: UUID, customer_id: UUID, before: Sequence[CartLine], after: Sequence[CartLine], uow: "UnitOfWork"
) -> Sequence[CartChanged]:
    """Of a cart already locked. The event is to be added to the log; there is none where nothing has changed."""
    known, now = {line.id: line for line in before}, {line.id: line for line in after}
    changed = [line for line in after if known.get(line.id) != line]
    gone = [line for line in before if line.id not in now]
    if not changed and not gone:
        return ()
    version = await uow.carts.save(cart_id, after)
    listing_ids = sorted({line.listing_id for line in [*changed, *gone, *(known[one.id] for one in changed if one.id in known)]})
    return [CartChanged(cart_id, version, customer_id, [one.id for one in changed], [one.id for one in gone], listing_ids)]


def _problems(changes: Sequence[LineChange], known: Collection[UUID]) -> Iterable[Problem]:
    for index, change in enumerate(changes):
        if not 0 <= change.quantity <= QUANTITY_LIMIT:
            yield Problem(f"lines.{index}.quantity", f"must be from 0 to {QUANTITY_LIMIT}")
        elif change.quantity and change.listing_id not in known:
            yield Problem(f"lines.{index}.listingId", "not sold")
        if len(change.modifier_ids) != len(set(change.modifier_ids)):
            yield Problem(f"lines.{index}.modifierIds", "one twice")
        if change.note is not None and len(change.note) > NOTE_LIMIT:
            yield Problem(f"lines.{index}.note", f"longer than {NOTE_LIMIT} characters")


def check_choices(item: CartItem) -> None:
    """Refuses ChoiceInvalid: a modifier of no group of this listing, one that is off, too few or too many of a group."""
    rules: Mapping[UUID, GroupRule] = {rule.group_id: rule for rule in item.groups}
    if len(item.choices) != len(item.line.modifier_ids):
        raise Refused(ChoiceInvalid(f"{item.name}: a choice is not offered any more", item.line.id, None))
    for choice in item.choices:
        if choice.group_id not in rules or not choice.available:
            raise Refused(ChoiceInvalid(f"{item.name}: {choice.name} cannot be had", item.line.id, choice.group_id))
    for rule in rules.values():
        chosen = sum(choice.group_id == rule.group_id for choice in item.choices)
        if not rule.min <= chosen <= rule.max:
            raise Refused(
                ChoiceInvalid(f"{item.name}: choose {rule.min} to {rule.max} of {rule.name}", item.line.id, rule.group_id)
            )


def problems_of(
    items: Sequence[CartItem], levels: Mapping[UUID, StockLevel], open_stores: Collection[UUID], held: Mapping[UUID, int]
) -> dict[UUID, tuple[CartProblem, ...]]:
    """Of each line, as a quote of all of them would find them now. `held` are the units this customer's own quote holds."""
    units = units_by_listing((item.line.listing_id, item.line.quantity) for item in items)
    return {item.line.id: tuple(_line_problems(item, units[item.line.listing_id], levels, open_stores, held)) for item in items}


def _line_problems(
    item: CartItem, wanted: int, levels: Mapping[UUID, StockLevel], open_stores: Collection[UUID], held: Mapping[UUID, int]
) -> Iterator[CartProblem]:
    if item.store_id not in open_stores:
        yield CartProblem.STORE_CLOSED
    if not item.active:
        yield CartProblem.NOT_SOLD
    else:
        yield from _stock_problems(wanted - held.get(item.line.listing_id, 0), levels[item.line.listing_id])
    if wanted > item.limit:
        yield CartProblem.LIMIT_EXCEEDED
    try:
        check_choices(item)
    except Refused:
        yield CartProblem.CHOICE_INVALID


def short(wanted: int, level: StockLevel) -> bool:
    """By what anybody may know: a store that hides its counts says no more than that something is there."""
    if level.state is StockState.OUT_OF_STOCK:
        return wanted > 0
    return level.available is not None and level.available < wanted


def _stock_problems(wanted: int, level: StockLevel) -> Iterator[CartProblem]:
    if short(wanted, level):
        yield CartProblem.OUT_OF_STOCK if level.state is StockState.OUT_OF_STOCK else CartProblem.NOT_ENOUGH_STOCK
