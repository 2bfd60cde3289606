"""Orders told to the store's till: what the log says of them becomes news to tell, each told until the till has it.

The log is followed by `pos`, and what it says is written down with the place that was come to: once, whoever dies. The news of one
order are told one after another, in the order of the log; a source is told by one worker at a time, which may write down what came
of it for as long as it holds the source.
"""

import hashlib
import json
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import Enum
from typing import TYPE_CHECKING, Protocol
from uuid import UUID

from domain import fulfilment, orders, trace
from domain.access import OPEN_AFTER, SealedAccess
from domain.delivery import DeliveryMoved, DeliveryStatus
from domain.doors import PATH
from domain.events import Event
from domain.failures import FailureChanged
from domain.identity import Actor, ActorKind
from domain.intake import MESSAGE_LIMIT, FailureKind, FailureState, Reading, Source, Wrong, printable
from domain.orders import CANCELLED, IN_STORE, OrderMoved, OrderStatus
from domain.outbound import (
    OF_RIDER,
    Heard,
    NotMapped,
    NotNow,
    NotUnderstood,
    Order,
    OrderNews,
    Outbound,
    Outbounds,
    Taken,
    TurnedDown,
)
from domain.payloads import Received, keep
from domain.refusals import invalid, not_found

if TYPE_CHECKING:
    from domain.unit_of_work import UnitOfWork

DOOR = "outbound"  # of the payloads that say what could not be told: nobody can call it
REFERENCE_CHARACTERS, NOTE_CHARACTERS = 100, 500
_N, _S, _D = OrderNews, OrderStatus, DeliveryStatus
OF_STATUS = {
    _S.PLACED: _N.PLACED, _S.ACCEPTED: _N.ACCEPTED, _S.READY: _N.READY, _S.PICKED_UP: _N.LEFT, _S.DELIVERED: _N.DELIVERED,
    **dict.fromkeys(CANCELLED, _N.CANCELLED),
}  # fmt: skip
OF_TRIP = {
    _D.ASSIGNED: _N.RIDER_ASSIGNED, _D.AT_STORE: _N.RIDER_AT_STORE, _D.PICKED_UP: _N.RIDER_LEFT, _D.DELIVERED: _N.RIDER_DELIVERED,
}  # fmt: skip


# ---------------------------------------------------------------- what the log says


@dataclass(frozen=True)
class Followed:
    """An event of the log's, in its place. `was`: of one of an order, but for the first, the order's status before it."""

    pos: int
    at: datetime
    event: Event
    caused_by: str
    was: OrderStatus | None = None


@dataclass(frozen=True)
class Listener:
    """A source that is mapped to a store, and told of what has become of its orders since it was asked to be."""

    source_id: UUID
    provider: str
    store_id: UUID
    since: datetime


@dataclass(frozen=True)
class NewTelling:
    """`seq` tells apart what may come again: of a rider the delivery's version, of the order itself 0."""

    id: UUID
    source_id: UUID
    order_id: UUID
    merchant_id: UUID
    news: OrderNews
    seq: int
    pos: int
    try_for: timedelta


def try_for(news: OrderNews) -> timedelta:
    """An order may still be accepted by hand when this is over; one that is not to be is told for as long as it may be cooked."""
    match news:
        case OrderNews.PLACED:
            return orders.ACCEPT_WITHIN - timedelta(minutes=2)
        case OrderNews.CANCELLED:
            return timedelta(hours=2)
        case _:
            return timedelta(minutes=15)


def news_of(event: Event, was: OrderStatus | None) -> tuple[UUID, OrderNews, int] | None:
    """Of which order, what, and its `seq`. What leaves the order as it `was` is a note to it, and no news to a till."""
    match event:
        case OrderMoved() if event.status in OF_STATUS and event.status is not was:
            return event.order_id, OF_STATUS[event.status], 0
        case DeliveryMoved() if event.status in OF_TRIP:
            return event.order.order_id, OF_TRIP[event.status], event.version
        case _:
            return None


