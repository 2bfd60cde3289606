"""Golden payloads of Vinculum: what its pull API answers, as a relay pushes it."""

import json
from datetime import UTC, datetime
from urllib.parse import parse_qs

import pytest

from domain.access import Access, Ask, AskFailed, Reply
from domain.canonical import StockMode, UpdatePrice, UpdateStockLevel, UpsertCatalogItem, UpsertVariant
from domain.intake import Batch, read
from domain.pulling import News, Unknown
from domain.refusals import InvalidInput, Refused
from providers.vinculum import CODES, Vinculum
from tests.providers.calls import RECEIVED, call, said, source

VINCULUM = Vinculum()
ROW = {"skuCode": "TEA-250", "location": "DS1", "qty": "20", "bucket": "Good", "committedQty": "15"}
TEA = {
    "skuCode": "TEA-250",
    "skuName": "Assam Tea 250 g",
    "classification": "Variant",
    "parentSKU": "TEA",
    "size": "250g",
    "color": "",
    "brand": "Leafy",
    "mrp": "210.000",
    "salePrice": "189.000",
    "taxCategory": "GST5",
    "isActive": "yes",
    "isSaleable": "yes",
}


def warehouse(*rows, **more):
    return {"responseCode": 0, "responseMessage": "Success", "hasMore": False, "response": list(rows), **more}


def level(quantity: int, **more) -> UpdateStockLevel:
    return UpdateStockLevel(**{"store": "DS1", "id": "TEA-250", "mode": StockMode.ABSOLUTE, "quantity": quantity} | more)


def items(*rows):
    return {"responseCode": 0, "responseMessage": "Success", "response": {"totalPages": 1, "skuList": list(rows)}}


def problems(batch: Batch) -> list[str]:
    return [f"{one.path}: {one.message}" for one in batch.problems]


# ---------------------------------------------------------------- stock

COUNTS = [
    ("what is good and not committed", warehouse(ROW), [level(5)]),
    (
        "other buckets are no count",
        warehouse(ROW, ROW | {"bucket": "Bad", "qty": "3"}, ROW | {"bucket": "In process", "qty": "x"}),
        [level(5)],
    ),
    ("numbers and decimals that come out whole", warehouse(ROW | {"qty": 20.5, "committedQty": 0.5}), [level(20)]),
    ("more committed than there is", warehouse(ROW | {"committedQty": "21"}), [level(0)]),
    ("rows of one place are one level", warehouse(ROW, ROW | {"qty": "2.000", "committedQty": ""}), [level(7)]),
    ("no location", warehouse({"skuCode": 104487, "qty": 4}), [level(4, store=None, id="104487")]),
    (
        "two places and two SKUs",
        warehouse(ROW, ROW | {"location": "DS2"}, ROW | {"skuCode": "RICE-1K"}),
        [level(5), level(5, store="DS2"), level(5, id="RICE-1K")],
    ),
    (
        "inventoryStatus, by SKU",
        {
            "responseCode": 0,
            "response": {
                "totalPages": 1,
                "currentPage": 1,
                "inventoryMap": [
                    {"TEA-250": [{"skuCode": "TEA-250", "location": "DS1", "qty": 10, "committedQty": 4}]},
                    {"104487": [{"skuCode": "104487", "location": "DS1", "qty": 0, "committedQty": 0}]},
                ],
            },
        },
        [level(6), level(0, id="104487")],
    ),
    (
        "inventoryStatus of old",
        {"responseCode": 0, "inventoryMap": {"TEA-250": {"skuCode": "TEA-250", "qty": 10}}},
        [level(10, store=None)],
    ),
    (
        "the end of its window",
        warehouse(ROW, toDate="05/01/2026 10:05:00"),
        [level(5, at=datetime(2026, 1, 5, 4, 35, tzinfo=UTC))],
    ),
    ("nothing new", warehouse(), []),
    ("nothing found", {"responseCode": "911", "responseMessage": "No records", "response": None}, []),
]


@pytest.mark.parametrize(("body", "commands"), [one[1:] for one in COUNTS], ids=[one[0] for one in COUNTS])
def test_what_each_answer_says_of_the_stock(body, commands):
    batch = said(VINCULUM, "stock", body, "DS1")
    assert list(batch.commands) == commands
    assert not batch.problems


