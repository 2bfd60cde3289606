"""How orders are worded for each till, and how its answers are read: golden requests, composed from the field tables we know."""

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest

from domain import signatures
from domain.access import Access, Reply
from domain.money import Money
from domain.orders import Fulfilment, OrderStatus, ReasonCode
from domain.outbound import (
    Choice,
    Line,
    NotNow,
    NotUnderstood,
    Order,
    OrderNews,
    Outbound,
    Place,
    Rider,
    Taken,
    TurnedDown,
    Unmapped,
    Unsayable,
)
from domain.places import Point, PostalAddress
from domain.pricing import Charge, ChargeKind
from wiring import OUTBOUNDS

N = OrderNews
NOW = datetime(2026, 1, 5, 13, 35, tzinfo=UTC)
TELLING = UUID(int=7)
HOME = PostalAddress("Flat 4", "12 Lake Rd", "Ahmedabad", "380001", Point(23.03, 72.58), "+919800000099")
CHEESE = Choice("9001", "Extra cheese", "300", "Extra toppings", Money(4000, "INR"))
PIZZA = Line(
    "81091",
    "81001",
    "SKU-1",
    "Garden Pizza (Regular)",
    "Regular",
    1,
    Money(23900, "INR"),
    Money(23900, "INR"),
    (CHEESE,),
    "well done",
    "11",
)
ORDER = Order(
    id=UUID(int=9),
    number="MK7X2M9A",
    status=OrderStatus.PLACED,
    fulfilment=Fulfilment.DELIVERY,
    placed_at=NOW,
    promised_at=None,
    prep_minutes=20,
    total=Money(27900, "INR"),
    cash=False,
    charges=(
        Charge(ChargeKind.ITEMS, "Items", Money(23900, "INR"), "items", 1),
        Charge(ChargeKind.PACKAGING, "Packaging", Money(1000, "INR"), "packaging", 1),
        Charge(ChargeKind.DELIVERY, "Delivery", Money(3000, "INR"), "delivery-flat", 1),
    ),
    customer_name="Riya",
    phone="+919800000099",
    address=HOME,
    store=Place("k7x2m9qa", "Amrit Bhavan", "Ahmedabad", Point(23.03, 72.58), "Asia/Kolkata"),
    lines=(PIZZA,),
    rider=Rider("Imran", "+919800000077"),
)
KEYS = {"app_key": "<issued>", "app_secret": "<issued>", "access_token": "<issued>"}
CALLBACK = "https://market.example/v1/integrations/pos/petpooja/PATHTOKEN/webhooks/order-status"
ACCESS = {
    "petpooja": Access("https://pos.example/V1", {**KEYS, "orders_url": "https://orders.example", "callback_url": CALLBACK}),
    "urbanpiper": Access("https://till.example/hooks", {"biz_id": "77", "header": "X-Till-Token", "value": "a-token"}),
    "wms": Access("https://wms.example", {"secret": "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="}),
}


def said(provider: str, news: OrderNews, order: Order = ORDER) -> tuple[str, dict[str, Any], dict[str, str]]:
    """The URL, the body and the headers."""
    access = ACCESS[provider]
    say = OUTBOUNDS[provider].word(news, order, access, TELLING, NOW)
    assert say.ask.method == "POST"
    return f"{say.base_url or access.base_url}/{say.ask.path}", json.loads(say.ask.body), dict(say.ask.headers)


def heard(provider: str, news: OrderNews, body: Any, status: int = 200) -> Any:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return OUTBOUNDS[provider].heard(news, Reply(status, {}, raw))


# ---------------------------------------------------------------- PetPooja


