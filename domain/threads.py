"""Threads of one kind of work: what hangs in them takes none from anybody else, and nobody waits for them at the exit."""

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Hashable
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from threading import Lock, Thread
from time import monotonic
from typing import Any, TypeVar
from uuid import UUID

log = logging.getLogger("haat.threads")
BUSY_S = 60.0  # whatever is done in threads takes seconds at most: what takes longer may take for ever
Made = TypeVar("Made")


class Threads:
    """At most so many at once; one lives as long as there is work. Not an executor: of that the interpreter waits for each
    thread as it ends, and one that hangs in the kernel cannot be ended.
    """

    def __init__(self, name: str, most: int) -> None:
        self._name, self._most = name, most
        self._lock = Lock()
        self._busy = 0
        self._waiting: deque[tuple[Future[Any], Callable[[], Any]]] = deque()

    async def run(self, step: Callable[[], Made], whose: UUID | None = None) -> Made:
        """Who is cancelled before the step has begun has not begun it; once begun it goes on, and nobody hears of it but the log,
        as an error, if it takes too long: then the thread is likely lost.

        Raises OSError where this machine has no thread for us.
        """
        watch = _Watch(self._name, self._most, whose)
        work = Future[Made](), partial(watch.begun, step)
        with self._lock:
            begins = self._busy < self._most
            if begins:
                self._busy += 1
            else:
                self._waiting.append(work)
        if begins:
            self._begin(work)
        watch.over = work[0].done
        watch.look()
        try:
            return await asyncio.wrap_future(work[0])
        finally:
            watch.left()
            with self._lock, suppress(ValueError):  # or what nobody waits for any more would fill our memory
                self._waiting.remove(work)

    def _begin(self, work: tuple[Future[Any], Callable[[], Any]]) -> None:
        try:
            Thread(target=self._work, args=(work,), name=self._name, daemon=True).start()
        except RuntimeError as error:
            with self._lock:
                self._busy -= 1
            raise OSError("there is no thread to be had") from error

    def _work(self, work: tuple[Future[Any], Callable[[], Any]]) -> None:
        while True:
            _do(*work)
            with self._lock:
                if not self._waiting:
                    self._busy -= 1
                    return
                work = self._waiting.popleft()


class _Watch:
    """Tells once of a step that does not end, also when nobody waits for it any more. On the event loop, but for `begun`."""

    def __init__(self, name: str, most: int, whose: UUID | None) -> None:
        self._name, self._most, self._whose = name, most, whose
        self._began: float | None = None
        self._timer: asyncio.TimerHandle | None = None
        self.over: Callable[[], bool] = lambda: False

    def begun(self, step: Callable[[], Made]) -> Made:
        self._began = monotonic()
        return step()

    def look(self) -> None:
        left_s = BUSY_S if self._began is None else self._began + BUSY_S - monotonic()
        if self.over():
            return
        if left_s > 0:
            self._timer = asyncio.get_running_loop().call_later(left_s, self.look)
            return
        self._timer = None
        what = f"one of {self._most} threads ({self._name}) has been at one thing for {BUSY_S:.0f} s, and may never be free again"
        log.error("%s", what if self._whose is None else f"{what}: it is what {self._whose} has sent")

    def left(self) -> None:
        """By who waited for it."""
        if self.over() and self._timer is not None:
            self._timer.cancel()


class Shares:
    """Threads for many, none of whom gets all of them: what somebody's step still does counts as theirs, also where nobody waits
    for it any more. Whose steps take for ever waits for nobody but themselves.
    """

    def __init__(self, threads: Threads, each: int) -> None:
        self._threads, self._each = threads, each
        self._lanes: dict[Hashable, _Lane] = {}

    async def run(self, whose: Hashable, step: Callable[[], Made]) -> Made:
        """Who is cancelled while waiting for a turn has not begun."""
        lane = self._lanes.setdefault(whose, _Lane(asyncio.Semaphore(self._each)))
        lane.inside += 1
        try:
            await lane.turns.acquire()
        except BaseException:
            self._leave(whose, lane)
            raise
        doing = asyncio.create_task(self._threads.run(step, whose if isinstance(whose, UUID) else None))
        doing.add_done_callback(partial(self._done, whose, lane))
        return await asyncio.shield(doing)

    def _done(self, whose: Hashable, lane: "_Lane", doing: asyncio.Task[Any]) -> None:
        if not doing.cancelled():
            doing.exception()  # whoever still waits is told
        lane.turns.release()
        self._leave(whose, lane)

    def _leave(self, whose: Hashable, lane: "_Lane") -> None:
        lane.inside -= 1
        if not lane.inside:
            self._lanes.pop(whose, None)


@dataclass
class _Lane:
    turns: asyncio.Semaphore
    inside: int = 0


def _do(future: Future[Any], step: Callable[[], Any]) -> None:
    if not future.set_running_or_notify_cancel():
        return
    try:
        future.set_result(step())
    except BaseException as error:
        future.set_exception(error)
