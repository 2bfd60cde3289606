"""Alerts to Slack, over real HTTP: one message at a time, with counts, and nobody waits for it."""

import asyncio
import logging
import threading
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path

import pytest

from adapters.alerts import LINES, MOST, AlertHandler, SlackAlerts
from adapters.figures import PrometheusFigures
from domain.alerts import Alert
from domain.figures import Uncounted
from settings import Settings
from tests.simulators.slack import BROKEN, BUSY, GONE, HANGING, Slack
from tests.waiting import until
from wiring import alerting

EVERY_S = 0.05


class Counted(Uncounted):
    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()

    def alerts(self, outcome: str, count: int) -> None:
        self.counts[outcome] += count


@asynccontextmanager
async def alerts_to(slack: Slack, every_s: float = EVERY_S, timeout_s: float = 0.3) -> AsyncIterator[tuple[SlackAlerts, Counted]]:
    counted = Counted()
    alerts = SlackAlerts(slack.url, "Haat test", counted, every_s, timeout_s)
    sending = asyncio.create_task(alerts.run())
    try:
        yield alerts, counted
    finally:
        sending.cancel()
        with suppress(asyncio.CancelledError):
            await sending
        await alerts.close()


@contextmanager
def logging_to(alerts: SlackAlerts):
    handler = AlertHandler(alerts)
    logging.getLogger("haat").addHandler(handler)
    try:
        yield
    finally:
        logging.getLogger("haat").removeHandler(handler)


async def test_what_comes_while_one_waits_is_the_next_one_with_counts():
    async with Slack.running() as slack, alerts_to(slack, every_s=0.2) as (alerts, counted):
        alerts.say(Alert("first", "the first"))
        await until(lambda: slack.taken)
        for _ in range(50):
            alerts.say(Alert("a", "again and again"))
        alerts.say(Alert("b", "something else"))
        await until(lambda: len(slack.taken) == 2)
        assert slack.taken == [
            "*Haat test*\n• the first",
            "*Haat test*\n• again and again (× 50)\n• something else",
        ]
        assert slack.posts[1][2] - slack.posts[0][2] >= 0.2
        await until(lambda: counted.counts == {"sent": 52})  # a moment after Slack has it


async def test_it_is_never_more_than_one_message_at_a_time_however_many_kinds_there_are():
    async with Slack.running() as slack, alerts_to(slack, every_s=0.1) as (alerts, counted):
        for n in range(MOST + 30):
            alerts.say(Alert(f"{n}", f"alert {n}"))
        assert counted.counts == {"dropped": 30}
        await until(lambda: counted.counts["sent"] == MOST)
        assert len(slack.taken) == MOST // LINES
        assert all(later[2] - earlier[2] >= 0.1 for earlier, later in zip(slack.posts, slack.posts[1:], strict=False))
        told = "\n".join(slack.taken)
        assert [told.count(f"• alert {n}\n") + told.endswith(f"• alert {n}") for n in range(MOST)].count(0) == 0


