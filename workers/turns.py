"""Sources have turns, which workers take: how many at a time, what else goes on meanwhile, and how often each may be called."""

import asyncio
import random
from collections.abc import Callable, Coroutine
from datetime import datetime
from typing import Any

from domain.access import Balance, Quota


class NotOurs(Exception):
    """Somebody else holds the source by now: what we have in hand is theirs to ask, or to tell."""


def take_turns(
    group: asyncio.TaskGroup,
    once: Callable[[], Coroutine[Any, Any, bool]],
    *,
    at_once: int,
    aside_s: float,
    aside_most: int,
    poll_s: float,
) -> None:
    """So many loops in the group, for as long as it lives. `once` takes a turn, and returns whether it was anybody's.

    A turn that takes longer than `aside_s` keeps nobody from theirs: it goes on beside the others, `aside_most` at once.
    What `once` raises ends the group.
    """
    aside: set[asyncio.Task[bool]] = set()

    async def one_after_the_other() -> None:
        while True:
            turn = group.create_task(once())
            await asyncio.wait([turn], timeout=aside_s)
            if not turn.done() and len(aside) < aside_most:
                aside.add(turn)
                turn.add_done_callback(aside.discard)
            elif not await turn:
                await asyncio.sleep(poll_s * (0.5 + random.random()))  # noqa: S311  # so that not all look at the same moment

    for _ in range(at_once):
        group.create_task(one_after_the_other())


class Budget:
    """Calls a partner may be sent, as time goes by."""

    def __init__(self, quota: Quota, turn: Balance, now: datetime) -> None:
        self.quota, self.at = quota, now
        idle_s = None if turn.budget_at is None else (turn.now - turn.budget_at).total_seconds()
        self.left = quota.burst if idle_s is None else quota.left(turn.budget, idle_s)

    def now(self, now: datetime) -> float:
        self.left, self.at = self.quota.left(self.left, (now - self.at).total_seconds()), now
        return self.left

    def take(self, now: datetime) -> float:
        """Seconds to wait before the call that is taken by this."""
        wait_s = self.quota.wait_s(self.now(now))
        self.left -= 1
        return wait_s
