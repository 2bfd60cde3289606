"""Pages of listings: every row once in every sort, by few statements, filtered and counted right."""

import re
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import pytest
import pytest_asyncio
from sqlalchemy import event, func, insert, select, update
from sqlalchemy.ext.asyncio import AsyncEngine

from db.catalog import (
    ListingFilter,
    ListingRow,
    categories,
    categories_of_stores,
    facets,
    listings,
    listings_by_id,
    search,
    siblings,
)
from db.pages import Page, total
from db.reads import Reads
from db.tables import category, listing, stock_level, store, store_hours_exception
from domain.catalog import ListingSort
from domain.places import Point
from domain.refusals import InvalidInput, Refused
from domain.stock import StockState
from tests.groceries import Good, add_store, goods, stock_up

Key = tuple[str, int]


TRIO = Good("TRIO", "Three sizes of one thing", None, ("Sizes",), 5_000, None, ("Small", "Regular", "Large"))


@dataclass
class Shelf:
    reads: Reads
    merchant_id: UUID
    store_id: UUID
    goods: list[Good]
    ids: list[UUID]
    good: dict[UUID, Good]


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def shelf(engine: AsyncEngine) -> Shelf:
    merchant_id, store_id = await add_store(engine)
    some = [TRIO, *goods()]
    ids = await stock_up(engine, merchant_id, store_id, some)
    good = dict(zip(ids, (one for one in some for _ in one.variants), strict=True))
    async with engine.begin() as connection:
        level = stock_level.c
        for place, values in enumerate(
            [
                {"tracked": True, "on_hand": 0},
                {"tracked": True, "on_hand": 50},
                {"tracked": True, "on_hand": 5, "buffer": 5},
                {"off": True},
                {"tracked": True, "on_hand": 9, "held": 4, "allocated": 4},
                {"tracked": True, "off": True, "on_hand": 9},
            ]
        ):
            await connection.execute(update(stock_level).where(level.listing_id.in_(ids[place::7])).values(**values))
        await connection.execute(update(listing).where(listing.c.id.in_(ids[3::97])).values(active=False))
    return Shelf(Reads(engine), merchant_id, store_id, some, ids, good)


def sold(shelf: Shelf) -> list[UUID]:
    hidden = set(shelf.ids[3::97])
    return [id for id in shelf.ids if id not in hidden]


def fits(text: str, good: Good) -> bool:
    """What a customer would say: each word begins a word of the name or of the brand."""
    words = parted(f"{good.name} {good.brand or ''}")
    return all(any(word.startswith(start) for word in words) for start in parted(text))


def parted(text: str) -> list[str]:
    return re.findall(r"[^\W_]+", re.sub("['’`]", "", text.lower()))


@contextmanager
def statements(engine: AsyncEngine) -> Iterator[list[str]]:
    seen: list[str] = []

    def count(*said: Any) -> None:
        seen.append(said[2])

    event.listen(engine.sync_engine, "before_cursor_execute", count)
    try:
        yield seen
    finally:
        event.remove(engine.sync_engine, "before_cursor_execute", count)


async def ask(
    shelf: Shelf, first: int = 50, after: str | None = None, sort: ListingSort = ListingSort.NAME, **asked: Any
) -> Page[ListingRow]:
    return await listings(shelf.reads, shelf.store_id, ListingFilter(**asked), sort, first, after)


async def everything(shelf: Shelf, sort: ListingSort = ListingSort.NAME, **asked: Any) -> list[ListingRow]:
    rows: list[ListingRow] = []
    after = None
    while True:
        page = await ask(shelf, 50, after, sort, **asked)
        rows += page.nodes
        if not page.page_info.has_next_page:
            assert await total(shelf.reads, page) == len(rows)
            return rows
        after = page.page_info.end_cursor


@pytest.mark.parametrize("text", [None, "oil", "gr te"])
@pytest.mark.parametrize("sort", ListingSort)
async def test_pages_hold_every_listing_once(shelf: Shelf, sort: ListingSort, text: str | None) -> None:
    rows = await everything(shelf, sort, text=text)
    ids = [row.id for row in rows]
    assert len(set(ids)) == len(ids)
    assert set(ids) == {id for id in sold(shelf) if text is None or fits(text, shelf.good[id])}
    assert ids
    match sort:
        case ListingSort.PRICE_ASC:
            assert [row.price.minor for row in rows] == sorted(row.price.minor for row in rows)
        case ListingSort.PRICE_DESC:
            assert [row.price.minor for row in rows] == sorted((row.price.minor for row in rows), reverse=True)
        case ListingSort.NEWEST:
            assert ids == sorted(ids, reverse=True)
        case ListingSort.NAME:
            ordered = await shelf.reads.rows(
                select(listing.c.id).where(listing.c.id.in_(ids)).order_by(listing.c.name, listing.c.id)
            )
            assert ids == [row.id for row in ordered]


