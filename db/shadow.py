"""What a source has sent, with what was kept of it: to be read once more in another way."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, Row, Select, Text, cast, exists, or_, select

from db.arrays import among
from db.ids import first_id
from db.instructions import as_kept, to_command
from db.pages import By, Page, page
from db.payloads import STORED, WHOLE
from db.reads import Reads
from db.sources import of_merchant
from db.tables import failure, instruction, judgement, payload
from domain.bodies import Stored
from domain.canonical import Command
from domain.identity import Actor
from domain.intake import FailureKind, FailureState, PayloadState, Reading, Wrong, described
from domain.payloads import OTHERWISE
from domain.profile_shadow import Apart, Heard, difference, told_apart
from domain.refusals import Problem

p, i, f = payload.c, instruction.c, failure.c
CLOCKS_APART_S = 3600


@dataclass(frozen=True, slots=True)
class Sent:
    id: UUID
    size: int  # bytes of its body


def _sent(actor: Actor, source_id: UUID, *which: ColumnElement[bool]) -> Select[Any]:
    """Kept whole, and read; not what repeats another, nor what nobody has proven to be the source's."""
    not_read = or_(f.kind == FailureKind.AUTH, f.message.endswith(OTHERWISE))
    unproven = exists().where(f.payload_id == p.id, f.instruction_id.is_(None), not_read)
    return (
        select(p.id, p.size)
        .where(p.source_id == source_id, p.translated, p.state != PayloadState.DUPLICATE, WHOLE, ~unproven)
        .where(*which)
        .where(of_merchant(p.merchant_id, actor))
    )


async def sent(
    reads: Reads, actor: Actor, source_id: UUID, since: datetime | None, first: int | None, after: str | None
) -> Page[Sent]:
    """The newest first. Refuses InvalidInput for a page that cannot be."""
    which = [] if since is None else [p.received_at >= since, p.id >= first_id(since, -CLOCKS_APART_S)]
    found = _sent(actor, source_id, *which)
    return await page(reads, found, [By(p.id, descending=True)], lambda row: Sent(row.id, row.size), first, after, "shadow")


async def latest(reads: Reads, actor: Actor, source_id: UUID, first: int) -> Sequence[UUID]:
    """The newest last."""
    found = await reads.rows(_sent(actor, source_id).order_by(p.id.desc()).limit(first))
    return [row.id for row in reversed(found)]


async def heard(reads: Reads, actor: Actor, ids: Collection[UUID]) -> Mapping[UUID, Heard]:
    """Three statements, however many they are."""
    whole = select(p.id, p.door, *STORED, p.headers, p.received_at).where(among(p.id, ids)).where(of_merchant(p.merchant_id, actor))
    bodies = await reads.rows(whole)
    mine = [row.id for row in bodies]
    told = select(i.payload_id, i.command, cast(i.body, Text).label("body")).where(among(i.payload_id, mine))
    said: dict[UUID, list[Command]] = {}
    for row in await reads.rows(told.order_by(i.payload_id, i.ordinal)):
        said.setdefault(row.payload_id, []).append(to_command(row.command, row.body))
    # What waits for people could be read.
    held = exists().where(judgement.c.payload_id == f.payload_id, judgement.c.failure_id == f.id)
    wrong = select(f.payload_id, f.message).where(
        among(f.payload_id, mine),
        f.instruction_id.is_(None),
        f.kind == FailureKind.VALIDATION,
        f.state != FailureState.RESOLVED,
        ~held,
    )
    problems: dict[UUID, str] = {row.payload_id: row.message for row in await reads.rows(wrong.order_by(f.id))}
    return {row.id: _heard(row, said.get(row.id, []), problems.get(row.id, "")) for row in bodies}


def _heard(row: Row[Any], said: Sequence[Command], message: str) -> Heard:
    lines = [line for line in message.splitlines() if not line.startswith("…")]
    problems = [Problem(path, rest) for path, colon, rest in (line.partition(": ") for line in lines) if colon]
    # One that is a list has a place in each of its lines.
    listed = len(problems) == len(lines)
    kept = Reading(said, Wrong(FailureKind.VALIDATION, message) if lines else None, problems=problems if listed else ())
    stored = Stored(row.body, row.blob, row.size, row.sha256)
    return Heard(row.door, stored, row.headers, row.received_at, kept)


def apart(one: Heard, again: Reading) -> Apart:
    """From what was kept to what would be. What could not be kept is wrong."""
    try:
        again = replace(again, commands=[as_kept(command) for command in again.commands])
        return told_apart(difference(one.kept, again))
    except Exception as error:  # whatever has made these commands is still being written
        no = Reading(wrong=Wrong(FailureKind.VALIDATION, described(error)))
        return told_apart(difference(one.kept, no))
