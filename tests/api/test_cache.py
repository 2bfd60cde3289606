"""What is answered from what is kept: the same as what is so, after every kind of change, whoever reads and whoever writes."""

import asyncio
import itertools
import json
import random
import time
from base64 import b64encode
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any
from uuid import UUID

import httpx2
import pytest
import pytest_asyncio
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncEngine
from starlette.types import ASGIApp

from app import create_app
from db import tables as t
from db.ids import new_id
from db.reads import Reads
from db.unit_of_work import unit_of_work
from domain.catalog import UpsertedProduct, UpsertedVariant, apply_products, apply_variants
from domain.choices import (
    ChoiceSwitch,
    OfferedGroup,
    OfferedGroups,
    UpsertedGroup,
    UpsertedModifier,
    apply_modifier_groups,
    switch_choices,
)
from domain.counting import Count, Switch, apply_counts, apply_switches
from domain.identity import ANYBODY, CLOCK
from domain.listings import PriceSet, UpsertedListing, apply_listings, apply_prices
from domain.merchants import AddStore, SetStoreStatus, StoreStatus, add_store, set_store_status
from domain.places import Point
from domain.unit_of_work import UnitOfWork
from resolvers.loaders import Loaders
from schema.roots import Api
from settings import Settings
from subscriptions.following import Following
from subscriptions.stock import stock as stock_feed
from tests.conftest import LONG
from tests.figures import show
from tests.groceries import goods, stock_up
from tests.live.town import SEALING, SIGNING
from tests.waiting import until
from tests.world import Shop, listings, shop
from wiring import Wiring

HERE = {"lat": 12.9720, "lng": 77.5950}
LISTING = """{ id variantName sku barcode price { amount } mrp { amount } product { id name brand category { name path } }
  stock { state available backAt version } store { name status } siblings { id variantName price { amount } stock { available } }
  modifierGroups { name min max options { name price { amount } available } } }"""
PAGE = f"nodes {LISTING} pageInfo {{ hasNextPage endCursor }} totalCount facets {{ name values {{ value count }} }}"
STORE = "{ id slug name status opensAt closesAt prepMinutes categories { name path } }"
OF_STORE = f"""query($id: ID!, $filter: ListingFilter, $sort: ListingSort) {{
  store(id: $id) {{ listings(filter: $filter, sort: $sort) {{ {PAGE} }} }} }}"""
SEARCH = f"""query($text: String!, $near: PointInput, $filter: ListingFilter) {{
  search(text: $text, near: $near, filter: $filter) {{ {PAGE} }} }}"""
BY_ID = f"query($id: ID!) {{ store(id: $id) {STORE} }}"
BY_SLUG = f"query($slug: String!) {{ store(slug: $slug) {STORE} }}"
NEAR = f"query($near: PointInput!) {{ stores(near: $near) {{ nodes {STORE} }} }}"
ONE = f"query($id: ID!) {{ listing(id: $id) {LISTING} }}"
SEED = 41


@dataclass
class Running:
    """One process's app, spoken to by its own door."""

    app: ASGIApp
    wiring: Wiring
    client: httpx2.AsyncClient

    async def ask(self, document: str, **variables: Any) -> tuple[bytes, str]:
        answer = await self.client.post("/graphql", json={"query": document, "variables": variables})
        assert answer.status_code == 200, answer.text
        assert b'"errors"' not in answer.content, answer.text
        return answer.content, answer.headers.get("cache-status", "")

    async def ask_by_socket(self, asking: dict[str, Any]) -> tuple[str, str]:
        """The text of both frames that it is answered by."""
        said: asyncio.Queue[Any] = asyncio.Queue()
        heard: asyncio.Queue[Any] = asyncio.Queue()
        scope = {
            "type": "websocket", "path": "/graphql", "raw_path": b"/graphql", "root_path": "", "query_string": b"", "scheme": "ws",
            "headers": [], "client": ("127.0.0.1", 1), "subprotocols": ["graphql-transport-ws"], "extensions": {}, "state": {},
        }  # fmt: skip
        said.put_nowait({"type": "websocket.connect"})
        for message in ({"type": "connection_init"}, {"type": "subscribe", "id": "é", "payload": asking}):
            said.put_nowait({"type": "websocket.receive", "text": json.dumps(message)})
        socket = asyncio.create_task(self.app(scope, said.get, heard.put))
        try:
            async with asyncio.timeout(10):
                _, _, answer, end = [(await heard.get()).get("text") for _ in range(4)]  # after the upgrade, and the ack
            return answer, end
        finally:
            said.put_nowait({"type": "websocket.disconnect", "code": 1000})
            await socket

    async def cached(self) -> float:
        """So many public queries went by the cache."""
        lines = (await self.client.get("/metrics")).text.splitlines()
        return sum(float(line.split()[-1]) for line in lines if line.startswith("haat_cached_total{"))

    async def kept(self, document: str, **variables: Any) -> bytes:
        """Asks until it is answered by what is kept: where a heartbeat comes late, on a busy machine, nothing is believed."""
        async with asyncio.timeout(10):
            while True:
                body, how = await self.ask(document, **variables)
                if how == "haat; hit":
                    return body


