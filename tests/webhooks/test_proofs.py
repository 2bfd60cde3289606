"""Whose a call is, over HTTP: every strategy, every way to name a source, secrets that come and go, and paths with names."""

import asyncio
import json
import secrets
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from time import monotonic, time
from uuid import UUID

import httpx2
import pytest
from sqlalchemy import func, select, update
from sqlalchemy.ext.asyncio import AsyncEngine

from db import tables as t
from db.ids import new_id
from db.unit_of_work import unit_of_work
from domain.intake import LATER_BYTES, Answer, Batch, Call, Family, Question, Source, TokenAsked
from domain.proofs import (
    BASIC,
    BEARER_ISSUED,
    STANDARD_WEBHOOKS,
    URL_TOKEN,
    Algorithm,
    Encoding,
    Proof,
    Signed,
    Strategy,
    prove,
    shown,
)
from domain.sources import SetSource, kept_secret, rotate_secret, set_source
from providers.wms import Wms
from tests.conftest import LONG
from tests.figures import show
from tests.partners import INBOUNDS, SEALS, Partner, client_of, event, partner, snapshot
from webhooks.intake import BODY_BYTES
from webhooks.limits import Budget, InFlight, KnownSources

PROOFS = {
    "standard webhooks": STANDARD_WEBHOOKS,
    "square": Proof(Strategy.HMAC_HEADER, "x-square-hmacsha256-signature", signed=Signed.URL_BODY),
    "shopify": Proof(Strategy.HMAC_HEADER, "x-shopify-hmac-sha256"),
    "toast": Proof(Strategy.HMAC_HEADER, "toast-signature", signed=Signed.BODY_TIMESTAMP, timestamp_header="x-timestamp"),
    "deliverect": Proof(Strategy.HMAC_HEADER, "x-server-authorization-hmac-sha256", encoding=Encoding.HEX),
    "id and time": Proof(
        Strategy.HMAC_HEADER,
        "x-sig",
        prefix="v1=",
        algorithm=Algorithm.SHA512,
        signed=Signed.ID_TIMESTAMP_BODY,
        timestamp_header="x-at",
        id_header="x-id",
    ),
    "a header": Proof(Strategy.STATIC_HEADER, "x_pos_key"),
    "a key with its source": Proof(Strategy.STATIC_HEADER, "authorization", prefix="apikey {source}:"),
    "basic": BASIC,
    "bearer": BEARER_ISSUED,
    "url": URL_TOKEN,
}
every = pytest.mark.parametrize("proof", PROOFS.values(), ids=PROOFS.keys())


class Named(Wms):
    """A provider with names in its paths, numbers for answers, and tokens that are asked for."""

    provider, family, proof = "named", Family.ERP, BEARER_ISSUED
    doors = {  # as the providers have them
        **Wms.doors,
        "orders/{order}/stock/": "stock",
        "stores/{store}/open": "open",
        "oauth/token": "token",
    }
    questions = frozenset({"open", "token"})
    tokens = frozenset({"token"})

    def __init__(self) -> None:
        self.translated: list[Call] = []

    def translate(self, call: Call, source: Source) -> Batch | Question:
        self.translated.append(call)
        return Question(call.path["store"]) if call.door == "open" else super().translate(call, source)  # type: ignore[return-value]

    def acknowledge(self, call: Call, payload_id: UUID) -> Answer:
        return Answer(200, [dict(call.path), call.method])

    def asked(self, call: Call) -> TokenAsked:
        told = json.loads(call.body) if call.body else call.query
        return TokenAsked(str(told["username"]), str(told["password"]))

    def issued(self, call: Call, token: str, expires_in_s: int) -> Answer:
        return Answer(200, {"access_token": token, "expires_in": expires_in_s})


@pytest.fixture
def named() -> Iterator[Named]:
    INBOUNDS["named"] = made = Named()
    yield made
    del INBOUNDS["named"]


def told(n: int = 1) -> bytes:
    return json.dumps(snapshot("BLR_DS1", ("T", n, n))).encode()


