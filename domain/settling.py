"""What became of a group of instructions, and of payloads read late: written down with what went wrong."""

from collections import defaultdict
from collections.abc import Collection, Hashable, Mapping, Sequence
from typing import TYPE_CHECKING
from uuid import UUID

from domain import failures
from domain.failures import NewFailure, fail
from domain.intake import (
    APPROVAL,
    JUDGEMENT,
    FailureKind,
    InstructionState,
    PayloadState,
    Reading,
    Source,
    Wrong,
)
from domain.judgement import Rule, Verdict, judge
from domain.payloads import OTHERWISE, REPEATED, Unjudged, Unread, first_stage, whole
from domain.queue import Group, Instruction, Origin, Outcome

if TYPE_CHECKING:
    from domain.canonical import Command
    from domain.unit_of_work import UnitOfWork

DONE = frozenset({InstructionState.APPLIED, InstructionState.SUPERSEDED})


async def settle(group: Group, outcomes: Mapping[UUID, Outcome], uow: "UnitOfWork") -> None:
    """States, failures and events, in the transaction of the work. What was wrong and is no longer is RESOLVED."""
    await uow.instructions.finish(outcomes)
    done = [id for id, outcome in outcomes.items() if outcome.state in DONE]
    if done:
        await failures.settle(done, uow)
    wrong = [(one, outcome) for one in group.instructions if (outcome := outcomes.get(one.id)) and outcome.kind]
    if wrong:
        before = await uow.failures.unsettled({one.payload_id for one, _ in wrong})
        said = {(failure.payload_id, failure.message) for failure in before if failure.kind is FailureKind.MAPPING}
        known = {failure.instruction_id for failure in before if failure.kind is not FailureKind.MAPPING}
        new = []
        for one, outcome in wrong:
            assert outcome.kind is not None
            # What a whole payload waits for is said once, not for each of its thousand instructions.
            told = (one.payload_id, outcome.message)
            if outcome.state is InstructionState.PARKED and told in said:
                continue
            if outcome.state is InstructionState.FAILED and one.id in known:
                continue
            said.add(told)
            new.append(_failure(uow.new_id(), outcome.kind, outcome.message, one.payload_id, group.origin, one))
        await fail(uow, *new)
    await uow.instructions.settle()


def _failure(
    id: UUID, kind: FailureKind, message: str, payload_id: UUID, origin: Origin | Source, of: Instruction | None = None
) -> NewFailure:
    source_id = origin.source_id if isinstance(origin, Origin) else origin.id
    instruction_id, store = (of.id, of.command.store) if of else (None, None)
    return NewFailure(id, kind, message, payload_id, origin.merchant_id, source_id, origin.provider, instruction_id, store)


async def judged(payload_id: UUID, uow: "UnitOfWork") -> None:
    """A whole push runs, or waits for somebody to approve it."""
    group = await uow.instructions.of_payload(payload_id)
    verdict = await judge(group, uow) if group else None
    await uow.payloads.judged(payload_id)
    if verdict is None or group is None:
        await uow.instructions.release(payload_id, JUDGEMENT)
    else:
        await uow.instructions.approve_later(payload_id, JUDGEMENT, APPROVAL)
        said = f"{verdict.message}: approve the batch, or refuse it"
        await _park(verdict, _failure(uow.new_id(), FailureKind.VALIDATION, said, payload_id, group.origin), uow)
    await uow.instructions.settle()


async def _park(verdict: Verdict, failure: NewFailure, uow: "UnitOfWork") -> None:
    """Until people have decided. The failure tells them of it."""
    assert failure.merchant_id is not None
    assert failure.source_id is not None
    await fail(uow, failure)
    await uow.batches.park(failure.payload_id, failure.merchant_id, failure.source_id, verdict, failure.id)


