"""Instructions held against who is believed: those of another are not carried out, and what they claim is kept as a conflict."""

from collections.abc import Sequence
from typing import TYPE_CHECKING
from uuid import UUID

from domain.conflicts import Claim, ConflictState, Said, agree, moot
from domain.intake import InstructionState
from domain.queue import Outcome
from domain.truth import Field
from domain.work import Placed, Work, store_of

if TYPE_CHECKING:
    from domain.unit_of_work import UnitOfWork

OVERRULED = Outcome(InstructionState.SUPERSEDED)  # by policy: nothing went wrong, and nothing is to be tried again
_LEFT = (ConflictState.OPEN, ConflictState.DISMISSED)


def overruled_by(work: Work, field: Field, one: Placed) -> UUID | None:
    """Who is believed there, where it is another."""
    believed = work.origin.rules.get((store_of(one), field))
    return None if believed == work.origin.source_id else believed


def heed(work: Work, field: Field, told: Sequence[tuple[Placed, Sequence[UUID], Claim]]) -> list[Placed]:
    """Those to be carried out, each with the entities of which it tells: one that tells of nothing there is yet contradicts nobody.

    The others are done with, and what they claim is written down at the end of the group's work (`record`). They are asked before
    what is newer is: news that is not believed must not make old what is.
    """
    heard = []
    for one, entity_ids, claim in told:
        owner_id = overruled_by(work, field, one)
        if owner_id is None or not entity_ids:
            heard.append(one)
            if (store_of(one), field) in work.origin.rules:
                work.believed.setdefault(field, set()).update(entity_ids)
            continue
        work.outcomes[one.id] = OVERRULED
        version, at = one.command.version, one.command.not_before or one.instruction.at
        work.said.extend(Said(field, store_of(one), id, owner_id, claim, version, at) for id in entity_ids)
    return heard


async def record(work: Work) -> None:
    """After all else that the group does: conflicts are locked last."""
    if work.said:
        await _write(work, work.uow)
    for field, entity_ids in sorted(work.believed.items(), key=lambda item: item[0].value):
        if entity_ids:
            await moot(field, entity_ids, work.uow)


async def _write(work: Work, uow: "UnitOfWork") -> None:
    known = await uow.conflicts.known(work.origin.source_id, work.said)
    stands: dict[tuple[Field, UUID], Claim] = {}
    for field in {one.field for one in work.said}:
        found = await uow.conflicts.standing(field, {one.entity_id for one in work.said if one.field is field})
        stands |= {(field, entity_id): claim for entity_id, claim in found.items()}
    over, contradicting = [], []
    for one in work.said:
        key = (one.field, one.entity_id)
        if key not in stands:
            continue  # gone meanwhile
        if not agree(one.field, one.claim, stands[key]):
            contradicting.append((one, stands[key]))
        elif key in known and known[key].state in _LEFT and not one.is_older_than(known[key]):
            over.append(known[key].id)
    if over:
        await uow.conflicts.end(over, ConflictState.SETTLED)
    if contradicting:
        await uow.conflicts.write(work.origin.merchant_id, work.origin.source_id, contradicting)
