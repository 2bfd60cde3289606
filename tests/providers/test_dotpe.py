"""The assumed payloads of DotPe."""

import copy
from datetime import UTC, datetime

from domain.canonical import (
    Choice,
    ChoiceGroup,
    DeactivateMissing,
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
from providers.dotpe import Dotpe
from tests.providers.calls import said

DOTPE, STORE = Dotpe(), "221"
GROUP = {"group_id": "G1", "name": "Extras", "min": 0, "max": 2, "addons": [{"addon_id": "A1", "name": "Ghee", "price": 20.00}]}
MENU = {
    "store_id": STORE,
    "items": [
        {
            "item_id": "5501",
            "item_name": "Masala Dosa",
            "category": "South Indian",
            "price": 120.00,
            "is_veg": True,
            "in_stock": True,
            "variants": [{"variant_id": "5501-R", "name": "Regular", "price": 120.00}],
            "addon_groups": [GROUP],
        }
    ],
}


def test_the_menu():
    ghee = Choice(id="A1", title="Ghee", price_minor=2000)
    assert said(DOTPE, "menu", MENU, STORE).commands == [
        UpsertCatalogItem(
            store=STORE, item="5501", title="Masala Dosa", kind=ProductKind.MENU_ITEM, diet=Diet.VEG, category=("South Indian",)
        ),
        UpsertMenuItem(store=STORE, item="5501", groups=(ChoiceGroup(id="G1", title="Extras", least=0, most=2, choices=(ghee,)),)),
        UpsertVariant(store=STORE, variant="5501-R", item="5501", title="Regular"),
        UpdatePrice(store=STORE, variant="5501-R", price_minor=12000),
        UpdateStockLevel(store=STORE, id="5501", kind=EntityKind.PRODUCT, mode=StockMode.AVAILABILITY, available=True),
        DeactivateMissing(store=STORE, present=("5501-R",)),
    ]


def test_what_is_wrong_is_named_and_counts_as_there():
    menu = copy.deepcopy(MENU)
    menu["items"].append({"item_id": 5502, "item_name": "Vada", "price": "40.555", "is_veg": 1, "addon_groups": "none"})
    batch = said(DOTPE, "menu", menu, STORE)
    assert [one.path for one in batch.problems] == ["$.items[1].addon_groups", "$.items[1].price"]
    assert batch.commands[-1] == DeactivateMissing(store=STORE, present=("5501-R", "5502"))


def test_an_item_is_off():
    body = {"store_id": 221, "item_id": 5501, "in_stock": False, "ts": "2026-01-05T13:00:00+05:30"}
    assert said(DOTPE, "inventory", body, STORE).commands == [
        UpdateStockLevel(
            store=STORE,
            at=datetime(2026, 1, 5, 7, 30, tzinfo=UTC),
            id="5501",
            kind=EntityKind.PRODUCT,
            mode=StockMode.AVAILABILITY,
            available=False,
        )
    ]


def test_the_stores_status():
    body = {"store_id": "221", "is_open": False, "reason": "staff"}
    assert said(DOTPE, "store-status", body, STORE).commands == [
        UpdateStoreStatus(store=STORE, status=StoreStatus.CLOSED, reason="staff")
    ]
