"""What people decide about a batch that is held: it runs, or it never does."""

from dataclasses import dataclass
from typing import TYPE_CHECKING
from uuid import UUID

from domain.batches import Decision, let_run, record_approval, undecided_batch
from domain.failures import FailureChanged, tell
from domain.identity import Actor
from domain.intake import APPROVAL, FailureState
from domain.texts import line

if TYPE_CHECKING:
    from domain.unit_of_work import UnitOfWork

REASON_CHARACTERS = 500


@dataclass(frozen=True)
class RefuseBatch:
    payload_id: UUID
    reason: str


async def approve_batch(payload_id: UUID, actor: Actor, uow: "UnitOfWork") -> None:
    """For the merchant's owners and managers, and support. Refuses NotFound, and Conflict where it is decided already."""
    approved = await let_run(payload_id, actor, uow)
    await tell(await uow.failures.replayed([approved.batch.failure_id], FailureState.RESOLVED), uow)
    await record_approval(approved, actor, uow)


async def refuse_batch(command: RefuseBatch, actor: Actor, uow: "UnitOfWork") -> None:
    """None of it is ever carried out. For whom approve_batch is. Refuses InvalidInput, NotFound, Conflict."""
    reason = line("reason", command.reason, REASON_CHARACTERS)
    held = await undecided_batch(command.payload_id, actor, uow)
    refused = await uow.instructions.refuse(command.payload_id, APPROVAL)
    await uow.instructions.settle()
    await uow.batches.decide(command.payload_id, Decision.REFUSED, actor, reason)
    await uow.events.add(FailureChanged(await uow.failures.change(held.failure_id, FailureState.IGNORED, reason)))
    await uow.audit.write(actor, "refuseBatch", command.payload_id, held.merchant_id, f"{refused} instructions: {reason}")
