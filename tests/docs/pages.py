"""The pages under docs/, as a reader takes them: what is fenced, and what stands before it.

A comment of one line before a fence says what is to be done with it: `<!-- run: as=customer -->`.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

DOCS = Path(__file__).parents[2] / "docs"
_MARK = re.compile(r"<!-- (\w+):? ?(.*?) -->")
_FENCE = re.compile(r"```(\w*)[^\n]*")


@dataclass(frozen=True)
class Block:
    """What stands in one fence, and the line it begins in."""

    language: str
    text: str
    line: int


@dataclass(frozen=True)
class Example:
    """A mark, and the fences after it up to the next mark or heading. `what` is the mark's first word."""

    page: str
    what: str
    words: Mapping[str, str]
    blocks: tuple[Block, ...]
    line: int

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"

    def block(self, language: str, place: int = 0) -> Block | None:
        found = [block for block in self.blocks if block.language == language]
        return found[place] if place < len(found) else None


def examples(page: str) -> list[Example]:
    """Those of docs/`page`, in order."""
    return list(_examples(page, (DOCS / page).read_text()))


def _examples(page: str, text: str) -> Iterator[Example]:
    mark: tuple[str, Mapping[str, str], int] | None = None
    blocks: list[Block] = []
    fence: tuple[str, int] | None = None
    inside: list[str] = []
    for number, line in enumerate([*text.splitlines(), "# the end"], 1):
        if fence is not None:
            if line == "```":
                blocks.append(Block(fence[0], "\n".join(inside), fence[1]))
                fence, inside = None, []
            else:
                inside.append(line)
        elif opening := _FENCE.fullmatch(line):
            fence = (opening[1], number)
        elif (found := _MARK.fullmatch(line)) or line.startswith("#"):
            if mark is not None:
                yield Example(page, mark[0], mark[1], tuple(blocks), mark[2])
            blocks = []
            mark = (found[1], _words(found[2]), number) if found else None


def _words(text: str) -> Mapping[str, str]:
    """`as=customer town` is {"as": "customer", "town": ""}."""
    return {name: value for name, _, value in (word.partition("=") for word in text.split())}


def tables(page: str, heading: str) -> list[list[str]]:
    """The cells of the rows of the tables below a heading, without their first lines, backquotes taken off."""
    lines = (DOCS / page).read_text().splitlines()
    start = next(number for number, line in enumerate(lines) if line.startswith("#") and line.lstrip("# ") == heading)
    rows: list[list[str]] = []
    for line in lines[start + 1 :]:
        if line.startswith("#"):
            break
        if line.startswith("|") and not line.startswith("|--"):
            rows.append([cell.strip() for cell in re.split(r"(?<!\\)\|", line.strip("|"))])
        elif line.startswith("|--"):
            rows.pop()
    return rows