async def headers_of(engine: AsyncEngine, source_id: UUID | None, provider: str = "wms") -> list[dict[str, str]]:
    p = t.payload.c
    whose = p.source_id.is_(None) if source_id is None else p.source_id == source_id
    async with engine.connect() as connection:
        rows = await connection.execute(select(p.headers).where(whose, p.provider == provider).order_by(p.id))
        return [row.headers for row in rows]


class Counting:
    """Figures, as far as a door tells any."""

    def __init__(self) -> None:
        self.told: Counter[str] = Counter()

    def webhook(self, provider: str, verdict: str) -> None:
        self.told[verdict] += 1


def at(sender: Partner, **given: object) -> httpx2.AsyncClient:
    remote = str(given.pop("remote", "127.0.0.1"))
    return client_of(replace(sender.door, **given), remote)  # type: ignore[arg-type]


# ---------------------------------------------------------------- every strategy


@every
async def test_what_is_proven_is_taken_what_is_not_is_refused_and_neither_is_shown(engine, proof):
    sender = await partner(engine, "wms", "BLR_DS1", proof=proof)
    assert (await sender.post("webhooks/stock", told())).status_code == 200
    other = shown(proof, b"n" * 32)
    wrong = replace(sender, text=other)
    answer = await wrong.post("webhooks/stock", told(2))
    assert answer.status_code == (404 if proof is URL_TOKEN else 401), answer.text
    if proof is not URL_TOKEN:
        nothing = await sender.client.post(sender.path("webhooks/stock"), content=told(2))
        assert (nothing.status_code, nothing.text) == (answer.status_code, answer.text)
    assert await sender.payloads() == ["ACCEPTED", *(["REJECTED"] * 2 if proof is not URL_TOKEN else [])]
    kept = await headers_of(engine, sender.source_id)
    assert kept
    for secret in (sender.text, other):
        assert secret not in json.dumps(kept)
    for value in sender.proven("webhooks/stock", told()).values():
        if len(value) > 30:  # and not an id, or a time
            assert value not in json.dumps(kept)


@every
async def test_without_secrets_and_from_elsewhere_everything_is_refused(engine, proof):
    sender = await partner(engine, "wms", "BLR_DS1", proof=proof)
    path = sender.path("webhooks/stock")
    s = t.source.c
    async with engine.begin() as connection:
        await connection.execute(update(t.source).where(s.id == sender.source_id).values(ip_allow=["10.1.0.0/16", "::1/128"]))
    for remote, status in (
        ("127.0.0.1", "no"),
        ("10.2.0.1", "no"),
        ("10.1.2.3", "yes"),
        ("::1", "yes"),
        ("::ffff:10.1.2.3", "yes"),
    ):
        body = told(len(remote))
        answer = await at(sender, remote=remote).post(path, content=body, headers=sender.proven("webhooks/stock", body))
        assert (answer.status_code == 200) is (status == "yes"), (remote, answer.text)
    async with engine.begin() as connection:
        await connection.execute(t.source_secret.delete().where(t.source_secret.c.source_id == sender.source_id))
    body = told(99)
    answer = await at(sender, remote="10.1.2.3").post(path, content=body, headers=sender.proven("webhooks/stock", body))
    assert answer.status_code in (401, 404)


@every
async def test_what_is_sent_once_more_is_not_done_once_more(engine, proof):
    """Of a timed call every repeat is known; of others the next one is."""
    sender = await partner(engine, "wms", "BLR_DS1", proof=proof)
    body = json.dumps(event("stock.adjusted", location="BLR_DS1", sku="T", delta="1")).encode()
    headers = sender.proven("webhooks/stock", body)
    for _ in range(2):
        assert (await sender.client.post(sender.path("webhooks/stock"), content=body, headers=headers)).status_code == 200
    assert await sender.payloads() == ["ACCEPTED", "DUPLICATE"]
    if not proof.timed:
        return
    p = t.payload.c
    async with engine.begin() as connection:
        past = func.clock_timestamp() - timedelta(seconds=290)
        await connection.execute(update(t.payload).where(p.source_id == sender.source_id).values(received_at=past))
    other = told()
    await sender.post("webhooks/stock", other)
    assert (await sender.client.post(sender.path("webhooks/stock"), content=body, headers=headers)).status_code == 200
    assert (await sender.payloads())[-1] == "DUPLICATE"


