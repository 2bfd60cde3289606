"""The doors of providers, over HTTP: what is answered, what is kept, what is done once."""

import asyncio
import json
import secrets
from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import httpx2
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import func, select, update
from sqlalchemy.event import listen, remove
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from db import tables as t
from db.ids import new_id
from db.reads import Reads
from db.unit_of_work import unit_of_work
from domain import intake
from domain.failures import replay_failures
from domain.figures import Uncounted
from domain.identity import Actor, ActorKind
from domain.refusals import Conflict, Refused
from domain.sources import NewSecret, rotate_secret
from tests.figures import show
from tests.partners import INBOUNDS, SEALS, Partner, client_of, dish, event, menu, partner, snapshot
from tests.world import account
from webhooks.intake import BODY_BYTES, Door
from webhooks.limits import Budget, InFlight, KnownSources

OFF = {"restID": "k7x2m9qa", "type": "item", "inStock": False, "itemID": ["1"]}


async def kept(engine: AsyncEngine, provider: str, **columns) -> list:
    p = t.payload.c
    where = [p[name] == value if value is not None else p[name].is_(None) for name, value in columns.items()]
    async with engine.connect() as connection:
        return (await connection.execute(select(t.payload).where(p.provider == provider, *where).order_by(p.id))).all()


def at(till: Partner, **given) -> httpx2.AsyncClient:
    """The same source's door, made otherwise."""
    remote = given.pop("remote", "127.0.0.1")
    return client_of(replace(till.door, **given), remote)


class Counted(Uncounted):
    """Each verdict, by provider."""

    def __init__(self) -> None:
        self.told: Counter[tuple[str, str]] = Counter()

    def webhook(self, provider: str, verdict: str) -> None:
        self.told[provider, verdict] += 1


# ---------------------------------------------------------------- once


@pytest.mark.parametrize("provider", ["petpooja", "wms"])
async def test_fifty_identical_at_once_are_one_effect_and_fifty_acknowledgements(engine, provider):
    sender = await partner(engine, provider, "k7x2m9qa")
    if provider == "wms":
        body = json.dumps(event("stock.adjusted", location="k7x2m9qa", sku="T", delta="1")).encode()
        rest, headers = "webhooks/stock", sender.signed(body, "the-same")
    else:
        rest, headers, body = "webhooks/inventory", {}, json.dumps(OFF).encode()
    answers = await asyncio.gather(*(sender.post(rest, body, **headers) for _ in range(50)))
    assert {(answer.status_code, answer.text) for answer in answers} == {(200, answers[0].text)}
    states = await sender.payloads()
    assert (states.count("ACCEPTED"), states.count("DUPLICATE")) == (1, 49)
    assert len(await sender.instructions()) == 1
    repeats = await sender.failures("DUPLICATE")
    assert len(repeats) == 49
    assert {row.state.value for row in repeats} == {"RESOLVED"}


async def test_a_repeat_is_answered_with_the_reference_of_the_first(engine):
    """Whether its id tells that it is one, or the same bytes just before."""
    for provider, rest, body in (
        (
            "urbanpiper",
            "webhooks/inventory",
            {"location_ref_id": "BLR", "item_ref_ids": ["I"], "option_ref_ids": [], "action": "disable"},
        ),
        ("catalogue_file", "import?store=BLR", [{"id": "S1", "title": "Tea", "price": "9.00"}]),
    ):
        sender = await partner(engine, provider, "BLR")
        first, again = [await sender.post(rest, body) for _ in range(2)]
        assert (first.status_code, first.text) == (again.status_code, again.text)
        (kept, repeated) = await sender.rows(
            select(t.payload).where(t.payload.c.source_id == sender.source_id).order_by(t.payload.c.id)
        )
        assert (kept.state.value, repeated.state.value) == ("ACCEPTED", "DUPLICATE")
        assert str(kept.id) in first.text


