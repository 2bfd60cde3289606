"""A long body that takes for ever to read: what others sent, short or long, is done meanwhile."""

import asyncio
import json
import logging
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from sqlalchemy import update

from db import tables as t
from db.reads import Reads
from db.unit_of_work import unit_of_work
from domain import threads
from domain.intake import LATER_BYTES, EntityKind
from tests.partners import Partner, event, partner
from tests.waiting import until
from tests.world import listing
from wiring import INBOUNDS
from workers import instructions as loops
from workers.instructions import Instructions


def said(padding: int = 0, word: str = "") -> bytes:
    told = event("stock.adjusted", location="ST-1", sku="TEA", delta="3")
    return json.dumps({**told, "padding": "x" * padding, "word": word}).encode()


async def seller(engine: Any) -> Partner:
    one = await partner(engine, "wms")
    id = await listing(engine, one.shop, 5)
    async with engine.begin() as connection:
        await connection.execute(update(t.variant).where(t.variant.c.id == id).values(sku="TEA"))
    await one.map(EntityKind.VARIANT, "TEA", id)
    return one


@pytest.fixture
def over(monkeypatch: pytest.MonkeyPatch) -> Iterator[threading.Event]:
    """Who reads what says POISON goes on until then."""
    over, read = threading.Event(), loops.translated

    def slow(inbound: Any, call: Any, source: Any) -> Any:
        if b"POISON" in call.body:
            assert over.wait(60)
        return read(inbound, call, source)

    monkeypatch.setattr(loops, "translated", slow)
    monkeypatch.setattr(loops, "PATIENCE_S", 0.1)
    yield over
    over.set()


async def test_what_others_sent_is_done_while_one_is_read(engine, over):
    poisonous, short, long = [await seller(engine) for _ in range(3)]
    for _ in range(3):  # all of one source: it is given one reader of two
        assert (await poisonous.post("webhooks/stock", said(LATER_BYTES, "POISON"))).status_code == 200
    assert (await short.post("webhooks/stock", said())).status_code == 200
    assert (await long.post("webhooks/stock", said(LATER_BYTES))).status_code == 200
    worker = Instructions(lambda: unit_of_work(engine), Reads(engine), INBOUNDS)
    for _ in range(4):
        await worker.once()
    assert [await one.payloads() for one in (poisonous, short, long)] == [["ACCEPTED"] * 3, ["APPLIED"], ["APPLIED"]]
    assert [(await one.level("TEA")).on_hand for one in (short, long)] == [8, 8]
    over.set()
    await worker.drain()
    assert await poisonous.payloads() == ["APPLIED"] * 3
    assert (await poisonous.level("TEA")).on_hand == 14


async def test_a_reader_that_is_lost_is_told(engine, over, monkeypatch, caplog):
    monkeypatch.setattr(threads, "BUSY_S", 0.3)
    poisonous = await seller(engine)
    assert (await poisonous.post("webhooks/stock", said(LATER_BYTES, "POISON"))).status_code == 200
    worker = Instructions(lambda: unit_of_work(engine), Reads(engine), INBOUNDS)
    await worker.once()

    def errors() -> list[str]:
        return [record.getMessage() for record in caplog.records if record.levelno >= logging.ERROR]

    await until(errors)
    over.set()
    await worker.drain()
    [error] = errors()
    assert f"(late readers) has been at one thing for 0 s, and may never be free again: it is what {poisonous.source_id}" in error


async def test_a_worker_that_is_told_to_go_does_not_wait_for_what_it_reads(engine, over):
    poisonous = await seller(engine)
    assert (await poisonous.post("webhooks/stock", said(LATER_BYTES, "POISON"))).status_code == 200
    worker = Instructions(lambda: unit_of_work(engine), Reads(engine), INBOUNDS)
    running = asyncio.create_task(worker.run())
    await until(lambda: worker._readings)
    running.cancel()
    async with asyncio.timeout(5):
        await asyncio.wait([running])
    assert running.cancelled()
    over.set()
    await worker.drain()
    assert await poisonous.payloads() == ["APPLIED"]
