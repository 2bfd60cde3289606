"""Which connections of a pool are asked whether they live before they are used."""

from time import monotonic

from sqlalchemy import event
from sqlalchemy.exc import InvalidatePoolError
from sqlalchemy.ext.asyncio import AsyncEngine

TRUSTED_S = 1.0
_LEFT_AT = "left at"


def ping_the_idle(engine: AsyncEngine) -> None:
    """Only those that nobody has used for a second: `pool_pre_ping` asks each time, and that costs a read three round
    trips beside its own.

    One that dies within that second fails the one statement that finds it dead, as it would have in the middle of it;
    with it the pool forgets all others of its age.
    """
    pool, dialect = engine.sync_engine.pool, engine.sync_engine.dialect

    @event.listens_for(pool, "checkin")
    def left(connection: object, record: object) -> None:
        record.info[_LEFT_AT] = monotonic()  # type: ignore[attr-defined]  # pool events are not typed

    @event.listens_for(pool, "checkout")
    def taken(connection: object, record: object, proxy: object) -> None:
        left_at: float | None = record.info.get(_LEFT_AT)  # type: ignore[attr-defined]  # a new connection has none
        if left_at is None or monotonic() - left_at < TRUSTED_S:
            return
        try:
            dialect.do_ping(connection)  # type: ignore[arg-type]  # the driver's own
        except dialect.loaded_dbapi.Error as error:
            if dialect.is_disconnect(error, connection, None):  # type: ignore[arg-type]
                raise InvalidatePoolError from error  # the pool connects anew, and goes on
            raise
