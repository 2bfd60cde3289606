import asyncio
import re
import time
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from uuid import UUID, uuid4

import pytest
import pytest_asyncio
import strawberry
from argon2 import PasswordHasher
from sqlalchemy import func, insert, select, text, update
from strawberry.schema.config import StrawberryConfig

from adapters.limits import RedisLimits
from adapters.messages import NoMessages
from adapters.passwords import Argon2Passwords
from adapters.seals import HmacDigests
from db.identity import merchants_of, stores_of
from db.reads import Reads
from db.tables import audit, merchant_member, refresh_token, session, store, user_account
from db.tables import otp as otp_table
from domain import sessions
from domain.identity import (
    ANYBODY,
    CLOCK,
    Actor,
    ActorKind,
    AddMerchant,
    App,
    MerchantRole,
    NewAccount,
    SetMember,
    add_merchant,
    ban_user,
    set_member,
)
from domain.refusals import Forbidden, InvalidInput, NotFound, RateLimited, Refused, Unauthenticated, Unavailable
from resolvers import identity as resolve
from resolvers.sessions import Sessions
from schema import addresses, identity
from schema import audit as audits
from schema.roots import FreshLoaders
from schema.scalars import SCALARS
from tests.callers import CHEAP, KEYS, PASSWORD, Inbox, Town, ports


@strawberry.type
class Mutation(identity.Mutation, addresses.Mutation):
    pass


@strawberry.type
class Mine(addresses.CustomerAddresses):
    pass


@strawberry.type
class Desk(audits.SupportAudit):
    pass


@strawberry.type
class Query(identity.Query):
    @strawberry.field
    def mine(self) -> Mine:
        return Mine()

    @strawberry.field
    def desk(self) -> Desk:
        return Desk()


schema = strawberry.Schema(Query, Mutation, extensions=[FreshLoaders], config=StrawberryConfig(scalar_map=SCALARS))
SESSION = (
    "... on Session { accessToken expiresAt refreshToken viewer { id name role phone email merchants { role merchant { name } } } }"
)
REFUSAL = "... on Refusal { code message } ... on TooManyTries { retryAt }"
SIGN_UP = f"""mutation($name: String!, $phone: String!, $password: String!) {{
    signUp(name: $name, phone: $phone, password: $password) {{ __typename {SESSION} ... on Refusal {{ code message }} }}
}}"""
SIGN_IN = f"""mutation($login: String!, $password: String!, $app: App = CUSTOMER) {{
    signIn(login: $login, password: $password, app: $app) {{ __typename {SESSION} {REFUSAL} }}
}}"""
REQUEST = "mutation($phone: String!) { requestOtp(phone: $phone) }"
VERIFY = f"""mutation($phone: String!, $code: String!, $app: App = CUSTOMER) {{
    verifyOtp(phone: $phone, code: $code, app: $app) {{ __typename {SESSION} {REFUSAL} }}
}}"""
REFRESH = f"mutation($token: String!) {{ refreshSession(refreshToken: $token) {{ __typename {SESSION} {REFUSAL} }} }}"
VIEWER = "{ viewer { id name role phone email merchants { role merchant { name } } } }"
SAVE = """mutation($id: ID, $input: AddressInput!) {
    saveAddress(id: $id, input: $input) { id line1 line2 city postalCode point { lat lng } phone }
}"""
AUDIT = """query($subject: ID, $after: String) {
    desk { audit(subject: $subject, first: 2, after: $after) {
        nodes { at actor action subject detail } pageInfo { hasNextPage endCursor }
    } }
}"""
ARCHIVE = "mutation($id: ID!) { archiveAddress(id: $id) }"
HOME = {
    "line1": " 4 Hill Road ",
    "city": "Mumbai",
    "postalCode": "400050",
    "point": {"lat": 19.05, "lng": 72.83},
    "phone": "98765 43210",
}


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def town(engine):
    return Town(engine, ports(Reads(engine)))


@pytest.fixture
def phone(counter=iter(range(10**6))):
    return f"+9190000{next(counter):05}"


def refused(result) -> object:
    assert result.errors, result.data
    original = result.errors[0].original_error
    assert isinstance(original, Refused), original
    return original.refusal


class Caller:
    def __init__(self, town: Town, actor: Actor = ANYBODY, remote: str = "203.0.113.7") -> None:
        self.context = town.caller(actor, remote)

    async def run(self, document: str, **variables):
        return await schema.execute(document, variables, self.context)

    async def __call__(self, document: str, **variables):
        result = await self.run(document, **variables)
        assert not result.errors, result.errors
        return next(iter(result.data.values()))


@pytest_asyncio.fixture(loop_scope="session")
async def anybody(town):
    return Caller(town)  # loaders belong to a running loop


async def signed_in(town: Town, answer: dict) -> Caller:
    claims = await resolve.authenticate(town.ports, answer["accessToken"])
    return Caller(town, claims.actor)