def test_a_bad_row_is_left_out_and_the_others_stand():
    rows = [
        ROW,
        ROW | {"skuCode": "B", "qty": "16.5"},
        ROW | {"skuCode": "C", "qty": None},
        ROW | {"skuCode": ""},
        "row",
        ROW | {"skuCode": "D", "qty": "9", "committedQty": "two"},
    ]
    batch = said(VINCULUM, "stock", warehouse(*rows), "DS1")
    assert list(batch.commands) == [level(5)]
    assert problems(batch) == [
        "$.response[1].qty: 1.5 does not come out whole",
        "$.response[2].qty: is missing",
        "$.response[3].skuCode: is missing",
        "$.response[4]: is no object",
        "$.response[4].qty: is missing",
        "$.response[4].skuCode: is missing",
        "$.response[5].committedQty: 'two' is no number",
    ]


def test_a_level_of_which_one_row_cannot_be_read_stays_untold():
    batch = said(VINCULUM, "stock", warehouse(ROW, ROW | {"qty": "?"}), "DS1")
    assert not batch.commands
    assert problems(batch) == ["$.response[1].qty: '?' is no number"]


# ---------------------------------------------------------------- SKUs


def test_a_variant_is_a_form_of_its_parent_and_has_a_price():
    batch = said(VINCULUM, "items", items(TEA), "DS1")
    assert list(batch.commands) == [
        UpsertVariant(store="DS1", variant="TEA-250", item="TEA", title="250g"),
        UpdatePrice(store="DS1", variant="TEA-250", price_minor=18900, mrp_minor=21000),
    ]


def test_a_style_is_a_product_and_comes_before_its_forms():
    style = {"skucode": "TEA", "skuName": "Assam Tea", "classification": "Style", "brand": "Leafy", "mrp": "210", "color": "amber"}
    batch = said(VINCULUM, "items", items(TEA, style), "DS1")
    assert list(batch.commands)[:2] == [
        UpsertCatalogItem(item="TEA", title="Assam Tea", brand="Leafy", attributes=(("color", "amber"),)),
        UpsertVariant(store="DS1", variant="TEA-250", item="TEA", title="250g"),
    ]
    assert len(batch.commands) == 3


def test_what_is_neither_is_a_product_and_its_only_form():
    rice = {"skuCode": "RICE-1K", "skuName": "Rice", "classification": "Normal", "salePrice": "", "mrp": 64, "isSaleable": "no"}
    batch = said(VINCULUM, "items", [rice | {"imageURL": "https://img.example/r.jpg", "desc": "Sona masuri"}], "DS1")
    assert list(batch.commands) == [
        UpsertCatalogItem(item="RICE-1K", title="Rice", description="Sona masuri", images=("https://img.example/r.jpg",)),
        UpsertVariant(store="DS1", variant="RICE-1K", item="RICE-1K", active=False),
        UpdatePrice(store="DS1", variant="RICE-1K", price_minor=6400, mrp_minor=6400),
    ]


def test_what_is_said_of_a_sku_holds_in_every_store():
    batch = said(VINCULUM, "items", items(TEA), "DS1", "DS2")
    assert [(type(one).__name__, one.store) for one in batch.commands] == [
        ("UpsertVariant", "DS1"),
        ("UpsertVariant", "DS2"),
        ("UpdatePrice", "DS1"),
        ("UpdatePrice", "DS2"),
    ]
    assert [one.store for one in said(VINCULUM, "items", items(TEA)).commands] == [None, None]


@pytest.mark.parametrize(
    ("rupees", "paise"), [("189.000", 18900), ("189.005", 18901), ("189.004", 18900), (0.995, 100), ("1,189.5", 118950)]
)
def test_the_third_decimal_is_rounded_half_up(rupees, paise):
    batch = said(VINCULUM, "items", items(TEA | {"salePrice": rupees, "mrp": "2000.000"}), "DS1")
    assert batch.commands[-1].price_minor == paise


