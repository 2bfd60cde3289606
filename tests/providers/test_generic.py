"""The sample profile of the language, and every operator and command, over payloads."""

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from domain.canonical import (
    AcceptOrder,
    Choice,
    ChoiceGroup,
    DeactivateMissing,
    OrderItem,
    OrderStatus,
    OrderWord,
    RejectOrder,
    StockMode,
    UpdatePrice,
    UpdateStockLevel,
    UpdateStoreStatus,
    UpsertCatalogItem,
    UpsertMenuItem,
    UpsertVariant,
)
from domain.catalog import Diet, ProductKind, Unit
from domain.documents import Document
from domain.intake import Batch, Call, EntityKind, Family, Source, translated
from domain.merchants import StoreStatus
from domain.orders import ReasonCode
from domain.profile_values import LISTED_MOST
from domain.refusals import InvalidInput, Refused
from domain.stock import StockMovementKind
from providers.generic import Generic
from providers.posist import ASSUMED
from tests.providers.calls import MERCHANT_ID, RECEIVED, SOURCE_ID

GENERIC = Generic()
AT = datetime(2026, 1, 5, 4, 45, tzinfo=UTC)


def source(profile: Any, *stores: str) -> Source:
    zones = dict.fromkeys(stores, "Asia/Kolkata")
    return Source(SOURCE_ID, MERCHANT_ID, "generic", Family.ERP, zones, profile=json.dumps(profile))


def told(profile: Any, body: Any, door: str = "stock", **headers: str) -> Call:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return Call(door, raw, headers, RECEIVED, profile=json.dumps(profile))


def batch(profile: Any, body: Any, door: str = "stock", *stores: str) -> Batch:
    said = GENERIC.translate(told(profile, body, door), source(profile, *stores))
    assert isinstance(said, Batch)
    return said


def says(profile: Any, body: Any, door: str = "stock", *stores: str) -> list[Any]:
    said = batch(profile, body, door, *stores)
    assert not said.problems, said.problems
    return list(said.commands)


def of(command: str, **more: Any) -> dict[str, Any]:
    """A profile of one event, for one thing."""
    return {"events": [{"command": command, "entity_id": "id", **more}]}


def problems(profile: Any, body: Any, door: str = "stock") -> list[tuple[str, str]]:
    return [(one.path, one.message) for one in batch(profile, body, door).problems]


# ---------------------------------------------------------------- the sample

SAMPLE = json.loads(
    """
{"profile":"posist-assumed/1","assumed":true,"transport":"webhook","auth":{"strategy":"standard_webhooks"},
 "events":[{"when":{"endpoint":"menu"},"each":"$.items[*]","command":"UpsertMenuItem","entity_id":"_id","version":{"sha256_of":"@"},
   "fields":{"title":"name","category":"category_data.categoryName","price":{"path":"price","as":"money","unit":"rupee"},"diet":{"path":"is_veg","map":{"true":"veg","false":"non_veg"},"default":"unspecified"},
             "available":{"path":"in_stock","as":"bool","true":["1",1,true,"2","yes"],"default":true}},
   "children":[{"each":"variants[*]","command":"UpsertVariant","entity_id":"variant_id","fields":{"title":"name","price":{"path":"price","as":"money","unit":"rupee"}}}]},
  {"when":{"endpoint":"inventory"},"each":"$.lines[*]","command":"UpdateStockLevel","entity_id":"sku","version":{"path":"version"},"source_ts":{"path":"$.timestamp","as":"datetime","tz":"Asia/Kolkata"},
   "fields":{"mode":{"const":"absolute"},"quantity":{"path":"available","as":"decimal"}}}],
 "dedupe":["header:webhook-id","entity_version","hash"],"ack":{"status":200,"body":{"status":"success"}},"error":{"status":400,"body":{"status":"failed","message":"{reason}"}}}
"""
)
DOSA = {"_id": "5f0a1", "name": "Masala Dosa", "category_data": {"categoryName": "South Indian"}, "price": 120.50, "is_veg": True}
ITEM = UpsertCatalogItem(item="5f0a1", title="Masala Dosa", kind=ProductKind.MENU_ITEM, diet=Diet.VEG, category=("South Indian",))
ON = UpdateStockLevel(id="5f0a1", kind=EntityKind.PRODUCT, mode=StockMode.AVAILABILITY, available=True)


