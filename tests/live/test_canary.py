"""What is private is planted everywhere it may be said, and looked for everywhere it must not come out."""

import asyncio
import base64
import json
import os
import re
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx2
import pytest
import pytest_asyncio
from sqlalchemy import make_url, text
from sqlalchemy.ext.asyncio import AsyncEngine
from websockets.exceptions import ConnectionClosed

from adapters.seals import AesSeals
from domain.identity import ActorKind
from launch.redis import Redis
from tests.figures import show
from tests.live.test_one_order import PLACE
from tests.live.town import SEALING, SIGNING, Client, Errors, Town, town
from tests.live.trade import FILL, until
from tests.partners import event, partner
from tests.world import account, listing, shop

SESSION = "{ __typename ... on Session { accessToken refreshToken } ... on Refusal { code message } }"
SIGN_UP = f"""mutation($name: String!, $phone: String!, $password: String!) {{
  a: signUp(name: $name, phone: $phone, password: $password) {SESSION} }}"""
SIGN_IN = f"mutation($login: String!, $password: String!) {{ a: signIn(login: $login, password: $password) {SESSION} }}"
VERIFY = f"mutation($phone: String!, $code: String!) {{ a: verifyOtp(phone: $phone, code: $code) {SESSION} }}"
REFRESH = f"mutation($token: String!) {{ a: refreshSession(refreshToken: $token) {SESSION} }}"
QUOTE = """mutation($address: AddressInput) {
  a: quoteCart(address: $address) { __typename ... on Quote { id } ... on Refusal { code message } } }"""
SAVE = "mutation($address: AddressInput!) { a: saveAddress(input: $address) { id } }"
CANCEL = """mutation($id: ID!, $note: String) {
  a: cancelOrder(orderId: $id, reason: OTHER, note: $note) { __typename ... on Refusal { message } } }"""
ADJUST = """mutation($id: ID!, $units: Int!, $note: String!, $key: String!) {
  a: adjustStock(listingId: $id, units: $units, note: $note, idempotencyKey: $key) { version } }"""
REPORT = "mutation($p: [PositionInput!]!) { a: reportPositions(positions: $p) { accepted } }"
CONNECT = (
    "mutation($id: ID!, $provider: String!) { a: connectSource(merchantId: $id, provider: $provider) { secret endpoints { url } } }"
)
OTP_LINE = re.compile(r"✉  the code for (\S+) is (\d{6})")
"""By design: outside production there is nobody to send a code, so whoever runs it reads it there."""


@dataclass
class Heard:
    """Everything that was planted, and every error that was answered."""

    planted: dict[str, str] = field(default_factory=dict)
    errors: list[str] = field(default_factory=list)

    def plant(self, name: str, value: str) -> str:
        self.planted[name] = value
        return value

    def found_in(self, text: str) -> list[str]:
        """By name: a value as a whole word of its own."""
        return [name for name, value in self.planted.items() if re.search(rf"(?<![\w-]){re.escape(value)}(?![\w-])", text)]

    async def ask(self, client: Client, query: str, **variables: Any) -> Any:
        """The answer of field `a`, or None."""
        return self.note(await client.post(query, **variables))

    def note(self, answer: httpx2.Response) -> Any:
        told = answer.json()
        if told.get("errors"):
            self.errors.append(json.dumps(told["errors"], ensure_ascii=False))
        one = (told.get("data") or {}).get("a")
        if isinstance(one, dict) and "message" in one:
            self.errors.append(one["message"])
        return one


def read(log: Path) -> str:
    return log.read_text(errors="replace")


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def running(
    database_url: str, redis_url: str, engine: AsyncEngine, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Town]:
    log = Path(tmp_path_factory.mktemp("canary")) / "log"
    async with town(database_url, redis_url, engine, log, HAAT_LOG_LEVEL="debug") as running:
        yield running