async def test_a_header_that_comes_twice_says_nothing(engine):
    sender, body = await partner(engine, "wms", "BLR_DS1"), told()
    pairs = list(sender.proven("webhooks/stock", body).items())
    for name in ("webhook-signature", "webhook-id", "webhook-timestamp"):
        twice = [*pairs, (name, dict(pairs)[name])]
        assert (await sender.client.post(sender.path("webhooks/stock"), content=body, headers=twice)).status_code == 401
    assert (await sender.client.post(sender.path("webhooks/stock"), content=body, headers=pairs)).status_code == 200


# ---------------------------------------------------------------- whose


async def test_a_source_is_named_by_its_id_in_the_query_or_as_a_segment(engine):
    sender = await partner(engine, "wms", "BLR_DS1")
    for n, path in enumerate((f"webhooks/stock?source={sender.source_id}", f"{sender.source_id}/webhooks/stock/")):
        body = told(n)
        answer = await sender.client.post(f"/v1/integrations/erp/wms/{path}", content=body, headers=sender.signed(body))
        assert answer.status_code == 200
    unknown = await sender.client.post(
        f"/v1/integrations/erp/wms/{new_id()}/webhooks/stock", content=told(), headers=sender.signed(told())
    )
    assert (unknown.status_code, unknown.json()["message"]) == (401, "the signature does not match")
    assert (await headers_of(engine, sender.source_id))[-1][":url"] == (
        f"http://haat.test/v1/integrations/erp/wms/{sender.source_id}/webhooks/stock/"
    )


async def test_who_knows_only_the_id_of_a_source_whose_url_is_the_secret_is_refused(engine):
    till = await partner(engine, "petpooja", "k7x2m9qa")
    closed = {"restID": "k7x2m9qa", "store_status": "0"}
    for path in (f"{till.source_id}/webhooks/store-status", f"webhooks/store-status?source={till.source_id}"):
        answer = await till.client.post(f"/v1/integrations/pos/petpooja/{path}", json=closed)
        assert answer.status_code == 400  # which is what PetPooja knows for a refusal
        assert answer.json()["message"] == "the signature does not match"
    assert not await till.instructions()


async def test_the_token_of_one_source_opens_no_other(engine):
    one, other = [await partner(engine, "petpooja", f"rest-{n}") for n in "ab"]
    async with engine.begin() as connection:
        await connection.execute(update(t.source).where(t.source.c.id == other.source_id).values(proof=PROOFS["shopify"]))
    closed = {"restID": "rest-b", "store_status": "0"}
    assert (await one.post("webhooks/store-status", closed)).status_code == 400  # not its restID
    assert (await other.post("webhooks/store-status", closed)).status_code == 400  # its token proves nothing any more
    assert not await other.instructions()


async def test_what_names_no_source_is_all_counted_and_kept_as_far_as_the_budget_goes(engine):
    sender = await partner(engine, "wms", "BLR_DS1")
    figures, remote, now = Counting(), "203.0.113.99", datetime.now(UTC)
    client = at(sender, figures=figures, rejected=Budget(a_minute=3), remote=remote, clock=lambda: now)  # of one minute
    for n in range(8):
        body = told(n)
        path = f"/v1/integrations/erp/wms/webhooks/stock?source={new_id()}"
        assert (await client.post(path, content=body, headers=sender.signed(body))).status_code == 401
    path = sender.path("webhooks/stock")
    for _ in range(4):
        assert (await client.post(path, content=told())).status_code == 401
    assert figures.told == {"UNKNOWN_SENDER": 8, "REJECTED": 3, "BEYOND_BUDGET": 1}
    p = t.payload.c
    kept = await sender.rows(select(p.source_id).where(p.remote == remote).order_by(p.id))
    assert [row.source_id for row in kept] == [None] * 3 + [sender.source_id] * 3


# ---------------------------------------------------------------- paths, methods, answers


