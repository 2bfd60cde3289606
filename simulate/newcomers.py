"""Systems of every provider, connected while the town goes on: made, mapped, taught, and listened to, as an integrator does it.

Each speaks of goods of its own, which no customer of the simulation orders: in the end what customers are shown of them is what it
has in its books, to the unit and the paisa.
"""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import httpx2

from simulate.plan import NEWCOMERS, Provider, Tell
from simulate.post import Post
from simulate.seen import Document, Sent
from simulate.town import SIMULATED, Store, Town, Unfit
from tests.simulators.calls import Call, Caller, Connection, Flaw, Thing, Word
from tests.simulators.catalogue_file import CatalogueFile
from tests.simulators.dotpe import Dotpe
from tests.simulators.generic import Brand, Generic, Kiosk, Warehouse
from tests.simulators.omuni import Omuni
from tests.simulators.petpooja import Petpooja
from tests.simulators.posist import Posist
from tests.simulators.shopify import Shopify
from tests.simulators.square import Square
from tests.simulators.till import Till
from tests.simulators.unicommerce import Unicommerce
from tests.simulators.urbanpiper import Urbanpiper
from tests.simulators.vinculum import Vinculum
from tests.simulators.wms import Wms

CALLERS: Mapping[Provider, type[Caller]] = {
    Provider(one.provider): one
    for one in (
        Petpooja, Urbanpiper, Square, Shopify, Posist, Dotpe, Kiosk,
        Wms, Unicommerce, Vinculum, Omuni, Till, Warehouse, CatalogueFile, Brand,
    )
}  # fmt: skip
SPICES = ("Cumin", "Fennel", "Nutmeg", "Saffron", "Cardamom")
GIVEN = {Provider.SQUARE: "a-signature-key-that-square-made", Provider.SHOPIFY: "shpss-the-secret-of-a-simulated-app"}
STORE_IDS = {Provider.SHOPIFY: "24826418", Provider.VINCULUM: "SIM"}  # numbers alone; three characters at most
UNITS = 40
SHOWN_WITHIN_S = 15.0
LOOKED_EVERY_S = 0.3

CONNECT = """mutation ($merchant: ID!, $provider: String!, $secret: String) {
  connectSource(merchantId: $merchant, provider: $provider, secret: $secret) { source { id } secret endpoints { name url } } }"""
MAP = """mutation ($source: ID!, $id: ID!, $told: String!) {
  mapExternalId(sourceId: $source, kind: STORE, externalId: $told, id: $id) }"""
MAP_MANY = """mutation ($source: ID!, $csv: String!) {
  mapExternalIds(sourceId: $source, csv: $csv) { refused problems { path message } } }"""
SAVE = """mutation ($source: ID!, $profile: JSON!) { saveProfile(sourceId: $source, profile: $profile) {
  __typename ... on SourceProfile { version } } }"""
ACTIVATE = "mutation ($source: ID!, $version: Int!) { activateProfile(sourceId: $source, version: $version) { version } }"
LEAVE = "mutation ($source: ID!) { setSource(sourceId: $source, enabled: false) { enabled } }"
SHELF = """query ($id: ID!, $text: String!, $after: String) { store(id: $id) { status
  listings(first: 50, after: $after, filter: { text: $text }) {
    nodes { sku product { name } price { amount } stock { state available } } pageInfo { hasNextPage endCursor } } } }"""