def test_an_item_is_its_only_form_where_it_has_no_others():
    assert says(SAMPLE, {"items": [DOSA]}, "menu") == [
        ITEM,
        UpsertMenuItem(item="5f0a1"),
        UpsertVariant(variant="5f0a1", item="5f0a1"),
        UpdatePrice(variant="5f0a1", price_minor=12050),
        ON,
    ]


def test_children_are_an_items_forms_and_the_items_own_price_is_none_then():
    sizes = [{"variant_id": 11, "name": "Regular", "price": "120"}, {"variant_id": "L", "name": "Large", "price": 180}]
    body = {"items": [DOSA | {"price": "ask", "is_veg": "maybe", "in_stock": "no", "variants": sizes}]}
    assert says(SAMPLE, body, "menu") == [
        UpsertCatalogItem(item="5f0a1", title="Masala Dosa", kind=ProductKind.MENU_ITEM, category=("South Indian",)),
        UpsertMenuItem(item="5f0a1"),
        UpsertVariant(variant="11", item="5f0a1", title="Regular"),
        UpsertVariant(variant="L", item="5f0a1", title="Large"),
        UpdatePrice(variant="11", price_minor=12000),
        UpdatePrice(variant="L", price_minor=18000),
        UpdateStockLevel(id="5f0a1", kind=EntityKind.PRODUCT, mode=StockMode.AVAILABILITY, available=False),
    ]


def test_counts_have_the_payloads_time_in_the_profiles_zone_and_their_own_version():
    body = {"timestamp": "2026-01-05 10:15:00", "lines": [{"sku": "TEA-250", "available": "12.0", "version": "8"}]}
    assert says(SAMPLE, body, "inventory") == [
        UpdateStockLevel(id="TEA-250", mode=StockMode.ABSOLUTE, quantity=12, version=8, at=AT)
    ]


def test_what_is_wrong_with_one_thing_leaves_its_neighbours():
    items = [DOSA, {"_id": "2", "name": " ", "price": "1.005"}, {"name": "No id"}]
    said = batch(SAMPLE, {"items": items}, "menu")
    assert len(said.commands) == 5
    assert [(one.path, one.message) for one in said.problems] == [
        ("$.items[1].name", "is missing"),
        ("$.items[1].price", "1.005 is finer than the minor unit"),
        ("$.items[2]._id", "is missing"),
        ("$.items[2].price", "is missing"),
    ]


def test_a_place_of_the_root_that_is_wrong_is_said_once():
    body = {"timestamp": "soon", "lines": [{"sku": "A", "available": 1}, {"sku": "B", "available": 1}]}
    assert problems(SAMPLE, body, "inventory") == [("$.timestamp", "'soon' is no time")]


def test_what_no_event_knows_is_said():
    assert problems(SAMPLE, {}, "returns") == [("$", "no event of the profile fits it, at returns")]
    assert problems(SAMPLE, {"item": []}, "menu") == [("$.items", "is missing")]
    assert problems(SAMPLE, [1], "menu") == [("$.items", "is missing")]
    assert says(SAMPLE, {"items": []}, "menu") == []


# ---------------------------------------------------------------- operators

TITLE = of("UpsertVariant", fields={})


def title(value: Any, body: dict[str, Any]) -> Any:
    [said] = says(of("UpsertVariant", fields={"title": value}), {"id": 1, **body})
    return said.title


def test_a_path_walks_names_places_and_lists():
    assert title("a.b[1].c d", {"a": {"b": [0, {"c d": "x"}]}}) == "x"
    assert title("a.b[7].c", {"a": {"b": [0]}}) == ""
    [item, *_] = says(
        of("UpsertCatalogItem", fields={"title": "t", "images": "pics[*].url", "category": "$.path[*]"}),
        {"id": 1, "t": "T", "pics": {"1": {"url": "b"}, "0": {"url": "a"}, "2": {}}, "path": ["Food", "Tea"]},
    )
    assert (item.images, item.category) == (("a", "b"), ("Food", "Tea"))


