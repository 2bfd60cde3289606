"""How a user proves who they are, and the sessions that come of it."""

import hmac
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from hashlib import sha256
from typing import TYPE_CHECKING, Any, Protocol
from uuid import UUID

from domain.identity import CLOCK, Account, Actor, ActorKind, App, NewAccount, Phones
from domain.refusals import Kind, Refusal, Refused

if TYPE_CHECKING:
    from domain.unit_of_work import UnitOfWork

LASTS = timedelta(days=30)  # since it was last refreshed
KEPT = timedelta(days=30)  # after they ended: for who looks into what happened
GRACE = timedelta(seconds=30)  # a client that lost our answer asks again with the token it still has
CODE_LASTS = timedelta(minutes=5)
CODE_TRIES = 5
CODE_DIGITS = 6
PASSWORD_LEAST, PASSWORD_MOST = 10, 200


# ---------------------------------------------------------------- refusals


@dataclass(frozen=True)
class WrongCredentials(Refusal):
    """The same for an unknown login, a wrong password, a banned user and an app that is not theirs."""

    code, kind = "WRONG_CREDENTIALS", Kind.UNAUTHENTICATED


@dataclass(frozen=True)
class TooManyTries(Refusal):
    code, kind = "TOO_MANY_TRIES", Kind.RATE_LIMITED
    retry_at: datetime


@dataclass(frozen=True)
class PhoneTaken(Refusal):
    code, kind = "PHONE_TAKEN", Kind.CONFLICT


@dataclass(frozen=True)
class WeakPassword(Refusal):
    code, kind = "WEAK_PASSWORD", Kind.INVALID_INPUT


WRONG = WrongCredentials("that is not right: check what you typed, or sign in with a code")


# ---------------------------------------------------------------- ports


@dataclass(frozen=True, slots=True)
class Claims:
    """What an access token says: who, in which app, until when."""

    actor: Actor
    expires_at: datetime


class Tokens(Protocol):
    """Access tokens: short-lived, signed, for one app."""

    def mint(self, actor: Actor) -> tuple[str, datetime]:
        """The token of a signed-in user, and when it ends."""

    def read(self, token: str) -> Claims:
        """Refuses Unauthenticated, and never says why."""

    def jwks(self) -> Mapping[str, Any]:
        """The document by which others verify our tokens: every key that is live."""


class Passwords(Protocol):
    """Slow on purpose, and never more than a few at a time."""

    async def hash(self, password: str) -> str: ...

    async def matches(self, password_hash: str | None, password: str) -> bool:
        """False for no hash, after as long as for a wrong password."""

    def outdated(self, password_hash: str) -> bool:
        """It was made with less effort than we make now."""


class Digests(Protocol):
    """Under a key of the server: what is short cannot be guessed from what is kept."""

    def digests(self, purpose: str, text: str) -> Sequence[bytes]:
        """One for each live key, the newest first."""


class Messages(Protocol):
    async def send_code(self, phone: str, code: str) -> None:
        """Refuses Unavailable."""


@dataclass(frozen=True)
class StoredSession:
    id: UUID
    user_id: UUID
    app: App
    alive: bool  # neither revoked nor past its time


@dataclass(frozen=True)
class StoredCode:
    code_hash: bytes = field(repr=False)
    expires_at: datetime
    tries_left: int


class SessionStore(Protocol):
    async def open(self, session_id: UUID, user_id: UUID, app: App, expires_at: datetime) -> None: ...

    async def add_token(self, session_id: UUID, token_hash: bytes) -> None: ...

    async def of_token(self, token_hash: bytes) -> tuple[UUID, UUID] | None:
        """The session and its user."""

    async def lock(self, session_id: UUID) -> StoredSession | None: ...

    async def use_token(self, token_hash: bytes, now: datetime) -> datetime | None:
        """When it was used before; None when this is the first time."""

    async def successor_among(self, session_id: UUID, token_hashes: Sequence[bytes]) -> bytes | None: ...

    async def extend(self, session_id: UUID, expires_at: datetime) -> None: ...

    async def revoke(self, session_id: UUID, because: str) -> None: ...

    async def revoke_all(self, user_id: UUID, because: str) -> None: ...

    async def set_code(self, phone: str, code_hash: bytes, expires_at: datetime, tries: int) -> None:
        """Replaces the phone's code before."""

    async def lock_code(self, phone: str) -> StoredCode | None: ...

    async def count_try(self, phone: str) -> None: ...

    async def drop_code(self, phone: str) -> None: ...

    async def prune(self, before: datetime) -> int:
        """Forgets sessions that ended before, and codes past their time. Returns how many sessions went."""


# ---------------------------------------------------------------- passwords and logins


