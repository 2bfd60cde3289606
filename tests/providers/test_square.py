"""Golden payloads of Square."""

import json
import random
from datetime import UTC, datetime
from typing import Any

import pytest

from domain.canonical import StockMode, UpdateStockLevel
from domain.intake import Reading, translated
from domain.proofs import Signed, Strategy, prove, verify
from domain.refusals import Refused
from domain.stock import StockMovementKind
from providers.square import Square
from tests.providers.calls import RECEIVED, SOURCE_ID, call, said, source

SQUARE, LOCATION = Square(), "L1"
AT = datetime(2026, 1, 5, 10, 15, 1, tzinfo=UTC)
COUNT = {
    "catalog_object_id": "VAR1", "catalog_object_type": "ITEM_VARIATION", "location_id": LOCATION, "quantity": "12",
    "state": "IN_STOCK", "calculated_at": "2026-01-05T10:15:01Z",
}  # fmt: skip


def told(*counts: Any, **more: Any) -> dict[str, Any]:
    return {
        "merchant_id": "MLX",
        "type": "inventory.count.updated",
        "event_id": "6f0c-1",
        "created_at": "2026-01-05T10:15:02Z",
        "data": {"type": "inventory_counts", "id": "84a1-1", "object": {"inventory_counts": list(counts)}},
    } | more


def level(quantity: int, id: str = "VAR1") -> UpdateStockLevel:
    counted = StockMovementKind.COUNTED
    return UpdateStockLevel(store=LOCATION, id=id, mode=StockMode.ABSOLUTE, quantity=quantity, movement=counted, at=AT)


def test_a_count_of_what_is_on_the_shelf_is_absolute():
    batch = said(SQUARE, "inventory", told(COUNT), LOCATION)
    assert list(batch.commands) == [level(12)]
    assert not batch.problems


@pytest.mark.parametrize("quantity", ["3", 3, "3.00000", " 3 "])
def test_a_quantity_is_the_same_however_it_is_written(quantity):
    assert list(said(SQUARE, "inventory", told(COUNT | {"quantity": quantity})).commands) == [level(3)]


def test_of_the_two_counts_of_a_change_the_one_on_the_shelf_is_told():
    wasted = COUNT | {"state": "WASTE", "quantity": "2"}
    assert list(said(SQUARE, "inventory", told(wasted, COUNT, COUNT | {"state": "SOLD"})).commands) == [level(12)]


def test_what_was_sold_uncounted_is_none():
    assert list(said(SQUARE, "inventory", told(COUNT | {"quantity": "-3"})).commands) == [level(0)]


def test_its_older_envelope_is_read_too():
    assert list(said(SQUARE, "inventory", told(data={"inventory_counts": [COUNT]})).commands) == [level(12)]


def test_that_the_catalogue_has_changed_is_heard_and_nothing_is_to_do():
    thin = told(type="catalog.version.updated", data={"object": {"catalog_version": {"updated_at": "2026-01-05T10:15:01Z"}}})
    reading = translated(SQUARE, call("menu", thin), source(SQUARE))
    assert (reading.wrong, list(reading.commands), reading.event_id) == (None, [], "event_id:6f0c-1")


def test_a_bad_count_is_left_out_and_the_others_stand():
    counts = [COUNT | {"quantity": "1.5"}, COUNT | {"catalog_object_id": ""}, COUNT | {"calculated_at": "soon"}, "x", COUNT]
    batch = said(SQUARE, "inventory", told(*counts))
    assert list(batch.commands) == [level(12)]
    within = "$.data.object.inventory_counts"
    assert [f"{one.path}: {one.message}" for one in batch.problems] == [
        f"{within}[0].quantity: 1.5 does not come out whole",
        f"{within}[1].catalog_object_id: is missing",
        f"{within}[2].calculated_at: 'soon' is no time",
        f"{within}[3]: is no object",
        f"{within}[3].state: is missing",
    ]


@pytest.mark.parametrize(
    ("body", "said_of_it"),
    [
        (told(type="order.created"), "$.type: 'order.created' is none that we read"),
        (told(data={}), "$.data.inventory_counts: is missing"),
        (told(data=None), "$.data: is missing"),
        ({}, "$.type: is missing"),
        ([], "$: is no object"),
        (b"{", "$: not JSON"),
    ],
)
def test_what_says_nothing_is_refused_with_its_problems(body, said_of_it):
    reading = translated(SQUARE, call("inventory", body), source(SQUARE))
    assert reading.refused
    assert reading.wrong is not None
    assert said_of_it in reading.wrong.message


def test_the_same_event_is_known_by_its_id():
    assert SQUARE.event_id(call("inventory", told(COUNT))) == "event_id:6f0c-1"
    assert SQUARE.event_id(call("inventory", {})) is None
    assert SQUARE.event_id(call("inventory", b"no")) is None


def test_what_is_kept_is_not_asked_for_again():
    statuses = {status: SQUARE.refuse(call("inventory", {}), status, "no").status for status in (400, 401, 404, 409, 413, 429, 503)}
    assert statuses == {400: 200, 401: 401, 404: 404, 409: 200, 413: 413, 429: 429, 503: 503}


def test_the_signature_is_over_the_url_and_the_body():
    assert (SQUARE.proof.strategy, SQUARE.proof.signed) == (Strategy.HMAC_HEADER, Signed.URL_BODY)
    url = "https://market.example/v1/integrations/pos/square/webhooks/inventory"
    body = b'{"type":"stock.snapshot","data":{"sku":"TEA-250","available":12}}'
    secret = "docs-example-key-not-a-secret-01"
    headers = prove(SQUARE.proof, secret, SOURCE_ID, url, body, RECEIVED)
    assert headers == {"x-square-hmacsha256-signature": "gtiiL3FBDLYRkCkC4mFMSVcutWFXfMyOJIrpxYhHEos="}
    one = call("inventory", body)
    signed = type(one)(one.door, body, headers, RECEIVED, url=url)
    verify(SQUARE.proof, signed, SOURCE_ID, [secret.encode()])
    with pytest.raises(Refused):
        verify(SQUARE.proof, type(one)(one.door, body, headers, RECEIVED, url=url + "?x"), SOURCE_ID, [secret.encode()])


def test_whatever_is_done_to_it_a_reading_comes_out():
    whole, chance = json.dumps(told(COUNT, COUNT)).encode(), random.Random(5)
    for _ in range(600):
        body = bytearray(whole)
        for _ in range(chance.randrange(1, 5)):
            at = chance.randrange(len(body) + 1)
            odd = chance.choice([b"\0", b'"', b"[", b"{}", b"1e999", b"null", b"true", b"\\ud800", b"\xff", b""])
            body[at : at + chance.randrange(12)] = odd
        assert isinstance(translated(SQUARE, call("inventory", bytes(body)), source(SQUARE)), Reading)
