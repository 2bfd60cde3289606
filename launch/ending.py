"""How what a process has begun ends: in bounded time, and whatever does not end is named."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Collection, Iterator, Mapping
from typing import Any

log = logging.getLogger("haat.ending")
AGAIN_S = 0.5
"""Then what still runs is cancelled once more: libraries lose a cancellation now and then."""

INNERMOST = 6
"""Places of one task that are told."""

Close = Callable[[], Awaitable[object]]


async def end(tasks: Collection[asyncio.Task[Any]], within_s: float) -> None:
    """Cancels them all and waits for their ends. Returns in time; what is left then is logged with the place where it waits."""
    clock = asyncio.get_running_loop().time
    over_at, left = clock() + within_s, set(tasks)
    while left and clock() < over_at:
        for task in left:
            task.cancel()
        _, left = await asyncio.wait(left, timeout=min(AGAIN_S, max(over_at - clock(), 0)))
    for task in left:
        log.warning("did not end within %.1f s", within_s, extra={"task": task.get_name(), "where": where(task)})


async def close(closings: Mapping[str, Close], within_s: float) -> None:
    """All at once, since none needs another. One that fails is logged, and stops no other."""

    async def closed(name: str, closing: Close) -> None:
        try:
            await closing()
        except Exception as error:
            log.warning("not closed: %s", type(error).__name__, extra={"task": name})

    tasks = [asyncio.create_task(closed(name, closing), name=f"closing {name}") for name, closing in closings.items()]
    if tasks:
        _, left = await asyncio.wait(tasks, timeout=within_s)
        for task in left:
            log.warning("not closed within %.1f s", within_s, extra={"task": task.get_name(), "where": where(task)})
        for task in left:
            task.cancel()


def where(task: asyncio.Task[Any]) -> str:
    """What a task waits for, from its own line inwards."""
    return " > ".join(list(_places(task.get_coro()))[-INNERMOST:])


def _places(waiting: Any) -> Iterator[str]:
    for _ in range(50):
        frame = next((found for name in _FRAMES if (found := getattr(waiting, name, None)) is not None), None)
        if frame is None:
            return
        yield f"{frame.f_globals.get('__name__')}.{frame.f_code.co_name}:{frame.f_lineno}"
        waiting = next((found for name in _AWAITED if (found := getattr(waiting, name, None)) is not None), None)


_FRAMES = ("cr_frame", "ag_frame", "gi_frame")
_AWAITED = ("cr_await", "ag_await", "gi_yieldfrom")
