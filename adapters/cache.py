"""The shelf in Redis: answers that one process has made, for the others."""

import asyncio
import logging
import time
from collections.abc import Callable
from typing import cast

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from adapters.redis_calls import redis_call

log = logging.getLogger("haat.cache")
PREFIX = b"haat:cache:"
WITHIN_S = 0.1
"""To read the rows takes little longer than that: who waits for more has gained nothing."""
AWAY_S = 5.0
"""How long a Redis that did not answer is not asked."""


class RedisShelf:
    def __init__(self, redis_url: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._redis = Redis.from_url(
            redis_url, socket_timeout=WITHIN_S, socket_connect_timeout=WITHIN_S, retry=Retry(NoBackoff(), 1)
        )
        self._clock = clock
        self._away_until = 0.0

    async def get(self, key: bytes) -> bytes | None:
        if self._clock() < self._away_until:
            return None
        try:
            with redis_call():
                async with asyncio.timeout(WITHIN_S):
                    return cast(bytes | None, await self._redis.get(PREFIX + key))
        except (RedisError, OSError, TimeoutError) as error:
            self._left_alone(error)
            return None

    async def put(self, key: bytes, value: bytes, seconds: float) -> None:
        if self._clock() < self._away_until:
            return
        try:
            with redis_call():
                async with asyncio.timeout(WITHIN_S):
                    await self._redis.set(PREFIX + key, value, px=max(1, int(seconds * 1000)))
        except (RedisError, OSError, TimeoutError) as error:
            self._left_alone(error)

    async def close(self) -> None:
        await self._redis.aclose()

    def _left_alone(self, error: Exception) -> None:
        log.warning("Redis is away (%s): each process keeps its own answers", type(error).__name__)
        self._away_until = self._clock() + AWAY_S
