"""Posist, now Restroworks. It publishes no webhooks: ASSUMED is what we would take, modelled on its order API's menu.

Nobody there has confirmed it. A source that is told otherwise gets a profile of its own.
"""

import json

from domain.intake import Family
from providers.generic import Generic

_PRICE = {"path": "price", "as": "money", "unit": "rupee"}
_IN_STOCK = {"path": "in_stock", "as": "bool", "true": ["1", 1, True, "2", "yes"], "default": True}
_STORE = "$.customer_key"  # how its API names an outlet

ASSUMED = {
    "profile": "posist-assumed/1",
    "assumed": True,
    "transport": "webhook",
    "auth": {"strategy": "standard_webhooks"},
    "events": [
        {
            "when": {"endpoint": "menu"},
            "each": "$.items[*]",
            "command": "UpsertMenuItem",
            "entity_id": "_id",
            "version": {"sha256_of": "@"},
            "fields": {
                "store": _STORE,
                "title": "name",
                "category": "category_data.categoryName",
                "price": _PRICE,
                "diet": {"path": "is_veg", "map": {"true": "veg", "false": "non_veg"}, "default": "unspecified"},
                "prep_minutes": "preparationTime.time",
                "available": _IN_STOCK,
            },
            "children": [
                {
                    "each": "variants[*]",
                    "command": "UpsertVariant",
                    "entity_id": "variant_id",
                    "fields": {"title": "name", "price": _PRICE},
                }
            ],
        },
        {
            "when": {"endpoint": "inventory"},
            "each": "$.lines[*]",
            "command": "UpdateStockLevel",
            "entity_id": "sku",
            "version": {"path": "version"},
            "source_ts": {"path": "$.timestamp", "as": "datetime", "tz": "Asia/Kolkata"},
            "fields": {"store": _STORE, "mode": {"const": "absolute"}, "quantity": {"path": "available", "as": "decimal"}},
        },
        {
            "when": {"endpoint": "store-status"},
            "command": "UpdateStoreStatus",
            "source_ts": {"path": "timestamp", "as": "datetime", "tz": "Asia/Kolkata"},
            "fields": {"store": _STORE, "open": "is_open", "reason": "reason"},
        },
    ],
    "dedupe": ["header:webhook-id", "entity_version", "hash"],
    "ack": {"status": 200, "body": {"status": "success"}},
    "error": {"status": 400, "body": {"status": "failed", "message": "{reason}"}},
}


class Posist(Generic):
    def __init__(self) -> None:
        super().__init__("posist", Family.POS, json.dumps(ASSUMED))