@pytest.mark.parametrize("first", [1, 20, 50])
async def test_a_page_with_products_and_stock_is_one_statement(engine: AsyncEngine, shelf: Shelf, first: int) -> None:
    with statements(engine) as seen:
        page = await ask(shelf, first, text="o", in_stock=True)
    assert len(page.nodes) == first
    assert len(seen) == 1


async def test_what_is_read_is_what_was_told(shelf: Shelf) -> None:
    rows = await listings_by_id(shelf.reads, shelf.ids[:200])
    assert len(rows) == 200
    for row in rows:
        good = shelf.good[row.id]
        assert (row.product.name, row.product.brand, row.price.minor) == (good.name, good.brand, good.price_minor)
        assert (row.mrp.minor if row.mrp else None) == good.mrp_minor
        assert row.variant_name in good.variants
        assert row.sku.startswith(good.sku)
        assert row.stock.listing_id == row.id


async def test_in_stock_is_the_state_of_the_level(shelf: Shelf) -> None:
    for in_stock in (True, False):
        rows = await everything(shelf, in_stock=in_stock)
        assert rows
        assert {row.stock.state is not StockState.OUT_OF_STOCK for row in rows} == {in_stock}
    both = len(await everything(shelf, in_stock=True)) + len(await everything(shelf, in_stock=False))
    assert both == len(sold(shelf))


async def test_filters_hold_together(shelf: Shelf) -> None:
    path, _ = Counter(shelf.good[id].path for id in sold(shelf)).most_common(1)[0]
    inside = [shelf.good[id] for id in sold(shelf) if shelf.good[id].path[0] == path[0]]
    brand, _ = Counter(good.brand for good in inside if good.brand).most_common(1)[0]
    [root] = [one for one in await categories(shelf.reads, None) if one.name == path[0]]
    [leaf] = [one for one in await categories(shelf.reads, root.id) if one.name == path[1]]
    assert leaf.path == list(path)
    most = sorted(good.price_minor for good in inside if good.brand == brand)[-2]
    found = await everything(shelf, category_id=root.id, brand=brand, price_max_minor=most)
    expected = {
        id for id in sold(shelf) if (good := shelf.good[id]).path[0] == path[0] and good.brand == brand and good.price_minor <= most
    }
    assert {row.id for row in found} == expected
    assert expected
    leaves = await everything(shelf, category_id=leaf.id, text="s")
    in_leaf = [id for id in sold(shelf) if shelf.good[id].path == path]
    assert {row.id for row in leaves} == {id for id in in_leaf if fits("s", shelf.good[id])}
    assert await everything(shelf, category_id=shelf.store_id) == []


async def test_the_better_fit_comes_first(shelf: Shelf) -> None:
    """A word of the name weighs more than one of the brand."""
    rows = await everything(shelf, ListingSort.RELEVANCE, text="tea")
    named = [("tea" in row.product.name.lower()) for row in rows]
    assert named == sorted(named, reverse=True)


async def test_text_without_words_finds_nothing(shelf: Shelf) -> None:
    assert await everything(shelf, text="--- !") == []
    page = await ask(shelf, text="?")
    assert await total(shelf.reads, page) == 0
    assert [one.values for one in await facets(shelf.reads, page)] == [[], []]
    with pytest.raises(Refused) as no:
        await ask(shelf, text="tea\0")
    assert isinstance(no.value.refusal, InvalidInput)


async def test_a_cursor_of_another_sort_is_refused(shelf: Shelf) -> None:
    after = (await ask(shelf, 1, sort=ListingSort.PRICE_ASC)).page_info.end_cursor
    for sort in (ListingSort.PRICE_DESC, ListingSort.NAME, ListingSort.NEWEST, ListingSort.RELEVANCE):
        with pytest.raises(Refused) as no:
            await ask(shelf, 1, after, sort)
        assert isinstance(no.value.refusal, InvalidInput)


