"""Real people and businesses, and tokens, as an operator makes them."""

from pathlib import Path
from uuid import UUID

import pytest
import pytest_asyncio
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncEngine

from db import identity as accounts
from db.tables import audit, member_store, merchant_member, store, store_hours
from domain.identity import App, MerchantRole
from domain.refusals import Refused
from launch.problem import Problem
from settings import Env
from terminal.accounts import NewMerchant, NewUser, access_token, add_merchant, add_user, ban_user, print_token, slug_of
from terminal.desk import OPERATOR, Desk
from tests.desks import desk_of

NOOR = NewMerchant("Café Noor", "Café Noor Indiranagar", "Bengaluru", 12.97, 77.64)
PHONE = "+919876543210"
PASSWORD = "mangoes in the month of May"
Output = pytest.CaptureFixture[str]


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def desk(engine: AsyncEngine, database_url: str, tmp_path_factory: pytest.TempPathFactory) -> Desk:
    """Of a town that began empty: one merchant, and who owns it."""
    desk = desk_of(engine, database_url, tmp_path_factory.mktemp("empty"))
    await add_user(NewUser("Noor", PHONE, password=PASSWORD), desk)
    await add_merchant(NewMerchant(**vars(NOOR) | {"owner": PHONE, "hours": "18:00-02:00"}), desk)
    return desk


def told(output: Output) -> dict[str, str]:
    return dict(line.split(" ", 1) for line in output.readouterr().out.splitlines())


async def test_a_user_is_printed_and_signs_in_with_the_password(desk: Desk, capsys: Output):
    await add_user(NewUser("Ila", "098765 43211", "Ila@Example.com", PASSWORD), desk)
    said = told(capsys)
    assert (said["login"], said["app"]) == ("+919876543211", "customer")
    login = await accounts.login(desk.reads, None, "ila@example.com")
    assert login is not None
    assert login.user_id == UUID(said["user"])
    assert await desk.trust.passwords.matches(login.password_hash, PASSWORD)


async def test_one_who_is_there_is_granted_more_and_keeps_the_password(desk: Desk, capsys: Output):
    await add_user(NewUser("Ravi", "+919876543212", password=PASSWORD), desk)
    before = await accounts.login(desk.reads, "+919876543212", None)
    await add_user(NewUser("Another", "+919876543212", password="another password of his", app="rider"), desk)
    assert await accounts.login(desk.reads, "+919876543212", None) == before
    await access_token("+919876543212", App.RIDER, desk)
    assert "was there before" in capsys.readouterr().err


async def test_who_is_banned_is_let_in_no_more(desk: Desk):
    await add_user(NewUser("Mala", "+919876543219", password=PASSWORD), desk)
    await access_token("+919876543219", App.CUSTOMER, desk)
    await ban_user("98765 43219", "sells what is not theirs", desk)
    with pytest.raises(Problem, match="may not use the customer app"):
        await access_token("+919876543219", App.CUSTOMER, desk)
    kept = await desk.reads.one(select(audit.c.actor, audit.c.detail).where(audit.c.action == "ban user"))
    assert kept is not None
    assert (kept.actor, kept.detail) == (str(OPERATOR), "sells what is not theirs")
    with pytest.raises(Problem, match="nobody signs in as"):
        await ban_user("nobody@example.com", "never seen", desk)


async def test_a_merchant_has_its_store_its_hours_and_its_owner(desk: Desk):
    row = await desk.reads.one(select(store.c.id, store.c.merchant_id).where(store.c.slug == "cafe-noor-indiranagar"))
    assert row is not None
    hours = await desk.reads.rows(select(store_hours.c.opens, store_hours.c.closes).where(store_hours.c.store_id == row.id))
    assert [tuple(span) for span in hours] == [(18 * 60, 26 * 60)] * 7
    members = await desk.reads.rows(select(merchant_member.c.role).where(merchant_member.c.merchant_id == row.merchant_id))
    assert [member.role for member in members] == [MerchantRole.OWNER]


