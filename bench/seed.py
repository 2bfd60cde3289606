"""Who and what the load is about: one store of 2,000 products in two sizes, its sources, and customers with full carts."""

import base64
import random
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from uuid import UUID

from sqlalchemy import insert, text
from sqlalchemy.ext.asyncio import AsyncEngine

from db import tables as t
from db.ids import new_id
from db.unit_of_work import unit_of_work
from domain.catalog import UpsertedProduct, UpsertedVariant, apply_products, apply_variants
from domain.counting import Count, apply_counts
from domain.identity import Actor, ActorKind, App, MerchantRole
from domain.intake import EntityKind, Family
from domain.listings import UpsertedListing, apply_listings
from domain.mappings import MapExternalId, map_external_id
from domain.sources import NewSecret, connect_source
from settings import Settings
from wiring import trust

PRODUCTS = 2_000
CHUNK = 500
UNITS = 1_000_000
LOCATION = "BENCH-1"
_WORDS = ("Masala Chai", "Green Tea", "Brown Rice", "Turmeric", "Garam Masala", "Coconut Oil", "Paneer", "Oats", "Shampoo", "Ghee")
_BRANDS = ("bb Royal", "Fresho", "Tata", "Haldiram's", "24 Mantra")


@dataclass(frozen=True)
class Shop:
    merchant_id: UUID
    store_id: UUID
    slug: str
    owner: Actor
    skus: Sequence[str]
    listings: Sequence[UUID]


@dataclass(frozen=True)
class Customer:
    id: UUID
    token: str
    lines: Sequence[UUID]


async def add_shop(engine: AsyncEngine, products: int = PRODUCTS) -> Shop:
    merchant_id, store_id, owner_id = new_id(), new_id(), new_id()
    slug = f"bench-{store_id}"
    async with engine.begin() as connection:
        await connection.execute(insert(t.user_account).values(id=owner_id, name="Owner"))
        await connection.execute(insert(t.merchant).values(id=merchant_id, name="Bench", slug=slug))
        await connection.execute(
            insert(t.merchant_member).values(merchant_id=merchant_id, user_id=owner_id, role=MerchantRole.OWNER)
        )
        place = {"city": "Bengaluru", "lat": 12.9716, "lng": 77.5946}
        await connection.execute(insert(t.store).values(id=store_id, merchant_id=merchant_id, slug=slug, name="Bench", **place))
    chance = random.Random(7)
    skus: list[str] = []
    listings: list[UUID] = []
    for start in range(0, products, CHUNK):
        names = [f"{chance.choice(_WORDS)} {number}" for number in range(start, min(products, start + CHUNK))]
        async with unit_of_work(engine) as uow:
            made = await apply_products(
                [
                    UpsertedProduct(None, merchant_id, name, brand=chance.choice(_BRANDS), category_path=("Food", name.split()[0]))
                    for name in names
                ],
                uow,
            )
            sizes = [(product_id, size, rank) for product_id in made for rank, size in enumerate(("250 g", "1 kg"))]
            told = [f"SKU-{start * 2 + place}" for place in range(len(sizes))]
            variants = await apply_variants(
                [
                    UpsertedVariant(None, merchant_id, product_id, sku, size, rank=rank)
                    for sku, (product_id, size, rank) in zip(told, sizes, strict=True)
                ],
                uow,
            )
            prices = [chance.randrange(10, 900) * 100 for _ in variants]
            sold = await apply_listings(
                [UpsertedListing(store_id, id, price, price + 1_000) for id, price in zip(variants, prices, strict=True)], uow
            )
        skus += told
        listings += [id for id in sold if id is not None]
    await fill_shelves(engine, listings)
    await tidy(engine)
    return Shop(merchant_id, store_id, slug, Actor(ActorKind.MERCHANT, owner_id), skus, listings)


async def fill_shelves(engine: AsyncEngine, listings: Sequence[UUID]) -> None:
    """So many of each, whoever has counted them since: more than any row sells of one listing."""
    for start in range(0, len(listings), CHUNK):
        async with unit_of_work(engine) as uow:
            now = await uow.now()
            await apply_counts([Count(id, UNITS, now, "bench", "bench") for id in listings[start : start + CHUNK]], uow)


async def add_sources(engine: AsyncEngine, settings: Settings, shop: Shop, count: int) -> list[dict[str, str]]:
    """Of the warehouse system, each with its secret in base64."""
    seals, made = trust(settings).seals, []
    for _ in range(count):
        secret = secrets.token_bytes(32)
        new = NewSecret(sealed=seals.seal(secret))
        async with unit_of_work(engine) as uow:
            id = await connect_source(shop.merchant_id, "wms", Family.ERP, new, shop.owner, uow)
        async with unit_of_work(engine) as uow:
            await map_external_id(MapExternalId(id, EntityKind.STORE, LOCATION, shop.store_id), shop.owner, uow)
        made.append({"id": str(id), "secret": base64.b64encode(secret).decode()})
    return made


async def add_customers(
    engine: AsyncEngine, settings: Settings, count: int, listings: Sequence[UUID], lines: int
) -> list[Customer]:
    """Signed in for ten minutes, so many different listings in the cart of each."""
    tokens, chance, later = trust(settings).tokens, random.Random(11), datetime.now(UTC) + timedelta(days=1)
    made = []
    users, sessions, carts, wanted = [], [], [], []
    for _ in range(count):
        id, session_id, cart_id = new_id(), new_id(), new_id()
        token, _ = tokens.mint(Actor(ActorKind.CUSTOMER, id, session_id))
        customer = Customer(id, token, chance.sample(listings, lines))
        made.append(customer)
        users.append({"id": id, "name": "Riya"})
        sessions.append({"id": session_id, "user_id": id, "app": App.CUSTOMER, "expires_at": later})
        carts.append({"id": cart_id, "customer_id": id})
        wanted += [
            {"id": new_id(), "cart_id": cart_id, "listing_id": listing, "quantity": 1, "filled_minor": 0}
            for listing in customer.lines
        ]
    async with engine.begin() as connection:
        for table, rows in ((t.user_account, users), (t.session, sessions), (t.cart, carts), (t.cart_line, wanted)):
            await connection.execute(insert(table), rows)
    await tidy(engine)
    return made


async def throw_away_instructions(engine: AsyncEngine) -> None:
    """What the doors have kept, and nobody is there to carry out: the next row's workers have other work."""
    async with engine.begin() as connection:
        await connection.execute(text("TRUNCATE instruction CASCADE"))
    await tidy(engine)


async def tidy(engine: AsyncEngine) -> None:
    """What autovacuum would have done an hour later."""
    async with engine.connect() as connection:
        free = await connection.execution_options(isolation_level="AUTOCOMMIT")
        await free.execute(text("VACUUM ANALYZE"))
