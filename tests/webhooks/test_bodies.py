"""Long bodies lie in the blob store: durable before their row, read by whoever reads payloads, and no reason to refuse any."""

import hashlib
import json
import logging
import zlib
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import delete, func, select, update

from db import tables as t
from db.unit_of_work import unit_of_work
from domain import bodies as lying
from domain.blobs import sweep
from domain.bodies import Bodies
from domain.failures import replay_failures
from domain.intake import LATER_BYTES, EntityKind
from tests.blobs import Shelf
from tests.partners import Partner, client_of, event, partner, worker_of
from tests.world import listing
from webhooks.imports import Reports
from webhooks.intake import BODY_BYTES
from workers import instructions as loops

STORE, INLINE = "BLR_DS1", 2_000
LONG = "x" * 5_000
p, s = t.payload.c, t.blob_stray.c


async def sender(engine: Any, shelf: Any, provider: str = "wms") -> Partner:
    """Whose bodies of more than INLINE bytes lie on the shelf."""
    one = await partner(engine, provider, STORE)
    bodies = Bodies(shelf, INLINE)
    one.door = replace(one.door, bodies=bodies, reports=Reports(bodies))
    one.client, one.worker = client_of(one.door), worker_of(engine, bodies=bodies)
    return one


async def counted(one: Partner) -> None:
    """A listing that what it says is about."""
    id = await listing(one.engine, one.shop, 5)
    async with one.engine.begin() as connection:
        await connection.execute(update(t.variant).where(t.variant.c.id == id).values(sku="TEA"))
    await one.map(EntityKind.VARIANT, "TEA", id)


def adjusted(padding: str = LONG, **more: str) -> bytes:
    said = event("stock.adjusted", location=STORE, sku="TEA", delta="3")
    return json.dumps({**said, "padding": padding, **more}).encode()


async def rows(one: Partner) -> list[Any]:
    return list(await one.rows(select(t.payload).where(p.source_id == one.source_id).order_by(p.id)))


async def strays(engine: Any) -> set[str]:
    async with engine.connect() as connection:
        return set((await connection.execute(select(s.key))).scalars())


async def age(engine: Any) -> None:
    """Of all strays: by now they are old enough to be looked at."""
    async with engine.begin() as connection:
        await connection.execute(update(t.blob_stray).values(at=func.clock_timestamp() - timedelta(days=2)))


def swept(engine: Any, shelf: Shelf) -> Any:
    return sweep(shelf, lambda: unit_of_work(engine))


@pytest.fixture(autouse=True)
async def _no_strays(engine):
    async with engine.begin() as connection:
        await connection.execute(delete(t.blob_stray))


async def test_a_long_body_lies_in_the_store_and_a_short_one_in_its_row(engine):
    shelf = Shelf()
    one = await sender(engine, shelf)
    await counted(one)
    raw, short = adjusted(), adjusted("")
    assert (await one.tell("webhooks/stock", raw)).status_code == 200
    assert (await one.tell("webhooks/stock", short)).status_code == 200
    first, second = await rows(one)
    assert (first.body, first.size, first.sha256) == (b"", len(raw), hashlib.sha256(raw).digest())
    assert {first.blob: zlib.decompress(shelf.held[first.blob])} == {first.blob: raw}
    assert (second.body, second.blob) == (short, None)
    assert list(shelf.held) == [first.blob]
    assert await one.payloads() == ["APPLIED", "APPLIED"]
    assert (await one.level("TEA")).on_hand == 11


async def test_the_blob_is_there_before_its_row_and_written_down_before_that(engine):
    shelf, seen = Shelf(), []
    one = await sender(engine, shelf)

    async def look(key: str) -> None:
        seen.append((key in await strays(engine), len(await rows(one))))

    shelf.after_put = look
    assert (await one.post("webhooks/stock", adjusted())).status_code == 200
    assert seen == [(True, 0)]


