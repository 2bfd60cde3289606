"""An order as its store's till is told of it: by the till's own ids."""

from collections.abc import Collection
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, func, select

from db.arrays import among
from db.reads import Reads
from db.tables import (
    delivery,
    event,
    mapping,
    modifier,
    modifier_group,
    order_line,
    orders,
    payment,
    purchase,
    quote,
    store,
    user_account,
    variant,
)
from domain.intake import EntityKind
from domain.money import Money
from domain.orders import OrderMoved, ReasonCode
from domain.outbound import Choice, Line, Order, Place, Rider
from domain.payments import PaymentMethod
from domain.places import Point
from domain.quotes import QuotePart

e, m, o = event.c, mapping.c, orders.c


async def order_to_tell(reads: Reads, source_id: UUID, order_id: UUID) -> Order | None:
    """By the source's own ids. None where it is mapped to the order's store no more."""
    row = await reads.one(_order(source_id, order_id))
    if row is None or row.place is None:
        return None
    found = await reads.rows(_lines(source_id, order_id))
    part: QuotePart = next(one for one in row.parts if one.store_id == row.store_id)
    chosen = [tuple(line.modifier_ids) for line in part.lines]  # a bill's line has the rank of the quote's
    choices = await _choices(reads, source_id, {id for ids in chosen for id in ids})
    lines = [
        Line(
            line.external_id,
            line.product_external_id,
            line.sku,
            line.name,
            line.size,
            line.quantity,
            Money(line.unit_price_minor, line.currency),
            Money(line.total_minor, line.currency),
            [choices[id] for id in chosen[line.rank] if id in choices],
            line.note,
            line.size_id,
        )
        for line in found
    ]
    return Order(
        id=row.id,
        number=row.number,
        status=row.status,
        fulfilment=row.fulfilment,
        placed_at=row.placed_at or row.created_at,
        promised_at=row.promised_at,
        prep_minutes=row.prep_minutes,
        total=Money(row.total_minor, row.currency),
        cash=row.method is PaymentMethod.CASH_ON_DELIVERY,
        charges=row.charges,
        customer_name=row.customer_name,
        phone=(row.address.phone if row.address else None) or row.phone,
        address=row.address,
        store=Place(row.place, row.store, row.city, Point(row.lat, row.lng), row.time_zone),
        lines=lines,
        rider=Rider(row.rider, row.rider_phone) if row.rider is not None else None,
        reason=ReasonCode(row.reason) if row.reason else None,
    )


def _order(source_id: UUID, order_id: UUID) -> Any:
    customer, brings = user_account.alias("customer"), user_account.alias("brings")
    place = select(func.min(m.external_id)).where(m.source_id == source_id, m.kind == EntityKind.STORE, m.id == o.store_id)
    said = select(e.body["reason"].astext).where(e.stream == OrderMoved.stream, e.entity_id == o.id, e.seq == o.version)
    return (
        select(
            o.id,
            o.number,
            o.status,
            o.fulfilment,
            o.store_id,
            o.placed_at,
            o.created_at,
            o.promised_at,
            o.prep_minutes,
            o.total_minor,
            o.currency,
            o.charges,
            o.customer_name,
            o.address,
            payment.c.method,
            quote.c.parts,
            customer.c.phone,
            store.c.name.label("store"),
            store.c.city,
            store.c.lat,
            store.c.lng,
            store.c.time_zone,
            place.scalar_subquery().label("place"),
            brings.c.name.label("rider"),
            brings.c.phone.label("rider_phone"),
            said.scalar_subquery().label("reason"),
        )
        .join_from(orders, purchase, purchase.c.id == o.purchase_id)
        .join(payment, payment.c.purchase_id == o.purchase_id)
        .join(quote, quote.c.id == purchase.c.quote_id)
        .join(store, store.c.id == o.store_id)
        .join(customer, customer.c.id == o.customer_id)
        .join(delivery, delivery.c.order_id == o.id, isouter=True)
        .join(brings, brings.c.id == delivery.c.rider_id, isouter=True)
        .where(o.id == order_id)
    )


def _lines(source_id: UUID, order_id: UUID) -> Any:
    line = order_line.c

    def known(kind: EntityKind, id: ColumnElement[Any], name: str, told: ColumnElement[Any] = m.external_id) -> Any:
        """By the last one of several: a till that has made the thing anew knows no other."""
        theirs = select(told).where(m.source_id == source_id, m.kind == kind, m.id == id)
        return theirs.order_by(m.created_at.desc(), m.external_id).limit(1).scalar_subquery().label(name)

    return (
        select(
            line.rank,
            line.sku,
            line.name,
            variant.c.name.label("size"),
            line.quantity,
            line.unit_price_minor,
            line.total_minor,
            line.currency,
            line.note,
            known(EntityKind.VARIANT, line.variant_id, "external_id"),
            known(EntityKind.PRODUCT, variant.c.product_id, "product_external_id"),
            known(EntityKind.VARIANT, line.variant_id, "size_id", m.size_id),
        )
        .join(variant, variant.c.id == line.variant_id)
        .where(line.order_id == order_id)
        .order_by(line.rank)
    )


async def _choices(reads: Reads, source_id: UUID, ids: Collection[UUID]) -> dict[UUID, Choice]:
    """By the ids of the menu, or by those that somebody has mapped to what is called so: in the same store, if there too."""
    if not ids:
        return {}
    mo, group, theirs = modifier.c, modifier_group.c, modifier.alias("theirs")
    mapped = theirs.c
    by_hand = (
        select(m.external_id)
        .join_from(mapping, theirs, mapped.id == m.id)
        .where(m.source_id == source_id, m.kind == EntityKind.MODIFIER)
        .where(mapped.merchant_id == mo.merchant_id, mapped.external_id == mo.external_id)
        .order_by((mapped.store_id == mo.store_id).desc(), m.created_at.desc(), m.external_id)
        .limit(1)
        .correlate(modifier)
        .scalar_subquery()
    )
    found = await reads.rows(
        select(
            mo.id,
            func.coalesce(by_hand, mo.external_id).label("external_id"),
            mo.name,
            group.external_id.label("group_id"),
            group.name.label("group"),
            mo.price_minor,
            mo.currency,
        )
        .join(modifier_group, group.id == mo.group_id)
        .where(among(mo.id, ids))
    )
    return {
        row.id: Choice(row.external_id, row.name, row.group_id, row.group, Money(row.price_minor, row.currency)) for row in found
    }
