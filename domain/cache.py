"""What processes lend each other of answers that are the same for everybody. Nothing here is the truth, nor trusted to be new."""

from typing import Protocol


class Shelf(Protocol):
    """Never raises and never keeps anybody waiting for long: what it cannot do it leaves undone."""

    async def get(self, key: bytes) -> bytes | None: ...

    async def put(self, key: bytes, value: bytes, seconds: float) -> None:
        """For so long at most."""


class NoShelf:
    """Where there is but one process."""

    async def get(self, key: bytes) -> bytes | None:
        return None

    async def put(self, key: bytes, value: bytes, seconds: float) -> None:
        return None
