"""What is kept for everybody, and when it is no longer believed."""

import asyncio
import itertools
import time
import tracemalloc
from dataclasses import dataclass, field

import msgspec
import pytest

from db.events import SqlEventLog
from db.ids import new_id
from domain.cache import NoShelf
from domain.events import Topic
from resolvers.cache import tag
from subscriptions.cache import ANSWER_BYTES, Answer, Cache, Figures, Lent
from tests.logs import ThingMoved
from tests.subscriptions.conftest import started
from tests.waiting import until

MOST = 10_000
KEY = b"what was asked"


class Boards(dict[bytes, bytes]):
    """A shelf as slow as it is told to be."""

    slow_s = 0.0

    async def get(self, key):
        await asyncio.sleep(self.slow_s)
        return super().get(key)

    async def put(self, key, value, seconds):
        self[key] = value


@dataclass
class Maker:
    """Makes an answer each time it is asked, and may be held up in the midst of it."""

    tags: tuple[str, ...]
    made: int = 0
    lasts_s: float = 60
    holding: asyncio.Event = field(default_factory=asyncio.Event)
    begun: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self):
        self.holding.set()

    async def __call__(self):
        self.made += 1
        mine = self.made
        self.begun.set()
        await self.holding.wait()
        return Answer(f"answer {mine}".encode(), self.tags, time.time() + self.lasts_s, time.time())


@pytest.fixture
def cache(hub):
    return Cache(hub, NoShelf(), MOST)


@pytest.fixture
def maker(things):
    return Maker((tag(Topic.ORDERS.value, moving(things)),))


def moving(things):
    """One that tells of itself by ThingMoved."""
    return things.ids[0]


async def ask(cache, maker, key=KEY):
    """As a reader does."""
    found = cache.kept(key) or await cache.answer(key, maker)
    return found.body.decode()


seqs = itertools.count(1_000)


async def happen(relay, *entities):
    """Events of these, in the log and on the bus."""
    async with relay.engine.begin() as connection:
        log = SqlEventLog(connection)
        for entity in entities:
            await log.add(ThingMoved(entity, next(seqs)))
    await relay.publish(*await relay.stamp())


async def believe(relay, cache):
    await relay.beat()
    await until(lambda: cache.believed)


async def test_an_answer_is_kept_until_an_event_of_its_tags(cache, relay, hub, things, maker):
    await believe(relay, cache)
    assert [await ask(cache, maker) for _ in range(3)] == ["answer 1"] * 3
    await happen(relay, things.ids[1])
    await until(lambda: hub.pos == relay.pos)
    assert await ask(cache, maker) == "answer 1"
    await happen(relay, moving(things))
    await until(lambda: hub.pos == relay.pos)
    await believe(relay, cache)
    assert await ask(cache, maker) == "answer 2"
    assert cache.figures.entries == 1


async def test_nothing_is_believed_but_what_the_hub_knows_to_be_new(cache, relay, maker):
    assert [await ask(cache, maker) for _ in range(2)] == ["answer 1", "answer 2"]
    await believe(relay, cache)
    assert [await ask(cache, maker) for _ in range(2)] == ["answer 3"] * 2
    await relay.beat(relay.pos + 1)  # something was stamped that has not come
    await asyncio.sleep(0.9)
    assert not cache.believed
    assert await ask(cache, maker) == "answer 4"


async def test_what_was_made_while_its_event_went_by_is_not_kept_and_not_told_to_who_asked_later(cache, relay, hub, things, maker):
    await believe(relay, cache)
    maker.holding.clear()
    first = asyncio.create_task(ask(cache, maker))
    await maker.begun.wait()
    early = asyncio.create_task(ask(cache, maker))
    await asyncio.sleep(0)
    await happen(relay, moving(things))
    await until(lambda: hub.pos == relay.pos)
    late = asyncio.create_task(ask(cache, maker))
    await asyncio.sleep(0.01)
    await believe(relay, cache)
    maker.holding.set()
    assert (await first, await early) == ("answer 1", "answer 1")
    assert await late == "answer 2"
    assert await ask(cache, maker) == "answer 2"


async def test_many_who_ask_at_once_are_answered_by_one_making(cache, relay, maker):
    await believe(relay, cache)
    assert await asyncio.gather(*(ask(cache, maker) for _ in range(100))) == ["answer 1"] * 100
    assert maker.made == 1


