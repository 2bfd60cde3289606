"""Sources, what they sent, and what went wrong with it."""

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from uuid import UUID

from db import failures as rows
from db import sources
from db.failures import Instruction, Payload, Seen
from db.pages import Page
from db.sources import Source
from domain import failures
from domain.failures import Failure, ResolveFailure
from domain.intake import Inbound
from domain.refusals import invalid, not_found
from domain.proofs import shown
from domain.sources import MapExternalId, connect_source, endpoints, kept_secret, map_external_id, rotate_secret
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
    secret: str
    endpoints: Sequence[Endpoint]


async def sources_of(context: Context, merchant_id: UUID | None, provider: str | None = None) -> Sequence[Source]:
    return await sources.sources(context.reads, context.actor, merchant_id, provider)


def masked_endpoints(context: Context, source: Source) -> Sequence[Endpoint]:
    inbound = context.ports.inbounds.get(source.provider)
    if inbound is None:
        return ()
    return _endpoints(endpoints(inbound, source.own_proof or inbound.proof, context.ports.url, source.id))


def _endpoints(urls: Mapping[str, str]) -> Sequence[Endpoint]:
    return [Endpoint(name, url) for name, url in urls.items()]


async def failures_page(context: Context, which: Seen, first: int | None, after: str | None) -> Page[Failure]:
    return await rows.failures(context.reads, context.actor, which, first, after)


async def payload(context: Context, payload_id: UUID) -> Payload | None:
    return await context.loaders.intake_payloads.load(payload_id)


async def instructions(context: Context, payload_id: UUID, first: int | None, after: str | None) -> Page[Instruction]:
    return await rows.instructions(context.reads, context.actor, payload_id, first, after)


async def connect(context: Context, merchant_id: UUID, provider: str) -> NewSource:
    """Refuses InvalidInput, NotFound, Forbidden."""
    inbound = context.ports.inbounds.get(provider)
    if inbound is None:
        raise invalid("provider", f"is none of {', '.join(sorted(context.ports.inbounds))}")
    raw = secrets.token_bytes(SECRET_BYTES)
    secret = shown(inbound.proof, raw)
    new = kept_secret(inbound.proof, secret, context.ports.seals)
    async with context.unit_of_work() as uow:
        source_id = await connect_source(merchant_id, provider, inbound.family, new, context.actor, uow)
    return await _shown(context, source_id, inbound, secret)


async def rotate(context: Context, source_id: UUID) -> NewSource:
    """The secret before is good for a day yet. Refuses NotFound."""
    found = await sources.sources_by_id(context.reads, context.actor, [source_id])
    inbound = context.ports.inbounds.get(found[0].provider) if found else None
    if inbound is None:
        raise not_found("source")
    proof = found[0].own_proof or inbound.proof
    secret = shown(proof, secrets.token_bytes(SECRET_BYTES))
    async with context.unit_of_work() as uow:
        await rotate_secret(source_id, kept_secret(proof, secret, context.ports.seals), context.actor, uow)
    return await _shown(context, source_id, inbound, secret)


async def _shown(context: Context, source_id: UUID, inbound: Inbound, secret: str) -> NewSource:
    [source] = await sources.sources_by_id(context.reads, context.actor, [source_id])
    proof = source.own_proof or inbound.proof
    return NewSource(source, secret, _endpoints(endpoints(inbound, proof, context.ports.url, source_id, secret)))


async def map_id(context: Context, command: MapExternalId) -> bool:
    """Refuses NotFound, InvalidInput."""
    async with context.unit_of_work() as uow:
        await map_external_id(command, context.actor, uow)
    return True


async def replay(context: Context, ids: Sequence[UUID]) -> Sequence[Failure]:
    """Refuses NotFound, Conflict, InvalidInput."""
    async with context.unit_of_work() as uow:
        await failures.replay_failures(ids, context.actor, uow)
    return await _failures(context, ids)


async def resolve(context: Context, command: ResolveFailure) -> Failure:
    """Refuses NotFound, InvalidInput."""
    async with context.unit_of_work() as uow:
        await failures.resolve_failure(command, context.actor, uow)
    return (await _failures(context, [command.id]))[0]


async def _failures(context: Context, ids: Sequence[UUID]) -> Sequence[Failure]:
    """In the order asked for."""
    found = {failure.id: failure for failure in await rows.failures_by_id(context.reads, context.actor, ids)}
    return [found[id] for id in dict.fromkeys(ids) if id in found]
