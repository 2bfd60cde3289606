"""Plays a plan in a town, and checks what became of it."""

import asyncio
import secrets
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import httpx2

from simulate import checks, town
from simulate.api import TIMEOUT_S, Answered, Caller, Doors, NotSignedIn
from simulate.breaks import Break, broken
from simulate.checks import Check
from simulate.customers import Customer
from simulate.faults import RedisPid, dawdle, kill_redis
from simulate.newcomers import Integrator, Newcomer
from simulate.plan import Buy, Dawdle, KillRedis, Plan, Provider, Say, Tell
from simulate.post import Post
from simulate.riders import Rider
from simulate.seen import Seen
from simulate.servers import Beside, beside
from simulate.staff import Desk, Onlooker, Staff
from simulate.tills import Speaker
from simulate.town import PASSWORD, RIDER_PHONE, Town, Where

SETTLE_S = 40.0  # an offer nobody took is open for 30
HURRIED_S = 3.0
AddRider = Callable[[str, str, str], bool]
"""(name, phone, password): as an operator adds one. False where that cannot be done."""


@dataclass
class Run:
    """One simulation, as it goes on. `stop` ends it early, with the checks made on what has happened."""

    plan: Plan
    where: Where
    database_url: str | None = None  # for a Break alone
    redis_pid: RedisPid = lambda: None
    add_rider: AddRider = lambda name, phone, password: False
    break_: Break | None = None
    phase: str = "entering"
    began: float = field(default_factory=time.monotonic)
    stop: asyncio.Event = field(default_factory=asyncio.Event)
    seen: Seen = field(default_factory=lambda: Seen(secrets.token_hex(4)))
    checks: Sequence[Check] = ()

    @property
    def holds(self) -> bool:
        return bool(self.checks) and all(check.holds for check in self.checks)

    async def play(self) -> None:
        """Raises Unfit."""
        limits = httpx2.Limits(max_connections=40, max_keepalive_connections=20, keepalive_expiry=30)
        async with httpx2.AsyncClient(timeout=TIMEOUT_S, limits=limits) as http:
            doors = Doors(self.where.graphql, http, self.seen)
            here = await town.enter(self.where, doors, self.seen)
            began_at = datetime.now(UTC)
            before = await checks.received(here)
            post = Post(http, self.seen)
            async with self._desk(here), self._connected(Integrator(here, post, http)) as (integrator, others):
                async with self._cast(here, post, integrator) as cast:
                    self.phase, self.began = "playing", time.monotonic()
                    await cast.perform(self.plan, self.stop)
                    self.phase = "settling"
                    await cast.settle(self.stop)
                self.phase = "checking"
                async with self._broken():
                    self.checks = await checks.check(here, before, began_at, [*cast.newcomers, *others.asked], others.told)
            with suppress(Answered):
                await checks.tidy(here, began_at)
            self.phase = "done"

    def _broken(self) -> AbstractAsyncContextManager[None]:
        if self.break_ is None:
            return nullcontext()
        if self.database_url is None:
            raise town.Unfit("--break needs the town's own database: it works on a town of this machine")
        return broken(self.break_, self.database_url, self.seen)

    @asynccontextmanager
    async def _desk(self, here: Town) -> AsyncIterator[None]:
        """Support looks on until the checks are made."""
        async with asyncio.TaskGroup() as tasks:
            desk = Desk(here)
            await desk.open()
            looking = tasks.create_task(desk.socket.run())
            try:
                yield
            finally:
                looking.cancel()

    @asynccontextmanager
    async def _connected(self, integrator: Integrator) -> AsyncIterator[tuple[Integrator, Beside]]:
        """Sources of ours, and the servers of some: until the checks are made. A town elsewhere does not ask this machine."""
        try:
            if self.database_url is None:
                yield integrator, Beside(integrator)
            else:
                async with beside(integrator, self.plan.wish) as others:
                    yield integrator, others
        finally:
            with suppress(Answered):
                await integrator.leave()

    @asynccontextmanager
    async def _cast(self, here: Town, post: Post, integrator: Integrator) -> AsyncIterator["Cast"]:
        """Everybody in place, and gone again."""
        async with asyncio.TaskGroup() as tasks:  # so that a bug of ours ends the run, and is not a task's secret
            cast = Cast(here, post, tasks, self.redis_pid, integrator)
            try:
                await cast.enter(self.plan, self.add_rider)
                yield cast
            finally:
                await cast.leave()


