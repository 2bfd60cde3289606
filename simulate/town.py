"""The town as the simulation finds it: who may sign in, which stores are open, what they sell, who speaks for them."""

import asyncio
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from simulate.api import Caller, Doors, NotSignedIn
from simulate.plan import OF_THE_TOWN
from simulate.seen import Document, Seen

PASSWORD = "simulated-since-1998"
SIMULATED = "Simulated"  # so begin the names of goods that customers leave alone: see newcomers.py
CUSTOMER_PHONE = "+9155510{:05}"  # no Indian number begins with 5: these ring nobody
RIDER_PHONE = "+9155520{:05}"
PAGES = 4

STORES = """{ merchant { id stores { id slug name status location { lat lng } } sources { id stores { id } } } }"""
LISTINGS = """query ($id: ID!, $after: String) { store(id: $id) { listings(first: 50, after: $after) {
  nodes { id sku product { kind name } modifierGroups { id min max options { id available } } }
  pageInfo { hasNextPage endCursor } } } }"""
Begin = Callable[[Coroutine[Any, Any, None]], None]
"""Starts what goes on beside: until it is done, or the simulation is."""
SELLING = frozenset({"OPEN", "BUSY"})


class Unfit(Exception):
    """The town cannot be played: the message says why."""


@dataclass(frozen=True)
class Where:
    """A running town, as `./haat up --json` tells of it."""

    graphql: str
    logins: Mapping[str, Mapping[str, str]]
    sources: Mapping[str, Mapping[str, Any]]

    @classmethod
    def told(cls, ready: Document) -> "Where":
        """Raises Unfit where nobody lives, or nothing speaks."""
        try:
            where = cls(ready["graphql"], ready["logins"], ready["sources"])
        except KeyError as missing:
            raise Unfit(f"the town tells of no {missing.args[0]}") from None
        if not {"merchant", "support"} <= where.logins.keys():
            raise Unfit("nobody of the demo town lives here: it was started empty")
        if any(provider.value not in where.sources or not where.sources[provider.value]["secret"] for provider in OF_THE_TOWN):
            raise Unfit(
                f"the sources of the demo town ({', '.join(provider.value for provider in OF_THE_TOWN)}) are not as they were"
            )
        return where


@dataclass(frozen=True)
class Listing:
    id: str
    sku: str
    on_menu: bool  # a kitchen's: switched on and off, not counted
    groups: Sequence[Document]

    def modifiers(self, choice: float) -> list[str]:
        """As few as its groups ask for; which of them, the choice says."""
        chosen: list[str] = []
        for group in self.groups:
            options = [option["id"] for option in group["options"] if option["available"]]
            at = int(choice * len(options))
            chosen += (options[at:] + options[:at])[: group["min"]]
        return chosen


@dataclass(frozen=True)
class Store:
    id: str
    slug: str
    name: str
    lat: float
    lng: float
    listings: Sequence[Listing]

    @property
    def kitchen(self) -> bool:
        return any(listing.on_menu for listing in self.listings)

    def listing(self, pick: float) -> Listing:
        return self.listings[int(pick * len(self.listings))]


@dataclass
class Town:
    where: Where
    doors: Doors
    seen: Seen
    merchant: Caller
    support: Caller
    stores: Sequence[Store] = ()
    merchant_id: str = ""
    spoken_for: Mapping[str, frozenset[str]] = field(default_factory=dict)  # ids of stores, by the source that speaks for them
    customers: list[Caller] = field(default_factory=list)
    riders: list[Caller] = field(default_factory=list)

    def store(self, pick: float) -> Store:
        return self.stores[int(pick * len(self.stores))]


async def enter(where: Where, doors: Doors, seen: Seen) -> Town:
    """Signs in who runs the town, and looks at what is open. Raises Unfit."""

    async def signed_in(app: str) -> Caller:
        login = where.logins[app.lower()]
        caller = Caller(doors, app, login["login"], login["password"])
        try:
            await caller.sign_in()
        except NotSignedIn as no:
            raise Unfit(f"{app.lower()} {login['login']} cannot sign in: {no}") from no
        return caller

    town = Town(where, doors, seen, await signed_in("MERCHANT"), await signed_in("SUPPORT"))
    merchant = (await town.merchant.ask(STORES))["merchant"]
    town.merchant_id = merchant["id"]
    town.spoken_for = {one["id"]: frozenset(store["id"] for store in one["stores"]) for one in merchant["sources"]}
    selling = [store for store in merchant["stores"] if store["status"] in SELLING]
    found = await asyncio.gather(*(read_store(town, store) for store in selling))
    town.stores = [store for store in found if store.listings]
    if not town.stores:
        raise Unfit("none of the merchant's stores is open and has something to sell")
    return town


async def read_store(town: Town, store: Document) -> Store:
    listings: list[Listing] = []
    after = None
    for _ in range(PAGES):
        page = (await town.merchant.ask(LISTINGS, id=store["id"], after=after))["store"]["listings"]
        listings += [
            Listing(node["id"], node["sku"], node["product"]["kind"] == "MENU_ITEM", node["modifierGroups"])
            for node in page["nodes"]
            if not node["product"]["name"].startswith(SIMULATED)
        ]
        after = page["pageInfo"]["endCursor"]
        if not page["pageInfo"]["hasNextPage"]:
            break
    place = store["location"]
    return Store(store["id"], store["slug"], store["name"], place["lat"], place["lng"], tuple(listings))


async def customer(town: Town, number: int) -> Caller:
    """One of a pool that is signed up once and comes again. Waits where the town lets nobody in so fast."""
    caller = Caller(town.doors, "CUSTOMER", CUSTOMER_PHONE.format(number), PASSWORD)
    try:
        await caller.sign_in()
    except NotSignedIn as no:
        if no.code != "WRONG_CREDENTIALS":
            raise Unfit(f"customer {caller.login} cannot sign in: {no}") from no
        await caller.sign_up(f"Simulated Customer {number}")
    return caller
