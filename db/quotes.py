"""Quotes: one live quote a customer."""

from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, Row, false, func, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from db import addresses
from db.merchants import stores_by_id
from db.reads import Here, Reads
from db.tables import quote
from domain.identity import Actor, ActorKind
from domain.merchants import Store
from domain.money import Money
from domain.places import PostalAddress
from domain.quotes import Quote

promise = quote.c


def visible_to(actor: Actor) -> ColumnElement[bool]:
    """A quote is its customer's, and nobody else's business."""
    match actor:
        case Actor(kind=ActorKind.CUSTOMER, id=UUID()):
            return promise.customer_id == actor.id
        case _:
            return false()


def _quote(row: Row[*tuple[Any, ...]]) -> Quote:
    return Quote(
        row.id,
        row.customer_id,
        row.parts,
        row.charges,
        Money(row.total_minor, row.currency),
        row.fulfilment,
        row.address,
        row.held,
        row.expires_at,
        row.ended_at,
        row.purchase_id,
    )


class SqlQuotes:
    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def stores(self, store_ids: Sequence[UUID]) -> Mapping[UUID, Store]:
        return {store.id: store for store in await stores_by_id(Here(self._connection), store_ids)}

    async def saved_address(self, address_id: UUID, actor: Actor) -> PostalAddress | None:
        saved = await addresses.address_by_id(Here(self._connection), actor, address_id)
        return saved.body if saved else None

    async def end_live(self, customer_id: UUID) -> UUID | None:
        done = await self._connection.execute(
            update(quote)
            .where(promise.customer_id == customer_id, promise.ended_at.is_(None))
            .values(ended_at=func.clock_timestamp())
            .returning(promise.id)
        )
        ended: UUID | None = done.scalar_one_or_none()
        return ended

    async def add(self, new: Quote) -> None:
        await self._connection.execute(
            insert(quote).values(
                id=new.id,
                customer_id=new.customer_id,
                parts=tuple(new.parts),
                charges=tuple(new.charges),
                total_minor=new.total.minor,
                currency=new.total.currency,
                fulfilment=new.fulfilment,
                address=new.address,
                held=dict(new.held),
                expires_at=new.expires_at,
            )
        )

    async def lock(self, quote_id: UUID, actor: Actor) -> Quote | None:
        found = await self._connection.execute(
            select(quote).where(promise.id == quote_id).where(visible_to(actor)).with_for_update()
        )
        row = found.one_or_none()
        return _quote(row) if row else None

    async def placed(self, quote_id: UUID, purchase_id: UUID) -> None:
        await self._connection.execute(
            update(quote).where(promise.id == quote_id).values(ended_at=func.clock_timestamp(), purchase_id=purchase_id)
        )


async def live_quote(reads: Reads, actor: Actor) -> Quote | None:
    """The customer's promise that still holds."""
    row = await reads.one(
        select(quote).where(promise.ended_at.is_(None), promise.expires_at > func.clock_timestamp()).where(visible_to(actor))
    )
    return _quote(row) if row else None


async def quote_by_id(reads: Reads, actor: Actor, quote_id: UUID) -> Quote | None:
    row = await reads.one(select(quote).where(promise.id == quote_id).where(visible_to(actor)))
    return _quote(row) if row else None
