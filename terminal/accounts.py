"""Real people and real businesses, and tokens for trying things out."""

import re
import secrets
import sys
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass, field
from uuid import UUID

from db import identity as accounts
from db import merchants as places
from domain import identity, merchants
from domain.identity import App, MerchantRole
from domain.merchants import DAY, Hours
from domain.places import Point
from domain.refusals import Refused
from domain.sessions import check_password, open_unproved, to_login
from launch.problem import Problem
from settings import Env
from terminal.desk import OPERATOR, Desk
from terminal.said import say

SHOWN = 8  # slugs in a hint


def result(**told: object) -> None:
    """On standard output, one a line: it is what was asked for."""
    for name, value in told.items():
        sys.stdout.write(f"{name} {value}\n")


# ---------------------------------------------------------------- users


@dataclass(frozen=True)
class NewUser:
    """As it was typed."""

    name: str
    phone: str
    email: str | None = None
    password: str | None = field(default=None, repr=False)
    app: str = "customer"
    merchant: str | None = None
    role: str | None = None
    stores: Sequence[str] = ()


async def add_user(asked: NewUser, desk: Desk) -> None:
    """Who is there already keeps name and password, and is only granted more."""
    app, role = app_of(asked.app), _role(asked)
    if app is App.MERCHANT and asked.merchant is None:
        raise Problem("a user of the merchant app belongs to a merchant", "say which with --merchant SLUG --role owner")
    phone = _phone(asked.phone, desk)
    merchant_id = await _merchant(asked.merchant, desk) if asked.merchant else None
    store_ids = [await store_id(slug, desk) for slug in asked.stores]
    if role is MerchantRole.CLERK and not store_ids:
        raise Problem("a clerk works in named stores", "say which with --store SLUG, once for each")
    hashed = await _hash(asked, phone, desk)
    support, rider = app is App.SUPPORT, app is App.RIDER
    new = identity.AddUser(asked.name, phone, asked.email, hashed, support=support, rider=rider)
    async with desk.begin() as uow:
        user_id, made = await identity.add_user(new, OPERATOR, uow)
        if merchant_id is not None and role is not None:
            await identity.set_member(identity.SetMember(merchant_id, user_id, role, store_ids), OPERATOR, uow)
    say("added" if made else "was there before: name and password stay, what you granted is added to it")
    if made and hashed is None:
        say("without a password: they sign in with a code sent to the phone")
    result(user=user_id, login=phone, app=app.value.lower())


async def ban_user(login: str, reason: str, desk: Desk) -> None:
    """Signed out everywhere within seconds, and not let in again. Whoever it is keeps what they bought and sold."""
    found = await accounts.login(desk.reads, *to_login(login, desk.trust.phones))
    if found is None:
        raise Problem(f"nobody signs in as {login}", "a login is a telephone number or an e-mail address")
    async with desk.begin() as uow:
        await identity.ban_user(found.user_id, reason, OPERATOR, uow)
    say("banned: their sessions end now")
    result(user=found.user_id)


async def _hash(asked: NewUser, phone: str, desk: Desk) -> str | None:
    """`-` is the first line of standard input: what stands on a command line, others on the machine can read."""
    password = sys.stdin.readline().rstrip("\n") if asked.password == "-" else asked.password
    if password is None:
        return None
    try:
        check_password(password, phone=phone, name=asked.name)
    except Refused as refused:
        raise Problem(f"not that password: {refused.refusal.message}", "choose another, or none: then they use codes") from None
    return await desk.trust.passwords.hash(password)


def _role(asked: NewUser) -> MerchantRole | None:
    if asked.merchant is None:
        if asked.role is not None or asked.stores:
            raise Problem("a role is one in a merchant", "say which with --merchant SLUG")
        return None
    try:
        return MerchantRole((asked.role or "owner").upper())
    except ValueError:
        raise Problem(f"there is no role {asked.role}", f"choose from {_words(MerchantRole)}") from None


def app_of(name: str) -> App:
    try:
        return App(name.upper())
    except ValueError:
        raise Problem(f"there is no app {name}", f"choose from {_words(App)}") from None


def _words(of: type[App] | type[MerchantRole]) -> str:
    return ", ".join(one.value.lower() for one in of)


def _phone(phone: str, desk: Desk) -> str:
    e164 = desk.trust.phones.e164(phone)
    if e164 is None:
        raise Problem(f"{phone} is no telephone number", "write it like +919876543210")
    return e164


async def _merchant(slug: str, desk: Desk) -> UUID:
    found = await places.merchant_by_slug(desk.reads, slug)
    if found is None:
        raise Problem(f"there is no merchant {slug}", _known(await places.merchant_slugs(desk.reads, SHOWN), "merchant"))
    return found.id