@pytest.mark.parametrize(
    ("value", "body", "wanted"),
    [
        ({"const": "fixed"}, {}, "fixed"),
        ({"path": "t", "default": "none"}, {}, "none"),
        ({"path": "t", "default": "none"}, {"t": " "}, "none"),
        ({"path": "t", "map": {"1": "one", "TRUE": "yes"}}, {"t": 1}, "one"),
        ({"path": "t", "map": {"1": "one", "TRUE": "yes"}}, {"t": True}, "yes"),
        ({"path": "t", "map": {"1": "one"}, "default": "many"}, {"t": 7}, "many"),
        ({"coalesce": ["a", "b", {"const": "c"}]}, {"b": "B"}, "B"),
        ({"coalesce": ["a", "b", {"const": "c"}]}, {}, "c"),
        ({"concat": ["a", {"const": " - "}, "b"]}, {"a": "A", "b": 2}, "A - 2"),
        ({"concat": ["a", {"const": " - "}, "b"]}, {}, ""),
        ({"path": "t"}, {"t": False}, "false"),
    ],
)
def test_operators(value, body, wanted):
    assert title(value, body) == wanted


def test_a_word_that_the_map_does_not_have_is_wrong():
    profile = of("UpsertVariant", fields={"title": {"path": "t", "map": {"a": "b"}}})
    assert problems(profile, {"id": 1, "t": "z"}) == [("$.t", "'z' is none of a")]


@pytest.mark.parametrize(
    ("flags", "told", "wanted"),
    [
        ({}, "yes", True),
        ({"true": ["live"]}, "LIVE", True),
        ({"true": ["live"]}, "gone", False),
        ({"false": "gone"}, "whatever", True),
        ({"true": "a", "false": ["b", 2]}, 2, False),
        ({"true": "a", "false": "b"}, "c", None),
        ({}, "perhaps", None),
    ],
)
def test_flags(flags, told, wanted):
    profile = of("UpdateStockLevel", fields={"available": {"path": "on", "as": "bool", **flags}})
    if wanted is None:
        assert [path for path, _ in problems(profile, {"id": "A", "on": told})] == ["$.on"]
    else:
        [said] = says(profile, {"id": "A", "on": told})
        assert (said.mode, said.available) == (StockMode.AVAILABILITY, wanted)


def test_lists_may_be_one_text_with_commas():
    fields = {"title": "t", "images": {"path": "i", "as": "csv_list"}}
    [item, _] = says(of("UpsertCatalogItem", fields=fields), {"id": 1, "t": "T", "i": "a, b,,c"})
    assert item.images == ("a", "b", "c")


def test_money_is_rupees_or_paise():
    fields = {"price": {"path": "p", "unit": "paise"}, "mrp": "m"}
    [said] = says(of("UpdatePrice", fields=fields), {"id": 1, "p": 18900, "m": "2,10.00"})
    assert (said.price_minor, said.mrp_minor, said.currency) == (18900, 21000, "INR")
    assert problems(of("UpdatePrice", fields=fields), {"id": 1, "p": 189.5, "m": 1}) == [("$.p", "189.5 does not come out whole")]
    assert problems(of("UpdatePrice", fields=fields), {"id": 1, "p": 18900, "m": 100}) == [
        ("$.p", "189.00 is above the MRP, 100.00")
    ]


def test_times_are_the_profiles_zone_the_stores_or_their_own():
    at = {"fields": {"store": "s", "quantity": "q"}}
    for ts, told, wanted in (
        ({"path": "t", "tz": "UTC"}, "2026-01-05 04:45:00", AT),
        ("t", "2026-01-05 10:15:00", AT),
        ("t", "2026-01-05T04:45:00Z", AT),
        ("t", 1767588300, AT),
    ):
        [said] = says(of("UpdateStockLevel", source_ts=ts, **at), {"id": 1, "q": 1, "t": told, "s": "S"}, "stock", "S")
        assert said.at == wanted
    assert problems(of("UpdateStockLevel", source_ts="t", **at), {"id": 1, "q": 1, "t": "2031-01-01T00:00:00Z"}) == [
        ("$.t", "2031-01-01T00:00:00+00:00 is more than 24 hours ahead")
    ]