@pytest.mark.parametrize("unset", ["", "0.000", 0, None])
def test_an_amount_that_is_not_set_says_nothing(unset):
    batch = said(VINCULUM, "items", items(TEA | {"salePrice": unset, "mrp": unset}), "DS1")
    assert [type(one) for one in batch.commands] == [UpsertVariant]


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"salePrice": "211"}, "salePrice: 211.00 is above the MRP, 210.00"),
        ({"salePrice": "1.0005"}, "salePrice: 1.0005 is finer than the thousandth of a rupee"),
        ({"salePrice": "-1"}, "salePrice: -1 is out of range"),
        ({"salePrice": "1e40", "mrp": ""}, "salePrice: 1E+40 is out of range"),
        ({"skuName": ""}, "skuName: is missing"),
        ({"skuCode": None}, "skuCode: is missing"),
        ({"isActive": "perhaps"}, "isActive: is neither yes nor no"),
    ],
)
def test_a_row_that_cannot_be_right_is_left_out_with_its_reason(change, problem):
    batch = said(VINCULUM, "items", items(TEA | change, TEA), "DS1")
    assert len(batch.commands) == 2
    assert problems(batch) == [f"$.response.skuList[0].{problem}"]


# ---------------------------------------------------------------- what says nothing


@pytest.mark.parametrize("code", sorted(CODES))
def test_an_error_that_comes_with_200_is_one(code):
    with pytest.raises(Refused) as no:
        said(VINCULUM, "stock", {"responseCode": code, "responseMessage": "Sorry"}, "DS1")
    assert isinstance(no.value.refusal, InvalidInput)
    assert no.value.refusal.message == f"$.responseCode: {code}: {CODES[code]} (Sorry)"


@pytest.mark.parametrize(
    ("body", "said_of_it"),
    [
        (b"<html>", "$: not JSON"),
        (b'{"responseCode": 0}', "$.response: is missing"),
        (b'{"responseCode": 99999}', "$.responseCode: 99999: an error of theirs"),
        (b'{"responseCode": "ok", "response": []}', "$.responseCode: 'ok' is no number"),
        (b'{"response": [], "toDate": "31/02/2026 10:00:00"}', "$.toDate: '2026-02-31 10:00:00' is no time"),
        (b'{"response": [], "toDate": "07/01/2026 10:00:00"}', "is more than 24 hours ahead"),
        (b'{"response": [[[[[[]]]]]]}', "is no row"),
        (b"7", "$: is no object"),
    ],
)
def test_what_says_nothing_is_refused_with_its_reason(body, said_of_it):
    reading = read(VINCULUM, call("stock", body), source(VINCULUM, "DS1"))
    assert reading.refused
    assert reading.wrong is not None
    assert said_of_it in reading.wrong.message


def test_the_id_of_the_message_is_the_id_of_the_news():
    one = call("stock", {})
    assert VINCULUM.event_id(type(one)(one.door, one.body, {"webhook-id": "msg_1"}, one.received_at)) == "webhook-id:msg_1"


def test_it_is_answered_as_it_answers():
    assert VINCULUM.refuse(call("stock", {}), 401, "no").body == {"responseCode": 401, "responseMessage": "no"}
    assert VINCULUM.refuse(call("stock", {}), 401, "no").status == 401


@pytest.mark.parametrize(
    ("code", "news", "message"),
    [
        (812, ["DS1", "DS2"], "GONE: 812: there is no such location"),
        (3050, ["DS1", "DS2"], "GONE: 3050: the stock cannot be told"),
        (11, ["DS1"], "11: the credentials are wrong"),  # so they are for all of them
    ],
)
def test_one_location_that_cannot_be_told_of_does_not_keep_the_others_from_being_asked(code, news, message):
    talk = VINCULUM.talk(Access("https://x.example", {}), source(VINCULUM, "DS1", "GONE", "DS2"), RECEIVED, RECEIVED)
    told: list[str] = []

    def until_it_ends() -> None:
        body, asked = b"", next(talk)
        while True:
            if isinstance(asked, News):
                told.append(asked.key.partition(":")[0])
            elif isinstance(asked, Unknown):
                body = b""  # it knows them all
            elif isinstance(asked, Ask):
                location = json.loads(parse_qs(asked.body.decode())["RequestBody"][0])["locCode"]
                body = json.dumps({"responseCode": code} if location == "GONE" else warehouse(ROW)).encode()
            asked = talk.send(Reply(200, {}, body))

    with pytest.raises(AskFailed) as failed:
        until_it_ends()
    assert told == news
    assert failed.value.message == message


