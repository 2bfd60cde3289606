"""Sources that are asked: from their own servers, over real HTTP, to the shelf."""

import asyncio
import json
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import func, select, update
from sqlalchemy.ext.asyncio import AsyncEngine

from adapters.fetching import SafeFetch
from db import tables as t
from db.reads import Reads
from db.unit_of_work import unit_of_work
from domain.access import Ask, AskFailed, Quota, Reply, SetSourceAccess, retry_after_s, set_source_access
from domain.intake import Call, EntityKind
from domain.pulling import Ended, Talk, Turn, next_in
from domain.refusals import InvalidInput, NotFound, Refused
from providers.vinculum import Vinculum
from tests.partners import INBOUNDS, SEALS, Partner, partner
from tests.simulators.serving import serving
from tests.simulators.uniware import Uniware, broken, elsewhere, too_many
from tests.simulators.vineretail import Vineretail, failed
from tests.world import account, listings
from workers import pulling
from workers.pulling import Pulling
from workers.turns import Budget

STORE = "DS1"


class Slept:
    """Time that passes at once."""

    def __init__(self) -> None:
        self.waits: list[float] = []

    async def __call__(self, seconds: float) -> None:
        if seconds > 0:
            self.waits.append(seconds)


class Asked:
    """One source that is asked, its partner's server, and the worker that asks."""

    def __init__(self, engine: AsyncEngine, source: Partner, url: str, fetch: Any = None) -> None:
        self.engine, self.source, self.url, self.slept = engine, source, url, Slept()
        self.worker = Pulling(
            Reads(engine), lambda: unit_of_work(engine), {source.inbound.provider: source.inbound}, SEALS,
            fetch or SafeFetch(loopback=True), sleep=self.slept, dice=lambda: 1.0,
        )  # fmt: skip

    async def connect(self, **credentials: str) -> None:
        puller = self.worker.pullers[self.source.inbound.provider]
        sealed = SEALS.seal(json.dumps(credentials).encode())
        command = SetSourceAccess(self.source.source_id, self.url, credentials)
        async with unit_of_work(self.engine) as uow:
            await set_source_access(command, puller, sealed, self.source.shop.owner, uow)

    async def pull(self) -> None:
        """Its turn, now, whenever it would be."""
        c = t.source_cursor.c
        async with self.engine.begin() as connection:
            others = update(t.source_cursor).where(c.source_id != self.source.source_id)
            await connection.execute(others.values(next_at=func.clock_timestamp() + timedelta(days=1)))
            mine = update(t.source_cursor).where(c.source_id == self.source.source_id)
            await connection.execute(mine.values(next_at=func.clock_timestamp(), held_until=None))
        assert await self.worker.once()
        await self.source.worker.drain()

    async def cursor(self) -> Any:
        (row,) = await self.source.rows(select(t.source_cursor).where(t.source_cursor.c.source_id == self.source.source_id))
        return row


@asynccontextmanager
async def uniware(engine: AsyncEngine, store: str | None = STORE) -> AsyncIterator[tuple[Asked, Uniware]]:
    tenant = Uniware()
    async with serving(tenant.app()) as url:
        asked = Asked(engine, await partner(engine, "unicommerce", store), url)
        await asked.connect(username=tenant.username, password=tenant.password)
        yield asked, tenant


@asynccontextmanager
async def vineretail(engine: AsyncEngine) -> AsyncIterator[tuple[Asked, Vineretail]]:
    server = Vineretail()
    async with serving(server.app()) as url:
        asked = Asked(engine, await partner(engine, "vinculum", STORE), url)
        await asked.connect(ApiOwner=server.owner, ApiKey=server.key)
        yield asked, server


def told(text: str) -> datetime:
    return datetime.strptime(f"{text} +0530", "%d/%m/%Y %H:%M:%S %z")


async def units(asked: Asked, *ids: Any) -> list[int]:
    return [(await asked.source.level(f"SKU-{id}")).on_hand for id in ids]


