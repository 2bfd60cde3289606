"""What a payload says, read in one way and in another: the commands that would go, those that would come, and those that would be
otherwise.
"""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import datetime

from domain.bodies import Stored
from domain.canonical import Command
from domain.doors import PATH, called, doors_of
from domain.intake import HIDDEN, Call, FailureKind, Inbound, Reading, Source, Wrong, described, translated


@dataclass(frozen=True)
class Difference:
    """`wrong` and `right` are problems that would come, and that would go."""

    gone: Sequence[Command]
    come: Sequence[Command]
    wrong: Sequence[str]
    right: Sequence[str]


def difference(before: Reading, after: Reading) -> Difference:
    """In the order in which each says them; the same one said twice is two."""
    was, will = _problems(before), _problems(after)
    known, found = set(was), set(will)
    return Difference(
        _without(before.commands, after.commands),
        _without(after.commands, before.commands),
        [problem for problem in will if problem not in known],
        [problem for problem in was if problem not in found],
    )


def _without(some: Sequence[Command], others: Sequence[Command]) -> list[Command]:
    left = Counter(others)
    rest = []
    for one in some:
        left[one] -= 1
        if left[one] < 0:
            rest.append(one)
    return rest


def _problems(reading: Reading) -> list[str]:
    if reading.problems:
        return [f"{one.path}: {one.message}" for one in reading.problems]
    return [reading.wrong.message] if reading.wrong else []


# ---------------------------------------------------------------- what goes and comes of one thing is a change


@dataclass(frozen=True)
class Change:
    """A command of both, in other words."""

    before: Command
    after: Command

    @property
    def fields(self) -> Mapping[str, tuple[object, object]]:
        """What each was, and what it would be."""
        told = {one.name: (getattr(self.before, one.name), getattr(self.after, one.name)) for one in fields(self.before)}
        return {name: pair for name, pair in told.items() if pair[0] != pair[1]}


@dataclass(frozen=True)
class Apart:
    """A difference, told by the thing. `wrong` and `right` are problems that would come, and that would go."""

    added: Sequence[Command]
    gone: Sequence[Command]
    changed: Sequence[Change]
    wrong: Sequence[str]
    right: Sequence[str]

    @property
    def size(self) -> int:
        return sum(map(len, (self.added, self.gone, self.changed, self.wrong, self.right)))


def told_apart(found: Difference) -> Apart:
    """The commands of one kind about one entity are held against each other in their order."""
    coming: dict[tuple[type, str], list[Command]] = defaultdict(list)
    for one in reversed(found.come):
        coming[type(one), one.entity].append(one)
    gone, changed = [], []
    for one in found.gone:
        others = coming[type(one), one.entity]
        if others:
            changed.append(Change(one, others.pop()))
        else:
            gone.append(one)
    taken = {id(change.after) for change in changed}
    return Apart([one for one in found.come if id(one) not in taken], gone, changed, found.wrong, found.right)


# ---------------------------------------------------------------- reading again


@dataclass(frozen=True)
class Heard:
    """A payload as it came, and what was kept of what it said."""

    door: str
    stored: Stored
    headers: Mapping[str, str]
    received_at: datetime
    kept: Reading


def read_again(inbound: Inbound, heard: Heard, body: bytes, source: Source) -> Reading:
    """Of a file that is still being written: whatever it does is wrong with this payload, and never more."""
    try:
        path = heard.headers.get(PATH, "").partition("?")[0]
        found, told = doors_of(inbound.doors).find(path), called(inbound.doors, heard.headers)
        headers = {name: value for name, value in heard.headers.items() if value != HIDDEN}
        door = found.door if found else heard.door
        call = Call(door, body, headers, heard.received_at, told.query, told.values, told.method, told.url)
        reading = translated(inbound, call, source)
        for one in reading.commands:
            if not isinstance(one, Command):
                raise TypeError(f"{type(one).__name__} is no command")
        return reading
    except (Exception, SystemExit) as error:
        wrong = error if isinstance(error, Exception) else RuntimeError("it wants to end the process")
        return Reading(wrong=Wrong(FailureKind.VALIDATION, described(wrong)))
