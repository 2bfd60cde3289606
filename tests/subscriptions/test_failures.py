"""What goes wrong with providers, as feeds tell it."""

import asyncio

import pytest

from db.reads import Reads
from db.unit_of_work import unit_of_work
from domain.failures import ResolveFailure, resolve_failure
from domain.identity import Actor, ActorKind, MerchantRole
from domain.intake import FailureState
from domain.refusals import NotFound, Refused
from resolvers.loaders import Loaders
from schema.roots import Api
from subscriptions import failures as feeds
from subscriptions.following import Following
from tests.callers import ports
from tests.partners import partner, snapshot
from tests.world import account, member, shop


class Everybody:
    """Signed in."""

    alive = True

    async def standing(self, session_id):
        return self


@pytest.fixture
def caller(engine, bus, hub):
    def made(actor: Actor) -> Api:
        reads = Reads(engine)
        signed_in = Actor(actor.kind, actor.id, actor.id)
        outside = ports(reads, bus=bus, sessions=Everybody())
        return Api(signed_in, reads, lambda: unit_of_work(engine), Loaders(reads), outside, hub=Following(hub))

    return made


async def soon(feed):
    async with asyncio.timeout(5):
        return await anext(feed)


async def test_a_merchant_follows_its_failures_from_the_open_ones_on(engine, hub, relay, caller):
    wms, other = await partner(engine, "wms", "ST-1"), await partner(engine, "wms", "ST-2")
    await wms.tell("webhooks/stock", snapshot("ST-1", ("A", 1, 1)))
    (first,) = await wms.failures()
    await relay.publish(*await relay.stamp())
    feed = feeds.failures(caller(wms.shop.owner), hub, wms.shop.merchant_id)
    frame = await soon(feed)
    assert (frame.reset, [failure.id for failure in frame.failures]) == (True, [first.id])
    await other.tell("webhooks/stock", snapshot("ST-2", ("B", 1, 1)))  # another's
    async with unit_of_work(engine) as uow:
        await resolve_failure(ResolveFailure(first.id, FailureState.ACKNOWLEDGED, "looking"), wms.shop.owner, uow)
    await wms.tell("webhooks/stock", snapshot("ST-1", ("C", 1, 1)))
    await relay.publish(*await relay.stamp())
    frame = await soon(feed)
    told = [(failure.id == first.id, failure.state.value, failure.message[-9:]) for failure in frame.failures]
    assert told == [(True, "ACKNOWLEDGED", "VARIANT:A"), (False, "OPEN", "VARIANT:C")]
    await feed.aclose()

    desk = Actor(ActorKind.SUPPORT, (await account(engine)).id)
    with pytest.raises(Refused):  # a cursor is good for its own feed
        feeds.failures(caller(desk), hub, None, frame.cursor)
    await wms.tell("webhooks/stock", snapshot("ST-1", ("D", 1, 1)))
    await relay.publish(*await relay.stamp())
    feed = feeds.failures(caller(wms.shop.owner), hub, wms.shop.merchant_id, frame.cursor)
    frame = await soon(feed)
    assert (frame.reset, [failure.message[-9:] for failure in frame.failures]) == (False, ["VARIANT:D"])
    await feed.aclose()


async def test_support_follows_all_and_others_follow_none(engine, hub, relay, caller):
    wms = await partner(engine, "wms", "ST-1")
    await relay.publish(*await relay.stamp())
    feed = feeds.failures(caller(Actor(ActorKind.SUPPORT, (await account(engine)).id)), hub, None)
    assert (await soon(feed)).reset
    await wms.tell("webhooks/stock", snapshot("ST-1", ("A", 1, 1)))
    await relay.publish(*await relay.stamp())
    assert [failure.merchant_id for failure in (await soon(feed)).failures] == [wms.shop.merchant_id]
    await feed.aclose()
    clerk = await member(engine, wms.shop, MerchantRole.CLERK, [wms.shop.store_id])
    for actor, merchant_id in (
        (clerk, wms.shop.merchant_id),
        ((await shop(engine)).owner, wms.shop.merchant_id),
        (wms.shop.owner, None),
    ):
        with pytest.raises(Refused) as no:
            await soon(feeds.failures(caller(actor), hub, merchant_id))
        assert isinstance(no.value.refusal, NotFound)