# ---------------------------------------------------------------- what they answer is on the shelf


async def test_uniware_is_asked_for_what_changed_and_the_shelf_follows(engine):
    async with uniware(engine) as (asked, tenant):
        tea, rice = await listings(engine, asked.source.shop, [1, 1])
        tenant.counted(STORE, f"SKU-{tea}", 12)
        tenant.counted(STORE, f"SKU-{rice}", 7, ago=timedelta(days=2))
        await asked.pull()
        assert await units(asked, tea, rice) == [12, 1]
        before = await asked.cursor()
        assert (before.failed, before.message, before.held_until) == (0, None, None)
        assert before.told_until is not None
        tenant.counted(STORE, f"SKU-{rice}", 0)
        await asked.pull()
        assert await units(asked, tea, rice) == [12, 0]
        assert (await asked.cursor()).told_until > before.told_until
        assert await asked.source.payloads() == ["APPLIED", "APPLIED"]
        assert not await asked.source.failures()
        assert await asked.source.discrepancies() == 0


async def test_of_goods_nobody_has_heard_of_it_is_asked_what_they_are(engine):
    async with uniware(engine) as (asked, tenant):
        tenant.counted(STORE, "NEW-1", 4)
        tenant.items["NEW-1"] = {
            "name": "Assam Tea",
            "brand": "Leafy",
            "maxRetailPrice": 210.0,
            "basePrice": 189.5,
            "enabled": True,
        }
        await asked.pull()
        assert (await asked.source.listings())["NEW-1"].price_minor == 18950
        assert (await asked.source.level("NEW-1")).on_hand == 4
        await asked.pull()
        assert tenant.calls.count("itemType") == 1


async def test_vinculum_is_asked_page_by_page_for_the_window_since_the_last_time(engine):
    async with vineretail(engine) as (asked, server):
        server.page_size = 2
        ids = await listings(engine, asked.source.shop, [1, 1, 1, 1, 1])
        for number, id in enumerate(ids):
            server.counted(STORE, f"SKU-{id}", 20 + number, committed=5)
        await asked.pull()
        assert await units(asked, *ids) == [15, 16, 17, 18, 19]
        assert [one["pageNumber"] for one in server.asked] == ["1", "2", "3"]
        assert {one["locCode"] for one in server.asked} == {STORE}
        until = told(server.asked[-1]["toDate"])
        await asked.pull()  # all of it again: nobody's clock is that exact
        assert until - told(server.asked[-1]["fromDate"]) == timedelta(minutes=2)
        assert await units(asked, *ids) == [15, 16, 17, 18, 19]
        server.stock.clear()
        server.counted(STORE, "other", 1, at=datetime(2020, 1, 1, tzinfo=UTC))
        await asked.pull()  # nothing is found, and nothing is wrong
        assert (await asked.cursor()).failed == 0
        assert not await asked.source.failures()


async def test_of_goods_nobody_has_heard_of_vinculum_is_asked_what_they_are_and_what_they_are_forms_of(engine):
    async with vineretail(engine) as (asked, server):
        (rice,) = await listings(engine, asked.source.shop, [1])
        server.counted(STORE, f"SKU-{rice}", 7)
        server.counted(STORE, "TEA-250", 6, committed=2)
        server.counted(STORE, "LOST", 3)
        server.skus["TEA"] = {"skuName": "Assam Tea", "classification": "Style"}
        form = {"skuName": "Assam Tea 250 g", "classification": "Variant", "parentSKU": "TEA", "size": "250g"}
        server.skus["TEA-250"] = form | {"mrp": "210.000", "salePrice": "189.005"}
        await asked.pull()
        assert server.asked_of == [["TEA-250", "LOST"], ["TEA"]]
        assert (await asked.source.listings())["TEA-250"].price_minor == 18901
        assert (await asked.source.level("TEA-250")).on_hand == 4
        assert await units(asked, rice) == [7]
        [unmapped] = [one for one in await asked.source.failures("MAPPING") if one.state.value == "OPEN"]
        assert "LOST" in unmapped.message  # which Vinculum does not know either
        await asked.pull()
        assert server.asked_of[2:] == [["LOST"]]
        assert (await asked.cursor()).failed == 0