async def store_id(slug: str, desk: Desk) -> UUID:
    """Of that slug, or a Problem that names some there are."""
    found = await places.store_by_slug(desk.reads, slug)
    if found is None:
        raise Problem(f"there is no store {slug}", _known(await places.store_slugs(desk.reads, SHOWN), "store"))
    return found.id


def _known(slugs: Sequence[str], noun: str) -> str:
    return f"some there are: {', '.join(slugs)}" if slugs else f"add the first {noun} with ./haat merchant add"


# ---------------------------------------------------------------- merchants


@dataclass(frozen=True)
class NewMerchant:
    """As it was typed."""

    name: str
    store: str
    city: str
    lat: float
    lng: float
    owner: str | None = None
    hours: str | None = None


async def add_merchant(asked: NewMerchant, desk: Desk) -> None:
    """The merchant of that name with a store, or one store more. What is there already stays as it is."""
    if not (-90 <= asked.lat <= 90 and -180 <= asked.lng <= 180):
        raise Problem(f"{asked.lat}, {asked.lng} is nowhere on earth", "--lat is from -90 to 90 degrees, --lng from -180 to 180")
    hours = _hours(asked.hours) if asked.hours else ()
    owner_id = await _owner(asked.owner, desk) if asked.owner else None
    slug, store_slug = slug_of(asked.name), slug_of(asked.store)
    before = await places.merchant_by_slug(desk.reads, slug)
    async with desk.begin() as uow:
        taken = await uow.sources.store_of_slug(store_slug)
        merchant_id = await identity.add_merchant(identity.AddMerchant(asked.name, slug, owner_id), OPERATOR, uow)
        if taken is not None and taken[1] != merchant_id:
            raise Problem(f"the store {store_slug} is another merchant's", "choose another --store name")
        store = merchants.AddStore(merchant_id, store_slug, asked.store, asked.city, Point(asked.lat, asked.lng), hours=hours)
        store_id = await merchants.add_store(store, OPERATOR, uow)
    if taken is not None:
        say(f"the store {store_slug} was there before, and stays as it is")
    if before is None and owner_id is None:
        say(f"nobody runs it yet: ./haat user add --name … --phone … --app merchant --merchant {slug} --role owner")
    result(merchant=merchant_id, slug=slug, store=store_id, store_slug=store_slug)


async def _owner(phone: str, desk: Desk) -> UUID:
    found = await accounts.login(desk.reads, _phone(phone, desk), None)
    if found is None:
        raise Problem(f"nobody has the phone {phone}", f"add them first: ./haat user add --name … --phone {phone}")
    return found.user_id


def slug_of(name: str) -> str:
    """`Café Noor, Indiranagar` is `cafe-noor-indiranagar`."""
    plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode().lower()
    slug = re.sub(r"[^a-z0-9]+", "-", plain).strip("-")
    if not slug:
        raise Problem(f"nothing of {name!r} can stand in a URL", "write it with Latin letters or digits")
    return slug


def _hours(text: str) -> Sequence[Hours]:
    """`07:00-23:00` every day; an end before the beginning is on the next day."""
    found = re.fullmatch(r"([01]?\d|2[0-3]):([0-5]\d)-([01]?\d|2[0-4]):([0-5]\d)", text.strip())
    if found is None:
        raise Problem(f"{text} are no hours", "write them like 07:00-23:00, or leave them out: open all day")
    opens_hour, opens_minute, closes_hour, closes_minute = map(int, found.groups())
    opens, closes = opens_hour * 60 + opens_minute, closes_hour * 60 + closes_minute
    closes = closes if closes > opens else closes + DAY
    return [Hours(weekday, opens, closes) for weekday in range(7)]


# ---------------------------------------------------------------- tokens


async def print_token(login: str, app: str, desk: Desk) -> None:
    """Of ten minutes, and the audit tells of it. In production people prove who they are."""
    if desk.settings.env is Env.PRODUCTION:
        raise Problem("a token without a proof has no place in production", "sign in through the API")
    sys.stdout.write(f"{await access_token(login, app_of(app), desk)}\n")


async def access_token(login: str, app: App, desk: Desk) -> str:
    found = await accounts.login(desk.reads, *to_login(login, desk.trust.phones))
    if found is None:
        raise Problem(f"nobody signs in as {login}", "./haat up lists the demo's logins; ./haat user add makes one")
    async with desk.begin() as uow:
        if not await uow.identity.may_use(found.user_id, app):
            name = app.value.lower()
            raise Problem(f"{login} may not use the {name} app", f"grant it: ./haat user add --phone {login} --app {name} …")
        opened = await open_unproved(found.user_id, app, secrets.token_urlsafe(32), uow)
    token, _ = desk.trust.tokens.mint(opened.actor)
    return token
