"""Failures that fit a filter, tried again in the background: chunk by chunk, to be watched and to be cancelled."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from datetime import datetime, timedelta
from enum import Enum
from typing import TYPE_CHECKING, Protocol
from uuid import UUID

from domain.events import Event, Topic
from domain.failures import Failed, FailureFilter, try_again, why_not
from domain.identity import Actor, ActorKind, MerchantRole, check_merchant_role
from domain.intake import FailureState
from domain.refusals import Conflict, Refused, invalid, not_found

if TYPE_CHECKING:
    from domain.unit_of_work import UnitOfWork

CHUNK = 200
PATIENCE = timedelta(seconds=10)  # a chunk is waited for so long: what is put off for longer holds up nobody
RUNNING_AT_ONCE = 5  # of a merchant, and of support's for all


class ReplayState(Enum):
    RUNNING = "RUNNING"
    DONE = "DONE"
    CANCELLED = "CANCELLED"


@dataclass(frozen=True, slots=True)
class Replay:
    """`done` of `total` failures have been looked at, each counted once below it."""

    id: UUID
    merchant_id: UUID | None  # None: of all, by support
    by: Actor
    which: FailureFilter
    state: ReplayState
    total: int
    done: int
    applied: int
    already_applied: int  # or settled by somebody, before their turn came
    failed_again: int
    refused: int  # there is nothing to try again
    under_way: int  # handed over, and not settled while the replay waited for it
    started_at: datetime
    ended_at: datetime | None
    version: int


@dataclass(frozen=True)
class LockedReplay:
    """A replay, locked, and how far it has come: `chunk` are the failures that were handed over last."""

    replay: Replay
    after: UUID | None
    until: UUID  # what fails from now on is not its business
    chunk: tuple[UUID, ...] = ()
    chunk_at: datetime | None = None


@dataclass(frozen=True)
class ReplayChanged(Event):
    """How far it is; by whom and over what stands in its row alone."""

    replay_id: UUID
    merchant_id: UUID | None
    state: ReplayState
    total: int
    done: int
    applied: int
    already_applied: int
    failed_again: int
    refused: int
    under_way: int
    version: int

    topic, stream = Topic.FAILURES, "replay"

    @property
    def entity(self) -> UUID:
        return self.replay_id

    @property
    def seq(self) -> int:
        return self.version

    @property
    def concerns(self) -> Sequence[UUID]:
        return (self.replay_id,)


def changed(replay: Replay) -> ReplayChanged:
    told = {one.name: getattr(replay, one.name) for one in fields(ReplayChanged) if one.name != "replay_id"}
    return ReplayChanged(replay_id=replay.id, **told)


class Result(Enum):
    """What has become of a failure that was handed over."""

    WAITS = "WAITS"
    APPLIED = "APPLIED"
    FAILED_AGAIN = "FAILED_AGAIN"


class ReplayStore(Protocol):
    async def begin(self, which: FailureFilter, actor: Actor, id: UUID) -> LockedReplay:
        """Over what fits and the actor may see by now."""

    async def lock_running_of(self, merchant_id: UUID | None) -> int:
        """How many there are. Nobody else begins one of theirs until the transaction ends."""

    async def running(self) -> Sequence[UUID]: ...

    async def claim(self, id: UUID) -> LockedReplay | None:
        """Locked. None: it has ended, or another has it in hand."""

    async def lock(self, id: UUID, actor: Actor) -> LockedReplay | None:
        """One the actor may see, whoever has it in hand: once they have done with it."""

    async def next(self, job: LockedReplay, limit: int) -> Sequence[UUID]:
        """Failures that fit, in the order of their keys."""

    async def results(self, failure_ids: Collection[UUID]) -> Mapping[UUID, Result]: ...

    async def save(self, job: LockedReplay) -> None: ...


async def start_replay(which: FailureFilter, actor: Actor, uow: "UnitOfWork") -> UUID:
    """Of those that are OPEN where no state is said. For owners, managers and support: support alone may leave the merchant out.

    Each call begins one more; two over the same failures do nothing twice. Refuses InvalidInput, NotFound, Forbidden, Conflict.
    """
    if which.merchant_id is not None:
        await check_merchant_role(which.merchant_id, actor, uow, MerchantRole.OWNER, MerchantRole.MANAGER)
    elif actor.kind is not ActorKind.SUPPORT:
        raise invalid("filter.merchantId", "whose failures?")
    elif which in (FailureFilter(), FailureFilter(state=which.state)):
        raise invalid("filter", "which failures? say more than their state")
    if await uow.replays.lock_running_of(which.merchant_id) >= RUNNING_AT_ONCE:
        raise Refused(Conflict(f"{RUNNING_AT_ONCE} replays run already: wait for one, or cancel it"))
    asked = replace(which, state=which.state or FailureState.OPEN)
    job = await uow.replays.begin(asked, actor, uow.new_id())
    await uow.events.add(changed(job.replay))
    detail = f"{described(asked)}: {job.replay.total} failures"
    await uow.audit.write(actor, "startReplay", job.replay.id, which.merchant_id, detail)
    return job.replay.id


async def cancel_replay(id: UUID, actor: Actor, uow: "UnitOfWork") -> None:
    """What was handed over goes on; the rest stays as it is. One that has ended stays so: safe to repeat. Refuses NotFound."""
    job = await uow.replays.lock(id, actor)
    if job is None:
        raise not_found("replay")
    if job.replay.state is not ReplayState.RUNNING:
        return
    job = _tallied(job, await uow.replays.results(job.chunk))
    await _save(_ended(job, ReplayState.CANCELLED, await uow.now()), uow)
    await uow.audit.write(actor, "cancelReplay", id, job.replay.merchant_id, counted(job.replay))


async def work_on(id: UUID, uow: "UnitOfWork") -> bool:
    """One step: what has become of the last chunk is counted, and the next one handed over. Returns whether there was one to do.

    Everything of a step is one transaction, so whoever takes it up after a kill goes on where it was.
    """
    job = await uow.replays.claim(id)
    if job is None:
        return False
    now = await uow.now()
    results = await uow.replays.results(job.chunk)
    if Result.WAITS in results.values() and job.chunk_at is not None and now - job.chunk_at < PATIENCE:
        return False
    job = _tallied(job, results)
    found = await uow.replays.next(job, CHUNK)
    if found:
        job, concerned = await _hand_over(job, found, now, uow)
    else:
        # Those that fitted at the beginning, and fit no more: somebody has settled them.
        left = max(0, job.replay.total - job.replay.done)
        job = _ended(_more(job, already_applied=left), ReplayState.DONE, now)
        concerned = {}
    await _save(job, uow)
    for merchant_id, count in sorted(concerned.items(), key=lambda one: str(one[0])):
        await uow.audit.write(job.replay.by, "replay", id, merchant_id, f"{count} failures")
    if job.replay.state is ReplayState.DONE:
        await uow.audit.write(job.replay.by, "replayDone", id, job.replay.merchant_id, counted(job.replay))
    return True


async def _hand_over(
    job: LockedReplay, found: Sequence[UUID], now: datetime, uow: "UnitOfWork"
) -> tuple[LockedReplay, Mapping[UUID | None, int]]:
    locked = await uow.failures.lock(found, job.replay.by)
    already = [one for one in locked if _is_done(one)]
    refused = [one for one in locked if one not in already and (one.parked or why_not(one))]
    again = [one for one in locked if one not in already and one not in refused]
    if again:
        await try_again(again, uow)
    concerned: dict[UUID | None, int] = {}
    for one in again:
        concerned[one.failure.merchant_id] = concerned.get(one.failure.merchant_id, 0) + 1
    # Whom its actor may not see any more is refused as well.
    job = _more(job, already_applied=len(already), refused=len(found) - len(already) - len(again))
    return replace(job, after=found[-1], chunk=tuple(one.failure.id for one in again), chunk_at=now), concerned


def _is_done(failed: Failed) -> bool:
    reason = why_not(failed)
    return reason is not None and reason.startswith("already applied")


def _tallied(job: LockedReplay, results: Mapping[UUID, Result]) -> LockedReplay:
    told = list(results.values())
    applied, again = told.count(Result.APPLIED), told.count(Result.FAILED_AGAIN)
    left = len(job.chunk) - applied - again
    return replace(_more(job, applied=applied, failed_again=again, under_way=left), chunk=(), chunk_at=None)


def _more(job: LockedReplay, **counts: int) -> LockedReplay:
    before = job.replay
    after = {name: getattr(before, name) + count for name, count in counts.items()}
    done = before.done + sum(counts.values())
    # What has come to fit since the beginning is among them.
    return replace(job, replay=replace(before, done=done, total=max(before.total, done), **after))


def _ended(job: LockedReplay, state: ReplayState, now: datetime) -> LockedReplay:
    return replace(job, replay=replace(job.replay, state=state, ended_at=now))


async def _save(job: LockedReplay, uow: "UnitOfWork") -> None:
    job = replace(job, replay=replace(job.replay, version=job.replay.version + 1))
    await uow.replays.save(job)
    await uow.events.add(changed(job.replay))


def described(which: FailureFilter) -> str:
    """For people: `provider wms, kind MAPPING`."""
    told = {one.name.replace("_", " ").removesuffix(" id"): getattr(which, one.name) for one in fields(which)}
    return ", ".join(f"{name} {_word(value)}" for name, value in told.items() if value is not None)


def _word(value: object) -> str:
    match value:
        case Enum():
            return str(value.value)
        case datetime():
            return value.isoformat()
        case _:
            return str(value)


def counted(replay: Replay) -> str:
    """For people: what has become of them."""
    parts = (
        (replay.applied, "applied"),
        (replay.already_applied, "already applied"),
        (replay.failed_again, "failed again"),
        (replay.refused, "refused"),
        (replay.under_way, "under way"),
    )
    return f"{replay.done} of {replay.total}: " + (", ".join(f"{count} {word}" for count, word in parts if count) or "none")
