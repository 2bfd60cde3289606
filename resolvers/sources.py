"""Connecting sources, their secrets, and how their calls show whose they are."""

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from uuid import UUID

from db import sources
from db.sources import Source
from domain.intake import Inbound, Issuer
from domain.proofs import Proof, Strategy, lower, shown
from domain.refusals import invalid, not_found
from domain.sources import (
    GRACE,
    MASKED,
    NewSecret,
    SetSource,
    check_given,
    check_proof,
    connect_source,
    endpoints,
    kept_secret,
    rotate_secret,
    set_source,
)
from domain.telling import tell_orders
from resolvers.context import Context

SECRET_BYTES = 32


@dataclass(frozen=True, slots=True)
class Endpoint:
    name: str
    url: str


@dataclass(frozen=True, slots=True)
class NewSource:
    """The secret and the full URLs, shown this once."""

    source: Source
    secret: str = field(repr=False)
    endpoints: Sequence[Endpoint] = field(repr=False)


def proof_of(context: Context, source: Source) -> Proof | None:
    """What holds. None: nobody calls us by that name."""
    inbound = context.ports.inbounds.get(source.provider)
    return source.own_proof or (inbound.proof if inbound else None)


def masked_endpoints(context: Context, source: Source) -> Sequence[Endpoint]:
    inbound, proof = context.ports.inbounds.get(source.provider), proof_of(context, source)
    return _endpoints(endpoints(inbound, proof, context.ports.url, source.id)) if inbound and proof else ()


def _endpoints(urls: Mapping[str, str]) -> Sequence[Endpoint]:
    return [Endpoint(name, url) for name, url in urls.items()]


async def connect(context: Context, merchant_id: UUID, provider: str, given: str | None, own: Proof | None) -> NewSource:
    """Refuses InvalidInput, NotFound, Forbidden."""
    inbound = context.ports.inbounds.get(provider)
    if inbound is None:
        raise invalid("provider", f"is none of {', '.join(sorted(context.ports.inbounds))}")
    own = lower(own) if own else None
    _check(inbound, own)
    text, new = _secret(context, own or inbound.proof, given)
    async with context.unit_of_work() as uow:
        source_id = await connect_source(merchant_id, provider, inbound.family, new, context.actor, uow, own)
    return await _shown(context, source_id, inbound, MASKED if given else text)


def _check(inbound: Inbound, own: Proof | None) -> None:
    """Refuses InvalidInput, also for tokens of a provider that has no door where to ask for one."""
    check_proof(own)
    if own is not None and own.strategy is Strategy.BEARER_ISSUED and not isinstance(inbound, Issuer):
        raise invalid("proof.strategy", f"is not for {inbound.provider}, which asks for no tokens")


async def rotate(
    context: Context, source_id: UUID, given: str | None, not_before: datetime | None, grace_minutes: int | None
) -> NewSource:
    """The secret before is good for a day yet, or as long as is said. Refuses NotFound, InvalidInput."""
    found = await sources.sources_by_id(context.reads, context.actor, [source_id])
    inbound = context.ports.inbounds.get(found[0].provider) if found else None
    if inbound is None:
        raise not_found("source")
    text, new = _secret(context, found[0].own_proof or inbound.proof, given)
    grace = GRACE if grace_minutes is None else timedelta(minutes=grace_minutes)
    async with context.unit_of_work() as uow:
        await rotate_secret(source_id, replace(new, not_before=not_before), context.actor, uow, grace)
    return await _shown(context, source_id, inbound, MASKED if given else text)


def _secret(context: Context, proof: Proof, given: str | None) -> tuple[str, NewSecret]:
    """As people copy it, and as it is kept: the one that was given, or one of ours. Refuses InvalidInput."""
    if given is not None:
        check_given(proof, given)
    text = shown(proof, secrets.token_bytes(SECRET_BYTES)) if given is None else given
    return text, kept_secret(proof, text, context.ports.seals)


async def _shown(context: Context, source_id: UUID, inbound: Inbound, secret: str) -> NewSource:
    [source] = await sources.sources_by_id(context.reads, context.actor, [source_id])
    proof = source.own_proof or inbound.proof
    return NewSource(source, secret, _endpoints(endpoints(inbound, proof, context.ports.url, source_id, secret)))


async def change(context: Context, command: SetSource, told_orders: bool | None = None) -> Source:
    """Refuses NotFound, InvalidInput, Conflict."""
    found = await sources.sources_by_id(context.reads, context.actor, [command.source_id])
    inbound = context.ports.inbounds.get(found[0].provider) if found else None
    if inbound is not None:
        _check(inbound, lower(command.proof) if command.proof else None)
    async with context.unit_of_work() as uow:
        await set_source(command, context.actor, uow)
        if told_orders is not None:
            outbound = context.ports.outbounds.get(found[0].provider) if found else None
            await tell_orders(command.source_id, outbound, context.actor, uow, on=told_orders)
    [source] = await sources.sources_by_id(context.reads, context.actor, [command.source_id])
    return source


async def sources_of(context: Context, merchant_id: UUID | None, provider: str | None = None) -> Sequence[Source]:
    return await sources.sources(context.reads, context.actor, merchant_id, provider)