@asynccontextmanager
async def running(settings: Settings, *workers: str) -> AsyncIterator[Running]:
    app = create_app(settings, workers=workers)
    async with app.router.lifespan_context(app):
        transport = httpx2.ASGITransport(app)
        async with httpx2.AsyncClient(transport=transport, base_url="http://haat") as client:
            yield Running(app, app.state.wiring, client)


@pytest.fixture(scope="module")
def settings(database_url: str, redis_url: str) -> Settings:
    return Settings(
        env="test",
        database_url=database_url,
        redis_url=redis_url,
        rate_limits=False,
        signing_keys=b64encode(SIGNING).decode(),
        sealing_keys=b64encode(SEALING).decode(),
    )


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def processes(settings: Settings) -> AsyncIterator[tuple[Running, Running, Running]]:
    """The first writes the log too, the second has none of its own; the third keeps nothing: what it says is so."""
    async with (
        running(settings, "relay") as first,
        running(settings) as second,
        running(settings.model_copy(update={"cache_bytes": 0})) as plain,
    ):
        await until(lambda: first.wiring.cache.believed and second.wiring.cache.believed)
        yield first, second, plain


# ---------------------------------------------------------------- every change is seen


@dataclass
class Street:
    """A shop with something of everything, and what may happen to it."""

    engine: AsyncEngine
    mine: Shop
    listings: Sequence[UUID]
    product: UUID
    variant: UUID
    path: tuple[str, ...] = ("Beverages", "Tea")

    async def do(self, work: Callable[[UnitOfWork], Awaitable[Any]]) -> Any:
        async with unit_of_work(self.engine) as uow:
            return await work(uow)

    async def price(self) -> None:
        await self.do(lambda uow: apply_prices([PriceSet(self.listings[0], 4_242)], uow))

    async def count(self) -> None:
        await self.do(lambda uow: apply_counts([Count(self.listings[0], 17, datetime.now(UTC), "test", "test")], uow))

    async def last_one_sold(self) -> None:
        await self.do(lambda uow: apply_counts([Count(self.listings[0], 0, datetime.now(UTC), "test", "test")], uow))

    async def off_for_a_while(self) -> None:
        back_at = datetime.now(UTC) + timedelta(hours=1)
        await self.do(lambda uow: apply_switches([Switch(self.listings[1], True, "test", back_at)], uow))

    async def renamed(self) -> None:
        told = UpsertedProduct(self.product, self.mine.merchant_id, "Zebra milk", brand="Zebra", category_path=("Dairy", "Milk"))
        await self.do(lambda uow: apply_products([told], uow))

    async def another_size(self) -> None:
        async def work(uow: UnitOfWork) -> None:
            told = UpsertedVariant(None, self.mine.merchant_id, self.product, f"SKU-{new_id()}", "Huge")
            [variant] = await apply_variants([told], uow)
            await apply_listings([UpsertedListing(self.mine.store_id, variant, 9_900)], uow)

        await self.do(work)

    async def resized(self) -> None:
        told = UpsertedVariant(
            self.variant, self.mine.merchant_id, self.product, f"SKU-{new_id()}", "Tiny", barcode="4006381333931"
        )
        await self.do(lambda uow: apply_variants([told], uow))

    async def taken_off_the_shelf(self) -> None:
        await self.do(lambda uow: apply_listings([UpsertedListing(self.mine.store_id, self.variant, active=False)], uow))

    async def choices(self) -> None:
        group = UpsertedGroup(self.mine.store_id, "sugar", "Sugar", [UpsertedModifier("one", "One spoon", 500)])
        offer = OfferedGroups(self.listings[0], [OfferedGroup("sugar", 0, 1)])
        await self.do(lambda uow: apply_modifier_groups([group], [offer], uow))

    async def no_more_sugar(self) -> None:
        await self.do(lambda uow: switch_choices([ChoiceSwitch(self.mine.store_id, "one", True, None, "test")], uow))

    async def paused(self) -> None:
        told = SetStoreStatus(self.mine.store_id, StoreStatus.PAUSED, datetime.now(UTC) + timedelta(hours=1))
        await self.do(lambda uow: set_store_status(told, self.mine.owner, uow))

    async def open_again(self) -> None:
        await self.do(lambda uow: set_store_status(SetStoreStatus(self.mine.store_id, StoreStatus.OPEN), self.mine.owner, uow))

    async def a_new_neighbour(self) -> None:
        where = Point(12.9721, 77.5951)
        told = AddStore(self.mine.merchant_id, f"n-{new_id()}", "Amrit Annexe", "Bengaluru", where)
        await self.do(lambda uow: add_store(told, CLOCK, uow))


