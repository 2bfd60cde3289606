"""A consumer that knows the topics and their schemas alone has the prices and the stock of a town."""

import asyncio
import json
import random
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from redis.asyncio import Redis
from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncEngine

from adapters.bus import open_bus
from db import stock
from db import tables as t
from db.reads import Reads
from db.relay import leadership
from domain.events import Topic
from domain.intake import InstructionState
from tests.conftest import LONG
from tests.figures import show
from tests.partners import dish, menu, partner, snapshot
from workers.relay import Relay

SEED = 29
ROUNDS, GOODS = (60, 80) if LONG else (8, 20)


@dataclass
class Consumer:
    """Reads streams, and holds to docs/events/: of each thing the highest seq counts, and what it does not know it passes over."""

    redis: Redis
    places: dict[str, str] = field(default_factory=lambda: {topic.value: "0" for topic in Topic})
    seen: dict[tuple[str, str], int] = field(default_factory=dict)
    prices: dict[str, int] = field(default_factory=dict)
    shown: dict[str, bool] = field(default_factory=dict)
    available: dict[str, int | None] = field(default_factory=dict)
    last: int = 0

    async def read(self) -> None:
        for topic, entries in await self.redis.xread(self.places, count=500) or ():
            for place, fields in entries:
                self.places[topic] = place
                # As a bus may do it: some messages come twice.
                for _ in range(1 + (int(place.partition("-")[0]) % 3 == 0)):
                    for event in json.loads(fields["m"])["events"]:
                        self.hear(event)

    def hear(self, event: dict[str, Any]) -> None:
        self.last = max(self.last, event["pos"])
        of, id, body = (event["stream"], event["entity"]), event["entity"], event["body"]
        if event["seq"] <= self.seen.get(of, 0):
            return
        self.seen[of] = event["seq"]
        match event["kind"]:
            case "ListingChanged":
                self.prices[id], self.shown[id] = body["listing"]["price_minor"], body["listing"]["active"]
            case "PriceChanged":
                self.prices[id] = body["price"]["minor"]
            case "StockChanged":
                self.available[id] = body["level"]["available"]


async def test_price_and_stock_are_rebuilt_from_the_topics(engine: AsyncEngine, redis_url: str):
    chance = random.Random(SEED)
    till = await partner(engine, "petpooja")
    warehouse = await partner(engine, "wms", of=till.shop)
    shelf = await partner(engine, "catalogue_file", of=till.shop)
    bus = open_bus(redis_url)
    await bus.start()
    relaying = asyncio.create_task(Relay(partial(leadership, engine), bus).run())
    consumer = Consumer(Redis.from_url(redis_url, decode_responses=True))
    try:
        for round in range(1, ROUNDS + 1):
            await _say(chance, round, till, warehouse, shelf)
            await consumer.read()
        async with engine.connect() as connection:
            events = (await connection.execute(select(func.count()).select_from(t.event))).scalar_one()
        async with asyncio.timeout(30):
            while consumer.last < events:
                await consumer.read()
                await asyncio.sleep(0.02)
    finally:
        relaying.cancel()
        await asyncio.gather(relaying, return_exceptions=True)
        await bus.stop()
        await consumer.redis.aclose()
    async with engine.connect() as connection:
        rows = (await connection.execute(select(t.listing.c.id, t.listing.c.price_minor, t.listing.c.active))).all()
        states = set((await connection.execute(select(t.instruction.c.state).distinct())).scalars())
    levels = await stock.levels(Reads(engine), [row.id for row in rows])
    assert states == {InstructionState.APPLIED}  # nothing waits for somebody's approval: then the half of it would not be told
    assert len(rows) > GOODS
    assert consumer.prices == {str(row.id): row.price_minor for row in rows}
    assert consumer.shown == {str(row.id): row.active for row in rows}
    told = {str(one.listing_id): one.available for one in levels if one.version}  # before its first event nobody counts it
    assert consumer.available == told
    assert {one.available for one in levels if not one.version} <= {None}
    show("a consumer of topics alone", seed=SEED, rounds=ROUNDS, events=events, listings=len(rows), wrong=0)


async def _say(chance: random.Random, round: int, till: Any, warehouse: Any, shelf: Any) -> None:
    """A menu, counts, and a file: each changes something of what was there."""
    dishes = [dish(str(7000 + n), f"{chance.randint(200, 400)}.00", in_stock=chance.choice("02")) for n in range(GOODS)]
    await till.tell("webhooks/menu", menu(till.store, *dishes[: len(dishes) - round % 3]))
    skus = [f"SKU-{n}" for n in range(GOODS)]
    rows = "".join(f"{sku},Good {sku},Snacks,Chips,Malabar,{chance.randint(40, 90)},100,Chips,4\n" for sku in skus)
    head = "index,product,category,sub_category,brand,sale_price,market_price,type,rating\n"
    await shelf.tell(f"import?store={shelf.store}", (head + rows).encode())
    lines = [(sku, chance.randint(0, 30), round) for sku in chance.sample(skus, GOODS // 2)]
    await warehouse.tell("webhooks/stock", snapshot(warehouse.store, *lines))
