"""Keys made in Python: a UUIDv7 sorts by the time it was made, so new rows go to the end of an index."""

from uuid import UUID

from uuid_utils.compat import uuid7


def new_id() -> UUID:
    return uuid7()