def test_petpooja_is_told_of_an_order_as_its_field_table_says():
    url, told, _ = said("petpooja", N.PLACED)
    assert url == "https://orders.example/save_order"
    assert told == {
        **KEYS,
        "orderinfo": {
            "OrderInfo": {
                "Restaurant": {
                    "details": {"res_name": "Amrit Bhavan", "address": "Ahmedabad", "contact_information": "", "restID": "k7x2m9qa"}
                },
                "Customer": {
                    "details": {
                        "email": "", "name": "Riya", "address": "Flat 4, 12 Lake Rd, Ahmedabad, 380001", "phone": "9800000099",
                        "latitude": "23.03", "longitude": "72.58",
                    }
                },
                "Order": {
                    "details": {
                        "orderID": "MK7X2M9A", "preorder_date": "2026-01-05", "preorder_time": "19:05:00", "service_charge": "0",
                        "sc_tax_amount": "0", "delivery_charges": "30.00", "dc_tax_percentage": "0", "dc_tax_amount": "0",
                        "dc_gst_details": [{"gst_liable": "vendor", "amount": "0"}], "packing_charges": "10.00",
                        "pc_tax_percentage": "0", "pc_tax_amount": "0",
                        "pc_gst_details": [{"gst_liable": "restaurant", "amount": "0"}],
                        "order_type": "H", "advanced_order": "N", "payment_type": "ONLINE", "discount_total": "0.00",
                        "discount_type": "F", "tax_total": "0.00", "total": "279.00", "description": "",
                        "created_on": "2026-01-05 19:05:00", "enable_delivery": "0", "min_prep_time": "20",
                        "callback_url": CALLBACK,
                        "collect_cash": "0", "otp": "", "ondc_bap": "", "urgent_order": False, "urgent_time": 20,
                    }
                },
                "OrderItem": {
                    "details": [
                        {
                            "id": "81091", "name": "Garden Pizza (Regular)", "gst_liability": "vendor", "tax_inclusive": True,
                            "item_tax": [], "item_discount": "0", "price": "239.00", "final_price": "239.00", "quantity": "1",
                            "description": "well done", "variation_name": "Regular", "variation_id": "11",
                            "AddonItem": {
                                "details": [
                                    {
                                        "id": "9001", "name": "Extra cheese", "group_name": "Extra toppings", "price": "40.00",
                                        "group_id": "300", "quantity": "1",
                                    }
                                ]
                            },
                        }
                    ]
                },
                "Tax": {"details": []},
                "Discount": {"details": []},
            }
        },
        "udid": "",
        "device_type": "Web",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("change", "wanted"),
    [
        ({"cash": True}, {"payment_type": "COD", "collect_cash": "279.00"}),
        ({"fulfilment": Fulfilment.PICKUP, "address": None}, {"order_type": "P", "enable_delivery": "0"}),
        ({"fulfilment": Fulfilment.STORE_DELIVERY}, {"order_type": "H", "enable_delivery": "1"}),
    ],
)
def test_petpooja_is_told_who_brings_it_and_who_collects_the_cash(change: dict[str, Any], wanted: dict[str, str]):
    _, told, _ = said("petpooja", N.PLACED, replace(ORDER, **change))
    details = told["orderinfo"]["OrderInfo"]["Order"]["details"]
    assert {name: details[name] for name in wanted} == wanted


def test_petpooja_is_told_that_it_will_not_be_and_where_its_rider_is():
    url, told, _ = said("petpooja", N.CANCELLED, replace(ORDER, status=OrderStatus.CANCELLED, reason=ReasonCode.CUSTOMER_ASKED))
    assert url == "https://pos.example/V1/update_order_status"
    assert told == {
        **KEYS, "restID": "k7x2m9qa", "orderID": "", "clientorderID": "MK7X2M9A",
        "cancelReason": "Customer cancelled", "status": "-1",
    }  # fmt: skip
    url, told, _ = said("petpooja", N.RIDER_ASSIGNED)
    assert url == "https://pos.example/V1/rider_status_update"
    assert told == {
        **KEYS, "order_id": "MK7X2M9A", "outlet_id": "k7x2m9qa", "status": "rider-assigned",
        "rider_data": {"rider_name": "Imran", "rider_phone_number": "9800000077"}, "external_order_id": "",
    }  # fmt: skip
    words = [said("petpooja", news)[1]["status"] for news in (N.RIDER_AT_STORE, N.RIDER_LEFT, N.RIDER_DELIVERED)]
    assert words == ["rider-arrived", "pickedup", "delivered"]


def test_petpoojas_answers_are_read():
    yes = {"success": "1", "message": "saved", "restID": "k7x2m9qa", "clientOrderID": "MK7X2M9A", "orderID": "31"}
    assert heard("petpooja", N.PLACED, yes) == Taken("31")
    assert heard("petpooja", N.RIDER_LEFT, {"code": "200", "status": "success", "message": "updated"}) == Taken()
    no = {"success": "0", "message": "Validation failed", "errorCode": "SO_105", "validation_errors": {"phone": ["is wrong"]}}
    assert heard("petpooja", N.PLACED, no) == NotUnderstood('SO_105: Validation failed: {"phone": ["is wrong"]}')
    assert heard("petpooja", N.PLACED, no, 400) == NotUnderstood('SO_105: Validation failed: {"phone": ["is wrong"]}')
    assert heard("petpooja", N.PLACED, {"success": "0", "message": "Order already exists"}) == Taken()
    for saved in ("Order MK7X2M9A was already placed", "Duplicate order id"):
        assert heard("petpooja", N.PLACED, {"success": "0", "message": saved}) == Taken()
    for lost in ("Restaurant is already closed", "Item already out of stock", "Duplicate items", "already cancelled"):
        assert isinstance(heard("petpooja", N.PLACED, {"success": "0", "message": lost}), NotUnderstood)
    assert heard("petpooja", N.CANCELLED, {"success": "0", "message": "Order already cancelled"}) == Taken()
    assert isinstance(heard("petpooja", N.CANCELLED, {"success": "0", "message": "already dispatched"}), NotUnderstood)
    assert isinstance(heard("petpooja", N.PLACED, {"success": "0", "message": "busy"}, 503), NotNow)
    assert isinstance(heard("petpooja", N.PLACED, b"<html>", 502), NotNow)
    assert isinstance(heard("petpooja", N.PLACED, b"<html>", 404), NotUnderstood)
    assert isinstance(heard("petpooja", N.PLACED, b"<html>", 200), NotNow)


