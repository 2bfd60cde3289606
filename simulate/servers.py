"""Servers of providers beside the simulation: warehouses that are asked what they have, tills that are told of orders.

They are on this machine's loopback, which a town asks and tells only where it runs on the same machine and not in production.
"""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

from simulate.newcomers import LOOKED_EVERY_S, SHOWN_WITHIN_S, UNITS, Integrator, Newcomer, choices_of, things_of
from simulate.plan import Provider, Wish
from simulate.town import Town
from tests.simulators import tills, uniware, vineretail
from tests.simulators.serving import serving
from tests.simulators.unicommerce import Unicommerce
from tests.simulators.vinculum import Vinculum

NEVER = frozenset({"PAYMENT_PENDING", "REJECTED", "CANCELLED", "EXPIRED"})  # of such a one the till may not have been told
ACCESS = """mutation ($source: ID!, $url: String!, $credentials: [CredentialInput!]!) {
  setSourceAccess(sourceId: $source, baseUrl: $url, credentials: $credentials) { id } }"""
TOLD = "mutation ($source: ID!, $on: Boolean!) { setSource(sourceId: $source, toldOrders: $on) { toldOrders } }"


@dataclass
class Told:
    """A till that is told: whose orders it has to have, and which it `has`, by our numbers, each as often as it was told under
    another id."""

    provider: str
    source_id: str
    stores: frozenset[str]
    has: Callable[[], Sequence[str]]

    async def differences(self, town: Town) -> Sequence[str]:
        found: Sequence[str] = ()
        for _ in range(round(SHOWN_WITHIN_S / LOOKED_EVERY_S)):
            found = self._compared(town)
            if not found:
                break
            await asyncio.sleep(LOOKED_EVERY_S)
        return found

    def _compared(self, town: Town) -> Sequence[str]:
        has = Counter(self.has())
        mine = [bought for bought in town.seen.orders.values() if bought.store_id in self.stores]
        elsewhere = {bought.number for bought in town.seen.orders.values() if bought.store_id not in self.stores}
        missing = [bought for bought in mine if bought.number not in has and bought.status not in NEVER]
        return [
            *(f"{self.provider} was not told of order {bought.number}, which is {bought.status}" for bought in missing),
            *(f"{self.provider} was told of order {number} of another store" for number in sorted(has.keys() & elsewhere)),
            *(f"{self.provider} has order {number} {times} times" for number, times in has.items() if times > 1),
        ]


@dataclass
class Beside:
    """All of them, while they serve."""

    integrator: Integrator
    asked: Sequence[Newcomer] = ()
    told: Sequence[Told] = ()

    async def leave(self) -> None:
        """Before they are gone: or the town would try to tell them."""
        for till in self.told:
            await self.integrator.town.merchant.ask(TOLD, source=till.source_id, on=False)


@asynccontextmanager
async def beside(integrator: Integrator, wish: Wish) -> AsyncIterator[Beside]:
    """Of the providers that are wished for. Where there are to be faults each answers its first call 502; a till has taken it."""
    async with AsyncExitStack() as stack:
        made = Beside(integrator)
        try:
            await _warehouses(made, wish, stack)
            await _tills(made, wish, stack)
            yield made
        finally:
            await made.leave()


async def _warehouses(made: Beside, wish: Wish, stack: AsyncExitStack) -> None:
    integrator = made.integrator
    if Provider.UNICOMMERCE in wish.newcomers:
        tenant = uniware.Uniware(troubles=[uniware.broken] if wish.faults else [])
        url = await stack.enter_async_context(serving(tenant.app()))
        credentials = {"username": tenant.username, "password": tenant.password}
        made.asked = [*made.asked, await _asked(integrator, Unicommerce, "Uniware", url, credentials, tenant.counted)]
    if Provider.VINCULUM in wish.newcomers:
        owner = vineretail.Vineretail(page_size=2, troubles=[uniware.broken] if wish.faults else [])
        url = await stack.enter_async_context(serving(owner.app()))
        credentials = {"ApiOwner": owner.owner, "ApiKey": owner.key}
        made.asked = [*made.asked, await _asked(integrator, Vinculum, "Vineretail", url, credentials, owner.counted)]


