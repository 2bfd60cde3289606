"""What a source asks of its own stores. It sees no other, whatever it names them."""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, Row, ScalarSelect, Select, Text, and_, cast, func, select

from db.identity import stores_of
from db.orders import visible_to
from db.reads import Reads
from db.tables import listing, mapping, order_line, orders, payment, product, stock_level, variant
from domain.identity import Actor, ActorKind
from domain.intake import EntityKind
from domain.money import Money
from domain.payments import PaymentMethod
from domain.questions import GoodsAsked, GoodsCounted, Ordered, OrderedItem, OrdersAsked, SoldForm, SoldProduct

li, p, v, level, order, line, m, pay = listing.c, product.c, variant.c, stock_level.c, orders.c, order_line.c, mapping.c, payment.c


def _named(source_id: UUID, kind: EntityKind, id: ColumnElement[UUID]) -> ScalarSelect[Any]:
    """The source's own id of a thing. Of several the first by the alphabet: always the same one."""
    return select(func.min(m.external_id)).where(m.source_id == source_id, m.kind == kind, m.id == id).scalar_subquery()


def _asked_stores(source_id: UUID, store: str | None) -> ColumnElement[bool]:
    mine: ColumnElement[bool] = li.store_id.in_(stores_of(Actor(ActorKind.SOURCE, source_id)))
    return mine if store is None else and_(mine, li.store_id.in_(_store(source_id, store)))


def _store(source_id: UUID, external_id: str) -> Select[tuple[UUID]]:
    return select(m.id).where(m.source_id == source_id, m.kind == EntityKind.STORE, m.external_id == external_id)


def _offered(source_id: UUID, asked: GoodsCounted | GoodsAsked) -> ColumnElement[bool]:
    mine = _asked_stores(source_id, asked.store)
    return mine if asked.active is None else and_(mine, li.active == asked.active)


async def goods_count(reads: Reads, source_id: UUID, asked: GoodsCounted) -> int:
    count: int = await reads.value(select(func.count(li.product_id.distinct())).where(_offered(source_id, asked)))
    return count


async def goods(reads: Reads, source_id: UUID, asked: GoodsAsked) -> list[SoldProduct]:
    """In the order in which they were made: a new one is on the last page."""
    offered = _offered(source_id, asked)
    paged = select(li.product_id).where(offered).distinct().order_by(li.product_id)
    paged = paged.limit(asked.size).offset((asked.page - 1) * asked.size)
    found = await reads.rows(
        select(
            p.id,
            func.coalesce(_named(source_id, EntityKind.PRODUCT, p.id), cast(p.id, Text)).label("external_id"),
            p.name,
            p.description,
            p.brand,
            p.diet,
            p.images,
            p.attributes,
            v.id.label("variant_id"),
            func.coalesce(_named(source_id, EntityKind.VARIANT, v.id), v.sku).label("form"),
            v.name.label("form_name"),
            v.sku,
            v.barcode,
            li.price_minor,
            li.mrp_minor,
            li.currency,
            li.active,
            level.tracked,
            level.off,
            level.on_hand,
            level.held,
            level.allocated,
            level.buffer,
        )
        .join_from(listing, product, p.id == li.product_id)
        .join(variant, v.id == li.variant_id)
        .join(stock_level, level.listing_id == li.id)
        .where(li.product_id.in_(paged), offered)
        .order_by(p.id, v.rank, v.id, li.store_id)
    )
    products: dict[UUID, dict[UUID, list[Row[*tuple[Any, ...]]]]] = {}
    for row in found:
        products.setdefault(row.id, {}).setdefault(row.variant_id, []).append(row)
    return [_product(forms) for forms in products.values()]


def _product(forms: dict[UUID, list[Row[*tuple[Any, ...]]]]) -> SoldProduct:
    one = next(iter(forms.values()))[0]
    return SoldProduct(
        one.external_id, one.name, one.description, one.brand, one.diet, one.images, one.attributes, [*map(_form, forms.values())]
    )


def _form(places: Sequence[Row[*tuple[Any, ...]]]) -> SoldForm:
    """Of the stores that sell it: the first one's price, all their units."""
    first = next((row for row in places if row.active), places[0])
    counted = [row for row in places if row.tracked or row.off]
    free = [0 if row.off else max(0, row.on_hand - row.held - row.allocated - row.buffer) for row in counted]
    return SoldForm(
        first.form,
        first.form_name,
        first.sku,
        first.barcode,
        Money(first.price_minor, first.currency),
        None if first.mrp_minor is None else Money(first.mrp_minor, first.currency),
        any(row.active for row in places),
        sum(free) if len(counted) == len(places) else None,
        sum(row.held for row in places),
        sum(row.allocated for row in places),
    )


async def ordered(reads: Reads, source_id: UUID, asked: OrdersAsked) -> list[Ordered]:
    """What was placed: an order that waits for its payment is nobody's to prepare."""
    wanted = [visible_to(Actor(ActorKind.SOURCE, source_id)), order.placed_at >= asked.since, order.placed_at <= asked.until]
    if asked.store is not None:
        wanted.append(order.store_id.in_(_store(source_id, asked.store)))
    if asked.statuses:
        wanted.append(order.status.in_(asked.statuses))
    place = _named(source_id, EntityKind.STORE, order.store_id).label("place")
    found = await reads.rows(
        select(
            order.id,
            order.number,
            order.status,
            order.fulfilment,
            place,
            order.placed_at,
            order.promised_at,
            order.total_minor,
            order.currency,
            pay.method,
            order.charges,
            order.customer_name,
            order.address,
        )
        .join_from(orders, payment, pay.purchase_id == order.purchase_id)
        .where(*wanted)
        .order_by(order.placed_at, order.id)
        .limit(asked.size)
        .offset((asked.page - 1) * asked.size)
    )
    items = await _items(reads, source_id, [row.id for row in found])
    return [
        Ordered(
            row.number,
            row.status,
            row.fulfilment,
            row.place,
            row.placed_at,
            row.promised_at,
            Money(row.total_minor, row.currency),
            row.method is PaymentMethod.CASH_ON_DELIVERY,
            row.charges,
            row.customer_name,
            row.address,
            items.get(row.id, ()),
        )
        for row in found
    ]


async def _items(reads: Reads, source_id: UUID, order_ids: Sequence[UUID]) -> dict[UUID, list[OrderedItem]]:
    """In the order of the bill."""
    if not order_ids:
        return {}
    found = await reads.rows(
        select(
            line.order_id,
            line.id,
            func.coalesce(_named(source_id, EntityKind.VARIANT, line.variant_id), line.sku).label("form"),
            func.coalesce(_named(source_id, EntityKind.PRODUCT, v.product_id), cast(v.product_id, Text)).label("product"),
            line.name,
            line.sku,
            line.quantity,
            line.unit_price_minor,
            line.total_minor,
            line.currency,
        )
        .join_from(order_line, variant, v.id == line.variant_id)
        .where(line.order_id.in_(order_ids))
        .order_by(line.order_id, line.rank)
    )
    items: dict[UUID, list[OrderedItem]] = {}
    for row in found:
        unit, total = Money(row.unit_price_minor, row.currency), Money(row.total_minor, row.currency)
        item = OrderedItem(str(row.id), row.form, row.product, row.name, row.sku, row.quantity, unit, total)
        items.setdefault(row.order_id, []).append(item)
    return items
