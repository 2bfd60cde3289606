"""Failures tried again, as support would on the screen: some by their ids, or all that fit in the background."""

import asyncio
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from uuid import UUID

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from db import failures as rows
from db.replays import replay_by_id
from domain.failures import Failure, FailureFilter, replay_failures
from domain.intake import FailureKind
from domain.refusals import Refused
from domain.replays import Replay, ReplayState, cancel_replay, counted, described, start_replay, work_on
from launch.problem import Problem
from terminal.accounts import store_id
from terminal.desk import OPERATOR, Desk, said
from terminal.said import console, say

LOOK_S = 0.1
AGO = {"m": timedelta(minutes=1), "h": timedelta(hours=1), "d": timedelta(days=1)}


@dataclass(frozen=True)
class Asked:
    """As it was typed: these, or all that are open and fit the filters."""

    ids: Sequence[str] = ()
    provider: str | None = None
    kind: str | None = None
    store: str | None = None
    text: str | None = None
    since: str | None = None
    group: str | None = None

    @property
    def filtered(self) -> bool:
        return any((self.provider, self.kind, self.store, self.text, self.since, self.group))


async def replay(asked: Asked, desk: Desk) -> bool:
    """Returns whether all went well that was tried."""
    if asked.ids and asked.filtered:
        raise Problem("failures are named or filtered, not both", "leave out --provider, --kind and the like")
    if asked.ids:
        return await _each(await _named(asked.ids, desk), desk)
    if not asked.filtered:
        raise Problem("which failures?", "name them, or say --provider, --kind, --store, --text, --since or --group")
    return await _filter(await _which(asked, desk), desk)


# ---------------------------------------------------------------- by id


async def _each(found: Sequence[Failure], desk: Desk) -> bool:
    """One by one, so that what cannot be replayed stops nobody. The worker does them."""
    refused = 0
    for failure in found:
        try:
            async with desk.begin() as uow:
                await replay_failures([failure.id], OPERATOR, uow)
            outcome = "replayed"
        except Refused as no:
            refused, outcome = refused + 1, f"not replayed: {said(no.refusal)}"
        sys.stdout.write(f"{failure.id} {failure.provider} {failure.kind.value} {outcome}\n")
    say(f"{len(found) - refused} replayed, {refused} not")
    return refused == 0


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


# ---------------------------------------------------------------- by a filter


async def _filter(which: FailureFilter, desk: Desk) -> bool:
    """A replay as the API begins one, worked off here beside the workers. Ctrl-C cancels it."""
    starting = asyncio.create_task(_start(which, desk))  # to its end: interrupted in its commit it might run, and nobody knew it
    try:
        done = await _followed(await asyncio.shield(starting), desk)
    except asyncio.CancelledError:
        id = await starting
        async with desk.begin() as uow:
            await cancel_replay(id, OPERATOR, uow)
        _sum_up(await _now(id, desk))
        raise
    _sum_up(done)
    return done.state is ReplayState.DONE and not done.failed_again and not done.refused


async def _start(which: FailureFilter, desk: Desk) -> UUID:
    async with desk.begin() as uow:
        return await start_replay(which, OPERATOR, uow)


async def _followed(id: UUID, desk: Desk) -> Replay:
    columns = (TextColumn("replayed"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        bar = progress.add_task("replay", total=None)
        while (replay := await _now(id, desk)).state is ReplayState.RUNNING:
            progress.update(bar, completed=replay.done, total=replay.total)
            async with desk.begin() as uow:
                worked = await work_on(id, uow)
            if not worked:
                await asyncio.sleep(LOOK_S)
    return replay


async def _now(id: UUID, desk: Desk) -> Replay:
    replay = await replay_by_id(desk.reads, OPERATOR, id)
    assert replay is not None
    return replay


def _sum_up(replay: Replay) -> None:
    if not replay.total and replay.state is ReplayState.DONE:
        say("there is nothing to replay")
    sys.stdout.write(f"{replay.id} {replay.state.value.lower()}, {counted(replay)} ({described(replay.which)})\n")


async def _which(asked: Asked, desk: Desk) -> FailureFilter:
    return FailureFilter(
        provider=asked.provider,
        kind=_kind(asked.kind),
        store_id=await store_id(asked.store, desk) if asked.store else None,
        since=_since(asked.since, datetime.now(UTC)),
        text=asked.text,
        fingerprint=asked.group,
    )


def _kind(name: str | None) -> FailureKind | None:
    try:
        return FailureKind(name.upper()) if name else None
    except ValueError:
        kinds = ", ".join(kind.value.lower() for kind in FailureKind)
        raise Problem(f"there is no kind of failure {name}", f"choose from {kinds}") from None


def _since(told: str | None, now: datetime) -> datetime | None:
    """`90m`, `2h`, `1d` ago; or a date or a time, of this machine's zone where it names none."""
    if told is None:
        return None
    if ago := re.fullmatch(r"(\d{1,5})([mhd])", told):
        return now - int(ago[1]) * AGO[ago[2]]
    try:
        return datetime.fromisoformat(told).astimezone(UTC)
    except (ValueError, OverflowError):
        raise Problem(f"{told} is no time", "write 90m, 2h, 1d, or 2026-11-21T10:00") from None
