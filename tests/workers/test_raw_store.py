"""What was kept as it came is enough: read again into an empty database, it makes the same town."""

import json
import random
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any
from urllib.parse import urlencode
from uuid import UUID

import pytest
from sqlalchemy import ColumnElement, Table, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from db import sources
from db import tables as t
from db.ids import new_id
from db.reads import Reads
from db.unit_of_work import unit_of_work
from domain.doors import called
from domain.intake import Call, EntityKind, PayloadState, translated
from domain.mappings import MapExternalId, map_external_id
from domain.payloads import Received, keep
from domain.profile_versions import activate_profile, save_profile
from domain.sources import endpoints
from simulate.newcomers import CALLERS, STORE_IDS, UNITS, label, sku_of, things_of
from simulate.plan import NEWCOMERS, Provider
from tests.conftest import LONG, database, url_of
from tests.figures import show
from tests.partners import Partner, partner, worker_of
from tests.providers.samples import Golden, goldens
from tests.simulators.calls import Call as Said
from tests.simulators.calls import Caller, Connection, Flaw, Thing, Word
from tests.simulators.catalogue_file import CatalogueFile
from tests.simulators.generic import Generic
from tests.simulators.unicommerce import Unicommerce
from tests.world import Shop, shop
from wiring import INBOUNDS

SEED = 61
ROUNDS = 20 if LONG else 4  # of what each of them says
SAME_MERCHANT = 2  # of the stores
EVERYWHERE = LONG  # whether each provider speaks for each of the stores, or each for one of them
SAID = frozenset({"status", "status_until", "status_reason", "look_at", "told", "version"})  # of a store


@pytest.fixture
def empty_url(server_url: str, template: str) -> Iterator[str]:
    with database(server_url, template) as name:
        yield url_of(server_url, name)


@pytest.fixture
async def empty(empty_url: str) -> AsyncIterator[AsyncEngine]:
    engine = create_async_engine(empty_url)
    yield engine
    await engine.dispose()


@dataclass
class Speaker:
    """A source, and who calls by it."""

    partner: Partner
    caller: Caller

    async def send(self, said: Said, *, forged: bool = False) -> tuple[int, dict[str, Any]]:
        """How it is answered."""
        call = self.caller.proven(said, forged=forged)
        response = await self.partner.client.post(call.url, content=call.body, headers=dict(call.headers))
        await self.partner.worker.drain()
        return response.status_code, response.json()

    async def speak(self, number: int, chance: random.Random, flaw: Flaw | None = None) -> None:
        """One thing, and then one that is flawed: answered as its caller is promised."""
        caller, ref = self.caller, f"ref-{number}"
        thing = chance.choice(caller.things)
        word = caller.words[number % len(caller.words)]
        said = caller.say(word, thing, chance.randint(1, 9), ref)
        first = await self.send(said)
        assert caller.taken(*first), (caller.provider, word, first)
        flaw = flaw or caller.flaws[number % len(caller.flaws)]
        match flaw:
            case Flaw.DUPLICATE:
                answer = await self.send(said)
                well = answer == first
            case Flaw.ALTERED:
                answer = await self.send(caller.altered(said))
                well = caller.conflicting(*answer)
            case Flaw.STALE:
                answer = await self.send(caller.old(thing, f"{ref}-old"))
                well = caller.taken(*answer)
            case Flaw.BROKEN:
                answer = await self.send(caller.broken(f"{ref}-broken"))
                well = caller.unreadable(*answer)
            case Flaw.FORGED:
                answer = await self.send(caller.unknown(f"{ref}-{flaw.value}"), forged=True)
                well = caller.refused(*answer)
            case Flaw.UNKNOWN:
                answer = await self.send(caller.unknown(f"{ref}-{flaw.value}"))
                well = caller.taken(*answer)
        assert well, (caller.provider, flaw, answer)
        if word is Word.CLOSE:
            await self.send(caller.say(Word.OPEN, thing, 0, f"{ref}-open"))