def described(skus: list[str], detail) -> tuple[list[list[str]], list[str], str]:
    """Which it is asked to tell of, call by call, the keys of what is kept, and why it fails in the end."""
    talk = VINCULUM.talk(Access("https://x.example", {}), source(VINCULUM, "DS1"), RECEIVED, RECEIVED)
    calls: list[list[str]] = []
    kept: list[str] = []
    body, said = b"", next(talk)
    try:
        while True:
            if isinstance(said, News):
                kept.append(f"{said.door} {said.key}")
            elif isinstance(said, Unknown):
                assert list(said.skus) == skus
                body = "\n".join(skus).encode()
            elif said.path.endswith("skuDetail"):
                calls.append(json.loads(parse_qs(said.body.decode())["RequestBody"][0])["skuCodes"])
                body = json.dumps(detail(calls[-1])).encode()
            else:
                body = json.dumps(warehouse(*(ROW | {"skuCode": sku} for sku in skus))).encode()
            said = talk.send(Reply(200, {}, body))
    except StopIteration:
        return calls, kept, ""
    except AskFailed as failed:
        return calls, kept, failed.message


def test_new_skus_are_asked_for_a_hundred_at_a_time_and_each_batch_is_followed_by_its_products():
    skus = [f"TEA-{n}" for n in range(150)]

    def detail(asked):  # the products of all are asked for once, and what they say of others leads nowhere
        return items(*(TEA | {"skuCode": sku, "parentSKU": "TEA" if sku in skus else f"{sku}+"} for sku in asked))

    calls, kept, failed = described(skus, detail)
    assert calls == [skus[:100], ["TEA", *skus[100:]]]
    assert kept[1:] == [f"pulled-items {RECEIVED.isoformat()}:{n}" for n in (1, 2)]
    assert not failed


@pytest.mark.parametrize("code", [911, 918, 2022])
def test_what_it_does_not_know_either_is_no_failure(code):
    assert described(["A"], lambda _: {"responseCode": code}) == ([["A"]], ["pulled-stock DS1:" + RECEIVED.isoformat() + ":1"], "")


@pytest.mark.parametrize(("code", "calls"), [(11, 1), (3050, 2)])
def test_an_error_of_what_tells_of_skus_names_it(code, calls):
    made, _, failed = described([f"TEA-{n}" for n in range(101)], lambda _: {"responseCode": code})
    assert len(made) == calls
    assert failed == f"skuDetail: {code}: {CODES[code]}"


def test_more_new_skus_than_may_be_asked_for_at_once_are_asked_for_the_next_time():
    calls, _, failed = described([f"RICE-{n}" for n in range(4001)], lambda asked: {"responseCode": 911})
    assert [len(one) for one in calls] == [100] * 40
    assert failed == "there are more than 4000 new SKUs: it is asked of the others next time"


def test_page_by_page_it_is_asked_what_is_new_and_no_more_is_kept_than_can_be_asked_for():
    talk = VINCULUM.talk(Access("https://x.example", {}), source(VINCULUM, "DS1"), RECEIVED, RECEIVED)
    pages, details = 0, 0

    def until_it_ends() -> None:
        nonlocal pages, details
        said = next(talk)
        while True:
            body = b""
            if isinstance(said, Unknown):
                assert len(said.skus) == 200
                body = "\n".join(said.skus).encode()
            elif isinstance(said, Ask) and said.path.endswith("skuDetail"):
                details += 1
                body = b'{"responseCode": 911}'
            elif isinstance(said, Ask):
                pages += 1
                told = warehouse(*(ROW | {"skuCode": f"SKU-{pages}-{n}"} for n in range(200)))
                body = json.dumps(told | {"hasMore": pages < 50}).encode()
            said = talk.send(Reply(200, {}, body))

    with pytest.raises(AskFailed, match="more than 4000 new SKUs"):
        until_it_ends()
    assert (pages, details) == (50, 40)
