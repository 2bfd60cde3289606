"""Golden payloads of Unicommerce: what Uniware calls a marketplace with, and what it tells of its warehouses."""

import base64
import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest

from domain.access import Access, Ask, AskFailed, Reply
from domain.canonical import AcceptOrder, OrderItem, OrderStatus, OrderWord, RejectOrder, StockMode, UpdateStockLevel
from domain.intake import Batch, Call, TokenAsked, translated
from domain.money import Money
from domain.orders import Fulfilment
from domain.orders import OrderStatus as Status
from domain.places import Point, PostalAddress
from domain.pricing import Charge, ChargeKind
from domain.pulling import News, Unknown
from domain.questions import GoodsAsked, GoodsCounted, Ordered, OrderedItem, OrdersAsked, SoldForm, SoldProduct
from domain.refusals import InvalidInput, Refused
from domain.stock import StockMovementKind
from providers.unicommerce import AUTH_TOKEN, NOTIFICATIONS, OAUTH_TOKEN, Unicommerce
from tests.providers.calls import RECEIVED, call, said, source

UNI, STORE = Unicommerce(), "BLR_DS1"
TEA = {"productId": "P-900", "variantId": "V-900-250", "inventory": "12", "hsnCode": "0902", "facilityCode": STORE}
RICE = {"productId": "P-901", "variantId": "V-901-1K", "inventory": "0", "hsnCode": "1006", "facilityCode": STORE}
CANCELLED = {
    "saleOrderCode": "MK-100045",
    "shippingPackageCode": "SP-77",
    "displayOrderCode": "MK-100045",
    "facilityCode": STORE,
    "items": [{"itemCode": "MK-100045-1", "itemSku": "TEA-250", "cancellationReason": "INVENTORY_NOT_FOUND"}],
}
MOVED = {
    "itemTypeSKU": "TEA-250",
    "itemBarcode": "",
    "quantity": 10,
    "receivedQuantity": 9,
    "pendingQuantity": 1,
    "inventoryType": "GOOD_INVENTORY",
    "gatePassItemStatus": "CLOSED",
    "shelfCode": "DEFAULT",
    "unitPrice": 180.0,
}
GATEPASS = {
    "code": "GP-501",
    "statusCode": "CLOSED",
    "type": "STOCK_TRANSFER",
    "toPartyName": "BLR_DS2",
    "created": "1767600000000",
    "updated": "1767603600000",
    "gatePassItemDTOs": [MOVED],
}
UPDATED = datetime(2026, 1, 5, 9, 0, tzinfo=UTC)
KIND = StockMovementKind


def level(id: str, quantity: int, store: str | None = STORE) -> UpdateStockLevel:
    return UpdateStockLevel(store=store, id=id, mode=StockMode.ABSOLUTE, quantity=quantity)


def moved(quantity: int, store: str | None, movement: KIND, kind: str, at: datetime | None = UPDATED) -> UpdateStockLevel:
    return UpdateStockLevel(
        store=store,
        id="TEA-250",
        mode=StockMode.DELTA,
        quantity=quantity,
        movement=movement,
        at=at,
        reason=f"gatepass GP-501 {kind}",
        once="gatepass GP-501 from  TEA-250" if quantity > 0 else "gatepass GP-501 TEA-250",
    )


def problems(batch: Batch) -> list[str]:
    return [f"{one.path}: {one.message}" for one in batch.problems]


def asking(door: str, **query: str) -> Any:
    asked = replace(call(door, b"", **query), method="GET")
    return UNI.translate(asked, source(UNI, STORE))


# ---------------------------------------------------------------- tokens


def basic(username: str, password: str) -> dict[str, str]:
    return {"authorization": "Basic " + base64.b64encode(f"{username}:{password}".encode()).decode()}


@pytest.mark.parametrize(
    ("door", "asked"),
    [
        (AUTH_TOKEN, replace(call(AUTH_TOKEN, b"", username="me", password="it"), method="GET")),
        (AUTH_TOKEN, call(AUTH_TOKEN, {"username": "me", "password": "it"})),
        (OAUTH_TOKEN, replace(call(OAUTH_TOKEN, b"grant_type=client_credentials"), headers=basic("me", "it"))),
        (OAUTH_TOKEN, call(OAUTH_TOKEN, {"client_id": "me", "client_secret": "it"})),
        (
            OAUTH_TOKEN,
            replace(
                call(OAUTH_TOKEN, b"grant_type=password&username=me&password=it"),
                headers={"content-type": "application/x-www-form-urlencoded; charset=utf-8"},
            ),
        ),
    ],
)
def test_a_token_is_asked_for_in_every_way_it_has(door: str, asked: Call):
    assert UNI.asked(asked) == TokenAsked("me", "it")
    assert "it" not in repr(UNI.asked(asked))


