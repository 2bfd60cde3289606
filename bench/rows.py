"""What a row of the table is, and how each is measured: ours and its raw line in turns, so that both meet the same minute."""

import statistics
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from sqlalchemy.ext.asyncio import AsyncEngine

from bench.seed import Shop
from bench.stage import Stage

ROUNDS = 3


@dataclass(frozen=True)
class Asked:
    stage: Stage
    engine: AsyncEngine
    shop: Shop
    seconds: float
    sockets: int
    peers: bool = False  # other people's servers beside ours


@dataclass(frozen=True)
class Line:
    what: str
    value: float
    unit: str


@dataclass(frozen=True)
class Ratio:
    """`goal` is where we mean to be, `at_least` what --check asserts on any machine, however busy."""

    what: str
    value: float
    goal: float
    at_least: float


@dataclass(frozen=True)
class Row:
    name: str
    lines: Sequence[Line]
    ratios: Sequence[Ratio] = ()
    wrong: str = ""  # why it could not be measured


def median(rounds: Sequence[Mapping[str, float]], name: str = "per_s") -> float:
    return statistics.median(one[name] for one in rounds)


async def in_turns(*jobs: Callable[[int], Awaitable[dict[str, Any]]]) -> list[list[dict[str, Any]]]:
    """What each said in each of its rounds."""
    said: list[list[dict[str, Any]]] = [[] for _ in jobs]
    for number in range(ROUNDS):
        for place, job in enumerate(jobs):
            said[place].append(await job(number))
    return said


@asynccontextmanager
async def both(asked: Asked) -> AsyncIterator[tuple[int, int]]:
    """The server's port and the bare one's."""
    async with asked.stage.server() as ours, asked.stage.bare() as raw:
        yield ours, raw
