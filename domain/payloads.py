"""Payloads: what came, kept whole before it is answered."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Protocol
from uuid import UUID

from domain.bodies import Bodies, Stored
from domain.doors import PATH
from domain.failures import NewFailure, fail
from domain.health import heard
from domain.intake import JUDGEMENT, LATER_BYTES, FailureKind, Family, PayloadState, Reading, Source, Wrong

if TYPE_CHECKING:
    from domain.canonical import Command
    from domain.unit_of_work import Begin, UnitOfWork

SEEN_EVERY_S = 5  # one row of a source is not written for each of its calls
SAME_NEWS_S = 120  # of providers that give their news no id
REPEATED = "the same news came before"
OTHERWISE = "came before, with another body"  # after its id
UNSIGNED_BYTES = 4096  # so much is kept of what nobody has signed for


@dataclass(frozen=True)
class Received:
    """A call to be kept. No `source`: nobody knows whose it is. `spoken`: somebody has called, and not we ourselves, to say what
    went wrong with the source. `cut_from`: the body is but the beginning of so many bytes, and proves nothing."""

    source: Source | None
    provider: str
    family: Family
    door: str
    body: bytes
    sha256: bytes
    headers: Mapping[str, str]  # masked
    remote: str
    correlation_id: str
    at: datetime
    blob: str | None = None  # where the whole body lies already
    spoken: bool = True
    cut_from: int | None = None


@dataclass(frozen=True)
class Payload:
    """A row to be. `size` is the body's as it came, which may be more than was kept."""

    id: UUID
    received: Received
    state: PayloadState
    body: bytes
    size: int
    dedupe_key: str | None
    translated: bool
    judged: bool
    stage: int

    @property
    def stored(self) -> Stored:
        """The row of a body that lies elsewhere holds none of it."""
        blob = self.received.blob if len(self.body) == self.size else None
        return Stored(self.body if blob is None else b"", blob, self.size, self.received.sha256)


@dataclass(frozen=True)
class Kept:
    """`payload_id` is what the call is answered with: of a repeat that of the payload it repeats, for the same answer."""

    payload_id: UUID
    state: PayloadState
    message: str = ""


@dataclass(frozen=True)
class Unread:
    """A payload as it was kept, to be translated."""

    id: UUID
    source_id: UUID
    provider: str
    door: str
    body: Stored
    headers: Mapping[str, str]
    received_at: datetime
    correlation_id: str
    dedupe_key: str | None


@dataclass(frozen=True)
class Unjudged:
    """A whole push, before anybody has looked at what it would do."""

    id: UUID
    source_id: UUID
    provider: str


@dataclass(frozen=True)
class EarlierPayload:
    """A payload that came before under the same id."""

    id: UUID
    sha256: bytes


class PayloadStore(Protocol):
    async def add(self, payload: Payload) -> datetime | None:
        """When it was received, by the database's clock. None: a live one of this source (or, without one, of this gateway)
        has the dedupe key."""

    async def lock_door(self, source_id: UUID, door: str) -> None:
        """Until the transaction ends: what has no id of its own is compared with what came just before."""

    async def repeated(self, source_id: UUID, door: str, path: str, sha256: bytes, within: timedelta) -> UUID | None:
        """The last accepted payload of the door, where it is the same bytes, told by the same path and query, and so recent: the
        same word of another order is news."""

    async def known_as(self, source_id: UUID | None, dedupe_key: str) -> EarlierPayload | None:
        """The live one; without a source, a payment gateway's."""

    async def translate_again(self, payload_id: UUID) -> None:
        """The worker reads the kept bytes once more."""

    async def next_untranslated(
        self, providers: Collection[str], besides: Collection[UUID] = (), not_of: Collection[UUID] = ()
    ) -> Unread | None:
        """Locked, the oldest of these providers' that nobody else has in hand, that is none of `besides`, and of none of these
        sources."""

    async def lock_unread(self, unread: Unread) -> bool:
        """Whether it is still to be translated, and still as it was when we looked. False also where somebody has it in hand."""

    async def unread(self, payload_id: UUID) -> bool:
        """Whether it is still to be translated."""

    async def translated(
        self, payload_id: UUID, *, state: PayloadState, judged: bool, stage: int, dedupe_key: str | None
    ) -> None: ...

    async def next_unjudged(self) -> Unjudged | None:
        """Locked, the oldest whose turn it is: a push is judged against what those before it have made of the store."""

    async def judged(self, payload_id: UUID) -> None: ...


async def laid_away(received: Received, reading: Reading, id: UUID, bodies: Bodies, begin: "Begin") -> Received:
    """To be called before it is kept: the blob of a long body is durable before there is a row that points to it.

    Of what nobody has signed for no more is kept than fits its row. `id` is new, and the blob's alone.
    """
    if _unproven(received, reading.wrong) or not bodies.long(len(received.body)):
        return received
    return replace(received, blob=await bodies.lay_away(received.body, id, begin))