@pytest.mark.parametrize("body", [{}, {"username": "me"}, b"[]", b"{", {"username": {}, "password": []}])
def test_what_asks_for_no_token_is_refused(body):
    with pytest.raises(Refused) as no:
        UNI.asked(call(AUTH_TOKEN, body))
    assert isinstance(no.value.refusal, InvalidInput)
    with pytest.raises(Refused):
        UNI.asked(replace(call(OAUTH_TOKEN, b""), headers={"authorization": "Basic ?"}))


def test_a_token_comes_in_the_words_of_its_door():
    assert UNI.issued(call(AUTH_TOKEN, {}), "tok", 60).body == {"status": "SUCCESS", "accessToken": "tok"}
    assert UNI.issued(call(OAUTH_TOKEN, {}), "tok", 60).body == {"access_token": "tok", "token_type": "bearer", "expires_in": 60}
    assert UNI.refuse(call(AUTH_TOKEN, {}), 401, "no").body == {"status": "INVALID_CREDENTIALS", "message": "no"}
    assert UNI.refuse(call(AUTH_TOKEN, {}), 400, "what?").body == {"status": "FAILED", "message": "what?"}
    assert UNI.refuse(call(OAUTH_TOKEN, {}), 401, "no").body == {"error": "invalid_client", "error_description": "no"}


# ---------------------------------------------------------------- stock


def test_a_push_says_how_many_there_are_in_each_facility():
    batch = said(UNI, "inventory", {"inventoryList": [TEA, RICE]}, STORE)
    assert list(batch.commands) == [level("V-900-250", 12), level("V-901-1K", 0)]
    assert not batch.problems


@pytest.mark.parametrize(
    ("row", "command"),
    [
        ({"variantId": 42, "inventory": 7}, level("42", 7, None)),
        ({"productId": "P-1", "variantId": "", "inventory": "7.0", "facilityCode": 9}, level("P-1", 7, "9")),
        (TEA | {"inventory": " 1,200 "}, level("V-900-250", 1200)),
    ],
)
def test_types_are_read_liberally(row, command):
    assert list(said(UNI, "inventory", {"inventoryList": {"0": row}}, STORE).commands) == [command]


def test_rows_that_cannot_be_right_are_named_and_the_others_taken():
    rows = [TEA, RICE | {"inventory": "-3"}, {"inventory": "2.5", "productId": None}, "row", RICE]
    body = {"inventoryList": rows}
    batch = said(UNI, "inventory", body, STORE)
    assert list(batch.commands) == [level("V-900-250", 12), level("V-901-1K", 0)]
    assert problems(batch) == [
        "$.inventoryList[1].inventory: -3 is out of range",
        "$.inventoryList[2].variantId: is missing",
        "$.inventoryList[2].inventory: 2.5 does not come out whole",
        "$.inventoryList[3]: is no object",
        "$.inventoryList[3].variantId: is missing",
        "$.inventoryList[3].inventory: is missing",
    ]
    assert UNI.acknowledge(call("inventory", body), UUID(int=1)).body == {
        "status": "PARTIAL_SUCCESS",
        "failedProductList": [
            {"productId": "P-901", "variantId": "V-901-1K", "message": "inventory -3 is out of range"},
            {"productId": "", "variantId": "", "message": "variantId is missing; inventory 2.5 does not come out whole"},
            {
                "productId": "",
                "variantId": "",
                "message": "inventoryList[3] is no object; variantId is missing; inventory is missing",
            },
        ],
    }


