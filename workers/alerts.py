"""Those who watch over us are told: of failures that are new in kind, and of a log that stands still.

What breaks is logged as an error, and adapters/alerts.py tells of that.
"""

import asyncio
import logging
from dataclasses import dataclass

from domain.alerts import LAG_EVERY, Alerts, of_group
from domain.cancelling import heed_cancelling
from domain.unit_of_work import Begin

log = logging.getLogger("haat.alerts")
EVERY_S = 2.0
EVENTS = 2_000


@dataclass(frozen=True)
class Watch:
    """Several may run: each thing is told by one of them."""

    unit_of_work: Begin
    alerts: Alerts
    most_lag_s: float

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            for look in (self.groups, self.lag):
                try:
                    await look()
                except Exception as error:  # what cannot be looked at does not hide the other
                    heed_cancelling(error)
                    log.warning("cannot look what there is to tell", exc_info=error)
            await asyncio.sleep(EVERY_S)

    async def groups(self) -> None:
        """Told after the commit: what is taken is not told twice, and may be lost with the process."""
        more = True
        while more:
            async with self.unit_of_work() as uow:
                new, more = await uow.alerts.new_groups(EVENTS)
            for failure in new:
                self.alerts.say(of_group(failure))

    async def lag(self) -> None:
        async with self.unit_of_work() as uow:
            lag_s = await uow.alerts.lag_s()
            told = lag_s <= self.most_lag_s or not await uow.alerts.due("lag of the relay", LAG_EVERY)
        if not told:
            log.error("committed events wait for their place in the log since %.0f s: is a relay running?", lag_s)
