"""How far a file has come: its rows as they were read, and what became of them."""

from uuid import UUID

from sqlalchemy import Boolean, func, select

from db.payloads import LIVE, STORED
from db.reads import Reads
from db.tables import failure, instruction, payload
from domain.bodies import Stored
from domain.canonical import named
from domain.imports import ERRORS_SHOWN, Job, Sent, Undone
from domain.intake import EntityKind, FailureState, InstructionState, PayloadState

p, i, f = payload.c, instruction.c, failure.c
A_ROW = named(EntityKind.VARIANT, "")  # a good, in its store where it names one: what a row is about
OPEN = (InstructionState.WAITING, InstructionState.PARKED)
NOT_DONE = (InstructionState.FAILED, InstructionState.REFUSED)


async def job(reads: Reads, source_id: UUID, payload_id: UUID, door: str) -> Job | None:
    """Of a payload that came to this door. What repeats another is that other."""
    mine = select(p.id, p.state, p.translated, p.dedupe_key).where(p.source_id == source_id, p.door == door)
    found = await reads.one(mine.where(p.id == payload_id))
    if found is not None and found.state is PayloadState.DUPLICATE:
        found = await reads.one(mine.where(p.dedupe_key == found.dedupe_key, LIVE)) or found
    if found is None:
        return None
    waiting = func.bool_or(i.state.in_(OPEN), type_=Boolean)
    failed = func.bool_or(i.state.in_(NOT_DONE), type_=Boolean)
    rows = (
        select(waiting.label("waiting"), failed.label("failed"))
        .where(i.payload_id == found.id, i.entity.startswith(A_ROW, autoescape=True))
        .group_by(i.entity)
        .subquery()
    )
    total, wait = func.count(), rows.c.waiting & ~rows.c.failed
    counted = await reads.one(select(total, total.filter(wait), total.filter(rows.c.failed)).select_from(rows))
    assert counted is not None
    undone = await reads.rows(
        select(i.entity, f.kind, f.message)
        .join_from(failure, instruction, i.id == f.instruction_id)
        .where(f.payload_id == found.id, f.state.in_([FailureState.OPEN, FailureState.ACKNOWLEDGED]))
        .order_by(f.id)
        .limit(ERRORS_SHOWN)
    )
    every, waits, fails = counted
    return Job(found.id, found.state, found.translated, every - waits - fails, waits, fails, [Undone(*row) for row in undone])


async def sent(reads: Reads, payload_id: UUID) -> Sent:
    found = await reads.one(select(*STORED, p.headers, p.received_at).where(p.id == payload_id))
    assert found is not None
    return Sent(Stored(*found[:4]), *found[4:])
