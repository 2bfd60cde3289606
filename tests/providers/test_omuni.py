"""The assumed payloads of Omuni, and its lists."""

import json
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from domain.canonical import StockMode, UpdateStockLevel
from domain.intake import LATER_BYTES
from providers.omuni import ASSUMED, Omuni
from tests.providers.calls import SOURCE_ID, call, said

OMUNI, STORE = Omuni(), "BLR_DS1"
AT = datetime(2026, 1, 5, 10, 15, tzinfo=UTC)


def pushed(*products):
    return {"locationCode": STORE, "timestamp": "2026-01-05T10:15:00Z", "products": list(products)}


TEA, RICE = {"channelSkuId": "TEA-250", "quantity": 12}, {"channelSkuId": "RICE-1K", "quantity": 0}
WRONG = {"channelSkuId": "RICE-1K", "quantity": "a few"}
MESSAGE = "$.products[1].quantity: 'a few' is no number"


@pytest.mark.parametrize("door", ["stock", "inventory"])
def test_quantities(door):
    assert said(OMUNI, door, pushed(TEA, RICE), STORE).commands == [
        UpdateStockLevel(store=STORE, id=id, at=AT, mode=StockMode.ABSOLUTE, quantity=units)
        for id, units in (("TEA-250", 12), ("RICE-1K", 0))
    ]


def test_what_was_taken_and_what_was_not():
    answer = OMUNI.acknowledge(call("stock", pushed(TEA, WRONG)), SOURCE_ID)
    failed = [{"channelSkuId": "RICE-1K", "message": MESSAGE}]
    assert (answer.status, answer.body) == (200, {"successProducts": ["TEA-250"], "failureProducts": failed})


def test_of_which_nothing_is_right():
    answer = OMUNI.refuse(call("stock", pushed(WRONG)), 400, "bad")
    assert answer.status == 400
    assert [one["channelSkuId"] for one in answer.body["failureProducts"]] == ["RICE-1K"]
    assert OMUNI.refuse(call("stock", b"{"), 400, "not JSON").body == {"status": "failed", "message": "not JSON"}
    assert OMUNI.refuse(call("stock", pushed(TEA)), 503, "later").body == {"status": "failed", "message": "later"}


def test_what_is_read_later_is_not_known_at_the_door():
    long = call("stock", json.dumps(pushed(TEA)).encode() + b" " * LATER_BYTES)
    assert OMUNI.acknowledge(long, SOURCE_ID).body == {"successProducts": [], "failureProducts": []}


def test_a_profile_of_the_sources_answers_as_it_says():
    mine = json.dumps(ASSUMED | {"ack": {"body": {"mine": 1}}})
    assert OMUNI.acknowledge(replace(call("stock", pushed(TEA)), profile=mine), SOURCE_ID).body == {"mine": 1}
