import asyncio
from datetime import UTC, datetime, timedelta

import pytest
import pytest_asyncio
from limits import RateLimitItemPerDay, RateLimitItemPerHour, RateLimitItemPerMinute
from redis.asyncio import Redis as Client

from adapters.limits import AWAY_S, LIMITS, NoLimits, RedisLimits
from domain.limits import check_limit, network_of
from domain.refusals import RateLimited, Refused
from launch.ports import free_port
from launch.redis import Redis, find_program

TABLE = {
    "few": (RateLimitItemPerMinute(5), RateLimitItemPerHour(7)),
    "cost": (RateLimitItemPerDay(1_000),),  # of a day: two counters let it grow by less than a point a minute
}
SECRET = b"k" * 32


class Clock:
    at = 1_000.0

    def __call__(self) -> float:
        return self.at


@pytest_asyncio.fixture(params=["redis", "memory"], loop_scope="session")
async def limits(request):
    url = request.getfixturevalue("redis_url") if request.param == "redis" else None
    if url:
        async with Client.from_url(url) as client:
            await client.flushall()
    limits = RedisLimits(url, SECRET, limits=TABLE)
    yield limits
    await limits.close()


async def test_of_a_hundred_at_once_as_many_pass_as_the_budget_allows(limits):
    said = await asyncio.gather(*(limits.hit("few", "one") for _ in range(100)))
    assert said.count(None) == 5


async def test_who_is_over_hears_when_to_try_again(limits):
    for _ in range(5):
        assert await limits.hit("few", "two") is None
    retry_at = await limits.hit("few", "two")
    now = datetime.now(UTC)
    assert now < retry_at <= now + timedelta(seconds=61)
    with pytest.raises(Refused) as no:
        await check_limit(limits, "few", "two")
    assert no.value.refusal == RateLimited("too often: try again later", retry_at)


async def test_one_key_does_not_spend_anothers_budget(limits):
    for _ in range(6):
        await limits.hit("few", "three")
    assert await limits.hit("few", "four") is None


async def test_a_cleared_key_has_its_whole_budget_again(limits):
    for _ in range(6):
        await limits.hit("few", "five")
    await limits.clear("few", "five")
    assert [await limits.hit("few", "five") for _ in range(5)] == [None] * 5
    assert await limits.hit("few", "five") is not None


async def test_cost_is_taken_by_the_point(limits):
    assert await limits.hit("cost", "six", 600) is None
    assert await limits.hit("cost", "six", 402) is not None  # 402, not 401, as midnight may have taken a part of a point
    assert await limits.hit("cost", "six", 300) is None


async def test_a_name_that_is_not_in_the_table_is_a_bug(limits):
    with pytest.raises(KeyError):
        await limits.hit("nothing", "seven")


async def test_processes_share_one_budget_and_no_key_stands_in_clear(redis_url):
    one, other = RedisLimits(redis_url, SECRET, limits=TABLE), RedisLimits(redis_url, SECRET, limits=TABLE)
    phone = "+919876543210"
    said = [await (one, other)[turn % 2].hit("few", phone) for turn in range(8)]
    assert said.count(None) == 5
    async with Client.from_url(redis_url, decode_responses=True) as client:
        keys = [key async for key in client.scan_iter()]
    assert keys
    assert not any("9876543210" in key for key in keys)
    await one.close()
    await other.close()


async def test_without_redis_each_process_counts_and_with_it_again_they_share(tmp_path):
    program = find_program()
    if program is None:
        pytest.skip("there is no Redis for this Python and machine")
    server, clock = Redis(program, tmp_path / "redis.log"), Clock()
    server.port = free_port()
    limits = RedisLimits(server.url, SECRET, limits=TABLE, clock=clock)
    said = [await limits.hit("few", "one") for _ in range(6)]
    assert said.count(None) == 5  # nobody answers there: our own count
    try:
        server.start()
        assert await limits.hit("few", "one") is not None  # not asked again yet
        clock.at += AWAY_S
        assert await limits.hit("few", "one") is None  # a budget of all of us, unspent
        assert await limits.hit("few", "two") is None
    finally:
        server.kill()
    assert await limits.hit("few", "two") is None  # it went away between two hits
    assert await limits.hit("few", "one") is not None  # our own count knew it
    await limits.close()


async def test_switched_off_nothing_is_counted():
    assert [await NoLimits().hit("few", "one", 10**9) for _ in range(100)] == [None] * 100


def test_every_limit_of_the_table_can_be_counted():
    assert all(items for items in LIMITS.values())


@pytest.mark.parametrize(
    ("address", "network"),
    [
        ("203.0.113.7", "203.0.113.7"),
        ("::ffff:203.0.113.7", "203.0.113.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("testclient", "testclient"),
        ("", ""),
    ],
)
def test_an_address_stands_for_its_network(address, network):
    assert network_of(address) == network