async def test_the_same_id_with_another_body_is_refused_and_kept(engine):
    wms = await partner(engine, "wms", "BLR_DS1")
    first = json.dumps(snapshot("BLR_DS1", ("T", 1, 1))).encode()
    other = json.dumps(snapshot("BLR_DS1", ("T", 2, 2))).encode()
    assert (await wms.post("webhooks/stock", first, **wms.signed(first, "one"))).status_code == 200
    answer = await wms.post("webhooks/stock", other, **wms.signed(other, "one"))
    assert (answer.status_code, answer.json()["status"]) == (409, "failed")
    assert await wms.payloads() == ["ACCEPTED", "REJECTED"]
    (failure,) = await wms.failures("VALIDATION")
    assert "came before, with another body" in failure.message
    assert (await kept(engine, "wms", source_id=wms.source_id))[1].body == other


async def test_an_id_whose_first_body_was_refused_is_free_for_the_right_one(engine):
    wms = await partner(engine, "wms", "BLR_DS1")
    for body, status in ((b"{", 400), (json.dumps(snapshot("BLR_DS1", ("T", 2, 2))).encode(), 200)):
        assert (await wms.post("webhooks/stock", body, **wms.signed(body, "one"))).status_code == status


async def test_two_minutes_later_the_same_words_are_news_again(engine):
    till = await partner(engine, "petpooja", "k7x2m9qa")
    await till.post("webhooks/inventory", OFF)
    p = t.payload.c
    async with engine.begin() as connection:
        past = func.clock_timestamp() - timedelta(seconds=121)
        await connection.execute(update(t.payload).where(p.source_id == till.source_id).values(received_at=past))
    await till.post("webhooks/inventory", OFF)
    assert await till.payloads() == ["ACCEPTED", "ACCEPTED"]


async def test_the_same_words_of_another_order_and_of_another_store_are_news(engine):
    till = await partner(engine, "urbanpiper", "ST-1")

    async def put(rest: str, query: str, body: bytes) -> int:
        return (await till.client.put(f"{till.path(rest)}{query}", content=body, headers=till.proven(rest, body))).status_code

    ready = json.dumps({"new_status": "Food Ready"}).encode()
    for order in ("A-1", "A-1", "B-2"):
        assert await put(f"external/api/v1/orders/{order}/status", "", ready) == 200
    goods = json.dumps({"items": []}).encode()
    for store in ("ST-1", "ST-1", "ST-2"):
        assert await put("webhooks/menu", f"&store={store}", goods) == 200
    for store in ("ST-1", "ST-2"):
        assert await put(f"external/api/v1/inventory/locations/{store}", "", goods) == 200
    states = [state if state == "DUPLICATE" else "" for state in await till.payloads()]
    assert states == ["", "DUPLICATE", "", "", "DUPLICATE", "", "", ""], await till.failures()
    assert [entity for _, entity, _ in await till.instructions() if "A-1" in entity or "B-2" in entity] == [
        "ORDER:A-1",
        "ORDER:B-2",
    ]


async def test_what_has_nothing_against_it_is_kept_by_one_statement(engine):
    wms = await partner(engine, "wms", "BLR_DS1")
    wms = replace(wms, client=at(wms, known=KnownSources(60)))

    async def send(number: int) -> int:
        return (await wms.post("webhooks/stock", bodies[number], **wms.signed(bodies[number], f"number {number}"))).status_code

    bodies = [json.dumps(snapshot("BLR_DS1", ("T", one, one), ("U", one, one))).encode() for one in range(3)]
    assert await send(1) == 200  # who it is, and that it was seen
    said: list[str] = []

    def note(*call: object) -> None:
        said.append(str(call[2]))

    listen(engine.sync_engine, "before_cursor_execute", note)
    try:
        assert await send(2) == 200
    finally:
        remove(engine.sync_engine, "before_cursor_execute", note)
    assert [statement.partition("(")[0] for statement in said] == ["WITH kept AS \n"]
    i, p = t.instruction.c, t.payload.c
    rows = await wms.rows(
        select(i.ordinal, i.state, i.created_at, i.next_at, p.received_at, i.merchant_id, p.merchant_id.label("theirs"))
        .join(t.payload, p.id == i.payload_id)
        .where(i.source_id == wms.source_id)
        .order_by(i.id)
    )
    assert [row.ordinal for row in rows] == [0, 1, 0, 1]
    assert {row.state.value for row in rows} == {"WAITING"}
    assert all(row.created_at == row.next_at == row.received_at for row in rows)
    assert all(row.merchant_id == row.theirs for row in rows)
    assert await send(2) == 200
    assert await wms.payloads() == ["ACCEPTED", "ACCEPTED", "DUPLICATE"]
    assert len(await wms.instructions()) == 4


