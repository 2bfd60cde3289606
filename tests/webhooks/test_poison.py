"""A body that takes for ever to read keeps its own source waiting, and nobody else; of a source that sends such people are told."""

import asyncio
import json
import logging
import threading
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from domain import threads
from tests.partners import client_of, event, partner
from tests.waiting import until
from webhooks import intake
from webhooks.intake import READERS_EACH

LONG = "x" * intake.INLINE_BYTES


def said(word: str = "") -> bytes:
    return json.dumps({**event("stock.adjusted", location="ST-1", sku="TEA", delta="3"), "padding": LONG, "word": word}).encode()


@pytest.fixture
def poison(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """Who reads what says POISON goes on until the test has ended. The list grows with each that does."""
    reading, over = list[int](), threading.Event()
    read = intake.read

    def slow(inbound: Any, call: Any, source: Any) -> Any:
        if b"POISON" in call.body:
            reading.append(threading.get_ident())
            assert over.wait(30)
        return read(inbound, call, source)

    monkeypatch.setattr(intake, "read", slow)
    yield reading
    over.set()


async def test_one_source_that_sends_poison_takes_two_readers_and_no_thread_of_others(engine, monkeypatch, poison):
    one, other = await partner(engine, "wms"), await partner(engine, "wms")
    other.door = replace(other.door, readers=one.door.readers)
    other.client = client_of(other.door)
    monkeypatch.setattr(intake, "DEADLINE_S", 0.3)
    for _ in range(2):  # and again, while nobody waits for the first any more
        answers = await asyncio.gather(*(one.post("webhooks/stock", said("POISON")) for _ in range(10)))
        assert {answer.status_code for answer in answers} == {503}
        assert len(poison) == READERS_EACH
    async with asyncio.timeout(5):
        await asyncio.to_thread(lambda: "argon2")
    monkeypatch.setattr(intake, "DEADLINE_S", 8)
    assert (await other.post("webhooks/stock", said())).status_code == 200
    assert await one.payloads() == []


async def test_a_reader_that_is_lost_is_told_once_though_nobody_waits_for_it(engine, monkeypatch, poison, caplog):
    one = await partner(engine, "wms")
    monkeypatch.setattr(intake, "DEADLINE_S", 0.1)
    monkeypatch.setattr(threads, "BUSY_S", 0.3)
    answers = await asyncio.gather(*(one.post("webhooks/stock", said("POISON")) for _ in range(READERS_EACH + 3)))
    assert {answer.status_code for answer in answers} == {503}

    def errors() -> list[str]:
        return [record.getMessage() for record in caplog.records if record.levelno >= logging.ERROR]

    await until(lambda: len(errors()) == READERS_EACH)
    await asyncio.sleep(0.7)  # and not again
    assert len(errors()) == READERS_EACH
    assert all(
        f"(readers) has been at one thing for 0 s, and may never be free again: it is what {one.source_id}" in said
        for said in errors()
    )


async def test_what_is_read_in_time_is_told_to_nobody_and_watched_no_longer(engine, monkeypatch, caplog):
    one = await partner(engine, "wms")
    watched, look, read = list[asyncio.TimerHandle](), threads._Watch.look, intake.read
    begun = threading.Event()

    def looking(watch: threads._Watch) -> None:
        look(watch)
        assert watch._timer is not None
        watched.append(watch._timer)
        begun.set()

    monkeypatch.setattr(threads._Watch, "look", looking)
    monkeypatch.setattr(intake, "read", lambda *given: (begun.wait(30), read(*given))[1])
    assert (await one.post("webhooks/stock", said())).status_code == 200
    assert [timer.cancelled() for timer in watched] == [True]
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]


async def test_whoever_has_sent_poison_is_read_again_once_that_has_ended(engine, monkeypatch):
    """Also who has waited for it since."""
    one = await partner(engine, "wms")
    with monkeypatch.context() as patched:
        over, read = threading.Event(), intake.read
        patched.setattr(intake, "read", lambda *given: (over.wait(30), read(*given))[1])
        patched.setattr(intake, "DEADLINE_S", 0.2)
        for _ in range(READERS_EACH):
            assert (await one.post("webhooks/stock", said())).status_code == 503
        patched.setattr(intake, "DEADLINE_S", 8)
        waiting = asyncio.create_task(one.post("webhooks/stock", said()))
        lanes = one.door.readers._lanes
        await until(lambda: lanes and next(iter(lanes.values())).inside > READERS_EACH)
        over.set()
        assert (await waiting).status_code == 200
    await until(lambda: not one.door.readers._lanes)
    assert await one.payloads() == ["ACCEPTED"]