async def follow(limit: int, outbounds: Outbounds, uow: "UnitOfWork") -> bool:
    """Of so many events that come next, what is to be told becomes news. Returns whether there are more. One follows at a time.

    A source is not told what it has said itself, and of an order that it was not told of nothing.
    """
    followed, more = await uow.tellings.next_events(limit)
    said = [(one, news) for one in followed if (news := news_of(one.event, one.was)) is not None]
    if not said:
        return more
    listeners: defaultdict[UUID, list[Listener]] = defaultdict(list)
    for listener in await uow.tellings.listeners({_store_of(one.event) for one, _ in said}, outbounds):
        listeners[listener.store_id].append(listener)
    if not listeners:
        return more
    by_source = {one.caused_by for one, _ in said if _by(one.event) is ActorKind.SOURCE}
    said_by = await uow.tellings.said_by(by_source)
    new = [
        NewTelling(uow.new_id(), listener.source_id, order_id, _merchant_of(one.event), news, seq, one.pos, try_for(news))
        for one, (order_id, news, seq) in said
        for listener in listeners[_store_of(one.event)]
        if news in outbounds[listener.provider].tells and one.at >= listener.since
        if _by(one.event) is not ActorKind.SOURCE or said_by.get(one.caused_by) != listener.source_id
    ]  # fmt: skip
    await uow.tellings.add(new)
    return more


def _store_of(event: Event) -> UUID:
    assert isinstance(event, OrderMoved | DeliveryMoved)
    return event.store_id


def _merchant_of(event: Event) -> UUID:
    assert isinstance(event, OrderMoved | DeliveryMoved)
    return event.merchant_id


def _by(event: Event) -> ActorKind:
    assert isinstance(event, OrderMoved | DeliveryMoved)
    return event.by


# ---------------------------------------------------------------- whose turn it is


@dataclass(frozen=True)
class TellingTurn:
    """A source that there is something to tell, by us alone until `held_until`: that value is the right to write down what came
    of it. `failed` in a row, whatever was told; `message` is why the last one did."""

    source_id: UUID
    provider: str
    access: SealedAccess
    now: datetime
    held_until: datetime
    failed: int
    budget: float  # calls it may be sent, as it was at `budget_at`; None: all there may be at once
    budget_at: datetime | None
    message: str | None
    resting: bool = False  # it is left alone as yet: what is overdue is given up, and that is all


@dataclass(frozen=True)
class Telling:
    """One piece of news, as it is tried once more: `attempts` counts this one, and none that surely came to nothing."""

    id: UUID
    order_id: UUID
    news: OrderNews
    attempts: int
    overdue: bool
    payload_id: UUID | None  # what says that it failed before
    has_order: bool  # the till has said so
    may_have_order: bool  # it has, or nobody knows
    overtaken: bool = False  # of a rider: there is another by now


class TellingState(Enum):
    WAITING = "WAITING"
    TOLD = "TOLD"
    MOOT = "MOOT"  # there was nothing to tell any more
    FAILED = "FAILED"


@dataclass(frozen=True)
class Ended:
    """What became of one piece of news. None: it is told again in `next_in`, or where it is `parked` once all of it is mapped."""

    state: TellingState | None
    message: str | None = None
    reference: str | None = None
    refused: bool = False  # the till has not got it: it has said so, or was never spoken to
    next_in: timedelta = timedelta()
    parked: bool = False
    payload_id: UUID | None = None  # what says that it failed
    spoken: bool = True  # False: the till has surely not heard it this time, so it was no attempt


@dataclass(frozen=True)
class Spent:
    """How a source stands after a call, or at the end of a turn."""

    failed: int
    next_in: timedelta
    budget: float
    message: str | None = None


