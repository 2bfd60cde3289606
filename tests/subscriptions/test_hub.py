import asyncio
from datetime import UTC, datetime, timedelta

import msgspec
import pytest
from sqlalchemy import delete, text

from db.ids import new_id
from db.tables import event, log_epoch
from domain.bus import POSITIONS, Message, RiderSeen
from domain.events import Topic
from domain.stock import StockChanged
from subscriptions.mailboxes import Events, Values
from tests.logs import ThingMoved
from tests.subscriptions.conftest import started
from tests.waiting import until


async def take(changes, count, within_s=5.0):
    """So many events, whatever batches they come in."""
    found = []
    async with asyncio.timeout(within_s):
        while len(found) < count:
            batch = await anext(changes)
            assert not batch.reset
            found += batch.events
    return found


async def nothing(changes, within_s=0.3):
    assert await changes.within(within_s) is None


async def test_events_come_in_order_however_they_travelled(hub, relay, things):
    for id in things.ids:
        await things.change(id)
    entries = await relay.stamp()
    with hub.join([things.store_id], Events()) as changes:
        for entry in (entries[2], entries[1], entries[1], entries[5], entries[4], entries[3], entries[0]):
            await relay.publish(entry)
        assert [one.pos for one in await take(changes, 6)] == [entry.pos for entry in entries]
        assert hub.heals == 0
        await relay.publish(*entries)  # once more: nobody is told twice
        await nothing(changes)


async def test_a_hole_is_read_from_the_database(hub, relay, things):
    await things.change(*things.ids)
    entries = await relay.stamp()
    with hub.join([things.store_id], Events()) as changes:
        began = asyncio.get_running_loop().time()
        await relay.publish(entries[0], *entries[3:])
        found = await take(changes, 6)
        assert asyncio.get_running_loop().time() - began < 0.5
    assert [one.pos for one in found] == [entry.pos for entry in entries]
    assert hub.heals == 1


async def test_a_lost_end_is_noticed_by_the_heartbeat(hub, relay, things):
    with hub.join([things.store_id], Events()) as changes:
        await things.change(*things.ids)
        entries = await relay.stamp()
        await nothing(changes)
        await relay.beat()
        assert [one.pos for one in await take(changes, 6, within_s=0.6)] == [entry.pos for entry in entries]


async def test_silence_is_filled_by_polling_and_said(hub, relay, things):
    await relay.beat()
    await asyncio.sleep(0.05)
    assert not hub.degraded
    with hub.join([things.store_id], Events()) as changes:
        await things.change(things.ids[0])
        await relay.stamp()
        async with asyncio.timeout(5):
            batch = await anext(changes)
        assert batch.degraded
        assert len(batch.events) == 1
        await things.change(things.ids[1])
        await relay.stamp()
        assert len(await take(changes, 1, within_s=1.5)) == 1
        await relay.beat()
        await until(lambda: not hub.degraded)


async def test_a_slow_list_becomes_one_reset_and_then_goes_on(hub, relay, things):
    with hub.join([things.store_id], Events(most=10)) as changes:
        for _ in range(5):
            await things.change(*things.ids)
        await relay.publish(*await relay.stamp())
        await until(lambda: hub.pos == relay.pos)
        batch = await anext(changes)
        assert (batch.reset, list(batch.events), batch.pos) == (True, [], relay.pos)
        await nothing(changes, 0.1)
        await things.change(things.ids[0])
        await relay.publish(*await relay.stamp())
        assert len(await take(changes, 1)) == 1
    assert hub.resets == 1


async def test_a_slow_client_holds_one_value_an_entity(hub, relay, things):
    with hub.join([things.store_id], Values()) as changes:
        for _ in range(30):
            await things.change(*things.ids)
        await relay.publish(*await relay.stamp())
        await until(lambda: hub.pos == relay.pos)
        assert hub.figures.waiting == 6
        found = await take(changes, 6)
    assert {one.event.entity: one.event.seq for one in found} == dict.fromkeys(things.ids, 30)
    assert [one.pos for one in found] == sorted(one.pos for one in found)


async def test_one_event_comes_once_however_many_of_its_ids_were_joined(hub, relay, things):
    id = things.ids[1]
    with hub.join([id, things.store_id, Topic.ORDERS], Events()) as changes:
        await things.change(id)
        await relay.publish(*await relay.stamp())
        assert [one.event for one in await take(changes, 1)] == [ThingMoved(id, 1, (things.store_id,))]
        await nothing(changes, 0.1)


