"""Carts, and their lines as pricing needs them."""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import ColumnElement, bindparam, delete, false, func, insert, select, update
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.ext.asyncio import AsyncConnection

from db.ids import new_id
from db.reads import Here, Reads
from db.tables import cart, cart_line, listing, listing_modifier_group, modifier, modifier_group, product, variant
from domain.cart import CartItem, CartLine, Choice, GroupRule
from domain.catalog import Unit
from domain.identity import Actor, ActorKind
from domain.money import Money

line = cart_line.c
LIMIT = {Unit.PIECE: 100, Unit.GRAM: 100_000, Unit.MILLILITRE: 100_000}  # units of one listing in one order, where it says none


def visible_to(actor: Actor) -> ColumnElement[bool]:
    """A cart is its customer's."""
    return cart.c.customer_id == actor.id if actor.kind is ActorKind.CUSTOMER and actor.id is not None else false()


_LOCK = select(cart.c.id).where(cart.c.customer_id == bindparam("customer")).with_for_update()
_LINES = select(cart_line).where(line.cart_id == bindparam("cart")).order_by(line.id)
_EMPTIED = (
    update(cart)
    .where(cart.c.id == bindparam("cart"))
    .values(version=cart.c.version + 1)
    .returning(cart.c.version)
    .add_cte(delete(cart_line).where(line.cart_id == bindparam("cart")).cte("emptied"))
)


class SqlCarts:
    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def lock(self, customer_id: UUID) -> tuple[UUID, list[CartLine]]:
        mine = {"customer": customer_id}
        cart_id: UUID | None = (await self._connection.execute(_LOCK, mine)).scalar_one_or_none()
        if cart_id is None:  # the first time, and perhaps in two requests at once
            await self._connection.execute(
                upsert(cart).values(id=new_id(), customer_id=customer_id).on_conflict_do_nothing(index_elements=["customer_id"])
            )
            cart_id = (await self._connection.execute(_LOCK, mine)).scalar_one()
        found = await self._connection.execute(_LINES, {"cart": cart_id})
        return cart_id, [
            CartLine(row.id, row.listing_id, row.quantity, tuple(row.modifier_ids), row.note, row.filled_minor) for row in found
        ]

    async def prices(self, listing_ids: Iterable[UUID]) -> dict[UUID, int]:
        found = await self._connection.execute(
            select(listing.c.id, listing.c.price_minor).where(listing.c.id.in_(set(listing_ids)), listing.c.active)
        )
        return {row.id: row.price_minor for row in found}

    async def surcharges(self, modifier_ids: Collection[UUID]) -> dict[UUID, int]:
        if not modifier_ids:
            return {}
        found = await self._connection.execute(select(modifier.c.id, modifier.c.price_minor).where(modifier.c.id.in_(modifier_ids)))
        return {row.id: row.price_minor for row in found}

    async def save(self, cart_id: UUID, lines: Sequence[CartLine]) -> int:
        version: int = (await self._connection.execute(_EMPTIED, {"cart": cart_id})).scalar_one()
        if lines:
            await self._connection.execute(
                insert(cart_line),
                [
                    {
                        "id": one.id,
                        "cart_id": cart_id,
                        "listing_id": one.listing_id,
                        "quantity": one.quantity,
                        "modifier_ids": list(one.modifier_ids),
                        "note": one.note,
                        "filled_minor": one.filled_minor,
                    }
                    for one in lines
                ],
            )
        return version

    async def items(self, lines: Sequence[CartLine]) -> list[CartItem]:
        return await items(Here(self._connection), lines)


# ---------------------------------------------------------------- reads