async def test_who_dies_between_blob_and_row_leaves_a_stray_that_is_swept(engine):
    shelf = Shelf()
    one = await sender(engine, shelf)

    async def dies(key: str) -> None:
        raise SystemError("killed")

    shelf.after_put = dies
    raw = adjusted()
    headers = one.signed(raw, "the-same")
    assert (await one.post("webhooks/stock", raw, **headers)).status_code == 503
    assert (len(await rows(one)), len(shelf.held)) == (0, 1)
    [lost] = shelf.held
    shelf.after_put = None
    assert (await one.post("webhooks/stock", raw, **headers)).status_code == 200
    [row] = await rows(one)
    assert set(shelf.held) == {lost, row.blob}
    assert await swept(engine, shelf) == 0  # somebody may be about to write its row
    await age(engine)
    assert await swept(engine, shelf) == 2
    assert set(shelf.held) == {row.blob}
    assert await strays(engine) == set()
    await one.worker.drain()
    assert await one.payloads() in (["APPLIED"], ["ACCEPTED"], ["PARKED"])


async def test_a_sweep_that_is_interrupted_goes_on(engine):
    shelf = Shelf()
    one = await sender(engine, shelf)

    async def dies(key: str) -> None:
        raise SystemError("killed")

    shelf.after_put = dies
    assert (await one.post("webhooks/stock", adjusted())).status_code == 503
    await age(engine)
    shelf.down = True
    with pytest.raises(Exception, match="blob store"):
        await swept(engine, shelf)
    assert len(await strays(engine)) == 1
    shelf.down = False
    assert await swept(engine, shelf) == 1
    assert (shelf.held, await strays(engine)) == ({}, set())


async def test_while_the_store_is_away_a_long_body_lies_in_its_row(engine, monkeypatch):
    shelf, now = Shelf(), 100.0
    one = await sender(engine, shelf)
    bodies = Bodies(shelf, INLINE, clock=lambda: now)
    one.door = replace(one.door, bodies=bodies)
    one.client, one.worker = client_of(one.door), worker_of(engine, bodies=bodies)
    await counted(one)
    shelf.down = True
    raw = adjusted()
    for _ in range(3):
        assert (await one.tell("webhooks/stock", raw)).status_code == 200
    assert [(row.body, row.blob) for row in await rows(one)] == [(raw, None)] * 3
    assert (await one.level("TEA")).on_hand == 14
    assert shelf.puts == 1  # and the others did not wait for it
    shelf.down, now = False, now + lying.AWAY_S
    assert (await one.tell("webhooks/stock", raw)).status_code == 200
    assert [row.blob is None for row in await rows(one)] == [True, True, True, False]


async def test_of_what_nobody_has_signed_for_nothing_goes_to_the_store(engine):
    shelf = Shelf()
    one = await sender(engine, shelf)
    raw = adjusted("y" * 10_000)
    headers = one.signed(raw, secret=b"z" * 32)
    assert (await one.post("webhooks/stock", raw, **headers)).status_code == 401
    [row] = await rows(one)
    assert (row.body, row.blob, row.size) == (raw[:4096], None, len(raw))
    long = adjusted("y" * BODY_BYTES)  # whose signature nobody reads it for
    assert (await one.post("webhooks/stock", long)).status_code == 413
    [_, row] = await rows(one)
    assert (row.body, row.blob, row.size) == (long[:4096], None, len(long))
    assert shelf.puts == 0


async def test_what_comes_twice_has_one_blob_that_counts(engine):
    shelf = Shelf()
    one = await sender(engine, shelf)
    raw = adjusted("y" * LATER_BYTES)
    headers = one.signed(raw, "once")
    for _ in range(2):
        assert (await one.post("webhooks/stock", raw, **headers)).status_code == 200
    first, again = await rows(one)
    assert (again.state.value, again.body, again.blob) == ("DUPLICATE", raw[:4096], None)
    await age(engine)
    await swept(engine, shelf)
    assert set(shelf.held) == {first.blob}


async def test_a_payload_that_is_left_for_later_is_read_from_the_store(engine):
    shelf = Shelf()
    one = await sender(engine, shelf)
    await counted(one)
    assert (await one.post("webhooks/stock", adjusted("y" * LATER_BYTES))).status_code == 200
    assert (await one.level("TEA")).on_hand == 5
    await one.worker.drain()
    assert (await one.level("TEA")).on_hand == 8


