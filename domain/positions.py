"""Where riders are. Told by their devices, in any order and more than once; only the latest is of use, for seconds."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Protocol
from uuid import UUID

from domain.delivery import DeliveryStatus, ride
from domain.places import Point, metres_between
from domain.refusals import invalid

BATCH = 100
OLDEST = timedelta(minutes=5)
AHEAD = timedelta(seconds=30)  # what a device's clock may be wrong by
LEAST_ACCURATE_M = 500
KNOWN_FOR = timedelta(seconds=30)  # past it nobody knows where a rider is
PUBLISH_EVERY = timedelta(seconds=1)
SAVE_EVERY = timedelta(seconds=10)
TRACK_EVERY = timedelta(seconds=30)
CLOSE_M = 500

_D = DeliveryStatus
UNDER_WAY = (_D.PICKED_UP, _D.AT_DOOR)
TO_THE_STORE = (_D.ASSIGNED, _D.AT_STORE, _D.RETURNING)


@dataclass(frozen=True, slots=True)
class Sighting:
    """One report of a device. Ordered by `at`; `seq` breaks ties, and finds repeats within one device."""

    device_id: str
    seq: int
    point: Point
    at: datetime
    accuracy_m: int | None = None
    heading_degrees: int | None = None  # clockwise from north
    speed_mps: float | None = None


@dataclass(frozen=True, slots=True)
class Position:
    """Where a rider was. Personal: never in a log."""

    rider_id: UUID
    point: Point
    heading_degrees: int | None
    at: datetime


@dataclass(frozen=True, slots=True)
class Kept:
    """What came of a report. `latest` is None where something newer was known already."""

    accepted: int  # neither repeats nor implausible; what came late counts
    latest: Sighting | None = None
    publish: bool = False  # at most once a second
    save: bool = False  # at most once in ten seconds


class Positions(Protocol):
    """Forgets whoever is silent for 30 s. While its server is away it knows what this process has been told."""

    async def keep(self, rider_id: UUID, sightings: Sequence[Sighting], now: datetime) -> Kept:
        """Of `plausible` sightings."""

    async def latest(self, rider_ids: Sequence[UUID]) -> Mapping[UUID, Position]: ...

    async def near(self, point: Point, within_m: int, limit: int) -> Sequence[UUID]:
        """The nearest first."""

    async def forget(self, rider_id: UUID) -> None: ...


@dataclass(frozen=True, slots=True)
class Trip:
    """A delivery that has not ended, as far as it tells where its rider is going."""

    status: DeliveryStatus
    store: Point
    door: Point | None
    eta_at: datetime | None = None

    @property
    def goal(self) -> Point | None:
        return self.store if self.status in TO_THE_STORE else self.door


@dataclass(frozen=True, slots=True)
class Standing:
    """Whether anybody has a reason to know where a rider is."""

    now: datetime  # of the database
    on_duty: bool
    trips: Sequence[Trip]

    @property
    def followed(self) -> bool:
        return self.on_duty or bool(self.trips)


def check_batch(sightings: Sequence[Sighting]) -> None:
    """Refuses InvalidInput."""
    if len(sightings) > BATCH:
        raise invalid("positions", f"at most {BATCH} at once")
    for place, one in enumerate(sightings):
        if not 1 <= len(one.device_id) <= 100 or "\0" in one.device_id:
            raise invalid(f"positions.{place}.deviceId", "must have 1 to 100 characters")
        if one.seq < 0:
            raise invalid(f"positions.{place}.seq", "must not be negative")


def plausible(sightings: Sequence[Sighting], now: datetime) -> list[Sighting]:
    """In order, each once. What lies in the future, is too old, or cannot be a place is left out, not refused."""
    found = {
        (one.device_id, one.seq): one
        for one in map(_in_utc, sightings)
        if now - OLDEST <= one.at <= now + AHEAD and _on_earth(one.point) and 0 <= (one.accuracy_m or 0) <= LEAST_ACCURATE_M
    }
    return sorted(found.values(), key=in_order)


def in_order(one: Sighting) -> tuple[datetime, int]:
    return one.at, one.seq


def _in_utc(one: Sighting) -> Sighting:
    heading = one.heading_degrees
    return replace(
        one,
        at=one.at.replace(tzinfo=UTC) if one.at.tzinfo is None else one.at.astimezone(UTC),
        heading_degrees=heading % 360 if heading is not None and 0 <= heading <= 360 else None,
    )


def _on_earth(point: Point) -> bool:
    """A device without a fix says 0, 0."""
    return -90 <= point.lat <= 90 and -180 <= point.lng <= 180 and (point.lat, point.lng) != (0, 0)


def next_report_s(standing: Standing, point: Point | None) -> int:
    """How soon we want to hear again: often where somebody watches, seldom where nobody does."""
    if not standing.trips:
        return 10 if standing.on_duty else 60
    goals = [trip.goal for trip in standing.trips if trip.goal is not None]
    close = point is not None and any(metres_between(point, goal) <= CLOSE_M for goal in goals)
    return 2 if close else 4


def eta(trip: Trip, seen: Position | None) -> datetime | None:
    """From where the rider is once they have the goods, else as it was promised."""
    if trip.status in UNDER_WAY and trip.door is not None and seen is not None:
        return seen.at + ride(metres_between(seen.point, trip.door))
    return trip.eta_at


def coarse(point: Point) -> Point:
    """A place within some 500 m: the middle of its cell, so that several readings tell no more than one."""
    return Point(_middle(point.lat), _middle(point.lng))


def _middle(degrees: float) -> float:
    return round((degrees // CELL + 0.5) * CELL, 5)


CELL = 0.005  # 550 m from north to south