def test_a_condition_is_of_the_payload_or_of_each_thing():
    profile = {
        "events": [
            {
                "when": {"endpoint": ["stock", "returns"], "field": "$.type", "equals": "back"},
                "each": "$.lines[*]",
                "command": "UpdateStockLevel",
                "entity_id": "sku",
                "fields": {"mode": {"const": "delta"}, "quantity": "qty", "movement": {"const": "returned"}},
            },
            {
                "when": {"field": "state", "equals": ["gone", 0]},
                "each": "$.lines[*]",
                "command": "UpdateStockLevel",
                "entity_id": "sku",
                "fields": {"mode": {"const": "availability"}, "available": {"const": False}},
            },
        ]
    }
    lines = [{"sku": "A", "qty": 2, "state": "good"}, {"sku": "B", "qty": 1, "state": 0}]
    back = [
        UpdateStockLevel(id=id, mode=StockMode.DELTA, quantity=units, movement=StockMovementKind.RETURNED)
        for id, units in (("A", 2), ("B", 1))
    ]
    gone = UpdateStockLevel(id="B", mode=StockMode.AVAILABILITY, available=False)
    assert says(profile, {"type": "back", "lines": lines}, "returns") == [*back, gone]
    assert says(profile, {"type": "sold", "lines": lines}) == [gone]


# ---------------------------------------------------------------- commands


def test_an_item_with_everything():
    fields = {
        "store": "$.store",
        "title": "name",
        "description": "text",
        "brand": "brand",
        "images": "pics",
        "attributes.origin": "from",
        "barcode": "ean",
        "unit": {"const": "gram"},
        "rank": "no",
        "price": "price",
        "mrp": "mrp",
        "packaging": "box",
        "quantity": "left",
        "available": "on",
    }
    one = {"id": "TEA", "name": "Tea", "text": "Black", "brand": "Leafy", "pics": "p", "from": "Assam", "ean": 89, "no": 3}
    body = {"store": "S", "rows": [one | {"price": 189, "mrp": 210, "box": 2, "left": 12, "on": "yes"}]}
    profile = {
        "events": [{"each": "rows[*]", "command": "UpsertCatalogItem", "entity_id": "id", "version": "no", "fields": fields}]
    }
    said = {"store": "S", "version": 3}
    assert says(profile, body) == [
        UpsertCatalogItem(
            **said, item="TEA", title="Tea", description="Black", brand="Leafy", images=("p",), attributes=(("origin", "Assam"),)
        ),
        UpsertVariant(**said, variant="TEA", item="TEA", barcode="89", unit=Unit.GRAM),
        UpdatePrice(**said, variant="TEA", price_minor=18900, mrp_minor=21000, packaging_minor=200),
        UpdateStockLevel(**said, id="TEA", mode=StockMode.ABSOLUTE, quantity=12),
        UpdateStockLevel(**said, id="TEA", mode=StockMode.AVAILABILITY, available=True),
    ]


CSV = {"path": "ot", "as": "csv_list"}


