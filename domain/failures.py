"""What went wrong with a payload or an instruction, and what people do about it."""

import hashlib
import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Protocol
from uuid import UUID

from domain.batches import let_run, record_approval
from domain.events import Event, Topic
from domain.identity import Actor
from domain.intake import (
    FailureKind,
    FailureState,
    InstructionState,
    PayloadState,
)
from domain.refusals import Conflict, Refused, invalid, not_found
from domain.texts import line

if TYPE_CHECKING:
    from domain.unit_of_work import UnitOfWork

SUPPORT_FEED = UUID("00000000-0000-7000-8000-00000000fa11")  # concerns whoever follows the failures of all merchants
BORN_RESOLVED = frozenset({FailureKind.DUPLICATE, FailureKind.STALE})  # for the record: there is nothing to do about them


@dataclass(frozen=True, slots=True)
class Failure:
    id: UUID
    kind: FailureKind
    state: FailureState
    message: str
    payload_id: UUID
    instruction_id: UUID | None
    merchant_id: UUID | None
    source_id: UUID | None
    provider: str
    at: datetime
    replays: int
    version: int
    fingerprint: str = ""  # of what is alike: see below
    store_id: UUID | None = None  # where it was known as the failure was written


@dataclass(frozen=True)
class FailureFilter:
    """Which of them: all filters that are given hold. `since` is inclusive, `until` is not."""

    merchant_id: UUID | None = None
    provider: str | None = None
    state: FailureState | None = None
    kind: FailureKind | None = None
    store_id: UUID | None = None
    since: datetime | None = None
    until: datetime | None = None
    text: str | None = None  # beginnings of words of the message
    fingerprint: str | None = None


# ---------------------------------------------------------------- what is alike

_VALUES = (
    # What waits for VARIANT:TEA-250 and what waits for VARIANT:RICE waits for a variant. An id of theirs may have blanks.
    (re.compile(r"\b([A-Z]{4,}):(?=\S).*"), r"\1:…"),
    (re.compile(r"(?<!\w)(?:'[^'\n]*'|\"[^\"\n]*\"|`[^`\n]*`|‘[^’\n]*’|“[^”\n]*”)(?!\w)"), "…"),
    (re.compile(r"\[\d+\]"), "[#]"),
    (re.compile(r"[\w-]*\d[\w-]*"), "#"),
    (re.compile(r"#(?:[.,:/+-]*#)+"), "#"),
)
SHAPE_LIMIT = 1_000


def shape(message: str) -> str:
    """The message without what differs from one payload to the next: ids, numbers, places in lists, quoted values.

    Of several lines each kind once, in an order of their own.
    """
    lines = set()
    for line_ in message.splitlines():
        if line_.startswith("…"):  # how many more there were
            continue
        for pattern, instead in _VALUES:
            line_ = pattern.sub(instead, line_)
        lines.add(" ".join(line_.split()))
    return "\n".join(sorted(lines - {""}))[:SHAPE_LIMIT]


def fingerprint(provider: str, kind: FailureKind, message: str) -> str:
    """The same for what one mending mends: of one provider, of one kind, and alike but for values."""
    return hashlib.sha256("\0".join((provider, kind.value, shape(message))).encode()).hexdigest()[:16]


@dataclass(frozen=True)
class NewFailure:
    id: UUID
    kind: FailureKind
    message: str
    payload_id: UUID
    merchant_id: UUID | None
    source_id: UUID | None
    provider: str
    instruction_id: UUID | None = None
    store: str | None = None  # the source's id of the store it spoke of; None: its only one, where it has one

    @property
    def state(self) -> FailureState:
        return FailureState.RESOLVED if self.kind in BORN_RESOLVED else FailureState.OPEN


@dataclass(frozen=True)
class FailureChanged(Event):
    """Complete, so a feed sends it without reading it again."""

    failure: Failure

    topic, stream = Topic.FAILURES, "failure"

    @property
    def entity(self) -> UUID:
        return self.failure.id

    @property
    def seq(self) -> int:
        return self.failure.version

    @property
    def concerns(self) -> Sequence[UUID]:
        merchant_id = self.failure.merchant_id
        return (SUPPORT_FEED,) if merchant_id is None else (merchant_id, SUPPORT_FEED)


@dataclass(frozen=True)
class Failed:
    """A failure, locked, and what it is a failure of."""

    failure: Failure
    instruction: InstructionState | None
    payload: PayloadState
    truncated: bool
    parked: bool  # its payload waits for approval, and this tells of it
    repeated: bool  # the same news was accepted since
    undone: bool  # its batch is, or is being
    off: bool  # it says what its till was not told, and that is told of orders no more


class FailureStore(Protocol):
    async def add(self, failures: Sequence[NewFailure]) -> Sequence[Failure]:
        """Each with its fingerprint, and the store it is about where the source's mappings tell which."""

    async def unsettled(self, payload_ids: Collection[UUID]) -> Sequence[Failure]:
        """Those of these payloads, and of their instructions, that are OPEN or ACKNOWLEDGED."""

    async def settle(self, instruction_ids: Collection[UUID]) -> Sequence[Failure]:
        """What was wrong with instructions that have since been carried out is RESOLVED."""

    async def settle_payload(self, payload_id: UUID) -> Sequence[Failure]:
        """What was wrong with a payload as a whole is RESOLVED."""

    async def lock(self, ids: Collection[UUID], actor: Actor) -> Sequence[Failed]:
        """Those that the actor may see, in id order."""

    async def replayed(self, ids: Collection[UUID], state: FailureState) -> Sequence[Failure]:
        """One replay more."""

    async def change(self, id: UUID, state: FailureState, note: str) -> Failure: ...


