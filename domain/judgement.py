"""A whole push is judged before any of it runs: a truncated file must not empty a store."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from fractions import Fraction
from typing import TYPE_CHECKING
from uuid import UUID

from domain.canonical import Command, DeactivateMissing, StockMode, UpdatePrice, UpdateStockLevel, UpsertVariant
from domain.queue import Group

if TYPE_CHECKING:
    from domain.unit_of_work import UnitOfWork

MOST_REMOVED = Fraction(30, 100)
MOST_MOVED = Fraction(1, 2)


class Rule(Enum):
    """Which of them holds a whole push."""

    REMOVED = "REMOVED"  # too many listings would be sold no more
    EMPTIED = "EMPTIED"  # nothing would be left in stock
    PRICES = "PRICES"  # prices would move by too much on the whole
    UNKNOWN = "UNKNOWN"  # what it would do cannot be told


LIMITS = {Rule.REMOVED: float(100 * MOST_REMOVED), Rule.PRICES: float(100 * MOST_MOVED)}
"""In percent, and still let through."""


@dataclass(frozen=True)
class Verdict:
    """Why a push must not run unseen, and the figure that the rule speaks of."""

    rule: Rule
    message: str
    percent: float | None = None


@dataclass(frozen=True)
class Standing:
    """A listing that the store shows now and this source has told of, by the source's ids."""

    variant: str
    item: str | None
    price_minor: int
    sellable: bool


async def judge(group: Group, uow: "UnitOfWork") -> Verdict | None:
    """Why it must not run unseen, or None. A store nobody has mapped has nothing to lose yet."""
    commands = [one.command for one in group.instructions]
    for store in {command.store for command in commands if isinstance(command, DeactivateMissing)}:
        store_id = _store(group, store)
        if store_id is None:
            continue
        standing = await uow.sources.standing(group.origin.source_id, store_id)
        verdict = too_much(standing, [command for command in commands if command.store == store])
        if verdict is not None:
            return verdict
    return None


def _store(group: Group, store: str | None) -> UUID | None:
    stores = group.origin.stores
    if store is not None:
        return stores.get(store)
    return next(iter(stores.values())) if len(stores) == 1 else None


def too_much(standing: Sequence[Standing], commands: Sequence[Command]) -> Verdict | None:
    """Of what the store sells: more than 30 % removed, all of it made unavailable, or prices moved by more than half."""
    if not standing:
        return None
    present = {id for command in commands if isinstance(command, DeactivateMissing) for id in command.present}
    hidden = {command.variant for command in commands if isinstance(command, UpsertVariant) and not command.active}
    staying = [one for one in standing if one.variant in present - hidden]
    removed = len(standing) - len(staying)
    if Fraction(removed, len(standing)) > MOST_REMOVED:
        said = f"it would remove {removed} of the {len(standing)} listings"
        return Verdict(Rule.REMOVED, said, _percent(Fraction(removed, len(standing))))
    switched = {
        command.id: command.available
        for command in commands
        if isinstance(command, UpdateStockLevel) and command.mode is StockMode.AVAILABILITY
    }
    counted = {
        command.id: bool(command.quantity)
        for command in commands
        if isinstance(command, UpdateStockLevel) and command.mode is StockMode.ABSOLUTE
    }
    after = [_sellable(one, counted, switched) for one in staying]
    if any(one.sellable for one in standing) and not any(after):
        return Verdict(Rule.EMPTIED, "it would leave nothing in stock", 100.0)
    prices = {command.variant: command.price_minor for command in commands if isinstance(command, UpdatePrice)}
    before = sum(one.price_minor for one in staying if one.variant in prices)
    moved = sum(abs(prices[one.variant] - one.price_minor) for one in staying if one.variant in prices)
    if before and Fraction(moved, before) > MOST_MOVED:
        said = f"it would move prices by {round(100 * moved / before)} % on the whole"
        return Verdict(Rule.PRICES, said, _percent(Fraction(moved, before)))
    return None


def _percent(part: Fraction) -> float:
    return round(float(100 * part), 1)


def _sellable(one: Standing, *told: Mapping[str, bool | None]) -> bool:
    """What is switched on is not there for it: a count of none has to be heeded too."""
    said = [by.get(one.variant, by.get(one.item or "")) for by in told]
    known = [flag for flag in said if flag is not None]
    return all(known) if known else one.sellable
