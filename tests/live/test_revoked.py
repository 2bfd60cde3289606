"""Who may listen no longer hears nothing more, in time: also while nobody carries the news of it."""

import asyncio
import json
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from sqlalchemy.ext.asyncio import AsyncEngine
from websockets.exceptions import ConnectionClosed

from db.unit_of_work import unit_of_work
from domain import dispatch, identity, riders
from domain.identity import CLOCK, Actor, ActorKind, MerchantRole
from tests.conftest import LONG
from tests.faults import Proxy
from tests.figures import show
from tests.live.town import Town, town
from tests.live.trade import Stall, Trade
from tests.live.watching import STOCK, STORE_ORDERS, OrdersWatch, orders_of
from tests.trips import assigned, on_duty, trip
from tests.waiting import until
from tests.world import account, listings, member, shop

SOCKETS, ROUNDS = (200, 5) if LONG else (30, 1)
EXPIRED_S, REVOKED_S = 1.0, 2.0  # promised
LATE_S = 0.5  # what this machine may add, that runs the clients too
ORDER = "subscription($id: ID!) { order(id: $id) { cursor reset degraded changes { status version order { id } } } }"
SIGN_OUT = "mutation { signOut }"


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def proxy(redis_url: str) -> AsyncIterator[Proxy]:
    async with Proxy.before(redis_url) as proxy:
        yield proxy


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def running(
    database_url: str, redis_url: str, proxy: Proxy, engine: AsyncEngine, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Town]:
    log = Path(tmp_path_factory.mktemp("revoked")) / "log"
    async with town(database_url, proxy.url(redis_url), engine, log) as running:
        yield running


@dataclass(eq=False)
class Listener:
    """One feed on a socket of its own: when each frame came, and how it ended."""

    frames: list[tuple[float, dict[str, Any]]] = field(default_factory=list)
    pongs: list[dict[str, Any]] = field(default_factory=list)
    ended_at: float | None = None
    how: str = ""
    connection: Any = None
    task: asyncio.Task[None] | None = None

    async def listen(self, running: Town, token: str, query: str, **variables: Any) -> None:
        async with running.client(token).socket() as socket:
            self.connection = socket.connection
            await self.connection.send(
                json.dumps({"id": "1", "type": "subscribe", "payload": {"query": query, "variables": variables}})
            )
            try:
                async for message in self.connection:
                    said = json.loads(message)
                    if said["type"] == "next":
                        assert not said["payload"].get("errors"), said
                        [frame] = said["payload"]["data"].values()
                        self.frames.append((time.time(), frame))
                    elif said["type"] == "pong":
                        self.pongs.append(said["payload"])
                    else:
                        self.how, self.ended_at = said["type"], self.ended_at or time.time()
            except ConnectionClosed:
                pass
        self.ended_at = self.ended_at or time.time()
        self.how = self.how or str(self.connection.close_code)

    @property
    def last_at(self) -> float:
        return self.frames[-1][0]


@asynccontextmanager
async def listening(running: Town, tokens: list[str], query: str, **variables: Any) -> AsyncIterator[list[Listener]]:
    """From their first frames on."""
    found = [Listener() for _ in tokens]
    try:
        for one, token in zip(found, tokens, strict=True):
            one.task = asyncio.create_task(one.listen(running, token, query, **variables))
        await until(lambda: all(one.frames for one in found), 30)
        yield found
    finally:
        for one in found:
            if one.task is not None:
                one.task.cancel()
        await asyncio.gather(*(one.task for one in found if one.task is not None), return_exceptions=True)


async def a_busy_shop(running: Town, engine: AsyncEngine) -> Trade:
    mine = await shop(engine)
    stall = Stall(mine, await listings(engine, mine, [500] * 5))
    return Trade(running, [stall], [await account(engine) for _ in range(3)], seed=3, pause_s=0.1)