async def not_judged(unjudged: Unjudged, message: str, uow: "UnitOfWork") -> None:
    """A whole push that nothing of ours can judge waits for somebody to approve it, and stops none of the others."""
    await uow.payloads.judged(unjudged.id)
    await uow.instructions.approve_later(unjudged.id, JUDGEMENT, APPROVAL)
    verdict = Verdict(Rule.UNKNOWN, f"what it would do cannot be told: {message}")
    said = f"{verdict.message}\napprove the batch to run it all the same, or refuse it"
    merchant_id = await uow.sources.merchant_of(unjudged.source_id)
    new = NewFailure(uow.new_id(), FailureKind.PROCESSING, said, unjudged.id, merchant_id, unjudged.source_id, unjudged.provider)
    await _park(verdict, new, uow)
    await uow.instructions.settle()


async def read_late(unread: Unread, source: Source, reading: Reading, uow: "UnitOfWork") -> None:
    """A payload that was kept before it was translated, or is replayed. What it said before is not said again."""
    before = await uow.instructions.of_payload(unread.id)
    said = [one.command for one in before.instructions] if before else []
    key = unread.dedupe_key  # what it was known by at the door it stays known by
    if key is None and not reading.refused:  # an id whose first body says nothing is free for the right one
        key = reading.event_id
    if key is not None and unread.dedupe_key is None:
        other = await uow.payloads.known_as(source.id, key)
        if other is not None and not said:
            await _known_already(unread, source, key, other.sha256, uow)
            return
        key = None if other is not None else key  # another delivery of it was accepted meanwhile
    new = _unsaid(reading.commands, said)
    if reading.refused:
        state = PayloadState.FAILED
    else:
        state = PayloadState.ACCEPTED if new or said else PayloadState.APPLIED
    judge_first = whole(new)
    await uow.payloads.translated(
        unread.id, state=state, judged=not judge_first, stage=first_stage(new, await uow.now()), dedupe_key=key
    )
    await uow.instructions.add(
        unread.id, source, new, unread.received_at, waits_for=JUDGEMENT if judge_first else None, after=len(said)
    )
    await _told_late(unread, source, reading.wrong, uow)
    await uow.instructions.settle()


def _unsaid(commands: Sequence["Command"], said: Collection["Command"]) -> list["Command"]:
    """In their order. Each is compared with the few that could be the same, and not with a whole menu."""
    alike: defaultdict[Hashable, list[Command]] = defaultdict(list)
    for command in said:
        alike[_kin(command)].append(command)
    return [command for command in commands if command not in alike.get(_kin(command), ())]


def _kin(command: "Command") -> Hashable:
    """The same of commands that are the same."""
    return type(command), command.entity, command.version, command.at


async def _known_already(unread: Unread, source: Source, key: str, sha256: bytes, uow: "UnitOfWork") -> None:
    """As at the door: the same news is for the record alone, other news under the same id is not believed."""
    if unread.body.sha256 == sha256:
        state, wrong = PayloadState.DUPLICATE, Wrong(FailureKind.DUPLICATE, REPEATED)
    else:
        state, wrong = PayloadState.FAILED, Wrong(FailureKind.VALIDATION, f"{key} {OTHERWISE}")
    kept = key if state is PayloadState.DUPLICATE else None
    await uow.payloads.translated(unread.id, state=state, judged=True, stage=0, dedupe_key=kept)
    await _told_late(unread, source, wrong, uow)


async def _told_late(unread: Unread, source: Source, wrong: Wrong | None, uow: "UnitOfWork") -> None:
    before = [one for one in await uow.failures.unsettled([unread.id]) if one.instruction_id is None]
    if wrong is not None and any(one.message == wrong.message for one in before):
        return
    if before:
        await failures.settle_payload(unread.id, uow)
    if wrong is not None:
        await fail(uow, _failure(uow.new_id(), wrong.kind, wrong.message, unread.id, source))


async def give_up(unread: Unread, message: str, uow: "UnitOfWork") -> None:
    """A payload that nothing of ours can read: kept, FAILED, and said. A replay tries it again."""
    await uow.payloads.translated(unread.id, state=PayloadState.FAILED, judged=True, stage=0, dedupe_key=unread.dedupe_key)
    merchant_id = await uow.sources.merchant_of(unread.source_id)
    new = NewFailure(uow.new_id(), FailureKind.VALIDATION, message, unread.id, merchant_id, unread.source_id, unread.provider)
    await fail(uow, new)
