"""A changed profile, or an adapter, tried on what a source has sent: how it differs from what was kept. Nothing is written."""

from dataclasses import dataclass, replace
from pathlib import Path
from uuid import UUID

from db import shadow as rows
from domain.bodies import BodyLost
from domain.intake import Inbound, Source
from domain.profile_shadow import Apart, read_again
from domain.profiles import Profiled
from launch.problem import Problem
from terminal.desk import OPERATOR, Desk
from terminal.said import say
from terminal.shadow_files import adapter_of, profile_of
from terminal.sources import known_source
from wiring import INBOUNDS

LINES = 20  # of one payload
AT_ONCE = 10  # payloads read at once from the database


@dataclass(frozen=True)
class Asked:
    """By one of the two."""

    source: str
    profile: Path | None
    last: int
    adapter: Path | None = None


async def shadow(asked: Asked, desk: Desk) -> int:
    """Returns how many payloads would say something else. Refuses InvalidInput with all that is wrong with the profile."""
    if (asked.profile is None) == (asked.adapter is None):
        raise Problem("read them by what?", "say --profile FILE or --adapter FILE")
    known = await known_source(asked.source, desk)
    if asked.adapter is not None:
        inbound = adapter_of(asked.adapter, known.provider)
    else:
        assert asked.profile is not None
        inbound = _profiled(known)
        known = replace(known, profile=profile_of(asked.profile))
    ids = await rows.latest(desk.reads, OPERATOR, known.id, asked.last)
    differing = 0
    for at in range(0, len(ids), AT_ONCE):
        heard = await rows.heard(desk.reads, OPERATOR, ids[at : at + AT_ONCE])
        for id in ids[at : at + AT_ONCE]:
            one = heard.get(id)
            if one is None:  # it is past its time, and has just gone
                continue
            try:
                body = await desk.bodies.read(one.stored)
            except BodyLost as lost:
                say(f"{id}: {lost}")
                continue
            apart = rows.apart(one, read_again(inbound, one, body, known))
            if apart.size:
                differing += 1
                _show(id, one.door, len(one.kept.commands), apart)
    say(f"{len(ids)} payloads read, {differing} would say something else; nothing is written")
    return differing


def _profiled(source: Source) -> Inbound:
    inbound = INBOUNDS[source.provider]
    if not isinstance(inbound, Profiled):
        raise Problem(f"{inbound.provider} speaks a language of its own", "a profile is for generic and its like")
    return inbound


def _show(id: UUID, door: str, kept: int, apart: Apart) -> None:
    say(f"{id} at {door}: {kept} kept, {len(apart.added)} added, {len(apart.gone)} gone, {len(apart.changed)} changed")
    lines = [f"  - {one!r}" for one in apart.gone] + [f"  + {one!r}" for one in apart.added]
    for one in apart.changed:
        fields = "; ".join(f"{name} {before!r} → {after!r}" for name, (before, after) in one.fields.items())
        lines.append(f"  ~ {type(one.before).__name__} {one.before.entity}: {fields}")
    lines += [f"  no longer wrong: {one}" for one in apart.right] + [f"  wrong: {one}" for one in apart.wrong]
    for line in lines[:LINES]:
        say(line)
    if len(lines) > LINES:
        say(f"  … and {len(lines) - LINES} more")
