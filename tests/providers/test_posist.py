"""The assumed payloads of Posist."""

from datetime import UTC, datetime

from domain.canonical import (
    StockMode,
    UpdatePrice,
    UpdateStockLevel,
    UpdateStoreStatus,
    UpsertCatalogItem,
    UpsertMenuItem,
    UpsertVariant,
)
from domain.catalog import Diet, ProductKind
from domain.intake import EntityKind
from domain.merchants import StoreStatus
from providers.posist import Posist
from tests.providers.calls import said

POSIST, KEY = Posist(), "K7"
AT = datetime(2026, 1, 5, 4, 45, tzinfo=UTC)


def test_the_menu():
    items = [
        {
            "_id": "5f0a1",
            "name": "Masala Dosa",
            "category_data": {
                "_id": "c1",
                "categoryName": "South Indian",
                "superCategory": {"_id": "s1", "superCategoryName": "Food"},
            },
            "isAddOn": False,
            "preparationTime": {"time": 12},
            "price": 120,
            "is_veg": True,
            "in_stock": "2",
        }
    ]
    assert said(POSIST, "menu", {"customer_key": KEY, "items": items}, KEY).commands == [
        UpsertCatalogItem(
            store=KEY, item="5f0a1", title="Masala Dosa", kind=ProductKind.MENU_ITEM, diet=Diet.VEG, category=("South Indian",)
        ),
        UpsertMenuItem(store=KEY, item="5f0a1", prep_minutes=12),
        UpsertVariant(store=KEY, variant="5f0a1", item="5f0a1"),
        UpdatePrice(store=KEY, variant="5f0a1", price_minor=12000),
        UpdateStockLevel(store=KEY, id="5f0a1", kind=EntityKind.PRODUCT, mode=StockMode.AVAILABILITY, available=True),
    ]


def test_counts():
    lines = [{"sku": "5f0a1", "available": "12", "version": 8}, {"sku": "5f0a2", "available": -1, "version": 8}]
    batch = said(POSIST, "inventory", {"customer_key": KEY, "timestamp": "2026-01-05 10:15:00", "lines": lines}, KEY)
    assert batch.commands == [UpdateStockLevel(store=KEY, id="5f0a1", mode=StockMode.ABSOLUTE, quantity=12, version=8, at=AT)]
    assert [one.path for one in batch.problems] == ["$.lines[1].available"]


def test_the_stores_status():
    body = {"customer_key": KEY, "is_open": "0", "reason": "power cut"}
    assert said(POSIST, "store-status", body, KEY).commands == [
        UpdateStoreStatus(store=KEY, status=StoreStatus.CLOSED, reason="power cut")
    ]
