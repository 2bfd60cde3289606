"""A changed profile, tried on what a source has sent: what would be kept otherwise. Nothing is written."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from time import monotonic
from uuid import UUID

import msgspec

from db import shadow as rows
from db import sources
from db.pages import Edge, Page, PageInfo
from domain.bodies import BodyLost
from domain.canonical import Command
from domain.intake import Inbound
from domain.intake import Source as ProvenSource
from domain.profile_checking import parsed
from domain.profile_shadow import Apart, Change, Heard, read_again
from resolvers.context import Context
from resolvers.profiles import Said, profiled, said

SHOWN = 50  # commands, changes, problems of one payload
PAGE_BYTES = 4 * 1024 * 1024
PAGE_S = 3.0


@dataclass(frozen=True, slots=True)
class FieldChange:
    name: str
    before: object
    after: object


@dataclass(frozen=True, slots=True)
class CommandChange:
    kind: str
    entity: str
    fields: Sequence[FieldChange]


@dataclass(frozen=True, slots=True)
class ShadowedPayload:
    """`differences` counts all of them."""

    payload_id: UUID
    kept: int
    differences: int
    added: Sequence[Said]
    gone: Sequence[Said]
    changed: Sequence[CommandChange]
    wrong: Sequence[str]
    right: Sequence[str]


@dataclass(frozen=True)
class Asked:
    source_id: UUID
    profile: object  # JSON
    since: datetime | None
    first: int | None
    after: str | None


async def shadow_replay(context: Context, asked: Asked) -> Page[ShadowedPayload]:
    """A page may end before it is full: where its payloads are long, or take long. Refuses NotFound, InvalidInput, Unavailable."""
    began = monotonic()
    _, inbound = await profiled(context, asked.source_id)
    text = json.dumps(asked.profile)
    parsed(text)
    page = await rows.sent(context.reads, context.actor, asked.source_id, asked.since, asked.first, asked.after)
    edges = _of_a_page(page.edges)
    heard = await rows.heard(context.reads, context.actor, [edge.node.id for edge in edges])
    known = replace(await sources.any_by_id(context.reads, asked.source_id), profile=text)
    done: list[Edge[ShadowedPayload]] = []
    read = 0
    for edge in edges:
        if read and monotonic() - began > PAGE_S:
            break
        read += 1
        one = heard.get(edge.node.id)
        if one is not None:  # else it has just been thrown away by age
            done.append(Edge(edge.cursor, await _shadowed(context, edge.node.id, one, inbound, known)))
    more = page.page_info.has_next_page or read < len(page.edges)
    cursors: list[str | None] = [edge.cursor for edge in edges[:read]]
    cursors = cursors or [None]
    return Page(done, PageInfo(more, page.page_info.has_previous_page, cursors[0], cursors[-1]), page.whole)


def _of_a_page(edges: Sequence[Edge[rows.Sent]]) -> Sequence[Edge[rows.Sent]]:
    """As many as are not too long together, and one at least."""
    size = 0
    few: list[Edge[rows.Sent]] = []
    for edge in edges:
        size += edge.node.size
        if few and size > PAGE_BYTES:
            break
        few.append(edge)
    return few


async def _shadowed(context: Context, payload_id: UUID, heard: Heard, inbound: Inbound, source: ProvenSource) -> ShadowedPayload:
    try:
        body = await context.ports.bodies.read(heard.stored)
    except BodyLost as lost:
        return ShadowedPayload(payload_id, len(heard.kept.commands), 1, (), (), (), (str(lost),), ())
    apart = await context.ports.tries.run(context.actor.id, lambda: rows.apart(heard, read_again(inbound, heard, body, source)))
    return ShadowedPayload(
        payload_id,
        len(heard.kept.commands),
        apart.size,
        _said(apart.added),
        _said(apart.gone),
        _changes(apart),
        apart.wrong[:SHOWN],
        apart.right[:SHOWN],
    )


def _said(commands: Sequence[Command]) -> Sequence[Said]:
    return [said(command) for command in commands[:SHOWN]]


def _changes(apart: Apart) -> Sequence[CommandChange]:
    return [_change(one) for one in apart.changed[:SHOWN]]


def _change(one: Change) -> CommandChange:
    found = [FieldChange(name, _plain(before), _plain(after)) for name, (before, after) in one.fields.items()]
    return CommandChange(type(one.before).__name__, one.before.entity, found)


def _plain(value: object) -> object:
    """As JSON has it."""
    plain: object = msgspec.to_builtins(value, str_keys=True)
    return plain
