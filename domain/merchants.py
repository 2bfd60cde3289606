"""The business, and the places it sells from: where they are, when they are open, what they say of themselves.

When a store is open is told twice, here and as SQL in db/merchants.py, by one rule. A span of hours belongs to the date on
which it opens, and runs by the clock of the store's town, past midnight if need be. A date that has exceptions has their
spans and not its weekday's. A store that states no hours is open all day. A time of day that the town's clock shows twice
is its second, one that it skips is as much later as it skips. The store is open from the first instant of a span
up to its last, which is not of it.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from enum import Enum
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple, Protocol
from uuid import UUID
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from domain import trace
from domain.befores import Family, differences, instructed, remember
from domain.conflicts import told_by_hand
from domain.events import Event, Topic
from domain.identity import CLOCK, Actor, ActorKind, MerchantRole, check_merchant_role
from domain.places import Point, metres_between
from domain.refusals import invalid, not_found
from domain.texts import line
from domain.truth import Field, by_hand

if TYPE_CHECKING:
    from domain.unit_of_work import UnitOfWork

DAY = 24 * 60
AHEAD_DAYS = 14  # how far an opening is looked for
UNTIL_LIMIT = timedelta(days=366)
LOOK_EVERY = timedelta(days=1)  # what was farther than AHEAD_DAYS comes nearer though nothing happens


class StoreStatus(Enum):
    """What the store says of itself. Outside its hours it is CLOSED whatever it says."""

    OPEN = "OPEN"
    BUSY = "BUSY"
    PAUSED = "PAUSED"
    CLOSED = "CLOSED"


SELLING = (StoreStatus.OPEN, StoreStatus.BUSY)  # takes orders


# ---------------------------------------------------------------- hours


class Hours(NamedTuple):
    """A span of each such weekday, in minutes from the local midnight. `closes` past 1440 is on the next day."""

    weekday: int  # Monday is 0
    opens: int
    closes: int


class HoursException(NamedTuple):
    """A span of one date instead of its weekday's. Without `opens`: closed that day."""

    day: date
    opens: int | None
    closes: int | None


@dataclass(frozen=True, slots=True)
class Opening:
    open: bool
    opens_at: datetime | None  # of a closed one: when it opens next, within 14 days
    closes_at: datetime | None  # of an open one: when it closes next, within 14 days


def opening(hours: Sequence[Hours], exceptions: Sequence[HoursException], time_zone: str, now: datetime) -> Opening:
    """Spans that touch are one: a store open round the clock does not close at midnight."""
    zone = ZoneInfo(time_zone)
    today = now.astimezone(zone).date()
    days = [today + timedelta(days=ahead) for ahead in range(-1, AHEAD_DAYS + 1)]
    spans = sorted(
        (_instant(day, opens, zone), _instant(day, closes, zone)) for day, opens, closes in _spans(hours, exceptions, days)
    )
    closes_at: datetime | None = None
    for start, end in spans:
        if start > (closes_at or now):
            break
        if end > (closes_at or now):
            closes_at = end
    if closes_at is not None:
        known = closes_at < _instant(days[-1], DAY, zone)
        return Opening(open=True, opens_at=None, closes_at=closes_at if known else None)
    return Opening(open=False, opens_at=next((start for start, end in spans if now < start < end), None), closes_at=None)


def _spans(hours: Sequence[Hours], exceptions: Sequence[HoursException], days: Iterable[date]) -> Iterator[tuple[date, int, int]]:
    for day in days:
        instead = [one for one in exceptions if one.day == day]
        if instead:
            for one in instead:
                if one.opens is not None and one.closes is not None:
                    yield day, one.opens, one.closes
        elif hours:
            for span in hours:
                if span.weekday == day.weekday():
                    yield day, span.opens, span.closes
        else:
            yield day, 0, DAY


def _instant(day: date, minutes: int, zone: ZoneInfo) -> datetime:
    """As PostgreSQL's AT TIME ZONE has it: of a time that comes twice the second, of one skipped as much later."""
    local = datetime(day.year, day.month, day.day, tzinfo=zone) + timedelta(minutes=minutes)  # of the clock on the wall
    first, second = local.astimezone(UTC), local.replace(fold=1).astimezone(UTC)
    return max(first, second)


# ---------------------------------------------------------------- stores


@dataclass(frozen=True)
class Merchant:
    id: UUID
    name: str


@dataclass(frozen=True, slots=True)
class StoreState:
    """What anybody may know of when a store takes orders. Never depends on who asks."""

    store_id: UUID
    status: StoreStatus
    is_open: bool
    opens_at: datetime | None
    closes_at: datetime | None
    until: datetime | None  # of what the store says of itself: from then on it says OPEN
    version: int
    as_of: datetime

    def says_as(self, other: "StoreState") -> bool:
        return replace(self, version=other.version, as_of=other.as_of) == other


