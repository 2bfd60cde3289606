"""Reading what partners write: liberal in types, exact in values, and all that is wrong at once, each by its path."""

import json
import math
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal, InvalidOperation
from typing import Any
from zoneinfo import ZoneInfo

from domain.money import minor_units
from domain.refusals import InvalidInput, Problem, Refused

YES = {"1", "2", "true", "yes", "y", "on"}
NO = {"0", "false", "no", "n", "off", ""}
AHEAD = timedelta(hours=24)  # a time further ahead is a broken clock
MOST_DIGITS = 40
LONGEST_ID, LONGEST_TEXT = 200, 10_000


def parse(body: bytes) -> "Document":
    """JSON, with numbers as they were written. Refuses InvalidInput for what is none."""
    try:
        # Decimals, and no integers of five thousand digits: Python would refuse them in another way.
        told = json.loads(body, parse_float=Decimal, parse_int=Decimal, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise Refused(InvalidInput(f"not JSON: {error}"[:300], (Problem("$", f"not JSON: {error}"[:300]),))) from None
    return Document(told, "$", [])


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is no number")


class Document:
    """One place in what was said. What cannot be read becomes a problem of its path, and None.

    Fields that a provider may leave out are None as they are asked for; `needed` says that this one may not be.
    """

    def __init__(self, told: Any, path: str, problems: list[Problem]) -> None:
        self.told, self.path, self.problems = told, path, problems

    def __getitem__(self, name: str) -> "Document":
        told = self.told.get(name) if isinstance(self.told, dict) else None
        return Document(told, f"{self.path}.{name}", self.problems)

    def __contains__(self, name: str) -> bool:
        return isinstance(self.told, dict) and name in self.told

    def first(self, *names: str) -> "Document":
        """Of several spellings the first that is there, else the first."""
        return self[next((name for name in names if name in self and self[name].told not in (None, "")), names[0])]

    def wrong(self, message: str) -> None:
        self.problems.append(Problem(self.path, message))

    def apart(self) -> "Document":
        """The same place, with problems of its own: what is wrong here does not spoil its neighbours."""
        return Document(self.told, self.path, [])

    def check(self) -> None:
        """Refuses InvalidInput with all the problems so far."""
        if self.problems:
            raise Refused(InvalidInput("; ".join(f"{one.path}: {one.message}" for one in self.problems), tuple(self.problems)))

    # ------------------------------------------------------------ values

    @property
    def missing(self) -> bool:
        return self.told is None or (isinstance(self.told, str) and not self.told.strip())

    def _absent(self, needed: bool) -> bool:
        if self.missing and needed:
            self.wrong("is missing")
        return self.missing

    def text(self, *, needed: bool = False, most: int = LONGEST_TEXT) -> str | None:
        if self._absent(needed):
            return None
        if isinstance(self.told, bool) or not isinstance(self.told, str | Decimal | int):
            self.wrong("is no text")
            return None
        text = str(self.told).strip()
        if "\0" in text or not _sendable(text):
            self.wrong("has characters that are no text")
            return None
        if len(text) > most:
            self.wrong(f"is longer than {most} characters")
            return None
        return text

    def id(self) -> str:
        """An id always is needed: string or number, it is the same one."""
        return self.text(needed=True, most=LONGEST_ID) or ""

    def flag(self, default: bool | None = None, *, needed: bool = False) -> bool | None:
        if self._absent(needed):
            return default
        word = str(self.told).strip().lower() if not isinstance(self.told, dict | list) else None
        if word in YES:
            return True
        if word in NO:
            return False
        self.wrong("is neither yes nor no")
        return default

    def number(self, *, needed: bool = False) -> Decimal | None:
        if self._absent(needed):
            return None
        try:
            if isinstance(self.told, bool) or not isinstance(self.told, str | int | Decimal):
                raise InvalidOperation
            text = str(self.told).strip().replace(",", "")
            if len(text) > MOST_DIGITS:
                raise InvalidOperation
            number = Decimal(text)
            if not number.is_finite() or (number and abs(number.adjusted()) > MOST_DIGITS):
                raise InvalidOperation
        except InvalidOperation:
            self.wrong(f"{self._shown()!r} is no number")
            return None
        return number

    def whole(self, *, needed: bool = False, least: int | None = None, most: int = 1_000_000_000) -> int | None:
        """An integer, however it is written: `"12"`, `12`, `12.0`."""
        number = self.number(needed=needed)
        if number is None:
            return None
        if number != number.to_integral_value():
            self.wrong(f"{number} does not come out whole")
            return None
        if (least is not None and number < least) or abs(number) > most:
            self.wrong(f"{number} is out of range")
            return None
        return int(number)

    def minor(self, *, needed: bool = False) -> int | None:
        """An amount of the major unit, as `249.00`, in the minor unit."""
        number = self.number(needed=needed)
        if number is None:
            return None
        try:
            return minor_units(number)
        except ValueError as error:
            self.wrong(str(error))
            return None

    def time(self, received_at: datetime, zone: str | None = None, *, ahead: bool = False, needed: bool = False) -> datetime | None:
        """ISO 8601, epoch seconds or milliseconds; without a zone it is `zone`'s. In UTC.

        Unless it may lie `ahead` (a time to come, not one of the news), more than a day ahead is wrong.
        """
        if self._absent(needed):
            return None
        try:
            if isinstance(self.told, dict | list):
                raise ValueError
            moment = _moment(str(self.told).strip(), zone)
        except (ValueError, OverflowError):
            self.wrong(f"{self._shown()!r} is no time")
            return None
        if not ahead and moment > received_at + AHEAD:
            self.wrong(f"{moment.isoformat()} is more than 24 hours ahead")
            return None
        return moment

    def _shown(self) -> str:
        """The beginning of what was told: of what holds other things no more than that it does."""
        if isinstance(self.told, dict | list):
            return "{…}" if isinstance(self.told, dict) else "[…]"
        return str(self.told)[:40]

    def items(self, *, needed: bool = False) -> Sequence["Document"]:
        """A list, an object with numbers for names (which some write for one), or nothing."""
        return list(self.each(needed=needed))

    def each(self, *, needed: bool = False) -> Iterator["Document"]:
        """The items one after the other: whoever takes a few of a long list pays for those few."""
        if self.told is None or self.told == "":
            if needed:
                self.wrong("is missing")
        elif isinstance(self.told, list):
            for index, one in enumerate(self.told):
                yield Document(one, f"{self.path}[{index}]", self.problems)
        elif isinstance(self.told, dict) and all(name.isdecimal() and len(name) <= MOST_DIGITS for name in self.told):
            for name in sorted(self.told, key=int):
                yield Document(self.told[name], f"{self.path}.{name}", self.problems)
        else:
            self.wrong("is no list")

    def object(self) -> "Document":
        """Itself; what is no object is a problem."""
        if not isinstance(self.told, dict):
            self.wrong("is no object" if self.told is not None else "is missing")
        return self


def _sendable(text: str) -> bool:
    """Whether it is UTF-8, with no half of a surrogate pair."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _moment(text: str, zone: str | None) -> datetime:
    if text.replace(".", "", 1).isdigit() and len(text) <= 17:
        seconds = float(text)
        if not math.isfinite(seconds):
            raise ValueError(text)
        return datetime.fromtimestamp(seconds / 1000 if seconds >= 10**11 else seconds, UTC)
    if len(text) > 10 and text[10].isdigit():  # a date and a time that lost the blank between them
        text = f"{text[:10]} {text[10:]}"
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        if zone is None:
            raise ValueError("a time without a zone")
        moment = moment.replace(tzinfo=ZoneInfo(zone))
    return moment.astimezone(UTC)
