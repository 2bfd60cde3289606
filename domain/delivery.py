"""The trip of one order, from the search for a rider to the door."""

from enum import Enum


class DeliveryStatus(Enum):
    SEARCHING = "SEARCHING"
    ASSIGNED = "ASSIGNED"
    AT_STORE = "AT_STORE"
    PICKED_UP = "PICKED_UP"
    AT_DOOR = "AT_DOOR"
    DELIVERED = "DELIVERED"
    FAILED = "FAILED"
    RETURNING = "RETURNING"
    RETURNED = "RETURNED"
    CANCELLED = "CANCELLED"


class OfferStatus(Enum):
    OPEN = "OPEN"
    ACCEPTED = "ACCEPTED"
    DECLINED = "DECLINED"
    EXPIRED = "EXPIRED"
    WITHDRAWN = "WITHDRAWN"
