"""Replays: what they are over, how far they have come, and what has become of what they handed over."""

from collections.abc import Collection
from typing import Any
from uuid import UUID

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Row,
    Select,
    and_,
    case,
    exists,
    func,
    insert,
    literal,
    literal_column,
    or_,
    select,
    update,
)
from sqlalchemy.ext.asyncio import AsyncConnection

from db import failures
from db.arrays import among
from db.failures import UNSETTLED, fitting
from db.pages import By, Page, page
from db.reads import Reads
from db.sources import of_merchant
from db.tables import failure, instruction, payload, replay_job, telling
from domain.failures import FailureFilter
from domain.identity import Actor
from domain.intake import InstructionState, PayloadState
from domain.replays import LockedReplay, Replay, ReplayState, Result
from domain.telling import TellingState

r, f, p, i = replay_job.c, failure.c, payload.c, instruction.c
# As it stands in the partial index: of a bound value no plan could know that it fits.
IS_RUNNING: ColumnElement[Any] = literal_column("'RUNNING'")
_SEED = 0x7265706C61797321  # of the locks of who begins one, among all that are held by number
COUNTS = ("total", "done", "applied", "already_applied", "failed_again", "refused", "under_way")
REPLAY = (
    r.id, r.merchant_id, r.by_kind, r.by_id, r.which, r.state, *(r[name] for name in COUNTS), r.started_at, r.ended_at, r.version
)  # fmt: skip


def visible_to(actor: Actor) -> ColumnElement[bool]:
    """Those over the failures of all merchants are support's alone."""
    return of_merchant(r.merchant_id, actor)


class SqlReplays:
    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def begin(self, which: FailureFilter, actor: Actor, id: UUID) -> LockedReplay:
        fits = _theirs(which, actor)
        newest = select(f.id).where(*fits).order_by(f.id.desc()).limit(1).scalar_subquery()
        counted = await self._connection.execute(select(func.count(), newest).where(*fits))
        total, until = counted.one()
        new = insert(replay_job).values(
            id=id,
            merchant_id=which.merchant_id,
            by_kind=actor.kind,
            by_id=actor.id,
            which=which,
            state=ReplayState.RUNNING,
            total=total,
            until_id=until or id,
        )
        (row,) = await self._connection.execute(new.returning(*JOB))
        return _job(row)

    async def lock_running_of(self, merchant_id: UUID | None) -> int:
        whose = str(merchant_id) if merchant_id is not None else "all"
        lock = func.pg_advisory_xact_lock(func.hashtextextended(whose, literal(_SEED, BigInteger)))
        await self._connection.execute(select(lock))
        found = select(func.count()).where(r.merchant_id.is_not_distinct_from(merchant_id), r.state == ReplayState.RUNNING)
        return int((await self._connection.execute(found)).scalar_one())

    async def running(self) -> list[UUID]:
        found = await self._connection.execute(select(r.id).where(r.state == IS_RUNNING).order_by(r.id))
        return list(found.scalars())

    async def claim(self, id: UUID) -> LockedReplay | None:
        mine = select(*JOB).where(r.id == id, r.state == ReplayState.RUNNING).with_for_update(skip_locked=True)
        return await self._one(mine)

    async def lock(self, id: UUID, actor: Actor) -> LockedReplay | None:
        return await self._one(select(*JOB).where(r.id == id).where(visible_to(actor)).with_for_update())

    async def _one(self, found: Select[Any]) -> LockedReplay | None:
        row = (await self._connection.execute(found)).one_or_none()
        return _job(row) if row else None

    async def next(self, job: LockedReplay, limit: int) -> list[UUID]:
        found = select(f.id).where(*_theirs(job.replay.which, job.replay.by), f.id <= job.until)
        if job.after is not None:
            found = found.where(f.id > job.after)
        return list((await self._connection.execute(found.order_by(f.id).limit(limit))).scalars())

    async def results(self, failure_ids: Collection[UUID]) -> dict[UUID, Result]:
        if not failure_ids:
            return {}
        later = failure.alias("later").c
        # Of a payload as a whole: what was wrong with it may have become something else.
        otherwise = exists().where(
            later.payload_id == f.payload_id, later.instruction_id.is_(None), later.id > f.id, later.state.in_(UNSETTLED)
        )
        whole = f.instruction_id.is_(None)
        untold = exists().where(telling.c.payload_id == p.id, telling.c.state == TellingState.WAITING)
        waits = case((whole, or_(~p.translated, untold)), else_=i.state == InstructionState.WAITING)
        again = or_(f.state.in_(UNSETTLED), and_(whole, or_(p.state == PayloadState.FAILED, otherwise)))
        result = case(
            (waits, literal(Result.WAITS.value)),
            (again, literal(Result.FAILED_AGAIN.value)),
            else_=literal(Result.APPLIED.value),
        )
        found = await self._connection.execute(
            select(f.id, result.label("result"))
            .join_from(failure, payload, p.id == f.payload_id)
            .join(instruction, i.id == f.instruction_id, isouter=True)
            .where(among(f.id, failure_ids))
        )
        return {row.id: Result(row.result) for row in found}

    async def save(self, job: LockedReplay) -> None:
        replay = job.replay
        await self._connection.execute(
            update(replay_job)
            .where(r.id == replay.id)
            .values(
                state=replay.state,
                ended_at=replay.ended_at,
                version=replay.version,
                after_id=job.after,
                chunk=list(job.chunk),
                chunk_at=job.chunk_at,
                **{name: getattr(replay, name) for name in COUNTS},
            )
        )


JOB = (*REPLAY, r.after_id, r.until_id, r.chunk, r.chunk_at)


def _theirs(which: FailureFilter, actor: Actor) -> list[ColumnElement[bool]]:
    return [*fitting(which), failures.visible_to(actor)]


def _replay(row: Row[Any]) -> Replay:
    return Replay(
        row.id,
        row.merchant_id,
        Actor(row.by_kind, row.by_id),
        row.which,
        row.state,
        **{name: getattr(row, name) for name in COUNTS},
        started_at=row.started_at,
        ended_at=row.ended_at,
        version=row.version,
    )


def _job(row: Row[Any]) -> LockedReplay:
    return LockedReplay(_replay(row), row.after_id, row.until_id, tuple(row.chunk), row.chunk_at)


# ---------------------------------------------------------------- reading


async def replays(reads: Reads, actor: Actor, merchant_id: UUID | None, first: int | None, after: str | None) -> Page[Replay]:
    """The newest first. Without a merchant: whatever the actor may see. Refuses InvalidInput for a page that cannot be."""
    found = select(*REPLAY).where(visible_to(actor))
    if merchant_id is not None:
        found = found.where(r.merchant_id == merchant_id)
    return await page(reads, found, [By(r.id, descending=True)], _replay, first, after, "replays")


async def replay_by_id(reads: Reads, actor: Actor, id: UUID) -> Replay | None:
    row = await reads.one(select(*REPLAY).where(r.id == id).where(visible_to(actor)))
    return _replay(row) if row else None