# ---------------------------------------------------------------- UrbanPiper


def test_a_till_behind_urbanpipers_dialect_is_told_of_an_order():
    pizza = replace(PIZZA, id="I-GP+O-LRG", size="Large", quantity=2, total=Money(47800, "INR"))
    url, told, headers = said("urbanpiper", N.PLACED, replace(ORDER, lines=(pizza,)))
    assert url == "https://till.example/hooks/order_placed"
    assert headers == {
        "content-type": "application/json", "x-upr-event-type": "18", "x-upr-biz-id": "77", "x-request-id": str(TELLING),
        "x-till-token": "a-token",
    }  # fmt: skip
    details = told["order"]["details"]
    assert (details["id"], details["merchant_ref_id"], details["order_state"]) == ("MK7X2M9A", "MK7X2M9A", "Placed")
    assert (details["created"], details["delivery_datetime"]) == (1767620100000, 1767620100000 + 40 * 60_000)
    assert (details["order_subtotal"], details["total_charges"], details["order_total"]) == (239.0, 40.0, 279.0)
    assert details["charges"] == [
        {"title": "Packaging", "value": 10.0, "taxes": []},
        {"title": "Delivery", "value": 30.0, "taxes": []},
    ]
    assert details["ext_platforms"][0]["extras"] == {
        "order_otp": "", "cash_to_be_collected": 0, "deliver_asap": True, "can_reject_order": True,
    }  # fmt: skip
    assert told["order"]["items"] == [
        {
            "id": 1, "merchant_id": "I-GP", "title": "Garden Pizza (Regular)", "price": 199.0, "quantity": 2, "total": 478.0,
            "total_with_tax": 478.0, "discount": 0.0, "instructions": "well done", "charges": [], "taxes": [],
            "options_to_add": [
                {"merchant_id": "O-LRG", "title": "Large", "price": 0.0, "quantity": 1, "total_price": 0.0},
                {"merchant_id": "9001", "title": "Extra cheese", "price": 40.0, "quantity": 1, "total_price": 80.0},
            ],
        }
    ]  # fmt: skip
    assert told["order"]["store"]["merchant_ref_id"] == "k7x2m9qa"
    assert told["order"]["next_states"] == ["Acknowledged", "Cancelled"]
    assert told["customer"]["phone"] == "+919800000099"


def test_what_is_told_again_is_told_with_the_state_of_by_then():
    _, told, _ = said("urbanpiper", N.PLACED, replace(ORDER, status=OrderStatus.READY, promised_at=NOW + timedelta(minutes=5)))
    assert told["order"]["details"]["order_state"] == "Food Ready"
    assert told["order"]["details"]["delivery_datetime"] == 1767620100000 + 300_000


@pytest.mark.parametrize(
    ("news", "state"),
    [
        (N.ACCEPTED, "Acknowledged"),
        (N.READY, "Food Ready"),
        (N.LEFT, "Dispatched"),
        (N.DELIVERED, "Completed"),
        (N.CANCELLED, "Cancelled"),
    ],
)
def test_a_till_is_told_what_people_have_made_of_an_order(news: OrderNews, state: str):
    url, told, headers = said("urbanpiper", news, replace(ORDER, reason=ReasonCode.TOO_BUSY))
    assert (url, headers["x-upr-event-type"]) == ("https://till.example/hooks/order_status_update", "60008")
    assert (told["order_id"], told["new_state"], told["store_id"]) == ("MK7X2M9A", state, "k7x2m9qa")
    assert told["additional_info"]["external_channel"]["order_id"] == "MK7X2M9A"
    assert told["message"] == ("Too busy" if news is N.CANCELLED else "")


