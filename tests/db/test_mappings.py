"""What ids of a source may be, in a catalogue of real size: found by indexes, and all of them by a few statements."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from time import monotonic
from uuid import UUID

import pytest_asyncio
from sqlalchemy import insert, text
from sqlalchemy.ext.asyncio import AsyncEngine

from db import tables as t
from db.ids import new_id
from db.mappings import NEAR, Key, suggested
from db.reads import Reads
from domain.identity import Actor, ActorKind
from domain.intake import EntityKind, Family
from terminal.mapping import AT_ONCE
from tests.db.test_plans import plans_of, scans, statements
from tests.figures import show
from tests.groceries import goods
from tests.world import Shop, account, shop

PRODUCTS = 13_778  # of a grocer's
ASKED, PAGE = 1_000, 50


@dataclass(frozen=True)
class Grocer:
    engine: AsyncEngine
    reads: Reads
    shop: Shop
    support: Actor
    keys: list[Key]
    meant: dict[Key, UUID]


def batched(keys: list[Key]) -> list[list[Key]]:
    """As an export goes through them."""
    return [keys[start : start + AT_ONCE] for start in range(0, len(keys), AT_ONCE)]


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def grocer(engine: AsyncEngine) -> AsyncIterator[Grocer]:
    mine, another = await shop(engine), await shop(engine)
    source_id = new_id()
    async with engine.begin() as connection:
        for one in (mine, another):  # the same goods: none of the other's is looked for
            made = [(new_id(), good) for good in goods(PRODUCTS)]
            place = {"merchant_id": one.merchant_id}
            await connection.execute(
                insert(t.product), [{"id": id, "name": good.name, "brand": good.brand, **place} for id, good in made]
            )
            await connection.execute(
                insert(t.variant),
                [
                    {"id": id, "product_id": id, "sku": good.sku, "barcode": f"890{n:010}", **place}
                    for n, (id, good) in enumerate(made)
                ],
            )
            if one is mine:
                ours = made
        await connection.execute(
            insert(t.source).values(id=source_id, merchant_id=mine.merchant_id, provider="wms", family=Family.ERP)
        )
    async with engine.connect() as connection:
        await connection.execution_options(isolation_level="AUTOCOMMIT")
        for table in ("product", "variant"):
            await connection.execute(text(f"VACUUM ANALYZE {table}"))
    meant = {}
    for n, (id, good) in list(enumerate(ours))[:: PRODUCTS // ASKED][:ASKED]:
        told = (good.sku, f"890{n:010}", f"{'-'.join(good.name.lower().split())}-{n}")[n % 3]
        meant[Key(source_id, EntityKind.VARIANT, told)] = id
    support = await account(engine, ActorKind.SUPPORT)
    yield Grocer(engine, Reads(engine), mine, support, list(meant), meant)


async def test_a_thousand_ids_are_found_by_a_few_statements(grocer: Grocer):
    began, found, run = monotonic(), [], []
    for some in batched(grocer.keys):
        with statements(grocer.engine) as said:
            found += await suggested(grocer.reads, grocer.support, some)
        run.append(len(said))
    show("suggestions", products=PRODUCTS, ids=len(found), seconds=round(monotonic() - began, 1))
    with statements(grocer.engine) as said:
        await suggested(grocer.reads, grocer.support, grocer.keys[:1])
    assert set(run) == {len(said)}
    assert len(said) <= 4  # whose they are, what was told of them, by codes and by words
    # By a code it is that one; a name may be another's too.
    assert {one.key for one in found} == set(grocer.keys)
    wrong = [one.key.external_id for one in found if grocer.meant[one.key] != one.suggestions[0].id]
    assert [id for id in wrong if id.startswith(("SKU-", "890"))] == []


async def test_a_page_is_looked_for_by_indexes(grocer: Grocer):
    """Of all words the likely products are weighed, and the variants of those alone are looked up."""
    big = {"product": 2 * PRODUCTS, "variant": 2 * PRODUCTS}
    some = grocer.keys[:PAGE]
    for statement, plan in await plans_of(grocer, lambda: suggested(grocer.reads, grocer.support, some)):
        for scan in scans(plan, big):
            assert scan.how != "Seq Scan", f"{scan.table} is read from end to end by {statement}"
            if scan.table == "variant":
                assert scan.rows <= len(some) * (2 * NEAR + 3), statement
