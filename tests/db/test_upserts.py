"""What sources tell of a catalogue: absolute, repeatable, with one event for each version."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import event as sql_event
from sqlalchemy import func, select, update
from sqlalchemy.ext.asyncio import AsyncEngine

from db.catalog import listings_by_id, modifier_groups
from db.ids import new_id
from db.reads import Reads
from db.tables import category, event, listing, modifier, product, stock_level, variant
from db.unit_of_work import unit_of_work
from domain import trace
from domain.catalog import Diet, UpsertedProduct, UpsertedVariant, apply_products, apply_variants
from domain.choices import OfferedGroup, OfferedGroups, UpsertedGroup, UpsertedModifier, apply_modifier_groups
from domain.counting import Count, apply_counts
from domain.listings import PriceSet, UpsertedListing, apply_listings, apply_prices, deactivate_missing
from domain.refusals import InvalidInput, NotFound, Refused
from tests.groceries import add_store, goods, stock_up


async def events(engine: AsyncEngine, *ids: UUID) -> list[tuple[str, int]]:
    """Kind and seq, as written."""
    e = event.c
    async with engine.connect() as connection:
        found = await connection.execute(select(e.kind, e.seq).where(e.entity_id.in_(ids), e.stream != "stock").order_by(e.id))
        return [(row.kind, row.seq) for row in found]


async def told(engine: AsyncEngine, apply: Any, *items: Any) -> Any:
    async with unit_of_work(engine) as uow:
        return await apply(items, uow)


async def one(
    engine: AsyncEngine, merchant_id: UUID, store_id: UUID, price: int = 10_000, mrp: int | None = 12_000
) -> tuple[UUID, UUID, UUID]:
    """Product, variant, listing."""
    [product_id] = await told(engine, apply_products, UpsertedProduct(None, merchant_id, "Ghee"))
    [variant_id] = await told(engine, apply_variants, UpsertedVariant(None, merchant_id, product_id, f"GHEE-{product_id}", "1 l"))
    [listing_id] = await told(engine, apply_listings, UpsertedListing(store_id, variant_id, price, mrp))
    return product_id, variant_id, listing_id


async def test_the_same_again_changes_nothing(engine: AsyncEngine) -> None:
    merchant_id, store_id = await add_store(engine)
    items = [
        UpsertedProduct(None, merchant_id, "Ghee", description="Cow's", brand="Amul", category_path=("Dairy", "Fats"),
                        diet=Diet.VEG, images=("a.jpg",), attributes={"b": "2", "a": "1"}),
        UpsertedProduct(None, merchant_id, "Curd"),
    ]  # fmt: skip
    ids = await told(engine, apply_products, *items)
    again = [
        UpsertedProduct(id, item.merchant_id, item.name, description=item.description, brand=item.brand,
                        category_path=item.category_path, diet=item.diet, images=item.images, attributes=item.attributes)
        for id, item in zip(ids, items, strict=True)
    ]  # fmt: skip
    assert await told(engine, apply_products, *again) == ids
    variants = [UpsertedVariant(None, merchant_id, id, f"S-{id}", "1 kg", barcode="123", rank=2) for id in ids]
    assert await told(engine, apply_variants, *variants) == await told(engine, apply_variants, *variants)
    [variant_id, _] = await told(engine, apply_variants, *variants)
    item = UpsertedListing(store_id, variant_id, 5_000, 6_000, packaging_minor=100, currency="INR", max_per_order=5)
    [first], [second] = await told(engine, apply_listings, item), await told(engine, apply_listings, item)
    await told(engine, apply_prices, PriceSet(first, 5_000, 6_000), PriceSet(new_id(), 1))
    assert first == second
    assert await events(engine, *ids, first) == [("ProductChanged", 1), ("ProductChanged", 1), ("ListingChanged", 1)]
    [row] = await listings_by_id(Reads(engine), [first])
    assert [(at.name, at.value) for at in row.product.attributes] == [("a", "1"), ("b", "2")]
    assert (row.version, row.stock.version, row.stock.state.value) == (1, 0, "UNTRACKED")


async def test_none_leaves_what_is_there_and_empty_takes_it_away(engine: AsyncEngine) -> None:
    merchant_id, _ = await add_store(engine)
    [id] = await told(
        engine, apply_products, UpsertedProduct(None, merchant_id, "Ghee", brand="Amul", category_path=("Dairy",), images=("a",))
    )
    await told(engine, apply_products, UpsertedProduct(id, merchant_id, "Cow ghee"))
    async with engine.connect() as connection:
        row = (await connection.execute(select(product).where(product.c.id == id))).one()
    assert (row.name, row.brand, row.images, row.category_id is None, row.version) == ("Cow ghee", "Amul", ["a"], False, 2)
    await told(engine, apply_products, UpsertedProduct(id, merchant_id, "Cow ghee", brand="", category_path=(), images=()))
    async with engine.connect() as connection:
        row = (await connection.execute(select(product).where(product.c.id == id))).one()
    assert (row.brand, row.images, row.category_id, row.version) == (None, [], None, 3)
    assert await events(engine, id) == [("ProductChanged", 1), ("ProductChanged", 2), ("ProductChanged", 3)]


async def test_a_listing_sorts_by_its_products_name(engine: AsyncEngine) -> None:
    merchant_id, store_id = await add_store(engine)
    product_id, variant_id, listing_id = await one(engine, merchant_id, store_id)
    await told(engine, apply_products, UpsertedProduct(product_id, merchant_id, "Butter"))
    async with engine.connect() as connection:
        assert (await connection.execute(select(listing.c.name).where(listing.c.id == listing_id))).scalar_one() == "Butter"
    [other] = await told(engine, apply_products, UpsertedProduct(None, merchant_id, "Cheese"))
    await told(engine, apply_variants, UpsertedVariant(variant_id, merchant_id, other, f"GHEE-{product_id}"))
    async with engine.connect() as connection:
        row = (await connection.execute(select(listing.c.name, listing.c.product_id).where(listing.c.id == listing_id))).one()
    assert tuple(row) == ("Cheese", other)
    assert await events(engine, product_id, other) == [
        ("ProductChanged", 1),
        ("ProductChanged", 2),
        ("ProductChanged", 1),
        ("ProductChanged", 3),
        ("ProductChanged", 2),
    ]


async def test_one_event_for_each_version_of_a_listing(engine: AsyncEngine) -> None:
    merchant_id, store_id = await add_store(engine)
    _, variant_id, listing_id = await one(engine, merchant_id, store_id)
    await told(engine, apply_prices, PriceSet(listing_id, 9_000))
    await told(engine, apply_listings, UpsertedListing(store_id, variant_id, 8_000, 8_000))
    await told(engine, apply_listings, UpsertedListing(store_id, variant_id, active=False))
    await told(engine, apply_listings, UpsertedListing(store_id, variant_id, 7_000, active=True))
    assert await events(engine, listing_id) == [
        ("ListingChanged", 1),
        ("PriceChanged", 2),
        ("PriceChanged", 3),
        ("ListingChanged", 4),
        ("ListingChanged", 5),
    ]
    async with unit_of_work(engine) as uow:
        await apply_counts([Count(listing_id, 4, datetime.now(UTC), "test", "test")], uow)
    async with engine.connect() as connection:
        stock = (
            await connection.execute(select(event.c.seq).where(event.c.entity_id == listing_id, event.c.stream == "stock"))
        ).scalars()
        assert list(stock) == [1]


async def test_a_listing_told_without_a_price_waits_for_one(engine: AsyncEngine) -> None:
    merchant_id, store_id = await add_store(engine)
    _, variant_id, _ = await one(engine, merchant_id, store_id)
    _, elsewhere = await add_store(engine, merchant_id)
    assert await told(engine, apply_listings, UpsertedListing(elsewhere, variant_id, active=True)) == [None]


@pytest.mark.parametrize(
    "change",
    [
        {"price_minor": 12_001},
        {"price_minor": -1},
        {"price_minor": 10**12 + 1, "mrp_minor": None},
        {"price_minor": 100, "mrp_minor": 99},
        {"price_minor": 100, "currency": "USD"},
        {"packaging_minor": -1},
    ],
)
async def test_an_impossible_price_is_refused_and_nothing_is_kept(engine: AsyncEngine, change: dict[str, Any]) -> None:
    merchant_id, store_id = await add_store(engine)
    _, variant_id, listing_id = await one(engine, merchant_id, store_id)
    _, other_variant, other = await one(engine, merchant_id, store_id)
    with pytest.raises(Refused) as no:
        await told(
            engine, apply_listings, UpsertedListing(store_id, other_variant, 1), UpsertedListing(store_id, variant_id, **change)
        )
    assert isinstance(no.value.refusal, InvalidInput)
    assert no.value.refusal.problems[0].path.startswith("1.")
    rows = await listings_by_id(Reads(engine), [listing_id, other])
    assert {row.version for row in rows} == {1}
    with pytest.raises(Refused):
        await told(engine, apply_prices, PriceSet(listing_id, 12_001))


async def test_another_merchants_is_not_there(engine: AsyncEngine) -> None:
    merchant_id, store_id = await add_store(engine)
    stranger, strange_store = await add_store(engine)
    product_id, variant_id, _ = await one(engine, merchant_id, store_id)
    for apply, item in (
        (apply_products, UpsertedProduct(product_id, stranger, "Mine now")),
        (apply_variants, UpsertedVariant(variant_id, stranger, product_id, "X")),
        (apply_variants, UpsertedVariant(None, stranger, product_id, "X")),
        (apply_listings, UpsertedListing(strange_store, variant_id, 100)),
        (apply_listings, UpsertedListing(new_id(), variant_id, 100)),
        (apply_listings, UpsertedListing(store_id, new_id(), 100)),
    ):
        with pytest.raises(Refused) as no:
            await told(engine, apply, item)
        assert isinstance(no.value.refusal, NotFound)


async def test_a_sku_is_one_variants(engine: AsyncEngine) -> None:
    merchant_id, store_id = await add_store(engine)
    product_id, variant_id, _ = await one(engine, merchant_id, store_id)
    _, second, _ = await one(engine, merchant_id, store_id)
    async with engine.connect() as connection:
        sku = (await connection.execute(select(variant.c.sku).where(variant.c.id == variant_id))).scalar_one()
    assert await told(engine, apply_variants, UpsertedVariant(None, merchant_id, product_id, sku)) == [variant_id]
    with pytest.raises(Refused) as no:
        await told(engine, apply_variants, UpsertedVariant(second, merchant_id, product_id, sku))
    assert isinstance(no.value.refusal, InvalidInput)
    [a, b] = await told(engine, apply_variants, *[UpsertedVariant(None, merchant_id, product_id, "TWICE", name) for name in "ab"])
    assert a == b


async def test_statements_do_not_grow_with_the_batch(engine: AsyncEngine) -> None:
    counts = []
    for size in (100, 400):
        merchant_id, store_id = await add_store(engine)
        seen: list[Any] = []

        def count(*said: Any, seen: list[Any] = seen) -> None:
            seen.append(said)

        sql_event.listen(engine.sync_engine, "before_cursor_execute", count)
        listings = await stock_up(engine, merchant_id, store_id, goods(size), size)
        sql_event.remove(engine.sync_engine, "before_cursor_execute", count)
        counts.append(len(seen))
        assert len(listings) >= size
    assert counts[1] <= counts[0] <= 30


async def test_two_at_once_make_one_of_each(engine: AsyncEngine) -> None:
    """The same new SKUs, categories and listings in opposite order, from eight at a time."""
    merchant_id, store_id = await add_store(engine)
    [product_id] = await told(engine, apply_products, UpsertedProduct(None, merchant_id, "Ghee"))
    some = [f"RACE-{number}" for number in range(20)]

    async def push(skus: Sequence[str]) -> list[UUID]:
        async with unit_of_work(engine) as uow:
            await apply_products(
                [UpsertedProduct(None, merchant_id, sku, category_path=("Race", sku, "deep")) for sku in skus], uow
            )
            variants = await apply_variants([UpsertedVariant(None, merchant_id, product_id, sku) for sku in skus], uow)
            found = await apply_listings([UpsertedListing(store_id, id, 100) for id in variants], uow)
            return sorted(id for id in found if id)

    found = await asyncio.gather(*(push(some if turn % 2 else some[::-1]) for turn in range(8)))
    assert all(ids == found[0] for ids in found)
    async with engine.connect() as connection:
        made = select(func.count()).select_from(category).where(category.c.path[1] == "Race")
        assert (await connection.execute(made)).scalar_one() == 41
    assert await events(engine, *found[0]) == [("ListingChanged", 1)] * 20


async def test_two_merchants_at_once_share_the_tree(engine: AsyncEngine) -> None:
    stores = [await add_store(engine) for _ in range(6)]
    paths = [("Shared", f"c{number}", f"d{number}") for number in range(15)]

    async def push(merchant_id: UUID, some: Sequence[tuple[str, ...]]) -> None:
        await told(engine, apply_products, *[UpsertedProduct(None, merchant_id, "x", category_path=path) for path in some])

    await asyncio.gather(*(push(one[0], paths if turn % 2 else paths[::-1]) for turn, one in enumerate(stores)))
    async with engine.connect() as connection:
        made = select(func.count()).select_from(category).where(category.c.path[1] == "Shared")
        assert (await connection.execute(made)).scalar_one() == 31


async def test_choices_are_told_whole(engine: AsyncEngine) -> None:
    merchant_id, store_id = await add_store(engine)
    _, _, listing_id = await one(engine, merchant_id, store_id)
    _, _, plain = await one(engine, merchant_id, store_id)

    async def push(modifiers: Sequence[UpsertedModifier], *groups: OfferedGroup) -> None:
        async with unit_of_work(engine) as uow:
            told = [UpsertedGroup(store_id, "300", "Toppings", modifiers), UpsertedGroup(store_id, "301", "Crust", [])]
            await apply_modifier_groups(told, [OfferedGroups(listing_id, groups)], uow)

    cheese, olives = UpsertedModifier("9001", "Cheese", 4_000, rank=1), UpsertedModifier("9002", "Olives", 3_000)
    await push([cheese, olives], OfferedGroup("300", 0, 2), OfferedGroup("301", 1, 1, rank=-1))
    await push([cheese, olives], OfferedGroup("300", 0, 2), OfferedGroup("301", 1, 1, rank=-1))
    crust, toppings = await modifier_groups(Reads(engine), [listing_id, plain])
    assert (crust.name, crust.min, crust.max, crust.options) == ("Crust", 1, 1, [])
    assert [(one.name, one.price.minor, one.available) for one in toppings.options] == [
        ("Olives", 3_000, True),
        ("Cheese", 4_000, True),
    ]
    async with engine.begin() as connection:
        await connection.execute(update(modifier).where(modifier.c.id == toppings.options[0].id).values(off=True))
    await push([UpsertedModifier("9001", "Cheese", 4_500, active=False), olives], OfferedGroup("300", 0, 1))
    [toppings] = await modifier_groups(Reads(engine), [listing_id])
    assert (toppings.max, [(one.name, one.available) for one in toppings.options]) == (1, [("Olives", False)])
    await push([cheese])
    assert await modifier_groups(Reads(engine), [listing_id]) == []
    assert await events(engine, listing_id) == [
        ("ListingChanged", 1),
        ("ListingChanged", 2),
        ("ListingChanged", 3),
        ("ListingChanged", 4),
    ]
    assert await events(engine, plain) == [("ListingChanged", 1)]
    for offers in (
        [OfferedGroups(listing_id, [OfferedGroup("300", 2, 1)])],
        [OfferedGroups(listing_id, [OfferedGroup("none", 0, 1)])],
    ):
        with pytest.raises(Refused):
            async with unit_of_work(engine) as uow:
                await apply_modifier_groups([], offers, uow)


async def test_what_is_missing_is_sold_no_more(engine: AsyncEngine) -> None:
    merchant_id, store_id = await add_store(engine)
    made = [await one(engine, merchant_id, store_id) for _ in range(4)]
    kept, gone, late, others = (listing_id for _, _, listing_id in made)
    async with engine.connect() as connection:
        received = (await connection.execute(select(func.clock_timestamp()))).scalar_one()
    await told(engine, apply_listings, UpsertedListing(store_id, made[2][1], 10_000, 12_000))  # the same, told after the receipt

    async def missing(**more: Any) -> list[UUID]:
        async with unit_of_work(engine) as uow:
            return await deactivate_missing(store_id, {kept}, received, uow, **more)

    assert await missing(among={kept, gone, late}, cause="payload:1") == [gone]
    assert await missing(among={kept, gone, late}) == []
    assert await missing() == [others]
    rows = {row.id: row for row in await listings_by_id(Reads(engine), [kept, gone, late, others])}
    assert [rows[id].active for id in (kept, gone, late, others)] == [True, False, True, False]
    assert await events(engine, gone) == [("ListingChanged", 1), ("ListingChanged", 2)]
    async with engine.connect() as connection:
        caused = select(event.c.caused_by).where(event.c.entity_id == gone, event.c.seq == 2)
        assert (await connection.execute(caused)).scalar_one() == "payload:1"


async def test_older_news_that_is_carried_out_late_keeps_nothing_on_sale(engine: AsyncEngine) -> None:
    """What counts is when it came, not when there was time for it. That its choices have changed says nothing."""
    merchant_id, store_id = await add_store(engine)
    made = [await one(engine, merchant_id, store_id) for _ in range(4)]
    old, again, new, choices = (listing_id for _, _, listing_id in made)
    async with engine.connect() as connection:
        received = (await connection.execute(select(func.clock_timestamp()))).scalar_one()
    before, after = received - timedelta(seconds=1), received + timedelta(seconds=1)
    await told(engine, apply_listings, UpsertedListing(store_id, made[0][1], 11_000, 12_000, told_at=before))
    await told(engine, apply_listings, UpsertedListing(store_id, made[1][1], 10_000, 12_000, told_at=before))  # nothing has changed
    await told(engine, apply_listings, UpsertedListing(store_id, made[2][1], 11_000, 12_000, told_at=after))
    async with unit_of_work(engine) as uow:
        (listing,) = (await uow.listings.lock([choices])).values()
        await uow.listings.change([replace(listing, version=listing.version + 1)], None)
    async with unit_of_work(engine) as uow:
        gone = await deactivate_missing(store_id, (), received, uow, among={old, again, new, choices})
    assert set(gone) == {old, again, choices}
    await told(
        engine, apply_listings, UpsertedListing(store_id, made[2][1], 9_000, told_at=before)
    )  # no newer, for being told late
    async with unit_of_work(engine) as uow:
        assert await deactivate_missing(store_id, (), received, uow, among={new}) == []


async def test_what_is_brought_back_goes_again_however_late_the_pushes_are_carried_out(engine: AsyncEngine) -> None:
    merchant_id, store_id = await add_store(engine)
    _, variant_id, listing_id = await one(engine, merchant_id, store_id)
    async with engine.connect() as connection:
        first = (await connection.execute(select(func.clock_timestamp()))).scalar_one()
    back, last = first + timedelta(microseconds=1), first + timedelta(microseconds=2)
    async with unit_of_work(engine) as uow:
        assert await deactivate_missing(store_id, (), first, uow) == [listing_id]
    await told(engine, apply_listings, UpsertedListing(store_id, variant_id, active=True, told_at=back))
    async with unit_of_work(engine) as uow:
        assert await deactivate_missing(store_id, (), last, uow) == [listing_id]


async def test_each_event_has_the_cause_of_its_item(engine: AsyncEngine) -> None:
    merchant_id, _ = await add_store(engine)
    token = trace.cause.set("payload:9")
    [a, b] = await told(
        engine,
        apply_products,
        UpsertedProduct(None, merchant_id, "a", cause="instruction:1"),
        UpsertedProduct(None, merchant_id, "b"),
    )
    trace.cause.reset(token)
    async with engine.connect() as connection:
        found = await connection.execute(select(event.c.entity_id, event.c.caused_by).where(event.c.entity_id.in_([a, b])))
        assert {row.entity_id: row.caused_by for row in found} == {a: "instruction:1", b: "payload:9"}


async def test_stores_that_hide_their_counts_hide_those_of_new_listings(engine: AsyncEngine) -> None:
    merchant_id, store_id = await add_store(engine, counts_hidden=True)
    _, _, listing_id = await one(engine, merchant_id, store_id)
    async with engine.connect() as connection:
        hidden = select(stock_level.c.counts_hidden).where(stock_level.c.listing_id == listing_id)
        assert (await connection.execute(hidden)).scalar_one()
        made = select(listing.c.told_at).where(listing.c.id == listing_id)
        assert (await connection.execute(made)).scalar_one() > datetime.now(UTC) - timedelta(minutes=1)