async def test_who_goes_away_does_not_take_the_answer_along(cache, relay, maker):
    await believe(relay, cache)
    maker.holding.clear()
    first, second = (asyncio.create_task(ask(cache, maker)) for _ in range(2))
    await maker.begun.wait()
    first.cancel()
    await asyncio.wait([first])
    maker.holding.set()
    assert await second == "answer 1"


async def test_what_fails_is_told_to_all_who_wait_and_tried_anew(cache, relay):
    await believe(relay, cache)
    tries = 0

    async def fail():
        nonlocal tries
        tries += 1
        await asyncio.sleep(0.01)
        raise OSError("no")

    told = await asyncio.gather(*(cache.answer(KEY, fail) for _ in range(3)), return_exceptions=True)
    assert [type(one) for one in told] == [OSError] * 3
    assert tries == 1
    with pytest.raises(OSError, match="no"):
        await cache.answer(KEY, fail)
    assert tries == 2


async def test_the_clock_ends_it(cache, relay, maker):
    await believe(relay, cache)
    maker.lasts_s = 0.1
    assert [await ask(cache, maker) for _ in range(2)] == ["answer 1"] * 2
    await asyncio.sleep(0.11)
    assert await ask(cache, maker) == "answer 2"


async def commit(relay, *entities, concerned=()):
    """Events of these that have no place in the log yet."""
    async with relay.engine.begin() as connection:
        log = SqlEventLog(connection)
        for entity in entities:
            await log.add(ThingMoved(entity, next(seqs), concerned))


async def test_a_feed_that_has_read_ahead_of_the_log_is_not_contradicted(cache, relay, hub, things, maker):
    await believe(relay, cache)
    assert await ask(cache, maker) == "answer 1"
    await hub.read([moving(things)], [ThingMoved])  # nothing has happened
    await commit(relay, things.ids[1])
    await hub.read([things.ids[1], moving(things)], [ThingMoved])
    assert await ask(cache, maker) == "answer 1"
    maker.holding.clear()
    making = asyncio.create_task(ask(cache, maker, b"another"))
    await until(lambda: maker.made == 2)
    await commit(relay, moving(things))
    await hub.read([moving(things)], [ThingMoved])
    maker.holding.set()
    assert await making == "answer 2"
    assert await ask(cache, maker, b"another") == "answer 3"
    assert await ask(cache, maker) == "answer 4"


async def test_a_list_is_not_contradicted_either_by_what_was_read_ahead_of_the_log(cache, relay, hub, things):
    """What an event concerns, and its whole topic, may be what a list was made of."""
    await believe(relay, cache)
    makers = [Maker((tag(Topic.ORDERS.value, things.store_id),)), Maker((Topic.ORDERS.value,)), Maker((Topic.CATALOG.value,))]
    for number, maker in enumerate(makers):
        assert await ask(cache, maker, bytes([number])) == "answer 1"
    await commit(relay, moving(things), concerned=(things.store_id,))
    await relay.stamp()  # and it is not published yet
    await hub.read([moving(things)], [ThingMoved])
    assert [await ask(cache, maker, bytes([number])) for number, maker in enumerate(makers)] == ["answer 2", "answer 2", "answer 1"]


async def test_what_is_kept_is_bounded_and_the_longest_unasked_goes_first(hub, relay, things):
    maker = Maker(())
    each = (await maker()).takes
    cache = Cache(hub, NoShelf(), 3 * each)
    await believe(relay, cache)
    for key in (b"a", b"b", b"c", b"a", b"d"):
        await ask(cache, maker, key)
    assert [cache.kept(key) is not None for key in (b"a", b"b", b"c", b"d")] == [True, False, True, True]
    assert cache.figures == Figures(3, 3 * each)
    await ask(cache, Maker(tuple(f"tag {number}" for number in range(100))), b"more than there is room for")
    assert cache.figures.entries == 3  # nothing had to go for what cannot be kept

    async def huge():
        return Answer(b"x" * (ANSWER_BYTES + 1), (), time.time() + 60, time.time())

    whole = Cache(hub, NoShelf(), 10 * ANSWER_BYTES)
    await whole.answer(KEY, huge)
    assert whole.figures.entries == 0
    off = Cache(hub, NoShelf(), 0)
    assert not off.believed