@dataclass(frozen=True)
class Store:
    """As it was at `read_at`, by the database's clock: hours and an end of a status have been thought of already."""

    id: UUID
    merchant_id: UUID
    slug: str
    name: str
    city: str
    location: Point
    time_zone: str
    said: StoreStatus
    until: datetime | None
    reason: str | None
    prep_minutes: int
    radius_m: int
    delivery_minor: int
    packaging_minor: int
    minimum_minor: int
    currency: str
    counts_hidden: bool
    self_delivery: bool
    cash_allowed: bool
    archived: bool
    version: int
    hours: Sequence[Hours]
    exceptions: Sequence[HoursException]
    read_at: datetime

    @cached_property
    def _opening(self) -> Opening:
        return opening(self.hours, self.exceptions, self.time_zone, self.read_at)

    @property
    def _says(self) -> StoreStatus:
        return StoreStatus.OPEN if self.until is not None and self.until <= self.read_at else self.said

    @property
    def status(self) -> StoreStatus:
        return self._says if self._opening.open and not self.archived else StoreStatus.CLOSED

    @property
    def is_open(self) -> bool:
        """Takes orders, at once or in a while."""
        return self.status in SELLING

    @property
    def opens_at(self) -> datetime | None:
        """When it takes orders next; None of one that does now, and where nobody knows."""
        if self.is_open or self.archived:
            return None
        if self._says in SELLING:
            return self._opening.opens_at
        if self.until is None:
            return None
        then = opening(self.hours, self.exceptions, self.time_zone, self.until)
        return self.until if then.open else then.opens_at

    @property
    def closes_at(self) -> datetime | None:
        return self._opening.closes_at if self.is_open else None

    @property
    def state(self) -> StoreState:
        lasts = self.until is not None and self.until > self.read_at and self.status is self.said and not self.archived
        until = self.until if lasts else None
        return StoreState(self.id, self.status, self.is_open, self.opens_at, self.closes_at, until, self.version, self.read_at)

    @property
    def look_at(self) -> datetime | None:
        """When to look at its state again: it may be another then, and is none before."""
        if self.archived:
            return None
        moments = (self._opening.opens_at, self._opening.closes_at, self.until, self.read_at + LOOK_EVERY)
        return min(moment for moment in moments if moment is not None and moment > self.read_at)

    def distance_metres(self, point: Point) -> int:
        return metres_between(self.location, point)

    def delivers_to(self, point: Point) -> bool:
        return self.distance_metres(point) <= self.radius_m


@dataclass(frozen=True)
class StoreStatusChanged(Event):
    """Complete, so a feed sends it without reading it again. One for each version of a store: by its own word, or by the clock."""

    state: StoreState
    merchant_id: UUID
    said: StoreStatus  # by itself; its hours are not thought of
    reason: str | None
    by: ActorKind | None

    topic, stream = Topic.STORE_STATUS, "store"

    @property
    def entity(self) -> UUID:
        return self.state.store_id

    @property
    def seq(self) -> int:
        return self.state.version

    @property
    def concerns(self) -> Sequence[UUID]:
        return (self.state.store_id, self.merchant_id)


@dataclass(frozen=True, slots=True)
class LockedStore:
    store: Store
    told: StoreState | None  # last; None of one that no command of ours has made


@dataclass(frozen=True)
class SetStoreStatus:
    """With `until`: from then on it says OPEN again."""

    store_id: UUID
    status: StoreStatus
    until: datetime | None = None
    reason: str | None = None


@dataclass(frozen=True)
class AddStore:
    merchant_id: UUID
    slug: str
    name: str
    city: str
    location: Point
    time_zone: str = "Asia/Kolkata"
    hours: Sequence[Hours] = ()
    prep_minutes: int = 20
    radius_m: int = 5000
    delivery_minor: int = 0
    packaging_minor: int = 0
    minimum_minor: int = 0
    currency: str = "INR"
    counts_hidden: bool = False
    self_delivery: bool = False
    cash_allowed: bool = True


