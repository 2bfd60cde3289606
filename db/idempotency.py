"""The keys that keep a command to once."""

from uuid import UUID

from sqlalchemy import ColumnElement, select, update
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.ext.asyncio import AsyncConnection

from db.tables import idempotency
from domain.idempotency import Claim


class SqlIdempotency:
    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def claim(self, actor_id: UUID, operation: str, key: str, request_hash: bytes, result_id: UUID) -> Claim:
        # An equal key in another transaction makes this INSERT wait until that one has ended.
        mine = await self._connection.execute(
            upsert(idempotency)
            .values(actor_id=actor_id, operation=operation, key=key, request_hash=request_hash, result_id=result_id)
            .on_conflict_do_nothing()
            .returning(idempotency.c.result_id)
        )
        if mine.one_or_none() is not None:
            return Claim(first=True, request_hash=request_hash, result_id=result_id)
        found = (await self._connection.execute(select(idempotency).where(*_under(actor_id, operation, key)))).one()
        return Claim(first=False, request_hash=found.request_hash, result_id=found.result_id)

    async def point(self, actor_id: UUID, operation: str, key: str, result_id: UUID) -> None:
        await self._connection.execute(update(idempotency).where(*_under(actor_id, operation, key)).values(result_id=result_id))


def _under(actor_id: UUID, operation: str, key: str) -> tuple[ColumnElement[bool], ...]:
    return (idempotency.c.actor_id == actor_id, idempotency.c.operation == operation, idempotency.c.key == key)
