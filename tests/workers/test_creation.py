"""Whether a source may make goods: one that may not speaks of those that are there."""

from sqlalchemy import func, select, update

from db import tables as t
from db.unit_of_work import unit_of_work
from domain.failures import replay_failures
from domain.intake import EntityKind
from domain.sources import SetSource, set_source
from tests.partners import Partner, dish, event, menu, partner, size, snapshot
from tests.world import listing

STORE = "k7x2m9qa"


async def may_create(one: Partner, *, on: bool) -> None:
    async with unit_of_work(one.engine) as uow:
        await set_source(SetSource(one.source_id, may_create=on), one.shop.owner, uow)


async def products(one: Partner) -> int:
    (row,) = await one.rows(select(func.count()).select_from(t.product).where(t.product.c.merchant_id == one.shop.merchant_id))
    count: int = row[0]
    return count


async def waiting(one: Partner) -> list[tuple[str, str]]:
    i = t.instruction.c
    found = select(i.command, i.waits_for).where(i.source_id == one.source_id, i.state == "PARKED").order_by(i.id)
    return [(row.command, row.waits_for) for row in await one.rows(found)]


async def test_what_it_is_the_first_to_name_waits_to_be_mapped(engine):
    till = await partner(engine, "petpooja", STORE)
    ours = await listing(engine, till.shop, None, name="Dal", price_minor=5000)
    await may_create(till, on=False)
    await till.tell("webhooks/menu", menu(STORE, dish("1", "70.00")))
    assert await products(till) == 1
    assert ("UpsertCatalogItem", "PRODUCT:1") in await waiting(till)
    assert {row.kind.value for row in await till.failures()} == {"MAPPING"}
    v = t.listing.c
    (variant,) = await till.rows(select(v.variant_id, v.product_id).where(v.id == ours))
    await till.map(EntityKind.PRODUCT, "1", variant.product_id)
    await till.map(EntityKind.VARIANT, "1", variant.variant_id)
    await till.worker.drain()
    assert await waiting(till) == []
    (row,) = (await till.listings()).values()
    assert (row.id, row.name, row.price_minor) == (ours, "Dish 1", 7000)
    assert await products(till) == 1


async def test_a_form_that_is_not_there_is_not_made_either(engine):
    till = await partner(engine, "petpooja", STORE)
    await till.tell("webhooks/menu", menu(STORE, dish("1", variation=[size("21", "Half", "60.00")])))
    await may_create(till, on=False)
    sizes = [size("21", "Half", "65.00"), size("22", "Full", "110.00")]
    await till.tell("webhooks/menu", menu(STORE, dish("1", variation=sizes)))
    assert [row.price_minor for row in (await till.listings()).values()] == [6500]
    assert {waits for _, waits in await waiting(till)} == {"VARIANT:22"}


async def test_goods_that_are_there_by_their_sku_are_spoken_of(engine):
    wms = await partner(engine, "wms", STORE)
    id = await listing(engine, wms.shop, 3)
    async with engine.begin() as connection:
        await connection.execute(update(t.variant).where(t.variant.c.id == id).values(sku="TEA"))
    await may_create(wms, on=False)
    await wms.tell("webhooks/stock", event("item.upserted", location=STORE, sku="TEA", title="Assam Tea", version=1))
    await wms.tell("webhooks/stock", snapshot(STORE, ("TEA", 8, 1)))
    assert (await wms.level("TEA")).on_hand == 8
    (row,) = (await wms.listings()).values()
    assert row.name == "Assam Tea"
    assert await waiting(wms) == []


async def test_what_waits_is_made_when_it_may_again_and_is_tried_again(engine):
    wms = await partner(engine, "wms", STORE)
    await may_create(wms, on=False)
    await wms.tell("webhooks/stock", event("item.upserted", location=STORE, sku="NEW", title="New Tea", version=1))
    assert await products(wms) == 0
    await may_create(wms, on=True)
    waits = [row.id for row in await wms.failures("MAPPING")]
    async with unit_of_work(engine) as uow:
        await replay_failures(waits, wms.shop.owner, uow)
    await wms.worker.drain()
    assert await waiting(wms) == []
    assert await products(wms) == 1
