"""Failures tried again, as support would on the screen."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from db import failures as rows
from db.failures import Seen
from domain.failures import Failure, replay_failures
from domain.intake import FailureKind, FailureState
from domain.refusals import Refused
from launch.problem import Problem
from terminal.desk import OPERATOR, Desk, said
from terminal.said import say

PAGE = 50


@dataclass(frozen=True)
class Asked:
    """As it was typed: these, or all that are open and fit the filters."""

    ids: Sequence[str] = ()
    provider: str | None = None
    kind: str | None = None


async def replay(asked: Asked, desk: Desk) -> bool:
    """One by one, so that what cannot be replayed stops nobody. Returns whether all could be. The worker does them."""
    found = await _failures(asked, desk)
    refused = 0
    for failure in found:
        try:
            async with desk.begin() as uow:
                await replay_failures([failure.id], OPERATOR, uow)
            outcome = "replayed"
        except Refused as no:
            refused, outcome = refused + 1, f"not replayed: {said(no.refusal)}"
        sys.stdout.write(f"{failure.id} {failure.provider} {failure.kind.value} {outcome}\n")
    say(f"{len(found) - refused} replayed, {refused} not" if found else "there is nothing to replay")
    return refused == 0


async def _failures(asked: Asked, desk: Desk) -> Sequence[Failure]:
    if asked.ids and (asked.provider or asked.kind):
        raise Problem("failures are named or filtered, not both", "leave out --provider and --kind")
    if asked.ids:
        return await _named(asked.ids, desk)
    if not asked.provider and not asked.kind:
        raise Problem("which failures?", "name them, or say --provider or --kind")
    which = Seen(provider=asked.provider, kind=_kind(asked.kind), state=FailureState.OPEN)
    found: list[Failure] = []
    after: str | None = None
    while True:
        page = await rows.failures(desk.reads, OPERATOR, which, PAGE, after)
        found += page.nodes
        if not page.page_info.has_next_page:
            return found[::-1]  # in the order in which they failed
        after = page.page_info.end_cursor


async def _named(ids: Sequence[str], desk: Desk) -> Sequence[Failure]:
    try:
        keys = [UUID(id) for id in ids]
    except ValueError:
        raise Problem("that is no id of a failure", "copy one from the merchant or the support screen") from None
    found = {failure.id: failure for failure in await rows.failures_by_id(desk.reads, OPERATOR, keys)}
    missing = [str(id) for id in keys if id not in found]
    if missing:
        raise Problem(f"there is no failure {missing[0]}", "list the open ones in the support screen")
    return [found[id] for id in keys]


def _kind(name: str | None) -> FailureKind | None:
    try:
        return FailureKind(name.upper()) if name else None
    except ValueError:
        kinds = ", ".join(kind.value.lower() for kind in FailureKind)
        raise Problem(f"there is no kind of failure {name}", f"choose from {kinds}") from None
