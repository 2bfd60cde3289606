"""The places a customer has things brought to."""

from collections.abc import Sequence
from uuid import UUID

from sqlalchemy import ColumnElement, false, func, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from db.reads import Reads
from db.tables import address
from domain.addresses import Address
from domain.identity import Actor, ActorKind
from domain.places import PostalAddress

a = address.c


def visible_to(actor: Actor) -> ColumnElement[bool]:
    """The customer's own. An order shows its copy by the order's rules."""
    return a.customer_id == actor.id if actor.kind is ActorKind.CUSTOMER and actor.id is not None else false()


async def addresses(reads: Reads, actor: Actor) -> Sequence[Address]:
    """Those in use, the newest first."""
    found = select(a.id, a.body).where(visible_to(actor), a.archived_at.is_(None)).order_by(a.id.desc())
    return [Address(row.id, row.body) for row in await reads.rows(found)]


async def address_by_id(reads: Reads, actor: Actor, address_id: UUID) -> Address | None:
    row = await reads.one(select(a.id, a.body).where(visible_to(actor), a.id == address_id, a.archived_at.is_(None)))
    return Address(row.id, row.body) if row else None


class SqlAddresses:
    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def add(self, address_id: UUID, customer_id: UUID, body: PostalAddress) -> None:
        await self._connection.execute(insert(address).values(id=address_id, customer_id=customer_id, body=body))

    async def count(self, customer_id: UUID) -> int:
        found = select(func.count()).where(a.customer_id == customer_id, a.archived_at.is_(None))
        return int((await self._connection.execute(found)).scalar_one())

    async def change(self, address_id: UUID, actor: Actor, body: PostalAddress) -> bool:
        done = await self._connection.execute(
            update(address).where(a.id == address_id, a.archived_at.is_(None), visible_to(actor)).values(body=body).returning(a.id)
        )
        return done.first() is not None

    async def archive(self, address_id: UUID, actor: Actor) -> bool:
        done = await self._connection.execute(
            update(address)
            .where(a.id == address_id, visible_to(actor))
            .values(archived_at=func.coalesce(a.archived_at, func.clock_timestamp()))
            .returning(a.id)
        )
        return done.first() is not None