class Cast:
    def __init__(self, here: Town, post: Post, tasks: asyncio.TaskGroup, redis_pid: RedisPid, integrator: Integrator) -> None:
        self.town, self.seen, self.post, self.redis_pid, self.integrator = here, here.seen, post, redis_pid, integrator
        self._tasks = tasks
        self._running: set[asyncio.Task[None]] = set()
        self.customers: list[Customer] = []
        self.riders: list[Rider] = []
        self.speakers: dict[int, Speaker] = {}
        self._by_provider: dict[Provider, Newcomer] = {}

    @property
    def newcomers(self) -> Sequence[Newcomer]:
        return list(self._by_provider.values())

    def begin(self, work: Coroutine[Any, Any, None]) -> None:
        task = self._tasks.create_task(work)
        self._running.add(task)
        task.add_done_callback(self._running.discard)

    async def enter(self, plan: Plan, add_rider: AddRider) -> None:
        # Signing in is dear for the server by intent: a few at a time.
        turns = asyncio.Semaphore(3)

        async def newcomer(provider: Provider) -> Newcomer:
            async with turns:
                made = await self.integrator.connect(provider)
                await made.teach()
            return made

        async def customer(number: int) -> Caller:
            async with turns:
                caller = await town.customer(self.town, number)
            self.seen.signed_in += 1
            return caller

        async def rider(number: int) -> Caller | None:
            async with turns:
                caller = await self._rider(number, add_rider)
            self.seen.signed_in += caller is not None
            return caller

        self.town.customers = await asyncio.gather(*(customer(number) for number in range(plan.customers)))
        riders = await asyncio.gather(*(rider(number) for number in range(plan.wish.riders)))
        self.town.riders = [caller for caller in riders if caller is not None]
        if len(self.town.riders) < plan.wish.riders:
            self.seen.notes.append(f"{len(self.town.riders)} riders, not {plan.wish.riders}: they are added where the town runs")
        newcomers = await asyncio.gather(*(newcomer(provider) for provider in plan.wish.newcomers))
        self._by_provider = dict(zip(plan.wish.newcomers, newcomers, strict=True))
        for one_more in newcomers:
            self.begin(one_more.run())
        for caller in self.town.customers:
            self._begin_customer(Customer(self.town, caller, self.begin))
        staff = Staff(self.town, self.begin)
        await staff.open()
        self.begin(staff.socket.run())
        for store in self.town.stores:
            onlooker = Onlooker(self.town, store)
            await onlooker.open()
            self.begin(onlooker.socket.run())
        for number, caller in enumerate(self.town.riders):
            store = self.town.stores[number % len(self.town.stores)]
            one = Rider(self.town, caller, plan.paces_s[number], store, self.begin)
            self.riders.append(one)
            await one.open()
            self.begin(one.socket.run())
            self.begin(one.report())

    async def _rider(self, number: int, add_rider: AddRider) -> Caller | None:
        """The town's own first, then ours, whom an operator adds once."""
        login = self.town.where.logins.get("rider")
        if number == 0 and login is not None:
            caller = Caller(self.town.doors, "RIDER", login["login"], login["password"])
        else:
            caller = Caller(self.town.doors, "RIDER", RIDER_PHONE.format(number), PASSWORD)
        try:
            await caller.sign_in()
        except NotSignedIn:
            if not await asyncio.to_thread(add_rider, f"Simulated Rider {number}", caller.login, PASSWORD):
                return None
            await caller.sign_in()
        return caller

    def _begin_customer(self, customer: Customer) -> None:
        self.customers.append(customer)
        self.begin(customer.socket.run())
        self.begin(customer.run())

    async def perform(self, plan: Plan, stop: asyncio.Event) -> None:
        """Each intent at its time, or as soon after as who has it is free."""
        began = time.monotonic()
        for intent in plan.intents:
            if await ended(stop, began + intent.at_s - time.monotonic()):
                return
            self._let(intent)
        await ended(stop, began + plan.wish.seconds - time.monotonic())

    def _let(self, intent: Buy | Say | Tell | Dawdle | KillRedis) -> None:
        match intent:
            case Buy():
                self.customers[intent.customer % len(self.customers)].wishes.put_nowait(intent)
            case Say():
                self._speaker(intent).wishes.put_nowait(intent)
            case Tell():
                self._by_provider[intent.provider].wishes.put_nowait(intent)
            case Dawdle():
                self.begin(dawdle(self.town, intent))
            case KillRedis():
                kill_redis(self.town, self.redis_pid)

    def _speaker(self, say: Say) -> Speaker:
        if say.speaker not in self.speakers:
            speaker = self.speakers[say.speaker] = Speaker(self.town, self.post, say.provider)
            self.begin(speaker.run())
        return self.speakers[say.speaker]

    async def settle(self, stop: asyncio.Event) -> None:
        """What has begun comes to its end, as far as it does in time."""
        deadline = time.monotonic() + (HURRIED_S if stop.is_set() else SETTLE_S)
        wishes = [one.wishes.join() for one in self.customers] + [one.wishes.join() for one in self.speakers.values()]
        wishes += [one.wishes.join() for one in self.newcomers]
        with suppress(TimeoutError):
            async with asyncio.timeout(max(deadline - time.monotonic(), 0)):
                await asyncio.gather(*wishes)
                await asyncio.gather(*(speaker.stop() for speaker in self.speakers.values()))
                await self.seen.all_ended()
        if self.seen.under_way:
            self.seen.notes.append(f"{len(self.seen.under_way)} orders were still under way when the checks began")

    async def leave(self) -> None:
        await asyncio.gather(*(rider.close() for rider in self.riders), return_exceptions=True)
        for task in list(self._running):
            task.cancel()


async def ended(stop: asyncio.Event, within_s: float) -> bool:
    """Whether somebody said stop, looked at for so long."""
    if within_s <= 0:
        return stop.is_set()
    with suppress(TimeoutError):
        await asyncio.wait_for(stop.wait(), within_s)
    return stop.is_set()