def test_a_push_is_answered_as_a_marketplace_answers():
    good, bad = {"inventoryList": [TEA]}, {"inventoryList": [RICE | {"inventory": "many"}]}
    assert UNI.acknowledge(call("inventory", good), UUID(int=1)).body == {"status": "SUCCESS", "failedProductList": []}
    refused = UNI.refuse(call("inventory", bad), 400, "all of it")
    assert refused.body == {
        "status": "FAILED",
        "message": "all of it",
        "failedProductList": [{"productId": "P-901", "variantId": "V-901-1K", "message": "inventory 'many' is no number"}],
    }
    assert UNI.refuse(call("inventory", good), 401, "no").body == {"status": "FAILED", "message": "no", "failedProductList": []}
    assert UNI.refuse(call("inventory", b"{"), 400, "no").body == {"status": "FAILED", "message": "no", "failedProductList": []}


def test_a_push_has_no_id_of_its_own():
    assert UNI.event_id(call("inventory", {"inventoryList": [TEA]})) is None


# ---------------------------------------------------------------- orders


def test_what_was_imported_is_accepted():
    assert list(said(UNI, "orders-acknowledge", {"orderId": "MK-100045"}, STORE).commands) == [AcceptOrder(order="MK-100045")]


def test_an_order_is_cancelled_whole_or_by_its_items():
    item = {"orderItemId": "1", "productId": "P-900", "variantId": "V-900-250", "quantity": 1}
    whole = said(UNI, "orders-cancel", {"orderId": "MK-100045", "cancellationReason": "no stock"}, STORE)
    assert list(whole.commands) == [RejectOrder(order="MK-100045", message="no stock")]
    some = said(UNI, "orders-cancel", {"orderId": 100045, "orderItems": [item, item | {"orderItemId": "2"}]}, STORE)
    assert list(some.commands) == [OrderStatus(order="100045", status=OrderWord.ITEM_CANCELLED, items=(OrderItem(id="V-900-250"),))]
    assert UNI.acknowledge(call("orders-cancel", {}), UUID(int=1)).body == {"status": "SUCCESS"}


@pytest.mark.parametrize(
    ("door", "body", "message"),
    [
        ("orders-acknowledge", {}, "$.orderId: is missing"),
        ("orders-cancel", {"orderId": "1", "orderItems": [{}]}, "$.orderItems[0].variantId: is missing"),
        ("orders-cancel", {"orderId": "1", "orderItems": "all"}, "$.orderItems: is no list"),
        ("inventory", {}, "$.inventoryList: is missing"),
        ("inventory", b"[]", "$: is no object"),
        ("cancelled-items", CANCELLED | {"items": []}, "$.items: is empty"),
        ("cancelled-items", CANCELLED | {"saleOrderCode": ""}, "$.saleOrderCode: is missing"),
        ("gatepass-closed", GATEPASS | {"code": None}, "$.code: is missing"),
        ("gatepass-closed", GATEPASS | {"type": []}, "$.type: is no text"),
        ("gatepass-closed", GATEPASS | {"updated": "soon"}, "$.updated: 'soon' is no time"),
        ("gatepass-closed", GATEPASS | {"updated": "Feb 30, 2026 3:34:35 PM"}, "is no time"),
        ("gatepass-closed", GATEPASS | {"gatePassItemDTOs": None}, "$.gatePassItemDTOs: is missing"),
    ],
)
def test_what_cannot_be_read_is_refused_with_its_reason(door, body, message):
    reading = translated(UNI, call(door, body), source(UNI, STORE))
    assert reading.refused
    assert reading.wrong is not None
    assert message in reading.wrong.message


# ---------------------------------------------------------------- notifications


def test_items_that_were_not_found_are_cancelled():
    batch = said(UNI, "cancelled-items", CANCELLED, STORE)
    assert list(batch.commands) == [
        OrderStatus(
            order="MK-100045",
            store=STORE,
            status=OrderWord.ITEM_CANCELLED,
            items=(OrderItem(id="TEA-250"),),
            message="INVENTORY_NOT_FOUND",
        )
    ]


