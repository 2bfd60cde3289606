"""What was kept unread: what is read whole is read with nothing held, what cannot be read stands before nobody, and what
came before under the same id is not done again.
"""

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import pytest
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncEngine

from db import tables as t
from db.queue import SqlInstructions
from db.reads import Reads
from db.unit_of_work import unit_of_work
from domain.refusals import Refused, Unavailable
from domain.unit_of_work import UnitOfWork
from providers import catalogue_file
from tests.partners import INBOUNDS, Partner, event, partner, worker_of
from tests.waiting import until
from tests.workers.killing import ROOT
from workers import instructions as loops
from workers.instructions import READINGS, Instructions

LONG = "x" * 300_000


def adjusted(delta: str, **more: str) -> bytes:
    return json.dumps({**event("stock.adjusted", location="BLR_DS1", sku="T", delta=delta), **more}).encode()


class Counted:
    """How many transactions are open that began here."""

    def __init__(self, engine: AsyncEngine) -> None:
        self.open, self._engine = 0, engine

    @asynccontextmanager
    async def __call__(self) -> AsyncIterator[UnitOfWork]:
        async with unit_of_work(self._engine) as uow:
            self.open += 1
            try:
                yield uow
            finally:
                self.open -= 1


async def read_again(wms: Partner, index: int) -> None:
    p = t.payload.c
    rows = await wms.rows(select(p.id).where(p.source_id == wms.source_id).order_by(p.id))
    async with unit_of_work(wms.engine) as uow:
        await uow.payloads.translate_again(rows[index].id)


async def test_while_it_is_read_no_transaction_is_open(engine, monkeypatch):
    monkeypatch.setattr(loops, "PATIENCE_S", 60)
    wms, counted, seen = await partner(engine, "wms", "BLR_DS1"), Counted(engine), []
    assert (await wms.post("webhooks/stock", adjusted("1", padding=LONG))).status_code == 200
    real = type(wms.inbound).translate

    def reading(*arguments):
        seen.append(counted.open)
        return real(*arguments)

    monkeypatch.setattr(type(wms.inbound), "translate", reading)
    await Instructions(counted, Reads(engine), INBOUNDS).once()
    assert seen == [0]
    assert await wms.payloads() != ["ACCEPTED"]


async def test_a_files_beginning_is_read_before_a_transaction_and_each_piece_while_the_one_before_is_written(engine, monkeypatch):
    seller, counted = await partner(engine, "catalogue_file", "BLR_DS1"), Counted(engine)
    rows = [{"id": f"S{n}", "title": "Thing", "description": "x" * 300, "price": "1.00", "quantity": 1} for n in range(1_500)]
    assert (await seller.post("import?store=BLR_DS1", {"rows": rows})).status_code == 202
    read, written, pieces, add = [], [], catalogue_file._Reading.pieces, SqlInstructions.add

    def reading(self):
        for batch in pieces(self):
            read.append(counted.open)
            yield batch

    async def adding(self, *arguments, **named):
        written.append(counted.open)
        await until(lambda: len(read) > len(written))  # though nobody has asked for it yet
        return await add(self, *arguments, **named)

    monkeypatch.setattr(catalogue_file._Reading, "pieces", reading)
    monkeypatch.setattr(SqlInstructions, "add", adding)
    async with unit_of_work(engine) as uow:
        unread = await uow.payloads.next_untranslated(["catalogue_file"])
    assert unread is not None
    await Instructions(counted, Reads(engine), INBOUNDS)._read_late(unread)
    assert (read[0], written, len(await seller.instructions())) == (0, [1, 1, 1], 6_000)


@pytest.mark.parametrize("step", ["translate", "in_pieces", "batches"])
async def test_who_is_told_to_go_does_not_wait_for_what_takes_for_ever_to_read(engine, database_url, step):
    sender = await partner(engine, "wms" if step == "translate" else "catalogue_file", "BLR_DS1")
    if step == "translate":
        assert (await sender.post("webhooks/stock", adjusted("1", padding=LONG))).status_code == 200
    else:
        rows = [{"id": "S1", "title": "Thing", "description": LONG, "price": "1.00", "quantity": 1}]
        assert (await sender.post("import", {"rows": rows})).status_code == 202
    reader = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.workers.one_reader", database_url, step, cwd=ROOT, stdout=asyncio.subprocess.PIPE
    )
    try:
        assert reader.stdout is not None
        async with asyncio.timeout(60):
            assert await reader.stdout.readline() == b"reading\n"
        reader.terminate()
        async with asyncio.timeout(20):
            assert await reader.wait() == 0
    finally:
        with suppress(ProcessLookupError):
            reader.kill()
        await reader.wait()
    await worker_of(engine).drain()  # another reads it