@dataclass
class Town:
    """Whose stores they are, and who speaks for them. `by_hand`: which ids of sources somebody has mapped, to which SKUs."""

    engine: AsyncEngine
    stores: Sequence[Shop]
    speakers: list[Speaker]
    by_hand: dict[tuple[Shop, UUID, str], str]

    async def connect(self, provider: Provider, kind: type[Caller], mine: Shop) -> None:
        first = f"{9_001 + NEWCOMERS.index(provider)}" if kind.own_ids else f"SIM-{provider.value}-".upper()
        things = things_of(label(kind), first, UNITS if kind.counts else None)
        speaker = await self.speaker(kind, mine, things)
        if isinstance(speaker.caller, Generic):
            await read_by(speaker.partner, json.dumps(speaker.caller.profile))
        if isinstance(speaker.caller, Unicommerce):
            await speaker.caller.sign_in(speaker.partner.client)
        if not kind.teaches:
            await self._shelve(speaker, mine)
        for call in speaker.caller.catalogue(f"all-{len(self.speakers)}"):
            await speaker.send(call)
        self.speakers.append(speaker)

    async def speaker(self, kind: type[Caller], mine: Shop, things: Sequence[Thing]) -> Speaker:
        told = STORE_IDS.get(Provider(kind.provider), f"sim-{kind.provider}")
        one = await partner(self.engine, kind.provider, told, of=mine)
        urls = endpoints(one.inbound, one.proof, one.door.url, one.source_id, one.text)
        return Speaker(one, kind(Connection(str(one.source_id), one.text, urls, told), things))

    async def _shelve(self, speaker: Speaker, mine: Shop) -> None:
        """Who only counts speaks of goods that the shop has from a seller's list."""
        things = speaker.caller.things
        for thing in things:
            thing.units = UNITS
        seller = await self.speaker(CatalogueFile, mine, things)
        assert isinstance(seller.caller, CatalogueFile)
        goods = [Thing(sku_of(thing), thing.name, thing.price_minor, UNITS) for thing in things]
        await seller.send(seller.caller.feed(goods, f"shelf-{len(self.speakers)}", seller.caller.now(), mode="partial"))
        if speaker.caller.own_ids:
            variants = {row.sku: row.variant_id for row in (await seller.partner.listings()).values()}
            for thing in things:
                self.by_hand[mine, speaker.partner.source_id, thing.id] = sku_of(thing)
                await speaker.partner.map(EntityKind.VARIANT, thing.id, variants[sku_of(thing)])

    async def samples(self) -> None:
        """Each provider says all that it is known to say, by a source of its own, of stores as its samples name them."""
        partners: dict[str, Partner] = {}
        named: dict[tuple[str, str], Shop] = {}
        for golden in goldens():
            provider = golden.inbound.provider
            if provider not in partners:
                partners[provider] = await partner(self.engine, provider, None, of=self.stores[0])
                if golden.profile is not None:
                    await read_by(partners[provider], golden.profile)
            for name in golden.stores:
                if (provider, name) not in named:
                    mine = named[provider, name] = self.stores[len(named) % SAME_MERCHANT]
                    async with unit_of_work(self.engine) as uow:
                        told = MapExternalId(partners[provider].source_id, EntityKind.STORE, name, mine.store_id)
                        await map_external_id(told, mine.owner, uow)
            await post(partners[provider], golden)


async def read_by(one: Partner, profile: str) -> None:
    async with unit_of_work(one.engine) as uow:
        version = await save_profile(one.source_id, profile, one.shop.owner, uow)
        await activate_profile(one.source_id, version, builtin=False, actor=one.shop.owner, uow=uow)


async def post(one: Partner, golden: Golden) -> None:
    rest = next(path for path, door in one.inbound.doors.items() if door == golden.door).format_map(golden.path)
    raw = golden.told if isinstance(golden.told, bytes) else json.dumps(golden.told).encode()
    path, query = one.path(rest), urlencode(golden.query)
    url = path + (("&" if "?" in path else "?") + query if query else "")
    await one.client.post(url, content=raw, headers={**one.proven(rest, raw), **golden.headers})
    await one.worker.drain()


async def town(engine: AsyncEngine, chance: random.Random) -> Town:
    first, other = await shop(engine), await shop(engine)
    second = replace(first, store_id=new_id())
    async with engine.begin() as connection:
        row = {"slug": f"s-{second.store_id}", "name": "Amrit Kitchen", "city": "Bengaluru", "lat": 12.97, "lng": 77.59}
        await connection.execute(insert(t.store).values(id=second.store_id, merchant_id=first.merchant_id, **row))
    made = Town(engine, [first, second, other], [], {})
    await made.samples()
    for at, (provider, kind) in enumerate(CALLERS.items()):
        for mine in made.stores if EVERYWHERE else [made.stores[at % len(made.stores)]]:
            await made.connect(provider, kind, mine)
    for number in range(ROUNDS):
        for speaker in chance.sample(made.speakers, len(made.speakers)):
            await speaker.speak(number, chance)
    return made


async def test_the_raw_store_alone_makes_the_town_again(engine: AsyncEngine, empty: AsyncEngine):
    was = await town(engine, random.Random(SEED))
    await copied(engine, empty)
    read = await read_again(engine, empty)
    await mapped_by_hand(was, empty)
    assert read.keys() == INBOUNDS.keys()
    first, again = await shown(engine), await shown(empty)
    assert all(first.values())
    for what, rows in first.items():
        assert again[what] == rows, what
    figures = {what: len(rows) for what, rows in first.items()}
    show("the raw store read again", seed=SEED, rounds=ROUNDS, payloads=read.total(), different=0, **figures)


async def copied(engine: AsyncEngine, empty: AsyncEngine) -> None:
    """Whose town it is, who may say something of it, how that is read, and which stores they mean. Nothing of what they said."""
    async with engine.connect() as old, empty.begin() as new:
        for table in (t.user_account, t.merchant, t.merchant_member, t.store, t.source, t.source_profile):
            await _copied(old, new, table)
        await _copied(old, new, t.mapping, t.mapping.c.kind == EntityKind.STORE)


