"""What a profile's paths and operators find in a payload. What is wrong there is a problem of the payload's own path."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from itertools import islice
from typing import Any

from domain.documents import Document
from domain.money import LIMIT_MINOR
from domain.profiles import As, Condition, Field, MoneyUnit, Path, Value, folded
from domain.refusals import invalid

NEVER = datetime(9000, 1, 1, tzinfo=UTC)  # nothing is ahead of it
LISTED_MOST = 500  # values of one field
LONGEST = 20_000  # what is longer is no value: a page, or a picture
LONGEST_NUMBER = 1_000  # bytes of memory, of which each holds more than two digits
PART = 200  # characters that are as much work as a value
MOST_READ = 3_000_000  # values of one payload: a profile over a large body is work for seconds, never for minutes


class Budget:
    """Of the values that may be read of one payload: the same one again is another, since it is work again."""

    def __init__(self, left: int) -> None:
        self.left = left

    def spend(self, values: int) -> None:
        """Refuses InvalidInput where it is used up."""
        self.left -= values
        if self.left < 0:
            raise invalid("$", "says more than can be read at once")


@dataclass(frozen=True)
class Place:
    """What is being read: the thing itself, the payload it stands in, and when and by whose clock that came."""

    here: Document
    root: Document
    received_at: datetime
    zone: str
    budget: Budget = field(default_factory=lambda: Budget(MOST_READ))

    def into(self, here: Document) -> "Place":
        """The same, of a part of it."""
        return Place(here, self.root, self.received_at, self.zone, self.budget)


def spread(path: Path, place: Place) -> Iterator[Document]:
    """Each of what a path of `[*]` names, as they stand there."""
    return _spread(path.steps, place.root if path.rooted else place.here, place.budget)


def _spread(steps: tuple[str | int | None, ...], told: Document, budget: Budget) -> Iterator[Document]:
    for index, step in enumerate(steps):
        if step is None:
            for one in _each(told, budget):
                yield from _spread(steps[index + 1 :], one, budget)
            return
        told = _step(told, step)
    yield told


def _each(told: Document, budget: Budget) -> Iterator[Document]:
    """Paid one by one as they are taken; what is told as an object is sorted first, and paid as a whole."""
    if isinstance(told.told, dict):
        budget.spend(len(told.told))
    for one in told.each():
        budget.spend(1)
        yield one


def listed(path: Path, place: Place) -> Document:
    """The list that a path of `[*]` begins with."""
    told = place.root if path.rooted else place.here
    for step in path.steps:
        if step is None:
            break
        told = _step(told, step)
    return told


def _step(told: Document, step: str | int) -> Document:
    if isinstance(step, str):
        return told[step]
    inside = isinstance(told.told, list) and step < len(told.told)
    return Document(told.told[step] if inside else None, f"{told.path}[{step}]", told.problems)


def fits(condition: Condition | None, place: Place) -> bool:
    if condition is None:
        return True
    told = _at(condition.path, place)
    return not (told.missing or isinstance(told.told, dict | list) or _endless(told)) and folded(told.told) in condition.equals


# ---------------------------------------------------------------- one value


def found(value: Value, place: Place) -> Document:
    """What is there, mapped, or what stands for it where there is nothing."""
    told = _origin(value, place)
    if value.map is not None and not told.missing and not isinstance(told.told, dict | list):
        key = folded(told.told) if not _endless(told) else ""
        if key in value.map:
            return Document(value.map[key], told.path, told.problems)
        if value.default is None:
            told.wrong(f"{str(told.told)[:40]!r} is none of {', '.join(list(value.map)[:20])}")
        return Document(value.default, told.path, told.problems)
    if told.missing and value.default is not None:
        return Document(value.default, told.path, told.problems)
    return told


def _origin(value: Value, place: Place) -> Document:
    if value.path is not None:
        return _at(value.path, place)
    if value.const is not None:
        return Document(value.const, place.here.path, place.here.problems)
    place.budget.spend(len(value.coalesce) + len(value.concat))
    if value.coalesce:
        told = [found(one, place) for one in value.coalesce[:1]]
        for one in value.coalesce[1:]:
            if not told[-1].missing:
                break
            told.append(found(one, place))
        return told[-1] if not told[-1].missing else told[0]
    parts = [found(one, place) for one in value.concat]
    if not any(one.const is None and not part.missing for one, part in zip(value.concat, parts, strict=True)):
        return Document(None, parts[0].path, place.here.problems)  # constants alone join nothing
    # What stands in the profile keeps its blanks.
    texts = [
        str(part.told) if one.const is not None else _text(part).text() or "" for one, part in zip(value.concat, parts, strict=True)
    ]
    return Document("".join(texts), parts[0].path, place.here.problems)


def _at(path: Path, place: Place) -> Document:
    if not path.wild:
        told = place.root if path.rooted else place.here
        for step in path.steps:
            assert step is not None
            told = _step(told, step)
        if isinstance(told.told, str):
            place.budget.spend(len(told.told) // PART)
        return told
    first = listed(path, place)
    values: list[Any] = []
    for one in spread(path, place):
        if len(values) == LISTED_MOST:
            first.wrong(f"has more than {LISTED_MOST} values")
            break
        values.append(one.told)
    return Document(values if values or first.told is not None else None, first.path, first.problems)


def _endless(told: Document) -> bool:
    if isinstance(told.told, Decimal):
        return told.told.__sizeof__() > LONGEST_NUMBER  # to count its digits would be to write it
    return isinstance(told.told, str) and len(told.told) > LONGEST


def _text(told: Document) -> Document:
    """A flag is a text too, where a text is asked for."""
    return Document(folded(told.told), told.path, told.problems) if isinstance(told.told, bool) else told


def read(value: Value | None, shape: Field, place: Place) -> Any:
    """As the field has it, or None: where there is nothing, and where what is there is wrong."""
    if value is None:
        return () if shape.kind is As.LIST else None
    return made(value, shape, found(value, place), place.received_at, place.zone, place.budget)


def made(value: Value, shape: Field, told: Document, received_at: datetime, zone: str, budget: Budget | None = None) -> Any:
    """Without a budget, of what no payload says."""
    if _endless(told):
        told.wrong(f"is longer than {LONGEST} characters")
        return () if shape.kind is As.LIST else None
    match value.kind:
        case As.STRING:
            text = _text(told).text(needed=shape.needed, most=shape.characters)
            return text if shape.words is None or text is None else _word(text, shape, told)
        case As.INT | As.DECIMAL:
            return told.whole(needed=shape.needed, least=shape.least, most=shape.most)
        case As.MONEY if value.unit is MoneyUnit.PAISE:
            return told.whole(needed=shape.needed, least=0, most=LIMIT_MINOR)
        case As.MONEY:
            return told.minor(needed=shape.needed)
        case As.BOOL:
            return _flag(value, shape, told)
        case As.DATETIME:
            return told.time(received_at, value.tz or zone, ahead=shape.ahead, needed=shape.needed)
        case As.CSV_LIST:
            parts = (_text(told).text() or "").split(",", LISTED_MOST + 1)[: LISTED_MOST + 1]
            return _texts(shape, told, [one.strip() for one in parts], budget)
        case As.LIST:
            return _texts(shape, told, told.told, budget)


def _word(text: str, shape: Field, told: Document) -> Any:
    key = text.casefold().replace("-", "_").replace(" ", "_")
    assert shape.words is not None
    if key not in shape.words:
        told.wrong(f"{text[:40]!r} is none of {', '.join(shape.words)}")
        return None
    return shape.words[key]


def _flag(value: Value, shape: Field, told: Document) -> bool | None:
    """With `true` alone, whatever else is there is false, and with `false` alone true."""
    if (value.yes is None and value.no is None) or told.missing or isinstance(told.told, dict | list):
        return told.flag(needed=shape.needed)
    word = folded(told.told)
    if value.yes is not None and word in value.yes:
        return True
    if value.no is not None and word in value.no:
        return False
    if value.yes is not None and value.no is not None:
        told.wrong(f"{word[:40]!r} is neither what is true nor what is false")
        return None
    return value.yes is None


def _texts(shape: Field, told: Document, values: Any, budget: Budget | None) -> tuple[str, ...]:
    """A list, or the one value it would be a list of."""
    if values is None or values == "":
        if shape.needed:
            told.wrong("is missing")
        return ()
    whole = Document(values, told.path, told.problems)
    budget = budget or Budget(MOST_READ)
    parts = [whole] if not isinstance(values, list | dict) else list(islice(_each(whole, budget), LISTED_MOST + 1))
    if len(parts) > LISTED_MOST:
        told.wrong(f"has more than {LISTED_MOST} values")
    texts = []
    for one in parts[:LISTED_MOST]:
        if _endless(one):
            one.wrong(f"is longer than {LONGEST} characters")
        elif (text := _text(one).text(most=shape.characters)) is not None:
            budget.spend(len(text) // PART)
            texts.append(text)
    return tuple(texts)
