"""Golden payloads of the in-house WMS."""

from datetime import UTC, datetime

import pytest

from domain.canonical import (
    OrderItem,
    OrderStatus,
    OrderWord,
    StockMode,
    UpdatePrice,
    UpdateStockLevel,
    UpdateStoreStatus,
    UpsertCatalogItem,
    UpsertVariant,
)
from domain.intake import read
from domain.merchants import StoreStatus
from domain.stock import StockMovementKind
from providers.wms import Wms
from tests.providers.calls import call, said, source

WMS, STORE = Wms(), "BLR_DS1"
AT = datetime(2026, 1, 5, 10, 15, 2, tzinfo=UTC)
KIND = StockMovementKind


def told(kind: str, **data):
    return {"type": kind, "timestamp": "2026-01-05T10:15:02Z", "data": data}


def level(mode: StockMode, quantity: int, movement: KIND, **more) -> UpdateStockLevel:
    return UpdateStockLevel(**{"store": STORE, "id": "TEA-250", "at": AT} | more, mode=mode, quantity=quantity, movement=movement)


def short(order: str = "MK-1", **counted) -> OrderStatus:
    item = OrderItem(id="TEA-250", **counted)
    return OrderStatus(store=STORE, order=order, status=OrderWord.ITEM_SHORT, items=(item,), at=AT)


LINE = {"location": STORE, "sku": "TEA-250"}
GOLDEN = [
    (
        told(
            "stock.snapshot",
            location=STORE,
            lines=[{"sku": "TEA-250", "available": "12", "version": 3}, {"sku": "B", "available": 0}],
        ),
        [level(StockMode.ABSOLUTE, 12, KIND.COUNTED, version=3), level(StockMode.ABSOLUTE, 0, KIND.COUNTED, id="B")],
    ),
    (
        told("stock.adjusted", **LINE, delta="-2", reason="damage", version=8812, resulting_available="10"),
        [level(StockMode.ABSOLUTE, 10, KIND.COUNTED, version=8812, reason="damage")],
    ),
    (
        told("stock.adjusted", **LINE, delta="-2", reason="damage", version=8812),
        [level(StockMode.DELTA, -2, KIND.ADJUSTED, version=8812, reason="damage")],
    ),
    (
        told(
            "receipt.completed",
            receipt_id="R1",
            location=STORE,
            lines=[{"sku": "TEA-250", "accepted_qty": "24", "rejected_qty": "1"}],
        ),
        [level(StockMode.DELTA, 24, KIND.RECEIVED, reason="receipt R1")],
    ),
    (
        told(
            "return.restocked",
            return_id="X",
            location=STORE,
            lines=[{"sku": "TEA-250", "qty": "1", "condition": "good"}, {"sku": "TEA-250", "qty": "4", "condition": "damaged"}],
        ),
        [level(StockMode.DELTA, 1, KIND.RETURNED, reason="return X")],
    ),
    (
        told(
            "transfer.dispatched",
            **{"transfer_id": "T1", "from": STORE, "to": "BLR_DS2", "lines": [{"sku": "TEA-250", "qty": "5"}]},
        ),
        [level(StockMode.DELTA, -5, KIND.TRANSFERRED, reason="transfer T1")],
    ),
    (
        told(
            "transfer.received", **{"transfer_id": "T1", "from": STORE, "to": "BLR_DS2", "lines": [{"sku": "TEA-250", "qty": "5"}]}
        ),
        [level(StockMode.DELTA, 5, KIND.TRANSFERRED, reason="transfer T1", store="BLR_DS2")],
    ),
    (
        told("pick.short", **LINE, order_id="MK-1", ordered_qty="2", picked_qty="1", location_empty=True, version=8813),
        [
            short(ordered=2, found=1),
            level(StockMode.ABSOLUTE, 0, KIND.COUNTED, version=8813, reason="pick short"),
        ],
    ),
    (told("pick.short", **LINE, order_id=77, ordered_qty=2), [short(ordered=2, order="77")]),
    (told("pick.short", **LINE, order_id="MK-1", ordered_qty="2", picked_qty="2"), []),
    (
        told("pick.short", **LINE, location_empty="1"),  # of no order: the shelf alone
        [level(StockMode.ABSOLUTE, 0, KIND.COUNTED, reason="pick short")],
    ),
    (told("pick.short", **LINE, order_id="MK-1", ordered_qty="2", picked_qty="1", version=8813), [short(ordered=2, found=1)]),
    (
        told("store.status", location=STORE, open=False, reason="flood", until="2026-01-06T04:30:00Z"),
        [
            UpdateStoreStatus(
                store=STORE, status=StoreStatus.CLOSED, reason="flood", at=AT, reopen_at=datetime(2026, 1, 6, 4, 30, tzinfo=UTC)
            )
        ],
    ),
    (
        told(
            "price.updated",
            sku="TEA-250",
            mrp="210.00",
            price="189.00",
            currency="INR",
            effective_from="2026-02-01T00:00:00Z",
            version=4,
        ),
        [
            UpdatePrice(
                variant="TEA-250",
                price_minor=18900,
                mrp_minor=21000,
                at=AT,
                version=4,
                effective_from=datetime(2026, 2, 1, tzinfo=UTC),
            )
        ],
    ),
    (
        told("item.upserted", sku="TEA-250", parent="TEA", title="250 g", attributes={"size": "250g"}, version=2),
        [UpsertVariant(variant="TEA-250", item="TEA", title="250 g", at=AT, version=2)],
    ),
    (
        told("item.upserted", sku="TEA", title="Assam Tea", brand="Leafy", attributes={"grade": "FOP"}, category="Tea", version=2),
        [
            UpsertCatalogItem(
                item="TEA", title="Assam Tea", brand="Leafy", category=("Tea",), attributes=(("grade", "FOP"),), at=AT, version=2
            ),
            UpsertVariant(variant="TEA", item="TEA", at=AT, version=2),
        ],
    ),
]


