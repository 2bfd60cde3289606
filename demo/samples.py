"""One call of each kind that a provider makes, as it would make it of the demo town: for trying the doors out."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

from demo.menu import CHOICES, MENU, SECTIONS, Choice, Dish, Size
from domain.catalog import Diet

Body = dict[str, Any]
PETPOOJA_DIETS = {Diet.VEG: "1", Diet.NON_VEG: "2", Diet.VEGAN: "5", Diet.EGG: "24"}


@dataclass(frozen=True)
class Sample:
    """`endpoint` is the provider's name of the door it goes to. `body` is of a store as the provider knows it, and a time."""

    endpoint: str
    body: Callable[[str, datetime], Body]
    headers: Mapping[str, str] = field(default_factory=dict)


# ---------------------------------------------------------------- PetPooja


def petpooja_menu(store: str, at: datetime) -> Body:
    """The whole of demo/menu.py."""
    return {
        "success": "1",
        "restaurants": [
            {
                "restaurantid": "91012",
                "active": "1",
                "details": {"menusharingcode": store, "restaurantname": "Namma Kitchen Koramangala", "country": "India"},
            }
        ],
        "ordertypes": [{"ordertypeid": 1, "ordertype": "Delivery"}, {"ordertypeid": 2, "ordertype": "PickUp"}],
        "categories": [
            {"categoryid": str(700 + rank), "active": "1", "categoryrank": str(rank), "categoryname": section}
            for rank, section in enumerate(SECTIONS)
        ],
        "items": [_petpooja_item(rank, dish) for rank, dish in enumerate(MENU)],
        "addongroups": [_petpooja_group(rank, choice) for rank, choice in enumerate(CHOICES)],
        "attributes": [
            {"attributeid": "1", "attribute": "veg", "active": "1"},
            {"attributeid": "2", "attribute": "non-veg", "active": "1"},
            {"attributeid": "5", "attribute": "vegan", "active": "1"},
            {"attributeid": "24", "attribute": "egg", "active": "1"},
        ],
        "taxes": [],
        "discounts": [],
        "variations": [],
        "serverdatetime": f"{at.astimezone(ZoneInfo('Asia/Kolkata')):%Y-%m-%d %H:%M:%S}",
        "http_code": 200,
    }


def _petpooja_item(rank: int, dish: Dish) -> Body:
    choices = [
        {"addon_group_id": choice.id, "addon_item_selection_min": str(choice.least), "addon_item_selection_max": str(choice.most)}
        for choice in dish.choices
    ]
    return {
        "itemid": dish.id,
        "itemname": dish.name,
        "itemdescription": dish.description,
        "item_categoryid": str(700 + SECTIONS.index(dish.section)),
        "item_attributeid": PETPOOJA_DIETS[dish.diet],
        "itemrank": str(rank),
        "item_ordertype": "1,2",
        "price": f"{dish.price}.00",
        "active": "1",
        "in_stock": "2",
        "itemallowvariation": "1" if dish.sizes else "0",
        "itemallowaddon": "1" if choices else "0",
        "itemaddonbasedon": "0",
        "item_packingcharges": f"{dish.packaging}.00",
        "item_image_url": "",
        "variation": [_petpooja_size(place, size, dish) for place, size in enumerate(dish.sizes, 1)],
        "addon": choices,
    }


def _petpooja_size(rank: int, size: Size, dish: Dish) -> Body:
    return {
        "id": size.id,
        "variationid": str(rank),
        "name": size.name,
        "groupname": "Size",
        "price": f"{size.price}.00",
        "active": "1",
        "item_packingcharges": f"{dish.packaging}.00",
        "variationrank": str(rank),
        "variationallowaddon": 0,
        "addon": [],
    }


