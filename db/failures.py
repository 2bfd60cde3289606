"""Failures, and the payloads and instructions they are failures of, as people read them."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import ARRAY, Column, ColumnElement, Row, Text, Uuid, and_, case, exists, false, func, or_, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.sql.base import ReadOnlyColumnCollection

from db.arrays import among, rows
from db.ids import first_id
from db.pages import By, Page, page
from db.payloads import WHOLE
from db.reads import Reads
from db.sources import of_merchant
from db.tables import batch_undo, failure, instruction, judgement, mapping, merchant, payload, source_telling, telling
from db.words import beginnings
from domain.batches import Decision
from domain.bodies import Stored
from domain.doors import PATH
from domain.failures import Failed, Failure, FailureFilter, NewFailure, fingerprint
from domain.identity import Actor
from domain.intake import EntityKind, FailureKind, FailureState, InstructionState, PayloadState
from domain.telling import DOOR, TellingState

f, p, i, m = failure.c, payload.c, instruction.c, mapping.c
Columns = ReadOnlyColumnCollection[str, Column[Any]] | ReadOnlyColumnCollection[str, ColumnElement[Any]]
CLOCKS_APART_S = 3600
FAILURE = tuple(f[one.name] for one in fields(Failure))
UNSETTLED = [FailureState.OPEN, FailureState.ACKNOWLEDGED]


def visible_to(actor: Actor) -> ColumnElement[bool]:
    """Those of nobody's source are support's alone."""
    return of_merchant(f.merchant_id, actor)


class SqlFailures:
    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def add(self, failures: Sequence[NewFailure]) -> list[Failure]:
        one = rows(
            "one",
            id=(Uuid(), [new.id for new in failures]),
            kind=(Text(), [new.kind.value for new in failures]),
            state=(Text(), [new.state.value for new in failures]),
            message=(Text(), [new.message for new in failures]),
            payload_id=(Uuid(), [new.payload_id for new in failures]),
            instruction_id=(Uuid(), [new.instruction_id for new in failures]),
            merchant_id=(Uuid(), [new.merchant_id for new in failures]),
            source_id=(Uuid(), [new.source_id for new in failures]),
            provider=(Text(), [new.provider for new in failures]),
            fingerprint=(Text(), [fingerprint(new.provider, new.kind, new.message) for new in failures]),
            store=(Text(), [new.store for new in failures]),
        ).c
        theirs = (m.source_id == one.source_id, m.kind == EntityKind.STORE)
        said = select(m.id).where(*theirs, m.external_id == one.store).scalar_subquery()
        stores = func.array_agg(m.id.distinct(), type_=ARRAY(Uuid()))
        only = select(stores[1]).where(*theirs).having(func.array_length(stores, 1) == 1).scalar_subquery()
        store_id = case((one.store.is_not(None), said), else_=only)
        told = [column for column in one if column is not one.store]
        added = await self._connection.execute(
            insert(failure)
            .from_select([*(column.name for column in told), "store_id"], select(*told, store_id))
            .returning(*FAILURE)
        )
        return [Failure(*row) for row in added]

    async def unsettled(self, payload_ids: Collection[UUID]) -> list[Failure]:
        found = await self._connection.execute(
            select(*FAILURE).where(among(f.payload_id, payload_ids), f.state.in_(UNSETTLED)).order_by(f.id)
        )
        return [Failure(*row) for row in found]

    async def settle(self, instruction_ids: Collection[UUID]) -> list[Failure]:
        return await self._change(among(f.instruction_id, instruction_ids), f.state.in_(UNSETTLED), state=FailureState.RESOLVED)

    async def settle_payload(self, payload_id: UUID) -> list[Failure]:
        return await self._change(
            f.payload_id == payload_id,
            f.instruction_id.is_(None),
            f.kind == FailureKind.VALIDATION,
            f.state.in_(UNSETTLED),
            state=FailureState.RESOLVED,
        )

    async def replayed(self, ids: Collection[UUID], state: FailureState) -> list[Failure]:
        return await self._change(f.id.in_(ids), state=state, replays=f.replays + 1)

    async def change(self, id: UUID, state: FailureState, note: str) -> Failure:
        (changed,) = await self._change(f.id == id, state=state, note=note)
        return changed

    async def _change(self, *which: ColumnElement[bool], **what: Any) -> list[Failure]:
        # In id order, as people who replay them take them.
        mine = select(f.id).where(*which).order_by(f.id).with_for_update(key_share=True).cte("mine")
        done = await self._connection.execute(
            update(failure).where(f.id == mine.c.id).values(version=f.version + 1, **what).returning(*FAILURE)
        )
        return [Failure(*row) for row in done]

    async def lock(self, ids: Collection[UUID], actor: Actor) -> list[Failed]:
        mine = select(f.id, f.instruction_id, f.payload_id).where(f.id.in_(ids)).where(visible_to(actor))
        await self._lock((await self._connection.execute(mine)).all())
        again = payload.alias("again")
        j = judgement.c
        parked = exists().where(j.payload_id == p.id, j.failure_id == f.id, j.state == Decision.PARKED)
        repeated = exists().where(
            again.c.source_id == p.source_id,
            again.c.id != p.id,
            again.c.sha256 == p.sha256,
            again.c.door == p.door,
            again.c.headers[PATH].astext.is_not_distinct_from(p.headers[PATH].astext),
            again.c.id > p.id,
            again.c.state.not_in([PayloadState.REJECTED, PayloadState.DUPLICATE]),
            p.state == PayloadState.REJECTED,
        )
        untold = telling.c.state.in_([TellingState.WAITING, TellingState.FAILED])
        told = and_(p.door == DOOR, ~exists().where(telling.c.payload_id == p.id, untold))
        has = exists().where(telling.c.payload_id == p.id, telling.c.state == TellingState.TOLD)
        on = exists().where(source_telling.c.source_id == p.source_id, source_telling.c.since.is_not(None))
        its = instruction.alias("its")
        found = await self._connection.execute(
            select(
                *FAILURE,
                its.c.state.label("instruction"),
                p.state.label("payload"),
                (~WHOLE).label("truncated"),
                parked.label("parked"),
                or_(repeated, told).label("repeated"),
                exists().where(batch_undo.c.payload_id == p.id).label("undone"),
                and_(p.door == DOOR, ~on, ~has).label("off"),
            )
            .join_from(failure, payload, p.id == f.payload_id)
            .join(its, its.c.id == f.instruction_id, isouter=True)
            .where(f.id.in_(ids))
            .where(visible_to(actor))
            .order_by(f.id)
        )
        size = len(FAILURE)
        return [Failed(Failure(*row[:size]), *row[size:]) for row in found]

    async def _lock(self, found: Sequence[Row[Any, Any, Any]]) -> None:
        """As workers do: instructions, what went wrong with them, payloads, what went wrong with those; each by id."""
        instructions = [row.instruction_id for row in found if row.instruction_id is not None]
        of_instructions = [row.id for row in found if row.instruction_id is not None]
        of_payloads = [row.id for row in found if row.instruction_id is None]
        payloads = {row.payload_id for row in found}
        for key, wanted in ((i.id, instructions), (f.id, of_instructions), (p.id, payloads), (f.id, of_payloads)):
            if wanted:
                await self._connection.execute(select(key).where(key.in_(wanted)).order_by(key).with_for_update())


# ---------------------------------------------------------------- reading


def fitting(which: FailureFilter, c: Columns = f) -> Sequence[ColumnElement[bool]]:
    """Of the table, or of an alias of it. Refuses InvalidInput for a text that is none."""
    equal = (
        (c.merchant_id, which.merchant_id),
        (c.provider, which.provider),
        (c.state, which.state),
        (c.kind, which.kind),
        (c.store_id, which.store_id),
        (c.fingerprint, which.fingerprint),
    )
    found = [column == value for column, value in equal if value is not None]
    # By the key too, as which a list is walked; it was made a little before the row, maybe on another machine.
    if which.since is not None:
        found += [c.at >= which.since, c.id >= first_id(which.since, -CLOCKS_APART_S)]
    if which.until is not None:
        found += [c.at < which.until, c.id < first_id(which.until, CLOCKS_APART_S)]
    if which.text is not None and which.text.strip():
        words = beginnings(which.text, "text")
        found.append(false() if words is None else c.search.op("@@", is_comparison=True)(words))
    return found


async def failures(reads: Reads, actor: Actor, which: FailureFilter, first: int | None, after: str | None) -> Page[Failure]:
    """The newest first. Refuses InvalidInput for a page that cannot be, or a text that is none."""
    found = select(*FAILURE).where(visible_to(actor)).where(*fitting(which))
    return await page(reads, found, [By(f.id, descending=True)], _failure, first, after, "failures")


def _failure(row: Row[Any]) -> Failure:
    return Failure(*row[: len(FAILURE)])


async def failures_by_id(reads: Reads, actor: Actor, ids: Sequence[UUID]) -> Sequence[Failure]:
    return [Failure(*row) for row in await reads.rows(select(*FAILURE).where(f.id.in_(ids)).where(visible_to(actor)))]


async def failures_of(reads: Reads, actor: Actor, instruction_ids: Sequence[UUID]) -> Sequence[Failure]:
    """Of each instruction the latest."""
    found = select(*FAILURE).where(among(f.instruction_id, instruction_ids)).where(visible_to(actor))
    return [Failure(*row) for row in await reads.rows(found.order_by(f.id))]


@dataclass(frozen=True, slots=True)
class Payload:
    """`headers` are for people: masked. Of a body that lies in its row `stored` has the beginning."""

    id: UUID
    source_id: UUID | None
    merchant_id: UUID | None
    provider: str
    door: str
    received_at: datetime
    state: PayloadState
    headers: str
    stored: Stored


BODY_SHOWN = 64 * 1024


async def payloads_by_id(reads: Reads, actor: Actor, ids: Sequence[UUID]) -> Sequence[Payload]:
    body = func.substring(p.body, 1, BODY_SHOWN).label("shown")
    stored = (body, p.blob, p.size, p.sha256)
    found = select(p.id, p.source_id, p.merchant_id, p.provider, p.door, p.received_at, p.state, p.headers, *stored)
    return [_payload(row) for row in await reads.rows(found.where(p.id.in_(ids)).where(of_merchant(p.merchant_id, actor)))]


def _payload(row: Row[Any]) -> Payload:
    headers = "\n".join(f"{name}: {value}" for name, value in sorted(row.headers.items()))
    stored = Stored(row.shown, row.blob, row.size, row.sha256)
    return Payload(row.id, row.source_id, row.merchant_id, row.provider, row.door, row.received_at, row.state, headers, stored)


@dataclass(frozen=True, slots=True)
class Instruction:
    id: UUID
    payload_id: UUID
    command: str
    entity: str
    state: InstructionState
    attempts: int


INSTRUCTION = (i.id, i.payload_id, i.command, i.entity, i.state, i.attempts)


async def instructions(reads: Reads, actor: Actor, payload_id: UUID, first: int | None, after: str | None) -> Page[Instruction]:
    """As the payload says them. Refuses InvalidInput for a page that cannot be."""
    found = select(*INSTRUCTION).where(i.payload_id == payload_id).where(of_merchant(i.merchant_id, actor))
    return await page(reads, found, [By(i.ordinal), By(i.id)], lambda row: Instruction(*row[:6]), first, after, "instructions")


async def instructions_by_id(reads: Reads, actor: Actor, ids: Sequence[UUID]) -> Sequence[Instruction]:
    found = select(*INSTRUCTION).where(i.id.in_(ids)).where(of_merchant(i.merchant_id, actor))
    return [Instruction(*row) for row in await reads.rows(found)]


async def may_see(reads: Reads, actor: Actor, merchant_id: UUID) -> bool:
    """Whether the actor looks after this merchant's sources."""
    found = select(merchant.c.id).where(merchant.c.id == merchant_id).where(of_merchant(merchant.c.id, actor))
    return await reads.one(found) is not None
