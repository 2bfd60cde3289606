"""The one transaction of a command, as the domain sees it."""

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from datetime import datetime
from typing import TYPE_CHECKING, Protocol
from uuid import UUID

if TYPE_CHECKING:
    from domain.events import EventLog
    from domain.stock import StockStore


class UnitOfWork(Protocol):
    """One transaction, and the stores that write in it.

    Locks are taken in one order, whoever needs several: idempotency, cart, quote, purchase, orders by id, delivery,
    payment, stock by id, holds.
    """

    stock: "StockStore"
    events: "EventLog"

    def new_id(self) -> UUID:
        """A UUIDv7: later ones sort later."""

    async def now(self) -> datetime:
        """The database's clock, which decides all that expires."""


Begin = Callable[[], AbstractAsyncContextManager[UnitOfWork]]