async def test_short_answers_take_no_more_memory_than_is_given(hub):
    cache = Cache(hub, NoShelf(), 5_000_000)
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        for number in range(20_000):
            tags = tuple(tag(Topic.CATALOG.value, new_id()) for _ in range(number % 3))
            cache._keep(number.to_bytes(32), Answer(b'{"data":%d}' % number, tags, time.time() + 60, time.time()))
        after, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert 1_000 < cache.figures.entries < 20_000
    assert after - before < 5_500_000


async def test_what_was_begun_before_the_log_went_on_from_elsewhere_is_not_kept(cache, relay, hub, things, maker, monkeypatch):
    monkeypatch.setattr("subscriptions.cache.TOUCHED", 4)
    await believe(relay, cache)
    await happen(relay, things.ids[1])
    await until(lambda: hub.pos == relay.pos)
    maker.holding.clear()
    making = asyncio.create_task(ask(cache, maker))
    await maker.begun.wait()
    for one in hub.observers:
        one.lost()
    await happen(relay, *things.ids[2:5])  # so many that what was touched before is forgotten
    await until(lambda: hub.pos == relay.pos)
    maker.holding.set()
    assert await making == "answer 1"
    await believe(relay, cache)
    assert await ask(cache, maker) == "answer 2"


async def test_a_log_that_goes_on_from_somewhere_else_empties_it(cache, relay, hub, maker):
    await believe(relay, cache)
    assert await ask(cache, maker) == "answer 1"
    for one in hub.observers:
        one.lost()
    assert await ask(cache, maker) == "answer 2"


# ---------------------------------------------------------------- several processes


@pytest.fixture
async def others(bus, engine, relay, hub):
    """Two processes, and the shelf between them."""
    boards = Boards()
    async with started(bus, engine) as second:
        caches = Cache(hub, boards, MOST), Cache(second, boards, MOST)
        await relay.beat()
        await until(lambda: all(one.believed for one in caches))
        yield (*caches, boards, second)


async def lent(boards):
    await until(lambda: KEY in boards)


async def test_what_one_process_has_made_another_need_not(others, maker):
    first, second, boards, _ = others
    assert await ask(first, maker) == "answer 1"
    await lent(boards)
    assert await ask(second, maker) == "answer 1"
    assert second.figures.entries == 1
    assert maker.made == 1


async def test_what_is_older_than_what_this_process_knows_is_not_taken(others, relay, hub, things, maker):
    first, second, boards, hub2 = others
    await ask(first, maker)
    await lent(boards)
    await happen(relay, moving(things))
    await until(lambda: hub2.pos == hub.pos == relay.pos)
    await relay.beat()
    await until(lambda: second.believed)
    assert await ask(second, maker) == "answer 2"
    await until(lambda: msgspec.msgpack.decode(boards[KEY], type=Lent).pos == relay.pos)
    assert await ask(first, maker) == "answer 2"


async def test_a_process_that_has_just_begun_takes_nothing_from_before_its_time(others, bus, engine, relay, things, maker):
    first, _, boards, _ = others
    await ask(first, maker)
    await lent(boards)
    await happen(relay, moving(things))
    async with started(bus, engine) as third:  # never heard of it
        cache = Cache(third, boards, MOST)
        await relay.beat()
        await until(lambda: cache.believed)
        assert await ask(cache, maker) == "answer 2"


async def test_what_a_feed_has_read_ahead_of_the_log_no_other_process_contradicts(others, relay, things, maker):
    first, second, boards, hub2 = others
    await ask(first, maker)
    await lent(boards)
    await commit(relay, moving(things))
    await hub2.read([moving(things)], [ThingMoved])
    assert await ask(second, maker) == "answer 2"


@pytest.mark.parametrize("broken", [b"", b"\xc1", b"hello", msgspec.msgpack.encode(["another log", 10**6, [b"", [], 1e12, 0]])])
async def test_what_is_broken_or_of_another_log_is_made_anew(others, maker, broken):
    _, second, boards, _ = others
    boards[KEY] = broken
    assert await ask(second, maker) == "answer 1"
