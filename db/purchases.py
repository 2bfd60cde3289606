"""Purchases, as they are first written and as they read."""

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import ColumnElement, false, insert, select, true
from sqlalchemy.ext.asyncio import AsyncConnection

from db.ids import new_id
from db.reads import Reads
from db.tables import order_line, orders, purchase, user_account
from domain.identity import Actor, ActorKind
from domain.money import Money
from domain.purchases import NewOrder

bought = purchase.c


def visible_to(actor: Actor) -> ColumnElement[bool]:
    """The purchases this actor may know of: a store sees its order, not what else was bought."""
    match actor:
        case Actor(kind=ActorKind.CUSTOMER, id=UUID()):
            return bought.customer_id == actor.id
        case Actor(kind=ActorKind.SUPPORT, id=UUID()):
            return true()
        case _:
            return false()


class SqlPurchases:
    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def add(
        self, purchase_id: UUID, number: str, quote_id: UUID, customer_id: UUID, total: Money, new: Sequence[NewOrder]
    ) -> None:
        await self._connection.execute(
            insert(purchase).values(
                id=purchase_id,
                number=number,
                quote_id=quote_id,
                customer_id=customer_id,
                total_minor=total.minor,
                currency=total.currency,
            )
        )
        name = select(user_account.c.name).where(user_account.c.id == customer_id).scalar_subquery()
        await self._connection.execute(
            insert(orders).values(
                [
                    {
                        "id": one.locked.id,
                        "number": one.locked.number,
                        "purchase_id": purchase_id,
                        "merchant_id": one.locked.merchant_id,
                        "store_id": one.locked.store_id,
                        "customer_id": customer_id,
                        "status": one.locked.status,
                        "version": one.locked.version,
                        "fulfilment": one.locked.fulfilment,
                        "total_minor": one.locked.total.minor,
                        "currency": one.locked.total.currency,
                        "charges": tuple(one.part.charges),
                        "customer_name": name,
                        "address": one.address,
                        "handover_code": one.locked.handover_code,
                        "prep_minutes": one.locked.prep_minutes,
                        "placed_at": one.times.placed_at,
                        "accept_by": one.times.accept_by,
                    }
                    for one in new
                ]
            )
        )
        await self._connection.execute(
            insert(order_line),
            [
                {
                    "id": new_id(),
                    "order_id": one.locked.id,
                    "listing_id": line.listing_id,
                    "variant_id": line.variant_id,
                    "name": line.name,
                    "sku": line.sku,
                    "quantity": line.quantity,
                    "unit_price_minor": line.unit_price.minor,
                    "total_minor": line.total.minor,
                    "currency": line.total.currency,
                    "modifiers": list(line.modifiers),
                    "note": line.note,
                    "rank": rank,
                }
                for one in new
                for rank, line in enumerate(one.part.lines)
            ],
        )


@dataclass(frozen=True, slots=True)
class PurchaseRow:
    id: UUID
    number: str
    total: Money


async def purchases_by_id(reads: Reads, actor: Actor, purchase_ids: Sequence[UUID]) -> list[PurchaseRow]:
    """Those of them that are this actor's, in no order."""
    found = await reads.rows(
        select(bought.id, bought.number, bought.total_minor, bought.currency)
        .where(bought.id.in_(purchase_ids))
        .where(visible_to(actor))
    )
    return [PurchaseRow(row.id, row.number, Money(row.total_minor, row.currency)) for row in found]