async def test_what_cannot_be_reached_waits_and_keeps_nobody_waiting(engine, monkeypatch):
    shelf = Shelf()
    one = await sender(engine, shelf)
    await counted(one)
    assert (await one.post("webhooks/stock", adjusted("y" * LATER_BYTES))).status_code == 200
    shelf.down = True
    one.door = replace(one.door, bodies=Bodies(shelf, 10_000_000))
    one.client = client_of(one.door)
    assert (await one.post("webhooks/stock", adjusted("z" * LATER_BYTES))).status_code == 200
    for _ in range(5):
        await one.worker.drain()
    assert await one.payloads() == ["ACCEPTED", "APPLIED"]
    assert await one.failures() == []
    shelf.down = False
    monkeypatch.setattr(loops, "LOOK_AGAIN_S", 0.0)
    one.worker = worker_of(engine, bodies=Bodies(shelf, INLINE))
    await one.worker.drain()
    assert await one.payloads() == ["APPLIED", "APPLIED"]
    assert (await one.level("TEA")).on_hand == 11


@pytest.mark.parametrize(
    ("harm", "said"),
    [
        (lambda data: None, "is not in the blob store"),
        (lambda data: b"?" + data[1:], "is broken in the blob store"),
        (lambda data: zlib.compress(zlib.decompress(data).replace(b"TEA", b"TAE")), "its SHA-256 differs"),
        (lambda data: zlib.compress(zlib.decompress(data) + b" "), None),
        (lambda data: zlib.compress(zlib.decompress(data)[:-1]), "its SHA-256 differs"),
    ],
    ids=["gone", "broken", "changed", "longer", "shorter"],
)
async def test_bytes_that_are_not_those_that_came_are_never_believed(engine, harm, said):
    shelf = Shelf()
    one = await sender(engine, shelf)
    await counted(one)
    assert (await one.post("webhooks/stock", adjusted("y" * LATER_BYTES))).status_code == 200
    [key] = shelf.held
    harmed = harm(shelf.held.pop(key))
    if harmed is not None:
        shelf.held[key] = harmed
    await one.worker.drain()
    if said is None:  # what came is there, and what follows it is not looked at
        assert await one.payloads() == ["APPLIED"]
        return
    assert await one.payloads() == ["FAILED"]
    [failure] = await one.failures()
    assert said in failure.message
    assert (await one.level("TEA")).on_hand == 5


async def test_a_catalogues_report_is_made_from_the_store(engine):
    shelf = Shelf()
    one = await sender(engine, shelf, "catalogue_file")
    made = [{"id": f"S{n}", "title": f"Thing {n}", "description": LONG, "price": f"{n}.00"} for n in range(1, 80)]
    made[3]["price"] = "?"
    answer = await one.client.post(one.path(f"import?store={STORE}"), content=json.dumps({"rows": made}).encode())
    assert answer.status_code == 202
    await one.worker.drain()
    [row] = await rows(one)
    assert (row.body, row.size > LATER_BYTES, row.blob in shelf.held) == (b"", True, True)
    report = (await one.client.get(one.path(f"import/{row.id}"))).json()
    assert "row 4" in json.dumps(report) or "4" in json.dumps(report["errors"][0])


async def test_a_catalogue_whose_bytes_are_lost_has_a_report_of_what_went_in(engine, caplog):
    shelf = Shelf()
    one = await sender(engine, shelf, "catalogue_file")
    made = [{"id": f"S{n}", "title": f"Thing {n}", "description": LONG, "price": f"{n}.00"} for n in range(1, 80)]
    made[3]["price"] = "?"
    answer = await one.client.post(one.path(f"import?store={STORE}"), content=json.dumps({"rows": made}).encode())
    await one.worker.drain()
    shelf.held.clear()
    for _ in range(3):
        told = await one.client.get(one.path(f"import/{answer.json()['job_id']}"))
        assert (told.status_code, told.json()["rows_ok"]) == (200, 78)
    [error] = [record for record in caplog.records if record.levelno >= logging.ERROR]  # told, and once
    assert "is not in the blob store" in error.getMessage()


async def test_a_refused_payload_is_replayed_from_the_store(engine):
    shelf = Shelf()
    one = await sender(engine, shelf)
    raw = json.dumps({**event("stock.adjusted", location=STORE, sku="TEA", delta="?"), "padding": LONG}).encode()
    assert (await one.tell("webhooks/stock", raw)).status_code == 400
    [row], [failure] = await rows(one), await one.failures()
    assert (row.body, row.blob in shelf.held, row.state.value) == (b"", True, "REJECTED")
    async with unit_of_work(engine) as uow:
        await replay_failures([failure.id], one.shop.owner, uow)
    await one.worker.drain()
    assert await one.payloads() == ["FAILED"]
    assert len(await one.failures()) == 1  # the same thing is wrong with it as before
