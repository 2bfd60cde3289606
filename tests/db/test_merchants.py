"""Stores as they are read: the hours in SQL and in the domain are one rule."""

from datetime import UTC, date, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
import pytest_asyncio
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from sqlalchemy import DateTime, insert, literal, select, update
from sqlalchemy.ext.asyncio import AsyncEngine

from db.ids import new_id
from db.merchants import StoreSearch, distance_metres, stores, stores_by_id, within_hours
from db.pages import total
from db.reads import Reads
from db.tables import merchant, store, store_hours, store_hours_exception
from domain.merchants import DAY, Hours, HoursException, StoreStatus, opening
from domain.places import Point, metres_between, to_the_centimetre
from domain.refusals import InvalidInput, Refused

ZONES = ["Asia/Kolkata", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "UTC", "America/Havana", "Pacific/Apia"]
BENGALURU = Point(12.9716, 77.5946)


async def add(engine: AsyncEngine, **more: Any) -> UUID:
    merchant_id, store_id = new_id(), new_id()
    async with engine.begin() as connection:
        await connection.execute(insert(merchant).values(id=merchant_id, name="Anand", slug=str(merchant_id)))
        values = {"slug": str(store_id), "name": "Anand Stores", "city": "Bengaluru", "lat": 12.97, "lng": 77.59, **more}
        await connection.execute(insert(store).values(id=store_id, merchant_id=merchant_id, **values))
    return store_id


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def reads(engine: AsyncEngine) -> Reads:
    return Reads(engine)


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def any_store(engine: AsyncEngine) -> UUID:
    return await add(engine)


halves = st.integers(0, 8).map(lambda half: half * 30)  # by night, when clocks are changed
spans = st.one_of(
    st.tuples(st.integers(0, DAY - 1), st.integers(1, DAY)), st.tuples(halves, halves.map(lambda minutes: minutes + 30))
).map(lambda span: (span[0], span[0] + span[1]))
# Round about the changes of the clocks, and where nothing happens.
moments = st.one_of(
    *(
        st.integers(-180, 180).map(lambda quarters, near=near: near.replace(tzinfo=UTC) + timedelta(minutes=quarters * 15))
        for near in (
            datetime(2026, 3, 29, 1),
            datetime(2026, 10, 25, 1),
            datetime(2026, 3, 8, 7),
            datetime(2026, 11, 1, 6),
            datetime(2026, 4, 5),
            datetime(2026, 7, 1),
        )
    )
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    week=st.lists(st.tuples(st.integers(0, 6), spans), max_size=10, unique_by=lambda one: (one[0], one[1][0])),
    days=st.lists(st.tuples(st.integers(-3, 3), st.none() | spans), max_size=3),
    zone=st.sampled_from(ZONES),
    now=moments,
)
async def test_sql_and_domain_agree_on_who_is_open(
    engine: AsyncEngine, any_store: UUID, week: list[Any], days: list[Any], zone: str, now: datetime
) -> None:
    hours = [Hours(weekday, opens, closes) for weekday, (opens, closes) in week]
    exceptions = [HoursException(now.date() + timedelta(days=away), *(span or (None, None))) for away, span in days]
    async with engine.connect() as connection:
        await connection.execute(update(store).where(store.c.id == any_store).values(time_zone=zone))
        if hours:
            await connection.execute(insert(store_hours), [{"store_id": any_store, **span._asdict()} for span in hours])
        if exceptions:
            await connection.execute(
                insert(store_hours_exception), [{"id": new_id(), "store_id": any_store, **one._asdict()} for one in exceptions]
            )
        said = within_hours(literal(now, DateTime(timezone=True)))
        in_sql = (await connection.execute(select(said).where(store.c.id == any_store))).scalar_one()
        found = opening(hours, exceptions, zone, now)
        assert in_sql == found.open
        for then, opens in ((found.opens_at, True), (found.closes_at, False)):
            if then is not None:  # the moment it is told to change, it does
                after = within_hours(literal(then, DateTime(timezone=True)))
                before = within_hours(literal(then - timedelta(microseconds=1), DateTime(timezone=True)))
                both = (await connection.execute(select(before, after).where(store.c.id == any_store))).one()
                assert tuple(both) == (not opens, opens)
        await connection.rollback()


