"""A grocery's catalogue of real size and shape: names with punctuation, sizes in them, prices below the MRP, some missing.

The same for the same count. With HAAT_TEST_CATALOGUE, a file of `index,product,category,sub_category,brand,sale_price,
market_price,type,rating`, it is that one instead.
"""

import csv
import os
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import ROUND_HALF_UP, Decimal
from itertools import islice
from random import Random
from uuid import UUID

from sqlalchemy import insert
from sqlalchemy.ext.asyncio import AsyncEngine

from db.ids import new_id
from db.tables import merchant, store
from db.unit_of_work import unit_of_work
from domain.catalog import UpsertedProduct, UpsertedVariant, apply_products, apply_variants
from domain.listings import UpsertedListing, apply_listings

COUNT = 2_000
_AISLES = {
    ("Beverages", "Tea"): ["Green Tea - Honey, Lemon & Ginger", "Masala Chai (Kadak)", "Darjeeling Tea", "चाय मसाला"],
    ("Beverages", "Water"): ["Packaged Drinking Water", "Soda - 100% Fizz", "Coconut Water/Nariyal Pani"],
    ("Beauty & Hygiene", "Hair Care"): [
        "Garlic Oil - Vegetarian Capsule",
        "Anti-Dandruff Shampoo",
        "Hair Oil & Serum",
        "L'Huile Légère",
    ],
    ("Bakery, Cakes & Dairy", "Dairy"): ["Ghee", "Paneer - Fresh", "Dahi (Curd)", "Crème Fraîche", "Butter: Salted"],
    ("Foodgrains, Oil & Masala", "Masalas"): ["Turmeric Powder/Arisina Pudi", "Garam Masala", "Chilli - Byadgi, Stemless"],
    ("Snacks & Branded Foods", "Breakfast"): [
        "Corn Flakes - Kellogg's Style",
        "Oats, Rolled",
        "Muesli - Fruit & Nut (No Added Sugar)",
    ],
    ("Cleaning & Household", "Pooja Needs"): ["Brass Angle Deep - Plain, No.2", "Agarbatti `Mogra`", "Camphor Tablets <pure>"],
    ("Baby Care", "Diapers"): ["Diapers - Pant Style, Large", "Baby Wipes, 99% Water"],
}
_BRANDS = [
    "Sri Sri Ayurveda",
    "Mastercook",
    "Trm",
    "Fresho!",
    "Dr. Oetker",
    "Haldiram's",
    "bb Royal",
    "24 Mantra",
    "A&B",
    "",
    "Tata-Sampann",
]
_SIZES = ["500 mg", "1 kg", "250g", "1.5 L", "12x30 ml", "100 pcs", "2 x 75 g", '9"', "Pack of 6", "0.5 kg"]


@dataclass(frozen=True)
class Good:
    sku: str
    name: str
    brand: str | None
    path: tuple[str, ...]
    price_minor: int
    mrp_minor: int | None
    variants: Sequence[str] = ("",)


def goods(count: int = COUNT) -> list[Good]:
    path = os.environ.get("HAAT_TEST_CATALOGUE")
    return _read(path, count) if path else _made(count)


def _minor(amount: str) -> int:
    return int((Decimal(amount) * 100).quantize(Decimal(1), ROUND_HALF_UP))


def _read(path: str, count: int) -> list[Good]:
    with open(path, encoding="utf-8", newline="") as file:
        return [
            Good(
                f"SKU-{row['index']}",
                row["product"] or f"unnamed {row['index']}",
                row["brand"].strip() or None,
                (row["category"], row["sub_category"]),
                _minor(row["sale_price"]),
                max(_minor(row["market_price"]), _minor(row["sale_price"])) if row["market_price"] else None,
            )
            for row in islice(csv.DictReader(file), count)
        ]


def _made(count: int) -> list[Good]:
    chance = Random(20_261_121)
    made = []
    for number in range(count):
        path = chance.choice(list(_AISLES))
        price = chance.choice([chance.randrange(500, 9_900), chance.randrange(1, 300) * 100])
        made.append(
            Good(
                f"SKU-{number}",
                f"{chance.choice(_AISLES[path])} {chance.choice(_SIZES)}",
                chance.choice(_BRANDS) or None,
                path,
                price,
                chance.choice([None, price, price + chance.randrange(100, 5_000)]),
                chance.choice([("",), ("",), ("",), ("Small", "Regular", "Large")]),
            )
        )
    return made


async def add_store(engine: AsyncEngine, merchant_id: UUID | None = None, **more: object) -> tuple[UUID, UUID]:
    """A new store, of a new merchant where none is given: (merchant, store)."""
    store_id = new_id()
    async with engine.begin() as connection:
        if merchant_id is None:
            merchant_id = new_id()
            await connection.execute(insert(merchant).values(id=merchant_id, name="Anand", slug=str(merchant_id)))
        values = {"slug": str(store_id), "name": "Anand Stores", "city": "Bengaluru", "lat": 12.97, "lng": 77.59, **more}
        await connection.execute(insert(store).values(id=store_id, merchant_id=merchant_id, **values))
    return merchant_id, store_id


async def stock_up(engine: AsyncEngine, merchant_id: UUID, store_id: UUID, some: Sequence[Good], chunk: int = 1_000) -> list[UUID]:
    """The listings, in the order of the goods and their variants; a chunk a transaction."""
    listings: list[UUID] = []
    for start in range(0, len(some), chunk):
        part = some[start : start + chunk]
        async with unit_of_work(engine) as uow:
            products = await apply_products(
                [UpsertedProduct(None, merchant_id, good.name, brand=good.brand, category_path=good.path) for good in part], uow
            )
            told = [
                (good, product_id, name, rank)
                for good, product_id in zip(part, products, strict=True)
                for rank, name in enumerate(good.variants)
            ]
            variants = await apply_variants(
                [
                    UpsertedVariant(None, merchant_id, product_id, f"{good.sku}-{rank}", name, rank=rank)
                    for good, product_id, name, rank in told
                ],
                uow,
            )
            made = await apply_listings(
                [
                    UpsertedListing(store_id, variant_id, good.price_minor, good.mrp_minor)
                    for (good, *_), variant_id in zip(told, variants, strict=True)
                ],
                uow,
            )
            listings += [id for id in made if id is not None]
    return listings