async def test_paths_have_names_and_put_is_as_good_as_post(engine, named):
    sender = await partner(engine, "named", "BLR_DS1", proof=PROOFS["square"])

    async def call(method: str, rest: str, body: bytes = b"") -> httpx2.Response:
        headers = sender.proven(rest, body)
        return await sender.client.request(method, sender.path(rest), content=body, headers=headers)

    for n, (method, rest, values) in enumerate(
        [
            ("POST", "orders/4711/stock", {"order": "4711"}),
            ("PUT", "orders/A%2F7/stock/", {"order": "A/7"}),
            ("PUT", "webhooks/stock", {}),
        ]
    ):
        answer = await call(method, rest, told(n))
        assert (answer.status_code, answer.json()) == (200, [values, method])
        assert named.translated[-1].url == f"http://haat.test{sender.path(rest)}"
    asked = await call("GET", "stores/BLR_DS1/open")
    assert asked.json()["status"] == "success"
    for method, rest, status in (
        ("GET", "webhooks/stock", 405),
        ("GET", "orders/1/stock", 405),
        ("DELETE", "webhooks/stock", 405),
        ("POST", "orders//stock", 404),
        ("POST", "orders/1/2/stock", 404),
        ("POST", "orders", 404),
        ("PUT", "nothing/of/ours", 404),
    ):
        assert (await call(method, rest, told())).status_code == status, rest


async def test_a_large_body_is_read_later_with_the_same_path_method_and_url(engine, named):
    sender = await partner(engine, "named", "BLR_DS1", proof=PROOFS["toast"])
    large = json.dumps({**snapshot("BLR_DS1", ("T", 5, 5)), "padding": "x" * 300_000}).encode()
    rest = "orders/A%2F7/stock/"
    headers = sender.proven(rest, large)
    path = f"{sender.path(rest)}&a=b%26c&t=hidden"
    assert (await sender.client.put(path, content=large, headers=headers)).status_code == 200
    assert not named.translated
    await sender.worker.drain()
    (call,) = named.translated
    assert (dict(call.path), call.method, dict(call.query)) == (
        {"order": "A/7"},
        "PUT",
        {"source": str(sender.source_id), "a": "b&c", "t": "***"},
    )
    assert call.url == f"http://haat.test{sender.path(rest)}&a=b%26c&t=%2A%2A%2A"
    assert await sender.payloads() == ["PARKED"]


# ---------------------------------------------------------------- tokens


async def test_a_token_is_asked_for_with_the_secret_and_is_good_for_calls(engine, named):
    sender = await partner(engine, "named", "BLR_DS1")
    figures = Counting()
    client, base = at(sender, figures=figures), "/v1/integrations/erp/named"
    asked = {"username": str(sender.source_id), "password": sender.text}
    answer = await client.post(f"{base}/oauth/token", json=asked)
    assert (answer.status_code, answer.headers["cache-control"]) == (200, "no-store")
    token = answer.json()["access_token"]
    assert (await client.get(f"{base}/oauth/token", params=asked)).json()["expires_in"] > 3600
    assert (await client.post(f"{base}/{sender.source_id}/oauth/token", json=asked)).status_code == 200
    assert not await headers_of(engine, sender.source_id, "named")  # nothing of it is kept
    for n, path in enumerate((f"{base}/webhooks/stock", f"{base}/{sender.source_id}/webhooks/stock")):
        sent = await client.post(path, content=told(n), headers={"Authorization": f"Bearer {token}"})
        assert sent.status_code == 200
    assert figures.told == {"TOKEN_ISSUED": 3, "ACCEPTED": 2}
    async with unit_of_work(engine) as uow:  # and a retired secret's tokens end with it
        text = shown(BEARER_ISSUED, b"r" * 32)
        await rotate_secret(sender.source_id, kept_secret(BEARER_ISSUED, text, SEALS), sender.shop.owner, uow, timedelta())
    sent = await client.post(f"{base}/webhooks/stock", content=told(9), headers={"Authorization": f"Bearer {token}"})
    assert sent.status_code == 401
    assert token not in json.dumps(await headers_of(engine, sender.source_id, "named"))


