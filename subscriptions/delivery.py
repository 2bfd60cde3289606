"""A store's deliveries and their riders, on one board."""

from collections.abc import AsyncGenerator, Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from db import delivery as rows
from db.delivery import DeliveryRow, LiveRow
from db.stores import may_act_for
from domain.bus import RiderSeen
from domain.delivery import DeliveryMoved, DeliveryStatus
from domain.events import Stamped
from domain.places import Point
from domain.positions import Position, eta
from domain.refusals import not_found
from resolvers.context import Context
from resolvers.delivery import positions_of
from resolvers.grants import signed_in
from subscriptions.feeds import Feed, Riders, Snapshot, follow
from subscriptions.following import Changes, Following


@dataclass(frozen=True, slots=True)
class DeliveryChange:
    """`status` and `version` as of the step, the delivery as it is now. In a snapshot `at` is when the delivery began."""

    status: DeliveryStatus
    version: int
    at: datetime
    delivery: DeliveryRow


@dataclass(frozen=True, slots=True)
class DeliveryPosition:
    """Where the rider of a delivery is that has not ended."""

    delivery_id: UUID
    position: Position
    eta_at: datetime | None


Item = DeliveryChange | DeliveryPosition


@dataclass(frozen=True, slots=True)
class DeliveryBoardFrame:
    cursor: str
    reset: bool
    degraded: bool
    changes: Sequence[DeliveryChange]
    positions: Sequence[DeliveryPosition]


def delivery_board(
    context: Context, hub: Following, store_id: UUID, after: str | None = None
) -> AsyncGenerator[DeliveryBoardFrame, None]:
    """The store's live deliveries, then every step of any; and where their riders are, the latest of each.

    A rider is followed for as long as a live delivery of this store is theirs. Never an older place after a newer one.
    Refuses InvalidInput for a broken cursor; NotFound with the first frame.
    """
    board = _Board(context, store_id)
    feed: Feed[Item] = Feed(
        name="deliveryBoard",
        arguments=(store_id,),
        ids=(store_id,),
        kinds=(DeliveryMoved,),
        snapshot=board.snapshot,
        changes=board.changes,
        allowed=board.allowed,
        begin=board.begin,
        riders=Riders(board.seen, board.look),
    )
    return follow(feed, _frame, hub, context.reads, after)


def _frame(cursor: str, reset: bool, degraded: bool, items: Sequence[Item]) -> DeliveryBoardFrame:
    changes = [one for one in items if isinstance(one, DeliveryChange)]
    return DeliveryBoardFrame(cursor, reset, degraded, changes, [one for one in items if isinstance(one, DeliveryPosition)])


class _Board:
    """The store's live deliveries as this feed knows them, and where the rider of each was said to be last."""

    def __init__(self, context: Context, store_id: UUID) -> None:
        self._context = context
        self._store_id = store_id
        self._joined: Changes | None = None
        self._live: dict[UUID, LiveRow] = {}
        self._brought: dict[UUID, list[LiveRow]] = {}  # by rider
        self._last: dict[UUID, Position] = {}  # by delivery

    async def allowed(self) -> bool:
        return await signed_in(self._context) and await may_act_for(self._context.reads, self._context.actor, self._store_id)

    async def begin(self, joined: Changes) -> Collection[UUID]:
        self._joined = joined
        await self._read()
        return ()  # where a rider is stands in no log

    async def snapshot(self) -> Snapshot[Item]:
        if not await self.allowed():
            raise not_found("store")
        await self._read()
        self._last = {}
        live = [(one.delivery, one.began_at) for one in self._live.values()]
        items = [DeliveryChange(one.status, one.version, began_at, one) for one, began_at in live]
        return Snapshot([*items, *await self.look()], {(DeliveryMoved.stream, one.id): one.version for one, _ in live})

    async def changes(self, events: Sequence[Stamped]) -> Sequence[Item]:
        moves = [one.event for one in events if isinstance(one.event, DeliveryMoved)]
        await self._read()
        found = {id: one.delivery for id, one in self._live.items()}
        ended = sorted({move.delivery_id for move in moves} - found.keys())
        if ended:
            found |= {one.id: one for one in await rows.deliveries_by_id(self._context.reads, self._context.actor, ended)}
        steps = [(move, found[move.delivery_id]) for move in moves if move.delivery_id in found]
        new = {rider for rider, brought in self._brought.items() if any(one.delivery.id not in self._last for one in brought)}
        return [*(DeliveryChange(move.status, move.version, move.at, one) for move, one in steps), *await self._look_for(new)]

    def seen(self, riders: Sequence[RiderSeen]) -> Sequence[DeliveryPosition]:
        return self._told(Position(one.rider, Point(one.lat, one.lng), one.heading, one.at) for one in riders)

    async def look(self) -> Sequence[DeliveryPosition]:
        return await self._look_for(self._brought.keys())

    async def _look_for(self, riders: Collection[UUID]) -> Sequence[DeliveryPosition]:
        return self._told((await positions_of(self._context, sorted(riders))).values()) if riders else ()

    def _told(self, positions: Iterable[Position]) -> list[DeliveryPosition]:
        """What is news of it, for each delivery that the rider brings for this store now: of others nothing is told."""
        told = []
        for one in positions:
            for row in self._brought.get(one.rider_id, ()):
                last = self._last.get(row.delivery.id)
                if last is None or one.at > last.at:
                    self._last[row.delivery.id] = one
                    told.append(DeliveryPosition(row.delivery.id, one, eta(row.trip, one)))
        return told

    async def _read(self) -> None:
        """Follows who is on the board now, before anybody looks where they are, and nobody else."""
        found = await rows.live_deliveries(self._context.reads, self._context.actor, self._store_id)
        self._live, self._brought = {row.delivery.id: row for row in found}, {}
        for row in found:
            if row.delivery.rider_id is not None:
                self._brought.setdefault(row.delivery.rider_id, []).append(row)
        bringing = {row.delivery.id: row.delivery.rider_id for row in found}
        self._last = {id: last for id, last in self._last.items() if bringing.get(id) == last.rider_id}
        assert self._joined is not None
        self._joined.follow(self._brought)
