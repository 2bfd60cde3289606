import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import TypeVar
from uuid import UUID

from sqlalchemy.exc import ProgrammingError
from sqlalchemy.ext.asyncio import AsyncEngine

from db.reads import Reads
from db.unit_of_work import NEW_IDS, unit_of_work
from domain.bodies import INLINE, Bodies
from domain.identity import Actor, ActorKind
from domain.refusals import InvalidInput, Refusal, Refused
from domain.unit_of_work import UnitOfWork
from launch.load import load
from launch.problem import Problem
from settings import Settings
from terminal.database import address
from wiring import Trust, open_bodies, open_engine, trust

T = TypeVar("T")
OPERATOR = Actor(ActorKind.SUPPORT, UUID("00000000-0000-7000-8000-000000000c11"))
"""Whoever runs the servers. May what support may, and the audit calls them by this id."""
CONNECTIONS = 5


@dataclass(frozen=True)
class Desk:
    """What an operator's command works with: a database, and the keys that accounts and secrets rest on."""

    settings: Settings
    engine: AsyncEngine
    reads: Reads
    trust: Trust
    bodies: Bodies = INLINE

    def begin(self, ids: Iterator[UUID] = NEW_IDS) -> AbstractAsyncContextManager[UnitOfWork]:
        return unit_of_work(self.engine, ids=ids)


def at_desk(work: Callable[[Desk], Awaitable[T]], settings: Settings | None = None) -> T:
    """Carries it out on the database of the settings, or of the town that runs there. A refusal is a Problem of one line."""
    known = load() if settings is None else settings
    address(known)
    return asyncio.run(_carry_out(work, known))


async def _carry_out(work: Callable[[Desk], Awaitable[T]], settings: Settings) -> T:
    engine = open_engine(settings, CONNECTIONS, "haat command")
    try:
        return await work(Desk(settings, engine, Reads(engine), trust(settings), open_bodies(settings)))
    except Refused as refused:
        raise Problem(said(refused.refusal), "see --help for what is expected") from refused
    except ProgrammingError as error:
        raise Problem("the database has not our tables", "run ./haat migrate") from error
    finally:
        await engine.dispose()


def said(refusal: Refusal) -> str:
    """In one line."""
    problems = refusal.problems if isinstance(refusal, InvalidInput) else ()
    return "; ".join(f"{one.path} {one.message}" for one in problems) or refusal.message