# ---------------------------------------------------------------- what goes wrong


async def test_an_error_that_comes_with_200_is_one_and_is_told(engine):
    async with vineretail(engine) as (asked, server):
        await asked.connect(ApiOwner=server.owner, ApiKey="wrong")
        await asked.pull()
        row = await asked.cursor()
        assert (row.failed, row.told_until) == (1, None)
        assert row.message == "11: the credentials are wrong (Invalid API Owner or Key)"
        assert not asked.slept.waits  # what cannot get better is asked once
        (told,) = await asked.source.failures()
        assert (told.kind.value, told.message) == ("PROCESSING", f"it cannot be asked: {row.message}")
        await asked.pull()
        assert len(await asked.source.failures()) == 1
        await asked.connect(ApiOwner=server.owner, ApiKey=server.key)
        server.counted(STORE, "T", 1)
        await asked.pull()
        assert (await asked.cursor()).failed == 0


async def seen(asked: Asked) -> datetime:
    [(at,)] = await asked.source.rows(select(t.source.c.last_seen_at).where(t.source.c.id == asked.source.source_id))
    assert isinstance(at, datetime)
    return at


async def test_who_has_nothing_new_to_tell_has_spoken_and_who_cannot_be_asked_has_not(engine):
    async with vineretail(engine) as (asked, server):
        long_ago = datetime.now(UTC) - timedelta(hours=1)

        async def forgotten() -> None:
            mine = update(t.source).where(t.source.c.id == asked.source.source_id)
            async with asked.engine.begin() as connection:
                await connection.execute(mine.values(last_seen_at=long_ago))

        server.counted(STORE, "T", 1, at=long_ago - timedelta(days=30))
        await forgotten()
        await asked.pull()
        assert await asked.source.payloads() == []  # there was nothing to keep
        assert await seen(asked) > long_ago
        await forgotten()
        server.key = "another by now"
        await asked.pull()
        [failure] = await asked.source.failures("PROCESSING")
        assert "cannot be asked" in failure.message
        assert await seen(asked) == long_ago


async def test_who_asks_us_to_wait_is_waited_for_and_who_is_broken_is_tried_again(engine):
    async with uniware(engine) as (asked, tenant):
        (tea,) = await listings(engine, asked.source.shop, [1])
        tenant.counted(STORE, f"SKU-{tea}", 5)
        tenant.troubles = [lambda: too_many(7), broken]
        await asked.pull()
        assert await units(asked, tea) == [5]
        assert asked.slept.waits == [7, 2]
        tenant.troubles = [lambda: too_many(3600)]
        await asked.pull()
        row = await asked.cursor()
        assert (row.failed, row.message) == (1, "it answers HTTP 429")
        assert row.next_at - datetime.now(UTC) > timedelta(minutes=29)
        assert not await asked.source.failures()  # it may pass


async def test_a_partner_that_stays_broken_is_told_of_and_asked_ever_more_seldom(engine):
    async with uniware(engine) as (asked, tenant):
        waits = []
        for _ in range(6):
            tenant.troubles = [broken] * 4
            await asked.pull()
            waits.append((await asked.cursor()).next_at - datetime.now(UTC))
        assert [round(wait.total_seconds() / 60) for wait in waits] == [10, 20, 30, 30, 30, 30]
        (told,) = await asked.source.failures()
        assert told.message == "it cannot be asked: it answers HTTP 502"


async def test_nothing_is_followed(engine):
    async with uniware(engine) as (asked, tenant):
        tenant.troubles = [elsewhere]
        await asked.pull()
        assert (await asked.cursor()).message == "it answers HTTP 302"


