"""What has grown old goes, in its order; what somebody may still have to look at stays."""

import asyncio
import hashlib
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import delete, func, insert, select, text, update

from db import tables as t
from db.ids import first_id, new_id
from db.retention import SqlRetention
from db.unit_of_work import unit_of_work
from domain import retention as passes
from domain.blobs import NoBlobs
from domain.bodies import Bodies, Stored
from domain.intake import FailureKind, FailureState, Family, InstructionState, PayloadState
from domain.retention import Kept
from tests.blobs import Shelf
from tests.db.test_plans import statements
from tests.world import shop
from workers import retention as loops
from workers.retention import Retention

p, i, f, s, r = t.payload.c, t.instruction.c, t.failure.c, t.blob_stray.c, t.retention.c
BODY = b'{"said": "long ago"}'
KEPT = Kept.of_days(7, 90, 365)


@pytest.fixture(autouse=True)
async def _empty(engine, monkeypatch):
    monkeypatch.setattr(loops, "PAUSE_S", 0.0)
    async with engine.begin() as connection:
        for table in (t.failure, t.instruction, t.payload, t.blob_stray, t.retention):
            await connection.execute(delete(table))


@pytest.fixture
def shelf():
    return Shelf()


def worker(engine: Any, shelf: Shelf, kept: Kept = KEPT) -> Retention:
    return Retention(lambda: unit_of_work(engine), shelf, Bodies(shelf), kept)


_made = iter(range(1, 10_000))


async def old(engine: Any, days: float, body: bytes = BODY, **columns: Any) -> UUID:
    """A payload that came so long ago, done with unless the columns say otherwise."""
    id = UUID(int=first_id(datetime.now(UTC) - timedelta(days=days)).int + next(_made))
    row = {
        "id": id, "provider": "wms", "family": Family.ERP, "door": "stock", "headers": {}, "body": body, "size": len(body),
        "sha256": hashlib.sha256(body).digest(), "state": PayloadState.APPLIED, "correlation_id": "c", **columns,
    }  # fmt: skip
    async with engine.begin() as connection:
        await connection.execute(insert(t.payload).values(row))
    return id


async def instruction(engine: Any, payload_id: UUID, state: InstructionState = InstructionState.APPLIED) -> UUID:
    id = new_id()
    row = {
        "id": id, "payload_id": payload_id, "command": "UpdatePrice", "entity": "VARIANT:T", "body": {}, "state": state,
        "next_at": datetime.now(UTC),
    }  # fmt: skip
    async with engine.begin() as connection:
        await connection.execute(insert(t.instruction).values(row))
    return id


async def failure(engine: Any, payload_id: UUID, state: FailureState, of: UUID | None = None) -> UUID:
    id = new_id()
    row = {
        "id": id, "payload_id": payload_id, "instruction_id": of, "kind": FailureKind.VALIDATION, "state": state,
        "message": "no", "provider": "wms",
    }  # fmt: skip
    async with engine.begin() as connection:
        await connection.execute(insert(t.failure).values(row))
    return id


async def ids(engine: Any, column: Any) -> set[Any]:
    async with engine.connect() as connection:
        return set((await connection.execute(select(column))).scalars())


async def row(engine: Any, id: UUID) -> Any:
    async with engine.connect() as connection:
        return (await connection.execute(select(t.payload).where(p.id == id))).one()


async def test_a_short_body_goes_to_the_store_after_a_week_and_is_read_as_before(engine, shelf):
    week, yesterday, cut, empty = (
        await old(engine, 8),
        await old(engine, 1),
        await old(engine, 8, size=9_000, state=PayloadState.REJECTED),
        await old(engine, 8, b""),
    )
    await worker(engine, shelf).once()
    moved = await row(engine, week)
    assert (moved.body, list(shelf.held)) == (b"", [moved.blob])
    stored = Stored(moved.body, moved.blob, moved.size, moved.sha256)
    assert await Bodies(shelf).read(stored) == BODY
    assert [((one := await row(engine, id)).body, one.blob) for id in (yesterday, cut, empty)] == [(BODY, None)] * 2 + [(b"", None)]


async def test_more_than_fits_one_round_goes_too_and_nothing_is_moved_twice(engine, shelf, monkeypatch):
    monkeypatch.setattr(passes, "LAID_AT_ONCE", 3)
    for _ in range(8):
        await old(engine, 8)
    await asyncio.gather(*(worker(engine, shelf).once() for _ in range(3)))
    await worker(engine, shelf).once()
    assert await ids(engine, p.blob) <= set(shelf.held)
    assert None not in await ids(engine, p.blob)
    before = shelf.puts
    await worker(engine, shelf).once()
    assert shelf.puts == before


