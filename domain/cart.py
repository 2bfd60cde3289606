"""What a customer wants, before any promise."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Protocol
from uuid import UUID

from domain.identity import Actor
from domain.money import Money
from domain.refusals import InvalidInput, Kind, Problem, Refusal, Refused, not_found

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
class ChoiceInvalid(Refusal):
    code, kind = "CHOICE_INVALID", Kind.CONFLICT
    line_id: UUID
    group_id: UUID | None


class CartStore(Protocol):
    async def lock(self, customer_id: UUID) -> tuple[UUID, Sequence[CartLine]]:
        """The customer's cart, made when there is none. Held until the transaction ends."""

    async def known_listings(self, listing_ids: Iterable[UUID]) -> frozenset[UUID]:
        """Those that are sold now."""

    async def save(self, cart_id: UUID, lines: Sequence[CartLine]) -> None:
        """The cart has these lines and no others."""

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
    known = await uow.carts.known_listings({change.listing_id for change in changes if change.quantity})
    problems = list(_problems(changes, known))
    after = changed_lines(lines, changes, uow.new_id) if not problems else []
    if len(after) > LINES_LIMIT:
        problems.append(Problem("lines", f"a cart has at most {LINES_LIMIT} lines"))
    problems += [Problem("lines", "too many of one thing") for line in after if line.quantity > QUANTITY_LIMIT]
    if problems:
        raise Refused(InvalidInput("the cart stays as it was", problems))
    await uow.carts.save(cart_id, after)


def _problems(changes: Sequence[LineChange], known: frozenset[UUID]) -> Iterable[Problem]:
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
