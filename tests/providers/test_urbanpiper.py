"""Golden payloads, composed from the published field tables."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

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
from domain.intake import Batch, EntityKind, translated
from domain.merchants import StoreStatus
from domain.orders import ReasonCode
from domain.pricing import Tax
from domain.refusals import InvalidInput, Refused
from providers.urbanpiper import Urbanpiper
from tests.providers.calls import RECEIVED, call, source

HUB, STORE = Urbanpiper(), "ST-01"
AVAILABILITY, ABSOLUTE = StockMode.AVAILABILITY, StockMode.ABSOLUTE
PRODUCT, VARIANT, MODIFIER = EntityKind.PRODUCT, EntityKind.VARIANT, EntityKind.MODIFIER
PIZZA: dict[str, Any] = {
    "ref_id": "I-GP",
    "title": "Garden Pizza",
    "description": "Capsicum, corn",
    "price": 199.0,
    "available": True,
    "sold_at_store": True,
    "current_stock": -1,
    "food_type": "1",
    "recommended": False,
    "category_ref_ids": ["C-PIZ"],
    "weight": 0.35,
    "serves": 1,
    "sort_order": 1,
    "img_url": "https://img.example/gp.jpg",
    "fulfillment_modes": ["delivery", "pickup"],
    "included_platforms": ["ourmarket"],
    "platform_pricing": [{"platform": "ourmarket", "price": 219.0}],
    "tags": {"default": ["vegan"]},
}
SIZE: dict[str, Any] = {
    "ref_id": "G-SIZE",
    "title": "Size",
    "ref_title": "pizza-size",
    "min_selectable": 1,
    "max_selectable": 1,
    "active": True,
    "sort_order": 1,
    "item_ref_ids": ["I-GP"],
}
TOPPINGS: dict[str, Any] = {
    "ref_id": "G-TOP",
    "title": "Toppings",
    "ref_title": "pizza-top",
    "min_selectable": 0,
    "max_selectable": -1,
    "active": True,
    "sort_order": 2,
    "item_ref_ids": ["I-GP"],
}
LARGE: dict[str, Any] = {
    "ref_id": "O-LRG",
    "title": "Large",
    "price": 150.0,
    "available": True,
    "sold_at_store": True,
    "food_type": "1",
    "opt_grp_ref_ids": ["G-SIZE"],
    "nested_opt_grps": ["G-TOP"],
    "sort_order": 1,
}
REGULAR = {**LARGE, "ref_id": "O-REG", "title": "Regular", "price": 0, "nested_opt_grps": [], "sort_order": 0}
CHEESE: dict[str, Any] = {
    "ref_id": "O-CHS",
    "title": "Extra cheese",
    "price": 40.0,
    "available": True,
    "sold_at_store": True,
    "food_type": "1",
    "opt_grp_ref_ids": ["G-TOP"],
    "nested_opt_grps": [],
    "sort_order": 1,
}
MENU: dict[str, Any] = {
    "flush_categories": False,
    "flush_items": False,
    "flush_option_groups": False,
    "flush_options": False,
    "flush_taxes": False,
    "flush_charges": False,
    "categories": [
        {
            "ref_id": "C-PIZ",
            "name": "Pizza",
            "description": "",
            "sort_order": 1,
            "active": True,
            "img_url": None,
            "parent_ref_id": None,
            "translations": [],
        }
    ],
    "items": [PIZZA],
    "option_groups": [SIZE, TOPPINGS],
    "options": [LARGE, CHEESE],
    "taxes": [
        {"code": "CGST_P", "title": "CGST", "active": True, "item_ref_ids": ["I-GP"], "structure": {"value": 2.5}},
        {"code": "SGST_P", "title": "SGST", "active": True, "item_ref_ids": ["I-GP"], "structure": {"value": 2.5}},
    ],
    "charges": [
        {
            "code": "PC_F",
            "title": "Packaging Charge",
            "active": True,
            "item_ref_ids": ["I-GP"],
            "structure": {"applicable_on": "item.quantity", "value": 10.0},
        }
    ],
    "callback_url": "https://pos.example/callback",
}
GST = (Tax("CGST", 250), Tax("SGST", 250))
LASSI: dict[str, Any] = {"ref_id": 5, "title": "Lassi", "price": "60"}
PLAIN = {**MENU, "items": [LASSI], "option_groups": [], "options": [], "charges": []}


def batch_of(door: str, body: Any, *stores: str, path: Mapping[str, str] | None = None, **query: str) -> Batch:
    """As it is called by its own path, else at the standard door."""
    batch = HUB.translate(replace(call(door, body, **query), path=path or {}), source(HUB, *stores))
    assert isinstance(batch, Batch), batch
    return batch


def menu(body: Any, store: str = STORE, *stores: str, **query: str) -> Batch:
    return batch_of("menu", body, *(stores or (STORE,)), path={"store": store}, **query)


def of(batch: Batch, kind: type) -> list[Any]:
    return [command for command in batch.commands if isinstance(command, kind)]


def told(batch: Batch) -> list[str]:
    return [f"{one.path}: {one.message}" for one in batch.problems]


def level(id: str, available: bool, kind: EntityKind = PRODUCT, **more: Any) -> UpdateStockLevel:
    return UpdateStockLevel(**{"store": STORE, **more}, id=id, kind=kind, mode=AVAILABILITY, available=available)


# ---------------------------------------------------------------- the menu


def test_a_menu_is_said_in_the_order_of_the_industrys_table():
    batch = menu(MENU)
    cheese = Choice(id="O-CHS", title="Extra cheese", price_minor=4000, rank=1)
    toppings = ChoiceGroup(id="G-TOP", title="Toppings", least=0, most=1, choices=(cheese,))
    assert list(batch.commands) == [
        UpsertCatalogItem(
            item="I-GP",
            title="Garden Pizza",
            kind=ProductKind.MENU_ITEM,
            description="Capsicum, corn",
            diet=Diet.VEG,
            category=("Pizza",),
            images=("https://img.example/gp.jpg",),
        ),
        UpsertMenuItem(
            store=STORE,
            item="I-GP",
            sections=("C-PIZ",),
            rank=1,
            order_types=("delivery", "pickup"),
            packaging_minor=1000,
            groups=(toppings,),
        ),
        UpsertVariant(store=STORE, variant="I-GP+O-LRG", item="I-GP", title="Large", rank=1),
        UpdatePrice(store=STORE, variant="I-GP+O-LRG", price_minor=36900, packaging_minor=1000, taxes=GST),
        level("I-GP", True),
        level("O-CHS", True, MODIFIER),
    ]
    assert not batch.problems


def test_taxes_are_per_cent_and_stand_by_the_price():
    def taxes(*told: Any, **more: Any) -> list[Any]:
        return [one.taxes for one in of(menu({**PLAIN, "taxes": told, **more}), UpdatePrice)]

    cgst = {"code": "CGST_P", "title": "CGST", "item_ref_ids": [5], "structure": {"value": "2.5"}}
    assert taxes(cgst, {**cgst, "code": "SGST_P", "title": ""}) == [(Tax("CGST", 250), Tax("SGST", 250))]
    assert taxes({**cgst, "active": False}) == [()]
    assert taxes({**cgst, "item_ref_ids": ["another"]}) == [None]  # nothing is said of it
    assert taxes(flush_taxes=True) == [()]
    bad = menu({**PLAIN, "taxes": [cgst, {**cgst, "structure": {"value": 250}}]})
    assert told(bad) == ["$.taxes[1].structure.value: 250 is more than all of it"]
    assert [one.taxes for one in of(bad, UpdatePrice)] == [None]  # as it was before, and on the shelf


def test_an_item_without_sizes_is_its_own_only_form():
    assert list(menu(PLAIN).commands) == [
        UpsertCatalogItem(item="5", title="Lassi", kind=ProductKind.MENU_ITEM),
        UpsertMenuItem(store=STORE, item="5"),
        UpsertVariant(store=STORE, variant="5", item="5"),
        UpdatePrice(store=STORE, variant="5", price_minor=6000),
        level("5", True),
    ]


def test_only_flushed_items_make_it_a_whole_push():
    for flag in ("flush_categories", "flush_option_groups", "flush_options", "flush_taxes", "flush_charges"):
        assert not of(menu({**MENU, flag: True}), DeactivateMissing)
    batch = menu({**MENU, "flush_items": 1, "items": [PIZZA, LASSI]})
    assert batch.commands[-1] == DeactivateMissing(store=STORE, present=("I-GP+O-LRG", "5"))


def test_the_master_menu_is_every_stores():
    for batch in (
        menu({**PLAIN, "flush_items": True}, "-1", "ST-01", "ST-02"),
        batch_of("menu", {**PLAIN, "flush_items": True}, "ST-01", "ST-02"),
    ):
        assert [one.store for one in batch.commands] == [None, *["ST-01", "ST-02"] * 5]
    assert {one.store for one in menu(PLAIN, "-1", "ST-01").commands} == {None, "ST-01"}
    nowhere = batch_of("menu", PLAIN, path={"store": "-1"})  # mapped to none yet: what it says waits for one
    assert {one.store for one in nowhere.commands} == {None}


def test_the_store_is_named_by_the_path_the_query_or_the_body():
    for batch in (
        menu(PLAIN, "ST-02", "ST-01", "ST-02"),
        batch_of("menu", PLAIN, "ST-01", "ST-02", store="ST-02"),
        batch_of("menu", {**PLAIN, "location_ref_id": "ST-02"}, "ST-01", "ST-02"),
    ):
        assert {one.store for one in batch.commands if one.store} == {"ST-02"}


def test_our_own_price_wins_over_the_one_for_all():
    two = [{"platform": "OtherMarket", "price": 205}, {"platform": "OurMarket", "price": 219.0}]
    item = {**LASSI, "platform_pricing": two, "included_platforms": ["othermarket", "ourmarket"]}
    for query, price in (
        ({"platform": "ourmarket"}, 21900),
        ({"platform": "OTHERMARKET"}, 20500),
        ({}, 6000),  # nobody says which of them we are
    ):
        assert [one.price_minor for one in of(menu({**PLAIN, "items": [item]}, **query), UpdatePrice)] == [price]
    one = {**item, "included_platforms": ["ourmarket"]}
    assert [one.price_minor for one in of(menu({**PLAIN, "items": [one]}), UpdatePrice)] == [21900]
    chargeable = {**CHEESE, "platform_pricing": [{"platform": "ourmarket", "price": 45}]}
    (offered,) = of(menu({**MENU, "options": [LARGE, chargeable]}), UpsertMenuItem)
    assert offered.groups[0].choices[0].price_minor == 4500


def test_what_is_not_for_our_platform_is_not_shown():
    batch = menu({**PLAIN, "items": [{**LASSI, "included_platforms": ["other"]}]}, platform="ourmarket")
    assert [one.active for one in of(batch, UpsertVariant)] == [False]
    assert of(batch, UpdatePrice) == []


@pytest.mark.parametrize(
    ("price", "minor"), [(199, 19900), (199.5, 19950), ("199.50", 19950), (218.99999999999997, 21900), (0, 0), (0.1 + 0.2, 30)]
)
def test_a_price_is_what_a_float_meant(price, minor):
    assert [one.price_minor for one in of(menu({**PLAIN, "items": [{**LASSI, "price": price}]}), UpdatePrice)] == [minor]


@pytest.mark.parametrize("price", [12.345, -1, "free", None, 1e300, True, [], {"INR": 1}])
def test_a_price_that_is_none_leaves_the_item_out(price):
    batch = menu({**PLAIN, "items": [{**LASSI, "price": price}, {**LASSI, "ref_id": 6}]})
    assert [one.path for one in batch.problems] == ["$.items[0].price"]
    assert [one.item for one in of(batch, UpsertCatalogItem)] == ["6"]


def test_each_size_is_a_form_with_the_items_price_and_its_own():
    batch = menu({**MENU, "options": [REGULAR, LARGE, CHEESE]})
    assert [(one.variant, one.title) for one in of(batch, UpsertVariant)] == [("I-GP+O-LRG", "Large"), ("I-GP+O-REG", "Regular")]
    assert [(one.variant, one.price_minor) for one in of(batch, UpdatePrice)] == [("I-GP+O-LRG", 36900), ("I-GP+O-REG", 21900)]
    assert of(batch, UpdateStockLevel) == [level("I-GP", True), level("O-CHS", True, MODIFIER)]


def test_a_group_under_a_size_belongs_to_that_size():
    under = {**TOPPINGS, "item_ref_ids": []}
    batch = menu({**MENU, "option_groups": [SIZE, under], "options": [REGULAR, LARGE, CHEESE]})
    (offered,) = of(batch, UpsertMenuItem)
    assert [(group.id, group.variants) for group in offered.groups] == [("G-TOP", ("I-GP+O-LRG",))]
    both = [{**REGULAR, "nested_opt_grps": ["G-TOP"]}, LARGE, CHEESE]
    (offered,) = of(menu({**MENU, "option_groups": [SIZE, under], "options": both}), UpsertMenuItem)
    assert [set(group.variants) for group in offered.groups] == [{"I-GP+O-LRG", "I-GP+O-REG"}]


def test_a_group_under_a_choice_is_offered_beside_it_and_nobody_has_to_take_of_it():
    dip = {**TOPPINGS, "ref_id": "G-DIP", "title": "Dip", "min_selectable": 1, "max_selectable": 1, "item_ref_ids": []}
    mayo = {**CHEESE, "ref_id": "O-MAY", "title": "Mayo", "opt_grp_ref_ids": ["G-DIP"], "nested_opt_grps": ["G-TOP", "G-DIP"]}
    deep = {**MENU, "option_groups": [SIZE, TOPPINGS, dip], "options": [LARGE, {**CHEESE, "nested_opt_grps": ["G-DIP"]}, mayo]}
    (offered,) = of(menu(deep), UpsertMenuItem)  # and groups that go round in a circle come to an end
    assert [(group.id, group.least, group.most, group.variants) for group in offered.groups] == [
        ("G-TOP", 0, 1, ()),
        ("G-DIP", 0, 1, ()),
    ]


def test_one_group_is_the_sizes_and_a_second_of_the_kind_is_a_choice_that_has_to_be_made():
    spice = {**SIZE, "ref_id": "G-HOT", "title": "How hot", "sort_order": 9}
    mild = {**REGULAR, "ref_id": "O-MILD", "title": "Mild", "opt_grp_ref_ids": ["G-HOT"]}
    batch = menu({**MENU, "option_groups": [spice, SIZE], "options": [LARGE, mild]})
    assert [one.variant for one in of(batch, UpsertVariant)] == ["I-GP+O-LRG"]
    (offered,) = of(batch, UpsertMenuItem)
    assert [(group.id, group.least, group.most) for group in offered.groups] == [("G-HOT", 1, 1)]


def test_limits_of_a_group():
    def numbers(least: Any, most: Any) -> list[tuple[int, int]]:
        group = {**TOPPINGS, "min_selectable": least, "max_selectable": most}
        options = [LARGE, CHEESE, {**CHEESE, "ref_id": "O-2"}, {**CHEESE, "ref_id": "O-3"}]
        (offered,) = of(menu({**MENU, "option_groups": [SIZE, group], "options": options}), UpsertMenuItem)
        return [(group.least, group.most) for group in offered.groups]

    assert numbers(0, -1) == [(0, 3)]
    assert numbers("1", "2") == [(1, 2)]
    assert numbers(None, None) == [(0, 3)]
    assert numbers(2, 2) == [(2, 2)]
    batch = menu({**MENU, "items": [PIZZA, LASSI], "option_groups": [SIZE, {**TOPPINGS, "min_selectable": 3, "max_selectable": 2}]})
    assert told(batch) == [
        "$.option_groups[1].min_selectable: 3 is more than the most, 2",
        "$.option_groups[1].min_selectable: 3 have to be taken, and 1 options of it are in this push",
    ]
    assert [one.item for one in of(batch, UpsertCatalogItem)] == ["5"]


def test_what_is_inactive_is_not_offered():
    batch = menu({**MENU, "option_groups": [{**SIZE, "active": False}, {**TOPPINGS, "active": "0"}]})
    assert [one.variant for one in of(batch, UpsertVariant)] == ["I-GP"]
    assert [one.groups for one in of(batch, UpsertMenuItem)] == [()]
    hidden = menu({**PLAIN, "items": [{**LASSI, "sold_at_store": False}]})
    assert [one.active for one in of(hidden, UpsertVariant)] == [False]
    assert of(hidden, UpdatePrice) == []
    assert of(hidden, UpdateStockLevel) == [level("5", False)]
    closed = {**MENU["categories"][0], "active": False}
    assert [one.active for one in of(menu({**MENU, "categories": [closed]}), UpsertVariant)] == [False]


@pytest.mark.parametrize(
    ("modes", "active"),
    [
        (["dine-in"], False),
        (["Dine_In"], False),
        (["dine_in", "pickup"], True),
        (["delivery"], True),
        (["Self_Pickup"], True),
        (["takeaway"], True),
        ([], True),
        (None, True),
    ],
)
def test_what_is_eaten_at_the_table_alone_is_not_shown(modes, active):
    batch = menu({**PLAIN, "items": [{**LASSI, "fulfillment_modes": modes}]})
    assert [one.active for one in of(batch, UpsertVariant)] == [active]
    assert len(of(batch, UpdatePrice)) == active
    assert of(batch, UpdateStockLevel) == [level("5", active)]


def test_sizes_are_switched_one_by_one_where_some_are_off():
    options = [REGULAR, {**LARGE, "available": False}, CHEESE]
    assert of(menu({**MENU, "options": options}), UpdateStockLevel) == [
        level("I-GP+O-LRG", False, VARIANT),
        level("I-GP+O-REG", True, VARIANT),
        level("O-CHS", True, MODIFIER),
    ]
    off = {**MENU, "items": [{**PIZZA, "available": False}], "options": options}
    assert of(menu(off), UpdateStockLevel)[0] == level("I-GP", False)
    none = {**MENU, "options": [{**LARGE, "available": False}, {**CHEESE, "available": False}]}
    assert of(menu(none), UpdateStockLevel) == [level("I-GP", False), level("O-CHS", False, MODIFIER)]


@pytest.mark.parametrize(("stock", "count"), [(12, 12), ("3", 3), (4.0, 4), (0, 0), (-1, None), (None, None)])
def test_a_count_is_absolute_and_without_one_nothing_is_counted(stock, count):
    levels = of(menu({**PLAIN, "items": [{**LASSI, "current_stock": stock}]}), UpdateStockLevel)
    counted = UpdateStockLevel(store=STORE, id="5", mode=ABSOLUTE, quantity=count)
    assert levels == [level("5", True), *([] if count is None else [counted])]


def test_a_count_of_what_comes_in_several_sizes_says_only_whether_there_is_any():
    for stock, on in ((7, True), (0, False)):
        several = {**MENU, "items": [{**PIZZA, "current_stock": stock}], "options": [REGULAR, LARGE, CHEESE]}
        assert of(menu(several), UpdateStockLevel)[:-1] == [level("I-GP", on)]
    single = {**MENU, "items": [{**PIZZA, "current_stock": 7}]}
    assert UpdateStockLevel(store=STORE, id="I-GP+O-LRG", mode=ABSOLUTE, quantity=7) in menu(single).commands


def test_categories_are_paths_from_the_root():
    main = {"ref_id": "C-MAIN", "name": "Main"}
    pizza = {"ref_id": "C-PIZ", "name": "Pizza", "parent_ref_id": "C-MAIN"}

    def path(*categories: Any, refs: Sequence[str] = ("C-PIZ",)) -> tuple[str, ...]:
        (item,) = of(menu({**PLAIN, "categories": categories, "items": [{**LASSI, "category_ref_ids": refs}]}), UpsertCatalogItem)
        return item.category

    assert path(main, pizza) == ("Main", "Pizza")
    assert path(pizza) == ()  # its parent is known from before, or not at all: what is there stays
    assert path(pizza, {**main, "parent_ref_id": "C-PIZ"}) == ("Main", "Pizza")  # round in a circle
    assert path(main, refs=["C-GONE"]) == ()
    assert path(main, pizza, refs=["C-MAIN", "C-PIZ"]) == ("Main",)


def test_no_path_is_deeper_than_anybody_looks():
    chain = [{"ref_id": f"C{n}", "name": f"N{n}", "parent_ref_id": f"C{n + 1}"} for n in range(1000)]
    (item,) = of(menu({**PLAIN, "categories": chain, "items": [{**LASSI, "category_ref_ids": ["C0"]}]}), UpsertCatalogItem)
    assert item.category == tuple(f"N{n}" for n in reversed(range(20)))


def test_a_push_without_groups_says_nothing_of_what_an_item_comes_in():
    batch = menu({"items": [{**PIZZA, "current_stock": 4}]})
    assert [type(one) for one in batch.commands] == [UpsertCatalogItem, UpdatePrice, UpdateStockLevel, UpdateStockLevel]
    assert of(batch, UpdatePrice) == [UpdatePrice(store=STORE, variant="I-GP", price_minor=21900)]
    assert of(batch, UpdateStockLevel)[1] == UpdateStockLevel(store=STORE, id="I-GP", kind=PRODUCT, mode=ABSOLUTE, quantity=4)
    whole = menu({"items": [PIZZA], "flush_items": True})
    assert [one.variant for one in of(whole, UpsertVariant)] == ["I-GP"]


def test_options_that_belong_to_no_item_of_a_part_are_told():
    batch = menu({"options": [CHEESE], "option_groups": [TOPPINGS]})
    assert told(batch) == ["$.options[0]: is of no item in this push: it is told with its groups and an item that has them"]
    assert not batch.commands
    whole = menu({**PLAIN, "flush_items": True, "options": [CHEESE], "option_groups": [TOPPINGS]})
    assert not whole.problems


def test_bad_items_are_left_out_each_with_all_its_problems_and_are_present_still():
    bad = {"ref_id": "6", "title": " ", "price": "x", "available": "maybe", "current_stock": 1.5, "category_ref_ids": "C"}
    again = {**LASSI, "title": "Twice"}
    batch = menu({**PLAIN, "flush_items": True, "items": [bad, LASSI, again]})
    assert told(batch) == [
        "$.items[0].category_ref_ids: is no list",
        "$.items[0].available: is neither yes nor no",
        "$.items[0].current_stock: 1.5 does not come out whole",
        "$.items[0].price: 'x' is no number",
        "$.items[0].title: is missing",
        "$.items[2].ref_id: 5 comes twice",
    ]
    assert batch.commands[-1] == DeactivateMissing(store=STORE, present=("6", "5"))


@pytest.mark.parametrize(
    ("change", "path", "message"),
    [
        ({"items": [LASSI, {"title": "No id", "price": 1}]}, "$.items[1].ref_id", "is missing"),
        ({"items": [LASSI, {**LASSI, "ref_id": ["5"]}]}, "$.items[1].ref_id", "is no text"),
        ({"items": [LASSI, {**LASSI, "ref_id": "5" * 201}]}, "$.items[1].ref_id", "is longer than 200 characters"),
        ({"options": [{**LARGE, "ref_id": None}]}, "$.options[0].ref_id", "is missing"),
        ({"options": [{**LARGE, "opt_grp_ref_ids": "G-SIZE"}]}, "$.options[0].opt_grp_ref_ids", "is no list"),
        ({"option_groups": [{**SIZE, "ref_id": "", "min_selectable": 0}]}, "$.option_groups[0].ref_id", "is missing"),
        ({"option_groups": [{**SIZE, "item_ref_ids": 5, "min_selectable": 0}]}, "$.option_groups[0].item_ref_ids", "is no list"),
    ],
)
def test_where_it_cannot_be_told_what_is_sold_nothing_is_taken_away(change, path, message):
    batch = menu({**PLAIN, "flush_items": True, **change})
    assert not of(batch, DeactivateMissing)
    assert [one.item for one in of(batch, UpsertCatalogItem)] == ["5"]
    lost = f"$.items: nothing is taken away: nobody can tell what {path} is"
    assert told(batch) == [f"{path}: {message}", lost]


EACH = range(20)
EVERYTHING = {
    "flush_items": True,
    "items": [{"ref_id": f"I{n}", "title": "x", "price": 1} for n in EACH],
    "option_groups": [{"ref_id": "G", "item_ref_ids": [f"I{n}" for n in EACH], "max_selectable": 5}],
    "options": [{"ref_id": f"O{n}", "title": "x", "price": 1, "opt_grp_ref_ids": ["G"]} for n in EACH],
}


def test_what_many_items_offer_is_made_once():
    groups = [group for one in of(menu(EVERYTHING), UpsertMenuItem) for group in one.groups]
    assert len(groups) == 20
    assert len({id(group.choices) for group in groups}) == 1


@pytest.mark.parametrize(
    "change", [{}, {"option_groups": [{**EVERYTHING["option_groups"][0], "min_selectable": 1, "max_selectable": 1}]}]
)
def test_what_offers_everything_with_everything_is_refused(change, monkeypatch):
    assert menu({**EVERYTHING, **change}).commands
    monkeypatch.setattr("providers.urbanpiper_menu.MOST_CHOICES", 19 * 21)
    reading = translated(HUB, call("menu", {**EVERYTHING, **change}), source(HUB, STORE))
    assert [one.path for one in reading.problems] == ["$.option_groups"]
    assert not reading.commands


def test_what_would_be_too_many_commands_over_all_the_stores_is_refused(monkeypatch):
    monkeypatch.setattr("providers.urbanpiper_menu.MOST_COMMANDS", 100)
    assert menu(PLAIN, "-1", *(f"S{n}" for n in range(20))).commands
    plenty = translated(HUB, call("menu", PLAIN, store="-1"), source(HUB, *(f"S{n}" for n in range(30))))
    assert [one.message for one in plenty.problems] == ["says more than 100 things at once, over 30 stores"]
    monkeypatch.setattr("providers.urbanpiper.MOST_COMMANDS", 100)
    off = {"location_ref_id": "-1", "item_ref_ids": ["1", "2", "3", "4"], "action": "disable"}
    switched = translated(HUB, call("inventory", off), source(HUB, *(f"S{n}" for n in range(26))))
    assert [one.path for one in switched.problems] == ["$.item_ref_ids"]
    assert not switched.commands


def test_a_tax_is_of_an_item_once_however_often_it_names_it():
    taxes = [{**MENU["taxes"][0], "item_ref_ids": ["5"] * 1000}, {**MENU["taxes"][1], "item_ref_ids": ["5"]}]
    assert [one.taxes for one in of(menu({**PLAIN, "taxes": taxes}), UpdatePrice)] == [GST]


def test_an_option_that_is_wrong_is_told_once_and_leaves_out_the_items_that_offer_it():
    items = [PIZZA, {**PIZZA, "ref_id": "I-2"}, LASSI]
    groups = [{**SIZE, "item_ref_ids": ["I-GP", "I-2"]}, TOPPINGS]
    options = [{**LARGE, "price": -1, "title": None}, CHEESE]
    batch = menu({**MENU, "flush_items": True, "items": items, "option_groups": groups, "options": options})
    assert told(batch) == ["$.options[0].title: is missing", "$.options[0].price: -1 is out of range"]
    assert [one.item for one in of(batch, UpsertCatalogItem)] == ["5"]
    assert batch.commands[-1] == DeactivateMissing(store=STORE, present=("I-GP+O-LRG", "I-2+O-LRG", "5"))


def test_a_menu_without_a_good_item_takes_nothing_away():
    reading = translated(HUB, call("menu", {"flush_items": True, "items": [{"ref_id": "1"}]}), source(HUB, STORE))
    assert reading.refused
    missing = translated(HUB, call("menu", {"flush_items": True}), source(HUB, STORE))
    assert [one.path for one in missing.problems] == ["$.items"]


@pytest.mark.parametrize(
    "change",
    [
        {"items": {"0": LASSI}},
        {"items": [{**LASSI, "ref_id": "5", "price": 60.0, "available": 1, "sold_at_store": "true", "food_type": 4}]},
        {"flush_items": "false", "categories": {}, "options": "", "charges": None},
    ],
)
def test_types_are_taken_as_they_come(change):
    assert list(menu({**PLAIN, **change}).commands) == list(menu(PLAIN).commands)


def test_packaging_is_of_an_item_or_it_is_the_orders():
    def packaging(**charge: Any) -> int | None:
        one = {"code": "PC_F", "item_ref_ids": [5], "structure": {"applicable_on": "item.quantity", "value": 7.5}} | charge
        (offered,) = of(menu({**PLAIN, "charges": [one]}), UpsertMenuItem)
        return offered.packaging_minor

    assert packaging() == 750
    assert packaging(active=False) is None
    assert packaging(code="DC_F") is None
    assert packaging(structure={"applicable_on": "order.order_subtotal", "value": 7.5}) is None
    flushed = menu({**PLAIN, "flush_charges": True})
    assert [one.packaging_minor for one in of(flushed, UpdatePrice)] == [0]


# ---------------------------------------------------------------- on and off

TOGGLE: dict[str, Any] = {
    "location_ref_id": STORE,
    "platforms": ["ourmarket"],
    "item_ref_ids": ["I-GP"],
    "option_ref_ids": ["O-CHS"],
    "action": "disable",
    "turn_on_at": 1767618000,
}
BACK = datetime(2026, 1, 5, 13, 0, tzinfo=UTC)


@pytest.mark.parametrize("turn_on_at", [1767618000, "1767618000", 1767618000000])
def test_items_and_options_go_off_until_a_time(turn_on_at):
    batch = batch_of("inventory", {**TOGGLE, "turn_on_at": turn_on_at}, STORE)
    assert list(batch.commands) == [
        level("I-GP", False, restore_at=BACK),
        level("O-CHS", False, MODIFIER, restore_at=BACK),
    ]


@pytest.mark.parametrize("turn_on_at", [None, 0, "", 1_500_000_000])  # a time that is over says nothing
def test_without_a_time_they_stay_off(turn_on_at):
    assert {one.restore_at for one in batch_of("inventory", {**TOGGLE, "turn_on_at": turn_on_at}, STORE).commands} == {None}


def test_they_come_on_again():
    told = {**TOGGLE, "action": "Enable", "item_ref_ids": {"0": 7, "1": "7"}, "option_ref_ids": None}
    assert list(batch_of("inventory", told, STORE).commands) == [level("7", True)]


def test_an_action_for_other_platforms_is_not_ours():
    assert not batch_of("inventory", TOGGLE, STORE, platform="another").commands
    for query in ({"platform": "OurMarket"}, {}):
        assert len(batch_of("inventory", TOGGLE, STORE, **query).commands) == 2
    assert len(batch_of("inventory", {**TOGGLE, "platforms": []}, STORE, platform="another").commands) == 2


def test_every_store_may_be_meant():
    batch = batch_of("inventory", {**TOGGLE, "location_ref_id": -1}, "ST-01", "ST-02")
    assert [(one.store, one.id) for one in batch.commands] == [
        ("ST-01", "I-GP"), ("ST-01", "O-CHS"), ("ST-02", "I-GP"), ("ST-02", "O-CHS"),
    ]  # fmt: skip


def wrong(door: str, body: Any, path: Mapping[str, str] | None = None) -> list[str]:
    with pytest.raises(Refused) as no:
        batch_of(door, body, STORE, path=path)
    assert isinstance(no.value.refusal, InvalidInput)
    return [problem.path for problem in no.value.refusal.problems]


def test_all_that_is_wrong_is_said_at_once():
    told = {"action": "toggle", "turn_on_at": "soon", "item_ref_ids": [None, {}], "platforms": 5}
    assert wrong("inventory", told) == [
        "$.location_ref_id", "$.action", "$.turn_on_at", "$.item_ref_ids[0]", "$.item_ref_ids[1]", "$.platforms",
    ]  # fmt: skip
    assert wrong("inventory", {**TOGGLE, "item_ref_ids": [], "option_ref_ids": []}) == ["$.item_ref_ids"]
    for body in (b"", b"[]", b"null", b"\xff", b'"x"'):
        assert wrong("inventory", body) == ["$"]


# ---------------------------------------------------------------- the store

CLOSE: dict[str, Any] = {"location_ref_id": STORE, "platforms": ["ourmarket"], "action": "disable", "turn_on_at": 1767618000}


def test_a_store_closes_until_a_time_and_opens():
    assert batch_of("store-status", CLOSE, STORE).commands == [
        UpdateStoreStatus(store=STORE, status=StoreStatus.CLOSED, reopen_at=BACK)
    ]
    assert batch_of("store-status", {**CLOSE, "action": "enable"}, STORE).commands == [
        UpdateStoreStatus(store=STORE, status=StoreStatus.OPEN)
    ]
    assert not batch_of("store-status", CLOSE, STORE, platform="another").commands


@pytest.mark.parametrize(
    ("ahead", "fits"),
    [
        (timedelta(minutes=4, seconds=59), False),
        (timedelta(minutes=5), True),
        (timedelta(days=30), True),
        (timedelta(days=30, seconds=1), False),
        (-timedelta(days=1), False),
    ],
)
def test_a_store_comes_back_in_five_minutes_to_thirty_days(ahead, fits):
    told = {**CLOSE, "turn_on_at": int((RECEIVED + ahead).timestamp())}
    if fits:
        assert batch_of("store-status", told, STORE).commands[0].reopen_at == RECEIVED + ahead
    else:
        assert wrong("store-status", told) == ["$.turn_on_at"]
    opened = {**told, "action": "enable"}
    assert batch_of("store-status", opened, STORE).commands[0].reopen_at is None


def test_a_list_of_stores_says_which_of_them_sell():
    told = {
        "stores": [
            {"ref_id": STORE, "name": "Lake Rd", "active": True, "ordering_enabled": True, "min_pickup_time": 900},
            {"ref_id": 2, "active": True, "ordering_enabled": "false"},
            {"name": "no id"},
            {"ref_id": "ST-04", "active": False},
        ]
    }
    batch = batch_of("store-status", told, STORE)
    assert [(one.store, one.status) for one in batch.commands] == [
        (STORE, StoreStatus.OPEN),
        ("2", StoreStatus.CLOSED),
        ("ST-04", StoreStatus.CLOSED),
    ]
    assert [one.path for one in batch.problems] == ["$.stores[2].ref_id"]


# ---------------------------------------------------------------- what actions came to

AT = datetime(2026, 1, 5, 8, 0, 1, tzinfo=UTC)
STORE_ACTION: dict[str, Any] = {
    "action": "disable",
    "location_ref_id": STORE,
    "location_upipr_id": "881",
    "platform": "ourmarket",
    "action_src": "pos",
    "reference_id": "9a0d",
    "status": True,
    "ts_utc": 1767600001,
}
ITEM_ACTION: dict[str, Any] = {
    "action": "disable",
    "platform": "ourmarket",
    "reference_id": "9a0e",
    "status": [{"items": [{"id": 5521, "ref_id": "I-GP", "status": "success"}], "location": {"id": 881, "ref_id": STORE}}],
    "ts_utc": 1767600001,
}
OPTION_ACTION: dict[str, Any] = {
    **ITEM_ACTION,
    "status": [
        {
            "options": [{"id": 1, "ref_id": "O-CHS", "success": True}, {"id": 2, "ref_id": "O-2", "success": False}],
            "location": {"id": 881, "ref_id": STORE},
        }
    ],
}


def test_an_action_that_was_done_is_told_with_its_time():
    assert batch_of("inventory", ITEM_ACTION, STORE).commands == [level("I-GP", False, at=AT)]
    assert batch_of("inventory", OPTION_ACTION, STORE).commands == [level("O-CHS", False, MODIFIER, at=AT)]
    assert batch_of("store-status", STORE_ACTION, STORE).commands == [
        UpdateStoreStatus(store=STORE, status=StoreStatus.CLOSED, at=AT)
    ]


def test_one_that_was_not_done_or_not_with_us_changes_nothing():
    assert not batch_of("store-status", {**STORE_ACTION, "status": False}, STORE).commands
    failed = [{"items": [{"ref_id": "I-GP", "status": "failed"}], "location": {"ref_id": STORE}}]
    assert not batch_of("inventory", {**ITEM_ACTION, "status": failed}, STORE).commands
    for door, told in (("inventory", ITEM_ACTION), ("store-status", STORE_ACTION)):
        assert not batch_of(door, told, STORE, platform="another").commands


def test_one_callback_of_a_platform_is_the_same_news():
    def id(door: str, told: Any) -> str | None:
        return HUB.event_id(call(door, told))

    told = [
        ("inventory", ITEM_ACTION),
        ("inventory", OPTION_ACTION),
        ("inventory", {**ITEM_ACTION, "platform": "another"}),
        ("inventory", {**ITEM_ACTION, "reference_id": "9a0f"}),
        ("store-status", {**STORE_ACTION, "reference_id": "9a0e"}),
    ]
    ids = [id(*one) for one in told]
    assert ids == [
        "items:9a0e@ourmarket",
        "options:9a0e@ourmarket",
        "items:9a0e@another",
        "items:9a0f@ourmarket",
        "store:9a0e@ourmarket",
    ]
    assert id("inventory", TOGGLE) is None
    assert id("store-status", CLOSE) is None
    assert id("order-status", {"reference_id": "POS-31"}) is None
    for broken in (
        b"",
        b"[]",
        b"\xff",
        b'{"reference_id": {}}',
        b'{"reference_id": "\\u0000"}',
        b'{"reference_id":1,"platform":[]}',
    ):
        assert id("inventory", broken) is None


# ---------------------------------------------------------------- orders

MINE = {"order": "MK-100045"}
BY_PATH = {"id": "mk-100045"}


@pytest.mark.parametrize(
    ("body", "command"),
    [
        ({"new_status": "Acknowledged", "extra": {"prep_time_mins": 20}}, AcceptOrder(order="mk-100045", prep_minutes=20)),
        ({"new_status": "acknowledged", "message": "", "extra": None}, AcceptOrder(order="mk-100045")),
        ({"new_status": "Food Ready"}, OrderStatus(order="mk-100045", status=OrderWord.READY)),
        ({"new_status": "FOOD_READY"}, OrderStatus(order="mk-100045", status=OrderWord.READY)),
        ({"new_status": "Dispatched"}, OrderStatus(order="mk-100045", status=OrderWord.DISPATCHED)),
        ({"new_status": "Completed", "message": "bye"}, OrderStatus(order="mk-100045", status=OrderWord.DELIVERED, message="bye")),
    ],
)
def test_a_till_moves_an_order_on(body, command):
    batch = batch_of("order-status", body, STORE, path=BY_PATH)
    assert list(batch.commands) == [command]


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("item_out_of_stock", ReasonCode.OUT_OF_STOCK),
        ("option_out_of_stock", ReasonCode.OUT_OF_STOCK),
        ("store_closed", ReasonCode.CLOSING),
        ("store_busy", ReasonCode.TOO_BUSY),
        ("out_of_delivery_radius", ReasonCode.TOO_FAR),
        ("rider_not_available", ReasonCode.OTHER),
        ("invalid_item", ReasonCode.OTHER),
        ("connectivity_issue", ReasonCode.OTHER),
        ("total_missmatch", ReasonCode.OTHER),
        ("unspecified", ReasonCode.OTHER),
        (None, ReasonCode.OTHER),
        ("what nobody knows", ReasonCode.OTHER),
    ],
)
def test_why_an_order_is_turned_down(code, reason):
    told = {"new_status": "Cancelled", "message": "Paneer finished", "reason_code": code, "extra": {"prep_time_mins": 20}}
    (one,) = batch_of("order-status", told, STORE, path={"id": "MK-100045"}).commands
    assert one == RejectOrder(**MINE, reason=reason, message="Paneer finished")
    (silent,) = batch_of("order-status", {"new_status": "Canceled", "reason_code": code}, STORE, path={"id": "MK-1"}).commands
    assert silent.message == (None if code in (None, "unspecified") else code.replace("_", " "))


def test_what_an_order_is_turned_down_for_is_off_in_the_store():
    told = {
        "new_status": "Cancelled",
        "reason_code": "item_out_of_stock",
        "extra": {"item_ref_ids": ["I-GP", "I-GP"], "option_ref_ids": ["O-CHS"], "location_ref_id": STORE},
    }
    assert batch_of("order-status", told, STORE, path={"id": "MK-100045"}).commands == [
        RejectOrder(**MINE, reason=ReasonCode.OUT_OF_STOCK, message="item out of stock", items=("I-GP", "O-CHS")),
        level("I-GP", False),
        level("O-CHS", False, MODIFIER),
    ]
    busy = {**told, "reason_code": "store_busy"}
    assert len(batch_of("order-status", busy, STORE, path={"id": "MK-100045"}).commands) == 1


REPORT: dict[str, Any] = {
    "order_id": 100045,
    "new_state": "Acknowledged",
    "prev_state": "Placed",
    "store_id": STORE,
    "additional_info": {"external_channel": {"name": "ourmarket", "order_id": "MK-100045"}},
    "timestamp": "2026-01-05T08:00:01Z",
}


def test_a_report_of_an_order_is_of_our_number_of_it():
    assert batch_of("order-status", REPORT, STORE).commands == [AcceptOrder(**MINE, at=AT)]
    assert batch_of("order-status", {**REPORT, "additional_info": None}, STORE).commands == [AcceptOrder(order="100045", at=AT)]
    assert batch_of("order-status", {**REPORT, "new_state": "Placed"}, STORE).commands == []


def test_one_that_was_cancelled_after_it_was_accepted_was_not_turned_down():
    told = {**REPORT, "new_state": "Cancelled"}
    assert batch_of("order-status", told, STORE).commands == [RejectOrder(**MINE, at=AT)]
    assert batch_of("order-status", {**told, "prev_state": "Food Ready"}, STORE).commands == [
        OrderStatus(**MINE, status=OrderWord.CANCELLED, at=AT)
    ]


def test_a_number_of_the_tills_own_is_kept_and_says_nothing():
    assert batch_of("order-status", {"reference_id": "POS-31"}, STORE, path=BY_PATH).commands == ()
    both = {"reference_id": "POS-31", "new_status": "Acknowledged"}
    assert batch_of("order-status", both, STORE, path=BY_PATH).commands == [AcceptOrder(order="mk-100045", reference="POS-31")]


RIDE: dict[str, Any] = {
    "order_id": 100045,
    "store": {"id": 881, "ref_id": STORE},
    "additional_info": {"external_channel": {"name": "ourmarket", "order_id": "MK-100045"}},
    "delivery_info": {
        "current_state": "out-for-delivery",
        "delivery_person_details": {"name": "Imran", "phone": 9800000077},
        "status_updates": [
            {"status": "assigned", "created": 1767590000000},
            {"status": "out-for-delivery", "created": 1767600001000},
        ],
    },
}
IMRAN = {"rider_name": "Imran", "rider_phone": "9800000077"}


def riding(state: str) -> dict[str, Any]:
    return {**RIDE, "delivery_info": {**RIDE["delivery_info"], "current_state": state}}


def test_a_rider_of_the_stores_own_is_named():
    assert batch_of("order-status", RIDE, STORE).commands == [OrderStatus(**MINE, status=OrderWord.DISPATCHED, **IMRAN, at=AT)]
    assert batch_of("order-status", riding("delivered"), STORE).commands == [
        OrderStatus(**MINE, status=OrderWord.DELIVERED, **IMRAN)
    ]
    for state in ("assigned", "at-store", "re-assigned"):  # nothing has left yet
        assert not batch_of("order-status", riding(state), STORE).commands


def test_an_order_is_accepted_whatever_stands_for_its_preparation_time():
    batch = batch_of("order-status", {"new_status": "Acknowledged", "extra": {"prep_time_mins": "soon"}}, STORE, path=BY_PATH)
    assert list(batch.commands) == [AcceptOrder(order="mk-100045")]
    assert told(batch) == ["$.extra.prep_time_mins: 'soon' is no number"]


def test_what_is_wrong_with_a_report():
    assert wrong("order-status", {"new_status": "Eaten"}, BY_PATH) == ["$.new_status"]
    assert wrong("order-status", {"new_state": "Acknowledged", "timestamp": "then"}) == ["$.order_id", "$.timestamp"]
    assert wrong("order-status", {}) == ["$.order_id", "$.new_status"]
    assert wrong("order-status", {"new_status": "Completed"}, {"id": "a\0b"}) == ["url.id"]
    assert wrong("order-status", riding("lost")) == ["$.delivery_info.current_state"]
    assert wrong("order-status", {**RIDE, "delivery_info": []}) == ["$.delivery_info", "$.delivery_info.current_state"]


# ---------------------------------------------------------------- answers


def test_the_shapes_of_its_answers():
    id = source(HUB).id
    for door, message in (
        ("menu", "Menu accepted"),
        ("inventory", "Items updated"),
        ("store-status", "Store updated"),
        ("order-status", "Order updated"),
    ):
        answer = HUB.acknowledge(call(door, {}), id)
        assert (answer.status, answer.body) == (200, {"status": "success", "message": message, "reference": str(id)})
    no = HUB.refuse(call("menu", MENU), 401, "no such key")
    assert (no.status, no.body) == (401, {"status": "error", "message": "no such key"})
