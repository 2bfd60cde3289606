"""The demo town in a real database."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path

import pytest
import pytest_asyncio
from sqlalchemy import func, select, update
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from db import sources
from db.ledger import discrepancies
from db.tables import event, listing, merchant, metadata, stock_level, store, user_account, variant
from demo.chain import chain
from demo.samples import SAMPLES
from demo.seed import seed_business, seed_town
from demo.town import BUSINESSES, CONNECTIONS
from domain.intake import Call, Source, read
from domain.payloads import Received, keep
from launch.problem import Problem
from settings import Env
from terminal.desk import OPERATOR, Desk
from terminal.seed import seed_the_chain, seed_the_town, seeding
from terminal.webhook import Asked, prepare
from tests.conftest import database, url_of
from tests.desks import desk_of
from wiring import INBOUNDS
from workers.instructions import Instructions


def nothing(name: str, new: int) -> None:
    pass


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def desk(engine: AsyncEngine, database_url: str, tmp_path_factory: pytest.TempPathFactory) -> Desk:
    """Of a town that is seeded."""
    desk = desk_of(engine, database_url, tmp_path_factory.mktemp("town"))
    await seed_town(await seeding(desk, nothing))
    return desk


async def contents(engine: AsyncEngine) -> dict[str, object]:
    """What is in every table: how many rows, and a digest of them all."""
    found = {}
    async with engine.connect() as connection:
        for table in metadata.sorted_tables:
            text = f"SELECT count(*), md5(string_agg(t::text, ',' ORDER BY t::text)) FROM {table.name} t"
            found[table.name] = tuple((await connection.exec_driver_sql(text)).one())
    return found


async def test_a_second_time_changes_nothing(desk: Desk):
    before = await contents(desk.engine)
    assert await seed_the_town(desk) == 0
    assert await contents(desk.engine) == before


async def test_every_counter_is_the_sum_of_its_movements_and_every_change_has_its_event(desk: Desk):
    assert not await discrepancies(desk.reads)
    levels = await desk.reads.rows(select(stock_level.c.tracked, stock_level.c.on_hand, stock_level.c.version))
    events = await desk.reads.value(select(func.count()).where(event.c.stream == "stock"))
    assert events == sum(level.version for level in levels) == sum(level.tracked for level in levels)
    assert all(level.on_hand > 0 for level in levels if level.tracked)


async def test_the_kitchens_dishes_are_uncounted_and_offered_with_choices(desk: Desk):
    kitchen = await desk.reads.value(select(store.c.id).where(store.c.slug == "namma-kitchen-koramangala"))
    tracked = await desk.reads.rows(select(stock_level.c.tracked).where(stock_level.c.store_id == kitchen))
    assert len(tracked) > 40
    assert not any(row.tracked for row in tracked)


@pytest.fixture
def other_url(server_url: str, template: str) -> Iterator[str]:
    with database(server_url, template) as name:
        yield url_of(server_url, name)


async def test_another_town_has_the_same_ids(desk: Desk, other_url: str, tmp_path: Path):
    engine = create_async_engine(other_url)
    other = desk_of(engine, other_url, tmp_path)
    await seed_town(await seeding(other, nothing))
    for column in (store.c.id, user_account.c.id, variant.c.id, listing.c.id):
        ours, theirs = [sorted(row[0] for row in await one.reads.rows(select(column))) for one in (desk, other)]
        assert ours == theirs
    await engine.dispose()


async def test_what_a_shop_has_changed_stays_as_it_is(desk: Desk):
    dearer = select(listing.c.id).order_by(listing.c.id).limit(1).scalar_subquery()
    async with desk.engine.begin() as connection:
        await connection.execute(update(listing).where(listing.c.id == dearer).values(price_minor=1, active=False))
    await seed_the_town(desk)
    row = await desk.reads.one(select(listing.c.price_minor, listing.c.active).where(listing.c.id == dearer))
    assert tuple(row) == (1, False)


async def test_goods_that_are_new_in_the_list_come_in_beside_the_old_ones(desk: Desk):
    namma = BUSINESSES[0]
    shop = namma.shops[0]
    new = [replace(good, sku=f"NEW-{good.sku}", barcode=f"99{good.barcode}") for good in shop.goods[:3]]
    added: list[tuple[str, int]] = []
    more = replace(namma, shops=(replace(shop, goods=[*shop.goods, *new]),))
    await seed_business(more, {}, await seeding(desk, lambda name, listings: added.append((name, listings))))
    assert added == [(shop.name, 3)]


async def apply(provider: str, event_name: str, desk: Desk) -> None:
    """As the door keeps it, and the worker carries it out."""
    prepared = await prepare(Asked(provider, event_name), desk)
    inbound, known = INBOUNDS[provider], await source_of(provider, desk)
    door = inbound.doors[inbound.endpoints[SAMPLES[provider][event_name].endpoint]]
    token = None if "source=" in prepared.url else prepared.url.split("/")[7]
    call = Call(door, prepared.body, prepared.headers, datetime.now(UTC), token=token)
    reading = read(inbound, call, known)
    assert reading.wrong is None
    digest = sha256(call.body).digest()
    received = Received(known, provider, inbound.family, door, call.body, digest, {}, "", event_name, call.received_at)
    async with desk.begin() as uow:
        await keep(received, reading, uow)
    await Instructions(desk.begin, desk.reads, INBOUNDS).drain()


async def source_of(provider: str, desk: Desk) -> Source:
    (found,) = await sources.sources(desk.reads, OPERATOR, provider=provider)
    registered = await sources.by_id(desk.reads, provider, found.id)
    assert registered is not None
    return registered.opened(desk.trust.seals, INBOUNDS[provider].proof)


async def changes(desk: Desk) -> int:
    streams = ("listing", "product", "stock", "store")
    return await desk.reads.value(select(func.count()).where(event.c.stream.in_(streams)))


@pytest.mark.parametrize(("provider", "name"), [(one.provider, name) for one in CONNECTIONS for name in SAMPLES[one.provider]])
async def test_nothing_a_sample_names_is_unknown_to_the_town(desk: Desk, provider: str, name: str):
    before = await changes(desk)
    await apply(provider, name, desk)
    assert (await changes(desk) > before) == (name not in {"menu", "store-status", "store.status"})
    assert not await failures(desk)


async def failures(desk: Desk) -> list[str]:
    return [row.body for row in await desk.reads.rows(select(event.c.body).where(event.c.stream == "failure"))]


async def test_production_refuses_the_town_and_the_chain(desk: Desk):
    there = replace(desk, settings=desk.settings.model_copy(update={"env": Env.PRODUCTION}))
    for seed in (seed_the_town, seed_the_chain):
        with pytest.raises(Problem, match="demo accounts have no place in production"):
            await seed(there)


async def test_stores_of_the_chain_share_one_catalogue(desk: Desk):
    business, cities = chain()
    two = replace(business, shops=business.shops[:2])
    added: list[int] = []
    for _ in range(2):
        await seed_business(two, cities, await seeding(desk, lambda name, new: added.append(new)))
    size = len(business.shops[0].goods)
    assert added == [size, size, 0, 0]
    skus = await desk.reads.rows(
        select(variant.c.sku).join(merchant, merchant.c.id == variant.c.merchant_id).where(merchant.c.slug == business.slug)
    )
    assert len(skus) == size
