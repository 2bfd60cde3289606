import contextlib
from dataclasses import dataclass

import msgspec
import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from adapters.bus import open_bus
from db.reads import Reads
from db.relay import leadership
from domain.bus import HEARTBEAT, Bus, Entry, Heartbeat, Message
from subscriptions.hub import Hub
from tests.logs import Things
from tests.subscriptions.process import Live
from workers.relay import messages


@dataclass
class HandRelay:
    """A relay whose every step the test takes itself, so that it can lose what it likes."""

    engine: AsyncEngine
    bus: Bus
    epoch: str = ""
    pos: int = 0

    async def stamp(self) -> list[Entry]:
        async with leadership(self.engine) as leader:
            entries = await leader.stamp(10_000)
            self.epoch, self.pos = leader.epoch, leader.pos
        return entries

    async def publish(self, *entries: Entry) -> None:
        await self.bus.publish(*messages(self.epoch, entries))

    async def beat(self, pos: int | None = None, epoch: str | None = None) -> None:
        beat = Heartbeat(epoch or self.epoch, self.pos if pos is None else pos)
        await self.bus.publish(Message(HEARTBEAT, msgspec.json.encode(beat).decode()))


@pytest.fixture
async def bus():
    bus = open_bus("memory://")
    await bus.start()
    yield bus
    await bus.stop()


@pytest.fixture
async def relay(engine, bus):
    relay = HandRelay(engine, bus)
    await relay.stamp()  # what another test has left
    return relay


@contextlib.asynccontextmanager
async def started(bus, engine):
    hub = Hub(bus, Reads(engine))
    await hub.start()
    try:
        yield hub
    finally:
        await hub.stop()


@pytest.fixture
async def hub(bus, engine, relay):
    async with started(bus, engine) as hub:
        yield hub


@pytest.fixture
async def things(engine):
    return await Things(engine).make(6)


@pytest.fixture
def live(engine, bus, hub, relay):
    return Live(engine, bus, hub, relay)
