"""The gateway's word at our door: once is enough, and twice is the same."""

import asyncio
from datetime import UTC, datetime, timedelta
from functools import partial

import httpx2
import pytest
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from starlette.applications import Starlette

from adapters.gateways import SandboxGateway
from db import payments
from db import tables as t
from db.ids import new_id
from db.reads import Reads
from db.unit_of_work import unit_of_work
from domain import signatures
from domain.money import Money
from domain.payments import PaymentStatus
from tests.db.test_purchases import CARD, do, placed, quoted
from tests.world import account, listing, shop
from webhooks.payments import PaymentDoor
from webhooks.sandbox import SandboxPage

GATEWAY = SandboxGateway(b"k" * 32)


@pytest.fixture
async def client(engine: AsyncEngine):
    door = PaymentDoor({"sandbox": GATEWAY}, partial(unit_of_work, engine))
    transport = httpx2.ASGITransport(Starlette(routes=door.routes()))
    async with httpx2.AsyncClient(transport=transport, base_url="http://haat.test") as one:
        yield one


async def a_payment(engine: AsyncEngine) -> payments.PaymentRow:
    customer = await account(engine)
    tea = await listing(engine, await shop(engine), 9)
    purchase_id = await placed(engine, customer, await quoted(engine, customer, (tea, 1)), CARD)
    [payment] = await payments.payments_of(Reads(engine), [purchase_id])
    begun = await GATEWAY.begin(payment.id, payment.amount, CARD)
    await do(engine, lambda uow: uow.payments.begun(payment.id, begun))
    return payment


async def kept(engine: AsyncEngine, message_id: str) -> list[tuple[str, str | None]]:
    """The state of each payload that says this, and the kind of its failure."""
    p, f = t.payload.c, t.failure.c
    async with engine.connect() as connection:
        found = await connection.execute(
            select(p.state, f.kind, p.body).outerjoin(t.failure, f.payload_id == p.id).where(p.provider == "sandbox").order_by(p.id)
        )
        return [(row.state.value, row.kind and row.kind.value) for row in found if message_id.encode() in row.body]


async def status_of(engine: AsyncEngine, payment: payments.PaymentRow) -> PaymentStatus:
    [now] = await payments.payments_of(Reads(engine), [payment.purchase_id])
    return now.status


async def test_the_same_event_many_times_is_one_capture_and_duplicates(engine, client):
    payment = await a_payment(engine)
    sent = [
        GATEWAY.webhook(payment.id, payment.amount, captured=True, now=datetime.now(UTC) + timedelta(seconds=n)) for n in range(5)
    ]
    answers = await asyncio.gather(*(client.post("/v1/payments/sandbox/webhooks", content=b, headers=h) for b, h in sent))
    assert [answer.status_code for answer in answers] == [200] * 5
    assert await status_of(engine, payment) is PaymentStatus.CAPTURED
    assert sorted(await kept(engine, str(payment.id)), key=str) == [("APPLIED", None)] + [("DUPLICATE", "DUPLICATE")] * 4


async def test_other_news_under_the_same_id_is_not_believed(engine, client):
    payment = await a_payment(engine)
    body, headers = GATEWAY.webhook(payment.id, payment.amount, captured=False, now=datetime.now(UTC))
    await client.post("/v1/payments/sandbox/webhooks", content=body, headers=headers)
    other, _ = GATEWAY.webhook(payment.id, payment.amount, captured=True, now=datetime.now(UTC))
    id, at = headers["webhook-id"], headers["webhook-timestamp"]
    signed = {**headers, "webhook-signature": signatures.sign(GATEWAY.key, id, int(at), other)}
    assert (await client.post("/v1/payments/sandbox/webhooks", content=other, headers=signed)).status_code == 200
    assert await status_of(engine, payment) is PaymentStatus.FAILED
    assert await kept(engine, str(payment.id)) == [("APPLIED", None), ("FAILED", "VALIDATION")]


async def test_what_could_not_be_done_is_tried_when_it_is_said_again(engine, client):
    nobodys = new_id()
    body, headers = GATEWAY.webhook(nobodys, Money(100, "INR"), captured=True, now=datetime.now(UTC))
    for _ in range(2):
        assert (await client.post("/v1/payments/sandbox/webhooks", content=body, headers=headers)).status_code == 200
    assert await kept(engine, str(nobodys)) == [("FAILED", "PROCESSING")] * 2


def unlike(headers: dict[str, str]) -> dict[str, str]:
    return {**headers, "webhook-signature": "v1,AAAA"}


@pytest.fixture
async def without_a_database():
    """The door and the sandbox's page, whose database is away."""

    async def send(*what) -> int:
        raise AssertionError("nothing is to be said")

    nowhere = create_async_engine("postgresql+asyncpg://nobody@127.0.0.1:1/none")
    door = PaymentDoor({"sandbox": GATEWAY}, partial(unit_of_work, nowhere))
    page = SandboxPage(Reads(nowhere), GATEWAY, send)
    transport = httpx2.ASGITransport(Starlette(routes=[*door.routes(), *page.routes()]))
    async with httpx2.AsyncClient(transport=transport, base_url="http://haat.test") as one:
        yield one
    await nowhere.dispose()


@pytest.mark.parametrize("said", ["in order", "forged", "not understood"])
async def test_without_a_database_everybody_is_to_say_it_again(without_a_database, said):
    body, headers = GATEWAY.webhook(new_id(), Money(100, "INR"), captured=True, now=datetime.now(UTC))
    if said == "forged":
        headers = unlike(headers)
    if said == "not understood":
        body = b"{}"
        id, at = headers["webhook-id"], headers["webhook-timestamp"]
        headers = {**headers, "webhook-signature": signatures.sign(GATEWAY.key, id, int(at), body)}
    answer = await without_a_database.post("/v1/payments/sandbox/webhooks", content=body, headers=headers)
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "5")
    assert answer.json() == {"message": "try again later"}


@pytest.mark.parametrize(("method", "rest"), [("GET", ""), ("POST", "/approve"), ("POST", "/decline")])
async def test_without_a_database_the_pay_page_says_when_to_come_again(without_a_database, method, rest):
    answer = await without_a_database.request(method, f"/v1/payments/sandbox/pay/none{rest}")
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "5")
    assert "Try again" in answer.text
