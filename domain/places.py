"""Points on the earth and the addresses at them."""

from dataclasses import dataclass
from math import asin, cos, radians, sin, sqrt

EARTH_RADIUS_M = 6_371_008.8  # mean radius of WGS 84


@dataclass(frozen=True, slots=True)
class Point:
    """WGS 84 degrees."""

    lat: float
    lng: float


def to_the_centimetre(lat: float, lng: float) -> Point:
    """As it is told to us. What is finer says nothing, and a database cannot square it."""
    return Point(round(lat, 7), round(lng, 7))


@dataclass(frozen=True)
class PostalAddress:
    """Where something is brought. Copied into an order, never linked: a later change must not move it."""

    line1: str
    line2: str | None
    city: str
    postal_code: str
    point: Point
    phone: str | None  # E.164


def metres_between(one: Point, other: Point) -> int:
    """Along the great circle (haversine), in whole metres."""
    lat1, lat2 = radians(one.lat), radians(other.lat)
    half = sin((lat2 - lat1) / 2) ** 2 + cos(lat1) * cos(lat2) * sin(radians(other.lng - one.lng) / 2) ** 2
    return round(2 * EARTH_RADIUS_M * asin(sqrt(min(1.0, half))))
