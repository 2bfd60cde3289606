"""A source that falls silent is seen on the stock feed, and seen to speak again."""

from functools import partial

import pytest

from adapters.gateways import NoGateway
from db.reads import Reads
from db.unit_of_work import unit_of_work
from domain.identity import ANYBODY
from resolvers.context import Context
from tests.subscriptions.test_feeds import frame, moved, stock
from tests.workers.test_health import counts, due, warehouse
from workers.deadlines import Deadlines


@pytest.fixture
def context(engine):
    return Context(ANYBODY, Reads(engine), None, None, None)


async def test_the_levels_of_a_silent_source_come_as_stale_and_then_as_fresh(engine, context, hub, relay):
    wms = await warehouse(engine, ("TEA", "RICE"))
    await wms.tell("webhooks/stock", counts("TEA", "RICE"))
    await moved(relay)
    tea, rice = [(await wms.level(sku)).listing_id for sku in ("TEA", "RICE")]
    feed = stock(context, hub, wms.shop.store_id, [tea, rice])
    assert not any(level.stale for level in (await frame(feed)).levels)
    await due(wms)
    await Deadlines(Reads(engine), partial(unit_of_work, engine), NoGateway()).silence()
    await moved(relay)
    assert {(level.listing_id, level.available, level.stale) for level in (await frame(feed)).levels} == {
        (tea, 7, True),
        (rice, 7, True),
    }
    await wms.tell("webhooks/stock", counts("TEA", version=2))
    await moved(relay)
    assert [(level.listing_id, level.stale) for level in (await frame(feed)).levels] == [(tea, False)]
    await feed.aclose()