async def test_a_page_that_was_kept_before_the_next_broke_stays_and_is_asked_for_again(engine):
    async with vineretail(engine) as (asked, server):
        server.page_size = 1
        tea, rice = await listings(engine, asked.source.shop, [1, 1])
        server.counted(STORE, f"SKU-{tea}", 8)
        server.counted(STORE, f"SKU-{rice}", 9)

        class Breaks(SafeFetch):
            left = 1

            async def fetch(self, base_url: str, ask: Ask) -> Reply:
                if Breaks.left == 0:
                    raise AskFailed("no answer: ConnectError")
                Breaks.left -= 1
                return await super().fetch(base_url, ask)

        breaking = Asked(engine, asked.source, asked.url, Breaks(loopback=True))
        await breaking.pull()
        assert await units(asked, tea, rice) == [8, 1]
        assert (await asked.cursor()).told_until is None
        await asked.pull()
        assert await units(asked, tea, rice) == [8, 9]


async def test_a_facility_that_http_refuses_keeps_the_others_from_nothing(engine):
    async with vineretail(engine) as (asked, server):
        await asked.source.map(EntityKind.STORE, "AA1", asked.source.shop.store_id)  # which is asked first
        (tea,) = await listings(engine, asked.source.shop, [1])
        server.counted(STORE, f"SKU-{tea}", 8)
        refused = 0

        class Refuses(SafeFetch):
            async def fetch(self, base_url: str, ask: Ask) -> Reply:
                nonlocal refused
                if b"AA1" in ask.body:
                    refused += 1
                    return Reply(400, {}, b"{}")
                return await super().fetch(base_url, ask)

        refusing = Asked(engine, asked.source, asked.url, Refuses(loopback=True))
        await refusing.pull()
        assert await units(asked, tea) == [8]
        assert refused == 1
        row = await asked.cursor()
        assert (row.failed, row.message, row.told_until) == (1, "AA1: it answers HTTP 400", None)


@pytest.mark.parametrize(("status", "calls"), [(401, 1), (429, 4), (404, 3)])
async def test_who_refuses_everything_is_not_asked_for_every_facility(engine, monkeypatch, status, calls):
    monkeypatch.setattr(pulling, "WAIT_MOST_S", 0.0)
    async with vineretail(engine) as (asked, _):
        for n in range(10):
            await asked.source.map(EntityKind.STORE, f"DS-{n}", asked.source.shop.store_id)
        made = 0

        class Refuses(SafeFetch):
            async def fetch(self, base_url: str, ask: Ask) -> Reply:
                nonlocal made
                made += 1
                return Reply(status, {}, b"{}")

        await Asked(engine, asked.source, asked.url, Refuses(loopback=True)).pull()
        assert made == calls
        assert (await asked.cursor()).message.endswith(f"it answers HTTP {status}")


async def test_a_long_reply_that_has_no_id_is_kept_all_the_same(engine, monkeypatch):
    monkeypatch.setattr(pulling, "LATER_BYTES", 100)

    class Odd(Vinculum):
        def event_id(self, call: Call) -> str | None:
            raise ValueError("nobody thought of this")

    async with vineretail(engine) as (asked, server):
        (tea,) = await listings(engine, asked.source.shop, [1])
        server.counted(STORE, f"SKU-{tea}", 8)
        worker = replace(asked.worker, inbounds={"vinculum": Odd()})
        asked.worker = worker
        await asked.pull()
        assert await units(asked, tea) == [8]
        assert (await asked.cursor()).failed == 0