class TellingStore(Protocol):
    async def next_events(self, limit: int) -> tuple[Sequence[Followed], bool]:
        """Of so many that come next in the log those of orders and deliveries; and whether there are more. The place that was
        come to is kept with the transaction; of two who ask at a time one gets nothing."""

    async def listeners(self, store_ids: Collection[UUID], providers: Collection[str]) -> Sequence[Listener]: ...

    async def said_by(self, causes: Collection[str]) -> Mapping[str, UUID]:
        """Which source was behind each of these causes of events, where one was."""

    async def add(self, new: Sequence[NewTelling]) -> None:
        """What is told once is there once. Of an order that its source was not told of nothing but that it is placed."""

    async def switch(self, source_id: UUID, *, on: bool) -> bool:
        """Off, what waits is told no more, and who is at it writes nothing down; on, nothing waits from before. Returns whether
        that changed anything. Refuses Conflict without an access."""

    async def not_told(self, source_id: UUID) -> Collection[UUID]:
        """The payloads of the source's that say what could not be told, and of which a failure is not settled."""

    async def turn(self, hold: timedelta, providers: Collection[str]) -> TellingTurn | None:
        """The one that waits longest, locked by nobody else; before it one that is left alone, and has news that are overdue. None:
        there is nothing to tell by now, and nothing to give up."""

    async def hold(self, turn: TellingTurn, held_until: datetime, hold: timedelta, spent: Spent) -> datetime | None:
        """For so much longer. None: it is somebody else's by now."""

    async def end(self, turn: TellingTurn, held_until: datetime, spent: Spent) -> bool:
        """Whether it was ours to the end. Who is left alone for longer stays so."""

    async def begin(self, source_id: UUID, set_aside: timedelta, *, overdue: bool = False) -> Telling | None:
        """The first that is due, or of those that are `overdue`; none stands before it that is of its order. What somebody dies of,
        or never comes to an end with, stops the others for no longer than it is set aside."""

    async def finish(self, telling_id: UUID, ended: Ended) -> None: ...

    async def again(self, payload_ids: Collection[UUID]) -> set[UUID]:
        """What these payloads say could not be told is told again; what is parked stays so. Returns those that say so, whatever
        became of it since."""

    async def reference(self, source_id: UUID, order_id: UUID) -> str | None:
        """What the source calls the order."""

    async def numbers(self, source_id: UUID, references: Collection[str]) -> Mapping[str, str]:
        """Our numbers of the orders a source has last called so."""


# ---------------------------------------------------------------- what became of it


def moot(telling: Telling, order: Order) -> str | None:
    """Why there is nothing to tell any more, or None."""
    if telling.news is OrderNews.PLACED:
        return None if order.status in IN_STORE else f"the order is {order.status.value} by now"
    if telling.news is OrderNews.CANCELLED:
        return None if telling.may_have_order else "the till was not told of the order"
    if not telling.has_order:
        return "the till was not told of the order"
    if order.status in CANCELLED:
        return f"the order is {order.status.value} by now"
    if telling.news in OF_RIDER and (order.rider is None or telling.overtaken):
        return "nobody brings it any more" if order.rider is None else "somebody else brings it by now"
    return None


async def settle(
    telling: Telling, heard: Heard, order: Order, source: Source, remote: str, wait: timedelta, uow: "UnitOfWork"
) -> Ended:
    """What the till's answer means for the order and for people. What it means for the news its caller writes down, last of all."""
    match heard:
        case Taken():
            await mended(telling, uow)
            reference = printable(heard.reference)[:REFERENCE_CHARACTERS] if heard.reference else None
            return Ended(TellingState.TOLD, reference=reference)
        case TurnedDown() if telling.news is OrderNews.PLACED:
            await _turn_down(order, heard, source, uow)
            await mended(telling, uow)
            return Ended(TellingState.TOLD, heard.message, refused=True)
        case NotMapped():
            ended = Ended(None, heard.message, next_in=wait, parked=True)
            return await _failed(telling, ended, FailureKind.MAPPING, order, source, remote, uow)
        case NotNow() if not telling.overdue:
            return Ended(None, heard.message, next_in=wait)
        case NotNow():
            return await give_up(telling, f"{heard.message}, {telling.attempts} times", order, source, remote, uow)
        case _ if telling.news is OrderNews.CANCELLED and not telling.has_order:
            await mended(telling, uow)
            return Ended(TellingState.MOOT, f"the till may never have had it: {heard.message}")
        case _:
            # An earlier try may have been taken all the same: then it is to hear of the order's end.
            refused = telling.attempts == 1 and (not isinstance(heard, NotUnderstood) or heard.sure)
            ended = Ended(TellingState.FAILED, heard.message or "it says no", refused=refused)
            return await _failed(telling, ended, FailureKind.VALIDATION, order, source, remote, uow)


async def give_up(
    telling: Telling, message: str, order: Order | None, source: Source, remote: str, uow: "UnitOfWork", *, spoken: bool = True
) -> Ended:
    """A failure, to be told again by hand. `order` None: not even that could be read. `spoken`: this time the till may have heard
    it."""
    ended = Ended(TellingState.FAILED, message, spoken=spoken)
    return await _failed(telling, ended, FailureKind.PROCESSING, order, source, remote, uow)


async def mended(telling: Telling, uow: "UnitOfWork", why: str = "it has been told, or needs to be no more") -> None:
    """What said that it could not be told is RESOLVED."""
    if telling.payload_id is not None:
        for failure in await uow.failures.unsettled([telling.payload_id]):
            changed = await uow.failures.change(failure.id, FailureState.RESOLVED, why)
            await uow.events.add(FailureChanged(changed))