@pytest.mark.parametrize("asked", [{}, {"text": "te"}, {"in_stock": True, "price_max_minor": 9_000}, {"brand": "A&B"}])
async def test_facets_are_counts_of_the_same_listings(engine: AsyncEngine, shelf: Shelf, asked: dict[str, Any]) -> None:
    rows = await everything(shelf, **asked)
    paths = Counter(" / ".join(shelf.good[row.id].path) for row in rows)
    brands = Counter(row.product.brand for row in rows if row.product.brand)
    page = await ask(shelf, 1, **asked)
    with statements(engine) as seen:
        by_category, by_brand = await facets(shelf.reads, page)
    assert len(seen) == 1
    for facet, expected in ((by_category, paths), (by_brand, brands)):
        assert all(expected[one.value] == one.count for one in facet.values)
        assert [one.count for one in facet.values] == sorted(expected.values(), reverse=True)[:50]
        assert len({one.value for one in facet.values}) == len(facet.values)
    assert (by_category.name, by_brand.name) == ("category", "brand")


async def test_categories_of_a_store_are_those_it_sells_in(engine: AsyncEngine, shelf: Shelf) -> None:
    _, other = await add_store(engine)
    found = await categories_of_stores(shelf.reads, [shelf.store_id, other])
    assert {id for id, _ in found} == {shelf.store_id}
    assert {tuple(one.path) for _, one in found} == {shelf.good[id].path for id in sold(shelf)}


async def test_siblings_are_the_other_variants_here(engine: AsyncEngine, shelf: Shelf) -> None:
    mine = shelf.ids[:3]
    async with engine.connect() as connection:
        hidden = (await connection.execute(select(listing.c.id).where(listing.c.id.in_(mine), ~listing.c.active))).scalars().all()
    assert hidden == []
    found = await siblings(shelf.reads, [mine[0], mine[2]])
    assert [(id, row.id) for id, row in found if id == mine[0]] == [(mine[0], mine[1]), (mine[0], mine[2])]
    assert [row.variant_name for id, row in found if id == mine[2]] == ["Small", "Regular"]


async def test_search_looks_in_every_store_and_near_ones_first(engine: AsyncEngine, reads_of: Reads) -> None:
    here = Point(12.97, 77.59)
    word = "quinoamatic"
    some = [
        Good("Q-1", f"{word} flakes", "Fresho!", ("Snacks",), 5_000, None),
        Good("Q-2", f"{word}", None, ("Snacks",), 4_000, None),
    ]
    near = await add_store(engine, name="near", lat=12.975, lng=77.59)
    nearer_but_shut = await add_store(engine, name="shut", lat=12.971, lng=77.59)
    far = await add_store(engine, name="far", lat=13.1, lng=77.59)
    too_far = await add_store(engine, name="too far", lat=13.3, lng=77.59)
    gone = await add_store(engine, name="gone", lat=12.975, lng=77.59)
    for merchant_id, store_id in (near, nearer_but_shut, far, too_far, gone):
        await stock_up(engine, merchant_id, store_id, some)
    async with engine.begin() as connection:
        await connection.execute(update(store).where(store.c.id == far[1]).values(radius_m=20_000))
        await connection.execute(update(store).where(store.c.id == gone[1]).values(archived_at=func.now()))
        for away in (-1, 0, 1):
            day = func.current_date() + away
            await connection.execute(
                insert(store_hours_exception).values(id=func.gen_random_uuid(), store_id=nearer_but_shut[1], day=day)
            )

    async def stores(near: Point | None, **asked: Any) -> list[UUID]:
        found: list[UUID] = []
        after = None
        while True:
            page = await search(reads_of, word, near, ListingFilter(**asked), 2, after)
            found += [row.store_id for row in page.nodes]
            if not page.page_info.has_next_page:
                assert await total(reads_of, page) == len(found)
                return found
            after = page.page_info.end_cursor

    assert await stores(here) == [near[1]] * 2 + [far[1]] * 2 + [nearer_but_shut[1]] * 2
    assert await stores(here, brand="Fresho!") == [near[1], far[1], nearer_but_shut[1]]
    everywhere = await stores(None)
    assert Counter(everywhere) == {one[1]: 2 for one in (near, nearer_but_shut, far, too_far)}
    first = await search(reads_of, word, None, ListingFilter(), 4, None)
    assert {row.product.name for row in first.nodes} == {word}  # the shorter name fits better
    [by_category, _] = await facets(reads_of, first)
    assert [(one.value, one.count) for one in by_category.values] == [("Snacks", 8)]
    assert (await search(reads_of, "…", here, ListingFilter(), 4, None)).nodes == []


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def reads_of(engine: AsyncEngine) -> Reads:
    return Reads(engine)


async def test_paths_are_made_once(engine: AsyncEngine, shelf: Shelf) -> None:
    async with engine.connect() as connection:
        paths = (await connection.execute(select(category.c.path))).scalars().all()
    assert len({tuple(path) for path in paths}) == len(paths)