def check_password(password: str, *, phone: str, name: str) -> None:
    """Refuses WeakPassword. `phone` is E.164."""
    if len(password) < PASSWORD_LEAST:
        raise Refused(WeakPassword(f"at least {PASSWORD_LEAST} characters"))
    if len(password) > PASSWORD_MOST:
        raise Refused(WeakPassword(f"at most {PASSWORD_MOST} characters"))
    plain = "".join(password.split()).casefold()
    if len(set(plain)) < 4:
        raise Refused(WeakPassword("more than a few different characters"))
    if plain in _COMMONEST or plain in _RUN or plain[::-1] in _RUN:
        raise Refused(WeakPassword("this one is among the first that are tried"))
    if plain.lstrip("+0") in phone or plain == "".join(name.split()).casefold():
        raise Refused(WeakPassword("not your own name or number"))


_RUN = "01234567890123456789 abcdefghijklmnopqrstuvwxyz qwertyuiopasdfghjklzxcvbnm 1q2w3e4r5t6y7u8i9o0p"
# Of those with ten characters and more, what is tried first everywhere, and in India.
_TRIED_FIRST = """
    password12 password123 password1234 password12345 password@123 password@1234 passw0rd123 password01 passwordpassword
    p@ssword123 p@ssw0rd123 qwerty1234 qwerty12345 qwerty123456 qwertyuiop1 qwertyuiop123 asdfghjkl123 1qaz2wsx3edc
    1234567891 12345678910 123456789a 1234512345 1122334455 9876543210 1357924680 abcd123456 abc1234567 abcdef1234
    iloveyou12 iloveyou123 iloveyou1234 letmein123 letmein1234 welcome123 welcome1234 welcome@123 admin12345 admin@1234
    administrator changeme123 changeme1234 computer123 football123 sunshine123 princess123 superman123 dragon12345
    india12345 india@1234 india123456 jaihind123 jaishreeram jaimatadi1 omnamahshivay ganpatibappa sairam1234 krishna123
    krishna1234 hanuman123 mummypapa1 mummypapa123 bharat1234 cricket123 sachin1234 pass@12345 pass123456 test123456
    """
_COMMONEST = frozenset(_TRIED_FIRST.split())


def to_login(login: str, phones: Phones) -> tuple[str | None, str | None]:
    """Phone and e-mail address, of which one is meant. Neither: nobody has such a login."""
    said = login.strip()
    if "@" in said:
        return None, said.lower() if said.isprintable() and len(said) <= 254 else None
    return phones.e164(said), None


# ---------------------------------------------------------------- sessions


@dataclass(frozen=True)
class Opened:
    """A session that is alive, as its tokens will say it."""

    actor: Actor
    account: Account


def _hash(token: str) -> bytes:
    return sha256(token.encode(errors="replace")).digest()


async def open_session(account: Account, app: App, refresh_token: str, uow: "UnitOfWork") -> Opened:
    session_id = uow.new_id()
    await uow.sessions.open(session_id, account.id, app, await uow.now() + LASTS)
    await uow.sessions.add_token(session_id, _hash(refresh_token))
    return Opened(Actor(ActorKind(app.value), account.id, session_id), account)


async def _admitted(account: Account, app: App, refresh_token: str, uow: "UnitOfWork") -> Opened:
    """Refuses WrongCredentials to who may not use the app."""
    if not await uow.identity.may_use(account.id, app):
        raise Refused(WRONG)
    return await open_session(account, app, refresh_token, uow)


async def open_unproved(user_id: UUID, app: App, refresh_token: str, uow: "UnitOfWork") -> Opened:
    """For who runs the servers; the audit tells of it. Refuses WrongCredentials."""
    account = await uow.identity.lock(user_id)
    if account is None:
        raise Refused(WRONG)
    await uow.audit.write(CLOCK, "open session", user_id, None, app.value)
    return await _admitted(account, app, refresh_token, uow)


@dataclass(frozen=True)
class SignUp:
    name: str
    phone: str  # E.164
    password_hash: str = field(repr=False)
    refresh_token: str = field(repr=False)


async def sign_up(command: SignUp, uow: "UnitOfWork") -> Opened:
    """Refuses PhoneTaken."""
    user_id = uow.new_id()
    if not await uow.identity.add(NewAccount(user_id, command.name, command.phone, password_hash=command.password_hash)):
        raise Refused(PhoneTaken("this phone has an account: sign in, with a code if need be"))
    account = await uow.identity.lock(user_id)
    assert account is not None
    return await open_session(account, App.CUSTOMER, command.refresh_token, uow)


@dataclass(frozen=True)
class SignIn:
    """A password was found right: `password_hash` is what it was compared with, outside the transaction."""

    user_id: UUID
    app: App
    password_hash: str = field(repr=False)
    refresh_token: str = field(repr=False)
    rehashed: str | None = field(default=None, repr=False)


