"""Riders, what they are offered, and the deliveries they bring."""

from collections.abc import AsyncIterator, Sequence
from datetime import datetime
from typing import Annotated

import strawberry

from db import delivery as rows
from db import dispatch, identity, orders, pages
from db import riders as rider_rows
from domain import delivery, handover, merchants, places, positions, riders
from domain import dispatch as dispatching
from domain.identity import Role
from domain.orders import ReasonCode
from resolvers import delivery as resolve
from resolvers import dispatch as answering
from resolvers import identity as calling
from resolvers import riders as riding
from schema.connections import Connection
from schema.identity import Viewer
from schema.merchants import Store
from schema.roots import ID, Allow, Answers, Info, Node, Refusal, key, of
from schema.scalars import Money, Point, PointInput
from subscriptions import delivery as boards
from subscriptions import riders as feeds

strawberry.enum(delivery.DeliveryStatus)
strawberry.enum(delivery.OfferStatus)


@strawberry.type
class Position:
    point: Point
    heading_degrees: int | None = strawberry.field(description="Clockwise from north")
    at: datetime


@strawberry.type
class Delivery(Node):
    """The trip of one order. Of people it tells only while it lives, and to its parties alone."""

    is_type_of = of(rows.DeliveryRow)
    status: delivery.DeliveryStatus
    version: int
    drop_area: Point | None = strawberry.field(description="A point within some 500 m, until the rider has accepted")
    cash_due: Money | None = strawberry.field(description="To be collected at the door; null to a rider who has not accepted")
    rider_name: str | None
    rider_phone: str | None
    eta_at: datetime | None

    @strawberry.field(graphql_type=Store)
    @staticmethod
    async def store(root: rows.DeliveryRow, info: Info) -> merchants.Store | None:
        return await info.context.loaders.stores.load(root.store_id)

    @strawberry.field(
        graphql_type=Annotated["Order", strawberry.lazy("schema.orders")] | None,  # noqa: F821
        description="Null to a rider who has not accepted",
    )
    @staticmethod
    async def order(root: rows.DeliveryRow, info: Info) -> orders.OrderRow | None:
        return await info.context.loaders.orders.load(root.order_id) if root.order_id is not None else None

    @strawberry.field(graphql_type=Position | None, description="Of its rider, while the delivery lives")
    @staticmethod
    async def position(root: rows.DeliveryRow, info: Info) -> positions.Position | None:
        return await resolve.position(info.context, root)


@strawberry.type
class DeliveryConnection(Connection[Delivery]): ...


@strawberry.type
class Offer(Node):
    """A timed, exclusive offer of one delivery or a batch to one rider."""

    is_type_of = of(dispatch.OfferRow)
    status: delivery.OfferStatus
    pay: Money
    distance_metres: int = strawberry.field(description="From the store to the door, in a straight line")
    expires_at: datetime

    @strawberry.field(graphql_type=list[Delivery], description="Empty once the offer is gone")
    @staticmethod
    async def deliveries(root: dispatch.OfferRow, info: Info) -> Sequence[rows.DeliveryRow]:
        return await info.context.loaders.deliveries_of_offer.load(root.id)


@strawberry.type
class Rider(Node):
    is_type_of = of(rider_rows.RiderRow)
    on_duty: bool

    @strawberry.field(graphql_type=Viewer)
    @staticmethod
    async def viewer(root: rider_rows.RiderRow, info: Info) -> identity.Viewer | None:
        return await calling.viewer(info.context)

    @strawberry.field(graphql_type=list[Offer], description="Those that are open")
    @staticmethod
    async def offers(root: rider_rows.RiderRow, info: Info) -> Sequence[dispatch.OfferRow]:
        return await answering.open_offers(info.context)

    @strawberry.field(graphql_type=DeliveryConnection, description="Newest first")
    @staticmethod
    async def deliveries(
        root: rider_rows.RiderRow,
        info: Info,
        status: list[delivery.DeliveryStatus] | None = strawberry.UNSET,
        first: int | None = 20,
        after: str | None = strawberry.UNSET,
    ) -> pages.Page[rows.DeliveryRow]:
        return await riding.deliveries(info.context, status or None, first, after or None)


# ---------------------------------------------------------------- answers


@strawberry.type
class OfferGone(Refusal):
    is_type_of = of(dispatching.OfferGone)
    status: delivery.OfferStatus


@strawberry.type
class WrongDeliveryState(Refusal):
    is_type_of = of(delivery.WrongDeliveryState)
    status: delivery.DeliveryStatus


@strawberry.type
class WrongCode(Refusal):
    is_type_of = of(handover.WrongCode)
    tries_left: int = strawberry.field(description="With none left, support must help")


