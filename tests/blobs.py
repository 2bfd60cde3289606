"""Blob stores that can be looked into, and that fail when they are told to."""

from collections.abc import Awaitable, Callable

from domain.blobs import away


class Shelf:
    """In memory. `down`: it does not answer. `puts` counts who tried; `after_put` happens once the blob is there."""

    def __init__(self) -> None:
        self.held: dict[str, bytes] = {}
        self.down, self.puts = False, 0
        self.after_put: Callable[[str], Awaitable[None]] | None = None

    async def put(self, key: str, data: bytes) -> None:
        self.puts += 1
        self._answer()
        self.held[key] = data
        if self.after_put is not None:
            await self.after_put(key)

    async def get(self, key: str) -> bytes | None:
        self._answer()
        return self.held.get(key)

    async def delete(self, key: str) -> None:
        self._answer()
        self.held.pop(key, None)

    def _answer(self) -> None:
        if self.down:
            raise away()
