"""What a town stands on hangs, is cut off, or does and does not answer: nobody waits for ever, and all is whole again alone."""

import asyncio
import json
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx2
import pytest
import pytest_asyncio
from sqlalchemy.ext.asyncio import AsyncEngine
from websockets.exceptions import ConnectionClosed

from adapters.seals import AesSeals
from launch.postgres import Postgres
from launch.redis import Redis
from tests.faults import Proxy
from tests.figures import show
from tests.live.test_parts import BACK_WITHIN_S, CATCH_UP_S, applied, are_at, is_true, watches_of, went_well
from tests.live.town import SEALING, Errors, Town, town
from tests.live.trade import ADJUST, BROWSE, FILL, QUOTE, SET, Trade, trade, until
from tests.live.watching import Watch, caught_up, following, levels_of
from tests.partners import Partner, dish, menu, partner
from tests.trips import on_duty
from tests.world import account

DEADLINE_S, WEBHOOK_DEADLINE_S, READY_S = 10, 8, 2
CLEARING_S = 2.0  # what a transaction may take to be rolled back on a connection that says nothing, on a busy machine
ONCE_S, AFTERWARDS_S = 3.0, 1.0
"""For an answer without a Redis that hangs: of who finds it so, a second for a budget and one for a place; and of the others."""
GRACE_S = 3
OFF = {"restID": "OUT-1", "type": "item", "inStock": False, "itemID": ["1"]}
REPORT = "mutation($p: [PositionInput!]!) { reportPositions(positions: $p) { accepted } }"
SIGN_IN = 'mutation { signIn(login: "+919800000999", password: "never was one") { __typename ... on Refusal { code } } }'


@dataclass
class Cut:
    """A town, and what its processes reach PostgreSQL and Redis through."""

    town: Town
    database: Proxy
    redis: Proxy

    def pids(self) -> dict[str, int | None]:
        return {name: process.pid for name, process in self.town.processes.items()}


@asynccontextmanager
async def cut_town(own_postgres: Postgres, own_redis: Redis, engine: AsyncEngine, log: Path, **env: str) -> AsyncIterator[Cut]:
    async with Proxy.before(own_postgres.url()) as database, Proxy.before(own_redis.url) as redis:
        urls = database.url(own_postgres.url()), redis.url(own_redis.url)
        async with town(*urls, engine, log, **env) as running:
            yield Cut(running, database, redis)


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def cut(
    own_postgres: Postgres, own_redis: Redis, own_engine: AsyncEngine, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Cut]:
    log = Path(tmp_path_factory.mktemp("cuts")) / "log"
    async with cut_town(own_postgres, own_redis, own_engine, log, HAAT_RATE_LIMITS="on") as cut:
        yield cut


async def slow_trade(cut: Cut, engine: AsyncEngine) -> Trade:
    """Below every limit of how often somebody may ask."""
    return await trade(cut.town, engine, shops=2, customers=4, seed=23, pause_s=2.5, servers=["server"])


@asynccontextmanager
async def till_of(cut: Cut, engine: AsyncEngine) -> AsyncIterator[Partner]:
    async with httpx2.AsyncClient(base_url=cut.town.url(), timeout=30) as client:
        till = await partner(engine, "petpooja", "OUT-1", seals=AesSeals([SEALING]), client=client)
        assert (await till.post("webhooks/menu", menu("OUT-1", dish("1")))).status_code == 200
        await applied(till)
        yield till


async def timed(asking: Awaitable[Any]) -> tuple[float, Any]:
    """Seconds, and what came of it."""
    began = time.monotonic()
    try:
        answer = await asking
    except Errors as errors:
        answer = errors.codes
    except (httpx2.HTTPError, ConnectionClosed, OSError, ValueError) as error:  # what a process that ends answers is no JSON
        answer = error
    return time.monotonic() - began, answer


