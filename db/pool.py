"""Which connections of a pool are asked whether they live before they are used."""

from contextlib import suppress
from time import monotonic

import asyncpg
from sqlalchemy import AdaptedConnection, event
from sqlalchemy.exc import DisconnectionError, InvalidatePoolError
from sqlalchemy.ext.asyncio import AsyncEngine
from sqlalchemy.util.concurrency import in_greenlet

TRUSTED_S = 1.0
ANSWERS_WITHIN_S = 2.0
"""To say that it lives takes no time: who has not said so by then is gone, whatever the network thinks."""
LEAVES_WITHIN_S = 0.5
"""What a statement that was broken off, and the good-bye, are given: whoever was to wait for it has waited long enough."""
_LEFT_AT = "left at"


def ping_the_idle(engine: AsyncEngine) -> None:
    """Only those that nobody has used for a second: `pool_pre_ping` asks each time, and that costs a read three round
    trips beside its own.

    One that dies within that second fails the one statement that finds it dead, as it would have in the middle of it;
    with it the pool forgets all others of its age. One that is silent is replaced alone: the server may just be slow.
    """
    pool = engine.sync_engine.pool

    @event.listens_for(pool, "checkin")
    def left(connection: object, record: object) -> None:
        record.info[_LEFT_AT] = monotonic()  # type: ignore[attr-defined]  # pool events are not typed

    @event.listens_for(pool, "checkout")
    def taken(connection: AdaptedConnection, record: object, proxy: object) -> None:
        left_at: float | None = record.info.get(_LEFT_AT)  # type: ignore[attr-defined]  # a new connection has none
        if left_at is None or monotonic() - left_at < TRUSTED_S:
            return
        try:
            connection.run_async(_ping)
        except TimeoutError as error:
            raise DisconnectionError from error  # the pool connects anew, and goes on
        except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
            raise InvalidatePoolError from error

    @event.listens_for(pool, "close")
    def leaving(connection: AdaptedConnection, record: object) -> None:
        if in_greenlet():  # else it is forgotten, and nobody can be waited for
            with suppress(OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
                connection.run_async(_good_bye)


async def _good_bye(connection: asyncpg.Connection) -> None:
    """The pool's own takes two seconds where nobody answers, and ten where it is disposed of."""
    await connection.close(timeout=LEAVES_WITHIN_S)


async def _ping(connection: asyncpg.Connection) -> None:
    await connection.fetchrow(";", timeout=ANSWERS_WITHIN_S)
