"""Where a source's products go: into categories as it names them, or into those of ours that these are mapped to."""

from typing import Any
from uuid import UUID

from sqlalchemy import select

from db import tables as t
from db.ids import new_id
from domain.catalog_instructions import NO_CATEGORY
from domain.intake import EntityKind
from tests.partners import Partner, dish, menu, partner

STORE = "k7x2m9qa"


async def category(till: Partner, *path: str) -> UUID:
    id = new_id()
    async with till.engine.begin() as connection:
        await connection.execute(t.category.insert().values(id=id, name=path[-1], path=list(path)))
    return id


async def paths(till: Partner) -> dict[str, Any]:
    """Of its products, by their names."""
    of = select(t.product.c.name, t.category.c.path).join(t.category, t.category.c.id == t.product.c.category_id, isouter=True)
    return {row.name: row.path for row in await till.rows(of.where(t.product.c.merchant_id == till.shop.merchant_id))}


async def test_a_category_is_made_as_it_is_named_and_one_that_is_mapped_is_ours(engine):
    till = await partner(engine, "petpooja", STORE)
    await till.tell("webhooks/menu", menu(STORE, dish("1")))
    assert await paths(till) == {"Dish 1": ["Main", "Pizza"]}
    meals = f"Meals {till.source_id.hex[-6:]}"
    await till.map(EntityKind.CATEGORY, "Main / Pizza", await category(till, meals, "Italian"))
    await till.tell("webhooks/menu", menu(STORE, dish("1", "120.00"), dish("2")))
    assert await paths(till) == {"Dish 1": [meals, "Italian"], "Dish 2": [meals, "Italian"]}


async def test_what_is_below_one_that_is_mapped_goes_below_ours_and_the_longest_part_counts(engine):
    till = await partner(engine, "petpooja", STORE)
    ours = f"Food {till.source_id.hex[-6:]}"
    await till.map(EntityKind.CATEGORY, "Main", await category(till, ours))
    await till.tell("webhooks/menu", menu(STORE, dish("1")))
    assert await paths(till) == {"Dish 1": [ours, "Pizza"]}
    await till.map(EntityKind.CATEGORY, "Main / Pizza", await category(till, ours, "Round", "Flat"))
    await till.tell("webhooks/menu", menu(STORE, dish("1", "120.00")))
    assert await paths(till) == {"Dish 1": [ours, "Round", "Flat"]}


async def test_what_comes_without_a_category_goes_where_the_rule_says_and_what_has_one_stays(engine):
    till = await partner(engine, "petpooja", STORE)
    bare = {"item_categoryid": "none of ours"}
    await till.tell("webhooks/menu", menu(STORE, dish("1"), dish("2", **bare)))
    assert await paths(till) == {"Dish 1": ["Main", "Pizza"], "Dish 2": None}
    other = f"Other {till.source_id.hex[-6:]}"
    await till.map(EntityKind.CATEGORY, NO_CATEGORY, await category(till, other))
    await till.tell("webhooks/menu", menu(STORE, dish("1", "120.00", **bare), dish("2", "120.00", **bare), dish("3", **bare)))
    assert await paths(till) == {"Dish 1": ["Main", "Pizza"], "Dish 2": None, "Dish 3": [other]}


async def test_what_comes_without_a_category_and_without_a_rule_is_made_in_none_and_sold(engine):
    """Some tills name no categories at all: their shops sell all the same."""
    till = await partner(engine, "petpooja", STORE)
    await till.tell("webhooks/menu", menu(STORE, dish("1", item_categoryid="none of ours")))
    assert await paths(till) == {"Dish 1": None}
    assert {row.active for row in (await till.listings()).values()} == {True}
    assert await till.failures() == []


async def test_another_sources_mapping_is_its_own(engine):
    till = await partner(engine, "petpooja", STORE)
    other = await partner(engine, "petpooja", "other", of=till.shop)
    await other.map(EntityKind.CATEGORY, "Main / Pizza", await category(till, f"Theirs {till.source_id.hex[-6:]}"))
    await till.tell("webhooks/menu", menu(STORE, dish("1")))
    assert await paths(till) == {"Dish 1": ["Main", "Pizza"]}
