"""Failures that fit a filter, tried again in the background."""

from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any

import strawberry

from db.pages import Page
from domain import replays
from domain.failures import FailureFilter
from domain.identity import Role
from domain.intake import FailureKind, FailureState
from domain.replays import ReplayState
from resolvers import replays as resolve
from schema.connections import Connection
from schema.failures import failure_filter
from schema.roots import ID, Allow, Info, Node, given, key, of

if TYPE_CHECKING:
    from schema.merchants import Merchant

strawberry.enum(ReplayState)
_STAFF = (Role.MERCHANT, Role.SUPPORT)


@strawberry.input(name="FailureFilter", description="All that are given hold. Without a state: those that are OPEN")
class FailureFilterInput:
    merchant_id: ID | None = strawberry.field(default=strawberry.UNSET, description="Support alone may leave it out")
    provider: str | None = strawberry.UNSET
    kind: FailureKind | None = strawberry.UNSET
    state: FailureState | None = strawberry.UNSET
    store_id: ID | None = strawberry.UNSET
    since: datetime | None = strawberry.UNSET
    until: datetime | None = strawberry.field(default=strawberry.UNSET, description="Not that moment itself")
    text: str | None = strawberry.field(default=strawberry.UNSET, description="Beginnings of words of the message")
    fingerprint: str | None = strawberry.field(default=strawberry.UNSET, description="Of a group")


def which(filter: FailureFilterInput) -> FailureFilter:
    """Refuses InvalidInput."""
    merchant = key(filter.merchant_id, "filter.merchantId") if filter.merchant_id else None
    moments = filter.since, filter.until
    return failure_filter(
        merchant, filter.provider, filter.state, filter.kind, filter.store_id, *moments, filter.text, filter.fingerprint
    )


@strawberry.type
class Replay(Node):
    """Works in the background; ask again to see how far it is. `done` is the sum of the counts after it."""

    is_type_of = of(replays.Replay)
    state: ReplayState
    total: int
    done: int
    applied: int
    already_applied: int = strawberry.field(description="Or settled by somebody before their turn came")
    failed_again: int
    refused: int = strawberry.field(
        description="Nothing can be tried again: AUTH, DUPLICATE, STALE, or a batch that waits for approval"
    )
    under_way: int = strawberry.field(description="Handed over, and not settled while the replay waited for it")
    started_at: datetime
    ended_at: datetime | None

    @strawberry.field(description="Who began it: `merchant:0197…`, `support:0197…`")
    @staticmethod
    def by(root: replays.Replay) -> str:
        return str(root.by)

    @strawberry.field(description="What it is over: `provider wms, state OPEN, kind MAPPING`")
    @staticmethod
    def filter(root: replays.Replay) -> str:
        return replays.described(root.which)

    @strawberry.field(graphql_type=Annotated["Merchant", strawberry.lazy("schema.merchants")] | None)
    @staticmethod
    async def merchant(root: replays.Replay, info: Info) -> Any:
        return await info.context.loaders.merchants.load(root.merchant_id) if root.merchant_id else None


@strawberry.type
class Query:
    @strawberry.field(graphql_type=Replay | None, extensions=[Allow(*_STAFF)])
    async def replay(self, info: Info, id: ID) -> replays.Replay | None:
        """How far it is."""
        return await resolve.replay(info.context, key(id))

    @strawberry.field(graphql_type=Connection[Replay], extensions=[Allow(*_STAFF)])
    async def replays(
        self,
        info: Info,
        merchant_id: ID | None = strawberry.UNSET,
        first: int | None = 20,
        after: str | None = strawberry.UNSET,
    ) -> Page[replays.Replay]:
        """Newest first: of the merchants whose sources the caller looks after."""
        merchant = key(merchant_id, "merchantId") if merchant_id else None
        return await resolve.replays(info.context, merchant, first, given(after))


@strawberry.type
class Mutation:
    @strawberry.mutation(graphql_type=Replay, extensions=[Allow(*_STAFF)])
    async def start_replay(self, info: Info, filter: FailureFilterInput) -> replays.Replay:
        """What fits is tried again in the background, each in its place. Each call begins one more; nothing is done twice."""
        return await resolve.start(info.context, which(filter))

    @strawberry.mutation(graphql_type=Replay, extensions=[Allow(*_STAFF)])
    async def cancel_replay(self, info: Info, id: ID) -> replays.Replay:
        """What it has handed over goes on; the rest stays as it is. One that has ended stays so."""
        return await resolve.cancel(info.context, key(id))
