"""Instructions in the order in which they are told on `catalog.commands`, and how far that has come."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import msgspec
from sqlalchemy import ARRAY, ColumnElement, Row, Text, case, cast, func, literal, select, update
from sqlalchemy.dialects.postgresql import JSONB, insert
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from db.answering import answering
from db.horizon import last_number_of, writers_of
from db.tables import instruction, log_epoch, payload, sink
from domain.mirror import COMMANDS, PRIVATE, Mirrored

i, p, k = instruction.c, payload.c, sink.c
_LAST = last_number_of("instruction", "number")
_WRITERS = writers_of("instruction")


def _without(names: frozenset[str]) -> ColumnElement[Any]:
    return i.body.op("-", return_type=JSONB())(literal(sorted(names), ARRAY(Text)))


_TOLD = case(*((i.command == kind.__name__, _without(names)) for kind, names in PRIVATE.items()), else_=i.body)
_MIRRORED = (
    i.number, i.id, i.created_at, i.source_id, i.merchant_id, p.provider, i.payload_id, i.entity, i.command,
    # As the text it is: nobody on the way needs to read it.
    cast(_TOLD, Text).label("body"), p.correlation_id,
)  # fmt: skip
_POSITION = select(k.pos).where(k.name == COMMANDS)


@dataclass(frozen=True, slots=True)
class Next:
    """What is to be told now. `after` is the number of what was told last."""

    epoch: str
    after: int
    commands: list[Mirrored]


class SqlMirror:
    """One process's. Any number of these may take turns."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine
        self._autocommit = engine.execution_options(isolation_level="AUTOCOMMIT")
        self._reached = 0  # up to here nothing can appear any more
        self._awaited: tuple[int, frozenset[str]] | None = None
        self._told = -1  # nothing was left to tell when this was reached

    async def look(self) -> bool:
        """Whether there may be something to tell: to be called before each turn. Refuses Unavailable."""
        with answering:
            return await self._look()

    async def _look(self) -> bool:
        async with self._autocommit.connect() as connection:
            if self._awaited is None:
                last = (await connection.execute(_LAST)).scalar_one()
                if last != self._reached:
                    # Read after the number: whoever was given one up to it has ended, or is among these.
                    self._awaited = last, frozenset((await connection.execute(_WRITERS)).scalars())
            if self._awaited is not None:
                last, awaited = self._awaited
                if not awaited or awaited.isdisjoint((await connection.execute(_WRITERS)).scalars()):
                    self._reached, self._awaited = last, None
        return self._reached != self._told

    @asynccontextmanager
    async def turn(self, limit: int) -> AsyncIterator[Next | None]:
        """The next so many, to be told by nobody else meanwhile; None: there are none, or another has the turn.

        Leaving writes down that they are told. Whatever is raised, or who dies, before that: they are told again.
        Refuses Unavailable.
        """
        with answering:
            async with self._engine.begin() as connection:
                found = await self._next(connection, limit)
                yield found
                if found is not None:
                    told = {"pos": found.commands[-1].number, "at": func.clock_timestamp()}
                    await connection.execute(update(sink).where(k.name == COMMANDS).values(told))

    async def _next(self, connection: AsyncConnection, limit: int) -> Next | None:
        after = await _position(connection)
        if after is None:
            return None
        reached = self._reached
        found = await connection.execute(
            select(*_MIRRORED)
            .join_from(instruction, payload, p.id == i.payload_id)
            .where(i.number > after, i.number <= reached)
            .order_by(i.number)
            .limit(limit)
        )
        commands = [_mirrored(row) for row in found]
        if not commands:
            self._told = reached
            return None
        epoch = (await connection.execute(select(log_epoch.c.epoch))).scalar_one()
        return Next(epoch, after, commands)


async def _position(connection: AsyncConnection) -> int | None:
    """Locked. None: another has it."""
    pos: int | None = (await connection.execute(_POSITION.with_for_update(skip_locked=True))).scalar_one_or_none()
    if pos is None and (await connection.execute(_POSITION)).scalar_one_or_none() is None:
        first = insert(sink).values(name=COMMANDS).on_conflict_do_nothing().returning(k.pos)
        pos = (await connection.execute(first)).scalar_one_or_none()
    return pos


def _mirrored(row: Row[*tuple[Any, ...]]) -> Mirrored:
    # In the order of the fields.
    told: dict[str, Any] = {**row._mapping, "body": msgspec.Raw(row.body.encode())}
    return Mirrored(*told.values())