async def test_an_answer_that_takes_for_ever_to_read_keeps_one_thread_and_nobody_waiting(engine, monkeypatch):
    over, begun, read = threading.Event(), list[str](), pulling.translated
    monkeypatch.setattr(pulling, "READ_S", 0.2)
    async with vineretail(engine) as (poisonous, server), vineretail(engine) as (other, theirs):
        (tea,) = await listings(engine, other.source.shop, [1])
        server.counted(STORE, "SKU-1", 1)
        theirs.counted(STORE, f"SKU-{tea}", 8)
        other.worker = replace(other.worker, readers=poisonous.worker.readers)

        def slow(inbound: Any, call: Any, source: Any) -> Any:
            if source.id == poisonous.source.source_id:
                begun.append(threading.current_thread().name)
                assert over.wait(60)
            return read(inbound, call, source)

        monkeypatch.setattr(pulling, "translated", slow)
        try:
            for failed in (1, 2, 3):
                await poisonous.pull()
                row = await poisonous.cursor()
                assert (row.failed, row.message) == (failed, "what it answers is not read within 0.2 s")
            assert begun == ["pulled"]  # which nobody waits for at the exit, as for asyncio's own
            monkeypatch.setattr(pulling, "READ_S", 10)
            await other.pull()
            assert await units(other, tea) == [8]
        finally:
            over.set()


async def test_a_long_talk_goes_on_beside_the_others_and_is_not_begun_again(engine, monkeypatch):
    """One that asks at a time, and a partner whose second page takes longer than anybody's turn."""
    monkeypatch.setattr(pulling, "AT_ONCE", 1)
    monkeypatch.setattr(pulling, "ASIDE_S", 0.2)
    async with vineretail(engine) as (slow, server), vineretail(engine) as (quick, other):
        server.page_size = 1
        tea, rice = await listings(engine, slow.source.shop, [1, 1])
        server.counted(STORE, f"SKU-{tea}", 8)
        server.counted(STORE, f"SKU-{rice}", 9)
        other.counted(STORE, "T", 1)
        again = asyncio.Event()

        class Slow(SafeFetch):
            async def fetch(self, base_url: str, ask: Ask) -> Reply:
                if base_url == slow.url and b"pageNumber%22%3A+%222" in ask.body:
                    await again.wait()
                return await super().fetch(base_url, ask)

        worker = replace(slow.worker, fetch=Slow(loopback=True))
        c = t.source_cursor.c
        async with engine.begin() as connection:
            await connection.execute(update(t.source_cursor).values(next_at=func.clock_timestamp() + timedelta(days=1)))
            for one, later_s in ((slow, 0), (quick, 0.001)):
                mine = update(t.source_cursor).where(c.source_id == one.source.source_id)
                await connection.execute(mine.values(next_at=func.clock_timestamp() + timedelta(seconds=later_s)))
        running = asyncio.create_task(worker.run())
        try:
            async with asyncio.timeout(20):
                while (await quick.cursor()).told_until is None:  # noqa: ASYNC110  # nobody says when
                    await asyncio.sleep(0.05)
                assert (await slow.cursor()).told_until is None
                again.set()
                while (await slow.cursor()).told_until is None:  # noqa: ASYNC110  # nobody says when
                    await asyncio.sleep(0.05)
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)
        assert [one["pageNumber"] for one in server.asked] == ["1", "2"]
        await slow.source.worker.drain()
        assert await units(slow, tea, rice) == [8, 9]


async def test_who_mends_an_access_while_the_old_one_is_asked_is_asked_at_once_and_hears_nothing_of_the_old(engine):
    async with vineretail(engine) as (asked, server):
        (tea,) = await listings(engine, asked.source.shop, [1])
        server.counted(STORE, f"SKU-{tea}", 8)
        right, asked.url = asked.url, "http://127.0.0.1:9"

        class Mended(SafeFetch):
            async def fetch(self, base_url: str, ask: Ask) -> Reply:
                if base_url != right:  # just now
                    asked.url = right
                    await asked.connect(ApiOwner=server.owner, ApiKey=server.key)
                    raise AskFailed("there is nobody", retry=False)
                return await super().fetch(base_url, ask)

        await asked.connect(ApiOwner=server.owner, ApiKey="wrong")
        worker = replace(asked.worker, fetch=Mended(loopback=True))
        c = t.source_cursor.c
        async with engine.begin() as connection:
            others = update(t.source_cursor).where(c.source_id != asked.source.source_id)
            await connection.execute(others.values(next_at=func.clock_timestamp() + timedelta(days=1)))
        assert await worker.once()
        row = await asked.cursor()
        assert (row.failed, row.message, row.held_until, await asked.source.failures()) == (0, None, None, [])
        assert await worker.once()
        await asked.source.worker.drain()
        assert await units(asked, tea) == [8]