async def come_and_go(running: Town, engine: AsyncEngine, heard: Heard) -> Client:
    """Accounts, sessions and codes, right and wrong ones."""
    nobody = running.client(None)
    name, phone = heard.plant("name", "Zephyrine Quillfeather"), heard.plant("phone", "+919812304567")
    password, wrong = heard.plant("password", "marmalade-Orbit-93"), heard.plant("wrong password", "Quince-7-tangled")
    email = heard.plant("e-mail", "zephyrine.q@quillfeather.example")
    await heard.ask(nobody, SIGN_UP, name=name, phone=phone, password=heard.plant("weak password", "Xylo8"))
    session = await heard.ask(nobody, SIGN_UP, name=name, phone=phone, password=password)
    await heard.ask(nobody, SIGN_UP, name=name, phone=phone, password=wrong)
    await heard.ask(nobody, SIGN_UP, name=name, phone=heard.plant("no phone", "98-zz-7731902"), password=password)
    for login in (phone, email, name):
        await heard.ask(nobody, SIGN_IN, login=login, password=wrong)
    await account(engine, email=email, phone=heard.plant("other phone", "+919812304568"))
    heard.plant("access token", session["accessToken"])
    refresh = heard.plant("refresh token", session["refreshToken"])
    renewed = await heard.ask(nobody, REFRESH, token=refresh)
    heard.plant("second refresh token", renewed["refreshToken"])
    await heard.ask(nobody, REFRESH, token=heard.plant("no refresh token", "Qk3vX9mZ0aRr5tYw7uPl2sDf8gHj4kLc"))
    await nobody.post("mutation($phone: String!) { requestOtp(phone: $phone) }", phone=phone)

    async def told() -> bool:
        return bool(OTP_LINE.search(read(running.log)))

    await until(told, 10)
    [(_, code)] = OTP_LINE.findall(read(running.log))
    await heard.ask(nobody, VERIFY, phone=phone, code=heard.plant("wrong code", str((int(code) + 371) % 1_000_000).zfill(6)))
    session = await heard.ask(nobody, VERIFY, phone=phone, code=heard.plant("code", code))
    heard.plant("third access token", session["accessToken"])

    again = heard.plant("phone of two", "+919812304572")
    await asyncio.gather(*(heard.ask(nobody, SIGN_UP, name=name, phone=again, password=password) for _ in range(6)))

    # What is no document, no value, no token.
    heard.note(await nobody.post(f'mutation {{ signIn(login: "{email}" "{password}") {{ __typename }} }}'))
    await heard.ask(nobody, SIGN_UP, name=[name], phone={"phone": phone}, password=[[password]])
    await nobody.post(f'mutation {{ signIn(login: "{email}", password: {wrong}) {{ __typename }} }}')
    heard.note(
        await nobody.post(f'mutation {{ signIn(login: "{email}", password: "{password}", nothing: "{name}") {{ __typename }} }}')
    )
    heard.note(await nobody.http.post(f"{nobody.url}/graphql", content=f'{{"query": "{password}"'.encode()))
    heard.note(await nobody.http.get(f"{nobody.url}/graphql", params={"query": f'{{ search(text: "{name}") {{ nope }} }}'}))
    jwt = heard.plant("no access token", session["accessToken"][:-12] + "AAAAbbbb1234")
    await heard.ask(running.client(jwt), "{ viewer { id } }")
    with pytest.raises((ConnectionClosed, AssertionError)):
        async with running.client(jwt).socket():
            pass
    return running.client(session["accessToken"])


