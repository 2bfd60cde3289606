"""What has grown old goes where it belongs, a little at a time: domain/retention.py says what, and for how long it is kept.

Any number of these run at once: each pass is somebody's while a transaction lasts.
"""

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial

from domain import retention, trace
from domain.blobs import SWEPT_AT_ONCE, Blobs, sweep
from domain.bodies import Bodies
from domain.cancelling import heed_cancelling
from domain.refusals import Refused
from domain.retention import Kept
from domain.unit_of_work import Begin

log = logging.getLogger("haat.retention")
EVERY_S = 60.0
PAUSE_S = 0.05  # between two transactions: nothing of this is urgent


@dataclass(frozen=True)
class Retention:
    unit_of_work: Begin
    blobs: Blobs
    bodies: Bodies
    kept: Kept

    async def run(self) -> None:
        """Until cancelled."""
        trace.cause.set("clock")
        while True:
            await self.once()
            await asyncio.sleep(EVERY_S * (0.5 + random.random()))  # noqa: S311  # so that not all look at the same moment

    async def once(self) -> None:
        """All there is to do by now. A pass that fails does not hold up the others, and goes on in the next round."""
        for name, step in self._passes():
            try:
                more = True
                while more:
                    more = await step()
                    await asyncio.sleep(PAUSE_S)
            except Refused as refused:  # a store or a database that is away comes back
                heed_cancelling(refused)
                log.warning("retention waits", extra={"task": name, "code": refused.refusal.code})
            except Exception as error:
                heed_cancelling(error)
                log.exception("retention", extra={"task": name})

    def _passes(self) -> list[tuple[str, Callable[[], Awaitable[bool]]]]:
        kept, begin = self.kept, self.unit_of_work
        passes: list[tuple[str, Callable[[], Awaitable[bool]]]] = [("keys", partial(retention.drop_keys, begin))]
        if kept.inline is not None:
            passes.append(("lay away", partial(retention.lay_away, self.bodies, kept.inline, begin)))
        if kept.bodies is not None:
            passes.append(("bodies", partial(retention.drop_bodies, kept.bodies, begin)))
            passes.append(("overdue bodies", partial(retention.drop_overdue, kept.bodies, begin)))
        if kept.payloads is not None:
            passes.append(("forget", partial(retention.forget, kept.payloads, begin)))
        if self.bodies.stores:
            passes.append(("sweep", self._sweep))
        return passes

    async def _sweep(self) -> bool:
        return await sweep(self.blobs, self.unit_of_work) == SWEPT_AT_ONCE
