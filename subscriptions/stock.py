"""The stock feed: levels as anybody may see them, so it is the same for all who ask for the same."""

from collections.abc import Sequence
from dataclasses import dataclass
from operator import attrgetter
from uuid import UUID

from db import stock as rows
from db.stores import is_store
from domain.events import Event
from domain.refusals import invalid, not_found
from domain.stock import StockChanged, StockLevel
from resolvers.context import Context
from subscriptions.following import Following
from subscriptions.sharing import SharedFeed, Watcher, share

MOST = 200


@dataclass(frozen=True, slots=True)
class StockFrame:
    cursor: str
    reset: bool
    degraded: bool
    levels: Sequence[StockLevel]


def stock(
    context: Context, hub: Following, store_id: UUID, listing_ids: Sequence[UUID] | None, after: str | None = None
) -> Watcher[StockLevel, StockFrame]:
    """A snapshot, then the latest of each changed level. A version may be skipped, never goes back.

    Without ids: an empty snapshot, then every change in the store. Listings of other stores are left out.
    Refuses InvalidInput; NotFound of the store with the first frame.
    """
    if listing_ids is not None and len(listing_ids) > MOST:
        raise invalid("listingIds", f"at most {MOST}")
    ids = None if listing_ids is None else sorted(set(listing_ids))

    async def snapshot() -> Sequence[StockLevel]:
        if not await is_store(context.reads, store_id):
            raise not_found("store")
        return [level for level in await rows.levels(context.reads, ids) if level.store_id == store_id] if ids else []

    def level_of(event: Event) -> StockLevel | None:
        return event.level if isinstance(event, StockChanged) and event.level.store_id == store_id else None

    feed = SharedFeed(
        name="stock",
        arguments=(store_id, *(("all",) if ids is None else ids)),
        ids=(store_id,) if ids is None else ids,
        kinds=(StockChanged,),
        snapshot=snapshot,
        item=level_of,
        key=attrgetter("listing_id"),
        version=attrgetter("version"),
        whole=ids is not None,
    )
    return share(feed, StockFrame, hub, context.reads, after)
