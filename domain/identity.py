"""Who is calling, and for which app; accounts, and who belongs to which merchant."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum
from typing import TYPE_CHECKING, Protocol
from uuid import UUID

from domain.refusals import Forbidden, Refused, invalid, not_found
from domain.texts import line

if TYPE_CHECKING:
    from domain.unit_of_work import UnitOfWork


class Role(Enum):
    """Who may use a field of the API."""

    PUBLIC = "PUBLIC"
    CUSTOMER = "CUSTOMER"
    MERCHANT = "MERCHANT"
    RIDER = "RIDER"
    SUPPORT = "SUPPORT"


class App(Enum):
    """A session is for one app: the role of that name is the only one in force."""

    CUSTOMER = "CUSTOMER"
    MERCHANT = "MERCHANT"
    RIDER = "RIDER"
    SUPPORT = "SUPPORT"


class MerchantRole(Enum):
    """CLERK: orders and stock of named stores. MANAGER: also prices, status, sources. OWNER: all."""

    OWNER = "OWNER"
    MANAGER = "MANAGER"
    CLERK = "CLERK"


class ActorKind(Enum):
    """Who did it: the state machines and the history of an order speak of these."""

    CUSTOMER = "CUSTOMER"
    MERCHANT = "MERCHANT"
    RIDER = "RIDER"
    SUPPORT = "SUPPORT"
    SOURCE = "SOURCE"
    CLOCK = "CLOCK"


@dataclass(frozen=True, slots=True)
class Actor:
    """Who is calling: a user in one app's role, a source, or the clock. `kind` is None when nobody is signed in."""

    kind: ActorKind | None
    id: UUID | None = None
    session_id: UUID | None = None

    @property
    def role(self) -> Role:
        return Role(self.kind.value) if self.kind in _USERS else Role.PUBLIC

    def __str__(self) -> str:
        """For causes and the audit: `merchant:0197…`, `clock`."""
        name = self.kind.value.lower() if self.kind else "anybody"
        return f"{name}:{self.id}" if self.id else name


_USERS = {ActorKind.CUSTOMER, ActorKind.MERCHANT, ActorKind.RIDER, ActorKind.SUPPORT}
ANYBODY = Actor(None)
CLOCK = Actor(ActorKind.CLOCK)


# ---------------------------------------------------------------- ports


class Phones(Protocol):
    def e164(self, phone: str) -> str | None:
        """`098765 43210` is `+919876543210`. None for what is no telephone number."""


class Seals(Protocol):
    """For secrets that must be read again. Several keys are live while they change."""

    def seal(self, secret: bytes) -> bytes: ...

    def open(self, sealed: bytes) -> bytes:
        """Refuses Unavailable when none of our keys has sealed it."""


@dataclass(frozen=True)
class Account:
    """A person, whatever apps they use."""

    id: UUID
    name: str
    phone: str | None  # E.164
    email: str | None  # in lower case
    password_hash: str | None = field(repr=False)
    is_support: bool
    phone_proved_at: datetime | None
    banned_at: datetime | None


@dataclass(frozen=True)
class NewAccount:
    id: UUID
    name: str
    phone: str | None
    email: str | None = None
    password_hash: str | None = field(default=None, repr=False)
    phone_proved_at: datetime | None = None


class IdentityStore(Protocol):
    async def add(self, account: NewAccount) -> bool:
        """False when the phone or the e-mail address is another's."""

    async def lock(self, user_id: UUID) -> Account | None: ...

    async def lock_by_phone(self, phone: str) -> Account | None: ...

    async def grant(self, user_id: UUID, *, support: bool = False, rider: bool = False) -> None:
        """What is granted already stays so."""

    async def may_use(self, user_id: UUID, app: App) -> bool:
        """CUSTOMER everybody, MERCHANT a member of one, RIDER a rider, SUPPORT whom we made that. Nobody who is banned."""

    async def ban(self, user_id: UUID) -> None: ...

    async def set_password(self, user_id: UUID, password_hash: str | None) -> None: ...

    async def prove_phone(self, user_id: UUID) -> None: ...

    async def regranted(self, user_id: UUID) -> None:
        """The next grants version: feeds that run look again at what the user may see."""

    async def add_merchant(self, merchant_id: UUID, name: str, slug: str) -> tuple[UUID, bool]:
        """The id of the merchant of that slug, and whether it was made now."""

    async def set_member(self, merchant_id: UUID, user_id: UUID, role: MerchantRole, store_ids: Sequence[UUID]) -> bool:
        """Replaces the role and the named stores. Whether it was otherwise before."""

    async def remove_member(self, merchant_id: UUID, user_id: UUID) -> bool: ...

    async def stores_among(self, merchant_id: UUID, store_ids: Sequence[UUID]) -> set[UUID]: ...

    async def role_in(self, merchant_id: UUID, actor: Actor) -> MerchantRole | None: ...


# ---------------------------------------------------------------- members