@dataclass
class Callers:
    """One of each kind that calls at the doors."""

    cut: Cut
    going: Trade
    till: Partner
    buyer: Any
    seller: Any
    rider: Any
    seq: int = 0

    @classmethod
    async def of(cls, cut: Cut, engine: AsyncEngine, going: Trade, till: Partner) -> "Callers":
        stall = going.stalls[0]
        actors = [await account(engine), stall.shop.owner, await on_duty(engine)]
        return cls(cut, going, till, *[await cut.town.api(actor) for actor in actors])

    def calls(self) -> dict[str, Awaitable[Any]]:
        stall = self.going.stalls[0]
        self.seq += 1
        place = {"deviceId": "phone", "seq": self.seq, "point": {"lat": 12.97, "lng": 77.59}, "at": datetime.now(UTC).isoformat()}
        return {
            "query": self.buyer.ask(BROWSE, id=str(stall.shop.store_id)),
            "mutation": self.buyer.ask(FILL, l=[{"listingId": str(stall.listings[0]), "quantity": 1}]),
            "limited": self.buyer.ask(QUOTE),
            "setStock": self.seller.ask(SET, id=str(stall.listings[1]), units=500),
            "position": self.rider.ask(REPORT, p=[place]),
            "sign-in": self.cut.town.client(None).ask(SIGN_IN),
        }

    async def all_at_once(self) -> dict[str, tuple[float, Any]]:
        calls = self.calls()
        return dict(zip(calls, await asyncio.gather(*map(timed, calls.values())), strict=True))

    async def webhook(self) -> tuple[float, Any]:
        return await timed(self.till.post("webhooks/inventory", OFF))

    async def ready(self) -> tuple[float, int]:
        took_s, answer = await timed(self.till.client.get("/readyz"))
        return took_s, answer.status_code


def every_frame_is(degraded: bool, watches: list[Watch]) -> Any:
    """Of all of them one more frame, at least, that says so."""

    def count(watch: Watch) -> int:
        return watch.degraded if degraded else watch.frames - watch.degraded

    before = {watch: count(watch) for watch in watches}
    return lambda: is_true(all(count(watch) > before[watch] for watch in watches))


async def test_a_redis_that_hangs_costs_a_second_once_and_feeds_go_on_behind(cut: Cut, own_engine: AsyncEngine):
    going = await slow_trade(cut, own_engine)
    watches, pids = await watches_of(cut.town, going), cut.pids()
    async with following(watches), till_of(cut, own_engine) as till:
        callers = await Callers.of(cut, own_engine, going, till)
        async with going.going_on():
            went = await callers.all_at_once()
            assert {name for name, (_, answer) in went.items() if not isinstance(answer, dict)} == set(), went
            cut.redis.hang()
            first = await callers.all_at_once()
            later = [await callers.all_at_once() for _ in range(5)]
            webhook_s, webhook = await callers.webhook()
            ready = await callers.ready()
            await until(every_frame_is(True, watches), BACK_WITHIN_S)
            await cut.redis.pass_on()
            back_s = await until(every_frame_is(False, watches), BACK_WITHIN_S)
            again = await callers.all_at_once()
        behind_s = await caught_up(await are_at(own_engine, watches), CATCH_UP_S)
    once_s = max(seconds for seconds, _ in first.values())
    afterwards_s = sorted(seconds for round in later for seconds, _ in round.values())
    show(
        "a redis that hangs", answers=going.answers, once_s=round(once_s, 2), afterwards_s=round(afterwards_s[-1], 2),
        webhook_s=round(webhook_s, 2), prompt_after_s=round(back_s, 2), caught_up_after_s=round(behind_s, 2),
    )  # fmt: skip
    for round_ in (first, *later, again):
        assert {name: answer for name, (_, answer) in round_.items() if not isinstance(answer, dict)} == {}
    assert once_s < ONCE_S
    assert afterwards_s[-len(first)] < AFTERWARDS_S  # but for a round that finds out whether it is back
    assert (webhook.status_code, ready[1]) == (200, 200)
    assert max(webhook_s, ready[0]) < ONCE_S
    went_well(going, *watches)
    assert cut.pids() == pids