async def is_alive(town: Town, answer: dict) -> bool:
    """As another process finds it, that has never heard of the session."""
    try:
        await resolve.authenticate(ports(town.reads), answer["accessToken"])
    except Refused:
        return False
    return True


async def code_of(town: Town, phone: str) -> str:
    assert isinstance(town.ports.messages, Inbox)
    return town.ports.messages.codes[phone]


# ---------------------------------------------------------------- passwords


async def test_who_signs_up_is_a_customer_with_a_session(town, anybody, phone):
    answer = await anybody(SIGN_UP, name="  Asha Rao ", phone=phone.removeprefix("+91"), password=PASSWORD)
    me = await signed_in(town, answer)
    assert await me(VIEWER) == answer["viewer"] | {"phone": phone, "name": "Asha Rao", "role": "CUSTOMER", "merchants": []}
    left = datetime.fromisoformat(answer["expiresAt"]) - datetime.now(UTC)
    assert timedelta(minutes=9) < left <= timedelta(minutes=10)


async def test_signed_out_there_is_no_viewer(anybody):
    assert await anybody(VIEWER) is None


async def test_one_phone_one_account_however_many_sign_up_at_once(anybody, phone):
    answers = await asyncio.gather(*(anybody(SIGN_UP, name="Asha", phone=phone, password=PASSWORD) for _ in range(8)))
    assert sorted(answer["__typename"] for answer in answers) == ["PhoneTaken"] * 7 + ["Session"]


async def test_a_weak_password_is_refused_by_its_type(anybody, phone):
    answer = await anybody(SIGN_UP, name="Asha", phone=phone, password=phone)
    assert (answer["__typename"], answer["code"]) == ("WeakPassword", "WEAK_PASSWORD")


@pytest.mark.parametrize(
    ("name", "phone", "path"), [("", "+919000000001", "name"), ("A\0", "+919000000001", "name"), ("A", "12", "phone")]
)
async def test_what_cannot_be_kept_is_named(anybody, name, phone, path):
    refusal = refused(await anybody.run(SIGN_UP, name=name, phone=phone, password=PASSWORD))
    assert isinstance(refusal, InvalidInput)
    assert [problem.path for problem in refusal.problems] == [path]


async def test_phone_and_address_both_are_logins(town, anybody, phone):
    address = f"asha{phone}@example.com"
    user_id = await town.user(phone, email=address)
    for login in (phone, phone.removeprefix("+91"), address, f" {address.upper()} "):
        answer = await anybody(SIGN_IN, login=login, password=PASSWORD)
        assert answer["viewer"]["id"] == str(user_id)


async def test_every_wrong_sign_in_reads_the_same(town, anybody, phone):
    user_id = await town.user(phone)
    banned = await town.user(f"{phone[:-5]}9{phone[-4:]}")
    async with town.begin() as uow:
        await ban_user(banned, "fraud", CLOCK, uow)
        await uow.identity.add(_bare(no_password := "+919111111111"))
    tries = [
        {"login": phone, "password": "wrong password"},
        {"login": phone, "password": PASSWORD + "x" * 500},
        {"login": phone, "password": "half \ud83d"},
        {"login": "+919222222222", "password": PASSWORD},
        {"login": "nobody@example.com", "password": PASSWORD},
        {"login": "no login at all\0", "password": PASSWORD},
        {"login": no_password, "password": PASSWORD},
        {"login": f"{phone[:-5]}9{phone[-4:]}", "password": PASSWORD},
        *({"login": phone, "password": PASSWORD, "app": app} for app in ("MERCHANT", "RIDER", "SUPPORT")),
    ]
    answers = [await anybody(SIGN_IN, **one) for one in tries]
    assert {(answer["__typename"], answer["code"], answer["message"]) for answer in answers} == {
        ("WrongCredentials", "WRONG_CREDENTIALS", answers[0]["message"])
    }
    assert await _count(town, session, session.c.user_id == user_id) == 0


def _bare(phone: str):
    return NewAccount(uuid4(), "", phone)


async def _count(town: Town, table, where) -> int:
    return await town.reads.value(select(func.count()).select_from(table).where(where))


async def test_an_unknown_login_costs_a_hash_like_a_known_one(engine, phone):
    compared = []

    class Counting(Argon2Passwords):
        def _verify(self, password_hash, password):
            compared.append(password_hash)
            return super()._verify(password_hash, password)

    town = Town(engine, ports(Reads(engine), passwords=Counting(CHEAP)))
    await Caller(town)(SIGN_IN, login=phone, password=PASSWORD)
    assert len(compared) == 1


async def test_each_app_is_for_whom_it_is_meant(town, anybody, phone):
    user_id = await town.user(phone, support=True, rider=True)
    async with town.begin() as uow:
        await add_merchant(AddMerchant("Asha Stores", f"asha-{phone}", user_id), CLOCK, uow)
    for app in App:
        answer = await anybody(SIGN_IN, login=phone, password=PASSWORD, app=app.value)
        assert answer["viewer"]["role"] == app.value
        theirs = [{"role": "OWNER", "merchant": {"name": "Asha Stores"}}] if app is App.MERCHANT else []
        assert answer["viewer"]["merchants"] == theirs
        assert (await resolve.authenticate(town.ports, answer["accessToken"])).actor.kind is ActorKind(app.value)