async def test_a_store_that_goes_away_keeps_nothing_from_moving_later(engine, shelf):
    """What was moved is moved, and what was not stays where it can be read."""
    first, second = await old(engine, 8), await old(engine, 8)

    async def goes(key: str) -> None:
        shelf.down = True

    shelf.after_put = goes
    await worker(engine, shelf).once()
    moved = [(await row(engine, id)).blob is not None for id in (first, second)]
    assert sorted(moved) == [False, True]
    shelf.down, shelf.after_put = False, None
    await worker(engine, shelf).once()
    assert all([(await row(engine, id)).blob in shelf.held for id in (first, second)])


async def test_without_a_store_bodies_stay_in_their_rows_and_go_in_their_time(engine):
    week, quarter = await old(engine, 8), await old(engine, 91)
    none = NoBlobs()
    await Retention(lambda: unit_of_work(engine), none, Bodies(none), KEPT).once()
    assert [(await row(engine, id)).body for id in (week, quarter)] == [BODY, b""]


async def test_bodies_go_before_payloads_and_both_only_once_nothing_of_them_is_open(engine, shelf):
    kept: dict[str, UUID] = {}
    for days in (91, 366):
        done, waits, parked, open_, noted, unread = [await old(engine, days) for _ in range(5)] + [
            await old(engine, days, translated=False)
        ]
        applied = await instruction(engine, done)
        await failure(engine, done, FailureState.RESOLVED, applied)
        await failure(engine, done, FailureState.IGNORED)
        await instruction(engine, waits, InstructionState.WAITING)
        await instruction(engine, parked, InstructionState.PARKED)
        await failure(engine, open_, FailureState.OPEN)
        await failure(engine, noted, FailureState.ACKNOWLEDGED, await instruction(engine, noted, InstructionState.FAILED))
        names = ("done", "waits", "parked", "open", "noted", "unread")
        kept |= {f"{name} {days}": id for name, id in zip(names, (done, waits, parked, open_, noted, unread), strict=True)}
    await worker(engine, shelf, Kept(None, KEPT.bodies, KEPT.payloads)).once()
    there = await ids(engine, p.id)
    assert {name for name, id in kept.items() if id not in there} == {"done 366"}
    bare = {name for name, id in kept.items() if id in there and not (await row(engine, id)).body}
    assert bare == {"done 91"}
    assert kept["done 366"] not in await ids(engine, i.payload_id) | await ids(engine, f.payload_id)
    assert len(await ids(engine, i.id)) == 7
    assert len(await ids(engine, f.id)) == 6


async def test_what_was_open_goes_within_a_day_of_being_settled(engine, shelf):
    id = await old(engine, 366)
    await failure(engine, id, FailureState.OPEN)
    one = worker(engine, shelf, Kept(None, None, KEPT.payloads))
    await one.once()
    async with engine.begin() as connection:
        await connection.execute(update(t.failure).values(state=FailureState.IGNORED))
    await one.once()
    assert await ids(engine, p.id) == {id}
    async with engine.begin() as connection:
        await connection.execute(update(t.retention).values(began_at=func.clock_timestamp() - timedelta(days=2)))
    await one.once()
    await one.once()
    assert await ids(engine, p.id) == set()


async def test_a_body_that_is_dropped_while_it_is_laid_away_does_not_come_back(engine, shelf):
    id = await old(engine, 91)

    async def dropped(key: str) -> None:
        assert await passes.drop_bodies(timedelta(days=90), lambda: unit_of_work(engine))

    shelf.after_put = dropped
    await worker(engine, shelf, Kept(timedelta(days=7), None, None)).once()
    gone, [stray] = await row(engine, id), await ids(engine, s.key)
    assert (gone.body, gone.blob, list(shelf.held)) == (b"", None, [stray])


async def test_a_body_that_was_laid_away_just_now_is_dropped_with_its_blob(engine, shelf):
    """Whoever drops it says which blob has no row any more: also one that came while it was looking."""
    id = await old(engine, 91)
    reader = worker(engine, shelf, Kept(timedelta(days=7), timedelta(days=90), None))
    await asyncio.gather(*(reader.once() for _ in range(3)))
    assert ((await row(engine, id)).blob, await ids(engine, s.key)) == (None, set(shelf.held))


@pytest.mark.parametrize("settled", ["failure", "instruction", "unread"])
async def test_a_body_that_somebody_still_needed_goes_within_a_day_of_being_settled(engine, shelf, settled):
    """And nothing else is looked at for that."""
    id, done, young = await old(engine, 91, translated=settled != "unread"), await old(engine, 91), await old(engine, 89)
    if settled == "failure":
        await failure(engine, id, FailureState.OPEN)
    if settled == "instruction":
        await instruction(engine, id, InstructionState.PARKED)
    one = worker(engine, shelf, Kept(None, KEPT.bodies, None))
    await one.once()
    assert [(await row(engine, each)).body for each in (id, done, young)] == [BODY, b"", BODY]
    assert await overdue(engine) == {id}
    async with engine.begin() as connection:
        await connection.execute(update(t.failure).values(state=FailureState.RESOLVED))
        await connection.execute(update(t.instruction).values(state=InstructionState.APPLIED))
        await connection.execute(update(t.payload).values(translated=True))
    await one.once()
    assert (await row(engine, id)).body == BODY
    async with engine.begin() as connection:
        await connection.execute(update(t.retention).values(began_at=func.clock_timestamp() - timedelta(days=2)))
    await one.once()
    await one.once()
    assert ((await row(engine, id)).body, await overdue(engine), (await row(engine, young)).body) == (b"", set(), BODY)


