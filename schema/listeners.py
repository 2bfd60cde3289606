"""Everybody who follows something here over an open connection: how many there may be, who must go, and how all go in time."""

import asyncio
import logging
import random
from collections import Counter
from collections.abc import Hashable
from typing import Protocol, TypeVar
from uuid import UUID

from domain.cancelling import heed_cancelling
from domain.figures import Figures
from domain.identity import Actor
from domain.refusals import Refused
from schema.callers import Ended, Rules

log = logging.getLogger("haat.listeners")
LOOKED_S = 1.0
CHECKED_S = 1.5
LEAVING_PER_S = 50

# The protocol's own, and the standard's.
IDLE, RESTART = 1000, 1012
INVALID, UNAUTHORIZED, FORBIDDEN, NOT_BEGUN, TAKEN, TOO_MANY = 4400, 4401, 4403, 4408, 4409, 4429


class Ending(Exception):
    """The connection is to be closed, with this."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(reason)
        self.code = code
        self.reason = reason


class Listener(Protocol):
    """One connection. `ending` is set once it is about to close; `counted_for` is ours."""

    actor: Actor
    address: str
    ending: asyncio.Task[None] | None
    counted_for: UUID | None

    def look(self, now: float) -> None:
        """Called about once a second, with the loop's time."""

    def end(self, code: int, reason: str) -> None:
        """Closes it from outside its own task. Safe to repeat."""

    async def leave(self, within_s: float) -> None:
        """Its feeds say where they are, and it closes."""


class Listeners:
    """All of this process."""

    def __init__(self, rules: Rules, ended: Ended, figures: Figures) -> None:
        self.open: set[Listener] = set()
        self.draining = False
        self._rules = rules
        self._ended = ended
        self._figures = figures
        self._addresses: Counter[str] = Counter()
        self._users: Counter[UUID] = Counter()
        self._watching: list[asyncio.Task[None]] = []

    def add(self, one: Listener) -> None:
        """Raises Ending."""
        most = self._rules.sockets_per_address
        if most is not None and self._addresses[one.address] >= most:
            raise Ending(TOO_MANY, "too many sockets of this address")
        self.open.add(one)
        self._addresses[one.address] += 1
        self._figures.sockets(1)
        if not self._watching:
            self._watching = [asyncio.create_task(self._look()), asyncio.create_task(self._check())]

    def count_user(self, one: Listener) -> None:
        """Raises Ending. Safe to repeat."""
        user_id = one.actor.id
        if user_id is None or one.counted_for == user_id:
            return
        most = self._rules.sockets_per_user
        if most is not None and self._users[user_id] >= most:
            raise Ending(TOO_MANY, "too many sockets of this user")
        self._users[user_id] += 1
        one.counted_for = user_id

    def remove(self, one: Listener) -> None:
        if one not in self.open:
            return
        self.open.discard(one)
        self._figures.sockets(-1)
        _less(self._addresses, one.address)
        if one.counted_for is not None:
            _less(self._users, one.counted_for)
        if not self.open:
            for task in self._watching:
                task.cancel()
            self._watching = []

    async def _look(self) -> None:
        clock = asyncio.get_running_loop().time
        while True:
            await asyncio.sleep(LOOKED_S)
            for one in list(self.open):
                one.look(clock())

    async def _check(self) -> None:
        """Feeds ask for themselves what their actor may see; here it is whether there still is a session."""
        while True:
            await asyncio.sleep(CHECKED_S)
            sessions = {one.actor.session_id: one for one in self.open}
            ids = [id for id in sessions if id is not None]
            try:
                gone = set(await self._ended(ids)) if ids else set()
            except Refused as refused:
                heed_cancelling(refused)
                continue  # nobody can be asked now; nobody's feed has news either
            except Exception as error:  # whatever it was: nobody else looks whether these may still listen
                heed_cancelling(error)
                log.exception("sessions were not looked at")
                continue
            for one in list(self.open):
                if one.actor.session_id in gone:
                    one.end(FORBIDDEN, "Forbidden: signed out")

    async def drain(self, within_s: float) -> None:
        """Takes no more, and ends all, spread out, so that they do not come back at one moment. Clients resume by their cursors."""
        self.draining = True
        open_ = list(self.open)
        left_s = min(within_s / 2, self._rules.deadline_s)  # for what still runs on a connection when its turn has come
        spread_s = min(within_s - left_s, len(open_) / LEAVING_PER_S)

        async def later(one: Listener) -> None:
            await asyncio.sleep(random.uniform(0, spread_s))  # noqa: S311  # not a secret
            await one.leave(left_s)

        await asyncio.gather(*(later(one) for one in open_))
        await asyncio.gather(*(one.ending for one in open_ if one.ending is not None))


Key = TypeVar("Key", bound=Hashable)


def _less(counter: Counter[Key], key: Key) -> None:
    counter[key] -= 1
    if not counter[key]:
        del counter[key]