async def test_two_who_read_the_same_write_it_once(engine):
    wms = await partner(engine, "wms", "BLR_DS1")
    await wms.post("webhooks/stock", adjusted("1", padding=LONG))
    async with unit_of_work(engine) as uow:
        unread = await uow.payloads.next_untranslated(["wms"])
    assert unread is not None
    for _ in range(2):
        await wms.worker._read_late(unread)
    assert len(await wms.instructions()) == 1


async def test_what_another_has_read_meanwhile_is_not_given_up(engine, monkeypatch):
    monkeypatch.setattr(loops, "PATIENCE_S", 60)
    wms = await partner(engine, "wms", "BLR_DS1")
    await wms.post("webhooks/stock", adjusted("1", padding=LONG))

    async def overtaken(*_):
        monkeypatch.undo()
        await worker_of(engine).drain()
        raise ValueError("a bug")

    monkeypatch.setattr(loops.sources, "any_by_id", overtaken)
    await wms.worker.once()
    assert await wms.payloads() == ["PARKED"]  # nobody lists that yet


async def test_what_is_away_each_time_it_is_read_is_given_up_and_stops_nobody(engine, monkeypatch):
    monkeypatch.setattr(loops, "PATIENCE_S", 60)
    slow, other = await partner(engine, "wms", "BLR_DS1"), await partner(engine, "wms", "BLR_DS2")
    await slow.post("webhooks/stock", adjusted("1", padding=LONG))
    fine = {**event("item.upserted", sku="NEW", title="New", attributes={}), "padding": LONG}
    await other.post("webhooks/stock", fine)
    real = loops.read_late

    async def away(unread, *arguments):
        if unread.source_id == slow.source_id:
            raise Refused(Unavailable("try again in a moment"))
        await real(unread, *arguments)

    monkeypatch.setattr(loops, "read_late", away)
    for _ in range(READINGS - 1):
        with pytest.raises(Refused):
            await slow.worker.once()
    assert await slow.payloads() == ["ACCEPTED"]
    await slow.worker.drain()
    assert (await slow.payloads(), await other.payloads()) == (["FAILED"], ["APPLIED"])
    (failure,) = await slow.failures()
    assert failure.state.value == "OPEN"
    assert not slow.worker._in_vain


@pytest.mark.parametrize(("again", "state", "kind"), [("1", "DUPLICATE", "DUPLICATE"), ("2", "FAILED", "VALIDATION")])
async def test_news_whose_id_is_found_to_be_taken_is_not_done_again(engine, monkeypatch, again, state, kind):
    wms = await partner(engine, "wms", "BLR_DS1")
    at = json.loads(adjusted("0"))["timestamp"]
    first, second = (json.dumps({**json.loads(adjusted(delta)), "timestamp": at}).encode() for delta in ("1", again))
    with monkeypatch.context() as broken:
        broken.setattr(type(wms.inbound), "translate", lambda *_: 1 / 0)
        assert (await wms.post("webhooks/stock", first, **wms.signed(first, "one"))).status_code == 400
    assert (await wms.post("webhooks/stock", second, **wms.signed(second, "one"))).status_code == 200
    await read_again(wms, 0)
    await wms.worker.drain()
    assert (await wms.payloads())[0] == state
    assert len(await wms.instructions()) == 1
    told = [row for row in await wms.failures(kind) if "came before" in row.message]
    assert [row.state.value for row in told] == ["RESOLVED" if kind == "DUPLICATE" else "OPEN"]


async def test_an_id_whose_long_body_said_nothing_is_free_for_the_right_one(engine, monkeypatch):
    wms = await partner(engine, "wms", "BLR_DS1")
    wrong, right = adjusted("?", padding=LONG), adjusted("1", padding=LONG)
    with monkeypatch.context() as broken:  # so that it is found by the worker
        broken.setattr(type(wms.inbound), "event_id", lambda *_: None)
        broken.setattr("domain.proofs.replay_key", lambda *_: None)
        for body in (wrong, right):
            assert (await wms.post("webhooks/stock", body, **wms.signed(body, "one"))).status_code == 200
    await wms.worker.drain()
    states = await wms.payloads()
    assert (states[0], states[1] in ("APPLIED", "PARKED")) == ("FAILED", True)