@pytest.mark.parametrize(
    ("door", "change", "stores", "commands"),
    [
        ("gatepass-closed", {}, ["BLR_DS2"], [moved(9, "BLR_DS2", KIND.TRANSFERRED, "STOCK_TRANSFER")]),
        ("gatepass-closed", {}, [STORE, "BLR_DS2"], [moved(9, "BLR_DS2", KIND.TRANSFERRED, "STOCK_TRANSFER")]),
        ("gatepass-closed", {}, [], [moved(9, "BLR_DS2", KIND.TRANSFERRED, "STOCK_TRANSFER")]),
        ("gatepass-closed", {}, [STORE], []),
        ("gatepass-awaited", {}, [STORE], [moved(-10, STORE, KIND.TRANSFERRED, "STOCK_TRANSFER")]),
        ("gatepass-awaited", {}, [STORE, "BLR_DS2"], [moved(-10, STORE, KIND.TRANSFERRED, "STOCK_TRANSFER")]),
        (
            "gatepass-awaited",
            {"facilityCode": "BLR_DS3"},
            [STORE, "BLR_DS3"],
            [moved(-10, "BLR_DS3", KIND.TRANSFERRED, "STOCK_TRANSFER")],
        ),
        ("gatepass-awaited", {"type": "RETURNABLE"}, [STORE], [moved(-10, STORE, KIND.ADJUSTED, "RETURNABLE")]),
        ("gatepass-closed", {"type": "RETURNABLE"}, [STORE], [moved(9, STORE, KIND.RETURNED, "RETURNABLE")]),
        ("gatepass-closed", {"type": "NON_RETURNABLE"}, [STORE], [moved(-10, STORE, KIND.ADJUSTED, "NON_RETURNABLE")]),
        (
            "gatepass-closed",
            {"type": "Return_to_vendor", "toPartyName": "Leafy"},
            [STORE],
            [moved(-10, STORE, KIND.ADJUSTED, "RETURN_TO_VENDOR")],
        ),
    ],
)
def test_a_gatepass_says_what_left_and_what_came(door, change, stores, commands):
    batch = said(UNI, door, GATEPASS | change, *stores)
    assert list(batch.commands) == commands
    assert not batch.problems


def test_of_a_gatepass_only_what_is_good_and_moved_counts():
    items = [
        MOVED | {"inventoryType": "BAD_INVENTORY"},
        MOVED | {"receivedQuantity": 0},
        MOVED | {"receivedQuantity": "x"},
        MOVED | {"inventoryType": "", "receivedQuantity": "4"},
    ]
    batch = said(UNI, "gatepass-closed", GATEPASS | {"gatePassItemDTOs": items}, "BLR_DS2")
    assert list(batch.commands) == [moved(4, "BLR_DS2", KIND.TRANSFERRED, "STOCK_TRANSFER")]
    assert problems(batch) == ["$.gatePassItemDTOs[2].receivedQuantity: 'x' is no number"]


def test_what_a_gatepass_names_in_several_lines_is_summed():
    items = [MOVED | {"receivedQuantity": 4}, MOVED | {"receivedQuantity": 5}]
    (one,) = said(UNI, "gatepass-closed", GATEPASS | {"gatePassItemDTOs": items}, "BLR_DS2").commands
    assert one == moved(9, "BLR_DS2", KIND.TRANSFERRED, "STOCK_TRANSFER")


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("1767603600000", UPDATED),
        (1767603600000, UPDATED),
        ("2026-01-05T09:00:00", UPDATED),
        ("Jul 9, 2024 3:34:35 PM", datetime(2024, 7, 9, 10, 4, 35, tzinfo=UTC)),
        ("Jan 5, 2026, 12:30:00\u202fAM", datetime(2026, 1, 4, 19, 0, tzinfo=UTC)),
        ("", None),
    ],
)
def test_times_come_as_milliseconds_or_as_text(text, moment):
    (one,) = said(UNI, "gatepass-closed", GATEPASS | {"updated": text}, "BLR_DS2").commands
    assert one.at == moment


def test_the_same_news_is_known_by_what_it_is_about():
    assert UNI.event_id(call("gatepass-closed", GATEPASS)) == "gatepass-closed:GP-501:CLOSED:1767603600000"
    assert UNI.event_id(call("cancelled-items", CANCELLED)) == "cancelled-items:MK-100045:MK-100045-1"
    assert UNI.event_id(call("gatepass-closed", GATEPASS | {"updated": None})) is None
    assert UNI.event_id(call("gatepass-closed", b"{")) is None
    many = CANCELLED | {"items": [{"itemCode": f"MK-100045-{n}"} for n in range(90)]}
    unnamed = CANCELLED | {"items": [{"itemSku": "TEA"}, {"itemSku": "RICE"}]}  # two such are not one, and neither are its next two
    assert UNI.event_id(call("cancelled-items", unnamed)) is None
    key, turned = UNI.event_id(call("cancelled-items", many)), CANCELLED | {"items": many["items"][::-1]}
    assert key is not None
    assert len(key) < 100
    assert UNI.event_id(call("cancelled-items", turned)) == key


