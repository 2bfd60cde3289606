"""The business, and the places it sells from."""

from enum import Enum


class StoreStatus(Enum):
    """What the store says of itself. Outside its hours it is CLOSED whatever it says."""

    OPEN = "OPEN"
    BUSY = "BUSY"
    PAUSED = "PAUSED"
    CLOSED = "CLOSED"