async def test_a_hash_of_less_effort_is_renewed_at_the_next_sign_in(town, anybody, phone):
    user_id = await town.user(phone)
    weaker = PasswordHasher(time_cost=2, memory_cost=16, parallelism=1).hash(PASSWORD)
    async with town.engine.begin() as connection:
        await connection.execute(update(user_account).where(user_account.c.id == user_id).values(password_hash=weaker))
    assert (await anybody(SIGN_IN, login=phone, password=PASSWORD))["__typename"] == "Session"
    kept = await town.reads.value(select(user_account.c.password_hash).where(user_account.c.id == user_id))
    assert kept != weaker
    assert (await anybody(SIGN_IN, login=phone, password=PASSWORD))["__typename"] == "Session"


async def test_a_password_changed_while_it_was_compared_signs_nobody_in(town, phone):
    user_id = await town.user(phone)
    known = await town.reads.value(select(user_account.c.password_hash).where(user_account.c.id == user_id))
    async with town.begin() as uow:
        await uow.identity.set_password(user_id, None)
    with pytest.raises(Refused) as no:
        async with town.begin() as uow:
            await sessions.sign_in(sessions.SignIn(user_id, App.CUSTOMER, known, "token"), uow)
    assert no.value.refusal == sessions.WRONG


# ---------------------------------------------------------------- codes


async def test_a_code_signs_a_new_phone_in_once(town, anybody, phone):
    assert await anybody(REQUEST, phone=phone) is True
    code = await code_of(town, phone)
    assert re.fullmatch(r"\d{6}", code)
    answer = await anybody(VERIFY, phone=phone, code=f" {code[:3]} {code[3:]}")
    assert (answer["viewer"]["phone"], answer["viewer"]["name"], answer["viewer"]["role"]) == (phone, "", "CUSTOMER")
    assert (await anybody(VERIFY, phone=phone, code=code))["__typename"] == "WrongCredentials"


async def test_a_code_is_kept_where_nobody_can_read_it(town, anybody, phone):
    await anybody(REQUEST, phone=phone)
    stored = await town.reads.value(select(otp_table.c.code_hash).where(otp_table.c.phone == phone))
    code = await code_of(town, phone)
    assert stored not in {sha256(said.encode()).digest() for said in (code, phone + code, f"{phone} {code}")}


async def test_five_wrong_codes_and_the_right_one_is_wrong_too(town, anybody, phone):
    await anybody(REQUEST, phone=phone)
    code = await code_of(town, phone)
    wrong = "000000" if code != "000000" else "000001"
    answers = [await anybody(VERIFY, phone=phone, code=wrong) for _ in range(5)]
    assert {answer["__typename"] for answer in answers} == {"WrongCredentials"}
    answer = await anybody(VERIFY, phone=phone, code=code)
    assert answer["__typename"] == "TooManyTries"
    await anybody(REQUEST, phone=phone)
    assert (await anybody(VERIFY, phone=phone, code=await code_of(town, phone)))["__typename"] == "Session"


async def test_of_a_hundred_guesses_at_once_five_are_looked_at(town, anybody, phone):
    await anybody(REQUEST, phone=phone)
    code = int(await code_of(town, phone))
    guesses = [f"{(code + 1 + turn) % 10**6:06}" for turn in range(40)]
    answers = await asyncio.gather(*(anybody(VERIFY, phone=phone, code=guess) for guess in guesses))
    assert [answer["__typename"] for answer in answers].count("WrongCredentials") == 5
    assert (await anybody(VERIFY, phone=phone, code=f"{code:06}"))["__typename"] == "TooManyTries"


async def test_one_code_proved_twenty_times_at_once_opens_one_session(town, anybody, phone):
    await anybody(REQUEST, phone=phone)
    code = await code_of(town, phone)
    answers = await asyncio.gather(*(anybody(VERIFY, phone=phone, code=code) for _ in range(20)))
    assert [answer["__typename"] for answer in answers].count("Session") == 1
    assert await _count(town, user_account, user_account.c.phone == phone) == 1


async def test_a_code_ends_after_five_minutes(town, anybody, phone):
    await anybody(REQUEST, phone=phone)
    until = await town.reads.value(select(otp_table.c.expires_at - func.clock_timestamp()).where(otp_table.c.phone == phone))
    assert timedelta(minutes=4, seconds=50) < until <= timedelta(minutes=5)
    async with town.engine.begin() as connection:
        await connection.execute(update(otp_table).where(otp_table.c.phone == phone).values(expires_at=func.clock_timestamp()))
    assert (await anybody(VERIFY, phone=phone, code=await code_of(town, phone)))["__typename"] == "WrongCredentials"


