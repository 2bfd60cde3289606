"""What has grown old: bodies go to the blob store, then away, and at last the payloads themselves with what became of them.

Each pass goes over payloads by their ids, which is by time, some at a time, and remembers how far it has come. Nothing that
anybody may still have to look at goes: what waits, and what has a failure that is neither resolved nor ignored.
"""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import Enum
from typing import TYPE_CHECKING, Protocol
from uuid import UUID

from domain.bodies import Bodies, Stored

if TYPE_CHECKING:
    from domain.unit_of_work import Begin, UnitOfWork

KEYS_KEPT = timedelta(days=7)  # by then nobody sends the same news again
AGAIN_AFTER = timedelta(days=1)  # what could not go then may go now
LAID_AT_ONCE = 20  # they are all in memory
LOOKED_AT = 500
FORGOTTEN_AT_ONCE = 50
ITS_INSTRUCTIONS = 5_000  # of one transaction


class Task(Enum):
    LAY_AWAY = "LAY_AWAY"
    KEYS = "KEYS"
    BODIES = "BODIES"
    OVERDUE = "OVERDUE"
    FORGET = "FORGET"


@dataclass(frozen=True)
class Kept:
    """How long what is kept. None: for ever."""

    inline: timedelta | None
    bodies: timedelta | None
    payloads: timedelta | None

    @classmethod
    def of_days(cls, inline: int, bodies: int, payloads: int) -> "Kept":
        """0 is for ever."""
        return cls(*(timedelta(days=days) if days else None for days in (inline, bodies, payloads)))


@dataclass(frozen=True, slots=True)
class Old:
    id: UUID
    stored: Stored


@dataclass(frozen=True, slots=True)
class Forgotten:
    """`last` was looked at; `through`: nothing is left of those up to it that may go."""

    last: UUID
    through: bool
    blobs: Sequence[str]


class RetentionStore(Protocol):
    """Ids up to `after` have been looked at; `until` is the receipt of what is not old yet."""

    async def lock(self, task: Task) -> UUID | None:
        """How far it has come, held until the transaction ends. None: somebody else holds it."""

    async def mark(self, task: Task, after: UUID) -> None: ...

    async def mark_all(self, task: Task, until: datetime) -> None:
        """Nothing that came before is left."""

    async def begin_again(self, task: Task, age: timedelta) -> None:
        """At the first one, where it began so long ago."""

    async def inline(self, after: UUID, until: datetime, limit: int) -> Sequence[Old]:
        """Whole bodies that lie in their rows."""

    async def laid_away(self, blobs: Mapping[UUID, str]) -> None: ...

    async def drop_keys(self, after: UUID, until: datetime, limit: int) -> UUID | None:
        """Of what has been read. Returns the last that was looked at; None: there is none."""

    async def drop_bodies(self, after: UUID, until: datetime, limit: int) -> tuple[UUID, Sequence[str]] | None:
        """Of what is done with; what is not is overdue. Returns the last that was looked at, and the blobs that no row points to
        any more. None: there is none."""

    async def drop_overdue(self, after: UUID, until: datetime, limit: int) -> tuple[UUID, Sequence[str]] | None:
        """The same, of what is overdue."""

    async def forget(self, after: UUID, until: datetime, limit: int, instructions: int) -> Forgotten | None:
        """Payloads that are done with, their instructions and failures: of the instructions so many. Refuses Conflict."""


async def lay_away(bodies: Bodies, age: timedelta, begin: "Begin") -> bool:
    """Returns whether there may be more to do now."""
    if not bodies.stores:
        return False
    async with begin() as uow:
        after = await uow.retention.lock(Task.LAY_AWAY)
        if after is None:
            return False
        until = await uow.now() - age
        old = await uow.retention.inline(after, until, LAID_AT_ONCE)
        if not old:
            await uow.retention.mark_all(Task.LAY_AWAY, until)
            return False
        names = [uow.new_id() for _ in old]
    keys = await asyncio.gather(*(bodies.lay_away(one.stored.kept, id, begin) for one, id in zip(old, names, strict=True)))
    laid = {one.id: key for one, key in zip(old, keys, strict=True) if key is not None}
    async with begin() as uow:
        if await uow.retention.lock(Task.LAY_AWAY) != after:  # somebody else did: these blobs are strays
            return False
        await uow.retention.laid_away(laid)
        reached = next((place for place, key in enumerate(keys) if key is None), len(old))
        if reached:
            await uow.retention.mark(Task.LAY_AWAY, old[reached - 1].id)
    return reached == len(old)


async def drop_keys(begin: "Begin") -> bool:
    """Dedupe keys. Returns whether there may be more to do now."""
    async with begin() as uow:
        after = await uow.retention.lock(Task.KEYS)
        if after is None:
            return False
        last = await uow.retention.drop_keys(after, await uow.now() - KEYS_KEPT, LOOKED_AT)
        if last is None:
            return False
        await uow.retention.mark(Task.KEYS, last)
    return True


async def drop_bodies(age: timedelta, begin: "Begin") -> bool:
    """Returns whether there may be more to do now. What cannot go yet is overdue, and looked at once a day."""
    async with begin() as uow:
        after = await uow.retention.lock(Task.BODIES)
        if after is None:
            return False
        dropped = await uow.retention.drop_bodies(after, await uow.now() - age, LOOKED_AT)
        return await _dropped(Task.BODIES, dropped, uow)


async def drop_overdue(age: timedelta, begin: "Begin") -> bool:
    """Bodies that somebody still needed when their time had come. Returns whether there may be more to do now."""
    async with begin() as uow:
        after = await uow.retention.lock(Task.OVERDUE)
        if after is None:
            return False
        dropped = await uow.retention.drop_overdue(after, await uow.now() - age, LOOKED_AT)
        if dropped is None:
            await uow.retention.begin_again(Task.OVERDUE, AGAIN_AFTER)
        return await _dropped(Task.OVERDUE, dropped, uow)


async def _dropped(task: Task, dropped: tuple[UUID, Sequence[str]] | None, uow: "UnitOfWork") -> bool:
    if dropped is None:
        return False
    last, blobs = dropped
    await uow.strays.add(blobs)
    await uow.retention.mark(task, last)
    return True


async def forget(age: timedelta, begin: "Begin") -> bool:
    """Returns whether there may be more to do now. Refuses Conflict where something came back to life just now."""
    async with begin() as uow:
        after = await uow.retention.lock(Task.FORGET)
        if after is None:
            return False
        gone = await uow.retention.forget(after, await uow.now() - age, FORGOTTEN_AT_ONCE, ITS_INSTRUCTIONS)
        if gone is None:
            await uow.retention.begin_again(Task.FORGET, AGAIN_AFTER)
            return False
        await uow.strays.add(gone.blobs)
        if gone.through:
            await uow.retention.mark(Task.FORGET, gone.last)
    return True