async def check_merchant_role(merchant_id: UUID, actor: Actor, uow: "UnitOfWork", *roles: MerchantRole) -> None:
    """Refuses NotFound to who is no member of the merchant, Forbidden to a member in another role. Support may."""
    if actor.kind is ActorKind.SUPPORT:
        return
    role = await uow.identity.role_in(merchant_id, actor)
    if role is None:
        raise not_found("merchant")
    if role not in roles:
        raise Refused(Forbidden(f"a {role.value.lower()} may not do this"))


@dataclass(frozen=True)
class SetMember:
    """`store_ids` are a CLERK's; an OWNER and a MANAGER have all of the merchant's."""

    merchant_id: UUID
    user_id: UUID
    role: MerchantRole
    store_ids: Sequence[UUID] = ()


async def set_member(command: SetMember, actor: Actor, uow: "UnitOfWork") -> None:
    """For the owner, support and ourselves. Safe to repeat. Refuses Forbidden, NotFound, InvalidInput."""
    await _check_may_staff(command.merchant_id, actor, uow)
    if command.store_ids and command.role is not MerchantRole.CLERK:
        raise invalid("storeIds", "only a clerk's stores are named")
    if set(command.store_ids) != await uow.identity.stores_among(command.merchant_id, command.store_ids):
        raise not_found("store")
    if await uow.identity.lock(command.user_id) is None:
        raise not_found("user")
    if await uow.identity.set_member(command.merchant_id, command.user_id, command.role, command.store_ids):
        await uow.identity.regranted(command.user_id)
        await uow.audit.write(actor, "set member", command.user_id, command.merchant_id, command.role.value)


async def remove_member(merchant_id: UUID, user_id: UUID, actor: Actor, uow: "UnitOfWork") -> None:
    """For the owner, support and ourselves. Safe to repeat. Refuses Forbidden, NotFound."""
    await _check_may_staff(merchant_id, actor, uow)
    if await uow.identity.lock(user_id) is not None and await uow.identity.remove_member(merchant_id, user_id):
        await uow.identity.regranted(user_id)
        await uow.audit.write(actor, "remove member", user_id, merchant_id, "")


async def _check_may_staff(merchant_id: UUID, actor: Actor, uow: "UnitOfWork") -> None:
    if actor.kind is not ActorKind.CLOCK:
        await check_merchant_role(merchant_id, actor, uow, MerchantRole.OWNER)


# ---------------------------------------------------------------- accounts made and ended by us


@dataclass(frozen=True)
class AddUser:
    """A person we vouch for: the phone counts as proved."""

    name: str
    phone: str  # E.164
    email: str | None = None
    password_hash: str | None = field(default=None, repr=False)
    support: bool = False
    rider: bool = False


async def add_user(command: AddUser, actor: Actor, uow: "UnitOfWork") -> tuple[UUID, bool]:
    """The account of that phone, and whether it was made now. One there was before keeps its name and password and
    is only granted more: safe to repeat. Refuses InvalidInput.
    """
    name = line("name", command.name, 100)
    email = command.email.strip().lower() if command.email else None
    user_id = uow.new_id()
    made = await uow.identity.add(NewAccount(user_id, name, command.phone, email, command.password_hash, await uow.now()))
    if not made:
        account = await uow.identity.lock_by_phone(command.phone)
        if account is None:
            raise invalid("email", "is another's")
        user_id = account.id
    if command.support or command.rider:
        await uow.identity.grant(user_id, support=command.support, rider=command.rider)
        await uow.identity.regranted(user_id)
    await uow.audit.write(actor, "add user", user_id, None, _apps(command))
    return user_id, made


def _apps(command: AddUser) -> str:
    return " ".join(app for app, granted in (("support", command.support), ("rider", command.rider)) if granted)


@dataclass(frozen=True)
class AddMerchant:
    name: str
    slug: str
    owner_id: UUID | None = None


async def add_merchant(command: AddMerchant, actor: Actor, uow: "UnitOfWork") -> UUID:
    """The merchant of that slug, made now or before: safe to repeat. Refuses InvalidInput."""
    name, slug = line("name", command.name, 100), line("slug", command.slug, 100)
    merchant_id, made = await uow.identity.add_merchant(uow.new_id(), name, slug)
    if made:
        await uow.audit.write(actor, "add merchant", merchant_id, merchant_id, command.slug)
    if command.owner_id is not None:
        await set_member(SetMember(merchant_id, command.owner_id, MerchantRole.OWNER), actor, uow)
    return merchant_id


async def ban_user(user_id: UUID, reason: str, actor: Actor, uow: "UnitOfWork") -> None:
    """Ends the user's sessions, within seconds in every process. Safe to repeat. Refuses Forbidden, NotFound."""
    if actor.kind not in (ActorKind.SUPPORT, ActorKind.CLOCK):
        raise Refused(Forbidden("support alone"))
    if await uow.identity.lock(user_id) is None:
        raise not_found("user")
    await uow.identity.ban(user_id)
    await uow.sessions.revoke_all(user_id, "banned")
    await uow.identity.regranted(user_id)
    await uow.audit.write(actor, "ban user", user_id, None, line("reason", reason, 500))