async def test_a_code_of_another_phone_is_wrong(town, anybody, phone):
    other = "+919333333333"
    await anybody(REQUEST, phone=phone)
    await anybody(REQUEST, phone=other)
    if await code_of(town, phone) != await code_of(town, other):
        assert (await anybody(VERIFY, phone=phone, code=await code_of(town, other)))["__typename"] == "WrongCredentials"


@pytest.mark.parametrize("app", ["MERCHANT", "RIDER", "SUPPORT"])
async def test_a_phone_that_is_new_here_becomes_a_customer_alone(town, anybody, phone, app):
    await anybody(REQUEST, phone=phone)
    assert (await anybody(VERIFY, phone=phone, code=await code_of(town, phone), app=app))["__typename"] == "WrongCredentials"
    assert await _count(town, user_account, user_account.c.phone == phone) == 0


async def test_the_first_proof_of_a_phone_drops_what_a_stranger_had_set(town, anybody, phone):
    squatter = await anybody(SIGN_UP, name="Not Asha", phone=phone, password=PASSWORD)
    await anybody(REQUEST, phone=phone)
    owner = await anybody(VERIFY, phone=phone, code=await code_of(town, phone))
    assert owner["viewer"]["id"] == squatter["viewer"]["id"]
    assert not await is_alive(town, squatter)
    assert (await anybody(REFRESH, token=squatter["refreshToken"]))["__typename"] == "WrongCredentials"
    assert (await anybody(SIGN_IN, login=phone, password=PASSWORD))["__typename"] == "WrongCredentials"
    await anybody(REQUEST, phone=phone)
    await anybody(VERIFY, phone=phone, code=await code_of(town, phone))
    assert await is_alive(town, owner)  # the second proof drops nothing


async def test_a_password_we_set_for_somebody_outlives_their_first_code(town, anybody, phone):
    await town.user(phone)
    await anybody(REQUEST, phone=phone)
    await anybody(VERIFY, phone=phone, code=await code_of(town, phone))
    assert (await anybody(SIGN_IN, login=phone, password=PASSWORD))["__typename"] == "Session"


async def test_known_and_unknown_phones_get_the_same_answer(town, anybody, phone):
    await town.user(phone)
    assert await anybody(REQUEST, phone=phone) is await anybody(REQUEST, phone="+919444444444") is True
    assert isinstance(refused(await anybody.run(REQUEST, phone="not a phone")), InvalidInput)


async def test_without_anybody_to_send_it_a_code_is_unavailable(engine, phone):
    caller = Caller(Town(engine, ports(Reads(engine), messages=NoMessages())))
    assert isinstance(refused(await caller.run(REQUEST, phone=phone)), Unavailable)


async def test_a_code_outlives_the_change_of_our_key(engine, phone):
    inbox = Inbox()
    before = Caller(Town(engine, ports(Reads(engine), messages=inbox)))
    after = Caller(Town(engine, ports(Reads(engine), digests=HmacDigests([b"z" * 32, *KEYS]))))
    await before(REQUEST, phone=phone)
    assert (await after(VERIFY, phone=phone, code=inbox.codes[phone]))["__typename"] == "Session"


# ---------------------------------------------------------------- sessions


@pytest_asyncio.fixture
async def mine(town, anybody, phone):
    return await anybody(SIGN_UP, name="Asha", phone=phone, password=PASSWORD)


async def test_twenty_refreshes_at_once_get_one_successor(town, anybody, mine):
    answers = await asyncio.gather(*(anybody(REFRESH, token=mine["refreshToken"]) for _ in range(20)))
    assert {answer["__typename"] for answer in answers} == {"Session"}
    assert len({answer["refreshToken"] for answer in answers}) == 1
    assert answers[0]["refreshToken"] != mine["refreshToken"]
    assert (await anybody(REFRESH, token=answers[0]["refreshToken"]))["__typename"] == "Session"
    assert await is_alive(town, mine)


async def test_a_token_used_again_after_the_grace_ends_its_session_for_all(town, anybody, mine):
    after = await anybody(REFRESH, token=mine["refreshToken"])
    await _age_tokens(town, mine, seconds=31)
    answers = await asyncio.gather(*(anybody(REFRESH, token=mine["refreshToken"]) for _ in range(20)))
    assert {answer["__typename"] for answer in answers} == {"WrongCredentials"}
    assert (await anybody(REFRESH, token=after["refreshToken"]))["__typename"] == "WrongCredentials"
    assert not await is_alive(town, after)
    user_id = UUID(mine["viewer"]["id"])
    assert await _count(town, audit, (audit.c.subject == user_id) & (audit.c.action == "refresh token used twice")) == 1


async def test_within_the_grace_the_same_successor_even_when_that_was_used(town, anybody, mine):
    first = await anybody(REFRESH, token=mine["refreshToken"])
    second = await anybody(REFRESH, token=first["refreshToken"])
    await _age_tokens(town, mine, seconds=25)
    again = await anybody(REFRESH, token=mine["refreshToken"])
    assert again["refreshToken"] == first["refreshToken"]
    assert (await anybody(REFRESH, token=again["refreshToken"]))["refreshToken"] == second["refreshToken"]


