"""Mappings by a file: which id of a source is which of ours, a row each. What is wrong with a row keeps the others from nothing."""

import csv
import hashlib
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import TYPE_CHECKING
from uuid import UUID

from domain.canonical import named
from domain.identity import Actor
from domain.imports import ERRORS_SHOWN
from domain.intake import EntityKind, printable, problems_of
from domain.mappings import EXTERNAL_ID_CHARACTERS, MAPPED, OF_MERCHANT, appeared
from domain.refusals import InvalidInput, Problem, Refused, not_found
from domain.sources import LockedSource
from domain.texts import line

if TYPE_CHECKING:
    from domain.unit_of_work import Begin, UnitOfWork

COLUMNS = ("kind", "external_id", "ours")
MOST_ROWS = 100_000
AT_ONCE = 1_000  # rows of one transaction
OURS_CHARACTERS = 200
DELIMITERS = ",;\t"


@dataclass(frozen=True)
class Row:
    """One that can be read. `ours` is an id, or what else names one thing of ours: see `SourceStore.meant`."""

    number: int  # as a spreadsheet counts: the header is row 1
    kind: EntityKind
    external_id: str
    ours: str


@dataclass(frozen=True)
class BadRow:
    number: int
    problems: Sequence[Problem]


@dataclass(frozen=True)
class EmptyRow:
    """One that says nothing of ours: left for another day."""

    number: int


@dataclass
class Report:
    """Of its rows. `problems` are told as far as ERRORS_SHOWN goes, and `beyond` says how many there are more."""

    rows: int = 0
    mapped: int = 0  # that was not, or to another
    unchanged: int = 0
    empty: int = 0
    refused: int = 0
    problems: list[Problem] = field(default_factory=list)
    beyond: int = 0

    def refuse(self, problems: Sequence[Problem]) -> None:
        room = ERRORS_SHOWN - len(self.problems)
        self.problems += problems[:room]
        self.beyond += max(0, len(problems) - room)

    def __str__(self) -> str:
        return f"{self.rows} rows: {self.mapped} mapped, {self.unchanged} as before, {self.empty} empty, {self.refused} refused"


# ---------------------------------------------------------------- reading


def rows_of(lines: Iterable[bytes]) -> Iterator[Row | BadRow | EmptyRow]:
    """Of a CSV file with commas, semicolons or tabs, whatever else it has in its columns. Refuses InvalidInput where its first
    row does not name ours. Of what went before, only whose mapping each row was is remembered.
    """
    texts = (one.decode("utf-8", "surrogateescape") for one in lines)
    columns, delimiter = _header(next(texts, "").removeprefix("\ufeff"))
    reader = csv.reader(texts, delimiter=delimiter, strict=True)
    seen: dict[bytes, int] = {}
    number = 1
    while True:
        number += 1
        try:
            cells = next(reader, None)
        except csv.Error as error:
            yield BadRow(number, [Problem(f"row {number}", f"is no CSV: {error}")])
            continue
        if cells is None:
            return
        if number > MOST_ROWS + 1:
            yield BadRow(number, [Problem(f"row {number}", f"and what follows is not read: {MOST_ROWS} rows are the most")])
            return
        if any(cell.strip() for cell in cells):
            yield _row(number, [cells[at] if at < len(cells) else "" for at in columns], seen)


def _header(text: str) -> tuple[Sequence[int], str]:
    """Where each of our columns is, and what stands between them."""
    for delimiter in DELIMITERS:
        try:
            names = [name.strip().lower().replace(" ", "_") for name in next(csv.reader([text], delimiter=delimiter), [])]
        except csv.Error:
            continue
        if set(COLUMNS) <= set(names):
            return [names.index(name) for name in COLUMNS], delimiter
    message = f"the first row must name the columns {', '.join(COLUMNS)}"
    raise Refused(InvalidInput(message, (Problem("row 1", message),)))


def _row(number: int, cells: Sequence[str], seen: dict[bytes, int]) -> Row | BadRow | EmptyRow:
    said, theirs, ours = (plain(cell) for cell in cells)
    if not ours:
        return EmptyRow(number)
    problems: list[Problem] = []
    kind = next((one for one in MAPPED if one.value == said.upper()), None)
    if said.upper() == EntityKind.MERCHANT.value:
        problems.append(Problem(f"row {number}.kind", OF_MERCHANT))
    elif kind is None:
        known = ", ".join(one.value for one in MAPPED)
        problems.append(Problem(f"row {number}.kind", f"{printable(said[:40])!r} is none of {known}" if said else "is missing"))
    external_id = _text(f"row {number}.external_id", theirs, EXTERNAL_ID_CHARACTERS, problems)
    meant = _text(f"row {number}.ours", ours, OURS_CHARACTERS, problems)
    if problems or kind is None:
        return BadRow(number, problems)
    before = seen.setdefault(hashlib.blake2b(named(kind, external_id).encode(), digest_size=16).digest(), number)
    if before != number:
        return BadRow(number, [Problem(f"row {number}.external_id", f"came before, in row {before}")])
    return Row(number, kind, external_id, meant)