async def test_a_postgresql_that_hangs_is_said_in_time_and_all_is_whole_again_alone(cut: Cut, own_engine: AsyncEngine):
    going = await slow_trade(cut, own_engine)
    watches, pids = await watches_of(cut.town, going), cut.pids()
    for watch in watches:
        watch.returns = True  # private ones end after 10 s in which nobody could say whether they still may
    buyer_token = await cut.town.token(await account(own_engine))
    async with following(watches), till_of(cut, own_engine) as till, cut.town.client(None).socket() as open_socket:
        callers = await Callers.of(cut, own_engine, going, till)
        async with going.going_on():
            await asyncio.sleep(3)
            cut.database.hang()
            rounds, webhooks, ready, sockets = [], [], [], []
            for _ in range(2):
                went = asyncio.create_task(callers.all_at_once())
                hooks = asyncio.create_task(callers.webhook())
                begins = asyncio.create_task(timed(a_socket(cut.town, buyer_token)))
                while not (went.done() and hooks.done() and begins.done()):
                    ready.append(await callers.ready())
                    pong_s, pong = await timed(a_pong(open_socket.connection))
                    assert (pong, pong_s < AFTERWARDS_S) == ({"type": "pong"}, True)
                    await asyncio.sleep(0.5)
                rounds.append(await went)
                webhooks.append(await hooks)
                sockets.append(await begins)
            alive = await till.client.get("/livez")
            await cut.database.pass_on()
            began = time.monotonic()
            await cut.town.ready()
            ready_s = time.monotonic() - began
            answered = going.answers["placeOrder"]["ok"]
            back_s = await until(lambda: is_true(going.answers["placeOrder"]["ok"] >= answered + 3), BACK_WITHIN_S)
            again = await callers.all_at_once()
        assert (await callers.webhook())[1].status_code == 200
        await applied(till)
        behind_s = await caught_up(await are_at(own_engine, watches), CATCH_UP_S)
    slowest = {name: round(max(round_[name][0] for round_ in rounds), 2) for name in rounds[0]}
    show(
        "a postgresql that hangs", answers=going.answers, slowest_no_s=slowest, slowest_answer_s=round(going.slowest_s, 2),
        webhook_s=round(max(seconds for seconds, _ in webhooks), 2), socket_s=round(max(seconds for seconds, _ in sockets), 2),
        ready_said_no_within_s=round(max(seconds for seconds, _ in ready), 2), ready_after_s=round(ready_s, 2),
        orders_after_s=round(back_s, 2), caught_up_after_s=round(behind_s, 2),
        feeds_ended={type(watch).__name__: watch.closes for watch in watches}, resets=sum(watch.resets for watch in watches),
    )  # fmt: skip
    for round_ in rounds:
        assert {str(answer) for _, answer in round_.values()} == {"['UNAVAILABLE']"}, round_
        assert max(seconds for seconds, _ in round_.values()) < DEADLINE_S + CLEARING_S
    for seconds, answer in webhooks:
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "5")
        assert seconds < WEBHOOK_DEADLINE_S + CLEARING_S
    assert {status for _, status in ready} == {503}
    assert max(seconds for seconds, _ in ready) < READY_S + 1
    assert alive.status_code == 200
    assert [answer for _, answer in sockets] == [1013] * 2
    assert max(seconds for seconds, _ in sockets) < DEADLINE_S + CLEARING_S
    assert {name: answer for name, (_, answer) in again.items() if not isinstance(answer, dict)} == {}
    assert {what.split()[-1] for what in going.failed} <= {"UNAVAILABLE"}
    assert going.slowest_s < DEADLINE_S + CLEARING_S
    assert {said for watch in watches for said in watch.closes} <= {"UNAVAILABLE", "1013"}
    assert sum(watch.resets for watch in watches) == 0
    assert [fault for watch in watches for fault in watch.faults] == []
    assert cut.pids() == pids


async def a_socket(running: Town, token: str) -> int | None:
    """How it was closed, or None."""
    try:
        async with running.client(token).socket():
            return None
    except ConnectionClosed as closed:
        return closed.rcvd.code if closed.rcvd else None


async def a_pong(connection: Any) -> Any:
    await connection.send(json.dumps({"type": "ping"}))
    async with asyncio.timeout(5):
        return json.loads(await connection.recv())