class MerchantStore(Protocol):
    async def lock_stores(self, store_ids: Iterable[UUID], actor: Actor) -> Mapping[UUID, LockedStore]:
        """Those the actor may act for, in id order."""

    async def lock_due(self, limit: int) -> Sequence[LockedStore]:
        """Stores whose moment to be looked at has come, but for those another has locked."""

    async def keep(self, stores: Sequence[Store]) -> None:
        """Of stores already locked: what they say and their version, that this is told, and when to look at them again."""

    async def add_store(self, store_id: UUID, command: AddStore) -> tuple[UUID, bool]:
        """The id of the store of that slug, and whether it was made now."""

    async def set_hours(self, store_id: UUID, hours: Sequence[Hours], exceptions: Sequence[HoursException] = ()) -> None:
        """These and no others. The clock looks at the store at once, and tells what has become of it."""


async def set_store_status(command: SetStoreStatus, actor: Actor, uow: "UnitOfWork") -> None:
    """For the merchant's managers and owners, and for its sources: whether these are believed is asked before. What it says already
    changes nothing.

    Refuses NotFound, Forbidden, NotSourceOfTruth, InvalidInput.
    """
    if actor.kind is ActorKind.MERCHANT:
        await uow.truth.hold_of_store(command.store_id)
    locked = (await uow.merchants.lock_stores([command.store_id], actor)).get(command.store_id)
    if locked is None:
        raise not_found("store")
    store, dashboard = locked.store, None
    if actor.kind is ActorKind.MERCHANT:
        await check_merchant_role(store.merchant_id, actor, uow, MerchantRole.OWNER, MerchantRole.MANAGER)
        dashboard = await by_hand(Field.STATUS, store.id, store.merchant_id, uow)
    await say_status(command, store, actor, uow)
    if dashboard is not None:
        await told_by_hand(Field.STATUS, store.id, dashboard, uow)


async def say_status(command: SetStoreStatus, store: Store, actor: Actor, uow: "UnitOfWork") -> None:
    """Of a store already locked, by who may. Refuses InvalidInput."""
    now = await uow.now()
    if command.until is not None:
        if command.status is StoreStatus.OPEN:
            raise invalid("until", "a store that is open says when it closes by its hours")
        if not now < command.until <= now + UNTIL_LIMIT:
            raise invalid("until", f"must be within {UNTIL_LIMIT.days} days from now")
    reason = line("reason", command.reason, 200) if command.reason else None
    if (store.said, store.until, store.reason) == (command.status, command.until, reason):
        return
    after = _next(store, command.status, command.until, reason)
    if instructed(cause := trace.cause.get()):
        remember(uow, cause, differences(Family.STORE, store.id, after.version, store, after))
    await _tell([after], actor, uow)
    detail = f"{store.said.value} → {command.status.value}" + (f" until {command.until.isoformat()}" if command.until else "")
    await uow.audit.write(actor, "set store status", store.id, store.merchant_id, detail)


async def tell_due(uow: "UnitOfWork", limit: int = 200) -> int:
    """The clock's: stores whose hours have begun or ended, or whose pause is over. Returns how many it has looked at.

    Safe to repeat. However much of it was missed, a store is told of once, as it is now.
    """
    due = await uow.merchants.lock_due(limit)
    changed: list[Store] = []
    same: list[Store] = []
    for one in due:
        store = one.store
        if store.until is not None and store.until <= store.read_at:
            changed.append(_next(store, StoreStatus.OPEN, None, None))
        elif one.told is not None and not store.state.says_as(one.told):
            changed.append(_next(store, store.said, store.until, store.reason))
        else:
            same.append(store)
    await uow.merchants.keep(same)
    await _tell(changed, CLOCK, uow)
    return len(due)


def _next(store: Store, said: StoreStatus, until: datetime | None, reason: str | None) -> Store:
    return replace(store, said=said, until=until, reason=reason, version=store.version + 1)


async def _tell(stores: Sequence[Store], actor: Actor, uow: "UnitOfWork") -> None:
    """What is so from now on of stores that are locked."""
    await uow.merchants.keep(stores)
    await uow.events.add(*(StoreStatusChanged(one.state, one.merchant_id, one.said, one.reason, actor.kind) for one in stores))


async def add_store(command: AddStore, actor: Actor, uow: "UnitOfWork") -> UUID:
    """For support and ourselves: the store of that slug, made now or before, which stays as it is. Refuses InvalidInput."""
    for path, text, most in (("slug", command.slug, 100), ("name", command.name, 200), ("city", command.city, 100)):
        line(path, text, most)
    try:
        ZoneInfo(command.time_zone)
    except (ZoneInfoNotFoundError, ValueError) as error:
        raise invalid("time_zone", "not one we know") from error
    store_id, made = await uow.merchants.add_store(uow.new_id(), command)
    if made:
        await _tell([one.store for one in (await uow.merchants.lock_stores([store_id], CLOCK)).values()], actor, uow)
        await uow.audit.write(actor, "add store", store_id, command.merchant_id, command.slug)
    return store_id