async def test_what_a_partner_answers_is_read_beside_the_event_loop(engine):
    read_in = set[str]()

    class Watched(Vinculum):
        def talk(self, *arguments: Any) -> Talk:
            talk = super().talk(*arguments)
            reply = None
            while True:
                read_in.add(threading.current_thread().name)
                try:
                    said = next(talk) if reply is None else talk.send(reply)
                except StopIteration:
                    return
                reply = yield said

    async with vineretail(engine) as (asked, server):
        (tea,) = await listings(engine, asked.source.shop, [1])
        server.counted(STORE, f"SKU-{tea}", 8)
        asked.worker = replace(asked.worker, inbounds={"vinculum": Watched()})
        await asked.pull()
        assert await units(asked, tea) == [8]
        assert read_in == {"pulled"}


async def test_a_source_without_a_mapped_facility_says_so(engine):
    async with uniware(engine, store=None) as (asked, tenant):
        await asked.pull()
        assert (await asked.cursor()).message == "no facility is mapped to a store yet"
        assert not tenant.calls


async def test_a_source_that_is_switched_off_is_not_asked(engine):
    async with uniware(engine) as (asked, tenant):
        async with engine.begin() as connection:
            await connection.execute(update(t.source).where(t.source.c.id == asked.source.source_id).values(enabled=False))
        with pytest.raises(AssertionError):
            await asked.pull()
        assert not tenant.calls


# ---------------------------------------------------------------- one at a time


async def test_a_source_is_asked_by_one_worker_at_a_time(engine):
    async with uniware(engine) as (asked, tenant):
        tenant.counted(STORE, "T", 1)
        c = t.source_cursor.c
        async with engine.begin() as connection:
            await connection.execute(update(t.source_cursor).values(next_at=func.clock_timestamp() + timedelta(days=1)))
            mine = update(t.source_cursor).where(c.source_id == asked.source.source_id)
            await connection.execute(mine.values(next_at=func.clock_timestamp()))
        assert sorted(await asyncio.gather(*(asked.worker.once() for _ in range(5)))) == [False] * 4 + [True]
        assert tenant.calls.count("inventorySnapshot") == 1


async def test_who_was_away_too_long_writes_nothing_down(engine):
    async with uniware(engine) as (asked, tenant):
        tenant.counted(STORE, "T", 1)
        c = t.source_cursor.c

        class Slow(SafeFetch):
            async def fetch(self, base_url: str, ask: Ask) -> Reply:
                async with engine.begin() as connection:  # another has taken it over meanwhile
                    mine = update(t.source_cursor).where(c.source_id == asked.source.source_id)
                    await connection.execute(mine.values(held_until=func.clock_timestamp() + timedelta(seconds=90)))
                return await super().fetch(base_url, ask)

        slow = Asked(engine, asked.source, asked.url, Slow(loopback=True))
        await slow.pull()
        row = await asked.cursor()
        assert (row.told_until, row.failed) == (None, 0)
        assert row.held_until is not None
        assert not await asked.source.payloads()


async def test_who_dies_in_the_middle_leaves_the_source_to_the_next_after_a_while(engine):
    async with uniware(engine) as (asked, _):
        async with unit_of_work(engine) as uow:
            gone = await uow.pulls.turn(timedelta(0), ["unicommerce"])
        assert gone is not None
        await asked.pull()
        async with unit_of_work(engine) as uow:
            assert not await uow.pulls.end(gone, gone.held_until, Ended(gone.now, 0, timedelta(0), 1.0))


