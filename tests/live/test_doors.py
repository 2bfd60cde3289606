"""What every door of the real app promises: whose call it is, where it came from, and what a page may load."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import suppress
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import urljoin, urlsplit

import httpx2
import pytest
import pytest_asyncio
from sqlalchemy import select, update
from sqlalchemy.ext.asyncio import AsyncEngine

from adapters.seals import AesSeals
from db import tables as t
from tests.api import nodejs
from tests.figures import show
from tests.live.test_canary import SIGN_UP
from tests.live.test_one_order import ADDRESS, PLACE, QUOTE
from tests.live.town import SEALING, Client, Town, town
from tests.live.watching import STOCK
from tests.partners import partner, snapshot
from tests.world import account, listings, shop

BEHIND = "behind"  # a server that believes the proxy at 127.0.0.1
SET_STOCK = "mutation($id: ID!, $onHand: Int!) { setStock(listingId: $id, onHand: $onHand) { version } }"
SIGN_UPS = 10  # of one address in a minute, as adapters/limits.py has it
QUIET_S = 0.5


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def running(
    database_url: str, redis_url: str, engine: AsyncEngine, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Town]:
    log = Path(tmp_path_factory.mktemp("doors")) / "log"
    given = {"HAAT_RATE_LIMITS": "on", "HAAT_LOG_LEVEL": "debug"}
    async with town(database_url, redis_url, engine, log, **given) as running:
        running.env = {**running.env, "HAAT_TRUSTED_PROXIES": "127.0.0.1"}
        running.add_server(BEHIND)
        await running.ready(BEHIND)
        yield running


# ---------------------------------------------------------------- the protocol


async def test_every_audit_of_graphql_over_http_is_ok(running: Town):
    found = await nodejs.run("audit.mjs", f"{running.url()}/graphql")
    show("graphql-http of the app", audits=found["count"], failed=len(found["failed"]))
    assert found == {"count": 61, "failed": []}


# ---------------------------------------------------------------- what is followed


async def test_an_empty_list_of_listings_follows_nothing_and_none_the_whole_store(running: Town, engine: AsyncEngine):
    store = await shop(engine)
    [tea] = await listings(engine, store, [5])
    owner = await running.api(store.owner)
    async with owner.socket() as socket, owner.socket() as other:
        of_all = socket.frames(STOCK, id=str(store.store_id), listings=None)
        of_none = other.frames(STOCK, id=str(store.store_id), listings=[])
        for feed in (of_all, of_none):
            assert (await anext(feed))["levels"] == []
        await owner.ask(SET_STOCK, id=str(tea), onHand=4)
        async with asyncio.timeout(10):
            assert [level["listingId"] for level in (await anext(of_all))["levels"]] == [str(tea)]
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(QUIET_S):
                await anext(of_none)


# ---------------------------------------------------------------- whence a call came


async def sign_ups(client: Client, count: int, forwarded: Callable[[int], str]) -> int:
    """How many of so many were not refused for coming too often. None of them makes an account."""
    through = 0
    for number in range(count):
        variables = {"name": "Riya", "phone": "+919812304599", "password": "short"}
        answer = await client.http.post(
            f"{client.url}/graphql",
            json={"query": SIGN_UP, "variables": variables},
            headers={"X-Forwarded-For": forwarded(number)},
        )
        assert ("RATE_LIMITED" in answer.text) != ("WEAK_PASSWORD" in answer.text), answer.text
        through += "RATE_LIMITED" not in answer.text
    return through


async def test_the_clients_address_is_a_proxys_word_only_where_the_proxy_is_trusted(running: Town):
    plain, behind = await running.api(), await running.api(server=BEHIND)
    assert await sign_ups(plain, SIGN_UPS + 3, lambda number: f"198.51.100.{number}") == SIGN_UPS
    assert await sign_ups(behind, SIGN_UPS + 3, lambda number: f"198.51.100.{number}") == SIGN_UPS + 3
    assert await sign_ups(behind, SIGN_UPS + 3, lambda number: "203.0.113.5") == SIGN_UPS
    # What a client has made up stands before what the proxy has seen.
    assert await sign_ups(behind, 3, lambda number: f"192.0.2.{number}, 203.0.113.5") == 0
    assert await sign_ups(behind, 1, lambda number: "203.0.113.6") == 1


async def test_beside_a_kept_call_stands_the_address_it_came_from(running: Town, engine: AsyncEngine):
    forged = {"webhook-id": "m", "webhook-timestamp": "1", "webhook-signature": "v1,AAAA", "X-Forwarded-For": "203.0.113.77"}
    for server, remote in (("server", "127.0.0.1"), (BEHIND, "203.0.113.77")):
        body = json.dumps({"from": server}).encode()
        async with httpx2.AsyncClient() as client:
            answer = await client.post(f"{running.url(server)}/v1/payments/sandbox/webhooks", content=body, headers=forged)
        assert answer.status_code == 401
        async with engine.connect() as connection:
            p = t.payload.c
            kept = await connection.execute(select(p.remote).where(p.provider == "sandbox", p.body == body).order_by(p.id.desc()))
            assert kept.scalars().first() == remote


# ---------------------------------------------------------------- one chain


def logged(running: Town, **fields: Any) -> list[dict[str, Any]]:
    """Lines of the log that say these."""
    found = []
    for line in running.log.read_text(errors="replace").splitlines():
        with suppress(ValueError):
            said = json.loads(line)
            if isinstance(said, dict) and fields.items() <= said.items():
                found.append(said)
    return found


async def test_the_correlation_id_of_a_webhook_goes_with_it_to_the_frame(running: Town, engine: AsyncEngine):
    mine = "till-17.update:42"
    store = await shop(engine)
    [tea] = await listings(engine, store, [5])
    async with engine.begin() as connection:
        await connection.execute(update(t.variant).where(t.variant.c.id == tea).values(sku="CHAIN-1"))
    async with httpx2.AsyncClient(base_url=running.url()) as client:
        wms = await partner(engine, "wms", "OUT-1", store, AesSeals([SEALING]), client)
        async with (await running.api()).feed(STOCK, id=str(store.store_id), listings=[str(tea)]) as frames:
            assert (await anext(frames))["levels"][0]["available"] == 5
            body = json.dumps(snapshot("OUT-1", ("CHAIN-1", 3, 1))).encode()
            headers = {**wms.signed(body), "X-Correlation-Id": mine}
            answer = await client.post(wms.path("webhooks/stock"), content=body, headers=headers)
            assert (answer.status_code, answer.headers["x-correlation-id"]) == (200, mine), answer.text
            async with asyncio.timeout(20):
                assert (await anext(frames))["levels"][0]["available"] == 3
    e, p = t.event.c, t.payload.c
    async with engine.connect() as connection:
        kept = select(p.correlation_id, t.instruction.c.id).join(t.instruction, t.instruction.c.payload_id == p.id)
        [payload] = (await connection.execute(kept.where(p.source_id == wms.source_id))).all()
        counted = select(e.pos, e.correlation_id, e.caused_by).where(e.entity_id == tea, e.kind == "StockChanged")
        event = (await connection.execute(counted.order_by(e.pos.desc()))).first()
    assert payload.correlation_id == event.correlation_id == mine
    assert event.caused_by == f"instruction:{payload.id}"
    [told] = logged(running, logger="haat.hub", event="told", pos=event.pos)
    assert (told["correlation_id"], told["cause"], told["feeds"]) == (mine, event.caused_by, 1)


async def test_a_call_without_an_id_of_its_own_gets_one_and_a_bad_one_is_not_taken(running: Town):
    async with httpx2.AsyncClient(base_url=running.url()) as client:
        for path in ("/v1/payments/sandbox/webhooks", "/v1/integrations/wms/wms/webhooks/stock"):
            told = [(await client.post(path, headers={"X-Correlation-Id": id})).headers for id in ("a b", "", "x" * 65)]
            assert len({headers["x-correlation-id"] for headers in told} - {"a b", "", "x" * 65}) == 3


# ---------------------------------------------------------------- pages


class Page(HTMLParser):
    """What a browser would load of it, or go to."""

    LOADED = ("src", "href", "action", "formaction", "data", "poster", "srcset", "background", "manifest", "ping", "cite")

    def __init__(self, text: str) -> None:
        super().__init__()
        self.targets: list[str] = []
        self.tags: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.targets += [value for name, value in attrs if name in self.LOADED and value]


def sources(policy: str) -> Mapping[str, list[str]]:
    told = (directive.split() for directive in policy.split(";") if directive.strip())
    return {name: values for name, *values in told}


async def test_no_page_loads_anything_from_another_host(running: Town, engine: AsyncEngine):
    """Of all that is served: what says it is HTML is looked through, and allows a browser nothing but itself."""
    [tea] = await listings(engine, await shop(engine), [5])
    buyer = await running.api(await account(engine))
    await buyer.ask(
        "mutation($l: [CartLineInput!]!) { updateCartLines(lines: $l) { id } }", l=[{"listingId": str(tea), "quantity": 1}]
    )
    quote = (await buyer.ask(QUOTE, address=ADDRESS))["quoteCart"]["id"]
    bought = (await buyer.ask(PLACE, quote=quote, method="CARD", key="k"))["placeOrder"]
    pay = f"/v1/payments/sandbox/pay/{bought['payment']['clientSecret']}"
    calls = [
        ("GET", path) for path in ("/", "/graphql", "/docs", "/livez", "/readyz", "/metrics", "/.well-known/jwks.json", "/nothing")
    ]
    calls += [("GET", pay), ("GET", f"{pay}x"), ("POST", f"{pay}x/decline"), ("POST", f"{pay}/approve"), ("GET", pay)]
    pages = []
    async with httpx2.AsyncClient(base_url=running.url(), headers={"accept": "text/html,*/*;q=0.1"}) as client:
        for method, path in calls:
            answer = await client.request(method, path)
            kind = answer.headers.get("content-type", "")
            assert ("<" not in answer.text[:1]) or "html" in kind, (path, answer.text[:200])
            if "html" not in kind:
                continue
            pages.append((method, path))
            page, here = Page(answer.text), str(answer.url)
            assert {urlsplit(urljoin(here, target)).netloc for target in page.targets} <= {urlsplit(here).netloc}, page.targets
            assert not page.tags & {"script", "link", "iframe", "object", "embed", "base", "img"}
            assert "url(" not in answer.text
            assert "@import" not in answer.text
            policy = sources(answer.headers["content-security-policy"])
            assert policy["default-src"] == ["'none'"]
            assert {one for values in policy.values() for one in values} <= {"'none'", "'self'", "'unsafe-inline'"}
            assert {"form-action", "frame-ancestors"} <= set(policy)  # which default-src does not stand for
    assert pages == calls[-5:]
