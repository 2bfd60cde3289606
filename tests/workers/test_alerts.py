"""Who watches over us hears once of failures that are new in kind, and of a log that stands still."""

import asyncio
import json
import logging
from datetime import timedelta

import pytest
from sqlalchemy import func, select, text, update

from db import tables as t
from db.relay import leadership
from db.unit_of_work import unit_of_work
from domain.alerts import Alert
from tests.partners import event, partner
from workers.alerts import Watch


class Heard:
    def __init__(self) -> None:
        self.alerts: list[Alert] = []

    def say(self, alert: Alert) -> None:
        self.alerts.append(alert)


def watch(engine, heard: Heard, most_lag_s: float = 30) -> Watch:
    return Watch(lambda: unit_of_work(engine), heard, most_lag_s)


async def stamp(engine) -> None:
    """As the relay would."""
    async with leadership(engine) as leader:
        assert leader is not None
        while await leader.stamp(500):
            pass


async def no(partner_, sku: str) -> None:
    await partner_.tell("webhooks/stock", event("stock.adjusted", location="ST-1", sku=sku, delta="1"))


async def test_a_group_is_told_once_to_one_of_those_who_ask_and_of_each_merchant(engine):
    one, other = await partner(engine, "wms"), await partner(engine, "wms")
    heard = Heard()
    watches = [watch(engine, heard) for _ in range(4)]
    await no(one, "BEFORE-1")
    await stamp(engine)
    await watches[0].groups()  # from here on it listens
    assert heard.alerts == []
    await other.post("webhooks/stock", b"{", **other.signed(b"{"))
    for n in range(3):
        await no(other, f"NO-{n}")
    await no(one, "NO-9876543210")
    await stamp(engine)
    await asyncio.gather(*(one_.groups() for one_ in watches))
    texts = [alert.text for alert in heard.alerts]
    failures = {row.kind.value: row for row in reversed(await other.failures())}
    said = f"new failures: wms MAPPING: nothing of ours is mapped to VARIANT:… (merchant {other.shop.merchant_id}, "
    assert [one_ for one_ in texts if "MAPPING" in one_] == [f"{said}failure {failures['MAPPING'].id})"]
    assert len([one_ for one_ in texts if "VALIDATION" in one_]) == 1
    assert len(texts) == len({alert.about for alert in heard.alerts}) == 2
    f = t.failure.c
    async with engine.begin() as connection:  # as though all that had been the day before yesterday
        await connection.execute(update(t.failure).values(at=f.at - timedelta(hours=25)))
    await no(one, "NO-1")
    await no(one, "NO-2")
    await stamp(engine)
    await watches[1].groups()
    assert len(heard.alerts) == 3
    assert f"merchant {one.shop.merchant_id}" in heard.alerts[-1].text


async def test_what_is_for_the_record_and_what_is_long_past_is_not_told(engine):
    wms = await partner(engine, "wms")
    heard = Heard()
    await stamp(engine)
    await watch(engine, heard).groups()
    body = b'{"type": "stock.adjusted"}'
    for _ in range(2):
        await wms.post("webhooks/stock", body, **wms.signed(body, "the-same"))
    await no(wms, "NO-1")
    f = t.failure.c
    async with engine.begin() as connection:
        past = func.clock_timestamp() - timedelta(hours=2)
        await connection.execute(update(t.failure).where(f.source_id == wms.source_id, f.kind == "MAPPING").values(at=past))
    await stamp(engine)
    await watch(engine, heard).groups()
    kinds = {row.kind.value for row in await wms.failures()}
    assert {"MAPPING", "VALIDATION"} <= kinds
    assert ["VALIDATION" in alert.text for alert in heard.alerts] == [True]


async def test_other_news_under_the_same_id_is_told(engine):
    wms = await partner(engine, "wms")
    heard = Heard()
    await stamp(engine)
    await watch(engine, heard).groups()
    for sku in ("A", "B"):
        body = json.dumps(event("stock.adjusted", location="ST-1", sku=sku, delta="1")).encode()
        await wms.tell("webhooks/stock", body, **wms.signed(body, "one"))
    await stamp(engine)
    await watch(engine, heard).groups()
    [told] = [alert.text for alert in heard.alerts if alert.text.startswith("new failures: wms VALIDATION: ")]
    assert "came before, with another body" in told


async def test_what_goes_on_after_nobody_looked_for_hours_is_told_once(engine):
    """The first of it is no news any more; that it was there makes those after it no less new."""
    wms = await partner(engine, "wms")
    heard = Heard()
    await stamp(engine)
    await watch(engine, Heard()).groups()
    await no(wms, "NO-1")
    f = t.failure.c
    async with engine.begin() as connection:
        mine = update(t.failure).where(f.source_id == wms.source_id)
        await connection.execute(mine.values(at=func.clock_timestamp() - timedelta(hours=2)))
    await stamp(engine)
    await watch(engine, heard).groups()
    assert heard.alerts == []
    for sku in ("NO-2", "NO-3"):
        await no(wms, sku)
        await stamp(engine)
        await watch(engine, heard).groups()
    (alert,) = heard.alerts
    assert f"merchant {wms.shop.merchant_id}" in alert.text


async def test_a_log_that_stands_still_is_an_error_once_in_five_minutes_among_all(engine, caplog: pytest.LogCaptureFixture):
    await no(await partner(engine, "wms"), "NO-1")
    unstamped = select(func.count()).where(t.event.c.pos.is_(None))
    async with engine.begin() as connection:
        assert (await connection.execute(unstamped)).scalar_one() > 0
        await connection.execute(
            update(t.event).where(t.event.c.pos.is_(None)).values(at=func.clock_timestamp() - timedelta(minutes=2))
        )
    with caplog.at_level(logging.ERROR, "haat.alerts"):
        await watch(engine, Heard(), most_lag_s=600).lag()
        assert caplog.messages == []
        await asyncio.gather(*(watch(engine, Heard()).lag() for _ in range(4)))
        [message] = caplog.messages
        assert message.startswith("committed events wait for their place in the log since 12")
        async with engine.begin() as connection:
            await connection.execute(text("UPDATE sink SET at = at - interval '6 minutes' WHERE name = 'lag of the relay'"))
        await watch(engine, Heard()).lag()
        assert len(caplog.messages) == 2
        await stamp(engine)
        await watch(engine, Heard()).lag()
        assert len(caplog.messages) == 2
