"""Failures, and the payloads and instructions they are failures of."""

from collections.abc import AsyncIterator, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any
from uuid import UUID

import strawberry

from db import failures as rows
from db import sources
from db.failure_groups import FailureGroup as FailureGroupRow
from db.pages import Page
from domain import failures
from domain.failures import FailureFilter, ResolveFailure
from domain.identity import Role
from domain.intake import EntityKind, FailureKind, FailureState, InstructionState, PayloadState
from resolvers import failures as resolve
from schema.connections import Connection, Counted
from schema.roots import ID, Allow, Info, Node, given, key, of
from schema.sources import Source
from subscriptions import failures as feeds

if TYPE_CHECKING:
    from schema.merchants import Store

for _words in (EntityKind, FailureKind):
    strawberry.enum(_words)
strawberry.enum(
    InstructionState,
    description="PARKED waits for a mapping, or with all of its push for judgement or approval; REFUSED with all of its batch",
)
strawberry.enum(
    PayloadState,
    description="PARKED: some of it is, and none of it failed or is still to be carried out; REFUSED by people, none of it done",
)
strawberry.enum(FailureState, description="DUPLICATE and STALE failures are born RESOLVED")
_STAFF = (Role.MERCHANT, Role.SUPPORT)


@strawberry.type
class Instruction(Node):
    """One canonical command as the intake keeps it."""

    is_type_of = of(rows.Instruction)
    command: str
    entity: str
    state: InstructionState
    attempts: int

    @strawberry.field(graphql_type=Annotated["Failure", strawberry.lazy("schema.failures")] | None, description="The latest")
    @staticmethod
    async def failure(root: rows.Instruction, info: Info) -> failures.Failure | None:
        return await info.context.loaders.failure_of_instruction.load(root.id)


@strawberry.type
class Payload(Node):
    is_type_of = of(rows.Payload)
    provider: str
    door: str
    received_at: datetime
    state: PayloadState
    headers: str = strawberry.field(description="One a line; what proves the sender is masked")

    @strawberry.field(graphql_type=str, description="As text, the first 64 KiB")
    @staticmethod
    async def body(root: rows.Payload, info: Info) -> str:
        return await resolve.shown(info.context, root)

    @strawberry.field(graphql_type=Source | None)
    @staticmethod
    async def source(root: rows.Payload, info: Info) -> sources.Source | None:
        return await info.context.loaders.sources.load(root.source_id) if root.source_id else None

    @strawberry.field(graphql_type=Connection[Instruction], description="In the order in which the payload says them")
    @staticmethod
    async def instructions(
        root: rows.Payload, info: Info, first: int | None = 20, after: str | None = strawberry.UNSET
    ) -> Page[rows.Instruction]:
        return await resolve.instructions(info.context, root.id, first, given(after))


@strawberry.type
class Failure(Node):
    is_type_of = of(failures.Failure)
    kind: FailureKind
    state: FailureState
    message: str
    at: datetime
    replays: int
    fingerprint: str = strawberry.field(description="The same for failures that are alike: see FailureGroup")

    @strawberry.field(
        graphql_type=Annotated["Store", strawberry.lazy("schema.merchants")] | None,
        description="Which it is about, where that was known as it happened",
    )
    @staticmethod
    async def store(root: failures.Failure, info: Info) -> Any:
        return await info.context.loaders.stores.load(root.store_id) if root.store_id else None

    @strawberry.field(graphql_type=Payload)
    @staticmethod
    async def payload(root: failures.Failure, info: Info) -> rows.Payload | None:
        return await info.context.loaders.intake_payloads.load(root.payload_id)

    @strawberry.field(graphql_type=Instruction | None)
    @staticmethod
    async def instruction(root: failures.Failure, info: Info) -> rows.Instruction | None:
        return await info.context.loaders.instructions.load(root.instruction_id) if root.instruction_id else None


@strawberry.type
class FailureConnection(Connection[Failure], Counted): ...


@strawberry.type
class FailureGroup:
    """Failures that are alike but for ids, numbers and quoted values: of one provider and one kind, with one fingerprint.

    Counts and times are of those that fit what was asked for, whatever their state.
    """

    fingerprint: str
    provider: str
    kind: FailureKind
    message: str = strawberry.field(description="The newest one's")
    open: int
    total: int
    first_at: datetime
    last_at: datetime
    sample: Failure = strawberry.field(description="The newest")


