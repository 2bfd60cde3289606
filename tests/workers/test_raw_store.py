"""What was kept as it came is enough: read again into an empty database, it makes the same shop."""

import random
from collections.abc import AsyncIterator, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import insert, select
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from db import sources
from db import tables as t
from db.reads import Reads
from db.unit_of_work import unit_of_work
from domain.doors import called
from domain.intake import Call, EntityKind, PayloadState, translated
from domain.payloads import Received, keep
from tests.conftest import LONG, database, url_of
from tests.figures import show
from tests.partners import Partner, dish, event, menu, partner, size, snapshot, worker_of
from wiring import INBOUNDS

SEED = 61
ROUNDS, GOODS = (80, 60) if LONG else (12, 15)
SAID = frozenset({"status", "status_until", "status_reason", "look_at", "told", "version"})  # of a store
HEAD = "index,product,category,sub_category,brand,sale_price,market_price,type,rating\n"


@pytest.fixture
def empty_url(server_url: str, template: str) -> Iterator[str]:
    with database(server_url, template) as name:
        yield url_of(server_url, name)


@pytest.fixture
async def empty(empty_url: str) -> AsyncIterator[AsyncEngine]:
    engine = create_async_engine(empty_url)
    yield engine
    await engine.dispose()


async def say(chance: random.Random, round: int, partners: Mapping[str, Partner]) -> None:
    """One of them says something; now and then something that is wrong, or that it has said before."""
    who = chance.choice(sorted(partners))
    one, now = partners[who], datetime.now(UTC)
    sku = f"SKU-{chance.randrange(GOODS)}"
    match who:
        case "petpooja":
            dishes = [dish(str(7000 + n), f"{chance.randint(90, 110)}.00", in_stock=chance.choice("022")) for n in range(GOODS)]
            dishes[0]["variation"] = [size("1", "Half", "60.00"), size("2", "Full", f"{chance.randint(100, 120)}.00")]
            said = [
                ("webhooks/menu", menu(one.store, *dishes[chance.randint(0, 2) :])),
                ("webhooks/inventory", {"restID": one.store, "type": "item", "inStock": False, "itemID": ["7003", "7004"]}),
                ("webhooks/store-status", {"restID": one.store, "store_status": chance.choice("01"), "reason": "rush"}),
                ("webhooks/menu", {"success": "1"}),
            ]
        case "catalogue_file":
            rows = "".join(
                f"SKU-{n},Good {n},Snacks,Chips,Malabar,{chance.randint(80, 100)},100,Chips,4\n" for n in range(GOODS - round % 3)
            )
            said = [(f"import?store={one.store}", (HEAD + rows + "SKU-X,Broken,Snacks,Chips,Malabar,200,100,Chips,4\n").encode())]
        case "till":
            sale = {"seq": round, "at": (now - timedelta(minutes=chance.randint(0, 3))).isoformat()}
            said = [("webhooks/sales", {"device": "t", "sales": [{**sale, "lines": [{"sku": sku, "quantity": 1}]}]})]
        case _:
            said = [
                ("webhooks/stock", snapshot(one.store, (sku, chance.randint(5, 50), round), at=now)),
                ("webhooks/stock", event("stock.adjusted", now, location=one.store, sku=sku, delta="3", version=round)),
                (
                    "webhooks/stock",
                    event("price.updated", now, location=one.store, sku=sku, price="81.00", currency="INR", version=round),
                ),
                (
                    "webhooks/stock",
                    event("price.updated", now, location=one.store, sku=sku, price="-1", currency="INR", version=round),
                ),
            ]
    rest, body = chance.choice(said)
    for _ in range(chance.randint(1, 2)):
        await one.tell(rest, body)


async def test_the_raw_store_alone_makes_the_shop_again(engine: AsyncEngine, empty: AsyncEngine):
    chance = random.Random(SEED)
    first = await partner(engine, "petpooja", "MAIN")
    others = [await partner(engine, provider, "MAIN", of=first.shop) for provider in ("catalogue_file", "till", "wms")]
    partners = {one.inbound.provider: one for one in (first, *others)}
    for round in range(1, ROUNDS + 1):
        await say(chance, round, partners)
    await copied(engine, empty)
    read = await read_again(engine, empty)
    await worker_of(empty).drain()
    was, is_ = await shop_of(engine), await shop_of(empty)
    assert len(was["listings"]) > GOODS // 2
    assert is_ == was
    show("the raw store read again", seed=SEED, rounds=ROUNDS, payloads=read, listings=len(was["listings"]), different=0)


async def copied(engine: AsyncEngine, empty: AsyncEngine) -> None:
    """Whose shop it is, who may say something of it, and which store they mean. Nothing of what they said."""
    stores = t.mapping.c.kind == EntityKind.STORE
    async with engine.connect() as old, empty.begin() as new:
        for table in (t.user_account, t.merchant, t.merchant_member, t.store, t.source):
            kept = [one for one in table.c if one.computed is None and one.name not in SAID]
            rows = (await old.execute(select(*kept))).mappings().all()
            await new.execute(insert(table), [dict(row) for row in rows])
        mapped = select(*(one for one in t.mapping.c if one.computed is None)).where(stores)
        await new.execute(insert(t.mapping), [dict(row) for row in (await old.execute(mapped)).mappings()])


async def read_again(engine: AsyncEngine, empty: AsyncEngine) -> int:
    """In the order in which it came; what came twice, or was refused, is there for the record alone."""
    p = t.payload.c
    taken = p.state.not_in([PayloadState.DUPLICATE, PayloadState.REJECTED])
    async with engine.connect() as old:
        rows = (await old.execute(select(t.payload).where(taken).order_by(p.id))).all()
    for row in rows:
        known = await sources.any_by_id(Reads(empty), row.source_id)
        inbound = INBOUNDS[row.provider]
        told = called(inbound.doors, row.headers)
        call = Call(row.door, row.body, row.headers, row.received_at, told.query, told.values, told.method, told.url)
        received = Received(
            known, row.provider, row.family, row.door, row.body, row.sha256, row.headers, "", row.correlation_id, row.received_at
        )
        async with unit_of_work(empty) as uow:
            await keep(received, translated(inbound, call, known), uow)
        await worker_of(empty).drain()
    return len(rows)


async def shop_of(engine: AsyncEngine) -> dict[str, Any]:
    """By the names that its sources give to things: ids of ours are others each time."""
    li, v, p, level = t.listing.c, t.variant.c, t.product.c, t.stock_level.c
    listings = (
        select(
            p.name, v.name.label("form"), v.sku, li.price_minor, li.mrp_minor, li.active, level.on_hand, level.off, level.tracked
        )
        .join_from(t.listing, t.variant, v.id == li.variant_id)
        .join(t.product, p.id == li.product_id)
        .join(t.stock_level, level.listing_id == li.id)
    )
    async with engine.connect() as connection:
        found = [tuple(row) for row in await connection.execute(listings)]
        statuses = [
            tuple(row) for row in await connection.execute(select(t.store.c.slug, t.store.c.status).order_by(t.store.c.slug))
        ]
    return {"listings": sorted(found, key=str), "stores": statuses}
