"""How rows are read outside a transaction."""

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Executable, Row
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from db.answering import answering

Given = Mapping[str, Any] | None


class Reads:
    """Autocommit: one statement on a connection of its own, given back at once. Fields resolve concurrently.

    `given` are the values of a statement that was made once, with `bindparam`: to make one takes longer than to run it.
    Refuses Unavailable.
    """

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine.execution_options(isolation_level="AUTOCOMMIT")

    async def rows(self, statement: Executable, given: Given = None) -> Sequence[Row[*tuple[Any, ...]]]:
        with answering:
            async with self._engine.connect() as connection:
                return (await connection.execute(statement, given)).all()

    async def one(self, statement: Executable, given: Given = None) -> Row[*tuple[Any, ...]] | None:
        with answering:
            async with self._engine.connect() as connection:
                return (await connection.execute(statement, given)).one_or_none()

    async def value(self, statement: Executable, given: Given = None) -> Any:
        """The single value of a single row, or None."""
        with answering:
            async with self._engine.connect() as connection:
                return (await connection.execute(statement, given)).scalar_one_or_none()


class Here(Reads):
    """The same reads inside a transaction: what a command must see as it writes."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def rows(self, statement: Executable, given: Given = None) -> Sequence[Row[*tuple[Any, ...]]]:
        return (await self._connection.execute(statement, given)).all()

    async def one(self, statement: Executable, given: Given = None) -> Row[*tuple[Any, ...]] | None:
        return (await self._connection.execute(statement, given)).one_or_none()

    async def value(self, statement: Executable, given: Given = None) -> Any:
        return (await self._connection.execute(statement, given)).scalar_one_or_none()
