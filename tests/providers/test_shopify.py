"""Golden payloads of Shopify."""

import json
import random
from dataclasses import replace
from datetime import UTC, datetime
from time import process_time
from typing import Any

import pytest

from domain.canonical import StockMode, UpdatePrice, UpdateStockLevel, UpsertCatalogItem, UpsertVariant
from domain.intake import Batch, Call, EntityKind, Reading, translated
from domain.proofs import Signed, Strategy, prove
from domain.stock import StockMovementKind
from providers.shopify import Shopify, _plain
from tests.providers.calls import RECEIVED, SOURCE_ID, call, source

SHOPIFY, LOCATION = Shopify(), "24826418"
AT = datetime(2026, 1, 5, 10, 15, 2, tzinfo=UTC)
LEVEL = {
    "inventory_item_id": 271878346, "location_id": 24826418, "available": 12, "updated_at": "2026-01-05T15:45:02+05:30",
    "admin_graphql_api_id": "gid://shopify/InventoryLevel/24826418?inventory_item_id=271878346",
}  # fmt: skip
SMALL = {
    "id": 808950810, "product_id": 632910392, "title": "250 g / Loose", "price": "189.00", "compare_at_price": "210.00",
    "sku": "TEA-250", "barcode": "8900000000001", "position": 1, "option1": "250 g", "option2": "Loose", "option3": None,
    "inventory_item_id": 271878346, "inventory_management": "shopify", "inventory_quantity": 99,
    "updated_at": "2026-01-05T15:45:02+05:30",
}  # fmt: skip
LARGE = SMALL | {
    "id": 49148385, "price": "690", "compare_at_price": None, "sku": "", "barcode": None, "position": 2, "option1": "1 kg",
    "option2": None, "inventory_item_id": 39072856,
}  # fmt: skip
PRODUCT = {
    "id": 632910392, "title": "Assam Tea", "body_html": "<p>Strong &amp; <b>malty</b>.</p><script>x()</script><p>From Assam</p>",
    "vendor": "Leafy", "product_type": "Beverages > Tea", "tags": "tea, assam", "status": "active",
    "updated_at": "2026-01-05T15:45:02+05:30", "options": [{"name": "Size", "position": 1, "values": ["250 g", "1 kg"]}],
    "variants": [SMALL, LARGE],
    "images": [{"id": 1, "position": 1, "src": "https://img.example/tea.jpg"}, {"id": 2, "src": "https://img.example/tin.jpg"}],
}  # fmt: skip


def sent(topic: str, body: Any, **headers: str) -> Call:
    return replace(call("menu", body), headers={"x-shopify-topic": topic, **headers})


def read(topic: str, body: Any, *stores: str) -> Reading:
    return translated(SHOPIFY, sent(topic, body), source(SHOPIFY, *stores))


def variant(id: str, stock: str, store: str | None = LOCATION, **more: Any) -> UpsertVariant:
    return UpsertVariant(store=store, variant=id, item="632910392", also=(f"inventory_item:{stock}",), at=AT, **more)


def test_a_level_is_told_of_the_inventory_item_and_is_absolute():
    reading = read("inventory_levels/update", LEVEL, LOCATION)
    assert reading.wrong is None
    assert list(reading.commands) == [
        UpdateStockLevel(
            store=LOCATION,
            id="inventory_item:271878346",
            mode=StockMode.ABSOLUTE,
            quantity=12,
            movement=StockMovementKind.COUNTED,
            at=AT,
        )
    ]


@pytest.mark.parametrize(("available", "units"), [("12", [12]), (12.0, [12]), (-4, [0]), (None, [])])
def test_a_level_however_it_is_written(available, units):
    commands = read("inventory_levels/update", LEVEL | {"available": available}).commands
    assert [one.quantity for one in commands if isinstance(one, UpdateStockLevel)] == units