async def overdue(engine: Any) -> set[UUID]:
    async with engine.connect() as connection:
        return set((await connection.execute(select(p.id).where(p.overdue))).scalars())


async def test_what_is_overdue_is_found_without_looking_at_what_is_not(engine, shelf):
    for _ in range(20):
        await failure(engine, await old(engine, 91), FailureState.OPEN)
    await worker(engine, shelf, Kept(None, KEPT.bodies, None)).once()
    assert len(await overdue(engine)) == 20
    for _ in range(200):
        await old(engine, 91.5)
    async with engine.begin() as connection:
        await connection.execute(text("ANALYZE payload"))
        await connection.execute(text("SET LOCAL enable_seqscan = off"))  # of so few rows any plan will do
        with statements(engine) as said:
            assert await SqlRetention(connection).drop_overdue(UUID(int=0), datetime.now(UTC), 500) is not None
        plan = await connection.exec_driver_sql(f"EXPLAIN {said[0][0]}", said[0][1])
        assert "ix_payload_overdue" in "".join(line[0] for line in plan)


async def test_the_blob_of_what_goes_is_deleted_a_day_later(engine, shelf):
    """Whoever has just read the row may still read its bytes."""
    id = await old(engine, 8)
    await worker(engine, shelf).once()
    [key] = shelf.held
    async with engine.begin() as connection:
        await connection.execute(delete(t.blob_stray))
        await connection.execute(delete(t.retention))
    await worker(engine, shelf, Kept(None, timedelta(days=1), None)).once()
    assert ((await row(engine, id)).blob, set(shelf.held), await ids(engine, s.key)) == (None, {key}, {key})
    async with engine.begin() as connection:
        await connection.execute(update(t.blob_stray).values(at=func.clock_timestamp() - timedelta(days=2)))
    await worker(engine, shelf, Kept(None, None, None)).once()
    assert (shelf.held, await ids(engine, s.key)) == ({}, set())


async def test_a_payload_of_many_instructions_goes_in_several_transactions(engine, shelf, monkeypatch):
    monkeypatch.setattr(passes, "ITS_INSTRUCTIONS", 2)
    monkeypatch.setattr(passes, "FORGOTTEN_AT_ONCE", 2)
    many = [await old(engine, 366) for _ in range(3)]
    for id in many:
        for _ in range(5):
            await failure(engine, id, FailureState.RESOLVED, await instruction(engine, id))
    stays = await old(engine, 364)
    await worker(engine, shelf, Kept(None, None, KEPT.payloads)).once()
    assert (await ids(engine, p.id), await ids(engine, i.id), await ids(engine, f.id)) == ({stays}, set(), set())


async def test_nothing_goes_where_zero_days_say_for_ever(engine, shelf):
    id = await old(engine, 4_000, dedupe_key=None)
    await worker(engine, shelf, Kept.of_days(0, 0, 0)).once()
    assert ((await row(engine, id)).body, shelf.puts) == (BODY, 0)


async def test_dedupe_keys_are_kept_for_seven_days(engine, shelf):
    mine = await shop(engine)
    source_id = new_id()
    async with engine.begin() as connection:
        await connection.execute(
            insert(t.source).values(id=source_id, merchant_id=mine.merchant_id, provider="wms", family=Family.ERP)
        )
    told = {"source_id": source_id, "merchant_id": mine.merchant_id}
    week = await old(engine, 7.1, dedupe_key="a", **told)
    unread = await old(engine, 7.1, dedupe_key="b", translated=False, **told)
    young = await old(engine, 6.9, dedupe_key="c", **told)
    await worker(engine, shelf).once()
    assert [(await row(engine, id)).dedupe_key for id in (week, unread, young)] == [None, "b", "c"]


async def test_a_pass_that_fails_does_not_hold_up_the_others(engine, shelf, monkeypatch, caplog):
    async def broken(*_: Any) -> bool:
        raise ZeroDivisionError

    monkeypatch.setattr(passes, "drop_keys", broken)
    id = await old(engine, 8)
    await worker(engine, shelf).once()
    assert (await row(engine, id)).blob in shelf.held
    assert [record.message for record in caplog.records if record.name == "haat.retention"] == ["retention"]