async def order(running: Town, engine: AsyncEngine, heard: Heard, buyer: Client) -> None:
    """An address, a quote, a card, a note; and what is wrong with each."""
    mine = await shop(engine)
    tea = await listing(engine, mine, 50)
    point = {"lat": 12.9344517, "lng": 77.6123498}
    heard.plant("latitude", str(point["lat"]))
    heard.plant("longitude", str(point["lng"]))
    address = {
        "line1": heard.plant("line 1", "7 Wolfram Crescent"),
        "line2": heard.plant("line 2", "behind Obelisk Dairy"),
        "city": "Bengaluru",
        "postalCode": heard.plant("postal code", "560947"),
        "point": point,
        "phone": heard.plant("address's phone", "+919812304569"),
    }
    await heard.ask(buyer, FILL, l=[{"listingId": str(tea), "quantity": 2}])
    await heard.ask(buyer, SAVE, address=address)
    for wrong in (
        {"point": {"lat": 512.9344517, "lng": 77.6123498}},
        {"phone": "98-zz-7731902"},
        {"point": address["line1"]},
        {"line3": address["line1"]},
    ):
        await heard.ask(buyer, SAVE, address={**address, **wrong})
        await heard.ask(buyer, QUOTE, address={**address, **wrong})
    quote = await heard.ask(buyer, QUOTE, address=address)
    purchase = (await buyer.ask(PLACE, quote=quote["id"], method="CARD", key="k1"))["placeOrder"]
    secret = heard.plant("client secret", purchase["payment"]["clientSecret"])
    await buyer.http.post(f"{running.url()}/v1/payments/sandbox/pay/{secret}/approve")
    await buyer.http.post(f"{running.url()}/v1/payments/sandbox/pay/{secret}x/approve")
    note = heard.plant("note", "the gate's word is Halcyon")
    await heard.ask(buyer, CANCEL, id=purchase["orders"][0]["id"], note=note)
    await heard.ask(buyer, CANCEL, id=purchase["orders"][0]["id"], note=note)
    await heard.ask(buyer, CANCEL, id=note, note=note)
    seller = await running.api(mine.owner)
    for units in (2**31 - 1, 2**31 - 1, 2**40):
        await heard.ask(seller, ADJUST, id=str(tea), units=units, note=note, key=str(units))
    for provider in ("wms", "petpooja", note):
        made = await heard.ask(seller, CONNECT, id=str(mine.merchant_id), provider=provider)
        if made:
            heard.plant(f"{provider}'s secret", made["secret"])


async def ride(running: Town, engine: AsyncEngine, heard: Heard) -> None:
    rider = await account(
        engine, ActorKind.RIDER, name=heard.plant("rider", "Thaddeus Wexcombe"), phone=heard.plant("rider's phone", "+919812304570")
    )
    courier = await running.api(rider)
    heard.plant("rider's token", courier.token or "")
    await heard.ask(courier, "mutation { a: setDuty(onDuty: true) { onDuty } }")
    lat, lng = 12.9787651, 77.5712349
    heard.plant("rider's latitude", str(lat))
    heard.plant("rider's longitude", str(lng))
    device = heard.plant("device", "device-Wexcombe-1")
    for seq, wrong in enumerate(
        ({}, {"point": {"lat": lat, "lng": 7712.5712349}}, {"at": f"{lat},{lng}"}, {"headingDegrees": 5000}, {"seq": device})
    ):
        here = {"deviceId": device, "seq": seq, "point": {"lat": lat, "lng": lng}, "at": datetime.now(UTC).isoformat(), **wrong}
        await heard.ask(courier, REPORT, p=[here])
    async with courier.socket() as socket:
        with pytest.raises(Errors):
            await anext(socket.frames("subscription($id: ID!) { riderPosition(orderId: $id) { reset } }", id=device))


async def call(running: Town, engine: AsyncEngine, heard: Heard) -> None:
    """Webhooks: good, unsigned, of nobody, broken, and of a thing that cannot be done."""
    seals = AesSeals([SEALING])
    async with httpx2.AsyncClient(base_url=running.url(), timeout=30) as client:
        wms = await partner(engine, "wms", "OUT-1", seals=seals, client=client)
        till = await partner(engine, "petpooja", "OUT-1", seals=seals, client=client)
        heard.plant("source's secret", base64.b64encode(wms.secret).decode())
        heard.plant("source's secret in hex", wms.secret.hex())
        token = heard.plant("token in the path", till.secret.decode())
        guest = {"name": heard.plant("guest", "Ottoline Brackenbury"), "phone": heard.plant("guest's phone", "+919812304571")}
        said = json.dumps(event("stock.adjusted", location="OUT-1", sku="none", delta="x", customer=guest)).encode()
        signed = wms.signed(said)
        heard.plant("signature", signed["webhook-signature"].partition(",")[2])
        answers = [
            await wms.post("webhooks/stock", said, **signed),
            await wms.post("webhooks/stock", said, **wms.signed(said, secret=b"w" * 32)),
            await wms.post("webhooks/stock", json.dumps(guest)[:-3].encode()),
            await wms.post("webhooks/stock", event("price.updated", location="OUT-1", sku=guest["name"], price=guest["phone"])),
            await wms.post(
                "webhooks/stock", event("stock.adjusted", location="OUT-1", sku=guest["name"], delta="1", reason=guest["phone"])
            ),
            await till.post("webhooks/inventory", {"restID": guest["phone"], "customer": guest}),
            await till.post("webhooks/inventory", {"restID": "OUT-1", "inStock": guest["name"], "itemID": [guest["phone"]]}),
            await till.post("webhooks/menu", {"restaurants": guest["name"], "items": guest}),
            await till.post("webhooks/menu", json.dumps(guest).encode() * 3000),
            await client.post(
                till.path("webhooks/menu").replace(token, heard.plant("no token in the path", token[::-1])), json=guest
            ),
            await client.get(till.path("webhooks/menu")),
            await client.post("/v1/payments/sandbox/webhooks", json=guest, headers={"signature": heard.planted["signature"]}),
        ]
        heard.errors += [answer.text for answer in answers if not answer.is_success]
        assert len(heard.errors) > 8


