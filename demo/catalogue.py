"""What the demo shops sell: lists of goods, one file a trade."""

import csv
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

HERE = Path(__file__).parent
IN_STORE = "29"  # the range of EAN that shops number themselves: nobody's real barcode


@dataclass(frozen=True)
class Good:
    """One variant of one product. Amounts in paise."""

    sku: str
    item: str
    name: str
    brand: str
    category: tuple[str, ...]
    variant: str
    barcode: str
    mrp_minor: int | None
    price_minor: int
    stock: int


@cache
def goods(trade: str) -> Sequence[Good]:
    """Of grocery, bakery or pharmacy."""
    with (HERE / f"{trade}.csv").open(encoding="utf-8", newline="") as file:
        return tuple(_good(number, row) for number, row in enumerate(csv.DictReader(file), _FIRST[trade]))


_FIRST = {"grocery": 10_001, "bakery": 20_001, "pharmacy": 30_001}


def _good(number: int, row: dict[str, str]) -> Good:
    return Good(
        row["sku"],
        row["item"],
        row["name"],
        row["brand"],
        (row["category"], row["sub_category"]),
        row["variant"],
        barcode(f"{IN_STORE}{number:010}"),
        int(row["mrp"]) * 100 if row["mrp"] else None,
        int(row["price"]) * 100,
        int(row["stock"]),
    )


def barcode(twelve: str) -> str:
    """EAN-13: the digits and what proves them."""
    weighted = sum(int(digit) * (3 if place % 2 else 1) for place, digit in enumerate(twelve))
    return f"{twelve}{-weighted % 10}"


def late_night() -> Sequence[Good]:
    """What one wants at two in the morning, a little dearer."""
    wanted = {"Beverages", "Snacks", "Dairy, Bread & Eggs", "Personal Care"}
    return tuple(dearer(good) for good in goods("grocery") if good.category[0] in wanted)


def dearer(good: Good) -> Good:
    """Halfway up to the printed price."""
    if good.mrp_minor is None:
        return good
    return replace(good, price_minor=(good.price_minor + good.mrp_minor) // 200 * 100)


def everything() -> Iterator[Good]:
    for trade in _FIRST:
        yield from goods(trade)