def _petpooja_group(rank: int, choice: Choice) -> Body:
    return {
        "addongroupid": choice.id,
        "addongroup_name": choice.name,
        "addongroup_rank": str(rank),
        "active": "1",
        "addongroupitems": [
            {
                "addonitemid": option.id,
                "addonitem_name": option.name,
                "addonitem_price": f"{option.price}.00",
                "active": "1",
                "attributes": "1",
                "addonitem_rank": str(place),
            }
            for place, option in enumerate(choice.options)
        ],
    }


def petpooja_stock(store: str, at: datetime) -> Body:
    return {
        "restID": store,
        "type": "item",
        "inStock": False,
        "itemID": ["1045"],
        "autoTurnOnTime": "endofday",
        "customTurnOnTime": "",
    }


def petpooja_status(store: str, at: datetime) -> Body:
    return {"restID": store, "store_status": "1", "turn_on_time": "", "reason": ""}


# ---------------------------------------------------------------- UrbanPiper


def urbanpiper_menu(store: str, at: datetime) -> Body:
    """The whole of demo/menu.py: a dish that comes in sizes costs as much as its smallest, and a size so much more."""
    offered = {choice.id: [dish.id for dish in MENU if choice in dish.choices] for choice in CHOICES}
    return {
        "location_ref_id": store,
        **dict.fromkeys(("flush_categories", "flush_items", "flush_option_groups", "flush_options"), True),
        "categories": [
            {"ref_id": f"C-{section}", "name": section, "sort_order": rank, "active": True, "parent_ref_id": None}
            for rank, section in enumerate(SECTIONS, 1)
        ],
        "items": [_urbanpiper_item(rank, dish) for rank, dish in enumerate(MENU, 1)],
        "option_groups": [
            *(_urbanpiper_group(f"S-{dish.id}", "Size", 1, 1, [dish.id], 1) for dish in MENU if dish.sizes),
            *(
                _urbanpiper_group(choice.id, choice.name, choice.least, choice.most, offered[choice.id], rank)
                for rank, choice in enumerate(CHOICES, 2)
            ),
        ],
        "options": [
            *(
                _urbanpiper_option(size.id, size.name, size.price - _least(dish), f"S-{dish.id}", rank)
                for dish in MENU
                for rank, size in enumerate(dish.sizes, 1)
            ),
            *(
                _urbanpiper_option(option.id, option.name, option.price, choice.id, rank)
                for choice in CHOICES
                for rank, option in enumerate(choice.options, 1)
            ),
        ],
        "taxes": [],
        "charges": [
            {
                "code": "PC_F",
                "title": "Packaging Charge",
                "active": True,
                "item_ref_ids": [dish.id for dish in MENU if dish.packaging == rupees],
                "structure": {"applicable_on": "item.quantity", "value": float(rupees)},
            }
            for rupees in sorted({dish.packaging for dish in MENU})
        ],
    }


def _least(dish: Dish) -> int:
    return min((size.price for size in dish.sizes), default=dish.price)


def _urbanpiper_item(rank: int, dish: Dish) -> Body:
    return {
        "ref_id": dish.id,
        "title": dish.name,
        "description": dish.description,
        "price": float(_least(dish)),
        "available": True,
        "sold_at_store": True,
        "current_stock": -1,
        "food_type": {Diet.NON_VEG: "2", Diet.EGG: "3"}.get(dish.diet, "1"),
        "category_ref_ids": [f"C-{dish.section}"],
        "sort_order": rank,
        "img_url": None,
        "fulfillment_modes": ["delivery", "pickup"],
        "included_platforms": [],
        "platform_pricing": [],
    }


def _urbanpiper_group(id: str, title: str, least: int, most: int, items: Sequence[str], rank: int) -> Body:
    return {
        "ref_id": id,
        "title": title,
        "min_selectable": least,
        "max_selectable": most,
        "active": True,
        "sort_order": rank,
        "item_ref_ids": items,
    }


