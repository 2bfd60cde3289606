"""Batches: all the instructions of one payload. One that would do too much waits for people, who decide about it once."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from typing import TYPE_CHECKING, Protocol
from uuid import UUID

from domain.identity import Actor
from domain.intake import APPROVAL
from domain.refusals import Conflict, Refused, not_found

if TYPE_CHECKING:
    from domain.judgement import Verdict
    from domain.unit_of_work import UnitOfWork


class Decision(Enum):
    """What has become of a batch that was held."""

    PARKED = "PARKED"  # nobody has decided yet
    APPROVED = "APPROVED"
    REFUSED = "REFUSED"


class BatchState(Enum):
    RUNNING = "RUNNING"  # some of it is to be carried out still
    PARKED = "PARKED"  # it waits for somebody to approve it, or to refuse it
    REFUSED = "REFUSED"
    DONE = "DONE"  # but for what failed, or waits for a mapping
    UNDOING = "UNDOING"
    UNDONE = "UNDONE"


@dataclass(frozen=True)
class HeldBatch:
    """A batch that was held, locked."""

    payload_id: UUID
    merchant_id: UUID
    failure_id: UUID
    state: Decision
    by: Actor | None
    decided_at: datetime | None


class BatchStore(Protocol):
    async def park(self, payload_id: UUID, merchant_id: UUID, source_id: UUID, verdict: "Verdict", failure_id: UUID) -> None:
        """It waits for people from now on; also where they have decided about an earlier reading of it."""

    async def lock(self, payload_id: UUID, actor: Actor) -> tuple[bool, HeldBatch | None]:
        """Whether the actor may see such a batch; and how it was held, if it was. Its payload is locked first."""

    async def decide(self, payload_id: UUID, decision: Decision, actor: Actor, reason: str | None) -> None:
        """Of one already locked."""

    async def outdated(self, payload_id: UUID) -> Collection[UUID]:
        """Those of its instructions that are old news by what others have said since: people, or another source."""


async def undecided_batch(payload_id: UUID, actor: Actor, uow: "UnitOfWork") -> HeldBatch:
    """Locked, and still to be decided about. Refuses NotFound, Conflict."""
    there, held = await uow.batches.lock(payload_id, actor)
    if not there:
        raise not_found("batch")
    if held is None:
        raise Refused(Conflict("the batch was never held: there is nothing to decide"))
    if held.state is not Decision.PARKED:
        when = "" if held.decided_at is None else f" at {held.decided_at.isoformat(timespec='seconds')}"
        raise Refused(Conflict(f"the batch was {held.state.value.lower()} by {held.by}{when}"))
    return held


@dataclass(frozen=True)
class Approved:
    batch: HeldBatch
    running: int
    superseded: int


async def let_run(payload_id: UUID, actor: Actor, uow: "UnitOfWork") -> Approved:
    """A batch that waits is carried out, in order and in its place: what its source has said since is newer, and stays.

    So does what others have said since, whom the source knows nothing of: those instructions are superseded. What is returned is
    for `record_approval`, once everything is locked. Refuses NotFound, Conflict.
    """
    batch = await undecided_batch(payload_id, actor, uow)
    outdated = await uow.batches.outdated(payload_id)
    if outdated:
        await uow.instructions.supersede(outdated)
    running = await uow.instructions.release(payload_id, APPROVAL)
    await uow.instructions.settle()
    await uow.batches.decide(payload_id, Decision.APPROVED, actor, None)
    return Approved(batch, running, len(outdated))


async def record_approval(approved: Approved, actor: Actor, uow: "UnitOfWork") -> None:
    batch = approved.batch
    detail = f"{approved.running} run, {approved.superseded} superseded"
    await uow.audit.write(actor, "approveBatch", batch.payload_id, batch.merchant_id, detail)