async def test_nothing_is_told_after_a_token_has_ended(running: Town, engine: AsyncEngine):
    going = await a_busy_shop(running, engine)
    store, owner = str(going.stalls[0].shop.store_id), going.stalls[0].shop.owner
    closed_after: list[float] = []
    told_after: list[float] = []
    ends: Counter[str] = Counter()
    frames = 0
    async with going.going_on():
        for _ in range(ROUNDS):
            lasting = await running.lasting([owner] * SOCKETS, 6 + SOCKETS / 25)
            tokens = [token for token, _ in lasting]
            async with (
                listening(running, tokens[::5], STORE_ORDERS, id=store) as private,  # each of them reads for itself at every step
                listening(running, [token for number, token in enumerate(tokens) if number % 5], STOCK, id=store) as public,
            ):
                found = [*private, *public]
                lasting = [*lasting[::5], *(one for number, one in enumerate(lasting) if number % 5)]
                await until(lambda found=found: all(one.ended_at for one in found), 30)
            for one, (_, expires_at) in zip(found, lasting, strict=True):
                assert one.ended_at is not None
                closed_after.append(one.ended_at - expires_at.timestamp())
                told_after.append(one.last_at - expires_at.timestamp())
                ends[one.how] += 1
                frames += len(one.frames)
    closed = [round(of(closed_after), 2) for of in (min, max)]
    show(
        "tokens that end", sockets=len(closed_after), frames=frames, ends=ends, closed_after_s=closed,
        last_frame_after_s=round(max(told_after), 2), promised_s=EXPIRED_S,
    )  # fmt: skip
    assert ends == {"4403": SOCKETS * ROUNDS}
    assert frames > 10 * SOCKETS * ROUNDS
    assert min(closed_after) > -0.1
    assert max(closed_after) < EXPIRED_S + LATE_S
    assert max(told_after) < EXPIRED_S


async def test_a_token_renewed_by_ping_interrupts_nothing(running: Town, engine: AsyncEngine):
    going = await a_busy_shop(running, engine)
    stall = going.stalls[0]
    store = str(stall.shop.store_id)
    began = datetime.now(UTC)
    token = (await running.lasting([stall.shop.owner], 3))[0][0]
    async with listening(running, [token], STORE_ORDERS, id=store) as [one]:
        async with going.going_on():
            while datetime.now(UTC).timestamp() - began.timestamp() < 9:
                renewed = (await running.lasting([stall.shop.owner], 3))[0][0]
                await one.connection.send(json.dumps({"type": "ping", "payload": {"authorization": f"Bearer {renewed}"}}))
                await asyncio.sleep(0.5)
        watch = OrdersWatch(running.client(None), STORE_ORDERS, {"id": store})
        taken = 0

        def told() -> OrdersWatch:
            nonlocal taken
            for _, frame in one.frames[taken:]:
                watch.take(frame)
            taken = len(one.frames)
            return watch

        now = await orders_of(engine, stall.shop.store_id)
        await until(lambda: not told().behind(now), 5)
        assert one.ended_at is None
    until_when = [pong["expiresAt"] for pong in one.pongs]
    show("renewed by ping", seconds=9, token_s=3, renewals=len(until_when), frames=len(one.frames), orders=len(now))
    assert watch.faults == []
    assert until_when == sorted(until_when)
    assert len(set(until_when)) >= 8
    assert len(now) > 5