@pytest.mark.parametrize("topic", ["products/create", "products/update"])
def test_a_product_is_its_variants_under_both_their_ids_and_their_prices(topic):
    reading = read(topic, PRODUCT, LOCATION)
    assert reading.wrong is None
    assert list(reading.commands) == [
        UpsertCatalogItem(
            item="632910392",
            title="Assam Tea",
            description="Strong & malty.\nFrom Assam",
            brand="Leafy",
            category=("Beverages", "Tea"),
            images=("https://img.example/tea.jpg", "https://img.example/tin.jpg"),
            attributes=(("tags", "tea, assam"),),
            at=AT,
        ),
        variant("808950810", "271878346", title="250 g / Loose", barcode="8900000000001", rank=1, sku="TEA-250"),
        variant("49148385", "39072856", title="1 kg", rank=2),
        UpdatePrice(store=LOCATION, variant="808950810", price_minor=18900, mrp_minor=21000, at=AT),
        UpdatePrice(store=LOCATION, variant="49148385", price_minor=69000, at=AT),
    ]


def test_a_price_is_that_of_all_locations_and_of_a_location_to_come():
    prices = [one.store for one in read("products/update", PRODUCT, "1", "2").commands if isinstance(one, UpdatePrice)]
    assert prices == ["1", "2", "1", "2"]
    assert {one.store for one in read("products/update", PRODUCT).commands} == {None}


def test_a_draft_is_shown_nowhere_and_has_no_price():
    commands = read("products/update", PRODUCT | {"status": "draft"}, LOCATION).commands
    assert [one.active for one in commands if isinstance(one, UpsertVariant)] == [False, False]
    assert not [one for one in commands if isinstance(one, UpdatePrice)]


def test_the_only_form_has_no_name_and_a_lower_price_of_before_is_none():
    only = SMALL | {"title": "Default Title", "option1": "Default Title", "option2": None, "compare_at_price": "1.00"}
    commands = read("products/create", PRODUCT | {"variants": [only]}, LOCATION).commands
    assert [one.title for one in commands if isinstance(one, UpsertVariant)] == [""]
    assert [one.mrp_minor for one in commands if isinstance(one, UpdatePrice)] == [None]


def test_of_a_product_that_is_gone_nothing_is_to_be_had():
    assert list(read("products/delete", {"id": 632910392}, "1", "2").commands) == [
        UpdateStockLevel(store=store, id="632910392", kind=EntityKind.PRODUCT, mode=StockMode.AVAILABILITY, available=False)
        for store in ("1", "2")
    ]


def test_a_bad_variant_is_left_out_and_the_others_stand():
    variants = [SMALL | {"price": "1.005"}, LARGE, {"id": 5}, "x"]
    reading = read("products/update", PRODUCT | {"variants": variants}, LOCATION)
    assert [one.variant for one in reading.commands if isinstance(one, UpsertVariant)] == ["49148385"]
    assert [f"{one.path}: {one.message}" for one in reading.problems] == [
        "$.variants[0].price: 1.005 is finer than the minor unit",
        "$.variants[2].price: is missing",
        "$.variants[3]: is no object",
        "$.variants[3].id: is missing",
        "$.variants[3].price: is missing",
    ]


@pytest.mark.parametrize(
    ("topic", "body", "said_of_it"),
    [
        ("orders/create", {}, "header x-shopify-topic: 'orders/create' is none of inventory_levels/connect"),
        ("", LEVEL, "header x-shopify-topic: is missing"),
        ("inventory_levels/update", {"available": "many"}, "$.inventory_item_id: is missing\n$.location_id: is missing"),
        ("products/update", {"id": 1, "variants": [SMALL]}, "$.title: is missing"),
        ("products/update", {"id": 1, "title": "T", "variants": "x"}, "$.variants: is no list"),
        ("products/update", PRODUCT | {"variants": [{}]}, "$.variants[0].id: is missing"),
        ("products/update", PRODUCT | {"updated_at": "2027-01-01T00:00:00Z"}, "is more than 24 hours ahead"),
        ("products/delete", {}, "$.id: is missing"),
        ("products/delete", b"[", "$: not JSON"),
    ],
)
def test_what_cannot_be_read_is_refused_with_all_its_problems(topic, body, said_of_it):
    reading = read(topic, body, LOCATION)
    assert reading.refused
    assert reading.wrong is not None
    assert said_of_it in reading.wrong.message