def _text(path: str, told: str, most: int, problems: list[Problem]) -> str:
    if not told:
        problems.append(Problem(path, "is missing"))
        return ""
    try:
        return line(path, told, most)
    except Refused as refused:
        problems += problems_of(refused)
        return ""


# ---------------------------------------------------------------- cells that a spreadsheet would take for a formula

# Also where one begins for a spreadsheet that parts cells elsewhere than we do, and as it is written in full width.
_BEGINS = r"(^|[;\t\r\n])(\s*)"
_FORMULA = re.compile(_BEGINS + r"(?='*[=+\-@＝＋－＠])")
_SHIELDED = re.compile(_BEGINS + r"'(?='*[=+\-@＝＋－＠])")


def shielded(text: str) -> str:
    """As it stands in a cell: what begins like a formula has a quote before it."""
    return _FORMULA.sub(r"\1\2'", text)


def plain(cell: str) -> str:
    """What was shielded, without the quotes; and without the blanks around it."""
    return _SHIELDED.sub(r"\1\2", cell.strip())


# ---------------------------------------------------------------- mapping


async def map_file(source_id: UUID, lines: Iterable[bytes], actor: Actor, begin: "Begin") -> Report:
    """Some rows a transaction, each row wholly or not at all; what waited for them runs by itself. Safe to repeat: the same file
    again changes nothing. Refuses NotFound, and InvalidInput for what is no such file.
    """
    report = Report()
    rows = rows_of(lines)
    some = list(islice(rows, AT_ONCE))
    while True:
        async with begin() as uow:
            await _map_rows(source_id, some, actor, report, uow)
        some = list(islice(rows, AT_ONCE))
        if not some:
            break
    if report.mapped:
        async with begin() as uow:
            source = await _locked(source_id, actor, uow)
            await uow.audit.write(actor, "mapFile", source.id, source.merchant_id, str(report))
    return report


async def _map_rows(
    source_id: UUID, some: Sequence[Row | BadRow | EmptyRow], actor: Actor, report: Report, uow: "UnitOfWork"
) -> None:
    source = await _locked(source_id, actor, uow)
    wrong = {one.number: one.problems for one in some if isinstance(one, BadRow)}
    new: list[tuple[Row, UUID]] = []
    good = 0
    for kind in MAPPED:
        mine = [one for one in some if isinstance(one, Row) and one.kind is kind]
        if not mine:
            continue
        meant = await uow.sources.meant(source.merchant_id, kind, {row.ours for row in mine})
        wrong |= {row.number: [_unclear(row, len(meant.get(row.ours, ())))] for row in mine if len(meant.get(row.ours, ())) != 1}
        known = await uow.sources.mapped(source.id, kind, {row.external_id for row in mine})
        told = [(row, id) for row in mine if row.number not in wrong for id in meant[row.ours]]
        changed = [(row, id) for row, id in told if known.get(row.external_id) != id]
        await uow.sources.map(source, kind, [(row.external_id, id) for row, id in changed])
        new += changed
        good += len(told)
    # Together: instructions are locked in the order of their ids.
    waited = {name for row, _ in new for name in appeared(row.kind, [row.external_id])}
    if waited:
        await uow.instructions.wake(source.merchant_id, waited)
        await uow.instructions.settle()
    for row, id in sorted(new, key=lambda one: one[0].number):
        detail = f"{named(row.kind, row.external_id)} is {id}"
        await uow.audit.write(actor, "mapExternalId", source.id, source.merchant_id, detail)
    report.rows += len(some)
    report.mapped += len(new)
    report.unchanged += good - len(new)
    report.empty += sum(isinstance(one, EmptyRow) for one in some)
    report.refused += len(wrong)
    report.refuse([problem for _, problems in sorted(wrong.items()) for problem in problems])


async def _locked(source_id: UUID, actor: Actor, uow: "UnitOfWork") -> LockedSource:
    source = await uow.sources.lock(source_id, actor)
    if source is None:
        raise not_found("source")
    return source


def _unclear(row: Row, found: int) -> Problem:
    noun = row.kind.value.lower()
    message = f"{row.ours!r} is {found} of your {noun}s: say which by its id" if found else f"there is no {noun} {row.ours!r}"
    return Problem(f"row {row.number}.ours", message)
