"""The bus: broadcaster over Redis Streams, or inside one process.

broadcaster's own Redis backends lose subscribers and die unseen with their first connection, so the backend is ours:
subscribing never suspends, and one task for the whole process reads all channels and reconnects for ever.
"""

import asyncio
import logging
import random
import time
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, cast

from broadcaster import Broadcast, BroadcastBackend, Event
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import ExponentialWithJitterBackoff
from redis.exceptions import RedisError

from adapters.redis_calls import redis_call
from domain.bus import Bus, Message
from domain.refusals import Refused, Unavailable

log = logging.getLogger("haat.bus")
WITHIN_S = 2  # whatever waits for Redis ends by then
BLOCK_MS = 200  # how long a read waits in the server; far below the socket's timeout, or an idle bus looks like a dead one
KEPT = 500  # messages a stream keeps at least: who is away for longer heals from the database
QUEUED = 10_000


def open_bus(url: str) -> Bus:
    """`memory://` serves the processes that are one; anything else is a Redis, 6.2 or later."""
    return MemoryBus() if url == "memory://" else RedisBus(url)


class _BroadcastBus:
    def __init__(self, broadcast: Broadcast) -> None:
        self._broadcast = broadcast

    async def start(self) -> None:
        await self._broadcast.connect()

    async def stop(self) -> None:
        await self._broadcast.disconnect()

    @asynccontextmanager
    async def subscribe(self, channels: Sequence[str]) -> AsyncIterator[AsyncIterator[Message]]:
        messages: asyncio.Queue[Message] = asyncio.Queue()
        async with AsyncExitStack() as joined:
            subscribers = [await joined.enter_async_context(self._broadcast.subscribe(channel)) for channel in channels]
            pumps = [asyncio.create_task(_pump(subscriber, messages)) for subscriber in subscribers]
            try:
                yield _drained(messages)
            finally:
                for pump in pumps:
                    pump.cancel()
                await asyncio.gather(*pumps, return_exceptions=True)


async def _pump(subscriber: Any, messages: asyncio.Queue[Message]) -> None:
    while True:
        event: Event = await subscriber.get()
        messages.put_nowait(Message(event.channel, event.message))


async def _drained(messages: asyncio.Queue[Message]) -> AsyncIterator[Message]:
    while True:
        yield await messages.get()


class MemoryBus(_BroadcastBus):
    def __init__(self) -> None:
        super().__init__(Broadcast("memory://"))
        self.up = False

    async def start(self) -> None:
        await super().start()
        self.up = True

    async def stop(self) -> None:
        self.up = False
        await super().stop()

    async def publish(self, *messages: Message) -> None:
        for message in messages:
            await self._broadcast.publish(*message)


class RedisBus(_BroadcastBus):
    def __init__(self, url: str) -> None:
        self._streams = Streams(url)
        super().__init__(Broadcast(backend=self._streams))

    @property
    def up(self) -> bool:
        return self._streams.up

    async def publish(self, *messages: Message) -> None:
        await self._streams.append(messages)


