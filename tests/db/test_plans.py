"""How reads are planned where there is much to read: by an index, and no more rows than they are about."""

from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, replace
from typing import Any
from uuid import UUID

import pytest
import pytest_asyncio
from sqlalchemy import event
from sqlalchemy.ext.asyncio import AsyncEngine

from db import audit, catalog, events, failures, health, identity, ledger, merchants, orders, purchases, sources, stock
from db.catalog import ListingFilter
from db.failure_groups import failure_groups
from db.merchants import StoreSearch
from db.orders import OrderFilter
from db.pages import Page, total
from db.queue import SqlInstructions
from db.reads import Reads
from db.unit_of_work import unit_of_work
from domain.catalog import ListingSort
from domain.counting import Count
from domain.failures import FailureFilter
from domain.identity import Actor, ActorKind
from domain.intake import FailureKind, FailureState
from domain.orders import OrderStatus
from tests.conftest import LONG
from tests.db.crowd import GROUPS, Crowd, Size, fill

SIZE = Size(chains=500, stores=5_000, goods=100, orders=200_000) if LONG else Size(chains=20, stores=100, goods=250, orders=10_000)
BIG = 5_000 if LONG else 20_000  # rows: of a smaller table any plan will do
FEW = 500  # rows that a page may look at
FREELY = 1 if LONG else 3  # of little the planner reads more, and is right


@dataclass(frozen=True)
class Country:
    reads: Reads
    engine: AsyncEngine
    crowd: Crowd
    big: Mapping[str, int]
    ids: list[UUID]  # of listings of the store

    @property
    def owner(self) -> Actor:
        return Actor(ActorKind.MERCHANT, self.crowd.owner_id)

    @property
    def customer(self) -> Actor:
        return Actor(ActorKind.CUSTOMER, self.crowd.customer_id)

    @property
    def support(self) -> Actor:
        return Actor(ActorKind.SUPPORT, self.crowd.owner_id)


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def country(engine: AsyncEngine) -> AsyncIterator[Country]:
    crowd = await fill(engine, SIZE)
    reads = Reads(engine)
    async with engine.connect() as connection:
        sizes = await connection.exec_driver_sql(
            f"SELECT relname, reltuples::int AS rows FROM pg_class WHERE relkind = 'r' AND reltuples >= {BIG}"
        )
        big = {row.relname: row.rows for row in sizes}
    assert big["listing"] == pytest.approx(SIZE.listings, rel=0.02)
    page = await catalog.listings(reads, crowd.store_id, ListingFilter(), ListingSort.NAME, 50, None)
    yield Country(reads, engine, crowd, big, [row.id for row in page.nodes])


# ---------------------------------------------------------------- plans


@contextmanager
def statements(engine: AsyncEngine) -> Iterator[list[tuple[str, Any]]]:
    """As they go to the driver, with what they are given."""
    said: list[tuple[str, Any]] = []

    def note(connection: Any, cursor: Any, statement: str, parameters: Any, *rest: Any) -> None:
        said.append((statement, parameters))

    event.listen(engine.sync_engine, "before_cursor_execute", note)
    try:
        yield said
    finally:
        event.remove(engine.sync_engine, "before_cursor_execute", note)


@dataclass(frozen=True)
class Scan:
    """Of a big table. `rows` were looked at, whether they were wanted or not."""

    table: str
    how: str
    rows: float


def scans(node: Mapping[str, Any], big: Mapping[str, int]) -> Iterator[Scan]:
    table = node.get("Relation Name")
    if table in big:
        left_out = node.get("Rows Removed by Filter", 0) + node.get("Rows Removed by Index Recheck", 0)
        yield Scan(table, node["Node Type"], (node["Actual Rows"] + left_out) * node["Actual Loops"])
    for part in node.get("Plans", ()):
        yield from scans(part, big)


async def plans_of(country: Country, read: Callable[[], Awaitable[Any]]) -> list[tuple[str, Mapping[str, Any]]]:
    """Each statement of the read with its plan, carried out."""
    with statements(country.engine) as said:
        await read()
    assert said
    plans = []
    async with country.engine.connect() as connection:
        for statement, parameters in said:
            found = await connection.exec_driver_sql(f"EXPLAIN (ANALYZE, FORMAT JSON) {statement}", parameters)
            plans.append((statement, found.scalar_one()[0]["Plan"]))
    return plans