async def fail(uow: "UnitOfWork", *failures: NewFailure) -> None:
    if failures:
        await tell(await uow.failures.add(failures), uow)


async def tell(failures: Sequence[Failure], uow: "UnitOfWork") -> None:
    """What has become of them, by their events."""
    causes = {failure.id: f"instruction:{failure.instruction_id}" for failure in failures if failure.instruction_id}
    await uow.events.add(*map(FailureChanged, failures), causes=causes or None)


async def settle(instruction_ids: Collection[UUID], uow: "UnitOfWork") -> None:
    await tell(await uow.failures.settle(instruction_ids), uow)


async def settle_payload(payload_id: UUID, uow: "UnitOfWork") -> None:
    await uow.events.add(*map(FailureChanged, await uow.failures.settle_payload(payload_id)))


# ---------------------------------------------------------------- by hand

REPLAYS_AT_ONCE = 500


async def replay_failures(ids: Sequence[UUID], actor: Actor, uow: "UnitOfWork") -> None:
    """All or none: what failed is tried again by the worker, in its place. A parked batch is approved by this.

    One that waits already is left to it: safe to repeat. Refuses NotFound, and Conflict where nothing can be replayed.
    """
    if len(ids) > REPLAYS_AT_ONCE:
        raise invalid("ids", f"at most {REPLAYS_AT_ONCE} at once")
    found = await uow.failures.lock(set(ids), actor)
    if len(found) != len(set(ids)):
        raise not_found("failure")
    for failed in found:
        if reason := why_not(failed):
            raise Refused(Conflict(f"failure {failed.failure.id} cannot be replayed: {reason}"))
    parked = [failed.failure for failed in found if failed.parked]
    approved = [await let_run(failure.payload_id, actor, uow) for failure in parked]
    await try_again([failed for failed in found if not failed.parked], uow)
    if parked:  # that somebody approves is all that was wanted; what is tried again has yet to go well
        await tell(await uow.failures.replayed([failure.id for failure in parked], FailureState.RESOLVED), uow)
    for failed in found:
        await uow.audit.write(actor, "replayFailures", failed.failure.id, failed.failure.merchant_id, failed.failure.kind.value)
    for batch in approved:
        await record_approval(batch, actor, uow)


async def try_again(found: Sequence[Failed], uow: "UnitOfWork") -> None:
    """By the worker. Of these something can be tried again: see `why_not`. What waits its turn already is left to it."""
    failures = [failed.failure for failed in found]
    await uow.instructions.retry([failure.instruction_id for failure in failures if failure.instruction_id])
    await uow.instructions.settle()
    whole = {failure.payload_id for failure in failures if failure.instruction_id is None}
    # What the till could not be told of is told again: nobody has sent us that.
    for payload_id in sorted(whole - await uow.tellings.again(whole) if whole else ()):
        await uow.payloads.translate_again(payload_id)
    if failures:
        await tell(await uow.failures.replayed([failure.id for failure in failures], FailureState.OPEN), uow)


def why_not(failed: Failed) -> str | None:
    """Why there is nothing to replay, or None."""
    failure = failed.failure
    if failure.kind is FailureKind.DUPLICATE:
        return "it repeats what came before"
    if failure.kind is FailureKind.STALE or failed.instruction in (InstructionState.APPLIED, InstructionState.SUPERSEDED):
        return "already applied" if failed.instruction is InstructionState.APPLIED else "newer news came before it"
    if failure.kind is FailureKind.AUTH:
        return "nobody has proven whose it is: have it sent again"
    if failure.source_id is None:
        return "no source of ours has sent it"
    if failed.undone:
        return "its batch was undone: have it sent again"
    if failed.instruction is InstructionState.REFUSED or failed.payload is PayloadState.REFUSED:
        return "its batch was refused: have it sent again"
    if failure.instruction_id is None:
        if failed.off:
            return "its source is told of orders no more: setSource, toldOrders"
        if failed.truncated:
            return "only the beginning of it was kept"
        if failed.repeated:
            return "already applied by a later delivery of the same news"
        if failure.state is FailureState.RESOLVED and failed.payload in (PayloadState.ACCEPTED, PayloadState.APPLIED):
            return "already applied"
    return None


@dataclass(frozen=True)
class ResolveFailure:
    id: UUID
    state: FailureState
    note: str


async def resolve_failure(command: ResolveFailure, actor: Actor, uow: "UnitOfWork") -> None:
    """What people decide about it; the instruction stays as it is. Safe to repeat. Refuses NotFound, InvalidInput."""
    note = line("note", command.note, 1000)
    found = await uow.failures.lock([command.id], actor)
    if not found:
        raise not_found("failure")
    changed = await uow.failures.change(command.id, command.state, note)
    await uow.events.add(FailureChanged(changed))
    detail = f"{found[0].failure.state.value} -> {command.state.value}: {note}"
    await uow.audit.write(actor, "resolveFailure", command.id, changed.merchant_id, detail)
