"""What comes in at the doors and has nothing against it: payloads and their instructions, kept some at a time by one statement."""

import asyncio
from collections import deque
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import Any
from uuid import UUID

import msgspec
from sqlalchemy import ColumnElement, Integer, Select, Text, cast, func, insert, literal_column, select
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.dialects.postgresql import insert as upsert

from db.answering import is_lock_timeout
from db.arrays import given_rows
from db.instructions import columns_of, new_rows, told_by
from db.payloads import row_of
from db.reads import Reads
from db.tables import instruction, payload
from domain.cancelling import heed_cancelling
from domain.canonical import Command
from domain.payloads import Payload
from domain.refusals import Refused

AT_ONCE = 200
"""Instructions of one payload: a batch of thousands takes its time, and a transaction."""
MOST, MOST_INSTRUCTIONS, MOST_BYTES = 64, 1_000, 1024 * 1024
"""Of one statement: who is kept with others waits for all of them."""
APART_AT_ONCE = 4
"""Sources, after a lock was not had in time for all of them together: who is not locked waits for few who are."""
p = payload.c
# When it came, the database says; and what is new is not overdue.
NAMES = [column.name for column in payload.columns if column not in {p.received_at, p.overdue}]


def _kept() -> Select[Any]:
    came = given_rows("came", place=Integer(), **{name: Text() if name == "headers" else p[name].type for name in NAMES})
    told: dict[str, ColumnElement[Any]] = {name: came.c[name] for name in NAMES} | {"headers": cast(came.c.headers, JSONB)}
    # Who came first was first, though they are kept together: what no source dates is as new as its payload.
    told["received_at"] = func.statement_timestamp() + came.c.place * literal_column("interval '1 microsecond'")
    new = upsert(payload).from_select(list(told), select(*told.values()), include_defaults=False).on_conflict_do_nothing()
    kept = new.returning(p.id, p.source_id, p.merchant_id, p.received_at).cte("kept")
    of = new_rows()
    each = {
        **told_by(of),
        "source_id": kept.c.source_id,
        "merchant_id": kept.c.merchant_id,
        "state": literal_column("'WAITING'"),
        "next_at": func.greatest(kept.c.received_at, of.c.due),
        "created_at": kept.c.received_at,
    }
    instructions = select(*each.values()).select_from(kept.join(of, of.c.payload_id == kept.c.id))
    added = insert(instruction).from_select(list(each), instructions, include_defaults=False)
    return select(kept.c.id).add_cte(added.cte("added"))


_KEPT = _kept()  # built once: every call of every provider comes by here


@dataclass(frozen=True)
class _Arrival:
    payload: Payload
    commands: Sequence[Command]
    kept: asyncio.Future[bool] = field(default_factory=lambda: asyncio.get_running_loop().create_future())


def _key(one: _Arrival) -> tuple[UUID, str]:
    source, key = one.payload.received.source, one.payload.dedupe_key
    assert source is not None
    assert key is not None  # or it is not kept by a statement alone
    return source.id, key


def _by_source(some: Sequence[_Arrival]) -> Collection[Sequence[_Arrival]]:
    """As they came."""
    apart: dict[UUID, list[_Arrival]] = {}
    for one in some:
        apart.setdefault(_key(one)[0], []).append(one)
    return apart.values()


class Keeper:
    """Of one process's doors. Alone nobody waits; in a crowd, while one statement is on its way, the next one's payloads gather.

    `reads` must be the primary's: a statement is a transaction of its own, one way to the database instead of four.
    """

    def __init__(self, reads: Reads) -> None:
        self._reads = reads
        self._waiting: deque[_Arrival] = deque()
        self._keeping: asyncio.Task[None] | None = None

    async def keep(self, new: Payload, commands: Sequence[Command]) -> bool:
        """True: it is on disk. False: a live payload of this source has the dedupe key, and nothing was kept. Refuses Unavailable.

        Who stops waiting may find it kept all the same.
        """
        arrival = _Arrival(new, commands)
        self._waiting.append(arrival)
        if self._keeping is None:
            self._keeping = asyncio.create_task(self._keep_all())
        return await arrival.kept

    async def _keep_all(self) -> None:
        try:
            while self._waiting:
                if some := self._next():
                    await self._keep(some)
        finally:
            self._keeping = None

    def _next(self) -> list[_Arrival]:
        """As many as one statement is to have, of those that somebody still waits for."""
        some: list[_Arrival] = []
        instructions = size = 0
        while self._waiting and len(some) < MOST:
            first = self._waiting[0]
            if first.kept.done():
                self._waiting.popleft()
                continue
            instructions, size = instructions + len(first.commands), size + len(first.payload.body)
            if some and (instructions > MOST_INSTRUCTIONS or size > MOST_BYTES):
                break
            some.append(self._waiting.popleft())
        return some

    async def _keep(self, some: Sequence[_Arrival]) -> None:
        try:
            kept = await self._kept(some)
        except Exception as error:
            heed_cancelling(error)
            if len(some) > 1 and not isinstance(error, Refused):  # one of them cannot be kept: no reason to refuse the others
                for one in some:
                    await self._keep([one])
                return
            if len(apart := _by_source(some)) > 1 and is_lock_timeout(error.__cause__):  # somebody has locked one's source, say
                turns = asyncio.Semaphore(APART_AT_ONCE)
                await asyncio.gather(*(self._keep_apart(turns, theirs) for theirs in apart))
                return
            for one in some:
                if not one.kept.done():
                    one.kept.set_exception(error)
        else:
            for one in some:
                if not one.kept.done():
                    one.kept.set_result(one.payload.id in kept)

    async def _keep_apart(self, turns: asyncio.Semaphore, some: Sequence[_Arrival]) -> None:
        async with turns:
            await self._keep(some)

    async def _kept(self, some: Sequence[_Arrival]) -> Collection[UUID]:
        columns = [columns_of(one.payload.id, one.commands, [command.not_before for command in one.commands]) for one in some]
        given: dict[str, list[Any]] = {name: [*chain.from_iterable(each[name] for each in columns)] for name in columns[0]}
        # Two processes that keep the same news wait for each other at its dedupe key: everybody takes them in one order.
        placed = sorted(enumerate(some), key=lambda each: _key(each[1]))
        told = [
            {**row_of(one.payload), "headers": msgspec.json.encode(one.payload.received.headers).decode(), "place": place}
            for place, one in placed
        ]
        given |= {f"came_{name}": [row[name] for row in told] for name in ("place", *NAMES)}
        return {row.id for row in await self._reads.rows(_KEPT, given)}