@pytest.mark.parametrize(
    ("day", "opens", "closes", "opened", "closed"),
    [
        (date(2026, 10, 25), 150, 240, datetime(2026, 10, 25, 1, 30), datetime(2026, 10, 25, 3)),  # 02:30 comes twice
        (date(2026, 10, 25), 60, 150, datetime(2026, 10, 24, 23), datetime(2026, 10, 25, 1, 30)),
        (date(2026, 3, 29), 150, 300, datetime(2026, 3, 29, 1, 30), datetime(2026, 3, 29, 3)),  # 02:30 does not come: 03:30
        (date(2026, 3, 28), 23 * 60, 26 * 60, datetime(2026, 3, 28, 22), datetime(2026, 3, 29, 1)),
        (date(2026, 7, 1), 600, 660, datetime(2026, 7, 1, 8), datetime(2026, 7, 1, 9)),
    ],
)
async def test_hours_where_the_clock_is_changed(
    engine: AsyncEngine, reads: Reads, day: date, opens: int, closes: int, opened: datetime, closed: datetime
) -> None:
    store_id = await add(engine, time_zone="Europe/Berlin")
    opened, closed = opened.replace(tzinfo=UTC), closed.replace(tzinfo=UTC)
    shut = Hours((day.weekday() + 3) % 7, 0, 1)
    async with engine.begin() as connection:
        await connection.execute(insert(store_hours).values(store_id=store_id, **shut._asdict()))
        await connection.execute(
            insert(store_hours_exception).values(id=new_id(), store_id=store_id, day=day, opens=opens, closes=closes)
        )
    for now, is_open in (
        (opened - timedelta(seconds=1), False),
        (opened, True),
        (closed - timedelta(seconds=1), True),
        (closed, False),
    ):
        found = opening([shut], [HoursException(day, opens, closes)], "Europe/Berlin", now)
        assert found.open == is_open
        assert found.closes_at == (closed if is_open else None)
        said = select(within_hours(literal(now, DateTime(timezone=True)))).where(store.c.id == store_id)
        assert await reads.value(said) == is_open


async def test_a_store_is_read_with_its_hours(engine: AsyncEngine, reads: Reads) -> None:
    store_id = await add(engine, time_zone="Asia/Kolkata")
    async with engine.begin() as connection:
        await connection.execute(insert(store_hours).values(store_id=store_id, weekday=5, opens=9 * 60, closes=25 * 60))
        await connection.execute(insert(store_hours_exception).values(id=new_id(), store_id=store_id, day=date(2026, 11, 28)))
    noon = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)  # a Saturday, 17:30 in Bengaluru
    [read] = await stores_by_id(reads, [store_id], noon)
    assert read.hours == [Hours(5, 540, 1500)]
    assert read.exceptions == [HoursException(date(2026, 11, 28), None, None)]
    assert (read.status, read.opens_at, read.closes_at) == (StoreStatus.OPEN, None, datetime(2026, 11, 21, 19, 30, tzinfo=UTC))
    [read] = await stores_by_id(reads, [store_id], noon + timedelta(hours=8))
    assert (read.status, read.opens_at) == (StoreStatus.CLOSED, datetime(2026, 12, 5, 3, 30, tzinfo=UTC))


async def names(reads: Reads, search: StoreSearch, first: int = 50) -> list[str]:
    return [one.name for one in (await stores(reads, search, first, None)).nodes]