def test_a_menu_item_with_choices_and_what_is_off_the_menu():
    choice = {"each": "opts[*]", "command": "Choice", "entity_id": "id", "fields": {"title": "n", "price": "p", "active": "on"}}
    groups = {"command": "ChoiceGroup", "entity_id": "id", "fields": {"title": "n", "min": "lo", "max": "hi"}, "children": [choice]}
    profile = of(
        "UpsertMenuItem",
        fields={
            "title": "n",
            "active": "on",
            "sections": "sec",
            "order_types": {"path": "ot", "as": "csv_list"},
            "prep_minutes": "m",
        },
        children=[
            {
                "each": "sizes[*]",
                "command": "UpsertVariant",
                "entity_id": "id",
                "fields": {"title": "n", "price": "p", "active": "on"},
                "children": [{"each": "groups[*]", **groups}],
            },
            {"each": "groups[*]", **groups},
        ],
    )
    spice = {"id": "G1", "n": "Spice", "hi": 1, "opts": [{"id": "mild", "n": "Mild"}, {"id": "hot", "n": "Hot", "p": 5, "on": 0}]}
    extra = {"id": "G2", "n": "Extra", "opts": [{"id": "cheese", "n": "Cheese", "p": "40.00"}]}
    sizes = [{"id": "R", "n": "Regular", "p": 199, "groups": [extra]}, {"id": "L", "n": "Large", "p": 349, "on": "0"}]
    body = {"id": "P", "n": "Pizza", "on": 1, "sec": "700", "ot": "delivery,pickup", "m": "15", "sizes": sizes, "groups": [spice]}
    hot = Choice(id="hot", title="Hot", price_minor=500, active=False, rank=1)
    menu = UpsertMenuItem(
        item="P",
        sections=("700",),
        order_types=("delivery", "pickup"),
        prep_minutes=15,
        groups=(
            ChoiceGroup(id="G1", title="Spice", least=0, most=1, choices=(Choice(id="mild", title="Mild", price_minor=0), hot)),
            ChoiceGroup(
                id="G2",
                title="Extra",
                least=0,
                most=1,
                choices=(Choice(id="cheese", title="Cheese", price_minor=4000),),
                variants=("R",),
                rank=1,
            ),
        ),
    )
    assert says(profile, body) == [
        UpsertCatalogItem(item="P", title="Pizza", kind=ProductKind.MENU_ITEM),
        menu,
        UpsertVariant(variant="R", item="P", title="Regular"),
        UpsertVariant(variant="L", item="P", title="Large", active=False),
        UpdatePrice(variant="R", price_minor=19900),
        UpdateStockLevel(id="P", kind=EntityKind.PRODUCT, mode=StockMode.AVAILABILITY, available=True),
    ]
    said = says(profile, body | {"on": 0})
    assert [type(one) for one in said] == [UpsertCatalogItem, UpsertMenuItem, UpsertVariant, UpsertVariant, UpdateStockLevel]
    assert said[-1].available is False
    spice["lo"] = 2
    assert problems(profile, body) == [("$.groups[0].lo", "2 is more than the most, 1")]


WHOLE = {
    "events": [
        {
            "each": "$.items[*]",
            "command": "UpsertMenuItem",
            "entity_id": "id",
            "fields": {"store": "$.store", "title": "name", "price": "price"},
            "whole": True,
            "children": [{"each": "sizes[*]", "command": "UpsertVariant", "entity_id": "id", "fields": {"price": "price"}}],
        }
    ]
}


def test_a_whole_push_says_what_is_there_no_more():
    two = {"id": 2, "name": "Two", "price": "?", "sizes": [{"id": "2s"}]}
    items = [{"id": 1, "name": "One", "price": 1}, two, {"id": 3, "name": "?"}]
    said = batch(WHOLE, {"store": "S", "items": items}, "menu")
    assert said.commands[-1] == DeactivateMissing(store="S", present=("1", "2s", "3"))
    assert {one.path for one in said.problems} == {"$.items[1].sizes[0].price", "$.items[2].price"}
    assert batch(WHOLE, {"store": "S", "items": items[1:]}, "menu").commands == []  # of which nothing is right
    assert says(WHOLE, {"store": "S", "items": []}, "menu") == [DeactivateMissing(store="S", present=())]
    assert batch(WHOLE, {"store": "S"}, "menu").commands == []
    assert problems(WHOLE, {"store": "S"}, "menu") == [("$.items", "is missing")]


