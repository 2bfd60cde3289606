"""A provider's call, made by hand: the sample of an event, signed and sent through the same door as the real ones."""

import http.client
import json
import secrets
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit
from uuid import UUID

from db import sources
from db.sources import Source
from demo.samples import SAMPLES, Sample
from demo.town import CONNECTIONS
from domain.proofs import Proof, Strategy, prove, shown, token_hash
from domain.sources import endpoints
from launch.problem import Problem
from terminal.desk import OPERATOR, Desk
from terminal.sources import demo_secret
from wiring import INBOUNDS

TIMEOUT_S = 15
SHOWN_CHARACTERS = 2_000


@dataclass(frozen=True)
class Asked:
    """As it was typed."""

    source: str  # its id, or the provider where it has only one
    event: str | None
    changes: Sequence[str] = ()  # `sku=TEA-250`, `data.lines.0.available=4`
    store: str | None = None
    bad_signature: bool = False
    secret: str | None = field(default=None, repr=False)


@dataclass(frozen=True)
class Prepared:
    url: str
    headers: Mapping[str, str]
    body: bytes


async def prepare(asked: Asked, desk: Desk) -> Prepared:
    source = await _source(asked.source, desk)
    sample = _sample(source.provider, asked.event)
    now = datetime.now(UTC)
    told = sample.body(await _store(asked.store, source, desk), now)
    for change in asked.changes:
        _change(told, change)
    body = json.dumps(told, ensure_ascii=False).encode()
    secret = await _secret(asked, source, desk)
    inbound = INBOUNDS[source.provider]
    proof = source.own_proof or inbound.proof
    if asked.bad_signature:
        secret = shown(proof, secrets.token_bytes(32))
    url = endpoints(inbound, proof, _running(desk), source.id, secret)[sample.endpoint]
    headers = {"content-type": "application/json", "user-agent": "haat-webhook", **sample.headers}
    try:
        headers |= prove(proof, secret, source.id, url, body, now, f"msg_{secrets.token_hex(12)}")
    except ValueError as error:
        raise Problem(f"this cannot be signed: {error}", "give the field with --set") from error
    return Prepared(url, headers, body)


def send(prepared: Prepared, repeat: int) -> Sequence[int]:
    """Prints the request once and each answer; returns their statuses."""
    say = sys.stdout.write
    say(f"POST {prepared.url}\n")
    for name, value in prepared.headers.items():
        say(f"{name}: {value}\n")
    say(f"\n{_short(prepared.body)}\n")
    statuses = []
    for _ in range(repeat):
        status, body = _post(prepared)
        say(f"\n{status} {http.client.responses.get(status, '')}\n{_short(body)}\n")
        statuses.append(status)
    return statuses


def _post(prepared: Prepared) -> tuple[int, bytes]:
    url = urlsplit(prepared.url)
    kind = http.client.HTTPSConnection if url.scheme == "https" else http.client.HTTPConnection
    connection = kind(url.hostname or "", url.port, timeout=TIMEOUT_S)
    try:
        connection.request("POST", f"{url.path}?{url.query}" if url.query else url.path, prepared.body, dict(prepared.headers))
        answer = connection.getresponse()
        return answer.status, answer.read()
    except OSError as error:
        raise Problem(f"{url.netloc} does not answer ({error.strerror or error})", "is ./haat up running there?") from error
    finally:
        connection.close()


def _short(body: bytes) -> str:
    try:
        text = json.dumps(json.loads(body), indent=2, ensure_ascii=False)
    except ValueError:
        text = body.decode(errors="replace")
    return text if len(text) <= SHOWN_CHARACTERS else f"{text[:SHOWN_CHARACTERS]}\n… {len(body)} bytes in all"


def _running(desk: Desk) -> str:
    if desk.settings.public_url is None:
        raise Problem("no town is running here", "start ./haat up, or set HAAT_PUBLIC_URL")
    return desk.settings.public_url.rstrip("/")


# ---------------------------------------------------------------- whose call it is


