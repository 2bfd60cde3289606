"""A light load by the public doors: shops that count, customers that order, shops that see to the orders."""

import asyncio
import itertools
import random
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import httpx2
from sqlalchemy.ext.asyncio import AsyncEngine

from domain.identity import Actor
from tests.live.test_one_order import PLACE
from tests.live.town import Client, Errors, Town
from tests.world import Shop, account, listings, shop

FILL = "mutation($l: [CartLineInput!]!) { updateCartLines(lines: $l) { id } }"
BROWSE = "query($id: ID!) { store(id: $id) { name listings(first: 20) { nodes { id price { amount } stock { version } } } } }"
QUOTE = "mutation { quoteCart(fulfilment: PICKUP) { __typename ... on Quote { id } ... on Refusal { code } } }"
SET = "mutation($id: ID!, $units: Int!) { setStock(listingId: $id, onHand: $units) { version } }"
ADJUST = """mutation($id: ID!, $units: Int!, $key: String!) {
  adjustStock(listingId: $id, units: $units, note: "breakage", idempotencyKey: $key) { version } }"""
ACCEPT = "mutation($id: ID!) { answer: acceptOrder(orderId: $id) { __typename } }"
READY = "mutation($id: ID!) { answer: markOrderReady(orderId: $id) { __typename } }"
REJECT = "mutation($id: ID!) { answer: rejectOrder(orderId: $id, reason: TOO_BUSY) { __typename } }"
CANCEL = "mutation($id: ID!) { answer: cancelOrder(orderId: $id, reason: OTHER) { __typename } }"
LIVES = ([ACCEPT, READY, CANCEL], [ACCEPT, CANCEL], [REJECT], [ACCEPT, READY], [])


@dataclass
class Stall:
    """A shop of the trade, and what it sells."""

    shop: Shop
    listings: Sequence[UUID]


@dataclass
class Trade:
    """`answers` by what was asked: "ok", a refusal's code, an error's code, or what broke the connection."""

    town: Town
    stalls: Sequence[Stall]
    customers: Sequence[Actor]
    seed: int
    pause_s: float = 0.1  # of each actor between two things, so that the trade is light
    servers: Sequence[str] = ()  # all of the town's
    answers: dict[str, Counter[str]] = field(default_factory=dict)
    slowest_s: float = 0.0
    numbers: "itertools.count[int]" = field(default_factory=itertools.count)  # of keys, none of which comes twice

    @property
    def failed(self) -> Counter[str]:
        """What was answered otherwise than with a yes or a typed no."""
        fine = {"ok", "NOT_ENOUGH_STOCK", "LIMIT_EXCEEDED"}
        return Counter({f"{what} {said}": n for what, all in self.answers.items() for said, n in all.items() if said not in fine})

    @asynccontextmanager
    async def going_on(self) -> AsyncIterator[None]:
        """Until left; every actor ends what it has begun."""
        over = asyncio.Event()
        servers = list(self.servers or self.town.ports)
        owners = await self.town.tokens([stall.shop.owner for stall in self.stalls])
        buyers = await self.town.tokens(self.customers)
        loops: list[Awaitable[None]] = []
        for number, (stall, token) in enumerate(zip(self.stalls, owners, strict=True)):
            loops.append(self.count(over, stall, self.town.client(token, servers[number % len(servers)]), number))
        for number, token in enumerate(buyers):
            name = servers[number % len(servers)]
            stall = self.stalls[number % len(self.stalls)]
            seller = self.town.client(owners[number % len(self.stalls)], servers[-1 - number % len(servers)])
            loops.append(self.buy(over, stall, self.town.client(token, name), seller, 1_000 + number))
        tasks = [asyncio.ensure_future(loop) for loop in loops]
        try:
            yield
        finally:
            over.set()
            async with asyncio.timeout(60):
                await asyncio.gather(*tasks)

    async def count(self, over: asyncio.Event, stall: Stall, owner: Client, seed: int) -> None:
        chance = random.Random(f"{self.seed}-{seed}")
        while not over.is_set():
            id = str(chance.choice(stall.listings))
            if chance.random() < 0.7:
                await self.ask("setStock", owner.ask(SET, id=id, units=chance.randint(500, 600)))
            else:
                await self.ask("adjustStock", owner.ask(ADJUST, id=id, units=-1, key=str(next(self.numbers))))
            await wait(over, self.pause_s)

    async def buy(self, over: asyncio.Event, stall: Stall, buyer: Client, seller: Client, seed: int) -> None:
        chance = random.Random(f"{self.seed}-{seed}")
        while not over.is_set():
            await self.ask("browse", buyer.ask(BROWSE, id=str(stall.shop.store_id)))
            lines = [{"listingId": str(id), "quantity": 0} for id in stall.listings]
            lines[chance.randrange(len(lines))]["quantity"] = chance.randint(1, 3)
            filled = await self.ask("updateCartLines", buyer.ask(FILL, l=lines))
            quote = await self.ask("quoteCart", buyer.ask(QUOTE)) if filled else None
            if quote is not None and "id" in quote:
                place = buyer.ask(PLACE, quote=quote["id"], method="CASH_ON_DELIVERY", key=str(next(self.numbers)))
                placed = await self.ask("placeOrder", place)
                for step in chance.choice(LIVES) if placed is not None and placed["__typename"] == "Purchase" else ():
                    await self.ask("step", seller.ask(step, id=placed["orders"][0]["id"]))
            await wait(over, self.pause_s)

    async def ask(self, what: str, asking: Awaitable[dict[str, Any]]) -> Any:
        """The one field that was asked, or None."""
        clock = asyncio.get_running_loop().time
        began, said, answer = clock(), "ok", None
        try:
            [answer] = (await asking).values()
            if isinstance(answer, dict) and "code" in answer:
                said = answer["code"]
        except Errors as errors:
            said = str(errors.codes[0])
        except httpx2.HTTPError as error:
            said = type(error).__name__
        self.slowest_s = max(self.slowest_s, clock() - began)
        self.answers.setdefault(what, Counter())[said] += 1
        return answer


async def wait(over: asyncio.Event, seconds: float) -> None:
    try:
        async with asyncio.timeout(seconds):
            await over.wait()
    except TimeoutError:
        pass


async def trade(town: Town, engine: AsyncEngine, shops: int, customers: int, seed: int, **given: Any) -> Trade:
    stalls = []
    for _ in range(shops):
        mine = await shop(engine)
        stalls.append(Stall(mine, await listings(engine, mine, [500] * 5)))
    return Trade(town, stalls, [await account(engine) for _ in range(customers)], seed, **given)


async def until(asked: Callable[[], Awaitable[object]], within_s: float) -> float:
    """Seconds until the answer is a yes."""
    clock = asyncio.get_running_loop().time
    began = clock()
    while not await asked():
        assert clock() - began < within_s, "not in time"
        await asyncio.sleep(0.05)
    return clock() - began
