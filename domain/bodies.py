"""The bytes of payloads: short ones lie in their rows, long and old ones compressed in the blob store. Who reads them asks here."""

import asyncio
import hashlib
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from time import monotonic
from typing import TYPE_CHECKING
from uuid import UUID

from domain.blobs import Blobs, NoBlobs, blob_key, unsure
from domain.refusals import Kind, Refused

if TYPE_CHECKING:
    from domain.unit_of_work import Begin

INLINE_BYTES = 32 * 1024
BESIDE_BYTES = 16 * 1024  # what is longer is compressed and hashed beside the event loop
AWAY_S = 10.0  # so long a store that did not answer is not asked to take more: each call would wait for it
KIND = "payloads"


@dataclass(frozen=True, slots=True)
class Stored:
    """A body as its row has it. `size` and `sha256` are of what came: `kept` may be its beginning, or nothing any more."""

    kept: bytes
    blob: str | None
    size: int
    sha256: bytes

    @property
    def whole(self) -> bool:
        return self.blob is not None or len(self.kept) == self.size


class BodyLost(Exception):
    """Its bytes are not in the store, or are others than those that came."""


class Bodies:
    """Of one process."""

    def __init__(self, blobs: Blobs, inline_bytes: int = INLINE_BYTES, clock: Callable[[], float] = monotonic) -> None:
        self._blobs, self._inline_bytes, self._clock = blobs, inline_bytes, clock
        self._away_until = 0.0

    @property
    def stores(self) -> bool:
        """Whether there is a store at all."""
        return not isinstance(self._blobs, NoBlobs)

    def long(self, size: int) -> bool:
        """Whether it is to lie elsewhere than in its row."""
        return self.stores and size > self._inline_bytes

    async def lay_away(self, body: bytes, id: UUID, begin: "Begin") -> str | None:
        """The key of the blob, which is durable. None where the store is away: better a large row than a refused payload.

        `id` names the blob, and must be new each time. Who writes no row of the key leaves it to the sweep.
        """
        if self._clock() < self._away_until:
            return None
        key = blob_key(KIND, id)
        packed = await _beside(len(body), zlib.compress, body)
        await unsure(key, begin)
        try:
            await self._blobs.put(key, packed)
        except Refused as refused:
            if refused.refusal.kind is not Kind.UNAVAILABLE:
                raise
            self._away_until = self._clock() + AWAY_S
            return None
        return key

    async def read(self, stored: Stored) -> bytes:
        """All that is kept. Refuses Unavailable; raises BodyLost for what is not what came."""
        body = await self.beginning(stored, stored.size)
        if stored.blob is not None and await _beside(len(body), _digest, body) != stored.sha256:
            raise BodyLost(f"{stored.blob} is not what came: its SHA-256 differs")
        return body

    async def beginning(self, stored: Stored, most: int) -> bytes:
        """To be looked at: of a part nothing can be proven. Refuses and raises as `read` does."""
        if stored.blob is None:
            return stored.kept[:most]
        packed = await self._blobs.get(stored.blob)
        if packed is None:
            raise BodyLost(f"{stored.blob} is not in the blob store")
        try:
            return await _beside(most, _unpacked, packed, most)
        except zlib.error:
            raise BodyLost(f"{stored.blob} is broken in the blob store") from None


INLINE = Bodies(NoBlobs())
"""Where there is no store. What lies in rows is read all the same."""


async def _beside(size: int, step: Callable[..., bytes], *arguments: object) -> bytes:
    return await asyncio.to_thread(step, *arguments) if size > BESIDE_BYTES else step(*arguments)


def _unpacked(packed: bytes, most: int) -> bytes:
    """No more, whatever it would become."""
    return zlib.decompressobj().decompress(packed, max(1, most))


def _digest(body: bytes) -> bytes:
    return hashlib.sha256(body).digest()