AcceptOfferResult = Annotated[Offer | OfferGone, strawberry.union("AcceptOfferResult")]
DeliveryResult = Annotated[Delivery | WrongDeliveryState, strawberry.union("DeliveryResult")]
DeliverResult = Annotated[Delivery | WrongDeliveryState | WrongCode, strawberry.union("DeliverResult")]


@strawberry.type
class PositionAck:
    accepted: int
    next_in_seconds: int = strawberry.field(description="The server steers how often the rider reports")


@strawberry.input(description="Ordered by `at`; `seq` breaks ties and finds repeats within one deviceId.")
class PositionInput:
    device_id: str
    seq: int
    point: PointInput
    at: datetime
    accuracy_metres: int | None = strawberry.UNSET
    heading_degrees: int | None = strawberry.UNSET
    speed_mps: float | None = strawberry.UNSET


def _sighting(told: PositionInput) -> positions.Sighting:
    """A place that cannot be is left out of the batch later: one bad fix must not cost the others."""
    return positions.Sighting(
        told.device_id,
        told.seq,
        places.to_the_centimetre(told.point.lat, told.point.lng),
        told.at,
        told.accuracy_metres or None,
        None if told.heading_degrees is strawberry.UNSET else told.heading_degrees,
        None if told.speed_mps is strawberry.UNSET else told.speed_mps,
    )


# ---------------------------------------------------------------- roots


@strawberry.type
class Query:
    @strawberry.field(graphql_type=Rider, extensions=[Allow(Role.RIDER)])
    async def rider(self, info: Info) -> rider_rows.RiderRow:
        return await riding.rider(info.context)


@strawberry.type
class Mutation:
    @strawberry.mutation(graphql_type=Rider, extensions=[Allow(Role.RIDER)])
    async def set_duty(self, info: Info, on_duty: bool) -> rider_rows.RiderRow:
        """Off duty, open offers are withdrawn; CONFLICT while a delivery is under way."""
        return await riding.set_duty(info.context, on_duty)

    @strawberry.mutation(graphql_type=PositionAck, extensions=[Allow(Role.RIDER)])
    async def report_positions(self, info: Info, positions: list[PositionInput]) -> riding.PositionAck:
        """At most 100 at once, in any order, safe to repeat. Kept while on duty or with a delivery under way."""
        return await riding.report_positions(info.context, [_sighting(one) for one in positions], info.context.hub.saw)

    @strawberry.mutation(graphql_type=AcceptOfferResult, extensions=[Allow(Role.RIDER), Answers()])
    async def accept_offer(self, info: Info, offer_id: ID) -> dispatch.OfferRow:
        """Safe to repeat: who has it has it."""
        return await answering.accept_offer(info.context, key(offer_id, "offerId"))

    @strawberry.mutation(extensions=[Allow(Role.RIDER)])
    async def decline_offer(self, info: Info, offer_id: ID, reason: ReasonCode) -> bool:
        """False where the offer was gone anyway."""
        return await answering.decline_offer(info.context, key(offer_id, "offerId"), reason)

    @strawberry.mutation(graphql_type=DeliveryResult, extensions=[Allow(Role.RIDER), Answers()])
    async def arrive_at_store(self, info: Info, delivery_id: ID) -> rows.DeliveryRow:
        return await resolve.take_step(info.context, key(delivery_id, "deliveryId"), riders.arrive_at_store)

    @strawberry.mutation(graphql_type=DeliveryResult, extensions=[Allow(Role.RIDER), Answers()])
    async def pick_up(self, info: Info, delivery_id: ID) -> rows.DeliveryRow:
        """Makes the order READY first where the store has not said so."""
        return await resolve.take_step(info.context, key(delivery_id, "deliveryId"), riders.pick_up)

    @strawberry.mutation(graphql_type=DeliveryResult, extensions=[Allow(Role.RIDER), Answers()])
    async def arrive_at_door(self, info: Info, delivery_id: ID) -> rows.DeliveryRow:
        return await resolve.take_step(info.context, key(delivery_id, "deliveryId"), riders.arrive_at_door)

    @strawberry.mutation(graphql_type=DeliverResult, extensions=[Allow(Role.RIDER), Answers()])
    async def deliver(self, info: Info, delivery_id: ID, handover_code: str | None = strawberry.UNSET) -> rows.DeliveryRow:
        """With the code the customer shows: five tries. Cash is collected with it."""
        return await resolve.deliver(info.context, key(delivery_id, "deliveryId"), handover_code or None)

    @strawberry.mutation(graphql_type=DeliveryResult, extensions=[Allow(Role.RIDER), Answers()])
    async def fail_delivery(
        self, info: Info, delivery_id: ID, reason: ReasonCode, note: str | None = strawberry.UNSET
    ) -> rows.DeliveryRow:
        """The goods are still with the rider, to be tried again or brought back; with LOST it ends here."""
        return await resolve.fail_delivery(info.context, riders.FailDelivery(key(delivery_id, "deliveryId"), reason, note or None))

    @strawberry.mutation(graphql_type=DeliveryResult, extensions=[Allow(Role.RIDER), Answers()])
    async def drop_delivery(self, info: Info, delivery_id: ID, reason: ReasonCode) -> rows.DeliveryRow:
        """Before pick-up. Another rider is looked for; this one is not asked for it again."""
        return await resolve.drop_delivery(info.context, key(delivery_id, "deliveryId"), reason)

    @strawberry.mutation(graphql_type=DeliveryResult, extensions=[Allow(Role.RIDER, Role.SUPPORT), Answers()])
    async def retry_delivery(self, info: Info, delivery_id: ID) -> rows.DeliveryRow:
        """A second attempt of one that has failed."""
        return await resolve.take_step(info.context, key(delivery_id, "deliveryId"), riders.retry_delivery)

    @strawberry.mutation(graphql_type=DeliveryResult, extensions=[Allow(Role.RIDER, Role.SUPPORT), Answers()])
    async def return_delivery(self, info: Info, delivery_id: ID) -> rows.DeliveryRow:
        """On the way back to the store."""
        return await resolve.take_step(info.context, key(delivery_id, "deliveryId"), riders.return_delivery)

    @strawberry.mutation(graphql_type=DeliveryResult, extensions=[Allow(Role.RIDER, Role.SUPPORT), Answers()])
    async def finish_return(self, info: Info, delivery_id: ID) -> rows.DeliveryRow:
        """Back in the store. The customer's money goes back."""
        return await resolve.take_step(info.context, key(delivery_id, "deliveryId"), riders.finish_return)

    @strawberry.mutation(graphql_type=DeliveryResult, extensions=[Allow(Role.SUPPORT), Answers()])
    async def assign_rider(self, info: Info, delivery_id: ID, rider_id: ID) -> rows.DeliveryRow:
        """To a rider on duty, whoever has it now."""
        return await resolve.assign_rider(info.context, key(delivery_id, "deliveryId"), key(rider_id, "riderId"))

    @strawberry.mutation(graphql_type=DeliveryResult, extensions=[Allow(Role.SUPPORT), Answers()])
    async def renew_code_tries(self, info: Info, delivery_id: ID) -> rows.DeliveryRow:
        """Five new tries of the handover code."""
        return await resolve.take_step(info.context, key(delivery_id, "deliveryId"), riders.renew_code_tries)


