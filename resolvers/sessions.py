"""Which sessions are still alive, as far as this process knows."""

import time
from collections.abc import Callable, Collection
from uuid import UUID

from db import sessions as rows
from db.reads import Reads
from db.sessions import Standing

FRESH_S = 1.0  # what is taken away is gone after so long, in every process
MOST = 20_000


class Sessions:
    """One for a process. Asks the database at most once a second for each session."""

    def __init__(self, reads: Reads, clock: Callable[[], float] = time.monotonic) -> None:
        self._reads = reads
        self._clock = clock
        self._known: dict[UUID, tuple[float, Standing]] = {}

    async def standing(self, session_id: UUID) -> Standing:
        now = self._clock()  # before the question: an answer is as old as the moment it was asked
        asked, known = self._known.get(session_id, (-FRESH_S, None))
        if known is not None and now - asked < FRESH_S:
            return known
        return (await self._read([session_id], now))[session_id]

    async def ended(self, session_ids: Collection[UUID]) -> Collection[UUID]:
        """Those of these sessions that are over, as of now, in one statement."""
        return {id for id, standing in (await self._read(session_ids, self._clock())).items() if not standing.alive}

    async def _read(self, session_ids: Collection[UUID], now: float) -> dict[UUID, Standing]:
        found = await rows.standings(self._reads, session_ids)
        if len(self._known) >= MOST:
            self._known = {id: (then, said) for id, (then, said) in self._known.items() if now - then < FRESH_S}
        self._known |= {id: (now, standing) for id, standing in found.items()}
        return found

    def forget(self, session_id: UUID) -> None:
        self._known.pop(session_id, None)
