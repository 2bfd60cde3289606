"""Every instruction is told on `catalog.commands`, in order and at least once, whoever dies in between.

It follows the instructions by their number, as far as nothing can appear before, and writes down how far it has told: keeping an
instruction writes nothing for it, and neither the log nor anybody who follows it waits for a menu of fifty thousand.
"""

import asyncio
import logging
import random
from collections.abc import Iterator, Sequence

import msgspec

from db.mirror import Next, SqlMirror
from domain.bus import Bus, Message
from domain.cancelling import heed_cancelling
from domain.mirror import COMMANDS, Commands, Mirrored
from domain.refusals import Refused

log = logging.getLogger("haat.mirror")
BATCH = 500
MESSAGE_BYTES = 64 * 1024  # about: the bus keeps some hundreds of messages of a topic
POLL_S = 0.25
RETRY_S, RETRY_MOST_S = 0.5, 10.0


class Mirror:
    """Any number may run: they take turns."""

    def __init__(self, kept: SqlMirror, bus: Bus) -> None:
        self._kept = kept
        self._bus = bus

    async def run(self) -> None:
        """Until cancelled."""
        failed = 0
        while True:
            try:
                told = await self.once()
                failed = 0
            except Exception as error:  # whatever it was, the next turn begins from what is in the database
                heed_cancelling(error)
                if not failed:
                    log.warning("commands are not told for now", exc_info=None if isinstance(error, Refused) else error)
                wait_s = min(RETRY_S * 2**failed, RETRY_MOST_S)
                failed = min(failed + 1, 10)
                await asyncio.sleep(wait_s * random.uniform(0.7, 1))  # noqa: S311
                continue
            if told < BATCH:
                await asyncio.sleep(POLL_S)

    async def once(self) -> int:
        """One turn. Returns how many were told."""
        if not await self._kept.look():
            return 0
        async with self._kept.turn(BATCH) as turn:
            if turn is None:
                return 0
            await self._bus.publish(*messages(turn))
            return len(turn.commands)


def messages(turn: Next) -> Iterator[Message]:
    """As many as their size asks for, each after the one before."""
    after = turn.after
    for some in _apart(turn.commands):
        yield Message(COMMANDS, msgspec.json.encode(Commands(turn.epoch, after, some)).decode())
        after = some[-1].number


def _apart(commands: Sequence[Mirrored]) -> Iterator[Sequence[Mirrored]]:
    some: list[Mirrored] = []
    size = 0
    for one in commands:
        more = len(bytes(one.body))
        if some and size + more > MESSAGE_BYTES:
            yield some
            some, size = [], 0
        some.append(one)
        size += more
    yield some