@pytest.mark.parametrize("answer", [BROKEN, HANGING])
async def test_what_was_not_taken_is_sent_again_with_what_came_meanwhile(answer: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("adapters.alerts.RETRY_S", 0.1)
    async with Slack.running() as slack, alerts_to(slack) as (alerts, counted):
        slack.answers = [answer, answer]
        alerts.say(Alert("a", "the one"))
        await until(lambda: slack.posts)
        alerts.say(Alert("a", "the one"))
        alerts.say(Alert("b", "the other"))
        await until(lambda: slack.taken)
        assert slack.taken == ["*Haat test*\n• the one (× 2)\n• the other"]
        assert len(slack.posts) == 3
        await until(lambda: counted.counts == {"sent": 3})  # a moment after Slack has it


async def test_429_is_asked_again_no_sooner_than_it_says():
    async with Slack.running() as slack, alerts_to(slack) as (alerts, counted):
        slack.answers, slack.retry_after_s = [BUSY], 1
        alerts.say(Alert("a", "the one"))
        await until(lambda: slack.taken)
        assert slack.posts[1][2] - slack.posts[0][2] >= 1
        await until(lambda: counted.counts == {"sent": 1})  # a moment after Slack has it


async def test_a_webhook_that_is_no_more_is_not_asked_again_for_the_same():
    async with Slack.running() as slack, alerts_to(slack) as (alerts, counted):
        slack.answers = [GONE]
        alerts.say(Alert("a", "the one"))
        await until(lambda: counted.counts["dropped"])
        await asyncio.sleep(3 * EVERY_S)
        assert len(slack.posts) == 1


async def test_who_logs_does_not_wait_and_hears_of_nothing_whatever_becomes_of_it():
    """From several threads, while Slack hangs."""
    async with Slack.running() as slack, alerts_to(slack, timeout_s=5) as (alerts, counted):
        slack.answers = [HANGING]
        alerts.say(Alert("a", "the one"))
        await until(lambda: slack.hung)
        took: list[float] = []

        def log(number: int) -> None:
            began = time.perf_counter()
            for n in range(500):
                logging.getLogger("haat.test").error("something %s broke", n * number)
            took.append(time.perf_counter() - began)

        with logging_to(alerts):
            threads = [threading.Thread(target=log, args=(number,)) for number in range(4)]
            for thread in threads:
                thread.start()
            beats = 0
            while any(thread.is_alive() for thread in threads):
                await asyncio.sleep(0.005)
                beats += 1
        assert max(took) < 2
        assert beats > 0
        waiting = alerts._waiting
        assert [count for _, count in waiting.values()] == [2_000]
    assert counted.counts["sent"] + counted.counts["dropped"] == 2_001  # at the end it is tried once more
    assert len(slack.posts) == 2


async def test_an_error_that_is_logged_has_its_place_and_no_secrets_and_what_is_no_error_is_not_told():
    async with Slack.running() as slack, alerts_to(slack) as (alerts, _):
        with logging_to(alerts):
            logging.getLogger("haat.test").warning("never mind")
            logging.getLogger("other").error("not ours")
            try:
                raise ValueError("the body said +919876543210")
            except ValueError:
                logging.getLogger("haat.test").exception("<who> & %s of %s broke", "+919876543210", "asha@example.com")
        await until(lambda: slack.taken)
        await asyncio.sleep(2 * EVERY_S)
        [text] = slack.taken
    here = Path(__file__).name
    assert text.startswith(f"*Haat test*\n• ERROR haat.test: &lt;who&gt; &amp; *** of *** broke (ValueError at {here}:")
    assert "9876543210" not in text


async def test_what_waits_when_the_process_goes_is_tried_once_more_and_not_for_long():
    async with Slack.running() as slack:
        counted = Counted()
        alerts = SlackAlerts(slack.url, "Haat test", counted)
        alerts.say(Alert("a", "the last word"))
        await alerts.close()
        assert slack.taken == ["*Haat test*\n• the last word"]
        alerts = SlackAlerts(slack.url, "Haat test", counted)
        slack.answers = [HANGING]
        alerts.say(Alert("a", "the last word"))
        began = time.perf_counter()
        await alerts.close()
        assert time.perf_counter() - began < 2


async def test_a_process_alerts_where_a_url_is_set_and_its_figures_say_so():
    figures = PrometheusFigures()
    async with Slack.running() as slack:
        async with alerting(Settings(alerts_url=slack.url), figures):
            logging.getLogger("haat.test").error("broke")
            await until(lambda: slack.taken)
        logging.getLogger("haat.test").error("broke again")
        assert len(slack.posts) == 1
    assert slack.taken[0].splitlines()[0].startswith("*Haat demo on ")
    assert 'haat_alerts_total{outcome="sent"} 1.0' in (await figures.text()).decode()
    async with alerting(Settings(), figures) as alerts:
        alerts.say(Alert("a", "nobody hears it"))


@pytest.mark.parametrize("url", ["hooks.slack.com/services/T/B/X", "ftp://hooks.slack.com", ""])
def test_a_url_that_is_none_is_said_at_the_start_and_not_shown(url: str):
    with pytest.raises(ValueError, match="must begin with https://") as no:
        Settings(alerts_url=url)
    assert "services" not in str(no.value)
    assert "hooks" not in str(Settings(alerts_url="https://hooks.slack.com/services/T/B/X").masked())
