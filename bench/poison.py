"""The row of poison: what it costs the good ones when one in ten instructions is about what nothing of ours is mapped to."""

import asyncio
import hashlib
import statistics
import time
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from uuid import UUID, uuid4

from sqlalchemy import func, literal_column, select
from sqlalchemy.ext.asyncio import AsyncEngine

from bench.requests import EMPTIED_WITHIN_S, emptied
from bench.rows import Asked, Line, Ratio, Row
from bench.seed import LOCATION, Shop, add_sources, throw_away_instructions
from db import sources
from db import tables as t
from db.arrays import among
from db.arrivals import AT_ONCE, Keeper
from db.ids import new_id
from db.reads import Reads
from db.replays import replay_by_id
from db.unit_of_work import unit_of_work
from domain.canonical import StockMode, UpdateStockLevel
from domain.failures import FailureFilter
from domain.intake import EntityKind, FailureState, InstructionState, Reading, Source
from domain.mappings import MapExternalId, map_external_id
from domain.payloads import Received, kept_at_once
from domain.replays import ReplayState, start_replay

PAIRS = 5
OF = 10  # one of so many is poison
GOOD_PER_S, FEWEST = 600, 1_200  # of the seconds asked for: how many there are, and not how fast they are carried out
KEEPERS = 8
BODY = b"{}"
i, f, m = t.instruction.c, t.failure.c, t.stock_movement.c


async def poison(asked: Asked) -> Row:
    """Runs by turns: the good ones alone, and among poison. Each run's are all kept before a worker begins with them."""
    [made] = await add_sources(asked.engine, asked.stage.settings, asked.shop, 1)
    source = await sources.any_by_id(Reads(asked.engine), UUID(made["id"]))
    good = list(asked.shop.skus[: max(FEWEST, int(GOOD_PER_S * asked.seconds))])
    bad = [f"UNKNOWN-{number}" for number in range(len(good) // (OF - 1))]
    clean: list[float] = []
    poisoned: list[float] = []
    for pair in range(PAIRS):
        for beside in (False, True) if pair % 2 == 0 else (True, False):
            await throw_away_instructions(asked.engine)
            await keep(asked.engine, source, _mixed(good, bad) if beside else good)
            (poisoned if beside else clean).append(await carried_out_per_s(asked, good))
    await throw_away_instructions(asked.engine)
    told = await told_in_all(asked.engine, source)
    await keep(asked.engine, source, _mixed(good, bad))
    await carried_out_per_s(asked, good)
    cleared_s = await cleared(asked, source, bad)
    lost = len(good) + len(bad) - (await told_in_all(asked.engine, source) - told)
    if lost:
        raise RuntimeError(f"{lost} of {len(good) + len(bad)} changes are not in the ledger")
    ratios = [beside / alone for beside, alone in zip(poisoned, clean, strict=True)]
    return Row(
        "poison",
        (
            Line(f"{len(good)} instructions, carried out by one process", statistics.median(clean), "/s"),
            Line(f"the same among {len(bad)} that nothing is mapped to", statistics.median(poisoned), "/s"),
            Line(f"these {len(bad)}, mapped, then cleared by one replay; none was lost", cleared_s, "s"),
        ),
        (Ratio("the good ones among poison, of themselves alone", statistics.median(ratios), 0.95, 0.7),),
    )


def _mixed(good: Sequence[str], bad: Sequence[str]) -> list[str]:
    """One of them after each nine."""
    mixed: list[str] = []
    for place, sku in enumerate(good):
        mixed.append(sku)
        if place % (OF - 1) == OF - 2:
            mixed.append(bad[place // (OF - 1)])
    return mixed


async def keep(engine: AsyncEngine, source: Source, skus: Sequence[str]) -> None:
    """A payload each, as the door keeps them: one more of each."""
    door, waiting = Keeper(Reads(engine)), iter(skus)

    async def keeper() -> None:
        for sku in waiting:  # everybody's
            now = datetime.now(UTC)
            command = UpdateStockLevel(store=LOCATION, id=sku, mode=StockMode.DELTA, quantity=1, at=now)
            seen = replace(source, last_seen_at=now)
            received = Received(
                seen, source.provider, source.family, "stock", BODY, hashlib.sha256(BODY).digest(), {":path": "stock"}, "", "", now
            )
            payload = kept_at_once(new_id(), received, Reading([command], event_id=f"bench:{uuid4()}"), AT_ONCE)
            assert payload is not None
            assert await door.keep(payload, [command])

    await asyncio.gather(*(keeper() for _ in range(KEEPERS)))


async def carried_out_per_s(asked: Asked, skus: Sequence[str]) -> float:
    """Of these, from the end of the first transaction that did some of them to the end of the last: how long a process takes to
    start is not what is measured."""
    async with asked.stage.workers("instructions"):
        await emptied(asked.engine)
    entities = [UpdateStockLevel(store=LOCATION, id=sku, mode=StockMode.DELTA).entity for sku in skus]
    done = (i.state == InstructionState.APPLIED, among(i.entity, entities))
    ended = func.max(i.done_at).label("ended")
    each = select(func.count().label("count"), ended).where(*done).group_by(literal_column("xmin::text")).order_by(ended)
    async with asked.engine.connect() as connection:
        groups = (await connection.execute(each)).all()
    if sum(group.count for group in groups) != len(skus) or len(groups) < 2:
        raise RuntimeError(f"{sum(group.count for group in groups)} of {len(skus)} were carried out, in {len(groups)} transactions")
    return float(sum(group.count for group in groups[1:]) / (groups[-1].ended - groups[0].ended).total_seconds())


async def told_in_all(engine: AsyncEngine, source: Source) -> int:
    """Changes in the ledger by this source's word."""
    async with engine.connect() as connection:
        return int((await connection.execute(select(func.count()).where(m.source_id == source.id))).scalar_one())


async def cleared(asked: Asked, source: Source, skus: Sequence[str]) -> float:
    """Seconds from the start of one replay until it has ended and no failure is open. What they mean is mapped before."""
    shop, reads = asked.shop, Reads(asked.engine)
    variants = await variants_of(asked.engine, shop, shop.skus[: len(skus)])
    for sku, variant_id in zip(skus, variants, strict=True):
        async with unit_of_work(asked.engine) as uow:
            await map_external_id(MapExternalId(source.id, EntityKind.VARIANT, sku, variant_id), shop.owner, uow)
    async with unit_of_work(asked.engine) as uow:
        id = await start_replay(FailureFilter(merchant_id=shop.merchant_id), shop.owner, uow)
    async with asked.stage.workers("instructions,replays"):
        began = time.monotonic()
        async with asyncio.timeout(EMPTIED_WITHIN_S):
            while (replay := await replay_by_id(reads, shop.owner, id)) is None or replay.state is ReplayState.RUNNING:  # noqa: ASYNC110
                await asyncio.sleep(0.05)  # as whoever watches it does
        took = time.monotonic() - began
        await emptied(asked.engine)
    async with asked.engine.connect() as connection:
        unsettled = select(func.count()).where(f.merchant_id == shop.merchant_id, f.state == FailureState.OPEN)
        left = (await connection.execute(unsettled)).scalar_one()
    if left or replay.done != len(skus):
        raise RuntimeError(f"{left} failures are left, and the replay looked at {replay.done} of {len(skus)}")
    return took


async def variants_of(engine: AsyncEngine, shop: Shop, skus: Sequence[str]) -> list[UUID]:
    async with unit_of_work(engine) as uow:
        found = await uow.catalog.variants_by_sku({(shop.merchant_id, sku) for sku in skus})
    return [found[shop.merchant_id, sku].id for sku in skus]
