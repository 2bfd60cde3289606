"""DotPe, whose restaurant till is sold as Rista. No contract for calls to us is public: ASSUMED is what we would take.

Nobody there has confirmed it. A source that is told otherwise gets a profile of its own.
"""

import json

from domain.intake import Family
from providers.generic import Generic

_PRICE = {"path": "price", "as": "money", "unit": "rupee"}
_STORE, _AT = "$.store_id", {"path": "$.ts", "as": "datetime", "tz": "Asia/Kolkata"}

ASSUMED = {
    "profile": "dotpe-assumed/1",
    "assumed": True,
    "transport": "webhook",
    "auth": {"strategy": "standard_webhooks"},
    "events": [
        {
            "when": {"endpoint": "menu"},
            "each": "$.items[*]",
            "command": "UpsertMenuItem",
            "entity_id": "item_id",
            "version": {"sha256_of": "@"},
            "source_ts": _AT,
            "fields": {
                "store": _STORE,
                "title": "item_name",
                "category": "category",
                "price": _PRICE,
                "diet": {"path": "is_veg", "map": {"true": "veg", "false": "non_veg"}, "default": "unspecified"},
                "available": {"path": "in_stock", "as": "bool", "default": True},
            },
            "whole": True,
            "children": [
                {
                    "each": "variants[*]",
                    "command": "UpsertVariant",
                    "entity_id": "variant_id",
                    "fields": {"title": "name", "price": _PRICE},
                },
                {
                    "each": "addon_groups[*]",
                    "command": "ChoiceGroup",
                    "entity_id": "group_id",
                    "fields": {"title": "name", "min": "min", "max": "max"},
                    "children": [
                        {
                            "each": "addons[*]",
                            "command": "Choice",
                            "entity_id": "addon_id",
                            "fields": {"title": "name", "price": _PRICE},
                        }
                    ],
                },
            ],
        },
        {
            "when": {"endpoint": "inventory"},
            "command": "UpdateStockLevel",
            "entity_id": "item_id",
            "source_ts": _AT,
            "fields": {
                "store": _STORE,
                "mode": {"const": "availability"},
                "kind": {"const": "product"},
                "available": "in_stock",
            },
        },
        {
            "when": {"endpoint": "store-status"},
            "command": "UpdateStoreStatus",
            "source_ts": _AT,
            "fields": {"store": _STORE, "open": "is_open", "reason": "reason"},
        },
    ],
    "dedupe": ["header:webhook-id", "hash"],
    "ack": {"status": 200, "body": {"status": "success"}},
    "error": {"status": 400, "body": {"status": "failed", "message": "{reason}"}},
}


class Dotpe(Generic):
    def __init__(self) -> None:
        super().__init__("dotpe", Family.POS, json.dumps(ASSUMED))
