"""Payloads that have grown old, in the order in which they came: their keys are made by the time."""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy import ColumnElement, Select, Text, Uuid, and_, delete, exists, func, or_, select, update
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.ext.asyncio import AsyncConnection

from db.arrays import among, rows
from db.ids import first_id
from db.payloads import STORED, WHOLE
from db.tables import batch_undo, failure, instruction, judgement, payload, retention, undo_line
from domain.bodies import Stored
from domain.intake import FailureState, InstructionState
from domain.refusals import Conflict, Refused
from domain.retention import Forgotten, Old, Task
from domain.undos import UndoState

p, i, f, r, u = payload.c, instruction.c, failure.c, retention.c, batch_undo.c
FIRST = UUID(int=0)
READ = and_(p.translated, p.judged)
WAITS = exists().where(i.payload_id == p.id, i.state.in_([InstructionState.WAITING, InstructionState.PARKED]))
UNSETTLED = exists().where(f.payload_id == p.id, f.state.in_([FailureState.OPEN, FailureState.ACKNOWLEDGED]))
UNDOING = exists().where(u.payload_id == p.id, u.state == UndoState.RUNNING)
DONE = and_(READ, ~WAITS, ~UNSETTLED, ~UNDOING)
BODY = or_(p.blob.is_not(None), func.length(p.body) > 0)


def _between(after: UUID, until: datetime) -> ColumnElement[bool]:
    return and_(p.id > after, p.id < first_id(until))


class SqlRetention:
    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def lock(self, task: Task) -> UUID | None:
        await self._connection.execute(upsert(retention).values(task=task.value, after_id=FIRST).on_conflict_do_nothing())
        found = select(r.after_id).where(r.task == task.value).with_for_update(skip_locked=True)
        after: UUID | None = (await self._connection.execute(found)).scalar_one_or_none()
        return after

    async def mark(self, task: Task, after: UUID) -> None:
        await self._connection.execute(update(retention).where(r.task == task.value).values(after_id=after))

    async def mark_all(self, task: Task, until: datetime) -> None:
        reached = func.greatest(r.after_id, first_id(until), type_=Uuid())
        await self._connection.execute(update(retention).where(r.task == task.value).values(after_id=reached))

    async def begin_again(self, task: Task, age: timedelta) -> None:
        began = r.began_at < func.clock_timestamp() - age
        anew = {"after_id": FIRST, "began_at": func.clock_timestamp()}
        await self._connection.execute(update(retention).where(r.task == task.value, began).values(anew))

    async def inline(self, after: UUID, until: datetime, limit: int) -> list[Old]:
        here = and_(WHOLE, p.blob.is_(None), p.size > 0)
        found = select(p.id, *STORED).where(_between(after, until), here).order_by(p.id).limit(limit)
        return [Old(row[0], Stored(*row[1:])) for row in await self._connection.execute(found)]

    async def laid_away(self, blobs: Mapping[UUID, str]) -> None:
        by = rows("by", id=(Uuid(), list(blobs)), blob=(Text(), list(blobs.values())))
        still = and_(p.id == by.c.id, p.blob.is_(None), WHOLE)  # or what was dropped meanwhile would come back
        await self._connection.execute(update(payload).where(still).values(body=b"", blob=by.c.blob))

    async def drop_keys(self, after: UUID, until: datetime, limit: int) -> UUID | None:
        found = select(p.id).where(_between(after, until)).order_by(p.id).limit(limit)
        ids: list[UUID] = list((await self._connection.execute(found)).scalars())
        if not ids:
            return None
        keyed = and_(among(p.id, ids), p.dedupe_key.is_not(None), READ)
        await self._connection.execute(update(payload).where(keyed).values(dedupe_key=None))
        return ids[-1]

    async def drop_bodies(self, after: UUID, until: datetime, limit: int) -> tuple[UUID, Sequence[str]] | None:
        return await self._drop(select(p.id).where(_between(after, until)).order_by(p.id).limit(limit))

    async def drop_overdue(self, after: UUID, until: datetime, limit: int) -> tuple[UUID, Sequence[str]] | None:
        return await self._drop(select(p.id).where(_between(after, until), p.overdue).order_by(p.id).limit(limit))

    async def _drop(self, some: Select[UUID]) -> tuple[UUID, Sequence[str]] | None:
        ids: list[UUID] = list((await self._connection.execute(some)).scalars())
        if not ids:
            return None
        there = select(p.id, p.blob).where(among(p.id, ids), BODY).order_by(p.id).with_for_update(key_share=True)
        blobs = {row.id: row.blob for row in await self._connection.execute(there)}
        goes = update(payload).where(among(p.id, blobs), DONE).values(body=b"", blob=None, overdue=False).returning(p.id)
        gone = set((await self._connection.execute(goes)).scalars())
        stays = and_(among(p.id, blobs.keys() - gone), ~p.overdue)
        await self._connection.execute(update(payload).where(stays).values(overdue=True))
        return ids[-1], [key for id in sorted(gone) if (key := blobs[id]) is not None]

    async def forget(self, after: UUID, until: datetime, limit: int, instructions: int) -> Forgotten | None:
        found = await self._connection.execute(
            select(p.id, DONE.label("done")).where(_between(after, until)).order_by(p.id).limit(limit)
        )
        looked_at = found.all()
        if not looked_at:
            return None
        done = [row.id for row in looked_at if row.done]
        blobs = await self._forget(done, instructions) if done else []
        left = select(p.id).where(among(p.id, done)).limit(1)
        through = (await self._connection.execute(left)).scalar_one_or_none() is None
        return Forgotten(looked_at[-1].id, through, blobs)

    async def _forget(self, ids: Collection[UUID], instructions: int) -> Sequence[str]:
        """Locked as others lock them: instructions, what went wrong with them, payloads, what went wrong with those."""
        some = select(i.id).where(among(i.payload_id, ids)).order_by(i.id).limit(instructions).with_for_update()
        theirs = list((await self._connection.execute(some)).scalars())
        if theirs:
            await self._connection.execute(delete(failure).where(among(f.instruction_id, theirs)))
        await self._connection.execute(select(p.id).where(among(p.id, ids)).order_by(p.id).with_for_update())
        still = select(func.count()).select_from(payload).where(among(p.id, ids), DONE)
        if (await self._connection.execute(still)).scalar_one() != len(ids):
            raise Refused(Conflict("somebody has come back to what is old"))
        undone = select(u.id).where(among(u.payload_id, ids))
        await self._connection.execute(delete(undo_line).where(undo_line.c.undo_id.in_(undone)))
        await self._connection.execute(delete(batch_undo).where(among(u.payload_id, ids)))
        await self._connection.execute(delete(judgement).where(among(judgement.c.payload_id, ids)))
        await self._connection.execute(delete(failure).where(among(f.payload_id, ids), f.instruction_id.is_(None)))
        if theirs:
            await self._connection.execute(delete(instruction).where(among(i.id, theirs)))
        empty = ~exists().where(i.payload_id == p.id)
        gone = await self._connection.execute(delete(payload).where(among(p.id, ids), empty).returning(p.blob))
        return [key for key in gone.scalars() if key is not None]