@pytest.mark.parametrize(
    ("bad", "path"),
    [
        ({"name": "?", "price": 1}, ".id"),
        ({"id": ["2"], "name": "?", "price": 1}, ".id"),
        ({"id": "2" * 201, "name": "?", "price": 1}, ".id"),
        ({"id": 2, "name": "?", "sizes": [{"price": 1}]}, ".sizes[0].id"),
        ({"id": 2, "name": "?", "price": 1, "sizes": {"id": "2s"}}, ".sizes"),
        ({"id": 2, "name": "?", "price": 1, "at": {"store": 1}}, ".at"),
    ],
)
def test_where_an_id_or_a_store_cannot_be_read_nothing_is_taken_away(bad, path):
    event = WHOLE["events"][0]
    profile = {"events": [event | {"fields": event["fields"] | {"store": "at"}}]}
    said = batch(profile, {"items": [{"id": 1, "name": "One", "price": 1, "at": "S"}, bad]}, "menu")
    assert [one.item for one in said.commands if isinstance(one, UpsertCatalogItem)] == ["1"]
    assert not [one for one in said.commands if isinstance(one, DeactivateMissing)]
    assert [one.path for one in said.problems] == [f"$.items[1]{path}", "$.items"]
    assert said.problems[-1].message == "nothing is taken away: nobody can tell what $.items[1] is"


def test_what_is_whole_must_be_there_whatever_else_is():
    status = {"command": "UpdateStoreStatus", "fields": {"open": "open"}}
    profile = {"events": [*WHOLE["events"], status]}
    said = batch(profile, {"store": "S", "open": True}, "menu")
    assert [type(one) for one in said.commands] == [UpdateStoreStatus]
    assert [(one.path, one.message) for one in said.problems] == [("$.items", "is missing")]


def test_a_field_has_no_endless_list():
    profile = of("UpsertCatalogItem", fields={"title": "t", "images": "pics[*].url"})
    many = [{"url": "u"}] * (LISTED_MOST + 1)
    assert problems(profile, {"id": 1, "t": "T", "pics": many}) == [("$.pics", f"has more than {LISTED_MOST} values")]
    plain = of("UpsertCatalogItem", fields={"title": "t", "images": "pics"})
    assert problems(plain, {"id": 1, "t": "T", "pics": ["u"] * (LISTED_MOST + 1)}) == [
        ("$.pics", f"has more than {LISTED_MOST} values")
    ]
    assert problems(plain, {"id": 1, "t": "T", "pics": ["u" * 30_000]}) == [("$.pics[0]", "is longer than 20000 characters")]


def test_an_event_without_a_command_says_where_its_children_are():
    line = {"each": "lines[*]", "command": "UpdateStockLevel", "entity_id": "sku", "fields": {"quantity": "qty"}}
    profile = {"events": [{"each": "$.places[*]", "source_ts": "at", "fields": {"store": "code"}, "children": [line]}]}
    places = [{"code": code, "at": "2026-01-05T04:45:00Z", "lines": [{"sku": "A", "qty": 1}]} for code in ("S1", "S2")]
    assert says(profile, {"places": places}) == [
        UpdateStockLevel(store=code, at=AT, id="A", mode=StockMode.ABSOLUTE, quantity=1) for code in ("S1", "S2")
    ]


def test_the_stores_status():
    fields = {"open": "open", "reason": "why", "reopen_at": "until"}
    body = {"id": "S", "open": False, "why": "rain", "until": "2026-01-06 10:00:00"}
    profile = of("UpdateStoreStatus", fields=fields)
    until = datetime(2026, 1, 6, 4, 30, tzinfo=UTC)
    assert says(profile, body) == [UpdateStoreStatus(store="S", status=StoreStatus.CLOSED, reason="rain", reopen_at=until)]
    assert says(profile, body | {"open": 1}) == [UpdateStoreStatus(store="S", status=StoreStatus.OPEN)]
    alone = {"events": [{"command": "UpdateStoreStatus", "fields": {"status": "is"}}]}
    assert says(alone, {"is": "busy"}) == [UpdateStoreStatus(status=StoreStatus.BUSY)]
    assert problems(profile, {"id": "S"}) == [("$.open", "is missing")]