CHANGES = (
    Street.price,
    Street.count,
    Street.choices,
    Street.no_more_sugar,
    Street.last_one_sold,
    Street.off_for_a_while,
    Street.renamed,
    Street.another_size,
    Street.resized,
    Street.paused,
    Street.open_again,
    Street.a_new_neighbour,
    Street.taken_off_the_shelf,
)


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def street(engine: AsyncEngine) -> Street:
    mine = await shop(engine)
    some = [good for good in goods(60) if len(good.variants) == 1][:8]
    made = await stock_up(engine, mine.merchant_id, mine.store_id, some)
    async with engine.begin() as connection:
        row = (await connection.execute(select(t.listing).where(t.listing.c.id == made[0]))).one()
    async with unit_of_work(engine) as uow:
        await apply_counts([Count(id, 3, datetime.now(UTC), "test", "test") for id in made], uow)
    return Street(engine, mine, made, row.product_id, row.variant_id)


def documents(street: Street) -> list[tuple[str, dict[str, Any]]]:
    id = str(street.mine.store_id)
    return [
        (BY_ID, {"id": id}),
        (BY_SLUG, {"slug": f"s-{id}"}),
        (NEAR, {"near": HERE}),
        ("query($near: PointInput!) { stores(near: $near, open: true) { nodes { id name } } }", {"near": HERE}),
        ("query($near: PointInput!) { stores(near: $near, open: false) { nodes { id name } } }", {"near": HERE}),
        ("{ stores(text: \"Amrit\") { nodes { id name } } }", {}),
        (OF_STORE, {"id": id}),
        (OF_STORE, {"id": id, "sort": "PRICE_ASC"}),
        (OF_STORE, {"id": id, "sort": "NEWEST", "filter": {"inStock": True}}),
        (OF_STORE, {"id": id, "filter": {"inStock": False}}),
        (OF_STORE, {"id": id, "filter": {"text": "zeb"}}),
        (OF_STORE, {"id": id, "filter": {"brand": "Zebra"}}),
        (OF_STORE, {"id": id, "filter": {"priceMax": "42.42"}}),
        (ONE, {"id": str(street.listings[0])}),
        (ONE, {"id": str(street.listings[1])}),
        (SEARCH, {"text": "zebra"}),
        (SEARCH, {"text": "tea", "near": HERE}),
        (SEARCH, {"text": "tea", "filter": {"inStock": True}}),
        ("{ categories { id name path } }", {}),
    ]  # fmt: skip