async def items(reads: Reads, lines: Sequence[CartLine]) -> list[CartItem]:
    """In the order of the lines. Those that are sold no more, too."""
    if not lines:
        return []
    ids = {one.listing_id for one in lines}
    listings = {
        row.id: row
        for row in await reads.rows(
            select(
                listing.c.id,
                listing.c.variant_id,
                listing.c.store_id,
                listing.c.merchant_id,
                listing.c.active,
                listing.c.price_minor,
                listing.c.packaging_minor,
                listing.c.currency,
                listing.c.max_per_order,
                product.c.name,
                variant.c.name.label("variant_name"),
                variant.c.sku,
                variant.c.unit,
            )
            .join(product, product.c.id == listing.c.product_id)
            .join(variant, variant.c.id == listing.c.variant_id)
            .where(listing.c.id.in_(ids))
        )
    }
    groups = await _groups(reads, ids)
    choices = await _choices(reads, {id for one in lines for id in one.modifier_ids})
    return [
        CartItem(
            one,
            row.variant_id,
            row.store_id,
            row.merchant_id,
            f"{row.name} ({row.variant_name})" if row.variant_name else row.name,
            row.sku,
            row.active,
            Money(row.price_minor, row.currency),
            Money(row.packaging_minor, row.currency),
            row.max_per_order or LIMIT[row.unit],
            groups.get(one.listing_id, ()),
            [choices[id] for id in one.modifier_ids if id in choices],
        )
        for one in lines
        if (row := listings.get(one.listing_id))
    ]


async def _groups(reads: Reads, listing_ids: Iterable[UUID]) -> dict[UUID, list[GroupRule]]:
    link = listing_modifier_group.c
    found = await reads.rows(
        select(link.listing_id, link.group_id, modifier_group.c.name, link.min, link.max)
        .join(modifier_group, modifier_group.c.id == link.group_id)
        .where(link.listing_id.in_(set(listing_ids)))
        .order_by(link.rank, link.id)
    )
    groups: dict[UUID, list[GroupRule]] = {}
    for row in found:
        groups.setdefault(row.listing_id, []).append(GroupRule(row.group_id, row.name, row.min, row.max))
    return groups


async def _choices(reads: Reads, modifier_ids: set[UUID]) -> dict[UUID, Choice]:
    if not modifier_ids:
        return {}
    choice = modifier.c
    found = await reads.rows(
        select(
            choice.id,
            choice.group_id,
            choice.name,
            choice.price_minor,
            choice.currency,
            (choice.active & ~choice.off).label("available"),
        ).where(choice.id.in_(modifier_ids))
    )
    return {row.id: Choice(row.id, row.group_id, row.name, Money(row.price_minor, row.currency), row.available) for row in found}


@dataclass(frozen=True, slots=True)
class CartRow:
    """A cart, with its lines' prices as of now. `id` is null while nothing was ever put in."""

    id: UUID
    lines: Sequence["LineRow"]
    subtotal: Money


@dataclass(frozen=True, slots=True)
class LineRow:
    id: UUID
    listing_id: UUID
    store_id: UUID
    quantity: int
    modifier_ids: tuple[UUID, ...]
    note: str | None
    total: Money
    filled: Money  # a unit of it, when the customer last told the line


async def cart_of(reads: Reads, actor: Actor) -> CartRow:
    """The customer's own. One that has never been used is empty, under the customer's id."""
    surcharge = (
        select(func.coalesce(func.sum(modifier.c.price_minor), 0))
        .where(modifier.c.id == func.any(line.modifier_ids))
        .correlate(cart_line)
        .scalar_subquery()
    )
    found = await reads.rows(
        select(
            line.cart_id,
            line.id,
            line.listing_id,
            listing.c.store_id,
            line.quantity,
            line.modifier_ids,
            line.note,
            line.filled_minor,
            ((listing.c.price_minor + surcharge) * line.quantity).label("total_minor"),
            listing.c.currency,
        )
        .join(cart, cart.c.id == line.cart_id)
        .join(listing, listing.c.id == line.listing_id)
        .where(visible_to(actor))
        .order_by(line.id)
    )
    lines = [
        LineRow(
            row.id,
            row.listing_id,
            row.store_id,
            row.quantity,
            tuple(row.modifier_ids),
            row.note,
            Money(int(row.total_minor), row.currency),
            Money(row.filled_minor, row.currency),
        )
        for row in found
    ]
    assert actor.id is not None
    currency = lines[0].total.currency if lines else "INR"
    return CartRow(
        found[0].cart_id if found else actor.id,
        lines,
        Money(sum(one.total.minor for one in lines if one.total.currency == currency), currency),
    )