@pytest.mark.parametrize(("body", "commands"), GOLDEN, ids=[body["type"] for body, _ in GOLDEN])
def test_what_each_event_says(body, commands):
    batch = said(WMS, "stock", body)
    assert list(batch.commands) == commands
    assert not batch.problems


def test_a_bad_line_is_left_out_and_the_others_stand():
    lines = [
        {"sku": "A", "available": "-1"},
        {"sku": "B", "available": "1.5"},
        {"available": "x"},
        {"sku": "D", "available": "7.0"},
    ]
    batch = said(WMS, "stock", told("stock.snapshot", location=STORE, lines=lines))
    assert [one.id for one in batch.commands] == ["D"]
    assert [f"{one.path}: {one.message}" for one in batch.problems] == [
        "$.data.lines[0].available: -1 is out of range",
        "$.data.lines[1].available: 1.5 does not come out whole",
        "$.data.lines[2].available: 'x' is no number",
        "$.data.lines[2].sku: is missing",
    ]


@pytest.mark.parametrize(
    ("body", "said_of_it"),
    [
        ({"type": "stock.guessed", "timestamp": "2026-01-05T10:15:02Z", "data": {}}, "$.type: 'stock.guessed' is none of"),
        ({"timestamp": "soon"}, "$.type: is missing\n$.timestamp: 'soon' is no time\n$.data: is missing"),
        (told("stock.snapshot", location=STORE) | {"timestamp": "2026-01-09T10:15:02Z"}, "is more than 24 hours ahead"),
        (told("price.updated", sku="A", price="12", mrp="10"), "$.data.price: 12.00 is above the MRP, 10.00"),
        (b'{"type": 1e400}', "$.data: is missing"),
        (b"[" * 100_000, "$: not JSON"),
    ],
)
def test_what_says_nothing_is_refused_with_all_its_problems(body, said_of_it):
    reading = read(_Trusting(), call("stock", body), source(WMS))
    assert reading.refused
    assert reading.wrong is not None
    assert said_of_it in reading.wrong.message


class _Trusting(Wms):
    def verify(self, call, source) -> None:
        """Who signed is another test's."""


def test_the_id_of_the_message_is_the_id_of_the_news():
    one = call("stock", {})
    assert WMS.event_id(type(one)(one.door, one.body, {"webhook-id": "msg_1"}, one.received_at)) == "webhook-id:msg_1"


def test_who_is_refused_hears_the_status_that_http_has_for_it():
    assert WMS.refuse(call("stock", {}), 401, "no").status == 401
