"""What speaks for the town's own stores: a till that switches dishes off and on, a warehouse that counts what customers order."""

import asyncio
from datetime import datetime

from simulate.plan import Provider, Say
from simulate.post import Post
from simulate.seen import Document, Sent
from simulate.town import Town
from tests.simulators.calls import Call, Caller, Connection, Flaw, Thing, Word
from tests.simulators.petpooja import Petpooja
from tests.simulators.wms import Wms


class Speaker:
    """One till, or one warehouse. Others speak of the same things, and customers take of them."""

    def __init__(self, town: Town, post: Post, provider: Provider) -> None:
        source = town.where.sources[provider.value]
        of_kitchen = provider is Provider.PETPOOJA
        mine = town.spoken_for.get(source["id"], frozenset())
        shelves = [store.listings for store in town.stores if store.id in mine]
        things = sorted({listing.sku for shelf in shelves for listing in shelf if listing.on_menu == of_kitchen})
        connection = Connection(str(source["id"]), source["secret"], source["endpoints"], source["store"])
        self.caller: Caller = (Petpooja if of_kitchen else Wms)(connection, [Thing(sku, sku, 0) for sku in things])
        self.provider, self.post = provider, post
        self.off: set[str] = set()
        self.wishes: asyncio.Queue[Say] = asyncio.Queue()

    async def run(self) -> None:
        while True:
            say = await self.wishes.get()
            try:
                await self.say(say)
            finally:
                self.wishes.task_done()

    async def say(self, say: Say) -> None:
        if not self.caller.things:  # its stores are closed now
            return
        thing, ref = self._thing(say), self.post.ref()
        match say.flaw:
            case Flaw.STALE:
                older, newer = self.caller.now(), self.caller.now()
                await self._tell(self._call(say, thing, ref, newer), say, None)
                await self._tell(self._call(say, thing, self.post.ref(), older), say, Flaw.STALE)
            case Flaw.UNKNOWN:
                await self._tell(self._call(say, Thing(f"{ref}-unknown", "", 0), ref), say, Flaw.UNKNOWN)
            case Flaw.DUPLICATE:
                call, answer = await self._tell(self._call(say, thing, ref), say, None)
                await self._repeat(call, answer)
            case _:
                await self._tell(self._call(say, thing, ref), say, say.flaw)

    async def stop(self) -> None:
        """The town is left with nothing switched off by us."""
        for sku in sorted(self.off):
            on = Say(0, 0, self.provider, Word.ON, 0, 0, None)
            await self._tell(self._call(on, Thing(sku, sku, 0), self.post.ref()), on, None)

    def _thing(self, say: Say) -> Thing:
        things = self.caller.things
        if say.word is Word.ON and self.off:
            things = [thing for thing in things if thing.id in self.off]
        return things[int(say.thing * len(things))]

    def _call(self, say: Say, thing: Thing, ref: str, at: datetime | None = None) -> Call:
        """What it is of is nobody's alone: it keeps no books but of what it has switched off."""
        if say.flaw not in (Flaw.FORGED, Flaw.UNKNOWN):
            (self.off.add if say.word is Word.OFF else self.off.discard)(thing.id)
        said = Thing(thing.id, thing.name, 0, say.units)
        return self.caller.call(say.word, said, say.units, ref, at or self.caller.now())

    async def _tell(self, call: Call, say: Say, flaw: Flaw | None) -> tuple[Call, Document]:
        forged = flaw is Flaw.FORGED
        source_id = self.caller.connection.id if self.caller.named or not forged else ""
        sent = Sent(call.id, self.provider.value, source_id, call.body.decode(), flaw)
        sent.absolute = say.word in (Word.COUNT, Word.ON, Word.OFF)
        answer = await self.post.send(self.caller, call, sent, forged=forged)
        sent.promised = (self.caller.refused if forged else self.caller.taken)(sent.status, answer)
        return call, answer

    async def _repeat(self, call: Call, answer: Document) -> None:
        sent = Sent(self.post.ref(), self.provider.value, self.caller.connection.id, call.body.decode(), Flaw.DUPLICATE)
        # A till numbers nothing: its repeat is known as one only while nothing else came between.
        sent.unsure = self.provider is Provider.PETPOOJA
        again = await self.post.send(self.caller, call, sent)
        sent.promised = self.caller.taken(sent.status, again) and again == answer