async def _source(name: str, desk: Desk) -> Source:
    try:
        found = await sources.sources_by_id(desk.reads, OPERATOR, [UUID(name)])
    except ValueError:
        found = await sources.sources(desk.reads, OPERATOR, provider=name)
    if len(found) == 1:
        return found[0]
    if found:
        raise Problem(f"there are {len(found)} sources of {name}", f"name one by its id: {', '.join(str(one.id) for one in found)}")
    every = await sources.sources(desk.reads, OPERATOR)
    known = ", ".join(sorted({one.provider for one in every})) or "none: connect one in the merchant app, or ./haat seed"
    raise Problem(f"there is no source {name}", f"those there are: {known}")


def _sample(provider: str, event: str | None) -> Sample:
    samples = SAMPLES.get(provider, {})
    if event is None or event not in samples:
        what = f"{provider} sends no {event} that we know a sample of" if event else "which event?"
        raise Problem(what, f"choose from {', '.join(samples) or 'none yet'}")
    return samples[event]


async def _store(asked: str | None, source: Source, desk: Desk) -> str:
    """The provider's own id of the store: of the one that is asked for by that or by its slug, else the first it is mapped to."""
    known = (await sources.any_by_id(desk.reads, source.id)).stores
    if asked is None:
        if not known:
            raise Problem("the source is mapped to no store", "map one, or name it with --store")
        return next(iter(known))
    for external_id in known:
        if external_id == asked or await _is_store(asked, source, external_id, desk):
            return external_id
    return asked  # what it would be to have an unmapped one


async def _is_store(slug: str, source: Source, external_id: str, desk: Desk) -> bool:
    async with desk.begin() as uow:
        found = await uow.sources.store_of_slug(slug)
    return found is not None and found[0] == await sources.store_of(desk.reads, source.id, external_id)


async def _secret(asked: Asked, source: Source, desk: Desk) -> str:
    """The newest that is live: opened where it is sealed, of a demo source made again."""
    if asked.secret is not None:
        return asked.secret
    proof = source.own_proof or INBOUNDS[source.provider].proof
    if proof.strategy is not Strategy.URL_TOKEN:
        known = await sources.by_id(desk.reads, source.provider, source.id)
        if known is None or not known.sealed:
            raise Problem("the source is disabled, or has no secret that is live", "rotate its secret first")
        return _as_shown(proof, known.opened(desk.trust.seals, proof).secrets[0])
    for connection in CONNECTIONS:
        if connection.provider == source.provider:
            secret = demo_secret(connection, desk.trust)
            known = await sources.by_token(desk.reads, source.provider, token_hash(secret))
            if known is not None and known.source.id == source.id:
                return secret
    raise Problem("of this source's token we keep the hash alone", "give it with --secret, as it was shown when it was made")


def _as_shown(proof: Proof, key: bytes) -> str:
    return shown(proof, key) if proof.strategy is Strategy.STANDARD_WEBHOOKS else key.decode()


# ---------------------------------------------------------------- --set


def _change(told: Any, change: str) -> None:
    """`a.b.0=value` from the top, or `name=value` wherever the first of that name is. A value is JSON where it is any."""
    path, equals, text = change.partition("=")
    if not equals or not path:
        raise Problem(f"--set {change} says nothing", "write it like --set sku=TEA-250")
    names = path.split(".")
    within = _named(told, names[0]) if len(names) == 1 else told
    for name in names[:-1]:
        within = _step(within, name)
    last = names[-1]
    if isinstance(within, list) and last.isdigit() and int(last) < len(within):
        within[int(last)] = _value(text, within[int(last)])
    elif isinstance(within, dict):
        within[last] = _value(text, within.get(last))
    else:
        raise Problem(f"there is no {path} in this sample", "look at what it sends without --set")


def _named(told: Any, name: str) -> Any:
    """What has such a name in it, from the top down."""
    if isinstance(told, dict) and name in told:
        return told
    for inner in told.values() if isinstance(told, dict) else told if isinstance(told, list) else ():
        found = _named(inner, name)
        if found is not None:
            return found
    return None


def _step(within: Any, name: str) -> Any:
    if isinstance(within, dict):
        return within.get(name)
    return within[int(name)] if isinstance(within, list) and name.isdigit() and int(name) < len(within) else None


def _value(text: str, before: Any) -> Any:
    if isinstance(before, str):
        return text  # where a provider writes numbers as text, so do we
    try:
        return json.loads(text)
    except ValueError:
        return text
