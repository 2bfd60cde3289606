"""Blobs that may have no row: whoever writes one down while another forgets it has written it down."""

import asyncio
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import delete, func, select, update

from db import tables as t
from db.unit_of_work import unit_of_work
from domain.blobs import Stray, sweep
from tests.blobs import Shelf

s = t.blob_stray.c
AGE = timedelta(days=1)
KEYS = ["payloads/7f/a", "payloads/7f/b", "payloads/7f/c"]


@pytest.fixture(autouse=True)
async def _none(engine):
    async with engine.begin() as connection:
        await connection.execute(delete(t.blob_stray))


async def written_down(engine: Any, *keys: str) -> None:
    async with unit_of_work(engine) as uow:
        await uow.strays.add(keys)


async def aged(engine: Any) -> None:
    async with engine.begin() as connection:
        await connection.execute(update(t.blob_stray).values(at=func.clock_timestamp() - 2 * AGE))


async def due(engine: Any) -> list[Stray]:
    async with unit_of_work(engine) as uow:
        return sorted(await uow.strays.due(AGE, 100), key=lambda one: one.key)


async def strays(engine: Any) -> set[str]:
    async with engine.connect() as connection:
        return set((await connection.execute(select(s.key))).scalars())


async def test_what_is_written_down_again_is_not_forgotten_by_who_has_read_it_before(engine):
    await written_down(engine, *KEYS)
    await aged(engine)
    read = await due(engine)
    assert [one.key for one in read] == KEYS
    await written_down(engine, KEYS[1])
    async with unit_of_work(engine) as uow:
        await uow.strays.forget(read)
    assert await strays(engine) == {KEYS[1]}
    assert await due(engine) == []  # it is young again


async def test_what_is_being_written_down_again_is_not_waited_for(engine):
    await written_down(engine, *KEYS)
    await aged(engine)
    read = await due(engine)
    async with unit_of_work(engine) as writing:
        await writing.strays.add([KEYS[2]])
        async with asyncio.timeout(5), unit_of_work(engine) as uow:
            await uow.strays.forget(read)
    assert await strays(engine) == {KEYS[2]}


async def test_a_row_that_goes_while_others_sweep_leaves_its_blob_to_the_next_sweep(engine):
    """It was wanted as they looked, and is not any more as they forget."""

    class Slow(Shelf):
        async def delete(self, key: str) -> None:
            await written_down(engine, *KEYS)
            await super().delete(key)

    shelf = Slow()
    for key in KEYS:
        await shelf.put(key, b"data")
    await written_down(engine, *KEYS)
    await aged(engine)
    assert await sweep(shelf, lambda: unit_of_work(engine)) == len(KEYS)
    assert await strays(engine) == set(KEYS)


async def test_many_write_down_and_forget_the_same_and_nobody_waits_for_ever(engine):
    async def again(turn: int) -> None:
        for _ in range(20):
            keys = KEYS if turn % 2 else KEYS[::-1]
            await written_down(engine, *keys)
            async with unit_of_work(engine) as uow:
                await uow.strays.forget(await uow.strays.due(timedelta(0), 10))

    async with asyncio.timeout(60):
        await asyncio.gather(*map(again, range(6)))
    async with unit_of_work(engine) as uow:
        await uow.strays.forget(await uow.strays.due(timedelta(0), 10))
    assert await strays(engine) == set()