def _urbanpiper_option(id: str, title: str, rupees: int, group: str, rank: int) -> Body:
    return {
        "ref_id": id,
        "title": title,
        "price": float(rupees),
        "available": True,
        "sold_at_store": True,
        "food_type": "4",
        "opt_grp_ref_ids": [group],
        "nested_opt_grps": [],
        "sort_order": rank,
    }


def urbanpiper_items(store: str, at: datetime) -> Body:
    """Off for an hour."""
    back_s = int(at.timestamp()) + 3600
    return {"location_ref_id": store, "platforms": [], "item_ref_ids": ["1045"], "action": "disable", "turn_on_at": back_s}


def urbanpiper_store(store: str, at: datetime) -> Body:
    return {"location_ref_id": store, "platforms": [], "action": "enable"}


def urbanpiper_order(store: str, at: datetime) -> Body:
    """Of the order that `--set order_id=` names."""
    return {
        "order_id": "YOUR-ORDER",
        "new_state": "Acknowledged",
        "prev_state": "Placed",
        "store_id": store,
        "extra": {"prep_time_mins": 20},
        "timestamp": at.isoformat(timespec="milliseconds"),
    }


# ---------------------------------------------------------------- a till of the shop's own


def till_sales(store: str, at: datetime) -> Body:
    """One sale; milliseconds rise faster than anybody sells."""
    sale = {"seq": int(at.timestamp() * 1000), "at": at.isoformat(), "lines": [{"sku": "TEA-250", "quantity": 1}]}
    return {"device": "till-1", "store": store, "sales": [sale]}


# ---------------------------------------------------------------- the in-house WMS


def wms(kind: str, **data: Any) -> Callable[[str, datetime], Body]:
    """A version that is later than any before: milliseconds rise faster than anybody's counter."""

    def body(store: str, at: datetime) -> Body:
        version = int(at.timestamp() * 1000)
        lines = [{**line, "version": version} for line in data["lines"]] if "lines" in data else None
        told = {"location": store, **data, **({"lines": lines} if lines else {"version": version})}
        return {"type": kind, "timestamp": at.isoformat(timespec="milliseconds").replace("+00:00", "Z"), "data": told}

    return body


# ---------------------------------------------------------------- Square and Shopify


def square_counts(store: str, at: datetime) -> Body:
    told = at.isoformat(timespec="milliseconds").replace("+00:00", "Z")
    count = {
        "catalog_object_id": "TEA-250",
        "catalog_object_type": "ITEM_VARIATION",
        "location_id": store,
        "quantity": "48",
        "state": "IN_STOCK",
        "calculated_at": told,
    }
    return {
        "merchant_id": "MLX",
        "type": "inventory.count.updated",
        "event_id": f"demo-{int(at.timestamp() * 1000)}",
        "created_at": told,
        "data": {"type": "inventory_counts", "id": "demo", "object": {"inventory_counts": [count]}},
    }


SHOPIFY_TEA = 632910392, 808950810, 271878346  # the product, its variant, what it is counted by


def shopify_product(store: str, at: datetime) -> Body:
    product, variant, stock = SHOPIFY_TEA
    return {
        "id": product,
        "title": "Nilgiri Tea",
        "body_html": "<p>Light and <b>fragrant</b>.</p>",
        "vendor": "Leafy",
        "product_type": "Beverages",
        "tags": "tea",
        "status": "active",
        "updated_at": at.isoformat(timespec="seconds"),
        "options": [{"name": "Size", "position": 1, "values": ["250 g"]}],
        "variants": [
            {
                "id": variant,
                "product_id": product,
                "title": "250 g",
                "option1": "250 g",
                "position": 1,
                "price": "199.00",
                "compare_at_price": "220.00",
                "sku": "NILGIRI-250",
                "barcode": None,
                "inventory_item_id": stock,
            }
        ],
        "images": [],
    }


def shopify_level(store: str, at: datetime) -> Body:
    _, _, stock = SHOPIFY_TEA
    told = {"inventory_item_id": stock, "location_id": int(store) if store.isdigit() else store, "available": 12}
    return {**told, "updated_at": at.isoformat(timespec="seconds")}