@dataclass
class Newcomer:
    """One source, who calls for it, and the store it speaks for."""

    town: Town
    post: Post
    store: Store
    caller: Caller
    name: str  # with which the names of its goods begin
    status: asyncio.Lock  # of the store: one at a time says whether it is open
    wishes: asyncio.Queue[Tell] = field(default_factory=asyncio.Queue)
    last: tuple[Call, Document] | None = None

    @property
    def provider(self) -> str:
        return self.caller.provider

    async def run(self) -> None:
        while True:
            tell = await self.wishes.get()
            try:
                await self.tell(tell)
            finally:
                self.wishes.task_done()

    async def teach(self) -> None:
        for call in self.caller.catalogue(self.post.ref()):
            await self.send(call, early=True)

    async def tell(self, tell: Tell) -> None:
        caller = self.caller
        thing = caller.things[int(tell.thing * len(caller.things))]
        if tell.flawed and caller.flaws:
            await self._flawed(caller.flaws[tell.number // 2 % len(caller.flaws)], thing)
            return
        word = caller.words[tell.number % len(caller.words)]
        if word is Word.DROP:
            # What is carried out after a whole push was received is not taken away by it, however old it is.
            await self.differences()
        if word in caller.status_words:
            async with self.status:
                for one in (word, Word.OPEN) if word is Word.CLOSE else (word,):
                    await self._say(one, thing, tell.units)
                    await self._seen(one)
        else:
            await self._say(word, thing, tell.units)

    async def _say(self, word: Word, thing: Thing, units: int) -> None:
        await self.send(self.caller.say(word, thing, units, self.post.ref()))

    async def _flawed(self, flaw: Flaw, thing: Thing) -> None:
        caller, ref = self.caller, self.post.ref()
        match flaw:
            case Flaw.DUPLICATE | Flaw.ALTERED:
                # Of what it has said just now: who numbers nothing is known to repeat itself only then.
                call = caller.say(next(word for word in caller.words if word not in caller.status_words), thing, 1, ref)
                await self.send(call)
                await self.send(call if flaw is Flaw.DUPLICATE else caller.altered(call), flaw)
            case Flaw.STALE:
                await self.send(caller.old(thing, ref), flaw)
            case Flaw.FORGED | Flaw.UNKNOWN:
                await self.send(caller.unknown(ref), flaw)
            case Flaw.BROKEN:
                await self.send(caller.broken(ref), flaw)

    async def send(self, call: Call, flaw: Flaw | None = None, *, early: bool = False) -> None:
        caller, forged = self.caller, flaw is Flaw.FORGED
        source_id = caller.connection.id if caller.named or not forged else ""
        sent = Sent(self.post.ref(), self.provider, source_id, call.body.decode(), flaw, early=early)
        answer = await self.post.send(caller, call, sent, forged=forged)
        match flaw:
            case Flaw.FORGED:
                sent.promised = caller.refused(sent.status, answer)
            case Flaw.BROKEN:
                sent.promised = caller.unreadable(sent.status, answer)
            case Flaw.ALTERED:
                sent.promised = caller.conflicting(sent.status, answer)
            case Flaw.DUPLICATE:
                sent.promised = caller.taken(sent.status, answer) and self.last is not None and answer == self.last[1]
            case _:
                sent.promised = caller.taken(sent.status, answer)
                self.last = call, answer

    async def _seen(self, word: Word) -> None:
        """What it has said of the store, customers see before somebody else says something."""
        due = "OPEN" if self.caller.open else "shut"
        status = ""
        for _ in range(round(SHOWN_WITHIN_S / LOOKED_EVERY_S)):
            status = (await self.town.doors.ask(SHELF, {"id": self.store.id, "text": "nothing"}))["store"]["status"]
            if (status in ("OPEN", "BUSY")) is self.caller.open:
                return
            await asyncio.sleep(LOOKED_EVERY_S)
        self.town.seen.differences.append(
            f"{self.provider}: {self.store.name} is {due} to it ({word.value}), customers see {status}"
        )

    # ------------------------------------------------------------ in the end

    async def differences(self) -> Sequence[str]:
        """Between its books and what customers are shown, once it had time to come to that."""
        found: Sequence[str] = ()
        for _ in range(round(SHOWN_WITHIN_S / LOOKED_EVERY_S)):
            found = self._compared(await shelf(self.town, self.store, self.name))
            if not found:
                return ()
            await asyncio.sleep(LOOKED_EVERY_S)
        return found

    def _compared(self, shown: Mapping[str, str]) -> Sequence[str]:
        due = {thing.name: in_the_books(thing) for thing in self.caller.things}
        return [
            f"{self.provider}: {name} is {due[name]} in its books, customers are shown {shown.get(name, 'nothing')}"
            for name in sorted(due)
            if due[name] != shown.get(name, "nothing")
        ]


def in_the_books(thing: Thing) -> str:
    if not thing.listed:
        return "nothing"
    if not thing.on or thing.units == 0:
        return f"{thing.price}, sold out"
    return f"{thing.price}, {'uncounted' if thing.units is None else thing.units}"


async def shelf(town: Town, store: Store, text: str) -> Mapping[str, str]:
    """As anybody sees it who is signed in nowhere, by the names of products."""
    shown: dict[str, str] = {}
    after = None
    while True:
        page = (await town.doors.ask(SHELF, {"id": store.id, "text": text, "after": after}))["store"]["listings"]
        for node in page["nodes"]:
            stock = node["stock"]
            left = "sold out" if stock["state"] == "OUT_OF_STOCK" else stock["available"]
            shown[node["product"]["name"]] = f"{node['price']['amount']}, {'uncounted' if left is None else left}"
        if not page["pageInfo"]["hasNextPage"]:
            return shown
        after = page["pageInfo"]["endCursor"]


def things_of(name: str, first: str, units: int | None) -> list[Thing]:
    """Ids begin with `first`."""
    name = name if name.startswith(SIMULATED) else f"{SIMULATED} {name}"
    return [Thing(f"{first}{at}", f"{name} {spice}", 12_000 + 500 * at, units) for at, spice in enumerate(SPICES, 1)]


def choices_of(store: Store) -> set[str]:
    """What customers can choose with what it sells."""
    return {option["id"] for listing in store.listings for group in listing.groups for option in group["options"]}


def label(caller: Caller | type[Caller]) -> str:
    return f"{SIMULATED} {caller.provider.replace('_', ' ').title()}"


@dataclass
class Integrator:
    """Who connects them, by the merchant app's own mutations. Raises Unfit where the town will not have them."""

    town: Town
    post: Post
    http: httpx2.AsyncClient
    locks: dict[str, asyncio.Lock] = field(default_factory=dict)
    made: list[str] = field(default_factory=list)
    newcomers: list[Newcomer] = field(default_factory=list)

    async def connect(self, provider: Provider) -> Newcomer:
        kind = CALLERS[provider]
        store = self._store(kind)
        connection = await self._source(kind, store)
        first = f"{9_001 + NEWCOMERS.index(provider)}" if kind.own_ids else f"SIM-{provider.value}-".upper()
        things = things_of(label(kind), first, UNITS if kind.counts else None)
        caller = kind(connection, things)
        if not caller.teaches:
            await self._shelve(caller, store, label(kind))
        if caller.own_ids:
            await self._map_goods(caller, store)
        if isinstance(caller, Generic):
            await self._profile(caller)
        if isinstance(caller, Unicommerce):
            await caller.sign_in(self.http)
        newcomer = self._newcomer(store, caller, label(kind))
        self.newcomers.append(newcomer)
        return newcomer

    def _newcomer(self, store: Store, caller: Caller, name: str) -> Newcomer:
        return Newcomer(self.town, self.post, store, caller, name, self.locks.setdefault(store.id, asyncio.Lock()))

    async def quiet(self, kind: type[Caller], name: str, things: Sequence[Thing]) -> Newcomer:
        """One who never calls, of goods that the shop has."""
        store = self._store(kind)
        caller = kind(await self._source(kind, store), things)
        await self._shelve(caller, store, f"{SIMULATED} {name}")
        return self._newcomer(store, caller, f"{SIMULATED} {name}")

    async def till_of(self, provider: Provider, store: Store) -> str:
        """A source that calls all that the store sells as the shop does."""
        connection = await self._source(CALLERS[provider], store)
        rows = [f"VARIANT,{listing.sku},{listing.sku}" for listing in store.listings]
        await self._map_rows(connection, [*rows, *(f"MODIFIER,{id},{id}" for id in sorted(choices_of(store)))])
        return connection.id

    def _store(self, kind: type[Caller]) -> Store:
        """Tills in a kitchen where there is one, the others in a shop."""
        stores = self.town.stores
        return next((store for store in stores if store.kitchen is (kind.own_ids and kind.teaches)), stores[0])

    async def _source(self, kind: type[Caller], store: Store) -> Connection:
        provider = Provider(kind.provider)
        asked = {"merchant": self.town.merchant_id, "provider": provider.value, "secret": GIVEN.get(provider)}
        made = (await self.town.merchant.ask(CONNECT, **asked))["connectSource"]
        self.made.append(made["source"]["id"])
        told = STORE_IDS.get(provider, f"sim-{provider.value}")
        endpoints = {one["name"]: one["url"] for one in made["endpoints"]}
        connection = Connection(made["source"]["id"], GIVEN.get(provider) or made["secret"], endpoints, told)
        await self.town.merchant.ask(MAP, source=connection.id, id=store.id, told=told)
        return connection

    async def _shelve(self, caller: Caller, store: Store, name: str) -> None:
        """Who only counts speaks of goods which the shop has: a seller's list brings them, with some of each."""
        seller = CatalogueFile(await self._source(CatalogueFile, store), caller.things)
        for thing in caller.things:
            thing.units = UNITS
        skus = [Thing(sku_of(thing), thing.name, thing.price_minor, UNITS) for thing in caller.things]
        other = self._newcomer(store, seller, name)
        ref = self.post.ref()
        await other.send(seller.feed(skus, ref, seller.now(), mode="partial"))
        due = {thing.name: in_the_books(thing) for thing in caller.things}
        for _ in range(round(SHOWN_WITHIN_S / LOOKED_EVERY_S)):
            if due.items() <= (await shelf(self.town, store, name)).items():
                return
            await asyncio.sleep(LOOKED_EVERY_S)
        raise Unfit(f"the goods of {caller.provider} were not on the shelf of {store.name} within {SHOWN_WITHIN_S:.0f} s")

    async def _map_goods(self, caller: Caller, store: Store) -> None:
        """Those that are there from an earlier run, or from the list above, to the ids that it has of them."""
        shown = await self._skus(store, label(caller))
        rows = [
            f"{kind},{thing.id},{shown[thing.name]}"
            for thing in caller.things
            if thing.name in shown
            for kind in ("PRODUCT", "VARIANT")
        ]
        if rows:
            await self._map_rows(caller.connection, rows)

    async def _map_rows(self, connection: Connection, rows: Sequence[str]) -> None:
        csv = "\n".join(["kind,external_id,ours", *rows])
        report = (await self.town.merchant.ask(MAP_MANY, source=connection.id, csv=csv))["mapExternalIds"]
        if report["refused"]:
            raise Unfit(f"goods could not be mapped: {report['problems']}")

    async def _skus(self, store: Store, text: str) -> Mapping[str, str]:
        found = (await self.town.doors.ask(SHELF, {"id": store.id, "text": text}))["store"]["listings"]["nodes"]
        return {node["product"]["name"]: node["sku"] for node in found}

    async def _profile(self, caller: Generic) -> None:
        saved = (await self.town.merchant.ask(SAVE, source=caller.connection.id, profile=dict(caller.profile)))["saveProfile"]
        if saved["__typename"] != "SourceProfile":
            raise Unfit(f"the profile of {caller.provider} was refused: {saved}")
        await self.town.merchant.ask(ACTIVATE, source=caller.connection.id, version=saved["version"])

    async def leave(self) -> None:
        """All they sell is on sale, so that the next run finds it. Nobody calls for them any more."""
        for newcomer in self.newcomers:
            for thing in newcomer.caller.things:
                thing.on = thing.listed = True
            await newcomer.teach()
        for source_id in self.made:
            await self.town.merchant.ask(LEAVE, source=source_id)


def sku_of(thing: Thing) -> str:
    """The shop's own, of what a till has another id of."""
    return thing.id if not thing.id.isdigit() else f"SIM-{thing.id}"
