"""Keys made in Python: a UUIDv7 sorts by the time it was made, so new rows go to the end of an index."""

import secrets
from datetime import datetime
from uuid import UUID

from uuid_utils.compat import uuid7


def new_id() -> UUID:
    return uuid7()


def first_id(moment: datetime, later_s: float = 0) -> UUID:
    """Every key made so long after that moment, or later still, is no less."""
    return UUID(int=max(0, round((moment.timestamp() + later_s) * 1000)) << 80)


_LETTERS = "23456789ABCDEFGHJKMNPQRSTUVWXYZ"  # no 0 O, no 1 I L


def new_number() -> str:
    """Random, so that one tells nothing of how many there are: 31^8 of them."""
    return "".join(secrets.choice(_LETTERS) for _ in range(8))


def new_code() -> str:
    return f"{secrets.randbelow(10_000):04}"