async def test_a_payload_is_not_kept_without_its_instructions(engine):
    wms = await partner(engine, "wms", "BLR_DS1")
    body = json.dumps(snapshot("BLR_DS1", ("T", 1, 1))).encode()
    assert (await wms.post("webhooks/stock", body, **wms.signed(body, "one"))).status_code == 200
    async with engine.begin() as connection:
        await connection.exec_driver_sql(
            f"ALTER TABLE instruction ADD CONSTRAINT no_room CHECK (source_id <> '{wms.source_id}') NOT VALID"
        )
    try:
        assert (await wms.post("webhooks/stock", body, **wms.signed(body, "two"))).status_code == 503
    finally:
        async with engine.begin() as connection:
            await connection.exec_driver_sql("ALTER TABLE instruction DROP CONSTRAINT no_room")
    assert await wms.payloads() == ["ACCEPTED"]


# ---------------------------------------------------------------- whose


async def test_an_unknown_token_is_not_found_and_kept_as_nobodys(engine):
    till = await partner(engine, "petpooja", "k7x2m9qa")
    wrong = till.path("webhooks/inventory").replace(till.secret.decode(), "x" * 32)
    answer = await till.client.post(wrong, json=OFF)
    assert (answer.status_code, answer.json()) == (404, {"code": "404", "status": "failed", "message": "not found"})
    row = (await kept(engine, "petpooja", source_id=None))[-1]
    assert (row.state.value, row.body, row.merchant_id) == ("REJECTED", json.dumps(OFF, separators=(",", ":")).encode(), None)
    assert "x" * 32 not in json.dumps(row.headers)
    f = t.failure.c
    (failure,) = await till.rows(select(t.failure).where(f.payload_id == row.id))
    assert (failure.kind.value, failure.state.value, failure.merchant_id) == ("AUTH", "OPEN", None)


async def test_another_outlets_id_is_refused_as_petpooja_expects(engine):
    till = await partner(engine, "petpooja", "k7x2m9qa")
    answer = await till.post("webhooks/inventory", {**OFF, "restID": "another"})
    assert (answer.status_code, answer.json()) == (400, {"code": "400", "status": "failed", "message": "Unknown restID"})
    assert [row.kind.value for row in await till.failures()] == ["AUTH"]


async def test_a_wrong_signature_an_unknown_source_and_a_stranger_hear_the_same(engine):
    wms = await partner(engine, "wms", "BLR_DS1")
    body = json.dumps(snapshot("BLR_DS1", ("T", 1, 1))).encode()
    wrong = await wms.post("webhooks/stock", body, **wms.signed(body, secret=b"w" * 32))
    path = wms.path("webhooks/stock")
    unsigned = await wms.client.post(path, content=body)
    unknown = await wms.client.post(path.replace(str(wms.source_id), str(new_id())), content=body, headers=wms.signed(body))
    nobody = await wms.client.post(path.partition("?")[0], content=body, headers=wms.signed(body))
    answers = {(answer.status_code, answer.text) for answer in (wrong, unsigned, unknown, nobody)}
    assert answers == {(401, '{"status":"failed","message":"the signature does not match"}')}
    assert await wms.payloads() == ["REJECTED", "REJECTED"]
    assert [(row.kind.value, row.state.value) for row in await wms.failures()] == [("AUTH", "OPEN")] * 2
    assert not await wms.instructions()


