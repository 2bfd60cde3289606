"""`./haat bench`: the table of bench/, for people and for programs."""

import asyncio
import json
import os
import platform
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from rich.table import Table

from bench.rows import Row
from bench.stage import stage
from bench.table import ROWS, measure
from launch.problem import Problem
from terminal.said import console, say


@dataclass(frozen=True)
class Asked:
    """As it was typed."""

    rows: Sequence[str]
    seconds: float
    sockets: int
    json: bool
    check: bool
    peers: bool = False


def bench(asked: Asked) -> bool:
    """Measures, and tells. Returns whether every row could be measured and, with --check, each ratio is what that asks for."""
    unknown = [name for name in asked.rows if name not in ROWS]
    if unknown:
        raise Problem(f"there is no row {unknown[0]}", f"choose from {', '.join(ROWS)}")
    names = asked.rows or list(ROWS)
    say(f"{machine()}; each figure is the median of three rounds of {asked.seconds:g} s, ours and raw in turns")

    def tell(row: Row) -> None:
        if not asked.json:
            show(row)

    with stage() as made:
        rows = asyncio.run(measure(made, names, asked.seconds, asked.sockets, asked.peers, tell))
    if asked.json:
        sys.stdout.write(json.dumps({"machine": machine(), "rows": [asdict(row) for row in rows]}) + "\n")
    missed = [ratio for row in rows for ratio in row.ratios if not holds(ratio.value, ratio.goal, ratio.at_least)]
    for ratio in missed if asked.check else ():
        say(f"haat: {ratio.what}: {ratio.value:.2f}, and {ratio.at_least:g} is the least we take")
    return not any(row.wrong for row in rows) and not (asked.check and missed)


def holds(value: float, goal: float, at_least: float) -> bool:
    """A limit beyond its goal is for what is better small."""
    return value <= at_least if at_least > goal else value >= at_least


def show(row: Row) -> None:
    if row.wrong:
        say(f"haat: {row.name} could not be measured: {row.wrong}")
        return
    table = Table(title=row.name, title_justify="left", show_header=False, min_width=80)
    table.add_column(ratio=1)
    table.add_column(justify="right")
    table.add_column()
    for line in row.lines:
        table.add_row(line.what, f"{line.value:,.1f}" if line.value < 100 else f"{line.value:,.0f}", line.unit)
    for ratio in row.ratios:
        table.add_row(f"[bold]{ratio.what}[/bold]", f"[bold]{ratio.value:.0%}[/bold]", f"goal {ratio.goal:.0%}")
    console.print(table)


def machine() -> str:
    return f"{os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}, PostgreSQL with fsync"
