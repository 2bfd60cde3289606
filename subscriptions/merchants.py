"""The feed of when stores take orders: as anybody may see it, so it is the same for all who ask for the same."""

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from operator import attrgetter
from uuid import UUID

from db import merchants as rows
from domain.events import Event
from domain.merchants import StoreState, StoreStatusChanged
from domain.refusals import invalid, not_found
from resolvers.context import Context
from subscriptions.following import Following
from subscriptions.sharing import SharedFeed, share

MOST = 200


@dataclass(frozen=True, slots=True)
class StoreStatusFrame:
    cursor: str
    reset: bool
    degraded: bool
    statuses: Sequence[StoreState]


def store_status(
    context: Context, hub: Following, store_ids: Sequence[UUID], after: str | None = None
) -> AsyncIterator[StoreStatusFrame]:
    """A snapshot, then the latest of each store that changes, by its own word or by the clock. A version never goes back.

    Refuses InvalidInput; NotFound with the first frame, where any of the stores is not there.
    """
    if len(store_ids) > MOST:
        raise invalid("storeIds", f"at most {MOST}")
    asked = frozenset(store_ids)
    ids = sorted(asked)

    async def snapshot() -> Sequence[StoreState]:
        found = [one.state for one in await rows.stores_by_id(context.reads, ids) if not one.archived]
        if len(found) != len(ids):
            raise not_found("store")
        return found

    def state_of(event: Event) -> StoreState | None:
        return event.state if isinstance(event, StoreStatusChanged) and event.state.store_id in asked else None

    feed = SharedFeed(
        name="storeStatus",
        arguments=ids,
        ids=ids,
        kinds=(StoreStatusChanged,),
        snapshot=snapshot,
        item=state_of,
        key=attrgetter("store_id"),
        version=attrgetter("version"),
        whole=True,
    )
    return share(feed, StoreStatusFrame, hub, context.reads, after)
