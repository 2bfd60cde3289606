"""What a payload says by one profile and by another: the commands that would go, and those that would come."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from domain.instructions import Command
from domain.intake import Reading


@dataclass(frozen=True)
class Difference:
    """`wrong` and `right` are problems that would come, and that would go."""

    gone: Sequence[Command]
    come: Sequence[Command]
    wrong: Sequence[str]
    right: Sequence[str]

    def __bool__(self) -> bool:
        return bool(self.gone or self.come or self.wrong or self.right)


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
