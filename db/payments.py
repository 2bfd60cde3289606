"""Payments, and what is still owed back."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import Row, func, select, update
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.ext.asyncio import AsyncConnection

from db.reads import Reads
from db.tables import payment, purchase, refund
from domain.money import Money
from domain.payments import Begun, LockedPayment, PaymentMethod, PaymentStatus

pay = payment.c


def _locked(row: Row[*tuple[Any, ...]]) -> LockedPayment:
    return LockedPayment(
        row.id,
        row.purchase_id,
        row.method,
        row.status,
        row.version,
        Money(row.amount_minor, row.currency),
        Money(row.refunded_minor, row.currency),
        row.gateway_ref,
    )


class SqlPayments:
    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def add(self, new: LockedPayment, gateway: str | None, pay_by: datetime | None) -> None:
        await self._connection.execute(
            payment.insert().values(
                id=new.id,
                purchase_id=new.purchase_id,
                method=new.method,
                status=new.status,
                version=new.version,
                amount_minor=new.amount.minor,
                currency=new.amount.currency,
                gateway=gateway,
                pay_by=pay_by,
            )
        )

    async def lock(self, purchase_id: UUID) -> LockedPayment:
        found = await self._connection.execute(select(payment).where(pay.purchase_id == purchase_id).with_for_update())
        return _locked(found.one())

    async def method_of(self, purchase_id: UUID) -> PaymentMethod:
        method: PaymentMethod = (
            await self._connection.execute(select(pay.method).where(pay.purchase_id == purchase_id))
        ).scalar_one()
        return method

    async def purchase_of(self, payment_id: UUID) -> UUID | None:
        return (await self._connection.execute(select(pay.purchase_id).where(pay.id == payment_id))).scalar_one_or_none()

    async def begun(self, payment_id: UUID, begun: Begun) -> None:
        await self._connection.execute(
            update(payment)
            .where(pay.id == payment_id, pay.client_secret.is_(None))
            .values(client_secret=begun.client_secret, gateway_ref=begun.ref)
        )

    async def declined(self, payment_id: UUID, message: str) -> None:
        await self._connection.execute(update(payment).where(pay.id == payment_id).values(declined=message))

    async def move(
        self, now: LockedPayment, end: PaymentStatus, refunded: Money | None = None, amount: Money | None = None
    ) -> LockedPayment:
        done = await self._connection.execute(
            update(payment)
            .where(pay.id == now.id, pay.status == now.status, pay.version == now.version)
            .values(
                status=end,
                version=pay.version + 1,
                refunded_minor=(refunded or now.refunded).minor,
                amount_minor=(amount or now.amount).minor,
            )
            .returning(payment)
        )
        return _locked(done.one())

    async def owe(self, refund_id: UUID, payment_id: UUID, order_id: UUID | None, amount: Money, reason: str) -> bool:
        done = await self._connection.execute(
            upsert(refund)
            .values(
                id=refund_id,
                payment_id=payment_id,
                order_id=order_id,
                amount_minor=amount.minor,
                currency=amount.currency,
                reason=reason,
                next_at=func.clock_timestamp(),
            )
            .on_conflict_do_nothing()
            .returning(refund.c.id)
        )
        return done.one_or_none() is not None

    async def given_back(self, refund_id: UUID, gateway_ref: str) -> None:
        await self._connection.execute(
            update(refund).where(refund.c.id == refund_id).values(done_at=func.clock_timestamp(), gateway_ref=gateway_ref)
        )

    async def try_later(self, refund_id: UUID, after: timedelta) -> None:
        await self._connection.execute(
            update(refund)
            .where(refund.c.id == refund_id)
            .values(attempts=refund.c.attempts + 1, next_at=func.clock_timestamp() + after)
        )


@dataclass(frozen=True, slots=True)
class PaymentRow:
    """`secret` is the payer's alone: resolvers/orders.py gives it to nobody else. `declined` is the gateway's immediate no."""

    id: UUID
    purchase_id: UUID
    customer_id: UUID
    method: PaymentMethod
    status: PaymentStatus
    amount: Money
    refunded: Money
    secret: str | None
    declined: str | None


def _row(row: Row[*tuple[Any, ...]]) -> PaymentRow:
    return PaymentRow(
        row.id,
        row.purchase_id,
        row.customer_id,
        row.method,
        row.status,
        Money(row.amount_minor, row.currency),
        Money(row.refunded_minor, row.currency),
        row.client_secret,
        row.declined,
    )


PAYMENT = select(payment, purchase.c.customer_id).join(purchase, purchase.c.id == pay.purchase_id)


async def payments_of(reads: Reads, purchase_ids: Sequence[UUID]) -> list[PaymentRow]:
    """Of purchases the actor has been shown."""
    return [_row(row) for row in await reads.rows(PAYMENT.where(pay.purchase_id.in_(purchase_ids)))]


async def by_client_secret(reads: Reads, secret: str) -> PaymentRow | None:
    """Who has the secret may pay: it is unguessable and the payer's alone."""
    if "\0" in secret:  # nobody's, and no text that could be asked for
        return None
    row = await reads.one(PAYMENT.where(pay.client_secret == secret))
    return _row(row) if row else None


async def unpaid(reads: Reads, limit: int) -> list[UUID]:
    """Purchases whose time to be paid is over."""
    late = select(pay.purchase_id).where(pay.status == PaymentStatus.PENDING, pay.pay_by <= func.statement_timestamp())
    return [row.purchase_id for row in await reads.rows(late.order_by(pay.pay_by).limit(limit))]


@dataclass(frozen=True, slots=True)
class DueRefund:
    id: UUID
    gateway_ref: str
    amount: Money
    attempts: int


async def due_refunds(reads: Reads, limit: int) -> list[DueRefund]:
    """What a gateway has still to give back, whose time to be tried has come."""
    due = refund.c
    found = await reads.rows(
        select(due.id, pay.gateway_ref, due.amount_minor, due.currency, due.attempts)
        .join(payment, pay.id == due.payment_id)
        .where(due.done_at.is_(None), due.next_at <= func.statement_timestamp(), pay.gateway_ref.is_not(None))
        .order_by(due.next_at)
        .limit(limit)
    )
    return [DueRefund(row.id, row.gateway_ref, Money(row.amount_minor, row.currency), row.attempts) for row in found]