async def test_stores_near_come_nearest_first_and_by_pages(engine: AsyncEngine, reads: Reads) -> None:
    places = {"A at hand": (12.972, 77.595), "B beyond": (13.2, 77.6), "C close": (12.98, 77.6), "D too far": (13.5, 77.6)}
    for name, (lat, lng) in places.items():
        await add(engine, name=name, city="Findbarnear", lat=lat, lng=lng)
    search = StoreSearch(near=BENGALURU, text="findbarn")
    assert await names(reads, search) == ["A at hand", "C close", "B beyond"]
    seen, after = [], None
    while True:
        page = await stores(reads, search, 1, after)
        seen += [one.name for one in page.nodes]
        after = page.page_info.end_cursor
        if not page.page_info.has_next_page:
            break
    assert seen == ["A at hand", "C close", "B beyond"]
    assert await total(reads, page) == 3
    assert await names(reads, StoreSearch(text="findbarn")) == sorted(places)


@pytest.mark.parametrize("here", [Point(0, 179.99), Point(0, -179.99), Point(89.9, 10), Point(-90, 0), Point(90, 180), BENGALURU])
async def test_the_box_leaves_no_near_store_out(engine: AsyncEngine, reads: Reads, here: Point) -> None:
    city = f"box{new_id().hex}"
    around = [(0.2, 0.2), (-0.3, 0.1), (0.1, -0.3), (0, 0)]
    for lat, lng in around:
        there = (max(-90.0, min(90.0, here.lat + lat)), (here.lng + lng + 540) % 360 - 180)
        await add(engine, city=city, lat=there[0], lng=there[1])
    found = (await stores(reads, StoreSearch(near=here, text=city), 50, None)).nodes
    assert len(found) == len(around)
    assert [one.distance_metres(here) for one in found] == sorted(one.distance_metres(here) for one in found)


@given(lat=st.floats(-90, 90), lng=st.floats(-180, 180))
@example(lat=0, lng=5e-324)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=25)
async def test_sql_and_domain_measure_alike(reads: Reads, any_store: UUID, lat: float, lng: float) -> None:
    point = to_the_centimetre(lat, lng)
    there = await reads.rows(select(store.c.lat, store.c.lng, distance_metres(point)).where(store.c.id == any_store))
    assert abs(there[0][2] - metres_between(Point(there[0].lat, there[0].lng), point)) <= 1


async def test_only_open_stores_when_asked(engine: AsyncEngine, reads: Reads) -> None:
    city = "Openville"
    await add(engine, name="always", city=city)
    await add(engine, name="busy", city=city, status=StoreStatus.BUSY)
    await add(engine, name="paused", city=city, status=StoreStatus.PAUSED)
    await add(engine, name="pause over", city=city, status=StoreStatus.PAUSED, status_until=datetime(2020, 1, 1, tzinfo=UTC))
    await add(engine, name="gone", city=city, archived_at=datetime(2020, 1, 1, tzinfo=UTC))
    shut = await add(engine, name="shut", city=city)
    async with engine.begin() as connection:
        today = datetime.now(UTC).date()
        for away in (-1, 0, 1):
            await connection.execute(
                insert(store_hours_exception).values(id=new_id(), store_id=shut, day=today + timedelta(days=away))
            )
    assert await names(reads, StoreSearch(open=True, text=city)) == ["always", "busy", "pause over"]
    assert await names(reads, StoreSearch(open=False, text=city)) == ["paused", "shut"]
    page = await stores(reads, StoreSearch(text=city), 50, None)
    assert {one.name for one in page.nodes if one.is_open} == {"always", "busy", "pause over"}


async def test_text_without_words_finds_no_store(reads: Reads, any_store: UUID) -> None:
    assert await names(reads, StoreSearch(text="?!")) == []
    assert await total(reads, await stores(reads, StoreSearch(text="?!"), 5, None)) == 0
    assert await names(reads, StoreSearch(text="  "))
    with pytest.raises(Refused) as no:
        await names(reads, StoreSearch(text="a\0"))
    assert isinstance(no.value.refusal, InvalidInput)
