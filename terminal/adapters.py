"""A provider's adapter from a Python file, tried on what a source has sent: the difference to what was kept. Nothing is written."""

import importlib.util
import inspect
import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import cast
from uuid import UUID

from db import shadow
from domain.bodies import BodyLost
from domain.intake import Inbound, Source
from domain.profile_shadow import Apart, read_again
from launch.problem import Problem
from terminal.desk import OPERATOR, Desk
from terminal.said import say

LINES = 20  # of one payload
AT_ONCE = 10  # payloads read at once from the database
FACTS = ("provider", "family", "proof", "doors", "endpoints", "questions")
WORDS = ("verify", "event_id", "translate", "acknowledge", "refuse", "answer")


async def shadow_adapter(path: Path, source: Source, last: int, desk: Desk) -> int:
    """Returns how many payloads would say something else."""
    adapter = adapter_of(path, source.provider)
    ids = await shadow.latest(desk.reads, OPERATOR, source.id, last)
    differing = 0
    for at in range(0, len(ids), AT_ONCE):
        heard = await shadow.heard(desk.reads, OPERATOR, ids[at : at + AT_ONCE])
        for id in ids[at : at + AT_ONCE]:
            one = heard.get(id)
            if one is None:  # it is past its time, and has just gone
                continue
            try:
                body = await desk.bodies.read(one.stored)
            except BodyLost as lost:
                say(f"{id}: {lost}")
                continue
            apart = shadow.apart(one, read_again(adapter, one, body, source))
            if apart.size:
                differing += 1
                _show(id, one.door, len(one.kept.commands), apart)
    say(f"{len(ids)} payloads read, {differing} would say something else; nothing is written")
    return differing


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


# ---------------------------------------------------------------- the file


def adapter_of(path: Path, provider: str) -> Inbound:
    """The file's own class that has all that an Inbound has; of several that of the provider."""
    module = _module(path)
    own = [one for one in vars(module).values() if inspect.isclass(one) and one.__module__ == module.__name__]
    fit = [one for one in own if not _missing(one, WORDS)]
    named = [one for one in fit if getattr(one, "provider", None) == provider]
    if not fit:
        near = min(own, key=lambda one: len(_missing(one, WORDS)), default=None)
        raise _no_adapter(path, f"{near.__name__} has no {', '.join(_missing(near, WORDS))}" if near else "it has no class")
    if len(fit) > 1 and len(named) != 1:
        raise Problem(f"{path} has {len(fit)} adapters, and not one for {provider}", "leave one of them in it")
    chosen = fit[0] if len(fit) == 1 else named[0]
    try:
        made = chosen()
    except (Exception, SystemExit) as error:
        raise Problem(f"{chosen.__name__} of {path} cannot be made: {_told(error)}", "it is made without arguments") from error
    if lacking := _missing(made, FACTS):
        raise _no_adapter(path, f"{chosen.__name__} has no {', '.join(lacking)}")
    return cast(Inbound, made)


def _missing(one: object, names: Sequence[str]) -> list[str]:
    return [name for name in names if not hasattr(one, name)]


def _no_adapter(path: Path, why: str) -> Problem:
    return Problem(f"{path} has no adapter: {why}", "see the Inbound of domain/intake.py, and the files in providers/")


def _module(path: Path) -> ModuleType:
    if not path.is_file():
        raise Problem(f"there is no file {path}", "name a Python file with an adapter in it")
    name = f"adapter_file_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise Problem(f"{path} is no Python file", "its name ends with .py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # its dataclasses look for it there
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        raise Problem(f"{path} cannot be loaded: {_told(error)}", "it is Python, and is run as it stands") from error
    return module


def _told(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}"