async def _age_tokens(town: Town, answer: dict, *, seconds: int) -> None:
    session_id = town.ports.tokens.read(answer["accessToken"]).actor.session_id
    async with town.engine.begin() as connection:
        await connection.execute(
            update(refresh_token)
            .where(refresh_token.c.session_id == session_id)
            .values(used_at=refresh_token.c.used_at - timedelta(seconds=seconds))
        )


async def test_the_same_successor_also_after_our_key_has_changed(engine, anybody, mine):
    changed = Caller(Town(engine, ports(Reads(engine), digests=HmacDigests([b"z" * 32, *KEYS]))))
    before = await anybody(REFRESH, token=mine["refreshToken"])
    assert (await changed(REFRESH, token=mine["refreshToken"]))["refreshToken"] == before["refreshToken"]


@pytest.mark.parametrize("token", ["", "nonsense", "x" * 10_000, "half \ud83d", "a\0b"])
async def test_a_refresh_token_that_is_nobodys(anybody, token):
    assert (await anybody(REFRESH, token=token))["__typename"] == "WrongCredentials"


async def test_no_token_is_kept_as_it_is(town, mine):
    async with town.engine.connect() as connection:
        found = await connection.execute(
            text("SELECT string_agg(r::text, ' ') || (SELECT string_agg(s::text, ' ') FROM session s) FROM refresh_token r")
        )
        assert mine["refreshToken"] not in found.scalar_one()


async def test_signed_out_is_out_here_at_once_and_elsewhere_within_two_seconds(town, anybody, mine):
    now = 1_000.0
    elsewhere = ports(town.reads, sessions=Sessions(town.reads, lambda: now))
    await resolve.authenticate(elsewhere, mine["accessToken"])
    me = await signed_in(town, mine)
    assert await me("mutation { signOut }") is True
    assert await me("mutation { signOut }") is True
    with pytest.raises(Refused):
        await resolve.authenticate(town.ports, mine["accessToken"])
    await resolve.authenticate(elsewhere, mine["accessToken"])  # what it knows is still fresh
    now += 2.0
    with pytest.raises(Refused):
        await resolve.authenticate(elsewhere, mine["accessToken"])
    assert (await anybody(REFRESH, token=mine["refreshToken"]))["__typename"] == "WrongCredentials"


async def test_only_who_is_signed_in_signs_out(anybody):
    assert isinstance(refused(await anybody.run("mutation { signOut }")), Unauthenticated)


async def test_a_session_is_asked_for_once_a_second(town, mine):
    class Counting(Reads):
        asked = 0

        async def rows(self, statement, given=None):
            self.asked += 1
            return await super().rows(statement, given)

    reads, now = Counting(town.engine), 1_000.0
    known = ports(reads, sessions=Sessions(reads, lambda: now))
    for _ in range(50):
        await resolve.authenticate(known, mine["accessToken"])
    assert reads.asked == 1
    now += 1
    await resolve.authenticate(known, mine["accessToken"])
    assert reads.asked == 2


async def test_of_many_sessions_those_that_are_over_are_named_in_one_statement(town, anybody, phone, mine):
    other = await anybody(SIGN_IN, login=phone, password=PASSWORD)
    ours = [town.ports.tokens.read(answer["accessToken"]).actor.session_id for answer in (mine, other)]
    nobodys = uuid4()
    assert await town.ports.sessions.ended([*ours, nobodys]) == {nobodys}
    async with town.begin() as uow:
        await sessions.sign_out(Actor(ActorKind.CUSTOMER, UUID(mine["viewer"]["id"]), ours[0]), uow)
    assert await town.ports.sessions.ended([*ours, nobodys]) == {ours[0], nobodys}
    assert not (await town.ports.sessions.standing(ours[0])).alive
    assert await town.ports.sessions.ended([]) == set()


async def test_a_session_is_over_at_its_time(town, anybody, mine):
    session_id = town.ports.tokens.read(mine["accessToken"]).actor.session_id
    async with town.engine.begin() as connection:
        await connection.execute(update(session).where(session.c.id == session_id).values(expires_at=func.clock_timestamp()))
    assert not await is_alive(town, mine)
    assert (await anybody(REFRESH, token=mine["refreshToken"]))["__typename"] == "WrongCredentials"


async def test_a_refresh_extends_the_session(town, anybody, mine):
    session_id = town.ports.tokens.read(mine["accessToken"]).actor.session_id
    async with town.engine.begin() as connection:
        soon = func.clock_timestamp() + timedelta(hours=1)
        await connection.execute(update(session).where(session.c.id == session_id).values(expires_at=soon))
    await anybody(REFRESH, token=mine["refreshToken"])
    left = await town.reads.value(select(session.c.expires_at - func.clock_timestamp()).where(session.c.id == session_id))
    assert left > timedelta(days=29)


