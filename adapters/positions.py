"""Where riders are: in Redis, and in this process while Redis is away. Nothing here ever logs a place."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar, cast
from uuid import UUID

import msgspec
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from adapters.redis_calls import redis_call
from domain.places import Point, metres_between
from domain.positions import KNOWN_FOR, OLDEST, PUBLISH_EVERY, SAVE_EVERY, Kept, Position, Sighting, in_order

log = logging.getLogger("haat.positions")

AWAY_S = 2.0  # how long a Redis that did not answer is not asked; then one asks, and nobody waits with it
WITHIN_S = 1.0  # for one question, whatever the connections of it do
SWEEP = 500  # riders forgotten from the map at once
MAP, SEEN_ON_MAP = "haat:riders", "haat:riders:seen"
MAP_LAT = 85.05  # what Redis can place
REPEATS_FOR = OLDEST + timedelta(seconds=60)  # after it a repeat is too old anyway

Answer = TypeVar("Answer")

# One rider's, at once: which reports are new, whether the newest of them is newer than what we had, and whether it is
# time to tell others of it and to write it down. Both keys are of one rider, so that they are of one slot.
_KEEP = """
local seen, latest = KEYS[1], KEYS[2]
local now, at, seq = tonumber(ARGV[1]), -1, -1
local known = redis.call('HMGET', latest, 'at', 'seq', 'published', 'saved')
if known[1] then at, seq = tonumber(known[1]), tonumber(known[2]) end
redis.call('ZREMRANGEBYSCORE', seen, '-inf', now - tonumber(ARGV[2]))
local accepted, newest = 0, 0
for i = 7, #ARGV, 3 do
  if redis.call('ZADD', seen, 'NX', now, ARGV[i]) == 1 then
    accepted = accepted + 1
    local its_at, its_seq = tonumber(ARGV[i + 1]), tonumber(ARGV[i + 2])
    if its_at > at or (its_at == at and its_seq > seq) then
      at, seq, newest = its_at, its_seq, (i - 7) / 3 + 1
      redis.call('HSET', latest, 'at', ARGV[i + 1], 'seq', ARGV[i + 2])
    end
  end
end
redis.call('PEXPIRE', seen, ARGV[2])
if newest == 0 then return {accepted, 0, 0, 0} end
local publish, save = 0, 0
if not known[3] or now - tonumber(known[3]) >= tonumber(ARGV[4]) then
  publish = 1
  redis.call('HSET', latest, 'published', ARGV[1])
end
if not known[4] or now - tonumber(known[4]) >= tonumber(ARGV[5]) then
  save = 1
  redis.call('HSET', latest, 'saved', ARGV[1])
end
redis.call('HSET', latest, 'place', cjson.decode(ARGV[6])[newest])
redis.call('PEXPIRE', latest, ARGV[3])
return {accepted, newest, publish, save}
"""


@dataclass
class _Known:
    """What this process has been told of one rider."""

    seen: dict[tuple[str, int], datetime] = field(default_factory=dict)
    latest: Sighting | None = None
    until: float = 0.0
    published: datetime | None = None
    saved: datetime | None = None


class MemoryPositions:
    """Of one process."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._riders: dict[UUID, _Known] = {}
        self._sweep_at = 0.0

    async def keep(self, rider_id: UUID, sightings: Sequence[Sighting], now: datetime) -> Kept:
        self._sweep()
        known = self._riders.setdefault(rider_id, _Known())
        known.seen = {key: at for key, at in known.seen.items() if at > now - REPEATS_FOR}
        new = [one for one in sightings if (one.device_id, one.seq) not in known.seen]
        known.seen.update({(one.device_id, one.seq): now for one in new})
        newest = max(new, key=in_order, default=None)
        before = known.latest if self._clock() < known.until else None
        if newest is None or (before is not None and in_order(newest) <= in_order(before)):
            return Kept(len(new))
        if before is None:
            known.published = known.saved = None
        publish = known.published is None or now - known.published >= PUBLISH_EVERY
        save = known.saved is None or now - known.saved >= SAVE_EVERY
        known.latest, known.until = newest, self._clock() + KNOWN_FOR.total_seconds()
        known.published = now if publish else known.published
        known.saved = now if save else known.saved
        return Kept(len(new), newest, publish, save)

    async def latest(self, rider_ids: Sequence[UUID]) -> dict[UUID, Position]:
        return {id: _position(id, found) for id in rider_ids if (found := self._known(id)) is not None}

    async def near(self, point: Point, within_m: int, limit: int) -> list[UUID]:
        metres = [(metres_between(point, at.point), id) for id in self._riders if (at := self._known(id)) is not None]
        return [id for far, id in sorted(metres) if far <= within_m][:limit]

    async def forget(self, rider_id: UUID) -> None:
        self._riders.pop(rider_id, None)

    async def close(self) -> None:
        self._riders.clear()

    def _known(self, rider_id: UUID) -> Sighting | None:
        known = self._riders.get(rider_id)
        return known.latest if known is not None and self._clock() < known.until else None

    def _sweep(self) -> None:
        """Riders who have been silent for so long that not even a repeat of theirs would count."""
        now = self._clock()
        if now >= self._sweep_at:
            self._sweep_at = now + KNOWN_FOR.total_seconds()
            gone = [id for id, known in self._riders.items() if known.until and now > known.until + REPEATS_FOR.total_seconds()]
            for id in gone:
                del self._riders[id]


def _position(rider_id: UUID, seen: Sighting) -> Position:
    return Position(rider_id, seen.point, seen.heading_degrees, seen.at)


