"""The feed of failures: a merchant's, or for support everybody's."""

from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass
from uuid import UUID

from db import failures as rows
from domain.events import Stamped
from domain.failures import SUPPORT_FEED, Failure, FailureChanged, FailureFilter
from domain.identity import ActorKind
from domain.intake import FailureState
from domain.refusals import not_found
from resolvers.context import Context
from resolvers.grants import signed_in
from subscriptions.feeds import Feed, Snapshot, follow
from subscriptions.following import Following

LATEST = 50


@dataclass(frozen=True, slots=True)
class FailureFrame:
    cursor: str
    reset: bool
    degraded: bool
    failures: Sequence[Failure]


def failures(
    context: Context, hub: Following, merchant_id: UUID | None, after: str | None = None
) -> AsyncGenerator[FailureFrame, None]:
    """The latest that are open, then every change of any. Without a merchant: support's, of all. Refuses NotFound."""

    async def snapshot() -> Snapshot[Failure]:
        if not await allowed():
            raise not_found("merchant")
        which = FailureFilter(merchant_id, state=FailureState.OPEN)
        page = await rows.failures(context.reads, context.actor, which, LATEST, None)
        return Snapshot(page.nodes, {(FailureChanged.stream, failure.id): failure.version for failure in page.nodes})

    async def changes(events: Sequence[Stamped]) -> Sequence[Failure]:
        return [one.event.failure for one in events if isinstance(one.event, FailureChanged)]

    async def allowed() -> bool:
        if not await signed_in(context):
            return False
        if context.actor.kind is ActorKind.SUPPORT:
            return True
        return merchant_id is not None and await rows.may_see(context.reads, context.actor, merchant_id)

    feed = Feed(
        name="failures",
        arguments=(merchant_id or "all",),
        ids=(merchant_id or SUPPORT_FEED,),
        kinds=(FailureChanged,),
        snapshot=snapshot,
        changes=changes,
        allowed=allowed,
    )
    return follow(feed, FailureFrame, hub, context.reads, after)