async def test_a_ban_ends_every_session_and_opens_none(town, anybody, phone, mine):
    other = await anybody(SIGN_IN, login=phone, password=PASSWORD)
    async with town.begin() as uow:
        await ban_user(UUID(mine["viewer"]["id"]), "fraud", Actor(ActorKind.SUPPORT, uuid4()), uow)
    assert not await is_alive(town, mine)
    assert not await is_alive(town, other)
    assert (await anybody(REFRESH, token=other["refreshToken"]))["__typename"] == "WrongCredentials"
    assert (await anybody(SIGN_IN, login=phone, password=PASSWORD))["__typename"] == "WrongCredentials"
    await anybody(REQUEST, phone=phone)
    assert (await anybody(VERIFY, phone=phone, code=await code_of(town, phone)))["__typename"] == "WrongCredentials"


@pytest.mark.parametrize("kind", [ActorKind.CUSTOMER, ActorKind.MERCHANT, ActorKind.RIDER, ActorKind.SOURCE, None])
async def test_support_alone_bans(town, mine, kind):
    with pytest.raises(Refused) as no:
        async with town.begin() as uow:
            await ban_user(UUID(mine["viewer"]["id"]), "fraud", Actor(kind, uuid4()), uow)
    assert isinstance(no.value.refusal, Forbidden)
    assert await is_alive(town, mine)


async def test_who_loses_the_app_loses_its_sessions(town, anybody, phone):
    user_id = await town.user(phone, support=True)
    answer = await anybody(SIGN_IN, login=phone, password=PASSWORD, app="SUPPORT")
    async with town.engine.begin() as connection:
        await connection.execute(update(user_account).where(user_account.c.id == user_id).values(is_support=False))
    assert not await is_alive(town, answer)
    assert (await anybody(REFRESH, token=answer["refreshToken"]))["__typename"] == "WrongCredentials"


async def test_a_minted_session_is_a_session(town, anybody, phone):
    await town.user(phone)
    made = await resolve.mint(town.ports, town.reads, town.begin, phone, App.CUSTOMER)
    assert (await resolve.authenticate(town.ports, made.access_token)).actor.kind is ActorKind.CUSTOMER
    assert (await anybody(REFRESH, token=made.refresh_token))["__typename"] == "Session"
    for login, app in ((phone, App.SUPPORT), ("+919555555555", App.CUSTOMER)):
        with pytest.raises(Refused):
            await resolve.mint(town.ports, town.reads, town.begin, login, app)


async def test_sessions_ended_long_ago_are_forgotten(town, mine, anybody, phone):
    alive = await anybody(SIGN_IN, login=phone, password=PASSWORD)
    session_id = town.ports.tokens.read(mine["accessToken"]).actor.session_id
    async with town.engine.begin() as connection:
        long_ago = func.clock_timestamp() - timedelta(days=31)
        await connection.execute(update(session).where(session.c.id == session_id).values(revoked_at=long_ago))
    async with town.begin() as uow:
        assert await sessions.prune(uow) == 1
        assert await sessions.prune(uow) == 0
    assert await is_alive(town, alive)


# ---------------------------------------------------------------- limits


@pytest_asyncio.fixture(params=["redis", "memory"])
async def limited(request, engine):
    limits = RedisLimits(request.getfixturevalue("redis_url") if request.param == "redis" else None, uuid4().bytes * 2)
    yield Town(engine, ports(Reads(engine), limits=limits))
    await limits.close()


async def test_of_a_hundred_aliased_sign_ins_five_are_looked_at(limited, phone):
    await limited.user(phone)
    many = " ".join(f'a{turn}: signIn(login: "{phone}", password: "wrong password") {{ __typename }}' for turn in range(25))
    result = await Caller(limited).run(f"mutation {{ {many} }}")
    said = [answer["__typename"] for answer in result.data.values()]
    assert (said.count("WrongCredentials"), said.count("TooManyTries")) == (5, 20)
    answer = await Caller(limited, remote="198.51.100.1")(SIGN_IN, login=phone, password=PASSWORD)
    assert answer["__typename"] == "TooManyTries"  # the account's budget, whoever asks
    assert datetime.fromisoformat(answer["retryAt"]) > datetime.now(UTC)


async def test_who_knows_the_password_does_not_run_out(limited, phone):
    await limited.user(phone)
    for turn in range(8):
        answer = await Caller(limited, remote=f"198.51.100.{turn}")(SIGN_IN, login=phone, password=PASSWORD)
        assert answer["__typename"] == "Session"


async def test_one_address_has_a_budget_over_all_accounts(limited):
    caller = Caller(limited, remote="2001:db8::1")
    answers = [await caller(SIGN_IN, login=f"+9198{turn:08}", password=PASSWORD) for turn in range(31)]
    assert [answer["__typename"] for answer in answers] == ["WrongCredentials"] * 30 + ["TooManyTries"]
    neighbour = Caller(limited, remote="2001:db8::2")  # the same /64
    assert (await neighbour(SIGN_IN, login="+919812345678", password=PASSWORD))["__typename"] == "TooManyTries"
    assert (await Caller(limited)(SIGN_IN, login="+919812345678", password=PASSWORD))["__typename"] == "WrongCredentials"