async def test_after_every_kind_of_change_what_is_kept_is_what_is_so(processes: tuple[Running, Running, Running], street: Street):
    *keeping, plain = processes
    differed: set[str] = set()
    for change in CHANGES:
        asked = documents(street)
        before = []
        for document, variables in asked:
            answers = {await process.kept(document, **variables) for process in keeping}
            so, how = await plain.ask(document, **variables)
            assert how == "haat; fwd=bypass"
            assert answers == {so}, (document, variables)
            before.append(so)
        await change(street)
        last = await last_event(street.engine)
        await until(lambda last=last: all(process.wiring.hub.pos >= last for process in keeping))
        for place, (document, variables) in enumerate(asked):
            so, _ = await plain.ask(document, **variables)
            for process in keeping:
                assert (await process.ask(document, **variables))[0] == so, (change.__name__, document, variables)
            if so != before[place]:
                differed.add(change.__name__)
    assert differed == {change.__name__ for change in CHANGES}  # or no document shows what has changed


async def last_event(engine: AsyncEngine) -> int:
    """Its place in the log, once it has one."""
    async with asyncio.timeout(5), engine.connect() as connection:
        while True:
            rows = await connection.execute(select(t.event.c.pos).order_by(t.event.c.id.desc()).limit(1))
            pos: int | None = rows.scalar_one()
            if pos is not None:
                return pos
            await asyncio.sleep(0.01)


# ---------------------------------------------------------------- what is kept, and for whom


async def test_the_clock_ends_an_answer_at_its_time(processes: tuple[Running, Running, Running], engine: AsyncEngine):
    """No event has to come for it: no worker runs here that could tell of it."""
    first, *_ = processes
    mine = await shop(engine)
    async with unit_of_work(engine) as uow:
        ends = await uow.now() + timedelta(seconds=1.5)
        await set_store_status(SetStoreStatus(mine.store_id, StoreStatus.PAUSED, ends), mine.owner, uow)
    await until(lambda: first.wiring.cache.believed)
    document = "query($id: ID!) { store(id: $id) { status } }"
    assert b"PAUSED" in await first.kept(document, id=str(mine.store_id))
    while datetime.now(UTC) < ends:
        body, _ = await first.ask(document, id=str(mine.store_id))
        assert b"PAUSED" in body or datetime.now(UTC) >= ends
        await asyncio.sleep(0.02)
    await asyncio.sleep(0.1)
    assert b"OPEN" in (await first.ask(document, id=str(mine.store_id)))[0]


async def test_only_what_is_the_same_for_everybody_is_kept(processes: tuple[Running, Running, Running], street: Street):
    first, *_ = processes
    id = str(street.mine.store_id)
    for document in (
        "query($id: ID!) { store(id: $id) { name } viewer { __typename } }",
        "query($id: ID!) { store(id: $id) { name } ...Mine } fragment Mine on Query { viewer { __typename } }",
        "query($id: ID!) { ...Mine } fragment Mine on Query { store(id: $id) { name } }",
        "query($id: ID!) { store(id: $id) { name } __typename }",
    ):
        for _ in range(2):
            assert (await first.ask(document, id=id))[1] == ""
    document = "query One($id: ID!) { store(id: $id) { name } } query Other { viewer { __typename } }"
    other = {"query": document, "operationName": "Other", "variables": {"id": id}}
    answers = [await first.client.post("/graphql", json=other) for _ in range(2)]
    assert {answer.headers.get("cache-status") for answer in answers} == {None}
    assert {answer.headers["cache-control"] for answer in answers} == {"no-store"}


async def test_who_asks_does_not_matter_what_is_asked_does(processes: tuple[Running, Running, Running], street: Street):
    first, *_ = processes
    document = "query Named($id: ID!, $first: Int) { store(id: $id) { slug listings(first: $first) { nodes { id } } } }"
    id = str(street.mine.store_id)
    assert (await first.ask(document, id=id, first=2))[1] != "haat; hit"
    await first.kept(document, id=id, first=2)
    entries = first.wiring.cache.figures.entries
    await first.kept(document, first=2, id=id)  # in another order
    answer = await first.client.get("/graphql", params={"query": document, "variables": f'{{"id": "{id}", "first": 2}}'})
    assert "cache-status" in answer.headers
    assert int(answer.headers["age"]) >= 0
    assert answer.headers["cache-control"] == "no-cache"
    assert first.wiring.cache.figures.entries == entries
    assert (await first.ask(document, id=id, first=3))[1] != "haat; hit"
    assert (await first.ask(document + " ", id=id, first=2))[1] != "haat; hit"


