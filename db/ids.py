"""Keys made in Python: a UUIDv7 sorts by the time it was made, so new rows go to the end of an index."""

import secrets
from datetime import datetime
from uuid import UUID

from uuid_utils.compat import uuid7

from domain.orders import NUMBER_LENGTH, NUMBER_LETTERS


def new_id() -> UUID:
    return uuid7()


def first_id(moment: datetime, later_s: float = 0) -> UUID:
    """Every key made so long after that moment, or later still, is no less."""
    return UUID(int=max(0, round((moment.timestamp() + later_s) * 1000)) << 80)


def new_number() -> str:
    """Random, so that one tells nothing of how many there are: 31^8 of them."""
    return "".join(secrets.choice(NUMBER_LETTERS) for _ in range(NUMBER_LENGTH))


def new_code() -> str:
    return f"{secrets.randbelow(10_000):04}"
