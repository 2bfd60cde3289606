"""How often somebody may ask: budgets in Redis, and each process's own while Redis is away."""

import asyncio
import hmac
import logging
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

from limits import RateLimitItem, RateLimitItemPerDay, RateLimitItemPerHour, RateLimitItemPerMinute
from limits.aio.storage import MemoryStorage, RedisStorage
from limits.aio.strategies import MovingWindowRateLimiter, RateLimiter, SlidingWindowCounterRateLimiter
from redis.asyncio import ConnectionPool
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from adapters.redis_calls import redis_call

log = logging.getLogger("haat.limits")

PREFIX = "haat:limits"
AWAY_S = 5.0  # how long a Redis that did not answer is not asked; then one asks, and nobody waits with it
WITHIN_S = 1.0  # for one budget, whatever the connections of it do
EXACT = 100  # up to so many, each try is remembered with its time; beyond, two counters do

minute, hour, day = RateLimitItemPerMinute, RateLimitItemPerHour, RateLimitItemPerDay
LIMITS: Mapping[str, tuple[RateLimitItem, ...]] = {
    "sign-in by account": (minute(5), hour(20)),
    "sign-in by address": (minute(30),),
    "sign-up by address": (minute(10), hour(60)),
    "refresh by address": (minute(120),),
    "code by phone": (minute(3, 10), day(20)),
    "code by address": (minute(20, 10),),
    "code tried by address": (minute(30),),
    "cost by actor": (minute(60_000),),  # points of GraphQL cost
    "cost by address": (minute(60_000),),
    "quote": (minute(30),),
}


class _Budgets:
    """One storage, and both ways to count in it."""

    def __init__(self, storage: RedisStorage | MemoryStorage) -> None:
        self._exact, self._rough = MovingWindowRateLimiter(storage), SlidingWindowCounterRateLimiter(storage)

    def _way(self, item: RateLimitItem) -> RateLimiter:
        return self._exact if item.amount <= EXACT else self._rough

    async def hit(self, items: tuple[RateLimitItem, ...], name: str, key: str, cost: int) -> float | None:
        """When to try again, in seconds of the epoch."""
        for item in items:
            way = self._way(item)
            if not await way.hit(item, name, key, cost=min(cost, item.amount)):
                return float((await way.get_window_stats(item, name, key)).reset_time)
        return None

    async def clear(self, items: tuple[RateLimitItem, ...], name: str, key: str) -> None:
        for item in items:
            await self._way(item).clear(item, name, key)


class RedisLimits:
    """`secret` keys the hash by which a phone or an address stands in Redis. `redis_url` None: this process alone."""

    def __init__(
        self,
        redis_url: str | None,
        secret: bytes,
        *,
        limits: Mapping[str, tuple[RateLimitItem, ...]] = LIMITS,
        timeout_s: float = 0.5,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._limits = limits
        self._secret = secret
        self._clock = clock
        self._memory = MemoryStorage()
        self._own = _Budgets(self._memory)
        self._pool: ConnectionPool | None = None
        self._shared: _Budgets | None = None
        self._away_until = 0.0
        if redis_url is not None:
            self._pool = ConnectionPool.from_url(
                redis_url,
                socket_timeout=timeout_s,
                socket_connect_timeout=timeout_s,
                retry=Retry(NoBackoff(), 1),  # a connection that died idle costs nobody a fallback
            )
            # The pool is ours, since the library knows fewer kinds of address than redis-py does.
            options: dict[str, Any] = {"connection_pool": self._pool}
            storage = RedisStorage("async+redis://", implementation="redispy", key_prefix=PREFIX, **options)
            self._shared = _Budgets(storage)

    async def hit(self, name: str, key: str, cost: int = 1) -> datetime | None:
        items, hidden = self._limits[name], self._hidden(key)
        shared = self._answering()
        if shared is not None:
            try:
                with redis_call():
                    async with asyncio.timeout(WITHIN_S):
                        retry_at = await shared.hit(items, name, hidden, cost)
                self._away_until = 0.0
                return _moment(retry_at)
            except (RedisError, OSError, TimeoutError) as error:
                self._left_alone(error)
        return _moment(await self._own.hit(items, name, hidden, cost))

    async def clear(self, name: str, key: str) -> None:
        items, hidden = self._limits[name], self._hidden(key)
        await self._own.clear(items, name, hidden)
        shared = self._answering()
        if shared is not None:
            try:
                with redis_call():
                    async with asyncio.timeout(WITHIN_S):
                        await shared.clear(items, name, hidden)
                self._away_until = 0.0
            except (RedisError, OSError, TimeoutError) as error:
                self._left_alone(error)

    async def close(self) -> None:
        if self._pool is not None:
            await self._pool.aclose()
        if self._memory.timer is not None:
            self._memory.timer.cancel()

    def _hidden(self, key: str) -> str:
        return hmac.digest(self._secret, key.encode(errors="replace"), "sha256").hex()[:32]

    def _answering(self) -> _Budgets | None:
        if self._clock() < self._away_until:
            return None
        if self._away_until:
            self._away_until = self._clock() + AWAY_S
        return self._shared

    def _left_alone(self, error: Exception) -> None:
        if not self._away_until:
            log.warning("Redis is away (%s): each process counts its own limits", type(error).__name__)
        self._away_until = self._clock() + AWAY_S


class NoLimits:
    """For load tests."""

    async def hit(self, name: str, key: str, cost: int = 1) -> datetime | None:
        return None

    async def clear(self, name: str, key: str) -> None:
        return None

    async def close(self) -> None:
        return None


def _moment(seconds: float | None) -> datetime | None:
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC)