async def test_codes_are_few_for_a_phone_and_for_an_address(limited, phone):
    for turn in range(3):
        assert await Caller(limited, remote=f"198.51.100.{turn}")(REQUEST, phone=phone) is True
    refusal = refused(await Caller(limited, remote="198.51.100.99").run(REQUEST, phone=phone))
    assert isinstance(refusal, RateLimited)
    caller = Caller(limited, remote="192.0.2.1")
    for turn in range(20):
        assert await caller(REQUEST, phone=f"+9197{turn:08}") is True
    assert isinstance(refused(await caller.run(REQUEST, phone="+919712345678")), RateLimited)


async def test_sign_ups_and_refreshes_have_a_budget_by_address(limited):
    caller = Caller(limited, remote="192.0.2.2")
    for turn in range(10):
        assert (await caller(SIGN_UP, name="A", phone=f"+9196{turn:08}", password="short"))["__typename"] == "WeakPassword"
    assert isinstance(refused(await caller.run(SIGN_UP, name="A", phone="+919612345678", password="short")), RateLimited)
    began, said = time.monotonic(), []
    while "TooManyTries" not in said:
        said.append((await caller(REFRESH, token="nobodys"))["__typename"])
        # Above limits.EXACT what was spent counts less as it grows old: by no more than the budget a minute.
        assert said.count("WrongCredentials") <= 120 + 2 * (time.monotonic() - began) + 1, said
    assert said[:120] == ["WrongCredentials"] * 120


# ---------------------------------------------------------------- members


async def test_a_clerk_has_the_named_stores_and_a_manager_all(town, phone):
    owner, clerk = await town.user(phone), await town.user("+919666666666")
    async with town.begin() as uow:
        ours = await add_merchant(AddMerchant("Ours", f"ours-{phone}", owner), CLOCK, uow)
        theirs = await add_merchant(AddMerchant("Theirs", f"theirs-{phone}"), CLOCK, uow)
        assert await add_merchant(AddMerchant("Ours", f"ours-{phone}", owner), CLOCK, uow) == ours
    one, two, other = uuid4(), uuid4(), uuid4()
    async with town.engine.begin() as connection:
        for place, merchant_id in ((one, ours), (two, ours), (other, theirs)):
            row = {"id": place, "merchant_id": merchant_id, "slug": str(place), "name": "A", "city": "B", "lat": 1.0, "lng": 1.0}
            await connection.execute(insert(store).values(row))
    as_owner, as_clerk = Actor(ActorKind.MERCHANT, owner), Actor(ActorKind.MERCHANT, clerk)

    async def stores(actor: Actor, *roles: MerchantRole) -> set[UUID]:
        return {row[0] for row in await town.reads.rows(stores_of(actor, *roles))}

    async def become(role: MerchantRole, *stores: UUID, by: Actor = as_owner) -> None:
        async with town.begin() as uow:
            await set_member(SetMember(ours, clerk, role, stores), by, uow)

    assert await stores(as_owner) == {one, two}
    assert await stores(as_clerk) == set()
    await become(MerchantRole.CLERK, two)
    assert await stores(as_clerk) == {two}
    assert await stores(as_clerk, MerchantRole.OWNER, MerchantRole.MANAGER) == set()
    assert await stores(as_clerk, MerchantRole.CLERK) == {two}
    for nobody in (ANYBODY, CLOCK, Actor(ActorKind.CUSTOMER, owner), Actor(ActorKind.SUPPORT, owner), Actor(ActorKind.MERCHANT)):
        assert await stores(nobody) == set()
        assert await town.reads.rows(merchants_of(nobody)) == []
    for wrong in ((MerchantRole.CLERK, other), (MerchantRole.MANAGER, two), (MerchantRole.CLERK, uuid4())):
        with pytest.raises(Refused):
            await become(*wrong)
    with pytest.raises(Refused) as no:
        await become(MerchantRole.OWNER, by=as_clerk)
    assert isinstance(no.value.refusal, Forbidden)
    with pytest.raises(Refused) as no:
        await become(MerchantRole.OWNER, by=Actor(ActorKind.MERCHANT, await town.user("+919777777777")))
    assert isinstance(no.value.refusal, NotFound)
    before = await town.reads.value(select(user_account.c.grants).where(user_account.c.id == clerk))
    await become(MerchantRole.MANAGER)
    assert await town.reads.value(select(user_account.c.grants).where(user_account.c.id == clerk)) == before + 1
    assert await stores(as_clerk) == {one, two}
    assert {row[0] for row in await town.reads.rows(merchants_of(as_clerk, MerchantRole.MANAGER))} == {ours}
    # A row of named stores that outlived its role gives nothing.
    async with town.engine.begin() as connection:
        await connection.execute(update(merchant_member).where(merchant_member.c.user_id == clerk).values(role=MerchantRole.CLERK))
    assert await stores(as_clerk) == set()