def test_a_till_is_told_where_the_rider_is():
    url, told, headers = said("urbanpiper", N.RIDER_LEFT)
    assert (url, headers["x-upr-event-type"]) == ("https://till.example/hooks/rider_status_update", "60012")
    assert told["delivery_info"] == {
        "current_state": "out-for-delivery",
        "delivery_person_details": {"name": "Imran", "phone": "+919800000077"},
        "status_updates": [{"status": "out-for-delivery", "created": 1767620100000}],
    }
    words = [said("urbanpiper", one)[1]["delivery_info"]["current_state"] for one in (N.RIDER_ASSIGNED, N.RIDER_AT_STORE)]
    assert words == ["assigned", "at-store"]


def test_an_order_is_taken_where_the_till_answers_with_its_own_number():
    assert heard("urbanpiper", N.PLACED, {"order_ref_id": "POS-31"}) == Taken("POS-31")
    assert isinstance(heard("urbanpiper", N.PLACED, {"status": "ok"}), NotNow)
    assert isinstance(heard("urbanpiper", N.PLACED, b""), NotNow)
    assert isinstance(heard("urbanpiper", N.PLACED, {}, 500), NotNow)
    assert isinstance(heard("urbanpiper", N.PLACED, {}, 401), NotUnderstood)
    assert heard("urbanpiper", N.READY, b"", 204) == Taken()


@pytest.mark.parametrize("header", ["x-a\r\nhost", "", "Content-Length", "Transfer-Encoding", "host", "X-Request-Id"])
def test_a_header_that_is_none_or_not_the_tills_is_said_rather_than_sent(header: str):
    wrong = Access("https://till.example", {"biz_id": "77", "header": header, "value": "b"})
    with pytest.raises(Unsayable):
        OUTBOUNDS["urbanpiper"].word(N.READY, ORDER, wrong, TELLING, NOW)


# ---------------------------------------------------------------- our own WMS


def test_a_warehouse_is_told_with_a_signature_and_may_turn_an_order_down():
    url, told, headers = said("wms", N.PLACED, replace(ORDER, lines=(replace(PIZZA, id=None),), cash=True))
    assert url == "https://wms.example/orders"
    assert (told["type"], told["data"]["order"], told["data"]["location"]) == ("order.placed", "MK7X2M9A", "k7x2m9qa")
    assert told["data"]["lines"] == [
        {
            "sku": "SKU-1", "name": "Garden Pizza (Regular)", "quantity": 1, "unit_price": "239.00", "total": "239.00",
            "choices": ["Extra cheese"], "note": "well done",
        }
    ]  # fmt: skip
    assert told["data"]["cash_due"] == "279.00"
    body = OUTBOUNDS["wms"].word(N.PLACED, replace(ORDER, lines=(replace(PIZZA, id=None),), cash=True), ACCESS["wms"], TELLING, NOW)
    signatures.verify([signatures.secret_bytes(ACCESS["wms"].credentials["secret"])], headers, body.ask.body, NOW)
    no = {"rejected": True, "reason": "out_of_stock", "message": "no pizza"}
    assert heard("wms", N.PLACED, no, 422) == TurnedDown(ReasonCode.OUT_OF_STOCK, "no pizza")
    assert heard("wms", N.PLACED, {**no, "reason": "a whim"}, 422) == TurnedDown(ReasonCode.OTHER, "no pizza")
    assert isinstance(heard("wms", N.PLACED, {"message": "no such SKU"}, 422), NotUnderstood)
    assert heard("wms", N.PLACED, {"reference": "W-1"}, 202) == Taken("W-1")
    assert heard("wms", N.RIDER_LEFT, b"", 204) == Taken()


def test_a_warehouse_with_a_secret_that_is_none_is_not_told():
    with pytest.raises(Unsayable, match="Standard Webhooks"):
        OUTBOUNDS["wms"].word(N.CANCELLED, ORDER, Access("https://wms.example", {"secret": "x"}), TELLING, NOW)


# ---------------------------------------------------------------- all of them


@pytest.mark.parametrize("outbound", OUTBOUNDS.values(), ids=lambda one: one.provider)
def test_nobody_is_told_the_code_the_customer_shows_and_no_secret_is_in_a_repr(outbound: Outbound):
    access = ACCESS[outbound.provider]
    for news in outbound.tells:
        say = outbound.word(news, ORDER, access, TELLING, NOW)
        assert all(value not in repr(say) for value in access.credentials.values() if value.startswith(("<", "a-", "whsec")))
        assert "Riya" not in repr(ORDER)


@pytest.mark.parametrize("provider", ["petpooja", "urbanpiper"])
def test_a_line_that_nobody_has_mapped_is_named(provider: str):
    with pytest.raises(Unmapped, match="Garden Pizza"):
        said(provider, N.PLACED, replace(ORDER, lines=(replace(PIZZA, id=None),)))