def test_one_doing_told_of_two_things_is_two_news():
    event = {"x-shopify-event-id": "E1", "x-shopify-webhook-id": "W1"}
    topic = "inventory_levels/update"
    ids = {SHOPIFY.event_id(sent(topic, LEVEL | more, **event)) for more in ({}, {"location_id": 2}, {"inventory_item_id": 3})}
    assert len(ids) == 3
    assert SHOPIFY.event_id(sent(topic, LEVEL | {"available": 3}, **event)) in ids  # the same news, with other words: no good
    assert SHOPIFY.event_id(sent("products/delete", {"id": 7}, **event)) == "products/delete:E1:7"
    assert SHOPIFY.event_id(sent("products/delete", {"id": 7}, **{"x-shopify-webhook-id": "W1"})) == "products/delete:W1:7"
    assert SHOPIFY.event_id(sent(topic, LEVEL)) is None
    assert SHOPIFY.event_id(sent(topic, b"[", **event)) is None


def test_no_subscription_is_lost_to_what_is_kept():
    statuses = {status: SHOPIFY.refuse(call("menu", {}), status, "no").status for status in (400, 401, 404, 409, 413, 429, 503)}
    assert statuses == {400: 200, 401: 401, 404: 404, 409: 200, 413: 413, 429: 429, 503: 503}


def test_the_signature_is_over_the_body():
    assert (SHOPIFY.proof.strategy, SHOPIFY.proof.signed) == (Strategy.HMAC_HEADER, Signed.BODY)
    body = b'{"type":"stock.snapshot","data":{"sku":"TEA-250","available":12}}'
    headers = prove(SHOPIFY.proof, "docs-example-key-not-a-secret-01", SOURCE_ID, "", body, RECEIVED)
    assert headers == {"x-shopify-hmac-sha256": "SUMLoSoN28iVLgqemPIaNf7nAeYWNTY80RdO6rX6MGA="}


EVIL = ["<" + "a" * 1_000_000, "<" * 1_000_000, "</" * 500_000, "<a" * 500_000, "<a b" * 250_000, "<!" + "a>b<" * 250_000]


@pytest.mark.parametrize("html", EVIL, ids=range(len(EVIL)))
def test_a_description_of_a_million_characters_is_read_once(html):
    began = process_time()
    _plain(html)
    assert process_time() - began < 5


@pytest.mark.parametrize("html", ["<" * 200_000, "<script" * 20_000, "&#0;&#xD800;<p", "<script>a</style>b", "a<br>b", "x > y"])
def test_a_description_of_any_html_is_text(html):
    reading = read("products/update", PRODUCT | {"body_html": html}, LOCATION)
    assert reading.wrong is None


@pytest.mark.parametrize(
    ("topic", "body"), [("inventory_levels/update", LEVEL), ("products/update", PRODUCT), ("products/delete", {"id": 1})]
)
def test_whatever_is_done_to_it_a_reading_comes_out(topic, body):
    whole, chance = json.dumps(body).encode(), random.Random(5)
    for _ in range(400):
        hurt = bytearray(whole)
        for _ in range(chance.randrange(1, 5)):
            at = chance.randrange(len(hurt) + 1)
            odd = chance.choice([b"\0", b'"', b"[", b"{}", b"1e999", b"null", b"true", b"\\ud800", b"\xff", b""])
            hurt[at : at + chance.randrange(12)] = odd
        assert isinstance(translated(SHOPIFY, sent(topic, bytes(hurt)), source(SHOPIFY, LOCATION)), Reading)
    assert isinstance(SHOPIFY.translate(sent(topic, whole), source(SHOPIFY)), Batch)