def test_what_a_mode_needs():
    fields = {"mode": "mode", "quantity": "qty"}
    profile = of("UpdateStockLevel", fields=fields)
    assert says(profile, {"id": 1, "mode": "delta", "qty": -3}) == [
        UpdateStockLevel(id="1", mode=StockMode.DELTA, quantity=-3, movement=StockMovementKind.ADJUSTED)
    ]
    assert problems(profile, {"id": 1, "mode": "absolute", "qty": -3}) == [("$.qty", "-3 is out of range")]
    assert problems(profile, {"id": 1, "mode": "count", "qty": 1}) == [
        ("$.mode", "'count' is none of absolute, delta, availability")
    ]
    assert problems(profile, {"id": 1, "qty": 1.5}) == [("$.qty", "1.5 does not come out whole")]
    assert problems(profile, {"id": 1}) == [("$.qty", "is missing")]
    assert [path for path, _ in problems(profile, {"id": 1, "mode": "availability"})] == ["$"]


def test_the_words_of_orders():
    at = {"source_ts": "at", "version": "v"}
    accept = of("AcceptOrder", fields={"prep_minutes": "m", "reference": "r"}, **at)
    body = {"id": "MK-1", "m": 20, "r": 31, "at": "2026-01-05T04:45:00Z", "v": 2}
    assert says(accept, body, "order-status") == [AcceptOrder(order="MK-1", prep_minutes=20, reference="31", at=AT, version=2)]
    reject = of("RejectOrder", fields={"message": "m", "items": "out[*]"})
    assert says(reject, {"id": "MK-1", "m": "Paneer finished", "out": ["P"]}) == [
        RejectOrder(order="MK-1", reason=ReasonCode.OUT_OF_STOCK, message="Paneer finished", items=("P",)),
        UpdateStockLevel(id="P", kind=EntityKind.PRODUCT, mode=StockMode.AVAILABILITY, available=False),
    ]
    status = of("OrderStatus", fields={"status": "s", "items": "items", "rider_name": "who"})
    assert says(status, {"id": "MK-1", "s": "Dispatched", "who": "Imran"}) == [
        OrderStatus(order="MK-1", status=OrderWord.DISPATCHED, rider_name="Imran")
    ]
    assert says(status, {"id": "MK-1", "s": "item short", "items": ["A"]}) == [
        OrderStatus(order="MK-1", status=OrderWord.ITEM_SHORT, items=(OrderItem(id="A"),))
    ]
    assert problems(status, {"id": "MK-1", "s": "ITEM_SHORT"}) == [("$.items", "is empty: these are short")]
    assert [path for path, _ in problems(status, {"id": "MK-1", "s": "eaten"})] == ["$.s"]


# ---------------------------------------------------------------- once, and answers


@pytest.mark.parametrize(
    ("dedupe", "headers", "body", "wanted"),
    [
        (["header:webhook-id"], {"webhook-id": "m1"}, {}, "webhook-id:m1"),
        (["header:X-Id", "$.meta.id"], {}, {"meta": {"id": 7}}, "path:7"),
        (["$.meta.id", "hash"], {}, {}, None),
        (["hash"], {"webhook-id": "m1"}, {}, None),
        (["$.id"], {}, b"{", None),
    ],
)
def test_what_makes_news_the_same(dedupe, headers, body, wanted):
    profile = of("UpdateStockLevel", fields={"quantity": "q"}) | {"dedupe": dedupe}
    assert GENERIC.event_id(told(profile, body, **headers)) == wanted


def test_the_versions_of_all_that_is_said_are_an_id():
    profile = {
        "events": [{"each": "l[*]", "command": "UpdateStockLevel", "entity_id": "s", "version": "v", "fields": {"quantity": "q"}}],
        "dedupe": ["entity_version"],
    }
    one, two = {"s": "A", "v": 1, "q": 1}, {"s": "B", "v": 2, "q": 1}
    ids = [GENERIC.event_id(told(profile, {"l": lines})) for lines in ([one, two], [two, one], [one], [one, {"s": "B", "q": 1}])]
    assert ids[0] == ids[1] is not None
    assert ids[2] not in (None, ids[0])
    assert ids[3] is None


