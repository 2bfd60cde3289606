"""Alerts to a channel of Slack, by an incoming webhook: https://docs.slack.dev/messaging/sending-messages-using-incoming-webhooks

One message a second at most, as it asks for; what comes while one waits is the next one, with counts.
"""

import asyncio
import logging
import random
import threading
import traceback
from collections.abc import Mapping
from contextlib import suppress

import httpx2

from adapters.logs import redacted
from domain.alerts import Alert
from domain.cancelling import heed_cancelling
from domain.figures import Figures

log = logging.getLogger("haat.alerts")
EVERY_S = 1.0
TIMEOUT_S = 5.0
MOST = 100  # kinds that wait; of one kind there may be any number
LINES = 20  # of a message
RETRY_S, RETRY_MOST_S, ASKED_MOST_S = 1.0, 60.0, 300.0
FLUSH_S = 0.5

Waiting = dict[str, tuple[str, int]]


class SlackAlerts:
    """`name` is what we call ourselves. `run` sends until it is cancelled; `close` tries once more."""

    def __init__(self, url: str, name: str, figures: Figures, every_s: float = EVERY_S, timeout_s: float = TIMEOUT_S) -> None:
        self._url = url
        self._name = name
        self._figures = figures
        self._every_s = every_s
        self._client = httpx2.AsyncClient(timeout=timeout_s, follow_redirects=False)
        self._timeout_s = timeout_s
        self._waiting: Waiting = {}
        self._lock = threading.Lock()
        self._woken = asyncio.Event()
        self._loop = asyncio.get_running_loop()

    def say(self, alert: Alert) -> None:
        with self._lock:
            kept = self._add(alert.about, alert.text, 1)
        if not kept:
            self._figures.alerts("dropped", 1)
            return
        with suppress(RuntimeError):  # the loop is closed: nobody will send it
            self._loop.call_soon_threadsafe(self._woken.set)

    def _add(self, about: str, text: str, count: int) -> bool:
        before = self._waiting.get(about)
        if before is None and len(self._waiting) >= MOST:
            return False
        self._waiting[about] = (text, count + (before[1] if before else 0))
        return True

    async def run(self) -> None:
        wait_s = RETRY_S
        while True:
            await self._woken.wait()
            self._woken.clear()
            while batch := self._taken():
                try:
                    again_s = await self._sent(batch)
                except BaseException:
                    self._put_back(batch)
                    raise
                if again_s is None:
                    wait_s = RETRY_S
                    await asyncio.sleep(self._every_s)
                    continue
                self._put_back(batch)
                await asyncio.sleep(again_s or wait_s * random.uniform(0.7, 1))  # noqa: S311
                wait_s = min(wait_s * 2, RETRY_MOST_S)

    async def close(self) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(FLUSH_S):
                if (batch := self._taken()) and await self._sent(batch) is not None:
                    self._figures.alerts("dropped", _count(batch))
        await self._client.aclose()

    def _taken(self) -> Waiting:
        """The oldest, as many as one message has lines."""
        with self._lock:
            names = list(self._waiting)[:LINES]
            return {name: self._waiting.pop(name) for name in names}

    def _put_back(self, batch: Waiting) -> None:
        with self._lock:
            newer, self._waiting = self._waiting, dict(batch)
            lost = sum(count for about, (text, count) in newer.items() if not self._add(about, text, count))
        if lost:
            self._figures.alerts("dropped", lost)

    async def _sent(self, batch: Waiting) -> float | None:
        """None: it is done with. Else it has to be tried again, after so many seconds where Slack says so, else 0."""
        try:
            # The whole call, which the client's own timeouts are not: an answer may come byte by byte.
            async with asyncio.timeout(self._timeout_s):
                answer = await self._client.post(self._url, json={"text": self._text(batch)})
        except Exception as error:  # whatever it is, those who come after are to be told
            heed_cancelling(error)
            log.warning("an alert was not sent: %s", type(error).__name__)  # whose message would have the URL
            return 0.0
        if answer.status_code == httpx2.codes.OK:
            self._figures.alerts("sent", _count(batch))
            return None
        log.warning("an alert was not taken: %s", answer.status_code)
        if answer.status_code == httpx2.codes.TOO_MANY_REQUESTS:
            return _retry_after(answer.headers)
        if answer.status_code >= httpx2.codes.INTERNAL_SERVER_ERROR:
            return 0.0
        self._figures.alerts("dropped", _count(batch))  # the webhook is no more: the same again would be refused again
        return None

    def _text(self, batch: Waiting) -> str:
        lines = [_line(text, count) for text, count in batch.values()]
        return "\n".join([f"*{_escaped(self._name)}*", *lines])


def _line(text: str, count: int) -> str:
    times = f" (× {count})" if count > 1 else ""
    return f"• {_escaped(redacted(text))}{times}"


def _escaped(text: str) -> str:
    """Slack's three characters, which would make a link or call a person."""
    return " ".join(text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;").split())


def _count(batch: Waiting) -> int:
    return sum(count for _, count in batch.values())


def _retry_after(headers: Mapping[str, str]) -> float:
    try:
        return min(max(float(headers.get("retry-after", "")), 0.0), ASKED_MOST_S)
    except ValueError:
        return 0.0


class AlertHandler(logging.Handler):
    """Errors that are logged become alerts, one for each place that logs. Of an exception it is told what and where."""

    def __init__(self, alerts: SlackAlerts) -> None:
        super().__init__(logging.ERROR)
        self._alerts = alerts

    def emit(self, record: logging.LogRecord) -> None:
        try:
            text = f"{record.levelname} {record.name}: {record.getMessage()}{_where(record)}"
            self._alerts.say(Alert(f"{record.name} {record.levelno} {str(record.msg)[:100]}", text))
        except Exception:  # whoever logs is not to suffer for it
            self.handleError(record)


def _where(record: logging.LogRecord) -> str:
    error = record.exc_info[1] if record.exc_info else None
    if error is None:
        return ""
    frames = traceback.extract_tb(error.__traceback__)
    at = f" at {frames[-1].filename.rpartition('/')[2]}:{frames[-1].lineno}" if frames else ""
    return f" ({type(error).__name__}{at})"
