"""The transaction of a command."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from db.addresses import SqlAddresses
from db.audit import SqlAudit
from db.events import SqlEventLog
from db.identity import SqlIdentity
from db.ids import new_id
from db.sessions import SqlSessions
from db.stock import SqlStock
from domain.addresses import AddressStore
from domain.audit import AuditLog
from domain.events import EventLog
from domain.identity import IdentityStore
from domain.sessions import SessionStore
from domain.stock import StockStore
from domain.unit_of_work import UnitOfWork


@dataclass
class SqlUnitOfWork:
    connection: AsyncConnection
    stock: StockStore
    events: EventLog
    identity: IdentityStore
    sessions: SessionStore
    addresses: AddressStore
    audit: AuditLog

    def new_id(self) -> UUID:
        return new_id()

    async def now(self) -> datetime:
        moment: datetime = (await self.connection.execute(select(func.clock_timestamp()))).scalar_one()
        return moment


@asynccontextmanager
async def unit_of_work(engine: AsyncEngine, committed: Callable[[], None] = lambda: None) -> AsyncIterator[UnitOfWork]:
    """One transaction. Leaving commits; any exception, cancellation included, rolls back.

    `committed` is called after a commit that appended events: it wakes the relay and must not wait.
    """
    async with engine.begin() as connection:
        events = SqlEventLog(connection)
        yield SqlUnitOfWork(
            connection,
            stock=SqlStock(connection),
            events=events,
            identity=SqlIdentity(connection),
            sessions=SqlSessions(connection),
            addresses=SqlAddresses(connection),
            audit=SqlAudit(connection),
        )
    if events.added:
        committed()
