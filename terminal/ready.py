"""What a town that is up says of itself: to programs in one line of JSON, to people in tables."""

from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

from rich.text import Text

from db import sources
from demo.town import BUSINESSES, CONNECTIONS, PASSWORD, PEOPLE, Connection, Person
from domain.identity import App
from domain.intake import Inbound
from domain.proofs import Strategy, key_of, token_hash
from domain.refusals import Refused
from domain.sources import endpoints
from launch.problem import Problem
from terminal.accounts import access_token
from terminal.desk import Desk
from terminal.said import console, say
from terminal.sources import demo_secret
from wiring import INBOUNDS

Told = dict[str, Any]
NOTHING: Told = {"logins": {}, "sources": {}, "stores": []}


async def tell_of_the_town(desk: Desk) -> Told:
    """For the line that programs read. Its tokens live ten minutes."""
    shops = [shop for business in BUSINESSES for shop in business.shops]
    async with desk.begin() as uow:
        ids = {shop.slug: found[0] for shop in shops if (found := await uow.sources.store_of_slug(shop.slug))}
    return {
        "logins": {app.value.lower(): told for app in App if (told := await _login(app, desk))},
        "sources": {one.provider: told for one in CONNECTIONS if (told := await _source(one, desk))},
        "stores": [{"id": str(ids[shop.slug]), "slug": shop.slug, "name": shop.name} for shop in shops if shop.slug in ids],
    }


async def _login(app: App, desk: Desk) -> Told | None:
    """The first who lives in the town and uses the app. Nobody, where somebody has taken that away."""
    person = next(person for person in PEOPLE if person.app is app)
    try:
        token = await access_token(person.phone, app, desk)
    except Problem:
        return None
    return {"login": person.phone, "password": PASSWORD, "token": token}


async def _source(connection: Connection, desk: Desk) -> Told | None:
    inbound, secret = INBOUNDS[connection.provider], demo_secret(connection, desk.trust)
    async with desk.begin() as uow:
        _, merchant_id = await uow.sources.store_of_slug(connection.shop) or (None, None)
        source_id = await uow.sources.find(merchant_id, connection.provider) if merchant_id else None
    if source_id is None:
        return None
    if not await _is_live(inbound, source_id, secret, desk):
        say(f"the secret of {connection.provider} was changed since: rotate it in the merchant app to see a new one")
        return {"id": str(source_id), "secret": None, "store": connection.external_id, "endpoints": {}}
    urls = endpoints(inbound, inbound.proof, desk.settings.public_url or "", source_id, secret)
    return {"id": str(source_id), "secret": secret, "store": connection.external_id, "endpoints": dict(urls)}


async def _is_live(inbound: Inbound, source_id: UUID, secret: str, desk: Desk) -> bool:
    """Whether it is shown by its provider's own proof still, and with this secret."""
    known = await sources.by_id(desk.reads, inbound.provider, source_id)
    try:
        source = known.opened(desk.trust.seals, inbound.proof) if known else None
    except Refused:  # sealed by a key we do not have
        return False
    of_url = inbound.proof.strategy is Strategy.URL_TOKEN
    mine = token_hash(secret) if of_url else key_of(inbound.proof, secret)
    return source is not None and source.proof == inbound.proof and mine in source.secrets


# ---------------------------------------------------------------- for people


def show(url: str, told: Told) -> None:
    _print("Where", _addresses(url))
    if told["logins"]:
        _print("Who (the password of each is " + PASSWORD + ")", [(_role(one), one.name, one.phone) for one in PEOPLE])
    for provider, source in told["sources"].items():
        _print(f"{provider}, which knows its store as {source['store']}", _of_source(source))


def _addresses(url: str) -> Sequence[tuple[str, str]]:
    return (
        ("GraphQL", f"{url}/graphql"),
        ("GraphQL over WebSocket", f"{url.replace('http', 'ws', 1)}/graphql"),
        ("Health and figures", f"{url}/livez  {url}/readyz  {url}/metrics"),
        ("Doors of providers", f"{url}/v1/integrations/{{pos|erp|seller}}/{{provider}}/…"),
    )


def _role(person: Person) -> str:
    """`owner of namma-bazaar`, `rider`."""
    return f"{person.role.value.lower()} of {person.merchant}" if person.role else person.app.value.lower()


def _of_source(source: Mapping[str, Any]) -> Sequence[tuple[str, str]]:
    return (("id", source["id"]), ("secret", source["secret"] or "changed since"), *source["endpoints"].items())


def _print(title: str, rows: Sequence[tuple[str, ...]]) -> None:
    """A table as wide as its longest line: an address that is cut off, or broken in two, cannot be copied."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    console.print(Text(title, "bold"))
    for first, *more in rows:
        line = Text(f"  {first:<{widths[0]}}", "dim")
        for width, cell in zip(widths[1:], more, strict=True):
            line.append(f"  {cell:<{width}}", "not dim")
        line.rstrip()
        console.print(line)
    console.print()
