"""A changed profile, or an adapter, tried on what a source has sent: what it would say otherwise. Nothing is written."""

from dataclasses import dataclass, replace
from pathlib import Path
from uuid import UUID

from db.profiles import latest_bodies
from domain.bodies import BodyLost
from domain.instructions import Command
from domain.intake import Call, Inbound, Reading, Source, translated
from domain.profile_checking import parsed
from domain.profile_shadow import Difference, difference
from domain.profiles import Profiled
from launch.problem import Problem
from terminal.adapters import shadow_adapter
from terminal.desk import OPERATOR, Desk
from terminal.said import say
from terminal.sources import known_source
from wiring import INBOUNDS

LINES = 20  # of one payload


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
    if asked.adapter is not None:
        return await shadow_adapter(asked.adapter, await known_source(asked.source, desk), asked.last, desk)
    known, inbound = await _profiled(asked.source, desk)
    text = _text(asked.profile)
    parsed(text)
    bodies = await latest_bodies(desk.reads, OPERATOR, known.id, asked.last)
    differing = 0
    for body in bodies:
        try:
            raw = await desk.bodies.read(body.stored)
        except BodyLost as lost:
            say(f"{body.id}: {lost}")
            continue
        call = Call(body.door, raw, body.headers, body.received_at)
        before, after = (translated(inbound, call, replace(known, profile=profile)) for profile in (known.profile, text))
        found = difference(before, after)
        if found:
            differing += 1
            _show(body.id, body.door, found, before)
    say(f"{len(bodies)} payloads read, {differing} would say something else; nothing is written")
    return differing


async def _profiled(id: str, desk: Desk) -> tuple[Source, Inbound]:
    known = await known_source(id, desk)
    inbound = INBOUNDS[known.provider]
    if not isinstance(inbound, Profiled):
        raise Problem(f"{inbound.provider} speaks a language of its own", "a profile is for generic and its like")
    return known, inbound


def _text(path: Path | None) -> str:
    assert path is not None
    try:
        return path.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise Problem(f"{path} cannot be read", "name a file of JSON") from error


def _show(id: UUID, door: str, found: Difference, before: Reading) -> None:
    say(f"{id} at {door}: {len(before.commands)} commands, {len(found.gone)} would go, {len(found.come)} would come")
    lines = [f"  - {_told(one)}" for one in found.gone] + [f"  + {_told(one)}" for one in found.come]
    lines += [f"  no longer wrong: {one}" for one in found.right] + [f"  wrong: {one}" for one in found.wrong]
    for line in lines[:LINES]:
        say(line)
    if len(lines) > LINES:
        say(f"  … and {len(lines) - LINES} more")


def _told(command: Command) -> str:
    return repr(command)