@strawberry.type
class OfferFrame:
    """Every change of an offer, in order. A withdrawn one comes once more with its status."""

    cursor: str
    reset: bool
    degraded: bool
    offers: list[Offer]


@strawberry.type
class DeliveryChange:
    """`status` and `version` as of the step."""

    status: delivery.DeliveryStatus
    version: int
    at: datetime = strawberry.field(description="Of the step; in a snapshot when the delivery began")
    delivery: Delivery


@strawberry.type
class DeliveryPosition:
    """Of the rider of a delivery that has not ended."""

    delivery_id: ID
    position: Position
    eta_at: datetime | None = strawberry.field(description="From there once the goods are on their way, else as it was promised")


@strawberry.type
class DeliveryBoardFrame:
    """Every step, in order, and the latest position of each delivery."""

    cursor: str
    reset: bool
    degraded: bool
    changes: list[DeliveryChange]
    positions: list[DeliveryPosition]


@strawberry.type
class PositionFrame:
    """The latest value."""

    reset: bool
    degraded: bool
    position: Position | None
    eta_at: datetime | None


@strawberry.type
class Subscription:
    @strawberry.subscription(graphql_type=OfferFrame, extensions=[Allow(Role.RIDER)])
    async def rider_offers(self, info: Info, after: str | None = strawberry.UNSET) -> AsyncIterator[feeds.OfferFrame]:
        """Snapshot: the open offers."""
        return feeds.rider_offers(info.context, info.context.hub, after or None)

    @strawberry.subscription(graphql_type=PositionFrame, extensions=[Allow(Role.CUSTOMER, Role.MERCHANT, Role.SUPPORT)])
    async def rider_position(self, info: Info, order_id: ID) -> AsyncIterator[feeds.PositionFrame]:
        """Null while nobody brings the order."""
        return feeds.rider_position(info.context, info.context.hub, key(order_id, "orderId"))

    @strawberry.subscription(graphql_type=DeliveryBoardFrame, extensions=[Allow(Role.MERCHANT, Role.SUPPORT)])
    async def delivery_board(
        self, info: Info, store_id: ID, after: str | None = strawberry.UNSET
    ) -> AsyncIterator[boards.DeliveryBoardFrame]:
        """The store's live deliveries, then every step of any of them, and where their riders are: one feed for a map of many."""
        return boards.delivery_board(info.context, info.context.hub, key(store_id, "storeId"), after or None)