async def keep(received: Received, reading: Reading, uow: "UnitOfWork") -> Kept:
    """The payload, its instructions and what is wrong with it, in one transaction: once it is committed, it is not lost.

    The same news twice is kept twice and done once. Safe to repeat.
    """
    source = received.source
    if source is None or reading.refused:
        assert reading.wrong is not None
        return await _keep_refused(received, reading.wrong, uow)
    if reading.event_id is None:
        await uow.payloads.lock_door(source.id, received.door)
        within = timedelta(seconds=SAME_NEWS_S)
        path = received.headers.get(PATH, "")
        if (first := await uow.payloads.repeated(source.id, received.door, path, received.sha256, within)) is not None:
            return await _keep_again(received, None, first, uow)
    payload = _accepted(uow.new_id(), received, reading)
    received_at = await uow.payloads.add(payload)
    if received_at is None:
        assert reading.event_id is not None
        known = await uow.payloads.known_as(source.id, reading.event_id)
        if known is not None and known.sha256 == received.sha256:
            return await _keep_again(received, reading.event_id, known.id, uow)
        return await _keep_refused(received, Wrong(FailureKind.VALIDATION, f"{reading.event_id} {OTHERWISE}"), uow)
    waits_for = None if payload.judged else JUDGEMENT
    await uow.instructions.add(payload.id, source, reading.commands, received_at, waits_for=waits_for)
    if reading.wrong is not None:
        await fail(uow, new_failure(uow.new_id(), payload, reading.wrong, store_named(reading.commands)))
    await _heard(source, received, uow)
    return Kept(payload.id, payload.state)


def kept_at_once(id: UUID, received: Received, reading: Reading, most: int) -> Payload | None:
    """The payload, where it and its instructions (up to `most`) are all there is to write: a statement will do. Else None."""
    source = received.source
    if source is None or reading.wrong is not None or reading.event_id is None or len(reading.commands) > most:
        return None
    payload = _accepted(id, received, reading)
    return payload if payload.judged and not _long_unseen(source, received) else None


def _unproven(received: Received, wrong: Wrong | None) -> bool:
    """Whether nobody has signed for it."""
    return received.source is None or received.cut_from is not None or (wrong is not None and wrong.kind is FailureKind.AUTH)


async def _heard(source: Source, received: Received, uow: "UnitOfWork") -> None:
    """Whoever proves who they are speaks, whatever they say. The last of a payload's locks is its source."""
    if _long_unseen(source, received):
        await heard(source.id, uow)


def _long_unseen(source: Source, received: Received) -> bool:
    return source.last_seen_at is None or received.at - source.last_seen_at > timedelta(seconds=SEEN_EVERY_S)


def new_failure(id: UUID, payload: Payload, wrong: Wrong, store: str | None = None) -> NewFailure:
    received, source = payload.received, payload.received.source
    merchant_id, source_id = (source.merchant_id, source.id) if source else (None, None)
    return NewFailure(id, wrong.kind, wrong.message, payload.id, merchant_id, source_id, received.provider, store=store)


def store_named(commands: Sequence["Command"]) -> str | None:
    """The source's id of the one store they speak of."""
    named = {command.store for command in commands}
    return next(iter(named)) if len(named) == 1 else None


def whole(commands: Sequence["Command"]) -> bool:
    """Whether the batch says what is missing too, and so could empty a store."""
    return any(command.whole for command in commands)


def first_stage(commands: Sequence["Command"], now: datetime) -> int:
    """Of what may be done by now, else of whatever there is: what waits for its day holds up nothing."""
    stages = [int(command.stage) for command in commands if command.not_before is None or command.not_before <= now]
    return min(stages, default=max((int(command.stage) for command in commands), default=0))


def _accepted(id: UUID, received: Received, reading: Reading) -> Payload:
    # Nothing to do is done.
    done = reading.translated and not reading.commands
    return Payload(
        id,
        received,
        PayloadState.APPLIED if done else PayloadState.ACCEPTED,
        received.body,
        len(received.body),
        reading.event_id,
        reading.translated,
        judged=not whole(reading.commands),
        stage=first_stage(reading.commands, received.at),
    )


async def _keep_again(received: Received, event_id: str | None, first: UUID, uow: "UnitOfWork") -> Kept:
    """Its bytes are there already, in the payload it repeats: of a large one the beginning will do."""
    payload = Payload(
        uow.new_id(),
        received,
        PayloadState.DUPLICATE,
        received.body if len(received.body) <= LATER_BYTES else received.body[:UNSIGNED_BYTES],
        len(received.body),
        event_id,
        translated=True,
        judged=True,
        stage=0,
    )
    await uow.payloads.add(payload)
    wrong = Wrong(FailureKind.DUPLICATE, REPEATED)
    await fail(uow, new_failure(uow.new_id(), payload, wrong))
    if received.source is not None:
        await _heard(received.source, received, uow)
    return Kept(first, payload.state)


async def _keep_refused(received: Received, wrong: Wrong, uow: "UnitOfWork") -> Kept:
    """Of what nobody has signed for only the beginning: strangers do not fill our disk."""
    unproven = _unproven(received, wrong)
    body = received.body[:UNSIGNED_BYTES] if unproven else received.body
    payload = Payload(
        uow.new_id(),
        received,
        PayloadState.REJECTED,
        body,
        len(received.body) if received.cut_from is None else received.cut_from,
        dedupe_key=None,
        translated=True,
        judged=True,
        stage=0,
    )
    await uow.payloads.add(payload)
    await fail(uow, new_failure(uow.new_id(), payload, wrong, wrong.store))
    spoken = received.spoken and wrong.kind is not FailureKind.PROCESSING  # who cannot be asked is silent
    if received.source is not None and not unproven and spoken:
        await _heard(received.source, received, uow)
    return Kept(payload.id, payload.state, wrong.message)