async def _copied(old: AsyncConnection, new: AsyncConnection, table: Table, *only: ColumnElement[bool]) -> None:
    kept = [one for one in table.c if one.computed is None and not (table is t.store and one.name in SAID)]
    rows = (await old.execute(select(*kept).where(*only))).mappings().all()
    await new.execute(insert(table), [dict(row) for row in rows])


async def read_again(engine: AsyncEngine, empty: AsyncEngine) -> Counter[str]:
    """In the order in which it came; what came twice, or was refused, is there for the record alone. How many of each provider."""
    p = t.payload.c
    taken = p.state.not_in([PayloadState.DUPLICATE, PayloadState.REJECTED])
    async with engine.connect() as old:
        rows = (await old.execute(select(t.payload).where(taken).order_by(p.id))).all()
    worker = worker_of(empty)
    for row in rows:
        known = await sources.any_by_id(Reads(empty), row.source_id)
        inbound = INBOUNDS[row.provider]
        told = called(inbound.doors, row.headers)
        call = Call(row.door, row.body, row.headers, row.received_at, told.query, told.values, told.method, told.url)
        received = Received(
            known, row.provider, row.family, row.door, row.body, row.sha256, row.headers, "", row.correlation_id, row.received_at
        )
        reading = translated(inbound, call, known)
        async with unit_of_work(empty) as uow:
            kept = await keep(received, replace(reading, event_id=row.dedupe_key or reading.event_id), uow)
        await _came_at(empty, kept.payload_id, row.received_at)
        await worker.drain()
    return Counter(row.provider for row in rows)


async def _came_at(empty: AsyncEngine, payload_id: UUID, received_at: datetime) -> None:
    """What has no time of its own was so when it came, and not when it is read again."""
    async with empty.begin() as connection:
        await connection.execute(update(t.payload).where(t.payload.c.id == payload_id).values(received_at=received_at))
        await connection.execute(
            update(t.instruction).where(t.instruction.c.payload_id == payload_id).values(created_at=received_at)
        )


async def mapped_by_hand(town: Town, empty: AsyncEngine) -> None:
    """What waited for it runs now."""
    v = t.variant.c
    async with empty.connect() as connection:
        variants = {(row.merchant_id, row.sku): row.id for row in await connection.execute(select(v.merchant_id, v.sku, v.id))}
    for (mine, source_id, external_id), sku in town.by_hand.items():
        async with unit_of_work(empty) as uow:
            id = variants[mine.merchant_id, sku]
            await map_external_id(MapExternalId(source_id, EntityKind.VARIANT, external_id, id), mine.owner, uow)
    await worker_of(empty).drain()


async def shown(engine: AsyncEngine) -> dict[str, list[str]]:
    """All of it, by the names that its sources give to things: ids of ours are others each time, and so are times of our clock."""
    p, v, li, level = t.product.c, t.variant.c, t.listing.c, t.stock_level.c
    group, modifier, offer = t.modifier_group.c, t.modifier.c, t.listing_modifier_group.c
    form = select(t.merchant.c.slug.label("merchant"), v.sku).join(t.variant, v.merchant_id == t.merchant.c.id)
    listed = form.add_columns(t.store.c.slug).join(t.listing, li.variant_id == v.id).join(t.store, t.store.c.id == li.store_id)
    store = select(t.store.c.slug)
    statements = {
        "products": form.add_columns(
            p.kind, p.name, p.description, p.brand, p.diet, t.category.c.path, p.images, p.attributes,
            v.name.label("form"), v.barcode, v.unit, v.rank,
        )
        .join(t.product, p.id == v.product_id)
        .join(t.category, t.category.c.id == p.category_id, isouter=True),
        "listings": listed.add_columns(
            li.name, li.price_minor, li.mrp_minor, li.packaging_minor, li.currency, li.active, li.max_per_order, li.taxes
        ),
        "stock": listed.add_columns(
            level.tracked, level.on_hand, level.off, level.back_at, level.buffer, level.low_at, level.counts_hidden, level.stale
        ).join(t.stock_level, level.listing_id == li.id),
        "choices": store.add_columns(
            group.external_id.label("group"), group.name.label("called"), modifier.external_id, modifier.name, modifier.price_minor,
            modifier.currency, modifier.active, modifier.off, modifier.back_at, modifier.rank,
        )
        .join(t.modifier_group, group.store_id == t.store.c.id)
        .join(t.modifier, modifier.group_id == group.id, isouter=True),
        "offers": listed.add_columns(group.external_id, offer.min, offer.max, offer.rank)
        .join(t.listing_modifier_group, offer.listing_id == li.id)
        .join(t.modifier_group, group.id == offer.group_id),
        "statuses": store.add_columns(t.store.c.status, t.store.c.status_until, t.store.c.status_reason),
        "categories": select(t.category.c.path),
    }  # fmt: skip
    async with engine.connect() as connection:
        return {what: sorted(str(tuple(row)) for row in await connection.execute(told)) for what, told in statements.items()}