async def test_only_what_was_joined_comes(hub, relay, things):
    with (
        hub.join([things.ids[0]], Events()) as by_entity,
        hub.join([things.store_id], Events(), {StockChanged}) as by_kind,
        hub.join([Topic.INVENTORY], Events()) as by_topic,
        hub.join([new_id()], Events()) as stranger,
    ):
        await things.change(*things.ids)
        await relay.publish(*await relay.stamp())
        assert [one.event.entity for one in await take(by_entity, 1)] == [things.ids[0]]
        assert {one.event.entity for one in await take(by_kind, 3)} == set(things.ids[::2])
        assert {one.event.entity for one in await take(by_topic, 3)} == set(things.ids[::2])
        await nothing(stranger, 0.1)
    assert hub.figures.joined == 0
    assert not hub._joined


async def test_what_a_feed_follows_besides_comes_while_it_is_followed(hub, relay, things):
    one, other, store_id = things.ids[0], things.ids[1], things.store_id

    async def told(changes, *ids):
        await things.change(*ids)
        await relay.publish(*await relay.stamp())
        await until(lambda: hub.pos == relay.pos)
        batch = await changes.within(0)
        return [] if batch is None else [stamped.event.entity for stamped in batch.events]

    with hub.join([one], Events()) as changes:
        assert await told(changes, one, other) == [one]
        changes.follow([other, one])
        assert await told(changes, one, other) == [one, other]  # each once
        changes.follow([store_id])  # what happens to the store, not what concerns it
        assert await told(changes, one, other) == [one]
        changes.follow([other])
        assert await told(changes, other) == [other]
    assert (hub._joined, hub._besides) == ({}, {})


async def test_riders_that_are_followed_besides_are_seen_and_no_others(hub):
    one, other, now = new_id(), new_id(), datetime.now(UTC)
    with hub.join([new_id()], Values(), {RiderSeen}) as changes:
        changes.follow([one])
        for rider in (one, other):
            hub.saw(RiderSeen(rider, 1.0, 1.0, now))
        assert [seen.rider for seen in (await changes.within(0)).riders] == [one]
        changes.follow([other])
        for rider in (one, other):
            hub.saw(RiderSeen(rider, 1.0, 1.0, now + timedelta(seconds=1)))
        assert [seen.rider for seen in (await changes.within(0)).riders] == [other]


async def test_another_epoch_resets_everybody(hub, relay, things, engine):
    old = hub.epoch
    with hub.join([things.store_id], Values()) as values, hub.join([new_id()], Events()) as events:
        async with engine.begin() as connection:
            await connection.execute(log_epoch.update().values(epoch="restored"))
        try:
            await relay.stamp()
            await relay.beat()
            async with asyncio.timeout(3):
                assert (await anext(values)).reset
                batch = await anext(events)
            assert (batch.reset, batch.epoch) == (True, "restored")
            await things.change(things.ids[0])
            await relay.publish(*await relay.stamp())
            assert len(await take(values, 1)) == 1
        finally:
            async with engine.begin() as connection:
                await connection.execute(log_epoch.update().values(epoch=old))


async def test_what_another_installation_says_is_not_believed(hub, relay, things):
    await relay.beat()
    pos = hub.pos
    with hub.join([things.store_id], Events()) as changes:
        await relay.beat(pos=pos + 1_000, epoch="somebody else's")
        await nothing(changes, 0.5)
    assert hub.pos == pos


async def test_a_log_that_became_shorter_resets_everybody(hub, relay, things, engine):
    """As after a failover that lost the last second: the same positions will be given to other events."""
    await things.change(*things.ids)
    await relay.publish(*await relay.stamp())
    await relay.beat()
    await until(lambda: hub.pos == relay.pos)
    await relay.beat()
    with hub.join([things.store_id], Values()) as changes:
        async with engine.begin() as connection:
            await connection.execute(delete(event).where(event.c.pos > relay.pos - 3))
        await relay.beat(relay.pos - 3)
        async with asyncio.timeout(3):
            assert (await anext(changes)).reset
        assert hub.pos == relay.pos - 3


async def test_a_log_cut_off_below_is_a_reset_not_a_silence(hub, relay, things, engine):
    with hub.join([things.store_id], Events()) as changes:
        await things.change(*things.ids)
        first = (await relay.stamp())[0]
        async with engine.begin() as connection:
            await connection.execute(delete(event).where(event.c.pos == first.pos))
        await relay.beat()
        async with asyncio.timeout(3):
            assert (await anext(changes)).reset
    assert hub.pos == relay.pos
    async with engine.begin() as connection:  # the other tests want a log without holes
        await connection.execute(text("DELETE FROM event"))


