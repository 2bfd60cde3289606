"""Long payloads: read and kept some rows at a time, so that a file of a hundred thousand rows needs room for its bytes, some times
over, and its ids, but not for what its rows say.
"""

from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

from domain import failures
from domain.failures import NewFailure, fail
from domain.intake import JUDGEMENT, Batch, FailureKind, PayloadState, Source, listed
from domain.payloads import Unread, first_stage
from domain.refusals import Problem

if TYPE_CHECKING:
    from domain.unit_of_work import UnitOfWork

MANY = 5_000
TOLD = 1_000  # problems that a message may name; of the others it tells how many they are


async def read_in_pieces(unread: Unread, source: Source, whole: bool, batches: AsyncIterator[Batch], uow: "UnitOfWork") -> None:
    """A payload that has no instructions yet gets those of all its pieces, in one transaction: it is read whole or not at all.

    What the pieces raise is for the caller to keep.
    """
    waits_for = JUDGEMENT if whole else None
    now = await uow.now()
    added, beyond, stages = 0, 0, set[int]()
    problems: list[Problem] = []
    async for batch in batches:
        if batch.commands:
            stages.add(first_stage(batch.commands, now))
            await uow.instructions.add(unread.id, source, batch.commands, unread.received_at, waits_for=waits_for, after=added)
            added += len(batch.commands)
        room = TOLD - len(problems)
        problems += batch.problems[:room]
        beyond += max(0, len(batch.problems) - room)
    state = PayloadState.ACCEPTED if added else PayloadState.FAILED if problems else PayloadState.APPLIED
    judged = not (whole and added)
    stage = min(stages, default=0)
    await uow.payloads.translated(unread.id, state=state, judged=judged, stage=stage, dedupe_key=unread.dedupe_key)
    await failures.settle_payload(unread.id, uow)
    if problems:
        message = listed(problems, beyond)
        new = NewFailure(uow.new_id(), FailureKind.VALIDATION, message, unread.id, source.merchant_id, source.id, source.provider)
        await fail(uow, new)
    await uow.instructions.settle()
    if added >= MANY:
        await uow.instructions.weigh()  # last: another's weighing would wait for this transaction
