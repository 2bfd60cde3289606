import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.live import Live

from launch.load import load
from launch.problem import Problem
from launch.state import running
from settings import ROOT, Settings
from simulate.breaks import Break
from simulate.checks import Check
from simulate.display import line, screen, summary
from simulate.plan import Wish, plan
from simulate.play import Run
from simulate.town import Unfit, Where
from terminal.desk import at_desk
from terminal.ready import tell_of_the_town
from terminal.said import console, say

LINE_EVERY_S = 10
LOOKED_EVERY_S = 0.5
SHOWN = 5  # of what broke; the rest is in --json


@dataclass(frozen=True)
class Asked:
    """The options of `./haat simulate`. `town` is a file with the ready line of a town elsewhere, or `-`."""

    wish: Wish
    data: Path | None = None
    town: str | None = None
    break_: str | None = None
    json: bool = False


def simulate(asked: Asked) -> bool:
    """Whether everything held."""
    run = elsewhere(asked, asked.town) if asked.town else here(asked)
    say(f"plan {run.plan.hash}: {len(run.plan.intents)} intents of seed {asked.wish.seed}, against {run.where.graphql}")
    unfit: list[BaseException] = []
    try:
        asyncio.run(watch(run))
    except* Unfit as group:  # alone, or of a group of tasks
        unfit += group.exceptions
    if unfit:
        raise Problem(first(unfit), "play longer, on a town that ./haat up started with its demo")
    report(run)
    if asked.json:
        sys.stdout.write(json.dumps(summary(run)) + "\n")
    return run.holds


def elsewhere(asked: Asked, file: str) -> Run:
    """Nothing of this machine is at hand there: no Redis to kill, no riders to add, no database to break."""
    try:
        told = json.loads(sys.stdin.readline() if file == "-" else Path(file).read_text())
        return Run(plan(asked.wish), Where.told(told), break_=chosen(asked.break_))
    except (OSError, ValueError, Unfit) as error:
        raise Problem(f"{file} is no ready line of a town: {error}", "keep what ./haat up --json prints") from None


def here(asked: Asked) -> Run:
    settings = load(**({"data": asked.data} if asked.data else {}))
    town = running(settings.data)
    if town is None:
        raise Problem(f"no town runs on {settings.data}", "start ./haat up, or name its --data or --town")
    told = at_desk(tell_of_the_town, settings) | {"graphql": f"{town.url}/graphql"}
    env = {**os.environ, "HAAT_DATA": str(settings.data)}
    try:
        where = Where.told(told)
    except Unfit as unfit:
        raise Problem(str(unfit), "./haat up --reset begins again with the demo town") from None
    return Run(
        plan(asked.wish),
        where,
        town.database_url,
        redis_pid=lambda: embedded_redis(settings),
        add_rider=lambda name, phone, password: add_rider(name, phone, password, env),
        break_=chosen(asked.break_),
    )


def chosen(word: str | None) -> Break | None:
    try:
        return Break(word) if word else None
    except ValueError:
        raise Problem(f"{word} is nothing to break", f"choose from {', '.join(one.value for one in Break)}") from None


def embedded_redis(settings: Settings) -> int | None:
    town = running(settings.data)
    return town.pids.get("redis") if town else None


def add_rider(name: str, phone: str, password: str, env: Mapping[str, str]) -> bool:
    """As an operator would, by the command."""
    command = [sys.executable, str(ROOT / "cli.py"), "user", "add", "--name", name, "--phone", phone, "--password", password]
    done = subprocess.run([*command, "--app", "rider"], env=env, capture_output=True, text=True, check=False)
    if done.returncode:
        say(f"no rider {phone} could be added: {done.stderr.strip()}")
    return done.returncode == 0


# ---------------------------------------------------------------- while it runs


async def watch(run: Run) -> None:
    """The first Ctrl-C ends the play, and the checks are made on what has happened; the second ends everything."""
    loop = asyncio.get_running_loop()
    playing = asyncio.create_task(run.play())

    def stop() -> None:
        if run.stop.is_set():
            playing.cancel()
        run.stop.set()
        say("stopping: checking what has happened")

    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop)
    with ExitStack() as stack:
        live = stack.enter_context(Live(console=console, auto_refresh=False)) if console.is_terminal else None
        told, due = "", 0.0
        while not playing.done():
            await asyncio.wait([playing], timeout=LOOKED_EVERY_S)
            if live:
                live.update(screen(run), refresh=True)
            elif run.phase != told or loop.time() > due:
                told, due = run.phase, loop.time() + LINE_EVERY_S
                say(line(run))
    with suppress(asyncio.CancelledError):
        await playing


def first(found: Sequence[BaseException]) -> str:
    """Of what may be nested."""
    [one, *_] = found
    return first(one.exceptions) if isinstance(one, BaseExceptionGroup) else str(one)


def report(run: Run) -> None:
    for check in run.checks:
        say(f"{'holds' if check.holds else 'BROKEN':<7} {check.name}{counted(check)}")
        for broken in check.broken[:SHOWN]:
            say(f"        {broken}")
        if len(check.broken) > SHOWN:
            say(f"        … and {len(check.broken) - SHOWN} more")
    for note in run.seen.notes:
        say(f"note: {note}")
    told: dict[str, Any] = summary(run)
    orders, webhooks, frames = told["orders"], told["webhooks"], told["frames"]
    say(f"orders {orders['placed']} {orders['byStatus']}, webhooks {webhooks}")
    say(f"event to client: p50 {frames['p50Ms']} ms, p95 {frames['p95Ms']} ms, of {frames['measured']} measured")


def counted(check: Check) -> str:
    return f" ({check.looked_at} looked at)" if check.looked_at else ""