async def test_the_same_merchant_gets_one_store_more(desk: Desk, capsys: Output):
    await add_merchant(NewMerchant("Café Noor", "Café Noor Jayanagar", "Bengaluru", 12.93, 77.58), desk)
    slugs = ("cafe-noor-indiranagar", "cafe-noor-jayanagar")
    first, second = [await desk.reads.value(select(store.c.merchant_id).where(store.c.slug == slug)) for slug in slugs]
    assert first == second == UUID(told(capsys)["merchant"])


async def test_a_clerk_works_in_the_stores_that_are_named(desk: Desk):
    clerk = NewUser("Lata", "+919876543213", app="merchant", merchant="cafe-noor", role="clerk", stores=["cafe-noor-indiranagar"])
    await add_user(clerk, desk)
    rows = await desk.reads.rows(select(member_store.c.store_id))
    assert len(rows) == 1


async def test_a_token_is_for_one_app_and_the_audit_tells_of_it(desk: Desk, capsys: Output):
    await print_token(PHONE, "merchant", desk)
    claims = desk.trust.tokens.read(capsys.readouterr().out.strip())
    assert claims.actor.role.value == "MERCHANT"
    actions = await desk.reads.rows(select(audit.c.action).where(audit.c.subject == claims.actor.id))
    assert "open session" in {row.action for row in actions}


async def test_a_token_without_a_proof_is_refused_in_production(desk: Desk):
    there = Desk(desk.settings.model_copy(update={"env": Env.PRODUCTION}), desk.engine, desk.reads, desk.trust)
    with pytest.raises(Problem, match="no place in production"):
        await print_token(PHONE, "customer", there)


@pytest.mark.parametrize(
    ("asked", "says"),
    [
        (NewUser("X", "12"), "12 is no telephone number: write it like"),
        (NewUser("X", "+919876543299", app="cook"), "there is no app cook: choose from customer, merchant, rider, support"),
        (NewUser("X", "+919876543299", app="merchant"), "say which with --merchant SLUG"),
        (NewUser("X", "+919876543299", app="merchant", merchant="nope"), "there is no merchant nope: some there are: cafe-noor"),
        (NewUser("X", "+919876543299", app="merchant", merchant="cafe-noor", role="cook"), "there is no role cook"),
        (NewUser("X", "+919876543299", app="merchant", merchant="cafe-noor", role="clerk"), "a clerk works in named stores"),
        (NewUser("X", "+919876543299", stores=["a"]), "a role is one in a merchant"),
        (NewUser("X", "+919876543299", password="short"), "not that password: at least 10 characters"),
    ],
)
async def test_a_user_that_cannot_be_is_explained(desk: Desk, asked: NewUser, says: str):
    with pytest.raises(Problem) as problem:
        await add_user(asked, desk)
    assert says in str(problem.value)


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"lat": 100.0}, "is nowhere on earth"),
        ({"lng": float("nan")}, "is nowhere on earth"),
        ({"hours": "morning"}, "write them like 07:00-23:00"),
        ({"owner": "+919876543298"}, "nobody has the phone +919876543298: add them first"),
        ({"name": "Another"}, "the store cafe-noor-indiranagar is another merchant's"),
        ({"name": "☕"}, "write it with Latin letters"),
    ],
)
async def test_a_merchant_that_cannot_be_is_explained(desk: Desk, changed: dict[str, object], says: str):
    with pytest.raises(Problem) as problem:
        await add_merchant(NewMerchant(**vars(NOOR) | changed), desk)
    assert says in str(problem.value)


async def test_anothers_email_address_is_refused(desk: Desk):
    await add_user(NewUser("Uma", "+919876543214", "uma@example.com"), desk)
    with pytest.raises(Refused, match="email: is another's"):
        await add_user(NewUser("Not Uma", "+919876543215", "uma@example.com"), desk)


@pytest.mark.parametrize(("login", "says"), [("nobody", "nobody signs in as nobody"), (PHONE, "may not use the support app")])
async def test_a_token_for_whom_there_is_none_is_explained(desk: Desk, login: str, says: str):
    with pytest.raises(Problem) as problem:
        await access_token(login, App.SUPPORT, desk)
    assert says in str(problem.value)


def test_a_slug_is_what_can_stand_in_a_url(tmp_path: Path):
    assert slug_of("  Café Noor, Indiranagar! ") == "cafe-noor-indiranagar"
