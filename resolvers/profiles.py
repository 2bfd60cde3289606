"""Profiles of sources: saved, tried on what came, and turned on."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from uuid import UUID

import msgspec

from db import profiles as rows
from db import sources
from db.sources import Source
from domain.bodies import BodyLost
from domain.canonical import Command
from domain.intake import Call, Inbound, Reading, translated
from domain.intake import Source as ProvenSource
from domain.profile_checking import known
from domain.profile_versions import BUILTIN, SourceProfile, activate_profile, save_profile
from domain.profiles import ENDPOINTS, Profiled
from domain.refusals import Problem, invalid, not_found
from resolvers.context import Context

COMMANDS_SHOWN, PROBLEMS_SHOWN = 200, 500
SAMPLE_BYTES = 256 * 1024


@dataclass(frozen=True, slots=True)
class Said:
    """A command as it would be kept: what it leaves out is not among its fields."""

    kind: str
    entity: str
    fields: object


@dataclass(frozen=True, slots=True)
class DryRun:
    """`event_id` is what would make it the same news as another payload; None: its bytes, for a while."""

    total: int
    commands: Sequence[Said]
    problems: Sequence[Problem]
    event_id: str | None


@dataclass(frozen=True)
class Sample:
    """What is tried: a payload that came, or a text as if it had come to a door."""

    payload_id: UUID | None
    text: str | None
    door: str | None


async def profiles_of(context: Context, source: Source) -> Sequence[SourceProfile]:
    """The newest first, the provider's own last."""
    saved = list(await context.loaders.profiles_of_source.load(source.id))
    builtin = _builtin(context.ports.inbounds.get(source.provider), source.id)
    if builtin is None:
        return saved
    return [*saved, replace(builtin, active=not any(one.active for one in saved))]


async def save(context: Context, source_id: UUID, profile: object) -> SourceProfile:
    """Refuses ProfileInvalid, NotFound, Conflict, InvalidInput where the provider takes none."""
    source, _ = await profiled(context, source_id)
    async with context.unit_of_work() as uow:
        version = await save_profile(source_id, json.dumps(profile), context.actor, uow)
    return await _profile(context, source, version)


async def activate(context: Context, source_id: UUID, version: int) -> SourceProfile:
    """Refuses NotFound, InvalidInput where the provider takes none."""
    source, inbound = await profiled(context, source_id)
    async with context.unit_of_work() as uow:
        builtin = _builtin(inbound, source_id) is not None
        await activate_profile(source_id, version, builtin=builtin, actor=context.actor, uow=uow)
    return await _profile(context, source, version)


async def dry_run(context: Context, source_id: UUID, version: int, sample: Sample) -> DryRun:
    """Nothing is written. Refuses NotFound, InvalidInput."""
    source, inbound = await profiled(context, source_id)
    profile = await _profile(context, source, version)
    call = await _call(context, source_id, sample, profile)
    return tried(await read_with(context, inbound, call, source_id, profile.document))


async def read_with(context: Context, inbound: Inbound, call: Call, source_id: UUID, document: str) -> Reading:
    as_known = await sources.any_by_id(context.reads, source_id)
    mine: ProvenSource = replace(as_known, profile=document)
    return await context.ports.tries.run(context.actor.id, lambda: translated(inbound, call, mine))


def tried(reading: Reading) -> DryRun:
    problems = list(reading.problems)
    if reading.wrong is not None and not problems:
        problems = [Problem("$", reading.wrong.message)]
    shown = [said(command) for command in reading.commands[:COMMANDS_SHOWN]]
    return DryRun(len(reading.commands), shown, problems[:PROBLEMS_SHOWN], reading.event_id)


def said(command: Command) -> Said:
    fields = msgspec.to_builtins(command, str_keys=True)
    return Said(type(command).__name__, command.entity, {name: told for name, told in fields.items() if told not in (None, [], "")})


async def _call(context: Context, source_id: UUID, sample: Sample, profile: SourceProfile) -> Call:
    if (sample.payload_id is None) == (sample.text is None):
        raise invalid("payloadId", "either it or a sample")
    if sample.payload_id is not None:
        body = await rows.payload_body(context.reads, context.actor, source_id, sample.payload_id)
        if body is None:
            raise not_found("payload")
        if not body.stored.whole:
            raise invalid("payloadId", "only its beginning was kept")
        try:
            raw = await context.ports.bodies.read(body.stored)
        except BodyLost as lost:
            raise invalid("payloadId", str(lost)) from lost
        return Call(body.door, raw, body.headers, body.received_at)
    raw = (sample.text or "").encode("utf-8", "replace")
    if len(raw) > SAMPLE_BYTES:
        raise invalid("sample", f"is longer than {SAMPLE_BYTES // 1024} KB")
    door = sample.door or _first_door(profile)
    if door not in ENDPOINTS:
        raise invalid("door", f"is none of {', '.join(ENDPOINTS)}")
    async with context.unit_of_work() as uow:
        return Call(door, raw, {}, await uow.now())


def _first_door(profile: SourceProfile) -> str:
    """Of those that its first event is for."""
    first = known(profile.document).events[0].endpoints
    return next((name for name in ENDPOINTS if name in first), ENDPOINTS[0])


async def profiled(context: Context, source_id: UUID) -> tuple[Source, Inbound]:
    """Refuses NotFound for another's, InvalidInput where its provider reads its own words."""
    found = await sources.sources_by_id(context.reads, context.actor, [source_id])
    inbound = context.ports.inbounds.get(found[0].provider) if found else None
    if inbound is None:
        raise not_found("source")
    if not isinstance(inbound, Profiled):
        raise invalid("sourceId", f"{inbound.provider} speaks a language of its own, and takes no profile")
    return found[0], inbound


async def _profile(context: Context, source: Source, version: int) -> SourceProfile:
    context.loaders.profiles_of_source.clear(source.id)
    found = [one for one in await profiles_of(context, source) if one.version == version]
    if not found:
        raise not_found("profile")
    return found[0]


def _builtin(inbound: Inbound | None, source_id: UUID) -> SourceProfile | None:
    if not isinstance(inbound, Profiled) or inbound.builtin is None:
        return None
    profile = known(inbound.builtin)
    return SourceProfile(source_id, BUILTIN, False, profile.assumed, profile.name, inbound.builtin, "", None)