async def test_too_far_behind_is_a_reset(hub, relay, things, monkeypatch):
    monkeypatch.setattr("subscriptions.hub.BEHIND", 5)
    with hub.join([things.store_id], Events()) as changes:
        await things.change(*things.ids)
        await relay.stamp()
        await relay.beat()
        async with asyncio.timeout(3):
            assert (await anext(changes)).reset


async def test_an_event_of_a_newer_version_is_passed_over(hub, relay, things, engine):
    with hub.join([things.store_id], Events()) as changes:
        await things.change(things.ids[0])
        async with engine.begin() as connection:
            await connection.execute(text("UPDATE event SET kind = 'NotYetKnown', topic = 'later.events' WHERE pos IS NULL"))
        await things.change(things.ids[1])
        entries = await relay.stamp()
        await relay.publish(entries[1])  # its topic nobody listens to
        await relay.beat()
        assert [one.event.entity for one in await take(changes, 1)] == [things.ids[1]]
    async with engine.begin() as connection:
        await connection.execute(
            text("UPDATE event SET kind = 'StockChanged', topic = 'inventory.events' WHERE topic = 'later.events'")
        )


async def test_an_event_that_cannot_be_read_resets_those_it_concerns(hub, relay, things, engine):
    with hub.join([things.store_id], Events()) as concerned, hub.join([new_id()], Events()) as other:
        await things.change(things.ids[0])
        async with engine.begin() as connection:
            await connection.execute(text("UPDATE event SET body = '{}' WHERE pos IS NULL"))
        await relay.publish(*await relay.stamp())
        async with asyncio.timeout(2):
            assert (await anext(concerned)).reset
        await nothing(other, 0.1)


async def test_a_message_that_is_no_message_stops_nothing(hub, relay, bus, things):
    with hub.join([things.store_id], Events()) as changes:
        for nonsense in ("", "{}", "[1]", '{"epoch": 1}', "\x00"):
            await bus.publish(Message("inventory.events", nonsense), Message("heartbeat", nonsense), Message("positions", nonsense))
        await things.change(things.ids[0])
        await relay.publish(*await relay.stamp())
        assert len(await take(changes, 1)) == 1


async def test_riders_positions_are_the_latest_by_their_own_time(hub, bus):
    rider, now = new_id(), datetime.now(UTC)

    async def see(lat, seconds):
        seen = RiderSeen(rider, lat, 77.5, now + timedelta(seconds=seconds))
        await bus.publish(Message(POSITIONS, msgspec.json.encode(seen).decode()))

    with hub.join([rider], Values(), {RiderSeen}) as changes, hub.join([rider], Events(), {ThingMoved}) as not_asked:
        await see(1.0, 1)
        await see(3.0, 3)
        await see(2.0, 2)
        await asyncio.sleep(0.05)
        batch = await anext(changes)
        assert ([seen.lat for seen in batch.riders], batch.events) == ([3.0], ())
        await see(2.5, 2.5)
        await nothing(changes, 0.1)
        hub.saw(RiderSeen(rider, 4.0, 77.5, now + timedelta(seconds=4)))
        assert [seen.lat for seen in (await anext(changes)).riders] == [4.0]
        await nothing(not_asked, 0.05)


async def test_a_hub_that_starts_late_begins_at_the_end_of_the_log(bus, relay, engine, things):
    await things.change(*things.ids)
    await relay.stamp()
    async with started(bus, engine) as hub:
        assert (hub.pos, hub.epoch) == (relay.pos, relay.epoch)
        await things.change(things.ids[0])
        with hub.join([things.store_id], Events()) as changes:
            await relay.publish(*await relay.stamp())
            assert len(await take(changes, 1)) == 1


@pytest.mark.parametrize("feeds", [5_000])
async def test_many_resets_at_once_are_spread(hub, feeds):
    """Or all of them would read their snapshots from the database in the same moment."""
    spread = asyncio.get_running_loop()
    joined = [hub.join([new_id()], Events()) for _ in range(feeds)]
    waiting = [asyncio.create_task(anext(one.__enter__())) for one in joined]
    await asyncio.sleep(0)
    began = spread.time()
    hub._lose(hub._mailboxes)
    await asyncio.sleep(0.1)
    assert sum(task.done() for task in waiting) < feeds / 4
    assert all(batch.reset for batch in await asyncio.gather(*waiting))
    assert 1.5 < spread.time() - began < 3
    for one in joined:
        one.__exit__(None, None, None)
