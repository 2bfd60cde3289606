"""The row of a catalogue file."""

import csv
import random
import time
from datetime import UTC, datetime
from pathlib import Path

import asyncpg

from bench.rows import Asked, Line, Ratio, Row
from bench.seed import Shop, add_shop
from db.ids import new_id
from domain.intake import Inbound
from wiring import INBOUNDS, wire
from workers.file_import import import_catalogue

IMPORTED = 13_778


async def imported(asked: Asked) -> Row:
    shop = await add_shop(asked.engine, products=1)
    path = asked.stage.log.parent / "catalogue.csv"
    write_catalogue(path, IMPORTED)
    inbound: Inbound = INBOUNDS["catalogue_file"]
    async with wire(asked.stage.settings) as wiring:
        report = await import_catalogue(path, shop.slug, 100, unit_of_work=wiring.unit_of_work, reads=wiring.reads, inbound=inbound)
    if report.refused or report.wrong or report.rows != IMPORTED:
        raise RuntimeError(f"{report.rows} rows, {report.refused[:3]} {report.wrong[:3]}")
    raw = await _copied(asked, shop)
    return Row(
        "import",
        (
            Line(f"a catalogue file of {IMPORTED:,} rows, with stock", report.rows / report.seconds, "rows/s"),
            Line("… in all", report.seconds, "s"),
            Line("raw: COPY into the same four tables", raw, "rows/s"),
        ),
        (Ratio("of COPY", report.rows / report.seconds / raw, 0.1, 0.005),),
    )


def write_catalogue(path: Path, rows: int) -> None:
    chance = random.Random(3)
    with path.open("w", newline="", encoding="utf-8") as file:
        out = csv.writer(file)
        out.writerow(["index", "product", "category", "sub_category", "brand", "sale_price", "market_price", "type", "rating"])
        for number in range(1, rows + 1):
            price = chance.randrange(10, 2_000)
            aisle, name = chance.randrange(11), f"Good {number}, {chance.randrange(1, 9) * 50} g"
            place = (f"Aisle {aisle}", f"Shelf {aisle}-{chance.randrange(8)}", f"Brand {chance.randrange(300)}")
            out.writerow([number, name, *place, price, price + chance.randrange(50), f"Kind {chance.randrange(40)}", "4.1"])


async def _copied(asked: Asked, shop: Shop) -> float:
    """Rows a second of the quickest way in that there is."""
    ids, now = [new_id() for _ in range(IMPORTED)], datetime.now(UTC)
    tables = {
        "product": (("id", "merchant_id", "name"), [(id, shop.merchant_id, f"Good {id}") for id in ids]),
        "variant": (("id", "merchant_id", "product_id", "sku"), [(id, shop.merchant_id, id, f"RAW-{id}") for id in ids]),
        "listing": (
            ("id", "merchant_id", "store_id", "product_id", "variant_id", "name", "price_minor", "told_at"),
            [(id, shop.merchant_id, shop.store_id, id, id, f"Good {id}", 5_000, now) for id in ids],
        ),
        "stock_level": (
            ("listing_id", "merchant_id", "store_id", "on_hand"),
            [(id, shop.merchant_id, shop.store_id, 100) for id in ids],
        ),
    }
    connection = await asyncpg.connect(asked.stage.database_url.replace("postgresql+asyncpg", "postgresql"))
    try:
        started = time.monotonic()
        async with connection.transaction():
            for name, (columns, records) in tables.items():
                await connection.copy_records_to_table(name, columns=columns, records=records)
        return IMPORTED / (time.monotonic() - started)
    finally:
        await connection.close()
