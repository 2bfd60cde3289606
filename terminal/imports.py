"""A catalogue from a file, with a bar while it goes in and a line for every row that does not."""

import json
import sys
from dataclasses import asdict, dataclass
from pathlib import Path

from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from launch.problem import Problem
from terminal.accounts import store_id
from terminal.desk import Desk
from terminal.said import console, say
from wiring import INBOUNDS
from workers.file_import import Report, import_catalogue

PROVIDER = "catalogue_file"
SHOWN = 50  # rows; --json tells of all


@dataclass(frozen=True)
class Asked:
    """As it was typed."""

    file: Path
    store: str
    stock: int | None
    json: bool


async def bring_in(asked: Asked, desk: Desk) -> bool:
    """Returns whether every row went in. The same file again changes nothing."""
    if not asked.file.is_file():
        raise Problem(f"there is no file {asked.file}", "name a CSV or JSON file")
    await store_id(asked.store, desk)  # with a hint where there is none of that slug
    columns = (TextColumn(asked.file.name), BarColumn(), TaskProgressColumn(), TimeElapsedColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        bar = progress.add_task("", total=None)
        report = await import_catalogue(
            asked.file,
            asked.store,
            asked.stock,
            lambda done, total: progress.update(bar, completed=done, total=total),
            unit_of_work=desk.begin,
            reads=desk.reads,
            inbound=INBOUNDS[PROVIDER],
            bodies=desk.bodies,
        )
    if asked.json:
        sys.stdout.write(json.dumps(asdict(report), default=str) + "\n")
    else:
        _show(report)
    if not report.rows:
        raise Problem("nothing of it went in", "look at what is said above of its rows")
    _sum_up(report)
    return not report.refused and not report.wrong


def _show(report: Report) -> None:
    for bad in report.refused[:SHOWN]:
        sys.stdout.write(f"row {bad.row}: {'; '.join(bad.reasons)}\n")
    for wrong in report.wrong[:SHOWN]:
        sys.stdout.write(f"{wrong}\n")
    hidden = max(0, len(report.refused) - SHOWN) + max(0, len(report.wrong) - SHOWN)
    if hidden:
        sys.stdout.write(f"… and {hidden} more: --json tells of all\n")


def _sum_up(report: Report) -> None:
    if report.unchanged:
        say("this file, for this store and with this stock, came before: nothing changed")
    rate = report.rows / report.seconds if report.seconds else 0
    say(f"{report.rows} rows went in, {len(report.refused)} were refused; {report.seconds:.1f} s, {rate:.0f} rows/s")
    if report.wrong:
        say(f"{len(report.wrong)} could be read and not carried out: mend what they name, then ./haat replay --provider {PROVIDER}")
