"""A server process as tests of feeds need it: what is committed reaches its hub when the test says so."""

import asyncio
from dataclasses import dataclass, field
from datetime import timedelta

import pytest
from sqlalchemy import func, select

from adapters.positions import MemoryPositions
from db.reads import Reads
from db.unit_of_work import unit_of_work
from domain.identity import Actor
from domain.places import Point
from domain.positions import Sighting
from resolvers import riders as riding
from resolvers.loaders import Loaders
from schema.roots import Api
from subscriptions.following import Following
from tests.callers import ports

STREET = Point(12.9800, 77.6000)


class Everybody:
    """Signed in, until a test says otherwise."""

    def __init__(self):
        self.alive = True

    async def standing(self, session_id):
        return self


@dataclass
class Live:
    """A server process, its hub and its positions."""

    engine: object
    bus: object
    hub: object
    relay: object
    positions: MemoryPositions = field(default_factory=MemoryPositions)
    sessions: Everybody = field(default_factory=Everybody)

    def caller(self, actor: Actor) -> Api:
        reads = Reads(self.engine)
        outside = ports(reads, bus=self.bus, positions=self.positions, sessions=self.sessions)
        signed_in = Actor(actor.kind, actor.id, actor.id)
        return Api(signed_in, reads, lambda: unit_of_work(self.engine), Loaders(reads), outside, "", hub=Following(self.hub))

    async def do(self, step, *arguments):
        async with unit_of_work(self.engine) as uow:
            done = await step(*arguments, uow)
        await self.tell()
        return done

    async def tell(self):
        """Everything committed reaches the hub."""
        await self.relay.publish(*await self.relay.stamp())

    async def report(self, rider, seq, point=STREET, ago_s=0):
        now = await Reads(self.engine).value(select(func.clock_timestamp()))
        told = [Sighting("phone", seq, point, now - timedelta(seconds=ago_s), 5, 90)]
        return await riding.report_positions(self.caller(rider), told, self.hub.saw)


async def soon(feed):
    async with asyncio.timeout(5):
        return await anext(feed)


async def quiet(feed):
    """Nothing comes."""
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.3):
            await anext(feed)