async def test_for_a_wrong_secret_there_is_no_token_and_soon_no_answer(engine, named):
    sender, other = await partner(engine, "named", "BLR_DS1"), await partner(engine, "named", "BLR_DS2")
    now = datetime.now(UTC)
    client = at(sender, rejected=Budget(a_minute=4), remote="198.51.100.4", clock=lambda: now)  # of one minute
    base = "/v1/integrations/erp/named"
    right = {"username": str(sender.source_id), "password": sender.text}
    for path, asked in (
        (f"{base}/oauth/token", {**right, "password": other.text}),
        (f"{base}/oauth/token", {**right, "password": ""}),
        (f"{base}/oauth/token", {**right, "username": str(new_id())}),
        (f"{base}/oauth/token", {**right, "username": "admin"}),
        (f"{base}/{other.source_id}/oauth/token", right),
    ):
        answer = await client.post(path, json=asked)
        assert (answer.status_code, answer.json()["message"]) == (401, "the signature does not match")
    assert (await client.post(f"{base}/oauth/token", json={"password": sender.text})).status_code == 400
    assert (await client.post(f"{base}/oauth/token", json={**right, "password": 5})).status_code == 401
    assert (await client.post(f"{base}/oauth/token", json=right)).status_code == 429  # it was wrong four times
    theirs = {"username": str(other.source_id), "password": other.text}
    assert (await client.post(f"{base}/oauth/token", json=theirs)).status_code == 200  # which is nobody else's fault
    p = t.payload.c
    rows = await sender.rows(select(p.body, p.headers).where(p.provider == "named", p.remote == "198.51.100.4"))
    assert len(rows) == 7
    assert {row.body for row in rows} == {b""}  # what was shown may be nearly right
    assert sender.text not in str(rows)


async def test_who_asks_for_too_many_tokens_is_turned_away_before_anything_is_looked_up(engine, named):
    sender, rejected = await partner(engine, "named", "BLR_DS1"), Budget(a_minute=2)
    remote, base, now = "198.51.100.5", "/v1/integrations/erp/named", datetime.now(UTC)
    right = {"username": str(sender.source_id), "password": sender.text}
    given = {"remote": remote, "rejected": rejected, "clock": lambda: now}
    for _ in range(2):
        wrong = {"username": str(new_id()), "password": "guess"}
        assert (await at(sender, **given).post(f"{base}/oauth/token", json=wrong)).status_code == 401
    blind = at(sender, reads=None, **given)  # what is looked up would be a 503
    assert (await blind.post(f"{base}/oauth/token", json=wrong)).status_code == 429
    busy = at(sender, reads=None, in_flight=InFlight(most_waiting=0))
    answer = await busy.post(f"{base}/oauth/token", json=right)
    assert (answer.status_code, answer.headers["retry-after"]) == (429, "1")


async def test_a_door_that_is_a_question_takes_no_long_body(engine, named):
    sender = await partner(engine, "named", "BLR_DS1", proof=STANDARD_WEBHOOKS)
    long = b'{"padding":"' + b"x" * LATER_BYTES + b'"}'
    assert (await sender.post("stores/BLR_DS1/open", long)).status_code == 413
    assert [row.message for row in await sender.failures()] == ["larger than 256 KB"]


async def test_of_a_secret_that_comes_with_too_long_a_body_nothing_is_kept(engine, named):
    sender, remote = await partner(engine, "named", "BLR_DS1"), "198.51.100.6"
    asked = {"username": str(sender.source_id), "password": sender.text, "padding": "x" * BODY_BYTES}
    for path in ("oauth/token", f"{sender.source_id}/oauth/token"):
        answer = await at(sender, remote=remote).post(f"/v1/integrations/erp/named/{path}", json=asked)
        assert answer.status_code == 413
    p = t.payload.c
    rows = await sender.rows(select(p.source_id, p.body).where(p.remote == remote).order_by(p.id))
    assert [(row.source_id, row.body) for row in rows] == [(None, b""), (sender.source_id, b"")]


async def test_only_a_source_that_is_shown_by_tokens_gives_any(engine, named):
    sender = await partner(engine, "named", "BLR_DS1", proof=BASIC)
    asked = {"username": str(sender.source_id), "password": sender.text}
    assert (await sender.client.post("/v1/integrations/erp/named/oauth/token", json=asked)).status_code == 401


# ---------------------------------------------------------------- secrets that come and go


