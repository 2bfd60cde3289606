"""What lies beside the database because it is long: bytes by a key, each written once."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Protocol
from uuid import UUID

from domain.refusals import Refused, Unavailable

if TYPE_CHECKING:
    from domain.unit_of_work import Begin

SURE_AFTER = timedelta(days=1)  # whoever meant to write a row for a blob has done so, or never will
SWEPT_AT_ONCE = 200


class Blobs(Protocol):
    """Every call ends within seconds and refuses Unavailable where the store does not answer. Safe to repeat."""

    async def put(self, key: str, data: bytes) -> None:
        """Durable once it returns."""

    async def get(self, key: str) -> bytes | None:
        """None: there is no such blob."""

    async def delete(self, key: str) -> None:
        """One that is not there is gone already."""


class NoBlobs:
    """There is no store: what is long stays in the database."""

    async def put(self, key: str, data: bytes) -> None:
        raise away()

    async def get(self, key: str) -> bytes | None:
        raise away()

    async def delete(self, key: str) -> None:
        raise away()


def away() -> Refused:
    """To be raised."""
    return Refused(Unavailable("the blob store does not answer"))


def blob_key(kind: str, id: UUID) -> str:
    """Never used twice. Its last characters are random: they spread over directories."""
    return f"{kind}/{id.hex[-2:]}/{id.hex}"


# ---------------------------------------------------------------- what has no row


@dataclass(frozen=True, slots=True)
class Stray:
    """A blob that may have no row: written down before it is put, and when its row goes."""

    key: str
    at: datetime  # when it was written down last
    wanted: bool  # a row points to it


class StrayStore(Protocol):
    async def add(self, keys: Collection[str]) -> None:
        """One that is there already is as young as a new one."""

    async def due(self, age: timedelta, limit: int) -> Sequence[Stray]:
        """Those written down so long ago, the oldest first."""

    async def forget(self, strays: Collection[Stray]) -> None:
        """But for those that were written down again since."""


async def unsure(key: str, begin: "Begin") -> None:
    """To be called before a blob is put: whatever happens then, it is found. A transaction of its own."""
    async with begin() as uow:
        await uow.strays.add([key])


async def sweep(blobs: Blobs, begin: "Begin") -> int:
    """Deletes blobs that no row points to, some at a time. Returns how many strays were looked at. Refuses Unavailable.

    Several at once do the same twice, and no harm: no row is ever written for a key this old.
    """
    async with begin() as uow:
        found = await uow.strays.due(SURE_AFTER, SWEPT_AT_ONCE)
    for stray in found:
        if not stray.wanted:
            await blobs.delete(stray.key)
    if found:
        async with begin() as uow:
            await uow.strays.forget(found)
    return len(found)