async def test_connections_to_postgresql_that_are_reset_fail_what_was_in_them_and_nothing_else(cut: Cut, own_engine: AsyncEngine):
    going = await slow_trade(cut, own_engine)
    going.pause_s = 1.0
    watches, resets = await watches_of(cut.town, going), 0
    async with following(watches):
        async with going.going_on():
            for _ in range(10):
                await asyncio.sleep(0.7)
                resets += cut.database.cut()
            done = sum(said["ok"] for said in going.answers.values())
            await until(lambda: is_true(sum(said["ok"] for said in going.answers.values()) > done + 5), BACK_WITHIN_S)
        behind_s = await caught_up(await are_at(own_engine, watches), CATCH_UP_S)
    show("connections reset", of="postgresql", resets=resets, answers=going.answers, caught_up_after_s=round(behind_s, 2))
    assert resets > 10
    assert {what.split()[-1] for what in going.failed} <= {"UNAVAILABLE", "RATE_LIMITED"}
    assert [fault for watch in watches for fault in watch.faults] == []


@pytest.mark.parametrize("then", ["hangs", "is cut"])
async def test_what_was_done_and_not_answered_is_done_once(cut: Cut, own_engine: AsyncEngine, then: str):
    """Half open: the commit arrives, and the word of it does not. Whoever asked repeats it with the same key."""
    going = await slow_trade(cut, own_engine)
    stall = going.stalls[0]
    tea = str(stall.listings[0])
    seller = await cut.town.api(stall.shop.owner)
    await seller.ask(SET, id=tea, units=500)
    before = (await levels_of(own_engine, stall.shop.store_id))[tea]
    answers: Counter[str] = Counter()
    for number in range(3):
        key = f"half-open-{then}-{number}"
        cut.database.keep_answers_to(b"COMMIT;", then_cut=then == "is cut")
        took_s, said = await timed(seller.ask(ADJUST, id=tea, units=-1, key=key))
        answers[str(said)] += 1
        assert took_s < DEADLINE_S + CLEARING_S
        await cut.database.pass_on()
        cut.database.cut()
        await cut.town.ready()
        done = (await levels_of(own_engine, stall.shop.store_id))[tea]
        assert done == before + number + 1
        for _ in range(3):
            await until(lambda key=key: answered(seller.ask(ADJUST, id=tea, units=-1, key=key)), BACK_WITHIN_S)
    changes = (await levels_of(own_engine, stall.shop.store_id))[tea] - before
    show("done and not answered", connection=then, answers=answers, changes=changes)
    assert answers == {"['UNAVAILABLE']": 3}
    assert changes == 3


async def answered(asking: Awaitable[Any]) -> bool:
    return isinstance((await timed(asking))[1], dict)


@pytest.mark.parametrize("what", ["redis", "postgresql", "both"])
async def test_who_is_told_to_go_goes_in_time_whatever_hangs(
    own_postgres: Postgres, own_redis: Redis, own_engine: AsyncEngine, tmp_path: Path, what: str
):
    grace = {"HAAT_GRACEFUL_SHUTDOWN_S": str(GRACE_S)}
    async with cut_town(own_postgres, own_redis, own_engine, tmp_path / "log", **grace) as cut:
        going = await slow_trade(cut, own_engine)
        watches = await watches_of(cut.town, going)
        async with following(watches):
            for proxy in (cut.redis, cut.database) if what == "both" else (cut.redis if what == "redis" else cut.database,):
                proxy.hang()
            asking = [asyncio.create_task(timed(cut.town.client(None).ask(BROWSE, id=str(going.stalls[0].shop.store_id))))]
            await asyncio.sleep(1)
            for watch in watches:
                assert watch.task is not None
                watch.task.cancel()
            took = dict(zip(cut.town.processes, await asyncio.gather(*map(stopped, cut.town.processes.values())), strict=True))
            await asyncio.gather(*asking)
            for watch in watches:
                watch.task = None
    show("told to go", hangs=what, seconds={name: round(seconds, 1) for name, (seconds, _) in took.items()}, grace_s=GRACE_S)
    assert {status for _, status in took.values()} == {0}, cut.town.said()
    assert max(seconds for seconds, _ in took.values()) < GRACE_S + 5


async def stopped(process: Any) -> tuple[float, int | None]:
    began = time.monotonic()
    process.ask_to_stop()
    while process.alive:
        await asyncio.sleep(0.05)
        assert time.monotonic() - began < 60
    return time.monotonic() - began, process.status
