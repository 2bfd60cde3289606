"""Golden payloads, composed from the published field tables."""

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from domain.canonical import (
    AcceptOrder,
    Choice,
    ChoiceGroup,
    DeactivateMissing,
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
from domain.catalog import Diet, ProductKind
from domain.intake import EntityKind, FailureKind, Question, read, translated
from domain.merchants import StoreStatus
from domain.orders import ReasonCode
from domain.pricing import Tax
from domain.refusals import InvalidInput, Problem, Refused, Unauthenticated
from providers.petpooja import Petpooja
from tests.providers.calls import RECEIVED, call, said, source

GST = (Tax("CGST", 250), Tax("SGST", 250))
TILL, STORE = Petpooja(), "k7x2m9qa"
AVAILABILITY = StockMode.AVAILABILITY
MENU = {
    "success": "1",
    "restaurants": [
        {
            "restaurantid": "91012",
            "active": "1",
            "details": {"menusharingcode": STORE, "country": "India", "packaging_applicable_on": "ITEM", "packaging_charge": ""},
        }
    ],
    "ordertypes": [{"ordertypeid": 1, "ordertype": "Delivery"}, {"ordertypeid": 2, "ordertype": "PickUp"}],
    "parentcategories": [{"id": "9", "name": "Main", "rank": "1", "image_url": "", "status": "1"}],
    "categories": [{"categoryid": "700", "active": "1", "parent_category_id": "9", "categoryname": "Pizza"}],
    "items": [
        {
            "itemid": "81001",
            "item_tax": "501,502",
            "tax_inclusive": False,
            "itemname": "Garden Pizza",
            "itemdescription": "Capsicum, corn",
            "item_categoryid": "700",
            "item_attributeid": "1",
            "itemrank": "3",
            "item_ordertype": "1,2",
            "price": "0.00",
            "active": "1",
            "in_stock": "2",
            "itemallowvariation": "1",
            "itemallowaddon": "1",
            "itemaddonbasedon": "1",
            "item_packingcharges": "10.00",
            "minimumpreparationtime": "15",
            "item_image_url": "https://img.example/81001.jpg",
            "nutrition": {"protien": "ignored"},
            "variation": [
                {
                    "id": "81091",
                    "variationid": "11",
                    "name": "Regular",
                    "price": "199.00",
                    "active": "1",
                    "item_packingcharges": "10.00",
                    "variationrank": "1",
                    "variationallowaddon": 1,
                    "addon": [{"addon_group_id": "300", "addon_item_selection_min": "0", "addon_item_selection_max": "2"}],
                },
                {
                    "id": "81092",
                    "variationid": "12",
                    "name": "Large",
                    "price": "349.00",
                    "active": "1",
                    "item_packingcharges": "15.00",
                    "variationrank": "2",
                    "variationallowaddon": 0,
                    "addon": [],
                },
            ],
            "addon": [],
        }
    ],
    "addongroups": [
        {
            "addongroupid": "300",
            "addongroup_name": "Extra toppings",
            "addongroup_rank": "1",
            "active": "1",
            "addongroupitems": [
                {
                    "addonitemid": "9001",
                    "addonitem_name": "Extra cheese",
                    "addonitem_price": "40.00",
                    "active": "1",
                    "addonitem_rank": "1",
                }
            ],
        }
    ],
    "attributes": [{"attributeid": "1", "attribute": "veg", "active": "1"}],
    "taxes": [
        {"taxid": "501", "taxname": "CGST", "tax": "2.5", "taxtype": "1", "active": "1", "tax_taxtype": "1"},
        {"taxid": "502", "taxname": "SGST", "tax": "2.5", "taxtype": "1", "active": "1", "tax_taxtype": "1"},
    ],
    "discounts": [],
    "variations": [{"variationid": "11", "name": "deprecated"}],
    "serverdatetime": "2026-01-0511:33:13",
    "http_code": 200,
}


def test_a_menu_is_said_in_the_order_of_the_industrys_table():
    batch = said(TILL, "menu", MENU, STORE)
    cheese = Choice(id="9001", title="Extra cheese", price_minor=4000, rank=1)
    toppings = ChoiceGroup(id="300", title="Extra toppings", least=0, most=2, choices=(cheese,), variants=("81091",))
    assert list(batch.commands) == [
        UpdateStoreStatus(store=STORE, status=StoreStatus.OPEN),
        UpsertCatalogItem(
            store=STORE,
            item="81001",
            title="Garden Pizza",
            kind=ProductKind.MENU_ITEM,
            description="Capsicum, corn",
            diet=Diet.VEG,
            category=("Main", "Pizza"),
            images=("https://img.example/81001.jpg",),
        ),
        UpsertMenuItem(
            store=STORE,
            item="81001",
            sections=("700",),
            rank=3,
            order_types=("delivery", "pickup"),
            packaging_minor=1000,
            prep_minutes=15,
            groups=(toppings,),
        ),
        UpsertVariant(store=STORE, variant="81091", item="81001", title="Regular", rank=1, size_id="11"),
        UpsertVariant(store=STORE, variant="81092", item="81001", title="Large", rank=2, size_id="12"),
        UpdatePrice(store=STORE, variant="81091", price_minor=19900, packaging_minor=1000, taxes=GST),
        UpdatePrice(store=STORE, variant="81092", price_minor=34900, packaging_minor=1500, taxes=GST),
        UpdateStockLevel(store=STORE, id="81001", kind=EntityKind.PRODUCT, mode=AVAILABILITY, available=True),
        DeactivateMissing(store=STORE, present=("81091", "81092")),
    ]
    assert not batch.problems


def test_an_item_without_variations_is_its_own_only_form():
    item = {"itemid": 5, "itemname": "Lassi", "price": 60, "in_stock": 0, "active": True}
    commands = said(TILL, "menu", {**MENU, "items": {"0": item}}, STORE).commands
    assert UpsertVariant(store=STORE, variant="5", item="5") in commands
    assert UpdatePrice(store=STORE, variant="5", price_minor=6000) in commands
    assert UpdateStockLevel(store=STORE, id="5", kind=EntityKind.PRODUCT, mode=AVAILABILITY, available=False) in commands


def test_what_is_inactive_is_not_shown_and_not_priced():
    sizes = [{**MENU["items"][0]["variation"][0], "active": "0"}, MENU["items"][0]["variation"][1]]
    commands = said(TILL, "menu", {**MENU, "items": [{**MENU["items"][0], "variation": sizes}]}, STORE).commands
    assert [(one.variant, one.active) for one in commands if isinstance(one, UpsertVariant)] == [("81091", False), ("81092", True)]
    assert [one.variant for one in commands if isinstance(one, UpdatePrice)] == ["81092"]


@pytest.mark.parametrize(("types", "active"), [("3", False), ("3, 2", True), ("1", True), ("2", True), ("", True), (None, True)])
def test_what_is_eaten_at_the_table_alone_is_not_shown(types, active):
    commands = said(TILL, "menu", {**MENU, "items": [{**MENU["items"][0], "item_ordertype": types}]}, STORE).commands
    assert [one.active for one in commands if isinstance(one, UpsertVariant)] == [active] * 2
    assert len([one for one in commands if isinstance(one, UpdatePrice)]) == (2 if active else 0)
    assert [one.available for one in commands if isinstance(one, UpdateStockLevel)] == [active]
    assert commands[-1] == DeactivateMissing(store=STORE, present=("81091", "81092"))


@pytest.mark.parametrize(
    ("item", "tax", "taxes"),
    [
        ({}, {}, GST),
        ({"item_tax": 501}, {}, GST[:1]),
        ({"tax_inclusive": True}, {}, tuple(replace(one, inclusive=True) for one in GST)),
        ({"item_tax": "501"}, {"tax_taxtype": 2}, (Tax("CGST", 250, inclusive=True),)),
        ({"item_tax": "501"}, {"taxtype": "2", "tax": "7.50"}, (Tax("CGST", amount_minor=750),)),
        ({}, {"active": "0"}, GST[1:]),
        ({"ignore_taxes": "1"}, {}, ()),
        ({"item_tax": ""}, {}, None),  # says nothing: what is there stays
    ],
)
def test_what_an_item_is_taxed_is_kept_with_its_price(item, tax, taxes):
    menu = {**MENU, "items": [{**MENU["items"][0], **item}], "taxes": [{**MENU["taxes"][0], **tax}, MENU["taxes"][1]]}
    batch = said(TILL, "menu", menu, STORE)
    assert {one.taxes for one in batch.commands if isinstance(one, UpdatePrice)} == {taxes}
    assert not batch.problems


def test_a_tax_that_cannot_be_right_is_said_once_and_keeps_no_item_from_the_shelf():
    taxes = [{**MENU["taxes"][0], "tax": "250"}, {**MENU["taxes"][1], "tax": "2.125"}]
    item = {**MENU["items"][0], "item_tax": "501,502,503"}
    batch = said(
        TILL, "menu", {**MENU, "items": [item, {**item, "itemid": "81002", "variation": [], "price": "1"}], "taxes": taxes}, STORE
    )
    assert [f"{one.path}: {one.message}" for one in batch.problems] == [
        "$.taxes[0].tax: 250 is more than all of it",
        "$.taxes[1].tax: 2.125 is finer than the minor unit",
        "$.items[0].item_tax: 503 is no tax of this menu",
        "$.items[1].item_tax: 503 is no tax of this menu",
    ]
    assert [one.taxes for one in batch.commands if isinstance(one, UpdatePrice)] == [None] * 3


def test_what_is_wrong_with_many_taxes_is_not_compared_each_with_all(monkeypatch):
    compared = 0
    same = Problem.__eq__

    def counting(self: Problem, other: object) -> bool:
        nonlocal compared
        compared += 1
        return same(self, other)

    items = [{"itemid": str(n), "itemname": "x", "price": "1", "item_tax": "503"} for n in range(1_000)]
    monkeypatch.setattr(Problem, "__eq__", counting)
    assert len(said(TILL, "menu", {**MENU, "items": items}, STORE).problems) == 1_000
    assert compared < 10_000


def test_bad_items_are_left_out_each_with_all_its_problems_and_are_present_still():
    bad = {"itemid": "6", "itemname": " ", "price": "12.345", "in_stock": "maybe", "addon": [{"addon_group_id": "404"}]}
    batch = said(TILL, "menu", {**MENU, "items": [bad, MENU["items"][0]]}, STORE)
    assert [f"{one.path}: {one.message}" for one in batch.problems] == [
        "$.items[0].in_stock: is neither yes nor no",
        "$.items[0].itemname: is missing",
        "$.items[0].price: 12.345 is finer than the minor unit",
        "$.items[0].addon[0].addon_group_id: 404 is no group of this menu",
    ]
    assert batch.commands[-1] == DeactivateMissing(store=STORE, present=("6", "81091", "81092"))


@pytest.mark.parametrize(
    ("bad", "path", "message"),
    [
        ({"itemname": "No id", "price": "1"}, ".itemid", "is missing"),
        ({"itemid": {"id": 6}, "itemname": "x", "price": "1"}, ".itemid", "is no text"),
        ({"itemid": "6" * 201, "itemname": "x", "price": "1"}, ".itemid", "is longer than 200 characters"),
        ({"itemid": "6", "itemname": "x", "variation": [{"name": "Large", "price": "1"}]}, ".variation[0].id", "is missing"),
        ({"itemid": "6", "itemname": "x", "price": "1", "variation": {"id": "61"}}, ".variation", "is no list"),
    ],
)
def test_where_an_id_cannot_be_read_nothing_is_taken_away(bad, path, message):
    batch = said(TILL, "menu", {**MENU, "items": [bad, MENU["items"][0]]}, STORE)
    assert not [one for one in batch.commands if isinstance(one, DeactivateMissing)]
    assert [one.item for one in batch.commands if isinstance(one, UpsertCatalogItem)] == ["81001"]
    assert [f"{one.path}: {one.message}" for one in batch.problems] == [
        f"$.items[0]{path}: {message}",
        "$.items: nothing is taken away: nobody can tell what $.items[0] is",
    ]


def test_a_group_is_read_once_however_many_items_link_to_it():
    items = [{**MENU["items"][0], "itemid": str(n), "variation": [], "addon": [{"addon_group_id": "300"}]} for n in range(3)]
    menus = [one for one in said(TILL, "menu", {**MENU, "items": items}, STORE).commands if isinstance(one, UpsertMenuItem)]
    assert len({id(one.groups[0].choices) for one in menus}) == 1
    worst = [{"addonitemid": n} for n in range(2)]  # wrong in each of them
    groups = [{"addongroupid": "300", "addongroupitems": worst}]
    batch = said(TILL, "menu", {**MENU, "items": [*items, {**items[0], "itemid": "9", "addon": []}], "addongroups": groups}, STORE)
    assert [one.path.rpartition(".items")[2] for one in batch.problems] == [
        f"$.addongroups[0].addongroupitems[{n}].addonitem_name" for n in (0, 1, 0, 0)
    ]
    assert [one.item for one in batch.commands if isinstance(one, UpsertCatalogItem)] == ["9"]


def test_what_offers_everything_with_everything_is_refused(monkeypatch):
    monkeypatch.setattr("providers.petpooja.MOST_CHOICES", 2)
    items = [{**MENU["items"][0], "itemid": str(n), "variation": [], "addon": [{"addon_group_id": "300"}]} for n in range(3)]
    assert said(TILL, "menu", {**MENU, "items": items[:2]}, STORE).commands
    reading = read(TILL, call("menu", {**MENU, "items": items}), source(TILL, STORE))
    assert [one.message for one in reading.problems] == ["offer more than 2 add-ons, with all the items together"]


def test_a_menu_without_a_good_item_is_refused_whole():
    reading = read(TILL, call("menu", {**MENU, "items": [{"itemid": "1", "itemname": "x", "price": "-1"}]}), source(TILL, STORE))
    assert reading.refused
    assert reading.wrong is not None
    assert reading.wrong.message == "$.items[0].price: -1 is out of range"


STOCK = {"restID": STORE, "type": "item", "inStock": False, "itemID": ["81001", "81092"]}


@pytest.mark.parametrize("ids", [["81001", "81092"], {"0": "81001", "1": 81092}, [81001, "81092", "81092"]])
@pytest.mark.parametrize("off", [False, "0", 0, "false"])
def test_items_go_off_until_a_time_of_the_outlets_clock(ids, off):
    told = {**STOCK, "itemID": ids, "inStock": off, "autoTurnOnTime": "custom", "customTurnOnTime": "2026-01-05 18:30"}
    back = datetime(2026, 1, 5, 13, 0, tzinfo=UTC)
    assert said(TILL, "inventory", told, STORE).commands == [
        UpdateStockLevel(store=STORE, id=id, kind=EntityKind.PRODUCT, mode=AVAILABILITY, available=False, restore_at=back)
        for id in ("81001", "81092")
    ]


@pytest.mark.parametrize(
    ("more", "back"),
    [
        ({"autoTurnOnTime": "endofday"}, datetime(2026, 1, 5, 18, 30, tzinfo=UTC)),
        ({"autoTurnOnTime": "", "customTurnOnTime": ""}, None),
        ({"autoTurnOnTime": "custom", "customTurnOnTime": "2025-12-31 10:00"}, None),  # a time that is over
        ({"inStock": "1", "autoTurnOnTime": "custom", "customTurnOnTime": "2026-01-05 18:30"}, None),
    ],
)
def test_when_they_come_back(more, back):
    assert {one.restore_at for one in said(TILL, "inventory", {**STOCK, **more}, STORE).commands} == {back}


def test_add_ons_go_off_too():
    (one,) = said(TILL, "inventory", {**STOCK, "type": "addon", "itemID": ["9001"]}, STORE).commands
    assert (one.kind, one.id, one.available) == (EntityKind.MODIFIER, "9001", False)


def test_all_that_is_wrong_is_said_at_once():
    with pytest.raises(Refused) as no:
        said(TILL, "inventory", {"restID": STORE, "type": "shop", "inStock": "?", "itemID": []}, STORE)
    assert isinstance(no.value.refusal, InvalidInput)
    assert [problem.path for problem in no.value.refusal.problems] == ["$.type", "$.inStock"]


def test_the_outlets_status():
    told = {"restID": STORE, "store_status": "0", "turn_on_time": "2026-01-06 10:00:00", "reason": "Kitchen maintenance"}
    back = datetime(2026, 1, 6, 4, 30, tzinfo=UTC)
    assert said(TILL, "store-status", told, STORE).commands == [
        UpdateStoreStatus(store=STORE, status=StoreStatus.CLOSED, reason="Kitchen maintenance", reopen_at=back)
    ]
    assert said(TILL, "store-status", {"restID": STORE, "store_status": 1}, STORE).commands == [
        UpdateStoreStatus(store=STORE, status=StoreStatus.OPEN)
    ]
    for door in ("get-store-status", "store-status"):
        assert TILL.translate(call(door, {"restID": STORE}), source(TILL, STORE)) == Question(STORE)


CALLBACK = {
    "restID": STORE,
    "orderID": "MK-100045",
    "status": "1",
    "cancel_reason": "",
    "minimum_prep_time": 20,
    "minimum_delivery_time": "",
    "rider_name": "",
    "rider_phone_number": "",
    "is_modified": "No",
}
MINE = {"store": STORE, "order": "MK-100045"}
IMRAN = {"rider_name": "Imran", "rider_phone": "9800000077"}
RIDER = {"rider_name": "Imran", "rider_phone_number": 9800000077}


@pytest.mark.parametrize(
    ("more", "command"),
    [
        ({}, AcceptOrder(**MINE, prep_minutes=20)),
        ({"status": 2, "minimum_prep_time": "15"}, AcceptOrder(**MINE, prep_minutes=15)),
        ({"status": "3", "minimum_prep_time": ""}, AcceptOrder(**MINE)),
        ({"orderID": 100045}, AcceptOrder(store=STORE, order="100045", prep_minutes=20)),
        ({"status": "5", **RIDER}, OrderStatus(**MINE, status=OrderWord.READY, **IMRAN)),
        ({"status": 4, **RIDER}, OrderStatus(**MINE, status=OrderWord.DISPATCHED, **IMRAN)),
        ({"status": "10"}, OrderStatus(**MINE, status=OrderWord.DELIVERED)),
        (
            {"status": -1, "cancel_reason": "Paneer finished"},
            RejectOrder(**MINE, reason=ReasonCode.OUT_OF_STOCK, message="Paneer finished"),
        ),
        ({"status": "-1"}, RejectOrder(**MINE)),
    ],
)
def test_what_became_of_an_order(more, command):
    batch = said(TILL, "order-status", {**CALLBACK, **more}, STORE)
    assert list(batch.commands) == [command]
    assert not batch.problems


@pytest.mark.parametrize(
    ("reason", "code"),
    [
        ("Item OUT OF STOCK", ReasonCode.OUT_OF_STOCK),
        ("We are closing early", ReasonCode.CLOSING),
        ("Too busy right now", ReasonCode.TOO_BUSY),
        ("Customer asked for it", ReasonCode.CUSTOMER_ASKED),
        ("No rider", ReasonCode.VEHICLE),
        ("Address is too far", ReasonCode.TOO_FAR),
        ("Because", ReasonCode.OTHER),
    ],
)
def test_why_it_was_turned_down_is_read_from_a_sentence(reason, code):
    (one,) = said(TILL, "order-status", {**CALLBACK, "status": "-1", "cancel_reason": reason}, STORE).commands
    assert (one.reason, one.message) == (code, reason)


def test_an_order_is_accepted_whatever_stands_for_its_preparation_time():
    batch = said(TILL, "order-status", {**CALLBACK, "minimum_prep_time": "20 Minutes"}, STORE)
    assert list(batch.commands) == [AcceptOrder(**MINE)]
    assert [problem.path for problem in batch.problems] == ["$.minimum_prep_time"]


def test_a_callback_that_says_nothing_we_know_is_kept_and_answered_200():
    for told, paths in (
        ({**CALLBACK, "status": "7"}, ["$.status"]),
        ({**CALLBACK, "status": None, "orderID": ""}, ["$.orderID", "$.status"]),
        ({**CALLBACK, "status": {"1": 1}, "cancel_reason": []}, ["$.status", "$.cancel_reason"]),
    ):
        reading = translated(TILL, call("order-status", told), source(TILL, STORE))
        assert reading.refused
        assert [problem.path for problem in reading.problems] == paths
    no = TILL.refuse(call("order-status", CALLBACK), 400, "$.status: is missing")
    assert (no.status, no.body["status"]) == (200, "failed")
    assert TILL.refuse(call("order-status", CALLBACK), 503, "later").status == 503  # not kept
    assert TILL.refuse(call("order-status", CALLBACK), 401, "Unknown restID").status == 400


def test_only_its_own_outlets_are_the_sources():
    TILL.verify(call("inventory", STOCK), source(TILL, STORE))
    TILL.verify(call("inventory", STOCK), source(TILL))  # mapped to none yet: what it says waits
    TILL.verify(call("menu", MENU), source(TILL, STORE))
    for door, body in (("inventory", STOCK), ("menu", MENU)):
        with pytest.raises(Refused) as no:
            TILL.verify(call(door, body), source(TILL, "another"))
        assert no.value.refusal == Unauthenticated("Unknown restID")
    for broken in (b"", b"[]", b"\xff", b'{"restID": {}}'):
        reading = read(TILL, call("inventory", broken), source(TILL, STORE))
        assert reading.wrong is not None
        assert reading.wrong.kind is FailureKind.VALIDATION


def test_the_shapes_of_its_answers():
    id = source(TILL).id
    assert TILL.acknowledge(call("menu", MENU), id).body == {"success": "1", "message": "Menu accepted"}
    assert TILL.acknowledge(call("inventory", STOCK), id).body == {"code": "200", "status": "success", "message": "Stock updated"}
    assert TILL.acknowledge(call("store-status", {}), id).body["http_code"] == "200"
    kept = {"http_code": "200", "status": "success", "message": "Order status updated"}
    assert TILL.acknowledge(call("order-status", {}), id).body == kept
    no = TILL.refuse(call("inventory", STOCK), 401, "Unknown restID")
    assert (no.status, no.body) == (400, {"code": "400", "status": "failed", "message": "Unknown restID"})
    assert TILL.refuse(call("menu", MENU), 400, "no").body == {"success": "0", "message": "no"}
    assert TILL.refuse(call("menu", MENU), 503, "later").status == 503
    for status, flag in ((StoreStatus.OPEN, "1"), (StoreStatus.BUSY, "1"), (StoreStatus.PAUSED, "0"), (StoreStatus.CLOSED, "0")):
        assert TILL.answer(call("get-store-status", {}), status).body["store_status"] == flag
    assert datetime(2026, 1, 5, 13, tzinfo=UTC) > RECEIVED