def test_answers_are_the_profiles():
    ack = {"status": 202, "body": {"ok": True, "ref": "{payload}", "list": ["{payload}", 1, 2.5]}}
    profile = of("UpdateStockLevel", fields={"quantity": "q"}) | {"ack": ack, "error": {"body": {"why": "no: {reason}"}}}
    answer = GENERIC.acknowledge(told(profile, {}), SOURCE_ID)
    assert (answer.status, answer.body) == (202, {"ok": True, "ref": str(SOURCE_ID), "list": [str(SOURCE_ID), 1, 2.5]})
    json.dumps(answer.body)
    refused = [GENERIC.refuse(told(profile, {}), status, "bad") for status in (401, 422, 429, 503)]
    assert [(one.status, one.body) for one in refused] == [(status, {"why": "no: bad"}) for status in (400, 400, 429, 503)]
    nobody = Call("stock", b"", {}, RECEIVED)
    assert GENERIC.refuse(nobody, 401, "who?").body == {"status": "failed", "message": "who?"}
    assert GENERIC.refuse(nobody, 401, "who?").status == 401
    assert GENERIC.acknowledge(nobody, SOURCE_ID).body == {"status": "accepted"}


def test_without_a_profile_it_is_kept_and_said():
    reading = translated(GENERIC, Call("stock", b"{}", {}, RECEIVED), Source(SOURCE_ID, MERCHANT_ID, "generic", Family.ERP, {}))
    assert reading.refused
    assert reading.wrong is not None
    assert "no active profile" in reading.wrong.message


def test_what_is_no_json_is_said():
    with pytest.raises(Refused) as no:
        batch(SAMPLE, b"{", "menu")
    assert isinstance(no.value.refusal, InvalidInput)


def test_a_profile_over_a_large_body_is_no_endless_work(monkeypatch):
    monkeypatch.setattr("domain.profile_reading.MOST_READ", 10)
    with pytest.raises(Refused, match="more than can be read"):
        batch(SAMPLE, {"items": [DOSA] * 10}, "menu")


@pytest.mark.parametrize(
    "more",
    [
        {"images": "$.l[*].id"},  # all of the list, for each of the list
        {"images": "$.l[*].none[*]"},  # of which there is nothing
        {"images": {"path": "$.named[*]"}},  # which is an object with numbers for names
        {"images": "$.l"},
        {"images": {"path": "$.words", "as": "csv_list"}},
        {"description": "$.text"},
    ],
)
def test_what_is_read_again_for_each_thing_is_paid_each_time(more, monkeypatch):
    """By the values that are looked at, not by the fields that a profile has."""
    most, made = 60_000, 0
    born = Document.__init__

    def counting(self: Document, *told: Any) -> None:
        nonlocal made
        made += 1
        assert made < 10 * most
        born(self, *told)

    monkeypatch.setattr(Document, "__init__", counting)
    monkeypatch.setattr("domain.profile_reading.MOST_READ", most)
    body = {
        "l": [{"id": n} for n in range(15_000)],  # of 250 KB
        "named": {str(n): "u" for n in range(1_000)},
        "words": "w," * 4_000,
        "text": "t" * 10_000,
    }
    profile = of("UpsertCatalogItem", each="$.l[*]", fields={"title": {"const": "T"}, **more})
    with pytest.raises(Refused, match="more than can be read"):
        batch(profile, body)
    plain = of("UpsertCatalogItem", each="$.l[*]", fields={"title": {"const": "T"}})
    assert len(batch(plain, body).commands) == 2 * 15_000


def test_the_sample_is_posists():
    assert ASSUMED["profile"] == SAMPLE["profile"]
    body = {"customer_key": "K", "items": [DOSA], "timestamp": "2026-01-05 10:15:00", "lines": [{"sku": "A", "available": 1}]}
    for door in ("menu", "inventory"):
        from dataclasses import replace

        assert says(ASSUMED, body, door) == [replace(one, store="K") for one in says(SAMPLE, body, door)]