@pytest.mark.parametrize("door", sorted(NOTIFICATIONS))
def test_a_notification_is_answered_in_its_own_words(door):
    assert UNI.acknowledge(call(door, {}), UUID(int=1)).body == {"status": "Success", "message": "ok"}
    assert UNI.refuse(call(door, {}), 400, "why").body == {"status": "Failed", "message": "why"}


# ---------------------------------------------------------------- what it asks

PRICE = Money(18900, "INR")
SOLD = SoldProduct(
    "P-900",
    "Assam Tea",
    "Malty",
    "Leafy",
    None,
    ["https://img.example/tea.jpg"],
    {"color": "amber"},
    [SoldForm("V-900-250", "250 g", "TEA-250", None, PRICE, Money(21000, "INR"), True, 12, 2, 1)],
)


def test_how_many_products_there_are():
    asked = asking("products-count", publishedStatus="PUBLISHED")
    assert isinstance(asked, GoodsCounted)
    assert (asked.active, asked.shaped(412).body) == (True, {"count": 412})
    assert asking("products-count").active is None


def test_a_page_of_products_as_uniware_reads_it():
    asked = asking("products", pageNumber="3", pageSize="20", publishedStatus="unpublished")
    assert isinstance(asked, GoodsAsked)
    assert (asked.page, asked.size, asked.active) == (3, 20, False)
    assert asked.shaped([SOLD]).body == {
        "products": [
            {
                "id": "P-900",
                "parentTitle": "Assam Tea",
                "brand": "Leafy",
                "commissionPercentage": None,
                "variants": [
                    {
                        "variantId": "V-900-250",
                        "title": "Assam Tea 250 g",
                        "sku": "TEA-250",
                        "size": "250 g",
                        "color": "amber",
                        "live": True,
                        "imageUrl": "https://img.example/tea.jpg",
                        "productUrl": None,
                        "productDescription": "Malty",
                        "itemPrice": {
                            "currency": "INR",
                            "listingPrice": "189.00",
                            "mrp": "210.00",
                            "msp": "189.00",
                            "netSellerPayable": None,
                        },
                        "inventory": 12,
                        "blockedInventory": 2,
                        "pendency": 1,
                    }
                ],
            }
        ]
    }


def test_a_page_of_orders_as_uniware_reads_it():
    query = {"orderDateFrom": "2025-12-21T06:00:00", "orderDateTo": "2026-01-05T11:30:00 05:30", "orderStatus": "CREATED"}
    asked = asking("orders", pageNumber="1", pageSize="50", **query)
    assert isinstance(asked, OrdersAsked)
    assert (asked.since, asked.until) == (datetime(2025, 12, 21, 6, tzinfo=UTC), datetime(2026, 1, 5, 6, tzinfo=UTC))
    assert asked.statuses == {Status.PLACED, Status.ACCEPTED, Status.READY}
    order = Ordered(
        "MK100045",
        Status.PLACED,
        Fulfilment.DELIVERY,
        STORE,
        RECEIVED,
        RECEIVED + timedelta(minutes=30),
        Money(40800, "INR"),
        False,
        [
            Charge(ChargeKind.ITEMS, "Items", Money(37800, "INR"), "items", 1),
            Charge(ChargeKind.DELIVERY, "Delivery", Money(3000, "INR"), "delivery", 1),
        ],
        "Asha",
        PostalAddress("12 4th Cross", None, "Bengaluru", "560034", Point(12.93, 77.62), "+919800000001"),
        [OrderedItem("line-1", "V-900-250", "P-900", "Assam Tea 250 g", "TEA-250", 2, PRICE, Money(37800, "INR"))],
    )
    assert asked.shaped([order]).body == {
        "orders": [
            {
                "id": "MK100045",
                "displayOrderNumber": "MK100045",
                "orderDate": "2026-01-05T06:00:00",
                "orderStatus": "CREATED",
                "sla": "2026-01-05T06:30:00",
                "priority": 1,
                "paymentType": "PREPAID",
                "facilityCode": "BLR_DS1",
                "orderPrice": {
                    "currency": "INR",
                    "totalCashOnDeliveryCharges": "0.00",
                    "totalDiscount": "0.00",
                    "totalGiftCharges": "0.00",
                    "totalStoreCredit": "0.00",
                    "totalPrepaidAmount": "408.00",
                    "totalShippingCharges": "30.00",
                },
                "shippingAddress": {
                    "name": "Asha",
                    "addressLine1": "12 4th Cross",
                    "addressLine2": None,
                    "city": "Bengaluru",
                    "pincode": "560034",
                    "phone": "+919800000001",
                },
                "orderItems": [
                    {
                        "orderItemId": "line-1",
                        "status": "CREATED",
                        "productId": "P-900",
                        "variantId": "V-900-250",
                        "title": "Assam Tea 250 g",
                        "sku": "TEA-250",
                        "quantity": 2,
                        "orderItemPrice": {"currency": "INR", "sellingPrice": "189.00", "totalPrice": "378.00"},
                    }
                ],
            }
        ]
    }
    assert json.dumps(asked.shaped([replace(order, address=None, promised_at=None)]).body)