async def test_users_made_by_hand_are_made_once(town, phone):
    first = await town.user(phone, name="Asha")
    assert await town.user(phone, name="Somebody else", rider=True) == first
    assert await town.reads.value(select(user_account.c.name).where(user_account.c.id == first)) == "Asha"
    made = await resolve.mint(town.ports, town.reads, town.begin, phone, App.RIDER)
    assert made.viewer.id == first
    await town.user("+919888888888", email="taken@example.com")
    with pytest.raises(Refused) as no:
        await town.user("+919888888889", email="Taken@example.com")
    assert isinstance(no.value.refusal, InvalidInput)


# ---------------------------------------------------------------- addresses


async def test_an_address_is_saved_changed_and_archived(town, mine):
    me = await signed_in(town, mine)
    saved = await me(SAVE, input=HOME)
    assert saved | {"id": None} == HOME | {"id": None, "line1": "4 Hill Road", "line2": None, "phone": "+919876543210"}
    changed = await me(SAVE, id=saved["id"], input=HOME | {"line2": "Flat 2", "phone": None})
    assert (changed["id"], changed["line2"], changed["phone"]) == (saved["id"], "Flat 2", None)
    newer = await me(SAVE, input=HOME)
    assert [one["id"] for one in (await me("{ mine { addresses { id } } }"))["addresses"]] == [newer["id"], saved["id"]]
    assert await me(ARCHIVE, id=saved["id"]) is True
    assert await me(ARCHIVE, id=saved["id"]) is True
    assert [one["id"] for one in (await me("{ mine { addresses { id } } }"))["addresses"]] == [newer["id"]]
    assert isinstance(refused(await me.run(SAVE, id=saved["id"], input=HOME)), NotFound)


async def test_anothers_address_is_not_there(town, anybody, mine):
    me = await signed_in(town, mine)
    saved = await me(SAVE, input=HOME)
    stranger = await signed_in(town, await anybody(SIGN_UP, name="B", phone="+919999999999", password=PASSWORD))
    for try_ in (
        stranger.run(SAVE, id=saved["id"], input=HOME),
        stranger.run(ARCHIVE, id=saved["id"]),
        stranger.run(ARCHIVE, id=str(uuid4())),
    ):
        assert refused(await try_) == NotFound("no such address")
    assert (await stranger("{ mine { addresses { id } } }"))["addresses"] == []
    assert isinstance(refused(await anybody.run(SAVE, input=HOME)), Unauthenticated)
    merchant = Caller(town, Actor(ActorKind.MERCHANT, me.context.actor.id))
    assert isinstance(refused(await merchant.run(SAVE, input=HOME)), Forbidden)


@pytest.mark.parametrize(
    ("change", "path"),
    [
        ({"line1": ""}, "input.line1"),
        ({"line1": "x" * 201}, "input.line1"),
        ({"city": "\0"}, "input.city"),
        ({"postalCode": "1" * 13}, "input.postalCode"),
        ({"phone": "12"}, "input.phone"),
        ({"point": {"lat": 91.0, "lng": 0.0}}, "input.point.lat"),
        ({"point": {"lat": 0.0, "lng": -181.0}}, "input.point.lng"),
    ],
)
async def test_an_address_that_cannot_be_is_named(town, mine, change, path):
    refusal = refused(await (await signed_in(town, mine)).run(SAVE, input=HOME | change))
    assert isinstance(refusal, InvalidInput)
    assert [problem.path for problem in refusal.problems] == [path]


async def test_addresses_have_an_end_even_when_saved_at_once(town, mine):
    me = await signed_in(town, mine)
    results = await asyncio.gather(*(me.run(SAVE, input=HOME) for _ in range(53)))
    assert sum(not result.errors for result in results) == 50


# ---------------------------------------------------------------- audit


async def test_support_reads_who_did_what_page_by_page(town, mine):
    user_id = UUID(mine["viewer"]["id"])
    support = Actor(ActorKind.SUPPORT, uuid4())
    for turn in range(3):
        async with town.begin() as uow:
            await ban_user(user_id, f"fraud {turn}", support, uow)
    desk = Caller(town, support)
    page = (await desk(AUDIT, subject=str(user_id)))["audit"]
    assert [node["detail"] for node in page["nodes"]] == ["fraud 2", "fraud 1"]
    assert page["nodes"][0] | {"at": None} == {
        "at": None, "actor": str(support), "action": "ban user", "subject": str(user_id), "detail": "fraud 2",
    }  # fmt: skip
    rest = (await desk(AUDIT, subject=str(user_id), after=page["pageInfo"]["endCursor"]))["audit"]
    assert [node["detail"] for node in rest["nodes"]] == ["fraud 0"]
    assert not rest["pageInfo"]["hasNextPage"]
    for other in (ANYBODY, Actor(ActorKind.CUSTOMER, user_id), Actor(ActorKind.MERCHANT, user_id)):
        assert (await Caller(town, other)(AUDIT))["audit"]["nodes"] == []