async def _turn_down(order: Order, heard: TurnedDown, source: Source, uow: "UnitOfWork") -> None:
    """As though the store had called us. What people have accepted meanwhile is cancelled; what has ended stays so."""
    till, message = Actor(ActorKind.SOURCE, source.id), heard.message[:NOTE_CHARACTERS] if heard.message else None
    locked = await orders.lock(order.id, till, uow)
    if locked.status is OrderStatus.PLACED:
        await fulfilment.reject_order(fulfilment.RejectOrder(order.id, heard.reason, message), till, uow)
    elif locked.status in (OrderStatus.ACCEPTED, OrderStatus.READY):
        await fulfilment.cancel_order(fulfilment.CancelOrder(order.id, heard.reason, message), till, uow)


async def _failed(
    telling: Telling, ended: Ended, kind: FailureKind, order: Order | None, source: Source, remote: str, uow: "UnitOfWork"
) -> Ended:
    """One failure of the source at a time for each piece of news, whose payload says what it was about."""
    if telling.payload_id is not None:
        if any(failure.kind is kind for failure in await uow.failures.unsettled([telling.payload_id])):
            return replace(ended, payload_id=telling.payload_id)
        await mended(telling, uow, "something else is wrong by now")
    number, store = (order.number, order.store.id) if order is not None else (str(telling.order_id), None)
    body = json.dumps({"order": number, "news": telling.news.value, "store": store}).encode()
    digest, correlation_id = hashlib.sha256(body).digest(), trace.correlation_id.get()
    at, headers = await uow.now(), {PATH: DOOR}
    received = Received(
        source, source.provider, source.family, DOOR, body, digest, headers, remote, correlation_id, at, spoken=False
    )
    said = printable(f"the till was not told that order '{number}' is {telling.news.value}: {ended.message}")[:MESSAGE_LIMIT]
    kept = await keep(received, Reading(wrong=Wrong(kind, said, store)), uow)
    return replace(ended, payload_id=kept.payload_id)


# ---------------------------------------------------------------- whether it is told at all


async def tell_orders(source_id: UUID, outbound: Outbound | None, actor: Actor, uow: "UnitOfWork", *, on: bool) -> None:
    """Of what happens from now on. Safe to repeat. Refuses NotFound, InvalidInput, Conflict (nobody has said where)."""
    source = await uow.sources.lock(source_id, actor)
    if source is None:
        raise not_found("source")
    if on and outbound is None:
        raise invalid("toldOrders", "this provider is told of no orders")
    if not on:
        await _forget(source.id, uow)  # first, as who writes down what came of a call takes failures before the source
    if await uow.tellings.switch(source.id, on=on):
        said = "is told of its stores' orders" if on else "is told of orders no more"
        await uow.audit.write(actor, "setSource", source.id, source.merchant_id, said)
    if not on:
        await _forget(source.id, uow)  # of a call that ended meanwhile


async def _forget(source_id: UUID, uow: "UnitOfWork") -> None:
    """What the source could not be told of it is told no more."""
    found = await uow.failures.unsettled(await uow.tellings.not_told(source_id))
    changed = [await uow.failures.change(one.id, FailureState.RESOLVED, "it was switched off") for one in found]
    await uow.events.add(*map(FailureChanged, changed))


# ---------------------------------------------------------------- how long until the next time

WAIT_S, WAIT_MOST_S = 2.0, 60.0
PAUSE, LONGER_PAUSE = timedelta(minutes=1), timedelta(minutes=3)


def backoff(attempts: int, after_s: float | None, dice: float) -> timedelta:
    """Before the same news is tried again: doubling, up to a minute, and as late as the till asks, up to three. `dice`: 0 to 1."""
    grown: float = min(WAIT_MOST_S, WAIT_S * 2 ** min(attempts - 1, 10)) * (0.5 + dice / 2)
    return timedelta(seconds=max(grown, min(after_s or 0, LONGER_PAUSE.total_seconds())))


def pause(failed: int, after_s: float | None) -> timedelta:
    """Before this source is told anything: who is broken is left alone for a while, and longer where that does not help."""
    asked = timedelta(seconds=min(after_s or 0, LONGER_PAUSE.total_seconds()))
    if failed < OPEN_AFTER:
        return asked
    return max(asked, PAUSE if failed < 2 * OPEN_AFTER else LONGER_PAUSE)