def test_what_is_not_said_is_asked_as_uniware_means_it():
    asked = asking("orders")
    assert (asked.page, asked.size, asked.statuses) == (1, 50, frozenset())
    assert (asked.until, asked.until - asked.since) == (RECEIVED, timedelta(days=15))
    assert asking("orders", orderStatus="COMPLETE,cancelled").statuses >= {Status.DELIVERED, Status.REJECTED}


def test_every_status_of_ours_is_one_of_theirs():
    for status in Status:
        order = Ordered("N", status, Fulfilment.PICKUP, STORE, RECEIVED, None, PRICE, True, [], "A", None, [])
        assert asking("orders").shaped([order]).body["orders"][0]["orderStatus"] in {
            "PENDING_VERIFICATION",
            "CREATED",
            "COMPLETE",
            "CANCELLED",
        }


@pytest.mark.parametrize(
    ("door", "query", "message"),
    [
        ("products", {"pageNumber": "0"}, "$.pageNumber: 0 is out of range"),
        ("products", {"pageSize": "501"}, "$.pageSize: 501 is out of range"),
        ("products", {"pageSize": "many"}, "$.pageSize: 'many' is no number"),
        ("orders", {"orderStatus": "LOST"}, "$.orderStatus: 'LOST' is none of PENDING_VERIFICATION, CREATED, COMPLETE, CANCELLED"),
        ("orders", {"orderDateFrom": "2020-01-01T00:00:00"}, "$.orderDateFrom: is more than 31 days before orderDateTo"),
        ("orders", {"orderDateTo": "yesterday"}, "$.orderDateTo: 'yesterday' is no time"),
    ],
)
def test_a_question_that_makes_no_sense_is_refused(door, query, message):
    with pytest.raises(Refused) as no:
        asking(door, **query)
    assert isinstance(no.value.refusal, InvalidInput)
    assert no.value.refusal.message == message


def test_one_facility_or_sku_that_cannot_be_told_of_does_not_keep_the_others_from_being_asked():
    """Replies, by what was asked; what is news is what there is of the rest."""
    failing = {"successful": False, "errors": [{"description": "there is none"}]}
    rows = {"successful": True, "inventorySnapshots": [{"itemTypeSKU": "TEA"}, {"itemTypeSKU": "RICE"}]}
    answers = {"BLR_GONE": failing, STORE: rows, "TEA": failing, "RICE": {"successful": True}}
    talk = UNI.talk(Access("https://x.example", {}), source(UNI, "BLR_GONE", STORE), RECEIVED - timedelta(minutes=5), RECEIVED)
    news, body = [], b""

    def until_it_ends() -> None:
        nonlocal body
        asked = next(talk)
        while True:
            match asked:
                case Unknown(skus):
                    body = "\n".join(skus).encode()
                case News():
                    news.append(asked.key.partition(":")[0])
                case Ask(path="/oauth/token"):
                    body = b'{"access_token": "t"}'
                case Ask():
                    of = json.loads(asked.body).get("skuCode") or asked.headers["facility"]
                    body = json.dumps(answers[of]).encode()
            asked = talk.send(Reply(200, {}, body))

    with pytest.raises(AskFailed) as failed:
        until_it_ends()
    assert news == [STORE, "RICE"]
    assert failed.value.message == "BLR_GONE: it does not succeed: there is none"