async def test_two_secrets_live_at_once_and_an_old_one_ends(engine):
    wms = await partner(engine, "wms", "BLR_DS1")
    new = secrets.token_bytes(32)
    async with unit_of_work(engine) as uow:
        await rotate_secret(wms.source_id, NewSecret(sealed=SEALS.seal(new)), wms.shop.owner, uow)
    for n, secret in enumerate((wms.secret, new)):
        body = json.dumps(snapshot("BLR_DS1", ("T", n, n))).encode()
        assert (await wms.post("webhooks/stock", body, **wms.signed(body, secret=secret))).status_code == 200
    s = t.source_secret.c
    async with engine.begin() as connection:
        ended = update(t.source_secret).where(s.source_id == wms.source_id, s.not_after.is_not(None))
        await connection.execute(ended.values(not_after=func.clock_timestamp()))
    body = json.dumps(snapshot("BLR_DS1", ("T", 9, 9))).encode()
    assert (await wms.post("webhooks/stock", body, **wms.signed(body, secret=wms.secret))).status_code == 401
    assert (await wms.post("webhooks/stock", body, **wms.signed(body, secret=new))).status_code == 200


async def test_a_source_is_looked_up_once_a_second_and_again_before_it_is_refused(engine):
    wms = await partner(engine, "wms", "BLR_DS1")
    known = KnownSources(keep_s=60)
    client, new = at(wms, known=known), secrets.token_bytes(32)

    async def post(n, secret):
        body = json.dumps(snapshot("BLR_DS1", ("T", n, n))).encode()
        headers = wms.signed(body, secret=secret)
        return (await client.post(wms.path("webhooks/stock"), content=body, headers=headers)).status_code

    assert await post(1, wms.secret) == 200
    async with unit_of_work(engine) as uow:
        await rotate_secret(wms.source_id, NewSecret(sealed=SEALS.seal(new)), wms.shop.owner, uow)
    assert (await post(2, new), await post(3, wms.secret), await post(4, b"w" * 32)) == (200, 200, 401)


async def test_from_an_address_that_is_not_on_the_list_nothing_is_taken(engine):
    till = await partner(engine, "petpooja", "k7x2m9qa")
    async with engine.begin() as connection:
        await connection.execute(update(t.source).where(t.source.c.id == till.source_id).values(ip_allow=["10.1.0.0/16", "::1"]))
    assert (await till.post("webhooks/inventory", OFF)).status_code == 404
    assert (await at(till, remote="10.1.2.3").post(till.path("webhooks/inventory"), json=OFF)).status_code == 200
    assert [row.remote for row in await kept(engine, "petpooja", source_id=till.source_id)] == ["127.0.0.1", "10.1.2.3"]


async def test_a_source_that_is_switched_off_is_not_there(engine):
    till = await partner(engine, "petpooja", "k7x2m9qa")
    async with engine.begin() as connection:
        await connection.execute(update(t.source).where(t.source.c.id == till.source_id).values(enabled=False))
    assert (await till.post("webhooks/inventory", OFF)).status_code == 404


@pytest.mark.parametrize(
    ("path", "provider", "verdict"),
    [
        ("pos/nobody/x/webhooks/menu", "unknown", "NO_DOOR"),
        ("erp/petpooja/x/webhooks/menu", "petpooja", "NO_DOOR"),
        ("pos/petpooja/x/webhooks/menus", "petpooja", "NO_DOOR"),
        ("erp/wms/x/webhooks/stock", "wms", "UNKNOWN_SENDER"),
    ],
)
async def test_what_is_no_door_is_not_found_and_counted(engine, path, provider, verdict):
    till, figures = await partner(engine, "petpooja", "k7x2m9qa"), Counted()
    assert (await at(till, figures=figures).post(f"/v1/integrations/{path}", json={})).status_code == 404
    assert figures.told == {(provider, verdict): 1}


async def test_a_door_is_posted_to(engine):
    till = await partner(engine, "petpooja", "k7x2m9qa")
    answer = await till.client.get(till.path("webhooks/menu"))
    assert (answer.status_code, answer.headers["allow"]) == (405, "POST, PUT")


# ---------------------------------------------------------------- what is kept


async def test_headers_are_kept_without_what_proves_anything(engine):
    wms = await partner(engine, "wms", "BLR_DS1")
    body = json.dumps(snapshot("BLR_DS1", ("T", 1, 1))).encode()
    signed = wms.signed(body)
    given = {"Authorization": "Bearer abc", "X-Api-Token": "tell-nobody", "X-Trace": "t1"}
    await wms.post("webhooks/stock", body, **signed, **given)
    (row,) = await kept(engine, "wms", source_id=wms.source_id)
    shown = json.dumps(row.headers)
    assert not [secret for secret in (signed["webhook-signature"], "abc", "tell-nobody") if secret in shown]
    assert (row.headers["x-trace"], row.headers["webhook-id"]) == ("t1", signed["webhook-id"])
    assert (row.body, row.size, row.correlation_id != "") == (body, len(body), True)


