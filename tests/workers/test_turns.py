"""Turns: so many at a time, and beside them so many that take long."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from tests.waiting import until
from workers.turns import take_turns


async def taken(once: Callable[[], Coroutine[Any, Any, bool]], **pace: Any) -> None:
    async with asyncio.TaskGroup() as group:
        take_turns(group, once, **{"at_once": 2, "aside_s": 0.02, "aside_most": 3, "poll_s": 0.02, **pace})


async def test_so_many_go_on_at_once_and_no_more_and_all_end_with_their_group():
    begun, ended = list[asyncio.Task[Any] | None](), 0

    async def once() -> bool:
        nonlocal ended
        begun.append(asyncio.current_task())
        try:
            return await asyncio.Event().wait()
        finally:
            ended += 1

    running = asyncio.create_task(taken(once))
    await until(lambda: len(begun) == 2 + 3)
    await asyncio.sleep(0.2)  # ten times as long as one is waited for
    assert len(begun) == 2 + 3
    running.cancel()
    await asyncio.wait([running], timeout=5)
    assert (running.cancelled(), ended) == (True, 5)


async def test_what_went_on_beside_the_others_leaves_its_place_when_it_is_over():
    begun, over = 0, asyncio.Event()

    async def once() -> bool:
        nonlocal begun
        begun += 1
        return await over.wait() if begun <= 5 else await asyncio.Event().wait()

    running = asyncio.create_task(taken(once))
    await until(lambda: begun == 5)
    over.set()
    await until(lambda: begun == 10)
    running.cancel()
    await asyncio.wait([running], timeout=5)


async def test_whoever_had_a_turn_takes_the_next_at_once_and_whoever_had_none_waits_a_while():
    turns = [True] * 50 + [False]
    took: list[bool] = []

    async def once() -> bool:
        took.append(bool(turns) and turns.pop(0))
        return took[-1]

    running = asyncio.create_task(taken(once, at_once=1, poll_s=60.0))
    await until(lambda: not turns)
    await asyncio.sleep(0.1)
    assert took == [True] * 50 + [False]
    running.cancel()
    await asyncio.wait([running], timeout=5)


async def test_what_a_turn_raises_is_everybodys_end():
    async def once() -> bool:
        raise KeyError("a bug")

    with pytest.raises(ExceptionGroup):
        await taken(once)