class RedisPositions:
    """Redis 6.2 or later. A call that it does not answer in time is answered from this process's memory."""

    def __init__(self, url: str, *, timeout_s: float = 0.5, clock: Callable[[], float] = time.monotonic) -> None:
        self._redis = Redis.from_url(
            url,
            decode_responses=True,
            socket_timeout=timeout_s,
            socket_connect_timeout=timeout_s,
            retry=Retry(NoBackoff(), 1),  # a connection that died idle costs nobody a fallback
        )
        self._keep = self._redis.register_script(_KEEP)
        self._clock = clock
        self._own = MemoryPositions(clock)
        self._away_until = 0.0

    async def keep(self, rider_id: UUID, sightings: Sequence[Sighting], now: datetime) -> Kept:
        return await self._either(lambda: self._kept(rider_id, sightings, now), lambda: self._own.keep(rider_id, sightings, now))

    async def latest(self, rider_ids: Sequence[UUID]) -> Mapping[UUID, Position]:
        if not rider_ids:
            return {}
        return await self._either(lambda: self._latest(rider_ids), lambda: self._own.latest(rider_ids))

    async def near(self, point: Point, within_m: int, limit: int) -> Sequence[UUID]:
        return await self._either(lambda: self._near(point, within_m, limit), lambda: self._own.near(point, within_m, limit))

    async def forget(self, rider_id: UUID) -> None:
        await self._own.forget(rider_id)

        async def forget() -> None:
            async with self._redis.pipeline(transaction=False) as pipeline:
                pipeline.unlink(_latest_key(rider_id))
                pipeline.zrem(MAP, str(rider_id))
                pipeline.zrem(SEEN_ON_MAP, str(rider_id))
                await pipeline.execute()

        await self._either(forget, lambda: self._own.forget(rider_id))

    async def close(self) -> None:
        await self._redis.aclose()

    async def _either(self, theirs: Callable[[], Awaitable[Answer]], own: Callable[[], Awaitable[Answer]]) -> Answer:
        if self._clock() >= self._away_until:
            if self._away_until:
                self._away_until = self._clock() + AWAY_S
            try:
                with redis_call():
                    async with asyncio.timeout(WITHIN_S):
                        answer = await theirs()
                self._away_until = 0.0
                return answer
            except (RedisError, OSError, TimeoutError) as error:
                if not self._away_until:
                    log.warning("Redis is away (%s): each process knows its own riders", type(error).__name__)
                self._away_until = self._clock() + AWAY_S
        return await own()

    async def _kept(self, rider_id: UUID, sightings: Sequence[Sighting], now: datetime) -> Kept:
        if not sightings:
            return Kept(0)
        places = [_PLACE.encode(_position(rider_id, one)).decode() for one in sightings]
        told: list[str | int] = [_ms(now), _in_ms(REPEATS_FOR), _in_ms(KNOWN_FOR), _in_ms(PUBLISH_EVERY), _in_ms(SAVE_EVERY)]
        told.append(msgspec.json.encode(places).decode())
        for one in sightings:
            told += [f"{one.seq} {one.device_id}", _ms(one.at), one.seq]
        answer = await self._keep(keys=[_seen_key(rider_id), _latest_key(rider_id)], args=told)
        accepted, newest, publish, save = cast(list[int], answer)
        if not newest:
            return Kept(accepted)
        latest = sightings[newest - 1]
        if abs(latest.point.lat) <= MAP_LAT:
            async with self._redis.pipeline(transaction=False) as pipeline:
                pipeline.geoadd(MAP, (latest.point.lng, latest.point.lat, str(rider_id)))
                pipeline.zadd(SEEN_ON_MAP, {str(rider_id): _ms(datetime.now(UTC))})
                await pipeline.execute()
        return Kept(accepted, latest, bool(publish), bool(save))

    async def _latest(self, rider_ids: Sequence[UUID]) -> dict[UUID, Position]:
        async with self._redis.pipeline(transaction=False) as pipeline:
            for id in rider_ids:
                pipeline.hget(_latest_key(id), "place")
            found = await pipeline.execute()
        return {id: _PLACES.decode(place) for id, place in zip(rider_ids, found, strict=True) if place is not None}

    async def _near(self, point: Point, within_m: int, limit: int) -> list[UUID]:
        # Places on the map do not expire by themselves.
        silent_since = _ms(datetime.now(UTC) - KNOWN_FOR)
        silent = await self._redis.zrange(SEEN_ON_MAP, "-inf", cast(Any, silent_since), byscore=True, offset=0, num=SWEEP)
        if silent:
            async with self._redis.pipeline(transaction=False) as pipeline:
                pipeline.zrem(MAP, *silent)
                pipeline.zrem(SEEN_ON_MAP, *silent)
                await pipeline.execute()
        lat = max(-MAP_LAT, min(MAP_LAT, point.lat))
        found = await self._redis.geosearch(
            MAP, longitude=point.lng, latitude=lat, radius=within_m, unit="m", sort="ASC", count=limit
        )
        return [UUID(str(id)) for id in found]


_PLACE = msgspec.json.Encoder()
_PLACES = msgspec.json.Decoder(Position)


def _ms(at: datetime) -> int:
    return int(at.timestamp() * 1000)


def _in_ms(span: timedelta) -> int:
    return int(span.total_seconds() * 1000)


def _seen_key(rider_id: UUID) -> str:
    return f"haat:rider:{{{rider_id}}}:seen"


def _latest_key(rider_id: UUID) -> str:
    return f"haat:rider:{{{rider_id}}}:latest"


def open_positions(redis_url: str | None) -> "MemoryPositions | RedisPositions":
    """`memory://` and None: one process alone."""
    return MemoryPositions() if redis_url is None or redis_url == "memory://" else RedisPositions(redis_url)