async def test_of_what_nobody_signed_the_beginning_is_kept_and_no_more_than_the_budget(engine):
    till = await partner(engine, "petpooja", "k7x2m9qa")
    budget, now = Budget(a_minute=3), datetime.now(UTC)
    client = at(till, rejected=budget, remote="203.0.113.7", clock=lambda: now)  # of one minute
    path = till.path("webhooks/menu").replace(till.secret.decode(), "y" * 32)
    answers = {(await client.post(path, content=b"z" * 9000)).status_code for _ in range(5)}
    assert answers == {404}
    rows = await kept(engine, "petpooja", remote="203.0.113.7")
    assert [(len(row.body), row.size) for row in rows] == [(4096, 9000)] * 3
    assert budget.beyond == 2


@pytest.mark.parametrize("streamed", [False, True])
async def test_what_is_too_long_is_refused_unread(engine, streamed):
    till = await partner(engine, "petpooja", "k7x2m9qa")

    async def parts():
        for _ in range(11):
            yield b" " * (BODY_BYTES // 10)

    content = parts() if streamed else b" " * (BODY_BYTES + 1)
    answer = await till.client.post(till.path("webhooks/inventory"), content=content)
    assert (answer.status_code, answer.json()) == (413, {"code": "413", "status": "failed", "message": "too large"})
    (row,) = await kept(engine, "petpooja", source_id=till.source_id)
    assert (row.state.value, row.body, row.size) == ("REJECTED", b" " * 4096, BODY_BYTES + 1)
    (failure,) = await till.failures()
    assert (failure.kind.value, failure.state.value, failure.message) == ("VALIDATION", "OPEN", "larger than 1 MB")


class Sending:
    """A body of which so many pieces were taken."""

    def __init__(self, piece: bytes) -> None:
        self.piece, self.taken = piece, 0

    async def pieces(self):
        while True:
            self.taken += 1
            yield self.piece


async def test_of_a_menu_that_is_too_long_the_beginning_is_kept_within_the_budget_and_nothing_is_believed(engine):
    shop, figures = await partner(engine, "shopify"), Counted()
    client = at(shop, figures=figures, rejected=Budget(a_minute=2))
    mine, said = shop.path("webhooks/menu"), b'{"id": 1}'.ljust(4096)
    headers = {"content-length": str(2**40), **shop.proven("webhooks/menu", said)}  # which is no proof of the whole
    for path in (mine, mine, mine, mine.replace(str(shop.source_id), str(new_id()))):
        sending = Sending(said)
        answer = await client.post(path, content=sending.pieces(), headers=headers)
        assert (answer.status_code, answer.json()["message"]) == (413, "too large")
        assert sending.taken <= 2
    assert figures.told == {("shopify", "TOO_LARGE"): 2, ("shopify", "BEYOND_BUDGET"): 1, ("shopify", "UNKNOWN_SENDER"): 1}
    rows = await kept(engine, "shopify", source_id=shop.source_id)
    assert [(row.state.value, row.body, row.size) for row in rows] == [("REJECTED", said, 2**31 - 1)] * 2
    one, _ = await shop.failures()
    assert (one.kind.value, one.message) == ("VALIDATION", "larger than 10 MB")
    with pytest.raises(Refused) as no:
        async with unit_of_work(engine) as uow:
            await replay_failures([one.id], shop.shop.owner, uow)
    assert isinstance(no.value.refusal, Conflict)
    assert "only the beginning of it was kept" in no.value.refusal.message
    (source,) = await shop.rows(select(t.source.c.last_seen_at).where(t.source.c.id == shop.source_id))
    assert source.last_seen_at is None  # whoever it was has proven nothing


async def test_a_long_menu_is_kept_at_once_and_read_by_the_worker(engine):
    till = await partner(engine, "petpooja", "k7x2m9qa")
    pushed = menu("k7x2m9qa", *(dish(str(n), itemdescription="x" * 200) for n in range(1000)))
    answer = await till.post("webhooks/menu", pushed)
    assert (answer.status_code, await till.payloads(), await till.instructions()) == (200, ["ACCEPTED"], [])
    await till.worker.drain()
    assert await till.payloads() == ["APPLIED"], [(row.kind, row.message) for row in await till.failures()]
    assert len(await till.listings()) == 1000


async def test_a_long_body_that_says_nothing_fails_late_and_is_read_again_when_replayed(engine, monkeypatch):
    till = await partner(engine, "petpooja", "k7x2m9qa")
    pushed = menu("k7x2m9qa", *(dish(str(n), itemdescription="x" * 200) for n in range(1000)))
    real = type(till.inbound).translate

    def broken(*arguments):
        raise KeyError("a field nobody thought of")

    monkeypatch.setattr(type(till.inbound), "translate", broken)
    assert (await till.tell("webhooks/menu", pushed)).status_code == 200
    assert await till.payloads() == ["FAILED"]
    (failure,) = await till.failures("VALIDATION")
    monkeypatch.setattr(type(till.inbound), "translate", real)
    async with unit_of_work(engine) as uow:
        await replay_failures([failure.id], till.shop.owner, uow)
    await till.worker.drain()
    assert await till.payloads() == ["APPLIED"]
    assert [row.state.value for row in await till.failures()] == ["RESOLVED"]


NUL = event("item.upserted", sku="TEA-250", title="Tea", attributes={"na\0me": "x"})


async def test_the_name_of_an_attribute_that_no_database_keeps_is_a_failure_and_the_payload_is_kept(engine):
    wms = await partner(engine, "wms", "BLR_DS1")
    body = json.dumps(NUL).encode()
    answer = await wms.post("webhooks/stock", body)
    assert (answer.status_code, answer.json()["message"]) == (400, "ValueError: characters that are no text")
    long = json.dumps({**NUL, "padding": "x" * 300_000}).encode()
    assert (await wms.tell("webhooks/stock", long)).status_code == 200  # kept at once, read later
    assert await wms.payloads() == ["REJECTED", "FAILED"]
    assert [(row.kind.value, row.message) for row in await wms.failures()] == [
        ("VALIDATION", "ValueError: characters that are no text")
    ] * 2
    assert [row.body for row in await kept(engine, "wms", source_id=wms.source_id)] == [body, long]
    await wms.tell("webhooks/stock", event("item.upserted", sku="NEW", title="New", attributes={}))
    assert (await wms.payloads())[-1] == "APPLIED"


async def test_what_crashes_the_reader_is_given_up_stops_nobody_and_is_read_again_when_replayed(engine, monkeypatch):
    wms, other = await partner(engine, "wms", "BLR_DS1"), await partner(engine, "wms", "BLR_DS2")
    monkeypatch.setattr(intake, "keepable", lambda value: True)  # a hole nobody has found yet: the database finds it
    long = json.dumps({**NUL, "padding": "x" * 300_000}).encode()
    await wms.post("webhooks/stock", long)
    fine = {**event("item.upserted", sku="NEW", title="New", attributes={}), "padding": "x" * 300_000}
    await other.post("webhooks/stock", fine)
    await other.worker.drain()
    assert (await wms.payloads(), await other.payloads()) == (["FAILED"], ["APPLIED"])
    (failure,) = await wms.failures()
    assert (failure.kind.value, failure.state.value, failure.merchant_id) == ("VALIDATION", "OPEN", wms.shop.merchant_id)
    real = type(wms.inbound).translate

    def without(inbound, call, source):
        return real(inbound, replace(call, body=call.body.replace(b"\\u0000", b"")), source)

    monkeypatch.setattr(type(wms.inbound), "translate", without)
    for _ in range(2):  # asked for twice, it is done once
        async with unit_of_work(engine) as uow:
            await replay_failures([failure.id], wms.shop.owner, uow)
    await wms.worker.drain()
    assert await wms.payloads() == ["APPLIED"]
    assert [(row.state.value, row.replays) for row in await wms.failures()] == [("RESOLVED", 2)]
    assert [row[2] for row in await wms.instructions()] == ["APPLIED"] * 2


async def test_what_was_refused_is_read_again_when_replayed_but_not_what_nobody_signed(engine, monkeypatch):
    wms = await partner(engine, "wms", "BLR_DS1")
    body = json.dumps(event("store.status", location="BLR_DS1", open=False)).encode()
    monkeypatch.setattr(type(wms.inbound), "translate", lambda *arguments: 1 / 0)
    assert (await wms.post("webhooks/stock", body)).status_code == 400
    monkeypatch.undo()
    await wms.post("webhooks/stock", body, **wms.signed(body, secret=b"w" * 32))
    broken, unsigned = await wms.failures()
    async with unit_of_work(engine) as uow:
        await replay_failures([broken.id], wms.shop.owner, uow)
    await wms.worker.drain()
    assert await wms.payloads() == ["APPLIED", "REJECTED"]
    with pytest.raises(Refused) as no:
        async with unit_of_work(engine) as uow:
            await replay_failures([unsigned.id], Actor(ActorKind.SUPPORT, (await account(engine)).id), uow)
    assert isinstance(no.value.refusal, Conflict)
    assert "nobody has proven whose it is" in no.value.refusal.message


# ---------------------------------------------------------------- when things break


async def test_without_a_database_it_is_to_be_sent_again(engine):
    till = await partner(engine, "petpooja", "k7x2m9qa")
    nowhere = create_async_engine("postgresql+asyncpg://nobody@127.0.0.1:1/none")
    client = client_of(Door(INBOUNDS, Reads(nowhere), lambda: unit_of_work(nowhere), SEALS))
    answer = await client.post(till.path("webhooks/menu"), json={})
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "5")
    assert answer.json() == {"success": "0", "message": "try again later"}
    await nowhere.dispose()