# ---------------------------------------------------------------- where, and with what


async def test_where_a_source_is_asked_is_set_by_who_looks_after_it(engine):
    source = await partner(engine, "vinculum", STORE)
    puller = Pulling(Reads(engine), lambda: unit_of_work(engine), INBOUNDS, SEALS, SafeFetch()).pullers["vinculum"]
    right = SetSourceAccess(source.source_id, "https://erp.vineretail.com/", {"ApiOwner": "haat", "ApiKey": "a-key"})

    async def refused(command: SetSourceAccess, actor: Any = source.shop.owner, asked: Any = puller) -> Any:
        with pytest.raises(Refused) as no:
            async with unit_of_work(engine) as uow:
                await set_source_access(command, asked, b"", actor, uow)
        return no.value.refusal

    for url in (
        "erp.vineretail.com",
        "ftp://x.example",
        "https://a:b@x.example",
        "https://x.example/?a=b",
        "https://",
        "https://x:y",
    ):
        refusal = await refused(replace(right, base_url=url))
        assert isinstance(refusal, InvalidInput)
        [problem] = refusal.problems
        assert problem.path == "baseUrl"
        assert problem.message.startswith("is an https:// address (in development http:// too)")
    refusal = await refused(replace(right, credentials={"ApiOwner": ""}))
    assert [one.path for one in refusal.problems] == ["credentials", "credentials.ApiOwner"]
    [problem] = (await refused(right, asked=None)).problems
    assert (problem.path, problem.message) == ("sourceId", "this provider is neither asked nor told of orders")
    assert isinstance(await refused(right, actor=await account(engine)), NotFound)
    async with unit_of_work(engine) as uow:
        await set_source_access(right, puller, SEALS.seal(b"{}"), source.shop.owner, uow)
    a = t.audit.c
    (entry,) = await source.rows(select(a.action, a.detail).where(a.subject == source.source_id, a.action == "setSourceAccess"))
    assert "a-key" not in entry.detail
    assert "a-key" not in repr(right)


# ---------------------------------------------------------------- how often


def test_a_quota_is_never_exceeded_in_any_stretch():
    quota, start = Quota(80, 300), datetime(2026, 1, 5, tzinfo=UTC)
    turn = Turn(None, "x", None, None, start, start, 0, 0.0, None)  # type: ignore[arg-type]
    budget, now, calls = Budget(quota, turn, start), start, []
    for _ in range(400):
        now += timedelta(seconds=budget.take(now))
        calls.append(now)
    most = max(sum(1 for call in calls if since <= call < since + timedelta(seconds=300)) for since in calls)
    assert most <= 80
    assert (calls[-1] - calls[0]).total_seconds() < 400 * 300 / 40  # half of it is its pace


def test_after_failures_it_is_asked_more_seldom_and_never_sooner_than_it_wants():
    five = timedelta(minutes=5)
    assert next_in(five, 0, None, 0.5) == five
    assert [next_in(five, n, None, 1.0) for n in (1, 2, 3, 40)] == [timedelta(minutes=m) for m in (10, 20, 30, 30)]
    assert next_in(five, 1, None, 0.0) == five
    assert next_in(five, 1, 1200, 0.0) == timedelta(minutes=20)
    assert next_in(five, 1, 10**9, 0.0) == timedelta(minutes=30)


def test_a_wait_is_told_in_seconds_or_as_a_date():
    now = datetime(2026, 1, 5, 6, 0, tzinfo=UTC)
    assert retry_after_s("120", now) == 120
    assert retry_after_s("Mon, 05 Jan 2026 06:01:00 GMT", now) == 60
    assert retry_after_s("Mon, 05 Jan 2026 05:01:00 GMT", now) == 0
    assert retry_after_s("soon", now) is None
    assert failed(1, "x").status_code == 200
