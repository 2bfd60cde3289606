"""Mappings from a file, and a file of what is not mapped yet: looked through by people, and sent back."""

import csv
import json
import os
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TextIO
from uuid import UUID

from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

from db.mappings import Suggested, ToldCategory, Unmapped, suggested, told_categories, unmapped_of
from domain.intake import EntityKind
from domain.mapping_files import COLUMNS, Report, map_file, shielded
from domain.suggestions import MatchReason
from launch.problem import Problem
from terminal.desk import OPERATOR, Desk
from terminal.said import console, say
from terminal.sources import known_source
from workers.file_import import bad_rows

SHOWN = 50  # rows; --json tells of a thousand problems
AT_ONCE = 200  # ids of an export
HEADER = (*COLUMNS, "called", "name", "sku", "barcode", "reasons", "score", "waiting")


@dataclass(frozen=True)
class Asked:
    """As it was typed. Without a file an export goes to standard output."""

    file: Path | None
    source: str
    export: bool
    json: bool


async def map_ids(asked: Asked, desk: Desk) -> bool:
    """Returns whether no row was refused."""
    source_id = (await known_source(asked.source, desk)).id
    if asked.export:
        await _export(asked.file, source_id, desk)
        return True
    if asked.file is None:
        raise Problem("which file?", "name one, or say --export to make one of what is not mapped")
    if not asked.file.is_file():
        raise Problem(f"there is no file {asked.file}", "name a CSV file with the columns " + ", ".join(COLUMNS))
    return await _bring_in(asked.file, source_id, desk, as_json=asked.json)


# ---------------------------------------------------------------- in


async def _bring_in(path: Path, source_id: UUID, desk: Desk, *, as_json: bool) -> bool:
    columns = (TextColumn(path.name), BarColumn(), TaskProgressColumn(), TimeElapsedColumn())
    with (
        path.open("rb") as file,
        Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress,
    ):
        bar = progress.add_task("", total=os.fstat(file.fileno()).st_size)

        def lines() -> Iterator[bytes]:
            for line in file:
                progress.advance(bar, len(line))
                yield line

        report = await map_file(source_id, lines(), OPERATOR, desk.begin)
    if as_json:
        sys.stdout.write(json.dumps(asdict(report)) + "\n")
    else:
        _show(report)
    say(str(report))
    return not report.refused


def _show(report: Report) -> None:
    bad = bad_rows(report.problems)
    for one in bad[:SHOWN]:
        sys.stdout.write(f"row {one.row}: {'; '.join(one.reasons)}\n")
    if report.refused > SHOWN:
        sys.stdout.write(f"… and {report.refused - SHOWN} more\n")


# ---------------------------------------------------------------- out


async def _export(path: Path | None, source_id: UUID, desk: Desk) -> None:
    if path is None:
        count = await _write(sys.stdout, source_id, desk)
    else:
        with path.open("w", encoding="utf-8-sig", newline="") as file:  # spreadsheets take names for another encoding's without it
            count = await _write(file, source_id, desk)
    say(f"{count} ids are not mapped; look through `ours`, and send the file back: ./haat map FILE --source {source_id}")


async def _write(file: TextIO, source_id: UUID, desk: Desk) -> int:
    """A store that payloads do not name has no id to be mapped by, and no row."""
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(HEADER)
    count, last = 0, None
    while some := await unmapped_of(desk.reads, OPERATOR, source_id, None, last, AT_ONCE):
        named = [one for one in some if one.external_id is not None]
        found = {one.key: one for one in await suggested(desk.reads, OPERATOR, [one.key for one in named])}
        for one in named:
            writer.writerow([shielded(cell) for cell in _cells(one, found.get(one.key))])
        count, last = count + len(named), some[-1]
    for told in await told_categories(desk.reads, OPERATOR, source_id):
        writer.writerow([shielded(cell) for cell in _category(told)])
    return count


def _category(told: ToldCategory) -> list[str]:
    """Nobody waits for it, so nothing is proposed in `ours`: it goes its own way unless a person says otherwise."""
    ours, likely = (" / ".join(path) if path else "" for path in (told.ours, told.likely))
    reasons = MatchReason.NAME.value if likely else ""
    return [EntityKind.CATEGORY.value, told.external_id, ours, told.names[-1], likely, "", "", reasons, "", "0"]


def _cells(one: Unmapped, found: Suggested | None) -> list[str]:
    """The likeliest of ours stands there already; a person takes away what it is not."""
    best = found.suggestions[0] if found and found.suggestions else None
    called = (found.name if found else None) or ""
    theirs = [one.kind.value, one.external_id or ""]
    if best is None:
        return [*theirs, "", called, "", "", "", "", "", str(one.waiting)]
    reasons = " ".join(reason.value for reason in best.reasons)
    ours = [best.name, best.sku or "", best.barcode or "", reasons, f"{best.score:.2f}"]
    return [*theirs, str(best.id), called, *ours, str(one.waiting)]