class Streams(BroadcastBackend):
    """A Redis stream for each channel. Repeats rather than loses: a message may come twice after a reconnection."""

    def __init__(self, url: str) -> None:
        self.up = False
        self._reader = _client(url, retries=0)  # its own loop retries, and must know that it was cut off
        self._writer = _client(url, retries=2)
        # Where each channel has been read to. None until the server has told its time: ids are its milliseconds.
        self._read_to: dict[str, tuple[int, int] | None] = {}
        self._joined_at: dict[str, float] = {}
        self._joined = asyncio.Event()
        self._events: asyncio.Queue[Event] = asyncio.Queue(QUEUED)

    async def connect(self) -> None:
        self._reading = asyncio.create_task(self._read_for_ever(), name="bus reader")

    async def disconnect(self) -> None:
        self._reading.cancel()
        await asyncio.gather(self._reading, return_exceptions=True)
        self.up = False
        await self._reader.aclose()
        await self._writer.aclose()

    async def subscribe(self, group: str) -> None:
        """Must not suspend: broadcaster registers the subscriber's queue only afterwards."""
        self._joined_at[group] = time.monotonic()
        self._read_to[group] = None
        self._joined.set()

    async def unsubscribe(self, group: str) -> None:
        del self._read_to[group], self._joined_at[group]

    async def publish(self, channel: str, message: Any) -> None:
        await self.append([Message(channel, message)])

    async def append(self, messages: Iterable[Message]) -> None:
        """In one MULTI. Refuses Unavailable."""
        try:
            with redis_call():
                async with asyncio.timeout(WITHIN_S), self._writer.pipeline(transaction=True) as pipeline:
                    for channel, message in messages:
                        pipeline.xadd(channel, {"m": message}, maxlen=KEPT, approximate=True)
                    await pipeline.execute()
        except (RedisError, OSError, TimeoutError) as error:
            raise Refused(Unavailable("the bus does not answer")) from error

    async def next_published(self) -> Event:
        return await self._events.get()

    # Reading

    async def _read_for_ever(self) -> None:
        failures = 0
        while True:
            if not self._read_to:
                self._joined.clear()
                await self._joined.wait()
            try:
                await self._read()
                failures = 0
            except (RedisError, OSError, TimeoutError) as error:
                if self.up or not failures:
                    log.warning("lost: %s", type(error).__name__)
                self.up = False
                failures += 1
                # At most a second: those who wait are to be whole again within five.
                await asyncio.sleep(min(1.0, 0.1 * 2 ** min(failures, 4)) * random.uniform(0.5, 1))  # noqa: S311
            except Exception:
                log.exception("the reader failed")
                self.up = False
                await asyncio.sleep(1)

    async def _read(self) -> None:
        """One read of all channels."""
        with redis_call():
            async with asyncio.timeout(WITHIN_S):
                if not self.up:
                    await self._reconnected()
                elif None in self._read_to.values():
                    await self._place(await self._server_ms())
                wanted: Any = {channel: f"{ms}-{n}" for channel, (ms, n) in _placed(self._read_to)}
                found = cast(Any, await self._reader.xread(wanted, count=500, block=BLOCK_MS))
        if not self.up:
            self.up = True
            log.info("joined")
        for channel, entries in found or ():
            for id, fields in entries:
                ms, _, n = id.partition("-")
                if channel in self._read_to:
                    self._read_to[channel] = (int(ms), int(n))
                await self._events.put(Event(channel, fields["m"]))

    async def _server_ms(self) -> int:
        seconds, micros = await self._reader.time()
        return int(seconds) * 1000 + int(micros) // 1000

    async def _place(self, server_ms: int) -> None:
        """New channels begin when they were joined, by the server's clock, so what came meanwhile is not lost."""
        for channel, joined_at in self._joined_at.items():
            if self._read_to[channel] is None:
                self._read_to[channel] = (server_ms - int((time.monotonic() - joined_at) * 1000) - 2, 0)

    async def _reconnected(self) -> None:
        """Another server may be behind the old one's clock: waiting for ids of the future we would hear nothing."""
        server_ms = await self._server_ms()
        await self._place(server_ms)
        for channel, (ms, n) in _placed(self._read_to):
            self._read_to[channel] = min((ms, n), (server_ms - 1, 0))


def _placed(read_to: dict[str, tuple[int, int] | None]) -> list[tuple[str, tuple[int, int]]]:
    return [(channel, id) for channel, id in read_to.items() if id is not None]


def _client(url: str, retries: int) -> Redis:
    over_tcp: dict[str, Any] = {} if url.startswith("unix://") else {"socket_keepalive": True}
    # from_url would not retry at all, and Redis() would for a minute.
    return Redis.from_url(
        url,
        decode_responses=True,
        socket_timeout=1,
        socket_connect_timeout=1,
        **over_tcp,
        health_check_interval=15,
        retry=Retry(ExponentialWithJitterBackoff(base=0.05, cap=0.2), retries),
    )
