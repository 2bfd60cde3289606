"""What somebody should look at now: told to those who watch over us, wherever they are."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Protocol

from domain.failures import Failure, shape

NEW_AFTER = timedelta(hours=24)  # failures that are alike, of one merchant, are told of once in so long
OLD_AFTER = timedelta(hours=1)  # what went wrong longer ago is no news: nobody could be told while it was
LAG_EVERY = timedelta(minutes=5)
TEXT_LIMIT = 400


@dataclass(frozen=True, slots=True)
class Alert:
    """Those about the same are one line, with how many there were. `text` has no payloads, no numbers of people, no secrets."""

    about: str
    text: str


class Alerts(Protocol):
    def say(self, alert: Alert) -> None:
        """Returns at once, from any thread. It may come late, and some of very many may not come."""


class NoAlerts:
    def say(self, alert: Alert) -> None: ...


class AlertStore(Protocol):
    async def new_groups(self, limit: int) -> tuple[Sequence[Failure], bool]:
        """Failures whose like there was not in the last day, of so many events that come next; and whether there are more.

        Each is given to one who asks, once: of two at a time one hears nothing. What another asked for and did not live to tell
        is lost.
        """

    async def lag_s(self) -> float:
        """Since when the oldest committed event waits for its place in the log."""

    async def due(self, what: str, every: timedelta) -> bool:
        """Whether nobody has told of it for so long. It is told of from now on."""


def of_group(failure: Failure) -> Alert:
    """Without what a payload says: the values in its message are taken out."""
    what = " / ".join(shape(failure.message).splitlines())[:TEXT_LIMIT]
    whose = f"merchant {failure.merchant_id}" if failure.merchant_id else "nobody's source"
    text = f"new failures: {failure.provider} {failure.kind.value}: {what} ({whose}, failure {failure.id})"
    return Alert(f"{failure.merchant_id} {failure.fingerprint}", text)
