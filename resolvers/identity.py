"""Signing up, in and out, and who is calling."""

import base64
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from db import identity as rows
from db.identity import Membership, Viewer
from db.reads import Reads
from domain import sessions
from domain.identity import Actor, ActorKind, App
from domain.limits import check_limit, network_of
from domain.refusals import Refusal, Refused, Unauthenticated, invalid
from domain.sessions import CODE_DIGITS, PASSWORD_MOST, WRONG, Claims, Opened, TooManyTries, to_login
from domain.texts import line
from domain.unit_of_work import Begin
from resolvers.context import Context, Ports

TOKEN_BYTES = 32
TOKEN_LONGEST = 200


@dataclass(frozen=True, slots=True)
class Session:
    """What a user is given once. The refresh token is good for one refresh."""

    access_token: str
    expires_at: datetime  # of the access token
    refresh_token: str
    viewer: Viewer


async def authenticate(ports: Ports, token: str) -> Claims:
    """Who calls with this access token, and until when. Refuses Unauthenticated: also within a second or so of signing
    out, of a ban, and of losing the app.
    """
    claims = ports.tokens.read(token)
    session_id = claims.actor.session_id
    if session_id is None or not (await ports.sessions.standing(session_id)).alive:
        raise Refused(Unauthenticated("sign in again"))
    return claims


async def viewer(context: Context) -> Viewer | None:
    """None when signed out."""
    return await rows.viewer(context.reads, context.actor)


async def memberships(context: Context, viewer: Viewer) -> Sequence[Membership]:
    """The viewer's own: who has just signed in is not yet the caller of this operation."""
    return await rows.memberships(context.reads, Actor(ActorKind(viewer.role.value), viewer.id))


# ---------------------------------------------------------------- proofs


async def sign_up(context: Context, name: str, phone: str, password: str) -> Session:
    """Refuses PhoneTaken, WeakPassword, InvalidInput, RateLimited."""
    ports = context.ports
    known_name, e164 = line("name", name, 100), _e164(ports, phone)
    await check_limit(ports.limits, "sign-up by address", network_of(context.remote))
    sessions.check_password(password, phone=e164, name=known_name)
    password_hash, refresh_token = await ports.passwords.hash(password), new_token()
    async with context.unit_of_work() as uow:
        opened = await sessions.sign_up(sessions.SignUp(known_name, e164, password_hash, refresh_token), uow)
    return _session(ports, opened, refresh_token)


async def sign_in(context: Context, login: str, password: str, app: App) -> Session:
    """Refuses WrongCredentials, in the same time whatever was wrong, and TooManyTries."""
    ports = context.ports
    await _check_tries(ports, "sign-in by address", network_of(context.remote))
    phone, email = to_login(login, ports.phones)
    found = await rows.login(context.reads, phone, email)
    account = str(found.user_id) if found else phone or email or login.strip().lower()[:254]
    await _check_tries(ports, "sign-in by account", account)
    known_hash = found.password_hash if found else None
    # One character more than any password has: as wrong as the whole of a book, and as quick.
    right = await ports.passwords.matches(known_hash, password[: PASSWORD_MOST + 1])
    if not right or found is None or known_hash is None:
        raise Refused(WRONG)
    rehashed = await ports.passwords.hash(password) if ports.passwords.outdated(known_hash) else None
    refresh_token = new_token()
    command = sessions.SignIn(found.user_id, app, known_hash, refresh_token, rehashed)
    async with context.unit_of_work() as uow:
        opened = await sessions.sign_in(command, uow)
    await ports.limits.clear("sign-in by account", account)  # the budget is for guesses
    return _session(ports, opened, refresh_token)


async def request_code(context: Context, phone: str) -> bool:
    """The same for a phone without an account. Refuses InvalidInput, RateLimited, Unavailable."""
    ports, e164 = context.ports, _e164(context.ports, phone)
    await check_limit(ports.limits, "code by address", network_of(context.remote))
    await check_limit(ports.limits, "code by phone", e164)
    code = f"{secrets.randbelow(10**CODE_DIGITS):0{CODE_DIGITS}}"
    async with context.unit_of_work() as uow:
        await sessions.set_code(e164, _code_hashes(ports, e164, code)[0], uow)
    await ports.messages.send_code(e164, code)
    return True


async def verify_code(context: Context, phone: str, code: str, app: App) -> Session:
    """Refuses WrongCredentials, TooManyTries, InvalidInput."""
    ports, e164 = context.ports, _e164(context.ports, phone)
    await _check_tries(ports, "code tried by address", network_of(context.remote))
    typed, refresh_token = "".join(code.split())[: CODE_DIGITS + 1], new_token()
    command = sessions.VerifyCode(e164, _code_hashes(ports, e164, typed), app, refresh_token)
    async with context.unit_of_work() as uow:
        opened = await sessions.verify_code(command, uow)
    if isinstance(opened, Refusal):  # after the commit: the try is counted
        raise Refused(opened)
    return _session(ports, opened, refresh_token)


async def refresh_session(context: Context, refresh_token: str) -> Session:
    """Refuses WrongCredentials, TooManyTries."""
    ports = context.ports
    await _check_tries(ports, "refresh by address", network_of(context.remote))
    if len(refresh_token) > TOKEN_LONGEST:
        raise Refused(WRONG)
    successors = [_text(digest) for digest in ports.digests.digests("refresh", refresh_token)]
    async with context.unit_of_work() as uow:
        refreshed = await sessions.refresh(sessions.Refresh(refresh_token, successors), uow)
    if isinstance(refreshed, Refusal):  # after the commit: a family whose token is in two hands is ended
        raise Refused(refreshed)
    opened, successor = refreshed
    return _session(ports, opened, successor)


async def sign_out(context: Context) -> bool:
    async with context.unit_of_work() as uow:
        await sessions.sign_out(context.actor, uow)
    if context.actor.session_id is not None:
        context.ports.sessions.forget(context.actor.session_id)
    return True


async def mint(ports: Ports, reads: Reads, begin: Begin, login: str, app: App) -> Session:
    """A session without a proof, for who has the machine anyway: the command line, the demo, load tests.

    Refuses WrongCredentials to an unknown login and to who may not use the app.
    """
    found = await rows.login(reads, *to_login(login, ports.phones))
    if found is None:
        raise Refused(WRONG)
    refresh_token = new_token()
    async with begin() as uow:
        opened = await sessions.open_unproved(found.user_id, app, refresh_token, uow)
    return _session(ports, opened, refresh_token)


def new_token() -> str:
    return secrets.token_urlsafe(TOKEN_BYTES)


def _session(ports: Ports, opened: Opened, refresh_token: str) -> Session:
    token, expires_at = ports.tokens.mint(opened.actor)
    account = opened.account
    viewer = Viewer(account.id, account.name, opened.actor.role, account.phone, account.email)
    return Session(token, expires_at, refresh_token, viewer)


def _e164(ports: Ports, phone: str) -> str:
    e164 = ports.phones.e164(phone)
    if e164 is None:
        raise invalid("phone", "is no telephone number")
    return e164


def _code_hashes(ports: Ports, phone: str, code: str) -> Sequence[bytes]:
    return ports.digests.digests("code", f"{phone} {code}")


def _text(digest: bytes) -> str:
    return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()


async def _check_tries(ports: Ports, name: str, key: str) -> None:
    """Refuses TooManyTries."""
    retry_at = await ports.limits.hit(name, key)
    if retry_at is not None:
        raise Refused(TooManyTries("too many tries: wait a little", retry_at))