async def test_a_commit_that_fails_is_no_acknowledgement(engine):
    till = await partner(engine, "petpooja", "k7x2m9qa")

    class Lost:
        async def __aenter__(self):
            self.inner = unit_of_work(engine)
            return await self.inner.__aenter__()

        async def __aexit__(self, *error):
            await self.inner.__aexit__(ConnectionError, ConnectionError("lost"), None)
            raise ConnectionError("lost")

    answer = await at(till, unit_of_work=Lost).post(till.path("webhooks/inventory"), json=OFF)
    assert answer.status_code == 503
    assert not await till.payloads()


async def test_one_source_takes_turns_with_itself(engine):
    till = await partner(engine, "petpooja", "k7x2m9qa")
    client = at(till, in_flight=InFlight(at_once=1, most_waiting=2))
    path = till.path("webhooks/inventory")
    answers = await asyncio.gather(*(client.post(path, json={**OFF, "itemID": [str(n)]}) for n in range(12)))
    statuses = [answer.status_code for answer in answers]
    assert set(statuses) == {200, 429}
    assert len(await till.payloads()) == statuses.count(200)


FIELDS = (
    *("restID", "itemID", "inStock", "restaurants", "items", "details", "type", "data", "lines", "sku", "store_status"),
    *("turn_on_time", "timestamp", "version", "menusharingcode", "available"),
)
DOORS = ("petpooja webhooks/menu", "petpooja webhooks/inventory", "petpooja webhooks/store-status", "wms webhooks/stock")
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=10),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(FIELDS), inner, max_size=6),
    max_leaves=12,
)
ANSWERED: Counter[str] = Counter()
BODIES = st.binary(max_size=200) | JSON.map(lambda told: json.dumps(told).encode())


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(body=BODIES, door=st.sampled_from(DOORS))
async def test_no_body_however_broken_is_more_than_refused(engine, senders, body, door):
    provider, rest = door.split()
    sender = senders[provider]
    answer = await sender.post(rest, body)
    ANSWERED[str(answer.status_code)] += 1
    assert answer.status_code in (200, 400), answer.text
    assert answer.json()


@pytest.fixture(scope="module")
async def senders(engine):
    show("broken webhooks", answered=ANSWERED)
    return {provider: await partner(engine, provider, "k7x2m9qa") for provider in ("petpooja", "wms")}