@pytest.mark.parametrize("redis", ["there", "hangs", "gone"])
async def test_nothing_is_told_after_a_right_was_taken_away(running: Town, engine: AsyncEngine, proxy: Proxy, redis: str):
    going = await a_busy_shop(running, engine)
    mine = going.stalls[0].shop
    store = str(mine.store_id)
    people = {
        "banned": await member(engine, mine, MerchantRole.MANAGER),
        "signed out": await member(engine, mine, MerchantRole.MANAGER),
        "removed": await member(engine, mine, MerchantRole.MANAGER),
        "made a clerk elsewhere": await member(engine, mine, MerchantRole.CLERK, [mine.store_id]),
        "left alone": mine.owner,
    }
    tokens = dict(zip(people, await running.tokens(list(people.values())), strict=True))

    async def take_away(name: str) -> None:
        id = people[name].id
        assert id is not None
        if name == "signed out":
            await running.client(tokens[name]).ask(SIGN_OUT)
            return
        async with unit_of_work(engine) as uow:
            if name == "banned":
                await identity.ban_user(id, "of a test", CLOCK, uow)
            elif name == "removed":
                await identity.remove_member(mine.merchant_id, id, mine.owner, uow)
            elif name == "made a clerk elsewhere":
                await identity.set_member(identity.SetMember(mine.merchant_id, id, MerchantRole.CLERK), mine.owner, uow)

    told_after, ended_after, how = {}, {}, {}
    async with listening(running, list(tokens.values()), STORE_ORDERS, id=store) as found, going.going_on():
        listeners = dict(zip(people, found, strict=True))
        if redis != "there":
            (proxy.hang if redis == "hangs" else proxy.refuse)()
            await until(lambda: any(frame["degraded"] for _, frame in listeners["left alone"].frames), 15)
        try:
            for name in list(people)[:-1]:
                before = len(listeners[name].frames)
                await until(lambda name=name, before=before: len(listeners[name].frames) > before, 10)
                await take_away(name)
                taken_at = time.time()
                await until(lambda name=name: listeners[name].ended_at is not None, 15)
                ended_at = listeners[name].ended_at
                assert ended_at is not None
                ended_after[name] = round(ended_at - taken_at, 2)
                told_after[name] = round(listeners[name].last_at - taken_at, 2)
                how[name] = listeners[name].how
                if name in ("banned", "signed out"):
                    await until(lambda name=name: listeners[name].connection.close_code, REVOKED_S + LATE_S)
            heard = len(listeners["left alone"].frames)
            await until(lambda: len(listeners["left alone"].frames) > heard, 10)
            assert listeners["left alone"].ended_at is None
        finally:
            await proxy.pass_on()
    show("a right taken away", redis=redis, last_frame_after_s=told_after, ended_after_s=ended_after, how=how, promised_s=REVOKED_S)
    assert set(how.values()) <= {"4403", "complete"}  # the socket by who looks after sessions, or the feed by itself, before
    assert [listeners[name].connection.close_code for name in ("banned", "signed out")] == [4403, 4403]
    assert max(told_after.values()) < REVOKED_S
    assert max(ended_after.values()) < REVOKED_S + LATE_S


@pytest.mark.parametrize("redis", ["there", "gone"])
async def test_a_rider_whose_order_was_given_to_another_hears_nothing_of_it(
    running: Town, engine: AsyncEngine, proxy: Proxy, redis: str
):
    one = await trip(engine)
    ravi, meena = await on_duty(engine, "Ravi"), await on_duty(engine, "Meena")
    await assigned(engine, one.delivery_id, ravi)
    assert meena.id is not None
    tokens = await running.tokens([ravi, one.customer])
    if redis == "gone":
        proxy.refuse()
    try:
        async with listening(running, tokens, ORDER, id=str(one.order_id)) as [old, customer]:
            support = Actor(ActorKind.SUPPORT, (await account(engine, ActorKind.SUPPORT)).id)
            async with unit_of_work(engine) as uow:
                await dispatch.assign_rider(one.delivery_id, meena.id, support, uow)
            taken_at = time.time()
            async with unit_of_work(engine) as uow:
                await riders.pick_up(one.delivery_id, meena, uow)
            await until(lambda: statuses(customer)[-1] == "PICKED_UP", 10)
            await until(lambda: old.ended_at is not None, 15)
            assert customer.ended_at is None
    finally:
        await proxy.pass_on()
    assert old.ended_at is not None
    show("an order given to another", redis=redis, ended_after_s=round(old.ended_at - taken_at, 2), told=statuses(old))
    assert old.how == "complete"
    assert set(statuses(old)) <= {"ACCEPTED", "READY"}
    assert old.last_at - taken_at < REVOKED_S
    assert old.ended_at - taken_at < REVOKED_S + LATE_S


def statuses(listener: Listener) -> list[str]:
    return [change["status"] for _, frame in listener.frames for change in frame["changes"]]