async def _tills(made: Beside, wish: Wish, stack: AsyncExitStack) -> None:
    town, troubles = made.integrator.town, [tills.broken] if wish.faults else []
    if wish.of_the_town >= 1:
        source = town.where.sources[Provider.PETPOOJA.value]
        menu = {listing.sku for store in town.stores for listing in store.listings}
        # What the outlet calls its add-ons is shown to nobody outside: it takes any.
        outlet = tills.PetpoojaServer(rest_id=source["store"], menu=menu, addons=None, troubles=[*troubles], after=True)
        url = await stack.enter_async_context(serving(outlet.app()))
        keys = {**outlet.keys, "orders_url": f"{url}/orders", "callback_url": source["endpoints"]["order-status"]}
        await _told(made, _of_the_town(town, Provider.PETPOOJA, lambda: list(outlet.orders)), f"{url}/V1", keys)
    if wish.of_the_town >= 2:
        warehouse = tills.Warehouse(troubles=[*troubles], after=True)
        url = await stack.enter_async_context(serving(warehouse.app()))
        await _told(made, _of_the_town(town, Provider.WMS, lambda: _placed(warehouse)), url, {"secret": warehouse.secret})
    if Provider.URBANPIPER in wish.newcomers:
        store = next((store for store in town.stores if store.kitchen), town.stores[0])
        hub = tills.UrbanpiperTill(options=choices_of(store), troubles=[*troubles], after=True)
        url = await stack.enter_async_context(serving(hub.app()))
        source_id = await made.integrator.till_of(Provider.URBANPIPER, store)
        registered = {"biz_id": "77", "header": "x-till-token", "value": hub.token}
        told = Told(Provider.URBANPIPER.value, source_id, frozenset({store.id}), lambda: list(hub.relayed.values()))
        await _told(made, told, f"{url}/hooks", registered)


async def _asked(
    integrator: Integrator,
    kind: type[Unicommerce] | type[Vinculum],
    name: str,
    url: str,
    credentials: Mapping[str, str],
    counted: Callable[[str, str, int], None],
) -> Newcomer:
    """Of goods that the shop has: the tenant has one fewer of each than the shop believes, two fewer of the next."""
    newcomer = await integrator.quiet(kind, name, things_of(name, f"SIM-{name}".upper(), UNITS))
    for fewer, thing in enumerate(newcomer.caller.things, 1):
        thing.units = UNITS - fewer
        counted(newcomer.caller.connection.store, thing.id, thing.units)
    await _access(integrator.town, newcomer.caller.connection.id, url, credentials)
    return newcomer


def _of_the_town(town: Town, provider: Provider, has: Callable[[], Sequence[str]]) -> Told:
    source_id = town.where.sources[provider.value]["id"]
    return Told(provider.value, source_id, town.spoken_for.get(source_id, frozenset()), has)


async def _told(made: Beside, told: Told, url: str, credentials: Mapping[str, str]) -> None:
    town = made.integrator.town
    await _access(town, told.source_id, url, credentials)
    made.told = [*made.told, told]  # before it is: whatever becomes of this, it is told no more in the end
    await town.merchant.ask(TOLD, source=told.source_id, on=True)


async def _access(town: Town, source_id: str, url: str, credentials: Mapping[str, str]) -> None:
    given = [{"name": name, "value": value} for name, value in credentials.items()]
    await town.merchant.ask(ACCESS, source=source_id, url=url, credentials=given)


def _placed(warehouse: tills.Warehouse) -> Sequence[str]:
    begin = "order.placed "
    return [news.removeprefix(begin) for news in warehouse.seen.values() if news.startswith(begin)]