@every
async def test_a_secret_is_good_from_its_first_moment_to_its_last(engine, proof):
    sender = await partner(engine, "wms", "BLR_DS1", proof=proof)
    old, new = sender.text, shown(proof, secrets.token_bytes(32))
    later = datetime.now(UTC) + timedelta(hours=1)

    async def taken(text: str, n: int) -> bool:
        return (await replace(sender, text=text, sent=n).post("webhooks/stock", told(n))).status_code == 200

    async with unit_of_work(engine) as uow:
        to_come = replace(kept_secret(proof, new, SEALS), not_before=later)
        await rotate_secret(sender.source_id, to_come, sender.shop.owner, uow, timedelta(minutes=5))
    assert (await taken(old, 1), await taken(new, 2)) == (True, False)
    s = t.source_secret.c
    ends = await sender.rows(select(s.not_after).where(s.source_id == sender.source_id).order_by(s.id))
    assert abs(ends[0].not_after - (later + timedelta(minutes=5))) < timedelta(seconds=1)
    assert ends[1].not_after is None
    async with engine.begin() as connection:  # an hour later
        hour = timedelta(hours=1)
        await connection.execute(
            update(t.source_secret)
            .where(s.source_id == sender.source_id)
            .values(not_before=s.not_before - hour, not_after=s.not_after - hour)
        )
    assert (await taken(old, 3), await taken(new, 4)) == (True, True)
    async with engine.begin() as connection:  # and five minutes
        await connection.execute(
            update(t.source_secret).where(s.source_id == sender.source_id).values(not_after=s.not_after - timedelta(minutes=5))
        )
    assert (await taken(old, 5), await taken(new, 6)) == (False, True)


async def test_of_secrets_to_come_the_last_is_meant_and_there_is_always_one(engine):
    sender = await partner(engine, "wms", "BLR_DS1")
    texts = [sender.text]
    now = datetime.now(UTC)
    for hours in (1, 3, 2):
        text = shown(STANDARD_WEBHOOKS, secrets.token_bytes(32))
        texts.append(text)
        async with unit_of_work(engine) as uow:
            new = replace(kept_secret(STANDARD_WEBHOOKS, text, SEALS), not_before=now + timedelta(hours=hours))
            await rotate_secret(sender.source_id, new, sender.shop.owner, uow, timedelta())
    s = t.source_secret.c
    rows = await sender.rows(select(s.not_before, s.not_after).where(s.source_id == sender.source_id).order_by(s.id))
    first, *cancelled, last = rows
    assert abs(first.not_after - last.not_before) < timedelta(seconds=1)  # no gap between them
    assert last.not_after is None
    assert all(row.not_after < row.not_before for row in cancelled)


async def test_a_source_without_a_live_secret_ends_none_twice(engine):
    sender = await partner(engine, "wms", "BLR_DS1")
    for _ in range(8):
        async with unit_of_work(engine) as uow:
            text = shown(STANDARD_WEBHOOKS, secrets.token_bytes(32))
            await rotate_secret(sender.source_id, kept_secret(STANDARD_WEBHOOKS, text, SEALS), sender.shop.owner, uow)
    s = t.source_secret.c
    rows = await sender.rows(select(s.not_after).where(s.source_id == sender.source_id).order_by(s.id))
    now = datetime.now(UTC) + timedelta(seconds=1)
    assert len([row for row in rows if row.not_after is None or row.not_after > now]) == 5


@dataclass
class Secret:
    text: str
    from_s: float  # known to be good since
    to_s: float = float("inf")  # and over from then on


@dataclass
class Sent:
    secret: Secret
    began_s: float
    ended_s: float
    status: int