WMS_LINES: Sequence[Mapping[str, str]] = (
    {"sku": "TEA-250", "available": "48"},
    {"sku": "ATTA-5K", "available": "37"},
    {"sku": "MILK-1L", "available": "96"},
)
# ---------------------------------------------------------------- Unicommerce, Vinculum


def unicommerce_stock(store: str, at: datetime) -> Body:
    rows = (("TEA-250", "48"), ("ATTA-5K", "37"))
    return {
        "inventoryList": [
            {"productId": sku, "variantId": sku, "inventory": units, "hsnCode": "", "facilityCode": store} for sku, units in rows
        ]
    }


def unicommerce_gatepass(store: str, at: datetime) -> Body:
    now = str(int(at.timestamp() * 1000))
    item = {"itemTypeSKU": "TEA-250", "quantity": 10, "receivedQuantity": 10, "inventoryType": "GOOD_INVENTORY"}
    return {
        "code": f"GP-{now}",
        "statusCode": "CLOSED",
        "type": "STOCK_TRANSFER",
        "toPartyName": store,
        "created": now,
        "updated": now,
        "gatePassItemDTOs": [item],
    }


def vinculum_stock(store: str, at: datetime) -> Body:
    row = {"skuCode": "TEA-250", "location": store, "qty": "60", "bucket": "Good", "committedQty": "12"}
    return {"responseCode": 0, "responseMessage": "Success", "hasMore": False, "response": [row]}


def vinculum_items(store: str, at: datetime) -> Body:
    item = {
        "skuCode": "TEA-250",
        "skuName": "Assam Tea 250 g",
        "classification": "Normal",
        "mrp": "210.000",
        "salePrice": "185.000",
        "isActive": "yes",
        "isSaleable": "yes",
    }
    return {"responseCode": 0, "responseMessage": "Success", "response": {"totalPages": 1, "currentPage": 1, "skuList": [item]}}


SAMPLES: Mapping[str, Mapping[str, Sample]] = {
    "petpooja": {
        "menu": Sample("menu", petpooja_menu),
        "stock": Sample("inventory", petpooja_stock),
        "store-status": Sample("store-status", petpooja_status),
    },
    "urbanpiper": {
        "menu": Sample("menu", urbanpiper_menu),
        "items": Sample("inventory", urbanpiper_items),
        "store": Sample("store-status", urbanpiper_store),
        "order-status": Sample("order-status", urbanpiper_order),
    },
    "till": {"sales": Sample("sales", till_sales)},
    "wms": {
        "stock.snapshot": Sample("stock", wms("stock.snapshot", lines=WMS_LINES)),
        "stock.adjusted": Sample("stock", wms("stock.adjusted", sku="TEA-250", delta="-2", reason="damage")),
        "price.updated": Sample("stock", wms("price.updated", sku="TEA-250", price="185.00", mrp="210.00", currency="INR")),
        "receipt.completed": Sample(
            "receiving", wms("receipt.completed", receipt_id="GRN-1042", lines=({"sku": "TEA-250", "accepted_qty": "12"},))
        ),
        "store.status": Sample("stock", wms("store.status", open=True, reason="", until=None)),
    },
    "unicommerce": {
        "updateInventory": Sample("inventory", unicommerce_stock),
        "closeGatepass": Sample("gatepass-closed", unicommerce_gatepass),
    },
    "vinculum": {"stock": Sample("stock", vinculum_stock), "items": Sample("items", vinculum_items)},
    "square": {"inventory.count.updated": Sample("inventory", square_counts)},
    "shopify": {
        "products/update": Sample("menu", shopify_product, {"x-shopify-topic": "products/update"}),
        "inventory_levels/update": Sample("inventory", shopify_level, {"x-shopify-topic": "inventory_levels/update"}),
    },
}