async def break_down(running: Town, engine: AsyncEngine, heard: Heard, buyer: Client) -> None:
    """A bug in every room: what they ask the database for is not there."""
    tables = ("user_account", "address", "cart_line", "payload", "rider", "source")
    async with engine.begin() as connection:
        for table in tables:
            await connection.execute(text(f"ALTER TABLE {table} RENAME TO {table}_gone"))
    said = {name: heard.planted[name] for name in ("name", "phone", "password", "line 1", "note", "token in the path")}
    for query, variables in (
        (SIGN_UP, {"name": said["name"], "phone": "+919812304573", "password": said["password"]}),
        (SIGN_IN, {"login": said["phone"], "password": said["password"]}),
        (VERIFY, {"phone": said["phone"], "code": heard.planted["code"]}),
        (
            SAVE,
            {"address": {"line1": said["line 1"], "city": "B", "postalCode": "560947", "point": {"lat": 12.9344517, "lng": 77.6}}},
        ),
    ):
        await heard.ask(buyer, query, **variables)
    async with httpx2.AsyncClient(base_url=running.url()) as client:
        answer = await client.post(f"/v1/integrations/pos/petpooja/{said['token in the path']}/webhooks/menu", json=said)
    heard.errors.append(answer.text)
    assert answer.status_code == 503


async def test_nothing_private_comes_out_in_logs_figures_or_errors(
    running: Town, engine: AsyncEngine, database_url: str, redis_server: Redis, request: pytest.FixtureRequest
):
    heard = Heard()
    heard.plant("database's password", make_url(database_url).password or "a server that asks for no password")
    heard.plant("redis's password", redis_server.password)
    heard.plant("signing key", base64.b64encode(SIGNING).decode())
    heard.plant("sealing key", base64.b64encode(SEALING).decode())
    buyer = await come_and_go(running, engine, heard)
    await order(running, engine, heard, buyer)
    await ride(running, engine, heard)
    await call(running, engine, heard)
    await break_down(running, engine, heard, buyer)
    places = (running.url(), *(f"http://{place}" for place in re.findall(r"work on (\S+)", read(running.log))))
    figures = [(await buyer.http.get(f"{place}/metrics")).text for place in places]
    assert len(figures) == 2
    assert all("haat_" in text for text in figures)
    for name in ("server", "work"):
        running.processes[name].stop()  # whatever it has still to say
    logs = {"ours": OTP_LINE.sub("", read(running.log)), "redis": read(redis_server.log)}
    if not os.environ.get("HAAT_TEST_DATABASE_URL"):
        logs["postgres"] = read(request.getfixturevalue("postgres").log)
    found = {
        **{place: heard.found_in(text) for place, text in logs.items()},
        "figures": heard.found_in("".join(figures)),
        "errors": [(name, text) for text in heard.errors for name in heard.found_in(text)],
    }
    lines = len(logs["ours"].splitlines())
    show("canary", planted=len(heard.planted), lines_of_log=lines, errors=len(heard.errors), found=found)
    assert "Traceback" not in logs["ours"]
    assert '"exception"' in logs["ours"]
    assert {"phone", "code"} <= set(heard.found_in(read(running.log))), "what is looked for is found where it is"
    assert lines > 20
    assert len(heard.errors) > 20
    assert not any(found.values()), found