class Load:
    """Calls signed with every secret there was, while a new one comes every few seconds."""

    def __init__(self, sender: Partner, keep_s: float) -> None:
        self.sender, self.keep_s = sender, keep_s
        self.client = at(sender, known=KnownSources(keep_s=keep_s), rejected=Budget(a_minute=1))
        self.secrets = [Secret(sender.text, time())]
        self.sent: list[Sent] = []
        self.number = 0

    async def rotate(self, engine: AsyncEngine, grace: timedelta) -> None:
        text = shown(STANDARD_WEBHOOKS, secrets.token_bytes(32))
        async with unit_of_work(engine) as uow:
            new = kept_secret(STANDARD_WEBHOOKS, text, SEALS)
            await rotate_secret(self.sender.source_id, new, self.sender.shop.owner, uow, grace)
        s = t.source_secret.c
        ends = [
            row.not_after
            for row in await self.sender.rows(select(s.not_after).where(s.source_id == self.sender.source_id).order_by(s.id))
        ]
        for secret, end in zip(self.secrets, ends, strict=False):
            if end is not None:
                secret.to_s = end.timestamp()
        self.secrets.append(Secret(text, time()))

    async def send(self, until_s: float) -> None:
        while monotonic() < until_s:
            for secret in self.secrets[-4:]:
                self.number += 1
                body = told(self.number)
                headers = prove(
                    STANDARD_WEBHOOKS, secret.text, self.sender.source_id, "", body, datetime.now(UTC), f"load-{self.number}"
                )
                began_s = time()
                answer = await self.client.post(self.sender.path("webhooks/stock"), content=body, headers=headers)
                self.sent.append(Sent(secret, began_s, time(), answer.status_code))
            await asyncio.sleep(0)

    def refused_though_valid(self) -> list[Sent]:
        good = [one for one in self.sent if one.began_s >= one.secret.from_s and one.ended_s < one.secret.to_s]
        return [one for one in good if one.status != 200]

    def taken_though_over(self) -> list[Sent]:
        over = [one for one in self.sent if one.began_s > one.secret.to_s + self.keep_s]
        assert over, "nobody tried an old one"
        return [one for one in over if one.status == 200]


async def test_secrets_rotate_under_load_and_no_valid_call_is_refused_nor_an_old_one_taken(engine):
    every_s, rounds, keep_s = (5.0, 12, 1.0) if LONG else (0.8, 4, 0.2)
    sender = await partner(engine, "wms", "BLR_DS1")
    load = Load(sender, keep_s)
    until_s = monotonic() + every_s * (rounds + 1)
    sending = [asyncio.create_task(load.send(until_s)) for _ in range(2)]
    for _ in range(rounds):
        await asyncio.sleep(every_s)
        await load.rotate(engine, timedelta(seconds=every_s / 2))
    await asyncio.gather(*sending)
    statuses = Counter(one.status for one in load.sent)
    refused, taken = load.refused_though_valid(), load.taken_though_over()
    answered = {str(status): n for status, n in statuses.items()}
    counts = {"refused_though_valid": len(refused), "taken_though_over": len(taken)}
    show("rotating secrets", rounds=rounds, every_s=every_s, over_after_s=keep_s, answered=answered, **counts)
    assert set(statuses) <= {200, 401}
    assert (refused, taken) == ([], [])


# ---------------------------------------------------------------- as it is set


async def test_a_source_keeps_its_own_proof_and_gives_it_back(engine):
    sender = await partner(engine, "wms", "BLR_DS1")

    async def change(command: SetSource) -> None:
        async with unit_of_work(engine) as uow:
            await set_source(command, sender.shop.owner, uow)

    text = "a-signature-key-of-square"
    own = replace(PROOFS["square"], header="X-Square-HmacSha256-Signature")
    await change(SetSource(sender.source_id, proof=own))
    async with unit_of_work(engine) as uow:
        await rotate_secret(sender.source_id, kept_secret(PROOFS["square"], text, SEALS), sender.shop.owner, uow, timedelta())
    squared = replace(sender, text=text, own_proof=PROOFS["square"])
    assert (await squared.post("webhooks/stock", told(1))).status_code == 200
    assert (await sender.post("webhooks/stock", told(2))).status_code == 401
    await change(SetSource(sender.source_id, usual_proof=True))
    assert (await squared.post("webhooks/stock", told(3))).status_code == 401
    await change(SetSource(sender.source_id, enabled=False))
    assert (await sender.post("webhooks/stock", told(4))).status_code == 401
    a = t.audit.c
    said = await sender.rows(select(a.detail).where(a.subject == sender.source_id, a.action == "setSource").order_by(a.id))
    assert [row.detail for row in said] == [
        "proof HMAC_HEADER x-square-hmacsha256-signature BASE64 SHA256 URL_BODY",
        "proof as usual",
        "disabled",
    ]
