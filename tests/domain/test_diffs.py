"""What a batch would do, worked out of what it says and of what is there."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import UUID

from domain.canonical import DeactivateMissing, StockMode, UpdatePrice, UpdateStockLevel, UpsertVariant
from domain.diffs import Heard, Said, Shown, compare
from domain.intake import EntityKind

AT = datetime(2026, 1, 5, 6, 0, tzinfo=UTC)
STORE, ELSEWHERE = UUID(int=1), UUID(int=2)
VARIANTS = {str(n): UUID(int=200 + n) for n in range(6)}
ITEMS = {f"item-{n}": UUID(int=300 + n) for n in range(6)}
SOURCE = f"source:{UUID(int=3)}"
LATER = AT + timedelta(minutes=1)


def one(n: int, **told) -> Shown:
    like = Shown(
        UUID(int=100 + n), STORE, UUID(int=200 + n), UUID(int=300 + n), f"Dish {n}", f"S{n}", 10_000, "INR", True, True, 5,
        False, False, AT, SOURCE, None, None, None, None, None, None, None,
    )  # fmt: skip
    return replace(like, **told)


def said(*commands, by_sku: bool = False, stores=None) -> Said:
    ids = [(UUID(int=1000 + n), command) for n, command in enumerate(commands)]
    return Said(SOURCE, AT, stores or {"ST": STORE}, VARIANTS, ITEMS, by_sku, ids)


def price(n: object, minor: int, **told) -> UpdatePrice:
    return UpdatePrice(variant=str(n), price_minor=minor, **told)


def count(n: object, units: int, **told) -> UpdateStockLevel:
    return UpdateStockLevel(id=str(n), mode=StockMode.ABSOLUTE, quantity=units, **told)


def switch(n: object, *, on: bool, **told) -> UpdateStockLevel:
    return UpdateStockLevel(id=str(n), mode=StockMode.AVAILABILITY, available=on, **told)


def test_each_kind_of_change_is_told_once_with_what_was_and_what_would_be():
    shown = [one(0), one(1), one(2), one(3), one(4, active=False), one(5, off=True)]
    told = said(
        UpsertVariant(store="ST", variant="4", item="item-4"),
        price(0, 15_000),
        price(9, 100),
        count(1, 0),
        count(0, 5),
        switch("item-2", on=False, kind=EntityKind.PRODUCT),
        switch(5, on=True),
        DeactivateMissing(present=("0", "1", "2", "4", "5", "9")),
    )
    diff = compare(told, shown)
    assert (diff.listings, diff.removed, diff.returned, diff.added) == (5, 1, 1, 1)
    assert (diff.prices, diff.stocks, diff.emptied, diff.switched_off, diff.switched_on) == (1, 1, 1, 1, 1)
    by_name = {change.name: change for change in diff.changes}
    assert by_name.keys() == {f"Dish {n}" for n in range(6)}
    assert (by_name["Dish 0"].price_from, by_name["Dish 0"].price_to, by_name["Dish 0"].stock_to) == (10_000, 15_000, None)
    assert (by_name["Dish 1"].stock_from, by_name["Dish 1"].stock_to) == (5, 0)
    assert (by_name["Dish 2"].available_from, by_name["Dish 2"].available_to) == (True, False)
    assert diff.changes[0].name == "Dish 3"  # what is removed comes first
    assert diff.changes[-1].name == "Dish 0"  # a half is the least of these


def test_what_is_told_as_it_is_changes_nothing():
    assert not compare(said(price(0, 10_000), count(0, 5), switch(0, on=True), DeactivateMissing(present=("0",))), [one(0)]).changes


def test_the_sources_own_newer_word_stands_by_version_or_by_time():
    heard = one(0, price_heard=Heard(9, AT), count_heard=Heard(None, LATER), switch_heard=Heard(None, LATER))
    assert not compare(said(price(0, 1, version=8), count(0, 1), switch(0, on=False)), [heard]).changes
    newer = compare(said(price(0, 1, version=10), count(0, 1, at=LATER), switch(0, on=False, at=LATER)), [heard])
    assert (newer.prices, newer.stocks, newer.switched_off, newer.outdated) == (1, 1, 1, [])


def test_what_is_shown_or_hidden_goes_by_the_newest_word_too():
    hide = UpsertVariant(store="ST", variant="0", item="item-0", active=False)
    assert compare(said(hide), [one(0)]).removed == 1
    for newer in (one(0, variant_heard=Heard(None, LATER)), one(0, variant_said_at=LATER)):
        assert not compare(said(hide), [newer]).changes


def test_what_others_have_said_since_stands_and_those_instructions_are_named():
    shown = one(0, price_said_at=LATER, counted_by="merchant:1", counted_at=LATER, switch_said_at=LATER)
    diff = compare(said(price(0, 1), count(0, 1), switch(0, on=False), price(1, 1)), [shown, one(1)])
    assert [change.name for change in diff.changes] == ["Dish 1"]
    assert diff.outdated == [UUID(int=1000), UUID(int=1001), UUID(int=1002)]


def test_an_item_of_several_variants_is_switched_as_a_whole_or_not_at_all():
    sizes = [one(0, switch_said_at=LATER), one(1, product_id=UUID(int=300))]
    off = said(switch("item-0", on=False, kind=EntityKind.PRODUCT))
    assert [change.name for change in compare(off, sizes).changes] == ["Dish 0", "Dish 1"]
    both = compare(off, [replace(size, switch_said_at=LATER) for size in sizes])
    assert (both.changes, both.outdated) == ([], [UUID(int=1000)])


def test_what_was_told_of_since_its_receipt_is_not_removed_nor_is_what_the_source_never_told_of():
    shown = [one(0, told_since=True), one(1, variant_id=UUID(int=999)), one(2, store_id=ELSEWHERE), one(3)]
    diff = compare(said(DeactivateMissing(present=())), shown)
    assert [change.name for change in diff.changes] == ["Dish 3"]


def test_a_sku_is_a_name_only_for_who_speaks_of_skus():
    assert not compare(said(price("S0", 1)), [one(0)]).changes
    assert compare(said(price("S0", 1), by_sku=True), [one(0)]).prices == 1
    mapped = compare(said(price("1", 1), by_sku=True), [one(0, sku="1"), one(1)])
    assert [change.name for change in mapped.changes] == ["Dish 1"]  # whose id it is stands before whose SKU it is


def test_without_a_store_it_is_the_only_one_and_of_several_none():
    two = {"A": STORE, "B": ELSEWHERE}
    assert not compare(said(price(0, 1), stores=two), [one(0)]).changes
    assert compare(said(price(0, 1, store="A"), stores=two), [one(0)]).prices == 1


def test_changes_add_up_and_a_price_of_tomorrow_is_measured_by_its_day():
    added = [
        UpdateStockLevel(id="0", mode=StockMode.DELTA, quantity=-3),
        UpdateStockLevel(id="0", mode=StockMode.DELTA, quantity=-3),
    ]
    (change,) = compare(said(*added), [one(0, counted_at=None)]).changes
    assert (change.stock_from, change.stock_to) == (5, 0)
    assert compare(said(price(0, 1, effective_from=AT + timedelta(hours=1))), [one(0, price_said_at=LATER)]).prices == 1