async def test_sockets_and_streams_of_events_are_answered_from_what_is_kept_too(
    processes: tuple[Running, Running, Running], street: Street
):
    first, *_ = processes
    document, variables = "query($id: ID!) { store(id: $id) { name id } }", {"id": str(street.mine.store_id)}
    asking = {"query": document, "variables": variables}
    plain = (await first.kept(document, **variables)).decode()
    before = await first.cached()
    streamed = await first.client.post("/graphql", json=asking, headers={"accept": "text/event-stream"})
    assert streamed.text == f"event: next\ndata: {plain}\n\nevent: complete\ndata: \n\n"
    assert await first.cached() == before + 1
    answer, end = await first.ask_by_socket(asking)
    assert answer == f'{{"id":"é","type":"next","payload":{plain}}}'
    assert end == '{"id":"é","type":"complete"}'
    assert await first.cached() == before + 2


async def test_variables_that_nobody_declared_may_be_anything(processes: tuple[Running, Running, Running], street: Street):
    first, *_ = processes
    document = "query($id: ID!) { store(id: $id) { name } }"
    for odd in (10**30, -(10**30), 1e308, "é", [{"a": [None, True]}], {"b": 1, "a": 2}):
        assert b"Amrit" in (await first.ask(document, id=str(street.mine.store_id), odd=odd))[0]


async def test_what_is_refused_is_not_kept(processes: tuple[Running, Running, Running]):
    first, *_ = processes
    for _ in range(2):
        answer = await first.client.post("/graphql", json={"query": '{ store(id: "no id") { name } }'})
        assert answer.json()["errors"][0]["extensions"]["code"] == "INVALID_INPUT"
        assert "cache-status" not in answer.headers


async def test_who_has_written_reads_in_the_same_process_what_was_written(
    processes: tuple[Running, Running, Running], engine: AsyncEngine
):
    """At once, however far the log has come. What another process has lent from before is not taken either."""
    first, second, _ = processes
    mine = await shop(engine)
    [id] = await listings(engine, mine, [5])
    document = "query($id: ID!) { listing(id: $id) { stock { available } } }"
    for units in range(6, 66):
        await second.ask(document, id=str(id))
        async with first.wiring.unit_of_work() as uow:
            await apply_counts([Count(id, units, datetime.now(UTC), "test", "test")], uow)
        body, _ = await first.ask(document, id=str(id))
        assert json.loads(body)["data"]["listing"]["stock"]["available"] == units


# ---------------------------------------------------------------- readers, writers and evictions at once


