"""Which connections of a pool are asked whether they live before they are used."""

from time import monotonic

import asyncpg
from sqlalchemy import AdaptedConnection, event
from sqlalchemy.exc import DisconnectionError, InvalidatePoolError
from sqlalchemy.ext.asyncio import AsyncEngine

TRUSTED_S = 1.0
ANSWERS_WITHIN_S = 2.0
"""To say that it lives takes no time: who has not said so by then is gone, whatever the network thinks."""
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
            connection.driver_connection.terminate()  # or the pool would say good-bye, and wait for an answer to that
            raise DisconnectionError from error  # the pool connects anew, and goes on
        except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
            raise InvalidatePoolError from error


async def _ping(connection: asyncpg.Connection) -> None:
    await connection.fetchrow(";", timeout=ANSWERS_WITHIN_S)
