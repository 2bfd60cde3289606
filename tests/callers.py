"""Who calls, in tests: contexts over a real database, with an outside that can be looked into."""

from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, fields
from typing import Any
from uuid import UUID

from argon2 import PasswordHasher
from sqlalchemy.ext.asyncio import AsyncEngine

from adapters.limits import NoLimits
from adapters.passwords import Argon2Passwords
from adapters.phones import E164Phones
from adapters.seals import AesSeals, HmacDigests
from adapters.tokens import JwtTokens
from db.reads import Reads
from db.unit_of_work import unit_of_work
from domain.bodies import INLINE
from domain.identity import ANYBODY, CLOCK, Actor, AddUser, add_user
from domain.threads import Shares, Threads
from domain.unit_of_work import UnitOfWork
from resolvers.context import Ports
from resolvers.loaders import Loaders
from resolvers.sessions import Sessions
from schema.roots import Api
from subscriptions.following import Following

KEYS = [b"a" * 32]
CHEAP = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)  # a hash in a millisecond
PASSWORD = "ripe mangoes in May"


class Inbox:
    """The telephones of everybody."""

    def __init__(self) -> None:
        self.codes: dict[str, str] = {}

    async def send_code(self, phone: str, code: str) -> None:
        self.codes[phone] = code


def ports(reads: Reads, **given: Any) -> Ports:
    """Real ones where that costs nothing. What a test does not name and we do not know is None."""
    ours: dict[str, Any] = {
        "tokens": JwtTokens(KEYS, "https://haat.test"),
        "passwords": Argon2Passwords(CHEAP),
        "digests": HmacDigests(KEYS),
        "seals": AesSeals(KEYS),
        "phones": E164Phones(),
        "messages": Inbox(),
        "limits": NoLimits(),
        "sessions": Sessions(reads),
        "bodies": INLINE,
        "outbounds": {},
        "tries": Shares(Threads("tries", 4), 1),
    } | given
    return Ports(**{field.name: ours.get(field.name) for field in fields(Ports)})


@dataclass
class Town:
    """One database, and everybody who calls on it."""

    engine: AsyncEngine
    ports: Ports
    hub: Any = None  # where a test has feeds

    @property
    def reads(self) -> Reads:
        return Reads(self.engine)

    def begin(self) -> AbstractAsyncContextManager[UnitOfWork]:
        return unit_of_work(self.engine)

    def caller(self, actor: Actor = ANYBODY, remote: str = "203.0.113.7") -> Api:
        return Api(actor, self.reads, self.begin, Loaders(self.reads), self.ports, remote=remote, hub=Following(self.hub))

    async def user(self, phone: str, password: str = PASSWORD, name: str = "Asha", **more: Any) -> UUID:
        hashed = await self.ports.passwords.hash(password)
        async with self.begin() as uow:
            user_id, _ = await add_user(AddUser(name, phone, password_hash=hashed, **more), CLOCK, uow)
        return user_id