async def check(country: Country, read: Callable[[], Awaitable[Any]], rows: float = FEW, whole: Collection[str] = ()) -> None:
    """`whole` are tables that may be read from end to end."""
    for statement, plan in await plans_of(country, read):
        found = list(scans(plan, country.big))
        for scan in found:
            assert scan.how != "Seq Scan" or scan.table in whole, f"{scan.table} is read from end to end by {statement}"
        looked_at = sum(scan.rows for scan in found)
        assert looked_at <= rows * FREELY, f"{looked_at:,.0f} rows for {statement}\n{found}"


# ---------------------------------------------------------------- the catalogue

STORE_GOODS = SIZE.goods * 2


@pytest.mark.parametrize("text", [None, "gar st"])
async def test_stores_near_a_point_are_found_by_where_they_are(country: Country, text: str | None):
    search = StoreSearch(near=country.crowd.near, text=text)
    page = await check_pages(country, lambda after: merchants.stores(country.reads, search, 20, after), SIZE.stores // 10 + 100)
    assert text or page.nodes


async def test_the_clock_looks_at_stores_that_are_due_and_at_no_others(country: Country):
    async with country.engine.begin() as connection:
        later = "CASE WHEN id = '{}' THEN now() ELSE now() + interval '1 hour' END"
        await connection.exec_driver_sql(f"UPDATE store SET look_at = {later.format(country.crowd.store_id)}")
        await connection.exec_driver_sql("ANALYZE store")

    async def look() -> None:
        async with unit_of_work(country.engine) as uow:
            assert [one.store.id for one in await uow.merchants.lock_due(200)] == [country.crowd.store_id]

    await check(country, look)


async def test_stores_by_name(country: Country):
    await check_pages(country, lambda after: merchants.stores(country.reads, StoreSearch(), 20, after))
    await check_pages(country, lambda after: merchants.stores(country.reads, StoreSearch(text="roy"), 20, after), SIZE.stores / 4)
    await check(country, lambda: merchants.store_by_slug(country.reads, "store-7"))


async def check_pages(
    country: Country, ask: Callable[[str | None], Awaitable[Page[Any]]], rows: float = FEW, whole: Collection[str] = ()
) -> Page[Any]:
    """The first page, and the one after it."""
    page = await ask(None)
    await check(country, lambda: ask(None), rows, whole)
    if page.page_info.has_next_page:
        await check(country, lambda: ask(page.page_info.end_cursor), rows, whole)
    return page


@pytest.mark.parametrize("sort", [sort for sort in ListingSort if sort is not ListingSort.RELEVANCE])
async def test_a_page_of_a_store_is_read_from_where_it_begins(country: Country, sort: ListingSort):
    page = await check_pages(
        country, lambda after: catalog.listings(country.reads, country.crowd.store_id, ListingFilter(), sort, 20, after), 200
    )
    assert len(page.nodes) == 20
    assert page.page_info.has_next_page


@pytest.mark.parametrize(
    "asked",
    [
        {"text": "gar"},
        {"text": "garl ma"},
        {"brand": "Brand 21"},
        {"price_max_minor": 20_000},
        {"in_stock": True},
        {"in_stock": False},
        {"category_id": ...},
        {"text": "gar", "in_stock": True, "price_max_minor": 60_000, "category_id": ...},
    ],
    ids=lambda asked: " ".join(asked),
)
@pytest.mark.parametrize("sort", [ListingSort.RELEVANCE, ListingSort.PRICE_ASC])
async def test_what_a_store_sells_is_narrowed_within_the_store(country: Country, asked: dict[str, Any], sort: ListingSort):
    """Never more than a few rows of each of the store's own goods, however many other stores sell."""
    told = {key: country.crowd.category_id if value is ... else value for key, value in asked.items()}
    narrowed = ListingFilter(**told)
    page = await check_pages(
        country,
        lambda after: catalog.listings(country.reads, country.crowd.store_id, narrowed, sort, 20, after),
        STORE_GOODS * 3 + FEW,
    )
    await check(country, lambda: catalog.facets(country.reads, page), STORE_GOODS * 5)
    await check(country, lambda: total(country.reads, page), STORE_GOODS * 4)


async def test_a_search_of_all_stores_begins_with_the_words_or_with_the_place(country: Country):
    for text, asked in (("garlic", {}), ("garl", {"brand": "Brand 21"}), ("garlic", {"in_stock": True})):
        narrowed = ListingFilter(**asked)
        await check_pages(
            country,
            lambda after, text=text, narrowed=narrowed: catalog.search(country.reads, text, None, narrowed, 20, after),
            SIZE.listings,
            whole=["store"],  # of what fits the words, nearly every store sells something
        )
        around = SIZE.stores / 50 * STORE_GOODS  # what the stores of the city sell, or what fits the words
        await check_pages(
            country,
            lambda after, text=text, narrowed=narrowed: catalog.search(
                country.reads, text, country.crowd.near, narrowed, 20, after
            ),
            around * 3 + SIZE.listings * 0.5,
        )


async def test_a_product_page(country: Country):
    one, reads = country.ids[0], country.reads
    await check(country, lambda: catalog.listing_on_sale(reads, one), 10)
    await check(country, lambda: catalog.siblings(reads, [one]), 20)
    await check(country, lambda: catalog.modifier_groups(reads, [one]), 20)
    await check(country, lambda: catalog.listings_by_id(reads, country.ids), 5 * len(country.ids))
    await check(country, lambda: catalog.siblings(reads, country.ids), 20 * len(country.ids))
    await check(country, lambda: catalog.categories_of_stores(reads, [country.crowd.store_id]), STORE_GOODS * 3)


async def test_stock(country: Country):
    reads, store_id, one = country.reads, country.crowd.store_id, country.ids[0]
    await check(country, lambda: stock.levels(reads, country.ids), len(country.ids))
    for read in (stock.expired, stock.due_back, stock.in_doubt):
        await check(country, lambda read=read: read(reads, 100))
    for actor in (country.owner, country.support):
        await check(country, lambda actor=actor: ledger.detail(reads, actor, one))
        await check_pages(
            country, lambda after, actor=actor: ledger.movement_page(reads, actor, one, 20, after), SIZE.stores / 10 + FEW
        )
        await check_pages(
            country, lambda after, actor=actor: ledger.detail_page(reads, actor, store_id, None, 20, after), STORE_GOODS * 3 + FEW
        )
        await check_pages(
            country, lambda after, actor=actor: ledger.detail_page(reads, actor, store_id, "gar", 20, after), STORE_GOODS * 4 + FEW
        )


# ---------------------------------------------------------------- orders

OF_A_STORE = SIZE.orders // SIZE.stores
OF_A_CHAIN = SIZE.orders // SIZE.chains


@pytest.mark.parametrize("status", [None, [OrderStatus.PLACED], [OrderStatus.PLACED, OrderStatus.ACCEPTED, OrderStatus.READY]])
async def test_orders_of_a_store(country: Country, status: list[OrderStatus] | None):
    by = OrderFilter(status, country.crowd.store_id)
    for actor in (country.owner, country.support):
        await check_pages(
            country, lambda after, actor=actor: orders.order_page(country.reads, actor, by, 20, after), OF_A_STORE + FEW
        )
        await check(country, lambda actor=actor: orders.first_orders(country.reads, actor, by, 100), OF_A_STORE + FEW)


async def test_orders_of_a_merchant(country: Country):
    by = OrderFilter([OrderStatus.PLACED], merchant_id=country.crowd.merchant_id)
    await check_pages(country, lambda after: orders.order_page(country.reads, country.owner, by, 20, after), OF_A_CHAIN + FEW)


async def test_orders_of_a_customer(country: Country):
    page = await check_pages(country, lambda after: orders.order_page(country.reads, country.customer, OrderFilter(), 5, after))
    assert page.nodes
    ids = [order.id for order in page.nodes]
    await check(country, lambda: orders.orders_by_id(country.reads, country.customer, ids))
    await check(country, lambda: orders.order_by_number(country.reads, country.customer, page.nodes[0].number))
    await check(country, lambda: orders.lines_of(country.reads, ids))
    await check(country, lambda: orders.history_of(country.reads, ids))
    await check(country, lambda: orders.versions_of(country.reads, ids))
    await check(country, lambda: purchases.purchases_by_id(country.reads, country.customer, [o.purchase_id for o in page.nodes]))
    await check(country, lambda: orders.orders_of_purchases(country.reads, country.customer, [o.purchase_id for o in page.nodes]))


async def test_the_newest_orders_of_all(country: Country):
    await check_pages(country, lambda after: orders.order_page(country.reads, country.support, OrderFilter(), 20, after))
    await check(country, lambda: orders.overdue(country.reads, 100))


# ---------------------------------------------------------------- what people look after


async def test_failures(country: Country):
    everything = FailureFilter()
    open_ones = FailureFilter(state=FailureState.OPEN)
    of_theirs = FailureFilter(country.crowd.merchant_id, state=FailureState.OPEN, kind=FailureKind.MAPPING)
    of_provider = FailureFilter(provider="wms", state=FailureState.OPEN)
    for actor, which, rows in (
        (country.support, everything, 100),
        (country.support, open_ones, 50 * 50),
        (country.support, of_provider, 50 * 50),
        (country.support, of_theirs, OF_A_CHAIN + 100),
        (country.owner, of_theirs, OF_A_CHAIN + 100),
        # From the newest of all back to a page of theirs. Whose they are to be is better said: see above.
        (country.owner, everything, SIZE.orders / 10),
    ):
        await check_pages(
            country,
            lambda after, actor=actor, which=which: failures.failures(country.reads, actor, which, 20, after),
            rows,
        )


async def test_failures_by_what_they_are_about(country: Country):
    """By a word, by their kind, by their store: from where these begin."""
    reads, crowd = country.reads, country.crowd
    group, store, word = (
        FailureFilter(crowd.merchant_id, fingerprint="f1"),
        FailureFilter(crowd.merchant_id, store_id=crowd.store_id),
        FailureFilter(crowd.merchant_id, text=f"{1 + 7 * SIZE.chains}"),
    )
    for which, rows in ((group, OF_A_CHAIN), (replace(group, state=FailureState.OPEN), FEW), (store, OF_A_CHAIN), (word, FEW)):
        await check_pages(country, lambda after, which=which: failures.failures(reads, country.owner, which, 20, after), rows)


@pytest.mark.parametrize("state", [None, FailureState.OPEN])
async def test_groups_of_failures_are_walked_and_those_of_a_page_counted(country: Country, state: FailureState | None):
    """A step for each group, not for each failure: what is counted is counted in the index, of the page and the one after."""
    theirs, everybodys = FailureFilter(country.crowd.merchant_id, state=state), FailureFilter(state=state)
    page = await check_pages(
        country, lambda after: failure_groups(country.reads, country.owner, theirs, 2, after), 3 * OF_A_CHAIN / GROUPS + FEW
    )
    assert state or (len(page.nodes), page.page_info.has_next_page) == (2, True)  # of theirs none is open
    page = await check_pages(
        country, lambda after: failure_groups(country.reads, country.support, everybodys, 2, after), 3 * SIZE.orders / GROUPS + FEW
    )
    assert len(page.nodes) == 2


async def test_payloads_and_sources(country: Country):
    reads, crowd = country.reads, country.crowd
    await check(country, lambda: failures.payloads_by_id(reads, country.owner, [crowd.payload_id]))
    await check_pages(country, lambda after: failures.instructions(reads, country.support, crowd.payload_id, 20, after))
    await check(country, lambda: sources.sources(reads, country.owner, crowd.merchant_id))
    await check(country, lambda: sources.by_id(reads, "wms", crowd.source_id))
    await check(country, lambda: sources.traffic(reads, [crowd.source_id]), OF_A_CHAIN * 2 + FEW)
    await check(country, lambda: health.healths(reads, [crowd.source_id]))


async def test_the_audit(country: Country):
    for subject in (None, country.crowd.store_id):
        await check_pages(country, lambda after, subject=subject: audit.entries(country.reads, country.support, subject, 20, after))


async def test_the_log_and_the_people(country: Country):
    await check(country, lambda: events.head(country.reads))
    await check(country, lambda: events.entries_since(country.reads, SIZE.orders - 100, 1_000))
    await check(country, lambda: identity.viewer(country.reads, country.customer))
    await check(country, lambda: merchants.stores_of_merchant(country.reads, country.owner, country.crowd.merchant_id))


@pytest.mark.parametrize("counted", [True, False], ids=["counted", "not counted yet"])
@pytest.mark.parametrize("things", [3, 6_000])
async def test_a_backlog_is_claimed_in_the_time_of_its_rows(country: Country, things: int, counted: bool):
    """Of a few things or of many, and whether the planner has heard of it or not."""
    source_id, payload_id = country.crowd.source_id, country.crowd.payload_id
    async with country.engine.connect() as connection:
        free = await connection.execution_options(isolation_level="AUTOCOMMIT")
        await free.exec_driver_sql("TRUNCATE instruction CASCADE")
        for first, state in ((0, "APPLIED"), (6_000, "WAITING")):
            await free.exec_driver_sql("VACUUM ANALYZE instruction")
            await free.exec_driver_sql(
                "INSERT INTO instruction (id, payload_id, source_id, ordinal, command, entity, stage, body, state, next_at)"
                f" SELECT (lpad(to_hex({first} + n), 8, '0') || '-0000-7000-8000-000000000001')::uuid, '{payload_id}',"
                f""" '{source_id}', n, 'UpsertCatalogItem', 'PRODUCT:' || n % {things}, 0, '{{"item": "a", "title": "b"}}',"""
                f" '{state}', now()"
                " FROM generate_series(1, 6000) n"
            )
        if counted:
            await free.exec_driver_sql("ANALYZE instruction")

    async def claim() -> None:
        async with country.engine.begin() as connection:
            group = await SqlInstructions(connection).claim(source_id, 500)
            assert group is not None
            assert len(group.instructions) == min(things, 500)

    await check(replace(country, big={"instruction": 6_000}), claim, 6_000 * 4)


@asynccontextmanager
async def besides(engine: AsyncEngine, table: str, insert: str, delete: str) -> AsyncIterator[None]:
    """So many rows more, which the planner has heard of."""
    async with engine.connect() as connection:
        free = await connection.execution_options(isolation_level="AUTOCOMMIT")
        await free.exec_driver_sql(insert)
        await free.exec_driver_sql(f"VACUUM ANALYZE {table}")
        try:
            yield
        finally:
            await free.exec_driver_sql(delete)
            await free.exec_driver_sql(f"VACUUM ANALYZE {table}")


async def test_what_an_option_makes_of_items_is_found_by_how_it_ends(country: Country):
    crowd = country.crowd
    many = (
        "INSERT INTO mapping (source_id, kind, external_id, merchant_id, id)"
        f" SELECT '{crowd.source_id}', 'VARIANT', 'I' || n || '+O' || n % 5000, '{crowd.merchant_id}', gen_random_uuid()"
        " FROM generate_series(1, 20000) n"
    )

    async def ask() -> None:
        async with unit_of_work(country.engine) as uow:
            found = await uow.sources.formed(crowd.source_id, ["O7", "O8", "7", "O%", "O7\\"])
            assert {option: len(ids) for option, ids in found.items()} == {"O7": 4, "O8": 4}

    async with besides(country.engine, "mapping", many, f"DELETE FROM mapping WHERE source_id = '{crowd.source_id}'"):
        await check(replace(country, big={"mapping": 20_000}), ask, 50)


async def test_a_count_looks_at_what_orders_took_and_not_at_every_sale_of_the_till(country: Country):
    """Neither at the till's own of what is counted, nor at orders of anything else."""
    counted, other = country.ids[-2:]
    many = (
        "INSERT INTO stock_movement (id, listing_id, merchant_id, kind, on_hand_delta, cause, order_id)"
        f" SELECT gen_random_uuid(), CASE WHEN n % 2 = 0 THEN '{counted}' ELSE '{other}' END::uuid,"
        f" '{country.crowd.merchant_id}', 'SOLD',"
        f" -1, 'till', CASE WHEN n % 2 = 0 THEN NULL ELSE gen_random_uuid() END FROM generate_series(1, 40000) n"
    )

    async def ask() -> None:
        async with unit_of_work(country.engine) as uow:
            now = await uow.now()
            assert await uow.stock.count_due([Count(counted, 7, now, "test", "test")]) == {counted: 7}

    async with besides(country.engine, "stock_movement", many, "DELETE FROM stock_movement WHERE cause = 'till'"):
        await check(replace(country, big={"stock_movement": 40_000}), ask, 100)


async def test_a_read_without_an_index_is_told(country: Country):
    """What all the others rest on."""

    async def slow() -> None:
        async with country.engine.connect() as connection:
            await connection.exec_driver_sql("SELECT id FROM listing WHERE price_minor = 3")

    with pytest.raises(AssertionError, match="listing is read from end to end"):
        await check(country, slow)