@dataclass
class Race:
    """What was told and what was committed, by version of a listing's stock."""

    seconds: float
    listings: Sequence[UUID]
    chance: random.Random
    framed: list[dict[str, int]] = field(default_factory=lambda: [{}, {}])
    committed: list[tuple[float, str, int]] = field(default_factory=list)
    reads: int = 0
    hits: int = 0
    frames: int = 0
    older_than_a_frame: int = 0
    older_than_a_second: int = 0

    async def pause(self, most_s: float) -> None:
        if self.chance.random() < 0.3:
            await asyncio.sleep(self.chance.uniform(0, most_s))

    def known(self, before: float) -> dict[str, int]:
        return {id: version for at, id, version in self.committed if at < before}

    async def watch(self, place: int, process: Running, store_id: UUID) -> None:
        wiring = process.wiring
        while True:  # a client that comes and goes: each snapshot may be ahead of the log
            hub = Following(wiring.hub)
            context = Api(ANYBODY, wiring.reads, wiring.unit_of_work, Loaders(wiring.reads), wiring.ports, hub=hub)
            ends = time.monotonic() + self.chance.uniform(0.05, 0.5)
            feed = stock_feed(context, hub, store_id, self.listings)
            try:
                async for frame in feed:
                    self.frames += 1
                    for level in frame.levels:
                        told = self.framed[place]
                        told[str(level.listing_id)] = max(level.version, told.get(str(level.listing_id), 0))
                    if time.monotonic() > ends:
                        break
            finally:
                await feed.aclose()

    async def write(self, engine: AsyncEngine, mine: Sequence[UUID], processes: Sequence[Running]) -> None:
        versions: dict[UUID, int] = {}
        for units in itertools.count(1):
            id, place = self.chance.choice(mine), self.chance.randrange(3)
            begin = processes[place].wiring.unit_of_work if place < 2 else partial(unit_of_work, engine)
            async with begin() as uow:
                await apply_counts([Count(id, units, datetime.now(UTC), "test", "test")], uow)
            async with engine.connect() as connection:
                found = await connection.execute(select(t.stock_level.c.version).where(t.stock_level.c.listing_id == id))
            versions[id] = found.scalar_one()
            self.committed.append((time.monotonic(), str(id), versions[id]))
            if place < 2:  # who has written here is told here what was written, as by a frame
                self.framed[place][str(id)] = max(versions[id], self.framed[place].get(str(id), 0))
            await asyncio.sleep(self.chance.uniform(0, 0.1))

    async def read(self, place: int, process: Running, store_id: UUID) -> None:
        page = "query($id: ID!) { store(id: $id) { listings(first: 20) { nodes { id stock { version } } } } }"
        one = "query($id: ID!) { listing(id: $id) { id stock { version } } }"
        while True:
            id = self.chance.choice(self.listings)
            told, started = dict(self.framed[place]), time.monotonic()
            body, how = await (process.ask(page, id=str(store_id)) if self.chance.random() < 0.5 else process.ask(one, id=str(id)))
            data = json.loads(body)["data"]
            rows = data["store"]["listings"]["nodes"] if "store" in data else [data["listing"]]
            known = self.known(started - 1)
            self.reads += 1
            self.hits += how.endswith("hit")
            for row in rows:
                version = row["stock"]["version"]
                self.older_than_a_frame += version < told.get(row["id"], 0)
                self.older_than_a_second += version < known.get(row["id"], 0)
            await self.pause(0.005)


class SlowShelf:
    """The real one, with all the time in the world between what is read and what is put."""

    def __init__(self, shelf: Any, race: Race) -> None:
        self.shelf, self.race = shelf, race

    async def get(self, key: bytes) -> bytes | None:
        found: bytes | None = await self.shelf.get(key)
        await self.race.pause(0.05)
        return found

    async def put(self, key: bytes, value: bytes, seconds: float) -> None:
        await self.race.pause(0.1)
        await self.shelf.put(key, value, seconds)


async def test_what_is_kept_is_never_older_than_a_frame_nor_than_a_second(
    settings: Settings, engine: AsyncEngine, monkeypatch: pytest.MonkeyPatch
):
    mine = await shop(engine)
    ids = await listings(engine, mine, [5] * 20)
    race = Race(60 if LONG else 6, ids, random.Random(SEED))
    rows = Reads.rows

    async def slow(self: Reads, *asked: Any) -> Any:
        found = await rows(self, *asked)
        await race.pause(0.05)  # between what was read and what is made of it
        return found

    monkeypatch.setattr(Reads, "rows", slow)
    small = settings.model_copy(update={"cache_bytes": 100_000})  # so that room is made all the time too
    async with running(small, "relay") as first, running(small) as second, asyncio.TaskGroup() as tasks:
        processes = (first, second)
        for process in processes:
            process.wiring.cache._shelf = SlowShelf(process.wiring.cache._shelf, race)
        going = [
            *(tasks.create_task(race.write(engine, ids[place::3], processes)) for place in range(3)),
            *(tasks.create_task(race.watch(place, process, mine.store_id)) for place, process in enumerate(processes)),
            *(
                tasks.create_task(race.read(place, process, mine.store_id))
                for _ in range(6)
                for place, process in enumerate(processes)
            ),
        ]
        await asyncio.sleep(race.seconds)
        for one in going:
            one.cancel()
    told = {name: getattr(race, name) for name in ("reads", "hits", "frames", "older_than_a_frame", "older_than_a_second")}
    show("cache race", seed=SEED, seconds=race.seconds, written=len(race.committed), **told)
    assert race.hits > race.reads / 20
    assert race.frames > race.seconds
    assert (race.older_than_a_frame, race.older_than_a_second) == (0, 0)