async def sign_in(command: SignIn, uow: "UnitOfWork") -> Opened:
    """Refuses WrongCredentials; also when the password was changed or dropped since it was compared."""
    account = await uow.identity.lock(command.user_id)
    if account is None or account.password_hash != command.password_hash:
        raise Refused(WRONG)
    if command.rehashed is not None:
        await uow.identity.set_password(account.id, command.rehashed)
    return await _admitted(account, command.app, command.refresh_token, uow)


async def prune(uow: "UnitOfWork") -> int:
    """What ended long ago; for a clock. Safe to repeat."""
    return await uow.sessions.prune(await uow.now() - KEPT)


async def sign_out(actor: Actor, uow: "UnitOfWork") -> None:
    """Safe to repeat."""
    if actor.session_id is not None:
        await uow.sessions.revoke(actor.session_id, "signed out")


@dataclass(frozen=True)
class Refresh:
    token: str = field(repr=False)
    successors: Sequence[str] = field(repr=False)  # what our keys make of the token; the newest key's is given out


async def refresh(command: Refresh, uow: "UnitOfWork") -> tuple[Opened, str] | WrongCredentials:
    """The session, and the token that follows. The same again within the grace; after it, the token is in two hands
    and the session ends. That must be kept although the answer is a no, so it is returned.
    """
    token_hash = _hash(command.token)
    found = await uow.sessions.of_token(token_hash)
    if found is None:
        return WRONG
    session_id, user_id = found
    account = await uow.identity.lock(user_id)  # the account, then its sessions: everywhere in this order
    session = await uow.sessions.lock(session_id)
    if account is None or session is None or not session.alive or not await uow.identity.may_use(user_id, session.app):
        return WRONG
    now = await uow.now()
    used_at = await uow.sessions.use_token(token_hash, now)
    if used_at is None:
        successor = command.successors[0]
        await uow.sessions.add_token(session.id, _hash(successor))
    else:
        given = await uow.sessions.successor_among(session.id, [_hash(one) for one in command.successors])
        known = {_hash(one): one for one in command.successors}
        if now - used_at > GRACE or given is None:
            await uow.sessions.revoke(session.id, "refresh token used twice")
            await uow.audit.write(CLOCK, "refresh token used twice", session.user_id, None, f"session:{session.id}")
            return WRONG
        successor = known[given]
    await uow.sessions.extend(session.id, now + LASTS)
    return Opened(Actor(ActorKind(session.app.value), account.id, session.id), account), successor


# ---------------------------------------------------------------- codes


async def set_code(phone: str, code_hash: bytes, uow: "UnitOfWork") -> None:
    """Replaces the phone's code before. Whether the phone has an account makes no difference."""
    await uow.sessions.set_code(phone, code_hash, await uow.now() + CODE_LASTS, CODE_TRIES)


@dataclass(frozen=True)
class VerifyCode:
    phone: str  # E.164
    code_hashes: Sequence[bytes] = field(repr=False)  # one for each live key
    app: App
    refresh_token: str = field(repr=False)


async def verify_code(command: VerifyCode, uow: "UnitOfWork") -> Opened | WrongCredentials | TooManyTries:
    """A code is good once. The first proof of a phone drops what others may have set with it before: password and
    sessions. A phone without an account gets one, as a customer. A wrong try must be kept although the answer is a
    no, so it is returned.
    """
    stored = await uow.sessions.lock_code(command.phone)
    now = await uow.now()
    if stored is None or stored.expires_at <= now:
        return WRONG
    if stored.tries_left <= 0:
        return TooManyTries("too many wrong codes: ask for a new one", stored.expires_at)
    if not any(hmac.compare_digest(stored.code_hash, one) for one in command.code_hashes):
        await uow.sessions.count_try(command.phone)
        return WRONG
    await uow.sessions.drop_code(command.phone)
    account = await uow.identity.lock_by_phone(command.phone)
    if account is None:
        if command.app is not App.CUSTOMER:
            return WRONG
        await uow.identity.add(NewAccount(uow.new_id(), "", command.phone, phone_proved_at=now))
        account = await uow.identity.lock_by_phone(command.phone)  # another's of the same moment, perhaps
        assert account is not None
    if account.phone_proved_at is None:
        await uow.identity.prove_phone(account.id)
        await uow.identity.set_password(account.id, None)
        await uow.sessions.revoke_all(account.id, "phone proved by another")
        await uow.identity.regranted(account.id)
        await uow.audit.write(CLOCK, "phone proved", account.id, None, "password and sessions before it dropped")
    if not await uow.identity.may_use(account.id, command.app):
        return WRONG
    return await open_session(account, command.app, command.refresh_token, uow)
