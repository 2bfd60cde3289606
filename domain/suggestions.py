"""What of ours an id of a source may be: found by barcode, by SKU and by name. Nothing is mapped by it, people decide."""

import re
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import Enum
from functools import cached_property
from uuid import UUID

MOST = 5  # of one id
LEAST_ALIKE = 0.35  # names that have less in common are no suggestion
BY_BARCODE, BY_SKU, BY_NAME = 1.0, 0.95, 0.9  # the most that each can score
BARCODE_DIGITS = (8, 12, 13, 14)  # as GTINs are written: the same one with more or fewer zeros before it
NAMES = 4  # of what a source has told of one id, so many are looked at


class MatchReason(Enum):
    """Why it may be the same."""

    BARCODE = "BARCODE"
    SKU = "SKU"
    NAME = "NAME"


@dataclass(frozen=True)
class Theirs:
    """What a source calls something: its id, and what it has told of it."""

    external_id: str
    titles: tuple[str, ...] = ()
    told_barcodes: tuple[str, ...] = ()
    told_skus: tuple[str, ...] = ()

    @cached_property
    def names(self) -> tuple["Name", ...]:
        """An id may be a name too: `masala-chai`."""
        return tuple(map(Name, dict.fromkeys([*self.titles[:NAMES], self.external_id])))

    @cached_property
    def skus(self) -> frozenset[str]:
        return frozenset((self.external_id, *self.told_skus))

    @cached_property
    def barcodes(self) -> frozenset[str]:
        """However many zeros stand before them."""
        return frozenset(form for code in (self.external_id, *self.told_barcodes) for form in forms_of(code))


@dataclass(frozen=True)
class Ours:
    """What it may be. `others` are further names of it; `text` is as people know it."""

    id: UUID
    text: str
    sku: str | None = None
    barcode: str | None = None
    others: tuple[str, ...] = ()

    @cached_property
    def names(self) -> tuple["Name", ...]:
        return tuple(map(Name, dict.fromkeys((self.text, *self.others))))


@dataclass(frozen=True, slots=True)
class Suggestion:
    """`score` is from 0 to 1; what is found by its barcode is before what is found by its SKU, and that before a like name."""

    id: UUID
    name: str
    sku: str | None
    barcode: str | None
    reasons: Sequence[MatchReason]
    score: float


def best(theirs: Theirs, ours: Iterable[Ours], most: int = MOST) -> list[Suggestion]:
    """The likeliest first; of equal ones in the order of their names. The same question has the same answer."""
    found: dict[UUID, Suggestion] = {}
    for one in ours:
        suggestion = _weighed(theirs, one)
        if suggestion is not None and (one.id not in found or _order(suggestion) < _order(found[one.id])):
            found[one.id] = suggestion
    return sorted(found.values(), key=_order)[:most]


def _order(one: Suggestion) -> tuple[float, int, str, UUID]:
    return -one.score, -len(one.reasons), one.name, one.id


def _weighed(theirs: Theirs, ours: Ours) -> Suggestion | None:
    reasons, score = [], 0.0
    if ours.barcode is not None and not theirs.barcodes.isdisjoint(forms_of(ours.barcode)):
        reasons.append(MatchReason.BARCODE)
        score = BY_BARCODE
    if ours.sku in theirs.skus:
        reasons.append(MatchReason.SKU)
        score = max(score, BY_SKU)
    alike = max(likeness(one, other) for one in theirs.names for other in ours.names)
    if alike >= LEAST_ALIKE:
        reasons.append(MatchReason.NAME)
        score = max(score, round(BY_NAME * alike, 2))
    return Suggestion(ours.id, ours.text, ours.sku, ours.barcode, reasons, score) if reasons else None


# ---------------------------------------------------------------- barcodes


def forms_of(code: str) -> list[str]:
    """Of a barcode, all that it may be written as. Of anything else none."""
    digits = re.sub(r"[ -]", "", code)
    if not (digits.isascii() and digits.isdigit() and 8 <= len(digits) <= 14):
        return []
    bare = digits.lstrip("0")
    return sorted({digits, *(bare.zfill(length) for length in BARCODE_DIGITS if len(bare) <= length)}) if bare else []


# ---------------------------------------------------------------- names


@dataclass(frozen=True)
class Name:
    """A name, as its likeness to another is found: by the threes of letters of its words, in whatever order these stand."""

    text: str

    @cached_property
    def threes(self) -> frozenset[str]:
        return frozenset(three for word in words(self.text) for three in _threes(f"  {word} "))


def _threes(text: str) -> list[str]:
    return [text[at : at + 3] for at in range(len(text) - 2)]


def words(text: str) -> list[str]:
    """In small letters. What is no letter, no digit and no mark upon one parts them, and so do digits: 500ml is 500 ml."""
    plain = unicodedata.normalize("NFKC", text).casefold()
    parted = "".join(one if unicodedata.category(one)[0] in "LMN" else " " for one in plain)
    return re.sub(r"(?<=\d)(?=[^\d\s])|(?<=[^\d\s])(?=\d)", " ", parted).split()


def likeness(one: Name, other: Name) -> float:
    """From 0 to 1, the same from either side: twice what they have in common by all they have."""
    together = len(one.threes) + len(other.threes)
    return 2 * len(one.threes & other.threes) / together if together else 0.0