@strawberry.type
class FailureGroupConnection(Connection[FailureGroup], Counted): ...


@strawberry.type
class FailureFrame:
    cursor: str
    reset: bool
    degraded: bool
    failures: list[Failure]


def failure_filter(
    merchant_id: UUID | None,
    provider: str | None,
    state: FailureState | None,
    kind: FailureKind | None,
    store_id: ID | None,
    since: datetime | None,
    until: datetime | None,
    text: str | None,
    fingerprint: str | None = None,
) -> FailureFilter:
    """As a field's arguments say it. Refuses InvalidInput."""
    store = key(store_id, "storeId") if store_id else None
    moments = given(since), given(until)
    return FailureFilter(
        merchant_id, provider or None, given(state), given(kind), store, *moments, text or None, fingerprint or None
    )


@strawberry.type
class SupportFailures:
    """What `Support` has of it."""

    @strawberry.field(graphql_type=FailureConnection, description="Newest first")
    @staticmethod
    async def failures(
        info: Info,
        merchant_id: ID | None = strawberry.UNSET,
        provider: str | None = strawberry.UNSET,
        state: FailureState | None = strawberry.UNSET,
        kind: FailureKind | None = strawberry.UNSET,
        first: int | None = 20,
        after: str | None = strawberry.UNSET,
        store_id: ID | None = strawberry.UNSET,
        since: datetime | None = strawberry.UNSET,
        until: datetime | None = strawberry.UNSET,
        text: str | None = strawberry.UNSET,
        fingerprint: str | None = strawberry.UNSET,
    ) -> Page[failures.Failure]:
        merchant = key(merchant_id, "merchantId") if merchant_id else None
        which = failure_filter(merchant, provider, state, kind, store_id, since, until, text, fingerprint)
        return await resolve.failures_page(info.context, which, first, given(after))

    @strawberry.field(graphql_type=FailureGroupConnection, description="What failed last first. With a state: where one is in it")
    @staticmethod
    async def failure_groups(
        info: Info,
        merchant_id: ID | None = strawberry.UNSET,
        provider: str | None = strawberry.UNSET,
        kind: FailureKind | None = strawberry.UNSET,
        state: FailureState | None = strawberry.UNSET,
        store_id: ID | None = strawberry.UNSET,
        since: datetime | None = strawberry.UNSET,
        until: datetime | None = strawberry.UNSET,
        text: str | None = strawberry.UNSET,
        first: int | None = 20,
        after: str | None = strawberry.UNSET,
    ) -> Page[FailureGroupRow]:
        merchant = key(merchant_id, "merchantId") if merchant_id else None
        which = failure_filter(merchant, provider, state, kind, store_id, since, until, text)
        return await resolve.failure_groups_page(info.context, which, first, given(after))

    @strawberry.field(graphql_type=Payload | None)
    @staticmethod
    async def payload(info: Info, id: ID) -> rows.Payload | None:
        return await resolve.payload(info.context, key(id))


@strawberry.type
class Mutation:
    @strawberry.mutation(graphql_type=list[Failure], extensions=[Allow(*_STAFF)])
    async def replay_failures(self, info: Info, ids: list[ID]) -> Sequence[failures.Failure]:
        """All or none: tried again by the worker, each in its place. A parked batch is approved by this."""
        return await resolve.replay(info.context, [key(id, "ids") for id in ids])

    @strawberry.mutation(graphql_type=Failure, extensions=[Allow(*_STAFF)])
    async def resolve_failure(self, info: Info, id: ID, state: FailureState, note: str) -> failures.Failure:
        """What people decide about it; the instruction stays as it is."""
        return await resolve.resolve(info.context, ResolveFailure(key(id), state, note))


@strawberry.type
class Subscription:
    @strawberry.subscription(graphql_type=FailureFrame, extensions=[Allow(*_STAFF)])
    async def failures(
        self, info: Info, merchant_id: ID | None = strawberry.UNSET, after: str | None = strawberry.UNSET
    ) -> AsyncIterator[feeds.FailureFrame]:
        """The latest open ones, then every change. Without a merchant: support's, of all."""
        merchant = key(merchant_id, "merchantId") if merchant_id else None
        return feeds.failures(info.context, info.context.hub, merchant, given(after))
