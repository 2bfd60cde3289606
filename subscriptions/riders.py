"""What a rider is offered, and where the rider of an order is."""

from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from uuid import UUID

from db import dispatch, orders
from db import riders as rows
from db.dispatch import OfferRow
from domain.bus import RiderSeen
from domain.delivery import DeliveryMoved, OfferMoved
from domain.events import Stamped
from domain.places import Point
from domain.positions import Position, eta
from domain.refusals import Refused, not_found
from resolvers.context import Context
from resolvers.delivery import position_of
from resolvers.grants import signed_in
from subscriptions.feeds import Feed, Guard, Snapshot, away, follow
from subscriptions.following import Following
from subscriptions.mailboxes import Values


@dataclass(frozen=True, slots=True)
class OfferFrame:
    cursor: str
    reset: bool
    degraded: bool
    offers: Sequence[OfferRow]


@dataclass(frozen=True, slots=True)
class PositionFrame:
    reset: bool
    degraded: bool
    position: Position | None
    eta_at: datetime | None


def rider_offers(context: Context, hub: Following, after: str | None = None) -> AsyncGenerator[OfferFrame, None]:
    """The open offers, then every change of one: who has gone comes once more, with its status.

    Refuses InvalidInput for a broken cursor.
    """
    rider_id = context.actor.id
    if rider_id is None:
        raise not_found("rider")

    async def snapshot() -> Snapshot[OfferRow]:
        offers = await dispatch.open_offers(context.reads, context.actor, rider_id)
        return Snapshot(offers, {(OfferMoved.stream, offer.id): offer.version for offer in offers})

    async def changes(events: Sequence[Stamped]) -> Sequence[OfferRow]:
        moves = [one.event for one in events if isinstance(one.event, OfferMoved) and one.event.rider_id == rider_id]
        found = await dispatch.offers_by_id(context.reads, context.actor, [move.offer_id for move in moves])
        by_id = {offer.id: offer for offer in found}
        return [replace(by_id[move.offer_id], status=move.status, version=move.version) for move in moves if move.offer_id in by_id]

    async def allowed() -> bool:
        return await signed_in(context) and await rows.rider_by_id(context.reads, context.actor, rider_id) is not None

    feed = Feed(
        name="riderOffers",
        arguments=(rider_id,),
        ids=(rider_id,),
        kinds=(OfferMoved,),
        snapshot=snapshot,
        changes=changes,
        allowed=allowed,
    )
    return follow(feed, OfferFrame, hub, context.reads, after)


async def rider_position(context: Context, hub: Following, order_id: UUID) -> AsyncGenerator[PositionFrame, None]:
    """Where the order's rider is: the latest, never an older one after a newer. Null while nobody brings it.

    Follows the order when it gets another rider. Refuses NotFound with the first frame.
    """

    async def theirs() -> bool:
        return bool(await orders.orders_by_id(context.reads, context.actor, [order_id]))

    async def allowed() -> bool:
        return await signed_in(context) and await theirs()

    if not await theirs():
        raise not_found("order")
    guard = Guard(allowed)
    rider_id: UUID | None = None
    last: Position | None = None
    reset = True
    while await guard.passes():
        ids = (order_id,) if rider_id is None else (order_id, rider_id)
        with hub.join(ids, Values(), (DeliveryMoved, RiderSeen)) as joined:  # before anything is read: nothing slips between
            try:
                now = await rows.followed(context.reads, order_id)
            except Refused as refused:
                await away(refused)
                continue
            if (now.rider_id if now else None) != rider_id:
                rider_id, last = now.rider_id if now else None, None
                continue
            if now is not None and rider_id is not None:
                last = _later(last, await position_of(context, rider_id))
            yield PositionFrame(reset, hub.degraded, last, eta(now.trip, last) if now else None)
            reset = False
            while await guard.passes():
                news = await guard.waiting_for(joined)
                if news is None:
                    if hub.degraded:  # nobody tells us: look
                        break
                    continue
                if news.last:
                    return
                reset = news.reset
                if reset or any(
                    isinstance(one.event, DeliveryMoved) and one.event.order.order_id == order_id for one in news.events
                ):
                    break
                for seen in news.riders:
                    moved = _later(last, _position(seen))
                    if now is not None and moved is not last:
                        last = moved
                        yield PositionFrame(False, news.degraded, last, eta(now.trip, last))


def _later(one: Position | None, other: Position | None) -> Position | None:
    if one is None or other is None:
        return one or other
    return other if other.at > one.at else one


def _position(seen: RiderSeen) -> Position:
    return Position(seen.rider, Point(seen.lat, seen.lng), seen.heading, seen.at)
