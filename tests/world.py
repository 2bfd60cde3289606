"""Rows to begin a test with: a town is built by statements, and what is tested by commands."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from sqlalchemy import insert, select
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from db import tables as t
from db.ids import new_id
from db.unit_of_work import unit_of_work
from domain.counting import Count, apply_counts
from domain.identity import Actor, ActorKind, MerchantRole
from domain.places import Point, PostalAddress

HOME = PostalAddress("12 Lake Road", None, "Bengaluru", "560001", Point(12.9720, 77.5950), "+919800000001")


@dataclass(frozen=True)
class Shop:
    """One store that is always open, of a merchant of its own, and its owner."""

    merchant_id: UUID
    store_id: UUID
    owner: Actor


async def account(engine: AsyncEngine, kind: ActorKind = ActorKind.CUSTOMER, **columns: Any) -> Actor:
    id = new_id()
    async with engine.begin() as connection:
        await connection.execute(insert(t.user_account).values(id=id, name=columns.pop("name", "Riya"), **columns))
        if kind is ActorKind.RIDER:
            await connection.execute(insert(t.rider).values(id=id))
    return Actor(kind, id)


async def member(engine: AsyncEngine, shop: Shop, role: MerchantRole, stores: Sequence[UUID] = ()) -> Actor:
    actor = await account(engine, ActorKind.MERCHANT)
    async with engine.begin() as connection:
        await connection.execute(insert(t.merchant_member).values(merchant_id=shop.merchant_id, user_id=actor.id, role=role))
        for store_id in stores:
            await connection.execute(
                insert(t.member_store).values(merchant_id=shop.merchant_id, user_id=actor.id, store_id=store_id)
            )
    return actor


async def shop(engine: AsyncEngine, **columns: Any) -> Shop:
    merchant_id, store_id, owner = new_id(), new_id(), await account(engine, ActorKind.MERCHANT)
    async with engine.begin() as connection:
        await connection.execute(insert(t.merchant).values(id=merchant_id, name="Amrit", slug=f"m-{merchant_id}"))
        await connection.execute(
            insert(t.merchant_member).values(merchant_id=merchant_id, user_id=owner.id, role=MerchantRole.OWNER)
        )
        values = {"slug": f"s-{store_id}", "name": "Amrit Bazaar", "city": "Bengaluru", "lat": 12.9716, "lng": 77.5946, **columns}
        await connection.execute(insert(t.store).values(id=store_id, merchant_id=merchant_id, **values))
    return Shop(merchant_id, store_id, owner)


async def listing(engine: AsyncEngine, shop: Shop, on_hand: int | None, **columns: Any) -> UUID:
    """With so many counted, or sold uncounted with None."""
    ids = await listings(engine, shop, [on_hand], **columns)
    return ids[0]


async def listings(engine: AsyncEngine, shop: Shop, on_hand: Sequence[int | None], **columns: Any) -> list[UUID]:
    ids = [new_id() for _ in on_hand]
    async with engine.begin() as connection:
        await connection.execute(
            insert(t.product), [{"id": id, "merchant_id": shop.merchant_id, "name": columns.get("name", f"Tea {id}")} for id in ids]
        )
        await connection.execute(
            insert(t.variant), [{"id": id, "merchant_id": shop.merchant_id, "product_id": id, "sku": f"SKU-{id}"} for id in ids]
        )
        row = {"price_minor": 5000, "name": "Tea", "told_at": datetime.now(UTC), **columns}
        mine = {"merchant_id": shop.merchant_id, "store_id": shop.store_id}
        await connection.execute(insert(t.listing), [{"id": id, "product_id": id, "variant_id": id, **mine, **row} for id in ids])
        await connection.execute(insert(t.stock_level), [{"listing_id": id, "version": 0, **mine} for id in ids])
    now = datetime.now(UTC)
    counts = [Count(id, units, now, "test", "test") for id, units in zip(ids, on_hand, strict=True) if units is not None]
    if counts:
        async with unit_of_work(engine) as uow:
            await apply_counts(counts, uow)
    return ids


async def ledger(connection: AsyncConnection, listing_id: UUID) -> list[tuple[str, int, int, int]]:
    """Kind and deltas, in order."""
    m = t.stock_movement.c
    found = await connection.execute(
        select(m.kind, m.on_hand_delta, m.held_delta, m.allocated_delta).where(m.listing_id == listing_id).order_by(m.id)
    )
    return [(row.kind.value, row.on_hand_delta, row.held_delta, row.allocated_delta) for row in found]
